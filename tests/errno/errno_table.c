/*
 * What each system call says in each case that a filesystem can be asked for, as text.
 *
 *	errno_table [-s GROUP]... DIR [GROUP...]
 *
 * DIR is an empty directory of any mounted filesystem; all groups are run there, or those named, without
 * those after -s. For root only. tests/fuse/errno.sh compares what it prints on two filesystems.
 *
 *	errno_table --pause
 *
 * waits for the end of its standard input: cases execute a copy of this program.
 */
#include "table.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct step_group *const groups[] = {
	&group_open, &group_tmpfile, &group_exec, &group_names, &group_rename, &group_limits, &group_emlink,
	&group_handle, &group_stat, &group_access, &group_chown, &group_utimens, &group_truncate,
	&group_fallocate, &group_seek, &group_io, &group_copy, &group_mmap, &group_lock, &group_xattr,
	&group_acl, &group_flags, &group_perm_file, &group_perm_dir, &group_sticky, &group_setid,
	&group_inherit, &group_time,
};

/* Not among all groups: it wants a mount that is read-only, with what the others left. */
static const struct step_group *const named_only = &group_readonly;

static bool contains(char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static int pause_until_eof(void)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
	return 0;
}

static int enter(const char *dir)
{
	if (geteuid() != 0) {
		fprintf(stderr, "errno_table: only root can do this\n");
		return 2;
	}
	if (chdir(dir)) {
		perror(dir);
		return 2;
	}
	return 0;
}

int main(int argc, char **argv)
{
	char *skip[COUNT(groups)];
	int skipped = 0, c;

	if (argc == 2 && strcmp(argv[1], "--pause") == 0)
		return pause_until_eof();
	while ((c = getopt(argc, argv, "s:")) == 's')
		if (skipped < (int)COUNT(skip))
			skip[skipped++] = optarg;
	if (c != -1 || optind == argc) {
		fprintf(stderr, "usage: errno_table [-s GROUP]... DIR [GROUP...]\n");
		return 2;
	}
	if (enter(argv[optind++]))
		return 2;
	table_start();
	for (size_t i = 0; i < COUNT(groups); i++)
		if ((optind == argc || contains(argv + optind, argc - optind, groups[i]->name)) &&
		    !contains(skip, skipped, groups[i]->name))
			group_run(groups[i]);
	if (contains(argv + optind, argc - optind, named_only->name))
		named_only->run(named_only);
	return 0;
}
