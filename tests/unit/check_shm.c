/*
 * A pool's shared memory: what dax_shm_open() refuses to use and in which words, what it uses again, whom the files let
 * read, and what a reader sees. Other users are children with another uid, and the tests that need one are left out
 * without privilege to become one.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dax/shm.h"
#include "unit.h"
#include "util/fault.h"

#define UNITS	100000U
#define USER	65534U
#define GROUP	65533U

static char base[64], dir[128], pool[96];
static const uint8_t uuid[16] = { 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
#define FOLIOS	"deadbeef-0102-0304-0506-0708090a0b0c.folios"
#define GRANTS	"deadbeef-0102-0304-0506-0708090a0b0c.grants"
static struct err err;

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
	err.text[0] = '\0';
}

static void teardown(void)
{
	fault_disarm(FAULT_ALLOC);
	nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct dax_shm_config config(void)
{
	struct dax_shm_config c = { .dir = dir, .units = UNITS, .unit_shift = 12, .like = -1 };

	memcpy(c.uuid, uuid, sizeof(uuid));
	return c;
}

static struct dax_shm *opened(const struct dax_shm_config *c, bool expect_reused)
{
	struct dax_shm *shm = NULL;
	bool reused = !expect_reused;
	int ret = dax_shm_open(&shm, c, &reused, &err);

	ck_assert_msg(!ret, "%d: %s", ret, err.text);
	ck_assert_int_eq(reused, expect_reused);
	return shm;
}

/* Refused, with a line that names the path and says `words`. */
static void refused_with(const struct dax_shm_config *c, int code, const char *words)
{
	struct dax_shm *shm = NULL;
	bool reused;

	err.text[0] = '\0';
	ck_assert_int_eq(dax_shm_open(&shm, c, &reused, &err), code);
	ck_assert_ptr_null(shm);
	ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" has no \"%s\"", err.text, words);
	ck_assert_msg(strstr(err.text, base) == err.text, "\"%s\" does not begin with the path", err.text);
	ck_assert_int_eq(dax_shm_open(&shm, c, &reused, NULL), code);
}

static void refused(int code, const char *words)
{
	struct dax_shm_config c = config();

	refused_with(&c, code, words);
}

static const char *in_dir(const char *name)
{
	static char path[2][192];
	static unsigned int i;

	i = !i;
	snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

static struct stat stat_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	return st;
}

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

static void fill_file(const char *path)
{
	static const char page[4096] = "full";
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, page, sizeof(page)), sizeof(page));
	close(fd);
}

/* Run fn in a child as an ordinary user, in that user's own directory. */
static void as_user(void (*fn)(void))
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

/* ---- What is refused ------------------------------------------------------------------------------------- */

static void refuse_directories(void)
{
	char other[160];

	snprintf(other, sizeof(other), "%s-other", dir);
	ck_assert_int_eq(mkdir(other, 0755), 0);
	ck_assert_int_eq(symlink(other, dir), 0);
	refused(-EEXIST, "a symbolic link; a directory is needed");
	ck_assert_int_eq(unlink(dir), 0);
	make_file(dir, 0);
	refused(-EEXIST, "not a directory; a directory is needed");
	ck_assert_int_eq(unlink(dir), 0);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	ck_assert_int_eq(chmod(dir, 0757), 0);
	refused(-EEXIST, "mode is 0757, nobody but its owner may have write permission");
	ck_assert_int_eq(chmod(dir, 01777), 0);
	refused(-EEXIST, "mode is 1777");
	ck_assert_int_eq(chmod(dir, 0775), 0);
	refused(-EEXIST, "mode is 0775");
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(rmdir(other), 0);
}

START_TEST(directory_that_is_not_ours_alone_is_refused)
{
	refuse_directories();
	if (geteuid() == 0) {
		ck_assert_int_eq(mkdir(dir, 0755), 0);
		ck_assert_int_eq(chown(dir, USER, GROUP), 0);
		refused(-EEXIST, "owned by uid 65534, has to be owned by uid 0");
	}
}
END_TEST

START_TEST(link_to_a_directory_is_seen_through_a_slash)
{
	struct dax_shm_config c = config();
	char slash[160];

	snprintf(slash, sizeof(slash), "%s//", dir);
	ck_assert_int_eq(symlink(base, dir), 0);
	c.dir = slash;
	refused_with(&c, -EEXIST, "a symbolic link");
}
END_TEST

