/*
 * Every operation of the filesystem that changes something, alone: one case each.
 */
#include "crash.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/fs_private.h"

#define KIB	1024ULL

static const struct fs_cred cred = { .uid = 1000, .gid = 1000, .umask = 022 };

/* A little tree that most operations find something in. */
static int setup_tree(struct fs *fs)
{
	int rc = crash_mkdir(fs, "d");

	if (!rc)
		rc = crash_mkdir(fs, "d/sub");
	if (!rc)
		rc = crash_mkdir(fs, "e");
	if (!rc)
		rc = crash_mkfile(fs, "f", 10 * KIB + 100, 'f');
	if (!rc)
		rc = crash_mkfile(fs, "d/g", 5 * KIB, 'g');
	if (!rc)
		rc = crash_mkfile(fs, "e/h", 100, 'h');
	return rc;
}

/* A file of so many separate extents that its map is a tree. */
static int setup_fragmented(struct fs *fs)
{
	int rc = crash_mkfile(fs, "f", 0, 'f');

	for (uint64_t i = 0; !rc && i < 40; i++)
		rc = crash_write(fs, "f", i * 8 * KIB, 4 * KIB, (char)('a' + i % 20));
	return rc;
}

static int op_create(struct fs *fs)
{
	return crash_mkfile(fs, "d/new", 0, 0);
}

static int op_mkdir(struct fs *fs)
{
	return crash_mkdir(fs, "d/newdir");
}

static int op_symlink_inline(struct fs *fs)
{
	return fs_symlink(fs, &cred, INO_ROOT, "short", "d/g", NULL, NULL);
}

static int op_symlink_block(struct fs *fs)
{
	char target[1001];

	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = 0;
	return fs_symlink(fs, &cred, INO_ROOT, "long", target, NULL, NULL);
}

static int op_mknod(struct fs *fs)
{
	return fs_mknod(fs, &cred, INO_ROOT, "null", S_IFCHR | 0600, 0x103, NULL, NULL);
}

static int op_link(struct fs *fs)
{
	const char *name;
	uint64_t parent, ino;
	int rc = crash_walk(fs, "f", &parent, &name, &ino);

	if (!rc)
		rc = crash_walk(fs, "d", &parent, &name, &parent);
	return rc ? rc : fs_link(fs, ino, parent, "hard", NULL, NULL);
}

static int op_unlink(struct fs *fs)
{
	return crash_unlink(fs, "d/g");
}

static int op_unlink_fragmented(struct fs *fs)
{
	return crash_unlink(fs, "f");
}

static int op_rmdir(struct fs *fs)
{
	const char *name;
	uint64_t parent;
	int rc = crash_walk(fs, "d/sub", &parent, &name, NULL);

	return rc ? rc : fs_rmdir(fs, parent, name);
}

static int rename_paths(struct fs *fs, const char *from, const char *to, unsigned int flags)
{
	const char *name, *new_name;
	uint64_t parent, new_parent;

	crash_walk(fs, from, &parent, &name, NULL);
	crash_walk(fs, to, &new_parent, &new_name, NULL);
	return fs_rename(fs, parent, name, new_parent, new_name, flags);
}

static int op_rename_here(struct fs *fs)
{
	return rename_paths(fs, "f", "f2", 0);
}

static int op_rename_across(struct fs *fs)
{
	return rename_paths(fs, "d/g", "e/g", 0);
}

static int op_rename_over(struct fs *fs)
{
	return rename_paths(fs, "d/g", "e/h", 0);
}

static int op_rename_dir(struct fs *fs)
{
	return rename_paths(fs, "d/sub", "e/sub", 0);
}

static int op_rename_dir_over(struct fs *fs)
{
	int rc = rename_paths(fs, "e", "d/sub", 0);

	return rc == -ENOTEMPTY ? 0 : rc;
}

static int op_rename_noreplace(struct fs *fs)
{
	return rename_paths(fs, "f", "d/f", 1);
}

static int op_rename_exchange(struct fs *fs)
{
	return rename_paths(fs, "f", "d/g", 2);
}

static int op_rename_exchange_dir(struct fs *fs)
{
	return rename_paths(fs, "d/sub", "f", 2);
}

static int op_overwrite(struct fs *fs)
{
	return crash_write(fs, "f", 100, 600, 'N');
}

static int op_append(struct fs *fs)
{
	return crash_write(fs, "f", 10 * KIB + 100, 300, 'A');
}

static int op_append_blocks(struct fs *fs)
{
	return crash_write(fs, "d/g", 8 * KIB, 6 * KIB, 'B');
}

static int op_write_far(struct fs *fs)
{
	return crash_write(fs, "f", 100 * KIB + 10, 50, 'F');
}

static int op_write_straddling(struct fs *fs)
{
	return crash_write(fs, "d/g", 4 * KIB, 6 * KIB, 'S');
}

static int op_write_fragmented(struct fs *fs)
{
	return crash_write(fs, "f", 4 * KIB, 4 * KIB, 'X');
}

