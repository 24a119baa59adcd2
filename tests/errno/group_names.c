/*
 * Calls that make and take away names: mkdir, mknod, symlink, link, unlink, rmdir; and those that only use
 * them: readlink, chdir, reading directories.
 *
 * Each against the same list of what can stand at a path: nothing, each type, a symlink to each and to
 * nothing and to itself, ".", "..", a slash behind, a mount point, a directory that is removed but still open
 * or still the working directory. Who may is the matter of group_perm.c; here are only the cases in which two
 * errors are possible and their order is to be seen.
 */
#include "calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void sub_of_cwd(const struct step *s)
{
	(void)s;
	must(chdir("dir"), "chdir");
}

static long mkdir_bad_pointer(const struct step *s)
{
	(void)s;
	return result(syscall(SYS_mkdirat, AT_FDCWD, bad_pointer, 0755));
}

static long symlink_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_symlinkat, bad_pointer, AT_FDCWD, s->path));
}

static long readlink_bad_pointer(const struct step *s)
{
	return result(syscall(SYS_readlinkat, AT_FDCWD, s->path, bad_pointer, 100));
}

static long getdents_small(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDONLY), s->path);
	char buf[8];

	return result(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
}

static long getdents_bad_pointer(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDONLY), s->path);

	return result(syscall(SYS_getdents64, fd, bad_pointer, 4096));
}

static long getdents_not_directory(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDONLY), s->path);
	char buf[512];

	return result(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
}

/* Open, remove, then use the descriptor. */
static int removed_dir(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDONLY | O_DIRECTORY), s->path);

	must(rmdir(s->path), "rmdir");
	return fd;
}

static long removed_getdents(const struct step *s)
{
	char buf[512];

	return result(syscall(SYS_getdents64, removed_dir(s), buf, sizeof(buf)));
}

static long removed_fstat(const struct step *s)
{
	struct stat st;
	long rc = result(fstat(removed_dir(s), &st));

	if (rc == 0)
		note(" nlink=%lu", (unsigned long)st.st_nlink);
	return rc;
}

static long removed_creat(const struct step *s)
{
	return result(openat(removed_dir(s), "new", O_WRONLY | O_CREAT, 0644));
}

static long removed_mkdir(const struct step *s)
{
	return result(mkdirat(removed_dir(s), "new", 0755));
}

static long removed_link(const struct step *s)
{
	return result(linkat(AT_FDCWD, "file", removed_dir(s), "new", 0));
}

static long removed_rename(const struct step *s)
{
	return result(renameat(AT_FDCWD, "file", removed_dir(s), "new"));
}

static long removed_chmod(const struct step *s)
{
	return result(fchmod(removed_dir(s), 0700));
}

static long removed_fchdir(const struct step *s)
{
	return result(fchdir(removed_dir(s)));
}

static long removed_sync(const struct step *s)
{
	return result(fsync(removed_dir(s)));
}

/* The numbers of entries before and after a seek back to the start, with a name added between. */
static long list_again(const struct step *s)
{
	DIR *dir = opendir(s->path);
	int before = 0, after = 0;

	must(dir ? 0 : -1, s->path);
	while (readdir(dir))
		before++;
	make_file("dir/later", 0644, 0);
	rewinddir(dir);
	while (readdir(dir))
		after++;
	closedir(dir);
	note(" %d then %d", before, after);
	return 0;
}

static long list_types(const struct step *s)
{
	DIR *dir = opendir(s->path);
	int types[16] = { 0 };
	struct dirent *e;

	must(dir ? 0 : -1, s->path);
	while ((e = readdir(dir)))
		types[e->d_type & 15]++;
	closedir(dir);
	note(" fifo=%d chr=%d dir=%d reg=%d lnk=%d sock=%d unknown=%d", types[DT_FIFO], types[DT_CHR],
	     types[DT_DIR],
	     types[DT_REG], types[DT_LNK], types[DT_SOCK], types[DT_UNKNOWN]);
	return 0;
}

