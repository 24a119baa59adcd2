/*
 * Grants: one for all maps of a file that are alike, from the first to the last of them. Without users it stays as long
 * as there are locks on the file that closing the handle could give up, for the next map. What another thread locks at
 * this very moment is not seen.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

/* One that can be used: a stale one is left to the maps that it has. Caller holds client.making. */
static struct grant *find(const struct stat *st, bool write, int mode)
{
	struct grant *found = NULL;
	struct list *at;

	client_lock();
	list_for_each(at, &client.grants) {
		struct grant *g = list_entry(at, struct grant, node);

		if (g->handle.dev == st->st_dev && g->handle.ino == st->st_ino && g->write == write &&
		    g->mode == mode && !g->stale)
			found = g;
	}
	client_unlock();
	return found && desc_fd(&found->handle) >= 0 ? found : NULL;
}

static bool is_locked(const struct grant *g)
{
	int fd = desc_fd(&g->handle);

	return fd >= 0 && desc_locked(fd);
}

/* Caller holds client.making. */
static void close_unused(void)
{
	struct list *at, *next;

	list_for_each_safe(at, next, &client.grants) {
		struct grant *g = list_entry(at, struct grant, node);

		if (g->users || is_locked(g))
			continue;
		client_lock();
		list_del(&g->node);
		client_unlock();
		grant_disconnect(g);
		grant_close(g);
	}
}

/* Stale from the start: nobody finds it. Caller holds client.making. */
static void enlist(struct grant *g, unsigned int users, bool stale)
{
	g->users = users;
	client_lock();
	g->stale = stale;
	list_add_tail(&g->node, &client.grants);
	client_unlock();
}

static int make(int fd, const struct stat *st, bool write, int mode, struct grant **out)
{
	struct grant *g;
	int rc = grant_open(fd, st, write, mode, &g);

	if (rc)
		return rc;
	rc = grant_connect(g);
	if (rc == -ENOTTY || rc == -ENOSYS) {
		enlist(g, 0, true);
		close_unused();
		return -EOPNOTSUPP;
	}
	enlist(g, 1, false);
	*out = g;
	return 0;
}

int grant_single(int fd, bool write, struct grant **out)
{
	struct grant *g;
	struct stat st;
	int rc;

	if (fstat(fd, &st))
		return -errno;
	rc = grant_open(fd, &st, write, write ? O_RDWR : O_RDONLY, &g);
	if (rc)
		return rc;
	rc = grant_connect(g);
	enlist(g, !rc, true);
	if (rc) {
		close_unused();
		return rc;
	}
	*out = g;
	return 0;
}

int grant_get(int fd, bool write, struct grant **out)
{
	int mode = fcntl(fd, F_GETFL), rc = 0;
	struct stat st;

	if (mode < 0 || fstat(fd, &st))
		return -errno;
	mode &= O_ACCMODE;
	if (!S_ISREG(st.st_mode))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&client.making);
	*out = find(&st, write, mode);
	if (*out)
		(*out)->users++;
	else
		rc = make(fd, &st, write, mode, out);
	pthread_mutex_unlock(&client.making);
	return rc;
}

void grant_put(struct grant *g)
{
	pthread_mutex_lock(&client.making);
	g->users--;
	close_unused();
	pthread_mutex_unlock(&client.making);
}

/* The map may be moved to another grant at any time, which puts this one: so there is no gap between look and use. */
struct grant *map_grant(struct inodax_map *m)
{
	struct grant *g;

	pthread_mutex_lock(&client.making);
	client_lock();
	g = m->grant;
	client_unlock();
	g->users++;
	pthread_mutex_unlock(&client.making);
	return g;
}

void grant_retry(struct grant *g)
{
	pthread_mutex_lock(&client.making);
	if (!g->page && g->again)
		(void)grant_connect(g);
	pthread_mutex_unlock(&client.making);
}
