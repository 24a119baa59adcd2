/*
 * The inode allocator: slots and generations, how the table grows and shrinks, what an abort undoes.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/ialloc.h"
#include "meta/journal.h"
#include "pool.h"
#include "unit.h"
#include "util/bitmap.h"
#include "util/fault.h"

#define POOL_BLOCKS	8192U
#define IDLE		64U

/* ---- The table's own inode ----------------------------------------------------------------------------- */

static void assert_table_refused(struct unit_pool *up, const struct inode_core *core)
{
	struct pool next = { .region = up->region, .super = up->pool.super };

	if (core)
		unit_pool_rewrite(up, INO_ITABLE, core);
	ck_assert_int_eq(ialloc_new(&next), -EUCLEAN);
	ck_assert_ptr_null(next.ialloc);
}

START_TEST(a_damaged_table_inode_is_refused)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	const struct inode_core good = unit_pool_core(up, INO_ITABLE);
	struct extent e = extent_unpack(good.extent[0]);
	struct inode_core core = good;
	uint64_t off = inode_offset(&up->pool, INO_ITABLE), ones = ~0ULL;

	e.file_block = 1;
	core.extent[0] = extent_pack(&e);
	core.size = 2 * BLOCK_SIZE;
	assert_table_refused(up, &core);	/* block 0 is a hole */
	core = good;
	core.size = (uint64_t)BLOCK_SIZE << 40;
	assert_table_refused(up, &core);	/* larger than the pool */
	core = good;
	core.size = 0;
	assert_table_refused(up, &core);	/* extents behind the end */
	core = good;
	core.nlink = 0;
	assert_table_refused(up, &core);
	unit_pool_rewrite(up, INO_ITABLE, &good);
	unit_pool_damage(up, off + offsetof(struct disk_inode, mtime), &ones, sizeof(ones));
	assert_table_refused(up, NULL);
	unit_pool_delete(up);
}
END_TEST

/* ---- Slots --------------------------------------------------------------------------------------------- */

START_TEST(the_table_grows_by_a_chunk_when_no_slot_is_free)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	unsigned int i;

	ck_assert_uint_eq(ialloc_slots(&up->pool), INODES_PER_BLOCK);
	for (i = 0; i < INODES_PER_BLOCK - 2; i++)
		unit_pool_file(up);
	ck_assert_uint_eq(ialloc_slots(&up->pool), INODES_PER_BLOCK);
	ck_assert_uint_eq(unit_pool_file(up), INODES_PER_BLOCK);
	ck_assert_uint_eq(ialloc_slots(&up->pool), 17 * INODES_PER_BLOCK);
	ck_assert_uint_eq(ialloc_used(&up->pool), INODES_PER_BLOCK);
	ck_assert_uint_eq(unit_pool_core(up, INO_ITABLE).blocks, 17);
	unit_pool_delete(up);
}
END_TEST

START_TEST(a_freed_number_is_not_used_again_at_once)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t a = unit_pool_file(up), b, generation = unit_pool_core(up, a).generation;

	unit_pool_unlink_ino(up, a);
	b = unit_pool_file(up);
	ck_assert_uint_ne(a, b);
	ck_assert_uint_gt(unit_pool_core(up, b).generation, generation);
	ck_assert_uint_eq(generation >> 32, up->pool.mount);
	unit_pool_delete(up);
}
END_TEST

START_TEST(only_taken_slots_have_an_offset)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino = unit_pool_file(up);

	ck_assert_uint_eq(ialloc_offset(&up->pool, INO_ITABLE), (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT);
	ck_assert_uint_eq(ialloc_offset(&up->pool, ino), (UNIT_POOL_TABLE << BLOCK_SHIFT) + ino * INODE_SIZE);
	ck_assert_uint_eq(ialloc_offset(&up->pool, ino + 1), 0);
	ck_assert_uint_eq(ialloc_offset(&up->pool, INODES_PER_BLOCK), 0);
	ck_assert_uint_eq(ialloc_offset(&up->pool, INO_MAX), 0);
	ck_assert_uint_eq(ialloc_offset(&up->pool, UINT64_MAX), 0);
	unit_pool_delete(up);
}
END_TEST

START_TEST(an_abort_gives_the_slot_back)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino, generation;
	struct tx tx;

	ck_assert_int_eq(tx_begin(&tx, &up->pool, 0), 0);
	ck_assert_int_eq(ialloc_alloc(&tx, &ino, &generation), 0);
	ck_assert_uint_eq(ialloc_used(&up->pool), 2);
	tx_abort(&tx);
	ck_assert_uint_eq(ialloc_used(&up->pool), 1);
	unit_pool_delete(up);
}
END_TEST

