/*
 * The extent tree at the level of nodes: a B+tree whose root is the area in the inode and whose leaves hold
 * extents.
 *
 * Every node but the root has at least one entry. The key of an index entry is the first file block that is
 * mapped below it, exactly: were it less, the hole between would belong to one leaf and the extent that fills
 * it to another. Siblings are merged only where a cut passed and only while both fit in half a node; the root
 * takes its only child's entries back as soon as they fit into the inode.
 *
 * Crash safety is the transaction's: an existing node changes in a shadow of its block, so that the record
 * holds the words that differ; a new node is stored whole before the record, which alone makes it reachable.
 * A node that goes away is not changed at all, only freed, by the revoke rule. This bounds the record: a cut
 * of any size changes the nodes on two paths.
 */
#include "meta/extent_tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "meta/balloc.h"
#include "util/crc32c.h"

#define MERGE_ENTRIES	(EXTENT_NODE_ENTRIES / 2)	/* of two siblings that become one */

/* A node as a transaction (NULL: nobody) sees it. Block 0 is the root. */
struct node {
	struct tx	*tx;
	struct inode	*ip;
	uint64_t	 block;
	unsigned int	 level;		/* 0: leaf */
};

/* ---- Nodes --------------------------------------------------------------------------------------------- */

static uint64_t entry_key(const struct disk_extent *e, unsigned int level)
{
	return level ? le64_to_cpu(e->lo) : extent_unpack(*e).file_block;
}

static uint64_t entry_child(const struct disk_extent *e)
{
	return le64_to_cpu(e->hi);
}

static struct disk_extent index_entry(uint64_t key, uint64_t child)
{
	return (struct disk_extent){ .lo = cpu_to_le64(key), .hi = cpu_to_le64(child) };
}

/* The entries. Valid until something is changed. */
static const struct disk_extent *node_entries(const struct node *n, unsigned int *count)
{
	const struct disk_extent_node *d;

	if (!n->block) {
		*count = n->ip->core.count;
		return n->ip->core.extent;
	}
	d = n->tx ? tx_read(n->tx, n->block << BLOCK_SHIFT) : pool_block(n->ip->pool, n->block);
	*count = le16_to_cpu(d->count);
	return d->extent;
}

static unsigned int node_capacity(const struct node *n)
{
	return n->block ? EXTENT_NODE_ENTRIES : INODE_EXTENTS;
}

static struct node node_child(const struct node *n, unsigned int pos)
{
	unsigned int count;
	const struct disk_extent *e = node_entries(n, &count);

	assert(n->level && pos < count);
	return (struct node){
		.tx = n->tx,
		.ip = n->ip,
		.block = entry_child(&e[pos]),
		.level = n->level - 1,
	};
}

static struct node node_root(struct tx *tx, struct inode *ip)
{
	return (struct node){ .tx = tx, .ip = ip, .level = ip->core.depth };
}

/* The last of the entries with a key at or before file_block; -1 when there is none. */
static int node_search(const struct node *n, uint64_t file_block)
{
	unsigned int low = 0, high;
	const struct disk_extent *e = node_entries(n, &high);

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (entry_key(&e[mid], n->level) <= file_block)
			low = mid + 1;
		else
			high = mid;
	}
	return (int)low - 1;
}

static void seal_node(const struct pool *p, void *shadow, uint64_t off, void *arg)
{
	struct disk_extent_node *d = shadow;

	(void)arg;
	d->crc = cpu_to_le32(crc32c_object(format_seed(&p->super, off), d, sizeof(*d),
					   offsetof(struct disk_extent_node, crc)));
}

