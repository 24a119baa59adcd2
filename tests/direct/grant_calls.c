/*
 * The daemon's side of direct mappings, asked by a client without a library (raw_client.h).
 *
 *	grant_calls errors DIR		each error of direct.h
 *	grant_calls shape DIR		what FAULT answers, and that it is the file
 *	grant_calls revocations DIR		what takes ranges back; answers that come, come late, or are nonsense
 *	grant_calls full FILE		in a pool of units of 2 MiB, of which none is free: what has blocks is said to be cached,
 *					and not that there is no room, when it is stored to
 *	grant_calls hold FILE MIB	map, store a pattern, say "held" and with what entries; at each line of standard
 *					input say whether it is there ("whole" or "changed"), at its end leave
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "raw_client.h"

/* ThreadSanitizer keeps several bytes for each that is mapped. */
#ifdef __SANITIZE_THREAD__
#define SPARSE_BYTES	(1UL << 33)
#else
#define SPARSE_BYTES	(1UL << 40)
#endif

#define KIB4		4096UL
#define MIB		(1UL << 20)

static char path[4096];
static sigjmp_buf fault;

static const char *in(const char *dir, const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(fault, 1);
}

/* What another thread maps anew is accessed here meanwhile: that is the point, and no race to be found. */
#define MAPPED	__attribute__((noinline, no_sanitize("thread")))

/* -1: SIGBUS. */
static MAPPED int load(const volatile char *p)
{
	return sigsetjmp(fault, 1) ? -1 : (unsigned char)*p;
}

static MAPPED uint64_t load64(const volatile char *p)
{
	return *(const volatile uint64_t *)p;
}

static MAPPED void store64(volatile char *p, uint64_t value)
{
	*(volatile uint64_t *)p = value;
}

static MAPPED void fill(volatile char *p, char c, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		p[i] = c;
}

static void make(const char *file, uint64_t size, bool blocks)
{
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || ftruncate(fd, (off_t)size) || (blocks && size && fallocate(fd, 0, 0, (off_t)size)))
		raw_die("%s: %s", file, strerror(errno));
	close(fd);
}

