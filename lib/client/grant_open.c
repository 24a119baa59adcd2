/*
 * How a grant is made: a FUSE handle of the library's own, the pool opened with the rights that the process has, the
 * lock that shows it, the page through which revocations come.
 *
 * The mount may be anybody's. What the daemon says of the pool is therefore only a name: what is found there has to be
 * what the daemon says it serves, and to look like a pool, before it is opened for writing in earnest.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/mm.h"
#include "format.h"
#include "util/fault.h"

#define FIRST_FD	256	/* of the library's own, where the process may have so many */

/* ---- The handle ------------------------------------------------------------------------------------------- */

/*
 * Programs count on the lowest numbers being free, shells on those below ten being theirs. Their locks count for more:
 * see desc_locked().
 */
static int out_of_the_way(int fd)
{
	int high = desc_locked(fd) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

/* Open again what `fd` is open on. */
static int reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : out_of_the_way(fd);
}

int grant_open(int fd, const struct stat *st, bool write, int mode, struct grant **out)
{
	struct grant *g = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*g));
	int handle;

	if (!g)
		return -ENOMEM;
	handle = reopen(fd, mode);
	if (handle < 0 && mode == O_RDWR && !write)
		handle = reopen(fd, O_RDONLY);
	if (handle < 0) {
		free(g);
		return handle;
	}
	list_init(&g->node);
	list_init(&g->maps);
	list_init(&g->served);
	g->handle = (struct desc){ .fd = handle, .dev = st->st_dev, .ino = st->st_ino };
	g->pool.fd = -1;
	g->unit = PAGE;
	g->write = write;
	g->mode = mode;
	*out = g;
	return 0;
}

void grant_close(struct grant *g)
{
	desc_close(&g->handle);
	free(g);
}

int grant_ioctl(const struct grant *g, unsigned long request, void *arg)
{
	int fd = desc_fd(&g->handle), rc;

	if (fd < 0)
		return fd;
	do
		rc = ioctl(fd, request, arg) < 0 ? -errno : 0;
	while (rc == -EINTR);
	return rc;
}

bool grant_behind(const struct grant *g)
{
	return atomic_load_explicit(&g->page->posted, memory_order_acquire) != g->done;
}

/* ---- Direct access ---------------------------------------------------------------------------------------- */

/* What `g->reason` says; the pieces that refer to it are looked at with the lock held. */
static int refuse(struct grant *g, int rc, bool again, const char *what)
{
	client_lock();
	snprintf(g->reason, sizeof(g->reason), "%s: %s", what, client_reason(rc));
	g->again = again;
	client_unlock();
	return rc;
}

static int check_magic(int fd, uint64_t unit)
{
	void *at = mm_mmap(mm_room(unit), unit, PROT_READ, MAP_SHARED, fd, 0);
	int rc;

	if (at == MAP_FAILED)
		return -errno;
	rc = memcmp(at, SUPER_MAGIC, sizeof(((struct disk_super *)0)->magic)) ? -EMEDIUMTYPE : 0;
	mm_munmap(at, unit);
	return rc;
}

/* Opened as a name first: opening a device can do things. */
static int open_pool(const struct direct_open *reply, struct desc *pool)
{
	int fd = open(reply->pool, O_PATH | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = desc_of(pool, fd);
	if (!rc && (pool->dev != (dev_t)reply->pool_dev || pool->ino != reply->pool_ino))
		rc = -ESTALE;
	if (!rc) {
		pool->fd = reopen(fd, O_RDWR | O_NONBLOCK);
		rc = pool->fd < 0 ? pool->fd : 0;
	} else {
		pool->fd = -1;
	}
	close(fd);
	if (!rc)
		rc = check_magic(pool->fd, 1ULL << reply->unit_shift);
	return rc;
}

static int lock_pool(int fd, uint64_t number)
{
	struct flock lock = {
		.l_type	  = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start  = (off_t)(DIRECT_LOCK_BASE + number),
		.l_len	  = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static int map_page(const char *path, struct direct_page **out)
{
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY), rc = 0;
	struct direct_page *page = MAP_FAILED;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		rc = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size < (off_t)DIRECT_PAGE_BYTES)
		rc = -EPROTO;
	else
		page = mm_mmap(mm_room(DIRECT_PAGE_BYTES), DIRECT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!rc && page == MAP_FAILED)
		rc = -errno;
	close(fd);
	if (!rc && (page->magic != DIRECT_PAGE_MAGIC || page->version != DIRECT_VERSION)) {
		mm_munmap(page, DIRECT_PAGE_BYTES);
		rc = -EPROTO;
	}
	if (!rc)
		*out = page;
	return rc;
}

static int check_reply(const struct direct_open *reply)
{
	if (reply->version != DIRECT_VERSION || !reply->name.number || reply->name.number >= DIRECT_NUMBER_MAX ||
	    reply->unit_shift < 12 || reply->unit_shift > 30 ||
	    !memchr(reply->pool, 0, sizeof(reply->pool)) || !memchr(reply->page, 0, sizeof(reply->page)))
		return -EPROTO;
	return 0;
}

/* The pool and the page are there: from here on revocations are answered, then the daemon may give something. */
static int start(struct grant *g, const struct direct_open *reply, const struct desc *pool, struct direct_page *page)
{
	struct direct_start start = { .name = reply->name };
	int rc;

	client_lock();
	g->page = page;
	g->pool = *pool;
	g->name = reply->name;
	g->pool_bytes = reply->pool_bytes;
	g->unit = 1ULL << reply->unit_shift;
	g->sync = reply->sync;
	g->done = atomic_load(&page->done);
	client_unlock();
	rc = revoker_add(g);
	if (!rc)
		rc = grant_ioctl(g, DIRECT_IOC_START, &start);
	if (rc)
		grant_disconnect(g);
	return rc ? refuse(g, rc, false, "the daemon does not accept") : 0;
}

static int connect_to(struct grant *g, const struct direct_open *reply)
{
	struct desc pool = { .fd = -1 };
	struct direct_page *page = NULL;
	const char *what = "the pool";
	int rc = open_pool(reply, &pool);

	if (!rc) {
		what = "the lock in the pool";
		rc = lock_pool(pool.fd, reply->name.number);
	}
	if (!rc) {
		what = "the page of revocations";
		rc = map_page(reply->page, &page);
	}
	if (!rc)
		return start(g, reply, &pool, page);
	desc_close(&pool);
	return refuse(g, rc, false, what);
}

/* A handle has one grant, ever: it is worth asking again only where the daemon made none. */
int grant_connect(struct grant *g)
{
	struct direct_open *reply = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*reply));
	int rc;

	if (!reply)
		return refuse(g, -ENOMEM, true, "direct access");
	reply->version = DIRECT_VERSION;
	rc = grant_ioctl(g, DIRECT_IOC_OPEN, reply);
	if (rc)
		refuse(g, rc, rc == -EOPNOTSUPP || rc == -ENOMEM, "the daemon gives no direct access");
	else if (check_reply(reply))
		rc = refuse(g, -EPROTO, false, "the daemon");
	else
		rc = connect_to(g, reply);
	free(reply);
	return rc;
}

void grant_disconnect(struct grant *g)
{
	struct direct_page *page = g->page;
	struct desc pool = g->pool;

	if (!page)
		return;
	revoker_remove(g);
	client_lock();
	g->page = NULL;
	g->pool.fd = -1;
	client_unlock();
	mm_munmap(page, DIRECT_PAGE_BYTES);
	desc_close(&pool);
}
