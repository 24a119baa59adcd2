/*
 * Both sides of a fork. A process answers for its own address space, so no other may have what a grant gave: all that
 * is mapped directly is mapped with MADV_DONTFORK, and the child of a fork does not have it, however it was made.
 *
 * The parent goes on as it was. In the child the cached mapping goes where direct ones were, before anything else runs
 * there. It has no threads, and a grant of its own has to be made for it: that waits for its first call, since most
 * children will exec. Until then it keeps the parent's handle.
 */
#include "client/client.h"

#include <signal.h>
#include <stddef.h>

#include "client/mm.h"

/* Of the thread that forks. [client.working, exclusively] */
static sigset_t mask;

/*
 * Nobody makes or asks for anything from here on until the fork is over. A signal handler in the child could find
 * nothing mapped where a map was.
 */
static void prepare(void)
{
	sigset_t all;

	pthread_rwlock_wrlock(&client.working);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	pthread_mutex_lock(&client.lock);
}

static void parent(void)
{
	sigset_t before = mask;

	pthread_mutex_unlock(&client.lock);
	pthread_rwlock_unlock(&client.working);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Without direct access, and no hope of it, the handle can be shared. */
static void leave_to_parent(struct grant *g)
{
	struct list *at;

	list_for_each(at, &g->maps) {
		struct inodax_map *m = list_entry(at, struct inodax_map, node);

		if (m->nofork)
			m->prot = PROT_NONE;
		if (m->copies && !m->nofork)
			copy_inherit(m);
		else if (m->copies)
			(void)map_uncover(m, 0, m->length, "not inherited");
		else
			(void)map_cover(m, 0, m->length, "not asked for since the fork");
		if (m->nofork)
			(void)mm_mprotect(m->base, m->length, PROT_NONE);
		m->claimed = false;
		m->area->placed = false;
		m->told = false;
		m->demand = false;
		m->filling = false;
		m->untouched = client.settles;
		m->generation++;
		m->due = client_now();
	}
	g->stale = g->page || g->again;
	if (g->page)
		mm_munmap(g->page, DIRECT_PAGE_BYTES);
	g->page = NULL;
	desc_close(&g->pool);
}

static void child(void)
{
	struct list *at;

	client_init_locks();
	client.resolving = false;
	revokers_forget();
	uffd_forget();
	list_for_each(at, &client.grants)
		leave_to_parent(list_entry(at, struct grant, node));
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

int fork_init(void)
{
	return -pthread_atfork(prepare, parent, child);
}
