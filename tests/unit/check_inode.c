/*
 * Inodes: conversion and verification, joining transactions, the cache, creation and death; also from many
 * threads.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/ialloc.h"
#include "pool.h"
#include "unit.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define FILE_MODE	(S_IFREG | 0644)
#define IDLE		4U

static struct unit_pool *up;
static struct pool *pool;

static void setup(void)
{
	up = unit_pool_new(4096, IDLE);
	pool = &up->pool;
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	unit_pool_delete(up);
}

/* ---- Conversion and verification ----------------------------------------------------------------------- */

static struct inode_core sample(void)
{
	struct extent e = { .file_block = 3, .block = 1000, .count = 7 };
	struct inode_core core = {
		.generation = 77, .mode = FILE_MODE, .nlink = 2, .uid = 1000, .gid = 100, .size = 12345,
		.blocks = 9, .atime = { -5, 1 }, .mtime = { 1LL << 40, 2 }, .ctime = { 3, 999999999 },
		.btime = { 4, 0 },
		.flags = INODE_NOATIME, .projid = 6, .xattr_block = 2000, .xattr_blocks = 2,
		.format = INODE_FORMAT_EXTENTS, .count = 1,
	};

	core.extent[0] = extent_pack(&e);
	return core;
}

START_TEST(decoding_gives_what_was_encoded)
{
	struct inode_core in = sample(), out;
	struct disk_inode d;

	memset(&out, 0, sizeof(out));
	inode_encode(&d, 5, &in, format_seed(&pool->super, 4096));
	inode_decode(&d, &out);
	ck_assert_uint_eq(out.generation, in.generation);
	ck_assert_uint_eq(out.mode, in.mode);
	ck_assert_uint_eq(out.nlink, in.nlink);
	ck_assert_uint_eq(out.uid, in.uid);
	ck_assert_uint_eq(out.gid, in.gid);
	ck_assert_uint_eq(out.size, in.size);
	ck_assert_uint_eq(out.blocks, in.blocks);
	ck_assert_mem_eq(&out.atime, &in.atime, sizeof(in.atime));
	ck_assert_mem_eq(&out.mtime, &in.mtime, sizeof(in.mtime));
	ck_assert_mem_eq(&out.ctime, &in.ctime, sizeof(in.ctime));
	ck_assert_mem_eq(&out.btime, &in.btime, sizeof(in.btime));
	ck_assert_uint_eq(out.flags, in.flags);
	ck_assert_uint_eq(out.projid, in.projid);
	ck_assert_uint_eq(out.xattr_block, in.xattr_block);
	ck_assert_uint_eq(out.xattr_blocks, in.xattr_blocks);
	ck_assert_uint_eq(out.format, in.format);
	ck_assert_uint_eq(out.count, in.count);
	ck_assert_mem_eq(out.extent, in.extent, sizeof(in.extent));
}
END_TEST

/* What is wrong with the sample after `change`, sealed again; "" when nothing. */
static const char *wrong_with(void (*change)(struct inode_core *core))
{
	struct inode_core core = sample();
	struct disk_inode d;
	const char *wrong;

	change(&core);
	inode_encode(&d, 5, &core, format_seed(&pool->super, 4096));
	wrong = disk_inode_verify(&pool->super, &d, 5, 4096);
	return wrong ? wrong : "";
}

