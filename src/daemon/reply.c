/*
 * Answers to the kernel: see reply.h.
 *
 * lib/fs answers with the kernel's own errno values, so there is little to translate; -EUCLEAN stays what the
 * kernel's filesystems say for damaged media. The kernel refuses a reply with an error number of 512 or more
 * and leaves the caller waiting, so that such a number, which would be a bug of ours, becomes EIO.
 *
 * The result of a reply is not looked at: it fails when the caller was interrupted or the mount is gone, and
 * then nobody waits for it. Only replies that hand over a handle must know.
 */
#include "daemon/reply.h"

#include "daemon/ops.h"
#include "fs/grants.h"

#include <errno.h>

#define ERRNO_END	512

static int fuse_errno(int error)
{
	return error <= 0 && error > -ERRNO_END ? -error : EIO;
}

void reply_status(fuse_req_t req, int error)
{
	fuse_reply_err(req, fuse_errno(error));
}

/* How long the kernel may go by what it was told. */
static double attr_timeout(fuse_req_t req, const struct stat *st)
{
	return S_ISREG(st->st_mode) && fs_grants_storing(ops_fs(req), st->st_ino) ? 0 : REPLY_TIMEOUT;
}

struct fuse_entry_param reply_entry_param(fuse_req_t req, const struct stat *st, uint64_t generation)
{
	return (struct fuse_entry_param){
		.ino		= st->st_ino,
		.generation	= generation,
		.attr		= *st,
		.attr_timeout	= attr_timeout(req, st),
		.entry_timeout	= REPLY_TIMEOUT,
	};
}

void reply_entry(fuse_req_t req, int error, const struct stat *st, uint64_t generation)
{
	struct fuse_entry_param e;

	if (error) {
		reply_status(req, error);
		return;
	}
	e = reply_entry_param(req, st, generation);
	fuse_reply_entry(req, &e);
}

void reply_no_entry(fuse_req_t req)
{
	struct fuse_entry_param e = { .ino = 0, .entry_timeout = REPLY_TIMEOUT };

	fuse_reply_entry(req, &e);
}

void reply_attr(fuse_req_t req, int error, const struct stat *st)
{
	if (error)
		reply_status(req, error);
	else
		fuse_reply_attr(req, st, attr_timeout(req, st));
}

void reply_statx(fuse_req_t req, int error, struct statx *stx)
{
	if (error)
		reply_status(req, error);
	else
		compat_reply_statx(req, stx, fs_grants_storing(ops_fs(req), stx->stx_ino) ? 0 : REPLY_TIMEOUT);
}

/*
 * A file that is read and written past the page cache says so. Of any other, what the cache holds is right:
 * every change went through it.
 */
static void set_open_flags(struct fuse_file_info *fi, struct fs_file *f)
{
	fi->fh = (uintptr_t)f;
	fi->direct_io = fs_file_dax(f);
	fi->keep_cache = !fi->direct_io;
	compat_parallel_writes(fi);
}

void reply_open(fuse_req_t req, int error, struct fs_file *f, struct fuse_file_info *fi)
{
	if (error) {
		reply_status(req, error);
		return;
	}
	set_open_flags(fi, f);
	if (fuse_reply_open(req, fi))
		fs_close(f);
}

void reply_opendir(fuse_req_t req, int error, struct fs_file *f, struct fuse_file_info *fi)
{
	if (error) {
		reply_status(req, error);
		return;
	}
	fi->fh = (uintptr_t)f;
	if (fuse_reply_open(req, fi))
		fs_close(f);
}

void reply_create(fuse_req_t req, int error, struct fs_file *f, struct fuse_file_info *fi,
		  const struct stat *st, uint64_t generation)
{
	struct fuse_entry_param e;

	if (error) {
		reply_status(req, error);
		return;
	}
	e = reply_entry_param(req, st, generation);
	set_open_flags(fi, f);
	if (fuse_reply_create(req, &e, fi))
		fs_close(f);
}

void reply_data(fuse_req_t req, const void *data, ssize_t n)
{
	if (n < 0)
		reply_status(req, (int)n);
	else
		fuse_reply_buf(req, data, (size_t)n);
}

void reply_iov(fuse_req_t req, const struct iovec *iov, int count)
{
	fuse_reply_iov(req, iov, count);
}

void reply_written(fuse_req_t req, ssize_t n)
{
	if (n < 0)
		reply_status(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

void reply_offset(fuse_req_t req, int64_t off)
{
	if (off < 0)
		reply_status(req, (int)off);
	else
		fuse_reply_lseek(req, off);
}

void reply_xattr_size(fuse_req_t req, ssize_t n)
{
	if (n < 0)
		reply_status(req, (int)n);
	else
		fuse_reply_xattr(req, (size_t)n);
}

void reply_target(fuse_req_t req, int error, const char *target)
{
	if (error)
		reply_status(req, error);
	else
		fuse_reply_readlink(req, target);
}

void reply_statfs(fuse_req_t req, int error, const struct statvfs *st)
{
	if (error)
		reply_status(req, error);
	else
		fuse_reply_statfs(req, st);
}

void reply_ioctl(fuse_req_t req, int error, const void *out, size_t len)
{
	if (error)
		reply_status(req, error);
	else
		fuse_reply_ioctl(req, 0, out, len);
}
