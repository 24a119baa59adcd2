/*
 * How transactions end: callbacks, what an abort gives back, when the allocator has freed blocks again, what
 * happens when there are none, and what a failed write-back does to the pool.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "meta/balloc.h"
#include "meta/journal.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/fault.h"

static struct region *r;
static struct engine e;
static unsigned int order[8], ended;	/* callbacks that ran */
static bool outcome;			/* what the last one was told */

static void setup(void)
{
	r = engine_region();
	engine_open(&e, r);
	ended = 0;
}

static void teardown(void)
{
	engine_close(&e);
	emu_close(r);
}

/* ---- Aborting ------------------------------------------------------------------------------------------ */

static void on_end(void *arg, bool committed)
{
	order[ended++] = (unsigned int)(uintptr_t)arg;
	outcome = committed;
}

static void add_ends(struct tx *tx, uintptr_t n)
{
	for (uintptr_t i = 1; i <= n; i++)
		ck_assert_int_eq(tx_on_end(tx, on_end, (void *)i), 0);
}

static void assert_ended(unsigned int n, bool committed)
{
	ck_assert_uint_eq(ended, n);
	for (unsigned int i = 0; i < n; i++)
		ck_assert_uint_eq(order[i], n - i);
	ck_assert_int_eq(outcome, committed);
	ended = 0;
}

START_TEST(callbacks_run_latest_first_with_the_outcome)
{
	struct tx tx;

	engine_begin(&e, &tx);
	add_ends(&tx, 3);
	engine_end(&tx);
	assert_ended(3, true);
	engine_begin(&e, &tx);
	add_ends(&tx, 5);
	tx_abort(&tx);
	assert_ended(5, false);
}
END_TEST

static void assert_in_place_before_end(void *arg, bool committed)
{
	(void)arg;
	ck_assert(committed);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ), 1);
	ended++;
}

START_TEST(callbacks_of_a_commit_find_it_in_place)
{
	struct tx tx;

	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	ck_assert_int_eq(tx_on_end(&tx, assert_in_place_before_end, NULL), 0);
	engine_end(&tx);
	ck_assert_uint_eq(ended, 1);
}
END_TEST

/* Everything a transaction can do. The block `old` is freed, if it is not 0. */
static int do_everything(uint64_t old, struct tx *tx)
{
	uint64_t block = 0, count, *o, *s = NULL;
	int rc = tx_begin(tx, &e.pool, 0);

	if (!rc)
		rc = tx_on_end(tx, on_end, (void *)1);
	if (!rc)
		rc = tx_alloc(tx, 1, 0, 0, 0, &block, &count);
	if (!rc)
		rc = tx_on_end(tx, on_end, (void *)2);
	if (!rc)
		s = tx_new_block(tx, block, NULL, NULL);
	o = rc ? NULL : tx_shadow(tx, ENGINE_OBJ, ENGINE_OBJ_LEN, NULL, NULL);
	if (s)
		s[5] = 5;
	if (o)
		o[0] = block;
	if (!rc && old)
		rc = tx_free_meta(tx, old, 1);
	return rc;
}

START_TEST(abort_leaves_everything_as_it_was)
{
	uint64_t free = engine_free(&e), fences = engine_fence_count();
	uint64_t seq = journal_next_seq(e.pool.journal);
	struct tx tx;

	ck_assert_int_eq(do_everything(ENGINE_FIRST, &tx), 0);
	ck_assert_uint_eq(engine_free(&e), free - 1);
	tx_abort(&tx);
	assert_ended(2, false);
	ck_assert_uint_eq(engine_free(&e), free);
	ck_assert(!balloc_deferred(e.pool.balloc));
	ck_assert_uint_eq(engine_fence_count(), fences);
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), seq);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ), 0);
	ck_assert_int_eq(atomic_load(&e.pool.failed), 0);
}
END_TEST