static const struct step names_steps[] = {
	{ "mkdir", call_mkdir, "none", .mode = 0777, .show = "none" },
	{ "mkdir-all-mode-bits", call_mkdir, "none", .mode = 07777, .show = "none" },
	{ "mkdir-slash", call_mkdir, "none/", .mode = 0755, .show = "none" },
	{ "mkdir-existing-directory", call_mkdir, "dir", .mode = 0755 },
	{ "mkdir-existing-file", call_mkdir, "file", .mode = 0755 },
	{ "mkdir-existing-link", call_mkdir, "lfile", .mode = 0755 },
	{ "mkdir-dangling", call_mkdir, "ldangling", .mode = 0755 },
	{ "mkdir-dangling-slash", call_mkdir, "ldangling/", .mode = 0755 },
	{ "mkdir-dot", call_mkdir, ".", .mode = 0755 },
	{ "mkdir-dotdot", call_mkdir, "dir/..", .mode = 0755 },
	{ "mkdir-missing-slash-dot", call_mkdir, "none/.", .mode = 0755 },
	{ "mkdir-empty-path", call_mkdir, "", .mode = 0755 },
	{ "mkdir-in-missing", call_mkdir, "none/dir", .mode = 0755 },
	{ "mkdir-below-file", call_mkdir, "file/dir", .mode = 0755 },
	{ "mkdir-loop", call_mkdir, "lloop/dir", .mode = 0755 },
	{ "mkdir-bad-pointer", mkdir_bad_pointer, .mode = 0755 },
	{ "mkdir.other", call_mkdir, "none", .mode = 0755, .who = OTHER },
	{ "mkdir-existing.other", call_mkdir, "dir", .mode = 0755, .who = OTHER },
	{ "mkdir.owner", call_mkdir, "minedir/none", .mode = 0755, .who = OWNER, .show = "minedir/none" },
	{ "mkdir-in-removed", call_mkdir, "none", .mode = 0755, .prepare = removed_cwd },

	{ "mknod-regular", call_mknod, "none", .mode = S_IFREG | 0644, .show = "none" },
	{ "mknod-type-0", call_mknod, "none", .mode = 0644, .show = "none" },
	{ "mknod-fifo", call_mknod, "none", .mode = S_IFIFO | 0644, .show = "none" },
	{ "mknod-socket", call_mknod, "none", .mode = S_IFSOCK | 0644, .show = "none" },
	{ "mknod-character", call_mknod, "none", .mode = S_IFCHR | 0644, .off = 0x105, .show = "none" },
	{ "mknod-block", call_mknod, "none", .mode = S_IFBLK | 0644, .off = 0x701, .show = "none" },
	{ "mknod-large-number", call_mknod, "none", .mode = S_IFBLK | 0644, .off = 0xfff12345,
	  .show = "none" },
	{ "mknod-whiteout", call_mknod, "none", .mode = S_IFCHR | 0644, .off = 0, .show = "none" },
	{ "mknod-directory", call_mknod, "none", .mode = S_IFDIR | 0755 },
	{ "mknod-link", call_mknod, "none", .mode = S_IFLNK | 0777 },
	{ "mknod-bad-type", call_mknod, "none", .mode = 0170000 | 0644 },
	{ "mknod-existing", call_mknod, "file", .mode = S_IFIFO | 0644 },
	{ "mknod-dangling", call_mknod, "ldangling", .mode = S_IFIFO | 0644 },
	{ "mknod-slash", call_mknod, "none/", .mode = S_IFIFO | 0644 },
	{ "mknod-in-missing", call_mknod, "none/fifo", .mode = S_IFIFO | 0644 },
	{ "mknod-below-file", call_mknod, "file/fifo", .mode = S_IFIFO | 0644 },
	{ "mknod-regular.owner", call_mknod, "minedir/none", .mode = S_IFREG | 0644, .who = OWNER },
	{ "mknod-fifo.owner", call_mknod, "minedir/none", .mode = S_IFIFO | 0644, .who = OWNER,
	  .show = "minedir/none" },
	{ "mknod-socket.owner", call_mknod, "minedir/none", .mode = S_IFSOCK | 0644, .who = OWNER },
	{ "mknod-character.owner", call_mknod, "minedir/none", .mode = S_IFCHR | 0644, .off = 0x103,
	  .who = OWNER },
	{ "mknod-block.owner", call_mknod, "minedir/none", .mode = S_IFBLK | 0644, .off = 0x701,
	  .who = OWNER },
	{ "mknod-whiteout.owner", call_mknod, "minedir/none", .mode = S_IFCHR, .off = 0, .who = OWNER },
	{ "mknod-fifo.other", call_mknod, "none", .mode = S_IFIFO | 0644, .who = OTHER },
	{ "mknod-in-removed", call_mknod, "none", .mode = S_IFIFO | 0644, .prepare = removed_cwd },

	{ "symlink", call_symlink, "none", "target", .show = "none" },
	{ "symlink-empty-target", call_symlink, "none", "" , .show = "none" },
	{ "symlink-empty-path", call_symlink, "", "target", .flags = 0 },
	{ "symlink-existing", call_symlink, "file", "target", .flags = 0 },
	{ "symlink-dangling", call_symlink, "ldangling", "target", .flags = 0 },
	{ "symlink-slash", call_symlink, "none/", "target", .flags = 0 },
	{ "symlink-in-missing", call_symlink, "none/link", "target", .flags = 0 },
	{ "symlink-below-file", call_symlink, "file/link", "target", .flags = 0 },
	{ "symlink-bad-pointer", symlink_bad_pointer, "none", .flags = 0 },
	{ "symlink.other", call_symlink, "none", "target", .who = OTHER },
	{ "symlink.owner", call_symlink, "minedir/none", "target", .who = OWNER, .show = "minedir/none" },
	{ "symlink-in-removed", call_symlink, "none", "target", .prepare = removed_cwd },

	{ "link", call_link, "file", "none", .show = "file" },
	{ "link-existing", call_link, "file", "empty", .flags = 0 },
	{ "link-to-itself", call_link, "file", "file", .flags = 0 },
	{ "link-twins", call_link, "twin1", "twin2", .flags = 0, .show = "twin1" },
	{ "link-missing", call_link, "nope", "none", .flags = 0 },
	{ "link-missing-existing", call_link, "nope", "file", .flags = 0 },
	{ "link-directory", call_link, "dir", "none", .flags = 0 },
	{ "link-directory-existing", call_link, "dir", "file", .flags = 0 },
	{ "link-of-symlink", call_link, "lfile", "none", .show = "none" },
	{ "link-of-symlink-follow", call_link, "lfile", "none", .flags = AT_SYMLINK_FOLLOW, .show = "none" },
	{ "link-of-dangling", call_link, "ldangling", "none", .show = "none" },
	{ "link-of-dangling-follow", call_link, "ldangling", "none", .flags = AT_SYMLINK_FOLLOW },
	{ "link-of-fifo", call_link, "fifo", "none", .show = "none" },
	{ "link-of-device", call_link, "null", "none", .show = "none" },
	{ "link-onto-dangling", call_link, "file", "ldangling", .flags = 0 },
	{ "link-slash", call_link, "file", "none/", .flags = 0 },
	{ "link-from-slash", call_link, "file/", "none", .flags = 0 },
	{ "link-into-missing", call_link, "file", "none/new", .flags = 0 },
	{ "link-below-file", call_link, "file", "empty/new", .flags = 0 },
	{ "link-bad-flags", call_link, "file", "none", .flags = 0x10 },
	{ "link-other-mount", call_link, "file", "void/new", .prepare = mount_inside },
	{ "link-from-other-mount", call_link, "void/foreign", "new", .prepare = mount_inside },
	{ "link-own.owner", call_link, "mine", "minedir/new", .who = OWNER, .show = "mine" },
	{ "link-foreign.owner", call_link, "file", "minedir/new", .who = OWNER },
	{ "link-foreign-symlink.owner", call_link, "lfile", "minedir/new", .who = OWNER },
	{ "link-own.other", call_link, "mine", "none", .who = OTHER },

	{ "unlink", call_unlink, "file", .show = "file" },
	{ "unlink-one-of-two", call_unlink, "twin1", .show = "twin2" },
	{ "unlink-missing", call_unlink, "none", .flags = 0 },
	{ "unlink-empty-path", call_unlink, "", .flags = 0 },
	{ "unlink-directory", call_unlink, "void", .flags = 0 },
	{ "unlink-directory-slash", call_unlink, "void/", .flags = 0 },
	{ "unlink-dot", call_unlink, ".", .flags = 0 },
	{ "unlink-dotdot", call_unlink, "dir/..", .flags = 0 },
	{ "unlink-file-slash", call_unlink, "file/", .flags = 0 },
	{ "unlink-missing-slash", call_unlink, "none/", .flags = 0 },
	{ "unlink-below-file", call_unlink, "file/none", .flags = 0 },
	{ "unlink-link", call_unlink, "lfile", .show = "file" },
	{ "unlink-link-slash", call_unlink, "ldir/", .flags = 0 },
	{ "unlink-dangling", call_unlink, "ldangling", .flags = 0 },
	{ "unlink-loop", call_unlink, "lloop", .flags = 0 },
	{ "unlink-through-loop", call_unlink, "lloop/file", .flags = 0 },
	{ "unlink-fifo", call_unlink, "fifo", .flags = 0 },
	{ "unlink-socket", call_unlink, "sock", .flags = 0 },
	{ "unlink-device", call_unlink, "null", .flags = 0 },
	{ "unlink-mount-point", call_unlink, "void", .prepare = mount_inside },
	{ "unlink.other", call_unlink, "file", .who = OTHER },
	{ "unlink-missing.other", call_unlink, "none", .who = OTHER },
	{ "unlink-own-in-foreign.owner", call_unlink, "mine", .who = OWNER },
	{ "unlink-directory.other", call_unlink, "void", .who = OTHER },

	{ "rmdir", call_rmdir, "void", .show = "void" },
	{ "rmdir-slash", call_rmdir, "void/", .flags = 0 },
	{ "rmdir-two-slashes", call_rmdir, "void//", .flags = 0 },
	{ "rmdir-not-empty", call_rmdir, "dir", .flags = 0 },
	{ "rmdir-not-empty-slash", call_rmdir, "dir/", .flags = 0 },
	{ "rmdir-missing", call_rmdir, "none", .flags = 0 },
	{ "rmdir-file", call_rmdir, "file", .flags = 0 },
	{ "rmdir-file-slash", call_rmdir, "file/", .flags = 0 },
	{ "rmdir-link", call_rmdir, "ldir", .flags = 0 },
	{ "rmdir-link-slash", call_rmdir, "ldir/", .flags = 0 },
	{ "rmdir-dangling", call_rmdir, "ldangling", .flags = 0 },
	{ "rmdir-dot", call_rmdir, ".", .flags = 0 },
	{ "rmdir-child-dot", call_rmdir, "void/.", .flags = 0 },
	{ "rmdir-dotdot", call_rmdir, "void/..", .flags = 0 },
	{ "rmdir-root", call_rmdir, "/", .flags = 0 },
	{ "rmdir-empty-path", call_rmdir, "", .flags = 0 },
	{ "rmdir-below-file", call_rmdir, "file/none", .flags = 0 },
	{ "rmdir-mount-point", call_rmdir, "void", .prepare = mount_inside },
	{ "rmdir-working-directory", call_rmdir, "../dir/sub", .prepare = sub_of_cwd },
	{ "rmdir.other", call_rmdir, "void", .who = OTHER },
	{ "rmdir-own-in-foreign.owner", call_rmdir, "minedir", .who = OWNER },

	{ "readlink", call_readlink, "lfile", .len = 100 },
	{ "readlink-short-buffer", call_readlink, "lfile", .len = 2 },
	{ "readlink-no-buffer", call_readlink, "lfile", .len = 0 },
	{ "readlink-negative-size", call_readlink, "lfile", .len = -1 },
	{ "readlink-dangling", call_readlink, "ldangling", .len = 100 },
	{ "readlink-loop", call_readlink, "lloop", .len = 100 },
	{ "readlink-file", call_readlink, "file", .len = 100 },
	{ "readlink-directory", call_readlink, "dir", .len = 100 },
	{ "readlink-missing", call_readlink, "none", .len = 100 },
	{ "readlink-slash", call_readlink, "lfile/", .len = 100 },
	{ "readlink-directory-link-slash", call_readlink, "ldir/", .len = 100 },
	{ "readlink-empty-path", call_readlink, "", .len = 100 },
	{ "readlink-bad-pointer", readlink_bad_pointer, "lfile", .len = 100 },

	{ "chdir", call_chdir, "dir", .flags = 0 },
	{ "chdir-file", call_chdir, "file", .flags = 0 },
	{ "chdir-link", call_chdir, "ldir", .flags = 0 },
	{ "chdir-dangling", call_chdir, "ldangling", .flags = 0 },
	{ "chdir-loop", call_chdir, "lloop", .flags = 0 },
	{ "chdir-missing", call_chdir, "none", .flags = 0 },
	{ "chdir-removed-dot", call_chdir, ".", .prepare = removed_cwd },
	{ "chdir-removed-dotdot", call_chdir, "..", .prepare = removed_cwd },
	{ "stat-removed-dot", call_stat, ".", .prepare = removed_cwd },
	{ "stat-removed-dotdot", call_stat, "..", .prepare = removed_cwd },
	{ "open-removed-dot", call_open, ".", .flags = O_RDONLY, .prepare = removed_cwd },
	{ "creat-removed", call_open, "none", .flags = O_WRONLY | O_CREAT, .mode = 0644,
	  .prepare = removed_cwd },
	{ "rmdir-removed-dot", call_rmdir, ".", .prepare = removed_cwd },

	{ "list", call_list, "dir", .flags = 0 },
	{ "list-empty", call_list, "void", .flags = 0 },
	{ "list-file", call_list, "file", .flags = 0 },
	{ "list-again", list_again, "dir", .flags = 0 },
	{ "list-types", list_types, ".", .flags = 0 },
	{ "getdents-small-buffer", getdents_small, "dir", .flags = 0 },
	{ "getdents-bad-pointer", getdents_bad_pointer, "dir", .flags = 0 },
	{ "getdents-file", getdents_not_directory, "file", .flags = 0 },
	{ "removed-getdents", removed_getdents, "void", .flags = 0 },
	{ "removed-fstat", removed_fstat, "void", .flags = 0 },
	{ "removed-creat", removed_creat, "void", .flags = 0 },
	{ "removed-mkdir", removed_mkdir, "void", .flags = 0 },
	{ "removed-link", removed_link, "void", .flags = 0 },
	{ "removed-rename", removed_rename, "void", .flags = 0 },
	{ "removed-chmod", removed_chmod, "void", .flags = 0 },
	{ "removed-fchdir", removed_fchdir, "void", .flags = 0 },
	{ "removed-sync", removed_sync, "void", .flags = 0 },
};

const struct step_group group_names = { "names", fixture_usual, TABLE(names_steps) };
