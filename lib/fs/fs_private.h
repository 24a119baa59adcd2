/*
 * What the files of lib/fs share: the mounted filesystem, the open file, and the small steps most operations
 * are made of.
 *
 * Lock order (doc/locking.md has the whole): fs.rename_lock, then inode locks - a directory before what it names,
 * directories without such a relation by inode number, then other inodes by number - then what lib/meta takes.
 */
#ifndef FS_PRIVATE_H
#define FS_PRIVATE_H

#include <errno.h>

#include "dax/shm.h"
#include "fs/acl.h"
#include "fs/fs.h"
#include "fs/quarantine.h"
#include "meta/dir.h"
#include "meta/extent.h"
#include "meta/iomap.h"
#include "meta/tx.h"
#include "meta/xattr.h"

#define FS_ZEROS_SIZE	(1U << 20)
#define FS_ACL_ACCESS	"system.posix_acl_access"
#define FS_ACL_DEFAULT	"system.posix_acl_default"
#define FS_ACL_MAX	ACL_SIZE(511)		/* bytes of a stored ACL: what ext4 can keep, and fits on a stack */

struct fs {
	struct pool		pool;
	struct fs_options	options;
	struct tail		tail;		/* as found at mount, then as recovery left it */
	bool			own_region;	/* opened here: closed here */
	char			messages[512];
	const char		*zeros;		/* FS_ZEROS_SIZE bytes of read-only zero pages: what holes read as */
	pthread_mutex_t		rename_lock;	/* holds the shape of the tree: renames between directories */
	_Atomic uint64_t	open_files;	/* handles; the free map is not saved while any is left */
	struct dax		dax;		/* pgmap NULL until arbiter_start() */
	struct grant_set	*grants;
	struct dax_shm		*shm;
	struct quarantine	*quarantine;	/* with dax.pgmap */
	struct fs_grants	*direct;	/* of clients that map the pool themselves; NULL until grants_start() */
};

struct fs_file {
	struct fs	*fs;
	struct inode	*ip;		/* referenced */
	int		 flags;		/* open(2) flags */
	bool		 regular;	/* the inode's type, to be had without its lock */
	bool		 dax;
	struct fs_grant	*_Atomic grant;	/* of a client that maps the file directly; NULL: none */
};

/* name_length - length of `name`, or -ENAMETOOLONG, -EINVAL. "." and ".." are the caller's to judge. */
int name_length(const char *name);

/* name_is_dot - "." or "..": no entry of a directory. */
bool name_is_dot(const char *name);

/*
 * child_get - dir_lookup() and a reference to what the entry points to. Lock of `dir` held.
 *
 * -EUCLEAN (logged) for an entry that points to the root, to the directory itself, or to one that has another
 * parent: locks go from a parent to its child, and on such a path they would go round.
 */
int child_get(struct inode *dir, const char *name, unsigned int len, struct inode **out, uint8_t *type);

/*
 * dir_drop_link - a subdirectory goes: one link less. Never below 2, whatever the media said there were: without links
 * the directory would be free (as ext4_dec_count()).
 */
static inline void dir_drop_link(struct inode *dir)
{
	if (dir->core.nlink > 2)
		dir->core.nlink--;
}

/* dir_get - reference to inode `ino`, which must be a directory: -ENOTDIR, else as inode_get(). */
int dir_get(struct fs *fs, uint64_t ino, struct inode **out);

/* fs_of - the mount an inode belongs to. */
static inline struct fs *fs_of(const struct inode *ip)
{
	return container_of(ip->pool, struct fs, pool);
}

/* ip->lock, so that lock statements read alike everywhere. */
static inline void inode_lock_shared(struct inode *ip)
{
	pthread_rwlock_rdlock(&ip->lock);
}

static inline void inode_lock(struct inode *ip)
{
	pthread_rwlock_wrlock(&ip->lock);
}

static inline void inode_unlock(struct inode *ip)
{
	pthread_rwlock_unlock(&ip->lock);
}

/* inode_size - as of now. Takes the lock. */
static inline uint64_t inode_size(struct inode *ip)
{
	uint64_t size;

	inode_lock_shared(ip);
	size = ip->core.size;
	inode_unlock(ip);
	return size;
}

/* inode_touch - set mtime and ctime (core only) to now; inode_touch_ctime - ctime alone. Lock exclusive. */
void inode_touch(struct inode *ip);
void inode_touch_ctime(struct inode *ip);

/* inode_atime_due - is the access time to be set by a read now (kernel: relatime_need_update)? Lock shared. */
bool inode_atime_due(const struct fs *fs, const struct inode *ip);

/* inode_write_times - bring lazily kept times to the media. Lock exclusive. */
int inode_write_times(struct inode *ip);

/* inode_changeable - -EPERM for an immutable inode, and for an append-only one unless `append`. Lock shared. */
int inode_changeable(const struct inode *ip, bool append);

/*
 * What a change of a file's data takes away (kernel: file_remove_privs): security.capability always, setuid, and setgid
 * of a group-executable file, unless the writer has CAP_FSETID.
 *
 * inode_kill_what - what there is to take away; inode_kill_priv - take it, in the transaction. Lock exclusive.
 */
enum kill_priv { KILL_NOTHING, KILL_CAPABILITY, KILL_ALL };

enum kill_priv inode_kill_what(struct inode *ip, bool cap_fsetid);
int inode_kill_priv(struct tx *tx, struct inode *ip, enum kill_priv what);

/*
 * inode_init - the fields of a new inode from who creates it and where: owner, setgid directories, inherited flags and
 * project, default ACL else umask. `mode` has the type. Both locks exclusive, both joined.
 */
