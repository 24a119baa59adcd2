/*
 * A mount, from its start to its end.
 *
 * Start: fork (background.c), open the pool, mount, put the exchange under libfuse, answer INIT - still on
 * one thread - and only then let the parent go: a mount that is reported as made is one that answers. Then
 * threads serve.
 *
 * End: umount(8), a signal, or the connection being aborted. What waits for clients is ended first: by their answer, in
 * mapper_timeout, or where it waits for pins, at once. Then the FUSE side goes, so that nothing can ask any more, then
 * the filesystem is unmounted cleanly; only then is the pool given up. umount(2) does not wait for that.
 */
#include "daemon/daemon.h"
#include "daemon/init_exchange.h"
#include "daemon/ops.h"

#include <errno.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fs/grants.h"
#include "util/log.h"

#define THREADS_MIN	16L
#define THREADS_MAX	256L
#define RELEASE_TRIES	100	/* of RELEASE_WAIT_US: 10 seconds */
#define RELEASE_WAIT_US	100000
#define MOUNTS_LINE	65536	/* two paths with every byte escaped, and options */

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER	57	/* Linux 5.6 */
#endif

/* What libfuse has to say, once stderr is gone; it ends its lines itself. */
static void log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[512];

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("%s", line);
	else if (level < FUSE_LOG_DEBUG)
		log_info("%s", line);
}

static int add_opt(char **list, const char *name, const char *value)
{
	char *text;
	int rc;

	if (asprintf(&text, "%s%s%s", name, value ? "=" : "", value ? value : "") < 0)
		return -ENOMEM;
	rc = fuse_opt_add_opt_escaped(list, text);
	free(text);
	return rc ? -ENOMEM : 0;
}

/*
 * What libfuse is told: first what may be overruled, then what the command line said. A filesystem that root
 * mounts is for all users, with devices and setuid programs, as with any other filesystem and as mount.fuse3
 * has it; who else mounts may ask for the first, and never gets the others.
 */
static int session_opts(const struct daemon *d, char **list)
{
	const struct daemon_options *o = &d->opts;
	bool root = geteuid() == 0;
	int rc = add_opt(list, "default_permissions", NULL);

	if (!rc && !o->fsname)
		rc = add_opt(list, "fsname", o->pool);
	if (!rc && !o->subtype)
		rc = add_opt(list, "subtype", "inodax");
	if (!rc && fs_options(d->fs)->readonly)
		rc = add_opt(list, "ro", NULL);
	if (!rc && (o->allow_other || (root && !o->allow_root)))
		rc = add_opt(list, "allow_other", NULL);
	if (!rc && root)
		rc = add_opt(list, "suid", NULL);
	if (!rc && root)
		rc = add_opt(list, "dev", NULL);
	if (!rc && o->fuse_opts)
		rc = fuse_opt_add_opt(list, o->fuse_opts) ? -ENOMEM : 0;
	return rc;
}

static int session_new(struct daemon *d)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char *list = NULL;
	int rc = session_opts(d, &list);

	if (!rc && (fuse_opt_add_arg(&args, "inodax") || fuse_opt_add_arg(&args, "-o") ||
		    fuse_opt_add_arg(&args, list) || (d->opts.debug && fuse_opt_add_arg(&args, "-d"))))
		rc = -ENOMEM;
	if (!rc) {
		d->session = fuse_session_new(&args, &daemon_ops, sizeof(daemon_ops), d);
		rc = d->session ? 0 : -EINVAL;
	}
	fuse_opt_free_args(&args);
	free(list);
	if (rc)
		log_error("cannot set up the mount of %s: %s", d->opts.pool,
			  rc == -ENOMEM ? "out of memory" : "libfuse refused the options");
	return rc;
}

/* libfuse said what call failed; say what to do. */
static void log_mount_failed(const struct daemon_options *o)
{
	if (access("/dev/fuse", F_OK))
		log_error("cannot mount on %s: there is no /dev/fuse; load the kernel module fuse", o->mountpoint);
	else if (access("/dev/fuse", R_OK | W_OK))
		log_error("cannot mount on %s: no permission to open /dev/fuse", o->mountpoint);
	else if (geteuid() == 0)
		log_error("cannot mount on %s", o->mountpoint);
	else
		log_error("cannot mount on %s: an ordinary user needs fusermount3, a mount point that is theirs and, "
			  "for allow_other or allow_root, user_allow_other in /etc/fuse.conf",
			  o->mountpoint);
}

/* The first request of a mount is INIT, and the kernel sends nothing else before it is answered. */
static int answer_init(struct daemon *d)
{
	struct fuse_buf buf = { .mem = NULL };
	int n;

	do
		n = fuse_session_receive_buf(d->session, &buf);
	while ((n == -EINTR || n == -EAGAIN) && !fuse_session_exited(d->session));
	if (n > 0)
		fuse_session_process_buf(d->session, &buf);
	free(buf.mem);
	if (n > 0 && !fuse_session_exited(d->session))
		return 0;
	log_error("the kernel and libfuse did not agree on the mount of %s", d->opts.pool);
	return -EPROTO;
}

