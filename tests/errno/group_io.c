/*
 * Data: read and write and their edges, copy_file_range, mmap.
 *
 * For each call: descriptors of the wrong kind or mode, offsets at and over every edge, lengths of zero and
 * of more than there is, bad pointers (by syscall(2), for the library's checks and those of sanitizers would
 * come first), limits on sizes. What was written is not read back here, other tests do that; the size is
 * shown.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIB16	(1LL << 44)
#define PAGE	4096

static void limit_size(const struct step *s)
{
	struct rlimit limit = { 1000, 1000 };

	(void)s;
	must(setrlimit(RLIMIT_FSIZE, &limit), "setrlimit");
}

static void limit_size_quietly(const struct step *s)
{
	limit_size(s);
	signal(SIGXFSZ, SIG_IGN);
}

/* ---- read, write --------------------------------------------------------------------------------------- */

static int step_fd(const struct step *s)
{
	return (int)must(open(s->path, s->flags, 0644), s->path);
}

static long read_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_pread64, step_fd(s), bad_pointer, s->len, s->off));
}

static long write_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_pwrite64, step_fd(s), bad_pointer, s->len, s->off));
}

/* A buffer of which only the first half can be read: how much is written is the filesystem's. */
static long write_half_bad(const struct step *s)
{
	char *area = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long rc;

	must(area == MAP_FAILED ? -1 : 0, "mmap");
	must(munmap(area + PAGE, PAGE), "munmap");
	rc = result(syscall(SYS_pwrite64, step_fd(s), area + PAGE - 10, 20, s->off));
	return rc < 0 ? rc : 0;
}

static long read_bad_fd(const struct step *s)
{
	return result(syscall(SYS_pread64, 12345, bad_pointer, s->len, s->off));
}

static long write_bad_fd(const struct step *s)
{
	return result(syscall(SYS_pwrite64, 12345, bad_pointer, s->len, s->off));
}

/* At the file position off, by write(2), twice: what the second says. */
static long write_at_position(const struct step *s)
{
	int fd = step_fd(s);
	char *data = make_filled('w', (size_t)s->len);
	long rc;

	must(lseek(fd, s->off, SEEK_SET), "lseek");
	rc = result(write(fd, data, (size_t)s->len));
	note(" first %s", rc < 0 ? errno_name((int)-rc) : "ok");
	return result(write(fd, data, (size_t)s->len));
}

/* Does what pwrite(2) of O_APPEND files is known for: append all the same. */
static long append_position(const struct step *s)
{
	int fd = step_fd(s);

	must(pwrite(fd, "abc", 3, s->off), "pwrite");
	note(" position %lld", (long long)lseek(fd, 0, SEEK_CUR));
	must(write(fd, "def", 3), "write");
	note(" then %lld", (long long)lseek(fd, 0, SEEK_CUR));
	return 0;
}

static long read_vector(const struct step *s)
{
	struct iovec iov[2] = { { bad_pointer, (size_t)s->len }, { bad_pointer, (size_t)s->len } };

	return result(syscall(SYS_readv, step_fd(s), iov, s->off));
}

static long write_vector(const struct step *s)
{
	struct iovec iov[2] = { { bad_pointer, (size_t)s->len }, { bad_pointer, (size_t)s->len } };

	return result(syscall(SYS_writev, step_fd(s), iov, s->off));
}

/* off2: RWF_*. */
static long write_with_flags(const struct step *s)
{
	char *data = make_filled('w', (size_t)s->len);
	struct iovec iov = { data, (size_t)s->len };

	return result(pwritev2(step_fd(s), &iov, 1, s->off, (int)s->off2));
}

static long read_unlinked(const struct step *s)
{
	int fd = step_fd(s);
	char buf[100];

	must(unlink(s->path), "unlink");
	return result(pread(fd, buf, sizeof(buf), s->off));
}

static long write_unlinked(const struct step *s)
{
	int fd = step_fd(s);

	must(unlink(s->path), "unlink");
	return result(pwrite(fd, "abc", 3, s->off));
}

