/*
 * ACLs: what is a valid one and on what, what it does to the mode and chmod to it, and what it lets users do.
 *
 * ACLs are written as text (acl_text.h); those that text cannot say wrongly enough (cut, of another version)
 * are made of bytes. After a change the mode and both ACLs are shown. The rights are tried on a file and a
 * directory with the same ACL, by all users. What new objects inherit is in group_setid.c.
 */
#include "acl_text.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FULL	"u::rwx,u:member:r-x,g::r-x,m::r-x,o::---"

/* The mode of `path`, and both ACLs. */
static void note_both(const char *path)
{
	struct stat st;

	must(lstat(path, &st), path);
	note(" %06o", st.st_mode);
	note_acl(path, ACL_ACCESS);
	if (S_ISDIR(st.st_mode))
		note_acl(path, ACL_DEFAULT);
}

/* to: the ACL as text; off: 1 for a default ACL; flags of setxattr(2). */
static long set_acl(const struct step *s)
{
	const char *name = s->off ? ACL_DEFAULT : ACL_ACCESS;
	char acl[ACL_TEXT_BYTES];
	size_t len = acl_bytes(s->to, acl);
	long rc = result(lsetxattr(s->path, name, acl, len, s->flags));

	if (rc == 0)
		note_both(s->path);
	return rc;
}

/* The bytes of a good ACL, of which len are given and the first is off2. */
static long set_raw(const struct step *s)
{
	const char *name = s->off ? ACL_DEFAULT : ACL_ACCESS;
	char acl[ACL_TEXT_BYTES] = { 0 };

	acl_bytes(FULL, acl);
	acl[0] = (char)s->off2;
	return result(lsetxattr(s->path, name, acl, (size_t)s->len, s->flags));
}

static long remove_acl(const struct step *s)
{
	long rc = result(lremovexattr(s->path, s->to));

	if (rc == 0)
		note_both(s->path);
	return rc;
}

/* As an ACL: what the attribute says, and the size that is asked for first. */
static long get_acl(const struct step *s)
{
	char acl[ACL_TEXT_BYTES];

	return result(lgetxattr(s->path, s->to, acl, (size_t)s->len));
}

static void with_acl(const struct step *s)
{
	put_acl(s->path, ACL_ACCESS, FULL);
}

static void with_default(const struct step *s)
{
	put_acl(s->path, ACL_DEFAULT, FULL);
}

static void with_acl_and_sgid(const struct step *s)
{
	put_acl(s->path, ACL_ACCESS, FULL);
	must(chmod(s->path, 02770), "chmod");
}

/* OWNER's, with a group that OWNER is not in, and setgid. */
static void foreign_group_sgid(const struct step *s)
{
	must(chown(s->path, UID_OWNER, GID_OTHER), "chown");
	must(chmod(s->path, 02755), "chmod");
}

static long chmod_acl(const struct step *s)
{
	long rc = call_chmod(s);

	note_both(s->path);
	return rc;
}

#define ACCESS(name, path, text) { name, set_acl, path, text, .off = 0 }
#define DEFAULT(name, path, text) { name, set_acl, path, text, .off = 1 }

