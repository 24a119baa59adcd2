/*
 * Making a filesystem: the fixed areas, the first chunk of the inode table, the root directory.
 *
 * An older superblock is wiped first and the new one is written last, so that a pool is never half of one and half
 * of another: cut before the end, the region holds no pool at all.
 */
#include "fs/fs_private.h"

#include <string.h>

#include "meta/super.h"
#include "util/crc32c.h"

#define ITABLE_FIRST_BLOCKS	16U

static uint64_t default_journal_blocks(uint64_t blocks)
{
	uint64_t n = blocks / 64;

	return n < JOURNAL_MIN_BLOCKS ? JOURNAL_MIN_BLOCKS : n > JOURNAL_MAX_BLOCKS ? JOURNAL_MAX_BLOCKS : n;
}

static int check_geometry(const struct region *r, const struct super *sb, struct err *err)
{
	uint64_t unit = 1ULL << sb->unit_shift;

	if (sb->blocks < POOL_MIN_BLOCKS)
		return err_set(err, -EINVAL, "pool of %llu bytes is too small: at least %u bytes are needed",
			       (unsigned long long)r->size, POOL_MIN_BLOCKS * BLOCK_SIZE);
	if (sb->blocks > POOL_MAX_BLOCKS)
		return err_set(err, -EFBIG, "pool of %llu blocks is too large: at most %llu are possible",
			       (unsigned long long)sb->blocks, (unsigned long long)POOL_MAX_BLOCKS);
	if (sb->journal_blocks < JOURNAL_MIN_BLOCKS || sb->journal_blocks > sb->blocks / 2)
		return err_set(err, -EINVAL, "journal of %llu blocks: %u to %llu are possible in this pool",
			       (unsigned long long)sb->journal_blocks, JOURNAL_MIN_BLOCKS,
			       (unsigned long long)sb->blocks / 2);
	if (unit < r->unit || sb->unit_shift > 30)
		return err_set(err, -EINVAL, "map unit of %llu bytes: %llu to %u are possible here",
			       (unsigned long long)unit, (unsigned long long)r->unit, 1U << 30);
	return 0;
}

static void inode_write(struct region *r, const struct super *sb, uint64_t off, uint64_t ino,
			const struct inode_core *core)
{
	struct disk_inode d;

	inode_encode(&d, ino, core, format_seed(sb, off));
	persist_store_nt(r, region_at(r, off), &d, sizeof(d));
}

/* The inode of the inode table, with its first blocks; returns the first of them. */
static uint64_t write_itable(struct region *r, const struct super *sb)
{
	struct inode_core core = { .mode = S_IFREG | 0600, .nlink = 1, .format = INODE_FORMAT_EXTENTS };
	uint64_t first = sb->journal_block + sb->journal_blocks;
	struct extent e = { .file_block = 0, .block = first, .count = ITABLE_FIRST_BLOCKS };

	core.size = ITABLE_FIRST_BLOCKS * BLOCK_SIZE;
	core.blocks = ITABLE_FIRST_BLOCKS;
	core.atime = core.mtime = core.ctime = core.btime = inode_now();
	core.extent[0] = extent_pack(&e);
	core.count = 1;
	persist_zero_nt(r, region_at(r, first << BLOCK_SHIFT), ITABLE_FIRST_BLOCKS << BLOCK_SHIFT);
	inode_write(r, sb, (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT, INO_ITABLE, &core);
	return first;
}

static void write_root(struct region *r, const struct super *sb, uint64_t itable, const struct fs_format *format)
{
	struct inode_core core = { .nlink = 2, .format = INODE_FORMAT_EXTENTS, .rdev = INO_ROOT };

	core.mode = S_IFDIR | (format->root_mode ? format->root_mode & 07777 : 0755);
	core.uid = format->root_uid;
	core.gid = format->root_gid;
	core.atime = core.mtime = core.ctime = core.btime = inode_now();
	inode_write(r, sb, (itable << BLOCK_SHIFT) + INO_ROOT * INODE_SIZE, INO_ROOT, &core);
}

int fs_format(struct region *r, const struct fs_format *format, struct err *err)
{
	struct super sb = { .version = FORMAT_VERSION, .blocks = r->size >> BLOCK_SHIFT };
	struct tail tail = { .seq = 1, .flags = TAIL_CLEAN };
	uint64_t last, itable;
	int rc;

	memcpy(sb.uuid, format->uuid, sizeof(sb.uuid));
	if (format->label)
		strncpy(sb.label, format->label, LABEL_MAX);
	sb.seed = crc32c(0, sb.uuid, sizeof(sb.uuid));
	sb.unit_shift = format->unit_shift ? format->unit_shift : (uint32_t)__builtin_ctzll(r->unit);
	sb.journal_block = BLOCK_JOURNAL;
	sb.journal_blocks = format->journal_blocks ? format->journal_blocks : default_journal_blocks(sb.blocks);
	sb.created = inode_now().tv_sec;
	rc = check_geometry(r, &sb, err);
	if (rc)
		return rc;

	last = (sb.blocks - 1) << BLOCK_SHIFT;
	/* The ring as well: a pool made again with the same uuid would use the same sequences again. */
	persist_zero_nt(r, region_at(r, 0), (sb.journal_block + sb.journal_blocks) << BLOCK_SHIFT);
	persist_zero_nt(r, region_at(r, last), BLOCK_SIZE);
	rc = persist_fence(r, PERSIST_FORMAT);
	if (rc)
		return err_set_errno(err, rc, "cannot wipe the old superblock");
	itable = write_itable(r, &sb);
	write_root(r, &sb, itable, format);
	rc = persist_fence(r, PERSIST_FORMAT);
	if (!rc)
		rc = tail_write(r, &sb, &tail);
	if (!rc)
		rc = super_write(r, &sb);
	return rc ? err_set_errno(err, rc, "cannot write the pool") : 0;
}
