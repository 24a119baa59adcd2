/*
 * What all of lib/meta asks of a mounted pool: has it failed, and which blocks may anything refer to.
 *
 * Owns the fail-stop rule. A pool fails when a record, a tail slot or in-place lines could not be made
 * durable: from then on what is in memory and what is on media may differ in a way nobody can undo, so
 * nothing is changed any more and the next mount recovers from the media alone. The first cause is kept and
 * told once; tx_begin() and tx_commit() look at it.
 */
#include "meta/pool.h"

#include <string.h>

#include "meta/balloc.h"
#include "util/log.h"

void pool_fail(struct pool *p, int error, const char *what)
{
	int well = 0;

	if (!atomic_compare_exchange_strong(&p->failed, &well, error))
		return;
	log_error("%s: %s; the pool takes no more changes until it is mounted again", what, strerror(-error));
}

void pool_fail_freed_twice(struct pool *p, int error)
{
	pool_fail(p, error, "a block that was given back is free already: run fsck.inodax");
}

int pool_free_data(struct pool *p, uint64_t start, uint64_t count)
{
	return p->free_data ? p->free_data(p, start, count) : balloc_free(p->balloc, start, count);
}

bool pool_blocks_valid(const struct super *sb, uint64_t block, uint64_t count)
{
	uint64_t first = sb->journal_block + sb->journal_blocks;	/* all below is fixed */
	uint64_t backup = sb->blocks - 1;

	return count > 0 && block >= first && block < backup && count <= backup - block;
}
