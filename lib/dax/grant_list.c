/*
 * The lists in shared memory: pages, entries, and the order of the stores that change them. grant_private.h has the
 * format.
 *
 * Owns all stores to the list area, but for those that adoption makes through it. Every one goes through put(), in
 * program order; a daemon that is killed between any two leaves
 *
 *	a page that is taken	check is 0 until everything else of it is there; then the first page counts it
 *	a page that goes	the first page counts one less, then check is 0; its entries are free already
 *	a new entry		run is 0 until place is there
 *	a longer or shorter run	one store of run
 *	an entry that goes	run is 0
 *	a run cut at its start or in two	redo words, then `armed`, then the entries, then `armed` is 0
 *
 * all of which read as the state before or after. Readers in other processes go by `seq`: it rises before a place or an
 * owner changes, so that a run is never taken together with a place, or an owner, that is not its own.
 *
 * Pages come from a bitmap under the set's lock; it was made by adoption and is not in shared memory. The area grows
 * by half, or by one page when that much cannot be had.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dax/grant_private.h"
#include "dax/shm.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define FEW_PAGES	16U		/* the area's first size */

/* ---- Pages ----------------------------------------------------------------------------------------------- */

struct grant_page *list_page_at(struct grant_set *set, uint64_t number)
{
	return (struct grant_page *)((char *)dax_shm_lists(set->shm) + number * GRANT_PAGE_SIZE);
}

static int grow(struct grant_set *set, uint64_t pages)
{
	uint64_t want = pages + pages / 2;

	if (want < FEW_PAGES)
		want = FEW_PAGES;
	if (dax_shm_lists_grow(set->shm, want * GRANT_PAGE_SIZE) &&
	    dax_shm_lists_grow(set->shm, (pages ? pages + 1 : 2) * GRANT_PAGE_SIZE))
		return -ENOSPC;
	if (!pages)
		put(&list_page_at(set, 0)->check, GRANT_AREA_MAGIC);
	return 0;
}

/* Under the set's lock. */
static int take_number(struct grant_set *set, uint64_t *number)
{
	uint64_t pages = dax_shm_lists_size(set->shm) / GRANT_PAGE_SIZE, n;
	int ret;

	n = bitmap_next_clear(set->used, set->hint, pages);
	if (n >= pages) {
		ret = grow(set, pages);
		if (ret)
			return ret;
		n = pages ? pages : 1;
	}
	bitmap_set(set->used, n);
	set->hint = n + 1;
	*number = n;
	return 0;
}

/* Under the set's lock. */
static void give_number(struct grant_set *set, uint64_t number)
{
	bitmap_clear(set->used, number);
	if (number < set->hint)
		set->hint = number;
}

static void next_seq(struct grant_page *p)
{
	put(&p->seq, get(&p->seq) + 1);
}

static uint64_t check_word(const uint64_t fixed[GRANT_FIXED])
{
	return GRANT_PAGE_MAGIC << 32 | crc32c(0, fixed, GRANT_FIXED * sizeof(*fixed));
}

static void encode(const struct grant_owner *o, unsigned int kind, uint64_t first, uint64_t number,
		   uint64_t fixed[GRANT_FIXED])
{
	fixed[0] = (uint64_t)GRANT_VERSION << 32 | kind;
	fixed[1] = first << 32 | number;
	fixed[2] = o->id;
	fixed[3] = o->ino;
	fixed[4] = o->generation;
	memcpy(&fixed[5], o->token, sizeof(o->token));
	fixed[7] = (uint64_t)(uint32_t)o->pid << 32 | o->uid;
}

static void decode(const uint64_t fixed[GRANT_FIXED], struct grant_header *out)
{
	struct grant_owner *o = &out->owner;

	out->kind = (uint32_t)fixed[0];
	out->first = fixed[1] >> 32;
	o->id = fixed[2];
	o->ino = fixed[3];
	o->generation = fixed[4];
	memcpy(o->token, &fixed[5], sizeof(o->token));
	o->pid = (int32_t)(uint32_t)(fixed[7] >> 32);
	o->uid = (uint32_t)fixed[7];
}

