/*
 * Promotion: blocks of a file move to one run of their own, so that they can be mapped at all, or by fewer mappings.
 *
 * A pool whose map unit is larger than a block can map whole units alone, and files share units: what of a file lies in
 * a unit of others, or in pieces, or ends before its unit does, moves when it is faulted in. Nothing of it is mapped
 * before that, so there is nobody to ask.
 *
 * Where a unit is a block everything can be mapped as it is, but a file in as many pieces as it has blocks takes as
 * many mappings, of which a process may have 65530. A client that comes to have many asks for what is left to be moved
 * together (DIRECT_DENSE). That is mapped, perhaps by others: the layout is broken, as before anything that takes
 * blocks away.
 *
 * The new blocks are filled and durable before the one record that has the file change over to them. Blocks that
 * somebody still refers to, who did not answer, stay.
 */
#include "fs/fs_private.h"

#include "meta/balloc.h"

#define DENSE_BYTES	((uint64_t)GROUP_BLOCKS << BLOCK_SHIFT)

/* ---- Moving ------------------------------------------------------------------------------------------------- */

/* What [pos, pos + len) has, to the pool's bytes at `to`. */
static int copy_to(struct inode *ip, uint64_t pos, uint64_t len, uint64_t to)
{
	struct region *r = ip->pool->region;
	uint64_t end = pos + len;
	struct iomap map;
	int rc;

	for (; pos < end; pos += map.length, to += map.length) {
		rc = iomap_read(ip, pos, end - pos, &map);
		if (rc)
			return rc;
		if (map.type == IOMAP_MAPPED)
			persist_store_nt(r, region_at(r, to), region_at(r, map.addr), map.length);
		else
			persist_zero_nt(r, region_at(r, to), map.length);
	}
	return 0;
}

/*
 * Nobody refers to the blocks of [pos, pos + len). A mapper that was told to give them up and did not answer may store
 * to them still, when it goes on: what it stores has to be in the file.
 */
static bool is_idle(struct inode *ip, uint64_t pos, uint64_t len)
{
	struct pgmap *pg = fs_of(ip)->dax.pgmap;
	unsigned int shift = pgmap_config(pg)->unit_shift;
	uint64_t end = pos + len;
	struct iomap map;

	for (; pos < end; pos = map.offset + map.length) {
		if (iomap_read(ip, pos, end - pos, &map))
			return false;
		for (uint64_t at = map.addr; map.type != IOMAP_HOLE && at < map.addr + map.length; at += BLOCK_SIZE)
			if (at >> shift < pgmap_units(pg) && !pgmap_idle(pg, at >> shift))
				return false;
	}
	return true;
}

/* In a transaction with the inode joined, which nothing was changed in. */
static int move(struct tx *tx, struct inode *ip, uint64_t pos, uint64_t len)
{
	struct extent e = { .file_block = pos >> BLOCK_SHIFT };
	uint64_t want = len >> BLOCK_SHIFT;
	int rc = tx_alloc(tx, want, 0, e.file_block, BALLOC_HUGE | BALLOC_WHOLE, &e.block, &e.count);

	if (!rc && want >= GROUP_BLOCKS && (e.block & (want - 1)))
		rc = -ENOSPC;
	if (!rc)
		rc = copy_to(ip, pos, len, e.block << BLOCK_SHIFT);
	tx_order_data(tx);
	if (!rc)
		rc = extent_remove(tx, ip, e.file_block, e.count);
	return rc ? rc : extent_insert(tx, ip, &e);
}

int inode_promote(struct inode *ip, uint64_t pos, uint64_t len)
{
	struct tx tx;
	int rc = is_idle(ip, pos, len) ? tx_begin(&tx, ip->pool, 0) : -EAGAIN;

	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc)
		rc = move(&tx, ip, pos, len);
	if (rc)
		tx_abort(&tx);
	else
		rc = tx_commit(&tx);
	return rc;
}

/* ---- Units -------------------------------------------------------------------------------------------------- */

bool inode_unit_apart(struct inode *ip, uint64_t pos, uint64_t len, const struct iomap *map)
{
	uint64_t unit = 1ULL << pgmap_config(fs_of(ip)->dax.pgmap)->unit_shift;

	if (len != unit || unit == BLOCK_SIZE)
		return false;
	if (map->offset + map->length - pos < len)
		return true;
	return map->type != IOMAP_HOLE && (map->addr & (unit - 1));
}

/* ---- Fragments ---------------------------------------------------------------------------------------------- */

/* All of the 2 MiB have blocks, and in more than one place. Lock shared. */
static bool in_pieces(struct inode *ip, uint64_t pos)
{
	uint64_t end = pos + DENSE_BYTES, next = 0;
	bool apart = false;
	struct iomap map;

	if (end > ip->core.size)
		return false;
	for (; pos < end; pos = map.offset + map.length) {
		if (iomap_read(ip, pos, end - pos, &map) || map.type == IOMAP_HOLE)
			return false;
		apart = apart || (next && map.addr != next);
		next = map.addr + map.length;
	}
	return apart;
}

static bool at_once(void *arg)
{
	(void)arg;
	return true;
}

static int together(struct inode *ip, uint64_t pos)
{
	/* What is pinned stays where it is: it is not waited for. */
	static const struct fs_cred cred = { .interrupted = at_once };
	int rc = layout_begin(ip, &cred, pos, DENSE_BYTES);

	if (rc)
		return 0;
	if (in_pieces(ip, pos))
		rc = inode_promote(ip, pos, DENSE_BYTES);
	layout_end(ip);
	return rc == -ENOSPC || rc == -EAGAIN ? 0 : rc;
}

int inode_make_dense(struct inode *ip, uint64_t pos, uint64_t end, bool nowait)
{
	bool apart;
	int rc = 0;

	/* The kernel moves nothing, and its layouts are broken as a whole. */
	if (fs_of(ip)->dax.layout == DAX_LAYOUT_KERNEL)
		return 0;
	for (pos &= ~(DENSE_BYTES - 1); pos < end && !rc; pos += DENSE_BYTES) {
		inode_lock_shared(ip);
		apart = in_pieces(ip, pos);
		inode_unlock(ip);
		if (apart)
			rc = nowait ? FS_WOULD_WAIT : together(ip, pos);
	}
	return rc;
}
