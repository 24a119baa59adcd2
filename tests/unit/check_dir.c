/*
 * Directories: single changes, many entries, and the ends of memory and space. (Against a model of names:
 * check_dir_model.c; damaged blocks: check_dir_damage.c; the index by itself: check_dirindex.c.)
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "dir_names.h"
#include "meta/extent.h"
#include "util/fault.h"

/* ---- Single changes ------------------------------------------------------------------------------------ */

START_TEST(added_names_are_found_and_others_are_not)
{
	uint64_t ino;
	uint8_t type;
	struct tx tx;

	ck_assert_uint_eq(count(), 0);
	begin(&tx);
	ck_assert_int_eq(dir_add(&tx, dir, "pipe", 4, 5, DT_FIFO), 0);
	ck_assert_int_eq(dir_add(&tx, dir, "pipes", 5, 6, DT_SOCK), 0);
	unit_commit(&tx, dir);
	ck_assert_int_eq(dir_lock_shared(dir), 0);
	ck_assert_int_eq(dir_lookup(dir, "pipe", 4, &ino, &type), 0);
	ck_assert_uint_eq(ino, 5);
	ck_assert_int_eq(type, DT_FIFO);
	ck_assert_int_eq(dir_lookup(dir, "pipes", 5, &ino, &type), 0);
	ck_assert_uint_eq(ino, 6);
	ck_assert_int_eq(type, DT_SOCK);
	ck_assert_int_eq(dir_lookup(dir, "pip", 3, &ino, &type), -ENOENT);
	ck_assert_uint_eq(dir_count(dir), 2);
	pthread_rwlock_unlock(&dir->lock);
}
END_TEST

START_TEST(replace_changes_inode_and_type_in_place)
{
	struct dir_entry e, before;
	struct tx tx;

	add_one("name", 5);
	ck_assert_int_eq(dir_next(dir, 0, &before), 0);
	begin(&tx);
	ck_assert_int_eq(dir_replace(&tx, dir, "name", 4, 9, DT_DIR), 0);
	ck_assert_int_eq(dir_replace(&tx, dir, "other", 5, 9, DT_DIR), -ENOENT);
	unit_commit(&tx, dir);
	ck_assert_int_eq(dir_next(dir, 0, &e), 0);
	ck_assert_uint_eq(e.ino, 9);
	ck_assert_int_eq(e.type, DT_DIR);
	ck_assert_uint_eq(e.cookie, before.cookie);
}
END_TEST

START_TEST(changes_of_one_block_follow_one_another_in_one_transaction)
{
	struct tx tx;

	add_one("old", 5);
	add_one("kept", 6);
	begin(&tx);
	ck_assert_int_eq(add(&tx, "new", 5), 0);
	ck_assert_int_eq(del(&tx, "old"), 0);
	ck_assert_int_eq(dir_replace(&tx, dir, "new", 3, 8, DT_REG), 0);
	ck_assert_int_eq(add(&tx, "old", 9), 0);
	ck_assert_int_eq(del(&tx, "kept"), 0);
	ck_assert_int_eq(del(&tx, "kept"), -ENOENT);
	unit_commit(&tx, dir);
	reopen();
	ck_assert_uint_eq(lookup("new"), 8);
	ck_assert_uint_eq(lookup("old"), 9);
	ck_assert_uint_eq(lookup("kept"), 0);
	ck_assert_uint_eq(count(), 2);
}
END_TEST

START_TEST(abort_takes_back_index_and_size)
{
	struct tx tx;

	add_one("kept", 6);
	begin(&tx);
	ck_assert_int_eq(add(&tx, "new", 7), 0);
	ck_assert_int_eq(del(&tx, "kept"), 0);
	ck_assert_int_eq(del(&tx, "new"), 0);
	ck_assert_uint_eq(dir->core.size, 0);
	ck_assert_int_eq(add(&tx, "again", 8), 0);
	unit_abort(&tx, dir);
	ck_assert_uint_eq(lookup("kept"), 6);
	ck_assert_uint_eq(lookup("new"), 0);
	ck_assert_uint_eq(lookup("again"), 0);
	ck_assert_uint_eq(count(), 1);
	ck_assert_uint_eq(dir->core.size, BLOCK_SIZE);
	del_one("kept");
	ck_assert_uint_eq(dir->core.size, 0);
}
END_TEST

