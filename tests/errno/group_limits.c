/*
 * Limits: lengths of names, paths and targets, numbers of symlinks on the way and of links to a file; and
 * handles of files that are no more.
 *
 * Names are tried at both sides of 255 bytes in each call that takes one, paths and targets at both sides of
 * PATH_MAX, targets also where a filesystem may keep them elsewhere (60 bytes in ext4, 96 in inodax).
 * `emlink` is a group of its own because it makes 65000 links. Handles are taken before their file is
 * unlinked, so that opening them has to tell a file from another one that got its number later.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINKS_TRIED	70000
#define HANDLE_BYTES	128

/* ---- Names --------------------------------------------------------------------------------------------- */

/* NAME stands for a name of each of the lengths. */
static const struct step name_steps[] = {
	{ "open", call_open, "NAME", .flags = O_RDONLY },
	{ "creat", call_open, "NAME", .flags = O_RDWR | O_CREAT, .mode = 0644 },
	{ "mkdir", call_mkdir, "NAME", .mode = 0755 },
	{ "mknod", call_mknod, "NAME", .mode = S_IFIFO | 0644 },
	{ "symlink", call_symlink, "NAME", "target", .flags = 0 },
	{ "link", call_link, "file", "NAME", .flags = 0 },
	{ "link-from", call_link, "NAME", "none", .flags = 0 },
	{ "unlink", call_unlink, "NAME", .flags = 0 },
	{ "rmdir", call_rmdir, "NAME", .flags = 0 },
	{ "rename", call_rename, "file", "NAME", .flags = 0 },
	{ "rename-from", call_rename, "NAME", "none", .flags = 0 },
	{ "stat", call_stat, "NAME", .flags = 0 },
	{ "chmod", call_chmod, "NAME", .mode = 0600 },
	{ "readlink", call_readlink, "NAME", .len = 100 },
	{ "truncate", call_truncate, "NAME", .off = 1 },
};

static void run_names(const struct step_group *g)
{
	static const int lengths[] = { 254, 255, 256, 4095 };
	char name[64], *filled;
	struct step s;

	for (size_t j = 0; j < COUNT(lengths); j++) {
		filled = make_filled('n', (size_t)lengths[j]);
		for (size_t i = 0; i < COUNT(name_steps); i++) {
			s = name_steps[i];
			if (strcmp(s.path, "NAME") == 0)
				s.path = filled;
			if (s.to && strcmp(s.to, "NAME") == 0)
				s.to = filled;
			snprintf(name, sizeof(name), "name-%d.%s", lengths[j], s.name);
			step_run(g, &s, name);
		}
		free(filled);
	}
}

/* ---- Paths --------------------------------------------------------------------------------------------- */

/* "./././file" of `len` bytes. */
static char *long_path(size_t len, const char *last)
{
	char *path = make_filled('/', len);
	size_t last_len = strlen(last);

	for (size_t i = 0; i + 2 < len - last_len; i += 2)
		path[i] = '.';
	memcpy(path + len - last_len, last, last_len);
	return path;
}

static long path_stat(const struct step *s)
{
	struct stat st;

	return result(stat(long_path((size_t)s->len, s->path), &st));
}

static long path_creat(const struct step *s)
{
	return result(open(long_path((size_t)s->len, s->path), O_WRONLY | O_CREAT, 0644)) < 0 ? -errno : 0;
}

static long path_rename(const struct step *s)
{
	return result(rename(s->path, long_path((size_t)s->len, s->to)));
}

static long target_symlink(const struct step *s)
{
	char *target = make_filled('t', (size_t)s->len), got[PATH_MAX];
	long rc = result(symlink(target, s->path)), len;

	if (rc)
		return rc;
	len = must(readlink(s->path, got, sizeof(got)), "readlink");
	note(len == s->len && memcmp(got, target, (size_t)len) == 0 ? " reads back" : " reads otherwise");
	return 0;
}

/* A target that exists, by a path of this length. */
static long target_follow(const struct step *s)
{
	struct stat st;

	must(symlink(long_path((size_t)s->len, "file"), s->path), "symlink");
	return result(stat(s->path, &st));
}

/* `len` symlinks in a row to a file, or to a directory of which a child is opened. */
static long chain_open(const struct step *s)
{
	char name[16], target[16], path[32];
	int flags = O_RDONLY | s->flags;

	for (int i = 0; i < s->len; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		snprintf(target, sizeof(target), "s%d", i - 1);
		must(symlink(i ? target : s->path, name), "symlink");
	}
	snprintf(path, sizeof(path), "s%d%s", (int)s->len - 1, s->to);
	return result(open(path, flags)) < 0 ? -errno : 0;
}

