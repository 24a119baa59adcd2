/*
 * A program with maps, for scripts. Each fact is a line on standard output; what is not as it has to be goes to
 * standard error, with status 1.
 *
 *	map_client basic FILE [CACHED]
 *		a map for writing, a plain program's read() and write() beside it; CACHED: the map need not be direct
 *	map_client fork FILE
 *		parent and child with one map
 *	map_client faults FILE LENGTH
 *		touch all of it, say what that took and how it is mapped ("faults N", "pmd_kib N", "rss_kib N",
 *		"page_shift N", "mapped"); at the next line of input map no more than half of it ("half"), at the next
 *		none
 *	map_client hold FILE LENGTH WRITE [closed]
 *		map [0, LENGTH) (WRITE: 1 stores too), say "mapped ADDRESS PID"; closed: close every descriptor then.
 *		Then answer lines of standard input: load OFF; store OFF VALUE; query OFF; sync; unmap; quit.
 *		A load or store that raises SIGBUS is answered "sigbus".
 *	map_client many DIRECTORY COUNT LENGTH
 *		map [0, LENGTH) of the files 0 to COUNT - 1 of the directory for loads, load a byte of each page, say
 *		"mapped PID"; end when standard input does
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client_util.h"

#define LENGTH	(4UL << 20)
#define STEP	4099UL		/* meets every page, at another offset */

static const char *kind_name(uint32_t kind)
{
	static const char *const names[] = { "?", "direct", "zero", "cached", "beyond", "lost", "asked" };

	return names[kind < sizeof(names) / sizeof(names[0]) ? kind : 0];
}

static void expect_kind(struct inodax_map *m, size_t length, uint32_t kind)
{
	for (size_t at = 0; at < length; ) {
		struct inodax_query q = query_at(m, at);

		if (q.kind != kind)
			fail("offset %zu is %s (%s), has to be %s", at, kind_name(q.kind), q.reason, kind_name(kind));
		at = q.offset + q.length;
	}
}

static uint8_t pattern(size_t at, unsigned int seed)
{
	return (uint8_t)(at / STEP * 7 + seed);
}

static void expect_pattern(const volatile uint8_t *at, unsigned int seed, const char *who)
{
	for (size_t i = 0; i < LENGTH; i += STEP)
		if (at[i] != pattern(i, seed))
			fail("%s: byte %zu is %u, has to be %u", who, i, at[i], pattern(i, seed));
}

/* ---- basic ------------------------------------------------------------------------------------------------ */

static int basic(const char *path, bool direct)
{
	int fd = open_file(path, O_RDWR | O_CREAT);
	struct inodax_map *m;
	uint8_t *buffer = calloc(1, LENGTH);
	volatile uint8_t *at;

	if (!buffer)
		fail("no memory");
	must_do(ftruncate(fd, LENGTH), "ftruncate");
	must_do(fallocate(fd, 0, 0, LENGTH), "fallocate");
	must_do(inodax_map(fd, 0, LENGTH, INODAX_MAP_WRITE | (direct ? INODAX_MAP_REQUIRE : 0), &m), "inodax_map");
	at = inodax_map_address(m);
	if (direct)
		expect_kind(m, LENGTH, INODAX_DIRECT);
	puts(kind_name(query_at(m, 0).kind));

	for (size_t i = 0; i < LENGTH; i += STEP)
		at[i] = pattern(i, 1);
	must_do(inodax_sync(m, 0, LENGTH), "inodax_sync");
	if (pread(fd, buffer, LENGTH, 0) != (ssize_t)LENGTH)
		fail("pread: %s", strerror(errno));
	expect_pattern(buffer, 1, "read() after stores");
	puts("read() sees stores");

	for (size_t i = 0; i < LENGTH; i += STEP)
		buffer[i] = pattern(i, 2);
	if (pwrite(fd, buffer, LENGTH, 0) != (ssize_t)LENGTH)
		fail("pwrite: %s", strerror(errno));
	expect_pattern(at, 2, "loads after write()");
	puts("loads see write()");
	if (direct)
		expect_kind(m, LENGTH, INODAX_DIRECT);
	must_do(inodax_unmap(m), "inodax_unmap");
	close(fd);
	free(buffer);
	puts("unmapped");
	return 0;
}

/* ---- fork ------------------------------------------------------------------------------------------------- */

