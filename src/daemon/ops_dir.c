/*
 * Directories: filling the kernel's buffer with entries, with or without their attributes.
 *
 * The offset of an entry is the cookie to go on after it, which stays right under any change of the
 * directory. With attributes (readdirplus) each entry counts as a lookup, except those of which
 * fs_entry_attr() gives none: "." and "..", of which the kernel wants no more than the number, and what a
 * lookup would refuse. These have node id 0, "no attributes given".
 */
#include "daemon/ops.h"
#include "daemon/reply.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "meta/dir.h"

/* A reply to readdir as it fills up. add() returns false when an entry does not fit, having added nothing. */
struct fill {
	fuse_req_t	 req;
	struct fs_file	*dir;
	char		*buf;
	size_t		 size, used;
	bool		(*add)(struct fill *fill, const struct dir_entry *de);
};

static bool add_plain(struct fill *fill, const struct dir_entry *de)
{
	struct stat st = { .st_ino = de->ino, .st_mode = DTTOIF(de->type) };
	size_t room = fill->size - fill->used;
	size_t len;

	len = fuse_add_direntry(fill->req, fill->buf + fill->used, room, de->name, &st, (off_t)de->cookie);
	if (len > room)
		return false;
	fill->used += len;
	return true;
}

static struct fuse_entry_param plus_param(const struct fill *fill, const struct dir_entry *de)
{
	uint64_t generation;
	struct stat st;

	if (fs_entry_attr(fill->dir, de, &st, &generation) == 0)
		return reply_entry_param(fill->req, &st, generation);
	return (struct fuse_entry_param){ .attr = { .st_ino = de->ino, .st_mode = DTTOIF(de->type) } };
}

static bool add_plus(struct fill *fill, const struct dir_entry *de)
{
	size_t room = fill->size - fill->used;
	struct fuse_entry_param e;
	size_t len;

	/* The size needs no attributes: none are fetched for an entry that is left to the next request. */
	if (fuse_add_direntry_plus(fill->req, NULL, 0, de->name, NULL, 0) > room)
		return false;
	e = plus_param(fill, de);
	len = fuse_add_direntry_plus(fill->req, fill->buf + fill->used, room, de->name, &e,
				     (off_t)de->cookie);
	fill->used += len;
	return true;
}

static int fill_entry(void *arg, const struct dir_entry *de)
{
	struct fill *fill = arg;

	return !fill->add(fill, de);
}

static void readdir_common(fuse_req_t req, size_t size, off_t off, const struct fuse_file_info *fi,
			   bool (*add)(struct fill *fill, const struct dir_entry *de))
{
	struct fill fill = { .req = req, .dir = ops_file(fi), .buf = malloc(size), .size = size, .add = add };
	int rc;

	if (!fill.buf) {
		reply_status(req, -ENOMEM);
		return;
	}
	rc = fs_readdir(fill.dir, (uint64_t)off, fill_entry, &fill);
	/* An error behind entries that were read is met again by the next request, which starts with it. */
	if (rc && fill.used == 0)
		reply_status(req, rc);
	else
		reply_data(req, fill.buf, (ssize_t)fill.used);
	free(fill.buf);
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs_file *f = NULL;
	int rc = fs_opendir(ops_fs(req), ino, &f);

	reply_opendir(req, rc, f, fi);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fs_close(ops_file(fi));
	reply_status(req, 0);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	readdir_common(req, size, off, fi, add_plain);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	readdir_common(req, size, off, fi, add_plus);
}

void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync, (void)fi;
	reply_status(req, fs_fsync(ops_fs(req), ino, false));
}