/* O_DIRECT with an address, length or offset that is not a multiple of anything. */
static long direct_read(const struct step *s)
{
	char *buf = aligned_alloc(PAGE, 2 * PAGE);

	must(buf ? 0 : -1, "aligned_alloc");
	return result(pread(step_fd(s), buf + s->off2, (size_t)s->len, s->off));
}

static long sync_bad_fd(const struct step *s)
{
	return s->flags ? result(fdatasync(12345)) : result(fsync(12345));
}

static long send_file(const struct step *s)
{
	int in = step_fd(s), out = (int)must(open(s->to, O_WRONLY), s->to);
	off_t off = s->off;

	return result(sendfile(out, in, &off, (size_t)s->len));
}

static const struct step io_steps[] = {
	{ "read", call_open_then_read, "file", .flags = O_RDONLY, .len = 100 },
	{ "read-inside", call_open_then_read, "file", .flags = O_RDONLY, .off = 4, .len = 3 },
	{ "read-at-end", call_open_then_read, "file", .flags = O_RDONLY, .off = 10, .len = 3 },
	{ "read-beyond-end", call_open_then_read, "file", .flags = O_RDONLY, .off = 1LL << 40, .len = 3 },
	{ "read-length-0", call_open_then_read, "file", .flags = O_RDONLY, .len = 0 },
	{ "read-negative-offset", call_open_then_read, "file", .flags = O_RDONLY, .off = -1, .len = 3 },
	{ "read-2^63-1", call_open_then_read, "file", .flags = O_RDONLY, .off = INT64_MAX, .len = 1 },
	{ "read-sum-overflows", call_open_then_read, "file", .flags = O_RDONLY, .off = INT64_MAX, .len = 10 },
	{ "read-16tib", call_open_then_read, "file", .flags = O_RDONLY, .off = TIB16, .len = 10 },
	{ "read-write-only", call_open_then_read, "file", .flags = O_WRONLY, .len = 3 },
	{ "read-directory", call_open_then_read, "dir", .flags = O_RDONLY, .len = 3 },
	{ "read-path-fd", call_open_then_read, "file", .flags = O_PATH, .len = 3 },
	{ "read-device", call_open_then_read, "null", .flags = O_RDONLY, .len = 3 },
	{ "read-bad-pointer", read_bad_pointer, "file", .flags = O_RDONLY, .len = 3 },
	{ "read-bad-pointer-length-0", read_bad_pointer, "file", .flags = O_RDONLY, .len = 0 },
	{ "read-bad-pointer-at-end", read_bad_pointer, "file", .flags = O_RDONLY, .off = 10, .len = 3 },
	{ "read-bad-descriptor", read_bad_fd, .len = 3 },
	{ "read-huge-length", read_bad_pointer, "file", .flags = O_RDONLY, .len = INT64_MAX },
	{ "read-negative-length", read_bad_pointer, "file", .flags = O_RDONLY, .len = -1 },
	{ "readv-count-0", read_vector, "file", .flags = O_RDONLY, .off = 0 },
	{ "readv-count-negative", read_vector, "file", .flags = O_RDONLY, .off = -1 },
	{ "readv-count-1025", read_vector, "file", .flags = O_RDONLY, .off = 1025 },
	{ "readv-length-negative", read_vector, "file", .flags = O_RDONLY, .off = 2, .len = -1 },
	{ "readv-bad-pointer", read_vector, "file", .flags = O_RDONLY, .off = 2, .len = 3 },
	{ "read-unlinked", read_unlinked, "file", .flags = O_RDONLY },
	{ "read-direct", direct_read, "file", .flags = O_RDONLY | O_DIRECT, .len = PAGE },
	{ "read-direct-at-end", direct_read, "file", .flags = O_RDONLY | O_DIRECT, .off = PAGE, .len = PAGE },

	{ "write", call_open_then_write, "file", .flags = O_WRONLY, .len = 5, .show = "file" },
	{ "write-over-end", call_open_then_write, "file", .flags = O_WRONLY, .off = 8, .len = 5,
	  .show = "file" },
	{ "write-beyond-end", call_open_then_write, "file", .flags = O_WRONLY, .off = 5000, .len = 5,
	  .show = "file" },
	{ "write-length-0", call_open_then_write, "file", .flags = O_WRONLY, .off = 5000, .len = 0,
	  .show = "file" },
	{ "write-negative-offset", call_open_then_write, "file", .flags = O_WRONLY, .off = -1, .len = 3 },
	{ "write-2^63-1", call_open_then_write, "file", .flags = O_WRONLY, .off = INT64_MAX, .len = 1 },
	{ "write-2^63-2", call_open_then_write, "file", .flags = O_WRONLY, .off = INT64_MAX - 1, .len = 1,
	  .show = "file" },
	{ "write-2^63-2-more", call_open_then_write, "file", .flags = O_WRONLY, .off = INT64_MAX - 1,
	  .len = 2 },
	{ "write-2^63-1-length-0", call_open_then_write, "file", .flags = O_WRONLY, .off = INT64_MAX,
	  .len = 0 },
	{ "write-16tib-minus-4k-minus-1", call_open_then_write, "file", .flags = O_WRONLY,
	  .off = TIB16 - 4097, .len = 2, .show = "file" },
	{ "write-16tib-minus-4k", call_open_then_write, "file", .flags = O_WRONLY, .off = TIB16 - 4096,
	  .len = 2 },
	{ "write-16tib", call_open_then_write, "file", .flags = O_WRONLY, .off = TIB16, .len = 2 },
	{ "write-1tib", call_open_then_write, "file", .flags = O_WRONLY, .off = 1LL << 40, .len = 2,
	  .show = "file" },
	{ "write-read-only", call_open_then_write, "file", .flags = O_RDONLY, .len = 3 },
	{ "write-path-fd", call_open_then_write, "file", .flags = O_PATH, .len = 3 },
	{ "write-directory", call_open_then_write, "dir", .flags = O_RDONLY, .len = 3 },
	{ "write-append-fd", call_open_then_write, "file", .flags = O_WRONLY | O_APPEND, .off = 0, .len = 5,
	  .show = "file" },
	{ "write-append-position", append_position, "file", .flags = O_WRONLY | O_APPEND, .off = 2,
	  .show = "file" },
	{ "write-bad-pointer", write_bad_pointer, "file", .flags = O_WRONLY, .len = 3, .show = "file" },
	{ "write-bad-pointer-beyond-end", write_bad_pointer, "file", .flags = O_WRONLY, .off = 5000,
	  .len = 3 },
	{ "write-bad-pointer-length-0", write_bad_pointer, "file", .flags = O_WRONLY, .len = 0 },
	{ "write-half-bad-pointer", write_half_bad, "file", .flags = O_WRONLY, .off = 0 },
	{ "write-bad-descriptor", write_bad_fd, .len = 3 },
	{ "write-negative-length", write_bad_pointer, "file", .flags = O_WRONLY, .len = -1 },
	{ "writev-count-0", write_vector, "file", .flags = O_WRONLY, .off = 0 },
	{ "writev-count-negative", write_vector, "file", .flags = O_WRONLY, .off = -1 },
	{ "writev-length-negative", write_vector, "file", .flags = O_WRONLY, .off = 2, .len = -1 },
	{ "writev-bad-pointer", write_vector, "file", .flags = O_WRONLY, .off = 2, .len = 3 },
	{ "pwritev2-append", write_with_flags, "file", .flags = O_WRONLY, .off2 = RWF_APPEND, .len = 3,
	  .show = "file" },
	{ "pwritev2-dsync", write_with_flags, "file", .flags = O_WRONLY, .off2 = RWF_DSYNC, .len = 3 },
	{ "pwritev2-bad-flags", write_with_flags, "file", .flags = O_WRONLY, .off2 = 0x40000000, .len = 3 },
	{ "pwritev2-no-append", write_with_flags, "file", .flags = O_WRONLY | O_APPEND, .off2 = 0x20,
	  .off = 0, .len = 3, .show = "file" },
	{ "write-unlinked", write_unlinked, "file", .flags = O_RDWR },
	{ "write-over-limit", call_open_then_write, "file", .flags = O_WRONLY, .off = 1000, .len = 1,
	  .prepare = limit_size },
	{ "write-over-limit-ignored", call_open_then_write, "file", .flags = O_WRONLY, .off = 1000, .len = 1,
	  .prepare = limit_size_quietly, .show = "file" },
	{ "write-up-to-limit", call_open_then_write, "file", .flags = O_WRONLY, .off = 998, .len = 5,
	  .prepare = limit_size, .show = "file" },
	{ "write-position-up-to-limit", write_at_position, "file", .flags = O_WRONLY, .off = 998, .len = 5,
	  .prepare = limit_size_quietly, .show = "file" },
	{ "write-append-over-limit", call_open_then_write, "big", .flags = O_WRONLY | O_APPEND, .len = 5,
	  .prepare = limit_size_quietly, .show = "big" },
	{ "write-inside-over-limit", call_open_then_write, "big", .flags = O_WRONLY, .off = 500, .len = 5,
	  .prepare = limit_size_quietly, .show = "big" },
	{ "sync", call_open_then_sync, "file", .flags = O_RDONLY },
	{ "sync-directory", call_open_then_sync, "dir", .flags = O_RDONLY },
	{ "sync-path-fd", call_open_then_sync, "file", .flags = O_PATH },
	{ "sync-fifo", call_open_then_sync, "fifo", .flags = O_RDWR },
	{ "sync-bad-descriptor", sync_bad_fd, .flags = 0 },
	{ "datasync-bad-descriptor", sync_bad_fd, .flags = 1 },
	{ "sendfile", send_file, "file", "empty", .flags = O_RDONLY, .len = 100, .show = "empty" },
	{ "sendfile-negative-offset", send_file, "file", "empty", .flags = O_RDONLY, .off = -1, .len = 10 },
	{ "sendfile-write-only", send_file, "file", "empty", .flags = O_WRONLY, .len = 10 },
	{ "sendfile-directory", send_file, "dir", "empty", .flags = O_RDONLY, .len = 10 },
};