static void as_it_is(struct inode_core *c) { (void)c; }
static void no_type(struct inode_core *c) { c->mode = 0644; }
static void high_mode(struct inode_core *c) { c->mode |= 1U << 20; }
static void large_size(struct inode_core *c) { c->size = 1ULL << 63; }
static void many_blocks(struct inode_core *c) { c->blocks = 4097; }
static void bad_nsec(struct inode_core *c) { c->mtime.tv_nsec = 1000000000; }
static void unknown_flag(struct inode_core *c) { c->flags = 1; }
static void xattr_outside(struct inode_core *c) { c->xattr_block = 4095; }
static void xattr_unsized(struct inode_core *c) { c->xattr_blocks = 0; }
static void xattr_long(struct inode_core *c) { c->xattr_blocks = XATTR_RUN_MAX + 1; }
static void bad_format(struct inode_core *c) { c->format = 9; }
static void many_extents(struct inode_core *c) { c->count = INODE_EXTENTS + 1; }
static void zero_extent(struct inode_core *c) { c->count = 2; }
static void flat_tree(struct inode_core *c) { c->format = INODE_FORMAT_TREE; }
static void inline_file(struct inode_core *c) { c->format = INODE_FORMAT_INLINE; }
static void mapless_file(struct inode_core *c) { c->format = INODE_FORMAT_NONE; }
static void odd_directory(struct inode_core *c) { c->mode = S_IFDIR | 0755; }
static void empty_symlink(struct inode_core *c) { c->mode = S_IFLNK | 0777; c->size = 0; }
static void deep_extents(struct inode_core *c) { c->depth = 1; }

static void deep_tree(struct inode_core *c)
{
	c->format = INODE_FORMAT_TREE;
	c->depth = EXTENT_TREE_MAX_DEPTH + 1;
}

static void tree_outside(struct inode_core *c)
{
	c->format = INODE_FORMAT_TREE;
	c->depth = 1;
	c->index[0] = (struct disk_extent_index){ .child = cpu_to_le64(1) };
}

static void mapped_fifo(struct inode_core *c)
{
	c->mode = S_IFIFO | 0600;
	c->size = 0;
}

static void good_fifo(struct inode_core *c)
{
	mapped_fifo(c);
	c->format = INODE_FORMAT_NONE;
	c->count = 0;
}

