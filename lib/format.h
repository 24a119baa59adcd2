/*
 * The pool on media: every structure, magic number, flag and limit, and nothing else.
 *
 * All integers are little-endian (util/le.h). Sizes and offsets are asserted in meta/format_check.c, and
 * doc/format.md describes each structure in a table which a test holds against this header.
 *
 * A pool is an array of 4 KiB blocks:
 *
 *	0		superblock; never changes after mkfs
 *	1		tail slots: where replay starts, mount sequence, clean flag, free-map cache
 *	2		the inode of the inode table
 *	3 ...		the journal ring
 *	...		everything else: inode table blocks, extent blocks, directory blocks, xattr runs, file data
 *	last		copy of the superblock
 *
 * Each object carries a magic number and a CRC32C over all of it (its own crc field taken as zero). The CRC is
 * seeded by format_seed() with the pool's uuid and the object's own byte offset in the pool, so that an object
 * copied from another pool, or to another place, does not verify.
 */
#ifndef FORMAT_H
#define FORMAT_H

#include "util/le.h"

#define FORMAT_VERSION		1U

#define BLOCK_SHIFT		12
#define BLOCK_SIZE		(1U << BLOCK_SHIFT)
#define BLOCK_SUPER		0U
#define BLOCK_TAIL		1U
#define BLOCK_ITABLE_INODE	2U
#define BLOCK_JOURNAL		3U

#define POOL_MIN_BLOCKS		1024U			/* 4 MiB */
#define POOL_MAX_BLOCKS		(1ULL << 40)		/* 4 PiB */
#define JOURNAL_MIN_BLOCKS	64U
#define JOURNAL_MAX_BLOCKS	16384U

#define LABEL_MAX		32			/* bytes; zero-filled, not terminated when full */

/* ---- Superblock ---------------------------------------------------------------------------------------- */

#define SUPER_MAGIC		"inodaxSB"

/* A pool with an incompat bit that is not known is refused; with such a ro_compat bit it is mounted read-only. */
#define FEATURE_COMPAT_KNOWN	0ULL
#define FEATURE_RO_COMPAT_KNOWN	0ULL
#define FEATURE_INCOMPAT_KNOWN	0ULL

struct disk_super {
	uint8_t	magic[8];		/* SUPER_MAGIC */
	le32	crc;			/* seed: offset of this copy alone, since the uuid is inside */
	le32	version;		/* FORMAT_VERSION */
	uint8_t	uuid[16];
	uint8_t	label[LABEL_MAX];
	le64	feature_compat;
	le64	feature_ro_compat;
	le64	feature_incompat;
	le64	position;		/* byte offset of this copy */
	le64	blocks;			/* size of the pool */
	le32	block_shift;		/* BLOCK_SHIFT */
	le32	unit_shift;		/* log2 of the map unit in bytes, BLOCK_SHIFT or more */
	le64	journal_block;		/* first block of the ring */
	le64	journal_blocks;
	le64	created;		/* seconds since the epoch */
	uint8_t	reserved[376];
};

/* ---- Tail slots: block 1 ------------------------------------------------------------------------------- */

/*
 * Two slots, a cache line each, written in turn: the valid one with the larger counter holds. A slot is
 * the only thing on media that changes outside a record and decides what is replayed.
 */
#define TAIL_MAGIC		0x5441494cU		/* "LIAT" */
#define TAIL_SLOTS		2
#define TAIL_SLOT_STRIDE	256			/* bytes from slot 0 to slot 1 */

#define TAIL_CLEAN		(1U << 0)		/* unmounted cleanly: nothing to replay */
#define TAIL_FREEMAP		(1U << 1)		/* freemap_block, freemap_blocks hold */

struct disk_tail {
	le32	magic;			/* TAIL_MAGIC */
	le32	crc;
	le64	counter;
	le64	pos;			/* logical ring position of the first record to replay */
	le64	seq;			/* its sequence */
	le64	mount;			/* mount sequence: one more at each writable mount */
	le64	freemap_block;		/* first block of the free-map cache */
	le32	freemap_blocks;
	le32	flags;			/* TAIL_* */
	le64	pad;
};

/* ---- Journal ------------------------------------------------------------------------------------------- */

/*
 * A record: this header, then `patches` patches, then zeros to a multiple of RECORD_ALIGN. Logical positions
 * count bytes since mkfs; the byte at position p lies at p modulo the ring's size, and a record may wrap.
 * A patch is struct disk_patch followed by `len` bytes (a multiple of 8) for the pool's bytes at `off`.
 */
