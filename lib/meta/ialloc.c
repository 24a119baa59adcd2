/*
 * The inode allocator: which slots of the inode table are free, and the table's own growth and shrinking.
 *
 * Owns the struct inode of the table (made here, not in the cache), the set of free slots, and a flat array
 * from table blocks to pool blocks, so that finding a slot needs neither lock nor walk. Relies on
 * meta/extent.c for the table's map and on the transaction for everything on media. Slot 0 is never handed
 * out; block 0 of the table, which holds the root, is always there.
 *
 * A free slot is one whose block is mapped and that no live inode has. What it holds on media is of no
 * interest: whoever takes it writes all of it in the record that creates the inode.
 *
 * Crash safety. A chunk is zeroed before the record that maps it and fenced by that record's transaction
 * (tx_order_data), so that no slot is ever reachable with old bytes in it. A block goes when all of its
 * slots are free, by the revoke rule, as records name it.
 *
 * ialloc.lock is recursive. A transaction that grew the table keeps it to its end, because until then the
 * table's inode is in its record; it may call in here again, for another inode or, out of blocks, for
 * ialloc_reclaim(). `busy` tells the latter that the table is being changed below it on this very thread.
 */
#include "meta/ialloc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/journal.h"
#include "meta/sparse.h"
#include "util/bitmap.h"
#include "util/fault.h"
#include "util/log.h"

#define CHUNK_BLOCKS	16U			/* 256 slots: what the table grows by */
#define ITABLE_OFFSET	((uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT)
#define SLOTS_FREE	((1U << INODES_PER_BLOCK) - 1)	/* a table block's bits when none is taken */

struct ialloc {
	pthread_mutex_t	  lock;		/* recursive; protects all below */
	struct inode	  table;	/* number INO_ITABLE; its own lock is not used */
	uint64_t	  blocks;	/* of the table's size, holes included */
	uint64_t	  max_blocks;	/* it can never have more */
	uint64_t	 *where;	/* pool block of each, 0: hole; read without the lock, atomically */
	struct sparse_set avail;	/* free slots; bits read without the lock, atomically */
	uint64_t	  mapped;	/* blocks that are no holes */
	uint64_t	  empty;	/* mapped blocks without a taken slot */
	uint64_t	  first_hole;	/* no hole before this block */
	uint64_t	  rotor;	/* slot where the search goes on */
	uint64_t	  made;		/* generations given out by this mount */
	unsigned int	  busy;		/* growths and reclaims under way on the thread that holds the lock */
};

/* What a transaction has to undo, or to end, for one slot; for one chunk. */
struct slot_end {
	struct pool	*pool;
	uint64_t	 ino;
};

struct grow_end {
	struct ialloc	*ia;
	uint64_t	 first, count;	/* table blocks mapped; count 0 before they are */
	uint64_t	 old_blocks;
};

/* ---- Slots and blocks, lock held ----------------------------------------------------------------------- */

/* The bits of one table block; INODES_PER_BLOCK divides 64. */
static unsigned int block_slots(const struct ialloc *ia, uint64_t index)
{
	uint64_t slot = index * INODES_PER_BLOCK;

	return ia->avail.bits[slot / 64] >> (slot % 64) & SLOTS_FREE;
}

static void slot_assign(struct ialloc *ia, uint64_t ino, bool avail)
{
	uint64_t index = ino / INODES_PER_BLOCK;

	ia->empty -= block_slots(ia, index) == SLOTS_FREE;
	sparse_set_assign(&ia->avail, ino, avail);
	ia->empty += block_slots(ia, index) == SLOTS_FREE;
}

static bool slot_taken(const struct ialloc *ia, uint64_t ino)
{
	return ino && ino < ia->blocks * INODES_PER_BLOCK && ia->where[ino / INODES_PER_BLOCK] &&
	       !bitmap_test(ia->avail.bits, ino);
}

static void block_map(struct ialloc *ia, uint64_t index, uint64_t block)
{
	unsigned int i;

	__atomic_store_n(&ia->where[index], block, __ATOMIC_RELEASE);
	ia->mapped++;
	for (i = 0; i < INODES_PER_BLOCK; i++)
		if (index || i != INO_ITABLE)
			slot_assign(ia, index * INODES_PER_BLOCK + i, true);
}

