/*
 * inodaxctl: opening the shared memory of a pool, and looking at single words of its folio table.
 *
 * Where it is: in the directory that the user names (of a mount made with -o shm=DIR; the mount table does not
 * say), else where this user's daemons have it, else where root's have, and root looks where the pool's owner's
 * would be. The header is read once, and refused unless it fits the pool's superblock; dax_shm_view_open() has
 * checked whose the files are.
 *
 * Reading a word of a page that the daemon never wrote would allocate it, so that is asked for first.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_MAX_BYTES	512
#define DIRS		3
#define PAGE_WORDS	(DAX_SHM_PAGE / sizeof(uint64_t))

/* Names as in mount options, in the order of the numbers in the header. */
static const char *const accounting_names[] = { "head", "page" };
static const char *const drain_names[] = { "counter", "sweep" };
static const char *const layout_names[] = { "inodax", "kernel" };
static const char *const pin_names[] = { "inode", "evict" };

/* ---- Finding the files ----------------------------------------------------------------------------------- */

struct dirs {
	char	name[DIRS][DIR_MAX_BYTES];
	int	count;
};

static void add_dir(struct dirs *d, const char *name)
{
	for (int i = 0; i < d->count; i++)
		if (strcmp(d->name[i], name) == 0)
			return;
	snprintf(d->name[d->count++], DIR_MAX_BYTES, "%s", name);
}

static void find_dirs(struct dirs *d, uid_t owner)
{
	char name[DIR_MAX_BYTES];

	d->count = 0;
	if (dax_shm_default_dir(name, sizeof(name)) == 0)
		add_dir(d, name);
	add_dir(d, "/run/inodax");
	if (!geteuid() && owner) {
		snprintf(name, sizeof(name), "/run/user/%u/inodax", owner);
		add_dir(d, name);
	}
}

/* Of several refusals one is told: the first that knows more than that nothing is there, or else the first. */
static int open_somewhere(struct ctl_view *v, const uint8_t uuid[16], uid_t owner, struct err *err)
{
	struct err again = { "" };
	struct dirs d;
	int rc = -ENOENT, other;

	find_dirs(&d, owner);
	for (int i = 0; i < d.count; i++) {
		other = dax_shm_view_open(&v->shm, d.name[i], uuid, owner, &again);
		if (!other)
			return 0;
		if (i && (rc != -ENOENT || other == -ENOENT))
			continue;
		rc = other;
		*err = again;
	}
	return rc;
}

static int open_files(struct ctl_view *v, const struct inodax_pool_info *info, const char *dir)
{
	struct err err = { "" };
	struct stat st;
	int rc;

	if (stat(v->pool, &st)) {
		rc = -errno;
		fprintf(stderr, "inodaxctl: %s: %s\n", v->pool, strerror(errno));
		return rc;
	}
	rc = dir ? dax_shm_view_open(&v->shm, dir, info->uuid, st.st_uid, &err) :
		   open_somewhere(v, info->uuid, st.st_uid, &err);
	if (rc == -ENOENT && !dir)
		fprintf(stderr, "inodaxctl: %s; --shm DIR is for a mount with -o shm=DIR\n", err.text);
	else if (rc)
		fprintf(stderr, "inodaxctl: %s\n", err.text);
	return rc;
}

/* ---- The header ------------------------------------------------------------------------------------------ */

static int read_header(struct ctl_view *v, const struct inodax_pool_info *info)
{
	const volatile struct dax_shm_header *h = v->shm.header;

	v->units = v->shm.units;
	v->unit_shift = h->unit_shift;
	v->accounting = h->accounting;
	v->drain = h->drain;
	v->layout = h->layout;
	v->pin = h->pin;
	v->pid = h->pid;
	v->resting = h->resting;
	v->page = v->accounting == 1;
	v->kernel = v->layout == 1;
	v->live = info->holder != 0;
	if (v->unit_shift != DAX_PTE_SHIFT && v->unit_shift != DAX_PMD_SHIFT && v->unit_shift != DAX_PUD_SHIFT) {
		fprintf(stderr, "inodaxctl: %s: its folio table has units of 2^%u bytes, 12, 21 or 30 are possible\n",
			v->pool, v->unit_shift);
		return -EPROTO;
	}
	v->base = (enum dax_size)((v->unit_shift - DAX_PTE_SHIFT) / 9);
	if (v->units > info->bytes >> v->unit_shift) {
		fprintf(stderr, "inodaxctl: %s: its folio table has %" PRIu64 " units, the pool has %" PRIu64 "\n",
			v->pool, v->units, info->bytes >> v->unit_shift);
		return -EPROTO;
	}
	return 0;
}

/* Whoever owns the files can cut them while they are mapped. */
static void cut_short(int signal)
{
	static const char text[] = "inodaxctl: the folio table was cut short while it was read\n";

	(void)signal;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(EXIT_FAILURE);
	_exit(EXIT_FAILURE);
}

