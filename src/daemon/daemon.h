/*
 * The daemon: what its parts share.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/fuse_compat.h"
#include "daemon/parked.h"
#include "fs/fs.h"
#include "util/err.h"

/* Exit statuses, those of mount(8). */
#define EXIT_USAGE	1
#define EXIT_MOUNT	32

/* What the command line said. Constant after opts_parse(). */
struct daemon_options {
	char			*pool;		/* absolute */
	char			*mountpoint;	/* absolute */
	struct fs_options	 fs;
	bool			 foreground, debug;
	bool			 allow_root, allow_other;
	bool			 fsname, subtype;	/* were given: in fuse_opts */
	unsigned int		 max_read;	/* 0: no limit */
	unsigned int		 waiters;	/* threads for requests that wait for clients; 0: PARKED_THREADS */
	char			*shm_dir;	/* fs.shm_dir, if it was given */
	char			*fuse_opts;	/* for libfuse: comma-separated, escaped; NULL: none */
};

/* What the INIT exchange found out: written while the daemon has one thread, constant after. */
struct init_exchange {
	uint64_t	unique;		/* of the INIT request; 0 once it was answered */
	uint64_t	offered;	/* FUSE_* flags of the kernel, flags2 in the upper half */
};

struct daemon {
	struct daemon_options	 opts;
	struct fs		*fs;
	struct fuse_session	*session;
	struct init_exchange	 init;
	struct parked		 parked;
};

/* ---- opts.c -------------------------------------------------------------------------------------------- */

/*
 * opts_parse - fill `opts`. Returns 0 to go on, or -ECANCELED when -h, -V or -o help was answered, or -EINVAL
 * and the like with `err` set. opts_free() in any case.
 */
int opts_parse(int argc, char **argv, struct daemon_options *opts, struct err *err);
void opts_free(struct daemon_options *opts);

/* ---- background.c -------------------------------------------------------------------------------------- */

/*
 * background_start - go on in a child of its own session; the parent stays until the child says how starting
 * went and exits with that status. Called before the process has threads, locks or mappings. Returns the
 * descriptor for background_ready() in the child, or a negative errno.
 */
int background_start(void);

/*
 * background_ready - started: the terminal is left, messages go to syslog, the parent exits with 0. A child
 * that exits before this ends the parent with its own status.
 */
void background_ready(int fd);

/* ---- session.c ----------------------------------------------------------------------------------------- */

/*
 * session_run - mount, serve until unmounted or told to stop, unmount. Returns the exit status; errors were
 * logged.
 */
int session_run(struct daemon *d);

#endif
