/*
 * Rows about memory of the file in the kernel's hands - buffers of system calls and of io_uring - and what is left.
 */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Another file, with O_DIRECT, of `pages` pages that are full of 101 ... */
static int open_other(size_t pages)
{
	int file = open(other, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	char bytes[PAGE];

	must(file >= 0, other);
	for (size_t i = 0; i < pages; i++) {
		memset(bytes, (int)(101 + i % 8), PAGE);
		must(write(file, bytes, PAGE) == PAGE, "write");
	}
	must(!fsync(file), "fsync");
	close(file);
	file = open(other, O_RDWR | O_DIRECT | O_CLOEXEC);
	must(file >= 0, "open, O_DIRECT");
	return file;
}

static void other_has(int file, size_t page, int value)
{
	static char bytes[PAGE] __attribute__((aligned(4096)));

	must(pread(file, bytes, PAGE, (off_t)(page * PAGE)) == PAGE, "pread");
	wanted(bytes[0] == value && !memcmp(bytes, bytes + 1, PAGE - 1),
	       "page %zu of the other file has %d, %d was needed", page, bytes[0], value);
}

/* ---- Calls -------------------------------------------------------------------------------------------------- */

static void direct_small(int file)
{
	char *at = map(PAGES, RW);

	must(pwrite(file, at + 8 * PAGE, 4 * PAGE, 0) == 4 * PAGE, "pwrite from the map");
	other_has(file, 0, 9);
	other_has(file, 3, 12);
	must(pread(file, at + 20 * PAGE, 4 * PAGE, 4 * PAGE) == 4 * PAGE, "pread into the map");
	has(at, 20, 105);
	has(at, 23, 108);
	file_has(20, 105);
	file_has(24, 25);
	unmap(at, PAGES);
}

static void direct_holes(int file)
{
	char *at;

	punch(0, PAGES);
	at = map(PAGES, RW);
	must(pwrite(file, at + 2 * PAGE, 2 * PAGE, 0) == 2 * PAGE, "pwrite from a hole");
	other_has(file, 1, 0);
	if (where != ON_TMPFS)
		same(blocks(), 0, "st_blocks after that");
	must(pread(file, at + 8 * PAGE, 4 * PAGE, 4 * PAGE) == 4 * PAGE, "pread into a hole");
	has(at, 8, 105);
	has(at, 11, 108);
	file_has(11, 108);
	has(at, 12, 0);
	cut(10 * PAGE);
	wanted(pread(file, at + 12 * PAGE, PAGE, 0) == -1 && errno == EFAULT, "pread beyond the end of the file");
	has(at, 9, 106);
	unmap(at, PAGES);
}

static void direct_large(int file)
{
	char *at;

	cut(0);
	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	must(pread(file, at, LARGE, 0) == LARGE, "pread of 2 MiB");
	has(at, 15, 108);
	has(at, 511, 108);
	memset(at, 55, LARGE);
	must(pwrite(file, at, LARGE, 0) == LARGE, "pwrite of 2 MiB");
	other_has(file, 0, 55);
	other_has(file, 511, 55);
	file_has(511, 55);
	unmap(at, LARGE_PAGES);
}

static void direct_buffer(void)
{
	int file = open_other(LARGE_PAGES);

	fill();
	direct_small(file);
	direct_holes(file);
	direct_large(file);
	close(file);
	unlink(other);
}

/* Of its own file, the same page too. */
static void own_buffer(void)
{
	char *at;

	fill();
	at = map(PAGES, RW);
	must(pwrite(fd, at + 3 * PAGE, PAGE, 10 * PAGE) == PAGE, "pwrite from the map of the same file");
	has(at, 10, 4);
	must(pread(fd, at + 20 * PAGE, 2 * PAGE, 5 * PAGE) == 2 * PAGE, "pread into it");
	has(at, 21, 7);
	file_has(21, 7);
	must(pread(fd, at + 30 * PAGE, PAGE, 30 * PAGE) == PAGE, "pread of a page into itself");
	must(pwrite(fd, at + 30 * PAGE, PAGE, 30 * PAGE) == PAGE, "pwrite of a page from itself");
	has(at, 30, 31);
	unmap(at, PAGES);
}

static void direct_buffers(void)
{
	direct_buffer();
	cut(0);
	own_buffer();
}

/* ---- Rings -------------------------------------------------------------------------------------------------- */

/* 0, or the errno. */
static int registers(struct io_uring *ring, char *at)
{
	struct iovec iov = { .iov_base = at, .iov_len = PAGE };
	int rc = io_uring_register_buffers(ring, &iov, 1);

	if (!rc)
		io_uring_unregister_buffers(ring);
	return -rc;
}

static void begin(struct io_uring *ring)
{
	int rc = io_uring_queue_init(4, ring, 0);

	errno = -rc;
	must(!rc, "io_uring_queue_init");
}

/* The memory of a tmpfs may be held for long; of a pool there, who does is not known: doc/mirror.md, 5.18. */
static void iouring_fixed(void)
{
	struct io_uring ring;
	char *at;

	begin(&ring);
	fill();
	at = map(PAGES, RW);
	(void)stores(at, 2, 1);
	same(registers(&ring, at), of_memory(EOPNOTSUPP, 0), "IORING_REGISTER_BUFFERS of a shared map");
	unmap(at, PAGES);
	at = map_of(fd, 0, PAGES, RW, MAP_PRIVATE);
	store(at, 1, 99);
	same(registers(&ring, at + PAGE), 0, "the same of a private copy");
	unmap(at, PAGES);
	io_uring_queue_exit(&ring);
}

static void one_request(struct io_uring *ring, bool write, int file, char *at, off_t offset)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe = NULL;

	must(sqe, "io_uring_get_sqe");
	if (write)
		io_uring_prep_write(sqe, file, at, 2 * PAGE, (unsigned long long)offset);
	else
		io_uring_prep_read(sqe, file, at, 2 * PAGE, (unsigned long long)offset);
	must(io_uring_submit_and_wait(ring, 1) == 1, "io_uring_submit_and_wait");
	must(!io_uring_peek_cqe(ring, &cqe) && cqe, "io_uring_peek_cqe");
	same(cqe->res, 2 * PAGE, write ? "IORING_OP_WRITE" : "IORING_OP_READ");
	io_uring_cqe_seen(ring, cqe);
}