/* Directories in directories, deeper than a path can say. */
static long deep_directories(const struct step *s)
{
	char *name = make_filled('d', 255), *cwd;
	long rc = 0, depth = 0;

	while (rc == 0 && depth < s->len) {
		rc = result(mkdir(name, 0755));
		if (rc == 0)
			rc = result(chdir(name));
		depth += rc == 0;
	}
	note(" depth %ld", depth);
	if (rc == 0) {
		make_file("file", 0644, 1);
		cwd = getcwd(NULL, 0);
		note(" getcwd %s", cwd ? "ok" : errno_name(errno));
	}
	return rc;
}

static const struct step limits_steps[] = {
	{ "path-4095", path_stat, "file", .len = PATH_MAX - 1 },
	{ "path-4096", path_stat, "file", .len = PATH_MAX },
	{ "path-10000", path_stat, "file", .len = 10000 },
	{ "path-4095-missing", path_stat, "none", .len = PATH_MAX - 1 },
	{ "path-4096-missing", path_stat, "none", .len = PATH_MAX },
	{ "path-4095-creat", path_creat, "none", .len = PATH_MAX - 1 },
	{ "path-4096-creat", path_creat, "none", .len = PATH_MAX },
	{ "path-4095-rename", path_rename, "file", "none", .len = PATH_MAX - 1 },
	{ "path-4096-rename", path_rename, "file", "none", .len = PATH_MAX },
	{ "target-1", target_symlink, "none", .len = 1 },
	{ "target-59", target_symlink, "none", .len = 59 },
	{ "target-60", target_symlink, "none", .len = 60 },
	{ "target-95", target_symlink, "none", .len = 95 },
	{ "target-96", target_symlink, "none", .len = 96 },
	{ "target-97", target_symlink, "none", .len = 97 },
	{ "target-1000", target_symlink, "none", .len = 1000 },
	{ "target-4094", target_symlink, "none", .len = 4094 },
	{ "target-4095", target_symlink, "none", .len = 4095 },
	{ "target-4096", target_symlink, "none", .len = 4096 },
	{ "target-4095-followed", target_follow, "none", .len = 4095 },
	{ "links-40", chain_open, "file", "", .len = 40 },
	{ "links-41", chain_open, "file", "", .len = 41 },
	{ "links-40-child", chain_open, "dir", "/child", .len = 40 },
	{ "links-41-child", chain_open, "dir", "/child", .len = 41 },
	{ "links-1-nofollow", chain_open, "file", "", .flags = O_NOFOLLOW, .len = 1 },
	{ "links-40-nofollow-child", chain_open, "dir", "/child", .flags = O_NOFOLLOW, .len = 40 },
	{ "deep-directories", deep_directories, .len = 20 },
};

const struct step_group group_limits = { "limits", fixture_usual, TABLE(limits_steps), .run = run_names };

/* ---- Links --------------------------------------------------------------------------------------------- */

/* Links until one fails; then one fewer and one more again. */
static long links_until_error(const struct step *s)
{
	char name[32];
	long rc = 0, made = 0;

	while (rc == 0 && made < LINKS_TRIED) {
		snprintf(name, sizeof(name), "dir/l%ld", made);
		rc = result(link(s->path, name));
		made += rc == 0;
	}
	note(" after %ld", made);
	must(unlink("dir/l0"), "unlink");
	note(" again %s", link(s->path, "dir/l0") ? errno_name(errno) : "ok");
	note(" more %s", link(s->path, "void/more") ? errno_name(errno) : "ok");
	note(" over %s", rename("empty", "dir/l0") ? errno_name(errno) : "ok");
	note(" gap %s", link(s->path, "void/more") ? errno_name(errno) : "ok");
	return rc;
}

static const struct step emlink_steps[] = {
	{ "links", links_until_error, "file", .show = "file" },
};

const struct step_group group_emlink = { "emlink", fixture_usual, TABLE(emlink_steps) };

/* ---- Handles ------------------------------------------------------------------------------------------- */

struct handle {
	struct file_handle	fh;
	char			bytes[HANDLE_BYTES];
	int			mount_fd;
};

static struct handle *get_handle(const char *path, int flags)
{
	struct handle *h = (struct handle *)make_filled(0, sizeof(*h));
	int mount_id;

