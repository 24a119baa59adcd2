/*
 * rename(2) and renameat2(2): every pair of types, every flag, loops, mounts, and who may.
 *
 * The pairs are made by loops over the types; the table has what pairs do not show: paths (".", "..",
 * slashes), directories that would come to lie below themselves, links to one file, mount points, directories
 * that change their parent without the right to write to them.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#define NOREPLACE	RENAME_NOREPLACE
#define EXCHANGE	RENAME_EXCHANGE
#define WHITEOUT	RENAME_WHITEOUT

/* The same filesystem at two places: a rename from one to the other is refused all the same. */
static void bind_inside(const struct step *s)
{
	(void)s;
	own_mounts();
	must(mount("dir", "void", NULL, MS_BIND, NULL), "mount");
}

/* OWNER's directory and OWNER's directory in it that is MEMBER's: its parent entry could not be changed. */
static void foreign_directory(const struct step *s)
{
	(void)s;
	make_dir("minedir/foreign", 0755);
	give_to("minedir/foreign", MEMBER);
	make_dir("minedir/to", 0755);
	give_to("minedir/to", OWNER);
	make_file("minedir/theirs", 0644, 1);
	give_to("minedir/theirs", MEMBER);
}

static const struct step rename_steps[] = {
	{ "file", call_rename, "file", "none", .show = "none" },
	{ "file-to-itself", call_rename, "file", "file", .show = "file" },
	{ "file-over-file", call_rename, "file", "empty", .show = "empty" },
	{ "file-over-twin", call_rename, "file", "twin1", .show = "twin2" },
	{ "twin-over-twin", call_rename, "twin1", "twin2", .show = "twin1" },
	{ "twin-over-twin-noreplace", call_rename, "twin1", "twin2", .flags = NOREPLACE },
	{ "twin-exchange-twin", call_rename, "twin1", "twin2", .flags = EXCHANGE, .show = "twin1" },
	{ "file-over-directory", call_rename, "file", "void", .flags = 0 },
	{ "directory-over-file", call_rename, "dir", "file", .flags = 0 },
	{ "directory-over-empty", call_rename, "dir", "void", .show = "void" },
	{ "directory-over-full", call_rename, "void", "dir", .flags = 0 },
	{ "directory-to-itself", call_rename, "dir", "dir", .flags = 0 },
	{ "directory-over-link", call_rename, "dir", "ldangling", .flags = 0 },
	{ "link-over-directory", call_rename, "lfile", "void", .flags = 0 },
	{ "link-over-file", call_rename, "lfile", "empty", .show = "empty" },
	{ "file-over-link", call_rename, "file", "lfile", .show = "lfile" },
	{ "file-over-link-to-itself", call_rename, "file", "lfile", .show = "file" },
	{ "dangling", call_rename, "ldangling", "none", .show = "none" },
	{ "fifo-over-file", call_rename, "fifo", "file", .show = "file" },
	{ "device-over-fifo", call_rename, "null", "fifo", .show = "fifo" },
	{ "missing", call_rename, "nope", "none", .flags = 0 },
	{ "missing-over-file", call_rename, "nope", "file", .flags = 0 },
	{ "into-missing", call_rename, "file", "none/file", .flags = 0 },
	{ "below-file", call_rename, "file", "empty/file", .flags = 0 },
	{ "from-below-file", call_rename, "empty/file", "none", .flags = 0 },
	{ "empty-path", call_rename, "", "none", .flags = 0 },
	{ "empty-target", call_rename, "file", "", .flags = 0 },
	{ "across", call_rename, "file", "dir/new", .show = "dir/new" },
	{ "across-over", call_rename, "file", "dir/child", .show = "dir/child" },
	{ "directory-across", call_rename, "void", "dir/new", .show = "dir" },
	{ "directory-across-source", call_rename, "dir/sub", "void/new", .show = "dir" },
	{ "directory-across-over", call_rename, "void", "dir/sub", .show = "dir" },
	{ "into-itself", call_rename, "dir", "dir/new", .flags = 0 },
	{ "into-own-child", call_rename, "dir", "dir/sub/new", .flags = 0 },
	{ "over-own-child", call_rename, "dir", "dir/sub", .flags = 0 },
	{ "over-own-child-file", call_rename, "dir", "dir/child", .flags = 0 },
	{ "over-own-parent", call_rename, "dir/sub", "dir", .flags = 0 },
	{ "file-over-own-parent", call_rename, "dir/child", "dir", .flags = 0 },
	{ "dot", call_rename, ".", "none", .flags = 0 },
	{ "dotdot", call_rename, "dir/..", "none", .flags = 0 },
	{ "to-dot", call_rename, "dir", ".", .flags = 0 },
	{ "to-dotdot", call_rename, "dir", "void/..", .flags = 0 },
	{ "child-dot", call_rename, "dir/.", "none", .flags = 0 },
	{ "file-slash", call_rename, "file/", "none", .flags = 0 },
	{ "file-to-slash", call_rename, "file", "none/", .flags = 0 },
	{ "file-over-file-slash", call_rename, "file", "empty/", .flags = 0 },
	{ "directory-slash", call_rename, "dir/", "none", .flags = 0 },
	{ "directory-to-slash", call_rename, "dir", "none/", .show = "none" },
	{ "directory-slashes", call_rename, "dir/", "void/", .show = "void" },
	{ "directory-link-slash", call_rename, "ldir/", "none", .flags = 0 },
	{ "link-to-slash", call_rename, "ldir", "none/", .flags = 0 },
	{ "into-removed", call_rename, "../file", "none", .prepare = removed_cwd },
	{ "loop", call_rename, "lloop/x", "none", .flags = 0 },
	{ "to-loop", call_rename, "file", "lloop/x", .flags = 0 },

	{ "noreplace", call_rename, "file", "none", .flags = NOREPLACE, .show = "none" },
	{ "noreplace-existing", call_rename, "file", "empty", .flags = NOREPLACE, .show = "empty" },
	{ "noreplace-itself", call_rename, "file", "file", .flags = NOREPLACE },
	{ "noreplace-directory", call_rename, "void", "dir/new", .flags = NOREPLACE },
	{ "noreplace-over-directory", call_rename, "dir", "void", .flags = NOREPLACE },
	{ "noreplace-file-over-directory", call_rename, "file", "void", .flags = NOREPLACE },
	{ "noreplace-dangling", call_rename, "file", "ldangling", .flags = NOREPLACE },
	{ "noreplace-missing", call_rename, "nope", "file", .flags = NOREPLACE },
	{ "noreplace-to-dot", call_rename, "dir", ".", .flags = NOREPLACE },
	{ "exchange-files", call_rename, "file", "empty", .flags = EXCHANGE, .show = "empty" },
	{ "exchange-itself", call_rename, "file", "file", .flags = EXCHANGE },
	{ "exchange-file-directory", call_rename, "file", "dir", .flags = EXCHANGE, .show = "file" },
	{ "exchange-directories", call_rename, "dir", "void", .flags = EXCHANGE, .show = "void" },
	{ "exchange-file-link", call_rename, "file", "lfile", .flags = EXCHANGE, .show = "file" },
	{ "exchange-missing", call_rename, "file", "none", .flags = EXCHANGE },
	{ "exchange-missing-source", call_rename, "none", "file", .flags = EXCHANGE },
	{ "exchange-across", call_rename, "file", "dir/child", .flags = EXCHANGE, .show = "dir/child" },
	{ "exchange-across-directory-and-file", call_rename, "file", "dir/sub", .flags = EXCHANGE,
	  .show = "dir" },
	{ "exchange-across-directories", call_rename, "void", "dir/sub", .flags = EXCHANGE, .show = "dir" },
	{ "exchange-with-own-child", call_rename, "dir", "dir/sub", .flags = EXCHANGE },
	{ "exchange-with-own-parent", call_rename, "dir/sub", "dir", .flags = EXCHANGE },
	{ "exchange-file-slash", call_rename, "file/", "empty", .flags = EXCHANGE },
	{ "exchange-to-file-slash", call_rename, "file", "empty/", .flags = EXCHANGE },
	{ "exchange-directory-slashes", call_rename, "dir/", "void/", .flags = EXCHANGE },
	{ "exchange-dot", call_rename, ".", "dir", .flags = EXCHANGE },
	{ "noreplace-exchange", call_rename, "file", "none", .flags = NOREPLACE | EXCHANGE },
	{ "noreplace-exchange-existing", call_rename, "file", "empty", .flags = NOREPLACE | EXCHANGE },
	{ "whiteout", call_rename, "file", "none", .flags = WHITEOUT, .show = "file" },
	{ "whiteout-over", call_rename, "file", "empty", .flags = WHITEOUT, .show = "file" },
	{ "whiteout-noreplace-existing", call_rename, "file", "empty", .flags = WHITEOUT | NOREPLACE },
	{ "whiteout-exchange", call_rename, "file", "empty", .flags = WHITEOUT | EXCHANGE },
	{ "whiteout.owner", call_rename, "minedir", "none", .flags = WHITEOUT, .who = OWNER },
	{ "unknown-flag", call_rename, "file", "none", .flags = 8 },
	{ "unknown-flags", call_rename, "file", "none", .flags = (int)0x80000000 },

	{ "to-other-mount", call_rename, "file", "void/new", .prepare = mount_inside },
	{ "from-other-mount", call_rename, "void/foreign", "new", .prepare = mount_inside },
	{ "exchange-other-mount", call_rename, "file", "void/foreign", .flags = EXCHANGE,
	  .prepare = mount_inside },
	{ "to-bind-mount", call_rename, "file", "void/new", .prepare = bind_inside },
	{ "of-mount-point", call_rename, "void", "none", .prepare = mount_inside },
	{ "over-mount-point", call_rename, "dir", "void", .prepare = mount_inside },
	{ "exchange-mount-point", call_rename, "dir", "void", .flags = EXCHANGE, .prepare = mount_inside },

	{ "own.owner", call_rename, "minedir/to", "minedir/new", .who = OWNER, .prepare = foreign_directory },
	{ "foreign-here.owner", call_rename, "minedir/foreign", "minedir/new", .who = OWNER,
	  .prepare = foreign_directory },
	{ "foreign-directory-across.owner", call_rename, "minedir/foreign", "minedir/to/new", .who = OWNER,
	  .prepare = foreign_directory },
	{ "foreign-directory-exchange.owner", call_rename, "minedir/foreign", "minedir/to", .flags = EXCHANGE,
	  .who = OWNER, .prepare = foreign_directory },
	{ "foreign-file-across.owner", call_rename, "minedir/theirs", "minedir/to/new", .who = OWNER,
	  .prepare = foreign_directory },
	{ "foreign-file-exchange-directory.owner", call_rename, "minedir/theirs", "minedir/foreign",
	  .flags = EXCHANGE, .who = OWNER, .prepare = foreign_directory },
	{ "over-foreign-file.owner", call_rename, "minedir/to", "minedir/theirs", .who = OWNER,
	  .prepare = foreign_directory },
	{ "out-of-foreign.owner", call_rename, "mine", "minedir/new", .who = OWNER },
	{ "into-foreign.owner", call_rename, "minedir", "dir/new", .who = OWNER },
	{ "missing-in-foreign.owner", call_rename, "none", "minedir/new", .who = OWNER },
	{ "over-in-foreign.other", call_rename, "file", "empty", .who = OTHER },
	{ "directory-over-file-in-foreign.other", call_rename, "dir", "file", .who = OTHER },
	{ "itself-in-foreign.other", call_rename, "file", "file", .who = OTHER },
	{ "twins-in-foreign.other", call_rename, "twin1", "twin2", .who = OTHER },
};

/* One object of each type over one of each type, plainly and with each flag. */
static void run_pairs(const struct step_group *g)
{
	static const char *const types[] = { "file", "void", "dir", "ldir", "fifo", "null" };
	static const struct { const char *name; int flags; } flags[] = {
		{ "plain", 0 }, { "noreplace", NOREPLACE }, { "exchange", EXCHANGE },
	};
	struct step s = { .call = call_rename };
	char name[64];

	for (size_t f = 0; f < COUNT(flags); f++)
		for (size_t i = 0; i < COUNT(types); i++)
			for (size_t j = 0; j < COUNT(types); j++) {
				s.path = types[i];
				s.to = types[j];
				s.flags = flags[f].flags;
				s.show = types[j];
				snprintf(name, sizeof(name), "pair-%s.%s.%s", flags[f].name, s.path, s.to);
				step_run(g, &s, name);
			}
}

const struct step_group group_rename = { "rename", fixture_usual, TABLE(rename_steps), .run = run_pairs };
