/*
 * The extent map: what the entries of the tree (extent_tree.c) mean, and every way to change them.
 *
 * All changes but cutting go through one step, edit(): the extent or the hole at one place is replaced by one
 * to three pieces, merged with each other and with their neighbours in the leaf, and the resulting entries
 * replace the old ones. Insertion, punching inside an extent, and conversion between written and unwritten
 * differ only in their pieces.
 *
 * Trust: a tree is verified as a whole - crc, owner, order, bounds, the key ranges the parents give, which
 * also makes it a tree and not a graph - before the first look at it since the inode was loaded
 * (inode.tree_verified); after that lookups read nodes as they are. Only this process changes them, through
 * transactions.
 *
 * Crash safety is the transaction's, see extent_tree.c. extent_free_all() changes nothing on media at all:
 * the inode's slot, free by its record, is what makes these blocks free.
 */
#include "meta/extent.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/extent_tree.h"
#include "meta/journal.h"
#include "util/crc32c.h"
#include "util/log.h"

#define FILE_END	(EXTENT_FILE_BLOCK_MAX + 1)

/* ---- The packed form (the diagram is in format.h) ------------------------------------------------------ */

#define PACK_SHIFT	12
#define PACK_MASK	((1ULL << PACK_SHIFT) - 1)

struct disk_extent extent_pack(const struct extent *e)
{
	assert(e->count && e->count <= EXTENT_MAX_LEN);
	return (struct disk_extent){
		.lo = cpu_to_le64(e->file_block << PACK_SHIFT | (e->count & PACK_MASK)),
		.hi = cpu_to_le64(e->block << PACK_SHIFT | e->count >> PACK_SHIFT << 1 | e->unwritten),
	};
}

struct extent extent_unpack(struct disk_extent d)
{
	uint64_t lo = le64_to_cpu(d.lo), hi = le64_to_cpu(d.hi);

	return (struct extent){
		.file_block = lo >> PACK_SHIFT,
		.block = hi >> PACK_SHIFT,
		.count = (lo & PACK_MASK) | (hi & PACK_MASK) >> 1 << PACK_SHIFT,
		.unwritten = hi & 1,
	};
}

/* ---- Verification -------------------------------------------------------------------------------------- */

const char *disk_extents_verify(const struct super *sb, const struct disk_extent *e, unsigned int count)
{
	uint64_t next = 0;
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct extent x = extent_unpack(e[i]);

		if (!x.count)
			return "extent length";
		if (x.file_block < next)
			return "extent order";
		next = x.file_block + x.count;
		if (next > FILE_END)
			return "extent file block";
		if (!pool_blocks_valid(sb, x.block, x.count))
			return "extent block";
	}
	return NULL;
}

const char *disk_extent_index_verify(const struct super *sb, const struct disk_extent_index *e,
				     unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (i && le64_to_cpu(e[i].key) <= le64_to_cpu(e[i - 1].key))
			return "index order";
		if (le64_to_cpu(e[i].key) > EXTENT_FILE_BLOCK_MAX)
			return "index key";
		if (!pool_blocks_valid(sb, le64_to_cpu(e[i].child), 1))
			return "index child";
	}
	return NULL;
}

const char *disk_extent_node_verify(const struct super *sb, const struct disk_extent_node *node,
				    uint64_t block, uint64_t owner, uint64_t generation, unsigned int level)
{
	uint32_t seed = format_seed(sb, block << BLOCK_SHIFT);
	unsigned int count = le16_to_cpu(node->count);

	if (le32_to_cpu(node->magic) != EXTENT_MAGIC)
		return "magic";
	if (le32_to_cpu(node->crc) !=
	    crc32c_object(seed, node, sizeof(*node), offsetof(struct disk_extent_node, crc)))
		return "crc";
	if (le64_to_cpu(node->owner) != owner)
		return "owner";
	if (le64_to_cpu(node->generation) != generation)
		return "generation";
	if (le16_to_cpu(node->level) != level)
		return "level";
	if (!count || count > EXTENT_NODE_ENTRIES)
		return "count";
	return level ? disk_extent_index_verify(sb, node->index, count)
		     : disk_extents_verify(sb, node->extent, count);
}

