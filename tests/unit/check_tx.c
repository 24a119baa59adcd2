/*
 * Transactions: what the record holds, what is ordered before it, and what a power cut finds. (How they end,
 * and what becomes of blocks, is check_tx_end.c.)
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "engine.h"
#include "meta/balloc.h"
#include "meta/journal.h"
#include "meta/record.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/fault.h"

static struct region *r;
static struct engine e;

static void setup(void)
{
	r = engine_region();
	engine_open(&e, r);
}

static void teardown(void)
{
	engine_close(&e);
	emu_close(r);
}

/* ---- What the record holds ----------------------------------------------------------------------------- */

struct seen {
	uint64_t	off[16];
	uint32_t	len[16];
	unsigned int	count;
};

static int note(void *arg, const struct record_patch *p)
{
	struct seen *s = arg;

	ck_assert_uint_lt(s->count, 16);
	s->off[s->count] = p->off;
	s->len[s->count++] = p->len;
	return 0;
}

/* The patches of all records since the pool was opened. */
static struct seen patches(void)
{
	struct seen s = { .count = 0 };
	struct record_run run;

	ck_assert_int_eq(record_walk(r, &e.pool.super, &e.tail, note, &s, &run), 0);
	return s;
}

START_TEST(record_holds_the_words_that_differ)
{
	uint64_t *s;
	struct seen seen;
	struct tx tx;

	engine_begin(&e, &tx);
	s = engine_shadow(&tx, ENGINE_OBJ);
	s[0] = 1;
	s[10] = 2;
	s[11] = 3;
	s[20] = 0;		/* as it was */
	s[31] = 4;
	engine_end(&tx);
	seen = patches();
	ck_assert_uint_eq(seen.count, 3);
	ck_assert_uint_eq(seen.off[0], ENGINE_OBJ);
	ck_assert_uint_eq(seen.len[0], 8);
	ck_assert_uint_eq(seen.off[1], ENGINE_OBJ + 80);
	ck_assert_uint_eq(seen.len[1], 16);
	ck_assert_uint_eq(seen.off[2], ENGINE_OBJ + 248);
	ck_assert_uint_eq(seen.len[2], 8);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ + 88), 3);
}
END_TEST

/* A patch costs two words: one word between two runs is copied along, two are not. */
START_TEST(near_runs_are_one_patch)
{
	uint64_t *s;
	struct seen seen;
	struct tx tx;

	engine_begin(&e, &tx);
	s = engine_shadow(&tx, ENGINE_OBJ);
	s[0] = s[2] = s[4] = 1;
	s[10] = s[13] = 1;
	engine_end(&tx);
	seen = patches();
	ck_assert_uint_eq(seen.count, 3);
	ck_assert_uint_eq(seen.len[0], 40);
	ck_assert_uint_eq(seen.off[1], ENGINE_OBJ + 80);
	ck_assert_uint_eq(seen.len[1], 8);
	ck_assert_uint_eq(seen.off[2], ENGINE_OBJ + 104);
}
END_TEST

START_TEST(changes_of_several_objects_are_one_record)
{
	uint64_t seq = journal_next_seq(e.pool.journal), i;
	struct tx tx;

	engine_begin(&e, &tx);
	for (i = 0; i < 40; i++)
		engine_shadow(&tx, ENGINE_OBJ + i * BLOCK_SIZE)[i % 32] = i + 1;
	for (i = 0; i < 40; i++)
		ck_assert_uint_eq(engine_shadow(&tx, ENGINE_OBJ + i * BLOCK_SIZE)[i % 32], i + 1);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ), 0);
	engine_end(&tx);
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), seq + 1);
	for (i = 0; i < 40; i++)
		ck_assert_uint_eq(engine_word(r, ENGINE_OBJ + i * BLOCK_SIZE + i % 32 * 8), i + 1);
}
END_TEST

START_TEST(object_has_one_shadow_and_reads_prefer_it)
{
	uint64_t after = ENGINE_OBJ + ENGINE_OBJ_LEN, *s;
	struct tx tx;

	engine_begin(&e, &tx);
	s = engine_shadow(&tx, ENGINE_OBJ);
	s[3] = 77;
	ck_assert_ptr_eq(engine_shadow(&tx, ENGINE_OBJ), s);
	ck_assert_ptr_eq(tx_shadow(&tx, ENGINE_OBJ + 24, 8, NULL, NULL), s + 3);
	ck_assert_uint_eq(*(const uint64_t *)tx_read(&tx, ENGINE_OBJ + 24), 77);
	ck_assert_ptr_eq(tx_read(&tx, after), region_at(r, after));
	ck_assert_ptr_eq(tx_read(&tx, ENGINE_OBJ - 8), region_at(r, ENGINE_OBJ - 8));
	tx_abort(&tx);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ + 24), 0);
}
END_TEST

