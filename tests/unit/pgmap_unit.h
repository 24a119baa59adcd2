/*
 * What the tests of the folio table share: a pgmap in each configuration, and an allocator that remembers what it
 * got back.
 */
#ifndef PGMAP_UNIT_H
#define PGMAP_UNIT_H

#include <errno.h>
#include <string.h>

#include "dax/pgmap.h"
#include "unit.h"

#define KIB		1024ULL
#define MIB		(1024 * KIB)
#define GIB		(1024 * MIB)
#define FREED_MAX	4096

/* Blocks given back, in order; `twice` when a block came that is there. */
struct freed {
	struct {
		uint64_t block, count;
	} run[FREED_MAX];
	unsigned int	runs;
	uint64_t	blocks;
	bool		twice;
};

static inline void note_freed(void *arg, uint64_t block, uint64_t count)
{
	struct freed *f = arg;

	for (unsigned int i = 0; i < f->runs; i++)
		f->twice |= block < f->run[i].block + f->run[i].count && f->run[i].block < block + count;
	if (f->runs < FREED_MAX) {
		f->run[f->runs].block = block;
		f->run[f->runs++].count = count;
	}
	f->blocks += count;
}

/* Every accounting, every drain policy, every size of units: a loop test runs over [0, CONFIGS). */
#define CONFIGS		12
#define CONFIGS_4K	4	/* the first of them have units of 4 KiB */
#define CONFIGS_2M	8	/* the first of them have units of 2 MiB at most */

static inline struct pgmap_config config_of(int i, uint64_t size, struct freed *freed)
{
	static const unsigned int shifts[] = { 12, 21, 30 };

	memset(freed, 0, sizeof(*freed));
	return (struct pgmap_config){
		.size = size, .unit_shift = shifts[i / 4], .block_shift = 12, .drain = (enum pgmap_drain)(i & 1),
		.accounting = (enum pgmap_accounting)(i / 2 & 1), .page_free = note_freed, .arg = freed,
	};
}

static inline struct pgmap *new_pgmap(int i, uint64_t size, struct freed *freed)
{
	struct pgmap_config config = config_of(i, size, freed);
	struct pgmap *pg = NULL;

	ck_assert_int_eq(pgmap_new(&pg, &config), 0);
	return pg;
}

/* Units in a folio of this size. */
static inline uint64_t units_in(const struct pgmap *pg, enum dax_size size)
{
	return 1ULL << pgmap_order(pg, size);
}

/* PAGE accounting counts each of its pages, HEAD one. */
static inline uint64_t counted(const struct pgmap *pg, enum dax_size size)
{
	return pgmap_config(pg)->accounting == PGMAP_PAGE ? units_in(pg, size) : 1;
}

static inline unsigned int refs(const struct pgmap *pg, uint64_t unit)
{
	return folio_refcount(pgmap_word(pg, unit));
}

static inline struct pgmap_stat stat_of(struct pgmap *pg)
{
	struct pgmap_stat st;

	pgmap_stat(pg, &st);
	return st;
}

/* Nothing is left in it, nothing went wrong in it: gone. */
static inline void end_pgmap(struct pgmap *pg)
{
	struct pgmap_stat st = stat_of(pg);

	ck_assert_uint_eq(st.live, 0);
	ck_assert_uint_eq(st.refs, 0);
	ck_assert_uint_eq(st.limbo, 0);
	ck_assert_uint_eq(pgmap_violations(pg), 0);
	if (pgmap_state(pg) == PGMAP_LIVE)
		ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(pgmap_drain(pg, 10000), 0);
	ck_assert_int_eq(pgmap_destroy(pg), 0);
}

#endif
