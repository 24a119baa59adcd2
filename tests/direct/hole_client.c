/*
 * A program that stores into the holes of its maps. Each verb makes the file, as a hole, checks all it says, and ends
 * with a line on standard output; what is not as it has to be goes to standard error, with status 1. Status 77: holes
 * cannot be mapped directly here, for the reason on standard output.
 *
 *	hole_client random FILE LENGTH COUNT
 *		loads and stores of 8 bytes anywhere, and nothing else gets blocks: "units N", those that were stored to,
 *		at the next line of input unmapped
 *	hole_client system FILE OTHER
 *		read(2) into a hole and write(2) from one
 *	hole_client threads FILE
 *		several threads store to the same blocks at once
 *	hole_client handler FILE
 *		a signal handler stores while the program is in the library
 *	hole_client run FILE
 *		stores one after the other
 *	hole_client fork FILE
 *		parent and child with one map
 *	hole_client closed FILE
 *		every descriptor is closed by the program
 *	hole_client unmap FILE
 *		another thread stores while the map goes
 *	hole_client storm FILE
 *		store until killed; "storing" at the first
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client_util.h"

#define BLOCK		4096UL
#define LENGTH		(64UL << 20)
#define THREADS		8U
#define SHARED		200U		/* blocks that all threads store to */

static int fd = -1;
static size_t unit;		/* what gets blocks at once */

/* All of it is a hole or direct; how many pieces. */
static unsigned int pieces(struct inodax_map *m, size_t length)
{
	unsigned int n = 0;

	for (size_t at = 0; at < length; n++) {
		struct inodax_query q = query_at(m, at);

		if (q.kind != INODAX_DIRECT && q.kind != INODAX_ZERO)
			fail("offset %zu is of kind %u (%s)", at, q.kind, q.reason);
		at = q.offset + q.length;
	}
	return n;
}

static struct inodax_map *map_hole(const char *path, size_t length)
{
	struct inodax_map *m;
	struct inodax_query q;

	fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
	must_do(ftruncate(fd, (off_t)length), "ftruncate");
	must_do(inodax_map(fd, 0, length, INODAX_MAP_WRITE, &m), "inodax_map");
	q = query_at(m, 0);
	if (strstr(q.reason, "userfaultfd")) {
		puts(q.reason);
		exit(77);
	}
	if (q.kind != INODAX_ZERO || q.length != length)
		fail("a hole is of kind %u, %llu bytes of it: %s", q.kind, (unsigned long long)q.length, q.reason);
	unit = 1UL << q.page_shift;
	return m;
}

static volatile uint8_t *at(struct inodax_map *m, size_t offset)
{
	return (volatile uint8_t *)inodax_map_address(m) + offset;
}

static uint64_t blocks(void)
{
	struct stat st;

	must_do(fstat(fd, &st), "fstat");
	return (uint64_t)st.st_blocks * 512 / BLOCK;
}

/* Those of the extent tree are counted too: many extents lie in one. */
static void expect_units(const char *when, uint64_t units)
{
	uint64_t found = blocks(), wanted = units * (unit / BLOCK);

	if (found < wanted || found > wanted + wanted / 64 + 1)
		fail("%s: %llu blocks, have to be %llu", when, (unsigned long long)found, (unsigned long long)wanted);
}

static void expect_byte(struct inodax_map *m, size_t offset, uint8_t wanted)
{
	uint8_t byte, found = *at(m, offset);

	if (found != wanted)
		fail("byte %zu of the map is %u, has to be %u", offset, found, wanted);
	if (pread(fd, &byte, 1, (off_t)offset) != 1 || byte != wanted)
		fail("read() of byte %zu gives %u, has to be %u", offset, byte, wanted);
}

/* ---- random ----------------------------------------------------------------------------------------------- */

static uint64_t state = 88172645463325252ULL;

