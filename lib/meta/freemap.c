/*
 * The free-map cache: what a clean unmount knew of free blocks and slots, so that the next mount need not
 * scan.
 *
 * Produces struct disk_freemap in a run of blocks that are free, and stay free: the bitmap saved does not
 * count them as used, and nothing but the tail slot refers to them. Relies on the caller having retired the
 * journal, so that no record can be replayed over the run, and on nobody allocating any more.
 *
 * Crash safety. The cache is durable before the tail slot that names it is written (PERSIST_FREEMAP); the
 * next mount moves the tail, dropping the name, before its first allocation. It is believed only if crc,
 * mount sequence and sizes agree, and what every pool has in use is in use in it; else the mount scans. It
 * is a cache: not being able to write or to read it is no error.
 */
#include "meta/scan.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/ialloc.h"
#include "util/bitmap.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define FREEMAP_MAX	(1ULL << 30)	/* bytes: a pool of 32 TiB; larger ones scan rather than copy more */

/* Where the parts lie, in 64-bit words from the start of the cache. */
struct freemap_layout {
	uint64_t	blocks, inodes;		/* bits in the bitmaps */
	uint64_t	block_words, inode_words;
	uint64_t	bytes;			/* all of it, header included */
	uint64_t	run;			/* in pool blocks */
};

static struct freemap_layout freemap_layout(struct pool *p)
{
	struct freemap_layout l = { .blocks = p->super.blocks, .inodes = ialloc_slots(p) };

	l.block_words = BITMAP_WORDS(l.blocks);
	l.inode_words = BITMAP_WORDS(l.inodes);
	l.bytes = sizeof(struct disk_freemap) + (l.block_words + l.inode_words) * 8;
	l.run = (l.bytes + BLOCK_SIZE - 1) >> BLOCK_SHIFT;
	return l;
}

static uint32_t freemap_crc(const struct pool *p, const struct disk_freemap *fm, uint64_t bytes,
			    uint64_t block)
{
	return crc32c_object(format_seed(&p->super, block << BLOCK_SHIFT), fm, bytes,
			     offsetof(struct disk_freemap, crc));
}

/* ---- Saving -------------------------------------------------------------------------------------------- */

static void words_to_le(uint64_t *words, uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++)
		words[i] = cpu_to_le64(words[i]).raw;
}

static void freemap_fill(struct pool *p, struct disk_freemap *fm, const struct freemap_layout *l,
			 uint64_t mount)
{
	uint64_t *words = (uint64_t *)(fm + 1);

	fm->magic = cpu_to_le32(FREEMAP_MAGIC);
	fm->mount = cpu_to_le64(mount);
	fm->blocks = cpu_to_le64(l->blocks);
	fm->inodes = cpu_to_le64(l->inodes);
	balloc_snapshot(p->balloc, words);
	ialloc_snapshot(p, words + l->block_words);
	words_to_le(words, l->block_words + l->inode_words);
}

static int freemap_write(struct pool *p, struct disk_freemap *fm, const struct freemap_layout *l,
			 uint64_t block)
{
	fm->crc = cpu_to_le32(freemap_crc(p, fm, l->bytes, block));
	persist_store_nt(p->region, pool_block(p, block), fm, l->run << BLOCK_SHIFT);
	return persist_fence(p->region, PERSIST_FREEMAP);
}

int freemap_save(struct pool *p, uint64_t mount, uint64_t *block, uint32_t *blocks)
{
	struct freemap_layout l = freemap_layout(p);
	struct disk_freemap *fm;
	struct balloc_stat st;
	struct block_run run;
	int rc;

	balloc_stat(p->balloc, &st);
	if (st.lost || l.bytes > FREEMAP_MAX)
		return -ENOSPC;
	fm = fault(FAULT_ALLOC) ? NULL : calloc(l.run, BLOCK_SIZE);
	if (!fm)
		return -ENOSPC;
	freemap_fill(p, fm, &l, mount);
	rc = balloc_alloc(p->balloc, l.run, 0, 0, BALLOC_RESERVE | BALLOC_NOT_CONGRUENT | BALLOC_WHOLE, &run);
	if (!rc) {
		rc = freemap_write(p, fm, &l, run.start);
		*block = run.start;
		*blocks = (uint32_t)run.count;
	}
	free(fm);
	return rc;
}

/* ---- Loading ------------------------------------------------------------------------------------------- */

static bool all_set(const uint64_t *map, uint64_t start, uint64_t count)
{
	return bitmap_next_clear(map, start, start + count) == start + count;
}

/* extent_fn: the table's own blocks and nodes must be in use. */
static int covers_extent(void *arg, const struct extent *e, uint64_t node)
{
	uint64_t block = node ? node : e->block, count = node ? 1 : e->count;

	return all_set(arg, block, count) ? 0 : -ENODATA;
}

static bool covers(struct pool *p, uint64_t *map)
{
	const struct super *sb = &p->super;

	return all_set(map, 0, sb->journal_block + sb->journal_blocks) && all_set(map, sb->blocks - 1, 1) &&
	       extent_walk(ialloc_itable(p), covers_extent, map) == 0;
}

/* The header at the tail's word, or NULL when it cannot be believed. */
static const struct disk_freemap *freemap_find(const struct pool *p, const struct tail *tail,
					       const struct freemap_layout *l)
{
	const struct disk_freemap *fm;

	if (!(tail->flags & TAIL_FREEMAP) || tail->freemap_blocks != l->run ||
	    !pool_blocks_valid(&p->super, tail->freemap_block, tail->freemap_blocks))
		return NULL;
	fm = pool_block(p, tail->freemap_block);
	if (le32_to_cpu(fm->magic) != FREEMAP_MAGIC || le64_to_cpu(fm->mount) != tail->mount ||
	    le64_to_cpu(fm->blocks) != l->blocks || le64_to_cpu(fm->inodes) != l->inodes)
		return NULL;
	return le32_to_cpu(fm->crc) == freemap_crc(p, fm, l->bytes, tail->freemap_block) ? fm : NULL;
}

/* Both bitmaps are taken or none is: balloc_load() comes last and finds nothing more to refuse. */
static int freemap_take(struct pool *p, uint64_t *words, const struct freemap_layout *l)
{
	if (l->blocks % 64 && words[l->block_words - 1] >> (l->blocks % 64))
		return -ENODATA;
	if (!covers(p, words) || ialloc_load(p, words + l->block_words, l->inodes))
		return -ENODATA;
	return balloc_load(p->balloc, words);
}

int freemap_load(struct pool *p, const struct tail *tail)
{
	struct freemap_layout l = freemap_layout(p);
	const struct disk_freemap *fm = freemap_find(p, tail, &l);
	const le64 *disk = fm ? (const le64 *)(fm + 1) : NULL;
	uint64_t *words, i;
	int rc;

	if (!fm)
		return -ENODATA;
	words = bitmap_alloc((l.block_words + l.inode_words) * 64);
	if (!words)
		return -ENODATA;
	for (i = 0; i < l.block_words + l.inode_words; i++)
		words[i] = le64_to_cpu(disk[i]);
	rc = freemap_take(p, words, &l);
	free(words);
	return rc;
}
