/*
 * Sizes as people write them: see size.h.
 */
#include "util/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char units[] = "kmgtp";

/* Exponent of 1024 that a unit stands for: "", "b" 0, "k", "kb", "kib" 1, ...; -1 when it is none. */
static int unit_power(const char *unit)
{
	const char *at;

	if (*unit == '\0' || strcasecmp(unit, "b") == 0)
		return 0;
	at = strchr(units, tolower((unsigned char)*unit));
	if (!at || (unit[1] && strcasecmp(unit + 1, "b") != 0 && strcasecmp(unit + 1, "ib") != 0))
		return -1;
	return (int)(at - units) + 1;
}

int size_parse(const char *text, const char *what, uint64_t *bytes, struct err *err)
{
	unsigned long long n;
	char *end;
	int power;

	if (!isdigit((unsigned char)*text))
		return err_set(err, -EINVAL, "%s %s: a size is needed, such as 4194304, 512m or 16GiB", what,
			       text);
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno == ERANGE)
		return err_set(err, -ERANGE, "%s %s: does not fit in 64 bits", what, text);
	power = unit_power(end);
	if (power < 0)
		return err_set(err, -EINVAL,
			       "%s %s: unknown unit \"%s\"; k, m, g, t or p is needed, powers of 1024", what,
			       text, end);
	if (n > UINT64_MAX >> (10 * power))
		return err_set(err, -ERANGE, "%s %s: does not fit in 64 bits", what, text);
	*bytes = (uint64_t)n << (10 * power);
	return 0;
}

const char *size_format(uint64_t bytes, char buf[static SIZE_TEXT])
{
	uint64_t unit = 1024;
	int power = 0;

	if (bytes < unit) {
		snprintf(buf, SIZE_TEXT, "%" PRIu64 " bytes", bytes);
		return buf;
	}
	while (units[power + 1] && bytes >> 10 >= unit) {
		unit <<= 10;
		power++;
	}
	if (bytes % unit == 0)
		snprintf(buf, SIZE_TEXT, "%" PRIu64 " %ciB", bytes / unit,
			 toupper((unsigned char)units[power]));
	else
		snprintf(buf, SIZE_TEXT, "%.1f %ciB", (double)bytes / (double)unit,
			 toupper((unsigned char)units[power]));
	return buf;
}
