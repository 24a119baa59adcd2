/*
 * Stands in for mremap(2): what moves or grows is mapped anew where it goes, and unmapped where it was. Both are the
 * file's memory, so nothing is copied but what was stored to a private map, and who looks at either sees the same.
 */
#include <errno.h>
#include <stdarg.h>

#include "client/mm.h"
#include "inodax.h"
#include "preload/parts.h"

struct remap {
	uintptr_t	from;
	size_t		old_length, length;	/* whole pages; old_length 0: another map of the same */
	int		flags;
	void		*target;
};

static int check_remap(const struct remap *m)
{
	uintptr_t target = (uintptr_t)m->target;

	if (m->flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) || !m->length)
		return -EINVAL;
	if (m->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) && !(m->flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if (m->flags & MREMAP_DONTUNMAP && m->length != m->old_length)
		return -EINVAL;
	if (!m->old_length && !(m->flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if (m->flags & MREMAP_FIXED && (target & (PAGE - 1) || (target < m->from + m->old_length &&
								m->from < target + m->length)))
		return -EINVAL;
	return 0;
}

static uint64_t offset_of(const struct range *r)
{
	return r->map->start + r->map->asked;
}

/* Where what the kernel has as one VMA ends: maps that follow each other in memory and in the file, and are alike. */
static uintptr_t end_of_vma(const struct range *r, uintptr_t needed)
{
	uintptr_t end = r->end;
	struct range next;
	bool goes_on = true;

	while (goes_on && end < needed && table_next(end, end + 1, &next)) {
		goes_on = next.start == end && next.prot == r->prot && map_same_file(r->map, next.map) &&
			  offset_of(&next) == offset_of(r) + (end - r->start);
		if (goes_on)
			end = next.end;
		table_put(&next);
	}
	return end;
}

/* The map of [m->from, + length), of the file that `r` is of, somewhere. -EBADF: its handle is gone. */
static int map_other(const struct range *r, const struct remap *m, uint64_t skip, int prot, const struct place *place,
		     uintptr_t *to)
{
	struct grant *g = NULL;
	struct wish w = {
		.fd = map_borrow(r->map, &g), .length = m->length - skip, .prot = prot, .place = *place,
		.flags = (r->map->write ? INODAX_MAP_WRITE : 0) | (r->map->private ? INODAX_MAP_PRIVATE : 0),
		.offset = (off_t)(offset_of(r) + (m->from - r->start) + skip),
	};
	struct range made;
	int rc;

	if (w.fd < 0)
		return w.fd;
	rc = map_wish(&w, &made);
	map_return(g);
	if (!rc)
		*to = made.start;
	return rc;
}

/* Behind the map, if there is room; else -EEXIST. */
static int grow(const struct range *r, uintptr_t end, const struct remap *m)
{
	struct place behind = { .at = at(end), .noreplace = true };
	uintptr_t to;

	return m->from + m->old_length == end ? map_other(r, m, m->old_length, r->prot, &behind, &to) : -EEXIST;
}

/* The range is used by the caller. What it becomes; 0 and *to, or -errno. Nothing of the old one is unmapped yet. */
static int remap(const struct range *r, const struct remap *m, uintptr_t *to)
{
	struct place place = { .at = m->flags & MREMAP_FIXED ? m->target : NULL, .fixed = m->flags & MREMAP_FIXED };
	bool stays = !(m->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && m->old_length;
	uintptr_t end = end_of_vma(r, m->from + m->old_length);
	int rc = -EEXIST;

	*to = m->from;
	if (r->map->private && !m->old_length)
		return -EINVAL;
	if (m->old_length > end - m->from)
		return -EFAULT;
	if (stays && m->length <= m->old_length)
		return 0;
	if (stays)
		rc = grow(r, end, m);
	if (rc != -EEXIST)
		return rc;
	if (!(m->flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	/* What was stored to a private map is to be stored there, too. */
	return map_other(r, m, 0, r->map->copies ? r->prot | PROT_READ | PROT_WRITE : r->prot, &place, to);
}

/* What the program stored moves along. Its rights are wider there until then. */
static int carry(const struct remap *m, int prot, uintptr_t to)
{
	size_t length = m->old_length < m->length ? m->old_length : m->length;
	uintptr_t pos = m->from, end = pos + length, next;
	bool closed = !(prot & PROT_READ);
	struct range r;

	if (closed && mprotect(at(pos), length, prot | PROT_READ))
		return -errno;
	for (; pos < end && table_next(pos, end, &r); pos = next) {
		pos = r.start > pos ? r.start : pos;
		next = r.end < end ? r.end : end;
		map_claim(r.map);
		copy_carry(r.map, r.map->asked + (pos - r.start), next - pos, at(to + (pos - m->from)));
		map_release(r.map, 0);
		table_put(&r);
	}
	if (m->flags & MREMAP_DONTUNMAP &&
	    (madvise(at(m->from), length, MADV_DONTNEED) || (closed && mprotect(at(m->from), length, prot))))
		return -errno;
	return mprotect(at(to), m->length, prot) ? -errno : 0;
}

/* What moved is not where it was, and what was cut off is not there. */
static int unmap_old(const struct remap *m, uintptr_t to)
{
	size_t kept = to == m->from && m->length < m->old_length ? m->length : 0;

	if (m->flags & MREMAP_DONTUNMAP || !m->old_length || (to == m->from && !kept))
		return 0;
	return unmap_all(at(m->from + kept), m->old_length - kept);
}

static void *remap_plain(const struct remap *m)
{
	uintptr_t from, to;
	struct range r;

	/* What is not one direct map is the kernel's: of several it makes one, or says so. */
	if (span(at(m->from), m->old_length ? m->old_length : 1, &from, &to))
		while (table_next(from, to, &r))
			if (detach(&r, "mremap() of more than one map, or without its handle") == -ENOMEM) {
				errno = ENOMEM;
				return MAP_FAILED;
			}
	return mm_mremap(at(m->from), m->old_length, m->length, m->flags, m->target);
}

EXPORT void *mremap(void *address, size_t old_length, size_t length, int flags, ...)
{
	struct remap m = {
		.from = (uintptr_t)address, .old_length = end_of(0, old_length), .length = end_of(0, length),
		.flags = flags,
	};
	uintptr_t to = 0;
	struct range r;
	va_list args;
	bool copies;
	int rc;

	va_start(args, flags);
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		m.target = va_arg(args, void *);
	va_end(args);
	if (m.from & (PAGE - 1) || check_remap(&m))
		return mm_mremap(address, old_length, length, flags, m.target);	/* which says what is wrong */
	if (flags & MREMAP_FIXED && make_way(m.target, m.length))
		return MAP_FAILED;
	if (!table_next(m.from, m.from + 1, &r))
		return remap_plain(&m);
	rc = remap(&r, &m, &to);
	copies = r.map->copies;
	table_put(&r);
	if (!rc && copies && to != m.from)
		rc = carry(&m, r.prot, to);
	if (rc == -EFAULT || rc == -EBADF || rc == -EOPNOTSUPP)
		return remap_plain(&m);
	if (!rc && unmap_old(&m, to))
		rc = -errno;
	if (rc) {
		errno = -rc;
		return MAP_FAILED;
	}
	return at(to);
}

/* It makes other mappings of the pool than the library knows. */
EXPORT int remap_file_pages(void *address, size_t length, int prot, size_t page, int flags)
{
	uintptr_t from, to;
	struct range r;

	if (span(address, length, &from, &to))
		while (table_next(from, to, &r))
			if (detach(&r, "remap_file_pages()") == -ENOMEM)
				return fail(-ENOMEM);
	return (int)syscall(SYS_remap_file_pages, address, length, prot, page, flags);
}