START_TEST(only_entry_may_be_removed_and_added_in_one_transaction)
{
	struct tx tx;

	add_one("a", 6);
	begin(&tx);
	ck_assert_int_eq(del(&tx, "a"), 0);
	ck_assert_int_eq(add(&tx, "b", 6), 0);
	unit_commit(&tx, dir);
	ck_assert_uint_eq(dir->core.size, BLOCK_SIZE);
	ck_assert_uint_eq(dir->core.blocks, 1);
	reopen();
	ck_assert_uint_eq(lookup("a"), 0);
	ck_assert_uint_eq(lookup("b"), 6);
}
END_TEST

START_TEST(longest_name_and_its_neighbours_share_a_block)
{
	char name[NAME_MAX_LEN + 1];

	for (unsigned int len = 1; len <= NAME_MAX_LEN; len += 2) {
		memset(name, 'n', len);
		name[len] = '\0';
		add_one(name, ENTRY_INO + len);
	}
	forget_index();
	for (unsigned int len = 1; len <= NAME_MAX_LEN; len++) {
		memset(name, 'n', len);
		name[len] = '\0';
		ck_assert_uint_eq(lookup(name), len % 2 ? ENTRY_INO + len : 0);
	}
}
END_TEST

/* 15 records of 256 bytes and one of 224 fill a block exactly. Name n begins with the n-th letter. */
static const char *full_name(int n)
{
	static char name[NAME_MAX_LEN + 1];

	memset(name, 'a' + n, 244);
	name[n == 15 ? 212 : 244] = '\0';
	return name;
}

static void fill_block(void)
{
	for (int n = 0; n < 16; n++)
		add_one(full_name(n), ENTRY_INO + n);
	ck_assert_uint_eq(dir->core.size, BLOCK_SIZE);
}

START_TEST(a_full_block_has_room_again_where_an_entry_went)
{
	fill_block();
	add_one("x", 1000);
	ck_assert_uint_eq(dir->core.size, 2 * BLOCK_SIZE);
	del_one(full_name(2));
	add_one(full_name(20), 1001);
	ck_assert_uint_eq(dir->core.size, 2 * BLOCK_SIZE);
	del_one("x");
	ck_assert_uint_eq(dir->core.size, BLOCK_SIZE);
	ck_assert_uint_eq(lookup(full_name(20)), 1001);
}
END_TEST

/* The longest name needs 272 bytes: more than one entry of the full block left, less than two. */
START_TEST(free_space_merges_with_that_before_and_after)
{
	static const int removed[][3] = { { 3, 4, -1 }, { 8, 7, -1 }, { 11, 13, 12 } };
	char name[NAME_MAX_LEN + 1];

	fill_block();
	memset(name, 'z', NAME_MAX_LEN);
	name[NAME_MAX_LEN] = '\0';
	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < 3 && removed[i][j] >= 0; j++)
			del_one(full_name(removed[i][j]));
		name[0] = '0' + i;
		add_one(name, 1000 + i);
		ck_assert_uint_eq(dir->core.size, BLOCK_SIZE);
	}
	forget_index();
	ck_assert_uint_eq(count(), 16 - 7 + 3);
}
END_TEST

/* ---- Many entries -------------------------------------------------------------------------------------- */

#define MANY	100000

static int count_entries(void *arg, const struct dir_entry *e)
{
	uint64_t *n = arg;

	ck_assert_int_eq(e->name_len, 12);
	++*n;
	return 0;
}

