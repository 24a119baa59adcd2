/*
 * The toy file system: an array of units for each file, and operations that take blocks away as a file system must -
 * invalidate lock exclusive, layout broken, blocks away through the pgmap - or add them without waiting for anybody.
 *
 * Blocks that several files have are copied on a write fault: begin() makes the new one and remembers it in `cow`,
 * end() puts it into the file if it was used.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHOLE_FILE	UINT64_MAX

static bool injected(unsigned int *n)
{
	return *n && --*n == 0;
}

static uint64_t pages(const struct sim_file *f, uint64_t bytes)
{
	return (bytes + sim_unit_bytes(f->sim) - 1) >> f->sim->shift;
}

/* ---- iomap ----------------------------------------------------------------------------------------------- */

static bool slot_shared(struct sim_file *f, uint64_t slot)
{
	return slot && sim_unit_shared(f->sim, SIM_SLOT_UNIT(slot));
}

/* Do `slot` and the one `n` places before it belong to one extent? */
static bool continues(struct sim_file *f, uint64_t first, uint64_t slot, uint64_t n)
{
	if (!first || !slot)
		return first == slot;
	return (first & SIM_UNWRITTEN) == (slot & SIM_UNWRITTEN) && SIM_SLOT_UNIT(slot) == SIM_SLOT_UNIT(first) + n &&
	       slot_shared(f, slot) == slot_shared(f, first);
}

/* Fill what is missing in [index, end): as contiguous as the allocator has it. Lock held. 0 if the first is there. */
static int fill(struct sim_file *f, uint64_t index, uint64_t end, uint64_t unwritten, bool *new)
{
	uint64_t i = index, n, unit = 0, got;

	while (i < end) {
		for (n = 0; i + n < end && !f->slot[i + n]; n++)
			;
		if (!n) {
			i++;
			continue;
		}
		if (sim_alloc(f->sim, i, n, &unit, &got))
			return f->slot[index] ? 0 : -ENOSPC;
		*new = true;
		f->meta_dirty = true;
		for (n = 0; n < got; n++) {
			f->slot[i + n] = SIM_SLOT(unit + n) | unwritten;
			sim_own(f->sim, unit + n);
		}
		i += got;
	}
	return 0;
}

/* Unwritten blocks that a store is to see: zeros, from now on written. */
static void convert(struct sim_file *f, uint64_t index, uint64_t end)
{
	for (uint64_t i = index; i < end; i++) {
		if (!(f->slot[i] & SIM_UNWRITTEN) || slot_shared(f, f->slot[i]))
			continue;
		sim_zero(f->sim, SIM_SLOT_UNIT(f->slot[i]));
		f->slot[i] &= ~SIM_UNWRITTEN;
	}
}

static uint64_t extent_length(struct sim_file *f, uint64_t index, uint64_t count)
{
	uint64_t n = 1;

	while (n < count && continues(f, f->slot[index], f->slot[index + n], n))
		n++;
	return f->short_units && n > f->short_units ? f->short_units : n;
}

static void describe(struct sim_file *f, uint64_t index, uint64_t count, struct iomap *map)
{
	uint64_t slot = f->slot[index];

	*map = (struct iomap){ .offset = index << f->sim->shift };
	map->length = extent_length(f, index, count) << f->sim->shift;
	map->type = !slot ? IOMAP_HOLE : slot & SIM_UNWRITTEN ? IOMAP_UNWRITTEN : IOMAP_MAPPED;
	map->addr = slot ? SIM_SLOT_UNIT(slot) << f->sim->shift : 0;
	if (slot_shared(f, slot))
		map->flags |= IOMAP_F_SHARED;
	if (f->meta_dirty)
		map->flags |= IOMAP_F_DIRTY;
}