static void fixture_io(void)
{
	fixture_usual();
	make_file("big", 0644, 2000);
}

const struct step_group group_io = { "io", fixture_io, TABLE(io_steps) };

/* ---- copy_file_range ----------------------------------------------------------------------------------- */

static void fixture_copy(void)
{
	fixture_usual();
	make_file("source", 0644, 10000);
	make_file("target", 0644, 100);
}

static long copy_flags(const struct step *s)
{
	int in = (int)must(open(s->path, O_RDONLY), s->path);
	int out = (int)must(open(s->to, O_WRONLY), s->to);

	return result(syscall(SYS_copy_file_range, in, NULL, out, NULL, s->len, s->flags));
}

/* Descriptors of the wrong kind: flags for the source, off2 for the target. */
static long copy_kinds(const struct step *s)
{
	int in = (int)must(open(s->path, s->flags), s->path);
	int out = (int)must(open(s->to, (int)s->off2), s->to);

	return result(copy_file_range(in, NULL, out, NULL, (size_t)s->len, 0));
}

static long copy_pipe(const struct step *s)
{
	int fds[2], fd = (int)must(open(s->path, O_RDWR), s->path);

	must(pipe(fds), "pipe");
	return result(copy_file_range(s->flags ? fd : fds[0], NULL, s->flags ? fds[1] : fd, NULL, 10, 0));
}

