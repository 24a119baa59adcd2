/*
 * Pool files for tests: a directory on tmpfs and one on a disk filesystem, and the little that every test of
 * regions does with files in them. What goes wrong in these functions fails the test that runs.
 */
#ifndef POOLFILE_H
#define POOLFILE_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "pmem/region.h"

#define MIB	(1ULL << 20)
#define SIZE	(4 * MIB)

/* Constant between poolfile_setup() and poolfile_cleanup(). */
extern char shm_dir[64], disk_dir[64], shm_pool[96], disk_pool[96];

/* The message of the last region_open(). */
extern struct err err;

/* poolfile_setup - make the directories; for main(). false, with a message, if that fails. */
bool poolfile_setup(void);
void poolfile_cleanup(void);

/* poolfile_on_disk - whether disk_dir is what it says; if not, prints that its tests are left out. */
bool poolfile_on_disk(void);

/* poolfile_case - a test case, each of whose tests starts without the pools of the one before. */
TCase *poolfile_case(Suite *s, const char *name);

struct region *poolfile_open(const char *path, uint64_t size, unsigned int flags);

/* poolfile_refused - region_open() fails with `code` and a message of the path that has `words` in it. */
void poolfile_refused(const char *path, uint64_t size, unsigned int flags, int code, const char *words);

/* poolfile_store - store a word non-temporally and fence. */
void poolfile_store(struct region *r, uint64_t off, uint64_t value);
struct stat poolfile_stat(const char *path);

/* poolfile_filter - from now on this process gets `action` (SECCOMP_RET_*) for one system call. */
void poolfile_filter(unsigned int number, unsigned int action);

#endif
