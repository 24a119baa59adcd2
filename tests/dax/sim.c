/*
 * The simulated pool: bytes, an allocator of units over a real pgmap, and the world's beginning and end.
 *
 * A unit is `used` from its allocation until page_free() brings it back; between the last file's letting go of it and
 * that it is in limbo. page_free() checks what must be true of a block that is free again (invariant I5).
 */
#include "sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "dax/shm.h"

#define UNITS_DEFAULT	4096U
#define MAPPER_MS	20
#define PMD_UNITS	512U

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* ---- Bytes ----------------------------------------------------------------------------------------------- */

uint8_t sim_peek(struct sim *sim, uint64_t unit, uint64_t offset)
{
	return __atomic_load_n(&sim->data[(unit << sim->shift) + offset], __ATOMIC_RELAXED);
}

void sim_poke(struct sim *sim, uint64_t unit, uint64_t offset, uint8_t value)
{
	atomic_store_explicit(&sim->stored[unit], 1, memory_order_relaxed);
	__atomic_store_n(&sim->data[(unit << sim->shift) + offset], value, __ATOMIC_RELAXED);
}

void sim_zero(struct sim *sim, uint64_t unit)
{
	if (atomic_exchange(&sim->stored[unit], 0))
		memset(sim->data + (unit << sim->shift), 0, sim_unit_bytes(sim));
	atomic_store(&sim->unflushed[unit], 0);
}

void sim_copy(struct sim *sim, uint64_t to, uint64_t from)
{
	sim_zero(sim, to);
	if (!atomic_load(&sim->stored[from]))
		return;
	/* By bytes, as they are stored: others may store to them meanwhile, as on hardware. */
	for (uint64_t i = 0; i < sim_unit_bytes(sim); i++)
		sim_poke(sim, to, i, sim_peek(sim, from, i));
}

/* ---- Allocation ------------------------------------------------------------------------------------------ */

/* The largest power of two, at most 1 GiB, that the range could be a folio of. */
static uint64_t congruence(const struct sim *sim, uint64_t index, uint64_t count)
{
	for (int size = DAX_PUD; size >= DAX_PMD; size--) {
		int order = pgmap_order(sim->pg, (enum dax_size)size);

		if (order > 0 && count >> order && !(index & ((1ULL << order) - 1)))
			return 1ULL << order;
	}
	return 1;
}

static bool places(const struct sim *sim, uint64_t unit, uint64_t index, uint64_t modulus)
{
	switch (sim->place) {
	case SIM_INCONGRUENT:
		return unit % PMD_UNITS != index % PMD_UNITS;
	case SIM_SCATTERED:
		return (!unit || !sim->used[unit - 1]) && (unit + 1 == sim->units || !sim->used[unit + 1]);
	case SIM_CONGRUENT:
		break;
	}
	return unit % modulus == index % modulus;
}

static uint64_t free_run(const struct sim *sim, uint64_t unit, uint64_t max)
{
	uint64_t n = 0;

	while (n < max && unit + n < sim->units && !sim->used[unit + n])
		n++;
	return n;
}

/*
 * The first place for all of it, or else for as much as fits at the first free unit: where that is not to agree, and
 * does, not so much that it could be a larger folio. alloc_lock held.
 */
static uint64_t find(const struct sim *sim, uint64_t index, uint64_t count, uint64_t *unit)
{
	uint64_t modulus = congruence(sim, index, count), u, n;

	for (u = 0; u < sim->units; u++) {
		if (sim->used[u] || !places(sim, u, index, modulus))
			continue;
		n = free_run(sim, u, count);
		*unit = u;
		if (n == count)
			return n;
	}
	for (u = 0; u < sim->units && sim->used[u]; u++)
		;
	*unit = u;
	if (sim->place == SIM_INCONGRUENT && !places(sim, u, index, modulus))
		count = 1;
	return u < sim->units ? free_run(sim, u, count) : 0;
}

