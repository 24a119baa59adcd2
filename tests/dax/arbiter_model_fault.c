/*
 * The model's accesses: what a load or a store comes to, fault by fault, and what each fault leaves behind.
 *
 * A fault is tried with the largest size first. The letters are those of the reasons for which the kernel gives a
 * larger size up (fs/dax.c: dax_fault_check_fallback() and after it): b page table there, or not wanted; c address
 * and file disagree; d private store; e VMA too small; f end of file; g smaller entries; h extent too short; k not
 * aligned in the pool, poisoned, or dying.
 */
#include "arbiter_model.h"

#include <errno.h>
#include <stddef.h>

/* What an attempt came to. */
enum outcome { DONE, RETRY, FALLBACK, BUS, POISONED, SYNC_DUE };

enum extent { HOLE, UNWRITTEN, MAPPED };

struct where {
	enum extent	type;
	uint64_t	count;		/* units */
	uint32_t	unit;
	bool		shared, dirty, new;
	bool		copied;		/* `unit` is a copy of what the file has */
};

struct attempt {
	struct am	*m;
	struct am_vma	*v;
	struct am_file	*f;
	uint64_t	 index;		/* of the fault */
	uint64_t	 start, count;	/* what is to be mapped */
	bool		 big, write;
	bool		 new;
};

struct am_vma *am_vma_at(const struct am *m, unsigned int mm, uint64_t address)
{
	for (unsigned int i = 0; i < AM_VMAS; i++) {
		struct am_vma *v = m->vma[i];

		if (v && v->mm == mm && address >= v->address && address < v->address + v->count * m->unit_bytes)
			return v;
	}
	return NULL;
}

static struct am_pte *pte(struct am_vma *v, uint64_t index)
{
	return &v->pte[index - v->index];
}

bool am_hit(const struct am_vma *v, uint64_t index, bool write)
{
	const struct am_pte *p = &v->pte[index - v->index];

	return p->kind != AM_NOT && (!write || p->write);
}

bool am_shared(const struct am *m, const struct am_file *f, uint64_t index)
{
	return f->slot[index].there && m->unit[f->slot[index].unit].owners > 1;
}

/* ---- Blocks ---------------------------------------------------------------------------------------------- */

int am_fill(struct am *m, unsigned int file, uint64_t index, uint64_t end, bool unwritten, bool *new)
{
	struct am_file *f = &m->file[file];

	for (uint64_t i = index; i < end; i++) {
		if (f->slot[i].there)
			continue;
		if (!am_room(m))
			break;
		f->slot[i] = (struct am_slot){ true, unwritten, am_take(m, file, i) };
		f->meta_dirty = true;
		*new = true;
	}
	return f->slot[index].there ? 0 : -ENOSPC;
}

void am_convert(struct am *m, struct am_file *f, uint64_t index, uint64_t end)
{
	for (uint64_t i = index; i < end; i++) {
		if (!f->slot[i].there || !f->slot[i].unwritten || am_shared(m, f, i))
			continue;
		f->slot[i].unwritten = false;
		for (unsigned int b = 0; b < AM_BYTES; b++)
			m->unit[f->slot[i].unit].bytes[b] = 0;
	}
}

static bool one_extent(const struct am *m, const struct am_file *f, uint64_t first, uint64_t i)
{
	const struct am_slot *a = &f->slot[first], *b = &f->slot[i];

	if (!a->there || !b->there)
		return a->there == b->there;
	return a->unwritten == b->unwritten && b->unit == a->unit + (i - first) &&
	       am_shared(m, f, first) == am_shared(m, f, i);
}

static struct where extent_at(const struct attempt *a)
{
	const struct am_slot *s = &a->f->slot[a->start];
	struct where w = { .type = !s->there ? HOLE : s->unwritten ? UNWRITTEN : MAPPED, .count = 1, .unit = s->unit };

	while (w.count < a->count && one_extent(a->m, a->f, a->start, a->start + w.count))
		w.count++;
	w.shared = am_shared(a->m, a->f, a->start);
	w.dirty = a->f->meta_dirty;
	return w;
}

/* Is there room for a whole larger folio, where the allocator looks for one? */
static bool big_room(const struct am *m)
{
	uint64_t n;

	if (am_room(m) < m->big || m->place != AM_CONGRUENT)
		return false;
	for (uint64_t u = 0; u + m->big <= m->units; u += m->big) {
		for (n = 0; n < m->big && !m->unit[u + n].used; n++)
			;
		if (n == m->big)
			return true;
	}
	return false;
}

