/*
 * What the kernel's tables say of counts, folios and owners, in both accountings and with both ways to drain:
 * references and mapcounts of each step of a mapping's life, folios built and taken apart, share counts of reflinked
 * blocks, system calls on mappings, media errors. sim_check() adds up everything after each step; here is what the
 * sum has to be.
 */
#include "dax/entry.h"

#include "../dax/world.h"
#include "unit.h"

static struct sim_file *f, *g;
static struct sim_mm *a, *b;
static uint64_t A, B;

static void actors(void)
{
	f = sim_create(w, 8 * MIB);
	g = sim_create(w, 8 * MIB);
	a = sim_mm_new(w);
	b = sim_mm_new(w);
	A = sim_mmap(a, f, 0, 4 * PMD, RW, 0);
	B = sim_mmap(b, f, 0, 4 * PMD, RW, 1);
}

static void setup(void)
{
	world_setup();
	actors();
}

/* Loop tests: bit 0 the accounting, bit 1 the way to drain. */
#define MODES	4

static bool paged(int mode)
{
	return mode & 1;
}

static void world_of_mode(int mode)
{
	const struct sim_config config = {
		.accounting = paged(mode) ? PGMAP_PAGE : PGMAP_HEAD, .drain = mode & 2 ? PGMAP_SWEEP : PGMAP_COUNTER,
	};

	world_with(&config);
	actors();
}

static void counts(uint64_t index, unsigned int refs, unsigned int maps)
{
	uint64_t word = pgmap_word(w->pg, sim_unit_of(f, index));

	ck_assert_uint_eq(folio_refcount(word), refs);
	ck_assert_uint_eq(folio_mapcount(word), maps);
}

/* ---- References ------------------------------------------------------------------------------------------ */

START_TEST(a_life_in_counts)
{
	struct sim_pin *p;

	world_of_mode(_i);
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	counts(0, 0, 0);				/* blocks of a file are idle */
	load(a, A);
	counts(0, 1, 1);				/* 2 MiB: one on the head, or one on each page */
	counts(511, paged(_i), paged(_i));
	store(a, A, 1);
	counts(0, 1, 1);				/* flags only */
	load(b, B + 511 * PAGE);			/* 4 KiB of it: on the head, or on its page */
	counts(0, paged(_i) ? 1 : 2, paged(_i) ? 1 : 2);
	counts(511, paged(_i) ? 2 : 0, paged(_i) ? 2 : 0);
	ck_assert_int_eq(sim_pin(b, B + 511 * PAGE, 1, 0, &p), 0);
	counts(paged(_i) ? 511 : 0, 3, 2);
	sim_munmap(b, B, 4 * PMD);
	counts(paged(_i) ? 511 : 0, 2, 1);
	sim_unpin(w, p);
	sim_munmap(a, A, 4 * PMD);
	counts(0, 0, 0);
	counts(511, 0, 0);
	ck_assert_int_eq(folio_owner(word_of(f, 0)), FOLIO_EXCLUSIVE);	/* the last reference clears no owner */
	ck_assert_int_eq(folio_size(word_of(f, 0)), DAX_PMD);
	sim_check(w);
}
END_TEST

START_TEST(an_entry_alone_holds_no_reference)
{
	world_of_mode(_i);
	store(a, A, 1);
	sim_dontneed(a, A, PMD);
	counts(0, 0, 0);
	ck_assert_int_eq(sim_entry(f, 0).kind, DAX_REAL);
	ck_assert_int_eq(pgmap_kill(w->pg), 0);
	ck_assert_int_eq(pgmap_drain(w->pg, 0), 0);
	sim_check(w);
}
END_TEST

START_TEST(zeros_have_no_reference_and_no_rss)
{
	struct pgmap_stat st;

	world_of_mode(_i);
	load(a, A);
	load(b, B + PMD * PAGE);
	pgmap_stat(w->pg, &st);
	ck_assert_uint_eq(st.refs, 0);
	ck_assert_uint_eq(sim_rss(a) + sim_rss(b), 0);
	store(a, A, 1);
	ck_assert_uint_eq(sim_rss(a), PMD);
	load(b, B);
	ck_assert_uint_eq(sim_rss(b), 1);
}
END_TEST

START_TEST(a_fault_that_maps_nothing_leaves_no_reference)
{
	world_of_mode(_i);
	store(a, A, 1);
	pgmap_poison(w->pg, sim_unit_of(f, 0));
	ck_assert_int_eq(load_is(b, B), SIM_MCE);
	counts(0, 1, 1);
	pgmap_unpoison(w->pg, sim_unit_of(f, 0));
}
END_TEST

