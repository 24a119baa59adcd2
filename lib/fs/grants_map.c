/*
 * What a client maps: areas, the units of the file that FAULT gives it, and the mapper's side of lib/dax.
 *
 * FAULT goes through lib/dax as the faults of any mapper do, unit after unit, largest size first, and what lib/dax
 * inserts into the client's page tables is what the answer says: the client maps it when it has the answer. A
 * revocation that comes between is posted, and voids the answer (direct.h). So "mapped" here means: recorded,
 * referenced, and told to the client.
 *
 * A client that asks for holes when it stores to them is told of a hole as one range of zeros, for which there is no
 * entry: a hole may be larger than all that could be recorded. Whoever puts blocks there tells all such areas.
 *
 * Stores of a direct mapping raise no fault, whatever was written back: there is no write_protect, and an entry that
 * somebody maps for stores stays dirty.
 */
#include "fs/grants_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dax/entry.h"
#include "util/clock.h"
#include "util/fault.h"

#define CACHED_MS	1000U	/* since the page cache was filled last, before a file is given out directly again */
#define HOLE_LIMIT	(256ULL << 20)
/* Of one request: a client that waits for its answer cannot be killed. */
#define FAULT_UNITS	32768U
#define FAULT_BYTES	(1ULL << 30)
#define DENSE_BYTES	(64ULL << 20)	/* as much may have to be copied */
#define FAULT_TRIES	16	/* of one unit that is always in somebody's way */

unsigned int grant_shift(const struct fs_grant *g)
{
	return pgmap_config(g->fs->dax.pgmap)->unit_shift;
}

/* ---- What lib/dax asks of a mapper -------------------------------------------------------------------------- */

static struct fs_area *area_of(struct dax_vma *vma)
{
	return container_of(vma, struct fs_area, dax);
}

/* Does `x` go on where the last extent ended, and as it did? */
static bool extends(const struct direct_extent *last, const struct direct_extent *x)
{
	return last->type == x->type && last->shift == x->shift && last->offset + last->length == x->offset &&
	       (x->type != DIRECT_POOL || last->addr + last->length == x->addr);
}

/* True: said. False: the answer is full. */
static bool answer_add(struct direct_fault *a, const struct direct_extent *x)
{
	if (a->count && extends(&a->extent[a->count - 1], x)) {
		a->extent[a->count - 1].length += x->length;
	} else {
		if (a->count == DIRECT_EXTENTS)
			return false;
		a->extent[a->count++] = *x;
	}
	a->next = x->offset + x->length;
	return true;
}

/*
 * Inserted: said in the answer of the FAULT under way. A fault in the middle of a larger entry inserts all of it; what
 * the client has already, it is told again from where it asked.
 */
static int insert(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags)
{
	struct fs_grant *g = area_of(vma)->grant;
	unsigned int shift = grant_shift(g);
	uint64_t n = 1ULL << pgmap_order(g->fs->dax.pgmap, size), skip = (g->answer->next >> shift) - index;
	struct direct_extent x = {
		.offset = (index + skip) << shift, .length = (n - skip) << shift, .shift = dax_size_shift(size),
		.type = flags & DAX_MAP_ZERO ? DIRECT_ZERO : DIRECT_POOL,
	};
	bool said;

	if (x.type == DIRECT_POOL) {
		x.addr = (unit + skip) << shift;
		quarantine_mark(g->fs->quarantine, x.addr >> BLOCK_SHIFT, x.length >> BLOCK_SHIFT);
	}
	pthread_mutex_lock(&g->lock);
	said = answer_add(g->answer, &x);
	pthread_mutex_unlock(&g->lock);
	return said ? 0 : -ENOMEM;
}

