/*
 * Extent maps, on a pool made by hand: the packed form, lookup, insertion, removal and conversion, each by
 * itself, then a random model test against an array. (The tree by itself: check_extent_tree.c; what is built on
 * maps: check_iomap.c.)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "extent_file.h"
#include "meta/balloc.h"
#include "util/fault.h"

/* ---- The packed form ----------------------------------------------------------------------------------- */

START_TEST(packing_keeps_every_field_at_its_limits)
{
	const struct extent cases[] = {
		{ 0, 1, 1, false },
		{ EXTENT_FILE_BLOCK_MAX, POOL_MAX_BLOCKS - 1, EXTENT_MAX_LEN, true },
		{ 0x123456789ab, 0xfedcba987, 4095, true },
		{ 1, 1, 4096, false },
	};
	struct extent e = extent_unpack(extent_pack(&cases[_i]));

	ck_assert_uint_eq(e.file_block, cases[_i].file_block);
	ck_assert_uint_eq(e.block, cases[_i].block);
	ck_assert_uint_eq(e.count, cases[_i].count);
	ck_assert_int_eq(e.unwritten, cases[_i].unwritten);
}
END_TEST

START_TEST(packing_is_what_the_format_says)
{
	struct extent e = { .file_block = 5, .block = 9, .count = 0x3001, .unwritten = true };
	struct disk_extent d = extent_pack(&e);

	ck_assert_uint_eq(le64_to_cpu(d.lo), 5ULL << 12 | 1);
	ck_assert_uint_eq(le64_to_cpu(d.hi), 9ULL << 12 | 3 << 1 | 1);
}
END_TEST

/* ---- Lookup and insertion ------------------------------------------------------------------------------ */

START_TEST(an_empty_file_is_one_hole)
{
	assert_hole(at(0), 0, FILE_END);
	assert_hole(at(EXTENT_FILE_BLOCK_MAX), EXTENT_FILE_BLOCK_MAX, 1);
}
END_TEST

START_TEST(lookup_gives_whole_extents_and_holes_to_the_next)
{
	map_blocks(10, 4, false);
	map_blocks(20, 2, true);
	assert_hole(at(3), 3, 7);
	assert_extent(at(10), 10, 4, false);
	assert_extent(at(13), 10, 4, false);
	assert_hole(at(14), 14, 6);
	assert_extent(at(21), 20, 2, true);
	assert_hole(at(22), 22, FILE_END - 22);
	ck_assert_uint_eq(file->core.blocks, 6);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), 6);
}
END_TEST

START_TEST(contiguous_extents_of_one_kind_merge)
{
	struct extent e = { .file_block = 10 };
	struct tx tx;

	unit_begin(&tx, file, 0);
	ck_assert_int_eq(tx_alloc(&tx, 9, 0, 0, BALLOC_WHOLE, &e.block, &e.count), 0);
	e.count = 3;
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	e.file_block += 6;
	e.block += 6;
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	ck_assert_uint_eq(file->core.count, 2);
	e.file_block -= 3;
	e.block -= 3;
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	unit_commit(&tx, file);
	ck_assert_uint_eq(file->core.count, 1);
	assert_extent(at(12), 10, 9, false);
}
END_TEST

START_TEST(unlike_neighbours_do_not_merge)
{
	struct extent e = { .file_block = 0 };
	struct tx tx;

	unit_begin(&tx, file, 0);
	ck_assert_int_eq(tx_alloc(&tx, 6, 0, 0, BALLOC_WHOLE, &e.block, &e.count), 0);
	e.count = 2;
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	e = (struct extent){ .file_block = 2, .block = e.block + 2, .count = 2, .unwritten = true };
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	e = (struct extent){ .file_block = 5, .block = e.block + 2, .count = 2, .unwritten = true };
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	unit_commit(&tx, file);
	ck_assert_uint_eq(file->core.count, 3);
}
END_TEST

