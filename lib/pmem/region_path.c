/*
 * Telling what a path is.
 *
 * Relies on stat(2) and on sysfs, which is read directly: the few attributes needed (subsystem, size, align,
 * driver, namespace) have kept their places since device-DAX became a bus in kernel 5.1. Produces a
 * descriptor with kind, size and map unit for region.c, or a refusal that says what was found and what to do
 * about it.
 *
 * Users meet persistent memory under three names - /dev/pmemN, /dev/daxX.Y and a mounted filesystem - and
 * the first is the one that cannot work: its page cache would lie between us and the media. So the refusal of
 * a pmem block device prints both ways out with the names of that very device filled in.
 */
#include "pmem/region_path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "format.h"

#define NAME_LEN	64	/* of kernel objects: "dax0.0", "namespace0.0", "device_dax" */

/* Last component of the symbolic link at the formatted path; false if there is no such link. */
static bool __attribute__((format(printf, 2, 3))) link_name(char name[NAME_LEN], const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return false;
	target[len] = '\0';
	snprintf(name, NAME_LEN, "%.*s", NAME_LEN - 1, basename(target));
	return true;
}

/* First line of the file at the formatted path. */
static bool __attribute__((format(printf, 2, 3))) attribute(char value[NAME_LEN], const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	FILE *f;
	bool ok;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(value, NAME_LEN, f);
	fclose(f);
	if (ok)
		value[strcspn(value, "\n")] = '\0';
	return ok;
}

/* The file's name if the path lies directly in /dev, else NULL. */
static const char *dev_name(const char *path)
{
	const char *name;

	if (strncmp(path, "/dev/", 5) != 0)
		return NULL;
	name = path + 5;
	return *name && !strchr(name, '/') ? name : NULL;
}

/* The namespace under block device maj:min; a namespace in fsdax mode has a pfn device in between. */
static void namespace_name(char name[NAME_LEN], dev_t rdev, const char *sysfs)
{
	const char *dir = "dev/block";

	if (link_name(name, "%s/%s/%u:%u/device", sysfs, dir, major(rdev), minor(rdev)) &&
	    strncmp(name, "namespace", 9) == 0)
		return;
	if (attribute(name, "%s/%s/%u:%u/device/namespace", sysfs, dir, major(rdev), minor(rdev)) && *name)
		return;
	snprintf(name, NAME_LEN, "namespaceX.Y");
}

static int refuse_block(const char *path, const struct stat *st, const char *sysfs, struct err *err)
{
	char name[NAME_LEN], space[NAME_LEN];

	if (!link_name(name, "%s/dev/block/%u:%u", sysfs, major(st->st_rdev), minor(st->st_rdev)) ||
	    strncmp(name, "pmem", 4) != 0)
		return err_set(err, -ENOTSUP, "%s: a block device; a pool is a file or /dev/daxX.Y", path);
	namespace_name(space, st->st_rdev, sysfs);
	if (strchr(name, 's'))		/* pmem0s: with a table of sectors (BTT) in between */
		return err_set(err, -ENOTSUP,
			       "%s: a block device, in sector mode, which has no DAX; another mode erases it: either "
			       "ndctl create-namespace -f -e %s -m fsdax, then a file on a filesystem mounted with -o dax, "
			       "or ndctl create-namespace -f -e %s -m devdax, then /dev/daxX.Y", path, space, space);
	return err_set(err, -ENOTSUP,
		       "%s: a block device; either use a file on it (mkfs.ext4 %s or mkfs.xfs %s, "
		       "mount -o dax %s DIR, then DIR/pool), or make it a device-DAX node, which erases it "
		       "(ndctl create-namespace -f -e %s -m devdax, then /dev/daxX.Y)",
		       path, path, path, path, space);
}

static int refuse_char(const char *path, const struct stat *st, const char *sysfs, struct err *err)
{
	char name[NAME_LEN];

	if (link_name(name, "%s/dev/char/%u:%u/subsystem", sysfs, major(st->st_rdev), minor(st->st_rdev)) &&
	    strcmp(name, "dax") == 0)
		return 0;
	return err_set(err, -EINVAL, "%s: a character device that is not of class dax; a pool is a file or "
		       "/dev/daxX.Y", path);
}

