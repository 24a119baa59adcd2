/*
 * The work of `inodax-bench fuse`, one function a line: metadata on many small files, data in one large one.
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB		1024U
#define MIB		(1024U * 1024U)
#define RANDOM_OPS	40000U
#define APPENDS		20000U

static _Alignas(4096) char buffer[MIB];	/* aligned for O_DIRECT */

static void name_of(char *path, size_t size, const char *dir, const char *prefix, unsigned int i)
{
	snprintf(path, size, "%s/%s%06u", dir, prefix, i);
}

/* ---- Metadata ------------------------------------------------------------------------------------------ */

static int64_t create_files(const char *dir, const struct bench_options *opt)
{
	char path[1024];
	int fd;

	for (unsigned int i = 0; i < opt->files; i++) {
		name_of(path, sizeof(path), dir, "f", i);
		fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	return opt->files;
}

static int create_for(const char *dir, const struct bench_options *opt)
{
	int64_t rc = create_files(dir, opt);

	return rc < 0 ? (int)rc : 0;
}

/* In an order that no directory has, so that names are really looked up. */
static int64_t stat_files(const char *dir, const struct bench_options *opt)
{
	char path[1024];
	struct stat st;

	for (unsigned int i = 0; i < opt->files; i++) {
		name_of(path, sizeof(path), dir, "f", (unsigned int)((uint64_t)i * 7919 % opt->files));
		if (stat(path, &st))
			return -errno;
	}
	return opt->files;
}

/* Reads the names and looks at each, as ls -l does. */
static int64_t list_files(const char *dir, const struct bench_options *opt)
{
	struct dirent *e;
	struct stat st;
	int64_t n = 0;
	DIR *d = opendir(dir);

	(void)opt;
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			closedir(d);
			return -errno;
		}
		n++;
	}
	closedir(d);
	return n;
}

static int64_t rename_files(const char *dir, const struct bench_options *opt)
{
	char from[1024], to[1024];

	for (unsigned int i = 0; i < opt->files; i++) {
		name_of(from, sizeof(from), dir, "f", i);
		name_of(to, sizeof(to), dir, "r", i);
		if (rename(from, to))
			return -errno;
	}
	return opt->files;
}

static int64_t unlink_files(const char *dir, const struct bench_options *opt)
{
	char path[1024];

	for (unsigned int i = 0; i < opt->files; i++) {
		name_of(path, sizeof(path), dir, "f", i);
		if (unlink(path))
			return -errno;
	}
	return opt->files;
}

static void remove_all(const char *dir, const struct bench_options *opt)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	(void)opt;
	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

/* ---- Data ---------------------------------------------------------------------------------------------- */

static int open_data(const char *dir, int flags)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/data", dir);
	return open(path, flags, 0644);
}

static int64_t write_sequential(const char *dir, const struct bench_options *opt)
{
	int fd = open_data(dir, O_CREAT | O_WRONLY);
	int64_t rc = opt->megabytes;

	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < opt->megabytes && rc > 0; i++)
		if (pwrite(fd, buffer, MIB, (off_t)i * MIB) != (ssize_t)MIB)
			rc = errno ? -errno : -EIO;
	close(fd);
	return rc;
}

static int write_for(const char *dir, const struct bench_options *opt)
{
	int64_t rc = write_sequential(dir, opt);

	return rc < 0 ? (int)rc : 0;
}

static int64_t read_sequential(const char *dir, const struct bench_options *opt)
{
	int fd = open_data(dir, O_RDONLY);
	int64_t rc = opt->megabytes;

	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < opt->megabytes && rc > 0; i++)
		if (pread(fd, buffer, MIB, (off_t)i * MIB) != (ssize_t)MIB)
			rc = errno ? -errno : -EIO;
	close(fd);
	return rc;
}

/* The same places in the same order for every target. */
static off_t random_offset(const struct bench_options *opt, uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (off_t)((*state >> 33) % (opt->megabytes * (MIB / (4 * KIB))) * (4 * KIB));
}

static int64_t random_io(const char *dir, const struct bench_options *opt, int flags, bool write)
{
	int fd = open_data(dir, O_RDWR | flags);
	int64_t rc = RANDOM_OPS;
	uint64_t state = 1;
	ssize_t n;

	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < RANDOM_OPS && rc > 0; i++) {
		off_t off = random_offset(opt, &state);

		n = write ? pwrite(fd, buffer, 4 * KIB, off) : pread(fd, buffer, 4 * KIB, off);
		if (n != 4 * KIB)
			rc = errno ? -errno : -EIO;
	}
	close(fd);
	return rc;
}

static int64_t read_random(const char *dir, const struct bench_options *opt)
{
	return random_io(dir, opt, 0, false);
}

/* No page cache on any target: what the request itself costs. */
static int64_t read_direct(const char *dir, const struct bench_options *opt)
{
	return random_io(dir, opt, O_DIRECT, false);
}

static int64_t write_random(const char *dir, const struct bench_options *opt)
{
	return random_io(dir, opt, 0, true);
}

static int64_t append_fsync(const char *dir, const struct bench_options *opt)
{
	int fd = open_data(dir, O_CREAT | O_WRONLY | O_APPEND);
	int64_t rc = APPENDS;

	(void)opt;
	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < APPENDS && rc > 0; i++)
		if (write(fd, buffer, 4 * KIB) != 4 * KIB || fsync(fd))
			rc = errno ? -errno : -EIO;
	close(fd);
	return rc;
}

const struct work fuse_works[] = {
	{ "create", NULL, create_files, remove_all, 2 },
	{ "stat", create_for, stat_files, remove_all, 2 },
	{ "readdir + stat", create_for, list_files, remove_all, 2 },
	{ "rename", create_for, rename_files, remove_all, 2 },
	{ "unlink", create_for, unlink_files, remove_all, 2 },
	{ "write 4 KiB random", write_for, write_random, remove_all, 1 },
	{ "read 4 KiB random", write_for, read_random, remove_all, 1 },
	{ "read 4 KiB, O_DIRECT", write_for, read_direct, remove_all, 1 },
	{ "write 1 MiB sequential", NULL, write_sequential, remove_all, 1 },
	{ "read 1 MiB sequential", write_for, read_sequential, remove_all, 1 },
	{ "append 4 KiB + fsync", NULL, append_fsync, remove_all, 2 },
	{ NULL, NULL, NULL, NULL, 0 },
};
