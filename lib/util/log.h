/*
 * Messages to people: stderr, or syslog once log_to_syslog() was called. One line each, thread-safe.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

void log_set_name(const char *program);		/* prefix, not copied */
void log_to_syslog(void);			/* the daemon, when it leaves the terminal */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
