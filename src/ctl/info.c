/*
 * inodaxctl info: what a pool says of itself, by its path or by a directory where it is mounted.
 */
#include "ctl/ctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <uuid.h>

static void print_text(const char *pool, const struct inodax_pool_info *info)
{
	char uuid[UUID_STR_LEN], size[CTL_SIZE_TEXT], unit[CTL_SIZE_TEXT], journal[CTL_SIZE_TEXT];
	char created[32] = "?";
	time_t when = (time_t)info->created;
	struct tm tm;

	uuid_unparse_lower(info->uuid, uuid);
	if (localtime_r(&when, &tm))
		strftime(created, sizeof(created), "%F %T %z", &tm);
	printf("pool      %s\n", pool);
	printf("kind      %s%s\n", info->kind,
	       strcmp(info->kind, "volatile") == 0 ? " (lost at a power cut)" : "");
	printf("uuid      %s\n", uuid);
	printf("label     %s\n", info->label);
	printf("size      %s (%" PRIu64 " bytes)\n", ctl_size_text(info->bytes, size), info->bytes);
	printf("map unit  %s\n", ctl_size_text(info->map_unit, unit));
	printf("journal   %s\n", ctl_size_text(info->journal_bytes, journal));
	printf("created   %s, format %u\n", created, info->format_version);
	printf("mounts    %" PRIu64 "\n", info->mounts);
	if (info->holder > 0)
		printf("state     mounted by process %" PRId64 "\n", info->holder);
	else if (info->holder < 0)
		printf("state     mounted\n");
	else
		printf("state     %s\n",
		       info->clean ? "clean" : "not unmounted cleanly; the next mount replays the journal");
	if (info->backup_super)
		printf("warning   the superblock is damaged, its backup was read; run fsck.inodax\n");
}

static void print_object(const char *pool, const struct inodax_pool_info *info)
{
	struct json_object *o = json_object_new_object();
	char uuid[UUID_STR_LEN];

	uuid_unparse_lower(info->uuid, uuid);
	json_object_object_add(o, "pool", json_object_new_string(pool));
	json_object_object_add(o, "kind", json_object_new_string(info->kind));
	json_object_object_add(o, "uuid", json_object_new_string(uuid));
	json_object_object_add(o, "label", json_object_new_string(info->label));
	json_object_object_add(o, "format_version", json_object_new_int64(info->format_version));
	json_object_object_add(o, "bytes", json_object_new_uint64(info->bytes));
	json_object_object_add(o, "map_unit", json_object_new_uint64(info->map_unit));
	json_object_object_add(o, "journal_bytes", json_object_new_uint64(info->journal_bytes));
	json_object_object_add(o, "created", json_object_new_int64(info->created));
	json_object_object_add(o, "mounts", json_object_new_uint64(info->mounts));
	json_object_object_add(o, "clean", json_object_new_boolean((int)info->clean));
	json_object_object_add(o, "backup_super", json_object_new_boolean((int)info->backup_super));
	json_object_object_add(o, "mounted", json_object_new_boolean(info->holder != 0));
	json_object_object_add(o, "daemon_pid",
			       info->holder > 0 ? json_object_new_int64(info->holder) : NULL);
	ctl_print_json(o);
}

int ctl_info(int argc, char **argv)
{
	struct inodax_pool_info info = { .size = sizeof(info) };
	char message[512], *pool;
	bool json;
	int rc;

	if (ctl_parse_json(argc, argv, &json) || argc - optind != 1) {
		fputs("usage: inodaxctl info POOL|MOUNTPOINT [--json]\n", stderr);
		return EXIT_FAILURE;
	}
	pool = ctl_pool_of(argv[optind]);
	if (!pool)
		return EXIT_FAILURE;
	rc = inodax_pool_info(pool, &info, message, sizeof(message));
	if (rc)
		fprintf(stderr, "inodaxctl: %s\n", message);
	else if (json)
		print_object(pool, &info);
	else
		print_text(pool, &info);
	free(pool);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