START_TEST(hundred_thousand_entries_are_dense_and_all_blocks_come_back)
{
	uint64_t before = unit_pool_free(up), seen = 0;
	char name[32];

	many(true, 0, MANY, 1);
	/* 24 bytes an entry, 169 in a block */
	ck_assert_uint_eq(dir->core.size >> BLOCK_SHIFT, (MANY + 168) / 169);
	forget_index();
	ck_assert_uint_eq(count(), MANY);
	for (int i = 0; i < MANY; i += 7) {
		many_name(name, i);
		ck_assert_uint_eq(lookup(name), ENTRY_INO + i);
	}
	ck_assert_int_eq(dir_fill(dir, 0, count_entries, &seen), 0);
	ck_assert_uint_eq(seen, MANY);
	many(false, 0, MANY, 2);
	ck_assert_uint_eq(count(), MANY / 2);
	many(false, 1, MANY, 2);
	ck_assert_uint_eq(count(), 0);
	ck_assert_uint_eq(dir->core.size, 0);
	ck_assert_uint_eq(dir->core.blocks, 0);
	ck_assert_uint_eq(unit_pool_free(up), before);
}
END_TEST

START_TEST(holes_are_filled_before_the_end_grows)
{
	uint64_t end;
	char name[32];

	many(true, 0, 169 * 6, 1);
	end = dir->core.size;
	ck_assert_uint_eq(end, 6 * BLOCK_SIZE);
	many(false, 169, 169 * 3, 1);
	ck_assert_uint_eq(dir->core.size, end);
	ck_assert_uint_eq(dir->core.blocks, 4);
	reopen();
	ck_assert_uint_eq(count(), 169 * 4);
	many(true, 169 * 10, 169 * 12, 1);
	ck_assert_uint_eq(dir->core.size, end);
	ck_assert_uint_eq(dir->core.blocks, 6);
	many_name(name, 169 * 12);
	add_one(name, 1);
	ck_assert_uint_eq(dir->core.size, end + BLOCK_SIZE);
}
END_TEST

START_TEST(size_skips_holes_when_the_last_block_goes)
{
	many(true, 0, 169 * 4, 1);
	many(false, 169, 169 * 3, 1);
	ck_assert_uint_eq(dir->core.size, 4 * BLOCK_SIZE);
	many(false, 169 * 3, 169 * 4, 1);
	ck_assert_uint_eq(dir->core.size, BLOCK_SIZE);
	reopen();
	ck_assert_uint_eq(count(), 169);
}
END_TEST

/* Look every name up, return how many were not right. The index is not there at first. */
static void *reader(void *arg)
{
	uintptr_t wrong = 0;
	char name[32];

	(void)arg;
	for (int i = 0; i < 500; i++) {
		uint64_t ino = 0;
		uint8_t type;

		many_name(name, i);
		if (dir_lock_shared(dir))
			return (void *)1;
		wrong += dir_lookup(dir, name, strlen(name), &ino, &type) || ino != ENTRY_INO + i;
		pthread_rwlock_unlock(&dir->lock);
	}
	return (void *)wrong;
}

START_TEST(first_readers_at_once_all_find_the_index_built)
{
	pthread_t threads[4];
	void *wrong;

	many(true, 0, 500, 1);
	for (int round = 0; round < 20; round++) {
		forget_index();
		for (int i = 0; i < 4; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, NULL), 0);
		for (int i = 0; i < 4; i++) {
			ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
			ck_assert_ptr_null(wrong);
		}
	}
}
END_TEST

/* ---- Memory and space end ------------------------------------------------------------------------------ */

START_TEST(every_failed_allocation_leaves_the_directory_as_it_was)
{
	unsigned long n = 1;
	char name[32];
	struct tx tx;
	int err = -1;

	/* the next entry needs a block, and the table grows at 14, 28, 56, ... entries */
	many(true, 0, 169 * 4, 1);
	many_name(name, 169 * 4);
	for (; err; n++) {
		begin(&tx);
		fault_arm(FAULT_ALLOC, n);
		err = add(&tx, name, 5);
		fault_disarm(FAULT_ALLOC);
		if (err)
			ck_assert_int_eq(err, -ENOMEM);
		unit_abort(&tx, dir);
		ck_assert_uint_eq(count(), 169 * 4);
		ck_assert_uint_eq(dir->core.size, 4 * BLOCK_SIZE);
	}
	ck_assert_uint_gt(n, 2);
	forget_index();
	for (n = 1, err = -1; err; n++) {
		fault_arm(FAULT_ALLOC, n);
		err = dir_lock_exclusive(dir);
		fault_disarm(FAULT_ALLOC);
		if (err)
			ck_assert_int_eq(err, -ENOMEM);
	}
	ck_assert_uint_gt(n, 4);
	pthread_rwlock_unlock(&dir->lock);
	ck_assert_uint_eq(count(), 169 * 4);
}
END_TEST

