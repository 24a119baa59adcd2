/*
 * open(2) in all its flags, creat(2), unnamed files, and the two sides of ETXTBSY.
 *
 * Three groups. `open` asks what each flag says to each type of object, to what is not there and to whom it
 * does not belong, and what a descriptor of O_PATH is good for. `tmpfile` makes unnamed files and names them.
 * `exec` executes a copy of this very program, which then waits, so that other calls meet a program in
 * execution; errors of execve(2) come back through a pipe that its success closes.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long open_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_openat, AT_FDCWD, bad_pointer, s->flags, 0));
}

static long openat_bad_fd(const struct step *s)
{
	return result(openat(12345, s->path, s->flags));
}

static long openat_file_fd(const struct step *s)
{
	int fd = (int)must(open("file", O_RDONLY), "file");

	return result(openat(fd, s->path, s->flags));
}

/* off: RESOLVE_* */
static long open_resolve(const struct step *s)
{
	struct open_how how = { .flags = (uint64_t)s->flags, .resolve = (uint64_t)s->off };

	return result(syscall(SYS_openat2, AT_FDCWD, s->path, &how, sizeof(how))) < 0 ? -errno : 0;
}

static long open_mode_without_creat(const struct step *s)
{
	struct open_how how = { .flags = (uint64_t)s->flags, .mode = 0644 };

	return result(syscall(SYS_openat2, AT_FDCWD, s->path, &how, sizeof(how))) < 0 ? -errno : 0;
}

static int path_fd(const struct step *s)
{
	return (int)must(open(s->path, O_PATH | s->flags), s->path);
}

static long path_read(const struct step *s)
{
	char c;

	return result(read(path_fd(s), &c, 1));
}

static long path_fchmod(const struct step *s)
{
	return result(fchmod(path_fd(s), 0600));
}

static long path_fstat(const struct step *s)
{
	struct stat st;

	return result(fstat(path_fd(s), &st));
}

static long path_ftruncate(const struct step *s)
{
	return result(ftruncate(path_fd(s), 0));
}

static long path_fchdir(const struct step *s)
{
	return result(fchdir(path_fd(s)));
}

static long path_fchownat(const struct step *s)
{
	return result(fchownat(path_fd(s), "", UID_OWNER, GID_OWNER, AT_EMPTY_PATH));
}

static long path_readlinkat(const struct step *s)
{
	char target[64];

	return result(readlinkat(path_fd(s), "", target, sizeof(target)));
}

static long path_fstat_unlinked(const struct step *s)
{
	int fd = path_fd(s);
	struct stat st;

	must(unlink(s->path), "unlink");
	return result(fstat(fd, &st));
}

static long open_fifo_both_ends(const struct step *s)
{
	int reader = (int)must(open(s->path, O_RDONLY | O_NONBLOCK), "reader");
	int fd = open(s->path, O_WRONLY | O_NONBLOCK);

	(void)reader;
	return fd < 0 ? -errno : result(write(fd, "x", 1));
}

static void mode_0444(const struct step *s)
{
	must(chmod(s->path, 0444), "chmod");
}

static void mode_0200(const struct step *s)
{
	must(chmod(s->path, 0200), "chmod");
}

static void mode_0755_all_closed(const struct step *s)
{
	(void)s;
	must(chmod("dir", 0700), "chmod");
}

