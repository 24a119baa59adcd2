/*
 * Mapping entries: one 62-bit value in the mapping's radix tree for each range of the file that was ever faulted.
 *
 *	61                                     8 7  6   5   4   3      2      1      0
 *	+---------------------------------------+----+------+------+------+------+------+
 *	| unit in the pool                      | -  | size | kind |TOWRITE|DIRTY |LOCKED|
 *	+---------------------------------------+----+------+------+------+------+------+
 *
 * (fs/dax.c: DAX_LOCKED, DAX_PMD, DAX_ZERO_PAGE, DAX_EMPTY; the marks are bits here.) The lock of an entry serialises
 * faults, write-back and layout breaking on its range. It is one bit, changed under dax_mapping.lock; waiters sleep
 * on the entry's first index. A waiter that is woken exclusively and finds the entry unlocked either locks it or
 * passes the wakeup on; an entry that goes wakes all.
 */
#ifndef DAX_ENTRY_H
#define DAX_ENTRY_H

#include "dax/dax.h"

#define ENTRY_LOCKED		(1ULL << 0)
#define ENTRY_DIRTY		(1ULL << 1)
#define ENTRY_TOWRITE		(1ULL << 2)
#define ENTRY_KIND_SHIFT	3U
#define ENTRY_SIZE_SHIFT	5U
#define ENTRY_UNIT_SHIFT	8U

static inline uint64_t entry_make(enum dax_kind kind, enum dax_size size, uint64_t unit)
{
	return unit << ENTRY_UNIT_SHIFT | (uint64_t)size << ENTRY_SIZE_SHIFT | (uint64_t)kind << ENTRY_KIND_SHIFT;
}

static inline enum dax_kind entry_kind(uint64_t e)
{
	return (enum dax_kind)(e >> ENTRY_KIND_SHIFT & 3);
}

static inline enum dax_size entry_size(uint64_t e)
{
	return (enum dax_size)(e >> ENTRY_SIZE_SHIFT & 3);
}

static inline uint64_t entry_unit(uint64_t e)
{
	return e >> ENTRY_UNIT_SHIFT;
}

/* size_units - map units of this size; size_floor - `index` rounded down to it. */
static inline uint64_t size_units(const struct dax_mapping *m, enum dax_size size)
{
	return 1ULL << pgmap_order(m->dax->pgmap, size);
}

static inline uint64_t size_floor(const struct dax_mapping *m, enum dax_size size, uint64_t index)
{
	return index & ~(size_units(m, size) - 1);
}

/* range_end - of a range that may reach to the end of all files. */
static inline uint64_t range_end(uint64_t index, uint64_t count)
{
	return index + count < index ? UINT64_MAX : index + count;
}

static inline unsigned int unit_shift(const struct dax_mapping *m)
{
	return pgmap_config(m->dax->pgmap)->unit_shift;
}

/*
 * entry_grab - grab_mapping_entry(): the entry for a fault of `size` at `index`, locked; a new one is EMPTY. May be
 * larger than asked for (REAL). -EAGAIN: smaller entries are in the range (fall back); -ENOMEM.
 */
int entry_grab(struct dax_mapping *m, uint64_t index, enum dax_size size, uint64_t *entry);

/* entry_grab_nowait - the same, but -EBUSY where it would sleep, or wait for mappers of an entry that has to go. */
int entry_grab_nowait(struct dax_mapping *m, uint64_t index, enum dax_size size, uint64_t *entry);

/* entry_unlock - dax_unlock_entry(): store `entry` unlocked, wake one. */
void entry_unlock(struct dax_mapping *m, uint64_t index, uint64_t entry);

/*
 * entry_insert - dax_insert_entry(): *entry, locked by the caller, becomes `kind` over `unit`, if it is not REAL and
 * private already. Page tables are cleared first where they could show what was there. `shared`: the blocks have
 * other owners. dirty: mark it (and TOWRITE when shared). -EBUSY: a folio of this size cannot be built now; -EMLINK;
 * -EAGAIN: the entry was larger and has become EMPTY, the fault is to come again.
 */
int entry_insert(struct dax_mapping *m, uint64_t index, uint64_t *entry, enum dax_kind kind, enum dax_size size,
		 uint64_t unit, bool shared, bool dirty);

/*
 * entry_lock_mapped - dax_lock_mapping_entry(), and the lookup of dax_insert_pfn_mkwrite(): lock the entry at `index`
 * if it is REAL and, with `exact`, of this size. false: it is not, nothing is locked.
 */
bool entry_lock_mapped(struct dax_mapping *m, uint64_t index, bool exact, enum dax_size size, uint64_t *entry);

/* entry_delete - drop an entry found unlocked under mapping.lock, held since: disassociate, wake all. */
void entry_delete(struct dax_mapping *m, uint64_t index, uint64_t entry);

/*
 * entry_next_unlocked - get_next_unlocked_entry(): the first entry that reaches beyond `index` and begins before
 * `end`, waited for until it is unlocked. mapping.lock held, dropped while asleep. 0: none. Who does not lock it
 * calls entry_pass_on().
 */
uint64_t entry_next_unlocked(struct dax_mapping *m, uint64_t index, uint64_t end, uint64_t *found);

/* entry_pass_on - put_unlocked_entry(WAKE_NEXT). mapping.lock held. */
void entry_pass_on(struct dax_mapping *m, uint64_t index);

/* entry_store - a locked or looked-at entry changes its bits. mapping.lock held; never fails: the slot is there. */
void entry_store(struct dax_mapping *m, uint64_t index, uint64_t entry);

/* entry_flush - dax_flush() of all that a REAL entry covers. mapping.lock not held. */
void entry_flush(struct dax_mapping *m, uint64_t entry);

/*
 * dax_zap_one - __split_huge_pmd_locked() of a file: tell one VMA, wait for nothing. mapping.c
 * dax_vma_told - was it told of a revocation that it has not acknowledged? mapping.c
 */
void dax_zap_one(struct dax_vma *vma, uint64_t index, uint64_t count);
bool dax_vma_told(struct dax_vma *vma);

/*
 * dax_insert - count, record and insert one page-table entry; the caller holds a reference. The zero unit (DAX_ZEROS)
 * is neither counted nor recorded. -EAGAIN: the fault is to come again; -EEXIST: smaller ones are in the way;
 * -EFAULT: another unit is mapped there; -ENOMEM, -ENOSPC. fault.c's. mapping.c
 */
int dax_insert(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags);

#endif
