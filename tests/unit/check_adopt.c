/*
 * Counts from lists: a table that a new daemon counts from the grant lists of one that was killed is the table that one
 * had, and whoever is gone gives back all it held.
 */
#include <errno.h>
#include <string.h>

#include "../dax/sim.h"
#include "dax/shm.h"
#include "unit.h"

#define POOL_UNITS	4096U

static void no_page_free(void *arg, uint64_t block, uint64_t count)
{
	(void)arg, (void)block, (void)count;
}

/* A second daemon's view of the same lists: a set and a table of its own. */
static struct pgmap *count_again(struct dax_shm *shm, const struct pgmap_config *like, struct grant_set **set,
				 uint64_t *counted)
{
	struct pgmap_config config = *like;
	int orders[DAX_SIZES];
	unsigned int damaged;
	struct pgmap *pg;

	config.words = NULL;
	config.page_free = no_page_free;
	ck_assert_int_eq(pgmap_new(&pg, &config), 0);
	for (unsigned int size = 0; size < DAX_SIZES; size++)
		orders[size] = pgmap_order(pg, (enum dax_size)size);
	ck_assert_int_eq(grant_set_new(set, shm, orders, &damaged), 0);
	ck_assert_uint_eq(damaged, 0);
	ck_assert_int_eq(dax_adopt(pg, *set, counted), 0);
	return pg;
}

static void same_counts(const struct pgmap *a, const struct pgmap *b)
{
	for (uint64_t u = 0; u < pgmap_units(a); u++) {
		uint64_t x = pgmap_word(a, u), y = pgmap_word(b, u);

		ck_assert_uint_eq(folio_refcount(x), folio_refcount(y));
		ck_assert_uint_eq(folio_mapcount(x), folio_mapcount(y));
		if (folio_refcount(x))
			ck_assert_uint_eq(folio_size(x), folio_size(y));
	}
}

/* Two processes on two files: pages, 2 MiB, pins, a fork, parts taken away again. */
static void live(struct sim *sim, struct sim_mm *mm[3], struct sim_file *f[2])
{
	struct sim_pin *pin;
	uint64_t at[2];
	uint8_t value;

	for (int i = 0; i < 2; i++) {
		f[i] = sim_create(sim, 1024 * sim_unit_bytes(sim));
		mm[i] = sim_mm_new(sim);
	}
	for (int i = 0; i < 2; i++) {
		at[i] = sim_mmap(mm[i], f[i], 0, 1024, SIM_SHARED | SIM_WRITE | (i ? SIM_NOHUGE : 0), 0);
		for (uint64_t u = 0; u < 700; u += 3)
			ck_assert_int_eq(sim_store(mm[i], at[i] + u * sim_unit_bytes(sim), (uint8_t)u), SIM_OK);
	}
	ck_assert_int_eq(sim_load(mm[1], at[1], &value), SIM_OK);
	ck_assert_int_eq(sim_pin(mm[0], at[0] + 5 * sim_unit_bytes(sim), 2, 0, &pin), 0);
	ck_assert_int_eq(sim_pin(mm[1], at[1] + 9 * sim_unit_bytes(sim), 1, 0, &pin), 0);
	mm[2] = sim_fork(mm[1]);
	ck_assert_int_eq(sim_load(mm[2], at[1] + 30 * sim_unit_bytes(sim), &value), SIM_OK);
	sim_munmap(mm[1], at[1] + 60 * sim_unit_bytes(sim), 40);
	ck_assert_int_eq(sim_punch(f[1], 300, 50, NULL), 0);
}

START_TEST(a_new_daemon_counts_what_the_old_one_had)
{
	struct sim_config config = { .units = POOL_UNITS, .accounting = _i & 1 ? PGMAP_PAGE : PGMAP_HEAD };
	struct sim *sim = sim_new(&config);
	struct sim_file *f[2];
	struct grant_set *set;
	struct sim_mm *mm[3];
	struct pgmap_stat st;
	struct pgmap *pg;
	uint64_t counted;

	live(sim, mm, f);
	pg = count_again(sim->shm, pgmap_config(sim->pg), &set, &counted);
	same_counts(sim->pg, pg);
	pgmap_stat(sim->pg, &st);
	if (config.accounting == PGMAP_HEAD)
		ck_assert_uint_eq(counted, st.refs);
	ck_assert_uint_gt(counted, 200);
	ck_assert_uint_eq(pgmap_violations(pg), 0);
	grant_set_delete(set);
	pgmap_delete(pg);
	sim_delete(sim);
}
END_TEST

static struct grant *holder(struct grant_set *set, uint64_t id)
{
	struct grant_owner owner = { .id = id, .ino = 7, .pid = 1 };
	struct grant *g;

	ck_assert_int_eq(grant_new(set, &owner, &g), 0);
	return g;
}