START_TEST(verification_names_what_is_wrong)
{
	static const struct {
		void (*change)(struct inode_core *core);
		const char *wrong;
	} cases[] = {
		{ as_it_is, "" }, { good_fifo, "" },
		{ no_type, "mode" }, { high_mode, "mode" },
		{ large_size, "size" }, { odd_directory, "size" }, { empty_symlink, "size" },
		{ many_blocks, "blocks" }, { bad_nsec, "nanoseconds" }, { unknown_flag, "flags" },
		{ xattr_outside, "xattr run" }, { xattr_unsized, "xattr run" }, { xattr_long, "xattr run" },
		{ bad_format, "format" }, { inline_file, "format" }, { mapless_file, "format" },
		{ many_extents, "count" }, { mapped_fifo, "count" }, { zero_extent, "extent length" },
		{ flat_tree, "depth" }, { deep_tree, "depth" }, { deep_extents, "depth" },
		{ tree_outside, "index child" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_str_eq(wrong_with(cases[i].change), cases[i].wrong);
}
END_TEST

START_TEST(an_inode_verifies_only_in_its_own_place)
{
	struct inode_core core = sample();
	struct disk_inode d;

	inode_encode(&d, 5, &core, format_seed(&pool->super, 4096));
	ck_assert_ptr_null(disk_inode_verify(&pool->super, &d, 5, 4096));
	ck_assert_str_eq(disk_inode_verify(&pool->super, &d, 6, 4096), "number");
	ck_assert_str_eq(disk_inode_verify(&pool->super, &d, 5, 8192), "crc");
	d.uid = cpu_to_le32(0);
	ck_assert_str_eq(disk_inode_verify(&pool->super, &d, 5, 4096), "crc");
	d.magic = cpu_to_le32(0);
	ck_assert_str_eq(disk_inode_verify(&pool->super, &d, 5, 4096), "magic");
}
END_TEST

START_TEST(a_slot_without_magic_or_links_is_free)
{
	struct inode_core core = sample();
	struct disk_inode d = { .nlink = cpu_to_le32(1) };

	ck_assert(disk_inode_free(&d));
	inode_encode(&d, 5, &core, 0);
	ck_assert(!disk_inode_free(&d));
	core.nlink = 0;
	inode_encode(&d, 5, &core, 0);
	ck_assert(disk_inode_free(&d));
}
END_TEST

START_TEST(stat_counts_blocks_of_512_bytes_and_hides_the_parent)
{
	struct stat st;

	inode_stat(up->root, &st);
	ck_assert_uint_eq(st.st_ino, INO_ROOT);
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 0755);
	ck_assert_uint_eq(st.st_nlink, 2);
	ck_assert_uint_eq(st.st_rdev, 0);
	ck_assert_int_eq(st.st_blksize, 4096);
	up->root->core.blocks = 3;
	inode_stat(up->root, &st);
	ck_assert_int_eq(st.st_blocks, 24);
}
END_TEST

/* ---- Transactions -------------------------------------------------------------------------------------- */

START_TEST(commit_brings_the_core_to_the_media)
{
	struct inode *ip = unit_pool_inode(up, FILE_MODE);
	uint64_t ino = ip->ino;
	struct tx tx;

	unit_begin(&tx, ip, 0);
	ip->core.uid = 4711;
	ck_assert_int_eq(inode_join(&tx, ip), 0);
	ip->core.size = 99;
	ip->times_dirty = true;
	unit_commit(&tx, ip);
	ck_assert(!ip->times_dirty);
	unit_pool_reopen(up, IDLE);
	ck_assert_int_eq(inode_get(pool, ino, &ip), 0);
	ck_assert_uint_eq(ip->core.uid, 4711);
	ck_assert_uint_eq(ip->core.size, 99);
}
END_TEST

START_TEST(abort_restores_the_core_as_it_was_at_the_first_join)
{
	struct inode *ip = unit_pool_inode(up, FILE_MODE);
	struct tx tx;

	ip->core.atime.tv_sec = 5;
	ip->times_dirty = true;
	unit_begin(&tx, ip, 0);
	ip->core.uid = 4711;
	ck_assert_int_eq(inode_join(&tx, ip), 0);
	ip->core.size = 99;
	unit_abort(&tx, ip);
	ck_assert_uint_eq(ip->core.uid, 0);
	ck_assert_uint_eq(ip->core.size, 0);
	ck_assert_int_eq(ip->core.atime.tv_sec, 5);
	ck_assert(ip->times_dirty);
	unit_begin(&tx, ip, 0);
	unit_commit(&tx, ip);
	inode_put(ip);
}
END_TEST

START_TEST(join_without_memory_fails_and_abort_is_clean)
{
	struct inode *ip = unit_pool_inode(up, FILE_MODE);
	unsigned long n;
	struct tx tx;
	int rc;

	for (n = 1, rc = -ENOMEM; rc; n++) {
		pthread_rwlock_wrlock(&ip->lock);
		ck_assert_int_eq(tx_begin(&tx, pool, 0), 0);
		fault_arm(FAULT_ALLOC, n);
		rc = inode_join(&tx, ip);
		fault_disarm(FAULT_ALLOC);
		if (rc)
			ck_assert_int_eq(rc, -ENOMEM);
		unit_abort(&tx, ip);
		ck_assert_ptr_null(ip->tx);
	}
	ck_assert_uint_gt(n, 2);
}
END_TEST

/* ---- Creation and death -------------------------------------------------------------------------------- */

START_TEST(a_new_inode_is_found_again_after_a_reopen)
{
	struct inode *ip = unit_pool_inode(up, FILE_MODE), *again;
	uint64_t ino = ip->ino, generation = ip->core.generation;

	ck_assert_uint_gt(ino, INO_ROOT);
	ck_assert_int_eq(inode_get(pool, ino, &again), 0);
	ck_assert_ptr_eq(ip, again);
	unit_pool_reopen(up, IDLE);
	ck_assert_int_eq(inode_get(pool, ino, &ip), 0);
	ck_assert_uint_eq(ip->core.generation, generation);
	ck_assert_uint_eq(ip->core.mode, FILE_MODE);
	ck_assert_uint_eq(inode_offset(pool, ino) % INODE_SIZE, 0);
}
END_TEST

START_TEST(an_aborted_creation_gives_the_slot_back)
{
	uint64_t used = ialloc_used(pool), ino, free_blocks = unit_pool_free(up);
	struct inode *ip, *other;
	struct tx tx;

	ck_assert_int_eq(tx_begin(&tx, pool, 0), 0);
	ck_assert_int_eq(inode_new(&tx, &ip), 0);
	ip->core.mode = FILE_MODE;
	ip->core.nlink = 1;
	ino = ip->ino;
	unit_abort(&tx, ip);
	ck_assert_uint_eq(ip->core.nlink, 0);
	ck_assert_uint_eq(ialloc_used(pool), used);
	ck_assert_int_eq(inode_get(pool, ino, &other), -ESTALE);
	inode_put(ip);
	ck_assert_int_eq(inode_get(pool, ino, &other), -ESTALE);
	ck_assert_uint_eq(ialloc_used(pool), used);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks);
}
END_TEST

