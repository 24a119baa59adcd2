/*
 * Recovery: what is on the media after a power cut at any moment, and again after a cut of the recovery
 * itself.
 *
 * The states a cut may leave are drawn by pmem/emu.h, which also tears lines. Random tests print their seed.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "meta/journal.h"
#include "meta/record.h"
#include "meta/recover.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/fault.h"

#define JUMP		(ENGINE_RING / RECORD_ALIGN + 1)	/* of the sequence, at each recovery */
#define TAIL_OFF	((uint64_t)BLOCK_TAIL << BLOCK_SHIFT)
#define RING_OFF	((uint64_t)BLOCK_JOURNAL << BLOCK_SHIFT)

static struct region *r, *after;	/* `after`: what a cut left of `r` */
static struct engine e;

static void setup(void)
{
	r = engine_region();
	after = emu_open(ENGINE_SIZE, NULL);
	ck_assert_ptr_nonnull(after);
}

static void teardown(void)
{
	emu_close(r);
	emu_close(after);
}

static struct tail tail_of(struct region *pool)
{
	struct super sb = engine_super();
	struct tail tail;

	ck_assert_int_eq(tail_read(pool, &sb, &tail), 0);
	return tail;
}

/* Recover `pool`; the number of records replayed. */
static uint64_t recovered(struct region *pool)
{
	struct super sb = engine_super();
	struct tail tail = tail_of(pool);
	uint64_t replayed;

	ck_assert_int_eq(recover(pool, &sb, &tail, &replayed), 0);
	return replayed;
}

/* `after` becomes all that is visible in `r` now: a process was killed, or its last lines were lucky. */
static void copy_visible(void)
{
	memcpy(after->base, r->base, ENGINE_SIZE);
}

/* ---- Four threads -------------------------------------------------------------------------------------- */

#define THREADS		4U
#define DEEDS		40U			/* records of a thread */
#define ALL		(THREADS * DEEDS)
#define LINES		16U			/* shared: in each every thread has two words of its own */
#define AREA		((1 + THREADS) * BLOCK_SIZE)	/* the shared lines' block and one block each */

struct deed {
	struct engine_change	change[6];
	unsigned int		changes;
	uint64_t		seq;
	uint64_t		answered;	/* events there were when the commit had returned */
	int			rc;
};

struct worker {
	unsigned int	number;
	uint64_t	random;
	struct deed	deed[DEEDS];
};

static struct worker workers[THREADS];
static struct deed *by_seq[ALL];
static char model[AREA];

/* Before each fence: threads get into each other's way more often than two processors would have it. */
static int jitter(enum persist_point point)
{
	static _Thread_local uint64_t state;

	if (!state)
		state = (uintptr_t)&state;
	if (point == PERSIST_COMMIT && engine_random(&state) % 2)
		usleep(engine_random(&state) % 300);
	return 0;
}

static void draw_deed(struct worker *w, struct deed *d)
{
	uint64_t rnd = engine_random(&w->random);
	struct engine_change *c = d->change;
	unsigned int i, small = 1 + rnd % 5;

	for (i = 0; i < small; i++, c++) {
		c->off = ENGINE_DATA + engine_random(&w->random) % LINES * 64 + w->number * 16;
		c->words = 2;
		c->value = engine_random(&w->random);
	}
	if (rnd >> 40 & 1) {
		c->off = ENGINE_DATA + (1 + w->number) * BLOCK_SIZE;
		c->words = BLOCK_SIZE / 8;
		c->value = rnd;
		c++;
	}
	d->changes = (unsigned int)(c - d->change);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct deed *d;

	for (d = w->deed; d < w->deed + DEEDS; d++) {
		draw_deed(w, d);
		d->rc = engine_commit(&e, d->change, d->changes, &d->seq);
		if (d->rc)
			break;
		d->answered = emu_events(r);
		engine_apply(&e, d->change, d->changes, d->seq);
	}
	return NULL;
}

static void run_workers(uint64_t seed)
{
	pthread_t thread[THREADS];
	unsigned int i, k;

	for (i = 0; i < THREADS; i++) {
		workers[i].number = i;
		workers[i].random = seed + i * 0x9e3779b97f4a7c15ULL;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, work, &workers[i]), 0);
	}
	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
	for (i = 0; i < THREADS; i++) {
		for (k = 0; k < DEEDS; k++) {
			struct deed *d = &workers[i].deed[k];

			ck_assert_int_eq(d->rc, 0);
			ck_assert_uint_lt(d->seq - e.tail.seq, ALL);
			ck_assert_ptr_null(by_seq[d->seq - e.tail.seq]);
			by_seq[d->seq - e.tail.seq] = d;
		}
	}
}

