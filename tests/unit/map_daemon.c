/*
 * See map_daemon.h.
 */
#include "map_daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "format.h"
#include "unit.h"

int __wrap_ioctl(int fd, unsigned long request, ...);
const char *__tsan_default_options(void);

char file[64], pool[64], page[64];
int fd = -1;
struct fake fake;

/* The child of a fork makes threads. */
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

/* ---- The daemon ------------------------------------------------------------------------------------------- */

static void make_file(const char *path, uint64_t bytes, char letter)
{
	int made = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char block[UNIT];

	ck_assert_int_ge(made, 0);
	memset(block, letter, sizeof(block));
	for (uint64_t at = 0; at < bytes; at += sizeof(block))
		ck_assert_int_eq(pwrite(made, block, sizeof(block), (off_t)at), (ssize_t)sizeof(block));
	close(made);
}

static int fake_open(struct direct_open *o)
{
	int number = ++fake.opened, made;
	struct stat st;

	if (fake.open_error)
		return fake.open_error;
	ck_assert_int_lt(number, GRANTS);
	ck_assert_int_eq(stat(pool, &st), 0);
	o->name = (struct direct_name){ .number = (uint64_t)number };
	o->pool_dev = st.st_dev;
	o->pool_ino = st.st_ino;
	o->pool_bytes = POOL_BYTES;
	o->unit_shift = 12;
	snprintf(o->pool, sizeof(o->pool), "%s", pool);
	snprintf(o->page, sizeof(o->page), "%s.%d.%d", page, (int)getpid(), number);
	make_file(o->page, DIRECT_PAGE_BYTES, 0);
	made = open(o->page, O_RDWR);
	fake.page[number] = mmap(NULL, UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0);
	close(made);
	fake.page[number]->magic = DIRECT_PAGE_MAGIC;
	fake.page[number]->version = DIRECT_VERSION;
	return 0;
}

static int fake_start(const struct direct_start *s)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	char path[128];
	int other = open(pool, O_RDWR);

	lock.l_start = (off_t)(DIRECT_LOCK_BASE + s->name.number);
	ck_assert_int_eq(fcntl(other, F_OFD_GETLK, &lock), 0);
	close(other);
	snprintf(path, sizeof(path), "%s.%d.%d", page, (int)getpid(), (int)s->name.number);
	unlink(path);
	return lock.l_type == F_UNLCK ? -EACCES : 0;
}

