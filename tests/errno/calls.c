/*
 * The system calls of the tables (calls.h says which arguments come from where).
 *
 * Paths go to the kernel as they are, by openat and its kin with AT_FDCWD. Library functions are used where
 * they add nothing of their own; where they would (checks of flags or of arguments), syscall(2) is. Buffers
 * are allocated and left to the end of the process, descriptors are closed: a case may go on with the file.
 */
#include "calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PAST	1000000000

char *const volatile bad_pointer = (char *)8;

/* What `rc` says, after the descriptor is closed. */
static long closed(int fd, long rc)
{
	long res = result(rc);

	close(fd);
	return res;
}

static int step_open(const struct step *s)
{
	return open(s->path, s->flags | O_CLOEXEC, s->mode);
}

/* ---- On a path ----------------------------------------------------------------------------------------- */

long call_open(const struct step *s)
{
	int fd = step_open(s);

	return fd < 0 ? -errno : closed(fd, 0);
}

long call_creat(const struct step *s)
{
	int fd = creat(s->path, s->mode);

	return fd < 0 ? -errno : closed(fd, 0);
}

long call_mkdir(const struct step *s)
{
	return result(mkdir(s->path, s->mode));
}

long call_mknod(const struct step *s)
{
	return result(mknod(s->path, s->mode, (dev_t)s->off));
}

long call_symlink(const struct step *s)
{
	return result(symlink(s->to, s->path));
}

long call_link(const struct step *s)
{
	return result(linkat(AT_FDCWD, s->path, AT_FDCWD, s->to, s->flags));
}

long call_unlink(const struct step *s)
{
	return result(unlink(s->path));
}

long call_rmdir(const struct step *s)
{
	return result(rmdir(s->path));
}

long call_rename(const struct step *s)
{
	return result(syscall(SYS_renameat2, AT_FDCWD, s->path, AT_FDCWD, s->to, s->flags));
}

long call_readlink(const struct step *s)
{
	char *target = make_filled(0, (size_t)s->len + 1);

	return result(syscall(SYS_readlinkat, AT_FDCWD, s->path, target, s->len));
}

long call_stat(const struct step *s)
{
	struct stat st;

	return result(stat(s->path, &st));
}

long call_lstat(const struct step *s)
{
	struct stat st;

	return result(lstat(s->path, &st));
}

long call_chmod(const struct step *s)
{
	return result(chmod(s->path, s->mode));
}

long call_chown(const struct step *s)
{
	return result(fchownat(AT_FDCWD, s->path, (uid_t)s->off, (gid_t)s->off2, s->flags));
}

long call_access(const struct step *s)
{
	return result(syscall(SYS_faccessat2, AT_FDCWD, s->path, s->mode, s->flags));
}

long call_chdir(const struct step *s)
{
	return result(chdir(s->path));
}

long call_truncate(const struct step *s)
{
	return result(truncate(s->path, s->off));
}

long call_utime_now(const struct step *s)
{
	return result(utimensat(AT_FDCWD, s->path, NULL, s->flags));
}

long call_utime_set(const struct step *s)
{
	struct timespec times[2] = { { .tv_sec = PAST }, { .tv_sec = PAST } };

	return result(utimensat(AT_FDCWD, s->path, times, s->flags));
}

long call_setxattr(const struct step *s)
{
	char *value = make_filled('v', (size_t)s->len);

	return result(lsetxattr(s->path, s->to, value, (size_t)s->len, s->flags));
}

long call_getxattr(const struct step *s)
{
	char *value = make_filled(0, (size_t)s->len);

	return result(lgetxattr(s->path, s->to, value, (size_t)s->len));
}

long call_listxattr(const struct step *s)
{
	char *list = make_filled(0, (size_t)s->len);

	return result(llistxattr(s->path, list, (size_t)s->len));
}

long call_removexattr(const struct step *s)
{
	return result(lremovexattr(s->path, s->to));
}

long call_list(const struct step *s)
{
	DIR *dir = opendir(s->path);
	long entries = 0;

	if (!dir)
		return -errno;
	errno = 0;
	while (readdir(dir))
		entries++;
	if (errno)
		entries = -errno;
	closedir(dir);
	return entries;
}

/* In a process of its own, which writes errno to a pipe that a successful execve() closes. */
long call_execve(const struct step *s)
{
	char name[] = "errno_table", arg[] = "--pause", *argv[] = { name, arg, NULL }, *envp[] = { NULL };
	int fds[2], error = 0, null = (int)must(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
	pid_t pid;

	must(pipe2(fds, O_CLOEXEC), "pipe");
	pid = (pid_t)must(fork(), "fork");
	if (pid == 0) {
		must(dup2(null, 0), "dup2");
		must(dup2(null, 2), "dup2");
		execve(s->path, argv, envp);
		error = errno;
		(void)!write(fds[1], &error, sizeof(error));
		_exit(1);
	}
	close(fds[1]);
	if (read(fds[0], &error, sizeof(error)) != sizeof(error))
		error = 0;
	close(fds[0]);
	close(null);
	waitpid(pid, NULL, 0);
	return -error;
}

long call_statfs(const struct step *s)
{
	struct statfs st;

	return result(statfs(s->path, &st));
}

/* ---- On a descriptor ----------------------------------------------------------------------------------- */

long call_open_then_read(const struct step *s)
{
	char *buf = make_filled(0, (size_t)s->len);
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, syscall(SYS_pread64, fd, buf, s->len, s->off));
}

long call_open_then_write(const struct step *s)
{
	char *buf = make_filled('w', (size_t)s->len);
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, syscall(SYS_pwrite64, fd, buf, s->len, s->off));
}

long call_open_then_truncate(const struct step *s)
{
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, ftruncate(fd, s->off));
}

long call_open_then_fallocate(const struct step *s)
{
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, fallocate(fd, (int)s->off2, s->off, s->len));
}

long call_open_then_seek(const struct step *s)
{
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, lseek(fd, s->off, (int)s->off2));
}

long call_open_then_chmod(const struct step *s)
{
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, fchmod(fd, s->mode));
}

long call_open_then_chown(const struct step *s)
{
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, fchown(fd, (uid_t)s->off, (gid_t)s->off2));
}

long call_open_then_sync(const struct step *s)
{
	int fd = (int)must(step_open(s), s->path);

	return closed(fd, fsync(fd));
}

long call_copy_range(const struct step *s)
{
	int flags = s->flags ? s->flags : O_WRONLY;
	int in = (int)must(open(s->path, s->to ? O_RDONLY : O_RDWR), s->path);
	int out = s->to ? (int)must(open(s->to, flags), s->to) : in;
	loff_t off = s->off, off2 = s->off2;

	return closed(in, copy_file_range(in, &off, out, &off2, (size_t)s->len, 0));
}

long set_flags(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK), now = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, FS_IOC_GETFLAGS, &now))
		return closed(fd, -1);
	now = (now & ~FLAGS_COMMON) | flags;
	return closed(fd, ioctl(fd, FS_IOC_SETFLAGS, &now));
}

/* ---- Preparations -------------------------------------------------------------------------------------- */

void own_mounts(void)
{
	must(unshare(CLONE_NEWNS), "unshare");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount namespace");
}

void mount_inside(const struct step *s)
{
	(void)s;
	own_mounts();
	must(mount("none", "void", "tmpfs", 0, "size=64k"), "mount");
	make_file("void/foreign", 0644, 1);
}

void removed_cwd(const struct step *s)
{
	(void)s;
	must(chdir("void"), "chdir");
	must(rmdir("../void"), "rmdir");
}
