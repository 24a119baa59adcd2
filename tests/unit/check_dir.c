/*
 * Directories: against a plain model of names, damaged blocks, and the ends of memory and space. (The index
 * by itself: check_dirindex.c.)
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "meta/dir.h"
#include "meta/extent.h"
#include "pool.h"
#include "unit.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define BLOCKS		16384U	/* 64 MiB */
#define ENTRY_INO	77U	/* entries may name any inode: directories do not look */

static struct unit_pool *up;
static struct inode *dir;

static void setup(void)
{
	up = unit_pool_new(BLOCKS, 16);
	dir = unit_pool_inode(up, S_IFDIR | 0755);
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	fault_disarm(FAULT_BALLOC);
	inode_put(dir);
	inode_put(up->root);
	unit_pool_delete(up);
}

static void begin(struct tx *tx)
{
	ck_assert_int_eq(dir_lock_exclusive(dir), 0);
	ck_assert_int_eq(tx_begin(tx, dir->pool, 0), 0);
	ck_assert_int_eq(inode_join(tx, dir), 0);
}

static int add(struct tx *tx, const char *name, uint64_t ino)
{
	return dir_add(tx, dir, name, strlen(name), ino, DT_REG);
}

static int del(struct tx *tx, const char *name)
{
	return dir_remove(tx, dir, name, strlen(name));
}

static void add_one(const char *name, uint64_t ino)
{
	struct tx tx;

	begin(&tx);
	ck_assert_int_eq(add(&tx, name, ino), 0);
	unit_commit(&tx, dir);
}

static void del_one(const char *name)
{
	struct tx tx;

	begin(&tx);
	ck_assert_int_eq(del(&tx, name), 0);
	unit_commit(&tx, dir);
}

/* Inode number of a name, or 0. */
static uint64_t lookup(const char *name)
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

static uint64_t count(void)
{
	uint64_t n;

	ck_assert_int_eq(dir_lock_shared(dir), 0);
	n = dir_count(dir);
	ck_assert_int_eq(dir_is_empty(dir), n == 0);
	pthread_rwlock_unlock(&dir->lock);
	return n;
}

/* The next index is built from the media. */
static void forget_index(void)
{
	pthread_rwlock_wrlock(&dir->lock);
	dir_index_free(dir);
	pthread_rwlock_unlock(&dir->lock);
}

static void reopen(void)
{
	uint64_t ino = dir->ino;

	unit_pool_reopen(up, 16);
	ck_assert_int_eq(inode_get(&up->pool, ino, &dir), 0);
}

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

static void many_name(char *name, int i)
{
	snprintf(name, 32, "file-%07d", i);
}

/* Change many entries, some in each transaction. */
static void many(bool adding, int from, int to, int step)
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

/* ---- A model of names ---------------------------------------------------------------------------------- */

#define NAMES	1500
#define STEPS	20000

struct model_name {
	uint64_t	ino;		/* 0: not there */
	bool		stable;		/* there since the listing began */
	unsigned int	seen;		/* in the listing under way */
};

static struct model_name model[NAMES];
static uint64_t model_cookie;		/* of the listing under way */

/* Unique names of all lengths: the number in letters, then filling. */
static unsigned int model_spell(int n, char *name)
{
	unsigned int len = 0, want = 1 + n * 37 % NAME_MAX_LEN;

	for (int rest = n; len == 0 || rest; rest /= 50)
		name[len++] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"[rest % 50];
	while (len < want)
		name[len++] = '~';
	name[len] = '\0';
	return len;
}

static int model_number(const char *name)
{
	int n = 0, place = 1;

	for (; *name && *name != '~'; name++, place *= 50)
		n += place * (*name >= 'a' ? *name - 'a' : *name - 'A' + 26);
	return n;
}

static int model_see_all(void *arg, const struct dir_entry *e)
{
	int n = model_number(e->name);

	(void)arg;
	ck_assert_uint_eq(e->ino, model[n].ino);
	ck_assert_uint_eq(strlen(e->name), e->name_len);
	return 0;
}

/* Everything the directory says of every name is what the model says. */
static void model_compare(void)
{
	uint64_t there = 0;
	char name[NAME_MAX_LEN + 1];

	for (int n = 0; n < NAMES; n++) {
		model_spell(n, name);
		ck_assert_uint_eq(lookup(name), model[n].ino);
		there += model[n].ino != 0;
	}
	ck_assert_uint_eq(count(), there);
	ck_assert_int_eq(dir_fill(dir, 0, model_see_all, NULL), 0);
}

/*
 * A listing has come to its end: what was there all the time was seen once, the rest at most once for each
 * life.
 */
static void model_listing_ends(void)
{
	for (int n = 0; n < NAMES; n++) {
		if (model[n].stable)
			ck_assert_uint_eq(model[n].seen, 1);
		model[n].stable = model[n].ino != 0;
		model[n].seen = 0;
	}
	model_cookie = 0;
}

