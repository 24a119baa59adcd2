/*
 * lib/preload/table: which map an address is of, who owns one, what replaces it, and that nobody has one in use that is
 * owned or was replaced.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/table.h"
#include "unit.h"
#include "util/fault.h"

#define PAGE		4096UL
#define BASE		(1UL << 30)
#define MANY		1000U

/* Maps are told apart by their addresses; nobody looks into one. */
static char maps[MANY];

/* Map i, when each has so many pages; there is one between them. */
static struct range at_page(unsigned int i, unsigned int first, unsigned int pages)
{
	return (struct range){
		.map = (struct inodax_map *)&maps[i], .prot = PROT_READ, .start = BASE + first * PAGE,
		.end = BASE + (first + pages) * PAGE,
	};
}

static struct range range_of(unsigned int i, unsigned int pages)
{
	struct range r = { .map = (struct inodax_map *)&maps[i], .prot = i % 2 ? PROT_READ : PROT_READ | PROT_WRITE };

	r.start = BASE + i * (pages + 1) * PAGE;
	r.end = r.start + pages * PAGE;
	return r;
}

static void add(const struct range *r)
{
	ck_assert_int_eq(table_insert(r), 0);
}

static bool same(const struct range *a, const struct range *b)
{
	return a->start == b->start && a->end == b->end && a->map == b->map && a->prot == b->prot;
}

/* Out of the table. false: somebody was faster. */
static bool table_take(const struct range *r)
{
	int rc = table_own(r);

	ck_assert(!rc || rc == -EAGAIN);
	if (!rc)
		table_replace(r, NULL, 0);
	return !rc;
}

static void expect(uintptr_t from, uintptr_t to, const struct range *wanted)
{
	struct range found;

	ck_assert(table_next(from, to, &found));
	ck_assert(same(&found, wanted));
	table_put(&found);
}

static void expect_none(uintptr_t from, uintptr_t to)
{
	struct range found;

	ck_assert(!table_next(from, to, &found));
}

static void take(const struct range *r)
{
	struct range found;

	ck_assert(table_next(r->start, r->end, &found));
	ck_assert(same(&found, r));
	ck_assert(table_take(&found));
}

static void teardown(void)
{
	struct range r;

	fault_disarm(FAULT_ALLOC);
	while (table_next(0, UINTPTR_MAX, &r))
		table_take(&r);
}

/* ---- By hand ---------------------------------------------------------------------------------------------- */

START_TEST(an_empty_table_has_nothing)
{
	struct range r = range_of(0, 4);

	expect_none(0, UINTPTR_MAX);
	add(&r);
	take(&r);
	expect_none(0, UINTPTR_MAX);
}
END_TEST

START_TEST(any_part_of_a_range_finds_it)
{
	struct range r = range_of(3, 4);

	add(&r);
	expect(r.start, r.end, &r);
	expect(r.start, r.start + 1, &r);
	expect(r.end - 1, r.end, &r);
	expect(r.start + PAGE, r.start + 2 * PAGE, &r);
	expect(r.start - PAGE, r.start + 1, &r);
	expect(r.end - 1, r.end + PAGE, &r);
	expect(0, UINTPTR_MAX, &r);
}
END_TEST

START_TEST(what_is_beside_a_range_does_not)
{
	struct range r = range_of(3, 4);

	add(&r);
	expect_none(0, r.start);
	expect_none(r.start - PAGE, r.start);
	expect_none(r.end, r.end + PAGE);
	expect_none(r.end, UINTPTR_MAX);
}
END_TEST

START_TEST(the_first_of_several_is_found)
{
	struct range low = range_of(1, 4), middle = range_of(2, 4), high = range_of(3, 4);

	add(&high);
	add(&low);
	add(&middle);
	expect(0, UINTPTR_MAX, &low);
	expect(low.end - 1, UINTPTR_MAX, &low);
	expect(low.end, UINTPTR_MAX, &middle);
	expect(middle.end, high.start + 1, &high);
	expect_none(low.end, middle.start);
	expect_none(middle.end, high.start);
	take(&middle);
	expect_none(low.end, high.start);
	expect(low.end, UINTPTR_MAX, &high);
	take(&low);
	expect(0, UINTPTR_MAX, &high);
}
END_TEST

START_TEST(ranges_may_touch)
{
	struct range low = range_of(1, 4), high = range_of(2, 4);

	high.start = low.end;
	add(&low);
	add(&high);
	expect(low.end - 1, UINTPTR_MAX, &low);
	expect(high.start, UINTPTR_MAX, &high);
	take(&low);
	expect(0, UINTPTR_MAX, &high);
	expect_none(0, high.start);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	unsigned int refused = 0;
	struct range r;

	for (unsigned int i = 0; i < 100; i++) {
		r = range_of(i, 1);
		fault_arm_always(FAULT_ALLOC);
		if (table_insert(&r)) {
			ck_assert_int_eq(table_insert(&r), -ENOMEM);
			expect_none(r.start, UINTPTR_MAX);
			fault_disarm(FAULT_ALLOC);
			add(&r);
			refused++;
		}
	}
	ck_assert_uint_gt(refused, 1);
	for (unsigned int i = 0; i < 100; i++) {
		r = range_of(i, 1);
		expect(r.start, r.end, &r);
	}
}
END_TEST

