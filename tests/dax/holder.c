/*
 * holder POOL DIR [head|page] [inodax|kernel] - a process that mounts a pool through lib/fs, shows its folio table in
 * DIR, and holds references on a file there, as it is told on standard input. What scripts compare inodaxctl with.
 *
 * It says "ready PID INODE", and then one line for each that it reads: "ok" and what there is to say, or "error ERRNO".
 * M is a mapper, 0 or 1, with grant 11 or 12; the second one has a pid that cannot be. INDEX and COUNT are map units of
 * the file.
 *
 *	fault M INDEX		store there; says unit and bytes of what was mapped
 *	small M INDEX		the same with page-table entries of one unit
 *	pin M INDEX COUNT	says the number of the pin; it is mapped already
 *	unpin NUMBER
 *	unmap M			all that it maps
 *	silent M, answer M	revocations are not answered; now they are
 *	punch INDEX COUNT, truncate BYTES, unlink, close
 *	poison INDEX, cure INDEX of mapper 0
 *	flood N			N runs of references that nothing counts, each of one unit; 0: none
 *	quit			gives back what is held, and unmounts
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/fs.h"

#define UNITS		4096U			/* of the file, mapped by each mapper */
#define PINS		16U
#define MAPPERS		2U
#define FLOOD_AREA	GRANT_AREA_MAX
#define PIN_AREA	100U

struct mapper {
	struct dax_vma	vma;
	bool		attached, silent, told;
	uint64_t	unit[UNITS];		/* + 1; 0: not mapped */
	enum dax_size	size[UNITS];
	bool		write[UNITS];
};

static struct fs *fs;
static struct fs_file *file;
static uint64_t ino;
static unsigned int shift;			/* of a map unit */
static struct mapper mappers[MAPPERS];
static struct dax_pin pins[PINS];
static bool pinned[PINS];
static uint64_t flooded;

static bool never_wait(void *arg)
{
	(void)arg;
	return true;
}

static const struct fs_cred cred = { .interrupted = never_wait };

static uint64_t size_units(enum dax_size size)
{
	return 1ULL << (dax_size_shift(size) - shift);
}

/* ---- The mapper's side ----------------------------------------------------------------------------------- */

static struct mapper *of(struct dax_vma *vma)
{
	return (struct mapper *)((char *)vma - offsetof(struct mapper, vma));
}

static int insert(struct dax_vma *vma, uint64_t index, enum dax_size size, uint64_t unit, unsigned int flags)
{
	struct mapper *m = of(vma);

	for (uint64_t i = 0; i < size_units(size); i++) {
		m->unit[index + i] = unit + i + 1;
		m->size[index + i] = size;
		m->write[index + i] = flags & DAX_MAP_WRITE;
	}
	return 0;
}

/* Whole entries. */
static int zap(struct dax_vma *vma, uint64_t index, uint64_t count, bool even_cows)
{
	struct mapper *m = of(vma);
	uint64_t end = count > UNITS || index + count > UNITS ? UNITS : index + count;

	(void)even_cows;
	if (m->silent) {
		m->told = true;
		return -EINPROGRESS;
	}
	while (index && index < UNITS && m->unit[index] && index & (size_units(m->size[index]) - 1))
		index--;
	while (end < UNITS && m->unit[end] && end & (size_units(m->size[end]) - 1))
		end++;
	for (uint64_t i = index; i < end; i++)
		m->unit[i] = 0;
	if (index < end)
		dax_unmap(vma, index, end - index);
	return 0;
}

static void write_protect(struct dax_vma *vma, uint64_t index, uint64_t count)
{
	for (uint64_t i = index; i < UNITS && i - index < count; i++)
		of(vma)->write[i] = false;
}

/* It stays mapped, as the memory of a process that has blocked SIGBUS would. */
static void lose(struct dax_vma *vma, uint64_t index, enum dax_size size)
{
	(void)vma, (void)index, (void)size;
}

static int cow(struct dax_vma *vma, uint64_t index, uint64_t unit)
{
	(void)vma, (void)index, (void)unit;
	return -ENOMEM;
}

static const struct mm_ops ops = {
	.insert = insert, .zap = zap, .write_protect = write_protect, .fail = lose, .cow = cow,
};

