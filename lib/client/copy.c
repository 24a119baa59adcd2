/*
 * Private maps: what was stored to them.
 *
 * The pool is mapped MAP_PRIVATE, and the kernel copies a page when it is stored to, as it does for any file: nobody
 * is asked. Until then the page is the file's, and shows what others store there.
 *
 * What is taken back is another matter. The pages that were copied have to stay and the others have to go, in one step:
 * there is none. So all that is taken back of a map that may be stored to is copied before it goes, as if it had been
 * stored to; a map that never could be gives up everything, and asks again. (A program that wants to see what others do
 * to a file after it was cut or punched maps it for loads, or shared.)
 *
 * Copies are pages of a mapping of the pool still. What makes the kernel drop them and look there would show blocks that
 * are somebody else's now: so madvise(2) is done here (copy_drop), and in the child of a fork, where nobody else runs,
 * they move to memory that is nothing else.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/inodax.h"
#include "client/mm.h"

#ifndef MADV_POPULATE_WRITE	/* Linux 5.14 */
#define MADV_POPULATE_WRITE	23
#endif

#define ENTRIES		256U		/* of the page map, read at once */
#define IS_PRESENT	(3ULL << 62)	/* in memory, or swapped out */
#define IS_FILE		(1ULL << 61)
#define READ_WRITE	(PROT_READ | PROT_WRITE)

static const char taken_back[] = "private; the file's blocks were taken back";
static const char hole_stored[] = "private; stored to where the file had a hole";

/* ---- Copies ------------------------------------------------------------------------------------------------ */

/* Does the piece show the pool, or zeros that need nobody to be told of a store? */
static bool is_plain(const struct inodax_map *m, const struct piece *at)
{
	return (at->kind == INODAX_DIRECT || at->kind == INODAX_ZERO) && !hole_at(m, at);
}

/* What would be in the way of the map's rights is dropped with them; it is inherited from now on. */
int copy_begin(struct inodax_map *m)
{
	if (m->copies)
		return 0;
	if (mm_mprotect(m->spare, m->length, READ_WRITE))
		return -errno;
	for (size_t i = 0; i < m->pieces.count; i++) {
		const struct piece *at = &m->pieces.piece[i];

		if (is_plain(m, at) && mm_madvise(m->base + at->offset, at->length, MADV_DOFORK))
			return -errno;
	}
	m->copies = true;
	return 0;
}

/* Pages that cannot be copied are lost, as they were before. */
static int copy_pages(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	char *at = m->base + offset;

	for (uint64_t done = 0; done < length; done += PAGE) {
		if (!mm_madvise(at + done, PAGE, MADV_POPULATE_WRITE))
			continue;
		if (errno == ENOMEM || errno == EAGAIN)
			return -ENOMEM;
		if (mm_mremap(client.nothing, 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + done) == MAP_FAILED)
			return -errno;
	}
	return 0;
}

/* The rights are wider meanwhile, for whoever does what he may not. */
static int copy_all(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	char *at = m->base + offset;
	int wide = m->prot | READ_WRITE, rc = 0;

	if (m->prot != wide && mm_mprotect(at, length, wide))
		return -errno;
	if (mm_madvise(at, length, MADV_POPULATE_WRITE))
		rc = copy_pages(m, offset, length);
	if (m->prot != wide && mm_mprotect(at, length, m->prot) && !rc)
		rc = -errno;
	return rc;
}

int copy_keep(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	struct piece copy = { .offset = offset, .length = length, .kind = INODAX_COPY, .reason = hole_stored };
	int rc = 0;

	/* Zeros are memory of the process already. */
	if (pieces_at(&m->pieces, offset)->kind == INODAX_DIRECT) {
		copy.reason = taken_back;
		rc = copy_all(m, offset, length);
	}
	return rc ? rc : pieces_set(&m->pieces, &copy);
}

int copy_zeros(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	struct piece copy = { .offset = offset, .length = length, .kind = INODAX_COPY, .reason = hole_stored };
	int rc = pieces_set(&m->pieces, &copy);

	if (!rc && mm_mmap(m->base + offset, length, m->prot, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, 0) == MAP_FAILED)
		rc = -errno;
	return rc;
}

bool copy_fits(const struct inodax_map *m, uint64_t pos, uint64_t end)
{
	const struct piece *at;

	for (; m->copies && pos < end; pos = m->start + at->offset + at->length) {
		at = pieces_at(&m->pieces, pos - m->start);
		if (!hole_at(m, at) && !(m->untouched && (at->kind == INODAX_CACHED || at->kind == INODAX_BEYOND)))
			return false;
	}
	return true;
}

/* ---- Which pages were stored to ----------------------------------------------------------------------------- */

/* A look at the pages of some memory, in order. */
struct look {
	int	 fd;		/* of the page map; -1: there is none, and all counts as stored to */
	uint64_t page, count;	/* that entry[] is about */
	uint64_t entry[ENTRIES];
};

