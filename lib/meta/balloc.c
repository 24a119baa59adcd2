/*
 * The block allocator: which blocks are free, and which of them a request gets.
 *
 * Owns the bitmap of the pool in DRAM and what is summed up from it: for each 2 MiB group the number of
 * blocks in use, and two sets of groups, the wholly free and the partly free. Nothing of it is on media;
 * meta/scan.c fills it at mount. A free block is a zero bit in sparse memory: an empty pool of 4 PiB takes
 * next to none.
 *
 * A search never looks at single bits before the sets have named a group. Small requests look for a run long
 * enough in SEARCH_GROUPS partly free groups and take the longest seen otherwise; large ones look at
 * SEARCH_RUNS runs of whole groups. Only BALLOC_WHOLE searches everything.
 *
 * Crash safety: none is needed here, but for the revoke rule. A metadata block that a replayable record names
 * must not become file data, as a replay would write over it. Such blocks stay set in the bitmap and wait in
 * a queue in order of the sequence, until balloc_settle() says that the durable tail has passed it.
 *
 * One mutex protects everything once balloc_start() was called. Before that, balloc_mark() runs in many
 * threads and uses atomic operations on bitmap, counters and the set of touched groups alone.
 */
#include "meta/balloc.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "meta/sparse.h"
#include "util/bitmap.h"
#include "util/fault.h"

#define SEARCH_GROUPS	64U		/* partly free groups looked at for a run long enough */
#define SEARCH_RUNS	1024U		/* runs of whole groups looked at */
#define GIANT_GROUPS	512U		/* groups in 1 GiB, the next size of mapping */
#define QUEUE_MIN	64U		/* entries; a power of two */

struct deferred {
	uint64_t	start, count, seq;
};

struct balloc {
	pthread_mutex_t	 lock;		/* all below; innermost of all locks */
	uint64_t	 blocks, groups;
	uint64_t	*map;		/* 1: in use; blocks behind the end of the pool are */
	uint16_t	*used;		/* blocks in use, by group */
	struct sparse_set touched;	/* used > 0; until balloc_start() */
	struct sparse_set whole;		/* used == 0 */
	struct sparse_set partial;	/* 0 < used < GROUP_BLOCKS */
	uint64_t	 free;		/* clear bits: can be handed out now */
	uint64_t	 waiting;	/* blocks in the queue */
	uint64_t	 lost;		/* blocks the queue had no memory for, and leaks */
	uint64_t	 reserve;
	uint64_t	 small_rotor;	/* group where small requests go on */
	uint64_t	 large_rotor;	/* group where large ones do */

	/* ring of deferred blocks, ascending seq from queue[head % size]; size is a power of two */
	struct deferred	*queue;
	uint64_t	 head, length, size;
};

struct request {
	uint64_t	want;
	uint64_t	min;		/* want with BALLOC_WHOLE, else 1 */
	uint64_t	goal;
	uint64_t	file_block;	/* 0 when there is nothing to agree with */
	unsigned int	flags;
};

/* ---- Making, marking, starting ------------------------------------------------------------------------- */

static size_t map_bytes(const struct balloc *ba)
{
	return ba->groups * (GROUP_BLOCKS / 8);
}

static size_t used_bytes(const struct balloc *ba)
{
	return ba->groups * sizeof(*ba->used);
}

/* `count` more blocks of group `g` are in use. Any thread. */
static void touch(struct balloc *ba, uint64_t g, unsigned int count)
{
	__atomic_fetch_add(&ba->used[g], (uint16_t)count, __ATOMIC_RELAXED);
	sparse_set_add_shared(&ba->touched, g);
}

struct balloc *balloc_new(uint64_t blocks)
{
	struct balloc *ba = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*ba));
	uint64_t behind;

	if (!ba)
		return NULL;
	pthread_mutex_init(&ba->lock, NULL);
	ba->blocks = blocks;
	ba->groups = (blocks + GROUP_BLOCKS - 1) >> GROUP_SHIFT;
	ba->map = sparse_alloc(map_bytes(ba));
	ba->used = sparse_alloc(used_bytes(ba));
	if (sparse_set_init(&ba->touched, ba->groups) || !ba->map || !ba->used) {
		balloc_delete(ba);
		return NULL;
	}
	behind = (ba->groups << GROUP_SHIFT) - blocks;
	if (behind) {
		bitmap_set_range(ba->map, blocks, behind);
		touch(ba, ba->groups - 1, (unsigned int)behind);
	}
	return ba;
}

