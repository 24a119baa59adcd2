/*
 * Sizes as people write them.
 */
#ifndef UTIL_SIZE_H
#define UTIL_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

/*
 * size_parse - a decimal number of bytes, with an optional unit: k, m, g, t, p or KiB and so on, all of them
 * powers of 1024 and in either case. -EINVAL, or -ERANGE beyond 64 bits, with `err` set; `what` names the
 * option in it.
 */
int size_parse(const char *text, const char *what, uint64_t *bytes, struct err *err);

/* size_format - "4 MiB", "1.5 GiB", "4097 bytes": exact or to one decimal. Returns `buf`. */
#define SIZE_TEXT	24
const char *size_format(uint64_t bytes, char buf[static SIZE_TEXT]);

#endif
