/*
 * A pool's shared memory: what dax_shm_open() refuses to use and in which words, what it uses again, and whom the files
 * let read. What a reader sees is in check_shm_view.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm_unit.h"
#include "util/fault.h"

/* Refused, with a line that names the path and says `words`. */
static void refused_with(const struct dax_shm_config *c, int code, const char *words)
{
	struct dax_shm *shm = NULL;
	bool reused;

	last_err.text[0] = '\0';
	ck_assert_int_eq(dax_shm_open(&shm, c, &reused, &last_err), code);
	ck_assert_ptr_null(shm);
	ck_assert_msg(strstr(last_err.text, words) != NULL, "\"%s\" has no \"%s\"", last_err.text, words);
	ck_assert_msg(strstr(last_err.text, base) == last_err.text, "\"%s\" does not begin with the path",
		      last_err.text);
	ck_assert_int_eq(dax_shm_open(&shm, c, &reused, NULL), code);
}

static void refused(int code, const char *words)
{
	struct dax_shm_config c = config();

	refused_with(&c, code, words);
}

static struct stat stat_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	return st;
}

static void fill_file(const char *path)
{
	static const char page[4096] = "full";
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, page, sizeof(page)), sizeof(page));
	close(fd);
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
	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, &last_err), -EINVAL);
	c.units = DAX_SHM_UNITS_MAX + 1;
	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, &last_err), -EINVAL);
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
		if (!dax_shm_open(&shm, &c, &reused, &last_err))
			break;
		ck_assert_ptr_nonnull(strstr(last_err.text, "Cannot allocate memory"));
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
	ck_assert_int_eq(dax_shm_open(&shm, &c, &reused, &last_err), -ENOMEM);
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

int main(void)
{
	Suite *s = suite_create("shm");
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
	return unit_run(s);
}
