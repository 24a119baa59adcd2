/*
 * Layout breaking: what is busy, who waits for what and is woken by what, what a break leaves behind when it ends and
 * when it is interrupted, mappers that answer late or never, and where the two ways - the kernel's and this project's
 * - differ.
 */
#include "dax/entry.h"

#include "../dax/world.h"
#include "unit.h"

static struct sim_file *f;
static struct sim_mm *a, *b;
static uint64_t A, B;

static void actors(void)
{
	f = sim_create(w, 8 * MIB);
	a = sim_mm_new(w);
	b = sim_mm_new(w);
	A = sim_mmap(a, f, 0, 4 * PMD, RW, 0);
	B = sim_mmap(b, f, 0, 4 * PMD, RW, 0);
}

static void setup(void)
{
	world_setup();
	actors();
}

static void world_of(enum dax_layout layout)
{
	const struct sim_config config = { .layout = layout };

	world_with(&config);
	actors();
}

static int punch_first(void *arg)
{
	return sim_punch(f, 0, 1, arg);
}

static int truncate_all(void *arg)
{
	return sim_truncate(f, 0, arg);
}

static struct sim_pin *pin(struct sim_mm *mm, uint64_t address, uint64_t count)
{
	struct sim_pin *p = NULL;

	ck_assert_int_eq(sim_pin(mm, address, count, DAX_PIN_WRITE, &p), 0);
	sim_check(w);
	return p;
}

/* A signal that a test sends. */
static _Atomic bool signalled;

static bool interrupted(void *arg)
{
	(void)arg;
	return signalled;
}

static const struct dax_break interruptible = { .interrupted = interrupted };

static void send_signal(void)
{
	signalled = true;
	pgmap_wake(w->pg);
}

/* ---- What a break does ----------------------------------------------------------------------------------- */

START_TEST(nothing_of_the_range_is_left)
{
	store(a, A, 1);
	store(b, B + PMD * PAGE, 2);
	load(b, B);
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	sim_check(w);
	ck_assert(!is_mapped(a, A) && !is_mapped(b, B));
	ck_assert(is_mapped(b, B + PMD * PAGE));
	ck_assert_uint_eq(sim_blocks(f), PMD);
	ck_assert_uint_eq(sim_used(w), PMD);
	ck_assert_uint_eq(load(a, A), 0);
}
END_TEST

START_TEST(an_entry_is_revoked_whole)
{
	store(a, A, 1);
	store(a, A + 9 * PAGE, 3);
	ck_assert_int_eq(sim_punch(f, 5, 1, NULL), 0);
	sim_check(w);
	ck_assert_uint_eq(sim_entries(f), 0);
	ck_assert_uint_eq(sim_rss(a), 0);
	ck_assert_uint_eq(load(a, A + 9 * PAGE), 3);
	ck_assert_int_eq(mapped_size(a, A + 9 * PAGE), DAX_PTE);
	ck_assert_uint_eq(load(a, A + 5 * PAGE), 0);
}
END_TEST

START_TEST(the_range_or_the_whole_inode)
{
	bool kernel = _i;

	world_of(kernel ? DAX_LAYOUT_KERNEL : DAX_LAYOUT_INODAX);
	store(a, A, 1);
	store(a, A + 3 * PMD * PAGE, 1);
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
	ck_assert_int_eq(is_mapped(a, A + 3 * PMD * PAGE), !kernel);
	ck_assert_uint_eq(sim_entries(f), kernel ? 0 : 1);
	sim_check(w);
}
END_TEST

START_TEST(a_truncate_to_the_same_size_brings_large_mappings_back_in_the_kernels_way)
{
	bool kernel = _i;
	uint64_t at;

	world_of(kernel ? DAX_LAYOUT_KERNEL : DAX_LAYOUT_INODAX);
	ck_assert_int_eq(sim_fallocate(f, 0, PMD, true), 0);
	at = sim_mmap(b, f, 0, 1, RW, 0);
	load(b, at);
	sim_munmap(b, at, 1);
	load(a, A);
	ck_assert_int_eq(mapped_size(a, A), DAX_PTE);
	sim_dontneed(a, A, PMD);
	load(a, A);
	ck_assert_int_eq(mapped_size(a, A), DAX_PTE);	/* entries need no mapping */
	ck_assert_int_eq(sim_truncate(f, 8 * MIB, NULL), 0);
	sim_dontneed(a, A, PMD);
	load(a, A);
	ck_assert_int_eq(mapped_size(a, A), kernel ? DAX_PMD : DAX_PTE);
}
END_TEST

