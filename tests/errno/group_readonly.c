/*
 * A mount that is read-only: every call that changes something.
 *
 * It needs something to work on: what the group `names` left in its first case, which made no more than one
 * directory beside the usual fixture, when the mount was still writable. The steps run there, without a
 * fixture of their own, in a process each.
 */
#include "calls.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LEFT_BY	"names/c00000"

static const struct step readonly_steps[] = {
	{ "read", call_open_then_read, "file", .flags = O_RDONLY, .len = 100 },
	{ "list", call_list, "dir", .flags = 0 },
	{ "stat", call_stat, "file", .flags = 0 },
	{ "readlink", call_readlink, "lfile", .len = 100 },
	{ "access-read", call_access, "file", .mode = R_OK },
	{ "access-write", call_access, "file", .mode = W_OK },
	{ "access-write-directory", call_access, "dir", .mode = W_OK },
	{ "access-write-fifo", call_access, "fifo", .mode = W_OK },
	{ "access-write.other", call_access, "file", .mode = W_OK, .who = OTHER },
	{ "open-write", call_open, "file", .flags = O_WRONLY },
	{ "open-truncate", call_open, "file", .flags = O_RDONLY | O_TRUNC },
	{ "open-write-directory", call_open, "dir", .flags = O_WRONLY },
	{ "open-write-fifo", call_open, "fifo", .flags = O_RDWR },
	{ "open-write-device", call_open, "null", .flags = O_RDWR },
	{ "open-write-missing", call_open, "nope", .flags = O_WRONLY },
	{ "open-tmpfile", call_open, "dir", .flags = O_TMPFILE | O_RDWR, .mode = 0644 },
	{ "creat", call_open, "new", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-existing", call_open, "file", .flags = O_RDONLY | O_CREAT, .mode = 0644 },
	{ "creat-excl-existing", call_open, "file", .flags = O_RDONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "creat.other", call_open, "new", .flags = O_WRONLY | O_CREAT, .mode = 0644, .who = OTHER },
	{ "mkdir", call_mkdir, "new", .mode = 0755 },
	{ "mkdir-existing", call_mkdir, "dir", .mode = 0755 },
	{ "mknod", call_mknod, "new", .mode = S_IFIFO | 0644 },
	{ "symlink", call_symlink, "new", "target", .flags = 0 },
	{ "symlink-existing", call_symlink, "file", "target", .flags = 0 },
	{ "link", call_link, "file", "new", .flags = 0 },
	{ "link-existing", call_link, "file", "empty", .flags = 0 },
	{ "link-missing", call_link, "nope", "new", .flags = 0 },
	{ "unlink", call_unlink, "file", .flags = 0 },
	{ "unlink-missing", call_unlink, "nope", .flags = 0 },
	{ "rmdir", call_rmdir, "void", .flags = 0 },
	{ "rmdir-missing", call_rmdir, "nope", .flags = 0 },
	{ "rename", call_rename, "file", "new", .flags = 0 },
	{ "rename-missing", call_rename, "nope", "new", .flags = 0 },
	{ "chmod", call_chmod, "file", .mode = 0600 },
	{ "chown", call_chown, "file", .off = UID_OWNER, .off2 = -1 },
	{ "truncate", call_truncate, "file", .off = 0 },
	{ "truncate-directory", call_truncate, "dir", .off = 0 },
	{ "utime-now", call_utime_now, "file", .flags = 0 },
	{ "utime-set.other", call_utime_set, "file", .who = OTHER },
	{ "setxattr", call_setxattr, "file", "user.b", .len = 5 },
	{ "removexattr", call_removexattr, "file", "user.b", .flags = 0 },
	{ "sync", call_open_then_sync, "file", .flags = O_RDONLY },
	{ "statfs", call_statfs, "file", .flags = 0 },
};

static void run_readonly(const struct step_group *g)
{
	if (chdir(LEFT_BY)) {
		perror(LEFT_BY);
		exit(2);
	}
	for (size_t i = 0; i < COUNT(readonly_steps); i++)
		step_run_here(g, &readonly_steps[i]);
}

const struct step_group group_readonly = { "readonly", fixture_none, .run = run_readonly };
