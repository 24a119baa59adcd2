/*
 * Quarantine: what a client mapped comes back to the allocator late, everything else at once; nothing is lost or freed
 * twice; who finds no room gets what rests.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/quarantine.h"
#include "meta/balloc.h"
#include "meta/pool.h"
#include "unit.h"
#include "util/clock.h"
#include "util/fault.h"

#define BLOCKS	8192U
#define REST	1000U

static struct pool pool;
static struct quarantine *q;
static _Atomic uint64_t shown;

/* All blocks are in use. */
static void open_ms(unsigned int rest_ms)
{
	memset(&pool, 0, sizeof(pool));
	pool.super.blocks = BLOCKS;
	pool.balloc = balloc_new(BLOCKS);
	ck_assert_ptr_nonnull(pool.balloc);
	ck_assert_int_eq(balloc_mark(pool.balloc, 0, BLOCKS), 0);
	ck_assert_int_eq(balloc_start(pool.balloc, 0), 0);
	ck_assert_int_eq(quarantine_new(&q, &pool, rest_ms, &shown), 0);
}

static void open_all(void)
{
	open_ms(REST);
}

static void close_all(void)
{
	quarantine_end(q);
	quarantine_delete(q);
	balloc_delete(pool.balloc);
}

static uint64_t free_blocks(void)
{
	struct balloc_stat st;

	balloc_stat(pool.balloc, &st);
	return st.free;
}

static void expect(uint64_t unused, uint64_t resting)
{
	ck_assert_uint_eq(free_blocks(), unused);
	ck_assert_uint_eq(quarantine_count(q), resting);
	ck_assert_uint_eq(shown, resting);
	ck_assert_int_eq(pool.failed, 0);
}

START_TEST(only_what_was_mapped_rests)
{
	quarantine_mark(q, 100, 50);
	quarantine_free(q, 90, 100, 5000);
	expect(50, 50);
	ck_assert_uint_eq(quarantine_expire(q, 5000 + REST - 1), 5000 + REST);
	expect(50, 50);
	ck_assert_uint_eq(quarantine_expire(q, 5000 + REST), 0);
	expect(100, 0);
}
END_TEST

/* A block that was given out again is as new. */
START_TEST(a_mark_ends_with_the_block)
{
	struct block_run run;

	quarantine_mark(q, 64, 1);
	quarantine_free(q, 64, 1, 1);
	ck_assert_uint_eq(quarantine_expire(q, 1 + REST), 0);
	ck_assert_int_eq(balloc_alloc(pool.balloc, 1, 0, 0, 0, &run), 0);
	ck_assert_uint_eq(run.start, 64);
	quarantine_free(q, 64, 1, 2 * REST);
	expect(1, 0);
}
END_TEST

/* Between once and twice the time, whenever they came. */
START_TEST(the_young_wait_for_the_old)
{
	quarantine_mark(q, 0, BLOCKS);
	quarantine_free(q, 10, 1, 1000);
	quarantine_free(q, 8000, 2, 1001);
	quarantine_free(q, 3, 1, 1999);
	expect(0, 4);
	ck_assert_uint_eq(quarantine_expire(q, 2000), 3000);
	expect(1, 3);
	ck_assert_uint_eq(quarantine_expire(q, 2999), 3000);
	expect(1, 3);
	quarantine_free(q, 4, 1, 2999);
	ck_assert_uint_eq(quarantine_expire(q, 3000), 4000);
	expect(4, 1);
	ck_assert_uint_eq(quarantine_expire(q, 9000), 0);
	expect(5, 0);
}
END_TEST

START_TEST(freed_twice_fails_the_pool)
{
	quarantine_mark(q, 7, 2);
	quarantine_free(q, 7, 2, 1);
	quarantine_free(q, 8, 1, 1);
	ck_assert_int_ne(pool.failed, 0);
	ck_assert_uint_eq(quarantine_count(q), 2);
}
END_TEST

START_TEST(freed_twice_at_once_fails_the_pool)
{
	quarantine_free(q, 7, 2, 1);
	ck_assert_int_eq(pool.failed, 0);
	quarantine_free(q, 8, 1, 1);
	ck_assert_int_ne(pool.failed, 0);
}
END_TEST

START_TEST(the_end_frees_all)
{
	quarantine_mark(q, 0, 100);
	quarantine_free(q, 0, 50, 1000);
	quarantine_free(q, 60, 10, 1500);
	expect(0, 60);
	quarantine_end(q);
	expect(60, 0);
	quarantine_free(q, 99, 1, 2000);
	expect(61, 0);
}
END_TEST

