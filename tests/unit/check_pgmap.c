/*
 * lib/dax/pgmap: making a table, and references on one folio, against the sentences of pgmap.h. References by range are
 * check_pgmap_range's, owners check_owner's, removal and waiting check_drain's.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "pgmap_unit.h"
#include "util/fault.h"

static struct freed freed;

/* ---- Making ---------------------------------------------------------------------------------------------- */

START_TEST(what_makes_no_table_is_refused)
{
	static const struct {
		uint64_t size;
		unsigned int unit_shift, block_shift;
		int rc;
	} cases[] = {
		{ 4096, 12, 12, 0 }, { 8191, 12, 12, 0 }, { MIB, 12, 9, 0 }, { GIB, 21, 12, 0 }, { GIB, 30, 12, 0 },
		{ 4095, 12, 12, -EINVAL }, { 0, 12, 12, -EINVAL }, { MIB, 12, 13, -EINVAL }, { MIB, 13, 12, -EINVAL },
		{ MIB, 0, 0, -EINVAL }, { GIB, 39, 12, -EINVAL }, { 2 * MIB - 1, 21, 12, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pgmap_config config = { .size = cases[i].size, .unit_shift = cases[i].unit_shift,
					       .block_shift = cases[i].block_shift, .page_free = note_freed,
					       .arg = &freed };
		struct pgmap *pg = NULL;

		ck_assert_int_eq(pgmap_new(&pg, &config), cases[i].rc);
		ck_assert(!pg == (cases[i].rc != 0));
		pgmap_delete(pg);
		config.page_free = NULL;
		ck_assert_int_eq(pgmap_new(&pg, &config), -EINVAL);
	}
}
END_TEST

START_TEST(memory_that_cannot_be_had_is_said)
{
	struct pgmap_config config = config_of(0, GIB, &freed);
	struct pgmap *pg = NULL;

	for (unsigned long n = 1; n <= 4; n++) {
		fault_arm(FAULT_ALLOC, n);
		ck_assert_int_eq(pgmap_new(&pg, &config), -ENOMEM);
	}
	fault_disarm(FAULT_ALLOC);
	ck_assert_int_eq(pgmap_new(&pg, &config), 0);
	pgmap_delete(pg);
}
END_TEST

START_TEST(a_new_table_is_live_and_zero)
{
	static const int orders[][DAX_SIZES] = { { 0, 9, 18 }, { -1, 0, 9 }, { -1, -1, 0 } };
	struct pgmap *pg = new_pgmap(_i, 3 * GIB + 2 * MIB + 4095, &freed);
	struct pgmap_stat none = { 0 }, st = stat_of(pg);

	ck_assert_int_eq(pgmap_state(pg), PGMAP_LIVE);
	ck_assert_uint_eq(pgmap_units(pg), (3 * GIB + 2 * MIB) >> pgmap_config(pg)->unit_shift);
	ck_assert_int_eq(pgmap_base_size(pg), _i / 4);
	for (unsigned int size = 0; size < DAX_SIZES; size++)
		ck_assert_int_eq(pgmap_order(pg, (enum dax_size)size), orders[_i / 4][size]);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	ck_assert_mem_eq(&st, &none, sizeof(st));
	for (uint64_t u = 0; u < pgmap_units(pg); u += 511) {
		ck_assert_uint_eq(pgmap_word(pg, u), 0);
		ck_assert_uint_eq(pgmap_head(pg, u), u);
		ck_assert(pgmap_idle(pg, u));
		ck_assert(!pgmap_busy(pg, u));
	}
	ck_assert_uint_eq(pgmap_word(pg, pgmap_units(pg)), 0);
	end_pgmap(pg);
}
END_TEST

START_TEST(words_may_be_the_callers)
{
	struct pgmap_config config = config_of(_i, 2 * GIB, &freed);
	uint64_t units = config.size >> config.unit_shift;
	_Atomic uint64_t *words = calloc(units, sizeof(*words));
	struct pgmap *pg;

	config.words = words;
	ck_assert_int_eq(pgmap_new(&pg, &config), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, units - 1, pgmap_base_size(pg)), 0);
	ck_assert_uint_eq(words[units - 1], FOLIO_REF_ONE);
	pgmap_delete(pg);
	ck_assert_uint_eq(words[units - 1], FOLIO_REF_ONE);
	free(words);
}
END_TEST

/* ---- One folio ------------------------------------------------------------------------------------------- */

