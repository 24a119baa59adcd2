/*
 * What is derived at mount, free blocks and free slots: by scan, and from the free-map cache. A second struct
 * pool on the same region plays the next mount, so that both can be compared.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/ialloc.h"
#include "meta/journal.h"
#include "meta/scan.h"
#include "meta/xattr.h"
#include "pool.h"
#include "unit.h"
#include "util/bitmap.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define POOL_BLOCKS	8192U
#define IDLE		64U

/* ---- Making things ------------------------------------------------------------------------------------- */

/* `n` extents of one block, each followed by a hole: more than INODE_EXTENTS of them make a tree. */
static void map_blocks(struct inode *ip, unsigned int n)
{
	struct extent e = { .count = 1 };
	unsigned int i;
	struct tx tx;

	unit_begin(&tx, ip, 0);
	for (i = 0; i < n; i++) {
		e.file_block = 2 * i;
		ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, BALLOC_NOT_CONGRUENT, &e.block, &e.count), 0);
		ck_assert_int_eq(extent_insert(&tx, ip, &e), 0);
	}
	ip->core.size = 2ULL * n * BLOCK_SIZE;
	unit_commit(&tx, ip);
}

static void set_xattr(struct inode *ip, size_t size)
{
	char value[8192] = { 'v' };
	struct tx tx;

	unit_begin(&tx, ip, 0);
	ck_assert_int_eq(xattr_set(&tx, ip, "user.big", value, size, 0), 0);
	unit_commit(&tx, ip);
}

/* A file of n extents, put; its number. */
static uint64_t make_file(struct unit_pool *up, unsigned int n)
{
	struct inode *ip = unit_pool_inode(up, S_IFREG | 0644);
	uint64_t ino = ip->ino;

	if (n)
		map_blocks(ip, n);
	inode_put(ip);
	return ino;
}

/* Files of all sizes, directories, symlinks' kind, xattrs, and gaps where some were unlinked. */
static void populate(struct unit_pool *up)
{
	uint64_t ino[60];
	struct inode *ip;
	unsigned int i;

	for (i = 0; i < 60; i++)
		ino[i] = make_file(up, i % 10);
	make_file(up, 600);
	for (i = 0; i < 60; i += 3)
		unit_pool_unlink_ino(up, ino[i]);
	for (i = 0; i < 3; i++) {
		ip = unit_pool_inode(up, S_IFREG | 0600);
		set_xattr(ip, 100 + 4000 * i);
		inode_put(ip);
	}
	ip = unit_pool_inode(up, S_IFDIR | 0755);
	map_blocks(ip, 2);
	inode_put(ip);
	inode_put(unit_pool_inode(up, S_IFIFO | 0600));
	ck_assert_int_eq(journal_retire(up->pool.journal), 0);
}

/* ---- The next mount ------------------------------------------------------------------------------------ */

/* On the same region, with nothing derived yet. */
static void next_open(struct pool *next, struct unit_pool *up)
{
	memset(next, 0, sizeof(*next));
	next->region = up->region;
	next->super = up->pool.super;
	next->balloc = balloc_new(next->super.blocks);
	ck_assert_ptr_nonnull(next->balloc);
	ck_assert_int_eq(ialloc_new(next), 0);
}

static void next_close(struct pool *next)
{
	ialloc_delete(next);
	balloc_delete(next->balloc);
}

static void assert_same(struct pool *a, struct pool *b)
{
	uint64_t slots = ialloc_slots(a), blocks = a->super.blocks;
	uint64_t *map[4];
	unsigned int i;

	for (i = 0; i < 4; i++)
		map[i] = bitmap_alloc(i < 2 ? blocks : slots);
	ck_assert_uint_eq(slots, ialloc_slots(b));
	ck_assert_uint_eq(ialloc_used(a), ialloc_used(b));
	ck_assert_uint_eq(ialloc_reclaimable(a), ialloc_reclaimable(b));
	balloc_snapshot(a->balloc, map[0]);
	balloc_snapshot(b->balloc, map[1]);
	ck_assert_mem_eq(map[0], map[1], BITMAP_WORDS(blocks) * 8);
	ialloc_snapshot(a, map[2]);
	ialloc_snapshot(b, map[3]);
	ck_assert_mem_eq(map[2], map[3], BITMAP_WORDS(slots) * 8);
	for (i = 0; i < 4; i++)
		free(map[i]);
}