/* Several slots in one transaction that grows the table, ended one way or the other. */
START_TEST(an_abort_undoes_the_growth_of_the_table)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino[3], generation, free_blocks;
	struct inode_core before;
	unsigned int i;
	struct tx tx;

	for (i = 0; i < INODES_PER_BLOCK - 3; i++)
		unit_pool_file(up);
	free_blocks = unit_pool_free(up);
	before = ialloc_itable(&up->pool)->core;
	ck_assert_int_eq(tx_begin(&tx, &up->pool, 0), 0);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(ialloc_alloc(&tx, &ino[i], &generation), 0);
	ck_assert_uint_eq(ino[2], INODES_PER_BLOCK + 1);
	ck_assert_uint_eq(ialloc_slots(&up->pool), 17 * INODES_PER_BLOCK);
	tx_abort(&tx);
	ck_assert_uint_eq(ialloc_slots(&up->pool), INODES_PER_BLOCK);
	ck_assert_uint_eq(ialloc_used(&up->pool), INODES_PER_BLOCK - 2);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks);
	ck_assert_mem_eq(&before, &ialloc_itable(&up->pool)->core, sizeof(before));
	for (i = 0; i < 3; i++)
		unit_pool_file(up);
	ck_assert_uint_eq(ialloc_used(&up->pool), INODES_PER_BLOCK + 1);
	unit_pool_delete(up);
}
END_TEST

/* Whatever allocation fails, nothing is lost and nothing is left locked. */
START_TEST(growth_survives_every_lack_of_memory)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino, generation, free_blocks;
	unsigned long n;
	struct tx tx;
	int rc;

	for (n = 0; n < INODES_PER_BLOCK - 2; n++)
		unit_pool_file(up);
	free_blocks = unit_pool_free(up);
	for (n = 1, rc = -ENOMEM; rc == -ENOMEM; n++) {
		ck_assert_int_eq(tx_begin(&tx, &up->pool, 0), 0);
		fault_arm(FAULT_ALLOC, n);
		rc = ialloc_alloc(&tx, &ino, &generation);
		fault_disarm(FAULT_ALLOC);
		tx_abort(&tx);
		ck_assert_uint_eq(ialloc_used(&up->pool), INODES_PER_BLOCK - 1);
		ck_assert_uint_eq(ialloc_slots(&up->pool), INODES_PER_BLOCK);
		ck_assert_uint_eq(unit_pool_free(up), free_blocks);
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_gt(n, 3);
	unit_pool_delete(up);
}
END_TEST

START_TEST(a_full_pool_has_no_slot_and_no_deadlock)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t ino, generation;
	unsigned int i;
	struct tx tx;

	for (i = 0; i < INODES_PER_BLOCK - 2; i++)
		unit_pool_file(up);
	ck_assert_int_eq(tx_begin(&tx, &up->pool, 0), 0);
	fault_arm_always(FAULT_BALLOC);
	ck_assert_int_eq(ialloc_alloc(&tx, &ino, &generation), -ENOSPC);
	fault_disarm(FAULT_BALLOC);
	tx_abort(&tx);
	unit_pool_file(up);
	unit_pool_delete(up);
}
END_TEST

#define CREATORS	4
#define CREATIONS	300

struct creator {
	struct unit_pool *up;
	uint64_t	  ino[CREATIONS];
};

/* Every third transaction is aborted, so that growth is undone while others wait for it. */
static void *create(void *arg)
{
	struct creator *c = arg;
	uint64_t generation;
	struct tx tx;
	int i;

	for (i = 0; i < CREATIONS; i++) {
		if (tx_begin(&tx, &c->up->pool, 0) || ialloc_alloc(&tx, &c->ino[i], &generation))
			return c;
		if (i % 3 == 0) {
			tx_abort(&tx);
			c->ino[i] = 0;
		} else if (tx_commit(&tx)) {
			return c;
		}
	}
	return NULL;
}