START_TEST(references_and_mappings_are_counted)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);

	for (enum dax_size size = pgmap_base_size(pg); size <= DAX_PUD; size++) {
		uint64_t unit = units_in(pg, DAX_PUD), n = counted(pg, size), tail = unit + units_in(pg, size) - 1;

		ck_assert_int_eq(pgmap_associate(pg, unit, size, false), 0);
		ck_assert_int_eq(pgmap_request_folio(pg, unit, size), 0);
		ck_assert_int_eq(pgmap_request_folio(pg, unit, size), 0);
		ck_assert_int_eq(pgmap_map_folio(pg, unit, size), 0);
		ck_assert_uint_eq(refs(pg, unit), 3);
		ck_assert_uint_eq(refs(pg, tail), pgmap_config(pg)->accounting == PGMAP_PAGE || tail == unit ? 3 : 0);
		ck_assert_uint_eq(folio_pins(pgmap_word(pg, unit)), 2);
		ck_assert_uint_eq(stat_of(pg).live, n);
		ck_assert_uint_eq(stat_of(pg).refs, 3 * n);
		ck_assert_uint_eq(stat_of(pg).maps, n);
		ck_assert_uint_eq(stat_of(pg).folios[size], 1);
		ck_assert(pgmap_busy(pg, tail));
		pgmap_release_folio(pg, unit, size);
		pgmap_release_folio(pg, unit, size);
		ck_assert(!pgmap_busy(pg, tail));
		ck_assert(!pgmap_idle(pg, tail));
		pgmap_unmap_folio(pg, unit, size);
		ck_assert(pgmap_idle(pg, tail));
		ck_assert_uint_eq(stat_of(pg).refs, 0);
		pgmap_disassociate(pg, unit, size);
		ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	}
	end_pgmap(pg);
}
END_TEST

/* A reference on a part of a folio: HEAD counts it on the head, PAGE on the part. */
START_TEST(a_part_of_a_folio_is_accounted_to_it)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg), size = base + 1;
	uint64_t n = units_in(pg, size), tail = 2 * n - 3;
	bool page = pgmap_config(pg)->accounting == PGMAP_PAGE;

	ck_assert_int_eq(pgmap_associate(pg, n, size, false), 0);
	ck_assert_uint_eq(pgmap_head(pg, tail), n);
	ck_assert_int_eq(pgmap_request_folio(pg, tail, base), 0);
	ck_assert_int_eq(pgmap_map_folio(pg, tail, base), 0);
	ck_assert_uint_eq(refs(pg, n), page ? 0 : 2);
	ck_assert_uint_eq(refs(pg, tail), page ? 2 : 0);
	ck_assert(!pgmap_idle(pg, n + 1));
	ck_assert(pgmap_busy(pg, n + 1));
	pgmap_release_folio(pg, tail, base);
	ck_assert(!pgmap_busy(pg, n));
	pgmap_unmap_folio(pg, tail, base);
	ck_assert(pgmap_idle(pg, n));
	ck_assert_uint_eq(pgmap_head(pg, tail), n);
	pgmap_disassociate(pg, n, size);
	ck_assert_uint_eq(pgmap_head(pg, tail), tail);
	end_pgmap(pg);
}
END_TEST

START_TEST(what_is_no_folio_is_refused)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	uint64_t units = pgmap_units(pg);

	for (enum dax_size size = DAX_PTE; size <= DAX_PUD; size++) {
		uint64_t bad[] = { units, units + 1, UINT64_MAX, 1 };
		bool none = pgmap_order(pg, size) < 0;

		for (size_t i = 0; i < (size > pgmap_base_size(pg) || none ? 4 : 3); i++) {
			ck_assert_int_eq(pgmap_request_folio(pg, bad[i], size), -EINVAL);
			ck_assert_int_eq(pgmap_map_folio(pg, bad[i], size), -EINVAL);
			ck_assert_int_eq(pgmap_associate(pg, bad[i], size, false), -EINVAL);
		}
		ck_assert_uint_eq(pgmap_violations(pg), 0);
	}
	ck_assert_uint_eq(pgmap_next_used(pg, 0), units);
	pgmap_poison(pg, units);
	pgmap_unpoison(pg, units);
	end_pgmap(pg);
}
END_TEST

