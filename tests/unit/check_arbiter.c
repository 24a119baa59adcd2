/*
 * Blocks and references together, by hand: a fault gives a file its blocks, and truncate, punch, unlink, fsync and a
 * full pool meet pages that are mapped or pinned. Each step leaves the accounts equal (arbiter_unit.h); that random
 * steps do is shown by check_arbiter_accounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <unistd.h>

#include "arbiter_unit.h"
#include "fs/grants.h"

START_TEST(a_store_to_a_hole_allocates_zeroed_blocks)
{
	struct mapper *m = &mapper[0];

	grow(m, 10);
	ck_assert_uint_eq(store(m, 3, 'x'), 0);
	ck_assert_uint_eq(blocks_of(m), 1);
	ck_assert(holds(m->f, 3 * BLOCK, 1, 'x'));
	ck_assert(holds(m->f, 3 * BLOCK + 1, BLOCK - 1, 0));
	balance();
}
END_TEST

START_TEST(a_load_of_a_hole_allocates_nothing)
{
	struct mapper *m = &mapper[0];

	grow(m, PAGES);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	ck_assert_uint_eq(m->unit[5], DAX_ZEROS);
	ck_assert_uint_eq(blocks_of(m), 0);
	balance();
}
END_TEST

START_TEST(write_over_a_hole_that_is_mapped_is_seen)
{
	struct mapper *m = &mapper[0];

	grow(m, 10);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	write_at(m->f, 5 * BLOCK, 10, 'w');
	ck_assert_uint_eq(m->unit[5], 0);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	ck_assert_int_eq(*(char *)region_at(region, (m->unit[5] - 1) * BLOCK), 'w');
	balance();
}
END_TEST

START_TEST(a_large_file_is_mapped_by_two_mib)
{
	struct mapper *m = &mapper[0];

	grow(m, PAGES);
	ck_assert_uint_eq(store(m, 700, 'p'), 0);
	ck_assert_uint_eq(m->size[700], DAX_PMD);
	ck_assert_uint_eq(blocks_of(m), PMD_BLOCKS);
	balance();
}
END_TEST

START_TEST(truncate_takes_mappings_back_and_frees_at_once)
{
	struct mapper *m = &mapper[0];
	uint64_t before = free_blocks();

	fill(m, 100);
	ck_assert_int_eq(set_size(m, 50 * BLOCK + 1, &user), 0);
	ck_assert_uint_ne(m->unit[50], 0);		/* the block EOF is in */
	ck_assert_uint_eq(m->unit[51], 0);
	ck_assert_uint_eq(touch(m, 51, false), DAX_SIGBUS);
	ck_assert_uint_eq(free_blocks(), before - blocks_of(m));
	balance();
}
END_TEST

START_TEST(a_punch_in_a_large_folio_revokes_it_whole)
{
	struct mapper *m = &mapper[0];

	grow(m, PAGES);
	ck_assert_uint_eq(store(m, 0, 'p'), 0);
	ck_assert_int_eq(punch(m, 7, 1), 0);
	ck_assert_uint_eq(m->unit[0], 0);
	ck_assert_uint_eq(store(m, 8, 'q'), 0);
	ck_assert_uint_eq(m->size[8], DAX_PTE);
	ck_assert(holds(m->f, 0, 1, 'p'));
	balance();
}
END_TEST

START_TEST(blocks_of_a_silent_mapper_wait_in_limbo_as_used)
{
	struct mapper *m = &mapper[0];
	uint64_t before, unit;

	fill(m, 10);
	before = free_blocks();
	unit = m->unit[4] - 1;
	m->silent = true;
	ck_assert_int_eq(punch(m, 2, 4), 0);
	ck_assert_uint_eq(pgmap_limbo(fs_dax(fs)->pgmap), 4);
	ck_assert(pgmap_block_in_limbo(fs_dax(fs)->pgmap, unit));
	ck_assert_uint_eq(free_blocks(), before);
	balance();
	ck_assert(holds(m->f, 2 * BLOCK, 4 * BLOCK, 0));
	answer(m);
	ck_assert_uint_eq(pgmap_limbo(fs_dax(fs)->pgmap), 0);
	ck_assert_uint_eq(free_blocks(), before + 4);
	balance();
}
END_TEST

START_TEST(an_unlinked_file_keeps_its_blocks_while_it_is_mapped)
{
	struct mapper *m = &mapper[0];
	uint64_t before = free_blocks();

	fill(m, 10);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "a"), 0);
	fs_close(m->f);
	ck_assert_uint_eq(free_blocks(), before - 10);
	ck_assert_uint_eq(store(m, 3, 'b'), 0);
	unmap_file(m);
	m->f = NULL;
	ck_assert_uint_ge(free_blocks(), before);
	count_blocks();
}
END_TEST

START_TEST(an_unlinked_file_keeps_its_blocks_while_it_is_pinned)
{
	struct mapper *m = &mapper[0];
	uint64_t before = free_blocks();

	grow(m, 10);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "a"), 0);
	fs_close(m->f);
	unmap_file(m);
	m->f = NULL;
	ck_assert_uint_eq(free_blocks(), before - 1);
	unpin(m, 0);
	ck_assert_uint_ge(free_blocks(), before);
	count_blocks();
}
END_TEST