int sim_alloc(struct sim *sim, uint64_t index, uint64_t count, uint64_t *unit, uint64_t *got)
{
	uint64_t n = 0;

	pthread_mutex_lock(&sim->alloc_lock);
	if (sim->fail_alloc && --sim->fail_alloc == 0)
		goto out;
	if (sim->place == SIM_SCATTERED)
		count = 1;
	if (count > sim->room)
		count = sim->room;
	n = count ? find(sim, index, count, unit) : 0;
	memset(sim->used + *unit, 1, n);
	sim->used_units += n;
	if (sim->room != SIM_NO_LIMIT)
		sim->room -= n;
out:
	pthread_mutex_unlock(&sim->alloc_lock);
	for (uint64_t i = 0; i < n; i++)
		sim_zero(sim, *unit + i);
	*got = n;
	return n ? 0 : -ENOSPC;
}

void sim_own(struct sim *sim, uint64_t unit)
{
	pthread_mutex_lock(&sim->alloc_lock);
	sim->owners[unit]++;
	pthread_mutex_unlock(&sim->alloc_lock);
}

void sim_disown(struct sim *sim, uint64_t unit)
{
	bool last;

	pthread_mutex_lock(&sim->alloc_lock);
	if (!sim->owners[unit])
		sim_fail("unit %lu was let go of twice", unit);
	last = !--sim->owners[unit];
	pthread_mutex_unlock(&sim->alloc_lock);
	if (last)
		pgmap_free_blocks(sim->pg, unit, 1);
}

void sim_put_back(struct sim *sim, uint64_t unit)
{
	pthread_mutex_lock(&sim->alloc_lock);
	if (sim->owners[unit] != 1 || !sim->used[unit])
		sim_fail("unit %lu was put back, used %u, owners %u", unit, sim->used[unit], sim->owners[unit]);
	sim->owners[unit] = 0;
	sim->used[unit] = 0;
	sim->used_units--;
	if (sim->room != SIM_NO_LIMIT)
		sim->room++;
	pthread_mutex_unlock(&sim->alloc_lock);
}

bool sim_unit_shared(struct sim *sim, uint64_t unit)
{
	bool shared;

	pthread_mutex_lock(&sim->alloc_lock);
	shared = sim->owners[unit] > 1;
	pthread_mutex_unlock(&sim->alloc_lock);
	return shared;
}

uint64_t sim_used(struct sim *sim)
{
	uint64_t used;

	pthread_mutex_lock(&sim->alloc_lock);
	used = sim->used_units;
	pthread_mutex_unlock(&sim->alloc_lock);
	return used;
}

/* I5: a block is free again only if nobody owns or refers to its folio. */
static void page_free(void *arg, uint64_t block, uint64_t count)
{
	struct sim *sim = arg;

	pthread_mutex_lock(&sim->alloc_lock);
	for (uint64_t u = block; u < block + count; u++) {
		uint64_t word = pgmap_word(sim->pg, pgmap_head(sim->pg, u));

		if (!sim->used[u] || sim->owners[u])
			sim_fail("unit %lu was freed, used %u, owners %u", u, sim->used[u], sim->owners[u]);
		/* Entries over other parts of a folio that outlived its own entry may still be there. */
		if ((folio_owner(word) != FOLIO_FREE && !(word & FOLIO_STALE)) || !pgmap_idle(sim->pg, u))
			sim_fail("unit %lu was freed, its folio is %lx", u, word);
		sim->used[u] = 0;
	}
	sim->used_units -= count;
	if (sim->room != SIM_NO_LIMIT)
		sim->room += count;
	pthread_mutex_unlock(&sim->alloc_lock);
}

/* ---- The world ------------------------------------------------------------------------------------------- */

static void *sparse(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		sim_fail("no memory for the world");
	return p;
}

static void grants_new(struct sim *sim)
{
	struct dax_shm_config shm = { .units = sim->units, .unit_shift = sim->shift, .like = -1 };
	int order[DAX_SIZES];
	unsigned int damaged;
	struct err err;
	bool reused;

	for (unsigned int size = 0; size < DAX_SIZES; size++)
		order[size] = pgmap_order(sim->pg, (enum dax_size)size);
	if (dax_shm_open(&sim->shm, &shm, &reused, &err) || grant_set_new(&sim->grants, sim->shm, order, &damaged))
		sim_fail("no grants");
}

