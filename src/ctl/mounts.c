/*
 * The mounted pools, from /proc/self/mounts: those that this process sees, the last of several on one
 * directory on top. The source of a mount is the pool unless somebody chose another with -o fsname.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
