/*
 * Pass 5: does each inode have the names it says, and does each directory hang where it should?
 *
 * A file has as many names as its link count, at least one. A directory has one name, in the directory it
 * calls its parent, and a link count of two more than its subdirectories; from each of them the way up ends
 * at the root. The root has no name and is its own parent.
 *
 * A directory that is not below the root hangs below one without a name (which is reported there) or in a
 * cycle, which is looked for by walking up with marks: each directory is passed once.
 *
 * Relies on:	pass_inode (slots, dirs), pass_dir (names, found_parent, subdirs)
 * Produces:	nothing but findings
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "check/check_private.h"

static void check_dir_links(struct check *c, const struct check_dir *dir)
{
	struct problem_context ctx = { .ino = dir->ino };
	const struct check_slot *slot = check_slot(c, dir->ino);

	if (!dir->found_parent) {
		check_problem(c, PROBLEM_DIR_UNCONNECTED, &ctx);
	} else if (dir->parent != dir->found_parent) {
		ctx.found = dir->parent;
		ctx.want = dir->found_parent;
		check_problem(c, PROBLEM_DIR_PARENT, &ctx);
	}
	if (slot->nlink == 2 + dir->subdirs)
		return;
	ctx.found = slot->nlink;
	ctx.want = 2 + dir->subdirs;
	check_problem(c, PROBLEM_DIR_NLINK, &ctx);
}

static void check_file_links(struct check *c, uint64_t ino, const struct check_slot *slot)
{
	struct problem_context ctx = { .ino = ino, .found = slot->nlink, .want = slot->names };

	if (slot->state != SLOT_LIVE || slot->type == DT_DIR)
		return;
	if (!slot->names)
		check_problem(c, PROBLEM_INODE_UNCONNECTED, &ctx);
	else if (slot->names != slot->nlink)
		check_problem(c, PROBLEM_INODE_NLINK, &ctx);
}

static void check_files(struct check *c)
{
	const struct table_run *runs = c->table.items;

	for (uint64_t n = 0; n < c->table.count; n++)
		for (uint64_t i = 0; i < runs[n].count * INODES_PER_BLOCK; i++)
			check_file_links(c, runs[n].file_block * INODES_PER_BLOCK + i,
					 &c->slots[runs[n].rank * INODES_PER_BLOCK + i]);
}

/* ---- Cycles -------------------------------------------------------------------------------------------- */

enum mark { MARK_NONE, MARK_PATH, MARK_DONE };

/* Walk up from one directory to the first that was passed before; meeting the own path is a cycle. */
static void walk_up(struct check *c, struct check_dir *from, uint8_t *marks)
{
	struct check_dir *dirs = c->dirs.items, *dir = from;

	while (dir && marks[dir - dirs] == MARK_NONE) {
		marks[dir - dirs] = MARK_PATH;
		dir = dir->ino != INO_ROOT && dir->found_parent ? check_dir(c, dir->found_parent) : NULL;
	}
	if (dir && marks[dir - dirs] == MARK_PATH)
		check_problem(c, PROBLEM_DIR_CYCLE, &(struct problem_context){ .ino = dir->ino });
	for (dir = from; dir && marks[dir - dirs] == MARK_PATH;) {
		marks[dir - dirs] = MARK_DONE;
		dir = dir->found_parent ? check_dir(c, dir->found_parent) : NULL;
	}
}

int pass_nlink(struct check *c)
{
	struct check_dir *dirs = c->dirs.items;
	uint8_t *marks = check_calloc(c->dirs.count + 1, sizeof(*marks));

	if (!marks)
		return check_nomem(c);
	for (uint64_t i = 0; i < c->dirs.count; i++) {
		check_dir_links(c, &dirs[i]);
		walk_up(c, &dirs[i], marks);
	}
	free(marks);
	check_files(c);
	return 0;
}