static void seal(const struct pool *p, void *s, uint64_t off, void *arg)
{
	ck_assert_ptr_eq(p, &e.pool);
	((uint64_t *)s)[ENGINE_OBJ_WORDS - 1] = off + ++*(unsigned int *)arg;
}

START_TEST(shadow_is_sealed_once_just_before_it_is_compared)
{
	struct tx tx;
	unsigned int sealed = 0;
	uint64_t *s;

	engine_begin(&e, &tx);
	s = tx_shadow(&tx, ENGINE_OBJ, ENGINE_OBJ_LEN, seal, &sealed);
	s[0] = 5;
	s[ENGINE_OBJ_WORDS - 1] = 99;
	ck_assert_uint_eq(sealed, 0);
	engine_end(&tx);
	ck_assert_uint_eq(sealed, 1);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ + ENGINE_OBJ_LEN - 8), ENGINE_OBJ + 1);
}
END_TEST

START_TEST(range_that_no_record_may_change_is_bad_media)
{
	static const uint64_t bad[] = {
		0, BLOCK_SIZE, 3 * BLOCK_SIZE, ENGINE_SIZE - BLOCK_SIZE, ENGINE_SIZE, ~7ULL,
		ENGINE_DATA + BLOCK_SIZE - 8,
	};
	struct tx tx;

	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	ck_assert_ptr_null(tx_shadow(&tx, bad[_i], ENGINE_OBJ_LEN, NULL, NULL));
	ck_assert_int_eq(tx.error, -EUCLEAN);
	ck_assert_int_eq(tx_commit(&tx), -EUCLEAN);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ), 0);
}
END_TEST

/* Media that says that two objects share bytes: a block of inodes that is an extent node as well. */
START_TEST(object_that_overlaps_another_is_bad_media)
{
	struct tx tx;

	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ);
	ck_assert_ptr_null(tx_shadow(&tx, ENGINE_DATA, BLOCK_SIZE, NULL, NULL));
	ck_assert_int_eq(tx_commit(&tx), -EUCLEAN);
	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ);
	ck_assert_ptr_null(tx_new_block(&tx, ENGINE_FIRST, NULL, NULL));
	ck_assert_int_eq(tx_commit(&tx), -EUCLEAN);
}
END_TEST

/* ---- What it costs ------------------------------------------------------------------------------------- */

START_TEST(empty_transaction_costs_nothing)
{
	uint64_t fences = engine_fence_count(), seq = journal_next_seq(e.pool.journal);
	struct tx tx;

	engine_begin(&e, &tx);
	engine_end(&tx);
	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 0;
	engine_end(&tx);
	ck_assert_uint_eq(engine_fence_count(), fences);
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), seq);
}
END_TEST

START_TEST(change_in_place_costs_one_fence_and_new_blocks_one_more)
{
	uint64_t commits = persist_count(PERSIST_COMMIT), unreachable = persist_count(PERSIST_UNREACHABLE);
	struct tx tx;

	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	engine_end(&tx);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 1);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable);
	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 2;
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(tx_new_block(&tx, engine_alloc(&tx), NULL, NULL));
	tx_order_data(&tx);
	engine_end(&tx);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 2);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable + 1);
}
END_TEST

START_TEST(data_of_the_caller_costs_a_fence_before_the_record)
{
	uint64_t commits = persist_count(PERSIST_COMMIT), unreachable = persist_count(PERSIST_UNREACHABLE);
	struct tx tx;

	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	tx_order_data(&tx);
	engine_end(&tx);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable + 1);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 1);
}
END_TEST

