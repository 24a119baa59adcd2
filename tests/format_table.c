/*
 * Prints what doc/format.md must say: a line "struct offset size name" for each field of each structure of
 * lib/format.h, "struct - size -" for its end, and "constant name value". tests/format_doc.sh compares, and
 * looks into the header for structures and constants that are not in the lists below.
 *
 * The compiler cannot list the fields of a struct, so they are named here; a field that is missing leaves a
 * gap between its neighbours, and the program fails. On media there is no padding, hence no innocent gap.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "format.h"

struct field {
	const char	*name;
	size_t		 offset, size;
};

struct table {
	const char		*name;
	size_t			 size;
	const struct field	*fields;
	size_t			 count;
};

#define FIELD(type, member) \
	{ #member, offsetof(struct type, member), sizeof(((struct type *)NULL)->member) }
#define TABLE(type, list)	{ #type, sizeof(struct type), list, sizeof(list) / sizeof((list)[0]) }

static const struct field super[] = {
	FIELD(disk_super, magic), FIELD(disk_super, crc), FIELD(disk_super, version),
	FIELD(disk_super, uuid), FIELD(disk_super, label), FIELD(disk_super, feature_compat),
	FIELD(disk_super, feature_ro_compat), FIELD(disk_super, feature_incompat),
	FIELD(disk_super, position), FIELD(disk_super, blocks), FIELD(disk_super, block_shift),
	FIELD(disk_super, unit_shift), FIELD(disk_super, journal_block),
	FIELD(disk_super, journal_blocks), FIELD(disk_super, created), FIELD(disk_super, reserved),
};

static const struct field tail[] = {
	FIELD(disk_tail, magic), FIELD(disk_tail, crc), FIELD(disk_tail, counter), FIELD(disk_tail, pos),
	FIELD(disk_tail, seq), FIELD(disk_tail, mount), FIELD(disk_tail, freemap_block),
	FIELD(disk_tail, freemap_blocks), FIELD(disk_tail, flags), FIELD(disk_tail, pad),
};

static const struct field record[] = {
	FIELD(disk_record, magic), FIELD(disk_record, crc), FIELD(disk_record, seq),
	FIELD(disk_record, pos), FIELD(disk_record, mount), FIELD(disk_record, len),
	FIELD(disk_record, patches), FIELD(disk_record, reserved),
};

static const struct field patch[] = {
	FIELD(disk_patch, off), FIELD(disk_patch, len), FIELD(disk_patch, pad),
};

static const struct field extent[] = {
	FIELD(disk_extent, lo), FIELD(disk_extent, hi),
};

static const struct field extent_index[] = {
	FIELD(disk_extent_index, key), FIELD(disk_extent_index, child),
};

static const struct field extent_node[] = {
	FIELD(disk_extent_node, magic), FIELD(disk_extent_node, crc), FIELD(disk_extent_node, owner),
	FIELD(disk_extent_node, generation), FIELD(disk_extent_node, level),
	FIELD(disk_extent_node, count), FIELD(disk_extent_node, reserved),
	FIELD(disk_extent_node, extent), FIELD(disk_extent_node, index),
};

static const struct field inode[] = {
	FIELD(disk_inode, magic), FIELD(disk_inode, crc), FIELD(disk_inode, ino),
	FIELD(disk_inode, generation), FIELD(disk_inode, mode), FIELD(disk_inode, nlink),
	FIELD(disk_inode, uid), FIELD(disk_inode, gid), FIELD(disk_inode, size),
	FIELD(disk_inode, blocks), FIELD(disk_inode, atime), FIELD(disk_inode, mtime),
	FIELD(disk_inode, ctime), FIELD(disk_inode, btime), FIELD(disk_inode, atime_nsec),
	FIELD(disk_inode, mtime_nsec), FIELD(disk_inode, ctime_nsec), FIELD(disk_inode, btime_nsec),
	FIELD(disk_inode, flags), FIELD(disk_inode, projid), FIELD(disk_inode, rdev),
	FIELD(disk_inode, xattr_block), FIELD(disk_inode, xattr_blocks), FIELD(disk_inode, format),
	FIELD(disk_inode, depth), FIELD(disk_inode, count), FIELD(disk_inode, reserved),
	FIELD(disk_inode, extent), FIELD(disk_inode, index), FIELD(disk_inode, target),
};

static const struct field dir_block[] = {
	FIELD(disk_dir_block, magic), FIELD(disk_dir_block, crc), FIELD(disk_dir_block, owner),
	FIELD(disk_dir_block, generation), FIELD(disk_dir_block, index), FIELD(disk_dir_block, entries),
};

/* The name has no size of its own: it takes what is left of the struct, and as much more as it needs. */
static const struct field dirent[] = {
	FIELD(disk_dirent, ino), FIELD(disk_dirent, rec_len), FIELD(disk_dirent, name_len),
	FIELD(disk_dirent, type),
	{ "name", offsetof(struct disk_dirent, name), sizeof(struct disk_dirent) - DIRENT_HEADER },
};

static const struct field xattr_run[] = {
	FIELD(disk_xattr_run, magic), FIELD(disk_xattr_run, crc), FIELD(disk_xattr_run, owner),
	FIELD(disk_xattr_run, generation), FIELD(disk_xattr_run, used), FIELD(disk_xattr_run, count),
};

