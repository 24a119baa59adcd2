/*
 * Taking blocks away from under mappings and pins: dax_break_layout() and its relatives of fs/dax.c.
 *
 * A break unmaps first and looks at counts afterwards, so that a pin that is being taken either is seen, or sees that
 * its page-table entry went and backs off. What it finds busy it waits for, asleep and without the invalidate lock,
 * and then starts over: the range may have been mapped again meanwhile. Only when nothing is busy do entries go, all
 * at once.
 *
 * Where the kernel's way has a hazard the default avoids it: it waits for "no pins" and not for "no references" (a
 * refault that maps the page again while a break sleeps would keep it asleep, and the pin's end would wake nobody);
 * it breaks the range and not the inode; it flushes what was dirty before the entry that says so goes. layout=kernel
 * does as the kernel does.
 */
#include <errno.h>

#include "dax/entry.h"

#define WHOLE_FILE	UINT64_MAX	/* count: to the end */

/*
 * dax_layout_busy_page_range(), the scan: the unit of the first entry in the range that is busy. Waits for locked
 * entries. mapping.lock not held.
 */
static bool find_busy(struct dax_mapping *m, uint64_t index, uint64_t end, uint64_t *unit)
{
	uint64_t found, e;
	bool busy = false;

	pthread_mutex_lock(&m->lock);
	while (!busy && (e = entry_next_unlocked(m, index, end, &found)) != 0) {
		*unit = entry_unit(e);
		busy = entry_kind(e) == DAX_REAL && pgmap_busy(m->dax->pgmap, *unit);
		entry_pass_on(m, found);
		index = found + size_units(m, entry_size(e));
	}
	pthread_mutex_unlock(&m->lock);
	return busy;
}

/* The range as whole entries: a folio is revoked whole, never split. */
static void whole_entries(struct dax_mapping *m, uint64_t *index, uint64_t *end)
{
	struct dax_entry_info info;

	if (dax_next_entry(m, *index, &info) && info.index < *index)
		*index = info.index;
	if (*end != UINT64_MAX && dax_next_entry(m, *end - 1, &info) && info.index < *end &&
	    info.index + size_units(m, info.size) > *end)
		*end = info.index + size_units(m, info.size);
}

void entry_flush(struct dax_mapping *m, uint64_t e)
{
	unsigned int shift = unit_shift(m);

	if (m->ops->flush)
		m->ops->flush(m->host, entry_unit(e) << shift, size_units(m, entry_size(e)) << shift);
}

/* Lock an entry that was found unlocked, and do with it what takes longer. mapping.lock held, and dropped. */
static void lock_entry(struct dax_mapping *m, uint64_t index, uint64_t e)
{
	entry_store(m, index, e | ENTRY_LOCKED);
	pthread_mutex_unlock(&m->lock);
}

/* dax_delete_mapping_range() */
static void delete_range(struct dax_mapping *m, uint64_t index, uint64_t end, bool flush)
{
	uint64_t found, e;

	pthread_mutex_lock(&m->lock);
	while ((e = entry_next_unlocked(m, index, end, &found)) != 0) {
		if (flush && (e & ENTRY_DIRTY)) {
			lock_entry(m, found, e);
			entry_flush(m, e);
			pthread_mutex_lock(&m->lock);
		}
		entry_delete(m, found, e);
		index = found + size_units(m, entry_size(e));
	}
	pthread_mutex_unlock(&m->lock);
}

/* wait_page_idle(), with the invalidate lock dropped. */
static int wait_unit(struct dax_mapping *m, uint64_t unit, bool until_idle, const struct dax_break *how)
{
	int rc;

	atomic_fetch_add(&m->dax->stat.break_waits, 1);
	pthread_rwlock_unlock(&m->invalidate_lock);
	rc = pgmap_wait(m->dax->pgmap, unit, until_idle, how->interrupted, how->arg, -1);
	pthread_rwlock_wrlock(&m->invalidate_lock);
	return rc;
}