/* ---- Many ------------------------------------------------------------------------------------------------- */

/* Of one page or two. */
static struct range varied(unsigned int i)
{
	struct range r = range_of(i, 2);

	r.end -= i % 2 * PAGE;
	return r;
}

/* All numbers below MANY, in another order for each `step` that has no factor in common with it. */
static unsigned int nth(unsigned int n, unsigned int step)
{
	return (n * step + step / 2) % MANY;
}

/* Those that are there, one after the other, and nothing else. */
static void expect_all(const bool there[MANY])
{
	uintptr_t at = 0;

	for (unsigned int i = 0; i < MANY; i++) {
		struct range r = varied(i);

		if (!there[i])
			continue;
		expect(at, UINTPTR_MAX, &r);
		expect_none(at, r.start);
		at = r.end;
	}
	expect_none(at, UINTPTR_MAX);
}

START_TEST(many_are_all_found_and_removed)
{
	bool there[MANY] = { false };
	struct range r;

	for (unsigned int n = 0; n < MANY; n++) {
		r = varied(nth(n, 377));
		add(&r);
		there[nth(n, 377)] = true;
		if (n % 100 == 99)
			expect_all(there);
	}
	for (unsigned int n = 0; n < MANY; n++) {
		r = varied(nth(n, 613));
		take(&r);
		there[nth(n, 613)] = false;
		if (n % 100 == 99)
			expect_all(there);
	}
}
END_TEST

/* ---- In use ----------------------------------------------------------------------------------------------- */

struct taker {
	struct range	r;	/* in use by the thread */
	bool		mine;
	_Atomic bool	begun, done;
};

static void *taking(void *arg)
{
	struct taker *t = arg;

	atomic_store(&t->begun, true);
	t->mine = table_take(&t->r);
	atomic_store(&t->done, true);
	return NULL;
}

/* A thread that has begun, and most likely waits. */
static pthread_t start(void *(*fn)(void *arg), struct taker *t)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fn, t), 0);
	while (!atomic_load(&t->begun))
		sched_yield();
	usleep(20000);
	return thread;
}

/* A thread that takes what is in use by us, too; most likely it owns it. */
static pthread_t start_taker(struct taker *t, const struct range *r)
{
	ck_assert(table_next(r->start, r->end, &t->r));
	return start(taking, t);
}

START_TEST(who_takes_a_range_waits_for_those_who_use_it)
{
	struct range r = range_of(1, 4), next = range_of(2, 4), found;
	struct taker t = { .mine = false };
	pthread_t thread;

	add(&r);
	add(&next);
	ck_assert(table_next(r.start, r.end, &found));
	thread = start_taker(&t, &r);
	expect(next.start, UINTPTR_MAX, &next);
	ck_assert(!atomic_load(&t.done));
	table_put(&found);
	pthread_join(thread, NULL);
	ck_assert(t.mine);
	expect(0, UINTPTR_MAX, &next);
}
END_TEST

START_TEST(one_of_two_who_take_a_range_has_it)
{
	struct range r = range_of(1, 4), found;
	struct taker t = { .mine = false };
	pthread_t thread;
	bool mine;

	add(&r);
	ck_assert(table_next(r.start, r.end, &found));
	thread = start_taker(&t, &r);
	mine = table_take(&found);
	pthread_join(thread, NULL);
	ck_assert(mine != t.mine);
	expect_none(0, UINTPTR_MAX);
}
END_TEST

START_TEST(parts_come_in_place_of_a_range)
{
	struct range r = at_page(0, 2, 6), before = at_page(1, 0, 1), behind = at_page(2, 9, 1), found;
	struct range parts[TABLE_PARTS] = { at_page(0, 2, 2), at_page(3, 4, 1), at_page(4, 5, 3) };

	add(&r);
	add(&before);
	add(&behind);
	ck_assert(table_next(r.start, r.end, &found));
	ck_assert_int_eq(table_own(&found), 0);
	table_replace(&found, parts, TABLE_PARTS);
	for (unsigned int i = 0; i < TABLE_PARTS; i++)
		expect(parts[i].start, parts[i].end, &parts[i]);
	expect(0, UINTPTR_MAX, &before);
	expect(parts[2].end, UINTPTR_MAX, &behind);
	ck_assert(table_next(parts[1].start, parts[1].end, &found));
	ck_assert_int_eq(table_own(&found), 0);
	table_replace(&found, NULL, 0);
	expect(parts[0].end, UINTPTR_MAX, &parts[2]);
}
END_TEST