static uint64_t blocks_of(int fd)
{
	struct stat st;

	must(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Errors ------------------------------------------------------------------------------------------------- */

static void open_errors(const char *dir)
{
	struct raw r = { .fd = open(dir, O_RDONLY | O_DIRECTORY) };
	struct direct_open again;

	r.open.version = DIRECT_VERSION;
	must(raw_ioctl(&r, DIRECT_IOC_OPEN, &r.open), -ENOTTY);
	close(r.fd);
	make(in(dir, "f"), MIB, true);
	must(raw_open(&r, path, O_WRONLY), -EOPNOTSUPP);
	close(r.fd);
	must(raw_open(&r, path, O_RDWR), 0);
	again = (struct direct_open){ .version = DIRECT_VERSION };
	must(raw_ioctl(&r, DIRECT_IOC_OPEN, &again), -EBUSY);
	close(r.fd);
	r.fd = open(path, O_RDWR);
	again = (struct direct_open){ .version = DIRECT_VERSION + 1 };
	must(raw_ioctl(&r, DIRECT_IOC_OPEN, &again), -EPROTO);
	again = (struct direct_open){ .version = DIRECT_VERSION, .flags = 1 };
	must(raw_ioctl(&r, DIRECT_IOC_OPEN, &again), -EINVAL);
	close(r.fd);
}

static void start_errors(const char *dir)
{
	struct direct_start start;
	struct direct_map map;
	struct raw r;

	must(raw_open(&r, in(dir, "f"), O_RDWR), 0);
	start.name = r.open.name;
	must(raw_ioctl(&r, DIRECT_IOC_START, &start), -EACCES);	/* nothing is locked */
	map = (struct direct_map){ .name = r.open.name, .length = KIB4 };
	must(raw_ioctl(&r, DIRECT_IOC_MAP, &map), -EINVAL);
	raw_lock(&r);
	start.name.token[7] ^= 1;
	must(raw_ioctl(&r, DIRECT_IOC_START, &start), -EACCES);
	start.name = r.open.name;
	start.name.number++;
	must(raw_ioctl(&r, DIRECT_IOC_START, &start), -EACCES);
	start.name = r.open.name;
	must(raw_ioctl(&r, DIRECT_IOC_START, &start), 0);
	must(raw_ioctl(&r, DIRECT_IOC_START, &start), -EINVAL);
	raw_close(&r);
}

static int map_of(struct raw *r, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct direct_map map = { .name = r->open.name, .offset = offset, .length = length, .flags = flags };

	return raw_ioctl(r, DIRECT_IOC_MAP, &map);
}

static void map_errors(const char *dir)
{
	struct raw r;

	raw_start(&r, in(dir, "f"), O_RDONLY);
	must(map_of(&r, 0, KIB4, DIRECT_WRITE), -EBADF);
	must(map_of(&r, 1, KIB4, 0), -EINVAL);
	must(map_of(&r, 0, 0, 0), -EINVAL);
	must(map_of(&r, 0, KIB4, 4), -EINVAL);
	must(map_of(&r, 1UL << 63, KIB4, 0), -EINVAL);
	must(map_of(&r, 0, UINT64_MAX, 0), -EINVAL);
	raw_close(&r);
	make(in(dir, "holes"), 1024 * MIB, false);
	raw_start(&r, path, O_RDWR);
	must(map_of(&r, 0, 1024 * MIB, DIRECT_WRITE), -EFBIG);	/* hole_limit=256 */
	must(map_of(&r, 0, 256 * MIB, DIRECT_WRITE), 0);
	must(map_of(&r, 0, 1024 * MIB, 0), 0);
	raw_close(&r);
}

static int fault_of(struct raw *r, uint32_t area, uint64_t offset, uint64_t length, uint64_t address)
{
	static struct direct_fault f;

	f = (struct direct_fault){
		.name = r->open.name, .area = area, .offset = offset, .length = length, .address = address,
	};
	return raw_ioctl(r, DIRECT_IOC_FAULT, &f);
}

static void fault_errors(const char *dir)
{
	struct raw r;

	raw_start(&r, in(dir, "f"), O_RDWR);
	must(raw_map(&r, MIB, DIRECT_WRITE), 0);
	must(fault_of(&r, r.map.area + 1, 0, MIB, 0), -EINVAL);
	must(fault_of(&r, r.map.area, 0, MIB + 1, 0), -EINVAL);
	must(fault_of(&r, r.map.area, MIB, KIB4, 0), -EINVAL);
	must(fault_of(&r, r.map.area, 0, 0, 0), -EINVAL);
	must(fault_of(&r, r.map.area, 5, KIB4, 0), -EINVAL);
	must(fault_of(&r, r.map.area, 0, KIB4, 5), -EINVAL);
	must(fault_of(&r, r.map.area, 0, MIB, UINT64_MAX & ~(KIB4 - 1)), -EINVAL);
	must(raw_ioctl(&r, DIRECT_IOC_FAULT, &(struct direct_fault){ .name = r.open.name, .area = r.map.area,
								      .length = KIB4, .flags = DIRECT_LOAD }), -EINVAL);
	must(raw_unmap(&r, 0, 2 * KIB4), 0);
	must(raw_ioctl(&r, DIRECT_IOC_UNMAP, &(struct direct_unmap){ .name = r.open.name, .area = r.map.area,
								     .offset = MIB, .length = KIB4 }), -EINVAL);
	must(raw_fault(&r, 0, MIB), DIRECT_MORE);
	/* Asked for again, it is the same, and counted once. */
	must(raw_fault(&r, 0, MIB), DIRECT_MORE);
	raw_close(&r);
	unlink(in(dir, "f"));
	unlink(in(dir, "holes"));
}

/* Many areas, so that numbers are given again and run out. */
static void area_errors(const char *dir)
{
	struct direct_map map;
	unsigned int n;
	struct raw r;

	make(in(dir, "f"), MIB, true);
	raw_start(&r, path, O_RDWR);
	for (n = 0; map_of(&r, 0, KIB4, 0) == 0; n++)
		;
	check(n == 8192);
	must(map_of(&r, 0, KIB4, 0), -ENOSPC);
	must(raw_ioctl(&r, DIRECT_IOC_UNMAP, &(struct direct_unmap){ .name = r.open.name, .area = 77,
								     .length = KIB4 }), 0);
	map = (struct direct_map){ .name = r.open.name, .length = KIB4 };
	must(raw_ioctl(&r, DIRECT_IOC_MAP, &map), 0);
	check(map.area == 77);
	raw_close(&r);
	unlink(path);
}

/* What FAULT says of the unit of 2 MiB. */
static uint32_t stop_of(struct raw *r, uint64_t offset, uint32_t flags)
{
	static struct direct_fault f;

	f = (struct direct_fault){
		.name = r->open.name, .area = r->map.area, .offset = offset, .length = 2 * MIB, .flags = flags,
	};
	must(raw_ioctl(r, DIRECT_IOC_FAULT, &f), 0);
	check(f.count == 0 && f.next == offset);
	return f.stop;
}

/* The file is 6 MiB: one byte is data, some of the next unit is allocated, the last is a hole. */
static int full(const char *file)
{
	struct raw r;

	raw_start(&r, file, O_RDWR);
	check(1UL << r.open.unit_shift == 2 * MIB);
	must(raw_map(&r, 6 * MIB, DIRECT_WRITE | DIRECT_SPARSE), 0);
	check(stop_of(&r, 0, 0) == DIRECT_CACHED);
	check(stop_of(&r, 2 * MIB, 0) == DIRECT_CACHED);
	check(stop_of(&r, 4 * MIB, 0) == DIRECT_NOSPC);
	check(stop_of(&r, 0, DIRECT_LOAD) == DIRECT_NOSPC);
	raw_close(&r);
	return 0;
}

/* ---- Shape -------------------------------------------------------------------------------------------------- */

static void stores_are_the_file_s(const char *dir)
{
	uint64_t value, length = 8 * MIB;
	struct raw r;
	int plain;

	make(in(dir, "f"), length, true);
	plain = open(path, O_RDWR);
	raw_start(&r, path, O_RDWR);
	must(raw_map(&r, length, DIRECT_WRITE), 0);
	must(raw_fault(&r, 0, length), DIRECT_MORE);
	for (uint64_t at = 0; at < length; at += KIB4)
		store64(r.base + at, at + 3);
	for (uint64_t at = 0; at < length; at += 64 * KIB4) {
		must(pread(plain, &value, sizeof(value), (off_t)at), sizeof(value));
		check(value == at + 3);
	}
	value = 4711;
	must(pwrite(plain, &value, sizeof(value), 40), sizeof(value));
	check(load64(r.base + 40) == 4711);
	raw_close(&r);
	close(plain);
	unlink(path);
}

static void holes_read_as_zeros_and_take_nothing(const char *dir)
{
	uint64_t value = 9;
	struct raw r;
	int plain;

	make(in(dir, "f"), 4 * MIB, false);
	plain = open(path, O_RDWR);
	raw_start(&r, path, O_RDONLY);
	must(raw_map(&r, 4 * MIB, 0), 0);
	raw_answer(&r);
	must(raw_fault(&r, 0, 4 * MIB), DIRECT_MORE);
	check(load(r.base) == 0 && load(r.base + 4 * MIB - 1) == 0);
	check(blocks_of(plain) == 0);
	/* Blocks that come are seen. */
	must(pwrite(plain, &value, sizeof(value), 2 * MIB), sizeof(value));
	check(load(r.base + 2 * MIB) == 9);
	raw_close(&r);
	close(plain);
	unlink(path);
}

static void stores_into_holes_get_blocks(const char *dir)
{
	struct raw r;

	make(in(dir, "f"), 4 * MIB, false);
	raw_start(&r, path, O_RDWR);
	must(raw_map(&r, 4 * MIB, DIRECT_WRITE), 0);
	must(raw_fault(&r, 2 * MIB, 16 * KIB4), DIRECT_MORE);
	check(blocks_of(r.fd) == 16 * KIB4 / 512);
	must(raw_fault(&r, 0, 4 * MIB), DIRECT_MORE);
	check(blocks_of(r.fd) == 4 * MIB / 512);
	raw_close(&r);
	unlink(path);
}

static const struct direct_fault *ask(struct raw *r, uint64_t offset, uint64_t length, uint32_t flags)
{
	static struct direct_fault f;

	f = (struct direct_fault){
		.name = r->open.name, .area = r->map.area, .offset = offset, .length = length, .flags = flags,
		.address = (uintptr_t)r->base + offset,
	};
	must(raw_ioctl(r, DIRECT_IOC_FAULT, &f), 0);
	return &f;
}

static void expect_zeros_revoked(struct raw *r, uint32_t number, uint64_t offset)
{
	const struct direct_revoke *v = &r->page->revoke[number % DIRECT_REVOKES];

	check(r->page->posted == number && atomic_load(&r->page->done) == number);
	check(v->offset == offset && v->length == KIB4 && v->flags == DIRECT_REVOKE_ZEROS);
}

/* Whoever fills a hole tells all but itself, before it is told where the blocks are. */
static void a_sparse_area_has_holes_until_it_stores(const char *dir)
{
	uint64_t value = 9, bytes = SPARSE_BYTES;
	const struct direct_fault *f;
	struct raw r, other;

	make(in(dir, "f"), bytes, false);
	raw_start(&r, path, O_RDWR);
	raw_start(&other, path, O_RDWR);
	must(raw_map(&r, bytes, DIRECT_WRITE | DIRECT_SPARSE), 0);
	must(raw_map(&other, bytes, DIRECT_WRITE | DIRECT_SPARSE), 0);
	raw_answer(&r);
	raw_answer(&other);
	f = ask(&r, 0, bytes, DIRECT_LOAD);
	check(f->stop == DIRECT_MORE && f->count == 1);
	check(f->extent[0].type == DIRECT_ZERO && f->extent[0].length == bytes);
	check(blocks_of(r.fd) == 0);
	f = ask(&r, MIB, KIB4, 0);
	check(f->count == 1 && f->extent[0].type == DIRECT_POOL && f->extent[0].length == KIB4);
	check(r.page->posted == 0);
	expect_zeros_revoked(&other, 1, MIB);
	f = ask(&other, 0, 2 * MIB, DIRECT_LOAD);
	check(f->next == 2 * MIB && f->count == 3 && f->extent[1].type == DIRECT_POOL && f->extent[1].offset == MIB);
	must(pwrite(r.fd, &value, sizeof(value), 3 * MIB), sizeof(value));
	expect_zeros_revoked(&r, 1, 3 * MIB);
	expect_zeros_revoked(&other, 2, 3 * MIB);
	/* Nothing is filled, nobody is told. */
	ask(&other, MIB, KIB4, 0);
	must(pwrite(r.fd, &value, sizeof(value), 3 * MIB), sizeof(value));
	must(fallocate(r.fd, 0, 4 * MIB, MIB), 0);
	check(r.page->posted == 1 && other.page->posted == 2);
	raw_close(&other);
	raw_close(&r);
	unlink(path);
}

static void the_end_of_the_file_is_the_end(const char *dir)
{
	struct raw r;

	make(in(dir, "f"), 3 * KIB4 + 5, true);
	raw_start(&r, path, O_RDWR);
	must(raw_map(&r, 8 * KIB4, DIRECT_WRITE), 0);
	raw_answer(&r);
	must(raw_fault(&r, 0, 8 * KIB4), DIRECT_EOF);
	fill(r.base + 3 * KIB4 + 4, 1, 1);
	check(load(r.base + 3 * KIB4 + 4) == 1);
	check(load(r.base + 4 * KIB4) == -1);
	must(ftruncate(r.fd, 6 * KIB4), 0);
	must(raw_fault(&r, 4 * KIB4, 4 * KIB4), DIRECT_EOF);
	check(load(r.base + 4 * KIB4) == 0 && load(r.base + 6 * KIB4) == -1);
	raw_close(&r);
	unlink(path);
}

/* ---- Revocation --------------------------------------------------------------------------------------------- */

static void begin(struct raw *r, const char *dir, uint64_t length)
{
	make(in(dir, "f"), length, true);
	raw_start(r, path, O_RDWR);
	must(raw_map(r, length, DIRECT_WRITE), 0);
	raw_answer(r);
	must(raw_fault(r, 0, length), DIRECT_MORE);
	fill(r->base, 'x', length);
}

static void punched_and_cut_ranges_are_taken_back(const char *dir)
{
	struct raw r;

	begin(&r, dir, 4 * MIB);
	must(fallocate(r.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * KIB4, 4 * KIB4), 0);
	check(atomic_load(&r.revoked) > 0);
	check(load(r.base + 64 * KIB4) == 0 && load(r.base + 68 * KIB4 - 1) == 0);
	check(load(r.base + 63 * KIB4) == 'x' && load(r.base + 68 * KIB4) == 'x');
	must(ftruncate(r.fd, 2 * MIB), 0);
	check(load(r.base + 2 * MIB - 1) == 'x' && load(r.base + 2 * MIB) == -1);
	raw_close(&r);
	unlink(path);
}

/* The page cache and a direct mapping at once would be two files. */
static void a_use_of_the_page_cache_takes_all_back(const char *dir)
{
	struct raw r;
	char *plain;

	begin(&r, dir, 4 * MIB);
	plain = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, 0);
	check(plain != MAP_FAILED);
	check(load(plain + 5) == 'x');
	check(atomic_load(&r.revoked) > 0);
	fill(plain + 5, 'y', 1);
	check(load(r.base + 5) == 'y');		/* which is the page cache now */
	must(raw_fault(&r, 0, 4 * MIB), DIRECT_CACHED);
	munmap(plain, 4 * MIB);
	raw_close(&r);
	unlink(path);
}

/* And when nobody has used it for a while, what it has is brought back first. */
static void what_the_page_cache_has_is_not_lost(const char *dir)
{
	struct raw r;

	begin(&r, dir, 2 * MIB);
	raw_must("the mapping of the file", raw_unmap(&r, 0, 4 * KIB4), 0, __FILE__, __LINE__);
	fill(r.base + 7, 'z', 1);
	must(raw_fault(&r, 0, 2 * MIB), DIRECT_CACHED);
	usleep(1200000);
	must(raw_fault(&r, 0, 2 * MIB), DIRECT_MORE);
	check(load(r.base + 7) == 'z' && load(r.base + 8) == 'x');
	raw_close(&r);
	unlink(path);
}

/* In time, or the bound of the mount (mapper_timeout=2000) and no longer. */
static void a_client_that_does_not_answer_is_waited_for_so_long(const char *dir)
{
	double begun, took;
	struct raw r;

	begin(&r, dir, 4 * MIB);
	atomic_store(&r.deaf, true);
	begun = seconds();
	must(ftruncate(r.fd, 0), 0);
	took = seconds() - begun;
	check(took >= 1.5);
	/* It is silent, and not waited for again. What it maps is its own. */
	check(load(r.base + 5) == 'x');
	must(ftruncate(r.fd, 4 * MIB), 0);
	must(fallocate(r.fd, 0, 0, 4 * MIB), 0);
	check(load(r.base + 5) == 'x');
	atomic_store(&r.deaf, false);
	for (int i = 0; i < 1000 && atomic_load(&r.page->posted) != atomic_load(&r.page->done); i++)
		usleep(10000);
	check(load(r.base + 5) == 0);
	raw_close(&r);
	unlink(path);
}

/* The page is the client's to spoil: it costs him the bound, and nobody anything else. */
static void nonsense_is_no_answer(const char *dir)
{
	double begun;
	struct raw r;

	begin(&r, dir, 2 * MIB);
	atomic_store(&r.deaf, true);
	atomic_store(&r.page->done, r.page->posted + 1000);
	begun = seconds();
	must(ftruncate(r.fd, MIB), 0);
	check(seconds() - begun >= 1.5);
	raw_quiet(&r);				/* the thread would look at it */
	memset(r.page, 0xa5, DIRECT_PAGE_BYTES);
	must(ftruncate(r.fd, MIB / 2), 0);
	must(ftruncate(r.page_fd, 0), 0);
	must(ftruncate(r.fd, 0), 0);
	raw_close(&r);
	unlink(path);
}

/* More revocations than the page has records for. */
static void many_at_once(const char *dir)
{
	struct raw r;

	begin(&r, dir, 4 * MIB);
	atomic_store(&r.deaf, true);
	for (unsigned int i = 0; i < 3 * DIRECT_REVOKES; i++)
		must(fallocate(r.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(i * KIB4), KIB4), 0);
	atomic_store(&r.deaf, false);
	for (int i = 0; i < 1000 && atomic_load(&r.page->posted) != atomic_load(&r.page->done); i++)
		usleep(10000);
	for (unsigned int i = 0; i < 3 * DIRECT_REVOKES; i++)
		check(load(r.base + i * KIB4) == 0);
	check(load(r.base + 3 * DIRECT_REVOKES * KIB4) == 'x');
	raw_close(&r);
	unlink(path);
}

/* ---- Holding ------------------------------------------------------------------------------------------------ */

static uint64_t pattern(uint64_t at)
{
	return at * 0x9e3779b97f4a7c15ULL + 1;
}

static int hold(const char *file, uint64_t length)
{
	bool whole;
	char line[64];
	struct raw r;

	make(file, length, true);
	raw_start(&r, file, O_RDWR);
	must(raw_map(&r, length, DIRECT_WRITE), 0);
	raw_answer(&r);
	must(raw_fault(&r, 0, length), DIRECT_MORE);
	for (uint64_t at = 0; at < length; at += KIB4)
		store64(r.base + at, pattern(at));
	printf("held, page-table entries of %lu\n", 1UL << r.largest);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		whole = true;
		for (uint64_t at = 0; at < length && whole; at += KIB4)
			whole = load64(r.base + at) == pattern(at);
		puts(whole ? "whole" : "changed");
		fflush(stdout);
	}
	raw_close(&r);
	return 0;
}

