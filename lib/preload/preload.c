/*
 * Stands in for mmap(2) and what else changes an address space, in programs that know nothing of inodax: maps of its
 * files become direct ones.
 *
 * Each call is split at the ends of direct maps; what lies between them goes to the kernel as it is. A part of a map
 * that is to be different becomes a map of its own first, as a part of a VMA does in the kernel. What moves is mapped
 * anew where it goes. A range that several threads change at once is theirs to order, as without inodax.
 *
 * What the library cannot do (a cut within a map unit; protection keys) is left to the kernel: the map is detached,
 * which leaves the kernel's own mapping of the file in its place, and then the call goes on as it was meant. That is
 * right always, and slower from there on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "client/mm.h"
#include "inodax.h"
#include "preload/explain.h"
#include "preload/parts.h"

#ifndef MADV_COLLAPSE		/* linux/mman.h has it since 6.1 */
#define MADV_COLLAPSE	25
#endif

/* ---- Making maps ------------------------------------------------------------------------------------------- */

/* Only a regular file of a FUSE mount is asked further: that opens it anew. */
static bool may_be_ours(int fd)
{
	struct statx st;
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == FUSE_SUPER_MAGIC &&
	       !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) && S_ISREG(st.stx_mode);
}

/* Why a map of a file cannot be direct; NULL: it can. But for MAP_SHARED_VALIDATE, what is not known has no effect. */
static const char *why_plain(int prot, int flags)
{
	const int known = MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_TYPE | MAP_FIXED | MAP_FIXED_NOREPLACE |
			  MAP_LOCKED | MAP_STACK | MAP_DENYWRITE | MAP_EXECUTABLE;

	if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
		return "rights that are not known";
	if (flags & MAP_HUGETLB)
		return "MAP_HUGETLB";
	if ((flags & MAP_TYPE) != MAP_SHARED_VALIDATE)
		return NULL;
	if (flags & MAP_SYNC)
		return "MAP_SYNC: a direct map may become a cached one";
	if (flags & ~known)
		return "a flag that is not known";
	return NULL;
}