/* Replace n_old entries from `at` on by n_new others, not the node's own. That they fit is the caller's. */
static int node_replace(const struct node *n, unsigned int at, unsigned int n_old,
			const struct disk_extent *new, unsigned int n_new)
{
	struct disk_extent *e = n->ip->core.extent;
	struct disk_extent_node *d = NULL;
	unsigned int count, rest;

	(void)node_entries(n, &count);
	rest = count - at - n_old;
	count = count - n_old + n_new;
	assert(count <= node_capacity(n));
	if (n->block) {
		d = tx_shadow(n->tx, n->block << BLOCK_SHIFT, BLOCK_SIZE, seal_node, NULL);
		if (!d)
			return n->tx->error;
		d->count = cpu_to_le16((uint16_t)count);
		e = d->extent;
	}
	memmove(e + at + n_new, e + at + n_old, rest * sizeof(*e));
	if (n_new)
		memcpy(e + at, new, n_new * sizeof(*e));
	if (!d) {
		n->ip->core.count = (uint16_t)count;
		memset(e + count, 0, (INODE_EXTENTS - count) * sizeof(*e));
	}
	return 0;
}

/* A new node, not yet reachable, of the same level and holding the same entries from `at` on: *block. */
static int node_copy(const struct node *like, unsigned int at, uint64_t *block)
{
	struct inode *ip = like->ip;
	const struct disk_extent *e;
	struct disk_extent_node *d;
	unsigned int count;
	uint64_t got;
	int rc;

	rc = tx_alloc(like->tx, 1, 0, 0, BALLOC_NOT_CONGRUENT, block, &got);
	if (rc)
		return rc;
	d = tx_new_block(like->tx, *block, seal_node, NULL);
	if (!d)
		return like->tx->error;
	d->magic = cpu_to_le32(EXTENT_MAGIC);
	d->owner = cpu_to_le64(ip->ino);
	d->generation = cpu_to_le64(ip->core.generation);
	d->level = cpu_to_le16((uint16_t)like->level);
	e = node_entries(like, &count);
	d->count = cpu_to_le16((uint16_t)(count - at));
	memcpy(d->extent, e + at, (count - at) * sizeof(*e));
	ip->core.blocks++;
	return 0;
}

/* A damaged inode may hold more than it says. */
static void uncount_blocks(struct inode *ip, uint64_t count)
{
	ip->core.blocks -= count < ip->core.blocks ? count : ip->core.blocks;
}

static int node_free(const struct node *n)
{
	uncount_blocks(n->ip, 1);
	return tx_free_meta(n->tx, n->block, 1);
}

int extent_free_data(struct tx *tx, struct inode *ip, uint64_t block, uint64_t count)
{
	uncount_blocks(ip, count);
	if (ip->ino == INO_ITABLE || INODE_IS_DIR(ip))
		return tx_free_meta(tx, block, count);
	return tx_free_data(tx, block, count);
}

/* ---- Paths --------------------------------------------------------------------------------------------- */

static struct node path_node(const struct extent_path *path, unsigned int step)
{
	return (struct node){ .tx = path->tx, .ip = path->ip, .block = path->step[step].block,
			      .level = path->depth - step };
}

/* Fill steps from `step` (its block is known) down to the leaf, on the way to file_block. */
static void path_descend(struct extent_path *path, unsigned int step, uint64_t file_block)
{
	for (;; step++) {
		struct extent_step *s = &path->step[step];
		struct node n = path_node(path, step);

		(void)node_entries(&n, &s->count);
		s->pos = node_search(&n, file_block);
		if (step == path->depth)
			return;
		if (s->pos < 0)
			s->pos = 0;
		path->step[step + 1].block = node_child(&n, (unsigned int)s->pos).block;
	}
}

void extent_path_find(struct extent_path *path, uint64_t file_block)
{
	path->depth = path->ip->core.depth;
	path->step[0].block = 0;
	path_descend(path, 0, file_block);
}

struct extent extent_path_extent(const struct extent_path *path, unsigned int pos)
{
	struct node n = path_node(path, path->depth);
	unsigned int count;
	const struct disk_extent *e = node_entries(&n, &count);

	assert(pos < count);
	return extent_unpack(e[pos]);
}

bool extent_path_next_leaf(struct extent_path *path)
{
	unsigned int step = path->depth;

	while (step-- > 0) {
		struct extent_step *s = &path->step[step];
		struct node n = path_node(path, step);

		if ((unsigned int)s->pos + 1 == s->count)
			continue;
		s->pos++;
		path->step[step + 1].block = node_child(&n, (unsigned int)s->pos).block;
		path_descend(path, step + 1, 0);
		extent_path_leaf(path)->pos = 0;
		return true;
	}
	return false;
}

