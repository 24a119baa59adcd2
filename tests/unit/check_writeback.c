/*
 * Write-back of page-cached pools: what a fence costs, how threads share batches, what happens without io_uring
 * and after errors. What cannot be tested without a disk filesystem, or io_uring, is left out with a message.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pmem/persist.h"
#include "pmem/region.h"
#include "pmem/writeback.h"
#include "poolfile.h"
#include "unit.h"

static struct region *disk_region(void)
{
	return poolfile_open(disk_pool, 64 * MIB, REGION_CREATE | REGION_SPARSE);
}

START_TEST(fence_writes_back_in_one_batch_through_io_uring)
{
	struct region *r = disk_region();
	struct writeback_stats s;

	poolfile_store(r, 0, 1);
	s = writeback_stats(region_writeback(r));
	ck_assert_uint_eq(s.waits, 1);
	ck_assert_uint_eq(s.batches, 1);
	ck_assert_uint_eq(s.ring_requests, 1);
	ck_assert_uint_eq(s.whole_syncs, 0);
	region_close(r);
}
END_TEST

START_TEST(fence_without_notes_is_free)
{
	struct region *r = disk_region();
	uint64_t one = 1;

	ck_assert_int_eq(persist_fence(r, PERSIST_COMMIT), 0);
	persist_store(r, region_at(r, 0), &one, sizeof(one));
	persist_flush(r, region_at(r, 0), 0);
	ck_assert_int_eq(persist_fence(r, PERSIST_COMMIT), 0);
	ck_assert_uint_eq(writeback_stats(region_writeback(r)).batches, 0);
	persist_flush(r, region_at(r, 0), sizeof(one));
	ck_assert_int_eq(persist_fence(r, PERSIST_COMMIT), 0);
	ck_assert_int_eq(persist_fence(r, PERSIST_COMMIT), 0);
	ck_assert_uint_eq(writeback_stats(region_writeback(r)).batches, 1);
	region_close(r);
}
END_TEST

START_TEST(near_ranges_are_one_request_and_far_ones_two)
{
	struct region *r = disk_region();

	persist_zero_nt(r, region_at(r, 4096), 4096);
	persist_zero_nt(r, region_at(r, 0), 4096);
	persist_zero_nt(r, region_at(r, 16384), 100);
	persist_zero_nt(r, region_at(r, 32 * MIB), 100);
	ck_assert_int_eq(persist_fence(r, PERSIST_DATA), 0);
	ck_assert_uint_eq(writeback_stats(region_writeback(r)).ring_requests, 2);
	region_close(r);
}
END_TEST

/* More ranges than a thread keeps apart: none may be lost. */
START_TEST(many_ranges_are_written_back_within_bounds)
{
	struct region *r = poolfile_open(disk_pool, 512 * MIB, REGION_CREATE | REGION_SPARSE);
	struct writeback_stats s;
	uint64_t i;

	for (i = 0; i < 400; i++)
		persist_zero_nt(r, region_at(r, (i * 7919 % 400) * MIB), 8);
	ck_assert_int_eq(persist_fence(r, PERSIST_DATA), 0);
	s = writeback_stats(region_writeback(r));
	ck_assert_uint_eq(s.batches, 1);
	ck_assert_uint_ge(s.ring_requests, 1);
	ck_assert_uint_le(s.ring_requests, 64);
	region_close(r);
}
END_TEST

struct fencer {
	pthread_t thread;
	struct region *r;
	uint64_t off;
	int rounds, ret;
};

static void *fence_rounds(void *arg)
{
	struct fencer *f = arg;
	int i;

	for (i = 0; i < f->rounds && !f->ret; i++) {
		persist_zero_nt(f->r, region_at(f->r, f->off), 8);
		f->ret = persist_fence(f->r, PERSIST_DATA);
	}
	return NULL;
}

#define FENCERS	6

static void start_fencers(struct fencer *f, struct region *r, int rounds)
{
	uint64_t i;

	for (i = 0; i < FENCERS; i++) {
		f[i] = (struct fencer){ .r = r, .off = i * 8 * MIB, .rounds = rounds };
		ck_assert_int_eq(pthread_create(&f[i].thread, NULL, fence_rounds, &f[i]), 0);
	}
}

static void join_fencers(struct fencer *f, int ret)
{
	int i;

	for (i = 0; i < FENCERS; i++) {
		pthread_join(f[i].thread, NULL);
		ck_assert_int_eq(f[i].ret, ret);
	}
}

static void wait_until_queued(struct writeback *wb, unsigned int n)
{
	while (writeback_stats(wb).queued < n)
		sched_yield();
}

START_TEST(threads_that_wait_together_are_one_batch)
{
	struct region *r = disk_region();
	struct writeback *wb = region_writeback(r);
	struct fencer f[FENCERS];
	struct writeback_stats s;

	writeback_hold(wb);
	start_fencers(f, r, 1);
	wait_until_queued(wb, FENCERS);
	ck_assert_uint_eq(writeback_stats(wb).batches, 0);
	writeback_release(wb);
	join_fencers(f, 0);
	s = writeback_stats(wb);
	ck_assert_uint_eq(s.waits, FENCERS);
	ck_assert_uint_eq(s.batches, 1);
	ck_assert_uint_eq(s.ring_requests, FENCERS);
	region_close(r);
}
END_TEST

START_TEST(fences_under_load_all_return)
{
	struct region *r = disk_region();
	struct fencer f[FENCERS];
	struct writeback_stats s;

	start_fencers(f, r, 20);
	join_fencers(f, 0);
	s = writeback_stats(region_writeback(r));
	ck_assert_uint_eq(s.waits, FENCERS * 20);
	ck_assert_uint_le(s.batches, s.waits);
	ck_assert_uint_eq(s.queued, 0);
	region_close(r);
}
END_TEST

