/*
 * Extended attributes: against a plain model, setxattr(2)'s flags, limits, damaged runs, and the ends of
 * memory and space.
 */
#include <errno.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "meta/xattr.h"
#include "pool.h"
#include "unit.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define BLOCKS	4096U

static struct unit_pool *up;
static struct inode *file;
static uint64_t free_before;

static void setup(void)
{
	up = unit_pool_new(BLOCKS, 16);
	file = unit_pool_inode(up, S_IFREG | 0644);
	free_before = unit_pool_free(up);
}

static void teardown(void)
{
	unit_pool_end(up, file);
}

/* One change in a transaction of its own, aborted if it fails. */
static int set(const char *name, const void *value, size_t size, int flags)
{
	struct tx tx;
	int err;

	unit_begin(&tx, file, 0);
	err = xattr_set(&tx, file, name, value, size, flags);
	if (err)
		unit_abort(&tx, file);
	else
		unit_commit(&tx, file);
	return err;
}

static int set_text(const char *name, const char *text)
{
	return set(name, text, strlen(text), 0);
}

static void reopen(void)
{
	file = unit_pool_reopen_inode(up, 16, file);
}

static void assert_text(const char *name, const char *text)
{
	char value[256];
	ssize_t len = xattr_get(file, name, value, sizeof(value));

	ck_assert_int_eq(len, strlen(text));
	ck_assert_mem_eq(value, text, len);
}

/* ---- Reading and changing ------------------------------------------------------------------------------ */

START_TEST(values_are_kept_by_complete_name_and_survive_a_reopen)
{
	ck_assert_int_eq(set_text("user.a", "one"), 0);
	ck_assert_int_eq(set_text("trusted.a", "two"), 0);
	ck_assert_int_eq(set_text("security.a", "three"), 0);
	ck_assert_int_eq(set_text("system.posix_acl_access", "four"), 0);
	ck_assert_int_eq(set_text("system.posix_acl_default", "five"), 0);
	ck_assert_int_eq(set("user.empty", "", 0, 0), 0);
	ck_assert_int_eq(set_text("user.a", "new one"), 0);
	reopen();
	assert_text("user.a", "new one");
	assert_text("trusted.a", "two");
	assert_text("security.a", "three");
	assert_text("system.posix_acl_access", "four");
	assert_text("system.posix_acl_default", "five");
	assert_text("user.empty", "");
	ck_assert_int_eq(xattr_get(file, "user.b", NULL, 0), -ENODATA);
	ck_assert_uint_eq(file->core.xattr_blocks, 1);
	ck_assert_uint_eq(file->core.blocks, 1);
}
END_TEST

START_TEST(get_tells_the_length_and_refuses_a_short_buffer)
{
	char value[3];

	ck_assert_int_eq(set_text("user.a", "four"), 0);
	ck_assert_int_eq(xattr_get(file, "user.a", NULL, 0), 4);
	ck_assert_int_eq(xattr_get(file, "user.a", value, 3), -ERANGE);
}
END_TEST

START_TEST(list_has_each_name_and_hides_trusted_ones)
{
	static const char all[] = "user.a\0trusted.t\0system.posix_acl_access";
	static const char some[] = "user.a\0system.posix_acl_access";
	char list[sizeof(all)];

	ck_assert_int_eq(xattr_list(file, list, sizeof(list), true), 0);
	ck_assert_int_eq(set_text("user.a", "1"), 0);
	ck_assert_int_eq(set_text("trusted.t", "2"), 0);
	ck_assert_int_eq(set_text("system.posix_acl_access", "3"), 0);
	ck_assert_int_eq(xattr_list(file, NULL, 0, true), sizeof(all));
	ck_assert_int_eq(xattr_list(file, list, sizeof(all), true), sizeof(all));
	ck_assert_mem_eq(list, all, sizeof(all));
	ck_assert_int_eq(xattr_list(file, list, sizeof(all) - 1, true), -ERANGE);
	ck_assert_int_eq(xattr_list(file, NULL, 0, false), sizeof(some));
	ck_assert_int_eq(xattr_list(file, list, sizeof(some), false), sizeof(some));
	ck_assert_mem_eq(list, some, sizeof(some));
}
END_TEST

