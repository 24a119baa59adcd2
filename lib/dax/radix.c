/*
 * Sparse array with values of three orders: see radix.h.
 *
 * A tree of nodes of 512 words. The root's level grows with the largest index that was stored and falls back when the
 * array becomes empty; nodes on the way that hold nothing do not exist. A word of a node is
 *
 *	0			nothing in the 2^(9 * level) indices it covers
 *	bit 63 clear		address of a node one level down (user addresses have the bit clear), which is not empty
 *	bit 63 set		a value, in bits 0 to 61, that covers all these indices
 *
 * so a value of order 9 * k is a word on level k, and what lies in an aligned range of 512^k indices is known from one
 * word. Nodes count their words that are not zero and are freed with the last of them. radix_store() makes nodes from
 * the root down; when memory ends on the way, the new ones are empty and go again.
 *
 * Relies on calloc(), through fault(FAULT_ALLOC).
 */
#include "dax/radix.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "util/fault.h"

#define SLOTS	(1U << RADIX_BITS)
#define LEVELS	6U			/* 54 bits */
#define VALUE	(1ULL << 63)

struct radix_node {
	uint64_t	slot[SLOTS];
	unsigned int	used;		/* slots that are not zero */
};

/* The words that lead to an index: nodes[level] for level from r->top down to where the walk ended. */
struct path {
	struct radix_node	*nodes[LEVELS];
};

static inline bool is_value(uint64_t word)
{
	return word & VALUE;
}

static inline struct radix_node *to_node(uint64_t word)
{
	return (struct radix_node *)(uintptr_t)word;
}

static inline uint64_t from_node(struct radix_node *node)
{
	return (uint64_t)(uintptr_t)node;
}

static inline unsigned int shift_of(unsigned int level)
{
	return RADIX_BITS * level;
}

static inline uint64_t *slot_of(struct radix_node *node, unsigned int level, uint64_t index)
{
	return &node->slot[index >> shift_of(level) & (SLOTS - 1)];
}

/* Does `index` lie in what the root covers now? */
static inline bool in_tree(const struct radix *r, uint64_t index)
{
	return r->root && index >> shift_of(r->top) < SLOTS;
}

void radix_init(struct radix *r)
{
	*r = (struct radix){ 0 };
}

static void free_nodes(struct radix_node *node, unsigned int level)
{
	unsigned int i;

	for (i = 0; level && i < SLOTS; i++)
		if (node->slot[i] && !is_value(node->slot[i]))
			free_nodes(to_node(node->slot[i]), level - 1);
	free(node);
}

void radix_destroy(struct radix *r)
{
	if (r->root)
		free_nodes(r->root, r->top);
	radix_init(r);
}

/*
 * Walk towards `index` until a word that leads no further down, at level `least` at the lowest. Returns where it is;
 * NULL when the tree does not reach so far, or not so low.
 */
static uint64_t *walk(const struct radix *r, uint64_t index, unsigned int least, struct path *path,
		      unsigned int *level)
{
	struct radix_node *node = r->root;
	unsigned int l = r->top;
	uint64_t *slot;

	if (!in_tree(r, index) || l < least)
		return NULL;
	for (;; l--) {
		path->nodes[l] = node;
		slot = slot_of(node, l, index);
		if (l == least || !*slot || is_value(*slot))
			break;
		node = to_node(*slot);
	}
	*level = l;
	return slot;
}

uint64_t radix_find(const struct radix *r, uint64_t index, unsigned int *order)
{
	unsigned int level;
	struct path path;
	uint64_t *slot = walk(r, index, 0, &path, &level);

	if (!slot || !*slot)
		return 0;
	if (order)
		*order = shift_of(level);
	return *slot & ~VALUE;
}

static struct radix_node *new_node(void)
{
	return fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(struct radix_node));
}

/* Free the empty nodes of the path from `level` up; the word that led to each becomes 0. */
static void prune(struct radix *r, struct path *path, unsigned int level, uint64_t index)
{
	for (; !path->nodes[level]->used; level++) {
		free(path->nodes[level]);
		if (level == r->top) {
			radix_init(r);
			return;
		}
		*slot_of(path->nodes[level + 1], level + 1, index) = 0;
		path->nodes[level + 1]->used--;
	}
}