START_TEST(directory_that_cannot_be_made_is_named)
{
	struct dax_shm_config c = config();
	char deep[128];

	snprintf(deep, sizeof(deep), "%s/a/b", base);
	c.dir = deep;
	refused_with(&c, -ENOENT, "cannot make the directory");
}
END_TEST

static void refuse_file(const char *name, off_t size)
{
	const char *path = in_dir(name);
	char other[160];

	snprintf(other, sizeof(other), "%s/other", dir);
	make_file(other, size);
	ck_assert_int_eq(symlink(other, path), 0);
	refused(-EEXIST, "a symbolic link; a regular file is needed");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(link(other, path), 0);
	refused(-EEXIST, "has 2 links, has to have 1");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	refused(-EEXIST, "not a regular file");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	refused(-EEXIST, "a directory; a regular file is needed");
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(rename(other, path), 0);
	ck_assert_int_eq(chmod(path, 0622), 0);
	refused(-EEXIST, "mode is 0622");
	ck_assert_int_eq(chmod(path, 0600), 0);
	ck_assert_int_eq(truncate(path, size + 8), 0);
	refused(-EEXIST, "bytes, has to have");
	ck_assert_int_eq(truncate(path, size), 0);
	ck_assert_str_eq(path, in_dir(name));
	ck_assert_int_eq(access(in_dir(strcmp(name, FOLIOS) ? FOLIOS : GRANTS), F_OK), -1);
}

static void refuse_files(void)
{
	struct dax_shm_config c = config();

	ck_assert_int_eq(mkdir(dir, 0755), 0);
	refuse_file(FOLIOS, (off_t)dax_shm_folios_bytes(UNITS));
	ck_assert_int_eq(unlink(in_dir(FOLIOS)), 0);
	refuse_file(GRANTS, 8192);
	dax_shm_close(opened(&c, true), true);
}

START_TEST(files_that_are_not_ours_are_refused)
{
	refuse_files();
	if (geteuid() == 0) {
		make_file(in_dir(GRANTS), 4096);
		ck_assert_int_eq(chown(in_dir(GRANTS), USER, GROUP), 0);
		refused(-EEXIST, "owned by uid 65534, has to be owned by uid 0");
		ck_assert_int_eq(access(in_dir(FOLIOS), F_OK), -1);
	}
}
END_TEST

static void user_refusals(void)
{
	snprintf(dir, sizeof(dir), "%s/inodax", pool);
	refuse_directories();
	refuse_files();
}

/* The same without root's rights: `pool` serves as the user's directory. */
START_TEST(ordinary_user_is_refused_the_same)
{
	ck_assert_int_eq(mkdir(pool, 0755), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(chown(pool, USER, GROUP), 0);
	as_user(user_refusals);
}
END_TEST

static void user_in_roots_directory(void)
{
	refused(-EEXIST, "owned by uid 0, has to be owned by uid 65534");
}

START_TEST(ordinary_user_is_refused_roots_directory)
{
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	as_user(user_in_roots_directory);
}
END_TEST

START_TEST(second_daemon_with_the_uuid_is_refused)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm = opened(&c, false);

	refused(-EBUSY, "locked by another daemon");
	ck_assert_int_eq(access(in_dir(FOLIOS), F_OK), 0);
	dax_shm_close(shm, true);
	dax_shm_close(opened(&c, false), true);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm;
	bool reused;

	c.units = 0;
	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, &err), -EINVAL);
	c.units = DAX_SHM_UNITS_MAX + 1;
	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, &err), -EINVAL);
}
END_TEST

START_TEST(every_failing_allocation_leaves_nothing)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm;
	unsigned long n;
	bool reused;

	ck_assert_int_eq(mkdir(dir, 0755), 0);
	for (n = 1; ; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (!dax_shm_open(&shm, &c, &reused, &err))
			break;
		ck_assert_ptr_nonnull(strstr(err.text, "Cannot allocate memory"));
		ck_assert_int_eq(access(in_dir(FOLIOS), F_OK), -1);
		ck_assert_int_eq(access(in_dir(GRANTS), F_OK), -1);
	}
	ck_assert_uint_eq(n, 5);
	fault_arm(FAULT_ALLOC, 1);
	ck_assert_int_eq(dax_shm_lists_grow(shm, 4096), -ENOSPC);
	ck_assert_uint_eq(dax_shm_lists_size(shm), 0);
	dax_shm_close(shm, true);
}
END_TEST

