/*
 * Locks: flock(2), POSIX record locks and those of open file descriptions; within a process, between two,
 * deadlock.
 *
 * Locks of one mount are the kernel's: these cases see that nobody stands in its way. POSIX locks belong to
 * processes, so who conflicts with whom is asked by a child.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int step_fd(const struct step *s)
{
	return (int)must(open(s->path, s->flags), s->path);
}

/* mode: F_RDLCK..., off and len of the range. */
static struct flock step_lock(const struct step *s)
{
	return (struct flock){
		.l_type = (short)s->mode, .l_whence = SEEK_SET, .l_start = s->off, .l_len = s->len,
	};
}

/* off2: the fcntl command. */
static long lock_once(const struct step *s)
{
	struct flock lock = step_lock(s);

	return result(fcntl(step_fd(s), (int)s->off2, &lock));
}

/* In a child, which has no part in POSIX locks of this process: the number of the error, 0 for none. */
static long in_child(const struct step *s, long (*call)(const struct step *s))
{
	int status;
	pid_t pid = (pid_t)must(fork(), "fork");

	if (pid == 0)
		_exit((int)-call(s));
	must(waitpid(pid, &status, 0), "waitpid");
	return -WEXITSTATUS(status);
}

/* A write lock on bytes 0 to 9 is held by this process; a child asks. */
static long lock_against_write(const struct step *s)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };

	must(fcntl((int)must(open(s->path, O_RDWR), s->path), F_SETLK, &lock), "F_SETLK");
	return in_child(s, lock_once);
}

static long lock_against_read(const struct step *s)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };

	must(fcntl((int)must(open(s->path, O_RDWR), s->path), F_SETLK, &lock), "F_SETLK");
	return in_child(s, lock_once);
}

/* A lock of an open file description: another description of the same process conflicts. */
static long lock_against_description(const struct step *s)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };

	must(fcntl((int)must(open(s->path, O_RDWR), s->path), F_OFD_SETLK, &lock), "F_OFD_SETLK");
	return lock_once(s);
}

/* Closing any descriptor of a file drops the process's POSIX locks. */
static long lock_after_close(const struct step *s)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };

	must(fcntl((int)must(open(s->path, O_RDWR), s->path), F_SETLK, &lock), "F_SETLK");
	close((int)must(open(s->path, O_RDONLY), s->path));
	return in_child(s, lock_once);
}

static long lock_get(const struct step *s)
{
	struct flock lock = step_lock(s);

	must(fcntl(step_fd(s), F_GETLK, &lock), "F_GETLK");
	note(lock.l_type == F_UNLCK ? " free" : lock.l_type == F_WRLCK ? " held to write" : " held to read");
	note(" %lld+%lld", (long long)lock.l_start, (long long)lock.l_len);
	return 0;
}

static long lock_get_child(const struct step *s)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };

	must(fcntl((int)must(open(s->path, O_RDWR), s->path), F_SETLK, &lock), "F_SETLK");
	return in_child(s, lock_get);
}

static int lock_byte(int fd, int command, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fcntl(fd, command, &lock);
}

/*
 * The child holds byte 1 and waits for byte 0, which this process holds and then asks for byte 1. Whoever
 * comes last is refused: one of the two, it does not matter which.
 */
static long lock_deadlock(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDWR), s->path), fds[2], status;
	pid_t pid;
	char c;
	long rc;

	must(pipe(fds), "pipe");
	must(lock_byte(fd, F_SETLK, 0), "byte 0");
	pid = (pid_t)must(fork(), "fork");
	if (pid == 0) {
		if (lock_byte(fd, F_SETLK, 1) == 0)
			(void)!write(fds[1], "x", 1);
		_exit(lock_byte(fd, F_SETLKW, 0) ? errno : 0);
	}
	must(read(fds[0], &c, 1) == 1 ? 0 : -1, "the child's lock");
	rc = result(lock_byte(fd, F_SETLKW, 1));
	close(fd);
	must(waitpid(pid, &status, 0), "waitpid");
	return rc - WEXITSTATUS(status);
}

/* mode: LOCK_*; len: what another description of the file holds already, 0 for nothing. */
static long flock_twice(const struct step *s)
{
	int other = (int)must(open(s->path, O_RDONLY), s->path);

	if (s->len)
		must(flock(other, (int)s->len), "flock");
	return result(flock(step_fd(s), (int)s->mode));
}

static long flock_bad_fd(const struct step *s)
{
	return result(flock(12345, (int)s->mode));
}

static long fcntl_bad_command(const struct step *s)
{
	return result(fcntl(step_fd(s), (int)s->off2, 0));
}

