/*
 * The superblock and the tail slots: what is accepted, what is refused and in which words, and what a power
 * cut leaves of a slot that is being written.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/crc32c.h"

#define BACKUP_OFF	(ENGINE_SIZE - BLOCK_SIZE)
#define COUNT(array)	((int)(sizeof(array) / sizeof((array)[0])))
#define TAIL_OFF	((uint64_t)BLOCK_TAIL << BLOCK_SHIFT)

static struct region *r;
static struct super sb;
static struct err err;

static void setup(void)
{
	r = engine_region();
	sb = engine_super();
	err.text[0] = 0;
}

static void teardown(void)
{
	emu_close(r);
}

static struct disk_super *copy_at(uint64_t off)
{
	return region_at(r, off);
}

static void flip(uint64_t off)
{
	*(char *)region_at(r, off) ^= 1;
}

/* Make the copy at `off` valid again after a field was changed. */
static void reseal(uint64_t off)
{
	struct disk_super *d = copy_at(off);
	le64 raw = cpu_to_le64(off);

	d->crc = cpu_to_le32(crc32c_object(crc32c(0, &raw, sizeof(raw)), d, sizeof(*d),
					   offsetof(struct disk_super, crc)));
}

/* super_read() fails with `code` and a message that names the pool and has `words` in it. */
static void refused(int code, const char *words)
{
	struct super got;

	err.text[0] = 0;
	ck_assert_int_eq(super_read(r, "/p/pool", &got, &err), code);
	ck_assert_msg(strncmp(err.text, "/p/pool: ", 9) == 0, "no path in \"%s\"", err.text);
	ck_assert_msg(strstr(err.text, words), "\"%s\" has no \"%s\"", err.text, words);
	ck_assert_int_eq(super_read(r, "/p/pool", &got, NULL), code);
}

/* ---- Superblock ---------------------------------------------------------------------------------------- */

static void assert_as_written(const struct super *got)
{
	ck_assert_mem_eq(got->uuid, sb.uuid, sizeof(sb.uuid));
	ck_assert_str_eq(got->label, sb.label);
	ck_assert_uint_eq(got->version, FORMAT_VERSION);
	ck_assert_uint_eq(got->blocks, ENGINE_BLOCKS);
	ck_assert_uint_eq(got->unit_shift, BLOCK_SHIFT);
	ck_assert_uint_eq(got->journal_block, BLOCK_JOURNAL);
	ck_assert_uint_eq(got->journal_blocks, ENGINE_JOURNAL);
	ck_assert_int_eq(got->created, sb.created);
	ck_assert_uint_eq(got->seed, sb.seed);
}

START_TEST(what_was_written_is_read_with_one_fence_each)
{
	uint64_t before = persist_count(PERSIST_FORMAT);
	struct super got;

	memset(sb.label, 'x', LABEL_MAX);
	sb.feature_compat = 1ULL << 63;
	sb.feature_ro_compat = 2;
	ck_assert_int_eq(super_write(r, &sb), 0);
	ck_assert_uint_eq(persist_count(PERSIST_FORMAT), before + 1);
	ck_assert_int_eq(super_read(r, "p", &got, &err), 0);
	assert_as_written(&got);
	ck_assert(!got.from_backup);
	ck_assert_uint_eq(got.feature_compat, 1ULL << 63);
	ck_assert_uint_eq(got.feature_ro_compat, 2);
	ck_assert_uint_eq(got.feature_incompat, 0);
}
END_TEST

START_TEST(backup_stands_in_for_a_damaged_first_copy)
{
	struct super got;

	flip(offsetof(struct disk_super, blocks));
	ck_assert_int_eq(super_read(r, "p", &got, &err), 0);
	assert_as_written(&got);
	ck_assert(got.from_backup);
	memset(region_at(r, 0), 0, BLOCK_SIZE);
	ck_assert_int_eq(super_read(r, "p", &got, &err), 0);
	ck_assert(got.from_backup);
}
END_TEST

START_TEST(damaged_backup_is_not_looked_at)
{
	struct super got;

	flip(BACKUP_OFF + 100);
	ck_assert_int_eq(super_read(r, "p", &got, &err), 0);
	ck_assert(!got.from_backup);
}
END_TEST

START_TEST(both_copies_damaged_is_said)
{
	flip(100);
	flip(BACKUP_OFF + 511);
	refused(-EUCLEAN, "superblock at byte 0 has crc");
	refused(-EUCLEAN, "restore the pool from a backup");
}
END_TEST

START_TEST(copy_counts_only_at_its_own_place)
{
	memcpy(region_at(r, 0), region_at(r, BACKUP_OFF), sizeof(struct disk_super));
	flip(BACKUP_OFF + 16);
	refused(-EUCLEAN, "superblock at byte 0 has crc");
	reseal(0);		/* now only its own word is against it */
	refused(-EUCLEAN, "superblock at byte 0 has crc");
}
END_TEST

