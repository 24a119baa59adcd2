/*
 * The table of findings, and how a row becomes a line of text.
 *
 * The passes report a number and a context; everything said to people stands here. A text names the object,
 * the value found and the value needed; fields of the context stand in braces. They are expanded by name
 * rather than by printf position, so that a text may be reworded without touching a pass and cannot be fed a
 * wrong type. Names come from media and may hold anything: control characters and bytes above ASCII are shown
 * as \xNN.
 */
#include "check/problem.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define WARNING	"warning"
#define ERROR	"error"
#define FATAL	"fatal"

static const struct problem_row rows[] = {
	{ PROBLEM_SUPER_DAMAGED, "super-damaged", FATAL,
	  "no superblock to go by: {what}" },
	{ PROBLEM_SUPER_PRIMARY, "super-primary", ERROR,
	  "superblock in block 0 does not verify ({what}); its backup in block {block} was used" },
	{ PROBLEM_SUPER_BACKUP, "super-backup", ERROR,
	  "backup of the superblock in block {block} does not verify ({what})" },
	{ PROBLEM_SUPER_COPIES, "super-copies", ERROR,
	  "superblock and its backup in block {block} differ beyond their positions" },
	{ PROBLEM_TAIL_DAMAGED, "tail-damaged", FATAL,
	  "neither tail slot in block 1 verifies: where to replay from is not known" },
	{ PROBLEM_TAIL_FIELD, "tail-field", ERROR,
	  "tail slot: {what} is {found}, {want} needed" },
	{ PROBLEM_TAIL_ORDER, "tail-order", ERROR,
	  "tail slots: {what} goes from {found} back to {want}" },
	{ PROBLEM_TAIL_RECORDS, "tail-records", ERROR,
	  "tail says unmounted cleanly, but {found} journal records wait to be replayed" },
	{ PROBLEM_FREEMAP_INVALID, "freemap-invalid", WARNING,
	  "free-map cache at block {block} does not verify ({what}); the next mount scans" },
	{ PROBLEM_FREEMAP_IN_USE, "freemap-in-use", ERROR,
	  "free-map cache at block {block} lies in a block that is in use" },
	{ PROBLEM_FREEMAP_BLOCKS, "freemap-blocks", ERROR,
	  "free-map cache: block {block} is {what}, found {by}; {found} blocks differ" },
	{ PROBLEM_FREEMAP_INODES, "freemap-inodes", ERROR,
	  "free-map cache: inode {ino} is {what}, found {by}; {found} inodes differ" },

	{ PROBLEM_ITABLE_DAMAGED, "itable-damaged", FATAL,
	  "inode of the inode table in block 2 does not verify ({what})" },
	{ PROBLEM_ITABLE_SIZE, "itable-size", ERROR,
	  "inode table: size is {found} blocks, {what} {want}" },
	{ PROBLEM_INODE_INVALID, "inode-invalid", ERROR,
	  "inode {ino} in block {block} does not verify ({what})" },
	{ PROBLEM_INODE_GENERATION, "inode-generation", ERROR,
	  "inode {ino}: generation is of mount {found}, the pool's last is {want}" },
	{ PROBLEM_INODE_FORMAT, "inode-format", ERROR,
	  "inode {ino}: a {what} cannot have {by}" },
	{ PROBLEM_INODE_SIZE, "inode-size", ERROR,
	  "inode {ino}: size of a {what} is {found}, at most {want} possible" },
	{ PROBLEM_INODE_BLOCKS, "inode-blocks", ERROR,
	  "inode {ino}: block count is {found}, {want} blocks found" },
	{ PROBLEM_SYMLINK_TARGET, "symlink-target", ERROR,
	  "inode {ino}: symlink with a target of {found} bytes: {what}" },

	{ PROBLEM_EXTENT_BOUNDS, "extent-bounds", ERROR,
	  "inode {ino}: extent of {found} blocks, file block {file_block}, block {block}: out of bounds" },
	{ PROBLEM_EXTENT_ORDER, "extent-order", ERROR,
	  "inode {ino}: extent starts at file block {file_block}, the one before ends at {want}" },
	{ PROBLEM_EXTENT_RANGE, "extent-range", ERROR,
	  "inode {ino}: extent at file block {file_block} of {found} blocks is not below its key" },
	{ PROBLEM_EXTENT_UNWRITTEN, "extent-unwritten", ERROR,
	  "inode {ino}: extent at file block {file_block} is unwritten in a {what}" },
	{ PROBLEM_NODE_BOUNDS, "node-bounds", ERROR,
	  "inode {ino}: extent node in block {block}, outside the pool" },
	{ PROBLEM_NODE_INVALID, "node-invalid", ERROR,
	  "inode {ino}: extent node in block {block} does not verify ({what})" },
	{ PROBLEM_NODE_ORDER, "node-order", ERROR,
	  "inode {ino}: key {found} of the node in block {block} is out of order or range" },

	{ PROBLEM_BLOCK_SHARED, "block-shared", ERROR,
	  "block {block} belongs to {by} and also to {what}" },

	{ PROBLEM_XATTR_RUN, "xattr-run", ERROR,
	  "inode {ino}: attributes in {found} blocks at block {block}: {what}" },
	{ PROBLEM_XATTR_INVALID, "xattr-invalid", ERROR,
	  "inode {ino}: attributes in block {block} do not verify ({what})" },
	{ PROBLEM_XATTR_ENTRY, "xattr-entry", ERROR,
	  "inode {ino}: attribute {found} \"{name}\": {what}" },
	{ PROBLEM_XATTR_DUPLICATE, "xattr-duplicate", ERROR,
	  "inode {ino}: attribute \"{name}\" of namespace {found} is there twice" },
	{ PROBLEM_ACL_INVALID, "acl-invalid", ERROR,
	  "inode {ino}: {by}: {what}" },
	{ PROBLEM_ACL_MODE, "acl-mode", ERROR,
	  "inode {ino}: permission bits are {by}, the access ACL says {what}" },
	{ PROBLEM_ACL_PLACE, "acl-place", ERROR,
	  "inode {ino}: a {what} cannot have {by}" },

	{ PROBLEM_ROOT_MISSING, "root-missing", ERROR,
	  "inode {ino} is not a directory: the pool has no root" },
	{ PROBLEM_DIR_BLOCK_INVALID, "dir-block-invalid", ERROR,
	  "directory {ino}: file block {file_block} in block {block} does not verify ({what})" },
	{ PROBLEM_DIR_SIZE, "dir-size", ERROR,
	  "directory {ino}: size is {found}, {want} needed by its last block" },
	{ PROBLEM_DIRENT_NAME, "dirent-name", ERROR,
	  "directory {ino}: entry \"{name}\" cannot be a name" },
	{ PROBLEM_DIRENT_DUPLICATE, "dirent-duplicate", ERROR,
	  "directory {ino}: entry \"{name}\" is there twice" },
	{ PROBLEM_DIRENT_DANGLING, "dirent-dangling", ERROR,
	  "directory {ino}: entry \"{name}\" points to inode {other}, which is free" },
	{ PROBLEM_DIRENT_TYPE, "dirent-type", ERROR,
	  "directory {ino}: entry \"{name}\" says type {found}, inode {other} is of type {want}" },

	{ PROBLEM_DIR_LINKED_TWICE, "dir-linked-twice", ERROR,
	  "directory {other} has a second name \"{name}\" in directory {ino}" },
	{ PROBLEM_DIR_UNCONNECTED, "dir-unconnected", ERROR,
	  "directory {ino} has no name" },
	{ PROBLEM_DIR_PARENT, "dir-parent", ERROR,
	  "directory {ino}: parent is {found}, its name is in {want}" },
	{ PROBLEM_DIR_CYCLE, "dir-cycle", ERROR,
	  "directory {ino} is below itself and not below the root" },
	{ PROBLEM_DIR_NLINK, "dir-nlink", ERROR,
	  "directory {ino}: link count is {found}, {want} needed by its subdirectories" },
	{ PROBLEM_INODE_UNCONNECTED, "inode-unconnected", ERROR,
	  "inode {ino} has no name, its link count is {found}" },
	{ PROBLEM_INODE_NLINK, "inode-nlink", ERROR,
	  "inode {ino}: link count is {found}, {want} names found" },
};

