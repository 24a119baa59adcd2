/*
 * Names: lookup, creation of every type, link, unlink, rmdir. (Rename is rename.c.)
 *
 * Each change is one transaction over the directory, the inode and what they need: the record that makes a name
 * appear is the one that makes its inode live (nlink >= 1), the one that takes the last name away makes it free.
 * What an unlinked inode holds stays in use in core until its last reference goes (meta/icache.c).
 *
 * Locks: the directory, then the inode, both exclusive for changes.
 */
#include "fs/fs_private.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "meta/balloc.h"
#include "util/log.h"

int name_length(const char *name)
{
	size_t len = strnlen(name, NAME_MAX_LEN + 1);

	if (len > NAME_MAX_LEN)
		return -ENAMETOOLONG;
	if (len == 0 || memchr(name, '/', len))
		return -EINVAL;
	return (int)len;
}

bool name_is_dot(const char *name)
{
	return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

int dir_get(struct fs *fs, uint64_t ino, struct inode **out)
{
	struct inode *ip;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	if (!INODE_IS_DIR(ip)) {	/* the type of an inode never changes while it is referenced */
		inode_put(ip);
		return -ENOTDIR;
	}
	*out = ip;
	return 0;
}

/* child_get() of an entry that was read: it points to inode `ino`. Lock of `dir` held. */
static int child_get_ino(struct inode *dir, uint64_t ino, struct inode **out)
{
	struct inode *ip;
	int rc = inode_get(dir->pool, ino, &ip);

	if (rc)
		return rc;
	/* The parent of what the directory names changes only under the directory's lock. */
	if (INODE_IS_DIR(ip) && (ino == INO_ROOT || ip == dir || ip->core.rdev != dir->ino)) {
		log_error("directory %llu: an entry points to directory %llu, whose parent is %llu: run fsck.inodax",
			  (unsigned long long)dir->ino, (unsigned long long)ino,
			  (unsigned long long)ip->core.rdev);
		inode_put(ip);
		return -EUCLEAN;
	}
	*out = ip;
	return 0;
}

int child_get(struct inode *dir, const char *name, unsigned int len, struct inode **out, uint8_t *type)
{
	uint64_t ino;
	int rc = dir_lookup(dir, name, len, &ino, type);

	return rc ? rc : child_get_ino(dir, ino, out);
}

static void fill(struct inode *ip, struct stat *st, uint64_t *generation)
{
	if (st)
		inode_stat(ip, st);
	if (generation)
		*generation = ip->core.generation;
}

/* fill() under the lock of a child that child_get() gave, and put it. The directory's lock is held. */
static void fill_child(struct inode *ip, struct stat *st, uint64_t *generation)
{
	inode_lock_shared(ip);
	fill(ip, st, generation);
	inode_unlock(ip);
	inode_put(ip);
}

/* "." and "..": what export by handle asks for. */
static int lookup_dot(struct fs *fs, uint64_t ino, bool parent, struct stat *st, uint64_t *generation)
{
	struct inode *ip;
	uint64_t up;
	int rc;

	rc = inode_get(&fs->pool, ino, &ip);
	if (!rc && parent) {
		inode_lock_shared(ip);
		up = ip->core.rdev;
		rc = INODE_IS_DIR(ip) ? 0 : -ENOTDIR;
		inode_unlock(ip);
		inode_put(ip);
		if (!rc)
			rc = inode_get(&fs->pool, up, &ip);
	}
	if (rc)
		return rc;
	inode_lock_shared(ip);
	fill(ip, st, generation);
	rc = ip->core.nlink ? 0 : -ESTALE;
	inode_unlock(ip);
	inode_put(ip);
	return rc;
}

int fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct stat *st, uint64_t *generation)
{
	struct inode *dir, *ip;
	int len = name_length(name);
	uint8_t type;
	int rc;

	if (len < 0)
		return len;
	if (name_is_dot(name))
		return lookup_dot(fs, parent, len == 2, st, generation);
	rc = dir_get(fs, parent, &dir);
	if (rc)
		return rc;
	rc = dir_lock_shared(dir);
	if (rc)
		goto put_dir;
	rc = child_get(dir, name, (unsigned int)len, &ip, &type);
	if (!rc)
		fill_child(ip, st, generation);
	inode_unlock(dir);
put_dir:
	inode_put(dir);
	return rc;
}

