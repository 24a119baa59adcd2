/*
 * Changing the size, and fallocate: what gives blocks to a file without data, and what takes them away.
 *
 * Bytes beyond EOF in the last map unit may hold anything at any time (a mapping may store there): they are zeroed
 * before the size passes them, durably before the record that moves it. A shrink zeroes them too, after its
 * record, so that mappings see zeros at once; nothing depends on that store.
 *
 * Taking space away uses the allocator's reserve and is one record however large the range (meta/extent.c).
 */
#include "fs/fs_private.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include "meta/balloc.h"
#include "meta/ialloc.h"

#define BLOCK_MASK	((uint64_t)BLOCK_SIZE - 1)
#define SIZE_MAX_FILE	((uint64_t)INT64_MAX)

/* Mappings one transaction looks at or makes: a few extent nodes in its record. */
#define PREALLOC_RUNS	512

static uint64_t block_round_up(uint64_t pos)
{
	return (pos + BLOCK_MASK) >> BLOCK_SHIFT;
}

/* Store zeros over [from, to) where it is mapped and written; unwritten blocks and holes read as zeros already. */
static int zero_range(struct inode *ip, uint64_t from, uint64_t to, bool *stored)
{
	struct iomap map;
	uint64_t end;
	int rc;

	while (from < to) {
		rc = iomap_read(ip, from, to - from, &map);
		if (rc)
			return rc;
		end = map.offset + map.length;
		if (end > to)
			end = to;
		if (map.type == IOMAP_MAPPED) {
			persist_zero_nt(ip->pool->region, pool_at(ip->pool, map.addr + (from - map.offset)),
					end - from);
			*stored = true;
		}
		from = end;
	}
	return 0;
}

int eof_zero_tail(struct inode *ip, uint64_t from, uint64_t to, bool *stored)
{
	uint64_t unit = 1ULL << pgmap_config(fs_of(ip)->dax.pgmap)->unit_shift, end = (from + unit - 1) & ~(unit - 1);

	return zero_range(ip, from, end < to ? end : to, stored);
}

static int shrink(struct inode *ip, uint64_t size, enum kill_priv kill)
{
	uint64_t first = block_round_up(size);
	bool stored = false;
	struct tx tx;
	int rc = tx_begin(&tx, ip->pool, BALLOC_RESERVE);

	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc)
		rc = extent_remove(&tx, ip, first, EXTENT_FILE_BLOCK_MAX + 1 - first);
	if (!rc)
		rc = inode_kill_priv(&tx, ip, kill);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	ip->core.size = size;
	inode_touch(ip);
	rc = tx_commit(&tx);
	if (!rc)
		rc = eof_zero_tail(ip, size, SIZE_MAX_FILE, &stored);
	if (!rc && stored)
		rc = persist_fence(ip->pool->region, PERSIST_DATA);
	return rc;
}

static int grow(struct inode *ip, uint64_t size, enum kill_priv kill)
{
	bool stored = false;
	struct tx tx;
	int rc = tx_begin(&tx, ip->pool, 0);

	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc)
		rc = eof_zero_tail(ip, ip->core.size, size, &stored);
	if (!rc)
		rc = inode_kill_priv(&tx, ip, kill);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	if (stored)
		tx_order_data(&tx);
	ip->core.size = size;
	inode_touch(ip);
	return tx_commit(&tx);
}

int inode_truncate(struct inode *ip, uint64_t size, enum kill_priv kill)
{
	if (size > SIZE_MAX_FILE)
		return -EFBIG;
	ip->append_missing = 0;		/* pieces of an append that failed come no more */
	/* The same size also drops what was preallocated beyond it, as a shrink does. */
	return size > ip->core.size ? grow(ip, size, kill) : shrink(ip, size, kill);
}

/* ---- fallocate ----------------------------------------------------------------------------------------- */

/* How many blocks of the range are holes: a request that cannot be met is refused before it takes anything. */
static int count_holes(struct inode *ip, uint64_t off, uint64_t len, uint64_t *blocks)
{
	uint64_t end = off + len;
	struct iomap map;
	int rc;

	*blocks = 0;
	while (off < end) {
		rc = iomap_read(ip, off, end - off, &map);
		if (rc)
			return rc;
		if (map.type == IOMAP_HOLE)
			*blocks += map.length >> BLOCK_SHIFT;
		off = map.offset + map.length;
	}
	return 0;
}

