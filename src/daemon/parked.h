/*
 * Requests that may have to wait for clients.
 *
 * A client that maps a file directly is asked to give a range up before its blocks go, and may take as long as
 * mapper_timeout; who waits for a pin waits without bound. No thread of the FUSE loop does that: such a request is a
 * struct call. It is tried where it came; if it would have to wait, it has changed nothing, and is copied and done over
 * by a thread that may. So there may be any number of them, and the loop goes on.
 *
 * There are at most so many such threads as option waiters= says, made as they are needed and gone when they are idle.
 * What is more waits in line, in the order in which it came: longer, that is, but in nobody's way. The exception are
 * requests for which the kernel has a page locked: who makes it forget pages (a fault of a client, in such a thread)
 * waits for their answer. They go first, and have a thread in any case. Where neither memory nor a thread can be had
 * the thread of the loop has to wait after all.
 */
#ifndef DAEMON_PARKED_H
#define DAEMON_PARKED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "daemon/fuse_compat.h"
#include "fs/fs.h"
#include "util/list.h"

#define PARKED_THREADS	1024U		/* the default of waiters= */

struct daemon;
struct call;

struct parked {
	pthread_mutex_t		lock;		/* all but `stopping` */
	pthread_cond_t		work;		/* a call, or the end */
	pthread_cond_t		ended;		/* the last thread did */
	struct list		calls;		/* that nobody has begun */
	unsigned int		waiting;	/* in that list */
	unsigned int		threads, idle;
	unsigned int		limit;		/* of threads; constant */
	atomic_bool		stopping;
};

/*
 * A request, with what it brought; the first member of a structure with the arguments of its kind. It is copied
 * bytewise to outlive who made it, and `data` with it: other pointers, if any, are to what lasts as long as the
 * request.
 */
struct call {
	/* Answers it, true; or finds that it would have to wait, which `may_wait` does not allow: false. */
	bool			(*answer)(struct call *c);
	struct daemon		*d;
	fuse_req_t		req;
	fuse_ino_t		ino;
	struct fuse_file_info	fi;
	size_t			size;		/* of the structure that this begins */
	const void		*data;		/* of the request; may be NULL */
	size_t			length;
	bool			may_wait;
	bool			locks_page;	/* the kernel has a page locked, perhaps, until it is answered */
	struct list		link;
};

/*
 * call_make - that of a request, which `size` bytes of arguments begin with; fi may be NULL. call_answer - have it
 * answered, here or elsewhere: neither it nor what it points to is needed any more on return.
 */
struct call call_make(bool (*answer)(struct call *c), size_t size, fuse_req_t req, fuse_ino_t ino,
		      const struct fuse_file_info *fi);
void call_answer(struct call *c);

/* call_cred - ops_cred() of one that waits only if it may, and until it is interrupted or the daemon stops. */
struct fs_cred call_cred(struct call *c);

/* parked_start - before anything is served. parked_stop - nothing comes any more: who waits for pins gets EINTR. */
void parked_start(struct daemon *d);
void parked_stop(struct daemon *d);

/* parked_do - have a call done that is no request (`req` NULL) and may wait; where it cannot be, it is done here. */
void parked_do(struct call *c);

#endif
