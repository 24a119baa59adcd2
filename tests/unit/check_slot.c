/*
 * lib/util/slot: each living thread has a number of its own while there are enough, and the two fences order a
 * store before a load on both sides.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"
#include "util/slot.h"

#define EXTRA	40

struct crowd {
	_Atomic unsigned int	users[SLOT_MAX];
	_Atomic unsigned int	arrived;
	_Atomic bool		go;
};

static void *take_a_number(void *arg)
{
	struct crowd *c = arg;
	unsigned int n = slot();

	if (n != slot() || n >= SLOT_MAX)
		n = 0;	/* is the main thread's, and will be found there twice */
	atomic_fetch_add(&c->users[n], 1);
	atomic_fetch_add(&c->arrived, 1);
	while (!atomic_load(&c->go))
		sched_yield();
	return NULL;
}

static void gather(struct crowd *c, pthread_t *threads, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_a_number, c), 0);
	while (atomic_load(&c->arrived) < n)
		sched_yield();
	atomic_store(&c->go, true);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

START_TEST(numbers_are_one_thread_s_each_until_they_are_all_taken)
{
	struct crowd c = { .arrived = 0 };
	pthread_t threads[SLOT_MAX + EXTRA];

	ck_assert_uint_eq(slot(), 0);
	gather(&c, threads, SLOT_MAX + EXTRA);
	ck_assert_uint_eq(c.users[0], 0);
	for (unsigned int n = 1; n < SLOT_SHARED; n++)
		ck_assert_uint_eq(c.users[n], 1);
	ck_assert_uint_eq(c.users[SLOT_SHARED], EXTRA + 2);
	ck_assert(slot_shared(SLOT_SHARED) && !slot_shared(0));
}
END_TEST

START_TEST(numbers_of_ended_threads_are_given_again)
{
	pthread_t threads[8];

	slot();
	for (unsigned int round = 0; round < 100; round++) {
		struct crowd c = { .arrived = 0 };

		gather(&c, threads, 8);
		for (unsigned int n = 1; n <= 8; n++)
			ck_assert_uint_eq(c.users[n], 1);
	}
}
END_TEST

/* Each side stores, fences, and looks at the other's: that both see nothing must not be. */
#define ROUNDS	50000

struct sides {
	_Atomic unsigned int	light, heavy;	/* the round each has stored */
	unsigned char		saw[ROUNDS + 1];
	_Atomic unsigned int	done;
};

/* Not by yielding alone: both sides are to run at the same time. */
static void wait_for(_Atomic unsigned int *word, unsigned int n)
{
	for (unsigned int spins = 1; atomic_load(word) != n; spins++)
		if (spins % 2048 == 0)
			sched_yield();
}

static void *light_side(void *arg)
{
	struct sides *s = arg;

	slot();
	for (unsigned int n = 1; n <= ROUNDS; n++) {
		wait_for(&s->done, n - 1);
		atomic_store_explicit(&s->light, n, memory_order_relaxed);
		fence_light();
		s->saw[n] = atomic_load_explicit(&s->heavy, memory_order_relaxed) >= n;
	}
	return NULL;
}

START_TEST(one_of_two_sees_the_other)
{
	static struct sides s;
	unsigned int wrong = 0;
	unsigned char saw[ROUNDS + 1];
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, light_side, &s), 0);
	for (unsigned int n = 1; n <= ROUNDS; n++) {
		for (volatile unsigned int spin = n % 32; spin; spin--)
			;
		atomic_store_explicit(&s.heavy, n, memory_order_relaxed);
		fence_heavy();
		saw[n] = atomic_load_explicit(&s.light, memory_order_relaxed) == n;
		wait_for(&s.light, n);
		atomic_store(&s.done, n);
	}
	pthread_join(thread, NULL);
	for (unsigned int n = 1; n <= ROUNDS; n++)
		wrong += !saw[n] && !s.saw[n];
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* The registration for membarrier(2) is the address space's: a child must have it too. */
START_TEST(fences_work_in_a_child)
{
	int status;
	pid_t pid;

	slot();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(fence_heavy() ? EXIT_SUCCESS : EXIT_FAILURE);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

static Suite *slot_suite(void)
{
	Suite *s = suite_create("slot");
	TCase *tc = tcase_create("slot");

	tcase_add_test(tc, numbers_are_one_thread_s_each_until_they_are_all_taken);
	tcase_add_test(tc, numbers_of_ended_threads_are_given_again);
	tcase_add_test(tc, one_of_two_sees_the_other);
	tcase_add_test(tc, fences_work_in_a_child);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return unit_run(slot_suite());
}
