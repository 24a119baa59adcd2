/*
 * See raw_client.h.
 */
#include "raw_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HUGE	(2UL << 20)

void raw_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void raw_must(const char *what, long is, long want, const char *file, int line)
{
	if (is != want)
		raw_die("%s:%d: %s gives %ld (%s), not %ld", file, line, what, is, is < 0 ? strerror((int)-is) : "",
			want);
}

int raw_ioctl(const struct raw *r, unsigned long request, void *arg)
{
	return ioctl(r->fd, request, arg) ? -errno : 0;
}

int raw_open(struct raw *r, const char *file, int flags)
{
	memset(r, 0, sizeof(*r));
	r->pool = r->page_fd = -1;
	r->fd = open(file, flags | O_CLOEXEC, 0644);
	if (r->fd < 0)
		raw_die("%s: %s", file, strerror(errno));
	r->open.version = DIRECT_VERSION;
	return raw_ioctl(r, DIRECT_IOC_OPEN, &r->open);
}

void raw_lock(struct raw *r)
{
	struct flock lk = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)(DIRECT_LOCK_BASE + r->open.name.number),
		.l_len = 1,
	};

	r->pool = open(r->open.pool, O_RDWR | O_CLOEXEC);
	if (r->pool < 0 || fcntl(r->pool, F_OFD_SETLK, &lk))
		raw_die("%s: %s", r->open.pool, strerror(errno));
	r->page_fd = open(r->open.page, O_RDWR | O_CLOEXEC);
	r->page = mmap(NULL, DIRECT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, r->page_fd, 0);
	if (r->page == MAP_FAILED)
		raw_die("%s: %s", r->open.page, strerror(errno));
}

void raw_start(struct raw *r, const char *file, int flags)
{
	struct direct_start start;

	must(raw_open(r, file, flags), 0);
	raw_lock(r);
	start.name = r->open.name;
	must(raw_ioctl(r, DIRECT_IOC_START, &start), 0);
}

/*
 * The file itself over a range: what is right wherever the pool is not mapped. By moving no bytes of a mapping that is
 * there: mmap() would wait for pages of the file that are locked, and so for the daemon, which waits for us.
 */
static void map_file(struct raw *r, uint64_t offset, uint64_t length)
{
	if (mremap(r->spare + offset, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, r->base + offset) == MAP_FAILED)
		raw_die("mapping the file: %s", strerror(errno));
}

static void make_spare(struct raw *r)
{
	int prot = r->map.flags & DIRECT_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;

	r->spare = mmap(NULL, r->length, prot, MAP_SHARED, r->fd, 0);
	if (r->spare == MAP_FAILED)
		raw_die("mapping the file: %s", strerror(errno));
}

int raw_map(struct raw *r, uint64_t length, uint32_t flags)
{
	char *at = mmap(NULL, length + HUGE + DIRECT_PAGE_BYTES, PROT_NONE, MAP_PRIVATE, r->fd, 0);

	if (at == MAP_FAILED)
		raw_die("the guard page: %s", strerror(errno));
	r->base = (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
	r->length = length;
	/* The guard page alone is left of the reservation. */
	if (r->base > at)
		munmap(at, (size_t)(r->base - at));
	if (r->base < at + HUGE)
		munmap(r->base + length + DIRECT_PAGE_BYTES, (size_t)(at + HUGE - r->base));
	r->map = (struct direct_map){ .name = r->open.name, .length = length, .flags = flags };
	make_spare(r);
	map_file(r, 0, length);
	return raw_ioctl(r, DIRECT_IOC_MAP, &r->map);
}

static void map_extent(struct raw *r, const struct direct_extent *e)
{
	int prot = r->map.flags & DIRECT_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	void *p;

	if (e->type == DIRECT_ZERO)
		p = mmap(r->base + e->offset, e->length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	else
		p = mmap(r->base + e->offset, e->length, prot, MAP_SHARED | MAP_FIXED, r->pool, (off_t)e->addr);
	if (p == MAP_FAILED)
		raw_die("mapping the pool: %s", strerror(errno));
	r->extents++;
	if (e->shift > r->largest)
		r->largest = e->shift;
}

int raw_fault(struct raw *r, uint64_t offset, uint64_t length)
{
	static _Thread_local struct direct_fault f;
	uint64_t end = offset + length;
	int rc;

	r->extents = r->largest = 0;
	for (; offset < end; offset = f.next) {
		f = (struct direct_fault){
			.name = r->open.name, .area = r->map.area, .offset = offset, .length = end - offset,
			.address = (uintptr_t)r->base + offset,
		};
		rc = raw_ioctl(r, DIRECT_IOC_FAULT, &f);
		if (rc)
			return rc;
		for (uint32_t i = 0; i < f.count; i++)
			map_extent(r, &f.extent[i]);
		if (f.stop != DIRECT_MORE)
			return (int)f.stop;
	}
	return DIRECT_MORE;
}

int raw_unmap(struct raw *r, uint64_t offset, uint64_t length)
{
	struct direct_unmap u = { .name = r->open.name, .area = r->map.area, .offset = offset, .length = length };

	map_file(r, offset, length);
	return raw_ioctl(r, DIRECT_IOC_UNMAP, &u);
}

static void answer_one(struct raw *r, uint32_t number)
{
	struct direct_revoke v = r->page->revoke[number % DIRECT_REVOKES];

	if (number - r->page->all > UINT32_MAX / 2 || number == r->page->all)
		map_file(r, 0, r->length);
	else if (v.offset < r->length && v.length <= r->length - v.offset)
		map_file(r, v.offset, v.length);
	else
		raw_die("revocation %u is of %lx+%lx, the area is %lx long", number, v.offset, v.length, r->length);
	atomic_fetch_add(&r->revoked, 1);
}

static void *answering(void *arg)
{
	const struct timespec soon = { .tv_nsec = 20000000 };
	struct raw *r = arg;

	while (!atomic_load(&r->stop)) {
		uint32_t posted = atomic_load(&r->page->posted), done = atomic_load(&r->page->done);

		if (posted == done || atomic_load(&r->deaf)) {
			syscall(SYS_futex, &r->page->posted, FUTEX_WAIT, posted, &soon, NULL, 0);
			continue;
		}
		for (uint32_t n = done + 1; n != posted + 1; n++)
			answer_one(r, n);
		atomic_store(&r->page->done, posted);
		syscall(SYS_futex, &r->page->done, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
	return NULL;
}

void raw_answer(struct raw *r)
{
	atomic_store(&r->stop, false);
	if (pthread_create(&r->thread, NULL, answering, r))
		raw_die("no thread");
	atomic_store(&r->answering, true);
}

void raw_quiet(struct raw *r)
{
	atomic_store(&r->stop, true);
	if (atomic_load(&r->answering))
		pthread_join(r->thread, NULL);
	atomic_store(&r->answering, false);
}

void raw_close(struct raw *r)
{
	raw_quiet(r);
	if (r->base) {
		munmap(r->base, r->length);
		munmap(r->spare, r->length);
	}
	if (r->page_fd >= 0) {
		munmap(r->page, DIRECT_PAGE_BYTES);
		close(r->page_fd);
	}
	if (r->pool >= 0)
		close(r->pool);
	if (r->base)
		munmap(r->base + r->length, DIRECT_PAGE_BYTES);
	close(r->fd);
}
