/*
 * Transactions: shadows, the record made of what they change, and what happens at the end.
 *
 * Owns no state beyond the struct tx on its caller's stack and its memory; relies on the caller's locks for
 * everything it compares and stores. The order of tx_commit() is what makes a change atomic:
 *
 *	new blocks and data durable, unreachable -> record durable -> stores in place -> blocks freed
 *
 * Stores in place are plain and not flushed: the journal flushes them before its tail passes the record, and
 * until then replay stores them again.
 *
 * The revoke rule. Any record that could name a freed metadata block has a sequence not above that of the
 * freeing record, since its writer held the lock the freeing transaction holds. The block is put off until
 * the durable tail is past that sequence, before journal_applied(): the tail cannot have passed it earlier.
 *
 * Memory comes from an arena of 128 KiB, half for shadows and lists, half for the record, of which each
 * thread keeps one: the usual transaction allocates nothing while it holds inode locks. A transaction inside
 * another's tx_alloc() (pool->reclaim) takes a second one.
 */
#include "meta/tx.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/journal.h"
#include "meta/record.h"
#include "util/fault.h"

#define WORD		8U
#define WAITS		2	/* for blocks that are on their way to the allocator */
#define CHUNK_SIZE	(64U << 10)
#define MERGE_WORDS	(sizeof(struct disk_patch) / WORD)	/* equal words as dear as a new patch */

struct tx_shadow {
	struct tx_shadow	*next, *next_in_bucket;
	uint64_t		 off;
	uint32_t		 len;
	bool			 new_block;
	tx_seal_fn		 seal;
	void			*arg;
	uint64_t		 data[];
};

struct tx_end {
	struct tx_end	*next;
	void		(*fn)(void *arg, bool committed);
	void		*arg;
};

struct tx_free {
	struct tx_free	*next;
	uint64_t	 start, count;
	bool		 meta;
};

/* ---- Memory -------------------------------------------------------------------------------------------- */

struct tx_chunk {
	struct tx_chunk	*older;
	size_t		 used;
	uint64_t	 mem[CHUNK_SIZE / WORD];	/* any one object fits */
};

struct tx_arena {
	struct tx_chunk	*newest;
	struct tx_chunk	 first;
	uint64_t	 record[RECORD_MAX / WORD];
};

_Static_assert(sizeof(struct tx_shadow) + BLOCK_SIZE <= CHUNK_SIZE, "a whole block's shadow fits a chunk");

/* The arena a thread keeps for its next transaction. Set up once, never changed; without it none is kept. */
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;
static pthread_key_t spare_key;
static bool spare_works;

static void spare_setup(void)
{
	spare_works = pthread_key_create(&spare_key, free) == 0;
}

static struct tx_arena *arena_get(void)
{
	struct tx_arena *a = NULL;

	pthread_once(&spare_once, spare_setup);
	if (spare_works)
		a = pthread_getspecific(spare_key);
	if (a)
		pthread_setspecific(spare_key, NULL);
	else
		a = malloc(sizeof(*a));
	if (!a)
		return NULL;
	a->newest = &a->first;
	a->first.older = NULL;
	a->first.used = 0;
	return a;
}

static void arena_put(struct tx_arena *a)
{
	while (a->newest != &a->first) {
		struct tx_chunk *c = a->newest;

		a->newest = c->older;
		free(c);
	}
	if (!spare_works || pthread_getspecific(spare_key) || pthread_setspecific(spare_key, a))
		free(a);
}

static void *arena_take(struct tx_arena *a, size_t size)
{
	struct tx_chunk *c = a->newest;
	void *p;

	if (size > CHUNK_SIZE - c->used) {
		c = malloc(sizeof(*c));
		if (!c)
			return NULL;
		c->older = a->newest;
		c->used = 0;
		a->newest = c;
	}
	p = (char *)c->mem + c->used;
	c->used += (size + WORD - 1) & ~(size_t)(WORD - 1);
	return p;
}

static int tx_error(struct tx *tx, int error)
{
	if (!tx->error)
		tx->error = error;
	return error;
}

