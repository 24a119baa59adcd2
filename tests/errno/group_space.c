/*
 * Sizes and space: truncate and ftruncate, fallocate, lseek, and where each begins to say no.
 *
 * The edges of file sizes lie at 2^63-1 for filesystems without a limit of their own; ext4's is 2^44-4096.
 * Both are tried: what differs there stands in tests/fuse/errno.sh with that reason. Sizes over RLIMIT_FSIZE
 * are tried with SIGXFSZ as it is and ignored. Holes are looked at by SEEK_DATA and SEEK_HOLE on files whose
 * blocks are all written or all missing: where blocks are allocated but unwritten, filesystems may say
 * either.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEEP		FALLOC_FL_KEEP_SIZE
#define PUNCH		(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO		FALLOC_FL_ZERO_RANGE
#define COLLAPSE	FALLOC_FL_COLLAPSE_RANGE
#define INSERT		FALLOC_FL_INSERT_RANGE
#define UNSHARE		FALLOC_FL_UNSHARE_RANGE
#define TIB16		(1LL << 44)

/* Files may not grow beyond 1000 bytes; SIGXFSZ ends the process, or is ignored. */
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

static void make_read_only(const struct step *s)
{
	must(chmod(s->path, 0444), "chmod");
}

/* ---- truncate ------------------------------------------------------------------------------------------ */

static const struct step truncate_steps[] = {
	{ "zero", call_truncate, "file", .off = 0, .show = "file" },
	{ "shrink", call_truncate, "file", .off = 5, .show = "file" },
	{ "grow", call_truncate, "file", .off = 5000, .show = "file" },
	{ "same", call_truncate, "file", .off = 10, .show = "file" },
	{ "grow-gib", call_truncate, "file", .off = 1LL << 30, .show = "file" },
	{ "16tib-minus-8k", call_truncate, "file", .off = TIB16 - 8192, .show = "file" },
	{ "16tib-minus-4k", call_truncate, "file", .off = TIB16 - 4096, .show = "file" },
	{ "16tib", call_truncate, "file", .off = TIB16, .show = "file" },
	{ "2^63-1", call_truncate, "file", .off = INT64_MAX, .show = "file" },
	{ "2^63-4096", call_truncate, "file", .off = INT64_MAX - 4095, .show = "file" },
	{ "negative", call_truncate, "file", .off = -1 },
	{ "most-negative", call_truncate, "file", .off = INT64_MIN },
	{ "directory", call_truncate, "dir", .off = 0 },
	{ "directory-negative", call_truncate, "dir", .off = -1 },
	{ "missing", call_truncate, "none", .off = 0 },
	{ "below-file", call_truncate, "file/x", .off = 0 },
	{ "file-slash", call_truncate, "file/", .off = 0 },
	{ "empty-path", call_truncate, "", .off = 0 },
	{ "link", call_truncate, "lfile", .off = 3, .show = "file" },
	{ "dangling", call_truncate, "ldangling", .off = 0 },
	{ "loop", call_truncate, "lloop", .off = 0 },
	{ "fifo", call_truncate, "fifo", .off = 0 },
	{ "socket", call_truncate, "sock", .off = 0 },
	{ "device", call_truncate, "null", .off = 0 },
	{ "read-only.root", call_truncate, "mine", .off = 0, .prepare = make_read_only, .show = "mine" },
	{ "read-only.owner", call_truncate, "mine", .off = 0, .who = OWNER, .prepare = make_read_only },
	{ "foreign.other", call_truncate, "file", .off = 0, .who = OTHER },
	{ "over-limit", call_truncate, "file", .off = 1001, .prepare = limit_size },
	{ "over-limit-ignored", call_truncate, "file", .off = 1001, .prepare = limit_size_quietly,
	  .show = "file" },
	{ "at-limit", call_truncate, "file", .off = 1000, .prepare = limit_size, .show = "file" },
	{ "fd-zero", call_open_then_truncate, "file", .flags = O_WRONLY, .off = 0, .show = "file" },
	{ "fd-read-only", call_open_then_truncate, "file", .flags = O_RDONLY, .off = 0 },
	{ "fd-append", call_open_then_truncate, "file", .flags = O_WRONLY | O_APPEND, .off = 3,
	  .show = "file" },
	{ "fd-negative", call_open_then_truncate, "file", .flags = O_WRONLY, .off = -1 },
	{ "fd-2^63-1", call_open_then_truncate, "file", .flags = O_WRONLY, .off = INT64_MAX, .show = "file" },
	{ "fd-directory", call_open_then_truncate, "dir", .flags = O_RDONLY, .off = 0 },
	{ "fd-fifo", call_open_then_truncate, "fifo", .flags = O_RDWR, .off = 0 },
	{ "fd-device", call_open_then_truncate, "null", .flags = O_RDWR, .off = 0 },
	{ "fd-over-limit", call_open_then_truncate, "file", .flags = O_WRONLY, .off = 1001,
	  .prepare = limit_size },
};

