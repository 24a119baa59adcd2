/*
 * Extent maps and iomap, on a pool made by hand: each behaviour by itself, then a random model test against
 * an array.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/iomap.h"
#include "meta/journal.h"
#include "pool.h"
#include "unit.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define FILE_MODE	(S_IFREG | 0644)
#define FILE_END	(EXTENT_FILE_BLOCK_MAX + 1)
#define POOL_BLOCKS	8192U

static struct unit_pool *up;
static struct inode *file;
static uint64_t free_at_start;

static void setup(void)
{
	up = unit_pool_new(POOL_BLOCKS, 0);
	file = unit_pool_inode(up, FILE_MODE);
	free_at_start = unit_pool_free(up);
}

static void teardown(void)
{
	fault_disarm(FAULT_BALLOC);
	unit_pool_delete(up);
}

/* `count` blocks of the pool mapped at file_block, inside a transaction. */
static int insert(struct tx *tx, uint64_t file_block, uint64_t count, bool unwritten)
{
	struct extent e = { .file_block = file_block, .unwritten = unwritten };
	int rc;

	rc = tx_alloc(tx, count, 0, file_block, BALLOC_WHOLE, &e.block, &e.count);
	return rc ? rc : extent_insert(tx, file, &e);
}

static void map_blocks(uint64_t file_block, uint64_t count, bool unwritten)
{
	struct tx tx;

	unit_begin(&tx, file, 0);
	ck_assert_int_eq(insert(&tx, file_block, count, unwritten), 0);
	unit_commit(&tx, file);
}

static void remove_blocks(uint64_t file_block, uint64_t count)
{
	struct tx tx;

	unit_begin(&tx, file, BALLOC_RESERVE);
	ck_assert_int_eq(extent_remove(&tx, file, file_block, count), 0);
	unit_commit(&tx, file);
}

/* `n` extents of one block at every second file block; few in one transaction, as records are bounded. */
static void map_sparse(uint64_t first, unsigned int n)
{
	struct tx tx;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (i % 64 == 0)
			unit_begin(&tx, file, 0);
		ck_assert_int_eq(insert(&tx, first + 2 * i, 1, false), 0);
		if (i % 64 == 63 || i == n - 1)
			unit_commit(&tx, file);
	}
}

static struct extent at(uint64_t file_block)
{
	struct extent e;

	ck_assert_int_eq(extent_lookup(NULL, file, file_block, &e), 0);
	return e;
}

static void assert_extent(struct extent e, uint64_t file_block, uint64_t count, bool unwritten)
{
	ck_assert_uint_ne(e.block, 0);
	ck_assert_uint_eq(e.file_block, file_block);
	ck_assert_uint_eq(e.count, count);
	ck_assert_int_eq(e.unwritten, unwritten);
}

static void assert_hole(struct extent e, uint64_t file_block, uint64_t count)
{
	ck_assert_uint_eq(e.block, 0);
	ck_assert_uint_eq(e.file_block, file_block);
	ck_assert_uint_eq(e.count, count);
}

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

/* ---- The tree ------------------------------------------------------------------------------------------ */

struct census {
	uint64_t	data, nodes, extents, last;
};

static int count_one(void *arg, const struct extent *e, uint64_t node)
{
	struct census *c = arg;

	if (!e) {
		c->nodes++;
		return node ? 0 : -EINVAL;
	}
	if (e->file_block < c->last)
		return -EINVAL;
	c->last = e->file_block + e->count;
	c->data += e->count;
	c->extents++;
	return 0;
}

static struct census census(void)
{
	struct census c = { 0 };

	ck_assert_int_eq(extent_walk(file, count_one, &c), 0);
	return c;
}

START_TEST(more_extents_than_the_inode_holds_make_a_tree)
{
	struct census c;

	map_sparse(0, INODE_EXTENTS);
	ck_assert_uint_eq(file->core.format, INODE_FORMAT_EXTENTS);
	map_sparse(2 * INODE_EXTENTS, 1);
	ck_assert_uint_eq(file->core.format, INODE_FORMAT_TREE);
	ck_assert_uint_eq(file->core.depth, 1);
	c = census();
	ck_assert_uint_eq(c.extents, INODE_EXTENTS + 1);
	ck_assert_uint_eq(c.nodes, 1);
	ck_assert_uint_eq(file->core.blocks, c.data + c.nodes);
}
END_TEST

