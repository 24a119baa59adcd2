/*
 * Maps, with a daemon played by this program: ioctl() of the library ends here. The "mount" is a file of Fs in memory,
 * the pool another of Ps: which letter is read tells what is mapped.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <inodax.h>

#include "direct.h"
#include "format.h"
#include "unit.h"

#define FILE_BYTES	(4ULL << 20)
#define POOL_BYTES	(8ULL << 20)
#define POOL_AT		(2ULL << 20)	/* where the file lies in it */
#define UNIT		4096ULL
#define GRANTS		8

int __wrap_ioctl(int fd, unsigned long request, ...);
const char *__tsan_default_options(void);

static char file[64], pool[64], page[64];
static int fd = -1;

/* The daemon: what it answers, and what it was told. */
static struct {
	_Atomic int opened, areas, faults, unmapped;
	_Atomic int open_error, map_error;
	_Atomic bool cached;
	_Atomic uint64_t eof;		/* bytes */
	_Atomic uint64_t limit;		/* bytes of an answer; 0: none */
	_Atomic bool stale[GRANTS];
	_Atomic bool revoke_in_fault;	/* post a revocation after the answer is made */
	_Atomic uint32_t flags;		/* of the last MAP */
	_Atomic bool hole, full;	/* the file is one; no blocks for it */
	_Atomic bool filled[FILE_BYTES / UNIT];	/* but here */
	_Atomic int stores;		/* FAULTs that fill */
	struct direct_page *page[GRANTS];
} fake;

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

static void post(uint64_t number, const struct direct_revoke *r, bool all)
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
static void take_back(uint64_t number, const struct direct_revoke *r, bool all)
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

/* Some tests end by a signal: what they made lies in a directory that main() takes away. */
static char dir[] = "/dev/shm/check_map.XXXXXX";

static void setup(void)
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

static struct inodax_map *map(uint64_t offset, size_t length, unsigned int flags)
{
	struct inodax_map *m = NULL;

	ck_assert_int_eq(inodax_map(fd, offset, length, flags, &m), 0);
	return m;
}

static struct inodax_query query(struct inodax_map *m, size_t offset)
{
	struct inodax_query q = { .size = sizeof(q) };

	ck_assert_int_eq(inodax_query(m, offset, &q), 0);
	return q;
}

static volatile char *at(struct inodax_map *m, size_t offset)
{
	return (volatile char *)inodax_map_address(m) + offset;
}

/* Wait until `offset` of the map is of a kind. */
static void until_kind(struct inodax_map *m, size_t offset, uint32_t kind)
{
	struct inodax_query q = query(m, offset);

	for (int i = 0; i < 10000 && q.kind != kind; i++) {
		usleep(1000);
		q = query(m, offset);
	}
	ck_assert_msg(q.kind == kind, "kind %u after 10 s: %s", q.kind, q.reason);
}

/* ---- Mapping ---------------------------------------------------------------------------------------------- */

START_TEST(a_map_is_the_pool)
{
	struct inodax_map *m = map(0, FILE_BYTES, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE);
	struct inodax_query q = query(m, 5000);
	char letter = 0;
	int other = open(pool, O_RDONLY);

	ck_assert_uint_eq(q.kind, INODAX_DIRECT);
	ck_assert_uint_eq(q.offset, 0);
	ck_assert_uint_eq(q.length, FILE_BYTES);
	ck_assert_uint_eq(q.page_shift, 12);
	ck_assert_str_eq(q.reason, "");
	ck_assert_uint_eq((uintptr_t)inodax_map_address(m) % (2 << 20), 0);
	ck_assert_int_eq(*at(m, FILE_BYTES - 1), 'P');
	*at(m, 12345) = 'x';
	ck_assert_int_eq(pread(other, &letter, 1, (off_t)POOL_AT + 12345), 1);
	ck_assert_int_eq(letter, 'x');
	ck_assert_int_eq(inodax_sync(m, 0, FILE_BYTES), 0);
	ck_assert_int_eq(inodax_sync(m, 1, FILE_BYTES), -EINVAL);
	ck_assert_int_eq(inodax_unmap(m), 0);
	ck_assert_int_eq(fake.unmapped, 1);
}
END_TEST

