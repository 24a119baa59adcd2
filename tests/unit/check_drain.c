/*
 * lib/dax/drain: removal of a pgmap, in order, against references in other threads; and waiting for counts to go down.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "pgmap_unit.h"
#include "util/slot.h"

static struct freed freed;

static void nap(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Order ------------------------------------------------------------------------------------------------ */

START_TEST(removal_goes_one_way)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);

	ck_assert_int_eq(pgmap_drain(pg, 0), -EBUSY);
	ck_assert_int_eq(pgmap_destroy(pg), -EBUSY);
	ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(pgmap_state(pg), PGMAP_DYING);
	ck_assert_int_eq(pgmap_kill(pg), -EALREADY);
	ck_assert_int_eq(pgmap_destroy(pg), -EBUSY);
	ck_assert_int_eq(pgmap_drain(pg, 0), 0);
	ck_assert_int_eq(pgmap_state(pg), PGMAP_DRAINED);
	ck_assert_int_eq(pgmap_kill(pg), -EALREADY);
	ck_assert_int_eq(pgmap_state(pg), PGMAP_DRAINED);
	ck_assert_int_eq(pgmap_drain(pg, -1), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, pgmap_base_size(pg)), -ENXIO);
	ck_assert_int_eq(pgmap_destroy(pg), 0);
}
END_TEST

START_TEST(a_reference_outlasts_the_kill)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	struct pgmap_folio out[4];
	unsigned int count = 4;
	double start;

	ck_assert_int_eq(pgmap_associate(pg, 1, base, false), 0);
	ck_assert_int_eq(pgmap_associate(pg, 3, base, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);
	ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 2, base), -ENXIO);	/* of nobody */
	ck_assert_int_eq(pgmap_request_folio(pg, 3, base), -ENXIO);	/* of an entry */
	ck_assert_int_eq(pgmap_request_folios(pg, 0, 2ULL << pgmap_config(pg)->unit_shift, out, &count), -ENXIO);
	ck_assert_uint_eq(pgmap_refused(pg), 3);
	ck_assert_uint_eq(stat_of(pg).refs, 1);
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);		/* 1->2 */
	ck_assert_int_eq(pgmap_map_folio(pg, 1, base), 0);		/* fork */
	ck_assert_uint_eq(pgmap_refused(pg), 3);
	pgmap_release_folio(pg, 1, base);
	pgmap_release_folio(pg, 1, base);
	start = seconds();
	ck_assert_int_eq(pgmap_drain(pg, 50), -ETIMEDOUT);
	ck_assert(seconds() - start >= 0.049);
	ck_assert_int_eq(pgmap_drain(pg, 0), -ETIMEDOUT);
	ck_assert_int_eq(pgmap_state(pg), PGMAP_DYING);
	pgmap_unmap_folio(pg, 1, base);
	ck_assert_int_eq(pgmap_drain(pg, 0), 0);
	ck_assert_uint_eq(stat_of(pg).refs, 0);
	ck_assert_int_eq(pgmap_destroy(pg), 0);
}
END_TEST

/* PAGE: a folio half of which has references may get more on that half only. */
START_TEST(a_page_without_a_reference_gets_none_while_dying)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	bool page = pgmap_config(pg)->accounting == PGMAP_PAGE;

	ck_assert_int_eq(pgmap_associate(pg, 0, base + 1, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, base), 0);
	ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, base + 1), page ? -ENXIO : 0);
	ck_assert_uint_eq(pgmap_refused(pg), page);
	ck_assert_uint_eq(stat_of(pg).refs, page ? 1 : 2);
	if (!page)
		pgmap_release_folio(pg, 0, base + 1);
	ck_assert_int_eq(pgmap_drain(pg, 0), -ETIMEDOUT);
	pgmap_release_folio(pg, 0, base);
	end_pgmap(pg);
}
END_TEST

/* What the last release gives back to the allocator is there when drain returns. */
START_TEST(drained_means_freed)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);

	ck_assert_int_eq(pgmap_associate(pg, 1, base, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 1, base), 0);
	pgmap_disassociate(pg, 1, base);
	pgmap_free_blocks(pg, 1ULL << (pgmap_config(pg)->unit_shift - 12), 1);
	ck_assert_uint_eq(freed.blocks, 0);
	ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(pgmap_drain(pg, 10), -ETIMEDOUT);
	pgmap_release_folio(pg, 1, base);
	ck_assert_int_eq(pgmap_drain(pg, 0), 0);
	ck_assert_uint_eq(freed.blocks, 1);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	ck_assert_int_eq(pgmap_destroy(pg), 0);
}
END_TEST

