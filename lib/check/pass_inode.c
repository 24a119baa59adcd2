/*
 * Pass 2: the inode table and every inode in it, with all blocks they refer to.
 *
 * The table is a file whose own inode lies in block 2; its blocks are claimed first, so that no inode can
 * take them away. Slots are numbered by the rank of their block among the blocks that exist, not by inode
 * number: an image may place a block at the far end of the table, and memory follows the blocks.
 *
 * A live inode is checked by itself: seal and number, type against format, size against type, extents
 * (extent_map.c), attributes (inode_xattr.c), block count. What the daemon's own verifier would refuse is a
 * finding even where nothing was found here.
 *
 * Relies on:	pass_super
 * Produces:	table, slots (state, type, nlink), dirs and dir_blocks in order; every block of every live
 *		inode claimed; report->inodes, inodes_used, directories, files
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check/check_private.h"

#define SYMLINK_MAX	4095U			/* bytes of a target: PATH_MAX without the NUL */
#define DIR_MAX_BLOCKS	((1ULL << 32) * DIR_ALIGN >> BLOCK_SHIFT)
#define ITABLE_MAX_BLOCKS	((INO_MAX + 1) / INODES_PER_BLOCK)

/* One live inode on its way through the checks. */
struct visit {
	struct check		*c;
	const struct disk_inode	*d;
	uint64_t		 ino, block;	/* of the table, where the slot lies */
	uint32_t		 type;		/* S_IFMT bits */
	bool			 damaged;	/* something was reported */
};

static void visit_problem(struct visit *v, enum problem number, struct problem_context *ctx)
{
	v->damaged = true;
	ctx->ino = v->ino;
	check_problem(v->c, number, ctx);
}

static const char *type_name(uint32_t type)
{
	switch (type) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFCHR:
	case S_IFBLK:
		return "device";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return NULL;
	}
}

/* ---- Blocks of one inode ------------------------------------------------------------------------------- */

static struct map_walk inode_walk(struct check *c, const struct disk_inode *d, uint64_t ino)
{
	struct map_walk w = {
		.c = c, .owner = { OWNER_DATA, ino }, .generation = le64_to_cpu(d->generation),
		.end_max = EXTENT_FILE_BLOCK_MAX + 1,
	};

	switch (le32_to_cpu(d->mode) & S_IFMT) {
	case S_IFDIR:
		w.owner.kind = OWNER_DIR;
		w.written_only = "directory";
		w.end_max = DIR_MAX_BLOCKS;
		break;
	case S_IFLNK:
		w.written_only = "symlink";
		break;
	}
	return w;
}

static struct map_walk table_walk(struct check *c, const struct disk_inode *d)
{
	return (struct map_walk){
		.c = c, .owner = { OWNER_ITABLE, INO_ITABLE }, .generation = le64_to_cpu(d->generation),
		.written_only = "inode table", .end_max = ITABLE_MAX_BLOCKS,
	};
}

static int add_dir_blocks(struct map_walk *w, const struct extent *e)
{
	struct check *c = w->c;
	struct check_dir_block *b;

	for (uint64_t i = 0; i < e->count; i++) {
		b = check_vector_add(&c->dir_blocks, sizeof(*b));
		if (!b)
			return check_nomem(c);
		b->block = e->block + i;
		b->index = e->file_block + i;
		b->dir = c->dirs.count - 1;
	}
	return 0;
}

static int add_dir(struct visit *v)
{
	struct check_dir *dir = check_vector_add(&v->c->dirs, sizeof(*dir));

	if (!dir)
		return check_nomem(v->c);
	dir->ino = v->ino;
	dir->generation = le64_to_cpu(v->d->generation);
	dir->parent = le64_to_cpu(v->d->rdev);
	return 0;
}

