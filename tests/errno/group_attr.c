/*
 * Attributes: stat, statx and statfs, access, chmod and chown, utimensat.
 *
 * What only the object's owner may is run by each of the users, on OWNER's file `mine`; all else as root. For
 * chown, `off` is the user and `off2` the group, KEEP for neither. Times are given as seconds (len) and
 * nanoseconds (off, off2), at the edges of what is stored (1901, 1970, 2038, 2106, 2446) and beyond what is
 * valid.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than some headers; the same number on all architectures. */
#ifndef SYS_fchmodat2
#define SYS_fchmodat2	452
#endif

/* ---- stat, statx, statfs ------------------------------------------------------------------------------- */

/* mode: the mask. Says if what was asked for of the fields that every filesystem has was given. */
static long stat_x(const struct step *s)
{
	unsigned int wanted = s->mode & STATX_BASIC_STATS;
	struct statx stx;
	long rc = result(syscall(SYS_statx, AT_FDCWD, s->path, s->flags, s->mode, &stx));

	if (rc == 0)
		note(" %s", (stx.stx_mask & wanted) == wanted ? "all given" : "some missing");
	return rc;
}

static long stat_x_birth(const struct step *s)
{
	struct statx stx;
	long rc = result(syscall(SYS_statx, AT_FDCWD, s->path, 0, STATX_BTIME, &stx));

	if (rc == 0)
		note(" birth=%s", (stx.stx_mask & STATX_BTIME) && stx.stx_btime.tv_sec > 0 ? "yes" : "no");
	return rc;
}

static long stat_x_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_statx, AT_FDCWD, s->path, 0, STATX_BASIC_STATS, bad_pointer));
}

static long stat_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_newfstatat, AT_FDCWD, s->path, bad_pointer, 0));
}

static long stat_fs_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_statfs, s->path, bad_pointer));
}

static long stat_fs_fields(const struct step *s)
{
	struct statvfs st;
	long rc = result(statvfs(s->path, &st));

	if (rc == 0)
		note(" bsize=%lu namemax=%lu free<=blocks %s avail<=free %s", st.f_bsize, st.f_namemax,
		     st.f_bfree <= st.f_blocks ? "yes" : "no", st.f_bavail <= st.f_bfree ? "yes" : "no");
	return rc;
}

/* Size and blocks (as "none" or "some") of an object. */
static long stat_size(const struct step *s)
{
	struct stat st;
	long rc = result(lstat(s->path, &st));

	if (rc == 0)
		note(" size=%lld blocks=%s blksize=%ld", (long long)st.st_size,
		     st.st_blocks ? "some" : "none", (long)st.st_blksize);
	return rc;
}

static long stat_after_unlink(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDWR), s->path);
	struct stat st;
	long rc;

	must(unlink(s->path), "unlink");
	rc = result(fstat(fd, &st));
	if (rc == 0)
		note(" nlink=%lu size=%lld", (unsigned long)st.st_nlink, (long long)st.st_size);
	return rc;
}

