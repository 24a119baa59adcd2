/*
 * The command line: inodax POOL MOUNTPOINT [-o option[,option...]] [-f] [-d].
 *
 * The same form is what mount(8) runs for "mount -t fuse.inodax" and fstab lines (by way of mount.fuse3), so
 * -o takes what mount passes on: generic flags, and words that are for mount itself, which are dropped. Every
 * option stands in one table; one that is not there is an error, so that a typing mistake does not mount with
 * another meaning. What libfuse is to see is collected, escaped, in fuse_opts; session.c adds fsname and the
 * like.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define QUARANTINE_MS	1000U

enum opt_kind {
	OPT_PASS,		/* to libfuse as it is */
	OPT_IGNORE,		/* for mount(8), or always so */
	OPT_RO, OPT_RW, OPT_DAX, OPT_ATIME, OPT_ALLOW_ROOT, OPT_ALLOW_OTHER, OPT_FSNAME, OPT_SUBTYPE,
	OPT_MAX_READ, OPT_HELP, OPT_CHOICE, OPT_NUMBER, OPT_SHM,
};

enum opt_value { VALUE_NONE, VALUE_NEEDED, VALUE_OPTIONAL };

struct opt_row {
	const char	*name;
	enum opt_kind	 kind;
	enum opt_value	 value;
	int		 arg;		/* OPT_ATIME: enum fs_atime; OPT_CHOICE: enum choice; OPT_NUMBER: enum number */
};

/* Options that take one of two words: the second is the value 1. */
enum choice { CHOICE_LAYOUT, CHOICE_PINS, CHOICE_PIN, CHOICE_ACCOUNTING, CHOICE_DRAIN };

static const char *const choice_words[][2] = {
	[CHOICE_LAYOUT]		= { "inodax", "kernel" },
	[CHOICE_PINS]		= { "inode", "evict" },
	[CHOICE_PIN]		= { "wait", "busy" },
	[CHOICE_ACCOUNTING]	= { "head", "page" },
	[CHOICE_DRAIN]		= { "counter", "sweep" },
};

enum number { NUMBER_MAPPER_MS, NUMBER_HOLE_LIMIT, NUMBER_QUARANTINE_MS, NUMBER_WAITERS };

static const struct {
	unsigned long	min, max;
	const char	*needed;
} numbers[] = {
	[NUMBER_MAPPER_MS]	= { 1, 3600000, "milliseconds, 1 to 3600000, are needed" },
	[NUMBER_HOLE_LIMIT]	= { 1, 1UL << 40, "MiB, 1 to 2^40, are needed" },
	[NUMBER_QUARANTINE_MS]	= { 0, 3600000, "milliseconds, 0 to 3600000, are needed" },
	[NUMBER_WAITERS]	= { 1, 65536, "a number of threads, 1 to 65536, is needed" },
};

