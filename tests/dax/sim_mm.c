/*
 * Simulated address spaces: VMAs with page tables, loads and stores that fault, and what the system calls on mappings
 * do. The other side of mm_ops.
 *
 * What a VMA has mapped changes only under the page-table lock, and dax_unmap() is called with it held. A mapper
 * that answers late keeps what it was told in `pending`, and goes on using what it has mapped.
 */
#include "sim_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLOURS		30	/* bits: addresses and file offsets agree modulo 1 GiB */

struct pending {
	struct list	link;
	uint64_t	index, count;
	bool		even_cows;
};

static struct sim_vma *vma_of(struct dax_vma *vma)
{
	return container_of(vma, struct sim_vma, dax);
}

/* ---- Page tables, with the page-table lock held ---------------------------------------------------------- */

static void clear_entry(struct sim_vma *v, uint64_t index)
{
	struct sim_pte old = *sim_pte(v, index);
	uint64_t n = sim_size_units(v->mm->sim, old.size), first = index & ~(n - 1);

	for (uint64_t i = first; i < first + n; i++) {
		free(sim_pte(v, i)->page);
		*sim_pte(v, i) = (struct sim_pte){ .kind = SIM_NONE };
	}
	/* Exactly this one: another may be recorded already and about to be inserted. */
	if (old.kind == SIM_UNIT && dax_unmap(&v->dax, first, 1) != 1)
		sim_fail("what was mapped at %lu was not recorded", first);
}

static void clear_range(struct sim_vma *v, uint64_t index, uint64_t count, bool even_cows)
{
	uint64_t end = index + count < index ? UINT64_MAX : index + count;

	end = min(end, v->dax.index + v->dax.count);
	for (uint64_t i = max(index, v->dax.index); i < end; i++) {
		enum sim_pte_kind kind = sim_pte(v, i)->kind;

		if (kind != SIM_NONE && (kind != SIM_PRIVATE || even_cows))
			clear_entry(v, i);
	}
}

/* ---- mm_ops ---------------------------------------------------------------------------------------------- */

static int raise_flags(struct sim_vma *v, uint64_t index, uint64_t n, enum dax_size size, uint64_t unit, bool write)
{
	for (uint64_t i = 0; i < n; i++) {
		struct sim_pte *p = sim_pte(v, index + i);

		if (p->kind != SIM_UNIT || p->size != size)
			return -EAGAIN;
		if (p->unit != unit + i)
			sim_fail("index %lu was recorded at another unit than it is mapped at", index + i);
		p->write |= write;
	}
	return 0;
}

static int insert_locked(struct sim_vma *v, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags)
{
	uint64_t n = sim_size_units(v->mm->sim, size);
	bool zero = flags & DAX_MAP_ZERO, write = flags & DAX_MAP_WRITE;

	if (write && (zero || !(v->flags & SIM_SHARED) || !(v->flags & SIM_WRITE)))
		sim_fail("a mapping at %lu became writable that must not be", index);
	if (v->mm->fail_insert && --v->mm->fail_insert == 0)
		return -ENOMEM;
	if (flags & DAX_MAP_THERE)
		return raise_flags(v, index, n, size, unit, write);
	for (uint64_t i = 0; i < n; i++) {
		struct sim_pte *p = sim_pte(v, index + i);

		if (p->kind != SIM_NONE && (p->kind != SIM_ZERO || !zero || p->size != size))
			return -EAGAIN;
	}
	for (uint64_t i = 0; i < n; i++)
		*sim_pte(v, index + i) = (struct sim_pte){
			.kind = zero ? SIM_ZERO : SIM_UNIT, .size = size, .write = write, .unit = zero ? 0 : unit + i,
		};
	return 0;
}

static int mm_insert(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags)
{
	struct sim_vma *v = vma_of(vma);
	int rc;

	pthread_mutex_lock(&v->mm->ptl);
	rc = insert_locked(v, index, size, unit, flags);
	pthread_mutex_unlock(&v->mm->ptl);
	return rc;
}

static int mm_zap(struct dax_vma *vma, uint64_t index, uint64_t count, bool even_cows)
{
	struct sim_vma *v = vma_of(vma);
	struct pending *p;
	int rc = 0;

	pthread_mutex_lock(&v->mm->ptl);
	if (v->mm->answer == SIM_PROMPT && list_empty(&v->pending)) {
		clear_range(v, index, count, even_cows);
	} else {
		p = calloc(1, sizeof(*p));
		*p = (struct pending){ .index = index, .count = count, .even_cows = even_cows };
		list_add_tail(&p->link, &v->pending);
		rc = -EINPROGRESS;
	}
	pthread_mutex_unlock(&v->mm->ptl);
	return rc;
}

