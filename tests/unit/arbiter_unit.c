/*
 * The fixture of the tests of blocks and references: a pool on emulated memory, mounted, and three files under
 * mappings. The mapper keeps for each page what is mapped there, so that its entries can be counted; one that is silent
 * says that it revokes and does not, until it is made to answer.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arbiter_unit.h"
#include "check/check.h"
#include "pmem/emu.h"

#define POOL		(64ULL << 20)
#define ADDRESS(index)	((1ULL << 30) + (index) * BLOCK)

struct fs_options options;
struct mapper mapper[FILES];

static uint64_t all_blocks;	/* free, in files, in limbo: constant */

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

void answer(struct mapper *m)
{
	m->silent = false;
	if (m->told)
		zap(&m->vma, 0, PAGES, true);
	for (; m->told; m->told--)
		dax_zap_done(&m->vma);
}

unsigned int touch(struct mapper *m, uint64_t index, bool write)
{
	struct dax_fault fault = {
		.vma = &m->vma, .index = index, .address = ADDRESS(index), .start = ADDRESS(0), .end = ADDRESS(PAGES),
		.flags = DAX_FAULT_SHARED | (write ? DAX_FAULT_WRITE : 0),
	};

	return dax_handle_fault(&fault);
}

unsigned int store(struct mapper *m, uint64_t index, unsigned char value)
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

void map_file(struct mapper *m, const char *name)
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

void unmap_file(struct mapper *m)
{
	if (!m->attached)
		return;
	m->silent = false;
	forget(m, 0, PAGES);
	dax_vma_detach(&m->vma);
	m->attached = false;
}

void end_file(struct mapper *m)
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

uint64_t blocks_of(const struct mapper *m)
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

void count_blocks(void)
{
	all_blocks = free_blocks();
	for (unsigned int i = 0; i < FILES; i++)
		all_blocks += blocks_of(&mapper[i]);
}

void balance(void)
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
	count_blocks();
}

void remount_with(const struct fs_options *o)
{
	for (unsigned int i = 0; i < FILES; i++)
		end_file(&mapper[i]);
	ck_assert_int_eq(fs_unmount(fs), 0);
	mount_with(o);
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

TCase *arbiter_case(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	suite_add_tcase(s, tc);
	return tc;
}

/* ---- What tests do --------------------------------------------------------------------------------------- */

int set_size(struct mapper *m, uint64_t size, const struct fs_cred *cred)
{
	struct stat st = { .st_size = (off_t)size };

	return fs_setattr(fs, cred, m->ino, &st, FS_SET_SIZE, NULL);
}

void grow(struct mapper *m, uint64_t pages)
{
	ck_assert_int_eq(set_size(m, pages * BLOCK, &user), 0);
}

void fill(struct mapper *m, uint64_t pages)
{
	grow(m, pages);
	for (uint64_t i = 0; i < pages; i++)
		ck_assert_uint_eq(store(m, i, 'a'), 0);
}

int punch(struct mapper *m, uint64_t index, uint64_t count)
{
	return fs_fallocate(m->f, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, index * BLOCK, count * BLOCK);
}

static bool at_once(void *arg)
{
	(void)arg;
	return true;
}

const struct fs_cred hurried = { .uid = 1000, .gid = 1000, .interrupted = at_once };

int try_pin(struct mapper *m, int slot, uint64_t index, uint64_t count)
{
	int rc;

	m->pin[slot] = (struct dax_pin){ .grant = m->vma.grant, .area = 1 + (uint32_t)slot };
	rc = dax_pin(&m->vma, index, count, 0, &m->pin[slot]);
	m->pinned[slot] = rc == 0;
	return rc;
}

void pin(struct mapper *m, int slot, uint64_t index, uint64_t count)
{
	ck_assert_int_eq(try_pin(m, slot, index, count), 0);
}

void unpin(struct mapper *m, int slot)
{
	dax_unpin(&m->pin[slot]);
	m->pinned[slot] = false;
}
