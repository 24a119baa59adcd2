/*
 * Journal records as bytes: building one, reading one, and walking the longest valid run of a ring. No state;
 * used by transactions, the journal, recovery and the checker.
 */
#ifndef META_RECORD_H
#define META_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "meta/super.h"

/* One patch, decoded. */
struct record_patch {
	uint64_t	 seq;	/* of its record */
	uint64_t	 off;	/* destination, byte offset in the pool */
	uint32_t	 len;
	const void	*data;
};

/* A non-zero return ends the walk and is what the walk returns. */
typedef int (*record_fn)(void *arg, const struct record_patch *patch);

/* record_seed - seed of the crc of the record with sequence `seq`. */
uint32_t record_seed(const struct super *sb, uint64_t seq);

/*
 * record_patch_valid - may a patch change [off, off + len): whole words of one block that records may name.
 */
bool record_patch_valid(const struct super *sb, uint64_t off, uint64_t len);

/* ---- Building ------------------------------------------------------------------------------------------ */

struct record_builder {
	char		*buf;		/* the caller's, RECORD_MAX bytes, aligned for struct disk_record */
	uint32_t	 used, patches;
};

/* record_begin - an empty record in `buf`. */
void record_begin(struct record_builder *b, void *buf);

/*
 * record_add - one more patch; off and len as record_patch_valid() wants them. -EFBIG when it does not fit.
 */
int record_add(struct record_builder *b, uint64_t off, const void *data, uint32_t len);

/* record_end - pad with zeros; the length to commit, a multiple of RECORD_ALIGN. */
uint32_t record_end(struct record_builder *b);

/* record_seal - fill in header and crc of a record of `len` bytes and `patches` patches: it is whole then. */
void record_seal(const struct super *sb, void *record, uint32_t len, uint32_t patches, uint64_t seq,
		 uint64_t pos, uint64_t mount);

/* ---- Reading ------------------------------------------------------------------------------------------- */

/*
 * record_read - copy the record at logical position `pos` out of the ring into `buf` (RECORD_MAX bytes) if it
 * is a valid one with sequence `seq`: magic, crc, own position, sequence, length, and the bounds of all
 * patches. Otherwise false, and `buf` holds anything. Never reads outside the ring, whatever it holds.
 */
bool record_read(const struct region *r, const struct super *sb, uint64_t pos, uint64_t seq, void *buf);

/*
 * record_patches - call `fn` for each patch of a record that is whole: built here, or read by record_read().
 */
int record_patches(const void *record, uint32_t patches, record_fn fn, void *arg);

/* Where a walk came to. */
struct record_run {
	uint64_t	end_pos, end_seq;	/* of the record that would be next */
	uint64_t	records;
};

/*
 * record_walk - call `fn` for each patch of each record of the longest valid run that starts at tail->pos
 * with tail->seq, in order. The first record that is not valid, as above with the sequence one more than that
 * of the record before, ends the run.
 *
 * `fn` may be NULL. A non-zero return of it ends the walk and is returned; the run then ends before the
 * record that was being walked. -ENOMEM. Reads only the ring; what is passed to `fn` is a copy.
 */
int record_walk(const struct region *r, const struct super *sb, const struct tail *tail, record_fn fn,
		void *arg, struct record_run *run);

#endif
