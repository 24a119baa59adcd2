/*
 * lib/dax/owner: who owns a folio, as a table of transitions; what becomes of it, and of blocks that are let go,
 * when the last reference or the last owner goes.
 */
#include <pthread.h>
#include <sched.h>

#include "pgmap_unit.h"

static struct freed freed;

/* The size above a unit, or a unit where there is none. */
static enum dax_size larger(const struct pgmap *pg)
{
	return pgmap_base_size(pg) < DAX_PUD ? pgmap_base_size(pg) + 1 : DAX_PUD;
}

static void ck_owner(const struct pgmap *pg, uint64_t unit, enum folio_owner owner, unsigned int share)
{
	ck_assert_int_eq(folio_owner(pgmap_word(pg, unit)), owner);
	ck_assert_uint_eq(folio_share(pgmap_word(pg, unit)), share);
}

/* ---- Transitions ------------------------------------------------------------------------------------------- */

enum event { PRIVATE, SHARE, GO };

/* From FREE, one after another; the state each leaves. */
static const struct {
	enum event		event;
	int			rc;
	enum folio_owner	owner;
	unsigned int		share;
} steps[] = {
	{ PRIVATE, 0, FOLIO_EXCLUSIVE, 0 },	{ PRIVATE, -EEXIST, FOLIO_EXCLUSIVE, 0 },
	{ GO, 0, FOLIO_FREE, 0 },		{ SHARE, 0, FOLIO_EXCLUSIVE, 0 },
	{ GO, 0, FOLIO_FREE, 0 },		{ SHARE, 0, FOLIO_EXCLUSIVE, 0 },
	{ SHARE, 0, FOLIO_SHARED, 2 },		{ PRIVATE, -EEXIST, FOLIO_SHARED, 2 },
	{ SHARE, 0, FOLIO_SHARED, 3 },		{ GO, 0, FOLIO_SHARED, 2 },
	{ GO, 0, FOLIO_SHARED, 1 },		{ PRIVATE, -EEXIST, FOLIO_SHARED, 1 },
	{ SHARE, 0, FOLIO_SHARED, 2 },		{ GO, 0, FOLIO_SHARED, 1 },
	{ GO, 0, FOLIO_FREE, 0 },		{ PRIVATE, 0, FOLIO_EXCLUSIVE, 0 },
	{ SHARE, 0, FOLIO_SHARED, 2 },		{ GO, 0, FOLIO_SHARED, 1 },
	{ GO, 0, FOLIO_FREE, 0 },
};

static void walk_steps(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	uint64_t violations = pgmap_violations(pg);

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].event == GO)
			pgmap_disassociate(pg, unit, size);
		else
			ck_assert_int_eq(pgmap_associate(pg, unit, size, steps[i].event == SHARE), steps[i].rc);
		violations += steps[i].rc == -EEXIST;
		ck_owner(pg, unit, steps[i].owner, steps[i].share);
		ck_assert_uint_eq(pgmap_violations(pg), violations);
	}
}

START_TEST(owners_come_and_go_as_in_the_kernel)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);

	for (enum dax_size size = pgmap_base_size(pg); size <= DAX_PUD; size++) {
		uint64_t unit = 2 * units_in(pg, DAX_PUD);

		walk_steps(pg, unit, size);
		ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
		pgmap_disassociate(pg, unit, size);
		ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	}
	pgmap_delete(pg);
}
END_TEST

/*
 * The same with a reference held throughout: at the end the folio is STALE, and its next owners are counted from
 * one.
 */
START_TEST(a_reference_keeps_the_folio_of_owners_that_went)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size size = larger(pg), base = pgmap_base_size(pg);
	uint64_t tail = units_in(pg, size) - 1;

	ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, size), 0);
	pgmap_disassociate(pg, 0, size);
	ck_assert(pgmap_word(pg, 0) & FOLIO_STALE);
	ck_assert_uint_eq(pgmap_head(pg, tail), 0);
	ck_assert_uint_eq(stat_of(pg).folios[size], 1);

	ck_assert_int_eq(pgmap_associate(pg, tail, base, false), 0);	/* a part of it */
	ck_owner(pg, 0, FOLIO_SHARED, 1);
	ck_assert_int_eq(pgmap_associate(pg, 0, base, false), 0);	/* another */
	ck_owner(pg, 0, FOLIO_SHARED, 2);
	pgmap_release_folio(pg, 0, size);
	ck_owner(pg, 0, FOLIO_SHARED, 2);
	ck_assert_uint_eq(pgmap_head(pg, tail), 0);
	pgmap_disassociate(pg, tail, base);
	ck_owner(pg, 0, FOLIO_SHARED, 1);
	pgmap_disassociate(pg, 0, base);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