/* ---- What is there --------------------------------------------------------------------------------------- */

static void use(struct dax_shm *shm)
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

START_TEST(memory_without_a_name_is_used)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm;

	c.dir = NULL;
	shm = opened(&c, false);
	use(shm);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(table_takes_memory_only_where_written)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm;

	c.units = 1ULL << 30;
	shm = opened(&c, false);
	dax_shm_words(shm)[c.units - 1] = 1;
	ck_assert_int_eq(stat_of(in_dir(FOLIOS)).st_size, (off_t)dax_shm_folios_bytes(c.units));
	ck_assert_int_le(stat_of(in_dir(FOLIOS)).st_blocks, 2 * 8);
	ck_assert_int_eq(stat_of(in_dir(GRANTS)).st_blocks, 0);
	dax_shm_close(shm, true);
	ck_assert_int_eq(access(in_dir(FOLIOS), F_OK), -1);
	ck_assert_int_eq(access(in_dir(GRANTS), F_OK), -1);
	ck_assert_int_eq(stat_of(dir).st_mode & 07777, 0755);
}
END_TEST

START_TEST(what_was_left_is_used_again_with_words_zeroed)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm = opened(&c, false);

	use(shm);
	dax_shm_close(shm, false);
	shm = opened(&c, true);
	ck_assert_uint_eq(dax_shm_lists_size(shm), 1 << 20);
	ck_assert_uint_eq(((unsigned char *)dax_shm_lists(shm))[8191], 9);
	ck_assert_uint_eq(dax_shm_words(shm)[0], 0);
	ck_assert_uint_eq(dax_shm_words(shm)[UNITS - 1], 0);
	ck_assert_uint_eq(dax_shm_header(shm)->drain, 0);
	ck_assert_int_le(stat_of(in_dir(FOLIOS)).st_blocks, 3 * 8);
	dax_shm_close(shm, true);
	shm = opened(&c, false);
	ck_assert_uint_eq(dax_shm_lists_size(shm), 0);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(files_of_a_daemon_killed_at_its_start_are_used)
{
	struct dax_shm_config c = config();

	ck_assert_int_eq(mkdir(dir, 0755), 0);
	make_file(in_dir(FOLIOS), 0);
	dax_shm_close(opened(&c, false), false);
	ck_assert_int_eq(unlink(in_dir(GRANTS)), 0);
	dax_shm_close(opened(&c, false), false);
	ck_assert_int_eq(unlink(in_dir(FOLIOS)), 0);
	dax_shm_close(opened(&c, false), true);
}
END_TEST

START_TEST(failed_open_keeps_the_lists_that_were_there)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm = opened(&c, false);
	bool reused;

	use(shm);
	dax_shm_close(shm, false);
	fault_arm(FAULT_ALLOC, 3);
	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, &err), -ENOMEM);
	shm = opened(&c, true);
	ck_assert_uint_eq(((unsigned char *)dax_shm_lists(shm))[8191], 9);
	dax_shm_close(shm, true);
}
END_TEST

/* A filesystem of one page, which goes with the mount namespace of this test. */
START_TEST(full_filesystem_is_an_error_and_no_signal)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm;

	ck_assert_int_eq(mkdir(dir, 0755), 0);
	if (geteuid() || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", dir, "tmpfs", 0, "size=4k,mode=755")) {
		printf("left out: mounting needs privilege\n");
		return;
	}
	shm = opened(&c, false);
	ck_assert_int_eq(dax_shm_lists_grow(shm, 4096), -ENOSPC);
	ck_assert_uint_eq(dax_shm_lists_size(shm), 0);
	ck_assert_int_eq(dax_shm_header(shm)->pid, getpid());
	dax_shm_close(shm, true);
	make_file(in_dir("filler"), 0);
	fill_file(in_dir("filler"));
	refused(-ENOSPC, "no room for its first page");
	ck_assert_int_eq(access(in_dir(FOLIOS), F_OK), -1);
	ck_assert_int_eq(umount(dir), 0);
}
END_TEST

/* ---- Who may read ---------------------------------------------------------------------------------------- */

static struct dax_shm *open_like(mode_t mode, uid_t uid, gid_t gid)
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
	ret = dax_shm_open(&shm, &c, &reused, &err);
	ck_assert_msg(!ret, "%d: %s", ret, err.text);
	close(c.like);
	return shm;
}

