/*
 * Inode flags: reading and setting them both ways, and what immutable and append-only do to every call.
 *
 * The second part is one table of calls, run four times: with each of the two flags, on the file and on the
 * directory that it lies in; as root and as the owner, to whom all is permitted otherwise. A further table
 * has the calls on descriptors that were opened before the flag was set. What is immutable cannot be removed
 * any more: the filesystem is made for the test.
 */
#include "acl_text.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

static int step_fd(const struct step *s)
{
	return (int)must(open(s->path, O_RDONLY | O_NONBLOCK | s->flags), s->path);
}

static long get_flags(const struct step *s)
{
	int flags = 0;
	long rc = result(ioctl(step_fd(s), FS_IOC_GETFLAGS, &flags));

	note(" %x", (unsigned int)flags & FLAGS_COMMON);
	return rc;
}

/* off: the flags, in place of those of FLAGS_COMMON that are set. */
static long put_flags(const struct step *s)
{
	int fd = step_fd(s), flags, now = 0;
	long rc;

	must(ioctl(fd, FS_IOC_GETFLAGS, &now), "FS_IOC_GETFLAGS");
	flags = (now & ~FLAGS_COMMON) | (int)s->off;
	rc = result(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	must(ioctl(fd, FS_IOC_GETFLAGS, &now), "FS_IOC_GETFLAGS");
	note(" %x", (unsigned int)now & FLAGS_COMMON);
	return rc;
}

/* Sets flags by open(2) by path, so that types without ioctls show their error. */
static long put_flags_plainly(const struct step *s)
{
	return set_flags(s->path, (int)s->off);
}

static long get_fsx(const struct step *s)
{
	struct fsxattr fsx = { 0 };
	long rc = result(ioctl(step_fd(s), FS_IOC_FSGETXATTR, &fsx));

	note(" xflags %x projid %u extsize %u", fsx.fsx_xflags & ~(unsigned int)FS_XFLAG_HASATTR,
	     fsx.fsx_projid, fsx.fsx_extsize);
	return rc;
}

/* off: the flags, off2: the project, len: the extent size. */
static long put_fsx(const struct step *s)
{
	struct fsxattr fsx = {
		.fsx_xflags	= (uint32_t)s->off,
		.fsx_projid	= (uint32_t)s->off2,
		.fsx_extsize	= (uint32_t)s->len,
	};
	int fd = step_fd(s);
	long rc = result(ioctl(fd, FS_IOC_FSSETXATTR, &fsx));

	memset(&fsx, 0, sizeof(fsx));
	must(ioctl(fd, FS_IOC_FSGETXATTR, &fsx), "FS_IOC_FSGETXATTR");
	note(" xflags %x projid %u", fsx.fsx_xflags & ~(unsigned int)FS_XFLAG_HASATTR, fsx.fsx_projid);
	return rc;
}

static long bad_ioctl(const struct step *s)
{
	return result(ioctl(step_fd(s), (unsigned long)s->off, 0));
}

static long bad_ioctl_pointer(const struct step *s)
{
	return result(ioctl(step_fd(s), (unsigned long)s->off, bad_pointer));
}

static void immutable_parent(const struct step *s)
{
	(void)s;
	must(set_flags("dir", FS_NODUMP_FL | FS_NOATIME_FL), "FS_IOC_SETFLAGS");
}

static long inherited_by_file(const struct step *s)
{
	struct step t = { .path = "dir/new" };

	make_file("dir/new", 0644, 0);
	(void)s;
	return get_flags(&t);
}

static long inherited_by_directory(const struct step *s)
{
	struct step t = { .path = "dir/new" };

	make_dir("dir/new", 0755);
	(void)s;
	return get_flags(&t);
}

static const struct step flags_steps[] = {
	{ "get", get_flags, "file", .flags = 0 },
	{ "get-directory", get_flags, "dir", .flags = 0 },
	{ "get-path-fd", bad_ioctl_pointer, "file", .flags = O_PATH, .off = FS_IOC_GETFLAGS },
	{ "get-bad-pointer", bad_ioctl_pointer, "file", .off = FS_IOC_GETFLAGS },
	{ "set-bad-pointer", bad_ioctl_pointer, "file", .off = FS_IOC_SETFLAGS },
	{ "unknown-ioctl", bad_ioctl, "file", .off = 0x7f01 },
	{ "unknown-ioctl-directory", bad_ioctl, "dir", .off = 0x7f01 },
	{ "terminal-ioctl", bad_ioctl_pointer, "file", .off = 0x5401 },
	{ "set-none", put_flags, "file", .off = 0 },
	{ "set-nodump", put_flags, "file", .off = FS_NODUMP_FL },
	{ "set-noatime", put_flags, "file", .off = FS_NOATIME_FL },
	{ "set-sync", put_flags, "file", .off = FS_SYNC_FL },
	{ "set-immutable", put_flags, "file", .off = FS_IMMUTABLE_FL },
	{ "set-append", put_flags, "file", .off = FS_APPEND_FL },
	{ "set-immutable-append", put_flags, "file", .off = FS_IMMUTABLE_FL | FS_APPEND_FL },
	{ "set-dirsync-file", put_flags, "file", .off = FS_DIRSYNC_FL },
	{ "set-dirsync-directory", put_flags, "dir", .off = FS_DIRSYNC_FL },
	{ "set-immutable-directory", put_flags, "dir", .off = FS_IMMUTABLE_FL },
	{ "set-unknown", put_flags, "file", .off = 0x08000000 },
	{ "set-write-only-fd", put_flags, "file", .flags = O_WRONLY, .off = FS_NODUMP_FL },
	{ "set-fifo", put_flags_plainly, "fifo", .off = FS_NODUMP_FL },
	{ "set-device", put_flags_plainly, "null", .off = FS_NODUMP_FL },
	{ "fsx-get", get_fsx, "file", .flags = 0 },
	{ "fsx-get-directory", get_fsx, "dir", .flags = 0 },
	{ "fsx-set-nothing", put_fsx, "file", .off = 0 },
	{ "fsx-set-nodump", put_fsx, "file", .off = FS_XFLAG_NODUMP },
	{ "fsx-set-immutable", put_fsx, "file", .off = FS_XFLAG_IMMUTABLE },
	{ "fsx-set-append", put_fsx, "file", .off = FS_XFLAG_APPEND },
	{ "fsx-set-project", put_fsx, "file", .off2 = 4711 },
	{ "fsx-set-project-inherit", put_fsx, "dir", .off = FS_XFLAG_PROJINHERIT, .off2 = 5 },
	{ "fsx-set-project-inherit-file", put_fsx, "file", .off = FS_XFLAG_PROJINHERIT },
	{ "fsx-set-extent-size", put_fsx, "file", .len = 4096 },
	{ "fsx-set-extent-size-flag", put_fsx, "file", .off = FS_XFLAG_EXTSIZE },
	{ "fsx-set-extent-size-and-flag", put_fsx, "file", .off = FS_XFLAG_EXTSIZE, .len = 4096 },
	{ "fsx-set-realtime", put_fsx, "file", .off = FS_XFLAG_REALTIME },
	{ "fsx-set-unknown", put_fsx, "file", .off = 0x40000000 },
	{ "fsx-get-bad-pointer", bad_ioctl_pointer, "file", .off = FS_IOC_FSGETXATTR },
	{ "fsx-set-bad-pointer", bad_ioctl_pointer, "file", .off = FS_IOC_FSSETXATTR },
	{ "inherited-by-file", inherited_by_file, .prepare = immutable_parent },
	{ "inherited-by-directory", inherited_by_directory, .prepare = immutable_parent },
};

static const struct step flags_user_steps[] = {
	{ "set-nodump", put_flags, "mine", .off = FS_NODUMP_FL },
	{ "set-immutable", put_flags, "mine", .off = FS_IMMUTABLE_FL },
	{ "set-append", put_flags, "mine", .off = FS_APPEND_FL },
	{ "set-nothing", put_flags, "mine", .off = 0 },
	{ "fsx-set-nodump", put_fsx, "mine", .off = FS_XFLAG_NODUMP },
	{ "fsx-set-project", put_fsx, "mine", .off2 = 7 },
};

/* ---- Immutable and append-only ------------------------------------------------------------------------- */

/* What has which flag; `flag` is set before the process of the case is made. */
static const char *flagged_path;
static int flag;

/*
 * What the calls below work on: dir/ with file, full, sub/, fifo, link; out, a file beside it; all OWNER's.
 */
static void fixture_flagged(void)
{
	static const char *const files[] = { "dir/file", "dir/full", "out" };

	make_dir("dir", 0777);
	for (size_t i = 0; i < COUNT(files); i++) {
		make_file(files[i], 0666, 8192);
		must(setxattr(files[i], "user.a", "value", 5, 0), "user.a");
		give_to(files[i], OWNER);
	}
	make_dir("dir/sub", 0777);
	give_to("dir/sub", OWNER);
	make_dir("outdir", 0777);
	must(mknod("dir/fifo", S_IFIFO | 0666, 0), "fifo");
	must(symlink("file", "dir/link"), "link");
	must(setxattr("dir", "user.a", "value", 5, 0), "user.a");
	give_to("dir", OWNER);
	must(chmod(".", 0777), "chmod");
}

static void set_flag(const struct step *s)
{
	(void)s;
	must(set_flags(flagged_path, flag) ? -1 : 0, "FS_IOC_SETFLAGS");
}

static int open_before(const struct step *s)
{
	int fd = (int)must(open(s->path, s->flags), s->path);

	set_flag(s);
	return fd;
}

static long before_write(const struct step *s)
{
	return result(pwrite(open_before(s), "abc", 3, s->off));
}

static long before_truncate(const struct step *s)
{
	return result(ftruncate(open_before(s), s->off));
}

static long before_fallocate(const struct step *s)
{
	return result(fallocate(open_before(s), (int)s->off2, s->off, s->len));
}

static long before_chmod(const struct step *s)
{
	return result(fchmod(open_before(s), 0600));
}

static long before_map(const struct step *s)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open_before(s), 0);

	return p == MAP_FAILED ? -errno : 0;
}