#define RECORD_MAGIC		0x4f444552U		/* "REDO" */
#define RECORD_ALIGN		64
#define RECORD_MAX		(64U << 10)		/* bytes, header and padding included */

struct disk_record {
	le32	magic;			/* RECORD_MAGIC */
	le32	crc;			/* over len bytes; seed: uuid and seq */
	le64	seq;
	le64	pos;			/* own logical position */
	le64	mount;			/* mount sequence of the writer */
	le32	len;			/* multiple of RECORD_ALIGN */
	le32	patches;
	uint8_t	reserved[24];
};

struct disk_patch {
	le64	off;			/* byte of the pool, multiple of 8; never in blocks 0, 1, last, or the ring */
	le32	len;			/* bytes that follow; they lie in one block */
	le32	pad;
};

/* ---- Extents ------------------------------------------------------------------------------------------- */

/*
 * 128 bits, as two little-endian words:
 *
 *	lo:  63........12 11.......0		hi:  63........12 11.......1 0
 *	     file block   length[11:0]		     pool block   len[22:12] unwritten
 *
 * Lengths are in blocks, 1 to EXTENT_MAX_LEN. Extents of a file do not overlap and stand in order of their
 * file blocks. An unwritten extent reads as zeros.
 */
#define EXTENT_MAX_LEN		((1U << 23) - 1)
#define EXTENT_FILE_BLOCK_MAX	((1ULL << 51) - 1)	/* 2^63 bytes */

struct disk_extent {
	le64	lo;
	le64	hi;
};

/* In a tree node above the leaves: everything from file block `key` up to the next entry's key is below `child`. */
struct disk_extent_index {
	le64	key;
	le64	child;			/* pool block */
};

#define EXTENT_MAGIC		0x54545845U		/* "EXTT" */
#define EXTENT_NODE_ENTRIES	252
#define EXTENT_TREE_MAX_DEPTH	6			/* levels of nodes below the inode */

struct disk_extent_node {
	le32	magic;			/* EXTENT_MAGIC */
	le32	crc;
	le64	owner;			/* inode number; 0 for the inode table */
	le64	generation;		/* of the owner */
	le16	level;			/* 0: leaf */
	le16	count;
	uint8_t	reserved[36];
	union {
		struct disk_extent	 extent[EXTENT_NODE_ENTRIES];
		struct disk_extent_index index[EXTENT_NODE_ENTRIES];
	};
};

/* ---- Inodes -------------------------------------------------------------------------------------------- */

/*
 * Inode N lies at byte N * INODE_SIZE of the inode table, which is itself a file whose inode lies at the start
 * of block 2 and has number 0. A slot is free if its magic is 0 or its nlink is 0; a slot with neither must verify.
 */
#define INODE_MAGIC		0x444f4e49U		/* "INOD" */
#define INODE_SIZE		256U
#define INODES_PER_BLOCK	(BLOCK_SIZE / INODE_SIZE)
#define INO_ITABLE		0ULL
#define INO_ROOT		1ULL
#define INO_MAX			((1ULL << 40) - 1)
#define LINK_MAX_FILE		65000U			/* names of one file; directories have no limit of their own */

#define INODE_AREA_SIZE		96
#define INODE_EXTENTS		(INODE_AREA_SIZE / 16)

/* What the area holds (disk_inode.format). */
#define INODE_FORMAT_NONE	0U			/* nothing: devices, fifos, sockets */
#define INODE_FORMAT_EXTENTS	1U			/* extent[count] */
#define INODE_FORMAT_TREE	2U			/* index[count]; `depth` levels of nodes below */
#define INODE_FORMAT_INLINE	3U			/* a symlink's target, `size` bytes, at most INODE_AREA_SIZE */

/* disk_inode.flags: the values of FS_*_FL in <linux/fs.h>, of which these are kept. */
#define INODE_SYNC		0x00000008U
#define INODE_IMMUTABLE		0x00000010U
#define INODE_APPEND		0x00000020U
#define INODE_NODUMP		0x00000040U
#define INODE_NOATIME		0x00000080U
#define INODE_DIRSYNC		0x00010000U
#define INODE_DAX		0x02000000U
#define INODE_PROJINHERIT	0x20000000U
#define INODE_FLAGS_KNOWN	(INODE_SYNC | INODE_IMMUTABLE | INODE_APPEND | INODE_NODUMP | INODE_NOATIME | \
				 INODE_DIRSYNC | INODE_DAX | INODE_PROJINHERIT)

