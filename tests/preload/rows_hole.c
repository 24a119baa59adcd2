/*
 * Rows about holes, and about the sizes of what is mapped. Both are counted in page faults: one for 2 MiB, or one for
 * each page.
 */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- Holes -------------------------------------------------------------------------------------------------- */

static void read_hole(void)
{
	char *at;

	cut(2 * LARGE);
	at = map(2 * LARGE_PAGES, RW);
	same(loads(at, 1), 1, "faults of a load");
	has(at, 0, 0);
	same(blocks(), 0, "st_blocks");
	unmap(at, 2 * LARGE_PAGES);
}

static void read_hole_large(void)
{
	char *at;

	cut(2 * LARGE);
	at = map(2 * LARGE_PAGES, RW);
	same(loads(at, LARGE_PAGES), 1, "faults of loads of 2 MiB");
	has(at, LARGE_PAGES - 1, 0);
	same(blocks(), 0, "st_blocks");
	unmap(at, 2 * LARGE_PAGES);
}

static void has_old_zeros(struct peer *p)
{
	char *at = map(LARGE_PAGES, PROT_READ);

	(void)loads(at, LARGE_PAGES);
	has(at, 5, 0);
	peer_stop(p);
	has(at, 5, 7);
	has(at, 6, 0);
	peer_stop(p);
	has(at, 6, 8);
	unmap(at, LARGE_PAGES);
}

static void write_over_zero(void)
{
	struct peer p;
	char *at;

	cut(LARGE);
	peer_start(&p, has_old_zeros);
	at = map(LARGE_PAGES, RW);
	has(at, 5, 0);
	same(stores(at + 5 * PAGE, 1, 7) != 0, where != ON_TMPFS, "is there a fault of a store over zeros");
	store(at, 5, 7);
	wanted(blocks() >= 8, "no block was allocated");
	peer_go(&p);
	put(6, 8);
	has(at, 6, 8);
	peer_end(&p);
	unmap(at, LARGE_PAGES);
}

static void write_over_large_zero(void)
{
	char *at, *small;

	cut(3 * LARGE);
	at = map(3 * LARGE_PAGES, RW);
	(void)loads(at, 3 * LARGE_PAGES);
	/* inodax maps what a store gets: its page alone, or twice as much as the store before it got. */
	same(stores(at, LARGE_PAGES, 1), differs(if_large(), LARGE_PAGES), "faults of stores over 2 MiB of zeros");
	small = map_of(fd, 2 * LARGE_PAGES, 8, RW, MAP_SHARED);
	at += 2 * LARGE;
	store(small, 3, 9);
	has(at, 3, 9);
	has(at, 4, 0);
	/* The zeros were one mapping, and are gone for all; of inodax's only what got blocks is. */
	same(loads(at, 4), differs(large ? 3 : 4, 0), "faults of loads beside what was stored to");
	same(stores(at, 3, 1), 3, "faults of stores beside what was stored to");
	unmap(small, 8);
	unmap(at - 2 * LARGE, 3 * LARGE_PAGES);
}

static void seek_after_read_hole(void)
{
	char *at;

	cut(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)loads(at, LARGE_PAGES);
	same(seek(SEEK_DATA, 0), -ENXIO, "SEEK_DATA after loads");
	same(seek(SEEK_HOLE, 0), 0, "SEEK_HOLE after loads");
	unmap(at, LARGE_PAGES);
	at = map(LARGE_PAGES, RW);
	must(!madvise(at, LARGE, MADV_NOHUGEPAGE), "MADV_NOHUGEPAGE");
	(void)stores(at + 16 * PAGE, 1, 1);
	same(seek(SEEK_DATA, 0), 16 * PAGE, "SEEK_DATA after a store");
	same(seek(SEEK_HOLE, 16 * PAGE), 17 * PAGE, "SEEK_HOLE after a store");
	must(!msync(at, LARGE, MS_SYNC), "msync");
	same(seek(SEEK_DATA, 0), 16 * PAGE, "SEEK_DATA after msync");
	same(seek(SEEK_HOLE, 16 * PAGE), 17 * PAGE, "SEEK_HOLE after msync");
	unmap(at, LARGE_PAGES);
}

#define TIB		(1UL << 40)
#define TOUCHES		256UL

static void cost_of_holes(void)
{
	long before, used;
	char *at;

	cut(TIB);
	at = map(TIB / PAGE, RW);
	before = status_of("VmRSS");
	for (size_t i = 0; i < TOUCHES; i++)
		(void)loads(at + i * (TIB / TOUCHES), 1);
	used = status_of("VmRSS") - before;
	/* A page for each would be twice that. */
	wanted(used < 2 * (long)TOUCHES, "%lu loads of 1 TiB of hole take %ld KiB", TOUCHES, used);
	same(blocks(), 0, "st_blocks");
	unmap(at, TIB / PAGE);
}

/* Of linux/fs.h since 6.7. */
struct scan_region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN	_IOWR('f', 16, struct scan_arg)
#define IS_PRESENT	(1UL << 3)
#define IS_PFNZERO	(1UL << 5)

/* Is the page mapped, and to the zero page? An older kernel does not tell. */
static bool is_zero_page(char *at, bool *known)
{
	struct scan_region got = { 0 };
	struct scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)at, .end = (uintptr_t)at + PAGE, .vec = (uintptr_t)&got,
		.vec_len = 1, .category_mask = IS_PRESENT, .return_mask = IS_PRESENT | IS_PFNZERO,
	};
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int n = ioctl(map, PAGEMAP_SCAN, &arg);

	*known = n >= 0 || errno != ENOTTY;
	must(n >= 0 || !*known, "PAGEMAP_SCAN");
	close(map);
	wanted(n == 1 || !*known, "the page is not mapped");
	return got.categories & IS_PFNZERO;
}

