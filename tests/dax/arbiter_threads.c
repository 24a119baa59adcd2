/*
 * Random steps on lib/dax from four threads on the same inodes, with real waiting.
 *
 *	arbiter_threads [--seconds N] [--seed N] [--config N]
 *
 * Nothing is foretold here: what is looked at is that nothing waits for ever, that ThreadSanitizer has nothing to
 * say, and the invariants (sim_check()), whenever all threads are between two steps: at a barrier, every some
 * thousand steps, where also whole worlds end and begin. In front of the barrier each thread lets go of its pins
 * and answers for its address spaces, so that whoever waits for them comes there too.
 *
 * Address spaces belong to one thread each (others revoke from them, fork is by their thread), files to all of
 * them. Before a thread changes a file it lets go of its pins: whoever waits for them has locked the file, and as a
 * program it would be the one that deadlocks. A wait for pins also ends by a signal: a flag that the left neighbour
 * raises now and then. With layout=kernel the watchdog does so too, when a step takes long: there a page that is
 * mapped again while a break sleeps keeps it asleep, with the file locked, until a signal comes. By default nobody
 * helps.
 *
 * The watchdog prints what every thread is doing, and since when, when one does not come back.
 */
#include "sim.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS		4U
#define FILES		4U
#define VMAS		6U
#define PINS		3U
#define UNITS		2560U
#define FILE_UNITS	1280U
#define BIG		512U
#define PAGE		4096U
#define ROUND_STEPS	3000U		/* of each thread, between barriers */
#define WORLD_ROUNDS	4U		/* in one world */
#define STUCK_MS	40000U
#define SIGNAL_MS	50U		/* layout=kernel: so long a step, and it gets a signal */

struct map {
	uint64_t	at;		/* address of the file's byte 0; 0: none */
	uint64_t	index, count;
	unsigned int	file, flags;
};

struct worker {
	pthread_t	 thread;
	unsigned int	 n;
	uint64_t	 rng;
	struct sim_mm	*mm;
	struct map	 map[VMAS];
	struct sim_pin	*pin[PINS];
	_Atomic bool	 signal;
	uint64_t	 steps;

	/* For the watchdog. */
	const char *_Atomic doing;
	_Atomic unsigned int file;
	_Atomic uint64_t since;		/* ms; 0: at the barrier */
};

static struct sim *sim;
static struct sim_file *file[FILES];
static struct worker workers[THREADS];
static pthread_barrier_t barrier;
static uint64_t seed, deadline;
static pthread_mutex_t world = PTHREAD_MUTEX_INITIALIZER;	/* the watchdog looks at sim, thread 0 ends it */
static bool over;			/* written between barriers */
static _Atomic bool all_over;

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 + 1;
}

/* ---- Choices --------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t rnd(struct worker *w, uint64_t n)
{
	w->rng += 0x9e3779b97f4a7c15ULL;
	return mix(w->rng) % n;
}

static bool one_in(struct worker *w, uint64_t n)
{
	return rnd(w, n) == 0;
}

static uint64_t any_index(struct worker *w)
{
	switch (rnd(w, 4)) {
	case 0:
		return rnd(w, 8);
	case 1:
		return BIG - 4 + rnd(w, 8);
	default:
		return rnd(w, FILE_UNITS);
	}
}

static void any_range(struct worker *w, uint64_t *index, uint64_t *count)
{
	*index = one_in(w, 3) ? rnd(w, 2) * BIG : any_index(w);
	*count = one_in(w, 3) ? BIG : 1 + rnd(w, 6);
	if (*index + *count > FILE_UNITS)
		*count = FILE_UNITS - *index;
}

static struct sim_file *any_file(struct worker *w)
{
	w->file = (unsigned int)rnd(w, FILES);
	return file[w->file];
}

static struct map *any_map(struct worker *w)
{
	unsigned int first = (unsigned int)rnd(w, VMAS);

	for (unsigned int i = 0; i < VMAS; i++)
		if (w->map[(first + i) % VMAS].at)
			return &w->map[(first + i) % VMAS];
	return NULL;
}

static uint64_t any_address(struct worker *w, const struct map *m)
{
	uint64_t i = any_index(w);

	if (i < m->index || i >= m->index + m->count)
		i = m->index + rnd(w, m->count);
	return m->at + i * PAGE;
}

static bool signal_came(void *arg)
{
	struct worker *w = arg;

	return atomic_exchange(&w->signal, false);
}

static struct dax_break any_break(struct worker *w)
{
	struct dax_break how = { .interrupted = signal_came, .arg = w };

	how.nowait = one_in(w, 8);
	return how;
}

/* ---- Steps ----------------------------------------------------------------------------------------------- */

