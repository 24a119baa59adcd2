/*
 * Directories: blocks of entries on media, an index in DRAM (hash of the name -> place of the entry) built at
 * first use and kept with the cached inode. A million entries: lookups touch one block, inserts find room in
 * O(log blocks).
 *
 * The caller holds the directory's lock by dir_lock_shared() to look, by dir_lock_exclusive() to change,
 * inside a transaction with the directory joined. Changes may follow one another in one transaction;
 * dir_lookup(), dir_fill() and dir_next() are for before them. A change that fails is undone by the abort,
 * index included. Names are `len` bytes, not terminated, 1 to NAME_MAX_LEN, without '/' or NUL: checked by
 * lib/fs.
 */
#ifndef META_DIR_H
#define META_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "meta/inode.h"
#include "meta/tx.h"

struct dir_entry {
	uint64_t	ino;
	uint8_t		type;		/* DT_* */
	uint8_t		name_len;
	char		name[NAME_MAX_LEN + 1];	/* terminated */
	uint64_t	cookie;		/* readdir: to go on after this entry */
};

/*
 * dir_lock_shared/exclusive - take ip->lock with the index built. -EUCLEAN if a block does not verify;
 * nothing is held then.
 */
int dir_lock_shared(struct inode *dir);
int dir_lock_exclusive(struct inode *dir);

/* dir_lookup - -ENOENT, or 0 with ino and type. */
int dir_lookup(struct inode *dir, const char *name, unsigned int len, uint64_t *ino, uint8_t *type);

/*
 * dir_add - -ENOMEM, -ENOSPC, -EFBIG when the directory is full (2^32 * DIR_ALIGN bytes). The caller knows
 * the name is not there.
 */
int dir_add(struct tx *tx, struct inode *dir, const char *name, unsigned int len, uint64_t ino, uint8_t type);

/*
 * dir_remove - never needs a block. A block whose last entry goes is given back (size shrinks when it was the
 * last).
 */
int dir_remove(struct tx *tx, struct inode *dir, const char *name, unsigned int len);

/*
 * dir_replace - the entry points to another inode: rename over an existing name, exchange. Never needs a
 * block.
 */
int dir_replace(struct tx *tx, struct inode *dir, const char *name, unsigned int len, uint64_t ino,
		uint8_t type);

bool dir_is_empty(struct inode *dir);
uint64_t dir_count(struct inode *dir);

/*
 * dir_fill - call fn for the entries at or after `cookie` (0: from the start), in the order of their cookies,
 * until it returns non-zero, which is returned; 0 at the end; -EUCLEAN. The entry is fn's to read until it
 * returns. To go on after an entry pass its `cookie`; linear in the directory's size however often the caller
 * goes on after a block's worth.
 *
 * Cookies are stable under all changes: an entry that was there all the time is seen exactly once. Cookies 1
 * and 2 are left to "." and "..". The caller holds the lock, shared is enough; outside of a transaction that
 * changed the directory.
 */
typedef int (*dir_fill_fn)(void *arg, const struct dir_entry *e);
int dir_fill(struct inode *dir, uint64_t cookie, dir_fill_fn fn, void *arg);

/* dir_next - the first entry at or after `cookie`: dir_fill() of one. 0, or -ENOENT at the end. */
int dir_next(struct inode *dir, uint64_t cookie, struct dir_entry *out);

/* dir_index_free - drop the index: the cache evicts the inode. */
void dir_index_free(struct inode *dir);

/* disk_dir_block_verify - NULL, or what is wrong; checks the chain of entries too. */
const char *disk_dir_block_verify(const struct super *sb, const struct disk_dir_block *b, uint64_t block,
				  uint64_t owner, uint64_t generation, uint64_t index);

#endif
