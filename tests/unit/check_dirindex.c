/*
 * The index of a directory by itself: the table of names, and the search for room, against plain models.
 */
#include <stdbool.h>
#include <stdio.h>

#include "meta/dirindex.h"
#include "unit.h"

START_TEST(million_names_take_less_than_twenty_bytes_each)
{
	struct dir_index *idx = dirindex_new();
	const uint32_t names = 1000000;

	for (uint32_t i = 1; i <= names; i++) {
		ck_assert_int_eq(dirindex_reserve(idx, i / 100 + 1), 0);
		dirindex_insert(idx, dirindex_hash((char *)&i, sizeof(i)), i);
	}
	ck_assert_uint_eq(dirindex_count(idx), names);
	ck_assert_uint_lt(dirindex_bytes(idx), 20 * names);
	dirindex_delete(idx);
}
END_TEST

static uint32_t probe_count(const struct dir_index *idx, uint32_t hash, uint32_t place)
{
	struct dirindex_probe probe = DIRINDEX_PROBE(hash);
	uint32_t found, n = 0;

	while ((found = dirindex_probe(idx, &probe)) != 0)
		n += found == place;
	return n;
}

/* Hashes that differ in few bits make long runs, and runs that wrap: what shifting back has to get right. */
START_TEST(removal_keeps_every_other_place_within_reach)
{
	enum { PLACES = 300 };
	struct dir_index *idx = dirindex_new();
	bool there[PLACES + 1] = { false };
	unsigned int seed = 4711;

	printf("removal_keeps_every_other_place_within_reach: seed %u\n", seed);
	for (int step = 0; step < 20000; step++) {
		uint32_t place = 1 + rand_r(&seed) % PLACES, hash = 0xfffffff0U + place % 23;

		if (there[place]) {
			dirindex_remove(idx, hash, place);
		} else {
			ck_assert_int_eq(dirindex_reserve(idx, 1), 0);
			dirindex_insert(idx, hash, place);
		}
		there[place] = !there[place];
		for (uint32_t p = 1; step % 100 == 0 && p <= PLACES; p++)
			ck_assert_uint_eq(probe_count(idx, 0xfffffff0U + p % 23, p), there[p]);
	}
	dirindex_delete(idx);
}
END_TEST

static uint64_t plain_find(const uint16_t *gaps, uint64_t blocks, uint16_t need)
{
	for (uint64_t b = 0; b < blocks; b++)
		if (gaps[b] >= need)
			return b;
	return DIRINDEX_NONE;
}

static uint64_t plain_hole(const uint16_t *gaps, uint64_t blocks)
{
	uint64_t b = 0;

	while (b < blocks && gaps[b] != DIRINDEX_HOLE)
		b++;
	return b;
}

START_TEST(first_gap_and_first_hole_are_those_of_a_plain_search)
{
	enum { GAP_BLOCKS = 700 };
	uint16_t gaps[GAP_BLOCKS] = { 0 };
	struct dir_index *idx = dirindex_new();
	unsigned int seed = 815;

	printf("first_gap_and_first_hole_are_those_of_a_plain_search: seed %u\n", seed);
	for (int step = 0; step < 20000; step++) {
		uint64_t blocks = 1 + step / 30, b = rand_r(&seed) % blocks;
		uint16_t need = 16 + rand_r(&seed) % 160, kind = rand_r(&seed) % 32;

		ck_assert_int_eq(dirindex_reserve(idx, blocks), 0);
		gaps[b] = kind == 0 ? DIRINDEX_HOLE : kind < 4 ? rand_r(&seed) % 20 * 8U : 0;
		dirindex_set_gap(idx, b, gaps[b]);
		ck_assert_uint_eq(dirindex_gap(idx, b), gaps[b]);
		ck_assert_uint_eq(dirindex_find_gap(idx, need), plain_find(gaps, blocks, need));
		ck_assert_uint_eq(dirindex_find_hole(idx, blocks), plain_hole(gaps, blocks));
	}
	dirindex_delete(idx);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dirindex");
	TCase *tc = tcase_create("index");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, million_names_take_less_than_twenty_bytes_each);
	tcase_add_test(tc, removal_keeps_every_other_place_within_reach);
	tcase_add_test(tc, first_gap_and_first_hole_are_those_of_a_plain_search);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