/* Larger page-table entries that begin or end outside are the client's to unmap whole. lock held. */
static void whole_entries(struct fs_area *area, uint64_t *index, uint64_t *count)
{
	uint64_t end = range_end(*index, *count), last = area->dax.index + area->dax.count;
	struct grant_ref ref;

	if (*index < area->dax.index)
		*index = area->dax.index;
	if (end > last)
		end = last;
	if (grant_find_ref(area->dax.grant, GRANT_MAP, area->dax.area, *index, &ref))
		*index = ref.index;
	if (grant_find_ref(area->dax.grant, GRANT_MAP, area->dax.area, end - 1, &ref))
		end = ref.index + size_units(area->dax.mapping, ref.size);
	*count = end - *index;
}

static int zap(struct dax_vma *vma, uint64_t index, uint64_t count, bool even_cows)
{
	struct fs_area *area = area_of(vma);

	pthread_mutex_lock(&area->grant->lock);
	whole_entries(area, &index, &count);
	revoke_post(area, index, count, even_cows ? DIRECT_REVOKE_COWS : 0);
	pthread_mutex_unlock(&area->grant->lock);
	return -EINPROGRESS;
}

/* The whole range is said: what of it are zeros is for the client to know, as what was there before may be. */
static int filled(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	struct fs_area *area = area_of(vma);
	uint64_t end = range_end(index, count), last = vma->index + vma->count;

	if (!area->sparse)
		return 0;
	if (index < vma->index)
		index = vma->index;
	if (end > last)
		end = last;
	pthread_mutex_lock(&area->grant->lock);
	revoke_post(area, index, end - index, DIRECT_REVOKE_ZEROS);
	pthread_mutex_unlock(&area->grant->lock);
	return -EINPROGRESS;
}

static void fail(struct dax_vma *vma, uint64_t index, enum dax_size size)
{
	(void)size;
	dax_zap_one(vma, index, 1);
}

/* Nothing is stored through a mapping for loads. */
static void write_protect(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	(void)vma, (void)index, (void)count;
}

static const struct mm_ops store_ops = { .insert = insert, .zap = zap, .filled = filled, .fail = fail };
static const struct mm_ops load_ops = {
	.insert = insert, .zap = zap, .filled = filled, .fail = fail, .write_protect = write_protect,
};

/* ---- Areas -------------------------------------------------------------------------------------------------- */

static struct fs_area *area_find(struct fs_grant *g, uint32_t number)
{
	struct list *pos;

	list_for_each(pos, &g->areas)
		if (list_entry(pos, struct fs_area, link)->dax.area == number)
			return list_entry(pos, struct fs_area, link);
	return NULL;
}

/*
 * As long as somebody maps it for stores, the file's times and blocks change without anybody being told: whoever knows
 * them has to ask again each time.
 */
static void storing_begins(struct fs_grant *g)
{
	struct fs_grants *gs = g->fs->direct;

	atomic_fetch_add(&g->storing, 1);
	atomic_fetch_add(&gs->storing, 1);
	if (gs->hooks.forget)
		gs->hooks.forget(gs->hooks.arg, g->ip->ino);
}

static void storing_ends(struct fs_grant *g)
{
	atomic_fetch_sub(&g->storing, 1);
	atomic_fetch_sub(&g->fs->direct->storing, 1);
}

int area_number(struct fs_grant *g, uint32_t *number)
{
	for (uint32_t i = 0; i <= GRANT_AREA_MAX; i++) {
		uint32_t n = g->next_area++ & GRANT_AREA_MAX;

		if (!area_find(g, n) && !pin_number_used(g, n)) {
			*number = n;
			return 0;
		}
	}
	return -ENOSPC;
}

void area_end(struct fs_area *area, bool keep)
{
	struct fs_grant *g = area->grant;

	/* Nobody finds it any more when it is detached: no revocation is posted after that. */
	pthread_mutex_lock(&g->lock);
	list_del(&area->link);
	pthread_mutex_unlock(&g->lock);
	if (area->write)
		storing_ends(g);
	if (keep)
		dax_vma_abandon(&area->dax);
	else
		dax_vma_detach(&area->dax);
	pthread_mutex_lock(&g->lock);
	revoke_forget(area);
	pthread_mutex_unlock(&g->lock);
	free(area);
}

