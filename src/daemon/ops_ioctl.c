/*
 * Inode flags by ioctl: chattr, lsattr, xfs_io.
 *
 * Two views of the same flags: FS_IOC_GETFLAGS/SETFLAGS (FS_*_FL, which are INODE_* as they are) and
 * FS_IOC_FSGETXATTR/FSSETXATTR (struct fsxattr with FS_XFLAG_* and the project). The kernel checked the
 * caller's right to set them before it asks (vfs_fileattr_set), and opens a handle of its own for these.
 *
 * FS_IOC_GETFLAGS and its kin say "long" in their number and mean int: 4 bytes are answered, whatever room
 * there is. Direct mappings are in ops_direct.c; anything else is ENOTTY.
 */
#include "daemon/ops.h"
#include "daemon/reply.h"

#include <errno.h>
#include <string.h>

#include <linux/fs.h>

/* What programs built for 32 bits send; the kernel passes numbers on as they are. */
#define IOC32_GETFLAGS		_IOR('f', 1, int)
#define IOC32_SETFLAGS		_IOW('f', 2, int)
#define IOC32_GETVERSION	_IOR('v', 1, int)

static const struct { uint32_t xflag, flag; } xflags_map[] = {
	{ FS_XFLAG_SYNC,	INODE_SYNC },
	{ FS_XFLAG_IMMUTABLE,	INODE_IMMUTABLE },
	{ FS_XFLAG_APPEND,	INODE_APPEND },
	{ FS_XFLAG_NODUMP,	INODE_NODUMP },
	{ FS_XFLAG_NOATIME,	INODE_NOATIME },
	{ FS_XFLAG_DAX,		INODE_DAX },
	{ FS_XFLAG_PROJINHERIT,	INODE_PROJINHERIT },
};

#define XFLAGS_ROWS	(sizeof(xflags_map) / sizeof(xflags_map[0]))

static uint32_t flags_to_xflags(uint32_t flags)
{
	uint32_t xflags = 0;

	for (size_t i = 0; i < XFLAGS_ROWS; i++)
		if (flags & xflags_map[i].flag)
			xflags |= xflags_map[i].xflag;
	return xflags;
}

/* *flags keeps what has no xflag. -EOPNOTSUPP for an xflag that has no flag. */
static int xflags_to_flags(uint32_t xflags, uint32_t *flags)
{
	for (size_t i = 0; i < XFLAGS_ROWS; i++) {
		*flags &= ~xflags_map[i].flag;
		if (xflags & xflags_map[i].xflag)
			*flags |= xflags_map[i].flag;
		xflags &= ~xflags_map[i].xflag;
	}
	return xflags & ~(uint32_t)FS_XFLAG_HASATTR ? -EOPNOTSUPP : 0;
}

static void ioctl_getflags(fuse_req_t req, fuse_ino_t ino, size_t out_size)
{
	uint32_t flags;
	int rc = fs_getflags(ops_fs(req), ino, &flags, NULL);

	if (out_size < sizeof(flags))
		rc = -EINVAL;
	reply_ioctl(req, rc, &flags, sizeof(flags));
}

static void ioctl_setflags(fuse_req_t req, fuse_ino_t ino, const void *in, size_t in_size)
{
	uint32_t flags;
	int rc = -EINVAL;

	if (in_size >= sizeof(flags)) {
		memcpy(&flags, in, sizeof(flags));
		rc = fs_setflags(ops_fs(req), ino, flags, NULL);
	}
	if (!rc)
		ops_forget_attributes(req, ino);	/* ctime moved */
	reply_ioctl(req, rc, NULL, 0);
}

static void ioctl_getversion(fuse_req_t req, fuse_ino_t ino, size_t out_size)
{
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_getattr(ops_fs(req), ino, &st, &generation);
	uint32_t version = (uint32_t)generation;

	if (out_size < sizeof(version))
		rc = -EINVAL;
	reply_ioctl(req, rc, &version, sizeof(version));
}

static void ioctl_fsgetxattr(fuse_req_t req, fuse_ino_t ino, size_t out_size)
{
	struct fsxattr fsx = { 0 };
	uint32_t flags = 0, projid = 0;
	int rc = fs_getflags(ops_fs(req), ino, &flags, &projid);

	fsx.fsx_xflags = flags_to_xflags(flags);
	fsx.fsx_projid = projid;
	if (out_size < sizeof(fsx))
		rc = -EINVAL;
	reply_ioctl(req, rc, &fsx, sizeof(fsx));
}

static int set_fsxattr(struct fs *fs, uint64_t ino, const struct fsxattr *fsx)
{
	uint32_t flags, projid;
	int rc;

	if (fsx->fsx_extsize || fsx->fsx_cowextsize)
		return -EOPNOTSUPP;
	rc = fs_getflags(fs, ino, &flags, NULL);
	if (!rc)
		rc = xflags_to_flags(fsx->fsx_xflags, &flags);
	projid = fsx->fsx_projid;
	return rc ? rc : fs_setflags(fs, ino, flags, &projid);
}

static void ioctl_fssetxattr(fuse_req_t req, fuse_ino_t ino, const void *in, size_t in_size)
{
	struct fsxattr fsx;
	int rc = -EINVAL;

	if (in_size >= sizeof(fsx)) {
		memcpy(&fsx, in, sizeof(fsx));
		rc = set_fsxattr(ops_fs(req), ino, &fsx);
	}
	if (!rc)
		ops_forget_attributes(req, ino);
	reply_ioctl(req, rc, NULL, 0);
}

void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
	       unsigned int flags, const void *in, size_t in_size, size_t out_size)
{
	(void)arg;
	if (ops_direct(req, cmd, fi, flags, in, in_size, out_size))
		return;
	switch (cmd) {
	case FS_IOC_GETFLAGS:
	case IOC32_GETFLAGS:
		ioctl_getflags(req, ino, out_size);
		break;
	case FS_IOC_SETFLAGS:
	case IOC32_SETFLAGS:
		ioctl_setflags(req, ino, in, in_size);
		break;
	case FS_IOC_GETVERSION:
	case IOC32_GETVERSION:
		ioctl_getversion(req, ino, out_size);
		break;
	case FS_IOC_FSGETXATTR:
		ioctl_fsgetxattr(req, ino, out_size);
		break;
	case FS_IOC_FSSETXATTR:
		ioctl_fssetxattr(req, ino, in, in_size);
		break;
	default:
		reply_ioctl(req, -ENOTTY, NULL, 0);
	}
}
