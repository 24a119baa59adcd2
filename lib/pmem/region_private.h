/*
 * What the files of lib/pmem share about a region that libpmem2 mapped (every kind but REGION_EMU). Nobody
 * else includes this header.
 */
#ifndef PMEM_REGION_PRIVATE_H
#define PMEM_REGION_PRIVATE_H

#include <libpmem2.h>
#include <stdbool.h>
#include <stddef.h>

#include "pmem/persist.h"
#include "pmem/region.h"
#include "pmem/writeback.h"
#include "util/err.h"

/* struct region.priv. Written by region_open() and constant until region_close(). */
struct region_map {
	char				*path;	/* as given, for messages */
	struct pmem2_source		*source;
	struct pmem2_vm_reservation	*place;	/* the address range, base aligned for huge pages */
	struct pmem2_map		*map;
	pmem2_memcpy_fn			 copy;	/* the four are set for all kinds but REGION_PAGED */
	pmem2_memset_fn			 set;
	pmem2_flush_fn			 flush;
	pmem2_drain_fn			 drain;
	struct writeback		*wb;	/* REGION_PAGED and writable, else NULL */
};

/* Stores reach the media by cache-line flush and fence, or by write-back of pages. */
extern const struct persist_ops persist_line_ops;
extern const struct persist_ops persist_paged_ops;

/*
 * persist_copy - copy so that no aligned 8-byte word is ever seen, or evicted, half new: whole words are
 * stored whole, and of the words at both ends the aligned 4-, 2- and 1-byte parts that belong to the range.
 */
void persist_copy(void *dst, const void *src, size_t len);

/* region_unmap - persist_ops.close of the two above: undo all that region_open() did, free the region. */
void region_unmap(struct region *r);

/*
 * region_lock - take the in-use lock, shared for a read-only region, and record our pid. -EBUSY with the
 * holder's pid and name in `err`. region_unlock is not needed: both locks go with the descriptor.
 */
int region_lock(int fd, const char *path, bool readonly, struct err *err);

#endif
