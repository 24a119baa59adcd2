/*
 * The fixture of the tests of shared memory: a directory on tmpfs that goes with the test, shared memory opened in it,
 * and children that are another user. Without privilege to become one these are left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm_unit.h"
#include "util/fault.h"

char base[64], dir[128], pool[96];
const uint8_t uuid[16] = { 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
struct err last_err;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* A directory that other users may search, as they may /run. */
static void setup(void)
{
	strcpy(base, "/dev/shm/inodax-shm-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(base));
	ck_assert_int_eq(chmod(base, 0755), 0);
	snprintf(dir, sizeof(dir), "%s/inodax", base);
	snprintf(pool, sizeof(pool), "%s/pool", base);
	last_err.text[0] = '\0';
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TCase *add_case(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	return tc;
}

struct dax_shm_config config(void)
{
	struct dax_shm_config c = { .dir = dir, .units = UNITS, .unit_shift = 12, .like = -1 };

	memcpy(c.uuid, uuid, sizeof(uuid));
	return c;
}

struct dax_shm *opened(const struct dax_shm_config *c, bool expect_reused)
{
	struct dax_shm *shm = NULL;
	bool reused = !expect_reused;
	int ret = dax_shm_open(&shm, c, &reused, &last_err);

	ck_assert_msg(!ret, "%d: %s", ret, last_err.text);
	ck_assert_int_eq(reused, expect_reused);
	return shm;
}

const char *in_dir(const char *name)
{
	static char path[2][192];
	static unsigned int i;

	i = !i;
	snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

void make_file(const char *path, off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

struct dax_shm *open_like(mode_t mode, uid_t uid, gid_t gid)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm = NULL;
	bool reused;
	int ret;

	unlink(pool);
	make_file(pool, 4096);
	ck_assert_int_eq(chmod(pool, mode), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(chown(pool, uid, gid), 0);
	c.like = open(pool, O_RDONLY);
	ret = dax_shm_open(&shm, &c, &reused, &last_err);
	ck_assert_msg(!ret, "%d: %s", ret, last_err.text);
	close(c.like);
	return shm;
}

void use(struct dax_shm *shm)
{
	_Atomic uint64_t *words = dax_shm_words(shm);
	unsigned char *lists = dax_shm_lists(shm);

	ck_assert_uint_eq(dax_shm_header(shm)->units, UNITS);
	ck_assert_uint_eq(dax_shm_header(shm)->pid, (unsigned int)getpid());
	ck_assert_uint_eq(dax_shm_header(shm)->drain, 0);
	ck_assert_uint_eq(words[0], 0);
	ck_assert_uint_eq(words[UNITS - 1], 0);
	words[0] = 7;
	words[UNITS - 1] = 8;
	dax_shm_header(shm)->drain = 1;
	ck_assert_int_eq(dax_shm_lists_grow(shm, 5000), 0);
	ck_assert_uint_eq(dax_shm_lists_size(shm), 8192);
	ck_assert_int_eq(dax_shm_lists_grow(shm, 4096), 0);
	ck_assert_uint_eq(dax_shm_lists_size(shm), 8192);
	ck_assert_int_eq(dax_shm_lists_grow(shm, DAX_SHM_LISTS_MAX + 1), -ENOSPC);
	ck_assert_uint_eq(lists[8191], 0);
	lists[8191] = 9;
	ck_assert_int_eq(dax_shm_lists_grow(shm, 1 << 20), 0);
	ck_assert_ptr_eq(dax_shm_lists(shm), lists);
	ck_assert_uint_eq(lists[8191], 9);
	lists[(1 << 20) - 1] = 1;
}

void as_user(void (*fn)(void))
{
	int status;
	pid_t pid;

	if (geteuid()) {
		printf("left out: another user needs privilege\n");
		return;
	}
	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		if (setgid(GROUP) || setuid(USER))
			_exit(99);
		fn();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "the child ended with %#x", status);
}
