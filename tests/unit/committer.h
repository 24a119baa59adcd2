/*
 * Threads that commit records, steered by their fences, for the tests of the journal in use: a gate holds a chosen
 * thread's fence back.
 *
 * Where a test says that somebody waits, it takes the order in which two things were seen to end; nothing measures
 * time. PAUSE only gives a thread that should have waited the time to be caught.
 *
 * Every failure here fails the test at once.
 */
#ifndef UNIT_COMMITTER_H
#define UNIT_COMMITTER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "meta/journal.h"
#include "pmem/persist.h"
#include "unit.h"

#define PAUSE		20000		/* microseconds */
#define BIG_WORDS	500U
#define BIG		4096U		/* bytes of a record with one patch of BIG_WORDS */
#define BIGS		(ENGINE_RING / BIG)	/* that fill the ring */

extern struct region *r;
extern struct engine e;

/* committer_setup, committer_teardown - the fixture: an engine of its own for each test, all gates off. */
void committer_setup(void);
void committer_teardown(void);

/* tail_on_media - the tail as it could be read now. */
struct tail tail_on_media(void);

/* commit - one record of `words` words at byte `off`, not applied; its sequence. try_commit - 0 or its error. */
uint64_t commit(uint64_t off, uint32_t words, uint64_t value);
int try_commit(void);

/* ---- A thread that commits one record ------------------------------------------------------------------ */

extern atomic_uint events;		/* things that were seen to end, in order */

struct committer {
	pthread_t		thread;
	struct engine_change	change;
	bool			apply;
	uint64_t		seq;
	int			rc;
	atomic_bool		begun;
	atomic_uint		returned;	/* its place in the order of events, 0: not yet */
};

/* start - with one word. start_waiting - and give one that should wait the time to return. finish - join. */
void start(struct committer *c, uint64_t off, uint64_t value);
void start_waiting(struct committer *c, uint64_t off, uint64_t value);
void finish(struct committer *c);

/* ---- Gates: the fences of chosen committers ------------------------------------------------------------ */

struct gate {
	_Atomic(struct committer *) who;	/* NULL: this gate is not set */
	atomic_bool		 arrived, open;
	int			 rc;	/* of the fence, once open; 0: a real fence */
};

extern struct gate gates[2];
extern enum persist_point failing_point;	/* every fence of it fails; PERSIST_POINTS: none */
extern atomic_uint commit_fences;		/* that are over */

/* gated - for engine_fences(): gates and the failing point. */
int gated(enum persist_point point);

/* hold - start `who`, whose fence waits at the gate and then returns `rc`; returns when it waits. */
void hold(struct gate *g, struct committer *who, uint64_t off, int rc);

/* open_gate - the order number of the gate's opening. */
unsigned int open_gate(struct gate *g);

#endif