START_TEST(a_truncate_that_is_interrupted_changes_nothing)
{
	struct mapper *m = &mapper[0];

	grow(m, 10);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	ck_assert_int_eq(set_size(m, 0, &hurried), -EINTR);
	ck_assert_int_eq(attributes(m->ino).st_size, 10 * BLOCK);
	ck_assert_uint_eq(blocks_of(m), 1);
	balance();
	/* What is not pinned may go. */
	ck_assert_int_eq(set_size(m, 5 * BLOCK, &hurried), 0);
	unpin(m, 0);
	ck_assert_int_eq(set_size(m, 0, &hurried), 0);
	ck_assert_uint_eq(blocks_of(m), 0);
	balance();
}
END_TEST

static void *unpin_later(void *arg)
{
	usleep(50000);
	dax_unpin(arg);
	return NULL;
}

START_TEST(a_truncate_waits_for_a_pin)
{
	struct mapper *m = &mapper[0];
	pthread_t thread;

	grow(m, 10);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	pthread_create(&thread, NULL, unpin_later, &m->pin[0]);
	ck_assert_int_eq(set_size(m, 0, &user), 0);
	m->pinned[0] = false;
	pthread_join(thread, NULL);
	ck_assert_uint_eq(atomic_load(&fs_dax(fs)->stat.break_waits), 1);
	balance();
}
END_TEST

START_TEST(pin_busy_refuses_instead_of_waiting)
{
	struct mapper *m = &mapper[0];

	fs_dax(fs)->pin_busy = true;
	grow(m, 10);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	ck_assert_int_eq(punch(m, 3, 1), -EBUSY);
	ck_assert_int_eq(punch(m, 4, 1), 0);
	balance();
}
END_TEST

START_TEST(the_kernels_layout_breaks_the_whole_file)
{
	struct mapper *m = &mapper[0];

	fs_dax(fs)->layout = DAX_LAYOUT_KERNEL;
	grow(m, 10);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	grow(m, 20);
	ck_assert_uint_eq(m->unit[3], 0);
	balance();
}
END_TEST

/* Fill the pool until `left` blocks are free for data. */
static void fill_to(struct fs_file *f, uint64_t left)
{
	struct statvfs st;
	uint64_t off = 0;

	for (;;) {
		fs_statvfs(fs, &st);
		if (st.f_bavail <= left)
			break;
		write_at(f, off, BLOCK, 'f');
		off += BLOCK;
	}
}

START_TEST(enospc_in_the_middle_of_a_large_fault_loses_nothing)
{
	struct mapper *m = &mapper[0];
	unsigned int ret = 0;
	uint64_t got = 0;

	grow(m, PAGES);
	fill_to(mapper[1].f, 100);
	balance();
	/* 2 MiB are not there: nothing of them is taken, and one block is. */
	ck_assert_uint_eq(store(m, 0, 'a'), 0);
	ck_assert_uint_eq(m->size[0], DAX_PTE);
	ck_assert_uint_le(blocks_of(m), 2);
	for (uint64_t i = 1; i < PAGES && !ret; i++) {
		ret = store(m, i, 'a');
		got += !ret;
		balance();
	}
	ck_assert_uint_eq(ret, DAX_SIGBUS);
	ck_assert_uint_ge(got, 50);
	ck_assert(holds(m->f, 0, 1, 'a'));
	ck_assert_int_eq(set_size(&mapper[1], 0, &user), 0);
	ck_assert_uint_eq(store(m, PAGES - 1, 'z'), 0);
	balance();
}
END_TEST

START_TEST(fsync_makes_stores_clean_and_the_next_one_faults)
{
	struct mapper *m = &mapper[0];
	struct dax_entry_info info;

	grow(m, 10);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	ck_assert(dax_next_entry(m->vma.mapping, 3, &info) && info.dirty);
	ck_assert_int_eq(fs_fsync(fs, m->ino, false), 0);
	ck_assert(dax_next_entry(m->vma.mapping, 3, &info) && !info.dirty);
	ck_assert(!m->write[3]);
	ck_assert_uint_eq(store(m, 3, 'b'), 0);
	ck_assert(dax_next_entry(m->vma.mapping, 3, &info) && info.dirty);
	balance();
}
END_TEST

static const struct fs_cred nowait = { .uid = 1000, .gid = 1000, .nowait = true };

static ssize_t write_nowait(struct mapper *m, uint64_t index)
{
	return fs_write(m->f, &nowait, "w", index * BLOCK, 1, 0);
}

