/*
 * Pins: references that no page-table entry accounts for, taken by whoever moves data to or from the units
 * themselves. mm/gup.c: try_grab_folio_fast(), which raises the count and then looks at the page table again.
 */
#include <errno.h>

#include "dax/entry.h"

static void unpin_run(void *arg, const struct grant_ref *ref)
{
	struct pgmap *pg = arg;

	for (uint64_t i = 0; i < ref->count; i++)
		pgmap_release_folio(pg, ref->unit + i, pgmap_base_size(pg));
}

void dax_unpin(struct dax_pin *pin)
{
	grant_remove(pin->grant, GRANT_PIN, pin->area, pin->index, pin->count, 0, unpin_run, pin->dax->pgmap);
	dax_pin_abandon(pin);
}

void dax_pin_abandon(struct dax_pin *pin)
{
	if (pin->mapping)
		pin->mapping->ops->put(pin->mapping->host);
	pin->mapping = NULL;
}

/* The unit that is mapped at `index`; it may be in the middle of a larger page-table entry. */
static bool mapped_unit(struct dax_vma *vma, uint64_t index, uint64_t *unit)
{
	struct grant_ref ref;

	if (!grant_find_ref(vma->grant, GRANT_MAP, vma->area, index, &ref))
		return false;
	*unit = ref.unit + (index - ref.index);
	return true;
}

/* FOLL_WRITE: a store has gone through here, or one would have to mark the entry dirty first. */
static bool stored_to(struct dax_vma *vma, uint64_t index)
{
	struct dax_entry_info info;

	return dax_next_entry(vma->mapping, index, &info) && info.index <= index && info.dirty;
}

/* With our count up: is it still mapped there, and not about to go? */
static bool still_mapped(struct dax_vma *vma, uint64_t index, uint64_t unit, bool write)
{
	uint64_t again;

	return mapped_unit(vma, index, &again) && again == unit && !dax_vma_told(vma) &&
	       (!write || stored_to(vma, index));
}

static int pin_unit(struct dax_vma *vma, uint64_t index, bool write, struct dax_pin *pin)
{
	struct pgmap *pg = vma->mapping->dax->pgmap;
	struct grant_ref ref = {
		.kind = GRANT_PIN, .size = pgmap_base_size(pg), .area = pin->area, .index = index, .count = 1,
	};
	int rc;

	if (!mapped_unit(vma, index, &ref.unit))
		return -EFAULT;
	rc = pgmap_request_folio(pg, ref.unit, ref.size);
	if (rc)
		return rc == -ENXIO ? -EFAULT : rc;
	/* A revocation tells and unmaps before it looks at counts: either it sees ours, or we see that it did. */
	rc = still_mapped(vma, index, ref.unit, write) ? grant_add(pin->grant, &ref) : -EFAULT;
	if (rc)
		pgmap_release_folio(pg, ref.unit, ref.size);
	return rc;
}

int dax_pin(struct dax_vma *vma, uint64_t index, uint64_t count, unsigned int flags, struct dax_pin *pin)
{
	struct dax_mapping *m = vma->mapping;
	int rc = 0;

	if (!count || index < vma->index || count > vma->count || index - vma->index > vma->count - count)
		return -EINVAL;
	if ((flags & DAX_PIN_LONGTERM) && m->dax->layout == DAX_LAYOUT_KERNEL)
		return -EOPNOTSUPP;
	pin->dax = m->dax;
	pin->mapping = m->dax->pin == DAX_PIN_INODE ? m : NULL;
	pin->index = index;
	pin->count = 0;
	if (pin->mapping)
		m->ops->hold(m->host);
	while (!rc && pin->count < count) {
		rc = pin_unit(vma, index + pin->count, flags & DAX_PIN_WRITE, pin);
		if (!rc)
			pin->count++;
	}
	if (rc)
		dax_unpin(pin);
	return rc;
}