/* Blocks that stores into the range may allocate at once, over which the client is told to do without. */
static int holes_allowed(const struct fs_grant *g, uint64_t offset, uint64_t length)
{
	uint64_t limit = g->fs->options.hole_limit ? g->fs->options.hole_limit : HOLE_LIMIT;
	uint64_t holes = 0, end = offset + length;
	struct iomap map;
	int rc = 0;

	inode_lock_shared(g->ip);
	if (end > g->ip->core.size)
		end = g->ip->core.size;
	for (uint64_t pos = offset; pos < end && !rc && holes <= limit; pos = map.offset + map.length) {
		rc = iomap_read(g->ip, pos, end - pos, &map);
		if (!rc && map.type == IOMAP_HOLE)
			holes += map.length;
	}
	inode_unlock(g->ip);
	return rc ? rc : holes > limit ? -EFBIG : 0;
}

static bool range_ok(const struct fs_grant *g, uint64_t offset, uint64_t length)
{
	uint64_t unit = 1ULL << grant_shift(g);

	return length && !(offset & (unit - 1)) && offset <= INT64_MAX && length <= (uint64_t)INT64_MAX - offset;
}

int area_check(const struct fs_grant *g, uint64_t offset, uint64_t length, uint32_t flags)
{
	if (!range_ok(g, offset, length) || (flags & ~(DIRECT_WRITE | DIRECT_SPARSE)))
		return -EINVAL;
	if ((flags & DIRECT_WRITE) && !g->writable)
		return -EBADF;
	return flags == DIRECT_WRITE ? holes_allowed(g, offset, length) : 0;
}

int area_new(struct fs_grant *g, const struct direct_map *map, struct fs_area **out)
{
	struct fs_area *area = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*area));
	unsigned int shift = grant_shift(g);
	int rc;

	if (!area)
		return -ENOMEM;
	area->grant = g;
	area->write = map->flags & DIRECT_WRITE;
	area->sparse = map->flags & DIRECT_SPARSE;
	area->dax = (struct dax_vma){
		.ops = area->write ? &store_ops : &load_ops, .grant = g->list, .index = map->offset >> shift,
		.count = ((map->length - 1) >> shift) + 1,
	};
	pthread_mutex_lock(&g->lock);
	rc = area_number(g, &area->dax.area);
	if (!rc)
		list_add_tail(&area->link, &g->areas);
	pthread_mutex_unlock(&g->lock);
	if (rc) {
		free(area);
		return rc;
	}
	*out = area;
	dax_vma_attach(g->mapping, &area->dax);
	if (area->write)
		storing_begins(g);
	return 0;
}

int grant_begin(struct fs *fs, const struct direct_name *name, bool nowait, struct fs_grant **out)
{
	int rc = grant_lock(fs, name, nowait, out);

	return rc || (*out)->list ? rc : grant_finish(*out, -EINVAL);
}

int fs_grant_map(struct fs *fs, struct direct_map *map, bool nowait)
{
	struct fs_area *area;
	struct fs_grant *g;
	int rc = grant_begin(fs, &map->name, nowait, &g);

	if (rc)
		return rc;
	rc = area_check(g, map->offset, map->length, map->flags);
	if (!rc)
		rc = area_new(g, map, &area);
	if (!rc)
		map->area = area->dax.area;
	return grant_finish(g, rc);
}

