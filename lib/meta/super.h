/*
 * The superblock and the tail slots: reading, verifying and writing both copies of the one and both slots of
 * the other.
 */
#ifndef META_SUPER_H
#define META_SUPER_H

#include <stdbool.h>
#include <stdint.h>

#include "format.h"
#include "pmem/region.h"
#include "util/err.h"

/* The superblock in core. Constant after super_read(). */
struct super {
	uint8_t		uuid[16];
	char		label[LABEL_MAX + 1];
	uint32_t	version;
	uint64_t	feature_compat, feature_ro_compat, feature_incompat;
	uint64_t	blocks;
	uint32_t	unit_shift;
	uint64_t	journal_block, journal_blocks;
	int64_t		created;
	uint32_t	seed;		/* crc32c of the uuid: start of every object's seed */
	bool		from_backup;	/* the first copy did not verify */
};

/* A tail slot in core. */
struct tail {
	uint64_t	counter, pos, seq, mount;
	uint64_t	freemap_block;
	uint32_t	freemap_blocks;
	uint32_t	flags;		/* TAIL_* */
};

/* format_seed - seed of the crc of the object at byte `off` of the pool. */
uint32_t format_seed(const struct super *sb, uint64_t off);

/*
 * super_read - verify and decode the superblock, or its backup when the first does not verify (from_backup).
 *
 * Errors, each with one line in `err` naming `path`, what was found and what is needed: -EMEDIUMTYPE not a
 * pool at all, -EUCLEAN both copies damaged, -EPROTONOSUPPORT newer version or unknown incompat feature,
 * -ENOSPC the file is smaller than the pool it says it holds, -EINVAL map unit smaller than the namespace's.
 */
int super_read(const struct region *r, const char *path, struct super *sb, struct err *err);

/* super_write - write both copies and fence (PERSIST_FORMAT): mkfs, when all else is durable. */
int super_write(struct region *r, const struct super *sb);

/* tail_read - the newest valid slot. -EUCLEAN when neither verifies. */
int tail_read(const struct region *r, const struct super *sb, struct tail *tail);

/* tail_write - counter + 1 into the other slot; flushed and fenced (PERSIST_TAIL). Caller serialises. */
int tail_write(struct region *r, const struct super *sb, struct tail *tail);

#endif