static void block_unmap(struct ialloc *ia, uint64_t index)
{
	unsigned int i;

	assert(block_slots(ia, index) == SLOTS_FREE);
	for (i = 0; i < INODES_PER_BLOCK; i++)
		slot_assign(ia, index * INODES_PER_BLOCK + i, false);
	ia->mapped--;
	__atomic_store_n(&ia->where[index], 0, __ATOMIC_RELEASE);
	if (index < ia->first_hole)
		ia->first_hole = index;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

/* extent_fn: fill the array of blocks. */
static int open_extent(void *arg, const struct extent *e, uint64_t node)
{
	struct ialloc *ia = arg;
	uint64_t i;

	if (node)
		return 0;
	if (e->file_block > ia->blocks || e->count > ia->blocks - e->file_block || e->unwritten ||
	    ia->where[e->file_block] || !pool_blocks_valid(&ia->table.pool->super, e->block, e->count)) {
		log_error("inode table: impossible extent of %llu blocks at %llu of %llu, pool block %llu",
			  (unsigned long long)e->count, (unsigned long long)e->file_block,
			  (unsigned long long)ia->blocks, (unsigned long long)e->block);
		return -EUCLEAN;
	}
	for (i = 0; i < e->count; i++)
		block_map(ia, e->file_block + i, e->block + i);
	return 0;
}

static int open_table(struct ialloc *ia, struct pool *p)
{
	const struct disk_inode *d = pool_at(p, ITABLE_OFFSET);
	const char *wrong = disk_inode_verify(&p->super, d, INO_ITABLE, ITABLE_OFFSET);
	int rc;

	if (!wrong && disk_inode_free(d))
		wrong = "link count 0";
	if (wrong) {
		log_error("inode table: its inode, block %u, does not verify: %s", BLOCK_ITABLE_INODE, wrong);
		return -EUCLEAN;
	}
	inode_decode(d, &ia->table.core);
	ia->blocks = ia->table.core.size >> BLOCK_SHIFT;
	if (ia->blocks > ia->max_blocks) {
		log_error("inode table: size of %llu blocks: at most %llu are possible in this pool",
			  (unsigned long long)ia->blocks, (unsigned long long)ia->max_blocks);
		return -EUCLEAN;
	}
	rc = extent_walk(&ia->table, open_extent, ia);
	if (rc)
		return rc;
	if (!ia->blocks || !ia->where[0]) {
		log_error("inode table: its first block, which holds the root, is not mapped");
		return -EUCLEAN;
	}
	return 0;
}

static void init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

static size_t where_bytes(const struct ialloc *ia)
{
	return ia->max_blocks * sizeof(*ia->where);
}

int ialloc_new(struct pool *p)
{
	struct ialloc *ia = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*ia));
	int rc = -ENOMEM;

	if (!ia)
		return -ENOMEM;
	init_lock(&ia->lock);
	pthread_rwlock_init(&ia->table.lock, NULL);
	list_init(&ia->table.hash);
	list_init(&ia->table.lru);
	ia->table.pool = p;
	ia->table.ino = INO_ITABLE;
	ia->table.refs = 1;
	ia->max_blocks = (INO_MAX + 1) / INODES_PER_BLOCK;
	if (p->super.blocks < ia->max_blocks)
		ia->max_blocks = p->super.blocks;
	p->ialloc = ia;
	ia->where = sparse_alloc(where_bytes(ia));
	if (ia->where && sparse_set_init(&ia->avail, ia->max_blocks * INODES_PER_BLOCK) == 0)
		rc = open_table(ia, p);
	if (rc)
		ialloc_delete(p);
	else
		p->reclaim = ialloc_reclaim;
	return rc;
}

