/*
 * Liveness of a pgmap: who may take a folio from 0 to 1, how removal forbids it, and how it learns that all have
 * come back.
 *
 * Block new: state leaves LIVE, then fence_heavy(). Whoever is about to go 0->1 has announced it in his thread's
 * cell before he looked at the state (fence_light() between): so either he sees DYING, or pgmap_kill() sees the
 * announcement.
 *
 * Drain old, COUNTER: the announcement is the count itself. After the fence each thread's cell has every folio
 * that went 0->1, and the sum reaches 0 when the last has come back, whatever thread gave it back: an addition
 * that counts came before the fence, so no pass over the cells can see a subtraction without its addition.
 *
 * Drain old, SWEEP: the announcement is a section, open from before the look at the state until the reference is
 * made. pgmap_kill() waits until no cell is in one. From then on nothing can go up, so one pass over the table,
 * waiting at each folio that still has references and never coming back to one, is enough.
 *
 * (percpu_ref_kill() and the completion of mm/memremap.c; the sweep was proposed and never built there.)
 */
#include "dax/pgmap_private.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "util/clock.h"

#define NO_HEAD	UINT64_MAX

/* A waiter in pgmap_wait(). Under the lock. */
struct pgmap_waiter {
	struct list	link;
	pthread_cond_t	cond;
	uint64_t	unit;		/* its folio, by any unit of it: heads may change while it sleeps */
	uint64_t	head;		/* whose word has the flag for it */
	bool		until_idle;
};

void live_wake(struct pgmap *pg)
{
	pthread_mutex_lock(&pg->lock);
	pthread_cond_broadcast(&pg->drained);
	pthread_mutex_unlock(&pg->lock);
}

/* ---- Waiting --------------------------------------------------------------------------------------------- */

static struct timespec deadline_in(int timeout_ms)
{
	return clock_after((uint64_t)timeout_ms * 1000);
}

/* 0 or -ETIMEDOUT. */
static int sleep_on(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *deadline)
{
	return -(deadline ? pthread_cond_timedwait(cond, lock, deadline) : pthread_cond_wait(cond, lock));
}

static bool wait_over(const struct pgmap *pg, const struct pgmap_waiter *w)
{
	return w->until_idle ? pgmap_idle(pg, w->unit) : !pgmap_busy(pg, w->unit);
}

bool wake_waiters(struct pgmap *pg, uint64_t head)
{
	struct list *pos;
	bool left = false;

	list_for_each(pos, &pg->waiters) {
		struct pgmap_waiter *w = list_entry(pos, struct pgmap_waiter, link);

		if (w->head != head)
			continue;
		left = true;
		if (wait_over(pg, w))
			pthread_cond_signal(&w->cond);
	}
	return left;
}

/*
 * Ask to be told: the flag first, then the look - a release after the look sees the flag. The head is found anew
 * each time, and once more when its word has the flag: the folio may have fallen apart meanwhile.
 */
static void wait_announce(struct pgmap *pg, struct pgmap_waiter *w)
{
	uint64_t head = pgmap_head(pg, w->unit), old;

	do {
		old = w->head;
		w->head = head;
		if (old != head && old != NO_HEAD && !wake_waiters(pg, old))
			atomic_fetch_and(&pg->words[old], ~FOLIO_WAITERS);
		touch(pg, head);
		atomic_fetch_or(&pg->words[head], FOLIO_WAITERS);
		head = pgmap_head(pg, w->unit);
	} while (head != w->head);
}

