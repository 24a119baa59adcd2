/*
 * Rename, with NOREPLACE and EXCHANGE: one transaction over up to two directories and two inodes.
 *
 * Locks: rename_lock when the directories differ, so that the shape of the tree stands still; the directories, an
 * ancestor before what lies below it, else by number; then the two inodes, directories first, else by number.
 * Within one directory no lock but its own orders the inodes: they are children of it and locked after it.
 */
#include "fs/fs_private.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/ialloc.h"

/* One side of a rename. */
struct side {
	struct inode	*dir;
	const char	*name;
	unsigned int	 len;
	struct inode	*ip;		/* NULL: no such name */
	uint8_t		 type;
	bool		 locked;
};

/*
 * Is `above` an ancestor of `ino`, or the same? Under rename_lock: parents stand still. -EUCLEAN where they go round,
 * which they may on damaged media.
 */
static int is_ancestor(struct fs *fs, const struct inode *above, uint64_t ino, bool *yes)
{
	uint64_t steps = ialloc_used(&fs->pool);
	struct inode *ip;
	uint64_t up;
	int rc;

	*yes = false;
	while (ino != INO_ROOT) {
		if (ino == above->ino) {
			*yes = true;
			return 0;
		}
		rc = inode_get(&fs->pool, ino, &ip);
		if (rc)
			return rc;
		up = ip->core.rdev;
		inode_put(ip);
		if (steps-- == 0)
			return -EUCLEAN;
		ino = up;
	}
	*yes = above->ino == INO_ROOT;
	return 0;
}

static int lock_two_dirs(struct fs *fs, struct inode *a, struct inode *b)
{
	struct inode *first = a->ino < b->ino ? a : b;
	struct inode *second = first == a ? b : a;
	bool below;
	int rc;

	rc = is_ancestor(fs, second, first->ino, &below);
	if (rc)
		return rc;
	if (below) {
		struct inode *t = first;

		first = second;
		second = t;
	}
	rc = dir_lock_exclusive(first);
	if (rc)
		return rc;
	rc = dir_lock_exclusive(second);
	if (rc)
		inode_unlock(first);
	return rc;
}

static int side_find(struct side *s)
{
	return child_get(s->dir, s->name, s->len, &s->ip, &s->type);
}

static int side_lock(struct side *s)
{
	int rc = 0;

	if (INODE_IS_DIR(s->ip))
		rc = dir_lock_exclusive(s->ip);
	else
		inode_lock(s->ip);
	s->locked = !rc;
	return rc;
}

static void side_unlock(struct side *s)
{
	if (s->locked)
		inode_unlock(s->ip);
	s->locked = false;
}

static int lock_children(struct side *from, struct side *to)
{
	struct side *first = from, *second = to;
	int rc;

	if (!to->ip)
		return side_lock(from);
	if (INODE_IS_DIR(to->ip) > INODE_IS_DIR(from->ip) ||
	    (INODE_IS_DIR(to->ip) == INODE_IS_DIR(from->ip) && to->ip->ino < from->ip->ino)) {
		first = to;
		second = from;
	}
	rc = side_lock(first);
	return rc ? rc : side_lock(second);
}

/* Loops: neither side may come to lie below itself. rename_lock held if the directories differ. */
static int check_loops(struct fs *fs, const struct side *from, const struct side *to, unsigned int flags)
{
	bool yes;
	int rc;

	if (from->dir == to->dir)
		return 0;
	if (INODE_IS_DIR(from->ip)) {
		rc = is_ancestor(fs, from->ip, to->dir->ino, &yes);
		if (rc || yes)
			return rc ? rc : -EINVAL;
	}
	if (to->ip && INODE_IS_DIR(to->ip)) {
		rc = is_ancestor(fs, to->ip, from->dir->ino, &yes);
		if (rc || yes)
			return rc ? rc : flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	}
	return 0;
}

static int check_replace(const struct side *from, const struct side *to)
{
	if (!to->ip->core.nlink)
		return -EUCLEAN;	/* more names than links */
	if (INODE_IS_DIR(from->ip) && !INODE_IS_DIR(to->ip))
		return -ENOTDIR;
	if (!INODE_IS_DIR(from->ip) && INODE_IS_DIR(to->ip))
		return -EISDIR;
	if (INODE_IS_DIR(to->ip) && !dir_is_empty(to->ip))
		return -ENOTEMPTY;
	return 0;
}

static int check_sides(const struct side *from, const struct side *to, unsigned int flags)
{
	int rc;

	if (to->dir->core.nlink == 0)
		return -ENOENT;
	if ((flags & RENAME_NOREPLACE) && to->ip)
		return -EEXIST;
	if ((flags & RENAME_EXCHANGE) && !to->ip)
		return -ENOENT;
	rc = inode_changeable(from->dir, false);
	if (!rc)
		rc = inode_changeable(to->dir, !to->ip);
	if (!rc)
		rc = inode_changeable(from->ip, false);
	if (!rc && to->ip)
		rc = inode_changeable(to->ip, false);
	if (!rc && to->ip && !(flags & RENAME_EXCHANGE))
		rc = check_replace(from, to);
	return rc;
}

