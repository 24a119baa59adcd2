/*
 * The trace that the emulation records and the crash states it makes of it: where a cut may be, that it is the same
 * again, planted faults, and a long random trace held against a plain model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "emu_cut.h"

START_TEST(nothing_is_recorded_before_record)
{
	struct region *q = emu_open(SIZE, NULL);
	uint64_t one = 1;

	persist_store(q, region_at(q, 0), &one, 8);
	ck_assert_uint_eq(emu_events(q), 0);
	emu_record(q);
	emu_crash_begin(q, 0);
	ck_assert_uint_eq(emu_crash_lines(q), 0);
	emu_crash_subset(q, 0, image);
	ck_assert_uint_eq(in_image(0), 1);
	emu_close(q);
}
END_TEST

START_TEST(record_anew_takes_all_as_durable)
{
	store(0, 1);
	emu_record(r);
	ck_assert_uint_eq(emu_events(r), 0);
	ck_assert_uint_eq(oldest(0), 1);
	fence();
	ck_assert_uint_eq(lines_now(), 0);
}
END_TEST

START_TEST(region_starts_with_the_image_given)
{
	struct region *q;

	memset(image, 0x5a, SIZE);
	q = emu_open(SIZE, image);
	ck_assert_mem_eq(q->base, image, SIZE);
	ck_assert_uint_eq(q->size, SIZE);
	ck_assert_int_eq(q->kind, REGION_EMU);
	image[0] = 1;
	ck_assert_int_eq(q->base[0], 0x5a);
	emu_close(q);
}
END_TEST

START_TEST(fences_are_found_with_their_points)
{
	enum persist_point point = PERSIST_POINTS;

	store(0, 1);
	flush(0);
	persist_fence(r, PERSIST_TAIL);
	ck_assert_uint_eq(emu_events(r), 3);
	ck_assert(!emu_is_fence(r, 0, NULL));
	ck_assert(!emu_is_fence(r, 1, &point));
	ck_assert_int_eq(point, PERSIST_POINTS);
	ck_assert(emu_is_fence(r, 2, &point));
	ck_assert_int_eq(point, PERSIST_TAIL);
}
END_TEST

START_TEST(crash_is_after_the_given_number_of_events)
{
	store(0, 1);
	flush(0);
	fence();
	emu_crash_begin(r, 0);
	ck_assert_uint_eq(emu_crash_lines(r), 0);
	emu_crash_begin(r, 2);
	ck_assert_uint_eq(emu_crash_lines(r), 1);
	emu_crash_begin(r, 3);
	ck_assert_uint_eq(emu_crash_lines(r), 0);
	emu_crash_begin(r, 1);
	ck_assert_uint_eq(emu_crash_lines(r), 1);
	emu_crash_subset(r, 0, image);
	ck_assert_uint_eq(in_image(0), 0);
}
END_TEST

START_TEST(mask_bits_are_lines_in_rising_order)
{
	store(5 * LINE, 5);
	store(LINE, 1);
	store(9 * LINE, 9);
	emu_crash_begin(r, emu_events(r));
	ck_assert_uint_eq(emu_crash_lines(r), 3);
	emu_crash_subset(r, 1, image);
	ck_assert_uint_eq(in_image(LINE), 1);
	ck_assert_uint_eq(in_image(5 * LINE), 0);
	emu_crash_subset(r, 6, image);
	ck_assert_uint_eq(in_image(LINE), 0);
	ck_assert_uint_eq(in_image(5 * LINE), 5);
	ck_assert_uint_eq(in_image(9 * LINE), 9);
}
END_TEST

START_TEST(storing_what_is_durable_makes_no_doubt)
{
	store(0, 0);
	persist_zero_nt(r, region_at(r, LINE), LINE);
	ck_assert_uint_eq(lines_now(), 0);
}
END_TEST

START_TEST(same_seed_gives_the_same_image)
{
	static unsigned char again[SIZE];
	uint64_t i;

	for (i = 0; i < 200; i++)
		store(i * 8, i);
	emu_crash_begin(r, 150);
	emu_crash_random(r, 42, image);
	emu_crash_begin(r, 10);
	emu_crash_begin(r, 150);
	emu_crash_random(r, 42, again);
	ck_assert_mem_eq(image, again, SIZE);
	emu_crash_random(r, 43, again);
	ck_assert_mem_ne(image, again, SIZE);
}
END_TEST

START_TEST(recording_goes_on_after_a_crash_state)
{
	store(0, 1);
	ck_assert_uint_eq(oldest(0), 0);
	flush(0);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
}
END_TEST

START_TEST(planted_missing_fence_drops_that_point_only)
{
	emu_plant_missing_fence(r, PERSIST_COMMIT);
	store_nt(0, 1);
	persist_fence(r, PERSIST_COMMIT);
	ck_assert_uint_eq(oldest(0), 0);
	persist_fence(r, PERSIST_DATA);
	ck_assert_uint_eq(oldest(0), 1);
	emu_plant_missing_fence(r, -1);
	store_nt(0, 2);
	persist_fence(r, PERSIST_COMMIT);
	ck_assert_uint_eq(oldest(0), 2);
}
END_TEST

START_TEST(planted_missing_flush_drops_flushes)
{
	emu_plant_missing_flush(r, true);
	store(0, 1);
	flush(0);
	fence();
	ck_assert_uint_eq(oldest(0), 0);
	emu_plant_missing_flush(r, false);
	flush(0);
	fence();
	ck_assert_uint_eq(oldest(0), 1);
}
END_TEST

/* ---- At length ----------------------------------------------------------------------------------------- */

