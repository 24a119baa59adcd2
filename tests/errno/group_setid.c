/*
 * setuid and setgid: what takes them away from files; setgid directories, umask and default ACLs: what new
 * objects get.
 *
 * The first group has a file with setuid, setgid or both, with and without execution by the group, and
 * security.capability; anybody may write to it, and all users do so in every way there is. The second makes
 * each type of object in a plain and in a setgid directory, by all users, with each umask and default ACL.
 */
#include "acl_text.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- Clearing ------------------------------------------------------------------------------------------ */

#define CAPABILITY	"security.capability"

static mode_t current_mode;		/* of the case that runs; set before its process is made */

/* `file` is OWNER's and has the mode; anybody may write. security.capability is set too. */
static void fixture_setid(void)
{
	static const unsigned char capability[20] = { 0, 0, 0, 2, 1 };

	make_file("file", 0644, 8192);
	make_file("source", 0644, 100);
	give_to("file", OWNER);
	must(setxattr("file", CAPABILITY, capability, sizeof(capability), 0), CAPABILITY);
	must(chmod("file", current_mode), "chmod");
}

/* After the call: is the capability still there? The mode is shown by the step. */
static long with_capability(long rc)
{
	char value[32];

	note(getxattr("file", CAPABILITY, value, sizeof(value)) > 0 ? " capability" : " no capability");
	return rc;
}

static long setid_write(const struct step *s)
{
	return with_capability(call_open_then_write(s));
}

static long setid_truncate(const struct step *s)
{
	return with_capability(call_truncate(s));
}

static long setid_ftruncate(const struct step *s)
{
	return with_capability(call_open_then_truncate(s));
}

static long setid_open(const struct step *s)
{
	return with_capability(call_open(s));
}

static long setid_fallocate(const struct step *s)
{
	return with_capability(call_open_then_fallocate(s));
}

static long setid_copy(const struct step *s)
{
	return with_capability(call_copy_range(s));
}

static long setid_chmod(const struct step *s)
{
	return with_capability(call_chmod(s));
}

static long setid_chown(const struct step *s)
{
	return with_capability(call_chown(s));
}

static long setid_utime(const struct step *s)
{
	return with_capability(call_utime_now(s));
}

static long setid_link(const struct step *s)
{
	return with_capability(call_link(s));
}

static long setid_map_store(const struct step *s)
{
	int fd = (int)must(open(s->path, O_RDWR), s->path);
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	*(volatile char *)p = 'm';
	return with_capability(result(msync(p, 4096, MS_SYNC)));
}

#define KEEP_SIZE	FALLOC_FL_KEEP_SIZE
#define PUNCH		(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define FILE_SHOWN	.show = "file"

static const struct step setid_steps[] = {
	{ "write", setid_write, "file", .flags = O_WRONLY, .len = 3, FILE_SHOWN },
	{ "write-length-0", setid_write, "file", .flags = O_WRONLY, .len = 0, FILE_SHOWN },
	{ "append", setid_write, "file", .flags = O_WRONLY | O_APPEND, .len = 3, FILE_SHOWN },
	{ "truncate", setid_truncate, "file", .off = 5, FILE_SHOWN },
	{ "truncate-same", setid_truncate, "file", .off = 8192, FILE_SHOWN },
	{ "ftruncate", setid_ftruncate, "file", .flags = O_WRONLY, .off = 5, FILE_SHOWN },
	{ "open-truncate", setid_open, "file", .flags = O_WRONLY | O_TRUNC, FILE_SHOWN },
	{ "open-write", setid_open, "file", .flags = O_WRONLY, FILE_SHOWN },
	{ "fallocate", setid_fallocate, "file", .flags = O_WRONLY, .len = 16384, FILE_SHOWN },
	{ "fallocate-keep-size", setid_fallocate, "file", .flags = O_WRONLY, .off2 = KEEP_SIZE,
	  .len = 16384, FILE_SHOWN },
	{ "fallocate-punch", setid_fallocate, "file", .flags = O_WRONLY, .off2 = PUNCH,
	  .len = 4096, FILE_SHOWN },
	{ "copy-file-range", setid_copy, "source", "file", .len = 10, FILE_SHOWN },
	{ "map-store", setid_map_store, "file", FILE_SHOWN },
	{ "chmod-same", setid_chmod, "file", .mode = 06777, FILE_SHOWN },
	{ "chgrp-same", setid_chown, "file", .off = -1, .off2 = GID_OWNER, FILE_SHOWN },
	{ "utime", setid_utime, "file", FILE_SHOWN },
	{ "link", setid_link, "file", "linked", FILE_SHOWN },
};

static void run_setid(const struct step_group *g)
{
	static const mode_t modes[] = { 06777, 04666, 02777, 02767, 00777 };
	char suffix[16];

	for (size_t i = 0; i < COUNT(modes); i++) {
		current_mode = modes[i];
		snprintf(suffix, sizeof(suffix), "-%05o", modes[i]);
		steps_run_as(g, setid_steps, COUNT(setid_steps), suffix);
	}
}