static void look_begin(struct look *l)
{
	l->fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	l->page = 0;
	l->count = 0;
}

static void look_end(struct look *l)
{
	if (l->fd >= 0)
		close(l->fd);
}

static bool is_stored(struct look *l, const char *at)
{
	uint64_t page = (uintptr_t)at / PAGE, entry;
	ssize_t n;

	if (page - l->page >= l->count) {
		n = l->fd < 0 ? -1 : pread(l->fd, l->entry, sizeof(l->entry), (off_t)(page * sizeof(entry)));
		l->page = page;
		l->count = n > 0 ? (uint64_t)n / sizeof(entry) : 0;
		if (!l->count)
			return true;
	}
	entry = l->entry[page - l->page];
	return entry & IS_PRESENT && !(entry & IS_FILE);
}

/* From `offset` on, no further than `end`, all pages are as the first is. */
static uint64_t run_end(struct look *l, const struct inodax_map *m, uint64_t offset, uint64_t end, bool *stored)
{
	*stored = is_stored(l, m->base + offset);
	do
		offset += PAGE;
	while (offset < end && is_stored(l, m->base + offset) == *stored);
	return offset;
}

/* ---- The child of a fork ------------------------------------------------------------------------------------ */

/* To memory of its own. Without memory for that it stays a mapping of the pool. */
static void move_out(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	struct piece copy = { .offset = offset, .length = length, .kind = INODAX_COPY, .reason = hole_stored };
	char *aside = mm_mmap(mm_room(length), length, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = m->base + offset;

	if (aside == MAP_FAILED || (!(m->prot & PROT_READ) && mm_mprotect(at, length, PROT_READ))) {
		copy.reason = taken_back;
	} else {
		memcpy(aside, at, length);
		if (mm_mprotect(aside, length, m->prot) ||
		    mm_mremap(aside, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED) {
			mm_munmap(aside, length);
			copy.reason = taken_back;
		}
	}
	(void)pieces_set(&m->pieces, &copy);
}

static void inherit_piece(struct inodax_map *m, struct look *l, uint64_t offset, uint64_t end)
{
	uint64_t next;
	bool stored;

	for (; offset < end; offset = next) {
		next = run_end(l, m, offset, end, &stored);
		if (stored)
			move_out(m, offset, next - offset);
		else
			(void)map_uncover(m, offset, next - offset, "not asked for since the fork");
	}
}

void copy_inherit(struct inodax_map *m)
{
	uint64_t offset = 0, end;
	struct look l;

	look_begin(&l);
	for (; offset < m->length; offset = end) {
		const struct piece *at = pieces_at(&m->pieces, offset);

		end = at->offset + at->length;
		if (at->kind == INODAX_DIRECT || (at->kind == INODAX_COPY && at->reason == taken_back))
			inherit_piece(m, &l, offset, end);
		else
			(void)map_cover(m, offset, end - offset, "not asked for since the fork");
	}
	look_end(&l);
}

/* ---- Dropped, and moved ------------------------------------------------------------------------------------- */

static int drop_part(struct inodax_map *m, const struct piece *at, uint64_t offset, uint64_t length)
{
	if (hole_at(m, at) || at->kind == INODAX_LOST)
		return 0;
	if (at->kind == INODAX_COPY)
		return hole_ask(m, offset, length);
	return mm_madvise(m->base + offset, length, MADV_DONTNEED) ? -errno : 0;
}

int copy_drop(struct inodax_map *m, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, next;
	int rc = 0;

	client_lock();
	hole_wait(m);
	for (; offset < end && !rc; offset = next) {
		const struct piece *at = pieces_at(&m->pieces, offset);

		next = at->offset + at->length < end ? at->offset + at->length : end;
		rc = drop_part(m, at, offset, next - offset);
	}
	m->generation++;
	client_unlock();
	return rc;
}

/* The piece at `offset`, as of now: may there be copies, and where does it end? */
static bool may_have(struct inodax_map *m, uint64_t offset, uint64_t *end)
{
	const struct piece *at;
	bool may;

	client_lock();
	at = pieces_at(&m->pieces, offset);
	may = !hole_at(m, at) && at->kind != INODAX_LOST;
	if (at->offset + at->length < *end)
		*end = at->offset + at->length;
	client_unlock();
	return may;
}

void copy_carry(struct inodax_map *m, uint64_t offset, uint64_t length, char *to)
{
	uint64_t end = offset + length, next, first = offset;
	struct look l;
	bool stored;

	look_begin(&l);
	for (; offset < end; offset = next) {
		next = end;
		if (!may_have(m, offset, &next))
			continue;
		next = run_end(&l, m, offset, next, &stored);
		if (stored)
			memcpy(to + (offset - first), m->base + offset, next - offset);
	}
	look_end(&l);
}