/* A write to blocks with other owners. */
static int begin_cow(struct sim_file *f, uint64_t index, uint64_t count, struct iomap *map, struct iomap *src)
{
	uint64_t unit = 0, got;
	int rc;

	describe(f, index, count, src);
	rc = sim_alloc(f->sim, index, src->length >> f->sim->shift, &unit, &got);
	if (rc)
		return rc;
	for (uint64_t n = 0; n < got; n++) {
		if (f->cow[index + n])
			sim_fail("two write faults copy index %lu at once", index + n);
		f->cow[index + n] = unit + n + 1;
		sim_own(f->sim, unit + n);
	}
	src->length = got << f->sim->shift;
	*map = *src;
	map->type = IOMAP_MAPPED;
	/* Also if the last of the others has just let go of it. */
	map->flags |= IOMAP_F_NEW | IOMAP_F_DIRTY | IOMAP_F_SHARED;
	map->addr = unit << f->sim->shift;
	f->meta_dirty = true;
	return 0;
}

static int begin_locked(struct sim_file *f, uint64_t index, uint64_t count, unsigned int flags, struct iomap *map,
			struct iomap *src)
{
	uint64_t end = index;
	bool new = false;
	int rc;

	if (injected(&f->fail_begin))
		return f->fail_errno;
	if (!(flags & IOMAP_WRITE)) {
		describe(f, index, count, map);
		return 0;
	}
	if (slot_shared(f, f->slot[index]))
		return begin_cow(f, index, count, map, src);
	while (end < index + count && !slot_shared(f, f->slot[end]))
		end++;
	rc = fill(f, index, end, 0, &new);
	if (rc)
		return rc;
	convert(f, index, end);
	describe(f, index, count, map);
	if (new)
		map->flags |= IOMAP_F_NEW;
	return 0;
}

static int begin(void *host, uint64_t pos, uint64_t len, unsigned int flags, struct iomap *map, struct iomap *src)
{
	struct sim_file *f = host;
	uint64_t index = pos >> f->sim->shift, count = pages(f, len);
	int rc;

	if (index + count > f->sim->file_units)
		sim_fail("a fault asks for what is beyond all files");
	atomic_fetch_add(&f->begins, 1);
	*src = (struct iomap){ .type = IOMAP_HOLE };
	pthread_mutex_lock(&f->lock);
	rc = begin_locked(f, index, count, flags, map, src);
	pthread_mutex_unlock(&f->lock);
	return rc;
}

/* Copies that were made become the file's, or go. */
static void end(void *host, uint64_t pos, uint64_t len, uint64_t used, unsigned int flags, struct iomap *map)
{
	struct sim_file *f = host;
	uint64_t index = pos >> f->sim->shift, count = map->length >> f->sim->shift, drop;

	(void)len;
	if (!(flags & IOMAP_WRITE) || !(map->flags & IOMAP_F_SHARED))
		return;
	for (uint64_t i = index; i < index + count; i++) {
		pthread_mutex_lock(&f->lock);
		drop = f->cow[i] - 1;
		if (used) {
			drop = SIM_SLOT_UNIT(f->slot[i]);
			f->slot[i] = SIM_SLOT(f->cow[i] - 1);
		}
		f->cow[i] = 0;
		pthread_mutex_unlock(&f->lock);
		if (used)
			sim_disown(f->sim, drop);
		else
			sim_put_back(f->sim, drop);
	}
}

/* ---- The other calls of lib/dax -------------------------------------------------------------------------- */

static uint64_t host_size(void *host)
{
	return atomic_load(&((struct sim_file *)host)->size);
}

static void host_dirty(void *host)
{
	atomic_fetch_add(&((struct sim_file *)host)->dirtied, 1);
}

static int host_sync(void *host, uint64_t pos, uint64_t len)
{
	struct sim_file *f = host;
	int rc = 0;

	(void)pos;
	(void)len;
	atomic_fetch_add(&f->syncs, 1);
	pthread_mutex_lock(&f->lock);
	if (injected(&f->fail_sync))
		rc = f->fail_errno;
	else
		f->meta_dirty = false;
	pthread_mutex_unlock(&f->lock);
	return rc;
}

