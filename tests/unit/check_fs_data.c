/*
 * The data of files, on emulated memory: writing, holes, preallocation, truncation, copying, the end of space, and
 * how many fences it takes. Every test ends with an unmount and a check of the pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs_pool.h"
#include "pmem/persist.h"

START_TEST(holes_read_as_zeros_and_take_no_blocks)
{
	struct fs_file *f = create("f");

	write_at(f, 1 << 20, 10, 'x');
	ck_assert(holds(f, 0, 1 << 20, 0));
	ck_assert(holds(f, 1 << 20, 10, 'x'));
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 8);
	ck_assert_int_eq(fs_lseek(f, 0, SEEK_DATA), 1 << 20);
	ck_assert_int_eq(fs_lseek(f, 0, SEEK_HOLE), 0);
	ck_assert_int_eq(fs_lseek(f, 2 << 20, SEEK_DATA), -ENXIO);
	fs_close(f);
}
END_TEST

START_TEST(an_overwrite_is_one_fence)
{
	struct fs_file *f = create("f");
	uint64_t commits, data;

	write_at(f, 0, 65536, 'a');
	commits = persist_count(PERSIST_COMMIT);
	data = persist_count(PERSIST_DATA);
	write_at(f, 4096, 8192, 'b');
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits);
	ck_assert_uint_eq(persist_count(PERSIST_DATA), data + 1);
	fs_close(f);
}
END_TEST

START_TEST(an_allocating_write_is_two_fences)
{
	struct fs_file *f = create("f");
	uint64_t commits = persist_count(PERSIST_COMMIT), unreachable = persist_count(PERSIST_UNREACHABLE);
	uint64_t data = persist_count(PERSIST_DATA);

	write_at(f, 0, 4096, 'a');
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 1);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable + 1);
	ck_assert_uint_eq(persist_count(PERSIST_DATA), data);
	fs_close(f);
}
END_TEST

START_TEST(a_creation_is_one_fence)
{
	uint64_t commits, unreachable;

	make_file(INO_ROOT, "first");		/* the directory's block */
	commits = persist_count(PERSIST_COMMIT);
	unreachable = persist_count(PERSIST_UNREACHABLE);
	make_file(INO_ROOT, "second");
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 1);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable);
}
END_TEST

START_TEST(bytes_beyond_a_shorter_eof_never_come_back)
{
	struct fs_file *f = create("f");
	struct stat st = { .st_size = 100 };

	write_at(f, 0, 8192, 'a');
	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(f), &st, FS_SET_SIZE, NULL), 0);
	st.st_size = 8192;
	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(f), &st, FS_SET_SIZE, NULL), 0);
	ck_assert(holds(f, 0, 100, 'a'));
	ck_assert(holds(f, 100, 8092, 0));
	fs_close(f);
}
END_TEST

START_TEST(append_goes_to_the_end_whatever_the_offset)
{
	struct fs_file *f = create("f");
	uint64_t off = 0;

	write_at(f, 0, 10, 'a');
	ck_assert_int_eq(fs_append(f, &user, "bb", &off, 2), 2);
	ck_assert_uint_eq(off, 10);
	off = 7;
	ck_assert_int_eq(fs_append(f, &user, "cc", &off, 2), 2);
	ck_assert_uint_eq(off, 12);
	ck_assert(holds(f, 0, 10, 'a'));
	ck_assert(holds(f, 10, 2, 'b'));
	ck_assert(holds(f, 12, 2, 'c'));
	fs_close(f);
}
END_TEST

#define PIECE	5000U		/* none ends with a block */

static void append_piece(struct fs_file *f, unsigned int number, uint64_t wanted)
{
	uint64_t off = 100 + number * PIECE;
	char buf[PIECE];

	memset(buf, 'A' + (int)number, sizeof(buf));
	ck_assert_int_eq(fs_append(f, &user, buf, &off, sizeof(buf)), PIECE);
	ck_assert_uint_eq(off, wanted);
}