struct late {
	struct pgmap	*pg;
	uint64_t	 unit;
	bool		 mapped;
};

static void *release_late(void *arg)
{
	struct late *l = arg;

	nap(30);
	if (l->mapped)
		pgmap_unmap_folio(l->pg, l->unit, pgmap_base_size(l->pg));
	else
		pgmap_release_folio(l->pg, l->unit, pgmap_base_size(l->pg));
	return NULL;
}

START_TEST(drain_waits_for_another_thread)
{
	struct pgmap *pg = new_pgmap(_i, 64 * GIB, &freed);
	struct late late = { .pg = pg, .unit = 63 };
	pthread_t thread;

	ck_assert_int_eq(pgmap_request_folio(pg, late.unit, pgmap_base_size(pg)), 0);
	ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, release_late, &late), 0);
	ck_assert_int_eq(pgmap_drain(pg, -1), 0);
	ck_assert_uint_eq(stat_of(pg).refs, 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(pgmap_destroy(pg), 0);
}
END_TEST

START_TEST(deletion_asks_nobody)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);

	ck_assert_int_eq(pgmap_request_folio(pg, 0, pgmap_base_size(pg)), 0);
	pgmap_delete(pg);
	pgmap_delete(NULL);
}
END_TEST

/* ---- Waiting ---------------------------------------------------------------------------------------------- */

/* A thread in pgmap_wait(); asked: how often stop() was. */
struct waiter {
	struct pgmap		*pg;
	uint64_t		 unit;
	bool			 until_idle;
	_Atomic bool		 stop;
	_Atomic unsigned int	 asked;
	_Atomic bool		 done;
	int			 rc;
	pthread_t		 thread;
};

static bool stopped(void *arg)
{
	struct waiter *w = arg;

	atomic_fetch_add(&w->asked, 1);
	return atomic_load(&w->stop);
}

static void *wait_thread(void *arg)
{
	struct waiter *w = arg;

	w->rc = pgmap_wait(w->pg, w->unit, w->until_idle, stopped, w, -1);
	atomic_store(&w->done, true);
	return NULL;
}

/* Returns when it sleeps, or is about to: what wakes takes the mutex that it holds until then. */
static void start_waiter(struct waiter *w, struct pgmap *pg, uint64_t unit, bool until_idle)
{
	memset(w, 0, sizeof(*w));
	w->pg = pg;
	w->unit = unit;
	w->until_idle = until_idle;
	ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_thread, w), 0);
	while (!atomic_load(&w->asked))
		sched_yield();
}

static void end_waiter(struct waiter *w, int rc)
{
	pthread_join(w->thread, NULL);
	ck_assert_int_eq(w->rc, rc);
}

START_TEST(nothing_to_wait_for_is_no_wait)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	struct waiter w = { .stop = true };

	ck_assert_int_eq(pgmap_wait(pg, 0, true, stopped, &w, 0), 0);
	ck_assert_int_eq(pgmap_wait(pg, 0, false, stopped, &w, 0), 0);
	ck_assert_uint_eq(w.asked, 0);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	ck_assert_int_eq(pgmap_request_folio(pg, 0, base), 0);
	ck_assert_int_eq(pgmap_map_folio(pg, 0, base), 0);
	ck_assert_int_eq(pgmap_wait(pg, 0, false, stopped, &w, -1), -EINTR);
	pgmap_release_folio(pg, 0, base);
	ck_assert_int_eq(pgmap_wait(pg, 0, false, NULL, NULL, -1), 0);
	ck_assert_int_eq(pgmap_wait(pg, 0, true, NULL, NULL, 0), -ETIMEDOUT);
	ck_assert_uint_eq(pgmap_word(pg, 0) & FOLIO_WAITERS, 0);
	pgmap_unmap_folio(pg, 0, base);
	end_pgmap(pg);
}
END_TEST

START_TEST(a_wait_ends_by_its_timeout)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	double start = seconds();

	ck_assert_int_eq(pgmap_request_folio(pg, 0, pgmap_base_size(pg)), 0);
	ck_assert_int_eq(pgmap_wait(pg, 0, true, NULL, NULL, 40), -ETIMEDOUT);
	ck_assert(seconds() - start >= 0.039 && seconds() - start < 10);
	pgmap_release_folio(pg, 0, pgmap_base_size(pg));
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

