/*
 * inodax-bench fuse: inodax (dax=always and dax=never), fuse2fs and tmpfs, each line of work on each of them in turns.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct result {
	double	 seconds[BENCH_TARGETS][BENCH_ROUNDS];
	int64_t	 operations;
	double	 median[BENCH_TARGETS];
};

/* One round of one line on one target, in a directory of its own. */
static int run_once(const struct work *w, const struct target *t, const struct bench_options *opt, double *seconds,
		    int64_t *operations)
{
	char dir[600];
	int64_t n;
	int rc;

	snprintf(dir, sizeof(dir), "%s/work", t->dir);
	if (mkdir(dir, 0700))
		return -errno;
	rc = w->prepare ? w->prepare(dir, opt) : 0;
	if (rc)
		return rc;
	*seconds = bench_nanoseconds();
	n = w->run(dir, opt);
	*seconds = (bench_nanoseconds() - *seconds) / 1e9;
	if (w->cleanup)
		w->cleanup(dir, opt);
	if (rmdir(dir) && n >= 0)
		return -errno;
	*operations = n;
	return n < 0 ? (int)n : 0;
}

static int run_work(const struct work *w, const struct target *targets, unsigned int count,
		    const struct bench_options *opt, struct result *r)
{
	int rc;

	for (unsigned int round = 0; round < opt->rounds; round++) {
		for (unsigned int i = 0; i < count; i++) {
			rc = run_once(w, &targets[i], opt, &r->seconds[i][round], &r->operations);
			if (!rc && bench_caught())
				return bench_caught();
			if (rc) {
				fprintf(stderr, "%s on %s: %s\n", w->name, targets[i].name, strerror(-rc));
				return rc;
			}
		}
	}
	for (unsigned int i = 0; i < count; i++)
		r->median[i] = bench_median(r->seconds[i], opt->rounds);
	return 0;
}

static void print_header(const struct target *targets, unsigned int count)
{
	printf("%-24s", "microseconds each");
	for (unsigned int i = 0; i < count; i++)
		printf("%13s", targets[i].name);
	printf("%13s%13s%10s\n", "vs fuse2fs", "(dax=never)", "expected");
}

/* Targets stand in this order: inodax, inodax-never, fuse2fs, tmpfs. */
static void print_line(const struct work *w, const struct result *r, unsigned int count)
{
	printf("%-24s", w->name);
	for (unsigned int i = 0; i < count; i++)
		printf("%13.2f", r->median[i] * 1e6 / (double)r->operations);
	printf("%12.2fx%12.2fx%9.0fx\n", r->median[2] / r->median[0], r->median[2] / r->median[1], w->expected);
	fflush(stdout);
}

static void add_json(json_object *list, const struct work *w, const struct target *targets, const struct result *r,
		     unsigned int count)
{
	json_object *line = json_object_new_object(), *times = json_object_new_object();

	for (unsigned int i = 0; i < count; i++)
		json_object_object_add(times, targets[i].name, json_object_new_double(r->median[i]));
	json_object_object_add(line, "work", json_object_new_string(w->name));
	json_object_object_add(line, "operations", json_object_new_int64(r->operations));
	json_object_object_add(line, "median_seconds", times);
	json_object_object_add(line, "times_fuse2fs", json_object_new_double(r->median[2] / r->median[0]));
	json_object_array_add(list, line);
}

static int run_all(const struct target *targets, unsigned int count, const struct bench_options *opt)
{
	json_object *list = json_object_new_array();
	int rc = 0;

	if (!opt->json)
		print_header(targets, count);
	for (const struct work *w = fuse_works; w->name && !rc; w++) {
		struct result r = { .operations = 0 };

		rc = run_work(w, targets, count, opt, &r);
		if (rc)
			break;
		if (opt->json)
			add_json(list, w, targets, &r, count);
		else
			print_line(w, &r, count);
	}
	if (opt->json && !rc)
		printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
	return rc;
}

static int run_targets(const struct bench_options *opt)
{
	struct target targets[BENCH_TARGETS] = { { .name = NULL } };
	unsigned int up = 0;
	int rc;

	rc = target_inodax(&targets[up++], "inodax", "always", opt);
	if (!rc)
		rc = target_inodax(&targets[up++], "inodax-never", "never", opt);
	if (!rc)
		rc = target_fuse2fs(&targets[up++], opt);
	if (!rc)
		rc = target_plain(&targets[up++], opt);
	if (!rc)
		rc = run_all(targets, up, opt);
	while (up)
		target_down(&targets[--up]);
	return rc;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: inodax-bench fuse [--dir DIR] [--bindir DIR] [--files N] [--megabytes N] "
		"[--rounds N] [--json]\n"
		"Measures the mount: inodax, fuse2fs and tmpfs in turns. "
		"DIR is a directory on tmpfs (default /dev/shm).\n");
	return to == stderr ? 2 : 0;
}

/* A number from 1 to max, 0 for anything else. */
static unsigned int number(const char *text, unsigned int max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return *end || n == 0 || n > max ? 0 : (unsigned int)n;
}

static int parse(int argc, char **argv, struct bench_options *opt, const char **dir)
{
	static const struct option longs[] = {
		{ "dir", required_argument, NULL, 'd' }, { "bindir", required_argument, NULL, 'b' },
		{ "files", required_argument, NULL, 'f' }, { "megabytes", required_argument, NULL, 'm' },
		{ "rounds", required_argument, NULL, 'r' }, { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "d:b:f:m:r:jh", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			*dir = optarg;
			break;
		case 'b':
			opt->bindir = optarg;
			break;
		case 'f':
			opt->files = number(optarg, 999999);
			break;
		case 'm':
			opt->megabytes = number(optarg, 1024);
			break;
		case 'r':
			opt->rounds = number(optarg, BENCH_ROUNDS);
			break;
		case 'j':
			opt->json = true;
			break;
		case 'h':
			exit(usage(stdout));
		default:
			return -EINVAL;
		}
	}
	return optind == argc && opt->files && opt->megabytes && opt->rounds ? 0 : -EINVAL;
}

int bench_fuse(int argc, char **argv)
{
	struct bench_options opt = { .files = 50000, .megabytes = 256, .pool_megabytes = 2048, .rounds = 3 };
	const char *dir = "/dev/shm";
	char scratch[512];
	int rc;

	if (parse(argc, argv, &opt, &dir))
		return usage(stderr);
	snprintf(scratch, sizeof(scratch), "%s/inodax-bench.XXXXXX", dir);
	if (!mkdtemp(scratch)) {
		fprintf(stderr, "inodax-bench: %s: %s\n", scratch, strerror(errno));
		return 1;
	}
	bench_catch();
	opt.scratch = scratch;
	rc = run_targets(&opt);
	rmdir(scratch);
	return bench_leave(rc);
}
