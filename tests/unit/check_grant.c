/*
 * Grant lists against a table of what they should hold; lists of an earlier daemon, whole and damaged; memory running
 * out; readers of any bytes and of a list that changes; threads. What a killed daemon leaves is in check_grant_crash.c.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "dax/grant_private.h"
#include "dax/shm.h"
#include "unit.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define UNITS	(1ULL << 30)

static const int orders[DAX_SIZES] = { 0, 2, 4 };	/* small, so that borders of folios are met often */
static struct dax_shm *shm;
static struct grant_set *set;
static struct grant *g;
static unsigned int damaged;

static struct grant_owner owner(uint64_t id)
{
	struct grant_owner o = { .id = id, .ino = id * 7, .generation = 3, .pid = -5, .uid = 1000 };

	memset(o.token, (int)id, sizeof(o.token));
	return o;
}

static struct grant *new_grant(uint64_t id)
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

/* As the next daemon does it. */
static void adopt(unsigned int expect_damaged)
{
	grant_set_delete(set);
	ck_assert_int_eq(grant_set_new(&set, shm, orders, &damaged), 0);
	ck_assert_uint_eq(damaged, expect_damaged);
	g = grant_find(set, 1);
}

static struct grant_ref ref(enum grant_kind kind, enum dax_size size, uint32_t area, uint64_t index, uint64_t unit,
			    uint64_t count)
{
	return (struct grant_ref){ .kind = kind, .size = size, .area = area, .index = index, .unit = unit,
				   .count = count };
}

static int add(enum dax_size size, uint64_t index, uint64_t unit, uint64_t count)
{
	struct grant_ref r = ref(GRANT_MAP, size, 0, index, unit, count);

	return grant_add(g, &r);
}

/* Pieces and runs as text: "index+count@unit/size " each. */
static char seen[4096];

static void see(void *arg, const struct grant_ref *r)
{
	size_t len = strlen(seen);

	(void)arg;
	snprintf(seen + len, sizeof(seen) - len, "%llu+%llu@%llu/%d ", (unsigned long long)r->index,
		 (unsigned long long)r->count, (unsigned long long)r->unit, (int)r->size);
}

static const char *runs(void)
{
	seen[0] = '\0';
	grant_walk(g, see, NULL);
	return seen;
}

static const char *removed(uint64_t index, uint64_t count, uint64_t max)
{
	seen[0] = '\0';
	grant_remove(g, GRANT_MAP, 0, index, count, max, see, NULL);
	return seen;
}

static unsigned int pages_used(void)
{
	uint64_t n, pages = dax_shm_lists_size(shm) / GRANT_PAGE_SIZE;
	unsigned int used = 0;

	for (n = 1; n < pages; n++)
		used += get(&list_page_at(set, n)->check) != 0;
	return used;
}

/* ---- By hand --------------------------------------------------------------------------------------------- */

START_TEST(neighbours_extend_a_run)
{
	ck_assert_int_eq(add(DAX_PTE, 10, 100, 1), 0);
	ck_assert_int_eq(add(DAX_PTE, 11, 101, 5), 0);
	ck_assert_str_eq(runs(), "10+6@100/0 ");
	ck_assert_int_eq(add(DAX_PTE, 16, 107, 1), 0);
	ck_assert_int_eq(add(DAX_PTE, 9, 99, 1), 0);
	ck_assert_int_eq(add(DAX_PMD, 17, 108, 1), 0);
	ck_assert_int_eq(add(DAX_PMD, 21, 112, 2), 0);
	ck_assert_str_eq(runs(), "9+1@99/0 10+6@100/0 16+1@107/0 17+3@108/1 ");
	ck_assert_uint_eq(grant_refs(g), 11);
	adopt(0);
	ck_assert_str_eq(runs(), "9+1@99/0 10+6@100/0 16+1@107/0 17+3@108/1 ");
	ck_assert_uint_eq(grant_refs(g), 11);
}
END_TEST

START_TEST(run_stops_at_its_largest_count)
{
	ck_assert_int_eq(add(DAX_PTE, 0, 0, GRANT_COUNT_MAX), 0);
	ck_assert_int_eq(add(DAX_PTE, GRANT_COUNT_MAX, GRANT_COUNT_MAX, 1), 0);
	ck_assert_str_eq(runs(), "0+1048575@0/0 1048575+1@1048575/0 ");
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 0, UINT64_MAX, 0, NULL, NULL), 1 << 20);
}
END_TEST

