/*
 * Stands in for mmap(2) and what else changes an address space, in programs that know nothing of inodax: shared maps of
 * its files become direct ones.
 *
 * What a program may do with a map and the library cannot (unmap a part of it, move it, give it other rights) is left
 * to the kernel: the map is detached first, which leaves the kernel's own mapping of the file in its place, and then
 * the call goes on as it was meant. That is right always, and slower from there on.
 *
 * Each call is split at the ends of direct maps; what lies between them goes to the kernel as it is. A range that
 * several threads change at once is theirs to order, as without inodax.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "client/client.h"
#include "client/mm.h"
#include "inodax.h"
#include "preload/explain.h"
#include "preload/table.h"

#define EXPORT	__attribute__((visibility("default")))

/* A program's call is over [from, to), rounded as the kernel does; false: over nothing, or nothing it would take. */
static bool span(const void *at, size_t length, uintptr_t *from, uintptr_t *to)
{
	*from = (uintptr_t)at;
	if (*from & (PAGE - 1) || !length || length > UINTPTR_MAX - PAGE - *from)
		return false;
	*to = (*from + length + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
	return true;
}

static int fail(int rc)
{
	errno = -rc;
	return -1;
}

static void *at(uintptr_t address)
{
	return (void *)address;	/* NOLINT: addresses are what this file is about */
}

/* ---- Making maps ------------------------------------------------------------------------------------------- */

/* Only a regular file of a FUSE mount is asked further: that opens it anew. */
static bool may_be_ours(int fd)
{
	struct statx st;
	struct statfs fs;

	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) && S_ISREG(st.stx_mode) &&
	       !fstatfs(fd, &fs) && fs.f_type == FUSE_SUPER_MAGIC;
}

/* Why a shared map of a file cannot be direct; NULL: it can. */
static const char *why_plain(int prot, int flags)
{
	const int known = MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_TYPE;

	if (prot & ~(PROT_READ | PROT_WRITE))
		return "PROT_EXEC, or other rights that loads and stores do not need";
	if (!prot)
		return "PROT_NONE";
	if (flags & MAP_SYNC)
		return "MAP_SYNC: a direct map may become a cached one";
	if (flags & MAP_LOCKED)
		return "MAP_LOCKED";
	if (flags & ~known)
		return "MAP_FIXED or another flag that says where";
	return NULL;
}

