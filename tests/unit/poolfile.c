/*
 * Pool files for tests, see poolfile.h.
 */
#include "poolfile.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pmem/persist.h"
#include "unit.h"

char shm_dir[64], disk_dir[64], shm_pool[96], disk_pool[96];
struct err err;

/* Before and outside the tests, which run in processes of their own. */
bool poolfile_setup(void)
{
	strcpy(shm_dir, "/dev/shm/inodax-region-XXXXXX");
	strcpy(disk_dir, "/var/tmp/inodax-region-XXXXXX");
	if (!mkdtemp(shm_dir) || !mkdtemp(disk_dir)) {
		perror("directories for pool files");
		return false;
	}
	snprintf(shm_pool, sizeof(shm_pool), "%s/pool", shm_dir);
	snprintf(disk_pool, sizeof(disk_pool), "%s/pool", disk_dir);
	return true;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void poolfile_cleanup(void)
{
	nftw(shm_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	nftw(disk_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void poolfile_reset(void)
{
	unlink(shm_pool);
	unlink(disk_pool);
	err.text[0] = '\0';
}

struct region *poolfile_open(const char *path, uint64_t size, unsigned int flags)
{
	struct region *r = NULL;
	int ret = region_open(&r, path, size, flags, &err);

	ck_assert_msg(ret == 0, "%d: %s", ret, err.text);
	return r;
}

void poolfile_refused(const char *path, uint64_t size, unsigned int flags, int code, const char *words)
{
	struct region *r = NULL;

	err.text[0] = '\0';
	ck_assert_int_eq(region_open(&r, path, size, flags, &err), code);
	ck_assert_ptr_null(r);
	ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" has no \"%s\"", err.text, words);
	ck_assert_msg(!strncmp(err.text, path, strlen(path)), "\"%s\" is not of the path", err.text);
	ck_assert_int_eq(region_open(&r, path, size, flags, NULL), code);
}

void poolfile_store(struct region *r, uint64_t off, uint64_t value)
{
	persist_store_nt(r, region_at(r, off), &value, sizeof(value));
	ck_assert_int_eq(persist_fence(r, PERSIST_DATA), 0);
}

struct stat poolfile_stat(const char *path)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return st;
}

void poolfile_filter(unsigned int number, unsigned int action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = 4, .filter = code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

bool poolfile_on_disk(void)
{
	struct statfs fs;

	if (!statfs(disk_dir, &fs) && (unsigned long)fs.f_type != TMPFS_MAGIC)
		return true;
	printf("left out: page-cached pools, %s is not on a disk filesystem\n", disk_dir);
	return false;
}

TCase *poolfile_case(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, poolfile_reset, NULL);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	return tc;
}