int pgmap_wait(struct pgmap *pg, uint64_t unit, bool until_idle, bool (*stop)(void *arg), void *arg, int timeout_ms)
{
	struct pgmap_waiter w = { .unit = unit, .head = NO_HEAD, .until_idle = until_idle };
	struct timespec deadline = deadline_in(timeout_ms < 0 ? 0 : timeout_ms);
	int rc = 0;

	if (wait_over(pg, &w))
		return 0;
	cond_init(&w.cond);
	pthread_mutex_lock(&pg->lock);
	list_add_tail(&w.link, &pg->waiters);
	for (;;) {
		wait_announce(pg, &w);
		if (wait_over(pg, &w)) {
			rc = 0;
			break;
		}
		if (stop && stop(arg))
			rc = -EINTR;
		if (rc)
			break;
		rc = sleep_on(&w.cond, &pg->lock, timeout_ms < 0 ? NULL : &deadline);
	}
	list_del(&w.link);
	if (!wake_waiters(pg, w.head))
		atomic_fetch_and(&pg->words[w.head], ~FOLIO_WAITERS);
	pthread_mutex_unlock(&pg->lock);
	pthread_cond_destroy(&w.cond);
	return rc;
}

void pgmap_wake(struct pgmap *pg)
{
	struct list *pos;

	pthread_mutex_lock(&pg->lock);
	list_for_each(pos, &pg->waiters)
		pthread_cond_signal(&list_entry(pos, struct pgmap_waiter, link)->cond);
	pthread_mutex_unlock(&pg->lock);
}

/* ---- Removal --------------------------------------------------------------------------------------------- */

/* The state is not LIVE; on return nobody goes 0->1 who had not seen that. */
static void block_new(struct pgmap *pg)
{
	if (!fence_heavy())
		pgmap_violation(pg, "threads were not ordered against removal", 0);
	if (pg->config.drain == PGMAP_COUNTER)
		return;
	for (unsigned int n = 0; n < SLOT_MAX; n++)
		while (atomic_load_explicit(&pg->cell[n].announced, memory_order_acquire))
			sched_yield();
}

int pgmap_kill(struct pgmap *pg)
{
	int live = PGMAP_LIVE;
	bool first = atomic_compare_exchange_strong(&pg->state, &live, PGMAP_DYING);

	block_new(pg);
	return first ? 0 : -EALREADY;
}

static int64_t live_sum(struct pgmap *pg)
{
	int64_t sum = 0;

	for (unsigned int n = 0; n < SLOT_MAX; n++)
		sum += atomic_load_explicit(&pg->cell[n].announced, memory_order_acquire);
	return sum;
}

static int drain_counter(struct pgmap *pg, int timeout_ms)
{
	struct timespec deadline = timeout_ms < 0 ? (struct timespec){ 0 } : deadline_in(timeout_ms);
	int rc = 0;

	pthread_mutex_lock(&pg->lock);
	while (live_sum(pg) && !rc)
		rc = sleep_on(&pg->drained, &pg->lock, timeout_ms < 0 ? NULL : &deadline);
	pthread_mutex_unlock(&pg->lock);
	return rc;
}

static int drain_sweep(struct pgmap *pg, int timeout_ms)
{
	uint64_t until = clock_ms() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms), now, u, step;
	int rc = 0, left = timeout_ms;

	for (u = pgmap_next_used(pg, 0); u < pg->units && !rc; u = pgmap_next_used(pg, u + step)) {
		uint64_t word = word_at(pg, u);

		step = pgmap_step(pg, word);
		if (folio_idle(word) && !(word & (FOLIO_STALE | FOLIO_LIMBO)))
			continue;
		if (timeout_ms >= 0) {
			now = clock_ms();
			left = now < until ? (int)(until - now) : 0;
		}
		rc = pgmap_wait(pg, u, true, NULL, NULL, left);
		/* Whoever gave the last one back may still be about to do this. */
		if (!rc)
			pgmap_folio_freed(pg, pgmap_head(pg, u));
	}
	return rc;
}

int pgmap_drain(struct pgmap *pg, int timeout_ms)
{
	int rc;

	if (pgmap_state(pg) == PGMAP_LIVE)
		return -EBUSY;
	block_new(pg);		/* pgmap_kill() may be under way on another thread */
	rc = pg->config.drain == PGMAP_COUNTER ? drain_counter(pg, timeout_ms) : drain_sweep(pg, timeout_ms);
	if (!rc)
		atomic_store(&pg->state, PGMAP_DRAINED);
	return rc;
}
