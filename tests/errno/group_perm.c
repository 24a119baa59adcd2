/*
 * Permissions: owner, group, others and root against the modes of a file and of the directory that it lies
 * in.
 *
 * The file and the directories are OWNER's, with OWNER's group, of which MEMBER is a member. Each call is
 * tried by all users with each mode: one line a case, named CALL-MODE.USER. The third group does so for a
 * sticky directory in which every user has a file.
 */
#include "calls.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- Modes of a file ----------------------------------------------------------------------------------- */

static mode_t current_mode;		/* of the case that runs; set before its process is made */

static void fixture_file(void)
{
	int fd;

	make_file("file", 0644, 0);
	fd = (int)must(open("file", O_WRONLY | O_CLOEXEC), "file");
	must(write(fd, "#!/bin/sh\nexit 0\n", 17), "write");
	close(fd);
	must(setxattr("file", "user.a", "value", 5, 0), "user.a");
	give_to("file", OWNER);
	must(chmod("file", current_mode), "chmod");
}

static const struct step file_steps[] = {
	{ "open-read", call_open, "file", .flags = O_RDONLY },
	{ "open-write", call_open, "file", .flags = O_WRONLY },
	{ "open-read-write", call_open, "file", .flags = O_RDWR },
	{ "open-truncate", call_open, "file", .flags = O_RDONLY | O_TRUNC },
	{ "access-read", call_access, "file", .mode = R_OK },
	{ "access-write", call_access, "file", .mode = W_OK },
	{ "access-execute", call_access, "file", .mode = X_OK },
	{ "execve", call_execve, "./file", .flags = 0 },
	{ "truncate", call_truncate, "file", .off = 3 },
	{ "utime-now", call_utime_now, "file", .flags = 0 },
	{ "getxattr", call_getxattr, "file", "user.a", .len = 10 },
	{ "setxattr", call_setxattr, "file", "user.b", .len = 1 },
	{ "removexattr", call_removexattr, "file", "user.a", .flags = 0 },
};

static void run_file(const struct step_group *g)
{
	static const mode_t modes[] = { 0000, 0700, 0070, 0007, 0077, 0707, 0640, 0444, 0222, 0111 };
	char suffix[16];

	for (size_t i = 0; i < COUNT(modes); i++) {
		current_mode = modes[i];
		snprintf(suffix, sizeof(suffix), "-%04o", modes[i]);
		steps_run_as(g, file_steps, COUNT(file_steps), suffix);
	}
}

const struct step_group group_perm_file = { "perm-file", fixture_file, .run = run_file };

/* ---- Modes of a directory ------------------------------------------------------------------------------ */

/* The directory `d` has the mode; what is in it would let anybody do anything. `out` lies beside it. */
static void fixture_directory(void)
{
	make_dir("d", 0777);
	make_file("d/file", 0666, 10);
	make_dir("d/sub", 0777);
	make_file("d/sub/file", 0666, 10);
	make_file("out", 0666, 10);
	make_dir("outdir", 0777);
	give_to("d", OWNER);
	must(chmod("d", current_mode), "chmod");
}

