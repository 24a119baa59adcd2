/*
 * Nodes of the extent tree: finding a path, changing entries, splitting, cutting. Private to meta/extent.c,
 * which knows what extents mean; here they are entries with keys.
 *
 * A node's entries are 16 bytes in leaves and above, so both are handled as struct disk_extent. Every tree
 * given to these functions has been verified (extent.c), or was made by this transaction.
 */
#ifndef META_EXTENT_TREE_H
#define META_EXTENT_TREE_H

#include <stdint.h>

#include "meta/extent.h"

/* The way from the root (step 0, in the inode) to a leaf (step `depth`), as the transaction sees the tree. */
struct extent_step {
	uint64_t	block;		/* of the node; 0: the root */
	unsigned int	count;		/* entries */
	int		pos;		/* last entry not after what was sought; -1 (leaf): none */
};

struct extent_path {
	struct tx		*tx;	/* NULL outside a transaction */
	struct inode		*ip;
	unsigned int		 depth;
	struct extent_step	 step[EXTENT_TREE_MAX_DEPTH + 1];
};

static inline struct extent_step *extent_path_leaf(struct extent_path *path)
{
	return &path->step[path->depth];
}

/* extent_path_find - the way to where `file_block` is or would be; path->tx and ->ip are set. */
void extent_path_find(struct extent_path *path, uint64_t file_block);

/* extent_path_extent - entry `pos` of the leaf. */
struct extent extent_path_extent(const struct extent_path *path, unsigned int pos);

/* extent_path_next_leaf - step to the leaf after, entry 0. False at the end; the path is void then. */
bool extent_path_next_leaf(struct extent_path *path);

/*
 * extent_tree_room - one step towards room for `extra` (1 or 2) more entries in the leaf that `file_block`
 * belongs to. 0: there is room. 1: the tree has changed, the path is found anew, ask again. -ENOSPC, -EFBIG,
 * -ENOMEM.
 */
int extent_tree_room(struct extent_path *path, uint64_t file_block, unsigned int extra);

/*
 * extent_tree_splice - replace `n_old` entries of the leaf from `at` on by `n_new` extents. There is room.
 * The path is void afterwards.
 */
int extent_tree_splice(struct extent_path *path, unsigned int at, unsigned int n_old, const struct extent *e,
		       unsigned int n_new);

/*
 * extent_tree_cut - take [from, to) out of the tree. No extent reaches over both ends. Shadows only nodes on
 * the paths to `from` and `to`; what lies between is read, freed, and never changed.
 */
int extent_tree_cut(struct tx *tx, struct inode *ip, uint64_t from, uint64_t to);

/* extent_free_data - give back blocks of a file's data in a transaction; counts them off core.blocks. */
int extent_free_data(struct tx *tx, struct inode *ip, uint64_t block, uint64_t count);

#endif