int region_path_refuse(const char *path, const struct stat *st, const char *sysfs, struct err *err)
{
	const char *what;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return 0;
	case S_IFCHR:
		return refuse_char(path, st, sysfs, err);
	case S_IFBLK:
		return refuse_block(path, st, sysfs, err);
	case S_IFDIR:
		what = "a directory";
		break;
	case S_IFIFO:
		what = "a fifo";
		break;
	case S_IFSOCK:
		what = "a socket";
		break;
	default:
		what = "of an unknown type";
	}
	return err_set(err, -EINVAL, "%s: %s; a pool is a file or /dev/daxX.Y", path, what);
}

/* Does sysfs know the device-DAX device of that path? Then its name, and its driver's or "". */
static bool find_dax(const char *path, const char *sysfs, char device[NAME_LEN], char driver[NAME_LEN])
{
	const char *name = dev_name(path);
	char found[NAME_LEN];
	unsigned int x, y;

	if (!name || sscanf(name, "dax%u.%u", &x, &y) != 2)
		return false;
	snprintf(device, NAME_LEN, "dax%u.%u", x, y);
	if (!link_name(found, "%s/bus/dax/devices/%s", sysfs, device))
		return false;
	if (!link_name(driver, "%s/bus/dax/devices/%s/driver", sysfs, device))
		*driver = '\0';
	return true;
}

int region_path_unbound(const char *path, const char *sysfs, struct err *err)
{
	char device[NAME_LEN], driver[NAME_LEN];

	if (!find_dax(path, sysfs, device, driver))
		return 0;
	if (!*driver)
		return err_set(err, -ENODEV, "%s: no driver is bound to the device, device_dax is needed: "
			       "daxctl enable-device %s", path, device);
	if (strcmp(driver, "kmem") == 0)
		return err_set(err, -ENODEV, "%s: in system-ram mode (driver kmem); devdax mode is needed: "
			       "daxctl reconfigure-device --mode=devdax %s", path, device);
	return 0;
}

int region_path_missing(const char *path, const char *sysfs, struct err *err)
{
	char device[NAME_LEN], driver[NAME_LEN];
	int ret = region_path_unbound(path, sysfs, err);

	if (ret)
		return ret;
	if (!find_dax(path, sysfs, device, driver))
		return err_set_errno(err, -ENOENT, "%s", path);
	return err_set(err, -ENODEV, "%s: no such node, though the device exists (driver %s); see udev", path,
		       driver);
}

/* The attribute lay one level up while device-DAX was a class. */
static bool device_align(uint64_t *unit, const char *dir)
{
	char value[NAME_LEN];

	if (!attribute(value, "%s/align", dir) && !attribute(value, "%s/device/align", dir))
		return false;
	*unit = strtoull(value, NULL, 0);
	return true;
}

int region_path_device(const char *path, const struct stat *st, const char *sysfs, struct region_path *out,
		       struct err *err)
{
	char dir[PATH_MAX], value[NAME_LEN];

	snprintf(dir, sizeof(dir), "%s/dev/char/%u:%u", sysfs, major(st->st_rdev), minor(st->st_rdev));
	if (!attribute(value, "%s/size", dir))
		return err_set(err, -ENODEV, "%s: its size is not in %.200s/size", path, dir);
	out->kind = REGION_DEVDAX;
	out->size = strtoull(value, NULL, 0);
	if (!device_align(&out->unit, dir))
		return err_set(err, -ENODEV, "%s: its align is not in %.200s/align", path, dir);
	if (out->unit < BLOCK_SIZE || (out->unit & (out->unit - 1)))
		return err_set(err, -EINVAL, "%s: align is %" PRIu64 ", a power of two from %u on is needed",
			       path, out->unit, BLOCK_SIZE);
	return 0;
}