START_TEST(removal_blocks_what_is_new_and_waits_for_what_is_old)
{
	struct sim_pin *p;

	world_of_mode(_i);
	store(a, A, 1);
	store(b, B + PMD * PAGE, 1);
	ck_assert_int_eq(sim_pin(a, A, 1, 0, &p), 0);
	sim_check(w);
	ck_assert_int_eq(pgmap_kill(w->pg), 0);
	sim_check(w);
	sim_dontneed(b, B, 4 * PMD);
	ck_assert_int_eq(load_is(b, B + PMD * PAGE), SIM_SIGBUS);
	ck_assert_int_eq(load_is(b, B), SIM_SIGBUS);
	ck_assert_int_eq(pgmap_drain(w->pg, 5), -ETIMEDOUT);
	sim_munmap(a, A, 4 * PMD);
	ck_assert_int_eq(pgmap_drain(w->pg, 5), -ETIMEDOUT);
	sim_unpin(w, p);
	ck_assert_int_eq(pgmap_drain(w->pg, 0), 0);
	sim_check(w);
}
END_TEST

/* ---- Folios ---------------------------------------------------------------------------------------------- */

START_TEST(a_folio_is_built_with_its_entry_and_goes_with_it)
{
	uint64_t unit;

	world_of_mode(_i);
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	unit = sim_unit_of(f, 0);
	ck_assert_uint_eq(pgmap_word(w->pg, unit), 0);
	store(a, A + 9 * PAGE, 1);
	ck_assert_uint_eq(pgmap_head(w->pg, unit + 9), unit);
	sim_munmap(a, A, 4 * PMD);
	ck_assert_uint_eq(pgmap_head(w->pg, unit + 9), unit);	/* refcount 0 takes nothing apart */
	ck_assert_int_eq(sim_break(f, 0, 1, NULL), 0);
	ck_assert_uint_eq(pgmap_head(w->pg, unit + 9), unit + 9);
	ck_assert_uint_eq(pgmap_word(w->pg, unit), 0);
	sim_check(w);
}
END_TEST

START_TEST(first_comer_sets_the_size)
{
	world_of_mode(_i);
	ck_assert_int_eq(sim_fallocate(f, 0, 2 * PMD, true), 0);
	load(b, B);					/* small first: all are small */
	load(a, A);
	ck_assert_int_eq(mapped_size(a, A), DAX_PTE);
	load(a, A + PMD * PAGE);			/* large first: small ones map parts */
	load(b, B + PMD * PAGE);
	ck_assert_int_eq(mapped_size(a, A + PMD * PAGE), DAX_PMD);
	ck_assert_int_eq(mapped_size(b, B + PMD * PAGE), DAX_PTE);
}
END_TEST

/* ---- Sharers --------------------------------------------------------------------------------------------- */

static unsigned int share(void)
{
	return folio_share(word_of(f, 0));
}

START_TEST(share_counts_entries_in_trees)
{
	uint64_t G = sim_mmap(b, g, 0, 4 * PMD, RW, 0);
	struct sim_file *h = sim_create(w, 8 * MIB);
	uint64_t H = sim_mmap(b, h, 0, 4 * PMD, RW, 0);

	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, NULL), 0);
	ck_assert_int_eq(sim_reflink(f, h, 0, PMD, NULL), 0);
	load(a, A);
	ck_assert_int_eq(folio_owner(word_of(f, 0)), FOLIO_EXCLUSIVE);	/* the first is not counted */
	load(b, G);
	ck_assert_int_eq(folio_owner(word_of(f, 0)), FOLIO_SHARED);
	ck_assert_uint_eq(share(), 2);
	load(b, H);
	ck_assert_uint_eq(share(), 3);
	sim_dontneed(b, H, PMD);
	load(b, H);
	load(a, A);
	ck_assert_uint_eq(share(), 3);			/* what faults again puts the old one first */
	ck_assert_int_eq(sim_break(h, 0, PMD, NULL), 0);
	ck_assert_uint_eq(share(), 2);
	ck_assert_int_eq(sim_break(g, 0, PMD, NULL), 0);
	ck_assert_uint_eq(share(), 1);
	ck_assert_int_eq(folio_owner(word_of(f, 0)), FOLIO_SHARED);	/* never EXCLUSIVE again */
	ck_assert_int_eq(sim_break(f, 0, PMD, NULL), 0);
	ck_assert_uint_eq(word_of(f, 0), 0);
	sim_check(w);
}
END_TEST

