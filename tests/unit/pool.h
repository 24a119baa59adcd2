/*
 * A minimal pool for the tests of lib/meta, made by hand on an emulated region: superblock, tail, ring, inode
 * table of one block, root directory, and the parts of struct pool that a mount would bring to life.
 * Independent of lib/fs.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_POOL_H
#define UNIT_POOL_H

#include <stdint.h>
#include <sys/stat.h>

#include "meta/inode.h"
#include "meta/pool.h"
#include "meta/tx.h"
#include "pmem/region.h"

#define UNIT_POOL_JOURNAL	64U	/* blocks of the ring: small, so that tests wrap it */
#define UNIT_POOL_RESERVE	32U	/* blocks kept back */
#define UNIT_POOL_TABLE		(BLOCK_JOURNAL + UNIT_POOL_JOURNAL)	/* the inode table's first block */

struct unit_pool {
	struct pool	 pool;
	struct region	*region;
	struct inode	*root;		/* referenced */
};

/*
 * unit_pool_new - format `blocks` blocks (POOL_MIN_BLOCKS or more) and open them; keeps `idle` unreferenced
 * inodes.
 */
struct unit_pool *unit_pool_new(uint64_t blocks, unsigned int idle);

/* unit_pool_delete - close and forget. Inodes the test still references go with it. */
void unit_pool_delete(struct unit_pool *up);

/*
 * unit_pool_reopen - as after a power cut that lost nothing: all state in core is dropped, the ring replayed,
 * and free space derived by scan_pool(). The test's inode references are void.
 */
void unit_pool_reopen(struct unit_pool *up, unsigned int idle);

/* unit_pool_reopen_inode - the same, and the inode that `ip` was: referenced anew. */
struct inode *unit_pool_reopen_inode(struct unit_pool *up, unsigned int idle, const struct inode *ip);

/* unit_pool_end - how a test with one inode ends: no fault armed, `ip` and the root put, unit_pool_delete(). */
void unit_pool_end(struct unit_pool *up, struct inode *ip);

/* unit_pool_free - free blocks, after the journal was retired so that deferred ones are settled. */
uint64_t unit_pool_free(struct unit_pool *up);

/*
 * unit_pool_inode - a new inode of `mode` with one link (a directory: two), committed, unlocked, referenced;
 * no name.
 */
struct inode *unit_pool_inode(struct unit_pool *up, mode_t mode);

/* unit_pool_file - a new empty regular file, put; its number. */
uint64_t unit_pool_file(struct unit_pool *up);

/* unit_pool_unlink - nlink 0 in a transaction of its own; then put. unit_pool_unlink_ino - by number. */
void unit_pool_unlink(struct inode *ip);
void unit_pool_unlink_ino(struct unit_pool *up, uint64_t ino);

/* unit_pool_damage - overwrite bytes of the pool at byte `off`, as damage does: nothing in core hears of it. */
void unit_pool_damage(struct unit_pool *up, uint64_t off, const void *bytes, size_t len);

/*
 * unit_pool_core - an inode as it is on media. unit_pool_rewrite - make it what it would be if it had been written
 * so: with a good crc. Nothing in core hears of it.
 */
struct inode_core unit_pool_core(struct unit_pool *up, uint64_t ino);
void unit_pool_rewrite(struct unit_pool *up, uint64_t ino, const struct inode_core *core);

/* unit_begin - take the lock exclusively, begin, join. unit_commit, unit_abort - end it and unlock. */
void unit_begin(struct tx *tx, struct inode *ip, unsigned int flags);
void unit_commit(struct tx *tx, struct inode *ip);
void unit_abort(struct tx *tx, struct inode *ip);

#endif