/* A partition has no queue; the disk that it is in lies above it. */
bool region_path_could_dax(unsigned long type, uint64_t block_size, dev_t dev, const char *sysfs)
{
	static const char *const queues[] = { "queue", "../queue" };
	char dax[NAME_LEN];

	if ((type != EXT4_SUPER_MAGIC && type != XFS_SUPER_MAGIC) || block_size != (uint64_t)sysconf(_SC_PAGESIZE))
		return false;
	for (unsigned int i = 0; i < 2; i++)
		if (attribute(dax, "%s/dev/block/%u:%u/%s/dax", sysfs, major(dev), minor(dev), queues[i]))
			return strcmp(dax, "1") == 0;
	return false;
}

static int describe_file(int fd, const char *path, const struct stat *st, const char *sysfs, struct region_path *out,
			 struct err *err)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return err_set_errno(err, -errno, "%s: cannot tell its filesystem", path);
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		return err_set(err, -ENOTSUP, "%s: on hugetlbfs, another filesystem is needed", path);
	out->kind = REGION_PAGED;
	if ((unsigned long)fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC)
		out->kind = REGION_VOLATILE;
	out->size = (uint64_t)st->st_size;
	out->unit = BLOCK_SIZE;
	out->could_dax = region_path_could_dax((unsigned long)fs.f_type, (uint64_t)fs.f_bsize, st->st_dev, sysfs);
	return 0;
}

/* A device-DAX node stays where it is when its driver goes, and cannot be opened then. */
static int cannot_open(const char *path, int error, unsigned int flags, const char *sysfs, struct err *err)
{
	int ret = error == -ENXIO || error == -ENODEV ? region_path_unbound(path, sysfs, err) : 0;

	return ret ? ret : err_set_errno(err, error, "%s: cannot open for %s", path,
					 flags & REGION_RDONLY ? "reading" : "reading and writing");
}

/* The object is looked at before it is opened: see region_path.h. */
static int open_checked(const char *path, unsigned int flags, const char *sysfs, struct region_path *out,
			struct err *err)
{
	int how = O_CLOEXEC | O_NOCTTY | (flags & REGION_RDONLY ? O_RDONLY : O_RDWR);
	struct stat st;
	int ret, fd;

	if (!stat(path, &st)) {
		ret = region_path_refuse(path, &st, sysfs, err);
		if (ret)
			return ret;
	} else if (errno != ENOENT) {
		return err_set_errno(err, -errno, "%s", path);
	} else if (!(flags & REGION_CREATE)) {
		return region_path_missing(path, sysfs, err);
	} else if (dev_name(path)) {
		return err_set(err, -ENODEV, "%s: no such device, and pool files are not made in /dev", path);
	} else {
		how |= O_CREAT | O_EXCL;
		out->created = true;
	}
	fd = open(path, how, 0600);
	return fd < 0 ? cannot_open(path, -errno, flags, sysfs, err) : fd;
}

int region_path_open(const char *path, unsigned int flags, const char *sysfs, struct region_path *out,
		     struct err *err)
{
	struct stat st;
	int fd, ret;

	memset(out, 0, sizeof(*out));
	fd = open_checked(path, flags, sysfs, out, err);
	if (fd < 0)
		return fd;

	/* The path may have been replaced since it was looked at. */
	if (fstat(fd, &st))
		ret = err_set_errno(err, -errno, "%s", path);
	else
		ret = region_path_refuse(path, &st, sysfs, err);
	if (!ret && S_ISCHR(st.st_mode))
		ret = region_path_device(path, &st, sysfs, out, err);
	else if (!ret)
		ret = describe_file(fd, path, &st, sysfs, out, err);
	if (!ret)
		return fd;
	close(fd);
	if (out->created)
		unlink(path);
	return ret;
}

int region_path_sync_parent(const char *path)
{
	char *copy = strdup(path);
	int fd, ret;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -errno;
	ret = fsync(fd) ? -errno : 0;
	close(fd);
	return ret;
}
