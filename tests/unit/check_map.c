/*
 * Maps, with a daemon that is played.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "map_daemon.h"

/* ---- Mapping ---------------------------------------------------------------------------------------------- */

START_TEST(a_map_is_the_pool)
{
	struct inodax_map *m = map(0, FILE_BYTES, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE);
	struct inodax_query q = query(m, 5000);
	char letter = 0;
	int other = open(pool, O_RDONLY);

	ck_assert_uint_eq(q.kind, INODAX_DIRECT);
	ck_assert_uint_eq(q.offset, 0);
	ck_assert_uint_eq(q.length, FILE_BYTES);
	ck_assert_uint_eq(q.page_shift, 12);
	ck_assert_str_eq(q.reason, "");
	ck_assert_uint_eq((uintptr_t)inodax_map_address(m) % (2 << 20), 0);
	ck_assert_int_eq(*at(m, FILE_BYTES - 1), 'P');
	*at(m, 12345) = 'x';
	ck_assert_int_eq(pread(other, &letter, 1, (off_t)POOL_AT + 12345), 1);
	ck_assert_int_eq(letter, 'x');
	ck_assert_int_eq(inodax_sync(m, 0, FILE_BYTES), 0);
	ck_assert_int_eq(inodax_sync(m, 1, FILE_BYTES), -EINVAL);
	ck_assert_int_eq(inodax_unmap(m), 0);
	ck_assert_int_eq(fake.unmapped, 1);
}
END_TEST

START_TEST(parts_of_a_file)
{
	struct inodax_map *m = map(3 * UNIT, 100, 0), *n;
	struct inodax_query q = query(m, 99);

	ck_assert_uint_eq(q.offset, 3 * UNIT);
	ck_assert_uint_eq(q.length, 100);
	ck_assert_int_eq(inodax_query(m, 100, &q), -EINVAL);
	n = map(7 * UNIT, 2 * UNIT, 0);
	ck_assert_int_eq(fake.opened, 1);
	ck_assert_int_eq(fake.areas, 2);
	inodax_unmap(m);
	ck_assert_int_eq(*at(n, 0), 'P');
	inodax_unmap(n);
	inodax_unmap(map(0, 1, 0));
	ck_assert_int_eq(fake.opened, 2);
}
END_TEST

START_TEST(answers_in_small_parts)
{
	struct inodax_map *m;

	fake.limit = 3 * UNIT;
	m = map(0, FILE_BYTES, INODAX_MAP_REQUIRE);
	ck_assert_uint_eq(query(m, 0).length, FILE_BYTES);
	ck_assert_int_gt(fake.faults, 300);
	inodax_unmap(m);
}
END_TEST

START_TEST(beyond_the_end)
{
	struct inodax_map *m;

	ck_assert_int_eq(ftruncate(fd, 2 * UNIT), 0);
	fake.eof = 2 * UNIT;
	m = map(0, 4 * UNIT, INODAX_MAP_REQUIRE);
	ck_assert_uint_eq(query(m, 2 * UNIT - 1).kind, INODAX_DIRECT);
	ck_assert_uint_eq(query(m, 2 * UNIT).kind, INODAX_BEYOND);
	signal(SIGBUS, SIG_DFL);	/* sanitizers have a handler */
	(void)*at(m, 2 * UNIT);
}
END_TEST

