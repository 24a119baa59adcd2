/*
 * What a failed write-back of the journal does to everybody: who is under way gets the error or goes on, who waits is
 * woken with it, and nothing is committed afterwards.
 *
 * Threads are steered by gates in their fences: committer.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "committer.h"

static void assert_dead(void)
{
	uint64_t commits = persist_count(PERSIST_COMMIT), tails = persist_count(PERSIST_TAIL);

	ck_assert_int_eq(try_commit(), -EIO);
	ck_assert_int_eq(journal_retire(e.pool.journal), -EIO);
	ck_assert_int_eq(journal_set_tail(e.pool.journal, TAIL_CLEAN, 0, 0), -EIO);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits);
	ck_assert_uint_eq(persist_count(PERSIST_TAIL), tails);
}

START_TEST(failed_commit_fails_all_that_comes_after)
{
	engine_change(&e, ENGINE_DATA, 1, 1);
	engine_fences(r, gated);
	failing_point = PERSIST_COMMIT;
	ck_assert_int_eq(try_commit(), -EIO);
	failing_point = PERSIST_POINTS;
	assert_dead();
}
END_TEST

START_TEST(failed_commit_wakes_later_committers_with_the_error)
{
	struct committer a = { .rc = 0 }, b = { .rc = 0 };

	engine_fences(r, gated);
	hold(&gates[0], &a, ENGINE_DATA, -EIO);
	start(&b, ENGINE_DATA + 8, 2);
	while (atomic_load(&commit_fences) < 1)		/* b's record is on media, and waits for a's */
		usleep(100);
	usleep(PAUSE);
	open_gate(&gates[0]);
	finish(&a);
	finish(&b);
	ck_assert_int_eq(a.rc, -EIO);
	ck_assert_int_eq(b.rc, -EIO);
	assert_dead();
}
END_TEST

/* a's fence is under way, b waits for it, and c, after both, fails. */
START_TEST(failed_commit_lets_earlier_records_go_on)
{
	struct committer a = { .apply = true }, b = { .apply = true }, c = { .apply = true };

	engine_fences(r, gated);
	hold(&gates[0], &a, ENGINE_DATA, 0);
	start(&b, ENGINE_DATA + 8, 1);
	while (atomic_load(&commit_fences) < 1)
		usleep(100);
	hold(&gates[1], &c, ENGINE_DATA + 16, -EIO);
	open_gate(&gates[1]);
	finish(&c);
	usleep(PAUSE);
	open_gate(&gates[0]);
	finish(&a);
	finish(&b);
	ck_assert_int_eq(c.rc, -EIO);
	ck_assert_int_eq(a.rc, 0);
	ck_assert_int_eq(b.rc, 0);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA), 1);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA + 8), 1);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA + 16), 0);
	assert_dead();
}
END_TEST

START_TEST(failed_commit_wakes_who_waits_to_retire)
{
	struct committer a = { .rc = 0 };

	engine_fences(r, gated);
	hold(&gates[0], &a, ENGINE_DATA, -EIO);
	open_gate(&gates[0]);
	ck_assert_int_eq(journal_retire(e.pool.journal), -EIO);
	finish(&a);
	ck_assert_int_eq(a.rc, -EIO);
}
END_TEST

static unsigned int settled_calls;

static void count_settled(struct engine *eng, uint64_t seq)
{
	(void)eng, (void)seq;
	settled_calls++;
}

START_TEST(failed_retire_or_tail_fails_the_journal_and_the_tail_stays)
{
	uint64_t seq = engine_change(&e, ENGINE_DATA, 1, 1);

	engine_fences(r, gated);
	settled_calls = 0;
	e.on_settled = count_settled;
	failing_point = _i ? PERSIST_TAIL : PERSIST_RETIRE;
	ck_assert_int_eq(journal_retire(e.pool.journal), -EIO);
	if (!_i)
		ck_assert_uint_le(tail_on_media().seq, seq);
	ck_assert_uint_eq(settled_calls, 0);
	failing_point = PERSIST_POINTS;
	assert_dead();
}
END_TEST

START_TEST(failed_retire_wakes_who_waits_for_room)
{
	uint64_t n = BIGS, i, first = 0;
	struct committer c = { .rc = 0 };

	for (i = 0; i < n; i++) {
		uint64_t seq = commit(ENGINE_DATA, BIG_WORDS, i);

		first = i ? first : seq;
		if (i)
			journal_applied(e.pool.journal, seq);
	}
	engine_fences(r, gated);
	failing_point = PERSIST_RETIRE;
	start_waiting(&c, ENGINE_DATA, 1);
	journal_applied(e.pool.journal, first);		/* retires, and fails */
	finish(&c);
	ck_assert_int_eq(c.rc, -EIO);
}
END_TEST

START_TEST(ring_changed_behind_our_back_is_noticed)
{
	uint64_t seq = engine_change(&e, ENGINE_DATA, 1, 1);

	*(char *)region_at(r, ((uint64_t)BLOCK_JOURNAL << BLOCK_SHIFT) + 70) ^= 1;
	ck_assert_int_eq(journal_retire(e.pool.journal), -EUCLEAN);
	ck_assert_int_eq(try_commit(), -EUCLEAN);
	ck_assert_uint_eq(tail_on_media().seq, seq);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("journal_fail");
	TCase *t = tcase_create("fail");

	tcase_add_checked_fixture(t, committer_setup, committer_teardown);
	tcase_add_test(t, failed_commit_fails_all_that_comes_after);
	tcase_add_test(t, failed_commit_wakes_later_committers_with_the_error);
	tcase_add_test(t, failed_commit_lets_earlier_records_go_on);
	tcase_add_test(t, failed_commit_wakes_who_waits_to_retire);
	tcase_add_loop_test(t, failed_retire_or_tail_fails_the_journal_and_the_tail_stays, 0, 2);
	tcase_add_test(t, failed_retire_wakes_who_waits_for_room);
	tcase_add_test(t, ring_changed_behind_our_back_is_noticed);
	suite_add_tcase(s, t);
	return unit_run(s);
}
