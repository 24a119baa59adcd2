/*
 * Mapping entries: each transition of a mapping tree's slot, and the lock of an entry - who waits on what, who is
 * woken, and that no wakeup is lost.
 */
#include "dax/entry.h"

#include "../dax/world.h"
#include "unit.h"
#include "util/fault.h"

static struct sim_file *f;
static struct sim_mm *a, *b;
static uint64_t A, B;

static void setup(void)
{
	world_setup();
	f = sim_create(w, 8 * MIB);
	a = sim_mm_new(w);
	b = sim_mm_new(w);
	A = sim_mmap(a, f, 0, 4 * PMD, RW, 0);
	B = sim_mmap(b, f, 0, 4 * PMD, RW, 0);
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	world_teardown();
}

/* What an unlocked entry at `index` is now. */
static void expect(uint64_t index, enum dax_kind kind, enum dax_size size, bool dirty)
{
	struct dax_entry_info e = sim_entry(f, index);

	ck_assert_int_eq(e.kind, kind);
	ck_assert(!e.locked);
	if (kind != DAX_NONE)
		ck_assert_int_eq(e.size, size);
	ck_assert_int_eq(e.dirty, dirty);
	sim_check(w);
}

/* An EMPTY entry, left as by a fault that failed. */
static void leave_empty(uint64_t index, enum dax_size size)
{
	uint64_t e;

	ck_assert_int_eq(entry_grab(f->mapping, index, size, &e), 0);
	entry_unlock(f->mapping, index, e);
}

/* ---- Transitions ----------------------------------------------------------------------------------------- */

START_TEST(a_fault_makes_an_empty_locked_entry)
{
	static const enum dax_size sizes[] = { DAX_PTE, DAX_PMD };
	struct dax_entry_info info;
	uint64_t e, index = (uint64_t)_i * PMD;

	ck_assert_int_eq(entry_grab(f->mapping, index + 7, sizes[_i], &e), 0);
	info = sim_entry(f, index + 7);
	ck_assert_int_eq(info.kind, DAX_EMPTY);
	ck_assert(info.locked);
	ck_assert_int_eq(info.size, sizes[_i]);
	ck_assert_uint_eq(info.index, sizes[_i] ? index : index + 7);
	ck_assert_uint_eq(f->mapping->nrpages, sizes[_i] ? PMD : 1);
	entry_unlock(f->mapping, index + 7, e);
	expect(index + 7, DAX_EMPTY, sizes[_i], false);
}
END_TEST

START_TEST(a_smaller_entry_of_any_kind_refuses_a_larger_fault)
{
	uint64_t e;

	leave_empty(3, DAX_PTE);
	sim_nohuge(a, A, 4 * PMD, true);
	load(a, A + (PMD + 3) * PAGE);
	store(a, A + (2 * PMD + 3) * PAGE, 1);
	for (uint64_t i = 0; i < 3; i++) {
		struct dax_entry_info before = sim_entry(f, i * PMD + 3);

		ck_assert_int_eq(entry_grab(f->mapping, i * PMD, DAX_PMD, &e), -EAGAIN);
		expect(i * PMD + 3, before.kind, DAX_PTE, before.dirty);
		expect(i * PMD, DAX_NONE, 0, false);
	}
}
END_TEST

START_TEST(a_pte_fault_takes_an_empty_pmd_entry_apart)
{
	leave_empty(0, DAX_PMD);
	sim_nohuge(a, A, PMD, true);
	load(a, A + 5 * PAGE);
	expect(5, DAX_ZERO, DAX_PTE, false);
	expect(4, DAX_NONE, 0, false);
}
END_TEST

START_TEST(a_pte_fault_takes_a_zero_pmd_entry_apart_and_out_of_all_page_tables)
{
	uint64_t C = sim_mmap(b, f, 0, PMD, RW, 1);

	load(a, A);
	load(b, B);
	expect(0, DAX_ZERO, DAX_PMD, false);
	store(b, C + 9 * PAGE, 5);
	expect(9, DAX_REAL, DAX_PTE, true);
	expect(8, DAX_NONE, 0, false);
	ck_assert(!is_mapped(a, A) && !is_mapped(a, A + 511 * PAGE) && !is_mapped(b, B));
	ck_assert_uint_eq(load(a, A + 9 * PAGE), 5);
}
END_TEST