START_TEST(full_pool_refuses_a_new_block_and_still_removes)
{
	char name[32];
	struct tx tx;

	many(true, 0, 169 * 4, 1);
	fault_arm_always(FAULT_BALLOC);
	many_name(name, 169 * 4);
	begin(&tx);
	ck_assert_int_eq(add(&tx, name, 5), -ENOSPC);
	unit_abort(&tx, dir);
	many(false, 169, 169 * 2, 1);
	many(false, 0, 168, 1);
	ck_assert_uint_eq(count(), 169 * 2 + 1);
	fault_disarm(FAULT_BALLOC);
	reopen();
	ck_assert_uint_eq(count(), 169 * 2 + 1);
}
END_TEST

/*
 * Every second block of a large directory empties while no node can be had for the extents that come into
 * being: either at once, when the inode is full of them, or when the first leaf is. The block stays, and is
 * good for later.
 */
static const int nodes_run_out[] = { 1, 41 };	/* from this block on */

START_TEST(removal_in_the_middle_of_a_full_pool_keeps_the_empty_block)
{
	const int blocks = 2 * (INODE_EXTENTS + EXTENT_NODE_ENTRIES);

	many(true, 0, 169 * blocks, 1);
	for (int b = 1; b < blocks - 1; b += 2) {
		if (b == nodes_run_out[_i])
			fault_arm_always(FAULT_BALLOC);
		many(false, 169 * b, 169 * (b + 1), 1);
	}
	fault_disarm(FAULT_BALLOC);
	ck_assert_uint_eq(count(), 169 * (blocks / 2 + 1));
	ck_assert_uint_eq(dir->core.size >> BLOCK_SHIFT, blocks);
	ck_assert_uint_gt(dir->core.blocks, blocks / 2 + 1);
	reopen();
	ck_assert_uint_eq(count(), 169 * (blocks / 2 + 1));
	for (int b = 0; b < blocks; b += 2)
		many(false, 169 * b, 169 * (b + 1), 1);
	many(false, 169 * (blocks - 1), 169 * blocks, 1);
	ck_assert_uint_eq(count(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dir");
	TCase *tc = tcase_create("directory");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, dir_names_setup, dir_names_teardown);
	tcase_add_test(tc, added_names_are_found_and_others_are_not);
	tcase_add_test(tc, replace_changes_inode_and_type_in_place);
	tcase_add_test(tc, changes_of_one_block_follow_one_another_in_one_transaction);
	tcase_add_test(tc, abort_takes_back_index_and_size);
	tcase_add_test(tc, only_entry_may_be_removed_and_added_in_one_transaction);
	tcase_add_test(tc, longest_name_and_its_neighbours_share_a_block);
	tcase_add_test(tc, a_full_block_has_room_again_where_an_entry_went);
	tcase_add_test(tc, free_space_merges_with_that_before_and_after);
	tcase_add_test(tc, hundred_thousand_entries_are_dense_and_all_blocks_come_back);
	tcase_add_test(tc, holes_are_filled_before_the_end_grows);
	tcase_add_test(tc, size_skips_holes_when_the_last_block_goes);
	tcase_add_test(tc, first_readers_at_once_all_find_the_index_built);
	tcase_add_test(tc, every_failed_allocation_leaves_the_directory_as_it_was);
	tcase_add_test(tc, full_pool_refuses_a_new_block_and_still_removes);
	tcase_add_loop_test(tc, removal_in_the_middle_of_a_full_pool_keeps_the_empty_block, 0, 2);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
