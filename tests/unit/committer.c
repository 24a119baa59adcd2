/*
 * Committers and gates: see committer.h.
 *
 * A committer knows itself by a thread-local pointer, which is how a fence, called from deep below, finds the gate
 * that is meant for it. Gates are polled: a test that hangs is ended by its time limit.
 */
#include "committer.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pmem/emu.h"

struct region *r;
struct engine e;
atomic_uint events;
struct gate gates[2];
enum persist_point failing_point = PERSIST_POINTS;
atomic_uint commit_fences;

void committer_setup(void)
{
	r = engine_region();
	engine_open(&e, r);
	memset(gates, 0, sizeof(gates));
	failing_point = PERSIST_POINTS;
	atomic_store(&commit_fences, 0);
}

void committer_teardown(void)
{
	engine_close(&e);
	emu_close(r);
}

struct tail tail_on_media(void)
{
	struct tail tail;

	ck_assert_int_eq(tail_read(r, &e.pool.super, &tail), 0);
	return tail;
}

uint64_t commit(uint64_t off, uint32_t words, uint64_t value)
{
	struct engine_change c = { .off = off, .value = value, .words = words };
	uint64_t seq;

	ck_assert_int_eq(engine_commit(&e, &c, 1, &seq), 0);
	return seq;
}

int try_commit(void)
{
	struct engine_change c = { .off = ENGINE_DATA, .value = 1, .words = 1 };
	uint64_t seq;

	return engine_commit(&e, &c, 1, &seq);
}

static _Thread_local struct committer *me;

static void *run_committer(void *arg)
{
	me = arg;
	atomic_store(&me->begun, true);
	me->rc = engine_commit(&e, &me->change, 1, &me->seq);
	atomic_store(&me->returned, atomic_fetch_add(&events, 1) + 1);
	if (!me->rc && me->apply)
		engine_apply(&e, &me->change, 1, me->seq);
	return NULL;
}

void start(struct committer *c, uint64_t off, uint64_t value)
{
	c->change = (struct engine_change){ .off = off, .value = value, .words = 1 };
	ck_assert_int_eq(pthread_create(&c->thread, NULL, run_committer, c), 0);
}

void start_waiting(struct committer *c, uint64_t off, uint64_t value)
{
	start(c, off, value);
	while (!atomic_load(&c->begun))
		usleep(100);
	usleep(PAUSE);
}

void finish(struct committer *c)
{
	ck_assert_int_eq(pthread_join(c->thread, NULL), 0);
}

int gated(enum persist_point point)
{
	unsigned int i;

	if (point == failing_point)
		return -EIO;
	for (i = 0; i < 2; i++) {
		struct gate *g = &gates[i];

		if (point != PERSIST_COMMIT || !me || atomic_load(&g->who) != me)
			continue;
		atomic_store(&g->arrived, true);
		while (!atomic_load(&g->open))
			usleep(100);
		if (g->rc)
			return g->rc;
	}
	atomic_fetch_add(&commit_fences, point == PERSIST_COMMIT);
	return 0;
}

void hold(struct gate *g, struct committer *who, uint64_t off, int rc)
{
	g->rc = rc;
	atomic_store(&g->who, who);
	start(who, off, 1);
	while (!atomic_load(&g->arrived))
		usleep(100);
}

unsigned int open_gate(struct gate *g)
{
	unsigned int at = atomic_fetch_add(&events, 1) + 1;

	atomic_store(&g->open, true);
	return at;
}
