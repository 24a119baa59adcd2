/*
 * What the passes share: the state of one check, and who fills which part of it.
 *
 *	pass_super	super, tail, overlay; claims the fixed area
 *	pass_inode	table, slots, dirs, dir_blocks; claims every block an inode refers to
 *	pass_space	names both owners of shared blocks; compares the free-map cache
 *	pass_dir	slots[].names, dirs[].found_parent and .subdirs
 *	pass_nlink	nothing: compares what the others counted
 *
 * A pass returns 0 to go on, CHECK_STOP after a fatal finding, or a negative errno. One thread, no locks.
 */
#ifndef CHECK_CHECK_PRIVATE_H
#define CHECK_CHECK_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/check.h"
#include "check/problem.h"
#include "format.h"
#include "meta/extent.h"
#include "meta/super.h"
#include "util/bitmap.h"

#define CHECK_STOP	1

struct overlay;
struct nameset;
struct space;

/* A run of the inode table's blocks. `rank`: blocks of the table mapped before it; it numbers the slots. */
struct table_run {
	uint64_t	file_block, block, count, rank;
};

enum slot_state {
	SLOT_FREE,
	SLOT_LIVE,
	SLOT_DAMAGED,		/* does not verify: neither live nor free; names may point to it */
};

struct check_slot {
	uint32_t	nlink;
	uint32_t	names;		/* entries that point here; stays at its maximum */
	uint8_t		type;		/* DT_* */
	uint8_t		state;		/* enum slot_state */
};

/* A live directory; in order of their numbers. */
struct check_dir {
	uint64_t	ino, generation;
	uint64_t	parent;		/* as the inode says */
	uint64_t	found_parent;	/* the directory that names it; 0: none */
	uint64_t	subdirs;
};

/* A block of a directory, in order of the directories and of their file blocks. */
struct check_dir_block {
	uint64_t	block, index;
	uint64_t	dir;		/* position in check.dirs */
};

/* A vector that grows by doubling; see check_vector_add(). */
struct check_vector {
	void		*items;
	uint64_t	 count, room;
};

struct check {
	const struct region	*region;
	const char		*path;
	check_fn		 fn;
	void			*arg;
	struct check_report	*report;
	struct err		*err;
	bool			 muted;		/* the second walk, which only looks for owners */

	struct super		 super;
	struct tail		 tail;
	struct overlay		*overlay;
	struct space		*space;
	struct nameset		*names;		/* scratch of one directory, or one inode's attributes */

	struct check_vector	 table;		/* struct table_run */
	uint64_t		 table_blocks;	/* mapped */
	uint64_t		 table_slots;	/* that the table's size covers, holes included */
	struct check_slot	*slots;		/* INODES_PER_BLOCK each mapped block, by rank */
	struct check_vector	 dirs;		/* struct check_dir */
	struct check_vector	 dir_blocks;	/* struct check_dir_block */

	char			*run_buf;	/* XATTR_RUN_MAX blocks: an attribute run under patches */
	char			 block_buf[2][BLOCK_SIZE];
	char			 node_buf[EXTENT_TREE_MAX_DEPTH][BLOCK_SIZE];
};

int pass_super(struct check *c);
int pass_inode(struct check *c);
int pass_space(struct check *c);
int pass_dir(struct check *c);
int pass_nlink(struct check *c);

/* ---- check.c ------------------------------------------------------------------------------------------- */

/* check_problem - report a finding, unless the check is muted. Returns CHECK_STOP for a fatal one, else 0. */
int check_problem(struct check *c, enum problem number, const struct problem_context *ctx);

/* check_nomem - fill in the error; returns -ENOMEM. */
int check_nomem(struct check *c);

/*
 * check_sealed - NULL, or what is wrong with the seal of an object of `len` bytes that lies at byte `off` of
 * the pool: "magic" or "crc". All sealed objects but the superblock begin with these two.
 */
const char *check_sealed(const struct check *c, const void *object, size_t len, uint64_t off, uint32_t magic);

/* check_calloc - calloc() that tests can make fail. */
void *check_calloc(uint64_t count, size_t size);

/* check_vector_add - room for one more item of `size` bytes, zeroed; NULL when out of memory. */
void *check_vector_add(struct check_vector *v, size_t size);

/* check_slot - the slot of `ino`, NULL if the table does not hold it. After pass_inode has read the table. */
struct check_slot *check_slot(struct check *c, uint64_t ino);

/* check_dir - the live directory `ino`, or NULL. */
struct check_dir *check_dir(struct check *c, uint64_t ino);

/* ---- overlay.c: the pool as it would be after replay --------------------------------------------------- */

struct overlay *overlay_new(const struct region *r);
void overlay_delete(struct overlay *ov);

