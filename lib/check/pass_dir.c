/*
 * Pass 4: the blocks of all directories.
 *
 * The blocks come as one list, in order of the directories, as pass_inode met them; nothing is looked up by
 * name and no tree is walked. Each block must seal and name its directory, generation and place; its chain of
 * records must fill it; each entry must be a name, the only one of its kind in the directory, and lead to a
 * live inode of the type it says.
 *
 * What an entry tells of its inode is counted here and judged in pass_nlink: names of each inode, the
 * directory that names a directory, subdirectories. Entries that lead to an inode which does not verify count
 * for nothing: that finding was made.
 *
 * Relies on:	pass_inode (slots, dirs, dir_blocks)
 * Produces:	slots[].names, dirs[].found_parent, dirs[].subdirs
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "check/check_private.h"
#include "meta/dir.h"

#define ENTRIES_OFF	((unsigned int)offsetof(struct disk_dir_block, entries))

struct dir_visit {
	struct check			*c;
	struct check_dir		*dir;
	const struct check_dir_block	*where;
	const struct disk_dir_block	*block;
	bool				 damaged;
};

static void dir_problem(struct dir_visit *v, enum problem number, struct problem_context *ctx)
{
	v->damaged = true;
	ctx->ino = v->dir->ino;
	ctx->block = v->where->block;
	ctx->file_block = v->where->index;
	check_problem(v->c, number, ctx);
}

static void block_problem(struct dir_visit *v, const char *what)
{
	dir_problem(v, PROBLEM_DIR_BLOCK_INVALID, &(struct problem_context){ .what = what });
}

static const char *header_wrong(const struct dir_visit *v)
{
	const struct disk_dir_block *b = v->block;
	const char *wrong = check_sealed(v->c, b, BLOCK_SIZE, v->where->block << BLOCK_SHIFT, DIR_MAGIC);

	if (wrong)
		return wrong;
	if (le64_to_cpu(b->owner) != v->dir->ino)
		return "owner";
	if (le64_to_cpu(b->generation) != v->dir->generation)
		return "generation";
	return le64_to_cpu(b->index) == v->where->index ? NULL : "index";
}

/* NULL, or why the chain cannot be followed beyond this record. */
static const char *record_wrong(const struct disk_dirent *d, unsigned int off)
{
	unsigned int len = le16_to_cpu(d->rec_len), room = BLOCK_SIZE - off;

	if (len < DIRENT_LEN(1) || len % DIR_ALIGN || len > room)
		return "record length";
	if (len < room && room - len < DIRENT_LEN(1))
		return "rest too short for a record";
	if (le64_to_cpu(d->ino) == 0)
		return NULL;
	return d->name_len == 0 || DIRENT_LEN(d->name_len) > len ? "name length" : NULL;
}

static bool name_wrong(const struct disk_dirent *d)
{
	const char *name = (const char *)d->name;
	unsigned int len = d->name_len;

	return memchr(name, 0, len) || memchr(name, '/', len) || (len <= 2 && !memcmp(name, "..", len));
}

/* An entry leads to a live directory: it is that directory's one name. */
static void note_subdir(struct dir_visit *v, uint64_t ino, struct problem_context *ctx)
{
	struct check_dir *child = check_dir(v->c, ino);

	v->dir->subdirs++;
	if (child->found_parent)
		dir_problem(v, PROBLEM_DIR_LINKED_TWICE, ctx);
	else
		child->found_parent = v->dir->ino;
}

static void check_target(struct dir_visit *v, const struct disk_dirent *d, struct problem_context *ctx)
{
	uint64_t ino = le64_to_cpu(d->ino);
	struct check_slot *slot = check_slot(v->c, ino);

	ctx->other = ino;
	ctx->found = d->type;
	if (!slot || slot->state == SLOT_FREE) {
		dir_problem(v, PROBLEM_DIRENT_DANGLING, ctx);
		return;
	}
	if (slot->state == SLOT_DAMAGED)
		return;
	if (slot->names < UINT32_MAX)
		slot->names++;
	ctx->want = slot->type;
	if (slot->type != d->type)
		dir_problem(v, PROBLEM_DIRENT_TYPE, ctx);
	if (slot->type == DT_DIR)
		note_subdir(v, ino, ctx);
}

static int check_entry(struct dir_visit *v, const struct disk_dirent *d, unsigned int off)
{
	struct problem_context ctx = { .name = (const char *)d->name, .name_len = d->name_len };
	struct set_name name = { .name = ctx.name, .len = d->name_len,
				 .off = (v->where->block << BLOCK_SHIFT) + off + DIRENT_HEADER };
	int rc = nameset_add(v->c->names, v->c->overlay, &name);

	if (rc < 0)
		return check_nomem(v->c);
	if (rc)
		dir_problem(v, PROBLEM_DIRENT_DUPLICATE, &ctx);
	if (name_wrong(d))
		dir_problem(v, PROBLEM_DIRENT_NAME, &ctx);
	check_target(v, d, &ctx);
	return 0;
}

static int check_records(struct dir_visit *v)
{
	const struct disk_dirent *d;
	const char *wrong;
	int rc = 0;

	for (unsigned int off = ENTRIES_OFF; !rc && off < BLOCK_SIZE; off += le16_to_cpu(d->rec_len)) {
		d = (const struct disk_dirent *)((const char *)v->block + off);
		wrong = record_wrong(d, off);
		if (wrong) {
			block_problem(v, wrong);
			return 0;
		}
		if (le64_to_cpu(d->ino))
			rc = check_entry(v, d, off);
	}
	return rc;
}

static int check_dir_block(struct dir_visit *v)
{
	const char *wrong;
	int rc;

	v->block = overlay_block(v->c->overlay, v->where->block, v->c->block_buf[0]);
	wrong = header_wrong(v);
	if (wrong) {
		block_problem(v, wrong);
		return 0;
	}
	rc = check_records(v);
	if (rc || v->damaged)
		return rc;
	wrong = disk_dir_block_verify(&v->c->super, v->block, v->where->block, v->dir->ino,
				      v->dir->generation, v->where->index);
	if (wrong)
		block_problem(v, wrong);
	return 0;
}

int pass_dir(struct check *c)
{
	const struct check_dir_block *blocks = c->dir_blocks.items;
	struct check_dir *dirs = c->dirs.items, *root = check_dir(c, INO_ROOT);
	struct dir_visit v;
	int rc = 0;

	if (root)
		root->found_parent = INO_ROOT;
	for (uint64_t i = 0; !rc && i < c->dir_blocks.count; i++) {
		if (i == 0 || blocks[i].dir != blocks[i - 1].dir)
			rc = nameset_clear(c->names) ? check_nomem(c) : 0;
		v = (struct dir_visit){ .c = c, .dir = &dirs[blocks[i].dir], .where = &blocks[i] };
		if (!rc)
			rc = check_dir_block(&v);
	}
	return rc;
}
