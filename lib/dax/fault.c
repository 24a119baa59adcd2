/*
 * Faults: dax_iomap_pte_fault(), dax_iomap_pmd_fault(), dax_fault_iter() and what they call in fs/dax.c.
 *
 * One attempt, of one size: lock the entry -> iomap -> look at the pool's side (aligned, long enough, sound) -> make
 * the entry what it has to be -> a temporary reference, which is what takes the folio from 0 to 1 -> the mapper's
 * page-table entry with its own reference -> drop the temporary one -> unlock the entry. Nothing is ever inserted at
 * refcount 0.
 *
 * An attempt with a size larger than the unit gives up with FALLBACK wherever the kernel does (KERNEL-DAX 1.6, a
 * to l); the smallest size has nothing to fall back to and says SIGBUS.
 */
#include <errno.h>
#include <string.h>

#include "dax/entry.h"

/* One attempt. */
struct attempt {
	struct dax_fault	*f;
	struct dax_mapping	*m;
	enum dax_size		 size;
	uint64_t		 index, count;	/* of the range: aligned to the size */
	bool			 write, cow;	/* cow: a private store */
	uint64_t		 entry;		/* locked */
	struct iomap		 map, src;
	bool			 used;		/* what iomap told of is in use: iomap_end() */
};

static bool smallest(const struct attempt *a)
{
	return a->size == pgmap_base_size(a->m->dax->pgmap);
}

/* vmf_error() for the smallest size; anything larger is tried smaller, and that says what is wrong. */
static unsigned int failed(const struct attempt *a, int rc)
{
	if (rc == -EAGAIN)
		return DAX_NOPAGE;
	if (!smallest(a))
		return DAX_FALLBACK;
	switch (rc) {
	case -ENOMEM:
		return DAX_OOM;
	case -EHWPOISON:
		return DAX_HWPOISON;
	default:
		return DAX_SIGBUS;
	}
}

/* ---- What may be larger than a unit ---------------------------------------------------------------------- */

/* dax_fault_check_fallback(): d, c, e of the list; b is dax_handle_fault()'s. */
static bool fits(const struct attempt *a)
{
	const struct dax_fault *f = a->f;
	uint64_t bytes = 1ULL << dax_size_shift(a->size);
	uint64_t before = (f->index - a->index) << unit_shift(a->m);

	if (a->cow)
		return false;
	if ((f->address - before) & (bytes - 1))
		return false;
	return f->address >= f->start + before && f->address - before + bytes <= f->end;
}

/* The whole range below EOF rounded up to a unit (f). SIGBUS if not even its start is. 0: go on. */
static unsigned int check_eof(const struct attempt *a)
{
	unsigned int shift = unit_shift(a->m);
	uint64_t size = a->m->ops->size(a->m->host), units = size >> shift;

	if (size & ((1ULL << shift) - 1))
		units++;
	if (a->index >= units)
		return DAX_SIGBUS;
	return a->index + a->count > units ? DAX_FALLBACK : 0;
}

/* ---- Where the range lies -------------------------------------------------------------------------------- */

/* Is all of the range in it? Nothing is taken on trust (h). */
static bool covers(const struct attempt *a, const struct iomap *map)
{
	uint64_t pos = a->index << unit_shift(a->m), end = pos + (a->count << unit_shift(a->m));

	return map->offset <= pos && map->offset + map->length >= end;
}

/* dax_iomap_direct_access(): where the range lies in the pool. Covered, aligned, sound, and not being removed (k). */
static int direct_access(const struct attempt *a, const struct iomap *map, uint64_t *unit)
{
	struct pgmap *pg = a->m->dax->pgmap;
	unsigned int shift = unit_shift(a->m);
	uint64_t pos = a->index << shift, addr = map->addr + (pos - map->offset);

	if (!covers(a, map))
		return -EIO;
	if (addr & ((1ULL << dax_size_shift(a->size)) - 1))
		return -EINVAL;
	if (pgmap_state(pg) != PGMAP_LIVE)
		return -ENXIO;
	*unit = addr >> shift;
	return pgmap_poisoned(pg, *unit, a->count) ? -EHWPOISON : 0;
}

/* ---- Holes and private stores ---------------------------------------------------------------------------- */

static unsigned int inserted(const struct attempt *a, int rc)
{
	return rc ? failed(a, rc) : DAX_NOPAGE;
}

/* dax_load_hole(), dax_pmd_load_hole(): the zero unit, read-only, without a reference. */
static unsigned int load_hole(struct attempt *a)
{
	int rc = entry_insert(a->m, a->index, &a->entry, DAX_ZERO, a->size, 0, false, false);

	if (!rc && entry_kind(a->entry) != DAX_ZERO) {
		pgmap_violation(a->m->dax->pgmap, "blocks went from a file without a layout break", a->index);
		rc = -EIO;
	}
	if (!rc)
		rc = dax_insert(a->f->vma, a->index, a->size, DAX_ZEROS, DAX_MAP_ZERO);
	return inserted(a, rc);
}