void ialloc_delete(struct pool *p)
{
	struct ialloc *ia = p->ialloc;

	p->ialloc = NULL;
	p->reclaim = NULL;
	sparse_set_free(&ia->avail);
	sparse_free(ia->where, where_bytes(ia));
	pthread_rwlock_destroy(&ia->table.lock);
	pthread_mutex_destroy(&ia->lock);
	free(ia);
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

struct inode *ialloc_itable(struct pool *p)
{
	return &p->ialloc->table;
}

uint64_t ialloc_slots(struct pool *p)
{
	uint64_t slots;

	pthread_mutex_lock(&p->ialloc->lock);
	slots = p->ialloc->blocks * INODES_PER_BLOCK;
	pthread_mutex_unlock(&p->ialloc->lock);
	return slots;
}

uint64_t ialloc_used(struct pool *p)
{
	struct ialloc *ia = p->ialloc;
	uint64_t used;

	pthread_mutex_lock(&ia->lock);
	used = ia->mapped * INODES_PER_BLOCK - ia->avail.count - 1;	/* slot 0 is neither free nor used */
	pthread_mutex_unlock(&ia->lock);
	return used;
}

uint64_t ialloc_table_block(struct pool *p, uint64_t index)
{
	struct ialloc *ia = p->ialloc;

	return index < ia->max_blocks ? __atomic_load_n(&ia->where[index], __ATOMIC_ACQUIRE) : 0;
}

uint64_t ialloc_offset(struct pool *p, uint64_t ino)
{
	uint64_t block = ialloc_table_block(p, ino / INODES_PER_BLOCK);

	if (ino == INO_ITABLE)
		return ITABLE_OFFSET;
	if (!block || __atomic_load_n(&p->ialloc->avail.bits[ino / 64], __ATOMIC_RELAXED) >> (ino % 64) & 1)
		return 0;
	return (block << BLOCK_SHIFT) + ino % INODES_PER_BLOCK * INODE_SIZE;
}

/* ---- Deriving ------------------------------------------------------------------------------------------ */

int ialloc_mark(struct pool *p, uint64_t ino)
{
	struct ialloc *ia = p->ialloc;
	int rc = -EUCLEAN;

	pthread_mutex_lock(&ia->lock);
	if (ino < ia->blocks * INODES_PER_BLOCK && bitmap_test(ia->avail.bits, ino)) {
		slot_assign(ia, ino, false);
		rc = 0;
	}
	pthread_mutex_unlock(&ia->lock);
	return rc;
}

void ialloc_snapshot(struct pool *p, uint64_t *bitmap)
{
	struct ialloc *ia = p->ialloc;
	uint64_t i, slot;

	pthread_mutex_lock(&ia->lock);
	for (i = 0; i < BITMAP_WORDS(ia->blocks * INODES_PER_BLOCK); i++)
		bitmap[i] = 0;
	for (i = 0; i < ia->blocks; i++) {
		slot = i * INODES_PER_BLOCK;
		if (ia->where[i])
			bitmap[slot / 64] |= (uint64_t)(~block_slots(ia, i) & SLOTS_FREE) << (slot % 64);
	}
	bitmap_clear(bitmap, INO_ITABLE);
	pthread_mutex_unlock(&ia->lock);
}

/* Every bit is a free slot of the table, and the root is among them. */
static bool bitmap_fits(const struct ialloc *ia, const uint64_t *bitmap, uint64_t slots)
{
	uint64_t words = BITMAP_WORDS(slots), i;

	if (slots != ia->blocks * INODES_PER_BLOCK || !bitmap_test(bitmap, INO_ROOT))
		return false;
	for (i = 0; i < words; i++)
		if (bitmap[i] & ~ia->avail.bits[i])
			return false;
	return true;
}

int ialloc_load(struct pool *p, const uint64_t *bitmap, uint64_t slots)
{
	struct ialloc *ia = p->ialloc;
	uint64_t ino;
	int rc = -EUCLEAN;

	pthread_mutex_lock(&ia->lock);
	if (bitmap_fits(ia, bitmap, slots)) {
		for (ino = bitmap_next_set(bitmap, 0, slots); ino < slots;
		     ino = bitmap_next_set(bitmap, ino + 1, slots))
			slot_assign(ia, ino, false);
		rc = 0;
	}
	pthread_mutex_unlock(&ia->lock);
	return rc;
}

/* ---- Growing, lock held -------------------------------------------------------------------------------- */

/* Lowest hole, or the end; how many blocks fit there, up to a chunk. */
static uint64_t find_hole(struct ialloc *ia, uint64_t *room)
{
	uint64_t index = ia->first_hole, n = 0;

	while (index < ia->blocks && ia->where[index])
		index++;
	ia->first_hole = index;
	while (n < CHUNK_BLOCKS && index + n < ia->max_blocks && !ia->where[index + n])
		n++;
	*room = n;
	return index;
}

/* tx_on_end: the table is as it was, or as it shall be; others may have it. The free set follows an abort. */
static void end_grow(void *arg, bool committed)
{
	struct grow_end *end = arg;
	struct ialloc *ia = end->ia;
	uint64_t i;

	if (!committed && end->count) {
		for (i = 0; i < end->count; i++)
			block_unmap(ia, end->first + i);
		ia->blocks = end->old_blocks;
	}
	ia->busy--;
	pthread_mutex_unlock(&ia->lock);
	free(end);
}

/* The lock and `busy` are taken once more, for end_grow(), when this returns 0. */
static int hold_to_end(struct tx *tx, struct ialloc *ia, struct grow_end **out)
{
	struct grow_end *end = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*end));
	int rc;

	if (!end)
		return -ENOMEM;
	end->ia = ia;
	end->old_blocks = ia->blocks;
	rc = tx_on_end(tx, end_grow, end);
	if (rc) {
		free(end);
		return rc;
	}
	pthread_mutex_lock(&ia->lock);
	ia->busy++;
	*out = end;
	return 0;
}