START_TEST(what_would_wait_for_a_mapper_says_so_and_changes_nothing)
{
	struct mapper *m = &mapper[0];

	grow(m, 10);
	ck_assert_uint_eq(store(m, 0, 'a'), 0);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	ck_assert_int_eq(set_size(m, 0, &nowait), FS_WOULD_WAIT);
	ck_assert_int_eq(fs_fallocate(m->f, &nowait, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK),
			 FS_WOULD_WAIT);
	ck_assert_int_eq(fs_fallocate(m->f, &nowait, FALLOC_FL_ZERO_RANGE, 0, BLOCK), FS_WOULD_WAIT);
	ck_assert_int_eq(write_nowait(m, 5), FS_WOULD_WAIT);
	ck_assert_int_eq(fs_copy_range(m->f, 0, m->f, 5 * BLOCK, BLOCK, &nowait), FS_WOULD_WAIT);
	ck_assert_int_eq(fs_grants_filled(m->f, true), FS_WOULD_WAIT);
	ck_assert_uint_eq(blocks_of(m), 1);
	ck_assert_uint_ne(m->unit[0], 0);
	ck_assert_uint_eq(m->unit[5], DAX_ZEROS);
	ck_assert_uint_eq(m->told, 0);
	ck_assert(holds(m->f, 0, 1, 'a'));
	/* What has blocks is written as it is; and adding blocks that read as zeros asks nobody. */
	ck_assert_int_eq(write_nowait(m, 0), 1);
	ck_assert_int_eq(fs_fallocate(m->f, &nowait, 0, 5 * BLOCK, BLOCK), 0);
	ck_assert_int_eq(fs_fsync(fs, m->ino, true), 0);
	balance();
}
END_TEST

START_TEST(what_nobody_maps_waits_for_nobody)
{
	struct mapper *m = &mapper[0];

	grow(m, 10);
	ck_assert_uint_eq(store(m, 0, 'a'), 0);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	unmap_file(m);
	ck_assert_int_eq(write_nowait(m, 5), 1);
	ck_assert_int_eq(fs_grants_filled(m->f, true), 0);
	ck_assert_int_eq(set_size(m, BLOCK, &nowait), 0);
	ck_assert(holds(m->f, 0, 1, 'a'));
	ck_assert_int_eq(set_size(m, 0, &nowait), 0);
	ck_assert_uint_eq(blocks_of(m), 0);
	balance();
}
END_TEST

START_TEST(who_waits_for_mappers_is_not_waited_for)
{
	struct mapper *m = &mapper[0];
	struct dax_mapping *mapping = m->vma.mapping;

	grow(m, 10);
	unmap_file(m);
	pthread_rwlock_rdlock(&mapping->invalidate_lock);
	ck_assert_int_eq(set_size(m, 0, &nowait), FS_WOULD_WAIT);
	pthread_rwlock_unlock(&mapping->invalidate_lock);
	ck_assert_int_eq(set_size(m, 0, &nowait), 0);
	balance();
}
END_TEST

START_TEST(a_pin_is_not_waited_for_where_waiting_is_not_allowed)
{
	struct mapper *m = &mapper[0];

	grow(m, 10);
	ck_assert_uint_eq(store(m, 0, 'a'), 0);
	pin(m, 0, 0, 1);
	unmap_file(m);
	ck_assert_int_eq(set_size(m, 0, &nowait), FS_WOULD_WAIT);
	ck_assert(holds(m->f, 0, 1, 'a'));
	unpin(m, 0);
	ck_assert_int_eq(set_size(m, 0, &nowait), 0);
	balance();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arbiter");
	TCase *tc = arbiter_case(s, "arbiter");

	tcase_add_test(tc, a_store_to_a_hole_allocates_zeroed_blocks);
	tcase_add_test(tc, a_load_of_a_hole_allocates_nothing);
	tcase_add_test(tc, write_over_a_hole_that_is_mapped_is_seen);
	tcase_add_test(tc, a_large_file_is_mapped_by_two_mib);
	tcase_add_test(tc, truncate_takes_mappings_back_and_frees_at_once);
	tcase_add_test(tc, a_punch_in_a_large_folio_revokes_it_whole);
	tcase_add_test(tc, blocks_of_a_silent_mapper_wait_in_limbo_as_used);
	tcase_add_test(tc, an_unlinked_file_keeps_its_blocks_while_it_is_mapped);
	tcase_add_test(tc, an_unlinked_file_keeps_its_blocks_while_it_is_pinned);
	tcase_add_test(tc, a_truncate_that_is_interrupted_changes_nothing);
	tcase_add_test(tc, a_truncate_waits_for_a_pin);
	tcase_add_test(tc, pin_busy_refuses_instead_of_waiting);
	tcase_add_test(tc, the_kernels_layout_breaks_the_whole_file);
	tcase_add_test(tc, enospc_in_the_middle_of_a_large_fault_loses_nothing);
	tcase_add_test(tc, fsync_makes_stores_clean_and_the_next_one_faults);
	tcase_add_test(tc, what_would_wait_for_a_mapper_says_so_and_changes_nothing);
	tcase_add_test(tc, what_nobody_maps_waits_for_nobody);
	tcase_add_test(tc, who_waits_for_mappers_is_not_waited_for);
	tcase_add_test(tc, a_pin_is_not_waited_for_where_waiting_is_not_allowed);
	return unit_run(s);
}