static int set_size(struct fs *fs, uint64_t size)
{
	const char *name;
	uint64_t parent, ino;
	struct stat st = { .st_size = (off_t)size };
	int rc = crash_walk(fs, "f", &parent, &name, &ino);

	return rc ? rc : fs_setattr(fs, &cred, ino, &st, FS_SET_SIZE, NULL);
}

static int op_truncate_zero(struct fs *fs)
{
	return set_size(fs, 0);
}

static int op_truncate_inside(struct fs *fs)
{
	return set_size(fs, 5000);
}

static int op_truncate_grow(struct fs *fs)
{
	return set_size(fs, 200 * KIB + 1);
}

static int op_truncate_fragmented(struct fs *fs)
{
	return set_size(fs, 100 * KIB);
}

static int open_f(struct fs *fs, struct fs_file **f)
{
	const char *name;
	uint64_t parent, ino;
	int rc = crash_walk(fs, "f", &parent, &name, &ino);

	return rc ? rc : fs_open(fs, ino, 2, f);
}

static int fallocate_f(struct fs *fs, int mode, uint64_t off, uint64_t len)
{
	struct fs_file *f;
	int rc = open_f(fs, &f);

	if (rc)
		return rc;
	rc = fs_fallocate(f, &cred, mode, off, len);
	fs_close(f);
	return rc;
}

static int op_fallocate(struct fs *fs)
{
	return fallocate_f(fs, 0, 2 * KIB, 40 * KIB);
}

static int op_fallocate_keep(struct fs *fs)
{
	return fallocate_f(fs, FALLOC_FL_KEEP_SIZE, 16 * KIB, 40 * KIB);
}

static int op_fallocate_fragmented(struct fs *fs)
{
	return fallocate_f(fs, 0, 0, 400 * KIB);
}

static int op_punch(struct fs *fs)
{
	return fallocate_f(fs, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 8 * KIB);
}

static int op_punch_fragmented(struct fs *fs)
{
	return fallocate_f(fs, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20 * KIB, 200 * KIB);
}

static int op_zero(struct fs *fs)
{
	return fallocate_f(fs, FALLOC_FL_ZERO_RANGE, 1000, 20 * KIB);
}

static int op_zero_keep(struct fs *fs)
{
	return fallocate_f(fs, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 4 * KIB, 20 * KIB);
}

static int set_attr(struct fs *fs, const struct stat *st, unsigned int valid)
{
	const char *name;
	uint64_t parent, ino;
	int rc = crash_walk(fs, "f", &parent, &name, &ino);

	return rc ? rc : fs_setattr(fs, &cred, ino, st, valid, NULL);
}

static int op_chmod(struct fs *fs)
{
	return set_attr(fs, &(struct stat){ .st_mode = 04711 }, FS_SET_MODE);
}

static int op_chown(struct fs *fs)
{
	return set_attr(fs, &(struct stat){ .st_uid = 7, .st_gid = 8 }, FS_SET_UID | FS_SET_GID);
}

static int op_utimens(struct fs *fs)
{
	return set_attr(fs, &(struct stat){ .st_mtim = { 5, 6 }, .st_atim = { 7, 8 } }, FS_SET_MTIME | FS_SET_ATIME);
}

static int op_setflags(struct fs *fs)
{
	const char *name;
	uint64_t parent, ino;
	const uint32_t projid = 42;
	int rc = crash_walk(fs, "f", &parent, &name, &ino);

	return rc ? rc : fs_setflags(fs, ino, INODE_NODUMP | INODE_DAX, &projid);
}

static int set_xattr(struct fs *fs, const char *name, size_t size, char fill)
{
	const char *leaf;
	uint64_t parent, ino;
	char value[9000];
	int rc = crash_walk(fs, "f", &parent, &leaf, &ino);

	memset(value, fill, sizeof(value));
	return rc ? rc : fs_setxattr(fs, &cred, ino, name, value, size, 0);
}

static int setup_xattrs(struct fs *fs)
{
	int rc = setup_tree(fs);

	if (!rc)
		rc = set_xattr(fs, "user.one", 100, '1');
	return rc ? rc : set_xattr(fs, "user.two", 5000, '2');
}

static int op_setxattr(struct fs *fs)
{
	return set_xattr(fs, "user.new", 50, 'n');
}

static int op_setxattr_replace(struct fs *fs)
{
	return set_xattr(fs, "user.two", 9000, 'r');
}

static int op_removexattr(struct fs *fs)
{
	const char *name;
	uint64_t parent, ino;
	int rc = crash_walk(fs, "f", &parent, &name, &ino);

	return rc ? rc : fs_removexattr(fs, ino, "user.one");
}

static int op_tmpfile_link(struct fs *fs)
{
	struct fs_file *f;
	int rc = fs_tmpfile(fs, &cred, INO_ROOT, 0600, 2, &f, NULL, NULL);

	if (rc)
		return rc;
	rc = fs_link(fs, fs_file_ino(f), INO_ROOT, "named", NULL, NULL);
	fs_close(f);
	return rc;
}

