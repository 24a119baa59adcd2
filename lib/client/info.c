/*
 * libinodax: what a pool says of itself.
 *
 * Reads the superblock and the tail slots of the pool, verified by the same code that mounts it; takes no
 * lock and writes nothing. A mounted pool changes underneath only in its tail slots, which are written in
 * turn: one of them is always whole.
 */
#include "inodax.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "meta/super.h"
#include "pmem/region.h"

/*
 * Size of the struct in the first version of the library: callers may be that old. New members go to the end.
 */
#define INFO_SIZE_0	136

_Static_assert(sizeof(struct inodax_pool_info) == INFO_SIZE_0, "struct inodax_pool_info changed: add a size");
_Static_assert(sizeof(((struct inodax_pool_info *)0)->label) > LABEL_MAX, "a full label is terminated");

const char *inodax_version(void)
{
	return PACKAGE_VERSION;
}

static void fill(struct inodax_pool_info *info, const struct region *r, const struct super *sb,
		 const struct tail *tail)
{
	info->format_version = sb->version;
	memcpy(info->uuid, sb->uuid, sizeof(info->uuid));
	memcpy(info->label, sb->label, strlen(sb->label));
	info->bytes = sb->blocks << BLOCK_SHIFT;
	info->map_unit = 1ULL << sb->unit_shift;
	info->journal_bytes = sb->journal_blocks << BLOCK_SHIFT;
	info->mounts = tail->mount;
	info->created = sb->created;
	info->clean = tail->flags & TAIL_CLEAN ? 1 : 0;
	info->backup_super = sb->from_backup;
	snprintf(info->kind, sizeof(info->kind), "%s", region_kind_name(r->kind));
}

static int read_info(const char *path, struct inodax_pool_info *info, struct err *err)
{
	struct region *r;
	struct super sb;
	struct tail tail;
	int rc = region_open(&r, path, 0, REGION_RDONLY | REGION_NOLOCK, err);

	if (rc)
		return rc;
	rc = super_read(r, path, &sb, err);
	if (!rc && tail_read(r, &sb, &tail))
		rc = err_set(err, -EUCLEAN,
			     "%s: both tail slots are damaged, one valid slot is needed: run fsck.inodax",
			     path);
	if (!rc)
		fill(info, r, &sb, &tail);
	region_close(r);
	return rc;
}

/*
 * Who holds it is asked without the region open: see region_holder(). A lock that cannot be asked for counts
 * as none.
 */
static int64_t read_holder(const char *path)
{
	long holder = region_holder(path);

	if (holder == -EBUSY)
		return -1;
	return holder > 0 ? holder : 0;
}

int inodax_pool_info(const char *path, struct inodax_pool_info *info, char *message, size_t message_size)
{
	struct inodax_pool_info out = { .size = sizeof(out) };
	struct err err = { "" };
	int rc;

	if (!path || !info || info->size < INFO_SIZE_0)
		rc = err_set(&err, -EINVAL, "inodax_pool_info: info->size is %u, sizeof(*info) is needed, %u or more",
			     info ? info->size : 0, INFO_SIZE_0);
	else
		rc = read_info(path, &out, &err);
	if (!rc) {
		out.holder = read_holder(path);
		out.size = info->size < sizeof(out) ? info->size : (uint32_t)sizeof(out);
		memcpy(info, &out, out.size);
	}
	if (message && message_size)
		snprintf(message, message_size, "%s", err.text);
	return rc;
}