/* The area as it is after the first `n` records. */
static void make_model(uint64_t n)
{
	memset(model, 0, sizeof(model));
	for (uint64_t i = 0; i < n; i++) {
		const struct deed *d = by_seq[i];

		for (unsigned int k = 0; k < d->changes; k++) {
			const struct engine_change *c = &d->change[k];

			for (uint32_t w = 0; w < c->words; w++)
				memcpy(model + (c->off - ENGINE_DATA) + w * 8, &c->value, 8);
		}
	}
}

/*
 * Recover what the cut after `events` left. It must be what the first n records make, and those that were
 * answered among them.
 */
static uint64_t judge_prefix(uint64_t events)
{
	uint64_t first = tail_of(after).seq - e.tail.seq, replayed = recovered(after), i;

	ck_assert_uint_le(first + replayed, ALL);
	for (i = first + replayed; i < ALL; i++)
		ck_assert_msg(by_seq[i]->answered > events, "cut at %llu: record %llu is lost",
			      (unsigned long long)events, (unsigned long long)i);
	make_model(first + replayed);
	ck_assert_msg(memcmp(model, region_at(after, ENGINE_DATA), AREA) == 0,
		      "cut at %llu: not the state after %llu records", (unsigned long long)events,
		      (unsigned long long)(first + replayed));
	return replayed;
}

START_TEST(cut_at_any_fence_leaves_a_prefix_of_the_records_with_all_that_was_answered)
{
	uint64_t seed = engine_seed(), event, cut, images = 0, replayed = 0;
	int draw;

	engine_open(&e, r);
	engine_fences(r, jitter);
	emu_record(r);
	run_workers(seed);
	for (event = 0; event < emu_events(r); event++) {
		if (!emu_is_fence(r, event, NULL))
			continue;
		for (cut = event; cut <= event + 1; cut++) {
			emu_crash_begin(r, cut);
			for (draw = 0; draw < 4; draw++) {
				emu_crash_random(r, seed ^ (cut * 4 + (uint64_t)draw), after->base);
				replayed += judge_prefix(cut);
				images++;
			}
		}
	}
	ck_assert_uint_ge(images, 8 * ALL);
	ck_assert_uint_gt(replayed, images);		/* a good deal was there to replay */
	ck_assert_uint_gt(tail_of(r).seq, e.tail.seq);	/* and the tail moved meanwhile */
	engine_close(&e);
}
END_TEST

/* ---- Recovery cut -------------------------------------------------------------------------------------- */

#define CHANGES	24U

/* Records that name the same two lines again and again, each all of them: a mixture would be seen. */
static void change_lines(uint64_t first)
{
	uint64_t i, seq;

	for (i = 0; i < CHANGES; i++) {
		struct engine_change c[2] = {
			{ .off = ENGINE_DATA, .words = 8, .value = first + i },
			{ .off = ENGINE_DATA + BLOCK_SIZE * (1 + i % 2), .words = 24, .value = first + i },
		};

		ck_assert_int_eq(engine_commit(&e, c, 2, &seq), 0);
		engine_apply(&e, c, 2, seq);
	}
}

static void assert_lines(const struct region *pool, uint64_t last)
{
	for (unsigned int w = 0; w < 8; w++)
		ck_assert_uint_eq(engine_word(pool, ENGINE_DATA + w * 8), last);
	for (unsigned int w = 0; w < 24; w++) {
		ck_assert_uint_eq(engine_word(pool, ENGINE_DATA + 2 * BLOCK_SIZE + w * 8), last);
		ck_assert_uint_eq(engine_word(pool, ENGINE_DATA + BLOCK_SIZE + w * 8), last - 1);
	}
}

START_TEST(recovery_cut_at_any_event_is_done_again)
{
	uint64_t seed = engine_seed(), event, again = 0, done = 0, n;

	engine_open(&e, r);
	emu_record(r);
	change_lines(100);
	engine_close(&e);
	emu_crash_begin(r, emu_events(r));
	emu_crash_random(r, seed, after->base);
	memcpy(r->base, after->base, ENGINE_SIZE);	/* power is back */
	emu_record(r);
	ck_assert_uint_eq(recovered(r), CHANGES);
	assert_lines(r, 100 + CHANGES - 1);
	for (event = 0; event <= emu_events(r); event++) {
		emu_crash_begin(r, event);
		emu_crash_random(r, seed + event, after->base);
		n = recovered(after);
		assert_lines(after, 100 + CHANGES - 1);
		again += n == CHANGES;
		done += n == 0;
		ck_assert(n == CHANGES || n == 0);
	}
	ck_assert_uint_ge(again, 4 * CHANGES);		/* every store and flush of the replay was cut */
	ck_assert_uint_ge(done, 1);
	emu_crash_begin(r, emu_events(r));
	emu_crash_subset(r, 0, after->base);
	ck_assert_uint_eq(recovered(after), 0);		/* what recovery did is durable */
}
END_TEST