/* The end of the last area is the end of all keys; the end of an area is not next to the start of the next. */
START_TEST(areas_and_kinds_are_apart)
{
	struct grant_ref last = ref(GRANT_PIN, DAX_PTE, GRANT_AREA_MAX, GRANT_INDEX_MAX - 2, 5, 2);
	struct grant_ref first = ref(GRANT_PIN, DAX_PTE, GRANT_AREA_MAX, 0, 7, 1), out;
	struct grant_ref before = ref(GRANT_PIN, DAX_PTE, GRANT_AREA_MAX - 1, GRANT_INDEX_MAX - 1, 6, 1);

	ck_assert_int_eq(grant_add(g, &last), 0);
	ck_assert_int_eq(grant_add(g, &before), 0);
	ck_assert_int_eq(grant_add(g, &first), 0);
	ck_assert_int_eq(grant_add(g, &last), -EEXIST);
	last.kind = GRANT_LAYOUT;
	ck_assert_int_eq(grant_add(g, &last), 0);
	ck_assert_str_eq(runs(), "2251799813685247+1@6/0 0+1@7/0 2251799813685246+2@5/0 2251799813685246+2@5/0 ");
	ck_assert(grant_find_ref(g, GRANT_PIN, GRANT_AREA_MAX, GRANT_INDEX_MAX - 1, &out));
	ck_assert(out.unit == 6 && out.count == 1 && out.index == GRANT_INDEX_MAX - 1 && out.area == GRANT_AREA_MAX);
	ck_assert(!grant_find_ref(g, GRANT_MAP, GRANT_AREA_MAX, GRANT_INDEX_MAX - 1, &out));
	ck_assert(!grant_find_ref(g, GRANT_PIN, GRANT_AREA_MAX, GRANT_INDEX_MAX, &out));
	ck_assert_int_eq(grant_remove(g, GRANT_PIN, GRANT_AREA_MAX, 0, UINT64_MAX, 0, NULL, NULL), 3);
	ck_assert_uint_eq(grant_refs(g), 3);
	adopt(0);
	ck_assert_str_eq(runs(), "2251799813685247+1@6/0 2251799813685246+2@5/0 ");
}
END_TEST

START_TEST(overlap_is_refused)
{
	ck_assert_int_eq(add(DAX_PMD, 16, 64, 2), 0);
	ck_assert_int_eq(add(DAX_PMD, 16, 64, 2), -EEXIST);
	ck_assert_int_eq(add(DAX_PTE, 23, 9, 1), -EEXIST);
	ck_assert_int_eq(add(DAX_PTE, 10, 9, 7), -EEXIST);
	ck_assert_int_eq(add(DAX_PTE, 10, 9, 40), -EEXIST);
	ck_assert_int_eq(add(DAX_PUD, 4, 0, 1), -EEXIST);
	ck_assert_int_eq(add(DAX_PTE, 10, 9, 6), 0);
	ck_assert_int_eq(add(DAX_PTE, 24, 9, 1), 0);
	ck_assert_str_eq(runs(), "10+6@9/0 16+2@64/1 24+1@9/0 ");
}
END_TEST

START_TEST(fields_out_of_range_are_refused)
{
	static const int no_small[DAX_SIZES] = { -1, 0, 9 };
	struct grant_ref bad[] = {
		ref((enum grant_kind)3, DAX_PTE, 0, 0, 0, 1),
		ref((enum grant_kind)-1, DAX_PTE, 0, 0, 0, 1),
		ref(GRANT_MAP, (enum dax_size)3, 0, 0, 0, 1),
		ref(GRANT_MAP, DAX_PTE, GRANT_AREA_MAX + 1, 0, 0, 1),
		ref(GRANT_MAP, DAX_PTE, 0, GRANT_INDEX_MAX, 0, 1),
		ref(GRANT_MAP, DAX_PTE, 0, GRANT_INDEX_MAX - 1, 0, 2),
		ref(GRANT_MAP, DAX_PMD, 0, GRANT_INDEX_MAX - 3, 0, 1),
		ref(GRANT_MAP, DAX_PTE, 0, 0, UNITS, 1),
		ref(GRANT_MAP, DAX_PTE, 0, 0, UNITS - 1, 2),
		ref(GRANT_MAP, DAX_PUD, 0, 0, UNITS - 15, 1),
		ref(GRANT_MAP, DAX_PTE, 0, 0, UINT64_MAX, 1),
		ref(GRANT_MAP, DAX_PTE, 0, UINT64_MAX, 0, 1),
		ref(GRANT_MAP, DAX_PTE, 0, 0, 0, 0),
		ref(GRANT_MAP, DAX_PTE, 0, 0, 0, GRANT_COUNT_MAX + 1),
	}, good = ref(GRANT_MAP, DAX_PTE, 0, 0, UNITS - 1, 1);
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(grant_add(g, &bad[i]) == -EINVAL, "case %u", i);
	ck_assert_int_eq(grant_add(g, &good), 0);
	ck_assert_int_eq(grant_remove(g, (enum grant_kind)3, 0, 0, 9, 0, NULL, NULL), 0);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, GRANT_AREA_MAX + 1, 0, 9, 0, NULL, NULL), 0);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, GRANT_INDEX_MAX, 9, 0, NULL, NULL), 0);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 0, 0, 0, NULL, NULL), 0);

	/* A pool whose units are 2 MiB has no list with smaller folios. */
	grant_set_delete(set);
	ck_assert_int_eq(grant_set_new(&set, shm, no_small, &damaged), 0);
	ck_assert_uint_eq(damaged, 1);
	g = new_grant(1);
	ck_assert_int_eq(grant_add(g, &good), -EINVAL);
}
END_TEST