static long before_copy(const struct step *s)
{
	int in = (int)must(open(s->to, O_RDONLY), s->to);
	loff_t from = 0, to = s->off;

	return result(copy_file_range(in, &from, open_before(s), &to, (size_t)s->len, 0));
}

static long acl_set(const struct step *s)
{
	char acl[ACL_TEXT_BYTES];
	size_t len = acl_bytes("u::rwx,u:member:r-x,g::r-x,m::r-x,o::r--", acl);

	return result(setxattr(s->path, ACL_ACCESS, acl, len, 0));
}

static long flags_more(const struct step *s)
{
	return set_flags(s->path, flag | FS_NODUMP_FL);
}

static long flags_off(const struct step *s)
{
	return set_flags(s->path, 0);
}

static const struct step flagged_steps[] = {
	{ "open-read", call_open, "dir/file", .flags = O_RDONLY },
	{ "open-write", call_open, "dir/file", .flags = O_WRONLY },
	{ "open-append", call_open, "dir/file", .flags = O_WRONLY | O_APPEND },
	{ "open-truncate", call_open, "dir/file", .flags = O_WRONLY | O_TRUNC, .show = "dir/file" },
	{ "open-append-truncate", call_open, "dir/file", .flags = O_WRONLY | O_APPEND | O_TRUNC },
	{ "open-read-truncate", call_open, "dir/file", .flags = O_RDONLY | O_TRUNC },
	{ "open-noatime", call_open, "dir/file", .flags = O_RDONLY | O_NOATIME },
	{ "open-creat-existing", call_open, "dir/file", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "open-creat-excl-existing", call_open, "dir/file", .flags = O_WRONLY | O_CREAT | O_EXCL,
	  .mode = 0644 },
	{ "access-write", call_access, "dir/file", .mode = W_OK },
	{ "access-write-directory", call_access, "dir", .mode = W_OK },
	{ "truncate", call_truncate, "dir/file", .off = 0 },
	{ "truncate-grow", call_truncate, "dir/file", .off = 10000 },
	{ "truncate-same", call_truncate, "dir/file", .off = 8192 },
	{ "chmod", call_chmod, "dir/file", .mode = 0600 },
	{ "chown", call_chown, "dir/file", .off = UID_MEMBER, .off2 = -1 },
	{ "utime-now", call_utime_now, "dir/file", .flags = 0 },
	{ "utime-set", call_utime_set, "dir/file", .flags = 0 },
	{ "setxattr", call_setxattr, "dir/file", "user.b", .len = 5 },
	{ "setxattr-trusted", call_setxattr, "dir/file", "trusted.b", .len = 5 },
	{ "getxattr", call_getxattr, "dir/file", "user.a", .len = 10 },
	{ "removexattr", call_removexattr, "dir/file", "user.a", .flags = 0 },
	{ "set-acl", acl_set, "dir/file", .flags = 0 },
	{ "flags-more", flags_more, "dir/file", .flags = 0 },
	{ "flags-off", flags_off, "dir/file", .flags = 0 },
	{ "link", call_link, "dir/file", "outdir/new", .flags = 0 },
	{ "link-into", call_link, "out", "dir/new", .flags = 0 },
	{ "unlink", call_unlink, "dir/file", .flags = 0 },
	{ "unlink-missing", call_unlink, "dir/none", .flags = 0 },
	{ "rmdir", call_rmdir, "dir/sub", .flags = 0 },
	{ "rename-out", call_rename, "dir/file", "outdir/new", .flags = 0 },
	{ "rename-within", call_rename, "dir/file", "dir/new", .flags = 0 },
	{ "rename-into", call_rename, "out", "dir/new", .flags = 0 },
	{ "rename-into-over", call_rename, "out", "dir/file", .flags = 0 },
	{ "rename-over-outside", call_rename, "dir/file", "out", .flags = 0 },
	{ "rename-other-over", call_rename, "dir/full", "dir/file", .flags = 0 },
	{ "rename-exchange", call_rename, "dir/file", "out", .flags = RENAME_EXCHANGE },
	{ "rename-itself", call_rename, "dir", "dir2", .flags = 0 },
	{ "rename-sub-out", call_rename, "dir/sub", "outdir/new", .flags = 0 },
	{ "creat", call_open, "dir/new", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "mkdir", call_mkdir, "dir/new", .mode = 0755 },
	{ "mkdir-existing", call_mkdir, "dir/sub", .mode = 0755 },
	{ "mknod", call_mknod, "dir/new", .mode = S_IFIFO | 0644 },
	{ "symlink", call_symlink, "dir/new", "target", .flags = 0 },
	{ "list", call_list, "dir", .flags = 0 },
	{ "chmod-directory", call_chmod, "dir", .mode = 0700 },
	{ "utime-now-directory", call_utime_now, "dir", .flags = 0 },
	{ "setxattr-directory", call_setxattr, "dir", "user.b", .len = 5 },
	{ "fifo-open-write", call_open, "dir/fifo", .flags = O_RDWR },
	{ "symlink-read", call_readlink, "dir/link", .len = 100 },
};