START_TEST(a_real_pmd_entry_serves_pte_faults_as_it_is)
{
	store(a, A, 1);
	sim_fsync(f, 0, PMD);
	expect(0, DAX_REAL, DAX_PMD, false);
	sim_nohuge(b, B, PMD, true);
	ck_assert_uint_eq(load(b, B + 77 * PAGE), 0);
	ck_assert_int_eq(mapped_size(b, B + 77 * PAGE), DAX_PTE);
	expect(77, DAX_REAL, DAX_PMD, false);
	store(b, B + 77 * PAGE, 3);
	expect(0, DAX_REAL, DAX_PMD, true);		/* all of it dirty */
	ck_assert_uint_eq(load(a, A + 77 * PAGE), 3);
}
END_TEST

START_TEST(reads_of_a_hole_make_and_keep_a_zero_entry)
{
	leave_empty(0, DAX_PMD);
	load(a, A);
	expect(0, DAX_ZERO, DAX_PMD, false);
	ck_assert_uint_eq(load_faults(b, B), 1);
	expect(0, DAX_ZERO, DAX_PMD, false);
	ck_assert_uint_eq(sim_blocks(f), 0);
}
END_TEST

START_TEST(reads_of_unwritten_blocks_are_zero_entries_until_a_store)
{
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, false), 0);
	load(a, A);
	expect(0, DAX_ZERO, DAX_PMD, false);
	store(a, A + PAGE, 1);
	expect(0, DAX_REAL, DAX_PMD, true);
}
END_TEST

START_TEST(a_read_after_allocation_replaces_a_zero_entry)
{
	load(a, A);
	load(b, B);
	/* Blocks come without anybody being told, as from a fault that failed after its allocation. */
	f->fail_begin = 0;
	pthread_mutex_lock(&f->lock);
	ck_assert_int_eq(sim_alloc(w, 0, PMD, &f->slot[0], &f->slot[1]), 0);
	for (uint64_t i = PMD, unit = f->slot[0]; i-- > 0;) {
		f->slot[i] = SIM_SLOT(unit + i);
		sim_own(w, unit + i);
	}
	pthread_mutex_unlock(&f->lock);
	sim_dontneed(b, B, PMD);
	load(b, B);
	expect(0, DAX_REAL, DAX_PMD, false);
	ck_assert(!is_mapped(a, A));
}
END_TEST

START_TEST(a_store_over_zeros_takes_them_out_of_all_page_tables_first)
{
	load(a, A);
	load(b, B);
	store(a, A + 3 * PAGE, 9);
	expect(0, DAX_REAL, DAX_PMD, true);
	ck_assert(!is_mapped(b, B));
	ck_assert_uint_eq(load(b, B + 3 * PAGE), 9);
}
END_TEST

START_TEST(a_real_entry_is_kept_by_later_faults)
{
	struct dax_entry_info e;

	store(a, A, 1);
	e = sim_entry(f, 0);
	store(b, B, 2);
	sim_dontneed(a, A, PMD);
	load(a, A);
	ck_assert_uint_eq(sim_entry(f, 0).unit, e.unit);
	expect(0, DAX_REAL, DAX_PMD, true);
}
END_TEST

START_TEST(a_write_fault_marks_dirty_and_tells_the_file)
{
	ck_assert_int_eq(sim_fallocate(f, 0, 1, true), 0);
	load(a, A);
	expect(0, DAX_REAL, DAX_PTE, false);
	ck_assert_uint_eq(f->dirtied, 0);
	store(a, A, 1);
	expect(0, DAX_REAL, DAX_PTE, true);
	ck_assert_uint_eq(f->dirtied, 1);
}
END_TEST

START_TEST(a_copy_on_write_marks_to_write)
{
	struct sim_file *g = sim_create(w, 8 * MIB);

	ck_assert_int_eq(sim_fallocate(f, 0, 1, true), 0);
	ck_assert_int_eq(sim_reflink(f, g, 0, 1, NULL), 0);
	store(a, A, 1);
	ck_assert(sim_entry(f, 0).dirty && sim_entry(f, 0).towrite);
	sim_fsync(f, 0, 1);
	ck_assert(!sim_entry(f, 0).dirty && !sim_entry(f, 0).towrite);
}
END_TEST

