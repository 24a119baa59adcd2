/*
 * The block allocator. Free space is derived, never stored: a bitmap in DRAM, filled by meta/scan.c at mount.
 *
 * It keeps 2 MiB-aligned groups of 512 blocks whole: small requests are met from groups that are already
 * broken, large ones from whole groups, congruent with the file offset modulo 2 MiB where asked. All calls
 * are thread-safe; one mutex inside, which nests inside every other lock.
 */
#ifndef META_BALLOC_H
#define META_BALLOC_H

#include <stdbool.h>
#include <stdint.h>

struct balloc;

#define GROUP_SHIFT	9			/* log2 of blocks in a group: 2 MiB */
#define GROUP_BLOCKS	(1U << GROUP_SHIFT)

struct block_run {
	uint64_t	start;		/* pool block */
	uint64_t	count;
};

/* balloc_new - `blocks` blocks, all free, none handed out yet: mark, then balloc_start(). NULL: no memory. */
struct balloc *balloc_new(uint64_t blocks);
void balloc_delete(struct balloc *ba);

/* balloc_mark - scan: these blocks are in use. -EUCLEAN if one was already, or lies outside. Any thread. */
int balloc_mark(struct balloc *ba, uint64_t start, uint64_t count);

/* balloc_start - build the summaries, once; `reserve` blocks are for BALLOC_RESERVE requests. -ENOMEM. */
int balloc_start(struct balloc *ba, uint64_t reserve);

/*
 * balloc_alloc - one run of 1 to `want` blocks: as long as can be had, all of them if any free run that
 * long exists where the search looks first.
 *
 * `goal`: pool block to continue at (0: none); taken if free. `file_block`: for want >= GROUP_BLOCKS, or with
 * BALLOC_HUGE, the run starts where (pool block - file_block) is a multiple of GROUP_BLOCKS if there is such
 * space; BALLOC_NOT_CONGRUENT says that there is no file offset to agree with.
 * Returns 0 and *out, or -ENOSPC (then deferred blocks may still exist: see balloc_deferred).
 */
#define BALLOC_RESERVE		(1U << 0)	/* may take the reserve: unlink, truncate, punch */
#define BALLOC_NOT_CONGRUENT	(1U << 1)
#define BALLOC_HUGE		(1U << 2)	/* a file to be large: whole groups for small wants too */
#define BALLOC_WHOLE		(1U << 3)	/* all `want` blocks in one run or -ENOSPC */

int balloc_alloc(struct balloc *ba, uint64_t want, uint64_t goal, uint64_t file_block, unsigned int flags,
		 struct block_run *out);

/*
 * balloc_free - back at once: data and xattr runs whose freeing record is durable, blocks never reachable.
 *
 * -EUCLEAN, and nothing is freed, if one of them is free already. Media can bring that about: two objects own
 * it, or a free-map cache lied. What else is wrong nobody knows then: the caller fails the pool.
 */
int balloc_free(struct balloc *ba, uint64_t start, uint64_t count);

/*
 * balloc_take - the first run of free blocks in [start, end) is in use from now on: somebody has them already. Its
 * length, and where it is; 0: there is none.
 */
uint64_t balloc_take(struct balloc *ba, uint64_t start, uint64_t end, uint64_t *first);

/*
 * balloc_free_after - the revoke rule: metadata blocks that records up to and including `seq` may name.
 * Counted as free, handed out only after balloc_settle() with a sequence above `seq`. -EUCLEAN as above.
 */
int balloc_free_after(struct balloc *ba, uint64_t start, uint64_t count, uint64_t seq);
void balloc_settle(struct balloc *ba, uint64_t seq);
bool balloc_deferred(struct balloc *ba);

/* balloc_leak - blocks that nobody can find any more stay in use: counted as lost, so the next mount scans. */
void balloc_leak(struct balloc *ba);

struct balloc_stat {
	uint64_t	free;		/* all of it: deferred and reserve included */
	uint64_t	deferred;
	uint64_t	lost;		/* not deferred for want of memory, or leaked: in use until a mount scans */
	uint64_t	reserve;
	uint64_t	free_groups;	/* wholly free 2 MiB groups */
};

void balloc_stat(struct balloc *ba, struct balloc_stat *out);

/*
 * balloc_snapshot - copy the bitmap (1: in use; BITMAP_WORDS(blocks) words) for the free-map cache,
 * deferred blocks counting as free. The caller has retired the journal, so none is deferred.
 */
void balloc_snapshot(struct balloc *ba, uint64_t *bitmap);

/*
 * balloc_load - instead of balloc_mark(), before balloc_start(). -EUCLEAN if a bit behind the last block is
 * set.
 */
int balloc_load(struct balloc *ba, const uint64_t *bitmap);

#endif