static int visit_blocks(struct visit *v)
{
	struct map_walk w = inode_walk(v->c, v->d, v->ino);
	uint64_t blocks = le64_to_cpu(v->d->blocks), size = le64_to_cpu(v->d->size);
	int rc;

	if (v->type == S_IFDIR)
		w.extent = add_dir_blocks;
	rc = map_walk(&w, v->d);
	if (rc)
		return rc;
	v->damaged |= w.damaged;
	if (v->type == S_IFDIR && !w.damaged && size != w.next << BLOCK_SHIFT)
		visit_problem(v, PROBLEM_DIR_SIZE,
			      &(struct problem_context){ .found = size, .want = w.next << BLOCK_SHIFT });
	if (!xattr_claim(v->c, v->ino, v->d)) {
		v->damaged = true;
		return 0;
	}
	w.blocks += le32_to_cpu(v->d->xattr_blocks);
	if (!w.damaged && blocks != w.blocks)
		visit_problem(v, PROBLEM_INODE_BLOCKS,
			      &(struct problem_context){ .found = blocks, .want = w.blocks });
	return xattr_check(v->c, v->ino, v->d);
}

/* ---- The inode itself ---------------------------------------------------------------------------------- */

static void visit_format(struct visit *v)
{
	struct problem_context ctx = { .what = type_name(v->type) };
	unsigned int count = le16_to_cpu(v->d->count);

	switch (v->d->format) {
	case INODE_FORMAT_NONE:
		ctx.by = v->type == S_IFREG || v->type == S_IFDIR || v->type == S_IFLNK ? "no format" : NULL;
		break;
	case INODE_FORMAT_EXTENTS:
		ctx.by = count > INODE_EXTENTS ? "more extents than its area holds" : NULL;
		if (count && v->type != S_IFREG && v->type != S_IFDIR && v->type != S_IFLNK)
			ctx.by = "extents";
		break;
	case INODE_FORMAT_TREE:
		ctx.by = v->type != S_IFREG && v->type != S_IFDIR ? "a tree" : NULL;
		if (!count || count > INODE_EXTENTS)
			ctx.by = "a tree with a root of this many entries";
		else if (!v->d->depth || v->d->depth > EXTENT_TREE_MAX_DEPTH)
			ctx.by = "a tree of this depth";
		break;
	case INODE_FORMAT_INLINE:
		ctx.by = v->type != S_IFLNK ? "an inline target" : NULL;
		break;
	default:
		ctx.by = "an unknown format";
	}
	if (ctx.by)
		visit_problem(v, PROBLEM_INODE_FORMAT, &ctx);
}

static void visit_size(struct visit *v)
{
	uint64_t size = le64_to_cpu(v->d->size), max = 0;

	switch (v->type) {
	case S_IFREG:
		max = INT64_MAX;
		break;
	case S_IFDIR:
		max = DIR_MAX_BLOCKS << BLOCK_SHIFT;
		break;
	case S_IFLNK:
		max = SYMLINK_MAX;
		break;
	}
	if (size > max)
		visit_problem(v, PROBLEM_INODE_SIZE, &(struct problem_context){
			.what = type_name(v->type), .found = size, .want = max });
}

/* A target that does not fit the inode: one written extent of one block at file block 0. */
static const char *target_block(struct visit *v, const char **target)
{
	struct extent e = extent_unpack(v->d->extent[0]);

	if (v->d->format != INODE_FORMAT_EXTENTS)
		return "is inline and longer than the inode holds";
	if (le16_to_cpu(v->d->count) != 1 || e.file_block || e.count != 1 || e.unwritten)
		return "is not in one written block";
	if (e.block >= v->c->super.blocks)
		return "is outside the pool";
	*target = overlay_block(v->c->overlay, e.block, v->c->block_buf[1]);
	return NULL;
}

/* What follows the target in its area or block is zeros. */
static const char *target_wrong(struct visit *v, uint64_t size)
{
	const char *target = (const char *)v->d->target, *wrong = NULL;
	uint64_t room = INODE_AREA_SIZE;

	if (!size)
		return "is empty";
	if (size > INODE_AREA_SIZE) {
		room = BLOCK_SIZE;
		wrong = target_block(v, &target);
	} else if (v->d->format != INODE_FORMAT_INLINE) {
		wrong = "is short and not inline";
	}
	if (wrong)
		return wrong;
	if (memchr(target, 0, size))
		return "has a NUL inside";
	for (uint64_t i = size; i < room; i++)
		if (target[i])
			return "is not followed by zeros";
	return NULL;
}