/* Two waiters at one folio, with a mapping, a pin and a second pin: whom each release wakes, by what stop() counted. */
START_TEST(a_waiter_is_woken_by_its_condition_alone)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg), size = base < DAX_PUD ? base + 1 : base;
	uint64_t tail = units_in(pg, size) - 1;
	struct waiter idle, calm;

	ck_assert_int_eq(pgmap_associate(pg, 0, size, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, 0, size), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, tail, base), 0);
	ck_assert_int_eq(pgmap_map_folio(pg, 0, size), 0);
	ck_assert_int_eq(pgmap_map_folio(pg, 0, size), 0);
	start_waiter(&idle, pg, tail, true);
	start_waiter(&calm, pg, 0, false);

	pgmap_release_folio(pg, 0, size);	/* a pin is left */
	pgmap_unmap_folio(pg, 0, size);		/* no pin goes */
	nap(20);
	ck_assert_uint_eq(idle.asked, 1);
	ck_assert_uint_eq(calm.asked, 1);
	ck_assert(!calm.done && !idle.done);

	pgmap_release_folio(pg, tail, base);	/* no pin is left, a mapping is */
	end_waiter(&calm, 0);
	nap(20);
	ck_assert_uint_eq(idle.asked, 1);
	ck_assert(!idle.done);
	ck_assert(pgmap_word(pg, 0) & FOLIO_WAITERS);

	pgmap_unmap_folio(pg, 0, size);		/* 1->0 */
	end_waiter(&idle, 0);
	ck_assert_uint_eq(idle.asked, 1);
	ck_assert_uint_eq(pgmap_word(pg, 0) & FOLIO_WAITERS, 0);
	pgmap_disassociate(pg, 0, size);
	end_pgmap(pg);
}
END_TEST

START_TEST(stop_is_asked_again_when_told_so)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg);
	struct waiter a, b;

	ck_assert_int_eq(pgmap_request_folio(pg, 0, base), 0);
	start_waiter(&a, pg, 0, true);
	start_waiter(&b, pg, 0, false);
	pgmap_wake(pg);
	while (atomic_load(&a.asked) < 2 || atomic_load(&b.asked) < 2)
		sched_yield();
	ck_assert(!a.done && !b.done);
	atomic_store(&a.stop, true);
	pgmap_wake(pg);
	end_waiter(&a, -EINTR);
	ck_assert(pgmap_word(pg, 0) & FOLIO_WAITERS);
	pgmap_release_folio(pg, 0, base);
	end_waiter(&b, 0);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

/* The folio falls apart, by its last release, while somebody waits at its tail. */
START_TEST(a_waiter_outlives_its_folio)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size base = pgmap_base_size(pg), size = base + 1;
	uint64_t n = units_in(pg, size);
	struct waiter w;

	ck_assert_int_eq(pgmap_associate(pg, n, size, false), 0);
	ck_assert_int_eq(pgmap_request_folio(pg, n, size), 0);
	start_waiter(&w, pg, 2 * n - 1, true);
	pgmap_disassociate(pg, n, size);
	ck_assert(!w.done);
	pgmap_release_folio(pg, n, size);
	end_waiter(&w, 0);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	end_pgmap(pg);
}
END_TEST

/* PAGE: a request of the larger size that found its folio gone holds units, and somebody waits at one of them. */
START_TEST(a_waiter_at_a_unit_is_woken_by_a_larger_release)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	enum dax_size size = pgmap_base_size(pg) + 1;
	uint64_t block = 5ULL << (pgmap_config(pg)->unit_shift - 12);
	struct waiter w;

	if (pgmap_config(pg)->accounting == PGMAP_PAGE) {
		ck_assert_int_eq(pgmap_request_folio(pg, 0, size), 0);
		ck_assert_uint_eq(pgmap_head(pg, 5), 5);
		pgmap_free_blocks(pg, block, 1);
		start_waiter(&w, pg, 5, true);
		pgmap_release_folio(pg, 0, size);
		end_waiter(&w, 0);
		ck_assert_uint_eq(freed.blocks, 1);
	}
	end_pgmap(pg);
}
END_TEST

/* ---- Threads ---------------------------------------------------------------------------------------------- */

/*
 * Everything at once: threads request, map, unmap and release folios of a small pool at random, others let entries
 * come and go and give blocks back, and one kills and drains. Each unit may have an entry, and each entry is one
 * thread's, as the lock of an entry would have it; requests by range know nothing of entries and meet them at any
 * time.
 */