static void mm_write_protect(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	struct sim_vma *v = vma_of(vma);
	uint64_t end = min(index + count, vma->index + vma->count);

	pthread_mutex_lock(&v->mm->ptl);
	for (uint64_t i = max(index, vma->index); i < end; i++)
		if (sim_pte(v, i)->kind == SIM_UNIT)
			sim_pte(v, i)->write = false;
	pthread_mutex_unlock(&v->mm->ptl);
}

static void mm_fail(struct dax_vma *vma, uint64_t index, enum dax_size size)
{
	struct sim_vma *v = vma_of(vma);

	(void)size;
	atomic_fetch_add(&v->mm->machine_checks, 1);
	pthread_mutex_lock(&v->mm->ptl);
	clear_range(v, index, 1, false);
	pthread_mutex_unlock(&v->mm->ptl);
}

static bool mm_huge(struct dax_vma *vma, uint64_t index)
{
	struct sim_vma *v = vma_of(vma);
	bool huge;

	pthread_mutex_lock(&v->mm->ptl);
	huge = sim_pte(v, index)->kind != SIM_NONE && sim_pte(v, index)->size > pgmap_base_size(v->mm->sim->pg);
	pthread_mutex_unlock(&v->mm->ptl);
	return huge;
}

static int mm_cow(struct dax_vma *vma, uint64_t index, uint64_t unit)
{
	struct sim_vma *v = vma_of(vma);
	struct sim *sim = v->mm->sim;
	uint64_t bytes = sim_unit_bytes(sim);
	uint8_t *page = calloc(1, bytes);

	for (uint64_t i = 0; unit != DAX_ZEROS && atomic_load(&sim->stored[unit]) && i < bytes; i++)
		page[i] = sim_peek(sim, unit, i);
	pthread_mutex_lock(&v->mm->ptl);
	if (sim_pte(v, index)->kind == SIM_PRIVATE) {
		free(page);
	} else {
		clear_range(v, index, 1, false);
		*sim_pte(v, index) = (struct sim_pte){
			.kind = SIM_PRIVATE, .size = pgmap_base_size(sim->pg), .write = true, .page = page,
		};
	}
	pthread_mutex_unlock(&v->mm->ptl);
	return 0;
}

static const struct mm_ops mm_ops = {
	.insert = mm_insert,
	.zap = mm_zap,
	.write_protect = mm_write_protect,
	.fail = mm_fail,
	.huge = mm_huge,
	.cow = mm_cow,
};

/* ---- Answers --------------------------------------------------------------------------------------------- */

static unsigned int drop_pending(struct sim_vma *v, bool zap)
{
	unsigned int n = 0;

	while (!list_empty(&v->pending)) {
		struct pending *p = list_entry(v->pending.next, struct pending, link);

		if (zap)
			clear_range(v, p->index, p->count, p->even_cows);
		list_del(&p->link);
		free(p);
		n++;
	}
	return n;
}

static unsigned int answer_vma(struct sim_vma *v)
{
	unsigned int n;

	pthread_mutex_lock(&v->mm->ptl);
	n = drop_pending(v, true);
	pthread_mutex_unlock(&v->mm->ptl);
	for (unsigned int i = 0; i < n; i++)
		dax_zap_done(&v->dax);
	return n;
}

unsigned int sim_answer(struct sim_mm *mm)
{
	unsigned int n = 0;
	struct list *pos;

	pthread_rwlock_rdlock(&mm->mmap_lock);
	list_for_each(pos, &mm->vmas)
		n += answer_vma(list_entry(pos, struct sim_vma, link));
	pthread_rwlock_unlock(&mm->mmap_lock);
	return n;
}

void sim_step(struct sim *sim)
{
	struct list *pos;

	list_for_each(pos, &sim->mms) {
		struct sim_mm *mm = list_entry(pos, struct sim_mm, link);

		if (mm->answer == SIM_LATE && mm->late_steps && ++mm->steps >= mm->late_steps) {
			mm->steps = 0;
			sim_answer(mm);
		}
	}
}

/* ---- Grants ---------------------------------------------------------------------------------------------- */