static const struct step stat_steps[] = {
	{ "file", call_stat, "file", .show = "file" },
	{ "directory", call_stat, "dir", .show = "dir" },
	{ "missing", call_stat, "none", .flags = 0 },
	{ "empty-path", call_stat, "", .flags = 0 },
	{ "below-file", call_stat, "file/none", .flags = 0 },
	{ "file-slash", call_stat, "file/", .flags = 0 },
	{ "loop", call_stat, "lloop", .flags = 0 },
	{ "dangling", call_stat, "ldangling", .flags = 0 },
	{ "lstat-loop", call_lstat, "lloop", .show = "lloop" },
	{ "lstat-dangling", call_lstat, "ldangling", .show = "ldangling" },
	{ "lstat-directory-link-slash", call_lstat, "ldir/", .flags = 0 },
	{ "bad-pointer", stat_bad_pointer, "file", .flags = 0 },
	{ "after-unlink", stat_after_unlink, "file", .flags = 0 },
	{ "size-empty", stat_size, "empty", .flags = 0 },
	{ "size-file", stat_size, "file", .flags = 0 },
	{ "size-link", stat_size, "lfile", .flags = 0 },
	{ "size-fifo", stat_size, "fifo", .flags = 0 },
	{ "size-device", stat_size, "null", .flags = 0 },
	{ "statx-basic", stat_x, "file", .mode = STATX_BASIC_STATS },
	{ "statx-none", stat_x, "file", .mode = 0 },
	{ "statx-all", stat_x, "file", .mode = STATX_ALL },
	{ "statx-size", stat_x, "file", .mode = STATX_SIZE },
	{ "statx-reserved-mask", stat_x, "file", .mode = STATX__RESERVED },
	{ "statx-force-sync", stat_x, "file", .flags = AT_STATX_FORCE_SYNC, .mode = STATX_BASIC_STATS },
	{ "statx-dont-sync", stat_x, "file", .flags = AT_STATX_DONT_SYNC, .mode = STATX_BASIC_STATS },
	{ "statx-both-syncs", stat_x, "file", .flags = AT_STATX_SYNC_TYPE, .mode = STATX_BASIC_STATS },
	{ "statx-bad-flags", stat_x, "file", .flags = 0x40000, .mode = STATX_BASIC_STATS },
	{ "statx-nofollow", stat_x, "ldangling", .flags = AT_SYMLINK_NOFOLLOW, .mode = STATX_BASIC_STATS },
	{ "statx-dangling", stat_x, "ldangling", .mode = STATX_BASIC_STATS },
	{ "statx-birth", stat_x_birth, "file", .flags = 0 },
	{ "statx-bad-pointer", stat_x_bad_pointer, "file", .flags = 0 },
	{ "statfs", call_statfs, "file", .flags = 0 },
	{ "statfs-missing", call_statfs, "none", .flags = 0 },
	{ "statfs-below-file", call_statfs, "file/x", .flags = 0 },
	{ "statfs-dangling", call_statfs, "ldangling", .flags = 0 },
	{ "statfs-bad-pointer", stat_fs_bad_pointer, "file", .flags = 0 },
	{ "statfs-fields", stat_fs_fields, ".", .flags = 0 },
	{ "statfs.other", call_statfs, "file", .who = OTHER },
};

const struct step_group group_stat = { "stat", fixture_usual, TABLE(stat_steps) };

/* ---- access -------------------------------------------------------------------------------------------- */

static void unreadable(const struct step *s)
{
	must(chmod(s->path, 0), "chmod");
}

static void closed_dir(const struct step *s)
{
	(void)s;
	must(chmod("dir", 0700), "chmod");
}

/* Effective OTHER, really root: access(2) asks for the real one. */
static long access_by_effective(const struct step *s)
{
	must(setresuid(0, UID_OTHER, 0), "setresuid");
	return call_access(s);
}

static const struct step access_steps[] = {
	{ "exists", call_access, "file", .mode = F_OK },
	{ "missing", call_access, "none", .mode = F_OK },
	{ "below-file", call_access, "file/none", .mode = F_OK },
	{ "dangling", call_access, "ldangling", .mode = F_OK },
	{ "dangling-nofollow", call_access, "ldangling", .mode = F_OK, .flags = AT_SYMLINK_NOFOLLOW },
	{ "loop", call_access, "lloop", .mode = F_OK },
	{ "bad-mode", call_access, "file", .mode = 8 },
	{ "bad-flags", call_access, "file", .mode = F_OK, .flags = 1 },
	{ "empty-path", call_access, "", .mode = F_OK },
	{ "read.other", call_access, "file", .mode = R_OK, .who = OTHER },
	{ "write.other", call_access, "file", .mode = W_OK, .who = OTHER },
	{ "execute.other", call_access, "file", .mode = X_OK, .who = OTHER },
	{ "execute-0644.root", call_access, "file", .mode = X_OK },
	{ "read-0000.root", call_access, "file", .mode = R_OK | W_OK, .prepare = unreadable },
	{ "execute-0000.root", call_access, "file", .mode = X_OK, .prepare = unreadable },
	{ "execute-0000-directory.root", call_access, "void", .mode = X_OK, .prepare = unreadable },
	{ "read-0000.owner", call_access, "mine", .mode = R_OK, .who = OWNER, .prepare = unreadable },
	{ "exists-0000.owner", call_access, "mine", .mode = F_OK, .who = OWNER, .prepare = unreadable },
	{ "in-closed-directory.other", call_access, "dir/child", .mode = F_OK, .who = OTHER,
	  .prepare = closed_dir },
	{ "missing-in-closed-directory.other", call_access, "dir/none", .mode = F_OK, .who = OTHER,
	  .prepare = closed_dir },
	{ "real-user", access_by_effective, "mine", .mode = W_OK },
	{ "effective-user", access_by_effective, "mine", .mode = W_OK, .flags = AT_EACCESS },
};

