/*
 * Setting up what is measured: an inodax mount, fuse2fs on an ext4 image, and tmpfs itself, all in
 * one scratch directory.
 *
 * Every daemon started here is ours: it runs in the foreground as our child, is asked to end by unmounting, and is
 * waited for by pid.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_STEPS	1000		/* of 10 ms */

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

static dev_t device_of(const char *dir)
{
	struct stat st;

	return stat(dir, &st) ? 0 : st.st_dev;
}

/*
 * The daemon mounts when it is ready: the directory's device changes. Whoever wants the end waits too, it is not long:
 * a daemon that is about to mount cannot be unmounted.
 */
static int wait_mounted(struct target *t, dev_t before)
{
	int status;

	for (int i = 0; i < WAIT_STEPS; i++) {
		if (device_of(t->dir) != before)
			return 0;
		if (waitpid(t->daemon, &status, WNOHANG) == t->daemon) {
			fprintf(stderr, "%s: the daemon ended before it mounted\n", t->name);
			t->daemon = 0;
			return -EIO;
		}
		nap();
	}
	fprintf(stderr, "%s: not mounted after %d s\n", t->name, WAIT_STEPS / 100);
	return -ETIMEDOUT;
}

static int make_dir(struct target *t, const char *name, const struct bench_options *opt)
{
	memset(t, 0, sizeof(*t));
	t->name = name;
	snprintf(t->dir, sizeof(t->dir), "%s/%s", opt->scratch, name);
	return mkdir(t->dir, 0700) ? -errno : 0;
}

static void program(char *buf, size_t size, const struct bench_options *opt, const char *name)
{
	snprintf(buf, size, "%s%s%s", opt->bindir ? opt->bindir : "", opt->bindir ? "/" : "", name);
}

int target_inodax(struct target *t, const char *name, const char *dax, const struct bench_options *opt)
{
	char mkfs[512], daemon[512], options[64], size[16];
	dev_t before;
	int rc = make_dir(t, name, opt);

	if (rc)
		return rc;
	program(mkfs, sizeof(mkfs), opt, "mkfs.inodax");
	program(daemon, sizeof(daemon), opt, "inodax");
	snprintf(t->file, sizeof(t->file), "%s/%s.pool", opt->scratch, name);
	snprintf(size, sizeof(size), "%um", opt->pool_megabytes);
	snprintf(options, sizeof(options), "dax=%s", dax);
	rc = bench_run((const char *const[]){ mkfs, "-q", "-s", size, t->file, NULL });
	if (rc)
		return rc;
	before = device_of(t->dir);
	rc = bench_start((const char *const[]){ daemon, "-f", "-o", options, t->file, t->dir, NULL }, &t->daemon);
	return rc ? rc : wait_mounted(t, before);
}

int target_fuse2fs(struct target *t, const struct bench_options *opt)
{
	dev_t before;
	int fd, rc = make_dir(t, "fuse2fs", opt);

	if (rc)
		return rc;
	snprintf(t->file, sizeof(t->file), "%s/ext4.img", opt->scratch);
	fd = open(t->file, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)opt->pool_megabytes << 20)) {
		rc = -errno;
		fprintf(stderr, "%s: %s\n", t->file, strerror(-rc));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	close(fd);
	rc = bench_run((const char *const[]){ "mke2fs", "-q", "-t", "ext4", "-F", "-E", "lazy_itable_init=0,root_owner",
					t->file, NULL });
	if (rc)
		return rc;
	before = device_of(t->dir);
	rc = bench_start((const char *const[]){ "fuse2fs", t->file, t->dir, "-f", "-o", "fakeroot", NULL }, &t->daemon);
	return rc ? rc : wait_mounted(t, before);
}

int target_plain(struct target *t, const struct bench_options *opt)
{
	return make_dir(t, "tmpfs", opt);
}

void target_down(struct target *t)
{
	int status;

	if (t->daemon) {
		if (bench_run((const char *const[]){ "fusermount3", "-u", t->dir, NULL })) {
			bench_run((const char *const[]){ "fusermount3", "-uz", t->dir, NULL });
			kill(t->daemon, SIGTERM);	/* one that has not mounted learns it in no other way */
		}
		if (waitpid(t->daemon, &status, 0) == t->daemon && status)
			fprintf(stderr, "%s: the daemon ended with status %x\n", t->name, status);
	}
	t->daemon = 0;
	rmdir(t->dir);
	if (t->file[0])
		unlink(t->file);
}
