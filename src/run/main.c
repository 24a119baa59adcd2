/*
 * inodax-run: run a program with lib/preload in it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "run/program.h"

#define LIBRARY		"libinodax-preload.so"

static void usage(FILE *to)
{
	fputs("inodax-run [--explain[=FILE]] COMMAND [ARGUMENT...]\n"
	      "Run COMMAND so that its shared maps of files on inodax mounts are direct ones.\n"
	      "\n"
	      "  --explain[=FILE]	say what became of each map: on standard error, or at the end of FILE\n"
	      "  --help		this text\n"
	      "  --version		version\n",
	      to);
}

/* One line on standard error. Returns the status. */
static int __attribute__((format(printf, 2, 3))) complain(int status, const char *format, ...)
{
	va_list args;

	fputs("inodax-run: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

/* The library of a build tree, when this program is of one; else where it is installed. */
static bool library(char *path, size_t size)
{
	char self[4096], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = 0;
		slash = strrchr(self, '/');
		if (slash && snprintf(path, size, "%.*s/.libs/" LIBRARY, (int)(slash - self), self) < (int)size &&
		    access(path, R_OK) == 0)
			return true;
	}
	return snprintf(path, size, "%s/" LIBRARY, PKGLIBDIR) < (int)size && access(path, R_OK) == 0;
}

/* Before all others in the environment: those that stand in for mmap(2) call libc, this one the kernel. */
static int preload(const char *path)
{
	const char *others = getenv("LD_PRELOAD");
	char *all;

	if (strpbrk(path, " :"))
		return complain(125, "%s: LD_PRELOAD cannot name a file with a space or a colon in its path", path);
	if (asprintf(&all, "%s%s%s", path, others && *others ? ":" : "", others ? others : "") < 0 ||
	    setenv("LD_PRELOAD", all, 1))
		return complain(125, "no memory for the environment");
	free(all);
	return 0;
}

static int explain(const char *where)
{
	char *full = NULL;
	int rc = 0;

	if (!where)
		where = "-";
	else if (*where != '/') {
		char *cwd = getcwd(NULL, 0);

		if (!cwd || asprintf(&full, "%s/%s", cwd, where) < 0)
			rc = complain(125, "--explain=%s: the working directory has no name: %s", where,
				      strerror(errno));
		free(cwd);
		where = full;
	}
	if (!rc && setenv("INODAX_EXPLAIN", where, 1))
		rc = complain(125, "no memory for the environment");
	free(full);
	return rc;
}

/* Programs that would run as without inodax are run, but not without a word. */
static void warn(const char *command)
{
	switch (program_kind(command)) {
	case PROGRAM_STATIC:
		complain(0, "%s: it is linked statically; its maps go through the page cache", command);
		break;
	case PROGRAM_PRIVILEGED:
		complain(0, "%s: it runs with privileges of its own, and loads no library it is told to; "
			 "its maps go through the page cache", command);
		break;
	case PROGRAM_OTHER:
		break;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "explain", optional_argument, NULL, 'e' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' }, { 0 },
	};
	char path[4096];
	int c, rc;

	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		switch (c) {
		case 'e':
			rc = explain(optarg);
			if (rc)
				return rc;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			puts("inodax-run " PACKAGE_VERSION);
			return 0;
		default:
			return 125;
		}
	}
	if (optind == argc)
		return complain(125, "a COMMAND is needed; inodax-run --help says more");
	if (!library(path, sizeof(path)))
		return complain(125, "%s/" LIBRARY ": not there, or not to be read", PKGLIBDIR);
	rc = preload(path);
	if (rc)
		return rc;
	warn(argv[optind]);
	execvp(argv[optind], argv + optind);
	rc = errno == ENOENT ? 127 : 126;
	return complain(rc, "%s: %s", argv[optind], strerror(errno));
}
