/*
 * Files as lib/dax sees them, and lib/dax as the operations see it.
 *
 * An inode gets a mapping when it is first mapped (fs_file_mapping) and keeps it as long as it is cached. From then on
 * whatever takes blocks from the file first breaks the layout of the range, and its freed blocks go back to the
 * allocator through the pgmap: at once when nothing refers to them, else when the last reference goes. An inode that
 * was never mapped pays one load.
 *
 * Lock order: the mapping's invalidate lock, then locks of entries, then the inode's lock - a fault asks for blocks
 * with its entry locked. So layout_begin() comes before inode_lock(), and what must wait for faults after a change
 * (write() over a hole that is mapped) does so with the inode's lock given up.
 */
#include "fs/fs_private.h"

#include <stdlib.h>
#include <string.h>

#include "meta/balloc.h"
#include "util/clock.h"
#include "util/log.h"

/* ---- What lib/dax asks of a file ------------------------------------------------------------------------- */

static uint64_t host_size(void *host)
{
	return inode_size(host);
}

static void host_hold(void *host)
{
	inode_hold(host);
}

/* As fs_close(): what a mapping stored may be newer than the last close, and nobody else writes these times. */
static void host_put(void *host)
{
	struct inode *ip = host;

	inode_lock(ip);
	if (ip->core.nlink)
		(void)inode_write_times(ip);	/* a failure has failed the pool */
	inode_unlock(ip);
	inode_put(ip);
}

/* A mapping may store from now on: that is a change of the file, as file_update_time() has it in a write fault. */
static void host_dirty(void *host)
{
	struct inode *ip = host;

	inode_lock(ip);
	inode_touch(ip);
	ip->times_dirty = true;
	inode_unlock(ip);
}

/*
 * What leads to blocks is durable when a fault gets them: IOMAP_F_DIRTY is never set, and there is nothing to wait for.
 */
static int host_sync(void *host, uint64_t pos, uint64_t len)
{
	struct inode *ip = host;

	(void)pos;
	(void)len;
	return atomic_load(&ip->pool->failed);
}

static void host_flush(void *host, uint64_t addr, uint64_t len)
{
	struct region *r = ((struct inode *)host)->pool->region;
	struct pool *p = ((struct inode *)host)->pool;
	int rc;

	persist_flush(r, region_at(r, addr), len);
	rc = persist_fence(r, PERSIST_DATA);
	if (rc)
		pool_fail(p, rc, "cannot make what a mapping stored durable");
}

static int host_copy(void *host, uint64_t to, uint64_t from, uint64_t len)
{
	struct region *r = ((struct inode *)host)->pool->region;

	if (from == DAX_ZEROS)
		persist_zero_nt(r, region_at(r, to), len);
	else
		persist_store_nt(r, region_at(r, to), region_at(r, from), len);
	return persist_fence(r, PERSIST_UNREACHABLE);
}

/*
 * Blocks for a write fault, zeroed and durable: one transaction. What could not be mapped with the size asked for is
 * not allocated at all: -ENOSPC, and a smaller fault follows. (The kernel keeps it.)
 */
static int alloc_for_fault(struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map)
{
	/* Nothing smaller than a unit can be mapped: it has to lie together, however long that is looked for. */
	bool unit = len > BLOCK_SIZE && len >> pgmap_config(fs_of(ip)->dax.pgmap)->unit_shift == 1;
	struct region *r = ip->pool->region;
	struct tx tx;
	int rc = tx_begin(&tx, ip->pool, unit ? BALLOC_WHOLE : 0);

	if (rc)
		return rc;
	rc = inode_join(&tx, ip);
	if (!rc)
		rc = iomap_write(&tx, ip, pos, len, map);
	if (!rc && (map->length < len || (map->addr & (len - 1))))
		rc = -ENOSPC;
	if (!rc) {
		persist_zero_nt(r, region_at(r, map->addr), map->length);
		tx_order_data(&tx);
		inode_touch(ip);
		rc = tx_commit(&tx);
	}
	if (rc)
		tx_abort(&tx);
	else
		atomic_fetch_add(&ip->fills, 1);
	return rc;
}

