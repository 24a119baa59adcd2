/*
 * The invariants of the arbiter, found out anew by counting everything there is: page-table entries, pins, mapping
 * entries, places in files, and the pool's words. The world is at rest.
 *
 *	I1  refcount >= mapcount >= 0, and both are exactly what page tables and pins add up to; so are grant lists
 *	I2  refcount > 0: the pgmap is not drained, and the inode of whoever holds it lives
 *	I3  a REAL entry's folio is EXCLUSIVE, or SHARED by as many REAL entries as there are over it
 *	I4  a folio of more than one unit has a REAL entry of its size, or outlives it (STALE, or held); FREE is nothing
 *	I5  in page_free() (sim.c); here: what is free is nobody's, what is not is in a file or in limbo
 *	I6  EMPTY is never mapped, ZERO read-only; what is mapped is what the entry says, writable only if it is DIRTY
 *	I7  DIRTY and TOWRITE on REAL only
 *	I8  entries do not overlap and lie on multiples of their size; nrpages is their sum
 *	I9  in the operations of sim_file.c, and by I6: no mapping is without an entry
 *	I10 while DYING what has no reference gets none; DRAINED: none has
 *
 * Besides: what a mapping stored and no flush took is under a DIRTY entry (not with layout=kernel, where breaks drop
 * marks). A VMA that has revocations to acknowledge may map what it had (I6, and units in limbo).
 */
#include "sim.h"

#include <stdlib.h>

/* What was found out about a unit. */
struct found {
	uint32_t	refs, maps;	/* what its word should say */
	uint32_t	entries;	/* the first unit of a folio: REAL entries over it */
	uint16_t	listed;		/* places in files */
	bool		sized;		/* the first unit: an entry of its size is among them */
	bool		held;		/* itself mapped or pinned, whatever folio counts that */
};

struct tally {
	struct sim	*sim;
	struct found	*unit;
};

static uint64_t units_of(const struct sim *sim, enum dax_size size)
{
	return 1ULL << pgmap_order(sim->pg, size);
}

static enum dax_size size_of(const struct sim *sim, uint64_t word)
{
	return folio_size(word) > pgmap_base_size(sim->pg) ? folio_size(word) : pgmap_base_size(sim->pg);
}

/* ---- What should be -------------------------------------------------------------------------------------- */

static void count_ref(struct tally *t, uint64_t unit, enum dax_size size, bool map)
{
	const struct sim *sim = t->sim;
	uint64_t n = 1, first = pgmap_head(sim->pg, unit);

	for (uint64_t i = 0; i < units_of(sim, size); i++)
		t->unit[unit + i].held = true;
	if (pgmap_config(sim->pg)->accounting == PGMAP_PAGE) {
		n = units_of(sim, size);
		first = unit;
	}
	for (uint64_t i = 0; i < n; i++) {
		t->unit[first + i].refs++;
		t->unit[first + i].maps += map;
	}
}

/* I6. */
static void check_pte(struct sim_vma *v, uint64_t index, const struct sim_pte *p)
{
	struct dax_entry_info e = sim_entry(v->file, index);

	if (v->dax.zapping)
		return;
	if (p->kind == SIM_ZERO ? e.kind != DAX_ZERO || p->write : e.kind != DAX_REAL)
		sim_fail("I6: file %lu maps index %lu as kind %d, the entry is kind %d", v->file->id, index,
			 p->kind, e.kind);
	if (e.size < p->size || (p->kind == SIM_UNIT && e.unit + (index - e.index) != p->unit))
		sim_fail("I6: file %lu maps index %lu at unit %lu size %d, the entry has unit %lu size %d", v->file->id,
			 index, p->unit, p->size, e.unit, e.size);
	if (p->write && (!e.dirty || !(v->flags & SIM_SHARED) || !(v->flags & SIM_WRITE)))
		sim_fail("I6: file %lu index %lu is writable, entry dirty %d, VMA %x", v->file->id, index, e.dirty,
			 v->flags);
}

/* References of one VMA; the number of them. */
static uint64_t count_vma(struct tally *t, struct sim_vma *v)
{
	uint64_t refs = 0, n;

	if (v->file->gone || !v->file->mapping)
		sim_fail("I2: a file that is gone is mapped");
	for (uint64_t i = v->dax.index; i < v->dax.index + v->dax.count; i += n) {
		const struct sim_pte *p = &v->pte[i - v->dax.index];

		n = 1;
		if (p->kind == SIM_NONE || p->kind == SIM_PRIVATE)
			continue;
		n = units_of(t->sim, p->size);
		for (uint64_t k = 0; k < n; k++)
			if (p[k].kind != p->kind || p[k].size != p->size ||
			    (p->kind == SIM_UNIT && p[k].unit != p->unit + k))
				sim_fail("a page-table entry at %lu is in parts", i);
		check_pte(v, i, p);
		if (p->kind != SIM_UNIT)
			continue;
		count_ref(t, p->unit, p->size, true);
		refs++;
	}
	return refs;
}

