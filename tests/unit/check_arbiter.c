/*
 * Blocks and references together: files of lib/fs, their blocks from the real allocator, under mappings and pins. The mapper
 * here is as simple as one can be: an array of what is mapped where. After every step two accounts have to be equal: every
 * block is free, in a file or in limbo; every reference in the folio table is a page-table entry or a pin of ours.
 */
#include <errno.h>
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

#define BLOCK		4096ULL
#define PMD_BLOCKS	512ULL
#define POOL		(64ULL << 20)
#define FILES		3U
#define PAGES		2048U			/* of a file that are mapped */
#define ADDRESS(index)	((1ULL << 30) + (index) * BLOCK)

static struct fs_options options;
static uint64_t all_blocks;			/* free, in files, in limbo: constant from setup on */

/* A file, mapped once. */
struct mapper {
	struct dax_vma		 vma;
	struct fs_file		*f;
	uint64_t		 ino;
	bool			 attached, silent;
	unsigned int		 told;		/* revocations it has not answered */
	uint64_t		 unit[PAGES];	/* + 1; 0: not mapped */
	enum dax_size		 size[PAGES];
	bool			 write[PAGES];
	struct dax_pin		 pin[4];
	bool			 pinned[4];
};

static struct mapper mapper[FILES];

static struct mapper *of(struct dax_vma *vma)
{
	return container_of(vma, struct mapper, vma);
}

/* ---- The mapper ------------------------------------------------------------------------------------------ */

static int insert(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags)
{
	struct mapper *m = of(vma);
	uint64_t n = size == DAX_PMD ? PMD_BLOCKS : 1;

	for (uint64_t i = 0; i < n; i++) {
		m->unit[index + i] = flags & DAX_MAP_ZERO ? DAX_ZEROS : unit + i + 1;
		m->size[index + i] = size;
		m->write[index + i] = flags & DAX_MAP_WRITE;
	}
	return 0;
}

static void forget(struct mapper *m, uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++)
		m->unit[i] = 0;
}

/* Whole entries: one of 2 MiB that reaches beyond the range goes, too. */
static int zap(struct dax_vma *vma, uint64_t index, uint64_t count, bool even_cows)
{
	struct mapper *m = of(vma);
	uint64_t end = count > PAGES - index || index + count > PAGES ? PAGES : index + count;

	(void)even_cows;
	if (m->silent) {
		m->told++;
		return -EINPROGRESS;
	}
	if (index >= PAGES)
		return 0;
	while (index && m->unit[index] && m->size[index] == DAX_PMD && index % PMD_BLOCKS)
		index--;
	while (end < PAGES && m->unit[end] && m->size[end] == DAX_PMD && end % PMD_BLOCKS)
		end++;
	forget(m, index, end);
	ck_assert_int_ge(dax_unmap(vma, index, end - index), 0);
	return 0;
}

static void write_protect(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	for (uint64_t i = index; i < index + count && i < PAGES; i++)
		of(vma)->write[i] = false;
}

static void lose(struct dax_vma *vma, uint64_t index, enum dax_size size)
{
	(void)size;
	zap(vma, index, 1, true);
}

static int cow(struct dax_vma *vma, uint64_t index, uint64_t unit)
{
	(void)vma, (void)index, (void)unit;
	return -ENOMEM;
}

static const struct mm_ops ops = {
	.insert = insert, .zap = zap, .write_protect = write_protect, .fail = lose, .cow = cow,
};

/* The mapper answers at last: it unmaps all it has. */
static void answer(struct mapper *m)
{
	m->silent = false;
	if (m->told)
		zap(&m->vma, 0, PAGES, true);
	for (; m->told; m->told--)
		dax_zap_done(&m->vma);
}

static unsigned int touch(struct mapper *m, uint64_t index, bool write)
{
	struct dax_fault fault = {
		.vma = &m->vma, .index = index, .address = ADDRESS(index), .start = ADDRESS(0), .end = ADDRESS(PAGES),
		.flags = DAX_FAULT_SHARED | (write ? DAX_FAULT_WRITE : 0),
	};

	return dax_handle_fault(&fault);
}

