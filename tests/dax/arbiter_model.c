/*
 * The model's foundations: folios with their counts and owners, limbo, mapping entries, and what a revocation does to
 * page tables.
 *
 * A folio that nobody owns nor refers to is so many units, at once. References go to the head of the folio, or, in
 * PAGE accounting, to every unit that is mapped. Mapping entries own, page-table entries and pins refer.
 */
#include "arbiter_model.h"

#include <stdlib.h>

static void *array(uint64_t n, uint64_t bytes)
{
	void *p = calloc(n, bytes);

	if (!p)
		am_fail("no memory for the model");
	return p;
}

void am_init(struct am *m)
{
	m->unit = array(m->units, sizeof(*m->unit));
	m->n_free = m->units;
	for (unsigned int i = 0; i < AM_FILES; i++) {
		m->file[i].slot = array(m->file_units, sizeof(struct am_slot));
		m->file[i].entry = array(m->file_units, sizeof(struct am_entry));
		m->file[i].gone = true;
	}
}

void am_free(struct am *m)
{
	free(m->unit);
	for (unsigned int i = 0; i < AM_FILES; i++) {
		free(m->file[i].slot);
		free(m->file[i].entry);
	}
	for (unsigned int i = 0; i < AM_VMAS; i++) {
		if (!m->vma[i])
			continue;
		free(m->vma[i]->pte);
		free(m->vma[i]->pending);
		free(m->vma[i]);
	}
}

/* ---- Folios ---------------------------------------------------------------------------------------------- */

static uint64_t big_floor(const struct am *m, uint64_t unit)
{
	return unit - unit % m->big;
}

uint64_t am_head(const struct am *m, uint64_t unit)
{
	return m->big && m->unit[big_floor(m, unit)].big ? big_floor(m, unit) : unit;
}

static uint64_t folio_end(const struct am *m, uint64_t head)
{
	return head + (m->unit[head].big ? m->big : 1);
}

bool am_idle(const struct am *m, uint64_t unit)
{
	uint64_t head = am_head(m, unit);

	for (uint64_t u = head; u < folio_end(m, head); u++)
		if (m->unit[u].refs)
			return false;
	return true;
}

bool am_busy(const struct am *m, uint64_t unit)
{
	uint64_t head = am_head(m, unit);

	for (uint64_t u = head; u < folio_end(m, head); u++)
		if (m->unit[u].refs != m->unit[u].maps)
			return true;
	return false;
}

static void give_back(struct am *m, uint64_t unit)
{
	if (!m->unit[unit].used || m->unit[unit].owners)
		am_fail("the model frees unit %lu, which is not to be", unit);
	m->unit[unit].used = false;
	m->unit[unit].limbo = false;
	m->n_free++;
	if (m->room != AM_END)
		m->room++;
}

/*
 * The last reference or the last owner went. Without references what is in limbo is free; without owners too the
 * folio falls apart. (Owners that are left have other parts of it.)
 */
static void settle(struct am *m, uint64_t head)
{
	uint64_t end = folio_end(m, head);

	if (!am_idle(m, head))
		return;
	if (m->unit[head].owner == AM_FREE) {
		m->unit[head].big = false;
		m->unit[head].stale = false;
	}
	for (uint64_t u = head; u < end; u++)
		if (m->unit[u].limbo)
			give_back(m, u);
}

void am_count(struct am *m, uint64_t unit, bool big, int refs, int maps)
{
	uint64_t head = am_head(m, unit), first = m->pages ? unit : head, n = m->pages && big ? m->big : 1;

	for (uint64_t u = first; u < first + n; u++) {
		m->unit[u].refs += (uint32_t)refs;
		m->unit[u].maps += (uint32_t)maps;
	}
	settle(m, head);
}

/* Nothing was ever done with these units that is not over. */
static bool untouched(const struct am *m, uint64_t unit, uint64_t n)
{
	for (uint64_t u = unit; u < unit + n; u++) {
		const struct am_unit *s = &m->unit[u];

		if (s->owner != AM_FREE || s->refs || s->stale || s->limbo || s->poison || s->big)
			return false;
	}
	return am_head(m, unit) == unit;
}

/* False: smaller folios with references are in the range of a larger one. */
bool am_associate(struct am *m, uint64_t unit, bool big, bool shared)
{
	struct am_unit *head = &m->unit[am_head(m, unit)];

	if (untouched(m, unit, big ? m->big : 1)) {
		head->owner = AM_EXCLUSIVE;
		head->big = big;
		return true;
	}
	if (big && !head->big)
		return false;
	if (head->owner != AM_FREE && !shared && (!head->stale || head->big == big))
		am_fail("the model gives unit %lu a second owner", unit);
	head->share = head->owner == AM_SHARED ? head->share + 1 : head->owner == AM_EXCLUSIVE ? 2 : 1;
	head->owner = AM_SHARED;
	return true;
}

void am_disassociate(struct am *m, uint64_t unit, bool big)
{
	uint64_t h = am_head(m, unit);
	struct am_unit *head = &m->unit[h];

	if (head->owner == AM_FREE)
		am_fail("the model takes from unit %lu an owner that it has not", unit);
	if (head->owner == AM_SHARED && --head->share) {
		/* The others may have parts of it only. */
		head->stale |= big;
		return;
	}
	head->owner = AM_FREE;
	head->share = 0;
	head->stale = true;
	settle(m, h);
}

/* ---- Blocks ---------------------------------------------------------------------------------------------- */

uint64_t am_room(const struct am *m)
{
	return m->room < m->n_free ? m->room : m->n_free;
}

