/*
 * mkfs.inodax: make a pool.
 *
 * Everything is checked before anything is written: the arguments, who uses the pool, what is in it. Then the
 * region is opened (a file is made or grown, and locked) and lib/fs writes the pool, the superblock last.
 * With -n the same checks run and nothing is created, so that what only opening for writing could tell is not
 * known.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uuid.h>

#include "config.h"
#include "fs/fs.h"
#include "meta/super.h"
#include "mkfs/probe.h"
#include "pmem/region.h"
#include "util/log.h"
#include "util/size.h"

struct mkfs {
	const char	*path;
	uint64_t	 size;		/* 0: the size it has */
	uint64_t	 unit;		/* 0: the namespace's */
	struct fs_format format;
	bool		 sparse, dry_run, force, quiet;
	bool		 exists;	/* the file or device */
};

static const char usage_text[] =
	"usage: mkfs.inodax [options] POOL\n"
	"  -s, --size SIZE         size of the pool; needed for a file that is not there yet\n"
	"  -L, --label LABEL       name of the pool, up to 32 bytes\n"
	"  -U, --uuid UUID         uuid of the pool, or random (default)\n"
	"  -J, --journal SIZE      size of the journal, 256k to 64m (default by the pool's size)\n"
	"  -u, --unit UNIT         smallest size to map: 4k, 2m or 1g, or order=0, 9 or 18\n"
	"                          (default: the smallest the namespace can map)\n"
	"  -S, --sparse            do not allocate the file's blocks on its filesystem\n"
	"  -n, --dry-run           say what would be done and write nothing\n"
	"  -f, --force             overwrite what is there\n"
	"  -q, --quiet             print errors only\n"
	"  -h, --help              this text\n"
	"  -V, --version           version\n"
	"SIZE is in bytes, or has a unit: k, m, g, t or p, powers of 1024.\n";

