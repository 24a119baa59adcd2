/*
 * lib/fs as a whole, on emulated memory: what the operations promise in fs.h, one behaviour a test. Every test
 * ends with an unmount and a check of the pool.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "check/check.h"
#include "fs/fs.h"
#include "meta/balloc.h"
#include "meta/dir.h"
#include "pmem/emu.h"
#include "pmem/persist.h"

#define POOL_BYTES	(16U << 20)

static struct region *region;
static struct fs *fs;
static const struct fs_cred user = { .uid = 1000, .gid = 1000, .umask = 022 };
static const struct fs_cred root = { .cap_fsetid = true, .cap_trusted = true };

static void mount_pool(void)
{
	const struct fs_options opt = { .dax = FS_DAX_ALWAYS, .atime = FS_RELATIME };
	struct err err = { "" };

	ck_assert_msg(fs_mount(&fs, "pool", region, &opt, &err) == 0, "%s", err.text);
}

static void finding(void *arg, const struct check_finding *f)
{
	(void)arg;
	printf("fsck: %s: %s\n", f->name, f->text);
}

static void check_pool_clean(void)
{
	struct check_report report;
	struct err err = { "" };

	ck_assert_msg(check_pool(region, "pool", finding, NULL, &report, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(report.problems, 0);
	ck_assert(report.clean);
}

static void remount(void)
{
	ck_assert_int_eq(fs_unmount(fs), 0);
	check_pool_clean();
	mount_pool();
}

static void setup(void)
{
	struct fs_format format = { .uuid = "fs-unit-tests-1", .root_mode = 0777 };
	struct err err = { "" };

	region = emu_open(POOL_BYTES, NULL);
	ck_assert_msg(fs_format(region, &format, &err) == 0, "%s", err.text);
	mount_pool();
}

static void teardown(void)
{
	ck_assert_int_eq(fs_unmount(fs), 0);
	check_pool_clean();
	emu_close(region);
}

/* ---- Helpers ------------------------------------------------------------------------------------------- */

static uint64_t lookup(uint64_t parent, const char *name)
{
	struct stat st;

	return fs_lookup(fs, parent, name, &st, NULL) ? 0 : st.st_ino;
}

static struct stat attributes(uint64_t ino)
{
	struct stat st = { 0 };

	ck_assert_int_eq(fs_getattr(fs, ino, &st, NULL), 0);
	return st;
}

static struct fs_file *create(const char *name)
{
	struct fs_file *f = NULL;

	ck_assert_int_eq(fs_create(fs, &user, INO_ROOT, name, 0644, O_RDWR, &f, NULL, NULL), 0);
	return f;
}

static uint64_t make_dir(uint64_t parent, const char *name)
{
	struct stat st;

	ck_assert_int_eq(fs_mkdir(fs, &user, parent, name, 0755, &st, NULL), 0);
	return st.st_ino;
}

static uint64_t make_file(uint64_t parent, const char *name)
{
	struct stat st;

	ck_assert_int_eq(fs_mknod(fs, &user, parent, name, S_IFREG | 0644, 0, &st, NULL), 0);
	return st.st_ino;
}

static void write_at(struct fs_file *f, uint64_t off, size_t len, int fill)
{
	char *buf = malloc(len);

	memset(buf, fill, len);
	ck_assert_int_eq(fs_write(f, &user, buf, off, len, 0), (ssize_t)len);
	free(buf);
}

/* All of [off, off + len) is `fill`. */
static bool holds(struct fs_file *f, uint64_t off, size_t len, int fill)
{
	char *buf = malloc(len);
	bool same = fs_read(f, buf, off, len) == (ssize_t)len;

	for (size_t i = 0; same && i < len; i++)
		same = buf[i] == (char)fill;
	free(buf);
	return same;
}

static uint64_t free_blocks(void)
{
	struct statvfs st;

	fs_statvfs(fs, &st);
	return st.f_bfree;
}

/* ---- Names --------------------------------------------------------------------------------------------- */

START_TEST(a_created_file_is_found_after_a_remount)
{
	uint64_t ino = make_file(INO_ROOT, "file");

	remount();
	ck_assert_uint_eq(lookup(INO_ROOT, "file"), ino);
	ck_assert_int_eq(attributes(ino).st_mode, S_IFREG | 0644);
	ck_assert_int_eq(attributes(ino).st_uid, 1000);
}
END_TEST

