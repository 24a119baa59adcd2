/*
 * inodax-bench pgmap: what references on folios cost, what removal costs, and how much memory the folio table takes.
 *
 * Times are of one operation, in nanoseconds, and stand beside an atomic addition to a word of the thread's own,
 * measured in the same run: that is the least a reference can cost. Each line is run once a round, all lines in
 * turns; the table has the medians. An operation is a pair (request and release, map and unmap), so it has two
 * additions' worth of atomic work at least.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dax/pgmap.h"

#define GIB		(1ULL << 30)
#define TIB		(1ULL << 40)
#define LINES_MAX	64
#define LIVE_FOLIOS	1000

enum kind { ADD, REFERENCE, RANGE, MAP, REMOVE, TABLE };
enum fill { EMPTY, LIVE, OWNED };

static const char *const size_names[] = { "PTE", "PMD", "PUD" };
static const char *const fill_names[] = { "empty", "1000 live", "all owned" };

/* One line of the table: what it does, and what came out. */
struct line {
	char			 name[64];
	enum kind		 kind;
	enum dax_size		 size;
	enum pgmap_drain	 drain;
	enum pgmap_accounting	 accounting;
	enum fill		 fill;
	unsigned int		 threads;
	bool			 same;		/* the threads work on one folio */
	bool			 held;		/* somebody holds a reference throughout: 1->2->1 */
	double			 expected;	/* TABLE: bytes; else times the addition; 0: nothing is */
	double			 result[BENCH_ROUNDS], median;
};

struct options {
	unsigned int	 rounds;
	uint64_t	 loops;		/* operations a round */
	uint64_t	 pool;		/* of REMOVE and TABLE: bytes */
	bool		 json;
};

static void free_nothing(void *arg, uint64_t block, uint64_t count)
{
	(void)arg;
	(void)block;
	(void)count;
}

static struct pgmap *new_pgmap(const struct line *l, uint64_t size, unsigned int unit_shift)
{
	struct pgmap_config config = {
		.size = size, .unit_shift = unit_shift, .block_shift = DAX_PTE_SHIFT, .drain = l->drain,
		.accounting = l->accounting, .page_free = free_nothing,
	};
	struct pgmap *pg = NULL;
	int rc = pgmap_new(&pg, &config);

	if (rc)
		fprintf(stderr, "inodax-bench: %s: %s\n", l->name, strerror(-rc));
	return pg;
}

/* ---- Operations -------------------------------------------------------------------------------------------- */

struct worker {
	const struct line	*line;
	struct pgmap		*pg;
	uint64_t		 unit, loops;
	_Atomic uint64_t	*word;		/* ADD */
	_Atomic unsigned int	*waiting;
	double			 each;
	int			 rc;
	pthread_t		 thread;
};

/* What the loop needs is in registers: after an atomic operation the compiler would read it from memory again. */
static int work_reference(struct worker *w)
{
	struct pgmap *const pg = w->pg;
	const uint64_t unit = w->unit, loops = w->loops;
	const enum dax_size size = w->line->size;
	int rc = 0;

	for (uint64_t i = 0; i < loops && !rc; i++) {
		rc = pgmap_request_folio(pg, unit, size);
		if (!rc)
			pgmap_release_folio(pg, unit, size);
	}
	return rc;
}

static int work_map(struct worker *w)
{
	struct pgmap *const pg = w->pg;
	const uint64_t unit = w->unit, loops = w->loops;
	const enum dax_size size = w->line->size;
	int rc = 0;

	for (uint64_t i = 0; i < loops && !rc; i++) {
		rc = pgmap_map_folio(pg, unit, size);
		if (!rc)
			pgmap_unmap_folio(pg, unit, size);
	}
	return rc;
}

static int work_range(struct worker *w)
{
	struct pgmap_folio out;
	unsigned int count;
	int rc = 0;

	for (uint64_t i = 0; i < w->loops && !rc; i++) {
		count = 1;
		rc = pgmap_request_folios(w->pg, w->unit << DAX_PTE_SHIFT, 1ULL << dax_size_shift(w->line->size), &out,
					  &count);
		if (!rc)
			pgmap_release_folios(w->pg, &out, count);
	}
	return rc;
}