static void host_flush(void *host, uint64_t addr, uint64_t len)
{
	struct sim_file *f = host;

	atomic_fetch_add(&f->flushes, 1);
	for (uint64_t u = addr >> f->sim->shift; u < (addr + len) >> f->sim->shift; u++)
		atomic_store(&f->sim->unflushed[u], 0);
}

static int host_copy(void *host, uint64_t to, uint64_t from, uint64_t len)
{
	struct sim_file *f = host;
	unsigned int shift = f->sim->shift;
	bool fails;

	pthread_mutex_lock(&f->lock);
	fails = injected(&f->fail_copy);
	pthread_mutex_unlock(&f->lock);
	if (fails)
		return f->fail_errno;
	for (uint64_t u = 0; u < len >> shift; u++) {
		if (from == DAX_ZEROS)
			sim_zero(f->sim, (to >> shift) + u);
		else
			sim_copy(f->sim, (to >> shift) + u, (from >> shift) + u);
	}
	return 0;
}

/* ---- Life ------------------------------------------------------------------------------------------------ */

/* Give back all blocks; the layout is broken. */
static void drop_slots(struct sim_file *f, uint64_t index, uint64_t end)
{
	for (uint64_t i = index; i < end; i++) {
		uint64_t slot;

		pthread_mutex_lock(&f->lock);
		slot = f->slot[i];
		f->slot[i] = 0;
		pthread_mutex_unlock(&f->lock);
		if (slot)
			sim_disown(f->sim, SIM_SLOT_UNIT(slot));
	}
}

static void leave_cache(struct sim_file *f)
{
	dax_break_layout_final(f->mapping);
	if (f->nlink == 0)
		drop_slots(f, 0, f->sim->file_units);
	dax_mapping_delete(f->mapping);
	f->mapping = NULL;
	f->gone = f->nlink == 0;
}

static void host_hold(void *host)
{
	struct sim_file *f = host;

	if (f->gone)
		sim_fail("a file that is gone was held");
	atomic_fetch_add(&f->refs, 1);
}

static void host_put(void *host)
{
	struct sim_file *f = host;

	if (atomic_fetch_sub(&f->refs, 1) == 1 && f->nlink == 0)
		leave_cache(f);
}

static const struct dax_file_ops file_ops = {
	.iomap = { .begin = begin, .end = end },
	.size = host_size,
	.hold = host_hold,
	.put = host_put,
	.dirty = host_dirty,
	.sync = host_sync,
	.flush = host_flush,
	.copy = host_copy,
};

struct sim_file *sim_create(struct sim *sim, uint64_t size)
{
	struct sim_file *f = calloc(1, sizeof(*f));

	f->sim = sim;
	f->size = size;
	f->refs = 1;
	f->nlink = 1;
	f->slot = calloc(sim->file_units, sizeof(*f->slot));
	f->cow = calloc(sim->file_units, sizeof(*f->cow));
	if (size > sim->file_units << sim->shift || dax_mapping_new(&f->mapping, &sim->dax, &file_ops, f))
		sim_fail("no such file can be");
	pthread_mutex_init(&f->rwsem, NULL);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&sim->lock);
	f->id = ++sim->next_id;
	list_add_tail(&f->link, &sim->files);
	pthread_mutex_unlock(&sim->lock);
	return f;
}

void sim_open(struct sim_file *f)
{
	if (!f->mapping && dax_mapping_new(&f->mapping, &f->sim->dax, &file_ops, f))
		sim_fail("no memory for a mapping");
	host_hold(f);
}

void sim_close(struct sim_file *f)
{
	host_put(f);
}

void sim_unlink(struct sim_file *f)
{
	f->nlink = 0;
}

void sim_evict(struct sim_file *f)
{
	if (f->refs)
		sim_fail("a file that is open was to be evicted");
	dax_writeback(f->mapping, 0, WHOLE_FILE);
	leave_cache(f);
}