static long copy_bad_pointer(const struct step *s)
{
	int in = (int)must(open(s->path, O_RDONLY), s->path);
	int out = (int)must(open(s->to, O_WRONLY), s->to);

	return result(syscall(SYS_copy_file_range, in, bad_pointer, out, NULL, s->len, 0));
}

static long copy_bad_fd(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDWR), s->path);

	return result(copy_file_range(s->flags ? fd : 12345, NULL, s->flags ? 12345 : fd, NULL, 10, 0));
}

static const struct step copy_steps[] = {
	{ "whole", call_copy_range, "source", "empty", .len = 10000, .show = "empty" },
	{ "more-than-there-is", call_copy_range, "source", "empty", .len = 100000, .show = "empty" },
	{ "length-0", call_copy_range, "source", "empty", .len = 0, .show = "empty" },
	{ "middle", call_copy_range, "source", "target", .off = 5000, .off2 = 50, .len = 10,
	  .show = "target" },
	{ "beyond-target-end", call_copy_range, "source", "target", .off2 = 9000, .len = 10,
	  .show = "target" },
	{ "from-end", call_copy_range, "source", "target", .off = 10000, .len = 10 },
	{ "from-beyond-end", call_copy_range, "source", "target", .off = 20000, .len = 10 },
	{ "same-file", call_copy_range, "source", NULL, .off = 0, .off2 = 5000, .len = 5000,
	  .show = "source" },
	{ "same-file-overlap", call_copy_range, "source", NULL, .off = 0, .off2 = 10, .len = 100 },
	{ "same-file-overlap-back", call_copy_range, "source", NULL, .off = 10, .off2 = 0, .len = 100 },
	{ "same-file-same-place", call_copy_range, "source", NULL, .off = 0, .off2 = 0, .len = 100 },
	{ "same-file-overlap-only-beyond-end", call_copy_range, "source", NULL, .off = 9990, .off2 = 10000,
	  .len = 100, .show = "source" },
	{ "same-file-two-opens-overlap", call_copy_range, "source", "source", .off = 0, .off2 = 10,
	  .len = 100 },
	{ "negative-offset", call_copy_range, "source", "target", .off = -1, .len = 10 },
	{ "negative-target-offset", call_copy_range, "source", "target", .off2 = -1, .len = 10 },
	{ "source-2^63-1", call_copy_range, "source", "target", .off = INT64_MAX, .len = 10 },
	{ "target-2^63-1", call_copy_range, "source", "target", .off2 = INT64_MAX, .len = 10 },
	{ "target-16tib", call_copy_range, "source", "target", .off2 = TIB16, .len = 10 },
	{ "huge-length", call_copy_range, "source", "empty", .len = INT64_MAX, .show = "empty" },
	{ "over-limit", call_copy_range, "source", "target", .off2 = 1000, .len = 10,
	  .prepare = limit_size_quietly },
	{ "up-to-limit", call_copy_range, "source", "target", .off2 = 995, .len = 10,
	  .prepare = limit_size_quietly, .show = "target" },
	{ "append", call_copy_range, "source", "target", .flags = O_WRONLY | O_APPEND, .len = 10 },
	{ "flags", copy_flags, "source", "target", .flags = 1, .len = 10 },
	{ "from-write-only", copy_kinds, "source", "target", .flags = O_WRONLY, .off2 = O_WRONLY, .len = 10 },
	{ "to-read-only", copy_kinds, "source", "target", .flags = O_RDONLY, .off2 = O_RDONLY, .len = 10 },
	{ "from-directory", copy_kinds, "dir", "target", .flags = O_RDONLY, .off2 = O_WRONLY, .len = 10 },
	{ "to-directory", copy_kinds, "source", "dir", .flags = O_RDONLY, .off2 = O_RDONLY, .len = 10 },
	{ "from-device", copy_kinds, "null", "target", .flags = O_RDONLY, .off2 = O_WRONLY, .len = 10 },
	{ "to-device", copy_kinds, "source", "null", .flags = O_RDONLY, .off2 = O_WRONLY, .len = 10 },
	{ "from-fifo", copy_kinds, "fifo", "target", .flags = O_RDWR, .off2 = O_WRONLY, .len = 10 },
	{ "path-fd", copy_kinds, "source", "target", .flags = O_PATH, .off2 = O_WRONLY, .len = 10 },
	{ "from-pipe", copy_pipe, "target", .flags = 0 },
	{ "to-pipe", copy_pipe, "target", .flags = 1 },
	{ "bad-pointer", copy_bad_pointer, "source", "target", .len = 10 },
	{ "from-bad-descriptor", copy_bad_fd, "target", .flags = 0 },
	{ "to-bad-descriptor", copy_bad_fd, "target", .flags = 1 },
};

