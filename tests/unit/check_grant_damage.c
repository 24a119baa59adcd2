/*
 * Grant lists that are damaged: adopted, a page that says what cannot be loses the grant it is of and no other one; and
 * nothing that memory can hold leads a daemon or a reader out of it.
 */
#include <stdlib.h>
#include <string.h>

#include "grant_unit.h"
#include "util/crc32c.h"

/* ---- By hand --------------------------------------------------------------------------------------------- */

/* Grant 1 with two pages, grant 2 with one, and what is expected after one of them was spoilt. */
static struct grant_page *first, *second;

static void two_grants(void)
{
	struct grant_ref r = ref(GRANT_PIN, DAX_PTE, 0, 5, 6, 7);

	fill_page(0);
	ck_assert_int_eq(add(DAX_PTE, 0, 0, 1), 0);
	ck_assert_int_eq(grant_add(new_grant(2), &r), 0);
	first = list_page_at(set, 1);
	second = list_page_at(set, 2);
	ck_assert_int_eq(get(&first->pages), 2);
	ck_assert_uint_eq(pages_used(), 3);
}

static void first_is_dropped(unsigned int pages)
{
	adopt(pages);
	ck_assert_ptr_null(g);
	ck_assert_uint_eq(grant_refs(grant_find(set, 2)), 7);
	ck_assert_uint_eq(pages_used(), 1);
	g = new_grant(1);
	ck_assert_str_eq(runs(), "");
	fill_page(0);
	ck_assert_int_eq(add(DAX_PTE, 0, 0, 1), 0);
	ck_assert_uint_eq(pages_used(), 3);
	adopt(0);
	ck_assert_uint_eq(grant_refs(g), GRANT_SLOTS + 1);
}

static void sign(struct grant_page *p)
{
	p->check = GRANT_PAGE_MAGIC << 32 | crc32c(0, (const void *)p->fixed, sizeof(p->fixed));
}

START_TEST(damaged_words_of_a_page_lose_its_grant)
{
	static const unsigned int words[] = { 0, 2, 3, 4, 5, 6, 7, 8, 9 };
	uint64_t *word = (uint64_t *)first;

	two_grants();
	word = (uint64_t *)(_i < 9 ? first : second) + words[_i % 9];
	*word ^= 1ULL << (_i * 5 + 3) % 64;
	first_is_dropped(2);
}
END_TEST

/* As if a stray store had cleared it: the page is taken for a free one, and only missed. */
START_TEST(vanished_page_loses_its_grant)
{
	two_grants();
	(_i ? second : first)->check = 0;
	first_is_dropped(1);
}
END_TEST

START_TEST(impossible_entries_lose_their_grant)
{
	static const uint64_t flips[] = {
		2,				/* reserved */
		3ULL << RUN_KIND_SHIFT,
		3ULL << RUN_SIZE_SHIFT,
		1ULL << RUN_COUNT_SHIFT,	/* count was 1 */
		1ULL << 63,			/* beyond the pool */
		1,				/* not valid, and not zero */
	};

	two_grants();
	second->entry[0].run ^= flips[_i];
	first_is_dropped(2);
}
END_TEST

START_TEST(overlapping_entries_lose_their_grant)
{
	two_grants();
	second->entry[0].place = place_of(key_of(0, 1000 + 2 * 17));
	first_is_dropped(2);
}
END_TEST

START_TEST(senseless_redo_words_lose_their_grant)
{
	two_grants();
	first->redo[0].slot = (_i == 1 ? 3 : 2) << 8 | (_i == 2 ? GRANT_SLOTS : 0);
	first->redo[0].run = _i == 3 ? 0xf1 : 0;
	first->armed = _i == 0 ? 3 : 1;
	first_is_dropped(2);
}
END_TEST

START_TEST(second_list_of_an_id_loses_both)
{
	struct grant_page *third;

	two_grants();
	third = list_page_at(set, 3);
	third->fixed[2] = 1;
	sign(third);
	adopt(3);
	ck_assert_ptr_null(grant_set_next(set, NULL));
	ck_assert_uint_eq(pages_used(), 0);
}
END_TEST

START_TEST(page_of_another_owner_is_dropped)
{
	two_grants();
	second->fixed[6] ^= 1;
	sign(second);
	first_is_dropped(2);
}
END_TEST

START_TEST(area_of_another_version_is_dropped)
{
	two_grants();
	list_page_at(set, 0)->check++;
	adopt(4);
	ck_assert_ptr_null(grant_set_next(set, NULL));
	adopt(0);
}
END_TEST

