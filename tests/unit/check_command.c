/*
 * command_find: what is found is what execvp(3) runs, whatever PATH is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"
#include "util/command.h"

#define NAME	"inodax-command"

/* Two directories: `second` has the program, `first` a file of its name that is not one. */
static char dir[32], first[64], second[64], program[128], other[128], path[128];

static void make_file(const char *name, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void setup(void)
{
	strcpy(dir, "/tmp/inodax-command.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(first, sizeof(first), "%s/first", dir);
	snprintf(second, sizeof(second), "%s/second", dir);
	snprintf(other, sizeof(other), "%s/" NAME, first);
	snprintf(program, sizeof(program), "%s/" NAME, second);
	ck_assert_int_eq(mkdir(first, 0700) | mkdir(second, 0700), 0);
	make_file(other, 0600);
	make_file(program, 0700);
}

static void teardown(void)
{
	unlink(other);
	unlink(program);
	rmdir(first);
	rmdir(second);
	rmdir(dir);
}

static void set_path(const char *before, const char *after)
{
	char dirs[256];

	snprintf(dirs, sizeof(dirs), "%s%s%s", before, second, after);
	ck_assert_int_eq(setenv("PATH", dirs, 1), 0);
}

static void expect(const char *wanted)
{
	memset(path, 0, sizeof(path));
	ck_assert(command_find(NAME, path, sizeof(path)));
	ck_assert_str_eq(path, wanted);
}

START_TEST(the_first_directory_with_a_program_has_it)
{
	char dirs[128];

	snprintf(dirs, sizeof(dirs), "/none:%s:", first);
	set_path(dirs, ":/bin");
	expect(program);
	set_path("", "");
	expect(program);
}
END_TEST

START_TEST(what_is_in_no_directory_is_not_found)
{
	ck_assert_int_eq(setenv("PATH", first, 1), 0);
	ck_assert(!command_find(NAME, path, sizeof(path)));
	set_path("", "");
	ck_assert(!command_find(NAME "-none", path, sizeof(path)));
}
END_TEST

START_TEST(an_empty_directory_is_the_one_we_are_in)
{
	ck_assert_int_eq(chdir(second), 0);
	ck_assert_int_eq(setenv("PATH", "/none:", 1), 0);
	expect("./" NAME);
	ck_assert_int_eq(setenv("PATH", "", 1), 0);
	expect("./" NAME);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(without_path_there_is_a_shell)
{
	ck_assert_int_eq(unsetenv("PATH"), 0);
	ck_assert(command_find("sh", path, sizeof(path)));
	ck_assert_str_eq(path, "/bin/sh");
}
END_TEST

START_TEST(a_name_with_a_slash_is_not_looked_for)
{
	set_path("", "");
	ck_assert(command_find("none/" NAME, path, sizeof(path)));
	ck_assert_str_eq(path, "none/" NAME);
}
END_TEST

START_TEST(what_does_not_fit_is_not_found)
{
	set_path("", "");
	ck_assert(command_find(NAME, path, strlen(program) + 1));
	ck_assert(!command_find(NAME, path, strlen(program)));
	ck_assert(command_find("a/b", path, 4));
	ck_assert(!command_find("a/b", path, 3));
}
END_TEST

static Suite *command_suite(void)
{
	Suite *s = suite_create("command");
	TCase *tc = tcase_create("command");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_first_directory_with_a_program_has_it);
	tcase_add_test(tc, what_is_in_no_directory_is_not_found);
	tcase_add_test(tc, an_empty_directory_is_the_one_we_are_in);
	tcase_add_test(tc, without_path_there_is_a_shell);
	tcase_add_test(tc, a_name_with_a_slash_is_not_looked_for);
	tcase_add_test(tc, what_does_not_fit_is_not_found);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return unit_run(command_suite());
}