uint32_t am_take(struct am *m, unsigned int file, uint64_t index)
{
	uint32_t unit = m->where(m->arg, file, index);

	if (unit >= m->units || m->unit[unit].used || !am_room(m))
		am_fail("file %u got unit %u for index %lu, which was not free", file, unit, index);
	m->unit[unit].used = true;
	m->unit[unit].owners = 1;
	for (unsigned int i = 0; i < AM_BYTES; i++)
		m->unit[unit].bytes[i] = 0;
	m->n_free--;
	if (m->room != AM_END)
		m->room--;
	return unit;
}

void am_disown(struct am *m, uint64_t unit)
{
	if (!m->unit[unit].owners)
		am_fail("the model lets go of unit %lu twice", unit);
	if (--m->unit[unit].owners)
		return;
	if (am_idle(m, unit))
		give_back(m, unit);
	else
		m->unit[unit].limbo = true;
}

/* ---- Entries --------------------------------------------------------------------------------------------- */

uint64_t am_entry_start(const struct am *m, const struct am_file *f, uint64_t index)
{
	return f->entry[index].big ? big_floor(m, index) : index;
}

uint64_t am_entry_units(const struct am *m, const struct am_file *f, uint64_t index)
{
	return f->entry[index].big ? m->big : 1;
}

void am_set_entry(struct am *m, struct am_file *f, uint64_t index, struct am_entry e)
{
	uint64_t start = e.big ? big_floor(m, index) : index, n = e.big ? m->big : 1;

	f->entries += f->entry[start].kind == AM_NONE;
	for (uint64_t i = 0; i < n; i++) {
		f->entry[start + i] = e;
		if (e.kind == AM_REAL)
			f->entry[start + i].unit += (uint32_t)i;
	}
}

void am_delete_entry(struct am *m, struct am_file *f, uint64_t index)
{
	uint64_t start = am_entry_start(m, f, index), n = am_entry_units(m, f, index);
	struct am_entry e = f->entry[start];

	for (uint64_t i = 0; i < n; i++)
		f->entry[start + i] = (struct am_entry){ .kind = AM_NONE };
	f->entries--;
	if (e.kind == AM_REAL)
		am_disassociate(m, e.unit, e.big);
}

bool am_file_busy(const struct am *m, const struct am_file *f)
{
	for (uint64_t i = 0; i < m->file_units && f->entries; i++)
		if (f->entry[i].kind == AM_REAL && am_entry_start(m, f, i) == i && am_busy(m, f->entry[i].unit))
			return true;
	return false;
}

/* An inode goes: its entries, and, when it has no name, its blocks. */
static void leave_cache(struct am *m, struct am_file *f)
{
	if (am_file_busy(m, f))
		am_fail("a file was to go that is pinned");
	for (uint64_t i = 0; i < m->file_units; i++)
		if (f->entry[i].kind != AM_NONE)
			am_delete_entry(m, f, i);
	for (uint64_t i = 0; i < m->file_units && !f->linked; i++) {
		if (f->slot[i].there)
			am_disown(m, f->slot[i].unit);
		f->slot[i] = (struct am_slot){ .there = false };
	}
	f->cached = false;
	f->gone = !f->linked;
}

void am_put(struct am *m, unsigned int file)
{
	struct am_file *f = &m->file[file];

	if (!--f->refs && !f->linked)
		leave_cache(m, f);
}

void am_evict(struct am *m, unsigned int file)
{
	leave_cache(m, &m->file[file]);
}

void am_create(struct am *m, unsigned int file, uint64_t size)
{
	struct am_file *f = &m->file[file];

	f->size = size;
	f->refs = f->opens = 1;
	f->linked = f->cached = true;
	f->gone = f->meta_dirty = false;
}

/* ---- Revocation ------------------------------------------------------------------------------------------ */

static void clear_one(struct am *m, struct am_vma *v, uint64_t index)
{
	struct am_pte old = v->pte[index - v->index];
	uint64_t start = old.big ? big_floor(m, index) : index, n = old.big ? m->big : 1;
	uint32_t unit = v->pte[start - v->index].unit;

	for (uint64_t i = 0; i < n; i++)
		v->pte[start + i - v->index] = (struct am_pte){ .kind = AM_NOT };
	if (old.kind == AM_UNIT)
		am_count(m, unit, old.big, -1, -1);
}

/* Page-table entries that reach into the range go whole. */
void am_clear(struct am *m, struct am_vma *v, uint64_t index, uint64_t end, bool even_cows)
{
	uint64_t stop = end < v->index + v->count ? end : v->index + v->count;

	for (uint64_t i = index > v->index ? index : v->index; i < stop; i++) {
		enum am_mapped kind = v->pte[i - v->index].kind;

		if (kind != AM_NOT && (kind != AM_COPY || even_cows))
			clear_one(m, v, i);
	}
}

void am_zap_vma(struct am *m, struct am_vma *v, uint64_t index, uint64_t end, bool even_cows)
{
	if (!m->mm[v->mm].late && !v->n_pending) {
		am_clear(m, v, index, end, even_cows);
		return;
	}
	v->pending = realloc(v->pending, (v->n_pending + 1) * sizeof(*v->pending));
	if (!v->pending)
		am_fail("no memory for the model");
	v->pending[v->n_pending++] = (struct am_pending){ index, end, even_cows };
}

void am_zap(struct am *m, unsigned int file, uint64_t index, uint64_t end, bool even_cows)
{
	for (unsigned int i = 0; i < AM_VMAS; i++) {
		struct am_vma *v = m->vma[i];

		if (v && v->file == file && v->index < end && index < v->index + v->count)
			am_zap_vma(m, v, index, end, even_cows);
	}
}