static int break_range(struct dax_mapping *m, uint64_t index, uint64_t count, const struct dax_break *how)
{
	bool kernel = m->dax->layout == DAX_LAYOUT_KERNEL;
	uint64_t unit = 0, first, end;
	int rc = 0;

	do {
		first = index;
		end = range_end(index, count);
		whole_entries(m, &first, &end);
		if (!how->unmapped)
			dax_unmap_range(m, first, end - first, false);
		if (!find_busy(m, first, end, &unit)) {
			delete_range(m, first, end, !kernel);
			return 0;
		}
		if (how->nowait)
			rc = -EAGAIN;
		else if (m->dax->pin_busy && !kernel)
			rc = -EBUSY;
		else
			rc = wait_unit(m, unit, kernel, how);
	} while (!rc);
	return rc;
}

int dax_break_layout(struct dax_mapping *m, uint64_t index, uint64_t count, const struct dax_break *how)
{
	static const struct dax_break forever = { .nowait = false };

	if (!count)
		return 0;
	atomic_fetch_add(&m->dax->stat.breaks, 1);
	if (m->dax->layout == DAX_LAYOUT_KERNEL) {
		index = 0;
		count = WHOLE_FILE;
	}
	return break_range(m, index, count, how ? how : &forever);
}

void dax_break_layout_final(struct dax_mapping *m)
{
	uint64_t unit;

	/* A pin that holds its inode is none of this one's: it is of another file that has the same block. */
	while (m->dax->pin == DAX_PIN_EVICT && find_busy(m, 0, UINT64_MAX, &unit))
		pgmap_wait(m->dax->pgmap, unit, m->dax->layout == DAX_LAYOUT_KERNEL, NULL, NULL, -1);
	delete_range(m, 0, UINT64_MAX, false);
}

/*
 * One clean entry: unmapped while it is locked, so that nobody maps it again before it goes. What is pinned stays, so
 * that a later break finds it. mapping.lock held, dropped between.
 */
static int invalidate_one(struct dax_mapping *m, uint64_t index, uint64_t e)
{
	lock_entry(m, index, e);
	dax_unmap_range(m, index, size_units(m, entry_size(e)), false);
	pthread_mutex_lock(&m->lock);
	if (entry_kind(e) != DAX_REAL || !pgmap_busy(m->dax->pgmap, entry_unit(e))) {
		entry_delete(m, index, e);
		return 0;
	}
	entry_store(m, index, e);
	entry_pass_on(m, index);
	return -EBUSY;
}

