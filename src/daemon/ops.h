/*
 * The operations, by group of files, and what they share. The contract of each is that of the member of the
 * same name in <fuse_lowlevel.h>; the table is in ops.c. Each answers before it returns, but for those that are a
 * struct call (parked.h): what these need of init_exchange.c they ask before.
 */
#ifndef DAEMON_OPS_H
#define DAEMON_OPS_H

#include "daemon/daemon.h"

/* The table, for fuse_session_new(). */
extern const struct fuse_lowlevel_ops daemon_ops;

/* ops_fs - the filesystem of a request. */
struct fs *ops_fs(fuse_req_t req);

/*
 * ops_cred - who asks. CAP_FSETID cannot be asked: uid 0 is taken to have it, which counts where the request
 * itself does not say (fallocate, copy_file_range).
 */
struct fs_cred ops_cred(fuse_req_t req);

/*
 * ops_forget_attributes - have the kernel ask for the attributes of `ino` anew: what a request changed and
 * the kernel does not expect of it. Takes no lock of the inode in the kernel, so that it may be said within a
 * request.
 */
void ops_forget_attributes(fuse_req_t req, fuse_ino_t ino);

/* ops_file - the handle that open, create or opendir put there. */
struct fs_file *ops_file(const struct fuse_file_info *fi);

/* ---- ops_lookup.c: names ------------------------------------------------------------------------------- */

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		const char *new_name, unsigned int flags);
void ops_readlink(fuse_req_t req, fuse_ino_t ino);

/* ---- ops_io.c: open files ------------------------------------------------------------------------------ */

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void ops_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	       struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			 fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
			 int flags);

/* ---- ops_dir.c: directories ---------------------------------------------------------------------------- */

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* ---- ops_attr.c: attributes ---------------------------------------------------------------------------- */

void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void ops_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi);
void ops_statfs(fuse_req_t req, fuse_ino_t ino);

/* ---- ops_ioctl.c: inode flags -------------------------------------------------------------------------- */

void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
	       unsigned int flags, const void *in, size_t in_size, size_t out_size);

/* ---- ops_direct.c: direct mappings --------------------------------------------------------------------- */

/* ops_direct - an ioctl of direct.h. False: it is none, and was not answered. */
bool ops_direct(fuse_req_t req, unsigned int cmd, struct fuse_file_info *fi, unsigned int flags, const void *in,
		size_t in_size, size_t out_size);

/* ops_uncache, ops_forget_inode - of struct fs_grants_hooks; `daemon` is the struct. */
int ops_uncache(void *daemon, uint64_t ino);
void ops_forget_inode(void *daemon, uint64_t ino);

/* ---- ops_xattr.c: extended attributes ------------------------------------------------------------------ */

void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		  int flags);
void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
