/*
 * The rules of pmem/emu.h, one by one: what may be on the media after a power cut, and what may not. (The trace
 * and the cuts of it: check_emu_trace.c.)
 *
 * Threads other than the test's own act one at a time (they are joined), so every trace here but the last test's
 * is the same in each run.
 */
#include <pthread.h>
#include <string.h>

#include "emu_cut.h"

/* ---- Plain stores -------------------------------------------------------------------------------------- */

START_TEST(stores_are_visible_at_once)
{
	char text[100];

	memset(text, 'a', sizeof(text));
	persist_store(r, region_at(r, 3), text, sizeof(text));
	ck_assert_mem_eq(region_at(r, 3), text, sizeof(text));
	persist_store_nt(r, region_at(r, 1001), text, sizeof(text));
	ck_assert_mem_eq(region_at(r, 1001), text, sizeof(text));
	persist_zero_nt(r, region_at(r, 1002), 98);
	ck_assert_uint_eq(*(char *)region_at(r, 1001), 'a');
	ck_assert_uint_eq(*(char *)region_at(r, 1002), 0);
	ck_assert_uint_eq(*(char *)region_at(r, 1100), 'a');
}
END_TEST

START_TEST(plain_store_may_be_lost_or_evicted)
{
	store(0, 1);
	ck_assert_uint_eq(lines_now(), 1);
	ck_assert_uint_eq(oldest(0), 0);
	ck_assert_uint_eq(newest(0), 1);
}
END_TEST

START_TEST(fence_without_flush_promises_nothing_of_plain_stores)
{
	store(0, 1);
	fence();
	ck_assert_uint_eq(oldest(0), 0);
}
END_TEST

START_TEST(flush_without_fence_promises_nothing)
{
	store(0, 1);
	flush(0);
	ck_assert_uint_eq(oldest(0), 0);
	ck_assert_uint_eq(newest(0), 1);
}
END_TEST

START_TEST(flush_and_fence_make_durable)
{
	store(0, 1);
	flush(0);
	fence();
	ck_assert_uint_eq(lines_now(), 0);
	ck_assert_uint_eq(oldest(0), 1);
}
END_TEST

START_TEST(flush_takes_the_whole_line_and_no_other)
{
	store(LINE, 1);
	store(LINE + 56, 2);
	store(2 * LINE, 3);
	store(LINE - 8, 4);
	persist_flush(r, region_at(r, LINE + 20), 1);
	fence();
	ck_assert_uint_eq(oldest(LINE), 1);
	ck_assert_uint_eq(in_image(LINE + 56), 2);
	ck_assert_uint_eq(in_image(2 * LINE), 0);
	ck_assert_uint_eq(in_image(LINE - 8), 0);
}
END_TEST

START_TEST(flush_of_a_range_takes_every_line_it_touches)
{
	store(0, 1);
	store(LINE, 2);
	store(2 * LINE, 3);
	persist_flush(r, region_at(r, LINE - 1), LINE + 2);
	fence();
	ck_assert_uint_eq(lines_now(), 0);
}
END_TEST

START_TEST(flush_captures_the_value_at_the_flush)
{
	store(0, 1);
	flush(0);
	store(0, 2);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
	ck_assert_uint_eq(newest(0), 2);
	ck_assert(!possible(0, 0));
}
END_TEST

START_TEST(store_after_the_flush_is_not_covered_by_it)
{
	flush(0);
	store(0, 1);
	fence();
	ck_assert_uint_eq(oldest(0), 0);
}
END_TEST

START_TEST(store_after_the_fence_is_in_doubt_again)
{
	store(0, 1);
	flush(0);
	fence();
	store(0, 2);
	ck_assert_uint_eq(oldest(0), 1);
	ck_assert_uint_eq(newest(0), 2);
}
END_TEST

START_TEST(flush_counts_for_one_fence_only)
{
	store(0, 1);
	flush(0);
	fence();
	store(0, 2);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
}
END_TEST

START_TEST(word_may_hold_any_value_since_its_last_durable_one)
{
	store(0, 1);
	flush(0);
	fence();
	store(0, 2);
	store(0, 3);
	store(0, 4);
	ck_assert(possible(0, 1));
	ck_assert(possible(0, 2));
	ck_assert(possible(0, 3));
	ck_assert(possible(0, 4));
	ck_assert(!possible(0, 0));
}
END_TEST

START_TEST(line_is_torn_between_words)
{
	unsigned int mixes = 0;
	uint64_t seed;

	store(0, 1);
	store(8, 1);
	emu_crash_begin(r, emu_events(r));
	for (seed = 0; seed < 400; seed++) {
		emu_crash_random(r, seed, image);
		mixes |= 1U << (2 * in_image(0) + in_image(8));
	}
	ck_assert_uint_eq(mixes, 0xf);
}
END_TEST

