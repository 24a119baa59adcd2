/*
 * POSIX ACLs: what is valid, and that mode and ACL follow each other as the kernel's fs/posix_acl.c has it.
 */
#include <errno.h>
#include <linux/posix_acl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/acl.h"
#include "unit.h"
#include "util/le.h"

#define NO_ID		0xffffffffU
#define ENTRIES_MAX	8

struct entry {
	unsigned int	tag, perm;
	uint32_t	id;
};

/* At an odd address, as a buffer from a user may be. */
static char buffer[1 + ACL_SIZE(ENTRIES_MAX)];
static char *const acl = buffer + 1;

static void put16(size_t off, unsigned int v)
{
	le16 le = cpu_to_le16(v);

	memcpy(acl + off, &le, sizeof(le));
}

static void put32(size_t off, uint32_t v)
{
	le32 le = cpu_to_le32(v);

	memcpy(acl + off, &le, sizeof(le));
}

static size_t make(const struct entry *e, int count)
{
	put32(0, 2);
	for (int n = 0; n < count; n++) {
		put16(ACL_SIZE(n), e[n].tag);
		put16(ACL_SIZE(n) + 2, e[n].perm);
		put32(ACL_SIZE(n) + 4, e[n].id);
	}
	return ACL_SIZE(count);
}

static unsigned int perm(int n)
{
	le16 le;

	memcpy(&le, acl + ACL_SIZE(n) + 2, sizeof(le));
	return le16_to_cpu(le);
}

/* u::rwx u:1000:rw- g::r-x g:50:rwx m::rwx o::r-- */
static const struct entry full[] = {
	{ ACL_USER_OBJ, 7, NO_ID }, { ACL_USER, 6, 1000 }, { ACL_GROUP_OBJ, 5, NO_ID }, { ACL_GROUP, 7, 50 },
	{ ACL_MASK, 7, NO_ID }, { ACL_OTHER, 4, NO_ID },
};

/* u::rwx g::r-x o::r-- */
static const struct entry minimal[] = {
	{ ACL_USER_OBJ, 7, NO_ID }, { ACL_GROUP_OBJ, 5, NO_ID }, { ACL_OTHER, 4, NO_ID },
};

START_TEST(count_follows_from_the_size)
{
	ck_assert_int_eq(acl_count(0), -EINVAL);
	ck_assert_int_eq(acl_count(3), -EINVAL);
	ck_assert_int_eq(acl_count(4), 0);
	ck_assert_int_eq(acl_count(11), -EINVAL);
	ck_assert_int_eq(acl_count(28), 3);
}
END_TEST

START_TEST(ordered_acls_are_valid)
{
	static const struct entry masked[] = {
		{ ACL_USER_OBJ, 7, NO_ID }, { ACL_GROUP_OBJ, 5, NO_ID }, { ACL_MASK, 1, NO_ID },
		{ ACL_OTHER, 4, NO_ID },
	};

	ck_assert_int_eq(acl_valid(acl, make(full, 6)), 0);
	ck_assert_int_eq(acl_valid(acl, make(minimal, 3)), 0);
	ck_assert_int_eq(acl_valid(acl, make(masked, 4)), 0);
	ck_assert_int_eq(acl_valid(acl, make(NULL, 0)), 0);
}
END_TEST

/* One entry of the full ACL changed. */
static const struct {
	int n;
	struct entry e;
} invalid[] = {
	{ 0, { ACL_USER, 7, 5 } },		/* no owner */
	{ 1, { ACL_USER_OBJ, 7, NO_ID } },	/* owner twice */
	{ 1, { ACL_USER, 8, 1000 } },		/* not a permission */
	{ 1, { ACL_USER, 6, NO_ID } },		/* nobody */
	{ 1, { ACL_GROUP, 6, 5 } },		/* group among the users */
	{ 2, { ACL_USER, 5, 1001 } },		/* no owning group */
	{ 3, { ACL_GROUP, 5, NO_ID } },
	{ 3, { ACL_USER, 5, 1001 } },		/* user among the groups */
	{ 3, { ACL_GROUP_OBJ, 5, NO_ID } },
	{ 4, { ACL_GROUP, 7, 51 } },		/* no mask, needed */
	{ 4, { ACL_OTHER, 4, NO_ID } },		/* others twice */
	{ 5, { ACL_MASK, 4, NO_ID } },		/* mask twice, no others */
	{ 5, { 0, 4, NO_ID } },
	{ 5, { 0x40, 4, NO_ID } },
};

START_TEST(acl_out_of_order_or_with_a_bad_entry_is_invalid)
{
	struct entry e[6];

	memcpy(e, full, sizeof(full));
	e[invalid[_i].n] = invalid[_i].e;
	ck_assert_int_eq(acl_valid(acl, make(e, 6)), -EINVAL);
}
END_TEST

START_TEST(truncated_acl_or_other_version_is_refused)
{
	make(full, 6);
	for (size_t size = 0; size < ACL_SIZE(6); size++)
		ck_assert_int_eq(acl_valid(acl, size), size == ACL_SIZE(0) ? 0 : -EINVAL);
	put32(0, 1);
	ck_assert_int_eq(acl_valid(acl, ACL_SIZE(6)), -EOPNOTSUPP);
}
END_TEST

