/*
 * Rows about what becomes of the file that is mapped: closed, unlinked, cut, extended, punched, written to.
 */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- Without a descriptor, without a name ------------------------------------------------------------------- */

static void close_mapped(void)
{
	char *at;

	fill();
	at = map(PAGES, RW);
	close(fd);
	store(at, 3, 99);
	store(at, 4, 98);
	fd = open(name, O_RDWR | O_CLOEXEC);
	must(fd >= 0, "open");
	file_has(3, 99);
	file_has(4, 98);
	file_has(5, 6);
	unmap(at, PAGES);
	file_has(3, 99);
}

#define BIG_PAGES	(4 * LARGE_PAGES)

/* Of the filesystem, by a file that stays. Whoever frees blocks by and by gets ten seconds. */
static void becomes_free(int by, long needed)
{
	int was = fd, tries = 100;

	fd = by;
	while (free_blocks() < needed && tries--)
		usleep(100000);
	wanted(free_blocks() >= needed, "%ld blocks are free after the last munmap, %ld were before", free_blocks(),
	       needed);
	fd = was;
}

static void unlink_mapped(void)
{
	size_t length = (size_t)(strrchr(name, '/') - name);
	char path[PATH_MAX];
	int dir, file = fd;
	long before, held;
	char *at;

	memcpy(path, name, length);
	path[length] = 0;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir >= 0, path);
	fd = dir;
	before = free_blocks();
	fd = file;
	allocate(BIG_PAGES * PAGE);
	at = map(BIG_PAGES, RW);
	store(at, 3, 99);
	must(!unlink(name), "unlink");
	close(fd);
	fd = dir;
	has(at, 3, 99);
	store(at, 4, 98);
	has(at, 4, 98);
	has(at, 5, 0);
	held = before - free_blocks();
	/* But for what the name took, and a file of the row before that is let go of meanwhile. */
	wanted(held >= (long)(BIG_PAGES - 2 * PAGES) * 8, "a file that is mapped holds %ld blocks, has %lu", held,
	       BIG_PAGES * 8);
	unmap(at, BIG_PAGES);
	becomes_free(dir, before);
}

const struct row life_rows[] = {
	{ "11", "close-mapped", close_mapped, true },
	{ "12", "unlink-mapped", unlink_mapped, true },
	{ NULL, NULL, NULL, false },
};

/* ---- Where it ends ------------------------------------------------------------------------------------------ */

static void truncate_mapped(void)
{
	char *at = map(2, RW);

	raises(SIGBUS, BUS_ADRERR, at, false);
	raises(SIGBUS, BUS_ADRERR, at, true);
	cut(1);
	same(at[0], 0, "the byte that an empty file got");
	unmap(at, 2);
	fill();
	at = map(PAGES, RW);
	has(at, 3, 4);
	cut(0);
	raises(SIGBUS, BUS_ADRERR, at + 3 * PAGE, false);
	raises(SIGBUS, BUS_ADRERR, at + 4 * PAGE, true);
	cut(PAGES * PAGE);
	has(at, 3, 0);
	has(at, 4, 0);
	unmap(at, PAGES);
}

static void truncate_inside(void)
{
	char *at;

	fill();
	at = map(PAGES, RW);
	store(at, 11, 12);
	cut(10 * PAGE + 100);
	has(at, 9, 10);
	same(at[10 * PAGE + 99], 11, "the last byte");
	same(at[10 * PAGE + 100], 0, "the byte after it");
	same(at[11 * PAGE - 1], 0, "the last byte of the last page");
	raises(SIGBUS, BUS_ADRERR, at + 11 * PAGE, false);
	raises(SIGBUS, BUS_ADRERR, at + 63 * PAGE, true);
	cut(PAGES * PAGE);
	same(at[10 * PAGE + 99], 11, "what was the last byte");
	same(at[10 * PAGE + 100], 0, "what was the byte after it");
	has(at, 11, 0);
	unmap(at, PAGES);
	cut(0);
	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)stores(at, LARGE_PAGES, 5);
	cut(LARGE / 2);
	same(at[LARGE / 2 - PAGE], 5, "what was stored before the cut");
	raises(SIGBUS, BUS_ADRERR, at + LARGE / 2, false);
	unmap(at, LARGE_PAGES);
}

