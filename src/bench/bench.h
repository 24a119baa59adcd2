/*
 * inodax-bench: the same work on several filesystems, in turns in one run, so that what the machine does besides
 * hits all of them alike. Times are printed with ratios; nothing is judged.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_TARGETS	4
#define BENCH_ROUNDS	9

/* Where work is done: a directory, and what is behind it. */
struct target {
	const char	*name;
	char		 dir[512];	/* mount point, or a plain directory */
	char		 file[512];	/* pool or image; "" for none */
	pid_t		 daemon;	/* 0: none of ours */
};

struct bench_options {
	const char	*scratch;	/* directory on tmpfs for pools, images and mount points */
	const char	*bindir;	/* where mkfs.inodax and inodax are; NULL: PATH */
	unsigned int	 files;		/* of the metadata lines */
	unsigned int	 megabytes;	/* size of the file of the data lines */
	unsigned int	 pool_megabytes; /* of each pool and image */
	unsigned int	 rounds;
	bool		 json;
};

/*
 * One line of the table. prepare() and run() get a directory of their own on the target; run() is timed and returns the
 * number of operations it did, or a negative errno. cleanup() may be NULL.
 */
struct work {
	const char	*name;
	int		(*prepare)(const char *dir, const struct bench_options *opt);
	int64_t		(*run)(const char *dir, const struct bench_options *opt);
	void		(*cleanup)(const char *dir, const struct bench_options *opt);
	double		 expected;	/* against fuse2fs, times as fast */
};

extern const struct work fuse_works[];

/* bench_catch - from now on SIGINT, SIGTERM, SIGHUP and SIGPIPE are remembered. bench_caught - -EINTR: one came. */
void bench_catch(void);
int bench_caught(void);

/* bench_leave - exit status for 0 or a negative errno; ends the process by the signal that was caught, if one was. */
int bench_leave(int rc);

/* bench_nanoseconds - monotonic. bench_median - of 1 or more, which it sorts. */
double bench_nanoseconds(void);
double bench_median(double *values, unsigned int n);

/*
 * bench_start - a program, found in PATH, without input and output. bench_run - the same, and wait for its success. 0,
 * or a negative errno after a message on stderr.
 */
int bench_start(const char *const argv[], pid_t *pid);
int bench_run(const char *const argv[]);

/* target_*: set one up and take it down. 0, or a negative errno after a message on stderr. */
int target_inodax(struct target *t, const char *name, const char *dax, const struct bench_options *opt);
int target_fuse2fs(struct target *t, const struct bench_options *opt);
int target_plain(struct target *t, const struct bench_options *opt);
void target_down(struct target *t);

/* bench_fuse - the command; argv[0] is its name. Exit status. */
int bench_fuse(int argc, char **argv);

/* bench_map - as bench_fuse(): direct mappings. */
int bench_map(int argc, char **argv);

/* bench_pgmap - as bench_fuse(): references on folios, by lib/dax alone. */
int bench_pgmap(int argc, char **argv);

#endif