/* ---- Growing ------------------------------------------------------------------------------------------- */

/* One level more: what the root holds goes into a node, which becomes its only child. */
static int root_grow(struct extent_path *path)
{
	struct node root = path_node(path, 0);
	struct inode *ip = path->ip;
	struct disk_extent entry;
	uint64_t block;
	int rc;

	if (ip->core.depth == EXTENT_TREE_MAX_DEPTH)
		return -EFBIG;
	rc = node_copy(&root, 0, &block);
	if (rc)
		return rc;
	entry = index_entry(entry_key(&ip->core.extent[0], root.level), block);
	ip->core.format = INODE_FORMAT_TREE;
	ip->core.depth++;
	ip->tree_verified = true;	/* it was, or it consists of this node */
	root.level++;
	return node_replace(&root, 0, ip->core.count, &entry, 1);
}

/*
 * Move the upper half of the node at `step` to a new sibling; the parent has room. Who adds at the end of a
 * full node will probably go on there, so the old node stays full then.
 */
static int node_split(struct extent_path *path, unsigned int step)
{
	const struct extent_step *s = &path->step[step];
	struct node n = path_node(path, step), parent = path_node(path, step - 1);
	unsigned int count, at;
	const struct disk_extent *e = node_entries(&n, &count);
	struct disk_extent entry;
	uint64_t key, block;
	int rc;

	at = (unsigned int)(s->pos + 1) == count ? count - 1 : count / 2;
	key = entry_key(&e[at], n.level);
	rc = node_copy(&n, at, &block);
	if (rc)
		return rc;
	entry = index_entry(key, block);
	rc = node_replace(&n, at, count - at, NULL, 0);
	return rc ? rc : node_replace(&parent, (unsigned int)path->step[step - 1].pos + 1, 0, &entry, 1);
}

int extent_tree_room(struct extent_path *path, uint64_t file_block, unsigned int extra)
{
	unsigned int step = path->depth;
	struct node n = path_node(path, step);
	int rc;

	if (extent_path_leaf(path)->count + extra <= node_capacity(&n))
		return 0;
	for (; step > 0; step--) {
		n = path_node(path, step - 1);
		if (path->step[step - 1].count < node_capacity(&n))
			break;
	}
	rc = step ? node_split(path, step) : root_grow(path);
	if (rc)
		return rc;
	extent_path_find(path, file_block);
	return 1;
}

/* The leaf has a new first extent, before the old one: so have the nodes of which it is the first leaf. */
static int lower_keys(struct extent_path *path, uint64_t first)
{
	unsigned int step = path->depth;
	int rc = 0;

	while (!rc && step-- > 0) {
		struct node n = path_node(path, step);
		unsigned int pos = (unsigned int)path->step[step].pos, count;
		const struct disk_extent *e = node_entries(&n, &count);
		struct disk_extent entry = index_entry(first, entry_child(&e[pos]));

		if (entry_key(&e[pos], n.level) <= first)
			break;
		rc = node_replace(&n, pos, 1, &entry, 1);
	}
	return rc;
}

int extent_tree_splice(struct extent_path *path, unsigned int at, unsigned int n_old, const struct extent *e,
		       unsigned int n_new)
{
	struct node leaf = path_node(path, path->depth);
	struct disk_extent packed[INODE_EXTENTS];
	unsigned int i;
	int rc;

	assert(n_new && n_new <= INODE_EXTENTS);
	for (i = 0; i < n_new; i++)
		packed[i] = extent_pack(&e[i]);
	rc = node_replace(&leaf, at, n_old, packed, n_new);
	return rc || at ? rc : lower_keys(path, e[0].file_block);
}

/* ---- Cutting ------------------------------------------------------------------------------------------- */

struct cut {
	uint64_t	from, to;	/* file blocks [from, to) go */
};