START_TEST(what_nobody_holds_cannot_be_given_back)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	uint64_t word, n = 0;

	pgmap_release_folio(pg, 1, base);
	ck_assert_uint_eq(pgmap_violations(pg), ++n);
	pgmap_unmap_folio(pg, 1, base);
	ck_assert_uint_eq(pgmap_violations(pg), ++n);
	pgmap_release_folio(pg, pgmap_units(pg), base);
	ck_assert_uint_eq(pgmap_violations(pg), ++n);
	pgmap_disassociate(pg, 1, base);
	ck_assert_uint_eq(pgmap_violations(pg), ++n);
	ck_assert_uint_eq(pgmap_word(pg, 1), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);
	word = pgmap_word(pg, 1);
	pgmap_unmap_folio(pg, 1, base);
	ck_assert_uint_eq(pgmap_violations(pg), ++n);
	ck_assert_uint_eq(pgmap_word(pg, 1), word);
	ck_assert_int_eq(pgmap_map_folio(pg, 1, base), 0);
	pgmap_release_folio(pg, 1, base);
	word = pgmap_word(pg, 1);
	pgmap_release_folio(pg, 1, base);	/* the mapping's reference is not a pin */
	ck_assert_uint_eq(pgmap_violations(pg), ++n);
	ck_assert_uint_eq(pgmap_word(pg, 1), word);
	pgmap_delete(pg);
}
END_TEST

START_TEST(a_mapping_needs_a_reference_and_a_folio_as_large)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);

	ck_assert_int_eq(pgmap_map_folio(pg, 0, base), -EINVAL);
	ck_assert_uint_eq(pgmap_violations(pg), 1);
	ck_assert_int_eq(pgmap_associate(pg, 0, base, false), 0);
	ck_assert_int_eq(pgmap_map_folio(pg, 0, base), -EINVAL);
	ck_assert_uint_eq(pgmap_violations(pg), 2);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, base), 0);
	ck_assert_uint_eq(stat_of(pg).refs, 1);
	if (base < DAX_PUD) {
		ck_assert_int_eq(pgmap_map_folio(pg, 0, base + 1), -EINVAL);
		ck_assert_uint_eq(pgmap_violations(pg), 3);
		ck_assert_uint_eq(stat_of(pg).refs, 1);
	}
	pgmap_delete(pg);
}
END_TEST

/* PAGE: one page in the middle has none. What was counted before it is taken back. */
START_TEST(a_mapping_over_a_page_without_a_reference_leaves_nothing)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg), size = base + 1;
	uint64_t n = units_in(pg, size);

	if (pgmap_config(pg)->accounting == PGMAP_PAGE) {
		ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
		ck_assert_int_eq(pgmap_request_folio(pg, 0, size), 0);
		pgmap_release_folio(pg, n / 2, base);
		ck_assert_int_eq(pgmap_map_folio(pg, 0, size), -EINVAL);
		ck_assert_uint_eq(pgmap_violations(pg), 1);
		ck_assert_uint_eq(stat_of(pg).refs, n - 1);
		ck_assert_uint_eq(stat_of(pg).maps, 0);
	}
	pgmap_delete(pg);
}
END_TEST

START_TEST(counts_stop_at_their_limit)
{
	struct pgmap_config config = config_of(_i, 4 * GIB, &freed);
	_Atomic uint64_t *words = calloc(config.size >> config.unit_shift, sizeof(*words));
	struct pgmap_folio out[8];
	unsigned int count = 8;
	enum dax_size base;
	struct pgmap *pg;
	uint64_t full;

	config.words = words;
	ck_assert_int_eq(pgmap_new(&pg, &config), 0);
	base = pgmap_base_size(pg);
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);
	words[1] += (FOLIO_REF_MAX - 2) * FOLIO_REF_ONE;
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);
	full = words[1];
	ck_assert_uint_eq(folio_refcount(full), FOLIO_REF_MAX);
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), -ENOMEM);
	ck_assert_int_eq(pgmap_map_folio(pg, 1, base), -ENOMEM);
	ck_assert_int_eq(pgmap_request_folios(pg, 0, 2ULL << config.unit_shift, out, &count), -ENOMEM);
	ck_assert_uint_eq(count, 8);
	ck_assert_uint_eq(words[1], full);
	ck_assert_uint_eq(words[0], 0);
	pgmap_release_folio(pg, 1, base);
	ck_assert_int_eq(pgmap_map_folio(pg, 1, base), 0);
	ck_assert_uint_eq(pgmap_violations(pg), 0);
	pgmap_delete(pg);
	free(words);
}
END_TEST

