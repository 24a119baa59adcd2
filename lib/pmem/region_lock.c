/*
 * Who has a pool in use.
 *
 * Two bytes far beyond any pool's end carry advisory locks; the file's contents know nothing of them, and
 * they are gone with the process, however it ends. Files and device-DAX nodes both take them.
 *
 *	2^62		OFD lock (F_OFD_SETLK): exclusive for a writer, shared for read-only regions. This is
 *			the lock that decides. It belongs to the open file description, so a daemon keeps it
 *			when it forks into the background, and closing some other descriptor of the file does
 *			not drop it.
 *	2^62 + 1	traditional POSIX lock (F_SETLK) of the same type: it decides nothing, but F_GETLK
 *			tells the pid of its holder, which F_OFD_GETLK does not.
 *
 * POSIX locks belong to the process: a forked child must take its own (region_lock_owner), and the close of
 * any descriptor of the file drops them. So between the OFD lock and the record, or after such a close, a
 * pool can be in use by someone unknown; messages then say "another process".
 *
 *	2^62 + 2 on	OFD locks of clients that map the pool by themselves, a byte each (direct.h). They outlive
 *			the daemon that knew them.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pmem/region_private.h"

#define LOCK_IN_USE	((off_t)1 << 62)
#define LOCK_PID	(LOCK_IN_USE + 1)
#define LOCK_CLIENTS	(LOCK_IN_USE + 2)

static struct flock lock_byte(off_t byte, bool shared)
{
	return (struct flock){
		.l_type = shared ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};
}

/* Pid of a process whose record conflicts with a lock of this type; 0: none, or it cannot be told. */
static long recorded_pid(int fd, bool shared)
{
	struct flock lk = lock_byte(LOCK_PID, shared);

	if (fcntl(fd, F_GETLK, &lk) || lk.l_type == F_UNLCK || lk.l_pid <= 0)
		return 0;
	return lk.l_pid;
}

static void process_name(long pid, char *name, size_t size)
{
	char path[64];
	FILE *f;

	snprintf(name, size, "unknown program");
	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(name, (int)size, f))
		name[strcspn(name, "\n")] = '\0';
	fclose(f);
}

static int busy(int fd, const char *path, bool shared, struct err *err)
{
	long pid = recorded_pid(fd, shared);
	char name[32];

	if (!pid)
		return err_set(err, -EBUSY, "%s: in use by another process", path);
	process_name(pid, name, sizeof(name));
	return err_set(err, -EBUSY, "%s: in use by pid %ld (%s)", path, pid, name);
}

static int record_pid(int fd, bool shared)
{
	struct flock lk = lock_byte(LOCK_PID, shared);

	return fcntl(fd, F_SETLK, &lk) ? -errno : 0;
}

int region_lock(int fd, const char *path, bool readonly, struct err *err)
{
	struct flock lk = lock_byte(LOCK_IN_USE, readonly);

	if (fcntl(fd, F_OFD_SETLK, &lk)) {
		if (errno == EAGAIN || errno == EACCES)
			return busy(fd, path, readonly, err);
		return err_set_errno(err, -errno, "%s: cannot take the in-use lock", path);
	}
	/* A record that cannot be had costs a pid in messages, nothing else. */
	record_pid(fd, readonly);
	return 0;
}

int region_lock_owner(struct region *r)
{
	assert(r->fd >= 0);
	return record_pid(r->fd, r->readonly);
}

/* F_OFD_GETLK tells of any lock in the range: what lies before it is asked for until there is nothing. */
int64_t region_client(const struct region *r, uint64_t from)
{
	off_t start = LOCK_CLIENTS + (off_t)from, found = -1;
	struct flock lk;

	if (r->fd < 0)
		return -ENOENT;
	do {
		lk = lock_byte(start, false);
		lk.l_len = found < 0 ? 0 : found - start;	/* 0: to the end */
		if (fcntl(r->fd, F_OFD_GETLK, &lk) || lk.l_type == F_UNLCK)
			break;
		found = lk.l_start > start ? lk.l_start : start;
	} while (found > start);
	return found < 0 ? -ENOENT : found - LOCK_CLIENTS;
}

static long holder(int fd)
{
	struct flock lk = lock_byte(LOCK_IN_USE, true);
	long pid;

	if (fcntl(fd, F_OFD_GETLK, &lk))
		return -errno;
	if (lk.l_type == F_UNLCK)
		return 0;
	pid = recorded_pid(fd, true);
	return pid ? pid : -EBUSY;
}

long region_holder(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	long pid;

	if (fd < 0)
		return -errno;
	pid = holder(fd);
	close(fd);
	return pid;
}
