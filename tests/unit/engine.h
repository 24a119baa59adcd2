/*
 * A pool for the tests of the engines (super, record, journal, recover, tx): superblock, tail and ring on
 * emulated memory, and nothing in the blocks behind them. No inode anywhere: links with the engines alone.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_ENGINE_H
#define UNIT_ENGINE_H

#include <stdint.h>

#include "meta/pool.h"
#include "meta/tx.h"
#include "pmem/region.h"

#define ENGINE_BLOCKS	POOL_MIN_BLOCKS
#define ENGINE_SIZE	((uint64_t)ENGINE_BLOCKS << BLOCK_SHIFT)
#define ENGINE_JOURNAL	JOURNAL_MIN_BLOCKS			/* blocks: small, so that tests wrap it */
#define ENGINE_RING	((uint64_t)ENGINE_JOURNAL << BLOCK_SHIFT)
#define ENGINE_FIRST	(BLOCK_JOURNAL + ENGINE_JOURNAL)	/* the first block that records may name */
#define ENGINE_DATA	((uint64_t)ENGINE_FIRST << BLOCK_SHIFT)	/* the same, in bytes */
#define ENGINE_OBJ	(ENGINE_DATA + 512)			/* an object; its block is in use */
#define ENGINE_OBJ_WORDS 32U
#define ENGINE_OBJ_LEN	(ENGINE_OBJ_WORDS * 8)
#define ENGINE_RESERVE	16U					/* blocks the allocator keeps back */

struct engine {
	struct pool	 pool;
	struct tail	 tail;				/* as recovery left it */
	uint64_t	 replayed;			/* records */
	void		(*on_settled)(struct engine *e, uint64_t seq);	/* after balloc_settle(); or NULL */
};

/* engine_super - the superblock of all these pools. */
struct super engine_super(void);

/* engine_region - formatted, ENGINE_SIZE bytes, not recording. emu_close() it. */
struct region *engine_region(void);

/*
 * engine_open - recover, then journal and allocator. engine_close forgets them, as a process that is killed
 * would; the region stays.
 */
void engine_open(struct engine *e, struct region *r);
void engine_close(struct engine *e);

/* `words` words from byte `off` of the pool on, all to become `value`; in one block. */
struct engine_change {
	uint64_t	off, value;
	uint32_t	words;
};

/*
 * engine_commit - one record of `n` changes: journal_commit() and what it returns. engine_apply - store them
 * in place and tell the journal. Any thread.
 */
int engine_commit(struct engine *e, const struct engine_change *c, unsigned int n, uint64_t *seq);
void engine_apply(struct engine *e, const struct engine_change *c, unsigned int n, uint64_t seq);

/* engine_change - both, for one change, and neither may fail; the record's sequence. */
uint64_t engine_change(struct engine *e, uint64_t off, uint32_t words, uint64_t value);

/* engine_word - the word at byte `off`, as it is visible now. */
uint64_t engine_word(const struct region *r, uint64_t off);

/*
 * engine_begin, engine_end - tx_begin() and tx_commit(), which may not fail. engine_shadow - of the object of
 * ENGINE_OBJ_LEN bytes at `off`. engine_alloc - one block.
 */
void engine_begin(struct engine *e, struct tx *tx);
void engine_end(struct tx *tx);
uint64_t *engine_shadow(struct tx *tx, uint64_t off);
uint64_t engine_alloc(struct tx *tx);

/* engine_fence_count - fences of all points since the start of the process. */
uint64_t engine_fence_count(void);

/* engine_free - blocks that can be handed out now or once the tail has moved. */
uint64_t engine_free(struct engine *e);

/*
 * engine_fences - from now on `before` is called ahead of each fence of `r`; what it returns other than 0 is
 * what the fence returns, and nothing is fenced then. For one region, until that is closed.
 */
void engine_fences(struct region *r, int (*before)(enum persist_point point));

/* engine_random - the next number of a generator (xorshift64*) whose state must not be 0. */
uint64_t engine_random(uint64_t *state);

/* engine_seed - for a random test: INODAX_TEST_SEED of the environment, or a new one; it is printed. */
uint64_t engine_seed(void);

#endif