/* A killed process leaves stores visible that are not durable: they must be before anything rests on them. */
START_TEST(record_that_is_only_visible_is_made_durable_before_it_is_replayed)
{
	uint64_t seed = engine_seed(), event, draw, old = 0, new = 0;
	char ring[4096];

	engine_open(&e, r);
	copy_visible();
	change_lines(100);
	engine_close(&e);
	memcpy(ring, region_at(r, RING_OFF), sizeof(ring));
	memcpy(r->base, after->base, ENGINE_SIZE);
	emu_record(r);
	persist_store(r, region_at(r, RING_OFF), ring, sizeof(ring));
	ck_assert_uint_gt(recovered(r), 2);
	for (event = 1; event <= emu_events(r); event++) {
		emu_crash_begin(r, event);
		for (draw = 0; draw < 4; draw++) {
			uint64_t first;

			emu_crash_random(r, seed + event * 4 + draw, after->base);
			recovered(after);
			first = engine_word(after, ENGINE_DATA);
			for (unsigned int w = 0; w < 8; w++)
				ck_assert_uint_eq(engine_word(after, ENGINE_DATA + w * 8), first);
			for (unsigned int w = 0; w < 24; w++)
				ck_assert_uint_eq(engine_word(after, ENGINE_DATA + BLOCK_SIZE *
							      (1 + first % 2) + w * 8), first);
			old += !first;
			new += first > 0;
		}
	}
	ck_assert_uint_gt(old, 0);
	ck_assert_uint_gt(new, 0);
}
END_TEST

/* ---- What is not replayed ------------------------------------------------------------------------------ */

/*
 * Life 1 commits A, B, C, all of one length; power fails and B is lost though C is whole. Life 2 takes A, and
 * commits a record D at B's place: only the sequence tells that C does not follow it.
 */
static void leave_stale_record(void)
{
	uint64_t ring_b;

	engine_open(&e, r);
	engine_change(&e, ENGINE_DATA, 1, 'A');
	ring_b = RING_OFF + 128;
	engine_change(&e, ENGINE_DATA, 1, 'B');
	engine_change(&e, ENGINE_DATA, 1, 'C');
	engine_close(&e);
	memset(region_at(r, ring_b), 0, 128);
	memset(region_at(r, ENGINE_DATA), 0, 8);
	ck_assert_uint_eq(le64_to_cpu(((struct disk_record *)region_at(r, ring_b + 128))->pos), 256);

	engine_open(&e, r);
	ck_assert_uint_eq(e.replayed, 1);
	ck_assert_uint_eq(e.tail.pos, 128);
	engine_change(&e, ENGINE_DATA, 1, 'D');
	engine_close(&e);
}

START_TEST(stale_record_of_an_earlier_life_is_not_replayed)
{
	leave_stale_record();
	ck_assert_uint_eq(recovered(r), 1);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA), 'D');
}
END_TEST

START_TEST(planted_bug_without_sequence_check_replays_the_stale_record)
{
	leave_stale_record();
	fault_arm_always(FAULT_REPLAY_TAIL_CHECK);
	ck_assert_uint_eq(recovered(r), 2);
	fault_disarm(FAULT_REPLAY_TAIL_CHECK);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA), 'C');
}
END_TEST

/* Every life commits one record more than it leaves behind; none is ever taken twice, or for another's. */
START_TEST(many_lives_on_one_ring_never_meet_each_others_records)
{
	uint64_t seed = engine_seed(), life, i, last = 0;

	for (life = 1; life <= 60; life++) {
		uint64_t records = engine_random(&seed) % 20;

		engine_open(&e, r);
		ck_assert_uint_eq(engine_word(r, ENGINE_DATA), last);
		for (i = 0; i < records; i++) {
			last = life << 32 | (i + 1);
			engine_change(&e, ENGINE_DATA, 1 + engine_random(&seed) % 60, last);
		}
		if (engine_random(&seed) % 4 == 0)
			ck_assert_int_eq(journal_retire(e.pool.journal), 0);
		engine_close(&e);
		memset(region_at(r, ENGINE_DATA), 0, BLOCK_SIZE);
		if (tail_of(r).seq == e.tail.seq + records)
			memcpy(region_at(r, ENGINE_DATA), &last, 8);	/* retired: all there is */
	}
}
END_TEST

/* The records of the last lap still lie there, whole and side by side with the new ones. */
START_TEST(records_of_an_earlier_lap_are_not_replayed)
{
	uint64_t len = 64 + 16 + 48, laps = 2 * ENGINE_RING / len + 7, i, first;

	engine_open(&e, r);
	for (i = 1; i <= laps; i++)
		engine_change(&e, ENGINE_DATA, 6, i);
	engine_close(&e);
	first = tail_of(r).seq;
	ck_assert_uint_eq(recovered(r), e.tail.seq + laps - first);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA), laps);
}
END_TEST

