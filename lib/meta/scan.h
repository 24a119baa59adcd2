/*
 * Free space and free inodes, derived: from the free-map cache of a clean unmount, or by one parallel scan
 * of the inode table (directories are not walked).
 */
#ifndef META_SCAN_H
#define META_SCAN_H

#include "meta/pool.h"
#include "util/err.h"

/*
 * scan_pool - fill pool->balloc and pool->ialloc (both made, not started). `threads`: 0 for one a CPU, at
 * most 16. -EUCLEAN with the damaged object named: two owners of one block, an object that does not verify.
 * Both are of no use then but to be deleted.
 */
int scan_pool(struct pool *p, unsigned int threads, struct err *err);

/*
 * freemap_load - the same from the cache the tail slot names. -ENODATA when there is none or it does not
 * verify: nothing is marked then, scan.
 */
int freemap_load(struct pool *p, const struct tail *tail);

/*
 * freemap_save - write the cache into free blocks and fence (PERSIST_FREEMAP); *block, *blocks for the tail
 * slot. The caller has retired the journal; the run is free in what was saved, and taken in this mount's
 * allocator. -ENOSPC when no free run is long enough, or no memory: the next mount scans. Else the error of
 * a write-back.
 */
int freemap_save(struct pool *p, uint64_t mount, uint64_t *block, uint32_t *blocks);

#endif
