/*
 * inodax-bench map: the loads and stores once more by fio, a program that knows nothing of inodax: as it is on tmpfs,
 * under inodax-run on the mount. What fio has to say is its JSON.
 *
 * Files of their own: should fio use the page cache after all, nothing else is measured on such a file. Whether it did
 * is asked afterwards: a file that was used so a moment ago is not mapped directly.
 */
#include "bench/map.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/command.h"

#define FIO_FILE_MAX	(128U << 20)	/* what the ramp time is enough to touch all of */

/* ---- Where the programs are ------------------------------------------------------------------------------- */

static bool found_in(const char *dir, size_t length, const char *name, char *out, size_t size)
{
	int n = snprintf(out, size, "%.*s/%s", (int)length, dir, name);

	return n > 0 && (size_t)n < size && access(out, X_OK) == 0;
}

/* In the directory that was given, or beside this program; else in PATH. */
static bool find_run(const struct stage *s, char *out, size_t size)
{
	char self[PATH_MAX];
	ssize_t n;

	if (s->opt->bindir)
		return found_in(s->opt->bindir, strlen(s->opt->bindir), "inodax-run", out, size);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		if (found_in(self, (size_t)(strrchr(self, '/') - self), "inodax-run", out, size))
			return true;
	}
	return command_find("inodax-run", out, size);
}

static void path_of(const struct stage *s, enum side side, char *path, size_t size)
{
	snprintf(path, size, "%s/fio", s->target[side].dir);
}

static uint64_t file_size(const struct stage *s)
{
	return s->size < FIO_FILE_MAX ? s->size : FIO_FILE_MAX;
}

static int begin_fio(struct stage *s, const struct map_line *l)
{
	char fio[600], path[600];
	int fd = 0;

	(void)l;
	if (!command_find("fio", fio, sizeof(fio)))
		snprintf(s->skipped, sizeof(s->skipped), "no fio in PATH");
	else if (!find_run(s, s->run, sizeof(s->run)))
		snprintf(s->skipped, sizeof(s->skipped), "no inodax-run %s",
			 s->opt->bindir ? "in the --bindir directory" : "beside inodax-bench or in PATH");
	for (enum side side = INODAX; side < SIDES && !s->skipped[0] && fd >= 0; side++) {
		path_of(s, side, path, sizeof(path));
		fd = map_new_file(side, path, file_size(s), NULL);
		if (fd >= 0)
			close(fd);
	}
	return fd < 0 ? fd : 0;
}

/* ---- What fio says ---------------------------------------------------------------------------------------- */

/* Notes for people may stand before the JSON. */
static json_object *parse_report(const char *path)
{
	json_object *report = NULL;
	char *text = NULL, *at;
	size_t room = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		return NULL;
	if (getdelim(&text, &room, '\0', f) > 0) {
		at = text[0] == '{' ? text : strstr(text, "\n{");
		report = at ? json_tokener_parse(at) : NULL;
	}
	free(text);
	fclose(f);
	return report;
}

/* jobs[0].read or .write: iops and total_ios. */
static int read_report(json_object *report, bool store, struct sample *out)
{
	json_object *jobs, *job, *way, *iops, *total, *error;

	if (!json_object_object_get_ex(report, "jobs", &jobs) || !json_object_is_type(jobs, json_type_array) ||
	    json_object_array_length(jobs) != 1)
		return -EPROTO;
	job = json_object_array_get_idx(jobs, 0);
	if (!json_object_object_get_ex(job, "error", &error) ||
	    !json_object_object_get_ex(job, store ? "write" : "read", &way) ||
	    !json_object_object_get_ex(way, "iops", &iops) || !json_object_object_get_ex(way, "total_ios", &total))
		return -EPROTO;
	if (json_object_get_int(error))
		return -json_object_get_int(error);
	if (json_object_get_double(iops) <= 0)
		return -ENODATA;
	out->each = 1e9 / json_object_get_double(iops);
	out->operations = (uint64_t)json_object_get_int64(total);
	return 0;
}

/* ---- Running it ------------------------------------------------------------------------------------------- */

static bool still_direct(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct mapping m;
	bool direct;

	if (fd < 0)
		return false;
	direct = map_make(INODAX, fd, BENCH_PAGE, &m) == 0;
	map_drop(&m);
	close(fd);
	return direct;
}

static int run_fio(struct stage *s, const struct map_line *l, enum side side, uint64_t turn, struct sample *out)
{
	char path[600], file[700], size[64], block[64], seed[64], report[700], output[720];
	const char *const argv[] = {
		s->run, "fio", "--name=map", "--ioengine=mmap", l->store ? "--rw=randwrite" : "--rw=randread", file,
		size, block, seed, "--norandommap", "--invalidate=0", "--fallocate=none", "--time_based",
		"--ramp_time=200ms", "--runtime=300ms", "--output-format=json", output, NULL,
	};
	json_object *json;
	int rc;

	path_of(s, side, path, sizeof(path));
	snprintf(file, sizeof(file), "--filename=%s", path);
	snprintf(size, sizeof(size), "--size=%llu", (unsigned long long)file_size(s));
	snprintf(block, sizeof(block), "--bs=%u", l->amount);
	snprintf(seed, sizeof(seed), "--randseed=%llu", (unsigned long long)turn);
	snprintf(report, sizeof(report), "%s/fio.json", s->scratch);
	snprintf(output, sizeof(output), "--output=%s", report);
	rc = bench_run(side == INODAX ? argv : argv + 1);
	if (rc)
		return rc;
	out->counted = side == INODAX && still_direct(path);
	json = parse_report(report);
	rc = json ? read_report(json, l->store, out) : -EPROTO;
	json_object_put(json);
	return rc ? map_failed("what fio reported", report, rc) : 0;
}

static void end_fio(struct stage *s, const struct map_line *l)
{
	char path[700];

	(void)l;
	snprintf(path, sizeof(path), "%s/fio.json", s->scratch);
	unlink(path);
	for (enum side side = INODAX; side < SIDES; side++) {
		path_of(s, side, path, sizeof(path));
		unlink(path);
	}
}

void add_lines_of_fio(struct map_line *lines, unsigned int *n)
{
	static const struct map_line like = {
		.beside = "tmpfs", .counts = "direct", .none = "; fio under inodax-run used the page cache",
		.begin = begin_fio, .run = run_fio, .end = end_fio, .pairs = 2, .even = true,
	};

	add_lines_of_sizes(&like, "fio mmap read", "fio mmap write", lines, n);
}