/* What is there, in a unit of its own if a unit is asked for. Lock exclusive. */
static int own_unit(struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map)
{
	int rc = iomap_read(ip, pos, len, map);

	if (rc || !inode_unit_apart(ip, pos, len, map))
		return rc;
	rc = inode_promote(ip, pos, len);
	return rc ? rc : iomap_read(ip, pos, len, map);
}

static int begin_read(struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map)
{
	bool apart;
	int rc;

	inode_lock_shared(ip);
	rc = iomap_read(ip, pos, len, map);
	apart = !rc && inode_unit_apart(ip, pos, len, map);
	inode_unlock(ip);
	if (!apart)
		return rc;
	inode_lock(ip);
	rc = own_unit(ip, pos, len, map);
	inode_unlock(ip);
	return rc;
}

/* Lock exclusive. */
static int begin_write(struct inode *ip, uint64_t pos, uint64_t len, struct iomap *map)
{
	int rc = ip->pool->readonly ? -EROFS : own_unit(ip, pos, len, map);

	/* A mapping that is there, or one too short for this size: nothing to allocate. */
	if (rc || map->type == IOMAP_MAPPED || map->offset + map->length - pos < len)
		return rc;
	return alloc_for_fault(ip, pos, len, map);
}

static int host_iomap_begin(void *host, uint64_t pos, uint64_t len, unsigned int flags, struct iomap *map,
			    struct iomap *src)
{
	struct inode *ip = host;
	int rc;

	memset(src, 0, sizeof(*src));
	if (!(flags & IOMAP_WRITE))
		return begin_read(ip, pos, len, map);
	inode_lock(ip);
	rc = begin_write(ip, pos, len, map);
	inode_unlock(ip);
	return rc;
}

static const struct dax_file_ops file_ops = {
	.iomap = { .begin = host_iomap_begin },
	.size = host_size,
	.hold = host_hold,
	.put = host_put,
	.dirty = host_dirty,
	.sync = host_sync,
	.flush = host_flush,
	.copy = host_copy,
};

/* ---- The pool's side --------------------------------------------------------------------------------------- */

static void page_free(void *arg, uint64_t block, uint64_t count)
{
	struct fs *fs = arg;

	quarantine_free(fs->quarantine, block, count, clock_ms());
}

static int free_data(struct pool *p, uint64_t block, uint64_t count)
{
	pgmap_free_blocks(container_of(p, struct fs, pool)->dax.pgmap, block, count);
	return 0;
}

static int wait_free(struct pool *p)
{
	return quarantine_wait(container_of(p, struct fs, pool)->quarantine);
}

/*
 * The inode leaves the cache, or its blocks go back: nobody maps it, its entries go, and what they say of stores that
 * are not durable yet is settled first, unless nobody can ask.
 */
static void evict(struct inode *ip)
{
	struct dax_mapping *m = atomic_load(&ip->mapping);

	if (ip->core.nlink)
		dax_writeback(m, 0, UINT64_MAX);
	dax_break_layout_final(m);
	dax_mapping_delete(m);
	atomic_store(&ip->mapping, NULL);
}

/* The folio table has three sizes; a namespace that maps something between gets the next larger one. */
static unsigned int table_unit_shift(unsigned int unit_shift)
{
	unsigned int shift = DAX_PTE_SHIFT;

	while (shift < unit_shift)
		shift += 9;
	return shift;
}

/* Of a pool smaller than a unit nothing can be mapped, but it can be mounted. */
static uint64_t table_bytes(const struct fs *fs, unsigned int unit_shift)
{
	uint64_t bytes = fs->pool.super.blocks << BLOCK_SHIFT;

	return bytes >> unit_shift ? bytes : 1ULL << unit_shift;
}

/* Where tools look for this pool; NULL: nowhere. A read-only mount has nothing to show. */
static const char *shm_dir(const struct fs *fs, char *buf, size_t size)
{
	if (!fs->options.shm || fs->pool.readonly)
		return NULL;
	if (fs->options.shm_dir)
		return fs->options.shm_dir;
	if (dax_shm_default_dir(buf, size) == 0)
		return buf;
	log_info("XDG_RUNTIME_DIR is not set: inodaxctl will not find who maps what");
	return NULL;
}