/* Direct once more, within 20 s: the library gets to it by itself. */
static void until_direct(struct inodax_map *m, const char *who)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	int i;

	for (i = 0; i < 2000 && query_at(m, 0).kind != INODAX_DIRECT; i++)
		nanosleep(&pause, NULL);
	if (i == 2000)
		fail("%s: not direct 20 s after the fork: %s", who, query_at(m, 0).reason);
}

static void fork_child(struct inodax_map *m, volatile uint8_t *at)
{
	expect_pattern(at, 3, "the child");
	at[1] = 17;
	until_direct(m, "the child");
	expect_pattern(at, 3, "the child, direct");
	if (at[1] != 17)
		fail("the child lost what it stored");
	at[2] = 18;
	must_do(inodax_unmap(m), "inodax_unmap");
	_exit(0);
}

static int fork_file(const char *path)
{
	int fd = open_file(path, O_RDWR | O_CREAT), status;
	struct inodax_map *m;
	volatile uint8_t *at;
	pid_t pid;

	must_do(ftruncate(fd, LENGTH), "ftruncate");
	must_do(inodax_map(fd, 0, LENGTH, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE, &m), "inodax_map");
	close(fd);
	at = inodax_map_address(m);
	for (size_t i = 0; i < LENGTH; i += STEP)
		at[i] = pattern(i, 3);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (!pid)
		fork_child(m, at);
	expect_pattern(at, 3, "the parent");
	if (waitpid(pid, &status, 0) != pid || status)
		fail("the child ended with status %d", status);
	puts("the child has the map");
	if (at[1] != 17 || at[2] != 18)
		fail("the parent does not see what the child stored");
	until_direct(m, "the parent");
	expect_pattern(at, 3, "the parent, direct");
	if (at[1] != 17 || at[2] != 18)
		fail("the parent, direct, does not see what the child stored");
	must_do(inodax_unmap(m), "inodax_unmap");
	puts("the parent has the map");
	return 0;
}

/* ---- faults ----------------------------------------------------------------------------------------------- */

/* Sum of a field of /proc/self/smaps over what is mapped in [at, at + length). */
static uint64_t smaps_kib(const char *field, uintptr_t at, size_t length)
{
	char line[4096], *rest;
	uint64_t sum = 0, from, to, kib;
	bool within = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	if (!f)
		fail("/proc/self/smaps: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		from = strtoull(line, &rest, 16);
		if (rest > line + 4 && *rest == '-') {
			to = strtoull(rest + 1, NULL, 16);
			within = from >= at && to <= at + length;
		} else if (within && strncmp(line, field, strlen(field)) == 0) {
			kib = strtoull(line + strlen(field) + 1, NULL, 10);
			sum += kib;
		}
	}
	fclose(f);
	return sum;
}

static uint64_t minor_faults(void)
{
	struct rusage u;

	must_do(getrusage(RUSAGE_SELF, &u), "getrusage");
	return (uint64_t)u.ru_minflt;
}

/* Of these stores alone: a sanitizer has memory of its own to touch for each. */
static __attribute__((noinline, no_sanitize("address"), no_sanitize("thread")))
void touch_all(volatile uint8_t *at, size_t length)
{
	for (size_t i = 0; i < length; i += 4096)
		at[i] = 1;
}

/* All of a file is touched; then half of it, and the rest, is given back. */
static int faults(const char *path, size_t length)
{
	int fd = open_file(path, O_RDWR | O_CREAT);
	struct inodax_map *m, *half;
	volatile uint8_t *at;
	uint64_t before;

	must_do(ftruncate(fd, (off_t)length), "ftruncate");
	must_do(fallocate(fd, 0, 0, (off_t)length), "fallocate");
	must_do(inodax_map(fd, 0, length / 2, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE, &half), "inodax_map");
	must_do(inodax_unmap(half), "inodax_unmap");
	must_do(inodax_map(fd, 0, length, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE, &m), "inodax_map");
	at = inodax_map_address(m);
	before = minor_faults();
	touch_all(at, length);
	printf("faults %" PRIu64 "\n", minor_faults() - before);
	printf("pmd_kib %" PRIu64 "\n", smaps_kib("ShmemPmdMapped", (uintptr_t)at, length));
	printf("rss_kib %" PRIu64 "\n", smaps_kib("Rss", (uintptr_t)at, length));
	printf("page_shift %u\n", query_at(m, 0).page_shift);
	printf("mapped\n");
	getchar();
	must_do(inodax_map(fd, 0, length / 2, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE, &half), "inodax_map");
	must_do(inodax_unmap(m), "inodax_unmap");
	printf("half\n");
	getchar();
	must_do(inodax_unmap(half), "inodax_unmap");
	return 0;
}

