/*
 * Rows about what a program does with its maps: flags, private ones, parts of them, advice.
 */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ	/* Linux 5.14 */
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE		/* Linux 6.1 */
#define MADV_COLLAPSE		25
#endif

#define UNKNOWN		0x800000	/* no flag of mmap() */

/* ---- Flags -------------------------------------------------------------------------------------------------- */

/* 0: mapped, and a load finds the file; else the errno. */
static long try_map(int from, size_t length, int prot, int flags, off_t offset)
{
	char *at = mmap(NULL, length, prot, flags, from, offset);

	if (at == MAP_FAILED)
		return errno;
	if (prot & PROT_READ)
		same(at[0], 1, "the first byte of the map");
	must(!munmap(at, length), "munmap");
	return 0;
}

static void map_sync(void)
{
	const int sync = MAP_SHARED_VALIDATE | MAP_SYNC;

	fill();
	same(try_map(fd, PAGE, RW, sync, 0), differs(0, EOPNOTSUPP), "MAP_SHARED_VALIDATE, MAP_SYNC");
	same(try_map(fd, PAGE, PROT_READ, sync, 0), differs(0, EOPNOTSUPP), "the same for loads");
	same(try_map(fd, PAGE, RW, MAP_SHARED_VALIDATE, 0), 0, "MAP_SHARED_VALIDATE");
}

static void map_sync_not_dax(void)
{
	int file = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	must(file >= 0, other);
	must(pwrite(file, "\1", 1, 0) == 1, "pwrite");
	same(try_map(file, PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, 0), EOPNOTSUPP, "MAP_SYNC without DAX");
	close(file);
	unlink(other);
}

static void map_sync_ignored(void)
{
	fill();
	same(try_map(fd, PAGE, RW, MAP_SHARED | MAP_SYNC, 0), 0, "MAP_SHARED, MAP_SYNC");
	same(try_map(fd, PAGE, RW, MAP_PRIVATE | MAP_SYNC, 0), 0, "MAP_PRIVATE, MAP_SYNC");
}

static void refused_rights(void)
{
	int loads_only = open(name, O_RDONLY | O_CLOEXEC), stores_only = open(name, O_WRONLY | O_CLOEXEC);
	char *at;

	must(loads_only >= 0 && stores_only >= 0, "open");
	same(try_map(loads_only, PAGE, RW, MAP_SHARED, 0), EACCES, "stores by a descriptor for reading");
	same(try_map(stores_only, PAGE, PROT_WRITE, MAP_SHARED, 0), EACCES, "a descriptor for writing");
	same(try_map(stores_only, PAGE, PROT_READ, MAP_PRIVATE, 0), EACCES, "a private map by one for writing");
	at = map_of(loads_only, 0, 1, PROT_READ, MAP_SHARED);
	fails(mprotect(at, PAGE, RW), EACCES, "mprotect for stores");
	same(at[0], 1, "the first byte after that");
	unmap(at, 1);
	close(loads_only);
	close(stores_only);
}

static void unknown_flags(void)
{
	fill();
	same(try_map(fd, PAGE, RW, MAP_SHARED_VALIDATE | UNKNOWN, 0), EOPNOTSUPP,
	     "MAP_SHARED_VALIDATE and an unknown flag");
	same(try_map(fd, PAGE, RW, MAP_SHARED | UNKNOWN, 0), 0, "MAP_SHARED and an unknown flag");
	same(try_map(fd, 0, RW, MAP_SHARED, 0), EINVAL, "no length");
	same(try_map(fd, PAGE, RW, MAP_SHARED, 512), EINVAL, "an offset within a page");
	same(try_map(fd, PAGE, RW, MAP_SHARED | MAP_HUGETLB, 0), EINVAL, "MAP_HUGETLB");
	refused_rights();
}

const struct row flag_rows[] = {
	{ "20", "map-sync-dax", map_sync, false },
	{ "21", "map-sync-nondax", map_sync_not_dax, false },
	{ "22", "map-sync-with-MAP_SHARED", map_sync_ignored, true },
	{ "23", "validate-unknown", unknown_flags, true },
	{ NULL, NULL, NULL, false },
};

