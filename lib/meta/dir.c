/*
 * Directories: finding, adding, removing and listing names.
 *
 * On media a directory is a file of blocks (format.h), each a chain of records that fills it. A record is an
 * entry or free space, never both: an entry takes the front of a free record, the rest stays a free record
 * (or, if too short for one, slack at the entry's end). A removed entry becomes free space and merges with
 * free neighbours in its block; no live entry ever moves, so its offset is its readdir cookie.
 *
 * In DRAM each directory in use has an index (meta/dirindex.h): from the hash of a name to the place of its
 * entry, and where there is room. It is built at first use from all blocks, and every block is verified then;
 * later reads trust them. It follows each change at once, under the exclusive lock, and an abort takes the
 * change back (dir_undo).
 *
 * Crash safety: a changed block is a shadow of the transaction and reaches the media by its record; a new
 * block is stored whole before the record that maps it. A block whose last entry goes is unmapped and comes
 * back by the revoke rule (meta/extent.c knows directories). Blocks are given back anywhere, so a directory
 * may have holes, never at its end: its size is the highest mapped block + 1.
 *
 * Everything here reads blocks by tx_read() inside a transaction, so that several changes of one block may
 * follow one another. Times and link counts are lib/fs's.
 */
#include "meta/dir.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/dirindex.h"
#include "meta/extent.h"
#include "util/crc32c.h"
#include "util/fault.h"
#include "util/log.h"

#define DIR_BLOCKS_MAX	((uint64_t)DIR_ALIGN << (32 - BLOCK_SHIFT))	/* places are 32 bits */
#define DIRENT_MIN	DIRENT_LEN(1)					/* the shortest record */
#define ENTRIES_OFF	offsetof(struct disk_dir_block, entries)
#define CRC_OFF		offsetof(struct disk_dir_block, crc)

/* Where an entry lies. */
struct dir_place {
	uint32_t	hash, place;	/* as the index has it */
	uint64_t	file_block;
	uint64_t	block;		/* pool block */
	unsigned int	off;		/* byte in the block */
};

/* ---- One block: the chain of records ------------------------------------------------------------------- */

static struct disk_dirent *record_at(struct disk_dir_block *b, unsigned int off)
{
	return (struct disk_dirent *)((char *)b + off);
}

static const struct disk_dirent *record_read(const struct disk_dir_block *b, unsigned int off)
{
	return (const struct disk_dirent *)((const char *)b + off);
}

static unsigned int record_len(const struct disk_dirent *d)
{
	return le16_to_cpu(d->rec_len);
}

static bool record_free(const struct disk_dirent *d)
{
	return le64_to_cpu(d->ino) == 0;
}

static void record_make_free(struct disk_dirent *d, unsigned int len)
{
	d->ino = cpu_to_le64(0);
	d->rec_len = cpu_to_le16(len);
	d->name_len = 0;
	d->type = 0;
}

static uint32_t block_crc(const struct super *sb, const struct disk_dir_block *b, uint64_t block)
{
	return crc32c_object(format_seed(sb, block << BLOCK_SHIFT), b, BLOCK_SIZE, CRC_OFF);
}

static void block_seal(const struct pool *p, void *shadow, uint64_t off, void *arg)
{
	struct disk_dir_block *b = shadow;

	(void)arg;
	b->crc = cpu_to_le32(block_crc(&p->super, b, off >> BLOCK_SHIFT));
}

static void block_init(struct disk_dir_block *b, const struct inode *dir, uint64_t file_block)
{
	b->magic = cpu_to_le32(DIR_MAGIC);
	b->owner = cpu_to_le64(dir->ino);
	b->generation = cpu_to_le64(dir->core.generation);
	b->index = cpu_to_le64(file_block);
	record_make_free(record_at(b, ENTRIES_OFF), BLOCK_SIZE - ENTRIES_OFF);
}