static void check_access(mode_t mode, uid_t uid, gid_t gid)
{
	static const char *const names[] = { FOLIOS, GRANTS };
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct stat st = stat_of(in_dir(names[i]));

		ck_assert_uint_eq(st.st_mode & 07777, mode);
		ck_assert_uint_eq(st.st_uid, uid);
		ck_assert_uint_eq(st.st_gid, gid);
	}
}

START_TEST(files_have_the_read_bits_of_the_pool)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	struct dax_shm *shm;

	dax_shm_close(open_like(0660, uid, gid), false);
	check_access(0640, uid, gid);
	dax_shm_close(open_like(0604, uid, gid), false);
	check_access(0604, uid, gid);
	shm = open_like(0600, uid, gid);
	check_access(0600, uid, gid);
	dax_shm_close(shm, true);
	if (geteuid())
		return;
	dax_shm_close(open_like(0660, USER, GROUP), false);
	check_access(0440, USER, GROUP);
	dax_shm_close(open_like(0640, USER, GROUP), true);
}
END_TEST

static void open_roots_pool(void)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm;

	snprintf(dir, sizeof(dir), "%s/user", base);
	c.dir = dir;
	c.like = open(pool, O_RDONLY);
	ck_assert_int_ge(c.like, 0);
	shm = opened(&c, false);
	check_access(0604, USER, GROUP);
	dax_shm_close(shm, true);
}

/* A user who serves a pool that is another's: its group is not the user's, and gets nothing. */
START_TEST(bits_of_a_group_that_cannot_be_given_go_to_nobody)
{
	char user[128];

	make_file(pool, 4096);
	ck_assert_int_eq(chmod(pool, 0664), 0);
	snprintf(user, sizeof(user), "%s/user", base);
	ck_assert_int_eq(mkdir(user, 0755), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(chown(user, USER, GROUP), 0);
	as_user(open_roots_pool);
}
END_TEST

/* ---- A reader -------------------------------------------------------------------------------------------- */

static void view_refused(uint32_t owner, int code, const char *words)
{
	struct dax_shm_view view;

	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, owner, &err), code);
	ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" has no \"%s\"", err.text, words);
	ck_assert_msg(strstr(err.text, base) == err.text, "\"%s\" does not begin with the path", err.text);
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, owner, NULL), code);
}

static void view_of_user(void)
{
	struct dax_shm_view view;

	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, 0, &err), 0);
	ck_assert_uint_eq(view.words[5], 55);
	dax_shm_view_close(&view);
}

static void no_view_of_user(void)
{
	view_refused(0, -EACCES, "cannot open for reading");
}

START_TEST(user_sees_what_the_pools_mode_allows)
{
	struct dax_shm *shm = open_like(0644, 0, 0);

	dax_shm_words(shm)[5] = 55;
	as_user(view_of_user);
	dax_shm_close(shm, false);
	shm = open_like(0640, 0, 0);
	as_user(no_view_of_user);
	dax_shm_close(shm, true);
	shm = open_like(0640, 0, GROUP);
	dax_shm_words(shm)[5] = 55;
	as_user(view_of_user);
	dax_shm_close(shm, true);
}
END_TEST

static int fork_store(const void *at)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile unsigned char *)(uintptr_t)at = 1;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(view_shows_and_cannot_change)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm = opened(&c, false);
	struct dax_shm_view view;

	use(shm);
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &err), 0);
	ck_assert_uint_eq(view.units, UNITS);
	ck_assert_uint_eq(view.words[UNITS - 1], 8);
	ck_assert_uint_eq(view.lists_size, 1 << 20);
	ck_assert_uint_eq(((const unsigned char *)view.lists)[8191], 9);
	ck_assert_int_ne(fork_store(view.words), 0);
	ck_assert_int_ne(fork_store(view.lists), 0);
	ck_assert_int_ne(fork_store(view.header), 0);
	dax_shm_view_close(&view);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(view_sees_growth_and_removal)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm = opened(&c, false);
	struct dax_shm_view view;

	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &err), 0);
	ck_assert_uint_eq(view.lists_size, 0);
	use(shm);
	ck_assert(dax_shm_view_refresh(&view));
	ck_assert_uint_eq(view.lists_size, 1 << 20);
	ck_assert_uint_eq(((const unsigned char *)view.lists)[(1 << 20) - 1], 1);
	ck_assert_uint_eq(view.words[0], 7);
	dax_shm_close(shm, false);
	ck_assert(dax_shm_view_refresh(&view));
	ck_assert_int_eq(view.header->pid, 0);
	dax_shm_close(opened(&c, true), true);
	ck_assert(!dax_shm_view_refresh(&view));
	dax_shm_view_close(&view);
}
END_TEST