static int work_add(struct worker *w)
{
	_Atomic uint64_t *const word = w->word;

	for (uint64_t i = 0, loops = w->loops; i < loops; i++)
		atomic_fetch_add(word, 1);
	return 0;
}

static void *run_worker(void *arg)
{
	static int (*const work[])(struct worker *w) = {
		[ADD] = work_add, [REFERENCE] = work_reference, [RANGE] = work_range, [MAP] = work_map,
	};
	struct worker *w = arg;

	/* Together, or one would be done before the other begins. */
	atomic_fetch_sub(w->waiting, 1);
	while (atomic_load(w->waiting))
		;
	w->each = bench_nanoseconds();
	w->rc = work[w->line->kind](w);
	w->each = (bench_nanoseconds() - w->each) / (double)w->loops;
	return NULL;
}

/* The folios that the threads work on, each with an owner, and a reference where the line wants one. */
static int prepare(const struct line *l, struct worker *workers, struct pgmap *pg)
{
	static _Atomic uint64_t words[BENCH_TARGETS][16];	/* a cache line and its neighbour */
	int rc = 0;

	for (unsigned int i = 0; i < l->threads && !rc; i++) {
		struct worker *w = &workers[i];

		w->pg = pg;
		w->unit = l->same ? 0 : (uint64_t)i * GIB >> DAX_PTE_SHIFT;
		w->word = words[l->same ? 0 : i];
		if ((l->kind == REFERENCE || l->kind == MAP) && (!i || !l->same))
			rc = pgmap_associate(pg, w->unit, l->size, false);
		if (!rc && l->held)
			rc = pgmap_request_folio(pg, w->unit, l->size);
	}
	return rc;
}

static double run_operations(const struct line *l, const struct options *opt)
{
	struct worker workers[BENCH_TARGETS] = { { .rc = 0 } };
	_Atomic unsigned int waiting = l->threads;
	struct pgmap *pg = new_pgmap(l, BENCH_TARGETS * GIB, DAX_PTE_SHIFT);
	int rc = pg ? prepare(l, workers, pg) : -ENOMEM;
	double each = 0;

	for (unsigned int i = 0; i < l->threads && !rc; i++) {
		workers[i].line = l;
		workers[i].waiting = &waiting;
		workers[i].loops = l->accounting == PGMAP_PAGE ? opt->loops / 100 : opt->loops;
		if (i && pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]))
			exit(1);	/* the others wait for it */
	}
	if (!rc)
		run_worker(&workers[0]);
	for (unsigned int i = 0; i < l->threads && !rc; i++) {
		if (i)
			pthread_join(workers[i].thread, NULL);
		each += workers[i].each / l->threads;
	}
	for (unsigned int i = 0; i < l->threads && !rc; i++)
		rc = workers[i].rc;
	pgmap_delete(pg);
	return rc ? -1 : each;
}

/* ---- Removal ------------------------------------------------------------------------------------------------ */

static int fill_table(const struct line *l, struct pgmap *pg)
{
	uint64_t n = 1ULL << pgmap_order(pg, l->size), end = pgmap_units(pg);
	int rc = 0;

	if (l->fill == LIVE)
		end = LIVE_FOLIOS * n;
	for (uint64_t u = 0; u < end && l->fill != EMPTY && !rc; u += n) {
		rc = pgmap_associate(pg, u, l->size, false);
		if (!rc && l->fill == LIVE)
			rc = pgmap_request_folio(pg, u, l->size);
	}
	return rc;
}

static void *release_live(void *arg)
{
	struct pgmap *pg = arg;

	while (pgmap_state(pg) == PGMAP_LIVE)
		;
	for (uint64_t i = 0; i < LIVE_FOLIOS; i++)
		pgmap_release_folio(pg, i << pgmap_order(pg, DAX_PMD), DAX_PMD);
	return NULL;
}