int arbiter_open(struct fs *fs, struct err *err)
{
	unsigned int unit_shift = table_unit_shift(fs->pool.super.unit_shift);
	const struct fs_options *o = &fs->options;
	char dir[512];
	struct dax_shm_config config = {
		.dir = shm_dir(fs, dir, sizeof(dir)),
		.units = table_bytes(fs, unit_shift) >> unit_shift,
		.unit_shift = unit_shift,
		.like = fs->pool.region->fd,
	};
	struct dax_shm_header *h;
	bool reused;
	int rc;

	memcpy(config.uuid, fs->pool.super.uuid, sizeof(config.uuid));
	rc = dax_shm_open(&fs->shm, &config, &reused, err);
	if (rc == -EACCES || rc == -EROFS || rc == -ENOENT) {
		/* A place that nobody asked for: the mount does without. */
		if (!config.dir || o->shm_dir)
			return rc;
		log_info("%s: inodaxctl will not find who maps what", err->text);
		config.dir = NULL;
		rc = dax_shm_open(&fs->shm, &config, &reused, err);
	}
	if (rc)
		return rc;
	h = dax_shm_header(fs->shm);
	h->accounting = o->accounting;
	h->drain = o->drain;
	h->layout = o->layout;
	h->pin = o->pins;
	return 0;
}

/*
 * Lists of a daemon that was killed are counted again. The handles that kept them ended with its mount: what is left is
 * of clients that still map the pool.
 */
static int take_over(struct fs *fs, const char *path, unsigned int damaged, struct err *err)
{
	uint64_t counted, kept;
	int rc = dax_adopt(fs->dax.pgmap, fs->grants, &counted);

	if (rc)
		return err_set_errno(err, rc, "%s: grant lists", path);
	rc = grants_start(fs, path, &kept, err);
	if (!rc && (counted || damaged))
		log_info("%llu references of an earlier daemon were found, %llu clients have some still, "
			 "%u list pages were damaged", (unsigned long long)counted, (unsigned long long)kept, damaged);
	return rc;
}

/* References are one for each page-table entry, so it counts what entries there can be. */
static enum dax_size largest_size(const struct region *r)
{
	uint64_t bytes = region_page_max(r);

	return bytes >> DAX_PUD_SHIFT ? DAX_PUD : bytes >> DAX_PMD_SHIFT ? DAX_PMD : DAX_PTE;
}

int arbiter_start(struct fs *fs, const char *path, struct err *err)
{
	const struct fs_options *o = &fs->options;
	unsigned int unit_shift = table_unit_shift(fs->pool.super.unit_shift);
	struct pgmap_config config = {
		.size = table_bytes(fs, unit_shift),
		.unit_shift = unit_shift,
		.block_shift = BLOCK_SHIFT,
		.drain = o->drain,
		.accounting = o->accounting,
		.page_free = page_free,
		.arg = fs,
	};
	int orders[DAX_SIZES], rc;
	unsigned int damaged;
	struct pgmap *pg;

	rc = quarantine_new(&fs->quarantine, &fs->pool, o->quarantine_ms, &dax_shm_header(fs->shm)->resting);
	if (!rc && !fs->pool.readonly)
		rc = quarantine_start(fs->quarantine);
	if (rc)
		return err_set_errno(err, rc, "%s: quarantine of blocks", path);
	config.words = dax_shm_words(fs->shm);
	rc = pgmap_new(&pg, &config);
	if (rc)
		return err_set_errno(err, rc, "%s: folio table", path);
	dax_init(&fs->dax, pg);
	fs->dax.max_size = largest_size(fs->pool.region);
	fs->dax.layout = o->layout;
	fs->dax.pin = o->pins;
	fs->dax.pin_busy = o->pin_busy;
	if (o->mapper_ms)
		fs->dax.mapper_ms = o->mapper_ms;
	for (unsigned int size = 0; size < DAX_SIZES; size++)
		orders[size] = pgmap_order(pg, (enum dax_size)size);
	rc = grant_set_new(&fs->grants, fs->shm, orders, &damaged);
	if (rc)
		return err_set_errno(err, rc, "%s: grant lists", path);
	fs->pool.free_data = free_data;
	fs->pool.wait_free = wait_free;
	fs->pool.evict = evict;
	return take_over(fs, path, damaged, err);
}

