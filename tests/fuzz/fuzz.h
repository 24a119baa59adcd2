/*
 * Damaged images: what the parts of the fuzzer share.
 *
 * fuzz_pool.c makes the images and knows where their objects lie, fuzz_use.c uses a mounted pool, fuzz_image.c damages
 * images and goes round.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "fs/fs.h"
#include "meta/super.h"

#define FUZZ_BLOCKS	POOL_MIN_BLOCKS
#define FUZZ_BYTES	((uint64_t)FUZZ_BLOCKS * BLOCK_SIZE)

/* A sequence of random numbers; the same for the same start. */
struct fuzz_random {
	uint64_t	state;
};

uint64_t fuzz_next(struct fuzz_random *rnd);

static inline uint64_t fuzz_below(struct fuzz_random *rnd, uint64_t n)
{
	return fuzz_next(rnd) % n;
}

static inline bool fuzz_one_in(struct fuzz_random *rnd, uint64_t n)
{
	return fuzz_below(rnd, n) == 0;
}

enum fuzz_kind {
	FUZZ_SUPER, FUZZ_TAIL, FUZZ_INODE, FUZZ_NODE, FUZZ_DIR, FUZZ_XATTR, FUZZ_FREEMAP, FUZZ_RECORD,
	FUZZ_KINDS
};

/* An object with a seal of its own. */
struct fuzz_object {
	uint64_t	off;
	uint32_t	len;
	enum fuzz_kind	kind;
};

#define FUZZ_OBJECTS	4096U

struct fuzz_image {
	char			*bytes;		/* FUZZ_BYTES */
	struct super		 super;
	struct fuzz_object	 object[FUZZ_OBJECTS];
	unsigned int		 objects;
	unsigned int		 first[FUZZ_KINDS + 1];	/* objects are in order of their kinds */
};

/*
 * fuzz_make_images - a pool with one of everything: `clean` after an unmount, `killed` while mounted, with records to
 * replay. Ends the program when that fails.
 */
void fuzz_make_images(struct fuzz_image *clean, struct fuzz_image *killed);

/* fuzz_seal - make the crc of an object in `bytes` right, as far as its own length fields allow. */
void fuzz_seal(const struct fuzz_image *image, char *bytes, const struct fuzz_object *o);

/*
 * fuzz_use - walk all of a mounted pool, a bounded number of steps, reading everything; with `change` also change it
 * here and there. No result is looked at: anything may fail.
 */
void fuzz_use(struct fs *fs, struct fuzz_random *rnd, bool change);

#endif