static void iouring_plain(void)
{
	struct io_uring ring;
	int file = open_other(16);
	char *at;

	begin(&ring);
	fill();
	at = map(PAGES, RW);
	one_request(&ring, true, file, at + 8 * PAGE, 0);
	other_has(file, 0, 9);
	other_has(file, 1, 10);
	one_request(&ring, false, file, at + 20 * PAGE, 4 * PAGE);
	has(at, 20, 105);
	file_has(21, 106);
	punch(30, 4);
	one_request(&ring, false, file, at + 30 * PAGE, 6 * PAGE);
	has(at, 30, 107);
	file_has(31, 108);
	unmap(at, PAGES);
	io_uring_queue_exit(&ring);
	close(file);
	unlink(other);
}

/* ---- Other processes ---------------------------------------------------------------------------------------- */

static char *seen;

static void look_at_parent(void)
{
	static char bytes[PAGE];
	struct iovec mine = { .iov_base = bytes, .iov_len = PAGE };
	struct iovec its = { .iov_base = seen + 3 * PAGE, .iov_len = PAGE };
	char path[32];
	int mem;

	must(process_vm_readv(getppid(), &mine, 1, &its, 1, 0) == PAGE, "process_vm_readv");
	same(bytes[100], 99, "what it reads");
	memset(bytes, 98, PAGE);
	its.iov_base = seen + 4 * PAGE;
	must(process_vm_writev(getppid(), &mine, 1, &its, 1, 0) == PAGE, "process_vm_writev");
	its.iov_base = seen + 9 * PAGE;
	must(process_vm_writev(getppid(), &mine, 1, &its, 1, 0) == PAGE, "process_vm_writev to a hole");
	snprintf(path, sizeof(path), "/proc/%d/mem", getppid());
	mem = open(path, O_RDWR | O_CLOEXEC);
	must(mem >= 0, path);
	must(pread(mem, bytes, PAGE, (off_t)(seen + 5 * PAGE)) == PAGE, "pread of /proc/PID/mem");
	same(bytes[100], 6, "what it reads");
	must(pwrite(mem, "abc", 3, (off_t)(seen + 5 * PAGE)) == 3, "pwrite to /proc/PID/mem");
	close(mem);
}

