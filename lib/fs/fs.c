/*
 * Mounting and unmounting: the order in which the parts of a pool come to life, and go.
 *
 * Mount: open the region (which takes the in-use lock), read the superblock and the tail, recover (writable mounts, and
 * read-only ones of a pool that was not unmounted cleanly), derive free space, and only then answer anything.
 * Recovery also drops the clean flag and the free-map cache durably, so that nothing is allocated while a cache of an
 * earlier state could still be believed.
 *
 * Unmount: retire the journal, save the free map, set the clean flag - in this order: the flag promises that nothing is
 * to be replayed and the cache holds. With handles still open (a mount that was torn away) no cache is saved: their
 * unlinked inodes are free on media and in use here.
 */
#include "fs/fs_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "meta/balloc.h"
#include "meta/ialloc.h"
#include "meta/journal.h"
#include "meta/recover.h"
#include "meta/scan.h"
#include "util/log.h"

#define IDLE_INODES	16384U		/* inodes kept in core without a reference */

/* Blocks kept back so that unlink, truncate and punch succeed when the pool is full. */
static uint64_t reserve_blocks(uint64_t blocks)
{
	uint64_t reserve = blocks / 128;

	return reserve < 16 ? 16 : reserve > 1024 ? 1024 : reserve;
}

static void add_message(struct fs *fs, const char *text)
{
	size_t used = strlen(fs->messages);

	snprintf(fs->messages + used, sizeof(fs->messages) - used, "%s%s", used ? "\n" : "", text);
}

static void journal_settled(void *arg, uint64_t seq)
{
	struct pool *p = arg;

	balloc_settle(p->balloc, seq);
}

static int adopt_region(struct fs *fs, struct region *region, const char *path, struct err *err)
{
	struct pool *p = &fs->pool;
	int rc;

	p->region = region;
	rc = super_read(region, path, &p->super, err);
	if (!rc && tail_read(region, &p->super, &fs->tail))
		rc = err_set(err, -EUCLEAN,
			     "%s: both tail slots are damaged, one valid slot is needed: run fsck.inodax", path);
	return rc;
}

static int open_as(struct fs *fs, const char *path, unsigned int flags, struct err *err)
{
	struct region *region;
	int rc = region_open(&region, path, 0, flags, err);

	return rc ? rc : adopt_region(fs, region, path, err);
}

/*
 * Open the region; one that needs replay is opened for writing even for a read-only mount, as ext4 does.
 * Between the two another mount may have had the pool, so everything is read again. A region that is of no use
 * is closed by teardown().
 */
static int open_region(struct fs *fs, const char *path, struct err *err)
{
	int rc = open_as(fs, path, fs->options.readonly ? REGION_RDONLY : 0, err);

	if (rc || !fs->options.readonly || fs->tail.flags & TAIL_CLEAN)
		return rc;
	region_close(fs->pool.region);
	fs->pool.region = NULL;
	return open_as(fs, path, 0, err);
}

static void collect_messages(struct fs *fs, uint64_t replayed)
{
	struct pool *p = &fs->pool;
	char text[160];

	if (p->super.from_backup)
		add_message(fs,
			    "the superblock is damaged, the backup at the end of the pool is used: run fsck.inodax");
	if (replayed) {
		snprintf(text, sizeof(text), "not unmounted cleanly: %llu records replayed",
			 (unsigned long long)replayed);
		add_message(fs, text);
	}
	if (!region_survives_power_loss(p->region))
		add_message(fs, "the pool is volatile (tmpfs): its contents do not survive a power cut");
	if (p->region->kind == REGION_PAGED) {
		snprintf(text, sizeof(text), "the pool is page-cached: %s", region_remark(p->region));
		add_message(fs, text);
	}
}

/* Bring the media to the state the journal promises and make this mount's sequence durable. */
static int replay(struct fs *fs, const char *path, uint64_t *replayed, struct err *err)
{
	struct pool *p = &fs->pool;
	int rc;

	*replayed = 0;
	if (p->readonly && (fs->tail.flags & TAIL_CLEAN))
		return 0;
	rc = recover(p->region, &p->super, &fs->tail, replayed);
	if (rc)
		return err_set_errno(err, rc, "%s: cannot replay the journal", path);
	p->mount = fs->tail.mount;
	return 0;
}

static int derive(struct fs *fs, const struct tail *found, struct err *err)
{
	struct pool *p = &fs->pool;
	int rc = -ENODATA;

	if (found->flags & TAIL_CLEAN)
		rc = freemap_load(p, found);
	if (rc == -ENODATA)
		rc = scan_pool(p, fs->options.scan_threads, err);
	if (rc)
		return rc;
	return balloc_start(p->balloc, reserve_blocks(p->super.blocks));
}