START_TEST(flags_are_those_of_setxattr)
{
	ck_assert_int_eq(set("user.a", "1", 1, XATTR_REPLACE), -ENODATA);
	ck_assert_int_eq(set("user.a", "1", 1, XATTR_CREATE), 0);
	ck_assert_int_eq(set("user.a", "2", 1, XATTR_CREATE), -EEXIST);
	ck_assert_int_eq(set("user.a", "3", 1, XATTR_REPLACE), 0);
	ck_assert_int_eq(set("user.a", "3", 1, 4), -EINVAL);
	assert_text("user.a", "3");
	ck_assert_int_eq(set("user.b", NULL, 0, 0), -ENODATA);
}
END_TEST

START_TEST(names_outside_the_namespaces_are_refused)
{
	char name[300] = "user.";

	ck_assert_int_eq(set_text("", "1"), -ERANGE);
	ck_assert_int_eq(set_text("user.", "1"), -EINVAL);
	ck_assert_int_eq(set_text("user", "1"), -EOPNOTSUPP);
	ck_assert_int_eq(set_text("system.a", "1"), -EOPNOTSUPP);
	ck_assert_int_eq(set_text("system.posix_acl_accessory", "1"), -EOPNOTSUPP);
	ck_assert_int_eq(xattr_get(file, "other.a", NULL, 0), -EOPNOTSUPP);
	memset(name + 5, 'n', 251);
	ck_assert_int_eq(set_text(name, "1"), -ERANGE);
	name[255] = '\0';
	ck_assert_int_eq(set_text(name, "1"), 0);
	assert_text(name, "1");
}
END_TEST

START_TEST(last_removal_drops_the_run)
{
	ck_assert_int_eq(set_text("user.a", "1"), 0);
	ck_assert_int_eq(set_text("user.b", "2"), 0);
	ck_assert_int_eq(set("user.a", NULL, 0, 0), 0);
	assert_text("user.b", "2");
	ck_assert_uint_eq(unit_pool_free(up), free_before - 1);
	ck_assert_int_eq(set("user.b", NULL, 0, 0), 0);
	ck_assert_uint_eq(file->core.xattr_block, 0);
	ck_assert_uint_eq(file->core.xattr_blocks, 0);
	ck_assert_uint_eq(file->core.blocks, 0);
	ck_assert_uint_eq(unit_pool_free(up), free_before);
	reopen();
	ck_assert_int_eq(xattr_list(file, NULL, 0, true), 0);
}
END_TEST

START_TEST(several_changes_in_one_transaction_leave_one_run)
{
	struct tx tx;

	ck_assert_int_eq(set_text("user.old", "0"), 0);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(xattr_set(&tx, file, "user.a", "1", 1, 0), 0);
	ck_assert_int_eq(xattr_set(&tx, file, "user.b", "2", 1, 0), 0);
	ck_assert_int_eq(xattr_set(&tx, file, "user.a", "3", 1, XATTR_REPLACE), 0);
	ck_assert_int_eq(xattr_set(&tx, file, "user.old", NULL, 0, 0), 0);
	unit_commit(&tx, file);
	ck_assert_uint_eq(unit_pool_free(up), free_before - 1);
	reopen();
	assert_text("user.a", "3");
	assert_text("user.b", "2");
	ck_assert_int_eq(xattr_get(file, "user.old", NULL, 0), -ENODATA);
	ck_assert_uint_eq(unit_pool_free(up), free_before - 1);
}
END_TEST

