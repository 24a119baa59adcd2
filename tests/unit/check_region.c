/*
 * Regions: kinds and sizes of pools in files, and locks between processes. Device-DAX and DAX filesystems
 * need hardware, or a guest, and are not here; what paths are refused, and how, is in check_region_path.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format.h"
#include "pmem/persist.h"
#include "pmem/region.h"
#include "pmem/writeback.h"
#include "poolfile.h"
#include "unit.h"

/* ---- Kinds and sizes ----------------------------------------------------------------------------------- */

START_TEST(tmpfs_file_is_volatile)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);

	ck_assert_int_eq(r->kind, REGION_VOLATILE);
	ck_assert_str_eq(region_kind_name(r->kind), "volatile");
	ck_assert(!region_survives_power_loss(r));
	ck_assert_ptr_nonnull(strstr(region_remark(r), "power cut"));
	ck_assert_uint_eq(r->size, SIZE);
	ck_assert_uint_eq(r->unit, BLOCK_SIZE);
	ck_assert_ptr_null(region_writeback(r));
	region_close(r);
}
END_TEST

START_TEST(memfd_is_volatile)
{
	int fd = memfd_create("pool", MFD_CLOEXEC);
	struct region *r;
	char path[64];

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = poolfile_open(path, 0, 0);
	ck_assert_int_eq(r->kind, REGION_VOLATILE);
	region_close(r);
}
END_TEST

START_TEST(disk_file_is_page_cached)
{
	struct region *r = poolfile_open(disk_pool, SIZE, REGION_CREATE);

	ck_assert_int_eq(r->kind, REGION_PAGED);
	ck_assert_str_eq(region_kind_name(r->kind), "page-cached");
	ck_assert_ptr_nonnull(strstr(region_remark(r), "mounted with -o dax"));
	ck_assert(region_survives_power_loss(r));
	ck_assert_ptr_nonnull(region_writeback(r));
	region_close(r);
}
END_TEST

START_TEST(environment_is_left_as_it_was)
{
	setenv("PMEM2_FORCE_GRANULARITY", "PAGE", 1);
	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	ck_assert_str_eq(getenv("PMEM2_FORCE_GRANULARITY"), "PAGE");
	unsetenv("PMEM2_FORCE_GRANULARITY");
	region_close(poolfile_open(shm_pool, SIZE, 0));
	ck_assert_ptr_null(getenv("PMEM2_FORCE_GRANULARITY"));
}
END_TEST

START_TEST(environment_cannot_make_a_disk_file_dax)
{
	struct region *r;

	setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	r = poolfile_open(disk_pool, SIZE, REGION_CREATE);
	ck_assert_int_eq(r->kind, REGION_PAGED);
	region_close(r);
}
END_TEST

static uint64_t in_file(const char *path, uint64_t off)
{
	int fd = open(path, O_RDONLY);
	uint64_t v = 0;

	ck_assert_int_eq(pread(fd, &v, sizeof(v), (off_t)off), sizeof(v));
	close(fd);
	return v;
}

static void check_stores(struct region *r, const char *path)
{
	static const char text[] = "neither aligned nor of a round length";
	char line[64] = { 0 };

	persist_store(r, region_at(r, 8193), text, sizeof(text));
	persist_flush(r, region_at(r, 8193), sizeof(text));
	persist_store_nt(r, region_at(r, 12289), text, sizeof(text));
	memset(line, 0xff, sizeof(line));
	persist_store_nt(r, region_at(r, 0), line, sizeof(line));
	persist_zero_nt(r, region_at(r, 3), 5);
	ck_assert_int_eq(persist_fence(r, PERSIST_DATA), 0);
	ck_assert_mem_eq(region_at(r, 8193), text, sizeof(text));
	ck_assert_mem_eq(region_at(r, 12289), text, sizeof(text));
	ck_assert_uint_eq(*(char *)region_at(r, 8192), 0);
	ck_assert_uint_eq(*(char *)region_at(r, 8193 + sizeof(text)), 0);
	ck_assert_uint_eq(in_file(path, 0), 0xffffff);
	ck_assert_uint_eq(in_file(path, 8), ~0ULL);
}