void balloc_delete(struct balloc *ba)
{
	if (!ba)
		return;
	sparse_set_free(&ba->touched);
	sparse_set_free(&ba->whole);
	sparse_set_free(&ba->partial);
	sparse_free(ba->map, map_bytes(ba));
	sparse_free(ba->used, used_bytes(ba));
	free(ba->queue);
	pthread_mutex_destroy(&ba->lock);
	free(ba);
}

/* Bits of one word, [bit, bit + count), atomically. False if one was set already. */
static bool mark_word(struct balloc *ba, uint64_t bit, unsigned int count)
{
	uint64_t mask = (count == 64 ? ~0ULL : (1ULL << count) - 1) << (bit % 64);
	uint64_t old = __atomic_fetch_or(&ba->map[bit / 64], mask, __ATOMIC_RELAXED);

	touch(ba, bit >> GROUP_SHIFT, count);
	return !(old & mask);
}

int balloc_mark(struct balloc *ba, uint64_t start, uint64_t count)
{
	uint64_t end = start + count, n;

	if (count > ba->blocks || start > ba->blocks - count)
		return -EUCLEAN;
	for (; start < end; start += n) {
		n = 64 - start % 64;
		if (n > end - start)
			n = end - start;
		if (!mark_word(ba, start, (unsigned int)n))
			return -EUCLEAN;
	}
	return 0;
}

int balloc_load(struct balloc *ba, const uint64_t *bitmap)
{
	uint64_t words = BITMAP_WORDS(ba->blocks), i;

	if (ba->blocks % 64 && bitmap[words - 1] >> (ba->blocks % 64))
		return -EUCLEAN;
	for (i = 0; i < words; i++) {
		if (!bitmap[i])
			continue;
		ba->map[i] |= bitmap[i];
		touch(ba, i * 64 >> GROUP_SHIFT, (unsigned int)__builtin_popcountll(bitmap[i]));
	}
	return 0;
}

int balloc_start(struct balloc *ba, uint64_t reserve)
{
	uint64_t g;

	if (sparse_set_init(&ba->whole, ba->groups) || sparse_set_init(&ba->partial, ba->groups))
		return -ENOMEM;
	sparse_set_fill(&ba->whole);
	ba->free = ba->groups << GROUP_SHIFT;
	for (g = sparse_set_next(&ba->touched, 0); g < ba->groups; g = sparse_set_next(&ba->touched, g + 1)) {
		sparse_set_assign(&ba->whole, g, false);
		sparse_set_assign(&ba->partial, g, ba->used[g] < GROUP_BLOCKS);
		ba->free -= ba->used[g];
	}
	sparse_set_free(&ba->touched);
	ba->reserve = reserve;
	return 0;
}

/* ---- Accounting, lock held ----------------------------------------------------------------------------- */

static void group_account(struct balloc *ba, uint64_t g, uint64_t count, bool take)
{
	uint64_t used = take ? ba->used[g] + count : ba->used[g] - count;

	assert(used <= GROUP_BLOCKS);
	ba->used[g] = (uint16_t)used;
	sparse_set_assign(&ba->whole, g, used == 0);
	sparse_set_assign(&ba->partial, g, used > 0 && used < GROUP_BLOCKS);
}

static void account(struct balloc *ba, uint64_t start, uint64_t count, bool take)
{
	uint64_t end = start + count, n;

	if (take) {
		bitmap_set_range(ba->map, start, count);
		ba->free -= count;
	} else {
		bitmap_clear_range(ba->map, start, count);
		ba->free += count;
	}
	for (; start < end; start += n) {
		n = GROUP_BLOCKS - start % GROUP_BLOCKS;
		if (n > end - start)
			n = end - start;
		group_account(ba, start >> GROUP_SHIFT, n, take);
	}
}

/* That the blocks lie inside is the caller's to know; that they are in use follows from media, which may lie. */
static bool all_in_use(const struct balloc *ba, uint64_t start, uint64_t count)
{
	assert(count && start < ba->blocks && count <= ba->blocks - start);
	return bitmap_next_clear(ba->map, start, start + count) == start + count;
}

/* ---- Search, lock held --------------------------------------------------------------------------------- */