START_TEST(new_block_is_not_in_the_record)
{
	struct tx tx;
	uint64_t block, *s;
	struct seen seen;

	engine_begin(&e, &tx);
	block = engine_alloc(&tx);
	s = tx_new_block(&tx, block, NULL, NULL);
	ck_assert_uint_eq(s[0] | s[511], 0);
	memset(s, 0x5a, BLOCK_SIZE);
	ck_assert_ptr_eq(tx_shadow(&tx, (block << BLOCK_SHIFT) + 64, 8, NULL, NULL), s + 8);
	engine_shadow(&tx, ENGINE_OBJ)[0] = block;
	engine_end(&tx);
	seen = patches();
	ck_assert_uint_eq(seen.count, 1);
	ck_assert_uint_eq(seen.off[0], ENGINE_OBJ);
	ck_assert_uint_eq(engine_word(r, (block << BLOCK_SHIFT) + 4088), 0x5a5a5a5a5a5a5a5aULL);
}
END_TEST

/* ---- Power cuts ---------------------------------------------------------------------------------------- */

/* The object leads to a new block and to data the caller stored: once it does, both are whole. */
static void reach_new_block(void)
{
	struct tx tx;
	uint64_t block, data, *o, *s;

	engine_begin(&e, &tx);
	block = engine_alloc(&tx);
	data = engine_alloc(&tx);
	s = tx_new_block(&tx, block, NULL, NULL);
	ck_assert_ptr_nonnull(s);
	memset(s, 0x11, BLOCK_SIZE);
	persist_zero_nt(r, pool_block(&e.pool, data), BLOCK_SIZE);
	persist_store_nt(r, pool_block(&e.pool, data), s, 100);
	tx_order_data(&tx);
	o = engine_shadow(&tx, ENGINE_OBJ);
	o[0] = block;
	o[ENGINE_OBJ_WORDS - 1] = data;
	engine_end(&tx);
}

static uint64_t count_byte(const struct region *pool, uint64_t block, char byte)
{
	const char *at = region_at(pool, block << BLOCK_SHIFT);
	uint64_t n = 0, i;

	for (i = 0; i < BLOCK_SIZE; i++)
		n += at[i] == byte;
	return n;
}

/* 0: nothing is reached, 1: all of it, -1: something else. */
static int judge_reached(struct region *after)
{
	struct engine other;
	uint64_t block, data;

	engine_open(&other, after);
	engine_close(&other);
	block = engine_word(after, ENGINE_OBJ);
	data = engine_word(after, ENGINE_OBJ + ENGINE_OBJ_LEN - 8);
	if (!block && !data)
		return 0;
	if (!block || !data || count_byte(after, block, 0x11) != BLOCK_SIZE)
		return -1;
	if (count_byte(after, data, 0x11) != 100 || count_byte(after, data, 0) != BLOCK_SIZE - 100)
		return -1;
	return 1;
}

/* What the new blocks hold before: as after, but for two lines each, so that all mixtures can be tried. */
static void prepare_blocks(void)
{
	char *block = pool_block(&e.pool, ENGINE_FIRST + 1);

	memset(block, 0x11, BLOCK_SIZE + 100);
	for (; block < (char *)pool_block(&e.pool, ENGINE_FIRST + 3); block += BLOCK_SIZE) {
		memset(block, 0xee, 64);
		memset(block + BLOCK_SIZE - 64, 0xee, 64);
	}
}

/* Cut everywhere; the number of states in which the object leads to what is not there. */
static uint64_t cut_everywhere(void)
{
	struct region *after = emu_open(ENGINE_SIZE, NULL);
	uint64_t event, mask, seen[2] = { 0, 0 }, wrong = 0;
	unsigned int lines;
	int verdict;

	prepare_blocks();
	emu_record(r);
	reach_new_block();
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	for (event = 0; event <= emu_events(r); event++) {
		emu_crash_begin(r, event);
		lines = emu_crash_lines(r);
		ck_assert_uint_le(lines, 8);
		for (mask = 0; mask < 1ULL << lines; mask++) {
			emu_crash_subset(r, mask, after->base);
			verdict = judge_reached(after);
			if (verdict < 0)
				wrong++;
			else
				seen[verdict]++;
		}
	}
	ck_assert_uint_gt(seen[0], 8);
	ck_assert_uint_gt(seen[1], 8);
	emu_close(after);
	return wrong;
}

START_TEST(new_blocks_and_data_are_durable_before_they_are_reached)
{
	ck_assert_uint_eq(cut_everywhere(), 0);
}
END_TEST