START_TEST(change_too_large_for_a_record_is_refused_and_undone)
{
	uint64_t free = engine_free(&e), fences = engine_fence_count(), i;
	struct tx tx;

	engine_begin(&e, &tx);
	add_ends(&tx, 2);
	engine_alloc(&tx);
	for (i = 1; i <= 16; i++) {
		void *s = tx_shadow(&tx, ENGINE_DATA + i * BLOCK_SIZE, BLOCK_SIZE, NULL, NULL);

		ck_assert_ptr_nonnull(s);
		memset(s, 1, BLOCK_SIZE);
	}
	ck_assert_int_eq(tx_commit(&tx), -EFBIG);
	assert_ended(2, false);
	ck_assert_uint_eq(engine_free(&e), free);
	ck_assert_uint_eq(engine_fence_count(), fences);
	ck_assert_uint_eq(engine_word(r, ENGINE_DATA + BLOCK_SIZE), 0);
	ck_assert_int_eq(atomic_load(&e.pool.failed), 0);
	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	engine_end(&tx);
}
END_TEST

/* The transaction's n-th allocation fails: nothing has happened. */
static void assert_nothing_happened(int rc, uint64_t free, uint64_t fences)
{
	ck_assert_int_eq(rc, -ENOMEM);
	ck_assert(!ended || !outcome);
	ck_assert_uint_eq(engine_free(&e), free);
	ck_assert_uint_eq(engine_fence_count(), fences);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ), 0);
}

/*
 * The one allocation that may fail without harm is the allocator's, for a block that has to wait: it is in
 * use until the next mount then.
 */
START_TEST(any_allocation_may_fail)
{
	struct balloc_stat st = { .lost = 0 };
	unsigned long n, failed = 0, lost = 0;
	int rc = -ENOMEM;

	for (n = 1; rc || st.lost; n++) {
		uint64_t free, fences;
		struct tx tx;

		teardown();
		setup();
		free = engine_free(&e);
		fences = engine_fence_count();
		fault_arm(FAULT_ALLOC, n);
		rc = do_everything(ENGINE_FIRST, &tx);
		if (rc)
			tx_abort(&tx);
		else
			rc = tx_commit(&tx);
		fault_disarm(FAULT_ALLOC);
		if (rc)
			assert_nothing_happened(rc, free, fences);
		balloc_stat(e.pool.balloc, &st);
		failed += rc != 0;
		lost += st.lost;
	}
	ck_assert_uint_ge(failed, 6);
	ck_assert_uint_eq(lost, 1);
	ck_assert_uint_ne(engine_word(r, ENGINE_OBJ), 0);
	assert_ended(2, true);
}
END_TEST

/* ---- Blocks -------------------------------------------------------------------------------------------- */

/* Take all blocks that can be had now; whether `block` is among them. */
static bool handed_out(uint64_t block)
{
	struct block_run run;
	bool found = false;

	while (!balloc_alloc(e.pool.balloc, ENGINE_BLOCKS, 0, 0, BALLOC_RESERVE, &run))
		found = found || (run.start <= block && block < run.start + run.count);
	return found;
}

