/*
 * What a file's mapping leaves behind when it ends, and where none can begin: inodes that leave the cache while their
 * mapping is still pinned, times of stores that came after the last close, files without a name that are only mapped,
 * mounts that are refused their shared memory, pools whose map unit is large, mappers that do not say when they store
 * or that cannot be told anything any more.
 *
 * The mapper here has no page tables: it takes whatever is inserted and gives all back when it is told.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "fs_pool.h"
#include "pmem/emu.h"
#include "util/fault.h"

#define BLOCK		4096ULL
#define POOL		(64ULL << 20)
#define MANY		17000U			/* more inodes than are kept without a reference */
#define SECOND		1000000

static struct dax_vma vma;

static int insert(struct dax_vma *v, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags)
{
	(void)v, (void)index, (void)size, (void)unit, (void)flags;
	return 0;
}

static int zap(struct dax_vma *v, uint64_t index, uint64_t count, bool even_cows)
{
	(void)index, (void)count, (void)even_cows;
	ck_assert_int_ge(dax_unmap(v, v->index, v->count), 0);
	return 0;
}

static void write_protect(struct dax_vma *v, uint64_t index, uint64_t count)
{
	(void)v, (void)index, (void)count;
}

static const struct mm_ops ops = { .insert = insert, .zap = zap, .write_protect = write_protect };
static const struct mm_ops unseen_ops = { .insert = insert, .zap = zap };

/* ---- The fixture ----------------------------------------------------------------------------------------- */

static void mount_with(enum dax_pin_mode pins)
{
	const struct fs_options opt = { .dax = FS_DAX_ALWAYS, .pins = pins };
	struct err err = { "" };

	ck_assert_msg(fs_mount(&fs, "pool", region, &opt, &err) == 0, "%s", err.text);
}

static void make_pool(unsigned int unit_shift, enum dax_pin_mode pins)
{
	struct fs_format format = { .uuid = "mapping-test-01", .root_mode = 0777, .unit_shift = unit_shift };
	struct err err = { "" };

	region = emu_open(POOL, NULL);
	ck_assert_msg(fs_format(region, &format, &err) == 0, "%s", err.text);
	mount_with(pins);
}

static void finding(void *arg, const struct check_finding *f)
{
	(void)arg;
	printf("fsck: %s: %s\n", f->name, f->text);
}

/* Unmount; nothing wrong was seen, and nothing is wrong on the media. */
static void end_pool(void)
{
	struct check_report report;
	struct err err = { "" };

	ck_assert_uint_eq(pgmap_violations(fs_dax(fs)->pgmap), 0);
	ck_assert_int_eq(fs_unmount(fs), 0);
	ck_assert_msg(check_pool(region, "pool", finding, NULL, &report, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(report.problems, 0);
	ck_assert(report.clean);
}

static void map(struct fs_file *f)
{
	struct grant_owner owner = { .id = 1, .ino = fs_file_ino(f), .pid = getpid() };
	struct dax_mapping *m;

	ck_assert_int_eq(fs_file_mapping(f, &m), 0);
	ck_assert_int_eq(grant_new(fs_grants(fs), &owner, &vma.grant), 0);
	vma.ops = &ops;
	vma.count = POOL / BLOCK;
	dax_vma_attach(m, &vma);
}

static void unmap(void)
{
	dax_vma_detach(&vma);
	ck_assert_int_eq(grant_delete(vma.grant), 0);
}

static unsigned int touch(uint64_t index, unsigned int flags)
{
	unsigned int shift = pgmap_config(fs_dax(fs)->pgmap)->unit_shift;
	struct dax_fault fault = {
		.vma = &vma, .index = index, .start = 1ULL << 30, .address = (1ULL << 30) + (index << shift),
		.end = 1ULL << 31, .flags = DAX_FAULT_SHARED | flags,
	};

	return dax_handle_fault(&fault) & ~DAX_MAJOR;
}

static unsigned int store(uint64_t index)
{
	return touch(index, DAX_FAULT_WRITE);
}

static unsigned int load(uint64_t index)
{
	return touch(index, 0);
}

static void set_size(struct fs_file *f, uint64_t size)
{
	const struct stat st = { .st_size = (off_t)size };

	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(f), &st, FS_SET_SIZE, NULL), 0);
}

/* ---- The cache ------------------------------------------------------------------------------------------- */

static _Atomic unsigned int made;

