/*
 * Two generations of blocks: `young` takes what is freed, `old` waits for its end. When `old` is empty and `young` is
 * not, they change places, and the time of what is old then begins: it may have rested for as long already.
 */
#include "fs/quarantine.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "meta/balloc.h"
#include "meta/pool.h"
#include "util/bitmap.h"
#include "util/clock.h"
#include "util/fault.h"

struct generation {
	uint64_t	*bits;		/* a bit a block */
	uint64_t	 first, end;	/* all that are set lie in between; both 0: none */
};

struct quarantine {
	struct pool		*pool;
	_Atomic uint64_t	 resting;
	_Atomic uint64_t	*shown;		/* the same, or NULL */

	pthread_mutex_t		 lock;		/* all below */
	uint64_t		 rest_ms;	/* 0: nothing rests */
	uint64_t		*mapped;	/* a bit a block: told to a client since it was allocated */
	struct generation	 young, old;
	uint64_t		 due;		/* when `old` has rested; counts while it is not empty */
	pthread_cond_t		 work;		/* something rests, or stop */
	pthread_cond_t		 freed;
	uint64_t		 releases;	/* generations that were freed */
	bool			 stop;
	bool			 running;
	pthread_t		 thread;
};

static bool is_empty(const struct generation *g)
{
	return g->first == g->end;
}

static void count_add(struct quarantine *q, uint64_t change)
{
	atomic_fetch_add(&q->resting, change);
	if (q->shown)
		atomic_store(q->shown, atomic_load(&q->resting));
}

uint64_t quarantine_count(const struct quarantine *q)
{
	return atomic_load(&q->resting);
}

/* ---- Beginning and end -------------------------------------------------------------------------------------- */

/* Memory is used where bits are set: a part of 2^15 of what rests, at the most. */
static int alloc_bits(struct quarantine *q)
{
	uint64_t blocks = q->pool->super.blocks;

	q->mapped = bitmap_alloc(blocks);
	q->young.bits = bitmap_alloc(blocks);
	q->old.bits = bitmap_alloc(blocks);
	return q->mapped && q->young.bits && q->old.bits ? 0 : -ENOMEM;
}

int quarantine_new(struct quarantine **out, struct pool *p, uint64_t rest_ms, _Atomic uint64_t *shown)
{
	struct quarantine *q = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->pool = p;
	q->rest_ms = rest_ms;
	q->shown = shown;
	pthread_mutex_init(&q->lock, NULL);
	cond_init(&q->work);
	cond_init(&q->freed);
	if (rest_ms && alloc_bits(q)) {
		quarantine_delete(q);
		return -ENOMEM;
	}
	*out = q;
	return 0;
}