static const struct step directory_steps[] = {
	{ "list", call_list, "d", .flags = 0 },
	{ "chdir", call_chdir, "d", .flags = 0 },
	{ "access-execute", call_access, "d", .mode = X_OK },
	{ "stat-child", call_stat, "d/file", .flags = 0 },
	{ "stat-missing", call_stat, "d/none", .flags = 0 },
	{ "access-child", call_access, "d/file", .mode = R_OK },
	{ "open-child", call_open, "d/file", .flags = O_RDWR },
	{ "open-grandchild", call_open, "d/sub/file", .flags = O_RDWR },
	{ "readlink-child", call_readlink, "d/file", .len = 10 },
	{ "creat", call_open, "d/new", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-existing", call_open, "d/file", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "creat-excl-existing", call_open, "d/file", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0644 },
	{ "creat-grandchild", call_open, "d/sub/new", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "mkdir", call_mkdir, "d/new", .mode = 0755 },
	{ "mkdir-existing", call_mkdir, "d/sub", .mode = 0755 },
	{ "mknod-fifo", call_mknod, "d/new", .mode = S_IFIFO | 0644 },
	{ "symlink", call_symlink, "d/new", "target", .flags = 0 },
	{ "link-into", call_link, "out", "d/new", .flags = 0 },
	{ "link-out-of", call_link, "d/file", "outdir/new", .flags = 0 },
	{ "unlink", call_unlink, "d/file", .flags = 0 },
	{ "unlink-missing", call_unlink, "d/none", .flags = 0 },
	{ "rmdir-not-empty", call_rmdir, "d/sub", .flags = 0 },
	{ "rename-within", call_rename, "d/file", "d/new", .flags = 0 },
	{ "rename-missing", call_rename, "d/none", "d/new", .flags = 0 },
	{ "rename-out-of", call_rename, "d/file", "outdir/new", .flags = 0 },
	{ "rename-directory-out-of", call_rename, "d/sub", "outdir/new", .flags = 0 },
	{ "chmod-child", call_chmod, "d/file", .mode = 0600 },
	{ "truncate-child", call_truncate, "d/file", .off = 0 },
	{ "setxattr-child", call_setxattr, "d/file", "user.a", .len = 1 },
};

static void run_directory(const struct step_group *g)
{
	static const mode_t modes[] = {
		0000, 0111, 0222, 0333, 0444, 0555, 0666, 0700, 0070, 0007, 0750, 0705,
	};
	char suffix[16];

	for (size_t i = 0; i < COUNT(modes); i++) {
		current_mode = modes[i];
		snprintf(suffix, sizeof(suffix), "-%04o", modes[i]);
		steps_run_as(g, directory_steps, COUNT(directory_steps), suffix);
	}
}

const struct step_group group_perm_dir = { "perm-dir", fixture_directory, .run = run_directory };

/* ---- Sticky directories -------------------------------------------------------------------------------- */

/* sticky/, OWNER's, for all to write: a file and a directory of each user. free/, for all, beside it. */
static void fixture_sticky(void)
{
	char path[64];

	make_dir("sticky", 01777);
	make_dir("free", 0777);
	for (enum who who = ROOT; who < WHO_COUNT; who++) {
		snprintf(path, sizeof(path), "sticky/%s", who_name(who));
		make_file(path, 0666, 10);
		give_to(path, who);
		snprintf(path, sizeof(path), "sticky/%s-dir", who_name(who));
		make_dir(path, 0777);
		give_to(path, who);
		snprintf(path, sizeof(path), "free/%s", who_name(who));
		make_file(path, 0666, 10);
		give_to(path, who);
	}
	must(mknod("sticky/fifo", S_IFIFO | 0666, 0), "fifo");
	give_to("sticky/fifo", MEMBER);
	must(symlink("member", "sticky/link"), "link");
	give_to("sticky/link", MEMBER);
	give_to("sticky", OWNER);
}

static const struct step sticky_user_steps[] = {
	{ "unlink-members", call_unlink, "sticky/member", .flags = 0 },
	{ "unlink-roots", call_unlink, "sticky/root", .flags = 0 },
	{ "unlink-missing", call_unlink, "sticky/none", .flags = 0 },
	{ "rmdir-members", call_rmdir, "sticky/member-dir", .flags = 0 },
	{ "rmdir-others", call_rmdir, "sticky/other-dir", .flags = 0 },
	{ "rename-members", call_rename, "sticky/member", "sticky/new", .flags = 0 },
	{ "rename-members-out", call_rename, "sticky/member", "free/new", .flags = 0 },
	{ "rename-in-over-members", call_rename, "free/other", "sticky/member", .flags = 0 },
	{ "rename-others-over-members", call_rename, "sticky/other", "sticky/member", .flags = 0 },
	{ "exchange-with-members", call_rename, "free/other", "sticky/member", .flags = 2 },
	{ "rename-in", call_rename, "free/other", "sticky/new", .flags = 0 },
	{ "creat", call_open, "sticky/new", .flags = O_WRONLY | O_CREAT, .mode = 0644, .show = "sticky/new" },
	{ "open-members", call_open, "sticky/member", .flags = O_RDWR },
	{ "creat-existing-members", call_open, "sticky/member", .flags = O_RDWR | O_CREAT, .mode = 0644 },
	{ "creat-existing-others", call_open, "sticky/other", .flags = O_RDWR | O_CREAT, .mode = 0644 },
	{ "creat-existing-owners", call_open, "sticky/owner", .flags = O_RDWR | O_CREAT, .mode = 0644 },
	{ "creat-existing-fifo", call_open, "sticky/fifo", .flags = O_RDWR | O_CREAT | O_NONBLOCK,
	  .mode = 0644 },
	{ "follow-members-link", call_open, "sticky/link", .flags = O_RDONLY },
	{ "link-members", call_link, "sticky/member", "free/new", .flags = 0 },
	{ "mkdir", call_mkdir, "sticky/new", .mode = 0755 },
	{ "chmod-sticky", call_chmod, "sticky", .mode = 0777, .show = "sticky" },
};

static void run_sticky(const struct step_group *g)
{
	steps_run_as(g, sticky_user_steps, COUNT(sticky_user_steps), "");
}

const struct step_group group_sticky = { "sticky", fixture_sticky, .run = run_sticky };