bool arbiter_idle(struct fs *fs)
{
	struct pgmap_stat st;
	struct list *pos;

	if (!fs->dax.pgmap)
		return true;
	/* Who maps a file holds its inode, which may have no name, whether or not anything was faulted in. */
	list_for_each(pos, &fs->dax.mappings)
		if (!list_empty(&list_entry(pos, struct dax_mapping, link)->vmas))
			return false;
	pgmap_stat(fs->dax.pgmap, &st);
	return !st.live && !st.limbo;
}

/*
 * Blocks in limbo are free on media already; the next mount derives it. Lists that are left are of clients that outlive
 * this mount: they are for the next.
 */
void arbiter_stop(struct fs *fs)
{
	bool held, clients = fs->grants && grant_set_next(fs->grants, NULL);
	struct pgmap *pg = fs->dax.pgmap;

	if (pg) {
		pgmap_kill(pg);
		held = pgmap_drain(pg, 0) != 0;
		if (held && !clients)
			log_warn("the pool is given up while folios of it are referenced");
		if (fs->grants)
			grant_set_delete(fs->grants);
		if (held)
			pgmap_delete(pg);
		else
			pgmap_destroy(pg);
		dax_destroy(&fs->dax);
	}
	if (fs->quarantine) {
		quarantine_end(fs->quarantine);
		quarantine_delete(fs->quarantine);
	}
	if (fs->shm)
		dax_shm_close(fs->shm, !clients);
}

/* ---- For the operations ------------------------------------------------------------------------------------ */

static bool interrupted(void *arg)
{
	const struct fs_cred *cred = arg;

	return cred->interrupted(cred->arg);
}

/* Map units [*first, +*count) that have any of the whole blocks in [pos, pos + len). */
static void units_taken(const struct fs *fs, uint64_t pos, uint64_t len, uint64_t *first, uint64_t *count)
{
	unsigned int order = pgmap_config(fs->dax.pgmap)->unit_shift - BLOCK_SHIFT;
	uint64_t end = pos + len, block = (pos + BLOCK_SIZE - 1) >> BLOCK_SHIFT;

	*first = block >> order;
	if (fs->dax.layout == DAX_LAYOUT_KERNEL || end < pos || end > (uint64_t)INT64_MAX)
		*count = UINT64_MAX;
	else if (end >> BLOCK_SHIFT > block)
		*count = (((end >> BLOCK_SHIFT) - 1) >> order) + 1 - *first;
	else
		*count = 0;
}

/*
 * Without a wait: nobody maps the file, no pin is in the way, and who has the invalidate lock is not waited for - he
 * may wait for clients.
 */
static int try_break(struct dax_mapping *m, uint64_t first, uint64_t count)
{
	static const struct dax_break how = { .nowait = true, .unmapped = true };
	int rc = -EAGAIN;

	if (pthread_rwlock_trywrlock(&m->invalidate_lock))
		return FS_WOULD_WAIT;
	if (!count || !dax_mapped(m))
		rc = dax_break_layout(m, first, count, &how);
	if (rc)
		pthread_rwlock_unlock(&m->invalidate_lock);
	return rc == -EAGAIN ? FS_WOULD_WAIT : rc;
}

/* The invalidate lock is held on success. */
static int break_range(struct dax_mapping *m, const struct fs_cred *cred, uint64_t first, uint64_t count)
{
	struct dax_break how = { .interrupted = cred->interrupted ? interrupted : NULL, .arg = (void *)cred };
	int rc;

	if (cred->nowait)
		return try_break(m, first, count);
	pthread_rwlock_wrlock(&m->invalidate_lock);
	rc = dax_break_layout(m, first, count, &how);
	if (rc)
		pthread_rwlock_unlock(&m->invalidate_lock);
	return rc;
}

