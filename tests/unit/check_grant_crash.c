/*
 * Grant lists of a daemon that is killed: after every single store to shared memory, the memory is copied aside and
 * adopted as the next daemon does. It must show the state before the operation or the state after it - of a removal,
 * before or after each piece - and never go back; and so must what is left when the adopting daemon is killed after any
 * of its own stores.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dax/grant_private.h"
#include "dax/shm.h"
#include "unit.h"

#define UNITS		(1ULL << 20)
#define AREA_PAGES	16U
#define AREA_BYTES	(AREA_PAGES * GRANT_PAGE_SIZE)
#define IDS		3U
#define INDICES		1400U
#define STATES		400U		/* of one operation */
#define DEPTH		2U		/* a daemon killed while it works, and one killed while it adopts */

static const int orders[DAX_SIZES] = { 0, 2, 4 };

/*
 * What a grant holds, by index: unit, size and distance to the folio's start; 0 for nothing. One kind and area are
 * enough here.
 */
struct state {
	bool		there[IDS];
	uint32_t	cell[IDS][INDICES];
};

static struct daemon {
	struct dax_shm		*shm;
	struct grant_set	*set;
} live, probe[DEPTH];
static struct state states[STATES];	/* those allowed, in order */
static unsigned int state_count, reached;
static unsigned int depth;		/* probes at work; stores of the live set are looked at while it is 0 */
static bool watch;
static unsigned long looked;

static struct grant_owner owner(uint64_t id)
{
	return (struct grant_owner){ .id = id, .ino = id + 100, .pid = 7 };
}

static void fill(struct state *s, unsigned int id, const struct grant_ref *r)
{
	uint64_t i, span = r->count << orders[r->size], mask = (1ULL << orders[r->size]) - 1;

	ck_assert(r->kind == GRANT_MAP && r->area == id && r->index + span <= INDICES);
	for (i = 0; i < span; i++) {
		ck_assert_uint_eq(s->cell[id][r->index + i], 0);
		s->cell[id][r->index + i] =
			(uint32_t)((r->unit + (i & ~mask)) << 8 | (i & mask) << 2 | ((unsigned int)r->size + 1));
	}
}

static void empty(struct state *s, unsigned int id, const struct grant_ref *r)
{
	memset(&s->cell[id][r->index], 0, (r->count << orders[r->size]) * sizeof(s->cell[id][0]));
}

/* ---- Looking at what a killed daemon leaves -------------------------------------------------------------- */

static struct state adopted;

static void add_to_adopted(void *arg, const struct grant_ref *r)
{
	fill(&adopted, *(unsigned int *)arg, r);
}

static void read_state(struct grant_set *set)
{
	struct grant *g = NULL;

	memset(&adopted, 0, sizeof(adopted));
	while ((g = grant_set_next(set, g))) {
		struct grant_owner expect = owner(grant_owner(g)->id);
		unsigned int id = (unsigned int)expect.id;

		ck_assert_uint_lt(id, IDS);
		ck_assert_mem_eq(grant_owner(g), &expect, sizeof(expect));
		adopted.there[id] = true;
		grant_walk(g, add_to_adopted, &id);
	}
}

static void adopt_copy(const void *lists)
{
	struct daemon *d = &probe[depth];
	unsigned int damaged;

	memcpy(dax_shm_lists(d->shm), lists, AREA_BYTES);
	depth++;
	ck_assert_int_eq(grant_set_new(&d->set, d->shm, orders, &damaged), 0);
	depth--;
	ck_assert_uint_eq(damaged, 0);
	read_state(d->set);
	grant_set_delete(d->set);
	looked++;
}

/*
 * After each store, of whoever made it. States count by what the live set did; an adoption must not change what is
 * there.
 */
void grant_stored(void)
{
	struct daemon *d = depth ? &probe[depth - 1] : &live;
	unsigned int i;

	if (!watch || depth == DEPTH)
		return;
	if (dax_shm_lists_size(live.shm) < AREA_BYTES)
		return;
	adopt_copy(dax_shm_lists(d->shm));
	for (i = reached; i < state_count; i++)
		if (!memcmp(&adopted, &states[i], sizeof(adopted)))
			break;
	ck_assert_msg(i < state_count, "a state that never was");
	if (!depth)
		reached = i;
}

/* ---- Operations ------------------------------------------------------------------------------------------ */

static void begin(void)
{
	states[0] = states[state_count - 1];
	state_count = 1;
	reached = 0;
	watch = true;
}

static struct state *next_state(void)
{
	ck_assert_uint_lt(state_count, STATES);
	states[state_count] = states[state_count - 1];
	return &states[state_count++];
}

static void end(void)
{
	watch = false;
	read_state(live.set);
	ck_assert_mem_eq(&adopted, &states[state_count - 1], sizeof(adopted));
	adopt_copy(dax_shm_lists(live.shm));
	ck_assert_mem_eq(&adopted, &states[state_count - 1], sizeof(adopted));
}

/* Leaves it when something is in the way. */
static void do_add(unsigned int id, enum dax_size size, uint64_t index, uint64_t unit, uint64_t count)
{
	struct grant_ref r = {
		.kind = GRANT_MAP, .size = size, .area = id, .index = index, .unit = unit, .count = count,
	};
	uint64_t i, span = count << orders[size];

	for (i = index; i < index + span; i++)
		if (i >= INDICES || states[state_count - 1].cell[id][i])
			return;
	begin();
	fill(next_state(), id, &r);
	ck_assert_int_eq(grant_add(grant_find(live.set, id), &r), 0);
	end();
}

