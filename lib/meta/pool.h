/*
 * What every module of lib/meta needs of a mounted pool. Made and torn down by lib/fs (fs_mount); tests make
 * their own.
 */
#ifndef META_POOL_H
#define META_POOL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "meta/super.h"
#include "pmem/persist.h"
#include "pmem/region.h"

struct balloc;
struct ialloc;
struct icache;
struct inode;
struct journal;

struct pool {
	struct region	*region;
	struct super	 super;
	struct journal	*journal;	/* NULL when mounted read-only */
	struct balloc	*balloc;
	struct ialloc	*ialloc;
	struct icache	*icache;
	uint64_t	 mount;		/* mount sequence of this mount */
	_Atomic bool	 readonly;	/* from true to false while it is mounted: fs/grants.c. Never back */
	_Atomic int	 failed;	/* what made it unwritable, negative errno; 0 while well */

	/*
	 * Make blocks free that no object needs: asked by tx_alloc(), once a transaction, when nothing else
	 * helped. 0, or a negative errno if nothing came of it. Runs transactions of its own inside the
	 * caller's, so it asks for no lock before ialloc.lock in the order. Set by ialloc_new(), or NULL.
	 */
	int		(*reclaim)(struct pool *p);

	/*
	 * Of whoever else knows about blocks and inodes (lib/fs: the arbiter); NULL: nobody does. free_data: file data
	 * whose freeing is durable goes back this way instead of by balloc_free(). wait_free: when there is no room,
	 * wait for some of that to be free, for a time that is bounded, whoever has what locks; -ENOSPC: there is none.
	 * evict: an inode that has a mapping leaves the cache, or is about to lose its blocks; nobody references it.
	 */
	int		(*free_data)(struct pool *p, uint64_t start, uint64_t count);
	int		(*wait_free)(struct pool *p);
	void		(*evict)(struct inode *ip);
};

/* pool_free_data - free_data() if there is one, else balloc_free(), whose errors it has. */
int pool_free_data(struct pool *p, uint64_t start, uint64_t count);

/*
 * pool_fail - remember the first such error; every later change answers -EROFS (and says so once in the log).
 */
void pool_fail(struct pool *p, int error, const char *what);

/* pool_fail_freed_twice - the same, for what balloc_free() and its kin found: a block is in two hands. */
void pool_fail_freed_twice(struct pool *p, int error);

static inline void *pool_at(const struct pool *p, uint64_t off)
{
	return region_at(p->region, off);
}

static inline void *pool_block(const struct pool *p, uint64_t block)
{
	return region_at(p->region, block << BLOCK_SHIFT);
}

/*
 * pool_blocks_valid - may [block, block + count) hold file data or metadata: inside, and not fixed area or
 * backup.
 */
bool pool_blocks_valid(const struct super *sb, uint64_t block, uint64_t count);

#endif