int fs_entry_attr(struct fs_file *dir, const struct dir_entry *e, struct stat *st, uint64_t *generation)
{
	struct inode *ip;
	int rc;

	if (name_is_dot(e->name))
		return -EINVAL;
	rc = child_get_ino(dir->ip, e->ino, &ip);
	if (!rc)
		fill_child(ip, st, generation);
	return rc;
}

/* ---- Creation ------------------------------------------------------------------------------------------ */

/* What to create: the type is in mode; rdev for devices, target for symlinks; name NULL for an unnamed file. */
struct creation {
	const char	*name;
	mode_t		 mode;
	dev_t		 rdev;
	const char	*target;
};

/* The ACLs of a new inode, from the default ACL of its directory; -ENODATA when that has none. */
static int inherit_acl(struct tx *tx, struct inode *ip, struct inode *dir, mode_t *mode)
{
	char acl[FS_ACL_MAX];
	ssize_t len;
	int rc = 0;

	if (!dir->core.xattr_block)
		return -ENODATA;
	len = xattr_get(dir, FS_ACL_DEFAULT, acl, sizeof(acl));
	if (len < 0)
		return (int)len;
	if (S_ISDIR(*mode))
		rc = xattr_set(tx, ip, FS_ACL_DEFAULT, acl, (size_t)len, 0);
	if (rc)
		return rc;
	rc = acl_create_masq(acl, (size_t)len, mode);
	return rc == 1 ? xattr_set(tx, ip, FS_ACL_ACCESS, acl, (size_t)len, 0) : rc;
}

/* Flags a new inode takes from its directory, as the kernel's filesystems do. */
static uint32_t inherited_flags(const struct inode *dir, mode_t mode)
{
	uint32_t flags = dir->core.flags & (INODE_SYNC | INODE_NODUMP | INODE_NOATIME | INODE_DAX);

	if (S_ISDIR(mode))
		return flags | (dir->core.flags & (INODE_DIRSYNC | INODE_PROJINHERIT));
	return S_ISREG(mode) ? flags : flags & (INODE_NODUMP | INODE_NOATIME);
}

int inode_init(struct tx *tx, struct inode *ip, struct inode *dir, const struct fs_cred *cred, mode_t mode)
{
	struct inode_core *core = &ip->core;
	mode_t perm = mode;
	int rc;

	core->mode = mode;
	core->uid = cred->uid;
	core->gid = cred->gid;
	if (dir->core.mode & S_ISGID) {
		core->gid = dir->core.gid;
		if (S_ISDIR(mode))
			perm |= S_ISGID;
	}
	core->flags = inherited_flags(dir, mode);
	core->projid = dir->core.flags & INODE_PROJINHERIT ? dir->core.projid : 0;
	core->btime = core->atime = core->mtime = core->ctime = inode_now();
	if (S_ISLNK(mode))
		rc = -ENODATA;
	else
		rc = inherit_acl(tx, ip, dir, &perm);
	if (rc == -ENODATA) {
		if (!S_ISLNK(mode))
			perm &= ~(cred->umask & 0777);
		rc = 0;
	}
	core->mode = perm;
	return rc;
}

/* A symlink's target: in the inode if it fits, else in a block of its own. */
static int write_target(struct tx *tx, struct inode *ip, const char *target)
{
	size_t len = strlen(target);
	struct iomap map;
	char *dst;
	int rc;

	ip->core.size = len;
	if (len <= INODE_AREA_SIZE) {
		ip->core.format = INODE_FORMAT_INLINE;
		memset(ip->core.target, 0, sizeof(ip->core.target));
		memcpy(ip->core.target, target, len);
		return 0;
	}
	rc = iomap_write(tx, ip, 0, len, &map);
	if (rc)
		return rc;
	dst = pool_at(ip->pool, map.addr);
	persist_store_nt(ip->pool->region, dst, target, len);
	persist_zero_nt(ip->pool->region, dst + len, map.length - len);
	tx_order_data(tx);
	return 0;
}

