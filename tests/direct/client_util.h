/*
 * What programs with maps share. Whatever is not as it has to be ends the process with status 1, and with a line on
 * standard error that says what.
 */
#ifndef DIRECT_CLIENT_UTIL_H
#define DIRECT_CLIENT_UTIL_H

#include <stddef.h>

#include <inodax.h>

/* fail - at once, in whatever thread, and also in the child of a fork: nothing that stdio has kept back is written. */
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* must_do - rc is what a call gave: 0, a negative errno, or -1 and errno. */
void must_do(int rc, const char *what);

int open_file(const char *path, int flags);

/* query_at - the piece of the map that the byte is in. */
struct inodax_query query_at(struct inodax_map *m, size_t offset);

#endif
