/*
 * For the checker's tests: a pool with one of everything, made once by lib/fs and kept as an image, and a
 * table of damages to a copy of it. A damage writes through plain pointers; it leaves the seal (crc) of the
 * object broken, or seals it again so that only its meaning is wrong.
 */
#ifndef UNIT_DAMAGE_H
#define UNIT_DAMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "fs/fs.h"
#include "pmem/region.h"

#define DAMAGE_POOL_BLOCKS	2048U
#define DAMAGE_POOL_SIZE	((uint64_t)DAMAGE_POOL_BLOCKS * BLOCK_SIZE)
#define DAMAGE_DIRECTORIES	4U
#define DAMAGE_FILES		68U		/* inodes that are not directories */

/* Inodes of the image. `many` has several blocks, `tree` one level of nodes. */
struct damage_inodes {
	uint64_t	dir, sub, many, file, other, tree, prealloc, short_link, long_link;
};

extern struct damage_inodes ino;
extern char *clean_image;		/* after a clean unmount */
extern struct region *region;		/* the copy that a test damages */

struct damage {
	void		(*damage)(void);
	const char	*finding;	/* that the checker must make */
};

extern const struct damage damages[];
extern const unsigned int damage_count;

void damage_make_image(void);		/* unchecked fixture */
void damage_setup(void);		/* checked fixture: a fresh copy */
void damage_teardown(void);

struct fs *mount_region(struct region *r);
uint64_t make_node(struct fs *fs, uint64_t parent, const char *name, mode_t mode);

/* Objects of the copy, found through the objects above them. */
struct disk_inode *table_inode(void);
struct disk_inode *slot(uint64_t n);
uint64_t first_block(uint64_t n);
struct disk_extent_node *leaf(unsigned int i);
struct disk_dir_block *dir_block(uint64_t n);
struct disk_xattr_run *run_of(uint64_t n);
struct disk_dirent *entry(uint64_t dir, const char *name);
struct disk_tail *tail_slot(void);		/* the one that holds */
struct disk_tail *other_tail_slot(void);

/* seal - make the crc of an object right; seal_record - of a record. flip - change one bit. */
void seal(void *object, size_t len);
void seal_record(struct disk_record *d);
void flip(void *byte);

void *block_at(uint64_t block);
uint64_t offset_of(const void *object);

#endif