START_TEST(names_have_their_limits)
{
	char name[300];

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	make_file(INO_ROOT, name);
	name[255] = 'n';
	name[256] = 0;
	ck_assert_int_eq(fs_mknod(fs, &user, INO_ROOT, name, S_IFREG, 0, NULL, NULL), -ENAMETOOLONG);
	ck_assert_int_eq(fs_lookup(fs, INO_ROOT, name, NULL, NULL), -ENAMETOOLONG);
	ck_assert_int_eq(fs_mkdir(fs, &user, INO_ROOT, ".", 0755, NULL, NULL), -EEXIST);
}
END_TEST

START_TEST(creating_what_exists_is_refused)
{
	make_file(INO_ROOT, "x");
	ck_assert_int_eq(fs_mkdir(fs, &user, INO_ROOT, "x", 0755, NULL, NULL), -EEXIST);
	ck_assert_int_eq(fs_symlink(fs, &user, INO_ROOT, "x", "t", NULL, NULL), -EEXIST);
	ck_assert_int_eq(fs_mknod(fs, &user, lookup(INO_ROOT, "x"), "y", S_IFREG, 0, NULL, NULL), -ENOTDIR);
}
END_TEST

START_TEST(directories_count_their_subdirectories)
{
	uint64_t d = make_dir(INO_ROOT, "d");

	make_dir(d, "a");
	make_dir(d, "b");
	ck_assert_int_eq(attributes(d).st_nlink, 4);
	ck_assert_int_eq(fs_rmdir(fs, INO_ROOT, "d"), -ENOTEMPTY);
	ck_assert_int_eq(fs_rmdir(fs, d, "a"), 0);
	ck_assert_int_eq(attributes(d).st_nlink, 3);
	ck_assert_int_eq(fs_unlink(fs, d, "b"), -EISDIR);
	ck_assert_int_eq(fs_rmdir(fs, INO_ROOT, "nothing"), -ENOENT);
}
END_TEST

START_TEST(nothing_is_created_in_a_removed_directory)
{
	struct fs_file *d;
	uint64_t ino = make_dir(INO_ROOT, "d");

	ck_assert_int_eq(fs_opendir(fs, ino, &d), 0);
	ck_assert_int_eq(fs_rmdir(fs, INO_ROOT, "d"), 0);
	ck_assert_int_eq(fs_mkdir(fs, &user, ino, "x", 0755, NULL, NULL), -ENOENT);
	fs_close(d);
	ck_assert_int_eq(fs_getattr(fs, ino, &(struct stat){ 0 }, NULL), -ESTALE);
}
END_TEST

START_TEST(a_setgid_directory_gives_its_group)
{
	uint64_t d = make_dir(INO_ROOT, "d");
	struct stat st = { .st_mode = 02775, .st_gid = 77 };

	ck_assert_int_eq(fs_setattr(fs, &root, d, &st, FS_SET_GID, NULL), 0);
	ck_assert_int_eq(fs_setattr(fs, &root, d, &st, FS_SET_MODE, NULL), 0);
	ck_assert_uint_eq(attributes(make_file(d, "f")).st_gid, 77);
	ck_assert_uint_eq(attributes(make_dir(d, "s")).st_mode & S_ISGID, S_ISGID);
}
END_TEST

START_TEST(symlinks_short_and_long)
{
	char target[4096], got[4096];
	struct stat st;

	memset(target, 't', sizeof(target));
	for (size_t len = 1; len < 4096; len = len * 3 + 90) {
		target[len] = 0;
		ck_assert_int_eq(fs_symlink(fs, &user, INO_ROOT, "s", target, &st, NULL), 0);
		ck_assert_int_eq(st.st_size, (off_t)len);
		ck_assert_int_eq(fs_readlink(fs, st.st_ino, got, sizeof(got)), 0);
		ck_assert_str_eq(got, target);
		ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "s"), 0);
		target[len] = 't';
	}
	ck_assert_int_eq(fs_symlink(fs, &user, INO_ROOT, "s", "", NULL, NULL), -ENOENT);
}
END_TEST