START_TEST(parts_of_a_file)
{
	struct inodax_map *m = map(3 * UNIT, 100, 0), *n;
	struct inodax_query q = query(m, 99);

	ck_assert_uint_eq(q.offset, 3 * UNIT);
	ck_assert_uint_eq(q.length, 100);
	ck_assert_int_eq(inodax_query(m, 100, &q), -EINVAL);
	n = map(7 * UNIT, 2 * UNIT, 0);
	ck_assert_int_eq(fake.opened, 1);
	ck_assert_int_eq(fake.areas, 2);
	inodax_unmap(m);
	ck_assert_int_eq(*at(n, 0), 'P');
	inodax_unmap(n);
	inodax_unmap(map(0, 1, 0));
	ck_assert_int_eq(fake.opened, 2);
}
END_TEST

START_TEST(answers_in_small_parts)
{
	struct inodax_map *m;

	fake.limit = 3 * UNIT;
	m = map(0, FILE_BYTES, INODAX_MAP_REQUIRE);
	ck_assert_uint_eq(query(m, 0).length, FILE_BYTES);
	ck_assert_int_gt(fake.faults, 300);
	inodax_unmap(m);
}
END_TEST

START_TEST(beyond_the_end)
{
	struct inodax_map *m;

	ck_assert_int_eq(ftruncate(fd, 2 * UNIT), 0);
	fake.eof = 2 * UNIT;
	m = map(0, 4 * UNIT, INODAX_MAP_REQUIRE);
	ck_assert_uint_eq(query(m, 2 * UNIT - 1).kind, INODAX_DIRECT);
	ck_assert_uint_eq(query(m, 2 * UNIT).kind, INODAX_BEYOND);
	signal(SIGBUS, SIG_DFL);	/* sanitizers have a handler */
	(void)*at(m, 2 * UNIT);
}
END_TEST

START_TEST(refused)
{
	struct inodax_map *m;
	int other;

	ck_assert_int_eq(inodax_map(fd, 1, 1, 0, &m), -EINVAL);
	ck_assert_int_eq(inodax_map(fd, 0, 0, 0, &m), -EINVAL);
	ck_assert_int_eq(inodax_map(fd, 0, 1, 1U << 9, &m), -EINVAL);
	ck_assert_int_eq(inodax_map(999, 0, 1, 0, &m), -EBADF);
	other = open(file, O_RDONLY);
	ck_assert_int_eq(inodax_map(other, 0, 1, INODAX_MAP_WRITE, &m), -EACCES);
	other = open("/dev/shm", O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(inodax_map(other, 0, 1, 0, &m), -EOPNOTSUPP);
	fake.open_error = -ENOTTY;
	ck_assert_int_eq(inodax_map(fd, 0, 1, 0, &m), -EOPNOTSUPP);
}
END_TEST

/* ---- No direct access ------------------------------------------------------------------------------------- */

static void expect_cached(struct inodax_map *m, const char *reason)
{
	struct inodax_query q = query(m, 0);

	ck_assert_uint_eq(q.kind, INODAX_CACHED);
	ck_assert_msg(strstr(q.reason, reason), "'%s'", q.reason);
	ck_assert_int_eq(*at(m, 0), 'F');
}

START_TEST(a_pool_that_is_none)
{
	struct inodax_map *m;
	int made = open(pool, O_RDWR);

	ck_assert_int_eq(pwrite(made, "nonsense", 8, 0), 8);
	close(made);
	m = map(0, UNIT, INODAX_MAP_WRITE);
	expect_cached(m, "the pool: ");
	ck_assert_int_eq(inodax_sync(m, 0, 1), 0);
	inodax_unmap(m);
	ck_assert_int_eq(inodax_map(fd, 0, UNIT, INODAX_MAP_REQUIRE, &m), -EOPNOTSUPP);
}
END_TEST

START_TEST(a_daemon_that_gives_it_later)
{
	struct inodax_map *m;

	fake.open_error = -EOPNOTSUPP;
	m = map(0, UNIT, 0);
	expect_cached(m, "the daemon gives no direct access");
	fake.open_error = 0;
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'P');
	inodax_unmap(m);
}
END_TEST