/* Where a store goes: blocks are made; those that others have too are copied, if that is possible for all of it. */
static int blocks_for_store(struct attempt *a, struct where *w)
{
	uint64_t end = a->start;

	if (!am_shared(a->m, a->f, a->start)) {
		while (end < a->start + a->count && !am_shared(a->m, a->f, end))
			end++;
		if (am_fill(a->m, a->v->file, a->start, end, false, &a->new))
			return -ENOSPC;
		am_convert(a->m, a->f, a->start, end);
		*w = extent_at(a);
		return 0;
	}
	*w = extent_at(a);
	if (!am_room(a->m))
		return -ENOSPC;
	a->f->meta_dirty = true;
	a->new = true;
	w->dirty = true;
	w->copied = true;
	if (a->big && !big_room(a->m))
		w->count = 1;
	return 0;
}

/* The copy is the file's now. */
static void use_copy(struct attempt *a, const struct where *old, uint32_t *unit)
{
	*unit = UINT32_MAX;
	for (uint64_t i = 0; i < a->count; i++) {
		struct am_slot *s = &a->f->slot[a->start + i];
		uint32_t to = am_take(a->m, a->v->file, a->start + i);

		if (!i)
			*unit = to;
		if (to != *unit + i || (a->big && *unit % a->m->big))
			am_fail("the copy for index %lu is not one folio", a->start + i);
		for (unsigned int b = 0; b < AM_BYTES; b++)
			a->m->unit[to].bytes[b] = old->type == MAPPED ? a->m->unit[s->unit].bytes[b] : 0;
	}
}

/* ... and what was there, others': after the copy is mapped. */
static void drop_old(struct attempt *a, uint32_t unit)
{
	for (uint64_t i = 0; i < a->count; i++) {
		uint32_t old = a->f->slot[a->start + i].unit;

		a->f->slot[a->start + i] = (struct am_slot){ .there = true, .unit = unit + (uint32_t)i };
		am_disown(a->m, old);
	}
}

static bool any_poison(const struct am *m, uint64_t unit, uint64_t count)
{
	for (uint64_t u = unit; u < unit + count; u++)
		if (m->unit[u].poison)
			return true;
	return false;
}

/* ---- Page-table entries ---------------------------------------------------------------------------------- */

static void put_ptes(struct attempt *a, struct am_pte p)
{
	for (uint64_t i = 0; i < a->count; i++) {
		*pte(a->v, a->start + i) = p;
		if (p.kind == AM_UNIT)
			pte(a->v, a->start + i)->unit += (uint32_t)i;
	}
}

/* A VMA that has not acknowledged a revocation gets nothing. */
static enum outcome map_zeros(struct attempt *a)
{
	if (a->v->n_pending)
		return RETRY;
	for (uint64_t i = 0; i < a->count; i++) {
		const struct am_pte *p = pte(a->v, a->start + i);

		if (p->kind != AM_NOT && (p->kind != AM_ZEROS || p->big != a->big))
			return a->big ? FALLBACK : RETRY;
	}
	put_ptes(a, (struct am_pte){ .kind = AM_ZEROS, .big = a->big });
	return DONE;
}

static enum outcome map_unit(struct attempt *a, uint32_t unit)
{
	struct am_pte *first = pte(a->v, a->start);

	if (a->v->n_pending)
		return RETRY;
	if (first->kind == AM_UNIT && first->big == a->big) {
		for (uint64_t i = 0; i < a->count; i++)
			pte(a->v, a->start + i)->write |= a->write;
		return DONE;
	}
	for (uint64_t i = 0; i < a->count; i++)
		if (pte(a->v, a->start + i)->kind != AM_NOT)
			return a->big ? FALLBACK : RETRY;
	am_count(a->m, unit, a->big, 1, 1);
	put_ptes(a, (struct am_pte){ .kind = AM_UNIT, .big = a->big, .write = a->write, .unit = unit });
	return DONE;
}

/* ---- One attempt ----------------------------------------------------------------------------------------- */

/* The entry at the fault's index becomes one that can be used for this size. False: smaller ones are there (g). */
static bool grab(struct attempt *a)
{
	struct am_file *f = a->f;
	struct am_entry *e = &f->entry[a->index];

	if (a->big) {
		for (uint64_t i = a->start; i < a->start + a->count; i++)
			if (f->entry[i].kind != AM_NONE && !f->entry[i].big)
				return false;
	} else if (e->big && e->kind != AM_REAL) {
		/* Made smaller: the zero page leaves all page tables. */
		if (e->kind == AM_ZERO)
			am_zap(a->m, a->v->file, a->index - a->index % a->m->big,
			       a->index - a->index % a->m->big + a->m->big, false);
		am_delete_entry(a->m, f, a->index);
	}
	if (e->kind == AM_NONE)
		am_set_entry(a->m, f, a->index, (struct am_entry){ .kind = AM_EMPTY, .big = a->big });
	return true;
}