/* Memory until the end of the transaction; NULL sets tx->error. */
static void *tx_memory(struct tx *tx, size_t size)
{
	void *p = NULL;

	if (!fault(FAULT_ALLOC)) {
		if (!tx->arena)
			tx->arena = arena_get();
		if (tx->arena)
			p = arena_take(tx->arena, size);
	}
	if (!p)
		tx_error(tx, -ENOMEM);
	return p;
}

/* Forget everything; the struct is as after tx_begin(). */
static void tx_forget(struct tx *tx)
{
	if (tx->arena)
		arena_put(tx->arena);
	*tx = (struct tx){ .pool = tx->pool };
}

int tx_begin(struct tx *tx, struct pool *p, unsigned int flags)
{
	*tx = (struct tx){ .pool = p, .balloc_flags = flags };
	return p->readonly || !p->journal || atomic_load(&p->failed) ? -EROFS : 0;
}

/* ---- Shadows ------------------------------------------------------------------------------------------- */

static unsigned int bucket_of(uint64_t off)
{
	return (off >> BLOCK_SHIFT) % TX_BUCKETS;
}

/* The first shadow that shares a byte with [off, off + len), which lies in one block as all shadows do. */
static struct tx_shadow *shadow_find(const struct tx *tx, uint64_t off, uint32_t len)
{
	struct tx_shadow *s = tx->bucket[bucket_of(off)];

	while (s && (off + len <= s->off || s->off + s->len <= off))
		s = s->next_in_bucket;
	return s;
}

static struct tx_shadow *shadow_add(struct tx *tx, uint64_t off, uint32_t len, tx_seal_fn seal, void *arg)
{
	struct tx_shadow *s = tx_memory(tx, sizeof(*s) + len), **bucket = &tx->bucket[bucket_of(off)];

	if (!s)
		return NULL;
	*s = (struct tx_shadow){
		.next_in_bucket = *bucket, .off = off, .len = len, .seal = seal, .arg = arg,
	};
	*bucket = s;
	if (tx->last)
		tx->last->next = s;
	else
		tx->shadows = s;
	tx->last = s;
	return s;
}

void *tx_shadow(struct tx *tx, uint64_t off, uint32_t len, tx_seal_fn seal, void *arg)
{
	struct tx_shadow *s;

	if (!record_patch_valid(&tx->pool->super, off, len)) {
		tx_error(tx, -EUCLEAN);
		return NULL;
	}
	s = shadow_find(tx, off, len);
	if (s && (off < s->off || s->off + s->len < off + len)) {
		tx_error(tx, -EUCLEAN);
		return NULL;
	}
	if (s)
		return (char *)s->data + (off - s->off);
	s = shadow_add(tx, off, len, seal, arg);
	if (!s)
		return NULL;
	memcpy(s->data, pool_at(tx->pool, off), len);
	return s->data;
}

void *tx_new_block(struct tx *tx, uint64_t block, tx_seal_fn seal, void *arg)
{
	uint64_t off = block << BLOCK_SHIFT;
	struct tx_shadow *s;

	assert(pool_blocks_valid(&tx->pool->super, block, 1));
	if (shadow_find(tx, off, BLOCK_SIZE)) {
		tx_error(tx, -EUCLEAN);
		return NULL;
	}
	s = shadow_add(tx, off, BLOCK_SIZE, seal, arg);
	if (!s)
		return NULL;
	s->new_block = true;
	memset(s->data, 0, BLOCK_SIZE);
	return s->data;
}

const void *tx_read(const struct tx *tx, uint64_t off)
{
	const struct tx_shadow *s = shadow_find(tx, off, 1);

	return s ? (const char *)s->data + (off - s->off) : pool_at(tx->pool, off);
}

/* ---- Blocks and callbacks ------------------------------------------------------------------------------ */

static int run_add(struct tx *tx, struct tx_free **list, uint64_t start, uint64_t count, bool meta)
{
	struct tx_free *f = tx_memory(tx, sizeof(*f));

	if (!f)
		return -ENOMEM;
	*f = (struct tx_free){ .next = *list, .start = start, .count = count, .meta = meta };
	*list = f;
	return 0;
}