static long pages_there(const struct dax_shm_view *view)
{
	struct stat st;

	ck_assert_int_eq(fstat(view->fd, &st), 0);
	return st.st_blocks / 8;
}

START_TEST(view_finds_words_without_filling_holes)
{
	struct dax_shm_config c = config();
	struct dax_shm_view view;
	struct dax_shm *shm;

	c.units = 1ULL << 22;
	shm = opened(&c, false);
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &err), 0);
	ck_assert_uint_eq(dax_shm_view_next(&view, 0), c.units);
	ck_assert_int_eq(pages_there(&view), 1);
	dax_shm_words(shm)[3] = 1;
	dax_shm_words(shm)[511] = 1;
	dax_shm_words(shm)[70000] = 1;
	dax_shm_words(shm)[c.units - 1] = 1;
	dax_shm_words(shm)[5000] = 0;
	ck_assert_int_eq(pages_there(&view), 5);
	ck_assert_uint_eq(dax_shm_view_next(&view, 0), 3);
	ck_assert_uint_eq(dax_shm_view_next(&view, 3), 3);
	ck_assert_uint_eq(dax_shm_view_next(&view, 4), 511);
	ck_assert_uint_eq(dax_shm_view_next(&view, 512), 70000);
	ck_assert_uint_eq(dax_shm_view_next(&view, 70001), c.units - 1);
	ck_assert_uint_eq(dax_shm_view_next(&view, c.units), c.units);
	ck_assert_int_eq(pages_there(&view), 5);
	dax_shm_view_close(&view);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(view_of_the_last_page_ends_with_the_units)
{
	struct dax_shm_config c = config();
	struct dax_shm_view view;
	struct dax_shm *shm;

	c.units = 700;
	shm = opened(&c, false);
	dax_shm_words(shm)[699] = 1;
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &err), 0);
	ck_assert_uint_eq(dax_shm_view_next(&view, 0), 699);
	dax_shm_words(shm)[699] = 0;
	ck_assert_uint_eq(dax_shm_view_next(&view, 600), 700);
	dax_shm_view_close(&view);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(view_refuses_what_is_not_this_pools)
{
	struct dax_shm_config c = config();
	struct dax_shm_header *h;
	struct dax_shm *shm;

	view_refused(geteuid(), -ENOENT, "cannot open the directory");
	shm = opened(&c, false);
	h = dax_shm_header(shm);
	h->version++;
	view_refused(geteuid(), -EPROTO, "version is 2, this program knows 1");
	h->version--;
	h->uuid[3] ^= 1;
	view_refused(geteuid(), -EPROTO, "uuid");
	h->uuid[3] ^= 1;
	h->magic ^= 1;
	view_refused(geteuid(), -EPROTO, "magic is 0x");
	h->magic = 0;
	view_refused(geteuid(), -ENOENT, "its daemon is starting");
	h->magic = DAX_SHM_MAGIC;
	h->units += 513;
	view_refused(geteuid(), -EPROTO, "not what 100513 map units need");
	h->units = UINT64_MAX;
	view_refused(geteuid(), -EPROTO, "not what 18446744073709551615");
	h->units = UNITS;
	ck_assert_int_eq(rename(in_dir(GRANTS), in_dir("kept")), 0);
	view_refused(geteuid(), -ENOENT, "no daemon gives direct access");
	ck_assert_int_eq(symlink("kept", in_dir(GRANTS)), 0);
	view_refused(geteuid(), -EPERM, "a symbolic link, a regular file is needed");
	dax_shm_close(shm, true);
	view_refused(geteuid(), -ENOENT, "no daemon gives direct access");
	make_file(in_dir(FOLIOS), 0);
	view_refused(geteuid(), -ENOENT, "no bytes");
	ck_assert_int_eq(truncate(in_dir(FOLIOS), 4096), 0);
	view_refused(geteuid(), -EPROTO, "4096 bytes");
}
END_TEST

