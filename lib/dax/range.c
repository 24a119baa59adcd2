/*
 * References on ranges of the pool: pgmap_request_folios(), as it was proposed for mm/memremap.c and never merged.
 *
 * A range is walked from its start. A folio that is there gets a reference as it is; of units that nobody uses the
 * largest folio is built that is aligned and lies in the range, with its reference, under the mutex
 * (pgmap_build()). Both may find that somebody was faster, and then look again; nothing is held meanwhile but the
 * references on what was passed, and those go back when the rest fails.
 */
#include "dax/pgmap_private.h"

#include <errno.h>

/* The largest folio that can be built at `unit` inside [unit, end): aligned, and of units nobody uses. */
static enum dax_size largest_free(const struct pgmap *pg, uint64_t unit, uint64_t end)
{
	for (enum dax_size size = DAX_PUD; size > pg->base; size--) {
		uint64_t n = units_of(pg, size);

		if (!(unit & (n - 1)) && end - unit >= n && pgmap_clear(pg, unit, n))
			return size;
	}
	return pg->base;
}

/*
 * Build a folio that nobody owns, with a reference; it falls apart at its last release. -EAGAIN: somebody was
 * faster.
 */
static int build_free(struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	uint64_t n = pg->config.accounting == PGMAP_PAGE ? units_of(pg, size) : 1;
	bool built;

	if (!live_get(pg, n)) {
		atomic_fetch_add(&pg->refused, 1);
		return -ENXIO;
	}
	pthread_mutex_lock(&pg->lock);
	built = pgmap_build(pg, unit, size, FOLIO_REF_ONE);
	for (uint64_t i = 1; i < n && built; i++) {
		touch(pg, unit + i);
		atomic_fetch_add(&pg->words[unit + i], FOLIO_REF_ONE);
	}
	pthread_mutex_unlock(&pg->lock);
	live_done(pg, built ? 0 : n);
	return built ? 0 : -EAGAIN;
}

/* A reference on a folio that is there. -EAGAIN: it changed on the way. */
static int request_present(struct pgmap *pg, uint64_t unit, const struct pgmap_folio *f)
{
	int rc = pgmap_request_folio(pg, f->unit, f->size);

	if (rc || (pgmap_head(pg, unit) == f->unit && size_of(pg, word_at(pg, f->unit)) == f->size))
		return rc;
	pgmap_release_folio(pg, f->unit, f->size);
	return -EAGAIN;
}

/* The folio at `unit` of a range that ends at `end`, with a reference. */
static int request_next(struct pgmap *pg, uint64_t unit, uint64_t end, struct pgmap_folio *out)
{
	int rc;

	do {
		uint64_t word, head = head_of(pg, unit, &word);

		*out = (struct pgmap_folio){ .unit = head, .size = size_of(pg, word) };
		if (!word)
			out->size = largest_free(pg, unit, end);
		if (!word && out->size > pg->base)
			rc = build_free(pg, unit, out->size);
		else
			rc = request_present(pg, unit, out);
	} while (rc == -EAGAIN);
	return rc;
}

void pgmap_release_folios(struct pgmap *pg, const struct pgmap_folio *folios, unsigned int count)
{
	while (count--)
		pgmap_release_folio(pg, folios[count].unit, folios[count].size);
}

int pgmap_request_folios(struct pgmap *pg, uint64_t offset, uint64_t length, struct pgmap_folio *out,
			 unsigned int *count)
{
	uint64_t mask = (1ULL << pg->config.unit_shift) - 1, unit = offset >> pg->config.unit_shift, end;
	unsigned int n = 0;
	int rc = 0;

	if (((offset | length) & mask) || !length || offset + length < offset)
		return -EINVAL;
	end = (offset + length) >> pg->config.unit_shift;
	if (end > pg->units)
		return -EINVAL;
	while (unit < end && !rc) {
		rc = n == *count ? -E2BIG : request_next(pg, unit, end, &out[n]);
		if (rc)
			break;
		unit = out[n].unit + units_of(pg, out[n].size);
		n++;
	}
	if (rc)
		pgmap_release_folios(pg, out, n);
	else
		*count = n;
	return rc;
}
