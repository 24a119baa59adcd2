/*
 * The ring while it is in use: what a commit costs, who waits for whom, and what makes room. (What a failed
 * write-back does to everybody is check_journal_fail.c, what a power cut leaves check_recover.c.)
 *
 * Threads are steered by gates in their fences: committer.h.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "committer.h"
#include "meta/record.h"
#include "pmem/emu.h"

#define IN_FLIGHT	256U		/* records committed and not applied, at most: of meta/journal.c */

/* ---- Committing ---------------------------------------------------------------------------------------- */

START_TEST(each_record_costs_one_fence)
{
	uint64_t all = 0, before = 0, fences = persist_count(PERSIST_COMMIT), first;
	unsigned int point, i;

	for (point = 0; point < PERSIST_POINTS; point++)
		before += persist_count((enum persist_point)point);
	first = engine_change(&e, ENGINE_DATA, 1, 1);
	for (i = 1; i < 100; i++)
		ck_assert_uint_eq(engine_change(&e, ENGINE_DATA, 1 + i, i), first + i);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), fences + 100);
	for (point = 0; point < PERSIST_POINTS; point++)
		all += persist_count((enum persist_point)point);
	ck_assert_uint_eq(all, before + 100);
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), first + 100);
}
END_TEST

START_TEST(committed_record_is_durable_and_nothing_of_it_in_place)
{
	struct region *after = emu_open(ENGINE_SIZE, NULL);
	struct super sb = e.pool.super;
	struct record_run run;
	struct tail tail = tail_on_media();

	emu_record(r);
	commit(ENGINE_DATA, 3, 7);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA), 0);
	emu_crash_begin(r, emu_events(r));
	ck_assert_uint_eq(emu_crash_lines(r), 0);
	emu_crash_subset(r, 0, after->base);
	ck_assert_int_eq(record_walk(after, &sb, &tail, NULL, NULL, &run), 0);
	ck_assert_uint_eq(run.records, 1);
	emu_close(after);
}
END_TEST

START_TEST(commit_waits_for_the_fence_of_an_earlier_record)
{
	struct committer a = { .apply = true }, b = { .apply = true };
	unsigned int opened;

	engine_fences(r, gated);
	hold(&gates[0], &a, ENGINE_DATA, 0);
	start(&b, ENGINE_DATA + 8, 2);
	while (atomic_load(&commit_fences) < 1)		/* b's own fence is over */
		usleep(100);
	usleep(PAUSE);
	opened = open_gate(&gates[0]);
	finish(&a);
	finish(&b);
	ck_assert_int_eq(a.rc | b.rc, 0);
	ck_assert_uint_eq(b.seq, a.seq + 1);
	ck_assert_uint_gt(b.returned, opened);
}
END_TEST

START_TEST(commit_does_not_wait_for_a_later_record)
{
	struct committer a = { .apply = true }, b = { .apply = true };

	engine_fences(r, gated);
	hold(&gates[0], &a, ENGINE_DATA, 0);
	hold(&gates[1], &b, ENGINE_DATA + 8, 0);
	open_gate(&gates[0]);
	finish(&a);					/* while b's fence is held */
	open_gate(&gates[1]);
	finish(&b);
	ck_assert_int_eq(a.rc | b.rc, 0);
	ck_assert_uint_lt(a.seq, b.seq);
}
END_TEST

/* What a process that is killed now leaves: replay restores the last record's words, which start at `off`. */
static void judge_copy(struct region *copy, uint64_t off, uint32_t words, uint64_t value)
{
	struct engine other;

	memcpy(copy->base, r->base, ENGINE_SIZE);
	memset(region_at(copy, off), 0, words * 8);
	engine_open(&other, copy);
	ck_assert_uint_gt(other.replayed, 0);
	ck_assert_uint_eq(engine_word(copy, off), value);
	ck_assert_uint_eq(engine_word(copy, off + (words - 1) * 8), value);
	engine_close(&other);
}

