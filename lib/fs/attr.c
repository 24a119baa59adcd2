/*
 * Attributes: times, modes, owners, inode flags; and the small steps about them that every other operation makes.
 *
 * Times of writes and reads are kept in core (times_dirty) and reach the media with the inode's next record, at fsync
 * or at close: a record for each write would double what an overwrite costs, and POSIX asks no more of a crash.
 */
#include "fs/fs_private.h"

#include <string.h>
#include <sys/xattr.h>

#include "meta/balloc.h"

#define CAPABILITY_XATTR	"security.capability"

void inode_touch(struct inode *ip)
{
	ip->core.mtime = ip->core.ctime = inode_now();
}

void inode_touch_ctime(struct inode *ip)
{
	ip->core.ctime = inode_now();
}

int inode_write_times(struct inode *ip)
{
	struct tx tx;
	int rc;

	if (!ip->times_dirty)
		return 0;
	rc = tx_begin(&tx, ip->pool, 0);
	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	return tx_commit(&tx);
}

int inode_changeable(const struct inode *ip, bool append)
{
	if (ip->core.flags & INODE_IMMUTABLE)
		return -EPERM;
	return (ip->core.flags & INODE_APPEND) && !append ? -EPERM : 0;
}

static bool has_capability(struct inode *ip)
{
	return ip->core.xattr_block && xattr_get(ip, CAPABILITY_XATTR, NULL, 0) >= 0;
}

/* The bits a change by somebody without CAP_FSETID takes away. */
static mode_t priv_bits(mode_t mode)
{
	mode_t bits = mode & S_ISUID;

	if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		bits |= S_ISGID;
	return bits;
}

enum kill_priv inode_kill_what(struct inode *ip, bool cap_fsetid)
{
	if (!S_ISREG(ip->core.mode))
		return KILL_NOTHING;
	if (!cap_fsetid && priv_bits(ip->core.mode))
		return KILL_ALL;
	return has_capability(ip) ? KILL_CAPABILITY : KILL_NOTHING;
}

int inode_kill_priv(struct tx *tx, struct inode *ip, enum kill_priv what)
{
	if (what == KILL_NOTHING)
		return 0;
	if (what == KILL_ALL)
		ip->core.mode &= ~priv_bits(ip->core.mode);
	return has_capability(ip) ? xattr_set(tx, ip, CAPABILITY_XATTR, NULL, 0, 0) : 0;
}

int fs_getattr(struct fs *fs, uint64_t ino, struct stat *st, uint64_t *generation)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock_shared(ip);
	inode_stat(ip, st);
	if (generation)
		*generation = ip->core.generation;
	inode_unlock(ip);
	inode_put(ip);
	return 0;
}

int fs_btime(struct fs *fs, uint64_t ino, struct timespec *btime, uint32_t *flags)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock_shared(ip);
	*btime = ip->core.btime;
	*flags = ip->core.flags;
	inode_unlock(ip);
	inode_put(ip);
	return 0;
}

/* chmod: the access ACL, where there is one, follows the mode (kernel: posix_acl_chmod). */
static int chmod_acl(struct tx *tx, struct inode *ip)
{
	char acl[FS_ACL_MAX];
	ssize_t len;
	int rc;

	if (!ip->core.xattr_block)
		return 0;
	len = xattr_get(ip, FS_ACL_ACCESS, acl, sizeof(acl));
	if (len == -ENODATA)
		return 0;
	if (len < 0)
		return (int)len;
	rc = acl_chmod(acl, (size_t)len, ip->core.mode);
	return rc ? rc : xattr_set(tx, ip, FS_ACL_ACCESS, acl, (size_t)len, 0);
}

static void set_times(struct inode *ip, const struct stat *st, unsigned int valid)
{
	struct timespec now = inode_now();

	if (valid & FS_SET_ATIME)
		ip->core.atime = st->st_atim;
	if (valid & FS_SET_ATIME_NOW)
		ip->core.atime = now;
	if (valid & FS_SET_MTIME)
		ip->core.mtime = st->st_mtim;
	if (valid & FS_SET_MTIME_NOW)
		ip->core.mtime = now;
	ip->core.ctime = valid & FS_SET_CTIME ? st->st_ctim : now;
}

/* Everything but the size, in the transaction. A change of owner always takes setuid, setgid and capabilities away. */
static int set_plain(struct tx *tx, struct inode *ip, const struct stat *st, unsigned int valid)
{
	int rc = 0;

	if (valid & (FS_SET_UID | FS_SET_GID | FS_SET_KILL_PRIV))
		rc = inode_kill_priv(tx, ip, inode_kill_what(ip, false));
	if (rc)
		return rc;
	if (valid & FS_SET_UID)
		ip->core.uid = st->st_uid;
	if (valid & FS_SET_GID)
		ip->core.gid = st->st_gid;
	if (valid & FS_SET_MODE) {
		ip->core.mode = (ip->core.mode & S_IFMT) | (st->st_mode & 07777);
		rc = chmod_acl(tx, ip);
	}
	set_times(ip, st, valid);
	return rc;
}