START_TEST(refused)
{
	struct inodax_map *m;
	int other;

	ck_assert_int_eq(inodax_map(fd, 1, 1, 0, &m), -EINVAL);
	ck_assert_int_eq(inodax_map(fd, 0, 0, 0, &m), -EINVAL);
	ck_assert_int_eq(inodax_map(fd, 0, 1, 1U << 9, &m), -EINVAL);
	ck_assert_int_eq(inodax_map(999, 0, 1, 0, &m), -EBADF);
	other = open(file, O_RDONLY);
	ck_assert_int_eq(inodax_map(other, 0, 1, INODAX_MAP_WRITE, &m), -EACCES);
	other = open("/dev/shm", O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(inodax_map(other, 0, 1, 0, &m), -EOPNOTSUPP);
	fake.open_error = -ENOTTY;
	ck_assert_int_eq(inodax_map(fd, 0, 1, 0, &m), -EOPNOTSUPP);
}
END_TEST

/* ---- No direct access ------------------------------------------------------------------------------------- */

START_TEST(a_pool_that_is_none)
{
	struct inodax_map *m;
	int made = open(pool, O_RDWR);

	ck_assert_int_eq(pwrite(made, "nonsense", 8, 0), 8);
	close(made);
	m = map(0, UNIT, INODAX_MAP_WRITE);
	expect_cached(m, "the pool: ");
	ck_assert_int_eq(inodax_sync(m, 0, 1), 0);
	inodax_unmap(m);
	ck_assert_int_eq(inodax_map(fd, 0, UNIT, INODAX_MAP_REQUIRE, &m), -EOPNOTSUPP);
}
END_TEST

START_TEST(a_daemon_that_gives_it_later)
{
	struct inodax_map *m;

	fake.open_error = -EOPNOTSUPP;
	m = map(0, UNIT, 0);
	expect_cached(m, "the daemon gives no direct access");
	fake.open_error = 0;
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'P');
	inodax_unmap(m);
}
END_TEST

START_TEST(an_area_that_is_refused)
{
	struct inodax_map *m;

	fake.map_error = -EFBIG;
	m = map(0, UNIT, INODAX_MAP_WRITE);
	expect_cached(m, "more blocks would have to be allocated");
	inodax_unmap(m);
	ck_assert_int_eq(fake.unmapped, 0);
}
END_TEST

/* ---- Revocation ------------------------------------------------------------------------------------------- */

START_TEST(revoked_then_direct_again)
{
	struct inodax_map *m = map(UNIT, 10 * UNIT, INODAX_MAP_WRITE);
	struct direct_revoke r = { .offset = 3 * UNIT, .length = 2 * UNIT, .area = 1 };

	fake.cached = true;
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, 0), 'P');
	ck_assert_int_eq(*at(m, 2 * UNIT), 'F');
	ck_assert_int_eq(*at(m, 4 * UNIT - 1), 'F');
	ck_assert_int_eq(*at(m, 4 * UNIT), 'P');
	ck_assert_uint_eq(query(m, 2 * UNIT).kind, INODAX_CACHED);
	ck_assert_uint_eq(query(m, 2 * UNIT).offset, 3 * UNIT);
	ck_assert_uint_eq(query(m, 2 * UNIT).length, 2 * UNIT);
	fake.cached = false;
	until_kind(m, 2 * UNIT, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 2 * UNIT), 'P');
	ck_assert_uint_eq(query(m, 2 * UNIT).length, 10 * UNIT);
	inodax_unmap(m);
}
END_TEST

START_TEST(all_revoked)
{
	struct inodax_map *m = map(0, 10 * UNIT, 0), *n = map(5 * UNIT, UNIT, 0);

	fake.cached = true;
	take_back(1, NULL, true);
	ck_assert_int_eq(*at(m, 0), 'F');
	ck_assert_int_eq(*at(n, 0), 'F');
	inodax_unmap(m);
	inodax_unmap(n);
}
END_TEST

START_TEST(revoked_while_answered)
{
	struct inodax_map *m;

	fake.revoke_in_fault = true;
	m = map(0, 10 * UNIT, 0);
	ck_assert_uint_eq(query(m, 0).kind, INODAX_CACHED);
	ck_assert_int_eq(*at(m, 0), 'F');
	inodax_unmap(m);
}
END_TEST

/* On a file of this test: libcheck has descriptors too. */
static bool is_ours(int n)
{
	char link[32], path[128];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", n);
	length = readlink(link, path, sizeof(path) - 1);
	return length > 0 && !strncmp(path, file, strlen("/dev/shm/check_map."));
}