START_TEST(pieces_of_an_append_go_to_their_places_in_any_order)
{
	static const unsigned int orders[][5] = {
		{ 2, 4, 1, 0, 3 }, { 4, 3, 2, 1, 0 }, { 1, 0, 4, 2, 3 }, { 0, 1, 2, 3, 4 },
	};
	struct fs_file *f = create("f");

	write_at(f, 0, 100, 'a');
	for (unsigned int i = 0; i < 5; i++)
		append_piece(f, orders[_i][i], 100 + orders[_i][i] * PIECE);
	ck_assert(holds(f, 0, 100, 'a'));
	for (unsigned int i = 0; i < 5; i++)
		ck_assert(holds(f, 100 + i * PIECE, PIECE, 'A' + (int)i));
	/* All are there: what has their offsets now is somebody's who does not know the end. */
	append_piece(f, 1, 100 + 5 * PIECE);
	ck_assert(holds(f, 100 + PIECE, PIECE, 'B'));
	fs_close(f);
}
END_TEST

START_TEST(pieces_of_an_append_that_failed_leave_nothing_behind)
{
	struct fs_file *f = create("f");
	struct stat st = { .st_size = 100 };

	write_at(f, 0, 100, 'a');
	append_piece(f, 2, 100 + 2 * PIECE);
	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(f), &st, FS_SET_SIZE, NULL), 0);
	write_at(f, 100, 3 * PIECE, 'w');
	append_piece(f, 1, 100 + 3 * PIECE);
	ck_assert(holds(f, 100, 3 * PIECE, 'w'));
	fs_close(f);
}
END_TEST

START_TEST(preallocated_blocks_read_as_zeros_and_are_kept)
{
	struct fs_file *f = create("f");

	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_size, 0);
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 2048);
	write_at(f, 5000, 10, 'x');
	ck_assert(holds(f, 0, 5000, 0));
	ck_assert_int_eq(fs_lseek(f, 0, SEEK_DATA), 4096);
	ck_assert_int_eq(fs_fallocate(f, &user, 0, 0, 1 << 20), 0);
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_size, 1 << 20);
	ck_assert(holds(f, 5010, (1 << 20) - 5010, 0));
	fs_close(f);
}
END_TEST

START_TEST(punching_gives_blocks_back_and_zeroes_edges)
{
	struct fs_file *f = create("f");

	write_at(f, 0, 5 * 4096, 'a');
	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4000, 3 * 4096), 0);
	ck_assert(holds(f, 0, 4000, 'a'));
	ck_assert(holds(f, 4000, 3 * 4096, 0));
	ck_assert(holds(f, 4000 + 3 * 4096, 5 * 4096 - 4000 - 3 * 4096, 'a'));
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 3 * 8);
	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_PUNCH_HOLE, 0, 4096), -EOPNOTSUPP);
	fs_close(f);
}
END_TEST

START_TEST(zero_range_keeps_the_blocks)
{
	struct fs_file *f = create("f");

	write_at(f, 0, 5 * 4096, 'a');
	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_ZERO_RANGE, 100, 6 * 4096), 0);
	ck_assert(holds(f, 0, 100, 'a'));
	ck_assert(holds(f, 100, 6 * 4096, 0));
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 7 * 8);
	fs_close(f);
}
END_TEST

START_TEST(an_impossible_preallocation_takes_nothing)
{
	struct fs_file *f = create("f");
	uint64_t before = free_blocks();

	ck_assert_int_eq(fs_fallocate(f, &user, 0, 0, POOL_BYTES), -ENOSPC);
	ck_assert_int_eq(fs_fallocate(f, &user, 0, INT64_MAX, 4096), -EFBIG);
	ck_assert_uint_eq(free_blocks(), before);
	fs_close(f);
}
END_TEST

START_TEST(an_unlinked_open_file_keeps_its_blocks)
{
	uint64_t before = free_blocks();
	struct fs_file *f = create("f");

	write_at(f, 0, 1 << 20, 'a');
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "f"), 0);
	write_at(f, 1 << 20, 4096, 'b');
	ck_assert(holds(f, 0, 1 << 20, 'a'));
	ck_assert_uint_lt(free_blocks(), before - 256);
	fs_close(f);
	ck_assert_uint_eq(free_blocks(), before);
}
END_TEST

START_TEST(a_full_pool_still_unlinks_truncates_and_punches)
{
	uint64_t before = free_blocks();
	struct fs_file *f = create("f"), *g = create("g");
	struct stat st = { .st_size = 4096 };
	char *buf = calloc(1, 65536);
	uint64_t off = 0;
	ssize_t n;

	write_at(g, 0, 65536, 'g');
	while ((n = fs_write(f, &user, buf, off, 65536, 0)) > 0)
		off += (uint64_t)n;
	ck_assert_int_eq(n, -ENOSPC);
	ck_assert_int_eq(fs_fallocate(g, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096), 0);
	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(g), &st, FS_SET_SIZE, NULL), 0);
	fs_close(f);
	fs_close(g);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "f"), 0);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "g"), 0);
	ck_assert_uint_eq(free_blocks(), before);
	free(buf);
}
END_TEST