/* xorshift64 */
static uint64_t random64(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int random_stores(const char *path, size_t length, size_t count)
{
	struct inodax_map *m = map_hole(path, length);
	volatile uint64_t *base = inodax_map_address(m);
	uint64_t *where = calloc(count, sizeof(*where)), value, distinct = 0;

	if (!where)
		fail("no memory");
	for (size_t i = 0; i < count; i++) {
		where[i] = random64() % (length / 8);
		if (base[random64() % (length / 8)])
			fail("a hole is not zero");
	}
	if (blocks())
		fail("loads got %llu blocks", (unsigned long long)blocks());
	for (size_t i = 0; i < count; i++)
		base[where[i]] = where[i] + 1;
	qsort(where, count, sizeof(*where), by_value);
	for (size_t i = 0; i < count; i++) {
		distinct += !i || where[i] * 8 / unit != where[i - 1] * 8 / unit;
		if (base[where[i]] != where[i] + 1)
			fail("word %llu is lost", (unsigned long long)where[i]);
		if (pread(fd, &value, 8, (off_t)where[i] * 8) != 8 || value != where[i] + 1)
			fail("read() does not see word %llu", (unsigned long long)where[i]);
	}
	expect_units("after stores", distinct);
	if (pieces(m, length) < distinct)
		fail("there are %u pieces of %llu units", pieces(m, length), (unsigned long long)distinct);
	printf("units %llu\n", (unsigned long long)distinct);
	getchar();
	must_do(inodax_unmap(m), "inodax_unmap");
	expect_units("after unmap", distinct);
	free(where);
	return 0;
}

/* ---- system ----------------------------------------------------------------------------------------------- */

static int system_calls(const char *path, const char *other)
{
	int in = open(other, O_RDWR | O_CLOEXEC);
	struct inodax_map *m = map_hole(path, LENGTH);
	char bytes[3 * BLOCK];

	if (in < 0 || pread(in, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		fail("%s: %s", other, strerror(errno));
	/* Never touched, touched by a load, and with a block already, in one. */
	if (*at(m, 5 * BLOCK) != 0)
		fail("a hole is not zero");
	*at(m, (1UL << 25) + BLOCK) = 1;
	for (size_t to = 4 * BLOCK + 100; to < LENGTH; to += (1UL << 25) - 4 * BLOCK) {
		if (pread(in, (char *)inodax_map_address(m) + to, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
			fail("read() into a hole at %zu: %s", to, strerror(errno));
		if (memcmp((char *)inodax_map_address(m) + to, bytes, sizeof(bytes)))
			fail("read() into a hole at %zu gives something else", to);
	}
	if (pwrite(in, (char *)inodax_map_address(m) + (40UL << 20), BLOCK, 0) != (ssize_t)BLOCK ||
	    pread(in, bytes, BLOCK, 0) != (ssize_t)BLOCK || bytes[0] || memcmp(bytes, bytes + 1, BLOCK - 1))
		fail("write() from a hole gives no zeros: %s", strerror(errno));
	pieces(m, LENGTH);
	must_do(inodax_unmap(m), "inodax_unmap");
	puts("the kernel loads and stores");
	return 0;
}

/* ---- threads ---------------------------------------------------------------------------------------------- */

static struct inodax_map *shared;
static pthread_barrier_t begin;

/* Even ones load first. */
static void *stores(void *arg)
{
	size_t own = (uintptr_t)arg;

	pthread_barrier_wait(&begin);
	for (size_t i = 0; i < SHARED; i++) {
		volatile uint8_t *byte = at(shared, i * 7 * BLOCK + own);

		if (own % 2 == 0 && *byte)
			fail("thread %zu finds %u", own, *byte);
		*byte = (uint8_t)(i + own);
	}
	return NULL;
}

static int threads(const char *path)
{
	pthread_t thread[THREADS];

	shared = map_hole(path, LENGTH);
	pthread_barrier_init(&begin, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++)
		must_do(-pthread_create(&thread[i], NULL, stores, (void *)(uintptr_t)i), "pthread_create");
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < SHARED * THREADS; i++)
		expect_byte(shared, i / THREADS * 7 * BLOCK + i % THREADS, (uint8_t)(i / THREADS + i % THREADS));
	expect_units("after all threads", unit > 7 * BLOCK ? (SHARED - 1) * 7 * BLOCK / unit + 1 : SHARED);
	pieces(shared, LENGTH);
	must_do(inodax_unmap(shared), "inodax_unmap");
	puts("nothing is lost");
	return 0;
}

/* ---- handler ---------------------------------------------------------------------------------------------- */

#define HANDLED		500U

static _Atomic unsigned int handled;

/* Where a store takes longer than the timer, the program gets on no more before there is nothing left to store. */
static void on_alarm(int sig)
{
	unsigned int n = atomic_load(&handled);

	(void)sig;
	if (n == HANDLED)
		return;
	*at(shared, n * 3 * BLOCK) = 1;
	atomic_store(&handled, n + 1);
}

static int handler(const char *path)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval often = { .it_interval = { .tv_usec = 500 }, .it_value = { .tv_usec = 500 } };

	shared = map_hole(path, LENGTH);
	must_do(sigaction(SIGALRM, &sa, NULL), "sigaction");
	must_do(setitimer(ITIMER_REAL, &often, NULL), "setitimer");
	while (atomic_load(&handled) < HANDLED)
		(void)query_at(shared, 0);
	memset(&often, 0, sizeof(often));
	must_do(setitimer(ITIMER_REAL, &often, NULL), "setitimer");
	for (unsigned int i = 0; i < HANDLED; i++)
		expect_byte(shared, i * 3 * BLOCK, 1);
	must_do(inodax_unmap(shared), "inodax_unmap");
	puts("handlers store");
	return 0;
}

/* ---- run -------------------------------------------------------------------------------------------------- */

static int run(const char *path)
{
	struct inodax_map *m = map_hole(path, LENGTH);
	unsigned int n;

	memset(inodax_map_address(m), 1, LENGTH / 2);
	for (size_t i = 0; i < LENGTH / 2; i += BLOCK)
		expect_byte(m, i + i % 4000, 1);
	expect_byte(m, LENGTH / 2 + (4UL << 20), 0);
	if (blocks() < LENGTH / 2 / BLOCK || blocks() > LENGTH / 2 / BLOCK + 512)
		fail("half of %lu blocks was stored to, there are %llu", LENGTH / BLOCK, (unsigned long long)blocks());
	n = pieces(m, LENGTH);
	if (n > 64)
		fail("%u pieces of a run", n);
	must_do(inodax_unmap(m), "inodax_unmap");
	puts("a run is stored");
	return 0;
}

/* ---- fork ------------------------------------------------------------------------------------------------- */

static void until_byte(struct inodax_map *m, size_t offset, uint8_t wanted)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	int i;

	for (i = 0; i < 2000 && *at(m, offset) != wanted; i++)
		nanosleep(&pause, NULL);
	if (i == 2000)
		fail("byte %zu is %u after 20 s, has to be %u", offset, *at(m, offset), wanted);
}

static void child(struct inodax_map *m)
{
	expect_byte(m, 0, 1);
	*at(m, 5 * BLOCK) = 2;		/* through the page cache: no call of the library before */
	(void)query_at(m, 0);
	*at(m, 9 * BLOCK) = 3;
	until_byte(m, 11 * BLOCK, 4);
	must_do(inodax_unmap(m), "inodax_unmap");
	_exit(0);
}

static int fork_hole(const char *path)
{
	struct inodax_map *m = map_hole(path, LENGTH);
	int status;
	pid_t pid;

	*at(m, 0) = 1;
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (!pid)
		child(m);
	*at(m, 7 * BLOCK) = 5;
	until_byte(m, 5 * BLOCK, 2);
	until_byte(m, 9 * BLOCK, 3);
	*at(m, 11 * BLOCK) = 4;
	if (waitpid(pid, &status, 0) != pid || status)
		fail("the child ended with status %d", status);
	expect_byte(m, 7 * BLOCK, 5);
	must_do(inodax_unmap(m), "inodax_unmap");
	puts("both have the hole");
	return 0;
}

/* ---- closed ----------------------------------------------------------------------------------------------- */

/* What is a hole stays one, and what is stored there is not lost. */
static int closed(const char *path)
{
	struct inodax_map *m = map_hole(path, LENGTH);
	uint8_t byte = 0;

	if (*at(m, 0))
		fail("a hole is not zero");
	for (int i = 3; i < 1024; i++)
		close(i);
	*at(m, 0) = 17;
	*at(m, 3UL << 21) = 18;
	if (*at(m, 5UL << 21))
		fail("a hole is not zero");
	must_do(inodax_sync(m, 0, LENGTH), "inodax_sync");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &byte, 1, 0) != 1 || byte != 17 || pread(fd, &byte, 1, 3L << 21) != 1 || byte != 18)
		fail("a store is lost: %u", byte);
	must_do(inodax_unmap(m), "inodax_unmap");
	puts("nothing is lost");
	return 0;
}