/* The scan fails and says these words. */
static void assert_scan_refuses(struct unit_pool *up, const char *object, const char *what)
{
	struct err err = { "" };
	struct pool next;

	next_open(&next, up);
	ck_assert_int_eq(scan_pool(&next, 2, &err), -EUCLEAN);
	ck_assert_msg(strstr(err.text, object) && strstr(err.text, what), "says: %s", err.text);
	next_close(&next);
}

/* ---- Scan ---------------------------------------------------------------------------------------------- */

START_TEST(scan_derives_what_the_last_mount_knew)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	struct err err = { "" };
	struct pool next;

	populate(up);
	next_open(&next, up);
	ck_assert_int_eq(scan_pool(&next, (unsigned int)_i, &err), 0);
	assert_same(&up->pool, &next);
	next_close(&next);
	unit_pool_delete(up);
}
END_TEST

START_TEST(scan_after_replay_finds_the_pool_usable)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t used, free_blocks;

	populate(up);
	used = ialloc_used(&up->pool);
	free_blocks = unit_pool_free(up);
	unit_pool_reopen(up, IDLE);
	ck_assert_uint_eq(ialloc_used(&up->pool), used);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks);
	populate(up);
	unit_pool_delete(up);
}
END_TEST

START_TEST(scan_names_an_inode_that_does_not_verify)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino, zero = 0;
	char name[32];

	populate(up);
	ino = make_file(up, 3);
	unit_pool_damage(up, inode_offset(&up->pool, ino) + offsetof(struct disk_inode, size), &zero, sizeof(zero));
	snprintf(name, sizeof(name), "inode %llu:", (unsigned long long)ino);
	assert_scan_refuses(up, name, "crc");
	unit_pool_delete(up);
}
END_TEST

START_TEST(scan_names_an_inode_whose_block_has_two_owners)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t a = make_file(up, 3), b = make_file(up, 2);
	struct inode_core core = unit_pool_core(up, b), other = unit_pool_core(up, a);
	struct extent e = extent_unpack(core.extent[1]);

	e.block = extent_unpack(other.extent[2]).block;
	core.extent[1] = extent_pack(&e);
	unit_pool_rewrite(up, b, &core);
	assert_scan_refuses(up, "inode ", "another object");
	unit_pool_delete(up);
}
END_TEST

START_TEST(scan_refuses_an_xattr_run_in_the_inode_table)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino = make_file(up, 0);
	struct inode_core core = unit_pool_core(up, ino);

	core.xattr_block = UNIT_POOL_TABLE;
	core.xattr_blocks = 1;
	unit_pool_rewrite(up, ino, &core);
	assert_scan_refuses(up, "inode ", "another object");
	unit_pool_delete(up);
}
END_TEST

START_TEST(scan_names_an_inode_with_a_damaged_extent_node)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino = make_file(up, 600), node, ones = ~0ULL;
	struct inode_core core = unit_pool_core(up, ino);
	char name[32];

	ck_assert_int_eq(core.format, INODE_FORMAT_TREE);
	node = le64_to_cpu(core.index[core.count - 1].child);
	unit_pool_damage(up, (node << BLOCK_SHIFT) + 100, &ones, sizeof(ones));
	snprintf(name, sizeof(name), "inode %llu:", (unsigned long long)ino);
	assert_scan_refuses(up, name, "extent tree");
	unit_pool_delete(up);
}
END_TEST

START_TEST(scan_refuses_a_pool_without_a_root)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t zero = 0;

	make_file(up, 0);
	unit_pool_damage(up, inode_offset(&up->pool, INO_ROOT), &zero, sizeof(zero));
	assert_scan_refuses(up, "inode 1:", "root");
	unit_pool_delete(up);
}
END_TEST

