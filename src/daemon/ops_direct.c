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

struct direct_call {
	struct call	call;
	unsigned int	cmd;
	union direct	d;
};

static int do_direct(struct direct_call *r)
{
	struct call *c = &r->call;
	struct fs *fs = c->d->fs;

	switch (r->cmd) {
	case DIRECT_IOC_OPEN:
		return open_grant(c->req, &c->fi, &r->d.open);
	case DIRECT_IOC_START:
		return fs_grant_start(fs, &r->d.start, !c->may_wait);
	case DIRECT_IOC_MAP:
		return fs_grant_map(fs, &r->d.map, !c->may_wait);
	case DIRECT_IOC_FAULT:
		return fs_grant_fault(fs, &r->d.fault, !c->may_wait);
	case DIRECT_IOC_UNMAP:
		return fs_grant_unmap(fs, &r->d.unmap, !c->may_wait);
	case DIRECT_IOC_PIN:
		return fs_grant_pin(fs, &r->d.pin, !c->may_wait);
	case DIRECT_IOC_UNPIN:
		return fs_grant_unpin(fs, &r->d.unpin, !c->may_wait);
	default:
		return -ENOTTY;
	}
}

static bool answer_direct(struct call *c)
{
	struct direct_call *r = container_of(c, struct direct_call, call);
	int rc = do_direct(r);

	if (rc == FS_WOULD_WAIT)
		return false;
	reply_ioctl(c->req, rc, &r->d, _IOC_DIR(r->cmd) & _IOC_READ ? _IOC_SIZE(r->cmd) : 0);
	return true;
}

bool ops_direct(fuse_req_t req, unsigned int cmd, struct fuse_file_info *fi, unsigned int flags, const void *in,
		size_t in_size, size_t out_size)
{
	size_t size = _IOC_SIZE(cmd);
	struct direct_call r;

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
	memset(&r, 0, sizeof(r));
	r.call = call_make(answer_direct, sizeof(r), req, 0, fi);
	r.cmd = cmd;
	memcpy(&r.d, in, size);
	call_answer(&r.call);
	return true;
}

/*
 * Writes back what is dirty, and waits for it: WRITE requests that threads of the FUSE loop answer, of which this is
 * none (parked.h). No page is locked and no lock of the inode is held in the kernel for the ioctl that asks for it.
 */
int ops_uncache(void *daemon, uint64_t ino)
{
	struct daemon *d = daemon;
	int rc;

	/* Nobody answers any more. */
	if (atomic_load(&d->parked.stopping))
		return -EINTR;
	rc = fuse_lowlevel_notify_inval_inode(d->session, (fuse_ino_t)ino, 0, 0);
	return rc == -ENOENT ? 0 : rc;	/* the kernel does not know the inode: it has no pages of it */
}

void ops_forget_inode(void *daemon, uint64_t ino)
{
	struct daemon *d = daemon;

	fuse_lowlevel_notify_inval_inode(d->session, (fuse_ino_t)ino, -1, 0);
}