static int fill_new(struct tx *tx, struct inode *ip, struct inode *dir, const struct fs_cred *cred,
		    const struct creation *c)
{
	int rc = inode_init(tx, ip, dir, cred, c->mode);

	if (rc)
		return rc;
	if (S_ISDIR(c->mode)) {
		ip->core.nlink = 2;
		ip->core.rdev = dir->ino;
		dir->core.nlink++;
	} else {
		ip->core.nlink = c->name ? 1 : 0;
	}
	if (S_ISLNK(c->mode))
		return write_target(tx, ip, c->target);
	if (!S_ISREG(c->mode) && !S_ISDIR(c->mode)) {
		ip->core.format = INODE_FORMAT_NONE;
		ip->core.rdev = S_ISCHR(c->mode) || S_ISBLK(c->mode) ? c->rdev : 0;
	}
	return 0;
}

/* May something be created as `name` in this directory? Lock exclusive. */
static int may_create(struct inode *dir, const char *name, int len)
{
	uint64_t ino;
	uint8_t type;
	int rc;

	if (dir->core.nlink == 0)
		return -ENOENT;
	if (name) {
		rc = dir_lookup(dir, name, (unsigned int)len, &ino, &type);
		if (rc != -ENOENT)
			return rc ? rc : -EEXIST;
	}
	return inode_changeable(dir, true);
}

/* The transaction of a creation. Returns with *out referenced and locked exclusively, or nothing. */
static int create_locked(struct fs *fs, const struct fs_cred *cred, struct inode *dir, const struct creation *c,
			 struct inode **out)
{
	int len = c->name ? name_length(c->name) : 0;
	struct inode *ip;
	struct tx tx;
	int rc;

	rc = may_create(dir, c->name, len);
	if (!rc)
		rc = tx_begin(&tx, &fs->pool, 0);
	if (rc)
		return rc;
	rc = inode_new(&tx, &ip);
	if (rc)
		goto abort;
	rc = inode_join(&tx, dir);
	if (!rc)
		rc = fill_new(&tx, ip, dir, cred, c);
	if (!rc && c->name) {
		rc = dir_add(&tx, dir, c->name, (unsigned int)len, ip->ino, IFTODT(c->mode));
		inode_touch(dir);
	}
	if (rc) {
		tx_abort(&tx);
	} else {
		rc = tx_commit(&tx);
	}
	if (rc) {
		inode_unlock(ip);
		inode_put(ip);
		return rc;
	}
	*out = ip;
	return 0;

abort:
	tx_abort(&tx);
	return rc;
}

/* Create; with `file` also open a handle before anybody else can see the name. */
static int create(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const struct creation *c, int flags,
		  struct fs_file **file, struct stat *st, uint64_t *generation)
{
	struct inode *dir, *ip;
	int len = c->name ? name_length(c->name) : 1;
	int rc;

	if (len < 0)
		return len;
	if (c->name && name_is_dot(c->name))
		return -EEXIST;
	rc = dir_get(fs, parent, &dir);
	if (rc)
		return rc;
	rc = dir_lock_exclusive(dir);
	if (rc)
		goto put_dir;
	rc = create_locked(fs, cred, dir, c, &ip);
	if (rc)
		goto unlock_dir;
	fill(ip, st, generation);
	if (file)
		rc = file_handle(fs, ip, flags, file);
	inode_unlock(ip);
	if (!file || rc)
		inode_put(ip);
unlock_dir:
	inode_unlock(dir);
put_dir:
	inode_put(dir);
	return rc;
}

int fs_mknod(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, mode_t mode, dev_t rdev,
	     struct stat *st, uint64_t *generation)
{
	struct creation c = { .name = name, .mode = mode, .rdev = rdev };

