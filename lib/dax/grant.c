/*
 * Grants and what is done with their lists: see grant.h.
 *
 * Owns the DRAM side: for each grant a tree of runs for each kind, ordered by area and index, every run knowing its
 * entry in shared memory; and a tree of the grants by id. What is asked is answered from there, shared memory is only
 * written (grant_list.c). Runs of a tree do not overlap, so that the last run that begins at or before the end of a
 * range tells whether anything lies in it.
 *
 * Every function takes the grant's lock for as long as it looks at a tree, and drops it before it calls back; loops go
 * on from a key, not from a run. A new run is in shared memory before it is in the tree, one that goes is out of both
 * before anybody is told.
 */
#include "dax/grant.h"

#include <errno.h>
#include <stdlib.h>

#include "dax/grant_private.h"
#include "dax/shm.h"
#include "util/fault.h"

static inline struct run *to_run(struct tree_node *node)
{
	return node ? container_of(node, struct run, node) : NULL;
}

static inline uint64_t last_of(const struct grant *g, const struct run *run)
{
	return run_last(g->set, run->node.key, run->word);
}

/* ---- Set and grants -------------------------------------------------------------------------------------- */

struct run *run_alloc(uint64_t key, uint64_t word)
{
	struct run *run = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*run));

	if (run) {
		run->node.key = key;
		run->word = word;
	}
	return run;
}

struct grant *grant_alloc(struct grant_set *set, const struct grant_owner *owner)
{
	struct grant *g = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->node.key = owner->id;
	g->set = set;
	g->owner = *owner;
	pthread_mutex_init(&g->lock, NULL);
	list_init(&g->room);
	list_init(&g->full);
	return g;
}

static void free_pages(struct list *pages)
{
	struct list *at, *next;

	list_for_each_safe(at, next, pages)
		free(list_entry(at, struct list_page, link));
}

void grant_free(struct grant *g)
{
	unsigned int kind;
	struct run *run;

	for (kind = 0; kind < GRANT_KINDS; kind++)
		while ((run = to_run(tree_take(&g->runs[kind]))))
			free(run);
	free_pages(&g->room);
	free_pages(&g->full);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

int grant_set_new(struct grant_set **out, struct dax_shm *shm, const int unit_order[DAX_SIZES], unsigned int *damaged)
{
	struct grant_set *set = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*set));
	unsigned int i;
	int ret;

	if (!set)
		return -ENOMEM;
	set->shm = shm;
	set->units = dax_shm_header(shm)->units;
	for (i = 0; i < DAX_SIZES; i++)
		set->order[i] = unit_order[i];
	pthread_mutex_init(&set->lock, NULL);
	set->hint = 1;
	set->used = bitmap_alloc(DAX_SHM_LISTS_MAX / GRANT_PAGE_SIZE);
	if (set->used)
		bitmap_set(set->used, 0);
	ret = set->used ? grant_adopt(set, damaged) : -ENOMEM;
	if (ret) {
		grant_set_delete(set);
		return ret;
	}
	*out = set;
	return 0;
}

void grant_set_delete(struct grant_set *set)
{
	struct tree_node *node;

	while ((node = tree_take(&set->grants)))
		grant_free(container_of(node, struct grant, node));
	free(set->used);
	pthread_mutex_destroy(&set->lock);
	free(set);
}

/* The id is looked for and taken under one lock, so that shared memory never has two lists of one id. */
int grant_new(struct grant_set *set, const struct grant_owner *owner, struct grant **out)
{
	struct grant *g = grant_alloc(set, owner);
	int ret;

	if (!g)
		return -ENOMEM;
	pthread_mutex_lock(&set->lock);
	ret = tree_find(set->grants, owner->id) ? -EEXIST : list_begin(g);
	if (!ret)
		tree_insert(&set->grants, &g->node);
	pthread_mutex_unlock(&set->lock);
	if (ret) {
		grant_free(g);
		return ret;
	}
	*out = g;
	return 0;
}

/* The list goes first: until then nobody else may have the id. */
int grant_delete(struct grant *g)
{
	struct grant_set *set = g->set;

	if (grant_refs(g))
		return -EBUSY;
	list_end(g);
	pthread_mutex_lock(&set->lock);
	tree_remove(&set->grants, &g->node);
	pthread_mutex_unlock(&set->lock);
	grant_free(g);
	return 0;
}

const struct grant_owner *grant_owner(const struct grant *g)
{
	return &g->owner;
}

struct grant *grant_find(struct grant_set *set, uint64_t id)
{
	struct tree_node *node;

	pthread_mutex_lock(&set->lock);
	node = tree_find(set->grants, id);
	pthread_mutex_unlock(&set->lock);
	return node ? container_of(node, struct grant, node) : NULL;
}