START_TEST(abort_leaves_the_old_run)
{
	struct tx tx;

	ck_assert_int_eq(set_text("user.a", "1"), 0);
	unit_begin(&tx, file, 0);
	ck_assert_int_eq(xattr_set(&tx, file, "user.a", "2", 1, 0), 0);
	ck_assert_int_eq(xattr_set(&tx, file, "user.b", "2", 1, 0), 0);
	unit_abort(&tx, file);
	assert_text("user.a", "1");
	ck_assert_int_eq(xattr_get(file, "user.b", NULL, 0), -ENODATA);
	ck_assert_uint_eq(unit_pool_free(up), free_before - 1);
}
END_TEST

START_TEST(new_run_is_fenced_before_the_record_that_names_it)
{
	uint64_t unreachable = persist_count(PERSIST_UNREACHABLE), commits = persist_count(PERSIST_COMMIT);

	ck_assert_int_eq(set_text("user.a", "1"), 0);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable + 1);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 1);
	ck_assert_int_eq(set("user.a", NULL, 0, 0), 0);
	ck_assert_uint_eq(persist_count(PERSIST_UNREACHABLE), unreachable + 1);
	ck_assert_uint_eq(persist_count(PERSIST_COMMIT), commits + 2);
}
END_TEST

START_TEST(unlinked_inode_gives_its_run_back)
{
	static const char value[10000];
	struct inode *other = unit_pool_inode(up, S_IFREG | 0644);
	uint64_t before = unit_pool_free(up);
	struct tx tx;

	unit_begin(&tx, other, 0);
	ck_assert_int_eq(xattr_set(&tx, other, "user.a", value, sizeof(value), 0), 0);
	unit_commit(&tx, other);
	ck_assert_uint_eq(unit_pool_free(up), before - 3);
	unit_pool_unlink(other);
	ck_assert_uint_eq(unit_pool_free(up), before);
}
END_TEST

/* ---- Limits -------------------------------------------------------------------------------------------- */

static char big[XATTR_VALUE_MAX + 1];

START_TEST(value_of_64_kib_is_kept_and_a_longer_one_refused)
{
	static char back[XATTR_VALUE_MAX];

	memset(big, 'v', sizeof(big));
	ck_assert_int_eq(set("user.a", big, XATTR_VALUE_MAX + 1, 0), -E2BIG);
	ck_assert_int_eq(set("user.a", big, XATTR_VALUE_MAX, 0), 0);
	reopen();
	ck_assert_int_eq(xattr_get(file, "user.a", back, sizeof(back)), XATTR_VALUE_MAX);
	ck_assert_mem_eq(back, big, sizeof(back));
	ck_assert_uint_eq(file->core.xattr_blocks, 17);
}
END_TEST

START_TEST(run_holds_64_blocks_and_no_more)
{
	const char *const names[] = { "user.0", "user.1", "user.2" };

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(set(names[i], big, XATTR_VALUE_MAX, 0), 0);
	/*
	 * What 32 bytes of header and 4 entries of 8 + 1 bytes, with values rounded up to 12, leave for the
	 * last.
	 */
	ck_assert_int_eq(set("user.3", big, XATTR_VALUE_MAX - 32 - 4 * 12 + 4, 0), -ENOSPC);
	ck_assert_int_eq(set("user.3", big, XATTR_VALUE_MAX - 32 - 4 * 12 + 3, 0), 0);
	ck_assert_uint_eq(file->core.xattr_blocks, XATTR_RUN_MAX);
	ck_assert_int_eq(set("user.4", "", 0, 0), -ENOSPC);
	ck_assert_int_eq(set("user.3", NULL, 0, 0), 0);
	ck_assert_int_eq(set("user.4", "", 0, 0), 0);
}
END_TEST