START_TEST(a_stale_folio_falls_apart_at_its_last_release)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size size = larger(pg), base = pgmap_base_size(pg);
	uint64_t tail = units_in(pg, size) - 1;

	ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, size), 0);
	ck_assert_int_eq(pgmap_map_folio(pg, tail, base), 0);
	pgmap_disassociate(pg, 0, size);
	pgmap_release_folio(pg, 0, size);
	ck_assert_uint_eq(pgmap_head(pg, tail), 0);
	pgmap_unmap_folio(pg, tail, base);
	ck_assert_uint_eq(pgmap_head(pg, tail), tail);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

START_TEST(sharers_have_a_limit)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size size = larger(pg);
	unsigned int n, wrong = 0;

	for (n = 0; n < FOLIO_SHARE_MAX; n++)
		wrong += pgmap_associate(pg, 0, size, true) != 0;
	ck_assert_uint_eq(wrong, 0);
	ck_owner(pg, 0, FOLIO_SHARED, FOLIO_SHARE_MAX);
	ck_assert_int_eq(pgmap_associate(pg, 0, size, true), -EMLINK);
	ck_owner(pg, 0, FOLIO_SHARED, FOLIO_SHARE_MAX);
	pgmap_disassociate(pg, 0, size);
	ck_assert_int_eq(pgmap_associate(pg, 0, size, true), 0);
	while (n--)
		pgmap_disassociate(pg, 0, size);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

/* ---- Sizes that do not fit ----------------------------------------------------------------------------------- */

START_TEST(smaller_folios_with_references_are_in_the_way)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg), size = larger(pg);
	uint64_t n = units_in(pg, size);

	for (uint64_t at = 0; at < n; at += n - 1) {
		ck_assert_int_eq(pgmap_request_folio(pg, at, base), 0);
		ck_assert_int_eq(pgmap_associate(pg, 0, size, false), -EBUSY);
		ck_assert_int_eq(pgmap_associate(pg, at, base, false), 0);	/* fall back */
		ck_owner(pg, at, FOLIO_EXCLUSIVE, 0);
		ck_assert_int_eq(pgmap_associate(pg, 0, size, true), -EBUSY);
		ck_assert_uint_eq(pgmap_violations(pg), 0);
		ck_assert_uint_eq(pgmap_head(pg, n - 1), n - 1);
		pgmap_disassociate(pg, at, base);
		ck_assert_int_eq(pgmap_associate(pg, 0, size, false), -EBUSY);	/* STALE, of one unit */
		pgmap_release_folio(pg, at, base);
		ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
		pgmap_disassociate(pg, 0, size);
	}
	end_pgmap(pg);
}
END_TEST

START_TEST(smaller_folios_with_an_owner_are_a_violation)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg), size = larger(pg);

	ck_assert_int_eq(pgmap_associate(pg, 3, base, false), 0);
	ck_assert_int_eq(pgmap_associate(pg, 0, size, false), -EEXIST);
	ck_assert_uint_eq(pgmap_violations(pg), 1);
	ck_assert_int_eq(pgmap_associate(pg, 0, size, true), -EBUSY);
	ck_assert_uint_eq(pgmap_violations(pg), 1);
	pgmap_delete(pg);
}
END_TEST

/* Units of 4 KiB: an entry of 2 MiB in a stale folio of 1 GiB falls back to units, which are accounted to that. */
START_TEST(a_larger_folio_takes_units_only)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	uint64_t unit = 7 * 512;

	ck_assert_int_eq(pgmap_associate(pg, 0, DAX_PUD, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, DAX_PTE), 0);
	pgmap_disassociate(pg, 0, DAX_PUD);
	ck_assert_int_eq(pgmap_associate(pg, unit, DAX_PMD, false), -EBUSY);
	ck_assert_int_eq(pgmap_associate(pg, unit, DAX_PTE, false), 0);
	ck_owner(pg, 0, FOLIO_SHARED, 1);
	pgmap_disassociate(pg, unit, DAX_PTE);
	pgmap_release_folio(pg, 0, DAX_PTE);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	ck_assert_int_eq(pgmap_associate(pg, unit, DAX_PMD, false), 0);
	pgmap_disassociate(pg, unit, DAX_PMD);
	end_pgmap(pg);
}
END_TEST

START_TEST(a_folio_made_by_a_request_can_get_an_owner)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size size = larger(pg);
	struct pgmap_folio out;
	unsigned int count = 1;

	ck_assert_int_eq(pgmap_request_folios(pg, 0, 1ULL << dax_size_shift(size), &out, &count), 0);
	ck_owner(pg, 0, FOLIO_FREE, 0);
	ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
	ck_owner(pg, 0, FOLIO_EXCLUSIVE, 0);
	pgmap_release_folios(pg, &out, count);
	ck_owner(pg, 0, FOLIO_EXCLUSIVE, 0);
	ck_assert_int_eq(folio_size(pgmap_word(pg, 0)), size > pgmap_base_size(pg) ? size : 0);
	pgmap_disassociate(pg, 0, size);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