START_TEST(foreign_file_is_no_pool)
{
	memset(r->base, 0, r->size);
	refused(-EMEDIUMTYPE, "magic found 00 00 00 00 00 00 00 00, needed \"inodaxSB\"");
	memcpy(r->base, "\x89PNG\r\n\x1a\n", 8);
	refused(-EMEDIUMTYPE, "not an inodax pool: magic found 89 50 4e 47 0d 0a 1a 0a,");
	refused(-EMEDIUMTYPE, "make one with mkfs.inodax");
}
END_TEST

START_TEST(file_too_small_for_any_pool_is_no_pool)
{
	r->size = ENGINE_SIZE - BLOCK_SIZE;
	refused(-EMEDIUMTYPE, "size 4190208 bytes, a pool has at least 4194304");
}
END_TEST

START_TEST(other_version_is_refused)
{
	sb.version = FORMAT_VERSION + 1;
	super_write(r, &sb);
	refused(-EPROTONOSUPPORT, "format version 2, needed 1");
}
END_TEST

START_TEST(unknown_incompat_bits_are_refused)
{
	sb.feature_incompat = 0x10;
	super_write(r, &sb);
	refused(-EPROTONOSUPPORT, "incompatible features 0x10, known are 0");
}
END_TEST

START_TEST(pool_cut_short_is_refused)
{
	copy_at(0)->blocks = cpu_to_le64(ENGINE_BLOCKS + 1);
	reseal(0);
	refused(-ENOSPC, "size 4194304 bytes, the pool in it needs 4198400; it was cut short");
}
END_TEST

START_TEST(map_unit_below_the_namespaces_is_refused)
{
	struct super got;

	r->unit = 2U << 20;
	refused(-EINVAL, "map unit of the pool is 4096 bytes, the namespace maps no less than 2097152");
	copy_at(0)->unit_shift = cpu_to_le32(21);
	reseal(0);
	ck_assert_int_eq(super_read(r, "p", &got, &err), 0);
}
END_TEST

/* Valid crc, a value that cannot be: by chance that does not happen. */
static const struct {
	size_t		off, len;
	uint64_t	value;
	const char	*words;
} wrong_fields[] = {
	{ offsetof(struct disk_super, block_shift), 4, 13, "block shift 13, needed 12" },
	{ offsetof(struct disk_super, blocks), 8, POOL_MIN_BLOCKS - 1, "superblock has 1023 blocks" },
	{ offsetof(struct disk_super, blocks), 8, POOL_MAX_BLOCKS + 1, "has 1099511627777 blocks" },
	{ offsetof(struct disk_super, unit_shift), 4, 11, "map unit shift 11, needed 12 to 30" },
	{ offsetof(struct disk_super, unit_shift), 4, 31, "map unit shift 31" },
	{ offsetof(struct disk_super, unit_shift), 4, UINT32_MAX, "map unit shift 4294967295" },
	{ offsetof(struct disk_super, journal_block), 8, 4, "journal at block 4, needed 3" },
	{ offsetof(struct disk_super, journal_blocks), 8, 63, "63 journal blocks in a pool of 1024" },
	{ offsetof(struct disk_super, journal_blocks), 8, 1021, "1021 journal blocks in a pool of 1024" },
	{ offsetof(struct disk_super, journal_blocks), 8, UINT64_MAX, "needed 64 to 16384, inside the pool" },
};

START_TEST(impossible_field_is_refused)
{
	le64 value = cpu_to_le64(wrong_fields[_i].value);

	memcpy(region_at(r, wrong_fields[_i].off), &value, wrong_fields[_i].len);
	reseal(0);
	refused(-EUCLEAN, wrong_fields[_i].words);
}
END_TEST

/* The first copy is written anew from the backup: whatever a cut leaves of it, a valid copy is there. */
START_TEST(restoring_the_first_copy_may_be_cut_anywhere)
{
	struct region *after = emu_open(ENGINE_SIZE, NULL);
	uint64_t event, seed;
	struct super got;

	memset(region_at(r, 0), 0x5a, sizeof(struct disk_super));
	ck_assert_int_eq(super_read(r, "p", &got, &err), 0);
	emu_record(r);
	ck_assert_int_eq(super_write(r, &got), 0);
	for (event = 0; event <= emu_events(r); event++) {
		emu_crash_begin(r, event);
		for (seed = 0; seed < 20; seed++) {
			emu_crash_random(r, seed, after->base);
			ck_assert_int_eq(super_read(after, "p", &got, &err), 0);
			assert_as_written(&got);
		}
	}
	ck_assert(!got.from_backup);
	emu_close(after);
}
END_TEST