START_TEST(stores_reach_the_tmpfs_file_without_msync)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);

	poolfile_filter(SYS_msync, SECCOMP_RET_KILL_PROCESS);
	check_stores(r, shm_pool);
	region_close(r);
}
END_TEST

START_TEST(stores_reach_the_disk_file_without_msync)
{
	struct region *r = poolfile_open(disk_pool, SIZE, REGION_CREATE);

	poolfile_filter(SYS_msync, SECCOMP_RET_KILL_PROCESS);
	check_stores(r, disk_pool);
	region_close(r);
}
END_TEST

START_TEST(base_fits_huge_pages)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);

	ck_assert_uint_eq((uintptr_t)r->base % (2 * MIB), 0);
	region_close(r);
	r = poolfile_open(shm_pool, 1024 * MIB, REGION_CREATE | REGION_SPARSE);
	ck_assert_uint_eq((uintptr_t)r->base % (1024 * MIB), 0);
	region_close(r);
	r = poolfile_open(disk_pool, 1500 * MIB, REGION_CREATE | REGION_SPARSE);
	ck_assert_uint_eq((uintptr_t)r->base % (1024 * MIB), 0);
	region_close(r);
}
END_TEST

static void lock_client(int fd, uint64_t number)
{
	struct flock lk = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = ((off_t)1 << 62) + 2 + (off_t)number, .l_len = 1,
	};

	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lk), 0);
}

START_TEST(bytes_that_clients_have_locked_are_found_in_order)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);
	int a = open(shm_pool, O_RDWR | O_CLOEXEC), b = open(shm_pool, O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(region_client(r, 0), -ENOENT);
	lock_client(a, 70);
	lock_client(a, 1000);
	lock_client(b, 7);
	lock_client(b, 71);
	ck_assert_int_eq(region_client(r, 0), 7);
	ck_assert_int_eq(region_client(r, 7), 7);
	ck_assert_int_eq(region_client(r, 8), 70);
	ck_assert_int_eq(region_client(r, 71), 71);
	ck_assert_int_eq(region_client(r, 72), 1000);
	ck_assert_int_eq(region_client(r, 1001), -ENOENT);
	close(b);
	ck_assert_int_eq(region_client(r, 0), 70);
	close(a);
	ck_assert_int_eq(region_client(r, 0), -ENOENT);
	region_close(r);
}
END_TEST

START_TEST(page_sizes_are_those_of_the_mount)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);

	/* 2 MiB where the machine is set up so. */
	ck_assert(region_page_max(r) == 4096 || region_page_max(r) == 2 * MIB);
	region_close(r);
	r = poolfile_open(disk_pool, SIZE, REGION_CREATE);
	ck_assert_uint_eq(region_page_max(r), 4096);
	region_close(r);
}
END_TEST

START_TEST(close_unmaps_the_pool)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);
	void *base = r->base;
	unsigned char vec;

	region_close(r);
	ck_assert_int_eq(mincore(base, BLOCK_SIZE, &vec), -1);
	ck_assert_int_eq(errno, ENOMEM);
	region_close(NULL);
}
END_TEST

START_TEST(created_file_is_allocated_unless_sparse)
{
	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE | REGION_SPARSE));
	ck_assert_int_eq(poolfile_stat(shm_pool).st_blocks, 0);
	ck_assert_int_eq(poolfile_stat(shm_pool).st_size, SIZE);
	ck_assert_int_eq(poolfile_stat(shm_pool).st_mode & 077, 0);
	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	ck_assert_int_eq(poolfile_stat(shm_pool).st_blocks, SIZE / 512);
	region_close(poolfile_open(disk_pool, SIZE, REGION_CREATE));
	ck_assert_int_ge(poolfile_stat(disk_pool).st_blocks, SIZE / 512);
}
END_TEST

