/*
 * Using a mounted pool whose media may say anything: see fuzz.h.
 *
 * Breadth first from the root, as far as STEPS objects. An object may come more than once: by several names, or because
 * the media has a loop. What is found is kept with the place of its name, so that names can be changed too.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "meta/dir.h"

#define STEPS		200U
#define READ_BYTES	(64U << 10)
#define XATTR_BYTES	(XATTR_VALUE_MAX + 1)

static const struct fs_cred user = { .uid = 1000, .gid = 1000, .umask = 022 };

struct found {
	uint64_t	dir, ino;
	char		name[NAME_MAX_LEN + 1];
};

struct walk {
	struct fs		*fs;
	struct fuzz_random	*rnd;
	struct found		 found[STEPS];
	unsigned int		 count;
	char			 buf[XATTR_BYTES];
};

/* ---- Reading ------------------------------------------------------------------------------------------- */

struct listing {
	struct walk	*w;
	uint64_t	 dir;
};

static int list_entry_found(void *arg, const struct dir_entry *e)
{
	struct listing *l = arg;
	struct walk *w = l->w;
	struct found *f = &w->found[w->count];

	if (w->count == STEPS || strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		return w->count == STEPS;
	f->dir = l->dir;
	f->ino = e->ino;
	memcpy(f->name, e->name, (size_t)e->name_len + 1);
	/* Of a directory with many names some are enough, so that there are steps left for the rest. */
	w->count += w->count < STEPS / 2 || fuzz_one_in(w->rnd, 4);
	return 0;
}

static void read_dir(struct walk *w, uint64_t ino)
{
	struct listing l = { .w = w, .dir = ino };
	struct fs_file *f;

	if (fs_opendir(w->fs, ino, &f))
		return;
	fs_readdir(f, 0, list_entry_found, &l);
	fs_readdir(f, fuzz_next(w->rnd), list_entry_found, &l);
	fs_close(f);
}

static void read_file(struct walk *w, struct fs_file *f, uint64_t size)
{
	int64_t data = 0;

	fs_read(f, w->buf, 0, READ_BYTES);
	fs_read(f, w->buf, size > READ_BYTES ? size - READ_BYTES : 0, READ_BYTES);
	for (int i = 0; i < 4 && data >= 0; i++) {
		int64_t hole = fs_lseek(f, (uint64_t)data, SEEK_HOLE);

		fs_read(f, w->buf, (uint64_t)data, BLOCK_SIZE);
		data = hole < 0 ? hole : fs_lseek(f, (uint64_t)hole, SEEK_DATA);
	}
}

static void read_xattrs(struct walk *w, uint64_t ino)
{
	static const struct fs_cred root = { .cap_trusted = true };
	char list[4096];
	ssize_t n = fs_listxattr(w->fs, &root, ino, list, sizeof(list));

	for (const char *name = list; name < list + n; name += strlen(name) + 1)
		fs_getxattr(w->fs, ino, name, w->buf, sizeof(w->buf));
	fs_getxattr(w->fs, ino, "user.a", w->buf, sizeof(w->buf));
}

/* ---- Changing ------------------------------------------------------------------------------------------ */

static uint64_t any_offset(struct fuzz_random *rnd)
{
	switch (fuzz_below(rnd, 4)) {
	case 0:
		return fuzz_below(rnd, 16 * BLOCK_SIZE);
	case 1:
		return (uint64_t)INT64_MAX - fuzz_below(rnd, 3 * BLOCK_SIZE);
	case 2:
		return fuzz_next(rnd) >> (1 + fuzz_below(rnd, 50));
	default:
		return fuzz_below(rnd, 700) * BLOCK_SIZE;
	}
}

static void change_data(struct walk *w, struct fs_file *f)
{
	uint64_t off = any_offset(w->rnd), len = 1 + fuzz_below(w->rnd, READ_BYTES);

	switch (fuzz_below(w->rnd, 6)) {
	case 0:
		fs_append(f, &user, w->buf, &off, len);
		break;
	case 1:
		fs_fallocate(f, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
		break;
	case 2:
		fs_fallocate(f, &user, FALLOC_FL_ZERO_RANGE, off, len);
		break;
	case 3:
		fs_fallocate(f, &user, 0, off, len);
		break;
	case 4:
		fs_copy_range(f, off, f, any_offset(w->rnd), len, &user);
		break;
	default:
		fs_write(f, &user, w->buf, off, len, 0);
	}
}

static void change_attributes(struct walk *w, uint64_t ino)
{
	struct stat st = { .st_mode = (mode_t)fuzz_below(w->rnd, 010000), .st_uid = 5, .st_gid = 5,
			   .st_size = (off_t)any_offset(w->rnd) };
	static const uint8_t acl[] = {
		2, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 4, 0, 5, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0,
	};
	uint32_t projid = 7;

	switch (fuzz_below(w->rnd, 6)) {
	case 0:
		fs_setattr(w->fs, &user, ino, &st, FS_SET_SIZE | FS_SET_KILL_PRIV, &st);
		break;
	case 1:
		fs_setattr(w->fs, &user, ino, &st, FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_ATIME, &st);
		break;
	case 2:
		fs_setxattr(w->fs, &user, ino, "user.new", w->buf, fuzz_below(w->rnd, XATTR_BYTES), 0);
		break;
	case 3:
		fs_removexattr(w->fs, ino, "user.a");
		break;
	case 4:
		fs_setxattr(w->fs, &user, ino, "system.posix_acl_access", acl, sizeof(acl), 0);
		break;
	default:
		fs_setflags(w->fs, ino, INODE_NODUMP, &projid);
	}
}

static void change_names(struct walk *w, const struct found *f)
{
	const struct found *other = &w->found[fuzz_below(w->rnd, w->count)];
	struct fs_file *file;
	char name[32];

	snprintf(name, sizeof(name), "new%u", (unsigned int)fuzz_below(w->rnd, 1000));
	switch (fuzz_below(w->rnd, 9)) {
	case 0:
		fs_mkdir(w->fs, &user, f->dir, name, 0755, NULL, NULL);
		break;
	case 1:
		fs_mknod(w->fs, &user, f->ino, name, S_IFREG | 0644, 0, NULL, NULL);
		break;
	case 2:
		fs_link(w->fs, f->ino, other->dir, name, NULL, NULL);
		break;
	case 3:
		fs_rename(w->fs, f->dir, f->name, other->dir, name, 0);
		break;
	case 4:
		fs_rename(w->fs, f->dir, f->name, other->dir, other->name, 0);
		break;
	case 5:
		fs_rename(w->fs, f->dir, f->name, other->dir, other->name, RENAME_EXCHANGE);
		break;
	case 6:
		fs_rmdir(w->fs, f->dir, f->name);
		break;
	case 7:
		if (fs_tmpfile(w->fs, &user, f->dir, 0600, O_RDWR, &file, NULL, NULL) == 0) {
			change_data(w, file);
			fs_close(file);
		}
		break;
	default:
		fs_unlink(w->fs, f->dir, f->name);
	}
}

/* ---- All of it ----------------------------------------------------------------------------------------- */

static void use_inode(struct walk *w, uint64_t ino, bool change)
{
	struct timespec btime;
	struct fs_file *f;
	struct stat st;
	uint32_t flags;

	if (fs_getattr(w->fs, ino, &st, NULL))
		return;
	fs_btime(w->fs, ino, &btime, &flags);
	read_xattrs(w, ino);
	if (S_ISLNK(st.st_mode))
		fs_readlink(w->fs, ino, w->buf, BLOCK_SIZE);
	if (S_ISDIR(st.st_mode))
		read_dir(w, ino);
	if (change && fuzz_one_in(w->rnd, 3))
		change_attributes(w, ino);
	if (!S_ISREG(st.st_mode) || fs_open(w->fs, ino, change ? O_RDWR : O_RDONLY, &f))
		return;
	read_file(w, f, (uint64_t)st.st_size);
	if (change && fuzz_one_in(w->rnd, 2))
		change_data(w, f);
	fs_close(f);
}

void fuzz_use(struct fs *fs, struct fuzz_random *rnd, bool change)
{
	struct walk *w = calloc(1, sizeof(*w));
	struct statvfs vfs;
	struct stat st;

	if (!w)
		return;
	w->fs = fs;
	w->rnd = rnd;
	use_inode(w, INO_ROOT, change);
	for (unsigned int i = 0; i < w->count; i++) {
		struct found f = w->found[i];

		fs_lookup(fs, f.dir, f.name, &st, NULL);
		use_inode(w, f.ino, change);
		fs_lookup(fs, f.ino, "..", &st, NULL);
	}
	for (unsigned int i = 0; change && i < w->count; i++)
		change_names(w, &w->found[fuzz_below(rnd, w->count)]);
	fs_statvfs(fs, &vfs);
	free(w);
}
