/*
 * File ranges to pool ranges, and where the blocks of a hole come from.
 *
 * Knows nothing of data: it neither reads nor stores the blocks it names. What it allocates becomes reachable
 * when the caller's transaction commits; the caller fills the blocks before that (IOMAP_F_NEW).
 *
 * Placement: a block goes behind the one before it in the file, so that files are contiguous. A large file is
 * worth more: where its offsets and the pool's agree modulo 2 MiB it can be mapped with huge pages. So when a
 * large file's last extent is not congruent, it is continued only to the next 2 MiB boundary of the file, and
 * the allocator is asked for a congruent group there.
 */
#include "meta/iomap.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "meta/balloc.h"
#include "meta/extent.h"

/* The blocks that the bytes [pos, pos + len) touch: at least one. */
struct block_range {
	uint64_t	first, end;
};

static int block_range(uint64_t pos, uint64_t len, struct block_range *r)
{
	uint64_t last;

	if (pos > INT64_MAX)
		return -EFBIG;
	last = len && len - 1 <= INT64_MAX - pos ? pos + (len - 1) : len ? INT64_MAX : pos;
	r->first = pos >> BLOCK_SHIFT;
	r->end = (last >> BLOCK_SHIFT) + 1;
	return 0;
}

/* What of `e` lies in the range; the range starts inside `e`. */
static void fill_map(struct iomap *map, const struct extent *e, const struct block_range *r,
		     unsigned int flags)
{
	uint64_t end = e->file_block + e->count < r->end ? e->file_block + e->count : r->end;

	map->type = !e->block ? IOMAP_HOLE : e->unwritten ? IOMAP_UNWRITTEN : IOMAP_MAPPED;
	map->flags = flags;
	map->offset = r->first << BLOCK_SHIFT;
	map->length = (end - r->first) << BLOCK_SHIFT;
	map->addr = e->block ? (e->block + (r->first - e->file_block)) << BLOCK_SHIFT : 0;
}

/* What goes on in the pool as in the file is one mapping, even of several extents: see extent.c, mergeable(). */
static int lookup_together(struct inode *ip, const struct block_range *r, struct extent *e)
{
	int rc = extent_lookup(NULL, ip, r->first, e);
	struct extent next;

	while (!rc && e->block && e->file_block + e->count < r->end) {
		rc = extent_lookup(NULL, ip, e->file_block + e->count, &next);
		if (rc || next.block != e->block + e->count || next.unwritten != e->unwritten)
			break;
		e->count += next.count;
	}
	return rc;
}

int iomap_read(struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map)
{
	struct block_range r;
	struct extent e;
	int rc = block_range(pos, len, &r);

	if (!rc)
		rc = lookup_together(ip, &r, &e);
	if (!rc)
		fill_map(map, &e, &r, 0);
	return rc;
}

/* ---- Allocation ---------------------------------------------------------------------------------------- */

/* Pool block to continue at: behind the block before file_block; 0 when there is none. */
static int goal_of(struct tx *tx, struct inode *ip, uint64_t file_block, uint64_t *goal)
{
	struct extent e;
	int rc;

	*goal = 0;
	if (!file_block)
		return 0;
	rc = extent_lookup(tx, ip, file_block - 1, &e);
	if (!rc && e.block)
		*goal = e.block + (file_block - e.file_block);
	return rc;
}

/* Fill the start of a hole of e->count blocks at e->file_block; *e becomes what is there now. */
static int alloc_hole(struct tx *tx, struct inode *ip, struct extent *e, bool unwritten)
{
	bool large = ip->core.size >> BLOCK_SHIFT >= GROUP_BLOCKS || e->count >= GROUP_BLOCKS;
	uint64_t to_boundary = GROUP_BLOCKS - e->file_block % GROUP_BLOCKS, goal;
	int rc = goal_of(tx, ip, e->file_block, &goal);

	if (rc)
		return rc;
	if (large && goal && (goal - e->file_block) % GROUP_BLOCKS) {
		if (to_boundary == GROUP_BLOCKS)
			goal = 0;
		else if (e->count > to_boundary)
			e->count = to_boundary;
	}
	rc = tx_alloc(tx, e->count, goal, e->file_block, large ? BALLOC_HUGE : 0, &e->block, &e->count);
	if (rc)
		return rc;
	e->unwritten = unwritten;
	return extent_insert(tx, ip, e);
}

/* The hole that `e` is, cut to the range. */
static void clip_hole(struct extent *e, const struct block_range *r)
{
	e->file_block = r->first;
	if (e->count > r->end - r->first)
		e->count = r->end - r->first;
}

int iomap_write(struct tx *tx, struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map)
{
	struct block_range r;
	struct extent e;
	bool new;
	int rc = block_range(pos, len, &r);

	if (!rc)
		rc = extent_lookup(tx, ip, r.first, &e);
	if (rc)
		return rc;
	new = !e.block || e.unwritten;
	if (!e.block) {
		clip_hole(&e, &r);
		rc = alloc_hole(tx, ip, &e, false);
	} else if (e.unwritten) {
		uint64_t end = e.file_block + e.count < r.end ? e.file_block + e.count : r.end;

		rc = extent_set_written(tx, ip, r.first, end - r.first, true);
		e.unwritten = false;
	}
	if (!rc)
		fill_map(map, &e, &r, new ? IOMAP_F_NEW : 0);
	return rc;
}

int iomap_alloc_unwritten(struct tx *tx, struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map)
{
	struct block_range r;
	struct extent e;
	bool new;
	int rc = block_range(pos, len, &r);

	if (!rc)
		rc = extent_lookup(tx, ip, r.first, &e);
	if (rc)
		return rc;
	new = !e.block;
	if (new) {
		clip_hole(&e, &r);
		rc = alloc_hole(tx, ip, &e, true);
	}
	if (!rc)
		fill_map(map, &e, &r, new ? IOMAP_F_NEW : 0);
	return rc;
}

/* ---- Seeking ------------------------------------------------------------------------------------------- */

int64_t iomap_seek(struct inode *ip, uint64_t pos, int whence)
{
	uint64_t size = ip->core.size, block = pos >> BLOCK_SHIFT;
	bool want_data = whence == SEEK_DATA;
	struct extent e;

	assert(whence == SEEK_DATA || whence == SEEK_HOLE);
	if (pos >= size)
		return -ENXIO;
	for (;;) {
		int rc = extent_lookup(NULL, ip, block, &e);

		if (rc)
			return rc;
		if ((e.block && !e.unwritten) == want_data)
			return (int64_t)(block << BLOCK_SHIFT > pos ? block << BLOCK_SHIFT : pos);
		block = e.file_block + e.count;
		if (block > (size - 1) >> BLOCK_SHIFT)
			return want_data ? -ENXIO : (int64_t)size;
	}
}
