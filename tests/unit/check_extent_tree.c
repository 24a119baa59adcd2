/*
 * The tree of an extent map with more extents than its inode holds: how it grows, shrinks, is undone and given
 * back, and what damage to its nodes leads to.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "extent_file.h"
#include "meta/balloc.h"
#include "meta/journal.h"
#include "util/crc32c.h"
#include "util/fault.h"

/* ---- Growing and shrinking ----------------------------------------------------------------------------- */

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
	unsigned int i;

	map_sparse(100, n);
	ck_assert_uint_eq(file->core.depth, 2);
	before = at(100 + 2 * 777);
	reopen_file();
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
	ck_assert_int_eq(extent_walk(file, census_one, &(struct census){ 0 }), -EUCLEAN);
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

int main(void)
{
	Suite *s = suite_create("extent_tree");
	TCase *tc = extent_group(s, "tree");

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
	return unit_run(s);
}