START_TEST(poison_survives_its_folio)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);

	pgmap_poison(pg, 3);
	if (base < DAX_PUD)
		ck_assert_int_eq(pgmap_associate(pg, 0, larger(pg), false), -EBUSY);
	ck_assert_int_eq(pgmap_associate(pg, 3, base, false), 0);
	pgmap_disassociate(pg, 3, base);
	ck_assert_uint_eq(pgmap_word(pg, 3), FOLIO_POISON);
	end_pgmap(pg);
}
END_TEST

/* ---- Limbo ------------------------------------------------------------------------------------------------- */

static unsigned int blocks_per_unit(const struct pgmap *pg)
{
	return 1U << (pgmap_config(pg)->unit_shift - pgmap_config(pg)->block_shift);
}

static void ck_run(unsigned int i, uint64_t block, uint64_t count)
{
	ck_assert_uint_lt(i, freed.runs);
	ck_assert_uint_eq(freed.run[i].block, block);
	ck_assert_uint_eq(freed.run[i].count, count);
	ck_assert(!freed.twice);
}

START_TEST(blocks_nobody_refers_to_go_back_at_once)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	uint64_t per = blocks_per_unit(pg);

	pgmap_free_blocks(pg, 1, 2 * per);		/* nothing was ever there */
	ck_run(0, 1, 2 * per);
	ck_assert_int_eq(pgmap_associate(pg, 1, base, false), 0);
	pgmap_disassociate(pg, 1, base);
	pgmap_free_blocks(pg, 3 * per, per);
	ck_run(1, 3 * per, per);
	pgmap_free_blocks(pg, 4 * GIB / 4096 + 5, 2);	/* behind the last unit */
	ck_run(2, 4 * GIB / 4096 + 5, 2);
	ck_assert_uint_eq(freed.runs, 3);
	ck_assert_uint_eq(pgmap_limbo(pg), 0);
	end_pgmap(pg);
}
END_TEST

/* Units 1 and 3 of five have a pin and a mapping: their blocks wait, the others' go, in runs. */
START_TEST(blocks_somebody_refers_to_wait_for_the_last_release)
{
	struct pgmap *pg = new_pgmap(_i, 8 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	uint64_t per = blocks_per_unit(pg);

	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 3, base), 0);
	ck_assert_int_eq(pgmap_map_folio(pg, 3, base), 0);
	pgmap_release_folio(pg, 3, base);
	pgmap_free_blocks(pg, 0, 5 * per);
	ck_assert_uint_eq(freed.runs, 3);
	ck_run(0, 0, per);
	ck_run(1, 2 * per, per);
	ck_run(2, 4 * per, per);
	ck_assert_uint_eq(pgmap_limbo(pg), 2 * per);
	ck_assert_uint_eq(stat_of(pg).limbo, 2 * per);
	ck_assert(pgmap_block_in_limbo(pg, per));
	ck_assert(!pgmap_block_in_limbo(pg, 0));
	pgmap_unmap_folio(pg, 3, base);
	ck_run(3, 3 * per, per);
	ck_assert_uint_eq(pgmap_limbo(pg), per);
	pgmap_release_folio(pg, 1, base);
	ck_run(4, per, per);
	ck_assert_uint_eq(freed.runs, 5);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

/* A part of a unit's blocks, or of a folio's units, waits; exactly that goes back. */
START_TEST(exactly_what_was_let_go_goes_back)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size size = larger(pg);
	uint64_t folio = units_in(pg, size) * blocks_per_unit(pg);

	ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, size), 0);
	pgmap_disassociate(pg, 0, size);
	pgmap_free_blocks(pg, 3, 2);
	pgmap_free_blocks(pg, 5, 1);
	pgmap_free_blocks(pg, folio - 1, 3);
	ck_assert_uint_eq(freed.runs, 1);
	ck_run(0, folio, 2);
	ck_assert_uint_eq(pgmap_limbo(pg), 4);
	pgmap_release_folio(pg, 0, size);
	ck_assert_uint_eq(freed.runs, 3);
	ck_run(1, 3, 3);
	ck_run(2, folio - 1, 1);
	ck_assert_uint_eq(freed.blocks, 6);
	ck_assert_uint_eq(pgmap_limbo(pg), 0);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

/* A block must not go to another file while an entry refers to it. */
START_TEST(blocks_with_an_owner_wait_for_it)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	uint64_t block = blocks_per_unit(pg);

	ck_assert_int_eq(pgmap_associate(pg, 1, base, false), 0);
	pgmap_free_blocks(pg, block, 1);
	ck_assert_uint_eq(pgmap_violations(pg), 1);
	ck_assert_uint_eq(freed.runs, 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);
	pgmap_release_folio(pg, 1, base);
	ck_assert_uint_eq(freed.runs, 0);
	pgmap_disassociate(pg, 1, base);
	ck_assert_uint_eq(freed.runs, 1);
	ck_run(0, block, 1);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	pgmap_delete(pg);
}
END_TEST

