/*
 * The sparse array of lib/dax against a plain list of what was stored, by random operations near each other and far
 * apart; memory running out at every allocation; and no node left behind when the last value goes.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dax/radix.h"
#include "unit.h"
#include "util/fault.h"

static struct radix r;

static void setup(void)
{
	radix_init(&r);
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	radix_destroy(&r);
}

/* ---- The model: an unordered array ----------------------------------------------------------------------- */

#define MODEL_MAX	400

static struct item {
	uint64_t	index, value;
	unsigned int	order;
} model[MODEL_MAX];
static unsigned int items;

static bool overlap(const struct item *it, uint64_t index, unsigned int order)
{
	return it->index < index + (1ULL << order) && index < it->index + (1ULL << it->order);
}

static struct item *model_overlap(uint64_t index, unsigned int order)
{
	unsigned int i;

	for (i = 0; i < items; i++)
		if (overlap(&model[i], index, order))
			return &model[i];
	return NULL;
}

static struct item *model_next(uint64_t index)
{
	struct item *best = NULL;
	unsigned int i;

	for (i = 0; i < items; i++)
		if (model[i].index + (1ULL << model[i].order) > index && (!best || model[i].index < best->index))
			best = &model[i];
	return best;
}

static int model_store(uint64_t index, unsigned int order, uint64_t value)
{
	struct item *it = model_overlap(index, order);

	if (it && (it->index != index || it->order != order))
		return -EEXIST;
	if (!it)
		it = &model[items++];
	*it = (struct item){ .index = index, .order = order, .value = value };
	return 0;
}

static uint64_t model_erase(uint64_t index)
{
	struct item *it = model_overlap(index, 0);
	uint64_t value = it ? it->value : 0;

	if (it)
		*it = model[--items];
	return value;
}

/* ---- Comparing ------------------------------------------------------------------------------------------- */

static uint64_t random_bits(unsigned int bits)
{
	uint64_t n = (uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^ (uint64_t)random();

	return n & ((1ULL << bits) - 1);
}

/* Indices that meet each other at the borders of nodes of all levels. */
static uint64_t random_index(unsigned int order)
{
	static const unsigned int widths[] = { 3, 10, 19, 21, 28, 37, 46, 54 };
	uint64_t index = random_bits(widths[random() % 8]);

	if (random() % 2)
		index &= 0x8040201008040201ULL | 0x7;
	if (random() % 16 == 0)
		index = RADIX_INDEX_MAX - 1 - random_bits(4);
	return index >> order << order;
}

static unsigned int random_order(void)
{
	return RADIX_BITS * (random() % 4 ? (unsigned int)(random() % 2) : 2);
}

static void compare_at(uint64_t index)
{
	struct item *it = model_overlap(index, 0);
	unsigned int order = 99;
	uint64_t found;

	ck_assert_uint_eq(radix_find(&r, index, &order), it ? it->value : 0);
	ck_assert_uint_eq(order, it ? it->order : 99);
	it = model_next(index);
	ck_assert_uint_eq(radix_next(&r, index, &found, &order), it ? it->value : 0);
	if (it) {
		ck_assert_uint_eq(found, it->index);
		ck_assert_uint_eq(order, it->order);
	}
}

static void compare_all(void)
{
	uint64_t index = 0, found, value;
	unsigned int order, n = 0;

	while ((value = radix_next(&r, index, &found, &order))) {
		struct item *it = model_overlap(found, 0);

		ck_assert_ptr_nonnull(it);
		ck_assert(it->index == found && it->order == order && it->value == value);
		index = found + (1ULL << order);
		n++;
	}
	ck_assert_uint_eq(n, items);
	ck_assert_int_eq(radix_empty(&r), items == 0);
}

static void seed_random(void)
{
	unsigned int seed = (unsigned int)time(NULL);

	printf("radix seed %u\n", seed);
	srandom(seed);
}

/* Memory fails now and then: the operation then must have changed nothing, which the next comparisons see. */
static void one_store(bool faults)
{
	unsigned int order = random_order();
	uint64_t index = items && random() % 8 == 0 ? model[random() % items].index >> order << order :
			 random_index(order), value = random_bits(62) | 1;
	struct item *it = model_overlap(index, order);
	bool replaces = it && it->index == index && it->order == order;
	int ret;

	if (faults)
		fault_arm(FAULT_ALLOC, 1 + (unsigned long)random() % 6);
	ret = radix_store(&r, index, order, value);
	fault_disarm(FAULT_ALLOC);
	if (ret == -ENOMEM && faults && !replaces)
		return;
	ck_assert_int_eq(ret, model_store(index, order, value));
}

static void one_operation(bool faults)
{
	uint64_t index;

	if (items < MODEL_MAX && random() % MODEL_MAX > items)
		one_store(faults);
	index = items && random() % 2 ? model[random() % items].index + random_bits(2) : random_index(0);
	if (random() % 3 == 0 && index < RADIX_INDEX_MAX)
		ck_assert_uint_eq(radix_erase(&r, index), model_erase(index));
	index = items && random() % 2 ? model[random() % items].index + random_bits(9) - 256 : random_index(0);
	if (index < RADIX_INDEX_MAX)
		compare_at(index);
}

static void run_random(bool faults)
{
	unsigned int i, round;

	seed_random();
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 5000; i++)
			one_operation(faults);
		compare_all();
		while (random() % 4 && items)
			ck_assert_uint_eq(radix_erase(&r, model[0].index), model_erase(model[0].index));
		compare_all();
		if (round % 5 == 4) {
			radix_destroy(&r);
			items = 0;
			compare_all();
		}
	}
}

