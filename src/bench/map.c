/*
 * inodax-bench map: direct mappings of inodax against mappings of tmpfs, the same kind of memory in pages of the same
 * size.
 *
 * A line is measured many times, shortly, on one side and then on the other; the next time the other side begins.
 * What the machine does besides hits both of a pair, so the ratio of the pair is what counts: the table has the median
 * of those, beside the medians of the times.
 */
#include "bench/map.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/size.h"

#define LINES_MAX	32
#define PAIRS_MAX	400U		/* of a line in all rounds */
#define POOL_SPARE_MIB	256U		/* of the pool, for all but the large file; and an eighth */
#define SIZE_MIN	(4ULL << 20)
#define SIZE_MAX_MIB	(1ULL << 20)
#define EXPECTED_LOW	0.97
#define EXPECTED_HIGH	1.03

struct options {
	struct bench_options bench;
	const char	*dir;		/* NULL: tmpfs of our own */
	uint64_t	 size;
};

/* What one line came to. */
struct outcome {
	double		 each[SIDES], ratio;	/* medians: nanoseconds, and times as fast as `beside` */
	unsigned int	 pairs;
	struct sample	 last[SIDES];
};

/* ---- One line --------------------------------------------------------------------------------------------- */

/* Of all pairs. */
struct times {
	double		 each[SIDES][PAIRS_MAX], ratio[PAIRS_MAX];
};

static int run_pair(struct stage *s, const struct map_line *l, unsigned int i, struct times *t, struct outcome *o)
{
	for (unsigned int j = 0; j < SIDES; j++) {
		enum side side = (i + j) % SIDES ? BESIDE : INODAX;
		int rc = l->run(s, l, side, i + 1, &o->last[side]);

		if (!rc)
			rc = bench_caught();
		if (rc)
			return rc;
		t->each[side][i] = o->last[side].each;
	}
	t->ratio[i] = t->each[BESIDE][i] / t->each[INODAX][i];
	return 0;
}

/* Set up anew for each round: where the page tables of a map come to lie is luck, and makes a difference. */
static int run_round(struct stage *s, const struct map_line *l, struct times *t, struct outcome *o)
{
	int rc = bench_caught();

	if (rc)
		return rc;
	if (l->begin)
		rc = l->begin(s, l);
	for (unsigned int i = 0; i < l->pairs && !rc && !s->skipped[0]; i++)
		rc = run_pair(s, l, o->pairs++, t, o);
	if (l->end)
		l->end(s, l);
	return rc;
}

static int run_line(struct stage *s, const struct map_line *l, struct outcome *o)
{
	struct times t;
	int rc = 0;

	s->skipped[0] = '\0';
	for (unsigned int round = 0; round < s->opt->rounds && !rc && !s->skipped[0]; round++)
		rc = run_round(s, l, &t, o);
	if (rc || s->skipped[0])
		return rc;
	for (enum side side = INODAX; side < SIDES; side++)
		o->each[side] = bench_median(t.each[side], o->pairs);
	o->ratio = bench_median(t.ratio, o->pairs);
	return 0;
}

/* ---- What is printed -------------------------------------------------------------------------------------- */

static void print_header(const struct stage *s)
{
	printf("%s, pages of %s\n", s->pool, map_page_name(s->page_shift));
	printf("%-36s%16s%16s%10s%15s  %s\n", "nanoseconds each", "inodax", "beside", "ratio", "expected", "beside is");
}

static void print_line(const struct stage *s, const struct map_line *l, const struct outcome *o)
{
	if (s->skipped[0]) {
		printf("%-36sskipped: %s\n", l->name, s->skipped);
	} else {
		printf("%-36s%16.1f%16.1f%9.3fx", l->name, o->each[INODAX], o->each[BESIDE], o->ratio);
		if (l->even)
			printf("%7.2f to %.2f", EXPECTED_LOW, EXPECTED_HIGH);
		else
			printf("%15s", "");
		printf("  %s%s\n", l->beside, l->none && !o->last[INODAX].counted ? l->none : "");
	}
	fflush(stdout);
}

static json_object *pair_of(const struct map_line *l, json_object *inodax, json_object *beside)
{
	json_object *pair = json_object_new_object();

	json_object_object_add(pair, "inodax", inodax);
	json_object_object_add(pair, l->beside, beside);
	return pair;
}