START_TEST(scan_passes_over_what_free_slots_hold)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino = make_file(up, 3), off = inode_offset(&up->pool, ino), ones = ~0ULL;
	struct err err = { "" };
	struct pool next;

	unit_pool_unlink_ino(up, ino);
	unit_pool_damage(up, off + offsetof(struct disk_inode, size), &ones, sizeof(ones));
	ck_assert_int_eq(journal_retire(up->pool.journal), 0);
	next_open(&next, up);
	ck_assert_int_eq(scan_pool(&next, 1, &err), 0);
	assert_same(&up->pool, &next);
	next_close(&next);
	unit_pool_delete(up);
}
END_TEST

/* ---- The free-map cache -------------------------------------------------------------------------------- */

/* Save the cache of a populated pool; the tail that names it. */
static struct tail saved(struct unit_pool *up)
{
	struct tail tail = { .flags = TAIL_CLEAN | TAIL_FREEMAP, .mount = up->pool.mount };

	ck_assert_int_eq(journal_retire(up->pool.journal), 0);
	ck_assert_int_eq(freemap_save(&up->pool, tail.mount, &tail.freemap_block, &tail.freemap_blocks), 0);
	return tail;
}

static int load(struct unit_pool *up, const struct tail *tail)
{
	struct pool next;
	int rc;

	next_open(&next, up);
	rc = freemap_load(&next, tail);
	if (rc) {
		/* nothing was marked: a scan does */
		ck_assert_uint_eq(ialloc_used(&next), 0);
		ck_assert_int_eq(scan_pool(&next, 1, NULL), 0);
	}
	next_close(&next);
	return rc;
}

START_TEST(the_cache_holds_what_a_scan_derives)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS + 13, IDLE);
	struct pool scanned, cached;
	struct err err = { "" };
	struct tail tail;

	populate(up);
	tail = saved(up);
	next_open(&scanned, up);
	next_open(&cached, up);
	ck_assert_int_eq(scan_pool(&scanned, 1, &err), 0);
	ck_assert_int_eq(freemap_load(&cached, &tail), 0);
	assert_same(&scanned, &cached);
	next_close(&scanned);
	next_close(&cached);
	unit_pool_delete(up);
}
END_TEST

START_TEST(a_cache_that_does_not_fit_is_not_believed)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	struct tail tail, t;
	uint64_t ones = ~0ULL;

	populate(up);
	tail = saved(up);
	ck_assert_int_eq(load(up, &tail), 0);
	t = tail;
	t.flags = TAIL_CLEAN;
	ck_assert_int_eq(load(up, &t), -ENODATA);
	t = tail;
	t.mount++;
	ck_assert_int_eq(load(up, &t), -ENODATA);
	t = tail;
	t.freemap_blocks++;
	ck_assert_int_eq(load(up, &t), -ENODATA);
	t = tail;
	t.freemap_block = UINT64_MAX;
	ck_assert_int_eq(load(up, &t), -ENODATA);
	unit_pool_damage(up, (tail.freemap_block << BLOCK_SHIFT) + 512, &ones, sizeof(ones));
	ck_assert_int_eq(load(up, &tail), -ENODATA);
	unit_pool_delete(up);
}
END_TEST

/* Set or clear one bit of the cache, with a good crc: bits are numbered from the block bitmap's first. */
static void forge(struct unit_pool *up, const struct tail *tail, uint64_t bit, bool set)
{
	uint64_t words = BITMAP_WORDS(POOL_BLOCKS) + BITMAP_WORDS(ialloc_slots(&up->pool));
	uint64_t off = tail->freemap_block << BLOCK_SHIFT, bytes = sizeof(struct disk_freemap) + words * 8;
	struct disk_freemap *fm = malloc(bytes);
	uint8_t *bits = (uint8_t *)(fm + 1);

	memcpy(fm, region_at(up->region, off), bytes);
	if (set)
		bits[bit / 8] |= (uint8_t)(1U << bit % 8);
	else
		bits[bit / 8] &= (uint8_t)~(1U << bit % 8);
	fm->crc = cpu_to_le32(crc32c_object(format_seed(&up->pool.super, off), fm, bytes,
					    offsetof(struct disk_freemap, crc)));
	unit_pool_damage(up, off, fm, bytes);
	free(fm);
}

