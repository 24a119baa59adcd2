/*
 * The pgmap: the folio table of a pool, its liveness, and the references on folios.
 *
 * Mirrors mm/memremap.c, the folio side of fs/dax.c, and the interface that was proposed for them and never merged
 * (pgmap_request_folios/pgmap_release_folios by offset and length). Knows neither inodes nor mappers: mapping entries
 * own folios (owner calls, made under the entry's lock), page-table entries and pins refer to them.
 *
 * Invariants, asserted always: a folio goes 0->1 only while the pgmap is LIVE, and a positive refcount keeps it from
 * being destroyed; refcount >= mapcount; a block goes back to the allocator only when nothing refers to its folio. What
 * breaks one is counted (pgmap_violations()) and logged once, as WARN_ON_ONCE does.
 *
 * Units: `unit` is a number of map units from the start of the pool; offsets and lengths are bytes. Any thread
 * may call anything, unless it says otherwise; no lock is asked for above the one mutex inside, which is taken on
 * slow ways only.
 */
#ifndef DAX_PGMAP_H
#define DAX_PGMAP_H

#include <stdatomic.h>
#include <stddef.h>

#include "dax/folio.h"

struct pgmap;

/* LIVE -> DYING (pgmap_kill) -> DRAINED (pgmap_drain) -> gone (pgmap_destroy). */
enum pgmap_state { PGMAP_LIVE, PGMAP_DYING, PGMAP_DRAINED };

/*
 * How removal learns that the last reference went.
 * COUNTER: live folios are counted, by thread; drain waits for the sum to be 0.
 * SWEEP: nothing is counted; drain waits, in one pass over the table, for each folio that still has references.
 */
enum pgmap_drain { PGMAP_COUNTER, PGMAP_SWEEP };

/*
 * Where references are counted. HEAD: one on the head of the folio for each page-table entry, whatever its size
 * (as the kernel since 6.15). PAGE: one on every 4 KiB page (unit) that an entry maps, as the kernel did before.
 */
enum pgmap_accounting { PGMAP_HEAD, PGMAP_PAGE };

struct pgmap_config {
	uint64_t		 size;		/* bytes of the pool; a last part of a unit is not in the table */
	unsigned int		 unit_shift;	/* 12, 21 or 30: the smallest folio there is */
	unsigned int		 block_shift;	/* of what page_free() is told; at most unit_shift */
	enum pgmap_drain	 drain;
	enum pgmap_accounting	 accounting;

	/* Memory of the words, one a unit, all zero, the caller's, or NULL: the pgmap gets its own. */
	_Atomic uint64_t	*words;

	/*
	 * Hand blocks that nothing refers to any more back to the allocator: those in limbo at the last release, others
	 * within pgmap_free_blocks(). Called with the pgmap's mutex held.
	 */
	void			(*page_free)(void *arg, uint64_t block, uint64_t count);
	void			*arg;
};

/* pgmap_new - memremap_pages(): LIVE, every word zero. -EINVAL, -ENOMEM. */
int pgmap_new(struct pgmap **out, const struct pgmap_config *config);

/*
 * pgmap_kill - percpu_ref_kill(): when it returns, no folio goes 0->1 any more. -EALREADY if it was killed before.
 */
int pgmap_kill(struct pgmap *pg);

/*
 * pgmap_drain - wait until no folio has references, `timeout_ms` at most (negative: for ever). 0, -ETIMEDOUT, or
 * -EBUSY while LIVE. One thread.
 */
int pgmap_drain(struct pgmap *pg, int timeout_ms);

/* pgmap_destroy - memunmap_pages(): -EBUSY unless DRAINED. No other call may be under way. */
int pgmap_destroy(struct pgmap *pg);

/*
 * pgmap_delete - free it as it is, references or not: a daemon that leaves. What is referenced is in the grant lists.
 */
void pgmap_delete(struct pgmap *pg);

enum pgmap_state pgmap_state(const struct pgmap *pg);
const struct pgmap_config *pgmap_config(const struct pgmap *pg);
uint64_t pgmap_units(const struct pgmap *pg);

/* pgmap_order - log2 of the units in a folio of this size, or -1: smaller than a unit. */
int pgmap_order(const struct pgmap *pg, enum dax_size size);

/* pgmap_base_size - the size of one unit. */
enum dax_size pgmap_base_size(const struct pgmap *pg);

/* pgmap_head - folio_page(): the head of the folio that `unit` is in (itself when it is none's tail). */
uint64_t pgmap_head(const struct pgmap *pg, uint64_t unit);

/* pgmap_word - of the unit itself, as it is now. */
uint64_t pgmap_word(const struct pgmap *pg, uint64_t unit);

/* ---- References ---------------------------------------------------------------------------------------- */

struct pgmap_folio {
	uint64_t	unit;		/* of the head */
	enum dax_size	size;
};

/*
 * pgmap_request_folios - a reference on each folio of [offset, offset + length): those that are, as they are (also when
 * the range has only a part of one); of units that no folio of more than one holds, the largest that are aligned and
 * lie in the range, built now. *count: room in, used out. 0->1 takes the pgmap's liveness.
 *
 * -EINVAL: not units, or outside; -ENXIO: the pgmap is not LIVE (counted: pgmap_refused()); -EHWPOISON; -E2BIG: more
 * than *count; -ENOMEM: a refcount is at its limit. Then no reference was taken.
 */
int pgmap_request_folios(struct pgmap *pg, uint64_t offset, uint64_t length, struct pgmap_folio *out,
			 unsigned int *count);

