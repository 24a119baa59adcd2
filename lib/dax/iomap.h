/*
 * File range to pool range, as the kernel's struct iomap: the one form in which a filesystem tells lib/dax where
 * a file's bytes lie. lib/meta makes them (meta/iomap.h), lib/dax faults through them.
 */
#ifndef DAX_IOMAP_H
#define DAX_IOMAP_H

#include <stdint.h>

enum iomap_type {
	IOMAP_HOLE,		/* no blocks: reads as zeros */
	IOMAP_UNWRITTEN,	/* blocks, but reads as zeros */
	IOMAP_MAPPED,
};

#define IOMAP_F_NEW	(1U << 0)	/* this call made them: reachable when the transaction commits */
#define IOMAP_F_SHARED	(1U << 1)	/* other files have the same blocks: a write goes to new ones */

/* What leads to the blocks is not durable yet: a MAP_SYNC write fault syncs first. */
#define IOMAP_F_DIRTY	(1U << 2)

struct iomap {
	enum iomap_type	type;
	unsigned int	flags;		/* IOMAP_F_* */
	uint64_t	offset;		/* bytes in the file, block-aligned */
	uint64_t	length;		/* bytes; all of one type, contiguous in the pool */
	uint64_t	addr;		/* byte offset in the pool; 0 for a hole */
};

/* What iomap_ops.begin() is asked for. */
#define IOMAP_WRITE	(1U << 0)	/* make holes and unwritten blocks MAPPED, zeroed and durable */
#define IOMAP_FAULT	(1U << 1)	/* for a mapping, not for a copy */

/*
 * How lib/dax reaches a file's mappings; `host` is what the mapping was made with.
 *
 * begin() describes what is at byte `pos`, at most `len` bytes of it, from `pos` rounded down to a block. With
 * IOMAP_WRITE it allocates first; what it allocated reads as zeros, also after a power cut. A write to blocks with
 * IOMAP_F_SHARED comes back with the new block in `map` (still with the flag) and the old one in `src`; otherwise `src`
 * is a hole. Called with the mapping's invalidate lock shared and the entry of the range locked. Negative errno:
 * -ENOSPC, -ENOMEM, -EHWPOISON, -EIO, ...
 *
 * end() is told how much of it was used (0: nothing); may be NULL.
 */
struct iomap_ops {
	int	(*begin)(void *host, uint64_t pos, uint64_t len, unsigned int flags, struct iomap *map,
			 struct iomap *src);
	void	(*end)(void *host, uint64_t pos, uint64_t len, uint64_t used, unsigned int flags, struct iomap *map);
};

#endif
