/*
 * The engine of the crash tests: see crash.h.
 */
#include "crash.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"
#include "meta/journal.h"
#include "pmem/emu.h"
#include "tree.h"

#define POOL_BYTES	(4U << 20)

int crash_missing_fence = -1;
bool crash_missing_flush;

/* One run of a case: the trees around each step and where in the trace each step was answered. */
struct run {
	const struct crash_case		*c;
	const struct crash_options	*opt;
	struct crash_result		*result;
	struct region			*region;
	struct tree			*trees[CRASH_STEPS + 1], *timed[CRASH_STEPS + 1];
	uint64_t			 answered[CRASH_STEPS];	/* events before the answer */
	uint64_t			 events;		/* of all steps; the unmount's come after */
	unsigned int			 steps;
	char				*image, *image2;
	uint64_t			 random;
};

static const struct fs_options mount_options = { .dax = FS_DAX_ALWAYS, .atime = FS_NOATIME, .scan_threads = 1 };

static void plant(struct region *r)
{
	emu_plant_missing_fence(r, crash_missing_fence);
	emu_plant_missing_flush(r, crash_missing_flush);
}

static uint64_t next_random(struct run *run)
{
	run->random = run->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return run->random >> 17;
}

static int make_pool(struct region *r)
{
	struct fs_format format = { .uuid = "crash-test-pool", .label = "crash", .journal_blocks = 64 };
	struct err err = { "" };
	int rc = fs_format(r, &format, &err);

	if (rc)
		printf("format: %s\n", err.text);
	return rc;
}

/* ---- Judging an image ---------------------------------------------------------------------------------- */

struct verdict {
	struct run	*run;
	unsigned int	 step;		/* the first one not answered: before is tree[step], after tree[step + 1] */
	char		 where[160];
};

static void violation(struct verdict *v, const char *what, const char *detail)
{
	v->run->result->violations++;
	if (!v->run->opt->quiet)
		printf("%s: %s: %s: %s\n", v->run->c->name, v->where, what, detail);
}

static void finding(void *arg, const struct check_finding *f)
{
	if (!*(bool *)arg)
		printf("  fsck: %s: %s\n", f->name, f->text);
}

static bool image_clean(struct verdict *v, struct region *r, const char *when)
{
	bool quiet = v->run->opt->quiet;
	struct check_report report;
	struct err err = { "" };
	int rc = check_pool(r, "image", finding, &quiet, &report, &err);

	if (!rc && report.problems == 0)
		return true;
	violation(v, when, rc ? err.text : "fsck found problems");
	return false;
}

static void judge_tree(struct verdict *v, struct fs *fs)
{
	struct run *run = v->run;
	unsigned int last = run->steps, s = v->step;
	const struct crash_step *step = &run->c->steps[s < last ? s : last - 1];
	struct tree **trees = s < last && step->times ? run->timed : run->trees;
	const struct tree *before = trees[s], *after = trees[s < last ? s + 1 : s];
	struct tree *t = tree_read(fs, trees == run->timed);

	if (!t) {
		violation(v, "mounted", "the tree cannot be read");
		return;
	}
	if (!tree_between(t, before, after, s < last && step->mixed)) {
		violation(v, "mounted", "the tree is neither before nor after");
		if (!run->opt->quiet) {
			tree_print_diff("before", t, before);
			tree_print_diff("after", t, after);
		}
	}
	tree_free(t);
}

static void judge_image(struct verdict *v, const char *image, bool cut_recovery);

/* Recovery was recorded: cut it at each of its fences, on the old and the new side of every line and at random. */
static void judge_recovery(struct verdict *v, struct region *r)
{
	struct run *run = v->run;
	char where[160];

	memcpy(where, v->where, sizeof(where));
	for (uint64_t e = 0; e < emu_events(r); e++) {
		if (!emu_is_fence(r, e, NULL))
			continue;
		emu_crash_begin(r, e);
		for (unsigned int i = 0; i < 3; i++) {
			uint64_t seed = next_random(run);

			snprintf(v->where, sizeof(v->where), "%.100s, recovery cut at %llu seed %llx", where,
				 (unsigned long long)e, (unsigned long long)seed);
			emu_crash_random(r, seed, run->image2);
			run->result->recoveries++;
			judge_image(v, run->image2, false);
		}
	}
	memcpy(v->where, where, sizeof(where));
}