/* One step of a listing that goes on while the directory changes. */
static void model_list(void)
{
	struct dir_entry e;
	int err;

	ck_assert_int_eq(dir_lock_shared(dir), 0);
	err = dir_next(dir, model_cookie, &e);
	pthread_rwlock_unlock(&dir->lock);
	if (err) {
		ck_assert_int_eq(err, -ENOENT);
		model_listing_ends();
		return;
	}
	ck_assert_uint_gt(e.cookie, model_cookie);
	ck_assert_uint_gt(e.cookie, 3);
	model_cookie = e.cookie;
	model[model_number(e.name)].seen++;
}

static void model_change(struct tx *tx, unsigned int *seed, bool growing)
{
	int n = rand_r(seed) % NAMES;
	uint64_t ino = 1 + rand_r(seed) % 1000000;
	char name[NAME_MAX_LEN + 1];
	unsigned int len = model_spell(n, name);
	bool often = rand_r(seed) % 4 != 0;

	if (!model[n].ino && growing == often) {
		ck_assert_int_eq(dir_add(tx, dir, name, len, ino, DT_REG), 0);
		model[n].ino = ino;
	} else if (model[n].ino && growing != often) {
		ck_assert_int_eq(dir_remove(tx, dir, name, len), 0);
		model[n].ino = 0;
		model[n].stable = false;
	} else if (model[n].ino) {
		ck_assert_int_eq(dir_replace(tx, dir, name, len, ino, DT_REG), 0);
		model[n].ino = ino;
	} else {
		ck_assert_int_eq(dir_remove(tx, dir, name, len), -ENOENT);
	}
}

/* One transaction of one to four changes, aborted one time in four. */
static void model_step(unsigned int *seed, bool growing)
{
	static struct model_name saved[NAMES];
	bool abort = rand_r(seed) % 4 == 0;
	int changes = 1 + rand_r(seed) % 4;
	struct tx tx;

	if (abort)
		memcpy(saved, model, sizeof(model));
	begin(&tx);
	while (changes--)
		model_change(&tx, seed, growing);
	if (abort) {
		unit_abort(&tx, dir);
		memcpy(model, saved, sizeof(model));
	} else {
		unit_commit(&tx, dir);
	}
}

