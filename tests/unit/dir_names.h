/*
 * A pool with one directory in it, for the tests of directories: names added, removed and looked up by plain
 * calls.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_DIR_NAMES_H
#define UNIT_DIR_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "meta/dir.h"
#include "pool.h"
#include "unit.h"

#define ENTRY_INO	77U	/* entries may name any inode: directories do not look */

extern struct unit_pool *up;
extern struct inode *dir;	/* referenced, unlocked */

/* dir_names_setup, dir_names_teardown - the fixture: each test has a pool of its own. */
void dir_names_setup(void);
void dir_names_teardown(void);

/* begin - lock the directory, begin, join; unit_commit() or unit_abort() ends it. add, del - within. */
void begin(struct tx *tx);
int add(struct tx *tx, const char *name, uint64_t ino);
int del(struct tx *tx, const char *name);

/* add_one, del_one - in a transaction of their own. */
void add_one(const char *name, uint64_t ino);
void del_one(const char *name);

/* many_name - the i-th of many names, all of 12 bytes: 169 of their entries fill a block. `name` has 32 bytes. */
void many_name(char *name, int i);

/* many - add or remove every `step`th of the names [from, to), some in each transaction. */
void many(bool adding, int from, int to, int step);

/* lookup - inode number of a name, or 0. count - entries. */
uint64_t lookup(const char *name);
uint64_t count(void);

/* forget_index - the next index is built from the media. reopen - unit_pool_reopen(), and the directory again. */
void forget_index(void);
void reopen(void);

#endif
