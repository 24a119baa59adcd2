/*
 * Everything the checker can find. The numbers are stable: they stand in reports and scripts; a number is
 * never used again for something else. Texts are in problem.c, a row each.
 */
#ifndef CHECK_PROBLEM_H
#define CHECK_PROBLEM_H

#include <stdint.h>

enum problem {
	/* superblock, tail, free-map cache */
	PROBLEM_SUPER_DAMAGED		= 1,
	PROBLEM_SUPER_PRIMARY		= 2,
	PROBLEM_SUPER_BACKUP		= 3,
	PROBLEM_SUPER_COPIES		= 4,
	PROBLEM_TAIL_DAMAGED		= 10,
	PROBLEM_TAIL_FIELD		= 11,
	PROBLEM_TAIL_ORDER		= 12,
	PROBLEM_TAIL_RECORDS		= 13,
	PROBLEM_FREEMAP_INVALID		= 21,
	PROBLEM_FREEMAP_IN_USE		= 22,
	PROBLEM_FREEMAP_BLOCKS		= 23,
	PROBLEM_FREEMAP_INODES		= 24,

	/* inode table, inodes */
	PROBLEM_ITABLE_DAMAGED		= 100,
	PROBLEM_ITABLE_SIZE		= 101,
	PROBLEM_INODE_INVALID		= 110,
	PROBLEM_INODE_GENERATION	= 111,
	PROBLEM_INODE_FORMAT		= 112,
	PROBLEM_INODE_SIZE		= 113,
	PROBLEM_INODE_BLOCKS		= 114,
	PROBLEM_SYMLINK_TARGET		= 115,

	/* extents */
	PROBLEM_EXTENT_BOUNDS		= 200,
	PROBLEM_EXTENT_ORDER		= 201,
	PROBLEM_EXTENT_RANGE		= 202,
	PROBLEM_EXTENT_UNWRITTEN	= 203,
	PROBLEM_NODE_BOUNDS		= 210,
	PROBLEM_NODE_INVALID		= 211,
	PROBLEM_NODE_ORDER		= 212,

	/* space */
	PROBLEM_BLOCK_SHARED		= 250,

	/* extended attributes */
	PROBLEM_XATTR_RUN		= 300,
	PROBLEM_XATTR_INVALID		= 301,
	PROBLEM_XATTR_ENTRY		= 302,
	PROBLEM_XATTR_DUPLICATE		= 303,
	PROBLEM_ACL_INVALID		= 310,
	PROBLEM_ACL_MODE		= 311,
	PROBLEM_ACL_PLACE		= 312,

	/* directories */
	PROBLEM_ROOT_MISSING		= 400,
	PROBLEM_DIR_BLOCK_INVALID	= 401,
	PROBLEM_DIR_SIZE		= 402,
	PROBLEM_DIRENT_NAME		= 410,
	PROBLEM_DIRENT_DUPLICATE	= 411,
	PROBLEM_DIRENT_DANGLING		= 412,
	PROBLEM_DIRENT_TYPE		= 413,

	/* links */
	PROBLEM_DIR_LINKED_TWICE	= 500,
	PROBLEM_DIR_UNCONNECTED		= 501,
	PROBLEM_DIR_PARENT		= 502,
	PROBLEM_DIR_CYCLE		= 503,
	PROBLEM_DIR_NLINK		= 504,
	PROBLEM_INODE_UNCONNECTED	= 510,
	PROBLEM_INODE_NLINK		= 511,
};

/* What a text may speak of, by name: {ino}, {block}, ... Not all are set for each problem. */
struct problem_context {
	uint64_t	 ino, other;	/* inode numbers */
	uint64_t	 block;		/* pool block */
	uint64_t	 file_block;
	uint64_t	 found, want;
	const char	*what, *by;	/* words; used during the call only */
	const char	*name;		/* name_len bytes from media, printed with escapes */
	unsigned int	 name_len;
};

struct problem_row {
	enum problem	 number;
	const char	*name;
	const char	*severity;
	const char	*text;
};

/* problem_row - the row of a problem; problem_rows - all of them. */
const struct problem_row *problem_row(enum problem number);
const struct problem_row *problem_rows(unsigned int *count);

/* problem_text - expand the row's text into `out` (`size` bytes, always terminated). */
void problem_text(const struct problem_row *row, const struct problem_context *ctx, char *out,
		  unsigned int size);

#endif