/* A store, as hardware does it: faults until the page is there and writable. 0: it is; else what the fault said. */
static unsigned int store(struct mapper *m, uint64_t index, unsigned char value)
{
	unsigned int ret;

	while (!m->unit[index] || !m->write[index]) {
		ret = touch(m, index, true) & ~DAX_MAJOR;
		if (ret != DAX_NOPAGE)
			return ret;
	}
	*(unsigned char *)region_at(region, (m->unit[index] - 1) * BLOCK) = value;
	return 0;
}

static void map_file(struct mapper *m, const char *name)
{
	static uint64_t ids;
	struct grant_owner owner = { .id = ++ids, .pid = getpid() };
	struct dax_mapping *mapping;

	memset(m, 0, sizeof(*m));
	m->f = create(name);
	m->ino = owner.ino = fs_file_ino(m->f);
	ck_assert_int_eq(fs_file_mapping(m->f, &mapping), 0);
	ck_assert_int_eq(grant_new(fs_grants(fs), &owner, &m->vma.grant), 0);
	m->vma.ops = &ops;
	m->vma.count = PAGES;
	dax_vma_attach(mapping, &m->vma);
	m->attached = true;
}

static void unmap_file(struct mapper *m)
{
	if (!m->attached)
		return;
	m->silent = false;
	forget(m, 0, PAGES);
	dax_vma_detach(&m->vma);
	m->attached = false;
}

static void end_file(struct mapper *m)
{
	for (int i = 0; i < 4; i++)
		if (m->pinned[i])
			dax_unpin(&m->pin[i]);
	unmap_file(m);
	if (m->vma.grant)
		ck_assert_int_eq(grant_delete(m->vma.grant), 0);
	if (m->f)
		fs_close(m->f);
	memset(m, 0, sizeof(*m));
}

/* ---- The accounts ---------------------------------------------------------------------------------------- */

static uint64_t blocks_of(const struct mapper *m)
{
	struct stat st;

	return m->f && fs_getattr(fs, m->ino, &st, NULL) == 0 ? (uint64_t)st.st_blocks / 8 : 0;
}

static uint64_t entries_of(const struct mapper *m)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < PAGES; i++)
		if (m->unit[i] && m->unit[i] != DAX_ZEROS)
			n += m->size[i] == DAX_PTE || i % PMD_BLOCKS == 0;
	return n;
}

static uint64_t pins_of(const struct mapper *m)
{
	uint64_t n = 0;

	for (int i = 0; i < 4; i++)
		n += m->pinned[i] ? m->pin[i].count : 0;
	return n;
}

static void balance(void)
{
	struct pgmap *pg = fs_dax(fs)->pgmap;
	uint64_t blocks = free_blocks() + pgmap_limbo(pg), maps = 0, pins = 0;
	struct pgmap_stat st;

	for (unsigned int i = 0; i < FILES; i++) {
		blocks += blocks_of(&mapper[i]);
		maps += entries_of(&mapper[i]);
		pins += pins_of(&mapper[i]);
	}
	ck_assert_uint_eq(blocks, all_blocks);
	pgmap_stat(pg, &st);
	ck_assert_uint_eq(st.maps, maps);
	ck_assert_uint_eq(st.refs, maps + pins);
	ck_assert_uint_eq(pgmap_violations(pg), 0);
}

/* Every unit that is mapped is the file's, or in limbo. */
static void mapped_is_owned(struct mapper *m)
{
	struct pgmap *pg = fs_dax(fs)->pgmap;

	for (unsigned int i = 0; i < PAGES; i++)
		if (m->unit[i] && m->unit[i] != DAX_ZEROS)
			ck_assert(folio_owner(pgmap_word(pg, pgmap_head(pg, m->unit[i] - 1))) != FOLIO_FREE ||
				  m->silent);
}

/* ---- The fixture ----------------------------------------------------------------------------------------- */

static void mount_with(const struct fs_options *o)
{
	struct err err = { "" };

	ck_assert_msg(fs_mount(&fs, "pool", region, o, &err) == 0, "%s", err.text);
}

static void setup_with(const struct fs_options *o)
{
	struct fs_format format = { .uuid = "arbiter-test-01", .root_mode = 0777 };
	struct err err = { "" };

	options = *o;
	region = emu_open(POOL, NULL);
	ck_assert_msg(fs_format(region, &format, &err) == 0, "%s", err.text);
	mount_with(&options);
	for (unsigned int i = 0; i < FILES; i++)
		map_file(&mapper[i], (char[]){ (char)('a' + i), 0 });
	all_blocks = free_blocks();
	for (unsigned int i = 0; i < FILES; i++)
		all_blocks += blocks_of(&mapper[i]);
}