START_TEST(removal_cuts_runs_and_never_folios)
{
	ck_assert_int_eq(add(DAX_PMD, 0, 0, 10), 0);
	ck_assert_str_eq(removed(5, 1, 0), "4+1@4/1 ");
	ck_assert_str_eq(runs(), "0+1@0/1 8+8@8/1 ");
	ck_assert_str_eq(removed(11, 2, 0), "8+2@8/1 ");
	ck_assert_str_eq(removed(38, 100, 0), "36+1@36/1 ");
	ck_assert_str_eq(runs(), "0+1@0/1 16+5@16/1 ");
	ck_assert_str_eq(removed(0, 100, 3), "0+1@0/1 16+2@16/1 ");
	ck_assert_str_eq(removed(28, 100, 1), "28+1@28/1 ");
	ck_assert_str_eq(runs(), "24+1@24/1 32+1@32/1 ");
	ck_assert_uint_eq(grant_refs(g), 2);
	ck_assert_int_eq(grant_delete(g), -EBUSY);
	adopt(0);
	ck_assert_str_eq(runs(), "24+1@24/1 32+1@32/1 ");
	ck_assert_str_eq(removed(0, UINT64_MAX, 0), "24+1@24/1 32+1@32/1 ");
	ck_assert_int_eq(grant_delete(g), 0);
	ck_assert_uint_eq(pages_used(), 0);
}
END_TEST

START_TEST(grants_are_found_by_id)
{
	static const uint64_t ids[] = { 0, UINT64_MAX, 77, 2 };
	struct grant_owner o;
	unsigned int i, n;
	struct grant *at;

	for (i = 0; i < 4; i++)
		new_grant(ids[i]);
	o = owner(77);
	ck_assert_int_eq(grant_new(set, &o, &at), -EEXIST);
	adopt(0);
	for (at = NULL, n = 0; (at = grant_set_next(set, at)); n++)
		ck_assert_ptr_eq(grant_find(set, grant_owner(at)->id), at);
	ck_assert_uint_eq(n, 5);
	for (i = 0; i < 4; i++) {
		o = owner(ids[i]);
		ck_assert_mem_eq(grant_owner(grant_find(set, ids[i])), &o, sizeof(o));
		ck_assert_int_eq(grant_delete(grant_find(set, ids[i])), 0);
		ck_assert_ptr_null(grant_find(set, ids[i]));
	}
	adopt(0);
	ck_assert_ptr_eq(grant_set_next(set, NULL), g);
	ck_assert_ptr_null(grant_set_next(set, g));
	ck_assert_uint_eq(pages_used(), 1);
}
END_TEST

static void remove_while_walking(void *arg, const struct grant_ref *r)
{
	see(arg, r);
	grant_remove(g, GRANT_MAP, 0, r->index, r->count, 0, NULL, NULL);
	if (r->index == 4)
		ck_assert_int_eq(add(DAX_PTE, 50, 0, 1), 0);
}

START_TEST(walk_goes_on_when_the_list_changes)
{
	uint64_t i;

	for (i = 0; i < 5; i++)
		ck_assert_int_eq(add(DAX_PTE, 2 * i, 9 * i, 1), 0);
	seen[0] = '\0';
	grant_walk(g, remove_while_walking, NULL);
	ck_assert_str_eq(seen, "0+1@0/0 2+1@9/0 4+1@18/0 6+1@27/0 8+1@36/0 50+1@0/0 ");
	ck_assert_uint_eq(grant_refs(g), 0);
}
END_TEST