int ctl_view_open(struct ctl_view *v, const char *pool, const char *dir)
{
	struct inodax_pool_info info = { .size = sizeof(info) };
	struct sigaction cut = { .sa_handler = cut_short };
	char message[512];
	int rc;

	*v = (struct ctl_view){ .pool = pool };
	rc = inodax_pool_info(pool, &info, message, sizeof(message));
	if (rc) {
		fprintf(stderr, "inodaxctl: %s\n", message);
		return rc;
	}
	rc = open_files(v, &info, dir);
	if (rc)
		return rc;
	sigaction(SIGBUS, &cut, NULL);
	rc = read_header(v, &info);
	if (rc)
		ctl_view_close(v);
	return rc;
}

void ctl_view_close(struct ctl_view *v)
{
	dax_shm_view_close(&v->shm);
}

/* ---- The table as a whole -------------------------------------------------------------------------------- */

static const char *name_of(const char *const names[2], uint32_t number)
{
	return number < 2 ? names[number] : "?";
}

/* Bytes of memory that the table takes: of its words that were ever written, and the header. */
static uint64_t table_bytes(const struct ctl_view *v)
{
	struct stat st;

	return fstat(v->shm.fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

void ctl_view_print(const struct ctl_view *v)
{
	char unit[CTL_SIZE_TEXT], table[CTL_SIZE_TEXT], lists[CTL_SIZE_TEXT];

	printf("pool      %s\n", v->pool);
	if (v->live)
		printf("daemon    %d\n", v->pid);
	else
		printf("daemon    none; this is what process %d left when it was killed\n", v->pid);
	printf("modes     accounting=%s, drain=%s, layout=%s, pins=%s\n", name_of(accounting_names, v->accounting),
	       name_of(drain_names, v->drain), name_of(layout_names, v->layout), name_of(pin_names, v->pin));
	printf("units     %" PRIu64 " of %s\n", v->units, ctl_size_text(ctl_view_bytes(v, 1), unit));
	printf("memory    %s of table, %s of grant lists\n", ctl_size_text(table_bytes(v), table),
	       ctl_size_text(v->shm.lists_size, lists));
}

struct json_object *ctl_view_object(const struct ctl_view *v)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "pool", json_object_new_string(v->pool));
	json_object_object_add(o, "daemon_pid", v->pid > 0 ? json_object_new_int64(v->pid) : NULL);
	json_object_object_add(o, "live", json_object_new_boolean(v->live));
	json_object_object_add(o, "accounting", json_object_new_string(name_of(accounting_names, v->accounting)));
	json_object_object_add(o, "drain", json_object_new_string(name_of(drain_names, v->drain)));
	json_object_object_add(o, "layout", json_object_new_string(name_of(layout_names, v->layout)));
	json_object_object_add(o, "pins", json_object_new_string(name_of(pin_names, v->pin)));
	json_object_object_add(o, "unit", json_object_new_uint64(ctl_view_bytes(v, 1)));
	json_object_object_add(o, "units", json_object_new_uint64(v->units));
	json_object_object_add(o, "table_bytes", json_object_new_uint64(table_bytes(v)));
	json_object_object_add(o, "list_bytes", json_object_new_uint64(v->shm.lists_size));
	return o;
}

/* ---- Words ----------------------------------------------------------------------------------------------- */

uint64_t ctl_view_units(const struct ctl_view *v, unsigned int size)
{
	if (size >= DAX_SIZES || size < v->base)
		return 0;
	return 1ULL << (dax_size_shift((enum dax_size)size) - v->unit_shift);
}

static uint64_t load(const struct ctl_view *v, uint64_t unit)
{
	return atomic_load_explicit(&v->shm.words[unit], memory_order_acquire);
}

/* Beside a unit whose word was read there is no need to ask for holes. */
uint64_t ctl_view_next(const struct ctl_view *v, uint64_t unit)
{
	if (unit < v->units && unit % PAGE_WORDS && load(v, unit))
		return unit;
	return unit < v->units ? dax_shm_view_next(&v->shm, unit) : v->units;
}

static bool page_there(struct ctl_view *v, uint64_t unit)
{
	uint64_t page = unit / PAGE_WORDS;
	off_t at = (off_t)((page + 1) * DAX_SHM_PAGE);

	if (v->there == page + 1)
		return true;
	if (lseek(v->shm.fd, at, SEEK_DATA) != at)
		return false;
	v->there = page + 1;
	return true;
}

uint64_t ctl_view_word(struct ctl_view *v, uint64_t unit)
{
	return unit < v->units && page_there(v, unit) ? load(v, unit) : 0;
}

uint64_t ctl_view_folio(struct ctl_view *v, uint64_t unit, uint64_t *word, uint64_t *units)
{
	for (unsigned int size = DAX_PUD; size > v->base; size--) {
		uint64_t n = ctl_view_units(v, size), head = unit & ~(n - 1);

		*word = ctl_view_word(v, head);
		*units = n;
		if (folio_size(*word) == size && head + n <= v->units)
			return head;
	}
	*word = ctl_view_word(v, unit);
	*units = 1;
	return unit;
}

/* ---- Processes ------------------------------------------------------------------------------------------- */

const char *ctl_command_name(int32_t pid, char buf[static CTL_COMMAND_NAME])
{
	char path[32];
	ssize_t len = 0;
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (pid > 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, buf, CTL_COMMAND_NAME - 1);
		close(fd);
	}
	if (len > 0 && buf[len - 1] == '\n')
		len--;
	buf[len > 0 ? len : 0] = '\0';
	for (char *c = buf; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return buf;
}