int layout_begin(struct inode *ip, const struct fs_cred *cred, uint64_t pos, uint64_t len)
{
	struct fs *fs = fs_of(ip);
	uint64_t first, count;
	struct dax_mapping *m;
	int rc = 0;

	for (;;) {
		m = atomic_load(&ip->mapping);
		if (m) {
			units_taken(fs, pos, len, &first, &count);
			rc = break_range(m, cred, first, count);
		}
		if (rc)
			return rc;
		inode_lock(ip);
		if (m == atomic_load(&ip->mapping))
			return 0;
		/* It was mapped for the first time meanwhile. */
		inode_unlock(ip);
	}
}

void layout_end(struct inode *ip)
{
	struct dax_mapping *m = atomic_load(&ip->mapping);

	inode_unlock(ip);
	if (m)
		pthread_rwlock_unlock(&m->invalidate_lock);
}

/* Whoever attached since layout_begin() that was not to wait has faulted nothing: the invalidate lock is held. */
void layout_end_cut(struct inode *ip, const struct fs_cred *cred, uint64_t size)
{
	struct dax_mapping *m = atomic_load(&ip->mapping);
	unsigned int shift = pgmap_config(fs_of(ip)->dax.pgmap)->unit_shift;

	inode_unlock(ip);
	if (!m)
		return;
	if (!cred->nowait)
		dax_unmap_range(m, (size + (1ULL << shift) - 1) >> shift, UINT64_MAX, true);
	pthread_rwlock_unlock(&m->invalidate_lock);
}

/* What cannot be read will not be written. */
bool inode_reads_zeros(struct inode *ip, uint64_t pos, uint64_t end)
{
	struct iomap map;

	for (; pos < end; pos = map.offset + map.length) {
		if (iomap_read(ip, pos, end - pos, &map))
			return false;
		if (map.type != IOMAP_MAPPED)
			return true;
	}
	return false;
}

bool layout_filled_waits(struct inode *ip, uint64_t pos, uint64_t len)
{
	struct dax_mapping *m = atomic_load(&ip->mapping);

	return m && dax_mapped(m) && inode_reads_zeros(ip, pos, pos + len);
}

void layout_filled(struct inode *ip, uint64_t pos, uint64_t len)
{
	struct dax_mapping *m = atomic_load(&ip->mapping);
	unsigned int shift;
	uint64_t first;

	if (!m)
		return;
	shift = pgmap_config(fs_of(ip)->dax.pgmap)->unit_shift;
	first = pos >> shift;
	pthread_rwlock_rdlock(&m->invalidate_lock);
	/* What is dirty there was no hole: whoever stored it sees what was written. */
	(void)dax_invalidate(m, first, ((pos + len - 1) >> shift) + 1 - first);
	dax_filled(m, NULL, first, ((pos + len - 1) >> shift) + 1 - first);
	pthread_rwlock_unlock(&m->invalidate_lock);
}

int layout_sync(struct inode *ip, bool nowait)
{
	struct dax_mapping *m = atomic_load(&ip->mapping);

	if (m && nowait)
		return dax_writeback_nowait(m, 0, UINT64_MAX) ? FS_WOULD_WAIT : 0;
	if (m)
		dax_writeback(m, 0, UINT64_MAX);
	return 0;
}

int fs_file_mapping(struct fs_file *f, struct dax_mapping **out)
{
	struct inode *ip = f->ip;
	struct dax_mapping *m;
	int rc = 0;

	if (!f->regular)
		return -ENODEV;
	inode_lock(ip);
	m = atomic_load(&ip->mapping);
	if (!m) {
		rc = dax_mapping_new(&m, &f->fs->dax, &file_ops, ip);
		if (!rc)
			atomic_store(&ip->mapping, m);
	}
	inode_unlock(ip);
	*out = m;
	return rc;
}

struct dax *fs_dax(struct fs *fs)
{
	return &fs->dax;
}

struct grant_set *fs_grants(struct fs *fs)
{
	return fs->grants;
}

void fs_interrupt(struct fs *fs)
{
	pgmap_wake(fs->dax.pgmap);
}