/* What it was told of is done first: until then its faults would come to nothing. */
static struct map *any_ready(struct worker *w)
{
	if (w->mm->answer != SIM_PROMPT)
		sim_answer(w->mm);
	return any_map(w);
}

static void do_load(struct worker *w)
{
	struct map *m = any_ready(w);
	uint8_t value;

	if (m)
		sim_load(w->mm, any_address(w, m), &value);
}

static void do_store(struct worker *w)
{
	struct map *m = any_ready(w);

	if (m)
		sim_store(w->mm, any_address(w, m), (uint8_t)(1 + rnd(w, 255)));
}

static void do_pin(struct worker *w)
{
	unsigned int slot = (unsigned int)rnd(w, PINS);
	struct map *m = any_ready(w);

	if (!m || w->pin[slot])
		return;
	if (sim_pin(w->mm, any_address(w, m), 1, one_in(w, 2) ? DAX_PIN_WRITE : 0, &w->pin[slot]))
		w->pin[slot] = NULL;
}

static void do_unpin(struct worker *w)
{
	unsigned int slot = (unsigned int)rnd(w, PINS);

	if (w->pin[slot])
		sim_unpin(sim, w->pin[slot]);
	w->pin[slot] = NULL;
}

static void unpin_all(struct worker *w)
{
	for (unsigned int i = 0; i < PINS; i++) {
		if (w->pin[i])
			sim_unpin(sim, w->pin[i]);
		w->pin[i] = NULL;
	}
}

static void do_mmap(struct worker *w)
{
	struct map *m = &w->map[rnd(w, VMAS)];

	if (m->at)
		return;
	any_range(w, &m->index, &m->count);
	m->flags = (one_in(w, 4) ? 0 : SIM_SHARED) | (one_in(w, 6) ? 0 : SIM_WRITE) | (one_in(w, 4) ? SIM_SYNC : 0) |
		   (one_in(w, 8) ? SIM_NOHUGE : 0);
	m->at = sim_mmap(w->mm, any_file(w), m->index, m->count, m->flags, one_in(w, 3) ? 1 + rnd(w, BIG) : 0);
	m->file = w->file;
}

static void do_munmap(struct worker *w)
{
	struct map *m = any_map(w);
	uint64_t first, count;

	if (!m)
		return;
	first = one_in(w, 2) ? m->at + m->index * PAGE : any_address(w, m);
	count = one_in(w, 2) ? m->count : 1 + rnd(w, 4);
	if (first + count * PAGE >= m->at + (m->index + m->count) * PAGE)
		count = m->index + m->count - (first - m->at) / PAGE;
	sim_munmap(w->mm, first, count);
	if (count == m->count)
		m->at = 0;
}

static void do_protect(struct worker *w)
{
	struct map *m = any_map(w);

	if (m)
		sim_protect(w->mm, m->at + m->index * PAGE, m->count, one_in(w, 2));
}

static void do_dontneed(struct worker *w)
{
	struct map *m = any_map(w);

	if (m)
		sim_dontneed(w->mm, any_address(w, m), 1 + rnd(w, 8));
}

static void do_exit(struct worker *w)
{
	sim_exit(w->mm);
	memset(w->map, 0, sizeof(w->map));
	w->mm = sim_mm_new(sim);
}

/* The child goes on, the parent ends, or the other way round. */
static void do_fork(struct worker *w)
{
	struct sim_mm *child = sim_fork(w->mm);

	if (one_in(w, 2)) {
		sim_exit(child);
		return;
	}
	sim_exit(w->mm);
	w->mm = child;
}

static void do_late(struct worker *w)
{
	w->mm->answer = one_in(w, 2) ? SIM_LATE : SIM_SILENT;
}

