/*
 * What pgmap.c, owner.c and drain.c share.
 */
#ifndef DAX_PGMAP_PRIVATE_H
#define DAX_PGMAP_PRIVATE_H

#include <pthread.h>

#include "dax/pgmap.h"
#include "util/list.h"
#include "util/slot.h"

/* Words of one bit of `touched`: a 4 KiB page of the table. */
#define TOUCHED_SHIFT	9U

/*
 * Of one thread (util/slot.h): what it announced. COUNTER: folios it took from 0 to 1 minus those it brought back; only
 * the sum over all cells means anything. SWEEP: 1 while it is between looking at the state and making a reference.
 */
struct pgmap_cell {
	_Atomic int64_t		announced;
} __attribute__((aligned(SLOT_BYTES)));

_Static_assert(sizeof(struct pgmap_cell) == SLOT_BYTES, "slot_cell() counts in SLOT_BYTES");

struct pgmap {
	/* Read on every way, written seldom. */
	_Atomic uint64_t	*words;
	_Atomic uint64_t	*touched;	/* a bit a page of words: was one of them ever set? Never cleared */
	uint64_t		 units, blocks;
	uint64_t		 plain[DAX_SIZES];	/* see plain_word() */
	_Atomic uint64_t	 poisoned;	/* units */
	_Atomic uint64_t	 huge;		/* PUD folios of more than one unit: not less than there are */
	_Atomic int		 state;		/* enum pgmap_state */
	int			 order[DAX_SIZES];
	enum dax_size		 base;
	bool			 own_words;
	struct pgmap_config	 config;

	/* Written on slow ways. */
	_Atomic uint64_t	 limbo_blocks __attribute__((aligned(64)));
	_Atomic uint64_t	 violations, refused;
	_Atomic bool		 warned;
	uint64_t		*limbo;		/* a bit a block, under `lock` */
	pthread_mutex_t		 lock;		/* where folios begin and end, limbo, waiters */
	pthread_cond_t		 drained;	/* with lock: COUNTER, a folio went 1->0 while DYING */
	struct list		 waiters;	/* struct pgmap_waiter, under lock */

	struct pgmap_cell	 cell[SLOT_MAX];
};

static inline uint64_t units_of(const struct pgmap *pg, enum dax_size size)
{
	return pg->order[size] < 0 ? 0 : 1ULL << pg->order[size];
}

/* The size of the folio whose head has this word. */
static inline enum dax_size size_of(const struct pgmap *pg, uint64_t word)
{
	enum dax_size size = folio_size(word);

	return size > pg->base ? size : pg->base;
}

/* The size field of a head's word. */
static inline uint64_t size_field(const struct pgmap *pg, enum dax_size size)
{
	return size > pg->base ? (uint64_t)size : 0;
}

static inline uint64_t owner_field(enum folio_owner owner, unsigned int share)
{
	return (uint64_t)owner << FOLIO_OWNER_SHIFT | (uint64_t)share << FOLIO_SHARE_SHIFT;
}

static inline bool is_touched(const struct pgmap *pg, uint64_t unit)
{
	uint64_t n = unit >> TOUCHED_SHIFT;

	return atomic_load_explicit(&pg->touched[n / 64], memory_order_acquire) >> (n % 64) & 1;
}

/* Before a word is set that may be the first of its page. */
static inline void touch(struct pgmap *pg, uint64_t unit)
{
	uint64_t n = unit >> TOUCHED_SHIFT;

	if (!is_touched(pg, unit))
		atomic_fetch_or(&pg->touched[n / 64], 1ULL << (n % 64));
}

/* 0 without a look at memory that was never written. */
static inline uint64_t word_at(const struct pgmap *pg, uint64_t unit)
{
	return is_touched(pg, unit) ? atomic_load(&pg->words[unit]) : 0;
}

/*
 * The head of the folio that `unit` is in, and its word. It may change at any time: whoever acts on it does so by a
 * compare-and-swap with this word. In HEAD accounting a word with an owner or a reference is always a head's.
 */
static inline uint64_t head_of(const struct pgmap *pg, uint64_t unit, uint64_t *word)
{
	uint64_t head;

	/* PUD folios are rare, and looking for one touches another page of the table. */
	if (pg->order[DAX_PUD] > 0 && atomic_load_explicit(&pg->huge, memory_order_acquire)) {
		head = unit & ~(units_of(pg, DAX_PUD) - 1);
		*word = word_at(pg, head);
		if (folio_size(*word) == DAX_PUD)
			return head;
	}
	if (pg->order[DAX_PMD] > 0) {
		head = unit & ~(units_of(pg, DAX_PMD) - 1);
		*word = word_at(pg, head);
		if (folio_size(*word) == DAX_PMD || head == unit)
			return head;
	}
	*word = word_at(pg, unit);
	return unit;
}