static void add_measured(json_object *line, const struct map_line *l, const struct outcome *o)
{
	json_object_object_add(line, "pairs", json_object_new_int64(o->pairs));
	json_object_object_add(line, "operations", pair_of(l,
			       json_object_new_int64((int64_t)o->last[INODAX].operations),
			       json_object_new_int64((int64_t)o->last[BESIDE].operations)));
	json_object_object_add(line, "nanoseconds", pair_of(l, json_object_new_double(o->each[INODAX]),
							    json_object_new_double(o->each[BESIDE])));
	json_object_object_add(line, "ratio", json_object_new_double(o->ratio));
	if (l->counts)
		json_object_object_add(line, l->counts, pair_of(l,
				       json_object_new_int64((int64_t)o->last[INODAX].counted),
				       json_object_new_int64((int64_t)o->last[BESIDE].counted)));
	if (l->even) {
		json_object *expected = json_object_new_array();

		json_object_array_add(expected, json_object_new_double(EXPECTED_LOW));
		json_object_array_add(expected, json_object_new_double(EXPECTED_HIGH));
		json_object_object_add(line, "expected", expected);
	}
}

static void add_json(json_object *list, const struct stage *s, const struct map_line *l, const struct outcome *o)
{
	json_object *line = json_object_new_object();

	json_object_object_add(line, "work", json_object_new_string(l->name));
	json_object_object_add(line, "pool", json_object_new_string(s->pool));
	json_object_object_add(line, "page_bytes", json_object_new_int64(1LL << s->page_shift));
	if (s->skipped[0])
		json_object_object_add(line, "skipped", json_object_new_string(s->skipped));
	else
		add_measured(line, l, o);
	json_object_array_add(list, line);
}

static int run_lines(struct stage *s, json_object *list)
{
	struct map_line lines[LINES_MAX];
	unsigned int n = 0;
	int rc = 0;

	add_lines_of_accesses(lines, &n);
	add_lines_of_fio(lines, &n);
	add_lines_of_mappings(s, lines, &n);
	add_lines_of_revocation(lines, &n);
	if (!s->opt->json)
		print_header(s);
	for (unsigned int i = 0; i < n && !rc; i++) {
		struct outcome o = { .pairs = 0 };

		rc = run_line(s, &lines[i], &o);
		if (rc && !bench_caught())
			fprintf(stderr, "inodax-bench: %s, %s: %s\n", s->pool, lines[i].name, strerror(-rc));
		if (!rc && s->opt->json)
			add_json(list, s, &lines[i], &o);
		else if (!rc)
			print_line(s, &lines[i], &o);
	}
	return rc;
}

/* ---- A pool and its tmpfs --------------------------------------------------------------------------------- */

/* All its pages stored to once: what is measured later finds them. */
static int store_to_all(enum side side, const char *path, int fd, uint64_t size, unsigned int *shift)
{
	struct mapping m;
	int rc = map_make(side, fd, size, &m);

	if (rc)
		return map_failed("map", path, rc);
	map_touch(&m, BENCH_PAGE);
	if (side == INODAX && shift) {
		*shift = map_page_shift(&m);
		if (!*shift)
			rc = map_failed("a map is not direct", path, -EOPNOTSUPP);
	}
	map_drop(&m);
	return rc;
}

int map_new_file(enum side side, const char *path, uint64_t size, unsigned int *shift)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), rc;

	if (fd < 0)
		return map_failed("create", path, -errno);
	rc = fallocate(fd, 0, 0, (off_t)size) ? map_failed("fallocate", path, -errno) : 0;
	if (!rc)
		rc = store_to_all(side, path, fd, size, shift);
	if (rc)
		close(fd);
	return rc ? rc : fd;
}

static int stage_up(struct stage *s)
{
	int rc = target_inodax(&s->target[INODAX], "inodax", "always", s->opt);

	if (!rc)
		rc = target_plain(&s->target[BESIDE], s->opt);
	for (enum side side = INODAX; side < SIDES && !rc; side++) {
		snprintf(s->path[side], sizeof(s->path[side]), "%s/data", s->target[side].dir);
		s->fd[side] = map_new_file(side, s->path[side], s->size, &s->page_shift);
		rc = s->fd[side] < 0 ? s->fd[side] : 0;
	}
	return rc;
}

static void stage_down(struct stage *s)
{
	for (enum side side = INODAX; side < SIDES; side++) {
		if (s->fd[side] >= 0)
			close(s->fd[side]);
		if (s->path[side][0])
			unlink(s->path[side]);
	}
	target_down(&s->target[BESIDE]);
	target_down(&s->target[INODAX]);
}

static int run_stage(const struct options *opt, const char *pool, const char *scratch, json_object *list)
{
	struct bench_options bench = opt->bench;
	struct stage s = {
		.opt = &bench, .pool = pool, .scratch = scratch, .size = opt->size, .fd = { -1, -1 },
	};
	int rc;

	bench.scratch = scratch;
	rc = stage_up(&s);
	if (!rc)
		rc = run_lines(&s, list);
	stage_down(&s);
	return rc;
}

