/*
 * Mapping entries: their lock, their transitions (grab_mapping_entry, dax_insert_entry, dax_unlock_entry of
 * fs/dax.c).
 *
 * Owns the mapping's tree and its waiters. Every look and change is under mapping.lock, which is never held while
 * anything else is called but the radix tree and the pgmap; what takes longer - clearing page tables, iomap - is done
 * with the entry's lock bit set instead.
 */
#include "dax/entry.h"

#include <errno.h>

/* One sleeper, woken by the entry that begins at `index`. mapping.lock. */
struct entry_waiter {
	struct list	link;
	pthread_cond_t	cond;
	uint64_t	index;
	bool		exclusive, woken;
};

/* ---- Waiting --------------------------------------------------------------------------------------------- */

/* Wake who waits for the entry at `index`: all, or all that are not exclusive and one that is. */
static void wake(struct dax_mapping *m, uint64_t index, bool all)
{
	struct list *pos;
	bool one = false;

	list_for_each(pos, &m->waiters) {
		struct entry_waiter *w = list_entry(pos, struct entry_waiter, link);

		if (w->index != index || w->woken || (w->exclusive && one && !all))
			continue;
		one |= w->exclusive;
		w->woken = true;
		pthread_cond_signal(&w->cond);
	}
}

/* Sleep until the entry that begins at `index` is unlocked or goes. The caller looks at everything anew. */
static void wait_for(struct dax_mapping *m, uint64_t index, bool exclusive)
{
	struct entry_waiter w = { .index = index, .exclusive = exclusive };

	pthread_cond_init(&w.cond, NULL);
	list_add_tail(&w.link, &m->waiters);
	while (!w.woken)
		pthread_cond_wait(&w.cond, &m->lock);
	list_del(&w.link);
	pthread_cond_destroy(&w.cond);
}

void entry_pass_on(struct dax_mapping *m, uint64_t index)
{
	wake(m, index, false);
}

/* ---- The tree -------------------------------------------------------------------------------------------- */

/* The entry that covers `index`, 0 if none; *start is its first index. */
static uint64_t lookup(struct dax_mapping *m, uint64_t index, uint64_t *start)
{
	unsigned int order = 0;
	uint64_t e = radix_find(&m->entries, index, &order);

	*start = index & ~((1ULL << order) - 1);
	return e;
}

void entry_store(struct dax_mapping *m, uint64_t index, uint64_t entry)
{
	unsigned int order = (unsigned int)pgmap_order(m->dax->pgmap, entry_size(entry));

	/* It replaces one of the same size: no memory, nothing in the way. */
	if (radix_store(&m->entries, index, order, entry))
		pgmap_violation(m->dax->pgmap, "a mapping entry changed its size in place", index);
}

/* A new entry, locked. -EAGAIN: smaller ones are there. */
static int store_new(struct dax_mapping *m, uint64_t index, uint64_t entry)
{
	int rc = radix_store(&m->entries, index, (unsigned int)pgmap_order(m->dax->pgmap, entry_size(entry)), entry);

	if (rc)
		return rc == -EEXIST ? -EAGAIN : rc;
	m->nrpages += size_units(m, entry_size(entry));
	return 0;
}

void entry_delete(struct dax_mapping *m, uint64_t index, uint64_t entry)
{
	if (entry_kind(entry) == DAX_REAL)
		pgmap_disassociate(m->dax->pgmap, entry_unit(entry), entry_size(entry));
	radix_erase(&m->entries, index);
	m->nrpages -= size_units(m, entry_size(entry));
	wake(m, index, true);
}

uint64_t entry_next_unlocked(struct dax_mapping *m, uint64_t index, uint64_t end, uint64_t *found)
{
	uint64_t e, waited = UINT64_MAX;

	for (;;) {
		e = radix_next(&m->entries, index, found, NULL);
		/* Woken for one entry, but another came before it: the wakeup belongs to who waits for that one. */
		if (waited != UINT64_MAX && (!e || *found != waited))
			wake(m, waited, false);
		if (!e || *found >= end)
			return 0;
		if (!(e & ENTRY_LOCKED))
			return e;
		waited = *found;
		wait_for(m, waited, true);
	}
}

bool dax_next_entry(struct dax_mapping *m, uint64_t index, struct dax_entry_info *out)
{
	uint64_t e;

	pthread_mutex_lock(&m->lock);
	e = radix_next(&m->entries, index, &out->index, NULL);
	pthread_mutex_unlock(&m->lock);
	if (!e)
		return false;
	out->unit = entry_unit(e);
	out->kind = entry_kind(e);
	out->size = entry_size(e);
	out->locked = e & ENTRY_LOCKED;
	out->dirty = e & ENTRY_DIRTY;
	out->towrite = e & ENTRY_TOWRITE;
	return true;
}

/* ---- Lock and unlock ------------------------------------------------------------------------------------- */

/*
 * A fault wants less than an EMPTY or ZERO entry covers: it goes, so that its range can have smaller ones. Locked
 * while the zero page is taken out of all page tables. mapping.lock held, dropped between.
 */
