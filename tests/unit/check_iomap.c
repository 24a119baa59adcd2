/*
 * iomap: what a range of bytes is mapped to, for reading, writing and preallocation, and where data and holes
 * begin.
 */
#include <errno.h>
#include <unistd.h>

#include "extent_file.h"
#include "meta/balloc.h"
#include "meta/iomap.h"

static struct iomap iomap_at(uint64_t pos, uint64_t len)
{
	struct iomap map;

	ck_assert_int_eq(iomap_read(file, pos, len, &map), 0);
	return map;
}

typedef int (*iomap_fn)(struct tx *tx, struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map);

static struct iomap iomap_do(iomap_fn fn, uint64_t pos, uint64_t len)
{
	struct iomap map;
	struct tx tx;

	unit_begin(&tx, file, 0);
	ck_assert_int_eq(fn(&tx, file, pos, len, &map), 0);
	if (pos + len > file->core.size)
		file->core.size = pos + len;
	unit_commit(&tx, file);
	return map;
}

START_TEST(iomap_read_clips_to_the_range)
{
	struct iomap map;

	map_blocks(2, 4, false);
	map = iomap_at(100, 50000);
	ck_assert_int_eq(map.type, IOMAP_HOLE);
	ck_assert_uint_eq(map.offset, 0);
	ck_assert_uint_eq(map.length, 2 * BLOCK_SIZE);
	ck_assert_uint_eq(map.addr, 0);
	map = iomap_at(3 * BLOCK_SIZE + 5, BLOCK_SIZE);
	ck_assert_int_eq(map.type, IOMAP_MAPPED);
	ck_assert_uint_eq(map.offset, 3 * BLOCK_SIZE);
	ck_assert_uint_eq(map.length, 2 * BLOCK_SIZE);
	ck_assert_uint_eq(map.addr, (at(2).block + 1) << BLOCK_SHIFT);
	ck_assert_uint_eq(iomap_at(3 * BLOCK_SIZE, 0).length, BLOCK_SIZE);
}
END_TEST

START_TEST(extents_that_go_on_in_the_pool_are_one_mapping)
{
	struct extent e = { .file_block = 0, .block = 1000, .count = 2ULL * EXTENT_MAX_LEN + 5 };
	uint64_t seam = EXTENT_MAX_LEN - 2;
	struct iomap map;
	struct tx tx;

	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	ck_assert_uint_eq(file->core.count, 3);
	map = iomap_at(seam << BLOCK_SHIFT, 5 * BLOCK_SIZE);
	ck_assert_uint_eq(map.offset, seam << BLOCK_SHIFT);
	ck_assert_uint_eq(map.length, 5 * BLOCK_SIZE);
	ck_assert_uint_eq(map.addr, (1000 + seam) << BLOCK_SHIFT);
	map = iomap_at(0, UINT64_MAX);
	ck_assert_uint_eq(map.length, e.count << BLOCK_SHIFT);
	unit_abort(&tx, file);
}
END_TEST

START_TEST(extents_that_do_not_go_on_are_mappings_of_their_own)
{
	struct iomap map;

	map_blocks(0, 3, false);
	map_blocks(3, 3, true);
	ck_assert_uint_eq(at(3).block, at(0).block + 3);
	map = iomap_at(BLOCK_SIZE, UINT64_MAX);
	ck_assert_int_eq(map.type, IOMAP_MAPPED);
	ck_assert_uint_eq(map.length, 2 * BLOCK_SIZE);
	map = iomap_at(3 * BLOCK_SIZE, UINT64_MAX);
	ck_assert_int_eq(map.type, IOMAP_UNWRITTEN);
	ck_assert_uint_eq(map.length, 3 * BLOCK_SIZE);
}
END_TEST

START_TEST(iomap_offsets_at_the_limit_do_not_overflow)
{
	struct iomap map = iomap_at(INT64_MAX, UINT64_MAX);

	ck_assert_uint_eq(map.offset, EXTENT_FILE_BLOCK_MAX << BLOCK_SHIFT);
	ck_assert_uint_eq(map.length, BLOCK_SIZE);
	map = iomap_at(0, UINT64_MAX);
	ck_assert_uint_eq(map.length, 1ULL << 63);
	ck_assert_int_eq(iomap_read(file, 1ULL << 63, 1, &map), -EFBIG);
	map = iomap_do(iomap_write, INT64_MAX - 1, 1);
	ck_assert_uint_eq(map.length, BLOCK_SIZE);
	assert_extent(at(EXTENT_FILE_BLOCK_MAX), EXTENT_FILE_BLOCK_MAX, 1, false);
}
END_TEST

START_TEST(iomap_write_fills_holes_and_says_new)
{
	struct iomap map = iomap_do(iomap_write, BLOCK_SIZE + 1, 2 * BLOCK_SIZE);

	ck_assert_int_eq(map.type, IOMAP_MAPPED);
	ck_assert_uint_eq(map.flags, IOMAP_F_NEW);
	ck_assert_uint_eq(map.offset, BLOCK_SIZE);
	ck_assert_uint_eq(map.length, 3 * BLOCK_SIZE);
	ck_assert_uint_eq(file->core.blocks, 3);
	map = iomap_do(iomap_write, 2 * BLOCK_SIZE, 10);
	ck_assert_uint_eq(map.flags, 0);
	ck_assert_uint_eq(map.length, BLOCK_SIZE);
	map = iomap_do(iomap_write, 0, 10 * BLOCK_SIZE);
	ck_assert_uint_eq(map.flags, IOMAP_F_NEW);
	ck_assert_uint_eq(map.length, BLOCK_SIZE);	/* the hole before what is mapped */
}
END_TEST

