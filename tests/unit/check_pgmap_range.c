/*
 * lib/dax/pgmap: references on folios by range, against the sentences of pgmap.h, and against a model that knows folios
 * only as a list. References by one folio are check_pgmap's.
 */
#include "pgmap_unit.h"

static struct freed freed;

static int request(struct pgmap *pg, uint64_t unit, uint64_t units, struct pgmap_folio *out, unsigned int *count)
{
	unsigned int shift = pgmap_config(pg)->unit_shift;

	return pgmap_request_folios(pg, unit << shift, units << shift, out, count);
}

START_TEST(a_range_must_be_units_of_the_pool)
{
	struct pgmap *pg = new_pgmap(_i, 2 * GIB + 4096, &freed);
	uint64_t unit = 1ULL << pgmap_config(pg)->unit_shift, end = pgmap_units(pg) * unit;
	const uint64_t bad[][2] = {
		{ 0, 0 }, { 1, unit }, { 0, unit - 1 }, { unit / 2, unit }, { end, unit }, { 0, end + unit },
		{ end - unit, 2 * unit }, { UINT64_MAX - unit + 1, unit }, { 0, UINT64_MAX - unit + 1 },
		{ unit, UINT64_MAX - unit + 1 },
	};
	struct pgmap_folio out[8];
	unsigned int count;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		count = 8;
		ck_assert_int_eq(pgmap_request_folios(pg, bad[i][0], bad[i][1], out, &count), -EINVAL);
		ck_assert_uint_eq(count, 8);
	}
	count = 8;
	ck_assert_int_eq(pgmap_request_folios(pg, end - unit, unit, out, &count), 0);
	ck_assert_uint_eq(count, 1);
	pgmap_release_folios(pg, out, count);
	end_pgmap(pg);
}
END_TEST

START_TEST(a_free_range_is_cut_into_the_largest_folios)
{
	struct pgmap *pg = new_pgmap(_i, 4 * GIB, &freed);
	uint64_t pud = units_in(pg, DAX_PUD), end = pgmap_units(pg), at;
	struct pgmap_folio *out = calloc(4096, sizeof(*out));
	unsigned int count = 4096, n;

	/* From one unit before the second GiB to one behind the third. */
	at = pud == 1 ? 1 : pud - 1;
	ck_assert_int_eq(request(pg, at, pud == 1 ? 2 : 2 * pud + 2, out, &count), 0);
	n = pud == 1 ? 2 : 4;
	ck_assert_uint_eq(count, n);
	for (unsigned int i = 0; i < count; i++) {
		ck_assert_uint_eq(out[i].unit, at);
		ck_assert_int_eq(out[i].size, pud == 1 || (i > 0 && i < 3) ? DAX_PUD : pgmap_base_size(pg));
		at += units_in(pg, out[i].size);
	}
	ck_assert_uint_eq(stat_of(pg).folios[DAX_PUD], 2);
	pgmap_release_folios(pg, out, count);
	ck_assert_uint_eq(pgmap_next_used(pg, 0), end);

	/* And what is not aligned to a PUD has PMDs. */
	if (pgmap_order(pg, DAX_PMD) > 0) {
		count = 4096;
		ck_assert_int_eq(request(pg, 512 - 2, pud, out, &count), 0);
		ck_assert_uint_eq(count, 2 + 511 + 510);
		ck_assert_int_eq(out[1].size, DAX_PTE);
		ck_assert_int_eq(out[2].size, DAX_PMD);
		ck_assert_int_eq(out[512].size, DAX_PMD);
		ck_assert_int_eq(out[513].size, DAX_PTE);
		pgmap_release_folios(pg, out, count);
	}
	end_pgmap(pg);
	free(out);
}
END_TEST

