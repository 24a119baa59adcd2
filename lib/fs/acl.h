/*
 * POSIX ACLs in the form the kernel passes as the value of system.posix_acl_access and
 * system.posix_acl_default (<linux/posix_acl_xattr.h>, version 2): a header, then entries of tag, permissions
 * and id, little-endian.
 *
 * Pure functions on buffers of any alignment; no I/O, no locks. Where a function takes an ACL, acl_valid()
 * has accepted it and it is not empty; one that nobody checked is answered with an error, never with a stray
 * access.
 */
#ifndef FS_ACL_H
#define FS_ACL_H

#include <stddef.h>
#include <sys/types.h>

#define ACL_SIZE(entries)	(4 + (size_t)(entries) * 8)	/* bytes of an ACL */
#define ACL_MODE_ENTRIES	3U				/* owner, group, others: all a mode says */

/*
 * acl_count - posix_acl_xattr_count(): entries in `size` bytes, or -EINVAL. 0: empty; to set it is to remove
 * the ACL.
 */
int acl_count(size_t size);

/*
 * acl_valid - posix_acl_from_xattr() and posix_acl_valid(): 0 for an ACL in order (USER_OBJ, USER...,
 * GROUP_OBJ, GROUP..., MASK if there is any USER or GROUP, OTHER) and for an empty one. -EINVAL; -EOPNOTSUPP
 * for another version.
 */
int acl_valid(const void *acl, size_t size);

/*
 * acl_equiv_mode - posix_acl_equiv_mode(): put what the ACL says into the permission bits of *mode (the mask,
 * where there is one, is the group bits). 0: the mode says it all and the ACL need not be kept; 1: it must
 * be; -EINVAL.
 */
int acl_equiv_mode(const void *acl, size_t size, mode_t *mode);

/*
 * acl_from_mode - posix_acl_from_mode(): the three entries of a mode into ACL_SIZE(ACL_MODE_ENTRIES) bytes.
 */
void acl_from_mode(void *acl, mode_t mode);

/* acl_chmod - __posix_acl_chmod(): change an access ACL, in place, to agree with a new mode. 0 or -EIO. */
int acl_chmod(void *acl, size_t size, mode_t mode);

/*
 * acl_create_masq - the part of posix_acl_create() that computes. `acl` is a copy of the parent's default ACL
 * and becomes the access ACL of the new object; *mode is what the creator asked for (no umask applied) and
 * becomes the final mode. 1: store the ACL; 0: the mode says it all; -EIO.
 */
int acl_create_masq(void *acl, size_t size, mode_t *mode);

#endif