START_TEST(what_was_dirty_is_flushed_or_in_the_kernels_way_is_not)
{
	bool kernel = _i;
	uint64_t unit;

	world_of(kernel ? DAX_LAYOUT_KERNEL : DAX_LAYOUT_INODAX);
	store(a, A + 3 * PAGE, 1);
	unit = sim_unit_of(f, 3);
	ck_assert(w->unflushed[unit]);
	ck_assert_int_eq(sim_break(f, 3, 1, NULL), 0);
	ck_assert_int_eq(w->unflushed[unit], kernel);
	sim_fsync(f, 0, 4 * PMD);
	ck_assert_int_eq(w->unflushed[unit], kernel);
}
END_TEST

START_TEST(a_break_of_nothing)
{
	store(a, A, 1);
	ck_assert_int_eq(dax_break_layout(f->mapping, 0, 0, NULL), 0);
	ck_assert_uint_eq(sim_entries(f), 1);
	ck_assert_int_eq(sim_break(f, 3 * PMD, UINT64_MAX, NULL), 0);
	ck_assert_uint_eq(sim_entries(f), 1);
}
END_TEST

START_TEST(unlink_keeps_a_mapped_file)
{
	store(a, A, 7);
	sim_unlink(f);
	sim_close(f);
	ck_assert_uint_eq(load(a, A), 7);
	sim_munmap(b, B, 4 * PMD);
	ck_assert_uint_eq(sim_used(w), PMD);
	sim_munmap(a, A, 4 * PMD);
	ck_assert(f->gone);
	ck_assert_uint_eq(sim_used(w), 0);
	sim_check(w);
}
END_TEST

/* ---- Pins ------------------------------------------------------------------------------------------------ */

START_TEST(a_pin_is_waited_for_mapped_or_not)
{
	struct sim_pin *p = pin(a, A, 2);
	struct call c;

	if (_i) {
		sim_munmap(a, A, 4 * PMD);
		sim_munmap(b, B, 4 * PMD);
	}
	call_start(&c, punch_first, NULL);
	ck_assert(call_sleeps(&c));
	ck_assert_uint_eq(sim_blocks(f), PMD);
	sim_unpin(w, p);
	ck_assert(call_ends(&c) && !call_end(&c));
	ck_assert_uint_eq(sim_blocks(f), PMD - 1);
	ck_assert_uint_eq(w->dax.stat.break_waits, 1);
	sim_check(w);
}
END_TEST

START_TEST(each_of_several_pins_is_waited_for)
{
	struct sim_pin *p = pin(a, A, 1), *q = pin(a, A + PMD * PAGE, 1);
	struct call c;

	call_start(&c, truncate_all, NULL);
	ck_assert(call_sleeps(&c));
	sim_unpin(w, p);
	ck_assert(call_sleeps(&c));
	sim_unpin(w, q);
	ck_assert(call_ends(&c) && !call_end(&c));
	sim_check(w);
}
END_TEST

START_TEST(mappings_alone_are_not_busy)
{
	const struct dax_break nowait = { .nowait = true };
	struct sim_pin *p;

	load(a, A);
	store(b, B, 1);
	load(a, A);
	ck_assert(!pgmap_busy(w->pg, sim_unit_of(f, 0)) && !pgmap_idle(w->pg, sim_unit_of(f, 0)));
	ck_assert_int_eq(sim_break(f, 0, 1, &nowait), 0);
	p = pin(a, A, 1);
	ck_assert(pgmap_busy(w->pg, sim_unit_of(f, 0)));
	ck_assert_int_eq(sim_break(f, 0, 1, &nowait), -EAGAIN);
	sim_unpin(w, p);
}
END_TEST

START_TEST(faults_go_on_while_a_break_sleeps)
{
	struct sim_pin *p = pin(a, A, 1);
	struct call c;

	call_start(&c, punch_first, NULL);
	ck_assert(call_sleeps(&c));
	ck_assert_int_eq(sim_store(b, B + 100 * PAGE, 4), SIM_OK);
	ck_assert(call_sleeps(&c));
	sim_unpin(w, p);
	/* The other mapping of the same folio was there when the pin went. */
	ck_assert(call_ends(&c) && !call_end(&c));
	sim_check(w);
	ck_assert_uint_eq(load(b, B + 100 * PAGE), 4);
}
END_TEST

START_TEST(a_refault_keeps_the_kernels_waiter_asleep)
{
	struct sim_pin *p;
	struct call c;

	world_of(DAX_LAYOUT_KERNEL);
	p = pin(a, A, 1);
	call_start(&c, punch_first, NULL);
	ck_assert(call_sleeps(&c));
	ck_assert_int_eq(sim_store(b, B, 4), SIM_OK);
	sim_unpin(w, p);
	ck_assert(call_sleeps(&c));		/* no pin is left, and it sleeps on */
	sim_dontneed(b, B, PMD);
	ck_assert(call_ends(&c) && !call_end(&c));
	sim_check(w);
}
END_TEST