/* The free run at `start`, up to what is wanted; count 0 when `start` is in use. */
static struct block_run run_at(const struct balloc *ba, uint64_t start, uint64_t want)
{
	uint64_t end = want < ba->blocks - start ? start + want : ba->blocks;

	return (struct block_run){ start, bitmap_next_set(ba->map, start, end) - start };
}

static bool try_goal(const struct balloc *ba, const struct request *rq, struct block_run *out)
{
	if (!rq->goal || rq->goal >= ba->blocks)
		return false;
	*out = run_at(ba, rq->goal, rq->want);
	return out->count >= rq->min;
}

/* In one group: the first run of `want` blocks, else the longest. */
static struct block_run group_best_run(const struct balloc *ba, uint64_t g, uint64_t want)
{
	uint64_t pos = g << GROUP_SHIFT, end = pos + GROUP_BLOCKS, next;
	struct block_run best = { 0, 0 };

	while (best.count < want) {
		pos = bitmap_next_clear(ba->map, pos, end);
		if (pos == end)
			break;
		next = bitmap_next_set(ba->map, pos, want < end - pos ? pos + want : end);
		if (next - pos > best.count)
			best = (struct block_run){ pos, next - pos };
		pos = next;
	}
	return best;
}

/* A partly free group with a run long enough, from the goal's or the last one on. */
static bool try_partial(const struct balloc *ba, const struct request *rq, struct block_run *out)
{
	uint64_t limit = rq->flags & BALLOC_WHOLE ? ba->groups : SEARCH_GROUPS;
	uint64_t g = rq->goal ? rq->goal >> GROUP_SHIFT : ba->small_rotor;
	struct block_run best = { 0, 0 }, run;
	uint64_t seen, room;

	if (rq->min > GROUP_BLOCKS)
		return false;
	if (limit > ba->partial.count)
		limit = ba->partial.count;
	for (seen = 0; seen < limit && best.count < rq->want; seen++, g++) {
		g = sparse_set_next_around(&ba->partial, g);
		room = GROUP_BLOCKS - ba->used[g];
		if (room <= best.count || room < rq->min)
			continue;
		run = group_best_run(ba, g, rq->want);
		if (run.count > best.count)
			best = run;
	}
	*out = best;
	return best.count >= rq->min;
}

/*
 * The longest run of whole groups, up to `need`, that starts at a group g with g % align == phase. Of a run
 * that is longer than can be of use only the beginning is looked at. Count 0 when there is none.
 */
static struct block_run find_groups(const struct balloc *ba, const struct request *rq, uint64_t need,
				    uint64_t align, uint64_t phase)
{
	uint64_t origin = rq->goal ? rq->goal >> GROUP_SHIFT : ba->large_rotor;
	uint64_t limit = rq->flags & BALLOC_WHOLE ? UINT64_MAX : SEARCH_RUNS;
	struct block_run best = { 0, 0 };
	uint64_t g = origin, runs, first, end;
	bool wrapped = false;

	for (runs = 0; runs < limit && best.count < need; runs++) {
		first = sparse_set_next(&ba->whole, g);
		if (first == ba->groups && !wrapped) {
			wrapped = true;
			first = sparse_set_next(&ba->whole, 0);
		}
		if (first == ba->groups || (wrapped && first >= origin))
			break;
		g = first + (phase + align - first % align) % align;
		end = ba->groups - first < need + align ? ba->groups : first + need + align;
		end = bitmap_next_clear(ba->whole.bits, first, end);
		if (g < end && end - g > best.count)
			best = (struct block_run){ g, end - g };
		g = end;
	}
	return best;
}

/* Whole groups, at the same place in them as the file's block is in its own. */
static bool try_whole_groups(const struct balloc *ba, const struct request *rq, uint64_t align,
			     struct block_run *out)
{
	uint64_t head = rq->file_block % GROUP_BLOCKS;
	uint64_t need = (head + rq->want + GROUP_BLOCKS - 1) >> GROUP_SHIFT;
	struct block_run groups;

	if (!ba->whole.count)
		return false;
	groups = find_groups(ba, rq, need, align, (rq->file_block >> GROUP_SHIFT) % align);
	if (groups.count < (align < need ? align : need) || !groups.count)
		return false;
	*out = run_at(ba, (groups.start << GROUP_SHIFT) + head, rq->want);
	return out->count >= rq->min;
}

