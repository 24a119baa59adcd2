/*
 * Answers to the kernel: the only place that turns results (0, a length or a negative errno) into FUSE
 * replies.
 *
 * Each call ends its request. `error` is 0 or a negative errno; when it is one, the rest is not looked at.
 */
#ifndef DAEMON_REPLY_H
#define DAEMON_REPLY_H

#include "daemon/fuse_compat.h"
#include "fs/fs.h"

/*
 * How long the kernel may believe names, their absence, and attributes, in seconds. All changes go through
 * this mount, and the kernel forgets what its own requests change, so it is only a bound on memory of the
 * kernel. Attributes of a file that is mapped directly for stores change without a request, and are not believed.
 */
#define REPLY_TIMEOUT	3600.0

/* Nothing but success or failure; also how every failure is answered. */
void reply_status(fuse_req_t req, int error);

/*
 * lookup, mknod, mkdir, symlink, link. reply_no_entry: the name is not there, and the kernel may remember
 * that.
 */
void reply_entry(fuse_req_t req, int error, const struct stat *st, uint64_t generation);
void reply_no_entry(fuse_req_t req);

void reply_attr(fuse_req_t req, int error, const struct stat *st);
void reply_statx(fuse_req_t req, int error, struct statx *stx);

/*
 * open, opendir, create, tmpfile: hand `f` to the kernel, which gives it back by release. If the caller was
 * interrupted meanwhile there will be no release, and it is closed here.
 */
void reply_open(fuse_req_t req, int error, struct fs_file *f, struct fuse_file_info *fi);
void reply_opendir(fuse_req_t req, int error, struct fs_file *f, struct fuse_file_info *fi);
void reply_create(fuse_req_t req, int error, struct fs_file *f, struct fuse_file_info *fi,
		  const struct stat *st, uint64_t generation);

/* Bytes; n is their number or a negative errno. reply_iov: `count` pieces of memory. */
void reply_data(fuse_req_t req, const void *data, ssize_t n);
void reply_iov(fuse_req_t req, const struct iovec *iov, int count);

void reply_written(fuse_req_t req, ssize_t n);		/* bytes taken, or a negative errno */
void reply_offset(fuse_req_t req, int64_t off);		/* lseek: offset or a negative errno */
void reply_xattr_size(fuse_req_t req, ssize_t n);	/* the length asked for, or a negative errno */
void reply_target(fuse_req_t req, int error, const char *target);
void reply_statfs(fuse_req_t req, int error, const struct statvfs *st);
void reply_ioctl(fuse_req_t req, int error, const void *out, size_t len);

/* The entry parameters of reply_entry(), for readdirplus. */
struct fuse_entry_param reply_entry_param(fuse_req_t req, const struct stat *st, uint64_t generation);

#endif