/* Blocks for the table, after those of the block before if they are to be had there. */
static int chunk_alloc(struct tx *tx, struct ialloc *ia, uint64_t index, uint64_t room, struct extent *e)
{
	uint64_t goal = index && ia->where[index - 1] ? ia->where[index - 1] + 1 : 0;
	int rc;

	*e = (struct extent){ .file_block = index };
	rc = tx_alloc(tx, room, goal, 0, BALLOC_WHOLE | BALLOC_NOT_CONGRUENT, &e->block, &e->count);
	if (rc == -ENOSPC)
		rc = tx_alloc(tx, room, goal, 0, BALLOC_NOT_CONGRUENT, &e->block, &e->count);
	if (rc)
		return rc;
	persist_zero_nt(tx->pool->region, pool_block(tx->pool, e->block), e->count << BLOCK_SHIFT);
	tx_order_data(tx);
	return 0;
}

static int chunk_insert(struct tx *tx, struct ialloc *ia, const struct extent *e, struct grow_end *end)
{
	uint64_t i;
	int rc;

	rc = inode_join(tx, &ia->table);
	if (!rc)
		rc = extent_insert(tx, &ia->table, e);
	if (rc)
		return rc;
	if (e->file_block + e->count > ia->blocks) {
		ia->blocks = e->file_block + e->count;
		ia->table.core.size = ia->blocks << BLOCK_SHIFT;
	}
	end->first = e->file_block;
	end->count = e->count;
	for (i = 0; i < e->count; i++)
		block_map(ia, e->file_block + i, e->block + i);
	return 0;
}

static int grow(struct tx *tx, struct ialloc *ia)
{
	uint64_t room, index = find_hole(ia, &room);
	struct grow_end *end;
	struct extent e;
	int rc;

	if (!room)
		return -ENOSPC;
	ia->busy++;
	rc = chunk_alloc(tx, ia, index, room, &e);
	if (!rc)
		rc = hold_to_end(tx, ia, &end);
	if (!rc)
		rc = chunk_insert(tx, ia, &e, end);
	ia->busy--;
	return rc;
}

/* ---- Handing out --------------------------------------------------------------------------------------- */

static void end_slot(void *arg, bool committed)
{
	struct slot_end *end = arg;

	if (!committed)
		ialloc_free(end->pool, end->ino);
	free(end);
}

static int take_slot(struct tx *tx, struct ialloc *ia, uint64_t *ino)
{
	struct slot_end *end = fault(FAULT_ALLOC) ? NULL : malloc(sizeof(*end));
	int rc;

	if (!end)
		return -ENOMEM;
	end->pool = tx->pool;
	end->ino = sparse_set_next_around(&ia->avail, ia->rotor);
	rc = tx_on_end(tx, end_slot, end);
	if (rc) {
		free(end);
		return rc;
	}
	slot_assign(ia, end->ino, false);
	ia->rotor = end->ino + 1;
	*ino = end->ino;
	return 0;
}