START_TEST(ascending_insertion_fills_the_nodes)
{
	map_sparse(0, 2 * EXTENT_NODE_ENTRIES);
	ck_assert_uint_le(census().nodes, 3);
}
END_TEST

START_TEST(a_deep_tree_answers_lookups_and_survives_a_reopen)
{
	const unsigned int n = 8 * EXTENT_NODE_ENTRIES;
	struct extent before, after;
	uint64_t ino = file->ino;
	unsigned int i;

	map_sparse(100, n);
	ck_assert_uint_eq(file->core.depth, 2);
	before = at(100 + 2 * 777);
	unit_pool_reopen(up, 0);
	ck_assert_int_eq(inode_get(&up->pool, ino, &file), 0);
	after = at(100 + 2 * 777);
	ck_assert_uint_eq(before.block, after.block);
	assert_hole(at(0), 0, 100);
	for (i = 0; i < n; i++) {
		assert_extent(at(100 + 2 * i), 100 + 2 * i, 1, false);
		assert_hole(at(101 + 2 * i), 101 + 2 * i, i == n - 1 ? FILE_END - (101 + 2 * i) : 1);
	}
}
END_TEST

START_TEST(inserting_before_all_else_lowers_the_keys)
{
	map_sparse(100000, 8 * EXTENT_NODE_ENTRIES);
	map_blocks(50, 1, false);
	map_blocks(5, 1, false);
	assert_extent(at(5), 5, 1, false);
	assert_hole(at(6), 6, 44);
	assert_extent(at(50), 50, 1, false);
	census();
}
END_TEST

START_TEST(a_cut_of_more_nodes_than_a_record_holds_is_one_transaction)
{
	const unsigned int n = 24 * EXTENT_NODE_ENTRIES;

	ck_assert_uint_gt(24 * BLOCK_SIZE, RECORD_MAX);
	map_sparse(0, n);
	remove_blocks(3, 2 * n - 6);
	ck_assert_uint_eq(census().extents, 3);
	assert_hole(at(3), 3, 2 * (n - 1) - 3);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), file->core.blocks);
}
END_TEST

START_TEST(a_tree_that_shrinks_returns_into_the_inode)
{
	const unsigned int n = 8 * EXTENT_NODE_ENTRIES;

	map_sparse(0, n);
	remove_blocks(2 * INODE_EXTENTS, FILE_END);
	ck_assert_uint_eq(file->core.format, INODE_FORMAT_EXTENTS);
	ck_assert_uint_eq(file->core.depth, 0);
	ck_assert_uint_eq(file->core.count, INODE_EXTENTS);
	ck_assert_uint_eq(file->core.blocks, INODE_EXTENTS);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), INODE_EXTENTS);
}
END_TEST

START_TEST(nodes_thinned_out_one_after_the_other_are_merged)
{
	const unsigned int n = 8 * EXTENT_NODE_ENTRIES, last = (2 * n - 1) / 200;
	unsigned int i;

	map_sparse(0, n);
	for (i = 0; i <= last; i++)
		remove_blocks(200 * (_i ? i : last - i) + 1, 199);
	ck_assert_uint_eq(census().extents, last + 1);
	ck_assert_uint_eq(census().nodes, 1);
	ck_assert_uint_eq(file->core.depth, 1);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), file->core.blocks);
}
END_TEST

START_TEST(removing_all_gives_everything_back)
{
	map_sparse(0, 8 * EXTENT_NODE_ENTRIES);
	remove_blocks(0, FILE_END);
	ck_assert_uint_eq(file->core.format, INODE_FORMAT_EXTENTS);
	ck_assert_uint_eq(file->core.count, 0);
	ck_assert_uint_eq(file->core.blocks, 0);
	ck_assert_uint_eq(unit_pool_free(up), free_at_start);
}
END_TEST

START_TEST(abort_leaves_the_tree_as_it_was)
{
	uint64_t blocks;
	struct tx tx;

	map_sparse(0, 2 * EXTENT_NODE_ENTRIES);
	blocks = file->core.blocks;
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_remove(&tx, file, 100, 300), 0);
	ck_assert_int_eq(insert(&tx, 101, 50, true), 0);
	unit_abort(&tx, file);
	ck_assert_uint_eq(file->core.blocks, blocks);
	ck_assert_uint_eq(census().extents, 2 * EXTENT_NODE_ENTRIES);
	assert_hole(at(101), 101, 1);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), blocks);
}
END_TEST

