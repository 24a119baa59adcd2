/*
 * A transaction: shadows of the metadata it changes, blocks it took and gives back, one record.
 *
 * Protocol: lock every object -> tx_begin -> read and change shadows -> tx_commit or tx_abort -> unlock. A
 * transaction lives on one thread's stack. Reads inside it go through tx_read(), which prefers the shadow.
 *
 * Commit: seal every shadow; compare shadows with the media by 8-byte words; store new blocks whole, without
 * the cache, in their own place (nothing reaches them yet); one fence if there were any, or if the caller
 * stored file data (tx_order_data); write the record, fence; store in place; hand freed blocks to the
 * allocator; run the callbacks.
 */
#ifndef META_TX_H
#define META_TX_H

#include <stdbool.h>
#include <stdint.h>

#include "meta/pool.h"

struct tx_arena;
struct tx_shadow;
struct tx_end;
struct tx_free;

#define TX_BUCKETS	16U

/* Of meta/tx.c, but for `pool`. Not to be copied while it is under way. */
struct tx {
	struct pool		*pool;
	struct tx_arena		*arena;			/* memory of all below; NULL until first needed */
	struct tx_shadow	*shadows, *last;	/* in order of first use */
	struct tx_shadow	*bucket[TX_BUCKETS];	/* the same, by block */
	struct tx_end		*ends;
	struct tx_free		*frees;
	struct tx_free		*allocs;
	unsigned int		 balloc_flags;	/* BALLOC_RESERVE when this transaction gives space back */
	bool			 order_data;
	bool			 reclaimed;	/* pool->reclaim was asked */
	int			 error;		/* first failure inside; tx_commit() returns it and aborts */
};

/*
 * Fill in derived fields (crc above all) of a shadow just before it is compared or stored. `off`: its byte
 * offset.
 */
typedef void (*tx_seal_fn)(const struct pool *p, void *shadow, uint64_t off, void *arg);

/*
 * tx_begin - -EROFS on a read-only or failed pool. `flags`: 0 or BALLOC_RESERVE, passed to every allocation.
 */
int tx_begin(struct tx *tx, struct pool *p, unsigned int flags);

/*
 * tx_shadow - the writable shadow of the object at [off, off + len), len a multiple of 8, not crossing a
 * block; the same pointer for the same off until the end of the transaction. Part of an object that has a
 * shadow, or of a new block, is found there (`seal` stays that of the first call). NULL, and tx->error is
 * set, when out of memory (-ENOMEM), and when `off` can only come from bad media (-EUCLEAN): no record may
 * change that range, or part of it is another object's.
 */
void *tx_shadow(struct tx *tx, uint64_t off, uint32_t len, tx_seal_fn seal, void *arg);

/*
 * tx_new_block - a zeroed shadow for a block that this transaction allocated: stored whole, not in the
 * record. NULL as above: -ENOMEM, or -EUCLEAN when media called an object's block free.
 */
void *tx_new_block(struct tx *tx, uint64_t block, tx_seal_fn seal, void *arg);

/*
 * tx_read - byte `off` in the shadow that holds it if there is one, else on the media. Valid until the tx
 * ends.
 */
const void *tx_read(const struct tx *tx, uint64_t off);

/*
 * tx_alloc - balloc_alloc() whose blocks go back if the transaction aborts. When the pool is out of blocks it
 * retires the journal once, if that sets blocks free, and tries again; then once in a transaction with what
 * pool->reclaim gives back; then with what pool->wait_free waits for.
 */
int tx_alloc(struct tx *tx, uint64_t want, uint64_t goal, uint64_t file_block, unsigned int flags,
	     uint64_t *start, uint64_t *count);

/*
 * tx_free_data  - blocks no record ever names (file data, xattr runs): reusable once this transaction is
 * durable. tx_free_meta  - extent nodes, directory blocks, inode table blocks: reusable once the tail has
 * passed it. A block that this very transaction allocated may be freed in it by either.
 */
int tx_free_data(struct tx *tx, uint64_t start, uint64_t count);
int tx_free_meta(struct tx *tx, uint64_t start, uint64_t count);

/*
 * tx_order_data - the caller stored new data non-temporally on this thread: fence it before the record, if
 * any.
 */
void tx_order_data(struct tx *tx);

/*
 * tx_on_end - run fn(arg, committed) at the end, latest first, locks still held. For in-core state. -ENOMEM
 * possible.
 */
int tx_on_end(struct tx *tx, void (*fn)(void *arg, bool committed), void *arg);

/*
 * tx_commit - 0, or a negative errno after which all is as before (as tx_abort). An empty transaction costs
 * no fence.
 *
 * tx->error; -EFBIG: what changed does not fit RECORD_MAX; -EROFS: the pool failed meanwhile; else the
 * write-back that failed (journal_commit): the pool has failed then, and blocks taken stay taken, since the
 * record may be on media.
 */
int tx_commit(struct tx *tx);
void tx_abort(struct tx *tx);

#endif