static void judge_image(struct verdict *v, const char *image, bool cut_recovery)
{
	struct region *r = emu_open(POOL_BYTES, image);
	struct err err = { "" };
	struct fs *fs;
	int rc;

	if (!image_clean(v, r, "before the mount"))
		goto close;
	emu_record(r);
	rc = fs_mount(&fs, "image", r, &mount_options, &err);
	if (rc) {
		violation(v, "mount", err.text[0] ? err.text : strerror(-rc));
		goto close;
	}
	if (cut_recovery)
		judge_recovery(v, r);
	judge_tree(v, fs);
	rc = fs_unmount(fs);
	if (rc)
		violation(v, "unmount", strerror(-rc));
	image_clean(v, r, "after the unmount");
close:
	emu_close(r);
}

/* ---- Cutting ------------------------------------------------------------------------------------------- */

static bool enough(const struct run *run)
{
	return run->opt->stop_at_first && run->result->violations;
}

static void judge_one(struct run *run, struct verdict *v)
{
	bool cut_recovery = run->opt->recovery_every && run->result->images % run->opt->recovery_every == 0;

	run->result->images++;
	judge_image(v, run->image, cut_recovery);
}

static void cut_subsets(struct run *run, struct verdict *v, uint64_t event, unsigned int lines)
{
	for (uint64_t mask = 0; mask < 1ULL << lines && !enough(run); mask++) {
		snprintf(v->where, sizeof(v->where), "step %u, cut at event %llu, lines %llx of %u", v->step,
			 (unsigned long long)event, (unsigned long long)mask, lines);
		emu_crash_begin(run->region, event);
		emu_crash_subset(run->region, mask, run->image);
		judge_one(run, v);
	}
}

static void cut_samples(struct run *run, struct verdict *v, uint64_t event, unsigned int samples)
{
	for (unsigned int i = 0; i < samples && !enough(run); i++) {
		uint64_t seed = next_random(run);

		snprintf(v->where, sizeof(v->where), "step %u, cut at event %llu, seed %llx", v->step,
			 (unsigned long long)event, (unsigned long long)seed);
		emu_crash_begin(run->region, event);
		emu_crash_random(run->region, seed, run->image);
		judge_one(run, v);
	}
}

static void cut_at(struct run *run, uint64_t event)
{
	struct verdict v = { .run = run };
	unsigned int lines;

	while (v.step < run->steps && run->answered[v.step] <= event)
		v.step++;
	emu_crash_begin(run->region, event);
	lines = emu_crash_lines(run->region);
	run->result->fences++;
	if (lines <= run->opt->subset_lines) {
		cut_subsets(run, &v, event, lines);
		cut_samples(run, &v, event, lines ? run->opt->samples / 4 : 0);
	} else {
		cut_samples(run, &v, event, run->opt->samples);
	}
}

/* ---- Running a case ------------------------------------------------------------------------------------ */

static int prepare(struct run *run)
{
	struct err err = { "" };
	struct fs *fs;
	int rc;

	run->region = emu_open(POOL_BYTES, NULL);
	rc = make_pool(run->region);
	if (!rc)
		rc = fs_mount(&fs, "pool", run->region, &mount_options, &err);
	if (!rc) {
		rc = run->c->setup ? run->c->setup(fs) : 0;
		if (rc)
			printf("%s: setup: %s\n", run->c->name, strerror(-rc));
		fs_unmount(fs);
	}
	return rc;
}

static int record_steps(struct run *run)
{
	struct err err = { "" };
	struct fs *fs;
	int rc = fs_mount(&fs, "pool", run->region, &mount_options, &err);

	if (rc)
		return rc;
	run->trees[0] = tree_read(fs, false);
	run->timed[0] = tree_read(fs, true);
	plant(run->region);
	emu_record(run->region);
	for (unsigned int i = 0; i < CRASH_STEPS && run->c->steps[i].run; i++) {
		rc = run->c->steps[i].run(fs);
		if (rc) {
			printf("%s: %s: %s\n", run->c->name, run->c->steps[i].name, strerror(-rc));
			break;
		}
		run->answered[i] = emu_events(run->region);
		run->trees[i + 1] = tree_read(fs, false);
		run->timed[i + 1] = tree_read(fs, true);
		run->steps = i + 1;
	}
	run->events = emu_events(run->region);
	fs_unmount(fs);
	return rc;
}

