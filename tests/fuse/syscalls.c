/*
 * System calls that no program of the shell's makes: file handles, unnamed and unlinked files, holes, locks.
 *
 *	syscalls CASE DIR
 *
 * DIR is an empty directory on the filesystem under test. Exit status 0, or 1 with one line that says which
 * call did what, or 77 where the kernel or the library cannot do it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK		4096
#define MIB		(1 << 20)
#define HANDLE_MAX	128
#define SKIP		77

static const char *dir;

static _Noreturn void wrong(const char *what)
{
	printf("%s\n", what);
	exit(1);
}

static void check(bool ok, const char *what)
{
	if (!ok)
		wrong(what);
}

/* A call has to succeed. */
static int must(int rc, const char *what)
{
	if (rc < 0) {
		printf("%s: %s\n", what, strerror(errno));
		exit(1);
	}
	return rc;
}

/* A call has to fail with this error. */
static void must_fail(int rc, int error, const char *what)
{
	if (rc >= 0 || errno != error) {
		printf("%s: %s, needed %s\n", what, rc >= 0 ? "success" : strerror(errno), strerror(error));
		exit(1);
	}
}

/* A path below dir, good until the next call. */
static const char *in_dir(const char *name)
{
	static char path[PATH_MAX];

	check(snprintf(path, sizeof(path), "%s/%s", dir, name) < PATH_MAX, "the directory's path is too long");
	return path;
}