const struct problem_row *problem_rows(unsigned int *count)
{
	*count = sizeof(rows) / sizeof(rows[0]);
	return rows;
}

const struct problem_row *problem_row(enum problem number)
{
	unsigned int n = 0, count;

	for (problem_rows(&count); n < count && rows[n].number != number;)
		n++;
	assert(n < count);
	return &rows[n];
}

struct out {
	char		*text;
	unsigned int	 len, size;
};

static void put(struct out *o, const char *s, size_t len)
{
	for (size_t i = 0; i < len && o->len + 1 < o->size; i++)
		o->text[o->len++] = s[i];
}

static void put_number(struct out *o, uint64_t n)
{
	char digits[24];

	put(o, digits, (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n));
}

static void put_name(struct out *o, const char *name, unsigned int len)
{
	char esc[8];

	for (unsigned int i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c >= 0x7f || c == '\\' || c == '"')
			put(o, esc, (size_t)snprintf(esc, sizeof(esc), "\\x%02x", c));
		else
			put(o, &name[i], 1);
	}
}

static void put_field(struct out *o, const char *field, size_t len, const struct problem_context *ctx)
{
	const struct {
		const char	*name;
		uint64_t	 value;
	} numbers[] = {
		{ "ino", ctx->ino }, { "other", ctx->other }, { "block", ctx->block },
		{ "file_block", ctx->file_block }, { "found", ctx->found }, { "want", ctx->want },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strlen(numbers[i].name) == len && !memcmp(numbers[i].name, field, len)) {
			put_number(o, numbers[i].value);
			return;
		}
	if (len == 4 && !memcmp(field, "name", 4))
		put_name(o, ctx->name, ctx->name_len);
	else if (len == 4 && !memcmp(field, "what", 4))
		put(o, ctx->what, strlen(ctx->what));
	else if (len == 2 && !memcmp(field, "by", 2))
		put(o, ctx->by, strlen(ctx->by));
	else
		assert(!"a field that no context has");
}

void problem_text(const struct problem_row *row, const struct problem_context *ctx, char *out,
		  unsigned int size)
{
	struct out o = { .text = out, .size = size };
	const char *p = row->text, *open, *close;

	while ((open = strchr(p, '{')) != NULL) {
		close = strchr(open, '}');
		assert(close);
		put(&o, p, (size_t)(open - p));
		put_field(&o, open + 1, (size_t)(close - open - 1), ctx);
		p = close + 1;
	}
	put(&o, p, strlen(p));
	out[o.len] = 0;
}