START_TEST(links_share_an_inode_until_the_last_goes)
{
	uint64_t ino = make_file(INO_ROOT, "a"), d = make_dir(INO_ROOT, "d");

	ck_assert_int_eq(fs_link(fs, ino, d, "b", NULL, NULL), 0);
	ck_assert_int_eq(fs_link(fs, d, INO_ROOT, "e", NULL, NULL), -EPERM);
	ck_assert_int_eq(attributes(ino).st_nlink, 2);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "a"), 0);
	ck_assert_uint_eq(lookup(d, "b"), ino);
	ck_assert_int_eq(fs_unlink(fs, d, "b"), 0);
	ck_assert_int_eq(fs_getattr(fs, ino, &(struct stat){ 0 }, NULL), -ESTALE);
}
END_TEST

START_TEST(link_count_has_its_limit)
{
	uint64_t ino = make_file(INO_ROOT, "a");
	char name[16];

	for (unsigned int i = 1; i < LINK_MAX_FILE; i++) {
		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(fs_link(fs, ino, INO_ROOT, name, NULL, NULL), 0);
	}
	ck_assert_int_eq(fs_link(fs, ino, INO_ROOT, "more", NULL, NULL), -EMLINK);
}
END_TEST

/* ---- Rename -------------------------------------------------------------------------------------------- */

START_TEST(rename_replaces_and_frees_what_was_there)
{
	uint64_t before = free_blocks();
	struct fs_file *f = create("old");

	write_at(f, 0, 65536, 'o');
	fs_close(f);
	make_file(INO_ROOT, "new");
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "new", INO_ROOT, "old", 0), 0);
	ck_assert_uint_eq(lookup(INO_ROOT, "new"), 0);
	ck_assert_int_eq(attributes(lookup(INO_ROOT, "old")).st_size, 0);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "old"), 0);
	ck_assert_uint_eq(free_blocks(), before);
}
END_TEST

START_TEST(rename_moves_directories_with_their_parent)
{
	uint64_t a = make_dir(INO_ROOT, "a"), b = make_dir(INO_ROOT, "b"), c = make_dir(a, "c");
	struct stat st;

	ck_assert_int_eq(fs_rename(fs, a, "c", b, "c2", 0), 0);
	ck_assert_int_eq(fs_lookup(fs, c, "..", &st, NULL), 0);
	ck_assert_uint_eq(st.st_ino, b);
	ck_assert_int_eq(attributes(a).st_nlink, 2);
	ck_assert_int_eq(attributes(b).st_nlink, 3);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "b", c, "loop", 0), -EINVAL);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "a", b, "c2", 0), 0);
	ck_assert_int_eq(fs_rename(fs, b, "c2", INO_ROOT, "b", 0), -ENOTEMPTY);
}
END_TEST

START_TEST(rename_checks_types_and_flags)
{
	make_dir(INO_ROOT, "d");
	make_file(INO_ROOT, "f");
	make_file(INO_ROOT, "g");
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, "d", 0), -EISDIR);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "d", INO_ROOT, "f", 0), -ENOTDIR);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, "g", RENAME_NOREPLACE), -EEXIST);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, "h", RENAME_EXCHANGE), -ENOENT);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, "g", 4), -EINVAL);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "none", INO_ROOT, "g", 0), -ENOENT);
}
END_TEST

START_TEST(exchange_swaps_a_file_and_a_directory)
{
	uint64_t d = make_dir(INO_ROOT, "d"), s = make_dir(d, "s"), f = make_file(INO_ROOT, "f");

	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", d, "s", RENAME_EXCHANGE), 0);
	ck_assert_uint_eq(lookup(INO_ROOT, "f"), s);
	ck_assert_uint_eq(lookup(d, "s"), f);
	ck_assert_int_eq(attributes(d).st_nlink, 2);
	remount();
	ck_assert_uint_eq(lookup(INO_ROOT, "f"), s);
}
END_TEST

START_TEST(renaming_one_of_two_names_onto_the_other_does_nothing)
{
	uint64_t ino = make_file(INO_ROOT, "a");

	ck_assert_int_eq(fs_link(fs, ino, INO_ROOT, "b", NULL, NULL), 0);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "a", INO_ROOT, "b", 0), 0);
	ck_assert_uint_eq(lookup(INO_ROOT, "a"), ino);
}
END_TEST

/* ---- Data ---------------------------------------------------------------------------------------------- */

