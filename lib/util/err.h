/*
 * An error in words. Functions that a user's input can make fail take a struct err * (NULL allowed), fill it
 * with one line - object, value found, value needed, what to do - and return a negative errno.
 */
#ifndef UTIL_ERR_H
#define UTIL_ERR_H

struct err {
	char text[512];		/* no newline at the end; "" when nothing was said */
};

/* err_set - fill `err` (printf format) and return `code`: return err_set(err, -EINVAL, "%s: ...", path); */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* err_set_errno - the same, with ": " and strerror(-code) appended. */
int err_set_errno(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
