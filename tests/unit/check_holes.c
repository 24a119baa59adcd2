/*
 * Holes of maps for stores, with a daemon that is played.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "map_daemon.h"

static bool has_uffd(void)
{
	int made = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (made >= 0)
		close(made);
	return made >= 0;
}

/* All of the pool is P where the file has no hole. */
static struct inodax_map *map_hole(void)
{
	fake.hole = true;
	return map(0, FILE_BYTES, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE);
}

static void expect_piece(struct inodax_map *m, size_t offset, uint32_t kind, uint64_t first, uint64_t length)
{
	struct inodax_query q = query(m, offset);

	ck_assert_uint_eq(q.kind, kind);
	ck_assert_uint_eq(q.offset, first);
	ck_assert_uint_eq(q.length, length);
}

START_TEST(a_hole_gets_blocks_where_it_is_stored_to)
{
	struct inodax_map *m = map_hole();
	char letter;
	int other = open(pool, O_RDWR);

	ck_assert_uint_eq(fake.flags, DIRECT_WRITE | DIRECT_SPARSE);
	expect_piece(m, 5, INODAX_ZERO, 0, FILE_BYTES);
	for (size_t i = 0; i < FILE_BYTES; i += UNIT)
		ck_assert_int_eq(*at(m, i + 9), 0);
	ck_assert_int_le(fake.faults, 4);
	*at(m, 10 * UNIT + 1) = 'x';
	*at(m, 600 * UNIT + 1) = 'y';
	ck_assert_int_eq(fake.stores, 2);
	ck_assert_int_eq(*at(m, 10 * UNIT), 'P');
	ck_assert_int_eq(*at(m, 11 * UNIT), 0);
	ck_assert_int_eq(pread(other, &letter, 1, (off_t)(POOL_AT + 10 * UNIT + 1)), 1);
	ck_assert_int_eq(letter, 'x');
	expect_piece(m, 10 * UNIT, INODAX_DIRECT, 10 * UNIT, UNIT);
	expect_piece(m, 11 * UNIT, INODAX_ZERO, 11 * UNIT, 589 * UNIT);
	ck_assert_int_eq(pread(other, (char *)inodax_map_address(m) + 30 * UNIT - 2, 4, (off_t)POOL_AT), 4);
	ck_assert_int_eq(*at(m, 30 * UNIT - 3), 'P');
	/* Two stores one after the other: the second got twice as much. */
	expect_piece(m, 30 * UNIT, INODAX_DIRECT, 29 * UNIT, 3 * UNIT);
	inodax_unmap(m);
}
END_TEST

START_TEST(zeros_are_taken_back)
{
	struct inodax_map *m = map_hole();
	struct direct_revoke r = { .length = FILE_BYTES, .area = 1, .flags = DIRECT_REVOKE_ZEROS };

	ck_assert_int_eq(*at(m, 7 * UNIT), 0);
	*at(m, 0) = 'x';
	fake.filled[7] = true;
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, 7 * UNIT), 'P');
	ck_assert_int_eq(*at(m, 8 * UNIT), 0);
	until_kind(m, 7 * UNIT, INODAX_DIRECT);
	until_kind(m, 8 * UNIT, INODAX_ZERO);
	until_kind(m, 0, INODAX_DIRECT);
	r.flags = 0;
	take_back(1, &r, false);
	ck_assert_int_eq(*at(m, 9 * UNIT), 0);
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'x');
	expect_piece(m, 9 * UNIT, INODAX_ZERO, 8 * UNIT, FILE_BYTES - 8 * UNIT);
	inodax_unmap(m);
}
END_TEST

START_TEST(an_answer_to_a_store_that_is_void)
{
	struct inodax_map *m = map_hole();

	fake.revoke_in_fault = true;
	*at(m, 0) = 'x';
	ck_assert_int_ge(fake.stores, 1);
	until_kind(m, 0, INODAX_DIRECT);
	ck_assert_int_eq(*at(m, 0), 'x');
	ck_assert_int_eq(*at(m, UNIT), 0);
	inodax_unmap(m);
}
END_TEST

/* The page cache has to do, until the daemon says something else. */
START_TEST(a_hole_in_a_file_that_others_cache)
{
	struct inodax_map *m = map_hole();

	fake.cached = true;
	*at(m, 3 * UNIT) = 'c';
	ck_assert_uint_eq(query(m, 3 * UNIT).kind, INODAX_CACHED);
	ck_assert_int_eq(*at(m, 3 * UNIT + 1), 'F');
	ck_assert_int_eq(fake.filled[3], false);
	fake.cached = false;
	until_kind(m, 3 * UNIT, INODAX_ZERO);
	*at(m, 3 * UNIT) = 'd';
	ck_assert_int_eq(*at(m, 3 * UNIT + 1), 'P');
	inodax_unmap(m);
}
END_TEST