START_TEST(random_operations_agree_with_a_plain_list)
{
	run_random(false);
}
END_TEST

START_TEST(random_operations_with_failing_memory_agree)
{
	run_random(true);
}
END_TEST

/* ---- By hand --------------------------------------------------------------------------------------------- */

START_TEST(empty_array_has_nothing)
{
	ck_assert(radix_empty(&r));
	ck_assert_uint_eq(radix_find(&r, 0, NULL), 0);
	ck_assert_uint_eq(radix_find(&r, UINT64_MAX, NULL), 0);
	ck_assert_uint_eq(radix_next(&r, 0, NULL, NULL), 0);
	ck_assert_uint_eq(radix_erase(&r, 7), 0);
}
END_TEST

START_TEST(value_covers_its_order)
{
	unsigned int order;
	uint64_t found;

	ck_assert_int_eq(radix_store(&r, 512, 9, RADIX_VALUE_MAX), 0);
	ck_assert_uint_eq(radix_find(&r, 511, NULL), 0);
	ck_assert_uint_eq(radix_find(&r, 512, &order), RADIX_VALUE_MAX);
	ck_assert_uint_eq(order, 9);
	ck_assert_uint_eq(radix_find(&r, 1023, NULL), RADIX_VALUE_MAX);
	ck_assert_uint_eq(radix_find(&r, 1024, NULL), 0);
	ck_assert_uint_eq(radix_next(&r, 700, &found, &order), RADIX_VALUE_MAX);
	ck_assert_uint_eq(found, 512);
	ck_assert_uint_eq(radix_next(&r, 1024, &found, &order), 0);
	ck_assert_uint_eq(radix_erase(&r, 700), RADIX_VALUE_MAX);
	ck_assert(radix_empty(&r));
}
END_TEST

