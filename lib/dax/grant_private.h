/*
 * Inside of the grant lists: what lies in shared memory, what is kept in DRAM about it, and the calls between grant.c
 * (the interface), grant_list.c (pages and their changes), grant_adopt.c (lists of an earlier daemon), grant_scan.c
 * (readers) and grant_tree.c.
 *
 * The list area is a number of pages of 4096 bytes, host byte order. Page 0 begins with GRANT_AREA_MAGIC, the rest of
 * it is unused. Every other page is free (check is 0) or belongs to one grant, which has one first page and any number
 * of others:
 *
 *	offset	words
 *	0	check		GRANT_PAGE_MAGIC << 32 | crc32c of fixed[]; stored last when a page is taken,
 *				and 0 when it goes
 *	8	seq		goes up before fixed[] or the place of an entry changes: readers look at it before
 *				and after
 *	16	fixed[8]	version << 32 | kind; first page << 32 | this page; id; ino; generation; token;
 *				pid << 32 | uid
 *	80	pages		first page: pages the grant has at least; fewer that verify mean that some were damaged
 *	88	armed		first page: redo words in use, 0 to 2
 *	96	redo[2]		first page: page << 8 | slot, and what its two words are to become
 *	144	entry[247]	place: index << 13 | area; run: unit << 28 | count << 8 | size << 6 | kind << 4 | valid
 *
 * Each change is one store that counts, after stores that do not count yet; each store is a release store of one word.
 * So whoever finds the memory, in another process now or in the next daemon, sees the state before it or after it.
 */
#ifndef DAX_GRANT_PRIVATE_H
#define DAX_GRANT_PRIVATE_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "dax/grant.h"
#include "util/bitmap.h"
#include "util/list.h"

#define GRANT_KINDS		3U
#define GRANT_INDEX_BITS	51U
#define GRANT_AREA_BITS		13U
#define GRANT_UNITS_MAX		(1ULL << 36)

#define GRANT_PAGE_SIZE		4096U
#define GRANT_SLOTS		247U
#define GRANT_REDO		2U
#define GRANT_FIXED		8U
#define GRANT_VERSION		1U
#define GRANT_AREA_MAGIC	(0x746e617267646900ULL | GRANT_VERSION)	/* version, "idgrant" */
#define GRANT_PAGE_MAGIC	0x67726170ULL				/* "parg" in memory */

enum { GRANT_PAGE_FIRST = 1, GRANT_PAGE_MORE = 2 };

struct grant_entry {
	_Atomic uint64_t	place, run;	/* words 0 and 1; run is 0 when the entry is free */
};

struct grant_redo {
	_Atomic uint64_t	slot, place, run;
};

struct grant_page {
	_Atomic uint64_t	check, seq;
	_Atomic uint64_t	fixed[GRANT_FIXED];
	_Atomic uint64_t	pages;
	_Atomic uint64_t	armed;
	struct grant_redo	redo[GRANT_REDO];
	struct grant_entry	entry[GRANT_SLOTS];
};

static_assert(sizeof(struct grant_page) == GRANT_PAGE_SIZE, "a page of the list area");

/* ---- Words ----------------------------------------------------------------------------------------------- */

#define RUN_VALID		1ULL
#define RUN_RESERVED		0xeULL
#define RUN_KIND_SHIFT		4U
#define RUN_SIZE_SHIFT		6U
#define RUN_COUNT_SHIFT		8U
#define RUN_UNIT_SHIFT		28U

static inline uint64_t run_word(enum grant_kind kind, enum dax_size size, uint64_t unit, uint64_t count)
{
	return unit << RUN_UNIT_SHIFT | count << RUN_COUNT_SHIFT | (uint64_t)size << RUN_SIZE_SHIFT |
	       (uint64_t)kind << RUN_KIND_SHIFT | RUN_VALID;
}

static inline unsigned int run_kind(uint64_t run)
{
	return run >> RUN_KIND_SHIFT & 3;
}

