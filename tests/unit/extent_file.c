/*
 * The pool with one file: see extent_file.h.
 *
 * The pool is made by hand (pool.c), so nothing of lib/fs stands between a test and the map. What is in core is
 * that of one file; each test runs in a process of its own, so these are plain variables.
 */
#include "extent_file.h"

#include <errno.h>

#include "meta/balloc.h"
#include "util/fault.h"

struct unit_pool *up;
struct inode *file;
uint64_t free_at_start;

static void setup(void)
{
	up = unit_pool_new(POOL_BLOCKS, 0);
	file = unit_pool_inode(up, S_IFREG | 0644);
	free_at_start = unit_pool_free(up);
}

static void teardown(void)
{
	fault_disarm(FAULT_BALLOC);
	unit_pool_delete(up);
}

TCase *extent_group(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 600);
	suite_add_tcase(s, tc);
	return tc;
}

int insert(struct tx *tx, uint64_t file_block, uint64_t count, bool unwritten)
{
	struct extent e = { .file_block = file_block, .unwritten = unwritten };
	int rc;

	rc = tx_alloc(tx, count, 0, file_block, BALLOC_WHOLE, &e.block, &e.count);
	return rc ? rc : extent_insert(tx, file, &e);
}

void map_blocks(uint64_t file_block, uint64_t count, bool unwritten)
{
	struct tx tx;

	unit_begin(&tx, file, 0);
	ck_assert_int_eq(insert(&tx, file_block, count, unwritten), 0);
	unit_commit(&tx, file);
}

void remove_blocks(uint64_t file_block, uint64_t count)
{
	struct tx tx;

	unit_begin(&tx, file, BALLOC_RESERVE);
	ck_assert_int_eq(extent_remove(&tx, file, file_block, count), 0);
	unit_commit(&tx, file);
}

/* Few in one transaction, as records are bounded. */
void map_sparse(uint64_t first, unsigned int n)
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

struct extent at(uint64_t file_block)
{
	struct extent e;

	ck_assert_int_eq(extent_lookup(NULL, file, file_block, &e), 0);
	return e;
}

void assert_extent(struct extent e, uint64_t file_block, uint64_t count, bool unwritten)
{
	ck_assert_uint_ne(e.block, 0);
	ck_assert_uint_eq(e.file_block, file_block);
	ck_assert_uint_eq(e.count, count);
	ck_assert_int_eq(e.unwritten, unwritten);
}

void assert_hole(struct extent e, uint64_t file_block, uint64_t count)
{
	ck_assert_uint_eq(e.block, 0);
	ck_assert_uint_eq(e.file_block, file_block);
	ck_assert_uint_eq(e.count, count);
}

void reopen_file(void)
{
	file = unit_pool_reopen_inode(up, 0, file);
}

int census_one(void *arg, const struct extent *e, uint64_t node)
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

struct census census(void)
{
	struct census c = { 0 };

	ck_assert_int_eq(extent_walk(file, census_one, &c), 0);
	return c;
}