static void setup(void)
{
	setup_with(&(struct fs_options){ .dax = FS_DAX_ALWAYS, .mapper_ms = 20 });
}

static void finding(void *arg, const struct check_finding *f)
{
	(void)arg;
	printf("fsck: %s: %s\n", f->name, f->text);
}

static void teardown(void)
{
	struct check_report report;
	struct err err = { "" };

	balance();
	for (unsigned int i = 0; i < FILES; i++)
		end_file(&mapper[i]);
	ck_assert_int_eq(fs_unmount(fs), 0);
	ck_assert_msg(check_pool(region, "pool", finding, NULL, &report, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(report.problems, 0);
	emu_close(region);
}

static int set_size(struct mapper *m, uint64_t size, const struct fs_cred *cred)
{
	struct stat st = { .st_size = (off_t)size };

	return fs_setattr(fs, cred, m->ino, &st, FS_SET_SIZE, NULL);
}

static int punch(struct mapper *m, uint64_t index, uint64_t count)
{
	return fs_fallocate(m->f, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, index * BLOCK, count * BLOCK);
}

static bool at_once(void *arg)
{
	(void)arg;
	return true;
}

static const struct fs_cred hurried = { .uid = 1000, .gid = 1000, .interrupted = at_once };

static void pin(struct mapper *m, int slot, uint64_t index, uint64_t count)
{
	m->pin[slot] = (struct dax_pin){ .grant = m->vma.grant, .area = 1 + (uint32_t)slot };
	ck_assert_int_eq(dax_pin(&m->vma, index, count, 0, &m->pin[slot]), 0);
	m->pinned[slot] = true;
}

static void unpin(struct mapper *m, int slot)
{
	dax_unpin(&m->pin[slot]);
	m->pinned[slot] = false;
}

/* ---- Tests ----------------------------------------------------------------------------------------------- */

START_TEST(a_store_to_a_hole_allocates_zeroed_blocks)
{
	struct mapper *m = &mapper[0];

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 3, 'x'), 0);
	ck_assert_uint_eq(blocks_of(m), 1);
	ck_assert(holds(m->f, 3 * BLOCK, 1, 'x'));
	ck_assert(holds(m->f, 3 * BLOCK + 1, BLOCK - 1, 0));
	balance();
}
END_TEST

START_TEST(a_load_of_a_hole_allocates_nothing)
{
	struct mapper *m = &mapper[0];

	ck_assert_int_eq(set_size(m, PAGES * BLOCK, &user), 0);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	ck_assert_uint_eq(m->unit[5], DAX_ZEROS);
	ck_assert_uint_eq(blocks_of(m), 0);
	balance();
}
END_TEST

START_TEST(write_over_a_hole_that_is_mapped_is_seen)
{
	struct mapper *m = &mapper[0];

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	write_at(m->f, 5 * BLOCK, 10, 'w');
	ck_assert_uint_eq(m->unit[5], 0);
	ck_assert_uint_eq(touch(m, 5, false), DAX_NOPAGE);
	ck_assert_int_eq(*(char *)region_at(region, (m->unit[5] - 1) * BLOCK), 'w');
	balance();
}
END_TEST

START_TEST(a_large_file_is_mapped_by_two_mib)
{
	struct mapper *m = &mapper[0];

	ck_assert_int_eq(set_size(m, PAGES * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 700, 'p'), 0);
	ck_assert_uint_eq(m->size[700], DAX_PMD);
	ck_assert_uint_eq(blocks_of(m), PMD_BLOCKS);
	balance();
}
END_TEST

START_TEST(truncate_takes_mappings_back_and_frees_at_once)
{
	struct mapper *m = &mapper[0];
	uint64_t before = free_blocks();

	ck_assert_int_eq(set_size(m, 100 * BLOCK, &user), 0);
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_uint_eq(store(m, i, 'a'), 0);
	ck_assert_int_eq(set_size(m, 50 * BLOCK + 1, &user), 0);
	ck_assert_uint_ne(m->unit[50], 0);		/* the block EOF is in */
	ck_assert_uint_eq(m->unit[51], 0);
	ck_assert_uint_eq(touch(m, 51, false), DAX_SIGBUS);
	ck_assert_uint_eq(free_blocks(), before - blocks_of(m));
	balance();
}
END_TEST

