/*
 * A map in the address space: its room, the cached mapping under everything, and that mapping put back over what is
 * mapped directly.
 *
 * Taking something away may never wait for the daemon, which waits for it. mmap() of a file of the mount does: the
 * kernel writes back and drops the file's pages before, and unmapping writes them back too. So it is done by mremap()
 * of no bytes of the spare, which maps the same pages once more, and only where a direct mapping is in the way.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>

#include "client/inodax.h"
#include "client/mm.h"

#define SIZE_2M		(1ULL << 21)
#define SIZE_1G		(1ULL << 30)

/* All that the map may ever allow: what the spare has. */
static int widest(const struct inodax_map *m)
{
	return m->write || m->copies ? PROT_READ | PROT_WRITE : PROT_READ;
}

static bool is_direct(const struct piece *piece)
{
	return piece->kind != INODAX_CACHED && piece->kind != INODAX_COPY &&
	       (piece->kind != INODAX_BEYOND || piece->reason == hole_at_end || piece->reason == hole_beyond);
}

static int sharing(const struct inodax_map *m)
{
	return m->private ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED;
}

/* ---- Room ------------------------------------------------------------------------------------------------- */

/* What file offset and address have to agree modulo, so that large pages can be. */
static uint64_t alignment(const struct inodax_map *m)
{
	if (m->length >= SIZE_1G)
		return SIZE_1G;
	return m->length >= SIZE_2M ? SIZE_2M : PAGE;
}

/* Address space for the range that nobody else gets. */
static int reserve(struct inodax_map *m)
{
	uint64_t align = alignment(m), need = m->length, size = need + align - PAGE, lead;
	char *at = mm_mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return -ENOMEM;
	lead = (m->start - (uintptr_t)at) & (align - 1);
	if (lead)
		mm_munmap(at, lead);
	if (size > lead + need)
		mm_munmap(at + lead + need, size - lead - need);
	m->base = at + lead;
	return 0;
}

