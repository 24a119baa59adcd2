/*
 * Open files: reading, writing and space.
 *
 * A read is answered from the pool's own memory: the inode stays locked for reading from fs_read_begin()
 * until the device has taken the bytes. A write is taken from the request's buffer, and is durable when it is
 * answered.
 *
 * A write that comes from the page cache (fi->writepage: a shared mapping written back) is nobody's write(2):
 * it goes to the offset it says even if some descriptor has O_APPEND, its sender is not known, and it clears
 * no setuid, the kernel did when the mapping was written to. An O_APPEND write that comes from write(2) goes
 * to the end of the file as it is here; the offset that the kernel puts there is what it last knew.
 *
 * The kernel does not expect that writing changes the mode, and would go by the old one, setuid and all, for
 * as long as it may: it is told to forget the attributes before the caller has its answer. No chmod comes in
 * between, the kernel holds the inode's lock over both.
 */
#include "daemon/init_exchange.h"
#include "daemon/ops.h"
#include "daemon/reply.h"
#include "fs/grants.h"

#include <errno.h>
#include <fcntl.h>

/* 1 MiB, the most the kernel asks for, in blocks that may all lie apart, and an unaligned end. */
#define READ_IOVS	((int)((1U << 20) / BLOCK_SIZE) + 2)

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs_cred cred = ops_cred(req);
	struct fs_file *f = NULL;
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_create(ops_fs(req), &cred, parent, name, mode, fi->flags, &f, &st, &generation);

	reply_create(req, rc, f, fi, &st, generation);
}

void ops_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	struct fs_cred cred = ops_cred(req);
	struct fs_file *f = NULL;
	uint64_t generation = 0;
	struct stat st;
	int rc = fs_tmpfile(ops_fs(req), &cred, parent, mode, fi->flags, &f, &st, &generation);

	reply_create(req, rc, f, fi, &st, generation);
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs_file *f = NULL;
	int rc = fs_open(ops_fs(req), ino, fi->flags, &f);

	reply_open(req, rc, f, fi);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fs_close(ops_file(fi));
	reply_status(req, 0);
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct iovec iov[READ_IOVS];
	struct fs_file *f = ops_file(fi);
	int count = READ_IOVS;
	ssize_t n;

	(void)ino;
	/* A read(2) of somebody says whose; the page cache reads for nobody. */
	if (!fi->lock_owner)
		fs_grants_filled(f);
	n = fs_read_begin(f, (uint64_t)off, size, iov, &count);
	if (n < 0) {
		reply_status(req, (int)n);
		return;
	}
	reply_iov(req, iov, count);
	fs_read_end(f);
}

/* Will a change of data by `cred` clear setuid or setgid? */
static bool clears_setid(fuse_req_t req, fuse_ino_t ino, const struct fs_cred *cred)
{
	struct stat st;

	return !cred->cap_fsetid && fs_getattr(ops_fs(req), ino, &st, NULL) == 0 &&
	       (st.st_mode & (S_ISUID | S_ISGID));
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	       struct fuse_file_info *fi)
{
	struct fs_cred cred = ops_cred(req);
	unsigned int flags = 0;
	bool clears;
	ssize_t n;

	cred.cap_fsetid = fi->writepage || !init_exchange_write_kills_priv(fi);
	clears = clears_setid(req, ino, &cred);
	if (fi->writepage)
		flags |= FS_WRITE_BACK;
	else if (fi->flags & O_APPEND)
		flags |= FS_WRITE_APPEND;
	n = fs_write(ops_file(fi), &cred, buf, (uint64_t)off, size, flags);
	if (clears)
		ops_forget_attributes(req, ino);
	reply_written(req, n);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync, (void)fi;
	reply_status(req, fs_fsync(ops_fs(req), ino));
}

void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct fs_cred cred = ops_cred_waiting(req);
	bool clears = clears_setid(req, ino, &cred);
	int rc = fs_fallocate(ops_file(fi), &cred, mode, (uint64_t)off, (uint64_t)len);

	if (clears)
		ops_forget_attributes(req, ino);
	reply_status(req, rc);
}

void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	(void)ino;
	if (off < 0)
		reply_status(req, -ENXIO);
	else
		reply_offset(req, fs_lseek(ops_file(fi), (uint64_t)off, whence));
}

void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			 fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
			 int flags)
{
	struct fs_cred cred = ops_cred(req);
	bool clears;
	ssize_t n;

	(void)ino_in;
	if (flags) {
		reply_status(req, -EINVAL);
		return;
	}
	clears = clears_setid(req, ino_out, &cred);
	n = fs_copy_range(ops_file(fi_in), (uint64_t)off_in, ops_file(fi_out), (uint64_t)off_out, len, &cred);
	if (clears)
		ops_forget_attributes(req, ino_out);
	reply_written(req, n);
}
