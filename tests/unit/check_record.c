/*
 * Records as bytes: what is built is read back, whatever is wrong with one makes it no record, and a walk
 * ends where the run of valid records does.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "engine.h"
#include "meta/record.h"
#include "pmem/emu.h"
#include "unit.h"
#include "util/crc32c.h"
#include "util/fault.h"

#define SEQ	1000U			/* of the record that the tests read */
#define WORDS	4U			/* of its two patches, each */

static struct region *r;
static struct super sb;
static uint64_t record[RECORD_MAX / 8], got[RECORD_MAX / 8], data[BLOCK_SIZE / 8];

static void setup(void)
{
	unsigned int i;

	r = engine_region();
	sb = engine_super();
	for (i = 0; i < BLOCK_SIZE / 8; i++)
		data[i] = 0x0101010101010101ULL * (i % 255 + 1);
}

static void teardown(void)
{
	emu_close(r);
}

static struct disk_record *header(void)
{
	return (struct disk_record *)record;
}

/* The first patch of the record; the other follows its WORDS words. */
static struct disk_patch *patch(void)
{
	return (struct disk_patch *)(header() + 1);
}

static void seal(uint32_t len, uint64_t seq)
{
	header()->crc = cpu_to_le32(crc32c_object(record_seed(&sb, seq), record, len,
						  offsetof(struct disk_record, crc)));
}

/* A record of two patches at logical position `pos`. */
static uint32_t build(uint64_t pos, uint64_t seq)
{
	struct record_builder b;
	uint32_t len;

	record_begin(&b, record);
	ck_assert_int_eq(record_add(&b, ENGINE_DATA, data, WORDS * 8), 0);
	ck_assert_int_eq(record_add(&b, ENGINE_DATA + BLOCK_SIZE, data + WORDS, WORDS * 8), 0);
	len = record_end(&b);
	record_seal(&sb, record, len, b.patches, seq, pos, 1);
	return len;
}

/* Put the record at its place in the ring, around its end if need be. */
static void place(uint64_t pos, uint32_t len)
{
	char *ring = region_at(r, (uint64_t)BLOCK_JOURNAL << BLOCK_SHIFT);
	uint32_t i;

	for (i = 0; i < len; i++)
		ring[(pos + i) % ENGINE_RING] = ((char *)record)[i];
}

static bool readable(uint64_t pos, uint64_t seq)
{
	return record_read(r, &sb, pos, seq, got);
}

/* ---- Building ------------------------------------------------------------------------------------------ */

struct seen {
	struct record_patch	patch[8];
	unsigned int		count;
	int			rc;
};

static int note(void *arg, const struct record_patch *p)
{
	struct seen *s = arg;

	ck_assert_uint_lt(s->count, 8);
	s->patch[s->count++] = *p;
	return s->rc;
}

START_TEST(patches_are_read_as_they_were_added)
{
	struct seen s = { .count = 0 };
	uint32_t len = build(0, SEQ);

	ck_assert_uint_eq(len, 192);
	ck_assert_int_eq(record_patches(record, 2, note, &s), 0);
	ck_assert_uint_eq(s.count, 2);
	ck_assert_uint_eq(s.patch[0].seq, SEQ);
	ck_assert_uint_eq(s.patch[0].off, ENGINE_DATA);
	ck_assert_uint_eq(s.patch[0].len, WORDS * 8);
	ck_assert_mem_eq(s.patch[0].data, data, WORDS * 8);
	ck_assert_uint_eq(s.patch[1].off, ENGINE_DATA + BLOCK_SIZE);
	ck_assert_mem_eq(s.patch[1].data, data + WORDS, WORDS * 8);
}
END_TEST

START_TEST(what_does_not_fit_is_refused_and_what_is_there_stays)
{
	struct record_builder b;
	unsigned int n = 0;

	record_begin(&b, record);
	while (!record_add(&b, ENGINE_DATA + n * BLOCK_SIZE, data, BLOCK_SIZE))
		n++;
	ck_assert_uint_eq(n, 15);
	ck_assert_int_eq(record_add(&b, ENGINE_DATA, data, BLOCK_SIZE), -EFBIG);
	ck_assert_uint_eq(b.patches, 15);
	while (!record_add(&b, ENGINE_DATA + n * BLOCK_SIZE, data, 8))
		n++;
	ck_assert_uint_gt(n, 15);
	ck_assert_uint_le(record_end(&b), RECORD_MAX);
	ck_assert_uint_gt(record_end(&b), RECORD_MAX - 64);
	record_seal(&sb, record, record_end(&b), b.patches, SEQ, 0, 1);
	place(0, record_end(&b));
	ck_assert(readable(0, SEQ));
}
END_TEST

