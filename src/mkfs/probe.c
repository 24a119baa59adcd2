/*
 * What is there already: see probe.h.
 *
 * Two readers, for they see different things. lib/meta looks for a pool, also on device-DAX nodes, which
 * cannot be read(2), and by the backup of a superblock. libblkid knows everybody else's magic numbers, in
 * what can be read.
 */
#include "mkfs/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <blkid.h>
#include <uuid.h>

#include "meta/super.h"
#include "pmem/region.h"

static int probe_pool(const char *path, struct err *err)
{
	char uuid[UUID_STR_LEN];
	struct region *r;
	struct super sb;
	int rc;

	if (region_open(&r, path, 0, REGION_RDONLY | REGION_NOLOCK, NULL))
		return 0;	/* too small for a pool; or opening it for good will tell better */
	rc = super_read(r, path, &sb, NULL);
	region_close(r);
	if (rc == -EMEDIUMTYPE)
		return 0;
	if (rc)
		return err_set(err, -EEXIST,
			       "%s: contains a damaged or newer inodax pool; use -f to overwrite", path);
	uuid_unparse_lower(sb.uuid, uuid);
	return err_set(err, -EEXIST,
		       "%s: contains an inodax pool (label \"%s\", uuid %s); use -f to overwrite", path,
		       sb.label, uuid);
}

static int describe(blkid_probe pr, const char *path, struct err *err)
{
	const char *type = NULL, *usage = NULL, *label = NULL, *table = NULL;
	const char *article, *what;

	blkid_probe_lookup_value(pr, "TYPE", &type, NULL);
	blkid_probe_lookup_value(pr, "USAGE", &usage, NULL);
	blkid_probe_lookup_value(pr, "LABEL", &label, NULL);
	blkid_probe_lookup_value(pr, "PTTYPE", &table, NULL);
	if (!type && table)
		return err_set(err, -EEXIST, "%s: contains a partition table (%s); use -f to overwrite", path,
			       table);
	if (!type)
		return err_set(err, -EEXIST,
			       "%s: contains data of a kind libblkid knows; use -f to overwrite", path);
	article = strchr("aeioux", *type) ? "an" : "a";
	what = usage && strcmp(usage, "filesystem") == 0 ? "filesystem" : "volume";
	return err_set(err, -EEXIST, "%s: contains %s %s %s%s%s%s; use -f to overwrite", path, article, type,
		       what, label ? " (label " : "", label ? label : "", label ? ")" : "");
}

static int probe_blkid(const char *path, int fd, struct err *err)
{
	blkid_probe pr = blkid_new_probe();
	int rc;

	if (!pr)
		return err_set(err, -ENOMEM, "%s: cannot probe: out of memory", path);
	rc = blkid_probe_set_device(pr, fd, 0, 0);
	if (!rc) {
		blkid_probe_enable_superblocks(pr, 1);
		blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
							      BLKID_SUBLKS_LABEL);
		blkid_probe_enable_partitions(pr, 1);
		rc = blkid_do_safeprobe(pr);
		if (rc == 0)
			rc = describe(pr, path, err);
		else if (rc == 1)
			rc = 0;		/* nothing found */
		else if (rc == -2)
			rc = err_set(err, -EEXIST,
				     "%s: contains several things at once (libblkid); use -f to overwrite",
				     path);
	}
	if (rc && rc != -EEXIST)
		rc = err_set(err, -EIO, "%s: libblkid cannot probe it; use -f to overwrite", path);
	blkid_free_probe(pr);
	return rc;
}

int probe_unused(const char *path, struct err *err)
{
	struct stat st;
	int fd, rc = probe_pool(path, err);

	/* libblkid cannot read a device-DAX node; if that cannot be opened, opening it for good will tell why. */
	if (rc || (!stat(path, &st) && S_ISCHR(st.st_mode)))
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, -errno, "%s", path);
	/* An empty file is nothing to libblkid. */
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0)
		rc = probe_blkid(path, fd, err);
	close(fd);
	return rc;
}