START_TEST(a_shared_entry_is_put_and_made_again_by_each_fault)
{
	struct sim_file *g = sim_create(w, 8 * MIB);

	ck_assert_int_eq(sim_fallocate(f, 0, 1, true), 0);
	ck_assert_int_eq(sim_reflink(f, g, 0, 1, NULL), 0);
	load(a, A);
	ck_assert_int_eq(folio_owner(word_of(f, 0)), FOLIO_EXCLUSIVE);
	load(b, B);
	ck_assert(!is_mapped(a, A));			/* unmapped, as dax_insert_entry() does */
	ck_assert_int_eq(folio_owner(word_of(f, 0)), FOLIO_EXCLUSIVE);
	expect(0, DAX_REAL, DAX_PTE, false);
}
END_TEST

START_TEST(a_part_of_a_shared_pmd_entry_is_faulted_anew)
{
	struct sim_file *g = sim_create(w, 8 * MIB);

	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	ck_assert_int_eq(sim_reflink(f, g, 0, PMD, NULL), 0);
	load(a, A);
	expect(0, DAX_REAL, DAX_PMD, false);
	sim_nohuge(b, B, PMD, true);
	store(b, B + 4 * PAGE, 6);
	expect(4, DAX_REAL, DAX_PTE, true);
	expect(3, DAX_NONE, 0, false);
	ck_assert_uint_eq(load(a, A + 4 * PAGE), 6);
	ck_assert_uint_eq(sim_read(g, 4 * PAGE), 0);
}
END_TEST

START_TEST(a_break_deletes_entries_of_every_kind)
{
	sim_nohuge(a, A, 4 * PMD, true);
	leave_empty(0, DAX_PTE);
	load(a, A + PAGE);
	store(a, A + 2 * PAGE, 1);
	load(b, B + PMD * PAGE);
	store(b, B + 2 * PMD * PAGE, 1);
	leave_empty(3 * PMD, DAX_PMD);
	ck_assert_uint_eq(sim_entries(f), 6);
	ck_assert_int_eq(sim_break(f, 0, UINT64_MAX, NULL), 0);
	ck_assert_uint_eq(sim_entries(f), 0);
	sim_check(w);
}
END_TEST

START_TEST(invalidation_drops_what_is_clean_and_keeps_what_is_dirty)
{
	store(a, A, 1);
	load(a, A + PMD * PAGE);
	leave_empty(2 * PMD, DAX_PTE);
	ck_assert_int_eq(dax_invalidate(f->mapping, PMD, 2 * PMD), 0);
	expect(PMD, DAX_NONE, 0, false);
	expect(2 * PMD, DAX_NONE, 0, false);
	ck_assert(!is_mapped(a, A + PMD * PAGE));
	ck_assert_int_eq(dax_invalidate(f->mapping, 0, UINT64_MAX), -EBUSY);
	expect(0, DAX_REAL, DAX_PMD, true);
	sim_fsync(f, 0, PMD);
	ck_assert_int_eq(dax_invalidate(f->mapping, 0, UINT64_MAX), 0);
	ck_assert_uint_eq(sim_entries(f), 0);
}
END_TEST

START_TEST(invalidation_keeps_what_is_pinned)
{
	struct sim_pin *pin;

	ck_assert_int_eq(sim_fallocate(f, 0, 1, true), 0);
	ck_assert_int_eq(sim_pin(a, A, 1, 0, &pin), 0);
	ck_assert_int_eq(dax_invalidate(f->mapping, 0, 1), -EBUSY);
	expect(0, DAX_REAL, DAX_PTE, false);
	sim_unpin(w, pin);
	ck_assert_int_eq(dax_invalidate(f->mapping, 0, 1), 0);
	expect(0, DAX_NONE, 0, false);
}
END_TEST

START_TEST(entries_left_when_an_inode_goes_are_a_violation)
{
	struct sim_file *g = sim_create(w, MIB);
	uint64_t e;

	ck_assert_int_eq(entry_grab(g->mapping, 0, DAX_PTE, &e), 0);
	entry_unlock(g->mapping, 0, e);
	dax_mapping_delete(g->mapping);
	ck_assert_uint_eq(pgmap_violations(w->pg), 1);
	w->violations = 1;
	g->mapping = NULL;
	sim_open(g);
	sim_close(g);
}
END_TEST