static void mark(struct attempt *a, bool towrite)
{
	uint64_t start = am_entry_start(a->m, a->f, a->index), n = am_entry_units(a->m, a->f, a->index);

	for (uint64_t i = start; i < start + n; i++) {
		a->f->entry[i].dirty = true;
		a->f->entry[i].towrite |= towrite;
	}
}

/*
 * The entry becomes a real one over `unit`. RETRY: it was larger, and shared, and is empty now. FALLBACK: no folio of
 * that size can be there.
 */
static enum outcome insert_entry(struct attempt *a, uint32_t unit, bool shared, bool dirty)
{
	struct am_entry old = a->f->entry[a->index], new = { .kind = AM_REAL, .big = a->big, .unit = unit };
	uint64_t start = am_entry_start(a->m, a->f, a->index), n = am_entry_units(a->m, a->f, a->index);
	bool larger = shared && old.big && !a->big, fails = false;

	if (shared || old.kind == AM_ZERO)
		am_zap(a->m, a->v->file, start, start + n, false);
	if (!shared && old.kind == AM_REAL) {
		if (dirty)
			mark(a, false);
		return DONE;
	}
	if (old.kind == AM_REAL)
		am_disassociate(a->m, a->f->entry[start].unit, old.big);
	if (!larger)
		fails = !am_associate(a->m, unit, a->big, shared);
	if (larger || fails)
		new = (struct am_entry){ .kind = AM_EMPTY, .big = old.big };
	am_set_entry(a->m, a->f, a->index, new);
	if (!larger && !fails && dirty)
		mark(a, shared);
	return larger ? RETRY : fails ? a->big ? FALLBACK : BUS : DONE;
}

/* A private store: a page of its own, without a trace in the file's entries. */
static enum outcome private_store(struct attempt *a, const struct where *w)
{
	struct am_pte copy = { .kind = AM_COPY, .write = true };

	if (w->type == MAPPED && a->m->dying)
		return BUS;
	if (w->type == MAPPED && a->m->unit[w->unit].poison)
		return POISONED;
	if (pte(a->v, a->index)->kind == AM_COPY)
		return DONE;
	for (unsigned int b = 0; b < AM_BYTES && w->type == MAPPED; b++)
		copy.bytes[b] = a->m->unit[w->unit].bytes[b];
	am_clear(a->m, a->v, a->index, a->index + 1, false);
	*pte(a->v, a->index) = copy;
	return DONE;
}

/* What direct access and the copy say (h, k). */
static enum outcome check_pool(const struct attempt *a, const struct where *w)
{
	if (w->count < a->count)
		return FALLBACK;
	if (!w->copied && a->big && w->unit % a->m->big)
		return FALLBACK;
	if (a->m->dying)
		return a->big ? FALLBACK : BUS;
	if ((!w->copied || w->type == MAPPED) && any_poison(a->m, w->unit, a->count))
		return a->big ? FALLBACK : POISONED;
	return DONE;
}

static enum outcome with_blocks(struct attempt *a, struct where *w)
{
	uint32_t unit = w->unit;
	bool sync = a->write && a->v->sync && w->dirty;
	enum outcome r = check_pool(a, w);

	if (r != DONE)
		return r;
	if (w->copied)
		use_copy(a, w, &unit);
	r = insert_entry(a, unit, w->shared, a->write && !sync);
	if (r == DONE && !sync)
		r = map_unit(a, unit);
	else if (r == DONE)
		r = SYNC_DUE;
	if (w->copied)
		drop_old(a, unit);
	return r;
}

/* After the sync: the allocation is durable. The entry has to be of the fault's own size. */
static enum outcome finish_sync(struct attempt *a)
{
	const struct am_entry *e = &a->f->entry[a->index];

	a->f->meta_dirty = false;
	if (e->kind != AM_REAL || e->big != a->big)
		return RETRY;
	mark(a, false);
	return map_unit(a, a->f->entry[a->start].unit);
}

static enum outcome with_entry(struct attempt *a)
{
	bool private = a->write && !a->v->shared;
	enum outcome r;
	struct where w;

