/*
 * The calls: maps made, taken down, made durable and looked at.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/inodax.h"
#include "client/mm.h"
#include "util/fault.h"

#define MAP_FLAGS	(INODAX_MAP_WRITE | INODAX_MAP_REQUIRE | INODAX_MAP_PRIVATE)
#define MAP_WAIT_MS	5000U		/* for revocations elsewhere, before the resolver takes over */

/* Size of the struct in the first version of it: callers may be that old. New members go to the end. */
#define QUERY_SIZE_0	136

_Static_assert(sizeof(struct inodax_query) == QUERY_SIZE_0, "struct inodax_query changed: add a size");
_Static_assert(sizeof(((struct inodax_query *)0)->reason) == REASON_MAX, "a reason fits");

/* What kind of map. */
struct wanted {
	const struct place *place;
	int	prot;
	bool	write, private;
};

/* ---- Making one ------------------------------------------------------------------------------------------- */

static int check_args(int fd, uint64_t offset, size_t length, unsigned int flags)
{
	int mode;

	if (flags & ~MAP_FLAGS || !length || offset & (PAGE - 1) || offset > INT64_MAX / 2 ||
	    length > INT64_MAX / 2)
		return -EINVAL;
	mode = fcntl(fd, F_GETFL);
	if (mode < 0)
		return -errno;
	if (mode & O_PATH)
		return -EBADF;
	mode &= O_ACCMODE;
	if ((flags & (INODAX_MAP_WRITE | INODAX_MAP_PRIVATE)) == INODAX_MAP_WRITE)
		return mode == O_RDWR ? 0 : -EACCES;
	return mode == O_WRONLY ? -EACCES : 0;
}

/* Its area and its place in the address space. */
static int place(struct inodax_map *m, const struct place *where)
{
	struct piece whole = { .kind = INODAX_CACHED, .length = m->length };
	int rc = pieces_init(&m->pieces, &whole);

	if (!rc)
		rc = area_new(m->grant, m->start, m->length, &m->area);
	if (rc)
		return rc;
	m->area->users = 1;
	rc = map_place(m, where);
	if (rc)
		area_free(m->area);
	return rc;
}

static int new_map(struct grant *g, uint64_t offset, size_t length, const struct wanted *how, struct inodax_map **out)
{
	struct inodax_map *m = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return -ENOMEM;
	list_init(&m->node);
	m->grant = g;
	m->write = g->write;
	m->prot = how->prot;
	m->private = how->private;
	m->copies = how->private && how->prot & PROT_WRITE;
	m->untouched = true;
	m->claimed = true;
	m->start = offset & ~(g->unit - 1);
	m->asked = offset - m->start;
	m->asked_length = length;
	m->length = (m->asked + length + g->unit - 1) & ~(g->unit - 1);
	rc = place(m, how->place);
	if (rc) {
		pieces_fini(&m->pieces);
		free(m);
		return rc;
	}
	*out = m;
	return 0;
}

/* A map that is claimed and cached throughout. */
static int make(int fd, uint64_t offset, size_t length, const struct wanted *how, struct inodax_map **out)
{
	struct grant *g;
	int rc;

	pthread_rwlock_rdlock(&client.working);
	rc = grant_get(fd, how->write, &g);
	if (!rc) {
		rc = new_map(g, offset, length, how, out);
		if (rc)
			grant_put(g);
	}
	if (!rc) {
		client_lock();
		list_add_tail(&(*out)->node, &g->maps);
		client_unlock();
	}
	pthread_rwlock_unlock(&client.working);
	return rc;
}

/* Others may take their time to answer what the daemon asks of them; that is bounded, and so is this. */
static int resolve(struct inodax_map *m)
{
	uint64_t until = client_now() + MAP_WAIT_MS;
	int rc = map_resolve(m);

	while (rc == -EAGAIN && client_now() < until) {
		client_lock();
		client_wait(client_now() + 5);
		client_unlock();
		rc = map_resolve(m);
	}
	return rc;
}

void map_settle(struct inodax_map *m)
{
	map_release(m, resolve(m));
}

static bool some_cached(struct inodax_map *m)
{
	bool found = false;

	client_lock();
	for (size_t i = 0; i < m->pieces.count; i++)
		found = found || m->pieces.piece[i].kind == INODAX_CACHED;
	client_unlock();
	return found;
}

/* ---- The end of one --------------------------------------------------------------------------------------- */

/* Caller holds client.lock. -ENOMEM: the cached mapping, which is to be kept, cannot be put there. */
static int take_out(struct inodax_map *m, bool keep)
{
	int rc;

	if (keep)
		rc = map_cover(m, 0, m->length, NULL);
	else
		rc = map_withdraw(m);
	if (rc && !keep) {
		map_displace(m, false);	/* with the lock, then */
		m->spare = NULL;
		rc = 0;
	}
	if (!rc)
		list_del(&m->node);
	return rc;
}

