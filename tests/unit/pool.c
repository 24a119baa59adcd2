/*
 * The hand-made pool: see pool.h.
 *
 * The layout is what lib/fs would make, but for its size: blocks 0 to 2, the ring, one block of the inode
 * table, and the copy of the superblock. Nothing is taken from lib/fs, so that a bug there cannot hide one in
 * lib/meta.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/ialloc.h"
#include "meta/journal.h"
#include "meta/recover.h"
#include "meta/scan.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/crc32c.h"
#include "util/fault.h"

static void settled(void *arg, uint64_t seq)
{
	struct pool *p = arg;

	balloc_settle(p->balloc, seq);
}

static void store_inode(struct region *r, const struct super *sb, uint64_t off, uint64_t ino,
			const struct inode_core *core)
{
	struct disk_inode d;

	inode_encode(&d, ino, core, format_seed(sb, off));
	persist_store_nt(r, region_at(r, off), &d, sizeof(d));
}

static void format(struct region *r)
{
	struct super sb = { .version = FORMAT_VERSION, .unit_shift = BLOCK_SHIFT };
	struct tail tail = { .seq = 1, .flags = TAIL_CLEAN };
	struct inode_core itable = { .mode = S_IFREG | 0600, .nlink = 1, .size = BLOCK_SIZE };
	struct inode_core root = { .mode = S_IFDIR | 0755, .nlink = 2, .rdev = INO_ROOT };
	struct extent first = { .file_block = 0, .block = UNIT_POOL_TABLE, .count = 1 };

	memset(sb.uuid, 0xa5, sizeof(sb.uuid));
	sb.seed = crc32c(0, sb.uuid, sizeof(sb.uuid));
	sb.blocks = r->size >> BLOCK_SHIFT;
	sb.journal_block = BLOCK_JOURNAL;
	sb.journal_blocks = UNIT_POOL_JOURNAL;
	itable.format = root.format = INODE_FORMAT_EXTENTS;
	itable.blocks = itable.count = 1;
	itable.extent[0] = extent_pack(&first);
	store_inode(r, &sb, (uint64_t)BLOCK_ITABLE_INODE << BLOCK_SHIFT, INO_ITABLE, &itable);
	store_inode(r, &sb, ((uint64_t)UNIT_POOL_TABLE << BLOCK_SHIFT) + INO_ROOT * INODE_SIZE, INO_ROOT, &root);
	ck_assert_int_eq(persist_fence(r, PERSIST_FORMAT), 0);
	ck_assert_int_eq(tail_write(r, &sb, &tail), 0);
	ck_assert_int_eq(super_write(r, &sb), 0);
}

/* Superblock, tail, replay, and every part but the derived ones. */
static void open_parts(struct unit_pool *up, unsigned int idle)
{
	struct pool *p = &up->pool;
	uint64_t replayed;
	struct tail tail;
	struct err err;

	memset(p, 0, sizeof(*p));
	p->region = up->region;
	ck_assert_int_eq(super_read(up->region, "unit", &p->super, &err), 0);
	ck_assert_int_eq(tail_read(up->region, &p->super, &tail), 0);
	ck_assert_int_eq(recover(up->region, &p->super, &tail, &replayed), 0);
	p->mount = tail.mount;
	p->balloc = balloc_new(p->super.blocks);
	ck_assert_ptr_nonnull(p->balloc);
	ck_assert_int_eq(journal_open(&p->journal, p->region, &p->super, &tail, settled, p), 0);
	ck_assert_int_eq(icache_new(p, idle), 0);
	ck_assert_int_eq(ialloc_new(p), 0);
}

static void close_parts(struct unit_pool *up)
{
	struct pool *p = &up->pool;

	icache_delete(p);
	ialloc_delete(p);
	journal_close(p->journal);
	balloc_delete(p->balloc);
}

struct unit_pool *unit_pool_new(uint64_t blocks, unsigned int idle)
{
	struct unit_pool *up = calloc(1, sizeof(*up));
	struct pool *p;

	ck_assert_ptr_nonnull(up);
	up->region = emu_open(blocks << BLOCK_SHIFT, NULL);
	ck_assert_ptr_nonnull(up->region);
	format(up->region);
	open_parts(up, idle);
	p = &up->pool;
	ck_assert_int_eq(balloc_mark(p->balloc, 0, UNIT_POOL_TABLE + 1), 0);
	ck_assert_int_eq(balloc_mark(p->balloc, blocks - 1, 1), 0);
	ck_assert_int_eq(ialloc_mark(p, INO_ROOT), 0);
	ck_assert_int_eq(balloc_start(p->balloc, UNIT_POOL_RESERVE), 0);
	ck_assert_int_eq(inode_get(p, INO_ROOT, &up->root), 0);
	return up;
}

