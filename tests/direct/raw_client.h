/*
 * A client of direct.h without a library: each message as the test wants it, and no help. One file, one grant, one
 * area.
 *
 * Whatever fails that has to work ends the test with a line that says what.
 */
#ifndef DIRECT_RAW_CLIENT_H
#define DIRECT_RAW_CLIENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "direct.h"

struct raw {
	int			 fd, pool, page_fd;
	struct direct_open	 open;
	struct direct_page	*page;
	struct direct_map	 map;
	char			*base;		/* where the area is mapped; a guard page of the file behind */
	char			*spare;		/* the file, mapped elsewhere */
	uint64_t		 length;
	uint64_t		 extents;	/* that the last raw_fault() mapped */
	uint64_t		 largest;	/* shift of the largest of them */

	pthread_t		 thread;	/* answers revocations */
	_Atomic bool		 answering, stop, deaf;
	_Atomic unsigned int	 revoked;
};

_Noreturn void raw_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* must - a call that has to give that: 0 or a negative errno. */
#define must(call, want) raw_must(#call, (call), (want), __FILE__, __LINE__)
void raw_must(const char *what, long is, long want, const char *file, int line);
#define check(what) do { if (!(what)) raw_die("%s:%d: not so: %s", __FILE__, __LINE__, #what); } while (0)

/* raw_ioctl - 0 or a negative errno. */
int raw_ioctl(const struct raw *r, unsigned long request, void *arg);

/* raw_open - the grant; raw_lock - the pool, and its byte. raw_start - all up to START, and the page. */
int raw_open(struct raw *r, const char *file, int flags);
void raw_lock(struct raw *r);
void raw_start(struct raw *r, const char *file, int flags);

/* raw_map - area of [0, length), with the file mapped over it, ready for raw_fault(). The error of MAP. */
int raw_map(struct raw *r, uint64_t length, uint32_t flags);

/* raw_fault - [offset, offset + length) over what is there. The last `stop`, or an error. */
int raw_fault(struct raw *r, uint64_t offset, uint64_t length);

int raw_unmap(struct raw *r, uint64_t offset, uint64_t length);

/* raw_answer - a thread that answers as a client should, and is not while r->deaf. raw_quiet - ends it. */
void raw_answer(struct raw *r);
void raw_quiet(struct raw *r);

/* raw_close - everything, in the order of a client that ends well. */
void raw_close(struct raw *r);

#endif