START_TEST(without_io_uring_fdatasync_serves_the_batch)
{
	struct region *r;
	struct writeback_stats s;
	struct fencer f[FENCERS];

	poolfile_filter(SYS_io_uring_setup, SECCOMP_RET_ERRNO | EPERM);
	r = disk_region();
	writeback_hold(region_writeback(r));
	start_fencers(f, r, 1);
	wait_until_queued(region_writeback(r), FENCERS);
	writeback_release(region_writeback(r));
	join_fencers(f, 0);
	s = writeback_stats(region_writeback(r));
	ck_assert_uint_eq(s.batches, 1);
	ck_assert_uint_eq(s.whole_syncs, 1);
	ck_assert_uint_eq(s.ring_requests, 0);
	region_close(r);
}
END_TEST

START_TEST(io_uring_lost_on_the_way_is_replaced_by_fdatasync)
{
	struct region *r = disk_region();
	struct writeback_stats s;

	poolfile_filter(SYS_io_uring_enter, SECCOMP_RET_ERRNO | EPERM);
	poolfile_store(r, 0, 1);
	poolfile_store(r, 0, 2);
	s = writeback_stats(region_writeback(r));
	ck_assert_uint_eq(s.ring_requests, 0);
	ck_assert_uint_eq(s.whole_syncs, 2);
	region_close(r);
}
END_TEST

static void *note_and_wait(void *arg)
{
	writeback_note(arg, 0, 1);
	return (void *)(intptr_t)writeback_wait(arg);
}

/*
 * A pipe cannot be synced: every thread of the batch hears so, and whoever comes later, though the
 * descriptor can be synced by then.
 */
START_TEST(error_of_a_batch_goes_to_all_and_stays)
{
	struct writeback *wb;
	pthread_t thread[FENCERS];
	void *ret;
	int fd[2], disk, i;

	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(writeback_new(&wb, "pipe", fd[1], &err), 0);
	writeback_hold(wb);
	for (i = 0; i < FENCERS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, note_and_wait, wb), 0);
	wait_until_queued(wb, FENCERS);
	writeback_release(wb);
	for (i = 0; i < FENCERS; i++) {
		pthread_join(thread[i], &ret);
		ck_assert_int_eq((intptr_t)ret, -EINVAL);
	}
	ck_assert_int_eq(writeback_wait(wb), 0);
	disk = open(disk_pool, O_CREAT | O_RDWR, 0600);
	ck_assert_int_eq(dup2(disk, fd[1]), fd[1]);
	ck_assert_int_eq((intptr_t)note_and_wait(wb), -EINVAL);
	writeback_free(wb);
}
END_TEST

START_TEST(write_back_goes_on_in_a_forked_daemon)
{
	struct region *r = disk_region();
	int status;
	pid_t pid;

	poolfile_store(r, 0, 1);
	pid = fork();
	if (!pid) {
		poolfile_store(r, 8 * MIB, 2);
		_exit(writeback_stats(region_writeback(r)).ring_requests == 2 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	region_close(r);
}
END_TEST

START_TEST(notes_of_two_regions_are_kept_apart)
{
	struct region *r = disk_region(), *q;
	char other[128];

	snprintf(other, sizeof(other), "%s/other", disk_dir);
	q = poolfile_open(other, SIZE, REGION_CREATE);
	persist_zero_nt(r, region_at(r, 0), 8);
	persist_zero_nt(q, region_at(q, 0), 8);
	ck_assert_int_eq(persist_fence(r, PERSIST_DATA), 0);
	ck_assert_uint_eq(writeback_stats(region_writeback(r)).batches, 1);
	ck_assert_uint_eq(writeback_stats(region_writeback(q)).batches, 0);
	ck_assert_int_eq(persist_fence(q, PERSIST_DATA), 0);
	ck_assert_uint_eq(writeback_stats(region_writeback(q)).batches, 1);
	region_close(q);
	region_close(r);
}
END_TEST

static void add_batches(Suite *s)
{
	TCase *tc = poolfile_case(s, "batches");

	tcase_add_test(tc, fence_without_notes_is_free);
	tcase_add_test(tc, fences_under_load_all_return);
	tcase_add_test(tc, without_io_uring_fdatasync_serves_the_batch);
	tcase_add_test(tc, error_of_a_batch_goes_to_all_and_stays);
	tcase_add_test(tc, notes_of_two_regions_are_kept_apart);
}

static void add_ring(Suite *s)
{
	TCase *tc = poolfile_case(s, "io_uring");

	tcase_add_test(tc, fence_writes_back_in_one_batch_through_io_uring);
	tcase_add_test(tc, near_ranges_are_one_request_and_far_ones_two);
	tcase_add_test(tc, many_ranges_are_written_back_within_bounds);
	tcase_add_test(tc, threads_that_wait_together_are_one_batch);
	tcase_add_test(tc, io_uring_lost_on_the_way_is_replaced_by_fdatasync);
	tcase_add_test(tc, write_back_goes_on_in_a_forked_daemon);
}

static bool io_uring_allowed(void)
{
	if (syscall(SYS_io_uring_setup, 0, NULL) == -1 && errno != ENOSYS && errno != EPERM)
		return true;
	printf("left out: io_uring, which cannot be used here\n");
	return false;
}

int main(void)
{
	Suite *s = suite_create("writeback");
	int ret;

	if (!poolfile_setup())
		return EXIT_FAILURE;
	if (poolfile_on_disk()) {
		add_batches(s);
		if (io_uring_allowed())
			add_ring(s);
	}
	ret = unit_run(s);
	poolfile_cleanup();
	return ret;
}