static void hold(struct grant *g, enum grant_kind kind, enum dax_size size, uint32_t area, uint64_t index,
		 uint64_t unit, uint64_t count)
{
	const struct grant_ref ref = {
		.kind = kind, .size = size, .area = area, .index = index, .unit = unit, .count = count,
	};

	ck_assert_int_eq(grant_add(g, &ref), 0);
}

/* What `live` cannot record: a list of somebody who was killed and of whom nothing else is left. */
static struct dax_shm *lists_of_the_dead(void)
{
	struct dax_shm_config config = { .units = POOL_UNITS, .unit_shift = 12, .like = -1 };
	static const int orders[DAX_SIZES] = { 0, 9, 18 };
	struct grant_set *set;
	struct dax_shm *shm;
	unsigned int damaged;
	struct err err;
	struct grant *g;
	bool reused;

	ck_assert_int_eq(dax_shm_open(&shm, &config, &reused, &err), 0);
	ck_assert_int_eq(grant_set_new(&set, shm, orders, &damaged), 0);
	g = holder(set, 1);
	hold(g, GRANT_MAP, DAX_PMD, 0, 512, 1024, 2);
	hold(g, GRANT_MAP, DAX_PTE, 0, 0, 100, 50);
	hold(g, GRANT_PIN, DAX_PTE, 1, 520, 1032, 3);
	g = holder(set, 2);
	hold(g, GRANT_MAP, DAX_PTE, 0, 520, 1032, 4);
	hold(g, GRANT_LAYOUT, DAX_PTE, 0, 0, 100, 1);
	grant_set_delete(set);
	return shm;
}

static const struct pgmap_config plain = { .size = (uint64_t)POOL_UNITS << 12, .unit_shift = 12, .block_shift = 12 };

START_TEST(a_part_of_a_large_folio_is_counted_on_it)
{
	struct dax_shm *shm = lists_of_the_dead();
	struct grant_set *set;
	uint64_t counted;
	struct pgmap *pg = count_again(shm, &plain, &set, &counted);

	ck_assert_uint_eq(counted, 2 + 50 + 3 + 4 + 1);
	ck_assert_uint_eq(folio_refcount(pgmap_word(pg, 1024)), 1 + 3 + 4);
	ck_assert_uint_eq(folio_mapcount(pgmap_word(pg, 1024)), 1 + 4);
	ck_assert_uint_eq(folio_refcount(pgmap_word(pg, 1536)), 1);
	ck_assert_uint_eq(folio_size(pgmap_word(pg, 1024)), DAX_PMD);
	ck_assert(pgmap_word(pg, 1024) & FOLIO_STALE);
	ck_assert_uint_eq(folio_refcount(pgmap_word(pg, 100)), 2);
	ck_assert_uint_eq(folio_mapcount(pgmap_word(pg, 100)), 1);
	grant_set_delete(set);
	pgmap_delete(pg);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(whoever_is_gone_gives_back_all_it_held)
{
	struct dax_shm *shm = lists_of_the_dead();
	struct grant_set *set;
	struct pgmap_stat st;
	uint64_t counted;
	struct pgmap *pg = count_again(shm, &plain, &set, &counted);

	ck_assert_uint_eq(dax_drop_grant(pg, grant_find(set, 1)), 55);
	ck_assert_uint_eq(folio_refcount(pgmap_word(pg, 1024)), 4);
	ck_assert_uint_eq(dax_drop_grant(pg, grant_find(set, 2)), 5);
	pgmap_stat(pg, &st);
	ck_assert_uint_eq(st.refs, 0);
	ck_assert_uint_eq(st.folios[DAX_PMD], 0);	/* nobody owned them: they fell apart */
	ck_assert_ptr_null(grant_set_next(set, NULL));
	ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(pgmap_drain(pg, 0), 0);
	ck_assert_uint_eq(pgmap_violations(pg), 0);
	grant_set_delete(set);
	ck_assert_int_eq(pgmap_destroy(pg), 0);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(a_list_that_names_what_cannot_be_is_refused)
{
	struct dax_shm *shm = lists_of_the_dead();
	static const int orders[DAX_SIZES] = { 0, 9, 18 };
	struct pgmap_config small = plain;
	struct grant_set *set;
	unsigned int damaged;
	struct pgmap *pg;
	uint64_t counted;

	small.size = 512 << 12;
	small.page_free = no_page_free;
	ck_assert_int_eq(pgmap_new(&pg, &small), 0);
	ck_assert_int_eq(grant_set_new(&set, shm, orders, &damaged), 0);
	ck_assert_int_eq(dax_adopt(pg, set, &counted), -EINVAL);
	grant_set_delete(set);
	pgmap_delete(pg);
	dax_shm_close(shm, true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("adopt");
	TCase *tc = tcase_create("adopt");

	tcase_add_loop_test(tc, a_new_daemon_counts_what_the_old_one_had, 0, 2);
	tcase_add_test(tc, a_part_of_a_large_folio_is_counted_on_it);
	tcase_add_test(tc, whoever_is_gone_gives_back_all_it_held);
	tcase_add_test(tc, a_list_that_names_what_cannot_be_is_refused);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