/* Free all below a node, and the node: read only. */
static int free_subtree(const struct node *n)
{
	unsigned int count, i;
	int rc = 0;

	(void)node_entries(n, &count);
	for (i = 0; !rc && i < count; i++) {
		if (n->level) {
			struct node child = node_child(n, i);

			rc = free_subtree(&child);
		} else {
			struct extent x = extent_unpack(node_entries(n, &count)[i]);

			rc = extent_free_data(n->tx, n->ip, x.block, x.count);
		}
	}
	return rc ? rc : node_free(n);
}

/* Cut one extent that begins before `to` and ends after `from`: free the middle, keep at most one end. */
static int cut_extent(const struct node *n, const struct cut *c, struct extent x, struct extent *keep,
		      bool *kept)
{
	uint64_t end = x.file_block + x.count;
	uint64_t from = x.file_block > c->from ? x.file_block : c->from;
	uint64_t to = end < c->to ? end : c->to;

	*kept = from > x.file_block || to < end;
	*keep = x;
	if (from > x.file_block) {
		keep->count = from - x.file_block;
	} else {
		keep->file_block = to;
		keep->block = x.block + (to - x.file_block);
		keep->count = end - to;
	}
	return extent_free_data(n->tx, n->ip, x.block + (from - x.file_block), to - from);
}

/*
 * What is left of a node: entries, and the first key if there are any. A node with none was not touched: the
 * parent frees it.
 */
struct remains {
	unsigned int	count;
	uint64_t	first;
};

/* Take entries [from, to) of a node out and put `n_ends` others in. */
static int cut_entries(const struct node *n, unsigned int from, unsigned int to,
		       const struct disk_extent *ends, unsigned int n_ends, struct remains *left)
{
	const struct disk_extent *e;
	int rc = 0;

	(void)node_entries(n, &left->count);
	left->count -= to - from - n_ends;
	if (!left->count)
		return 0;
	if (from < to)
		rc = node_replace(n, from, to - from, ends, n_ends);
	e = node_entries(n, &left->count);
	left->first = entry_key(&e[0], n->level);
	return rc;
}

static int cut_leaf(const struct node *n, const struct cut *c, struct remains *left)
{
	struct disk_extent ends[2];
	unsigned int n_ends = 0, first, last, i, count;
	const struct disk_extent *e = node_entries(n, &count);
	int pos = node_search(n, c->from);
	struct extent x, keep;
	bool kept;
	int rc;

	first = pos < 0 ? 0 : (unsigned int)pos;
	last = (unsigned int)(node_search(n, c->to - 1) + 1);
	if (pos >= 0) {
		x = extent_unpack(e[pos]);
		if (x.file_block + x.count <= c->from)
			first++;
	}
	for (i = first; i < last; i++) {
		rc = cut_extent(n, c, extent_unpack(e[i]), &keep, &kept);
		if (rc)
			return rc;
		if (kept)
			ends[n_ends++] = extent_pack(&keep);
		e = node_entries(n, &count);
	}
	return cut_entries(n, first, last, ends, n_ends, left);
}

static int cut_node(const struct node *n, const struct cut *c, uint64_t end, struct remains *left);

/* Child `pos`, which the range meets at one end or both: *kept if something remains, under its first key. */
static int cut_child(const struct node *n, const struct cut *c, unsigned int pos, uint64_t end, bool *kept)
{
	struct node child = node_child(n, pos);
	struct disk_extent entry;
	struct remains left;
	unsigned int count;
	int rc;

	rc = cut_node(&child, c, end, &left);
	if (rc)
		return rc;
	*kept = left.count;
	if (!left.count)
		return node_free(&child);
	if (entry_key(&node_entries(n, &count)[pos], n->level) == left.first)
		return 0;
	entry = index_entry(left.first, child.block);
	return node_replace(n, pos, 1, &entry, 1);
}

/*
 * Cut a node that ends at file block `end`. Only the first and the last child that the range meets can keep
 * something; what lies between goes as a whole.
 */