/* Whatever a program closes: what is mapped stays, and can be taken back. */
START_TEST(descriptors_closed)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);
	struct direct_revoke r = { .offset = UNIT, .length = UNIT, .area = 1 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)DIRECT_LOCK_BASE + 1 };
	int other;

	for (int i = 3; i < 1024; i++)
		if (is_ours(i))
			close(i);
	ck_assert_int_eq(*at(m, 0), 'P');
	other = open(pool, O_RDWR);
	ck_assert_int_eq(fcntl(other, F_OFD_GETLK, &lock), 0);
	ck_assert_int_eq(lock.l_type, F_WRLCK);
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, UNIT), 'F');
	ck_assert_int_eq(*at(m, 2 * UNIT), 'P');
	*at(m, UNIT) = 'x';
	ck_assert_int_eq(inodax_sync(m, 0, 1), 0);
	inodax_unmap(m);
	ck_assert_int_eq(fcntl(other, F_GETFD), 0);
	lock.l_type = F_WRLCK;
	lock.l_pid = 0;
	ck_assert_int_eq(fcntl(other, F_OFD_GETLK, &lock), 0);
	ck_assert_int_eq(lock.l_type, F_UNLCK);
}
END_TEST

/* ---- Fork ------------------------------------------------------------------------------------------------- */

START_TEST(both_sides_of_a_fork)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);
	int status;
	pid_t pid;

	usleep(50000);	/* sanitizers: a fork while a thread starts leaves their allocator locked in the child */
	pid = fork();

	if (!pid) {
		fake.opened = 4;	/* not the numbers that the parent gets */
		if (*at(m, 0) != 'F')
			_exit(1);
		until_kind(m, 0, INODAX_DIRECT);
		if (*at(m, 0) != 'P' || fake.opened != 5)
			_exit(2);
		inodax_unmap(m);
		_exit(0);
	}
	ck_assert_uint_eq(query(m, 0).kind, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'P');
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(fake.opened, 1);
	inodax_unmap(m);
}
END_TEST

/* What no handler sees: the child has nothing, rather than what nobody answers for. */
START_TEST(a_fork_without_handlers)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);
	int status;
	pid_t pid = _Fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);	/* sanitizers have a handler */
		_exit(*at(m, 0));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_int_eq(*at(m, 0), 'P');
	inodax_unmap(m);
}
END_TEST

/* The daemon was another since: it does not know the grant. */
START_TEST(a_grant_that_is_not_known)
{
	struct inodax_map *m = map(0, 10 * UNIT, INODAX_MAP_WRITE);

	fake.stale[1] = true;
	take_back(1, NULL, true);
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'P');
	ck_assert_int_eq(fake.opened, 2);
	inodax_unmap(m);
}
END_TEST

/* ---- Suite ------------------------------------------------------------------------------------------------ */

static Suite *map_suite(void)
{
	Suite *s = suite_create("map");
	TCase *tc = tcase_create("map");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_map_is_the_pool);
	tcase_add_test(tc, parts_of_a_file);
	tcase_add_test(tc, answers_in_small_parts);
	tcase_add_test_raise_signal(tc, beyond_the_end, SIGBUS);
	tcase_add_test(tc, refused);
	tcase_add_test(tc, a_pool_that_is_none);
	tcase_add_test(tc, a_daemon_that_gives_it_later);
	tcase_add_test(tc, an_area_that_is_refused);
	tcase_add_test(tc, revoked_then_direct_again);
	tcase_add_test(tc, all_revoked);
	tcase_add_test(tc, revoked_while_answered);
	tcase_add_test(tc, descriptors_closed);
	tcase_add_test(tc, both_sides_of_a_fork);
	tcase_add_test(tc, a_fork_without_handlers);
	tcase_add_test(tc, a_grant_that_is_not_known);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(map_suite());
}
