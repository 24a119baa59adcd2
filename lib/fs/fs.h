/*
 * The filesystem: mounting a pool, and the operations of a POSIX filesystem on it by inode number and name.
 *
 * Knows nothing of FUSE. Every call returns 0 (or a length) or a negative errno, is atomic against all others and
 * across power loss unless it says otherwise, and is durable when it returns unless it says otherwise.
 * Permissions (mode bits, ACLs, sticky) are the caller's to check (the kernel does, default_permissions);
 * what is checked here is what the kernel leaves to the filesystem: names, limits, types, immutable and append-only.
 *
 * Thread rules: any call from any thread. Lock order is stated in doc/locking.md.
 */
#ifndef FS_FS_H
#define FS_FS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "dax/dax.h"
#include "meta/inode.h"
#include "meta/pool.h"
#include "util/err.h"

struct fs;

enum fs_dax { FS_DAX_ALWAYS, FS_DAX_INODE, FS_DAX_NEVER };
enum fs_atime { FS_RELATIME, FS_NOATIME, FS_STRICTATIME };

struct fs_options {
	bool		readonly;
	enum fs_dax	dax;
	enum fs_atime	atime;
	unsigned int	scan_threads;	/* 0: one a CPU */

	/* The arbiter: dax/dax.h, dax/pgmap.h. */
	enum dax_layout		layout;
	enum dax_pin_mode	pins;
	bool			pin_busy;	/* what is pinned is not waited for: -EBUSY */
	enum pgmap_accounting	accounting;
	enum pgmap_drain	drain;
	int			mapper_ms;	/* how long a mapper may take to answer; 0: a second */
	unsigned int		quarantine_ms;	/* how long blocks that clients mapped rest before new use */
	uint64_t		hole_limit;	/* bytes of holes that one direct mapping may have filled; 0: 256 MiB */

	/* The folio table and the grant lists have names that tools find; else none. */
	bool			shm;
	const char		*shm_dir;	/* where; NULL: where this user's daemons have them (dax/shm.h) */
};

/* Who asks: from the request. */
struct fs_cred {
	uint32_t	uid, gid;
	mode_t		umask;
	bool		cap_fsetid;	/* writes keep setuid and setgid */
	bool		cap_trusted;	/* sees trusted.* names (CAP_SYS_ADMIN; uid 0 where that cannot be asked) */

	/*
	 * Was the caller interrupted? Asked while a call waits for pins; NULL: it waits on. fs_interrupt()
	 * has it asked.
	 */
	bool		(*interrupted)(void *arg);
	void		*arg;

	bool		nowait;		/* FS_WOULD_WAIT instead of a wait for clients */
};

/*
 * What a call answers that must not wait (fs_cred.nowait, or its own argument) and would have to: until a client that
 * maps the file has given something up, or for a call that waits for that. It has changed nothing, and is to be called
 * again where it may wait. Calls that have neither the one nor the other never wait for clients. (With pins=evict
 * whoever gives the last reference to an inode back waits for its pins.)
 */
#define FS_WOULD_WAIT	(-EINPROGRESS)

/* ---- Mounting ------------------------------------------------------------------------------------------ */

/*
 * fs_mount - open the pool at `path`: recover, derive free space, ready. `region` may be given instead of a path
 * (tests; then it stays the caller's). `err` holds one line on failure. fs_mount_messages() has what a user
 * should be told anyway (the backup superblock was used, N records replayed, pool is volatile),
 * newline-separated, "" when nothing.
 */
int fs_mount(struct fs **out, const char *path, struct region *region, const struct fs_options *opt, struct err *err);
const char *fs_mount_messages(const struct fs *fs);

/*
 * fs_unmount - clean unmount: journal retired, free map saved. Times that no fs_close() wrote are lost. Returns the
 * first error; frees in any case.
 */
int fs_unmount(struct fs *fs);

struct pool *fs_pool(struct fs *fs);
const struct fs_options *fs_options(const struct fs *fs);
int fs_statvfs(struct fs *fs, struct statvfs *st);

/* fs_format - make a filesystem on a region (mkfs). Writes everything, the superblock last. */
struct fs_format {
	uint8_t		uuid[16];
	const char	*label;			/* NULL or at most LABEL_MAX bytes */
	uint64_t	journal_blocks;		/* 0: chosen by pool size */
	uint32_t	unit_shift;		/* 0: the region's map unit */
	uint32_t	root_uid, root_gid;
	mode_t		root_mode;		/* 0: 0755 */
};

int fs_format(struct region *r, const struct fs_format *format, struct err *err);

/* ---- Names: lib/fs/namei.c ----------------------------------------------------------------------------- */