/* Errors in the middle: whatever was taken before is given back. */
START_TEST(a_range_that_fails_leaves_no_reference)
{
	struct pgmap *pg = new_pgmap(_i, 8 * GIB, &freed);
	struct pgmap_folio out[8];
	unsigned int count;

	for (count = 0; count < 4; count++) {
		unsigned int room = count;

		pgmap_poison(pg, 5);
		ck_assert_int_eq(request(pg, 3, 4, out, &room), count < 3 ? -E2BIG : -EHWPOISON);
		ck_assert_uint_eq(room, count);
		ck_assert_uint_eq(stat_of(pg).refs, 0);
		pgmap_unpoison(pg, 5);
		ck_assert_int_eq(request(pg, 4, 4, out, &room), -E2BIG);
		ck_assert_uint_eq(stat_of(pg).refs, 0);
		ck_assert_uint_eq(pgmap_next_used(pg, 0), pgmap_units(pg));
	}
	count = 4;
	ck_assert_int_eq(request(pg, 4, 4, out, &count), 0);
	ck_assert_uint_eq(count, 4);
	ck_assert_int_eq(pgmap_kill(pg), 0);
	ck_assert_int_eq(request(pg, 3, 2, out, &count), -ENXIO);
	ck_assert_uint_eq(pgmap_refused(pg), 1);
	count = 4;
	ck_assert_int_eq(request(pg, 4, 4, out, &count), 0);	/* folios that are live may have more references */
	ck_assert_uint_eq(stat_of(pg).refs, 8);
	pgmap_release_folios(pg, out, count);
	pgmap_release_folios(pg, out, count);
	end_pgmap(pg);
}
END_TEST

/* ---- Against a model ------------------------------------------------------------------------------------- */

/*
 * The model: which folios there are, by unit, how many references each has, whether it has an owner, which units
 * are poisoned. A folio that is free is what the header says: the largest that is aligned, holds the unit, lies in
 * the range and has no unit that is used.
 */
#define MODEL_UNITS	2053
#define MODEL_HELD	64

struct model {
	uint64_t	head[MODEL_UNITS];
	unsigned int	refs[MODEL_UNITS];
	enum dax_size	size[MODEL_UNITS];
	bool		owned[MODEL_UNITS], poison[MODEL_UNITS];
	struct {
		struct pgmap_folio	folio[MODEL_UNITS];
		unsigned int		count;
	} held[MODEL_HELD];
};

static struct model model;

static bool model_free(uint64_t unit, uint64_t n)
{
	for (uint64_t u = unit; u < unit + n; u++) {
		uint64_t head = model.head[u];

		if (model.poison[u] || model.refs[head] || model.owned[head])
			return false;
	}
	return true;
}

static struct pgmap_folio model_folio(const struct pgmap *pg, uint64_t unit, uint64_t start, uint64_t end)
{
	uint64_t head = model.head[unit];

	if (model.refs[head] || model.owned[head])
		return (struct pgmap_folio){ head, model.size[head] };
	for (enum dax_size size = DAX_PUD; size > pgmap_base_size(pg); size--) {
		uint64_t n = units_in(pg, size);

		head = unit - unit % n;
		if (head >= start && head + n <= end && model_free(head, n))
			return (struct pgmap_folio){ head, size };
	}
	return (struct pgmap_folio){ unit, pgmap_base_size(pg) };
}

/* What a request for the range should answer. */
static int model_request(const struct pgmap *pg, uint64_t start, uint64_t end, struct pgmap_folio *out,
			 unsigned int *count)
{
	unsigned int n = 0;

	for (uint64_t unit = start; unit < end; n++) {
		struct pgmap_folio f = model_folio(pg, unit, start, end);

		if (n == *count)
			return -E2BIG;
		for (uint64_t u = f.unit; u < f.unit + units_in(pg, f.size); u++)
			if (model.poison[u])
				return -EHWPOISON;
		out[n] = f;
		unit = f.unit + units_in(pg, f.size);
	}
	*count = n;
	return 0;
}

static void model_shape(const struct pgmap *pg, uint64_t head, enum dax_size size)
{
	model.size[head] = size;
	for (uint64_t u = head; u < head + units_in(pg, size); u++)
		model.head[u] = head;
}

static void model_settle(const struct pgmap *pg, uint64_t head)
{
	uint64_t n = units_in(pg, model.size[head]);

	if (!model.refs[head] && !model.owned[head])
		for (uint64_t u = head; u < head + n; u++) {
			model.head[u] = u;
			model.size[u] = pgmap_base_size(pg);
		}
}

static void step_request(struct pgmap *pg, unsigned int slot)
{
	static struct pgmap_folio want[MODEL_UNITS];
	unsigned int room = random() % 4 ? MODEL_UNITS : (unsigned int)random() % 8, wanted = room;
	uint64_t start = (uint64_t)random() % pgmap_units(pg), most = random() % 2 ? 8 : 1100;
	uint64_t units = 1 + (uint64_t)random() % most;
	int rc;

	if (units > pgmap_units(pg) - start)
		units = pgmap_units(pg) - start;
	rc = model_request(pg, start, start + units, want, &wanted);
	ck_assert_int_eq(request(pg, start, units, model.held[slot].folio, &room), rc);
	if (rc)
		return;
	ck_assert_uint_eq(room, wanted);
	model.held[slot].count = room;
	for (unsigned int i = 0; i < room; i++) {
		if (model.held[slot].folio[i].unit != want[i].unit || model.held[slot].folio[i].size != want[i].size)
			ck_abort_msg("folio %u of the range at %llu", i, (unsigned long long)start);
		model_shape(pg, want[i].unit, want[i].size);
		model.refs[want[i].unit]++;
	}
}