START_TEST(minimal_acl_is_equivalent_to_a_mode)
{
	mode_t mode = S_IFREG | S_ISUID | 0222;

	ck_assert_int_eq(acl_equiv_mode(acl, make(minimal, 3), &mode), 0);
	ck_assert_uint_eq(mode, S_IFREG | S_ISUID | 0754);
}
END_TEST

START_TEST(mask_is_the_group_bits_of_an_extended_acl)
{
	mode_t mode = S_IFDIR;

	ck_assert_int_eq(acl_equiv_mode(acl, make(full, 6), &mode), 1);
	ck_assert_uint_eq(mode, S_IFDIR | 0774);
	put16(ACL_SIZE(5), 0x40);
	ck_assert_int_eq(acl_equiv_mode(acl, ACL_SIZE(6), &mode), -EINVAL);
	ck_assert_int_eq(acl_equiv_mode(acl, ACL_SIZE(0), &mode), -EINVAL);
	ck_assert_uint_eq(mode, S_IFDIR | 0774);
}
END_TEST

START_TEST(acl_of_a_mode_is_valid_and_says_the_mode)
{
	for (mode_t mode = 0; mode < 01000; mode++) {
		mode_t back = S_IFREG | S_ISGID;

		acl_from_mode(acl, S_IFREG | mode);
		ck_assert_int_eq(acl_valid(acl, ACL_SIZE(ACL_MODE_ENTRIES)), 0);
		ck_assert_int_eq(acl_equiv_mode(acl, ACL_SIZE(ACL_MODE_ENTRIES), &back), 0);
		ck_assert_uint_eq(back, S_IFREG | S_ISGID | mode);
	}
}
END_TEST

START_TEST(chmod_changes_the_mask_and_spares_the_named)
{
	static const unsigned int after[] = { 6, 6, 5, 7, 2, 1 };

	ck_assert_int_eq(acl_chmod(acl, make(full, 6), S_IFREG | 0621), 0);
	for (int n = 0; n < 6; n++)
		ck_assert_uint_eq(perm(n), after[n]);
	ck_assert_int_eq(acl_valid(acl, ACL_SIZE(6)), 0);
}
END_TEST

START_TEST(chmod_without_a_mask_changes_the_owning_group)
{
	static const unsigned int after[] = { 6, 2, 1 };

	ck_assert_int_eq(acl_chmod(acl, make(minimal, 3), 0621), 0);
	for (int n = 0; n < 3; n++)
		ck_assert_uint_eq(perm(n), after[n]);
}
END_TEST

START_TEST(chmod_of_an_incomplete_acl_fails)
{
	ck_assert_int_eq(acl_chmod(acl, make(minimal, 2), 0621), -EIO);
	ck_assert_int_eq(acl_chmod(acl, make(minimal, 0), 0621), -EIO);
	make(minimal, 3);
	put16(ACL_SIZE(1), 0x40);
	ck_assert_int_eq(acl_chmod(acl, ACL_SIZE(3), 0621), -EIO);
}
END_TEST

START_TEST(new_object_gets_what_default_acl_and_mode_both_allow)
{
	static const unsigned int after[] = { 6, 6, 5, 7, 6, 4 };
	mode_t mode = S_IFREG | 0666;

	ck_assert_int_eq(acl_create_masq(acl, make(full, 6), &mode), 1);
	ck_assert_uint_eq(mode, S_IFREG | 0664);
	for (int n = 0; n < 6; n++)
		ck_assert_uint_eq(perm(n), after[n]);
}
END_TEST

START_TEST(minimal_default_acl_ends_in_the_mode)
{
	mode_t mode = S_IFDIR | S_ISGID | 0727;

	ck_assert_int_eq(acl_create_masq(acl, make(minimal, 3), &mode), 0);
	ck_assert_uint_eq(mode, S_IFDIR | S_ISGID | 0704);
	ck_assert_uint_eq(perm(1), 0);
	ck_assert_int_eq(acl_create_masq(acl, make(minimal, 1), &mode), -EIO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acl");
	TCase *tc = tcase_create("acl");

	tcase_add_test(tc, count_follows_from_the_size);
	tcase_add_test(tc, ordered_acls_are_valid);
	tcase_add_loop_test(tc, acl_out_of_order_or_with_a_bad_entry_is_invalid, 0,
			    sizeof(invalid) / sizeof(invalid[0]));
	tcase_add_test(tc, truncated_acl_or_other_version_is_refused);
	tcase_add_test(tc, minimal_acl_is_equivalent_to_a_mode);
	tcase_add_test(tc, mask_is_the_group_bits_of_an_extended_acl);
	tcase_add_test(tc, acl_of_a_mode_is_valid_and_says_the_mode);
	tcase_add_test(tc, chmod_changes_the_mask_and_spares_the_named);
	tcase_add_test(tc, chmod_without_a_mask_changes_the_owning_group);
	tcase_add_test(tc, chmod_of_an_incomplete_acl_fails);
	tcase_add_test(tc, new_object_gets_what_default_acl_and_mode_both_allow);
	tcase_add_test(tc, minimal_default_acl_ends_in_the_mode);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