	if (!a->write || private)
		w = extent_at(a);
	else if (blocks_for_store(a, &w))
		return a->big ? FALLBACK : BUS;
	if (w.count < a->count)
		return FALLBACK;
	if (private)
		return private_store(a, &w);
	if (!a->write && w.type != MAPPED) {
		if (a->f->entry[a->index].kind == AM_REAL)
			am_fail("index %lu is a hole and has a real entry", a->index);
		am_set_entry(a->m, a->f, a->index, (struct am_entry){ .kind = AM_ZERO, .big = a->big });
		return map_zeros(a);
	}
	r = with_blocks(a, &w);
	return r == SYNC_DUE ? finish_sync(a) : r;
}

/* c, d, e: can a larger page-table entry be there at all? */
static bool fits(const struct attempt *a)
{
	uint64_t address = a->v->address + (a->index - a->v->index) * a->m->unit_bytes;
	uint64_t before = (a->index - a->start) * a->m->unit_bytes, bytes = a->count * a->m->unit_bytes;

	return !(a->write && !a->v->shared) && (address - before) % bytes == 0 && a->start >= a->v->index &&
	       a->start + a->count <= a->v->index + a->v->count;
}

static enum outcome attempt(struct attempt *a, bool big)
{
	uint64_t units = (a->f->size + a->m->unit_bytes - 1) / a->m->unit_bytes;

	a->big = big;
	a->count = big ? a->m->big : 1;
	a->start = a->index - a->index % a->count;
	a->new = false;
	if (big && !fits(a))
		return FALLBACK;
	if (a->start >= units)
		return BUS;
	if (a->start + a->count > units)	/* f */
		return FALLBACK;
	if (!grab(a))
		return FALLBACK;
	if (!big && pte(a->v, a->index)->big)
		return RETRY;
	return with_entry(a);
}

/* ---- All of it ------------------------------------------------------------------------------------------- */

/* b: smaller page-table entries are there, in this VMA, where the larger one would be. */
static bool table_there(const struct am *m, const struct am_vma *v, uint64_t index)
{
	uint64_t table = m->big * m->unit_bytes;
	uint64_t at = v->address + (index - v->index) * m->unit_bytes;

	for (uint64_t i = 0; i < v->count; i++)
		if (v->pte[i].kind != AM_NOT && !v->pte[i].big &&
		    (v->address + i * m->unit_bytes) / table == at / table)
			return true;
	return false;
}

static enum outcome fault(struct am *m, struct am_vma *v, uint64_t index, bool write)
{
	struct attempt a = { .m = m, .v = v, .f = &m->file[v->file], .index = index, .write = write };
	bool huge = pte(v, index)->kind != AM_NOT && pte(v, index)->big;
	enum outcome r = FALLBACK;

	m->mm[v->mm].faults++;
	if (m->big && (huge || !(v->nohuge || (m->tables && table_there(m, v, index)))))
		r = attempt(&a, true);
	if (r != FALLBACK)
		return r;
	/* What is larger than the fault can have is split: it goes, and comes back in parts. */
	if (m->big && pte(v, index)->kind == AM_UNIT && pte(v, index)->big)
		am_zap_vma(m, v, index, index + 1, false);
	r = attempt(&a, false);
	if (r == FALLBACK)
		am_fail("the model falls back from the smallest size at index %lu", index);
	m->mm[v->mm].major += a.new && r != BUS;
	return r;
}

static bool access_now(struct am *m, struct am_vma *v, uint64_t index, unsigned int byte, bool write, uint8_t *value)
{
	struct am_pte *p = pte(v, index);
	uint8_t *at = p->kind == AM_COPY ? &p->bytes[byte] : p->kind == AM_UNIT ? &m->unit[p->unit].bytes[byte] : NULL;

	if (!am_hit(v, index, write))
		return false;
	if (value && write)
		*at = *value;
	else if (value)
		*value = at ? *at : 0;
	return true;
}

enum am_result am_access(struct am *m, unsigned int mm, uint64_t address, unsigned int byte, bool write,
			 uint8_t *value)
{
	for (unsigned int i = 0; i < AM_TRIES; i++) {
		struct am_vma *v = am_vma_at(m, mm, address);
		uint64_t index;

		if (!v || (write && !v->write))
			return AM_SEGV;
		index = v->index + (address - v->address) / m->unit_bytes;
		if (access_now(m, v, index, byte, write, value))
			return AM_OK;
		switch (fault(m, v, index, write)) {
		case BUS:
			return AM_SIGBUS;
		case POISONED:
			return AM_MCE;
		default:
			break;
		}
	}
	return AM_STUCK;
}