static void do_answer(struct worker *w)
{
	w->mm->answer = SIM_PROMPT;
	sim_answer(w->mm);
}

static void do_truncate(struct worker *w)
{
	struct dax_break how = any_break(w);
	uint64_t units = one_in(w, 2) ? FILE_UNITS : any_index(w);

	sim_truncate(any_file(w), units * PAGE, &how);
}

static void do_punch(struct worker *w)
{
	struct dax_break how = any_break(w);
	uint64_t index, count;

	any_range(w, &index, &count);
	sim_punch(any_file(w), index, count, &how);
}

static void do_zero_range(struct worker *w)
{
	struct dax_break how = any_break(w);
	uint64_t index, count;

	any_range(w, &index, &count);
	sim_zero_range(any_file(w), index, count, &how);
}

static void do_fallocate(struct worker *w)
{
	uint64_t index, count;

	any_range(w, &index, &count);
	sim_fallocate(any_file(w), index, count, one_in(w, 2));
}

static void do_write(struct worker *w)
{
	uint64_t index = any_index(w);

	sim_write(any_file(w), index * PAGE, (uint8_t)(1 + rnd(w, 255)));
}

static void do_read(struct worker *w)
{
	uint64_t index = any_index(w);

	sim_read(any_file(w), index * PAGE);
}

static void do_reflink(struct worker *w)
{
	struct sim_file *from = any_file(w), *to = any_file(w);
	struct dax_break how = any_break(w);
	uint64_t index, count;

	any_range(w, &index, &count);
	/* A write() to what is shared waits without hearing signals: layout=kernel could keep it for ever. */
	if (from != to && sim->dax.layout == DAX_LAYOUT_INODAX)
		sim_reflink(from, to, index, count, &how);
}

static void do_fsync(struct worker *w)
{
	uint64_t index, count;

	any_range(w, &index, &count);
	sim_fsync(any_file(w), index, count);
}

static void do_signal(struct worker *w)
{
	atomic_store(&workers[(w->n + 1) % THREADS].signal, true);
	pgmap_wake(sim->pg);
}

static void do_poison(struct worker *w)
{
	uint64_t unit = rnd(w, UNITS);

	dax_memory_failure(&sim->dax, unit);
	pgmap_unpoison(sim->pg, unit);
}

static const struct {
	const char	*name;
	void		(*fn)(struct worker *w);
	unsigned int	 weight;
	bool		 locks;			/* a file */
} ops[] = {
	{ "load", do_load, 180, false }, { "store", do_store, 180, false }, { "pin", do_pin, 60, false },
	{ "unpin", do_unpin, 60, false }, { "mmap", do_mmap, 60, false }, { "munmap", do_munmap, 20, false },
	{ "protect", do_protect, 6, false }, { "dontneed", do_dontneed, 20, false }, { "exit", do_exit, 3, false },
	{ "fork", do_fork, 6, false }, { "late", do_late, 2, false }, { "answer", do_answer, 20, false },
	{ "fsync", do_fsync, 16, false }, { "signal", do_signal, 10, false }, { "poison", do_poison, 2, false },
	{ "truncate", do_truncate, 6, true }, { "punch", do_punch, 12, true }, { "zero", do_zero_range, 6, true },
	{ "fallocate", do_fallocate, 8, true }, { "write", do_write, 20, true }, { "read", do_read, 10, true },
	{ "reflink", do_reflink, 6, true },
};

static void one_step(struct worker *w)
{
	const unsigned int kinds = sizeof(ops) / sizeof(*ops);
	unsigned int total = 0, i = 0;
	uint64_t n;

	for (unsigned int k = 0; k < kinds; k++)
		total += ops[k].weight;
	for (n = rnd(w, total); n >= ops[i].weight; i++)
		n -= ops[i].weight;
	w->since = now_ms();
	w->doing = "unpin";
	if (ops[i].locks)
		unpin_all(w);
	w->doing = ops[i].name;
	ops[i].fn(w);
	w->steps++;
}

/* ---- Worlds ---------------------------------------------------------------------------------------------- */

