/*
 * The shared memory of a pool, the daemon's side: see shm.h for what is in it and who may look.
 *
 * Owns the two files, or two pieces of memory without a name, and their mappings. The folio words are mapped whole; of
 * the lists DAX_SHM_LISTS_MAX bytes of address space are mapped over the file once and for all, and the file grows
 * under it, so that addresses in it stay. Its bytes are allocated as it grows: a full tmpfs is then -ENOSPC for one
 * grant and not a SIGBUS for everybody. The folio words cannot be had that way, they are far too many.
 *
 * A name in a directory is what others could put there before us. So the directory has to be ours alone, a file is
 * either made by us (O_EXCL) or has to be what we would have made; each refusal says what was found. A lock on the file
 * of folios keeps out the daemon of a second pool with the same uuid, which is a copy of the first. The files are found
 * again by the next daemon unless they are removed: killing one removes nothing.
 *
 * The header's magic is stored last and cleared first, so a reader sees a header whole or none.
 */
#include "dax/shm.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/fault.h"

static_assert(sizeof(struct dax_shm_header) == 112, "readers of the same version expect this size");

/* A part: a file or memory, and where it is mapped. */
struct part {
	char		 name[DAX_SHM_NAME];	/* in the directory */
	int		 fd;			/* -1: none */
	bool		 made;			/* by this dax_shm_open() */
	uint64_t	 size;			/* bytes there are */
	void		*at;			/* NULL: not mapped */
	uint64_t	 mapped;
};

struct dax_shm {
	struct part	 folios, lists;
	char		*dir;			/* NULL: without a name */
	int		 dirfd;			/* -1: without a name */
};

/* ---- Names ----------------------------------------------------------------------------------------------- */

