/*
 * The fixture of the tests of grant lists, and their ways to write a reference down and to read lists back. Shared
 * memory has no name, so nothing is left behind.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "grant_unit.h"
#include "util/fault.h"

const int orders[DAX_SIZES] = { 0, 2, 4 };
struct dax_shm *shm;
struct grant_set *set;
struct grant *g;
unsigned int damaged;

struct grant_owner owner(uint64_t id)
{
	struct grant_owner o = { .id = id, .ino = id * 7, .generation = 3, .pid = -5, .uid = 1000 };

	memset(o.token, (int)id, sizeof(o.token));
	return o;
}

struct grant *new_grant(uint64_t id)
{
	struct grant_owner o = owner(id);
	struct grant *new = NULL;

	ck_assert_int_eq(grant_new(set, &o, &new), 0);
	return new;
}

static void setup(void)
{
	struct dax_shm_config c = { .units = UNITS, .unit_shift = 12, .like = -1 };
	bool reused;

	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, NULL), 0);
	ck_assert_int_eq(grant_set_new(&set, shm, orders, &damaged), 0);
	ck_assert_uint_eq(damaged, 0);
	g = new_grant(1);
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	grant_set_delete(set);
	dax_shm_close(shm, true);
}

TCase *add_case(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(s, tc);
	return tc;
}

void adopt(unsigned int expect_damaged)
{
	grant_set_delete(set);
	ck_assert_int_eq(grant_set_new(&set, shm, orders, &damaged), 0);
	ck_assert_uint_eq(damaged, expect_damaged);
	g = grant_find(set, 1);
}

struct grant_ref ref(enum grant_kind kind, enum dax_size size, uint32_t area, uint64_t index, uint64_t unit,
		     uint64_t count)
{
	return (struct grant_ref){ .kind = kind, .size = size, .area = area, .index = index, .unit = unit,
				   .count = count };
}

int add(enum dax_size size, uint64_t index, uint64_t unit, uint64_t count)
{
	struct grant_ref r = ref(GRANT_MAP, size, 0, index, unit, count);

	return grant_add(g, &r);
}

void fill_page(unsigned int free)
{
	uint64_t i;

	for (i = 0; i < GRANT_SLOTS - free; i++)
		ck_assert_int_eq(add(DAX_PTE, 1000 + 2 * i, 0, 1), 0);
}

char seen[4096];

void see(void *arg, const struct grant_ref *r)
{
	size_t len = strlen(seen);

	(void)arg;
	snprintf(seen + len, sizeof(seen) - len, "%llu+%llu@%llu/%d ", (unsigned long long)r->index,
		 (unsigned long long)r->count, (unsigned long long)r->unit, (int)r->size);
}

const char *runs(void)
{
	seen[0] = '\0';
	grant_walk(g, see, NULL);
	return seen;
}

unsigned int pages_used(void)
{
	uint64_t n, pages = dax_shm_lists_size(shm) / GRANT_PAGE_SIZE;
	unsigned int used = 0;

	for (n = 1; n < pages; n++)
		used += get(&list_page_at(set, n)->check) != 0;
	return used;
}

uint64_t all_refs(void)
{
	struct grant *at = NULL;
	uint64_t sum = 0;

	while ((at = grant_set_next(set, at)))
		sum += grant_refs(at);
	return sum;
}

void seed_random(void)
{
	unsigned int seed = (unsigned int)time(NULL);

	printf("grant seed %u\n", seed);
	srandom(seed);
}
