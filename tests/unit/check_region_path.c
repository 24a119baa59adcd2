/*
 * What paths are taken for, and what is refused with which words. Devices that this machine does not have are
 * described by a sysfs of our own.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pmem/region_path.h"
#include "poolfile.h"
#include "unit.h"

static char sysfs[96];

START_TEST(wrong_types_are_refused_by_name)
{
	char fifo[128];

	snprintf(fifo, sizeof(fifo), "%s/fifo", shm_dir);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	poolfile_refused(fifo, 0, 0, -EINVAL, "a fifo");
	poolfile_refused(shm_dir, 0, 0, -EINVAL, "a directory");
	poolfile_refused("/dev/null", 0, 0, -EINVAL, "a character device that is not of class dax");
	poolfile_refused(shm_pool, 0, 0, -ENOENT, "No such file");
}
END_TEST

START_TEST(no_pool_file_is_made_in_dev)
{
	poolfile_refused("/dev/dax98.7", SIZE, REGION_CREATE, -ENODEV, "not made in /dev");
	ck_assert_int_eq(access("/dev/dax98.7", F_OK), -1);
}
END_TEST

/* The sysfs: each call makes one symbolic link or attribute, with the directories above it. */
static void make_parents(char *path)
{
	char *slash;

	for (slash = strchr(path + strlen(shm_dir) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
}

static void sysfs_link(const char *name, const char *target)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	make_parents(path);
	unlink(path);
	ck_assert_int_eq(symlink(target, path), 0);
}

static void sysfs_attribute(const char *name, const char *value)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	make_parents(path);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%s\n", value);
	fclose(f);
}