/* A daemon that was killed before it gave back the page. */
START_TEST(empty_page_is_given_back)
{
	two_grants();
	second->entry[0].run = 0;
	adopt(0);
	ck_assert_uint_eq(pages_used(), 2);
	ck_assert_uint_eq(get(&first->pages), 1);
	grant_remove(g, GRANT_MAP, 0, 0, UINT64_MAX, 0, NULL, NULL);
	ck_assert_int_eq(grant_delete(g), 0);
	ck_assert_uint_eq(pages_used(), 1);
}
END_TEST

/* ---- Any bytes ------------------------------------------------------------------------------------------- */

static void count_possible(void *arg, const struct grant_owner *o, const struct grant_ref *r)
{
	(void)o;
	ck_assert(r->kind < 3 && r->size < 3 && r->area <= GRANT_AREA_MAX && r->index < GRANT_INDEX_MAX);
	ck_assert(r->count && r->count <= GRANT_COUNT_MAX && r->unit < GRANT_UNITS_MAX);
	++*(unsigned int *)arg;
}

static uint64_t random_word(void)
{
	return (uint64_t)random() << 62 ^ (uint64_t)random() << 31 ^ (uint64_t)random();
}

/* Memory of exactly the size that is told, so that a sanitizer sees the byte behind it. */
static void scan_copy(const unsigned char *from, uint64_t bytes)
{
	unsigned char *copy = malloc(bytes + 1);
	unsigned int count = 0;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, from, bytes);
	grant_scan(copy, bytes, count_possible, &count);
	free(copy);
}

static void some_lists(void)
{
	uint64_t i;

	two_grants();
	for (i = 0; i < 100; i++)
		add((enum dax_size)(random() % 3), (uint64_t)random() % 900, (uint64_t)random() % UNITS,
		    1 + (uint64_t)random() % 9);
}

/* Random bytes; lists cut anywhere; lists with words changed. */
START_TEST(scan_of_anything_stays_inside)
{
	uint64_t bytes = 5 * GRANT_PAGE_SIZE, i;
	unsigned char *lists = dax_shm_lists(shm);
	uint64_t *garbage = malloc(bytes);
	unsigned int round;

	seed_random();
	some_lists();
	for (round = 0; round < 600; round++) {
		memcpy(garbage, lists, bytes);
		for (i = (uint64_t)random() % 50; i; i--)
			garbage[(uint64_t)random() % (bytes / 8)] = random() % 2 ? random_word() :
										   1ULL << random() % 64;
		if (round % 10 == 0)
			for (i = 1; i < bytes / 8; i++)
				garbage[i] = random_word();
		scan_copy((unsigned char *)garbage, random() % 2 ? bytes : (uint64_t)random() % bytes);
	}
	free(garbage);
}
END_TEST

/* What is adopted from damaged lists is whole: adopting it once more finds no damage and the same. */
START_TEST(adoption_of_anything_is_whole)
{
	uint64_t bytes = 5 * GRANT_PAGE_SIZE, i, refs, word;
	uint64_t *lists = dax_shm_lists(shm), *good = malloc(bytes);
	unsigned int round, whole = 0;

	seed_random();
	some_lists();
	memcpy(good, lists, bytes);
	for (round = 0; round < 600; round++) {
		memcpy(lists, good, bytes);
		for (i = (uint64_t)random() % 4; i; i--) {
			word = random() % 3 ? (uint64_t)random() % 530 + 512 : (uint64_t)random() % (bytes / 8);
			lists[word] = random() % 2 ? random_word() : lists[word] ^ 1ULL << random() % 64;
		}
		grant_set_delete(set);
		ck_assert_int_eq(grant_set_new(&set, shm, orders, &damaged), 0);
		whole += !damaged;
		refs = all_refs();
		adopt(0);
		ck_assert_uint_eq(all_refs(), refs);
	}
	ck_assert_uint_gt(whole, 30);
	ck_assert_uint_lt(whole, 570);
	free(good);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grant_damage");
	TCase *tc = add_case(s, "damage");

	tcase_add_loop_test(tc, damaged_words_of_a_page_lose_its_grant, 0, 18);
	tcase_add_loop_test(tc, vanished_page_loses_its_grant, 0, 2);
	tcase_add_loop_test(tc, impossible_entries_lose_their_grant, 0, 6);
	tcase_add_test(tc, overlapping_entries_lose_their_grant);
	tcase_add_loop_test(tc, senseless_redo_words_lose_their_grant, 0, 4);
	tcase_add_test(tc, second_list_of_an_id_loses_both);
	tcase_add_test(tc, page_of_another_owner_is_dropped);
	tcase_add_test(tc, area_of_another_version_is_dropped);
	tcase_add_test(tc, empty_page_is_given_back);
	tc = add_case(s, "any bytes");
	tcase_add_test(tc, scan_of_anything_stays_inside);
	tcase_add_test(tc, adoption_of_anything_is_whole);
	return unit_run(s);
}
