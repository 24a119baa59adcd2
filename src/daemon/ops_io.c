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
 * to the end of the file as it is here; the offset that the kernel puts there is what it last knew. (RWF_APPEND is not
 * told: the kernel's flags are those of the descriptor.) When data goes elsewhere than the kernel believes, it has the
 * wrong size, and the page cache the wrong pages, both to be forgotten: the pages afterwards, since before the answer
 * they may be locked for this very write.
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

struct read_call {
	struct call	call;
	uint64_t	off;
	size_t		size;
};

static bool answer_read(struct call *c)
{
	const struct read_call *r = container_of(c, struct read_call, call);
	struct iovec iov[READ_IOVS];
	struct fs_file *f = ops_file(&c->fi);
	int count = READ_IOVS;
	ssize_t n;

	/* A read(2) of somebody says whose; the page cache reads for nobody. */
	if (!c->fi.lock_owner && fs_grants_filled(f, !c->may_wait))
		return false;
	n = fs_read_begin(f, r->off, r->size, iov, &count);
	if (n < 0) {
		reply_status(c->req, (int)n);
		return true;
	}
	reply_iov(c->req, iov, count);
	fs_read_end(f);
	return true;
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct read_call r = {
		.call = call_make(answer_read, sizeof(r), req, ino, fi), .off = (uint64_t)off, .size = size,
	};

	r.call.locks_page = !fi->lock_owner;
	call_answer(&r.call);
}

/* Will a change of data by `cred` clear setuid or setgid? */
static bool clears_setid(fuse_req_t req, fuse_ino_t ino, const struct fs_cred *cred)
{
	struct stat st;

	return !cred->cap_fsetid && fs_getattr(ops_fs(req), ino, &st, NULL) == 0 &&
	       (st.st_mode & (S_ISUID | S_ISGID));
}

/* What the page cache has of a file from some offset on is wrong. Its pages may be in use by other requests. */
struct pages_call {
	struct call	call;
	uint64_t	off;
};

static bool answer_pages(struct call *c)
{
	const struct pages_call *p = container_of(c, struct pages_call, call);

	if (!atomic_load(&c->d->parked.stopping))
		fuse_lowlevel_notify_inval_inode(c->d->session, c->ino, (off_t)p->off, 0);
	return true;
}

/* After the answer to `c`. */
static void forget_pages(const struct call *c, uint64_t off)
{
	struct pages_call p = {
		.call = { .answer = answer_pages, .d = c->d, .ino = c->ino, .size = sizeof(p) }, .off = off,
	};

	parked_do(&p.call);
}

struct write_call {
	struct call	call;		/* its data is what is written */
	uint64_t	off;
	bool		kills_priv;
};

static bool answer_write(struct call *c)
{
	const struct write_call *w = container_of(c, struct write_call, call);
	struct fs_cred cred = call_cred(c);
	uint64_t off = w->off;
	bool clears;
	ssize_t n;

	cred.cap_fsetid = c->fi.writepage || !w->kills_priv;
	clears = clears_setid(c->req, c->ino, &cred);
	if (!c->fi.writepage && (c->fi.flags & O_APPEND))
		n = fs_append(ops_file(&c->fi), &cred, c->data, &off, c->length);
	else
		n = fs_write(ops_file(&c->fi), &cred, c->data, off, c->length, c->fi.writepage ? FS_WRITE_BACK : 0);
	if (n == FS_WOULD_WAIT)
		return false;
	if (clears || off != w->off)
		ops_forget_attributes(c->req, c->ino);
	reply_written(c->req, n);
	if (off != w->off)
		forget_pages(c, off < w->off ? off : w->off);
	return true;
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	       struct fuse_file_info *fi)
{
	struct write_call w = {
		.call = call_make(answer_write, sizeof(w), req, ino, fi), .off = (uint64_t)off,
		.kills_priv = init_exchange_write_kills_priv(fi),
	};

	w.call.data = buf;
	w.call.length = size;
	w.call.locks_page = fi->writepage || !fs_file_dax(ops_file(fi));
	call_answer(&w.call);
}

static bool answer_fsync(struct call *c)
{
	int rc = fs_fsync(c->d->fs, c->ino, !c->may_wait);

	if (rc == FS_WOULD_WAIT)
		return false;
	reply_status(c->req, rc);
	return true;
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct call c = call_make(answer_fsync, sizeof(c), req, ino, fi);

	(void)datasync;
	call_answer(&c);
}

struct fallocate_call {
	struct call	call;
	int		mode;
	uint64_t	off, len;
};

static bool answer_fallocate(struct call *c)
{
	const struct fallocate_call *a = container_of(c, struct fallocate_call, call);
	struct fs_cred cred = call_cred(c);
	bool clears = clears_setid(c->req, c->ino, &cred);
	int rc = fs_fallocate(ops_file(&c->fi), &cred, a->mode, a->off, a->len);

	if (rc == FS_WOULD_WAIT)
		return false;
	if (clears)
		ops_forget_attributes(c->req, c->ino);
	reply_status(c->req, rc);
	return true;
}

void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct fallocate_call a = {
		.call = call_make(answer_fallocate, sizeof(a), req, ino, fi), .mode = mode, .off = (uint64_t)off,
		.len = (uint64_t)len,
	};

	call_answer(&a.call);
}

void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	(void)ino;
	if (off < 0)
		reply_status(req, -ENXIO);
	else
		reply_offset(req, fs_lseek(ops_file(fi), (uint64_t)off, whence));
}

struct copy_call {
	struct call	call;		/* of what is written to */
	struct fs_file	*from;
	uint64_t	off_in, off_out;
	size_t		len;
};

static bool answer_copy(struct call *c)
{
	const struct copy_call *r = container_of(c, struct copy_call, call);
	struct fs_cred cred = call_cred(c);
	bool clears = clears_setid(c->req, c->ino, &cred);
	ssize_t n = fs_copy_range(r->from, r->off_in, ops_file(&c->fi), r->off_out, r->len, &cred);

	if (n == FS_WOULD_WAIT)
		return false;
	if (clears)
		ops_forget_attributes(c->req, c->ino);
	reply_written(c->req, n);
	return true;
}

void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			 fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
			 int flags)
{
	struct copy_call r = {
		.call = call_make(answer_copy, sizeof(r), req, ino_out, fi_out), .from = ops_file(fi_in),
		.off_in = (uint64_t)off_in, .off_out = (uint64_t)off_out, .len = len,
	};

	(void)ino_in;
	if (flags)
		reply_status(req, -EINVAL);
	else
		call_answer(&r.call);
}
