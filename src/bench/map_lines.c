/*
 * inodax-bench map: loads, stores, faults, maps made and taken down, by this process.
 *
 * Both sides run the same code over plain pointers: all that can differ is what is behind them.
 */
#include "bench/map.h"

#include <errno.h>
#include <inodax.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define ACCESS_BYTES	(8U << 20)	/* of one measurement: some milliseconds */
#define FAULTS_MAX	16384U		/* of one measurement */
#define MAPS		200U		/* of one measurement */

/* ---- A mapping -------------------------------------------------------------------------------------------- */

int map_make(enum side side, int fd, size_t length, struct mapping *m)
{
	int rc;

	*m = (struct mapping){ .length = length };
	if (side == INODAX) {
		rc = inodax_map(fd, 0, length, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE, &m->map);
		m->at = rc ? NULL : inodax_map_address(m->map);
		return rc;
	}
	m->at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m->at != MAP_FAILED)
		return 0;
	m->at = NULL;
	return -errno;
}

void map_drop(struct mapping *m)
{
	if (m->map)
		inodax_unmap(m->map);
	else if (m->at)
		munmap(m->at, m->length);
	*m = (struct mapping){ .at = NULL };
}

/* Of this thread: the library has others. */
static uint64_t faults_so_far(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)usage.ru_minflt;
}

uint64_t map_touch(const struct mapping *m, size_t stride)
{
	volatile char *at = m->at;
	uint64_t before = faults_so_far();

	for (size_t i = 0; i < m->length; i += stride)
		at[i] = 1;
	return faults_so_far() - before;
}

unsigned int map_page_shift(const struct mapping *m)
{
	struct inodax_query q = { .size = sizeof(q) };
	unsigned int least = 0;

	for (size_t at = 0; at < m->length; at = q.offset + q.length) {
		if (inodax_query(m->map, at, &q) || q.kind != INODAX_DIRECT)
			return 0;
		if (!least || q.page_shift < least)
			least = q.page_shift;
	}
	return least;
}

const char *map_page_name(unsigned int shift)
{
	return shift >= 30 ? "1 GiB" : shift >= 21 ? "2 MiB" : "4 KiB";
}

int map_failed(const char *what, const char *path, int rc)
{
	fprintf(stderr, "inodax-bench: %s: %s: %s\n", path, what, strerror(-rc));
	return rc;
}

static int make(struct stage *s, enum side side, size_t length, struct mapping *m)
{
	int rc = map_make(side, s->fd[side], length, m);

	return rc ? map_failed("map", s->path[side], rc) : 0;
}

/* ---- Loads and stores ------------------------------------------------------------------------------------- */

/* Both sides mapped, and every page of them. */
static int begin_accesses(struct stage *s, const struct map_line *l)
{
	int rc = 0;

	(void)l;
	for (enum side side = INODAX; side < SIDES && !rc; side++) {
		rc = make(s, side, s->size, &s->mapped[side]);
		if (!rc)
			map_touch(&s->mapped[side], BENCH_PAGE);
	}
	return rc;
}

static void end_mapped(struct stage *s, const struct map_line *l)
{
	(void)l;
	for (enum side side = INODAX; side < SIDES; side++)
		map_drop(&s->mapped[side]);
}

static size_t random_place(uint64_t *state, uint64_t places)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 32) * places >> 32;
}

static _Alignas(BENCH_PAGE) char buffer[BENCH_PAGE];

/* The sum is kept: else the compiler may find that nobody wants to know what was loaded. */
static void load(const char *at, uint64_t places, size_t bytes, uint64_t count, uint64_t turn)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		memcpy(buffer, at + random_place(&turn, places) * bytes, bytes);
		sum += (unsigned char)buffer[i % bytes];
	}
	buffer[0] = (char)sum;
}

static void store(char *at, uint64_t places, size_t bytes, uint64_t count, uint64_t turn)
{
	for (uint64_t i = 0; i < count; i++) {
		buffer[i % bytes]++;
		memcpy(at + random_place(&turn, places) * bytes, buffer, bytes);
	}
}

static int run_accesses(struct stage *s, const struct map_line *l, enum side side, uint64_t turn, struct sample *out)
{
	const struct mapping *m = &s->mapped[side];
	uint64_t places = m->length / l->amount;
	double start;

	out->operations = ACCESS_BYTES / l->amount / (l->amount < BENCH_PAGE ? 4 : 1);
	start = bench_nanoseconds();
	if (l->store)
		store(m->at, places, l->amount, out->operations, turn);
	else
		load(m->at, places, l->amount, out->operations, turn);
	out->each = (bench_nanoseconds() - start) / (double)out->operations;
	return 0;
}