/* ---- What takes blocks away ------------------------------------------------------------------------------ */

/* Invariant I9: nothing is left of the range, or, if the break did not succeed, nothing is changed. */
static int break_locked(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how)
{
	struct dax_entry_info info;
	int rc = dax_break_layout(f->mapping, index, count, how);

	if (!rc && dax_next_entry(f->mapping, index, &info) && (count == WHOLE_FILE || info.index < index + count))
		sim_fail("an entry at %lu is left after a layout break of %lu+%lu", info.index, index, count);
	return rc;
}

static void change_begin(struct sim_file *f)
{
	pthread_mutex_lock(&f->rwsem);
	pthread_rwlock_wrlock(&f->mapping->invalidate_lock);
}

static void change_end(struct sim_file *f)
{
	pthread_rwlock_unlock(&f->mapping->invalidate_lock);
	pthread_mutex_unlock(&f->rwsem);
}

int sim_break(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how)
{
	int rc;

	change_begin(f);
	rc = break_locked(f, index, count, how);
	change_end(f);
	return rc;
}

/* Zeros from byte `pos` to the end of its unit, in place: the block stays. */
static void zero_tail(struct sim_file *f, uint64_t pos)
{
	uint64_t bytes = sim_unit_bytes(f->sim), offset = pos & (bytes - 1), slot;

	/* A file of all its units ends where there is no slot. */
	slot = offset ? f->slot[pos >> f->sim->shift] : 0;
	if (!slot || (slot & SIM_UNWRITTEN) || !atomic_load(&f->sim->stored[SIM_SLOT_UNIT(slot)]))
		return;
	for (uint64_t i = offset; i < bytes; i++)
		sim_poke(f->sim, SIM_SLOT_UNIT(slot), i, 0);
}

static void truncate_down(struct sim_file *f, uint64_t size)
{
	uint64_t first = pages(f, size);

	atomic_store(&f->size, size);
	/* truncate_pagecache() */
	dax_unmap_range(f->mapping, first, WHOLE_FILE, true);
	drop_slots(f, first, f->sim->file_units);
	zero_tail(f, size);
}

int sim_truncate(struct sim_file *f, uint64_t size, const struct dax_break *how)
{
	bool kernel = f->sim->dax.layout == DAX_LAYOUT_KERNEL;
	int rc = 0;

	change_begin(f);
	/* Growing takes nothing away; the kernel breaks all the same. */
	if (kernel || size < atomic_load(&f->size))
		rc = break_locked(f, pages(f, size), WHOLE_FILE, how);
	if (!rc && size < atomic_load(&f->size)) {
		truncate_down(f, size);
	} else if (!rc) {
		zero_tail(f, atomic_load(&f->size));
		atomic_store(&f->size, size);
	}
	change_end(f);
	return rc;
}

int sim_punch(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how)
{
	int rc;

	change_begin(f);
	rc = break_locked(f, index, count, how);
	if (!rc)
		drop_slots(f, index, index + count);
	change_end(f);
	return rc;
}

int sim_zero_range(struct sim_file *f, uint64_t index, uint64_t count, const struct dax_break *how)
{
	bool new = false;
	int rc;

	change_begin(f);
	rc = break_locked(f, index, count, how);
	for (uint64_t i = index; !rc && i < index + count; i++)
		if (slot_shared(f, f->slot[i]))
			drop_slots(f, i, i + 1);
	pthread_mutex_lock(&f->lock);
	if (!rc)
		rc = fill(f, index, index + count, SIM_UNWRITTEN, &new);
	for (uint64_t i = index; !rc && i < index + count; i++)
		f->slot[i] |= f->slot[i] ? SIM_UNWRITTEN : 0;
	pthread_mutex_unlock(&f->lock);
	change_end(f);
	return rc;
}

