#include "preload/parts.h"

#include <errno.h>
#include <pthread.h>

#include "client/mm.h"
#include "inodax.h"
#include "preload/explain.h"

bool span(const void *address, size_t length, uintptr_t *from, uintptr_t *to)
{
	*from = (uintptr_t)address;
	if (*from & (PAGE - 1) || !length || length > UINTPTR_MAX - PAGE - *from)
		return false;
	*to = (*from + length + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
	return true;
}

int fail(int rc)
{
	errno = -rc;
	return -1;
}

/*
 * The child of a fork has its maps directly before it goes on: what it touched of the page cache would take them from
 * everybody. The library by itself waits for a call of its own; the program here does not know of one.
 */
static void child(void)
{
	uintptr_t pos = 0;
	struct range r;

	for (; table_next(pos, UINTPTR_MAX, &r); pos = r.end) {
		if (!r.map->nofork) {
			map_claim(r.map);
			map_settle(r.map);
		}
		table_put(&r);
	}
}

/* Behind those of the library and of the table, which the first map has registered. */
static void watch_forks(void)
{
	client.settles = true;
	pthread_atfork(NULL, NULL, child);
}

int map_wish(const struct wish *w, struct range *r)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int rc = map_open(w->fd, (uint64_t)w->offset, w->length, w->flags, &w->place, w->prot, &r->map);

	if (rc)
		return rc;
	r->prot = w->prot;
	r->start = (uintptr_t)inodax_map_address(r->map);
	r->end = end_of(r->start, w->length);
	rc = table_insert(r);
	if (rc) {
		inodax_unmap(r->map);
		return rc;
	}
	pthread_once(&once, watch_forks);
	explain_map(w->fd, w->offset, w->length, r->map);
	return 0;
}

/* ---- Parts of maps ----------------------------------------------------------------------------------------- */

void put_back(const struct cut *c)
{
	if (c->n)
		table_replace(&c->whole, c->with, c->n);
}

/* The same without the part, which is the caller's to do away with. */
static struct range take_part(struct cut *c)
{
	struct range part = c->with[c->part];

	c->n--;
	for (unsigned int i = c->part; i < c->n; i++)
		c->with[i] = c->with[i + 1];
	table_replace(&c->whole, c->with, c->n);
	return part;
}

/* The last range of `c` is cut at `where`; both halves are claimed, and the first is given up. -errno: as it was. */
static int cut_at(struct cut *c, uintptr_t where)
{
	struct range *last = &c->with[c->n - 1], *next = last + 1;
	int rc;

	*next = *last;
	rc = map_split(last->map, where - last->start, &next->map);
	if (rc)
		return rc;
	last->end = where;
	next->start = where;
	c->n++;
	return 0;
}

int own_part(const struct range *r, uintptr_t from, uintptr_t to, struct cut *c)
{
	int rc = table_own(r);

	*c = (struct cut){ .whole = *r, .with = { *r }, .n = !rc };
	if (rc)
		return rc;
	map_claim(r->map);
	if (from > r->start) {
		rc = cut_at(c, from);
		map_release(r->map, 0);
		if (rc)
			return rc;
		c->part = 1;
	}
	if (to < r->end) {
		rc = cut_at(c, to);
		map_release(c->with[rc ? c->part : c->part + 1].map, 0);
	}
	return rc;
}

/* ---- Giving them up ---------------------------------------------------------------------------------------- */

int detach(const struct range *r, const char *reason)
{
	int rc = table_own(r);

	if (rc)
		return rc;
	explain_detached(r->map, r->end - r->start, reason);
	map_claim(r->map);
	rc = map_end(r->map, true);
	/* Without memory for that either, it is mapped to the end of the process. */
	if (rc)
		map_release(r->map, 0);
	table_replace(r, r, rc ? 1 : 0);
	return rc;
}

/* ---- Taking a call apart ----------------------------------------------------------------------------------- */

/* The part again, which is no direct map's now. */
static int walk_plain(const struct range *was, uintptr_t from, uintptr_t to, const struct parts *p)
{
	struct range r;
	int rc = AGAIN;

	if (!table_next(from, to, &r))
		return p->plain(at(from), to - from, p->how) ? -errno : 0;
	if (r.map == was->map)
		rc = detach(&r, p->what);
	else
		table_put(&r);
	return rc ? rc : AGAIN;
}

int walk(void *address, size_t length, const struct parts *p)
{
	uintptr_t pos, to, from, end;
	struct range r;
	int rc;

	if (!span(address, length, &pos, &to))
		return p->plain(address, length, p->how);
	for (; pos < to && table_next(pos, to, &r); pos = rc == AGAIN ? from : end) {
		from = r.start > pos ? r.start : pos;
		end = r.end < to ? r.end : to;
		if (from > pos && p->plain(at(pos), from - pos, p->how)) {
			table_put(&r);
			return -1;
		}
		rc = p->direct(&r, from, end, p->how);
		if (rc == -EOPNOTSUPP)
			rc = walk_plain(&r, from, end, p);
		if (rc && rc != AGAIN)
			return fail(rc);
	}
	return pos < to ? p->plain(at(pos), to - pos, p->how) : 0;
}

/* ---- munmap(2), and what is mapped over -------------------------------------------------------------------- */

static int unmap(const struct range *r, uintptr_t from, uintptr_t to, int keep)
{
	struct range part;
	struct cut c;
	int rc = own_part(r, from, to, &c);

	if (rc) {
		put_back(&c);
		return rc;
	}
	part = take_part(&c);
	rc = map_end(part.map, keep);
	/* Without memory for that either, it is mapped to the end of the process. */
	if (rc) {
		map_release(part.map, 0);
		(void)table_insert(&part);
	}
	return rc;
}

static int unmap_plain(void *address, size_t length, int keep)
{
	return keep ? 0 : mm_munmap(address, length);
}

int unmap_all(void *address, size_t length)
{
	return walk(address, length, &(struct parts){
		.direct = unmap, .plain = unmap_plain, .what = "munmap() of a part of a map unit",
	});
}

int make_way(void *address, size_t length)
{
	return walk(address, length, &(struct parts){
		.direct = unmap, .plain = unmap_plain, .how = true, .what = "a map over a part of a map unit",
	});
}
