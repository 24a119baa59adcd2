/*
 * The block allocator against a model that is an array of bytes, and its policies one by one: small requests
 * leave whole groups alone, large ones agree with the file offset, the reserve is kept, revoked blocks wait.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "meta/balloc.h"
#include "unit.h"
#include "util/bitmap.h"
#include "util/fault.h"

#define GIANT	(512ULL * GROUP_BLOCKS)

static struct balloc *started(uint64_t blocks, uint64_t reserve)
{
	struct balloc *ba = balloc_new(blocks);

	ck_assert_ptr_nonnull(ba);
	ck_assert_int_eq(balloc_start(ba, reserve), 0);
	return ba;
}

static struct block_run must(struct balloc *ba, uint64_t want, uint64_t goal, uint64_t file_block,
			     unsigned int flags)
{
	struct block_run run;

	ck_assert_int_eq(balloc_alloc(ba, want, goal, file_block, flags, &run), 0);
	return run;
}

static struct balloc_stat stat_of(struct balloc *ba)
{
	struct balloc_stat st;

	balloc_stat(ba, &st);
	return st;
}

/* ---- Marking ------------------------------------------------------------------------------------------- */

START_TEST(mark_finds_a_second_owner)
{
	struct balloc *ba = balloc_new(4096);

	ck_assert_int_eq(balloc_mark(ba, 0, 700), 0);
	ck_assert_int_eq(balloc_mark(ba, 700, 1), 0);
	ck_assert_int_eq(balloc_mark(ba, 1000, 64), 0);
	ck_assert_int_eq(balloc_mark(ba, 990, 11), -EUCLEAN);
	ck_assert_int_eq(balloc_mark(ba, 699, 1), -EUCLEAN);
	balloc_delete(ba);
}
END_TEST

START_TEST(mark_refuses_what_lies_outside)
{
	struct balloc *ba = balloc_new(4100);

	ck_assert_int_eq(balloc_mark(ba, 4099, 1), 0);
	ck_assert_int_eq(balloc_mark(ba, 4100, 1), -EUCLEAN);
	ck_assert_int_eq(balloc_mark(ba, 4000, 101), -EUCLEAN);
	ck_assert_int_eq(balloc_mark(ba, UINT64_MAX, 2), -EUCLEAN);
	ck_assert_int_eq(balloc_mark(ba, 2, UINT64_MAX), -EUCLEAN);
	balloc_delete(ba);
}
END_TEST

#define MARKERS		4
#define MARK_BLOCKS	40000ULL

struct marker {
	struct balloc	*ba;
	uint64_t	 first;
};

static void *mark_every_fourth(void *arg)
{
	struct marker *m = arg;
	uint64_t b;

	for (b = m->first; b < MARK_BLOCKS; b += MARKERS)
		if (balloc_mark(m->ba, b, 1))
			return m;
	return NULL;
}

