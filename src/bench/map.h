/*
 * inodax-bench map: what its files share.
 *
 *	map.c		the command: tmpfs, pool and mount; each line measured in pairs; what is printed
 *	map_lines.c	loads, stores, faults, maps made and taken down, by this process
 *	map_fio.c	the same loads and stores by fio
 *	map_revoke.c	a file cut while others have it mapped
 */
#ifndef BENCH_MAP_H
#define BENCH_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"

#define BENCH_PAGE	4096U
#define BENCH_HUGE	(2U << 20)

struct inodax_map;

/* What is measured, and what stands beside it: a mapping of tmpfs, or the line's own. */
enum side { INODAX, BESIDE, SIDES };

/* A file mapped by either side. */
struct mapping {
	char			*at;		/* NULL: none */
	size_t			 length;
	struct inodax_map	*map;		/* INODAX */
};

struct mapper;

/* One mounted pool, and the same tmpfs without it. */
struct stage {
	const struct bench_options *opt;
	const char		*pool;		/* how its tmpfs was mounted, or its directory */
	const char		*scratch;	/* directory on that tmpfs */
	struct target		 target[SIDES];
	uint64_t		 size;		/* of the files, bytes; a multiple of BENCH_HUGE */
	char			 path[SIDES][600];
	int			 fd[SIDES];	/* of those; -1: not open */
	unsigned int		 page_shift;	/* log2 of what the pool is mapped with */
	struct mapping		 mapped[SIDES];	/* between begin() and end() of a line */
	struct mapper		*mappers;	/* of map_revoke.c */
	char			 run[600];	/* inodax-run, found; of map_fio.c */
	char			 skipped[128];	/* set by begin(): why the line cannot be measured here */
};

/* What one measurement found. */
struct sample {
	double		 each;		/* nanoseconds of one operation */
	uint64_t	 operations;
	uint64_t	 counted;	/* what the line counts, in all of them */
};

/*
 * One line of the table. begin() and end() come before and after the measurements of each round, and end() also when
 * begin() failed or skipped; either may be NULL. run() is one measurement: the `turn` is the same for both sides of a
 * pair, and another for each pair. Both return 0, or a negative errno after a message on stderr.
 */
struct map_line {
	char		 name[64];
	const char	*beside;	/* what stands beside: "tmpfs", "unmapped" */
	const char	*counts;	/* what sample.counted is; NULL: nothing */
	const char	*none;		/* what is to be said when inodax counted none; NULL: nothing */
	int		(*begin)(struct stage *s, const struct map_line *l);
	int		(*run)(struct stage *s, const struct map_line *l, enum side side, uint64_t turn,
			       struct sample *out);
	void		(*end)(struct stage *s, const struct map_line *l);
	unsigned int	 pairs;		/* a round */
	unsigned int	 amount;	/* bytes of one access, or mappers */
	bool		 store;
	bool		 even;		/* the sides are expected to be as fast */
};

/* map_make - map the first `length` bytes of a file for stores; map_drop - and unmap it, if it is mapped. */
int map_make(enum side side, int fd, size_t length, struct mapping *m);
void map_drop(struct mapping *m);

/*
 * map_new_file - create a file with all its blocks, each page stored to. *shift (may be NULL): map_page_shift() of
 * INODAX. A descriptor, or a negative errno after a message on stderr; the file may be there then.
 */
int map_new_file(enum side side, const char *path, uint64_t size, unsigned int *shift);

/* map_touch - store a byte to each `stride` bytes. The number of page faults that it took. */
uint64_t map_touch(const struct mapping *m, size_t stride);

/* map_page_shift - log2 of the smallest page that a mapping by INODAX is made of. 0: some of it is not direct. */
unsigned int map_page_shift(const struct mapping *m);

/* map_page_name - "4 KiB", "2 MiB" or "1 GiB"; static. */
const char *map_page_name(unsigned int shift);

/* map_failed - say what failed, and return rc. */
int map_failed(const char *what, const char *path, int rc);

/* The lines of each file, added from lines[*n] on; at most as many as map.c has room for. */
void add_lines_of_accesses(struct map_line *lines, unsigned int *n);
void add_lines_of_fio(struct map_line *lines, unsigned int *n);
void add_lines_of_mappings(const struct stage *s, struct map_line *lines, unsigned int *n);
void add_lines_of_revocation(struct map_line *lines, unsigned int *n);

/*
 * add_lines_of_sizes - lines like that one, for each size of an access (amount) one that loads and one that stores
 * (store); `load` and `store` say so at the beginning of their names.
 */
void add_lines_of_sizes(const struct map_line *like, const char *load, const char *store, struct map_line *lines,
			unsigned int *n);

#endif