/* Kill, drain, destroy; without the memory going back to the kernel, which pgmap_destroy() does. */
static double run_removal(const struct line *l, const struct options *opt)
{
	struct pgmap *pg = new_pgmap(l, opt->pool, DAX_PTE_SHIFT);
	pthread_t thread;
	double start;
	int rc;

	if (!pg)
		return -1;
	rc = fill_table(l, pg);
	if (!rc && l->fill == LIVE)
		rc = -pthread_create(&thread, NULL, release_live, pg);
	start = bench_nanoseconds();
	if (!rc)
		rc = pgmap_kill(pg);
	if (!rc)
		rc = pgmap_drain(pg, -1);
	start = bench_nanoseconds() - start;
	if (!rc && l->fill == LIVE)
		pthread_join(thread, NULL);
	pgmap_delete(pg);
	return rc ? -1 : start;
}

/* ---- Memory ------------------------------------------------------------------------------------------------- */

/* Bytes of table for each TiB of pool, when every folio of the size of a unit was touched. */
static double run_table(const struct line *l, const struct options *opt)
{
	struct pgmap *pg = new_pgmap(l, l->size == DAX_PTE ? opt->pool : TIB, dax_size_shift(l->size));
	struct pgmap_stat st = { 0 };
	int rc;

	if (!pg)
		return -1;
	rc = fill_table(l, pg);
	pgmap_stat(pg, &st);
	st.table_bytes = (uint64_t)((double)st.table_bytes * ((double)TIB / (double)pgmap_config(pg)->size));
	pgmap_delete(pg);
	return rc ? -1 : (double)st.table_bytes;
}

/* ---- The lines ---------------------------------------------------------------------------------------------- */

static const char *drain_name(const struct line *l)
{
	return l->drain == PGMAP_COUNTER ? "counter" : "sweep";
}

static const char *threads_name(const struct line *l)
{
	return l->threads == 1 ? "" : l->same ? ", 2 threads" : ", 2 threads apart";
}

static void add_lines_of_additions(struct line *lines, unsigned int *n)
{
	static const struct line how[] = { { .threads = 1 }, { .threads = 2 }, { .threads = 2, .same = true } };

	for (unsigned int i = 0; i < 3; i++) {
		struct line *l = &lines[(*n)++];

		*l = how[i];
		snprintf(l->name, sizeof(l->name), "atomic add%s", threads_name(l));
	}
}

static void add_lines_of_references(struct line *lines, unsigned int *n, enum pgmap_drain drain)
{
	static const struct line how[] = {
		{ .threads = 1 }, { .threads = 1, .held = true }, { .threads = 2 }, { .threads = 2, .same = true },
		{ .threads = 2, .same = true, .held = true },
	};

	for (enum dax_size size = DAX_PTE; size <= DAX_PUD; size++)
		for (unsigned int i = 0; i < 5; i++) {
			struct line *l = &lines[(*n)++];

			*l = how[i];
			l->kind = REFERENCE;
			l->size = size;
			l->drain = drain;
			l->expected = size == DAX_PMD && l->threads == 1 ? 4 : 0;
			snprintf(l->name, sizeof(l->name), "request+release %s %s%s, %s", size_names[size],
				 l->held ? "1-2-1" : "0-1-0", threads_name(l), drain_name(l));
		}
}

static void add_lines_of_removal(struct line *lines, unsigned int *n, enum pgmap_drain drain)
{
	for (enum fill fill = EMPTY; fill <= OWNED; fill++) {
		struct line *l = &lines[(*n)++];

		*l = (struct line){ .kind = REMOVE, .size = DAX_PMD, .drain = drain, .fill = fill };
		snprintf(l->name, sizeof(l->name), "kill+drain, %s, %s", fill_names[fill], drain_name(l));
	}
}