bool grant_page_read(const struct grant_page *page, uint64_t number, struct grant_header *out)
{
	uint64_t check = get(&page->check), fixed[GRANT_FIXED];
	unsigned int i;

	if (check >> 32 != GRANT_PAGE_MAGIC)
		return false;
	for (i = 0; i < GRANT_FIXED; i++)
		fixed[i] = get(&page->fixed[i]);
	if (check != check_word(fixed) || fixed[0] >> 32 != GRANT_VERSION || (uint32_t)fixed[1] != number)
		return false;
	decode(fixed, out);
	return out->kind == GRANT_PAGE_FIRST ? out->first == number : out->kind == GRANT_PAGE_MORE;
}

/* Fill in a page that is free, whatever an earlier owner, or damage, left in it. */
static void format_page(struct grant *g, uint64_t number)
{
	struct grant_page *p = list_page_at(g->set, number);
	uint64_t fixed[GRANT_FIXED];
	unsigned int i;

	encode(&g->owner, g->first ? GRANT_PAGE_MORE : GRANT_PAGE_FIRST, g->first ? g->first->number : number, number,
	       fixed);
	next_seq(p);
	for (i = 0; i < GRANT_FIXED; i++)
		put(&p->fixed[i], fixed[i]);
	for (i = 0; i < GRANT_SLOTS; i++)
		if (get(&p->entry[i].run))
			put(&p->entry[i].run, 0);
	put(&p->pages, 1);
	put(&p->armed, 0);
	put(&p->check, check_word(fixed));
}

void list_wipe(struct grant_set *set, uint64_t number)
{
	struct grant_page *p = list_page_at(set, number);
	unsigned int i;

	put(&p->check, 0);
	next_seq(p);
	for (i = 0; i < GRANT_SLOTS; i++)
		put(&p->entry[i].run, 0);
}

struct list_page *list_attach(struct grant *g, uint64_t number)
{
	struct list_page *page = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*page));

	if (!page)
		return NULL;
	page->at = list_page_at(g->set, number);
	page->number = number;
	list_add_tail(&page->link, &g->room);
	g->pages++;
	return page;
}

static void detach(struct grant *g, struct list_page *page)
{
	list_del(&page->link);
	g->pages--;
	free(page);
}

/* The set's lock is held. */
static int take_page(struct grant *g, struct list_page **out)
{
	struct list_page *page;
	uint64_t number;
	int ret;

	ret = take_number(g->set, &number);
	if (ret)
		return ret;
	page = list_attach(g, number);
	if (!page) {
		give_number(g->set, number);
		return -ENOMEM;
	}
	*out = page;
	return 0;
}

int list_begin(struct grant *g)
{
	struct list_page *page;
	int ret;

	ret = take_page(g, &page);
	if (ret)
		return ret;
	format_page(g, page->number);
	g->first = page;
	return 0;
}

static int more_room(struct grant *g)
{
	struct list_page *page;
	int ret;

	pthread_mutex_lock(&g->set->lock);
	ret = take_page(g, &page);
	pthread_mutex_unlock(&g->set->lock);
	if (ret)
		return ret;
	format_page(g, page->number);
	put(&g->first->at->pages, g->pages);
	return 0;
}

static void give_page(struct grant *g, struct list_page *page)
{
	uint64_t number = page->number;

	if (page != g->first)
		put(&g->first->at->pages, g->pages - 1);
	put(&page->at->check, 0);
	detach(g, page);
	pthread_mutex_lock(&g->set->lock);
	give_number(g->set, number);
	pthread_mutex_unlock(&g->set->lock);
}

void list_trim(struct grant *g)
{
	struct list *at, *next;

	list_for_each_safe(at, next, &g->room) {
		struct list_page *page = list_entry(at, struct list_page, link);

		if (!page->used && page != g->first)
			give_page(g, page);
	}
}

void list_end(struct grant *g)
{
	assert(g->pages == 1);
	give_page(g, g->first);
	g->first = NULL;
}

/* ---- Slots ----------------------------------------------------------------------------------------------- */

void list_used(struct grant *g, struct list_page *page, unsigned int slot)
{
	bitmap_set(page->map, slot);
	if (++page->used < GRANT_SLOTS)
		return;
	list_del(&page->link);
	list_add_tail(&page->link, &g->full);
}