const struct step_group group_truncate = { "truncate", fixture_usual, TABLE(truncate_steps) };

/* ---- fallocate ----------------------------------------------------------------------------------------- */

#define ALLOCATE(name, mode, offset, length) { \
	name, call_open_then_fallocate, "file", .flags = O_RDWR, .off2 = (mode), .off = (offset), \
	.len = (length), .show = "file" \
}

static long fallocate_pipe(const struct step *s)
{
	int fds[2];

	must(pipe(fds), "pipe");
	return result(fallocate(fds[1], (int)s->off2, s->off, s->len));
}

static long fallocate_bad_fd(const struct step *s)
{
	return result(fallocate(12345, (int)s->off2, s->off, s->len));
}

/* Some filesystems keep what they could give: do not leave them full. */
static long fallocate_too_much(const struct step *s)
{
	long rc = call_open_then_fallocate(s);

	must(unlink(s->path), "unlink");
	return rc;
}

/*
 * Blocks 0 to 3 written; then the call. Tells which blocks are zeros and, with flags, which are data to
 * lseek(2): not for ranges that were zeroed, where that depends on what is cached.
 */
static long fallocate_blocks(const struct step *s)
{
	char *data = make_filled('x', 16384);
	int fd = (int)must(open("blocks", O_RDWR | O_CREAT, 0644), "blocks");
	off_t pos = 0, end;
	char byte;
	long rc;

	must(pwrite(fd, data, 16384, 0), "pwrite");
	rc = result(fallocate(fd, (int)s->off2, s->off, s->len));
	while (s->flags && (pos = lseek(fd, pos, SEEK_DATA)) >= 0) {
		end = lseek(fd, pos, SEEK_HOLE);
		note(" data %lld-%lld", (long long)pos, (long long)end);
		pos = end;
	}
	for (pos = 2048; pos < 16384; pos += 4096) {
		if (pread(fd, &byte, 1, pos) == 1)
			note(" %c", byte ? byte : '0');
	}
	return rc;
}