START_TEST(holes_read_as_zeros_and_take_no_blocks)
{
	struct fs_file *f = create("f");

	write_at(f, 1 << 20, 10, 'x');
	ck_assert(holds(f, 0, 1 << 20, 0));
	ck_assert(holds(f, 1 << 20, 10, 'x'));
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 8);
	ck_assert_int_eq(fs_lseek(f, 0, SEEK_DATA), 1 << 20);
	ck_assert_int_eq(fs_lseek(f, 0, SEEK_HOLE), 0);
	ck_assert_int_eq(fs_lseek(f, 2 << 20, SEEK_DATA), -ENXIO);
	fs_close(f);
}
END_TEST

START_TEST(an_overwrite_is_one_fence)
{
	struct fs_file *f = create("f");
	uint64_t commits, data;

	write_at(f, 0, 65536, 'a');
	commits = persist_count(PERSIST_COMMIT);
	data = persist_count(PERSIST_DATA);
	write_at(f, 4096, 8192, 'b');
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits);
	ck_assert_uint_eq(persist_count(PERSIST_DATA), data + 1);
	fs_close(f);
}
END_TEST

START_TEST(an_allocating_write_is_two_fences)
{
	struct fs_file *f = create("f");
	uint64_t commits = persist_count(PERSIST_COMMIT), unreachable = persist_count(PERSIST_UNREACHABLE);
	uint64_t data = persist_count(PERSIST_DATA);

	write_at(f, 0, 4096, 'a');
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 1);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable + 1);
	ck_assert_uint_eq(persist_count(PERSIST_DATA), data);
	fs_close(f);
}
END_TEST

START_TEST(a_creation_is_one_fence)
{
	uint64_t commits, unreachable;

	make_file(INO_ROOT, "first");		/* the directory's block */
	commits = persist_count(PERSIST_COMMIT);
	unreachable = persist_count(PERSIST_UNREACHABLE);
	make_file(INO_ROOT, "second");
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 1);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable);
}
END_TEST

START_TEST(bytes_beyond_a_shorter_eof_never_come_back)
{
	struct fs_file *f = create("f");
	struct stat st = { .st_size = 100 };

	write_at(f, 0, 8192, 'a');
	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(f), &st, FS_SET_SIZE, NULL), 0);
	st.st_size = 8192;
	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(f), &st, FS_SET_SIZE, NULL), 0);
	ck_assert(holds(f, 0, 100, 'a'));
	ck_assert(holds(f, 100, 8092, 0));
	fs_close(f);
}
END_TEST

START_TEST(append_goes_to_the_end_whatever_the_offset)
{
	struct fs_file *f = create("f");

	write_at(f, 0, 10, 'a');
	ck_assert_int_eq(fs_write(f, &user, "bb", 0, 2, FS_WRITE_APPEND), 2);
	ck_assert(holds(f, 10, 2, 'b'));
	fs_close(f);
}
END_TEST

START_TEST(preallocated_blocks_read_as_zeros_and_are_kept)
{
	struct fs_file *f = create("f");

	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_size, 0);
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 2048);
	write_at(f, 5000, 10, 'x');
	ck_assert(holds(f, 0, 5000, 0));
	ck_assert_int_eq(fs_lseek(f, 0, SEEK_DATA), 4096);
	ck_assert_int_eq(fs_fallocate(f, &user, 0, 0, 1 << 20), 0);
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_size, 1 << 20);
	ck_assert(holds(f, 5010, (1 << 20) - 5010, 0));
	fs_close(f);
}
END_TEST

START_TEST(punching_gives_blocks_back_and_zeroes_edges)
{
	struct fs_file *f = create("f");

	write_at(f, 0, 5 * 4096, 'a');
	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4000, 3 * 4096), 0);
	ck_assert(holds(f, 0, 4000, 'a'));
	ck_assert(holds(f, 4000, 3 * 4096, 0));
	ck_assert(holds(f, 4000 + 3 * 4096, 5 * 4096 - 4000 - 3 * 4096, 'a'));
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 3 * 8);
	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_PUNCH_HOLE, 0, 4096), -EOPNOTSUPP);
	fs_close(f);
}
END_TEST

START_TEST(zero_range_keeps_the_blocks)
{
	struct fs_file *f = create("f");

	write_at(f, 0, 5 * 4096, 'a');
	ck_assert_int_eq(fs_fallocate(f, &user, FALLOC_FL_ZERO_RANGE, 100, 6 * 4096), 0);
	ck_assert(holds(f, 0, 100, 'a'));
	ck_assert(holds(f, 100, 6 * 4096, 0));
	ck_assert_int_eq(attributes(fs_file_ino(f)).st_blocks, 7 * 8);
	fs_close(f);
}
END_TEST