/* dax_fault_cow_page(): nothing of the pool is mapped, so the entry stays what it is. */
static unsigned int private_store(struct attempt *a)
{
	uint64_t unit = DAX_ZEROS;
	int rc = a->map.type == IOMAP_MAPPED ? direct_access(a, &a->map, &unit) : 0;

	return inserted(a, rc ? : a->f->vma->ops->cow(a->f->vma, a->f->index, unit));
}

/* ---- Blocks ---------------------------------------------------------------------------------------------- */

/* dax_iomap_copy_around(): a store to blocks with other owners goes to new ones, which get what the old ones had. */
static int copy_around(struct attempt *a, uint64_t unit)
{
	unsigned int shift = unit_shift(a->m);
	uint64_t from = DAX_ZEROS, pos = a->index << shift;

	if (!(a->map.flags & IOMAP_F_SHARED))
		return 0;
	if (a->src.type == IOMAP_MAPPED) {
		if (!covers(a, &a->src))
			return -EIO;
		from = a->src.addr + (pos - a->src.offset);
		if (pgmap_poisoned(a->m->dax->pgmap, from >> shift, a->count))
			return -EHWPOISON;
	}
	return a->m->ops->copy(a->m->host, unit << shift, from, a->count << shift);
}

/* The page-table entry; the entry is of its size, or larger, and has the unit. */
static unsigned int map_unit(struct attempt *a, uint64_t unit)
{
	struct pgmap *pg = a->m->dax->pgmap;
	uint64_t first = size_floor(a->m, entry_size(a->entry), a->index);
	int rc;

	if (entry_unit(a->entry) + (a->index - first) != unit) {
		pgmap_violation(pg, "blocks of a file changed without a layout break", a->index);
		return failed(a, -EIO);
	}
	rc = pgmap_request_folio(pg, unit, a->size);
	if (rc)
		return failed(a, rc);
	rc = dax_insert(a->f->vma, a->index, a->size, unit, a->write ? DAX_MAP_WRITE : 0);
	pgmap_release_folio(pg, unit, a->size);
	return inserted(a, rc);
}

/* Is the allocation to be made durable before the store goes on? */
static bool needs_sync(const struct attempt *a)
{
	return a->write && (a->f->flags & DAX_FAULT_SYNC) && (a->map.flags & IOMAP_F_DIRTY);
}

/*
 * Is what the entry says shown to others, who would have to give it up first (entry_insert)? A store is asked before
 * it gets blocks, a load when it is known that there are some.
 */
static bool would_wait(const struct attempt *a, bool replaces)
{
	return (a->f->flags & DAX_FAULT_NOWAIT) && replaces && entry_kind(a->entry) == DAX_ZERO;
}

/* dax_fault_iter(): with the entry locked and the mapping known. */
static unsigned int fault_iter(struct attempt *a)
{
	bool shared = a->map.flags & IOMAP_F_SHARED;
	uint64_t unit;
	int rc;

	if (a->cow)
		return private_store(a);
	if (!a->write && a->map.type != IOMAP_MAPPED)
		return load_hole(a);
	if (a->map.type != IOMAP_MAPPED) {
		pgmap_violation(a->m->dax->pgmap, "a write fault got no blocks", a->index);
		return failed(a, -EIO);
	}
	if (would_wait(a, true) || (shared && (a->f->flags & DAX_FAULT_NOWAIT)))
		return DAX_RETRY;
	rc = direct_access(a, &a->map, &unit);
	if (!rc && a->write)
		rc = copy_around(a, unit);
	if (rc)
		return failed(a, rc);
	rc = entry_insert(a->m, a->index, &a->entry, DAX_REAL, a->size, unit, shared, a->write && !needs_sync(a));
	/* From here on the blocks are the file's, whether or not they come to be mapped: the entry has them. */
	a->used = !rc || rc == -EAGAIN;
	if (rc)
		return failed(a, rc);
	return needs_sync(a) ? DAX_NEEDDSYNC : map_unit(a, unit);
}

/* ---- One attempt ----------------------------------------------------------------------------------------- */

static unsigned int with_iomap(struct attempt *a)
{
	const struct dax_file_ops *ops = a->m->ops;
	unsigned int shift = unit_shift(a->m), flags = IOMAP_FAULT | (a->write && !a->cow ? IOMAP_WRITE : 0), ret;
	uint64_t pos = a->index << shift, len = a->count << shift;
	int rc = ops->iomap.begin(a->m->host, pos, len, flags, &a->map, &a->src);

	if (rc)
		return failed(a, rc);
	ret = covers(a, &a->map) ? fault_iter(a) : failed(a, -EIO);
	if (ops->iomap.end)
		ops->iomap.end(a->m->host, pos, len, a->used ? len : 0, flags, &a->map);
	if ((a->map.flags & IOMAP_F_NEW) && smallest(a) && !(ret & DAX_SIGBUS))
		ret |= DAX_MAJOR;
	return ret;
}

