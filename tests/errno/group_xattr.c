/*
 * Extended attributes: namespaces, sizes, names, types of objects, and who may.
 *
 * Names in no namespace, in one that is not there, at and over the longest; values of nothing, of 64 KiB and
 * of more; buffers that are too small; user.* where it may not be (symlinks, devices, sticky directories of
 * others); trusted.* and security.* as a user. ACLs have a group of their own. Lists are sorted before they
 * are shown.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CREATE	XATTR_CREATE
#define REPLACE	XATTR_REPLACE

/* file has user.a (5 bytes), trusted.a, security.a; dir has user.a. */
static void fixture_xattr(void)
{
	fixture_usual();
	must(setxattr("file", "user.a", "value", 5, 0), "user.a");
	must(setxattr("file", "user.empty", "", 0, 0), "user.empty");
	must(setxattr("file", "trusted.a", "value", 5, 0), "trusted.a");
	must(setxattr("file", "security.a", "value", 5, 0), "security.a");
	must(setxattr("dir", "user.a", "value", 5, 0), "user.a");
	must(setxattr("mine", "user.a", "value", 5, 0), "user.a");
	must(setxattr("mine", "trusted.a", "value", 5, 0), "trusted.a");
	make_dir("sticky", 01777);
}

static void unreadable(const struct step *s)
{
	must(chmod(s->path, 0), "chmod");
}

static void writable_by_all(const struct step *s)
{
	must(chmod(s->path, 0666), "chmod");
}

/* len: bytes of the name, after "user." too. */
static char *name_of_length(size_t len)
{
	char *name = make_filled('n', len);

	memcpy(name, "user.", 5);
	return name;
}

static long set_long_name(const struct step *s)
{
	return result(setxattr(s->path, name_of_length((size_t)s->len), "v", 1, s->flags));
}

static long get_long_name(const struct step *s)
{
	char value[8];

	return result(getxattr(s->path, name_of_length((size_t)s->len), value, sizeof(value)));
}

static long remove_long_name(const struct step *s)
{
	return result(removexattr(s->path, name_of_length((size_t)s->len)));
}

static long set_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_setxattr, s->path, s->to, bad_pointer, s->len, 0));
}

static long set_bad_name_pointer(const struct step *s)
{
	return result(syscall(SYS_setxattr, s->path, bad_pointer, "v", 1, 0));
}

static long get_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_getxattr, s->path, s->to, bad_pointer, s->len));
}

static long list_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_listxattr, s->path, bad_pointer, s->len));
}

/* Set a value of len bytes, replace it by one of off bytes, and read it back. */
static long set_twice(const struct step *s)
{
	char *value = make_filled('v', 65536), *got = make_filled(0, 65536);
	ssize_t n;

	if (setxattr(s->path, s->to, value, (size_t)s->len, 0))
		return -errno;
	if (setxattr(s->path, s->to, value, (size_t)s->off, 0))
		return -errno;
	n = must(getxattr(s->path, s->to, got, 65536), "getxattr");
	note(memcmp(value, got, (size_t)n) == 0 ? " reads back" : " reads otherwise");
	return n;
}

