/*
 * The pool of the engines' tests: see engine.h.
 */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "meta/balloc.h"
#include "meta/journal.h"
#include "meta/record.h"
#include "meta/recover.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/crc32c.h"

/* Of the one region whose fences are wrapped: set before any other thread runs. */
static const struct persist_ops *real_ops;
static struct persist_ops wrapped_ops;
static int (*before_fence)(enum persist_point point);

struct super engine_super(void)
{
	struct super sb = {
		.label = "engine", .version = FORMAT_VERSION, .blocks = ENGINE_BLOCKS,
		.unit_shift = BLOCK_SHIFT, .journal_block = BLOCK_JOURNAL, .journal_blocks = ENGINE_JOURNAL,
		.created = 1700000000,
	};

	memcpy(sb.uuid, "engine-test-pool", sizeof(sb.uuid));
	sb.seed = crc32c(0, sb.uuid, sizeof(sb.uuid));
	return sb;
}

struct region *engine_region(void)
{
	struct region *r = emu_open(ENGINE_SIZE, NULL);
	struct tail tail = { .seq = 1, .flags = TAIL_CLEAN };
	struct super sb = engine_super();

	ck_assert_ptr_nonnull(r);
	ck_assert_int_eq(tail_write(r, &sb, &tail), 0);
	ck_assert_int_eq(super_write(r, &sb), 0);
	return r;
}

static void settled(void *arg, uint64_t seq)
{
	struct engine *e = arg;

	balloc_settle(e->pool.balloc, seq);
	if (e->on_settled)
		e->on_settled(e, seq);
}

void engine_open(struct engine *e, struct region *r)
{
	struct pool *p = &e->pool;
	struct err err;

	memset(e, 0, sizeof(*e));
	p->region = r;
	ck_assert_int_eq(super_read(r, "engine", &p->super, &err), 0);
	ck_assert_int_eq(tail_read(r, &p->super, &e->tail), 0);
	ck_assert_int_eq(recover(r, &p->super, &e->tail, &e->replayed), 0);
	p->mount = e->tail.mount;
	p->balloc = balloc_new(p->super.blocks);
	ck_assert_ptr_nonnull(p->balloc);
	ck_assert_int_eq(balloc_mark(p->balloc, 0, ENGINE_FIRST + 1), 0);
	ck_assert_int_eq(balloc_mark(p->balloc, ENGINE_BLOCKS - 1, 1), 0);
	ck_assert_int_eq(balloc_start(p->balloc, ENGINE_RESERVE), 0);
	ck_assert_int_eq(journal_open(&p->journal, r, &p->super, &e->tail, settled, e), 0);
}

void engine_close(struct engine *e)
{
	journal_close(e->pool.journal);
	balloc_delete(e->pool.balloc);
}

/* ---- Records ------------------------------------------------------------------------------------------- */

static void fill(uint64_t *words, const struct engine_change *c)
{
	for (uint32_t i = 0; i < c->words; i++)
		words[i] = c->value;
}

int engine_commit(struct engine *e, const struct engine_change *c, unsigned int n, uint64_t *seq)
{
	static _Thread_local uint64_t record[RECORD_MAX / 8], words[BLOCK_SIZE / 8];
	struct record_builder b;
	unsigned int i;
	int rc = 0;

	record_begin(&b, record);
	for (i = 0; i < n && !rc; i++) {
		fill(words, &c[i]);
		rc = record_add(&b, c[i].off, words, c[i].words * 8);
	}
	return rc ? rc : journal_commit(e->pool.journal, record, record_end(&b), b.patches, seq);
}

void engine_apply(struct engine *e, const struct engine_change *c, unsigned int n, uint64_t seq)
{
	static _Thread_local uint64_t words[BLOCK_SIZE / 8];
	struct region *r = e->pool.region;
	unsigned int i;

	for (i = 0; i < n; i++) {
		fill(words, &c[i]);
		persist_store(r, region_at(r, c[i].off), words, c[i].words * 8);
	}
	journal_applied(e->pool.journal, seq);
}

uint64_t engine_change(struct engine *e, uint64_t off, uint32_t words, uint64_t value)
{
	struct engine_change c = { .off = off, .value = value, .words = words };
	uint64_t seq;

	ck_assert_int_eq(engine_commit(e, &c, 1, &seq), 0);
	engine_apply(e, &c, 1, seq);
	return seq;
}

uint64_t engine_word(const struct region *r, uint64_t off)
{
	uint64_t v;

	memcpy(&v, region_at(r, off), sizeof(v));
	return v;
}

/* ---- Transactions -------------------------------------------------------------------------------------- */

void engine_begin(struct engine *e, struct tx *tx)
{
	ck_assert_int_eq(tx_begin(tx, &e->pool, 0), 0);
}

void engine_end(struct tx *tx)
{
	ck_assert_int_eq(tx_commit(tx), 0);
}

uint64_t *engine_shadow(struct tx *tx, uint64_t off)
{
	uint64_t *s = tx_shadow(tx, off, ENGINE_OBJ_LEN, NULL, NULL);

	ck_assert_ptr_nonnull(s);
	return s;
}

uint64_t engine_alloc(struct tx *tx)
{
	uint64_t block, count;

	ck_assert_int_eq(tx_alloc(tx, 1, 0, 0, 0, &block, &count), 0);
	ck_assert_uint_eq(count, 1);
	return block;
}

uint64_t engine_fence_count(void)
{
	uint64_t sum = 0;

	for (unsigned int p = 0; p < PERSIST_POINTS; p++)
		sum += persist_count((enum persist_point)p);
	return sum;
}

uint64_t engine_free(struct engine *e)
{
	struct balloc_stat st;

	balloc_stat(e->pool.balloc, &st);
	return st.free;
}

/* ---- Faults and chance --------------------------------------------------------------------------------- */

static int wrapped_fence(struct region *r, enum persist_point point)
{
	int rc = before_fence(point);

	return rc ? rc : real_ops->fence(r, point);
}

void engine_fences(struct region *r, int (*before)(enum persist_point point))
{
	real_ops = r->ops;
	wrapped_ops = *r->ops;
	wrapped_ops.fence = wrapped_fence;
	before_fence = before;
	r->ops = &wrapped_ops;
}

uint64_t engine_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

uint64_t engine_seed(void)
{
	const char *given = getenv("INODAX_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();

	seed = seed ? seed : 1;
	printf("seed: INODAX_TEST_SEED=%#llx\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}