/* ---- Against a table ------------------------------------------------------------------------------------- */

#define AREAS	2U
#define INDICES	4000U

/* For every index of the file: the folio it is in. */
static struct cell {
	uint64_t	unit;
	uint32_t	start;
	uint16_t	size;
	uint16_t	used;
} table[GRANT_KINDS][AREAS][INDICES], from_list[GRANT_KINDS][AREAS][INDICES];

static uint64_t fill(struct cell t[GRANT_KINDS][AREAS][INDICES], const struct grant_ref *r)
{
	uint64_t i, span = r->count << orders[r->size], mask = (1ULL << orders[r->size]) - 1;

	for (i = 0; i < span; i++) {
		struct cell *c = &t[r->kind][r->area][r->index + i];

		ck_assert(!c->used);
		*c = (struct cell){ .unit = r->unit + (i & ~mask), .start = (uint32_t)(r->index + (i & ~mask)),
				    .size = (uint16_t)r->size, .used = 1 };
	}
	return r->count;
}

static void fill_from_list(void *arg, const struct grant_ref *r)
{
	(void)arg;
	fill(from_list, r);
}

static void clear(struct cell *c, uint64_t index)
{
	uint64_t start = c[index].start, i;
	uint64_t end = start + (1ULL << orders[c[index].size]);

	for (i = start; i < end; i++)
		c[i] = (struct cell){ 0 };
}

static void piece_gone(void *arg, const struct grant_ref *r)
{
	uint64_t i;

	(void)arg;
	for (i = 0; i < r->count; i++) {
		uint64_t at = r->index + (i << orders[r->size]);
		struct cell *c = &table[r->kind][r->area][at];

		ck_assert(c->used && c->start == at && c->size == r->size);
		ck_assert_uint_eq(c->unit, r->unit + (i << orders[r->size]));
		clear(table[r->kind][r->area], at);
	}
}

static void compare(void)
{
	memset(from_list, 0, sizeof(from_list));
	grant_walk(g, fill_from_list, NULL);
	ck_assert_mem_eq(from_list, table, sizeof(table));
}

static void random_add(void)
{
	struct grant_ref r = ref((enum grant_kind)(random() % 3), (enum dax_size)(random() % 3),
				 (uint32_t)random() % AREAS, 0, (uint64_t)random() % 1000, 1 + (uint64_t)random() % 9);
	uint64_t span = r.count << orders[r.size], i;
	struct cell *c = table[r.kind][r.area];
	bool overlaps = false;

	r.index = (uint64_t)random() % (INDICES - span);

	/* Half of them go on where a folio ends. */
	if (random() % 2 && r.index && c[r.index - 1].used && c[r.index - 1].size == r.size) {
		struct cell *before = &c[r.index - 1];

		if (before->start + (1U << orders[r.size]) == r.index)
			r.unit = before->unit + (1ULL << orders[r.size]);
	}
	for (i = 0; i < span; i++)
		overlaps |= c[r.index + i].used;
	ck_assert_int_eq(grant_add(g, &r), overlaps ? -EEXIST : 0);
	if (!overlaps)
		fill(table, &r);
}

/* What fn is told is taken out of the table; that nothing of the range is left there says it was told all. */
static void random_remove(void)
{
	enum grant_kind kind = (enum grant_kind)(random() % 3);
	uint32_t area = (uint32_t)random() % AREAS;
	uint64_t index = (uint64_t)random() % INDICES, count = 1 + (uint64_t)random() % 60, i;
	uint64_t max = random() % 3 ? 0 : 1 + (uint64_t)random() % 5, before = grant_refs(g);
	int64_t ret = grant_remove(g, kind, area, index, count, max, piece_gone, NULL);

	ck_assert_int_ge(ret, 0);
	ck_assert_uint_eq(grant_refs(g) + (uint64_t)ret, before);
	if (max)
		ck_assert_uint_le((uint64_t)ret, max);
	if (max && (uint64_t)ret == max)
		return;
	for (i = index; i < index + count && i < INDICES; i++)
		ck_assert(!table[kind][area][i].used);
}

static void random_find(void)
{
	enum grant_kind kind = (enum grant_kind)(random() % 3);
	uint32_t area = (uint32_t)random() % AREAS;
	uint64_t index = (uint64_t)random() % INDICES;
	struct cell *c = &table[kind][area][index];
	struct grant_ref r;
	bool found = grant_find_ref(g, kind, area, index, &r);

	ck_assert_int_eq(found, c->used);
	if (found)
		ck_assert(r.index == c->start && r.unit == c->unit && r.size == (enum dax_size)c->size && r.count == 1 &&
			  r.kind == kind && r.area == area);
}