struct grant *grant_set_next(struct grant_set *set, struct grant *g)
{
	uint64_t from = g ? g->owner.id + 1 : 0;
	struct tree_node *node;

	if (g && !from)
		return NULL;
	pthread_mutex_lock(&set->lock);
	node = tree_at_least(set->grants, from);
	pthread_mutex_unlock(&set->lock);
	return node ? container_of(node, struct grant, node) : NULL;
}

/* ---- Adding ---------------------------------------------------------------------------------------------- */

bool grant_ref_possible(const struct grant_set *set, const struct grant_ref *ref)
{
	uint64_t span;

	if ((unsigned int)ref->kind >= GRANT_KINDS || (unsigned int)ref->size >= DAX_SIZES || set->order[ref->size] < 0)
		return false;
	if (!ref->count || ref->count > GRANT_COUNT_MAX || ref->area > GRANT_AREA_MAX)
		return false;
	span = ref->count << set->order[ref->size];
	return ref->index < GRANT_INDEX_MAX && span <= GRANT_INDEX_MAX - ref->index && ref->unit < set->units &&
	       span <= set->units - ref->unit;
}

/* Is the reference what would come next in the run, and does it fit? */
static bool continues(const struct grant *g, const struct run *run, const struct grant_ref *ref)
{
	struct grant_ref old = ref_of(run->node.key, run->word);
	uint64_t span = old.count << g->set->order[old.size];

	return old.area == ref->area && old.size == ref->size && old.index + span == ref->index &&
	       old.unit + span == ref->unit && old.count + ref->count <= GRANT_COUNT_MAX;
}

static int add_run(struct grant *g, enum grant_kind kind, uint64_t key, uint64_t word)
{
	struct run *run = run_alloc(key, word);
	int ret;

	if (!run)
		return -ENOMEM;
	ret = list_add(g, run);
	if (ret) {
		free(run);
		return ret;
	}
	tree_insert(&g->runs[kind], &run->node);
	return 0;
}

static int add_locked(struct grant *g, const struct grant_ref *ref)
{
	uint64_t key = key_of(ref->area, ref->index), word = run_word(ref->kind, ref->size, ref->unit, ref->count);
	struct run *below = to_run(tree_at_most(g->runs[ref->kind], run_last(g->set, key, word)));

	if (below && last_of(g, below) >= key)
		return -EEXIST;
	if (!below || !continues(g, below, ref))
		return add_run(g, ref->kind, key, word);
	list_change(below, below->word + (ref->count << RUN_COUNT_SHIFT));
	return 0;
}

int grant_add(struct grant *g, const struct grant_ref *ref)
{
	int ret;

	if (!grant_ref_possible(g->set, ref))
		return -EINVAL;
	pthread_mutex_lock(&g->lock);
	ret = add_locked(g, ref);
	if (!ret)
		atomic_fetch_add_explicit(&g->refs, ref->count, memory_order_relaxed);
	pthread_mutex_unlock(&g->lock);
	return ret;
}

/* ---- Removing -------------------------------------------------------------------------------------------- */

/* The run that `key` lies in, or the first after it. */
static struct run *run_at(const struct grant *g, enum grant_kind kind, uint64_t key)
{
	struct run *run = to_run(tree_at_most(g->runs[kind], key));

	if (run && last_of(g, run) >= key)
		return run;
	return to_run(tree_at_least(g->runs[kind], key));
}

static struct grant_ref part_of(const struct grant *g, const struct run *run, uint64_t from, uint64_t count)
{
	struct grant_ref ref = ref_of(run->node.key, run->word);

	ref.index += from << g->set->order[ref.size];
	ref.unit += from << g->set->order[ref.size];
	ref.count = count;
	return ref;
}

static uint64_t word_of(const struct grant_ref *ref)
{
	return run_word(ref->kind, ref->size, ref->unit, ref->count);
}

static void drop_run(struct grant *g, struct run *run)
{
	tree_remove(&g->runs[run_kind(run->word)], &run->node);
	list_remove(g, run);
	free(run);
}

/* Cut references [from, from + count) out of a run, which has more behind them. */
static int cut_front_or_middle(struct grant *g, struct run *run, uint64_t from, uint64_t count)
{
	struct grant_ref left = part_of(g, run, 0, from);
	struct grant_ref right = part_of(g, run, from + count, run_count(run->word) - from - count);
	uint64_t key = key_of(right.area, right.index);
	struct run *new;
	int ret;

	if (!from) {
		list_move(g, run, key, word_of(&right));
		return 0;
	}
	new = run_alloc(key, word_of(&right));
	if (!new)
		return -ENOMEM;
	ret = list_split(g, run, word_of(&left), new);
	if (ret) {
		free(new);
		return ret;
	}
	tree_insert(&g->runs[left.kind], &new->node);
	return 0;
}

