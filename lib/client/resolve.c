/*
 * Asking the daemon where the units of a map lie, and mapping them there.
 *
 * A map is asked for by its own call first, then by one thread of the process, the resolver: after a revocation, in the
 * child of a fork, and from time to time as long as some of it is not direct. Whoever asks has claimed the map.
 *
 * What the daemon answers may be taken back before it is mapped: the lock is given up while it is asked. So an answer
 * counts only if, with the lock held, no revocation was answered since before the question, and none is waiting.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>

#include "client/inodax.h"
#include "client/mm.h"
#include "util/fault.h"

#define AGAIN_MS	10U		/* until a revocation elsewhere may have been answered */
#define PAUSE_MIN_MS	1000U
#define PAUSE_MAX_MS	60000U
#define DENSE_EXTENTS	1000U		/* of a map, before more are moved together: see ask_flags() */

/* ---- What the pieces say ---------------------------------------------------------------------------------- */

/* [offset, offset + length) of the file is cached already, now for this reason. Without memory the old one stays. */
static void set_cached(struct inodax_map *m, uint64_t offset, uint64_t length, uint32_t kind, const char *reason)
{
	struct piece what = { .offset = offset - m->start, .length = length, .kind = kind, .reason = reason };

	if (length)
		(void)pieces_set(&m->pieces, &what);
}

/* May the daemon have something else for it now? What is cached of a private map may have been stored to. */
static bool is_open(const struct inodax_map *m, const struct piece *at)
{
	if (at->reason == hole_beyond)
		return false;
	if (m->copies && !m->untouched)
		return at->kind == INODAX_ASKED || at->reason == hole_at_end;
	return at->kind == INODAX_CACHED || at->kind == INODAX_BEYOND || at->kind == INODAX_ASKED ||
	       at->reason == hole_no_space;
}

/* What of [pos, end) of the file is not cached becomes it; all of it now is, for this reason. -ENOMEM: or not. */
static int cover(struct inodax_map *m, uint64_t pos, uint64_t end, uint32_t kind, const char *reason)
{
	int rc = pos < end ? map_cover(m, pos - m->start, end - pos, reason) : 0;

	if (!rc)
		set_cached(m, pos, end - pos, kind, reason);
	return rc;
}

/* The next part of the map from *pos on that is to be asked for, in the file. false: nothing of the rest is. */
static bool next_open(struct inodax_map *m, uint64_t *pos, uint64_t *end)
{
	uint64_t limit = m->start + m->length;
	bool found = false;

	client_lock();
	for (*end = *pos; *end < limit; ) {
		const struct piece *at = pieces_at(&m->pieces, *end - m->start);
		bool open = is_open(m, at);

		if (found && !open)
			break;
		if (!found && open) {
			*pos = *end;
			found = true;
		}
		*end = m->start + at->offset + at->length;
	}
	client_unlock();
	return found;
}

/* ---- An answer -------------------------------------------------------------------------------------------- */

static bool extent_ok(const struct grant *g, const struct direct_extent *e)
{
	if (!e->length || (e->offset | e->length) & (g->unit - 1))
		return false;
	if (e->type == DIRECT_ZERO || e->type == DIRECT_POISON)
		return true;
	return e->type == DIRECT_POOL && !(e->addr & (g->unit - 1)) && e->addr <= g->pool_bytes &&
	       e->length <= g->pool_bytes - e->addr;
}

static int check_answer(const struct grant *g, const struct direct_fault *f)
{
	uint64_t at = f->offset;

	if (f->count > DIRECT_EXTENTS || f->stop > DIRECT_CACHED || f->next < at || f->next > f->offset + f->length ||
	    (f->stop == DIRECT_MORE && f->next == at))
		return -EPROTO;
	for (uint32_t i = 0; i < f->count; i++) {
		const struct direct_extent *e = &f->extent[i];

		if (!extent_ok(g, e) || e->offset != at || e->length > f->next - at)
			return -EPROTO;
		at += e->length;
	}
	return at == f->next ? 0 : -EPROTO;
}

/* -EACCES: the daemon does not know the grant. */
int map_ask(struct inodax_map *m, uint64_t pos, uint64_t end, uint32_t flags, struct direct_fault *f,
	    uint64_t *generation)
{
	struct grant *g = m->grant;
	bool behind;
	int rc;

	client_lock();
	*generation = m->generation;
	f->area = m->area->number;
	behind = grant_behind(g);
	client_unlock();
	if (behind)
		return -EAGAIN;
	f->name = g->name;
	f->offset = pos;
	f->length = end - pos;
	f->address = (uintptr_t)m->base + (pos - m->start);
	f->flags = flags;
	rc = grant_ioctl(g, DIRECT_IOC_FAULT, f);
	if (!rc && (f->offset != pos || f->length != end - pos))
		rc = -EPROTO;
	return rc ? rc : check_answer(g, f);
}

