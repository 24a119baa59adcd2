/*
 * Opening a pool's bytes.
 *
 * Owns the life of struct region: descriptor, in-use lock, address range, mapping. Relies on region_path.c
 * for what the path is, on region_lock.c for who else uses it, on libpmem2 for mapping and for the choice of
 * flush and copy instructions, and on writeback.c where durability is the page cache's. Produces a region
 * whose ops fit its kind:
 *
 *	device-dax, fsdax	cache lines, flushed and fenced; a file is fsdax only if MAP_SYNC worked
 *	volatile		the same instructions, so that tmpfs exercises and measures the real path
 *	page-cached		pages, written back in batches
 *
 * Order matters twice. The lock is taken before a file is grown or mapped, so that a pool in use is not
 * touched. And a file just created is made durable together with its name before anybody stores to it: later
 * fences only promise the pool's bytes.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format.h"
#include "pmem/region_path.h"
#include "pmem/region_private.h"

#define SYSFS		"/sys"
#define ALIGN_PMD	((uint64_t)2 << 20)
#define ALIGN_PUD	((uint64_t)1 << 30)
#define PLACE_TRIES	8

/* ---- Size ---------------------------------------------------------------------------------------------- */

static int allocate(int fd, uint64_t size, bool sparse)
{
	int ret;

	if (sparse)
		return ftruncate(fd, (off_t)size) ? -errno : 0;
	do {
		ret = fallocate(fd, 0, 0, (off_t)size);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

/* Without SPARSE the holes of a long enough file are filled, too: a full host must not mean SIGBUS later. */
static int grow_file(int fd, const char *path, uint64_t size, unsigned int flags, struct region_path *what,
		     struct err *err)
{
	bool sparse = flags & REGION_SPARSE;
	int ret = 0;

	if (size < what->size)
		size = what->size;
	if (size && (!sparse || size > what->size))
		ret = allocate(fd, size, sparse);
	if (ret == -EOPNOTSUPP)
		return err_set(err, ret, "%s: its filesystem cannot allocate %" PRIu64 " bytes ahead; "
			       "a sparse pool would do", path, size);
	if (ret)
		return err_set_errno(err, ret, "%s: cannot grow from %" PRIu64 " to %" PRIu64 " bytes", path,
				     what->size, size);
	what->size = size;
	if (fsync(fd))
		return err_set_errno(err, -errno, "%s: cannot make its size durable", path);
	ret = what->created ? region_path_sync_parent(path) : 0;
	return ret ? err_set_errno(err, ret, "%s: cannot make its name durable", path) : 0;
}

static int settle_size(struct region *r, const char *path, uint64_t size, unsigned int flags,
		       struct region_path *what, struct err *err)
{
	const uint64_t min = (uint64_t)POOL_MIN_BLOCKS * BLOCK_SIZE;
	int ret;

	if (what->kind != REGION_DEVDAX && (flags & REGION_CREATE)) {
		if (size > INT64_MAX)
			return err_set(err, -EFBIG, "%s: size is to be %" PRIu64 ", at most %" PRId64
				       " is possible", path, size, INT64_MAX);
		ret = grow_file(r->fd, path, size, flags, what, err);
		if (ret)
			return ret;
	} else if ((flags & REGION_CREATE) && size && size != what->size) {
		return err_set(err, -EINVAL, "%s: size is to be %" PRIu64 ", but the device has %" PRIu64
			       ", which is the only size it can have", path, size, what->size);
	}
	r->size = what->size & ~(uint64_t)(BLOCK_SIZE - 1);
	if (r->size < min)
		return err_set(err, -EINVAL, "%s: size is %" PRIu64 " bytes, at least %" PRIu64 " are needed",
			       path, what->size, min);
	return 0;
}

/* ---- Mapping ------------------------------------------------------------------------------------------- */

/* libpmem2 has numbers of its own below those of errno. */
static int pmem2_errno(int ret)
{
	return ret <= PMEM2_E_UNKNOWN ? -EINVAL : ret;
}

static int pmem2_fail(struct err *err, int ret, const struct region *r, const char *what)
{
	const struct region_map *m = r->priv;

	return err_set(err, pmem2_errno(ret), "%s: %s %" PRIu64 " bytes: %s", m->path, what, r->size,
		       pmem2_errormsg());
}

/* A free address range aligned as asked. It is only looked for, not kept: somebody may take it before us. */
static void *find_place(uint64_t size, uint64_t align)
{
	uint64_t room = size + 2 * align;	/* libpmem2 takes up to one more than asked for */
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munmap(p, room);
	return (char *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
}

/*
 * Reserve the address range. libpmem2 aligns to 1 GiB only from 2 GiB on, so it is told where; should
 * threads that map at the same time win every race for the place found, its own choice (2 MiB) has to do.
 */
static int reserve(struct region *r, struct err *err)
{
	struct region_map *m = r->priv;
	uint64_t align = r->size >= ALIGN_PUD ? ALIGN_PUD : ALIGN_PMD;
	int ret = PMEM2_E_MAPPING_EXISTS, i;
	void *place;

	if (align < r->unit)
		align = r->unit;
	for (i = 0; i < PLACE_TRIES && ret == PMEM2_E_MAPPING_EXISTS; i++) {
		place = find_place(r->size, align);
		ret = pmem2_vm_reservation_new(&m->place, place, r->size);
	}
	if (ret)
		ret = pmem2_vm_reservation_new(&m->place, NULL, r->size);
	if (ret)
		return pmem2_fail(err, ret, r, "cannot reserve addresses for");
	return 0;
}

/*
 * pmem2_map_new() for tmpfs. As there is no MAP_SYNC, libpmem2 would choose page granularity, with an msync
 * for every flush; what is wanted is the cache-line path. It honours this variable while it maps. (To map
 * the file here and declare the granularity by pmem2_map_from_existing() would do, too, but 1.12 loses
 * memory with each such map.)
 *
 * The environment is the process's: the lock keeps our own threads apart, and region_open()'s contract the
 * others.
 */
static int map_forced(struct region_map *m, const struct pmem2_config *cfg)
{
	static const char name[] = "PMEM2_FORCE_GRANULARITY";
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	char *before;
	int ret;

	pthread_mutex_lock(&lock);
	before = getenv(name);
	before = before ? strdup(before) : NULL;
	ret = setenv(name, "CACHE_LINE", 1) ? -errno : pmem2_map_new(&m->map, cfg, m->source);
	if (before)
		setenv(name, before, 1);
	else
		unsetenv(name);
	pthread_mutex_unlock(&lock);
	free(before);
	return ret;
}

static int map_file(struct region *r, struct err *err)
{
	struct region_map *m = r->priv;
	unsigned int prot = PMEM2_PROT_READ | (r->readonly ? 0 : PMEM2_PROT_WRITE);
	enum pmem2_granularity needed;
	struct pmem2_config *cfg;
	int ret;

	ret = pmem2_config_new(&cfg);
	if (ret)
		return pmem2_fail(err, ret, r, "cannot configure the mapping of");
	needed = r->kind == REGION_PAGED ? PMEM2_GRANULARITY_PAGE : PMEM2_GRANULARITY_CACHE_LINE;
	ret = pmem2_config_set_required_store_granularity(cfg, needed);
	if (!ret)
		ret = pmem2_config_set_length(cfg, r->size);
	if (!ret)
		ret = pmem2_config_set_protection(cfg, prot);
	if (!ret)
		ret = pmem2_config_set_vm_reservation(cfg, m->place, 0);
	if (!ret && r->kind == REGION_VOLATILE)
		ret = map_forced(m, cfg);
	else if (!ret)
		ret = pmem2_map_new(&m->map, cfg, m->source);
	if (ret)
		ret = pmem2_fail(err, ret, r, "cannot map");
	pmem2_config_delete(&cfg);
	return ret;
}

/*
 * Whether the file's mappings are those of a DAX filesystem. libpmem2's granularity alone would not do: its
 * environment variable PMEM2_FORCE_GRANULARITY can make it say so of a file in the page cache.
 */
static bool maps_sync(int fd)
{
	void *p = mmap(NULL, BLOCK_SIZE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, BLOCK_SIZE);
	return true;
}

static int choose_ops(struct region *r, struct err *err)
{
	struct region_map *m = r->priv;

	if (r->kind == REGION_PAGED && pmem2_map_get_store_granularity(m->map) != PMEM2_GRANULARITY_PAGE &&
	    maps_sync(r->fd))
		r->kind = REGION_FSDAX;
	if (r->kind == REGION_PAGED) {
		r->ops = &persist_paged_ops;
		return r->readonly ? 0 : writeback_new(&m->wb, m->path, r->fd, err);
	}
	r->ops = &persist_line_ops;
	m->copy = pmem2_get_memcpy_fn(m->map);
	m->set = pmem2_get_memset_fn(m->map);
	m->flush = pmem2_get_flush_fn(m->map);
	m->drain = pmem2_get_drain_fn(m->map);
	return 0;
}

static int map_region(struct region *r, struct err *err)
{
	struct region_map *m = r->priv;
	int ret;

	ret = pmem2_source_from_fd(&m->source, r->fd);
	if (ret)
		return pmem2_fail(err, ret, r, "cannot use for a mapping of");
	ret = reserve(r, err);
	if (ret)
		return ret;
	ret = map_file(r, err);
	if (ret)
		return ret;
	r->base = pmem2_map_get_address(m->map);
	return choose_ops(r, err);
}

/* ---- Open and close ------------------------------------------------------------------------------------ */

static struct region *region_alloc(const char *path, unsigned int flags)
{
	struct region *r = calloc(1, sizeof(*r));
	struct region_map *m = calloc(1, sizeof(*m));
	char *copy = strdup(path);

	if (!r || !m || !copy) {
		free(r);
		free(m);
		free(copy);
		return NULL;
	}
	m->path = copy;
	r->priv = m;
	r->fd = -1;
	r->readonly = flags & REGION_RDONLY;
	return r;
}

void region_unmap(struct region *r)
{
	struct region_map *m = r->priv;

	writeback_free(m->wb);
	if (m->map)
		pmem2_map_delete(&m->map);
	if (m->place)
		pmem2_vm_reservation_delete(&m->place);
	if (m->source)
		pmem2_source_delete(&m->source);
	if (r->fd >= 0)
		close(r->fd);
	free(m->path);
	free(m);
	free(r);
}

int region_open(struct region **out, const char *path, uint64_t size, unsigned int flags, struct err *err)
{
	struct region *r = region_alloc(path, flags);
	struct region_path what;
	int ret;

	assert(!(flags & REGION_CREATE) || !(flags & REGION_RDONLY));
	if (!r)
		return err_set_errno(err, -ENOMEM, "%s", path);
	r->fd = region_path_open(path, flags, SYSFS, &what, err);
	if (r->fd < 0) {
		ret = r->fd;
		goto unmap;
	}
	r->kind = what.kind;
	r->unit = what.unit;
	r->could_dax = what.could_dax;
	ret = flags & REGION_NOLOCK ? 0 : region_lock(r->fd, path, r->readonly, err);
	if (ret)
		goto unmap;	/* even if we created it: by now it is somebody else's */
	ret = settle_size(r, path, size, flags, &what, err);
	if (!ret)
		ret = map_region(r, err);
	if (ret)
		goto unlink;
	*out = r;
	return 0;
unlink:
	if (what.created)
		unlink(path);
unmap:
	region_unmap(r);
	return ret;
}

void region_close(struct region *r)
{
	if (r)
		r->ops->close(r);
}

const char *region_kind_name(enum region_kind kind)
{
	static const char *const names[] = {
		[REGION_DEVDAX]		= "device-dax",
		[REGION_FSDAX]		= "fsdax",
		[REGION_VOLATILE]	= "volatile",
		[REGION_PAGED]		= "page-cached",
		[REGION_EMU]		= "emulated",
	};

	return names[kind];
}

bool region_survives_power_loss(const struct region *r)
{
	return r->kind != REGION_VOLATILE;
}

const char *region_remark(const struct region *r)
{
	if (!region_survives_power_loss(r))
		return "its contents are lost at a power cut or reboot";
	if (r->kind != REGION_PAGED)
		return NULL;
	if (r->could_dax)
		return "its device has DAX, which is used when the filesystem is mounted with -o dax";
	return "changes wait for a write-back; not so with DAX (ext4 or xfs mounted with -o dax, or /dev/daxX.Y)";
}