static const struct step open_before_steps[] = {
	{ "before-write", before_write, "dir/file", .flags = O_WRONLY, .off = 0 },
	{ "before-write-at-end", before_write, "dir/file", .flags = O_WRONLY, .off = 8192 },
	{ "before-append", before_write, "dir/file", .flags = O_WRONLY | O_APPEND, .off = 0 },
	{ "before-truncate", before_truncate, "dir/file", .flags = O_WRONLY, .off = 0 },
	{ "before-truncate-grow", before_truncate, "dir/file", .flags = O_WRONLY, .off = 10000 },
	{ "before-fallocate", before_fallocate, "dir/file", .flags = O_WRONLY, .off = 0, .len = 16384 },
	{ "before-fallocate-keep-size", before_fallocate, "dir/file", .flags = O_WRONLY,
	  .off2 = FALLOC_FL_KEEP_SIZE, .len = 16384 },
	{ "before-punch", before_fallocate, "dir/file", .flags = O_WRONLY,
	  .off2 = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, .len = 4096 },
	{ "before-zero", before_fallocate, "dir/file", .flags = O_WRONLY, .off2 = FALLOC_FL_ZERO_RANGE,
	  .len = 4096 },
	{ "before-chmod", before_chmod, "dir/file", .flags = O_RDONLY },
	{ "before-map", before_map, "dir/file", .flags = O_RDWR },
	{ "before-copy", before_copy, "dir/file", "out", .flags = O_WRONLY, .len = 10 },
	{ "before-copy-at-end", before_copy, "dir/file", "out", .flags = O_WRONLY, .off = 8192, .len = 10 },
};