/* `to` has what `from` has at `index`; both layouts are broken. */
static void share_slot(struct sim_file *from, struct sim_file *to, uint64_t index)
{
	uint64_t slot;

	drop_slots(to, index, index + 1);
	pthread_mutex_lock(&from->lock);
	slot = from->slot[index];
	if (slot)
		sim_own(from->sim, SIM_SLOT_UNIT(slot));
	pthread_mutex_unlock(&from->lock);
	pthread_mutex_lock(&to->lock);
	to->slot[index] = slot;
	to->meta_dirty = true;
	pthread_mutex_unlock(&to->lock);
}

/* xfs_mmaplock_two_inodes_and_break_dax_layout(): the second is not waited for with the first one locked. */
static int break_two(struct sim_file *a, struct sim_file *b, uint64_t index, uint64_t count,
		     const struct dax_break *how)
{
	const struct dax_break nowait = { .nowait = true };
	int rc;

	for (;;) {
		pthread_rwlock_wrlock(&a->mapping->invalidate_lock);
		rc = break_locked(a, index, count, how);
		if (rc) {
			pthread_rwlock_unlock(&a->mapping->invalidate_lock);
			return rc;
		}
		pthread_rwlock_wrlock(&b->mapping->invalidate_lock);
		rc = break_locked(b, index, count, &nowait);
		if (!rc)
			return 0;
		pthread_rwlock_unlock(&b->mapping->invalidate_lock);
		pthread_rwlock_unlock(&a->mapping->invalidate_lock);
		if (how && (how->nowait || (how->interrupted && how->interrupted(how->arg))))
			return how->nowait ? -EAGAIN : -EINTR;
		usleep(200);
	}
}

int sim_reflink(struct sim_file *from, struct sim_file *to, uint64_t index, uint64_t count, const struct dax_break *how)
{
	struct sim_file *a = from->id < to->id ? from : to, *b = a == from ? to : from;
	int rc;

	pthread_mutex_lock(&a->rwsem);
	pthread_mutex_lock(&b->rwsem);
	rc = break_two(a, b, index, count, how);
	if (!rc) {
		for (uint64_t i = index; i < index + count; i++)
			share_slot(from, to, i);
		if (atomic_load(&to->size) < (index + count) << to->sim->shift)
			atomic_store(&to->size, (index + count) << to->sim->shift);
		pthread_rwlock_unlock(&a->mapping->invalidate_lock);
		pthread_rwlock_unlock(&b->mapping->invalidate_lock);
	}
	pthread_mutex_unlock(&b->rwsem);
	pthread_mutex_unlock(&a->rwsem);
	return rc;
}

/* ---- What adds blocks ------------------------------------------------------------------------------------ */

int sim_fallocate(struct sim_file *f, uint64_t index, uint64_t count, bool written)
{
	bool new = false;
	int rc;

	pthread_mutex_lock(&f->rwsem);
	pthread_mutex_lock(&f->lock);
	rc = fill(f, index, index + count, SIM_UNWRITTEN, &new);
	if (!rc && written)
		convert(f, index, index + count);
	for (uint64_t i = index; !rc && i < index + count; i++)
		rc = f->slot[i] ? 0 : -ENOSPC;
	pthread_mutex_unlock(&f->lock);
	/* Written blocks where zeros may be mapped. */
	if (written)
		dax_invalidate(f->mapping, index, count);
	pthread_mutex_unlock(&f->rwsem);
	return rc;
}

/* A block of the file's own at `index`, with what the shared one had: the shared one goes. rwsem held. */
static int make_own(struct sim_file *f, uint64_t index)
{
	uint64_t unit = 0, got, slot;
	int rc;

	pthread_rwlock_wrlock(&f->mapping->invalidate_lock);
	rc = break_locked(f, index, 1, NULL);
	if (!rc && slot_shared(f, f->slot[index]))
		rc = sim_alloc(f->sim, index, 1, &unit, &got);
	else
		goto out;
	if (rc)
		goto out;
	slot = f->slot[index];
	if (slot & SIM_UNWRITTEN)
		sim_zero(f->sim, unit);
	else
		sim_copy(f->sim, unit, SIM_SLOT_UNIT(slot));
	sim_own(f->sim, unit);
	drop_slots(f, index, index + 1);
	pthread_mutex_lock(&f->lock);
	f->slot[index] = SIM_SLOT(unit);
	f->meta_dirty = true;
	pthread_mutex_unlock(&f->lock);
out:
	pthread_rwlock_unlock(&f->mapping->invalidate_lock);
	return rc;
}