START_TEST(file_grows_keeps_its_bytes_and_never_shrinks)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);

	poolfile_store(r, 4096, 77);
	region_close(r);
	r = poolfile_open(shm_pool, 2 * SIZE, REGION_CREATE);
	ck_assert_uint_eq(r->size, 2 * SIZE);
	ck_assert_uint_eq(*(uint64_t *)region_at(r, 4096), 77);
	region_close(r);
	r = poolfile_open(shm_pool, SIZE, REGION_CREATE);
	ck_assert_uint_eq(r->size, 2 * SIZE);
	region_close(r);
	r = poolfile_open(shm_pool, 0, REGION_CREATE);
	ck_assert_uint_eq(r->size, 2 * SIZE);
	region_close(r);
}
END_TEST

START_TEST(odd_size_is_rounded_down_to_blocks)
{
	struct region *r = poolfile_open(shm_pool, SIZE + 5000, REGION_CREATE);

	ck_assert_uint_eq(r->size, SIZE + 4096);
	region_close(r);
}
END_TEST

START_TEST(too_small_file_is_refused_with_both_sizes)
{
	int fd = open(shm_pool, O_CREAT | O_RDWR, 0600);

	ck_assert_int_eq(ftruncate(fd, SIZE - 1), 0);
	close(fd);
	poolfile_refused(shm_pool, 0, 0, -EINVAL, "size is 4194303 bytes, at least 4194304 are needed");
	ck_assert_int_eq(poolfile_stat(shm_pool).st_size, SIZE - 1);
}
END_TEST

START_TEST(failed_creation_leaves_no_file)
{
	poolfile_refused(shm_pool, 4096, REGION_CREATE, -EINVAL, "size is 4096 bytes");
	ck_assert_int_eq(access(shm_pool, F_OK), -1);
	poolfile_refused(shm_pool, 1ULL << 52, REGION_CREATE, -ENOSPC, "grow from 0 to 4503599627370496");
	ck_assert_int_eq(access(shm_pool, F_OK), -1);
	poolfile_refused(shm_pool, 1ULL << 63, REGION_CREATE, -EFBIG, "9223372036854775808");
	ck_assert_int_eq(access(shm_pool, F_OK), -1);
}
END_TEST

START_TEST(failed_growth_leaves_the_file)
{
	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	poolfile_refused(shm_pool, 1ULL << 52, REGION_CREATE, -ENOSPC, "cannot grow from 4194304");
	ck_assert_int_eq(access(shm_pool, F_OK), 0);
}
END_TEST

START_TEST(read_only_region_reads_and_cannot_be_stored_to)
{
	struct region *r = poolfile_open(disk_pool, SIZE, REGION_CREATE);
	int status;
	pid_t pid;

	poolfile_store(r, 4096, 77);
	region_close(r);
	ck_assert_int_eq(chmod(disk_pool, 0400), 0);
	r = poolfile_open(disk_pool, 0, REGION_RDONLY);
	ck_assert(r->readonly);
	ck_assert_uint_eq(*(uint64_t *)region_at(r, 4096), 77);
	ck_assert_int_eq(persist_fence(r, PERSIST_DATA), 0);
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)region_at(r, 0) = 1;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(!WIFEXITED(status) || WEXITSTATUS(status));
	region_close(r);
}
END_TEST

/* ---- The in-use lock ----------------------------------------------------------------------------------- */

/* A process that has the pool open until its standard input, so to say, is closed. */
struct user {
	pid_t pid;
	int ready, stop;
};

static struct user start_user(const char *path, unsigned int flags)
{
	int ready[2], stop[2];
	struct user u;
	char c = 0;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(stop), 0);
	u.pid = fork();
	if (!u.pid) {
		struct region *r = NULL;

		close(stop[1]);
		c = region_open(&r, path, 0, flags, NULL) ? 'n' : 'y';
		if (write(ready[1], &c, 1) == 1 && read(stop[0], &c, 1) == 0)
			region_close(r);
		_exit(0);
	}
	close(stop[0]);
	close(ready[1]);
	u.stop = stop[1];
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_int_eq(c, 'y');
	close(ready[0]);
	return u;
}