static void count_pins(struct tally *t, struct sim_grant *g, uint64_t *refs)
{
	struct list *pos;

	list_for_each(pos, &t->sim->pins) {
		struct sim_pin *pin = list_entry(pos, struct sim_pin, link);
		struct grant_ref ref;

		if (pin->grant != g)
			continue;
		if (t->sim->dax.pin == DAX_PIN_INODE && (g->file->gone || !g->file->mapping))
			sim_fail("I2: a file that is gone is pinned");
		for (uint64_t i = pin->dax.index; i < pin->dax.index + pin->dax.count; i++) {
			if (!grant_find_ref(g->grant, GRANT_PIN, pin->dax.area, i, &ref))
				sim_fail("I1: a pin at %lu is not recorded", i);
			count_ref(t, ref.unit, ref.size, false);
			++*refs;
		}
	}
}

/* All VMAs and pins of each grant, and that its list has no more and no less. */
static void count_grants(struct tally *t)
{
	struct list *gpos, *pos;

	list_for_each(gpos, &t->sim->grant_list) {
		struct sim_grant *g = list_entry(gpos, struct sim_grant, link);
		uint64_t refs = 0;

		if (g->mm)
			list_for_each(pos, &g->mm->vmas)
				if (list_entry(pos, struct sim_vma, link)->grant == g)
					refs += count_vma(t, list_entry(pos, struct sim_vma, link));
		count_pins(t, g, &refs);
		if (grant_refs(g->grant) != refs)
			sim_fail("I1: a grant lists %lu references, there are %lu", grant_refs(g->grant), refs);
	}
}

/* ---- Files ----------------------------------------------------------------------------------------------- */

static void check_real(struct tally *t, struct sim_file *f, const struct dax_entry_info *e)
{
	uint64_t n = units_of(t->sim, e->size), head = pgmap_head(t->sim->pg, e->unit);

	t->unit[head].entries++;
	t->unit[head].sized |= e->unit == head && e->size == size_of(t->sim, pgmap_word(t->sim->pg, head));
	for (uint64_t i = 0; i < n; i++)
		if (f->slot[e->index + i] != SIM_SLOT(e->unit + i))
			sim_fail("file %lu has slot %lx at %lu, its entry unit %lu", f->id, f->slot[e->index + i],
				 e->index + i, e->unit + i);
}

/* I7, I8. */
static void check_entries(struct tally *t, struct sim_file *f)
{
	struct dax_entry_info e = { .index = 0 };
	uint64_t next = 0, pages = 0;

	while (dax_next_entry(f->mapping, next, &e)) {
		uint64_t n = units_of(t->sim, e.size);

		if (e.index < next || (e.index & (n - 1)))
			sim_fail("I8: an entry at %lu, of %lu units, where the next was to be at %lu", e.index, n,
				 next);
		if (e.locked)
			sim_fail("the entry at %lu is locked", e.index);
		if ((e.dirty || e.towrite) && e.kind != DAX_REAL)
			sim_fail("I7: the entry at %lu is dirty, and not real", e.index);
		if (e.kind == DAX_REAL)
			check_real(t, f, &e);
		pages += n;
		next = e.index + n;
	}
	if (pages != f->mapping->nrpages || !list_empty(&f->mapping->waiters))
		sim_fail("I8: nrpages is %lu, entries cover %lu", f->mapping->nrpages, pages);
}

static void check_file(struct tally *t, struct sim_file *f)
{
	for (uint64_t i = 0; i < t->sim->file_units; i++) {
		if (f->cow[i])
			sim_fail("a copy for index %lu was left", i);
		if (f->slot[i])
			t->unit[SIM_SLOT_UNIT(f->slot[i])].listed++;
	}
	if (f->mapping)
		check_entries(t, f);
}

/* Stores through mappings are found again by fsync. */
static void check_flushed(struct tally *t, struct sim_file *f)
{
	struct dax_entry_info e;
	uint64_t unit;

	for (uint64_t i = 0; f->mapping && i < t->sim->file_units; i++) {
		unit = SIM_SLOT_UNIT(f->slot[i]);
		if (!f->slot[i] || !atomic_load(&t->sim->unflushed[unit]) || t->sim->owners[unit] > 1)
			continue;
		e = sim_entry(f, i);
		if (e.kind != DAX_REAL || !e.dirty)
			sim_fail("file %lu index %lu: a store was neither flushed nor marked", f->id, i);
	}
}

/* ---- The pool -------------------------------------------------------------------------------------------- */