const struct step_group group_access = { "access", fixture_usual, TABLE(access_steps) };

/* ---- chmod, chown -------------------------------------------------------------------------------------- */

static void suid_sgid(const struct step *s)
{
	must(chmod(s->path, 06755), "chmod");
}

static void sgid_not_executable(const struct step *s)
{
	must(chmod(s->path, 02644), "chmod");
}

/* OWNER's file with a group that OWNER is not in. */
static void foreign_group(const struct step *s)
{
	must(chown(s->path, UID_OWNER, GID_OTHER), "chown");
}

static long chmod_link(const struct step *s)
{
	return result(syscall(SYS_fchmodat2, AT_FDCWD, s->path, s->mode, AT_SYMLINK_NOFOLLOW));
}

static long chown_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_fchownat, AT_FDCWD, bad_pointer, s->off, s->off2, 0));
}

#define KEEP	(-1)

static const struct step chown_steps[] = {
	{ "chmod", call_chmod, "file", .mode = 07777, .show = "file" },
	{ "chmod-type-bits", call_chmod, "file", .mode = S_IFDIR | 0600, .show = "file" },
	{ "chmod-directory", call_chmod, "dir", .mode = 07777, .show = "dir" },
	{ "chmod-through-link", call_chmod, "lfile", .mode = 0600, .show = "file" },
	{ "chmod-dangling", call_chmod, "ldangling", .mode = 0600 },
	{ "chmod-link-itself", chmod_link, "lfile", .mode = 0600, .show = "lfile" },
	{ "chmod-nofollow-file", chmod_link, "file", .mode = 0600, .show = "file" },
	{ "chmod-missing", call_chmod, "none", .mode = 0600 },
	{ "chmod-below-file", call_chmod, "file/x", .mode = 0600 },
	{ "chmod-loop", call_chmod, "lloop", .mode = 0600 },
	{ "chmod-fifo", call_chmod, "fifo", .mode = 0600, .show = "fifo" },
	{ "chmod-device", call_chmod, "null", .mode = 0600, .show = "null" },
	{ "chmod-sgid-foreign-group.owner", call_chmod, "mine", .mode = 02755, .who = OWNER,
	  .prepare = foreign_group, .show = "mine" },
	{ "chmod-sgid-foreign-group-directory.owner", call_chmod, "minedir", .mode = 02755, .who = OWNER,
	  .prepare = foreign_group, .show = "minedir" },
	{ "chmod-sticky-file.owner", call_chmod, "mine", .mode = 01755, .who = OWNER, .show = "mine" },
	{ "fchmod", call_open_then_chmod, "file", .flags = O_RDONLY, .mode = 0600, .show = "file" },
	{ "fchown", call_open_then_chown, "file", .flags = O_RDONLY, .off = UID_OWNER, .off2 = KEEP,
	  .show = "file" },
	{ "chown-user", call_chown, "file", .off = UID_OWNER, .off2 = KEEP, .show = "file" },
	{ "chown-group", call_chown, "file", .off = KEEP, .off2 = GID_OWNER, .show = "file" },
	{ "chown-nothing", call_chown, "file", .off = KEEP, .off2 = KEEP, .show = "file" },
	{ "chown-through-link", call_chown, "lfile", .off = UID_OWNER, .off2 = KEEP, .show = "file" },
	{ "chown-link-itself", call_chown, "lfile", .flags = AT_SYMLINK_NOFOLLOW, .off = UID_OWNER,
	  .off2 = GID_OWNER, .show = "lfile" },
	{ "chown-dangling", call_chown, "ldangling", .off = UID_OWNER, .off2 = KEEP },
	{ "chown-missing", call_chown, "none", .off = UID_OWNER, .off2 = KEEP },
	{ "chown-below-file", call_chown, "file/x", .off = UID_OWNER, .off2 = KEEP },
	{ "chown-bad-flags", call_chown, "file", .flags = 1, .off = UID_OWNER, .off2 = KEEP },
	{ "chown-bad-pointer", chown_bad_pointer, .off = UID_OWNER, .off2 = KEEP },
	{ "chown-large-ids", call_chown, "file", .off = 0xfffffffe, .off2 = 0xfffffffe },
	{ "chown-suid-user", call_chown, "file", .off = UID_OWNER, .off2 = KEEP, .prepare = suid_sgid,
	  .show = "file" },
	{ "chown-suid-group", call_chown, "file", .off = KEEP, .off2 = GID_OWNER, .prepare = suid_sgid,
	  .show = "file" },
	{ "chown-suid-same", call_chown, "file", .off = 0, .off2 = 0, .prepare = suid_sgid, .show = "file" },
	{ "chown-sgid-not-executable", call_chown, "file", .off = UID_OWNER, .off2 = KEEP,
	  .prepare = sgid_not_executable, .show = "file" },
	{ "chown-suid-directory", call_chown, "dir", .off = UID_OWNER, .off2 = KEEP, .prepare = suid_sgid,
	  .show = "dir" },
	{ "chown-suid-group.owner", call_chown, "mine", .off = KEEP, .off2 = GID_OWNER, .who = OWNER,
	  .prepare = suid_sgid, .show = "mine" },
	{ "chown-same-user.owner", call_chown, "mine", .off = UID_OWNER, .off2 = KEEP, .who = OWNER,
	  .show = "mine" },
	{ "chown-foreign-group-keep.owner", call_chown, "mine", .off = KEEP, .off2 = GID_OTHER, .who = OWNER,
	  .prepare = foreign_group, .show = "mine" },
	{ "chown-own-group-from-foreign.owner", call_chown, "mine", .off = KEEP, .off2 = GID_OWNER,
	  .who = OWNER, .prepare = foreign_group, .show = "mine" },
};

