/*
 * calls FILE STEPS SEED: what a program may do with shared maps of a file, by chance, against a copy of the file in
 * ordinary memory. Knows nothing of inodax: it has to see the same with lib/preload as without.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096UL
#define PAGES	96UL
#define MAPS	24U

struct map {
	char	*at;
	size_t	 page, count;	/* of the file */
	int	 prot;
};

static struct map maps[MAPS];
static unsigned int count;
static unsigned char copy[PAGES * PAGE];
static unsigned long step, seed;
static uint64_t rng;
static int fd;
static sigjmp_buf escape;

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "seed %lu, step %lu: ", seed, step);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

static size_t below(size_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

static void must(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, strerror(errno));
}

/* ---- What the maps are ------------------------------------------------------------------------------------- */

static void add(char *at, size_t page, size_t pages, int prot)
{
	if (pages)
		maps[count++] = (struct map){ at, page, pages, prot };
}

static void drop(struct map *m)
{
	*m = maps[--count];
}

static void check(const struct map *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (memcmp(m->at + i * PAGE, copy + (m->page + i) * PAGE, PAGE) != 0)
			die("page %zu of the file at %p is not what was stored there", m->page + i,
			    (void *)(m->at + i * PAGE));
}

static void check_all(void)
{
	static unsigned char read[PAGES * PAGE];

	for (unsigned int i = 0; i < count; i++)
		check(&maps[i]);
	must(pread(fd, read, sizeof(read), 0) == sizeof(read), "pread");
	if (memcmp(read, copy, sizeof(read)) != 0)
		die("read(2) finds other bytes than were stored");
}

static void fill(char *at, size_t page, size_t first, size_t length)
{
	int value = (int)below(256);

	memset(at + first, value, length);
	memset(copy + page * PAGE + first, value, length);
}

/* ---- The steps: each gets a map, and some pages of it ------------------------------------------------------ */

static void do_map(void)
{
	size_t page = below(PAGES), pages = 1 + below(PAGES - page);
	int prot = below(4) ? PROT_READ | PROT_WRITE : PROT_READ, flags = MAP_SHARED | (below(8) ? 0 : MAP_POPULATE);
	char *at;

	if (count > MAPS - 4)
		return;
	at = mmap(NULL, pages * PAGE, prot, flags, fd, (off_t)(page * PAGE));
	must(at != MAP_FAILED, "mmap");
	add(at, page, pages, prot);
}

static void split(struct map *m, size_t first, size_t pages)
{
	struct map was = *m;

	drop(m);
	add(was.at, was.page, first, was.prot);
	add(was.at + (first + pages) * PAGE, was.page + first + pages, was.count - first - pages, was.prot);
}

static void do_unmap(struct map *m, size_t first, size_t pages)
{
	must(!munmap(m->at + first * PAGE, pages * PAGE), "munmap");
	split(m, first, pages);
}

static void do_store(struct map *m, size_t first, size_t pages)
{
	if (m->prot & PROT_WRITE)
		fill(m->at + first * PAGE, m->page + first, below(PAGE), 1 + below((pages - 1) * PAGE + 1));
}

static void on_segv(int sig)
{
	siglongjmp(escape, sig);
}

/* A store without the right to faults, and changes nothing. */
static void do_forbidden(struct map *m, size_t first)
{
	if (m->prot & PROT_WRITE)
		return;
	signal(SIGSEGV, on_segv);
	if (!sigsetjmp(escape, 1)) {
		*(volatile char *)(m->at + first * PAGE) = 1;
		die("a page that is mapped for loads alone was stored to");
	}
	signal(SIGSEGV, SIG_DFL);
}

static void do_protect(struct map *m, size_t first, size_t pages)
{
	int prot = below(2) ? PROT_READ | PROT_WRITE : PROT_READ;
	struct map was = *m;

	if (count > MAPS - 4)
		return;
	must(!mprotect(m->at + first * PAGE, pages * PAGE, prot), "mprotect");
	split(m, first, pages);
	add(was.at + first * PAGE, was.page + first, pages, prot);
}