/*
 * A plain model of one thread: a word's candidates are its durable value and all later ones. Held against the
 * emulation at each event of a random trace, moving forward and, at the end, from the start again.
 */
#define WORDS	24U
#define STEPS	3000U

struct word {
	uint64_t	value[STEPS];	/* [0] is durable */
	unsigned int	count;
	unsigned int	flushed;	/* values up to this one become durable at the next fence */
};

static struct word model[WORDS];

static void model_value(struct word *w, uint64_t v, bool nt)
{
	w->value[w->count++] = v;
	if (nt)
		w->flushed = w->count - 1;
}

static void model_fence(void)
{
	struct word *w;

	for (w = model; w < model + WORDS; w++) {
		memmove(w->value, w->value + w->flushed, (w->count - w->flushed) * sizeof(w->value[0]));
		w->count -= w->flushed;
		w->flushed = 0;
	}
}

static void random_step(uint64_t step)
{
	uint64_t n = (uint64_t)random() % WORDS, i;

	switch (random() % 8) {
	case 0: case 1: case 2:
		store(n * 8, step);
		model_value(&model[n], step, false);
		break;
	case 3: case 4:
		store_nt(n * 8, step);
		model_value(&model[n], step, true);
		break;
	case 5: case 6:
		flush(n * 8);
		for (i = n / 8 * 8; i < n / 8 * 8 + 8; i++)
			model[i].flushed = model[i].count - 1;
		break;
	default:
		fence();
		model_fence();
	}
}

static bool model_has(const struct word *w, uint64_t v)
{
	unsigned int i;

	for (i = 0; i < w->count; i++)
		if (w->value[i] == v)
			return true;
	return false;
}

START_TEST(random_trace_agrees_with_a_plain_model)
{
	unsigned int seed = (unsigned int)time(NULL), n;
	uint64_t step;

	printf("emu seed %u\n", seed);
	srandom(seed);
	for (n = 0; n < WORDS; n++)
		model[n] = (struct word){ .count = 1 };
	for (step = 1; step < STEPS; step++) {
		random_step(step);
		emu_crash_begin(r, step);
		emu_crash_random(r, step, image);
		for (n = 0; n < WORDS; n++)
			ck_assert_msg(model_has(&model[n], in_image(n * 8)), "word %u, step %lu", n,
				      (unsigned long)step);
		emu_crash_subset(r, 0, image);
		for (n = 0; n < WORDS; n++)
			ck_assert_uint_eq(in_image(n * 8), model[n].value[0]);
		emu_crash_subset(r, ~0ULL, image);
		ck_assert_mem_eq(image, r->base, WORDS * 8);
	}
	emu_crash_begin(r, 0);
	emu_crash_begin(r, STEPS - 1);
	emu_crash_subset(r, 0, image);
	for (n = 0; n < WORDS; n++)
		ck_assert_uint_eq(in_image(n * 8), model[n].value[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("emu_trace");
	TCase *tc = tcase_create("traces");

	tcase_add_checked_fixture(tc, emu_cut_setup, emu_cut_teardown);
	tcase_add_test(tc, nothing_is_recorded_before_record);
	tcase_add_test(tc, record_anew_takes_all_as_durable);
	tcase_add_test(tc, region_starts_with_the_image_given);
	tcase_add_test(tc, fences_are_found_with_their_points);
	tcase_add_test(tc, crash_is_after_the_given_number_of_events);
	tcase_add_test(tc, mask_bits_are_lines_in_rising_order);
	tcase_add_test(tc, storing_what_is_durable_makes_no_doubt);
	tcase_add_test(tc, same_seed_gives_the_same_image);
	tcase_add_test(tc, recording_goes_on_after_a_crash_state);
	tcase_add_test(tc, planted_missing_fence_drops_that_point_only);
	tcase_add_test(tc, planted_missing_flush_drops_flushes);
	tcase_add_test(tc, random_trace_agrees_with_a_plain_model);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