static void lists_init(struct sim *sim)
{
	pthread_mutex_init(&sim->lock, NULL);
	pthread_mutex_init(&sim->alloc_lock, NULL);
	list_init(&sim->files);
	list_init(&sim->mms);
	list_init(&sim->pins);
	list_init(&sim->grant_list);
}

struct sim *sim_new(const struct sim_config *config)
{
	static const struct sim_config usual;
	const struct sim_config *c = config ? config : &usual;
	struct sim *sim = calloc(1, sizeof(*sim));
	struct pgmap_config pc = { .drain = c->drain, .accounting = c->accounting, .page_free = page_free, .arg = sim };

	if (!sim)
		sim_fail("no memory for the world");
	sim->units = c->units ? c->units : UNITS_DEFAULT;
	sim->file_units = c->file_units ? c->file_units : UNITS_DEFAULT;
	sim->shift = c->unit_shift ? c->unit_shift : DAX_PTE_SHIFT;
	sim->room = SIM_NO_LIMIT;
	pc.size = sim->units << sim->shift;
	pc.unit_shift = pc.block_shift = sim->shift;
	if (pgmap_new(&sim->pg, &pc))
		sim_fail("no pgmap");
	dax_init(&sim->dax, sim->pg);
	sim->dax.layout = c->layout;
	sim->dax.pin = c->pin;
	sim->dax.pin_busy = c->pin_busy;
	sim->dax.mapper_ms = c->mapper_ms ? c->mapper_ms : MAPPER_MS;
	if (c->max_size)
		sim->dax.max_size = c->max_size;
	lists_init(sim);
	sim->data = sparse(pc.size);
	sim->stored = sparse(sim->units);
	sim->unflushed = sparse(sim->units);
	sim->owners = sparse(sim->units * sizeof(*sim->owners));
	sim->used = sparse(sim->units);
	sim->live_before = sparse(sim->units / 8 + 8);
	grants_new(sim);
	return sim;
}

static void everybody_leaves(struct sim *sim)
{
	while (!list_empty(&sim->pins))
		sim_unpin(sim, list_entry(sim->pins.next, struct sim_pin, link));
	while (!list_empty(&sim->mms))
		sim_exit(list_entry(sim->mms.next, struct sim_mm, link));
	while (!list_empty(&sim->files)) {
		struct sim_file *f = list_entry(sim->files.next, struct sim_file, link);

		if (!f->gone) {
			sim_open(f);
			sim_unlink(f);
			while (!f->gone)
				sim_close(f);
		}
		list_del(&f->link);
		free(f->slot);
		free(f->cow);
		pthread_mutex_destroy(&f->lock);
		pthread_mutex_destroy(&f->rwsem);
		free(f);
	}
}

void sim_delete(struct sim *sim)
{
	struct pgmap_stat st;

	everybody_leaves(sim);
	sim_check(sim);
	pgmap_stat(sim->pg, &st);
	if (st.refs || st.limbo || sim->used_units || !list_empty(&sim->grant_list))
		sim_fail("the world ends with %lu references, %lu in limbo, %lu in use", st.refs, st.limbo,
			 sim->used_units);
	pgmap_kill(sim->pg);
	if (pgmap_drain(sim->pg, 0) || pgmap_destroy(sim->pg))
		sim_fail("the pgmap did not drain");
	grant_set_delete(sim->grants);
	dax_shm_close(sim->shm, true);
	dax_destroy(&sim->dax);
	munmap(sim->data, sim->units << sim->shift);
	munmap((void *)sim->stored, sim->units);
	munmap((void *)sim->unflushed, sim->units);
	munmap(sim->owners, sim->units * sizeof(*sim->owners));
	munmap(sim->used, sim->units);
	munmap(sim->live_before, sim->units / 8 + 8);
	pthread_mutex_destroy(&sim->lock);
	pthread_mutex_destroy(&sim->alloc_lock);
	free(sim);
}