static const struct step fallocate_steps[] = {
	ALLOCATE("grow", 0, 0, 8192),
	ALLOCATE("grow-odd", 0, 100, 5000),
	ALLOCATE("inside", 0, 0, 5),
	ALLOCATE("keep-size", KEEP, 0, 8192),
	ALLOCATE("length-0", 0, 0, 0),
	ALLOCATE("length-negative", 0, 0, -1),
	ALLOCATE("offset-negative", 0, -1, 10),
	ALLOCATE("offset-negative-punch", PUNCH, -1, 10),
	ALLOCATE("sum-overflows", 0, INT64_MAX, 1),
	ALLOCATE("sum-overflows-more", 0, INT64_MAX - 10, INT64_MAX),
	ALLOCATE("sum-2^63-1", 0, INT64_MAX - 1, 1),
	ALLOCATE("beyond-16tib", 0, TIB16, 4096),
	ALLOCATE("beyond-16tib-keep-size", KEEP, TIB16, 4096),
	{ "more-than-there-is", fallocate_too_much, "file", .flags = O_RDWR, .off2 = 0, .len = 1LL << 40 },
	{ "more-than-there-is-keep-size", fallocate_too_much, "file", .flags = O_RDWR, .off2 = KEEP,
	  .len = 1LL << 40 },
	ALLOCATE("punch", PUNCH, 0, 5),
	ALLOCATE("punch-beyond-end", PUNCH, 4096, 4096),
	ALLOCATE("punch-far-beyond-end", PUNCH, 1LL << 40, 4096),
	ALLOCATE("punch-everything", PUNCH, 0, INT64_MAX),
	ALLOCATE("punch-without-keep-size", FALLOC_FL_PUNCH_HOLE, 0, 4096),
	ALLOCATE("punch-length-0", PUNCH, 0, 0),
	ALLOCATE("zero", ZERO, 0, 5),
	ALLOCATE("zero-grow", ZERO, 0, 8192),
	ALLOCATE("zero-keep-size", ZERO | KEEP, 0, 8192),
	ALLOCATE("zero-beyond-end", ZERO, 4096, 4096),
	ALLOCATE("collapse", COLLAPSE, 0, 4096),
	ALLOCATE("collapse-keep-size", COLLAPSE | KEEP, 0, 4096),
	ALLOCATE("collapse-odd", COLLAPSE, 1, 4096),
	ALLOCATE("insert", INSERT, 0, 4096),
	ALLOCATE("insert-keep-size", INSERT | KEEP, 0, 4096),
	ALLOCATE("unshare", UNSHARE, 0, 4096),
	ALLOCATE("no-hide-stale", FALLOC_FL_NO_HIDE_STALE, 0, 4096),
	ALLOCATE("punch-and-zero", PUNCH | ZERO, 0, 4096),
	ALLOCATE("zero-and-collapse", ZERO | COLLAPSE, 0, 4096),
	ALLOCATE("unknown-mode", 0x1000, 0, 4096),
	{ "read-only-fd", call_open_then_fallocate, "file", .flags = O_RDONLY, .len = 4096 },
	{ "append-fd", call_open_then_fallocate, "file", .flags = O_WRONLY | O_APPEND, .len = 4096,
	  .show = "file" },
	{ "append-fd-punch", call_open_then_fallocate, "file", .flags = O_WRONLY | O_APPEND, .off2 = PUNCH,
	  .len = 4096 },
	{ "directory", call_open_then_fallocate, "dir", .flags = O_RDONLY, .len = 4096 },
	{ "fifo", call_open_then_fallocate, "fifo", .flags = O_RDWR, .len = 4096 },
	{ "device", call_open_then_fallocate, "null", .flags = O_RDWR, .len = 4096 },
	{ "path-fd", call_open_then_fallocate, "file", .flags = O_PATH, .len = 4096 },
	{ "pipe", fallocate_pipe, .len = 4096 },
	{ "pipe-unknown-mode", fallocate_pipe, .off2 = 0x1000, .len = 4096 },
	{ "bad-descriptor", fallocate_bad_fd, .len = 4096 },
	{ "over-limit", call_open_then_fallocate, "file", .flags = O_RDWR, .len = 1001,
	  .prepare = limit_size },
	{ "over-limit-ignored", call_open_then_fallocate, "file", .flags = O_RDWR, .len = 1001,
	  .prepare = limit_size_quietly, .show = "file" },
	{ "over-limit-keep-size", call_open_then_fallocate, "file", .flags = O_RDWR, .off2 = KEEP,
	  .len = 1001, .prepare = limit_size, .show = "file" },
	{ "blocks-punch", fallocate_blocks, .flags = 1, .off2 = PUNCH, .off = 4096, .len = 4096 },
	{ "blocks-punch-odd", fallocate_blocks, .flags = 1, .off2 = PUNCH, .off = 4097, .len = 8000 },
	{ "blocks-punch-inside", fallocate_blocks, .flags = 1, .off2 = PUNCH, .off = 6000, .len = 1000 },
	{ "blocks-punch-end", fallocate_blocks, .flags = 1, .off2 = PUNCH, .off = 12288, .len = 4096,
	  .show = "blocks" },
	{ "blocks-punch-over-end", fallocate_blocks, .off2 = PUNCH, .off = 12288, .len = 65536,
	  .show = "blocks" },
	{ "blocks-zero", fallocate_blocks, .off2 = ZERO, .off = 4096, .len = 4096, .show = "blocks" },
	{ "blocks-zero-grow", fallocate_blocks, .off2 = ZERO, .off = 12288, .len = 8192, .show = "blocks" },
	{ "blocks-grow", fallocate_blocks, .flags = 1, .off2 = 0, .off = 16384, .len = 4096,
	  .show = "blocks" },
};

const struct step_group group_fallocate = { "fallocate", fixture_usual, TABLE(fallocate_steps) };

/* ---- lseek --------------------------------------------------------------------------------------------- */

/* 64 KiB, of which the blocks at 16 KiB and at 48 KiB have data. */
static void fixture_sparse(void)
{
	int fd = (int)must(open("sparse", O_RDWR | O_CREAT, 0644), "sparse");
	char *data = make_filled('x', 4096);

	must(ftruncate(fd, 65536), "ftruncate");
	must(pwrite(fd, data, 4096, 16384), "pwrite");
	must(pwrite(fd, data, 4096, 49152), "pwrite");
	close(fd);
	make_file("full", 0644, 8192);
	make_file("empty", 0644, 0);
	make_file("odd", 0644, 5000);
	make_file("hole", 0644, 0);
	must(truncate("hole", 10000), "truncate");
	make_dir("dir", 0755);
	make_file("dir/child", 0644, 0);
	must(mknod("fifo", S_IFIFO | 0644, 0), "fifo");
	must(mknod("null", S_IFCHR | 0666, 0x103), "null");
}

static long seek_pipe(const struct step *s)
{
	int fds[2];

	must(pipe(fds), "pipe");
	return result(lseek(fds[0], s->off, (int)s->off2));
}