#define STORM_THREADS	4
#define STORM_UNITS	2048
#define STORM_PARTS	(STORM_UNITS / 512)	/* PMD sized: a thread's own */

struct storm {
	struct pgmap		*pg;
	pthread_t		 thread[SLOT_MAX + 16];
	unsigned int		 threads;
	_Atomic unsigned int	 number;
	unsigned int		 seed;
	_Atomic bool		 quit;
	_Atomic uint64_t	 let_go;	/* blocks */
	_Atomic uint64_t	 given_back;
	_Atomic unsigned char	 busy[STORM_UNITS];	/* a block that was let go and not yet given back */
	_Atomic uint64_t	 wrong;
};

static void storm_free(void *arg, uint64_t block, uint64_t count)
{
	struct storm *s = arg;

	atomic_fetch_add(&s->given_back, count);
	for (uint64_t b = block; b < block + count; b++)
		if (!atomic_exchange(&s->busy[b], 0))
			atomic_fetch_add(&s->wrong, 1);
}

static void storm_let_go(struct storm *s, uint64_t block, uint64_t count)
{
	for (uint64_t b = block; b < block + count; b++)
		if (atomic_load(&s->busy[b]))
			return;
	for (uint64_t b = block; b < block + count; b++)
		atomic_store(&s->busy[b], 1);
	atomic_fetch_add(&s->let_go, count);
	pgmap_free_blocks(s->pg, block, count);
}

/* An entry of this thread's part comes, is faulted, goes, and its blocks with it. */
static void storm_entry(struct storm *s, unsigned int part, unsigned int *seed)
{
	struct pgmap *pg = s->pg;
	enum dax_size size = rand_r(seed) % 2 ? DAX_PMD : DAX_PTE;
	uint64_t n = units_in(pg, size), unit = part * 512 + (size == DAX_PTE ? (uint64_t)rand_r(seed) % 512 : 0);

	for (uint64_t u = unit; u < unit + n; u++)
		if (atomic_load(&s->busy[u]))
			return;	/* in limbo: the allocator would not have given it */
	if (pgmap_associate(pg, unit, size, false))
		return;
	if (pgmap_request_folio(pg, unit, size) == 0) {
		bool mapped = pgmap_map_folio(pg, unit, size) == 0;

		pgmap_release_folio(pg, unit, size);
		if (rand_r(seed) % 4 == 0)
			sched_yield();
		if (mapped)
			pgmap_unmap_folio(pg, unit, size);
	}
	pgmap_disassociate(pg, unit, size);
	if (rand_r(seed) % 2)
		storm_let_go(s, unit, n);
}

static void storm_range(struct storm *s, unsigned int *seed)
{
	struct pgmap_folio out[64];
	unsigned int count = 64;
	uint64_t unit = (uint64_t)rand_r(seed) % STORM_UNITS, most = rand_r(seed) % 2 ? 4 : 520;
	uint64_t n = 1 + (uint64_t)rand_r(seed) % most;

	if (rand_r(seed) % 2)
		unit &= ~511ULL;
	if (n > STORM_UNITS - unit)
		n = STORM_UNITS - unit;
	if (pgmap_request_folios(s->pg, unit * 4096, n * 4096, out, &count))
		return;
	if (rand_r(seed) % 2) {
		if (pgmap_map_folio(s->pg, out[0].unit, out[0].size) == 0)
			pgmap_unmap_folio(s->pg, out[0].unit, out[0].size);
		else
			atomic_fetch_add(&s->wrong, 1);
	}
	if (rand_r(seed) % 8 == 0)
		sched_yield();
	pgmap_release_folios(s->pg, out, count);
}

static void *storm_thread(void *arg)
{
	struct storm *s = arg;
	unsigned int me = atomic_fetch_add(&s->number, 1), seed = s->seed + me, tries = 0;

	while (!atomic_load(&s->quit)) {
		/* Threads that hand a folio on to each other keep it alive for ever: some more of that, then peace. */
		if (pgmap_state(s->pg) == PGMAP_DYING && tries++ > 3) {
			nap(1);
			continue;
		}
		if (me < STORM_PARTS && rand_r(&seed) % 2)
			storm_entry(s, me, &seed);
		else
			storm_range(s, &seed);
	}
	return NULL;
}