START_TEST(an_area_that_is_refused)
{
	struct inodax_map *m;

	fake.map_error = -EFBIG;
	m = map(0, UNIT, INODAX_MAP_WRITE);
	expect_cached(m, "more blocks would have to be allocated");
	inodax_unmap(m);
	ck_assert_int_eq(fake.unmapped, 0);
}
END_TEST

/* ---- Revocation ------------------------------------------------------------------------------------------- */

START_TEST(revoked_then_direct_again)
{
	struct inodax_map *m = map(UNIT, 10 * UNIT, INODAX_MAP_WRITE);
	struct direct_revoke r = { .offset = 3 * UNIT, .length = 2 * UNIT, .area = 1 };

	fake.cached = true;
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, 0), 'P');
	ck_assert_int_eq(*at(m, 2 * UNIT), 'F');
	ck_assert_int_eq(*at(m, 4 * UNIT - 1), 'F');
	ck_assert_int_eq(*at(m, 4 * UNIT), 'P');
	ck_assert_uint_eq(query(m, 2 * UNIT).kind, INODAX_CACHED);
	ck_assert_uint_eq(query(m, 2 * UNIT).offset, 3 * UNIT);
	ck_assert_uint_eq(query(m, 2 * UNIT).length, 2 * UNIT);
	fake.cached = false;
	until_kind(m, 2 * UNIT, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 2 * UNIT), 'P');
	ck_assert_uint_eq(query(m, 2 * UNIT).length, 10 * UNIT);
	inodax_unmap(m);
}
END_TEST

START_TEST(all_revoked)
{
	struct inodax_map *m = map(0, 10 * UNIT, 0), *n = map(5 * UNIT, UNIT, 0);

	fake.cached = true;
	take_back(1, NULL, true);
	ck_assert_int_eq(*at(m, 0), 'F');
	ck_assert_int_eq(*at(n, 0), 'F');
	inodax_unmap(m);
	inodax_unmap(n);
}
END_TEST

START_TEST(revoked_while_answered)
{
	struct inodax_map *m;

	fake.revoke_in_fault = true;
	m = map(0, 10 * UNIT, 0);
	ck_assert_uint_eq(query(m, 0).kind, INODAX_CACHED);
	ck_assert_int_eq(*at(m, 0), 'F');
	inodax_unmap(m);
}
END_TEST

/* On a file of this test: libcheck has descriptors too. */
static bool is_ours(int n)
{
	char link[32], path[128];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", n);
	length = readlink(link, path, sizeof(path) - 1);
	return length > 0 && !strncmp(path, file, strlen("/dev/shm/check_map."));
}

/* Whatever a program closes: what is mapped stays, and can be taken back. */
START_TEST(descriptors_closed)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);
	struct direct_revoke r = { .offset = UNIT, .length = UNIT, .area = 1 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)DIRECT_LOCK_BASE + 1 };
	int other;

	for (int i = 3; i < 64; i++)
		if (is_ours(i))
			close(i);
	ck_assert_int_eq(*at(m, 0), 'P');
	other = open(pool, O_RDWR);
	ck_assert_int_eq(fcntl(other, F_OFD_GETLK, &lock), 0);
	ck_assert_int_eq(lock.l_type, F_WRLCK);
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, UNIT), 'F');
	ck_assert_int_eq(*at(m, 2 * UNIT), 'P');
	*at(m, UNIT) = 'x';
	ck_assert_int_eq(inodax_sync(m, 0, 1), 0);
	inodax_unmap(m);
	ck_assert_int_eq(fcntl(other, F_GETFD), 0);
	lock.l_type = F_WRLCK;
	lock.l_pid = 0;
	ck_assert_int_eq(fcntl(other, F_OFD_GETLK, &lock), 0);
	ck_assert_int_eq(lock.l_type, F_UNLCK);
}
END_TEST

