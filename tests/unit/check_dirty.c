/*
 * What stores leave behind: dirty marks, write-back that protects before it flushes, MAP_SYNC faults that make an
 * allocation durable before a store goes on.
 */
#include "dax/entry.h"

#include "../dax/world.h"
#include "unit.h"

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
	B = sim_mmap(b, f, 0, 4 * PMD, RW, 1);
}

/* ---- Write-back ------------------------------------------------------------------------------------------ */

START_TEST(a_store_after_write_back_faults_once_and_is_marked)
{
	ck_assert_uint_eq(store_faults(a, A), 1);
	ck_assert_uint_eq(store_faults(a, A), 0);
	sim_fsync(f, 0, 1);
	sim_check(w);
	ck_assert(!sim_entry(f, 0).dirty);
	ck_assert_uint_eq(w->unflushed[sim_unit_of(f, 0)], 0);
	ck_assert_uint_eq(load_faults(a, A), 0);
	ck_assert_uint_eq(store_faults(a, A), 1);
	ck_assert(sim_entry(f, 0).dirty);
	ck_assert_uint_eq(f->dirtied, 2);
}
END_TEST

START_TEST(write_back_of_a_part_cleans_all_of_an_entry)
{
	store(a, A, 1);
	store(b, B + 300 * PAGE, 1);
	store(a, A + PMD * PAGE, 1);
	sim_fsync(f, 7, 1);
	sim_check(w);
	ck_assert(!sim_entry(f, 0).dirty && sim_entry(f, PMD).dirty);
	ck_assert_uint_eq(f->flushes, 1);
	ck_assert_uint_eq(store_faults(a, A + 511 * PAGE), 1);
	ck_assert_uint_eq(store_faults(b, B + 300 * PAGE), 1);
	ck_assert_uint_eq(store_faults(a, A + (PMD + 1) * PAGE), 0);
}
END_TEST

START_TEST(write_back_of_what_is_clean_does_nothing)
{
	load(a, A);
	ck_assert_int_eq(sim_fallocate(f, PMD, PMD, true), 0);
	load(a, A + PMD * PAGE);
	sim_fsync(f, 0, UINT64_MAX);
	ck_assert_uint_eq(f->flushes, 0);
	sim_check(w);
}
END_TEST

START_TEST(write_back_leaves_mappings_and_references)
{
	uint64_t word;

	store(a, A, 1);
	word = word_of(f, 0);
	sim_fsync(f, 0, UINT64_MAX);
	ck_assert_uint_eq(word_of(f, 0), word);
	ck_assert(is_mapped(a, A) && !writable(a, A));
}
END_TEST

static _Atomic bool stop;

static int store_on(void *arg)
{
	struct sim_mm *mm = arg;
	uint64_t at = mm == a ? A : B;

	for (uint8_t i = 0; !stop; i++)
		if (sim_store(mm, at + (i % 8) * PAGE, i) != SIM_OK)
			return -1;
	return 0;
}

/* The world is at rest only at the end; no store of all those may then be without a mark (sim_check). */
START_TEST(no_store_that_races_write_back_is_lost)
{
	struct call c[2];

	stop = false;
	call_start(&c[0], store_on, a);
	call_start(&c[1], store_on, b);
	for (int i = 0; i < 400; i++)
		sim_fsync(f, 0, UINT64_MAX);
	stop = true;
	ck_assert_int_eq(call_end(&c[0]), 0);
	ck_assert_int_eq(call_end(&c[1]), 0);
	sim_check(w);
	sim_fsync(f, 0, UINT64_MAX);
	for (uint64_t i = 0; i < 8; i++)
		ck_assert_uint_eq(w->unflushed[sim_unit_of(f, i)], 0);
}
END_TEST

START_TEST(write_back_goes_on_behind_a_locked_entry)
{
	struct call c;

	stop = false;
	store(a, A, 1);
	store(a, A + PMD * PAGE, 1);
	call_start(&c, store_on, b);
	sim_fsync(f, 0, UINT64_MAX);
	stop = true;
	call_end(&c);
	ck_assert(!sim_entry(f, PMD).dirty);
	sim_check(w);
}
END_TEST

/* ---- MAP_SYNC -------------------------------------------------------------------------------------------- */

static uint64_t sync_map(struct sim_mm *mm)
{
	return sim_mmap(mm, f, 0, 4 * PMD, RW | SIM_SYNC, 0);
}

START_TEST(a_sync_fault_makes_the_allocation_durable_first)
{
	uint64_t at = sync_map(b);

	store(b, at, 1);
	ck_assert_uint_eq(f->syncs, 1);
	ck_assert(!f->meta_dirty);
	ck_assert(sim_entry(f, 0).dirty && writable(b, at));
	ck_assert_int_eq(mapped_size(b, at), DAX_PMD);
	ck_assert_uint_ge(f->dirtied, 1);		/* its times change as for any store */
	ck_assert_uint_eq(store_faults(b, at), 0);
}
END_TEST

