/*
 * What tests on the simulated world share: a world for each test, accesses that are checked at once, threads that are
 * known to be asleep.
 */
#ifndef DAX_WORLD_H
#define DAX_WORLD_H

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "sim.h"

#define RW	(SIM_SHARED | SIM_WRITE)
#define PAGE	4096ULL
#define PMD	512ULL			/* units of 4 KiB */
#define MIB	(1ULL << 20)

static struct sim *w;

static inline void world_with(const struct sim_config *config)
{
	if (w)
		sim_delete(w);
	w = sim_new(config);
}

static inline void world_setup(void)
{
	world_with(NULL);
}

static inline void world_teardown(void)
{
	sim_delete(w);
	w = NULL;
}

/* load - the byte there; load_is - what a load comes to; store, store_is likewise. The world is checked after each. */
static inline enum sim_result load_is(struct sim_mm *mm, uint64_t address)
{
	uint8_t v;
	enum sim_result r = sim_load(mm, address, &v);

	sim_check(w);
	return r;
}

static inline uint8_t load(struct sim_mm *mm, uint64_t address)
{
	uint8_t v = 0;

	ck_assert_int_eq(sim_load(mm, address, &v), SIM_OK);
	sim_check(w);
	return v;
}

static inline enum sim_result store_is(struct sim_mm *mm, uint64_t address, uint8_t value)
{
	enum sim_result r = sim_store(mm, address, value);

	sim_check(w);
	return r;
}

static inline void store(struct sim_mm *mm, uint64_t address, uint8_t value)
{
	ck_assert_int_eq(store_is(mm, address, value), SIM_OK);
}

/* faults_of - how many faults a store (or load) there takes. */
static inline uint64_t store_faults(struct sim_mm *mm, uint64_t address)
{
	uint64_t before = mm->faults;

	store(mm, address, 1);
	return mm->faults - before;
}

static inline uint64_t load_faults(struct sim_mm *mm, uint64_t address)
{
	uint64_t before = mm->faults;

	load(mm, address);
	return mm->faults - before;
}

static inline enum dax_size mapped_size(struct sim_mm *mm, uint64_t address)
{
	struct sim_pte p = sim_pte_at(mm, address);

	ck_assert_int_ne(p.kind, SIM_NONE);
	return p.size;
}

static inline bool is_mapped(struct sim_mm *mm, uint64_t address)
{
	return sim_pte_at(mm, address).kind != SIM_NONE;
}

static inline bool writable(struct sim_mm *mm, uint64_t address)
{
	return sim_pte_at(mm, address).write;
}

/* word_of - of the head of the folio that a file has at an index. */
static inline uint64_t word_of(struct sim_file *f, uint64_t index)
{
	return pgmap_word(w->pg, pgmap_head(w->pg, sim_unit_of(f, index)));
}

/* A call in a thread of its own. done is set when it returned. */
struct call {
	pthread_t		thread;
	int			(*fn)(void *arg);
	void			*arg;
	int			rc;
	_Atomic bool		done;
};

static inline void *call_run(void *arg)
{
	struct call *c = arg;

	c->rc = c->fn(c->arg);
	c->done = true;
	return NULL;
}

static inline void call_start(struct call *c, int (*fn)(void *arg), void *arg)
{
	*c = (struct call){ .fn = fn, .arg = arg };
	ck_assert_int_eq(pthread_create(&c->thread, NULL, call_run, c), 0);
}

static inline int call_end(struct call *c)
{
	pthread_join(c->thread, NULL);
	return c->rc;
}

/* call_sleeps - it does not end by itself. */
static inline bool call_sleeps(struct call *c)
{
	for (int i = 0; i < 30 && !c->done; i++)
		usleep(1000);
	return !c->done;
}

static inline bool call_ends(struct call *c)
{
	for (int i = 0; i < 5000 && !c->done; i++)
		usleep(1000);
	return c->done;
}

#endif