/* overlay_patch - apply a patch of a record. -EUCLEAN if it is not inside one block of the pool; -ENOMEM. */
int overlay_patch(struct overlay *ov, uint64_t off, const void *data, uint32_t len);

/*
 * overlay_read - the bytes at [off, off + len), which lie inside the pool: in place where no patch touches
 * their blocks, else composed in `buf` (len bytes).
 */
const void *overlay_read(const struct overlay *ov, uint64_t off, uint64_t len, void *buf);

/* overlay_block - one block, composed in `buf` (BLOCK_SIZE) if need be. */
static inline const void *overlay_block(const struct overlay *ov, uint64_t block, void *buf)
{
	return overlay_read(ov, block << BLOCK_SHIFT, BLOCK_SIZE, buf);
}

/* ---- pass_space.c: who owns what ----------------------------------------------------------------------- */

enum owner_kind {
	OWNER_SUPER, OWNER_TAIL, OWNER_ITABLE_INODE, OWNER_JOURNAL, OWNER_BACKUP,	/* fixed; no inode */
	OWNER_ITABLE, OWNER_DATA, OWNER_DIR, OWNER_NODE, OWNER_XATTR,
};

struct owner {
	enum owner_kind	kind;
	uint64_t	ino;
};

/* space_new - nothing claimed but the fixed area. */
int space_new(struct check *c);
void space_delete(struct space *s);

/*
 * space_claim - these blocks, inside the pool, belong to `owner`. Returns how many of them, from the start,
 * belonged to nobody before and are now taken. Fewer than asked: the block after them is shared, which
 * pass_space will report with both owners, and the rest of the range is left alone. So a walk that descends
 * only into what it claimed ends.
 */
uint64_t space_claim(struct check *c, struct owner owner, uint64_t start, uint64_t count);

/* space_used - bitmap of claimed blocks; space_conflicts - shared blocks met: if 0, the bitmap is exact. */
const uint64_t *space_used(const struct check *c);
uint64_t space_conflicts(const struct check *c);

/* ---- extent_map.c: the extents of one inode ------------------------------------------------------------ */

struct map_walk {
	struct check	*c;
	struct owner	 owner;		/* of the data blocks */
	uint64_t	 generation;
	const char	*written_only;	/* NULL, or the word for what may have no unwritten extents */
	uint64_t	 end_max;	/* file block where extents end at most */
	/* each extent's claimed part, in file order; NULL: not wanted. Non-zero ends the walk. */
	int		(*extent)(struct map_walk *w, const struct extent *e);

	uint64_t	 next;		/* out: end of the last extent, 0: no extents */
	uint64_t	 blocks;	/* out: data and node blocks */
	bool		 damaged;	/* out: something was reported */
};

/* map_walk - check and claim all extents and nodes of a verified inode. 0 or what `extent` returned. */
int map_walk(struct map_walk *w, const struct disk_inode *d);

/* ---- pass_inode.c -------------------------------------------------------------------------------------- */

/* inode_claim_all - claim everything again as the pass did, in the same order; for pass_space. */
void inode_claim_all(struct check *c);

/* ---- inode_xattr.c ------------------------------------------------------------------------------------- */

/* xattr_claim - check the bounds of the inode's run and claim it. True if it may be read, or is not there. */
bool xattr_claim(struct check *c, uint64_t ino, const struct disk_inode *d);

/* xattr_check - the entries of a claimed run, and its ACLs. -ENOMEM. */
int xattr_check(struct check *c, uint64_t ino, const struct disk_inode *d);

/* ---- freemap_check.c ----------------------------------------------------------------------------------- */

struct freemap {
	const le64	*blocks, *inodes;	/* the two bitmaps */
	uint64_t	 inode_bits;
};

/* freemap_find - the cache that the tail names, verified. NULL, or what is wrong. The tail names one. */
const char *freemap_find(const struct check *c, struct freemap *map);

/* freemap_check - report a cache that does not verify, lies in used blocks, or is not what was derived. */
int freemap_check(struct check *c);

/* ---- nameset.c: has this name been seen? --------------------------------------------------------------- */

/* nameset_new - an empty set; NULL when out of memory. */
struct nameset *nameset_new(void);
void nameset_delete(struct nameset *set);
int nameset_clear(struct nameset *set);

/* A name of 1 to 255 bytes that lies at byte `off` of the pool; equal only within a namespace. */
struct set_name {
	const char	*name;
	uint64_t	 off;
	uint8_t		 len, ns;
};

/*
 * nameset_add - remember the name. 1: it was there already, 0: it was not, -ENOMEM. The set keeps places, not
 * bytes: it compares through the overlay.
 */
int nameset_add(struct nameset *set, const struct overlay *ov, const struct set_name *name);

#endif