static void truncate_other_range(void)
{
	char *at;

	fill();
	cut(4 * LARGE);
	at = map(PAGES, RW);
	(void)stores(at, PAGES, 9);
	cut(3 * LARGE);
	/* All of the file is unmapped; layout=inodax unmaps what was cut. */
	same(stores(at, PAGES, 9) != 0, differs(true, false), "faults after a cut elsewhere");
	unmap(at, PAGES);
}

static void beyond_eof(void)
{
	char *at;

	fill();
	cut(10 * PAGE + 100);
	at = map(13, RW);
	same(at[10 * PAGE + 100], 0, "the first byte behind the end");
	at[10 * PAGE + 200] = 77;
	same(at[10 * PAGE + 200], 77, "what was stored behind the end");
	raises(SIGBUS, BUS_ADRERR, at + 11 * PAGE, false);
	raises(SIGBUS, BUS_ADRERR, at + 12 * PAGE, true);
	must(!msync(at, 11 * PAGE, MS_SYNC), "msync");
	same(at[10 * PAGE + 200], 77, "the same after msync");
	unmap(at, 13);
	same(seek(SEEK_END, 0), 10 * PAGE + 100, "the size");
	at = map_of(fd, 20, 1, RW, MAP_SHARED);
	raises(SIGBUS, BUS_ADRERR, at, false);
	unmap(at, 1);
	must(!fallocate(fd, FALLOC_FL_KEEP_SIZE, 20 * PAGE, PAGE), "fallocate, KEEP_SIZE");
	at = map_of(fd, 20, 1, RW, MAP_SHARED);
	raises(SIGBUS, BUS_ADRERR, at, true);
	unmap(at, 1);
}

static void by_truncate(void)
{
	cut(2 * PAGE);
}

static void by_write(void)
{
	must(pwrite(fd, "x", 1, 2 * PAGE - 1) == 1, "pwrite");
}

static void by_fallocate(void)
{
	must(!fallocate(fd, 0, 0, 2 * PAGE), "fallocate");
}

/* What was stored behind the end is zeros once the file goes on there. */
static void extend_after_tail_store(void)
{
	static void (*const extend[])(void) = { by_truncate, by_write, by_fallocate };

	for (size_t i = 0; i < sizeof(extend) / sizeof(*extend); i++) {
		char *at, c = 1;

		cut(0);
		cut(100);
		put(0, 1);
		cut(100);
		at = map(1, RW);
		at[200] = 77;
		extend[i]();
		must(pread(fd, &c, 1, 200) == 1, "pread");
		same(c, 0, "read() of what was stored behind the end");
		same(at[200], 0, "the same in the map");
		same(at[99], 1, "the last byte before it");
		unmap(at, 1);
	}
}

/* ---- Races -------------------------------------------------------------------------------------------------- */

#define ROUNDS	300U

static atomic_bool over;
static char *shared;

/* Stores to each page what is not zero, and finds zero or that. Beyond the end: SIGBUS, which raises() has to see. */
static void *stores_and_loads(void *arg)
{
	volatile unsigned char *at = (volatile unsigned char *)shared;

	for (unsigned int i = 0; !atomic_load(&over); i++) {
		volatile unsigned char *p = at + (i % PAGES) * PAGE;
		unsigned char value = (unsigned char)(1 + i % 255), found;

		*p = value;
		found = *p;
		if (found && found != value)
			return (void *)p;
	}
	return arg;
}

static void punch_vs_fault(void)
{
	pthread_t thread;
	void *said;

	cut(PAGES * PAGE);
	shared = map(PAGES, RW);
	atomic_store(&over, false);
	must(!pthread_create(&thread, NULL, stores_and_loads, NULL), "pthread_create");
	for (unsigned int i = 0; i < ROUNDS; i++)
		punch(i % PAGES, 1 + i % 7 < PAGES - i % PAGES ? 1 + i % 7 : 1);
	atomic_store(&over, true);
	pthread_join(thread, &said);
	wanted(!said, "a load at %p finds neither zero nor what was stored last", said);
	punch(0, PAGES);
	/* A store that was waiting when its hole was punched may be told of twice: inodax gives it zeros once more. */
	if (where != ON_INODAX)
		same(seek(SEEK_DATA, 0), -ENXIO, "SEEK_DATA after the last punch");
	for (size_t i = 0; i < PAGES; i++)
		has(shared, i, 0);
	unmap(shared, PAGES);
}

