/*
 * A sparse array of 64-bit values by 64-bit index, where one value may cover an aligned range of indices: what the
 * kernel's xarray is to it with multi-index entries.
 *
 * Nine bits a level, so that the three sizes of folios (order 0, 9, 18) are slots of nodes on the three lowest levels:
 * a value of order 9 is one slot of a node whose other slots lead to nodes of 512 indices each.
 *
 * Indices are below RADIX_INDEX_MAX. Values are not zero and at most RADIX_VALUE_MAX: bits 0 to 61. An order is 0, 9 or
 * 18, and an index that comes with one is a multiple of 2^order. Whoever breaks that has a bug, and is stopped by an
 * assert.
 *
 * No locking: changes exclude everything else, the caller sees to it. Nothing here sleeps; only radix_store()
 * allocates.
 */
#ifndef DAX_RADIX_H
#define DAX_RADIX_H

#include <stdbool.h>
#include <stdint.h>

#define RADIX_INDEX_MAX	(1ULL << 54)
#define RADIX_VALUE_MAX	((1ULL << 62) - 1)
#define RADIX_BITS	9U
#define RADIX_ORDER_MAX	(2 * RADIX_BITS)	/* of a value */

struct radix_node;

struct radix {
	struct radix_node	*root;		/* NULL: no values */
	unsigned int		 top;		/* level of the root; a slot on level k covers 2^(9 * k) indices */
};

/* radix_init - no values, no memory. radix_destroy - frees all nodes; what is left is as after radix_init(). */
void radix_init(struct radix *r);
void radix_destroy(struct radix *r);

/* radix_empty - xa_empty(). */
static inline bool radix_empty(const struct radix *r)
{
	return !r->root;
}

/*
 * radix_find - the value that covers `index`, its order in *order (which may be NULL); 0: none. Any index is
 * allowed.
 */
uint64_t radix_find(const struct radix *r, uint64_t index, unsigned int *order);

/*
 * radix_store - make `value` cover 2^order indices from `index` on. Replacing a value of the same order at the same
 * index allocates nothing and cannot fail. -EEXIST: smaller values in the range, or a larger one that covers it, are in
 * the way;
 * -ENOMEM. Then nothing changed.
 */
int radix_store(struct radix *r, uint64_t index, unsigned int order, uint64_t value);

/*
 * radix_erase - take out the value that covers `index`, wherever in it that is, and free the nodes that became empty.
 * Returns the value, 0 if there was none.
 */
uint64_t radix_erase(struct radix *r, uint64_t index);

/*
 * radix_next - the first value at or after `index`, one that covers `index` being the first; 0: none. *found: its first
 * index, which is below `index` when it only covers that; *order. Both may be NULL. To go on, ask for *found +
 * 2^*order.
 */
uint64_t radix_next(const struct radix *r, uint64_t index, uint64_t *found, unsigned int *order);

#endif