static void visit_symlink(struct visit *v)
{
	uint64_t size = le64_to_cpu(v->d->size);
	const char *wrong = target_wrong(v, size);

	if (wrong)
		visit_problem(v, PROBLEM_SYMLINK_TARGET,
			      &(struct problem_context){ .found = size, .what = wrong });
}

static void visit_generation(struct visit *v)
{
	uint64_t mount = le64_to_cpu(v->d->generation) >> 32;

	if (mount > v->c->tail.mount)
		visit_problem(v, PROBLEM_INODE_GENERATION,
			      &(struct problem_context){ .found = mount, .want = v->c->tail.mount });
}

static const char *inode_wrong(const struct check *c, const struct disk_inode *d, uint64_t ino, uint64_t off)
{
	const char *wrong = check_sealed(c, d, sizeof(*d), off, INODE_MAGIC);

	if (wrong)
		return wrong;
	if (le64_to_cpu(d->ino) != ino)
		return "number";
	return type_name(le32_to_cpu(d->mode) & S_IFMT) ? NULL : "mode";
}

static void count_live(struct visit *v, struct check_slot *slot)
{
	slot->state = SLOT_LIVE;
	slot->nlink = le32_to_cpu(v->d->nlink);
	slot->type = IFTODT(v->type);
	v->c->report->inodes_used++;
	if (v->type == S_IFDIR)
		v->c->report->directories++;
	else
		v->c->report->files++;
}

static int visit_live(struct visit *v, struct check_slot *slot, uint64_t off)
{
	const char *wrong;
	int rc;

	count_live(v, slot);
	visit_generation(v);
	visit_format(v);
	visit_size(v);
	rc = v->type == S_IFDIR ? add_dir(v) : 0;
	if (!rc)
		rc = visit_blocks(v);
	if (rc)
		return rc;
	if (v->type == S_IFLNK && !v->damaged)
		visit_symlink(v);
	wrong = v->damaged ? NULL : disk_inode_verify(&v->c->super, v->d, v->ino, off);
	if (wrong)
		visit_problem(v, PROBLEM_INODE_INVALID,
			      &(struct problem_context){ .block = v->block, .what = wrong });
	return 0;
}

/* ---- The table ----------------------------------------------------------------------------------------- */

static bool slot_free(const struct disk_inode *d)
{
	return le32_to_cpu(d->magic) == 0 || le32_to_cpu(d->nlink) == 0;
}

static int check_slots_of(struct check *c, uint64_t ino, uint64_t block, struct check_slot *slots)
{
	const struct disk_inode *d = overlay_block(c->overlay, block, c->block_buf[0]);
	uint64_t off = block << BLOCK_SHIFT;
	struct visit v;
	int rc = 0;

	for (unsigned int i = 0; !rc && i < INODES_PER_BLOCK; i++, ino++, off += INODE_SIZE) {
		const char *wrong;

		if (slot_free(&d[i]))
			continue;
		v = (struct visit){ .c = c, .d = &d[i], .ino = ino, .block = block };
		wrong = inode_wrong(c, &d[i], ino, off);
		v.type = le32_to_cpu(d[i].mode) & S_IFMT;
		if (ino == INO_ITABLE)
			wrong = "slot 0 is never used";
		if (!wrong) {
			rc = visit_live(&v, &slots[i], off);
			continue;
		}
		slots[i].state = SLOT_DAMAGED;
		visit_problem(&v, PROBLEM_INODE_INVALID,
			      &(struct problem_context){ .block = block, .what = wrong });
	}
	return rc;
}

static int check_table(struct check *c)
{
	const struct table_run *runs = c->table.items;
	int rc = 0;

	for (uint64_t n = 0; n < c->table.count; n++)
		for (uint64_t i = 0; !rc && i < runs[n].count; i++)
			rc = check_slots_of(c, (runs[n].file_block + i) * INODES_PER_BLOCK, runs[n].block + i,
					    &c->slots[(runs[n].rank + i) * INODES_PER_BLOCK]);
	return rc;
}