/* In a process of its own, where nothing but this gets a SIGBUS. */
static void on_bus(int sig)
{
	(void)sig;
	_exit(0);
}

static void store_to_the_end(struct peer *p)
{
	char *at = map(PAGES, RW);

	peer_stop(p);
	signal(SIGBUS, on_bus);
	for (unsigned int i = 0; i < 1000000; i++)
		*(volatile char *)(at + (i % PAGES) * PAGE) = 1;
}

static void fault_vs_truncate(void)
{
	for (unsigned int i = 0; i < 6; i++) {
		struct peer p;

		fill();
		peer_start(&p, store_to_the_end);
		peer_run(&p);
		cut((i % 4) * PAGE);
		for (unsigned int n = 0; n < 20; n++) {
			/* What the other stores beyond the end is not to be there when the file goes on. */
			char c = 7;

			cut(2 * PAGES * PAGE);
			must(pread(fd, &c, 1, (off_t)((PAGES + n) * PAGE)) == 1, "pread");
			same(c, 0, "a byte that nobody stored");
			cut((i % 4) * PAGE);
		}
		peer_end(&p);
		cut(PAGES * PAGE);
		for (size_t n = 4; n < PAGES; n++)
			file_has(n, 0);
	}
}

const struct row end_rows[] = {
	{ "15", "truncate-mapped", truncate_mapped, true },
	{ "16", "truncate-inside", truncate_inside, true },
	{ "17", "truncate-other-range", truncate_other_range, false },
	{ "58", "beyond-eof", beyond_eof, true },
	{ "59", "extend-after-tail-store", extend_after_tail_store, false },
	{ "60", "fault-vs-truncate", fault_vs_truncate, true },
	{ "61", "punch-vs-fault", punch_vs_fault, true },
	{ NULL, NULL, NULL, false },
};

/* ---- Written to, punched ------------------------------------------------------------------------------------ */

static void write_vs_mmap(void)
{
	char *at;

	fill();
	at = map(PAGES, RW);
	has(at, 3, 4);
	put(3, 50);
	has(at, 3, 50);
	store(at, 4, 51);
	file_has(4, 51);
	store(at, 3, 52);
	file_has(3, 52);
	unmap(at, PAGES);
}

static void write_over_mapped_hole(void)
{
	char *at, *other_map;

	cut(LARGE);
	at = map(LARGE_PAGES, RW);
	other_map = map_of(fd, 0, LARGE_PAGES, PROT_READ, MAP_PRIVATE);
	(void)loads(at, LARGE_PAGES);
	(void)loads(other_map, LARGE_PAGES);
	put(3, 50);
	has(at, 3, 50);
	has(other_map, 3, 50);
	has(at, 2, 0);
	store(at, 4, 51);
	file_has(4, 51);
	has(other_map, 4, 51);
	unmap(at, LARGE_PAGES);
	unmap(other_map, LARGE_PAGES);
}

static void o_direct_on_dax(void)
{
	int direct = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
	char bytes[300], *at;

	must(direct >= 0, "open, O_DIRECT");
	fill();
	at = map(PAGES, RW);
	store(at, 3, 50);
	must(pread(direct, bytes + 1, 200, 3 * PAGE - 100) == 200, "pread of no whole blocks");
	same(bytes[1], 3, "a byte before");
	same(bytes[200], 50, "what was stored");
	memset(bytes, 51, sizeof(bytes));
	must(pwrite(direct, bytes + 1, 299, 4 * PAGE + 7) == 299, "pwrite of no whole blocks");
	same(at[4 * PAGE + 6], 5, "the byte before what was written");
	same(at[4 * PAGE + 7], 51, "what was written");
	same(at[4 * PAGE + 306], 5, "the byte after");
	unmap(at, PAGES);
	close(direct);
}

