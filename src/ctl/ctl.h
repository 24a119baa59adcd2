/*
 * inodaxctl: one file a command, and what they share.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>

#include <inodax.h>
#include <json-c/json.h>

/* A mounted pool, from the mount table. */
struct ctl_mount {
	char	*pool;
	char	*mountpoint;
	char	*options;		/* of the mount and of the filesystem, comma-separated */
};

/* ---- mounts.c ------------------------------------------------------------------------------------------ */

/*
 * ctl_mounts - all mounts of inodax that this process sees, in the order of the mount table, in a new array
 * for ctl_mounts_free(). Returns their number or a negative errno.
 */
int ctl_mounts(struct ctl_mount **out);
void ctl_mounts_free(struct ctl_mount *mounts, int count);

/* ---- ctl.c: output ------------------------------------------------------------------------------------- */

/*
 * ctl_parse_json - the only option a command has: true for --json. Leaves optind at the first argument;
 * -EINVAL otherwise.
 */
int ctl_parse_json(int argc, char **argv, bool *json);

/* ctl_print_json - print and give back an object. */
void ctl_print_json(struct json_object *object);

/* ctl_size_text - "4.0M": three digits and a power of 1024, into `buf`, which is returned. */
#define CTL_SIZE_TEXT	16
const char *ctl_size_text(uint64_t bytes, char buf[static CTL_SIZE_TEXT]);

/* ---- The commands: argv[0] is the command's name; the result is the exit status -------------------- */

int ctl_info(int argc, char **argv);
int ctl_list(int argc, char **argv);

#endif
