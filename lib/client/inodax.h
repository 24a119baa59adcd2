/*
 * libinodax: the public C API of inodax.
 *
 * Link with -linodax (pkg-config inodax). Functions return 0 or a negative errno; none sets errno. All are
 * thread-safe unless they say otherwise.
 */
#ifndef INODAX_H
#define INODAX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* inodax_version - version of the library, "MAJOR.MINOR.PATCH"; static. */
const char *inodax_version(void);

/* What a pool says of itself, without mounting it. */
struct inodax_pool_info {
	uint32_t size;			/* in: sizeof(struct inodax_pool_info); out: bytes filled in */
	uint32_t format_version;
	uint8_t	 uuid[16];
	char	 label[40];		/* terminated */
	uint64_t bytes;			/* size of the pool */
	uint64_t map_unit;		/* smallest size the namespace can map, bytes */
	uint64_t journal_bytes;
	uint64_t mounts;		/* writable mounts so far */
	int64_t	 created;		/* seconds since the epoch */
	uint32_t clean;			/* 1: unmounted cleanly */
	uint32_t backup_super;		/* 1: the first superblock is damaged, the backup was used */
	int64_t	 holder;		/* pid of the daemon that has it mounted; 0: none; -1: not visible */
	char	 kind[16];		/* "device-dax", "fsdax", "volatile", "page-cached" */
};

/*
 * inodax_pool_info - read the description of the pool at `path`. Opens read-only, takes no lock; a mounted
 * pool may be asked. `message` (may be NULL) gets one line on failure: object, value found, value needed.
 */
int inodax_pool_info(const char *path, struct inodax_pool_info *info, char *message, size_t message_size);

/*
 * ---- Direct mappings ------------------------------------------------------------------------------------------
 *
 * A map is a range of a file of a mounted pool in the address space of the process. Where it can be, the pool itself
 * is mapped: loads and stores reach the memory of the file with nothing in between. Elsewhere the file is mapped as
 * mmap(2) does it, through the page cache: slower, and as right. A piece may go from one to the other at any time
 * (somebody truncates the file, or uses it through the page cache); contents are what they should be throughout, and a
 * load or store beyond the end of the file raises SIGBUS.
 *
 * Direct access needs the right to write the pool. The library has threads of its own, all signals blocked, from the
 * first map on. fork(2) works: parent and child both have all maps, in the child through the page cache until it calls
 * a function below. Not so clone(2) alone and _Fork(3): what is direct is not mapped in such a child. Handlers of
 * pthread_atfork(3) touch no map. Memory of a map
 * is unmapped with inodax_unmap() and not otherwise changed: no munmap, mremap, mprotect, madvise, MAP_FIXED.
 *
 * None of these functions may be called from a signal handler or between vfork(2) and exec.
 */
struct inodax_map;

#define INODAX_MAP_WRITE	(1U << 0)	/* loads and stores; else loads only */
#define INODAX_MAP_PRIVATE	(1U << 2)	/* stores are the process's own, as with MAP_PRIVATE */
#define INODAX_MAP_REQUIRE	(1U << 1)	/* fail where some of the range inside the file is not direct */

/*
 * inodax_map - map [offset, offset + length) of the regular file that `fd` is open on. `offset`: bytes, a multiple of
 * 4096. `fd`: open for reading, and for writing too with INODAX_MAP_WRITE; the library opens the file anew, the caller
 * may close it at once. A hole of a map for writing gets blocks where it is stored to; a store for which there is no
 * space raises SIGBUS.
 *
 * With INODAX_MAP_PRIVATE a page is the file's until it is stored to, and a copy from then on, which nobody else sees
 * and fork(2) inherits; `fd` need not be open for writing. Where blocks are taken back inside the file (punch, the page
 * cache) a map with INODAX_MAP_WRITE keeps all of what was there as copies, and sees no more of the file there.
 *
 * Without a userfaultfd that sees stores of the kernel too (Linux 5.14; CAP_SYS_PTRACE,
 * vm.unprivileged_userfaultfd=1 or the right to open /dev/userfaultfd) holes get their blocks here, and a map of more
 * than the mount allows is not direct. *out is the caller's until inodax_unmap().
 *
 * -EINVAL: a flag that is not known, an offset that is no multiple, an empty range or one that ends beyond what a file
 * can have. -EBADF, -EACCES: `fd` is not open, or not as the flags want. -EOPNOTSUPP: the file is not regular, not on
 * inodax, or cannot be mapped shared here; or, with INODAX_MAP_REQUIRE, some of it is not direct. -ENOMEM: memory,
 * address space or mappings; -EAGAIN: threads. Others as of open(2).
 */