/* ---- Private maps ------------------------------------------------------------------------------------------- */

static char *map_private(size_t pages)
{
	return map_of(fd, 0, pages, RW, MAP_PRIVATE);
}

static void private_cow(void)
{
	long before;
	char *at;

	fill();
	before = blocks();
	at = map_private(PAGES);
	store(at, 3, 99);
	has(at, 3, 99);
	has(at, 4, 5);
	file_has(3, 4);
	same(blocks(), before, "st_blocks");
	unmap(at, PAGES);
	if (where == ON_TMPFS)
		return;
	cut(0);
	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)stores(at, LARGE_PAGES, 7);
	unmap(at, LARGE_PAGES);
	at = map_private(LARGE_PAGES);
	if (large)
		same(loads(at, LARGE_PAGES), 1, "faults of loads of 2 MiB");
	same(stores(at + 8 * PAGE, 1, 9), 1, "faults of a store");
	same(stores(at + 8 * PAGE, 1, 9), 0, "faults of another");
	/* The 2 MiB went. A tmpfs maps pages beside those that are touched, as many as its kernel likes. */
	if (dax_memory && large)
		same(loads(at, LARGE_PAGES), LARGE_PAGES - 1, "faults of loads of the others");
	else if (large)
		same(loads(at, LARGE_PAGES) > 0, true, "faults of loads of the others, at all");
	same(at[9 * PAGE], 7, "what was not stored to");
	unmap(at, LARGE_PAGES);
}

static void private_sees_file(void)
{
	char *at, *shared;

	fill();
	at = map_private(PAGES);
	shared = map(PAGES, RW);
	has(at, 3, 4);
	put(3, 50);
	has(at, 3, 50);
	store(shared, 3, 51);
	has(at, 3, 51);
	punch(3, 2);
	/* inodax takes a copy along when blocks go from within the file: doc/mirror.md, 5.26. */
	has(at, 3, (int)differs(0, 51));
	unmap(at, PAGES);
	unmap(shared, PAGES);
}

static void private_truncate(void)
{
	char *at, *only;

	fill();
	at = map_private(PAGES);
	only = map_of(fd, 0, PAGES, PROT_READ, MAP_PRIVATE);
	store(at, 3, 99);
	has(only, 3, 4);
	punch(3, 1);
	has(at, 3, 99);
	has(only, 3, 0);
	cut(0);
	raises(SIGBUS, BUS_ADRERR, only + 5 * PAGE, false);
	raises(SIGBUS, BUS_ADRERR, at + 3 * PAGE, false);
	unmap(at, PAGES);
	unmap(only, PAGES);
}

static char *inherited;

static void stores_in_its_copy(void)
{
	has(inherited, 3, 99);
	has(inherited, 4, 5);
	store(inherited, 3, 98);
	store(inherited, 4, 97);
	has(inherited, 3, 98);
}

static void fork_private(void)
{
	fill();
	inherited = map_private(PAGES);
	store(inherited, 3, 99);
	has(inherited, 4, 5);
	in_child(stores_in_its_copy);
	has(inherited, 3, 99);
	has(inherited, 4, 5);
	file_has(3, 4);
	file_has(4, 5);
	unmap(inherited, PAGES);
}

const struct row private_rows[] = {
	{ "25", "private-cow", private_cow, true },
	{ "26", "private-sees-file", private_sees_file, true },
	{ "27", "private-truncate", private_truncate, true },
	{ "29", "fork-private", fork_private, true },
	{ NULL, NULL, NULL, false },
};

/* ---- Forked, moved, cut, protected, synced ------------------------------------------------------------------- */

static void stores_for_both(void)
{
	same(stores(inherited + 8 * PAGE, 8, 7), 8, "faults of a child's stores");
	has(inherited, 3, 99);
	store(inherited, 3, 98);
}

static void is_not_there(void)
{
	/* inodax has the range still, with no rights. */
	raises(SIGSEGV, (int)differs(SEGV_MAPERR, SEGV_ACCERR), inherited + 3 * PAGE, false);
	has(inherited, 4, 5);
}