/* A pass over the words may go on so many units after a used one: in HEAD accounting tails have no counts. */
static inline uint64_t pgmap_step(const struct pgmap *pg, uint64_t word)
{
	return pg->config.accounting == PGMAP_HEAD ? units_of(pg, size_of(pg, word)) : 1;
}

/* Is a folio of that size at `unit` aligned, and in the table? */
static inline bool range_valid(const struct pgmap *pg, uint64_t unit, enum dax_size size)
{
	uint64_t n = units_of(pg, size);

	return n && !(unit & (n - 1)) && unit < pg->units && pg->units - unit >= n;
}

/* ---- pgmap.c: looking at several words --------------------------------------------------------------------- */

/*
 * pgmap_quiet - has no unit of the folio a reference? In HEAD accounting `word`, the head's, says it; in PAGE the
 * others' are looked at too.
 */
bool pgmap_quiet(const struct pgmap *pg, uint64_t head, uint64_t word);

/* pgmap_clear - is every word of these units zero? */
bool pgmap_clear(const struct pgmap *pg, uint64_t unit, uint64_t count);

/* pgmap_next_before - pgmap_next_used(), `end` if there is none before it. */
uint64_t pgmap_next_before(const struct pgmap *pg, uint64_t unit, uint64_t end);

/* ---- owner.c: where folios begin and end. Lock held, but for pgmap_folio_freed() ---------------------------- */

/*
 * pgmap_build - units that nobody uses become a folio of `size`; `rest` is what its word has besides the size.
 * False: somebody uses them.
 */
bool pgmap_build(struct pgmap *pg, uint64_t unit, enum dax_size size, uint64_t rest);

/*
 * pgmap_settle - when the folio of `unit` has neither owner nor reference, take it apart and give back what of it
 * is in limbo, as its last release is about to do.
 */
void pgmap_settle(struct pgmap *pg, uint64_t unit);

/*
 * pgmap_folio_freed - free_zone_device_folio(): the last reference went, and the word of the head asks for more
 * than that: waiters, limbo, a folio that nobody owns to be taken apart. Also called when a count went down that
 * somebody waits for.
 */
void pgmap_folio_freed(struct pgmap *pg, uint64_t head);

/* ---- drain.c ------------------------------------------------------------------------------------------------ */

/* live_wake - the count of live folios went down while not LIVE. */
void live_wake(struct pgmap *pg);

/* wake_waiters - those at this head whose condition is true. Lock held. True: there are some, woken or not. */
bool wake_waiters(struct pgmap *pg, uint64_t head);

/* ---- Liveness: see drain.c. Lock not held: live_wake() takes it ---------------------------------------------- */

/* Cells have one writer, but for the shared one. fence_light() follows. */
static inline void announce(struct pgmap *pg, int64_t delta)
{
	unsigned int n = slot();
	_Atomic int64_t *v = &pg->cell[n].announced;

	if (slot_shared(n))
		atomic_fetch_add(v, delta);
	else
		atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + delta, memory_order_release);
}

static inline bool is_live(const struct pgmap *pg)
{
	return atomic_load_explicit(&pg->state, memory_order_acquire) == PGMAP_LIVE;
}

/* live_put - after `n` folios went 1->0. */
static inline void live_put(struct pgmap *pg, uint64_t n)
{
	if (pg->config.drain != PGMAP_COUNTER)
		return;
	announce(pg, -(int64_t)n);
	fence_light();
	if (!is_live(pg))
		live_wake(pg);
}

/* live_done - after live_get(), on the same thread: `unused` of what it was for did not go 0->1. */
static inline void live_done(struct pgmap *pg, uint64_t unused)
{
	if (pg->config.drain == PGMAP_SWEEP)
		announce(pg, -1);
	else if (unused)
		live_put(pg, unused);
}

/* live_get - before up to `n` folios go 0->1: false when the pgmap is not LIVE. */
static inline bool live_get(struct pgmap *pg, uint64_t n)
{
	if (!is_live(pg))
		return false;	/* the look below would do: but who tries in vain should not keep a drain awake */
	announce(pg, pg->config.drain == PGMAP_COUNTER ? (int64_t)n : 1);
	fence_light();
	if (is_live(pg))
		return true;
	live_done(pg, n);
	return false;
}

#endif