/* ---- Fork ------------------------------------------------------------------------------------------------- */

START_TEST(both_sides_of_a_fork)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);
	int status;
	pid_t pid;

	usleep(50000);	/* sanitizers: a fork while a thread starts leaves their allocator locked in the child */
	pid = fork();

	if (!pid) {
		fake.opened = 4;	/* not the numbers that the parent gets */
		if (*at(m, 0) != 'F')
			_exit(1);
		until_kind(m, 0, INODAX_DIRECT);
		if (*at(m, 0) != 'P' || fake.opened != 5)
			_exit(2);
		inodax_unmap(m);
		_exit(0);
	}
	ck_assert_uint_eq(query(m, 0).kind, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'P');
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(fake.opened, 1);
	inodax_unmap(m);
}
END_TEST

/* What no handler sees: the child has nothing, rather than what nobody answers for. */
START_TEST(a_fork_without_handlers)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);
	int status;
	pid_t pid = _Fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);	/* sanitizers have a handler */
		_exit(*at(m, 0));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_int_eq(*at(m, 0), 'P');
	inodax_unmap(m);
}
END_TEST

/* The daemon was another since: it does not know the grant. */
START_TEST(a_grant_that_is_not_known)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);

	fake.stale[1] = true;
	take_back(1, NULL, true);
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'P');
	ck_assert_int_eq(fake.opened, 2);
	inodax_unmap(m);
}
END_TEST

/* ---- Holes ------------------------------------------------------------------------------------------------ */

static bool has_uffd(void)
{
	int made = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (made >= 0)
		close(made);
	return made >= 0;
}

/* All of the pool is P where the file has no hole. */
static struct inodax_map *map_hole(void)
{
	fake.hole = true;
	return map(0, FILE_BYTES, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE);
}

static void expect_piece(struct inodax_map *m, size_t offset, uint32_t kind, uint64_t first, uint64_t length)
{
	struct inodax_query q = query(m, offset);

	ck_assert_uint_eq(q.kind, kind);
	ck_assert_uint_eq(q.offset, first);
	ck_assert_uint_eq(q.length, length);
}

START_TEST(a_hole_gets_blocks_where_it_is_stored_to)
{
	struct inodax_map *m = map_hole();
	char letter;
	int other = open(pool, O_RDWR);

	ck_assert_uint_eq(fake.flags, DIRECT_WRITE | DIRECT_SPARSE);
	expect_piece(m, 5, INODAX_ZERO, 0, FILE_BYTES);
	for (size_t i = 0; i < FILE_BYTES; i += UNIT)
		ck_assert_int_eq(*at(m, i + 9), 0);
	ck_assert_int_le(fake.faults, 4);
	*at(m, 10 * UNIT + 1) = 'x';
	*at(m, 600 * UNIT + 1) = 'y';
	ck_assert_int_eq(fake.stores, 2);
	ck_assert_int_eq(*at(m, 10 * UNIT), 'P');
	ck_assert_int_eq(*at(m, 11 * UNIT), 0);
	ck_assert_int_eq(pread(other, &letter, 1, (off_t)(POOL_AT + 10 * UNIT + 1)), 1);
	ck_assert_int_eq(letter, 'x');
	expect_piece(m, 10 * UNIT, INODAX_DIRECT, 10 * UNIT, UNIT);
	expect_piece(m, 11 * UNIT, INODAX_ZERO, 11 * UNIT, 589 * UNIT);
	ck_assert_int_eq(pread(other, (char *)inodax_map_address(m) + 30 * UNIT - 2, 4, (off_t)POOL_AT), 4);
	ck_assert_int_eq(*at(m, 30 * UNIT - 3), 'P');
	/* Two stores one after the other: the second got twice as much. */
	expect_piece(m, 30 * UNIT, INODAX_DIRECT, 29 * UNIT, 3 * UNIT);
	inodax_unmap(m);
}
END_TEST