static struct sim_grant *grant_new_locked(struct sim_mm *mm, struct sim_file *f)
{
	struct sim *sim = mm->sim;
	struct grant_owner owner = { .id = ++sim->next_id, .ino = f->id };
	struct sim_grant *g = calloc(1, sizeof(*g));

	g->mm = mm;
	g->file = f;
	if (grant_new(sim->grants, &owner, &g->grant))
		sim_fail("no grant");
	list_add_tail(&g->link, &sim->grant_list);
	return g;
}

/* The grant of this mm on this file, and an area of it. */
struct sim_grant *sim_grant_get(struct sim_mm *mm, struct sim_file *f, uint32_t *area)
{
	struct sim_grant *g = NULL;
	struct list *pos;

	pthread_mutex_lock(&mm->sim->lock);
	list_for_each(pos, &mm->sim->grant_list) {
		struct sim_grant *have = list_entry(pos, struct sim_grant, link);

		if (have->mm == mm && have->file == f)
			g = have;
	}
	if (!g)
		g = grant_new_locked(mm, f);
	g->refs++;
	for (*area = 0; g->areas[*area]; ++*area)
		if (*area == GRANT_AREA_MAX)
			sim_fail("no area is free");
	g->areas[*area]++;
	pthread_mutex_unlock(&mm->sim->lock);
	return g;
}

void sim_grant_put(struct sim *sim, struct sim_grant *g, uint32_t area)
{
	pthread_mutex_lock(&sim->lock);
	g->areas[area]--;
	if (!--g->refs) {
		list_del(&g->link);
		if (grant_delete(g->grant))
			sim_fail("a grant goes with references left in its list");
		free(g);
	}
	pthread_mutex_unlock(&sim->lock);
}

/* ---- VMAs ------------------------------------------------------------------------------------------------ */

static uint64_t next_address(struct sim_mm *mm, uint64_t index, uint64_t count, uint64_t colour)
{
	unsigned int shift = mm->sim->shift;
	uint64_t gib = 1ULL << COLOURS, address = mm->next + ((index << shift) & (gib - 1)) + (colour << shift);

	mm->next = ((address + (count << shift)) | (gib - 1)) + 1 + gib;
	return address;
}

/* table: NULL, or the one its page-table entries are in already, from `pte` on. */
static struct sim_vma *vma_new(struct sim_mm *mm, struct sim_file *f, uint64_t index, uint64_t count,
			       struct sim_table *table, struct sim_pte *pte)
{
	struct sim_vma *v = calloc(1, sizeof(*v));

	v->table = table ? table : calloc(1, sizeof(*table) + count * sizeof(*pte));
	if (!v->table)
		sim_fail("no memory for page tables");
	v->table->refs++;
	v->pte = pte ? pte : v->table->pte;
	v->mm = mm;
	v->file = f;
	v->dax = (struct dax_vma){ .ops = &mm_ops, .index = index, .count = count };
	list_init(&v->pending);
	return v;
}

/* In the list of the mm, and told from now on. mmap_lock exclusive. */
static void vma_link(struct sim_vma *v)
{
	v->grant = sim_grant_get(v->mm, v->file, &v->dax.area);
	v->dax.grant = v->grant->grant;
	dax_vma_attach(v->file->mapping, &v->dax);
	list_add_tail(&v->link, &v->mm->vmas);
}

/* mmap_lock exclusive. */
static void vma_delete(struct sim_vma *v)
{
	pthread_mutex_lock(&v->mm->ptl);
	clear_range(v, v->dax.index, v->dax.count, true);
	pthread_mutex_unlock(&v->mm->ptl);
	list_del(&v->link);
	dax_vma_detach(&v->dax);
	drop_pending(v, false);
	sim_grant_put(v->mm->sim, v->grant, v->dax.area);
	if (!--v->table->refs)
		free(v->table);
	free(v);
}

uint64_t sim_mmap(struct sim_mm *mm, struct sim_file *f, uint64_t index, uint64_t count, unsigned int flags,
		  uint64_t colour)
{
	struct sim_vma *v = vma_new(mm, f, index, count, NULL, NULL);

	pthread_rwlock_wrlock(&mm->mmap_lock);
	v->flags = flags;
	v->address = next_address(mm, index, count, colour);
	vma_link(v);
	pthread_rwlock_unlock(&mm->mmap_lock);
	return v->address - (index << mm->sim->shift);
}