/* A directory comes to another parent: its parent field and both parents' links. */
static void reparent(struct inode *ip, struct inode *from, struct inode *to)
{
	if (!INODE_IS_DIR(ip) || from == to)
		return;
	dir_drop_link(from);
	to->core.nlink++;
	ip->core.rdev = to->ino;
}

static int exchange(struct tx *tx, struct side *from, struct side *to)
{
	int rc;

	rc = dir_replace(tx, from->dir, from->name, from->len, to->ip->ino, to->type);
	if (!rc)
		rc = dir_replace(tx, to->dir, to->name, to->len, from->ip->ino, from->type);
	if (rc)
		return rc;
	reparent(from->ip, from->dir, to->dir);
	reparent(to->ip, to->dir, from->dir);
	inode_touch_ctime(to->ip);
	return 0;
}

static int move(struct tx *tx, struct side *from, struct side *to)
{
	int rc;

	if (to->ip)
		rc = dir_replace(tx, to->dir, to->name, to->len, from->ip->ino, from->type);
	else
		rc = dir_add(tx, to->dir, to->name, to->len, from->ip->ino, from->type);
	if (!rc)
		rc = dir_remove(tx, from->dir, from->name, from->len);
	if (rc)
		return rc;
	if (to->ip && INODE_IS_DIR(to->ip)) {
		to->ip->core.nlink = 0;
		dir_drop_link(to->dir);
	} else if (to->ip) {
		to->ip->core.nlink--;
	}
	if (to->ip)
		inode_touch_ctime(to->ip);
	reparent(from->ip, from->dir, to->dir);
	return 0;
}

static int join_all(struct tx *tx, struct side *from, struct side *to)
{
	int rc = inode_join(tx, from->dir);

	if (!rc)
		rc = inode_join(tx, to->dir);
	if (!rc)
		rc = inode_join(tx, from->ip);
	if (!rc && to->ip)
		rc = inode_join(tx, to->ip);
	return rc;
}

/* All locks held. Replacing needs no block, so it may take the reserve: it must work when the pool is full. */
static int rename_locked(struct fs *fs, struct side *from, struct side *to, unsigned int flags)
{
	struct tx tx;
	int rc;

	rc = check_sides(from, to, flags);
	if (rc)
		return rc;
	rc = tx_begin(&tx, &fs->pool, to->ip ? BALLOC_RESERVE : 0);
	if (rc)
		return rc;
	rc = join_all(&tx, from, to);
	if (!rc)
		rc = flags & RENAME_EXCHANGE ? exchange(&tx, from, to) : move(&tx, from, to);
	if (rc) {
		tx_abort(&tx);
		return rc;
	}
	inode_touch_ctime(from->ip);
	inode_touch(from->dir);
	inode_touch(to->dir);
	return tx_commit(&tx);
}

static int find_and_rename(struct fs *fs, struct side *from, struct side *to, unsigned int flags)
{
	int rc;

	rc = side_find(from);
	if (rc)
		return rc;
	rc = side_find(to);
	if (rc && rc != -ENOENT)
		return rc;
	if (from->ip == to->ip)		/* two names of one file: POSIX says to do nothing */
		return flags & RENAME_NOREPLACE ? -EEXIST : 0;
	rc = check_loops(fs, from, to, flags);
	if (rc)
		return rc;
	rc = lock_children(from, to);
	if (!rc)
		rc = rename_locked(fs, from, to, flags);
	side_unlock(from);
	if (to->ip)
		side_unlock(to);
	return rc;
}

static int lock_and_rename(struct fs *fs, struct side *from, struct side *to, unsigned int flags)
{
	bool one = from->dir == to->dir;
	int rc;

	if (one) {
		rc = dir_lock_exclusive(from->dir);
	} else {
		pthread_mutex_lock(&fs->rename_lock);
		rc = lock_two_dirs(fs, from->dir, to->dir);
	}
	if (!rc) {
		rc = find_and_rename(fs, from, to, flags);
		inode_unlock(from->dir);
		if (!one)
			inode_unlock(to->dir);
	}
	if (!one)
		pthread_mutex_unlock(&fs->rename_lock);
	return rc;
}

int fs_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
	      unsigned int flags)
{
	struct side from = { .name = name }, to = { .name = new_name };
	int len = name_length(name), new_len = name_length(new_name);
	int rc;

	if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (len < 0 || new_len < 0)
		return len < 0 ? len : new_len;
	if (name_is_dot(name) || name_is_dot(new_name))
		return -EBUSY;
	from.len = (unsigned int)len;
	to.len = (unsigned int)new_len;
	rc = dir_get(fs, parent, &from.dir);
	if (rc)
		return rc;
	rc = dir_get(fs, new_parent, &to.dir);
	if (!rc) {
		rc = lock_and_rename(fs, &from, &to, flags);
		inode_put(to.dir);
	}
	if (from.ip)
		inode_put(from.ip);
	if (to.ip)
		inode_put(to.ip);
	inode_put(from.dir);
	return rc;
}