START_TEST(mark_may_run_in_many_threads)
{
	struct balloc *ba = balloc_new(MARK_BLOCKS + 5);
	struct marker m[MARKERS];
	pthread_t thread[MARKERS];
	void *failed;
	int i;

	for (i = 0; i < MARKERS; i++) {
		m[i] = (struct marker){ ba, (uint64_t)i };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, mark_every_fourth, &m[i]), 0);
	}
	for (i = 0; i < MARKERS; i++) {
		ck_assert_int_eq(pthread_join(thread[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	ck_assert_uint_eq(stat_of(ba).free, 5);
	balloc_delete(ba);
}
END_TEST

START_TEST(no_memory_is_an_error_and_not_a_crash)
{
	struct balloc *ba;
	unsigned long n;

	for (n = 1; n <= 5; n++) {
		fault_arm(FAULT_ALLOC, n);
		ck_assert_ptr_null(balloc_new(4096));
		fault_disarm(FAULT_ALLOC);
	}
	ba = balloc_new(4096);
	fault_arm(FAULT_ALLOC, 2);
	ck_assert_int_eq(balloc_start(ba, 0), -ENOMEM);
	fault_disarm(FAULT_ALLOC);
	balloc_delete(ba);
}
END_TEST

START_TEST(a_pool_of_4_pib_starts_and_serves)
{
	struct balloc *ba = started(1ULL << 40, 0);
	struct block_run run;

	ck_assert_uint_eq(stat_of(ba).free_groups, 1ULL << 31);
	run = must(ba, 1, 0, 0, 0);
	ck_assert_uint_eq(run.count, 1);
	run = must(ba, 4 * GIANT, 0, 3, 0);
	ck_assert_uint_eq(run.count, 4 * GIANT);
	ck_assert_uint_eq(run.start % GIANT, 3);
	balloc_free(ba, run.start, run.count);
	balloc_delete(ba);
}
END_TEST

/* ---- Small requests ------------------------------------------------------------------------------------ */

START_TEST(small_requests_fill_a_broken_group_first)
{
	struct balloc *ba = started(64 * GROUP_BLOCKS, 0);
	uint64_t i, whole;

	must(ba, 1, 0, 0, 0);
	whole = stat_of(ba).free_groups;
	ck_assert_uint_eq(whole, 63);
	for (i = 1; i < GROUP_BLOCKS; i++)
		must(ba, 1, 0, 0, 0);
	ck_assert_uint_eq(stat_of(ba).free_groups, whole);
	must(ba, 1, 0, 0, 0);
	ck_assert_uint_eq(stat_of(ba).free_groups, whole - 1);
	balloc_delete(ba);
}
END_TEST

START_TEST(small_requests_look_for_a_run_long_enough)
{
	struct balloc *ba = balloc_new(16 * GROUP_BLOCKS);
	struct block_run run;

	/* group 2: holes of one block; group 9: one of 20 */
	for (uint64_t b = 2 * GROUP_BLOCKS; b < 3 * GROUP_BLOCKS; b += 2)
		balloc_mark(ba, b, 1);
	balloc_mark(ba, 9 * GROUP_BLOCKS, GROUP_BLOCKS - 20);
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	run = must(ba, 16, 2 * GROUP_BLOCKS, 0, 0);
	ck_assert_uint_eq(run.start, 10 * GROUP_BLOCKS - 20);
	ck_assert_uint_eq(run.count, 16);
	run = must(ba, 16, 2 * GROUP_BLOCKS, 0, 0);
	ck_assert_uint_eq(run.start, 10 * GROUP_BLOCKS - 4);
	ck_assert_uint_eq(run.count, 4);
	balloc_delete(ba);
}
END_TEST

START_TEST(a_free_goal_is_taken)
{
	struct balloc *ba = started(16 * GROUP_BLOCKS, 0);
	struct block_run run = must(ba, 7, 5000, 0, 0);

	ck_assert_uint_eq(run.start, 5000);
	ck_assert_uint_eq(run.count, 7);
	run = must(ba, 7, 5006, 0, 0);
	ck_assert_uint_ne(run.start, 5006);
	ck_assert_uint_eq(run.start >> GROUP_SHIFT, 5000 >> GROUP_SHIFT);
	balloc_delete(ba);
}
END_TEST

/* ---- Large requests ------------------------------------------------------------------------------------ */

START_TEST(large_requests_agree_with_the_file_offset)
{
	struct balloc *ba = started(64 * GROUP_BLOCKS, 0);
	struct block_run run = must(ba, 3 * GROUP_BLOCKS, 0, 1234567, 0);

	ck_assert_uint_eq(run.count, 3 * GROUP_BLOCKS);
	ck_assert_uint_eq((run.start - 1234567) % GROUP_BLOCKS, 0);
	run = must(ba, 8, 0, 100, BALLOC_HUGE);
	ck_assert_uint_eq((run.start - 100) % GROUP_BLOCKS, 0);
	balloc_delete(ba);
}
END_TEST

START_TEST(large_requests_leave_a_goal_that_does_not_agree)
{
	struct balloc *ba = started(64 * GROUP_BLOCKS, 0);
	struct block_run run = must(ba, GROUP_BLOCKS, 1001, 0, 0);

	ck_assert_uint_eq(run.start % GROUP_BLOCKS, 0);
	run = must(ba, GROUP_BLOCKS, 20 * GROUP_BLOCKS + 9, 9, 0);
	ck_assert_uint_eq(run.start, 20 * GROUP_BLOCKS + 9);
	run = must(ba, GROUP_BLOCKS, 30 * GROUP_BLOCKS + 9, 0, BALLOC_NOT_CONGRUENT);
	ck_assert_uint_eq(run.start, 30 * GROUP_BLOCKS + 9);
	balloc_delete(ba);
}
END_TEST

START_TEST(large_requests_prefer_the_longest_run_of_groups)
{
	struct balloc *ba = balloc_new(64 * GROUP_BLOCKS);
	struct block_run run;

	for (uint64_t g = 0; g < 64; g++)
		if (g % 3 == 2 && g != 20)
			balloc_mark(ba, g * GROUP_BLOCKS + 17, 1);
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	run = must(ba, 5 * GROUP_BLOCKS, 0, 0, 0);
	ck_assert_uint_eq(run.start, 18 * GROUP_BLOCKS);
	ck_assert_uint_eq(run.count, 5 * GROUP_BLOCKS);
	run = must(ba, 5 * GROUP_BLOCKS, 0, 0, 0);
	ck_assert_uint_eq(run.count, 2 * GROUP_BLOCKS + 17);
	balloc_delete(ba);
}
END_TEST

START_TEST(giant_requests_agree_modulo_1_gib)
{
	struct balloc *ba = balloc_new(4 * GIANT);
	struct block_run run;

	balloc_mark(ba, 0, 1);
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	run = must(ba, GIANT, 0, 5 * GIANT, 0);
	ck_assert_uint_eq(run.start % GIANT, 0);
	ck_assert_uint_eq(run.count, GIANT);
	run = must(ba, GIANT, 0, 700, 0);
	ck_assert_uint_eq(run.start % GIANT, 700);
	run = must(ba, GIANT, 0, 700, 0);
	ck_assert_uint_eq(run.start % GROUP_BLOCKS, 700 % GROUP_BLOCKS);
	balloc_delete(ba);
}
END_TEST

START_TEST(large_requests_make_do_with_fragments)
{
	struct balloc *ba = balloc_new(8 * GROUP_BLOCKS);
	struct block_run run;

	for (uint64_t g = 0; g < 8; g++)
		balloc_mark(ba, g * GROUP_BLOCKS + 100 + g, 1);
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	run = must(ba, 2 * GROUP_BLOCKS, 0, 0, 0);
	ck_assert_uint_eq(run.count, GROUP_BLOCKS - 101);
	ck_assert_uint_eq(run.start, 101);
	balloc_delete(ba);
}
END_TEST

/* ---- Limits -------------------------------------------------------------------------------------------- */

START_TEST(whole_requests_search_everything)
{
	struct balloc *ba = balloc_new(400 * GROUP_BLOCKS);
	struct block_run run;

	/* single free blocks everywhere, but for a run of 40 over the border of two groups near the end */
	for (uint64_t b = 0; b < 400 * GROUP_BLOCKS; b += 2)
		if (b < 390 * GROUP_BLOCKS - 20 || b >= 390 * GROUP_BLOCKS + 20)
			balloc_mark(ba, b, 1);
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	run = must(ba, 40, 0, 0, BALLOC_WHOLE);
	ck_assert_uint_eq(run.count, 40);
	ck_assert_int_eq(balloc_alloc(ba, 2, 0, 0, BALLOC_WHOLE, &run), -ENOSPC);
	run = must(ba, 2, 0, 0, 0);
	ck_assert_uint_eq(run.count, 1);
	balloc_delete(ba);
}
END_TEST

START_TEST(the_reserve_is_for_those_who_give_space_back)
{
	struct balloc *ba = started(4 * GROUP_BLOCKS, 10);
	struct block_run run = must(ba, 4 * GROUP_BLOCKS, 0, 0, 0);

	ck_assert_uint_eq(run.count, 4 * GROUP_BLOCKS - 10);
	ck_assert_int_eq(balloc_alloc(ba, 1, 0, 0, 0, &run), -ENOSPC);
	run = must(ba, 16, 0, 0, BALLOC_RESERVE);
	ck_assert_uint_eq(run.count, 10);
	ck_assert_int_eq(balloc_alloc(ba, 1, 0, 0, BALLOC_RESERVE, &run), -ENOSPC);
	balloc_delete(ba);
}
END_TEST

START_TEST(an_injected_failure_looks_like_a_full_pool)
{
	struct balloc *ba = started(4 * GROUP_BLOCKS, 0);
	struct block_run run;

	fault_arm(FAULT_BALLOC, 1);
	ck_assert_int_eq(balloc_alloc(ba, 1, 0, 0, 0, &run), -ENOSPC);
	must(ba, 1, 0, 0, 0);
	balloc_delete(ba);
}
END_TEST

/* ---- The revoke rule ----------------------------------------------------------------------------------- */

START_TEST(revoked_blocks_wait_for_the_tail)
{
	struct balloc *ba = started(2 * GROUP_BLOCKS, 0);
	struct block_run run = must(ba, 2 * GROUP_BLOCKS, 0, 0, 0);

	balloc_free_after(ba, 10, 3, 7);
	balloc_free_after(ba, 20, 3, 5);
	ck_assert_uint_eq(stat_of(ba).free, 6);
	ck_assert_uint_eq(stat_of(ba).deferred, 6);
	balloc_settle(ba, 5);
	ck_assert_int_eq(balloc_alloc(ba, 1, 0, 0, BALLOC_RESERVE, &run), -ENOSPC);
	balloc_settle(ba, 6);
	run = must(ba, 4, 0, 0, 0);
	ck_assert_uint_eq(run.start, 20);
	ck_assert_uint_eq(run.count, 3);
	ck_assert(balloc_deferred(ba));
	balloc_settle(ba, 8);
	ck_assert(!balloc_deferred(ba));
	run = must(ba, 4, 0, 0, 0);
	ck_assert_uint_eq(run.start, 10);
	balloc_delete(ba);
}
END_TEST

/* Two owners of one block, which a mount by the free-map cache does not see. */
START_TEST(free_blocks_of_a_range_can_be_taken)
{
	struct balloc *ba = balloc_new(4100);
	uint64_t first;

	ck_assert_int_eq(balloc_mark(ba, 100, 50), 0);
	ck_assert_int_eq(balloc_mark(ba, 200, 1), 0);
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	ck_assert_uint_eq(balloc_take(ba, 100, 150, &first), 0);
	ck_assert_uint_eq(balloc_take(ba, 120, 300, &first), 50);
	ck_assert_uint_eq(first, 150);
	ck_assert_uint_eq(balloc_take(ba, 120, 300, &first), 99);
	ck_assert_uint_eq(first, 201);
	ck_assert_uint_eq(balloc_take(ba, 120, 300, &first), 0);
	ck_assert_uint_eq(balloc_take(ba, 4096, 8192, &first), 4);
	ck_assert_uint_eq(balloc_take(ba, 8192, 9000, &first), 0);
	ck_assert_uint_eq(stat_of(ba).free, 4100 - 51 - 149 - 4);
	/* They are in use like any others. */
	for (struct block_run run; balloc_alloc(ba, 64, 0, 0, 0, &run) == 0;)
		ck_assert(run.start + run.count <= 100 || run.start >= 300);
	ck_assert_int_eq(balloc_free(ba, 150, 50), 0);
	ck_assert_uint_eq(stat_of(ba).free, 50);
	balloc_delete(ba);
}
END_TEST

START_TEST(giving_back_what_is_free_is_refused)
{
	struct balloc *ba = balloc_new(4096);

	ck_assert_int_eq(balloc_mark(ba, 0, 100), 0);
	ck_assert_int_eq(balloc_start(ba, 0), 0);
	ck_assert_int_eq(balloc_free(ba, 10, 5), 0);
	ck_assert_int_eq(balloc_free(ba, 8, 5), -EUCLEAN);
	ck_assert_int_eq(balloc_free_after(ba, 14, 2, 3), -EUCLEAN);
	ck_assert_uint_eq(stat_of(ba).free, 4096 - 95);

	ck_assert_int_eq(balloc_free_after(ba, 20, 4, 3), 0);
	ck_assert_int_eq(balloc_free(ba, 22, 4), 0);
	balloc_settle(ba, 4);
	ck_assert_uint_eq(stat_of(ba).deferred, 0);
	ck_assert_uint_eq(stat_of(ba).free, 4096 - 91);
	balloc_delete(ba);
}
END_TEST

START_TEST(without_memory_to_wait_blocks_stay_in_use)
{
	struct balloc *ba = started(2 * GROUP_BLOCKS, 0);

	must(ba, GROUP_BLOCKS, 0, 0, 0);
	fault_arm(FAULT_ALLOC, 1);
	balloc_free_after(ba, 0, 3, 1);
	ck_assert_uint_eq(stat_of(ba).lost, 3);
	ck_assert(!balloc_deferred(ba));
	balloc_settle(ba, 2);
	ck_assert_uint_eq(stat_of(ba).free, GROUP_BLOCKS);
	balloc_delete(ba);
}
END_TEST

/* ---- Snapshots ----------------------------------------------------------------------------------------- */

START_TEST(a_snapshot_loads_to_the_same_allocator)
{
	const uint64_t blocks = 5 * GROUP_BLOCKS + 33;
	struct balloc *ba = started(blocks, 0), *loaded = balloc_new(blocks);
	uint64_t *map = bitmap_alloc(blocks), *again = bitmap_alloc(blocks);

	must(ba, 2 * GROUP_BLOCKS, 0, 0, 0);
	must(ba, 20, blocks - 20, 0, 0);
	must(ba, 3, 0, 0, 0);
	balloc_free_after(ba, 100, 7, 1);
	balloc_snapshot(ba, map);
	ck_assert_uint_eq(bitmap_count(map, 0, blocks), blocks - stat_of(ba).free);
	balloc_settle(ba, 2);
	ck_assert_int_eq(balloc_load(loaded, map), 0);
	ck_assert_int_eq(balloc_start(loaded, 0), 0);
	balloc_snapshot(loaded, again);
	ck_assert_mem_eq(map, again, BITMAP_WORDS(blocks) * 8);
	ck_assert_uint_eq(stat_of(loaded).free, stat_of(ba).free);
	ck_assert_uint_eq(stat_of(loaded).free_groups, stat_of(ba).free_groups);
	map[BITMAP_WORDS(blocks) - 1] |= 1ULL << 63;
	balloc_delete(loaded);
	loaded = balloc_new(blocks);
	ck_assert_int_eq(balloc_load(loaded, map), -EUCLEAN);
	balloc_delete(loaded);
	balloc_delete(ba);
	free(map);
	free(again);
}
END_TEST

/* ---- Against the model --------------------------------------------------------------------------------- */

#define MODEL_BLOCKS	(40U * GROUP_BLOCKS + 37)
#define MODEL_GROUPS	41U
#define MODEL_RESERVE	64U
#define MODEL_STEPS	100000
#define MODEL_RUNS	4096U

enum { MODEL_FREE, MODEL_USED, MODEL_DEFERRED };

struct model {
	struct balloc	*ba;
	uint64_t	 random;
	uint64_t	 seq;			/* next sequence; below `settled` nothing is deferred */
	uint64_t	 free, deferred;
	uint8_t		 state[MODEL_BLOCKS];
	uint64_t	 due[MODEL_BLOCKS];	/* deferred: sequence */
	unsigned int	 used[MODEL_GROUPS];	/* not MODEL_FREE */
	struct block_run run[MODEL_RUNS];	/* live allocations */
	unsigned int	 runs;
};

static uint64_t roll(struct model *m, uint64_t below)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (m->random >> 11) % below;
}

static void model_set(struct model *m, uint64_t start, uint64_t count, uint8_t from, uint8_t to)
{
	uint64_t b;

	for (b = start; b < start + count; b++) {
		/* a passed ck_assert is a system call: too dear for each block */
		if (m->state[b] != from)
			ck_abort_msg("block %lu is %u, not %u", b, m->state[b], from);
		m->state[b] = to;
		m->used[b / GROUP_BLOCKS] += (to != MODEL_FREE) - (from != MODEL_FREE);
		m->free += (to == MODEL_FREE) - (from == MODEL_FREE);
		m->deferred += (to == MODEL_DEFERRED) - (from == MODEL_DEFERRED);
	}
}

static uint64_t model_longest(const struct model *m)
{
	uint64_t b, run = 0, longest = 0;

	for (b = 0; b < MODEL_BLOCKS; b++) {
		run = m->state[b] == MODEL_FREE ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return longest;
}

static unsigned int model_whole(const struct model *m)
{
	unsigned int g, n = 0;

	for (g = 0; g < MODEL_GROUPS - 1; g++)
		n += m->used[g] == 0;
	return n;
}

static unsigned int model_partial(const struct model *m)
{
	unsigned int g, n = m->used[MODEL_GROUPS - 1] < 37;

	for (g = 0; g < MODEL_GROUPS - 1; g++)
		n += m->used[g] > 0 && m->used[g] < GROUP_BLOCKS;
	return n;
}

static void model_check_refusal(struct model *m, uint64_t want, unsigned int flags)
{
	uint64_t kept = flags & BALLOC_RESERVE ? 0 : MODEL_RESERVE;

	if (m->free <= kept)
		return;
	ck_assert_msg(flags & BALLOC_WHOLE, "%lu blocks are free", m->free);
	ck_assert(want > m->free - kept || model_longest(m) < want);
}

/* What the policy says of a run that was not taken at the goal. */
static void model_check_place(struct model *m, uint64_t want, uint64_t file_block, unsigned int flags,
			      const struct block_run *run)
{
	bool large = want >= GROUP_BLOCKS || flags & BALLOC_HUGE;
	uint64_t first = run->start / GROUP_BLOCKS, last = (run->start + run->count - 1) / GROUP_BLOCKS;

	if (flags & BALLOC_WHOLE)
		return;
	if (large && !(flags & BALLOC_NOT_CONGRUENT) && model_whole(m))
		ck_assert_uint_eq((run->start - file_block) % GROUP_BLOCKS, 0);
	if (!large && model_partial(m)) {
		ck_assert_uint_gt(m->used[first] + (first == MODEL_GROUPS - 1), 0);
		ck_assert_uint_eq(first, last);
	}
}

static void model_alloc(struct model *m)
{
	static const unsigned int mix[] = {
		0, 0, 0, BALLOC_RESERVE, BALLOC_NOT_CONGRUENT, BALLOC_HUGE, BALLOC_WHOLE,
		BALLOC_WHOLE | BALLOC_RESERVE,
	};
	unsigned int flags = mix[roll(m, sizeof(mix) / sizeof(mix[0]))];
	uint64_t want = 1 + roll(m, roll(m, 8) ? 24 : 3 * GROUP_BLOCKS), file_block = roll(m, 1 << 20);
	uint64_t goal = roll(m, 3) ? 0 : roll(m, MODEL_BLOCKS);
	struct block_run run;

	if (m->runs == MODEL_RUNS)
		return;
	if (balloc_alloc(m->ba, want, goal, file_block, flags, &run)) {
		model_check_refusal(m, want, flags);
		return;
	}
	ck_assert_uint_ge(run.count, flags & BALLOC_WHOLE ? want : 1);
	ck_assert_uint_le(run.count, want);
	ck_assert_uint_le(run.start + run.count, MODEL_BLOCKS);
	if (!(flags & BALLOC_RESERVE))
		ck_assert_uint_le(run.count + MODEL_RESERVE, m->free);
	if (!goal || run.start != goal)
		model_check_place(m, want, file_block, flags, &run);
	model_set(m, run.start, run.count, MODEL_FREE, MODEL_USED);
	m->run[m->runs++] = run;
}

/* Give back the end of a live run: at once, or after a sequence that is about the newest. */
static void model_free(struct model *m)
{
	struct block_run *run;
	uint64_t count, start, seq, b;

	if (!m->runs)
		return;
	run = &m->run[roll(m, m->runs)];
	count = 1 + roll(m, run->count);
	run->count -= count;
	start = run->start + run->count;
	if (roll(m, 2)) {
		balloc_free(m->ba, start, count);
		model_set(m, start, count, MODEL_USED, MODEL_FREE);
	} else {
		seq = m->seq++ + roll(m, 3);
		balloc_free_after(m->ba, start, count, seq);
		model_set(m, start, count, MODEL_USED, MODEL_DEFERRED);
		for (b = start; b < start + count; b++)
			m->due[b] = seq;
	}
	if (!run->count)
		*run = m->run[--m->runs];
}

static void model_settle(struct model *m)
{
	uint64_t seq = m->seq - (m->seq > 10 ? roll(m, 10) : 0), b;

	balloc_settle(m->ba, seq);
	for (b = 0; b < MODEL_BLOCKS; b++)
		if (m->state[b] == MODEL_DEFERRED && m->due[b] < seq)
			model_set(m, b, 1, MODEL_DEFERRED, MODEL_FREE);
}

static void model_compare(struct model *m)
{
	uint64_t *map = bitmap_alloc(MODEL_BLOCKS), b;
	struct balloc_stat st = stat_of(m->ba);

	ck_assert_uint_eq(st.free, m->free + m->deferred);
	ck_assert_uint_eq(st.deferred, m->deferred);
	ck_assert_uint_eq(st.free_groups, model_whole(m));
	ck_assert_int_eq(balloc_deferred(m->ba), m->deferred > 0);
	balloc_snapshot(m->ba, map);
	for (b = 0; b < MODEL_BLOCKS; b++)
		if (bitmap_test(map, b) != (m->state[b] == MODEL_USED))
			ck_abort_msg("block %lu is %u, not so in the snapshot", b, m->state[b]);
	free(map);
}

START_TEST(random_steps_agree_with_the_model)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t seed = 0x9e3779b97f4a7c15ULL * (uint64_t)(_i + 1);
	int step;

	printf("seed %#lx\n", seed);
	m->ba = started(MODEL_BLOCKS, MODEL_RESERVE);
	m->random = seed;
	m->free = MODEL_BLOCKS;
	m->seq = 1;
	for (step = 0; step < MODEL_STEPS; step++) {
		/* phases in which the pool fills and empties */
		if (roll(m, 10) < (step / 5000 % 2 ? 4U : 6U))
			model_alloc(m);
		else
			model_free(m);
		if (!roll(m, 50))
			model_settle(m);
		if (!roll(m, 100))
			model_compare(m);
	}
	model_compare(m);
	balloc_delete(m->ba);
	free(m);
}
END_TEST

static Suite *balloc_suite(void)
{
	Suite *s = suite_create("balloc");
	TCase *policy = tcase_create("policy"), *model = tcase_create("model");

	tcase_add_test(policy, mark_finds_a_second_owner);
	tcase_add_test(policy, mark_refuses_what_lies_outside);
	tcase_add_test(policy, mark_may_run_in_many_threads);
	tcase_add_test(policy, no_memory_is_an_error_and_not_a_crash);
	tcase_add_test(policy, a_pool_of_4_pib_starts_and_serves);
	tcase_add_test(policy, small_requests_fill_a_broken_group_first);
	tcase_add_test(policy, small_requests_look_for_a_run_long_enough);
	tcase_add_test(policy, a_free_goal_is_taken);
	tcase_add_test(policy, large_requests_agree_with_the_file_offset);
	tcase_add_test(policy, large_requests_leave_a_goal_that_does_not_agree);
	tcase_add_test(policy, large_requests_prefer_the_longest_run_of_groups);
	tcase_add_test(policy, giant_requests_agree_modulo_1_gib);
	tcase_add_test(policy, large_requests_make_do_with_fragments);
	tcase_add_test(policy, whole_requests_search_everything);
	tcase_add_test(policy, the_reserve_is_for_those_who_give_space_back);
	tcase_add_test(policy, an_injected_failure_looks_like_a_full_pool);
	tcase_add_test(policy, revoked_blocks_wait_for_the_tail);
	tcase_add_test(policy, free_blocks_of_a_range_can_be_taken);
	tcase_add_test(policy, giving_back_what_is_free_is_refused);
	tcase_add_test(policy, without_memory_to_wait_blocks_stay_in_use);
	tcase_add_test(policy, a_snapshot_loads_to_the_same_allocator);
	tcase_set_timeout(policy, 60);
	suite_add_tcase(s, policy);
	tcase_add_loop_test(model, random_steps_agree_with_the_model, 0, 2);
	tcase_set_timeout(model, 120);
	suite_add_tcase(s, model);
	return s;
}

int main(void)
{
	return unit_run(balloc_suite());
}