static const struct opt_row opt_table[] = {
	{ "dax",		OPT_DAX,	VALUE_OPTIONAL,	0 },
	{ "ro",			OPT_RO,		VALUE_NONE,	0 },
	{ "rw",			OPT_RW,		VALUE_NONE,	0 },
	{ "relatime",		OPT_ATIME,	VALUE_NONE,	FS_RELATIME },
	{ "noatime",		OPT_ATIME,	VALUE_NONE,	FS_NOATIME },
	{ "strictatime",	OPT_ATIME,	VALUE_NONE,	FS_STRICTATIME },
	{ "allow_other",	OPT_ALLOW_OTHER, VALUE_NONE,	0 },
	{ "allow_root",		OPT_ALLOW_ROOT,	VALUE_NONE,	0 },
	{ "fsname",		OPT_FSNAME,	VALUE_NEEDED,	0 },
	{ "subtype",		OPT_SUBTYPE,	VALUE_NEEDED,	0 },
	{ "max_read",		OPT_MAX_READ,	VALUE_NEEDED,	0 },
	{ "layout",		OPT_CHOICE,	VALUE_NEEDED,	CHOICE_LAYOUT },
	{ "pins",		OPT_CHOICE,	VALUE_NEEDED,	CHOICE_PINS },
	{ "pin",		OPT_CHOICE,	VALUE_NEEDED,	CHOICE_PIN },
	{ "accounting",		OPT_CHOICE,	VALUE_NEEDED,	CHOICE_ACCOUNTING },
	{ "drain",		OPT_CHOICE,	VALUE_NEEDED,	CHOICE_DRAIN },
	{ "mapper_timeout",	OPT_NUMBER,	VALUE_NEEDED,	NUMBER_MAPPER_MS },
	{ "hole_limit",		OPT_NUMBER,	VALUE_NEEDED,	NUMBER_HOLE_LIMIT },
	{ "quarantine",		OPT_NUMBER,	VALUE_NEEDED,	NUMBER_QUARANTINE_MS },
	{ "shm",		OPT_SHM,	VALUE_NEEDED,	0 },
	{ "waiters",		OPT_NUMBER,	VALUE_NEEDED,	NUMBER_WAITERS },
	{ "help",		OPT_HELP,	VALUE_NONE,	0 },

	{ "auto_unmount",	OPT_PASS,	VALUE_NONE,	0 },
	{ "suid",		OPT_PASS,	VALUE_NONE,	0 },
	{ "nosuid",		OPT_PASS,	VALUE_NONE,	0 },
	{ "dev",		OPT_PASS,	VALUE_NONE,	0 },
	{ "nodev",		OPT_PASS,	VALUE_NONE,	0 },
	{ "exec",		OPT_PASS,	VALUE_NONE,	0 },
	{ "noexec",		OPT_PASS,	VALUE_NONE,	0 },
	{ "async",		OPT_PASS,	VALUE_NONE,	0 },
	{ "sync",		OPT_PASS,	VALUE_NONE,	0 },
	{ "dirsync",		OPT_PASS,	VALUE_NONE,	0 },
	{ "context",		OPT_PASS,	VALUE_NEEDED,	0 },
	{ "fscontext",		OPT_PASS,	VALUE_NEEDED,	0 },
	{ "defcontext",		OPT_PASS,	VALUE_NEEDED,	0 },
	{ "rootcontext",	OPT_PASS,	VALUE_NEEDED,	0 },

	{ "default_permissions", OPT_IGNORE,	VALUE_NONE,	0 },
	{ "defaults",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "diratime",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "auto",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "noauto",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "nofail",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "user",		OPT_IGNORE,	VALUE_OPTIONAL,	0 },
	{ "nouser",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "users",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "owner",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "group",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "_netdev",		OPT_IGNORE,	VALUE_NONE,	0 },
	{ "comment",		OPT_IGNORE,	VALUE_NEEDED,	0 },
};

static const char usage_text[] =
	"usage: inodax POOL MOUNTPOINT [-o OPTION[,OPTION...]] [-f] [-d]\n"
	"  -o OPTION  mount option; -o help lists them\n"
	"  -f         stay in the foreground\n"
	"  -d         stay in the foreground and print every request\n"
	"  -h         this text\n"
	"  -V         version\n";

static const char options_text[] =
	"dax=always           read and write past the page cache (default; also plain dax)\n"
	"dax=inode            only files that have the DAX flag\n"
	"dax=never            all files through the page cache\n"
	"ro, rw               read-only; writable (default)\n"
	"relatime, noatime, strictatime\n"
	"                     when reading moves the access time (default relatime)\n"
	"allow_other          all users may use the mount (default when root mounts)\n"
	"allow_root           only the mounting user and root\n"
	"auto_unmount         unmount when the daemon dies\n"
	"fsname=NAME, subtype=NAME\n"
	"                     what the mount table says (default the pool's path, inodax)\n"
	"max_read=BYTES       largest read request\n"
	"layout=inodax|kernel how a change of size or a punched hole treats mappings (default inodax)\n"
	"pin=wait|busy        what is pinned is waited for (default), or an error\n"
	"pins=inode|evict     a pin holds its inode (default), or the inode's end waits for pins\n"
	"mapper_timeout=MS    how long a mapper may take to give up a range (default 1000)\n"
	"accounting=head|page references count on the folio (default), or on each of its pages\n"
	"drain=counter|sweep  how the end of the folio table learns that nothing refers to it\n"
	"hole_limit=MIB       holes that a direct mapping for stores may have filled at once (default 256)\n"
	"quarantine=MS        how long blocks rest that were mapped directly and are free (default 1000)\n"
	"shm=DIR              where the folio table and the grant lists are shown\n"
	"waiters=N            threads for requests that wait for mappers or pins (default 1024)\n"
	"(no)suid, (no)dev, (no)exec, sync, async, dirsync, context= and its kin: as mount(8) says\n";

static const struct opt_row *opt_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(opt_table) / sizeof(opt_table[0]); i++)
		if (strlen(opt_table[i].name) == len && memcmp(opt_table[i].name, name, len) == 0)
			return &opt_table[i];
	return NULL;
}