static void fork_shared(void)
{
	fill();
	inherited = map(PAGES, RW);
	store(inherited, 3, 99);
	(void)stores(inherited + 8 * PAGE, 8, 6);
	in_child(stores_for_both);
	has(inherited, 3, 98);
	same(inherited[15 * PAGE], 7, "what the child stored");
	must(!madvise(inherited + 3 * PAGE, PAGE, MADV_DONTFORK), "MADV_DONTFORK");
	in_child(is_not_there);
	has(inherited, 3, 98);
	unmap(inherited, PAGES);
}

static char *room_at(size_t pages, size_t skew)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *room = mmap(NULL, pages * PAGE + 2 * LARGE, PROT_NONE, flags, -1, 0);

	must(room != MAP_FAILED, "mmap");
	return (char *)(((uintptr_t)room + LARGE - 1) & ~(LARGE - 1)) + skew * PAGE;
}

static void mremap_others(void)
{
	char *at = map(PAGES, RW), *to, *again;

	to = mremap(at, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE);
	must(to != MAP_FAILED, "mremap to more");
	has(to, 3, 4);
	raises(SIGBUS, BUS_ADRERR, to + PAGES * PAGE, false);
	again = mremap(to, 0, PAGES * PAGE, MREMAP_MAYMOVE);
	must(again != MAP_FAILED, "mremap of nothing: another map");
	store(again, 3, 50);
	has(to, 3, 50);
	unmap(again, PAGES);
	must(mremap(to, 2 * PAGES * PAGE, PAGES * PAGE, 0) == to, "mremap to less");
	again = mremap(to, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	must(again != MAP_FAILED, "mremap, MREMAP_DONTUNMAP");
	has(again, 3, 50);
	has(to, 3, 50);
	unmap(again, PAGES);
	unmap(to, PAGES);
}

static void mremap_move(void)
{
	char *at, *to;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	same(stores(at, LARGE_PAGES, 7), if_large(), "faults of stores");
	to = mremap(at, LARGE, LARGE, MREMAP_MAYMOVE | MREMAP_FIXED, room_at(LARGE_PAGES, 1));
	must(to != MAP_FAILED, "mremap");
	same(to[511 * PAGE], 7, "what was stored");
	/* Of 2 MiB that do not fit there nothing moves along; of inodax's, which are mapped anew, nothing ever does. */
	same(stores(to, LARGE_PAGES, 8) != 0, large ? 1 : differs(0, 1), "faults after the move");
	same(stores(to, LARGE_PAGES, 8), 0, "faults of the same again");
	raises(SIGSEGV, SEGV_MAPERR, at, false);
	unmap(to, LARGE_PAGES);
	cut(0);
	fill();
	mremap_others();
}

static void munmap_part(void)
{
	char *at;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)stores(at, LARGE_PAGES, 7);
	unmap(at + 100 * PAGE, 1);
	raises(SIGSEGV, SEGV_MAPERR, at + 100 * PAGE, false);
	same(stores(at, 99, 8) + stores(at + 102 * PAGE, 410, 8), large ? 509 : 0, "faults of stores to the rest");
	same(at[99 * PAGE], 7, "the page before");
	same(at[101 * PAGE], 7, "the page after");
	unmap(at, 100);
	unmap(at + 101 * PAGE, LARGE_PAGES - 101);
}

static void protect(void)
{
	char *at;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	(void)stores(at, LARGE_PAGES, 7);
	must(!mprotect(at, LARGE, PROT_READ), "mprotect");
	raises(SIGSEGV, SEGV_ACCERR, at + 3 * PAGE, true);
	same(at[3 * PAGE], 7, "what was stored");
	must(!mprotect(at, LARGE, RW), "mprotect");
	same(stores(at + 3 * PAGE, 1, 8), 0, "faults of a store to what was stored to before");
	must(!mprotect(at, LARGE / 2, PROT_NONE), "mprotect");
	raises(SIGSEGV, SEGV_ACCERR, at, false);
	same(at[LARGE / 2], 7, "the other half");
	(void)stores(at + LARGE / 2, LARGE_PAGES / 2, 9);
	must(!mprotect(at, LARGE / 2, PROT_READ), "mprotect");
	same(at[3 * PAGE], 8, "what was stored");
	unmap(at, LARGE_PAGES);
}

