/*
 * Threads at each other: processes that load, store, fork, unmap and pin, and threads that punch, truncate, write
 * back, reflink and lose media, all on two files; then, at rest, every invariant, and every mapping against the file.
 * Made to be run under ThreadSanitizer too. INODAX_TEST_QUICK=1 shortens it.
 */
#include <stdlib.h>
#include <string.h>

#include "dax/entry.h"

#include "../dax/world.h"
#include "unit.h"

#define FILES	2
#define PAGES	(2 * PMD)
#define MAPPERS	3

static struct sim_file *file[FILES];
static _Atomic bool stop;
static _Atomic bool truncating;		/* some access may be beyond the end */

struct actor {
	unsigned int	seed;
	unsigned int	number;
};

static uint64_t pick(struct actor *me, uint64_t n)
{
	return (uint64_t)rand_r(&me->seed) % n;
}

static unsigned int run_ms(void)
{
	return getenv("INODAX_TEST_QUICK") ? 150 : 1500;
}

/* ---- Processes ------------------------------------------------------------------------------------------- */

static void expect_access(enum sim_result r)
{
	if (r != SIM_OK && r != SIM_STUCK && !(r == SIM_SIGBUS && truncating) && r != SIM_MCE)
		sim_fail("an access came to %d", r);
}

/*
 * Everybody stores to his own byte of each page: what he finds there is his last value, or 0 if somebody punched
 * it, or, from a file that was reflinked over it, anything.
 */
static void own_byte(struct actor *me, struct sim_mm *mm, uint64_t at)
{
	uint64_t address = at + pick(me, 16) * 31 * PAGE + me->number;
	uint8_t v = (uint8_t)pick(me, 256), got = v;
	enum sim_result stored = sim_store(mm, address, v), loaded = sim_load(mm, address, &got);

	expect_access(stored);
	expect_access(loaded);
	if (stored == SIM_OK && loaded == SIM_OK && got != v && got != 0 && !truncating)
		sim_fail("%u was stored, %u loaded", v, got);
}

static void pin_some(struct actor *me, struct sim_mm *mm, uint64_t at)
{
	struct sim_pin *p;

	if (sim_pin(mm, at + pick(me, PAGES - 4) * PAGE, 1 + pick(me, 3), pick(me, 2) ? DAX_PIN_WRITE : 0, &p))
		return;
	usleep((useconds_t)pick(me, 50));
	sim_unpin(w, p);
}

static void change_mapping(struct actor *me, struct sim_mm *mm, uint64_t *at, struct sim_file *f)
{
	struct sim_mm *child;
	uint64_t page = pick(me, PAGES - 8);
	uint8_t v;

	switch (pick(me, 5)) {
	case 0:
		sim_munmap(mm, *at, PAGES);
		*at = sim_mmap(mm, f, 0, PAGES, pick(me, 4) ? RW : SIM_WRITE, pick(me, 2));
		break;
	case 1:
		sim_dontneed(mm, *at + page * PAGE, 8);
		break;
	case 2:
		sim_protect(mm, *at + page * PAGE, 8, false);
		sim_protect(mm, *at + page * PAGE, 8, true);
		break;
	case 3:
		sim_answer(mm);
		mm->answer = pick(me, 4) ? SIM_PROMPT : SIM_LATE;
		break;
	case 4:
		child = sim_fork(mm);
		expect_access(sim_load(child, *at + page * PAGE, &v));
		sim_exit(child);
		break;
	}
}

static int process(void *arg)
{
	struct actor *me = arg;
	struct sim_file *f = file[me->number % FILES];
	struct sim_mm *mm = sim_mm_new(w);
	uint64_t at = sim_mmap(mm, f, 0, PAGES, RW, me->number & 1);

	while (!stop) {
		uint64_t what = pick(me, 20);
		uint8_t v;

		if (what < 10)
			own_byte(me, mm, at);
		else if (what < 14)
			expect_access(sim_load(mm, at + pick(me, PAGES) * PAGE, &v));
		else if (what < 16)
			pin_some(me, mm, at);
		else
			change_mapping(me, mm, &at, f);
		sim_answer(mm);
	}
	mm->answer = SIM_PROMPT;
	sim_answer(mm);
	return 0;
}

/* ---- File operations ------------------------------------------------------------------------------------- */

static int puncher(void *arg)
{
	struct actor *me = arg;

	while (!stop) {
		struct sim_file *f = file[pick(me, FILES)];
		uint64_t page = pick(me, PAGES - 16);

		switch (pick(me, 4)) {
		case 0:
			sim_punch(f, page, 16, NULL);
			break;
		case 1:
			sim_zero_range(f, page, 4, NULL);
			break;
		case 2:
			sim_fsync(f, 0, PAGES);
			break;
		case 3:
			sim_fallocate(f, page & ~(PMD - 1), PMD, pick(me, 2));
			break;
		}
	}
	return 0;
}

static int truncater(void *arg)
{
	struct actor *me = arg;

	while (!stop) {
		struct sim_file *f = file[pick(me, FILES)];

		switch (pick(me, 3)) {
		case 0:
			sim_truncate(f, pick(me, PAGES * PAGE), NULL);
			sim_truncate(f, PAGES * PAGE, NULL);
			break;
		case 1:
			sim_reflink(file[0], file[1], pick(me, 2) * PMD, PMD, NULL);
			break;
		case 2:
			sim_write(f, pick(me, PAGES) * PAGE + 100, 1);
			break;
		}
	}
	return 0;
}

