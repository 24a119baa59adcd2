/*
 * The superblock, its backup, and the tail slots: the only objects whose place is known without reading
 * another.
 *
 * Owns their encoding and verification. Everything a reader derives from them (size of the pool, place of the
 * ring, first record to replay) is checked here, once, so that the rest of lib/meta may rely on struct super
 * and struct tail: the ring lies inside the pool, positions and sequences are far from wrapping.
 *
 * Crash safety. The superblock is written by mkfs after all else is durable, and never changes; a torn copy
 * does not verify and the other one stands in. The tail changes all the time: slot `counter` modulo 2 is
 * written, so that the newest durable slot is never touched, and each write is fenced before the next begins.
 * A cut leaves the old slot or the new one; a torn slot does not verify.
 */
#include "meta/super.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "pmem/persist.h"
#include "util/crc32c.h"

#define SUPER_MAX_UNIT_SHIFT	30U			/* 1 GiB: the largest page there is */
#define TAIL_FLAGS_KNOWN	(TAIL_CLEAN | TAIL_FREEMAP)
#define TAIL_LIMIT		(1ULL << 63)		/* counters, positions, sequences stay far below */

static uint32_t seed_offset(uint32_t seed, uint64_t off)
{
	le64 raw = cpu_to_le64(off);

	return crc32c(seed, &raw, sizeof(raw));
}

uint32_t format_seed(const struct super *sb, uint64_t off)
{
	return seed_offset(sb->seed, off);
}

/* ---- Superblock ---------------------------------------------------------------------------------------- */

static bool super_has_magic(const struct disk_super *d)
{
	return memcmp(d->magic, SUPER_MAGIC, sizeof(d->magic)) == 0;
}

static uint32_t super_crc(const struct disk_super *d, uint64_t off)
{
	return crc32c_object(seed_offset(0, off), d, sizeof(*d), offsetof(struct disk_super, crc));
}

/* The copy at `off` says it is one, says it lies there, and its crc holds. */
static bool super_copy_valid(const struct disk_super *d, uint64_t off)
{
	return super_has_magic(d) && le64_to_cpu(d->position) == off &&
	       le32_to_cpu(d->crc) == super_crc(d, off);
}

static void super_decode(const struct disk_super *d, struct super *sb)
{
	memset(sb, 0, sizeof(*sb));
	memcpy(sb->uuid, d->uuid, sizeof(sb->uuid));
	memcpy(sb->label, d->label, LABEL_MAX);
	sb->version = le32_to_cpu(d->version);
	sb->feature_compat = le64_to_cpu(d->feature_compat);
	sb->feature_ro_compat = le64_to_cpu(d->feature_ro_compat);
	sb->feature_incompat = le64_to_cpu(d->feature_incompat);
	sb->blocks = le64_to_cpu(d->blocks);
	sb->unit_shift = le32_to_cpu(d->unit_shift);
	sb->journal_block = le64_to_cpu(d->journal_block);
	sb->journal_blocks = le64_to_cpu(d->journal_blocks);
	sb->created = (int64_t)le64_to_cpu(d->created);
	sb->seed = crc32c(0, sb->uuid, sizeof(sb->uuid));
}

static void super_encode(const struct super *sb, uint64_t off, struct disk_super *d)
{
	memset(d, 0, sizeof(*d));
	memcpy(d->magic, SUPER_MAGIC, sizeof(d->magic));
	memcpy(d->uuid, sb->uuid, sizeof(d->uuid));
	memcpy(d->label, sb->label, LABEL_MAX);
	d->version = cpu_to_le32(sb->version);
	d->feature_compat = cpu_to_le64(sb->feature_compat);
	d->feature_ro_compat = cpu_to_le64(sb->feature_ro_compat);
	d->feature_incompat = cpu_to_le64(sb->feature_incompat);
	d->position = cpu_to_le64(off);
	d->blocks = cpu_to_le64(sb->blocks);
	d->block_shift = cpu_to_le32(BLOCK_SHIFT);
	d->unit_shift = cpu_to_le32(sb->unit_shift);
	d->journal_block = cpu_to_le64(sb->journal_block);
	d->journal_blocks = cpu_to_le64(sb->journal_blocks);
	d->created = cpu_to_le64((uint64_t)sb->created);
	d->crc = cpu_to_le32(super_crc(d, off));
}