static const struct step open_steps[] = {
	{ "missing", call_open, "none", .flags = O_RDONLY },
	{ "missing-directory", call_open, "none/file", .flags = O_RDONLY },
	{ "empty-path", call_open, "", .flags = O_RDONLY },
	{ "read", call_open, "file", .flags = O_RDONLY },
	{ "write", call_open, "file", .flags = O_WRONLY },
	{ "read-write", call_open, "file", .flags = O_RDWR },
	{ "access-mode-3", call_open, "file", .flags = O_ACCMODE },
	{ "access-mode-3.other", call_open, "file", .flags = O_ACCMODE, .who = OTHER },
	{ "append", call_open, "file", .flags = O_WRONLY | O_APPEND },
	{ "sync", call_open, "file", .flags = O_RDWR | O_SYNC },
	{ "dsync", call_open, "file", .flags = O_RDWR | O_DSYNC },
	{ "direct", call_open, "file", .flags = O_RDWR | O_DIRECT },
	{ "truncate", call_open, "file", .flags = O_WRONLY | O_TRUNC, .show = "file" },
	{ "truncate-read-only", call_open, "file", .flags = O_RDONLY | O_TRUNC, .show = "file" },
	{ "truncate-append", call_open, "file", .flags = O_WRONLY | O_TRUNC | O_APPEND, .show = "file" },
	{ "directory-read", call_open, "dir", .flags = O_RDONLY },
	{ "directory-write", call_open, "dir", .flags = O_WRONLY },
	{ "directory-read-write", call_open, "dir", .flags = O_RDWR },
	{ "directory-append", call_open, "dir", .flags = O_RDONLY | O_APPEND },
	{ "directory-direct", call_open, "dir", .flags = O_RDONLY | O_DIRECT },
	{ "directory-truncate", call_open, "dir", .flags = O_RDONLY | O_TRUNC },
	{ "directory-creat", call_open, "dir", .flags = O_RDONLY | O_CREAT, .mode = 0644 },
	{ "directory-creat-excl", call_open, "dir", .flags = O_RDONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "directory-slash", call_open, "dir/", .flags = O_RDONLY },
	{ "directory-flag", call_open, "dir", .flags = O_RDONLY | O_DIRECTORY },
	{ "directory-flag-write", call_open, "dir", .flags = O_RDWR | O_DIRECTORY },
	{ "directory-flag-on-file", call_open, "file", .flags = O_RDONLY | O_DIRECTORY },
	{ "directory-flag-on-link", call_open, "ldir", .flags = O_RDONLY | O_DIRECTORY },
	{ "directory-flag-on-link-to-file", call_open, "lfile", .flags = O_RDONLY | O_DIRECTORY },
	{ "directory-flag-on-fifo", call_open, "fifo", .flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK },
	{ "directory-flag-missing", call_open, "none", .flags = O_RDONLY | O_DIRECTORY },
	{ "directory-flag-creat", call_open, "none", .flags = O_RDONLY | O_DIRECTORY | O_CREAT,
	  .mode = 0644 },
	{ "directory-flag-creat-existing", call_open, "dir", .flags = O_RDONLY | O_DIRECTORY | O_CREAT,
	  .mode = 0644 },
	{ "creat-missing", call_open, "none", .flags = O_WRONLY | O_CREAT, .mode = 0640, .show = "none" },
	{ "creat-all-mode-bits", call_open, "none", .flags = O_WRONLY | O_CREAT, .mode = 07777,
	  .show = "none" },
	{ "creat-existing", call_open, "file", .flags = O_WRONLY | O_CREAT, .mode = 0600, .show = "file" },
	{ "creat-read-only-mode", call_open, "none", .flags = O_RDWR | O_CREAT, .mode = 0400, .who = ROOT,
	  .show = "none" },
	{ "creat-mode-0.owner", call_open, "minedir/none", .flags = O_RDWR | O_CREAT, .mode = 0, .who = OWNER,
	  .show = "minedir/none" },
	{ "creat-excl-missing", call_open, "none", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "creat-excl-existing", call_open, "file", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "creat-excl-link", call_open, "lfile", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "creat-excl-dangling", call_open, "ldangling", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "creat-excl-loop", call_open, "lloop", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "creat-dangling", call_open, "ldangling", .flags = O_WRONLY | O_CREAT, .mode = 0644,
	  .show = "nothing" },
	{ "creat-dangling-nofollow", call_open, "ldangling", .flags = O_WRONLY | O_CREAT | O_NOFOLLOW,
	  .mode = 0644 },
	{ "creat-slash-missing", call_open, "none/", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-slash-file", call_open, "file/", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-slash-directory", call_open, "dir/", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-dot", call_open, ".", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-dotdot", call_open, "dir/..", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-in-missing-directory", call_open, "none/file", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-below-file", call_open, "file/file", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-fifo", call_open, "fifo", .flags = O_RDWR | O_CREAT | O_NONBLOCK, .mode = 0644 },
	{ "creat-sock", call_open, "sock", .flags = O_RDWR | O_CREAT | O_NONBLOCK, .mode = 0644 },
	{ "creat.other", call_open, "none", .flags = O_WRONLY | O_CREAT, .mode = 0644, .who = OTHER },
	{ "creat-existing.other", call_open, "file", .flags = O_RDONLY | O_CREAT, .mode = 0644,
	  .who = OTHER },
	{ "creat-excl-existing.other", call_open, "file", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0644,
	  .who = OTHER },
	{ "old-creat-missing", call_creat, "none", .mode = 0644, .show = "none" },
	{ "old-creat-existing", call_creat, "file", .mode = 0600, .show = "file" },
	{ "old-creat-directory", call_creat, "dir", .mode = 0644 },
	{ "old-creat-link", call_creat, "lfile", .mode = 0644, .show = "file" },
	{ "old-creat.other", call_creat, "file", .mode = 0644, .who = OTHER, .show = "file" },
	{ "file-slash", call_open, "file/", .flags = O_RDONLY },
	{ "below-file", call_open, "file/child", .flags = O_RDONLY },
	{ "link", call_open, "lfile", .flags = O_RDONLY },
	{ "link-slash", call_open, "lfile/", .flags = O_RDONLY },
	{ "link-to-directory-slash", call_open, "ldir/", .flags = O_RDONLY },
	{ "link-dangling", call_open, "ldangling", .flags = O_RDONLY },
	{ "link-loop", call_open, "lloop", .flags = O_RDONLY },
	{ "nofollow-file", call_open, "file", .flags = O_RDONLY | O_NOFOLLOW },
	{ "nofollow-link", call_open, "lfile", .flags = O_RDONLY | O_NOFOLLOW },
	{ "nofollow-dangling", call_open, "ldangling", .flags = O_RDONLY | O_NOFOLLOW },
	{ "nofollow-directory-link", call_open, "ldir", .flags = O_RDONLY | O_NOFOLLOW | O_DIRECTORY },
	{ "nofollow-link-slash", call_open, "ldir/", .flags = O_RDONLY | O_NOFOLLOW },
	{ "nofollow-through-link", call_open, "ldir/child", .flags = O_RDONLY | O_NOFOLLOW },
	{ "nofollow-truncate-link", call_open, "lfile", .flags = O_WRONLY | O_NOFOLLOW | O_TRUNC,
	  .show = "file" },
	{ "fifo-write-without-reader", call_open, "fifo", .flags = O_WRONLY | O_NONBLOCK },
	{ "fifo-read", call_open, "fifo", .flags = O_RDONLY | O_NONBLOCK },
	{ "fifo-both", open_fifo_both_ends, "fifo", .flags = 0 },
	{ "socket", call_open, "sock", .flags = O_RDWR },
	{ "socket-path", call_open, "sock", .flags = O_PATH },
	{ "device", call_open, "null", .flags = O_RDWR },
	{ "noatime.root", call_open, "file", .flags = O_RDONLY | O_NOATIME },
	{ "noatime.owner", call_open, "mine", .flags = O_RDONLY | O_NOATIME, .who = OWNER },
	{ "noatime.other", call_open, "file", .flags = O_RDONLY | O_NOATIME, .who = OTHER },
	{ "write-0444.root", call_open, "mine", .flags = O_WRONLY, .prepare = mode_0444 },
	{ "write-0444.owner", call_open, "mine", .flags = O_WRONLY, .who = OWNER, .prepare = mode_0444 },
	{ "truncate-0444.owner", call_open, "mine", .flags = O_RDONLY | O_TRUNC, .who = OWNER,
	  .prepare = mode_0444, .show = "mine" },
	{ "read-0200.owner", call_open, "mine", .flags = O_RDONLY, .who = OWNER, .prepare = mode_0200 },
	{ "append-0200.owner", call_open, "mine", .flags = O_WRONLY | O_APPEND, .who = OWNER,
	  .prepare = mode_0200 },
	{ "closed-directory.other", call_open, "dir/child", .flags = O_RDONLY, .who = OTHER,
	  .prepare = mode_0755_all_closed },
	{ "closed-directory-missing.other", call_open, "dir/none", .flags = O_RDONLY, .who = OTHER,
	  .prepare = mode_0755_all_closed },
	{ "closed-directory-dotdot.other", call_open, "dir/../file", .flags = O_RDONLY, .who = OTHER,
	  .prepare = mode_0755_all_closed },
	{ "bad-pointer", open_bad_pointer, .flags = O_RDONLY },
	{ "bad-descriptor", openat_bad_fd, "file", .flags = O_RDONLY },
	{ "descriptor-of-file", openat_file_fd, "file", .flags = O_RDONLY },
	{ "resolve-no-symlinks", open_resolve, "ldir/child", .off = RESOLVE_NO_SYMLINKS },
	{ "resolve-beneath", open_resolve, "dir/child", .off = RESOLVE_BENEATH },
	{ "resolve-beneath-leaves", open_resolve, "dir/../../x", .off = RESOLVE_BENEATH },
	{ "resolve-bad", open_resolve, "file", .off = 0x4000 },
	{ "mode-without-creat", open_mode_without_creat, "file", .flags = O_RDONLY },
	{ "path-file", call_open, "file", .flags = O_PATH },
	{ "path-missing", call_open, "none", .flags = O_PATH },
	{ "path-creat-missing", call_open, "none", .flags = O_PATH | O_CREAT, .mode = 0644 },
	{ "path-nofollow-link", call_open, "lfile", .flags = O_PATH | O_NOFOLLOW },
	{ "path-nofollow-directory-link", call_open, "ldir", .flags = O_PATH | O_NOFOLLOW | O_DIRECTORY },
	{ "path-directory-on-file", call_open, "file", .flags = O_PATH | O_DIRECTORY },
	{ "path-unreadable.other", call_open, "mine", .flags = O_PATH, .who = OTHER, .prepare = mode_0200 },
	{ "path-then-read", path_read, "file", .flags = 0 },
	{ "path-then-fchmod", path_fchmod, "file", .flags = 0 },
	{ "path-then-fstat", path_fstat, "file", .flags = 0 },
	{ "path-then-ftruncate", path_ftruncate, "file", .flags = 0 },
	{ "path-then-fchdir", path_fchdir, "dir", .flags = 0 },
	{ "path-then-fchdir-file", path_fchdir, "file", .flags = 0 },
	{ "path-then-fchown", path_fchownat, "file", .flags = 0, .show = "file" },
	{ "path-then-fchown-link", path_fchownat, "lfile", .flags = O_NOFOLLOW, .show = "lfile" },
	{ "path-then-readlink", path_readlinkat, "lfile", .flags = O_NOFOLLOW },
	{ "path-then-readlink-file", path_readlinkat, "file", .flags = 0 },
	{ "path-then-unlink-fstat", path_fstat_unlinked, "file", .flags = 0 },
};

const struct step_group group_open = { "open", fixture_usual, TABLE(open_steps) };

/* ---- Unnamed files ------------------------------------------------------------------------------------- */

/* Open one in `path`, name it `to`. */
static long tmpfile_link(const struct step *s)
{
	int fd = open(s->path, O_TMPFILE | O_RDWR | s->flags, s->mode);
	char path[32];

	if (fd < 0)
		return -errno;
	must(write(fd, "unnamed", 7), "write");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return result(linkat(AT_FDCWD, path, AT_FDCWD, s->to, AT_SYMLINK_FOLLOW));
}

static long tmpfile_stat(const struct step *s)
{
	int fd = open(s->path, O_TMPFILE | O_RDWR, s->mode);
	struct stat st;

	if (fd < 0)
		return -errno;
	must(fstat(fd, &st), "fstat");
	note(" %06o nlink=%lu", st.st_mode, (unsigned long)st.st_nlink);
	return 0;
}

static const struct step tmpfile_steps[] = {
	{ "directory", call_open, "dir", .flags = O_TMPFILE | O_RDWR, .mode = 0644 },
	{ "write-only", call_open, "dir", .flags = O_TMPFILE | O_WRONLY, .mode = 0644 },
	{ "read-only", call_open, "dir", .flags = O_TMPFILE | O_RDONLY, .mode = 0644 },
	{ "creat", call_open, "dir", .flags = O_TMPFILE | O_RDWR | O_CREAT, .mode = 0644 },
	{ "file", call_open, "file", .flags = O_TMPFILE | O_RDWR, .mode = 0644 },
	{ "missing", call_open, "none", .flags = O_TMPFILE | O_RDWR, .mode = 0644 },
	{ "link", call_open, "ldir", .flags = O_TMPFILE | O_RDWR, .mode = 0644 },
	{ "link-nofollow", call_open, "ldir", .flags = O_TMPFILE | O_RDWR | O_NOFOLLOW, .mode = 0644 },
	{ "without-directory-flag", call_open, "dir", .flags = (O_TMPFILE & ~O_DIRECTORY) | O_RDWR,
	  .mode = 0644 },
	{ "others-directory.other", call_open, "dir", .flags = O_TMPFILE | O_RDWR, .mode = 0644,
	  .who = OTHER },
	{ "own-directory.owner", call_open, "minedir", .flags = O_TMPFILE | O_RDWR, .mode = 0644,
	  .who = OWNER },
	{ "mode", tmpfile_stat, "dir", .mode = 06777 },
	{ "named", tmpfile_link, "dir", "dir/new", .mode = 0644, .show = "dir/new" },
	{ "named-excl", tmpfile_link, "dir", "dir/new", .flags = O_EXCL, .mode = 0644 },
	{ "named-existing", tmpfile_link, "dir", "dir/child", .mode = 0644 },
	{ "named-elsewhere", tmpfile_link, "dir", "void/new", .mode = 0644, .show = "void/new" },
};

const struct step_group group_tmpfile = { "tmpfile", fixture_usual, TABLE(tmpfile_steps) };

/* ---- Programs in execution ----------------------------------------------------------------------------- */

/* The fixture of group_exec: `program`, a copy of this very one. */
static void fixture_program(void)
{
	int in = (int)must(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "/proc/self/exe");
	int out = (int)must(open("program", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755), "program");
	struct stat st;
	ssize_t n;

	must(fstat(in, &st), "fstat");
	for (off_t left = st.st_size; left > 0; left -= n) {
		n = sendfile(out, in, NULL, (size_t)left);
		must(n > 0 ? 0 : -1, "sendfile");
	}
	close(in);
	close(out);
	make_file("text", 0755, 10);
	make_file("data", 0644, 10);
	make_dir("dir", 0755);
}

/* Executes `program`, which waits until the other end of the pipe is closed. */
static pid_t start_program(int *wait_fd)
{
	char name[] = "errno_table", arg[] = "--pause", *argv[] = { name, arg, NULL }, *envp[] = { NULL };
	int fds[2], started[2];
	pid_t pid;
	char c;

	must(pipe2(fds, O_CLOEXEC), "pipe");
	must(pipe2(started, O_CLOEXEC), "pipe");
	pid = (pid_t)must(fork(), "fork");
	if (pid == 0) {
		must(dup2(fds[0], 0), "dup2");
		execve("./program", argv, envp);
		(void)!write(started[1], "x", 1);
		_exit(1);
	}
	close(started[1]);
	must(read(started[0], &c, 1) == 0 ? 0 : -1, "execve");
	*wait_fd = fds[1];
	return pid;
}

static long while_running(const struct step *s, long (*call)(const struct step *s))
{
	int wait_fd;
	pid_t pid = start_program(&wait_fd);
	long rc = call(s);

	close(wait_fd);
	waitpid(pid, NULL, 0);
	return rc;
}

static long running_open(const struct step *s)
{
	return while_running(s, call_open);
}

static long running_truncate(const struct step *s)
{
	return while_running(s, call_truncate);
}

static long running_unlink(const struct step *s)
{
	return while_running(s, call_unlink);
}

static long running_rename(const struct step *s)
{
	return while_running(s, call_rename);
}

static long running_chmod(const struct step *s)
{
	return while_running(s, call_chmod);
}

static long open_then_execve(const struct step *s)
{
	must(open(s->path, s->flags | O_CLOEXEC), s->path);
	return call_execve(s);
}

static const struct step exec_steps[] = {
	{ "program", call_execve, "./program", .flags = 0 },
	{ "missing", call_execve, "./none", .flags = 0 },
	{ "not-executable", call_execve, "./data", .flags = 0 },
	{ "no-program", call_execve, "./text", .flags = 0 },
	{ "directory", call_execve, "./dir", .flags = 0 },
	{ "below-file", call_execve, "./data/program", .flags = 0 },
	{ "program.other", call_execve, "./program", .who = OTHER },
	{ "while-open-for-write", open_then_execve, "./program", .flags = O_WRONLY },
	{ "while-open-for-append", open_then_execve, "./program", .flags = O_WRONLY | O_APPEND },
	{ "while-open-for-read", open_then_execve, "./program", .flags = O_RDONLY },
	{ "running-open-write", running_open, "program", .flags = O_WRONLY },
	{ "running-open-truncate", running_open, "program", .flags = O_WRONLY | O_TRUNC },
	{ "running-open-read", running_open, "program", .flags = O_RDONLY },
	{ "running-truncate", running_truncate, "program", .off = 0 },
	{ "running-unlink", running_unlink, "program", .flags = 0 },
	{ "running-rename", running_rename, "program", "other", .flags = 0 },
	{ "running-rename-over", running_rename, "text", "program", .flags = 0 },
	{ "running-chmod", running_chmod, "program", .mode = 0700 },
};

const struct step_group group_exec = { "exec", fixture_program, TABLE(exec_steps) };