START_TEST(creation_without_memory_leaves_nothing)
{
	uint64_t used = ialloc_used(pool);
	struct inode *ip;
	unsigned long n;
	struct tx tx;
	int rc;

	for (n = 1, rc = -ENOMEM; rc; n++) {
		ck_assert_int_eq(tx_begin(&tx, pool, 0), 0);
		fault_arm(FAULT_ALLOC, n);
		rc = inode_new(&tx, &ip);
		fault_disarm(FAULT_ALLOC);
		if (rc) {
			ck_assert_int_eq(rc, -ENOMEM);
			tx_abort(&tx);
			ck_assert_uint_eq(ialloc_used(pool), used);
		}
	}
	ck_assert_uint_gt(n, 3);
	unit_abort(&tx, ip);
	inode_put(ip);
	ck_assert_uint_eq(ialloc_used(pool), used);
}
END_TEST

static void map_blocks(struct inode *ip, uint64_t count)
{
	struct extent e = { .file_block = 0 };
	struct tx tx;

	unit_begin(&tx, ip, 0);
	ck_assert_int_eq(tx_alloc(&tx, count, 0, 0, BALLOC_WHOLE, &e.block, &e.count), 0);
	ck_assert_int_eq(extent_insert(&tx, ip, &e), 0);
	unit_commit(&tx, ip);
}

START_TEST(an_unlinked_inode_lives_until_its_last_reference_goes)
{
	uint64_t used = ialloc_used(pool), free_blocks, ino;
	struct inode *ip = unit_pool_inode(up, FILE_MODE), *other;

	ino = ip->ino;
	free_blocks = unit_pool_free(up);
	map_blocks(ip, 10);
	inode_hold(ip);
	unit_pool_unlink(ip);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks - 10);
	ck_assert_int_eq(inode_get(pool, ino, &other), 0);
	ck_assert_ptr_eq(other, ip);
	inode_put(other);
	ck_assert_uint_eq(ialloc_used(pool), used + 1);
	inode_put(ip);
	ck_assert_int_eq(inode_get(pool, ino, &other), -ESTALE);
	ck_assert_uint_eq(ialloc_used(pool), used);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks);
}
END_TEST

START_TEST(an_inode_without_links_is_gone_after_a_reopen)
{
	uint64_t used = ialloc_used(pool), free_blocks, ino;
	struct inode *ip = unit_pool_inode(up, FILE_MODE), *other;

	ino = ip->ino;
	free_blocks = unit_pool_free(up);
	map_blocks(ip, 10);
	inode_hold(ip);
	unit_pool_unlink(ip);
	unit_pool_reopen(up, IDLE);
	ck_assert_int_eq(inode_get(pool, ino, &other), -ESTALE);
	ck_assert_uint_eq(ialloc_used(pool), used);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks);
}
END_TEST

/* ---- The cache ----------------------------------------------------------------------------------------- */

