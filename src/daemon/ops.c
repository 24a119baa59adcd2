/*
 * The table of operations: the daemon's table of contents; and what is agreed with the kernel at INIT.
 *
 * Left out on purpose: flush (nothing happens at close(2); times that are only in core are written at
 * release), access (default_permissions: the kernel checks), getlk, setlk and flock (locks of one mount are
 * right in the kernel), bmap and poll (nothing to say), write_buf (no splice). libfuse answers ENOSYS once
 * and the kernel stops asking.
 */
#include "daemon/ops.h"

#define MAX_WRITE	(1U << 20)
#define MAX_BACKGROUND	128U

/*
 * Capabilities, where the kernel has them. Not among them:
 * - WRITEBACK_CACHE: the kernel would keep sizes and times of its own, and write() would return before data
 *   is durable.
 * - AUTO_INVAL_DATA: the page cache of non-dax files never gets stale, this mount alone changes them;
 *   EXPLICIT_INVAL_DATA also keeps it over a change of size.
 * - ATOMIC_O_TRUNC: the kernel truncates by a setattr of its own, which says whether setuid is to be cleared.
 * - HANDLE_KILLPRIV, which the second version replaces. That one, and mappings of files opened for direct
 *   I/O: fuse_compat.h where libfuse can ask for them, init_exchange.c where not.
 */
#define WANTED_CAPS	(FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | \
			 FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_EXPORT_SUPPORT | \
			 FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL | FUSE_CAP_IOCTL_DIR | \
			 FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA)

struct fs *ops_fs(fuse_req_t req)
{
	struct daemon *d = fuse_req_userdata(req);

	return d->fs;
}

struct fs_cred ops_cred(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct fs_cred){
		.uid		= ctx->uid,
		.gid		= ctx->gid,
		.umask		= ctx->umask,
		.cap_fsetid	= ctx->uid == 0,
		.cap_trusted	= ctx->uid == 0,
	};
}

struct fs_file *ops_file(const struct fuse_file_info *fi)
{
	return (struct fs_file *)(uintptr_t)fi->fh;
}

void ops_forget_attributes(fuse_req_t req, fuse_ino_t ino)
{
	ops_forget_inode(fuse_req_userdata(req), ino);
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	const struct daemon *d = userdata;

	compat_want(conn, WANTED_CAPS | COMPAT_CAPS);
	if (conn->max_write > MAX_WRITE)
		conn->max_write = MAX_WRITE;
	conn->max_read = d->opts.max_read;	/* libfuse insists on the same number in both places */
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	conn->time_gran = 1;
}

const struct fuse_lowlevel_ops daemon_ops = {
	.init		= ops_init,

	.lookup		= ops_lookup,
	.forget		= ops_forget,
	.forget_multi	= ops_forget_multi,
	.mknod		= ops_mknod,
	.mkdir		= ops_mkdir,
	.symlink	= ops_symlink,
	.link		= ops_link,
	.unlink		= ops_unlink,
	.rmdir		= ops_rmdir,
	.rename		= ops_rename,
	.readlink	= ops_readlink,

	.create		= ops_create,
	COMPAT_OP_TMPFILE(ops_tmpfile)
	.open		= ops_open,
	.release	= ops_release,
	.read		= ops_read,
	.write		= ops_write,
	.fsync		= ops_fsync,
	.fallocate	= ops_fallocate,
	.lseek		= ops_lseek,
	.copy_file_range = ops_copy_file_range,

	.opendir	= ops_opendir,
	.releasedir	= ops_releasedir,
	.readdir	= ops_readdir,
	.readdirplus	= ops_readdirplus,
	.fsyncdir	= ops_fsyncdir,

	.getattr	= ops_getattr,
	.setattr	= ops_setattr,
	COMPAT_OP_STATX(ops_statx)
	.statfs		= ops_statfs,
	.ioctl		= ops_ioctl,

	.getxattr	= ops_getxattr,
	.setxattr	= ops_setxattr,
	.listxattr	= ops_listxattr,
	.removexattr	= ops_removexattr,
};