static const struct step chown_user_steps[] = {
	{ "chmod", call_chmod, "mine", .mode = 0600, .show = "mine" },
	{ "chmod-same", call_chmod, "mine", .mode = 0644, .show = "mine" },
	{ "chmod-directory", call_chmod, "minedir", .mode = 0700, .show = "minedir" },
	{ "chmod-roots", call_chmod, "file", .mode = 0600 },
	{ "chown-to-member", call_chown, "mine", .off = UID_MEMBER, .off2 = KEEP, .show = "mine" },
	{ "chown-to-owner", call_chown, "mine", .off = UID_OWNER, .off2 = KEEP, .show = "mine" },
	{ "chown-to-root", call_chown, "mine", .off = 0, .off2 = KEEP },
	{ "chown-nothing", call_chown, "mine", .off = KEEP, .off2 = KEEP },
	{ "chown-suid-nothing", call_chown, "mine", .off = KEEP, .off2 = KEEP, .prepare = suid_sgid,
	  .show = "mine" },
	{ "chgrp-to-owner", call_chown, "mine", .off = KEEP, .off2 = GID_OWNER, .show = "mine" },
	{ "chgrp-to-member", call_chown, "mine", .off = KEEP, .off2 = GID_MEMBER, .show = "mine" },
	{ "chgrp-roots", call_chown, "file", .off = KEEP, .off2 = GID_OWNER },
	{ "chown-link", call_chown, "lfile", .flags = AT_SYMLINK_NOFOLLOW, .off = UID_OWNER, .off2 = KEEP },
};

static void run_chown(const struct step_group *g)
{
	steps_run_as(g, chown_user_steps, COUNT(chown_user_steps), "");
}

const struct step_group group_chown = { "chown", fixture_usual, TABLE(chown_steps), .run = run_chown };

/* ---- utimensat ----------------------------------------------------------------------------------------- */

/* off, off2: nanoseconds of atime and mtime; len: seconds of both. */
static long set_times(const struct step *s)
{
	struct timespec times[2] = {
		{ .tv_sec = s->len, .tv_nsec = s->off }, { .tv_sec = s->len, .tv_nsec = s->off2 },
	};

	return result(syscall(SYS_utimensat, AT_FDCWD, s->path, times, s->flags));
}

/* The same, and what was stored. */
static long set_times_show(const struct step *s)
{
	long rc = set_times(s);
	struct stat st;

	if (rc == 0) {
		must(lstat(s->path, &st), "lstat");
		note(" atime=%lld.%09ld mtime=%lld.%09ld", (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
		     (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	}
	return rc;
}

static long set_times_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_utimensat, AT_FDCWD, s->path, bad_pointer, 0));
}

static long set_times_by_fd(const struct step *s)
{
	int fd = (int)must(open(s->path, s->flags), s->path);

	return result(syscall(SYS_utimensat, fd, NULL, NULL, 0));
}

static void writable_by_all(const struct step *s)
{
	must(chmod(s->path, 0666), "chmod");
}