/* ---- Walking ------------------------------------------------------------------------------------------- */

struct walk {
	struct inode	*ip;
	extent_fn	 fn;		/* NULL: verify only */
	void		*arg;
};

static int walk_extents(const struct walk *w, const struct disk_extent *e, unsigned int count)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; w->fn && !rc && i < count; i++) {
		struct extent x = extent_unpack(e[i]);

		rc = w->fn(w->arg, &x, 0);
	}
	return rc;
}

/*
 * Verify a node of which the parent says that what it maps begins at file block `low` and ends at or before
 * `high`.
 */
static const struct disk_extent_node *walk_enter(const struct walk *w, uint64_t block, unsigned int level,
						 uint64_t low, uint64_t high)
{
	const struct inode *ip = w->ip;
	const struct disk_extent_node *node = pool_block(ip->pool, block);
	const char *wrong;

	wrong = disk_extent_node_verify(&ip->pool->super, node, block, ip->ino, ip->core.generation, level);
	if (!wrong) {
		unsigned int last = le16_to_cpu(node->count) - 1U;
		struct extent e0 = extent_unpack(node->extent[0]), e1 = extent_unpack(node->extent[last]);
		uint64_t first = level ? le64_to_cpu(node->index[0].key) : e0.file_block;
		uint64_t end = level ? le64_to_cpu(node->index[last].key) + 1 : e1.file_block + e1.count;

		wrong = first != low || end > high ? "key range" : NULL;
	}
	if (!wrong)
		return node;
	log_error("inode %llu: extent node at block %llu: wrong %s: run fsck.inodax",
		  (unsigned long long)ip->ino, (unsigned long long)block, wrong);
	return NULL;
}

/* The index is in a node of `level` and ends at `high`. The level is also how deep this recursion can go. */
static int walk_index(const struct walk *w, const struct disk_extent_index *index, unsigned int count,
		      unsigned int level, uint64_t high)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < count; i++) {
		uint64_t child = le64_to_cpu(index[i].child);
		uint64_t end = i + 1 < count ? le64_to_cpu(index[i + 1].key) : high;
		const struct disk_extent_node *node;

		node = walk_enter(w, child, level - 1, le64_to_cpu(index[i].key), end);
		if (!node)
			return -EUCLEAN;
		if (level > 1)
			rc = walk_index(w, node->index, le16_to_cpu(node->count), level - 1, end);
		else
			rc = walk_extents(w, node->extent, le16_to_cpu(node->count));
		if (!rc && w->fn)
			rc = w->fn(w->arg, NULL, child);
	}
	return rc;
}

int extent_walk(struct inode *ip, extent_fn fn, void *arg)
{
	struct walk w = { .ip = ip, .fn = fn, .arg = arg };

	if (ip->core.format == INODE_FORMAT_TREE)
		return walk_index(&w, ip->core.index, ip->core.count, ip->core.depth, FILE_END);
	if (ip->core.format == INODE_FORMAT_EXTENTS)
		return walk_extents(&w, ip->core.extent, ip->core.count);
	return 0;
}

/* The first look at a tree since the inode was loaded. Two readers may both verify it; neither harms. */
static int tree_ready(struct inode *ip)
{
	int rc;

	if (ip->core.format != INODE_FORMAT_TREE || ip->tree_verified)
		return 0;
	rc = extent_walk(ip, NULL, NULL);
	if (!rc)
		ip->tree_verified = true;
	return rc;
}

/* ---- Lookup -------------------------------------------------------------------------------------------- */

/* The same, of a tree that was verified. */
static struct extent lookup(struct tx *tx, struct inode *ip, uint64_t file_block)
{
	struct extent_path path = { .tx = tx, .ip = ip };
	struct extent out = { .file_block = file_block, .count = FILE_END - file_block };
	struct extent_step *leaf;
	struct extent e;