int fs_grant_unmap(struct fs *fs, const struct direct_unmap *unmap, bool nowait)
{
	struct fs_area *area;
	struct fs_grant *g;
	uint64_t index, count;
	int rc = grant_begin(fs, &unmap->name, nowait, &g);

	if (rc)
		return rc;
	area = area_find(g, unmap->area);
	if (!area || !range_ok(g, unmap->offset, unmap->length))
		return grant_finish(g, -EINVAL);
	index = unmap->offset >> grant_shift(g);
	count = ((unmap->length - 1) >> grant_shift(g)) + 1;
	if (index < area->dax.index || index - area->dax.index > area->dax.count - 1 ||
	    count > area->dax.count - (index - area->dax.index))
		return grant_finish(g, -EINVAL);
	if (index == area->dax.index && count == area->dax.count) {
		area_end(area, false);
		return grant_finish(g, 0);
	}
	pthread_mutex_lock(&g->lock);
	rc = (int)(dax_unmap(&area->dax, index, count) < 0 ? -ENOMEM : 0);
	pthread_mutex_unlock(&g->lock);
	return grant_finish(g, rc);
}

/* ---- Faults ------------------------------------------------------------------------------------------------- */

/*
 * The file is about to be given out directly: whatever the page cache has of it is brought here and forgotten. 1; 0:
 * others are using it that way, or it could not be done; FS_WOULD_WAIT. A fill that comes meanwhile leaves its own
 * mark.
 */
static int uncached(struct fs_grant *g, bool nowait)
{
	struct fs_grants *gs = g->fs->direct;
	_Atomic uint64_t *filled = &g->ip->filled;
	uint64_t emptying = FILLED_EMPTYING;
	bool empty;

	if (atomic_load(filled) == FILLED_NOT)
		return 1;
	if (clock_ms() - atomic_load(filled) < CACHED_MS)
		return 0;
	if (nowait)
		return FS_WOULD_WAIT;
	pthread_mutex_lock(&gs->uncache_lock);
	if (atomic_load(filled) != FILLED_NOT) {
		atomic_store(filled, FILLED_EMPTYING);
		empty = gs->hooks.uncache && gs->hooks.uncache(gs->hooks.arg, g->ip->ino) == 0;
		atomic_compare_exchange_strong(filled, &emptying, empty ? FILLED_NOT : FILLED_EVER);
	}
	pthread_mutex_unlock(&gs->uncache_lock);
	return atomic_load(filled) == FILLED_NOT;
}

/*
 * A hole at a->next, as far as it has whole units before `end_offset` and the end of the file: said to be zeros. False:
 * there is none, or no room to say so. Who fills it after this look tells the area, which voids the answer.
 */
static bool hole(struct fs_area *area, struct direct_fault *a, uint64_t end_offset)
{
	struct inode *ip = area->grant->ip;
	unsigned int shift = grant_shift(area->grant);
	uint64_t unit = 1ULL << shift, size;
	struct direct_extent x = { .offset = a->next, .type = DIRECT_ZERO, .shift = shift };
	struct iomap map;
	int rc = -ENOENT;

	inode_lock_shared(ip);
	size = (ip->core.size + unit - 1) & ~(unit - 1);
	if (end_offset > size)
		end_offset = size;
	if (a->next < end_offset)
		rc = iomap_read(ip, a->next, end_offset - a->next, &map);
	inode_unlock(ip);
	if (rc || map.type != IOMAP_HOLE)
		return false;
	x.length = (map.offset + map.length - a->next) & ~(unit - 1);
	return x.length && answer_add(a, &x);
}

/* Would stores in the range have to tell others, who map the holes of it? */
static bool fill_waits(struct fs_area *area, uint64_t pos, uint64_t end)
{
	struct inode *ip = area->grant->ip;
	bool zeros;

	if (!dax_fill_told(area->grant->mapping, &area->dax))
		return false;
	inode_lock_shared(ip);
	zeros = inode_reads_zeros(ip, pos, end);
	inode_unlock(ip);
	return zeros;
}