static int check_space(struct inode *ip, uint64_t off, uint64_t len)
{
	struct balloc_stat st;
	uint64_t need, have;
	int rc = count_holes(ip, off, len, &need);

	if (rc)
		return rc;
	balloc_stat(ip->pool->balloc, &st);
	/* What the inode table can give back counts as free, and what rests, as in fs_statvfs(). */
	have = st.free + ialloc_reclaimable(ip->pool) + quarantine_count(fs_of(ip)->quarantine);
	return need && need + st.reserve > have ? -ENOSPC : 0;
}

/* A preallocation on its way. */
struct prealloc {
	struct inode	*ip;
	uint64_t	 pos, end;		/* still to be allocated */
	uint64_t	 first, count;		/* blocks to make unwritten: ZERO_RANGE */
	bool		 keep_size;
	enum kill_priv	 kill;
	bool		 stored;		/* zeros behind the old end wait for a fence */
};

/* Set the size, if it is to grow, and the times: the last transaction of a preallocation. */
static int prealloc_finish(struct prealloc *a, struct tx *tx)
{
	struct inode *ip = a->ip;
	int rc = inode_kill_priv(tx, ip, a->kill);

	if (!a->keep_size && a->end > ip->core.size)
		ip->core.size = a->end;
	if (a->stored)
		tx_order_data(tx);
	inode_touch(ip);
	return rc;
}

/* ZERO_RANGE: the whole blocks of a mapping that were written become unwritten. */
static int make_unwritten(struct prealloc *a, struct tx *tx, const struct iomap *map)
{
	uint64_t from = map->offset >> BLOCK_SHIFT, to = (map->offset + map->length) >> BLOCK_SHIFT;

	if (from < a->first)
		from = a->first;
	if (to > a->first + a->count)
		to = a->first + a->count;
	return from < to ? extent_set_written(tx, a->ip, from, to - from, false) : 0;
}

static int prealloc_fill(struct prealloc *a, struct tx *tx)
{
	struct iomap map;
	int rc = inode_join(tx, a->ip);

	for (int i = 0; !rc && a->pos < a->end && i < PREALLOC_RUNS; i++) {
		rc = iomap_alloc_unwritten(tx, a->ip, a->pos, a->end - a->pos, &map);
		if (!rc && map.type == IOMAP_MAPPED)
			rc = make_unwritten(a, tx, &map);
		if (!rc)
			a->pos = map.offset + map.length;
	}
	if (!rc && a->pos >= a->end)
		rc = prealloc_finish(a, tx);
	return rc;
}

/* One transaction unless the range is cut into more than PREALLOC_RUNS; what is done stays if a later one fails. */
static int prealloc(struct prealloc *a)
{
	struct tx tx;
	int rc = 0;

	/* Before the transaction: the map is read from the media, and its changes are not there before the commit. */
	if (!a->keep_size && a->end > a->ip->core.size)
		rc = eof_zero_tail(a->ip, a->ip->core.size, a->end, &a->stored);
	if (rc)
		return rc;
	do {
		rc = tx_begin(&tx, a->ip->pool, 0);
		if (rc)
			return rc;
		rc = prealloc_fill(a, &tx);
		if (rc) {
			tx_abort(&tx);
			return rc;
		}
		rc = tx_commit(&tx);
	} while (!rc && a->pos < a->end);
	return rc;
}

/* Zero the parts of blocks at both ends of a range; *first, *count: the whole blocks between. */
static int zero_edges(struct inode *ip, uint64_t off, uint64_t len, uint64_t *first, uint64_t *count)
{
	uint64_t end = off + len, last = end >> BLOCK_SHIFT;
	bool stored = false;
	int rc;

	*first = block_round_up(off);
	*count = last > *first ? last - *first : 0;
	if (last < *first)
		rc = zero_range(ip, off, end, &stored);		/* inside one block */
	else
		rc = zero_range(ip, off, *first << BLOCK_SHIFT, &stored);
	if (!rc && last >= *first)
		rc = zero_range(ip, last << BLOCK_SHIFT, end, &stored);
	if (!rc && stored)
		rc = persist_fence(ip->pool->region, PERSIST_DATA);
	return rc;
}