START_TEST(an_interrupted_break_loses_nothing_but_mappings)
{
	bool kernel = _i;
	struct sim_pin *p;
	struct call c;
	uint64_t unit;

	world_of(kernel ? DAX_LAYOUT_KERNEL : DAX_LAYOUT_INODAX);
	signalled = false;
	store(a, A + PMD * PAGE, 5);
	p = pin(a, A, 1);
	unit = sim_unit_of(f, 0);
	call_start(&c, truncate_all, (void *)&interruptible);
	ck_assert(call_sleeps(&c));
	send_signal();
	ck_assert(call_ends(&c));
	ck_assert_int_eq(call_end(&c), -EINTR);
	ck_assert_uint_eq(f->size, 8 * MIB);
	ck_assert_uint_eq(sim_entries(f), 2);
	ck_assert_uint_eq(sim_unit_of(f, 0), unit);
	ck_assert_uint_eq(load(a, A + PMD * PAGE), 5);
	ck_assert(sim_entry(f, PMD).dirty);
	sim_unpin(w, p);
	sim_check(w);
}
END_TEST

START_TEST(pin_busy_refuses_at_once_except_in_the_kernels_way)
{
	const struct dax_break nowait = { .nowait = true };
	struct sim_pin *p = pin(a, A, 1);

	w->dax.pin_busy = true;
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), -EBUSY);
	ck_assert_int_eq(sim_punch(f, 0, 1, &nowait), -EAGAIN);
	ck_assert_int_eq(sim_punch(f, PMD, 1, NULL), 0);
	w->dax.layout = DAX_LAYOUT_KERNEL;
	ck_assert_int_eq(sim_punch(f, 0, 1, &nowait), -EAGAIN);
	ck_assert_int_eq(sim_punch(f, PMD, 1, &nowait), -EAGAIN);	/* the whole inode */
	sim_unpin(w, p);
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
}
END_TEST

START_TEST(a_truncate_that_grows_waits_in_the_kernels_way_only)
{
	const struct dax_break nowait = { .nowait = true };
	struct sim_pin *p = pin(a, A, 1);

	ck_assert_int_eq(sim_truncate(f, 9 * MIB, &nowait), 0);
	w->dax.layout = DAX_LAYOUT_KERNEL;
	ck_assert_int_eq(sim_truncate(f, 10 * MIB, &nowait), -EAGAIN);
	sim_unpin(w, p);
}
END_TEST

static int close_last(void *arg)
{
	(void)arg;
	sim_close(f);
	return 0;
}

START_TEST(the_end_of_an_inode_waits_for_pins_in_mode_evict)
{
	struct sim_config config = { .pin = DAX_PIN_EVICT, .layout = _i ? DAX_LAYOUT_KERNEL : DAX_LAYOUT_INODAX };
	struct sim_pin *p;
	struct call c;

	world_with(&config);
	actors();
	p = pin(a, A, 1);
	sim_exit(a);
	sim_exit(b);
	sim_unlink(f);
	call_start(&c, close_last, NULL);
	ck_assert(call_sleeps(&c));
	ck_assert_uint_eq(sim_used(w), PMD);
	sim_unpin(w, p);
	ck_assert(call_ends(&c) && !call_end(&c));
	ck_assert_uint_eq(sim_used(w), 0);
	ck_assert(f->gone);
}
END_TEST

START_TEST(a_file_that_leaves_the_cache_is_clean_and_comes_back)
{
	store(a, A, 5);
	sim_exit(a);
	sim_exit(b);
	sim_close(f);
	sim_evict(f);
	ck_assert_uint_eq(w->unflushed[sim_unit_of(f, 0)], 0);
	sim_check(w);
	sim_open(f);
	ck_assert_uint_eq(sim_read(f, 0), 5);
	a = sim_mm_new(w);
	ck_assert_uint_eq(load(a, sim_mmap(a, f, 0, 1, RW, 0)), 5);
}
END_TEST

/* ---- Mappers that do not answer at once ------------------------------------------------------------------ */

static int answer_later(void *arg)
{
	do
		usleep(5000);
	while (!sim_answer(arg));
	return 0;
}