START_TEST(a_failed_fault_leaves_what_there_was)
{
	w->room = 0;
	ck_assert_int_eq(store_is(a, A, 1), SIM_SIGBUS);
	expect(0, DAX_EMPTY, DAX_PTE, false);
	load(a, A + PMD * PAGE);
	ck_assert_int_eq(store_is(b, B + PMD * PAGE, 1), SIM_SIGBUS);
	expect(PMD, DAX_EMPTY, DAX_PTE, false);		/* the large one was taken apart for it */
	w->room = SIM_NO_LIMIT;
	store(a, A, 1);
}
END_TEST

START_TEST(no_memory_for_an_entry_is_oom_at_any_size)
{
	fault_arm(FAULT_ALLOC, 1);
	ck_assert_int_eq(store_is(a, A, 1), SIM_OOM);
	ck_assert_uint_eq(sim_entries(f), 0);
	store(a, A, 1);
	expect(0, DAX_REAL, DAX_PMD, true);
}
END_TEST

/* ---- Lock and wait --------------------------------------------------------------------------------------- */

static unsigned int waiters(void)
{
	unsigned int n = 0;
	struct list *pos;

	pthread_mutex_lock(&f->mapping->lock);
	list_for_each(pos, &f->mapping->waiters)
		n++;
	pthread_mutex_unlock(&f->mapping->lock);
	return n;
}

static void until_waiting(unsigned int n)
{
	for (int i = 0; i < 5000 && waiters() != n; i++)
		usleep(1000);
	ck_assert_uint_eq(waiters(), n);
}

static int grab_and_unlock(void *arg)
{
	uint64_t e, index = *(uint64_t *)arg;
	int rc = entry_grab(f->mapping, index, DAX_PTE, &e);

	if (!rc)
		entry_unlock(f->mapping, index, e);
	return rc;
}

static int look_only(void *arg)
{
	uint64_t e;

	(void)arg;
	return entry_lock_mapped(f->mapping, 0, false, DAX_PTE, &e);
}

static int find_next(void *arg)
{
	uint64_t found = 0, e;

	(void)arg;
	pthread_mutex_lock(&f->mapping->lock);
	e = entry_next_unlocked(f->mapping, 3, 10, &found);
	if (e)
		entry_pass_on(f->mapping, found);
	pthread_mutex_unlock(&f->mapping->lock);
	return (int)found;
}

START_TEST(unlock_wakes_one_and_each_wakes_the_next)
{
	struct call c[4];
	uint64_t e, index = 0;

	ck_assert_int_eq(entry_grab(f->mapping, 0, DAX_PTE, &e), 0);
	for (int i = 0; i < 4; i++)
		call_start(&c[i], grab_and_unlock, &index);
	until_waiting(4);
	entry_unlock(f->mapping, 0, e);
	for (int i = 0; i < 4; i++)
		ck_assert(call_ends(&c[i]) && !call_end(&c[i]));
}
END_TEST

START_TEST(who_does_not_lock_passes_the_wakeup_on)
{
	struct call c[4];
	uint64_t e;

	ck_assert_int_eq(entry_grab(f->mapping, 0, DAX_PTE, &e), 0);
	for (int i = 0; i < 4; i++)
		call_start(&c[i], look_only, NULL);	/* EMPTY: nothing that it would lock */
	until_waiting(4);
	entry_unlock(f->mapping, 0, e);
	for (int i = 0; i < 4; i++)
		ck_assert(call_ends(&c[i]) && !call_end(&c[i]));
}
END_TEST

START_TEST(a_large_entry_has_one_place_to_wait_and_wakes_all_when_it_goes)
{
	uint64_t e, index[3] = { 1, 200, 511 };
	struct call c[3];

	ck_assert_int_eq(entry_grab(f->mapping, 0, DAX_PMD, &e), 0);
	for (int i = 0; i < 3; i++)
		call_start(&c[i], grab_and_unlock, &index[i]);
	until_waiting(3);
	/* One is woken, takes the entry apart, and its own is another: the others must not wait for it. */
	entry_unlock(f->mapping, 0, e);
	for (int i = 0; i < 3; i++)
		ck_assert(call_ends(&c[i]) && !call_end(&c[i]));
	ck_assert_uint_eq(sim_entries(f), 3);
}
END_TEST

START_TEST(deletion_wakes_all)
{
	uint64_t e, index = 0;
	struct call c[3];

	ck_assert_int_eq(entry_grab(f->mapping, 0, DAX_PTE, &e), 0);
	for (int i = 0; i < 3; i++)
		call_start(&c[i], i ? look_only : grab_and_unlock, &index);
	until_waiting(3);
	pthread_mutex_lock(&f->mapping->lock);
	entry_delete(f->mapping, 0, e);
	pthread_mutex_unlock(&f->mapping->lock);
	for (int i = 0; i < 3; i++)
		ck_assert(call_ends(&c[i]) && !call_end(&c[i]));
}
END_TEST