START_TEST(aligned_word_is_never_torn)
{
	uint64_t seed;

	store(0, ~0ULL);
	emu_crash_begin(r, emu_events(r));
	for (seed = 0; seed < 400; seed++) {
		emu_crash_random(r, seed, image);
		ck_assert(in_image(0) == 0 || in_image(0) == ~0ULL);
	}
}
END_TEST

START_TEST(unaligned_store_is_torn_where_words_meet)
{
	unsigned char bytes[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };

	persist_store(r, region_at(r, 4), bytes, sizeof(bytes));
	ck_assert(possible(0, 0x0101010100000000ULL));
	ck_assert(possible(0, 0));
	ck_assert(possible(8, 0x0000000001010101ULL));
	ck_assert(!possible(0, 0x0000000100000000ULL));
	ck_assert_uint_eq(lines_now(), 1);
}
END_TEST

START_TEST(part_of_a_word_keeps_its_other_bytes)
{
	unsigned char byte = 0xee;

	store(0, 0x1111111111111111ULL);
	persist_store(r, region_at(r, 2), &byte, 1);
	flush(0);
	fence();
	ck_assert_uint_eq(oldest(0), 0x1111111111ee1111ULL);
}
END_TEST

/* ---- Threads ------------------------------------------------------------------------------------------- */

/* What another thread does. */
struct deed {
	enum { PLAIN, NT, FLUSH, FENCE } what[4];
	int count;
	uint64_t off, value;
};

static void *act(void *arg)
{
	const struct deed *d = arg;
	int i;

	for (i = 0; i < d->count; i++) {
		switch (d->what[i]) {
		case PLAIN:
			store(d->off, d->value);
			break;
		case NT:
			store_nt(d->off, d->value);
			break;
		case FLUSH:
			flush(d->off);
			break;
		case FENCE:
			fence();
			break;
		}
	}
	return NULL;
}

static void other_thread(struct deed d)
{
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, act, &d), 0);
	pthread_join(t, NULL);
}

START_TEST(flush_makes_durable_what_another_thread_stored)
{
	other_thread((struct deed){ { PLAIN }, 1, 0, 1 });
	flush(0);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
}
END_TEST

START_TEST(fence_of_another_thread_does_not_complete_a_flush)
{
	store(0, 1);
	flush(0);
	other_thread((struct deed){ { FENCE }, 1, 0, 0 });
	ck_assert_uint_eq(oldest(0), 0);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
}
END_TEST

START_TEST(threads_are_told_apart_though_their_ids_are_reused)
{
	other_thread((struct deed){ { PLAIN, FLUSH }, 2, 0, 1 });
	other_thread((struct deed){ { FENCE }, 1, 0, 0 });
	ck_assert_uint_eq(oldest(0), 0);
}
END_TEST

/* ---- Non-temporal stores ------------------------------------------------------------------------------- */

START_TEST(nt_store_needs_its_fence_but_no_flush)
{
	store_nt(0, 1);
	ck_assert_uint_eq(oldest(0), 0);
	ck_assert_uint_eq(newest(0), 1);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
	ck_assert_uint_eq(lines_now(), 0);
}
END_TEST

START_TEST(nt_store_is_lost_despite_another_threads_flush_and_fence)
{
	store_nt(0, 1);
	other_thread((struct deed){ { FLUSH, FENCE }, 2, 0, 0 });
	ck_assert_uint_eq(oldest(0), 0);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
}
END_TEST

START_TEST(flush_behind_anothers_nt_store_takes_the_plain_store_before_it)
{
	store(0, 1);
	other_thread((struct deed){ { NT }, 1, 0, 2 });
	flush(0);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
	ck_assert_uint_eq(newest(0), 2);
	ck_assert(!possible(0, 0));
}
END_TEST

START_TEST(nt_store_of_a_dead_thread_stays_in_doubt)
{
	other_thread((struct deed){ { NT }, 1, 0, 1 });
	flush(0);
	fence();
	fence();
	ck_assert_uint_eq(oldest(0), 0);
	ck_assert_uint_eq(newest(0), 1);
}
END_TEST

START_TEST(own_nt_store_is_not_put_back_by_a_flush_before_it)
{
	store(0, 1);
	flush(0);
	store_nt(0, 2);
	fence();
	ck_assert_uint_eq(oldest(0), 2);
	ck_assert_uint_eq(lines_now(), 0);
}
END_TEST

