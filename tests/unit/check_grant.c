/*
 * Grant lists by hand, and against a table of what they should hold; memory running out. Damaged lists are
 * check_grant_damage's, readers and threads check_grant_scan's, what a killed daemon leaves check_grant_crash's.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "grant_unit.h"
#include "util/fault.h"

static const char *removed(uint64_t index, uint64_t count, uint64_t max)
{
	seen[0] = '\0';
	grant_remove(g, GRANT_MAP, 0, index, count, max, see, NULL);
	return seen;
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
		ck_assert(r.index == c->start && r.unit == c->unit && r.size == (enum dax_size)c->size &&
			  r.count == 1 && r.kind == kind && r.area == area);
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

int main(void)
{
	Suite *s = suite_create("grant");
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
	return unit_run(s);
}