/*
 * Out of the list and no longer direct are one step: a revocation in between would be answered without being done. The
 * rest goes without the lock: the kernel writes back pages of the file that are dirty, and waits with that while the
 * file is cut, which waits for us. The references go when nothing is mapped, the handle after them.
 */
int map_end(struct inodax_map *m, bool keep)
{
	int rc;

	pthread_rwlock_rdlock(&client.working);
	client_lock();
	hole_wait(m);
	rc = take_out(m, keep);
	client_unlock();
	if (!rc) {
		if (m->spare)
			map_displace(m, keep);
		area_leave(m, NULL);
		grant_put(m->grant);
	}
	pthread_rwlock_unlock(&client.working);
	if (rc)
		return rc;
	pieces_fini(&m->pieces);
	free(m);
	return 0;
}

void map_claim(struct inodax_map *m)
{
	(void)client_enter();	/* without threads a map can go all the same */
	client_lock();
	while (m->claimed)
		pthread_cond_wait(&client.changed, &client.lock);
	m->claimed = true;
	client_unlock();
}

/* ---- The calls -------------------------------------------------------------------------------------------- */

int map_open(int fd, uint64_t offset, size_t length, unsigned int flags, const struct place *place, int prot,
	     struct inodax_map **out)
{
	struct wanted how = {
		.place = place, .prot = prot, .private = flags & INODAX_MAP_PRIVATE,
		.write = (flags & (INODAX_MAP_WRITE | INODAX_MAP_PRIVATE)) == INODAX_MAP_WRITE,
	};
	struct inodax_map *m = NULL;
	int rc = check_args(fd, offset, length, flags);

	if (!rc)
		rc = client_enter();
	if (!rc)
		rc = make(fd, offset, length, &how, &m);
	if (rc)
		return rc;
	rc = resolve(m);
	if (flags & INODAX_MAP_REQUIRE && some_cached(m)) {
		(void)map_end(m, false);
		return -EOPNOTSUPP;
	}
	map_release(m, rc);
	*out = m;
	return 0;
}

int inodax_map(int fd, uint64_t offset, size_t length, unsigned int flags, struct inodax_map **out)
{
	static const struct place anywhere = { .at = NULL };
	int prot = flags & INODAX_MAP_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;

	return map_open(fd, offset, length, flags, &anywhere, prot, out);
}

void *inodax_map_address(const struct inodax_map *m)
{
	return m->base + m->asked;
}

int inodax_unmap(struct inodax_map *m)
{
	map_claim(m);
	return map_end(m, false);
}

bool map_has(const struct inodax_map *m, size_t offset, size_t length)
{
	return offset < m->asked_length && length <= m->asked_length - offset;
}

/* -EBADF: the handle's descriptor is gone. */
static int sync_handle(struct inodax_map *m)
{
	struct grant *g;
	int fd, rc;

	pthread_rwlock_rdlock(&client.working);
	g = map_grant(m);
	fd = desc_fd(&g->handle);
	rc = fd < 0 ? fd : fsync(fd) ? -errno : 0;
	grant_put(g);
	pthread_rwlock_unlock(&client.working);
	return rc;
}

/* The spare is a mapping of the handle too. It stays while the map is claimed. */
static int sync_spare(struct inodax_map *m)
{
	int rc;

	map_claim(m);
	rc = mm_msync(m->spare, m->length, MS_SYNC) ? -errno : 0;
	map_release(m, 0);
	return rc;
}

int inodax_sync(struct inodax_map *m, size_t offset, size_t length)
{
	int rc;

	if (!map_has(m, offset, length))
		return -EINVAL;
	if (m->private)
		return 0;
	(void)client_enter();
	rc = sync_handle(m);
	return rc == -EBADF ? sync_spare(m) : rc;
}

int inodax_query(struct inodax_map *m, size_t offset, struct inodax_query *query)
{
	struct inodax_query out = { .size = sizeof(out) };
	uint64_t first, end, limit = m->asked + m->asked_length;
	const struct piece *at;

	if (query->size < QUERY_SIZE_0 || !map_has(m, offset, 0))
		return -EINVAL;
	(void)client_enter();
	client_lock();
	at = pieces_at(&m->pieces, m->asked + offset);
	first = at->offset > m->asked ? at->offset : m->asked;
	end = at->offset + at->length < limit ? at->offset + at->length : limit;
	out.kind = at->kind;
	out.page_shift = at->shift;
	snprintf(out.reason, sizeof(out.reason), "%s", at->reason ? at->reason : "");
	client_unlock();
	out.offset = m->start + first;
	out.length = end - first;
	if (query->size < out.size)
		out.size = query->size;
	memcpy(query, &out, out.size);
	return 0;
}