/* ---- hold ------------------------------------------------------------------------------------------------- */

static sigjmp_buf out_of_sigbus;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(out_of_sigbus, 1);
}

/* One access; the answer is its line. */
static void touch(volatile uint8_t *at, const char *verb, uint8_t value)
{
	if (sigsetjmp(out_of_sigbus, 1)) {
		puts("sigbus");
	} else if (*verb == 'l') {
		value = *at;
		printf("%u\n", value);
	} else {
		*at = value;
		puts("stored");
	}
}

static bool answer(struct inodax_map **m, size_t length, const char *line)
{
	size_t offset = 0;
	unsigned int value = 0;
	char verb[16] = "";
	int n = sscanf(line, "%15s %zu %u", verb, &offset, &value);

	if (!strcmp(verb, "quit"))
		return false;
	if (!*m || offset >= length) {
		puts("error");
	} else if ((!strcmp(verb, "load") && n == 2) || (!strcmp(verb, "store") && n == 3)) {
		touch((volatile uint8_t *)inodax_map_address(*m) + offset, verb, (uint8_t)value);
	} else if (!strcmp(verb, "query") && n == 2) {
		struct inodax_query q = query_at(*m, offset);

		printf("%s %" PRIu64 " %" PRIu64 " %u %s\n", kind_name(q.kind), q.offset, q.length, q.page_shift,
		       q.reason);
	} else if (!strcmp(verb, "sync")) {
		printf("sync %d\n", inodax_sync(*m, 0, length));
	} else if (!strcmp(verb, "unmap")) {
		printf("unmap %d\n", inodax_unmap(*m));
		*m = NULL;
	} else {
		puts("error");
	}
	return true;
}

static int hold(const char *path, size_t length, bool write, bool closed)
{
	struct sigaction sa = { .sa_handler = on_sigbus };
	int fd = open_file(path, write ? O_RDWR : O_RDONLY);
	struct inodax_map *m;
	char line[128];

	must_do(sigaction(SIGBUS, &sa, NULL), "sigaction");
	must_do(inodax_map(fd, 0, length, write ? INODAX_MAP_WRITE : 0, &m), "inodax_map");
	close(fd);
	for (fd = 3; closed && fd < 1024; fd++)
		close(fd);
	printf("mapped %" PRIxPTR " %d\n", (uintptr_t)inodax_map_address(m), (int)getpid());
	while (fgets(line, sizeof(line), stdin) && answer(&m, length, line))
		;
	return 0;
}

/* ---- many ------------------------------------------------------------------------------------------------- */

static int many(const char *directory, int count, size_t length)
{
	for (int i = 0; i < count; i++) {
		volatile const uint8_t *at;
		struct inodax_map *m;
		struct stat st;
		char path[4096];
		int fd;

		snprintf(path, sizeof(path), "%s/%d", directory, i);
		fd = open_file(path, O_RDONLY);
		must_do(fstat(fd, &st), "fstat");
		must_do(inodax_map(fd, 0, length, INODAX_MAP_REQUIRE, &m), "inodax_map");
		close(fd);
		at = inodax_map_address(m);
		for (size_t off = 0; off < length && off < (size_t)st.st_size; off += 4096)
			(void)at[off];
	}
	printf("mapped %d\n", (int)getpid());
	while (getchar() != EOF)
		;
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(verb, "basic") && argc <= 4)
		return basic(argv[2], argc == 3);
	if (!strcmp(verb, "fork") && argc == 3)
		return fork_file(argv[2]);
	if (!strcmp(verb, "faults") && argc == 4)
		return faults(argv[2], strtoul(argv[3], NULL, 0));
	if (!strcmp(verb, "hold") && (argc == 5 || (argc == 6 && !strcmp(argv[5], "closed"))))
		return hold(argv[2], strtoul(argv[3], NULL, 0), atoi(argv[4]), argc == 6);
	if (!strcmp(verb, "many") && argc == 5)
		return many(argv[2], atoi(argv[3]), strtoul(argv[4], NULL, 0));
	fprintf(stderr, "usage: map_client basic FILE [CACHED] | fork FILE | faults FILE LENGTH | "
		"hold FILE LENGTH WRITE [closed] | many DIRECTORY COUNT LENGTH\n");
	return 2;
}