/* Neither copy verifies: a file of somebody else, or a pool that is damaged? */
static int super_refuse(const char *path, const struct disk_super *first, const struct disk_super *backup,
			uint64_t backup_off, struct err *err)
{
	char found[3 * sizeof(first->magic) + 1];
	size_t i;

	if (super_has_magic(first) || super_has_magic(backup))
		return err_set(err, -EUCLEAN,
			       "%s: superblock at byte 0 has crc %08x, needed %08x, and the copy at byte %" PRIu64
			       " has crc %08x, needed %08x; restore the pool from a backup", path,
			       le32_to_cpu(first->crc), super_crc(first, 0), backup_off,
			       le32_to_cpu(backup->crc), super_crc(backup, backup_off));
	for (i = 0; i < sizeof(first->magic); i++)
		snprintf(found + 3 * i, 4, "%02x ", first->magic[i]);
	found[sizeof(found) - 2] = 0;
	return err_set(err, -EMEDIUMTYPE,
		       "%s: not an inodax pool: magic found %s, needed \"%s\"; make one with mkfs.inodax", path, found,
		       SUPER_MAGIC);
}

/* What the format allows, whoever wrote it. */
static int super_check_format(const char *path, const struct disk_super *d, const struct super *sb,
			      struct err *err)
{
	if (sb->version != FORMAT_VERSION)
		return err_set(err, -EPROTONOSUPPORT, "%s: format version %u, needed %u; use the version of inodax "
			       "that made the pool", path, sb->version, FORMAT_VERSION);
	if (sb->feature_incompat & ~FEATURE_INCOMPAT_KNOWN)
		return err_set(err, -EPROTONOSUPPORT, "%s: incompatible features %#" PRIx64 ", known are %#llx; use a "
			       "newer version of inodax", path, sb->feature_incompat, FEATURE_INCOMPAT_KNOWN);
	if (le32_to_cpu(d->block_shift) != BLOCK_SHIFT)
		return err_set(err, -EUCLEAN, "%s: superblock has block shift %u, needed %u", path,
			       le32_to_cpu(d->block_shift), BLOCK_SHIFT);
	if (sb->blocks < POOL_MIN_BLOCKS || sb->blocks > POOL_MAX_BLOCKS)
		return err_set(err, -EUCLEAN, "%s: superblock has %" PRIu64 " blocks, needed %u to %llu", path,
			       sb->blocks, POOL_MIN_BLOCKS, POOL_MAX_BLOCKS);
	if (sb->unit_shift < BLOCK_SHIFT || sb->unit_shift > SUPER_MAX_UNIT_SHIFT)
		return err_set(err, -EUCLEAN, "%s: superblock has map unit shift %u, needed %u to %u", path,
			       sb->unit_shift, BLOCK_SHIFT, SUPER_MAX_UNIT_SHIFT);
	if (sb->journal_block != BLOCK_JOURNAL)
		return err_set(err, -EUCLEAN, "%s: superblock has its journal at block %" PRIu64 ", needed %u", path,
			       sb->journal_block, BLOCK_JOURNAL);
	if (sb->journal_blocks < JOURNAL_MIN_BLOCKS || sb->journal_blocks > JOURNAL_MAX_BLOCKS ||
	    sb->journal_blocks > sb->blocks - BLOCK_JOURNAL - 1)
		return err_set(err, -EUCLEAN, "%s: superblock has %" PRIu64 " journal blocks in a pool of %" PRIu64
			       ", needed %u to %u, inside the pool", path, sb->journal_blocks, sb->blocks,
			       JOURNAL_MIN_BLOCKS, JOURNAL_MAX_BLOCKS);
	return 0;
}

/* What this namespace can hold. */
static int super_check_region(const struct region *r, const char *path, const struct super *sb,
			      struct err *err)
{
	if (sb->blocks > r->size >> BLOCK_SHIFT)
		return err_set(err, -ENOSPC, "%s: size %" PRIu64 " bytes, the pool in it needs %" PRIu64
			       "; it was cut short: restore it from a backup", path, r->size,
			       sb->blocks << BLOCK_SHIFT);
	if (1ULL << sb->unit_shift < r->unit)
		return err_set(err, -EINVAL, "%s: map unit of the pool is %llu bytes, the namespace maps no less than %"
			       PRIu64 "; copy the pool to one made with that unit (mkfs.inodax)", path,
			       1ULL << sb->unit_shift, r->unit);
	return 0;
}

int super_read(const struct region *r, const char *path, struct super *sb, struct err *err)
{
	uint64_t backup_off;
	struct disk_super first, backup;
	bool from_backup;
	int ret;

	if (r->size < (uint64_t)POOL_MIN_BLOCKS << BLOCK_SHIFT)
		return err_set(err, -EMEDIUMTYPE, "%s: not an inodax pool: size %" PRIu64 " bytes, a pool has at least "
			       "%u",
			       path, r->size, POOL_MIN_BLOCKS << BLOCK_SHIFT);
	backup_off = ((r->size >> BLOCK_SHIFT) - 1) << BLOCK_SHIFT;
	memcpy(&first, region_at(r, 0), sizeof(first));
	memcpy(&backup, region_at(r, backup_off), sizeof(backup));
	from_backup = !super_copy_valid(&first, 0);
	if (from_backup && !super_copy_valid(&backup, backup_off))
		return super_refuse(path, &first, &backup, backup_off, err);
	super_decode(from_backup ? &backup : &first, sb);
	sb->from_backup = from_backup;
	ret = super_check_format(path, from_backup ? &backup : &first, sb, err);
	return ret ? ret : super_check_region(r, path, sb, err);
}

