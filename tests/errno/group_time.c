/*
 * Times: which of atime, mtime and ctime each call moves, of everything that it is about.
 *
 * Before the call the times of all that is watched are set into the past (ctime cannot be: that makes it now)
 * and the clock is given time to advance. After it a time has moved if it is not what it was. What a call
 * moves is written as letters: "parent=mc file=c". Everything is looked at by a descriptor opened before, so
 * that renamed and unlinked objects are seen too.
 */
#include "acl_text.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PAST_SECONDS	1000000000
#define CLOCK_TICK_US	20000		/* more than a tick of the clock that inodes are stamped with */
#define WATCH_MAX	5

struct time_case {
	struct step	step;
	const char	*watch;		/* paths, separated by spaces */
};

struct watched {
	char		path[32];
	int		fd;
	struct stat	before;
};

static const struct time_case *current;	/* the case that runs; set before its process is made */

/* A real descriptor where there can be one: one of O_PATH is no use of the file. */
static int watch_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOATIME);

	return fd >= 0 ? fd : (int)must(open(path, O_PATH | O_NOFOLLOW), path);
}

static int watch_start(struct watched *w)
{
	struct timespec past[2] = { { .tv_sec = PAST_SECONDS }, { .tv_sec = PAST_SECONDS } };
	const char *p = current->watch;
	int count = 0, n;

	while (count < WATCH_MAX && sscanf(p, "%31s%n", w[count].path, &n) == 1) {
		w[count].fd = watch_open(w[count].path);
		must(utimensat(AT_FDCWD, w[count].path, past, AT_SYMLINK_NOFOLLOW), "utimensat");
		p += n;
		count++;
	}
	for (int i = 0; i < count; i++)
		must(fstatat(w[i].fd, "", &w[i].before, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW), "fstatat");
	usleep(CLOCK_TICK_US);
	return count;
}

static bool moved(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec || a->tv_nsec != b->tv_nsec;
}

static void watch_note(const struct watched *w)
{
	bool atime, mtime, ctime;
	struct stat st;

	if (fstatat(w->fd, "", &st, AT_EMPTY_PATH)) {
		note(" %s=%s", w->path, errno_name(errno));
		return;
	}
	atime = moved(&st.st_atim, &w->before.st_atim);
	mtime = moved(&st.st_mtim, &w->before.st_mtim);
	ctime = moved(&st.st_ctim, &w->before.st_ctim);
	note(" %s=%s%s%s%s", strcmp(w->path, ".") == 0 ? "parent" : w->path, atime ? "a" : "",
	     mtime ? "m" : "",
	     ctime ? "c" : "", atime || mtime || ctime ? "" : "-");
}

static long time_call(const struct step *s)
{
	struct watched watched[WATCH_MAX];
	int count = watch_start(watched);
	long rc = current->step.call(s);

	for (int i = 0; i < count; i++)
		watch_note(&watched[i]);
	return rc;
}

/* ---- Calls that need more than one --------------------------------------------------------------------- */

static long map_load(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDWR), s->path);
	volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	return p[0] ? 0 : -EIO;
}

static long map_store(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDWR), s->path);
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	*(volatile char *)p = 'm';
	return result(msync(p, 4096, MS_SYNC));
}

static long map_only(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDWR), s->path);

	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -errno : 0;
}

static long set_acl(const struct step *s)
{
	char acl[ACL_TEXT_BYTES];
	size_t len = acl_bytes("u::rwx,u:member:r-x,g::r-x,m::r-x,o::r--", acl);

	return result(setxattr(s->path, s->to, acl, len, 0));
}

static long set_flags_nodump(const struct step *s)
{
	return set_flags(s->path, FS_NODUMP_FL);
}

static long get_flags(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDONLY), s->path), flags;

	return result(ioctl(fd, FS_IOC_GETFLAGS, &flags));
}

static long set_one_time(const struct step *s)
{
	struct timespec times[2] = {
		{ .tv_sec = PAST_SECONDS - 1, .tv_nsec = s->off },
		{ .tv_sec = PAST_SECONDS - 1, .tv_nsec = s->off2 },
	};

	return result(utimensat(AT_FDCWD, s->path, times, 0));
}

static long follow_link(const struct step *s)
{
	struct stat st;

	return result(stat(s->path, &st));
}

