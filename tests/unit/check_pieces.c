/*
 * Pieces of a mapped range: single changes by hand, then random ones against an array with an entry for each byte.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/pieces.h"
#include "unit.h"
#include "util/fault.h"

#define LENGTH	1000U

static struct pieces pieces;
static const char *const reasons[] = { NULL, "one reason", "another" };

static struct piece piece(uint64_t offset, uint64_t length, uint32_t kind)
{
	return (struct piece){ .offset = offset, .length = length, .kind = kind, .shift = 12 };
}

static void setup(void)
{
	struct piece whole = piece(0, LENGTH, 0);

	ck_assert_int_eq(pieces_init(&pieces, &whole), 0);
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	pieces_fini(&pieces);
}

static void set(uint64_t offset, uint64_t length, uint32_t kind)
{
	struct piece what = piece(offset, length, kind);

	ck_assert_int_eq(pieces_set(&pieces, &what), 0);
}

static void expect(size_t i, uint64_t offset, uint64_t length, uint32_t kind)
{
	ck_assert_uint_lt(i, pieces.count);
	ck_assert_uint_eq(pieces.piece[i].offset, offset);
	ck_assert_uint_eq(pieces.piece[i].length, length);
	ck_assert_uint_eq(pieces.piece[i].kind, kind);
}

START_TEST(a_new_range_is_one_piece)
{
	ck_assert_uint_eq(pieces.count, 1);
	expect(0, 0, LENGTH, 0);
	ck_assert_ptr_eq(pieces_at(&pieces, LENGTH - 1), &pieces.piece[0]);
	ck_assert_ptr_null(pieces_at(&pieces, LENGTH));
}
END_TEST

START_TEST(a_change_in_the_middle_makes_three)
{
	set(100, 50, 1);
	ck_assert_uint_eq(pieces.count, 3);
	expect(0, 0, 100, 0);
	expect(1, 100, 50, 1);
	expect(2, 150, LENGTH - 150, 0);
	ck_assert_ptr_eq(pieces_at(&pieces, 99), &pieces.piece[0]);
	ck_assert_ptr_eq(pieces_at(&pieces, 100), &pieces.piece[1]);
	ck_assert_ptr_eq(pieces_at(&pieces, 150), &pieces.piece[2]);
}
END_TEST

START_TEST(neighbours_that_are_alike_are_one)
{
	set(100, 50, 1);
	set(150, 50, 1);
	set(50, 50, 1);
	ck_assert_uint_eq(pieces.count, 3);
	expect(1, 50, 150, 1);
	set(0, 50, 1);
	set(200, LENGTH - 200, 1);
	ck_assert_uint_eq(pieces.count, 1);
	expect(0, 0, LENGTH, 1);
}
END_TEST

START_TEST(a_change_takes_the_place_of_what_it_covers)
{
	for (uint64_t at = 0; at < LENGTH; at += 100)
		set(at, 50, 1);
	ck_assert_uint_eq(pieces.count, 20);
	set(120, 700, 2);
	ck_assert_uint_eq(pieces.count, 8);
	expect(2, 100, 20, 1);
	expect(3, 120, 700, 2);
	expect(4, 820, 30, 1);
	set(0, LENGTH, 0);
	ck_assert_uint_eq(pieces.count, 1);
}
END_TEST

START_TEST(what_differs_in_reason_or_page_size_is_not_alike)
{
	struct piece what = piece(100, 100, 0);

	what.reason = reasons[1];
	ck_assert_int_eq(pieces_set(&pieces, &what), 0);
	ck_assert_uint_eq(pieces.count, 3);
	what = piece(200, 100, 0);
	what.shift = 21;
	ck_assert_int_eq(pieces_set(&pieces, &what), 0);
	ck_assert_uint_eq(pieces.count, 4);
}
END_TEST

START_TEST(all_at_once_needs_no_memory)
{
	struct piece what = piece(0, 0, 3);

	set(10, 10, 1);
	fault_arm_always(FAULT_ALLOC);
	pieces_set_all(&pieces, &what);
	ck_assert_uint_eq(pieces.count, 1);
	expect(0, 0, LENGTH, 3);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	struct piece what = piece(0, 1, 1);
	uint64_t at = 1;
	size_t before = 0;
	int rc = 0;

	fault_arm_always(FAULT_ALLOC);
	for (; !rc && at < LENGTH - 1; at += 2) {
		before = pieces.count;
		what.offset = at;
		rc = pieces_set(&pieces, &what);
	}
	ck_assert_int_eq(rc, -ENOMEM);
	ck_assert_uint_eq(pieces.count, before);
	expect(before - 1, at - 3, LENGTH - (at - 3), 0);
	fault_disarm(FAULT_ALLOC);
	ck_assert_int_eq(pieces_set(&pieces, &what), 0);
	ck_assert_uint_eq(pieces.count, before + 2);
}
END_TEST

START_TEST(no_memory_for_a_new_range)
{
	struct piece whole = piece(0, LENGTH, 0);
	struct pieces none = { NULL, 0, 0 };

	fault_arm(FAULT_ALLOC, 1);
	ck_assert_int_eq(pieces_init(&none, &whole), -ENOMEM);
	pieces_fini(&none);
}
END_TEST

/* ---- Against an array of bytes ---------------------------------------------------------------------------- */

static uint8_t model[LENGTH];	/* kind, and 4 times the index of the reason */

static void compare(void)
{
	uint64_t at = 0;
	uint32_t last = UINT32_MAX;

	for (size_t i = 0; i < pieces.count; i++) {
		const struct piece *p = &pieces.piece[i];
		uint32_t reason = 0, differ = 0;

		while (reasons[reason] != p->reason)
			reason++;
		ck_assert_uint_eq(p->offset, at);
		ck_assert_uint_gt(p->length, 0);
		ck_assert_uint_ne(p->kind + 4 * reason, last);
		last = p->kind + 4 * reason;
		for (uint64_t end = at + p->length; at < end; at++)
			differ += model[at] != last;
		ck_assert_uint_eq(differ, 0);
	}
	ck_assert_uint_eq(at, LENGTH);
}

START_TEST(random_changes)
{
	srand(1);
	memset(model, 0, sizeof(model));
	for (int i = 0; i < 20000; i++) {
		uint32_t kind = (uint32_t)rand() % 3, reason = (uint32_t)rand() % 3;
		uint64_t offset = (uint64_t)rand() % LENGTH;
		uint64_t length = 1 + (uint64_t)rand() % (i % 2 ? 5 : LENGTH - offset);
		struct piece what = piece(offset, 0, kind);

		what.reason = reasons[reason];
		what.length = length < LENGTH - offset ? length : LENGTH - offset;
		ck_assert_int_eq(pieces_set(&pieces, &what), 0);
		memset(model + offset, (int)(kind + 4 * reason), what.length);
		if (i % 10 == 0)
			compare();
	}
	compare();
}
END_TEST

static Suite *pieces_suite(void)
{
	Suite *s = suite_create("pieces");
	TCase *tc = tcase_create("pieces");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_new_range_is_one_piece);
	tcase_add_test(tc, a_change_in_the_middle_makes_three);
	tcase_add_test(tc, neighbours_that_are_alike_are_one);
	tcase_add_test(tc, a_change_takes_the_place_of_what_it_covers);
	tcase_add_test(tc, what_differs_in_reason_or_page_size_is_not_alike);
	tcase_add_test(tc, all_at_once_needs_no_memory);
	tcase_add_test(tc, without_memory_nothing_changes);
	tcase_add_test(tc, no_memory_for_a_new_range);
	tcase_add_test(tc, random_changes);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return unit_run(pieces_suite());
}
