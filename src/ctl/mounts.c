/*
 * The mounted pools, from /proc/self/mounts: those that this process sees, the last of several on one
 * directory on top. The source of a mount is the pool unless somebody chose another with -o fsname. And which of them
 * an argument means.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FSTYPE		"fuse.inodax"
#define LINE_MAX_BYTES	65536		/* two paths with every byte escaped, and options */

static int add_mount(struct ctl_mount **mounts, int count, const struct mntent *ent)
{
	struct ctl_mount *m, *grown = realloc(*mounts, ((size_t)count + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*mounts = grown;
	m = &grown[count];
	m->pool = strdup(ent->mnt_fsname);
	m->mountpoint = strdup(ent->mnt_dir);
	m->options = strdup(ent->mnt_opts);
	if (m->pool && m->mountpoint && m->options)
		return 0;
	free(m->pool);
	free(m->mountpoint);
	free(m->options);
	return -ENOMEM;
}

int ctl_mounts(struct ctl_mount **out)
{
	struct ctl_mount *mounts = NULL;
	char line[LINE_MAX_BYTES];
	struct mntent ent;
	int count = 0, rc = 0;
	FILE *f = setmntent("/proc/self/mounts", "re");

	if (!f)
		return -errno;
	while (!rc && getmntent_r(f, &ent, line, sizeof(line))) {
		if (strcmp(ent.mnt_type, FSTYPE) != 0)
			continue;
		rc = add_mount(&mounts, count, &ent);
		count += !rc;
	}
	endmntent(f);
	if (rc) {
		ctl_mounts_free(mounts, count);
		return rc;
	}
	*out = mounts;
	return count;
}

void ctl_mounts_free(struct ctl_mount *mounts, int count)
{
	for (int i = 0; i < count; i++) {
		free(mounts[i].pool);
		free(mounts[i].mountpoint);
		free(mounts[i].options);
	}
	free(mounts);
}

/* ---- Arguments ------------------------------------------------------------------------------------------- */

char *ctl_pool_of(const char *arg)
{
	struct ctl_mount *mounts = NULL;
	char *pool = NULL, *real;
	struct stat st;
	int count;

	if (stat(arg, &st) == 0 && !S_ISDIR(st.st_mode))
		return strdup(arg);
	real = realpath(arg, NULL);
	if (!real) {
		fprintf(stderr, "inodaxctl: %s: %s\n", arg, strerror(errno));
		return NULL;
	}
	count = ctl_mounts(&mounts);
	for (int i = 0; i < count; i++) {
		if (strcmp(mounts[i].mountpoint, real) == 0) {
			free(pool);
			pool = strdup(mounts[i].pool);	/* the last one is the one on top */
		}
	}
	if (count >= 0)
		ctl_mounts_free(mounts, count);
	if (!pool)
		fprintf(stderr, "inodaxctl: %s: no inodax pool is mounted on this directory\n", arg);
	free(real);
	return pool;
}

/* Is the mount of this device? Its daemon is not asked; a mount that does not answer is not it. */
static bool is_mount_of(const struct ctl_mount *m, const struct statx *file)
{
	struct statx root;

	return statx(AT_FDCWD, m->mountpoint, AT_STATX_DONT_SYNC, STATX_TYPE, &root) == 0 &&
	       root.stx_dev_major == file->stx_dev_major && root.stx_dev_minor == file->stx_dev_minor;
}

char *ctl_pool_of_file(const char *path, uint64_t *ino)
{
	struct ctl_mount *mounts = NULL;
	struct statx file;
	char *pool = NULL;
	int count;

	if (statx(AT_FDCWD, path, 0, STATX_TYPE | STATX_INO, &file)) {
		fprintf(stderr, "inodaxctl: %s: %s\n", path, strerror(errno));
		return NULL;
	}
	count = ctl_mounts(&mounts);
	for (int i = 0; i < count && !pool; i++)
		if (is_mount_of(&mounts[i], &file))
			pool = strdup(mounts[i].pool);
	if (count >= 0)
		ctl_mounts_free(mounts, count);
	if (!pool) {
		fprintf(stderr, "inodaxctl: %s: not on a mounted inodax pool\n", path);
	} else if (!S_ISREG(file.stx_mode)) {
		fprintf(stderr, "inodaxctl: %s: not a regular file, nothing else is mapped\n", path);
		free(pool);
		pool = NULL;
	}
	*ino = file.stx_ino;
	return pool;
}