/* A block in use, freed in a record of its own. */
static uint64_t free_one(bool meta)
{
	struct tx tx;
	uint64_t block;

	engine_begin(&e, &tx);
	block = engine_alloc(&tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = block;
	engine_end(&tx);
	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 0;
	ck_assert_int_eq(meta ? tx_free_meta(&tx, block, 1) : tx_free_data(&tx, block, 1), 0);
	engine_end(&tx);
	return block;
}

START_TEST(freed_data_block_is_handed_out_at_once)
{
	ck_assert(handed_out(free_one(false)));
}
END_TEST

/* The tail at the last record is not enough: that record is the first to be replayed. */
static void assert_waits_for_last_record(uint64_t block)
{
	balloc_settle(e.pool.balloc, journal_next_seq(e.pool.journal) - 1);
	ck_assert(!handed_out(block));
	ck_assert_int_eq(journal_retire(e.pool.journal), 0);
	ck_assert(handed_out(block));
}

START_TEST(freed_metadata_block_is_not_handed_out_before_the_tail_has_passed)
{
	assert_waits_for_last_record(free_one(true));
}
END_TEST

START_TEST(planted_bug_of_early_reuse_is_seen)
{
	fault_arm_always(FAULT_EARLY_REUSE);
	ck_assert(handed_out(free_one(true)));
	fault_disarm(FAULT_EARLY_REUSE);
}
END_TEST

/* Freed without a record: earlier records may name it all the same. */
START_TEST(metadata_block_freed_by_an_empty_transaction_waits_for_earlier_records)
{
	struct tx tx;
	uint64_t block;

	engine_begin(&e, &tx);
	block = engine_alloc(&tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	engine_end(&tx);
	engine_begin(&e, &tx);
	ck_assert_int_eq(tx_free_meta(&tx, block, 1), 0);
	engine_end(&tx);
	assert_waits_for_last_record(block);
}
END_TEST

START_TEST(block_taken_and_freed_in_one_transaction_goes_back_once)
{
	uint64_t free = engine_free(&e);
	struct tx tx;

	engine_begin(&e, &tx);
	ck_assert_int_eq(tx_free_data(&tx, engine_alloc(&tx), 1), 0);
	ck_assert_int_eq(tx_free_meta(&tx, engine_alloc(&tx), 1), 0);
	engine_end(&tx);
	ck_assert_uint_eq(engine_free(&e), free);
	engine_begin(&e, &tx);
	ck_assert_int_eq(tx_free_data(&tx, engine_alloc(&tx), 1), 0);
	ck_assert_int_eq(tx_free_meta(&tx, engine_alloc(&tx), 1), 0);
	tx_abort(&tx);
	ck_assert_uint_eq(engine_free(&e), free);
}
END_TEST

/* Only bad media lead to that: a free map that lies, or two objects with one block. */
START_TEST(giving_back_what_is_free_already_fails_the_pool)
{
	struct tx tx;
	int rc;

	engine_begin(&e, &tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	rc = _i ? tx_free_meta(&tx, ENGINE_FIRST + 1, 1) : tx_free_data(&tx, ENGINE_FIRST + 1, 1);
	ck_assert_int_eq(rc, 0);
	engine_end(&tx);
	ck_assert_int_eq(atomic_load(&e.pool.failed), -EUCLEAN);
	ck_assert_int_eq(tx_begin(&tx, &e.pool, 0), -EROFS);
}
END_TEST

START_TEST(full_pool_retires_once_when_that_helps_and_never_when_not)
{
	uint64_t block = free_one(true), got, count, retires = persist_count(PERSIST_RETIRE);
	struct tx tx;

	handed_out(0);
	ck_assert_int_eq(tx_begin(&tx, &e.pool, BALLOC_RESERVE), 0);
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &got, &count), 0);
	ck_assert_uint_eq(got, block);
	ck_assert_uint_eq(persist_count(PERSIST_RETIRE), retires + 1);
	engine_shadow(&tx, ENGINE_OBJ)[0] = got;
	engine_end(&tx);
	ck_assert_int_eq(tx_begin(&tx, &e.pool, BALLOC_RESERVE), 0);
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &got, &count), -ENOSPC);
	ck_assert_uint_eq(persist_count(PERSIST_RETIRE), retires + 1);
	ck_assert_int_eq(tx.error, 0);
	engine_end(&tx);
}
END_TEST

START_TEST(reserve_is_for_transactions_that_give_space_back)
{
	uint64_t got, count;
	struct tx tx;

	engine_begin(&e, &tx);
	while (!tx_alloc(&tx, ENGINE_BLOCKS, 0, 0, 0, &got, &count))
		;
	ck_assert_uint_eq(engine_free(&e), ENGINE_RESERVE);
	engine_end(&tx);
	ck_assert_int_eq(tx_begin(&tx, &e.pool, BALLOC_RESERVE), 0);
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &got, &count), 0);
	tx_abort(&tx);
}
END_TEST

static unsigned int reclaims;		/* calls */
static uint64_t reclaimable;		/* block that one may free, or 0 */