START_TEST(an_extent_longer_than_the_packed_form_becomes_several)
{
	struct extent e = { .file_block = 7, .block = 1000, .count = 2ULL * EXTENT_MAX_LEN + 5 };
	struct tx tx;

	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_insert(&tx, file, &e), 0);
	ck_assert_uint_eq(file->core.count, 3);
	ck_assert_uint_eq(file->core.blocks, e.count);
	ck_assert_int_eq(extent_lookup(&tx, file, 7 + 2ULL * EXTENT_MAX_LEN, &e), 0);
	assert_extent(e, 7 + 2ULL * EXTENT_MAX_LEN, 5, false);
	ck_assert_uint_eq(e.block, 1000 + 2ULL * EXTENT_MAX_LEN);
	unit_abort(&tx, file);
	ck_assert_uint_eq(file->core.count, 0);
}
END_TEST

START_TEST(the_last_block_a_file_can_have)
{
	map_blocks(EXTENT_FILE_BLOCK_MAX - 1, 2, false);
	assert_hole(at(0), 0, EXTENT_FILE_BLOCK_MAX - 1);
	assert_extent(at(EXTENT_FILE_BLOCK_MAX), EXTENT_FILE_BLOCK_MAX - 1, 2, false);
	remove_blocks(EXTENT_FILE_BLOCK_MAX, UINT64_MAX);
	assert_extent(at(EXTENT_FILE_BLOCK_MAX - 1), EXTENT_FILE_BLOCK_MAX - 1, 1, false);
	remove_blocks(0, FILE_END);
	ck_assert_uint_eq(file->core.count, 0);
}
END_TEST

/* ---- Removal and conversion ---------------------------------------------------------------------------- */

START_TEST(removal_cuts_ends_middles_and_wholes)
{
	uint64_t block;

	map_blocks(10, 20, false);
	block = at(10).block;
	remove_blocks(0, 12);
	assert_extent(at(12), 12, 18, false);
	ck_assert_uint_eq(at(12).block, block + 2);
	remove_blocks(28, 100);
	assert_extent(at(12), 12, 16, false);
	remove_blocks(15, 5);
	assert_extent(at(14), 12, 3, false);
	assert_hole(at(15), 15, 5);
	assert_extent(at(20), 20, 8, false);
	ck_assert_uint_eq(at(20).block, block + 10);
	ck_assert_uint_eq(file->core.blocks, 11);
	remove_blocks(14, 7);
	assert_hole(at(14), 14, 7);
	remove_blocks(0, 0);
	remove_blocks(FILE_END, 1);
	remove_blocks(100, 5);
	ck_assert_uint_eq(file->core.blocks, 9);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), 9);
}
END_TEST

START_TEST(a_hole_in_an_extent_can_be_punched_when_the_pool_is_full)
{
	uint64_t got, block, left;
	struct tx tx;

	map_sparse(0, INODE_EXTENTS - 1);
	map_blocks(1000, 50, false);
	unit_begin(&tx, file, 0);
	while (tx_alloc(&tx, 1 << 20, 0, 0, BALLOC_NOT_CONGRUENT, &block, &got) == 0)
		continue;	/* and lose them: the commit leaves them taken */
	unit_commit(&tx, file);
	left = unit_pool_free(up);
	ck_assert_uint_le(left, UNIT_POOL_RESERVE);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_remove(&tx, file, 1020, 1), -ENOSPC);
	unit_abort(&tx, file);
	remove_blocks(1020, 10);
	assert_hole(at(1020), 1020, 10);
	ck_assert_uint_eq(unit_pool_free(up), left + 10 - census().nodes);
}
END_TEST

START_TEST(written_parts_split_and_merge_again)
{
	struct tx tx;

	map_blocks(10, 30, true);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_set_written(&tx, file, 20, 5, true), 0);
	unit_commit(&tx, file);
	assert_extent(at(10), 10, 10, true);
	assert_extent(at(20), 20, 5, false);
	assert_extent(at(25), 25, 15, true);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_set_written(&tx, file, 0, 20, true), 0);
	ck_assert_uint_eq(file->core.count, 2);
	ck_assert_int_eq(extent_set_written(&tx, file, 0, FILE_END, true), 0);
	unit_commit(&tx, file);
	ck_assert_uint_eq(file->core.count, 1);
	assert_extent(at(10), 10, 30, false);
}
END_TEST