/* Inodes nobody references, until the one with a mapping has to go. */
static void *make_many(void *arg)
{
	char name[16];

	(void)arg;
	for (unsigned int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		make_file(INO_ROOT, name);
		atomic_fetch_add(&made, 1);
	}
	return NULL;
}

static void *store_again(void *ino)
{
	struct fs_file *f;

	ck_assert_int_eq(fs_open(fs, *(uint64_t *)ino, O_RDWR, &f), 0);
	map(f);
	ck_assert_uint_eq(store(3), DAX_NOPAGE);
	unmap();
	fs_close(f);
	return NULL;
}

START_TEST(an_inode_that_is_being_evicted_is_not_loaded_twice)
{
	struct dax_pin pin = { .area = 1 };
	struct grant_owner owner = { .id = 2, .pid = getpid() };
	pthread_t many, again;
	struct fs_file *f;
	unsigned int seen;
	uint64_t ino;

	make_pool(0, DAX_PIN_EVICT);
	f = create("a");
	ino = fs_file_ino(f);
	set_size(f, 10 * BLOCK);
	map(f);
	ck_assert_uint_eq(store(3), DAX_NOPAGE);
	ck_assert_int_eq(grant_new(fs_grants(fs), &owner, &pin.grant), 0);
	ck_assert_int_eq(dax_pin(&vma, 3, 1, 0, &pin), 0);
	unmap();
	fs_close(f);
	pthread_create(&many, NULL, make_many, NULL);
	do {
		seen = atomic_load(&made);
		usleep(SECOND / 2);
	} while (seen != atomic_load(&made));
	ck_assert_uint_lt(seen, MANY);		/* it waits for the pin */
	pthread_create(&again, NULL, store_again, &ino);
	usleep(SECOND / 10);
	dax_unpin(&pin);
	pthread_join(again, NULL);
	pthread_join(many, NULL);
	ck_assert_int_eq(grant_delete(pin.grant), 0);
	end_pool();
	emu_close(region);
}
END_TEST

START_TEST(times_of_stores_after_the_last_close_are_kept)
{
	struct stat closed, stored, after;
	struct fs_file *f;
	uint64_t ino;

	make_pool(0, DAX_PIN_INODE);
	f = create("a");
	ino = fs_file_ino(f);
	set_size(f, 10 * BLOCK);
	map(f);
	ck_assert_uint_eq(store(3), DAX_NOPAGE);
	fs_close(f);
	ck_assert_int_eq(fs_fsync(fs, ino, false), 0);		/* the next store faults, and allocates nothing */
	closed = attributes(ino);
	usleep(SECOND / 50);
	ck_assert_uint_eq(store(3), DAX_NOPAGE);
	stored = attributes(ino);
	ck_assert_int_ne(stored.st_mtim.tv_nsec, closed.st_mtim.tv_nsec);
	unmap();
	end_pool();
	mount_with(DAX_PIN_INODE);
	after = attributes(ino);
	ck_assert_int_eq(after.st_mtim.tv_sec, stored.st_mtim.tv_sec);
	ck_assert_int_eq(after.st_mtim.tv_nsec, stored.st_mtim.tv_nsec);
	end_pool();
	emu_close(region);
}
END_TEST

/* A mount that is torn away: nobody unmaps. */
START_TEST(blocks_of_a_file_that_is_only_mapped_are_free_after_the_next_mount)
{
	struct fs_file *f;
	uint64_t before;

	make_pool(0, DAX_PIN_INODE);
	before = free_blocks();
	f = create("a");
	write_at(f, 0, 100 * BLOCK, 'a');
	map(f);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "a"), 0);
	fs_close(f);
	end_pool();
	mount_with(DAX_PIN_INODE);
	ck_assert_uint_ge(free_blocks(), before - 1);	/* the root directory's block */
	end_pool();
	emu_close(region);
}
END_TEST

START_TEST(a_mount_that_is_refused_its_shared_memory_changes_nothing)
{
	const struct fs_options opt = { .dax = FS_DAX_ALWAYS, .shm = true, .shm_dir = "/dev/null/none" };
	struct check_report report;
	struct err err = { "" };

	make_pool(0, DAX_PIN_INODE);
	end_pool();
	ck_assert_int_ne(fs_mount(&fs, "pool", region, &opt, &err), 0);
	ck_assert_int_eq(check_pool(region, "pool", finding, NULL, &report, &err), 0);
	ck_assert(report.clean);
	mount_with(DAX_PIN_INODE);
	end_pool();
	emu_close(region);
}
END_TEST

