/*
 * What a program may do with parts of its maps: cut them, and change what may be done with them.
 *
 * A map is to the library what a VMA is to the kernel, alike throughout. So a part that is to be different becomes a
 * map of its own, as split_vma() has it; nothing that is mapped changes by that, and the daemon is not asked.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "client/inodax.h"
#include "client/mm.h"
#include "util/fault.h"

/* ---- Cutting ---------------------------------------------------------------------------------------------- */

/* The pieces of `m` from `offset` on, as those of a map that begins there. -ENOMEM. Caller holds client.lock. */
static int copy_pieces(const struct inodax_map *m, uint64_t offset, struct pieces *to)
{
	struct piece what;
	uint64_t end;
	int rc = 0;

	for (size_t i = 0; i < m->pieces.count && !rc; i++) {
		what = m->pieces.piece[i];
		end = what.offset + what.length;
		if (end <= offset)
			continue;
		what.offset = what.offset > offset ? what.offset - offset : 0;
		what.length = end - offset - what.offset;
		rc = pieces_set(to, &what);
	}
	return rc;
}

/* `m` ends at `offset`, and `second` is what follows. Caller holds client.lock. */
static void cut(struct inodax_map *m, uint64_t offset, struct inodax_map *second)
{
	pieces_cut(&m->pieces, offset);
	m->length = offset;
	m->asked_length = offset - m->asked;
	m->generation++;
	m->area->users++;
	list_add_tail(&second->node, &m->grant->maps);
}

/* Memory of it, before any lock is taken: see hole.c. */
static struct inodax_map *second_new(uint64_t length)
{
	struct piece whole = { .kind = INODAX_CACHED, .length = length };
	struct inodax_map *s = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*s));

	if (s && pieces_init(&s->pieces, &whole)) {
		free(s);
		return NULL;
	}
	return s;
}

static void second_free(struct inodax_map *s)
{
	pieces_fini(&s->pieces);
	free(s);
}

/* All but the pieces. Caller holds client.lock. */
static void second_fill(struct inodax_map *s, const struct inodax_map *m, uint64_t offset)
{
	struct pieces pieces = s->pieces;

	*s = *m;
	s->pieces = pieces;
	s->start += offset;
	s->length -= offset;
	s->asked = 0;
	s->asked_length = m->asked + m->asked_length - offset;
	s->base += offset;
	s->spare += offset;
	s->stored_to = 0;
	s->stored = 0;
	s->generation++;
}

int map_split(struct inodax_map *m, size_t offset, struct inodax_map **out)
{
	uint64_t at = m->asked + offset;
	struct inodax_map *second;
	int rc;

	if (at & (m->grant->unit - 1))
		return -EOPNOTSUPP;
	second = second_new(m->length - at);
	if (!second)
		return -ENOMEM;
	pthread_mutex_lock(&client.making);
	client_lock();
	hole_wait(m);
	rc = copy_pieces(m, at, &second->pieces);
	if (!rc) {
		second_fill(second, m, at);
		cut(m, at, second);
		m->grant->users++;
	}
	client_unlock();
	pthread_mutex_unlock(&client.making);
	if (rc)
		second_free(second);
	else
		*out = second;
	return rc;
}

/* ---- Rights ----------------------------------------------------------------------------------------------- */

/*
 * A map for loads becomes one for stores: it needs another area. Nothing of it is direct then, and it is to be asked
 * for. On failure it is what it was, or cached.
 */
static int make_writable(struct inodax_map *m)
{
	struct area *area;
	int rc = area_new(m->grant, m->start, m->length, &area);

	if (rc)
		return rc;
	client_lock();
	rc = map_cover(m, 0, m->length, "mprotect()");
	m->generation++;
	client_unlock();
	if (!rc && mm_mprotect(m->spare, m->length, PROT_READ | PROT_WRITE))
		rc = -errno;
	if (rc) {
		area_free(area);
		return rc;
	}
	area_leave(m, area);
	client_lock();
	m->write = true;
	client_unlock();
	return 0;
}

static int keep_copies(struct inodax_map *m)
{
	int rc;

	client_lock();
	rc = copy_begin(m);
	client_unlock();
	return rc;
}

static int protect_pieces(struct inodax_map *m, int prot)
{
	for (size_t i = 0; i < m->pieces.count; i++) {
		const struct piece *at = &m->pieces.piece[i];

		if (mm_mprotect(m->base + at->offset, at->length, prot))
			return -errno;
	}
	return 0;
}

static int set_rights(struct inodax_map *m, int prot)
{
	int before, rc;

	client_lock();
	before = m->prot;
	m->prot = prot;
	rc = protect_pieces(m, prot);
	if (rc) {
		m->prot = before;
		(void)protect_pieces(m, before);
	}
	client_unlock();
	return rc;
}

int map_protect(struct inodax_map *m, int prot)
{
	bool more = prot & PROT_WRITE && !m->write && !m->private;
	int rc = 0;

	if (more && m->grant->mode != O_RDWR)
		return -EACCES;
	pthread_rwlock_rdlock(&client.working);
	if (more)
		rc = make_writable(m);
	else if (prot & PROT_WRITE && m->private)
		rc = keep_copies(m);
	if (!rc)
		rc = set_rights(m, prot);
	pthread_rwlock_unlock(&client.working);
	return rc ? rc : more;
}

void map_inherit(struct inodax_map *m, bool inherit)
{
	client_lock();
	m->nofork = !inherit;
	client_unlock();
}

int map_borrow(struct inodax_map *m, struct grant **g)
{
	int fd;

	pthread_rwlock_rdlock(&client.working);
	*g = map_grant(m);
	fd = desc_fd(&(*g)->handle);
	if (fd < 0)
		grant_put(*g);
	pthread_rwlock_unlock(&client.working);
	return fd;
}

void map_return(struct grant *g)
{
	pthread_rwlock_rdlock(&client.working);
	grant_put(g);
	pthread_rwlock_unlock(&client.working);
}

bool map_same_file(const struct inodax_map *a, const struct inodax_map *b)
{
	const struct desc *x, *y;
	bool same;

	client_lock();
	x = &a->grant->handle;
	y = &b->grant->handle;
	same = x->dev == y->dev && x->ino == y->ino && a->write == b->write &&
	       a->private == b->private;
	client_unlock();
	return same;
}