	switch (mode & S_IFMT) {
	case 0:
		c.mode |= S_IFREG;
		break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return -EINVAL;
	}
	return create(fs, cred, parent, &c, 0, NULL, st, generation);
}

int fs_mkdir(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, mode_t mode,
	     struct stat *st, uint64_t *generation)
{
	struct creation c = { .name = name, .mode = S_IFDIR | (mode & 07777) };

	return create(fs, cred, parent, &c, 0, NULL, st, generation);
}

int fs_symlink(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, const char *target,
	       struct stat *st, uint64_t *generation)
{
	struct creation c = { .name = name, .mode = S_IFLNK | 0777, .target = target };
	size_t len = strnlen(target, BLOCK_SIZE);

	if (len == 0)
		return -ENOENT;
	if (len >= BLOCK_SIZE)
		return -ENAMETOOLONG;
	return create(fs, cred, parent, &c, 0, NULL, st, generation);
}

int fs_create(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, mode_t mode, int flags,
	      struct fs_file **out, struct stat *st, uint64_t *generation)
{
	struct creation c = { .name = name, .mode = S_IFREG | (mode & 07777) };

	return create(fs, cred, parent, &c, flags, out, st, generation);
}

int fs_tmpfile(struct fs *fs, const struct fs_cred *cred, uint64_t parent, mode_t mode, int flags,
	       struct fs_file **out, struct stat *st, uint64_t *generation)
{
	struct creation c = { .mode = S_IFREG | (mode & 07777) };

	return create(fs, cred, parent, &c, flags, out, st, generation);
}

/* ---- Links --------------------------------------------------------------------------------------------- */

static int link_locked(struct fs *fs, struct inode *dir, struct inode *ip, const char *name)
{
	int len = name_length(name);
	struct tx tx;
	int rc;

	rc = may_create(dir, name, len);
	if (!rc)
		rc = inode_changeable(ip, false);
	if (!rc && ip->core.nlink >= LINK_MAX_FILE)
		rc = -EMLINK;
	if (!rc)
		rc = tx_begin(&tx, &fs->pool, 0);
	if (rc)
		return rc;
	rc = inode_join(&tx, dir);
	if (!rc)
		rc = inode_join(&tx, ip);
	if (!rc)
		rc = dir_add(&tx, dir, name, (unsigned int)len, ip->ino, IFTODT(ip->core.mode));
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	ip->core.nlink++;
	inode_touch_ctime(ip);
	inode_touch(dir);
	return tx_commit(&tx);
}

int fs_link(struct fs *fs, uint64_t ino, uint64_t parent, const char *name, struct stat *st, uint64_t *generation)
{
	struct inode *dir, *ip;
	int len = name_length(name);
	int rc;

	if (len < 0)
		return len;
	if (name_is_dot(name))
		return -EEXIST;
	rc = inode_get(&fs->pool, ino, &ip);
	if (rc)
		return rc;
	if (INODE_IS_DIR(ip)) {
		rc = -EPERM;
		goto put_inode;
	}
	rc = dir_get(fs, parent, &dir);
	if (rc)
		goto put_inode;
	rc = dir_lock_exclusive(dir);
	if (rc)
		goto put_dir;
	inode_lock(ip);
	rc = link_locked(fs, dir, ip, name);
	if (!rc)
		fill(ip, st, generation);
	inode_unlock(ip);
	inode_unlock(dir);
put_dir:
	inode_put(dir);
put_inode:
	inode_put(ip);
	return rc;
}

/* Take a name away and with it a link: both locks held, all checks made. */
static int remove_name(struct fs *fs, struct inode *dir, struct inode *ip, const char *name, int len)
{
	struct tx tx;
	int rc;

	rc = tx_begin(&tx, &fs->pool, BALLOC_RESERVE);
	if (rc)
		return rc;
	rc = inode_join(&tx, dir);
	if (!rc)
		rc = inode_join(&tx, ip);
	if (!rc)
		rc = dir_remove(&tx, dir, name, (unsigned int)len);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	if (INODE_IS_DIR(ip)) {
		ip->core.nlink = 0;
		dir_drop_link(dir);
	} else {
		ip->core.nlink--;
	}
	inode_touch_ctime(ip);
	inode_touch(dir);
	return tx_commit(&tx);
}