/* ---- Large units ----------------------------------------------------------------------------------------- */

START_TEST(a_pool_smaller_than_its_unit_can_be_mounted)
{
	struct fs_file *f;

	make_pool(30, DAX_PIN_INODE);
	f = create("a");
	write_at(f, 0, BLOCK, 'a');
	map(f);
	ck_assert_uint_eq(store(0), DAX_SIGBUS);
	unmap();
	ck_assert(holds(f, 0, BLOCK, 'a'));
	fs_close(f);
	end_pool();
	emu_close(region);
}
END_TEST

/* A pool of 2 MiB units with two files. */
static void make_two(struct fs_file **a, struct fs_file **b)
{
	make_pool(21, DAX_PIN_INODE);
	*a = create("a");
	*b = create("b");
}

static void end_two(struct fs_file *a, struct fs_file *b)
{
	fs_close(a);
	fs_close(b);
	end_pool();
	emu_close(region);
}

/* The place behind the file has room, but not for a unit. */
START_TEST(a_store_finds_a_whole_unit_where_there_is_one)
{
	struct fs_file *a, *b;

	make_two(&a, &b);
	set_size(a, 4 << 20);
	map(a);
	ck_assert_uint_eq(store(0), DAX_NOPAGE);
	ck_assert_int_eq(fs_fallocate(b, &user, 0, 0, 2 << 20), 0);
	ck_assert_int_eq(fs_fallocate(b, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100 * BLOCK), 0);
	ck_assert_uint_eq(store(1), DAX_NOPAGE);
	unmap();
	end_two(a, b);
}
END_TEST

static uint64_t blocks_of(struct fs_file *f)
{
	struct stat st;

	ck_assert_int_eq(fs_getattr(fs, fs_file_ino(f), &st, NULL), 0);
	return (uint64_t)st.st_blocks / (BLOCK / 512);
}

/* Two files in pieces, of one unit of the pool. */
static void interleave(struct fs_file *a, struct fs_file *b)
{
	for (uint64_t i = 0; i < 20; i++) {
		write_at(a, i * BLOCK, BLOCK, (char)('a' + i));
		write_at(b, i * 2 * BLOCK, BLOCK, (char)('A' + i));
	}
}

static void expect_interleaved(struct fs_file *a, struct fs_file *b)
{
	for (uint64_t i = 0; i < 20; i++) {
		ck_assert(holds(a, i * BLOCK, BLOCK, (char)('a' + i)));
		ck_assert(holds(b, i * 2 * BLOCK, BLOCK, (char)('A' + i)));
		if (i < 19)
			ck_assert(holds(b, (i * 2 + 1) * BLOCK, BLOCK, 0));
	}
}

START_TEST(files_that_share_a_unit_get_their_own)
{
	struct dax_entry_info info;
	struct fs_file *a, *b;

	make_two(&a, &b);
	interleave(a, b);
	map(b);
	ck_assert_uint_eq(load(0), DAX_NOPAGE);
	ck_assert(dax_next_entry(vma.mapping, 0, &info));
	ck_assert_int_eq(info.kind, DAX_REAL);
	ck_assert_uint_eq(folio_refcount(pgmap_word(fs_dax(fs)->pgmap, info.unit)), 1);
	ck_assert_uint_eq(blocks_of(b), 512);
	ck_assert_uint_lt(blocks_of(a), 30);
	expect_interleaved(a, b);
	ck_assert_uint_eq(store(0), DAX_NOPAGE);
	ck_assert_uint_eq(blocks_of(b), 512);
	ck_assert_uint_eq(store(1), DAX_SIGBUS);
	unmap();
	expect_interleaved(a, b);
	end_two(a, b);
}
END_TEST

/* Without room, or without memory, all is as it was. */
START_TEST(where_there_is_no_unit_nothing_moves)
{
	struct fs_file *a, *b;

	make_two(&a, &b);
	interleave(a, b);
	map(b);
	fault_arm_always(FAULT_BALLOC);
	ck_assert_uint_eq(load(0), DAX_SIGBUS);
	ck_assert_uint_eq(store(0), DAX_SIGBUS);
	fault_disarm(FAULT_BALLOC);
	expect_interleaved(a, b);
	ck_assert_uint_lt(blocks_of(b), 30);
	ck_assert_uint_eq(store(0), DAX_NOPAGE);
	unmap();
	expect_interleaved(a, b);
	end_two(a, b);
}
END_TEST

