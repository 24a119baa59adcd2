/*
 * Names: lookup and everything that makes, moves or takes away a name.
 *
 * The node id the kernel knows an inode by is its inode number, so that there is no table of node ids, and a
 * lookup needs no count: an unlinked inode lives as long as a handle holds it (lib/fs), not as long as the
 * kernel remembers it.
 */
#include "daemon/ops.h"
#include "daemon/reply.h"

#include <errno.h>

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_lookup(ops_fs(req), parent, name, &st, &generation);

	if (rc == -ENOENT)
		reply_no_entry(req);
	else
		reply_entry(req, rc, &st, generation);
}

void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	(void)ino, (void)nlookup;
	fuse_reply_none(req);
}

void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count, (void)forgets;
	fuse_reply_none(req);
}

void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fs_cred cred = ops_cred(req);
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_mknod(ops_fs(req), &cred, parent, name, mode, rdev, &st, &generation);

	reply_entry(req, rc, &st, generation);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs_cred cred = ops_cred(req);
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_mkdir(ops_fs(req), &cred, parent, name, mode, &st, &generation);

	reply_entry(req, rc, &st, generation);
}

void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fs_cred cred = ops_cred(req);
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_symlink(ops_fs(req), &cred, parent, name, target, &st, &generation);

	reply_entry(req, rc, &st, generation);
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_link(ops_fs(req), ino, parent, name, &st, &generation);

	reply_entry(req, rc, &st, generation);
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_status(req, fs_unlink(ops_fs(req), parent, name));
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_status(req, fs_rmdir(ops_fs(req), parent, name));
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		const char *new_name, unsigned int flags)
{
	reply_status(req, fs_rename(ops_fs(req), parent, name, new_parent, new_name, flags));
}

void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[BLOCK_SIZE];
	int rc = fs_readlink(ops_fs(req), ino, target, sizeof(target));

	reply_target(req, rc, target);
}