static int op_tmpfile_dropped(struct fs *fs)
{
	struct fs_file *f;
	int rc = fs_tmpfile(fs, &cred, INO_ROOT, 0600, 2, &f, NULL, NULL);

	if (rc)
		return rc;
	rc = fs_write(f, &cred, "unnamed", 0, 7, 0) == 7 ? 0 : -EIO;
	fs_close(f);
	return rc;
}

static int op_copy_range(struct fs *fs)
{
	const char *name;
	uint64_t parent, from, to;
	struct fs_file *in, *out;
	ssize_t n;
	int rc = crash_walk(fs, "f", &parent, &name, &from);

	if (!rc)
		rc = crash_walk(fs, "e/h", &parent, &name, &to);
	if (!rc)
		rc = fs_open(fs, from, 0, &in);
	if (rc)
		return rc;
	rc = fs_open(fs, to, 2, &out);
	n = rc ? rc : fs_copy_range(in, 0, out, 4 * KIB, 4 * KIB, &cred);
	fs_close(in);
	fs_close(out);
	return n < 0 ? (int)n : 0;
}

/* As a fault does where the map unit is so large. */
static int promote_f(struct fs *fs, uint64_t len)
{
	struct fs_file *f;
	int rc = open_f(fs, &f);

	if (rc)
		return rc;
	inode_lock(f->ip);
	rc = inode_promote(f->ip, 0, len);
	inode_unlock(f->ip);
	fs_close(f);
	return rc;
}

static int op_promote(struct fs *fs)
{
	return promote_f(fs, 16 * KIB);
}

static int op_promote_fragmented(struct fs *fs)
{
	return promote_f(fs, 128 * KIB);
}

#define SINGLE(op, before)	{ .name = #op, .setup = before, .steps = { { .name = #op, .run = op } } }
#define MIXED(op, before)	{ .name = #op, .setup = before, .steps = { { .name = #op, .run = op, .mixed = true } } }
#define TIMED(op, before)	{ .name = #op, .setup = before, .steps = { { .name = #op, .run = op, .times = true } } }

const struct crash_case crash_single_cases[] = {
	SINGLE(op_create, setup_tree),
	SINGLE(op_mkdir, setup_tree),
	SINGLE(op_symlink_inline, setup_tree),
	SINGLE(op_symlink_block, setup_tree),
	SINGLE(op_mknod, setup_tree),
	SINGLE(op_link, setup_tree),
	SINGLE(op_unlink, setup_tree),
	SINGLE(op_unlink_fragmented, setup_fragmented),
	SINGLE(op_rmdir, setup_tree),
	SINGLE(op_rename_here, setup_tree),
	SINGLE(op_rename_across, setup_tree),
	SINGLE(op_rename_over, setup_tree),
	SINGLE(op_rename_dir, setup_tree),
	SINGLE(op_rename_dir_over, setup_tree),
	SINGLE(op_rename_noreplace, setup_tree),
	SINGLE(op_rename_exchange, setup_tree),
	SINGLE(op_rename_exchange_dir, setup_tree),
	MIXED(op_overwrite, setup_tree),
	SINGLE(op_append, setup_tree),
	SINGLE(op_append_blocks, setup_tree),
	SINGLE(op_write_far, setup_tree),
	MIXED(op_write_straddling, setup_tree),
	SINGLE(op_write_fragmented, setup_fragmented),
	SINGLE(op_truncate_zero, setup_tree),
	SINGLE(op_truncate_inside, setup_tree),
	SINGLE(op_truncate_grow, setup_tree),
	SINGLE(op_truncate_fragmented, setup_fragmented),
	SINGLE(op_fallocate, setup_tree),
	SINGLE(op_fallocate_keep, setup_tree),
	SINGLE(op_fallocate_fragmented, setup_fragmented),
	MIXED(op_punch, setup_tree),
	SINGLE(op_punch_fragmented, setup_fragmented),
	MIXED(op_zero, setup_tree),
	SINGLE(op_zero_keep, setup_tree),
	TIMED(op_chmod, setup_tree),
	TIMED(op_chown, setup_tree),
	TIMED(op_utimens, setup_tree),
	SINGLE(op_setflags, setup_tree),
	SINGLE(op_setxattr, setup_tree),
	SINGLE(op_setxattr, setup_xattrs),
	SINGLE(op_setxattr_replace, setup_xattrs),
	SINGLE(op_removexattr, setup_xattrs),
	SINGLE(op_tmpfile_link, setup_tree),
	SINGLE(op_tmpfile_dropped, setup_tree),
	MIXED(op_copy_range, setup_tree),
	SINGLE(op_promote, setup_tree),
	SINGLE(op_promote_fragmented, setup_fragmented),
	{ .name = NULL },
};