START_TEST(view_refuses_files_of_a_third_user)
{
	struct dax_shm *shm;

	if (geteuid()) {
		printf("left out: giving files away needs privilege\n");
		return;
	}
	shm = open_like(0644, USER, GROUP);
	view_refused(1000, -EPERM, "owned by uid 65534, has to be owned by uid 1000");
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(view_without_memory_leaves_nothing)
{
	struct dax_shm_config c = config();
	struct dax_shm *shm = opened(&c, false);
	struct dax_shm_view view;
	unsigned long n;

	for (n = 1; ; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (!dax_shm_view_open(&view, dir, uuid, geteuid(), &err))
			break;
		ck_assert_ptr_nonnull(strstr(err.text, "cannot map"));
		ck_assert_int_eq(view.fd, -1);
	}
	ck_assert_uint_eq(n, 3);
	dax_shm_view_close(&view);
	dax_shm_close(shm, true);
}
END_TEST

START_TEST(default_directory_is_in_the_users_runtime_directory)
{
	char where[64], small[8];

	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	ck_assert_int_eq(dax_shm_default_dir(where, sizeof(where)), 0);
	ck_assert_str_eq(where, geteuid() ? "/run/user/1/inodax" : "/run/inodax");
	ck_assert_int_eq(dax_shm_default_dir(small, sizeof(small)), -ENAMETOOLONG);
}
END_TEST

static void users_default(void)
{
	char where[64];

	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	ck_assert_int_eq(dax_shm_default_dir(where, sizeof(where)), 0);
	ck_assert_str_eq(where, "/run/user/1/inodax");
	setenv("XDG_RUNTIME_DIR", "here", 1);
	ck_assert_int_eq(dax_shm_default_dir(where, sizeof(where)), -ENOENT);
	unsetenv("XDG_RUNTIME_DIR");
	ck_assert_int_eq(dax_shm_default_dir(where, sizeof(where)), -ENOENT);
}

START_TEST(user_without_a_runtime_directory_has_no_default)
{
	as_user(users_default);
}
END_TEST

static TCase *add_case(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	return tc;
}

static void add_writer(Suite *s)
{
	TCase *tc = add_case(s, "refusals");

	tcase_add_test(tc, directory_that_is_not_ours_alone_is_refused);
	tcase_add_test(tc, link_to_a_directory_is_seen_through_a_slash);
	tcase_add_test(tc, directory_that_cannot_be_made_is_named);
	tcase_add_test(tc, files_that_are_not_ours_are_refused);
	tcase_add_test(tc, ordinary_user_is_refused_the_same);
	tcase_add_test(tc, ordinary_user_is_refused_roots_directory);
	tcase_add_test(tc, second_daemon_with_the_uuid_is_refused);
	tcase_add_test(tc, impossible_sizes_are_refused);
	tcase_add_test(tc, every_failing_allocation_leaves_nothing);
	tc = add_case(s, "contents");
	tcase_add_test(tc, memory_without_a_name_is_used);
	tcase_add_test(tc, table_takes_memory_only_where_written);
	tcase_add_test(tc, what_was_left_is_used_again_with_words_zeroed);
	tcase_add_test(tc, files_of_a_daemon_killed_at_its_start_are_used);
	tcase_add_test(tc, full_filesystem_is_an_error_and_no_signal);
	tcase_add_test(tc, failed_open_keeps_the_lists_that_were_there);
	tcase_add_test(tc, files_have_the_read_bits_of_the_pool);
	tcase_add_test(tc, bits_of_a_group_that_cannot_be_given_go_to_nobody);
}

static void add_reader(Suite *s)
{
	TCase *tc = add_case(s, "reader");

	tcase_add_test(tc, user_sees_what_the_pools_mode_allows);
	tcase_add_test(tc, view_shows_and_cannot_change);
	tcase_add_test(tc, view_sees_growth_and_removal);
	tcase_add_test(tc, view_finds_words_without_filling_holes);
	tcase_add_test(tc, view_of_the_last_page_ends_with_the_units);
	tcase_add_test(tc, view_refuses_what_is_not_this_pools);
	tcase_add_test(tc, view_refuses_files_of_a_third_user);
	tcase_add_test(tc, view_without_memory_leaves_nothing);
	tcase_add_test(tc, default_directory_is_in_the_users_runtime_directory);
	tcase_add_test(tc, user_without_a_runtime_directory_has_no_default);
}

int main(void)
{
	Suite *s = suite_create("shm");

	add_writer(s);
	add_reader(s);
	return unit_run(s);
}
