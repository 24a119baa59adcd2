/*
 * The door to the media: dispatch, counters, and the operations of regions that libpmem2 mapped.
 *
 * Everything that lib/ stores into a pool passes persist_store(), persist_store_nt() or persist_zero_nt();
 * no other file may contain a flush or a fence. The ops behind them are chosen once, by the region's kind:
 *
 *	persist_line_ops	device-DAX, fsdax and volatile regions: clwb or its like, non-temporal stores,
 *				sfence; where power fails only after the caches are safe, libpmem2 leaves the
 *				flush away
 *	persist_paged_ops	files in the page cache: flushes and non-temporal stores are noted by page,
 *				the fence has the pages written back
 *	emu.c			tests
 *
 * A plain store is not noted for write-back, though it dirties its page: it is only promised durable after
 * persist_flush(), which notes it. So the fence of one record does not write the in-place blocks of those
 * before.
 */
#include "pmem/persist.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "pmem/region_private.h"

#define STORE_NT	(PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN)

/* Since the start of the process, over all regions. Statistics: relaxed. */
static atomic_uint_fast64_t fences[PERSIST_POINTS];

/* ---- Dispatch ------------------------------------------------------------------------------------------ */

static bool inside(const struct region *r, const void *addr, size_t len)
{
	const char *p = addr;

	return p >= r->base && region_contains(r, (uint64_t)(p - r->base), len);
}

void persist_store(struct region *r, void *dst, const void *src, size_t len)
{
	assert(!r->readonly && inside(r, dst, len));
	r->ops->store(r, dst, src, len);
}

void persist_store_nt(struct region *r, void *dst, const void *src, size_t len)
{
	assert(!r->readonly && inside(r, dst, len));
	r->ops->store_nt(r, dst, src, len);
}

void persist_zero_nt(struct region *r, void *dst, size_t len)
{
	assert(!r->readonly && inside(r, dst, len));
	r->ops->zero_nt(r, dst, len);
}

void persist_flush(struct region *r, const void *addr, size_t len)
{
	assert(!r->readonly && inside(r, addr, len));
	r->ops->flush(r, addr, len);
}

int persist_fence(struct region *r, enum persist_point point)
{
	atomic_fetch_add_explicit(&fences[point], 1, memory_order_relaxed);
	return r->ops->fence(r, point);
}

uint64_t persist_count(enum persist_point point)
{
	return atomic_load_explicit(&fences[point], memory_order_relaxed);
}

const char *persist_point_name(enum persist_point point)
{
	static const char *const names[PERSIST_POINTS] = {
		[PERSIST_FORMAT]	= "format",
		[PERSIST_DATA]		= "data",
		[PERSIST_UNREACHABLE]	= "unreachable",
		[PERSIST_COMMIT]	= "commit",
		[PERSIST_RETIRE]	= "retire",
		[PERSIST_TAIL]		= "tail",
		[PERSIST_REPLAY]	= "replay",
		[PERSIST_FREEMAP]	= "freemap",
	};

	return names[point];
}

/* ---- Copying ------------------------------------------------------------------------------------------- */

/* One store instruction of n = 1, 2, 4 or 8 bytes, which the compiler may neither split nor join. */
static void store_part(char *dst, const char *src, size_t n)
{
	uint64_t v8;
	uint32_t v4;
	uint16_t v2;

	switch (n) {
	case 8:
		memcpy(&v8, src, 8);
		__atomic_store_n((uint64_t __attribute__((may_alias)) *)(void *)dst, v8, __ATOMIC_RELAXED);
		break;
	case 4:
		memcpy(&v4, src, 4);
		__atomic_store_n((uint32_t __attribute__((may_alias)) *)(void *)dst, v4, __ATOMIC_RELAXED);
		break;
	case 2:
		memcpy(&v2, src, 2);
		__atomic_store_n((uint16_t __attribute__((may_alias)) *)(void *)dst, v2, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n(dst, *src, __ATOMIC_RELAXED);
	}
}

/* The largest aligned part that starts at dst and has at most len bytes. */
static size_t part_size(const char *dst, size_t len)
{
	size_t n = 8;

	while (n > len || ((uintptr_t)dst & (n - 1)))
		n /= 2;
	return n;
}

/* memcpy() may store a word in two overlapping pieces, and a line can be evicted between them. */
void persist_copy(void *dst, const void *src, size_t len)
{
	const char *from = src;
	char *to = dst;
	size_t n;

	while (len) {
		n = part_size(to, len);
		store_part(to, from, n);
		to += n;
		from += n;
		len -= n;
	}
}

/* ---- Cache lines --------------------------------------------------------------------------------------- */

static void line_store(struct region *r, void *dst, const void *src, size_t len)
{
	(void)r;
	persist_copy(dst, src, len);
}

static void line_store_nt(struct region *r, void *dst, const void *src, size_t len)
{
	struct region_map *m = r->priv;

	m->copy(dst, src, len, STORE_NT);
}

static void line_zero_nt(struct region *r, void *dst, size_t len)
{
	struct region_map *m = r->priv;

	m->set(dst, 0, len, STORE_NT);
}

static void line_flush(struct region *r, const void *addr, size_t len)
{
	struct region_map *m = r->priv;

	m->flush(addr, len);
}

static int line_fence(struct region *r, enum persist_point point)
{
	struct region_map *m = r->priv;

	(void)point;
	m->drain();
	return 0;
}

const struct persist_ops persist_line_ops = {
	.store		= line_store,
	.store_nt	= line_store_nt,
	.zero_nt	= line_zero_nt,
	.flush		= line_flush,
	.fence		= line_fence,
	.close		= region_unmap,
};

/* ---- Pages --------------------------------------------------------------------------------------------- */

static void paged_flush(struct region *r, const void *addr, size_t len)
{
	struct region_map *m = r->priv;

	writeback_note(m->wb, (uint64_t)((const char *)addr - r->base), len);
}

static void paged_store_nt(struct region *r, void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	paged_flush(r, dst, len);
}

static void paged_zero_nt(struct region *r, void *dst, size_t len)
{
	memset(dst, 0, len);
	paged_flush(r, dst, len);
}

static int paged_fence(struct region *r, enum persist_point point)
{
	struct region_map *m = r->priv;

	(void)point;
	return m->wb ? writeback_wait(m->wb) : 0;
}

const struct persist_ops persist_paged_ops = {
	.store		= line_store,
	.store_nt	= paged_store_nt,
	.zero_nt	= paged_zero_nt,
	.flush		= paged_flush,
	.fence		= paged_fence,
	.close		= region_unmap,
};
