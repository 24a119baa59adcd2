/*
 * Journal records as bytes: building one, reading one, and the walk along the longest valid run.
 *
 * Owns the validity rule. A record counts if its header is one, says the position and the sequence that the
 * run has come to, its length is sane, its crc - seeded with the pool's uuid and the sequence - holds over
 * all of it, and its patches tile its body and lie where patches may. The crc makes a torn record invalid.
 * Position and sequence make a record invalid that is whole but of another time: of an earlier lap (other
 * position), or left behind by an earlier life of the pool beyond a record that was lost (other sequence, see
 * meta/recover.c).
 *
 * A record may wrap around the ring's end and the ring may hold anything at all, so a record is copied out
 * before any of it is believed: what was checked is what is used, and it lies in one piece. Lengths are
 * compared with what is left before they are added to anything.
 *
 * What a transaction builds here it builds by the same rule (record_patch_valid), since a record that
 * committed and then is refused by recovery would take all later ones with it.
 */
#include "meta/record.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "meta/pool.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define WORD	8U		/* patches are made of these: the most that media never tears */

uint32_t record_seed(const struct super *sb, uint64_t seq)
{
	le64 raw = cpu_to_le64(seq);

	return crc32c(sb->seed, &raw, sizeof(raw));
}

static uint32_t record_crc(const struct super *sb, const void *record, uint32_t len, uint64_t seq)
{
	return crc32c_object(record_seed(sb, seq), record, len, offsetof(struct disk_record, crc));
}

bool record_patch_valid(const struct super *sb, uint64_t off, uint64_t len)
{
	uint64_t block = off >> BLOCK_SHIFT;

	if (off % WORD || len % WORD || len == 0 || len > BLOCK_SIZE - off % BLOCK_SIZE)
		return false;
	return block == BLOCK_ITABLE_INODE || pool_blocks_valid(sb, block, 1);
}

/* ---- Building ------------------------------------------------------------------------------------------ */

void record_begin(struct record_builder *b, void *buf)
{
	*b = (struct record_builder){ .buf = buf, .used = sizeof(struct disk_record) };
}

int record_add(struct record_builder *b, uint64_t off, const void *data, uint32_t len)
{
	struct disk_patch *p = (void *)(b->buf + b->used);

	if (len > RECORD_MAX - sizeof(*p) || b->used > RECORD_MAX - sizeof(*p) - len)
		return -EFBIG;
	*p = (struct disk_patch){ .off = cpu_to_le64(off), .len = cpu_to_le32(len) };
	memcpy(p + 1, data, len);
	b->used += (uint32_t)sizeof(*p) + len;
	b->patches++;
	return 0;
}

uint32_t record_end(struct record_builder *b)
{
	uint32_t len = (b->used + RECORD_ALIGN - 1) & ~(RECORD_ALIGN - 1U);

	memset(b->buf + b->used, 0, len - b->used);
	return len;
}

void record_seal(const struct super *sb, void *record, uint32_t len, uint32_t patches, uint64_t seq,
		 uint64_t pos, uint64_t mount)
{
	struct disk_record *d = record;

	*d = (struct disk_record){
		.magic		= cpu_to_le32(RECORD_MAGIC),
		.seq		= cpu_to_le64(seq),
		.pos		= cpu_to_le64(pos),
		.mount		= cpu_to_le64(mount),
		.len		= cpu_to_le32(len),
		.patches	= cpu_to_le32(patches),
	};
	d->crc = cpu_to_le32(record_crc(sb, d, len, seq));
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

/* len <= RECORD_MAX, which is less than any ring. */
static void ring_read(const struct region *r, const struct super *sb, uint64_t pos, void *buf, size_t len)
{
	uint64_t size = sb->journal_blocks << BLOCK_SHIFT, at = pos % size;
	const char *ring = region_at(r, sb->journal_block << BLOCK_SHIFT);
	size_t first = len < size - at ? len : size - at;

	memcpy(buf, ring + at, first);
	memcpy((char *)buf + first, ring, len - first);
}

static bool header_valid(const struct disk_record *d, uint64_t pos, uint64_t seq)
{
	uint32_t len = le32_to_cpu(d->len);

	if (le32_to_cpu(d->magic) != RECORD_MAGIC)
		return false;
	if ((le64_to_cpu(d->pos) != pos || le64_to_cpu(d->seq) != seq) && !fault(FAULT_REPLAY_TAIL_CHECK))
		return false;
	return len > sizeof(*d) && len <= RECORD_MAX && len % RECORD_ALIGN == 0;
}

/* The patches tile the body; what is left, less than RECORD_ALIGN bytes, is padding. */
static bool patches_valid(const struct super *sb, const struct disk_record *d)
{
	const char *at = (const char *)(d + 1);
	uint32_t left = le32_to_cpu(d->len) - (uint32_t)sizeof(*d), patches = le32_to_cpu(d->patches), i;

	for (i = 0; i < patches; i++) {
		const struct disk_patch *p = (const void *)at;
		uint32_t len;

		if (left < sizeof(*p))
			return false;
		len = le32_to_cpu(p->len);
		if (len > left - sizeof(*p) || !record_patch_valid(sb, le64_to_cpu(p->off), len))
			return false;
		at += sizeof(*p) + len;
		left -= (uint32_t)sizeof(*p) + len;
	}
	return patches > 0 && left < RECORD_ALIGN;
}

bool record_read(const struct region *r, const struct super *sb, uint64_t pos, uint64_t seq, void *buf)
{
	const struct disk_record *d = buf;
	uint32_t len;

	ring_read(r, sb, pos, buf, sizeof(*d));
	if (!header_valid(d, pos, seq))
		return false;
	len = le32_to_cpu(d->len);
	ring_read(r, sb, pos + sizeof(*d), (char *)buf + sizeof(*d), len - sizeof(*d));
	if (record_crc(sb, buf, len, le64_to_cpu(d->seq)) != le32_to_cpu(d->crc) && !fault(FAULT_TORN_RECORD))
		return false;
	return patches_valid(sb, d);
}

int record_patches(const void *record, uint32_t patches, record_fn fn, void *arg)
{
	const struct disk_record *d = record;
	const char *at = (const char *)(d + 1);
	uint32_t i;

	for (i = 0; i < patches; i++) {
		const struct disk_patch *p = (const void *)at;
		struct record_patch patch = {
			.seq	= le64_to_cpu(d->seq),
			.off	= le64_to_cpu(p->off),
			.len	= le32_to_cpu(p->len),
			.data	= p + 1,
		};
		int rc = fn(arg, &patch);

		if (rc)
			return rc;
		at += sizeof(*p) + patch.len;
	}
	return 0;
}

int record_walk(const struct region *r, const struct super *sb, const struct tail *tail, record_fn fn,
		void *arg, struct record_run *run)
{
	uint64_t left = sb->journal_blocks << BLOCK_SHIFT;
	struct disk_record *d = malloc(RECORD_MAX);
	int rc = 0;

	if (!d)
		return -ENOMEM;
	*run = (struct record_run){ .end_pos = tail->pos, .end_seq = tail->seq };
	while (record_read(r, sb, run->end_pos, run->end_seq, d) && le32_to_cpu(d->len) <= left) {
		if (fn)
			rc = record_patches(d, le32_to_cpu(d->patches), fn, arg);
		if (rc)
			break;
		run->end_pos += le32_to_cpu(d->len);
		run->end_seq = le64_to_cpu(d->seq) + 1;
		run->records++;
		left -= le32_to_cpu(d->len);
	}
	free(d);
	return rc;
}
