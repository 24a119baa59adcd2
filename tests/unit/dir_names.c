/*
 * The pool with one directory: see dir_names.h.
 *
 * The pool is made by hand (pool.c), so nothing of lib/fs stands between a test and the directory, and entries
 * need no inodes. Each test runs in a process of its own, so the state of one is in plain variables.
 */
#include "dir_names.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BLOCKS		16384U	/* 64 MiB */

struct unit_pool *up;
struct inode *dir;

void dir_names_setup(void)
{
	up = unit_pool_new(BLOCKS, 16);
	dir = unit_pool_inode(up, S_IFDIR | 0755);
}

void dir_names_teardown(void)
{
	unit_pool_end(up, dir);
}

void begin(struct tx *tx)
{
	ck_assert_int_eq(dir_lock_exclusive(dir), 0);
	ck_assert_int_eq(tx_begin(tx, dir->pool, 0), 0);
	ck_assert_int_eq(inode_join(tx, dir), 0);
}

int add(struct tx *tx, const char *name, uint64_t ino)
{
	return dir_add(tx, dir, name, strlen(name), ino, DT_REG);
}

int del(struct tx *tx, const char *name)
{
	return dir_remove(tx, dir, name, strlen(name));
}

void add_one(const char *name, uint64_t ino)
{
	struct tx tx;

	begin(&tx);
	ck_assert_int_eq(add(&tx, name, ino), 0);
	unit_commit(&tx, dir);
}

void del_one(const char *name)
{
	struct tx tx;

	begin(&tx);
	ck_assert_int_eq(del(&tx, name), 0);
	unit_commit(&tx, dir);
}

uint64_t lookup(const char *name)
{
	uint64_t ino = 0;
	uint8_t type;
	int err;

	ck_assert_int_eq(dir_lock_shared(dir), 0);
	err = dir_lookup(dir, name, strlen(name), &ino, &type);
	pthread_rwlock_unlock(&dir->lock);
	ck_assert(err == 0 || err == -ENOENT);
	return err ? 0 : ino;
}

uint64_t count(void)
{
	uint64_t n;

	ck_assert_int_eq(dir_lock_shared(dir), 0);
	n = dir_count(dir);
	ck_assert_int_eq(dir_is_empty(dir), n == 0);
	pthread_rwlock_unlock(&dir->lock);
	return n;
}

void forget_index(void)
{
	pthread_rwlock_wrlock(&dir->lock);
	dir_index_free(dir);
	pthread_rwlock_unlock(&dir->lock);
}

void reopen(void)
{
	dir = unit_pool_reopen_inode(up, 16, dir);
}

void many_name(char *name, int i)
{
	snprintf(name, 32, "file-%07d", i);
}

void many(bool adding, int from, int to, int step)
{
	char name[32];
	struct tx tx;
	int done = 0;

	begin(&tx);
	for (int i = from; i < to; i += step) {
		many_name(name, i);
		ck_assert_int_eq(adding ? add(&tx, name, ENTRY_INO + i) : del(&tx, name), 0);
		if (++done % 8 == 0) {
			unit_commit(&tx, dir);
			begin(&tx);
		}
	}
	unit_commit(&tx, dir);
}