START_TEST(zero_is_no_rest)
{
	open_ms(0);
	quarantine_mark(q, 0, BLOCKS);
	quarantine_free(q, 0, BLOCKS, 1);
	expect(BLOCKS, 0);
	close_all();
}
END_TEST

START_TEST(without_memory)
{
	for (unsigned long n = 1; n <= 4; n++) {
		fault_arm(FAULT_ALLOC, n);
		ck_assert_int_eq(quarantine_new(&q, &pool, REST, NULL), -ENOMEM);
	}
	fault_disarm(FAULT_ALLOC);
}
END_TEST

/* The thread ends the rest, and who waits for it has room then. */
START_TEST(who_waits_gets_it)
{
	uint64_t begin = clock_ms();

	open_ms(50);
	ck_assert_int_eq(quarantine_start(q), 0);
	ck_assert_int_eq(quarantine_wait(q), -ENOSPC);
	quarantine_mark(q, 0, 20);
	quarantine_free(q, 0, 20, clock_ms());
	expect(0, 20);
	ck_assert_int_eq(quarantine_wait(q), 0);
	expect(20, 0);
	ck_assert_uint_ge(clock_ms() - begin, 50);
	ck_assert_int_eq(quarantine_wait(q), -ENOSPC);
	close_all();
}
END_TEST

/* ---- Against a model: what every block is, and since when ---------------------------------------------------- */

enum state { USED, MAPPED, RESTS, UNUSED };

static struct {
	enum state	state;
	uint64_t	since;
} model[BLOCKS];

static void model_expire(uint64_t now)
{
	uint64_t resting = 0, unused = 0, first = 0, run = 0;

	quarantine_expire(q, now);
	resting = quarantine_count(q);
	unused = free_blocks();
	for (uint64_t b = 0; b < BLOCKS; b++) {
		if (model[b].state == RESTS && now - model[b].since < REST)
			first++;
		if (model[b].state == RESTS && now - model[b].since >= 2 * REST)
			model[b].state = UNUSED;
		run += model[b].state == RESTS || model[b].state == UNUSED;
	}
	/* What has rested less than once rests; what has rested twice does not; nothing is lost. */
	ck_assert_uint_le(first, resting);
	ck_assert_uint_eq(resting + unused, run);
}

START_TEST(random_frees_lose_nothing)
{
	uint64_t now = 1;

	srand(_i + 1);
	for (uint64_t b = 0; b < BLOCKS; b++)
		model[b].state = USED;
	for (int step = 0; step < 2000; step++) {
		uint64_t at = (uint64_t)rand() % BLOCKS, n = 1 + (uint64_t)rand() % 40;
		uint64_t end = at + n < BLOCKS ? at + n : BLOCKS;
		bool mark = rand() & 1;

		now += (uint64_t)rand() % 20;
		for (uint64_t b = at; b < end; b++) {
			if (model[b].state > MAPPED)
				continue;
			if (mark)
				quarantine_mark(q, b, 1);
			else
				quarantine_free(q, b, 1, now);
			if (mark)
				model[b].state = MAPPED;
			else
				model[b].state = model[b].state == MAPPED ? RESTS : UNUSED;
			model[b].since = now;
		}
		model_expire(now);
	}
	model_expire(now + 2 * REST);
	model_expire(now + 4 * REST);
	ck_assert_uint_eq(quarantine_count(q), 0);
	ck_assert_int_eq(pool.failed, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quarantine");
	TCase *c = tcase_create("with one"), *own = tcase_create("alone");

	tcase_add_checked_fixture(c, open_all, close_all);
	tcase_add_test(c, only_what_was_mapped_rests);
	tcase_add_test(c, a_mark_ends_with_the_block);
	tcase_add_test(c, the_young_wait_for_the_old);
	tcase_add_test(c, freed_twice_fails_the_pool);
	tcase_add_test(c, freed_twice_at_once_fails_the_pool);
	tcase_add_test(c, the_end_frees_all);
	tcase_add_loop_test(c, random_frees_lose_nothing, 0, 8);
	tcase_add_test(own, zero_is_no_rest);
	tcase_add_test(own, without_memory);
	tcase_add_test(own, who_waits_gets_it);
	suite_add_tcase(s, c);
	suite_add_tcase(s, own);
	return unit_run(s);
}