START_TEST(blocks_are_let_go_once)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);

	ck_assert_int_eq(pgmap_request_folio(pg, 0, base), 0);
	pgmap_free_blocks(pg, 0, 1);
	pgmap_free_blocks(pg, 0, 1);
	ck_assert_uint_eq(pgmap_violations(pg), 1);
	ck_assert_uint_eq(pgmap_limbo(pg), 1);
	pgmap_release_folio(pg, 0, base);
	ck_assert_uint_eq(freed.runs, 1);
	ck_assert_uint_eq(pgmap_limbo(pg), 0);
	pgmap_delete(pg);
}
END_TEST

/* The last release and the letting go, at the same time, both orders and all between: once each. */
struct race {
	struct pgmap		*pg;
	_Atomic unsigned int	 round;
	_Atomic unsigned int	 ready;
};

#define RACE_ROUNDS	4000

static void *race_release(void *arg)
{
	struct race *r = arg;

	for (unsigned int n = 1; n <= RACE_ROUNDS; n++) {
		while (atomic_load(&r->round) != n)
			sched_yield();
		for (volatile unsigned int spin = n % 64; spin; spin--)
			;
		pgmap_release_folio(r->pg, n % 8, pgmap_base_size(r->pg));
		atomic_store(&r->ready, n);
	}
	return NULL;
}

START_TEST(the_race_between_them_frees_once)
{
	struct race r = { .pg = new_pgmap(_i, 8 * GIB, &freed) };
	uint64_t per = blocks_per_unit(r.pg);
	unsigned int wrong = 0;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, race_release, &r), 0);
	for (unsigned int n = 1; n <= RACE_ROUNDS; n++) {
		freed.runs = 0;
		freed.blocks = 0;
		wrong += pgmap_request_folio(r.pg, n % 8, pgmap_base_size(r.pg)) != 0;
		atomic_store(&r.round, n);
		for (volatile unsigned int spin = n / 64 % 64; spin; spin--)
			;
		pgmap_free_blocks(r.pg, n % 8 * per, per);
		while (atomic_load(&r.ready) != n)
			sched_yield();
		wrong += freed.runs != 1 || freed.blocks != per || pgmap_limbo(r.pg) != 0;
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(wrong, 0);
	end_pgmap(r.pg);
}
END_TEST

static Suite *owner_suite(void)
{
	Suite *s = suite_create("owner");
	TCase *owners = tcase_create("owners"), *sizes = tcase_create("sizes"), *limbo = tcase_create("limbo");

	tcase_add_loop_test(owners, owners_come_and_go_as_in_the_kernel, 0, CONFIGS);
	tcase_add_loop_test(owners, a_reference_keeps_the_folio_of_owners_that_went, 0, CONFIGS_2M);
	tcase_add_loop_test(owners, a_stale_folio_falls_apart_at_its_last_release, 0, CONFIGS);
	tcase_add_loop_test(owners, sharers_have_a_limit, 0, CONFIGS);
	suite_add_tcase(s, owners);
	tcase_add_loop_test(sizes, smaller_folios_with_references_are_in_the_way, 0, CONFIGS_2M);
	tcase_add_loop_test(sizes, smaller_folios_with_an_owner_are_a_violation, 0, CONFIGS_2M);
	tcase_add_loop_test(sizes, a_larger_folio_takes_units_only, 0, CONFIGS_4K);
	tcase_add_loop_test(sizes, a_folio_made_by_a_request_can_get_an_owner, 0, CONFIGS);
	tcase_add_loop_test(sizes, poison_survives_its_folio, 0, CONFIGS);
	suite_add_tcase(s, sizes);
	tcase_add_loop_test(limbo, blocks_nobody_refers_to_go_back_at_once, 0, CONFIGS);
	tcase_add_loop_test(limbo, blocks_somebody_refers_to_wait_for_the_last_release, 0, CONFIGS);
	tcase_add_loop_test(limbo, exactly_what_was_let_go_goes_back, 0, CONFIGS);
	tcase_add_loop_test(limbo, blocks_with_an_owner_wait_for_it, 0, CONFIGS);
	tcase_add_loop_test(limbo, blocks_are_let_go_once, 0, CONFIGS);
	tcase_add_loop_test(limbo, the_race_between_them_frees_once, 0, CONFIGS);
	tcase_set_timeout(limbo, 60);
	suite_add_tcase(s, limbo);
	return s;
}

int main(void)
{
	return unit_run(owner_suite());
}