/* As the kernel does: a shared map is loaded from, and no hole gets blocks; a private one gets its copies. */
static void populate(void *address, const struct wish *w)
{
	bool copies = w->flags & INODAX_MAP_PRIVATE && w->prot & PROT_WRITE;

	(void)mm_madvise(address, w->length, copies ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

/* ---- mmap(2) ----------------------------------------------------------------------------------------------- */

/* INODAX_MAP_... of a map of a file; false: it is none. */
static bool is_file(int prot, int flags, unsigned int *how)
{
	int type = flags & MAP_TYPE;

	*how = (prot & PROT_WRITE ? INODAX_MAP_WRITE : 0) | (type == MAP_PRIVATE ? INODAX_MAP_PRIVATE : 0);
	return !(flags & MAP_ANONYMOUS) && (type == MAP_PRIVATE || type == MAP_SHARED || type == MAP_SHARED_VALIDATE);
}

/* MAP_FAILED: not direct. Why not is explained, where it is a file of inodax. */
static void *map_direct(const struct wish *w, int flags)
{
	const char *why = why_plain(w->prot, flags);
	struct range r;
	int rc = why ? 0 : map_wish(w, &r);

	if (why)
		explain_plain(w->fd, w->offset, w->length, why);
	else if (rc && rc != -EOPNOTSUPP)
		explain_plain(w->fd, w->offset, w->length, client_reason(rc));
	if (why || rc)
		return MAP_FAILED;
	/* To lock it has no effect, as with any DAX mapping. */
	if (flags & (MAP_POPULATE | MAP_LOCKED) && !(flags & MAP_NONBLOCK))
		populate(at(r.start), w);
	return at(r.start);
}

EXPORT void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	bool fixed = flags & MAP_FIXED && !(flags & MAP_FIXED_NOREPLACE), aligned = !((uintptr_t)address & (PAGE - 1));
	struct wish w = {
		.fd = fd, .offset = offset, .length = length, .prot = prot,
		.place = { .at = aligned ? address : NULL, .fixed = fixed, .noreplace = flags & MAP_FIXED_NOREPLACE },
	};
	void *got;

	if (fixed && make_way(address, length))
		return MAP_FAILED;
	if (is_file(prot, flags, &w.flags) && length && may_be_ours(fd) &&
	    (aligned || !(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))) {
		got = map_direct(&w, flags);
		if (got != MAP_FAILED)
			return got;
	}
	return mm_mmap(address, length, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *address, size_t length, int prot, int flags, int fd, off64_t offset)
{
	return mmap(address, length, prot, flags, fd, offset);
}

EXPORT int munmap(void *address, size_t length)
{
	return unmap_all(address, length);
}

/* ---- mprotect(2) ------------------------------------------------------------------------------------------- */

/* Rights that a map has already are no change. */
static int protect(const struct range *r, uintptr_t from, uintptr_t to, int prot)
{
	struct cut c;
	int rc;

	if (prot == r->prot || prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC)) {
		table_put(r);
		return prot == r->prot ? 0 : -EOPNOTSUPP;
	}
	rc = own_part(r, from, to, &c);
	if (!rc) {
		rc = map_protect(c.with[c.part].map, prot);
		if (rc >= 0)
			c.with[c.part].prot = prot;
		if (rc > 0)
			map_settle(c.with[c.part].map);
		else
			map_release(c.with[c.part].map, 0);
	}
	put_back(&c);
	return rc > 0 ? 0 : rc;
}

EXPORT int mprotect(void *address, size_t length, int prot)
{
	return walk(address, length, &(struct parts){
		.direct = protect, .plain = mm_mprotect, .how = prot, .what = "mprotect() of a part of a map unit",
	});
}

static int detached(const struct range *r, uintptr_t from, uintptr_t to, int unused)
{
	(void)from, (void)to, (void)unused;
	table_put(r);
	return -EOPNOTSUPP;
}

static int plain_nothing(void *address, size_t length, int unused)
{
	(void)address, (void)length, (void)unused;
	return 0;
}

EXPORT int pkey_mprotect(void *address, size_t length, int prot, int key)
{
	if (walk(address, length, &(struct parts){
			.direct = detached, .plain = plain_nothing, .what = "pkey_mprotect()" }))
		return -1;
	return mm_pkey_mprotect(address, length, prot, key);
}

/* ---- madvise(2), msync(2) ---------------------------------------------------------------------------------- */

static int inherit(const struct range *r, uintptr_t from, uintptr_t to, bool yes)
{
	struct cut c;
	int rc = own_part(r, from, to, &c);

	if (!rc) {
		map_inherit(c.with[c.part].map, yes);
		map_release(c.with[c.part].map, 0);
	}
	put_back(&c);
	return rc;
}

/* MADV_REMOVE: a hole in the file. */
static int punch(const struct range *r, uintptr_t from, uintptr_t to)
{
	off_t offset = (off_t)(r->map->start + r->map->asked + (from - r->start));
	struct grant *g = NULL;
	int fd = r->prot & PROT_WRITE && !r->map->private ? map_borrow(r->map, &g) : -EACCES, rc = 0;

	if (fd < 0)
		return fd;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)(to - from)))
		rc = -errno;
	map_return(g);
	return rc;
}

/* MADV_DONTNEED: of a shared map the pages are the file's, and are faulted in again. Locked ones stay mapped. */
static int drop(const struct range *r, uintptr_t from, uintptr_t to)
{
	int rc;

	if (!r->map->private) {
		(void)mm_madvise(at(from), to - from, MADV_DONTNEED);
		return 0;
	}
	map_claim(r->map);
	rc = copy_drop(r->map, r->map->asked + (from - r->start), to - from);
	map_release(r->map, 0);
	return rc;
}

/*
 * Hints on what the page cache is to do are for nothing: there is none. What is about page tables is for whatever is
 * mapped. Direct mappings are kept out of children by the library, which makes the child's.
 */
static int advise(const struct range *r, uintptr_t from, uintptr_t to, int advice)
{
	int rc = 0;

	switch (advice) {
	case MADV_DOFORK:
	case MADV_DONTFORK:
		return inherit(r, from, to, advice == MADV_DOFORK);
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_COLD:
	case MADV_PAGEOUT:
		break;
	case MADV_DONTNEED:
		rc = drop(r, from, to);
		break;
	case MADV_REMOVE:
		rc = punch(r, from, to);
		break;
	case MADV_FREE:
	case MADV_COLLAPSE:
		rc = -EINVAL;
		break;
	default:
		rc = mm_madvise(at(from), to - from, advice) ? -errno : 0;
	}
	table_put(r);
	return rc;
}

EXPORT int madvise(void *address, size_t length, int advice)
{
	return walk(address, length, &(struct parts){
		.direct = advise, .plain = mm_madvise, .how = advice, .what = "madvise() of a part of a map unit",
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
