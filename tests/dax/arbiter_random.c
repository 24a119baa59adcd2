/*
 * Random steps on lib/dax and on a model of it (arbiter_model.h), compared after every step, when all invariants are
 * found out anew too (sim_check()).
 *
 *	arbiter_random [--steps N] [--seed N] [--round N] [--config N] [--verbose]
 *
 * A round is a world of its own: its configuration and its steps follow from the seed and the round's number alone,
 * so that a failure is run again by itself. It ends with pgmap_kill(), some more steps, and the drain. One thread:
 * what would wait is asked not to, or finds that a signal has come; mappers that answer late are not waited for,
 * and what could only wait - the end of an inode that is pinned - is not done.
 *
 * A failure says what differs, the step, the last 20 steps in words, and how to run it again.
 */
#include "arbiter_steps.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUND_STEPS	3000U
#define DYING_STEPS	60U
#define BYTES_EVERY	256U		/* steps */
#define HISTORY		20U
#define WATCHDOG_S	60U

struct pair p;

static uint64_t rng, seed, round_no, step, done;
static char history[HISTORY][160];
static bool verbose;

/* ---- Randomness and words -------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

uint64_t rnd(uint64_t n)
{
	rng += 0x9e3779b97f4a7c15ULL;
	return mix(rng) % n;
}

bool one_in(uint64_t n)
{
	return rnd(n) == 0;
}

void say(const char *fmt, ...)
{
	char *line = history[step % HISTORY];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(history[0]), fmt, ap);
	va_end(ap);
	if (verbose)
		fprintf(stderr, "%lu: %s\n", step, line);
}

static void how_to_rerun(void)
{
	fprintf(stderr, "seed %lu, round %lu, step %lu of it, %lu in all. The last steps:\n", seed, round_no, step,
		done);
	for (uint64_t i = step >= HISTORY ? step - HISTORY + 1 : 0; i <= step; i++)
		fprintf(stderr, "  %lu: %s\n", i, history[i % HISTORY]);
	fprintf(stderr, "again: arbiter_random --seed %lu --round %lu --steps %lu\n", seed, round_no, step + 1);
}

void am_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* Whatever ends it - sim_fail(), a sanitizer, a crash, a wait without end - says where it was. */
static void fatal(int sig)
{
	signal(sig, SIG_DFL);
	if (sig == SIGALRM)
		fprintf(stderr, "a step does not end\n");
	how_to_rerun();
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* ---- Rounds ---------------------------------------------------------------------------------------------- */

static void one_step(void)
{
	random_step();
	compare_all(&p);
	sim_check(p.sim);
	if (step % BYTES_EVERY == BYTES_EVERY - 1) {
		compare_bytes(&p);
		alarm(WATCHDOG_S);
	}
}

static uint32_t where(void *arg, unsigned int file, uint64_t index)
{
	(void)arg;
	return p.file[file]->slot[index] ? (uint32_t)SIM_SLOT_UNIT(p.file[file]->slot[index]) : UINT32_MAX;
}

/* Of the bits of a configuration's number. Larger units make slow rounds, so there are few. */
static struct sim_config config_of(uint64_t n)
{
	bool large = n / 64 % 8 == 7;

	return (struct sim_config){
		.units = UNITS, .file_units = FILE_UNITS, .unit_shift = large ? DAX_PMD_SHIFT : DAX_PTE_SHIFT,
		.accounting = n & 1 ? PGMAP_PAGE : PGMAP_HEAD, .drain = n & 2 ? PGMAP_SWEEP : PGMAP_COUNTER,
		.layout = n & 4 ? DAX_LAYOUT_KERNEL : DAX_LAYOUT_INODAX, .pin = n & 8 ? DAX_PIN_EVICT : DAX_PIN_INODE,
		.pin_busy = n & 16, .max_size = n & 32 ? DAX_PUD : DAX_PMD,
	};
}

static void round_begin(uint64_t config)
{
	struct sim_config c = config_of(config);

	memset(&p, 0, sizeof(p));
	p.sim = sim_new(&c);
	p.sim->dax.mapper_ms = 0;	/* who does not answer at once is not waited for */
	p.m = (struct am){
		.units = UNITS, .file_units = FILE_UNITS, .unit_bytes = 1ULL << c.unit_shift,
		.big = c.unit_shift == DAX_PTE_SHIFT || c.max_size == DAX_PUD ? BIG : 0,
		.tables = c.unit_shift == DAX_PTE_SHIFT,
		.pages = c.accounting == PGMAP_PAGE, .kernel = c.layout == DAX_LAYOUT_KERNEL,
		.pin_holds = c.pin == DAX_PIN_INODE, .pin_busy = c.pin_busy, .room = AM_END, .where = where,
	};
	am_init(&p.m);
	for (unsigned int i = 0; i < AM_FILES; i++)
		new_file(i);
	for (unsigned int i = 0; i < AM_MMS; i++)
		new_mm(i);
}

static bool any_ref(void)
{
	for (uint64_t u = 0; u < UNITS; u++)
		if (p.m.unit[u].refs)
			return true;
	return false;
}

/* Nothing gets a first reference any more; the drain ends when the last one went, and not before. */
static void round_end(void)
{
	say("the pgmap is killed");
	same("the kill", pgmap_kill(p.sim->pg), 0);
	p.m.dying = true;
	for (unsigned int i = 0; i < DYING_STEPS; i++, step++)
		one_step();
	sim_check(p.sim);
	say("drain, with references: %d", any_ref());
	same("the drain", pgmap_drain(p.sim->pg, 0), any_ref() ? -ETIMEDOUT : 0);
	say("everybody leaves");
	sim_delete(p.sim);
	am_free(&p.m);
}

static void run_round(uint64_t config, uint64_t steps)
{
	rng = mix(seed ^ mix(round_no + 1));
	if (config == AM_END)
		config = mix(rng);
	step = 0;
	memset(history, 0, sizeof(history));
	round_begin(config);
	for (; step < ROUND_STEPS && step < steps; step++, done++)
		one_step();
	round_end();
}

static uint64_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

static void usage(void)
{
	fprintf(stderr, "arbiter_random [--steps N] [--seed N] [--round N] [--config N] [--verbose]\n");
	exit(2);
}

static uint64_t number(void)
{
	char *end;
	uint64_t n = strtoull(optarg, &end, 0);

	if (*end || end == optarg)
		usage();
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "steps", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'e' },
		{ "round", required_argument, NULL, 'r' }, { "config", required_argument, NULL, 'c' },
		{ "verbose", no_argument, NULL, 'v' }, { 0 },
	};
	uint64_t steps = getenv("INODAX_TEST_QUICK") ? 50000 : 1000000, config = AM_END, begin = seconds();
	int c;

	seed = (uint64_t)time(NULL);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			steps = number();
			break;
		case 'e':
			seed = number();
			break;
		case 'r':
			round_no = number();
			break;
		case 'c':
			config = number();
			break;
		case 'v':
			verbose = true;
			break;
		default:
			usage();
		}
	}
	signal(SIGABRT, fatal);
	signal(SIGSEGV, fatal);
	signal(SIGALRM, fatal);
	alarm(WATCHDOG_S);
	printf("seed %lu\n", seed);
	fflush(stdout);
	for (; done < steps; round_no++)
		run_round(config, steps - done);
	printf("%lu steps agree, %lu seconds\n", done, seconds() - begin);
	return 0;
}
