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

#ifdef __cplusplus
}
#endif
#endif