START_TEST(a_late_answer_is_waited_for)
{
	struct call c;

	w->dax.mapper_ms = 600000;
	b->answer = SIM_LATE;
	store(b, B, 1);
	call_start(&c, answer_later, b);
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
	ck_assert(!is_mapped(b, B));
	ck_assert_uint_eq(pgmap_limbo(w->pg), 0);
	ck_assert_uint_eq(w->dax.stat.silent, 0);
	call_end(&c);
	sim_check(w);
}
END_TEST

START_TEST(a_mapper_that_answers_in_steps)
{
	b->answer = SIM_LATE;
	b->late_steps = 3;
	store(b, B, 1);
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);	/* past the bound */
	ck_assert_uint_eq(pgmap_limbo(w->pg), PMD);
	sim_step(w);
	sim_step(w);
	sim_check(w);
	ck_assert_uint_eq(pgmap_limbo(w->pg), PMD);
	sim_step(w);
	ck_assert_uint_eq(pgmap_limbo(w->pg), 0);
	sim_check(w);
}
END_TEST

static uint64_t ms_of_punch(uint64_t index)
{
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	ck_assert_int_eq(sim_punch(f, index, 1, NULL), 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	return (uint64_t)((t1.tv_sec - t0.tv_sec) * 1000 + (t1.tv_nsec - t0.tv_nsec) / 1000000);
}

START_TEST(a_silent_mapper_is_waited_for_once_and_its_blocks_rest_in_limbo)
{
	w->dax.mapper_ms = 300;
	store(b, B, 5);
	b->answer = SIM_SILENT;
	ck_assert_uint_ge(ms_of_punch(0), 290);
	ck_assert_uint_eq(w->dax.stat.silent, 1);
	ck_assert_uint_eq(pgmap_limbo(w->pg), 1);
	ck_assert_uint_eq(sim_used(w), PMD);
	sim_check(w);
	/* It shows what it had; its block is nobody else's. */
	ck_assert_uint_eq(load(b, B), 5);
	ck_assert_uint_eq(load(a, A), 0);
	store(a, A, 6);
	ck_assert_uint_eq(load(b, B), 5);
	ck_assert_uint_lt(ms_of_punch(PMD), 200);
	ck_assert_uint_lt(ms_of_punch(0), 200);
	ck_assert_uint_eq(w->dax.stat.silent, 1);
	/* When it has answered it is as good as any. */
	sim_answer(b);
	ck_assert_uint_eq(pgmap_limbo(w->pg), 0);
	b->answer = SIM_PROMPT;
	sim_check(w);
	ck_assert_uint_eq(load(b, B), 0);
	store(b, B, 8);
	ck_assert_uint_lt(ms_of_punch(0), 200);
	sim_check(w);
}
END_TEST

START_TEST(a_dead_mapper_leaves_limbo_when_its_death_is_noticed)
{
	store(b, B, 5);
	b->answer = SIM_SILENT;
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	ck_assert_uint_eq(pgmap_limbo(w->pg), PMD);
	sim_exit(b);
	ck_assert_uint_eq(pgmap_limbo(w->pg), 0);
	ck_assert_uint_eq(sim_used(w), 0);
	sim_check(w);
}
END_TEST

START_TEST(a_mapper_that_has_to_answer_gets_nothing_new)
{
	load(b, B);
	store(b, B + PMD * PAGE, 1);
	ck_assert_int_eq(sim_fallocate(f, 3 * PMD, PMD, true), 0);
	load(b, B + 3 * PMD * PAGE);
	b->answer = SIM_SILENT;
	ck_assert_int_eq(sim_punch(f, 0, 1, NULL), 0);
	ck_assert_int_eq(store_is(b, B + 2, 1), SIM_STUCK);
	ck_assert_int_eq(load_is(b, B + 2 * PMD * PAGE), SIM_STUCK);
	ck_assert_int_eq(store_is(b, B + 3 * PMD * PAGE, 1), SIM_STUCK);	/* not even more rights */
	ck_assert_uint_eq(load(b, B + PMD * PAGE), 1);
	sim_answer(b);
	store(b, B + 2, 1);
}
END_TEST

START_TEST(blocks_of_a_silent_mapper_are_mapped_by_others_as_small_ones)
{
	/* The file keeps its blocks; the folio, without an entry, is still the size the silent mapper has it. */
	store(b, B, 5);
	b->answer = SIM_SILENT;
	ck_assert_int_eq(sim_break(f, 0, PMD, NULL), 0);
	ck_assert(word_of(f, 0) & FOLIO_STALE);
	sim_check(w);
	ck_assert_uint_eq(load(a, A), 5);
	store(a, A, 6);
	store(a, A + 9 * PAGE, 6);
	ck_assert_uint_eq(load(b, B), 6);		/* the same block */
	sim_answer(b);
	sim_check(w);
	ck_assert_int_eq(sim_punch(f, 0, PMD, NULL), 0);
	sim_check(w);
	ck_assert_uint_eq(sim_used(w), 0);
}
END_TEST

START_TEST(zeros_are_gone_everywhere_before_blocks_appear)
{
	struct call c;

	w->dax.mapper_ms = 600000;
	load(b, B);
	b->answer = SIM_LATE;
	call_start(&c, answer_later, b);
	store(a, A, 7);
	ck_assert(!is_mapped(b, B) || sim_pte_at(b, B).kind == SIM_UNIT);
	call_end(&c);
	b->answer = SIM_PROMPT;
	ck_assert_uint_eq(load(b, B), 7);
}
END_TEST

START_TEST(a_write_over_a_mapped_hole_shows)
{
	load(a, A);
	load(b, B + 5 * PAGE);
	ck_assert_int_eq(sim_write(f, 5 * PAGE, 9), 0);
	sim_check(w);
	ck_assert_uint_eq(load(b, B + 5 * PAGE), 9);
	ck_assert_uint_eq(load(a, A + 5 * PAGE), 9);
	store(a, A + 5 * PAGE, 10);
	ck_assert_uint_eq(sim_read(f, 5 * PAGE), 10);
	ck_assert_int_eq(sim_write(f, 5 * PAGE, 11), 0);
	ck_assert_uint_eq(load_faults(a, A + 5 * PAGE), 0);
	ck_assert_uint_eq(load(a, A + 5 * PAGE), 11);
}
END_TEST

START_TEST(zeroing_a_range)
{
	store(a, A + 3 * PAGE, 9);
	ck_assert_int_eq(sim_zero_range(f, 0, PMD, NULL), 0);
	sim_check(w);
	ck_assert_uint_eq(load(a, A + 3 * PAGE), 0);
	ck_assert_int_eq(sim_pte_at(a, A + 3 * PAGE).kind, SIM_ZERO);
	store(a, A + 4 * PAGE, 1);
	ck_assert_uint_eq(load(a, A + 3 * PAGE), 0);
}
END_TEST

static TCase *test_case(Suite *s, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, setup, world_teardown);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("layout");
	TCase *t = test_case(s, "break");

	tcase_add_test(t, nothing_of_the_range_is_left);
	tcase_add_test(t, an_entry_is_revoked_whole);
	tcase_add_loop_test(t, the_range_or_the_whole_inode, 0, 2);
	tcase_add_loop_test(t, a_truncate_to_the_same_size_brings_large_mappings_back_in_the_kernels_way, 0, 2);
	tcase_add_loop_test(t, what_was_dirty_is_flushed_or_in_the_kernels_way_is_not, 0, 2);
	tcase_add_test(t, a_break_of_nothing);
	tcase_add_test(t, unlink_keeps_a_mapped_file);
	t = test_case(s, "pins");
	tcase_add_loop_test(t, a_pin_is_waited_for_mapped_or_not, 0, 2);
	tcase_add_test(t, each_of_several_pins_is_waited_for);
	tcase_add_test(t, mappings_alone_are_not_busy);
	tcase_add_test(t, faults_go_on_while_a_break_sleeps);
	tcase_add_test(t, a_refault_keeps_the_kernels_waiter_asleep);
	tcase_add_loop_test(t, an_interrupted_break_loses_nothing_but_mappings, 0, 2);
	tcase_add_test(t, pin_busy_refuses_at_once_except_in_the_kernels_way);
	tcase_add_test(t, a_truncate_that_grows_waits_in_the_kernels_way_only);
	tcase_add_loop_test(t, the_end_of_an_inode_waits_for_pins_in_mode_evict, 0, 2);
	tcase_add_test(t, a_file_that_leaves_the_cache_is_clean_and_comes_back);
	t = test_case(s, "mappers");
	tcase_add_test(t, a_late_answer_is_waited_for);
	tcase_add_test(t, a_mapper_that_answers_in_steps);
	tcase_add_test(t, a_silent_mapper_is_waited_for_once_and_its_blocks_rest_in_limbo);
	tcase_add_test(t, a_dead_mapper_leaves_limbo_when_its_death_is_noticed);
	tcase_add_test(t, a_mapper_that_has_to_answer_gets_nothing_new);
	tcase_add_test(t, blocks_of_a_silent_mapper_are_mapped_by_others_as_small_ones);
	tcase_add_test(t, zeros_are_gone_everywhere_before_blocks_appear);
	tcase_add_test(t, a_write_over_a_mapped_hole_shows);
	tcase_add_test(t, zeroing_a_range);
	return unit_run(s);
}