int inode_init(struct tx *tx, struct inode *ip, struct inode *dir, const struct fs_cred *cred, mode_t mode);

/*
 * file_handle - a handle for an inode whose reference passes to it. Lock shared. -ENOMEM: the reference
 * stays the caller's.
 */
int file_handle(struct fs *fs, struct inode *ip, int flags, struct fs_file **out);

/*
 * eof_zero_tail - store zeros from byte `from` to the end of its map unit, or to `to` if that is before, where it has
 * blocks. Needed before the size passes `from` (what mappings left there must not be seen) and, so that mappings
 * read zeros at once, after a shrink. Sets *stored when it stored: the caller fences. Lock exclusive; not in a
 * transaction that has changed the map.
 */
int eof_zero_tail(struct inode *ip, uint64_t from, uint64_t to, bool *stored);

/*
 * inode_reads_zeros - does some of [pos, end) read as zeros without being stored as such? What cannot be read does not.
 * Lock shared. arbiter.c
 */
bool inode_reads_zeros(struct inode *ip, uint64_t pos, uint64_t end);

/*
 * inode_promote - [pos, pos + len), whole blocks, gets one run of new blocks, with what it has now: one transaction,
 * durable. A power of two from 2 MiB on, which `pos` is a multiple of, is aligned in the pool too. Nobody maps it.
 * -ENOSPC: there is no such run; -EAGAIN: somebody who was told to give some of it up has not answered; else as
 * tx_commit(). Lock exclusive. promote.c
 * inode_unit_apart - is that due before the unit at `pos` can be mapped? `len`: of the fault, `map`: what is there.
 * Lock shared. inode_make_dense - the same for what of [pos, end) lies in pieces, in ranges of 2 MiB that have all
 * their blocks; what is pinned, or has no room, stays. Whoever maps it is told, and waited for. No lock. FS_WOULD_WAIT;
 * else as tx_commit().
 */
int inode_promote(struct inode *ip, uint64_t pos, uint64_t len);
bool inode_unit_apart(struct inode *ip, uint64_t pos, uint64_t len, const struct iomap *map);
int inode_make_dense(struct inode *ip, uint64_t pos, uint64_t end, bool nowait);

/*
 * inode_truncate - set the size inside or beyond what it is: one transaction. Lock exclusive; regular files. truncate.c
 */
int inode_truncate(struct inode *ip, uint64_t size, enum kill_priv kill);

/*
 * arbiter_open - the shared memory of a pool that is being mounted, before anything of the pool is changed.
 * arbiter_start - the folio table and grant lists in it, after free space is known.
 * arbiter_stop - take them down; no operation is under way. arbiter_idle - does nothing refer to any folio? arbiter.c
 */
int arbiter_open(struct fs *fs, struct err *err);
int arbiter_start(struct fs *fs, const char *path, struct err *err);
void arbiter_stop(struct fs *fs);
bool arbiter_idle(struct fs *fs);

/*
 * grants_start - clients of an earlier mount that are still there keep what they map; *kept: how many. After
 * dax_adopt(). As long as there are some of which nothing is known the pool is read-only.
 * grants_stop - no operation is under way. grants_release - the handle goes. grants.c
 */
int grants_start(struct fs *fs, const char *path, uint64_t *kept, struct err *err);
void grants_stop(struct fs *fs);
void grants_release(struct fs_file *f);

/* inode.filled: when it is no time. */
#define FILLED_EVER	0U	/* by an earlier use of the inode, perhaps */
#define FILLED_NOT	1U	/* the page cache has nothing of it */
#define FILLED_EMPTYING	2U	/* it is being emptied */

/*
 * layout_begin - inode_lock() for an operation that takes away the whole blocks in [pos, pos + len): nobody maps them
 * and no pin is on them from its return to layout_end(), which also unlocks. A range that ends beyond INT64_MAX is one
 * to the end. Errors as dax_break_layout(), and FS_WOULD_WAIT: then nothing is locked. No lock of the inode is held
 * before.
 */
int layout_begin(struct inode *ip, const struct fs_cred *cred, uint64_t pos, uint64_t len);
void layout_end(struct inode *ip);

/*
 * layout_end_cut - layout_end() of a file that ends at `size` now: beyond it not even private copies stay mapped
 * (truncate_pagecache()). Clients are told, and waited for, when the inode is unlocked already. `cred` is that of
 * layout_begin().
 */
void layout_end_cut(struct inode *ip, const struct fs_cred *cred, uint64_t size);

/*
 * layout_sync - what mappings stored is durable on return (filemap_write_and_wait()). 0, or FS_WOULD_WAIT. No lock of
 * the inode held.
 */
int layout_sync(struct inode *ip, bool nowait);

/*
 * layout_filled - blocks came where holes were, or the file ends behind [pos, pos + len) and did not: who mapped the
 * holes sees the blocks from now on, who knows of the end asks anew. No lock of the inode held. layout_filled_waits -
 * would it have to wait for clients, if [pos, pos + len) were written now? Lock exclusive; if it would not,
 * layout_filled() is not due after the write: nobody has the holes, and who maps them when the inode is unlocked finds
 * blocks.
 */
void layout_filled(struct inode *ip, uint64_t pos, uint64_t len);
bool layout_filled_waits(struct inode *ip, uint64_t pos, uint64_t len);

/*
 * write_locked - fs_write() with the lock held and no append or privilege questions: also copies within the pool. Sets
 * *filled when blocks came where holes were: layout_filled() is due. write.c
 */
ssize_t write_locked(struct inode *ip, const void *buf, uint64_t off, size_t len, enum kill_priv kill, bool *filled);

#endif
