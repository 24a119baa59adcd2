/*
 * Loads, stores and pins of simulated address spaces.
 *
 * An access goes like the hardware's: under the page-table lock it finds what it needs and moves its byte, or it gives
 * the lock up, faults, and starts over. An access that makes no progress is called stuck. A pin faults in what it needs
 * first, as pin_user_pages() does, and tries again when it was unmapped meanwhile.
 */
#include "sim_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define TRIES		400	/* faults of one access before it is called stuck */
#define PIN_TRIES	100

/* ---- Accesses -------------------------------------------------------------------------------------------- */

/* Is a page table there where a larger entry would be? */
static bool table_there(struct sim_vma *v, uint64_t address)
{
	uint64_t n = sim_size_units(v->mm->sim, DAX_PMD), index = sim_index_at(v, address), from, end;
	uint64_t before = (address >> v->mm->sim->shift) & (n - 1);
	bool there = false;

	from = index - min(before, index - v->dax.index);
	end = min(index - before + n, v->dax.index + v->dax.count);
	pthread_mutex_lock(&v->mm->ptl);
	for (uint64_t i = from; i < end && !there; i++)
		there = sim_pte(v, i)->kind != SIM_NONE && sim_pte(v, i)->size == DAX_PTE;
	pthread_mutex_unlock(&v->mm->ptl);
	return there;
}

static unsigned int fault(struct sim_vma *v, uint64_t address, bool write)
{
	uint64_t index = sim_index_at(v, address);
	struct dax_fault f = {
		.vma = &v->dax,
		.index = index,
		.address = v->address + ((index - v->dax.index) << v->mm->sim->shift),
		.start = v->address,
		.end = sim_vma_end(v),
		.flags = write ? DAX_FAULT_WRITE : 0,
	};
	unsigned int ret;

	if (v->flags & SIM_SHARED)
		f.flags |= DAX_FAULT_SHARED;
	if (v->flags & SIM_SYNC)
		f.flags |= DAX_FAULT_SYNC;
	if ((v->flags & SIM_NOHUGE) || (!pgmap_base_size(v->mm->sim->pg) && table_there(v, address)))
		f.flags |= DAX_FAULT_NOHUGE;
	ret = dax_handle_fault(&f);
	atomic_fetch_add(&v->mm->faults, 1);
	if (ret & DAX_MAJOR)
		atomic_fetch_add(&v->mm->major, 1);
	if (!(ret & ~DAX_MAJOR) || (ret & (DAX_FALLBACK | DAX_NEEDDSYNC)))
		sim_fail("a fault came back as %x", ret);
	return ret;
}

static bool access_locked(struct sim_vma *v, uint64_t address, bool write, uint8_t *value)
{
	struct sim *sim = v->mm->sim;
	struct sim_pte *p = sim_pte(v, sim_index_at(v, address));
	uint64_t offset = address & (sim_unit_bytes(sim) - 1);

	if (p->kind == SIM_NONE || (write && !p->write))
		return false;
	if (!value)
		return true;
	if (write && p->kind == SIM_PRIVATE) {
		p->page[offset] = *value;
	} else if (write) {
		/* What it stores when it should have let go is nobody's to flush. */
		if (list_empty(&v->pending))
			atomic_store(&sim->unflushed[p->unit], 1);
		sim_poke(sim, p->unit, offset, *value);
	} else {
		*value = p->kind == SIM_ZERO ? 0 : p->kind == SIM_PRIVATE ? p->page[offset] :
									    sim_peek(sim, p->unit, offset);
	}
	return true;
}

/* One look at the page table and, if that did not do, one fault. *again: the access is to be tried again. */
static enum sim_result try_access(struct sim_mm *mm, uint64_t address, bool write, uint8_t *value, bool *again)
{
	struct sim_vma *v = sim_vma_at(mm, address);
	unsigned int ret;
	bool done;

	*again = false;
	if (!v || (write && !(v->flags & SIM_WRITE)))
		return SIM_SEGV;
	pthread_mutex_lock(&mm->ptl);
	done = access_locked(v, address, write, value);
	pthread_mutex_unlock(&mm->ptl);
	if (done)
		return SIM_OK;
	ret = fault(v, address, write);
	if (ret & DAX_SIGBUS)
		return SIM_SIGBUS;
	if (ret & DAX_HWPOISON)
		return SIM_MCE;
	if (ret & DAX_OOM)
		return SIM_OOM;
	*again = true;
	return SIM_STUCK;
}