/* What is stored behind the end of a file, in its last unit, is not there when the file grows. */
START_TEST(the_last_unit_reads_as_zeros_behind_the_end)
{
	struct dax_entry_info info;
	struct fs_file *f;

	for (int how = 0; how < 3; how++) {
		make_pool(21, DAX_PIN_INODE);
		f = create("a");
		write_at(f, 0, 100, 'a');
		map(f);
		ck_assert_uint_eq(store(0), DAX_NOPAGE);
		ck_assert(dax_next_entry(vma.mapping, 0, &info));
		memset((char *)region_at(region, info.unit << 21) + 100, 'z', (2 << 20) - 100);
		if (how == 0)
			set_size(f, 1 << 20);
		else if (how == 1)
			write_at(f, (1 << 20) - 1, 1, 0);
		else
			ck_assert_int_eq(fs_fallocate(f, &user, 0, 0, 1 << 20), 0);
		ck_assert(holds(f, 0, 100, 'a'));
		ck_assert(holds(f, 100, (1 << 20) - 100, 0));
		unmap();
		fs_close(f);
		end_pool();
		emu_close(region);
	}
}
END_TEST

/* ---- Mappers that tell less ------------------------------------------------------------------------------- */

static bool is_dirty(uint64_t index)
{
	struct dax_entry_info info;

	return dax_next_entry(vma.mapping, index, &info) && info.index == index && info.dirty;
}

START_TEST(what_is_stored_unseen_stays_dirty_until_it_is_unmapped)
{
	struct dax_mapping *m;
	struct fs_file *f;

	make_pool(0, DAX_PIN_INODE);
	f = create("a");
	set_size(f, 10 * BLOCK);
	map(f);
	m = vma.mapping;
	vma.ops = &unseen_ops;
	ck_assert_uint_eq(store(3), DAX_NOPAGE);
	ck_assert_uint_eq(store(5), DAX_NOPAGE);
	ck_assert_int_eq(dax_unmap(&vma, 5, 1), 1);
	dax_writeback(m, 0, UINT64_MAX);
	ck_assert(is_dirty(3));
	ck_assert(!is_dirty(5));
	unmap();
	dax_writeback(m, 0, UINT64_MAX);
	vma.mapping = m;
	ck_assert(!is_dirty(3));
	fs_close(f);
	end_pool();
}
END_TEST

START_TEST(what_is_abandoned_stays_referenced_until_the_grant_goes)
{
	struct dax_entry_info info;
	struct fs_file *f;

	make_pool(0, DAX_PIN_INODE);
	f = create("a");
	set_size(f, 10 * BLOCK);
	map(f);
	ck_assert_uint_eq(store(3), DAX_NOPAGE);
	ck_assert(dax_next_entry(vma.mapping, 3, &info));
	dax_vma_abandon(&vma);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "a"), 0);
	fs_close(f);
	/* The inode is gone; its block waits. */
	ck_assert_uint_eq(folio_refcount(pgmap_word(fs_dax(fs)->pgmap, info.unit)), 1);
	ck_assert_uint_eq(pgmap_limbo(fs_dax(fs)->pgmap), 1);
	ck_assert_uint_eq(dax_drop_grant(fs_dax(fs)->pgmap, vma.grant), 1);
	ck_assert_uint_eq(pgmap_limbo(fs_dax(fs)->pgmap), 0);
	end_pool();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mapping_ends");
	TCase *tc = tcase_create("mapping_ends");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_inode_that_is_being_evicted_is_not_loaded_twice);
	tcase_add_test(tc, times_of_stores_after_the_last_close_are_kept);
	tcase_add_test(tc, blocks_of_a_file_that_is_only_mapped_are_free_after_the_next_mount);
	tcase_add_test(tc, a_mount_that_is_refused_its_shared_memory_changes_nothing);
	tcase_add_test(tc, a_pool_smaller_than_its_unit_can_be_mounted);
	tcase_add_test(tc, a_store_finds_a_whole_unit_where_there_is_one);
	tcase_add_test(tc, files_that_share_a_unit_get_their_own);
	tcase_add_test(tc, where_there_is_no_unit_nothing_moves);
	tcase_add_test(tc, the_last_unit_reads_as_zeros_behind_the_end);
	tcase_add_test(tc, what_is_stored_unseen_stays_dirty_until_it_is_unmapped);
	tcase_add_test(tc, what_is_abandoned_stays_referenced_until_the_grant_goes);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