static int add_table_run(struct map_walk *w, const struct extent *e)
{
	struct check *c = w->c;
	struct table_run *run = check_vector_add(&c->table, sizeof(*run));

	if (!run)
		return check_nomem(c);
	*run = (struct table_run){ e->file_block, e->block, e->count, c->table_blocks };
	c->table_blocks += e->count;
	return 0;
}

/* In blocks. A table of more blocks than the pool would be mostly holes, and readers keep a word for each. */
static void check_table_size(struct check *c, uint64_t size, uint64_t mapped_end)
{
	if (size < mapped_end)
		check_problem(c, PROBLEM_ITABLE_SIZE, &(struct problem_context){
			.found = size, .want = mapped_end, .what = "its last one ends at" });
	else if (size > c->super.blocks)
		check_problem(c, PROBLEM_ITABLE_SIZE, &(struct problem_context){
			.found = size, .want = c->super.blocks, .what = "the pool has no more than" });
}

static const struct disk_inode *table_inode(struct check *c)
{
	return overlay_block(c->overlay, BLOCK_ITABLE_INODE, c->block_buf[0]);
}

static int read_table(struct check *c)
{
	uint64_t off = (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT, size, blocks;
	const struct disk_inode *d = table_inode(c);
	const char *wrong = inode_wrong(c, d, INO_ITABLE, off);
	struct map_walk w = table_walk(c, d);
	int rc;

	if (!wrong)
		wrong = disk_inode_verify(&c->super, d, INO_ITABLE, off);
	if (wrong)
		return check_problem(c, PROBLEM_ITABLE_DAMAGED, &(struct problem_context){ .what = wrong });
	size = le64_to_cpu(d->size);
	blocks = le64_to_cpu(d->blocks);
	w.extent = add_table_run;
	rc = map_walk(&w, d);
	if (rc)
		return rc;
	check_table_size(c, size >> BLOCK_SHIFT, w.next);
	if (!w.damaged && blocks != w.blocks)
		check_problem(c, PROBLEM_INODE_BLOCKS,
			      &(struct problem_context){ .found = blocks, .want = w.blocks });
	c->table_slots = size / INODE_SIZE;
	c->report->inodes = c->table_slots;
	return 0;
}

static bool root_live(struct check *c)
{
	struct check_slot *slot = check_slot(c, INO_ROOT);

	return slot && (slot->state == SLOT_DAMAGED || (slot->state == SLOT_LIVE && slot->type == DT_DIR));
}

int pass_inode(struct check *c)
{
	int rc = read_table(c);

	if (rc)
		return rc;
	c->names = nameset_new();
	c->run_buf = check_calloc(XATTR_RUN_MAX, BLOCK_SIZE);
	c->slots = check_calloc(c->table_blocks * INODES_PER_BLOCK + 1, sizeof(*c->slots));
	if (!c->names || !c->run_buf || !c->slots)
		return check_nomem(c);
	rc = check_table(c);
	if (!rc && !root_live(c))
		check_problem(c, PROBLEM_ROOT_MISSING, &(struct problem_context){ .ino = INO_ROOT });
	return rc;
}

/* ---- Once more, for pass_space ------------------------------------------------------------------------- */

static void claim_slots_of(struct check *c, uint64_t ino, uint64_t block, const struct check_slot *slots)
{
	const struct disk_inode *d = overlay_block(c->overlay, block, c->block_buf[0]);
	struct map_walk w;

	for (unsigned int i = 0; i < INODES_PER_BLOCK; i++, ino++) {
		if (slots[i].state != SLOT_LIVE)
			continue;
		w = inode_walk(c, &d[i], ino);
		map_walk(&w, &d[i]);
		xattr_claim(c, ino, &d[i]);
	}
}

void inode_claim_all(struct check *c)
{
	const struct table_run *runs = c->table.items;
	const struct disk_inode *d = table_inode(c);
	struct map_walk w = table_walk(c, d);

	map_walk(&w, d);
	for (uint64_t n = 0; n < c->table.count; n++)
		for (uint64_t i = 0; i < runs[n].count; i++)
			claim_slots_of(c, (runs[n].file_block + i) * INODES_PER_BLOCK, runs[n].block + i,
				       &c->slots[(runs[n].rank + i) * INODES_PER_BLOCK]);
}