static void process_vm(void)
{
	char bytes[3];

	fill();
	punch(9, 1);
	seen = map(PAGES, RW);
	store(seen, 3, 99);
	in_child(look_at_parent);
	has(seen, 4, 98);
	file_has(4, 98);
	has(seen, 9, 98);
	file_has(9, 98);
	must(pread(fd, bytes, 3, 5 * PAGE) == 3, "pread");
	wanted(!memcmp(bytes, "abc", 3), "what was written to /proc/PID/mem is not in the file");
	unmap(seen, PAGES);
}

/* ---- Pipes -------------------------------------------------------------------------------------------------- */

static void cut_to_nothing(struct peer *p)
{
	peer_stop(p);
	cut(0);
}

/* A page of the file lies in a pipe while the file is cut. Nobody gets what was there before the pipe is empty. */
static void truncate_pinned(void)
{
	struct iovec iov = { .iov_len = PAGE };
	siginfo_t ended = { 0 };
	char bytes[PAGE], *at;
	struct peer p;
	int ends[2];

	fill();
	peer_start(&p, cut_to_nothing);
	at = map(PAGES, RW);
	store(at, 3, 99);
	iov.iov_base = at + 3 * PAGE;
	must(!pipe(ends) && vmsplice(ends[1], &iov, 1, 0) == PAGE, "vmsplice");
	peer_run(&p);
	/* What the kernel holds inodax does not know of, and does not wait for; blocks rest before others get them. */
	if (where != ON_DAX) {
		must(!waitid(P_PID, (id_t)p.pid, &ended, WEXITED | WNOWAIT), "waitid");
	} else {
		usleep(300000);
		must(!waitid(P_PID, (id_t)p.pid, &ended, WEXITED | WNOWAIT | WNOHANG), "waitid");
		same(ended.si_pid, 0, "the process that did not wait for the pipe");
	}
	must(read(ends[0], bytes, PAGE) == PAGE, "read");
	wanted(bytes[0] == 99 && !memcmp(bytes, bytes + 1, PAGE - 1), "there are other bytes in the pipe");
	peer_end(&p);
	raises(SIGBUS, BUS_ADRERR, at + 3 * PAGE, false);
	unmap(at, PAGES);
	close(ends[0]);
	close(ends[1]);
}

const struct row hand_rows[] = {
	{ "18", "truncate-pinned", truncate_pinned, true },
	{ "38", "DIO buffer = DAX map", direct_buffers, true },
	{ "39", "iouring-fixed", iouring_fixed, false },
	{ "40", "iouring-plain", iouring_plain, true },
	{ "41", "process_vm_readv / ptrace", process_vm, true },
	{ NULL, NULL, NULL, false },
};

/* ---- What FUSE has no request for, and what is told of files ------------------------------------------------- */

static void collapse(void)
{
	bool cannot = where == ON_INODAX;
	char *at;

	fill();
	at = map(PAGES, RW);
	has(at, 3, 4);
	if (!fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 2 * PAGE) && !cannot) {
		has(at, 3, 6);
		raises(SIGBUS, BUS_ADRERR, at + 62 * PAGE, false);
	} else {
		fails(cannot, EOPNOTSUPP, "COLLAPSE_RANGE");
	}
	unmap(at, PAGES);
}