START_TEST(list_of_names_never_exceeds_what_listxattr_can_return)
{
	char name[256];
	struct tx tx;
	int err = 0, n = 0;

	memset(name, 'n', 255);
	name[255] = '\0';
	memcpy(name, "user.", 5);
	while (!err) {
		unit_begin(&tx, file, 0);
		for (int i = 0; !err && i < 8; i++, n++) {
			snprintf(name + 5, sizeof(name) - 5, "%05d", n);
			name[10] = 'n';
			err = xattr_set(&tx, file, name, "", 0, XATTR_CREATE);
		}
		if (err)
			unit_abort(&tx, file);
		else
			unit_commit(&tx, file);
	}
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_int_le(xattr_list(file, NULL, 0, true), XATTR_LIST_MAX);
	ck_assert_int_gt(xattr_list(file, NULL, 0, true), XATTR_LIST_MAX - 9 * 256);
}
END_TEST

START_TEST(full_pool_refuses_a_new_run_and_still_drops_the_last)
{
	ck_assert_int_eq(set_text("user.a", "1"), 0);
	fault_arm_always(FAULT_BALLOC);
	ck_assert_int_eq(set_text("user.a", "2"), -ENOSPC);
	assert_text("user.a", "1");
	ck_assert_int_eq(set("user.a", NULL, 0, 0), 0);
	ck_assert_int_eq(xattr_get(file, "user.a", NULL, 0), -ENODATA);
}
END_TEST

START_TEST(failed_allocation_leaves_the_attributes_as_they_were)
{
	struct tx tx;
	int err;

	ck_assert_int_eq(set_text("user.a", "1"), 0);
	unit_begin(&tx, file, 0);
	fault_arm(FAULT_ALLOC, 1);
	err = xattr_set(&tx, file, "user.a", "2", 1, 0);
	fault_disarm(FAULT_ALLOC);
	ck_assert_int_eq(err, -ENOMEM);
	unit_abort(&tx, file);
	assert_text("user.a", "1");
}
END_TEST

/* ---- Damage -------------------------------------------------------------------------------------------- */

static union {
	struct disk_xattr_run	run;
	char			bytes[BLOCK_SIZE];
} damaged;

/* The run of damage_prepare(): user.first, then the access ACL. */
static struct disk_xattr *first(void)
{
	return (struct disk_xattr *)(&damaged.run + 1);
}

static struct disk_xattr *second(void)
{
	return (struct disk_xattr *)((char *)first() + 8 + 8);
}

static void damage_magic(void)		{ damaged.run.magic = cpu_to_le32(1); }
static void damage_owner(void)		{ damaged.run.owner = cpu_to_le64(99); }
static void damage_generation(void)	{ damaged.run.generation = cpu_to_le64(99); }
static void damage_used_short(void)	{ damaged.run.used = cpu_to_le32(16); }
static void damage_used_long(void)	{ damaged.run.used = cpu_to_le32(BLOCK_SIZE + 4); }
static void damage_used_huge(void)	{ damaged.run.used = cpu_to_le32(0xfffffffcU); }
static void damage_used_odd(void)	{ damaged.run.used = cpu_to_le32(33); }
static void damage_count_less(void)	{ damaged.run.count = cpu_to_le32(1); }
static void damage_count_more(void)	{ damaged.run.count = cpu_to_le32(3); }
static void damage_ns_zero(void)	{ first()->ns = 0; }
static void damage_ns_high(void)	{ first()->ns = 6; }
static void damage_ns_no_name(void)	{ first()->ns = XATTR_NS_ACL_ACCESS; }
static void damage_no_name(void)	{ first()->name_len = 0; }
static void damage_acl_name(void)	{ second()->name_len = 1; }
static void damage_name_long(void)	{ first()->name_len = 251; }
static void damage_name_nul(void)	{ ((char *)(first() + 1))[2] = '\0'; }
static void damage_value_long(void)	{ second()->value_len = cpu_to_le32(100); }
static void damage_value_huge(void)	{ second()->value_len = cpu_to_le32(0xffffffffU); }