static int pass_on(struct daemon_options *opts, const char *opt, struct err *err)
{
	if (fuse_opt_add_opt_escaped(&opts->fuse_opts, opt))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int set_dax(struct daemon_options *opts, const char *value, struct err *err)
{
	if (!value || strcmp(value, "always") == 0)
		opts->fs.dax = FS_DAX_ALWAYS;
	else if (strcmp(value, "inode") == 0)
		opts->fs.dax = FS_DAX_INODE;
	else if (strcmp(value, "never") == 0)
		opts->fs.dax = FS_DAX_NEVER;
	else
		return err_set(err, -EINVAL, "-o dax=%s: always, inode or never is needed", value);
	return 0;
}

/* A whole number from `min` to `max`; false: it is none. */
static bool parse_number(const char *value, unsigned long min, unsigned long max, unsigned long *n)
{
	char *end;

	errno = 0;
	*n = strtoul(value, &end, 10);
	return !errno && !*end && end != value && *value != '-' && *n >= min && *n <= max;
}

static int set_max_read(struct daemon_options *opts, const char *value, struct err *err)
{
	unsigned long n;

	if (!parse_number(value, 4096, UINT_MAX, &n))
		return err_set(err, -EINVAL, "-o max_read=%s: a number of bytes, at least 4096, is needed",
			       value);
	opts->max_read = (unsigned int)n;
	return 0;
}

static int set_choice(struct daemon_options *opts, enum choice choice, const char *name, const char *value,
		      struct err *err)
{
	const char *const *words = choice_words[choice];
	int n = strcmp(value, words[1]) == 0;

	if (!n && strcmp(value, words[0]) != 0)
		return err_set(err, -EINVAL, "-o %s=%s: %s or %s is needed", name, value, words[0], words[1]);
	switch (choice) {
	case CHOICE_LAYOUT:
		opts->fs.layout = (enum dax_layout)n;
		break;
	case CHOICE_PINS:
		opts->fs.pins = (enum dax_pin_mode)n;
		break;
	case CHOICE_PIN:
		opts->fs.pin_busy = n;
		break;
	case CHOICE_ACCOUNTING:
		opts->fs.accounting = (enum pgmap_accounting)n;
		break;
	case CHOICE_DRAIN:
		opts->fs.drain = (enum pgmap_drain)n;
		break;
	}
	return 0;
}

static int set_number(struct daemon_options *opts, enum number number, const char *name, const char *value,
		      struct err *err)
{
	unsigned long n;

	if (!parse_number(value, numbers[number].min, numbers[number].max, &n))
		return err_set(err, -EINVAL, "-o %s=%s: %s", name, value, numbers[number].needed);
	switch (number) {
	case NUMBER_MAPPER_MS:
		opts->fs.mapper_ms = (int)n;
		break;
	case NUMBER_HOLE_LIMIT:
		opts->fs.hole_limit = (uint64_t)n << 20;
		break;
	case NUMBER_QUARANTINE_MS:
		opts->fs.quarantine_ms = (unsigned int)n;
		break;
	case NUMBER_WAITERS:
		opts->waiters = (unsigned int)n;
		break;
	}
	return 0;
}

static int set_shm(struct daemon_options *opts, const char *value, struct err *err)
{
	free(opts->shm_dir);
	opts->shm_dir = *value == '/' ? strdup(value) : NULL;
	if (!opts->shm_dir)
		return err_set(err, *value == '/' ? -ENOMEM : -EINVAL, "-o shm=%s: %s", value,
			       *value == '/' ? "out of memory" : "an absolute path is needed");
	opts->fs.shm_dir = opts->shm_dir;
	return 0;
}

/* One option that has its row; `value` is NULL if there is none. -ECANCELED: help was printed. */
static int opt_apply(struct daemon_options *opts, const struct opt_row *row, const char *text,
		     const char *value, struct err *err)
{
	switch (row->kind) {
	case OPT_IGNORE:
		return 0;
	case OPT_DAX:
		return set_dax(opts, value, err);
	case OPT_ATIME:
		opts->fs.atime = (enum fs_atime)row->arg;
		return row->arg == FS_NOATIME ? pass_on(opts, text, err) : 0;
	case OPT_RO:
	case OPT_RW:
		opts->fs.readonly = row->kind == OPT_RO;
		return 0;
	case OPT_ALLOW_ROOT:
		opts->allow_root = true;
		break;
	case OPT_ALLOW_OTHER:
		opts->allow_other = true;
		return 0;
	case OPT_FSNAME:
		opts->fsname = true;
		break;
	case OPT_SUBTYPE:
		opts->subtype = true;
		break;
	case OPT_MAX_READ:
		if (set_max_read(opts, value, err))
			return -EINVAL;
		break;
	case OPT_CHOICE:
		return set_choice(opts, (enum choice)row->arg, row->name, value, err);
	case OPT_NUMBER:
		return set_number(opts, (enum number)row->arg, row->name, value, err);
	case OPT_SHM:
		return set_shm(opts, value, err);
	case OPT_HELP:
		fputs(options_text, stdout);
		return -ECANCELED;
	case OPT_PASS:
		break;
	}
	return pass_on(opts, text, err);
}

/* `text`: "name" or "name=value", unescaped. */
static int opt_one(struct daemon_options *opts, const char *text, struct err *err)
{
	const char *equals = strchr(text, '=');
	const struct opt_row *row = opt_find(text, equals ? (size_t)(equals - text) : strlen(text));
	const char *value = equals ? equals + 1 : NULL;

	if (*text == '\0' || strncasecmp(text, "x-", 2) == 0)
		return 0;	/* "x-...": comments of fstab for other programs */
	if (!row)
		return err_set(err, -EINVAL, "-o %s: unknown option; -o help lists them", text);
	if (value && row->value == VALUE_NONE)
		return err_set(err, -EINVAL, "-o %s: %s takes no value", text, row->name);
	if ((!value || !*value) && row->value == VALUE_NEEDED)
		return err_set(err, -EINVAL, "-o %s: a value is needed: %s=VALUE", text, row->name);
	return opt_apply(opts, row, text, value, err);
}

/* Split at commas; a backslash takes the character after it as it is, and is removed. */
static int opt_list(struct daemon_options *opts, const char *list, struct err *err)
{
	char *text = malloc(strlen(list) + 1), *out = text;
	int rc = 0;

	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	for (const char *in = list; !rc; in++) {
		if (*in == ',' || *in == '\0') {
			*out = '\0';
			rc = opt_one(opts, text, err);
			out = text;
			if (*in == '\0')
				break;
			continue;
		}
		if (*in == '\\' && in[1])
			in++;
		*out++ = *in;
	}
	free(text);
	return rc;
}

static int parse_flags(int argc, char **argv, struct daemon_options *opts, struct err *err)
{
	int c, rc = 0;

	while (!rc && (c = getopt(argc, argv, "o:fdhV")) != -1) {
		switch (c) {
		case 'o':
			rc = opt_list(opts, optarg, err);
			break;
		case 'd':
			opts->debug = true;
			/* fall through */
		case 'f':
			opts->foreground = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return -ECANCELED;
		case 'V':
			printf("inodax %s, libfuse %s\n", PACKAGE_VERSION, fuse_pkgversion());
			return -ECANCELED;
		default:
			rc = err_set(err, -EINVAL, "inodax -h shows the usage");
		}
	}
	return rc;
}

/* The daemon leaves its working directory, and others read the mount table: both paths are made absolute. */
static int absolute(const char *path, char **out, struct err *err)
{
	*out = realpath(path, NULL);
	return *out ? 0 : err_set_errno(err, -errno, "%s", path);
}

/* Of a mount whose daemon is gone the kernel may still know attributes for stat(2); statvfs(3) always asks. */
static int check_mountpoint(const char *path, struct err *err)
{
	struct statvfs fs;
	struct stat st;

	if (statvfs(path, &fs) && errno == ENOTCONN)
		return err_set(err, -ENOTCONN, "%s: a mount whose daemon is gone; umount it first", path);
	if (stat(path, &st))
		return err_set_errno(err, -errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "%s: not a directory; the mount point must be one", path);
	return 0;
}

int opts_parse(int argc, char **argv, struct daemon_options *opts, struct err *err)
{
	int rc;

	opts->fs.quarantine_ms = QUARANTINE_MS;
	rc = parse_flags(argc, argv, opts, err);
	if (rc)
		return rc;
	if (argc - optind != 2)
		return err_set(err, -EINVAL,
			       "a pool and a mount point are needed, %d arguments were given; "
			       "inodax -h shows the usage",
			       argc - optind);
	if (opts->allow_root && opts->allow_other)
		return err_set(err, -EINVAL, "-o allow_root and allow_other exclude each other");
	rc = absolute(argv[optind], &opts->pool, err);
	if (!rc)
		rc = absolute(argv[optind + 1], &opts->mountpoint, err);
	if (!rc)
		rc = check_mountpoint(opts->mountpoint, err);
	return rc;
}

void opts_free(struct daemon_options *opts)
{
	free(opts->pool);
	free(opts->mountpoint);
	free(opts->fuse_opts);
	free(opts->shm_dir);
}