START_TEST(a_store_to_shared_blocks_goes_to_new_ones)
{
	uint64_t G = sim_mmap(b, g, 0, 4 * PMD, RW, 0), old;

	store(a, A + 9, 5);
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, NULL), 0);
	ck_assert_uint_eq(load(b, G + 9), 5);
	ck_assert_uint_eq(load(a, A + 9), 5);
	old = sim_unit_of(f, 0);
	store(a, A + 10, 6);
	ck_assert_uint_eq(load(a, A + 9), 5);
	ck_assert_uint_eq(load(b, G + 10), 0);
	ck_assert_uint_eq(sim_unit_of(g, 0), old);
	ck_assert_uint_ne(sim_unit_of(f, 0), old);
	ck_assert_int_eq(folio_owner(word_of(f, 0)), FOLIO_EXCLUSIVE);
	/* The other is alone with its block now: no copy. */
	store(b, G + 9, 7);
	ck_assert_uint_eq(sim_unit_of(g, 0), old);
	ck_assert_uint_eq(load(a, A + 9), 5);
	ck_assert_uint_eq(sim_used(w), 2 * PMD);
}
END_TEST

START_TEST(what_a_shared_entry_takes_along_is_flushed)
{
	uint64_t unit;

	store(a, A, 5);
	unit = sim_unit_of(f, 0);
	/* Another file has the block, and no layout was broken. */
	g->slot[0] = f->slot[0];
	sim_own(w, unit);
	ck_assert_uint_eq(load(b, B), 5);
	ck_assert_uint_eq(w->unflushed[unit], 0);
	ck_assert(!sim_entry(f, 0).dirty);
}
END_TEST

START_TEST(a_copy_that_fails_changes_nothing)
{
	uint64_t G = sim_mmap(b, g, 0, 4 * PMD, RW, 0), old;

	sim_nohuge(a, A, PMD, true);
	store(a, A, 5);
	ck_assert_int_eq(sim_reflink(f, g, 0, 1, NULL), 0);
	old = sim_unit_of(f, 0);
	f->fail_copy = 1;
	f->fail_errno = -EIO;
	ck_assert_int_eq(store_is(a, A, 6), SIM_SIGBUS);
	ck_assert_uint_eq(sim_unit_of(f, 0), old);
	ck_assert_uint_eq(load(a, A), 5);
	pgmap_poison(w->pg, old);
	ck_assert_int_eq(store_is(a, A, 6), SIM_MCE);
	pgmap_unpoison(w->pg, old);
	store(a, A, 6);
	ck_assert_uint_eq(load(b, G), 5);
	ck_assert_uint_eq(sim_used(w), 2);
}
END_TEST

START_TEST(a_copy_that_is_not_mapped_is_the_files_all_the_same)
{
	struct sim_mm *c = sim_mm_new(w);
	uint64_t C = sim_mmap(c, f, 0, 4 * PMD, RW, 0);

	store(a, A, 5);
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, NULL), 0);
	load(c, C);
	c->answer = SIM_SILENT;
	ck_assert_int_eq(store_is(c, C, 6), SIM_STUCK);
	sim_answer(c);
	c->answer = SIM_PROMPT;
	store(c, C, 6);
	ck_assert_uint_eq(sim_read(g, 0), 5);
	ck_assert_uint_eq(sim_used(w), 2 * PMD);
	/* The same, with a page table that cannot be had. */
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, NULL), 0);
	sim_nohuge(c, C, PMD, true);
	c->fail_insert = 1;
	ck_assert_int_eq(store_is(c, C, 7), SIM_OOM);
	ck_assert_uint_ne(sim_unit_of(f, 0), sim_unit_of(g, 0));
	ck_assert_uint_eq(sim_entry(f, 0).unit, sim_unit_of(f, 0));
	ck_assert_uint_eq(load(c, C), 6);
}
END_TEST

START_TEST(reflink_breaks_both_files_and_loses_no_store)
{
	struct sim_pin *p;
	const struct dax_break nowait = { .nowait = true };
	uint64_t G = sim_mmap(b, g, 0, 4 * PMD, RW, 0);

	store(a, A, 5);
	store(b, G, 9);
	ck_assert_int_eq(sim_pin(b, G, 1, 0, &p), 0);
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, &nowait), -EAGAIN);
	ck_assert_uint_eq(load(b, G), 9);
	sim_unpin(w, p);
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, &nowait), 0);
	sim_check(w);
	ck_assert_uint_eq(w->unflushed[sim_unit_of(f, 0)], 0);
	ck_assert_uint_eq(load(b, G), 5);
	ck_assert_uint_eq(sim_used(w), PMD);
	ck_assert_int_eq(sim_write(g, 0, 8), 0);
	ck_assert_uint_eq(load(a, A), 5);
	ck_assert_uint_eq(load(b, G), 8);
}
END_TEST