static void seed_random(void)
{
	unsigned int seed = (unsigned int)time(NULL);

	printf("grant seed %u\n", seed);
	srandom(seed);
}

START_TEST(random_operations_agree_with_a_table)
{
	unsigned int i, round;

	seed_random();
	memset(table, 0, sizeof(table));
	for (round = 0; round < 30; round++) {
		for (i = 0; i < 2000; i++) {
			random_add();
			if (random() % 4 < (round % 3 ? 1 : 3))
				random_remove();
			random_find();
		}
		compare();
		if (round % 3 == 0)
			adopt(0);
		compare();
	}
	for (i = 0; i < GRANT_KINDS * AREAS; i++)
		grant_remove(g, (enum grant_kind)(i % 3), i / 3, 0, INDICES, 0, piece_gone, NULL);
	compare();
	ck_assert_uint_eq(grant_refs(g), 0);
	ck_assert_uint_eq(pages_used(), 1);
}
END_TEST

/* Many runs that neighbour nothing, in an order that jumps about; every other one goes again. */
START_TEST(many_scattered_references_fit_one_grant)
{
	const uint64_t n = 1 << 18, step = 0x9e3779b1;
	uint64_t i;

	for (i = 0; i < n; i++)
		ck_assert_int_eq(add(DAX_PTE, 2 * (i * step % n), i * step % n, 1), 0);
	ck_assert_uint_eq(grant_refs(g), n);
	ck_assert_uint_eq(pages_used(), (n + GRANT_SLOTS - 1) / GRANT_SLOTS);
	for (i = 0; i < n; i += 2)
		ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 2 * (i * step % n), 1, 0, NULL, NULL), 1);
	adopt(0);
	ck_assert_uint_eq(grant_refs(g), n / 2);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 0, 2 * n, 0, NULL, NULL), (int64_t)n / 2);
	ck_assert_uint_eq(pages_used(), 1);
}
END_TEST

static void use_memory(void)
{
	uint64_t i;

	for (i = 0; i < 600; i++)
		ck_assert_int_eq(add(DAX_PTE, 2 * i, 0, 1), 0);
	ck_assert_int_eq(grant_delete(new_grant(9)), 0);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 0, 1200, 0, NULL, NULL), 600);
}

/* The allocator keeps some in its caches; an object lost in each round would be more than that. */
START_TEST(memory_returns)
{
	struct mallinfo2 before, after;
	unsigned int i;

	use_memory();
	before = mallinfo2();
	for (i = 0; i < 100; i++)
		use_memory();
	after = mallinfo2();
	ck_assert_uint_lt(after.uordblks, before.uordblks + 4096);
}
END_TEST

/* ---- Memory running out ---------------------------------------------------------------------------------- */

/* Fill the first page but for `free` entries. */
static void fill_page(unsigned int free)
{
	uint64_t i;

	for (i = 0; i < GRANT_SLOTS - free; i++)
		ck_assert_int_eq(add(DAX_PTE, 1000 + 2 * i, 0, 1), 0);
}

START_TEST(set_without_memory_leaves_lists)
{
	unsigned long n;

	fill_page(0);
	ck_assert_int_eq(add(DAX_PTE, 0, 0, 1), 0);
	grant_set_delete(set);
	for (n = 1; ; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (!grant_set_new(&set, shm, orders, &damaged))
			break;
	}
	ck_assert_uint_eq(damaged, 0);
	ck_assert_uint_eq(n, 2 + 1 + 2 + GRANT_SLOTS + 1 + 1);
	ck_assert_uint_eq(grant_refs(grant_find(set, 1)), GRANT_SLOTS + 1);
}
END_TEST

START_TEST(grant_without_memory_is_none)
{
	struct grant_owner o = owner(5);
	struct grant *new;
	unsigned long n;

	for (n = 1; ; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (!grant_new(set, &o, &new))
			break;
		ck_assert_ptr_null(grant_find(set, 5));
		ck_assert_uint_eq(pages_used(), 1);
	}
	ck_assert_uint_eq(n, 3);
	fault_disarm(FAULT_ALLOC);
	adopt(0);
	ck_assert_ptr_nonnull(grant_find(set, 5));
}
END_TEST

