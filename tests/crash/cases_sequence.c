/*
 * Sequences: operations whose danger lies in what came before - metadata blocks freed and reused while records still
 * name them, the tail moving between, a ring that has gone round, a pool that is full.
 */
#include "crash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>


#define KIB	1024ULL

static const struct fs_cred cred = { .uid = 1000, .gid = 1000, .umask = 022 };

static int make_many(struct fs *fs, const char *dir, unsigned int first, unsigned int count)
{
	char path[300];
	int rc = 0;

	for (unsigned int i = 0; !rc && i < count; i++) {
		snprintf(path, sizeof(path), "%s/%0200u", dir, first + i);
		rc = crash_mkfile(fs, path, 0, 0);
	}
	return rc;
}

static int unlink_many(struct fs *fs, const char *dir, unsigned int first, unsigned int count)
{
	char path[300];
	int rc = 0;

	for (unsigned int i = 0; !rc && i < count; i++) {
		snprintf(path, sizeof(path), "%s/%0200u", dir, first + i);
		rc = crash_unlink(fs, path);
	}
	return rc;
}

/* ---- A directory block freed, then file data in its place ---------------------------------------------- */

/*
 * Blocks are given out one after the other here: the directory's first, the file's, the directory's second. When that
 * one is dropped, the file's next block is wanted exactly there.
 */
static int setup_dir_block(struct fs *fs)
{
	int rc = crash_mkdir(fs, "d");

	/* 18 entries of 216 bytes fill a block: one more makes the second */
	if (!rc)
		rc = make_many(fs, "d", 0, 18);
	return rc ? rc : crash_mkfile(fs, "data", 4 * KIB, 'd');
}

static int add_second_block(struct fs *fs)
{
	return make_many(fs, "d", 18, 1);
}

/* A new block is stored whole; only what changes in it later is named by a record. */
static int change_second_block(struct fs *fs)
{
	return make_many(fs, "d", 19, 1);
}

static int empty_second_block(struct fs *fs)
{
	return unlink_many(fs, "d", 18, 1);
}

static int drop_second_block(struct fs *fs)
{
	return unlink_many(fs, "d", 19, 1);
}

/* One more block of file data. */
static int append_block(struct fs *fs)
{
	struct stat st;
	int rc = fs_lookup(fs, INO_ROOT, "data", &st, NULL);

	return rc ? rc : crash_write(fs, "data", (uint64_t)st.st_size, 4 * KIB, 'D');
}

/* ---- Extent nodes freed, then file data in their place ------------------------------------------------- */

/* The same with a node: six extents in the inode, the file's block, then the seventh extent's block and the node. */
static int setup_tree_file(struct fs *fs)
{
	int rc = crash_mkfile(fs, "t", 0, 0);

	for (uint64_t i = 0; !rc && i < 6; i++)
		rc = crash_write(fs, "t", i * 8 * KIB, 4 * KIB, 't');
	return rc ? rc : crash_mkfile(fs, "data", 4 * KIB, 'd');
}

static int grow_tree(struct fs *fs)
{
	return crash_write(fs, "t", 100 * KIB, 4 * KIB, 'T');
}

static int grow_tree_more(struct fs *fs)
{
	return crash_write(fs, "t", 120 * KIB, 4 * KIB, 'U');
}

static int drop_tree(struct fs *fs)
{
	return crash_unlink(fs, "t");
}

/* ---- Inodes ---------------------------------------------------------------------------------------------- */

static int setup_inodes(struct fs *fs)
{
	int rc = crash_mkdir(fs, "d");

	return rc ? rc : make_many(fs, "d", 0, 4);
}

static int unlink_second(struct fs *fs)
{
	return unlink_many(fs, "d", 1, 1);
}

static int make_file_a(struct fs *fs)
{
	return crash_mkfile(fs, "a", 0, 0);
}

static int write_file_a(struct fs *fs)
{
	return crash_write(fs, "a", 0, 3000, 'a');
}