START_TEST(conversion_skips_holes_and_works_both_ways)
{
	struct tx tx;

	map_sparse(0, 300);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_set_written(&tx, file, 101, 100, false), 0);
	unit_commit(&tx, file);
	assert_extent(at(100), 100, 1, false);
	assert_extent(at(102), 102, 1, true);
	assert_extent(at(200), 200, 1, true);
	assert_hole(at(201), 201, 1);
	assert_extent(at(202), 202, 1, false);
	ck_assert_uint_eq(census().extents, 300);
}
END_TEST

START_TEST(sequential_writes_into_unwritten_space_add_no_extents)
{
	struct tx tx;
	uint64_t i;

	map_blocks(0, 64, true);
	for (i = 0; i < 32; i++) {
		unit_begin(&tx, file, 0);
		ck_assert_int_eq(extent_set_written(&tx, file, i, 1, true), 0);
		unit_commit(&tx, file);
		ck_assert_uint_eq(file->core.count, 2);
	}
	assert_extent(at(5), 0, 32, false);
	assert_extent(at(32), 32, 32, true);
}
END_TEST

/* ---- Random operations against an array ---------------------------------------------------------------- */

#define MODEL_BLOCKS	5000U
#define MODEL_STEPS	20000U
#define MODEL_PHASE	4000U		/* steps in which the file grows, then shrinks, on the whole */

struct model {
	uint64_t	block[MODEL_BLOCKS];	/* 0: hole */
	bool		unwritten[MODEL_BLOCKS];
};

static uint64_t random_state;

static uint64_t roll(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static int model_insert(struct model *m, struct tx *tx)
{
	struct extent e = { .file_block = roll(MODEL_BLOCKS), .unwritten = roll(4) == 0 };
	uint64_t want = roll(5) ? 1 : 1 + roll(8), i;
	int rc;

	for (i = 0; i < want && e.file_block + i < MODEL_BLOCKS && !m->block[e.file_block + i]; i++)
		continue;
	if (i == 0)
		return 0;
	rc = tx_alloc(tx, i, 0, e.file_block, 0, &e.block, &e.count);
	if (!rc)
		rc = extent_insert(tx, file, &e);
	for (i = 0; !rc && i < e.count; i++) {
		m->block[e.file_block + i] = e.block + i;
		m->unwritten[e.file_block + i] = e.unwritten;
	}
	return rc;
}

static uint64_t model_range(uint64_t *first, uint64_t most)
{
	uint64_t count = 1 + roll(most);

	*first = roll(MODEL_BLOCKS);
	return count < MODEL_BLOCKS - *first ? count : MODEL_BLOCKS - *first;
}

static int model_remove(struct model *m, struct tx *tx)
{
	uint64_t first, count = model_range(&first, roll(50) ? 20 : 1500);

	memset(m->block + first, 0, count * sizeof(m->block[0]));
	return extent_remove(tx, file, first, count);
}

static int model_convert(struct model *m, struct tx *tx)
{
	uint64_t first, count = model_range(&first, 40), i;
	bool written = roll(2);

	for (i = first; i < first + count; i++)
		m->unwritten[i] = !written;
	return extent_set_written(tx, file, first, count, written);
}

/*
 * One block: what the tree says about it, and where the tree says its hole ends. A plain if comes first, as every
 * ck_assert is a system call.
 */
static void model_compare_at(const struct model *m, uint64_t file_block)
{
	struct extent e = { 0 };
	int rc = extent_lookup(NULL, file, file_block, &e);
	uint64_t end = e.file_block + e.count;
	bool same;

	if (m->block[file_block])
		same = e.block + (file_block - e.file_block) == m->block[file_block] &&
		       e.unwritten == m->unwritten[file_block];
	else
		same = !e.block && e.file_block == file_block && (end == FILE_END || m->block[end]);
	if (rc || !same)
		ck_abort_msg("file block %" PRIu64 ": found %" PRIu64 "+%" PRIu64 " at %" PRIu64 ", expected %"
			     PRIu64 ", rc %d", file_block, e.file_block, e.count, e.block, m->block[file_block], rc);
}

static void model_compare(const struct model *m)
{
	struct census c = census();
	uint64_t i, mapped = 0;

	for (i = 0; i < MODEL_BLOCKS; i++) {
		model_compare_at(m, i);
		mapped += m->block[i] != 0;
	}
	ck_assert_uint_eq(c.data, mapped);
	ck_assert_uint_eq(file->core.blocks, c.data + c.nodes);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), file->core.blocks);
}