/* ---- unmap, storm ----------------------------------------------------------------------------------------- */

static sigjmp_buf out;
static _Atomic bool storing;

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(out, 1);
}

/* Blocks here and there, until there is no map any more. */
static void *store_on(void *arg)
{
	volatile uint8_t *base = arg;

	if (sigsetjmp(out, 1))
		return NULL;
	for (size_t i = 0;; i++) {
		base[i * 37 % (LENGTH / BLOCK) * BLOCK] = 1;
		atomic_store(&storing, true);
	}
}

static int unmap(const char *path)
{
	struct sigaction sa = { .sa_handler = on_fault };
	struct inodax_map *m = map_hole(path, LENGTH);
	pthread_t thread;

	must_do(sigaction(SIGSEGV, &sa, NULL), "sigaction");
	must_do(-pthread_create(&thread, NULL, store_on, inodax_map_address(m)), "pthread_create");
	while (!atomic_load(&storing))
		sched_yield();
	must_do(inodax_unmap(m), "inodax_unmap");
	pthread_join(thread, NULL);
	puts("unmapped");
	return 0;
}

static void __attribute__((noreturn)) storm(const char *path)
{
	struct inodax_map *m = map_hole(path, LENGTH);

	puts("storing");
	for (;;) {
		for (size_t i = 0; i < LENGTH / BLOCK; i++)
			*at(m, i * 37 % (LENGTH / BLOCK) * BLOCK) = 1;
		must_do(ftruncate(fd, 0), "ftruncate");
		must_do(ftruncate(fd, LENGTH), "ftruncate");
	}
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(verb, "random") && argc == 5)
		return random_stores(argv[2], strtoul(argv[3], NULL, 0), strtoul(argv[4], NULL, 0));
	if (!strcmp(verb, "system") && argc == 4)
		return system_calls(argv[2], argv[3]);
	if (!strcmp(verb, "threads") && argc == 3)
		return threads(argv[2]);
	if (!strcmp(verb, "handler") && argc == 3)
		return handler(argv[2]);
	if (!strcmp(verb, "run") && argc == 3)
		return run(argv[2]);
	if (!strcmp(verb, "fork") && argc == 3)
		return fork_hole(argv[2]);
	if (!strcmp(verb, "closed") && argc == 3)
		return closed(argv[2]);
	if (!strcmp(verb, "unmap") && argc == 3)
		return unmap(argv[2]);
	if (!strcmp(verb, "storm") && argc == 3)
		storm(argv[2]);
	fprintf(stderr, "usage: hole_client random FILE LENGTH COUNT | system FILE OTHER | "
		"threads|handler|run|fork|closed|unmap|storm FILE\n");
	return 2;
}