START_TEST(iomap_write_converts_only_what_it_returns)
{
	struct iomap map;

	map_blocks(0, 4, true);
	map_blocks(4, 1, false);
	map_blocks(5, 4, true);
	map = iomap_do(iomap_write, BLOCK_SIZE, 7 * BLOCK_SIZE);
	ck_assert_int_eq(map.type, IOMAP_MAPPED);
	ck_assert_uint_eq(map.flags, IOMAP_F_NEW);
	ck_assert_uint_eq(map.offset, BLOCK_SIZE);
	ck_assert_uint_eq(map.length, 3 * BLOCK_SIZE);
	ck_assert_int_eq(iomap_at(0, BLOCK_SIZE).type, IOMAP_UNWRITTEN);
	ck_assert_int_eq(iomap_at(5 * BLOCK_SIZE, BLOCK_SIZE).type, IOMAP_UNWRITTEN);
}
END_TEST

START_TEST(iomap_alloc_unwritten_fills_holes_only)
{
	struct iomap map;

	map_blocks(3, 2, false);
	map = iomap_do(iomap_alloc_unwritten, 0, 10 * BLOCK_SIZE);
	ck_assert_int_eq(map.type, IOMAP_UNWRITTEN);
	ck_assert_uint_eq(map.flags, IOMAP_F_NEW);
	ck_assert_uint_eq(map.length, 3 * BLOCK_SIZE);
	map = iomap_do(iomap_alloc_unwritten, 3 * BLOCK_SIZE, 7 * BLOCK_SIZE);
	ck_assert_int_eq(map.type, IOMAP_MAPPED);
	ck_assert_uint_eq(map.flags, 0);
	ck_assert_uint_eq(map.length, 2 * BLOCK_SIZE);
}
END_TEST

START_TEST(a_file_written_piece_by_piece_is_contiguous)
{
	uint64_t i;

	for (i = 0; i < 100; i++)
		iomap_do(iomap_write, i * BLOCK_SIZE, BLOCK_SIZE);
	ck_assert_uint_eq(file->core.count, 1);
	assert_extent(at(0), 0, 100, false);
}
END_TEST

START_TEST(a_large_file_becomes_congruent_at_the_next_boundary)
{
	const uint64_t group = (uint64_t)GROUP_BLOCKS << BLOCK_SHIFT;
	struct iomap map;

	map = iomap_do(iomap_alloc_unwritten, 0, 3 * BLOCK_SIZE);
	if (map.addr % group == 0)
		map = iomap_do(iomap_alloc_unwritten, 4 * BLOCK_SIZE, BLOCK_SIZE);
	map = iomap_do(iomap_alloc_unwritten, 3 * BLOCK_SIZE, 4 * group - 3 * BLOCK_SIZE);
	ck_assert_uint_le(map.offset + map.length, group);
	map = iomap_do(iomap_alloc_unwritten, group, 3 * group);
	ck_assert_uint_eq(map.addr % group, 0);
	ck_assert_uint_eq(map.length, 3 * group);
}
END_TEST

START_TEST(seek_finds_data_and_holes)
{
	map_blocks(2, 2, false);
	map_blocks(4, 2, true);
	map_blocks(8, 1, false);
	file->core.size = 8 * BLOCK_SIZE + 100;
	ck_assert_int_eq(iomap_seek(file, 0, SEEK_DATA), 2 * BLOCK_SIZE);
	ck_assert_int_eq(iomap_seek(file, 2 * BLOCK_SIZE + 7, SEEK_DATA), 2 * BLOCK_SIZE + 7);
	ck_assert_int_eq(iomap_seek(file, 4 * BLOCK_SIZE, SEEK_DATA), 8 * BLOCK_SIZE);
	ck_assert_int_eq(iomap_seek(file, 5, SEEK_HOLE), 5);
	ck_assert_int_eq(iomap_seek(file, 2 * BLOCK_SIZE, SEEK_HOLE), 4 * BLOCK_SIZE);
	ck_assert_int_eq(iomap_seek(file, 8 * BLOCK_SIZE, SEEK_HOLE), 8 * BLOCK_SIZE + 100);
	ck_assert_int_eq(iomap_seek(file, 8 * BLOCK_SIZE + 100, SEEK_HOLE), -ENXIO);
	ck_assert_int_eq(iomap_seek(file, 8 * BLOCK_SIZE + 100, SEEK_DATA), -ENXIO);
	file->core.size = 7 * BLOCK_SIZE;
	ck_assert_int_eq(iomap_seek(file, 5 * BLOCK_SIZE, SEEK_DATA), -ENXIO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("iomap");
	TCase *tc = extent_group(s, "iomap");

	tcase_add_test(tc, iomap_read_clips_to_the_range);
	tcase_add_test(tc, extents_that_go_on_in_the_pool_are_one_mapping);
	tcase_add_test(tc, extents_that_do_not_go_on_are_mappings_of_their_own);
	tcase_add_test(tc, iomap_offsets_at_the_limit_do_not_overflow);
	tcase_add_test(tc, iomap_write_fills_holes_and_says_new);
	tcase_add_test(tc, iomap_write_converts_only_what_it_returns);
	tcase_add_test(tc, iomap_alloc_unwritten_fills_holes_only);
	tcase_add_test(tc, a_file_written_piece_by_piece_is_contiguous);
	tcase_add_test(tc, a_large_file_becomes_congruent_at_the_next_boundary);
	tcase_add_test(tc, seek_finds_data_and_holes);
	return unit_run(s);
}