void post(uint64_t number, const struct direct_revoke *r, bool all)
{
	struct direct_page *p = fake.page[number];
	uint32_t n = atomic_load(&p->posted) + 1;

	if (r)
		p->revoke[n % DIRECT_REVOKES] = *r;
	if (all)
		atomic_store(&p->all, n);
	atomic_store(&p->posted, n);
	syscall(SYS_futex, &p->posted, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Post a revocation and wait until it is answered. */
void take_back(uint64_t number, const struct direct_revoke *r, bool all)
{
	struct direct_page *p = fake.page[number];

	post(number, r, all);
	for (int i = 0; i < 2000 && atomic_load(&p->done) != atomic_load(&p->posted); i++)
		usleep(1000);
	ck_assert_uint_eq(atomic_load(&p->done), atomic_load(&p->posted));
}

/* The units up to `end`, of a hole with some blocks. */
static void fake_hole(struct direct_fault *f, uint64_t end)
{
	fake.stores += !(f->flags & DIRECT_LOAD);
	for (f->next = f->offset; f->next < end && f->count < DIRECT_EXTENTS; f->next += UNIT) {
		struct direct_extent e = { .offset = f->next, .length = UNIT, .type = DIRECT_ZERO, .shift = 12 };

		if (!(f->flags & DIRECT_LOAD) && fake.full) {
			f->stop = DIRECT_NOSPC;
			return;
		}
		if (!(f->flags & DIRECT_LOAD))
			fake.filled[f->next / UNIT] = true;
		if (fake.filled[f->next / UNIT]) {
			e.type = DIRECT_POOL;
			e.addr = POOL_AT + f->next;
		}
		if (f->count && f->extent[f->count - 1].type == e.type)
			f->extent[f->count - 1].length += UNIT;
		else
			f->extent[f->count++] = e;
	}
}

static int fake_fault(struct direct_fault *f)
{
	uint64_t end = f->offset + f->length, eof = (fake.eof + UNIT - 1) & ~(UNIT - 1);

	fake.faults++;
	if (fake.stale[f->name.number])
		return -EACCES;
	f->count = 0;
	f->next = f->offset;
	f->stop = fake.cached ? DIRECT_CACHED : DIRECT_MORE;
	if (fake.cached)
		return 0;
	if (end > eof) {
		f->stop = DIRECT_EOF;
		end = eof > f->offset ? eof : f->offset;
	}
	if (fake.limit && end - f->offset > fake.limit) {
		f->stop = DIRECT_MORE;
		end = f->offset + fake.limit;
	}
	f->next = end;
	if (fake.hole)
		fake_hole(f, end);
	else if (end > f->offset)
		f->extent[f->count++] = (struct direct_extent){ .offset = f->offset, .length = end - f->offset,
			.addr = POOL_AT + f->offset, .type = DIRECT_POOL, .shift = 12 };
	if (atomic_exchange(&fake.revoke_in_fault, false)) {
		struct direct_revoke r = { .offset = 0, .length = FILE_BYTES, .area = f->area };

		fake.cached = !fake.hole;	/* from the answer to the next question on */
		post(f->name.number, &r, false);
	}
	return 0;
}

int __wrap_ioctl(int on, unsigned long request, ...)
{
	va_list args;
	void *arg;
	int rc = -ENOTTY;

	(void)on;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case DIRECT_IOC_OPEN:
		rc = fake_open(arg);
		break;
	case DIRECT_IOC_START:
		rc = fake_start(arg);
		break;
	case DIRECT_IOC_MAP:
		((struct direct_map *)arg)->area = (uint32_t)++fake.areas;
		fake.flags = ((struct direct_map *)arg)->flags;
		rc = fake.map_error;
		break;
	case DIRECT_IOC_FAULT:
		rc = fake_fault(arg);
		break;
	case DIRECT_IOC_UNMAP:
		fake.unmapped++;
		rc = 0;
		break;
	}
	errno = -rc;
	return rc ? -1 : 0;
}

/* ---- Fixture ---------------------------------------------------------------------------------------------- */

char dir[] = "/dev/shm/check_map.XXXXXX";

void setup(void)
{
	int made;

	snprintf(file, sizeof(file), "%s/%d.file", dir, (int)getpid());
	snprintf(pool, sizeof(pool), "%s/%d.pool", dir, (int)getpid());
	snprintf(page, sizeof(page), "%s/%d.page", dir, (int)getpid());
	make_file(file, FILE_BYTES, 'F');
	make_file(pool, POOL_BYTES, 'P');
	made = open(pool, O_RDWR);
	ck_assert_int_eq(pwrite(made, SUPER_MAGIC, 8, 0), 8);
	close(made);
	fd = open(file, O_RDWR);
	ck_assert_int_ge(fd, 0);
	fake.eof = FILE_BYTES;
}

static void remove_all(void)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

struct inodax_map *map(uint64_t offset, size_t length, unsigned int flags)
{
	struct inodax_map *m = NULL;

	ck_assert_int_eq(inodax_map(fd, offset, length, flags, &m), 0);
	return m;
}

struct inodax_query query(struct inodax_map *m, size_t offset)
{
	struct inodax_query q = { .size = sizeof(q) };

	ck_assert_int_eq(inodax_query(m, offset, &q), 0);
	return q;
}

volatile char *at(struct inodax_map *m, size_t offset)
{
	return (volatile char *)inodax_map_address(m) + offset;
}

/* Wait until `offset` of the map is of a kind. */
void until_kind(struct inodax_map *m, size_t offset, uint32_t kind)
{
	struct inodax_query q = query(m, offset);

	for (int i = 0; i < 10000 && q.kind != kind; i++) {
		usleep(1000);
		q = query(m, offset);
	}
	ck_assert_msg(q.kind == kind, "kind %u after 10 s: %s", q.kind, q.reason);
}

void expect_cached(struct inodax_map *m, const char *reason)
{
	struct inodax_query q = query(m, 0);

	ck_assert_uint_eq(q.kind, INODAX_CACHED);
	ck_assert_msg(strstr(q.reason, reason), "'%s'", q.reason);
	ck_assert_int_eq(*at(m, 0), 'F');
}

int run_suite(Suite *s)
{
	int failed;

	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	failed = unit_run(s);
	remove_all();
	return failed;
}