static int how_shared(const struct inodax_map *m)
{
	if (m->private)
		return MAP_PRIVATE | MAP_NORESERVE;
	return m->grant->sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
}

static int map_extent(const struct inodax_map *m, const struct direct_extent *e, char *at)
{
	int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, prot = m->prot, fd = -1;
	off_t offset = 0;

	if (e->type == DIRECT_POISON)
		return map_again(m, client.nothing, e->length, PROT_READ | PROT_WRITE, at);
	if (e->type == DIRECT_POOL) {
		flags = MAP_FIXED | how_shared(m);
		fd = m->grant->pool.fd;
		offset = (off_t)e->addr;
	} else if (!m->private) {
		prot &= ~PROT_WRITE;
	}
	return mm_mmap(at, e->length, prot, flags, fd, offset) == MAP_FAILED ? -errno : 0;
}

/* No other process ever has it, but what was stored to a private map: see fork.c. */
static int map_alone(const struct inodax_map *m, const struct direct_extent *e, char *at)
{
	int rc = map_extent(m, e, at);

	return !rc && !m->copies && mm_madvise(at, e->length, MADV_DONTFORK) ? -errno : rc;
}

int map_put(struct inodax_map *m, const struct direct_extent *e)
{
	static const uint32_t kinds[] = {
		[DIRECT_POOL] = INODAX_DIRECT, [DIRECT_ZERO] = INODAX_ZERO, [DIRECT_POISON] = INODAX_LOST,
	};
	struct piece what = {
		.offset = e->offset - m->start, .length = e->length, .kind = kinds[e->type], .shift = e->shift,
		.reason = e->type == DIRECT_POISON ? "the media failed" : NULL,
	};
	int rc;

	if (m->demand && e->type == DIRECT_ZERO)
		return hole_put(m, what.offset, what.length, e->shift, false);
	rc = pieces_set(&m->pieces, &what);
	if (!rc)
		rc = map_alone(m, e, m->base + what.offset);
	if (rc && m->copies)	/* nothing was stored there */
		(void)map_uncover(m, what.offset, what.length, client_reason(rc));
	else if (rc)
		(void)map_cover(m, what.offset, what.length, client_reason(rc));
	return rc;
}

int map_stopped(struct inodax_map *m, const struct direct_fault *f, uint64_t end)
{
	uint32_t kind = INODAX_CACHED;
	const char *reason = NULL;

	if (f->stop == DIRECT_EOF && m->told && f->next < end && !hole_end(m, f->next - m->start, end - f->next))
		return 0;
	if (f->stop == DIRECT_EOF)
		kind = INODAX_BEYOND;
	else if (f->stop == DIRECT_NOSPC)
		reason = f->flags & DIRECT_LOAD ? "no free map unit that its blocks could move to" : hole_no_space;
	else
		reason = "in use through the page cache, perhaps by this process";
	return cover(m, f->next, end, kind, reason);
}

/* Units that were given and are not mapped after all. An area that is given back whole is gone. */
static int give_back(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	struct direct_unmap u = { .name = m->grant->name, .offset = offset, .length = length };

	if (!length)
		return 0;
	client_lock();
	u.area = m->area->number;
	if (offset == m->area->start && length == m->area->length)
		m->area->placed = false;
	client_unlock();
	return grant_ioctl(m->grant, DIRECT_IOC_UNMAP, &u);
}

/*
 * The rest could not be mapped, and is going to be given back: what hole.c was answered for it does not count either.
 * Returns rc.
 */
static int leave(struct inodax_map *m, uint64_t pos, uint64_t end, int rc)
{
	m->generation++;
	(void)cover(m, pos, end, INODAX_CACHED, client_reason(rc));
	return rc;
}

/* One unit cannot be had, as its blocks find no unit of their own: that says nothing of the next. */
static bool goes_on(const struct inodax_map *m, const struct direct_fault *f)
{
	return m->sparse && f->stop == DIRECT_NOSPC;
}

static uint64_t next_unit(const struct inodax_map *m, const struct direct_fault *f, uint64_t end)
{
	return end - f->next > m->grant->unit ? f->next + m->grant->unit : end;
}