START_TEST(a_punch_in_a_large_folio_revokes_it_whole)
{
	struct mapper *m = &mapper[0];

	ck_assert_int_eq(set_size(m, PAGES * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 0, 'p'), 0);
	ck_assert_int_eq(punch(m, 7, 1), 0);
	ck_assert_uint_eq(m->unit[0], 0);
	ck_assert_uint_eq(store(m, 8, 'q'), 0);
	ck_assert_uint_eq(m->size[8], DAX_PTE);
	ck_assert(holds(m->f, 0, 1, 'p'));
	balance();
}
END_TEST

START_TEST(blocks_of_a_silent_mapper_wait_in_limbo_as_used)
{
	struct mapper *m = &mapper[0];
	uint64_t before, unit;

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	for (uint64_t i = 0; i < 10; i++)
		ck_assert_uint_eq(store(m, i, 'a'), 0);
	before = free_blocks();
	unit = m->unit[4] - 1;
	m->silent = true;
	ck_assert_int_eq(punch(m, 2, 4), 0);
	ck_assert_uint_eq(pgmap_limbo(fs_dax(fs)->pgmap), 4);
	ck_assert(pgmap_block_in_limbo(fs_dax(fs)->pgmap, unit));
	ck_assert_uint_eq(free_blocks(), before);
	balance();
	ck_assert(holds(m->f, 2 * BLOCK, 4 * BLOCK, 0));
	answer(m);
	ck_assert_uint_eq(pgmap_limbo(fs_dax(fs)->pgmap), 0);
	ck_assert_uint_eq(free_blocks(), before + 4);
	balance();
}
END_TEST

START_TEST(an_unlinked_file_keeps_its_blocks_while_it_is_mapped)
{
	struct mapper *m = &mapper[0];
	uint64_t before = free_blocks();

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	for (uint64_t i = 0; i < 10; i++)
		ck_assert_uint_eq(store(m, i, 'a'), 0);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "a"), 0);
	fs_close(m->f);
	ck_assert_uint_eq(free_blocks(), before - 10);
	ck_assert_uint_eq(store(m, 3, 'b'), 0);
	unmap_file(m);
	m->f = NULL;
	ck_assert_uint_ge(free_blocks(), before);
	all_blocks = free_blocks() + blocks_of(&mapper[1]) + blocks_of(&mapper[2]);
}
END_TEST

START_TEST(an_unlinked_file_keeps_its_blocks_while_it_is_pinned)
{
	struct mapper *m = &mapper[0];
	uint64_t before = free_blocks();

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "a"), 0);
	fs_close(m->f);
	unmap_file(m);
	m->f = NULL;
	ck_assert_uint_eq(free_blocks(), before - 1);
	unpin(m, 0);
	ck_assert_uint_ge(free_blocks(), before);
	all_blocks = free_blocks() + blocks_of(&mapper[1]) + blocks_of(&mapper[2]);
}
END_TEST

START_TEST(a_truncate_that_is_interrupted_changes_nothing)
{
	struct mapper *m = &mapper[0];

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	ck_assert_int_eq(set_size(m, 0, &hurried), -EINTR);
	ck_assert_int_eq(attributes(m->ino).st_size, 10 * BLOCK);
	ck_assert_uint_eq(blocks_of(m), 1);
	balance();
	/* What is not pinned may go. */
	ck_assert_int_eq(set_size(m, 5 * BLOCK, &hurried), 0);
	unpin(m, 0);
	ck_assert_int_eq(set_size(m, 0, &hurried), 0);
	ck_assert_uint_eq(blocks_of(m), 0);
	balance();
}
END_TEST

static void *unpin_later(void *arg)
{
	usleep(50000);
	dax_unpin(arg);
	return NULL;
}

START_TEST(a_truncate_waits_for_a_pin)
{
	struct mapper *m = &mapper[0];
	pthread_t thread;

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	pthread_create(&thread, NULL, unpin_later, &m->pin[0]);
	ck_assert_int_eq(set_size(m, 0, &user), 0);
	m->pinned[0] = false;
	pthread_join(thread, NULL);
	ck_assert_uint_eq(atomic_load(&fs_dax(fs)->stat.break_waits), 1);
	balance();
}
END_TEST

