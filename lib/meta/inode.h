/*
 * Inodes in core: the cache of them, their conversion from and to the media, and logging them in a
 * transaction.
 */
#ifndef META_INODE_H
#define META_INODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "format.h"
#include "meta/pool.h"
#include "meta/tx.h"
#include "util/list.h"

struct dax_mapping;
struct dir_index;

/*
 * What the media holds of an inode, decoded. Changed only under inode.lock, exclusive, and inside a
 * transaction.
 */
struct inode_core {
	uint64_t	generation;
	uint32_t	mode, nlink, uid, gid;
	uint64_t	size, blocks;
	struct timespec	atime, mtime, ctime, btime;
	uint32_t	flags, projid;
	uint64_t	rdev;			/* directories: parent */
	uint64_t	xattr_block;
	uint32_t	xattr_blocks;
	uint8_t		format, depth;
	uint16_t	count;
	union {
		struct disk_extent	 extent[INODE_EXTENTS];	/* meta/extent.c alone reads it */
		struct disk_extent_index index[INODE_EXTENTS];
		char			 target[INODE_AREA_SIZE];
	};
};

struct inode {
	struct pool		*pool;
	uint64_t		 ino;
	pthread_rwlock_t	 lock;		/* core, data, dir; order: see doc/locking.md */
	struct inode_core	 core;
	struct dir_index	*dir;		/* directories: built at first use, meta/dir.c; NULL before */
	struct tx		*tx;		/* the transaction it is joined to, or NULL; lock exclusive */
	uint64_t		 slot;		/* byte offset of its slot; constant in a cached inode */
	bool			 times_dirty;	/* core's times are newer than the media's; lock exclusive */
	_Atomic bool		 tree_verified;	/* every extent node was, since the inode was loaded */
	_Atomic uint64_t	 filled;	/* the page cache got bytes: FILLED_*, or when, monotonic ms. lib/fs */
	_Atomic uint64_t	 fills;		/* faults that put blocks where none were; lib/fs counts */
	uint64_t		 append_from, append_missing;	/* appends out of order, lib/fs; lock exclusive */
	_Atomic uint32_t	 opens;		/* handles that keep an unlinked inode; lib/fs counts */

	/* Made by lib/fs at the first mapping, under the lock, exclusive; goes with pool.evict(). NULL before. */
	struct dax_mapping *_Atomic mapping;

	/* of the cache, under the lock of the stripe; the table's own inode is in no cache */
	uint32_t		 refs;
	uint8_t			 state;		/* enum icache_state in icache.c */
	struct list		 hash, lru;
};

#define INODE_IS_DIR(ip)	S_ISDIR((ip)->core.mode)

/*
 * icache_new - keeps up to `idle` inodes that nobody references. An idle inode with times_dirty is never
 * dropped by that bound: who sets times_dirty writes the times back before the last put. icache_delete frees
 * every inode, referenced or not, and writes nothing.
 */
int icache_new(struct pool *p, unsigned int idle);
void icache_delete(struct pool *p);

/*
 * inode_get - reference to inode `ino`, loaded and verified. inode_put gives it back. Errors: -ESTALE no such
 * live inode (free slot, or beyond the table), -EUCLEAN does not verify (logged), -ENOMEM. An unlinked inode
 * is found as long as somebody references it, and so is one whose creator has not committed: who came by the
 * number alone (a stale file handle) compares nlink and generation once it holds the lock. Neither get nor
 * put may be called inside a transaction; put not with the inode's lock held.
 */
int inode_get(struct pool *p, uint64_t ino, struct inode **out);
void inode_hold(struct inode *ip);
void inode_put(struct inode *ip);

/*
 * inode_put of the last reference to an inode with nlink 0 frees what it holds: extents, xattrs, slot. No
 * record is needed (the slot with nlink 0 is free by derivation): the blocks go back in DRAM, metadata by the
 * revoke rule.
 */

/*
 * inode_new - take a free slot inside a transaction and a cached inode for it: zero core but for generation
 * and format EXTENTS, joined, with a reference and its lock taken exclusively. After the end of the
 * transaction the caller unlocks it and puts it, also when that was an abort, which gives the slot back.
 * -ENOSPC when no slot can be had.
 */
int inode_new(struct tx *tx, struct inode **out);

/*
 * inode_join - log this inode in this transaction: at commit its core is encoded and compared, and
 * times_dirty is cleared; on abort core and times_dirty are as they were at the join. Caller holds the lock
 * exclusively until the end of the transaction. May be called again. -ENOMEM (then the transaction can only
 * be aborted).
 */
int inode_join(struct tx *tx, struct inode *ip);

/*
 * inode_offset - byte offset in the pool of the slot of `ino`; 0 when it is not taken, or not in the table.
 * No lock.
 */
uint64_t inode_offset(struct pool *p, uint64_t ino);

/*
 * Conversion and verification, also used by the checker. seed: of the slot's offset. The table's own inode is
 * a regular file with nlink 1.
 */
void inode_encode(struct disk_inode *d, uint64_t ino, const struct inode_core *core, uint32_t seed);
void inode_decode(const struct disk_inode *d, struct inode_core *core);
bool disk_inode_free(const struct disk_inode *d);	/* magic 0 or nlink 0 */

/* disk_inode_verify - NULL, or what is wrong: "crc", "number", "mode", ... Static string. */
const char *disk_inode_verify(const struct super *sb, const struct disk_inode *d, uint64_t ino, uint64_t off);

/* inode_stat - as stat(2) has it; blksize 4096, blocks in 512-byte units. Caller holds the lock. */
void inode_stat(const struct inode *ip, struct stat *st);

/* now() of CLOCK_REALTIME, for times. */
struct timespec inode_now(void);

#endif