START_TEST(poison_refuses_new_references_only)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg), size = base < DAX_PUD ? base + 1 : base;
	uint64_t n = units_in(pg, size), bad = n - 1;

	ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, size), 0);
	pgmap_poison(pg, bad);
	pgmap_poison(pg, bad);
	ck_assert_uint_eq(stat_of(pg).poisoned, 1);
	ck_assert(pgmap_poisoned(pg, bad, 1));
	ck_assert(pgmap_poisoned(pg, 0, n));
	ck_assert(!pgmap_poisoned(pg, n, 1));
	ck_assert(bad == 0 || !pgmap_poisoned(pg, 0, bad));
	ck_assert_int_eq(pgmap_request_folio(pg, 0, size), -EHWPOISON);
	ck_assert_int_eq(pgmap_request_folio(pg, bad, base), -EHWPOISON);
	ck_assert_int_eq(pgmap_map_folio(pg, 0, size), 0);
	pgmap_unmap_folio(pg, 0, size);
	pgmap_release_folio(pg, 0, size);
	pgmap_disassociate(pg, 0, size);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), bad);
	ck_assert_uint_eq(pgmap_word(pg, bad), FOLIO_POISON);
	pgmap_unpoison(pg, bad);
	pgmap_unpoison(pg, bad);
	ck_assert_uint_eq(stat_of(pg).poisoned, 0);
	ck_assert_int_eq(pgmap_request_folio(pg, bad, base), 0);
	pgmap_release_folio(pg, bad, base);
	end_pgmap(pg);
}
END_TEST

/* ---- Sparse ---------------------------------------------------------------------------------------------- */

static uint64_t resident(void)
{
	unsigned long long size, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%llu %llu", &size, &pages) != 2)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

START_TEST(a_tebibyte_costs_what_is_touched)
{
	uint64_t before = resident(), last, right = 0;
	struct pgmap *pg = new_pgmap(_i, 1024 * GIB, &freed);
	double start = seconds();

	last = pgmap_units(pg) - 1;
	ck_assert_uint_eq(stat_of(pg).table_bytes, 0);
	ck_assert(pgmap_idle(pg, last));
	ck_assert_int_eq(pgmap_request_folio(pg, last, pgmap_base_size(pg)), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, last / 2, pgmap_base_size(pg)), 0);
	for (unsigned int n = 0; n < 1000; n++)
		right += pgmap_next_used(pg, 0) == last / 2 && pgmap_next_used(pg, last / 2 + 1) == last;
	ck_assert_uint_eq(right, 1000);
	pgmap_poison(pg, 0);
	for (unsigned int n = 0; n < 1000; n++)
		right -= !pgmap_poisoned(pg, last, 1);
	ck_assert_uint_eq(right, 0);
	pgmap_unpoison(pg, 0);
	ck_assert_uint_le(stat_of(pg).table_bytes, 3 * 4096);
	ck_assert_uint_lt(resident() - before, 16 * MIB);
	pgmap_free_blocks(pg, 0, last / 4);	/* a quarter of the pool, or less, that no word was ever written of */
	ck_assert_uint_eq(freed.blocks, last / 4);
	pgmap_release_folio(pg, last, pgmap_base_size(pg));
	pgmap_release_folio(pg, last / 2, pgmap_base_size(pg));
	end_pgmap(pg);
	ck_assert(seconds() - start < 10);
}
END_TEST

static Suite *pgmap_suite(void)
{
	Suite *s = suite_create("pgmap");
	TCase *make = tcase_create("make"), *one = tcase_create("one");

	tcase_add_test(make, what_makes_no_table_is_refused);
	tcase_add_test(make, memory_that_cannot_be_had_is_said);
	tcase_add_loop_test(make, a_new_table_is_live_and_zero, 0, CONFIGS);
	tcase_add_loop_test(make, words_may_be_the_callers, 0, CONFIGS);
	tcase_add_loop_test(make, a_tebibyte_costs_what_is_touched, 0, CONFIGS);
	suite_add_tcase(s, make);
	tcase_add_loop_test(one, references_and_mappings_are_counted, 0, CONFIGS);
	tcase_add_loop_test(one, a_part_of_a_folio_is_accounted_to_it, 0, CONFIGS_2M);
	tcase_add_loop_test(one, what_is_no_folio_is_refused, 0, CONFIGS);
	tcase_add_loop_test(one, what_nobody_holds_cannot_be_given_back, 0, CONFIGS);
	tcase_add_loop_test(one, a_mapping_needs_a_reference_and_a_folio_as_large, 0, CONFIGS);
	tcase_add_loop_test(one, a_mapping_over_a_page_without_a_reference_leaves_nothing, 0, CONFIGS_2M);
	tcase_add_loop_test(one, counts_stop_at_their_limit, 0, CONFIGS);
	tcase_add_loop_test(one, poison_refuses_new_references_only, 0, CONFIGS);
	suite_add_tcase(s, one);
	return s;
}

int main(void)
{
	return unit_run(pgmap_suite());
}