START_TEST(concurrent_creators_get_different_slots)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	struct creator *c = calloc(CREATORS, sizeof(*c));
	uint64_t *seen, slots;
	pthread_t thread[CREATORS];
	void *failed;
	int i, k;

	for (i = 0; i < CREATORS; i++) {
		c[i].up = up;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, create, &c[i]), 0);
	}
	for (i = 0; i < CREATORS; i++) {
		ck_assert_int_eq(pthread_join(thread[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	slots = ialloc_slots(&up->pool);
	seen = bitmap_alloc(slots);
	for (i = 0; i < CREATORS; i++) {
		for (k = 0; k < CREATIONS; k++) {
			if (!c[i].ino[k])
				continue;
			ck_assert(c[i].ino[k] < slots && !bitmap_test(seen, c[i].ino[k]));
			bitmap_set(seen, c[i].ino[k]);
		}
	}
	ck_assert_uint_eq(ialloc_used(&up->pool), CREATORS * CREATIONS * 2 / 3 + 1);
	free(seen);
	free(c);
	unit_pool_delete(up);
}
END_TEST

/* ---- Reclaim ------------------------------------------------------------------------------------------- */

START_TEST(empty_table_blocks_are_given_back)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	const unsigned int files = 6 * INODES_PER_BLOCK;
	uint64_t *ino = calloc(files, sizeof(*ino)), free_blocks;
	uint64_t index;
	unsigned int i;

	for (i = 0; i < files; i++)
		ino[i] = unit_pool_file(up);
	free_blocks = unit_pool_free(up);
	/* blocks 2, 3 and 5 empty; 7 to 16 were never used; 0, 1, 4, 6 stay */
	for (i = 0; i < files; i++) {
		index = ino[i] / INODES_PER_BLOCK;
		if (index == 2 || index == 3 || index == 5)
			unit_pool_unlink_ino(up, ino[i]);
	}
	ck_assert_uint_eq(ialloc_reclaimable(&up->pool), 13);
	ck_assert_int_eq(ialloc_reclaim(&up->pool), 0);
	ck_assert_uint_eq(ialloc_reclaimable(&up->pool), 0);
	ck_assert_uint_eq(ialloc_slots(&up->pool), 7 * INODES_PER_BLOCK);
	ck_assert_uint_eq(ialloc_table_block(&up->pool, 3), 0);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks + 13);
	ck_assert_uint_eq(unit_pool_core(up, INO_ITABLE).blocks, 4);
	unit_pool_reopen(up, IDLE);
	ck_assert_uint_eq(unit_pool_free(up), free_blocks + 13);
	ck_assert_uint_eq(ialloc_used(&up->pool), files + 1 - 3 * INODES_PER_BLOCK);
	/* the last block goes, and with it the hole before it */
	for (i = 0; i < files; i++)
		if (ino[i] / INODES_PER_BLOCK == 6)
			unit_pool_unlink_ino(up, ino[i]);
	ck_assert_int_eq(ialloc_reclaim(&up->pool), 0);
	ck_assert_uint_eq(ialloc_slots(&up->pool), 5 * INODES_PER_BLOCK);
	free(ino);
	unit_pool_delete(up);
}
END_TEST

START_TEST(holes_of_the_table_are_filled_first)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t last = 0;
	unsigned int i;

	while (last != 33 * INODES_PER_BLOCK - 1)
		last = unit_pool_file(up);
	for (i = 4 * INODES_PER_BLOCK; i < 6 * INODES_PER_BLOCK; i++)
		unit_pool_unlink_ino(up, i);
	ck_assert_int_eq(ialloc_reclaim(&up->pool), 0);
	ck_assert_uint_eq(unit_pool_file(up), 4 * INODES_PER_BLOCK);
	ck_assert_uint_eq(ialloc_slots(&up->pool), 33 * INODES_PER_BLOCK);
	ck_assert_uint_ne(ialloc_table_block(&up->pool, 5), 0);
	unit_pool_delete(up);
}
END_TEST

START_TEST(an_allocation_in_a_full_pool_takes_empty_table_blocks)
{
	struct unit_pool *up = unit_pool_new(POOL_BLOCKS, IDLE);
	uint64_t last = 0, start, count;
	struct block_run run;
	struct tx tx;

	while (last != INODES_PER_BLOCK)
		last = unit_pool_file(up);
	unit_pool_unlink_ino(up, last);
	ck_assert_int_eq(journal_retire(up->pool.journal), 0);
	while (balloc_alloc(up->pool.balloc, POOL_BLOCKS, 0, 0, BALLOC_RESERVE, &run) == 0)
		;
	ck_assert_uint_eq(ialloc_reclaimable(&up->pool), 16);
	ck_assert_int_eq(tx_begin(&tx, &up->pool, BALLOC_RESERVE), 0);
	ck_assert_int_eq(tx_alloc(&tx, 4, 0, 0, 0, &start, &count), 0);
	ck_assert_uint_eq(count, 4);
	tx_abort(&tx);
	ck_assert_uint_eq(ialloc_reclaimable(&up->pool), 0);
	unit_pool_delete(up);
}
END_TEST

static Suite *ialloc_suite(void)
{
	Suite *s = suite_create("ialloc");
	TCase *slots = tcase_create("slots"), *table = tcase_create("table");

	tcase_add_test(slots, a_freed_number_is_not_used_again_at_once);
	tcase_add_test(slots, only_taken_slots_have_an_offset);
	tcase_add_test(slots, an_abort_gives_the_slot_back);
	tcase_add_test(slots, concurrent_creators_get_different_slots);
	tcase_set_timeout(slots, 60);
	suite_add_tcase(s, slots);
	tcase_add_test(table, a_damaged_table_inode_is_refused);
	tcase_add_test(table, the_table_grows_by_a_chunk_when_no_slot_is_free);
	tcase_add_test(table, an_abort_undoes_the_growth_of_the_table);
	tcase_add_test(table, growth_survives_every_lack_of_memory);
	tcase_add_test(table, a_full_pool_has_no_slot_and_no_deadlock);
	tcase_add_test(table, empty_table_blocks_are_given_back);
	tcase_add_test(table, holes_of_the_table_are_filled_first);
	tcase_add_test(table, an_allocation_in_a_full_pool_takes_empty_table_blocks);
	tcase_set_timeout(table, 60);
	suite_add_tcase(s, table);
	return s;
}

int main(void)
{
	return unit_run(ialloc_suite());
}
