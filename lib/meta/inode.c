/*
 * Inodes: the media's form and the core's form, converted and verified here alone, and logging in a
 * transaction.
 *
 * Owns: struct disk_inode. Relies on: the inode's lock, which its user holds; meta/ialloc.c, which knows
 * where slots lie.
 *
 * Crash safety: the slot changes only through the shadow of a transaction. The shadow is filled from the core
 * when the transaction seals it, so that a join may come before the changes, and whatever changed meanwhile
 * is in the one record. The record holds only the words that differ from the slot; the crc is one of them.
 *
 * A transaction that ends without commit leaves the core as it was at the join: the undo copy is taken there,
 * and put back by a callback that runs before any lock is dropped.
 */
#include "meta/inode.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meta/extent.h"
#include "meta/ialloc.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define SYMLINK_MAX_LEN	4095U				/* PATH_MAX without the NUL */
#define DIR_MAX_SIZE	((1ULL << 32) * DIR_ALIGN)	/* cookies are 32 bits */
#define NSEC_PER_SEC	1000000000U

struct inode_undo {
	struct inode		*ip;
	struct inode_core	 core;
	bool			 times_dirty;
};

/* ---- Conversion ---------------------------------------------------------------------------------------- */

static void encode_time(le64 *sec, le32 *nsec, const struct timespec *ts)
{
	*sec = cpu_to_le64((uint64_t)ts->tv_sec);
	*nsec = cpu_to_le32((uint32_t)ts->tv_nsec);
}

static struct timespec decode_time(le64 sec, le32 nsec)
{
	return (struct timespec){ .tv_sec = (time_t)le64_to_cpu(sec), .tv_nsec = le32_to_cpu(nsec) };
}

void inode_encode(struct disk_inode *d, uint64_t ino, const struct inode_core *core, uint32_t seed)
{
	memset(d, 0, sizeof(*d));
	d->magic = cpu_to_le32(INODE_MAGIC);
	d->ino = cpu_to_le64(ino);
	d->generation = cpu_to_le64(core->generation);
	d->mode = cpu_to_le32(core->mode);
	d->nlink = cpu_to_le32(core->nlink);
	d->uid = cpu_to_le32(core->uid);
	d->gid = cpu_to_le32(core->gid);
	d->size = cpu_to_le64(core->size);
	d->blocks = cpu_to_le64(core->blocks);
	encode_time(&d->atime, &d->atime_nsec, &core->atime);
	encode_time(&d->mtime, &d->mtime_nsec, &core->mtime);
	encode_time(&d->ctime, &d->ctime_nsec, &core->ctime);
	encode_time(&d->btime, &d->btime_nsec, &core->btime);
	d->flags = cpu_to_le32(core->flags);
	d->projid = cpu_to_le32(core->projid);
	d->rdev = cpu_to_le64(core->rdev);
	d->xattr_block = cpu_to_le64(core->xattr_block);
	d->xattr_blocks = cpu_to_le32(core->xattr_blocks);
	d->format = core->format;
	d->depth = core->depth;
	d->count = cpu_to_le16(core->count);
	memcpy(d->target, core->target, INODE_AREA_SIZE);
	d->crc = cpu_to_le32(crc32c_object(seed, d, sizeof(*d), offsetof(struct disk_inode, crc)));
}

void inode_decode(const struct disk_inode *d, struct inode_core *core)
{
	core->generation = le64_to_cpu(d->generation);
	core->mode = le32_to_cpu(d->mode);
	core->nlink = le32_to_cpu(d->nlink);
	core->uid = le32_to_cpu(d->uid);
	core->gid = le32_to_cpu(d->gid);
	core->size = le64_to_cpu(d->size);
	core->blocks = le64_to_cpu(d->blocks);
	core->atime = decode_time(d->atime, d->atime_nsec);
	core->mtime = decode_time(d->mtime, d->mtime_nsec);
	core->ctime = decode_time(d->ctime, d->ctime_nsec);
	core->btime = decode_time(d->btime, d->btime_nsec);
	core->flags = le32_to_cpu(d->flags);
	core->projid = le32_to_cpu(d->projid);
	core->rdev = le64_to_cpu(d->rdev);
	core->xattr_block = le64_to_cpu(d->xattr_block);
	core->xattr_blocks = le32_to_cpu(d->xattr_blocks);
	core->format = d->format;
	core->depth = d->depth;
	core->count = le16_to_cpu(d->count);
	memcpy(core->target, d->target, INODE_AREA_SIZE);
}

bool disk_inode_free(const struct disk_inode *d)
{
	return le32_to_cpu(d->magic) == 0 || le32_to_cpu(d->nlink) == 0;
}

/* ---- Verification -------------------------------------------------------------------------------------- */

static const char *verify_type(const struct disk_inode *d, uint64_t ino)
{
	uint32_t mode = le32_to_cpu(d->mode);

	if (mode & ~(uint32_t)(S_IFMT | 07777))
		return "mode";
	switch (mode & S_IFMT) {
	case S_IFREG:
		return NULL;
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return ino == INO_ITABLE ? "mode" : NULL;
	default:
		return "mode";
	}
}

static const char *verify_size(const struct disk_inode *d, uint64_t ino)
{
	uint64_t size = le64_to_cpu(d->size);

	switch (le32_to_cpu(d->mode) & S_IFMT) {
	case S_IFREG:
		if (ino == INO_ITABLE)
			return size % BLOCK_SIZE || size / INODE_SIZE > INO_MAX + 1 ? "size" : NULL;
		return size > INT64_MAX ? "size" : NULL;
	case S_IFDIR:
		return size % BLOCK_SIZE || size > DIR_MAX_SIZE ? "size" : NULL;
	case S_IFLNK:
		return size == 0 || size > SYMLINK_MAX_LEN ? "size" : NULL;
	default:
		return size ? "size" : NULL;
	}
}