START_TEST(numbers_without_a_live_inode_are_stale)
{
	struct inode *ip;

	ck_assert_int_eq(inode_get(pool, INO_ITABLE, &ip), -ESTALE);
	ck_assert_int_eq(inode_get(pool, 5, &ip), -ESTALE);
	ck_assert_int_eq(inode_get(pool, INODES_PER_BLOCK, &ip), -ESTALE);
	ck_assert_int_eq(inode_get(pool, INO_MAX, &ip), -ESTALE);
	ck_assert_int_eq(inode_get(pool, UINT64_MAX, &ip), -ESTALE);
}
END_TEST

START_TEST(a_damaged_slot_is_refused)
{
	struct inode *ip = unit_pool_inode(up, FILE_MODE);
	uint64_t off = inode_offset(pool, ip->ino) + offsetof(struct disk_inode, size);
	uint64_t ino = ip->ino, junk = 0x1234;

	inode_put(ip);
	unit_pool_reopen(up, IDLE);
	persist_store(up->region, pool_at(pool, off), &junk, sizeof(junk));
	ck_assert_int_eq(inode_get(pool, ino, &ip), -EUCLEAN);
	ck_assert_int_eq(inode_get(pool, ino, &ip), -EUCLEAN);
}
END_TEST

/* A mark in core alone tells an inode that stayed in the cache from one that was loaded again. */
static bool still_cached(uint64_t ino)
{
	struct inode *ip;
	bool cached;

	ck_assert_int_eq(inode_get(pool, ino, &ip), 0);
	cached = ip->opens == 77;
	inode_put(ip);
	return cached;
}

START_TEST(the_idle_inodes_used_last_stay_cached)
{
	struct inode *ip[IDLE + 2];
	uint64_t ino[IDLE + 2];
	unsigned int i;

	for (i = 0; i < IDLE + 2; i++) {
		ip[i] = unit_pool_inode(up, FILE_MODE);
		ip[i]->opens = 77;
		ino[i] = ip[i]->ino;
	}
	for (i = 0; i < IDLE + 2; i++)
		inode_put(ip[i]);
	for (i = IDLE + 1; i >= 2; i--)
		ck_assert(still_cached(ino[i]));
	ck_assert(!still_cached(ino[0]));
	ck_assert(!still_cached(ino[1]));
	ck_assert(!still_cached(ino[IDLE + 1]));	/* now the oldest, displaced by the last two */
}
END_TEST

START_TEST(inodes_with_unwritten_times_are_not_evicted)
{
	struct inode *ip = unit_pool_inode(up, FILE_MODE);
	uint64_t ino = ip->ino;
	unsigned int i;

	ip->opens = 77;
	ip->times_dirty = true;
	inode_put(ip);
	for (i = 0; i < 3 * IDLE; i++)
		inode_put(unit_pool_inode(up, FILE_MODE));
	ck_assert_int_eq(inode_get(pool, ino, &ip), 0);
	ck_assert_uint_eq(ip->opens, 77);
	ck_assert(ip->times_dirty);
	inode_put(ip);
}
END_TEST

/* ---- Threads ------------------------------------------------------------------------------------------- */

#define THREADS		3
#define ROUNDS		3000U
#define FILES		16U

static uint64_t inos[FILES];

static void *get_and_put(void *arg)
{
	unsigned int state = (unsigned int)(uintptr_t)arg, i;
	struct inode *ip;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t ino = inos[rand_r(&state) % FILES];

		if (inode_get(pool, ino, &ip) || ip->ino != ino || ip->core.mode != FILE_MODE)
			return (void *)1;
		inode_put(ip);
	}
	return NULL;
}

static void run_threads(void *(*fn)(void *), void *(*other)(void *))
{
	pthread_t thread[THREADS];
	void *failed;
	uintptr_t i;

	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, i ? fn : other, (void *)(i + 1)), 0);
	for (i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(thread[i], &failed), 0);
		ck_assert_msg(!failed, "thread %lu", (unsigned long)i);
	}
}