START_TEST(ring_wraps_many_times)
{
	uint64_t seed = engine_seed(), pos = 0, i, split = 0, judged = 0;
	struct region *copy = emu_open(ENGINE_SIZE, NULL);

	for (i = 1; pos < 20 * ENGINE_RING; i++) {
		uint64_t off = ENGINE_DATA + i % 3 * BLOCK_SIZE, value = engine_random(&seed), seq;
		uint32_t words = 1 + engine_random(&seed) % (BLOCK_SIZE / 8);
		uint64_t len = (64 + 16 + words * 8 + 63) / 64 * 64;

		split += pos % ENGINE_RING + len > ENGINE_RING;
		pos += len;
		seq = engine_change(&e, off, words, value);
		if (i % 31 == 0 && tail_on_media().seq <= seq) {
			judge_copy(copy, off, words, value);
			judged++;
		}
	}
	ck_assert_uint_gt(split, 3);
	ck_assert_uint_gt(judged, 50);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	ck_assert_uint_eq(tail_on_media().pos, pos);
	emu_close(copy);
}
END_TEST

/* ---- Retiring ------------------------------------------------------------------------------------------ */

START_TEST(half_full_ring_is_retired_by_who_applied_last)
{
	uint64_t retires = persist_count(PERSIST_RETIRE), tails = persist_count(PERSIST_TAIL), used = 0;

	while (persist_count(PERSIST_RETIRE) == retires) {
		engine_change(&e, ENGINE_DATA, BIG_WORDS, used);
		used += BIG;
		ck_assert_uint_le(used, ENGINE_RING / 2 + BIG);
	}
	ck_assert_uint_gt(used, ENGINE_RING / 2);
	ck_assert_uint_eq(persist_count(PERSIST_TAIL), tails + 1);
	ck_assert_uint_eq(tail_on_media().pos, used);
}
END_TEST

/* The ring is full of records, few of them applied: who finds no room retires those. */
START_TEST(full_ring_makes_the_committer_retire)
{
	uint64_t retires = persist_count(PERSIST_RETIRE), seq[BIGS + 1], n = BIGS, i;

	for (i = 0; i < n; i++) {
		seq[i] = commit(ENGINE_DATA + i * BLOCK_SIZE, BIG_WORDS, i + 1);
		if (i < 3)
			journal_applied(e.pool.journal, seq[i]);
	}
	ck_assert_uint_eq(persist_count(PERSIST_RETIRE), retires);
	seq[n] = commit(ENGINE_DATA, BIG_WORDS, 1);
	ck_assert_uint_eq(persist_count(PERSIST_RETIRE), retires + 1);
	ck_assert_uint_eq(tail_on_media().seq, seq[3]);
	for (i = 3; i <= n; i++)
		journal_applied(e.pool.journal, seq[i]);
}
END_TEST

START_TEST(committer_without_room_waits_for_records_to_be_applied)
{
	uint64_t n = BIGS, i, first = 0;
	struct committer c = { .apply = true };
	unsigned int applied;

	for (i = 0; i < n; i++) {
		uint64_t seq = commit(ENGINE_DATA, BIG_WORDS, i);

		first = i ? first : seq;
		if (i)
			journal_applied(e.pool.journal, seq);	/* in vain: the first one is not */
	}
	ck_assert_uint_eq(tail_on_media().seq, first);
	start_waiting(&c, ENGINE_DATA, 1);
	applied = atomic_fetch_add(&events, 1) + 1;
	journal_applied(e.pool.journal, first);
	finish(&c);
	ck_assert_int_eq(c.rc, 0);
	ck_assert_uint_gt(c.returned, applied);
	ck_assert_uint_gt(tail_on_media().seq, first);
}
END_TEST

START_TEST(records_in_flight_are_bounded)
{
	struct committer c = { .apply = true };
	uint64_t first = commit(ENGINE_DATA, 1, 1), i;
	unsigned int applied;

	for (i = 1; i < IN_FLIGHT; i++)
		journal_applied(e.pool.journal, commit(ENGINE_DATA, 1, i));
	start_waiting(&c, ENGINE_DATA, 1);
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), first + IN_FLIGHT);
	applied = atomic_fetch_add(&events, 1) + 1;
	journal_applied(e.pool.journal, first);
	finish(&c);
	ck_assert_int_eq(c.rc, 0);
	ck_assert_uint_eq(c.seq, first + IN_FLIGHT);
	ck_assert_uint_gt(c.returned, applied);
}
END_TEST

static void *change_and_go(void *arg)
{
	engine_change(&e, *(uint64_t *)arg, 5, 0x77);
	return NULL;
}