START_TEST(a_sync_fault_of_what_is_durable_does_not_sync)
{
	uint64_t at = sync_map(b);

	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	sim_fsync(f, 0, UINT64_MAX);
	store(b, at, 1);
	ck_assert_uint_eq(f->syncs, 0);
	ck_assert(sim_entry(f, 0).dirty);
	load(b, at + PMD * PAGE);
	ck_assert_uint_eq(f->syncs, 0);
}
END_TEST

START_TEST(a_sync_that_fails_is_sigbus_and_maps_nothing)
{
	uint64_t at = sync_map(b);

	f->fail_sync = 1;
	f->fail_errno = -EIO;
	ck_assert_int_eq(store_is(b, at, 1), SIM_SIGBUS);
	ck_assert(!is_mapped(b, at));
	ck_assert_int_eq(sim_entry(f, 0).kind, DAX_REAL);
	ck_assert(!sim_entry(f, 0).dirty);
	store(b, at, 1);
}
END_TEST

/* Between the first half of a sync fault and the second. */
static unsigned int first_half(struct dax_fault *fault, uint64_t at, enum dax_size size)
{
	struct sim_vma *v = list_entry(b->vmas.prev, struct sim_vma, link);
	unsigned int ret;

	*fault = (struct dax_fault){
		.vma = &v->dax, .index = 0, .address = at, .start = v->address, .end = at + 4 * PMD * PAGE,
		.flags = DAX_FAULT_WRITE | DAX_FAULT_SHARED | DAX_FAULT_SYNC,
	};
	pthread_rwlock_rdlock(&f->mapping->invalidate_lock);
	ret = dax_iomap_fault(fault, size);
	pthread_rwlock_unlock(&f->mapping->invalidate_lock);
	return ret;
}

START_TEST(the_entry_is_clean_and_unmapped_until_the_sync_is_done)
{
	uint64_t at = sync_map(b);
	struct dax_fault fault;

	ck_assert_uint_eq(first_half(&fault, at, DAX_PMD), DAX_NEEDDSYNC);
	ck_assert(!sim_entry(f, 0).dirty && !is_mapped(b, at));
	sim_check(w);
	ck_assert_uint_eq(dax_finish_sync_fault(&fault, DAX_PMD), DAX_NOPAGE);
	ck_assert(sim_entry(f, 0).dirty && writable(b, at));
	sim_check(w);
}
END_TEST

START_TEST(an_entry_that_went_meanwhile_is_faulted_again)
{
	uint64_t at = sync_map(b);
	struct dax_fault fault;

	ck_assert_uint_eq(first_half(&fault, at, _i ? DAX_PTE : DAX_PMD) & DAX_NEEDDSYNC, DAX_NEEDDSYNC);
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	ck_assert_uint_eq(dax_finish_sync_fault(&fault, _i ? DAX_PTE : DAX_PMD), DAX_NOPAGE);
	ck_assert(!is_mapped(b, at));
	/* Another size: also anew. */
	store(b, B, 1);
	ck_assert_int_eq(sim_entry(f, 0).size, DAX_PTE);
	ck_assert_uint_eq(dax_finish_sync_fault(&fault, DAX_PMD), DAX_NOPAGE);
	ck_assert(!is_mapped(b, at));
	sim_check(w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dirty");
	TCase *t = tcase_create("writeback"), *y = tcase_create("sync");

	tcase_add_checked_fixture(t, setup, world_teardown);
	tcase_add_checked_fixture(y, setup, world_teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_store_after_write_back_faults_once_and_is_marked);
	tcase_add_test(t, write_back_of_a_part_cleans_all_of_an_entry);
	tcase_add_test(t, write_back_of_what_is_clean_does_nothing);
	tcase_add_test(t, write_back_leaves_mappings_and_references);
	tcase_add_test(t, no_store_that_races_write_back_is_lost);
	tcase_add_test(t, write_back_goes_on_behind_a_locked_entry);
	tcase_add_test(y, a_sync_fault_makes_the_allocation_durable_first);
	tcase_add_test(y, a_sync_fault_of_what_is_durable_does_not_sync);
	tcase_add_test(y, a_sync_that_fails_is_sigbus_and_maps_nothing);
	tcase_add_test(y, the_entry_is_clean_and_unmapped_until_the_sync_is_done);
	tcase_add_loop_test(y, an_entry_that_went_meanwhile_is_faulted_again, 0, 2);
	suite_add_tcase(s, t);
	suite_add_tcase(s, y);
	return unit_run(s);
}