static int attach(unsigned int number, struct dax_mapping *mapping)
{
	struct grant_owner owner = {
		.id = 11 + number, .ino = ino, .pid = number ? -7 : getpid(), .uid = getuid(),
	};
	struct mapper *m = &mappers[number];
	int rc = grant_new(fs_grants(fs), &owner, &m->vma.grant);

	if (rc)
		return rc;
	m->vma.ops = &ops;
	m->vma.count = UNITS;
	dax_vma_attach(mapping, &m->vma);
	m->attached = true;
	return 0;
}

static void detach(struct mapper *m)
{
	if (!m->attached)
		return;
	m->silent = m->told = false;
	memset(m->unit, 0, sizeof(m->unit));
	dax_vma_detach(&m->vma);
	m->attached = false;
}

/* ---- Start and end --------------------------------------------------------------------------------------- */

static int start(const char *path, const struct fs_options *opts)
{
	struct err err = { "" };
	struct dax_mapping *mapping;
	struct stat st;
	int rc = fs_mount(&fs, path, NULL, opts, &err);

	if (rc) {
		fprintf(stderr, "%s\n", err.text);
		return rc;
	}
	fs_dax(fs)->max_size = DAX_PMD;		/* the page tables are ours: they have what the tests want */
	shift = pgmap_config(fs_dax(fs)->pgmap)->unit_shift;
	rc = fs_create(fs, &cred, 1, "held", 0600, O_RDWR, &file, &st, NULL);
	if (rc)
		return rc;
	ino = st.st_ino;
	st.st_size = (off_t)UNITS << shift;
	rc = fs_setattr(fs, &cred, ino, &st, FS_SET_SIZE, &st);
	if (!rc)
		rc = fs_file_mapping(file, &mapping);
	for (unsigned int i = 0; i < MAPPERS && !rc; i++)
		rc = attach(i, mapping);
	return rc;
}

static int flood(uint64_t n)
{
	uint64_t units = pgmap_units(fs_dax(fs)->pgmap), step = n ? n / units + 1 : 0;
	struct grant_ref ref = {
		.size = pgmap_base_size(fs_dax(fs)->pgmap), .kind = GRANT_LAYOUT, .area = FLOOD_AREA, .count = 1,
	};
	int rc = 0;

	if (!n) {
		flooded = 0;
		grant_remove(mappers[0].vma.grant, GRANT_LAYOUT, FLOOD_AREA, 0, GRANT_INDEX_MAX, 0, NULL, NULL);
	}
	/* No run continues another: each is an entry of its own. */
	for (uint64_t i = 0; i < n && !rc; i++) {
		ref.index = 2 * i;
		ref.unit = i / step;
		rc = grant_add(mappers[0].vma.grant, &ref);
		flooded += !rc;
	}
	return rc;
}

static int end(void)
{
	if (flooded)
		flood(0);
	for (unsigned int i = 0; i < PINS; i++)
		if (pinned[i])
			dax_unpin(&pins[i]);
	for (unsigned int i = 0; i < MAPPERS; i++) {
		detach(&mappers[i]);
		grant_delete(mappers[i].vma.grant);
	}
	if (file)
		fs_close(file);
	return fs_unmount(fs);
}

/* ---- Commands -------------------------------------------------------------------------------------------- */

static int store(struct mapper *m, uint64_t index, bool small)
{
	const uint64_t base = 1ULL << 40;
	struct dax_fault f = {
		.vma = &m->vma, .index = index, .address = base + (index << shift), .start = base,
		.end = base + ((uint64_t)UNITS << shift),
		.flags = DAX_FAULT_SHARED | DAX_FAULT_WRITE | (small ? DAX_FAULT_NOHUGE : 0),
	};

	while (!m->unit[index] || !m->write[index])
		if ((dax_handle_fault(&f) & ~DAX_MAJOR) != DAX_NOPAGE)
			return -EIO;
	printf("ok %" PRIu64 " %" PRIu64 "\n", m->unit[index] - 1, size_units(m->size[index]) << shift);
	return 1;
}

