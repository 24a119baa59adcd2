/*
 * Open files: handles, reading, seeking, fsync, reading directories. (Writing is write.c, sizes are truncate.c.)
 *
 * A handle holds a reference to its inode; that alone keeps the blocks of an unlinked file. Reads hand out the pool's
 * own memory under the inode's shared lock, so nothing is copied on the way to whoever asked.
 */
#include "fs/fs_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define RELATIME_SECONDS	(24 * 60 * 60)

static bool file_is_dax(const struct fs *fs, const struct inode *ip)
{
	switch (fs->options.dax) {
	case FS_DAX_ALWAYS:
		return true;
	case FS_DAX_INODE:
		return ip->core.flags & INODE_DAX;
	case FS_DAX_NEVER:
		break;
	}
	return false;
}

int file_handle(struct fs *fs, struct inode *ip, int flags, struct fs_file **out)
{
	struct fs_file *f = malloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->fs = fs;
	f->ip = ip;
	f->flags = flags;
	atomic_init(&f->grant, NULL);
	f->regular = S_ISREG(ip->core.mode);
	f->dax = f->regular && file_is_dax(fs, ip);
	atomic_fetch_add(&fs->open_files, 1);
	atomic_fetch_add(&ip->opens, 1);
	*out = f;
	return 0;
}

/* Immutable files are not opened for writing, append-only ones only with O_APPEND: as the kernel's may_open(). */
static int may_open(const struct fs *fs, const struct inode *ip, int flags)
{
	bool write = (flags & O_ACCMODE) != O_RDONLY;

	if (!write && !(flags & O_TRUNC))
		return 0;
	if (fs->pool.readonly)
		return -EROFS;
	return inode_changeable(ip, (flags & O_APPEND) && !(flags & O_TRUNC));
}

static int open_inode(struct fs *fs, uint64_t ino, int flags, bool directory, struct fs_file **out)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock_shared(ip);
	if (directory != INODE_IS_DIR(ip))
		rc = directory ? -ENOTDIR : -EISDIR;
	if (!rc)
		rc = may_open(fs, ip, flags);
	if (!rc)
		rc = file_handle(fs, ip, flags, out);
	inode_unlock(ip);
	if (rc)
		inode_put(ip);
	return rc;
}

int fs_open(struct fs *fs, uint64_t ino, int flags, struct fs_file **out)
{
	return open_inode(fs, ino, flags, false, out);
}

int fs_opendir(struct fs *fs, uint64_t ino, struct fs_file **out)
{
	return open_inode(fs, ino, O_RDONLY, true, out);
}

void fs_close(struct fs_file *f)
{
	struct inode *ip = f->ip;

	grants_release(f);
	inode_lock(ip);
	if (ip->core.nlink)
		(void)inode_write_times(ip);	/* a failure has failed the pool, which the next change will say */
	inode_unlock(ip);
	atomic_fetch_sub(&ip->opens, 1);
	inode_put(ip);
	atomic_fetch_sub(&f->fs->open_files, 1);
	free(f);
}

uint64_t fs_file_ino(const struct fs_file *f)
{
	return f->ip->ino;
}

bool fs_file_dax(const struct fs_file *f)
{
	return f->dax;
}

/* ---- Access times -------------------------------------------------------------------------------------- */

static bool time_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

bool inode_atime_due(const struct fs *fs, const struct inode *ip)
{
	const struct inode_core *c = &ip->core;
	enum fs_atime mode = fs->options.atime;

	if (fs->pool.readonly || mode == FS_NOATIME || (c->flags & INODE_NOATIME))
		return false;
	if (mode == FS_STRICTATIME)
		return true;
	return !time_before(&c->mtime, &c->atime) || !time_before(&c->ctime, &c->atime) ||
	       c->atime.tv_sec <= inode_now().tv_sec - RELATIME_SECONDS;	/* media may have any time */
}

