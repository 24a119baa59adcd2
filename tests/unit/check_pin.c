/*
 * Pins: what they count and record, what they may be made of, whose inode they hold, and the race of a pin with the
 * revocation of what it is made of.
 */
#include "dax/entry.h"

#include "../dax/world.h"
#include "unit.h"

static struct sim_file *f;
static struct sim_mm *a;
static uint64_t A;

static void actors(void)
{
	f = sim_create(w, 8 * MIB);
	a = sim_mm_new(w);
	A = sim_mmap(a, f, 0, 4 * PMD, RW, 0);
}

static void setup(void)
{
	world_setup();
	actors();
}

static struct sim_vma *first_vma(void)
{
	return list_entry(a->vmas.next, struct sim_vma, link);
}

/* dax_pin() alone, without the fault. */
static int pin_only(uint64_t index, uint64_t count, unsigned int flags)
{
	struct dax_pin p = { .grant = first_vma()->grant->grant, .area = 100 };
	int rc = dax_pin(&first_vma()->dax, index, count, flags, &p);

	if (!rc)
		dax_unpin(&p);
	sim_check(w);
	return rc;
}

START_TEST(a_pin_is_one_reference_a_unit_on_the_head)
{
	struct sim_config config = { .accounting = _i ? PGMAP_PAGE : PGMAP_HEAD };
	struct sim_pin *p;
	uint64_t unit;

	world_with(&config);
	actors();
	ck_assert_int_eq(sim_pin(a, A + 3 * PAGE, 5, DAX_PIN_WRITE, &p), 0);
	sim_check(w);
	unit = sim_unit_of(f, 0);
	ck_assert_uint_eq(folio_pins(pgmap_word(w->pg, unit)), _i ? 0 : 5);
	ck_assert_uint_eq(folio_pins(pgmap_word(w->pg, unit + 3)), _i ? 1 : 0);
	ck_assert(pgmap_busy(w->pg, unit + 200));
	sim_unpin(w, p);
	sim_check(w);
	ck_assert(!pgmap_busy(w->pg, unit));
}
END_TEST

START_TEST(a_pin_needs_what_is_mapped)
{
	struct sim_pin *p;

	ck_assert_int_eq(pin_only(0, 1, 0), -EFAULT);
	load(a, A);					/* zeros: no folio */
	ck_assert_int_eq(pin_only(0, 1, 0), -EFAULT);
	store(a, A, 1);
	ck_assert_int_eq(pin_only(0, PMD, 0), 0);
	ck_assert_int_eq(pin_only(0, PMD + 1, 0), -EFAULT);
	ck_assert_int_eq(pin_only(0, 0, 0), -EINVAL);
	ck_assert_int_eq(pin_only(4 * PMD - 1, 2, 0), -EINVAL);
	ck_assert_int_eq(pin_only(1, UINT64_MAX, 0), -EINVAL);
	/* A whole VMA, faulted in before. */
	ck_assert_int_eq(sim_pin(a, A, 4 * PMD, DAX_PIN_WRITE, &p), 0);
	sim_check(w);
	sim_unpin(w, p);
}
END_TEST

START_TEST(a_pin_that_fails_holds_nothing)
{
	store(a, A, 1);
	ck_assert_int_eq(pin_only(PMD - 3, 6, 0), -EFAULT);
	ck_assert(!pgmap_busy(w->pg, sim_unit_of(f, 0)));
	ck_assert_uint_eq(f->refs, 2);
	pgmap_poison(w->pg, sim_unit_of(f, 7));
	ck_assert_int_eq(pin_only(5, 4, 0), -EHWPOISON);
	ck_assert(!pgmap_busy(w->pg, sim_unit_of(f, 0)));
	pgmap_unpoison(w->pg, sim_unit_of(f, 7));
}
END_TEST

START_TEST(a_pin_to_write_needs_what_is_dirty)
{
	struct sim_pin *p;

	ck_assert_int_eq(sim_fallocate(f, 0, 1, true), 0);
	load(a, A);
	ck_assert_int_eq(pin_only(0, 1, 0), 0);
	ck_assert_int_eq(pin_only(0, 1, DAX_PIN_WRITE), -EFAULT);
	ck_assert_int_eq(sim_pin(a, A, 1, DAX_PIN_WRITE, &p), 0);
	ck_assert(sim_entry(f, 0).dirty);
	sim_unpin(w, p);
}
END_TEST

START_TEST(a_pin_for_long_is_refused_in_the_kernels_way)
{
	store(a, A, 1);
	ck_assert_int_eq(pin_only(0, 1, DAX_PIN_LONGTERM), 0);
	w->dax.layout = DAX_LAYOUT_KERNEL;
	ck_assert_int_eq(pin_only(0, 1, DAX_PIN_LONGTERM), -EOPNOTSUPP);
	ck_assert_int_eq(pin_only(0, 1, 0), 0);
}
END_TEST

START_TEST(a_pin_holds_its_inode_or_does_not)
{
	struct sim_config config = { .pin = _i ? DAX_PIN_EVICT : DAX_PIN_INODE };
	struct sim_pin *p;

	world_with(&config);
	actors();
	ck_assert_int_eq(sim_pin(a, A, 2, DAX_PIN_WRITE, &p), 0);
	ck_assert_uint_eq(f->refs, _i ? 2 : 3);
	sim_unpin(w, p);
	ck_assert_uint_eq(f->refs, 2);
}
END_TEST

