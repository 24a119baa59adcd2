/*
 * Lists that an earlier daemon left in shared memory.
 *
 * Relies on the order of stores in grant_list.c and on nothing else: first pages make grants, other pages go to the
 * grant that their own words name, redo words that are armed are applied, and then every entry is checked as a new one
 * would be. A grant is adopted whole or not at all: what holds references we do not know of must not pass for one whose
 * list is complete. So a list that has fewer pages than its first page counts, or an entry that cannot be, is dropped,
 * and so is a page whose grant is not there; the owner of the set learns of it by the number of pages, and by a lock
 * byte without a grant.
 *
 * Memory running out ends it: what is adopted by then is freed in DRAM and still in shared memory.
 */
#include <errno.h>

#include "dax/grant_private.h"
#include "dax/shm.h"

static struct grant *by_id(struct grant_set *set, uint64_t id)
{
	struct tree_node *node = tree_find(set->grants, id);

	return node ? container_of(node, struct grant, node) : NULL;
}

static bool same_owner(const struct grant_owner *a, const struct grant_owner *b)
{
	unsigned int i;

	for (i = 0; i < sizeof(a->token); i++)
		if (a->token[i] != b->token[i])
			return false;
	return a->id == b->id && a->ino == b->ino && a->generation == b->generation && a->pid == b->pid &&
	       a->uid == b->uid;
}

static void drop_page(struct grant_set *set, uint64_t number, unsigned int *damaged)
{
	list_wipe(set, number);
	++*damaged;
}

static int adopt_first(struct grant_set *set, uint64_t number, const struct grant_header *h, unsigned int *damaged)
{
	struct grant *g = by_id(set, h->owner.id);

	/* Which of two is the right one cannot be known. */
	if (g) {
		g->bad = true;
		drop_page(set, number, damaged);
		return 0;
	}
	g = grant_alloc(set, &h->owner);
	if (!g)
		return -ENOMEM;
	tree_insert(&set->grants, &g->node);
	g->first = list_attach(g, number);
	if (!g->first)
		return -ENOMEM;
	bitmap_set(set->used, number);
	return 0;
}

static int adopt_more(struct grant_set *set, uint64_t number, const struct grant_header *h, unsigned int *damaged)
{
	struct grant *g = by_id(set, h->owner.id);

	if (!g || g->first->number != h->first || !same_owner(&g->owner, &h->owner)) {
		drop_page(set, number, damaged);
		return 0;
	}
	if (!list_attach(g, number))
		return -ENOMEM;
	bitmap_set(set->used, number);
	return 0;
}

/* One pass over the pages: for the first pages, or for the others. */
static int adopt_pages(struct grant_set *set, unsigned int kind, unsigned int *damaged)
{
	uint64_t pages = dax_shm_lists_size(set->shm) / GRANT_PAGE_SIZE, n;
	struct grant_header h;
	int ret = 0;

	for (n = 1; n < pages && !ret; n++) {
		if (!get(&list_page_at(set, n)->check))
			continue;
		if (!grant_page_read(list_page_at(set, n), n, &h))
			drop_page(set, n, damaged);
		else if (h.kind == kind && kind == GRANT_PAGE_FIRST)
			ret = adopt_first(set, n, &h, damaged);
		else if (h.kind == kind)
			ret = adopt_more(set, n, &h, damaged);
	}
	return ret;
}

static int adopt_entry(struct grant *g, struct list_page *page, unsigned int slot)
{
	uint64_t word = get(&page->at->entry[slot].run), key = place_key(get(&page->at->entry[slot].place));
	struct grant_ref ref = ref_of(key, word);
	struct tree_node *below;
	struct run *run;

	if (!run_well_formed(word) || !grant_ref_possible(g->set, &ref))
		return -EUCLEAN;
	below = tree_at_most(g->runs[ref.kind], run_last(g->set, key, word));
	if (below && run_last(g->set, below->key, container_of(below, struct run, node)->word) >= key)
		return -EUCLEAN;
	run = run_alloc(key, word);
	if (!run)
		return -ENOMEM;
	run->page = page;
	run->slot = slot;
	tree_insert(&g->runs[ref.kind], &run->node);
	atomic_fetch_add_explicit(&g->refs, ref.count, memory_order_relaxed);
	list_used(g, page, slot);
	return 0;
}

static int adopt_entries(struct grant *g)
{
	struct list *at, *next;
	unsigned int slot;
	int ret;

	if (g->bad || g->pages < get(&g->first->at->pages) || !list_redo(g))
		return -EUCLEAN;
	list_for_each_safe(at, next, &g->room) {
		struct list_page *page = list_entry(at, struct list_page, link);

		for (slot = 0; slot < GRANT_SLOTS; slot++) {
			if (!get(&page->at->entry[slot].run))
				continue;
			ret = adopt_entry(g, page, slot);
			if (ret)
				return ret;
		}
	}
	list_trim(g);
	return 0;
}

static void drop_pages(struct grant *g, const struct list *pages, unsigned int *damaged)
{
	struct list *at;

	list_for_each(at, pages) {
		uint64_t number = list_entry(at, struct list_page, link)->number;

		drop_page(g->set, number, damaged);
		bitmap_clear(g->set->used, number);
	}
}

static void drop_grant(struct grant *g, unsigned int *damaged)
{
	drop_pages(g, &g->full, damaged);
	drop_pages(g, &g->room, damaged);
	tree_remove(&g->set->grants, &g->node);
	grant_free(g);
}

/* An area of another version, or none: nothing in it can be told. */
static void drop_area(struct grant_set *set, unsigned int *damaged)
{
	uint64_t pages = dax_shm_lists_size(set->shm) / GRANT_PAGE_SIZE, n;

	for (n = 1; n < pages; n++)
		if (get(&list_page_at(set, n)->check))
			drop_page(set, n, damaged);
	if (get(&list_page_at(set, 0)->check))
		++*damaged;
	put(&list_page_at(set, 0)->check, GRANT_AREA_MAGIC);
}

int grant_adopt(struct grant_set *set, unsigned int *damaged)
{
	struct tree_node *node;
	int ret;

	*damaged = 0;
	if (!dax_shm_lists_size(set->shm))
		return 0;
	if (get(&list_page_at(set, 0)->check) != GRANT_AREA_MAGIC)
		drop_area(set, damaged);
	ret = adopt_pages(set, GRANT_PAGE_FIRST, damaged);
	if (!ret)
		ret = adopt_pages(set, GRANT_PAGE_MORE, damaged);
	for (node = tree_at_least(set->grants, 0); node && !ret;) {
		struct grant *g = container_of(node, struct grant, node);
		uint64_t id = node->key;

		ret = adopt_entries(g);
		if (ret == -EUCLEAN) {
			drop_grant(g, damaged);
			ret = 0;
		}
		node = id == UINT64_MAX ? NULL : tree_at_least(set->grants, id + 1);
	}
	return ret;
}