static void cut_everywhere(struct run *run)
{
	for (uint64_t e = 0; e < run->events && !enough(run); e++)
		if (emu_is_fence(run->region, e, NULL))
			cut_at(run, e);
	if (!enough(run))
		cut_at(run, run->events);
}

void crash_init(void)
{
	mallopt(M_MMAP_THRESHOLD, 8 * POOL_BYTES);
	mallopt(M_TRIM_THRESHOLD, 64 * POOL_BYTES);
}

void crash_run(const struct crash_case *c, const struct crash_options *opt, struct crash_result *result)
{
	struct run run = { .c = c, .opt = opt, .result = result, .random = opt->seed };

	run.image = malloc(POOL_BYTES);
	run.image2 = malloc(POOL_BYTES);
	if (prepare(&run) || record_steps(&run))
		result->violations++;
	else
		cut_everywhere(&run);
	for (unsigned int i = 0; i <= CRASH_STEPS; i++) {
		tree_free(run.trees[i]);
		tree_free(run.timed[i]);
	}
	emu_close(run.region);
	free(run.image);
	free(run.image2);
}

/* ---- Helpers of the cases ------------------------------------------------------------------------------ */

int crash_walk(struct fs *fs, const char *path, uint64_t *parent, const char **name, uint64_t *ino)
{
	static char parts[16][256];	/* names of the last few calls stay valid */
	static unsigned int next;
	struct stat st;
	int rc;

	*parent = INO_ROOT;
	while (1) {
		const char *slash = strchr(path, '/');
		size_t len = slash ? (size_t)(slash - path) : strlen(path);
		char *part = parts[next++ % 16];

		memcpy(part, path, len);
		part[len] = 0;
		*name = part;
		rc = fs_lookup(fs, *parent, part, &st, NULL);
		if (!slash || rc)
			break;
		*parent = st.st_ino;
		path = slash + 1;
	}
	if (ino)
		*ino = rc ? 0 : st.st_ino;
	return rc;
}

static const struct fs_cred cred = { .uid = 1000, .gid = 1000, .umask = 022 };

int crash_mkfile(struct fs *fs, const char *path, uint64_t size, char fill)
{
	struct fs_file *f;
	const char *name;
	uint64_t parent;
	int rc;

	crash_walk(fs, path, &parent, &name, NULL);
	rc = fs_create(fs, &cred, parent, name, 0644, 2, &f, NULL, NULL);
	if (rc)
		return rc;
	fs_close(f);
	return size ? crash_write(fs, path, 0, size, fill) : 0;
}

int crash_mkdir(struct fs *fs, const char *path)
{
	const char *name;
	uint64_t parent;

	crash_walk(fs, path, &parent, &name, NULL);
	return fs_mkdir(fs, &cred, parent, name, 0755, NULL, NULL);
}

int crash_write(struct fs *fs, const char *path, uint64_t off, uint64_t len, char fill)
{
	char *buf = malloc(len);
	struct fs_file *f;
	const char *name;
	uint64_t parent, ino;
	ssize_t n;
	int rc;

	rc = crash_walk(fs, path, &parent, &name, &ino);
	if (!rc)
		rc = fs_open(fs, ino, 2, &f);
	if (!rc) {
		for (uint64_t i = 0; i < len; i++)
			buf[i] = (char)(fill + (off + i) / 8 % 23);
		n = fs_write(f, &cred, buf, off, len, 0);
		rc = n < 0 ? (int)n : (uint64_t)n == len ? 0 : -ENOSPC;
		fs_close(f);
	}
	free(buf);
	return rc;
}

int crash_unlink(struct fs *fs, const char *path)
{
	const char *name;
	uint64_t parent;
	int rc = crash_walk(fs, path, &parent, &name, NULL);

	return rc ? rc : fs_unlink(fs, parent, name);
}

int crash_retire(struct fs *fs)
{
	return journal_retire(fs_pool(fs)->journal);
}