static int errors(const char *dir)
{
	open_errors(dir);
	start_errors(dir);
	map_errors(dir);
	fault_errors(dir);
	area_errors(dir);
	return 0;
}

static int shape(const char *dir)
{
	stores_are_the_file_s(dir);
	holes_read_as_zeros_and_take_nothing(dir);
	stores_into_holes_get_blocks(dir);
	a_sparse_area_has_holes_until_it_stores(dir);
	the_end_of_the_file_is_the_end(dir);
	return 0;
}

static int revocations(const char *dir)
{
	punched_and_cut_ranges_are_taken_back(dir);
	a_use_of_the_page_cache_takes_all_back(dir);
	what_the_page_cache_has_is_not_lost(dir);
	a_client_that_does_not_answer_is_waited_for_so_long(dir);
	nonsense_is_no_answer(dir);
	many_at_once(dir);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGBUS, on_fault);
	if (argc == 3 && strcmp(argv[1], "errors") == 0)
		return errors(argv[2]);
	if (argc == 3 && strcmp(argv[1], "shape") == 0)
		return shape(argv[2]);
	if (argc == 3 && strcmp(argv[1], "revocations") == 0)
		return revocations(argv[2]);
	if (argc == 3 && strcmp(argv[1], "full") == 0)
		return full(argv[2]);
	if (argc == 4 && strcmp(argv[1], "hold") == 0)
		return hold(argv[2], strtoull(argv[3], NULL, 10) * MIB);
	fprintf(stderr, "grant_calls errors|shape|revocations DIR, grant_calls hold FILE MIB\n");
	return 2;
}
