/*
 * Memory that says when it is touched: the userfaultfd of the process.
 *
 * A hole is private anonymous memory without pages, registered for missing and write-protected pages: a load or store,
 * the kernel's own too, waits and is told. Where a load was answered there are zero pages, write-protected: loads go
 * on, a store is told. Both kinds have the same flags, and neighbours become one mapping again.
 *
 * Such memory is made elsewhere and moved into place, so that nobody ever sees it half made. The kernel tells that too
 * (UFFD_EVENT_REMAP, UFFD_EVENT_UNMAP), and whoever moves or unmaps waits until it is heard. So one thread, the reader,
 * does nothing but listen: it takes no lock of the library but the queue's, asks nobody, and cannot be waited for by
 * what it waits for. What was unmapped or moved over is not waited for any more: the reader wakes who does. Nobody else
 * has to; who takes something's place has done all with that.
 *
 * The memory is told of as long as the descriptor is open somewhere, and is ordinary memory after that: stores to it
 * would be lost. Programs close what they did not open, so the reader has a table of descriptors of its own, with
 * nothing but this in it. Where the program closed the library's, no new holes can be made.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>

#include "client/mm.h"

#define TOUCHES		256U		/* that are told and not worked on; more are asked to come again */
#define MESSAGES	16U		/* read at once */
#define ASIDE_MAX	(1ULL << 36)	/* bytes of a hole that are made at once */
#define MAP_COUNT	65530U		/* what the kernel has for vm.max_map_count */

/* Linux 5.7; MADV_POPULATE_READ is of 5.14. */
#define FEATURES	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP)

static struct {
	pthread_mutex_t	 lock;		/* of the queue, and below all other locks */
	pthread_cond_t	 more;		/* something came; the reader is ready */
	struct touch	 touch[TOUCHES];
	unsigned int	 first, count;
	int		 ready;		/* 1: the reader listens; 0: not yet; else why it does not */
	struct desc	 fd;		/* [client.making, to change it while there is no hole] */
	bool		 running;	/* both threads are. [client.making] */
	uint64_t	 limit;		/* vm.max_map_count. Constant once running */
	char		 refusal[REASON_MAX];	/* [client.making and client.lock, to change it] */
} uffd = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .fd = { .fd = -1 } };

/* ---- The reader ------------------------------------------------------------------------------------------- */

static void wake(int fd, uint64_t start, uint64_t length)
{
	struct uffdio_range range = { .start = start, .len = length };

	mm_ioctl(fd, UFFDIO_WAKE, &range);
}

/* Without room the thread is sent to touch it again. */
static void queue(int fd, const struct uffd_msg *msg)
{
	struct touch t = {
		.address = msg->arg.pagefault.address & ~(uint64_t)(PAGE - 1),
		.store = msg->arg.pagefault.flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP),
	};
	bool full;

	pthread_mutex_lock(&uffd.lock);
	full = uffd.count == TOUCHES;
	if (!full)
		uffd.touch[(uffd.first + uffd.count++) % TOUCHES] = t;
	pthread_cond_signal(&uffd.more);
	pthread_mutex_unlock(&uffd.lock);
	if (full)
		wake(fd, t.address, PAGE);
}

static void listen_to(int fd)
{
	struct uffd_msg msg[MESSAGES];

	for (;;) {
		ssize_t n = syscall(SYS_read, fd, msg, sizeof(msg));

		for (ssize_t i = 0; i < n / (ssize_t)sizeof(msg[0]); i++) {
			if (msg[i].event == UFFD_EVENT_PAGEFAULT)
				queue(fd, &msg[i]);
			else if (msg[i].event == UFFD_EVENT_UNMAP)
				wake(fd, msg[i].arg.remove.start, msg[i].arg.remove.end - msg[i].arg.remove.start);
		}
	}
}

/* The descriptor, in a table of this thread's own. */
static int own_table(int theirs)
{
	int process, fd;

	if (syscall(SYS_close_range, 0, ~0U, CLOSE_RANGE_UNSHARE))
		return -errno;
	process = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (process < 0)
		return -errno;
	fd = (int)syscall(SYS_pidfd_getfd, process, theirs, 0);
	if (fd < 0)
		fd = -errno;
	syscall(SYS_close, process);
	return fd;
}

static void *reader(void *arg)
{
	int fd = own_table(uffd.fd.fd);

	pthread_mutex_lock(&uffd.lock);
	uffd.ready = fd < 0 ? fd : 1;
	pthread_cond_broadcast(&uffd.more);
	pthread_mutex_unlock(&uffd.lock);
	if (fd >= 0)
		listen_to(fd);
	return arg;
}

void uffd_next(struct touch *t)
{
	pthread_mutex_lock(&uffd.lock);
	while (!uffd.count)
		pthread_cond_wait(&uffd.more, &uffd.lock);
	*t = uffd.touch[uffd.first];
	uffd.first = (uffd.first + 1) % TOUCHES;
	uffd.count--;
	pthread_mutex_unlock(&uffd.lock);
}

/* ---- Beginning -------------------------------------------------------------------------------------------- */