START_TEST(add_and_cut_without_memory_change_nothing)
{
	unsigned long n;
	int64_t ret;

	fill_page(1);
	ck_assert_int_eq(add(DAX_PTE, 0, 0, 9), 0);
	for (n = 1; ; n++) {
		fault_arm(FAULT_ALLOC, n);
		ret = grant_remove(g, GRANT_MAP, 0, 4, 1, 0, NULL, NULL);
		if (ret > 0)
			break;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_uint_eq(grant_refs(g), GRANT_SLOTS + 8);
		ck_assert_uint_eq(pages_used(), 1);
	}
	ck_assert_uint_eq(n, 3);
	ck_assert_uint_eq(grant_refs(g), GRANT_SLOTS + 7);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 5, 9, 0, NULL, NULL), 4);
	ck_assert_uint_eq(pages_used(), 1);
	fault_arm_always(FAULT_ALLOC);
	ck_assert_int_eq(add(DAX_PTE, 4, 4, 2), 0);
	ck_assert_int_eq(add(DAX_PTE, 7, 7, 1), -ENOMEM);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 0, 2, 0, NULL, NULL), 2);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 5, 2, 0, NULL, NULL), 1);
	fault_disarm(FAULT_ALLOC);
	adopt(0);
}
END_TEST

static void limit_lists(uint64_t pages)
{
	struct rlimit limit = { .rlim_cur = pages * GRANT_PAGE_SIZE, .rlim_max = RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/*
 * The limit on sizes of files stands for a full filesystem. One page more than there are is used when half as many is
 * too much.
 */
START_TEST(full_shared_memory_is_an_error)
{
	uint64_t pages = dax_shm_lists_size(shm) / GRANT_PAGE_SIZE, i;
	struct grant_owner o;
	struct grant *new;

	limit_lists(pages + 1);
	for (i = 2; i <= pages; i++)
		new_grant(i);
	o = owner(i);
	ck_assert_int_eq(grant_new(set, &o, &new), -ENOSPC);
	fill_page(1);
	ck_assert_int_eq(add(DAX_PTE, 0, 0, 9), 0);
	ck_assert_int_eq(add(DAX_PTE, 100, 0, 1), -ENOSPC);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 4, 1, 0, NULL, NULL), -ENOSPC);
	ck_assert_uint_eq(grant_refs(g), GRANT_SLOTS + 8);
	ck_assert_int_eq(grant_delete(grant_find(set, 7)), 0);
	ck_assert_int_eq(grant_remove(g, GRANT_MAP, 0, 4, 1, 0, NULL, NULL), 1);
	adopt(0);
	ck_assert_uint_eq(grant_refs(g), GRANT_SLOTS + 7);
}
END_TEST

/* ---- Damaged lists --------------------------------------------------------------------------------------- */

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

/* ---- Readers --------------------------------------------------------------------------------------------- */

static void see_owned(void *arg, const struct grant_owner *o, const struct grant_ref *r)
{
	struct grant_owner expect = owner(o->id);

	ck_assert_mem_eq(o, &expect, sizeof(expect));
	if (o->id == 1)
		see(arg, r);
}

static const char *scanned(void)
{
	seen[0] = '\0';
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), dax_shm_lists_size(shm), see_owned, NULL), 0);
	return seen;
}

START_TEST(scan_sees_what_is_in_the_lists)
{
	struct grant_ref r = ref(GRANT_PIN, DAX_PTE, 5, 5, 6, 7);

	ck_assert_int_eq(add(DAX_PTE, 0, 0, 9), 0);
	ck_assert_int_eq(grant_add(g, &r), 0);
	ck_assert_int_eq(grant_add(new_grant(2), &r), 0);
	ck_assert_str_eq(scanned(), "0+9@0/0 5+7@6/0 ");
	grant_remove(g, GRANT_MAP, 0, 3, 1, 0, NULL, NULL);
	ck_assert_str_eq(scanned(), "0+3@0/0 5+7@6/0 4+5@4/0 ");
	grant_remove(g, GRANT_PIN, 5, 5, 7, 0, NULL, NULL);
	ck_assert_str_eq(scanned(), "0+3@0/0 4+5@4/0 ");
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 0, see_owned, NULL), 0);
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 4095, see_owned, NULL), 0);
	list_page_at(set, 0)->check = 0;
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 8192, see_owned, NULL), 0);
	list_page_at(set, 0)->check = 1;
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), 8192, see_owned, NULL), -EUCLEAN);
}
END_TEST

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
			garbage[(uint64_t)random() % (bytes / 8)] = random() % 2 ? random_word() : 1ULL << random() % 64;
		if (round % 10 == 0)
			for (i = 1; i < bytes / 8; i++)
				garbage[i] = random_word();
		scan_copy((unsigned char *)garbage, random() % 2 ? bytes : (uint64_t)random() % bytes);
	}
	free(garbage);
}
END_TEST

