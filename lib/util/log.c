/*
 * Messages to people.
 *
 * Each message is formatted into one buffer and leaves in one call, so that lines of several threads do not
 * mix and nothing is locked while formatting. On stderr the form is "program: error: text", as other tools
 * print; syslog gets the text alone, with the priority and the program's name in its own fields.
 */
#include "util/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>

#define LOG_LINE	1024

/* Both are set while the program starts and only read afterwards; atomic because workers may already run. */
static _Atomic(const char *) log_name = "inodax";
static atomic_bool log_syslog;

void log_set_name(const char *program)
{
	atomic_store(&log_name, program);
}

void log_to_syslog(void)
{
	openlog(atomic_load(&log_name), LOG_PID, LOG_DAEMON);
	atomic_store(&log_syslog, true);
}

static void log_line(int priority, const char *label, const char *fmt, va_list ap)
{
	char text[LOG_LINE];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (atomic_load(&log_syslog))
		syslog(priority, "%s", text);
	else
		fprintf(stderr, "%s: %s%s\n", atomic_load(&log_name), label, text);
}

void log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(LOG_ERR, "error: ", fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(LOG_WARNING, "warning: ", fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(LOG_INFO, "", fmt, ap);
	va_end(ap);
}