static const struct option long_options[] = {
	{ "size",	required_argument,	NULL, 's' },
	{ "label",	required_argument,	NULL, 'L' },
	{ "uuid",	required_argument,	NULL, 'U' },
	{ "journal",	required_argument,	NULL, 'J' },
	{ "unit",	required_argument,	NULL, 'u' },
	{ "sparse",	no_argument,		NULL, 'S' },
	{ "dry-run",	no_argument,		NULL, 'n' },
	{ "force",	no_argument,		NULL, 'f' },
	{ "quiet",	no_argument,		NULL, 'q' },
	{ "help",	no_argument,		NULL, 'h' },
	{ "version",	no_argument,		NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

/* ---- Arguments ----------------------------------------------------------------------------------------- */

static int set_uuid(struct mkfs *m, const char *text, struct err *err)
{
	if (strcmp(text, "random") == 0)
		uuid_generate(m->format.uuid);
	else if (uuid_parse(text, m->format.uuid) || uuid_is_null(m->format.uuid))
		return err_set(err, -EINVAL, "--uuid %s: a uuid or random is needed", text);
	return 0;
}

static int set_label(struct mkfs *m, const char *text, struct err *err)
{
	if (strlen(text) > LABEL_MAX)
		return err_set(err, -EINVAL, "--label %s: has %zu bytes, at most %d are possible", text,
			       strlen(text), LABEL_MAX);
	m->format.label = text;
	return 0;
}

static int set_journal(struct mkfs *m, const char *text, struct err *err)
{
	uint64_t bytes;
	int rc = size_parse(text, "--journal", &bytes, err);

	if (rc)
		return rc;
	if (bytes % BLOCK_SIZE || bytes / BLOCK_SIZE < JOURNAL_MIN_BLOCKS ||
	    bytes / BLOCK_SIZE > JOURNAL_MAX_BLOCKS)
		return err_set(err, -EINVAL, "--journal %s: a multiple of 4k from 256k to 64m is needed",
			       text);
	m->format.journal_blocks = bytes / BLOCK_SIZE;
	return 0;
}

/* The sizes that a processor's page tables can map: PTE, PMD and PUD. */
static int set_unit(struct mkfs *m, const char *text, struct err *err)
{
	uint64_t unit = 0;
	int rc = 0;

	if (strcmp(text, "order=0") == 0)
		unit = 1ULL << 12;
	else if (strcmp(text, "order=9") == 0)
		unit = 1ULL << 21;
	else if (strcmp(text, "order=18") == 0)
		unit = 1ULL << 30;
	else
		rc = size_parse(text, "--unit", &unit, err);
	if (rc)
		return rc;
	if (unit != 1ULL << 12 && unit != 1ULL << 21 && unit != 1ULL << 30)
		return err_set(err, -EINVAL, "--unit %s: 4k, 2m or 1g (order=0, 9 or 18) is needed", text);
	m->unit = unit;
	m->format.unit_shift = (uint32_t)__builtin_ctzll(unit);
	return 0;
}

static int set_option(struct mkfs *m, int c, struct err *err)
{
	switch (c) {
	case 's':
		return size_parse(optarg, "--size", &m->size, err);
	case 'L':
		return set_label(m, optarg, err);
	case 'U':
		return set_uuid(m, optarg, err);
	case 'J':
		return set_journal(m, optarg, err);
	case 'u':
		return set_unit(m, optarg, err);
	case 'S':
		m->sparse = true;
		return 0;
	case 'n':
		m->dry_run = true;
		return 0;
	case 'f':
		m->force = true;
		return 0;
	case 'q':
		m->quiet = true;
		return 0;
	case 'h':
		fputs(usage_text, stdout);
		return -ECANCELED;
	case 'V':
		printf("mkfs.inodax %s\n", PACKAGE_VERSION);
		return -ECANCELED;
	default:
		return err_set(err, -EINVAL, "mkfs.inodax --help shows the usage");
	}
}

/* -ECANCELED: help or version was printed. */
static int parse(int argc, char **argv, struct mkfs *m, struct err *err)
{
	int c, rc;

	uuid_generate(m->format.uuid);
	while ((c = getopt_long(argc, argv, "s:L:U:J:u:SnfqhV", long_options, NULL)) != -1) {
		rc = set_option(m, c, err);
		if (rc)
			return rc;
	}
	if (argc - optind != 1)
		return err_set(err, -EINVAL,
			       "one pool is needed, %d were given; mkfs.inodax --help shows the usage",
			       argc - optind);
	m->path = argv[optind];
	m->format.root_uid = getuid();
	m->format.root_gid = getgid();
	return 0;
}

/* ---- Checks -------------------------------------------------------------------------------------------- */

/* A file keeps at least the size it has, so a smaller --size is a misunderstanding. */
static int check_size(struct mkfs *m, const struct stat *st, struct err *err)
{
	const uint64_t min = (uint64_t)POOL_MIN_BLOCKS * BLOCK_SIZE;

	if (m->size && m->size < min)
		return err_set(err, -EINVAL,
			       "--size %" PRIu64 ": too small for a pool, at least %" PRIu64 " are needed",
			       m->size, min);
	if (!m->exists && !m->size)
		return err_set(err, -ENOENT, "%s: does not exist; --size is needed to create it", m->path);
	if (m->exists && S_ISREG(st->st_mode) && !m->size && st->st_size == 0)
		return err_set(err, -EINVAL, "%s: is empty; --size is needed", m->path);
	if (m->exists && S_ISREG(st->st_mode) && m->size && m->size < (uint64_t)st->st_size)
		return err_set(err, -EINVAL, "--size %" PRIu64 ": %s has %jd bytes already; leave --size out",
			       m->size, m->path, (intmax_t)st->st_size);
	return 0;
}

/* A pool in use is refused even with --force: opening it would say so too, but -n does not get there. */
static int check_use(const struct mkfs *m, struct err *err)
{
	long holder = region_holder(m->path);

	if (holder > 0)
		return err_set(err, -EBUSY, "%s: in use by process %ld; unmount it first", m->path, holder);
	if (holder == -EBUSY)
		return err_set(err, -EBUSY, "%s: in use; unmount it first", m->path);
	return 0;
}

static int check(struct mkfs *m, struct err *err)
{
	struct stat st;
	int rc;

	m->exists = stat(m->path, &st) == 0;
	if (!m->exists && errno != ENOENT)
		return err_set_errno(err, -errno, "%s", m->path);
	if (m->exists && !S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, -EINVAL, "%s: neither a file nor a device, one of them is needed",
			       m->path);
	rc = check_size(m, &st, err);
	/* Opening a block device tells the two ways to use it: nothing of it is probed, none is a pool. */
	if (rc || !m->exists || S_ISBLK(st.st_mode))
		return rc;
	rc = check_use(m, err);
	return rc || m->force ? rc : probe_unused(m->path, err);
}

/* ---- Doing it ------------------------------------------------------------------------------------------ */

static void print_kind(const struct region *r)
{
	const char *remark = region_remark(r);

	printf("  kind      %s%s%s\n", region_kind_name(r->kind), remark ? ": " : "", remark ? remark : "");
}

static void print_summary(const struct mkfs *m, const struct region *r, const struct super *sb)
{
	char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT], uuid[UUID_STR_LEN];

	uuid_unparse_lower(sb->uuid, uuid);
	printf("%s: inodax pool, %s, %" PRIu64 " blocks of %u bytes\n", m->path,
	       size_format(sb->blocks << BLOCK_SHIFT, a), sb->blocks, BLOCK_SIZE);
	printf("  uuid      %s\n", uuid);
	if (*sb->label)
		printf("  label     %s\n", sb->label);
	print_kind(r);
	printf("  map unit  %s\n", size_format(1ULL << sb->unit_shift, b));
	printf("  journal   %s\n", size_format(sb->journal_blocks << BLOCK_SHIFT, c));
}

static int make(struct mkfs *m, struct err *err)
{
	struct region *r;
	struct super sb;
	int rc = region_open(&r, m->path, m->size, REGION_CREATE | (m->sparse ? REGION_SPARSE : 0), err);

	if (rc)
		return rc;
	/* Their daemon may be gone; they store on. */
	if (region_client(r, 0) >= 0)
		rc = err_set(err, -EBUSY, "%s: a process still maps files of this pool; it has to end first",
			     m->path);
	if (!rc)
		rc = fs_format(r, &m->format, err);
	if (!rc)
		rc = super_read(r, m->path, &sb, err);
	if (!rc && !m->quiet)
		print_summary(m, r, &sb);
	region_close(r);
	if (rc && !m->exists)
		unlink(m->path);
	return rc;
}

static int dry_run(const struct mkfs *m, struct err *err)
{
	char size[SIZE_TEXT], text[SIZE_TEXT];
	struct region *r = NULL;
	uint64_t bytes = m->size;
	int rc = 0;

	/* A file that is still too small cannot be opened as a region; it would be grown. */
	if (m->exists && !m->size)
		rc = region_open(&r, m->path, 0, REGION_RDONLY, err);
	if (rc)
		return rc;
	if (r)
		bytes = r->size;
	if (r && m->unit && m->unit < r->unit)
		rc = err_set(err, -EINVAL, "--unit %" PRIu64 ": %s maps no less than %" PRIu64 " bytes",
			     m->unit, m->path, r->unit);
	if (!rc && !m->quiet) {
		printf("%s: would be %s as an inodax pool of %s\n", m->path,
		       !m->exists ? "created" : m->force ? "overwritten" : "used", size_format(bytes, size));
		if (r)
			print_kind(r);
		if (r || m->unit)
			printf("  map unit  %s\n", size_format(m->unit ? m->unit : r->unit, text));
		if (m->format.journal_blocks)
			printf("  journal   %s\n",
			       size_format(m->format.journal_blocks << BLOCK_SHIFT, text));
		printf("nothing was written\n");
	}
	region_close(r);
	return rc;
}

int main(int argc, char **argv)
{
	struct mkfs m = { .path = NULL };
	struct err err = { "" };
	int rc;

	log_set_name("mkfs.inodax");
	rc = parse(argc, argv, &m, &err);
	if (rc == -ECANCELED)
		return EXIT_SUCCESS;
	if (!rc)
		rc = check(&m, &err);
	if (!rc)
		rc = m.dry_run ? dry_run(&m, &err) : make(&m, &err);
	if (rc)
		log_error("%s", err.text);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
