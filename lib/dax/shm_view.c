/*
 * The shared memory of a pool, a reader's side: tools that look at a live daemon. See shm.h.
 *
 * Owns two read-only mappings. Believes nothing but what it checks: whose the files are - the pool's owner, who could
 * change the pool itself, or root -, that they are this pool's, of this version, and large enough for what the header
 * claims; that is checked once and kept in the view, as the header is shared memory and may change. What remains is
 * that the owner of the files could cut them under us; who does not trust the owner of a pool should not look into it.
 *
 * The lists are mapped with all the address space they could ever need, so that what grows is seen without mapping
 * again; dax_shm_view_refresh() only asks for the size.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dax/shm.h"
#include "util/fault.h"

static int check_owner(const char *dir, const char *name, const struct stat *st, uint32_t owner, struct err *err)
{
	if (!S_ISREG(st->st_mode))
		return err_set(err, -EPERM, "%s/%s: %s, a regular file is needed", dir, name,
			       S_ISLNK(st->st_mode) ? "a symbolic link" : "not a regular file");
	if (st->st_uid && st->st_uid != owner)
		return err_set(err, -EPERM,
			       "%s/%s: owned by uid %u, has to be owned by uid %u, who owns the pool, or root",
			       dir, name, st->st_uid, owner);
	return 0;
}

/* A descriptor of one of the two files, checked, its size in *size. */
static int open_part(const char *dir, int dirfd, const char *name, uint32_t owner, uint64_t *size, struct err *err)
{
	struct stat st;
	int fd, ret;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return err_set(err, -ENOENT, "%s/%s: not there, no daemon gives direct access to this pool",
				       dir, name);
		return err_set_errno(err, -errno, "%s/%s", dir, name);
	}
	ret = check_owner(dir, name, &st, owner, err);
	if (ret)
		return ret;
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, -errno, "%s/%s: cannot open for reading", dir, name);

	/* What was looked at may not be what was opened. */
	if (fstat(fd, &st))
		ret = err_set_errno(err, -errno, "%s/%s", dir, name);
	else
		ret = check_owner(dir, name, &st, owner, err);
	if (ret) {
		close(fd);
		return ret;
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

static int map_part(const char *dir, const char *name, int fd, uint64_t bytes, const void **out, struct err *err)
{
	void *at = MAP_FAILED;

	errno = ENOMEM;
	if (!fault(FAULT_ALLOC))
		at = mmap(NULL, bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (at == MAP_FAILED)
		return err_set_errno(err, -errno, "%s/%s: cannot map %" PRIu64 " bytes", dir, name, bytes);
	*out = at;
	return 0;
}

static int check_header(const struct dax_shm_header *h, const char *dir, const char *name, const uint8_t uuid[16],
			struct err *err)
{
	uint64_t magic = __atomic_load_n(&h->magic, __ATOMIC_ACQUIRE);

	if (!magic)
		return err_set(err, -ENOENT, "%s/%s: empty, its daemon is starting, or was killed while it did",
			       dir, name);
	if (magic != DAX_SHM_MAGIC)
		return err_set(err, -EPROTO, "%s/%s: magic is %#" PRIx64 ", has to be %#llx", dir, name, magic,
			       DAX_SHM_MAGIC);
	if (h->version != DAX_SHM_VERSION)
		return err_set(err, -EPROTO,
			       "%s/%s: version is %u, this program knows %u; use the one of the daemon's version",
			       dir, name, h->version, DAX_SHM_VERSION);
	if (memcmp(h->uuid, uuid, sizeof(h->uuid)) != 0)
		return err_set(err, -EPROTO, "%s/%s: the uuid in it is not this pool's", dir, name);
	return 0;
}

static int open_folios(struct dax_shm_view *view, const char *dir, int dirfd, const uint8_t uuid[16], uint32_t owner,
		       struct err *err)
{
	char name[DAX_SHM_NAME];
	uint64_t size, units;
	const void *at;
	int ret;

	dax_shm_name(name, uuid, "folios");
	view->fd = open_part(dir, dirfd, name, owner, &size, err);
	if (view->fd < 0)
		return view->fd;
	if (!size)
		return err_set(err, -ENOENT, "%s/%s: no bytes, its daemon is starting, or was killed while it did",
			       dir, name);
	if (size <= DAX_SHM_PAGE || size % DAX_SHM_PAGE || size > dax_shm_folios_bytes(DAX_SHM_UNITS_MAX))
		return err_set(err, -EPROTO,
			       "%s/%s: %" PRIu64 " bytes, multiples of %u from %u to %" PRIu64 " are possible",
			       dir, name, size, DAX_SHM_PAGE, 2 * DAX_SHM_PAGE,
			       dax_shm_folios_bytes(DAX_SHM_UNITS_MAX));
	ret = map_part(dir, name, view->fd, size, &at, err);
	if (ret)
		return ret;
	view->header = at;
	units = view->header->units;
	view->units = (size - DAX_SHM_PAGE) / sizeof(uint64_t);
	view->words = (const _Atomic uint64_t *)((const char *)at + DAX_SHM_PAGE);
	ret = check_header(view->header, dir, name, uuid, err);
	if (ret)
		return ret;
	if (!units || units > DAX_SHM_UNITS_MAX || dax_shm_folios_bytes(units) != size)
		return err_set(err, -EPROTO, "%s/%s: %" PRIu64 " bytes, not what %" PRIu64 " map units need", dir, name,
			       size, units);
	view->units = units;
	return 0;
}

static int open_lists(struct dax_shm_view *view, const char *dir, int dirfd, const uint8_t uuid[16], uint32_t owner,
		      struct err *err)
{
	char name[DAX_SHM_NAME];

	dax_shm_name(name, uuid, "grants");
	view->lists_fd = open_part(dir, dirfd, name, owner, &view->lists_size, err);
	if (view->lists_fd < 0)
		return view->lists_fd;
	return map_part(dir, name, view->lists_fd, DAX_SHM_LISTS_MAX, &view->lists, err);
}

int dax_shm_view_open(struct dax_shm_view *view, const char *dir, const uint8_t uuid[16], uint32_t owner,
		      struct err *err)
{
	int dirfd, ret;

	*view = (struct dax_shm_view){ .fd = -1, .lists_fd = -1 };
	dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_set_errno(err, -errno, "%s: cannot open the directory of shared memory", dir);
	ret = open_folios(view, dir, dirfd, uuid, owner, err);
	if (!ret)
		ret = open_lists(view, dir, dirfd, uuid, owner, err);
	close(dirfd);
	if (ret) {
		dax_shm_view_close(view);
		return ret;
	}
	dax_shm_view_refresh(view);
	return 0;
}

void dax_shm_view_close(struct dax_shm_view *view)
{
	if (view->lists)
		munmap((void *)(uintptr_t)view->lists, DAX_SHM_LISTS_MAX);
	if (view->header)
		munmap((void *)(uintptr_t)view->header, dax_shm_folios_bytes(view->units));
	if (view->lists_fd >= 0)
		close(view->lists_fd);
	if (view->fd >= 0)
		close(view->fd);
	*view = (struct dax_shm_view){ .fd = -1, .lists_fd = -1 };
}

bool dax_shm_view_refresh(struct dax_shm_view *view)
{
	struct stat st;

	if (fstat(view->lists_fd, &st))
		return false;
	view->lists_size = (uint64_t)st.st_size / DAX_SHM_PAGE * DAX_SHM_PAGE;
	if (view->lists_size > DAX_SHM_LISTS_MAX)
		view->lists_size = DAX_SHM_LISTS_MAX;
	return st.st_nlink > 0;
}

/* First unit at or after `unit` whose word is in a page of the file that is there. */
static uint64_t next_data(const struct dax_shm_view *view, uint64_t unit)
{
	off_t at = lseek(view->fd, (off_t)(DAX_SHM_PAGE + unit * sizeof(uint64_t)), SEEK_DATA);
	uint64_t found;

	if (at < 0)
		return errno == ENXIO ? view->units : unit;
	found = ((uint64_t)at - DAX_SHM_PAGE) / sizeof(uint64_t);
	return found < view->units ? found : view->units;
}

uint64_t dax_shm_view_next(const struct dax_shm_view *view, uint64_t unit)
{
	const uint64_t words = DAX_SHM_PAGE / sizeof(uint64_t);

	while (unit < view->units) {
		unit = next_data(view, unit);
		do {
			if (unit == view->units || atomic_load_explicit(&view->words[unit], memory_order_relaxed))
				return unit;
		} while (++unit % words);
	}
	return view->units;
}