/* Map what was answered. -EAGAIN: the answer does not count. Else *taken is how far it went; if not to f->next, why. */
static int take(struct inodax_map *m, const struct direct_fault *f, uint64_t end, uint64_t generation, uint64_t *taken)
{
	int rc = desc_fd(&m->grant->pool) < 0 && f->count ? -EBADF : 0;

	*taken = f->offset;
	client_lock();
	if (generation != m->generation || grant_behind(m->grant) || !copy_fits(m, f->offset, end)) {
		client_unlock();
		return -EAGAIN;
	}
	for (uint32_t i = 0; i < f->count && !rc; i++) {
		rc = map_put(m, &f->extent[i]);
		if (!rc)
			*taken += f->extent[i].length;
	}
	m->extents += f->count;
	if (rc)
		rc = leave(m, *taken, end, rc);
	else if (f->stop != DIRECT_MORE && f->stop != DIRECT_AGAIN)
		rc = map_stopped(m, f, goes_on(m, f) ? next_unit(m, f, end) : end);
	client_unlock();
	return rc;
}

/* ---- A map ------------------------------------------------------------------------------------------------ */

/*
 * A process may have 65530 mappings, and what lies apart in the pool takes one each. The first thousand of a map are
 * had as they come; who has had more gets the rest of it moved together.
 */
static uint32_t ask_flags(const struct inodax_map *m)
{
	return (m->sparse ? DIRECT_LOAD : 0) | (m->extents > DENSE_EXTENTS ? DIRECT_DENSE : 0);
}

/* Ask for [pos, end). *more: the rest of the map may be asked for too. */
static int resolve_part(struct inodax_map *m, struct direct_fault *f, uint64_t pos, uint64_t end, bool *more)
{
	uint64_t generation, taken;
	int rc;

	do {
		rc = map_ask(m, pos, end, ask_flags(m), f, &generation);
		if (rc)
			return rc;
		rc = take(m, f, end, generation, &taken);
		if (rc && rc != -EAGAIN)
			rc = give_back(m, taken, f->next - taken);
		else if (!rc && f->stop == DIRECT_AGAIN)
			rc = -EAGAIN;
		pos = f->next + (goes_on(m, f) ? m->grant->unit : 0);
		*more = taken == f->next && (f->stop == DIRECT_MORE || f->stop == DIRECT_EOF || goes_on(m, f));
	} while (!rc && *more && f->stop != DIRECT_EOF && pos < end);
	return rc;
}

static int resolve(struct inodax_map *m)
{
	struct direct_fault *f = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*f));
	uint64_t pos = m->start, end;
	bool more = true;
	int rc = 0;

	if (!f)
		return -ENOMEM;
	while (!rc && more && next_open(m, &pos, &end)) {
		rc = resolve_part(m, f, pos, end, &more);
		pos = end;
	}
	free(f);
	return rc;
}

/* Is there memory that says when it is touched? */
static bool is_told(void)
{
	int rc;

	pthread_mutex_lock(&client.making);
	rc = uffd_start();
	pthread_mutex_unlock(&client.making);
	return !rc;
}

/* An area that the daemon does not know is nobody else's, and of this range. */
static int own_area(struct inodax_map *m)
{
	struct area *area;
	bool own;
	int rc;

	client_lock();
	own = m->area->users == 1 && m->area->start == m->start && m->area->length == m->length;
	client_unlock();
	if (own)
		return 0;
	rc = area_new(m->grant, m->start, m->length, &area);
	if (!rc)
		area_leave(m, area);
	return rc;
}

static bool is_placed(struct inodax_map *m)
{
	bool placed;

	client_lock();
	placed = m->area->placed;
	client_unlock();
	return placed;
}

/* The range becomes an area of the grant. */
static int place_area(struct inodax_map *m)
{
	struct direct_map map = {
		.name = m->grant->name, .offset = m->start, .length = m->length,
		.flags = m->write ? DIRECT_WRITE : 0,
	};
	bool sparse, told;
	int rc;

	if (is_placed(m))
		return 0;
	if ((m->start | m->length | (uintptr_t)m->base) & (m->grant->unit - 1))
		return -EOPNOTSUPP;	/* mapped before the map unit was known */
	told = is_told();
	sparse = told || !m->write;	/* zeros that are only loaded need nobody to see stores */
	if (sparse)
		map.flags |= DIRECT_SPARSE;
	rc = own_area(m);
	if (!rc)
		rc = grant_ioctl(m->grant, DIRECT_IOC_MAP, &map);
	if (rc)
		return rc;
	client_lock();
	m->area->number = map.area;
	m->sparse = sparse;
	m->told = told;
	m->demand = told && (m->write || m->private);
	m->area->placed = true;
	client_unlock();
	return 0;
}