static int may_remove(struct inode *dir, struct inode *ip, bool directory)
{
	int rc;

	if (directory != INODE_IS_DIR(ip))
		return directory ? -ENOTDIR : -EISDIR;
	if (!ip->core.nlink)
		return -EUCLEAN;	/* more names than links */
	rc = inode_changeable(dir, false);
	if (!rc)
		rc = inode_changeable(ip, false);
	if (!rc && directory && !dir_is_empty(ip))
		rc = -ENOTEMPTY;
	return rc;
}

static int remove_locked(struct fs *fs, struct inode *dir, const char *name, int len, bool directory,
			 struct inode **out)
{
	struct inode *ip;
	uint8_t type;
	int rc;

	rc = child_get(dir, name, (unsigned int)len, &ip, &type);
	if (rc)
		return rc;
	*out = ip;
	if (INODE_IS_DIR(ip))
		rc = dir_lock_exclusive(ip);
	else
		inode_lock(ip);
	if (rc)
		return rc;
	rc = may_remove(dir, ip, directory);
	if (!rc)
		rc = remove_name(fs, dir, ip, name, len);
	inode_unlock(ip);
	return rc;
}

static int remove_child(struct fs *fs, uint64_t parent, const char *name, bool directory)
{
	struct inode *dir, *ip = NULL;
	int len = name_length(name);
	int rc;

	if (len < 0)
		return len;
	rc = dir_get(fs, parent, &dir);
	if (rc)
		return rc;
	rc = dir_lock_exclusive(dir);
	if (!rc) {
		rc = remove_locked(fs, dir, name, len, directory, &ip);
		inode_unlock(dir);
	}
	if (ip)
		inode_put(ip);		/* the last one frees what it held: outside the directory's lock */
	inode_put(dir);
	return rc;
}

int fs_unlink(struct fs *fs, uint64_t parent, const char *name)
{
	return remove_child(fs, parent, name, false);
}

int fs_rmdir(struct fs *fs, uint64_t parent, const char *name)
{
	if (name_is_dot(name))
		return name[1] ? -ENOTEMPTY : -EINVAL;
	return remove_child(fs, parent, name, true);
}

/*
 * Written at once: there is no handle that would bring it to the media later. A failure has failed the pool, which the
 * next change will say; the target was read.
 */
static void touch_atime(struct inode *ip)
{
	inode_lock(ip);
	ip->core.atime = inode_now();
	ip->times_dirty = true;
	if (ip->core.nlink)
		(void)inode_write_times(ip);
	inode_unlock(ip);
}

int fs_readlink(struct fs *fs, uint64_t ino, char *target, size_t size)
{
	struct inode *ip;
	struct iomap map;
	bool due;
	int rc = inode_get(&fs->pool, ino, &ip);

	if (rc)
		return rc;
	inode_lock_shared(ip);
	if (!S_ISLNK(ip->core.mode)) {
		rc = -EINVAL;
	} else if (ip->core.size >= size) {
		rc = -EUCLEAN;
	} else if (ip->core.format == INODE_FORMAT_INLINE) {
		memcpy(target, ip->core.target, ip->core.size);
	} else {
		rc = iomap_read(ip, 0, ip->core.size, &map);
		if (!rc && (map.type != IOMAP_MAPPED || map.length < ip->core.size))
			rc = -EUCLEAN;
		if (!rc)
			memcpy(target, pool_at(ip->pool, map.addr), ip->core.size);
	}
	if (!rc)
		target[ip->core.size] = 0;
	due = !rc && inode_atime_due(fs, ip);
	inode_unlock(ip);
	if (due)
		touch_atime(ip);
	inode_put(ip);
	return rc;
}
