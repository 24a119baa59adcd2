/*
 * What is kept in DRAM of one directory: a table from the hash of a name to the place of its entry, and for
 * each block the longest entry that fits. Knows nothing of media. Used by meta/dir.c only.
 *
 * All calls are under the directory's lock: those that take a const index shared, the others exclusive.
 */
#ifndef META_DIRINDEX_H
#define META_DIRINDEX_H

#include <stdint.h>

struct dir_index;

/* dirindex_hash - of a name, with a seed drawn once a process: nobody can prepare names that collide. */
uint32_t dirindex_hash(const char *name, unsigned int len);

/* dirindex_new - empty. NULL: out of memory. dirindex_delete - NULL is allowed. */
struct dir_index *dirindex_new(void);
void dirindex_delete(struct dir_index *idx);

/*
 * dirindex_reserve - room for one more entry, and for gaps of `blocks` blocks: the calls below then cannot
 * fail, nor can undoing them. -ENOMEM.
 */
int dirindex_reserve(struct dir_index *idx, uint64_t blocks);

/*
 * A place is the entry's byte offset in the directory / DIR_ALIGN; never 0, where the first block's header
 * lies.
 */
void dirindex_insert(struct dir_index *idx, uint32_t hash, uint32_t place);
void dirindex_remove(struct dir_index *idx, uint32_t hash, uint32_t place);
uint64_t dirindex_count(const struct dir_index *idx);

/*
 * dirindex_probe - the next place with this hash, 0 when there is no more. Start with DIRINDEX_PROBE(hash).
 */
struct dirindex_probe {
	uint32_t	hash;
	uint64_t	step;
};

#define DIRINDEX_PROBE(h)	((struct dirindex_probe){ .hash = (h) })

uint32_t dirindex_probe(const struct dir_index *idx, struct dirindex_probe *probe);

/*
 * The gap of a block is the length of its longest free record; DIRINDEX_HOLE for a block that is not there,
 * below every length a record can have. Blocks never spoken of have gap 0.
 */
#define DIRINDEX_HOLE		1U
#define DIRINDEX_NONE		UINT64_MAX

void dirindex_set_gap(struct dir_index *idx, uint64_t block, uint16_t gap);
uint16_t dirindex_gap(const struct dir_index *idx, uint64_t block);

/*
 * dirindex_find_gap - the first block with a gap of `need` or more (need > DIRINDEX_HOLE), else
 * DIRINDEX_NONE.
 */
uint64_t dirindex_find_gap(const struct dir_index *idx, uint16_t need);

/* dirindex_find_hole - the first hole below `blocks`, else `blocks`. */
uint64_t dirindex_find_hole(struct dir_index *idx, uint64_t blocks);

/* dirindex_bytes - DRAM in use. */
uint64_t dirindex_bytes(const struct dir_index *idx);

#endif