static long read_twice(const struct step *s)
{
	long rc = call_open_then_read(s);

	return rc < 0 ? rc : call_open_then_read(s);
}

static long write_close_stat(const struct step *s)
{
	struct stat before, after;
	int fd = (int)must(open(s->path, O_WRONLY), s->path);

	must(pwrite(fd, "abc", 3, 0), "pwrite");
	must(fstat(fd, &before), "fstat");
	close(fd);
	must(stat(s->path, &after), "stat");
	note(moved(&before.st_mtim, &after.st_mtim) ? " moved by close" : " not moved by close");
	return 0;
}

/* A new object: are all its times alike? */
static long new_times(const struct step *s)
{
	long rc = call_open(s);
	struct stat st;

	if (rc)
		return rc;
	must(stat(s->path, &st), s->path);
	note(moved(&st.st_mtim, &st.st_ctim) || moved(&st.st_atim, &st.st_mtim) ? " differ" : " alike");
	return 0;
}

static void with_xattr(const struct step *s)
{
	must(setxattr(s->path, "user.a", "value", 5, 0), "user.a");
}

static void with_exec(const struct step *s)
{
	int fd = (int)must(open(s->path, O_WRONLY | O_TRUNC), s->path);

	must(write(fd, "#!/bin/sh\nexit 0\n", 17), "write");
	must(fchmod(fd, 0755), "fchmod");
	close(fd);
}

