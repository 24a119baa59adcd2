/*
 * inodaxctl: looking at pools and mounts.
 *
 * A table of commands; each is in a file of its own and prints text for people or, with --json, an object for
 * scripts. Everything is asked through libinodax, the mount table and the shared memory of the pool: the daemon is not
 * bothered.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

struct command {
	const char	*name, *usage, *help;
	int		(*run)(int argc, char **argv);
};

static int ctl_help(int argc, char **argv);

static const struct command commands[] = {
	{ "info", "info POOL|MOUNTPOINT [--json]",	"what a pool says of itself",		ctl_info },
	{ "list", "list [--json]",			"the mounted pools",			ctl_list },
	{ "folios", "folios POOL|MOUNTPOINT [--json] [--all] [--shm DIR]",
	  "the folio table of a mounted pool, and who holds what",				ctl_folios },
	{ "pins", "pins POOL|MOUNTPOINT [--json] [--shm DIR]", "who has pinned what of it",	ctl_pins },
	{ "map", "map FILE [--json] [--shm DIR]",	"who maps a file",			ctl_map },
	{ "help", "help",				"this text",				ctl_help },
};

#define COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
	fputs("usage: inodaxctl COMMAND\n", out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-55s %s\n", commands[i].usage, commands[i].help);
}

static int ctl_help(int argc, char **argv)
{
	(void)argc, (void)argv;
	print_usage(stdout);
	return EXIT_SUCCESS;
}

int ctl_parse(int argc, char **argv, const char *accept, struct ctl_options *out)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "all", no_argument, NULL, 'a' },
		{ "shm", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*out = (struct ctl_options){ .json = false };
	optind = 1;
	while ((c = getopt_long(argc, argv, "jas:", options, NULL)) != -1) {
		if (!strchr(accept, c))
			return -EINVAL;
		switch (c) {
		case 'j':
			out->json = true;
			break;
		case 'a':
			out->all = true;
			break;
		case 's':
			out->shm = optarg;
			break;
		}
	}
	return 0;
}

int ctl_parse_json(int argc, char **argv, bool *json)
{
	struct ctl_options opts;
	int rc = ctl_parse(argc, argv, "j", &opts);

	*json = opts.json;
	return rc;
}

void ctl_print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object,
					    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

void ctl_print_first(struct json_object *head, const char *array)
{
	printf("{\n  \"table\": %s,\n  \"%s\": [",
	       json_object_to_json_string_ext(head, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE), array);
	json_object_put(head);
}

void ctl_print_element(struct json_object *object, bool more)
{
	printf("%s\n      %s", more ? "," : "",
	       json_object_to_json_string_ext(object, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

void ctl_print_last(struct json_object *tail, const char *name)
{
	fputs("\n  ]", stdout);
	if (tail)
		printf(",\n  \"%s\": %s", name, json_object_to_json_string_ext(tail, JSON_C_TO_STRING_SPACED));
	json_object_put(tail);
	puts("\n}");
}

const char *ctl_size_text(uint64_t bytes, char buf[static CTL_SIZE_TEXT])
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	while (value >= 1024 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buf, CTL_SIZE_TEXT, "%" PRIu64, bytes);
	else
		snprintf(buf, CTL_SIZE_TEXT, value < 10 ? "%.1f%c" : "%.0f%c", value, units[unit]);
	return buf;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)) {
		printf("inodaxctl %s, libinodax %s\n", PACKAGE_VERSION, inodax_version());
		return EXIT_SUCCESS;
	}
	if (argc >= 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
		return ctl_help(argc, argv);
	for (size_t i = 0; argc >= 2 && i < COMMANDS; i++)
		if (strcmp(commands[i].name, argv[1]) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (argc >= 2)
		fprintf(stderr, "inodaxctl: %s: unknown command\n", argv[1]);
	print_usage(stderr);
	return EXIT_FAILURE;
}
