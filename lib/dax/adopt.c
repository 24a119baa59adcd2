/*
 * Counts from lists, and a whole list given up: what a daemon does that finds the grant lists of one that was killed.
 *
 * Grant lists are the only truth. The folio table starts with zeros, and every reference that a list records is counted
 * again: larger folios first, so that a page-table entry of a part of one finds it. No mapping entry exists yet, so all
 * these folios are STALE: they keep their size until their last reference goes, and files that are faulted again are
 * accounted to them (owner.c).
 */
#include <errno.h>

#include "dax/dax.h"
#include "dax/pgmap_private.h"

struct adopt {
	struct pgmap	*pg;
	enum dax_size	 size;		/* of this pass */
	uint64_t	 counted;
	int		 rc;
};

/* The head of the unit's folio: there already, or made now, STALE and of this size. */
static int adopt_folio(struct pgmap *pg, uint64_t unit, enum dax_size size, uint64_t *head)
{
	uint64_t n = units_of(pg, size);

	if (!n || (unit & (n - 1)) || unit >= pg->units || pg->units - unit < n)
		return -EINVAL;
	*head = pgmap_head(pg, unit);
	touch(pg, *head);
	if (size > size_of(pg, word_at(pg, *head))) {
		atomic_fetch_or(&pg->words[*head], size_field(pg, size));
		if (size_field(pg, size) == DAX_PUD)
			atomic_fetch_add(&pg->huge, 1);
	}
	atomic_fetch_or(&pg->words[*head], FOLIO_STALE);
	return 0;
}

/* One reference on a word. Nobody else uses the table yet: no compare-and-swap, and LIVE is what it is. */
static int adopt_word(struct pgmap *pg, uint64_t unit, bool mapped)
{
	uint64_t old;

	touch(pg, unit);
	old = word_at(pg, unit);
	if (folio_refcount(old) >= FOLIO_REF_MAX)
		return -ENOMEM;
	if (folio_idle(old)) {
		if (!live_get(pg, 1))
			return -ENXIO;
		live_done(pg, 0);
	}
	atomic_store(&pg->words[unit], old + FOLIO_REF_ONE + (mapped ? FOLIO_MAP_ONE : 0));
	return 0;
}

static int adopt_ref(struct pgmap *pg, uint64_t unit, enum dax_size size, bool mapped)
{
	uint64_t head;
	int rc = adopt_folio(pg, unit, size, &head);

	if (rc || pg->config.accounting == PGMAP_HEAD)
		return rc ? rc : adopt_word(pg, head, mapped);
	for (uint64_t i = 0; i < units_of(pg, size) && !rc; i++)
		rc = adopt_word(pg, unit + i, mapped);
	return rc;
}

static void adopt_run(void *arg, const struct grant_ref *ref)
{
	struct adopt *a = arg;

	if (ref->size != a->size || a->rc)
		return;
	for (uint64_t i = 0; i < ref->count && !a->rc; i++) {
		a->rc = adopt_ref(a->pg, ref->unit + i * units_of(a->pg, ref->size), ref->size, ref->kind == GRANT_MAP);
		a->counted += !a->rc;
	}
}

int dax_adopt(struct pgmap *pg, struct grant_set *set, uint64_t *counted)
{
	struct adopt a = { .pg = pg };
	struct grant *g;

	for (int size = DAX_PUD; size >= (int)pg->base && !a.rc; size--) {
		a.size = (enum dax_size)size;
		for (g = grant_set_next(set, NULL); g && !a.rc; g = grant_set_next(set, g))
			grant_walk(g, adopt_run, &a);
	}
	*counted = a.counted;
	return a.rc;
}

/* ---- A grant goes ---------------------------------------------------------------------------------------- */

struct drop {
	struct pgmap	*pg;
	struct grant	*g;
	uint64_t	 refs;
};

static void drop_refs(void *arg, const struct grant_ref *ref)
{
	struct drop *d = arg;
	uint64_t n = units_of(d->pg, ref->size);

	for (uint64_t i = 0; i < ref->count; i++) {
		if (ref->kind == GRANT_MAP)
			pgmap_unmap_folio(d->pg, ref->unit + i * n, ref->size);
		else
			pgmap_release_folio(d->pg, ref->unit + i * n, ref->size);
	}
	d->refs += ref->count;
}

/* A whole run: taking it out needs no room in the list. */
static void drop_run(void *arg, const struct grant_ref *ref)
{
	struct drop *d = arg;

	grant_remove(d->g, ref->kind, ref->area, ref->index, ref->count * units_of(d->pg, ref->size), 0, drop_refs, d);
}

uint64_t dax_drop_grant(struct pgmap *pg, struct grant *g)
{
	struct drop d = { .pg = pg, .g = g };

	grant_walk(g, drop_run, &d);
	grant_delete(g);
	return d.refs;
}