	h->fh.handle_bytes = HANDLE_BYTES;
	h->mount_fd = (int)must(open(".", O_RDONLY | O_DIRECTORY), "mount");
	must(name_to_handle_at(AT_FDCWD, path, &h->fh, &mount_id, flags), "name_to_handle_at");
	return h;
}

static long open_handle(struct handle *h, int flags)
{
	return result(open_by_handle_at(h->mount_fd, &h->fh, flags)) < 0 ? -errno : 0;
}

static long handle_open(const struct step *s)
{
	return open_handle(get_handle(s->path, 0), s->flags);
}

static long handle_too_small(const struct step *s)
{
	struct file_handle fh = { .handle_bytes = 0 };
	int mount_id;

	return result(name_to_handle_at(AT_FDCWD, s->path, &fh, &mount_id, s->flags));
}

static long handle_name(const struct step *s)
{
	struct handle h = { .fh.handle_bytes = HANDLE_BYTES };
	int mount_id;

	return result(name_to_handle_at(AT_FDCWD, s->path, &h.fh, &mount_id, s->flags));
}

static long handle_unlinked(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	must(unlink(s->path), "unlink");
	return open_handle(h, O_RDONLY);
}

/* A new file may have the number of the old one, but not its generation. */
static long handle_unlinked_created(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);
	char name[16];

	must(unlink(s->path), "unlink");
	for (int i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "new%d", i);
		make_file(name, 0644, 1);
	}
	return open_handle(h, O_RDONLY);
}

static long handle_removed_directory(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	must(rmdir(s->path), "rmdir");
	return open_handle(h, O_RDONLY);
}

static long handle_unlinked_open(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	must(open(s->path, O_RDONLY), "open");
	must(unlink(s->path), "unlink");
	return open_handle(h, O_RDONLY);
}

static long handle_renamed(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	must(rename(s->path, s->to), "rename");
	return open_handle(h, O_RDONLY);
}

static long handle_bad_type(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	h->fh.handle_type = 0x7e;
	return open_handle(h, O_RDONLY);
}

static long handle_bad_bytes(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	memset(h->fh.f_handle, 0xee, h->fh.handle_bytes);
	return open_handle(h, O_RDONLY);
}

static long handle_no_bytes(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	h->fh.handle_bytes = 0;
	return open_handle(h, O_RDONLY);
}

static long handle_bad_mount(const struct step *s)
{
	struct handle *h = get_handle(s->path, 0);

	h->mount_fd = 12345;
	return open_handle(h, O_RDONLY);
}

static const struct step handle_steps[] = {
	{ "too-small", handle_too_small, "file", .flags = 0 },
	{ "missing", handle_name, "none", .flags = 0 },
	{ "below-file", handle_name, "file/none", .flags = 0 },
	{ "dangling", handle_name, "ldangling", .flags = 0 },
	{ "dangling-follow", handle_name, "ldangling", .flags = AT_SYMLINK_FOLLOW },
	{ "bad-flags", handle_name, "file", .flags = 0x4000 },
	{ "file", handle_open, "file", .flags = O_RDWR },
	{ "directory", handle_open, "dir", .flags = O_RDONLY },
	{ "directory-write", handle_open, "dir", .flags = O_RDWR },
	{ "link", handle_open, "lfile", .flags = O_RDONLY },
	{ "link-path", handle_open, "lfile", .flags = O_PATH },
	{ "file-as-directory", handle_open, "file", .flags = O_RDONLY | O_DIRECTORY },
	{ "file.owner", handle_open, "file", .flags = O_RDONLY, .who = OWNER },
	{ "unlinked", handle_unlinked, "file", .flags = 0 },
	{ "unlinked-one-of-two", handle_unlinked, "twin1", .flags = 0 },
	{ "unlinked-fifo", handle_unlinked, "fifo", .flags = 0 },
	{ "unlinked-then-created", handle_unlinked_created, "file", .flags = 0 },
	{ "removed-directory", handle_removed_directory, "void", .flags = 0 },
	{ "unlinked-open", handle_unlinked_open, "file", .flags = 0 },
	{ "renamed", handle_renamed, "file", "dir/new", .flags = 0 },
	{ "bad-type", handle_bad_type, "file", .flags = 0 },
	{ "bad-bytes", handle_bad_bytes, "file", .flags = 0 },
	{ "no-bytes", handle_no_bytes, "file", .flags = 0 },
	{ "bad-mount", handle_bad_mount, "file", .flags = 0 },
};

const struct step_group group_handle = { "handle", fixture_usual, TABLE(handle_steps) };
