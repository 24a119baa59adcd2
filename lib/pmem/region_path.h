/*
 * What a path is, and why it cannot be a pool if it cannot. No mapping happens here.
 *
 * `sysfs` is "/sys"; tests pass a tree of their own.
 */
#ifndef PMEM_REGION_PATH_H
#define PMEM_REGION_PATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "pmem/region.h"
#include "util/err.h"

struct region_path {
	enum region_kind kind;	/* REGION_DEVDAX, _VOLATILE or _PAGED; mapping tells if that is _FSDAX */
	uint64_t	 size;	/* bytes: the device's, or the file's as it is now */
	uint64_t	 unit;	/* map unit in bytes: the device's align, or 4 KiB */
	bool		 created;	/* by this call; the caller unlinks it if what follows fails */
	bool		 could_dax;	/* see region_path_could_dax() */
};

/*
 * region_path_open - check what `path` is, open it, and check again what was opened.
 *
 * Nothing but a regular file or a device of class dax is ever opened, since opening alone disturbs some
 * devices and waits on fifos. With REGION_CREATE a missing file is made with mode 0600, except directly in
 * /dev.
 *
 * Returns a descriptor that the caller closes, or the errors of region_open() with their message.
 */
int region_path_open(const char *path, unsigned int flags, const char *sysfs, struct region_path *out,
		     struct err *err);

/* region_path_refuse - 0 if an object with this stat can be a pool, else the error; not yet its size. */
int region_path_refuse(const char *path, const struct stat *st, const char *sysfs, struct err *err);

/* region_path_unbound - the error for a device-DAX device without the driver it needs; 0: it has that, or is none. */
int region_path_unbound(const char *path, const char *sysfs, struct err *err);

/* region_path_missing - the error for a path that does not exist and is not to be created; why, if known. */
int region_path_missing(const char *path, const char *sysfs, struct err *err);

/* region_path_device - size and map unit of the dax device `st`, as sysfs tells. */
int region_path_device(const char *path, const struct stat *st, const char *sysfs, struct region_path *out,
		       struct err *err);

/*
 * region_path_could_dax - of a file on a filesystem of this type, on the block device `dev`: can the kernel map it
 * without the page cache, if only the filesystem is mounted so? False when that is not certain.
 */
bool region_path_could_dax(unsigned long type, uint64_t block_size, dev_t dev, const char *sysfs);

/* region_path_sync_parent - make the name of a file just created durable. */
int region_path_sync_parent(const char *path);

#endif