static void stores_to_one(int to)
{
	char *at = map(PAGES, RW), *clone = map_of(to, 0, PAGES, RW, MAP_SHARED);

	has(at, 3, 4);
	has(clone, 3, 4);
	store(clone, 3, 99);
	has(at, 3, 4);
	store(at, 5, 98);
	has(clone, 5, 6);
	has(clone, 3, 99);
	file_has(3, 4);
	unmap(at, PAGES);
	unmap(clone, PAGES);
}

static void reflink(void)
{
	struct file_clone_range all = { .src_fd = fd };
	char path[4096];
	int to;

	fill();
	snprintf(path, sizeof(path), "%s.clone", name);
	to = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	must(to >= 0, path);
	/* xfs has it, ext4 and inodax have it not. */
	if (!ioctl(to, FICLONERANGE, &all) && where == ON_DAX)
		stores_to_one(to);
	else
		fails(true, EOPNOTSUPP, "FICLONERANGE");
	close(to);
	unlink(path);
}

static void dax_attribute(void)
{
	struct statx st;

	must(!statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st), "statx");
	same((st.stx_attributes & STATX_ATTR_DAX) != 0, differs(1, 0), "STATX_ATTR_DAX");
	same((st.stx_attributes_mask & STATX_ATTR_DAX) != 0, 1, "STATX_ATTR_DAX in the mask");
}

static unsigned int xflags(int file)
{
	struct fsxattr attr = { 0 };

	must(!ioctl(file, FS_IOC_FSGETXATTR, &attr), "FS_IOC_FSGETXATTR");
	return attr.fsx_xflags & FS_XFLAG_DAX;
}

static void set_xflag(int file, unsigned int flag)
{
	struct fsxattr attr = { 0 };

	must(!ioctl(file, FS_IOC_FSGETXATTR, &attr), "FS_IOC_FSGETXATTR");
	attr.fsx_xflags = (attr.fsx_xflags & ~(unsigned int)FS_XFLAG_DAX) | flag;
	must(!ioctl(file, FS_IOC_FSSETXATTR, &attr), "FS_IOC_FSSETXATTR");
}

static void dax_flag(void)
{
	char path[4096];
	int dir, file;

	set_xflag(fd, FS_XFLAG_DAX);
	same(xflags(fd), FS_XFLAG_DAX, "FS_XFLAG_DAX after it was set");
	set_xflag(fd, 0);
	same(xflags(fd), 0, "FS_XFLAG_DAX after it was cleared");
	snprintf(path, sizeof(path), "%s.dir", name);
	must(!mkdir(path, 0777), path);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir >= 0, path);
	set_xflag(dir, FS_XFLAG_DAX);
	file = openat(dir, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	must(file >= 0, "openat");
	same(xflags(file), FS_XFLAG_DAX, "FS_XFLAG_DAX of a file in a directory that has it");
	close(file);
	must(!unlinkat(dir, "file", 0), "unlinkat");
	close(dir);
	must(!rmdir(path), "rmdir");
}

static long resident(void)
{
	return status_of("RssFile") + status_of("RssShmem");
}

/* Of memory on a tmpfs it is RssShmem; as of 6.15 the kernel counts DAX as RssFile, before that not at all. */
static void rss(void)
{
	long before;
	char *at;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	before = resident();
	(void)stores(at, LARGE_PAGES, 1);
	wanted(resident() - before >= 2048, "2 MiB were stored to: %ld KiB more are resident", resident() - before);
	must(!madvise(at, LARGE, MADV_DONTNEED), "MADV_DONTNEED");
	wanted(resident() - before < 256, "2 MiB are not needed: %ld KiB of them are resident", resident() - before);
	unmap(at, LARGE_PAGES);
}

const struct row other_rows[] = {
	{ "44", "collapse/insert", collapse, false },
	{ "46", "reflink-cow", reflink, false },
	{ "50", "statx", dax_attribute, false },
	{ "51", "FS_XFLAG_DAX", dax_flag, false },
	{ "66", "rss", rss, true },
	{ NULL, NULL, NULL, false },
};