static void world_begin(uint64_t n)
{
	struct sim_config c = {
		.units = UNITS, .file_units = FILE_UNITS, .accounting = n & 1 ? PGMAP_PAGE : PGMAP_HEAD,
		.drain = n & 2 ? PGMAP_SWEEP : PGMAP_COUNTER, .layout = n & 4 ? DAX_LAYOUT_KERNEL : DAX_LAYOUT_INODAX,
		.pin = n & 8 ? DAX_PIN_EVICT : DAX_PIN_INODE, .mapper_ms = 2,
	};

	sim = sim_new(&c);
	for (unsigned int i = 0; i < FILES; i++)
		file[i] = sim_create(sim, FILE_UNITS * PAGE);
	for (unsigned int i = 0; i < THREADS; i++) {
		memset(workers[i].map, 0, sizeof(workers[i].map));
		workers[i].mm = sim_mm_new(sim);
	}
}

/* By one thread, while the others wait. */
static void look(uint64_t round, uint64_t config)
{
	/* Whoever left a wait may still be told of, but nobody is in one. */
	for (unsigned int i = 0; i < THREADS; i++)
		do_answer(&workers[i]);
	sim_check(sim);
	over = now_ms() >= deadline;
	if (!over && (round + 1) % WORLD_ROUNDS)
		return;
	pthread_mutex_lock(&world);
	sim_delete(sim);
	sim = NULL;
	if (!over)
		world_begin(mix(config + round));
	pthread_mutex_unlock(&world);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	for (uint64_t round = 0; !over; round++) {
		for (unsigned int i = 0; i < ROUND_STEPS && now_ms() < deadline; i++)
			one_step(w);
		w->doing = "letting go";
		unpin_all(w);
		do_answer(w);
		w->since = 0;
		pthread_barrier_wait(&barrier);
		if (w->n == 0)
			look(round, seed);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

/* ---- The watchdog ---------------------------------------------------------------------------------------- */

static void report(void)
{
	uint64_t now = now_ms();

	for (unsigned int i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];
		unsigned int pins = 0;

		for (unsigned int k = 0; k < PINS; k++)
			pins += w->pin[k] != NULL;
		if (w->since)
			fprintf(stderr, "thread %u: %s, file %u, for %lu ms, with %u pins\n", i, w->doing, w->file,
				now - w->since, pins);
		else
			fprintf(stderr, "thread %u: at the barrier\n", i);
	}
}

/* The kernel's hazard, and its way out. */
static void help(void)
{
	pthread_mutex_lock(&world);
	for (unsigned int i = 0; sim && i < THREADS; i++) {
		uint64_t since = workers[i].since;

		if (since && now_ms() > since + SIGNAL_MS && sim->dax.layout == DAX_LAYOUT_KERNEL) {
			atomic_store(&workers[i].signal, true);
			pgmap_wake(sim->pg);
		}
	}
	pthread_mutex_unlock(&world);
}

static void *watch(void *arg)
{
	(void)arg;
	while (!all_over) {
		usleep(10000);
		help();
		for (unsigned int i = 0; i < THREADS; i++) {
			uint64_t since = workers[i].since;

			if (!since || now_ms() < since + STUCK_MS)
				continue;
			fprintf(stderr, "seed %lu: a step does not end\n", seed);
			report();
			abort();
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'e' },
		{ "config", required_argument, NULL, 'c' }, { 0 },
	};
	uint64_t run_s = getenv("INODAX_TEST_QUICK") ? 3 : 10, config = 0, steps = 0;
	pthread_t watchdog;
	int c;

	seed = (uint64_t)time(NULL);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			run_s = strtoull(optarg, NULL, 0);
		else if (c == 'e')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'c')
			config = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	printf("seed %lu\n", seed);
	fflush(stdout);
	deadline = now_ms() + run_s * 1000;
	pthread_barrier_init(&barrier, NULL, THREADS);
	world_begin(config);
	pthread_create(&watchdog, NULL, watch, NULL);
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i].n = i;
		workers[i].rng = mix(seed ^ mix(i + 1));
		pthread_create(&workers[i].thread, NULL, run, &workers[i]);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		steps += workers[i].steps;
	}
	all_over = true;
	pthread_join(watchdog, NULL);
	pthread_barrier_destroy(&barrier);
	printf("%lu steps\n", steps);
	return 0;
}