static inline unsigned int run_size(uint64_t run)
{
	return run >> RUN_SIZE_SHIFT & 3;
}

static inline uint64_t run_count(uint64_t run)
{
	return run >> RUN_COUNT_SHIFT & GRANT_COUNT_MAX;
}

static inline uint64_t run_unit(uint64_t run)
{
	return run >> RUN_UNIT_SHIFT;
}

/* Could somebody have stored this as a run? */
static inline bool run_well_formed(uint64_t run)
{
	return (run & (RUN_VALID | RUN_RESERVED)) == RUN_VALID && run_kind(run) < GRANT_KINDS &&
	       run_size(run) < DAX_SIZES && run_count(run);
}

/* In DRAM runs are ordered by (area, index): the same bits, the other way round. */
static inline uint64_t key_of(uint32_t area, uint64_t index)
{
	return (uint64_t)area << GRANT_INDEX_BITS | index;
}

static inline uint32_t key_area(uint64_t key)
{
	return (uint32_t)(key >> GRANT_INDEX_BITS);
}

static inline uint64_t key_index(uint64_t key)
{
	return key & ((1ULL << GRANT_INDEX_BITS) - 1);
}

static inline uint64_t place_of(uint64_t key)
{
	return key << GRANT_AREA_BITS | key_area(key);
}

static inline uint64_t place_key(uint64_t place)
{
	return key_of(place & GRANT_AREA_MAX, place >> GRANT_AREA_BITS);
}

static inline struct grant_ref ref_of(uint64_t key, uint64_t run)
{
	return (struct grant_ref){ .kind = (enum grant_kind)run_kind(run), .size = (enum dax_size)run_size(run),
				   .area = key_area(key), .index = key_index(key), .unit = run_unit(run),
				   .count = run_count(run) };
}

/* ---- Shared memory --------------------------------------------------------------------------------------- */

/* Called after every store to the list area, if the program has it: tests do, to stop there. */
void grant_stored(void) __attribute__((weak));

static inline void put(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
	if (grant_stored)
		grant_stored();
}