START_TEST(an_impossible_preallocation_takes_nothing)
{
	struct fs_file *f = create("f");
	uint64_t before = free_blocks();

	ck_assert_int_eq(fs_fallocate(f, &user, 0, 0, POOL_BYTES), -ENOSPC);
	ck_assert_int_eq(fs_fallocate(f, &user, 0, INT64_MAX, 4096), -EFBIG);
	ck_assert_uint_eq(free_blocks(), before);
	fs_close(f);
}
END_TEST

START_TEST(an_unlinked_open_file_keeps_its_blocks)
{
	uint64_t before = free_blocks();
	struct fs_file *f = create("f");

	write_at(f, 0, 1 << 20, 'a');
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "f"), 0);
	write_at(f, 1 << 20, 4096, 'b');
	ck_assert(holds(f, 0, 1 << 20, 'a'));
	ck_assert_uint_lt(free_blocks(), before - 256);
	fs_close(f);
	ck_assert_uint_eq(free_blocks(), before);
}
END_TEST

START_TEST(a_full_pool_still_unlinks_truncates_and_punches)
{
	uint64_t before = free_blocks();
	struct fs_file *f = create("f"), *g = create("g");
	struct stat st = { .st_size = 4096 };
	char *buf = calloc(1, 65536);
	uint64_t off = 0;
	ssize_t n;

	write_at(g, 0, 65536, 'g');
	while ((n = fs_write(f, &user, buf, off, 65536, 0)) > 0)
		off += (uint64_t)n;
	ck_assert_int_eq(n, -ENOSPC);
	ck_assert_int_eq(fs_fallocate(g, &user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096), 0);
	ck_assert_int_eq(fs_setattr(fs, &user, fs_file_ino(g), &st, FS_SET_SIZE, NULL), 0);
	fs_close(f);
	fs_close(g);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "f"), 0);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "g"), 0);
	ck_assert_uint_eq(free_blocks(), before);
	free(buf);
}
END_TEST

START_TEST(a_pool_full_of_inodes_gives_all_back)
{
	uint64_t before = free_blocks(), d = make_dir(INO_ROOT, "d");
	unsigned int made = 0;
	char name[32];
	int rc = 0;

	while (!rc) {
		snprintf(name, sizeof(name), "%u", made);
		rc = fs_mknod(fs, &user, d, name, S_IFREG | 0600, 0, NULL, NULL);
		made += !rc;
	}
	ck_assert_int_eq(rc, -ENOSPC);
	ck_assert_uint_gt(made, 10000);
	while (made--) {
		snprintf(name, sizeof(name), "%u", made);
		ck_assert_int_eq(fs_unlink(fs, d, name), 0);
	}
	ck_assert_int_eq(fs_rmdir(fs, INO_ROOT, "d"), 0);
	ck_assert_uint_eq(free_blocks(), before);
}
END_TEST

START_TEST(copy_range_copies_data_and_holes)
{
	struct fs_file *a = create("a"), *b = create("b");

	write_at(a, 8192, 8192, 'a');
	write_at(b, 0, 32768, 'b');
	ck_assert_int_eq(fs_copy_range(a, 0, b, 4096, 16384, &user), 16384);
	ck_assert(holds(b, 0, 4096, 'b'));
	ck_assert(holds(b, 4096, 8192, 0));
	ck_assert(holds(b, 12288, 8192, 'a'));
	ck_assert(holds(b, 20480, 12288, 'b'));
	ck_assert_int_eq(fs_copy_range(a, 0, a, 4096, 8192, &user), -EINVAL);
	fs_close(a);
	fs_close(b);
}
END_TEST

START_TEST(writing_takes_setuid_away_from_the_unprivileged)
{
	struct fs_file *f = create("f");
	struct stat st = { .st_mode = 06755 };
	uint64_t ino = fs_file_ino(f);

	write_at(f, 0, 100, 'a');
	ck_assert_int_eq(fs_setattr(fs, &root, ino, &st, FS_SET_MODE, NULL), 0);
	ck_assert_int_eq(fs_write(f, &root, "x", 0, 1, 0), 1);
	ck_assert_uint_eq(attributes(ino).st_mode & 07777, 06755);
	ck_assert_int_eq(fs_write(f, &user, "x", 0, 1, 0), 1);
	ck_assert_uint_eq(attributes(ino).st_mode & 07777, 0755);
	fs_close(f);
}
END_TEST