static void stop_user(struct user u)
{
	close(u.stop);
	ck_assert_int_eq(waitpid(u.pid, NULL, 0), u.pid);
}

START_TEST(writer_keeps_others_out_and_is_named)
{
	char words[64];
	struct user u;

	ck_assert_int_eq(prctl(PR_SET_NAME, "other program"), 0);
	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	ck_assert_int_eq(region_holder(shm_pool), 0);
	u = start_user(shm_pool, 0);
	snprintf(words, sizeof(words), ": in use by pid %d (other program)", u.pid);
	poolfile_refused(shm_pool, 0, 0, -EBUSY, words);
	poolfile_refused(shm_pool, 0, REGION_RDONLY, -EBUSY, words);
	ck_assert_int_eq(region_holder(shm_pool), u.pid);
	region_close(poolfile_open(shm_pool, 0, REGION_RDONLY | REGION_NOLOCK));
	stop_user(u);
	ck_assert_int_eq(region_holder(shm_pool), 0);
	region_close(poolfile_open(shm_pool, 0, 0));
}
END_TEST

START_TEST(pool_in_use_is_not_grown)
{
	struct user u;

	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	u = start_user(shm_pool, 0);
	poolfile_refused(shm_pool, 2 * SIZE, REGION_CREATE, -EBUSY, "in use");
	ck_assert_int_eq(poolfile_stat(shm_pool).st_size, SIZE);
	stop_user(u);
}
END_TEST

START_TEST(killed_writer_leaves_no_lock)
{
	struct user u;

	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	u = start_user(shm_pool, 0);
	kill(u.pid, SIGKILL);
	stop_user(u);
	ck_assert_int_eq(region_holder(shm_pool), 0);
	region_close(poolfile_open(shm_pool, 0, 0));
}
END_TEST

START_TEST(readers_share_and_keep_writers_out)
{
	struct user u;

	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	u = start_user(shm_pool, REGION_RDONLY);
	region_close(poolfile_open(shm_pool, 0, REGION_RDONLY));
	poolfile_refused(shm_pool, 0, 0, -EBUSY, "in use by pid");
	ck_assert_int_eq(region_holder(shm_pool), 0);
	stop_user(u);
}
END_TEST

START_TEST(second_open_in_one_process_is_refused)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);

	poolfile_refused(shm_pool, 0, 0, -EBUSY, "in use by another process");
	region_close(r);
}
END_TEST

/* In a child: open, fork the daemon, be gone. The daemon records itself, tells its pid, and waits. */
static void open_and_daemonize(int tell, int stop)
{
	struct region *r = poolfile_open(shm_pool, 0, 0);
	pid_t pid, parent = getpid();
	char c;

	if (fork())
		_exit(0);
	while (getppid() == parent)
		sched_yield();
	pid = getpid();
	if (region_lock_owner(r) || write(tell, &pid, sizeof(pid)) != sizeof(pid))
		_exit(1);
	_exit((int)read(stop, &c, 1));
}

START_TEST(daemon_keeps_the_lock_over_fork_and_records_its_own_pid)
{
	int tell[2], stop[2];
	pid_t child, daemon = 0;

	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	ck_assert_int_eq(pipe(tell), 0);
	ck_assert_int_eq(pipe(stop), 0);
	child = fork();
	if (!child) {
		close(stop[1]);
		open_and_daemonize(tell[1], stop[0]);
	}
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_int_eq(read(tell[0], &daemon, sizeof(daemon)), sizeof(daemon));
	ck_assert_int_ne(daemon, child);
	ck_assert_int_eq(region_holder(shm_pool), daemon);
	close(stop[1]);
}
END_TEST

