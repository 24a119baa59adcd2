/*
 * The door: every store to a pool, every flush and every fence goes through here, at a named persist point.
 *
 * Two kinds of store. A plain store is visible at once and durable after its lines were flushed (by any
 * thread, later than the store) and the flushing thread fenced. A non-temporal store is visible at once and
 * durable after a fence of the thread that made it. On REGION_PAGED a fence of a point that promises
 * durability writes back the ranges concerned, in one io_uring batch for all threads that wait
 * (pmem/writeback.h).
 *
 * Thread rules: all calls may come from any thread; two threads must not store to the same 8 bytes at once.
 */
#ifndef PMEM_PERSIST_H
#define PMEM_PERSIST_H

#include <stddef.h>
#include <stdint.h>

#include "pmem/region.h"

/*
 * Persist points. Each names why a fence is needed; doc/persistence.md says what must be durable before and
 * after each. Counted apart, see persist_count().
 */
enum persist_point {
	PERSIST_FORMAT,		/* mkfs: everything but the superblock, then the superblock */
	PERSIST_DATA,		/* overwritten file data, before the write is answered */
	PERSIST_UNREACHABLE,	/* new data, zeroes, new metadata, before a record makes it reachable */
	PERSIST_COMMIT,		/* a record, before anything it says is stored in place */
	PERSIST_RETIRE,		/* in-place lines of records, before the tail passes them */
	PERSIST_TAIL,		/* a tail slot, before ring space or revoked blocks are used again */
	PERSIST_REPLAY,		/* in-place stores of recovery, before the tail moves */
	PERSIST_FREEMAP,	/* the free-map cache, before the tail slot that names it */
	PERSIST_POINTS
};

struct persist_ops {
	void (*store)(struct region *r, void *dst, const void *src, size_t len);
	void (*store_nt)(struct region *r, void *dst, const void *src, size_t len);
	void (*zero_nt)(struct region *r, void *dst, size_t len);
	void (*flush)(struct region *r, const void *addr, size_t len);
	int  (*fence)(struct region *r, enum persist_point point);
	void (*close)(struct region *r);	/* what region_close() does for this kind; frees the region */
};

/*
 * persist_store - copy into the pool through the cache: memcpy that the emulation sees.
 *
 * Aligned 8-byte words are never torn; nothing larger is promised. Durable only after persist_flush() of
 * the range and a fence.
 */
void persist_store(struct region *r, void *dst, const void *src, size_t len);

/* persist_store_nt - copy around the cache, to any alignment. Durable after this thread's next fence. */
void persist_store_nt(struct region *r, void *dst, const void *src, size_t len);

/* persist_zero_nt - the same, with zeros. */
void persist_zero_nt(struct region *r, void *dst, size_t len);

/* persist_flush - write back a range's lines, whoever stored them. Durable after this thread's next fence. */
void persist_flush(struct region *r, const void *addr, size_t len);

/*
 * persist_fence - all this thread stored non-temporally or flushed before is durable on return.
 *
 * Returns 0; on REGION_PAGED also the error of the write-back (-EIO, -ENOSPC), after which the pool must go
 * read-only.
 */
int persist_fence(struct region *r, enum persist_point point);

/* persist_count - fences of a point since the start of the process; persist_point_name - "commit", ... */
uint64_t persist_count(enum persist_point point);
const char *persist_point_name(enum persist_point point);

#endif