void add_lines_of_sizes(const struct map_line *like, const char *load, const char *store, struct map_line *lines,
			unsigned int *n)
{
	static const struct { unsigned int bytes; const char *name; } sizes[] = { { 4096, "4 KiB" }, { 64, "64 B" } };

	for (unsigned int i = 0; i < 4; i++) {
		struct map_line *l = &lines[(*n)++];

		*l = *like;
		l->amount = sizes[i / 2].bytes;
		l->store = i % 2;
		snprintf(l->name, sizeof(l->name), "%s %s random", l->store ? store : load, sizes[i / 2].name);
	}
}

void add_lines_of_accesses(struct map_line *lines, unsigned int *n)
{
	static const struct map_line like = {
		.beside = "tmpfs", .begin = begin_accesses, .run = run_accesses, .end = end_mapped,
		.pairs = 40, .even = true,
	};

	add_lines_of_sizes(&like, "load", "store", lines, n);
}

/* ---- Faults ----------------------------------------------------------------------------------------------- */

/* The file has its blocks: what is measured is the entry in the page table. */
static int run_faults(struct stage *s, const struct map_line *l, enum side side, uint64_t turn, struct sample *out)
{
	size_t page = (size_t)1 << s->page_shift, length = FAULTS_MAX * page;
	struct mapping m;
	double start;
	int rc;

	(void)l;
	(void)turn;
	if (length > s->size)
		length = s->size;
	rc = make(s, side, length, &m);
	if (rc)
		return rc;
	out->operations = length / page;
	start = bench_nanoseconds();
	out->counted = map_touch(&m, page);
	out->each = (bench_nanoseconds() - start) / (double)out->operations;
	map_drop(&m);
	return 0;
}

/* ---- Maps made and taken down ------------------------------------------------------------------------------ */

static int run_whole(struct stage *s, const struct map_line *l, enum side side, uint64_t turn, struct sample *out)
{
	struct mapping m;
	double start = bench_nanoseconds();
	int rc = make(s, side, s->size, &m);

	(void)l;
	(void)turn;
	if (rc)
		return rc;
	out->counted = map_touch(&m, (size_t)1 << s->page_shift);
	map_drop(&m);
	out->each = bench_nanoseconds() - start;
	out->operations = 1;
	return 0;
}

/* Another map of the file: what the process needs for the file, it has. */
static int begin_held(struct stage *s, const struct map_line *l)
{
	int rc = 0;

	(void)l;
	for (enum side side = INODAX; side < SIDES && !rc; side++)
		rc = make(s, side, BENCH_PAGE, &s->mapped[side]);
	return rc;
}

static int run_small(struct stage *s, const struct map_line *l, enum side side, uint64_t turn, struct sample *out)
{
	double start = bench_nanoseconds();
	struct mapping m;

	(void)turn;
	for (unsigned int i = 0; i < MAPS; i++) {
		int rc = make(s, side, l->amount, &m);

		if (rc)
			return rc;
		map_drop(&m);
	}
	out->each = (bench_nanoseconds() - start) / MAPS;
	out->operations = MAPS;
	return 0;
}

void add_lines_of_mappings(const struct stage *s, struct map_line *lines, unsigned int *n)
{
	struct map_line *l = &lines[(*n)++];

	*l = (struct map_line){ .beside = "tmpfs", .counts = "faults", .run = run_whole, .pairs = 4 };
	snprintf(l->name, sizeof(l->name), "map, touch all, unmap %llu MiB", (unsigned long long)s->size >> 20);
	l = &lines[(*n)++];
	*l = (struct map_line){ .beside = "tmpfs", .counts = "faults", .run = run_faults, .pairs = 8 };
	snprintf(l->name, sizeof(l->name), "fault of a %s page", map_page_name(s->page_shift));
	lines[(*n)++] = (struct map_line){
		.name = "map, unmap 4 KiB", .beside = "tmpfs", .begin = begin_held, .run = run_small, .end = end_mapped,
		.pairs = 8, .amount = BENCH_PAGE,
	};
	lines[(*n)++] = (struct map_line){
		.name = "the same, nothing else mapped", .beside = "tmpfs", .run = run_small, .pairs = 8,
		.amount = BENCH_PAGE,
	};
}