static const char *verify_fields(const struct super *sb, const struct disk_inode *d)
{
	uint64_t xattr_block = le64_to_cpu(d->xattr_block);
	uint32_t xattr_blocks = le32_to_cpu(d->xattr_blocks);

	if (le64_to_cpu(d->blocks) > sb->blocks)
		return "blocks";
	if (le32_to_cpu(d->atime_nsec) >= NSEC_PER_SEC || le32_to_cpu(d->mtime_nsec) >= NSEC_PER_SEC ||
	    le32_to_cpu(d->ctime_nsec) >= NSEC_PER_SEC || le32_to_cpu(d->btime_nsec) >= NSEC_PER_SEC)
		return "nanoseconds";
	if (le32_to_cpu(d->flags) & ~INODE_FLAGS_KNOWN)
		return "flags";
	if (!xattr_block != !xattr_blocks || xattr_blocks > XATTR_RUN_MAX)
		return "xattr run";
	if (xattr_block && !pool_blocks_valid(sb, xattr_block, xattr_blocks))
		return "xattr run";
	return NULL;
}

/* What has blocks. Devices, fifos and sockets may come as an empty list of extents all the same. */
static bool may_map(uint32_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode);
}

static const char *verify_area(const struct super *sb, const struct disk_inode *d)
{
	uint32_t mode = le32_to_cpu(d->mode);
	unsigned int count = le16_to_cpu(d->count);

	if (d->format != INODE_FORMAT_TREE && d->depth)
		return "depth";
	switch (d->format) {
	case INODE_FORMAT_NONE:
		return may_map(mode) ? "format" : count ? "count" : NULL;
	case INODE_FORMAT_EXTENTS:
		if (count > INODE_EXTENTS || (count && !may_map(mode)))
			return "count";
		return disk_extents_verify(sb, d->extent, count);
	case INODE_FORMAT_TREE:
		if (!may_map(mode))
			return "format";
		if (d->depth == 0 || d->depth > EXTENT_TREE_MAX_DEPTH)
			return "depth";
		if (count == 0 || count > INODE_EXTENTS)
			return "count";
		return disk_extent_index_verify(sb, d->index, count);
	case INODE_FORMAT_INLINE:
		if (!S_ISLNK(mode) || le64_to_cpu(d->size) > INODE_AREA_SIZE)
			return "format";
		return count ? "count" : NULL;
	default:
		return "format";
	}
}

const char *disk_inode_verify(const struct super *sb, const struct disk_inode *d, uint64_t ino, uint64_t off)
{
	const char *wrong;

	if (le32_to_cpu(d->magic) != INODE_MAGIC)
		return "magic";
	if (le32_to_cpu(d->crc) !=
	    crc32c_object(format_seed(sb, off), d, sizeof(*d), offsetof(struct disk_inode, crc)))
		return "crc";
	if (le64_to_cpu(d->ino) != ino)
		return "number";
	wrong = verify_type(d, ino);
	if (!wrong)
		wrong = verify_size(d, ino);
	if (!wrong)
		wrong = verify_fields(sb, d);
	return wrong ? wrong : verify_area(sb, d);
}

/* ---- Transactions -------------------------------------------------------------------------------------- */

uint64_t inode_offset(struct pool *p, uint64_t ino)
{
	if (ino == INO_ITABLE)
		return (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT;
	return ino <= INO_MAX ? ialloc_offset(p, ino) : 0;
}

static void seal_inode(const struct pool *p, void *shadow, uint64_t off, void *arg)
{
	struct inode *ip = arg;

	inode_encode(shadow, ip->ino, &ip->core, format_seed(&p->super, off));
}

static void end_join(void *arg, bool committed)
{
	struct inode_undo *undo = arg;
	struct inode *ip = undo->ip;

	if (committed) {
		ip->times_dirty = false;
	} else {
		ip->core = undo->core;
		ip->times_dirty = undo->times_dirty;
	}
	ip->tx = NULL;
	free(undo);
}

int inode_join(struct tx *tx, struct inode *ip)
{
	uint64_t off = ip->ino == INO_ITABLE ? (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT : ip->slot;
	struct inode_undo *undo;
	int rc;

	if (ip->tx == tx)
		return 0;
	assert(!ip->tx && off);
	undo = fault(FAULT_ALLOC) ? NULL : malloc(sizeof(*undo));
	if (!undo)
		return -ENOMEM;
	*undo = (struct inode_undo){ .ip = ip, .core = ip->core, .times_dirty = ip->times_dirty };
	rc = tx_on_end(tx, end_join, undo);
	if (rc) {
		free(undo);
		return rc;
	}
	ip->tx = tx;
	return tx_shadow(tx, off, sizeof(struct disk_inode), seal_inode, ip) ? 0 : tx->error;
}

/* ---- Small things -------------------------------------------------------------------------------------- */

void inode_stat(const struct inode *ip, struct stat *st)
{
	const struct inode_core *core = &ip->core;

	memset(st, 0, sizeof(*st));
	st->st_ino = ip->ino;
	st->st_mode = core->mode;
	st->st_nlink = core->nlink;
	st->st_uid = core->uid;
	st->st_gid = core->gid;
	if (S_ISCHR(core->mode) || S_ISBLK(core->mode))
		st->st_rdev = core->rdev;
	st->st_size = (off_t)core->size;
	st->st_blksize = BLOCK_SIZE;
	st->st_blocks = (blkcnt_t)(core->blocks * (BLOCK_SIZE / 512));
	st->st_atim = core->atime;
	st->st_mtim = core->mtime;
	st->st_ctim = core->ctime;
}

struct timespec inode_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}
