/*
 * Parts of direct maps: what the calls of preload.c and remap.c are made of.
 *
 * Each call is split at the ends of direct maps; what lies between them goes to the kernel as it is. A part of a map
 * that is to be different becomes a map of its own first, as a part of a VMA does in the kernel.
 */
#ifndef PRELOAD_PARTS_H
#define PRELOAD_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/client.h"
#include "preload/table.h"

#define EXPORT	__attribute__((visibility("default")))

/* Another thread was faster: the range is looked for again. */
#define AGAIN	(-EAGAIN)

static inline void *at(uintptr_t address)
{
	return (void *)address;	/* NOLINT: addresses are what this is about */
}

static inline uintptr_t end_of(uintptr_t start, size_t length)
{
	return (start + length + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
}

/* A program's call is over [from, to), rounded as the kernel does; false: over nothing, or nothing it would take. */
bool span(const void *address, size_t length, uintptr_t *from, uintptr_t *to);

/* fail - -1, and errno from a negative one. */
int fail(int rc);

/* What is to be mapped, as mmap(2) is told. `flags`: INODAX_MAP_... */
struct wish {
	int		fd;
	off_t		offset;
	size_t		length;
	int		prot;
	unsigned int	flags;
	struct place	place;
};

/* map_wish - a map in the table, in nobody's use. Errors of map_open(). */
int map_wish(const struct wish *w, struct range *r);

/* A range that the caller owns, cut: `part` is what he wants, and n ranges are in its place, in order. 0: not owned. */
struct cut {
	struct range	whole, with[TABLE_PARTS];
	unsigned int	n, part;
};

/*
 * own_part - own a range that the caller uses, and cut it so that [from, to) is a part; that is claimed, unless the
 * result is an error: AGAIN, -EOPNOTSUPP (not between units), -ENOMEM. put_back - also then: it goes back into the
 * table as it has been cut.
 */
int own_part(const struct range *r, uintptr_t from, uintptr_t to, struct cut *c);
void put_back(const struct cut *c);

/* detach - the kernel's own mapping in place of a range that the caller uses, and does not after. AGAIN, -ENOMEM. */
int detach(const struct range *r, const char *reason);

/*
 * What a call does with the parts of its range. direct: with [from, to), of a direct map that it uses, and does not
 * after; 0 or a negative errno, AGAIN. plain: the kernel's call, for what lies between direct maps, and for what the
 * library cannot do (-EOPNOTSUPP): that is detached. Both are told `how`.
 */
struct parts {
	int		(*direct)(const struct range *r, uintptr_t from, uintptr_t to, int how);
	int		(*plain)(void *address, size_t length, int how);
	int		how;
	const char	*what;		/* the call, for who wants to know why something was detached */
};

/* walk - from the lowest address on, up to the first part that fails, as the kernel does. 0; or -1 and errno. */
int walk(void *address, size_t length, const struct parts *p);

/* unmap_all - munmap(2). make_way - something is about to be mapped there: until then the kernel's own mapping is. */
int unmap_all(void *address, size_t length);
int make_way(void *address, size_t length);

#endif