/* Attributes of len bytes each until one is refused, at most off. Tells whether there is an end. */
static long set_many(const struct step *s)
{
	char *value = make_filled('v', (size_t)s->len), name[32];
	long rc = 0, made = 0;

	while (rc == 0 && made < s->off) {
		snprintf(name, sizeof(name), "user.many%ld", made);
		rc = result(setxattr(s->path, name, value, (size_t)s->len, CREATE));
		made += rc == 0;
	}
	return rc;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names, in the alphabet's order: that of the list is the filesystem's. ACLs and labels are left out. */
static long list_names(const struct step *s)
{
	char list[1024], *names[64];
	ssize_t len = llistxattr(s->path, list, sizeof(list));
	size_t count = 0;

	if (len < 0)
		return -errno;
	for (char *p = list; p < list + len && count < COUNT(names); p += strlen(p) + 1)
		names[count++] = p;
	qsort(names, count, sizeof(names[0]), compare_names);
	for (size_t i = 0; i < count; i++)
		note(" %s", names[i]);
	return 0;
}

static long fset_path_fd(const struct step *s)
{
	int fd = (int)must(open(s->path, s->flags), s->path);

	return result(fsetxattr(fd, s->to, "v", 1, 0));
}

static long fget_read_only(const struct step *s)
{
	int fd = (int)must(open(s->path, s->flags), s->path);
	char value[16];

	return result(fgetxattr(fd, s->to, value, sizeof(value)));
}

static long bad_descriptor(const struct step *s)
{
	return result(fsetxattr(12345, s->to, "v", 1, 0));
}

static long set_through_link(const struct step *s)
{
	return result(setxattr(s->path, s->to, "v", 1, 0));
}

static const struct step xattr_steps[] = {
	{ "set", call_setxattr, "file", "user.b", .len = 5 },
	{ "set-empty-value", call_setxattr, "file", "user.b", .len = 0 },
	{ "set-create", call_setxattr, "file", "user.b", .flags = CREATE, .len = 5 },
	{ "set-create-existing", call_setxattr, "file", "user.a", .flags = CREATE, .len = 5 },
	{ "set-replace", call_setxattr, "file", "user.a", .flags = REPLACE, .len = 5 },
	{ "set-replace-missing", call_setxattr, "file", "user.b", .flags = REPLACE, .len = 5 },
	{ "set-create-replace", call_setxattr, "file", "user.a", .flags = CREATE | REPLACE, .len = 5 },
	{ "set-create-replace-missing", call_setxattr, "file", "user.b", .flags = CREATE | REPLACE,
	  .len = 5 },
	{ "set-bad-flags", call_setxattr, "file", "user.b", .flags = 4, .len = 5 },
	{ "set-missing-file", call_setxattr, "none", "user.b", .len = 5 },
	{ "set-below-file", call_setxattr, "file/x", "user.b", .len = 5 },
	{ "set-empty-name", call_setxattr, "file", "", .len = 5 },
	{ "set-no-prefix", call_setxattr, "file", "b", .len = 5 },
	{ "set-only-prefix", call_setxattr, "file", "user.", .len = 5 },
	{ "set-only-prefix-trusted", call_setxattr, "file", "trusted.", .len = 5 },
	{ "set-only-prefix-security", call_setxattr, "file", "security.", .len = 5 },
	{ "set-prefix-without-dot", call_setxattr, "file", "user", .len = 5 },
	{ "set-unknown-prefix", call_setxattr, "file", "other.b", .len = 5 },
	{ "set-unknown-system", call_setxattr, "file", "system.b", .len = 5 },
	{ "set-capital-prefix", call_setxattr, "file", "USER.b", .len = 5 },
	{ "set-trusted", call_setxattr, "file", "trusted.b", .len = 5 },
	{ "set-security", call_setxattr, "file", "security.b", .len = 5 },
	{ "set-capability-bad", call_setxattr, "file", "security.capability", .len = 5 },
	{ "set-directory", call_setxattr, "dir", "user.b", .len = 5 },
	{ "set-symlink", call_setxattr, "lfile", "user.b", .len = 5 },
	{ "set-symlink-trusted", call_setxattr, "lfile", "trusted.b", .len = 5 },
	{ "set-symlink-security", call_setxattr, "lfile", "security.b", .len = 5 },
	{ "set-through-link", set_through_link, "lfile", "user.b", .flags = 0 },
	{ "set-dangling", set_through_link, "ldangling", "user.b", .flags = 0 },
	{ "set-fifo", call_setxattr, "fifo", "user.b", .len = 5 },
	{ "set-fifo-trusted", call_setxattr, "fifo", "trusted.b", .len = 5 },
	{ "set-socket", call_setxattr, "sock", "user.b", .len = 5 },
	{ "set-device", call_setxattr, "null", "user.b", .len = 5 },
	{ "set-device-trusted", call_setxattr, "null", "trusted.b", .len = 5 },
	{ "set-sticky-directory", call_setxattr, "sticky", "user.b", .len = 5 },
	{ "set-sticky-directory.other", call_setxattr, "sticky", "user.b", .len = 5, .who = OTHER },
	{ "set-bad-pointer", set_bad_pointer, "file", "user.b", .len = 5 },
	{ "set-bad-pointer-length-0", set_bad_pointer, "file", "user.b", .len = 0 },
	{ "set-bad-name-pointer", set_bad_name_pointer, "file", .flags = 0 },
	{ "set-name-255", set_long_name, "file", .len = 255 },
	{ "set-name-256", set_long_name, "file", .len = 256 },
	{ "set-name-4096", set_long_name, "file", .len = 4096 },
	{ "get-name-255", get_long_name, "file", .len = 255 },
	{ "get-name-256", get_long_name, "file", .len = 256 },
	{ "remove-name-255", remove_long_name, "file", .len = 255 },
	{ "remove-name-256", remove_long_name, "file", .len = 256 },
	{ "set-value-1000", set_twice, "file", "user.b", .len = 1000, .off = 1001 },
	{ "set-value-3000", set_twice, "file", "user.b", .len = 3000, .off = 10 },
	{ "set-value-5000", set_twice, "file", "user.b", .len = 5000, .off = 4000 },
	{ "set-value-65535", set_twice, "file", "user.b", .len = 100, .off = 65535 },
	{ "set-value-65536", set_twice, "file", "user.b", .len = 65536, .off = 65536 },
	{ "set-value-65537", call_setxattr, "file", "user.b", .len = 65537 },
	{ "set-many-small", set_many, "file", .len = 10, .off = 50 },
	{ "set-replace-larger", call_setxattr, "file", "user.a", .flags = REPLACE, .len = 2000 },
	{ "set-path-fd", fset_path_fd, "file", "user.b", .flags = O_PATH },
	{ "set-read-only-fd", fset_path_fd, "file", "user.b", .flags = O_RDONLY },
	{ "set-bad-descriptor", bad_descriptor, NULL, "user.b", .flags = 0 },

	{ "get", call_getxattr, "file", "user.a", .len = 100 },
	{ "get-exact", call_getxattr, "file", "user.a", .len = 5 },
	{ "get-too-small", call_getxattr, "file", "user.a", .len = 4 },
	{ "get-size", call_getxattr, "file", "user.a", .len = 0 },
	{ "get-empty", call_getxattr, "file", "user.empty", .len = 10 },
	{ "get-missing", call_getxattr, "file", "user.b", .len = 10 },
	{ "get-missing-size", call_getxattr, "file", "user.b", .len = 0 },
	{ "get-missing-file", call_getxattr, "none", "user.a", .len = 10 },
	{ "get-empty-name", call_getxattr, "file", "", .len = 10 },
	{ "get-only-prefix", call_getxattr, "file", "user.", .len = 10 },
	{ "get-no-prefix", call_getxattr, "file", "a", .len = 10 },
	{ "get-unknown-prefix", call_getxattr, "file", "other.a", .len = 10 },
	{ "get-unknown-system", call_getxattr, "file", "system.a", .len = 10 },
	{ "get-trusted", call_getxattr, "file", "trusted.a", .len = 10 },
	{ "get-trusted-missing", call_getxattr, "file", "trusted.b", .len = 10 },
	{ "get-security", call_getxattr, "file", "security.a", .len = 10 },
	{ "get-capability-missing", call_getxattr, "file", "security.capability", .len = 100 },
	{ "get-symlink", call_getxattr, "lfile", "user.a", .len = 10 },
	{ "get-device", call_getxattr, "null", "user.a", .len = 10 },
	{ "get-fifo", call_getxattr, "fifo", "user.a", .len = 10 },
	{ "get-bad-pointer", get_bad_pointer, "file", "user.a", .len = 10 },
	{ "get-large-buffer", call_getxattr, "file", "user.a", .len = 1 << 20 },
	{ "get-path-fd", fget_read_only, "file", "user.a", .flags = O_PATH },
	{ "get-write-only-fd", fget_read_only, "file", "user.a", .flags = O_WRONLY },

	{ "list", list_names, "file", .flags = 0 },
	{ "list.other", list_names, "file", .who = OTHER },
	{ "list-none", list_names, "empty", .flags = 0 },
	{ "list-none-size", call_listxattr, "empty", .len = 0 },
	{ "list-symlink", list_names, "lfile", .flags = 0 },
	{ "list-fifo", list_names, "fifo", .flags = 0 },
	{ "list-size", call_listxattr, "dir", .len = 0 },
	{ "list-too-small", call_listxattr, "dir", .len = 3 },
	{ "list-missing-file", call_listxattr, "none", .len = 100 },
	{ "list-bad-pointer", list_bad_pointer, "file", .len = 100 },
	{ "list-large-buffer", call_listxattr, "dir", .len = 1 << 20 },

	{ "remove", call_removexattr, "file", "user.a", .flags = 0 },
	{ "remove-missing", call_removexattr, "file", "user.b", .flags = 0 },
	{ "remove-trusted", call_removexattr, "file", "trusted.a", .flags = 0 },
	{ "remove-security", call_removexattr, "file", "security.a", .flags = 0 },
	{ "remove-missing-file", call_removexattr, "none", "user.a", .flags = 0 },
	{ "remove-empty-name", call_removexattr, "file", "", .flags = 0 },
	{ "remove-only-prefix", call_removexattr, "file", "user.", .flags = 0 },
	{ "remove-unknown-prefix", call_removexattr, "file", "other.a", .flags = 0 },
	{ "remove-unknown-system", call_removexattr, "file", "system.a", .flags = 0 },
	{ "remove-symlink", call_removexattr, "lfile", "user.a", .flags = 0 },
	{ "remove-device", call_removexattr, "null", "user.a", .flags = 0 },
	{ "remove-capability-missing", call_removexattr, "file", "security.capability", .flags = 0 },
};

static const struct step xattr_user_steps[] = {
	{ "user-set", call_setxattr, "mine", "user.b", .len = 5 },
	{ "user-set-writable", call_setxattr, "mine", "user.b", .len = 5, .prepare = writable_by_all },
	{ "user-get", call_getxattr, "mine", "user.a", .len = 10 },
	{ "user-get-unreadable", call_getxattr, "mine", "user.a", .len = 10, .prepare = unreadable },
	{ "user-get-missing-unreadable", call_getxattr, "mine", "user.b", .len = 10, .prepare = unreadable },
	{ "user-remove", call_removexattr, "mine", "user.a", .flags = 0 },
	{ "user-remove-missing", call_removexattr, "mine", "user.b", .flags = 0 },
	{ "trusted-set", call_setxattr, "mine", "trusted.b", .len = 5 },
	{ "trusted-get", call_getxattr, "mine", "trusted.a", .len = 10 },
	{ "trusted-get-missing", call_getxattr, "mine", "trusted.b", .len = 10 },
	{ "trusted-remove", call_removexattr, "mine", "trusted.a", .flags = 0 },
	{ "security-set", call_setxattr, "mine", "security.b", .len = 5 },
	{ "security-get", call_getxattr, "file", "security.a", .len = 10 },
	{ "capability-set", call_setxattr, "mine", "security.capability", .len = 20 },
	{ "list-names", list_names, "mine", .flags = 0 },
	{ "list-names-unreadable", list_names, "mine", .prepare = unreadable },
};

static void run_xattr(const struct step_group *g)
{
	steps_run_as(g, xattr_user_steps, COUNT(xattr_user_steps), "");
}

const struct step_group group_xattr = { "xattr", fixture_xattr, TABLE(xattr_steps), .run = run_xattr };
