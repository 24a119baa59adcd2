/*
 * What is there already, before mkfs overwrites it.
 */
#ifndef MKFS_PROBE_H
#define MKFS_PROBE_H

#include "util/err.h"

/*
 * probe_unused - 0 when nothing is known to be in the file or device `path`: neither a pool (even a damaged
 * one) nor anything that libblkid knows. -EEXIST with what and where in `err`; other errors when it cannot be
 * read. Opens and closes the path, so it must not be called while this process has it open as a region.
 */
int probe_unused(const char *path, struct err *err);

#endif
