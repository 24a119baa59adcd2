/*
 * inodaxctl: one file a command, and what they share.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>

#include <inodax.h>
#include <json-c/json.h>

#include "dax/folio.h"
#include "dax/grant.h"
#include "dax/shm.h"

/* A mounted pool, from the mount table. */
struct ctl_mount {
	char	*pool;
	char	*mountpoint;
	char	*options;		/* of the mount and of the filesystem, comma-separated */
};

/* ---- mounts.c ------------------------------------------------------------------------------------------ */

/*
 * ctl_mounts - all mounts of inodax that this process sees, in the order of the mount table, in a new array
 * for ctl_mounts_free(). Returns their number or a negative errno.
 */
int ctl_mounts(struct ctl_mount **out);
void ctl_mounts_free(struct ctl_mount *mounts, int count);

/*
 * ctl_pool_of - the pool of an argument: itself, or the source of the mount if it is a directory. NULL: said why.
 * To be freed.
 */
char *ctl_pool_of(const char *arg);

/*
 * ctl_pool_of_file - the pool that a regular file lies in, and the number of its inode. NULL: said why. To be freed.
 */
char *ctl_pool_of_file(const char *path, uint64_t *ino);

/* ---- ctl.c: options and output ------------------------------------------------------------------------- */

struct ctl_options {
	bool		 json, all;
	const char	*shm;		/* directory; NULL: not given */
};

/*
 * ctl_parse - the options of a command, of those in `accept`: j for --json, a for --all, s for --shm DIR. Leaves
 * optind at the first argument; -EINVAL for others.
 */
int ctl_parse(int argc, char **argv, const char *accept, struct ctl_options *out);

/* ctl_parse_json - the same for a command that has no other option. */
int ctl_parse_json(int argc, char **argv, bool *json);

/* ctl_print_json - print and give back an object. */
void ctl_print_json(struct json_object *object);

/*
 * The same for objects with an array of any length, printed as it is found: ctl_print_first() - "table" is `head`,
 * and the array begins; ctl_print_element() - `more`: it is not the first; ctl_print_last() - `tail` follows the array,
 * NULL: nothing does. Objects are given back.
 */
void ctl_print_first(struct json_object *head, const char *array);
void ctl_print_element(struct json_object *object, bool more);
void ctl_print_last(struct json_object *tail, const char *name);

/* ctl_size_text - "4.0M": three digits and a power of 1024, into `buf`, which is returned. */
#define CTL_SIZE_TEXT	16
const char *ctl_size_text(uint64_t bytes, char buf[static CTL_SIZE_TEXT]);

/* ---- view.c: the folio table and the grant lists of a pool, which a daemon changes meanwhile ----------------- */

/* Of the header as it was when the view was opened, checked; nothing else in shared memory is. */
struct ctl_view {
	struct dax_shm_view	 shm;
	const char		*pool;
	uint64_t		 units;
	unsigned int		 unit_shift;
	enum dax_size		 base;		/* the size of a unit */
	bool			 page;		/* references are counted on every unit */
	bool			 kernel;	/* layout=kernel */
	uint32_t		 accounting, drain, layout, pin;
	int32_t			 pid;		/* of the daemon that wrote it last; 0: it ended */
	uint64_t		 resting;	/* blocks of no file that clients mapped lately */
	bool			 live;		/* some daemon has the pool */
	uint64_t		 there;		/* ctl_view_word()'s: page of the table, + 1 */
};

/*
 * ctl_view_open - `dir`: of the mount option shm, NULL: look where daemons have it. -errno: said why. `pool` stays the
 * caller's, and has to stay.
 */
int ctl_view_open(struct ctl_view *v, const char *pool, const char *dir);
void ctl_view_close(struct ctl_view *v);

/* ctl_view_print, ctl_view_object - what the table as a whole is like. */
void ctl_view_print(const struct ctl_view *v);
struct json_object *ctl_view_object(const struct ctl_view *v);

/* ctl_view_units - map units in a folio of this size, 0: smaller than a unit, or no size. */
uint64_t ctl_view_units(const struct ctl_view *v, unsigned int size);

/* ctl_view_bytes - of so many units. */
static inline uint64_t ctl_view_bytes(const struct ctl_view *v, uint64_t units)
{
	return units << v->unit_shift;
}

/*
 * ctl_view_next - the first unit at or after `unit` whose word is not zero; v->units: none. `unit` is 0, or comes
 * after one whose word was not zero.
 */
uint64_t ctl_view_next(const struct ctl_view *v, uint64_t unit);

/* ctl_view_word - of any unit; does not allocate the page of the table that it is in. */
uint64_t ctl_view_word(struct ctl_view *v, uint64_t unit);

/* ctl_view_folio - the head of the folio that `unit` is in, its word, and how many units it has. */
uint64_t ctl_view_folio(struct ctl_view *v, uint64_t unit, uint64_t *word, uint64_t *units);

/* ctl_command_name - of a process, printable; "" if it cannot be seen. */
#define CTL_COMMAND_NAME	32
const char *ctl_command_name(int32_t pid, char buf[static CTL_COMMAND_NAME]);

/* ---- runs.c: what the grant lists say, in order ------------------------------------------------------------- */

/* References of one kind and size on folios one after the other, in the pool and in the file. */
struct ctl_run {
	uint64_t	id, ino;
	uint64_t	index, unit;	/* of the first unit, in the file and in the pool */
	uint32_t	count;		/* folios */
	uint16_t	area;
	uint8_t		kind, size;	/* enum grant_kind, enum dax_size */
	int32_t		pid;
	uint32_t	uid;
};

#define CTL_ANY	UINT64_MAX

enum ctl_order { CTL_BY_UNIT, CTL_BY_FILE };

/*
 * Runs in the order of the pool or of inode and place in the file, in memory that does not grow with their number: as
 * many as have room are taken from the lists at a time, in as many passes as it needs.
 */
struct ctl_runs {
	struct ctl_view	*view;
	enum ctl_order	 order;
	uint64_t	 ino, kind;		/* only these; CTL_ANY: all */
	struct ctl_run	*run;
	size_t		 count, room, at;
	struct ctl_run	 low, high;		/* runs of this pass: after low, up to high */
	bool		 has_low, has_high;
	bool		 nomem;
};

/* ctl_runs_open - -errno: said why. */
int ctl_runs_open(struct ctl_runs *r, struct ctl_view *v, enum ctl_order order, uint64_t ino, uint64_t kind);
void ctl_runs_close(struct ctl_runs *r);

/* ctl_runs_next - 1; 0: no more; -errno: said why. */
int ctl_runs_next(struct ctl_runs *r, struct ctl_run *out);

/* ctl_run_units - how many units the run covers. */
uint64_t ctl_run_units(const struct ctl_view *v, const struct ctl_run *run);

/* ---- The commands: argv[0] is the command's name; the result is the exit status -------------------- */

int ctl_folios(int argc, char **argv);
int ctl_info(int argc, char **argv);
int ctl_list(int argc, char **argv);
int ctl_map(int argc, char **argv);
int ctl_pins(int argc, char **argv);

#endif