static uint64_t all_refs(void)
{
	struct grant *at = NULL;
	uint64_t sum = 0;

	while ((at = grant_set_next(set, at)))
		sum += grant_refs(at);
	return sum;
}

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

/* ---- Threads --------------------------------------------------------------------------------------------- */

#define THREADS		4U
#define ROUNDS		3000U

/* Unit and index of every reference differ by this, so that a word of another entry, or another owner, is seen. */
static uint64_t base_of(uint64_t id, uint32_t area)
{
	return id * 40000000 + area * 4000000;
}

struct worker {
	pthread_t	 thread;
	struct grant	*grant;
	uint32_t	 area;
	unsigned int	 seed;
	uint64_t	 held, removed;
};

static void count_removed(void *arg, const struct grant_ref *r)
{
	struct worker *w = arg;

	ck_assert_uint_eq(r->unit - r->index, base_of(w->grant->owner.id, r->area));
	w->removed += r->count;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t index = (uint64_t)rand_r(&w->seed) % 2000;
		struct grant_ref r = ref((enum grant_kind)(i % 3), DAX_PTE, w->area, index,
					 index + base_of(w->grant->owner.id, w->area), 1 + i % 5);

		if (!grant_add(w->grant, &r))
			w->held += r.count;
		if (i % 2)
			grant_remove(w->grant, r.kind, w->area, (uint64_t)rand_r(&w->seed) % 2000, 1 + i % 40, i % 7,
				     count_removed, w);
		grant_find_ref(w->grant, r.kind, w->area, index, &r);
	}
	return NULL;
}

static void check_owned(void *arg, const struct grant_owner *o, const struct grant_ref *r)
{
	(void)arg;
	ck_assert_uint_eq(o->ino, o->id * 7);
	ck_assert_uint_eq(r->unit - r->index, base_of(o->id, r->area));
}

static atomic_bool stop;

static void *scan_until_stopped(void *arg)
{
	while (!atomic_load(&stop))
		grant_scan(arg, 16 * GRANT_PAGE_SIZE, check_owned, NULL);
	return NULL;
}

/* A reader between any two stores. */
static bool look;

void grant_stored(void)
{
	if (look)
		grant_scan(dax_shm_lists(shm), dax_shm_lists_size(shm), check_owned, NULL);
}

static void add_owned(struct grant *to, uint64_t index, uint64_t count)
{
	struct grant_ref r = ref(GRANT_MAP, DAX_PTE, 0, index, index + base_of(to->owner.id, 0), count);

	ck_assert_int_eq(grant_add(to, &r), 0);
}

START_TEST(scan_between_stores_sees_whole_entries)
{
	struct grant *other = new_grant(2);
	uint64_t i;

	look = true;
	for (i = 0; i < 20; i++)
		add_owned(other, 20 * i, 10);
	for (i = 0; i < 20; i++) {
		grant_remove(other, GRANT_MAP, 0, 20 * i + i % 3 * 3, 4, 0, NULL, NULL);
		if (i % 2)
			add_owned(other, 1000 + 2 * i, 1);
	}
	grant_remove(other, GRANT_MAP, 0, 0, 2000, 0, NULL, NULL);
	ck_assert_int_eq(grant_delete(other), 0);
	add_owned(new_grant(3), 5, 5);
	look = false;
}
END_TEST

/* The page is another grant's when the reader goes on, with entries at the same places. */
static void change_hands(void *arg, const struct grant_owner *o, const struct grant_ref *r)
{
	struct grant *next;
	uint64_t i;

	check_owned(NULL, o, r);
	++*(unsigned int *)arg;
	if (o->id != 2)
		return;
	grant_remove(grant_find(set, 2), GRANT_MAP, 0, 0, 1000, 0, NULL, NULL);
	ck_assert_int_eq(grant_delete(grant_find(set, 2)), 0);
	next = new_grant(3);
	for (i = 0; i < 10; i++)
		add_owned(next, 2 * i, 1);
}