START_TEST(padding_is_zero_whatever_the_buffer_held)
{
	uint32_t len;

	memset(record, 0xff, sizeof(record));
	len = build(0, SEQ);
	for (uint32_t i = (64 + 2 * (16 + WORDS * 8)) / 8; i < len / 8; i++)
		ck_assert_uint_eq(record[i], 0);
	ck_assert_mem_eq(header()->reserved, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
}
END_TEST

/* ---- Reading ------------------------------------------------------------------------------------------- */

START_TEST(record_is_read_across_the_end_of_the_ring)
{
	uint64_t pos = 5 * ENGINE_RING - 64;
	uint32_t len = build(pos, SEQ);

	place(pos, len);
	ck_assert(readable(pos, SEQ));
	ck_assert_mem_eq(got, record, len);
}
END_TEST

START_TEST(record_of_another_time_or_place_is_refused)
{
	uint32_t len = build(640, SEQ);

	place(640, len);
	ck_assert(readable(640, SEQ));
	ck_assert(!readable(640, SEQ + 1));
	ck_assert(!readable(640, SEQ - 1));
	ck_assert(!readable(640 + ENGINE_RING, SEQ));	/* the same bytes, a lap later */
	sb.seed++;					/* another pool's */
	ck_assert(!readable(640, SEQ));
}
END_TEST

/* Each word in turn still has what was there before: the record is torn. */
START_TEST(torn_record_is_refused)
{
	uint32_t len = build(128, SEQ), i, held = 0;
	uint64_t *ring = region_at(r, ((uint64_t)BLOCK_JOURNAL << BLOCK_SHIFT) + 128);

	place(128, len);
	for (i = 0; i < len / 8; i++) {
		uint64_t whole = ring[i];

		if (!whole)
			continue;	/* as before */
		ring[i] = 0;
		ck_assert_msg(!readable(128, SEQ), "word %u is lost and nobody sees it", i);
		ring[i] = ~whole;
		ck_assert_msg(!readable(128, SEQ), "word %u is wrong and nobody sees it", i);
		ring[i] = whole;
		held++;
	}
	ck_assert_uint_gt(held, 2 * WORDS);
	ck_assert(readable(128, SEQ));
}
END_TEST

START_TEST(planted_bug_without_crc_check_takes_a_torn_record)
{
	uint32_t len = build(0, SEQ);

	record[(sizeof(struct disk_record) + sizeof(struct disk_patch)) / 8] ^= 1;
	place(0, len);
	ck_assert(!readable(0, SEQ));
	fault_arm_always(FAULT_TORN_RECORD);
	ck_assert(readable(0, SEQ));
	fault_disarm(FAULT_TORN_RECORD);
}
END_TEST

/* Valid crc, bad contents: what a program that writes pools by hand could bring. */
enum what { HEADER_LEN, PATCHES, PATCH_OFF, PATCH_LEN };

static const struct {
	enum what	what;
	uint64_t	value;
	bool		valid;
} hostile[] = {
	{ HEADER_LEN, 0, false },
	{ HEADER_LEN, 64, false },
	{ HEADER_LEN, 128, false },			/* ends inside the second patch */
	{ HEADER_LEN, 191, false },
	{ HEADER_LEN, 192, true },
	{ HEADER_LEN, 256, false },			/* more left than padding can be */
	{ HEADER_LEN, RECORD_MAX, false },
	{ HEADER_LEN, RECORD_MAX + 64, false },
	{ HEADER_LEN, UINT32_MAX, false },
	{ HEADER_LEN, UINT32_MAX - 63, false },
	{ PATCHES, 0, false },
	{ PATCHES, 1, true },				/* what is left is not more than padding */
	{ PATCHES, 3, false },
	{ PATCHES, UINT32_MAX, false },
	{ PATCH_LEN, 0, false },
	{ PATCH_LEN, 28, false },
	{ PATCH_LEN, BLOCK_SIZE, false },
	{ PATCH_LEN, UINT32_MAX - 7, false },
	{ PATCH_OFF, 0, false },
	{ PATCH_OFF, BLOCK_SIZE, false },		/* tail slots */
	{ PATCH_OFF, 2 * BLOCK_SIZE, true },		/* the inode of the inode table */
	{ PATCH_OFF, 2 * BLOCK_SIZE - 8, false },
	{ PATCH_OFF, 3 * BLOCK_SIZE, false },		/* ring */
	{ PATCH_OFF, ENGINE_DATA - 32, false },
	{ PATCH_OFF, ENGINE_DATA + 4, false },
	{ PATCH_OFF, ENGINE_DATA + BLOCK_SIZE - 32, true },
	{ PATCH_OFF, ENGINE_DATA + BLOCK_SIZE - 24, false },
	{ PATCH_OFF, ENGINE_SIZE - BLOCK_SIZE - 32, true },
	{ PATCH_OFF, ENGINE_SIZE - BLOCK_SIZE, false },	/* copy of the superblock */
	{ PATCH_OFF, ENGINE_SIZE, false },
	{ PATCH_OFF, UINT64_MAX - 31, false },
	{ PATCH_OFF, 1ULL << 63, false },
};

START_TEST(hostile_record_is_refused)
{
	uint32_t len = build(0, SEQ);

	switch (hostile[_i].what) {
	case HEADER_LEN:
		len = (uint32_t)hostile[_i].value;
		header()->len = cpu_to_le32(len);
		break;
	case PATCHES:
		/* The second patch becomes small enough to be taken for padding. */
		if (hostile[_i].valid)
			header()->len = cpu_to_le32(len = 128);
		header()->patches = cpu_to_le32((uint32_t)hostile[_i].value);
		break;
	case PATCH_OFF:
		patch()->off = cpu_to_le64(hostile[_i].value);
		break;
	case PATCH_LEN:
		patch()->len = cpu_to_le32((uint32_t)hostile[_i].value);
		break;
	}
	if (len < sizeof(struct disk_record) || len > RECORD_MAX)
		len = RECORD_MAX;	/* of which no reader may look at more */
	seal(len, SEQ);
	place(0, len);
	ck_assert_int_eq(readable(0, SEQ), hostile[_i].valid);
}
END_TEST

/* ---- Walking ------------------------------------------------------------------------------------------- */

static const struct tail start = { .pos = 3 * ENGINE_RING - 384, .seq = SEQ };

/* `n` records in a row from `start` on; they wrap after the second. */
static void place_run(unsigned int n)
{
	uint64_t pos = start.pos, seq = start.seq;

	for (; n; n--) {
		uint32_t len = build(pos, seq++);

		place(pos, len);
		pos += len;
	}
}

START_TEST(walk_takes_the_whole_run_in_order)
{
	struct seen s = { .count = 0 };
	struct record_run run;

	place_run(4);
	ck_assert_int_eq(record_walk(r, &sb, &start, note, &s, &run), 0);
	ck_assert_uint_eq(run.records, 4);
	ck_assert_uint_eq(run.end_seq, SEQ + 4);
	ck_assert_uint_eq(run.end_pos, start.pos + 4 * 192);
	ck_assert_uint_eq(s.count, 8);
	for (unsigned int i = 0; i < 8; i++)
		ck_assert_uint_eq(s.patch[i].seq, SEQ + i / 2);
}
END_TEST

START_TEST(walk_ends_before_the_first_record_that_is_not_whole)
{
	struct record_run run;
	char *ring = region_at(r, (uint64_t)BLOCK_JOURNAL << BLOCK_SHIFT);

	place_run(4);
	ring[(start.pos + 2 * 192 + 100) % ENGINE_RING] ^= 0x40;
	ck_assert_int_eq(record_walk(r, &sb, &start, NULL, NULL, &run), 0);
	ck_assert_uint_eq(run.records, 2);
	ck_assert_uint_eq(run.end_seq, SEQ + 2);
	ck_assert_uint_eq(run.end_pos, start.pos + 2 * 192);
}
END_TEST

START_TEST(walk_ends_where_the_callback_says)
{
	struct seen s = { .rc = -EINTR };
	struct record_run run;

	place_run(2);
	ck_assert_int_eq(record_walk(r, &sb, &start, note, &s, &run), -EINTR);
	ck_assert_uint_eq(s.count, 1);
	ck_assert_uint_eq(run.records, 0);
	ck_assert_uint_eq(run.end_pos, start.pos);
}
END_TEST

START_TEST(walk_of_an_empty_ring_is_empty)
{
	struct record_run run;

	ck_assert_int_eq(record_walk(r, &sb, &start, NULL, NULL, &run), 0);
	ck_assert_uint_eq(run.records, 0);
	ck_assert_uint_eq(run.end_seq, SEQ);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("record");
	TCase *t = tcase_create("record");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, patches_are_read_as_they_were_added);
	tcase_add_test(t, what_does_not_fit_is_refused_and_what_is_there_stays);
	tcase_add_test(t, padding_is_zero_whatever_the_buffer_held);
	tcase_add_test(t, record_is_read_across_the_end_of_the_ring);
	tcase_add_test(t, record_of_another_time_or_place_is_refused);
	tcase_add_test(t, torn_record_is_refused);
	tcase_add_test(t, planted_bug_without_crc_check_takes_a_torn_record);
	tcase_add_loop_test(t, hostile_record_is_refused, 0, sizeof(hostile) / sizeof(hostile[0]));
	tcase_add_test(t, walk_takes_the_whole_run_in_order);
	tcase_add_test(t, walk_ends_before_the_first_record_that_is_not_whole);
	tcase_add_test(t, walk_ends_where_the_callback_says);
	tcase_add_test(t, walk_of_an_empty_ring_is_empty);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