/* The pieces of a removal: what of each run the range meets. */
struct range {
	unsigned int	id;
	uint64_t	index, end;
};

static void expect_piece(void *arg, const struct grant_ref *r)
{
	const struct range *range = arg;
	uint64_t size = 1ULL << orders[r->size], last = r->index + r->count * size, from = r->index, to = last;
	struct grant_ref piece = *r;

	if (last <= range->index || r->index >= range->end)
		return;
	if (from < range->index)
		from += (range->index - from) / size * size;
	if (to > range->end)
		to = r->index + (range->end - r->index + size - 1) / size * size;
	piece.index = from;
	piece.count = (to - from) / size;
	empty(next_state(), range->id, &piece);
}

static void do_remove(unsigned int id, uint64_t index, uint64_t count)
{
	struct grant *g = grant_find(live.set, id);
	struct range range = { .id = id, .index = index, .end = index + count };

	begin();
	watch = false;
	grant_walk(g, expect_piece, &range);
	watch = true;
	ck_assert_int_ge(grant_remove(g, GRANT_MAP, id, index, count, 0, NULL, NULL), 0);
	ck_assert_uint_eq(reached, state_count - 1);
	end();
}

static void do_new(unsigned int id)
{
	struct grant_owner o = owner(id);
	struct grant *g;

	begin();
	next_state()->there[id] = true;
	ck_assert_int_eq(grant_new(live.set, &o, &g), 0);
	end();
}

static void do_delete(unsigned int id)
{
	do_remove(id, 0, INDICES);
	begin();
	next_state()->there[id] = false;
	ck_assert_int_eq(grant_delete(grant_find(live.set, id)), 0);
	end();
}

static struct dax_shm *open_shm(void)
{
	struct dax_shm_config c = { .units = UNITS, .unit_shift = 12, .like = -1 };
	struct dax_shm *shm;
	bool reused;

	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, NULL), 0);
	return shm;
}

static void setup(void)
{
	unsigned int damaged, i;

	live.shm = open_shm();
	ck_assert_int_eq(grant_set_new(&live.set, live.shm, orders, &damaged), 0);
	for (i = 0; i < DEPTH; i++) {
		probe[i].shm = open_shm();
		ck_assert_int_eq(dax_shm_lists_grow(probe[i].shm, AREA_BYTES), 0);
	}
	memset(states, 0, sizeof(states));
	state_count = 1;
}

static void teardown(void)
{
	unsigned int i;

	ck_assert_uint_le(dax_shm_lists_size(live.shm), AREA_BYTES);
	printf("looked after %lu stores\n", looked);
	grant_set_delete(live.set);
	dax_shm_close(live.shm, true);
	for (i = 0; i < DEPTH; i++)
		dax_shm_close(probe[i].shm, true);
}

/* ---- Tests ----------------------------------------------------------------------------------------------- */

START_TEST(every_kind_of_change_is_whole)
{
	do_new(0);
	do_new(1);
	do_add(1, DAX_PMD, 0, 40, 10);
	do_add(1, DAX_PMD, 40, 80, 3);
	do_remove(1, 20, 4);
	do_remove(1, 0, 4);
	do_remove(1, 50, 100);
	do_remove(1, 28, 1);
	do_add(1, DAX_PMD, 28, 68, 1);
	do_remove(1, 0, 1000);
	do_delete(1);
	do_delete(0);
}
END_TEST

/* A first page that is full: what cuts a run takes a second, and the last that goes of that gives it back. */
START_TEST(change_across_pages_is_whole)
{
	unsigned int i;

	do_new(1);
	for (i = 0; i < GRANT_SLOTS; i++)
		do_add(1, DAX_PTE, 2 * i, 9, 1);
	do_remove(1, 0, 2);
	do_add(1, DAX_PMD, 600, 9, 10);
	do_remove(1, 608, 4);
	do_remove(1, 620, 4);
	do_remove(1, 612, 4);
	do_remove(1, 624, 4);
	do_remove(1, 600, 50);
	do_add(1, DAX_PMD, 0, 9, 1);
	do_delete(1);
}
END_TEST

static void random_operation(void)
{
	unsigned int id = (unsigned int)random() % IDS;
	uint64_t index = (uint64_t)random() % INDICES;

	if (!states[state_count - 1].there[id]) {
		do_new(id);
		return;
	}
	if (random() % 64 == 0)
		do_delete(id);
	else if (random() % 64 == 0)
		do_remove(id, index, (uint64_t)random() % 300);
	else if (random() % 3 == 0)
		do_remove(id, index, 1 + (uint64_t)random() % 12);
	else if (random() % 2)
		do_add(id, (enum dax_size)(random() % 3), index, (uint64_t)random() % 99, 1 + (uint64_t)random() % 4);
	else
		do_add(id, DAX_PTE, index & ~1ULL, (uint64_t)random() % 99, 1);
}

START_TEST(random_changes_are_whole)
{
	unsigned int seed = (unsigned int)time(NULL), i;

	printf("grant crash seed %u\n", seed);
	srandom(seed);
	for (i = 0; i < 1500; i++)
		random_operation();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grant_crash");
	TCase *tc = tcase_create("stores");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 240);
	tcase_add_test(tc, every_kind_of_change_is_whole);
	tcase_add_test(tc, change_across_pages_is_whole);
	tcase_add_test(tc, random_changes_are_whole);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