static void populate(void *address, size_t length, int prot)
{
	(void)mm_madvise(address, length, prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

/* MAP_FAILED: not direct. Why not is explained, where it is a file of inodax. */
static void *map_direct(size_t length, int prot, int flags, int fd, off_t offset)
{
	struct inodax_map *map;
	struct range r;
	int rc = inodax_map(fd, (uint64_t)offset, length, prot & PROT_WRITE ? INODAX_MAP_WRITE : 0, &map);

	if (!rc) {
		r.map = map;
		r.prot = prot;
		r.start = (uintptr_t)inodax_map_address(map);
		r.end = (r.start + length + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
		rc = table_insert(&r);
		if (rc)
			inodax_unmap(map);
	}
	if (rc) {
		if (rc != -EOPNOTSUPP)
			explain_plain(fd, offset, length, client_reason(rc));
		return MAP_FAILED;
	}
	explain_map(fd, offset, length, map);
	if (flags & MAP_POPULATE && !(flags & MAP_NONBLOCK))
		populate(at(r.start), length, prot);
	return at(r.start);
}

/* ---- Giving them up ---------------------------------------------------------------------------------------- */

/* The caller uses the range, and does not after. 0 also when another thread is doing away with it. */
static int detach(const struct range *r, const char *reason)
{
	struct range back = *r;
	int rc = 0;

	if (!table_take(r))
		return 0;
	explain_detached(r->map, r->end - r->start, reason);
	rc = map_detach(r->map);
	/* Without memory for that either, it is mapped to the end of the process. */
	if (rc)
		(void)table_insert(&back);
	return rc;
}

static int detach_all(uintptr_t from, uintptr_t to, const char *reason)
{
	struct range r;
	int rc = 0;

	while (!rc && table_next(from, to, &r))
		rc = detach(&r, reason);
	return rc;
}

/* ---- Taking a call apart ----------------------------------------------------------------------------------- */

/*
 * What a call does with the parts of its range. direct: with [from, to), of a direct map that it uses, and does not
 * after; 0 or a negative errno. Or DETACH, and uses it still: that is for the kernel's own mapping. plain: the kernel's
 * call, for that and for what lies between direct maps. Both are told `how`.
 */
struct parts {
	int		(*direct)(const struct range *r, uintptr_t from, uintptr_t to, int how);
	int		(*plain)(void *address, size_t length, int how);
	int		how;
	const char	*reason;	/* of DETACH */
};

#define DETACH	1

/* From the lowest address on, up to the first part that fails, as the kernel does. 0; or -1 and errno. */
static int walk(void *address, size_t length, const struct parts *p)
{
	uintptr_t pos, to, from, end;
	struct range r;
	int rc;

	if (!span(address, length, &pos, &to))
		return p->plain(address, length, p->how);
	for (; pos < to && table_next(pos, to, &r); pos = end) {
		from = r.start > pos ? r.start : pos;
		end = r.end < to ? r.end : to;
		if (from > pos && p->plain(at(pos), from - pos, p->how)) {
			table_put(&r);
			return -1;
		}
		rc = p->direct(&r, from, end, p->how);
		if (rc == DETACH) {
			rc = detach(&r, p->reason);
			if (!rc && p->plain(at(from), end - from, p->how))
				return -1;
		}
		if (rc)
			return fail(rc);
	}
	return pos < to ? p->plain(at(pos), to - pos, p->how) : 0;
}

/* ---- The calls --------------------------------------------------------------------------------------------- */

EXPORT void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	bool shared = (flags & MAP_TYPE) == MAP_SHARED || (flags & MAP_TYPE) == MAP_SHARED_VALIDATE;
	uintptr_t from, to;
	const char *why;
	void *got;
	int rc;

	if (flags & MAP_FIXED && span(address, length, &from, &to)) {
		rc = detach_all(from, to, "MAP_FIXED over it");
		if (rc) {
			errno = -rc;
			return MAP_FAILED;
		}
	}
	if (shared && !(flags & MAP_ANONYMOUS) && length && may_be_ours(fd)) {
		why = why_plain(prot, flags);
		got = why ? MAP_FAILED : map_direct(length, prot, flags, fd, offset);
		if (got != MAP_FAILED)
			return got;
		if (why)
			explain_plain(fd, offset, length, why);
	}
	return mm_mmap(address, length, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *address, size_t length, int prot, int flags, int fd, off64_t offset)
{
	return mmap(address, length, prot, flags, fd, offset);
}

static int unmap(const struct range *r, uintptr_t from, uintptr_t to, int unused)
{
	(void)unused;
	if (r->start < from || r->end > to)
		return DETACH;
	if (table_take(r))
		inodax_unmap(r->map);
	return 0;
}

static int unmap_plain(void *address, size_t length, int unused)
{
	(void)unused;
	return mm_munmap(address, length);
}

EXPORT int munmap(void *address, size_t length)
{
	return walk(address, length, &(struct parts){
		.direct = unmap, .plain = unmap_plain, .reason = "a part of it is unmapped",
	});
}

EXPORT void *mremap(void *address, size_t old_length, size_t length, int flags, ...)
{
	uintptr_t from, to;
	void *target = NULL;
	va_list args;
	int rc = 0;

	va_start(args, flags);
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		target = va_arg(args, void *);
	va_end(args);
	/* No bytes: another mapping of the page that is there. */
	if (span(address, old_length ? old_length : 1, &from, &to))
		rc = detach_all(from, to, "mremap()");
	if (!rc && flags & MREMAP_FIXED && span(target, length, &from, &to))
		rc = detach_all(from, to, "mremap() over it");
	if (rc) {
		errno = -rc;
		return MAP_FAILED;
	}
	return mm_mremap(address, old_length, length, flags, target);
}

/* Rights that a map has already are no change. */
static int protect(const struct range *r, uintptr_t from, uintptr_t to, int prot)
{
	(void)from;
	(void)to;
	if (prot != r->prot)
		return DETACH;
	table_put(r);
	return 0;
}

EXPORT int mprotect(void *address, size_t length, int prot)
{
	return walk(address, length, &(struct parts){
		.direct = protect, .plain = mm_mprotect, .how = prot, .reason = "mprotect()",
	});
}

EXPORT int pkey_mprotect(void *address, size_t length, int prot, int key)
{
	uintptr_t from, to;
	int rc = span(address, length, &from, &to) ? detach_all(from, to, "pkey_mprotect()") : 0;

	return rc ? fail(rc) : mm_pkey_mprotect(address, length, prot, key);
}

/* Hints on what the page cache is to do: there is none. Contents of a shared map do not change by any of them. */
static bool is_hint(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_COLD:
	case MADV_PAGEOUT:
		return true;
	}
	return false;
}

/* What only makes page tables is for whatever is mapped. All else is about the kernel's own mapping. */
static int advise(const struct range *r, uintptr_t from, uintptr_t to, int advice)
{
	int rc = 0;

	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		rc = mm_madvise(at(from), to - from, advice) ? -errno : 0;
	else if (!is_hint(advice))
		return DETACH;
	table_put(r);
	return rc;
}

EXPORT int madvise(void *address, size_t length, int advice)
{
	return walk(address, length, &(struct parts){
		.direct = advise, .plain = mm_madvise, .how = advice, .reason = "madvise()",
	});
}

static int sync_to(const struct range *r, uintptr_t from, uintptr_t to, int flags)
{
	int rc = flags & MS_SYNC ? inodax_sync(r->map, from - r->start, 0) : 0;

	(void)to;
	table_put(r);
	return rc;
}

EXPORT int msync(void *address, size_t length, int flags)
{
	/* Of no bytes: whether the kernel takes the flags. */
	if (mm_msync(address, 0, flags))
		return -1;
	return walk(address, length, &(struct parts){ .direct = sync_to, .plain = mm_msync, .how = flags });
}