START_TEST(clean_pool_has_nothing_to_replay)
{
	struct tail tail = tail_of(r), now;

	engine_open(&e, r);
	engine_change(&e, ENGINE_DATA, 1, 'A');
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	engine_change(&e, ENGINE_DATA, 1, 'B');
	engine_close(&e);
	tail = tail_of(r);
	tail.flags = TAIL_CLEAN | TAIL_FREEMAP;
	tail.freemap_block = ENGINE_FIRST;
	tail.freemap_blocks = 1;
	ck_assert_int_eq(tail_write(r, &e.pool.super, &tail), 0);
	ck_assert_uint_eq(recovered(r), 0);
	now = tail_of(r);
	ck_assert_uint_eq(now.pos, tail.pos);
	ck_assert_uint_eq(now.flags, 0);
	ck_assert_uint_eq(now.freemap_block, 0);
	ck_assert_uint_eq(now.freemap_blocks, 0);
}
END_TEST

/* ---- The tail it writes -------------------------------------------------------------------------------- */

START_TEST(recovery_starts_a_new_life)
{
	struct tail before, now;
	uint64_t replay, tail;

	engine_open(&e, r);
	engine_change(&e, ENGINE_DATA, 1, 'A');
	engine_change(&e, ENGINE_DATA, 1, 'B');
	engine_close(&e);
	before = tail_of(r);
	replay = persist_count(PERSIST_REPLAY);
	tail = persist_count(PERSIST_TAIL);
	ck_assert_uint_eq(recovered(r), 2);
	ck_assert_uint_eq(persist_count(PERSIST_REPLAY), replay + 2);
	ck_assert_uint_eq(persist_count(PERSIST_TAIL), tail + 1);
	now = tail_of(r);
	ck_assert_uint_eq(now.mount, before.mount + 1);
	ck_assert_uint_eq(now.pos, before.pos + 2 * 128);
	ck_assert_uint_eq(now.seq, before.seq + 2 + JUMP);
	ck_assert_uint_eq(now.counter, before.counter + 1);
}
END_TEST

START_TEST(last_mount_sequence_is_refused)
{
	struct super sb = engine_super();
	struct tail tail = tail_of(r);
	uint64_t replayed;

	tail.mount = UINT32_MAX - 1;
	ck_assert_int_eq(tail_write(r, &sb, &tail), 0);
	ck_assert_int_eq(recover(r, &sb, &tail, &replayed), -EOVERFLOW);
	ck_assert_uint_eq(tail_of(r).mount, UINT32_MAX - 1);
}
END_TEST

static enum persist_point failing_point;
static int fences_until_failure;

static int fail_fence(enum persist_point point)
{
	return point == failing_point && fences_until_failure-- == 0 ? -EIO : 0;
}

/* The first fence (of what was found), the second (of what was replayed), and the tail's. */
START_TEST(failed_write_back_fails_the_recovery_before_the_tail_moves)
{
	struct tail before, tail;
	uint64_t replayed;

	engine_open(&e, r);
	engine_change(&e, ENGINE_DATA, 1, 'A');
	engine_close(&e);
	before = tail = tail_of(r);
	failing_point = _i < 2 ? PERSIST_REPLAY : PERSIST_TAIL;
	fences_until_failure = _i < 2 ? _i : 0;
	engine_fences(r, fail_fence);
	ck_assert_int_eq(recover(r, &e.pool.super, &tail, &replayed), -EIO);
	ck_assert_uint_eq(replayed, 0);
	if (_i < 2)
		ck_assert_uint_eq(tail_of(r).counter, before.counter);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("recover");
	TCase *t = tcase_create("power cut");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 300);
	tcase_add_test(t, cut_at_any_fence_leaves_a_prefix_of_the_records_with_all_that_was_answered);
	tcase_add_test(t, recovery_cut_at_any_event_is_done_again);
	tcase_add_test(t, record_that_is_only_visible_is_made_durable_before_it_is_replayed);
	suite_add_tcase(s, t);

	t = tcase_create("not replayed");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, stale_record_of_an_earlier_life_is_not_replayed);
	tcase_add_test(t, planted_bug_without_sequence_check_replays_the_stale_record);
	tcase_add_test(t, many_lives_on_one_ring_never_meet_each_others_records);
	tcase_add_test(t, records_of_an_earlier_lap_are_not_replayed);
	tcase_add_test(t, clean_pool_has_nothing_to_replay);
	suite_add_tcase(s, t);

	t = tcase_create("tail");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, recovery_starts_a_new_life);
	tcase_add_test(t, last_mount_sequence_is_refused);
	tcase_add_loop_test(t, failed_write_back_fails_the_recovery_before_the_tail_moves, 0, 3);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
