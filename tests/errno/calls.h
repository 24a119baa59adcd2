/*
 * System calls as cases want them: arguments from the step, a value of 0 or more or -errno as the result.
 * Descriptors that a call opens are closed again, and their number is no part of the result.
 *
 * Where a step has no field of that name: uid and gid are off and off2, device numbers are off, sizes len.
 */
#ifndef ERRNO_CALLS_H
#define ERRNO_CALLS_H

#include "table.h"

#include <linux/fs.h>

/* On a path. call_open_then_NAME - open `path` with `flags`, then the call on the descriptor. */
long call_open(const struct step *s);			/* flags, mode */
long call_creat(const struct step *s);
long call_mkdir(const struct step *s);
long call_mknod(const struct step *s);			/* mode with the type, off */
long call_symlink(const struct step *s);		/* path: the link, to: what it says */
long call_link(const struct step *s);			/* flags of linkat(2) */
long call_unlink(const struct step *s);
long call_rmdir(const struct step *s);
long call_rename(const struct step *s);			/* flags of renameat2(2) */
long call_readlink(const struct step *s);		/* len: the buffer's */
long call_stat(const struct step *s);
long call_lstat(const struct step *s);
long call_chmod(const struct step *s);
long call_chown(const struct step *s);			/* off: uid, off2: gid, flags of fchownat(2) */
long call_access(const struct step *s);			/* mode: R_OK..., flags of faccessat(2) */
long call_chdir(const struct step *s);
long call_truncate(const struct step *s);		/* off: the size */
long call_utime_now(const struct step *s);		/* both times */
long call_utime_set(const struct step *s);		/* both to 1000000000 s */
long call_setxattr(const struct step *s);		/* path, to: name, len: size of the value, flags */
long call_getxattr(const struct step *s);		/* path, to: name, len: the buffer's */
long call_listxattr(const struct step *s);		/* path, len: the buffer's */
long call_removexattr(const struct step *s);		/* path, to: name */
long call_list(const struct step *s);			/* open as a directory and read: number of entries */
long call_execve(const struct step *s);
long call_statfs(const struct step *s);

long call_open_then_read(const struct step *s);		/* off, len: pread(2) */
long call_open_then_write(const struct step *s);	/* off, len: pwrite(2) */
long call_open_then_truncate(const struct step *s);	/* off: the size */
long call_open_then_fallocate(const struct step *s);	/* off, len; off2: mode */
long call_open_then_seek(const struct step *s);		/* off; off2: whence */
long call_open_then_chmod(const struct step *s);
long call_open_then_chown(const struct step *s);
long call_open_then_sync(const struct step *s);

/* call_copy_range - open path for reading and `to` for writing (NULL: path for both), copy_file_range(2). */
long call_copy_range(const struct step *s);		/* off, off2, len */

/* bad_pointer - what the kernel cannot read or write, for use with syscall(2). */
extern char *const volatile bad_pointer;

/*
 * own_mounts - what the case mounts from here on is in a mount namespace of its process, and ends with it.
 * Not of the whole run: a namespace keeps every mount there is, other tests' too.
 */
void own_mounts(void);

/* Preparations. mount_inside - own_mounts(), and a tmpfs over void/ with the file `foreign`. */
void mount_inside(const struct step *s);

/* removed_cwd - the working directory is void/, which is no more. */
void removed_cwd(const struct step *s);

/*
 * set_flags - FS_IOC_SETFLAGS on a path: 0 or -errno. Flags that filesystems have for themselves
 * (FS_EXTENT_FL) stay as they are, as with chattr(1).
 */
#define FLAGS_COMMON	(FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | \
			 FS_DIRSYNC_FL)
long set_flags(const char *path, int flags);

#endif
