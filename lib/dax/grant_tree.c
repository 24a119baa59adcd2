/*
 * An ordered tree of nodes that live in the objects: a treap, that is a search tree by key which is a heap by a
 * priority as good as random. Depth is some 2.5 log2 n whatever the order of keys.
 *
 * Chosen for what grant lists ask of it: the neighbour below or above a key, nothing allocated when nodes come and go,
 * and insertion and removal in one way down that cannot fail. Priorities are mixed from key and address, which a client
 * that chooses its file offsets does not know.
 *
 * No locking: the grant's or the set's lock is held.
 */
#include "dax/grant_private.h"

/* The finalizer of splitmix64. */
static uint64_t mix(uint64_t n)
{
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ULL;
	n = (n ^ n >> 27) * 0x94d049bb133111ebULL;
	return n ^ n >> 31;
}

struct tree_node *tree_at_most(struct tree_node *root, uint64_t key)
{
	struct tree_node *best = NULL;

	while (root) {
		if (root->key <= key)
			best = root;
		root = root->kid[root->key <= key];
	}
	return best;
}

struct tree_node *tree_at_least(struct tree_node *root, uint64_t key)
{
	struct tree_node *best = NULL;

	while (root) {
		if (root->key >= key)
			best = root;
		root = root->kid[root->key < key];
	}
	return best;
}

struct tree_node *tree_find(struct tree_node *root, uint64_t key)
{
	while (root && root->key != key)
		root = root->kid[root->key < key];
	return root;
}

/* Split `root` at the node's key into the node's kids. */
static void split(struct tree_node *root, struct tree_node *node)
{
	struct tree_node **end[2] = { &node->kid[0], &node->kid[1] };

	while (root) {
		bool less = root->key < node->key;

		*end[!less] = root;
		end[!less] = &root->kid[less];
		root = root->kid[less];
	}
	*end[0] = *end[1] = NULL;
}

void tree_insert(struct tree_node **root, struct tree_node *node)
{
	node->priority = mix(node->key ^ mix((uint64_t)(uintptr_t)node));
	while (*root && (*root)->priority >= node->priority)
		root = &(*root)->kid[(*root)->key < node->key];
	split(*root, node);
	*root = node;
}

void tree_remove(struct tree_node **root, struct tree_node *node)
{
	struct tree_node *kid[2] = { node->kid[0], node->kid[1] };

	while (*root != node)
		root = &(*root)->kid[(*root)->key < node->key];

	/* Join the kids where the node was. */
	while (kid[0] && kid[1]) {
		unsigned int low = kid[0]->priority >= kid[1]->priority ? 0 : 1;

		*root = kid[low];
		root = &kid[low]->kid[!low];
		kid[low] = *root;
	}
	*root = kid[0] ? kid[0] : kid[1];
}

struct tree_node *tree_take(struct tree_node **root)
{
	struct tree_node *node = *root, *low;

	if (!node)
		return NULL;
	while (node->kid[0]) {
		low = node->kid[0];
		node->kid[0] = low->kid[1];
		low->kid[1] = node;
		node = low;
	}
	*root = node->kid[1];
	return node;
}