static void msync_protects(void)
{
	char *at;

	allocate(PAGES * PAGE);
	at = map(PAGES, RW);
	same(stores(at, PAGES, 1), PAGES, "faults of the first stores");
	same(stores(at, PAGES, 2), 0, "faults of the second");
	must(!msync(at, PAGES * PAGE, MS_ASYNC), "msync, MS_ASYNC");
	same(stores(at, PAGES, 3), 0, "faults after MS_ASYNC");
	must(!msync(at, PAGES * PAGE, MS_SYNC), "msync, MS_SYNC");
	same(stores(at, PAGES, 4), differs(PAGES, 0), "faults after MS_SYNC");
	must(!fsync(fd), "fsync");
	same(stores(at, PAGES, 5), differs(PAGES, 0), "faults after fsync");
	must(!msync(at, PAGES * PAGE, MS_SYNC | MS_INVALIDATE), "msync, MS_INVALIDATE");
	same(at[3 * PAGE], 5, "what was stored");
	fails(msync(at, PAGE, MS_SYNC | MS_ASYNC), EINVAL, "msync of both kinds");
	fails(msync(at + 1, PAGE, MS_SYNC), EINVAL, "msync from within a page");
	unmap(at + PAGE, 1);
	fails(msync(at, 3 * PAGE, MS_SYNC), ENOMEM, "msync across a gap");
	unmap(at, 1);
	unmap(at + 2 * PAGE, PAGES - 2);
}

static void msync_of_part(void)
{
	char *at;

	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	same(stores(at, 1, 1), 1, "faults of the first store");
	must(!msync(at + 100 * PAGE, PAGE, MS_SYNC), "msync");
	same(stores(at, 1, 2), differs(large ? 1 : 0, 0), "faults of a store elsewhere");
	unmap(at, LARGE_PAGES);
}

const struct row part_rows[] = {
	{ "28", "fork-shared", fork_shared, true },
	{ "30", "mremap-move", mremap_move, true },
	{ "31", "munmap-part", munmap_part, true },
	{ "32", "mprotect", protect, true },
	{ "33", "msync/fsync wp", msync_protects, false },
	{ "34", "fsync-range-pmd", msync_of_part, false },
	{ NULL, NULL, NULL, false },
};

/* ---- Advice ------------------------------------------------------------------------------------------------- */

static void populate(void)
{
	char *at;

	cut(PAGES * PAGE);
	at = map_of(fd, 0, PAGES, RW, MAP_SHARED | MAP_POPULATE);
	if (where != ON_TMPFS)
		same(blocks(), 0, "st_blocks of a hole after MAP_POPULATE");
	same(loads(at, PAGES), 0, "faults of loads after MAP_POPULATE");
	must(!madvise(at, PAGES * PAGE, MADV_POPULATE_READ), "MADV_POPULATE_READ");
	if (where != ON_TMPFS)
		same(blocks(), 0, "st_blocks after MADV_POPULATE_READ");
	must(!madvise(at, PAGES * PAGE, MADV_POPULATE_WRITE), "MADV_POPULATE_WRITE");
	wanted(blocks() >= (long)PAGES * 8, "%ld blocks after MADV_POPULATE_WRITE", blocks());
	same(stores(at, PAGES, 1), 0, "faults of stores after it");
	cut(8 * PAGE);
	fails(madvise(at, PAGES * PAGE, MADV_POPULATE_READ), EFAULT, "MADV_POPULATE_READ past the end");
	fails(madvise(at, PAGES * PAGE, MADV_POPULATE_WRITE), EFAULT, "MADV_POPULATE_WRITE past the end");
	unmap(at, PAGES);
	cut(0);
	allocate(PAGES * PAGE);
	at = map_of(fd, 0, PAGES, RW, MAP_SHARED | MAP_POPULATE);
	/* Mapped for loads; a tmpfs has nothing to be told of a store, and maps what is there for both. */
	same(stores(at, PAGES, 1), of_memory(PAGES, 0), "faults of stores after MAP_POPULATE");
	unmap(at, PAGES);
}