/* Before the read, so that it is set when the reader is answered. Takes the lock exclusively only when it is due. */
static void atime_touch(struct fs_file *f)
{
	bool due;

	inode_lock_shared(f->ip);
	due = !(f->flags & O_NOATIME) && inode_atime_due(f->fs, f->ip);
	inode_unlock(f->ip);
	if (!due)
		return;
	inode_lock(f->ip);
	f->ip->core.atime = inode_now();
	f->ip->times_dirty = true;
	inode_unlock(f->ip);
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

/* The next piece of [pos, end): pool memory, or zeros. Bytes, or an error. */
static ssize_t read_piece(struct fs_file *f, uint64_t pos, uint64_t end, struct iovec *iov)
{
	struct iomap map;
	uint64_t len;
	int rc = iomap_read(f->ip, pos, end - pos, &map);

	if (rc)
		return rc;
	len = map.offset + map.length - pos;
	if (len > end - pos)
		len = end - pos;
	if (map.type == IOMAP_MAPPED) {
		iov->iov_base = pool_at(f->ip->pool, map.addr + (pos - map.offset));
	} else {
		iov->iov_base = (void *)f->fs->zeros;
		if (len > FS_ZEROS_SIZE)
			len = FS_ZEROS_SIZE;
	}
	iov->iov_len = len;
	return (ssize_t)len;
}

ssize_t fs_read_begin(struct fs_file *f, uint64_t off, size_t len, struct iovec *iov, int *count)
{
	int max = *count, n = 0;
	uint64_t pos = off, end;
	ssize_t rc;

	if (!f->regular)
		return -EISDIR;
	atime_touch(f);
	inode_hold(f->ip);
	inode_lock_shared(f->ip);
	end = f->ip->core.size;
	if (off < end && len < end - off)
		end = off + len;
	while (pos < end && n < max) {
		rc = read_piece(f, pos, end, &iov[n]);
		if (rc < 0) {
			fs_read_end(f);
			return rc;
		}
		pos += (uint64_t)rc;
		n++;
	}
	*count = n;
	return (ssize_t)(pos - off);
}

void fs_read_end(struct fs_file *f)
{
	struct inode *ip = f->ip;

	/*
	 * Whoever was answered may close the handle as soon as the lock is free: only the inode is touched after that.
	 */
	inode_unlock(ip);
	inode_put(ip);
}

ssize_t fs_read(struct fs_file *f, void *buf, uint64_t off, size_t len)
{
	ssize_t done = 0, n;
	struct iovec iov[16];
	int count;

	while ((size_t)done < len) {
		count = 16;
		n = fs_read_begin(f, off + (uint64_t)done, len - (size_t)done, iov, &count);
		if (n < 0)
			return done ? done : n;
		for (int i = 0; i < count; i++) {
			memcpy((char *)buf + done, iov[i].iov_base, iov[i].iov_len);
			done += (ssize_t)iov[i].iov_len;
		}
		fs_read_end(f);
		if (n == 0)
			break;
	}
	return done;
}

int64_t fs_lseek(struct fs_file *f, uint64_t off, int whence)
{
	int64_t rc;

	if (!f->regular)
		return -EINVAL;
	inode_lock_shared(f->ip);
	rc = iomap_seek(f->ip, off, whence);
	inode_unlock(f->ip);
	return rc;
}

int fs_fsync(struct fs *fs, uint64_t ino, bool nowait)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	rc = layout_sync(ip, nowait);
	if (!rc) {
		inode_lock(ip);
		rc = inode_write_times(ip);
		inode_unlock(ip);
	}
	inode_put(ip);
	return rc ? rc : atomic_load(&fs->pool.failed);
}

/* ---- Directories --------------------------------------------------------------------------------------- */

static int call_dot(uint64_t ino, const char *name, uint64_t cookie, fs_readdir_fn fn, void *arg)
{
	struct dir_entry e = { .ino = ino, .type = DT_DIR, .name_len = (uint8_t)strlen(name), .cookie = cookie };

	strcpy(e.name, name);
	return fn(arg, &e);
}

int fs_readdir(struct fs_file *f, uint64_t cookie, fs_readdir_fn fn, void *arg)
{
	struct inode *dir = f->ip;
	int rc;

	if (cookie == 0)
		atime_touch(f);
	rc = dir_lock_shared(dir);
	if (rc)
		return rc;
	if (cookie == 0)
		rc = call_dot(dir->ino, ".", 1, fn, arg);
	if (cookie <= 1 && !rc)
		rc = call_dot(dir->core.rdev, "..", 2, fn, arg);
	if (!rc && dir->core.nlink)
		rc = dir_fill(dir, cookie <= 2 ? 0 : cookie, fn, arg);
	inode_unlock(dir);
	return rc < 0 ? rc : 0;
}