void dax_shm_name(char name[DAX_SHM_NAME], const uint8_t uuid[16], const char *part)
{
	unsigned int i, at = 0;

	for (i = 0; i < 16; i++)
		at += (unsigned int)snprintf(name + at, DAX_SHM_NAME - at, "%s%02x",
					     i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
	snprintf(name + at, DAX_SHM_NAME - at, ".%s", part);
}

int dax_shm_default_dir(char *dir, uint64_t size)
{
	const char *base = geteuid() ? secure_getenv("XDG_RUNTIME_DIR") : "/run";
	int len;

	if (!base || *base != '/')
		return -ENOENT;
	len = snprintf(dir, size, "%s/inodax", base);
	return len < 0 || (uint64_t)len >= size ? -ENAMETOOLONG : 0;
}

/* A link followed by a slash would be followed whatever open() is told. */
static char *copy_dir(const char *dir)
{
	char *copy = fault(FAULT_ALLOC) ? NULL : strdup(dir);
	size_t len;

	for (len = copy ? strlen(copy) : 0; len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0';
	return copy;
}

/* ---- The directory --------------------------------------------------------------------------------------- */

static int check_dir(const char *dir, const struct stat *st, struct err *err)
{
	if (!S_ISDIR(st->st_mode))
		return err_set(err, -EEXIST, "%s: %s; a directory is needed, remove it", dir,
			       S_ISLNK(st->st_mode) ? "a symbolic link" : "not a directory");
	if (st->st_uid != geteuid())
		return err_set(err, -EEXIST, "%s: owned by uid %u, has to be owned by uid %u", dir, st->st_uid,
			       geteuid());
	if (st->st_mode & 022)
		return err_set(err, -EEXIST, "%s: mode is %04o, nobody but its owner may have write permission: "
			       "chmod go-w", dir, st->st_mode & 07777);
	return 0;
}

static int open_dir(struct dax_shm *shm, struct err *err)
{
	bool made = mkdir(shm->dir, 0755) == 0;
	struct stat st;
	int ret;

	if (!made && errno != EEXIST)
		return err_set_errno(err, -errno, "%s: cannot make the directory for shared memory", shm->dir);
	if (lstat(shm->dir, &st))
		return err_set_errno(err, -errno, "%s", shm->dir);
	ret = check_dir(shm->dir, &st, err);
	if (ret)
		return ret;
	shm->dirfd = open(shm->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (shm->dirfd < 0 || fstat(shm->dirfd, &st))
		return err_set_errno(err, -errno, "%s: cannot open the directory for shared memory", shm->dir);

	/* It may have been replaced since, if the directory above it is not ours. */
	ret = check_dir(shm->dir, &st, err);
	if (!ret && made && fchmod(shm->dirfd, 0755))
		ret = err_set_errno(err, -errno, "%s: cannot set its mode", shm->dir);
	return ret;
}

/* ---- The files ------------------------------------------------------------------------------------------- */

static const char *type_name(mode_t mode)
{
	return S_ISLNK(mode) ? "a symbolic link" : S_ISDIR(mode) ? "a directory" : "not a regular file";
}

/* Is this a file that we made, an earlier daemon of ours? `owner`: to whom it may have been given. */
static int check_file(const char *dir, const char *name, const struct stat *st, uid_t owner, struct err *err)
{
	if (!S_ISREG(st->st_mode))
		return err_set(err, -EEXIST, "%s/%s: %s; a regular file is needed, remove it", dir, name,
			       type_name(st->st_mode));
	if (st->st_uid != geteuid() && st->st_uid != owner)
		return err_set(err, -EEXIST, "%s/%s: owned by uid %u, has to be owned by uid %u; remove it", dir, name,
			       st->st_uid, geteuid());
	if (st->st_nlink != 1)
		return err_set(err, -EEXIST, "%s/%s: has %lu links, has to have 1; remove it", dir, name,
			       (unsigned long)st->st_nlink);
	if (st->st_mode & 022)
		return err_set(err, -EEXIST, "%s/%s: mode is %04o, nobody but its owner may have write permission; "
			       "remove it", dir, name, st->st_mode & 07777);
	return 0;
}

static int open_there(struct dax_shm *shm, struct part *p, uid_t owner, struct err *err)
{
	struct stat st;
	int ret;

	if (fstatat(shm->dirfd, p->name, &st, AT_SYMLINK_NOFOLLOW))
		return err_set_errno(err, -errno, "%s/%s", shm->dir, p->name);
	ret = check_file(shm->dir, p->name, &st, owner, err);
	if (ret)
		return ret;
	p->fd = openat(shm->dirfd, p->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (p->fd < 0 || fstat(p->fd, &st))
		return err_set_errno(err, -errno, "%s/%s: cannot open for reading and writing", shm->dir, p->name);
	p->size = (uint64_t)st.st_size;
	return check_file(shm->dir, p->name, &st, owner, err);
}

/* Open or make the file of a part; p->size is what it has, 0 for a new one. */
static int open_file(struct dax_shm *shm, struct part *p, uid_t owner, struct err *err)
{
	p->fd = openat(shm->dirfd, p->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (p->fd >= 0) {
		p->made = true;
		return 0;
	}
	if (errno != EEXIST)
		return err_set_errno(err, -errno, "%s/%s: cannot be made", shm->dir, p->name);
	return open_there(shm, p, owner, err);
}

/*
 * Owner, group and read bits as the pool has them. An owner or group that we may not give is left, and the bits meant
 * for it then go to nobody; while they change only the owner may read. The owner keeps the write bit if it is us: the
 * next daemon opens the file for writing.
 */
static int set_access(struct dax_shm *shm, struct part *p, const struct stat *like, struct err *err)
{
	struct stat st;
	mode_t mode;

	if (fchmod(p->fd, 0600))
		goto fail;
	if (!like)
		return 0;
	if (fchown(p->fd, like->st_uid, like->st_gid) && fchown(p->fd, (uid_t)-1, like->st_gid) && errno != EPERM)
		goto fail;
	if (fstat(p->fd, &st))
		goto fail;
	mode = like->st_mode & 0444;
	if (st.st_gid != like->st_gid)
		mode &= ~(mode_t)040;
	if (st.st_uid == geteuid())
		mode |= 0600;
	if (!fchmod(p->fd, mode))
		return 0;
fail:
	return err_set_errno(err, -errno, "%s/%s: cannot set owner and mode", shm->dir, p->name);
}

/* Two daemons with one uuid: the other has the lock until it ends, however it does. */
static int lock_file(struct dax_shm *shm, struct part *p, struct err *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct stat st;

	if (!fcntl(p->fd, F_OFD_SETLK, &lock) && !fstat(p->fd, &st)) {
		if (st.st_nlink)
			return 0;
		return err_set(err, -EBUSY, "%s/%s: just removed by a daemon that ended; try again", shm->dir, p->name);
	}
	p->made = false;
	if (errno != EAGAIN && errno != EACCES)
		return err_set_errno(err, -errno, "%s/%s: cannot be locked", shm->dir, p->name);
	return err_set(err, -EBUSY, "%s/%s: locked by another daemon; a copy of a pool needs a uuid of its own",
		       shm->dir, p->name);
}

static int open_files(struct dax_shm *shm, const struct dax_shm_config *config, struct err *err)
{
	struct stat like;
	uid_t owner;
	int ret;

	if (config->like >= 0 && fstat(config->like, &like))
		return err_set_errno(err, -errno, "%s: cannot tell owner and mode of the pool", shm->dir);
	owner = config->like >= 0 ? like.st_uid : geteuid();
	dax_shm_name(shm->folios.name, config->uuid, "folios");
	dax_shm_name(shm->lists.name, config->uuid, "grants");
	ret = open_dir(shm, err);
	if (!ret)
		ret = open_file(shm, &shm->folios, owner, err);
	if (!ret)
		ret = lock_file(shm, &shm->folios, err);
	if (!ret)
		ret = open_file(shm, &shm->lists, owner, err);
	if (!ret)
		ret = set_access(shm, &shm->folios, config->like >= 0 ? &like : NULL, err);
	if (!ret)
		ret = set_access(shm, &shm->lists, config->like >= 0 ? &like : NULL, err);
	return ret;
}

static int open_nameless(struct dax_shm *shm, struct err *err)
{
	shm->folios.fd = memfd_create("inodax-folios", MFD_CLOEXEC);
	shm->lists.fd = memfd_create("inodax-grants", MFD_CLOEXEC);
	if (shm->folios.fd < 0 || shm->lists.fd < 0)
		return err_set_errno(err, -errno, "shared memory: none to be had");
	return 0;
}

/* ---- Contents -------------------------------------------------------------------------------------------- */

const char *dax_shm_dir(const struct dax_shm *shm)
{
	return shm->dir;
}

/* For messages: a part without a name still has one to speak of. */
static const char *dir_name(const struct dax_shm *shm)
{
	return shm->dir ? shm->dir : "(memory)";
}

/*
 * A file of no bytes is one whose daemon was killed while it made it. Zeroing is done by a hole, not by cutting the
 * file: readers may have it mapped. The header's page is allocated at once, so that storing to it cannot fail.
 */
static int size_folios(struct dax_shm *shm, uint64_t need, struct err *err)
{
	struct part *p = &shm->folios;

	if (p->size && p->size != need)
		return err_set(err, -EEXIST, "%s/%s: %" PRIu64 " bytes, has to have %" PRIu64 "; remove it",
			       dir_name(shm), p->name, p->size, need);
	if (!p->size && ftruncate(p->fd, (off_t)need))
		return err_set_errno(err, -errno, "%s/%s: cannot be made %" PRIu64 " bytes large", dir_name(shm),
				     p->name, need);
	if (p->size && fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)need))
		return err_set_errno(err, -errno, "%s/%s: cannot be zeroed", dir_name(shm), p->name);
	if (fallocate(p->fd, 0, 0, DAX_SHM_PAGE))
		return err_set_errno(err, -errno, "%s/%s: no room for its first page", dir_name(shm), p->name);
	p->size = need;
	return 0;
}

static int check_lists(struct dax_shm *shm, struct err *err)
{
	const struct part *p = &shm->lists;

	if (p->size % DAX_SHM_PAGE == 0 && p->size <= DAX_SHM_LISTS_MAX)
		return 0;
	return err_set(err, -EEXIST, "%s/%s: %" PRIu64 " bytes, has to have a multiple of %u, at most %llu; remove it",
		       dir_name(shm), p->name, p->size, DAX_SHM_PAGE, DAX_SHM_LISTS_MAX);
}

static int map_part(struct dax_shm *shm, struct part *p, uint64_t bytes, struct err *err)
{
	void *at = MAP_FAILED;

	errno = ENOMEM;
	if (!fault(FAULT_ALLOC))
		at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, p->fd, 0);
	if (at == MAP_FAILED)
		return err_set_errno(err, -errno, "%s/%s: cannot map %" PRIu64 " bytes", dir_name(shm), p->name, bytes);
	p->at = at;
	p->mapped = bytes;
	return 0;
}

static void fill_header(struct dax_shm *shm, const struct dax_shm_config *config)
{
	struct dax_shm_header *h = shm->folios.at;

	h->version = DAX_SHM_VERSION;
	h->unit_shift = config->unit_shift;
	memcpy(h->uuid, config->uuid, sizeof(h->uuid));
	h->units = config->units;
	h->pid = getpid();
	__atomic_store_n(&h->magic, DAX_SHM_MAGIC, __ATOMIC_RELEASE);
}

/* ---- Open and close -------------------------------------------------------------------------------------- */

static void close_part(struct dax_shm *shm, struct part *p, bool remove)
{
	if (p->at)
		munmap(p->at, p->mapped);
	if (remove && shm->dirfd >= 0)
		unlinkat(shm->dirfd, p->name, 0);
	if (p->fd >= 0)
		close(p->fd);
}

/* The file of folios goes last: who opens it next finds it locked, or neither. */
static void close_all(struct dax_shm *shm, bool remove_lists, bool remove_folios)
{
	close_part(shm, &shm->lists, remove_lists);
	close_part(shm, &shm->folios, remove_folios);
	if (shm->dirfd >= 0)
		close(shm->dirfd);
	free(shm->dir);
	free(shm);
}

int dax_shm_open(struct dax_shm **out, const struct dax_shm_config *config, bool *reused, struct err *err)
{
	struct dax_shm *shm;
	uint64_t bytes;
	int ret;

	if (!config->units || config->units > DAX_SHM_UNITS_MAX)
		return err_set(err, -EINVAL, "shared memory: %" PRIu64 " map units, 1 to %llu are possible",
			       config->units, DAX_SHM_UNITS_MAX);
	shm = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*shm));
	if (!shm)
		return err_set_errno(err, -ENOMEM, "shared memory");
	shm->folios.fd = shm->lists.fd = shm->dirfd = -1;
	if (config->dir) {
		shm->dir = copy_dir(config->dir);
		ret = shm->dir ? open_files(shm, config, err) : err_set_errno(err, -ENOMEM, "%s", config->dir);
	} else {
		ret = open_nameless(shm, err);
	}
	bytes = dax_shm_folios_bytes(config->units);
	if (!ret)
		ret = check_lists(shm, err);
	if (!ret)
		ret = size_folios(shm, bytes, err);
	if (!ret)
		ret = map_part(shm, &shm->folios, bytes, err);
	if (!ret)
		ret = map_part(shm, &shm->lists, DAX_SHM_LISTS_MAX, err);
	if (ret) {
		close_all(shm, shm->lists.made, shm->folios.made);
		return ret;
	}
	*reused = shm->lists.size > 0;
	fill_header(shm, config);
	*out = shm;
	return 0;
}

