/*
 * The error test: what is common to its tables.
 *
 * A case is one system call (sometimes a short sequence whose last call counts) on a fixture of its own, made
 * by one of three users or root. Each runs in a process and a directory of its own, so that no case depends
 * on another: what it changes (umask, limits, working directory, identity) ends with it. The result is one
 * line of text,
 *
 *	GROUP/CASE: ok [VALUE] | ERRNO | signal NAME  [notes]
 *
 * which never holds anything that depends on the run: two filesystems that behave alike print the same lines.
 */
#ifndef ERRNO_TABLE_H
#define ERRNO_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * OWNER owns what a fixture gives away, with the group GID_OWNER. MEMBER is somebody else who is in that
 * group, by a supplementary group only. OTHER is nobody to it.
 */
enum who { ROOT, OWNER, MEMBER, OTHER, WHO_COUNT };

#define UID_OWNER	61001
#define UID_MEMBER	61002
#define UID_OTHER	61003
#define GID_OWNER	62001
#define GID_MEMBER	62002
#define GID_OTHER	62003

struct step {
	const char	*name;
	long		(*call)(const struct step *s);		/* a value of 0 or more, or -errno */
	const char	*path;
	const char	*to;			/* the second path, name or value, where there is one */
	int		 flags;
	mode_t		 mode;
	int64_t		 off, off2, len;
	enum who	 who;
	void		(*prepare)(const struct step *s);	/* as root, after the fixture; may be NULL */
	const char	*show;			/* print what this path is after the call; may be NULL */
};

struct step_group {
	const char		*name;
	void			(*fixture)(void);		/* as root, in the case's empty directory */
	const struct step	*steps;
	size_t			 count;
	void			(*run)(const struct step_group *g);	/* cases made by loops; may be NULL */
};

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define TABLE(array)	.steps = (array), .count = COUNT(array)

extern const struct step_group group_access, group_acl, group_chown, group_copy, group_emlink, group_exec,
	group_fallocate, group_flags, group_handle, group_inherit, group_io, group_limits, group_lock,
	group_mmap, group_names, group_open, group_perm_dir, group_perm_file, group_readonly, group_rename,
	group_seek, group_setid, group_stat, group_sticky, group_time, group_tmpfile, group_truncate,
	group_utimens, group_xattr;

/* ---- For the main program ------------------------------------------------------------------------------ */

/* table_start - results are shared with the children from here on. */
void table_start(void);

/* group_run - all cases of a group, each in a directory of its own below the working directory. */
void group_run(const struct step_group *g);

/* ---- For groups ---------------------------------------------------------------------------------------- */

/* step_run - one case. `name` replaces the step's own. */
void step_run(const struct step_group *g, const struct step *s, const char *name);

/* step_run_here - one case in the working directory as it is, without a fixture. */
void step_run_here(const struct step_group *g, const struct step *s);

/*
 * steps_run_as - a table, by each of the users, the user's name added to the case's. `who` of the steps is
 * not used.
 */
void steps_run_as(const struct step_group *g, const struct step *steps, size_t count, const char *suffix);

/* note - text after the result. In the case's process only. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * note_stat - type, mode, owner, links and, where it means something, size. For the process that runs the
 * cases.
 */
void note_stat(const char *path);

/* must - a call of the fixture: a failure ends the case with a result that the driver takes for a failure. */
long must(long rc, const char *what);

/* result - what a system call said: its value or -errno. */
long result(long rc);

/* become - take the identity of a user for good. */
void become(enum who who);

const char *who_name(enum who who);
uid_t who_uid(enum who who);
gid_t who_gid(enum who who);
const char *errno_name(int error);

/* ---- Fixtures ------------------------------------------------------------------------------------------ */

void fixture_none(void);

/*
 * fixture_usual - root's, in a directory anybody may search:
 *	file (10 bytes, 0644), empty, twin1 and twin2 (links of one file), dir/child, dir/sub/, void/ (empty),
 *	lfile ldir ldangling lloop (symlinks to file, dir, nothing, itself), fifo, sock, null (device 1,3),
 *	mine (OWNER's file, 10 bytes, 0644), minedir/ (OWNER's, 0755).
 */
void fixture_usual(void);

void make_file(const char *path, mode_t mode, size_t size);
void make_dir(const char *path, mode_t mode);
void give_to(const char *path, enum who who);

/* make_filled - a string of `len` times `c`; ends with the process where nobody frees it. */
char *make_filled(char c, size_t len) __attribute__((malloc, returns_nonnull));

#endif