START_TEST(holder_without_a_record_is_unknown_not_absent)
{
	struct user u;
	int fd;

	region_close(poolfile_open(shm_pool, SIZE, REGION_CREATE));
	fd = open(shm_pool, O_RDWR);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_start = (off_t)1 << 62,
								.l_len = 1 }), 0);
	poolfile_refused(shm_pool, 0, 0, -EBUSY, "in use by another process");
	ck_assert_int_eq(region_holder(shm_pool), -EBUSY);
	close(fd);
	u = start_user(shm_pool, 0);
	stop_user(u);
}
END_TEST

/* ---- Counters ------------------------------------------------------------------------------------------ */

START_TEST(fences_are_counted_by_point)
{
	struct region *r = poolfile_open(shm_pool, SIZE, REGION_CREATE);
	uint64_t commits = persist_count(PERSIST_COMMIT), tails = persist_count(PERSIST_TAIL);
	int i;

	persist_fence(r, PERSIST_COMMIT);
	persist_fence(r, PERSIST_COMMIT);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 2);
	ck_assert_uint_eq(persist_count(PERSIST_TAIL), tails);
	ck_assert_str_eq(persist_point_name(PERSIST_COMMIT), "commit");
	for (i = 0; i < PERSIST_POINTS; i++)
		ck_assert_ptr_nonnull(persist_point_name(i));
	region_close(r);
}
END_TEST

static void add_kinds(Suite *s)
{
	TCase *tc = poolfile_case(s, "kinds");

	tcase_add_test(tc, tmpfs_file_is_volatile);
	tcase_add_test(tc, page_sizes_are_those_of_the_mount);
	tcase_add_test(tc, bytes_that_clients_have_locked_are_found_in_order);
	tcase_add_test(tc, memfd_is_volatile);
	tcase_add_test(tc, environment_is_left_as_it_was);
	tcase_add_test(tc, stores_reach_the_tmpfs_file_without_msync);
	tcase_add_test(tc, close_unmaps_the_pool);
	tcase_add_test(tc, file_grows_keeps_its_bytes_and_never_shrinks);
	tcase_add_test(tc, odd_size_is_rounded_down_to_blocks);
	tcase_add_test(tc, too_small_file_is_refused_with_both_sizes);
	tcase_add_test(tc, failed_creation_leaves_no_file);
	tcase_add_test(tc, failed_growth_leaves_the_file);
	tcase_add_test(tc, fences_are_counted_by_point);
}

static void add_disk(Suite *s)
{
	TCase *tc = poolfile_case(s, "disk files");

	tcase_add_test(tc, disk_file_is_page_cached);
	tcase_add_test(tc, environment_cannot_make_a_disk_file_dax);
	tcase_add_test(tc, stores_reach_the_disk_file_without_msync);
	tcase_add_test(tc, base_fits_huge_pages);
	tcase_add_test(tc, created_file_is_allocated_unless_sparse);
	tcase_add_test(tc, read_only_region_reads_and_cannot_be_stored_to);
}

static void add_locks(Suite *s)
{
	TCase *tc = poolfile_case(s, "in-use lock");

	tcase_add_test(tc, writer_keeps_others_out_and_is_named);
	tcase_add_test(tc, pool_in_use_is_not_grown);
	tcase_add_test(tc, killed_writer_leaves_no_lock);
	tcase_add_test(tc, readers_share_and_keep_writers_out);
	tcase_add_test(tc, second_open_in_one_process_is_refused);
	tcase_add_test(tc, daemon_keeps_the_lock_over_fork_and_records_its_own_pid);
	tcase_add_test(tc, holder_without_a_record_is_unknown_not_absent);
}

int main(void)
{
	Suite *s = suite_create("region");
	int ret;

	if (!poolfile_setup())
		return EXIT_FAILURE;
	add_kinds(s);
	add_locks(s);
	if (poolfile_on_disk())
		add_disk(s);
	ret = unit_run(s);
	poolfile_cleanup();
	return ret;
}
