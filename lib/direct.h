/*
 * Direct mappings: what a client and the daemon say to each other. The daemon's side is lib/fs/direct*.c, the client's
 * lib/client.
 *
 * A grant is one open of a file (a FUSE handle) by one process, with the map units of the file that it maps:
 *
 *	OPEN	on a descriptor of the file: the grant gets a number and a secret token, and belongs to that handle.
 *		It ends when the kernel releases the handle, and with it every reference it has.
 *	START	after the client opened the pool by itself, for writing, and locked byte DIRECT_LOCK_BASE + number of it
 *		(F_OFD_SETLK, F_WRLCK): nobody without that right can. The lock and the handle are kept by mappings
 *		(of the pool; of the file: the guard page), so both last as long as anything is mapped, in whatever
 *		process.
 *	MAP	a range of the file becomes an area of the grant. Nothing is mapped yet.
 *	FAULT	the next units of an area: where they lie in the pool. From the answer on they are referenced, once,
 *		however often they are asked for: an answer may be thrown away, and asked for again. In an area for
 *		stores holes get blocks by it; with DIRECT_LOAD they stay, and are said to be zeros.
 *	UNMAP	the client has unmapped them.
 *	PIN	the units of a range stay where they are, mapped or not, until
 *	UNPIN	or the end of the grant.
 *
 * All but OPEN may come through any descriptor of the mount, and name the grant by number and token.
 *
 * A grant is of one address space, which answers for it: a client keeps what it maps of the pool out of its children
 * (MADV_DONTFORK).
 *
 * Revocation goes through a page of the grant (struct direct_page), a file of its own that the client may write: the
 * daemon writes a record, counts `posted` up and wakes the futex; the client takes the range out of its address space
 * and counts `done` up to it; until then the record stays as it is, and when there is no room for another, `all` says
 * so before `posted` does. A client that does not within the mount's bound is not waited for; its references stay. The
 * client must be able to do that whatever the daemon is doing: mmap(2) of the file waits for locked and dirty pages of
 * it, and so for the daemon; mremap(2) of no bytes of a mapping that is there does not. What an answer to FAULT gave is
 * void when a revocation of the area was posted before the client mapped it: it looks at `posted` after the answer,
 * with a lock held that its revocations take too.
 *
 * All numbers are in host byte order; offsets and lengths are bytes, multiples of the map unit but for the end of a
 * range, which may be anything in MAP. Structures have no holes. Neither side trusts what the other writes.
 */
#ifndef DIRECT_H
#define DIRECT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define DIRECT_VERSION		1U
#define DIRECT_LOCK_BASE	((1ULL << 62) + 2)	/* see pmem/region_lock.c for the bytes before */
#define DIRECT_NUMBER_MAX	(1ULL << 60)		/* numbers of grants are below, and not 0 */
#define DIRECT_PATH		4096U

/* Names a grant. */
struct direct_name {
	uint64_t	number;
	uint8_t		token[16];
};

struct direct_open {
	uint32_t		version;	/* in: DIRECT_VERSION; out: the daemon's */
	uint32_t		flags;		/* in: 0 */
	struct direct_name	name;		/* from here on: out */
	uint64_t		pool_dev;	/* the pool: st_dev and st_ino of a file, st_rdev and 0 of a device */
	uint64_t		pool_ino;
	uint64_t		pool_bytes;
	uint32_t		unit_shift;	/* the map unit */
	uint32_t		sync;		/* 1: MAP_SYNC may be promised */
	char			pool[DIRECT_PATH];	/* where the daemon found the pool; terminated */
	char			page[DIRECT_PATH];	/* file of the grant's page */
};

struct direct_start {
	struct direct_name	name;
};

#define DIRECT_WRITE	(1U << 0)	/* MAP: stores too */
/*
 * MAP: the client asks for a hole when it is stored to, and no sooner: there is no limit to the holes of the area. It
 * has zeros where FAULT with DIRECT_LOAD said so, until they are revoked, or FAULT of this area without that flag was
 * asked for the place: there may be blocks then, whatever the answer, and also if it is void.
 */
#define DIRECT_SPARSE	(1U << 1)

struct direct_map {
	struct direct_name	name;
	uint64_t		offset, length;
	uint32_t		flags;
	uint32_t		area;		/* out */
};

/* Types of extents. */
#define DIRECT_POOL	0U		/* `addr` is the byte of the pool */
#define DIRECT_ZERO	1U		/* a hole, for loads only: zeros, until revoked or asked for to store there */
#define DIRECT_POISON	2U		/* lost: SIGBUS */

struct direct_extent {
	uint64_t	offset;		/* in the file */
	uint64_t	length;
	uint64_t	addr;		/* in the pool */
	uint32_t	type;		/* DIRECT_POOL, ... */
	uint32_t	shift;		/* log2 bytes of each page-table entry that it is accounted as */
};

/* Why FAULT stopped before the end of what it was asked. */
#define DIRECT_MORE	0U		/* it did not, or this was enough at once: ask again from `next` */
#define DIRECT_EOF	1U		/* `next` is beyond the end of the file: SIGBUS */
#define DIRECT_NOSPC	2U		/* no room for what `next` needs: SIGBUS */
#define DIRECT_AGAIN	3U		/* a revocation is on its way: answer it, then ask again */
#define DIRECT_CACHED	4U		/* the page cache is in use, or has to be: map the file, ask again later */