static int cut(struct grant *g, struct run *run, uint64_t from, uint64_t count)
{
	struct grant_ref left;

	if (from + count < run_count(run->word))
		return cut_front_or_middle(g, run, from, count);
	if (!from) {
		drop_run(g, run);
		return 0;
	}
	left = part_of(g, run, 0, from);
	list_change(run, word_of(&left));
	return 0;
}

/*
 * Take out the first piece in [key, last], of `max` references at most; *piece is what went. 1, 0 if there is nothing,
 * or an error.
 */
static int take_piece(struct grant *g, enum grant_kind kind, uint64_t key, uint64_t last, uint64_t max,
		      struct grant_ref *piece)
{
	struct run *run = run_at(g, kind, key);
	uint64_t from = 0, to;
	int order, ret;

	if (!run || run->node.key > last)
		return 0;
	order = g->set->order[run_size(run->word)];
	if (run->node.key < key)
		from = (key - run->node.key) >> order;
	to = run_count(run->word);
	if (last_of(g, run) > last)
		to = ((last - run->node.key) >> order) + 1;
	if (to - from > max)
		to = from + max;
	*piece = part_of(g, run, from, to - from);
	ret = cut(g, run, from, to - from);
	if (ret)
		return ret;
	atomic_fetch_sub_explicit(&g->refs, to - from, memory_order_relaxed);
	return 1;
}

int64_t grant_remove(struct grant *g, enum grant_kind kind, uint32_t area, uint64_t index, uint64_t count, uint64_t max,
		     grant_fn fn, void *arg)
{
	uint64_t key, last, removed = 0;
	struct grant_ref piece;
	int ret;

	if ((unsigned int)kind >= GRANT_KINDS || area > GRANT_AREA_MAX || index >= GRANT_INDEX_MAX || !count)
		return 0;
	if (count > GRANT_INDEX_MAX - index)
		count = GRANT_INDEX_MAX - index;
	if (!max)
		max = UINT64_MAX;
	key = key_of(area, index);
	last = key + count - 1;
	do {
		pthread_mutex_lock(&g->lock);
		ret = take_piece(g, kind, key, last, max - removed, &piece);
		pthread_mutex_unlock(&g->lock);
		if (ret <= 0)
			break;
		removed += piece.count;
		if (fn)
			fn(arg, &piece);
		key = run_last(g->set, key_of(area, piece.index), word_of(&piece));
	} while (removed < max && key++ < last);
	return ret < 0 && !removed ? ret : (int64_t)removed;
}

/* ---- Looking --------------------------------------------------------------------------------------------- */

bool grant_find_ref(struct grant *g, enum grant_kind kind, uint32_t area, uint64_t index, struct grant_ref *ref)
{
	uint64_t key;
	struct run *run;
	bool found;

	if ((unsigned int)kind >= GRANT_KINDS || area > GRANT_AREA_MAX || index >= GRANT_INDEX_MAX)
		return false;
	key = key_of(area, index);
	pthread_mutex_lock(&g->lock);
	run = to_run(tree_at_most(g->runs[kind], key));
	found = run && last_of(g, run) >= key;
	if (found)
		*ref = part_of(g, run, (key - run->node.key) >> g->set->order[run_size(run->word)], 1);
	pthread_mutex_unlock(&g->lock);
	return found;
}

/* What there is of a run from `key` on: it may have grown since its beginning was seen. */
static struct grant_ref rest_of(const struct grant *g, const struct run *run, uint64_t key)
{
	uint64_t from = 0;

	if (run->node.key < key)
		from = (key - run->node.key) >> g->set->order[run_size(run->word)];
	return part_of(g, run, from, run_count(run->word) - from);
}

static void walk_kind(struct grant *g, enum grant_kind kind, grant_fn fn, void *arg)
{
	uint64_t key = 0;
	struct grant_ref ref;
	struct run *run;

	do {
		pthread_mutex_lock(&g->lock);
		run = run_at(g, kind, key);
		if (run)
			ref = rest_of(g, run, key);
		pthread_mutex_unlock(&g->lock);
		if (!run)
			break;
		fn(arg, &ref);
		key = run_last(g->set, key_of(ref.area, ref.index), word_of(&ref));
	} while (key++ != UINT64_MAX);
}

void grant_walk(struct grant *g, grant_fn fn, void *arg)
{
	walk_kind(g, GRANT_MAP, fn, arg);
	walk_kind(g, GRANT_PIN, fn, arg);
	walk_kind(g, GRANT_LAYOUT, fn, arg);
}

uint64_t grant_refs(const struct grant *g)
{
	return atomic_load_explicit(&g->refs, memory_order_relaxed);
}