/* Who owns a range has room for the parts, whatever else comes and whoever else owns what. */
START_TEST(there_is_room_for_the_parts)
{
	struct range owned[8], parts[TABLE_PARTS];

	for (unsigned int i = 0; i < 8; i++) {
		struct range r = at_page(i, i * 10, 9);

		add(&r);
		ck_assert(table_next(r.start, r.end, &owned[i]));
		ck_assert_int_eq(table_own(&owned[i]), 0);
	}
	for (unsigned int i = 0; i < MANY; i++) {
		struct range other = at_page(i, 1000 + i, 1);

		add(&other);
	}
	fault_arm_always(FAULT_ALLOC);
	for (unsigned int i = 0; i < 8; i++) {
		for (unsigned int n = 0; n < TABLE_PARTS; n++)
			parts[n] = at_page(10 + 3 * i + n, i * 10 + 3 * n, 3);
		table_replace(&owned[i], parts, TABLE_PARTS);
	}
	fault_disarm(FAULT_ALLOC);
	for (unsigned int i = 0; i < 8; i++)
		for (unsigned int n = 0; n < TABLE_PARTS; n++) {
			parts[n] = at_page(10 + 3 * i + n, i * 10 + 3 * n, 3);
			expect(parts[n].start, parts[n].end, &parts[n]);
		}
}
END_TEST

/* A thread that does `fn` while `r` is owned waits for what replaces it. */
static void replace_while(void *(*fn)(void *arg), struct taker *t, const struct range *r, const struct range *part)
{
	struct range found;
	pthread_t thread;

	add(r);
	ck_assert(table_next(r->start, r->end, &found));
	ck_assert_int_eq(table_own(&found), 0);
	thread = start(fn, t);
	ck_assert(!atomic_load(&t->done));
	table_replace(&found, part, 1);
	pthread_join(thread, NULL);
	ck_assert(t->mine);
}

static void *looking(void *arg)
{
	struct taker *t = arg;

	atomic_store(&t->begun, true);
	t->mine = table_next(t->r.start, t->r.end, &t->r);
	atomic_store(&t->done, true);
	return NULL;
}

START_TEST(who_looks_for_what_is_owned_waits_for_what_replaces_it)
{
	struct range r = at_page(0, 1, 4), part = at_page(1, 3, 2);
	struct taker t = { .r = r };

	replace_while(looking, &t, &r, &part);
	ck_assert(same(&t.r, &part));
	table_put(&t.r);
}
END_TEST

START_TEST(the_table_may_change_while_somebody_waits)
{
	struct range r = range_of(500, 1), found;
	struct taker t = { .mine = false };
	pthread_t thread;

	add(&r);
	ck_assert(table_next(r.start, r.end, &found));
	thread = start_taker(&t, &r);
	for (unsigned int i = 0; i < MANY; i++) {
		struct range other = range_of(i, 1);

		if (i != 500)
			add(&other);
	}
	table_put(&found);
	pthread_join(thread, NULL);
	ck_assert(t.mine);
	expect_none(r.start, r.end);
	for (unsigned int i = 0; i < MANY; i++) {
		struct range other = range_of(i, 1);

		if (i != 500)
			expect(other.start, other.end, &other);
	}
}
END_TEST