/* Length of the longest free record: what the index keeps of the block. */
static unsigned int block_gap(const struct disk_dir_block *b)
{
	unsigned int gap = 0;

	for (unsigned int off = ENTRIES_OFF; off < BLOCK_SIZE; off += record_len(record_read(b, off))) {
		const struct disk_dirent *d = record_read(b, off);

		if (record_free(d) && record_len(d) > gap)
			gap = record_len(d);
	}
	return gap;
}

/* True if the entry at `only` is all there is in the block. */
static bool block_holds_only(const struct disk_dir_block *b, unsigned int only)
{
	for (unsigned int off = ENTRIES_OFF; off < BLOCK_SIZE; off += record_len(record_read(b, off)))
		if (off != only && !record_free(record_read(b, off)))
			return false;
	return true;
}

/* Take `need` bytes of the first free record that has them; there is one. Returns their offset. */
static unsigned int block_take(struct disk_dir_block *b, unsigned int need)
{
	unsigned int off = ENTRIES_OFF, len;

	while (!record_free(record_at(b, off)) || record_len(record_at(b, off)) < need) {
		off += record_len(record_at(b, off));
		assert(off < BLOCK_SIZE);
	}
	len = record_len(record_at(b, off));
	if (len - need >= DIRENT_MIN) {
		record_make_free(record_at(b, off + need), len - need);
		record_at(b, off)->rec_len = cpu_to_le16(need);
	}
	return off;
}

/* The entry at `off` becomes free space, one record with the free records before and after it. */
static void block_erase(struct disk_dir_block *b, unsigned int off)
{
	unsigned int start = off, end = off + record_len(record_at(b, off)), at = ENTRIES_OFF;

	while (at < off) {
		unsigned int next = at + record_len(record_at(b, at));

		if (next == off && record_free(record_at(b, at)))
			start = at;
		at = next;
	}
	if (end < BLOCK_SIZE && record_free(record_at(b, end)))
		end += record_len(record_at(b, end));
	record_make_free(record_at(b, start), end - start);
}

/* ---- Verification -------------------------------------------------------------------------------------- */

static bool type_known(uint8_t type)
{
	switch (type) {
	case DT_FIFO:
	case DT_CHR:
	case DT_DIR:
	case DT_BLK:
	case DT_REG:
	case DT_LNK:
	case DT_SOCK:
		return true;
	default:
		return false;
	}
}

static bool name_legal(const uint8_t *name, unsigned int len)
{
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	return !memchr(name, '/', len) && !memchr(name, 0, len);
}

/* `room`: bytes from the record to the end of its block. */
static const char *record_verify(const struct disk_dirent *d, unsigned int room)
{
	if (room < DIRENT_MIN)
		return "record length";
	if (record_len(d) < DIRENT_MIN || record_len(d) > room || record_len(d) % DIR_ALIGN)
		return "record length";
	if (record_free(d))
		return d->name_len ? "name length of free space" : NULL;
	if (le64_to_cpu(d->ino) > INO_MAX)
		return "inode number";
	if (!d->name_len || DIRENT_LEN(d->name_len) > record_len(d))
		return "name length";
	if (!name_legal(d->name, d->name_len))
		return "name";
	return type_known(d->type) ? NULL : "type";
}

const char *disk_dir_block_verify(const struct super *sb, const struct disk_dir_block *b, uint64_t block,
				  uint64_t owner, uint64_t generation, uint64_t index)
{
	unsigned int off = ENTRIES_OFF;

	if (le32_to_cpu(b->magic) != DIR_MAGIC)
		return "magic";
	if (le32_to_cpu(b->crc) != block_crc(sb, b, block))
		return "crc";
	if (le64_to_cpu(b->owner) != owner)
		return "owner";
	if (le64_to_cpu(b->generation) != generation)
		return "generation";
	if (le64_to_cpu(b->index) != index)
		return "index";
	while (off < BLOCK_SIZE) {
		const struct disk_dirent *d = record_read(b, off);
		const char *bad = record_verify(d, BLOCK_SIZE - off);

		if (bad)
			return bad;
		off += record_len(d);
	}
	return NULL;
}

/* ---- Building the index -------------------------------------------------------------------------------- */