START_TEST(no_blocks_for_a_store)
{
	struct inodax_map *m = map_hole();
	int other = open(pool, O_RDONLY);

	fake.full = true;
	ck_assert_int_eq(pread(other, inodax_map_address(m), 1, 0), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_uint_eq(query(m, 0).kind, INODAX_LOST);
	ck_assert_str_eq(query(m, 0).reason, "no space for the blocks of a hole");
	until_kind(m, 0, INODAX_ZERO);
	ck_assert_int_eq(*at(m, 0), 0);
	fake.full = false;
	*at(m, 0) = 'x';
	ck_assert_uint_eq(query(m, 0).kind, INODAX_DIRECT);
	fake.full = true;
	signal(SIGBUS, SIG_DFL);	/* sanitizers have a handler */
	*at(m, 5 * UNIT) = 'x';
}
END_TEST

/* New memory has pages at once, then. */
START_TEST(a_process_that_locks_its_memory)
{
	struct inodax_map *m;

	ck_assert_int_eq(mlockall(MCL_FUTURE), 0);
	m = map_hole();
	ck_assert_int_eq(*at(m, 5 * UNIT), 0);
	*at(m, 5 * UNIT) = 'x';
	*at(m, 700 * UNIT) = 'x';
	ck_assert_int_eq(*at(m, 5 * UNIT + 1), 'P');
	ck_assert_int_eq(*at(m, 700 * UNIT + 1), 'P');
	inodax_unmap(m);
}
END_TEST

START_TEST(a_fork_with_holes)
{
	struct inodax_map *m = map_hole();
	int status;
	pid_t pid;

	*at(m, 0) = 'x';
	usleep(50000);	/* as above */
	pid = fork();
	if (!pid) {
		fake.opened = 4;
		if (*at(m, 5 * UNIT) != 'F')
			_exit(1);
		until_kind(m, 5 * UNIT, INODAX_ZERO);
		if (*at(m, 5 * UNIT) || *at(m, 0) != 'x')
			_exit(2);
		*at(m, 5 * UNIT) = 'y';
		if (*at(m, 5 * UNIT + 1) != 'P')
			_exit(3);
		inodax_unmap(m);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(*at(m, 6 * UNIT), 0);
	*at(m, 6 * UNIT) = 'z';
	ck_assert_int_eq(*at(m, 6 * UNIT + 1), 'P');
	inodax_unmap(m);
}
END_TEST

/* As an ordinary user: the daemon allocates, or refuses. */
START_TEST(no_userfaultfd)
{
	struct inodax_map *m;

	ck_assert_int_eq(chown(dir, 65534, 65534) | chown(file, 65534, 65534) | chown(pool, 65534, 65534), 0);
	ck_assert_int_eq(setresgid(65534, 65534, 65534) | setresuid(65534, 65534, 65534), 0);
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);	/* /proc/self/fd */
	if (has_uffd())
		return;
	fake.hole = true;
	m = map(0, UNIT, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE);
	ck_assert_uint_eq(fake.flags, DIRECT_WRITE);
	ck_assert_int_eq(*at(m, 0), 'P');
	fake.map_error = -EFBIG;
	inodax_unmap(m);
	m = map(0, UNIT, INODAX_MAP_WRITE);
	expect_cached(m, "more blocks would have to be allocated than the mount allows; no userfaultfd: ");
	inodax_unmap(m);
}
END_TEST

static void add_hole_tests(TCase *tc)
{
	if (!geteuid())
		tcase_add_test(tc, no_userfaultfd);
	if (!has_uffd()) {
		puts("there is no userfaultfd: holes are not tested");
		return;
	}
	tcase_add_test(tc, a_hole_gets_blocks_where_it_is_stored_to);
	tcase_add_test(tc, zeros_are_taken_back);
	tcase_add_test(tc, an_answer_to_a_store_that_is_void);
	tcase_add_test(tc, a_hole_in_a_file_that_others_cache);
	tcase_add_test_raise_signal(tc, no_blocks_for_a_store, SIGBUS);
	tcase_add_test(tc, a_process_that_locks_its_memory);
	tcase_add_test(tc, a_fork_with_holes);
}

static Suite *holes_suite(void)
{
	Suite *s = suite_create("holes");
	TCase *tc = tcase_create("holes");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 60);
	add_hole_tests(tc);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(holes_suite());
}