START_TEST(late_fence_of_an_nt_store_does_not_undo_newer_durable_values)
{
	store_nt(0, 1);
	other_thread((struct deed){ { PLAIN, FLUSH, FENCE }, 3, 0, 2 });
	ck_assert_uint_eq(oldest(0), 2);
	fence();
	ck_assert_uint_eq(oldest(0), 2);
	ck_assert_uint_eq(lines_now(), 0);
}
END_TEST

START_TEST(plain_store_over_an_nt_store_is_in_doubt_after_its_fence)
{
	store_nt(0, 1);
	store(0, 2);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
	ck_assert_uint_eq(newest(0), 2);
}
END_TEST

START_TEST(zeros_are_nt_stores)
{
	store(0, 1);
	store(LINE, 1);
	persist_flush(r, region_at(r, 0), 2 * LINE);
	fence();
	persist_zero_nt(r, region_at(r, 0), 2 * LINE);
	ck_assert_uint_eq(lines_now(), 2);
	ck_assert_uint_eq(oldest(0), 1);
	ck_assert_uint_eq(newest(LINE), 0);
	fence();
	ck_assert_uint_eq(oldest(0), 0);
	ck_assert_uint_eq(in_image(LINE), 0);
}
END_TEST

#define THREADS	4

static void *store_much(void *arg)
{
	uint64_t base = (uint64_t)(uintptr_t)arg * 4096, i;

	for (i = 0; i < 512; i++) {
		store(base + i * 8, i + 1);
		flush(base + i * 8);
		if (i % 16 == 15)
			fence();
	}
	return NULL;
}

START_TEST(threads_record_at_the_same_time)
{
	pthread_t thread[THREADS];
	uintptr_t i;

	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, store_much, (void *)i), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_eq(emu_events(r), THREADS * (512 * 2 + 32));
	ck_assert_uint_eq(lines_now(), 0);
	emu_crash_subset(r, 0, image);
	ck_assert_mem_eq(image, r->base, SIZE);
}
END_TEST

static TCase *rules(void)
{
	TCase *tc = tcase_create("rules");

	tcase_add_checked_fixture(tc, emu_cut_setup, emu_cut_teardown);
	tcase_add_test(tc, stores_are_visible_at_once);
	tcase_add_test(tc, plain_store_may_be_lost_or_evicted);
	tcase_add_test(tc, fence_without_flush_promises_nothing_of_plain_stores);
	tcase_add_test(tc, flush_without_fence_promises_nothing);
	tcase_add_test(tc, flush_and_fence_make_durable);
	tcase_add_test(tc, flush_takes_the_whole_line_and_no_other);
	tcase_add_test(tc, flush_of_a_range_takes_every_line_it_touches);
	tcase_add_test(tc, flush_captures_the_value_at_the_flush);
	tcase_add_test(tc, store_after_the_flush_is_not_covered_by_it);
	tcase_add_test(tc, store_after_the_fence_is_in_doubt_again);
	tcase_add_test(tc, flush_counts_for_one_fence_only);
	tcase_add_test(tc, word_may_hold_any_value_since_its_last_durable_one);
	tcase_add_test(tc, line_is_torn_between_words);
	tcase_add_test(tc, aligned_word_is_never_torn);
	tcase_add_test(tc, unaligned_store_is_torn_where_words_meet);
	tcase_add_test(tc, part_of_a_word_keeps_its_other_bytes);
	return tc;
}

static TCase *threads(void)
{
	TCase *tc = tcase_create("threads");

	tcase_add_checked_fixture(tc, emu_cut_setup, emu_cut_teardown);
	tcase_add_test(tc, flush_makes_durable_what_another_thread_stored);
	tcase_add_test(tc, fence_of_another_thread_does_not_complete_a_flush);
	tcase_add_test(tc, threads_are_told_apart_though_their_ids_are_reused);
	tcase_add_test(tc, nt_store_needs_its_fence_but_no_flush);
	tcase_add_test(tc, nt_store_is_lost_despite_another_threads_flush_and_fence);
	tcase_add_test(tc, flush_behind_anothers_nt_store_takes_the_plain_store_before_it);
	tcase_add_test(tc, nt_store_of_a_dead_thread_stays_in_doubt);
	tcase_add_test(tc, own_nt_store_is_not_put_back_by_a_flush_before_it);
	tcase_add_test(tc, late_fence_of_an_nt_store_does_not_undo_newer_durable_values);
	tcase_add_test(tc, plain_store_over_an_nt_store_is_in_doubt_after_its_fence);
	tcase_add_test(tc, zeros_are_nt_stores);
	tcase_add_test(tc, threads_record_at_the_same_time);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("emu");

	suite_add_tcase(s, rules());
	suite_add_tcase(s, threads());
	return unit_run(s);
}