/* Some of [pos, pos + len) has blocks, written or not. */
static bool has_blocks(struct inode *ip, uint64_t pos, uint64_t len)
{
	struct iomap map;
	bool blocks;

	inode_lock_shared(ip);
	blocks = !iomap_read(ip, pos, len, &map) && (map.type != IOMAP_HOLE || map.length < len);
	inode_unlock(ip);
	return blocks;
}

/*
 * Why there is nothing for the unit at `pos`. Blocks that others put where the client has a hole may find no unit to
 * move to. They can be stored to all the same, if not directly; told that there is no room, it would be SIGBUS.
 */
static int refusal(const struct fs_area *area, const struct direct_fault *a, uint64_t pos)
{
	struct inode *ip = area->grant->ip;

	if (pos >= inode_size(ip))
		return DIRECT_EOF;
	if (area->sparse && !(a->flags & DIRECT_LOAD) && has_blocks(ip, pos, 1ULL << grant_shift(area->grant)))
		return DIRECT_CACHED;
	return DIRECT_NOSPC;
}

/* One unit, or the larger entry that it is in. What `stop` is then: DIRECT_MORE to go on; or a negative errno. */
static int fault_one(struct fs_area *area, struct direct_fault *a, uint64_t base, uint64_t end_offset, bool nowait)
{
	unsigned int shift = grant_shift(area->grant), result;
	uint64_t was = a->next, length = end_offset - base;
	struct dax_fault f = {
		.vma = &area->dax, .index = was >> shift, .address = a->address + (was - base), .start = a->address,
		.end = a->address + length,
		.flags = DAX_FAULT_SHARED | (area->write ? DAX_FAULT_WRITE : 0) | (nowait ? DAX_FAULT_NOWAIT : 0),
	};
	struct direct_extent lost = { .offset = was, .length = 1ULL << shift, .type = DIRECT_POISON, .shift = shift };

	for (int i = 0; i < FAULT_TRIES && a->next == was; i++) {
		if (dax_vma_told(&area->dax))
			return DIRECT_AGAIN;
		result = dax_handle_fault(&f);
		if (result & DAX_RETRY)
			return FS_WOULD_WAIT;
		if (result & DAX_OOM)
			return a->count == DIRECT_EXTENTS ? (int)DIRECT_MORE : -ENOMEM;
		if (result & DAX_HWPOISON)
			return answer_add(a, &lost) ? DIRECT_MORE : DIRECT_AGAIN;
		if (result & DAX_SIGBUS)
			return refusal(area, a, f.index << shift);
	}
	return a->next == was ? DIRECT_AGAIN : DIRECT_MORE;
}

/* How far the answer goes; before that, what has to be done for it at once. 0, FS_WOULD_WAIT, or an error. */
static int fault_prepare(struct fs_area *area, const struct direct_fault *a, uint64_t *end, bool nowait)
{
	uint64_t limit = a->flags & DIRECT_DENSE ? DENSE_BYTES : FAULT_BYTES;
	int rc = 0;

	*end = a->length < limit ? a->offset + a->length : a->offset + limit;
	if (nowait && area->write && !(a->flags & DIRECT_LOAD) && fill_waits(area, a->offset, *end))
		return FS_WOULD_WAIT;
	if (a->flags & DIRECT_DENSE)
		rc = inode_make_dense(area->grant->ip, a->offset, *end, nowait);
	return rc;
}

/*
 * Others see zeros where there may be blocks now: where the answer has them; and in what was tried last, which has them
 * also if it could not be mapped then, since something was on its way. The client itself knows what it asked for.
 */
static void tell_filled(struct fs_area *area, const struct direct_fault *a)
{
	struct dax *dax = &area->grant->fs->dax;
	unsigned int shift = grant_shift(area->grant), largest = dax_size_shift(dax->max_size);
	uint64_t tried = a->next + (1ULL << (largest > shift ? largest : shift)), end = a->offset + a->length;

	if (end > tried)
		end = tried;
	dax_filled(area->grant->mapping, &area->dax, a->offset >> shift, (end - a->offset) >> shift);
}