/* Set free what waits for the tail. 0 if it is worth trying again, else the error to return. */
static int settle_deferred(struct tx *tx)
{
	struct pool *p = tx->pool;
	int rc;

	if (!balloc_deferred(p->balloc))
		return -ENOSPC;
	rc = journal_retire(p->journal);
	if (rc)
		pool_fail(p, rc, "cannot retire the journal");
	return rc;
}

/* Set free what no object needs. What a reclaim frees is metadata, so it waits for the tail in its turn. */
static int reclaim(struct tx *tx)
{
	struct pool *p = tx->pool;
	int rc;

	if (!p->reclaim || tx->reclaimed)
		return -ENOSPC;
	tx->reclaimed = true;
	if (p->reclaim(p))
		return -ENOSPC;
	rc = settle_deferred(tx);
	return rc == -ENOSPC ? 0 : rc;
}

/* What is freed last waits behind what was freed before: a second wait is for that. */
static int alloc_late(struct tx *tx, uint64_t want, uint64_t goal, uint64_t file_block, unsigned int flags,
		      struct block_run *run)
{
	struct pool *p = tx->pool;
	int rc = -ENOSPC;

	for (int i = 0; i < WAITS && rc == -ENOSPC && p->wait_free && !p->wait_free(p); i++)
		rc = balloc_alloc(p->balloc, want, goal, file_block, flags, run);
	return rc;
}

int tx_alloc(struct tx *tx, uint64_t want, uint64_t goal, uint64_t file_block, unsigned int flags,
	     uint64_t *start, uint64_t *count)
{
	struct balloc *ba = tx->pool->balloc;
	struct block_run run;
	int rc;

	flags |= tx->balloc_flags;
	rc = balloc_alloc(ba, want, goal, file_block, flags, &run);
	if (rc == -ENOSPC) {
		rc = settle_deferred(tx);
		if (!rc)
			rc = balloc_alloc(ba, want, goal, file_block, flags, &run);
	}
	if (rc == -ENOSPC) {
		rc = reclaim(tx);
		if (!rc)
			rc = balloc_alloc(ba, want, goal, file_block, flags, &run);
	}
	if (rc == -ENOSPC)
		rc = alloc_late(tx, want, goal, file_block, flags, &run);
	if (rc)
		return rc;
	rc = run_add(tx, &tx->allocs, run.start, run.count, false);
	if (rc) {
		balloc_free(ba, run.start, run.count);
		return rc;
	}
	*start = run.start;
	*count = run.count;
	return 0;
}

int tx_free_data(struct tx *tx, uint64_t start, uint64_t count)
{
	return run_add(tx, &tx->frees, start, count, false);
}

int tx_free_meta(struct tx *tx, uint64_t start, uint64_t count)
{
	return run_add(tx, &tx->frees, start, count, true);
}

void tx_order_data(struct tx *tx)
{
	tx->order_data = true;
}

int tx_on_end(struct tx *tx, void (*fn)(void *arg, bool committed), void *arg)
{
	struct tx_end *e = tx_memory(tx, sizeof(*e));

	if (!e)
		return -ENOMEM;
	*e = (struct tx_end){ .next = tx->ends, .fn = fn, .arg = arg };
	tx->ends = e;
	return 0;
}

static void run_ends(struct tx *tx, bool committed)
{
	struct tx_end *e;

	for (e = tx->ends; e; e = e->next)
		e->fn(e->arg, committed);
}

/* `seq`: of the last record that may name one of them. */
static void give_back(struct tx *tx, uint64_t seq)
{
	struct balloc *ba = tx->pool->balloc;
	struct tx_free *f;
	int rc = 0, err;

	for (f = tx->frees; f; f = f->next) {
		if (f->meta)
			err = balloc_free_after(ba, f->start, f->count, seq);
		else
			err = pool_free_data(tx->pool, f->start, f->count);
		rc = rc ? rc : err;
	}
	if (rc)
		pool_fail_freed_twice(tx->pool, rc);
}

