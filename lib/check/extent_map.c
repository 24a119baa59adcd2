/*
 * The extents of one inode, read from the overlay: what pass_inode sees of a file's blocks.
 *
 * Checked here: extents stand in order and do not overlap, lie inside the pool and inside the key range of
 * their node; nodes seal, name their owner and level, and stand in order; what may not be unwritten is not.
 * Each node and each extent is claimed (pass_space.c), and only a node that was free until now is descended
 * into: trees that share nodes, or bite their own tail, end there. Depth is bounded by the level, which falls
 * by one with each node.
 *
 * Own code throughout; the verifier of lib/meta is asked only about nodes in which nothing was found, so that
 * what the daemon refuses to read is never called well here.
 */
#include "check/check_private.h"

/* File blocks [low, high) are what the entry above gives to a node. */
struct range {
	uint64_t	low, high;
};

static void map_problem(struct map_walk *w, enum problem number, struct problem_context *ctx)
{
	w->damaged = true;
	ctx->ino = w->owner.ino;
	check_problem(w->c, number, ctx);
}

static bool in_pool(const struct check *c, uint64_t block, uint64_t count)
{
	return block < c->super.blocks && count <= c->super.blocks - block;
}

static bool extent_sound(struct map_walk *w, const struct extent *e, struct range range)
{
	struct problem_context ctx = { .file_block = e->file_block, .block = e->block, .found = e->count,
				       .want = w->next, .what = w->written_only };
	uint64_t end = e->file_block + e->count;

	if (!e->count || !in_pool(w->c, e->block, e->count) || end > w->end_max) {
		map_problem(w, PROBLEM_EXTENT_BOUNDS, &ctx);
		return false;
	}
	if (e->file_block < range.low || end > range.high) {
		map_problem(w, PROBLEM_EXTENT_RANGE, &ctx);
		return false;
	}
	if (e->file_block < w->next) {
		map_problem(w, PROBLEM_EXTENT_ORDER, &ctx);
		return false;
	}
	if (e->unwritten && w->written_only)
		map_problem(w, PROBLEM_EXTENT_UNWRITTEN, &ctx);
	return true;
}

static int walk_extents(struct map_walk *w, const struct disk_extent *extents, unsigned int count,
			struct range range)
{
	struct extent e;
	uint64_t claimed;
	int rc = 0;

	for (unsigned int i = 0; !rc && i < count; i++) {
		e = extent_unpack(extents[i]);
		if (!extent_sound(w, &e, range))
			continue;
		w->next = e.file_block + e.count;
		w->blocks += e.count;
		claimed = space_claim(w->c, w->owner, e.block, e.count);
		if (claimed < e.count)
			w->damaged = true;
		e.count = claimed;
		if (w->extent && claimed)
			rc = w->extent(w, &e);
	}
	return rc;
}

static const char *node_header(const struct map_walk *w, const struct disk_extent_node *node, uint64_t block,
			       unsigned int level)
{
	const char *wrong = check_sealed(w->c, node, BLOCK_SIZE, block << BLOCK_SHIFT, EXTENT_MAGIC);

	if (wrong)
		return wrong;
	if (le64_to_cpu(node->owner) != w->owner.ino)
		return "owner";
	if (le64_to_cpu(node->generation) != w->generation)
		return "generation";
	if (le16_to_cpu(node->level) != level)
		return "level";
	return !le16_to_cpu(node->count) || le16_to_cpu(node->count) > EXTENT_NODE_ENTRIES ? "count" : NULL;
}

static void node_invalid(struct map_walk *w, uint64_t block, const char *wrong)
{
	map_problem(w, PROBLEM_NODE_INVALID, &(struct problem_context){ .block = block, .what = wrong });
}

static int walk_index(struct map_walk *w, const struct disk_extent_index *index, unsigned int count,
		      unsigned int level, struct range range);

static int walk_node(struct map_walk *w, uint64_t block, unsigned int level, struct range range)
{
	const struct disk_extent_node *node = overlay_block(w->c->overlay, block, w->c->node_buf[level]);
	const char *wrong = node_header(w, node, block, level);
	unsigned int count = le16_to_cpu(node->count);
	bool damaged = w->damaged;
	int rc;

	if (wrong) {
		node_invalid(w, block, wrong);
		return 0;
	}
	w->damaged = false;
	if (level)
		rc = walk_index(w, node->index, count, level, range);
	else
		rc = walk_extents(w, node->extent, count, range);
	if (!w->damaged)
		wrong = disk_extent_node_verify(&w->c->super, node, block, w->owner.ino, w->generation,
						level);
	if (wrong)
		node_invalid(w, block, wrong);
	w->damaged |= damaged;
	return rc;
}

/* `level` of the node that holds the index; its children are one below. */
static int walk_index(struct map_walk *w, const struct disk_extent_index *index, unsigned int count,
		      unsigned int level, struct range range)
{
	struct owner owner = { OWNER_NODE, w->owner.ino };
	struct problem_context ctx;
	struct range below;
	uint64_t child;
	int rc = 0;

	for (unsigned int i = 0; !rc && i < count; i++) {
		child = le64_to_cpu(index[i].child);
		below.low = le64_to_cpu(index[i].key);
		below.high = i + 1 < count ? le64_to_cpu(index[i + 1].key) : range.high;
		ctx = (struct problem_context){ .block = child, .found = below.low };
		w->blocks++;
		if (below.low < range.low || below.high > range.high || below.low >= below.high)
			map_problem(w, PROBLEM_NODE_ORDER, &ctx);
		else if (!in_pool(w->c, child, 1))
			map_problem(w, PROBLEM_NODE_BOUNDS, &ctx);
		else if (!space_claim(w->c, owner, child, 1))
			w->damaged = true;
		else
			rc = walk_node(w, child, level - 1, below);
	}
	return rc;
}

int map_walk(struct map_walk *w, const struct disk_inode *d)
{
	struct range all = { 0, EXTENT_FILE_BLOCK_MAX + 1 };
	unsigned int count = le16_to_cpu(d->count);

	w->next = w->blocks = 0;
	w->damaged = false;
	if (count > INODE_EXTENTS)
		return 0;
	if (d->format == INODE_FORMAT_EXTENTS)
		return walk_extents(w, d->extent, count, all);
	if (d->format == INODE_FORMAT_TREE && d->depth && d->depth <= EXTENT_TREE_MAX_DEPTH)
		return walk_index(w, d->index, count, d->depth, all);
	return 0;
}