#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static const struct time_case time_cases[] = {
	{ { "creat", call_open, "new", .flags = O_WRONLY | O_CREAT, .mode = 0644 }, ". file" },
	{ { "creat-existing", call_open, "file", .flags = O_WRONLY | O_CREAT, .mode = 0644 }, ". file" },
	{ { "creat-excl-existing", call_open, "file", .flags = O_WRONLY | O_CREAT | O_EXCL,
	  .mode = 0644 }, ". file" },
	{ { "open-read", call_open, "file", .flags = O_RDONLY }, ". file" },
	{ { "open-write", call_open, "file", .flags = O_WRONLY }, ". file" },
	{ { "open-truncate", call_open, "file", .flags = O_WRONLY | O_TRUNC }, ". file" },
	{ { "open-truncate-empty", call_open, "empty", .flags = O_WRONLY | O_TRUNC }, ". empty" },
	{ { "mkdir", call_mkdir, "new", .mode = 0755 }, ". dir" },
	{ { "mkdir-existing", call_mkdir, "dir", .mode = 0755 }, ". dir" },
	{ { "mknod", call_mknod, "new", .mode = S_IFIFO | 0644 }, "." },
	{ { "symlink", call_symlink, "new", "file", .flags = 0 }, ". file" },
	{ { "link", call_link, "file", "dir/new", .flags = 0 }, ". file dir" },
	{ { "link-existing", call_link, "file", "empty", .flags = 0 }, ". file empty" },
	{ { "unlink", call_unlink, "file", .flags = 0 }, ". file" },
	{ { "unlink-one-of-two", call_unlink, "twin1", .flags = 0 }, ". twin2" },
	{ { "unlink-missing", call_unlink, "none", .flags = 0 }, "." },
	{ { "unlink-fifo", call_unlink, "fifo", .flags = 0 }, "." },
	{ { "rmdir", call_rmdir, "void", .flags = 0 }, ". void" },
	{ { "rmdir-not-empty", call_rmdir, "dir", .flags = 0 }, ". dir" },
	{ { "rename", call_rename, "file", "new", .flags = 0 }, ". file" },
	{ { "rename-over", call_rename, "file", "empty", .flags = 0 }, ". file empty" },
	{ { "rename-over-twin", call_rename, "file", "twin1", .flags = 0 }, ". file twin2" },
	{ { "rename-twins", call_rename, "twin1", "twin2", .flags = 0 }, ". twin1" },
	{ { "rename-to-itself", call_rename, "file", "file", .flags = 0 }, ". file" },
	{ { "rename-across", call_rename, "file", "dir/new", .flags = 0 }, ". file dir" },
	{ { "rename-across-over", call_rename, "file", "dir/child", .flags = 0 }, ". file dir dir/child" },
	{ { "rename-directory", call_rename, "void", "new", .flags = 0 }, ". void" },
	{ { "rename-directory-across", call_rename, "void", "dir/new", .flags = 0 }, ". void dir" },
	{ { "rename-directory-over", call_rename, "dir", "void", .flags = 0 }, ". dir void" },
	{ { "rename-symlink", call_rename, "lfile", "new", .flags = 0 }, ". lfile file" },
	{ { "rename-missing", call_rename, "none", "new", .flags = 0 }, "." },
	{ { "rename-exchange", call_rename, "file", "dir/child",
	  .flags = RENAME_EXCHANGE }, ". file dir dir/child" },
	{ { "rename-exchange-directory", call_rename, "void", "dir/child", .flags = RENAME_EXCHANGE },
	  ". void dir dir/child" },
	{ { "rename-noreplace-existing", call_rename, "file", "empty",
	  .flags = RENAME_NOREPLACE }, ". file empty" },
	{ { "read", call_open_then_read, "file", .flags = O_RDONLY, .len = 5 }, ". file" },
	{ { "read-twice", read_twice, "file", .flags = O_RDONLY, .len = 5 }, ". file" },
	{ { "read-length-0", call_open_then_read, "file", .flags = O_RDONLY, .len = 0 }, ". file" },
	{ { "read-at-end", call_open_then_read, "file", .flags = O_RDONLY, .off = 10, .len = 5 }, ". file" },
	{ { "read-noatime", call_open_then_read, "file", .flags = O_RDONLY | O_NOATIME,
	  .len = 5 }, ". file" },
	{ { "read-direct", call_open_then_read, "empty", .flags = O_RDONLY | O_DIRECT,
	  .len = 0 }, ". empty" },
	{ { "write", call_open_then_write, "file", .flags = O_WRONLY, .len = 5 }, ". file" },
	{ { "write-grow", call_open_then_write, "file", .flags = O_WRONLY, .off = 9000,
	  .len = 5 }, ". file" },
	{ { "write-append", call_open_then_write, "file", .flags = O_WRONLY | O_APPEND,
	  .len = 5 }, ". file" },
	{ { "write-length-0", call_open_then_write, "file", .flags = O_WRONLY, .len = 0 }, ". file" },
	{ { "write-then-close", write_close_stat, "file", .flags = 0 }, ". file" },
	{ { "truncate", call_truncate, "file", .off = 5 }, ". file" },
	{ { "truncate-grow", call_truncate, "file", .off = 5000 }, ". file" },
	{ { "truncate-same", call_truncate, "file", .off = 10 }, ". file" },
	{ { "truncate-zero-empty", call_truncate, "empty", .off = 0 }, ". empty" },
	{ { "ftruncate-same", call_open_then_truncate, "file", .flags = O_WRONLY, .off = 10 }, ". file" },
	{ { "fallocate", call_open_then_fallocate, "file", .flags = O_WRONLY, .len = 8192 }, ". file" },
	{ { "fallocate-inside", call_open_then_fallocate, "file", .flags = O_WRONLY, .len = 5 }, ". file" },
	{ { "fallocate-keep-size", call_open_then_fallocate, "file", .flags = O_WRONLY,
	  .off2 = FALLOC_FL_KEEP_SIZE, .len = 16384 }, ". file" },
	{ { "punch", call_open_then_fallocate, "file", .flags = O_WRONLY, .off2 = PUNCH,
	  .len = 4096 }, ". file" },
	{ { "punch-beyond-end", call_open_then_fallocate, "file", .flags = O_WRONLY, .off2 = PUNCH,
	  .off = 65536, .len = 4096 }, ". file" },
	{ { "zero-range", call_open_then_fallocate, "file", .flags = O_WRONLY, .off2 = FALLOC_FL_ZERO_RANGE,
	  .len = 4096 },
	  ". file" },
	{ { "copy-file-range", call_copy_range, "file", "empty", .len = 10 }, ". file empty" },
	{ { "copy-file-range-length-0", call_copy_range, "file", "empty", .len = 0 }, ". file empty" },
	{ { "seek-data", call_open_then_seek, "file", .flags = O_RDONLY, .off2 = SEEK_DATA }, ". file" },
	{ { "sync", call_open_then_sync, "file", .flags = O_WRONLY }, ". file" },
	{ { "map", map_only, "file", .flags = 0 }, ". file" },
	{ { "map-load", map_load, "file", .flags = 0 }, ". file" },
	{ { "map-store", map_store, "file", .flags = 0 }, ". file" },
	{ { "execve", call_execve, "./file", .prepare = with_exec }, ". file" },
	{ { "stat", call_stat, "file", .flags = 0 }, ". file" },
	{ { "access", call_access, "file", .mode = R_OK }, ". file" },
	{ { "chdir", call_chdir, "dir", .flags = 0 }, ". dir" },
	{ { "statfs", call_statfs, "dir", .flags = 0 }, ". dir" },
	{ { "list", call_list, "dir", .flags = 0 }, ". dir dir/child" },
	{ { "list-empty", call_list, "void", .flags = 0 }, ". void" },
	{ { "opendir-only", call_open, "dir", .flags = O_RDONLY | O_DIRECTORY }, ". dir" },
	{ { "lookup-child", call_stat, "dir/child", .flags = 0 }, ". dir dir/child" },
	{ { "readlink", call_readlink, "lfile", .len = 100 }, ". lfile file" },
	{ { "follow-link", follow_link, "lfile", .flags = 0 }, ". lfile file" },
	{ { "follow-directory-link", follow_link, "ldir/child", .flags = 0 }, ". ldir dir" },
	{ { "lstat-link", call_lstat, "lfile", .flags = 0 }, ". lfile" },
	{ { "chmod", call_chmod, "file", .mode = 0600 }, ". file" },
	{ { "chmod-same", call_chmod, "file", .mode = 0644 }, ". file" },
	{ { "chmod-directory", call_chmod, "dir", .mode = 0700 }, ". dir" },
	{ { "chown", call_chown, "file", .off = UID_OWNER, .off2 = GID_OWNER }, ". file" },
	{ { "chown-same", call_chown, "file", .off = 0, .off2 = 0 }, ". file" },
	{ { "chown-nothing", call_chown, "file", .off = -1, .off2 = -1 }, ". file" },
	{ { "chown-link", call_chown, "lfile", .flags = AT_SYMLINK_NOFOLLOW, .off = 1,
	  .off2 = 1 }, ". lfile file" },
	{ { "utime-now", call_utime_now, "file", .flags = 0 }, ". file" },
	{ { "utime-atime", set_one_time, "file", .off = 0, .off2 = UTIME_OMIT }, ". file" },
	{ { "utime-mtime", set_one_time, "file", .off = UTIME_OMIT, .off2 = 0 }, ". file" },
	{ { "utime-omit", set_one_time, "file", .off = UTIME_OMIT, .off2 = UTIME_OMIT }, ". file" },
	{ { "setxattr", call_setxattr, "file", "user.b", .len = 5 }, ". file" },
	{ { "setxattr-same", call_setxattr, "file", "user.a", .len = 5, .prepare = with_xattr }, ". file" },
	{ { "setxattr-create-existing", call_setxattr, "file", "user.a", .flags = XATTR_CREATE, .len = 5,
	  .prepare = with_xattr }, ". file" },
	{ { "setxattr-directory", call_setxattr, "dir", "user.b", .len = 5 }, ". dir" },
	{ { "getxattr", call_getxattr, "file", "user.a", .len = 5, .prepare = with_xattr }, ". file" },
	{ { "listxattr", call_listxattr, "file", .len = 100, .prepare = with_xattr }, ". file" },
	{ { "removexattr", call_removexattr, "file", "user.a", .prepare = with_xattr }, ". file" },
	{ { "removexattr-missing", call_removexattr, "file", "user.a", .flags = 0 }, ". file" },
	{ { "set-acl", set_acl, "file", ACL_ACCESS, .flags = 0 }, ". file" },
	{ { "set-default-acl", set_acl, "dir", ACL_DEFAULT, .flags = 0 }, ". dir" },
	{ { "remove-acl-missing", call_removexattr, "file", ACL_ACCESS, .flags = 0 }, ". file" },
	{ { "set-flags", set_flags_nodump, "file", .flags = 0 }, ". file" },
	{ { "get-flags", get_flags, "file", .flags = 0 }, ". file" },
	{ { "new-object", new_times, "new", .flags = O_WRONLY | O_CREAT, .mode = 0644 }, "." },
};

static void run_time(const struct step_group *g)
{
	struct step s;

	for (size_t i = 0; i < COUNT(time_cases); i++) {
		current = &time_cases[i];
		s = current->step;
		s.call = time_call;
		step_run(g, &s, s.name);
	}
}

const struct step_group group_time = { "time", fixture_usual, .run = run_time };