void dax_shm_close(struct dax_shm *shm, bool remove)
{
	dax_shm_header(shm)->pid = 0;
	close_all(shm, remove, remove);
}

struct dax_shm_header *dax_shm_header(struct dax_shm *shm)
{
	return shm->folios.at;
}

_Atomic uint64_t *dax_shm_words(struct dax_shm *shm)
{
	return (_Atomic uint64_t *)((char *)shm->folios.at + DAX_SHM_PAGE);
}

void *dax_shm_lists(struct dax_shm *shm)
{
	return shm->lists.at;
}

uint64_t dax_shm_lists_size(struct dax_shm *shm)
{
	return shm->lists.size;
}

int dax_shm_lists_grow(struct dax_shm *shm, uint64_t bytes)
{
	struct part *p = &shm->lists;

	if (bytes > DAX_SHM_LISTS_MAX)
		return -ENOSPC;
	bytes = (bytes + DAX_SHM_PAGE - 1) / DAX_SHM_PAGE * DAX_SHM_PAGE;
	if (bytes <= p->size)
		return 0;
	if (fault(FAULT_ALLOC))
		return -ENOSPC;
	while (fallocate(p->fd, 0, (off_t)p->size, (off_t)(bytes - p->size)))
		if (errno != EINTR)
			return -ENOSPC;
	p->size = bytes;
	return 0;
}