static int pin(struct mapper *m, uint64_t index, uint64_t count)
{
	unsigned int n = 0;
	int rc;

	while (n < PINS && pinned[n])
		n++;
	if (n == PINS)
		return -ENOSPC;
	pins[n] = (struct dax_pin){ .grant = m->vma.grant, .area = PIN_AREA + n };
	rc = dax_pin(&m->vma, index, count, 0, &pins[n]);
	if (rc)
		return rc;
	pinned[n] = true;
	printf("ok %u\n", n);
	return 1;
}

static int unpin(uint64_t n)
{
	if (n >= PINS || !pinned[n])
		return -EINVAL;
	dax_unpin(&pins[n]);
	pinned[n] = false;
	return 0;
}

static int answer(struct mapper *m)
{
	m->silent = false;
	if (m->told) {
		m->told = false;
		zap(&m->vma, 0, UNITS, true);
		dax_zap_done(&m->vma);
	}
	return 0;
}

static int set_size(uint64_t bytes)
{
	struct stat st = { .st_size = (off_t)bytes };

	return fs_setattr(fs, &cred, ino, &st, FS_SET_SIZE, &st);
}

static int do_close(void)
{
	fs_close(file);
	file = NULL;
	return 0;
}

static int poison(uint64_t index, bool cure)
{
	uint64_t unit = mappers[0].unit[index];

	if (!unit)
		return -EFAULT;
	if (cure)
		pgmap_unpoison(fs_dax(fs)->pgmap, unit - 1);
	else
		dax_memory_failure(fs_dax(fs), unit - 1);
	return 0;
}

/* 0: ok; 1: ok and said so; negative errno. */
static int on_mapper(const char *verb, struct mapper *m, uint64_t index, uint64_t count)
{
	if (strcmp(verb, "fault") == 0 || strcmp(verb, "small") == 0)
		return index < UNITS ? store(m, index, *verb == 's') : -EINVAL;
	if (strcmp(verb, "pin") == 0)
		return pin(m, index, count);
	if (strcmp(verb, "answer") == 0)
		return answer(m);
	if (strcmp(verb, "silent") == 0)
		m->silent = true;
	else if (strcmp(verb, "unmap") == 0)
		detach(m);
	else
		return -EINVAL;
	return 0;
}

static int run(const char *verb, uint64_t a, uint64_t b, uint64_t c)
{
	if (strcmp(verb, "unpin") == 0)
		return unpin(a);
	if (strcmp(verb, "punch") == 0)
		return fs_fallocate(file, &cred, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, a << shift, b << shift);
	if (strcmp(verb, "truncate") == 0)
		return set_size(a);
	if (strcmp(verb, "unlink") == 0)
		return fs_unlink(fs, 1, "held");
	if (strcmp(verb, "close") == 0)
		return do_close();
	if (strcmp(verb, "poison") == 0 || strcmp(verb, "cure") == 0)
		return a < UNITS ? poison(a, *verb == 'c') : -EINVAL;
	if (strcmp(verb, "flood") == 0)
		return flood(a);
	return a < MAPPERS ? on_mapper(verb, &mappers[a], b, c) : -EINVAL;
}

int main(int argc, char **argv)
{
	struct fs_options opts = { .shm = true, .mapper_ms = 50 };
	char line[128], verb[32];
	uint64_t a, b, c;
	int rc;

	if (argc < 3) {
		fputs("usage: holder POOL DIR [head|page] [inodax|kernel]\n", stderr);
		return EXIT_FAILURE;
	}
	opts.shm_dir = argv[2];
	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "page") == 0)
			opts.accounting = PGMAP_PAGE;
		if (strcmp(argv[i], "kernel") == 0)
			opts.layout = DAX_LAYOUT_KERNEL;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	rc = start(argv[1], &opts);
	if (rc) {
		fprintf(stderr, "holder: %s\n", strerror(-rc));
		return EXIT_FAILURE;
	}
	printf("ready %d %" PRIu64 "\n", getpid(), ino);
	while (fgets(line, sizeof(line), stdin) && strcmp(line, "quit\n") != 0) {
		a = b = c = 0;
		rc = sscanf(line, "%31s %" SCNu64 " %" SCNu64 " %" SCNu64, verb, &a, &b, &c) < 1 ? -EINVAL :
										      run(verb, a, b, c);
		if (rc < 0)
			printf("error %d\n", -rc);
		else if (!rc)
			puts("ok");
	}
	return end() ? EXIT_FAILURE : EXIT_SUCCESS;
}