/* ---- Attributes ---------------------------------------------------------------------------------------- */

START_TEST(times_are_kept_to_the_nanosecond)
{
	struct stat st = { .st_atim = { -5, 999999999 }, .st_mtim = { 1LL << 33, 1 } };
	uint64_t ino = make_file(INO_ROOT, "f");

	ck_assert_int_eq(fs_setattr(fs, &user, ino, &st, FS_SET_ATIME | FS_SET_MTIME, NULL), 0);
	remount();
	ck_assert_int_eq(attributes(ino).st_atim.tv_sec, -5);
	ck_assert_int_eq(attributes(ino).st_atim.tv_nsec, 999999999);
	ck_assert_int_eq(attributes(ino).st_mtim.tv_sec, 1LL << 33);
}
END_TEST

START_TEST(times_of_a_write_are_on_media_after_the_close)
{
	struct fs_file *f = create("f");
	uint64_t ino = fs_file_ino(f);
	struct timespec written;

	write_at(f, 0, 4096, 'a');
	write_at(f, 0, 4096, 'b');
	written = attributes(ino).st_mtim;
	fs_close(f);
	remount();
	ck_assert_int_eq(attributes(ino).st_mtim.tv_sec, written.tv_sec);
	ck_assert_int_eq(attributes(ino).st_mtim.tv_nsec, written.tv_nsec);
}
END_TEST

START_TEST(extended_attributes_are_kept)
{
	uint64_t ino = make_file(INO_ROOT, "f");
	char got[64], list[64];

	ck_assert_int_eq(fs_setxattr(fs, &user, ino, "user.a", "value", 5, 0), 0);
	ck_assert_int_eq(fs_setxattr(fs, &user, ino, "user.a", "v", 1, XATTR_CREATE), -EEXIST);
	ck_assert_int_eq(fs_setxattr(fs, &user, ino, "user.b", "v", 1, XATTR_REPLACE), -ENODATA);
	ck_assert_int_eq(fs_setxattr(fs, &root, ino, "trusted.t", "t", 1, 0), 0);
	remount();
	ck_assert_int_eq(fs_getxattr(fs, ino, "user.a", got, sizeof(got)), 5);
	ck_assert_int_eq(fs_getxattr(fs, ino, "user.a", got, 2), -ERANGE);
	ck_assert_int_eq(fs_listxattr(fs, &user, ino, list, sizeof(list)), 7);
	ck_assert_int_eq(fs_listxattr(fs, &root, ino, list, sizeof(list)), 17);
	ck_assert_int_eq(fs_removexattr(fs, ino, "user.a"), 0);
	ck_assert_int_eq(fs_removexattr(fs, ino, "user.a"), -ENODATA);
}
END_TEST

START_TEST(immutable_and_append_only_are_kept_to)
{
	uint64_t ino = make_file(INO_ROOT, "f"), d = make_dir(INO_ROOT, "d");
	struct fs_file *f;

	ck_assert_int_eq(fs_setflags(fs, ino, INODE_IMMUTABLE, NULL), 0);
	ck_assert_int_eq(fs_open(fs, ino, O_WRONLY, &f), -EPERM);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "f"), -EPERM);
	ck_assert_int_eq(fs_setflags(fs, ino, INODE_APPEND, NULL), 0);
	ck_assert_int_eq(fs_open(fs, ino, O_WRONLY, &f), -EPERM);
	ck_assert_int_eq(fs_open(fs, ino, O_WRONLY | O_APPEND, &f), 0);
	ck_assert_int_eq(fs_write(f, &user, "x", 0, 1, FS_WRITE_APPEND), 1);
	fs_close(f);
	ck_assert_int_eq(fs_setflags(fs, d, INODE_APPEND, NULL), 0);
	make_file(d, "in");
	ck_assert_int_eq(fs_unlink(fs, d, "in"), -EPERM);
	ck_assert_int_eq(fs_setflags(fs, ino, 0x1, NULL), -EOPNOTSUPP);
	ck_assert_int_eq(fs_setflags(fs, ino, 0, NULL), 0);
	ck_assert_int_eq(fs_setflags(fs, d, 0, NULL), 0);
}
END_TEST

struct listing {
	uint64_t	cookie;
	unsigned int	seen, dots;
};