static const struct step acl_steps[] = {
	ACCESS("minimal", "file", "u::rw-,g::r--,o::---"),
	ACCESS("minimal-changes-mode", "file", "u::rwx,g::-wx,o::--x"),
	ACCESS("full", "file", FULL),
	ACCESS("mask-only", "file", "u::rw-,g::rwx,m::r--,o::---"),
	ACCESS("named-group", "file", "u::rw-,g::r--,g:other:rw-,m::rw-,o::---"),
	ACCESS("many", "file", "u::rw-,u:root:r--,u:owner:r--,u:member:-w-,g::r--,g:owner:rw-,m::rw-,o::---"),
	ACCESS("directory", "dir", FULL),
	ACCESS("fifo", "fifo", FULL),
	ACCESS("device", "null", FULL),
	ACCESS("symlink", "lfile", FULL),
	ACCESS("missing", "none", FULL),
	ACCESS("no-entries", "file", ""),
	ACCESS("no-mask", "file", "u::rw-,u:member:r--,g::r--,o::---"),
	ACCESS("no-user", "file", "g::r--,o::---"),
	ACCESS("no-group", "file", "u::rw-,o::---"),
	ACCESS("no-other", "file", "u::rw-,g::r--"),
	ACCESS("two-users", "file", "u::rw-,u::r--,g::r--,o::---"),
	ACCESS("two-masks", "file", "u::rw-,g::r--,m::r--,m::r--,o::---"),
	ACCESS("two-others", "file", "u::rw-,g::r--,o::---,o::---"),
	ACCESS("out-of-order", "file", "g::r--,u::rw-,o::---"),
	ACCESS("named-after-group", "file", "u::rw-,g::r--,u:member:r--,m::r--,o::---"),
	ACCESS("mask-first", "file", "m::r--,u::rw-,g::r--,o::---"),
	ACCESS("ids-out-of-order", "file", "u::rw-,u:other:r--,u:owner:r--,g::r--,m::r--,o::---"),
	ACCESS("same-id-twice", "file", "u::rw-,u:owner:r--,u:owner:rw-,g::r--,m::r--,o::---"),
	ACCESS("undefined-id", "file", "u::rw-,u:nobody:r--,g::r--,m::r--,o::---"),
	ACCESS("bad-permission", "file", "u::rw?,g::r--,o::---"),
	{ "create", set_acl, "file", FULL, .flags = XATTR_CREATE },
	{ "create-existing", set_acl, "file", FULL, .flags = XATTR_CREATE, .prepare = with_acl },
	{ "replace", set_acl, "file", FULL, .flags = XATTR_REPLACE, .prepare = with_acl },
	{ "replace-missing", set_acl, "file", FULL, .flags = XATTR_REPLACE },
	{ "no-entries-removes", set_acl, "file", "", .prepare = with_acl },
	{ "minimal-removes", set_acl, "file", "u::rw-,g::r--,o::r--", .prepare = with_acl },
	DEFAULT("default", "dir", FULL),
	DEFAULT("default-minimal", "dir", "u::rwx,g::r-x,o::---"),
	DEFAULT("default-no-mask", "dir", "u::rwx,u:member:r--,g::r-x,o::---"),
	DEFAULT("default-no-entries", "dir", ""),
	DEFAULT("default-file", "file", FULL),
	DEFAULT("default-file-no-entries", "file", ""),
	DEFAULT("default-symlink", "lfile", FULL),
	DEFAULT("default-fifo", "fifo", FULL),
	{ "default-no-entries-removes", set_acl, "dir", "", .off = 1, .prepare = with_default },
	{ "raw-empty", set_raw, "file", .off2 = 2, .len = 0 },
	{ "raw-empty-default", set_raw, "dir", .off = 1, .off2 = 2, .len = 0 },
	{ "raw-header-cut", set_raw, "file", .off2 = 2, .len = 3 },
	{ "raw-header", set_raw, "file", .off2 = 2, .len = 4 },
	{ "raw-entry-cut", set_raw, "file", .off2 = 2, .len = 10 },
	{ "raw-version-1", set_raw, "file", .off2 = 1, .len = 44 },
	{ "raw-version-3", set_raw, "file", .off2 = 3, .len = 44 },
	{ "raw-version-3-no-entries", set_raw, "file", .off2 = 3, .len = 4 },
	{ "raw-good", set_raw, "file", .off2 = 2, .len = 44 },
	{ "get-missing", get_acl, "file", ACL_ACCESS, .len = 100 },
	{ "get-missing-default", get_acl, "dir", ACL_DEFAULT, .len = 100 },
	{ "get-default-of-file", get_acl, "file", ACL_DEFAULT, .len = 100 },
	{ "get-symlink", get_acl, "lfile", ACL_ACCESS, .len = 100 },
	{ "get", get_acl, "file", ACL_ACCESS, .len = 100, .prepare = with_acl },
	{ "get-size", get_acl, "file", ACL_ACCESS, .len = 0, .prepare = with_acl },
	{ "get-too-small", get_acl, "file", ACL_ACCESS, .len = 20, .prepare = with_acl },
	{ "remove", remove_acl, "file", ACL_ACCESS, .prepare = with_acl },
	{ "remove-missing", remove_acl, "file", ACL_ACCESS, .flags = 0 },
	{ "remove-default", remove_acl, "dir", ACL_DEFAULT, .prepare = with_default },
	{ "remove-missing-default", remove_acl, "dir", ACL_DEFAULT, .flags = 0 },
	{ "remove-default-of-file", remove_acl, "file", ACL_DEFAULT, .flags = 0 },
	{ "remove-symlink", remove_acl, "lfile", ACL_ACCESS, .flags = 0 },
	{ "chmod-with-acl", chmod_acl, "file", .mode = 0600, .prepare = with_acl },
	{ "chmod-with-acl-more", chmod_acl, "file", .mode = 0777, .prepare = with_acl },
	{ "chmod-directory-with-default", chmod_acl, "dir", .mode = 0700, .prepare = with_default },
	{ "sgid-kept.root", set_acl, "mine", FULL, .prepare = with_acl_and_sgid },
	{ "sgid-own-group.owner", set_acl, "mine", FULL, .who = OWNER, .prepare = with_acl_and_sgid },
	{ "sgid-foreign-group.owner", set_acl, "mine", FULL, .who = OWNER, .prepare = foreign_group_sgid },
	{ "sgid-foreign-group-minimal.owner", set_acl, "mine", "u::rwx,g::r-x,o::r-x", .who = OWNER,
	  .prepare = foreign_group_sgid },
	{ "sgid-foreign-group-directory.owner", set_acl, "minedir", FULL, .who = OWNER,
	  .prepare = foreign_group_sgid },
	{ "sgid-foreign-group-default.owner", set_acl, "minedir", FULL, .off = 1, .who = OWNER,
	  .prepare = foreign_group_sgid },
};