int inodax_map(int fd, uint64_t offset, size_t length, unsigned int flags, struct inodax_map **out);

/* inodax_map_address - where byte `offset` of the file is mapped; constant as long as the map. */
void *inodax_map_address(const struct inodax_map *map);

/* inodax_unmap - unmap and free `map`, which no other thread uses any more. Always 0. Stores are kept. */
int inodax_unmap(struct inodax_map *map);

/*
 * inodax_sync - make stores to [offset, offset + length) of the map durable, as fsync(2) does; they are on return.
 * More than was asked for may become durable. -EINVAL: not within the map; -EIO, -ENOSPC and others as of fsync(2).
 */
int inodax_sync(struct inodax_map *map, size_t offset, size_t length);

/* What a piece is. */
#define INODAX_DIRECT	1U	/* the pool itself */
#define INODAX_ZERO	2U	/* a hole: zeros, and blocks where it is stored to */
#define INODAX_CACHED	3U	/* through the page cache; `reason` says why */
#define INODAX_BEYOND	4U	/* past the end of the file: SIGBUS */
#define INODAX_LOST	5U	/* the media failed, or a store got no blocks; `reason` says which: SIGBUS */
#define INODAX_ASKED	6U	/* taken back: whoever touches it waits until it is known what is there now */
#define INODAX_COPY	7U	/* of a private map: the process's own; `reason` says since when */

struct inodax_query {
	uint32_t size;			/* in: sizeof(struct inodax_query); out: bytes filled in */
	uint32_t kind;			/* INODAX_DIRECT, ... */
	uint64_t offset, length;	/* the piece, bytes, in the file; what of it is in the map */
	uint32_t page_shift;		/* log2 of the size it is accounted with; 0: not direct */
	char	 reason[108];		/* terminated; "" when there is nothing to say */
};

/*
 * inodax_query - the piece of the map that byte `offset` of the map is in, as of now. Never waits for the daemon.
 * -EINVAL: not within the map, or query->size is too small.
 */
int inodax_query(struct inodax_map *map, size_t offset, struct inodax_query *query);

/*
 * ---- Pins ------------------------------------------------------------------------------------------------------
 *
 * What is given to a device, or to the kernel for longer than a call (buffers registered with io_uring), is used
 * without a look at page tables, and after munmap. A pin keeps the blocks of a range where they are: through
 * inodax_unmap, close, unlink and all else, until inodax_unpin() or until nobody has the pin's handle. Who would take
 * them from the file (truncate, punch) waits, until then or until a signal comes. A pin is of this process; a child of
 * a fork has none.
 */
struct inodax_pin;

/*
 * inodax_pin - pin [offset, offset + length) of the map, bytes, widened to whole map units. Holes are allocated where
 * the map is for stores. *out is the caller's until inodax_unpin(). Waits for revocations elsewhere, for five seconds
 * at most.
 *
 * -EINVAL: not within the map. -EOPNOTSUPP: the map is private; others use the file through the page cache now, or the
 * mount has layout=kernel, where pins that last are refused as the kernel does. -ENODATA: a hole, in a map for loads.
 * -ENXIO: beyond the end of the file. -EAGAIN: not in five seconds. -EBADF: the library's descriptor of the file was
 * closed. -ENOSPC, -EFBIG, -EIO, -ENOMEM; others as of open(2).
 */
int inodax_pin(struct inodax_map *map, size_t offset, size_t length, struct inodax_pin **out);

/*
 * inodax_pin_fd - the handle of the pin, the library's. Whatever keeps it open (registered with an io_uring, sent to
 * another process) keeps the pin when the process is gone without inodax_unpin(). -EBADF: somebody closed it; the pin
 * is there nevertheless. -ECHILD: the pin is the parent's.
 */
int inodax_pin_fd(const struct inodax_pin *pin);

/* inodax_unpin - let go, whoever has the handle, and free `pin`. Always 0. */
int inodax_unpin(struct inodax_pin *pin);

#ifdef __cplusplus
}
#endif
#endif