START_TEST(without_blocks_for_a_node_insertion_fails_and_abort_restores)
{
	struct extent e = { .file_block = 1000 };
	struct tx tx;

	map_sparse(0, INODE_EXTENTS);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &e.block, &e.count), 0);
	fault_arm_always(FAULT_BALLOC);
	ck_assert_int_eq(extent_insert(&tx, file, &e), -ENOSPC);
	fault_disarm(FAULT_BALLOC);
	unit_abort(&tx, file);
	ck_assert_uint_eq(census().extents, INODE_EXTENTS);
	ck_assert_uint_eq(free_at_start - unit_pool_free(up), INODE_EXTENTS);
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

/* ---- The end of a file --------------------------------------------------------------------------------- */

START_TEST(the_last_put_of_an_unlinked_file_gives_all_blocks_back)
{
	struct balloc_stat st;

	map_sparse(0, 3 * EXTENT_NODE_ENTRIES);
	unit_pool_unlink(file);
	balloc_stat(up->pool.balloc, &st);
	ck_assert_uint_eq(st.free, free_at_start);
	ck_assert_uint_ge(st.deferred, 3);	/* the nodes: records name them */
	ck_assert_uint_eq(unit_pool_free(up), free_at_start);
}
END_TEST

START_TEST(blocks_of_a_directory_are_given_back_by_the_revoke_rule)
{
	struct balloc_stat st;
	struct tx tx;

	unit_pool_unlink(file);
	file = unit_pool_inode(up, S_IFDIR | 0755);
	map_blocks(0, 20, false);
	free_at_start = unit_pool_free(up);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_remove(&tx, file, 0, 5), 0);
	unit_commit(&tx, file);
	balloc_stat(up->pool.balloc, &st);
	ck_assert_uint_eq(st.deferred, 5);
	unit_pool_unlink(file);
	balloc_stat(up->pool.balloc, &st);
	ck_assert_uint_eq(st.deferred, 20);
	ck_assert_uint_eq(unit_pool_free(up), free_at_start + 20);
}
END_TEST

/* ---- Damaged trees ------------------------------------------------------------------------------------- */

static int first_node(void *arg, const struct extent *e, uint64_t node)
{
	if (e)
		return 0;
	*(uint64_t *)arg = node;
	return 1;
}

/*
 * A file with two leaves, dropped from the cache after `patch` (8 bytes at `off`) went into its first leaf;
 * resealed if asked.
 */
static uint64_t damage(uint64_t off, uint64_t patch, bool reseal)
{
	struct disk_extent_node node;
	uint64_t ino = file->ino, block = 0;
	uint32_t seed;

	map_sparse(10, EXTENT_NODE_ENTRIES + 10);
	ck_assert_int_eq(extent_walk(file, first_node, &block), 1);
	node = *(const struct disk_extent_node *)pool_block(&up->pool, block);
	memcpy((char *)&node + off, &patch, sizeof(patch));
	seed = format_seed(&up->pool.super, block << BLOCK_SHIFT);
	if (reseal)
		node.crc = cpu_to_le32(crc32c_object(seed, &node, sizeof(node),
						     offsetof(struct disk_extent_node, crc)));
	persist_store(up->region, pool_block(&up->pool, block), &node, sizeof(node));
	inode_put(file);
	ck_assert_int_eq(inode_get(&up->pool, ino, &file), 0);
	return block;
}

START_TEST(a_damaged_node_is_found_at_the_first_lookup)
{
	const struct extent overlong = { .file_block = 10, .block = 500, .count = 3 };
	const struct extent outside = { .file_block = 10, .block = POOL_BLOCKS - 1, .count = 1 };
	const struct extent below = { .file_block = 3, .block = 500, .count = 1 };
	const struct extent beyond = { .file_block = 10 + 2 * EXTENT_NODE_ENTRIES, .block = 500, .count = 1 };
	const size_t entry = offsetof(struct disk_extent_node, extent), word = sizeof(uint64_t);
	const size_t last = entry + (EXTENT_NODE_ENTRIES - 2) * sizeof(struct disk_extent);
	const struct {
		uint64_t off, patch;
		bool reseal;
	} cases[] = {
		{ entry, 0, false },					/* crc */
		{ entry, 0, true },					/* length 0 */
		{ entry, extent_pack(&overlong).lo.raw, true },		/* overlap */
		{ entry + word, extent_pack(&outside).hi.raw, true },	/* outside the pool */
		{ entry, extent_pack(&below).lo.raw, true },		/* before the parent's key */
		{ last, extent_pack(&beyond).lo.raw, true },		/* after the next key */
		{ offsetof(struct disk_extent_node, owner), 12345, true },
		{ offsetof(struct disk_extent_node, generation), 12345, true },
		{ offsetof(struct disk_extent_node, level), 1 | 10 << 16, true },
		{ offsetof(struct disk_extent_node, level), 0, true },	/* no entries */
		{ offsetof(struct disk_extent_node, level), 253 << 16, true },
	};
	struct extent e;

	damage(cases[_i].off, cases[_i].patch, cases[_i].reseal);
	ck_assert_int_eq(extent_lookup(NULL, file, 0, &e), -EUCLEAN);
	ck_assert_int_eq(extent_walk(file, count_one, &(struct census){ 0 }), -EUCLEAN);
	ck_assert(!file->tree_verified);
}
END_TEST

