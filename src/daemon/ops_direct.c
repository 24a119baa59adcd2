/*
 * Direct mappings: the ioctls of direct.h, and what they need of the kernel.
 *
 * The structure that came is copied, since an answer is as large as what is asked for: nothing is read or written
 * beyond what the caller has room for.
 */
#include "daemon/ops.h"
#include "daemon/reply.h"

#include <errno.h>
#include <string.h>

#include "fs/grants.h"

union direct {
	struct direct_open	open;
	struct direct_start	start;
	struct direct_map	map;
	struct direct_fault	fault;
	struct direct_unmap	unmap;
	struct direct_pin	pin;
	struct direct_unpin	unpin;
};

static int open_grant(fuse_req_t req, struct fuse_file_info *fi, struct direct_open *open)
{
	struct fs_cred cred = ops_cred(req);

	return fs_grant_open(ops_file(fi), &cred, fuse_req_ctx(req)->pid, open);
}

static int answer(fuse_req_t req, unsigned int cmd, struct fuse_file_info *fi, union direct *d)
{
	struct fs *fs = ops_fs(req);

	switch (cmd) {
	case DIRECT_IOC_OPEN:
		return open_grant(req, fi, &d->open);
	case DIRECT_IOC_START:
		return fs_grant_start(fs, &d->start);
	case DIRECT_IOC_MAP:
		return fs_grant_map(fs, &d->map);
	case DIRECT_IOC_FAULT:
		return fs_grant_fault(fs, &d->fault);
	case DIRECT_IOC_UNMAP:
		return fs_grant_unmap(fs, &d->unmap);
	case DIRECT_IOC_PIN:
		return fs_grant_pin(fs, &d->pin);
	case DIRECT_IOC_UNPIN:
		return fs_grant_unpin(fs, &d->unpin);
	default:
		return -ENOTTY;
	}
}

bool ops_direct(fuse_req_t req, unsigned int cmd, struct fuse_file_info *fi, unsigned int flags, const void *in,
		size_t in_size, size_t out_size)
{
	size_t size = _IOC_SIZE(cmd);
	union direct d;
	int rc;

	if (cmd != DIRECT_IOC_OPEN && cmd != DIRECT_IOC_START && cmd != DIRECT_IOC_MAP && cmd != DIRECT_IOC_FAULT &&
	    cmd != DIRECT_IOC_UNMAP && cmd != DIRECT_IOC_PIN && cmd != DIRECT_IOC_UNPIN)
		return false;
	if (flags & FUSE_IOCTL_DIR) {
		reply_ioctl(req, -ENOTTY, NULL, 0);
		return true;
	}
	if (in_size < size || ((_IOC_DIR(cmd) & _IOC_READ) && out_size < size)) {
		reply_ioctl(req, -EINVAL, NULL, 0);
		return true;
	}
	memset(&d, 0, sizeof(d));
	memcpy(&d, in, size);
	rc = answer(req, cmd, fi, &d);
	reply_ioctl(req, rc, &d, _IOC_DIR(cmd) & _IOC_READ ? size : 0);
	return true;
}

/*
 * Writes back what is dirty, and waits for it: WRITE requests that other threads answer. No page is locked and no lock
 * of the inode is held in the kernel for the ioctl that asks for it.
 */
int ops_uncache(void *daemon, uint64_t ino)
{
	struct daemon *d = daemon;
	int rc = fuse_lowlevel_notify_inval_inode(d->session, (fuse_ino_t)ino, 0, 0);

	return rc == -ENOENT ? 0 : rc;	/* the kernel does not know the inode: it has no pages of it */
}

void ops_forget_inode(void *daemon, uint64_t ino)
{
	struct daemon *d = daemon;

	fuse_lowlevel_notify_inval_inode(d->session, (fuse_ino_t)ino, -1, 0);
}