const struct step_group group_copy = { "copy", fixture_copy, TABLE(copy_steps) };

/* ---- mmap ---------------------------------------------------------------------------------------------- */

/* off2: protection; mode: MAP_*; off, len: of the mapping. */
static long map(const struct step *s)
{
	void *p = mmap(NULL, (size_t)s->len, (int)s->off2, (int)s->mode, step_fd(s), s->off);

	return p == MAP_FAILED ? -errno : 0;
}

static long map_pattern(const struct step *s, char **out)
{
	int fd = step_fd(s);

	*out = mmap(NULL, (size_t)s->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *out == MAP_FAILED ? -errno : 0;
}

/* Load the byte at off. */
static long map_load(const struct step *s)
{
	volatile char *p = mmap(NULL, (size_t)s->len, PROT_READ, MAP_SHARED, step_fd(s), 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	note(" byte %d", p[s->off]);
	return 0;
}

static long map_store(const struct step *s)
{
	char *p;
	long rc = map_pattern(s, &p);

	if (rc)
		return rc;
	*(volatile char *)(p + s->off) = 'm';
	return result(msync(p, (size_t)s->len, MS_SYNC));
}

/* Store, then read(2) what was stored. */
static long map_store_read(const struct step *s)
{
	int fd = step_fd(s);
	char *p, byte = 0;
	long rc = map_pattern(s, &p);

	if (rc)
		return rc;
	*(volatile char *)(p + s->off) = 'm';
	must(pread(fd, &byte, 1, s->off), "pread");
	note(" %c", byte);
	return 0;
}

/* The file is cut under the mapping; then the load. */
static long map_truncated_load(const struct step *s)
{
	volatile char *p = mmap(NULL, (size_t)s->len, PROT_READ, MAP_SHARED, step_fd(s), 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	note(" byte %d", p[s->off]);
	must(truncate(s->path, 0), "truncate");
	note(" byte %d", p[s->off]);
	return 0;
}

static long map_protect(const struct step *s)
{
	char *p = mmap(NULL, (size_t)s->len, PROT_READ, MAP_SHARED, step_fd(s), 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	return result(mprotect(p, (size_t)s->len, PROT_READ | PROT_WRITE));
}

static long map_sync_unmapped(const struct step *s)
{
	char *p;
	long rc = map_pattern(s, &p);

	if (rc)
		return rc;
	must(munmap(p, (size_t)s->len), "munmap");
	return result(msync(p, (size_t)s->len, s->mode ? (int)s->mode : MS_SYNC));
}

static long map_sync_flags(const struct step *s)
{
	char *p;
	long rc = map_pattern(s, &p);

	return rc ? rc : result(msync(p + s->off, (size_t)s->len, (int)s->mode));
}

#define READ	PROT_READ
#define WRITE	(PROT_READ | PROT_WRITE)

static const struct step mmap_steps[] = {
	{ "shared-read", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED, .len = PAGE },
	{ "shared-write", map, "file", .flags = O_RDWR, .off2 = WRITE, .mode = MAP_SHARED, .len = PAGE },
	{ "shared-write-read-only", map, "file", .flags = O_RDONLY, .off2 = WRITE, .mode = MAP_SHARED,
	  .len = PAGE },
	{ "shared-write-write-only", map, "file", .flags = O_WRONLY, .off2 = PROT_WRITE, .mode = MAP_SHARED,
	  .len = PAGE },
	{ "private-write-read-only", map, "file", .flags = O_RDONLY, .off2 = WRITE, .mode = MAP_PRIVATE,
	  .len = PAGE },
	{ "private-write-only", map, "file", .flags = O_WRONLY, .off2 = READ, .mode = MAP_PRIVATE,
	  .len = PAGE },
	{ "execute", map, "file", .flags = O_RDONLY, .off2 = READ | PROT_EXEC, .mode = MAP_PRIVATE,
	  .len = PAGE },
	{ "no-access", map, "file", .flags = O_RDONLY, .off2 = PROT_NONE, .mode = MAP_SHARED, .len = PAGE },
	{ "neither-shared-nor-private", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = 0,
	  .len = PAGE },
	{ "length-0", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED, .len = 0 },
	{ "odd-offset", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED, .off = 1,
	  .len = PAGE },
	{ "offset-beyond-end", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED,
	  .off = 1 << 20, .len = PAGE },
	{ "offset-overflow", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED,
	  .off = INT64_MAX - 4095, .len = 1 << 20 },
	{ "offset-16tib", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED, .off = TIB16,
	  .len = PAGE },
	{ "huge-length", map, "file", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED,
	  .len = INT64_MAX - 4095 },
	{ "empty", map, "empty", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED, .len = PAGE },
	{ "directory", map, "dir", .flags = O_RDONLY, .off2 = READ, .mode = MAP_SHARED, .len = PAGE },
	{ "directory-private", map, "dir", .flags = O_RDONLY, .off2 = READ, .mode = MAP_PRIVATE,
	  .len = PAGE },
	{ "path-fd", map, "file", .flags = O_PATH, .off2 = READ, .mode = MAP_SHARED, .len = PAGE },
	{ "fifo", map, "fifo", .flags = O_RDWR, .off2 = READ, .mode = MAP_SHARED, .len = PAGE },
	{ "append", map, "file", .flags = O_RDWR | O_APPEND, .off2 = WRITE, .mode = MAP_SHARED, .len = PAGE },
	{ "validate", map, "file", .flags = O_RDWR, .off2 = WRITE, .mode = MAP_SHARED_VALIDATE, .len = PAGE },
	{ "validate-unknown", map, "file", .flags = O_RDWR, .off2 = WRITE,
	  .mode = MAP_SHARED_VALIDATE | 0x10000000, .len = PAGE },
	{ "sync", map, "file", .flags = O_RDWR, .off2 = WRITE, .mode = MAP_SHARED_VALIDATE | MAP_SYNC,
	  .len = PAGE },
	{ "load", map_load, "file", .flags = O_RDONLY, .off = 0, .len = PAGE },
	{ "load-after-end-in-page", map_load, "file", .flags = O_RDONLY, .off = 100, .len = PAGE },
	{ "load-beyond-end", map_load, "file", .flags = O_RDONLY, .off = PAGE, .len = 2 * PAGE },
	{ "load-empty", map_load, "empty", .flags = O_RDONLY, .off = 0, .len = PAGE },
	{ "load-after-truncate", map_truncated_load, "file", .flags = O_RDONLY, .off = 0, .len = PAGE },
	{ "store", map_store, "file", .flags = O_RDWR, .off = 0, .len = PAGE, .show = "file" },
	{ "store-after-end-in-page", map_store, "file", .flags = O_RDWR, .off = 100, .len = PAGE,
	  .show = "file" },
	{ "store-beyond-end", map_store, "file", .flags = O_RDWR, .off = PAGE, .len = 2 * PAGE },
	{ "store-then-read", map_store_read, "file", .flags = O_RDWR, .off = 3, .len = PAGE },
	{ "protect-read-only", map_protect, "file", .flags = O_RDONLY, .len = PAGE },
	{ "protect-read-write", map_protect, "file", .flags = O_RDWR, .len = PAGE },
	{ "msync-unmapped", map_sync_unmapped, "file", .flags = O_RDWR, .len = PAGE },
	{ "msync-odd-address", map_sync_flags, "file", .flags = O_RDWR, .off = 1, .len = PAGE,
	  .mode = MS_SYNC },
	{ "msync-both", map_sync_flags, "file", .flags = O_RDWR, .len = PAGE, .mode = MS_SYNC | MS_ASYNC },
	{ "msync-async", map_sync_flags, "file", .flags = O_RDWR, .len = PAGE, .mode = MS_ASYNC },
	{ "msync-bad-flags", map_sync_flags, "file", .flags = O_RDWR, .len = PAGE, .mode = 0x100 },
};

const struct step_group group_mmap = { "mmap", fixture_usual, TABLE(mmap_steps) };