START_TEST(zeros_are_taken_back)
{
	struct inodax_map *m = map_hole();
	struct direct_revoke r = { .length = FILE_BYTES, .area = 1, .flags = DIRECT_REVOKE_ZEROS };

	ck_assert_int_eq(*at(m, 7 * UNIT), 0);
	*at(m, 0) = 'x';
	fake.filled[7] = true;
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, 7 * UNIT), 'P');
	ck_assert_int_eq(*at(m, 8 * UNIT), 0);
	until_kind(m, 7 * UNIT, INODAX_DIRECT);
	until_kind(m, 8 * UNIT, INODAX_ZERO);
	until_kind(m, 0, INODAX_DIRECT);
	r.flags = 0;
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, 9 * UNIT), 0);
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'x');
	expect_piece(m, 9 * UNIT, INODAX_ZERO, 8 * UNIT, FILE_BYTES - 8 * UNIT);
	inodax_unmap(m);
}
END_TEST

START_TEST(an_answer_to_a_store_that_is_void)
{
	struct inodax_map *m = map_hole();

	fake.revoke_in_fault = true;
	*at(m, 0) = 'x';
	ck_assert_int_ge(fake.stores, 1);
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'x');
	ck_assert_int_eq(*at(m, UNIT), 0);
	inodax_unmap(m);
}
END_TEST

/* The page cache has to do, until the daemon says something else. */
START_TEST(a_hole_in_a_file_that_others_cache)
{
	struct inodax_map *m = map_hole();

	fake.cached = true;
	*at(m, 3 * UNIT) = 'c';
	ck_assert_uint_eq(query(m, 3 * UNIT).kind, INODAX_CACHED);
	ck_assert_int_eq(*at(m, 3 * UNIT + 1), 'F');
	ck_assert_int_eq(fake.filled[3], false);
	fake.cached = false;
	until_kind(m, 3 * UNIT, INODAX_ZERO);
	*at(m, 3 * UNIT) = 'd';
	ck_assert_int_eq(*at(m, 3 * UNIT + 1), 'P');
	inodax_unmap(m);
}
END_TEST