/*
 * The child calls fill `st` and `generation` (both may be NULL). fs_lookup understands "." and ".." (export by handle).
 * Names over NAME_MAX_LEN bytes: -ENAMETOOLONG. A directory that was removed: -ENOENT for changes in it.
 */
int fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct stat *st, uint64_t *generation);

/* fs_mknod - regular files, fifos, sockets, devices. setgid directories, default ACL else umask. */
int fs_mknod(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, mode_t mode, dev_t rdev,
	     struct stat *st, uint64_t *generation);
int fs_mkdir(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, mode_t mode,
	     struct stat *st, uint64_t *generation);
int fs_symlink(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, const char *target,
	       struct stat *st, uint64_t *generation);
int fs_link(struct fs *fs, uint64_t ino, uint64_t parent, const char *name, struct stat *st, uint64_t *generation);
int fs_unlink(struct fs *fs, uint64_t parent, const char *name);
int fs_rmdir(struct fs *fs, uint64_t parent, const char *name);

/* fs_rename - flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL. "." and "..": -EBUSY. One transaction. */
int fs_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
	      unsigned int flags);

/* fs_readlink - target, terminated; size >= 4096. */
int fs_readlink(struct fs *fs, uint64_t ino, char *target, size_t size);

/* ---- Handles: lib/fs/file.c ---------------------------------------------------------------------------- */

/*
 * An open file: holds its inode, so that an unlinked file's blocks stay. Made by fs_open, fs_create, fs_tmpfile,
 * fs_opendir; given back by fs_close. A handle may be used by many threads at once.
 */
struct fs_file;

int fs_open(struct fs *fs, uint64_t ino, int flags, struct fs_file **out);
int fs_opendir(struct fs *fs, uint64_t ino, struct fs_file **out);
void fs_close(struct fs_file *f);
uint64_t fs_file_ino(const struct fs_file *f);

/* fs_file_dax - is the file read and written past the page cache (dax= option, and for inode the flag when opened). */
bool fs_file_dax(const struct fs_file *f);

/* fs_create - fs_mknod of a regular file and fs_open of it, atomically. Exists: -EEXIST. */
int fs_create(struct fs *fs, const struct fs_cred *cred, uint64_t parent, const char *name, mode_t mode, int flags,
	      struct fs_file **out, struct stat *st, uint64_t *generation);

/*
 * fs_tmpfile - unnamed file owned like one created in `parent`; fs_link() may name it later, unless O_EXCL
 * was in flags.
 */
int fs_tmpfile(struct fs *fs, const struct fs_cred *cred, uint64_t parent, mode_t mode, int flags,
	       struct fs_file **out, struct stat *st, uint64_t *generation);

/*
 * fs_read_begin - pin the bytes of a range for reading without a copy: up to *count iovecs, pointing into the pool or,
 * for holes, into a page of zeros. Shared inode lock is held until fs_read_end(). Returns bytes (short at EOF). Updates
 * atime.
 */
ssize_t fs_read_begin(struct fs_file *f, uint64_t off, size_t len, struct iovec *iov, int *count);
void fs_read_end(struct fs_file *f);

/* fs_read - the same, copied. */
ssize_t fs_read(struct fs_file *f, void *buf, uint64_t off, size_t len);

/*
 * fs_write - at `off`. Returns the bytes written (short on ENOSPC after some). The data is durable on return; times may
 * be durable later (fs_fsync, fs_close of a writer, or any later change). Takes security.capability away, and setuid
 * and setgid unless cred->cap_fsetid. The whole is not one transaction, each allocated run is.
 */
#define FS_WRITE_BACK	(1U << 0)	/* what a mapping stored, from the page cache: takes no privileges away */
ssize_t fs_write(struct fs_file *f, const struct fs_cred *cred, const void *buf, uint64_t off, size_t len,
		 unsigned int flags);

/*
 * fs_append - fs_write() at the end of the file as it is. *off: where whoever asks believed the end to be, which may be
 * long ago; and on success, where the data went.
 *
 * Who asks may cut one append into pieces that come in any order, each with the offset that it gets if the first one's
 * is right (and then lets no other append come between). So what is asked for beyond the end goes there; what is
 * missing before it, up to the old end, is filled by the pieces whose offsets lie in it. Whatever else says an offset
 * that is not the end goes to the end: no byte is written over.
 */
ssize_t fs_append(struct fs_file *f, const struct fs_cred *cred, const void *buf, uint64_t *off, size_t len);

/* fs_fsync - of files and directories. `nowait`: see FS_WOULD_WAIT. */
int fs_fsync(struct fs *fs, uint64_t ino, bool nowait);

/* fs_fallocate - mode: 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; others -EOPNOTSUPP. */
int fs_fallocate(struct fs_file *f, const struct fs_cred *cred, int mode, uint64_t off, uint64_t len);