/* `prepare` sets the flag where it is not NULL; the other table does so between open and call. */
static void run_flagged_table(const struct step_group *g, const struct step *steps, size_t count,
			      const char *prefix, void (*prepare)(const struct step *s))
{
	static const enum who users[] = { ROOT, OWNER };
	char name[96];
	struct step s;

	for (size_t i = 0; i < count; i++)
		for (size_t u = 0; u < (prepare ? COUNT(users) : 1); u++) {
			s = steps[i];
			s.who = users[u];
			s.prepare = prepare;
			snprintf(name, sizeof(name), "%s-%s.%s", prefix, s.name, who_name(s.who));
			step_run(g, &s, name);
		}
}

static void run_flags(const struct step_group *g)
{
	static const struct { const char *name, *path; int flag; } cases[] = {
		{ "immutable-file", "dir/file", FS_IMMUTABLE_FL },
		{ "append-file", "dir/file", FS_APPEND_FL },
		{ "immutable-directory", "dir", FS_IMMUTABLE_FL },
		{ "append-directory", "dir", FS_APPEND_FL },
	};
	struct step_group flagged = { g->name, fixture_flagged, NULL, 0, NULL };

	steps_run_as(g, flags_user_steps, COUNT(flags_user_steps), "");
	for (size_t i = 0; i < COUNT(cases); i++) {
		flagged_path = cases[i].path;
		flag = cases[i].flag;
		run_flagged_table(&flagged, flagged_steps, COUNT(flagged_steps), cases[i].name, set_flag);
		run_flagged_table(&flagged, open_before_steps, COUNT(open_before_steps), cases[i].name, NULL);
	}
}

const struct step_group group_flags = { "flags", fixture_usual, TABLE(flags_steps), .run = run_flags };
