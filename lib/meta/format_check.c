/*
 * The media format, pinned: every size and every offset of format.h as numbers, so that changing the media by
 * accident does not compile. Owns nothing and produces no code.
 *
 * A field is named here with its offset and size. That none was forgotten, and that there is no padding
 * between two, is what tests/format_table.c and doc/format.md are held against; a field added in the middle
 * moves the ones after it and fails here. Whoever changes a number here changes the format: FORMAT_VERSION or
 * a feature bit goes with it.
 */
#include <stddef.h>

#include "format.h"

#define SIZE(type, size) \
	_Static_assert(sizeof(type) == (size), "size of " #type)
#define OFFSET(type, field, offset) \
	_Static_assert(offsetof(type, field) == (offset), "offset of " #type "." #field)
#define FIELD(type, field, offset, size) \
	OFFSET(type, field, offset); \
	_Static_assert(sizeof(((type *)NULL)->field) == (size), "size of " #type "." #field)

SIZE(struct disk_super, 512);
FIELD(struct disk_super, magic, 0, 8);
FIELD(struct disk_super, crc, 8, 4);
FIELD(struct disk_super, version, 12, 4);
FIELD(struct disk_super, uuid, 16, 16);
FIELD(struct disk_super, label, 32, 32);
FIELD(struct disk_super, feature_compat, 64, 8);
FIELD(struct disk_super, feature_ro_compat, 72, 8);
FIELD(struct disk_super, feature_incompat, 80, 8);
FIELD(struct disk_super, position, 88, 8);
FIELD(struct disk_super, blocks, 96, 8);
FIELD(struct disk_super, block_shift, 104, 4);
FIELD(struct disk_super, unit_shift, 108, 4);
FIELD(struct disk_super, journal_block, 112, 8);
FIELD(struct disk_super, journal_blocks, 120, 8);
FIELD(struct disk_super, created, 128, 8);
FIELD(struct disk_super, reserved, 136, 376);

SIZE(struct disk_tail, 64);
FIELD(struct disk_tail, magic, 0, 4);
FIELD(struct disk_tail, crc, 4, 4);
FIELD(struct disk_tail, counter, 8, 8);
FIELD(struct disk_tail, pos, 16, 8);
FIELD(struct disk_tail, seq, 24, 8);
FIELD(struct disk_tail, mount, 32, 8);
FIELD(struct disk_tail, freemap_block, 40, 8);
FIELD(struct disk_tail, freemap_blocks, 48, 4);
FIELD(struct disk_tail, flags, 52, 4);
FIELD(struct disk_tail, pad, 56, 8);

SIZE(struct disk_record, 64);
FIELD(struct disk_record, magic, 0, 4);
FIELD(struct disk_record, crc, 4, 4);
FIELD(struct disk_record, seq, 8, 8);
FIELD(struct disk_record, pos, 16, 8);
FIELD(struct disk_record, mount, 24, 8);
FIELD(struct disk_record, len, 32, 4);
FIELD(struct disk_record, patches, 36, 4);
FIELD(struct disk_record, reserved, 40, 24);

SIZE(struct disk_patch, 16);
FIELD(struct disk_patch, off, 0, 8);
FIELD(struct disk_patch, len, 8, 4);
FIELD(struct disk_patch, pad, 12, 4);

SIZE(struct disk_extent, 16);
FIELD(struct disk_extent, lo, 0, 8);
FIELD(struct disk_extent, hi, 8, 8);

SIZE(struct disk_extent_index, 16);
FIELD(struct disk_extent_index, key, 0, 8);
FIELD(struct disk_extent_index, child, 8, 8);

SIZE(struct disk_extent_node, 4096);
FIELD(struct disk_extent_node, magic, 0, 4);
FIELD(struct disk_extent_node, crc, 4, 4);
FIELD(struct disk_extent_node, owner, 8, 8);
FIELD(struct disk_extent_node, generation, 16, 8);
FIELD(struct disk_extent_node, level, 24, 2);
FIELD(struct disk_extent_node, count, 26, 2);
FIELD(struct disk_extent_node, reserved, 28, 36);
FIELD(struct disk_extent_node, extent, 64, 4032);
FIELD(struct disk_extent_node, index, 64, 4032);

SIZE(struct disk_inode, 256);
FIELD(struct disk_inode, magic, 0, 4);
FIELD(struct disk_inode, crc, 4, 4);
FIELD(struct disk_inode, ino, 8, 8);
FIELD(struct disk_inode, generation, 16, 8);
FIELD(struct disk_inode, mode, 24, 4);
FIELD(struct disk_inode, nlink, 28, 4);
FIELD(struct disk_inode, uid, 32, 4);
FIELD(struct disk_inode, gid, 36, 4);
FIELD(struct disk_inode, size, 40, 8);
FIELD(struct disk_inode, blocks, 48, 8);
FIELD(struct disk_inode, atime, 56, 8);
FIELD(struct disk_inode, mtime, 64, 8);
FIELD(struct disk_inode, ctime, 72, 8);
FIELD(struct disk_inode, btime, 80, 8);
FIELD(struct disk_inode, atime_nsec, 88, 4);
FIELD(struct disk_inode, mtime_nsec, 92, 4);
FIELD(struct disk_inode, ctime_nsec, 96, 4);
FIELD(struct disk_inode, btime_nsec, 100, 4);
FIELD(struct disk_inode, flags, 104, 4);
FIELD(struct disk_inode, projid, 108, 4);
FIELD(struct disk_inode, rdev, 112, 8);
FIELD(struct disk_inode, xattr_block, 120, 8);
FIELD(struct disk_inode, xattr_blocks, 128, 4);
FIELD(struct disk_inode, format, 132, 1);
FIELD(struct disk_inode, depth, 133, 1);
FIELD(struct disk_inode, count, 134, 2);
FIELD(struct disk_inode, reserved, 136, 24);
FIELD(struct disk_inode, extent, 160, 96);
FIELD(struct disk_inode, index, 160, 96);
FIELD(struct disk_inode, target, 160, 96);

SIZE(struct disk_dir_block, 4096);
FIELD(struct disk_dir_block, magic, 0, 4);
FIELD(struct disk_dir_block, crc, 4, 4);
FIELD(struct disk_dir_block, owner, 8, 8);
FIELD(struct disk_dir_block, generation, 16, 8);
FIELD(struct disk_dir_block, index, 24, 8);
FIELD(struct disk_dir_block, entries, 32, 4064);

SIZE(struct disk_dirent, 16);
FIELD(struct disk_dirent, ino, 0, 8);
FIELD(struct disk_dirent, rec_len, 8, 2);
FIELD(struct disk_dirent, name_len, 10, 1);
FIELD(struct disk_dirent, type, 11, 1);
OFFSET(struct disk_dirent, name, 12);

SIZE(struct disk_xattr_run, 32);
FIELD(struct disk_xattr_run, magic, 0, 4);
FIELD(struct disk_xattr_run, crc, 4, 4);
FIELD(struct disk_xattr_run, owner, 8, 8);
FIELD(struct disk_xattr_run, generation, 16, 8);
FIELD(struct disk_xattr_run, used, 24, 4);
FIELD(struct disk_xattr_run, count, 28, 4);

SIZE(struct disk_xattr, 8);
FIELD(struct disk_xattr, ns, 0, 1);
FIELD(struct disk_xattr, name_len, 1, 1);
FIELD(struct disk_xattr, pad, 2, 2);
FIELD(struct disk_xattr, value_len, 4, 4);

SIZE(struct disk_freemap, 32);
FIELD(struct disk_freemap, magic, 0, 4);
FIELD(struct disk_freemap, crc, 4, 4);
FIELD(struct disk_freemap, mount, 8, 8);
FIELD(struct disk_freemap, blocks, 16, 8);
FIELD(struct disk_freemap, inodes, 24, 8);

/* What the numbers above must agree with. */
_Static_assert(BLOCK_SIZE == 4096, "a block");
_Static_assert(sizeof(struct disk_inode) == INODE_SIZE && BLOCK_SIZE % INODE_SIZE == 0, "inodes fill blocks");
_Static_assert(sizeof(((struct disk_inode *)NULL)->target) == INODE_AREA_SIZE, "the inode's area");
_Static_assert(sizeof(struct disk_extent_node) == BLOCK_SIZE, "a node fills a block");
_Static_assert(sizeof(struct disk_dir_block) == BLOCK_SIZE, "entries fill a block");
_Static_assert(offsetof(struct disk_dirent, name) == DIRENT_HEADER, "header of an entry");
_Static_assert(DIRENT_LEN(NAME_MAX_LEN) <= sizeof(((struct disk_dir_block *)NULL)->entries), "a name fits a block");
_Static_assert(sizeof(struct disk_record) == RECORD_ALIGN, "the smallest record is larger than its header");
_Static_assert(RECORD_MAX <= JOURNAL_MIN_BLOCKS * BLOCK_SIZE / 4, "several records of any size fit any ring");
_Static_assert(sizeof(struct disk_tail) <= 64 && TAIL_SLOT_STRIDE % 64 == 0, "a tail slot is one cache line");
_Static_assert(TAIL_SLOTS * TAIL_SLOT_STRIDE <= BLOCK_SIZE, "tail slots fit their block");