/* ---- System calls on mappings ---------------------------------------------------------------------------- */

START_TEST(munmap_of_a_part_takes_a_large_mapping_apart)
{
	world_of_mode(_i);
	store(a, A, 1);
	store(a, A + 5 * PAGE, 2);
	sim_munmap(a, A + 3 * PAGE, 1);
	sim_check(w);
	ck_assert_uint_eq(sim_rss(a), 0);
	ck_assert_int_eq(sim_entry(f, 0).size, DAX_PMD);
	ck_assert_uint_eq(load(a, A + 5 * PAGE), 2);
	ck_assert_int_eq(mapped_size(a, A + 5 * PAGE), DAX_PTE);
	ck_assert_int_eq(load_is(a, A + 3 * PAGE), SIM_SEGV);
	sim_munmap(a, A + 5 * PAGE, 4 * PMD - 5);
	sim_check(w);
	ck_assert_int_eq(load_is(a, A + 5 * PAGE), SIM_SEGV);
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	sim_check(w);
}
END_TEST

START_TEST(parts_of_a_split_mapping_are_revoked_each)
{
	store(a, A, 1);
	store(a, A + 2 * PMD * PAGE, 1);
	sim_munmap(a, A + PMD * PAGE, 1);
	store(a, A + PAGE, 1);
	ck_assert_int_eq(sim_truncate(f, 0, NULL), 0);
	sim_check(w);
	ck_assert_uint_eq(sim_rss(a), 0);
	ck_assert_int_eq(load_is(a, A + 2 * PMD * PAGE), SIM_SIGBUS);
}
END_TEST

START_TEST(mremap_to_another_colour)
{
	store(a, A + 7 * PAGE, 1);
	A = sim_mremap(a, A, 1);
	sim_check(w);
	ck_assert_uint_eq(load(a, A + 7 * PAGE), 1);
	ck_assert_int_eq(mapped_size(a, A + 7 * PAGE), DAX_PTE);
	A = sim_mremap(a, A, 0);
	ck_assert(is_mapped(a, A + 7 * PAGE));
	sim_check(w);
}
END_TEST

START_TEST(mprotect_of_half_of_it)
{
	store(a, A, 1);
	sim_protect(a, A, PMD / 2, false);
	sim_check(w);
	ck_assert_int_eq(store_is(a, A, 2), SIM_SEGV);
	ck_assert_uint_eq(load(a, A), 1);
	store(a, A + PMD / 2 * PAGE, 2);
	ck_assert_int_eq(mapped_size(a, A + PMD / 2 * PAGE), DAX_PTE);
	sim_protect(a, A, PMD / 2, true);
	ck_assert_uint_eq(store_faults(a, A), 1);
}
END_TEST

START_TEST(dontneed_keeps_the_data)
{
	store(a, A, 1);
	sim_dontneed(a, A, PMD);
	sim_check(w);
	ck_assert_uint_eq(load_faults(a, A), 1);
	ck_assert_int_eq(mapped_size(a, A), DAX_PMD);
	ck_assert_uint_eq(load(a, A), 1);
}
END_TEST

START_TEST(fork_of_a_shared_mapping_faults_anew)
{
	struct sim_mm *child;

	store(a, A, 1);
	child = sim_fork(a);
	sim_check(w);
	ck_assert_uint_eq(sim_rss(child), 0);
	store(child, A, 2);
	ck_assert_uint_eq(load(a, A), 2);
	sim_exit(a);
	sim_check(w);
	ck_assert_uint_eq(load(child, A), 2);
}
END_TEST

START_TEST(fork_of_a_private_mapping_copies_references)
{
	uint64_t P;
	struct sim_mm *child;

	world_of_mode(_i);
	P = sim_mmap(a, f, 0, 4 * PMD, SIM_WRITE, 0);
	ck_assert_int_eq(sim_fallocate(f, 0, PMD + 1, true), 0);
	load(a, P);
	load(a, P + PMD * PAGE);
	store(a, P + (PMD + 1) * PAGE, 5);
	child = sim_fork(a);
	sim_check(w);
	counts(0, 2, 2);
	counts(PMD, 2, 2);
	ck_assert_uint_eq(load_faults(child, P), 0);
	store(child, P + (PMD + 1) * PAGE, 6);
	ck_assert_uint_eq(load(a, P + (PMD + 1) * PAGE), 5);
	store(child, P + PMD * PAGE, 7);
	ck_assert_uint_eq(load(a, P + PMD * PAGE), 0);
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	sim_check(w);
	ck_assert(!is_mapped(child, P));
	sim_exit(child);
	sim_check(w);
}
END_TEST