static int make_file(const char *name, const char *text)
{
	int fd = must(open(in_dir(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "create");

	check(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write of a new file");
	return fd;
}

static void check_text(int fd, const char *text)
{
	char buf[256];
	ssize_t n = pread(fd, buf, sizeof(buf), 0);

	check(n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0,
	      "the file does not hold what was written");
}

/*
 * ---- Handles
 * ---------------------------------------------------------------------------------------------------
 */

union handle {
	struct file_handle	h;
	char			room[sizeof(struct file_handle) + HANDLE_MAX];
};

static void drop_caches(void)
{
	int fd;

	sync();
	fd = must(open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC), "/proc/sys/vm/drop_caches");
	check(write(fd, "2", 1) == 1, "write to drop_caches");
	close(fd);
}

static void get_handle(const char *name, union handle *handle)
{
	int mount_id;

	handle->h.handle_bytes = HANDLE_MAX;
	must(name_to_handle_at(AT_FDCWD, in_dir(name), &handle->h, &mount_id, 0), "name_to_handle_at");
}

/* A handle leads to its inode when the kernel has forgotten it, and to nothing once that is removed. */
static int case_handle(void)
{
	int mount_fd = must(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open"), fd;
	union handle file, sub;

	must(mkdir(in_dir("sub"), 0700), "mkdir");
	close(make_file("sub/file", "handle"));
	get_handle("sub/file", &file);
	get_handle("sub", &sub);
	drop_caches();
	fd = must(open_by_handle_at(mount_fd, &file.h, O_RDONLY | O_CLOEXEC), "open_by_handle_at of a file");
	check_text(fd, "handle");
	close(fd);
	drop_caches();
	fd = must(open_by_handle_at(mount_fd, &sub.h, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		  "open_by_handle_at of a directory");
	must(faccessat(fd, "file", F_OK, 0), "the file in a directory opened by handle");
	must(faccessat(fd, "../sub/file", F_OK, 0), "the parent of a directory opened by handle");
	close(fd);
	must(unlink(in_dir("sub/file")), "unlink");
	drop_caches();
	must_fail(open_by_handle_at(mount_fd, &file.h, O_RDONLY | O_CLOEXEC), ESTALE,
		  "open_by_handle_at after unlink");
	close(make_file("sub/other", "another file, perhaps in the same slot"));
	must_fail(open_by_handle_at(mount_fd, &file.h, O_RDONLY | O_CLOEXEC), ESTALE,
		  "open_by_handle_at after the number was used again");
	return 0;
}

/*
 * ---- Files without a name
 * --------------------------------------------------------------------------------------
 */

static uint64_t free_blocks(void)
{
	struct statvfs st;

	must(statvfs(dir, &st), "statvfs");
	return st.f_bfree;
}

/* An unlinked file lives on while it is open; then its blocks are free. */
static int case_unlinked(void)
{
	static char data[4 * MIB];
	uint64_t before = free_blocks();
	struct stat st;
	int fd;

	fd = make_file("file", "unlinked");
	must(unlink(in_dir("file")), "unlink");
	must(fstat(fd, &st), "fstat of an unlinked file");
	check(st.st_nlink == 0, "an unlinked file has links");
	check_text(fd, "unlinked");
	check(pwrite(fd, data, sizeof(data), MIB) == (ssize_t)sizeof(data), "write to an unlinked file");
	check(free_blocks() + sizeof(data) / BLOCK <= before,
	      "the blocks of an unlinked open file are not counted");
	must(ftruncate(fd, 8), "ftruncate of an unlinked file");
	check_text(fd, "unlinked");
	close(fd);
	/* The kernel sends the last RELEASE after close(2) has returned. */
	for (int i = 0; i < 100 && free_blocks() != before; i++)
		usleep(50000);
	check(free_blocks() == before, "the blocks of an unlinked file were not freed when it was closed");
	must(mkdir(in_dir("sub"), 0700), "mkdir");
	fd = must(open(in_dir("sub"), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open of a directory");
	must(rmdir(in_dir("sub")), "rmdir");
	must_fail(openat(fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600), ENOENT,
		  "create in a removed directory");
	return 0;
}

/* libfuse below 3.17 does not pass O_TMPFILE on. */
static int case_tmpfile(void)
{
	char fd_path[64];
	struct stat st;
	int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0640);

	if (fd < 0 && errno == EOPNOTSUPP) {
		printf("O_TMPFILE is not supported here\n");
		return SKIP;
	}
	must(fd, "open with O_TMPFILE");
	check(write(fd, "unnamed", 7) == 7, "write to an unnamed file");
	must(fstat(fd, &st), "fstat of an unnamed file");
	check(st.st_nlink == 0, "an unnamed file has links");
	snprintf(fd_path, sizeof(fd_path), "/proc/self/fd/%d", fd);
	must(linkat(AT_FDCWD, fd_path, AT_FDCWD, in_dir("named"), AT_SYMLINK_FOLLOW),
	     "linkat of an unnamed file");
	close(fd);
	fd = must(open(in_dir("named"), O_RDONLY | O_CLOEXEC), "open of a file that got a name");
	check_text(fd, "unnamed");
	must(fstat(fd, &st), "fstat");
	check(st.st_nlink == 1, "a file that got one name has not one link");
	close(fd);
	return 0;
}

/*
 * ---- Holes
 * -----------------------------------------------------------------------------------------------------
 */

static void seeks_to(int fd, off_t from, int whence, off_t wanted, const char *what)
{
	off_t found = lseek(fd, from, whence);

	if (found != wanted) {
		printf("%s: %jd, needed %jd\n", what, (intmax_t)found, (intmax_t)wanted);
		exit(1);
	}
}

/* 0: hole, 1 MiB: data, 2 MiB: hole, 3 MiB: a block, hole up to 4 MiB. */
static int case_holes(void)
{
	static char data[MIB], zeros[MIB], found[MIB];
	int fd = make_file("file", "");
	struct stat st;

	memset(data, 'x', sizeof(data));
	check(pwrite(fd, data, MIB, MIB) == MIB && pwrite(fd, data, BLOCK, 3 * MIB) == BLOCK, "pwrite");
	must(ftruncate(fd, 4 * MIB), "ftruncate");
	must(fstat(fd, &st), "fstat");
	check(st.st_blocks >= (MIB + BLOCK) / 512 && st.st_blocks < 2 * MIB / 512, "holes take blocks");
	seeks_to(fd, 0, SEEK_DATA, MIB, "SEEK_DATA from 0");
	seeks_to(fd, 0, SEEK_HOLE, 0, "SEEK_HOLE from 0");
	seeks_to(fd, MIB + 5, SEEK_DATA, MIB + 5, "SEEK_DATA inside data");
	seeks_to(fd, MIB, SEEK_HOLE, 2 * MIB, "SEEK_HOLE from data");
	seeks_to(fd, 2 * MIB, SEEK_DATA, 3 * MIB, "SEEK_DATA from a hole");
	seeks_to(fd, 3 * MIB, SEEK_HOLE, 3 * MIB + BLOCK, "SEEK_HOLE from the last data");
	must_fail((int)lseek(fd, 3 * MIB + BLOCK, SEEK_DATA), ENXIO, "SEEK_DATA in the last hole");
	must_fail((int)lseek(fd, 4 * MIB, SEEK_HOLE), ENXIO, "SEEK_HOLE at the end of the file");

	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB + BLOCK, MIB / 2),
	     "punching a hole");
	seeks_to(fd, MIB, SEEK_HOLE, MIB + BLOCK, "SEEK_HOLE to a punched hole");
	seeks_to(fd, MIB + BLOCK, SEEK_DATA, MIB + BLOCK + MIB / 2, "SEEK_DATA past a punched hole");
	check(pread(fd, found, MIB, MIB) == MIB && memcmp(found, data, BLOCK) == 0 &&
	      memcmp(found + BLOCK, zeros, MIB / 2) == 0 &&
	      memcmp(found + BLOCK + MIB / 2, data, MIB / 2 - BLOCK) == 0, "a punched hole reads wrong");
	must(fallocate(fd, 0, 0, MIB), "fallocate");
	check(pread(fd, found, MIB, 0) == MIB && memcmp(found, zeros, MIB) == 0,
	      "allocated space does not read as zeros");
	close(fd);
	return 0;
}

/*
 * ---- Locks
 * -----------------------------------------------------------------------------------------------------
 */

static void lock_file(int fd, bool exclusive)
{
	must(flock(fd, exclusive ? LOCK_EX : LOCK_SH), "flock");
}

static bool try_flock(int fd, bool exclusive)
{
	return flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0;
}

static bool try_range(int fd, bool exclusive, off_t start, off_t len)
{
	struct flock lk = {
		.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len,
	};

	return fcntl(fd, F_SETLK, &lk) == 0;
}

/* Is there a lock in the way, and is it the parent's? */
static bool range_held_by(int fd, off_t start, pid_t pid)
{
	struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 1 };

	must(fcntl(fd, F_GETLK, &lk), "F_GETLK");
	return lk.l_type != F_UNLCK && lk.l_pid == pid;
}

/* Runs in a second process while the first holds flock shared and bytes 0 to 9 exclusively. */
static int second_process(pid_t first)
{
	int fd = must(open(in_dir("file"), O_RDWR | O_CLOEXEC), "open");

	check(!try_flock(fd, true), "an exclusive flock was granted beside a shared one");
	check(try_flock(fd, false), "a shared flock was refused beside a shared one");
	check(!try_range(fd, true, 5, 10), "a record lock was granted over one that is held");
	check(!try_range(fd, false, 9, 1), "a shared record lock was granted over an exclusive one");
	check(range_held_by(fd, 3, first), "F_GETLK does not name the holder");
	check(try_range(fd, true, 10, 10), "a record lock was refused beside one that is held");
	return 0;
}

static int case_locks(void)
{
	int fd = make_file("file", "locked"), status;
	pid_t first = getpid(), second;

	lock_file(fd, false);
	check(try_range(fd, true, 0, 10), "a record lock was refused");
	second = must(fork(), "fork");
	if (second == 0)
		exit(second_process(first));
	must(waitpid(second, &status, 0), "waitpid");
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the second process failed");
	check(try_range(fd, true, 10, 10), "a record lock outlives its process");
	check(try_flock(fd, true), "a flock outlives its process");
	close(fd);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{ "handle",	case_handle },
	{ "holes",	case_holes },
	{ "locks",	case_locks },
	{ "tmpfile",	case_tmpfile },
	{ "unlinked",	case_unlinked },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc == 3 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].name, argv[1]) == 0) {
			dir = argv[2];
			return cases[i].run();
		}
	}
	fprintf(stderr, "usage: syscalls handle|holes|locks|tmpfile|unlinked DIR\n");
	return 2;
}