START_TEST(retire_makes_durable_what_other_threads_stored)
{
	struct region *after = emu_open(ENGINE_SIZE, NULL);
	uint64_t off[2] = { ENGINE_DATA, ENGINE_DATA + BLOCK_SIZE + 8 * 6 };	/* the other crosses a line */
	pthread_t t;
	unsigned int i, w;

	emu_record(r);
	for (i = 0; i < 2; i++) {
		ck_assert_int_eq(pthread_create(&t, NULL, change_and_go, &off[i]), 0);
		ck_assert_int_eq(pthread_join(t, NULL), 0);
	}
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	emu_crash_begin(r, emu_events(r));
	ck_assert_uint_eq(emu_crash_lines(r), 0);
	emu_crash_subset(r, 0, after->base);
	for (i = 0; i < 2; i++)
		for (w = 0; w < 5; w++)
			ck_assert_uint_eq(engine_word(after, off[i] + w * 8), 0x77);
	ck_assert_uint_eq(tail_on_media().seq, journal_next_seq(e.pool.journal));
	emu_close(after);
}
END_TEST

/* More lines than the retirer remembers having flushed, and lines that share its places in memory. */
START_TEST(retire_flushes_every_line_of_many)
{
	struct region *after = emu_open(ENGINE_SIZE, NULL);
	uint64_t seed = engine_seed(), lines = (ENGINE_SIZE - BLOCK_SIZE - ENGINE_DATA) / 64, i;

	emu_record(r);
	for (i = 0; i < 900; i++)
		engine_change(&e, ENGINE_DATA + engine_random(&seed) % lines * 64, 8, i);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	emu_crash_begin(r, emu_events(r));
	ck_assert_uint_eq(emu_crash_lines(r), 0);
	emu_crash_subset(r, 0, after->base);
	ck_assert_mem_eq(after->base, r->base, ENGINE_SIZE);
	emu_close(after);
}
END_TEST

START_TEST(retire_of_nothing_costs_nothing)
{
	uint64_t retires = persist_count(PERSIST_RETIRE), tails;

	engine_change(&e, ENGINE_DATA, 1, 1);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	tails = persist_count(PERSIST_TAIL);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	ck_assert_uint_eq(persist_count(PERSIST_RETIRE), retires + 1);
	ck_assert_uint_eq(persist_count(PERSIST_TAIL), tails);
}
END_TEST

START_TEST(retire_waits_for_records_whose_commit_has_begun)
{
	struct committer a = { .apply = true };
	uint64_t first = journal_next_seq(e.pool.journal);

	engine_fences(r, gated);
	hold(&gates[0], &a, ENGINE_DATA, 0);
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), first + 1);
	open_gate(&gates[0]);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	ck_assert_uint_gt(tail_on_media().seq, first);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA), 1);
	finish(&a);
}
END_TEST

/* Each time it is called, the tail that says so is durable. */
static uint64_t settled[64], settled_calls;

static void note_settled(struct engine *eng, uint64_t seq)
{
	static char image[ENGINE_SIZE];
	struct region media = *r;
	struct tail tail;

	media.base = image;
	emu_crash_begin(r, emu_events(r));
	emu_crash_random(r, settled_calls + 1, image);
	ck_assert_int_eq(tail_read(&media, &eng->pool.super, &tail), 0);
	ck_assert_uint_ge(tail.seq, seq);
	ck_assert_uint_lt(settled_calls, 64);
	settled[settled_calls++] = seq;
}

START_TEST(settled_is_called_for_each_durable_tail_in_order)
{
	uint64_t first = journal_next_seq(e.pool.journal), i, last;

	settled_calls = 0;
	e.on_settled = note_settled;
	emu_record(r);
	for (i = 0; i < 100; i++)
		engine_change(&e, ENGINE_DATA, BIG_WORDS, i);	/* retired three times on the way */
	ck_assert_uint_eq(settled_calls, 3);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	last = settled_calls - 1;
	ck_assert_uint_ge(last, 3);
	ck_assert_uint_gt(settled[0], first);
	for (i = 1; i <= last; i++)
		ck_assert_uint_ge(settled[i], settled[i - 1]);
	ck_assert_uint_eq(settled[last], first + 100);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);	/* for what was put off since */
	ck_assert_uint_eq(settled_calls, last + 2);
	ck_assert_uint_eq(settled[last + 1], first + 100);
}
END_TEST

