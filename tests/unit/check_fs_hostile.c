/*
 * lib/fs on media that lies: what it says is well-formed, and together makes no tree. Nothing may lock up, and
 * nothing may be changed on its word. Every test puts right what it planted; an unmount and a check of the pool end
 * it.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "fs_pool.h"
#include "meta/balloc.h"
#include "meta/dir.h"

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

/* What fs_entry_attr() said of the entries of a directory. */
struct entry_attrs {
	struct fs_file	*dir;
	uint64_t	 good, bad;		/* what these two point to */
	unsigned int	 dots, found, refused;
};

static int look_at_entry(void *arg, const struct dir_entry *e)
{
	struct entry_attrs *a = arg;
	struct stat st = { 0 };
	int rc = fs_entry_attr(a->dir, e, &st, NULL);

	if (e->name[0] == '.') {
		ck_assert_int_eq(rc, -EINVAL);
		a->dots++;
	} else if (strcmp(e->name, "x") == 0) {
		ck_assert_uint_eq(e->ino, a->bad);
		ck_assert_int_eq(rc, -EUCLEAN);
		a->refused++;
	} else {
		ck_assert_int_eq(rc, 0);
		ck_assert_uint_eq(st.st_ino, e->ino);
		a->found += e->ino == a->good;
	}
	return 0;
}

/* The same for a listing, which holds the directory's lock while it asks for attributes. */
START_TEST(a_listing_gives_no_attributes_of_a_directory_with_another_parent)
{
	uint64_t a = make_dir(INO_ROOT, "a"), b = make_dir(a, "b"), other = make_dir(INO_ROOT, "other");
	const uint64_t wrong[] = { b, a, INO_ROOT, other };
	uint64_t below = make_dir(b, "below");

	make_file(b, "file");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct entry_attrs seen = { .good = below, .bad = wrong[i] };

		edit_entry(b, "x", wrong[i]);
		ck_assert_int_eq(fs_opendir(fs, b, &seen.dir), 0);
		ck_assert_int_eq(fs_readdir(seen.dir, 0, look_at_entry, &seen), 0);
		fs_close(seen.dir);
		ck_assert_uint_eq(seen.dots, 2);
		ck_assert_uint_eq(seen.found, 1);
		ck_assert_uint_eq(seen.refused, 1);
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

int main(void)
{
	Suite *s = suite_create("fs_hostile");
	TCase *t = tcase_create("hostile");

	tcase_set_timeout(t, 300);
	tcase_add_checked_fixture(t, fs_pool_setup, fs_pool_teardown);
	tcase_add_test(t, an_entry_to_a_directory_with_another_parent_is_refused);
	tcase_add_test(t, a_listing_gives_no_attributes_of_a_directory_with_another_parent);
	tcase_add_test(t, parents_that_go_round_end_a_rename);
	suite_add_tcase(s, t);
	return unit_run(s);
}