START_TEST(other_sizes_in_the_way_are_refused)
{
	ck_assert_int_eq(radix_store(&r, 3, 0, 1), 0);
	ck_assert_int_eq(radix_store(&r, 0, 9, 2), -EEXIST);
	ck_assert_int_eq(radix_store(&r, 0, 18, 2), -EEXIST);
	ck_assert_int_eq(radix_store(&r, 1 << 18, 18, 3), 0);
	ck_assert_int_eq(radix_store(&r, 1 << 18, 9, 4), -EEXIST);
	ck_assert_int_eq(radix_store(&r, (1 << 18) + 5, 0, 4), -EEXIST);
	ck_assert_int_eq(radix_store(&r, 3, 0, 5), 0);
	ck_assert_uint_eq(radix_find(&r, 3, NULL), 5);
}
END_TEST

START_TEST(replacing_needs_no_memory)
{
	ck_assert_int_eq(radix_store(&r, 1ULL << 53, 18, 1), 0);
	ck_assert_int_eq(radix_store(&r, 5, 0, 1), 0);
	fault_arm_always(FAULT_ALLOC);
	ck_assert_int_eq(radix_store(&r, 1ULL << 53, 18, 2), 0);
	ck_assert_int_eq(radix_store(&r, 5, 0, 2), 0);
	ck_assert_int_eq(radix_store(&r, 6, 0, 2), 0);
	ck_assert_int_eq(radix_store(&r, 600, 0, 2), -ENOMEM);
	ck_assert_uint_eq(radix_find(&r, 1ULL << 53, NULL), 2);
}
END_TEST

/* From nothing to a value six levels down, each allocation on the way failing once. */
START_TEST(failed_store_leaves_no_node)
{
	unsigned long n, inserted = 0;

	for (n = 1; !inserted; n++) {
		struct mallinfo2 before = mallinfo2(), after;

		fault_arm(FAULT_ALLOC, n);
		if (!radix_store(&r, RADIX_INDEX_MAX - 1, 0, 9)) {
			inserted = n;
			break;
		}
		after = mallinfo2();
		ck_assert(radix_empty(&r));
		ck_assert_uint_eq(after.uordblks, before.uordblks);
	}
	ck_assert_uint_eq(inserted, 7);
}
END_TEST

/* A root too many would be found by the allocations that a second try needs. */
START_TEST(refused_store_leaves_the_root_as_it_was)
{
	unsigned int top;

	ck_assert_int_eq(radix_store(&r, 3, 0, 1), 0);
	top = r.top;
	ck_assert_int_eq(radix_store(&r, 0, 18, 1), -EEXIST);
	ck_assert_uint_eq(r.top, top);
	fault_arm(FAULT_ALLOC, 4);
	ck_assert_int_eq(radix_store(&r, RADIX_INDEX_MAX - 1, 0, 1), -ENOMEM);
	ck_assert_uint_eq(r.top, top);
	ck_assert_uint_eq(radix_find(&r, 3, NULL), 1);
}
END_TEST

START_TEST(memory_returns_when_the_last_value_goes)
{
	struct mallinfo2 before = mallinfo2(), after;
	uint64_t i;

	for (i = 0; i < 3000; i++)
		ck_assert_int_eq(radix_store(&r, i * 0x123456789aULL % RADIX_INDEX_MAX, 0, i + 1), 0);
	for (i = 0; i < 3000; i++)
		ck_assert_uint_eq(radix_erase(&r, i * 0x123456789aULL % RADIX_INDEX_MAX), i + 1);
	after = mallinfo2();
	ck_assert(radix_empty(&r));
	ck_assert_uint_eq(after.uordblks, before.uordblks);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("radix");
	TCase *tc = tcase_create("radix");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, empty_array_has_nothing);
	tcase_add_test(tc, value_covers_its_order);
	tcase_add_test(tc, other_sizes_in_the_way_are_refused);
	tcase_add_test(tc, replacing_needs_no_memory);
	tcase_add_test(tc, failed_store_leaves_no_node);
	tcase_add_test(tc, refused_store_leaves_the_root_as_it_was);
	tcase_add_test(tc, memory_returns_when_the_last_value_goes);
	tcase_add_test(tc, random_operations_agree_with_a_plain_list);
	tcase_add_test(tc, random_operations_with_failing_memory_agree);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