START_TEST(a_pin_keeps_an_unlinked_closed_unmapped_file)
{
	struct sim_pin *p;
	uint64_t unit;

	ck_assert_int_eq(sim_pin(a, A, 2, DAX_PIN_WRITE, &p), 0);
	unit = sim_unit_of(f, 0);
	sim_exit(a);
	sim_unlink(f);
	sim_close(f);
	sim_check(w);
	ck_assert(!f->gone);
	ck_assert(pgmap_busy(w->pg, unit));
	ck_assert_uint_eq(sim_used(w), PMD);
	sim_unpin(w, p);
	ck_assert(f->gone);
	ck_assert_uint_eq(sim_used(w), 0);
	sim_check(w);
}
END_TEST

/* A store elsewhere gave the file a copy, so that the pinned unit is another file's alone: nobody waits for it. */
START_TEST(a_pin_may_outlive_an_inode_that_has_left_its_block)
{
	struct sim_config config = { .pin = DAX_PIN_EVICT };
	struct sim_mm *b;
	struct sim_file *g;
	struct sim_pin *p;
	uint64_t unit;

	world_with(&config);
	actors();
	store(a, A, 1);
	g = sim_create(w, 8 * MIB);
	ck_assert_int_eq(sim_reflink(f, g, 0, 1, NULL), 0);
	unit = sim_unit_of(f, 0);
	ck_assert_int_eq(sim_pin(a, A, 1, 0, &p), 0);
	b = sim_mm_new(w);
	store(b, sim_mmap(b, f, 0, 1, RW, 0), 2);
	ck_assert_uint_ne(sim_unit_of(f, 0), unit);
	sim_unlink(f);
	sim_close(f);
	sim_exit(b);
	sim_exit(a);
	ck_assert(f->gone && !f->mapping);
	ck_assert_uint_eq(folio_pins(pgmap_word(w->pg, unit)), 1);
	sim_check(w);
	sim_unpin(w, p);
	ck_assert(!pgmap_busy(w->pg, unit));
	sim_check(w);
}
END_TEST

START_TEST(nothing_is_pinned_through_a_revocation_on_its_way)
{
	store(a, A, 1);
	a->answer = SIM_SILENT;
	ck_assert_int_eq(pin_only(0, 1, 0), 0);
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
	/* Its blocks are in limbo; the record is still there. */
	ck_assert_uint_eq(load(a, A), 1);
	ck_assert_int_eq(pin_only(0, 1, 0), -EFAULT);
	sim_answer(a);
	sim_check(w);
}
END_TEST

START_TEST(a_pin_outlives_removal_and_drain_waits_for_it)
{
	struct sim_config config = { .drain = _i ? PGMAP_SWEEP : PGMAP_COUNTER };
	struct sim_pin *p;

	world_with(&config);
	actors();
	ck_assert_int_eq(sim_pin(a, A, 1, DAX_PIN_WRITE, &p), 0);
	sim_munmap(a, A, 4 * PMD);
	ck_assert_int_eq(pgmap_kill(w->pg), 0);
	ck_assert_int_eq(pgmap_drain(w->pg, 10), -ETIMEDOUT);
	sim_check(w);
	sim_unpin(w, p);
	ck_assert_int_eq(pgmap_drain(w->pg, 0), 0);
	sim_check(w);
}
END_TEST

/* ---- Races ----------------------------------------------------------------------------------------------- */

#define ROUNDS	300

static _Atomic bool stop;

/* Pin, store through the pin as a device would, look that the block is still the file's, unpin. */
static int pin_and_store(void *arg)
{
	struct sim_mm *mm = arg;
	uint64_t at = sim_mmap(mm, f, 0, PMD, RW, 1);
	int pins = 0;

	while (!stop) {
		struct sim_pin *p;
		uint64_t unit;

		if (sim_pin(mm, at, 1, DAX_PIN_WRITE, &p))
			continue;
		unit = sim_unit_of(f, 0);
		sim_poke(w, unit, 0, 1);
		for (int i = 0; i < 3; i++)
			if (!pgmap_busy(w->pg, unit) || sim_unit_of(f, 0) != unit)
				sim_fail("a pinned block left its file");
		sim_unpin(w, p);
		pins++;
	}
	return pins;
}

START_TEST(a_pinned_block_never_leaves_its_file)
{
	struct call c[2];

	stop = false;
	for (int i = 0; i < 2; i++)
		call_start(&c[i], pin_and_store, sim_mm_new(w));
	for (int i = 0; i < ROUNDS; i++)
		ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
	stop = true;
	for (int i = 0; i < 2; i++)
		call_end(&c[i]);
	sim_check(w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pin");
	TCase *t = tcase_create("pin");

	tcase_add_checked_fixture(t, setup, world_teardown);
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, a_pin_is_one_reference_a_unit_on_the_head, 0, 2);
	tcase_add_test(t, a_pin_needs_what_is_mapped);
	tcase_add_test(t, a_pin_that_fails_holds_nothing);
	tcase_add_test(t, a_pin_to_write_needs_what_is_dirty);
	tcase_add_test(t, a_pin_for_long_is_refused_in_the_kernels_way);
	tcase_add_loop_test(t, a_pin_holds_its_inode_or_does_not, 0, 2);
	tcase_add_test(t, a_pin_keeps_an_unlinked_closed_unmapped_file);
	tcase_add_test(t, a_pin_may_outlive_an_inode_that_has_left_its_block);
	tcase_add_test(t, nothing_is_pinned_through_a_revocation_on_its_way);
	tcase_add_loop_test(t, a_pin_outlives_removal_and_drain_waits_for_it, 0, 2);
	tcase_add_test(t, a_pinned_block_never_leaves_its_file);
	suite_add_tcase(s, t);
	return unit_run(s);
}