static void lock_memory(void)
{
	long before = status_of("VmLck");
	char *at;

	fill();
	at = map(PAGES, RW);
	must(!mlock(at, PAGES * PAGE), "mlock");
	same(loads(at, PAGES), 0, "faults of loads after mlock");
	same(status_of("VmLck") - before, of_memory(0, PAGES * PAGE / 1024), "VmLck after mlock");
	must(!munlock(at, PAGES * PAGE), "munlock");
	same(status_of("VmLck"), before, "VmLck after munlock");
	unmap(at, PAGES);
	at = map_of(fd, 0, PAGES, RW, MAP_SHARED | MAP_LOCKED);
	same(loads(at, PAGES), 0, "faults of loads after MAP_LOCKED");
	same(status_of("VmLck"), before, "VmLck after MAP_LOCKED");
	unmap(at, PAGES);
}

static void advise(void)
{
	long before;
	char *at;

	fill();
	before = blocks();
	at = map(PAGES, RW);
	store(at, 3, 99);
	store(at, 4, 98);
	must(!madvise(at, PAGES * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	same(stores(at + 4 * PAGE, 1, 97), 1, "faults of a store after MADV_DONTNEED");
	has(at, 3, 99);
	same(at[4 * PAGE + 1], 98, "what was stored before it");
	fails(madvise(at, PAGE, MADV_FREE), EINVAL, "MADV_FREE");
	must(!madvise(at + 8 * PAGE, 16 * PAGE, MADV_REMOVE), "MADV_REMOVE");
	same_blocks(before - blocks(), 16 * 8, "st_blocks that are free after MADV_REMOVE");
	has(at, 8, 0);
	has(at, 24, 25);
	must(!madvise(at, PAGES * PAGE, MADV_PAGEOUT), "MADV_PAGEOUT");
	has(at, 3, 99);
	must(!madvise(at, PAGES * PAGE, MADV_WILLNEED), "MADV_WILLNEED");
	if (where != ON_TMPFS)
		fails(madvise(at, PAGES * PAGE, MADV_COLLAPSE), EINVAL, "MADV_COLLAPSE");
	unmap(at, PAGES);
	cut(0);
	allocate(LARGE);
	at = map(LARGE_PAGES, RW);
	must(!madvise(at, LARGE, MADV_HUGEPAGE), "MADV_HUGEPAGE");
	must(!madvise(at, LARGE, MADV_NOHUGEPAGE), "MADV_NOHUGEPAGE");
	/* Some kernels map all of a large page of a tmpfs at once, by as many entries as it has pages. */
	if (dax_memory)
		same(stores(at, LARGE_PAGES, 1), LARGE_PAGES, "faults after MADV_NOHUGEPAGE");
	else
		same(stores(at, LARGE_PAGES, 1) > 0, true, "faults after MADV_NOHUGEPAGE, at all");
	unmap(at, LARGE_PAGES);
}

static long in_core(char *at, size_t pages)
{
	unsigned char vec[PAGES];
	long n = 0;

	must(!mincore(at, pages * PAGE, vec), "mincore");
	for (size_t i = 0; i < pages; i++)
		n += vec[i] & 1;
	return n;
}

static void in_core_is(void)
{
	char *at;

	fill();
	at = map(PAGES, RW);
	/* The pages of a pool that is a file on a tmpfs are in core, whoever maps them. */
	same(in_core(at, PAGES), of_memory(0, PAGES), "pages in core before a load");
	(void)stores(at, 16, 1);
	same(in_core(at, PAGES), of_memory(16, PAGES), "pages in core after 16 stores");
	must(!madvise(at, PAGES * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	same(in_core(at, PAGES), of_memory(0, PAGES), "pages in core after MADV_DONTNEED");
	punch(0, PAGES);
	if (where != ON_INODAX)	/* as in 5.61 */
		same(in_core(at, PAGES), 0, "pages in core after a punch");
	unmap(at, PAGES);
}

const struct row advice_rows[] = {
	{ "54", "populate", populate, true },
	{ "55", "mlock", lock_memory, false },
	{ "56", "madvise", advise, true },
	{ "57", "mincore", in_core_is, false },
	{ NULL, NULL, NULL, false },
};