int dax_invalidate(struct dax_mapping *m, uint64_t index, uint64_t count)
{
	uint64_t end = range_end(index, count), found, e;
	int rc = 0;

	whole_entries(m, &index, &end);
	pthread_mutex_lock(&m->lock);
	while ((e = entry_next_unlocked(m, index, end, &found)) != 0) {
		if (e & (ENTRY_DIRTY | ENTRY_TOWRITE)) {
			rc = -EBUSY;
			entry_pass_on(m, found);
		} else if (invalidate_one(m, found, e)) {
			rc = -EBUSY;
		}
		index = found + size_units(m, entry_size(e));
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

/* ---- Write-back ------------------------------------------------------------------------------------------ */

/* May this VMA go on storing what it maps in the range? */
static bool stores_unseen(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	struct grant_ref ref;

	for (uint64_t i = index; i < index + count; i++)
		if (grant_find_ref(vma->grant, GRANT_MAP, vma->area, i, &ref))
			return true;
	return false;
}

/* False: somebody stores on, and nobody will know. */
static bool write_protect(struct dax_mapping *m, uint64_t index, uint64_t count)
{
	bool all = true;
	struct list *pos;

	pthread_rwlock_rdlock(&m->vma_lock);
	list_for_each(pos, &m->vmas) {
		struct dax_vma *vma = list_entry(pos, struct dax_vma, link);

		if (vma->index >= index + count || index >= vma->index + vma->count)
			continue;
		if (vma->ops->write_protect)
			vma->ops->write_protect(vma, index, count);
		else if (stores_unseen(vma, index, count))
			all = false;
	}
	pthread_rwlock_unlock(&m->vma_lock);
	return all;
}

/*
 * dax_writeback_one(): the entry stays locked from before the write-protect until it is called clean, so that a store
 * that comes after it faults, waits, and marks it dirty again. Where stores do not fault it stays dirty.
 */
static void writeback_one(struct dax_mapping *m, uint64_t index, uint64_t e)
{
	bool clean = write_protect(m, index, size_units(m, entry_size(e)));

	entry_flush(m, e);
	entry_unlock(m, index, e & ~(ENTRY_TOWRITE | (clean ? ENTRY_DIRTY : 0)));
}

/* mapping.lock held. */
static bool next_is_locked(struct dax_mapping *m, uint64_t index, uint64_t end)
{
	uint64_t found, e = radix_next(&m->entries, index, &found, NULL);

	return e && found < end && (e & ENTRY_LOCKED);
}

static int writeback(struct dax_mapping *m, uint64_t index, uint64_t count, bool nowait)
{
	uint64_t end = range_end(index, count), found, e;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	for (;;) {
		if (nowait && next_is_locked(m, index, end)) {
			rc = -EAGAIN;
			break;
		}
		e = entry_next_unlocked(m, index, end, &found);
		if (!e)
			break;
		index = found + size_units(m, entry_size(e));
		if (entry_kind(e) != DAX_REAL || !(e & (ENTRY_DIRTY | ENTRY_TOWRITE))) {
			entry_pass_on(m, found);
			continue;
		}
		lock_entry(m, found, e | ENTRY_TOWRITE);
		writeback_one(m, found, e);
		pthread_mutex_lock(&m->lock);
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

void dax_writeback(struct dax_mapping *m, uint64_t index, uint64_t count)
{
	(void)writeback(m, index, count, false);
}

int dax_writeback_nowait(struct dax_mapping *m, uint64_t index, uint64_t count)
{
	return writeback(m, index, count, true);
}

/* ---- Media errors ---------------------------------------------------------------------------------------- */

static unsigned int fail_mappers(struct dax_mapping *m, uint64_t index, enum dax_size size)
{
	unsigned int told = 0;
	struct list *pos;

	pthread_rwlock_rdlock(&m->vma_lock);
	list_for_each(pos, &m->vmas) {
		struct dax_vma *vma = list_entry(pos, struct dax_vma, link);

		if (index < vma->index || index >= vma->index + vma->count)
			continue;
		vma->ops->fail(vma, index, size);
		told++;
	}
	pthread_rwlock_unlock(&m->vma_lock);
	return told;
}

/* Entries of one inode that have the unit: locked while its mappers are told, so that none comes or goes. */
static unsigned int fail_mapping(struct dax_mapping *m, uint64_t unit)
{
	struct dax_entry_info info = { .index = 0 };
	unsigned int told = 0;
	uint64_t next = 0, index, e;

	while (dax_next_entry(m, next, &info)) {
		next = info.index + size_units(m, info.size);
		if (info.kind != DAX_REAL || unit < info.unit || unit - info.unit >= size_units(m, info.size))
			continue;
		index = info.index + (unit - info.unit);
		if (!entry_lock_mapped(m, index, false, info.size, &e))
			continue;
		if (entry_unit(e) == info.unit)
			told += fail_mappers(m, index, info.size);
		entry_unlock(m, index, e);
	}
	return told;
}

unsigned int dax_memory_failure(struct dax *dax, uint64_t unit)
{
	unsigned int told = 0;
	struct list *pos;

	pgmap_poison(dax->pgmap, unit);
	pthread_mutex_lock(&dax->lock);
	list_for_each(pos, &dax->mappings) {
		struct dax_mapping *m = list_entry(pos, struct dax_mapping, link);

		/* Its entries may be locked by who waits for a filesystem that makes or deletes mappings. */
		m->visitors++;
		pthread_mutex_unlock(&dax->lock);
		told += fail_mapping(m, unit);
		pthread_mutex_lock(&dax->lock);
		if (!--m->visitors)
			pthread_cond_broadcast(&dax->left);
	}
	pthread_mutex_unlock(&dax->lock);
	return told;
}