START_TEST(pin_busy_refuses_instead_of_waiting)
{
	struct mapper *m = &mapper[0];

	fs_dax(fs)->pin_busy = true;
	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	pin(m, 0, 3, 1);
	ck_assert_int_eq(punch(m, 3, 1), -EBUSY);
	ck_assert_int_eq(punch(m, 4, 1), 0);
	balance();
}
END_TEST

START_TEST(the_kernels_layout_breaks_the_whole_file)
{
	struct mapper *m = &mapper[0];

	fs_dax(fs)->layout = DAX_LAYOUT_KERNEL;
	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	ck_assert_int_eq(set_size(m, 20 * BLOCK, &user), 0);
	ck_assert_uint_eq(m->unit[3], 0);
	balance();
}
END_TEST

/* Fill the pool until `left` blocks are free for data. */
static void fill_to(struct fs_file *f, uint64_t left)
{
	struct statvfs st;
	uint64_t off = 0;

	for (;;) {
		fs_statvfs(fs, &st);
		if (st.f_bavail <= left)
			break;
		write_at(f, off, BLOCK, 'f');
		off += BLOCK;
	}
}

START_TEST(enospc_in_the_middle_of_a_large_fault_loses_nothing)
{
	struct mapper *m = &mapper[0];
	unsigned int ret = 0;
	uint64_t got = 0;

	ck_assert_int_eq(set_size(m, PAGES * BLOCK, &user), 0);
	fill_to(mapper[1].f, 100);
	balance();
	/* 2 MiB are not there: nothing of them is taken, and one block is. */
	ck_assert_uint_eq(store(m, 0, 'a'), 0);
	ck_assert_uint_eq(m->size[0], DAX_PTE);
	ck_assert_uint_le(blocks_of(m), 2);
	for (uint64_t i = 1; i < PAGES && !ret; i++) {
		ret = store(m, i, 'a');
		got += !ret;
		balance();
	}
	ck_assert_uint_eq(ret, DAX_SIGBUS);
	ck_assert_uint_ge(got, 50);
	ck_assert(holds(m->f, 0, 1, 'a'));
	ck_assert_int_eq(set_size(&mapper[1], 0, &user), 0);
	ck_assert_uint_eq(store(m, PAGES - 1, 'z'), 0);
	balance();
}
END_TEST

START_TEST(fsync_makes_stores_clean_and_the_next_one_faults)
{
	struct mapper *m = &mapper[0];
	struct dax_entry_info info;

	ck_assert_int_eq(set_size(m, 10 * BLOCK, &user), 0);
	ck_assert_uint_eq(store(m, 3, 'a'), 0);
	ck_assert(dax_next_entry(m->vma.mapping, 3, &info) && info.dirty);
	ck_assert_int_eq(fs_fsync(fs, m->ino), 0);
	ck_assert(dax_next_entry(m->vma.mapping, 3, &info) && !info.dirty);
	ck_assert(!m->write[3]);
	ck_assert_uint_eq(store(m, 3, 'b'), 0);
	ck_assert(dax_next_entry(m->vma.mapping, 3, &info) && info.dirty);
	balance();
}
END_TEST

/* ---- At random ------------------------------------------------------------------------------------------- */

static uint32_t seed;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static void random_pin(struct mapper *m)
{
	int slot = (int)random_below(4);
	uint64_t index = random_below(PAGES);

	if (m->pinned[slot]) {
		unpin(m, slot);
		return;
	}
	m->pin[slot] = (struct dax_pin){ .grant = m->vma.grant, .area = 1 + (uint32_t)slot };
	m->pinned[slot] = dax_pin(&m->vma, index, 1 + random_below(3), 0, &m->pin[slot]) == 0;
}