/* Stops after every seventh entry, as a full buffer does. */
static int list_entry_seen(void *arg, const struct dir_entry *e)
{
	struct listing *l = arg;

	ck_assert_uint_gt(e->cookie, l->cookie);
	l->cookie = e->cookie;
	if (e->name[0] == '.')
		l->dots++;
	else
		l->seen++;
	return (l->seen + l->dots) % 7 == 0;
}

START_TEST(readdir_lists_each_entry_once)
{
	uint64_t d = make_dir(INO_ROOT, "d"), before;
	struct listing l = { 0 };
	struct fs_file *h;
	char name[16];

	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		make_file(d, name);
	}
	ck_assert_int_eq(fs_opendir(fs, d, &h), 0);
	do {
		before = l.cookie;
		ck_assert_int_eq(fs_readdir(h, l.cookie, list_entry_seen, &l), 0);
	} while (l.cookie != before);
	fs_close(h);
	ck_assert_uint_eq(l.dots, 2);
	ck_assert_uint_eq(l.seen, 1000);
}
END_TEST

START_TEST(a_tmpfile_has_no_name_until_linked)
{
	struct fs_file *f;
	uint64_t before = free_blocks();

	ck_assert_int_eq(fs_tmpfile(fs, &user, INO_ROOT, 0600, O_RDWR, &f, NULL, NULL), 0);
	write_at(f, 0, 100, 't');
	ck_assert_int_eq(fs_link(fs, fs_file_ino(f), INO_ROOT, "t", NULL, NULL), 0);
	fs_close(f);
	ck_assert_int_eq(attributes(lookup(INO_ROOT, "t")).st_nlink, 1);
	ck_assert_int_eq(fs_tmpfile(fs, &user, INO_ROOT, 0600, O_RDWR, &f, NULL, NULL), 0);
	fs_close(f);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "t"), 0);
	ck_assert_uint_ge(free_blocks() + 1, before);	/* the root's first block */
}
END_TEST

START_TEST(a_read_only_mount_changes_nothing)
{
	const struct fs_options ro = { .readonly = true };
	struct err err = { "" };
	struct fs_file *f;

	make_file(INO_ROOT, "f");
	ck_assert_int_eq(fs_unmount(fs), 0);
	ck_assert_int_eq(fs_mount(&fs, "pool", region, &ro, &err), 0);
	ck_assert_int_eq(fs_mkdir(fs, &user, INO_ROOT, "d", 0755, NULL, NULL), -EROFS);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "f"), -EROFS);
	ck_assert_int_eq(fs_open(fs, lookup(INO_ROOT, "f"), O_RDWR, &f), -EROFS);
	ck_assert_int_eq(fs_unmount(fs), 0);
	mount_pool();
}
END_TEST

/* ---- Media that lies ----------------------------------------------------------------------------------- */

START_TEST(dots_are_no_names_to_rename)
{
	make_file(INO_ROOT, "f");
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, "..", 0), -EBUSY);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, ".", 0), -EBUSY);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, ".", INO_ROOT, "g", 0), -EBUSY);
}
END_TEST

/* An entry put into, or taken out of, a directory behind the back of lib/fs. */
static void edit_entry(uint64_t dir, const char *name, uint64_t ino)
{
	struct inode *ip;
	struct tx tx;

	ck_assert_int_eq(inode_get(fs_pool(fs), dir, &ip), 0);
	ck_assert_int_eq(dir_lock_exclusive(ip), 0);
	ck_assert_int_eq(tx_begin(&tx, fs_pool(fs), 0), 0);
	ck_assert_int_eq(inode_join(&tx, ip), 0);
	if (ino)
		ck_assert_int_eq(dir_add(&tx, ip, name, (unsigned int)strlen(name), ino, DT_DIR), 0);
	else
		ck_assert_int_eq(dir_remove(&tx, ip, name, (unsigned int)strlen(name)), 0);
	ck_assert_int_eq(tx_commit(&tx), 0);
	pthread_rwlock_unlock(&ip->lock);
	inode_put(ip);
}

