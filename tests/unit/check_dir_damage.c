/*
 * Damaged blocks of directories: each rule of the format broken by itself is found, by name, and the directory is
 * refused.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "dir_names.h"
#include "meta/extent.h"
#include "util/crc32c.h"

/* The directory's only block: two entries, then free space. */
static struct disk_dir_block damaged;

static struct disk_dirent *entry(unsigned int n)
{
	char *at = (char *)damaged.entries;

	while (n--)
		at += le16_to_cpu(((struct disk_dirent *)at)->rec_len);
	return (struct disk_dirent *)at;
}

static unsigned int free_len(void)
{
	return le16_to_cpu(entry(2)->rec_len);
}

static void damage_magic(void)		{ damaged.magic = cpu_to_le32(1); }
static void damage_owner(void)		{ damaged.owner = cpu_to_le64(99); }
static void damage_generation(void)	{ damaged.generation = cpu_to_le64(99); }
static void damage_index(void)		{ damaged.index = cpu_to_le64(1); }
static void damage_zero_len(void)	{ entry(0)->rec_len = cpu_to_le16(0); }
static void damage_odd_len(void)	{ entry(0)->rec_len = cpu_to_le16(20); }
static void damage_long_len(void)	{ entry(2)->rec_len = cpu_to_le16(BLOCK_SIZE); }
static void damage_tail(void)		{ entry(2)->rec_len = cpu_to_le16(free_len() - 8); }
static void damage_ino(void)		{ entry(1)->ino = cpu_to_le64(INO_MAX + 1); }
static void damage_no_name(void)	{ entry(1)->name_len = 0; }
static void damage_name_len(void)	{ entry(1)->name_len = 200; }
static void damage_free_name(void)	{ entry(2)->name_len = 1; }
static void damage_slash(void)		{ entry(1)->name[1] = '/'; }
static void damage_nul(void)		{ entry(1)->name[1] = 0; }
static void damage_dotdot(void)		{ memcpy(entry(1)->name, "..", 2); }
static void damage_type(void)		{ entry(0)->type = 3; }

static const struct {
	void (*damage)(void);
	const char *bad;
} damages[] = {
	{ damage_magic, "magic" }, { damage_owner, "owner" }, { damage_generation, "generation" },
	{ damage_index, "index" }, { damage_zero_len, "record length" }, { damage_odd_len, "record length" },
	{ damage_long_len, "record length" }, { damage_tail, "record length" },
	{ damage_ino, "inode number" }, { damage_no_name, "name length" }, { damage_name_len, "name length" },
	{ damage_free_name, "name length of free space" }, { damage_slash, "name" }, { damage_nul, "name" },
	{ damage_dotdot, "name" }, { damage_type, "type" },
};

/* Write `damaged` over the directory's only block, with the right crc or a wrong one. */
static uint64_t damage_store(bool crc)
{
	struct extent e;
	uint32_t sum;

	ck_assert_int_eq(extent_lookup(NULL, dir, 0, &e), 0);
	sum = crc32c_object(format_seed(&up->pool.super, e.block << BLOCK_SHIFT), &damaged, BLOCK_SIZE,
			    offsetof(struct disk_dir_block, crc));
	damaged.crc = cpu_to_le32(crc ? sum : ~sum);
	persist_store(up->region, pool_block(&up->pool, e.block), &damaged, BLOCK_SIZE);
	return e.block;
}

static const char *verify(uint64_t block)
{
	return disk_dir_block_verify(&up->pool.super, pool_block(&up->pool, block), block, dir->ino,
				     dir->core.generation, 0);
}

static void damage_prepare(void)
{
	struct extent e;

	add_one("first", 5);
	add_one("go", 6);
	ck_assert_int_eq(extent_lookup(NULL, dir, 0, &e), 0);
	memcpy(&damaged, pool_block(&up->pool, e.block), BLOCK_SIZE);
	forget_index();
}

START_TEST(damaged_block_is_refused_by_name)
{
	uint64_t block;

	damage_prepare();
	damages[_i].damage();
	block = damage_store(true);
	ck_assert_str_eq(verify(block), damages[_i].bad);
	ck_assert_int_eq(dir_lock_shared(dir), -EUCLEAN);
	ck_assert_int_eq(dir_lock_exclusive(dir), -EUCLEAN);
	ck_assert_int_eq(pthread_rwlock_trywrlock(&dir->lock), 0);
	pthread_rwlock_unlock(&dir->lock);
}
END_TEST

START_TEST(wrong_crc_is_refused_and_the_undamaged_block_is_not)
{
	uint64_t block;

	damage_prepare();
	block = damage_store(false);
	ck_assert_str_eq(verify(block), "crc");
	ck_assert_int_eq(dir_lock_shared(dir), -EUCLEAN);
	damage_store(true);
	ck_assert_ptr_null(verify(block));
	ck_assert_uint_eq(lookup("go"), 6);
}
END_TEST

START_TEST(block_in_another_place_is_refused)
{
	uint64_t block;

	damage_prepare();
	block = damage_store(true);
	ck_assert_str_eq(disk_dir_block_verify(&up->pool.super, &damaged, block + 1, dir->ino,
					       dir->core.generation, 0), "crc");
}
END_TEST

START_TEST(size_that_is_not_the_end_of_the_blocks_is_refused)
{
	static const uint64_t sizes[] = { 0, 100, 2 * BLOCK_SIZE, 1ULL << 35, 1ULL << 40 };

	damage_prepare();
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		dir->core.size = sizes[i];
		ck_assert_int_eq(dir_lock_shared(dir), -EUCLEAN);
	}
	dir->core.size = BLOCK_SIZE;
	ck_assert_uint_eq(count(), 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dir_damage");
	TCase *tc = tcase_create("damage");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, dir_names_setup, dir_names_teardown);
	tcase_add_loop_test(tc, damaged_block_is_refused_by_name, 0, sizeof(damages) / sizeof(damages[0]));
	tcase_add_test(tc, wrong_crc_is_refused_and_the_undamaged_block_is_not);
	tcase_add_test(tc, block_in_another_place_is_refused);
	tcase_add_test(tc, size_that_is_not_the_end_of_the_blocks_is_refused);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