/* A free slot for the run, taken in DRAM only. */
static int take_slot(struct grant *g, struct run *run)
{
	int ret;

	if (list_empty(&g->room)) {
		ret = more_room(g);
		if (ret)
			return ret;
	}
	run->page = list_entry(g->room.next, struct list_page, link);
	run->slot = (unsigned int)bitmap_next_clear(run->page->map, 0, GRANT_SLOTS);
	list_used(g, run->page, run->slot);
	return 0;
}

static void give_slot(struct grant *g, struct run *run)
{
	struct list_page *page = run->page;

	bitmap_clear(page->map, run->slot);
	if (page->used-- == GRANT_SLOTS) {
		list_del(&page->link);
		list_add_tail(&page->link, &g->room);
	}
	if (!page->used && page != g->first)
		give_page(g, page);
}

/* ---- Entries --------------------------------------------------------------------------------------------- */

/* Whatever is in the entry. While both words change, it is free. */
static void set_entry(struct grant_page *p, unsigned int slot, uint64_t place, uint64_t run)
{
	struct grant_entry *e = &p->entry[slot];

	if (get(&e->place) != place) {
		if (get(&e->run))
			put(&e->run, 0);
		next_seq(p);
		put(&e->place, place);
	}
	put(&e->run, run);
}

int list_add(struct grant *g, struct run *run)
{
	int ret = take_slot(g, run);

	if (!ret)
		set_entry(run->page->at, run->slot, place_of(run->node.key), run->word);
	return ret;
}

void list_change(struct run *run, uint64_t word)
{
	run->word = word;
	put(&run->page->at->entry[run->slot].run, word);
}

void list_remove(struct grant *g, struct run *run)
{
	put(&run->page->at->entry[run->slot].run, 0);
	give_slot(g, run);
}

static void set_redo(struct grant *g, unsigned int i, const struct run *run, uint64_t key, uint64_t word)
{
	struct grant_redo *redo = &g->first->at->redo[i];

	put(&redo->slot, run->page->number << 8 | run->slot);
	put(&redo->place, place_of(key));
	put(&redo->run, word);
}

/* What is stored comes from DRAM: nobody has to have left the redo words as they were filled. */
void list_move(struct grant *g, struct run *run, uint64_t key, uint64_t word)
{
	set_redo(g, 0, run, key, word);
	put(&g->first->at->armed, 1);
	set_entry(run->page->at, run->slot, place_of(key), word);
	put(&g->first->at->armed, 0);
	run->node.key = key;
	run->word = word;
}

int list_split(struct grant *g, struct run *run, uint64_t word, struct run *right)
{
	int ret = take_slot(g, right);

	if (ret)
		return ret;
	set_redo(g, 0, run, run->node.key, word);
	set_redo(g, 1, right, right->node.key, right->word);
	put(&g->first->at->armed, 2);
	set_entry(run->page->at, run->slot, place_of(run->node.key), word);
	set_entry(right->page->at, right->slot, place_of(right->node.key), right->word);
	put(&g->first->at->armed, 0);
	run->word = word;
	return 0;
}

static struct grant_page *find_page(const struct list *pages, uint64_t number)
{
	struct list *at;

	list_for_each(at, pages)
		if (list_entry(at, struct list_page, link)->number == number)
			return list_entry(at, struct list_page, link)->at;
	return NULL;
}

/* Before any slot is known to be used: all pages are in g->room. */
bool list_redo(struct grant *g)
{
	struct grant_page *pages[GRANT_REDO], *first = g->first->at;
	uint64_t count = get(&first->armed), slot[GRANT_REDO], i;

	if (!count)
		return true;
	if (count > GRANT_REDO)
		return false;
	for (i = 0; i < count; i++) {
		slot[i] = get(&first->redo[i].slot);
		pages[i] = find_page(&g->room, slot[i] >> 8);
		if (!pages[i] || (slot[i] & 0xff) >= GRANT_SLOTS)
			return false;
	}
	for (i = 0; i < count; i++)
		set_entry(pages[i], (unsigned int)(slot[i] & 0xff), get(&first->redo[i].place),
			  get(&first->redo[i].run));
	put(&first->armed, 0);
	return true;
}