static bool try_large(struct balloc *ba, const struct request *rq, struct block_run *out)
{
	bool any = rq->flags & BALLOC_NOT_CONGRUENT;

	if ((any || (rq->goal - rq->file_block) % GROUP_BLOCKS == 0) && try_goal(ba, rq, out))
		return true;
	if (!(rq->want >> GROUP_SHIFT >= GIANT_GROUPS && try_whole_groups(ba, rq, GIANT_GROUPS, out)) &&
	    !try_whole_groups(ba, rq, 1, out))
		return false;
	ba->large_rotor = (out->start + out->count) >> GROUP_SHIFT;
	return true;
}

/* Break a whole group: nothing else is left. */
static bool try_break(const struct balloc *ba, const struct request *rq, struct block_run *out)
{
	uint64_t g;

	if (!ba->whole.count)
		return false;
	g = sparse_set_next_around(&ba->whole, rq->goal ? rq->goal >> GROUP_SHIFT : ba->small_rotor);
	*out = run_at(ba, g << GROUP_SHIFT, rq->want);
	return out->count >= rq->min;
}

static bool try_small(struct balloc *ba, const struct request *rq, struct block_run *out)
{
	if (!try_goal(ba, rq, out) && !try_partial(ba, rq, out) && !try_break(ba, rq, out))
		return false;
	if (!rq->goal)
		ba->small_rotor = out->start >> GROUP_SHIFT;
	return true;
}

/* The first run of `want` blocks anywhere: what BALLOC_WHOLE comes to last. Full groups are passed over. */
static bool try_anywhere(const struct balloc *ba, const struct request *rq, struct block_run *out)
{
	uint64_t pos = 0, g, w, p;

	for (;;) {
		g = pos >> GROUP_SHIFT;
		w = sparse_set_next(&ba->whole, g);
		p = sparse_set_next(&ba->partial, g);
		if (w == ba->groups && p == ba->groups)
			return false;
		if (g < (w < p ? w : p))
			pos = (w < p ? w : p) << GROUP_SHIFT;
		pos = bitmap_next_clear(ba->map, pos, ((pos >> GROUP_SHIFT) + 1) << GROUP_SHIFT);
		if (pos >= ba->blocks)
			return false;
		*out = run_at(ba, pos, rq->want);
		if (out->count >= rq->want)
			return true;
		pos += out->count;
	}
}

static int search(struct balloc *ba, const struct request *rq, bool large, struct block_run *out)
{
	if (large && try_large(ba, rq, out))
		return 0;
	if (try_small(ba, rq, out))
		return 0;
	if (rq->flags & BALLOC_WHOLE && try_anywhere(ba, rq, out))
		return 0;
	assert(rq->flags & BALLOC_WHOLE);
	return -ENOSPC;
}

/* ---- Requests ------------------------------------------------------------------------------------------ */

int balloc_alloc(struct balloc *ba, uint64_t want, uint64_t goal, uint64_t file_block, unsigned int flags,
		 struct block_run *out)
{
	bool large = want >= GROUP_BLOCKS || flags & BALLOC_HUGE;
	struct request rq = {
		.want		= want,
		.goal		= goal,
		.file_block	= flags & BALLOC_NOT_CONGRUENT ? 0 : file_block,
		.flags		= flags,
	};
	uint64_t kept, have;
	int err = -ENOSPC;

	assert(want);
	if (fault(FAULT_BALLOC))
		return -ENOSPC;
	pthread_mutex_lock(&ba->lock);
	kept = flags & BALLOC_RESERVE ? 0 : ba->reserve;
	have = ba->free > kept ? ba->free - kept : 0;
	if (rq.want > have && !(flags & BALLOC_WHOLE))
		rq.want = have;
	rq.min = flags & BALLOC_WHOLE ? want : 1;
	if (have && rq.want <= have)
		err = search(ba, &rq, large, out);
	if (!err)
		account(ba, out->start, out->count, true);
	pthread_mutex_unlock(&ba->lock);
	return err;
}

int balloc_free(struct balloc *ba, uint64_t start, uint64_t count)
{
	int err = 0;

	pthread_mutex_lock(&ba->lock);
	if (all_in_use(ba, start, count))
		account(ba, start, count, false);
	else
		err = -EUCLEAN;
	pthread_mutex_unlock(&ba->lock);
	return err;
}

/* ---- The revoke rule ----------------------------------------------------------------------------------- */

