/*
 * A region: the pool's bytes, mapped into this process, and what is known of how they become durable.
 *
 * Opening goes through libpmem2 (source, alignment, mapping, granularity). This is the only place that knows
 * what a path is: a device-DAX node, a file on a DAX filesystem, a tmpfs file or a plain file.
 */
#ifndef PMEM_REGION_H
#define PMEM_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

enum region_kind {
	REGION_DEVDAX,		/* character device of class dax */
	REGION_FSDAX,		/* file mapped with MAP_SYNC */
	REGION_VOLATILE,	/* tmpfs (or memfd): the cache-line path runs, nothing outlives a power cut */
	REGION_PAGED,		/* file in the page cache: durable only once written back */
	REGION_EMU,		/* tests: pmem/emu.h */
};

struct persist_ops;

struct region {
	char			*base;		/* the pool's byte 0; whole pool mapped */
	uint64_t		 size;		/* bytes, multiple of BLOCK_SIZE */
	uint64_t		 unit;		/* map unit: smallest size the namespace can map, bytes */
	enum region_kind	 kind;
	bool			 readonly;	/* mapped PROT_READ */
	bool			 could_dax;	/* REGION_PAGED: certainly _FSDAX, if its filesystem were mounted so */
	int			 fd;		/* -1 for REGION_EMU */
	const struct persist_ops *ops;		/* see persist.h; chosen by kind */
	void			*priv;		/* of the backend */
};

#define REGION_RDONLY	(1U << 0)	/* map without PROT_WRITE, take a shared lock */
#define REGION_CREATE	(1U << 1)	/* file: create, or grow to `size`; device: size is 0 or its own */
#define REGION_SPARSE	(1U << 2)	/* with CREATE: do not allocate blocks (without, fill holes) */
#define REGION_NOLOCK	(1U << 3)	/* do not take the in-use lock (inodaxctl, which only looks) */

/*
 * region_open - open and map `path`.
 *
 * `size` counts with REGION_CREATE only. A file is never shrunk: the whole of it is mapped, rounded down to
 * BLOCK_SIZE. The base is aligned to 2 MiB, to 1 GiB from that size on, so that huge pages fit. For a file
 * on tmpfs the environment is changed for a moment (map_forced()), so no other thread should be in getenv(3)
 * or setenv(3).
 *
 * Takes the in-use lock: an OFD lock on one byte far behind any pool's end, exclusive for writers, shared
 * for readers; and, as F_OFD_GETLK tells no pid, a POSIX lock on the byte behind it that does
 * (region_lock.c). Since a POSIX lock goes when its process closes any descriptor of the file, a process
 * that has a pool open should not open and close it otherwise. The caller owns *out until region_close().
 *
 * Returns 0 or a negative errno, with a message in `err` naming the path, the value found and the value
 * needed: -EBUSY in use (with the holder's pid), -ENODEV a device in system-ram mode, -ENOTSUP a block
 * device (with the two ways to use it), -EINVAL a size or type that cannot be a pool, else what
 * open(2)/mmap(2) gave.
 */
int region_open(struct region **out, const char *path, uint64_t size, unsigned int flags, struct err *err);

/*
 * region_close - write back what the backend still holds, unmap, drop the lock. NULL is allowed. No thread
 * may be in a call on the region any more.
 */
void region_close(struct region *r);

/* region_kind_name - "device-dax", "fsdax", "volatile", "page-cached", "emulated". */
const char *region_kind_name(enum region_kind kind);

/* region_survives_power_loss - false for REGION_VOLATILE. */
bool region_survives_power_loss(const struct region *r);

/* region_remark - what somebody who takes a pool of this kind should know of it, to be printed behind it; or NULL. */
const char *region_remark(const struct region *r);

/*
 * region_page_max - the largest page-table entry, in bytes, that a mapping of the region gets where offset and address
 * allow it.
 */
uint64_t region_page_max(const struct region *r);

/*
 * region_lock_owner - record the calling process as the pool's user, in the same way as region_open() did.
 *
 * The lock itself outlives fork(), the record of the pid does not: a daemon calls this in the child that
 * goes on. Returns 0, or a negative errno (-EAGAIN: the parent still runs), which costs a pid in messages
 * and nothing else.
 */
int region_lock_owner(struct region *r);

/*
 * region_holder - pid of the writer that has `path` in use, 0 when none, -EBUSY when one has but left no pid
 * that we can see, else a negative errno of open(2). Not for the process that holds the region itself: see
 * region_open().
 */
long region_holder(const char *path);

/*
 * region_client - clients map the pool by themselves and keep a byte of it locked as long as they do: the first such
 * byte from number `from` on that somebody else has locked (number 0 is the byte behind the two of the in-use lock).
 * Its number, or -ENOENT: there is none.
 */
int64_t region_client(const struct region *r, uint64_t from);

/* The pool's bytes at `off`; no check: callers verify offsets they read from media with region_contains(). */
static inline void *region_at(const struct region *r, uint64_t off)
{
	return r->base + off;
}

static inline bool region_contains(const struct region *r, uint64_t off, uint64_t len)
{
	return off <= r->size && len <= r->size - off;
}

#endif