const struct step_group group_setid = { "setid", fixture_setid, .run = run_setid };

/* ---- What new objects get ------------------------------------------------------------------------------ */

static mode_t current_umask;		/* of the case that runs, and the default ACL of the directory */
static const char *current_acl;

/*
 * plain/ and setgid/, for all to write; the second has OWNER's group and setgid. Both have the default ACL.
 */
static void fixture_inherit(void)
{
	make_dir("plain", 0777);
	make_dir("setgid", 0755);
	must(chown("setgid", 0, GID_OWNER), "chown");
	must(chmod("setgid", 02777), "chmod");
	if (current_acl) {
		put_acl("plain", ACL_DEFAULT, current_acl);
		put_acl("setgid", ACL_DEFAULT, current_acl);
	}
	make_file("plain/old", 0666, 0);
}

static long inherited(const struct step *s, long (*call)(const struct step *s))
{
	long rc;

	umask(current_umask);
	rc = call(s);
	if (rc == 0 && current_acl) {
		note_acl(s->path, ACL_ACCESS);
		note_acl(s->path, ACL_DEFAULT);
	}
	return rc;
}

static long inherit_creat(const struct step *s)
{
	return inherited(s, call_open);
}

static long inherit_mkdir(const struct step *s)
{
	return inherited(s, call_mkdir);
}

static long inherit_mknod(const struct step *s)
{
	return inherited(s, call_mknod);
}

static long inherit_symlink(const struct step *s)
{
	return inherited(s, call_symlink);
}

static const struct step inherit_steps[] = {
	{ "creat-0666", inherit_creat, "plain/new", .flags = O_WRONLY | O_CREAT, .mode = 0666,
	  .show = "plain/new" },
	{ "creat-0600", inherit_creat, "plain/new", .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0600,
	  .show = "plain/new" },
	{ "creat-07777", inherit_creat, "plain/new", .flags = O_WRONLY | O_CREAT, .mode = 07777,
	  .show = "plain/new" },
	{ "mkdir-0777", inherit_mkdir, "plain/new", .mode = 0777, .show = "plain/new" },
	{ "mkdir-07700", inherit_mkdir, "plain/new", .mode = 07700, .show = "plain/new" },
	{ "mknod-fifo", inherit_mknod, "plain/new", .mode = S_IFIFO | 0666, .show = "plain/new" },
	{ "mknod-socket", inherit_mknod, "plain/new", .mode = S_IFSOCK | 0777, .show = "plain/new" },
	{ "mknod-regular", inherit_mknod, "plain/new", .mode = S_IFREG | 0666, .show = "plain/new" },
	{ "symlink", inherit_symlink, "plain/new", "target", .show = "plain/new" },
	{ "setgid-creat-0666", inherit_creat, "setgid/new", .flags = O_WRONLY | O_CREAT, .mode = 0666,
	  .show = "setgid/new" },
	{ "setgid-creat-02755", inherit_creat, "setgid/new", .flags = O_WRONLY | O_CREAT, .mode = 02755,
	  .show = "setgid/new" },
	{ "setgid-creat-02745", inherit_creat, "setgid/new", .flags = O_WRONLY | O_CREAT, .mode = 02745,
	  .show = "setgid/new" },
	{ "setgid-creat-06777", inherit_creat, "setgid/new", .flags = O_WRONLY | O_CREAT, .mode = 06777,
	  .show = "setgid/new" },
	{ "setgid-mkdir-0777", inherit_mkdir, "setgid/new", .mode = 0777, .show = "setgid/new" },
	{ "setgid-mkdir-0700", inherit_mkdir, "setgid/new", .mode = 0700, .show = "setgid/new" },
	{ "setgid-mknod-02777", inherit_mknod, "setgid/new", .mode = S_IFIFO | 02777, .show = "setgid/new" },
	{ "setgid-symlink", inherit_symlink, "setgid/new", "target", .show = "setgid/new" },
};

static void run_inherit(const struct step_group *g)
{
	static const mode_t umasks[] = { 0000, 0022, 0077 };
	static const struct { const char *name, *text; } acls[] = {
		{ "no-acl", NULL },
		{ "minimal-acl", "u::rwx,g::r-x,o::---" },
		{ "full-acl", "u::rwx,u:member:rwx,g::r-x,g:other:rw-,m::rwx,o::r-x" },
		{ "masked-acl", "u::r-x,u:member:rwx,g::rwx,m::r--,o::--x" },
	};
	char suffix[64];

	for (size_t a = 0; a < COUNT(acls); a++)
		for (size_t u = 0; u < COUNT(umasks); u++) {
			current_acl = acls[a].text;
			current_umask = umasks[u];
			snprintf(suffix, sizeof(suffix), "-%s-%03o", acls[a].name, umasks[u]);
			steps_run_as(g, inherit_steps, COUNT(inherit_steps), suffix);
		}
}

const struct step_group group_inherit = { "inherit", fixture_inherit, .run = run_inherit };