START_TEST(a_damaged_tree_can_be_unlinked_and_leaks)
{
	struct balloc_stat st;
	struct tx tx;

	damage(offsetof(struct disk_extent_node, extent), 0, false);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(extent_remove(&tx, file, 0, FILE_END), -EUCLEAN);
	unit_abort(&tx, file);
	unit_pool_unlink(file);
	ck_assert_uint_lt(unit_pool_free(up), free_at_start);
	balloc_stat(up->pool.balloc, &st);
	ck_assert_uint_gt(st.lost, 0);		/* so that no free map is saved with the leak in it */
	unit_pool_reopen(up, 0);
	ck_assert_uint_eq(unit_pool_free(up), free_at_start);
}
END_TEST

/* ---- iomap --------------------------------------------------------------------------------------------- */

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
			uint64_t ino = file->ino;

			unit_pool_reopen(up, 0);
			ck_assert_int_eq(inode_get(&up->pool, ino, &file), 0);
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

static TCase *group(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 600);
	suite_add_tcase(s, tc);
	return tc;
}

static void add_tree_tests(Suite *s)
{
	TCase *tc = group(s, "tree");

	tcase_add_test(tc, more_extents_than_the_inode_holds_make_a_tree);
	tcase_add_test(tc, ascending_insertion_fills_the_nodes);
	tcase_add_test(tc, a_deep_tree_answers_lookups_and_survives_a_reopen);
	tcase_add_test(tc, inserting_before_all_else_lowers_the_keys);
	tcase_add_test(tc, a_cut_of_more_nodes_than_a_record_holds_is_one_transaction);
	tcase_add_test(tc, a_tree_that_shrinks_returns_into_the_inode);
	tcase_add_loop_test(tc, nodes_thinned_out_one_after_the_other_are_merged, 0, 2);
	tcase_add_test(tc, removing_all_gives_everything_back);
	tcase_add_test(tc, abort_leaves_the_tree_as_it_was);
	tcase_add_test(tc, without_blocks_for_a_node_insertion_fails_and_abort_restores);
	tcase_add_test(tc, the_last_put_of_an_unlinked_file_gives_all_blocks_back);
	tcase_add_test(tc, blocks_of_a_directory_are_given_back_by_the_revoke_rule);
	tcase_add_loop_test(tc, a_damaged_node_is_found_at_the_first_lookup, 0, 11);
	tcase_add_test(tc, a_damaged_tree_can_be_unlinked_and_leaks);
}

static void add_iomap_tests(Suite *s)
{
	TCase *tc = group(s, "iomap");

	tcase_add_test(tc, iomap_read_clips_to_the_range);
	tcase_add_test(tc, iomap_offsets_at_the_limit_do_not_overflow);
	tcase_add_test(tc, iomap_write_fills_holes_and_says_new);
	tcase_add_test(tc, iomap_write_converts_only_what_it_returns);
	tcase_add_test(tc, iomap_alloc_unwritten_fills_holes_only);
	tcase_add_test(tc, a_file_written_piece_by_piece_is_contiguous);
	tcase_add_test(tc, a_large_file_becomes_congruent_at_the_next_boundary);
	tcase_add_test(tc, seek_finds_data_and_holes);
}

int main(void)
{
	Suite *s = suite_create("extent");
	TCase *tc = group(s, "map");

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
	add_tree_tests(s);
	add_iomap_tests(s);
	tc = group(s, "model");
	tcase_add_loop_test(tc, random_operations_agree_with_an_array, 0, 2);
	return unit_run(s);
}