START_TEST(random_changes_agree_with_a_model)
{
	unsigned int seed = 20261121, highest = 0, lowest = NAMES;
	uint64_t before = unit_pool_free(up);
	struct tx tx;

	memset(model, 0, sizeof(model));
	model_cookie = 0;
	printf("random_changes_agree_with_a_model: seed %u\n", seed);
	for (int step = 1; step <= STEPS; step++) {
		model_step(&seed, step / 2500 % 2 == 0);
		model_list();
		if (step % 2500 == 0 && count() > highest)
			highest = count();
		if (step % 5000 == 0 && count() < lowest)
			lowest = count();
		if (step % 1000 == 0)
			forget_index();
		if (step % 4000 == 0)
			reopen();
		if (step % 500 == 0)
			model_compare();
	}
	ck_assert_uint_gt(highest, NAMES * 2 / 3);
	ck_assert_uint_lt(lowest, NAMES / 3);
	for (int n = 0; n < NAMES; n++) {
		char name[NAME_MAX_LEN + 1];

		if (!model[n].ino)
			continue;
		begin(&tx);
		ck_assert_int_eq(dir_remove(&tx, dir, name, model_spell(n, name)), 0);
		unit_commit(&tx, dir);
	}
	ck_assert_uint_eq(dir->core.size, 0);
	ck_assert_uint_eq(unit_pool_free(up), before);
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

/* ---- Damage -------------------------------------------------------------------------------------------- */

/* The directory's only block: two entries, then free space. */
static struct disk_dir_block damaged;

static struct disk_dirent *entry(unsigned int n)
{
	char *at = (char *)damaged.entries;

	while (n--)
		at += le16_to_cpu(((struct disk_dirent *)at)->rec_len);
	return (struct disk_dirent *)at;
}

static unsigned int free_len(void)
{
	return le16_to_cpu(entry(2)->rec_len);
}

static void damage_magic(void)		{ damaged.magic = cpu_to_le32(1); }
static void damage_owner(void)		{ damaged.owner = cpu_to_le64(99); }
static void damage_generation(void)	{ damaged.generation = cpu_to_le64(99); }
static void damage_index(void)		{ damaged.index = cpu_to_le64(1); }
static void damage_zero_len(void)	{ entry(0)->rec_len = cpu_to_le16(0); }
static void damage_odd_len(void)	{ entry(0)->rec_len = cpu_to_le16(20); }
static void damage_long_len(void)	{ entry(2)->rec_len = cpu_to_le16(BLOCK_SIZE); }
static void damage_tail(void)		{ entry(2)->rec_len = cpu_to_le16(free_len() - 8); }
static void damage_ino(void)		{ entry(1)->ino = cpu_to_le64(INO_MAX + 1); }
static void damage_no_name(void)	{ entry(1)->name_len = 0; }
static void damage_name_len(void)	{ entry(1)->name_len = 200; }
static void damage_free_name(void)	{ entry(2)->name_len = 1; }
static void damage_slash(void)		{ entry(1)->name[1] = '/'; }
static void damage_nul(void)		{ entry(1)->name[1] = 0; }
static void damage_dotdot(void)		{ memcpy(entry(1)->name, "..", 2); }
static void damage_type(void)		{ entry(0)->type = 3; }

static const struct {
	void (*damage)(void);
	const char *bad;
} damages[] = {
	{ damage_magic, "magic" }, { damage_owner, "owner" }, { damage_generation, "generation" },
	{ damage_index, "index" }, { damage_zero_len, "record length" }, { damage_odd_len, "record length" },
	{ damage_long_len, "record length" }, { damage_tail, "record length" },
	{ damage_ino, "inode number" }, { damage_no_name, "name length" }, { damage_name_len, "name length" },
	{ damage_free_name, "name length of free space" }, { damage_slash, "name" }, { damage_nul, "name" },
	{ damage_dotdot, "name" }, { damage_type, "type" },
};

/* Write `damaged` over the directory's only block, with the right crc or a wrong one. */
static uint64_t damage_store(bool crc)
{
	struct extent e;
	uint32_t sum;

	ck_assert_int_eq(extent_lookup(NULL, dir, 0, &e), 0);
	sum = crc32c_object(format_seed(&up->pool.super, e.block << BLOCK_SHIFT), &damaged, BLOCK_SIZE,
			    offsetof(struct disk_dir_block, crc));
	damaged.crc = cpu_to_le32(crc ? sum : ~sum);
	persist_store(up->region, pool_block(&up->pool, e.block), &damaged, BLOCK_SIZE);
	return e.block;
}

static const char *verify(uint64_t block)
{
	return disk_dir_block_verify(&up->pool.super, pool_block(&up->pool, block), block, dir->ino,
				     dir->core.generation, 0);
}

static void damage_prepare(void)
{
	struct extent e;

	add_one("first", 5);
	add_one("go", 6);
	ck_assert_int_eq(extent_lookup(NULL, dir, 0, &e), 0);
	memcpy(&damaged, pool_block(&up->pool, e.block), BLOCK_SIZE);
	forget_index();
}

START_TEST(damaged_block_is_refused_by_name)
{
	uint64_t block;

	damage_prepare();
	damages[_i].damage();
	block = damage_store(true);
	ck_assert_str_eq(verify(block), damages[_i].bad);
	ck_assert_int_eq(dir_lock_shared(dir), -EUCLEAN);
	ck_assert_int_eq(dir_lock_exclusive(dir), -EUCLEAN);
	ck_assert_int_eq(pthread_rwlock_trywrlock(&dir->lock), 0);
	pthread_rwlock_unlock(&dir->lock);
}
END_TEST

START_TEST(wrong_crc_is_refused_and_the_undamaged_block_is_not)
{
	uint64_t block;

	damage_prepare();
	block = damage_store(false);
	ck_assert_str_eq(verify(block), "crc");
	ck_assert_int_eq(dir_lock_shared(dir), -EUCLEAN);
	damage_store(true);
	ck_assert_ptr_null(verify(block));
	ck_assert_uint_eq(lookup("go"), 6);
}
END_TEST

START_TEST(block_in_another_place_is_refused)
{
	uint64_t block;

	damage_prepare();
	block = damage_store(true);
	ck_assert_str_eq(disk_dir_block_verify(&up->pool.super, &damaged, block + 1, dir->ino,
					       dir->core.generation, 0), "crc");
}
END_TEST

START_TEST(size_that_is_not_the_end_of_the_blocks_is_refused)
{
	static const uint64_t sizes[] = { 0, 100, 2 * BLOCK_SIZE, 1ULL << 35, 1ULL << 40 };

	damage_prepare();
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		dir->core.size = sizes[i];
		ck_assert_int_eq(dir_lock_shared(dir), -EUCLEAN);
	}
	dir->core.size = BLOCK_SIZE;
	ck_assert_uint_eq(count(), 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dir");
	TCase *tc = tcase_create("directory");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
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
	tcase_add_test(tc, random_changes_agree_with_a_model);
	tcase_add_test(tc, every_failed_allocation_leaves_the_directory_as_it_was);
	tcase_add_test(tc, full_pool_refuses_a_new_block_and_still_removes);
	tcase_add_loop_test(tc, removal_in_the_middle_of_a_full_pool_keeps_the_empty_block, 0, 2);
	tcase_add_loop_test(tc, damaged_block_is_refused_by_name, 0, sizeof(damages) / sizeof(damages[0]));
	tcase_add_test(tc, wrong_crc_is_refused_and_the_undamaged_block_is_not);
	tcase_add_test(tc, block_in_another_place_is_refused);
	tcase_add_test(tc, size_that_is_not_the_end_of_the_blocks_is_refused);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