static const struct field xattr[] = {
	FIELD(disk_xattr, ns), FIELD(disk_xattr, name_len), FIELD(disk_xattr, pad),
	FIELD(disk_xattr, value_len),
};

static const struct field freemap[] = {
	FIELD(disk_freemap, magic), FIELD(disk_freemap, crc), FIELD(disk_freemap, mount),
	FIELD(disk_freemap, blocks), FIELD(disk_freemap, inodes),
};

static const struct table tables[] = {
	TABLE(disk_super, super), TABLE(disk_tail, tail), TABLE(disk_record, record),
	TABLE(disk_patch, patch), TABLE(disk_extent, extent), TABLE(disk_extent_index, extent_index),
	TABLE(disk_extent_node, extent_node), TABLE(disk_inode, inode), TABLE(disk_dir_block, dir_block),
	TABLE(disk_dirent, dirent), TABLE(disk_xattr_run, xattr_run), TABLE(disk_xattr, xattr),
	TABLE(disk_freemap, freemap),
};

struct constant {
	const char		*name;
	unsigned long long	 value;
	const char		*form;
};

#define NUMBER(name)	{ #name, name, "%llu" }
#define MASK(name)	{ #name, name, "0x%08llx" }

static const struct constant constants[] = {
	NUMBER(FORMAT_VERSION), NUMBER(BLOCK_SHIFT), NUMBER(BLOCK_SIZE), NUMBER(BLOCK_SUPER),
	NUMBER(BLOCK_TAIL), NUMBER(BLOCK_ITABLE_INODE), NUMBER(BLOCK_JOURNAL), NUMBER(POOL_MIN_BLOCKS),
	NUMBER(POOL_MAX_BLOCKS), NUMBER(JOURNAL_MIN_BLOCKS), NUMBER(JOURNAL_MAX_BLOCKS),
	NUMBER(LABEL_MAX), MASK(FEATURE_COMPAT_KNOWN), MASK(FEATURE_RO_COMPAT_KNOWN),
	MASK(FEATURE_INCOMPAT_KNOWN), MASK(TAIL_MAGIC), NUMBER(TAIL_SLOTS), NUMBER(TAIL_SLOT_STRIDE),
	MASK(TAIL_CLEAN), MASK(TAIL_FREEMAP), MASK(RECORD_MAGIC), NUMBER(RECORD_ALIGN),
	NUMBER(RECORD_MAX), NUMBER(EXTENT_MAX_LEN), NUMBER(EXTENT_FILE_BLOCK_MAX), MASK(EXTENT_MAGIC),
	NUMBER(EXTENT_NODE_ENTRIES), NUMBER(EXTENT_TREE_MAX_DEPTH), MASK(INODE_MAGIC), NUMBER(INODE_SIZE),
	NUMBER(INODES_PER_BLOCK), NUMBER(INO_ITABLE), NUMBER(INO_ROOT), NUMBER(INO_MAX),
	NUMBER(LINK_MAX_FILE), NUMBER(INODE_AREA_SIZE), NUMBER(INODE_EXTENTS), NUMBER(INODE_FORMAT_NONE),
	NUMBER(INODE_FORMAT_EXTENTS), NUMBER(INODE_FORMAT_TREE), NUMBER(INODE_FORMAT_INLINE),
	MASK(INODE_SYNC), MASK(INODE_IMMUTABLE), MASK(INODE_APPEND), MASK(INODE_NODUMP),
	MASK(INODE_NOATIME), MASK(INODE_DIRSYNC), MASK(INODE_DAX), MASK(INODE_PROJINHERIT),
	MASK(INODE_FLAGS_KNOWN), MASK(DIR_MAGIC), NUMBER(DIR_ALIGN), NUMBER(NAME_MAX_LEN),
	NUMBER(DIRENT_HEADER), MASK(XATTR_MAGIC), NUMBER(XATTR_ALIGN), NUMBER(XATTR_VALUE_MAX),
	NUMBER(XATTR_RUN_MAX), NUMBER(XATTR_NS_USER), NUMBER(XATTR_NS_TRUSTED), NUMBER(XATTR_NS_SECURITY),
	NUMBER(XATTR_NS_ACL_ACCESS), NUMBER(XATTR_NS_ACL_DEFAULT), MASK(FREEMAP_MAGIC),
};

/* Members of a union start together; anything else starts where the one before ended. */
static int print_table(const struct table *t)
{
	size_t start = 0, end = 0;

	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->fields[i];

		if (f->offset != end && (i == 0 || f->offset != start)) {
			fprintf(stderr, "struct %s: %s is at %zu, the one before it ends at %zu\n", t->name,
				f->name, f->offset, end);
			return 1;
		}
		printf("%s %zu %zu %s\n", t->name, f->offset, f->size, f->name);
		start = f->offset;
		if (f->offset + f->size > end)
			end = f->offset + f->size;
	}
	if (end != t->size) {
		fprintf(stderr, "struct %s: ends at %zu, its last field at %zu\n", t->name, t->size, end);
		return 1;
	}
	printf("%s - %zu -\n", t->name, t->size);
	return 0;
}

static void print_constants(void)
{
	printf("constant SUPER_MAGIC \"%s\"\n", SUPER_MAGIC);
	for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
		printf("constant %s ", constants[i].name);
		printf(constants[i].form, constants[i].value);
		putchar('\n');
	}
}

int main(void)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		failed |= print_table(&tables[i]);
	print_constants();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