START_TEST(set_tail_keeps_the_place_and_sets_the_rest)
{
	struct tail before, now;

	engine_change(&e, ENGINE_DATA, 1, 1);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	before = tail_on_media();
	ck_assert_int_eq(journal_set_tail(e.pool.journal, TAIL_CLEAN | TAIL_FREEMAP, ENGINE_FIRST, 5), 0);
	now = tail_on_media();
	ck_assert_uint_eq(now.pos, before.pos);
	ck_assert_uint_eq(now.seq, before.seq);
	ck_assert_uint_eq(now.mount, before.mount);
	ck_assert_uint_eq(now.flags, TAIL_CLEAN | TAIL_FREEMAP);
	ck_assert_uint_eq(now.freemap_block, ENGINE_FIRST);
	ck_assert_uint_eq(now.freemap_blocks, 5);
	ck_assert_uint_eq(now.counter, before.counter + 1);
}
END_TEST

/* ---- Many threads -------------------------------------------------------------------------------------- */

#define THREADS		4U
#define ROUNDS		600U

static void *hammer(void *arg)
{
	uint64_t number = *(unsigned int *)arg, i, seq;
	int rc = 0;

	for (i = 1; i <= ROUNDS && !rc; i++) {
		struct engine_change c[2] = {
			{ .off = ENGINE_DATA + number * 16, .words = 2, .value = i },	/* a line all share */
			{ .off = ENGINE_DATA + (1 + number) * BLOCK_SIZE, .words = 1 + i % 200, .value = i },
		};

		rc = engine_commit(&e, c, 2, &seq);
		if (!rc)
			engine_apply(&e, c, 2, seq);
		if (!rc && i % 50 == 0)
			rc = journal_retire(e.pool.journal);
	}
	return (void *)(intptr_t)rc;
}

START_TEST(threads_commit_and_retire_side_by_side)
{
	unsigned int number[THREADS], i;
	uint64_t first = journal_next_seq(e.pool.journal), commits = persist_count(PERSIST_COMMIT);
	pthread_t thread[THREADS];
	void *rc;

	for (i = 0; i < THREADS; i++) {
		number[i] = i;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, hammer, &number[i]), 0);
	}
	for (i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(thread[i], &rc), 0);
		ck_assert_ptr_null(rc);
		ck_assert_uint_eq(engine_word(r, ENGINE_DATA + i * 16 + 8), ROUNDS);
	}
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), first + THREADS * ROUNDS);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + THREADS * ROUNDS);
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	ck_assert_uint_eq(tail_on_media().seq, first + THREADS * ROUNDS);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal");
	TCase *t = tcase_create("commit");

	tcase_add_checked_fixture(t, committer_setup, committer_teardown);
	tcase_add_test(t, each_record_costs_one_fence);
	tcase_add_test(t, committed_record_is_durable_and_nothing_of_it_in_place);
	tcase_add_test(t, commit_waits_for_the_fence_of_an_earlier_record);
	tcase_add_test(t, commit_does_not_wait_for_a_later_record);
	tcase_add_test(t, ring_wraps_many_times);
	tcase_add_test(t, threads_commit_and_retire_side_by_side);
	suite_add_tcase(s, t);

	t = tcase_create("retire");
	tcase_add_checked_fixture(t, committer_setup, committer_teardown);
	tcase_add_test(t, half_full_ring_is_retired_by_who_applied_last);
	tcase_add_test(t, full_ring_makes_the_committer_retire);
	tcase_add_test(t, committer_without_room_waits_for_records_to_be_applied);
	tcase_add_test(t, records_in_flight_are_bounded);
	tcase_add_test(t, retire_makes_durable_what_other_threads_stored);
	tcase_add_test(t, retire_flushes_every_line_of_many);
	tcase_add_test(t, retire_of_nothing_costs_nothing);
	tcase_add_test(t, retire_waits_for_records_whose_commit_has_begun);
	tcase_add_test(t, settled_is_called_for_each_durable_tail_in_order);
	tcase_add_test(t, set_tail_keeps_the_place_and_sets_the_rest);
	suite_add_tcase(s, t);

	return s;
}

int main(void)
{
	return unit_run(suite());
}
