/*
 * inodax-bench: a command table.
 */
#include "config.h"

#include "bench.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char	*name;
	int		(*run)(int argc, char **argv);
	const char	*help;
} commands[] = {
	{ "fuse", bench_fuse, "the mount against fuse2fs and tmpfs" },
	{ "map", bench_map, "direct mappings against those of tmpfs" },
	{ "pgmap", bench_pgmap, "references on folios, removal, and memory of the folio table" },
};

static int usage(FILE *to)
{
	fprintf(to, "usage: inodax-bench COMMAND [OPTIONS]\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
	return to == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return usage(stdout);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("inodax-bench %s\n", PACKAGE_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "inodax-bench: unknown command '%s'\n", argv[1]);
	return usage(stderr);
}
