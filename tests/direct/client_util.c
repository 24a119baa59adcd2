/*
 * See client_util.h.
 */
#include "client_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void fail(const char *fmt, ...)
{
	char line[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	dprintf(2, "%s %d: %s\n", program_invocation_short_name, (int)getpid(), line);
	_exit(1);
}

void must_do(int rc, const char *what)
{
	if (rc)
		fail("%s: %s", what, strerror(rc < -1 ? -rc : errno));
}

int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	return fd;
}

struct inodax_query query_at(struct inodax_map *m, size_t offset)
{
	struct inodax_query q = { .size = sizeof(q) };

	must_do(inodax_query(m, offset, &q), "inodax_query");
	return q;
}
