/*
 * Revocations: threads that wait for the daemon to post one and take the range out of the address space.
 *
 * The daemon waits for them, and others for the daemon; so they do nothing that can wait for it. They take client.lock
 * alone, allocate nothing from the heap, and touch no memory of a file of the mount.
 *
 * A thread serves as many grants as futex_waitv() takes, less one word of its own that grows when the set changes.
 */
#include "client/client.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fault.h"

#define GRANTS_MAX	(FUTEX_WAITV_MAX - 1U)
#define RETRY_MS	100U		/* when a range could not be taken out */
#define POLL_MS		10U		/* when the kernel has no futex_waitv() for us */

struct revoker {
	struct list	 node;		/* in client.revokers */
	struct list	 grants;	/* [lock] */
	unsigned int	 count;		/* [making] */
	_Atomic uint32_t changes;	/* futex: `grants` is another */
};

/* ---- Answering -------------------------------------------------------------------------------------------- */

/* Take out what [offset, offset + length) of the file has in common with the map. `flags`: DIRECT_REVOKE_... */
static int revoke_range(struct inodax_map *m, uint64_t offset, uint64_t length, uint32_t flags)
{
	uint64_t unit = m->grant->unit, end = offset + length, limit = m->start + m->length;

	if (end < offset || end > limit)
		end = limit;
	offset = offset > m->start ? offset & ~(unit - 1) : m->start;
	if (offset >= end)
		return 0;
	end = (end + unit - 1) & ~(unit - 1);
	m->generation++;
	m->revoked = true;
	m->due = client_now();
	m->pause = 0;
	return hole_revoke(m, offset - m->start, end - offset, flags);
}

static int revoke_all(struct grant *g)
{
	struct list *at;
	int rc = 0;

	list_for_each(at, &g->maps) {
		struct inodax_map *m = list_entry(at, struct inodax_map, node);

		if (revoke_range(m, m->start, m->length, 0))
			rc = -ENOMEM;
	}
	return rc;
}

static int revoke_record(struct grant *g, const struct direct_revoke *r)
{
	struct list *at;
	int rc = 0;

	list_for_each(at, &g->maps) {
		struct inodax_map *m = list_entry(at, struct inodax_map, node);

		if (m->area->placed && m->area->number == r->area &&
		    revoke_range(m, r->offset, r->length, r->flags))
			rc = -ENOMEM;
	}
	return rc;
}

/*
 * All that was posted. The daemon writes over no record that is not answered: with more posted than there are records,
 * or as it says, all goes. *late: not done, the range could not be taken out. The count that was looked at, for the
 * next wait. Caller holds client.lock.
 */
static uint32_t answer(struct grant *g, bool *late)
{
	struct direct_page *page = g->page;
	uint32_t posted = atomic_load_explicit(&page->posted, memory_order_acquire), n;
	bool all = posted - g->done > DIRECT_REVOKES || (int32_t)(atomic_load(&page->all) - g->done) > 0;
	int rc = 0;

	if (posted == g->done)
		return posted;
	if (all)
		rc = revoke_all(g);
	for (n = g->done; !all && !rc && n != posted; n++)
		rc = revoke_record(g, &page->revoke[(n + 1) % DIRECT_REVOKES]);
	if (rc) {
		*late = true;
		return posted;
	}
	g->done = posted;
	atomic_store_explicit(&page->done, posted, memory_order_release);
	syscall(SYS_futex, &page->done, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
	pthread_cond_broadcast(&client.changed);
	return posted;
}

/* ---- Waiting ---------------------------------------------------------------------------------------------- */

static void wait_on(struct futex_waitv *w, const _Atomic uint32_t *word, uint32_t value, uint32_t flags)
{
	*w = (struct futex_waitv){ .val = value, .uaddr = (uintptr_t)word, .flags = FUTEX_32 | flags };
}

/* Answer all grants; the words to wait on, and how many. *late: not all could be answered. */
static unsigned int answer_all(struct revoker *r, struct futex_waitv *w, bool *late)
{
	unsigned int n = 0;
	struct list *at;

	*late = false;
	client_lock();
	wait_on(&w[n++], &r->changes, atomic_load(&r->changes), FUTEX_PRIVATE_FLAG);
	list_for_each(at, &r->grants) {
		struct grant *g = list_entry(at, struct grant, served);
		uint32_t posted = answer(g, late);

		wait_on(&w[n++], &g->page->posted, posted, 0);
	}
	client_unlock();
	return n;
}

static void sleep_ms(long ms)
{
	struct timespec time = { .tv_nsec = ms * 1000000 };

	nanosleep(&time, NULL);
}

static void *serve(void *arg)
{
	struct futex_waitv w[FUTEX_WAITV_MAX];
	struct revoker *r = arg;
	struct timespec until;
	bool late;

	for (;;) {
		unsigned int n = answer_all(r, w, &late);
		uint64_t ms = client_now() + RETRY_MS;

		until = clock_timespec(ms);
		if (syscall(SYS_futex_waitv, w, n, 0, late ? &until : NULL, CLOCK_MONOTONIC) < 0 && errno != EAGAIN &&
		    errno != EINTR && errno != ETIMEDOUT)
			sleep_ms(POLL_MS);
	}
	return NULL;
}

/* ---- Who serves what -------------------------------------------------------------------------------------- */

static struct revoker *with_room(void)
{
	struct revoker *r;
	struct list *at;
	int rc;

	list_for_each(at, &client.revokers) {
		r = list_entry(at, struct revoker, node);
		if (r->count < GRANTS_MAX)
			return r;
	}
	r = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	list_init(&r->grants);
	rc = client_thread(serve, r);
	if (rc) {
		free(r);
		return NULL;
	}
	list_add_tail(&r->node, &client.revokers);
	return r;
}

static void changed(struct revoker *r)
{
	atomic_fetch_add(&r->changes, 1);
	syscall(SYS_futex, &r->changes, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

int revoker_add(struct grant *g)
{
	struct revoker *r = with_room();

	if (!r)
		return -EAGAIN;
	r->count++;
	client_lock();
	g->revoker = r;
	list_add_tail(&g->served, &r->grants);
	client_unlock();
	changed(r);
	return 0;
}

void revoker_remove(struct grant *g)
{
	struct revoker *r = g->revoker;

	if (!r)
		return;
	client_lock();
	g->revoker = NULL;
	list_del(&g->served);
	client_unlock();
	r->count--;
	changed(r);
}

void revokers_forget(void)
{
	struct list *at, *next;

	list_for_each_safe(at, next, &client.revokers) {
		struct revoker *r = list_entry(at, struct revoker, node);

		while (!list_empty(&r->grants)) {
			struct grant *g = list_entry(r->grants.next, struct grant, served);

			list_del(&g->served);
			g->revoker = NULL;
		}
		list_del(&r->node);
		free(r);
	}
}