static enum sim_result access_byte(struct sim_mm *mm, uint64_t address, bool write, uint8_t *value)
{
	enum sim_result r = SIM_STUCK;
	bool again = true;

	for (unsigned int i = 0; again && i < TRIES; i++) {
		pthread_rwlock_rdlock(&mm->mmap_lock);
		r = try_access(mm, address, write, value, &again);
		pthread_rwlock_unlock(&mm->mmap_lock);
		if (i > TRIES / 4)
			usleep(20);
	}
	return r;
}

enum sim_result sim_load(struct sim_mm *mm, uint64_t address, uint8_t *value)
{
	return access_byte(mm, address, false, value);
}

enum sim_result sim_store(struct sim_mm *mm, uint64_t address, uint8_t value)
{
	return access_byte(mm, address, true, &value);
}

struct sim_pte sim_pte_at(struct sim_mm *mm, uint64_t address)
{
	struct sim_pte p = { .kind = SIM_NONE };
	struct sim_vma *v;

	pthread_rwlock_rdlock(&mm->mmap_lock);
	v = sim_vma_at(mm, address);
	pthread_mutex_lock(&mm->ptl);
	if (v)
		p = *sim_pte(v, sim_index_at(v, address));
	pthread_mutex_unlock(&mm->ptl);
	pthread_rwlock_unlock(&mm->mmap_lock);
	return p;
}

uint64_t sim_rss(struct sim_mm *mm)
{
	struct list *pos;
	uint64_t n = 0;

	pthread_rwlock_rdlock(&mm->mmap_lock);
	pthread_mutex_lock(&mm->ptl);
	list_for_each(pos, &mm->vmas) {
		struct sim_vma *v = list_entry(pos, struct sim_vma, link);

		for (uint64_t i = 0; i < v->dax.count; i++)
			n += v->pte[i].kind == SIM_UNIT;
	}
	pthread_mutex_unlock(&mm->ptl);
	pthread_rwlock_unlock(&mm->mmap_lock);
	return n;
}

/* ---- Pins ------------------------------------------------------------------------------------------------ */

static int pin_once(struct sim_mm *mm, uint64_t address, uint64_t count, unsigned int flags, struct sim_pin *pin)
{
	struct sim_vma *v;
	int rc = -EFAULT;

	pthread_rwlock_rdlock(&mm->mmap_lock);
	v = sim_vma_at(mm, address);
	if (v) {
		pin->grant = sim_grant_get(mm, v->file, &pin->dax.area);
		pin->dax.grant = pin->grant->grant;
		rc = dax_pin(&v->dax, sim_index_at(v, address), count, flags, &pin->dax);
		if (rc)
			sim_grant_put(mm->sim, pin->grant, pin->dax.area);
	}
	pthread_rwlock_unlock(&mm->mmap_lock);
	return rc;
}

int sim_pin(struct sim_mm *mm, uint64_t address, uint64_t count, unsigned int flags, struct sim_pin **out)
{
	struct sim_pin *pin = calloc(1, sizeof(*pin));
	uint64_t bytes = sim_unit_bytes(mm->sim);
	int rc = -EFAULT;

	for (unsigned int try = 0; rc == -EFAULT && try < PIN_TRIES; try++) {
		enum sim_result r = SIM_OK;

		for (uint64_t i = 0; i < count && r == SIM_OK; i++)
			r = access_byte(mm, address + i * bytes, flags & DAX_PIN_WRITE, NULL);
		rc = r == SIM_OK ? pin_once(mm, address, count, flags, pin) : -EIO;
	}
	if (rc) {
		free(pin);
		return rc == -EIO ? -EFAULT : rc;
	}
	pthread_mutex_lock(&mm->sim->lock);
	list_add_tail(&pin->link, &mm->sim->pins);
	pthread_mutex_unlock(&mm->sim->lock);
	*out = pin;
	return 0;
}

void sim_unpin(struct sim *sim, struct sim_pin *pin)
{
	pthread_mutex_lock(&sim->lock);
	list_del(&pin->link);
	pthread_mutex_unlock(&sim->lock);
	dax_unpin(&pin->dax);
	sim_grant_put(sim, pin->grant, pin->dax.area);
	free(pin);
}