struct sim_vma *sim_vma_at(struct sim_mm *mm, uint64_t address)
{
	struct list *pos;

	list_for_each(pos, &mm->vmas) {
		struct sim_vma *v = list_entry(pos, struct sim_vma, link);

		if (address >= v->address && address < sim_vma_end(v))
			return v;
	}
	return NULL;
}

/* __split_vma(): a larger page-table entry that lies across goes; the later part is new. mmap_lock exclusive. */
static void vma_split(struct sim_vma *v, uint64_t address)
{
	uint64_t at = sim_index_at(v, address), keep = at - v->dax.index, count = v->dax.count - keep;
	struct sim_vma *new = vma_new(v->mm, v->file, at, count, v->table, v->pte + keep);

	answer_vma(v);
	pthread_mutex_lock(&v->mm->ptl);
	if (sim_pte(v, at)->kind != SIM_NONE && (at & (sim_size_units(v->mm->sim, sim_pte(v, at)->size) - 1)))
		clear_entry(v, at);
	pthread_mutex_unlock(&v->mm->ptl);
	new->address = address;
	new->flags = v->flags;
	new->grant = v->grant;
	while (dax_vma_split(&v->dax, &new->dax, at))
		answer_vma(v);
	pthread_mutex_lock(&v->mm->sim->lock);
	v->grant->refs++;
	v->grant->areas[v->dax.area]++;
	pthread_mutex_unlock(&v->mm->sim->lock);
	list_add_tail(&new->link, &v->mm->vmas);
}

/* Call fn for each VMA of the range, cut to it. mmap_lock is taken. */
static void each_vma(struct sim_mm *mm, uint64_t address, uint64_t count, bool cut,
		     void (*fn)(struct sim_vma *v, uint64_t index, uint64_t count, bool arg), bool arg)
{
	uint64_t end = address + (count << mm->sim->shift);

	pthread_rwlock_wrlock(&mm->mmap_lock);
	while (address < end) {
		struct sim_vma *v = sim_vma_at(mm, address);
		uint64_t next;

		if (!v) {
			address += sim_unit_bytes(mm->sim);
			continue;
		}
		if (cut && v->address < address) {
			vma_split(v, address);
			continue;
		}
		if (cut && sim_vma_end(v) > end)
			vma_split(v, end);
		next = min(sim_vma_end(v), end);
		fn(v, sim_index_at(v, address), (next - address) >> mm->sim->shift, arg);
		address = next;
	}
	pthread_rwlock_unlock(&mm->mmap_lock);
}

static void unmap_one(struct sim_vma *v, uint64_t index, uint64_t count, bool arg)
{
	(void)index;
	(void)count;
	(void)arg;
	vma_delete(v);
}

void sim_munmap(struct sim_mm *mm, uint64_t address, uint64_t count)
{
	each_vma(mm, address, count, true, unmap_one, false);
}

static void set_flag(struct sim_vma *v, unsigned int flag, bool on)
{
	v->flags = on ? v->flags | flag : v->flags & ~flag;
}

static void protect_one(struct sim_vma *v, uint64_t index, uint64_t count, bool write)
{
	set_flag(v, SIM_WRITE, write);
	/* Also when it is allowed again: the next store is noticed. */
	mm_write_protect(&v->dax, index, count);
}

void sim_protect(struct sim_mm *mm, uint64_t address, uint64_t count, bool write)
{
	each_vma(mm, address, count, true, protect_one, write);
}

static void nohuge_one(struct sim_vma *v, uint64_t index, uint64_t count, bool on)
{
	(void)index;
	(void)count;
	set_flag(v, SIM_NOHUGE, on);
}

void sim_nohuge(struct sim_mm *mm, uint64_t address, uint64_t count, bool on)
{
	each_vma(mm, address, count, true, nohuge_one, on);
}

/* Splitting a page-table entry of 2 MiB takes all of it out; it comes back by faults. */
static void dontneed_one(struct sim_vma *v, uint64_t index, uint64_t count, bool arg)
{
	(void)arg;
	pthread_mutex_lock(&v->mm->ptl);
	clear_range(v, index, count, true);
	pthread_mutex_unlock(&v->mm->ptl);
}