START_TEST(seed_depends_on_uuid_and_place)
{
	struct super other = sb;
	le64 raw = cpu_to_le64(8192);

	ck_assert_uint_eq(format_seed(&sb, 8192), crc32c(sb.seed, &raw, sizeof(raw)));
	ck_assert_uint_ne(format_seed(&sb, 8192), format_seed(&sb, 12288));
	other.uuid[3] ^= 0x80;
	memcpy(region_at(r, 0), "damaged!", 8);
	super_write(r, &other);
	ck_assert_int_eq(super_read(r, "p", &other, &err), 0);
	ck_assert_uint_ne(format_seed(&sb, 8192), format_seed(&other, 8192));
}
END_TEST

/* ---- Tail slots ---------------------------------------------------------------------------------------- */

static char *slot_at(uint64_t slot)
{
	return region_at(r, TAIL_OFF + slot * TAIL_SLOT_STRIDE);
}

static struct tail read_tail(void)
{
	struct tail t;

	ck_assert_int_eq(tail_read(r, &sb, &t), 0);
	return t;
}

START_TEST(tail_slots_are_written_in_turn)
{
	char before[TAIL_SLOTS * TAIL_SLOT_STRIDE];
	struct tail t = read_tail();
	uint64_t i, fences = persist_count(PERSIST_TAIL), slot;

	for (i = 0; i < 6; i++) {
		memcpy(before, region_at(r, TAIL_OFF), sizeof(before));
		t.pos += 64;
		t.seq++;
		ck_assert_int_eq(tail_write(r, &sb, &t), 0);
		slot = t.counter % TAIL_SLOTS;
		ck_assert_mem_eq(slot_at(!slot), before + !slot * TAIL_SLOT_STRIDE, TAIL_SLOT_STRIDE);
		ck_assert_uint_eq(read_tail().pos, t.pos);
		ck_assert_uint_eq(read_tail().counter, t.counter);
	}
	ck_assert_uint_eq(persist_count(PERSIST_TAIL), fences + 6);
}
END_TEST

START_TEST(tail_is_read_as_written)
{
	struct tail t = {
		.counter = 7, .pos = 1ULL << 40, .seq = 12345678901ULL, .mount = 42, .freemap_block = 900,
		.freemap_blocks = 124, .flags = TAIL_CLEAN | TAIL_FREEMAP,
	}, got;

	ck_assert_int_eq(tail_write(r, &sb, &t), 0);
	got = read_tail();
	ck_assert_uint_eq(got.counter, 8);
	ck_assert_uint_eq(got.pos, t.pos);
	ck_assert_uint_eq(got.seq, t.seq);
	ck_assert_uint_eq(got.mount, 42);
	ck_assert_uint_eq(got.freemap_block, 900);
	ck_assert_uint_eq(got.freemap_blocks, 124);
	ck_assert_uint_eq(got.flags, TAIL_CLEAN | TAIL_FREEMAP);
}
END_TEST

START_TEST(older_slot_holds_when_the_newer_is_damaged)
{
	struct tail t = read_tail(), got;

	t.pos = 128;
	ck_assert_int_eq(tail_write(r, &sb, &t), 0);
	slot_at(t.counter % TAIL_SLOTS)[63] ^= 1;
	ck_assert_uint_eq(read_tail().pos, 0);
	slot_at(!(t.counter % TAIL_SLOTS))[20] ^= 1;
	ck_assert_int_eq(tail_read(r, &sb, &got), -EUCLEAN);
}
END_TEST

START_TEST(slot_counts_only_at_its_own_place)
{
	struct tail t = read_tail(), got;
	uint64_t slot = t.counter % TAIL_SLOTS;

	memcpy(slot_at(!slot), slot_at(slot), sizeof(struct disk_tail));
	*slot_at(slot) ^= 1;
	ck_assert_int_eq(tail_read(r, &sb, &got), -EUCLEAN);
}
END_TEST

START_TEST(slot_counts_only_with_a_counter_of_its_own)
{
	struct tail t = read_tail(), got;
	uint64_t slot = t.counter % TAIL_SLOTS;
	uint32_t seed = format_seed(&sb, TAIL_OFF + slot * TAIL_SLOT_STRIDE);
	struct disk_tail *d = (void *)slot_at(slot);

	d->counter = cpu_to_le64(t.counter + 1);
	d->crc = cpu_to_le32(crc32c_object(seed, d, sizeof(*d), offsetof(struct disk_tail, crc)));
	ck_assert_int_eq(tail_read(r, &sb, &got), -EUCLEAN);
}
END_TEST