/* The thread that has it in use is not there. */
START_TEST(what_other_threads_use_is_in_nobody_s_use_in_a_child)
{
	struct range r = range_of(1, 4), found;
	struct taker t = { .mine = false };
	pthread_t thread;
	int status;
	pid_t pid;

	add(&r);
	ck_assert(table_next(r.start, r.end, &found));
	thread = start_taker(&t, &r);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		alarm(60);
		_exit(table_next(0, UINTPTR_MAX, &found) && same(&found, &r) && table_take(&found) &&
		      !table_next(0, UINTPTR_MAX, &found) ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	table_put(&found);
	pthread_join(thread, NULL);
	ck_assert(t.mine);
}
END_TEST

static void *forking(void *arg)
{
	struct taker *t = arg;
	int status = -1;
	pid_t pid;

	atomic_store(&t->begun, true);
	pid = fork();
	if (pid == 0)
		_exit(!table_next(0, UINTPTR_MAX, &t->r) || t->r.end - t->r.start != 2 * PAGE);
	t->mine = pid > 0 && waitpid(pid, &status, 0) == pid && !status;
	atomic_store(&t->done, true);
	return NULL;
}

START_TEST(a_child_has_what_replaces_a_range_that_is_being_cut)
{
	struct range r = at_page(0, 1, 4), part = at_page(1, 3, 2);
	struct taker t = { .mine = false };

	replace_while(forking, &t, &r, &part);
}
END_TEST

/* ---- At once ---------------------------------------------------------------------------------------------- */

#define READERS		3U
#define RANGES		40U
#define ROUNDS		40000U
#define FOUND_MIN	10000U	/* the readers' part */

/* One writer adds and removes; those who find a range use it, and some try to take it. */
static struct {
	_Atomic bool		alive[RANGES];	/* from before it is added until it was taken */
	_Atomic unsigned int	users[RANGES];	/* who may look at it */
	_Atomic unsigned int	found, taken, wrong;
	_Atomic bool		over;
} race;

static uint32_t random_below(uint32_t *state, uint32_t n)
{
	*state = *state * 1664525 + 1013904223;
	return (*state >> 8) % n;
}

static void remove_found(unsigned int i, const struct range *r)
{
	if (!table_take(r))
		return;
	/* In this order: once it is not alive the writer adds it anew. */
	if (atomic_load(&race.users[i]) || !atomic_exchange(&race.alive[i], false))
		atomic_fetch_add(&race.wrong, 1);
	atomic_fetch_add(&race.taken, 1);
}

/* What is found is whole, and stays as long as it is in use. */
static void use(unsigned int i, const struct range *r)
{
	struct range wanted = range_of(i, 2);

	atomic_fetch_add(&race.users[i], 1);
	if (!same(r, &wanted) || !atomic_load(&race.alive[i]))
		atomic_fetch_add(&race.wrong, 1);
	sched_yield();
	if (!atomic_load(&race.alive[i]))
		atomic_fetch_add(&race.wrong, 1);
	atomic_fetch_sub(&race.users[i], 1);
}

static void *reading(void *arg)
{
	uint32_t state = (uint32_t)(uintptr_t)arg;

	while (!atomic_load(&race.over)) {
		struct range from = range_of(random_below(&state, RANGES), 2), r;
		unsigned int i;

		if (!table_next(from.start, UINTPTR_MAX, &r))
			continue;
		atomic_fetch_add(&race.found, 1);
		i = (unsigned int)((char *)r.map - maps);
		use(i, &r);
		if (random_below(&state, 8))
			table_put(&r);
		else
			remove_found(i, &r);
	}
	return NULL;
}

static void writing(uint32_t state)
{
	for (unsigned int round = 0; round < ROUNDS || atomic_load(&race.found) < FOUND_MIN; round++) {
		unsigned int i = random_below(&state, RANGES);
		struct range r = range_of(i, 2), found;

		if (!atomic_exchange(&race.alive[i], true))
			add(&r);
		else if (table_next(r.start, r.end, &found))
			remove_found(i, &found);
	}
}

START_TEST(nobody_uses_what_was_taken)
{
	pthread_t reader[READERS];
	struct range r;

	for (unsigned int i = 0; i < READERS; i++)
		ck_assert_int_eq(pthread_create(&reader[i], NULL, reading, (void *)(uintptr_t)(i + 1)), 0);
	writing(4711);
	atomic_store(&race.over, true);
	for (unsigned int i = 0; i < READERS; i++)
		pthread_join(reader[i], NULL);
	ck_assert_uint_eq(atomic_load(&race.wrong), 0);
	ck_assert_uint_gt(atomic_load(&race.taken), 0);
	for (unsigned int i = 0; i < RANGES; i++) {
		r = range_of(i, 2);
		if (atomic_load(&race.alive[i]))
			take(&r);
	}
	expect_none(0, UINTPTR_MAX);
}
END_TEST

static Suite *table_suite(void)
{
	Suite *s = suite_create("preload_table");
	TCase *tc = tcase_create("table");

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, an_empty_table_has_nothing);
	tcase_add_test(tc, any_part_of_a_range_finds_it);
	tcase_add_test(tc, what_is_beside_a_range_does_not);
	tcase_add_test(tc, the_first_of_several_is_found);
	tcase_add_test(tc, ranges_may_touch);
	tcase_add_test(tc, without_memory_nothing_changes);
	tcase_add_test(tc, many_are_all_found_and_removed);
	tcase_add_test(tc, who_takes_a_range_waits_for_those_who_use_it);
	tcase_add_test(tc, one_of_two_who_take_a_range_has_it);
	tcase_add_test(tc, parts_come_in_place_of_a_range);
	tcase_add_test(tc, there_is_room_for_the_parts);
	tcase_add_test(tc, who_looks_for_what_is_owned_waits_for_what_replaces_it);
	tcase_add_test(tc, the_table_may_change_while_somebody_waits);
	tcase_add_test(tc, what_other_threads_use_is_in_nobody_s_use_in_a_child);
	tcase_add_test(tc, a_child_has_what_replaces_a_range_that_is_being_cut);
	tcase_add_test(tc, nobody_uses_what_was_taken);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return unit_run(table_suite());
}
