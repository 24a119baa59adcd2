/*
 * The threads of parked.h.
 *
 * They are started by threads of the FUSE loop and have their signal mask: signals that end the daemon are for its main
 * thread. Answers may be given by any thread; the handle that a request names is released only when it is answered.
 */
#include "daemon/parked.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/daemon.h"
#include "daemon/ops.h"
#include "util/clock.h"
#include "util/list.h"

#define IDLE_US		2000000		/* until a thread without work ends */

/* ---- The threads ------------------------------------------------------------------------------------------- */

/* The next call; NULL: this thread is not needed any more. lock held. */
static struct call *next_call(struct parked *p)
{
	struct timespec until = clock_after(IDLE_US);
	struct call *c;
	int rc = 0;

	while (list_empty(&p->calls)) {
		if (rc || atomic_load(&p->stopping))
			return NULL;
		p->idle++;
		rc = pthread_cond_timedwait(&p->work, &p->lock, &until);
		p->idle--;
	}
	c = list_entry(p->calls.next, struct call, link);
	list_del(&c->link);
	p->waiting--;
	return c;
}

static void *parked_thread(void *arg)
{
	struct parked *p = arg;
	struct call *c;

	pthread_mutex_lock(&p->lock);
	while ((c = next_call(p)) != NULL) {
		pthread_mutex_unlock(&p->lock);
		c->answer(c);
		free(c);
		pthread_mutex_lock(&p->lock);
	}
	if (!--p->threads)
		pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* One more. False: there cannot be, or not above the limit. lock held. */
static bool add_thread(struct parked *p, bool above)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	if (p->threads >= p->limit && !above)
		return false;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, parked_thread, p);
	pthread_attr_destroy(&attr);
	if (!rc)
		p->threads++;
	return !rc;
}

/* False: there is no thread for it, and none to be had. */
static bool enqueue(struct parked *p, struct call *c)
{
	bool taken = true;

	pthread_mutex_lock(&p->lock);
	/* Idle threads that were woken for earlier calls count as idle until they run. */
	if (p->waiting >= p->idle)
		taken = add_thread(p, c->locks_page) || (p->threads && !c->locks_page);
	if (taken) {
		list_add_tail(&c->link, c->locks_page ? p->calls.next : &p->calls);
		p->waiting++;
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	return taken;
}

void parked_start(struct daemon *d)
{
	struct parked *p = &d->parked;

	p->limit = d->opts.waiters ? d->opts.waiters : PARKED_THREADS;
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->work);
	pthread_cond_init(&p->ended, NULL);
	list_init(&p->calls);
}

void parked_stop(struct daemon *d)
{
	struct parked *p = &d->parked;

	atomic_store(&p->stopping, true);
	fs_interrupt(d->fs);
	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->work);
	while (p->threads)
		pthread_cond_wait(&p->ended, &p->lock);
	pthread_mutex_unlock(&p->lock);
	pthread_cond_destroy(&p->ended);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
}

/* ---- Calls --------------------------------------------------------------------------------------------------- */

struct call call_make(bool (*answer)(struct call *c), size_t size, fuse_req_t req, fuse_ino_t ino,
		      const struct fuse_file_info *fi)
{
	struct call c = { .answer = answer, .d = fuse_req_userdata(req), .req = req, .ino = ino, .size = size };

	if (fi)
		c.fi = *fi;
	return c;
}

/* A copy of it, with its data behind it, is left to the threads. */
static bool park(const struct call *c)
{
	char *copy = malloc(c->size + c->length);
	struct call *parked = (void *)copy;

	if (!copy)
		return false;
	memcpy(copy, c, c->size);
	if (c->length)
		memcpy(copy + c->size, c->data, c->length);
	parked->data = copy + c->size;
	if (enqueue(&c->d->parked, parked))
		return true;
	free(copy);
	return false;
}

void parked_do(struct call *c)
{
	c->may_wait = true;
	if (!park(c))
		c->answer(c);
}

void call_answer(struct call *c)
{
	if (!c->answer(c))
		parked_do(c);
}

static bool call_interrupted(void *arg)
{
	const struct call *c = arg;

	return fuse_req_interrupted(c->req) || atomic_load(&c->d->parked.stopping);
}

/* The kernel says that a caller was interrupted; whoever waits asks again whether it is he. */
static void interrupt_all(fuse_req_t req, void *fs)
{
	(void)req;
	fs_interrupt(fs);
}

struct fs_cred call_cred(struct call *c)
{
	struct fs_cred cred = ops_cred(c->req);

	cred.nowait = !c->may_wait;
	if (c->may_wait) {
		cred.interrupted = call_interrupted;
		cred.arg = c;
		fuse_req_interrupt_func(c->req, interrupt_all, c->d->fs);
	}
	return cred;
}
