/*
 * Grants: who holds references on a pool's folios, in lists that are the only truth. Counts in the folio table are
 * recomputed from them whenever a daemon starts.
 *
 * A grant is one open of one file by one process. Its list lies in shared memory (shm.h), in pages of 4 KiB that belong
 * to one grant each; every entry is a run of references of one kind and size on consecutive folios:
 *
 *	word 0	| index of the first in the file (51 bits) | area (13 bits) |
 *	word 1	| unit of the first (36) | count (20) | size (2) | kind (2) | - (3) | valid (1) |
 *
 * `area` tells apart mappings of the same file range within one grant (the kernel's VMA); pins are in an area
 * too. An entry becomes valid by the one 8-byte store of word 1, after word 0, and goes by the store of zero to
 * word 1. What must change several entries at once - a run that is cut in two - goes through the redo words of the
 * grant's first page: they are filled, then armed by one store, then applied, then disarmed; who adopts a list with
 * armed redo words applies them again. The daemon alone writes; a power cut takes it all, so program order is enough.
 *
 * This module keeps lists; it takes and drops no references: its callers (map.c, pin.c) do, around it. Locking: one
 * mutex a grant, inside, and below it one for the set. Neither is held across anything else, functions given to
 * grant_remove() and grant_walk() are called without. All may be called from any thread, but not on a grant that
 * another thread deletes: that a grant is still there is its user's business.
 */
#ifndef DAX_GRANT_H
#define DAX_GRANT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dax/folio.h"

struct dax_shm;
struct grant_set;
struct grant;

enum grant_kind {
	GRANT_MAP,		/* page-table entries: refcount and mapcount */
	GRANT_PIN,		/* pins: refcount */
	GRANT_LAYOUT,		/* blocks a client knows the place of: refcount */
};

#define GRANT_AREA_MAX	((1U << 13) - 1)
#define GRANT_COUNT_MAX	((1U << 20) - 1)
#define GRANT_INDEX_MAX	(1ULL << 51)		/* indices are below */

/* Who it was given to. `id` is unique in the set, and the number of the lock byte in the pool. */
struct grant_owner {
	uint64_t	id;
	uint64_t	ino, generation;
	uint8_t		token[16];
	int32_t		pid;
	uint32_t	uid;
};

struct grant_ref {
	enum grant_kind	kind;
	enum dax_size	size;
	uint32_t	area;		/* at most GRANT_AREA_MAX */
	uint64_t	index;		/* in the file, map units */
	uint64_t	unit;		/* in the pool, map units */
	uint64_t	count;		/* references, on as many folios, one after the other */
};

/*
 * grant_set_new - all grants of a pool. `shm`: where lists lie; the set's alone from now on, until it is deleted. Lists
 * that are there already (an earlier daemon's) are checked and adopted as grants that nobody has opened:
 * grant_set_next() finds them, their owner decides. A page that does not verify is freed and counted in *damaged, and
 * with it all pages of its grant: a list is adopted whole or not at all, so that a lock byte without a grant is all
 * there is to look for. `unit_order`: log2 of the units of each size, -1 for none. -ENOMEM: lists stay for the next
 * try.
 */
int grant_set_new(struct grant_set **out, struct dax_shm *shm, const int unit_order[DAX_SIZES], unsigned int *damaged);

/* grant_set_delete - frees the DRAM side; the lists stay in shared memory. */
void grant_set_delete(struct grant_set *set);

/* grant_new - an empty list. -EEXIST: the id is taken; -ENOMEM; -ENOSPC: shared memory is full. */
int grant_new(struct grant_set *set, const struct grant_owner *owner, struct grant **out);

/* grant_delete - give its pages back. The caller dropped what it held; -EBUSY if entries are left, else it is gone. */
int grant_delete(struct grant *g);

/* grant_owner - constant, valid as long as the grant. */
const struct grant_owner *grant_owner(const struct grant *g);

/* grant_find - by id; NULL: none. */
struct grant *grant_find(struct grant_set *set, uint64_t id);

/* grant_set_next - the grant after `g` in no order that means anything, the first for NULL; NULL at the end. */
struct grant *grant_set_next(struct grant_set *set, struct grant *g);

/*
 * grant_add - record references, before the client is told. Extends a run when it continues one. Overlap with entries
 * of the same kind, area and index: -EEXIST. -EINVAL: a field out of range, or folios beyond the end of the pool or of
 * what a file can have; -ENOMEM, -ENOSPC. Then nothing changed. Logarithmic in the number of runs, whatever their
 * length.
 */
int grant_add(struct grant *g, const struct grant_ref *ref);

/*
 * grant_remove - take out every reference of `kind` in `area` whose folio lies, in whole or part, in [index, index +
 * count) map units of the file; runs are cut, folios never. For each piece fn(arg, piece) (fn may be NULL) is called
 * after it is out of the list, in the order of the file. At most `max` references (0: all); returns how many went.
 *
 * -ENOMEM, -ENOSPC: what had to go was the middle of a run, and there is no room for the run that remains behind it;
 * nothing changed. It cannot happen when the range has the start or the end of every run it meets.
 */
typedef void (*grant_fn)(void *arg, const struct grant_ref *ref);
int64_t grant_remove(struct grant *g, enum grant_kind kind, uint32_t area, uint64_t index, uint64_t count, uint64_t max,
		     grant_fn fn, void *arg);

/*
 * grant_find_ref - the reference of `kind` in `area` whose folio `index` lies in: ref->index is where that folio
 * starts, ref->count is 1. false: none.
 */
bool grant_find_ref(struct grant *g, enum grant_kind kind, uint32_t area, uint64_t index, struct grant_ref *ref);

/*
 * grant_walk - each run. Entries may come and go meanwhile, by fn too: what is there from beginning to end is seen
 * once, in one run or more.
 */
void grant_walk(struct grant *g, grant_fn fn, void *arg);

/* grant_refs - references in the list. */
uint64_t grant_refs(const struct grant *g);

/* ---- Reading lists in shared memory that somebody else writes: tools -------------------------------------- */

/*
 * grant_scan - call fn for each run of each grant found in a mapped list area (aligned to 8 bytes), as consistent as a
 * live list is: an entry is seen whole, with its owner, or not at all. Runs that move or are cut while it looks may be
 * missed, or seen before and after. Never trusts it: whatever the bytes, no stray access, and an end. `bytes` may end
 * anywhere. -EUCLEAN: it is no list area. Needs no grant_set, and takes no memory.
 */
typedef void (*grant_scan_fn)(void *arg, const struct grant_owner *owner, const struct grant_ref *ref);
int grant_scan(const void *area, uint64_t bytes, grant_scan_fn fn, void *arg);

#endif