void tx_abort(struct tx *tx)
{
	struct tx_free *f;

	run_ends(tx, false);
	for (f = tx->allocs; f; f = f->next)
		balloc_free(tx->pool->balloc, f->start, f->count);
	tx_forget(tx);
}

/* ---- Commit -------------------------------------------------------------------------------------------- */

/*
 * The runs of words that differ from the media, as patches; runs with fewer than MERGE_WORDS between are one.
 */
static int build_patches(const struct tx *tx, const struct tx_shadow *s, struct record_builder *b)
{
	const uint64_t *media = pool_at(tx->pool, s->off);
	uint32_t words = s->len / WORD, i = 0, start, end;
	int rc = 0;

	while (i < words && !rc) {
		if (s->data[i] == media[i]) {
			i++;
			continue;
		}
		start = i;
		end = i + 1;
		for (i = end; i < words && i - end < MERGE_WORDS; i++)
			if (s->data[i] != media[i])
				end = i + 1;
		rc = record_add(b, s->off + start * WORD, &s->data[start], (end - start) * WORD);
	}
	return rc;
}

/* Seal all shadows and put into the record what they change. */
static int build_record(struct tx *tx, struct record_builder *b)
{
	struct tx_shadow *s;
	int rc = 0;

	for (s = tx->shadows; s && !rc; s = s->next) {
		if (s->seal)
			s->seal(tx->pool, s->data, s->off, s->arg);
		if (!s->new_block)
			rc = build_patches(tx, s, b);
	}
	return rc;
}

/*
 * New blocks in their own place, durable with the data the caller stored: before the record that leads to
 * them.
 */
static int store_unreachable(struct tx *tx)
{
	struct region *r = tx->pool->region;
	bool any = tx->order_data;
	struct tx_shadow *s;

	for (s = tx->shadows; s; s = s->next) {
		if (!s->new_block)
			continue;
		persist_store_nt(r, region_at(r, s->off), s->data, s->len);
		any = true;
	}
	return any ? persist_fence(r, PERSIST_UNREACHABLE) : 0;
}

static int store_patch(void *arg, const struct record_patch *patch)
{
	struct region *r = arg;

	persist_store(r, region_at(r, patch->off), patch->data, patch->len);
	return 0;
}

/* The record, the stores in place, the freed blocks. */
static int commit_record(struct tx *tx, struct record_builder *b)
{
	struct pool *p = tx->pool;
	uint64_t seq;
	int rc;

	if (fault(FAULT_EARLY_INPLACE))
		record_patches(b->buf, b->patches, store_patch, p->region);
	rc = journal_commit(p->journal, b->buf, record_end(b), b->patches, &seq);
	if (rc) {
		pool_fail(p, rc, "cannot make a journal record durable");
		tx->allocs = NULL;	/* the record may be on media after all, and lead to them */
		return rc;
	}
	record_patches(b->buf, b->patches, store_patch, p->region);
	give_back(tx, seq);
	journal_applied(p->journal, seq);
	return 0;
}

static int commit(struct tx *tx)
{
	struct record_builder b = { 0 };
	int rc = 0;

	if (tx->arena) {
		record_begin(&b, tx->arena->record);
		rc = build_record(tx, &b);
	}
	if (rc)
		return rc;
	rc = store_unreachable(tx);
	if (rc) {
		pool_fail(tx->pool, rc, "cannot make new blocks durable");
		return rc;
	}
	if (b.patches)
		return commit_record(tx, &b);
	give_back(tx, journal_next_seq(tx->pool->journal) - 1);
	return 0;
}

int tx_commit(struct tx *tx)
{
	int rc = tx->error;

	if (!rc && atomic_load(&tx->pool->failed))
		rc = -EROFS;
	if (!rc)
		rc = commit(tx);
	if (rc) {
		tx_abort(tx);
		return rc;
	}
	run_ends(tx, true);
	tx_forget(tx);
	return 0;
}