struct disk_inode {
	le32	magic;			/* INODE_MAGIC; 0: never used */
	le32	crc;
	le64	ino;
	le64	generation;		/* never the same twice in a pool's life: mount sequence << 32 | count */
	le32	mode;			/* as st_mode */
	le32	nlink;
	le32	uid;
	le32	gid;
	le64	size;			/* bytes */
	le64	blocks;			/* pool blocks in use: data, extent nodes and xattrs */
	le64	atime;			/* seconds since the epoch, signed */
	le64	mtime;
	le64	ctime;
	le64	btime;
	le32	atime_nsec;
	le32	mtime_nsec;
	le32	ctime_nsec;
	le32	btime_nsec;
	le32	flags;			/* INODE_* */
	le32	projid;
	le64	rdev;			/* devices: makedev(); directories: number of the parent */
	le64	xattr_block;		/* first block of the xattr run, 0: none */
	le32	xattr_blocks;
	uint8_t	format;			/* INODE_FORMAT_* */
	uint8_t	depth;
	le16	count;
	uint8_t	reserved[24];
	union {
		struct disk_extent	 extent[INODE_EXTENTS];
		struct disk_extent_index index[INODE_EXTENTS];
		uint8_t			 target[INODE_AREA_SIZE];
	};
};

/* ---- Directories --------------------------------------------------------------------------------------- */

/*
 * A directory is a file of blocks, holes allowed. Each block is this header and entries that fill it to its end:
 * `rec_len` leads from one to the next. An entry with ino 0 is free space. Entries never move: an entry's byte
 * offset in the directory, divided by DIR_ALIGN, is its readdir cookie for as long as it lives.
 * "." and ".." are not stored; the parent is in the inode.
 */
#define DIR_MAGIC		0x42524944U		/* "DIRB" */
#define DIR_ALIGN		8U
#define NAME_MAX_LEN		255U

struct disk_dir_block {
	le32	magic;			/* DIR_MAGIC */
	le32	crc;
	le64	owner;			/* inode number of the directory */
	le64	generation;		/* of the directory */
	le64	index;			/* file block of this block */
	uint8_t	entries[BLOCK_SIZE - 32];
};

struct disk_dirent {
	le64	ino;
	le16	rec_len;		/* multiple of DIR_ALIGN */
	uint8_t	name_len;		/* 1 to NAME_MAX_LEN; 0 in free space */
	uint8_t	type;			/* DT_* */
	uint8_t	name[];			/* not terminated */
};

#define DIRENT_HEADER		12U
#define DIRENT_LEN(name_len)	((DIRENT_HEADER + (name_len) + DIR_ALIGN - 1) & ~(DIR_ALIGN - 1))

/* ---- Extended attributes ------------------------------------------------------------------------------- */

/*
 * All attributes of an inode, in a run of contiguous blocks that is written anew at each change: a run that is
 * reachable never changes. The header, then `count` entries of XATTR_ALIGN-ed length, zeros after.
 */
#define XATTR_MAGIC		0x52545458U		/* "XTTR" */
#define XATTR_ALIGN		4U
#define XATTR_VALUE_MAX		65536U			/* bytes, as XATTR_SIZE_MAX of the kernel */
#define XATTR_RUN_MAX		64U			/* blocks */

#define XATTR_NS_USER		1U			/* "user." */
#define XATTR_NS_TRUSTED	2U			/* "trusted." */
#define XATTR_NS_SECURITY	3U			/* "security." */
#define XATTR_NS_ACL_ACCESS	4U			/* "system.posix_acl_access", no name of its own */
#define XATTR_NS_ACL_DEFAULT	5U			/* "system.posix_acl_default", no name of its own */

struct disk_xattr_run {
	le32	magic;			/* XATTR_MAGIC */
	le32	crc;			/* over `used` bytes */
	le64	owner;
	le64	generation;		/* of the owner */
	le32	used;			/* bytes, header included */
	le32	count;
};

struct disk_xattr {
	uint8_t	ns;			/* XATTR_NS_* */
	uint8_t	name_len;		/* bytes of name that follow, without the prefix */
	le16	pad;
	le32	value_len;		/* bytes of value that follow the name */
};

/* ---- Free-map cache ------------------------------------------------------------------------------------ */

/*
 * Written by a clean unmount into blocks that are free: this header, a bit a block of the pool (1: in use), then a
 * bit an inode slot (1: in use), each rounded up to 8 bytes. It counts only while the tail slot names it.
 */
#define FREEMAP_MAGIC		0x50414d46U		/* "FMAP" */

struct disk_freemap {
	le32	magic;			/* FREEMAP_MAGIC */
	le32	crc;			/* over the header and both bitmaps */
	le64	mount;			/* mount sequence that wrote it */
	le64	blocks;			/* bits in the block bitmap */
	le64	inodes;			/* bits in the inode bitmap */
};

#endif
