/*
 * Making pages of a page-cached pool durable, many threads at a time.
 *
 * Threads note the ranges they want durable and then wait. All that wait at the same time are served by one
 * of them, the leader, with one batch of io_uring fsync requests over the ranges of all.
 */
#ifndef PMEM_WRITEBACK_H
#define PMEM_WRITEBACK_H

#include <stdint.h>

#include "pmem/region.h"
#include "util/err.h"

struct writeback;

struct writeback_stats {
	uint64_t	waits;		/* writeback_wait() calls that had something to wait for */
	uint64_t	batches;	/* turns of a leader */
	uint64_t	ring_requests;	/* fsync requests through io_uring */
	uint64_t	whole_syncs;	/* fdatasync() calls of the fallback */
	unsigned int	queued;		/* threads waiting for a turn now */
};

/*
 * writeback_new - write-back for descriptor `fd`, which must stay open until writeback_free(). `path` is for
 * messages and is not copied. Without io_uring (old kernel, seccomp, sysctl) it warns once and works with
 * fdatasync().
 */
int writeback_new(struct writeback **out, const char *path, int fd, struct err *err);

/* writeback_free - write the whole file back, log its error, free. NULL is allowed; nobody may wait. */
void writeback_free(struct writeback *wb);

/*
 * writeback_note - the calling thread's next writeback_wait() makes [off, off + len) durable. Never fails:
 * when memory for the note is short, all later waits write back the whole file.
 */
void writeback_note(struct writeback *wb, uint64_t off, uint64_t len);

/*
 * writeback_wait - all the thread noted is durable on return, and no longer noted. Free when there is
 * nothing.
 *
 * An error goes to every thread of the batch, and to all that wait later: the kernel drops the dirty state
 * of pages it could not write and reports the loss only once, so nothing said after that can be believed.
 */
int writeback_wait(struct writeback *wb);

/* writeback_stats - a snapshot. */
struct writeback_stats writeback_stats(struct writeback *wb);

/* writeback_hold - no batch starts until writeback_release(); waiters queue. For tests of batching. */
void writeback_hold(struct writeback *wb);
void writeback_release(struct writeback *wb);

/* region_writeback - of a region of kind REGION_PAGED open for writing; NULL of others. */
struct writeback *region_writeback(const struct region *r);

#endif