static const struct {
	void (*damage)(void);
	const char *bad;
} damages[] = {
	{ damage_magic, "magic" }, { damage_owner, "owner" }, { damage_generation, "generation" },
	{ damage_used_short, "length" }, { damage_used_long, "length" }, { damage_used_huge, "length" },
	{ damage_used_odd, "length" }, { damage_count_less, "count of entries" },
	{ damage_count_more, "count of entries" }, { damage_ns_zero, "namespace" },
	{ damage_ns_high, "namespace" }, { damage_ns_no_name, "name length" },
	{ damage_no_name, "name length" }, { damage_acl_name, "name length" },
	{ damage_name_long, "name length" }, { damage_name_nul, "name" },
	{ damage_value_long, "value length" }, { damage_value_huge, "value length" },
};

static void damage_prepare(void)
{
	ck_assert_int_eq(set_text("user.first", "val"), 0);
	ck_assert_int_eq(set_text("system.posix_acl_access", "acl"), 0);
	memcpy(&damaged, pool_block(&up->pool, file->core.xattr_block), sizeof(damaged));
	ck_assert_int_eq(second()->ns, XATTR_NS_ACL_ACCESS);
}

static const char *damage_store(bool crc)
{
	uint64_t block = file->core.xattr_block, off = block << BLOCK_SHIFT;
	uint32_t used = le32_to_cpu(damaged.run.used), sum;

	used = used > sizeof(damaged) ? sizeof(damaged) : used;
	sum = crc32c_object(format_seed(&up->pool.super, off), &damaged, used,
			    offsetof(struct disk_xattr_run, crc));
	damaged.run.crc = cpu_to_le32(crc ? sum : ~sum);
	persist_store(up->region, pool_block(&up->pool, block), &damaged, sizeof(damaged));
	return disk_xattr_run_verify(&up->pool.super, pool_block(&up->pool, block), block,
				     file->core.xattr_blocks, file->ino, file->core.generation);
}

START_TEST(damaged_run_is_refused_by_name)
{
	damage_prepare();
	damages[_i].damage();
	ck_assert_str_eq(damage_store(true), damages[_i].bad);
	ck_assert_int_eq(xattr_get(file, "user.first", NULL, 0), -EUCLEAN);
	ck_assert_int_eq(xattr_list(file, NULL, 0, true), -EUCLEAN);
	ck_assert_int_eq(set_text("user.first", "1"), -EUCLEAN);
}
END_TEST

START_TEST(wrong_crc_is_refused_and_the_undamaged_run_is_not)
{
	damage_prepare();
	ck_assert_str_eq(damage_store(false), "crc");
	ck_assert_int_eq(xattr_get(file, "user.first", NULL, 0), -EUCLEAN);
	ck_assert_ptr_null(damage_store(true));
	assert_text("user.first", "val");
}
END_TEST

START_TEST(run_outside_the_pool_is_refused)
{
	damage_prepare();
	file->core.xattr_block = BLOCKS;
	ck_assert_int_eq(xattr_get(file, "user.first", NULL, 0), -EUCLEAN);
	file->core.xattr_block = BLOCKS - 2;
	file->core.xattr_blocks = XATTR_RUN_MAX;
	ck_assert_int_eq(xattr_get(file, "user.first", NULL, 0), -EUCLEAN);
}
END_TEST

/* ---- A model of attributes ----------------------------------------------------------------------------- */

#define NAMES	24
#define STEPS	3000

struct model_value {
	int	len;		/* -1: not there */
	char	fill;
};

static void model_spell(int n, char *name)
{
	static const char *const prefixes[] = { "user.", "trusted.", "security." };

	sprintf(name, "%sname-%.*s%d", prefixes[n % 3], n * 5, big, n);
}

static void model_compare(const struct model_value *model)
{
	static char value[XATTR_VALUE_MAX];
	char name[256];
	ssize_t list = 0;

	for (int n = 0; n < NAMES; n++) {
		ssize_t len;

		model_spell(n, name);
		len = xattr_get(file, name, value, sizeof(value));
		ck_assert_int_eq(len, model[n].len < 0 ? -ENODATA : model[n].len);
		for (ssize_t i = 0; i < len; i++)
			ck_assert_int_eq(value[i], model[n].fill);
		list += len >= 0 ? (ssize_t)strlen(name) + 1 : 0;
	}
	ck_assert_int_eq(xattr_list(file, NULL, 0, true), list);
}