static int dir_damaged(const struct inode *dir, const char *what, uint64_t found, const char *needed)
{
	log_error("directory %" PRIu64 ": %s is %" PRIu64 ", needs to be %s", dir->ino, what, found, needed);
	return -EUCLEAN;
}

static int build_block(struct inode *dir, struct dir_index *idx, uint64_t file_block, uint64_t block)
{
	const struct disk_dir_block *b = pool_block(dir->pool, block);
	const char *bad;
	int err;

	bad = disk_dir_block_verify(&dir->pool->super, b, block, dir->ino, dir->core.generation, file_block);
	if (bad) {
		log_error("directory %" PRIu64 ", block %" PRIu64 " of it, pool block %" PRIu64 ": bad %s",
			  dir->ino, file_block, block, bad);
		return -EUCLEAN;
	}
	for (unsigned int off = ENTRIES_OFF; off < BLOCK_SIZE; off += record_len(record_read(b, off))) {
		const struct disk_dirent *d = record_read(b, off);

		if (record_free(d))
			continue;
		err = dirindex_reserve(idx, file_block + 1);
		if (err)
			return err;
		dirindex_insert(idx, dirindex_hash((const char *)d->name, d->name_len),
				(file_block << BLOCK_SHIFT | off) / DIR_ALIGN);
	}
	dirindex_set_gap(idx, file_block, block_gap(b));
	return 0;
}

/* What lies at file block *next: one extent or hole. *mapped_end follows the highest mapped block. */
static int build_extent(struct inode *dir, struct dir_index *idx, uint64_t *next, uint64_t *mapped_end)
{
	uint64_t blocks = dir->core.size >> BLOCK_SHIFT, end;
	struct extent e;
	int err = extent_lookup(NULL, dir, *next, &e);

	if (err)
		return err;
	end = e.file_block + e.count;
	if (!e.block) {
		for (; *next < end && *next < blocks; ++*next)
			dirindex_set_gap(idx, *next, DIRINDEX_HOLE);
		return 0;
	}
	if (end > blocks)
		return dir_damaged(dir, "end of its last extent", end, "within its size");
	if (!pool_blocks_valid(&dir->pool->super, e.block, e.count))
		return dir_damaged(dir, "first pool block of an extent", e.block, "inside the pool");
	if (e.unwritten)
		return dir_damaged(dir, "unwritten flag of an extent", 1, "0");
	for (; *next < end; ++*next) {
		err = build_block(dir, idx, *next, e.block + (*next - e.file_block));
		if (err)
			return err;
	}
	*mapped_end = end;
	return 0;
}

static int build_index(struct inode *dir)
{
	uint64_t blocks = dir->core.size >> BLOCK_SHIFT, next = 0, mapped_end = 0;
	struct dir_index *idx;
	struct extent e;
	int err;

	if (dir->core.size % BLOCK_SIZE || blocks > DIR_BLOCKS_MAX)
		return dir_damaged(dir, "size", dir->core.size, "whole blocks, at most 2^35 bytes");
	idx = dirindex_new();
	if (!idx)
		return -ENOMEM;
	err = dirindex_reserve(idx, blocks);
	while (!err && next < blocks)
		err = build_extent(dir, idx, &next, &mapped_end);
	if (!err)
		err = extent_lookup(NULL, dir, blocks, &e);
	if (!err && (mapped_end != blocks || e.block || e.file_block + e.count <= EXTENT_FILE_BLOCK_MAX))
		err = dir_damaged(dir, "size", dir->core.size, "the end of its last extent");
	if (err)
		dirindex_delete(idx);
	else
		dir->dir = idx;
	return err;
}

int dir_lock_exclusive(struct inode *dir)
{
	int err;

	pthread_rwlock_wrlock(&dir->lock);
	err = dir->dir ? 0 : build_index(dir);
	if (err)
		pthread_rwlock_unlock(&dir->lock);
	return err;
}

int dir_lock_shared(struct inode *dir)
{
	int err;

	pthread_rwlock_rdlock(&dir->lock);
	while (!dir->dir) {
		pthread_rwlock_unlock(&dir->lock);
		err = dir_lock_exclusive(dir);
		if (err)
			return err;
		pthread_rwlock_unlock(&dir->lock);
		pthread_rwlock_rdlock(&dir->lock);
	}
	return 0;
}

