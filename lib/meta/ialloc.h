/*
 * The inode table: a file of INODES_PER_BLOCK slots a block, with holes where no slot was ever needed or all
 * were given back. Which slots are taken is derived: a set in DRAM, filled by meta/scan.c at mount.
 *
 * One lock, ialloc.lock (order: after inode locks, before the journal), protects the set and the table's
 * own inode.
 */
#ifndef META_IALLOC_H
#define META_IALLOC_H

#include <stdint.h>

#include "meta/inode.h"
#include "meta/pool.h"
#include "meta/tx.h"

struct ialloc;

/*
 * ialloc_new - read and verify the table's own inode (block 2). Slots: all free until ialloc_mark(). Sets
 * p->ialloc and p->reclaim. -EUCLEAN (logged) when the table's inode or its extents are damaged, -ENOMEM.
 */
int ialloc_new(struct pool *p);
void ialloc_delete(struct pool *p);

/* Scan: slots the table's size covers; take one as used: -EUCLEAN if it is taken, or not in the table. */
uint64_t ialloc_slots(struct pool *p);
int ialloc_mark(struct pool *p, uint64_t ino);

/* The table's own inode, for the scan: no transaction may be running that changes the table. */
struct inode *ialloc_itable(struct pool *p);

/* ialloc_table_block - pool block of block `index` of the table; 0 in a hole and behind the end. No lock. */
uint64_t ialloc_table_block(struct pool *p, uint64_t index);

/*
 * ialloc_offset - byte offset in the pool of the slot of `ino`; 0 when it is not taken, so that nobody
 * looks at a slot whose block may be given back meanwhile. No lock, and no walk of the table's extents.
 */
uint64_t ialloc_offset(struct pool *p, uint64_t ino);

/*
 * ialloc_alloc - a free slot, growing the table by a chunk when there is none: inside the caller's
 * transaction, with the chunk's blocks zeroed and joined to the table's inode. The lock is held until the
 * transaction ends if the table grew, else not: the caller takes no inode's lock between this call and the
 * end. An abort gives the slot back. Slots are handed out round robin, so that a number is not used again
 * at once. -ENOSPC when no slot can be had; on any error the caller aborts.
 */
int ialloc_alloc(struct tx *tx, uint64_t *ino, uint64_t *generation);
void ialloc_free(struct pool *p, uint64_t ino);

/*
 * ialloc_reclaimable - blocks of the table in which no slot is taken, and the nodes that go with them when what is left
 *                      fits into its inode: counted as free by statfs.
 * ialloc_reclaim     - give them back, in transactions of its own, and retire the journal, so that they can
 *                      be handed out on return. Called when the allocator is out of blocks, perhaps inside
 *                      another transaction. 0, also when there were none or the caller just grows the table.
 */
uint64_t ialloc_reclaimable(struct pool *p);
int ialloc_reclaim(struct pool *p);

/* ialloc_snapshot - 1: taken; BITMAP_WORDS(ialloc_slots) words. Nobody changes the table meanwhile. */
void ialloc_snapshot(struct pool *p, uint64_t *bitmap);

/* ialloc_load - instead of ialloc_mark(). -EUCLEAN, nothing done, if the bitmap does not fit the table. */
int ialloc_load(struct pool *p, const uint64_t *bitmap, uint64_t slots);
uint64_t ialloc_used(struct pool *p);

#endif