	extent_path_find(&path, file_block);
	leaf = extent_path_leaf(&path);
	if (leaf->pos >= 0) {
		e = extent_path_extent(&path, (unsigned int)leaf->pos);
		if (file_block < e.file_block + e.count)
			return e;
	}
	leaf->pos++;
	if ((unsigned int)leaf->pos < leaf->count || extent_path_next_leaf(&path))
		out.count = extent_path_extent(&path, (unsigned int)leaf->pos).file_block - file_block;
	return out;
}

int extent_lookup(struct tx *tx, struct inode *ip, uint64_t file_block, struct extent *out)
{
	int rc = tree_ready(ip);

	assert(file_block <= EXTENT_FILE_BLOCK_MAX);
	if (!rc)
		*out = lookup(tx, ip, file_block);
	return rc;
}

/* ---- Changes ------------------------------------------------------------------------------------------- */

#define EDIT_MAX	5	/* three pieces and a neighbour on either side */

struct edit {
	unsigned int	at, n_old;	/* entries of the leaf that go */
	struct extent	e[EDIT_MAX];	/* what comes */
	unsigned int	n;
};

/* Extents stay apart that would be too long together, or that are in two leaves. */
static bool mergeable(const struct extent *a, const struct extent *b)
{
	return a->file_block + a->count == b->file_block && a->block + a->count == b->block &&
	       a->unwritten == b->unwritten && a->count + b->count <= EXTENT_MAX_LEN;
}

static void edit_add(struct edit *ed, const struct extent *e)
{
	if (ed->n && mergeable(&ed->e[ed->n - 1], e))
		ed->e[ed->n - 1].count += e->count;
	else
		ed->e[ed->n++] = *e;
}

/*
 * What becomes of the leaf on the path when `n` pieces replace the extent that holds, or the hole at,
 * pieces[0].file_block.
 */
static void edit_plan(struct extent_path *path, const struct extent *pieces, unsigned int n, struct edit *ed)
{
	const struct extent_step *leaf = extent_path_leaf(path);
	unsigned int next = (unsigned int)(leaf->pos + 1), i;
	struct extent e;

	*ed = (struct edit){ .at = next };
	if (leaf->pos >= 0) {
		e = extent_path_extent(path, (unsigned int)leaf->pos);
		if (e.file_block + e.count > pieces[0].file_block)
			ed->at--;	/* the extent that is replaced */
	}
	if (ed->at > 0) {
		ed->at--;
		e = extent_path_extent(path, ed->at);
		edit_add(ed, &e);
	}
	for (i = 0; i < n; i++)
		edit_add(ed, &pieces[i]);
	if (next < leaf->count) {
		e = extent_path_extent(path, next++);
		edit_add(ed, &e);
	}
	ed->n_old = next - ed->at;
}

/* Replace the extent that holds pieces[0].file_block, or the hole there, by `n` pieces. Counts no blocks. */
static int edit(struct tx *tx, struct inode *ip, const struct extent *pieces, unsigned int n)
{
	struct extent_path path = { .tx = tx, .ip = ip };
	struct edit ed;
	int rc;

	extent_path_find(&path, pieces[0].file_block);
	do {
		edit_plan(&path, pieces, n, &ed);
		rc = ed.n > ed.n_old ? extent_tree_room(&path, pieces[0].file_block, ed.n - ed.n_old) : 0;
	} while (rc > 0);
	return rc ? rc : extent_tree_splice(&path, ed.at, ed.n_old, ed.e, ed.n);
}

int extent_insert(struct tx *tx, struct inode *ip, const struct extent *e)
{
	struct extent piece = *e, hole;
	uint64_t left = e->count;
	int rc = tree_ready(ip);

	assert(ip->tx == tx);
	assert(e->file_block < FILE_END && e->count <= FILE_END - e->file_block);
	assert(ip->core.format == INODE_FORMAT_EXTENTS || ip->core.format == INODE_FORMAT_TREE);
	if (rc)
		return rc;
	hole = lookup(tx, ip, e->file_block);
	assert(!hole.block && hole.count >= e->count);
	while (left) {
		piece.count = left < EXTENT_MAX_LEN ? left : EXTENT_MAX_LEN;
		rc = edit(tx, ip, &piece, 1);
		if (rc)
			return rc;
		ip->core.blocks += piece.count;
		piece.file_block += piece.count;
		piece.block += piece.count;
		left -= piece.count;
	}
	return 0;
}