static void step_release(struct pgmap *pg, unsigned int slot)
{
	pgmap_release_folios(pg, model.held[slot].folio, model.held[slot].count);
	for (unsigned int i = 0; i < model.held[slot].count; i++) {
		model.refs[model.held[slot].folio[i].unit]--;
		model_settle(pg, model.held[slot].folio[i].unit);
	}
	model.held[slot].count = 0;
}

/* An entry comes where nothing is, or the one that is there goes. */
static void step_owner(struct pgmap *pg, uint64_t unit)
{
	uint64_t head = model.head[unit];
	enum dax_size base = pgmap_base_size(pg), size = random() % 2 || base == DAX_PUD ? base : base + 1;

	if (model.owned[head] && !model.refs[head]) {
		pgmap_disassociate(pg, head, model.size[head]);
		model.owned[head] = false;
		model_settle(pg, head);
		return;
	}
	unit -= unit % units_in(pg, size);
	if (unit + units_in(pg, size) > pgmap_units(pg) || !model_free(unit, units_in(pg, size)))
		return;
	ck_assert_int_eq(pgmap_associate(pg, unit, size, false), 0);
	model_shape(pg, unit, size);
	model.owned[unit] = true;
}

static void step_poison(struct pgmap *pg, uint64_t unit)
{
	model.poison[unit] = !model.poison[unit] && random() % 4 == 0;
	if (model.poison[unit])
		pgmap_poison(pg, unit);
	else
		pgmap_unpoison(pg, unit);
}

/* Asserted once each: an assertion costs a system call. */
static void compare(struct pgmap *pg)
{
	uint64_t live = 0, wrong = UINT64_MAX;

	for (uint64_t u = 0; u < pgmap_units(pg); u++) {
		uint64_t head = model.head[u];
		bool counts = head == u || pgmap_config(pg)->accounting == PGMAP_PAGE;

		if (pgmap_head(pg, u) != head || refs(pg, u) != (counts ? model.refs[head] : 0) ||
		    ((pgmap_word(pg, u) & FOLIO_POISON) != 0) != model.poison[u])
			wrong = u;
		live += counts && model.refs[head];
	}
	ck_assert_uint_eq(wrong, UINT64_MAX);
	ck_assert_uint_eq(stat_of(pg).live, live);
	ck_assert_uint_eq(pgmap_violations(pg), 0);
}

START_TEST(ranges_agree_with_a_model)
{
	struct pgmap *pg = new_pgmap(_i, (uint64_t)MODEL_UNITS << (12 + 9 * (_i / 4)), &freed);

	memset(&model, 0, sizeof(model));
	for (uint64_t u = 0; u < MODEL_UNITS; u++) {
		model.head[u] = u;
		model.size[u] = pgmap_base_size(pg);
	}
	srandom(0x1d0dab + (unsigned int)_i);
	for (unsigned int n = 0; n < 3000; n++) {
		unsigned int slot = (unsigned int)random() % MODEL_HELD, what = (unsigned int)random() % 16;
		uint64_t unit = (uint64_t)random() % MODEL_UNITS;

		if (what < 3)
			step_owner(pg, unit);
		else if (what == 3)
			step_poison(pg, unit);
		else if (model.held[slot].count)
			step_release(pg, slot);
		else
			step_request(pg, slot);
		if (n % 16 == 0)
			compare(pg);
	}
	for (unsigned int slot = 0; slot < MODEL_HELD; slot++)
		step_release(pg, slot);
	compare(pg);
	end_pgmap(pg);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pgmap_range");
	TCase *range = tcase_create("range");

	tcase_add_loop_test(range, a_range_must_be_units_of_the_pool, 0, CONFIGS);
	tcase_add_loop_test(range, a_free_range_is_cut_into_the_largest_folios, 0, CONFIGS);
	tcase_add_loop_test(range, a_range_that_fails_leaves_no_reference, 0, CONFIGS);
	tcase_add_loop_test(range, ranges_agree_with_a_model, 0, CONFIGS);
	tcase_set_timeout(range, 60);
	suite_add_tcase(s, range);
	return unit_run(s);
}
