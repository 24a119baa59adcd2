/*
 * Recovery: prefix replay, then a new life for the ring.
 *
 * Relies on the run of records from the durable tail covering every in-place store that may be torn or
 * missing (meta/journal.c). Produces a pool whose media holds the state after the last record of the run, and
 * a tail that starts an empty run. Three steps, each durable before the next begins:
 *
 *	1. Tail slots and run are flushed. After a power cut they are what the media holds; but a process
 *	   that was killed may have left them visible and not durable. Storing in place on the word of a
 *	   record that a power cut would still take away, or overwriting one tail slot while the other is
 *	   not on media, would lose the pool.
 *	2. The patches of the run are stored in place, in order.
 *	3. The tail moves behind the run, into the slot that step 1 did not count on.
 *
 * Cut anywhere before 3 is durable, the same run is found again and stores the same bytes; nothing in 1 and 2
 * changes ring or tail, since no valid patch lies there. Cut after, there is nothing to replay.
 *
 * The new tail's sequence is one that nothing in the ring can have. Beyond the run there may be records that
 * are whole although one before them was lost; were sequences just continued, one of those would be taken for
 * a record of this life as soon as a record of this life happened to end where it begins. At most one record
 * per RECORD_ALIGN bytes of ring was ever reserved beyond the tail, so raising by more than that skips them
 * all, and sequences are never used twice in a pool's life.
 */
#include "meta/recover.h"

#include <errno.h>

#include "meta/record.h"
#include "pmem/persist.h"

static int replay_patch(void *arg, const struct record_patch *patch)
{
	struct region *r = arg;
	void *dst = region_at(r, patch->off);

	persist_store(r, dst, patch->data, patch->len);
	persist_flush(r, dst, patch->len);
	return 0;
}

/* Step 1. The run may wrap around the ring's end. */
static int settle_found(struct region *r, const struct super *sb, uint64_t pos, uint64_t end)
{
	uint64_t size = sb->journal_blocks << BLOCK_SHIFT, at = pos % size, len = end - pos;
	char *ring = region_at(r, sb->journal_block << BLOCK_SHIFT);
	uint64_t first = len < size - at ? len : size - at;

	persist_flush(r, region_at(r, (uint64_t)BLOCK_TAIL << BLOCK_SHIFT), TAIL_SLOTS * TAIL_SLOT_STRIDE);
	if (first > 0)
		persist_flush(r, ring + at, first);
	if (first < len)
		persist_flush(r, ring, len - first);
	return persist_fence(r, PERSIST_REPLAY);
}

/* Steps 1 and 2. A pool unmounted cleanly has nothing to replay, whatever its ring looks like. */
static int replay(struct region *r, const struct super *sb, const struct tail *tail, struct record_run *run)
{
	int rc = 0;

	*run = (struct record_run){ .end_pos = tail->pos, .end_seq = tail->seq };
	if (!(tail->flags & TAIL_CLEAN))
		rc = record_walk(r, sb, tail, NULL, NULL, run);
	if (!rc)
		rc = settle_found(r, sb, tail->pos, run->end_pos);
	if (rc || run->records == 0)
		return rc;
	rc = record_walk(r, sb, tail, replay_patch, r, run);
	return rc ? rc : persist_fence(r, PERSIST_REPLAY);
}

int recover(struct region *r, const struct super *sb, struct tail *tail, uint64_t *replayed)
{
	uint64_t jump = (sb->journal_blocks << BLOCK_SHIFT) / RECORD_ALIGN + 1;
	struct record_run run;
	int rc;

	*replayed = 0;
	if (tail->mount >= UINT32_MAX - 1)
		return -EOVERFLOW;	/* tail and generations have 32 bits for it */
	rc = replay(r, sb, tail, &run);
	if (rc)
		return rc;
	tail->pos = run.end_pos;
	tail->seq = run.end_seq + jump;
	tail->mount++;
	tail->flags = 0;
	tail->freemap_block = 0;
	tail->freemap_blocks = 0;
	rc = tail_write(r, sb, tail);
	if (!rc)
		*replayed = run.records;
	return rc;
}