static const struct step acl_user_steps[] = {
	ACCESS("set", "mine", FULL),
	DEFAULT("set-default", "minedir", FULL),
	{ "remove", remove_acl, "mine", ACL_ACCESS, .prepare = with_acl },
	{ "get", get_acl, "mine", ACL_ACCESS, .len = 100, .prepare = with_acl },
};

/* What ACLs let users do, on OWNER's `file` in OWNER's `dir`. */
static const struct { const char *name, *acl; } rights[] = {
	{ "member-by-name", "u::---,u:member:rwx,g::---,m::rwx,o::---" },
	{ "member-by-name-masked", "u::rwx,u:member:rwx,g::rwx,m::r--,o::rwx" },
	{ "member-by-group", "u::---,g::rwx,o::---" },
	{ "member-denied-by-name", "u::rwx,u:member:---,g::rwx,m::rwx,o::rwx" },
	{ "other-by-group", "u::---,g::---,g:other:r-x,m::rwx,o::---" },
	{ "other-group-without-rights", "u::---,g::---,g:other:---,m::rwx,o::rwx" },
	{ "masked-all", "u::rwx,u:other:rwx,g::rwx,m::---,o::---" },
};

static const char *rights_acl;		/* of the case that runs; set before its process is made */

static void fixture_rights(void)
{
	make_dir("dir", 0755);
	make_file("dir/file", 0644, 10);
	give_to("dir/file", OWNER);
	give_to("dir", OWNER);
	put_acl("dir/file", ACL_ACCESS, rights_acl);
	put_acl("dir", ACL_ACCESS, rights_acl);
}

static const struct step rights_steps[] = {
	{ "read", call_open, "dir/file", .flags = O_RDONLY },
	{ "write", call_open, "dir/file", .flags = O_WRONLY },
	{ "list", call_list, "dir", .flags = 0 },
	{ "create", call_open, "dir/new", .flags = O_WRONLY | O_CREAT, .mode = 0644 },
	{ "stat", call_stat, "dir/file", .flags = 0 },
	{ "access-execute", call_access, "dir", .mode = X_OK },
};

static void run_acl(const struct step_group *g)
{
	struct step_group rights_group = { g->name, fixture_rights, TABLE(rights_steps), .run = NULL };
	char suffix[64];

	steps_run_as(g, acl_user_steps, COUNT(acl_user_steps), "");
	for (size_t i = 0; i < COUNT(rights); i++) {
		rights_acl = rights[i].acl;
		suffix[0] = '-';
		strcpy(suffix + 1, rights[i].name);
		steps_run_as(&rights_group, rights_steps, COUNT(rights_steps), suffix);
	}
}

const struct step_group group_acl = { "acl", fixture_usual, TABLE(acl_steps), .run = run_acl };