/* One transaction of one to three operations; false if it was undone. */
static bool model_step(struct model *m, unsigned int growth)
{
	unsigned int n = 1 + (unsigned int)roll(3);
	struct tx tx;
	int rc = 0;

	unit_begin(&tx, file, 0);
	if (roll(16) == 0)
		fault_arm(FAULT_BALLOC, 1 + roll(4));
	while (!rc && n--) {
		uint64_t what = roll(10);

		if (what < growth)
			rc = model_insert(m, &tx);
		else if (what < 8)
			rc = model_remove(m, &tx);
		else
			rc = model_convert(m, &tx);
	}
	fault_disarm(FAULT_BALLOC);
	ck_assert_msg(rc == 0 || rc == -ENOSPC, "%d", rc);
	if (rc || roll(8) == 0) {
		unit_abort(&tx, file);
		return false;
	}
	unit_commit(&tx, file);
	return true;
}

START_TEST(random_operations_agree_with_an_array)
{
	static struct model m, undo;
	unsigned int step, i, deepest = 0;

	random_state = 0x9e3779b97f4a7c15ULL * (uint64_t)(_i + 1);
	printf("seed %#" PRIx64 "\n", random_state);
	memset(&m, 0, sizeof(m));
	for (step = 0; step < MODEL_STEPS; step++) {
		undo = m;
		if (!model_step(&m, step / MODEL_PHASE % 2 ? 3 : 7))
			m = undo;
		if (file->core.depth > deepest)
			deepest = file->core.depth;
		for (i = 0; i < 10; i++)
			model_compare_at(&m, roll(MODEL_BLOCKS));
		if (step % 200 == 0)
			model_compare(&m);
		if (step % 5000 == 4999) {
			reopen_file();
			model_compare(&m);
		}
	}
	ck_assert_uint_ge(deepest, 2);
	remove_blocks(0, FILE_END);
	ck_assert_uint_eq(file->core.blocks, 0);
	ck_assert_uint_eq(file->core.format, INODE_FORMAT_EXTENTS);
	ck_assert_uint_eq(unit_pool_free(up), free_at_start);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("extent");
	TCase *tc = extent_group(s, "map");

	tcase_add_loop_test(tc, packing_keeps_every_field_at_its_limits, 0, 4);
	tcase_add_test(tc, packing_is_what_the_format_says);
	tcase_add_test(tc, an_empty_file_is_one_hole);
	tcase_add_test(tc, lookup_gives_whole_extents_and_holes_to_the_next);
	tcase_add_test(tc, contiguous_extents_of_one_kind_merge);
	tcase_add_test(tc, unlike_neighbours_do_not_merge);
	tcase_add_test(tc, an_extent_longer_than_the_packed_form_becomes_several);
	tcase_add_test(tc, the_last_block_a_file_can_have);
	tcase_add_test(tc, removal_cuts_ends_middles_and_wholes);
	tcase_add_test(tc, a_hole_in_an_extent_can_be_punched_when_the_pool_is_full);
	tcase_add_test(tc, written_parts_split_and_merge_again);
	tcase_add_test(tc, conversion_skips_holes_and_works_both_ways);
	tcase_add_test(tc, sequential_writes_into_unwritten_space_add_no_extents);
	tc = extent_group(s, "model");
	tcase_add_loop_test(tc, random_operations_agree_with_an_array, 0, 2);
	return unit_run(s);
}