static int start_parts(struct fs *fs, const char *path, struct err *err)
{
	struct pool *p = &fs->pool;
	struct tail found = fs->tail;
	struct inode *root;
	uint64_t replayed;
	int rc;

	rc = replay(fs, path, &replayed, err);
	if (rc)
		return rc;
	p->balloc = balloc_new(p->super.blocks);
	if (!p->balloc)
		return err_set_errno(err, -ENOMEM, "%s: free map", path);
	if (!p->readonly) {
		rc = journal_open(&p->journal, p->region, &p->super, &fs->tail, journal_settled, p);
		if (rc)
			return err_set_errno(err, rc, "%s: journal", path);
	}
	rc = icache_new(p, IDLE_INODES);
	if (rc)
		return err_set_errno(err, rc, "%s: inode cache", path);
	rc = ialloc_new(p);
	if (rc)
		return err_set_errno(err, rc, "%s: the inode table's own inode is damaged: run fsck.inodax", path);
	rc = derive(fs, &found, err);
	if (rc)
		return rc;
	rc = inode_get(p, INO_ROOT, &root);
	if (rc)
		return err_set_errno(err, rc, "%s: the root directory's inode is damaged: run fsck.inodax", path);
	inode_put(root);
	collect_messages(fs, replayed);
	return arbiter_start(fs, path, err);
}

static void teardown(struct fs *fs)
{
	struct pool *p = &fs->pool;

	grants_stop(fs);
	if (p->icache)
		icache_delete(p);
	arbiter_stop(fs);
	if (p->ialloc)
		ialloc_delete(p);
	journal_close(p->journal);
	balloc_delete(p->balloc);
	if (fs->own_region)
		region_close(p->region);
	if (fs->zeros)
		munmap((void *)fs->zeros, FS_ZEROS_SIZE);
	pthread_mutex_destroy(&fs->rename_lock);
	free(fs);
}

int fs_mount(struct fs **out, const char *path, struct region *region, const struct fs_options *opt, struct err *err)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	void *zeros;
	int rc;

	if (!fs)
		return err_set_errno(err, -ENOMEM, "%s", path);
	pthread_mutex_init(&fs->rename_lock, NULL);
	fs->options = *opt;
	fs->own_region = !region;
	zeros = mmap(NULL, FS_ZEROS_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zeros == MAP_FAILED) {
		rc = err_set_errno(err, -ENOMEM, "%s: zero pages", path);
		goto fail;
	}
	fs->zeros = zeros;
	rc = region ? adopt_region(fs, region, path, err) : open_region(fs, path, err);
	if (rc)
		goto fail;
	if (fs->pool.super.feature_ro_compat & ~FEATURE_RO_COMPAT_KNOWN) {
		fs->options.readonly = true;
		add_message(fs, "the pool has features this version can only read: mounted read-only");
	}
	fs->pool.readonly = fs->options.readonly;
	/* Before recovery: a mount that is refused for want of a directory changes nothing on media. */
	rc = arbiter_open(fs, err);
	if (!rc)
		rc = start_parts(fs, path, err);
	if (rc)
		goto fail;
	*out = fs;
	return 0;

fail:
	teardown(fs);
	return rc;
}

/* The clean flag, and with it the free map if nothing is in use that the media calls free. */
static int mark_clean(struct fs *fs)
{
	struct pool *p = &fs->pool;
	uint32_t flags = TAIL_CLEAN, blocks = 0;
	uint64_t block = 0;
	int rc;

	rc = journal_retire(p->journal);
	if (rc)
		return rc;
	if (atomic_load(&fs->open_files) == 0 && arbiter_idle(fs)) {
		rc = freemap_save(p, p->mount, &block, &blocks);
		if (!rc)
			flags |= TAIL_FREEMAP;
		else if (rc != -ENOSPC)
			return rc;
	}
	return journal_set_tail(p->journal, flags, block, blocks);
}

int fs_unmount(struct fs *fs)
{
	int rc = atomic_load(&fs->pool.failed);

	grants_stop(fs);
	quarantine_end(fs->quarantine);
	if (!rc && !fs->pool.readonly)
		rc = mark_clean(fs);
	teardown(fs);
	return rc;
}

const char *fs_mount_messages(const struct fs *fs)
{
	return fs->messages;
}

struct pool *fs_pool(struct fs *fs)
{
	return &fs->pool;
}

const struct fs_options *fs_options(const struct fs *fs)
{
	return &fs->options;
}

int fs_statvfs(struct fs *fs, struct statvfs *st)
{
	struct pool *p = &fs->pool;
	struct balloc_stat ba;
	uint64_t free_blocks, fixed, used = ialloc_used(p);

	balloc_stat(p->balloc, &ba);
	free_blocks = ba.free + ialloc_reclaimable(p) + quarantine_count(fs->quarantine);
	fixed = BLOCK_JOURNAL + p->super.journal_blocks + 1;
	memset(st, 0, sizeof(*st));
	st->f_bsize = BLOCK_SIZE;
	st->f_frsize = BLOCK_SIZE;
	st->f_blocks = p->super.blocks - fixed;
	st->f_bfree = free_blocks;
	st->f_bavail = free_blocks > ba.reserve ? free_blocks - ba.reserve : 0;
	st->f_ffree = st->f_bavail * INODES_PER_BLOCK;	/* the table grows as long as there are blocks */
	st->f_favail = st->f_ffree;
	st->f_files = used + st->f_ffree;
	st->f_namemax = NAME_MAX_LEN;
	memcpy(&st->f_fsid, p->super.uuid, sizeof(st->f_fsid));
	if (p->readonly)
		st->f_flag |= ST_RDONLY;
	return 0;
}