static int setattr_plain(struct inode *ip, const struct stat *st, unsigned int valid)
{
	struct tx tx;
	int rc = tx_begin(&tx, ip->pool, 0);

	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc)
		rc = set_plain(&tx, ip, st, valid);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	return tx_commit(&tx);
}

/* Of an append-only inode only the times may be set, and only to now (kernel: may_setattr). */
static bool touches_only(unsigned int valid)
{
	if (valid & (FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_SIZE))
		return false;
	return (!(valid & FS_SET_ATIME) || (valid & FS_SET_ATIME_NOW)) &&
	       (!(valid & FS_SET_MTIME) || (valid & FS_SET_MTIME_NOW));
}

static int setattr_locked(struct inode *ip, const struct stat *st, unsigned int valid)
{
	int rc = inode_changeable(ip, touches_only(valid));

	if (rc)
		return rc;
	if (valid & FS_SET_SIZE) {
		if (!S_ISREG(ip->core.mode))
			return INODE_IS_DIR(ip) ? -EISDIR : -EINVAL;
		if (st->st_size < 0)
			return -EINVAL;
		rc = inode_truncate(ip, (uint64_t)st->st_size, inode_kill_what(ip, !(valid & FS_SET_KILL_PRIV)));
		if (rc)
			return rc;
		valid &= ~(unsigned int)(FS_SET_SIZE | FS_SET_KILL_PRIV);
	}
	return valid ? setattr_plain(ip, st, valid) : 0;
}

static bool takes_size(const struct stat *st, unsigned int valid)
{
	return (valid & FS_SET_SIZE) && st->st_size >= 0;
}

/* A size, whichever it is, takes away what lies behind it: what was preallocated there, too. */
static int setattr_begin(const struct fs *fs, struct inode *ip, const struct fs_cred *cred, const struct stat *st,
			 unsigned int valid)
{
	if (fs->pool.readonly)
		return -EROFS;
	if (takes_size(st, valid))
		return layout_begin(ip, cred, (uint64_t)st->st_size, UINT64_MAX - (uint64_t)st->st_size);
	inode_lock(ip);
	return 0;
}

/* A file that was not cut after all keeps its private copies. */
static void setattr_end(struct inode *ip, const struct fs_cred *cred, const struct stat *st, unsigned int valid)
{
	if (!takes_size(st, valid))
		inode_unlock(ip);
	else if (ip->core.size == (uint64_t)st->st_size)
		layout_end_cut(ip, cred, ip->core.size);
	else
		layout_end(ip);
}

int fs_setattr(struct fs *fs, const struct fs_cred *cred, uint64_t ino, const struct stat *st, unsigned int valid,
	       struct stat *out)
{
	struct inode *ip;
	uint64_t before;
	bool grown;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	rc = setattr_begin(fs, ip, cred, st, valid);
	if (rc)
		goto out_put;
	before = ip->core.size;
	rc = setattr_locked(ip, st, valid);
	if (!rc && out)
		inode_stat(ip, out);
	grown = ip->core.size > before;
	setattr_end(ip, cred, st, valid);
	if (grown && !cred->nowait)
		layout_filled(ip, before, (uint64_t)st->st_size - before);
out_put:
	inode_put(ip);
	return rc;
}

int fs_getflags(struct fs *fs, uint64_t ino, uint32_t *flags, uint32_t *projid)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock_shared(ip);
	*flags = ip->core.flags;
	if (projid)
		*projid = ip->core.projid;
	inode_unlock(ip);
	inode_put(ip);
	return 0;
}

/* Flags that mean something for this type only: a directory's on a file are refused as ext4 drops them, by type. */
static int flags_allowed(const struct inode *ip, uint32_t flags)
{
	if (flags & ~INODE_FLAGS_KNOWN)
		return -EOPNOTSUPP;
	if (!INODE_IS_DIR(ip) && (flags & (INODE_DIRSYNC | INODE_PROJINHERIT)))
		return -EOPNOTSUPP;
	if (!INODE_IS_DIR(ip) && !S_ISREG(ip->core.mode) && (flags & INODE_DAX))
		return -EINVAL;
	return 0;
}

/* What stays immutable keeps its flags and its project (ext4_ioctl_check_immutable). */
static bool keeps_immutable(const struct inode *ip, uint32_t flags, const uint32_t *projid)
{
	if (!(ip->core.flags & flags & INODE_IMMUTABLE))
		return true;
	return flags == ip->core.flags && (!projid || *projid == ip->core.projid);
}

static int setflags_locked(struct inode *ip, uint32_t flags, const uint32_t *projid)
{
	struct tx tx;
	int rc = flags_allowed(ip, flags);

	if (!rc && !keeps_immutable(ip, flags, projid))
		rc = -EPERM;
	if (!rc)
		rc = tx_begin(&tx, ip->pool, 0);
	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	ip->core.flags = flags;
	if (projid)
		ip->core.projid = *projid;
	inode_touch_ctime(ip);
	return tx_commit(&tx);
}

int fs_setflags(struct fs *fs, uint64_t ino, uint32_t flags, const uint32_t *projid)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock(ip);
	rc = setflags_locked(ip, flags, projid);
	inode_unlock(ip);
	inode_put(ip);
	return rc;
}