static void zero_page(void)
{
	bool known;
	char *at;

	cut(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)loads(at, 1);
	wanted(is_zero_page(at, &known) || !known, "a hole that was loaded is no zero page");
	(void)stores(at, 1, 1);
	wanted(!is_zero_page(at, &known), "a page that was stored to is the zero page");
	unmap(at, LARGE_PAGES);
}

const struct row hole_rows[] = {
	{ "1", "read-hole", read_hole, false },
	{ "2", "read-hole-huge", read_hole_large, false },
	{ "3", "write-over-zero", write_over_zero, true },
	{ "4", "write-over-huge-zero", write_over_large_zero, false },
	{ "67", "seek after read-hole", seek_after_read_hole, false },
	{ "68", "memory cost of holes", cost_of_holes, false },
	{ "69", "pagemap zero", zero_page, false },
	{ NULL, NULL, NULL, false },
};

/* ---- Sizes -------------------------------------------------------------------------------------------------- */

static void pmd_write(void)
{
	char *at;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	same(stores(at, LARGE_PAGES, 1), if_large(), "faults of stores to 2 MiB");
	same(stores(at, LARGE_PAGES, 2), 0, "faults of the same again");
	unmap(at, LARGE_PAGES);
}

/* `pages` of the file at an address that is `skew` pages from one that agrees with them. */
static char *map_skewed(size_t pages, size_t skew)
{
	char *room = mmap(NULL, 3 * LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *at;

	must(room != MAP_FAILED, "mmap");
	at = (char *)(((uintptr_t)room + LARGE - 1) & ~(LARGE - 1)) + skew * PAGE;
	must(mmap(at, pages * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) == at, "mmap, MAP_FIXED");
	return at;
}

static void pmd_fallback_bounds(void)
{
	char *at;

	allocate(LARGE);
	at = map_skewed(LARGE_PAGES, 1);
	same(stores(at, LARGE_PAGES, 1), LARGE_PAGES, "faults where file and address disagree");
	unmap(at, LARGE_PAGES);
	at = map_skewed(LARGE_PAGES - 1, 0);
	same(stores(at, LARGE_PAGES - 1, 1), LARGE_PAGES - 1, "faults where the map ends within 2 MiB");
	unmap(at, LARGE_PAGES - 1);
	at = map_of(fd, 1, LARGE_PAGES - 1, RW, MAP_SHARED);
	same(stores(at, LARGE_PAGES - 1, 1), LARGE_PAGES - 1, "faults where the map begins within 2 MiB");
	unmap(at, LARGE_PAGES - 1);
	if (where == ON_TMPFS)
		return;
	cut(0);
	allocate(LARGE - PAGE);
	at = map(LARGE_PAGES, RW);
	same(stores(at, LARGE_PAGES - 1, 1), LARGE_PAGES - 1, "faults where the file ends within 2 MiB");
	unmap(at, LARGE_PAGES);
}

static void pmd_overallocate(void)
{
	char *at;

	cut(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)stores(at, 1, 1);
	same(blocks(), differs(large ? 4096 : 8, 8), "st_blocks after a store of one byte");
	unmap(at, LARGE_PAGES);
}

static void map_and_load_all(void)
{
	char *at = map(LARGE_PAGES, RW);

	same(stores(at, LARGE_PAGES, 2), differs(LARGE_PAGES, if_large()), "faults of who maps 2 MiB after");
	unmap(at, LARGE_PAGES);
}

static void pte_then_pmd(void)
{
	char *at;

	allocate(LARGE);
	at = map(1, RW);
	(void)stores(at, 1, 1);
	in_child(map_and_load_all);
	same(at[0], 2, "what the other stored");
	unmap(at, 1);
}

static void map_one_and_store(void)
{
	char *at = map_of(fd, 5, 1, RW, MAP_SHARED);

	same(at[0], 1, "what the other stored");
	store(at, 0, 6);
	unmap(at, 1);
}

static void pmd_then_pte(void)
{
	char *at;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	same(stores(at, LARGE_PAGES, 1), if_large(), "faults of who comes first");
	in_child(map_one_and_store);
	has(at, 5, 6);
	same(at[6 * PAGE], 1, "what was stored");
	unmap(at, LARGE_PAGES);
}

static void no_upgrade(void)
{
	char *small, *at;

	allocate(LARGE);
	small = map(1, RW);
	(void)stores(small, 1, 1);
	at = map(LARGE_PAGES, RW);
	(void)stores(at, LARGE_PAGES, 2);
	unmap(small, 1);
	must(!madvise(at, LARGE, MADV_DONTNEED), "MADV_DONTNEED");
	same(stores(at, LARGE_PAGES, 3), differs(LARGE_PAGES, if_large()), "faults after the other is gone");
	unmap(at, LARGE_PAGES);
	at = map(LARGE_PAGES, RW);
	same(stores(at, LARGE_PAGES, 4), differs(LARGE_PAGES, if_large()), "faults of another map");
	unmap(at, LARGE_PAGES);
	cut(LARGE);
	at = map(LARGE_PAGES, RW);
	same(stores(at, LARGE_PAGES, 5), if_large(), "faults after a truncate to the same size");
	unmap(at, LARGE_PAGES);
}

const struct row size_rows[] = {
	{ "5", "pmd-write", pmd_write, true },
	{ "6", "pmd-fallback-bounds", pmd_fallback_bounds, true },
	{ "7", "pmd-overallocate", pmd_overallocate, true },
	{ "8", "pte-then-pmd", pte_then_pmd, false },
	{ "9", "pmd-then-pte", pmd_then_pte, true },
	{ "10", "no-upgrade", no_upgrade, false },
	{ NULL, NULL, NULL, false },
};
