/*
 * Extended attributes as operations: one transaction each, with what an ACL means for the mode.
 */
#include "fs/fs_private.h"

#include <string.h>

#include "meta/balloc.h"

ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t size)
{
	struct inode *ip;
	ssize_t rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock_shared(ip);
	rc = xattr_get(ip, name, value, size);
	inode_unlock(ip);
	inode_put(ip);
	return rc;
}

ssize_t fs_listxattr(struct fs *fs, const struct fs_cred *cred, uint64_t ino, char *list, size_t size)
{
	struct inode *ip;
	ssize_t rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock_shared(ip);
	rc = xattr_list(ip, list, size, cred->cap_trusted);
	inode_unlock(ip);
	inode_put(ip);
	return rc;
}

/* One change of one attribute; value NULL removes it. */
struct change {
	const char	*name;
	const void	*value;
	size_t		 size;
	int		 flags;
};

static bool is_acl(const char *name)
{
	return strcmp(name, FS_ACL_ACCESS) == 0 || strcmp(name, FS_ACL_DEFAULT) == 0;
}

/* Removing what is not there is fine for an ACL: setfacl -b on a file without one. */
static int remove_acl(struct tx *tx, struct inode *ip, const char *name)
{
	int rc = xattr_set(tx, ip, name, NULL, 0, 0);

	return rc == -ENODATA ? 0 : rc;
}

/*
 * An access ACL sets the mode's permission bits; one that says no more than a mode is not kept. (posix_acl_update_mode)
 */
static int set_access_acl(struct tx *tx, struct inode *ip, const void *acl, size_t size, int flags)
{
	int rc;

	if (size == 0 || acl_count(size) == 0)
		return remove_acl(tx, ip, FS_ACL_ACCESS);
	if (S_ISLNK(ip->core.mode))
		return -EOPNOTSUPP;
	rc = acl_valid(acl, size);
	if (rc)
		return rc;
	if (size > FS_ACL_MAX)
		return -ENOSPC;
	rc = acl_equiv_mode(acl, size, &ip->core.mode);
	if (rc < 0)
		return rc;
	return rc == 0 ? remove_acl(tx, ip, FS_ACL_ACCESS) : xattr_set(tx, ip, FS_ACL_ACCESS, acl, size, flags);
}

static int set_default_acl(struct tx *tx, struct inode *ip, const void *acl, size_t size, int flags)
{
	int rc;

	if (size == 0 || acl_count(size) == 0)
		return remove_acl(tx, ip, FS_ACL_DEFAULT);
	if (!INODE_IS_DIR(ip))
		return -EACCES;
	rc = acl_valid(acl, size);
	if (rc)
		return rc;
	if (size > FS_ACL_MAX)
		return -ENOSPC;
	return xattr_set(tx, ip, FS_ACL_DEFAULT, acl, size, flags);
}

static int set_in_tx(struct tx *tx, struct inode *ip, const struct fs_cred *cred, const struct change *c)
{
	int rc;

	if (strcmp(c->name, FS_ACL_DEFAULT) == 0)
		return set_default_acl(tx, ip, c->value, c->size, c->flags);
	if (strcmp(c->name, FS_ACL_ACCESS) != 0)
		return xattr_set(tx, ip, c->name, c->value, c->size, c->flags);
	rc = set_access_acl(tx, ip, c->value, c->size, c->flags);
	if (!rc && !cred->cap_fsetid)
		ip->core.mode &= ~(mode_t)S_ISGID;
	return rc;
}

/* Lock exclusive. */
static int change_locked(struct inode *ip, const struct fs_cred *cred, const struct change *c)
{
	struct tx tx;
	int rc = inode_changeable(ip, false);

	if (!rc)
		rc = tx_begin(&tx, ip->pool, c->value ? 0 : BALLOC_RESERVE);
	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc && c->value)
		rc = set_in_tx(&tx, ip, cred, c);
	else if (!rc)
		rc = xattr_set(&tx, ip, c->name, NULL, 0, 0);
	if (rc) {
		tx_abort(&tx);
		return rc == -ENODATA && !c->value && is_acl(c->name) ? 0 : rc;
	}
	inode_touch_ctime(ip);
	return tx_commit(&tx);
}

static int change(struct fs *fs, uint64_t ino, const struct fs_cred *cred, const struct change *c)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock(ip);
	rc = change_locked(ip, cred, c);
	inode_unlock(ip);
	inode_put(ip);
	return rc;
}

int fs_setxattr(struct fs *fs, const struct fs_cred *cred, uint64_t ino, const char *name, const void *value,
		size_t size, int flags)
{
	const struct change c = { .name = name, .value = value ? value : "", .size = size, .flags = flags };

	return change(fs, ino, cred, &c);
}

int fs_removexattr(struct fs *fs, uint64_t ino, const char *name)
{
	return change(fs, ino, NULL, &(struct change){ .name = name });
}