/* Followed, each of these would lock a directory twice, or a parent after its child. */
START_TEST(an_entry_to_a_directory_with_another_parent_is_refused)
{
	uint64_t a = make_dir(INO_ROOT, "a"), b = make_dir(a, "b"), other = make_dir(INO_ROOT, "other");
	const uint64_t wrong[] = { b, a, INO_ROOT, other };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		edit_entry(b, "x", wrong[i]);
		ck_assert_int_eq(fs_lookup(fs, b, "x", NULL, NULL), -EUCLEAN);
		ck_assert_int_eq(fs_rmdir(fs, b, "x"), -EUCLEAN);
		ck_assert_int_eq(fs_unlink(fs, b, "x"), -EUCLEAN);
		ck_assert_int_eq(fs_rename(fs, b, "x", b, "y", 0), -EUCLEAN);
		ck_assert_int_eq(fs_rename(fs, b, "x", INO_ROOT, "y", 0), -EUCLEAN);
		edit_entry(b, "x", 0);
	}
}
END_TEST

static void set_parent(uint64_t dir, uint64_t parent)
{
	struct inode *ip;

	ck_assert_int_eq(inode_get(fs_pool(fs), dir, &ip), 0);
	pthread_rwlock_wrlock(&ip->lock);
	ip->core.rdev = parent;
	pthread_rwlock_unlock(&ip->lock);
	inode_put(ip);
}

START_TEST(parents_that_go_round_end_a_rename)
{
	uint64_t a = make_dir(INO_ROOT, "a"), b = make_dir(a, "b"), other = make_dir(INO_ROOT, "other");

	make_file(b, "f");
	set_parent(a, b);
	ck_assert_int_eq(fs_rename(fs, b, "f", other, "g", 0), -EUCLEAN);
	set_parent(a, INO_ROOT);
	ck_assert_int_eq(fs_rename(fs, b, "f", other, "g", 0), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("fs");
	TCase *t = tcase_create("operations");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 300);
	tcase_add_test(t, a_created_file_is_found_after_a_remount);
	tcase_add_test(t, names_have_their_limits);
	tcase_add_test(t, creating_what_exists_is_refused);
	tcase_add_test(t, directories_count_their_subdirectories);
	tcase_add_test(t, nothing_is_created_in_a_removed_directory);
	tcase_add_test(t, a_setgid_directory_gives_its_group);
	tcase_add_test(t, symlinks_short_and_long);
	tcase_add_test(t, links_share_an_inode_until_the_last_goes);
	tcase_add_test(t, link_count_has_its_limit);
	tcase_add_test(t, rename_replaces_and_frees_what_was_there);
	tcase_add_test(t, rename_moves_directories_with_their_parent);
	tcase_add_test(t, rename_checks_types_and_flags);
	tcase_add_test(t, exchange_swaps_a_file_and_a_directory);
	tcase_add_test(t, renaming_one_of_two_names_onto_the_other_does_nothing);
	tcase_add_test(t, holes_read_as_zeros_and_take_no_blocks);
	tcase_add_test(t, an_overwrite_is_one_fence);
	tcase_add_test(t, an_allocating_write_is_two_fences);
	tcase_add_test(t, a_creation_is_one_fence);
	tcase_add_test(t, bytes_beyond_a_shorter_eof_never_come_back);
	tcase_add_test(t, append_goes_to_the_end_whatever_the_offset);
	tcase_add_test(t, preallocated_blocks_read_as_zeros_and_are_kept);
	tcase_add_test(t, punching_gives_blocks_back_and_zeroes_edges);
	tcase_add_test(t, zero_range_keeps_the_blocks);
	tcase_add_test(t, an_impossible_preallocation_takes_nothing);
	tcase_add_test(t, an_unlinked_open_file_keeps_its_blocks);
	tcase_add_test(t, a_full_pool_still_unlinks_truncates_and_punches);
	tcase_add_test(t, a_pool_full_of_inodes_gives_all_back);
	tcase_add_test(t, copy_range_copies_data_and_holes);
	tcase_add_test(t, writing_takes_setuid_away_from_the_unprivileged);
	tcase_add_test(t, times_are_kept_to_the_nanosecond);
	tcase_add_test(t, times_of_a_write_are_on_media_after_the_close);
	tcase_add_test(t, extended_attributes_are_kept);
	tcase_add_test(t, immutable_and_append_only_are_kept_to);
	tcase_add_test(t, readdir_lists_each_entry_once);
	tcase_add_test(t, a_tmpfile_has_no_name_until_linked);
	tcase_add_test(t, a_read_only_mount_changes_nothing);
	tcase_add_test(t, dots_are_no_names_to_rename);
	tcase_add_test(t, an_entry_to_a_directory_with_another_parent_is_refused);
	tcase_add_test(t, parents_that_go_round_end_a_rename);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