START_TEST(a_wakeup_for_one_entry_is_not_lost_on_another)
{
	uint64_t e, three = 3, five = 5;
	struct call scan, fault;

	ck_assert_int_eq(entry_grab(f->mapping, 5, DAX_PTE, &e), 0);
	call_start(&scan, find_next, NULL);
	until_waiting(1);
	call_start(&fault, grab_and_unlock, &five);
	until_waiting(2);
	grab_and_unlock(&three);
	entry_unlock(f->mapping, 5, e);		/* wakes the scan, which finds 3 */
	ck_assert(call_ends(&scan) && call_ends(&fault));
	ck_assert_int_eq(call_end(&scan), 3);
	ck_assert_int_eq(call_end(&fault), 0);
}
END_TEST

START_TEST(what_is_not_real_is_not_locked_for_a_look)
{
	uint64_t e;

	ck_assert(!entry_lock_mapped(f->mapping, 0, false, DAX_PTE, &e));
	load(a, A);
	ck_assert(!entry_lock_mapped(f->mapping, 0, false, DAX_PTE, &e));
	store(a, A, 1);
	ck_assert(!entry_lock_mapped(f->mapping, 0, true, DAX_PTE, &e));
	ck_assert(entry_lock_mapped(f->mapping, 9, true, DAX_PMD, &e));
	ck_assert(sim_entry(f, 0).locked);
	entry_unlock(f->mapping, 9, e);
	expect(0, DAX_REAL, DAX_PMD, true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("entry");
	TCase *t = tcase_create("transitions"), *l = tcase_create("lock");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_checked_fixture(l, setup, teardown);
	tcase_set_timeout(l, 60);
	tcase_add_loop_test(t, a_fault_makes_an_empty_locked_entry, 0, 2);
	tcase_add_test(t, a_smaller_entry_of_any_kind_refuses_a_larger_fault);
	tcase_add_test(t, a_pte_fault_takes_an_empty_pmd_entry_apart);
	tcase_add_test(t, a_pte_fault_takes_a_zero_pmd_entry_apart_and_out_of_all_page_tables);
	tcase_add_test(t, a_real_pmd_entry_serves_pte_faults_as_it_is);
	tcase_add_test(t, reads_of_a_hole_make_and_keep_a_zero_entry);
	tcase_add_test(t, reads_of_unwritten_blocks_are_zero_entries_until_a_store);
	tcase_add_test(t, a_read_after_allocation_replaces_a_zero_entry);
	tcase_add_test(t, a_store_over_zeros_takes_them_out_of_all_page_tables_first);
	tcase_add_test(t, a_real_entry_is_kept_by_later_faults);
	tcase_add_test(t, a_write_fault_marks_dirty_and_tells_the_file);
	tcase_add_test(t, a_copy_on_write_marks_to_write);
	tcase_add_test(t, a_shared_entry_is_put_and_made_again_by_each_fault);
	tcase_add_test(t, a_part_of_a_shared_pmd_entry_is_faulted_anew);
	tcase_add_test(t, a_break_deletes_entries_of_every_kind);
	tcase_add_test(t, invalidation_drops_what_is_clean_and_keeps_what_is_dirty);
	tcase_add_test(t, invalidation_keeps_what_is_pinned);
	tcase_add_test(t, entries_left_when_an_inode_goes_are_a_violation);
	tcase_add_test(t, a_failed_fault_leaves_what_there_was);
	tcase_add_test(t, no_memory_for_an_entry_is_oom_at_any_size);
	tcase_add_test(l, unlock_wakes_one_and_each_wakes_the_next);
	tcase_add_test(l, who_does_not_lock_passes_the_wakeup_on);
	tcase_add_test(l, a_large_entry_has_one_place_to_wait_and_wakes_all_when_it_goes);
	tcase_add_test(l, deletion_wakes_all);
	tcase_add_test(l, a_wakeup_for_one_entry_is_not_lost_on_another);
	tcase_add_test(l, what_is_not_real_is_not_locked_for_a_look);
	suite_add_tcase(s, t);
	suite_add_tcase(s, l);
	return unit_run(s);
}