START_TEST(threads_that_get_one_inode_get_it_whole_while_others_are_evicted)
{
	unsigned int i;

	for (i = 0; i < FILES; i++) {
		struct inode *ip = unit_pool_inode(up, FILE_MODE);

		inos[i] = ip->ino;
		inode_put(ip);
	}
	run_threads(get_and_put, get_and_put);
}
END_TEST

static void *create_and_unlink(void *arg)
{
	unsigned int i;

	(void)arg;
	for (i = 0; i < ROUNDS / 4; i++) {
		struct inode *ip;
		struct tx tx;

		if (tx_begin(&tx, pool, 0) || inode_new(&tx, &ip))
			return (void *)1;
		ip->core.mode = FILE_MODE;
		ip->core.nlink = 1;
		if (i % 3 == 0)
			tx_abort(&tx);
		else if (tx_commit(&tx))
			return (void *)2;
		pthread_rwlock_unlock(&ip->lock);
		if (i % 3) {
			pthread_rwlock_wrlock(&ip->lock);
			if (tx_begin(&tx, pool, 0) || inode_join(&tx, ip))
				return (void *)3;
			ip->core.nlink = 0;
			if (tx_commit(&tx))
				return (void *)4;
			pthread_rwlock_unlock(&ip->lock);
		}
		inode_put(ip);
	}
	return NULL;
}

static void *get_stale_numbers(void *arg)
{
	unsigned int state = (unsigned int)(uintptr_t)arg, i;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t ino = INO_ROOT + 1 + rand_r(&state) % FILES;
		struct inode *ip;
		bool sound;
		int rc = inode_get(pool, ino, &ip);

		if (rc == -ESTALE)
			continue;
		if (rc)
			return (void *)1;
		pthread_rwlock_rdlock(&ip->lock);
		sound = ip->core.nlink == 0 || ip->core.mode == FILE_MODE;
		pthread_rwlock_unlock(&ip->lock);
		inode_put(ip);
		if (!sound)
			return (void *)2;
	}
	return NULL;
}

START_TEST(stale_numbers_never_see_half_made_inodes)
{
	uint64_t used = ialloc_used(pool);

	run_threads(get_stale_numbers, create_and_unlink);
	ck_assert_uint_eq(ialloc_used(pool), used);
}
END_TEST

static TCase *group(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(s, tc);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("inode");
	TCase *tc = group(s, "media");

	tcase_add_test(tc, decoding_gives_what_was_encoded);
	tcase_add_test(tc, verification_names_what_is_wrong);
	tcase_add_test(tc, an_inode_verifies_only_in_its_own_place);
	tcase_add_test(tc, a_slot_without_magic_or_links_is_free);
	tcase_add_test(tc, stat_counts_blocks_of_512_bytes_and_hides_the_parent);
	tc = group(s, "transactions");
	tcase_add_test(tc, commit_brings_the_core_to_the_media);
	tcase_add_test(tc, abort_restores_the_core_as_it_was_at_the_first_join);
	tcase_add_test(tc, join_without_memory_fails_and_abort_is_clean);
	tcase_add_test(tc, a_new_inode_is_found_again_after_a_reopen);
	tcase_add_test(tc, an_aborted_creation_gives_the_slot_back);
	tcase_add_test(tc, creation_without_memory_leaves_nothing);
	tcase_add_test(tc, an_unlinked_inode_lives_until_its_last_reference_goes);
	tcase_add_test(tc, an_inode_without_links_is_gone_after_a_reopen);
	tc = group(s, "cache");
	tcase_add_test(tc, numbers_without_a_live_inode_are_stale);
	tcase_add_test(tc, a_damaged_slot_is_refused);
	tcase_add_test(tc, the_idle_inodes_used_last_stay_cached);
	tcase_add_test(tc, inodes_with_unwritten_times_are_not_evicted);
	tcase_add_test(tc, threads_that_get_one_inode_get_it_whole_while_others_are_evicted);
	tcase_add_test(tc, stale_numbers_never_see_half_made_inodes);
	return unit_run(s);
}
