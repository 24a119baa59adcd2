/*
 * The entry of the folio table: one 64-bit word for each map unit of the pool.
 *
 *	63        42 41        20 19     9    8       7      6     5    4  3    2     1  0
 *	+-----------+------------+--------+-------+------+-----+-----+------+------+------+
 *	| mapcount  | refcount   | share  |WAITERS|POISON|LIMBO|STALE|owner |  -   | size |
 *	+-----------+------------+--------+-------+------+-----+-----+------+------+------+
 *
 * size      of a folio of more than one unit that begins here (PMD: 2 MiB, PUD: 1 GiB), 0 for a folio of one. A larger
 *           folio has its state in the word of its first unit, the head; the tails' words are zero (but for POISON,
 *           and for the counts in `page` accounting), so a unit's head is found by looking at the words of the
 *           aligned units that could be one (pgmap_head()).
 * refcount  zero-based: one for each page-table entry that maps it, or a part of it, and one for each pin. A free or
 *           idle folio has 0.
 * mapcount  the part of refcount that is page-table entries. Pins = refcount - mapcount.
 * owner     FREE: no mapping entry refers to it. EXCLUSIVE: one does. SHARED: `share` entries do (as in
 *           fs/dax.c: the second sharer makes it SHARED(2), and it never goes back to EXCLUSIVE).
 * STALE     its entry went while references remained: it keeps its size until the last of them goes.
 * LIMBO     blocks in it were let go by their owner while references remained; which, says the pgmap's limbo bitmap.
 * POISON    a media error in this unit.
 * WAITERS   somebody sleeps until a count goes down.
 *
 * Only pgmap.c, owner.c and drain.c change words, always atomically. Whoever reads the table in shared memory uses the
 * accessors too.
 */
#ifndef DAX_FOLIO_H
#define DAX_FOLIO_H

#include <stdbool.h>
#include <stdint.h>

/* Sizes of folios, mapping entries and page-table entries; the kernel's order 0, PMD_ORDER and PUD_ORDER. */
enum dax_size { DAX_PTE, DAX_PMD, DAX_PUD };

#define DAX_SIZES	3U
#define DAX_PTE_SHIFT	12U
#define DAX_PMD_SHIFT	21U
#define DAX_PUD_SHIFT	30U

enum folio_owner { FOLIO_FREE, FOLIO_EXCLUSIVE, FOLIO_SHARED };

#define FOLIO_SIZE_MASK		0x3ULL
#define FOLIO_OWNER_SHIFT	3U
#define FOLIO_OWNER_MASK	(0x3ULL << FOLIO_OWNER_SHIFT)
#define FOLIO_STALE		(1ULL << 5)
#define FOLIO_LIMBO		(1ULL << 6)
#define FOLIO_POISON		(1ULL << 7)
#define FOLIO_WAITERS		(1ULL << 8)
#define FOLIO_SHARE_SHIFT	9U
#define FOLIO_SHARE_MAX		0x7ffU
#define FOLIO_SHARE_ONE		(1ULL << FOLIO_SHARE_SHIFT)
#define FOLIO_REF_SHIFT		20U
#define FOLIO_REF_ONE		(1ULL << FOLIO_REF_SHIFT)
#define FOLIO_MAP_SHIFT		42U
#define FOLIO_MAP_ONE		(1ULL << FOLIO_MAP_SHIFT)
#define FOLIO_COUNT_MASK	0x3fffffU
#define FOLIO_REF_MAX		(FOLIO_COUNT_MASK / 2)	/* refused above: room for what is under way on all threads */

static inline unsigned int dax_size_shift(enum dax_size size)
{
	return DAX_PTE_SHIFT + 9U * (unsigned int)size;
}

static inline enum dax_size folio_size(uint64_t word)
{
	return (enum dax_size)(word & FOLIO_SIZE_MASK);
}

static inline enum folio_owner folio_owner(uint64_t word)
{
	return (enum folio_owner)((word & FOLIO_OWNER_MASK) >> FOLIO_OWNER_SHIFT);
}

static inline unsigned int folio_share(uint64_t word)
{
	return (unsigned int)(word >> FOLIO_SHARE_SHIFT) & FOLIO_SHARE_MAX;
}

static inline unsigned int folio_refcount(uint64_t word)
{
	return (unsigned int)(word >> FOLIO_REF_SHIFT) & FOLIO_COUNT_MASK;
}

static inline unsigned int folio_mapcount(uint64_t word)
{
	return (unsigned int)(word >> FOLIO_MAP_SHIFT) & FOLIO_COUNT_MASK;
}

static inline unsigned int folio_pins(uint64_t word)
{
	return folio_refcount(word) - folio_mapcount(word);
}

/* dax_busy_page(): is there a reference that no page-table entry accounts for? */
static inline bool folio_busy(uint64_t word)
{
	return folio_refcount(word) != folio_mapcount(word);
}

/* dax_page_is_idle() */
static inline bool folio_idle(uint64_t word)
{
	return folio_refcount(word) == 0;
}

#endif