static int punch_hole(struct inode *ip, uint64_t off, uint64_t len, enum kill_priv kill)
{
	uint64_t first, count;
	struct tx tx;
	int rc = zero_edges(ip, off, len, &first, &count);

	if (!rc)
		rc = tx_begin(&tx, ip->pool, BALLOC_RESERVE);
	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc && count)
		rc = extent_remove(&tx, ip, first, count);
	if (!rc)
		rc = inode_kill_priv(&tx, ip, kill);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	inode_touch(ip);
	return tx_commit(&tx);
}

static int allocate(struct prealloc *a, bool zero)
{
	uint64_t off = a->pos, len = a->end - a->pos;
	int rc = check_space(a->ip, off, len);

	if (!rc && zero)
		rc = zero_edges(a->ip, off, len, &a->first, &a->count);
	return rc ? rc : prealloc(a);
}

static int fallocate_locked(struct inode *ip, int mode, uint64_t off, uint64_t len, enum kill_priv kill)
{
	struct prealloc a = {
		.ip = ip, .pos = off, .end = off + len, .keep_size = mode & FALLOC_FL_KEEP_SIZE, .kill = kill,
	};

	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
		return allocate(&a, false);
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		return punch_hole(ip, off, len, kill);
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		return allocate(&a, true);
	default:
		return -EOPNOTSUPP;
	}
}

static int fallocate_checked(struct inode *ip, const struct fs_cred *cred, int mode, uint64_t off, uint64_t len)
{
	int rc = inode_changeable(ip, !(mode & ~FALLOC_FL_KEEP_SIZE));

	return rc ? rc : fallocate_locked(ip, mode, off, len, inode_kill_what(ip, cred->cap_fsetid));
}

/* Whoever knows where the file ended. */
static void tell_grown(struct inode *ip, const struct fs_cred *cred, uint64_t before, uint64_t now)
{
	if (now > before && !cred->nowait)
		layout_filled(ip, before, now - before);
}

/* Only taking blocks away, or what they say, breaks a layout. */
static int take_away(struct inode *ip, const struct fs_cred *cred, int mode, uint64_t off, uint64_t len)
{
	uint64_t before, now;
	int rc = layout_begin(ip, cred, off, len);

	if (rc)
		return rc;
	before = ip->core.size;
	rc = fallocate_checked(ip, cred, mode, off, len);
	now = ip->core.size;
	layout_end(ip);
	tell_grown(ip, cred, before, now);
	return rc;
}

/* Adding blocks waits for nobody, but for who has to hear that the file ends elsewhere. */
static int add_blocks(struct inode *ip, const struct fs_cred *cred, int mode, uint64_t off, uint64_t len)
{
	uint64_t before, now;
	int rc;

	inode_lock(ip);
	before = ip->core.size;
	if (cred->nowait && !(mode & FALLOC_FL_KEEP_SIZE) && off + len > before &&
	    layout_filled_waits(ip, before, off + len - before))
		rc = FS_WOULD_WAIT;
	else
		rc = fallocate_checked(ip, cred, mode, off, len);
	now = ip->core.size;
	inode_unlock(ip);
	tell_grown(ip, cred, before, now);
	return rc;
}

int fs_fallocate(struct fs_file *f, const struct fs_cred *cred, int mode, uint64_t off, uint64_t len)
{
	struct inode *ip = f->ip;

	if (f->fs->pool.readonly)
		return -EROFS;
	if (!f->regular)
		return INODE_IS_DIR(ip) ? -EISDIR : -ENODEV;
	if (len == 0 || off > SIZE_MAX_FILE)
		return -EINVAL;
	if (len > SIZE_MAX_FILE - off)
		return -EFBIG;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return take_away(ip, cred, mode, off, len);
	return add_blocks(ip, cred, mode, off, len);
}