static unsigned int all_lines(struct line *lines)
{
	unsigned int n = 0;

	add_lines_of_additions(lines, &n);
	for (enum pgmap_drain drain = PGMAP_COUNTER; drain <= PGMAP_SWEEP; drain++) {
		struct line *l;

		add_lines_of_references(lines, &n, drain);
		l = &lines[n++];
		*l = (struct line){ .kind = RANGE, .size = DAX_PMD, .drain = drain, .threads = 1 };
		snprintf(l->name, sizeof(l->name), "request_folios 2 MiB free, %s", drain_name(l));
		add_lines_of_removal(lines, &n, drain);
	}
	for (enum dax_size size = DAX_PTE; size <= DAX_PUD; size++) {
		lines[n] = (struct line){ .kind = MAP, .size = size, .threads = 1, .held = true };
		snprintf(lines[n].name, sizeof(lines[n].name), "map+unmap %s", size_names[size]);
		n++;
	}
	lines[n++] = (struct line){ .name = "map+unmap PMD, page accounting", .kind = MAP, .size = DAX_PMD,
				    .threads = 1, .held = true, .accounting = PGMAP_PAGE };
	for (enum dax_size size = DAX_PTE; size <= DAX_PUD; size++) {
		lines[n] = (struct line){ .kind = TABLE, .size = size, .fill = OWNED };
		lines[n].expected = size == DAX_PTE ? (double)(2 * GIB) : size == DAX_PMD ? 4.0 * 1024 * 1024 : 0;
		snprintf(lines[n].name, sizeof(lines[n].name), "table bytes a TiB, order %u", size * 9);
		n++;
	}
	return n;
}

static double run_line(const struct line *l, const struct options *opt)
{
	switch (l->kind) {
	case REMOVE:
		return run_removal(l, opt);
	case TABLE:
		return run_table(l, opt);
	default:
		return run_operations(l, opt);
	}
}

/* ---- Printing ----------------------------------------------------------------------------------------------- */

static void print_line(const struct line *l, double add)
{
	printf("%-50s%16.1f", l->name, l->median);
	if (l->kind == TABLE)
		printf("%11s", "");
	else
		printf("%10.1fx", l->median / add);
	if (l->expected > 0)
		printf(l->kind == TABLE ? "%15.0f" : "%14.0fx", l->expected);
	printf("\n");
}

static void add_json(json_object *list, const struct line *l, double add)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "work", json_object_new_string(l->name));
	if (l->kind == TABLE) {
		json_object_object_add(o, "bytes", json_object_new_double(l->median));
	} else {
		json_object_object_add(o, "nanoseconds", json_object_new_double(l->median));
		json_object_object_add(o, "times_atomic_add", json_object_new_double(l->median / add));
	}
	if (l->expected > 0)
		json_object_object_add(o, "expected", json_object_new_double(l->expected));
	json_object_array_add(list, o);
}

static void print_all(const struct line *lines, unsigned int n, const struct options *opt)
{
	json_object *list = json_object_new_array();

	if (!opt->json)
		printf("%-50s%16s%11s%15s\n", "nanoseconds, or bytes", "median", "vs add", "expected");
	for (unsigned int i = 0; i < n; i++) {
		if (opt->json)
			add_json(list, &lines[i], lines[0].median);
		else
			print_line(&lines[i], lines[0].median);
	}
	if (opt->json)
		printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
}

static int run_all(struct line *lines, unsigned int n, const struct options *opt)
{
	for (unsigned int round = 0; round < opt->rounds; round++)
		for (unsigned int i = 0; i < n; i++) {
			lines[i].result[round] = run_line(&lines[i], opt);
			if (lines[i].result[round] < 0) {
				fprintf(stderr, "inodax-bench: %s failed\n", lines[i].name);
				return 1;
			}
		}
	for (unsigned int i = 0; i < n; i++) {
		lines[i].median = bench_median(lines[i].result, opt->rounds);
	}
	print_all(lines, n, opt);
	return 0;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: inodax-bench pgmap [--rounds N] [--short] [--json]\n"
		"Measures references on folios, removal of a folio table, and its memory: 2 GiB, unless --short.\n");
	return to == stderr ? 2 : 0;
}

int bench_pgmap(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "rounds", required_argument, NULL, 'r' }, { "short", no_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	static struct line lines[LINES_MAX];
	struct options opt = { .rounds = 3, .loops = 2000000, .pool = TIB };
	int c;

	while ((c = getopt_long(argc, argv, "r:sjh", longs, NULL)) != -1) {
		switch (c) {
		case 'r':
			opt.rounds = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 's':
			opt.loops = 20000;
			opt.pool = 8 * GIB;
			break;
		case 'j':
			opt.json = true;
			break;
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	}
	if (optind != argc || opt.rounds < 1 || opt.rounds > BENCH_ROUNDS)
		return usage(stderr);
	return run_all(lines, all_lines(lines), &opt);
}
