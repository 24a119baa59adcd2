/*
 * libinodax: what it says of a pool. The pools are files in the page cache or in memory, made by lib/fs.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <inodax.h>

#include "format.h"
#include "fs/fs.h"
#include "pmem/region.h"
#include "unit.h"

#define POOL_BYTES	(16ULL << 20)

static char path[64];
static char message[512];

static void make_pool(void)
{
	struct fs_format format = {.uuid = {1, 2, 3},
				   .label = "a label",
				   .journal_blocks = JOURNAL_MIN_BLOCKS};
	struct region *r;
	struct err err = { "" };

	ck_assert_msg(region_open(&r, path, POOL_BYTES, REGION_CREATE, &err) == 0, "%s", err.text);
	ck_assert_msg(fs_format(r, &format, &err) == 0, "%s", err.text);
	region_close(r);
}

static void setup(void)
{
	snprintf(path, sizeof(path), "/dev/shm/check_client.%d", (int)getpid());
	make_pool();
}

static void teardown(void)
{
	unlink(path);
}

/* Overwrite `len` bytes at `off` with 0xff. */
static void damage(uint64_t off, size_t len)
{
	FILE *f = fopen(path, "r+");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseek(f, (long)off, SEEK_SET), 0);
	while (len--)
		fputc(0xff, f);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(version_is_three_numbers)
{
	unsigned int major, minor, patch;

	ck_assert_int_eq(sscanf(inodax_version(), "%u.%u.%u", &major, &minor, &patch), 3);
}
END_TEST

START_TEST(info_tells_what_mkfs_was_told)
{
	struct inodax_pool_info info = { .size = sizeof(info) };
	const uint8_t uuid[16] = { 1, 2, 3 };

	ck_assert_int_eq(inodax_pool_info(path, &info, message, sizeof(message)), 0);
	ck_assert_str_eq(message, "");
	ck_assert_uint_eq(info.size, sizeof(info));
	ck_assert_uint_eq(info.format_version, FORMAT_VERSION);
	ck_assert_mem_eq(info.uuid, uuid, sizeof(uuid));
	ck_assert_str_eq(info.label, "a label");
	ck_assert_uint_eq(info.bytes, POOL_BYTES);
	ck_assert_uint_eq(info.map_unit, BLOCK_SIZE);
	ck_assert_uint_eq(info.journal_bytes, (uint64_t)JOURNAL_MIN_BLOCKS * BLOCK_SIZE);
	ck_assert_uint_eq(info.mounts, 0);
	ck_assert_uint_eq(info.clean, 1);
	ck_assert_uint_eq(info.backup_super, 0);
	ck_assert_int_eq(info.holder, 0);
	ck_assert_int_gt(info.created, 0);
	ck_assert_uint_gt(strlen(info.kind), 0);
}
END_TEST

START_TEST(info_of_a_pool_with_a_damaged_superblock_comes_from_the_backup)
{
	struct inodax_pool_info info = { .size = sizeof(info) };

	damage(BLOCK_SUPER, 64);
	ck_assert_int_eq(inodax_pool_info(path, &info, message, sizeof(message)), 0);
	ck_assert_uint_eq(info.backup_super, 1);
	ck_assert_str_eq(info.label, "a label");
}
END_TEST

START_TEST(info_without_a_valid_tail_slot_is_refused_by_name)
{
	struct inodax_pool_info info = { .size = sizeof(info) };

	damage(BLOCK_TAIL * BLOCK_SIZE, BLOCK_SIZE);
	ck_assert_int_eq(inodax_pool_info(path, &info, message, sizeof(message)), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(message, path));
}
END_TEST

START_TEST(info_of_a_file_that_is_no_pool_is_refused_by_name)
{
	struct inodax_pool_info info = { .size = sizeof(info) };

	damage(0, BLOCK_SIZE);
	damage(POOL_BYTES - BLOCK_SIZE, BLOCK_SIZE);
	ck_assert_int_eq(inodax_pool_info(path, &info, message, sizeof(message)), -EMEDIUMTYPE);
	ck_assert_ptr_nonnull(strstr(message, path));
}
END_TEST

START_TEST(info_of_a_path_that_is_not_there_is_enoent)
{
	struct inodax_pool_info info = { .size = sizeof(info) };

	ck_assert_int_eq(inodax_pool_info("/dev/shm/no such pool", &info, message, sizeof(message)), -ENOENT);
	ck_assert_int_ne(message[0], '\0');
}
END_TEST

START_TEST(info_needs_the_size_of_the_struct)
{
	struct inodax_pool_info info = { .size = 0 };

	ck_assert_int_eq(inodax_pool_info(path, &info, message, sizeof(message)), -EINVAL);
	ck_assert_int_ne(message[0], '\0');
	ck_assert_int_eq(inodax_pool_info(path, &info, NULL, 0), -EINVAL);
}
END_TEST

/*
 * A caller built with a later header has a larger struct: what this library does not know of is left alone.
 */
START_TEST(info_for_a_newer_caller_fills_only_what_is_known)
{
	struct {
		struct inodax_pool_info info;
		uint64_t later;
	} newer = { .info = { .size = sizeof(newer) }, .later = 0x5a5a };

	ck_assert_int_eq(inodax_pool_info(path, &newer.info, message, sizeof(message)), 0);
	ck_assert_uint_eq(newer.info.size, sizeof(newer.info));
	ck_assert_uint_eq(newer.later, 0x5a5a);
}
END_TEST

START_TEST(info_changes_nothing_in_the_pool)
{
	struct inodax_pool_info info = { .size = sizeof(info) };
	struct stat before, after;

	ck_assert_int_eq(stat(path, &before), 0);
	ck_assert_int_eq(inodax_pool_info(path, &info, NULL, 0), 0);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	ck_assert_int_eq(before.st_blocks, after.st_blocks);
}
END_TEST

START_TEST(info_of_a_pool_with_a_full_label_is_terminated)
{
	struct fs_format format = { .uuid = { 9 }, .label = "12345678901234567890123456789012" };
	struct inodax_pool_info info = { .size = sizeof(info) };
	struct region *r;

	ck_assert_int_eq(region_open(&r, path, 0, 0, NULL), 0);
	ck_assert_int_eq(fs_format(r, &format, NULL), 0);
	region_close(r);
	ck_assert_int_eq(inodax_pool_info(path, &info, NULL, 0), 0);
	ck_assert_str_eq(info.label, format.label);
}
END_TEST

static Suite *client_suite(void)
{
	Suite *s = suite_create("client");
	TCase *tc = tcase_create("info");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, version_is_three_numbers);
	tcase_add_test(tc, info_tells_what_mkfs_was_told);
	tcase_add_test(tc, info_of_a_pool_with_a_damaged_superblock_comes_from_the_backup);
	tcase_add_test(tc, info_without_a_valid_tail_slot_is_refused_by_name);
	tcase_add_test(tc, info_of_a_file_that_is_no_pool_is_refused_by_name);
	tcase_add_test(tc, info_of_a_path_that_is_not_there_is_enoent);
	tcase_add_test(tc, info_needs_the_size_of_the_struct);
	tcase_add_test(tc, info_for_a_newer_caller_fills_only_what_is_known);
	tcase_add_test(tc, info_changes_nothing_in_the_pool);
	tcase_add_test(tc, info_of_a_pool_with_a_full_label_is_terminated);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return unit_run(client_suite());
}