void sim_dontneed(struct sim_mm *mm, uint64_t address, uint64_t count)
{
	uint64_t bytes = sim_unit_bytes(mm->sim);

	/* mmap_lock shared, as madvise() has it: faults go on meanwhile. */
	pthread_rwlock_rdlock(&mm->mmap_lock);
	for (uint64_t a = address; a < address + (count << mm->sim->shift); a += bytes) {
		struct sim_vma *v = sim_vma_at(mm, a);

		if (v)
			dontneed_one(v, sim_index_at(v, a), 1, false);
	}
	pthread_rwlock_unlock(&mm->mmap_lock);
}

uint64_t sim_mremap(struct sim_mm *mm, uint64_t address, uint64_t colour)
{
	struct sim_vma *v;
	uint64_t at;

	pthread_rwlock_wrlock(&mm->mmap_lock);
	v = sim_vma_at(mm, address);
	pthread_mutex_lock(&mm->ptl);
	v->address = next_address(mm, v->dax.index, v->dax.count, colour);
	for (uint64_t i = v->dax.index; i < v->dax.index + v->dax.count; i++) {
		struct sim_pte *p = sim_pte(v, i);

		if (p->kind != SIM_NONE && p->size > pgmap_base_size(mm->sim->pg) &&
		    (colour & (sim_size_units(mm->sim, p->size) - 1)))
			clear_entry(v, i);
	}
	pthread_mutex_unlock(&mm->ptl);
	at = v->address - (v->dax.index << mm->sim->shift);
	pthread_rwlock_unlock(&mm->mmap_lock);
	return at;
}

/* ---- Processes ------------------------------------------------------------------------------------------- */

struct sim_mm *sim_mm_new(struct sim *sim)
{
	struct sim_mm *mm = calloc(1, sizeof(*mm));

	mm->sim = sim;
	mm->next = 1ULL << COLOURS;
	pthread_rwlock_init(&mm->mmap_lock, NULL);
	pthread_mutex_init(&mm->ptl, NULL);
	list_init(&mm->vmas);
	pthread_mutex_lock(&sim->lock);
	list_add_tail(&mm->link, &sim->mms);
	pthread_mutex_unlock(&sim->lock);
	return mm;
}

void sim_exit(struct sim_mm *mm)
{
	struct sim *sim = mm->sim;
	struct list *pos;

	pthread_rwlock_wrlock(&mm->mmap_lock);
	while (!list_empty(&mm->vmas))
		vma_delete(list_entry(mm->vmas.next, struct sim_vma, link));
	pthread_rwlock_unlock(&mm->mmap_lock);
	pthread_mutex_lock(&sim->lock);
	list_for_each(pos, &sim->grant_list)
		if (list_entry(pos, struct sim_grant, link)->mm == mm)
			list_entry(pos, struct sim_grant, link)->mm = NULL;
	list_del(&mm->link);
	pthread_mutex_unlock(&sim->lock);
	pthread_mutex_destroy(&mm->ptl);
	pthread_rwlock_destroy(&mm->mmap_lock);
	free(mm);
}

/* copy_page_range(): private copies are copied at once. Both page-table locks held. */
static void copy_ptes(struct sim_vma *to, struct sim_vma *from)
{
	uint64_t bytes = sim_unit_bytes(from->mm->sim);
	bool copied = !(from->flags & SIM_SHARED) && !dax_vma_copy(&to->dax, &from->dax);

	for (uint64_t i = 0; i < from->dax.count; i++) {
		const struct sim_pte *p = &from->pte[i];

		if (p->kind == SIM_PRIVATE) {
			to->pte[i] = *p;
			to->pte[i].page = memcpy(malloc(bytes), p->page, bytes);
		} else if (copied) {
			to->pte[i] = *p;
		}
	}
}

struct sim_mm *sim_fork(struct sim_mm *mm)
{
	struct sim_mm *child = sim_mm_new(mm->sim);
	struct list *pos;

	pthread_rwlock_wrlock(&mm->mmap_lock);
	child->next = mm->next;
	list_for_each(pos, &mm->vmas) {
		struct sim_vma *from = list_entry(pos, struct sim_vma, link);
		struct sim_vma *to = vma_new(child, from->file, from->dax.index, from->dax.count, NULL,
					     NULL);

		to->address = from->address;
		to->flags = from->flags;
		vma_link(to);
		pthread_mutex_lock(&mm->ptl);
		pthread_mutex_lock(&child->ptl);
		copy_ptes(to, from);
		pthread_mutex_unlock(&child->ptl);
		pthread_mutex_unlock(&mm->ptl);
	}
	pthread_rwlock_unlock(&mm->mmap_lock);
	return child;
}
