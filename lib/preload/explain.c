#include "preload/explain.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inodax.h"

#define LINE	4096

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *where;

static void init(void)
{
	const char *value = secure_getenv("INODAX_EXPLAIN");

	where = value && *value ? value : NULL;
}

/* One write(2) each: lines of several processes do not mix. The file is opened anew: programs close descriptors. */
static void __attribute__((format(printf, 1, 2))) line(const char *format, ...)
{
	char text[LINE];
	va_list args;
	int n, fd;

	n = snprintf(text, sizeof(text), "inodax[%d]: ", (int)getpid());
	va_start(args, format);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n - 1, format, args);
	va_end(args);
	if (n > LINE - 2)
		n = LINE - 2;
	text[n++] = '\n';
	fd = STDERR_FILENO;
	if (strcmp(where, "-") != 0)
		fd = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
	if (fd < 0)
		return;
	(void)!write(fd, text, (size_t)n);
	if (fd != STDERR_FILENO)
		close(fd);
}

/* Explaining must not change what the caller sees in errno. */
static bool begin(int *saved)
{
	*saved = errno;
	pthread_once(&once, init);
	return where;
}

static const char *name_of(int fd, char *name, size_t size)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, name, size - 1);
	if (n < 0)
		return "?";
	name[n] = 0;
	return name;
}

void explain_map(int fd, off_t offset, size_t length, struct inodax_map *map)
{
	static const char *const kinds[] = {
		[INODAX_DIRECT] = "direct", [INODAX_ZERO] = "zero", [INODAX_CACHED] = "cached",
		[INODAX_BEYOND] = "beyond the end", [INODAX_LOST] = "lost", [INODAX_ASKED] = "asked for",
		[INODAX_COPY] = "private",
	};
	struct inodax_query q = { .size = sizeof(q) };
	uint64_t bytes[INODAX_COPY + 1] = { 0 };
	char name[LINE / 2], what[256] = "", reason[sizeof(q.reason) + 2] = "";
	int saved, n = 0;

	if (!begin(&saved))
		return;
	for (uint64_t at = 0; at < length && !inodax_query(map, at, &q); at = q.offset + q.length - (uint64_t)offset) {
		if (q.kind <= INODAX_COPY)
			bytes[q.kind] += q.length;
		if (q.kind == INODAX_CACHED && !*reason)
			snprintf(reason, sizeof(reason), ": %s", q.reason);
	}
	for (uint32_t kind = INODAX_DIRECT; kind <= INODAX_COPY; kind++)
		if (bytes[kind])
			n += snprintf(what + n, sizeof(what) - (size_t)n, "%s%s %ju", n ? ", " : "", kinds[kind],
				      (uintmax_t)bytes[kind]);
	line("map of %s, %jd+%zu: %s%s", name_of(fd, name, sizeof(name)), (intmax_t)offset, length, what, reason);
	errno = saved;
}

void explain_plain(int fd, off_t offset, size_t length, const char *reason)
{
	char name[LINE / 2];
	int saved;

	if (!begin(&saved))
		return;
	line("map of %s, %jd+%zu: not direct: %s", name_of(fd, name, sizeof(name)), (intmax_t)offset, length, reason);
	errno = saved;
}

void explain_detached(const struct inodax_map *map, size_t length, const char *reason)
{
	int saved;

	if (!begin(&saved))
		return;
	line("map at %p+%zu: not direct from now on: %s", inodax_map_address(map), length, reason);
	errno = saved;
}