/* The grant became useless: get another. While that fails, what is mapped stays. */
static int replace_grant(struct inodax_map *m)
{
	int fd = desc_fd(&m->grant->handle);
	struct grant *to;
	int rc = fd < 0 ? fd : grant_get(fd, m->write, &to);

	if (rc)
		return rc;
	rc = map_move(m, to);
	if (rc)
		grant_put(to);
	return rc;
}

/* Of all that is cached. */
static void set_reason(struct inodax_map *m, const char *reason)
{
	for (size_t i = 0; i < m->pieces.count; i++)
		if (m->pieces.piece[i].kind == INODAX_CACHED)
			m->pieces.piece[i].reason = reason;
}

/* Begin to ask: is the grant stale, is there direct access at all? */
static void look(struct inodax_map *m, bool *stale, bool *connected)
{
	struct piece all = { .kind = INODAX_CACHED, .reason = m->grant->reason };

	client_lock();
	m->revoked = false;
	*stale = m->grant->stale;
	*connected = m->grant->page;
	if (!*stale && !*connected && !m->copies)
		pieces_set_all(&m->pieces, &all);
	else if (!*stale && !*connected)
		set_reason(m, all.reason);
	client_unlock();
}

/* What went wrong is what the pieces that are not direct say. -EACCES: the daemon does not know the grant. */
static int note_error(struct inodax_map *m, int rc)
{
	uint64_t pos = m->start, end;

	if (rc == -EACCES) {
		client_lock();
		m->grant->stale = true;
		client_unlock();
		return -EAGAIN;
	}
	for (; next_open(m, &pos, &end); pos = end) {
		client_lock();
		(void)cover(m, pos, end, INODAX_CACHED, client_reason(rc));
		client_unlock();
	}
	return 0;
}

int map_resolve(struct inodax_map *m)
{
	bool stale, connected;
	int rc = 0;

	pthread_rwlock_rdlock(&client.working);
	look(m, &stale, &connected);
	if (stale)
		rc = replace_grant(m);
	else if (!connected)
		grant_retry(m->grant);
	if (!rc)
		look(m, &stale, &connected);
	if (!rc && connected && !stale) {
		rc = place_area(m);
		if (!rc)
			rc = resolve(m);
		if (rc && rc != -EAGAIN)
			rc = note_error(m, rc);
	}
	pthread_rwlock_unlock(&client.working);
	return rc == -EAGAIN ? rc : 0;
}

/* ---- The resolver ----------------------------------------------------------------------------------------- */

/* Is there something that the daemon may answer differently next time? Caller holds client.lock. */
static bool unfinished(const struct inodax_map *m)
{
	const struct grant *g = m->grant;

	if (desc_fd(&g->handle) < 0 || !(g->page || g->again || g->stale))
		return false;
	if (g->stale)
		return true;
	for (size_t i = 0; i < m->pieces.count; i++)
		if (is_open(m, &m->pieces.piece[i]))
			return true;
	return false;
}

void map_release(struct inodax_map *m, int rc)
{
	client_lock();
	m->claimed = false;
	m->untouched = false;
	if (rc == -EAGAIN) {
		m->due = client_now() + AGAIN_MS;
	} else if (m->revoked) {
		m->due = client_now();
	} else if (unfinished(m)) {
		m->pause = !m->pause ? PAUSE_MIN_MS : m->pause < PAUSE_MAX_MS / 2 ? 2 * m->pause : PAUSE_MAX_MS;
		m->due = client_now() + m->pause;
	} else {
		m->due = 0;
		m->pause = 0;
	}
	pthread_cond_broadcast(&client.changed);
	client_unlock();
}

/* The map that is due first and that nobody works on. */
static struct inodax_map *first_due(void)
{
	struct inodax_map *first = NULL;
	struct list *i, *j;

	list_for_each(i, &client.grants) {
		list_for_each(j, &list_entry(i, struct grant, node)->maps) {
			struct inodax_map *m = list_entry(j, struct inodax_map, node);

			if (m->due && !m->claimed && (!first || m->due < first->due))
				first = m;
		}
	}
	return first;
}

void *resolver(void *arg)
{
	struct inodax_map *m;

	client_lock();
	for (;;) {
		m = first_due();
		if (!m) {
			pthread_cond_wait(&client.changed, &client.lock);
		} else if (m->due > client_now()) {
			client_wait(m->due);
		} else {
			m->claimed = true;
			client_unlock();
			map_release(m, map_resolve(m));
			client_lock();
		}
	}
	return arg;
}