/* Put roots on top until `index`, on `level`, can be in the tree. */
static int grow(struct radix *r, uint64_t index, unsigned int level)
{
	struct radix_node *node;

	while (!in_tree(r, index) || r->top < level) {
		node = new_node();
		if (!node)
			return -ENOMEM;
		if (r->root) {
			node->slot[0] = from_node(r->root);
			node->used = 1;
			r->top++;
		} else {
			for (r->top = level; index >> shift_of(r->top) >= SLOTS; r->top++)
				;
		}
		r->root = node;
	}
	return 0;
}

/*
 * Take back roots that grow() put on in vain, if the store then failed: those that only lead to the one below. That
 * it takes roots off that were of use once does no harm.
 */
static void shrink(struct radix *r)
{
	struct radix_node *root = r->root;

	while (root && r->top && root->used == 1 && root->slot[0] && !is_value(root->slot[0])) {
		r->root = to_node(root->slot[0]);
		r->top--;
		free(root);
		root = r->root;
	}
}

/* Make the nodes from `slot` on `level` down to `least`; returns the word there. NULL: out of memory, none made. */
static uint64_t *extend(struct radix *r, struct path *path, uint64_t *slot, unsigned int level, unsigned int least,
			uint64_t index)
{
	struct radix_node *node;

	for (; level > least; level--) {
		node = new_node();
		if (!node) {
			prune(r, path, level, index);
			return NULL;
		}
		*slot = from_node(node);
		path->nodes[level]->used++;
		path->nodes[level - 1] = node;
		slot = slot_of(node, level - 1, index);
	}
	return slot;
}

int radix_store(struct radix *r, uint64_t index, unsigned int order, uint64_t value)
{
	unsigned int least = order / RADIX_BITS, level;
	struct path path;
	uint64_t *slot;

	assert(order % RADIX_BITS == 0 && order <= RADIX_ORDER_MAX);
	assert(index < RADIX_INDEX_MAX && index % (1ULL << order) == 0);
	assert(value && value <= RADIX_VALUE_MAX);
	slot = grow(r, index, least) ? NULL : walk(r, index, least, &path, &level);
	if (slot && *slot && (level > least || !is_value(*slot))) {
		shrink(r);
		return -EEXIST;
	}
	if (slot)
		slot = extend(r, &path, slot, level, least, index);
	if (!slot) {
		shrink(r);
		return -ENOMEM;
	}
	if (!*slot)
		path.nodes[least]->used++;
	*slot = value | VALUE;
	return 0;
}

uint64_t radix_erase(struct radix *r, uint64_t index)
{
	unsigned int level;
	struct path path;
	uint64_t *slot = walk(r, index, 0, &path, &level);
	uint64_t value;

	if (!slot || !*slot)
		return 0;
	value = *slot & ~VALUE;
	*slot = 0;
	path.nodes[level]->used--;
	prune(r, &path, level, index);
	return value;
}

/* First value in `node`, at or after `index`, which lies in what the node covers; what it covers starts at `base`. */
static uint64_t next_in(struct radix_node *node, unsigned int level, uint64_t base, uint64_t index, uint64_t *found,
			unsigned int *order)
{
	uint64_t i = index >> shift_of(level) & (SLOTS - 1), value;

	for (; i < SLOTS; i++, index = base + (i << shift_of(level))) {
		uint64_t word = node->slot[i], start = base + (i << shift_of(level));

		if (!word)
			continue;
		if (!is_value(word)) {
			value = next_in(to_node(word), level - 1, start, index, found, order);
			if (value)
				return value;
			continue;
		}
		if (found)
			*found = start;
		if (order)
			*order = shift_of(level);
		return word & ~VALUE;
	}
	return 0;
}

uint64_t radix_next(const struct radix *r, uint64_t index, uint64_t *found, unsigned int *order)
{
	if (!in_tree(r, index))
		return 0;
	return next_in(r->root, r->top, 0, index, found, order);
}
