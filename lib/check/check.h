/*
 * Checking a pool: an independent reader of the media. It uses the format, the verifiers of lib/meta and the
 * walk of the ring, but no allocator, cache or journal in core, so that it can be the oracle of the crash
 * tests.
 *
 * An unclean pool is checked as it would be after replay: the records are applied to an overlay in DRAM;
 * nothing is written. Whatever the bytes are, a check ends, and its memory is bounded by the size of the
 * pool.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "pmem/region.h"
#include "util/err.h"

/* One finding: a row of the table in check/problem.c with its context in words. */
struct check_finding {
	unsigned int	 problem;	/* number, stable across versions */
	const char	*name;		/* stable short name, e.g. "block-shared" */
	const char	*severity;	/* "warning": nothing is lost; "error"; "fatal": the check ended */
	char		 text[256];	/* one line */
};

struct check_report {
	uint64_t	blocks, blocks_used;
	uint64_t	inodes;		/* slots of the inode table as it is now; it grows when needed */
	uint64_t	inodes_used, directories;
	uint64_t	files;		/* inodes in use that are not directories */
	uint64_t	records;	/* in the ring, applied to the overlay */
	bool		clean;		/* the pool was unmounted cleanly */
	bool		backup_super;
	uint64_t	problems;	/* findings in all */
};

/* Called once a finding, in the caller's thread. */
typedef void (*check_fn)(void *arg, const struct check_finding *finding);

/*
 * check_pool - all passes: superblock and tail, ring, inode table, extents and space, directories, link
 * counts. Returns 0 when it could check (report->problems tells the result), or a negative errno with `err`
 * when it could not. Two calls may run at once; `fn` may be NULL.
 */
int check_pool(const struct region *r, const char *path, check_fn fn, void *arg, struct check_report *report,
	       struct err *err);

/*
 * check_clean - the short answer: was the pool unmounted cleanly, with both superblocks well and a free-map
 * cache that verifies? Then the counts of the report (but directories and files) come from the cache and
 * nothing else is read. Returns 1 for yes, 0 for no (only check_pool() can tell more), or a negative errno
 * with `err` as check_pool().
 */
int check_clean(const struct region *r, const char *path, struct check_report *report, struct err *err);

#endif