static void do_remap(struct map *m)
{
	size_t room = PAGES - m->page, pages = 1 + below(room);
	char *at = mremap(m->at, m->count * PAGE, pages * PAGE, MREMAP_MAYMOVE);

	/* What earlier calls have made two mappings of the kernel's cannot be moved as one. */
	if (at == MAP_FAILED && errno == EFAULT)
		return;
	must(at != MAP_FAILED, "mremap");
	m->at = at;
	m->count = pages;
}

static void do_advise(struct map *m, size_t first, size_t pages)
{
	static const int advice[] = { MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
				      MADV_POPULATE_READ, MADV_DONTDUMP };

	must(!madvise(m->at + first * PAGE, pages * PAGE, advice[below(sizeof(advice) / sizeof(*advice))]), "madvise");
}

static void do_sync(struct map *m, size_t first, size_t pages)
{
	must(!msync(m->at + first * PAGE, pages * PAGE, below(2) ? MS_SYNC : MS_ASYNC), "msync");
}

/* Another part of the file over some of the map. */
static void do_fixed(struct map *m, size_t first, size_t pages)
{
	char *at = m->at + first * PAGE;
	size_t page = below(PAGES - pages + 1);
	int prot = PROT_READ | PROT_WRITE;

	if (count > MAPS - 4)
		return;
	must(mmap(at, pages * PAGE, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)(page * PAGE)) == at, "mmap, MAP_FIXED");
	split(m, first, pages);
	add(at, page, pages, prot);
}

static void do_write(void)
{
	size_t first = below(sizeof(copy)), length = 1 + below(sizeof(copy) - first);

	memset(copy + first, (int)below(256), length);
	must(pwrite(fd, copy + first, length, (off_t)first) == (ssize_t)length, "pwrite");
}

static void do_punch(void)
{
	size_t page = below(PAGES), pages = 1 + below(PAGES - page);

	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE), (off_t)(pages * PAGE)),
	     "fallocate");
	memset(copy + page * PAGE, 0, pages * PAGE);
}

/* The child sees what the parent does, and the parent what the child stores. */
static void do_fork(struct map *m, size_t first)
{
	int value = (int)below(256), status;
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (!pid) {
		check_all();
		if (m->prot & PROT_WRITE)
			memset(m->at + first * PAGE, value, PAGE);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	if (status)
		die("the child ended with status %d", status);
	if (m->prot & PROT_WRITE)
		memset(copy + (m->page + first) * PAGE, value, PAGE);
}

static void one_step(void)
{
	size_t first, pages, what = below(100);
	struct map *m;

	if (what < 12 || !count) {
		do_map();
		return;
	}
	m = &maps[below(count)];
	first = below(m->count);
	pages = 1 + below(m->count - first);
	if (what < 20)
		do_unmap(m, first, pages);
	else if (what < 24)
		do_unmap(m, 0, m->count);
	else if (what < 60)
		do_store(m, first, pages);
	else if (what < 63)
		do_forbidden(m, first);
	else if (what < 67)
		do_protect(m, first, pages);
	else if (what < 70)
		do_remap(m);
	else if (what < 78)
		do_advise(m, first, pages);
	else if (what < 86)
		do_sync(m, first, pages);
	else if (what < 89)
		do_fixed(m, first, pages);
	else if (what < 96)
		do_write();
	else if (what < 99)
		do_punch();
	else
		do_fork(m, first);
	check_all();
}

int main(int argc, char **argv)
{
	unsigned long steps;

	if (argc != 4) {
		fputs("calls FILE STEPS SEED\n", stderr);
		return 2;
	}
	steps = strtoul(argv[2], NULL, 10);
	seed = strtoul(argv[3], NULL, 10);
	rng = seed * 2654435761U + 88172645463325252U;
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	must(fd >= 0 && !ftruncate(fd, sizeof(copy)), argv[1]);
	for (; step < steps; step++)
		one_step();
	while (count)
		do_unmap(maps, 0, maps[0].count);
	printf("%lu steps agree\n", steps);
	return 0;
}