/* A tmpfs of our own on `dir`, with room for the pool and the files beside it. */
static int run_own(const struct options *opt, const char *huge, const char *dir, json_object *list)
{
	unsigned long long mib = opt->bench.pool_megabytes + (opt->size >> 20) + POOL_SPARE_MIB;
	char options[64], pool[64];
	int rc;

	snprintf(options, sizeof(options), "size=%llum,mode=700,%s", mib, huge);
	snprintf(pool, sizeof(pool), "tmpfs with %s", huge);
	if (mount("inodax-bench", dir, "tmpfs", MS_NOSUID | MS_NODEV, options)) {
		rc = -errno;
		fprintf(stderr, "inodax-bench: %s: mount tmpfs with %s: %s; --dir takes one that is mounted\n", dir,
			options, strerror(-rc));
		return rc;
	}
	rc = run_stage(opt, pool, dir, list);
	if (umount2(dir, 0)) {
		fprintf(stderr, "inodax-bench: %s: unmount: %s\n", dir, strerror(errno));
		umount2(dir, MNT_DETACH);
	}
	return rc;
}

/* ---- The command ------------------------------------------------------------------------------------------ */

static int run_all(const struct options *opt, const char *scratch)
{
	json_object *list = json_object_new_array();
	int rc;

	if (opt->dir) {
		rc = run_stage(opt, opt->dir, scratch, list);
	} else {
		rc = run_own(opt, "huge=never", scratch, list);
		if (!rc)
			rc = run_own(opt, "huge=always", scratch, list);
	}
	if (opt->bench.json && !rc)
		printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
	return rc;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: inodax-bench map [--dir DIR] [--bindir DIR] [--size SIZE] [--rounds N] [--json]\n"
		"Measures direct mappings against those of tmpfs. Root: on a tmpfs mounted for it, without and with "
		"huge pages;\nelse, or with --dir, on the tmpfs that DIR is on (default /dev/shm).\n");
	return to == stderr ? 2 : 0;
}

/* Bytes; a multiple of BENCH_HUGE. 0: not that. */
static uint64_t size_of(const char *text)
{
	struct err err;
	uint64_t n;

	if (size_parse(text, "--size", &n, &err)) {
		fprintf(stderr, "inodax-bench: %s\n", err.text);
		return 0;
	}
	return n < SIZE_MIN || n > SIZE_MAX_MIB << 20 || n % BENCH_HUGE ? 0 : n;
}

static unsigned int rounds_of(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return *end || n > BENCH_ROUNDS ? 0 : (unsigned int)n;
}

static int parse(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {
		{ "dir", required_argument, NULL, 'd' }, { "bindir", required_argument, NULL, 'b' },
		{ "size", required_argument, NULL, 's' }, { "rounds", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "d:b:s:r:jh", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			opt->dir = optarg;
			break;
		case 'b':
			opt->bench.bindir = optarg;
			break;
		case 's':
			opt->size = size_of(optarg);
			break;
		case 'r':
			opt->bench.rounds = rounds_of(optarg);
			break;
		case 'j':
			opt->bench.json = true;
			break;
		case 'h':
			exit(usage(stdout));
		default:
			return -EINVAL;
		}
	}
	return optind == argc && opt->size && opt->bench.rounds ? 0 : -EINVAL;
}

int bench_map(int argc, char **argv)
{
	struct options opt = { .bench = { .rounds = 3 }, .size = 1ULL << 30 };
	const char *above = getenv("TMPDIR");
	char scratch[512];
	int rc;

	if (parse(argc, argv, &opt))
		return usage(stderr);
	if (!opt.dir && geteuid())
		opt.dir = "/dev/shm";
	opt.bench.pool_megabytes = (unsigned int)(opt.size >> 20) + (unsigned int)(opt.size >> 23) + POOL_SPARE_MIB;
	if (!above || !*above)
		above = "/tmp";
	snprintf(scratch, sizeof(scratch), "%s/inodax-bench.XXXXXX", opt.dir ? opt.dir : above);
	if (!mkdtemp(scratch)) {
		fprintf(stderr, "inodax-bench: %s: %s\n", scratch, strerror(errno));
		return 1;
	}
	bench_catch();
	rc = run_all(&opt, scratch);
	if (rmdir(scratch))
		fprintf(stderr, "inodax-bench: %s: %s\n", scratch, strerror(errno));
	return bench_leave(rc);
}
