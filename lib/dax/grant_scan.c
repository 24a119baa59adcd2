/*
 * Reading grant lists that a daemon in another process changes meanwhile: for tools.
 *
 * Owns nothing and stores nothing. Relies on two things that grant_list.c does: the run word of an entry is not zero
 * only while the place before it is right, and the page's seq rises before a place or an owner changes. So what was
 * read between two looks at an unchanged seq belongs together, and nothing has to be locked. A page that changes all
 * the time is left after some tries.
 *
 * Every index into the area comes from a loop over its own size; words of the list are shown, never followed.
 */
#include <errno.h>

#include "dax/grant_private.h"

#define TRIES	1000U		/* of one page that changes while it is read */

/* The entries of one page from *slot on; false: it changed meanwhile, *slot is where to go on. */
static bool scan_entries(const struct grant_page *page, uint64_t number, unsigned int *slot, grant_scan_fn fn,
			 void *arg)
{
	uint64_t seq = get(&page->seq), run, place;
	struct grant_header h;
	struct grant_ref ref;

	if (!grant_page_read(page, number, &h))
		return true;
	for (; *slot < GRANT_SLOTS; ++*slot) {
		run = get(&page->entry[*slot].run);
		place = get(&page->entry[*slot].place);
		if (!run_well_formed(run))
			continue;
		if (get(&page->seq) != seq)
			return false;
		ref = ref_of(place_key(place), run);
		fn(arg, &h.owner, &ref);
	}
	return true;
}

int grant_scan(const void *area, uint64_t bytes, grant_scan_fn fn, void *arg)
{
	const struct grant_page *pages = area;
	uint64_t count = bytes / GRANT_PAGE_SIZE, n, magic;

	if (!count)
		return 0;
	magic = get(&pages[0].check);
	if (magic && magic != GRANT_AREA_MAGIC)
		return -EUCLEAN;
	for (n = 1; n < count; n++) {
		unsigned int slot = 0, tries = 0;

		while (!scan_entries(&pages[n], n, &slot, fn, arg) && ++tries < TRIES)
			;
	}
	return 0;
}