/* The part of an extent from file block `from` to `to`. */
static struct extent part(const struct extent *e, uint64_t from, uint64_t to)
{
	return (struct extent){
		.file_block = from,
		.block = e->block + (from - e->file_block),
		.count = to - from,
		.unwritten = e->unwritten,
	};
}

/* Everything of `file_block`, +count that can be in a file. */
static uint64_t range_end(uint64_t file_block, uint64_t count)
{
	return file_block < FILE_END && count < FILE_END - file_block ? file_block + count : FILE_END;
}

int extent_remove(struct tx *tx, struct inode *ip, uint64_t file_block, uint64_t count)
{
	uint64_t end = range_end(file_block, count), extent_end;
	struct extent e, pieces[2], hole;
	int rc = tree_ready(ip);

	assert(ip->tx == tx);
	if (rc || !count || file_block >= end)
		return rc;
	e = lookup(tx, ip, file_block);
	extent_end = e.file_block + e.count;
	if (!e.block && extent_end >= end)
		return 0;
	if (!e.block || e.file_block >= file_block || extent_end <= end)
		return extent_tree_cut(tx, ip, file_block, end);
	pieces[0] = part(&e, e.file_block, file_block);
	pieces[1] = part(&e, end, extent_end);
	hole = part(&e, file_block, end);
	rc = edit(tx, ip, pieces, 2);
	return rc ? rc : extent_free_data(tx, ip, hole.block, hole.count);
}

int extent_set_written(struct tx *tx, struct inode *ip, uint64_t file_block, uint64_t count, bool written)
{
	uint64_t end = range_end(file_block, count), next;
	int rc = tree_ready(ip);

	assert(ip->tx == tx);
	for (; !rc && file_block < end; file_block = next) {
		struct extent e = lookup(tx, ip, file_block), pieces[3];
		uint64_t extent_end = e.file_block + e.count;
		unsigned int n = 0;

		next = extent_end < end ? extent_end : end;
		if (!e.block || e.unwritten != written)
			continue;
		if (e.file_block < file_block)
			pieces[n++] = part(&e, e.file_block, file_block);
		pieces[n] = part(&e, file_block, next);
		pieces[n++].unwritten = !written;
		if (next < extent_end)
			pieces[n++] = part(&e, next, extent_end);
		rc = edit(tx, ip, pieces, n);
	}
	return rc;
}

/* ---- The end of a file --------------------------------------------------------------------------------- */

struct free_all {
	struct pool	*pool;
	bool		 meta;		/* data blocks too are named by records */
	uint64_t	 seq;		/* the last record that can name any of them */
};

static int free_one(void *arg, const struct extent *e, uint64_t node)
{
	const struct free_all *f = arg;

	if (!e)
		return balloc_free_after(f->pool->balloc, node, 1, f->seq);
	if (f->meta)
		return balloc_free_after(f->pool->balloc, e->block, e->count, f->seq);
	return pool_free_data(f->pool, e->block, e->count);
}

static void free_all(struct inode *ip, bool meta)
{
	struct free_all f = { .pool = ip->pool, .meta = meta };

	f.seq = journal_next_seq(ip->pool->journal) - 1;
	if (extent_walk(ip, free_one, &f) == 0)
		return;
	log_error("inode %llu: blocks behind a damaged extent stay in use until the next mount",
		  (unsigned long long)ip->ino);
	balloc_leak(ip->pool->balloc);
}

void extent_free_all(struct inode *ip)
{
	free_all(ip, false);
}

void extent_free_all_meta(struct inode *ip)
{
	free_all(ip, true);
}