START_TEST(pmem_block_device_gets_both_ways_with_its_names)
{
	struct stat st = { .st_mode = S_IFBLK, .st_rdev = makedev(259, 3) };

	sysfs_link("dev/block/259:3", "../../devices/pmem5");
	sysfs_link("devices/pmem5/device", "../region0/pfn0.1");
	sysfs_attribute("devices/region0/pfn0.1/namespace", "namespace0.4");
	ck_assert_int_eq(region_path_refuse("/dev/pmem5", &st, sysfs, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "mount -o dax /dev/pmem5 "));
	ck_assert_ptr_nonnull(strstr(err.text, "ndctl create-namespace -f -e namespace0.4 -m devdax"));
	sysfs_link("devices/pmem5/device", "../region0/namespace0.6");
	ck_assert_int_eq(region_path_refuse("/dev/pmem5", &st, sysfs, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "-e namespace0.6 "));
	ck_assert_uint_lt(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

START_TEST(pmem_block_device_in_sector_mode_is_not_mounted_with_dax)
{
	struct stat st = { .st_mode = S_IFBLK, .st_rdev = makedev(259, 5) };

	sysfs_link("dev/block/259:5", "../../devices/pmem5s");
	sysfs_link("devices/pmem5s/device", "../region0/btt0.1");
	sysfs_attribute("devices/region0/btt0.1/namespace", "namespace0.4");
	ck_assert_int_eq(region_path_refuse("/dev/pmem5s", &st, sysfs, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "sector mode"));
	ck_assert_ptr_nonnull(strstr(err.text, "-e namespace0.4 -m fsdax"));
	ck_assert_ptr_null(strstr(err.text, "mkfs"));
	ck_assert_uint_lt(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

START_TEST(other_block_device_is_refused_plainly)
{
	struct stat st = { .st_mode = S_IFBLK, .st_rdev = makedev(8, 1) };

	sysfs_link("dev/block/8:1", "../../devices/sda1");
	ck_assert_int_eq(region_path_refuse("/dev/sda1", &st, sysfs, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "/dev/sda1: a block device"));
	ck_assert_ptr_null(strstr(err.text, "ndctl"));
}
END_TEST

START_TEST(missing_dax_node_says_which_mode_the_device_is_in)
{
	sysfs_attribute("bus/dax/real/uevent", "");
	sysfs_link("bus/dax/devices/dax1.0", "../real");
	ck_assert_int_eq(region_path_missing("/dev/dax1.0", sysfs, &err), -ENODEV);
	ck_assert_ptr_nonnull(strstr(err.text, "no driver is bound"));
	sysfs_link("bus/dax/real/driver", "../../drivers/kmem");
	ck_assert_int_eq(region_path_missing("/dev/dax1.0", sysfs, &err), -ENODEV);
	ck_assert_ptr_nonnull(strstr(err.text, "in system-ram mode"));
	ck_assert_ptr_nonnull(strstr(err.text, "daxctl reconfigure-device --mode=devdax dax1.0"));
	ck_assert_int_eq(region_path_missing("/dev/dax2.0", sysfs, &err), -ENOENT);
	ck_assert_int_eq(region_path_missing("/tmp/dax1.0", sysfs, &err), -ENOENT);
}
END_TEST

START_TEST(dax_node_that_is_there_without_its_driver_says_so)
{
	sysfs_attribute("bus/dax/idle/uevent", "");
	sysfs_link("bus/dax/devices/dax3.0", "../idle");
	ck_assert_int_eq(region_path_unbound("/dev/dax3.0", sysfs, &err), -ENODEV);
	ck_assert_ptr_nonnull(strstr(err.text, "daxctl enable-device dax3.0"));
	sysfs_link("bus/dax/idle/driver", "../../drivers/kmem");
	ck_assert_int_eq(region_path_unbound("/dev/dax3.0", sysfs, &err), -ENODEV);
	ck_assert_ptr_nonnull(strstr(err.text, "in system-ram mode"));
	sysfs_link("bus/dax/idle/driver", "../../drivers/device_dax");
	ck_assert_int_eq(region_path_unbound("/dev/dax3.0", sysfs, &err), 0);
	ck_assert_int_eq(region_path_unbound("/dev/dax4.0", sysfs, &err), 0);
	ck_assert_int_eq(region_path_unbound("/tmp/dax3.0", sysfs, &err), 0);
}
END_TEST

START_TEST(dax_device_has_size_and_align_of_sysfs)
{
	struct stat st = { .st_mode = S_IFCHR, .st_rdev = makedev(252, 4) };
	struct region_path what;

	sysfs_link("dev/char/252:4", "../../devices/dax0.0");
	sysfs_link("devices/dax0.0/subsystem", "../../bus/dax");
	ck_assert_int_eq(region_path_refuse("/dev/dax0.0", &st, sysfs, &err), 0);
	sysfs_attribute("devices/dax0.0/size", "1065353216");
	ck_assert_int_eq(region_path_device("/dev/dax0.0", &st, sysfs, &what, &err), -ENODEV);
	sysfs_attribute("devices/dax0.0/align", "2097152");
	ck_assert_int_eq(region_path_device("/dev/dax0.0", &st, sysfs, &what, &err), 0);
	ck_assert_int_eq(what.kind, REGION_DEVDAX);
	ck_assert_uint_eq(what.size, 1065353216);
	ck_assert_uint_eq(what.unit, 2097152);
	sysfs_attribute("devices/dax0.0/align", "3000");
	ck_assert_int_eq(region_path_device("/dev/dax0.0", &st, sysfs, &what, &err), -EINVAL);
}
END_TEST

/* statfs(2) says the same of ext4, xfs and others as linux/magic.h. */
#define EXT4	0xef53
#define XFS	0x58465342
#define BTRFS	0x9123683e

START_TEST(a_filesystem_that_could_have_dax_is_known)
{
	dev_t disk = makedev(259, 7), part = makedev(259, 8), plain = makedev(8, 3);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	sysfs_link("dev/block/259:7", "../../devices/pmem7");
	sysfs_link("dev/block/259:8", "../../devices/pmem7/pmem7p1");
	sysfs_link("dev/block/8:3", "../../devices/sda3");
	sysfs_attribute("devices/pmem7/queue/dax", "1");
	sysfs_attribute("devices/pmem7/pmem7p1/size", "8192");
	sysfs_attribute("devices/sda3/queue/dax", "0");
	ck_assert(region_path_could_dax(EXT4, page, disk, sysfs));
	ck_assert(region_path_could_dax(XFS, page, disk, sysfs));
	ck_assert(region_path_could_dax(XFS, page, part, sysfs));
	ck_assert(!region_path_could_dax(EXT4, 1024, disk, sysfs));
	ck_assert(!region_path_could_dax(BTRFS, page, disk, sysfs));
	ck_assert(!region_path_could_dax(EXT4, page, plain, sysfs));
	ck_assert(!region_path_could_dax(EXT4, page, makedev(0, 40), sysfs));
}
END_TEST

static void add_paths(Suite *s)
{
	TCase *tc = poolfile_case(s, "paths");

	tcase_add_test(tc, wrong_types_are_refused_by_name);
	tcase_add_test(tc, no_pool_file_is_made_in_dev);
	tcase_add_test(tc, pmem_block_device_gets_both_ways_with_its_names);
	tcase_add_test(tc, pmem_block_device_in_sector_mode_is_not_mounted_with_dax);
	tcase_add_test(tc, other_block_device_is_refused_plainly);
	tcase_add_test(tc, missing_dax_node_says_which_mode_the_device_is_in);
	tcase_add_test(tc, dax_node_that_is_there_without_its_driver_says_so);
	tcase_add_test(tc, dax_device_has_size_and_align_of_sysfs);
	tcase_add_test(tc, a_filesystem_that_could_have_dax_is_known);
}

int main(void)
{
	Suite *s = suite_create("region_path");
	int ret;

	if (!poolfile_setup())
		return EXIT_FAILURE;
	snprintf(sysfs, sizeof(sysfs), "%s/sys", shm_dir);
	add_paths(s);
	ret = unit_run(s);
	poolfile_cleanup();
	return ret;
}
