/*
 * Simulator and model, compared: every word of the folio table, what is free and what is in limbo, every slot and
 * entry of every file, every page-table entry of every VMA, the revocations it has not acknowledged, and what was
 * counted. All of it, after every step; so a loop here is worth a look at how long it takes.
 */
#include "arbiter_compare.h"

#include <string.h>

static uint64_t big_units(const struct pair *p, uint64_t unit)
{
	return p->m.unit[unit].big ? p->m.big : 1;
}

/* ---- The pool -------------------------------------------------------------------------------------------- */

static const enum folio_owner owners[] = {
	[AM_FREE] = FOLIO_FREE, [AM_EXCLUSIVE] = FOLIO_EXCLUSIVE, [AM_SHARED] = FOLIO_SHARED,
};

/* The word that a folio's first unit has to have, but for its counts. */
static uint64_t head_word(const struct pair *p, uint64_t unit)
{
	const struct am_unit *u = &p->m.unit[unit];
	enum dax_size base = pgmap_base_size(p->sim->pg);
	uint64_t word = u->big ? (uint64_t)base + 1 : 0;

	word |= (uint64_t)owners[u->owner] << FOLIO_OWNER_SHIFT | (uint64_t)u->share << FOLIO_SHARE_SHIFT;
	if (u->stale)
		word |= FOLIO_STALE;
	for (uint64_t i = 0; i < big_units(p, unit); i++)
		if (u[i].limbo)
			word |= FOLIO_LIMBO;
	return word;
}

static void compare_unit(const struct pair *p, uint64_t unit, bool head)
{
	const struct am_unit *u = &p->m.unit[unit];
	uint64_t word = pgmap_word(p->sim->pg, unit), want = head ? head_word(p, unit) : 0;

	want |= u->poison ? FOLIO_POISON : 0;
	want |= (uint64_t)u->refs << FOLIO_REF_SHIFT | (uint64_t)u->maps << FOLIO_MAP_SHIFT;
	if (word != want)
		am_fail("unit %lu: refs %u maps %u owner %u share %u word %lx; "
			"model: refs %u maps %u owner %u share %u word %lx", unit, folio_refcount(word),
			folio_mapcount(word), folio_owner(word), folio_share(word), word, u->refs, u->maps, u->owner,
			u->share, want);
	if (p->sim->used[unit] != u->used || p->sim->owners[unit] != u->owners)
		am_fail("unit %lu: used %u, owners %u; model: used %u, owners %u", unit, p->sim->used[unit],
			p->sim->owners[unit], u->used, u->owners);
	/* Nobody's, and not free: limbo. The bitmap itself is looked at by sim_check(). */
	if (u->limbo != (u->used && !u->owners))
		am_fail("unit %lu: the model has it used %u, owners %u, limbo %u", unit, u->used, u->owners, u->limbo);
}

static void compare_pool(const struct pair *p)
{
	uint64_t limbo = 0;

	for (uint64_t u = 0; u < p->m.units; u++) {
		uint64_t n = big_units(p, u);

		for (uint64_t i = 0; i < n; i++) {
			compare_unit(p, u + i, i == 0);
			limbo += p->m.unit[u + i].limbo;
		}
		u += n - 1;
	}
	if (p->sim->used_units != p->m.units - p->m.n_free || pgmap_limbo(p->sim->pg) != limbo)
		am_fail("%lu units are used and %lu in limbo; model: %lu and %lu", p->sim->used_units,
			pgmap_limbo(p->sim->pg), p->m.units - p->m.n_free, limbo);
	if (p->sim->room != p->m.room)
		am_fail("there is room for %lu units; model: %lu", p->sim->room, p->m.room);
}

/* ---- Files ----------------------------------------------------------------------------------------------- */

static void compare_slots(const struct pair *p, unsigned int n)
{
	const struct sim_file *f = p->file[n];
	const struct am_slot *s = p->m.file[n].slot;

	for (uint64_t i = 0; i < p->m.file_units; i++) {
		uint64_t want = s[i].there ? SIM_SLOT((uint64_t)s[i].unit) | (s[i].unwritten ? SIM_UNWRITTEN : 0) : 0;

		if (f->slot[i] != want)
			am_fail("file %u index %lu: slot %lx; model: %lx", n, i, f->slot[i], want);
	}
}

static const enum dax_kind kinds[] = {
	[AM_NONE] = DAX_NONE, [AM_EMPTY] = DAX_EMPTY, [AM_ZERO] = DAX_ZERO, [AM_REAL] = DAX_REAL,
};

static void compare_entries(const struct pair *p, unsigned int n)
{
	const struct am_file *f = &p->m.file[n];
	struct dax_entry_info e = { .index = 0 };
	uint64_t next = 0, found = 0;

	for (; p->file[n]->mapping && dax_next_entry(p->file[n]->mapping, next, &e); found++) {
		const struct am_entry *w = &f->entry[e.index];
		bool big = e.size > pgmap_base_size(p->sim->pg);

		if (e.locked || e.kind != kinds[w->kind] || big != w->big || e.dirty != w->dirty ||
		    e.towrite != w->towrite || (w->kind == AM_REAL && e.unit != w->unit))
			am_fail("file %u has an entry at %lu: kind %d big %d dirty %d towrite %d unit %lu locked %d; "
				"model: kind %d big %d dirty %d towrite %d unit %u", n, e.index, e.kind, big, e.dirty,
				e.towrite, e.unit, e.locked, w->kind, w->big, w->dirty, w->towrite, w->unit);
		next = e.index + (big ? p->m.big : 1);
	}
	if (found != f->entries)
		am_fail("file %u has %lu entries; model: %lu", n, found, f->entries);
}

