/*
 * The extent map of one inode: up to INODE_EXTENTS in the inode, then a tree of nodes (format.h).
 *
 * All calls that change need a transaction with the inode joined; all need the inode's lock, exclusive for
 * changes, shared for lookups (pass tx = NULL then). Block numbers are in units of BLOCK_SIZE. core.blocks is
 * kept here, for data and nodes alike: nobody else counts them. The file blocks of directories and of the
 * inode table are metadata, which records name: they are given back by the revoke rule (tx_free_meta), others
 * by tx_free_data.
 */
#ifndef META_EXTENT_H
#define META_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "meta/inode.h"
#include "meta/tx.h"

struct extent {
	uint64_t	file_block;
	uint64_t	block;		/* pool block; 0 in a hole */
	uint64_t	count;		/* blocks */
	bool		unwritten;
};

/* The only readers and writers of the packed form. count must be 1 .. EXTENT_MAX_LEN in a packed extent. */
struct disk_extent extent_pack(const struct extent *e);
struct extent extent_unpack(struct disk_extent d);

/*
 * extent_lookup - what is at `file_block`: the extent that holds it (whole, also what lies before
 * file_block), or a hole (block 0) from file_block to the next extent, or to EXTENT_FILE_BLOCK_MAX + 1 when
 * there is none. file_block is EXTENT_FILE_BLOCK_MAX at most. Returns 0, or -EUCLEAN when a node does not
 * verify.
 */
int extent_lookup(struct tx *tx, struct inode *ip, uint64_t file_block, struct extent *out);

/*
 * extent_insert - map a range that is a hole; merges with neighbours of the same kind that are contiguous in
 * both spaces (in one node). May allocate nodes. count may exceed EXTENT_MAX_LEN: then several are made.
 * -ENOSPC, -EFBIG (tree too deep): nothing was changed that the abort does not undo.
 */
int extent_insert(struct tx *tx, struct inode *ip, const struct extent *e);

/*
 * extent_remove - make [file_block, +count) a hole: frees data blocks and emptied nodes in the transaction.
 * Only nodes on the two paths to the ends of the range come into the record, so to cut to
 * EXTENT_FILE_BLOCK_MAX changes one path. A hole inside one extent may need a node: -ENOSPC, unless the
 * transaction may take the reserve.
 */
int extent_remove(struct tx *tx, struct inode *ip, uint64_t file_block, uint64_t count);

/*
 * extent_set_written - mark the unwritten parts of [file_block, +count) written, or (written = false) the
 * written parts unwritten. Splits and merges as needed. Holes inside are skipped. Every node that holds such
 * a part changes: over many extents that is more than a record takes.
 */
int extent_set_written(struct tx *tx, struct inode *ip, uint64_t file_block, uint64_t count, bool written);

/*
 * extent_free_all - give all data and node blocks back in DRAM at once: last put of an unlinked inode. No
 * transaction, no change on media. Node blocks go by the revoke rule. What comes after a node that does not
 * verify, or a block that is free already, stays taken until the next mount, which scans (logged).
 */
void extent_free_all(struct inode *ip);

/* As extent_free_all, but the blocks are metadata themselves (directories): all by the revoke rule. */
void extent_free_all_meta(struct inode *ip);

/*
 * extent_walk - call fn for each extent and each node block, in file order, a node after all that is below
 * it; non-zero return ends the walk and is returned. `node` is a pool block for nodes (e is NULL then).
 * Verifies every node: -EUCLEAN (after a log line).
 */
typedef int (*extent_fn)(void *arg, const struct extent *e, uint64_t node);
int extent_walk(struct inode *ip, extent_fn fn, void *arg);

/*
 * disk_extents_verify, disk_extent_index_verify - `count` entries of a node or an inode: lengths, order,
 * bounds. NULL, or what is wrong.
 */
const char *disk_extents_verify(const struct super *sb, const struct disk_extent *e, unsigned int count);
const char *disk_extent_index_verify(const struct super *sb, const struct disk_extent_index *e,
				     unsigned int count);

/* disk_extent_node_verify - NULL, or what is wrong. `level` is the one expected. Entries included. */
const char *disk_extent_node_verify(const struct super *sb, const struct disk_extent_node *node,
				    uint64_t block, uint64_t owner, uint64_t generation, unsigned int level);

#endif