/* The system call, or whoever may open the device. With UFFD_USER_MODE_ONLY stores by the kernel would fail. */
static int open_uffd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), rc = -errno, device;

	if (fd >= 0)
		return fd;
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return rc;
	fd = mm_ioctl(device, USERFAULTFD_IOC_NEW, (void *)(uintptr_t)O_CLOEXEC);
	if (fd < 0)
		fd = rc;
	close(device);
	return fd;
}

static int open_checked(struct desc *d)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };
	int fd = open_uffd(), rc;

	if (fd < 0)
		return fd;
	rc = mm_ioctl(fd, UFFDIO_API, &api) ? -EOPNOTSUPP : desc_of(d, fd);
	if (rc)
		close(fd);
	return rc;
}

static int start_reader(void)
{
	int rc = client_thread(reader, NULL);

	if (rc)
		return rc;
	pthread_mutex_lock(&uffd.lock);
	while (!uffd.ready)
		pthread_cond_wait(&uffd.more, &uffd.lock);
	rc = uffd.ready < 0 ? uffd.ready : 0;
	pthread_mutex_unlock(&uffd.lock);
	return rc;
}

static uint64_t map_count_limit(void)
{
	unsigned long long limit;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	bool found = f && fscanf(f, "%llu", &limit) == 1;

	if (f)
		fclose(f);
	return found ? limit : MAP_COUNT;
}

static int start(void)
{
	int rc = 0;

	if (uffd.ready != 1) {
		uffd.ready = 0;
		rc = open_checked(&uffd.fd);
		if (rc)
			return rc;
		rc = start_reader();
		if (rc) {
			desc_close(&uffd.fd);
			return rc;
		}
	}
	uffd.limit = map_count_limit();
	rc = client_thread(hole_thread, NULL);
	uffd.running = !rc;
	return rc;
}

int uffd_start(void)
{
	int rc = uffd.running ? desc_fd(&uffd.fd) : start();

	if (rc >= 0)
		return 0;
	client_lock();
	snprintf(uffd.refusal, sizeof(uffd.refusal),
		 "more blocks would have to be allocated than the mount allows; no userfaultfd: %s",
		 rc == -EBADF ? "closed" : client_reason(rc));
	client_unlock();
	return rc;
}

const char *uffd_refusal(void)
{
	return uffd.refusal;
}

uint64_t uffd_map_count(void)
{
	return uffd.limit;
}

void uffd_forget(void)
{
	pthread_mutex_init(&uffd.lock, NULL);
	pthread_cond_init(&uffd.more, NULL);
	desc_close(&uffd.fd);
	uffd.first = 0;
	uffd.count = 0;
	uffd.ready = 0;
	uffd.running = false;
}

/* ---- Holes ------------------------------------------------------------------------------------------------ */

/*
 * Memory nobody knows of yet: never another process's, and not locked, as mlockall(2) may want all new memory: that
 * would have pages, which are no holes.
 */
static void *make_aside(uint64_t length)
{
	void *at = mm_mmap(mm_room(length), length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return at;
	mm_madvise(at, length, MADV_NOHUGEPAGE);	/* fails where there are no huge pages */
	if (mm_munlock(at, length) || mm_mprotect(at, length, PROT_READ | PROT_WRITE) ||
	    mm_madvise(at, length, MADV_DONTFORK)) {
		mm_munmap(at, length);
		return MAP_FAILED;
	}
	return at;
}

/* What moves elsewhere is the only reason for EAGAIN, and the reader hears of it at once. */
static int again(int fd, unsigned long request, void *arg)
{
	int rc;

	do
		rc = mm_ioctl(fd, request, arg);
	while (rc && errno == EAGAIN);
	return rc;
}

static int make_hole(int fd, void *at, uint64_t length, bool zeros)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)at, .len = length },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	if (zeros && mm_madvise(at, length, MADV_POPULATE_READ))
		return -errno;
	if (again(fd, UFFDIO_REGISTER, &reg) || (zeros && again(fd, UFFDIO_WRITEPROTECT, &wp)))
		return -errno;
	return 0;
}

static int put_part(int fd, char *at, uint64_t length, int prot, bool zeros)
{
	void *aside = make_aside(length);
	int rc;

	if (aside == MAP_FAILED)
		return -ENOMEM;
	rc = make_hole(fd, aside, length, zeros);
	if (!rc && prot != (PROT_READ | PROT_WRITE) && mm_mprotect(aside, length, prot))
		rc = -errno;
	if (!rc && mm_mremap(aside, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED)
		rc = -errno;
	if (rc)
		mm_munmap(aside, length);
	return rc;
}

/* In parts, which become one mapping: not all of a hole needs room in the address space twice. */
int uffd_put(char *at, uint64_t length, int prot, bool zeros)
{
	int fd = desc_fd(&uffd.fd), rc = fd < 0 ? fd : 0;

	for (uint64_t part; length && !rc; at += part, length -= part) {
		part = length < ASIDE_MAX ? length : ASIDE_MAX;
		rc = put_part(fd, at, part, prot, zeros);
	}
	return rc;
}