int area_fault(struct fs_area *area, struct direct_fault *a, bool nowait)
{
	uint64_t end_offset = a->offset + a->length, enough;
	uint64_t fills = atomic_load(&area->grant->ip->fills);
	int rc, stop = DIRECT_MORE, direct = uncached(area->grant, nowait);
	unsigned int left = FAULT_UNITS;

	if (direct <= 0) {
		a->stop = DIRECT_CACHED;
		return direct;
	}
	rc = fault_prepare(area, a, &enough, nowait);
	if (rc)
		return rc;
	area->grant->answer = a;
	while (a->next < enough && left-- && a->count < DIRECT_EXTENTS && stop == DIRECT_MORE)
		if (!(a->flags & DIRECT_LOAD) || !hole(area, a, end_offset))
			stop = fault_one(area, a, a->offset, end_offset, nowait);
	area->grant->answer = NULL;
	if (atomic_load(&area->grant->ip->fills) != fills)
		tell_filled(area, a);
	/* What is there already is an answer; the client asks for the rest. */
	if (stop == FS_WOULD_WAIT && a->count)
		stop = DIRECT_MORE;
	/* The page cache was filled meanwhile, and not all of this was there to be revoked. */
	if (stop >= 0 && atomic_load(&area->grant->ip->filled) != FILLED_NOT) {
		dax_zap_one(&area->dax, area->dax.index, area->dax.count);
		stop = DIRECT_AGAIN;
	}
	a->stop = stop < 0 ? DIRECT_MORE : (uint32_t)stop;
	return stop < 0 ? stop : 0;
}

int fs_grant_fault(struct fs *fs, struct direct_fault *a, bool nowait)
{
	struct fs_area *area;
	struct fs_grant *g;
	uint64_t first, last;
	int rc = grant_begin(fs, &a->name, nowait, &g);

	if (rc)
		return rc;
	area = area_find(g, a->area);
	if (!area || (a->flags & ~(DIRECT_LOAD | DIRECT_DENSE)) || ((a->flags & DIRECT_LOAD) && !area->sparse) ||
	    !range_ok(g, a->offset, a->length) || (a->address & ((1ULL << grant_shift(g)) - 1)) ||
	    a->address > UINT64_MAX - a->length)
		return grant_finish(g, -EINVAL);
	first = a->offset >> grant_shift(g);
	last = (a->offset + a->length - 1) >> grant_shift(g);
	if (first < area->dax.index || last - area->dax.index >= area->dax.count)
		return grant_finish(g, -EINVAL);
	a->length = ((last + 1) << grant_shift(g)) - a->offset;
	a->count = 0;
	a->next = a->offset;
	return grant_finish(g, area_fault(area, a, nowait));
}

/* ---- The page cache ----------------------------------------------------------------------------------------- */

int fs_grants_filled(struct fs_file *f, bool nowait)
{
	struct dax_mapping *m;

	atomic_store(&f->ip->filled, clock_ms());
	m = atomic_load(&f->ip->mapping);
	/* Who attaches from now on finds the mark. */
	if (!m || (nowait && !dax_mapped(m)))
		return 0;
	if (nowait)
		return FS_WOULD_WAIT;
	dax_unmap_range(m, 0, UINT64_MAX, false);
	return 0;
}

bool fs_grants_storing(struct fs *fs, uint64_t ino)
{
	struct fs_grants *gs = fs->direct;
	bool storing = false;
	struct list *pos;

	if (!gs || !atomic_load(&gs->storing))
		return false;
	pthread_mutex_lock(&gs->lock);
	list_for_each(pos, &gs->list) {
		const struct fs_grant *g = list_entry(pos, struct fs_grant, link);

		storing |= g->ip->ino == ino && atomic_load(&g->storing);
	}
	pthread_mutex_unlock(&gs->lock);
	return storing;
}