uint64_t balloc_take(struct balloc *ba, uint64_t start, uint64_t end, uint64_t *first)
{
	uint64_t stop;

	if (end > ba->blocks)
		end = ba->blocks;
	if (start >= end)
		return 0;
	pthread_mutex_lock(&ba->lock);
	*first = bitmap_next_clear(ba->map, start, end);
	stop = bitmap_next_set(ba->map, *first, end);
	if (*first < end) {
		bitmap_set_range(ba->map, *first, stop - *first);
		account(ba, *first, stop - *first, true);
	}
	pthread_mutex_unlock(&ba->lock);
	return stop - *first;
}

static struct deferred *queue_slot(struct balloc *ba, uint64_t i)
{
	return &ba->queue[(ba->head + i) & (ba->size - 1)];
}

static int queue_grow(struct balloc *ba)
{
	uint64_t size = ba->size ? ba->size * 2 : QUEUE_MIN, i;
	struct deferred *queue = fault(FAULT_ALLOC) ? NULL : malloc(size * sizeof(*queue));

	if (!queue)
		return -ENOMEM;
	for (i = 0; i < ba->length; i++)
		queue[i] = *queue_slot(ba, i);
	free(ba->queue);
	ba->queue = queue;
	ba->head = 0;
	ba->size = size;
	return 0;
}

/*
 * Sequences come nearly in order, so that the place is at or near the end. Without memory for the entry the
 * blocks stay in use until the next mount, which derives that they are free.
 */
int balloc_free_after(struct balloc *ba, uint64_t start, uint64_t count, uint64_t seq)
{
	int err = 0;
	uint64_t i;

	if (fault(FAULT_EARLY_REUSE))
		return balloc_free(ba, start, count);
	pthread_mutex_lock(&ba->lock);
	if (!all_in_use(ba, start, count)) {
		err = -EUCLEAN;
		goto out;
	}
	if (ba->length == ba->size && queue_grow(ba)) {
		ba->lost += count;
		goto out;
	}
	for (i = ba->length; i > 0 && queue_slot(ba, i - 1)->seq > seq; i--)
		*queue_slot(ba, i) = *queue_slot(ba, i - 1);
	*queue_slot(ba, i) = (struct deferred){ start, count, seq };
	ba->length++;
	ba->waiting += count;
out:
	pthread_mutex_unlock(&ba->lock);
	return err;
}

void balloc_settle(struct balloc *ba, uint64_t seq)
{
	struct deferred *d;

	pthread_mutex_lock(&ba->lock);
	while (ba->length && queue_slot(ba, 0)->seq < seq) {
		d = queue_slot(ba, 0);
		if (all_in_use(ba, d->start, d->count))
			account(ba, d->start, d->count, false);
		else
			ba->lost += d->count;	/* a second owner was believed meanwhile */
		ba->waiting -= d->count;
		ba->head++;
		ba->length--;
	}
	pthread_mutex_unlock(&ba->lock);
}

void balloc_leak(struct balloc *ba)
{
	pthread_mutex_lock(&ba->lock);
	ba->lost++;
	pthread_mutex_unlock(&ba->lock);
}

bool balloc_deferred(struct balloc *ba)
{
	bool any;

	pthread_mutex_lock(&ba->lock);
	any = ba->length > 0;
	pthread_mutex_unlock(&ba->lock);
	return any;
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

void balloc_stat(struct balloc *ba, struct balloc_stat *out)
{
	pthread_mutex_lock(&ba->lock);
	out->free = ba->free + ba->waiting;
	out->deferred = ba->waiting;
	out->lost = ba->lost;
	out->reserve = ba->reserve;
	out->free_groups = ba->whole.count;
	pthread_mutex_unlock(&ba->lock);
}

void balloc_snapshot(struct balloc *ba, uint64_t *bitmap)
{
	uint64_t words = BITMAP_WORDS(ba->blocks), i;

	pthread_mutex_lock(&ba->lock);
	memcpy(bitmap, ba->map, words * sizeof(*bitmap));
	for (i = 0; i < ba->length; i++)
		bitmap_clear_range(bitmap, queue_slot(ba, i)->start, queue_slot(ba, i)->count);
	pthread_mutex_unlock(&ba->lock);
	if (ba->blocks % 64)
		bitmap[words - 1] &= (1ULL << (ba->blocks % 64)) - 1;
}