static void compare_file(const struct pair *p, unsigned int n)
{
	const struct am_file *f = &p->m.file[n];
	const struct sim_file *s = p->file[n];

	if (!s)
		return;
	if (s->gone != f->gone || !s->mapping == f->cached || s->refs != f->refs)
		am_fail("file %u: gone %d cached %d refs %u; model: %d %d %u", n, s->gone, s->mapping != NULL, s->refs,
			f->gone, f->cached, f->refs);
	if (f->gone)
		return;
	if (s->size != f->size || s->meta_dirty != f->meta_dirty)
		am_fail("file %u: size %lu meta_dirty %d; model: %lu %d", n, s->size, s->meta_dirty, f->size,
			f->meta_dirty);
	compare_slots(p, n);
	compare_entries(p, n);
}

/* ---- Address spaces -------------------------------------------------------------------------------------- */

static const enum sim_pte_kind mapped[] = {
	[AM_NOT] = SIM_NONE, [AM_ZEROS] = SIM_ZERO, [AM_UNIT] = SIM_UNIT, [AM_COPY] = SIM_PRIVATE,
};

static bool same_pte(const struct pair *p, const struct sim_pte *s, const struct am_pte *w)
{
	if (s->kind != mapped[w->kind])
		return false;
	if (w->kind == AM_NOT)
		return true;
	return (s->size > pgmap_base_size(p->sim->pg)) == w->big && s->write == w->write &&
	       (w->kind != AM_UNIT || s->unit == w->unit);
}

static void compare_vma(const struct pair *p, unsigned int mm, const struct sim_vma *s)
{
	const struct am_vma *w = am_vma_at(&p->m, mm, s->address);
	unsigned int flags;

	if (!w || w->address != s->address || w->index != s->dax.index || w->count != s->dax.count ||
	    p->file[w->file] != s->file)
		am_fail("mm %u has a VMA at %lx, of index %lu+%lu; the model has not", mm, s->address, s->dax.index,
			s->dax.count);
	flags = (w->shared ? SIM_SHARED : 0) | (w->write ? SIM_WRITE : 0) | (w->sync ? SIM_SYNC : 0) |
		(w->nohuge ? SIM_NOHUGE : 0);
	if (s->flags != flags || s->dax.zapping != w->n_pending)
		am_fail("mm %u, VMA at %lx: flags %x, %u revocations; model: %x, %u", mm, s->address, s->flags,
			s->dax.zapping, flags, w->n_pending);
	for (uint64_t i = 0; i < w->count; i++)
		if (!same_pte(p, &s->pte[i], &w->pte[i]))
			am_fail("mm %u index %lu of file %u is mapped: kind %d size %d write %d unit %lu; "
				"model: kind %d big %d write %d unit %u", mm, w->index + i, w->file, s->pte[i].kind,
				s->pte[i].size, s->pte[i].write, s->pte[i].unit, w->pte[i].kind, w->pte[i].big,
				w->pte[i].write, w->pte[i].unit);
}

static void compare_mm(const struct pair *p, unsigned int mm)
{
	const struct am_mm *w = &p->m.mm[mm];
	const struct sim_mm *s = p->mm[mm];
	unsigned int left = 0;
	struct list *pos;

	if (s->faults != w->faults || s->major != w->major || s->machine_checks != w->machine_checks)
		am_fail("mm %u: %lu faults, %lu major, %lu machine checks; model: %lu, %lu, %lu", mm, s->faults,
			s->major, s->machine_checks, w->faults, w->major, w->machine_checks);
	for (unsigned int i = 0; i < AM_VMAS; i++)
		left += p->m.vma[i] && p->m.vma[i]->mm == mm;
	list_for_each(pos, &p->mm[mm]->vmas) {
		compare_vma(p, mm, list_entry(pos, struct sim_vma, link));
		left--;
	}
	if (left)
		am_fail("mm %u: the model has %u VMAs more", mm, left);
}

void compare_all(const struct pair *p)
{
	compare_pool(p);
	for (unsigned int i = 0; i < AM_FILES; i++)
		compare_file(p, i);
	for (unsigned int i = 0; i < AM_MMS; i++)
		if (p->m.mm[i].live)
			compare_mm(p, i);
}

/* ---- Bytes ----------------------------------------------------------------------------------------------- */

void compare_bytes(const struct pair *p)
{
	for (unsigned int n = 0; n < AM_FILES; n++)
		for (uint64_t i = 0; i < p->m.file_units && !p->m.file[n].gone; i++) {
			const struct am_slot *s = &p->m.file[n].slot[i];

			for (unsigned int b = 0; b < AM_BYTES && s->there && !s->unwritten; b++) {
				uint8_t is = sim_peek(p->sim, s->unit, b ? p->m.unit_bytes - 1 : 0);

				if (is != p->m.unit[s->unit].bytes[b])
					am_fail("file %u index %lu, unit %u: byte %u is %u; model: %u", n, i, s->unit,
						b, is, p->m.unit[s->unit].bytes[b]);
			}
		}
}