static void punch_mapped(void)
{
	long before;
	char *at;

	fill();
	before = blocks();
	at = map(PAGES, RW);
	(void)stores(at, PAGES, 9);
	punch(8, 16);
	same_blocks(before - blocks(), 16 * 8, "st_blocks that are free");
	/* As in 5.61: inodax may give zeros to what is a hole. */
	if (where != ON_INODAX)
		same(seek(SEEK_HOLE, 0), 8 * PAGE, "SEEK_HOLE");
	has(at, 8, 0);
	has(at, 23, 0);
	same(at[24 * PAGE], 9, "what was stored behind");
	store(at, 9, 33);
	file_has(9, 33);
	has(at, 10, 0);
	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 30 * PAGE + 100, 2 * PAGE), "fallocate");
	same(at[30 * PAGE + 1], 31, "a byte before it");
	same(at[30 * PAGE + 99], 31, "the byte before it");
	same(at[30 * PAGE + 100], 0, "its first byte");
	same(at[32 * PAGE + 99], 0, "its last byte");
	same(at[32 * PAGE + 100], 33, "the byte after it");
	unmap(at, PAGES);
}

static void punch_in_large(void)
{
	char *at;
	long n = 0;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)stores(at, LARGE_PAGES, 9);
	punch(100, 1);
	for (size_t i = 0; i < LARGE_PAGES; i++)
		n += at[i * PAGE] == 9;
	same(n, LARGE_PAGES - 1, "pages that are as they were");
	has(at, 100, 0);
	unmap(at, LARGE_PAGES);
}

static void punch_rows(void)
{
	punch_mapped();
	cut(0);
	punch_in_large();
}

static void zero_range(void)
{
	long before;
	char *at;

	fill();
	before = blocks();
	at = map(PAGES, RW);
	(void)loads(at, PAGES);
	must(!fallocate(fd, FALLOC_FL_ZERO_RANGE, 8 * PAGE + 100, 8 * PAGE), "fallocate, ZERO_RANGE");
	same(at[8 * PAGE + 99], 9, "the byte before it");
	same(at[8 * PAGE + 100], 0, "its first byte");
	has(at, 9, 0);
	same(at[16 * PAGE + 99], 0, "its last byte");
	same(at[16 * PAGE + 100], 17, "the byte after it");
	same_blocks(blocks(), before, "st_blocks");
	store(at, 9, 44);
	file_has(9, 44);
	has(at, 10, 0);
	unmap(at, PAGES);
}

/* SIGBUS where the filesystem is full, and all is as it was; with room again it is stored to. */
static void enospc_fault(void)
{
	size_t length = strlen(name) + sizeof(".full");
	char *full = malloc(length), *at, bytes[PAGE] = { 0 };
	int filler;
	ssize_t n;

	must(full, "malloc");
	snprintf(full, length, "%s.full", name);
	filler = open(full, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	must(filler >= 0, full);
	put(0, 1);
	cut(PAGES * PAGE);
	at = map(PAGES, RW);
	for (size_t size = 1UL << 24; size >= PAGE; size /= 2)
		for (off_t end = 0; end >= 0; )
			if (fallocate(filler, 0, end = lseek(filler, 0, SEEK_END), (off_t)size))
				end = -1;
	do
		n = write(filler, bytes, PAGE);
	while (n > 0);
	fails(n < 0, ENOSPC, "write");
	fails(pwrite(fd, bytes, PAGE, 5 * PAGE) != PAGE, ENOSPC, "pwrite to the hole");
	raises(SIGBUS, BUS_ADRERR, at + 7 * PAGE, true);
	has(at, 0, 1);
	store(at, 0, 2);
	close(filler);
	must(!unlink(full), "unlink");
	becomes_free(fd, 1024);
	/* inodax asks again after a second: the kernel stores first, whom that does not kill. */
	for (int tries = 50; pread(fd, at + 7 * PAGE, 1, 0) != 1 && where == ON_INODAX && tries; tries--)
		usleep(100000);
	store(at, 7, 8);
	file_has(7, 8);
	file_has(0, 2);
	unmap(at, PAGES);
	free(full);
}

const struct row write_rows[] = {
	{ "35", "write-vs-mmap", write_vs_mmap, true },
	{ "36", "write-over-mapped-hole", write_over_mapped_hole, true },
	{ "37", "O_DIRECT on DAX file", o_direct_on_dax, true },
	{ "42", "punch-mapped", punch_rows, true },
	{ "43", "zero-range", zero_range, false },
	{ "53", "enospc-fault", enospc_fault, true },
	{ NULL, NULL, NULL, false },
};