START_TEST(planted_bug_without_the_fence_before_the_record_is_found)
{
	emu_plant_missing_fence(r, PERSIST_UNREACHABLE);
	ck_assert_uint_gt(cut_everywhere(), 0);
}
END_TEST

START_TEST(planted_bug_of_stores_before_the_commit_is_found)
{
	fault_arm_always(FAULT_EARLY_INPLACE);
	ck_assert_uint_gt(cut_everywhere(), 0);
	fault_disarm(FAULT_EARLY_INPLACE);
}
END_TEST
/* ---- Many threads -------------------------------------------------------------------------------------- */

#define THREADS	4U
#define ROUNDS	400U

/*
 * Each thread has an object, all in one block, that leads to a metadata block, which is replaced every time.
 * The new one says whose it is; another's there would mean that a block was handed out twice.
 */
static int replace_block(unsigned int number, uint64_t round)
{
	uint64_t old, block, count, *o, *s;
	struct tx tx;
	int rc = tx_begin(&tx, &e.pool, 0);

	if (rc)
		return rc;
	o = tx_shadow(&tx, ENGINE_OBJ + number * ENGINE_OBJ_LEN, ENGINE_OBJ_LEN, NULL, NULL);
	rc = tx_alloc(&tx, 1, 0, 0, 0, &block, &count);
	s = rc ? NULL : tx_new_block(&tx, block, NULL, NULL);
	if (!rc && (!o || !s))
		rc = -ENOMEM;
	if (!rc) {
		old = o[0];
		if (old && engine_word(r, old << BLOCK_SHIFT) != ((uint64_t)number << 32) + round - 1)
			rc = -EUCLEAN;
		o[0] = block;
		s[0] = ((uint64_t)number << 32) + round;
		if (!rc && old)
			rc = tx_free_meta(&tx, old, 1);
	}
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	return tx_commit(&tx);
}

static void *replace_blocks(void *arg)
{
	unsigned int number = *(unsigned int *)arg;
	int rc = 0;

	for (uint64_t round = 1; round <= ROUNDS && !rc; round++)
		rc = replace_block(number, round);
	return (void *)(intptr_t)rc;
}

START_TEST(threads_share_the_allocator_and_the_ring)
{
	unsigned int number[THREADS], i;
	uint64_t free = engine_free(&e);
	pthread_t thread[THREADS];
	struct engine other;
	void *rc;

	for (i = 0; i < THREADS; i++) {
		number[i] = i;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, replace_blocks, &number[i]), 0);
	}
	for (i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(thread[i], &rc), 0);
		ck_assert_int_eq((intptr_t)rc, 0);
	}
	ck_assert_uint_eq(engine_free(&e), free - THREADS);
	engine_open(&other, r);				/* the process is killed and starts again */
	ck_assert_uint_gt(other.replayed, 0);
	for (i = 0; i < THREADS; i++) {
		uint64_t block = engine_word(r, ENGINE_OBJ + i * ENGINE_OBJ_LEN);

		ck_assert_uint_eq(engine_word(r, block << BLOCK_SHIFT), ((uint64_t)i << 32) + ROUNDS);
	}
	engine_close(&other);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("tx");
	TCase *t = tcase_create("record");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, record_holds_the_words_that_differ);
	tcase_add_test(t, near_runs_are_one_patch);
	tcase_add_test(t, changes_of_several_objects_are_one_record);
	tcase_add_test(t, object_has_one_shadow_and_reads_prefer_it);
	tcase_add_test(t, shadow_is_sealed_once_just_before_it_is_compared);
	tcase_add_loop_test(t, range_that_no_record_may_change_is_bad_media, 0, 7);
	tcase_add_test(t, object_that_overlaps_another_is_bad_media);
	tcase_add_test(t, empty_transaction_costs_nothing);
	tcase_add_test(t, change_in_place_costs_one_fence_and_new_blocks_one_more);
	tcase_add_test(t, data_of_the_caller_costs_a_fence_before_the_record);
	tcase_add_test(t, new_block_is_not_in_the_record);
	suite_add_tcase(s, t);

	t = tcase_create("power cut");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, new_blocks_and_data_are_durable_before_they_are_reached);
	tcase_add_test(t, planted_bug_without_the_fence_before_the_record_is_found);
	tcase_add_test(t, planted_bug_of_stores_before_the_commit_is_found);
	tcase_add_test(t, threads_share_the_allocator_and_the_ring);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