/* A generation is never given twice in a pool's life: the mount's sequence is its upper half. */
static int next_generation(struct tx *tx, struct ialloc *ia, uint64_t *generation)
{
	if (ia->made == UINT32_MAX) {
		log_error("no more inodes: %u were made since the pool was mounted; remount", UINT32_MAX);
		return -ENOSPC;
	}
	*generation = tx->pool->mount << 32 | ++ia->made;
	return 0;
}

int ialloc_alloc(struct tx *tx, uint64_t *ino, uint64_t *generation)
{
	struct ialloc *ia = tx->pool->ialloc;
	int rc = 0;

	pthread_mutex_lock(&ia->lock);
	if (!ia->avail.count)
		rc = grow(tx, ia);
	if (!rc)
		rc = next_generation(tx, ia, generation);
	if (!rc)
		rc = take_slot(tx, ia, ino);
	pthread_mutex_unlock(&ia->lock);
	return rc;
}

void ialloc_free(struct pool *p, uint64_t ino)
{
	struct ialloc *ia = p->ialloc;

	pthread_mutex_lock(&ia->lock);
	assert(slot_taken(ia, ino));
	slot_assign(ia, ino, true);
	pthread_mutex_unlock(&ia->lock);
}

/* ---- Shrinking ----------------------------------------------------------------------------------------- */

/* Extents the table would have if its empty blocks were holes, counted up to one more than fit into its inode. */
static unsigned int extents_without_empty(const struct ialloc *ia)
{
	unsigned int extents = 0;
	uint64_t next = 0;		/* pool block that would continue the extent */

	for (uint64_t i = 0; i < ia->blocks && extents <= INODE_EXTENTS; i++) {
		bool kept = ia->where[i] && block_slots(ia, i) != SLOTS_FREE;

		extents += kept && ia->where[i] != next;
		next = kept ? ia->where[i] + 1 : 0;
	}
	return extents;
}

uint64_t ialloc_reclaimable(struct pool *p)
{
	struct ialloc *ia = p->ialloc;
	uint64_t blocks, nodes;

	pthread_mutex_lock(&ia->lock);
	blocks = ia->empty;
	nodes = ia->table.core.blocks - ia->mapped;
	if (blocks && nodes && extents_without_empty(ia) <= INODE_EXTENTS)
		blocks += nodes;
	pthread_mutex_unlock(&ia->lock);
	return blocks;
}

/* Where the table ends once [first, first + count) is a hole. */
static uint64_t end_without(const struct ialloc *ia, uint64_t first, uint64_t count)
{
	uint64_t end = ia->blocks;

	if (first + count == end)
		end = first;
	while (!ia->where[end - 1])
		end--;
	return end;
}

static int reclaim_run(struct pool *p, struct ialloc *ia, uint64_t first, uint64_t count)
{
	uint64_t end = end_without(ia, first, count), i;
	struct tx tx;
	int rc;

	rc = tx_begin(&tx, p, BALLOC_RESERVE);
	if (rc)
		return rc;
	rc = inode_join(&tx, &ia->table);
	if (!rc)
		rc = extent_remove(&tx, &ia->table, first, count);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	ia->table.core.size = end << BLOCK_SHIFT;
	rc = tx_commit(&tx);
	if (rc)
		return rc;
	for (i = 0; i < count; i++)
		block_unmap(ia, first + i);
	ia->blocks = end;
	return 0;
}

/* Ranges from the end to the beginning, so that a range at the end takes the holes before it along. */
static int reclaim_all(struct pool *p, struct ialloc *ia)
{
	uint64_t first = ia->blocks, count;
	int rc;

	while (ia->empty) {
		for (count = 0; count == 0 || block_slots(ia, first - 1) == SLOTS_FREE; first--)
			count += block_slots(ia, first - 1) == SLOTS_FREE;
		rc = reclaim_run(p, ia, first, count);
		if (rc)
			return rc;
	}
	return 0;
}

int ialloc_reclaim(struct pool *p)
{
	struct ialloc *ia = p->ialloc;
	bool any;
	int rc = 0;

	pthread_mutex_lock(&ia->lock);
	any = ia->empty && !ia->busy;
	if (any) {
		ia->busy++;
		rc = reclaim_all(p, ia);
		ia->busy--;
	}
	pthread_mutex_unlock(&ia->lock);
	if (any && !rc)
		rc = journal_retire(p->journal);
	return rc;
}