static void model_change(struct tx *tx, struct model_value *model, unsigned int *seed)
{
	int n = rand_r(seed) % NAMES, len = rand_r(seed) % 4 ? rand_r(seed) % 300 : rand_r(seed) % 20000;
	static char value[XATTR_VALUE_MAX];
	char name[256], fill = 'a' + rand_r(seed) % 26;
	int err;

	model_spell(n, name);
	if (rand_r(seed) % 3 == 0) {
		err = xattr_set(tx, file, name, NULL, 0, 0);
		ck_assert_int_eq(err, model[n].len < 0 ? -ENODATA : 0);
		model[n].len = -1;
		return;
	}
	memset(value, fill, len);
	err = xattr_set(tx, file, name, value, len, model[n].len < 0 ? XATTR_CREATE : XATTR_REPLACE);
	if (err == -ENOSPC)
		return;
	ck_assert_int_eq(err, 0);
	model[n] = (struct model_value){ len, fill };
}

START_TEST(random_changes_agree_with_a_model)
{
	struct model_value model[NAMES], saved[NAMES];
	unsigned int seed = 20261121;
	struct tx tx;

	printf("random_changes_agree_with_a_model: seed %u\n", seed);
	memset(big, 'x', sizeof(big));
	for (int n = 0; n < NAMES; n++)
		model[n].len = -1;
	for (int step = 1; step <= STEPS; step++) {
		bool abort = rand_r(&seed) % 4 == 0;

		memcpy(saved, model, sizeof(model));
		unit_begin(&tx, file, 0);
		for (int changes = rand_r(&seed) % 3; changes >= 0; changes--)
			model_change(&tx, model, &seed);
		if (abort) {
			unit_abort(&tx, file);
			memcpy(model, saved, sizeof(model));
		} else {
			unit_commit(&tx, file);
		}
		if (step % 500 == 0)
			reopen();
		if (step % 20 == 0)
			model_compare(model);
		ck_assert_uint_eq(file->core.blocks, file->core.xattr_blocks);
	}
	ck_assert_uint_eq(unit_pool_free(up), free_before - file->core.xattr_blocks);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("xattr");
	TCase *tc = tcase_create("xattr");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, values_are_kept_by_complete_name_and_survive_a_reopen);
	tcase_add_test(tc, get_tells_the_length_and_refuses_a_short_buffer);
	tcase_add_test(tc, list_has_each_name_and_hides_trusted_ones);
	tcase_add_test(tc, flags_are_those_of_setxattr);
	tcase_add_test(tc, names_outside_the_namespaces_are_refused);
	tcase_add_test(tc, last_removal_drops_the_run);
	tcase_add_test(tc, several_changes_in_one_transaction_leave_one_run);
	tcase_add_test(tc, abort_leaves_the_old_run);
	tcase_add_test(tc, new_run_is_fenced_before_the_record_that_names_it);
	tcase_add_test(tc, unlinked_inode_gives_its_run_back);
	tcase_add_test(tc, value_of_64_kib_is_kept_and_a_longer_one_refused);
	tcase_add_test(tc, run_holds_64_blocks_and_no_more);
	tcase_add_test(tc, list_of_names_never_exceeds_what_listxattr_can_return);
	tcase_add_test(tc, full_pool_refuses_a_new_run_and_still_drops_the_last);
	tcase_add_test(tc, failed_allocation_leaves_the_attributes_as_they_were);
	tcase_add_loop_test(tc, damaged_run_is_refused_by_name, 0, sizeof(damages) / sizeof(damages[0]));
	tcase_add_test(tc, wrong_crc_is_refused_and_the_undamaged_run_is_not);
	tcase_add_test(tc, run_outside_the_pool_is_refused);
	tcase_add_test(tc, random_changes_agree_with_a_model);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
