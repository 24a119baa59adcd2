/*
 * Attributes: stat, statx, chmod and its kin, truncate, statfs.
 *
 * Clearing of setuid and setgid was agreed at INIT (init_exchange.c): a setattr that should do it says so.
 * Where the kernel is too old to, it sends the mode that it wants instead.
 */
#include "daemon/init_exchange.h"
#include "daemon/ops.h"
#include "daemon/reply.h"

#include <string.h>
#include <sys/sysmacros.h>

void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int rc = fs_getattr(ops_fs(req), ino, &st, NULL);

	(void)fi;
	reply_attr(req, rc, &st);
}

static unsigned int setattr_valid(int to_set)
{
	static const struct { int fuse; unsigned int fs; } map[] = {
		{ FUSE_SET_ATTR_MODE,		FS_SET_MODE },
		{ FUSE_SET_ATTR_UID,		FS_SET_UID },
		{ FUSE_SET_ATTR_GID,		FS_SET_GID },
		{ FUSE_SET_ATTR_SIZE,		FS_SET_SIZE },
		{ FUSE_SET_ATTR_ATIME,		FS_SET_ATIME },
		{ FUSE_SET_ATTR_MTIME,		FS_SET_MTIME },
		{ FUSE_SET_ATTR_ATIME_NOW,	FS_SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW,	FS_SET_MTIME_NOW },
		{ FUSE_SET_ATTR_CTIME,		FS_SET_CTIME },
	};
	unsigned int valid = 0;

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (to_set & map[i].fuse)
			valid |= map[i].fs;
	return valid;
}

struct setattr_call {
	struct call	call;
	struct stat	attr;
	unsigned int	valid;
	bool		kills_priv;
};

static bool answer_setattr(struct call *c)
{
	struct setattr_call *s = container_of(c, struct setattr_call, call);
	struct fs_cred cred = call_cred(c);
	struct stat st;
	int rc;

	cred.cap_fsetid = !s->kills_priv;
	rc = fs_setattr(c->d->fs, &cred, c->ino, &s->attr, s->valid, &st);
	if (rc == FS_WOULD_WAIT)
		return false;
	reply_attr(c->req, rc, &st);
	return true;
}

void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct setattr_call s = {
		.call = call_make(answer_setattr, sizeof(s), req, ino, fi), .attr = *attr,
		.valid = setattr_valid(to_set), .kills_priv = init_exchange_setattr_kills_priv(to_set),
	};

	if (s.kills_priv)
		s.valid |= FS_SET_KILL_PRIV;
	call_answer(&s.call);
}

static struct statx_timestamp statx_time(struct timespec ts)
{
	return (struct statx_timestamp){ .tv_sec = ts.tv_sec, .tv_nsec = (uint32_t)ts.tv_nsec };
}

static uint64_t statx_attributes(uint32_t flags)
{
	return (flags & INODE_IMMUTABLE ? STATX_ATTR_IMMUTABLE : 0) |
	       (flags & INODE_APPEND ? STATX_ATTR_APPEND : 0) |
	       (flags & INODE_NODUMP ? STATX_ATTR_NODUMP : 0);
}

void ops_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
	struct statx stx = { .stx_mask = STATX_BASIC_STATS | STATX_BTIME };
	struct timespec btime;
	uint32_t iflags;
	struct stat st;
	int rc;

	(void)flags, (void)mask, (void)fi;
	rc = fs_getattr(ops_fs(req), ino, &st, NULL);
	if (!rc)
		rc = fs_btime(ops_fs(req), ino, &btime, &iflags);
	if (!rc) {
		stx.stx_ino = st.st_ino;
		stx.stx_mode = (uint16_t)st.st_mode;
		stx.stx_nlink = (uint32_t)st.st_nlink;
		stx.stx_uid = st.st_uid;
		stx.stx_gid = st.st_gid;
		stx.stx_size = (uint64_t)st.st_size;
		stx.stx_blocks = (uint64_t)st.st_blocks;
		stx.stx_blksize = (uint32_t)st.st_blksize;
		stx.stx_rdev_major = major(st.st_rdev);
		stx.stx_rdev_minor = minor(st.st_rdev);
		stx.stx_atime = statx_time(st.st_atim);
		stx.stx_mtime = statx_time(st.st_mtim);
		stx.stx_ctime = statx_time(st.st_ctim);
		stx.stx_btime = statx_time(btime);
		stx.stx_attributes_mask = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_NODUMP;
		stx.stx_attributes = statx_attributes(iflags);
	}
	reply_statx(req, rc, &stx);
}

void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = { 0 };
	int rc = fs_statvfs(ops_fs(req), &st);

	(void)ino;
	reply_statfs(req, rc, &st);
}
