/*
 * inodaxctl list: the mounted pools, what they hold, and who serves them.
 *
 * What cannot be found out (a pool this user may not read, a mount whose daemon is gone) is left out of the
 * line, not the mount out of the list.
 */
#include "ctl/ctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

struct usage {
	bool		known;
	uint64_t	size, used, avail;
};

static struct usage mount_usage(const char *mountpoint)
{
	struct statvfs st;

	if (statvfs(mountpoint, &st))
		return (struct usage){ .known = false };
	return (struct usage){
		.known	= true,
		.size	= (uint64_t)st.f_blocks * st.f_frsize,
		.used	= (uint64_t)(st.f_blocks - st.f_bfree) * st.f_frsize,
		.avail	= (uint64_t)st.f_bavail * st.f_frsize,
	};
}

/* 0: not known. */
static int64_t daemon_pid(const char *pool)
{
	struct inodax_pool_info info = { .size = sizeof(info) };

	if (inodax_pool_info(pool, &info, NULL, 0) || info.holder < 0)
		return 0;
	return info.holder;
}

static void print_line(const struct ctl_mount *m)
{
	struct usage u = mount_usage(m->mountpoint);
	char size[CTL_SIZE_TEXT] = "-", used[CTL_SIZE_TEXT] = "-", avail[CTL_SIZE_TEXT] = "-", pid[24] = "-";
	int64_t holder = daemon_pid(m->pool);

	if (u.known) {
		ctl_size_text(u.size, size);
		ctl_size_text(u.used, used);
		ctl_size_text(u.avail, avail);
	}
	if (holder)
		snprintf(pid, sizeof(pid), "%" PRId64, holder);
	printf("%6s %6s %6s %8s %s on %s (%s)\n", size, used, avail, pid, m->pool, m->mountpoint, m->options);
}

static struct json_object *mount_object(const struct ctl_mount *m)
{
	struct json_object *o = json_object_new_object();
	struct usage u = mount_usage(m->mountpoint);
	int64_t holder = daemon_pid(m->pool);

	json_object_object_add(o, "pool", json_object_new_string(m->pool));
	json_object_object_add(o, "mountpoint", json_object_new_string(m->mountpoint));
	json_object_object_add(o, "options", json_object_new_string(m->options));
	json_object_object_add(o, "bytes", u.known ? json_object_new_uint64(u.size) : NULL);
	json_object_object_add(o, "used", u.known ? json_object_new_uint64(u.used) : NULL);
	json_object_object_add(o, "free", u.known ? json_object_new_uint64(u.avail) : NULL);
	json_object_object_add(o, "daemon_pid", holder ? json_object_new_int64(holder) : NULL);
	return o;
}

int ctl_list(int argc, char **argv)
{
	struct ctl_mount *mounts = NULL;
	struct json_object *array;
	bool json;
	int count;

	if (ctl_parse_json(argc, argv, &json) || optind != argc) {
		fputs("usage: inodaxctl list [--json]\n", stderr);
		return EXIT_FAILURE;
	}
	count = ctl_mounts(&mounts);
	if (count < 0) {
		fprintf(stderr, "inodaxctl: /proc/self/mounts: %s\n", strerror(-count));
		return EXIT_FAILURE;
	}
	if (json) {
		array = json_object_new_array();
		for (int i = 0; i < count; i++)
			json_object_array_add(array, mount_object(&mounts[i]));
		ctl_print_json(array);
	} else if (count) {
		printf("%6s %6s %6s %8s %s\n", "SIZE", "USED", "FREE", "PID", "POOL");
		for (int i = 0; i < count; i++)
			print_line(&mounts[i]);
	}
	ctl_mounts_free(mounts, count);
	return EXIT_SUCCESS;
}