START_TEST(a_pool_full_of_inodes_gives_all_back)
{
	uint64_t before = free_blocks(), d = make_dir(INO_ROOT, "d");
	unsigned int made = 0;
	char name[32];
	int rc = 0;

	while (!rc) {
		snprintf(name, sizeof(name), "%u", made);
		rc = fs_mknod(fs, &user, d, name, S_IFREG | 0600, 0, NULL, NULL);
		made += !rc;
	}
	ck_assert_int_eq(rc, -ENOSPC);
	ck_assert_uint_gt(made, 10000);
	while (made--) {
		snprintf(name, sizeof(name), "%u", made);
		ck_assert_int_eq(fs_unlink(fs, d, name), 0);
	}
	ck_assert_int_eq(fs_rmdir(fs, INO_ROOT, "d"), 0);
	ck_assert_uint_eq(free_blocks(), before);
}
END_TEST

START_TEST(copy_range_copies_data_and_holes)
{
	struct fs_file *a = create("a"), *b = create("b");

	write_at(a, 8192, 8192, 'a');
	write_at(b, 0, 32768, 'b');
	ck_assert_int_eq(fs_copy_range(a, 0, b, 4096, 16384, &user), 16384);
	ck_assert(holds(b, 0, 4096, 'b'));
	ck_assert(holds(b, 4096, 8192, 0));
	ck_assert(holds(b, 12288, 8192, 'a'));
	ck_assert(holds(b, 20480, 12288, 'b'));
	ck_assert_int_eq(fs_copy_range(a, 0, a, 4096, 8192, &user), -EINVAL);
	fs_close(a);
	fs_close(b);
}
END_TEST

START_TEST(writing_takes_setuid_away_from_the_unprivileged)
{
	struct fs_file *f = create("f");
	struct stat st = { .st_mode = 06755 };
	uint64_t ino = fs_file_ino(f);

	write_at(f, 0, 100, 'a');
	ck_assert_int_eq(fs_setattr(fs, &root, ino, &st, FS_SET_MODE, NULL), 0);
	ck_assert_int_eq(fs_write(f, &root, "x", 0, 1, 0), 1);
	ck_assert_uint_eq(attributes(ino).st_mode & 07777, 06755);
	ck_assert_int_eq(fs_write(f, &user, "x", 0, 1, 0), 1);
	ck_assert_uint_eq(attributes(ino).st_mode & 07777, 0755);
	fs_close(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_data");
	TCase *t = tcase_create("data");

	tcase_set_timeout(t, 300);
	tcase_add_checked_fixture(t, fs_pool_setup, fs_pool_teardown);
	tcase_add_test(t, holes_read_as_zeros_and_take_no_blocks);
	tcase_add_test(t, an_overwrite_is_one_fence);
	tcase_add_test(t, an_allocating_write_is_two_fences);
	tcase_add_test(t, a_creation_is_one_fence);
	tcase_add_test(t, bytes_beyond_a_shorter_eof_never_come_back);
	tcase_add_test(t, append_goes_to_the_end_whatever_the_offset);
	tcase_add_loop_test(t, pieces_of_an_append_go_to_their_places_in_any_order, 0, 4);
	tcase_add_test(t, pieces_of_an_append_that_failed_leave_nothing_behind);
	tcase_add_test(t, preallocated_blocks_read_as_zeros_and_are_kept);
	tcase_add_test(t, punching_gives_blocks_back_and_zeroes_edges);
	tcase_add_test(t, zero_range_keeps_the_blocks);
	tcase_add_test(t, an_impossible_preallocation_takes_nothing);
	tcase_add_test(t, an_unlinked_open_file_keeps_its_blocks);
	tcase_add_test(t, a_full_pool_still_unlinks_truncates_and_punches);
	tcase_add_test(t, a_pool_full_of_inodes_gives_all_back);
	tcase_add_test(t, copy_range_copies_data_and_holes);
	tcase_add_test(t, writing_takes_setuid_away_from_the_unprivileged);
	suite_add_tcase(s, t);
	return unit_run(s);
}
