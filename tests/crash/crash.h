/*
 * The crash tests' engine. A case is a pool made ready by setup() and then a few steps, each one operation. The
 * steps run once on emulated memory while everything they store is recorded; then power is cut at every fence of that
 * record, with every subset of the lines in doubt when they are few and a seeded sample when many, and each image must
 * check clean, mount, show exactly the tree before or after the step that was cut, and check clean again. Recovery of
 * a sample of the images is itself cut in the same way.
 */
#ifndef CRASH_CRASH_H
#define CRASH_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/fs.h"

#define CRASH_STEPS	16

struct crash_step {
	const char	*name;
	int		(*run)(struct fs *fs);	/* 0, or what the operation returned; NULL ends the list */
	bool		 mixed;		/* contents in place may be torn between words (writes, punched edges) */
	bool		 times;		/* mtime is part of what must be exact */
};

struct crash_case {
	const char		*name;
	int			(*setup)(struct fs *fs);	/* NULL: an empty pool */
	struct crash_step	 steps[CRASH_STEPS];
};

struct crash_result {
	uint64_t	fences, images, recoveries;	/* looked at */
	uint64_t	violations;
};

struct crash_options {
	uint64_t	seed;
	unsigned int	subset_lines;	/* all subsets up to this many lines in doubt */
	unsigned int	samples;	/* random images of a cut with more */
	unsigned int	recovery_every;	/* cut the recovery of one image in so many */
	bool		quiet;		/* the self-test: violations are wanted */
	bool		stop_at_first;
};

/* crash_init - once, first: keep the memory of images between them, instead of a page fault for each of their pages. */
void crash_init(void);

/* crash_run - add to `result`. Prints each violation with what is needed to see it again. */
void crash_run(const struct crash_case *c, const struct crash_options *opt, struct crash_result *result);

/* Planted bugs that live in the emulation: applied to each region that records. -1: none. */
extern int crash_missing_fence;
extern bool crash_missing_flush;

/* Helpers of the cases: paths from the root, "a/b"; they assert nothing and return what the operation returned. */
int crash_walk(struct fs *fs, const char *path, uint64_t *parent, const char **name, uint64_t *ino);
int crash_mkfile(struct fs *fs, const char *path, uint64_t size, char fill);
int crash_mkdir(struct fs *fs, const char *path);
int crash_write(struct fs *fs, const char *path, uint64_t off, uint64_t len, char fill);
int crash_unlink(struct fs *fs, const char *path);
int crash_retire(struct fs *fs);

extern const struct crash_case crash_single_cases[], crash_sequence_cases[];

#endif