/* The same where the caller wants it. -EEXIST: something is there; if it is to go, it does when the file is mapped. */
static int reserve_at(struct inodax_map *m, const struct place *place)
{
	if (m->asked || m->length - m->asked_length >= PAGE)
		return -EOPNOTSUPP;
	if (!place->fixed && mm_mmap(place->at, m->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				     MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		return -errno;
	m->base = place->at;
	return 0;
}

static int find_room(struct inodax_map *m, const struct place *place)
{
	int rc = place->at || place->fixed ? reserve_at(m, place) : -EEXIST;

	return rc && !place->fixed && !place->noreplace ? reserve(m) : rc;
}

/* Map the file by the handle of a grant, at `at` or anywhere (NULL). -errno */
static int map_handle(struct inodax_map *m, const struct grant *g, char *at, char **out)
{
	int fd = desc_fd(&g->handle), fixed = at ? MAP_FIXED : 0;

	if (fd < 0)
		return fd;
	at = mm_mmap(at ? at : mm_room(m->length), m->length, widest(m), sharing(m) | fixed, fd, (off_t)m->start);
	if (at == MAP_FAILED)
		return errno == ENODEV ? -EOPNOTSUPP : -errno;
	*out = at;
	return 0;
}

/* Made elsewhere, so that at `at` nobody ever sees it with other rights. */
static int again_with(char *from, uint64_t old, uint64_t length, int flags, int prot, char *at)
{
	char *aside = mm_mmap(mm_room(length), length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int rc = 0;

	if (aside == MAP_FAILED)
		return -errno;
	if (mm_mremap(from, old, length, flags, aside) == MAP_FAILED || mm_mprotect(aside, length, prot) ||
	    mm_mremap(aside, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED) {
		rc = -errno;
		mm_munmap(aside, length);
	}
	return rc;
}

int map_again(const struct inodax_map *m, char *from, uint64_t length, int has, char *at)
{
	bool moves = m->private && from != client.nothing;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | (moves ? MREMAP_DONTUNMAP : 0);
	uint64_t old = moves ? length : 0;

	if (m->prot != has)
		return again_with(from, old, length, flags, m->prot, at);
	return mm_mremap(from, old, length, flags, at) == MAP_FAILED ? -errno : 0;
}

static int put_spare(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	return map_again(m, m->spare + offset, length, widest(m), m->base + offset);
}

/* The spare comes first: what a program has where it wants the map stays when there is no map. */
int map_place(struct inodax_map *m, const struct place *place)
{
	int rc = find_room(m, place);

	if (rc)
		return rc;
	rc = map_handle(m, m->grant, NULL, &m->spare);
	if (!rc) {
		rc = put_spare(m, 0, m->length);
		if (rc)
			mm_munmap(m->spare, m->length);
	}
	if (rc && !place->fixed)
		mm_munmap(m->base, m->length);
	return rc;
}

/* Unmapping the pool asks nobody; nothing goes where it was, so that the room stays ours. */
int map_withdraw(struct inodax_map *m)
{
	for (size_t i = 0; i < m->pieces.count; i++) {
		const struct piece *at = &m->pieces.piece[i];

		if (is_direct(at) && mm_mmap(m->base + at->offset, at->length, PROT_NONE, MAP_FIXED | MAP_PRIVATE |
					  MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			return -ENOMEM;
	}
	return 0;
}

void map_displace(struct inodax_map *m, bool keep)
{
	if (!keep)
		mm_munmap(m->base, m->length);
	mm_munmap(m->spare, m->length);
}

/* ---- The cached mapping ----------------------------------------------------------------------------------- */

/* The same when mremap() finds that there are too many mappings; this may wait for the daemon, within its bound. */
static int put_handle(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	int fd = desc_fd(&m->grant->handle);

	if (fd < 0)
		return fd;
	if (mm_mmap(m->base + offset, length, m->prot, sharing(m) | MAP_FIXED, fd, (off_t)(m->start + offset)) ==
	    MAP_FAILED)
		return -errno;
	return 0;
}

static int put_cached(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	int rc = put_spare(m, offset, length);

	return rc ? put_handle(m, offset, length) : 0;
}

int map_uncover(struct inodax_map *m, uint64_t offset, uint64_t length, const char *reason)
{
	struct piece cached = { .offset = offset, .length = length, .kind = INODAX_CACHED, .reason = reason };
	int rc = put_cached(m, offset, length);

	return rc ? rc : pieces_set(&m->pieces, &cached);
}

/* All of the range: it leaves fewer mappings than there were, and one piece. What was stored to a private map stays. */
static int cover_all(struct inodax_map *m, const struct piece *cached)
{
	int rc = m->copies ? -ENOMEM : put_cached(m, 0, m->length);

	if (!rc)
		pieces_set_all(&m->pieces, cached);
	return rc;
}

/* Memory that stores may have gone to. */
static bool has_stores(const struct inodax_map *m, const struct piece *at)
{
	return m->copies && (at->kind == INODAX_DIRECT || at->kind == INODAX_ZERO) && !hole_at(m, at);
}

int map_cover(struct inodax_map *m, uint64_t offset, uint64_t length, const char *reason)
{
	struct piece cached = { .kind = INODAX_CACHED, .reason = reason };
	uint64_t end = offset + length, next;
	int rc;

	for (; offset < end; offset = next) {
		const struct piece *at = pieces_at(&m->pieces, offset);

		next = at->offset + at->length < end ? at->offset + at->length : end;
		if (!is_direct(at))
			continue;
		if (has_stores(m, at))
			rc = copy_keep(m, offset, next - offset);
		else
			rc = map_uncover(m, offset, next - offset, reason);
		if (rc)
			return cover_all(m, &cached);
	}
	return 0;
}

/* ---- Another grant ---------------------------------------------------------------------------------------- */

/*
 * The direct mappings go first, with the lock held: after that no revocation has anything to do with the map, and
 * whatever the kernel waits for while the file is mapped anew does not wait for this map. A private map keeps what was
 * stored to it, and the cached mapping where it is, of the old handle.
 */
static int take_all_out(struct inodax_map *m)
{
	struct piece cached = { .kind = INODAX_CACHED, .reason = "not asked for since the grant is another" };
	int rc;

	client_lock();
	hole_wait(m);
	rc = map_cover(m, 0, m->length, cached.reason);
	if (!rc && !m->copies)
		pieces_set_all(&m->pieces, &cached);
	if (!rc)
		m->generation++;
	client_unlock();
	return rc;
}

int map_move(struct inodax_map *m, struct grant *to)
{
	char *before = m->spare, *spare = NULL;
	struct grant *from = m->grant;
	struct area *area;
	int rc = area_new(to, m->start, m->length, &area);

	if (rc)
		return rc;
	rc = take_all_out(m);
	if (!rc)
		rc = map_handle(m, to, NULL, &spare);
	if (rc) {
		area_free(area);
		return rc;
	}
	area_leave(m, area);
	client_lock();
	m->spare = spare;
	m->grant = to;
	list_del(&m->node);
	list_add_tail(&m->node, &to->maps);
	client_unlock();
	if (!m->copies)
		(void)put_spare(m, 0, m->length);	/* else the old handle stays, and what it had */
	mm_munmap(before, m->length);
	grant_put(from);
	return 0;
}