static void check_head(struct tally *t, uint64_t unit, uint64_t word)
{
	const struct found *f = &t->unit[unit];
	bool idle = pgmap_idle(t->sim->pg, unit);

	if (folio_owner(word) == FOLIO_FREE ? f->entries != 0 :
	    folio_owner(word) == FOLIO_EXCLUSIVE ? f->entries != 1 : folio_share(word) != f->entries)
		sim_fail("I3: unit %lu: word %lx, %u entries", unit, word, f->entries);
	/* One that outlived its entry may have got smaller entries before its last reference went. */
	if (size_of(t->sim, word) > pgmap_base_size(t->sim->pg) && !f->sized && idle &&
	    !((word & FOLIO_STALE) && f->entries))
		sim_fail("I4: a folio at %lu, word %lx, without an entry of its size or a reference", unit, word);
	if (folio_owner(word) == FOLIO_FREE && idle && (word & ~FOLIO_POISON))
		sim_fail("I4: unit %lu is free, and its word is %lx", unit, word);
}

static void check_word(struct tally *t, uint64_t unit, uint64_t word)
{
	const struct found *f = &t->unit[unit];

	if (folio_refcount(word) != f->refs || folio_mapcount(word) != f->maps)
		sim_fail("I1: unit %lu: word %lx, there are %u references and %u mappings", unit, word, f->refs,
			 f->maps);
	if (folio_refcount(word) && pgmap_state(t->sim->pg) == PGMAP_DRAINED)
		sim_fail("I2, I10: unit %lu has references in a pgmap that was drained", unit);
	/* Nothing more can be wrong with a word of 0: a head would be free, and a tail's is so. */
	if (!word && !f->entries)
		return;
	if (pgmap_head(t->sim->pg, unit) == unit)
		check_head(t, unit, word);
	else if (folio_owner(word) != FOLIO_FREE || (word & (FOLIO_STALE | FOLIO_LIMBO)))
		sim_fail("I4: the tail %lu has the word %lx", unit, word);
}

/* True: it is in limbo. That no other is, their sum says. */
static bool check_unit(struct tally *t, uint64_t unit)
{
	const struct found *f = &t->unit[unit];
	struct sim *sim = t->sim;
	bool limbo = sim->used[unit] && !sim->owners[unit];

	if (sim->owners[unit] != f->listed)
		sim_fail("unit %lu has %u owners, %u files list it", unit, sim->owners[unit], f->listed);
	if (!sim->used[unit] && (sim->owners[unit] || f->held))
		sim_fail("I5: unit %lu is free, has %u owners and references: %d", unit, sim->owners[unit], f->held);
	if (limbo && !pgmap_block_in_limbo(sim->pg, unit))
		sim_fail("I5: unit %lu is used, has no owner and is not in limbo", unit);
	if (limbo && pgmap_idle(sim->pg, unit))
		sim_fail("unit %lu is in limbo and nothing refers to it", unit);
	return limbo;
}

/* I10. */
static void check_dying(struct sim *sim, uint64_t unit, uint64_t word)
{
	uint64_t bit = 1ULL << (unit % 64), *live = &sim->live_before[unit / 64];

	if (sim->saw_dying && !folio_idle(word) && !(*live & bit))
		sim_fail("I10: unit %lu got a reference while the pgmap was dying", unit);
	*live = folio_idle(word) ? *live & ~bit : *live | bit;
}

static void check_pool(struct tally *t)
{
	struct sim *sim = t->sim;
	uint64_t word, limbo = 0;

	for (uint64_t u = 0; u < sim->units; u++) {
		word = pgmap_word(sim->pg, u);
		check_word(t, u, word);
		limbo += check_unit(t, u);
		check_dying(sim, u, word);
	}
	if (limbo != pgmap_limbo(sim->pg))
		sim_fail("I5: %lu units are in limbo, %lu have no owner and are not free", pgmap_limbo(sim->pg), limbo);
	sim->saw_dying = pgmap_state(sim->pg) != PGMAP_LIVE;
}

void sim_check(struct sim *sim)
{
	struct tally t = { .sim = sim, .unit = calloc(sim->units, sizeof(*t.unit)) };
	struct list *pos;

	if (!t.unit)
		sim_fail("no memory for the check");
	count_grants(&t);
	list_for_each(pos, &sim->files)
		check_file(&t, list_entry(pos, struct sim_file, link));
	if (sim->dax.layout == DAX_LAYOUT_INODAX)
		list_for_each(pos, &sim->files)
			check_flushed(&t, list_entry(pos, struct sim_file, link));
	check_pool(&t);
	if (pgmap_violations(sim->pg) != sim->violations)
		sim_fail("%lu violations, %lu were expected", pgmap_violations(sim->pg), sim->violations);
	free(t.unit);
}