/* As ialloc_reclaim() does: a transaction of its own, inside the one that is out of blocks. */
static int reclaim(struct pool *p)
{
	struct tx tx;

	reclaims++;
	if (!reclaimable)
		return -ENOSPC;
	ck_assert_int_eq(tx_begin(&tx, p, BALLOC_RESERVE), 0);
	engine_shadow(&tx, ENGINE_OBJ + BLOCK_SIZE)[0] = reclaims;
	ck_assert_int_eq(tx_free_meta(&tx, reclaimable, 1), 0);
	reclaimable = 0;
	return tx_commit(&tx);
}

START_TEST(out_of_blocks_reclaims_once_in_a_transaction)
{
	uint64_t got, count, block;
	struct tx tx;

	engine_begin(&e, &tx);
	block = reclaimable = engine_alloc(&tx);
	engine_shadow(&tx, ENGINE_OBJ)[0] = 1;
	engine_end(&tx);
	handed_out(0);
	e.pool.reclaim = reclaim;
	ck_assert_int_eq(tx_begin(&tx, &e.pool, BALLOC_RESERVE), 0);
	engine_shadow(&tx, ENGINE_OBJ)[1] = 7;
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &got, &count), 0);
	ck_assert_uint_eq(got, block);
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &got, &count), -ENOSPC);
	ck_assert_uint_eq(reclaims, 1);
	engine_end(&tx);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ + 8), 7);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ + BLOCK_SIZE), 1);
	engine_begin(&e, &tx);
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &got, &count), -ENOSPC);
	ck_assert_uint_eq(reclaims, 2);
	tx_abort(&tx);
}
END_TEST

/* ---- A write-back that fails --------------------------------------------------------------------------- */

static enum persist_point failing_point;
static atomic_uint held;		/* commit fences that have come to the gate */
static atomic_bool gate_open;

static int failing(enum persist_point point)
{
	return point == failing_point ? -EIO : 0;
}

static void fail_fences(enum persist_point point)
{
	failing_point = point;
	engine_fences(r, failing);
}

/* Nothing more changes; what was begun before can only end. */
static void assert_failed(struct tx *begun)
{
	uint64_t fences = engine_fence_count();
	struct tx tx;

	ck_assert_int_eq(atomic_load(&e.pool.failed), -EIO);
	ck_assert_int_eq(tx_begin(&tx, &e.pool, 0), -EROFS);
	ck_assert_int_eq(tx_commit(begun), -EROFS);
	ck_assert_uint_eq(engine_fence_count(), fences);
	ck_assert_uint_eq(engine_word(r, ENGINE_OBJ), 0);
}

START_TEST(failed_commit_fails_the_pool_and_keeps_the_blocks)
{
	uint64_t free = engine_free(&e);
	struct tx begun, tx;

	engine_begin(&e, &begun);
	engine_shadow(&begun, ENGINE_OBJ + BLOCK_SIZE)[0] = 1;
	fail_fences(PERSIST_COMMIT);
	ck_assert_int_eq(do_everything(0, &tx), 0);
	ck_assert_int_eq(tx_commit(&tx), -EIO);
	assert_ended(2, false);
	ck_assert_uint_eq(engine_free(&e), free - 1);	/* the record may be there, and lead to it */
	assert_failed(&begun);
}
END_TEST

START_TEST(failed_fence_of_new_blocks_fails_the_pool_without_a_record)
{
	uint64_t free = engine_free(&e), seq = journal_next_seq(e.pool.journal);
	struct tx begun, tx;

	engine_begin(&e, &begun);
	engine_shadow(&begun, ENGINE_OBJ + BLOCK_SIZE)[0] = 1;
	fail_fences(PERSIST_UNREACHABLE);
	ck_assert_int_eq(do_everything(0, &tx), 0);
	ck_assert_int_eq(tx_commit(&tx), -EIO);
	assert_ended(2, false);
	ck_assert_uint_eq(engine_free(&e), free);
	ck_assert_uint_eq(journal_next_seq(e.pool.journal), seq);
	assert_failed(&begun);
}
END_TEST