static inline uint64_t get(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* What fixed[] says, checked. */
struct grant_header {
	struct grant_owner	owner;
	unsigned int		kind;
	uint64_t		first;
};

/* grant_page_read - true if page `number` of an area is one of a grant. Any bytes may be there. */
bool grant_page_read(const struct grant_page *page, uint64_t number, struct grant_header *out);

/* ---- An ordered tree (grant_tree.c) ---------------------------------------------------------------------- */

struct tree_node {
	struct tree_node	*kid[2];
	uint64_t		 key;		/* no two in a tree are equal */
	uint64_t		 priority;
};

/*
 * tree_at_most - the node with the greatest key that is not above `key`; tree_at_least - the least not below. NULL:
 * none.
 */
struct tree_node *tree_at_most(struct tree_node *root, uint64_t key);
struct tree_node *tree_at_least(struct tree_node *root, uint64_t key);
struct tree_node *tree_find(struct tree_node *root, uint64_t key);

/* tree_insert - node->key is set. tree_remove - the node is in the tree. */
void tree_insert(struct tree_node **root, struct tree_node *node);
void tree_remove(struct tree_node **root, struct tree_node *node);

/*
 * tree_take - take out the least, NULL when the tree is empty. Cheap for who takes all, it leaves the tree out of
 * balance.
 */
struct tree_node *tree_take(struct tree_node **root);

/* ---- DRAM ------------------------------------------------------------------------------------------------ */

/* A page of a grant. Protected by the grant's lock. */
struct list_page {
	struct list		 link;		/* in the grant's `room` or `full` */
	struct grant_page	*at;
	uint64_t		 number;
	unsigned int		 used;		/* slots */
	uint64_t		 map[BITMAP_WORDS(GRANT_SLOTS)];
};

/* An entry. Protected by the grant's lock. */
struct run {
	struct tree_node	 node;		/* key_of(); what place_of() it is in shared memory */
	uint64_t		 word;		/* as in shared memory */
	struct list_page	*page;
	unsigned int		 slot;
};

struct grant {
	struct tree_node	 node;		/* by id; protected by the set's lock */
	struct grant_set	*set;
	struct grant_owner	 owner;		/* constant */

	pthread_mutex_t		 lock;		/* taken before the set's */
	struct tree_node	*runs[GRANT_KINDS];
	struct list		 room, full;	/* pages with free slots, and without */
	struct list_page	*first;
	uint64_t		 pages;
	_Atomic uint64_t	 refs;		/* changed under the lock, read without */
	bool			 bad;		/* while adopting: its list cannot be right */
};

struct grant_set {
	struct dax_shm		*shm;
	uint64_t		 units;		/* constant */
	int			 order[DAX_SIZES];	/* constant */

	pthread_mutex_t		 lock;		/* all below, and the size of the list area */
	struct tree_node	*grants;
	uint64_t		*used;		/* bitmap of pages */
	uint64_t		 hint;		/* no page below is free */
};

/* Last unit of the file that a run covers, as a key. */
static inline uint64_t run_last(const struct grant_set *set, uint64_t key, uint64_t run)
{
	return key + (run_count(run) << set->order[run_size(run)]) - 1;
}

/*
 * grant_ref_possible - can this be in a list of the set: sizes that there are, inside of the file and the pool? `count`
 * may be anything.
 */
bool grant_ref_possible(const struct grant_set *set, const struct grant_ref *ref);

/* run_alloc - an entry that is nowhere yet. NULL: out of memory. Freed with free(). */
struct run *run_alloc(uint64_t key, uint64_t word);

/* grant_alloc - the DRAM side of a grant, without pages, in no tree. NULL: out of memory. */
struct grant *grant_alloc(struct grant_set *set, const struct grant_owner *owner);

/* grant_free - the DRAM side, with whatever it has. */
void grant_free(struct grant *g);

/* list_page_at - page `number` of the list area. */
struct grant_page *list_page_at(struct grant_set *set, uint64_t number);

/* list_begin - the first page of a new grant, under the set's lock: -ENOMEM, -ENOSPC. */
int list_begin(struct grant *g);

/* list_end - give the first page back. No entries are left, so there are no others. Takes the set's lock. */
void list_end(struct grant *g);

/* list_attach - DRAM for a page that is in the list area already. NULL: out of memory. */
struct list_page *list_attach(struct grant *g, uint64_t number);

/* list_wipe - make a page free, whatever it holds. */
void list_wipe(struct grant_set *set, uint64_t number);

/* list_used - slot of an attached page is found in use. */
void list_used(struct grant *g, struct list_page *page, unsigned int slot);

/*
 * list_add - a new entry; run->node.key and run->word are set, page and slot are filled in. -ENOMEM, -ENOSPC.
 * list_change - another word for an entry: one store.
 * list_remove - the entry goes, and its page if it was the last there and not the first page.
 * list_move - the entry's place and word change, at once.
 * list_split - the same and `right` is new: at once. -ENOMEM, -ENOSPC: nothing changed.
 * All under the grant's lock.
 */
int list_add(struct grant *g, struct run *run);
void list_change(struct run *run, uint64_t word);
void list_remove(struct grant *g, struct run *run);
void list_move(struct grant *g, struct run *run, uint64_t key, uint64_t word);
int list_split(struct grant *g, struct run *run, uint64_t word, struct run *right);

/* list_redo - do again what the armed redo words of a grant say, if any; false: they make no sense. */
bool list_redo(struct grant *g);

/*
 * list_trim - give back pages without entries, of which there are none but after adoption: a daemon was killed in
 * between.
 */
void list_trim(struct grant *g);

/* grant_adopt - make grants of the lists that are in shared memory: see grant_set_new(). -ENOMEM. */
int grant_adopt(struct grant_set *set, unsigned int *damaged);

#endif