static void downgrade(struct dax_mapping *m, uint64_t start, uint64_t e)
{
	if (entry_kind(e) == DAX_ZERO) {
		entry_store(m, start, e | ENTRY_LOCKED);
		pthread_mutex_unlock(&m->lock);
		dax_unmap_range(m, start, size_units(m, entry_size(e)), false);
		pthread_mutex_lock(&m->lock);
	}
	entry_delete(m, start, e);
}

static int grab(struct dax_mapping *m, uint64_t index, enum dax_size size, uint64_t *entry, bool nowait)
{
	uint64_t start, first = size_floor(m, size, index), e;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	for (;;) {
		e = lookup(m, index, &start);
		if (!e) {
			e = entry_make(DAX_EMPTY, size, 0);
			rc = store_new(m, first, e | ENTRY_LOCKED);
			break;
		}
		if (entry_size(e) < size) {
			rc = -EAGAIN;
			break;
		}
		if (nowait && ((e & ENTRY_LOCKED) || (entry_size(e) != size && entry_kind(e) == DAX_ZERO))) {
			rc = -EBUSY;
			break;
		}
		if (e & ENTRY_LOCKED) {
			wait_for(m, start, true);
			continue;
		}
		if (entry_size(e) == size || entry_kind(e) == DAX_REAL) {
			entry_store(m, start, e | ENTRY_LOCKED);
			break;
		}
		downgrade(m, start, e);
	}
	pthread_mutex_unlock(&m->lock);
	*entry = e;
	return rc;
}

int entry_grab(struct dax_mapping *m, uint64_t index, enum dax_size size, uint64_t *entry)
{
	return grab(m, index, size, entry, false);
}

int entry_grab_nowait(struct dax_mapping *m, uint64_t index, enum dax_size size, uint64_t *entry)
{
	return grab(m, index, size, entry, true);
}

void entry_unlock(struct dax_mapping *m, uint64_t index, uint64_t entry)
{
	uint64_t start = size_floor(m, entry_size(entry), index);

	pthread_mutex_lock(&m->lock);
	entry_store(m, start, entry & ~ENTRY_LOCKED);
	wake(m, start, false);
	pthread_mutex_unlock(&m->lock);
}

bool entry_lock_mapped(struct dax_mapping *m, uint64_t index, bool exact, enum dax_size size, uint64_t *entry)
{
	uint64_t start, e;
	bool found;

	pthread_mutex_lock(&m->lock);
	for (;;) {
		e = lookup(m, index, &start);
		if (!e || !(e & ENTRY_LOCKED))
			break;
		wait_for(m, start, true);
	}
	found = entry_kind(e) == DAX_REAL && (!exact || entry_size(e) == size);
	if (found)
		entry_store(m, start, e | ENTRY_LOCKED);
	else if (e)
		wake(m, start, false);
	pthread_mutex_unlock(&m->lock);
	*entry = e;
	return found;
}

/* ---- Insert ---------------------------------------------------------------------------------------------- */

/* Replace what `entry` refers to. mapping.lock held. */
static int replace(struct dax_mapping *m, uint64_t start, uint64_t *entry, uint64_t new, bool shared)
{
	struct pgmap *pg = m->dax->pgmap;
	uint64_t old = *entry;
	int rc = 0;

	if (entry_kind(old) == DAX_REAL)
		pgmap_disassociate(pg, entry_unit(old), entry_size(old));
	if (entry_kind(new) == DAX_REAL)
		rc = pgmap_associate(pg, entry_unit(new), entry_size(new), shared);
	if (rc)
		new = entry_make(DAX_EMPTY, entry_size(old), 0);
	entry_store(m, start, new | ENTRY_LOCKED);
	*entry = new;
	return rc;
}

int entry_insert(struct dax_mapping *m, uint64_t index, uint64_t *entry, enum dax_kind kind, enum dax_size size,
		 uint64_t unit, bool shared, bool dirty)
{
	enum dax_kind old = entry_kind(*entry);
	uint64_t start = size_floor(m, entry_size(*entry), index);
	int rc = 0;

	if (dirty && m->ops->dirty)
		m->ops->dirty(m->host);
	/* Who still sees zeros, or blocks that are not this file's any more, must not. */
	if (shared || (old == DAX_ZERO && kind != DAX_ZERO))
		dax_unmap_range(m, start, size_units(m, entry_size(*entry)), false);
	/* What is replaced takes its marks along: nobody stores to it any more, so it is made clean. */
	if (shared && (*entry & ENTRY_DIRTY)) {
		entry_flush(m, *entry);
		*entry &= ~(ENTRY_DIRTY | ENTRY_TOWRITE);
	}
	pthread_mutex_lock(&m->lock);
	/* Part of a larger folio that has other owners: the whole entry goes, the fault comes again. */
	if (shared && entry_size(*entry) > size)
		rc = replace(m, start, entry, entry_make(DAX_EMPTY, entry_size(*entry), 0), false) ? : -EAGAIN;
	else if (shared || old == DAX_ZERO || old == DAX_EMPTY)
		rc = replace(m, start, entry, entry_make(kind, size, unit), shared);
	if (!rc && dirty)
		*entry |= ENTRY_DIRTY | (shared ? ENTRY_TOWRITE : 0);
	if (!rc && dirty)
		entry_store(m, start, *entry | ENTRY_LOCKED);
	pthread_mutex_unlock(&m->lock);
	return rc;
}
