/*
 * Mount after a crash: which blocks and which inode slots are in use, derived from the live inodes.
 *
 * Relies on replay being over, and on pool->balloc and pool->ialloc being new. Produces both, marked; the
 * caller starts them. Nothing is written: a scan may be cut anywhere and run again.
 *
 * First what every pool has: the fixed areas, the backup, the table's own blocks and nodes. Then workers
 * take ranges of table blocks from a common counter, verify each live inode they find there, and mark its
 * slot, its extents, its extent nodes and its xattr run. balloc_mark() refuses a block that has an owner
 * already, so that a pool in which two objects share a block is not mounted at all: freeing it once would
 * hand out what the other still uses. Directories are not walked, data, directory blocks and xattrs are not
 * read: that is for who opens them, and for fsck.
 *
 * The first worker that finds damage names it; the others stop at their next range.
 */
#include "meta/scan.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "meta/balloc.h"
#include "meta/extent.h"
#include "meta/ialloc.h"

#define SCAN_THREADS_MAX	16U
#define SCAN_RANGE		64U	/* table blocks a worker takes at once: 1024 inodes */

struct scan {
	struct pool		*pool;
	struct err		*err;		/* under lock */
	pthread_mutex_t		 lock;
	uint64_t		 blocks;	/* of the table */
	_Atomic uint64_t	 next;		/* first table block nobody took */
	_Atomic int		 rc;		/* of the first that failed */
};

/* One inode and whose scan it is: the argument of mark_extent(). */
struct scan_inode {
	struct scan	*scan;
	struct inode	 inode;		/* not in the cache; lock unused, as nobody else knows it */
};