START_TEST(fork_copies_nothing_that_is_being_revoked)
{
	uint64_t P = sim_mmap(a, f, 0, 4 * PMD, SIM_WRITE, 0);
	struct sim_mm *child;

	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	load(a, P);
	a->answer = SIM_SILENT;
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	child = sim_fork(a);
	sim_check(w);
	ck_assert_uint_eq(sim_rss(child), 0);
	sim_answer(a);
	ck_assert_uint_eq(pgmap_limbo(w->pg), 0);
}
END_TEST

/* ---- Media errors ---------------------------------------------------------------------------------------- */

START_TEST(a_lost_unit_is_told_to_all_its_mappers)
{
	uint64_t G = sim_mmap(b, g, 0, 4 * PMD, RW, 0), unit;

	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, NULL), 0);
	load(a, A);
	load(b, G);
	load(b, B + PMD * PAGE);
	unit = sim_unit_of(f, 7);
	ck_assert_uint_eq(dax_memory_failure(&w->dax, unit), 3);	/* b's of f too, without a page */
	sim_check(w);
	ck_assert_uint_eq(a->machine_checks, 1);
	ck_assert_uint_eq(b->machine_checks, 2);
	ck_assert_int_eq(load_is(a, A + 7 * PAGE), SIM_MCE);
	ck_assert_int_eq(load_is(b, G + 7 * PAGE), SIM_MCE);
	ck_assert_uint_eq(load(a, A + 8 * PAGE), 0);
	pgmap_unpoison(w->pg, unit);
	ck_assert_uint_eq(load(a, A + 7 * PAGE), 0);
}
END_TEST

START_TEST(a_lost_unit_that_nobody_maps)
{
	ck_assert_uint_eq(dax_memory_failure(&w->dax, 99), 0);
	sim_check(w);
	pgmap_unpoison(w->pg, 99);
}
END_TEST

static void add_calls(TCase *t)
{
	tcase_add_loop_test(t, munmap_of_a_part_takes_a_large_mapping_apart, 0, MODES);
	tcase_add_test(t, parts_of_a_split_mapping_are_revoked_each);
	tcase_add_test(t, mremap_to_another_colour);
	tcase_add_test(t, mprotect_of_half_of_it);
	tcase_add_test(t, dontneed_keeps_the_data);
	tcase_add_test(t, fork_of_a_shared_mapping_faults_anew);
	tcase_add_loop_test(t, fork_of_a_private_mapping_copies_references, 0, MODES);
	tcase_add_test(t, fork_copies_nothing_that_is_being_revoked);
}

static TCase *test_case(Suite *s, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, setup, world_teardown);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("mirror");
	TCase *t = test_case(s, "references");

	tcase_add_loop_test(t, a_life_in_counts, 0, MODES);
	tcase_add_loop_test(t, an_entry_alone_holds_no_reference, 0, MODES);
	tcase_add_loop_test(t, zeros_have_no_reference_and_no_rss, 0, MODES);
	tcase_add_loop_test(t, a_fault_that_maps_nothing_leaves_no_reference, 0, MODES);
	tcase_add_loop_test(t, removal_blocks_what_is_new_and_waits_for_what_is_old, 0, MODES);
	tcase_add_loop_test(t, a_folio_is_built_with_its_entry_and_goes_with_it, 0, MODES);
	tcase_add_loop_test(t, first_comer_sets_the_size, 0, MODES);
	t = test_case(s, "sharers");
	tcase_add_test(t, share_counts_entries_in_trees);
	tcase_add_test(t, a_store_to_shared_blocks_goes_to_new_ones);
	tcase_add_test(t, what_a_shared_entry_takes_along_is_flushed);
	tcase_add_test(t, a_copy_that_fails_changes_nothing);
	tcase_add_test(t, a_copy_that_is_not_mapped_is_the_files_all_the_same);
	tcase_add_test(t, reflink_breaks_both_files_and_loses_no_store);
	add_calls(test_case(s, "calls"));
	t = test_case(s, "media");
	tcase_add_test(t, a_lost_unit_is_told_to_all_its_mappers);
	tcase_add_test(t, a_lost_unit_that_nobody_maps);
	return unit_run(s);
}