START_TEST(a_cache_that_frees_what_every_pool_uses_is_not_believed)
{
	const uint64_t bit[] = { 0, BLOCK_JOURNAL + 5, POOL_BLOCKS - 1, UNIT_POOL_TABLE, POOL_BLOCKS + INO_ROOT };
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	struct tail tail;
	unsigned int i;

	populate(up);
	tail = saved(up);
	for (i = 0; i < sizeof(bit) / sizeof(bit[0]); i++) {
		forge(up, &tail, bit[i], false);
		ck_assert_int_eq(load(up, &tail), -ENODATA);
		forge(up, &tail, bit[i], true);
		ck_assert_int_eq(load(up, &tail), 0);
	}
	forge(up, &tail, POOL_BLOCKS + INO_ITABLE, true);
	ck_assert_int_eq(load(up, &tail), -ENODATA);
	unit_pool_delete(up);
}
END_TEST

START_TEST(no_room_for_the_cache_is_no_error_of_the_pool)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	struct balloc_stat before, after;
	struct block_run run;
	uint32_t blocks;
	uint64_t block;

	balloc_stat(up->pool.balloc, &before);
	fault_arm(FAULT_ALLOC, 1);
	ck_assert_int_eq(freemap_save(&up->pool, 1, &block, &blocks), -ENOSPC);
	fault_disarm(FAULT_ALLOC);
	balloc_stat(up->pool.balloc, &after);
	ck_assert_uint_eq(before.free, after.free);
	while (balloc_alloc(up->pool.balloc, POOL_BLOCKS, 0, 0, BALLOC_RESERVE, &run) == 0)
		;
	ck_assert_int_eq(freemap_save(&up->pool, 1, &block, &blocks), -ENOSPC);
	unit_pool_delete(up);
}
END_TEST

/* Blocks forgotten until the next scan must not be saved as used: they would be lost for good. */
START_TEST(no_cache_is_written_over_lost_blocks)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	struct block_run run;
	uint32_t blocks;
	uint64_t block;

	ck_assert_int_eq(balloc_alloc(up->pool.balloc, 3, 0, 0, 0, &run), 0);
	ck_assert(!balloc_deferred(up->pool.balloc));
	fault_arm(FAULT_ALLOC, 1);
	balloc_free_after(up->pool.balloc, run.start, run.count, 1);
	fault_disarm(FAULT_ALLOC);
	ck_assert_int_eq(freemap_save(&up->pool, 1, &block, &blocks), -ENOSPC);
	unit_pool_delete(up);
}
END_TEST

static Suite *scan_suite(void)
{
	Suite *s = suite_create("scan");
	TCase *scan = tcase_create("scan"), *cache = tcase_create("cache");

	tcase_add_loop_test(scan, scan_derives_what_the_last_mount_knew, 0, 5);
	tcase_add_test(scan, scan_after_replay_finds_the_pool_usable);
	tcase_add_test(scan, scan_names_an_inode_that_does_not_verify);
	tcase_add_test(scan, scan_names_an_inode_whose_block_has_two_owners);
	tcase_add_test(scan, scan_refuses_an_xattr_run_in_the_inode_table);
	tcase_add_test(scan, scan_names_an_inode_with_a_damaged_extent_node);
	tcase_add_test(scan, scan_refuses_a_pool_without_a_root);
	tcase_add_test(scan, scan_passes_over_what_free_slots_hold);
	tcase_set_timeout(scan, 60);
	suite_add_tcase(s, scan);
	tcase_add_test(cache, the_cache_holds_what_a_scan_derives);
	tcase_add_test(cache, a_cache_that_does_not_fit_is_not_believed);
	tcase_add_test(cache, a_cache_that_frees_what_every_pool_uses_is_not_believed);
	tcase_add_test(cache, no_room_for_the_cache_is_no_error_of_the_pool);
	tcase_add_test(cache, no_cache_is_written_over_lost_blocks);
	tcase_set_timeout(cache, 60);
	suite_add_tcase(s, cache);
	return s;
}

int main(void)
{
	return unit_run(scan_suite());
}