START_TEST(scan_sees_that_a_page_changed_hands)
{
	struct grant *other = new_grant(2);
	unsigned int count = 0;
	uint64_t i;

	for (i = 0; i < 10; i++)
		add_owned(other, 2 * i, 1);
	ck_assert_int_eq(grant_scan(dax_shm_lists(shm), dax_shm_lists_size(shm), change_hands, &count), 0);
	ck_assert_uint_ge(count, 10);
}
END_TEST

/* Grants come and go, so that pages change hands. */
static void *come_and_go(void *arg)
{
	struct grant_ref r = ref(GRANT_MAP, DAX_PTE, 3, 0, 0, 1);
	struct grant_owner o;
	struct grant *at;
	uint64_t id = 10;

	(void)arg;
	while (!atomic_load(&stop)) {
		id = id == 19 ? 10 : id + 1;
		o = owner(id);
		r.unit = base_of(id, 3);
		if (grant_new(set, &o, &at) || grant_add(at, &r) || grant_remove(at, GRANT_MAP, 3, 0, 1, 0, NULL, NULL) != 1 ||
		    grant_delete(at))
			return (void *)1;
	}
	return NULL;
}

/* Two on one grant, each in its area; two on grants of their own; a reader; and pages that change hands. */
START_TEST(threads_do_not_disturb_each_other)
{
	struct worker w[THREADS] = { 0 };
	pthread_t reader, other;
	unsigned int i;
	uint64_t sum = 0;
	void *failed;

	pthread_create(&reader, NULL, scan_until_stopped, dax_shm_lists(shm));
	pthread_create(&other, NULL, come_and_go, NULL);
	for (i = 0; i < THREADS; i++) {
		w[i].grant = i < 2 ? g : new_grant(i);
		w[i].area = i % 2;
		w[i].seed = i;
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		sum += w[i].held - w[i].removed;
	}
	atomic_store(&stop, true);
	pthread_join(reader, NULL);
	pthread_join(other, &failed);
	ck_assert_ptr_null(failed);
	ck_assert_uint_eq(all_refs(), sum);
	adopt(0);
	ck_assert_uint_eq(all_refs(), sum);
}
END_TEST

static TCase *add_case(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(s, tc);
	return tc;
}

static void add_lists(Suite *s)
{
	TCase *tc = add_case(s, "lists");

	tcase_add_test(tc, neighbours_extend_a_run);
	tcase_add_test(tc, run_stops_at_its_largest_count);
	tcase_add_test(tc, areas_and_kinds_are_apart);
	tcase_add_test(tc, overlap_is_refused);
	tcase_add_test(tc, fields_out_of_range_are_refused);
	tcase_add_test(tc, removal_cuts_runs_and_never_folios);
	tcase_add_test(tc, grants_are_found_by_id);
	tcase_add_test(tc, walk_goes_on_when_the_list_changes);
	tcase_add_test(tc, random_operations_agree_with_a_table);
	tcase_add_test(tc, many_scattered_references_fit_one_grant);
	tc = add_case(s, "memory");
	tcase_add_test(tc, memory_returns);
	tcase_add_test(tc, set_without_memory_leaves_lists);
	tcase_add_test(tc, grant_without_memory_is_none);
	tcase_add_test(tc, add_and_cut_without_memory_change_nothing);
	tcase_add_test(tc, full_shared_memory_is_an_error);
	tc = add_case(s, "damage");
	tcase_add_loop_test(tc, damaged_words_of_a_page_lose_its_grant, 0, 18);
	tcase_add_loop_test(tc, vanished_page_loses_its_grant, 0, 2);
	tcase_add_loop_test(tc, impossible_entries_lose_their_grant, 0, 6);
	tcase_add_test(tc, overlapping_entries_lose_their_grant);
	tcase_add_loop_test(tc, senseless_redo_words_lose_their_grant, 0, 4);
	tcase_add_test(tc, second_list_of_an_id_loses_both);
	tcase_add_test(tc, page_of_another_owner_is_dropped);
	tcase_add_test(tc, area_of_another_version_is_dropped);
	tcase_add_test(tc, empty_page_is_given_back);
}

int main(void)
{
	Suite *s = suite_create("grant");
	TCase *tc;

	add_lists(s);
	tc = add_case(s, "readers");
	tcase_add_test(tc, scan_sees_what_is_in_the_lists);
	tcase_add_test(tc, scan_of_anything_stays_inside);
	tcase_add_test(tc, adoption_of_anything_is_whole);
	tcase_add_test(tc, scan_between_stores_sees_whole_entries);
	tcase_add_test(tc, scan_sees_that_a_page_changed_hands);
	tcase_add_test(tc, threads_do_not_disturb_each_other);
	return unit_run(s);
}