void dir_index_free(struct inode *dir)
{
	dirindex_delete(dir->dir);
	dir->dir = NULL;
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

static const struct disk_dir_block *block_read(struct tx *tx, struct inode *dir, uint64_t block)
{
	return tx ? tx_read(tx, block << BLOCK_SHIFT) : pool_block(dir->pool, block);
}

/* The pool block that holds a block which the index knows as mapped. */
static int block_lookup(struct tx *tx, struct inode *dir, uint64_t file_block, uint64_t *block)
{
	struct extent e;
	int err = extent_lookup(tx, dir, file_block, &e);

	if (err)
		return err;
	if (!e.block)
		return dir_damaged(dir, "file block of a missing block", file_block, "mapped");
	*block = e.block + (file_block - e.file_block);
	return 0;
}

/* The entry of a name: -ENOENT, or 0 with its place. tx NULL outside a transaction. */
static int dir_find(struct tx *tx, struct inode *dir, const char *name, unsigned int len,
		    struct dir_place *at)
{
	struct dirindex_probe probe;

	at->hash = dirindex_hash(name, len);
	probe = DIRINDEX_PROBE(at->hash);
	while ((at->place = dirindex_probe(dir->dir, &probe)) != 0) {
		uint64_t pos = (uint64_t)at->place * DIR_ALIGN;
		const struct disk_dirent *d;
		int err;

		at->file_block = pos >> BLOCK_SHIFT;
		at->off = pos % BLOCK_SIZE;
		err = block_lookup(tx, dir, at->file_block, &at->block);
		if (err)
			return err;
		d = record_read(block_read(tx, dir, at->block), at->off);
		if (d->name_len == len && !memcmp(d->name, name, len))
			return 0;
	}
	return -ENOENT;
}

int dir_lookup(struct inode *dir, const char *name, unsigned int len, uint64_t *ino, uint8_t *type)
{
	struct dir_place at;
	const struct disk_dirent *d;
	int err = dir_find(NULL, dir, name, len, &at);

	if (err)
		return err;
	d = record_read(pool_block(dir->pool, at.block), at.off);
	*ino = le64_to_cpu(d->ino);
	*type = d->type;
	return 0;
}

bool dir_is_empty(struct inode *dir)
{
	return dirindex_count(dir->dir) == 0;
}

uint64_t dir_count(struct inode *dir)
{
	return dirindex_count(dir->dir);
}

/*
 * Records are found only by following the chain, so a block is gone through from its start whatever the
 * cookie.
 */
static int fill_block(const struct disk_dir_block *b, uint64_t start, uint64_t cookie, dir_fill_fn fn,
		      void *arg)
{
	struct dir_entry e;
	int stop;

	for (unsigned int off = ENTRIES_OFF; off < BLOCK_SIZE; off += record_len(record_read(b, off))) {
		const struct disk_dirent *d = record_read(b, off);

		if (record_free(d) || (start + off) / DIR_ALIGN < cookie)
			continue;
		e.ino = le64_to_cpu(d->ino);
		e.type = d->type;
		e.name_len = d->name_len;
		memcpy(e.name, d->name, d->name_len);
		e.name[d->name_len] = '\0';
		e.cookie = (start + off) / DIR_ALIGN + 1;
		stop = fn(arg, &e);
		if (stop)
			return stop;
	}
	return 0;
}

int dir_fill(struct inode *dir, uint64_t cookie, dir_fill_fn fn, void *arg)
{
	uint64_t blocks = dir->core.size >> BLOCK_SHIFT, next = cookie / (BLOCK_SIZE / DIR_ALIGN);
	int stop;

	while (next < blocks) {
		struct extent e;
		uint64_t end;

		stop = extent_lookup(NULL, dir, next, &e);
		if (stop)
			return stop;
		end = e.file_block + e.count < blocks ? e.file_block + e.count : blocks;
		for (; e.block && next < end; next++) {
			const void *b = pool_block(dir->pool, e.block + (next - e.file_block));

			stop = fill_block(b, next << BLOCK_SHIFT, cookie, fn, arg);
			if (stop)
				return stop;
		}
		next = end;
	}
	return 0;
}

static int next_one(void *arg, const struct dir_entry *e)
{
	*(struct dir_entry *)arg = *e;
	return 1;
}

int dir_next(struct inode *dir, uint64_t cookie, struct dir_entry *out)
{
	int stop = dir_fill(dir, cookie, next_one, out);

	if (stop < 0)
		return stop;
	return stop ? 0 : -ENOENT;
}

/* ---- Changing ------------------------------------------------------------------------------------------ */

/* How the index was before one change. Registered before the change, so that nothing can fail after it. */
struct dir_undo {
	struct dir_index	*idx;
	uint64_t		 file_block;
	uint16_t		 gap;
	enum { DIR_UNDO_GAP, DIR_UNDO_ADD, DIR_UNDO_REMOVE } change;
	uint32_t		 hash, place;	/* of the entry added or removed */
};

static void undo_end(void *arg, bool committed)
{
	struct dir_undo *u = arg;

	if (!committed) {
		if (u->change == DIR_UNDO_ADD)
			dirindex_remove(u->idx, u->hash, u->place);
		if (u->change == DIR_UNDO_REMOVE)
			dirindex_insert(u->idx, u->hash, u->place);
		dirindex_set_gap(u->idx, u->file_block, u->gap);
	}
	free(u);
}

/* For a change in a block of which the index has room to speak (dirindex_reserve). NULL: out of memory. */
static struct dir_undo *undo_new(struct tx *tx, struct dir_index *idx, uint64_t file_block)
{
	struct dir_undo *u = fault(FAULT_ALLOC) ? NULL : malloc(sizeof(*u));

	if (!u)
		return NULL;
	*u = (struct dir_undo){ .idx = idx, .file_block = file_block, .gap = dirindex_gap(idx, file_block) };
	if (tx_on_end(tx, undo_end, u)) {
		free(u);
		return NULL;
	}
	return u;
}

/* A shadow of a mapped block, to be changed. */
static int block_change(struct tx *tx, uint64_t block, struct disk_dir_block **b)
{
	*b = tx_shadow(tx, block << BLOCK_SHIFT, BLOCK_SIZE, block_seal, NULL);
	return *b ? 0 : tx->error;
}

/* A block for a hole or the end, with nothing in it; as near behind the one before as can be had. */
static int block_new(struct tx *tx, struct inode *dir, uint64_t file_block, struct disk_dir_block **b)
{
	struct extent e = { 0 };
	uint64_t goal = 0, block, count;
	int err;

	if (file_block) {
		err = extent_lookup(tx, dir, file_block - 1, &e);
		if (err)
			return err;
		goal = e.block ? e.block + (file_block - e.file_block) : 0;
	}
	err = tx_alloc(tx, 1, goal, file_block, BALLOC_NOT_CONGRUENT, &block, &count);
	if (err)
		return err;
	*b = tx_new_block(tx, block, block_seal, NULL);
	if (!*b)
		return tx->error;
	block_init(*b, dir, file_block);
	e = (struct extent){ .file_block = file_block, .block = block, .count = 1 };
	err = extent_insert(tx, dir, &e);
	if (!err && dir->core.size < (file_block + 1) << BLOCK_SHIFT)
		dir->core.size = (file_block + 1) << BLOCK_SHIFT;
	return err;
}

/* The block where an entry of `need` bytes goes: the first with room, else the first hole, else the end. */
static int block_for(struct tx *tx, struct inode *dir, unsigned int need, uint64_t *file_block,
		     struct disk_dir_block **b, struct dir_undo **undo)
{
	struct dir_index *idx = dir->dir;
	bool mapped = true;
	uint64_t block;
	int err;

	*file_block = dirindex_find_gap(idx, need);
	if (*file_block == DIRINDEX_NONE) {
		*file_block = dirindex_find_hole(idx, dir->core.size >> BLOCK_SHIFT);
		mapped = false;
	}
	if (*file_block >= DIR_BLOCKS_MAX)
		return -EFBIG;
	err = dirindex_reserve(idx, *file_block + 1);
	if (err)
		return err;
	*undo = undo_new(tx, idx, *file_block);
	if (!*undo)
		return -ENOMEM;
	if (!mapped)
		return block_new(tx, dir, *file_block, b);
	err = block_lookup(tx, dir, *file_block, &block);
	return err ? err : block_change(tx, block, b);
}

int dir_add(struct tx *tx, struct inode *dir, const char *name, unsigned int len, uint64_t ino, uint8_t type)
{
	uint32_t hash = dirindex_hash(name, len), place;
	struct disk_dir_block *b;
	struct disk_dirent *d;
	struct dir_undo *undo;
	uint64_t file_block;
	unsigned int off;
	int err = block_for(tx, dir, DIRENT_LEN(len), &file_block, &b, &undo);

	if (err)
		return err;
	off = block_take(b, DIRENT_LEN(len));
	d = record_at(b, off);
	d->ino = cpu_to_le64(ino);
	d->name_len = len;
	d->type = type;
	memcpy(d->name, name, len);

	place = (file_block << BLOCK_SHIFT | off) / DIR_ALIGN;
	dirindex_insert(dir->dir, hash, place);
	dirindex_set_gap(dir->dir, file_block, block_gap(b));
	undo->change = DIR_UNDO_ADD;
	undo->hash = hash;
	undo->place = place;
	return 0;
}

/* Unmap a block whose last entry goes; the size follows when it was the highest. */
static int block_give_back(struct tx *tx, struct inode *dir, uint64_t file_block)
{
	int err = extent_remove(tx, dir, file_block, 1);

	if (err)
		return err;
	dirindex_set_gap(dir->dir, file_block, DIRINDEX_HOLE);
	if (dir->core.size == (file_block + 1) << BLOCK_SHIFT) {
		while (file_block && dirindex_gap(dir->dir, file_block - 1) == DIRINDEX_HOLE)
			file_block--;
		dir->core.size = file_block << BLOCK_SHIFT;
	}
	return 0;
}

static int block_remove(struct tx *tx, struct inode *dir, const struct dir_place *at)
{
	struct disk_dir_block *b;
	int err;

	if (block_holds_only(block_read(tx, dir, at->block), at->off)) {
		err = block_give_back(tx, dir, at->file_block);
		if (err != -ENOSPC)
			return err;
		/*
		 * No node for the extents on both sides of the hole. The map is as it was, so the empty block
		 * can stay: it is filled again, or goes with a later last entry.
		 */
	}
	err = block_change(tx, at->block, &b);
	if (err)
		return err;
	block_erase(b, at->off);
	dirindex_set_gap(dir->dir, at->file_block, block_gap(b));
	return 0;
}

int dir_remove(struct tx *tx, struct inode *dir, const char *name, unsigned int len)
{
	struct dir_undo *undo;
	struct dir_place at;
	int err = dir_find(tx, dir, name, len, &at);

	if (err)
		return err;
	undo = undo_new(tx, dir->dir, at.file_block);
	if (!undo)
		return -ENOMEM;
	err = block_remove(tx, dir, &at);
	if (err)
		return err;
	dirindex_remove(dir->dir, at.hash, at.place);
	undo->change = DIR_UNDO_REMOVE;
	undo->hash = at.hash;
	undo->place = at.place;
	return 0;
}

int dir_replace(struct tx *tx, struct inode *dir, const char *name, unsigned int len, uint64_t ino,
		uint8_t type)
{
	struct disk_dir_block *b;
	struct dir_place at;
	int err = dir_find(tx, dir, name, len, &at);

	if (err)
		return err;
	err = block_change(tx, at.block, &b);
	if (err)
		return err;
	record_at(b, at.off)->ino = cpu_to_le64(ino);
	record_at(b, at.off)->type = type;
	return 0;
}
