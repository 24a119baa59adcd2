/*
 * The mounted pool on emulated memory: see fs_pool.h.
 *
 * Relies on lib/check to tell what a test left on the media; lib/check reads it on its own, so that a bug of lib/fs
 * cannot hide there. Each test runs in a process of its own, so the state of one is in plain variables.
 */
#include "fs_pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"
#include "pmem/emu.h"

struct region *region;
struct fs *fs;
const struct fs_cred user = { .uid = 1000, .gid = 1000, .umask = 022 };
const struct fs_cred root = { .cap_fsetid = true, .cap_trusted = true };

void mount_pool(void)
{
	const struct fs_options opt = { .dax = FS_DAX_ALWAYS, .atime = FS_RELATIME };
	struct err err = { "" };

	ck_assert_msg(fs_mount(&fs, "pool", region, &opt, &err) == 0, "%s", err.text);
}

static void finding(void *arg, const struct check_finding *f)
{
	(void)arg;
	printf("fsck: %s: %s\n", f->name, f->text);
}

static void check_pool_clean(void)
{
	struct check_report report;
	struct err err = { "" };

	ck_assert_msg(check_pool(region, "pool", finding, NULL, &report, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(report.problems, 0);
	ck_assert(report.clean);
}

void remount(void)
{
	ck_assert_int_eq(fs_unmount(fs), 0);
	check_pool_clean();
	mount_pool();
}

void fs_pool_setup(void)
{
	struct fs_format format = { .uuid = "fs-unit-tests-1", .root_mode = 0777 };
	struct err err = { "" };

	region = emu_open(POOL_BYTES, NULL);
	ck_assert_msg(fs_format(region, &format, &err) == 0, "%s", err.text);
	mount_pool();
}

void fs_pool_teardown(void)
{
	ck_assert_int_eq(fs_unmount(fs), 0);
	check_pool_clean();
	emu_close(region);
}

uint64_t lookup(uint64_t parent, const char *name)
{
	struct stat st;

	return fs_lookup(fs, parent, name, &st, NULL) ? 0 : st.st_ino;
}

struct stat attributes(uint64_t ino)
{
	struct stat st = { 0 };

	ck_assert_int_eq(fs_getattr(fs, ino, &st, NULL), 0);
	return st;
}

struct fs_file *create(const char *name)
{
	struct fs_file *f = NULL;

	ck_assert_int_eq(fs_create(fs, &user, INO_ROOT, name, 0644, O_RDWR, &f, NULL, NULL), 0);
	return f;
}

uint64_t make_dir(uint64_t parent, const char *name)
{
	struct stat st;

	ck_assert_int_eq(fs_mkdir(fs, &user, parent, name, 0755, &st, NULL), 0);
	return st.st_ino;
}

uint64_t make_file(uint64_t parent, const char *name)
{
	struct stat st;

	ck_assert_int_eq(fs_mknod(fs, &user, parent, name, S_IFREG | 0644, 0, &st, NULL), 0);
	return st.st_ino;
}

void write_at(struct fs_file *f, uint64_t off, size_t len, int fill)
{
	char *buf = malloc(len);

	memset(buf, fill, len);
	ck_assert_int_eq(fs_write(f, &user, buf, off, len, 0), (ssize_t)len);
	free(buf);
}

bool holds(struct fs_file *f, uint64_t off, size_t len, int fill)
{
	char *buf = malloc(len);
	bool same = fs_read(f, buf, off, len) == (ssize_t)len;

	for (size_t i = 0; same && i < len; i++)
		same = buf[i] == (char)fill;
	free(buf);
	return same;
}

uint64_t free_blocks(void)
{
	struct statvfs st;

	fs_statvfs(fs, &st);
	return st.f_bfree;
}