START_TEST(failed_retire_while_out_of_blocks_fails_the_pool)
{
	uint64_t got, count;
	struct tx tx;

	free_one(true);
	handed_out(0);
	ck_assert_int_eq(tx_begin(&tx, &e.pool, BALLOC_RESERVE), 0);
	fail_fences(PERSIST_RETIRE);
	ck_assert_int_eq(tx_alloc(&tx, 1, 0, 0, 0, &got, &count), -EIO);
	assert_failed(&tx);
}
END_TEST

START_TEST(read_only_pool_takes_no_transaction)
{
	struct tx tx;

	e.pool.readonly = true;
	ck_assert_int_eq(tx_begin(&tx, &e.pool, 0), -EROFS);
}
END_TEST

static int failing_gate(enum persist_point point)
{
	if (point != PERSIST_COMMIT)
		return 0;
	atomic_fetch_add(&held, 1);
	while (!atomic_load(&gate_open))
		usleep(100);
	return -EIO;
}

#define COMMITTERS	3U

static void *commit_one(void *arg)
{
	uint64_t number = *(unsigned int *)arg, *s;
	struct tx tx;
	int rc = tx_begin(&tx, &e.pool, 0);

	if (rc)
		return (void *)(intptr_t)rc;
	s = tx_shadow(&tx, ENGINE_OBJ + number * BLOCK_SIZE, ENGINE_OBJ_LEN, NULL, NULL);
	if (s)
		s[0] = 1;
	rc = tx_commit(&tx);
	return (void *)(intptr_t)rc;
}

START_TEST(all_committers_under_way_get_the_error_of_a_failed_write_back)
{
	unsigned int number[COMMITTERS], i;
	pthread_t thread[COMMITTERS];
	void *rc;

	engine_fences(r, failing_gate);
	for (i = 0; i < COMMITTERS; i++) {
		number[i] = i;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, commit_one, &number[i]), 0);
	}
	while (atomic_load(&held) < COMMITTERS)
		usleep(100);
	atomic_store(&gate_open, true);
	for (i = 0; i < COMMITTERS; i++) {
		ck_assert_int_eq(pthread_join(thread[i], &rc), 0);
		ck_assert_int_eq((intptr_t)rc, -EIO);
		ck_assert_uint_eq(engine_word(r, ENGINE_OBJ + i * BLOCK_SIZE), 0);
	}
	ck_assert_int_eq(atomic_load(&e.pool.failed), -EIO);
}
END_TEST
static Suite *suite(void)
{
	Suite *s = suite_create("tx_end");
	TCase *t = tcase_create("abort");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, callbacks_run_latest_first_with_the_outcome);
	tcase_add_test(t, callbacks_of_a_commit_find_it_in_place);
	tcase_add_test(t, abort_leaves_everything_as_it_was);
	tcase_add_test(t, change_too_large_for_a_record_is_refused_and_undone);
	tcase_add_test(t, any_allocation_may_fail);
	suite_add_tcase(s, t);

	t = tcase_create("blocks");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, freed_data_block_is_handed_out_at_once);
	tcase_add_test(t, freed_metadata_block_is_not_handed_out_before_the_tail_has_passed);
	tcase_add_test(t, planted_bug_of_early_reuse_is_seen);
	tcase_add_test(t, metadata_block_freed_by_an_empty_transaction_waits_for_earlier_records);
	tcase_add_test(t, block_taken_and_freed_in_one_transaction_goes_back_once);
	tcase_add_loop_test(t, giving_back_what_is_free_already_fails_the_pool, 0, 2);
	tcase_add_test(t, full_pool_retires_once_when_that_helps_and_never_when_not);
	tcase_add_test(t, reserve_is_for_transactions_that_give_space_back);
	tcase_add_test(t, out_of_blocks_reclaims_once_in_a_transaction);
	suite_add_tcase(s, t);

	t = tcase_create("fail");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, failed_commit_fails_the_pool_and_keeps_the_blocks);
	tcase_add_test(t, failed_fence_of_new_blocks_fails_the_pool_without_a_record);
	tcase_add_test(t, failed_retire_while_out_of_blocks_fails_the_pool);
	tcase_add_test(t, read_only_pool_takes_no_transaction);
	tcase_add_test(t, all_committers_under_way_get_the_error_of_a_failed_write_back);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