START_TEST(no_blocks_for_a_store)
{
	struct inodax_map *m = map_hole();
	int other = open(pool, O_RDONLY);

	fake.full = true;
	ck_assert_int_eq(pread(other, inodax_map_address(m), 1, 0), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_uint_eq(query(m, 0).kind, INODAX_LOST);
	ck_assert_str_eq(query(m, 0).reason, "no space for the blocks of a hole");
	until_kind(m, 0, INODAX_ZERO);
	ck_assert_int_eq(*at(m, 0), 0);
	fake.full = false;
	*at(m, 0) = 'x';
	ck_assert_uint_eq(query(m, 0).kind, INODAX_DIRECT);
	fake.full = true;
	signal(SIGBUS, SIG_DFL);	/* sanitizers have a handler */
	*at(m, 5 * UNIT) = 'x';
}
END_TEST

/* New memory has pages at once, then. */
START_TEST(a_process_that_locks_its_memory)
{
	struct inodax_map *m;

	ck_assert_int_eq(mlockall(MCL_FUTURE), 0);
	m = map_hole();
	ck_assert_int_eq(*at(m, 5 * UNIT), 0);
	*at(m, 5 * UNIT) = 'x';
	*at(m, 700 * UNIT) = 'x';
	ck_assert_int_eq(*at(m, 5 * UNIT + 1), 'P');
	ck_assert_int_eq(*at(m, 700 * UNIT + 1), 'P');
	inodax_unmap(m);
}
END_TEST

START_TEST(a_fork_with_holes)
{
	struct inodax_map *m = map_hole();
	int status;
	pid_t pid;

	*at(m, 0) = 'x';
	usleep(50000);	/* as above */
	pid = fork();
	if (!pid) {
		fake.opened = 4;
		if (*at(m, 5 * UNIT) != 'F')
			_exit(1);
		until_kind(m, 5 * UNIT, INODAX_ZERO);
		if (*at(m, 5 * UNIT) || *at(m, 0) != 'x')
			_exit(2);
		*at(m, 5 * UNIT) = 'y';
		if (*at(m, 5 * UNIT + 1) != 'P')
			_exit(3);
		inodax_unmap(m);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(*at(m, 6 * UNIT), 0);
	*at(m, 6 * UNIT) = 'z';
	ck_assert_int_eq(*at(m, 6 * UNIT + 1), 'P');
	inodax_unmap(m);
}
END_TEST

/* As an ordinary user: the daemon allocates, or refuses. */
START_TEST(no_userfaultfd)
{
	struct inodax_map *m;

	ck_assert_int_eq(chown(dir, 65534, 65534) | chown(file, 65534, 65534) | chown(pool, 65534, 65534), 0);
	ck_assert_int_eq(setresgid(65534, 65534, 65534) | setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);	/* /proc/self/fd */
	if (has_uffd())
		return;
	fake.hole = true;
	m = map(0, UNIT, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE);
	ck_assert_uint_eq(fake.flags, DIRECT_WRITE);
	ck_assert_int_eq(*at(m, 0), 'P');
	fake.map_error = -EFBIG;
	inodax_unmap(m);
	m = map(0, UNIT, INODAX_MAP_WRITE);
	expect_cached(m, "more blocks would have to be allocated than the mount allows; no userfaultfd: ");
	inodax_unmap(m);
}
END_TEST

static void add_hole_tests(TCase *tc)
{
	if (!geteuid())
		tcase_add_test(tc, no_userfaultfd);
	if (!has_uffd()) {
		puts("there is no userfaultfd: holes are not tested");
		return;
	}
	tcase_add_test(tc, a_hole_gets_blocks_where_it_is_stored_to);
	tcase_add_test(tc, zeros_are_taken_back);
	tcase_add_test(tc, an_answer_to_a_store_that_is_void);
	tcase_add_test(tc, a_hole_in_a_file_that_others_cache);
	tcase_add_test_raise_signal(tc, no_blocks_for_a_store, SIGBUS);
	tcase_add_test(tc, a_process_that_locks_its_memory);
	tcase_add_test(tc, a_fork_with_holes);
}

/* ---- Suite ------------------------------------------------------------------------------------------------ */

/* The child of a fork makes threads. */
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static Suite *map_suite(void)
{
	Suite *s = suite_create("map");
	TCase *tc = tcase_create("map");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_map_is_the_pool);
	tcase_add_test(tc, parts_of_a_file);
	tcase_add_test(tc, answers_in_small_parts);
	tcase_add_test_raise_signal(tc, beyond_the_end, SIGBUS);
	tcase_add_test(tc, refused);
	tcase_add_test(tc, a_pool_that_is_none);
	tcase_add_test(tc, a_daemon_that_gives_it_later);
	tcase_add_test(tc, an_area_that_is_refused);
	tcase_add_test(tc, revoked_then_direct_again);
	tcase_add_test(tc, all_revoked);
	tcase_add_test(tc, revoked_while_answered);
	tcase_add_test(tc, descriptors_closed);
	tcase_add_test(tc, both_sides_of_a_fork);
	tcase_add_test(tc, a_fork_without_handlers);
	tcase_add_test(tc, a_grant_that_is_not_known);
	add_hole_tests(tc);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	int failed;

	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	failed = unit_run(map_suite());
	remove_all();
	return failed;
}