static int cut_node(const struct node *n, const struct cut *c, uint64_t end, struct remains *left)
{
	unsigned int count, first, last, i, from, to;
	int rc, pos;

	if (!n->level)
		return cut_leaf(n, c, left);
	pos = node_search(n, c->from);
	from = first = pos < 0 ? 0 : (unsigned int)pos;
	to = last = (unsigned int)(node_search(n, c->to - 1) + 1);
	for (i = first; i < last; i++) {
		struct node child = node_child(n, i);
		const struct disk_extent *e = node_entries(n, &count);
		uint64_t high = i + 1 < count ? entry_key(&e[i + 1], n->level) : end;
		bool kept = false;

		if (entry_key(&e[i], n->level) >= c->from && high <= c->to)
			rc = free_subtree(&child);
		else
			rc = cut_child(n, c, i, high, &kept);
		if (rc)
			return rc;
		if (kept && i == first)
			from++;
		else if (kept)
			to--;
	}
	return cut_entries(n, from, to < from ? from : to, NULL, 0, left);
}

/* Children `pos` and the next become one if both are small. */
static int merge_pair(const struct node *parent, unsigned int pos)
{
	struct disk_extent moved[MERGE_ENTRIES];
	struct node left, right;
	const struct disk_extent *e;
	unsigned int count, more;
	int rc;

	(void)node_entries(parent, &count);
	if (pos + 1 >= count)
		return 0;
	left = node_child(parent, pos);
	right = node_child(parent, pos + 1);
	(void)node_entries(&left, &count);
	e = node_entries(&right, &more);
	if (count + more > MERGE_ENTRIES)
		return 0;
	memcpy(moved, e, more * sizeof(*e));
	rc = node_replace(&left, count, 0, moved, more);
	if (!rc)
		rc = node_replace(parent, pos + 1, 1, NULL, 0);
	return rc ? rc : node_free(&right);
}

/* Where the cut passed, merge what became small with the siblings on either side. */
static int merge_path(struct tx *tx, struct inode *ip, uint64_t file_block)
{
	struct extent_path path = { .tx = tx, .ip = ip };
	unsigned int step;
	int rc = 0;

	for (step = ip->core.depth; !rc && step-- > 0;) {
		struct node parent;
		unsigned int pos;

		extent_path_find(&path, file_block);
		parent = path_node(&path, step);
		pos = (unsigned int)path.step[step].pos;
		rc = merge_pair(&parent, pos);
		if (!rc && pos)
			rc = merge_pair(&parent, pos - 1);
	}
	return rc;
}

/* Levels go while the root's only child fits into the inode. */
static int root_collapse(struct tx *tx, struct inode *ip)
{
	struct disk_extent moved[INODE_EXTENTS];
	int rc = 0;

	while (!rc && ip->core.depth && ip->core.count == 1) {
		struct node root = node_root(tx, ip), child = node_child(&root, 0);
		unsigned int count;
		const struct disk_extent *e = node_entries(&child, &count);

		if (count > INODE_EXTENTS)
			break;
		memcpy(moved, e, count * sizeof(*e));
		rc = node_replace(&root, 0, 1, moved, count);
		if (!rc)
			rc = node_free(&child);
		ip->core.depth--;
		if (!ip->core.depth)
			ip->core.format = INODE_FORMAT_EXTENTS;
	}
	return rc;
}

int extent_tree_cut(struct tx *tx, struct inode *ip, uint64_t from, uint64_t to)
{
	struct cut c = { .from = from, .to = to };
	struct node root = node_root(tx, ip);
	struct remains left;
	int rc;

	rc = cut_node(&root, &c, EXTENT_FILE_BLOCK_MAX + 1, &left);
	if (rc)
		return rc;
	if (!left.count) {
		rc = node_replace(&root, 0, ip->core.count, NULL, 0);
		ip->core.depth = 0;
		if (ip->core.format == INODE_FORMAT_TREE)
			ip->core.format = INODE_FORMAT_EXTENTS;
		return rc;
	}
	rc = merge_path(tx, ip, from);
	return rc ? rc : root_collapse(tx, ip);
}