static void storm_round(int config, unsigned int threads, unsigned int ms, unsigned int seed)
{
	struct pgmap_config c = config_of(config, STORM_UNITS * 4096ULL, &freed);
	struct storm *s = calloc(1, sizeof(*s));
	struct pgmap_stat st;

	c.page_free = storm_free;
	c.arg = s;
	s->seed = seed;
	ck_assert_int_eq(pgmap_new(&s->pg, &c), 0);
	for (s->threads = 0; s->threads < threads; s->threads++)
		ck_assert_int_eq(pthread_create(&s->thread[s->threads], NULL, storm_thread, s), 0);
	nap(ms);
	ck_assert_int_eq(pgmap_kill(s->pg), 0);
	ck_assert_int_eq(pgmap_drain(s->pg, -1), 0);
	st = stat_of(s->pg);	/* while all of them try again */
	ck_assert_uint_eq(st.live, 0);
	ck_assert_uint_eq(st.refs, 0);
	ck_assert_uint_eq(st.maps, 0);
	nap(1);
	atomic_store(&s->quit, true);
	while (s->threads)
		pthread_join(s->thread[--s->threads], NULL);
	st = stat_of(s->pg);
	ck_assert_uint_eq(st.live, 0);
	ck_assert_uint_eq(st.limbo, 0);
	ck_assert_uint_eq(pgmap_next_used(s->pg, 0), pgmap_units(s->pg));
	ck_assert_uint_eq(atomic_load(&s->given_back), atomic_load(&s->let_go));
	ck_assert_uint_eq(atomic_load(&s->wrong), 0);
	ck_assert_uint_eq(pgmap_violations(s->pg), 0);
	ck_assert_int_eq(pgmap_destroy(s->pg), 0);
	free(s);
}

/* INODAX_TEST_SECONDS: so long for each configuration, instead of some rounds. */
static void storm_rounds(int config, unsigned int threads, unsigned int rounds)
{
	const char *env = getenv("INODAX_TEST_SECONDS");
	double end = seconds() + (env ? atof(env) : 0);
	unsigned int n;

	for (n = 0; env ? seconds() < end : n < rounds; n++)
		storm_round(config, threads, 2 + n % 20, 0x5eed + 1000 * n);
	if (env)
		printf("%d: %u rounds\n", config, n);
}

START_TEST(removal_meets_a_storm)
{
	storm_rounds(_i, STORM_THREADS, 12);
}
END_TEST

START_TEST(more_threads_than_slots)
{
	storm_rounds(_i, SLOT_MAX + 16, 1);
}
END_TEST

static Suite *drain_suite(void)
{
	Suite *s = suite_create("drain");
	TCase *order = tcase_create("order"), *wait = tcase_create("wait"), *threads = tcase_create("threads");

	tcase_add_loop_test(order, removal_goes_one_way, 0, CONFIGS);
	tcase_add_loop_test(order, a_reference_outlasts_the_kill, 0, CONFIGS);
	tcase_add_loop_test(order, a_page_without_a_reference_gets_none_while_dying, 0, CONFIGS_2M);
	tcase_add_loop_test(order, drained_means_freed, 0, CONFIGS);
	tcase_add_loop_test(order, drain_waits_for_another_thread, 0, CONFIGS);
	tcase_add_loop_test(order, deletion_asks_nobody, 0, CONFIGS);
	suite_add_tcase(s, order);
	tcase_add_loop_test(wait, nothing_to_wait_for_is_no_wait, 0, CONFIGS);
	tcase_add_loop_test(wait, a_wait_ends_by_its_timeout, 0, CONFIGS);
	tcase_add_loop_test(wait, a_waiter_is_woken_by_its_condition_alone, 0, CONFIGS);
	tcase_add_loop_test(wait, stop_is_asked_again_when_told_so, 0, CONFIGS);
	tcase_add_loop_test(wait, a_waiter_outlives_its_folio, 0, CONFIGS_2M);
	tcase_add_loop_test(wait, a_waiter_at_a_unit_is_woken_by_a_larger_release, 0, CONFIGS_2M);
	suite_add_tcase(s, wait);
	tcase_add_loop_test(threads, removal_meets_a_storm, 0, CONFIGS_4K);
	tcase_add_loop_test(threads, more_threads_than_slots, 0, 2);
	tcase_set_timeout(threads, 120);
	suite_add_tcase(s, threads);
	return s;
}

int main(void)
{
	return unit_run(drain_suite());
}