static void log_messages(const struct fs *fs)
{
	const char *text = fs_mount_messages(fs);

	while (*text) {
		int len = (int)strcspn(text, "\n");

		log_info("%.*s", len, text);
		text += len;
		text += *text == '\n';
	}
}

/*
 * Requests may block on each other's inode locks and on write-back of a pool in the page cache, never on
 * clients (parked.h) nor on other requests that wait for a thread: so the number of threads is a matter of speed.
 * Idle threads are kept; they cost address space.
 */
static int serve(struct daemon *d)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	long threads = 4 * sysconf(_SC_NPROCESSORS_ONLN);
	int rc;

	if (!config)
		return -ENOMEM;
	threads = threads < THREADS_MIN ? THREADS_MIN : threads > THREADS_MAX ? THREADS_MAX : threads;
	fuse_loop_cfg_set_max_threads(config, (unsigned int)threads);
	/* A queue of its own for each thread, where the device may be opened again. */
	fuse_loop_cfg_set_clone_fd(config, access("/dev/fuse", R_OK | W_OK) == 0);
	rc = fuse_session_loop_mt(d->session, config);
	fuse_loop_cfg_destroy(config);
	return rc;
}

/*
 * When the kernel is short of memory it writes back dirty pages, also those of our own mount, and waits. An
 * allocation in this process must not end there: it would wait for itself. Threads inherit it. Needs
 * CAP_SYS_RESOURCE; without it the kernel still bounds the dirty pages of a FUSE mount.
 */
static void avoid_reclaim_recursion(void)
{
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

static int run_mounted(struct daemon *d, int background)
{
	int rc = init_exchange_attach(d->session);

	if (rc) {
		log_error("cannot attach to the FUSE device: %s", strerror(-rc));
		return rc;
	}
	rc = answer_init(d);
	if (rc)
		return rc;
	fs_grants_serve(d->fs, &(struct fs_grants_hooks){
		.uncache = ops_uncache, .forget = ops_forget_inode, .arg = d,
	});
	log_messages(d->fs);
	if (background >= 0) {
		background_ready(background);
		fuse_set_log_func(log_libfuse);
	}
	parked_start(d);
	rc = serve(d);
	parked_stop(d);
	if (rc < 0)
		log_error("serving %s ended: %s", d->opts.mountpoint, strerror(-rc));
	return rc < 0 ? rc : 0;
}

/* With the pool open: mount, run, unmount the FUSE side. */
static int run_session(struct daemon *d, int background)
{
	int rc = session_new(d);

	if (rc)
		return rc;
	if (fuse_session_mount(d->session, d->opts.mountpoint)) {
		log_mount_failed(&d->opts);
		rc = -EIO;
		goto out_session;
	}
	if (fuse_set_signal_handlers(d->session)) {
		log_error("cannot set signal handlers");
		rc = -EINVAL;
		goto out_mount;
	}
	rc = run_mounted(d, background);
	fuse_remove_signal_handlers(d->session);
out_mount:
	fuse_session_unmount(d->session);
out_session:
	fuse_session_destroy(d->session);
	return rc;
}

/*
 * Is the pool mounted, as far as this process sees? Only by the name of a source, which -o fsname may hide.
 */
static bool is_mounted(const char *pool)
{
	char line[MOUNTS_LINE];
	struct mntent ent;
	bool found = false;
	FILE *f = setmntent("/proc/self/mounts", "re");

	if (!f)
		return true;
	while (!found && getmntent_r(f, &ent, line, sizeof(line)))
		found = strcmp(ent.mnt_fsname, pool) == 0;
	endmntent(f);
	return found;
}

/*
 * umount(2) returns before the daemon has written what it keeps in memory and given the pool up. A pool that
 * is in use and mounted nowhere is at that point, most likely: wait for it, so that "umount; mount" works as
 * everywhere.
 */
static int open_pool(struct daemon *d, struct err *err)
{
	int rc = fs_mount(&d->fs, d->opts.pool, NULL, &d->opts.fs, err);

	for (int i = 0; rc == -EBUSY && i < RELEASE_TRIES && !is_mounted(d->opts.pool); i++) {
		usleep(RELEASE_WAIT_US);
		rc = fs_mount(&d->fs, d->opts.pool, NULL, &d->opts.fs, err);
	}
	return rc;
}

int session_run(struct daemon *d)
{
	int background = d->opts.foreground ? -1 : background_start();
	struct err err = { "" };
	int rc, unmounted;

	if (!d->opts.foreground && background < 0) {
		log_error("cannot start in the background: %s", strerror(-background));
		return EXIT_MOUNT;
	}
	avoid_reclaim_recursion();
	rc = open_pool(d, &err);
	if (rc) {
		log_error("%s", err.text);
		return EXIT_MOUNT;
	}
	rc = run_session(d, background);
	unmounted = fs_unmount(d->fs);
	if (unmounted)
		log_error("%s was not unmounted cleanly: %s", d->opts.pool, strerror(-unmounted));
	return rc || unmounted ? EXIT_MOUNT : 0;
}