static const struct step lock_steps[] = {
	{ "read", lock_once, "file", .flags = O_RDONLY, .off2 = F_SETLK, .mode = F_RDLCK, .len = 10 },
	{ "write", lock_once, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK, .len = 10 },
	{ "write-on-read-only", lock_once, "file", .flags = O_RDONLY, .off2 = F_SETLK, .mode = F_WRLCK,
	  .len = 10 },
	{ "read-on-write-only", lock_once, "file", .flags = O_WRONLY, .off2 = F_SETLK, .mode = F_RDLCK,
	  .len = 10 },
	{ "bad-type", lock_once, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = 77, .len = 10 },
	{ "negative-start", lock_once, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK, .off = -1,
	  .len = 10 },
	{ "negative-length", lock_once, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK, .off = 10,
	  .len = -5 },
	{ "negative-length-too-much", lock_once, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK,
	  .off = 10, .len = -11 },
	{ "overflow", lock_once, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK, .off = INT64_MAX,
	  .len = 10 },
	{ "path-fd", lock_once, "file", .flags = O_PATH, .off2 = F_SETLK, .mode = F_RDLCK, .len = 10 },
	{ "directory-read", lock_once, "dir", .flags = O_RDONLY, .off2 = F_SETLK, .mode = F_RDLCK,
	  .len = 10 },
	{ "directory-write", lock_once, "dir", .flags = O_RDONLY, .off2 = F_SETLK, .mode = F_WRLCK,
	  .len = 10 },
	{ "unlock-nothing", lock_once, "file", .flags = O_RDONLY, .off2 = F_SETLK, .mode = F_UNLCK,
	  .len = 10 },
	{ "write-against-write", lock_against_write, "file", .flags = O_RDWR, .off2 = F_SETLK,
	  .mode = F_WRLCK, .len = 1 },
	{ "read-against-write", lock_against_write, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_RDLCK,
	  .len = 1 },
	{ "write-beside-write", lock_against_write, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK,
	  .off = 10, .len = 1 },
	{ "write-against-read", lock_against_read, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK,
	  .len = 0 },
	{ "read-against-read", lock_against_read, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_RDLCK,
	  .len = 0 },
	{ "after-close", lock_after_close, "file", .flags = O_RDWR, .off2 = F_SETLK, .mode = F_WRLCK,
	  .len = 10 },
	{ "get", lock_get, "file", .flags = O_RDWR, .mode = F_WRLCK, .len = 10 },
	{ "get-held", lock_get_child, "file", .flags = O_RDWR, .mode = F_WRLCK, .off = 5, .len = 100 },
	{ "deadlock", lock_deadlock, "file", .flags = 0 },
	{ "description", lock_once, "file", .flags = O_RDWR, .off2 = F_OFD_SETLK, .mode = F_WRLCK,
	  .len = 10 },
	{ "description-on-read-only", lock_once, "file", .flags = O_RDONLY, .off2 = F_OFD_SETLK,
	  .mode = F_WRLCK, .len = 10 },
	{ "description-against-description", lock_against_description, "file", .flags = O_RDWR,
	  .off2 = F_OFD_SETLK, .mode = F_WRLCK, .len = 10 },
	{ "process-against-description", lock_against_description, "file", .flags = O_RDWR, .off2 = F_SETLK,
	  .mode = F_WRLCK, .len = 10 },
	{ "flock-exclusive", flock_twice, "file", .flags = O_RDONLY, .mode = LOCK_EX | LOCK_NB },
	{ "flock-shared-twice", flock_twice, "file", .flags = O_RDONLY, .mode = LOCK_SH | LOCK_NB,
	  .len = LOCK_SH },
	{ "flock-exclusive-against-shared", flock_twice, "file", .flags = O_RDONLY, .mode = LOCK_EX | LOCK_NB,
	  .len = LOCK_SH },
	{ "flock-shared-against-exclusive", flock_twice, "file", .flags = O_RDONLY, .mode = LOCK_SH | LOCK_NB,
	  .len = LOCK_EX },
	{ "flock-write-only", flock_twice, "file", .flags = O_WRONLY, .mode = LOCK_EX | LOCK_NB },
	{ "flock-bad", flock_twice, "file", .flags = O_RDONLY, .mode = 64 },
	{ "flock-two-kinds", flock_twice, "file", .flags = O_RDONLY, .mode = LOCK_SH | LOCK_EX },
	{ "flock-directory", flock_twice, "dir", .flags = O_RDONLY, .mode = LOCK_EX | LOCK_NB,
	  .len = LOCK_SH },
	{ "flock-path-fd", flock_twice, "file", .flags = O_PATH, .mode = LOCK_EX | LOCK_NB },
	{ "flock-bad-descriptor", flock_bad_fd, .mode = LOCK_EX },
	{ "fcntl-bad-command", fcntl_bad_command, "file", .flags = O_RDONLY, .off2 = 4711 },
	{ "lease-read", fcntl_bad_command, "file", .flags = O_RDONLY, .off2 = F_GETLEASE },
	{ "pipe-size", fcntl_bad_command, "file", .flags = O_RDONLY, .off2 = F_GETPIPE_SZ },
	{ "seals", fcntl_bad_command, "file", .flags = O_RDWR, .off2 = F_GET_SEALS },
};

const struct step_group group_lock = { "lock", fixture_usual, TABLE(lock_steps) };