/* pgmap_release_folios - give back what pgmap_request_folios() gave. */
void pgmap_release_folios(struct pgmap *pg, const struct pgmap_folio *folios, unsigned int count);

/*
 * pgmap_request_folio - one reference on the folio that `unit` is in, for `size` of it (PAGE accounting counts that
 * many pages): dax_fault_iter()'s folio_ref_inc(), try_grab_folio(). Errors as above, without -E2BIG.
 * pgmap_release_folio - gives it back, folio_put(): the same unit and size. 1->0 frees the folio.
 */
int pgmap_request_folio(struct pgmap *pg, uint64_t unit, enum dax_size size);
void pgmap_release_folio(struct pgmap *pg, uint64_t unit, enum dax_size size);

/*
 * pgmap_map_folio - a page-table entry of `size` at `unit`: refcount and mapcount, insert_page_into_pte_locked() and
 * insert_pmd(). The caller holds a reference (-EINVAL, counted as a violation, when there is none): so it needs no
 * liveness, and works while DYING, as fork must. -ENOMEM at the limit.
 * pgmap_unmap_folio - the inverse, zap.
 */
int pgmap_map_folio(struct pgmap *pg, uint64_t unit, enum dax_size size);
void pgmap_unmap_folio(struct pgmap *pg, uint64_t unit, enum dax_size size);

/* ---- Owners: mapping entries. Caller holds the lock of the entry ----------------------------------------- */

/*
 * pgmap_associate - dax_associate_entry(): an entry of `size` now refers to `unit` (aligned to it). Builds the folio
 * when nothing owned it: order set before anybody can see a reference. `shared`: KERNEL-DAX's make_shared rules.
 * -EEXIST (a violation): owned, and not shared. -EBUSY: smaller folios that still have references, or a larger one, lie
 * in the range: the caller falls back to a smaller size, in the end to units, which never fails for that reason: a unit
 * in a STALE folio is accounted to that. -EMLINK: too many sharers.
 * pgmap_disassociate - dax_folio_put(): the inverse. The folio is reset to units now, or, when references remain
 * (STALE), at the last release.
 */
int pgmap_associate(struct pgmap *pg, uint64_t unit, enum dax_size size, bool shared);
void pgmap_disassociate(struct pgmap *pg, uint64_t unit, enum dax_size size);

/*
 * pgmap_free_blocks - the owner lets go of blocks: page_free() for those whose folio has no reference, limbo for the
 * others until the last release. No entry refers to them any more.
 */
void pgmap_free_blocks(struct pgmap *pg, uint64_t block, uint64_t count);

/* pgmap_busy - folio_busy() of the folio that `unit` is in, in either accounting; pgmap_idle - folio_idle(). */
bool pgmap_busy(const struct pgmap *pg, uint64_t unit);
bool pgmap_idle(const struct pgmap *pg, uint64_t unit);

/* ---- Waiting for counts to go down ----------------------------------------------------------------------- */

/*
 * pgmap_wait - ___wait_var_event() on the folio of `unit`: sleep until it is idle (until_idle), or not busy.
 * `stop` (may be NULL) is asked before each sleep and after each wakeup, with the pgmap's mutex held. timeout_ms
 * negative: for ever.
 * 0, -EINTR: stop() said so, -ETIMEDOUT.
 *
 * The waiter is woken by what makes its condition true and by nothing else: until_idle by 1->0 alone, as the kernel
 * wakes; not busy by every release that leaves no pin.
 */
int pgmap_wait(struct pgmap *pg, uint64_t unit, bool until_idle, bool (*stop)(void *arg), void *arg, int timeout_ms);

/* pgmap_wake - wake everybody in pgmap_wait(), so that stop() is asked again. */
void pgmap_wake(struct pgmap *pg);

/* ---- Media errors ---------------------------------------------------------------------------------------- */

/* pgmap_poison - SetPageHWPoison() on the unit; new references are refused. pgmap_unpoison: a write cleared it. */
void pgmap_poison(struct pgmap *pg, uint64_t unit);
void pgmap_unpoison(struct pgmap *pg, uint64_t unit);
bool pgmap_poisoned(const struct pgmap *pg, uint64_t unit, uint64_t count);

/* ---- Looking --------------------------------------------------------------------------------------------- */

struct pgmap_stat {
	uint64_t	live;			/* folios (PAGE: pages) with references; one pass over the table */
	uint64_t	refs, maps;		/* the sums */
	uint64_t	folios[DAX_SIZES];	/* owned or referenced, by size */
	uint64_t	limbo;			/* blocks */
	uint64_t	poisoned;		/* units */
	uint64_t	table_bytes;		/* memory of the table that was ever written */
};

void pgmap_stat(struct pgmap *pg, struct pgmap_stat *out);

/* pgmap_limbo - blocks in limbo. */
uint64_t pgmap_limbo(const struct pgmap *pg);

/* pgmap_block_in_limbo - is this block? */
bool pgmap_block_in_limbo(const struct pgmap *pg, uint64_t block);

/* pgmap_next_used - the first unit at or after `unit` whose word is not zero, pgmap_units() if none. */
uint64_t pgmap_next_used(const struct pgmap *pg, uint64_t unit);

/* pgmap_violations - broken invariants; pgmap_refused - requests refused because it was not LIVE. */
uint64_t pgmap_violations(const struct pgmap *pg);
uint64_t pgmap_refused(const struct pgmap *pg);

/* pgmap_violation - lib/dax itself: an invariant broke. Counted, logged once. */
void pgmap_violation(struct pgmap *pg, const char *what, uint64_t unit);

#endif