#define DIRECT_LOAD	(1U << 0)	/* FAULT, in an area that is DIRECT_SPARSE: as a load, which fills no hole */

/*
 * FAULT: what lies in pieces is moved together first where it can be, 2 MiB at a time: the client has many mappings
 * already, and there is a limit to them.
 */
#define DIRECT_DENSE	(1U << 1)

#define DIRECT_EXTENTS	500U		/* keep the structure below what an ioctl can carry: 16383 bytes */

struct direct_fault {
	struct direct_name	name;
	uint64_t		offset, length;	/* in the file, within the area */
	uint64_t		address;	/* where `offset` is going to be mapped */
	uint32_t		area;
	uint32_t		stop;		/* out: DIRECT_MORE, ... */
	uint64_t		next;		/* out: first byte that was not answered */
	uint32_t		count;		/* out: extents */
	uint32_t		flags;		/* DIRECT_LOAD, DIRECT_DENSE */
	/* out: in the order of the file, without gaps from `offset` to `next` */
	struct direct_extent	extent[DIRECT_EXTENTS];
};

struct direct_unmap {
	struct direct_name	name;
	uint64_t		offset, length;	/* in the file; the whole of the area: the area is gone */
	uint32_t		area;
	uint32_t		reserved;
};

struct direct_pin {
	struct direct_name	name;
	uint64_t		offset, length;	/* in the file */
	uint32_t		flags;		/* DIRECT_WRITE: they will be stored to; holes are filled */
	uint32_t		pin;		/* out: its number in the grant */
	uint64_t		addr;		/* out: in the pool, of the first unit */
};

struct direct_unpin {
	struct direct_name	name;
	uint32_t		pin;
	uint32_t		reserved;
};

#define DIRECT_IOC_OPEN		_IOWR('x', 0x40, struct direct_open)
#define DIRECT_IOC_START	_IOW('x', 0x41, struct direct_start)
#define DIRECT_IOC_MAP		_IOWR('x', 0x42, struct direct_map)
#define DIRECT_IOC_FAULT	_IOWR('x', 0x43, struct direct_fault)
#define DIRECT_IOC_UNMAP	_IOW('x', 0x44, struct direct_unmap)
#define DIRECT_IOC_PIN		_IOWR('x', 0x45, struct direct_pin)
#define DIRECT_IOC_UNPIN	_IOW('x', 0x46, struct direct_unpin)

/*
 * Errors, of all: -ENOTTY the daemon gives no direct mappings (also: another filesystem). -EINVAL a field out of range.
 * -EACCES no such grant, or not its token; START: the byte of the pool is not locked. -EPROTO another version.
 * OPEN: -EBUSY the handle has a grant, it has one in its life; -EOPNOTSUPP not with this file (its use is cached, or no
 * regular file) or mount. MAP: -EFBIG more blocks would have to be allocated than the mount allows at once; -ENOSPC
 * areas; -EBADF writable, of a handle that was not opened for writing. -EROFS, -ENOMEM, -EIO as anywhere. PIN: as MAP,
 * and -EAGAIN not now (a revocation is on its way); -EOPNOTSUPP others use the page cache, or the mount has the
 * kernel's rule against pins that last; -ENXIO beyond the end of the file; -ENODATA a hole, without DIRECT_WRITE. OPEN
 * may be tried again on the same handle after -EOPNOTSUPP and -ENOMEM, and all others after -ENOMEM.
 */

/* ---- The page of a grant ----------------------------------------------------------------------------------- */

#define DIRECT_PAGE_BYTES	4096U
#define DIRECT_PAGE_MAGIC	0x67647869U	/* "ixdg" */
#define DIRECT_REVOKES		64U

#define DIRECT_REVOKE_COWS	(1U << 0)	/* private copies go too: the file ends before them */
#define DIRECT_REVOKE_ZEROS	(1U << 1)	/* what was no block: it has blocks now, or the file has grown */

struct direct_revoke {
	uint64_t	offset, length;	/* in the file; within the area */
	uint32_t	area;
	uint32_t	flags;
};

struct direct_page {
	/* The daemon's; a client only reads. */
	uint32_t		magic, version;
	_Atomic uint32_t	posted;		/* revocations so far, modulo 2^32. Futex of the client */
	_Atomic uint32_t	all;		/* up to this one all areas are revoked whole, whatever records say */
	uint32_t		reserved0[12];
	/* The client's; the daemon only reads. */
	_Atomic uint32_t	done;		/* revocations it has answered. Futex of the daemon */
	uint32_t		reserved1[15];
	/* The daemon's: revocation number n (the first is 1) is at n modulo DIRECT_REVOKES. */
	struct direct_revoke	revoke[DIRECT_REVOKES];
};

_Static_assert(sizeof(struct direct_fault) < 16384, "an ioctl carries no more");
_Static_assert(sizeof(struct direct_page) <= DIRECT_PAGE_BYTES, "one page");
_Static_assert(offsetof(struct direct_page, done) == 64, "a cache line of its own");

#endif