static int loser(void *arg)
{
	struct actor *me = arg;

	while (!stop) {
		uint64_t unit = pick(me, w->units);

		dax_memory_failure(&w->dax, unit);
		usleep(300);
		pgmap_unpoison(w->pg, unit);
		usleep(300);
	}
	return 0;
}

/* ---- Together -------------------------------------------------------------------------------------------- */

/* What is mapped shared is the file. */
static void compare(void)
{
	struct list *pos, *vpos;

	list_for_each(pos, &w->mms) {
		struct sim_mm *mm = list_entry(pos, struct sim_mm, link);

		list_for_each(vpos, &mm->vmas) {
			struct sim_vma *v = list_entry(vpos, struct sim_vma, link);
			uint64_t at = v->address - v->dax.index * PAGE;

			if (!(v->flags & SIM_SHARED))
				continue;
			for (uint64_t i = v->dax.index; i < v->dax.index + v->dax.count; i++) {
				uint8_t x = 0;

				for (uint64_t byte = 0; byte < MAPPERS; byte++) {
					expect_access(sim_load(mm, at + i * PAGE + byte, &x));
					ck_assert_uint_eq(x, sim_read(v->file, i * PAGE + byte));
				}
			}
		}
	}
}

struct row {
	struct sim_config	config;
	bool			truncates;
	enum sim_place		place;
};

static const struct row rows[] = {
	{ { .mapper_ms = 3 }, false, SIM_CONGRUENT },
	{ { .mapper_ms = 3, .accounting = PGMAP_PAGE, .drain = PGMAP_SWEEP }, true, SIM_CONGRUENT },
	{ { .mapper_ms = 3, .pin = DAX_PIN_EVICT }, true, SIM_SCATTERED },
	{ { .mapper_ms = 3, .layout = DAX_LAYOUT_KERNEL, .accounting = PGMAP_PAGE }, false, SIM_INCONGRUENT },
};

START_TEST(threads_of_all_kinds)
{
	static int (*const others[])(void *) = { puncher, loser, truncater };
	const struct row *row = &rows[_i];
	unsigned int n = MAPPERS + 2 + row->truncates;
	struct actor actor[MAPPERS + 3];
	struct call c[MAPPERS + 3];

	world_with(&row->config);
	w->place = row->place;
	stop = false;
	truncating = row->truncates;
	for (int i = 0; i < FILES; i++)
		file[i] = sim_create(w, PAGES * PAGE);
	for (unsigned int i = 0; i < n; i++) {
		actor[i] = (struct actor){ .seed = 7919 * (i + 1) + (unsigned int)_i, .number = i };
		call_start(&c[i], i < MAPPERS ? process : others[i - MAPPERS], &actor[i]);
	}
	usleep(run_ms() * 1000);
	stop = true;
	for (unsigned int i = 0; i < n; i++)
		call_end(&c[i]);
	sim_check(w);
	compare();
	sim_check(w);
	sim_fsync(file[0], 0, PAGES);
	sim_fsync(file[1], 0, PAGES);
	sim_check(w);
}
END_TEST

/* ---- A break against faults that never cease ------------------------------------------------------------- */

static int fault_on(void *arg)
{
	struct sim_mm *mm = sim_mm_new(w);
	uint64_t at = sim_mmap(mm, file[0], 0, PAGES, RW, 1);
	uint8_t v;

	(void)arg;
	while (!stop) {
		sim_load(mm, at, &v);
		sim_dontneed(mm, at, 1);
	}
	return 0;
}

START_TEST(faults_do_not_keep_a_break_out)
{
	struct call c[4];
	const struct dax_break nowait = { .nowait = true };

	stop = false;
	file[0] = sim_create(w, PAGES * PAGE);
	ck_assert_int_eq(sim_fallocate(file[0], 0, 1, true), 0);
	for (int i = 0; i < 4; i++)
		call_start(&c[i], fault_on, NULL);
	for (int i = 0; i < 50; i++)
		sim_break(file[0], 0, 1, &nowait);
	stop = true;
	for (int i = 0; i < 4; i++)
		call_end(&c[i]);
	sim_check(w);
}
END_TEST

/* ---- Removal against faults ------------------------------------------------------------------------------ */

START_TEST(removal_under_faults_drains)
{
	const struct sim_config config = { .drain = _i ? PGMAP_SWEEP : PGMAP_COUNTER };
	struct call c[3];

	world_with(&config);
	stop = false;
	file[0] = sim_create(w, PAGES * PAGE);
	ck_assert_int_eq(sim_fallocate(file[0], 0, 1, true), 0);
	for (int i = 0; i < 3; i++)
		call_start(&c[i], fault_on, NULL);
	usleep(20000);
	ck_assert_int_eq(pgmap_kill(w->pg), 0);
	ck_assert_int_eq(pgmap_drain(w->pg, 20000), 0);
	usleep(2000);
	stop = true;
	for (int i = 0; i < 3; i++)
		call_end(&c[i]);
	sim_check(w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dax_race");
	TCase *t = tcase_create("race");

	tcase_add_checked_fixture(t, world_setup, world_teardown);
	tcase_set_timeout(t, 200);
	tcase_add_loop_test(t, threads_of_all_kinds, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(t, faults_do_not_keep_a_break_out);
	tcase_add_loop_test(t, removal_under_faults_drains, 0, 2);
	suite_add_tcase(s, t);
	return unit_run(s);
}