static void random_step(struct mapper *m)
{
	uint64_t index = random_below(PAGES), count = 1 + random_below(random_below(4) ? 8 : 600);

	if (m->told && random_below(3) == 0)
		answer(m);
	switch (random_below(12)) {
	case 0:
		set_size(m, random_below(PAGES) * BLOCK + random_below(2) * 100, &hurried);
		break;
	case 1:
		if (!random_below(4))
			set_size(m, PAGES * BLOCK, &hurried);
		break;
	case 2:
	case 3:
		fs_fallocate(m->f, &hurried, random_below(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE,
			     index * BLOCK, count * BLOCK);
		break;
	case 4:
		fs_fallocate(m->f, &hurried, FALLOC_FL_KEEP_SIZE, index * BLOCK, count * BLOCK);
		break;
	case 5:
		random_pin(m);
		break;
	case 6:
		fs_write(m->f, &user, "written", index * BLOCK, 7, 0);
		break;
	case 7:
		fs_fsync(fs, m->ino);
		break;
	case 8:
		if (!random_below(20))
			m->silent = true;
		break;
	default:
		if (!m->silent)		/* one that does not answer does not run */
			random_below(3) ? store(m, index, (unsigned char)index) : touch(m, index, false);
		break;
	}
}

static void random_steps(uint32_t start, unsigned int steps)
{
	seed = start;
	for (unsigned int i = 0; i < FILES; i++)
		ck_assert_int_eq(set_size(&mapper[i], PAGES * BLOCK, &user), 0);
	for (unsigned int i = 0; i < steps; i++) {
		struct mapper *m = &mapper[random_below(FILES)];

		random_step(m);
		balance();
		mapped_is_owned(m);
	}
	for (unsigned int i = 0; i < FILES; i++)
		answer(&mapper[i]);
	balance();
}

START_TEST(the_accounts_are_equal_after_every_random_step)
{
	random_steps((uint32_t)_i * 7919 + 1, 4000);
}
END_TEST

START_TEST(the_accounts_are_equal_in_page_accounting_too)
{
	uint64_t pages = 0;
	struct pgmap_stat st;

	for (unsigned int i = 0; i < FILES; i++)
		end_file(&mapper[i]);
	ck_assert_int_eq(fs_unmount(fs), 0);
	options.accounting = PGMAP_PAGE;
	options.drain = PGMAP_SWEEP;
	mount_with(&options);
	map_file(&mapper[0], "page");
	ck_assert_int_eq(set_size(&mapper[0], PAGES * BLOCK, &user), 0);
	ck_assert_uint_eq(store(&mapper[0], 0, 'a'), 0);
	for (unsigned int i = 0; i < PAGES; i++)
		pages += mapper[0].unit[i] != 0;
	pgmap_stat(fs_dax(fs)->pgmap, &st);
	ck_assert_uint_eq(st.maps, pages);
	ck_assert_uint_eq(pages, PMD_BLOCKS);
	ck_assert_int_eq(punch(&mapper[0], 3, 1), 0);
	pgmap_stat(fs_dax(fs)->pgmap, &st);
	ck_assert_uint_eq(st.refs, 0);
	end_file(&mapper[0]);
	all_blocks = free_blocks();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arbiter");
	TCase *tc = tcase_create("arbiter");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_store_to_a_hole_allocates_zeroed_blocks);
	tcase_add_test(tc, a_load_of_a_hole_allocates_nothing);
	tcase_add_test(tc, write_over_a_hole_that_is_mapped_is_seen);
	tcase_add_test(tc, a_large_file_is_mapped_by_two_mib);
	tcase_add_test(tc, truncate_takes_mappings_back_and_frees_at_once);
	tcase_add_test(tc, a_punch_in_a_large_folio_revokes_it_whole);
	tcase_add_test(tc, blocks_of_a_silent_mapper_wait_in_limbo_as_used);
	tcase_add_test(tc, an_unlinked_file_keeps_its_blocks_while_it_is_mapped);
	tcase_add_test(tc, an_unlinked_file_keeps_its_blocks_while_it_is_pinned);
	tcase_add_test(tc, a_truncate_that_is_interrupted_changes_nothing);
	tcase_add_test(tc, a_truncate_waits_for_a_pin);
	tcase_add_test(tc, pin_busy_refuses_instead_of_waiting);
	tcase_add_test(tc, the_kernels_layout_breaks_the_whole_file);
	tcase_add_test(tc, enospc_in_the_middle_of_a_large_fault_loses_nothing);
	tcase_add_test(tc, fsync_makes_stores_clean_and_the_next_one_faults);
	tcase_add_loop_test(tc, the_accounts_are_equal_after_every_random_step, 0, 4);
	tcase_add_test(tc, the_accounts_are_equal_in_page_accounting_too);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