/* Every mixture of old and new words: the slot that was being written does not count, or is wholly new. */
START_TEST(torn_slot_leaves_the_old_tail_or_the_new)
{
	struct region *after = emu_open(ENGINE_SIZE, NULL);
	struct tail t = read_tail(), got;
	uint64_t event, seed, old = 0, new = 0;

	t.pos = 64;
	ck_assert_int_eq(tail_write(r, &sb, &t), 0);	/* so that both slots are in use */
	t.pos = 128;
	ck_assert_int_eq(tail_write(r, &sb, &t), 0);
	emu_record(r);
	t.pos = 192;
	t.seq = 99;
	ck_assert_int_eq(tail_write(r, &sb, &t), 0);
	for (event = 0; event <= emu_events(r); event++) {
		emu_crash_begin(r, event);
		for (seed = 0; seed < 100; seed++) {
			emu_crash_random(r, seed, after->base);
			ck_assert_int_eq(tail_read(after, &sb, &got), 0);
			ck_assert(got.pos == 128 || (got.pos == 192 && got.seq == 99));
			old += got.pos == 128;
			new += got.pos == 192;
		}
	}
	ck_assert_uint_gt(old, 0);
	ck_assert_uint_ge(new, 100);
	ck_assert_uint_eq(got.pos, 192);
	emu_close(after);
}
END_TEST

static const struct tail insane[] = {
	{ .pos = 63 },
	{ .pos = 1ULL << 63 },
	{ .seq = 1ULL << 63 },
	{ .mount = UINT32_MAX },
	{ .flags = 1U << 2 },
	{ .flags = TAIL_FREEMAP, .freemap_block = 1000 },
	{ .flags = TAIL_FREEMAP, .freemap_block = ENGINE_BLOCKS, .freemap_blocks = 1 },
	{ .flags = TAIL_FREEMAP, .freemap_block = 1000, .freemap_blocks = 25 },
	{ .counter = (1ULL << 63) + 1 },	/* the other slot than the valid one */
};

START_TEST(slot_with_impossible_values_does_not_count)
{
	struct tail before = read_tail(), t = insane[_i];

	if (!t.counter)
		t.counter = before.counter;
	ck_assert_int_eq(tail_write(r, &sb, &t), 0);
	ck_assert_uint_eq(read_tail().counter, before.counter);
}
END_TEST

static int failing(enum persist_point point)
{
	return point == PERSIST_TAIL ? -EIO : 0;
}

START_TEST(failed_tail_write_does_not_give_up_the_durable_slot)
{
	struct tail t = read_tail();
	uint64_t counter = t.counter, slot = counter % TAIL_SLOTS;
	char durable[TAIL_SLOT_STRIDE];

	memcpy(durable, slot_at(slot), sizeof(durable));
	engine_fences(r, failing);
	t.pos = 64;
	ck_assert_int_eq(tail_write(r, &sb, &t), -EIO);
	ck_assert_int_eq(tail_write(r, &sb, &t), -EIO);
	ck_assert_uint_eq(t.counter, counter);
	ck_assert_mem_eq(slot_at(slot), durable, sizeof(durable));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("super");
	TCase *t = tcase_create("superblock");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_was_written_is_read_with_one_fence_each);
	tcase_add_test(t, backup_stands_in_for_a_damaged_first_copy);
	tcase_add_test(t, damaged_backup_is_not_looked_at);
	tcase_add_test(t, both_copies_damaged_is_said);
	tcase_add_test(t, copy_counts_only_at_its_own_place);
	tcase_add_test(t, foreign_file_is_no_pool);
	tcase_add_test(t, file_too_small_for_any_pool_is_no_pool);
	tcase_add_test(t, other_version_is_refused);
	tcase_add_test(t, unknown_incompat_bits_are_refused);
	tcase_add_test(t, pool_cut_short_is_refused);
	tcase_add_test(t, map_unit_below_the_namespaces_is_refused);
	tcase_add_loop_test(t, impossible_field_is_refused, 0, COUNT(wrong_fields));
	tcase_add_test(t, restoring_the_first_copy_may_be_cut_anywhere);
	tcase_add_test(t, seed_depends_on_uuid_and_place);
	suite_add_tcase(s, t);

	t = tcase_create("tail");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, tail_slots_are_written_in_turn);
	tcase_add_test(t, tail_is_read_as_written);
	tcase_add_test(t, older_slot_holds_when_the_newer_is_damaged);
	tcase_add_test(t, slot_counts_only_at_its_own_place);
	tcase_add_test(t, slot_counts_only_with_a_counter_of_its_own);
	tcase_add_test(t, torn_slot_leaves_the_old_tail_or_the_new);
	tcase_add_loop_test(t, slot_with_impossible_values_does_not_count, 0, COUNT(insane));
	tcase_add_test(t, failed_tail_write_does_not_give_up_the_durable_slot);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
