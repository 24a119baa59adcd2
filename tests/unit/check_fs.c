/*
 * lib/fs as a whole, on emulated memory: what the operations on names and attributes promise in fs.h, one
 * behaviour a test. Every test ends with an unmount and a check of the pool. (Data: check_fs_data.c; media that
 * lies: check_fs_hostile.c.)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs_pool.h"
#include "meta/dir.h"

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

START_TEST(dots_are_no_names_to_rename)
{
	make_file(INO_ROOT, "f");
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, "..", 0), -EBUSY);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, "f", INO_ROOT, ".", 0), -EBUSY);
	ck_assert_int_eq(fs_rename(fs, INO_ROOT, ".", INO_ROOT, "g", 0), -EBUSY);
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
	uint64_t ino = make_file(INO_ROOT, "f"), d = make_dir(INO_ROOT, "d"), off = 0;
	struct fs_file *f;

	ck_assert_int_eq(fs_setflags(fs, ino, INODE_IMMUTABLE, NULL), 0);
	ck_assert_int_eq(fs_open(fs, ino, O_WRONLY, &f), -EPERM);
	ck_assert_int_eq(fs_unlink(fs, INO_ROOT, "f"), -EPERM);
	ck_assert_int_eq(fs_setflags(fs, ino, INODE_APPEND, NULL), 0);
	ck_assert_int_eq(fs_open(fs, ino, O_WRONLY, &f), -EPERM);
	ck_assert_int_eq(fs_open(fs, ino, O_WRONLY | O_APPEND, &f), 0);
	ck_assert_int_eq(fs_append(f, &user, "x", &off, 1), 1);
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

int main(void)
{
	Suite *s = suite_create("fs");
	TCase *t = tcase_create("operations");

	tcase_set_timeout(t, 300);
	tcase_add_checked_fixture(t, fs_pool_setup, fs_pool_teardown);
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
	tcase_add_test(t, times_are_kept_to_the_nanosecond);
	tcase_add_test(t, times_of_a_write_are_on_media_after_the_close);
	tcase_add_test(t, extended_attributes_are_kept);
	tcase_add_test(t, immutable_and_append_only_are_kept_to);
	tcase_add_test(t, readdir_lists_each_entry_once);
	tcase_add_test(t, a_tmpfile_has_no_name_until_linked);
	tcase_add_test(t, a_read_only_mount_changes_nothing);
	tcase_add_test(t, dots_are_no_names_to_rename);
	suite_add_tcase(s, t);
	return unit_run(s);
}
