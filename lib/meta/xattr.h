/*
 * Extended attributes: one run of blocks an inode, written anew at each change (format.h). Names are complete
 * ("user.x", "system.posix_acl_access"). The caller holds the inode's lock; exclusive, joined, to change.
 */
#ifndef META_XATTR_H
#define META_XATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "meta/inode.h"
#include "meta/tx.h"

/*
 * xattr_get - length of the value; copied if size > 0 (-ERANGE if it does not fit). -ENODATA, -EOPNOTSUPP
 * (namespace).
 */
ssize_t xattr_get(struct inode *ip, const char *name, void *value, size_t size);

/* xattr_list - the names, each terminated, as listxattr(2). `trusted`: show trusted.* too. */
ssize_t xattr_list(struct inode *ip, char *list, size_t size, bool trusted);

/*
 * xattr_set - flags XATTR_CREATE, XATTR_REPLACE; value NULL removes (size 0 with a value is an empty one).
 * -EEXIST, -ENODATA, -E2BIG (value), -ENOSPC (pool full, run full, or the names would exceed XATTR_LIST_MAX),
 * -ERANGE (name empty or longer than 255), -EINVAL (flags, or a prefix without a name), -EOPNOTSUPP. Several
 * may be set in one transaction. Removing needs a new run too, unless it was the last: begin with
 * BALLOC_RESERVE for it.
 */
int xattr_set(struct tx *tx, struct inode *ip, const char *name, const void *value, size_t size, int flags);

/* xattr_free_all - last put of an unlinked inode: give the run back in DRAM. */
void xattr_free_all(struct inode *ip);

/*
 * disk_xattr_run_verify - NULL, or what is wrong. [block, block + blocks) lies in the pool: the caller's to
 * check.
 */
const char *disk_xattr_run_verify(const struct super *sb, const struct disk_xattr_run *run, uint64_t block,
				  uint32_t blocks, uint64_t owner, uint64_t generation);

#endif