static const struct step utimens_steps[] = {
	{ "now", call_utime_now, "file", .flags = 0 },
	{ "set", call_utime_set, "file", .flags = 0 },
	{ "set-exactly", set_times_show, "file", .off = 123456789, .off2 = 987654321, .len = 1000000000 },
	{ "set-zero", set_times_show, "file", .off = 0, .off2 = 0, .len = 0 },
	{ "set-before-1970", set_times_show, "file", .off = 1, .off2 = 999999999, .len = -1 },
	{ "set-1901", set_times_show, "file", .off = 0, .off2 = 0, .len = -2147483648LL },
	{ "set-2038", set_times_show, "file", .off = 0, .off2 = 0, .len = 2147483648LL },
	{ "set-2106", set_times_show, "file", .off = 0, .off2 = 0, .len = 4294967296LL },
	{ "set-2446", set_times_show, "file", .off = 0, .off2 = 0, .len = 15032385535LL },
	{ "set-link", set_times_show, "lfile", .flags = AT_SYMLINK_NOFOLLOW, .len = 1000000000 },
	{ "set-fifo", set_times_show, "fifo", .len = 1000000000 },
	{ "set-directory", set_times_show, "dir", .len = 1000000000 },
	{ "nsec-1000000000", set_times, "file", .off = 1000000000, .off2 = 0 },
	{ "nsec-1000000000-mtime", set_times, "file", .off = 0, .off2 = 1000000000 },
	{ "nsec-negative", set_times, "file", .off = -1, .off2 = 0 },
	{ "nsec-999999999", set_times, "file", .off = 999999999, .off2 = 999999999 },
	{ "omit-both", set_times, "file", .off = UTIME_OMIT, .off2 = UTIME_OMIT },
	{ "omit-both-missing", set_times, "none", .off = UTIME_OMIT, .off2 = UTIME_OMIT },
	{ "omit-bad-seconds", set_times, "file", .off = UTIME_OMIT, .off2 = UTIME_NOW, .len = -5 },
	{ "missing", call_utime_now, "none", .flags = 0 },
	{ "below-file", call_utime_now, "file/x", .flags = 0 },
	{ "dangling", call_utime_now, "ldangling", .flags = 0 },
	{ "dangling-nofollow", call_utime_now, "ldangling", .flags = AT_SYMLINK_NOFOLLOW },
	{ "loop", call_utime_now, "lloop", .flags = 0 },
	{ "bad-flags", call_utime_now, "file", .flags = 1 },
	{ "empty-path", call_utime_now, "", .flags = 0 },
	{ "bad-pointer", set_times_bad_pointer, "file", .flags = 0 },
	{ "by-descriptor", set_times_by_fd, "file", .flags = O_RDONLY },
	{ "by-path-descriptor", set_times_by_fd, "file", .flags = O_PATH },
};

static const struct step utimens_user_steps[] = {
	{ "now", call_utime_now, "mine", .flags = 0 },
	{ "set", call_utime_set, "mine", .flags = 0 },
	{ "both-now", set_times, "mine", .off = UTIME_NOW, .off2 = UTIME_NOW },
	{ "atime-now", set_times, "mine", .off = UTIME_NOW, .off2 = UTIME_OMIT },
	{ "mtime-now", set_times, "mine", .off = UTIME_OMIT, .off2 = UTIME_NOW },
	{ "omit-both", set_times, "mine", .off = UTIME_OMIT, .off2 = UTIME_OMIT },
	{ "now-writable", call_utime_now, "mine", .prepare = writable_by_all },
	{ "set-writable", call_utime_set, "mine", .prepare = writable_by_all },
	{ "both-now-writable", set_times, "mine", .off = UTIME_NOW, .off2 = UTIME_NOW,
	  .prepare = writable_by_all },
	{ "atime-now-writable", set_times, "mine", .off = UTIME_NOW, .off2 = UTIME_OMIT,
	  .prepare = writable_by_all },
	{ "mtime-now-writable", set_times, "mine", .off = UTIME_OMIT, .off2 = UTIME_NOW,
	  .prepare = writable_by_all },
	{ "link", call_utime_set, "lfile", .flags = AT_SYMLINK_NOFOLLOW },
	{ "directory", call_utime_set, "minedir", .flags = 0 },
};

static void run_utimens(const struct step_group *g)
{
	steps_run_as(g, utimens_user_steps, COUNT(utimens_user_steps), "");
}

const struct step_group group_utimens = {
	"utimens", fixture_usual, TABLE(utimens_steps), .run = run_utimens
};
