/*
 * A pool with one file in it, for the tests of extent maps: blocks mapped and removed in transactions of their
 * own, and what the map then says.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_EXTENT_FILE_H
#define UNIT_EXTENT_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "meta/extent.h"
#include "pool.h"
#include "unit.h"

#define FILE_END	(EXTENT_FILE_BLOCK_MAX + 1)
#define POOL_BLOCKS	8192U

extern struct unit_pool *up;
extern struct inode *file;		/* referenced, unlocked */
extern uint64_t free_at_start;		/* blocks, with the file there and empty */

/* extent_group - a new case of the suite, each of whose tests has a pool of its own. */
TCase *extent_group(Suite *s, const char *name);

/* insert - `count` blocks of the pool mapped at file_block, inside a transaction. 0 or a negative errno. */
int insert(struct tx *tx, uint64_t file_block, uint64_t count, bool unwritten);

/* map_blocks, remove_blocks - the same and its opposite, in a transaction of its own. */
void map_blocks(uint64_t file_block, uint64_t count, bool unwritten);
void remove_blocks(uint64_t file_block, uint64_t count);

/* map_sparse - `n` extents of one block at every second file block from `first`. */
void map_sparse(uint64_t first, unsigned int n);

/* reopen_file - unit_pool_reopen(), and the file again. */
void reopen_file(void);

/* at - what extent_lookup() says of a file block. assert_extent, assert_hole - that it is this. */
struct extent at(uint64_t file_block);
void assert_extent(struct extent e, uint64_t file_block, uint64_t count, bool unwritten);
void assert_hole(struct extent e, uint64_t file_block, uint64_t count);

/* What a walk over the whole map finds: blocks of data, nodes, extents, and the file block behind the last. */
struct census {
	uint64_t	data, nodes, extents, last;
};

/* census - walk; the order of extents and the numbers of nodes are looked at on the way. */
struct census census(void);

/* census_one - its extent_walk_fn, for walks that end in an error; `arg` is a struct census. */
int census_one(void *arg, const struct extent *e, uint64_t node);

#endif