/* The first error of all workers is the one told. Returns `rc`. */
static int scan_fail(struct scan *s, int rc, const char *text)
{
	pthread_mutex_lock(&s->lock);
	if (!atomic_load(&s->rc)) {
		err_set(s->err, rc, "%s: run fsck.inodax", text);
		atomic_store(&s->rc, rc);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int fail_inode(struct scan *s, uint64_t ino, const char *what)
{
	struct err text;

	if (ino == INO_ITABLE)
		err_set(&text, -EUCLEAN, "inode table: %s", what);
	else
		err_set(&text, -EUCLEAN, "inode %llu: %s", (unsigned long long)ino, what);
	return scan_fail(s, -EUCLEAN, text.text);
}

static int fail_blocks(struct scan *s, uint64_t ino, uint64_t block, uint64_t count, const char *what)
{
	struct err text;

	err_set(&text, -EUCLEAN, "%llu blocks at pool block %llu %s", (unsigned long long)count,
		(unsigned long long)block, what);
	return fail_inode(s, ino, text.text);
}

/* ---- Marking ------------------------------------------------------------------------------------------- */

static int mark_blocks(struct scan *s, uint64_t ino, uint64_t block, uint64_t count)
{
	const struct super *sb = &s->pool->super;

	if (!pool_blocks_valid(sb, block, count))
		return fail_blocks(s, ino, block, count, "lie outside of what may be allocated");
	if (balloc_mark(s->pool->balloc, block, count))
		return fail_blocks(s, ino, block, count, "belong to another object too");
	return 0;
}

/* extent_fn */
static int mark_extent(void *arg, const struct extent *e, uint64_t node)
{
	struct scan_inode *si = arg;

	if (node)
		return mark_blocks(si->scan, si->inode.ino, node, 1);
	return mark_blocks(si->scan, si->inode.ino, e->block, e->count);
}

/* What si->inode's core refers to. */
static int mark_map(struct scan_inode *si)
{
	const struct inode_core *core = &si->inode.core;
	int rc = extent_walk(&si->inode, mark_extent, si);

	if (rc && !atomic_load(&si->scan->rc))
		return fail_inode(si->scan, si->inode.ino, "its extent tree does not verify");
	if (!rc && core->xattr_block)
		rc = mark_blocks(si->scan, si->inode.ino, core->xattr_block, core->xattr_blocks);
	return rc;
}

static int mark_fixed(struct scan *s)
{
	const struct super *sb = &s->pool->super;
	struct scan_inode si = { .scan = s };

	if (balloc_mark(s->pool->balloc, 0, sb->journal_block + sb->journal_blocks) ||
	    balloc_mark(s->pool->balloc, sb->blocks - 1, 1))
		return scan_fail(s, -EUCLEAN, "superblock: the journal does not fit into the pool");
	si.inode.pool = s->pool;
	si.inode.ino = INO_ITABLE;
	si.inode.core = ialloc_itable(s->pool)->core;
	return mark_map(&si);
}

/* ---- Reading the table --------------------------------------------------------------------------------- */

static int scan_slot(struct scan_inode *si, uint64_t ino, uint64_t off)
{
	struct scan *s = si->scan;
	const struct disk_inode *d = pool_at(s->pool, off);
	const char *wrong;
	struct err text;

	if (disk_inode_free(d))
		return 0;
	wrong = disk_inode_verify(&s->pool->super, d, ino, off);
	if (wrong) {
		err_set(&text, -EUCLEAN, "its slot at byte %llu does not verify: %s", (unsigned long long)off,
			wrong);
		return fail_inode(s, ino, text.text);
	}
	if (ialloc_mark(s->pool, ino))
		return fail_inode(s, ino, "its slot is taken twice");
	si->inode.ino = ino;
	si->inode.slot = off;
	si->inode.tree_verified = false;
	inode_decode(d, &si->inode.core);
	return mark_map(si);
}

static int scan_table_block(struct scan_inode *si, uint64_t index)
{
	uint64_t block = ialloc_table_block(si->scan->pool, index), ino;
	unsigned int i;
	int rc = 0;

	for (i = 0; block && i < INODES_PER_BLOCK && !rc; i++) {
		ino = index * INODES_PER_BLOCK + i;
		if (ino != INO_ITABLE)
			rc = scan_slot(si, ino, (block << BLOCK_SHIFT) + i * INODE_SIZE);
	}
	return rc;
}

static void *scan_worker(void *arg)
{
	struct scan *s = arg;
	struct scan_inode si = { .scan = s, .inode = { .pool = s->pool } };
	uint64_t index, end;

	while (!atomic_load(&s->rc)) {
		index = atomic_fetch_add(&s->next, SCAN_RANGE);
		if (index >= s->blocks)
			break;
		end = s->blocks - index < SCAN_RANGE ? s->blocks : index + SCAN_RANGE;
		while (index < end && scan_table_block(&si, index) == 0)
			index++;
	}
	return NULL;
}

/* The caller's thread works too, alone if no other can be had. */
static void run_workers(struct scan *s, unsigned int threads)
{
	uint64_t ranges = (s->blocks + SCAN_RANGE - 1) / SCAN_RANGE;
	pthread_t thread[SCAN_THREADS_MAX];
	unsigned int n = 0;
	long cpus;

	if (!threads) {
		cpus = sysconf(_SC_NPROCESSORS_ONLN);
		threads = cpus > 0 ? (unsigned int)cpus : 1;
	}
	if (threads > SCAN_THREADS_MAX)
		threads = SCAN_THREADS_MAX;
	if (threads > ranges)
		threads = (unsigned int)ranges;
	while (n + 1 < threads && pthread_create(&thread[n], NULL, scan_worker, s) == 0)
		n++;
	scan_worker(s);
	while (n > 0)
		pthread_join(thread[--n], NULL);
}

int scan_pool(struct pool *p, unsigned int threads, struct err *err)
{
	struct scan s = { .pool = p, .err = err, .blocks = ialloc_slots(p) / INODES_PER_BLOCK };
	int rc;

	pthread_mutex_init(&s.lock, NULL);
	rc = mark_fixed(&s);
	if (!rc)
		run_workers(&s, threads);
	if (!atomic_load(&s.rc) && !ialloc_offset(p, INO_ROOT))
		scan_fail(&s, -EUCLEAN, "inode 1: the root directory is not there");
	rc = atomic_load(&s.rc);
	pthread_mutex_destroy(&s.lock);
	return rc;
}