/* Blocks for a write to `index`; *new: it was a hole, or unwritten. */
static int write_begin(struct sim_file *f, uint64_t index, bool *new)
{
	bool shared, unwritten;
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	shared = slot_shared(f, f->slot[index]);
	pthread_mutex_unlock(&f->lock);
	if (shared)
		rc = make_own(f, index);
	if (rc)
		return rc;
	pthread_mutex_lock(&f->lock);
	unwritten = f->slot[index] & SIM_UNWRITTEN;
	rc = fill(f, index, index + 1, 0, new);
	convert(f, index, index + 1);
	*new |= unwritten;
	pthread_mutex_unlock(&f->lock);
	return rc;
}

int sim_write(struct sim_file *f, uint64_t pos, uint8_t value)
{
	uint64_t index = pos >> f->sim->shift, unit;
	bool new = false;
	int rc;

	pthread_mutex_lock(&f->rwsem);
	rc = write_begin(f, index, &new);
	if (rc)
		goto out;
	unit = SIM_SLOT_UNIT(f->slot[index]);
	sim_poke(f->sim, unit, pos & (sim_unit_bytes(f->sim) - 1), value);
	if (new)
		dax_invalidate(f->mapping, index, 1);
	if (pos >= atomic_load(&f->size)) {
		zero_tail(f, atomic_load(&f->size));
		sim_poke(f->sim, unit, pos & (sim_unit_bytes(f->sim) - 1), value);
		atomic_store(&f->size, pos + 1);
	}
out:
	pthread_mutex_unlock(&f->rwsem);
	return rc;
}

void sim_fsync(struct sim_file *f, uint64_t index, uint64_t count)
{
	dax_writeback(f->mapping, index, count);
	pthread_mutex_lock(&f->lock);
	f->meta_dirty = false;
	pthread_mutex_unlock(&f->lock);
}

/* ---- Looking --------------------------------------------------------------------------------------------- */

uint8_t sim_read(struct sim_file *f, uint64_t pos)
{
	uint64_t slot;
	uint8_t value = 0;

	pthread_mutex_lock(&f->rwsem);
	pthread_mutex_lock(&f->lock);
	slot = f->slot[pos >> f->sim->shift];
	if (slot && !(slot & SIM_UNWRITTEN) && pos < atomic_load(&f->size))
		value = sim_peek(f->sim, SIM_SLOT_UNIT(slot), pos & (sim_unit_bytes(f->sim) - 1));
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_unlock(&f->rwsem);
	return value;
}

uint64_t sim_unit_of(struct sim_file *f, uint64_t index)
{
	return f->slot[index] ? SIM_SLOT_UNIT(f->slot[index]) : SIM_NO_LIMIT;
}

uint64_t sim_blocks(struct sim_file *f)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < f->sim->file_units; i++)
		n += f->slot[i] != 0;
	return n;
}

struct dax_entry_info sim_entry(struct sim_file *f, uint64_t index)
{
	struct dax_entry_info info = { .kind = DAX_NONE };

	if (dax_next_entry(f->mapping, index, &info) && info.index <= index)
		return info;
	return (struct dax_entry_info){ .kind = DAX_NONE };
}

unsigned int sim_entries(struct sim_file *f)
{
	struct dax_entry_info info = { .index = 0 };
	unsigned int n = 0;

	for (uint64_t next = 0; dax_next_entry(f->mapping, next, &info); n++)
		next = info.index + (1ULL << pgmap_order(f->sim->pg, info.size));
	return n;
}