static long seek_bad_fd(const struct step *s)
{
	return result(lseek(12345, s->off, (int)s->off2));
}

/* From 100, by off. */
static long seek_relative(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDONLY), s->path);

	must(lseek(fd, 100, SEEK_SET), "lseek");
	return result(lseek(fd, s->off, SEEK_CUR));
}

#define SEEK(name, path, whence, offset) \
	{ name, call_open_then_seek, path, .flags = O_RDONLY | O_NONBLOCK, .off2 = (whence), .off = (offset) }

static const struct step seek_steps[] = {
	SEEK("set", "full", SEEK_SET, 100),
	SEEK("set-beyond-end", "full", SEEK_SET, 1LL << 40),
	SEEK("set-16tib", "full", SEEK_SET, TIB16),
	SEEK("set-2^63-1", "full", SEEK_SET, INT64_MAX),
	SEEK("set-negative", "full", SEEK_SET, -1),
	SEEK("end", "full", SEEK_END, 0),
	SEEK("end-minus", "full", SEEK_END, -8192),
	SEEK("end-minus-too-much", "full", SEEK_END, -8193),
	SEEK("end-plus", "full", SEEK_END, 1000),
	SEEK("end-overflow", "full", SEEK_END, INT64_MAX),
	SEEK("whence-5", "full", 5, 0),
	SEEK("whence-negative", "full", -1, 0),
	SEEK("data-0", "sparse", SEEK_DATA, 0),
	SEEK("data-in-data", "sparse", SEEK_DATA, 16384),
	SEEK("data-in-data-odd", "sparse", SEEK_DATA, 16400),
	SEEK("data-after-data", "sparse", SEEK_DATA, 20480),
	SEEK("data-last-byte", "sparse", SEEK_DATA, 53247),
	SEEK("data-after-last", "sparse", SEEK_DATA, 53248),
	SEEK("data-at-end", "sparse", SEEK_DATA, 65536),
	SEEK("data-beyond-end", "sparse", SEEK_DATA, 65537),
	SEEK("data-negative", "sparse", SEEK_DATA, -1),
	SEEK("data-2^63-1", "sparse", SEEK_DATA, INT64_MAX),
	SEEK("hole-0", "sparse", SEEK_HOLE, 0),
	SEEK("hole-odd", "sparse", SEEK_HOLE, 5),
	SEEK("hole-in-data", "sparse", SEEK_HOLE, 16384),
	SEEK("hole-after-last", "sparse", SEEK_HOLE, 53000),
	SEEK("hole-last-byte", "sparse", SEEK_HOLE, 65535),
	SEEK("hole-at-end", "sparse", SEEK_HOLE, 65536),
	SEEK("hole-beyond-end", "sparse", SEEK_HOLE, 65537),
	SEEK("hole-negative", "sparse", SEEK_HOLE, -1),
	SEEK("full-data", "full", SEEK_DATA, 0),
	SEEK("full-hole", "full", SEEK_HOLE, 0),
	SEEK("full-data-end", "full", SEEK_DATA, 8192),
	SEEK("odd-hole", "odd", SEEK_HOLE, 0),
	SEEK("odd-data-last", "odd", SEEK_DATA, 4999),
	SEEK("odd-data-end", "odd", SEEK_DATA, 5000),
	SEEK("all-hole-data", "hole", SEEK_DATA, 0),
	SEEK("all-hole-hole", "hole", SEEK_HOLE, 0),
	SEEK("empty-data", "empty", SEEK_DATA, 0),
	SEEK("empty-hole", "empty", SEEK_HOLE, 0),
	SEEK("fifo", "fifo", SEEK_SET, 0),
	SEEK("device", "null", SEEK_SET, 100),
	SEEK("directory-set", "dir", SEEK_SET, 0),
	SEEK("directory-data", "dir", SEEK_DATA, 0),
	SEEK("directory-negative", "dir", SEEK_SET, -1),
	SEEK("directory-whence-5", "dir", 5, 0),
	{ "path-fd", call_open_then_seek, "full", .flags = O_PATH, .off2 = SEEK_SET },
	{ "write-only-data", call_open_then_seek, "sparse", .flags = O_WRONLY, .off2 = SEEK_DATA },
	{ "relative", seek_relative, "full", .off = 5 },
	{ "relative-negative", seek_relative, "full", .off = -101 },
	{ "relative-overflow", seek_relative, "full", .off = INT64_MAX },
	{ "pipe", seek_pipe, .off2 = SEEK_SET },
	{ "bad-descriptor", seek_bad_fd, .off2 = SEEK_SET },
};

const struct step_group group_seek = { "seek", fixture_sparse, TABLE(seek_steps) };
