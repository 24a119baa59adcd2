/*
 * A reader of a pool's shared memory: what dax_shm_view_open() shows and whom, what it refuses and in which words, and
 * which directory it looks in when it is told none.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm_unit.h"
#include "util/fault.h"

static void view_refused(uint32_t owner, int code, const char *words)
{
	struct dax_shm_view view;

	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, owner, &last_err), code);
	ck_assert_msg(strstr(last_err.text, words) != NULL, "\"%s\" has no \"%s\"", last_err.text, words);
	ck_assert_msg(strstr(last_err.text, base) == last_err.text, "\"%s\" does not begin with the path",
		      last_err.text);
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, owner, NULL), code);
}

static void view_of_user(void)
{
	struct dax_shm_view view;

	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, 0, &last_err), 0);
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
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &last_err), 0);
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

	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &last_err), 0);
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
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &last_err), 0);
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
	ck_assert_int_eq(dax_shm_view_open(&view, dir, uuid, geteuid(), &last_err), 0);
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
		if (!dax_shm_view_open(&view, dir, uuid, geteuid(), &last_err))
			break;
		ck_assert_ptr_nonnull(strstr(last_err.text, "cannot map"));
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

int main(void)
{
	Suite *s = suite_create("shm_view");
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
	return unit_run(s);
}