void unit_pool_delete(struct unit_pool *up)
{
	close_parts(up);
	emu_close(up->region);
	free(up);
}

void unit_pool_reopen(struct unit_pool *up, unsigned int idle)
{
	struct err err = { "" };
	int rc;

	close_parts(up);
	open_parts(up, idle);
	rc = scan_pool(&up->pool, 1, &err);
	ck_assert_msg(rc == 0, "scan_pool: %d: %s", rc, err.text);
	ck_assert_int_eq(balloc_start(up->pool.balloc, UNIT_POOL_RESERVE), 0);
	ck_assert_int_eq(inode_get(&up->pool, INO_ROOT, &up->root), 0);
}

struct inode *unit_pool_reopen_inode(struct unit_pool *up, unsigned int idle, const struct inode *ip)
{
	uint64_t ino = ip->ino;
	struct inode *again;

	unit_pool_reopen(up, idle);
	ck_assert_int_eq(inode_get(&up->pool, ino, &again), 0);
	return again;
}

void unit_pool_end(struct unit_pool *up, struct inode *ip)
{
	fault_disarm(FAULT_ALLOC);
	fault_disarm(FAULT_BALLOC);
	inode_put(ip);
	inode_put(up->root);
	unit_pool_delete(up);
}

uint64_t unit_pool_free(struct unit_pool *up)
{
	struct balloc_stat st;

	ck_assert_int_eq(journal_retire(up->pool.journal), 0);
	balloc_stat(up->pool.balloc, &st);
	ck_assert_uint_eq(st.deferred, 0);
	return st.free;
}

struct inode *unit_pool_inode(struct unit_pool *up, mode_t mode)
{
	struct inode *ip;
	struct tx tx;

	ck_assert_int_eq(tx_begin(&tx, &up->pool, 0), 0);
	ck_assert_int_eq(inode_new(&tx, &ip), 0);
	ip->core.mode = mode;
	ip->core.nlink = S_ISDIR(mode) ? 2 : 1;
	if (S_ISDIR(mode))
		ip->core.rdev = INO_ROOT;
	unit_commit(&tx, ip);
	return ip;
}

uint64_t unit_pool_file(struct unit_pool *up)
{
	struct inode *ip = unit_pool_inode(up, S_IFREG | 0644);
	uint64_t ino = ip->ino;

	inode_put(ip);
	return ino;
}

void unit_pool_unlink(struct inode *ip)
{
	struct tx tx;

	unit_begin(&tx, ip, BALLOC_RESERVE);
	ip->core.nlink = 0;
	unit_commit(&tx, ip);
	inode_put(ip);
}

void unit_pool_unlink_ino(struct unit_pool *up, uint64_t ino)
{
	struct inode *ip;

	ck_assert_int_eq(inode_get(&up->pool, ino, &ip), 0);
	unit_pool_unlink(ip);
}

void unit_pool_damage(struct unit_pool *up, uint64_t off, const void *bytes, size_t len)
{
	persist_store(up->region, region_at(up->region, off), bytes, len);
}

struct inode_core unit_pool_core(struct unit_pool *up, uint64_t ino)
{
	struct inode_core core;

	inode_decode(pool_at(&up->pool, inode_offset(&up->pool, ino)), &core);
	return core;
}

void unit_pool_rewrite(struct unit_pool *up, uint64_t ino, const struct inode_core *core)
{
	uint64_t off = inode_offset(&up->pool, ino);
	struct disk_inode d;

	inode_encode(&d, ino, core, format_seed(&up->pool.super, off));
	unit_pool_damage(up, off, &d, sizeof(d));
}

void unit_begin(struct tx *tx, struct inode *ip, unsigned int flags)
{
	pthread_rwlock_wrlock(&ip->lock);
	ck_assert_int_eq(tx_begin(tx, ip->pool, flags), 0);
	ck_assert_int_eq(inode_join(tx, ip), 0);
}

void unit_commit(struct tx *tx, struct inode *ip)
{
	ck_assert_int_eq(tx_commit(tx), 0);
	pthread_rwlock_unlock(&ip->lock);
}

void unit_abort(struct tx *tx, struct inode *ip)
{
	tx_abort(tx);
	pthread_rwlock_unlock(&ip->lock);
}