static void attempt_init(struct attempt *a, struct dax_fault *f, enum dax_size size)
{
	memset(a, 0, sizeof(*a));
	a->f = f;
	a->m = f->vma->mapping;
	a->size = size;
	a->index = size_floor(a->m, size, f->index);
	a->count = size_units(a->m, size);
	a->write = f->flags & DAX_FAULT_WRITE;
	a->cow = a->write && !(f->flags & DAX_FAULT_SHARED);
}

/* pmd_trans_huge() */
static bool huge_there(const struct dax_fault *f)
{
	struct dax_vma *vma = f->vma;
	struct grant_ref ref;

	if (vma->ops->huge)
		return vma->ops->huge(vma, f->index);
	return grant_find_ref(vma->grant, GRANT_MAP, vma->area, f->index, &ref) &&
	       ref.size > pgmap_base_size(vma->mapping->dax->pgmap);
}

unsigned int dax_iomap_fault(struct dax_fault *f, enum dax_size size)
{
	struct attempt a;
	unsigned int ret;
	int rc;

	if (pgmap_order(f->vma->mapping->dax->pgmap, size) < 0)
		return DAX_FALLBACK;
	attempt_init(&a, f, size);
	if (!smallest(&a) && !fits(&a))
		return DAX_FALLBACK;
	ret = check_eof(&a);
	if (ret)
		return ret;
	rc = f->flags & DAX_FAULT_NOWAIT ? entry_grab_nowait(a.m, f->index, size, &a.entry) :
					   entry_grab(a.m, f->index, size, &a.entry);
	if (rc)
		return rc == -EAGAIN ? DAX_FALLBACK : rc == -EBUSY ? DAX_RETRY : DAX_OOM;
	if (smallest(&a) && huge_there(f))
		ret = DAX_NOPAGE;		/* somebody was faster */
	else if (would_wait(&a, a.write && !a.cow))
		ret = DAX_RETRY;
	else
		ret = with_iomap(&a);
	entry_unlock(a.m, f->index, a.entry);
	return ret;
}

/* ---- MAP_SYNC -------------------------------------------------------------------------------------------- */

/* dax_insert_pfn_mkwrite(): the allocation is durable now; map it, if the entry is still what it was. */
static unsigned int insert_mkwrite(struct attempt *a)
{
	unsigned int ret;

	if (!entry_lock_mapped(a->m, a->f->index, true, a->size, &a->entry))
		return DAX_NOPAGE;
	if (a->m->ops->dirty)
		a->m->ops->dirty(a->m->host);
	a->entry |= ENTRY_DIRTY;
	ret = map_unit(a, entry_unit(a->entry));
	entry_unlock(a->m, a->f->index, a->entry);
	return ret;
}

unsigned int dax_finish_sync_fault(struct dax_fault *f, enum dax_size size)
{
	struct attempt a;
	unsigned int shift;

	attempt_init(&a, f, size);
	shift = unit_shift(a.m);
	if (a.m->ops->sync(a.m->host, a.index << shift, a.count << shift))
		return DAX_SIGBUS;
	return insert_mkwrite(&a);
}

/* ---- All sizes ------------------------------------------------------------------------------------------- */

/*
 * wp_huge_pmd(): a page-table entry of the size that the fault cannot have goes, so that smaller ones can come. (One
 * of the zero unit goes when its mapping entry is taken apart.)
 */
static void split(struct dax_fault *f, enum dax_size size)
{
	struct grant_ref ref;

	if (grant_find_ref(f->vma->grant, GRANT_MAP, f->vma->area, f->index, &ref) && ref.size >= size)
		dax_zap_one(f->vma, f->index, 1);
}

static unsigned int one_size(struct dax_fault *f, enum dax_size size)
{
	struct dax_mapping *m = f->vma->mapping;
	unsigned int ret;

	if (!(f->flags & DAX_FAULT_NOWAIT))
		pthread_rwlock_rdlock(&m->invalidate_lock);
	else if (pthread_rwlock_tryrdlock(&m->invalidate_lock))
		return DAX_RETRY;
	ret = dax_iomap_fault(f, size);
	if (ret & DAX_NEEDDSYNC)
		ret = (ret & DAX_MAJOR) | dax_finish_sync_fault(f, size);
	pthread_rwlock_unlock(&m->invalidate_lock);
	return ret;
}

unsigned int dax_handle_fault(struct dax_fault *f)
{
	struct dax *dax = f->vma->mapping->dax;
	enum dax_size base = pgmap_base_size(dax->pgmap), size = dax->max_size > base ? dax->max_size : base;
	unsigned int ret;

	atomic_fetch_add(&dax->stat.faults, 1);
	/* What is there already is stored to as it is. */
	if ((f->flags & DAX_FAULT_NOHUGE) && !huge_there(f))
		size = base;
	for (;; size--) {
		ret = one_size(f, size);
		if (!(ret & DAX_FALLBACK) || size == base)
			break;
		atomic_fetch_add(&dax->stat.fallbacks, 1);
		split(f, size);
	}
	if (ret & DAX_MAJOR)
		atomic_fetch_add(&dax->stat.major, 1);
	if (ret & (DAX_SIGBUS | DAX_HWPOISON))
		atomic_fetch_add(&dax->stat.sigbus, 1);
	return ret;
}