/* fs_lseek - SEEK_DATA, SEEK_HOLE. */
int64_t fs_lseek(struct fs_file *f, uint64_t off, int whence);

/* fs_copy_range - as copy_file_range(2) with flags 0; ranges of one file must not overlap (-EINVAL). */
ssize_t fs_copy_range(struct fs_file *in, uint64_t off_in, struct fs_file *out, uint64_t off_out, size_t len,
		      const struct fs_cred *cred);

/*
 * fs_readdir - call fn for the entries after `cookie` (0: from the start, with "." and ".." first) until it returns
 * non-zero or the directory ends; 0 in both cases. fn runs under the directory's shared lock: of this filesystem it may
 * call fs_entry_attr() and nothing else. An entry's cookie goes on after it, and stays right under any change.
 */
struct dir_entry;
typedef int (*fs_readdir_fn)(void *arg, const struct dir_entry *e);
int fs_readdir(struct fs_file *dir, uint64_t cookie, fs_readdir_fn fn, void *arg);

/*
 * fs_entry_attr - from within fn alone: attributes (both may be NULL) of what an entry of `dir` points to, as
 * fs_lookup() of its name gives them. -EUCLEAN for an entry that points to a directory with another parent: locks
 * go from a parent to its child, and on such a path they would go round. -EINVAL for "." and "..", of which the
 * same is true.
 */
int fs_entry_attr(struct fs_file *dir, const struct dir_entry *e, struct stat *st, uint64_t *generation);

/* ---- Mappings: lib/fs/arbiter.c ------------------------------------------------------------------------ */

/*
 * fs_file_mapping - the mapping of an open file, through which alone its blocks are given out; made now if it is the
 * first time. It lives as long as the inode is referenced. -ENODEV for what is no regular file; -ENOMEM.
 *
 * Once a file was mapped, what takes blocks from it (a smaller or equal size, punch, zero) waits as dax_break_layout()
 * does: -EINTR when cred->interrupted() says so, -EBUSY with pin_busy.
 */
int fs_file_mapping(struct fs_file *f, struct dax_mapping **out);

/* fs_interrupt - some caller's interrupted() answers otherwise now. */
void fs_interrupt(struct fs *fs);

struct dax *fs_dax(struct fs *fs);
struct grant_set *fs_grants(struct fs *fs);

/* ---- Attributes: lib/fs/attr.c, xattr_ops.c, acl.c ----------------------------------------------------- */

int fs_getattr(struct fs *fs, uint64_t ino, struct stat *st, uint64_t *generation);

/* fs_btime - what statx(2) has beyond stat(2): time of birth, and the inode's flags (INODE_*). */
int fs_btime(struct fs *fs, uint64_t ino, struct timespec *btime, uint32_t *flags);

/*
 * fs_setattr - change what `valid` names to what `st` has: the size in a transaction of its own, first, then the rest
 * in one. A change of owner takes setuid, setgid (of group-executable files) and security.capability away. `out` (may
 * be NULL) gets the result. Errors for the size: -EISDIR, -EINVAL, -EFBIG.
 */
#define FS_SET_MODE		(1U << 0)
#define FS_SET_UID		(1U << 1)
#define FS_SET_GID		(1U << 2)
#define FS_SET_SIZE		(1U << 3)
#define FS_SET_ATIME		(1U << 4)
#define FS_SET_MTIME		(1U << 5)
#define FS_SET_ATIME_NOW	(1U << 6)
#define FS_SET_MTIME_NOW	(1U << 7)
#define FS_SET_CTIME		(1U << 8)
#define FS_SET_KILL_PRIV	(1U << 9)	/* take setuid and setgid away as a write without CAP_FSETID does */

int fs_setattr(struct fs *fs, const struct fs_cred *cred, uint64_t ino, const struct stat *st, unsigned int valid,
	       struct stat *out);

ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t size);
ssize_t fs_listxattr(struct fs *fs, const struct fs_cred *cred, uint64_t ino, char *list, size_t size);

/*
 * fs_setxattr - an access ACL also sets the mode's permission bits, and clears setgid unless cred->cap_fsetid; it is
 * not kept when a mode says as much.
 */
int fs_setxattr(struct fs *fs, const struct fs_cred *cred, uint64_t ino, const char *name, const void *value,
		size_t size, int flags);
int fs_removexattr(struct fs *fs, uint64_t ino, const char *name);

/* FS_IOC_GETFLAGS/SETFLAGS and FSGETXATTR/FSSETXATTR. fs_flags are INODE_* (= FS_*_FL). Unknown bits: -EOPNOTSUPP. */
int fs_getflags(struct fs *fs, uint64_t ino, uint32_t *flags, uint32_t *projid);
int fs_setflags(struct fs *fs, uint64_t ino, uint32_t flags, const uint32_t *projid);

#endif