static void super_store_copy(struct region *r, const struct super *sb, uint64_t off)
{
	struct disk_super d;

	super_encode(sb, off, &d);
	persist_store_nt(r, region_at(r, off), &d, sizeof(d));
	persist_zero_nt(r, region_at(r, off + sizeof(d)), BLOCK_SIZE - sizeof(d));
}

int super_write(struct region *r, const struct super *sb)
{
	super_store_copy(r, sb, (sb->blocks - 1) << BLOCK_SHIFT);
	super_store_copy(r, sb, 0);
	return persist_fence(r, PERSIST_FORMAT);
}

/* ---- Tail slots ---------------------------------------------------------------------------------------- */

static uint64_t tail_offset(uint64_t slot)
{
	return ((uint64_t)BLOCK_TAIL << BLOCK_SHIFT) + slot * TAIL_SLOT_STRIDE;
}

static uint32_t tail_crc(const struct super *sb, const struct disk_tail *d, uint64_t off)
{
	return crc32c_object(format_seed(sb, off), d, sizeof(*d), offsetof(struct disk_tail, crc));
}

/* Fields that the rest of lib/meta computes with. */
static bool tail_sane(const struct super *sb, const struct tail *t)
{
	if (t->counter >= TAIL_LIMIT || t->pos >= TAIL_LIMIT || t->seq >= TAIL_LIMIT ||
	    t->mount >= UINT32_MAX)
		return false;
	if (t->pos % RECORD_ALIGN || t->flags & ~TAIL_FLAGS_KNOWN)
		return false;
	return !(t->flags & TAIL_FREEMAP) || (t->freemap_block < sb->blocks && t->freemap_blocks > 0 &&
					      t->freemap_blocks <= sb->blocks - t->freemap_block);
}

static bool tail_read_slot(const struct region *r, const struct super *sb, unsigned int slot, struct tail *t)
{
	uint64_t off = tail_offset(slot);
	struct disk_tail d;

	memcpy(&d, region_at(r, off), sizeof(d));
	if (le32_to_cpu(d.magic) != TAIL_MAGIC || le32_to_cpu(d.crc) != tail_crc(sb, &d, off))
		return false;
	*t = (struct tail){
		.counter	= le64_to_cpu(d.counter),
		.pos		= le64_to_cpu(d.pos),
		.seq		= le64_to_cpu(d.seq),
		.mount		= le64_to_cpu(d.mount),
		.freemap_block	= le64_to_cpu(d.freemap_block),
		.freemap_blocks	= le32_to_cpu(d.freemap_blocks),
		.flags		= le32_to_cpu(d.flags),
	};
	return t->counter % TAIL_SLOTS == slot && tail_sane(sb, t);
}

int tail_read(const struct region *r, const struct super *sb, struct tail *tail)
{
	struct tail t;
	bool found = false;
	unsigned int slot;

	for (slot = 0; slot < TAIL_SLOTS; slot++) {
		if (!tail_read_slot(r, sb, slot, &t) || (found && t.counter <= tail->counter))
			continue;
		*tail = t;
		found = true;
	}
	return found ? 0 : -EUCLEAN;
}

int tail_write(struct region *r, const struct super *sb, struct tail *tail)
{
	uint64_t counter = tail->counter + 1;
	uint64_t off = tail_offset(counter % TAIL_SLOTS);
	struct disk_tail d = {
		.magic		= cpu_to_le32(TAIL_MAGIC),
		.counter	= cpu_to_le64(counter),
		.pos		= cpu_to_le64(tail->pos),
		.seq		= cpu_to_le64(tail->seq),
		.mount		= cpu_to_le64(tail->mount),
		.freemap_block	= cpu_to_le64(tail->freemap_block),
		.freemap_blocks	= cpu_to_le32(tail->freemap_blocks),
		.flags		= cpu_to_le32(tail->flags),
	};
	int err;

	d.crc = cpu_to_le32(tail_crc(sb, &d, off));
	persist_store(r, region_at(r, off), &d, sizeof(d));
	persist_flush(r, region_at(r, off), sizeof(d));
	err = persist_fence(r, PERSIST_TAIL);
	if (!err)
		tail->counter = counter;
	return err;
}