void quarantine_delete(struct quarantine *q)
{
	free(q->mapped);
	free(q->young.bits);
	free(q->old.bits);
	pthread_cond_destroy(&q->work);
	pthread_cond_destroy(&q->freed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* ---- Resting ------------------------------------------------------------------------------------------------ */

void quarantine_mark(struct quarantine *q, uint64_t block, uint64_t count)
{
	pthread_mutex_lock(&q->lock);
	if (q->rest_ms)
		bitmap_set_range(q->mapped, block, count);
	pthread_mutex_unlock(&q->lock);
}

static void to_allocator(struct quarantine *q, uint64_t block, uint64_t count)
{
	int rc = balloc_free(q->pool->balloc, block, count);

	if (rc)
		pool_fail_freed_twice(q->pool, rc);
}

/* The young ones become the old ones, of which there are none. lock held. */
static void grow_old(struct quarantine *q, uint64_t now)
{
	struct generation empty = q->old;

	q->old = q->young;
	q->young = empty;
	q->due = now + q->rest_ms;
	pthread_cond_signal(&q->work);
}

/* lock held. */
static void rest(struct quarantine *q, uint64_t block, uint64_t count, uint64_t now)
{
	struct generation *g = &q->young;
	uint64_t end = block + count;

	bitmap_clear_range(q->mapped, block, count);
	bitmap_set_range(g->bits, block, count);
	g->first = is_empty(g) || block < g->first ? block : g->first;
	g->end = end > g->end ? end : g->end;
	count_add(q, count);
	if (is_empty(&q->old))
		grow_old(q, now);
}

static bool any_rests(const struct quarantine *q, uint64_t block, uint64_t end)
{
	return bitmap_next_set(q->young.bits, block, end) < end || bitmap_next_set(q->old.bits, block, end) < end;
}

/* lock held. */
static void free_or_rest(struct quarantine *q, uint64_t block, uint64_t end, uint64_t now)
{
	uint64_t next;

	for (; block < end; block = next) {
		if (bitmap_test(q->mapped, block)) {
			next = bitmap_next_clear(q->mapped, block, end);
			rest(q, block, next - block, now);
		} else {
			next = bitmap_next_set(q->mapped, block, end);
			to_allocator(q, block, next - block);
		}
	}
}

void quarantine_free(struct quarantine *q, uint64_t block, uint64_t count, uint64_t now)
{
	uint64_t end = block + count;

	pthread_mutex_lock(&q->lock);
	if (!q->rest_ms)
		to_allocator(q, block, count);
	else if (any_rests(q, block, end))
		pool_fail_freed_twice(q->pool, -EUCLEAN);
	else
		free_or_rest(q, block, end, now);
	pthread_mutex_unlock(&q->lock);
}

/* ---- The end of it ------------------------------------------------------------------------------------------ */

/* lock held. */
static void release(struct quarantine *q, struct generation *g)
{
	uint64_t block = bitmap_next_set(g->bits, g->first, g->end), next;

	for (; block < g->end; block = bitmap_next_set(g->bits, next, g->end)) {
		next = bitmap_next_clear(g->bits, block, g->end);
		bitmap_clear_range(g->bits, block, next - block);
		count_add(q, block - next);
		to_allocator(q, block, next - block);
	}
	g->first = 0;
	g->end = 0;
	q->releases++;
	pthread_cond_broadcast(&q->freed);
}

/* lock held. */
static uint64_t expire(struct quarantine *q, uint64_t now)
{
	if (!is_empty(&q->old) && now >= q->due) {
		release(q, &q->old);
		if (!is_empty(&q->young))
			grow_old(q, now);
	}
	return is_empty(&q->old) ? 0 : q->due;
}

uint64_t quarantine_expire(struct quarantine *q, uint64_t now)
{
	uint64_t due;

	pthread_mutex_lock(&q->lock);
	due = expire(q, now);
	pthread_mutex_unlock(&q->lock);
	return due;
}

int quarantine_wait(struct quarantine *q)
{
	uint64_t releases;
	int rc = -ENOSPC;

	if (!quarantine_count(q))
		return rc;
	pthread_mutex_lock(&q->lock);
	if (!is_empty(&q->old))
		rc = 0;
	for (releases = q->releases; !rc && releases == q->releases; )
		pthread_cond_wait(&q->freed, &q->lock);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static void *quarantine_thread(void *arg)
{
	struct quarantine *q = arg;
	struct timespec until;
	uint64_t due;

	pthread_mutex_lock(&q->lock);
	while (!q->stop) {
		due = expire(q, clock_ms());
		until = clock_timespec(due);
		if (due)
			pthread_cond_timedwait(&q->work, &q->lock, &until);
		else
			pthread_cond_wait(&q->work, &q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int quarantine_start(struct quarantine *q)
{
	int rc = q->rest_ms ? -pthread_create(&q->thread, NULL, quarantine_thread, q) : 0;

	q->running = q->rest_ms && !rc;
	return rc;
}

void quarantine_end(struct quarantine *q)
{
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_signal(&q->work);
	pthread_mutex_unlock(&q->lock);
	if (q->running)
		pthread_join(q->thread, NULL);
	q->running = false;
	pthread_mutex_lock(&q->lock);
	if (q->rest_ms) {
		release(q, &q->old);
		release(q, &q->young);
	}
	q->rest_ms = 0;
	pthread_mutex_unlock(&q->lock);
}