static int unlink_file_a(struct fs *fs)
{
	return crash_unlink(fs, "a");
}

static int make_dir_a(struct fs *fs)
{
	return crash_mkdir(fs, "a");
}

/* ---- The ring ------------------------------------------------------------------------------------------ */

static int chmod_root(struct fs *fs, mode_t mode)
{
	return fs_setattr(fs, &cred, INO_ROOT, &(struct stat){ .st_mode = mode }, FS_SET_MODE, NULL);
}

/* Records enough to go round a ring of 256 KiB many times, of mixed lengths: some old ones begin where new ones end. */
static int setup_round(struct fs *fs)
{
	const struct stat times = { .st_atim = { 1, 2 }, .st_mtim = { 3, 4 } };
	int rc = 0;

	for (unsigned int i = 0; !rc && i < 5000; i++) {
		rc = chmod_root(fs, 0700 + i % 64);
		if (!rc && i * 2654435761U >> 30 == 0)
			rc = fs_setattr(fs, &cred, INO_ROOT, &times, FS_SET_ATIME | FS_SET_MTIME_NOW, NULL);
	}
	return rc;
}

static int chmod_next(struct fs *fs)
{
	static unsigned int next;

	return chmod_root(fs, 01000 + next++ % 512);
}

static int set_xattr_a(struct fs *fs)
{
	const char *name;
	uint64_t parent, ino;
	int rc = crash_walk(fs, "a", &parent, &name, &ino);

	return rc ? rc : fs_setxattr(fs, &cred, ino, "user.x", "value", 5, 0);
}

static int rename_a(struct fs *fs)
{
	return fs_rename(fs, INO_ROOT, "a", INO_ROOT, "a-name-that-is-longer-than-before", 0);
}

const struct crash_case crash_sequence_cases[] = {
	{
		.name = "directory block reused as data",
		.setup = setup_dir_block,
		.steps = {
			{ .name = "new block", .run = add_second_block },
			{ .name = "change block", .run = change_second_block },
			{ .name = "empty block", .run = empty_second_block },
			{ .name = "drop block", .run = drop_second_block },
			{ .name = "data", .run = append_block },
		},
	}, {
		.name = "extent nodes reused as data",
		.setup = setup_tree_file,
		.steps = {
			{ .name = "tree", .run = grow_tree },
			{ .name = "more", .run = grow_tree_more },
			{ .name = "unlink", .run = drop_tree },
			{ .name = "data 1", .run = append_block },
			{ .name = "data 2", .run = append_block },
			{ .name = "data 3", .run = append_block },
		},
	}, {
		.name = "tail moves between",
		.setup = setup_inodes,
		.steps = {
			{ .name = "create", .run = make_file_a },
			{ .name = "retire", .run = crash_retire },
			{ .name = "write", .run = write_file_a },
			{ .name = "unlink", .run = unlink_second },
			{ .name = "retire", .run = crash_retire },
			{ .name = "xattr", .run = set_xattr_a },
			{ .name = "rename", .run = rename_a },
		},
	}, {
		.name = "slot reused by another type",
		.setup = setup_inodes,
		.steps = {
			{ .name = "create", .run = make_file_a },
			{ .name = "write", .run = write_file_a },
			{ .name = "unlink", .run = unlink_file_a },
			{ .name = "mkdir", .run = make_dir_a },
			{ .name = "chmod", .run = chmod_next },
		},
	}, {
		.name = "ring gone round",
		.setup = setup_round,
		.steps = {
			{ .name = "chmod 1", .run = chmod_next },
			{ .name = "chmod 2", .run = chmod_next },
			{ .name = "create", .run = make_file_a },
			{ .name = "chmod 3", .run = chmod_next },
			{ .name = "retire", .run = crash_retire },
			{ .name = "chmod 4", .run = chmod_next },
			{ .name = "write", .run = write_file_a },
			{ .name = "unlink", .run = unlink_file_a },
			{ .name = "chmod 5", .run = chmod_next },
		},
	},
	{ .name = NULL },
};
