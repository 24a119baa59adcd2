/*
 * lib/util: bitmaps against a plain loop, CRC32C against its published values, error texts, fault counters,
 * messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"
#include "util/bitmap.h"
#include "util/crc32c.h"
#include "util/err.h"
#include "util/fault.h"
#include "util/le.h"
#include "util/list.h"
#include "util/log.h"

/* ---- Bitmaps ------------------------------------------------------------------------------------------- */

#define BITS	517

static uint64_t *new_map(void)
{
	uint64_t *map = bitmap_alloc(BITS);

	ck_assert_ptr_nonnull(map);
	return map;
}

START_TEST(bitmap_starts_clear)
{
	uint64_t *map = new_map();

	ck_assert_uint_eq(bitmap_count(map, 0, BITS), 0);
	ck_assert_uint_eq(bitmap_next_set(map, 0, BITS), BITS);
	ck_assert_uint_eq(bitmap_next_clear(map, 0, BITS), 0);
	free(map);
}
END_TEST

START_TEST(bitmap_of_no_bits_can_be_had)
{
	uint64_t *map = bitmap_alloc(0);

	ck_assert_ptr_nonnull(map);
	ck_assert_uint_eq(bitmap_next_set(map, 0, 0), 0);
	free(map);
}
END_TEST

START_TEST(bitmap_range_ends_at_word_bounds)
{
	uint64_t *map = new_map();

	bitmap_set_range(map, 64, 64);
	ck_assert_uint_eq(map[0], 0);
	ck_assert_uint_eq(map[1], ~0ULL);
	ck_assert_uint_eq(map[2], 0);
	bitmap_clear_range(map, 64, 64);
	ck_assert_uint_eq(map[1], 0);
	bitmap_set_range(map, 63, 2);
	ck_assert_uint_eq(map[0], 1ULL << 63);
	ck_assert_uint_eq(map[1], 1);
	bitmap_set_range(map, 200, 0);
	ck_assert_uint_eq(bitmap_count(map, 0, BITS), 2);
	free(map);
}
END_TEST

START_TEST(bitmap_search_stays_before_its_end)
{
	uint64_t *map = new_map();

	bitmap_set(map, 100);
	ck_assert_uint_eq(bitmap_next_set(map, 0, 100), 100);
	ck_assert_uint_eq(bitmap_next_set(map, 0, 101), 100);
	ck_assert_uint_eq(bitmap_next_set(map, 101, 110), 110);
	bitmap_set_range(map, 0, BITS);
	ck_assert_uint_eq(bitmap_next_clear(map, 3, 70), 70);
	bitmap_clear(map, 69);
	ck_assert_uint_eq(bitmap_next_clear(map, 3, 70), 69);
	free(map);
}
END_TEST

static uint64_t plain_next(const unsigned char *bits, uint64_t from, uint64_t end, unsigned char value)
{
	while (from < end && bits[from] != value)
		from++;
	return from;
}

static void compare_maps(const uint64_t *map, const unsigned char *bits, uint64_t from, uint64_t end)
{
	uint64_t n, sum = 0;

	for (n = from; n < end; n++)
		sum += bits[n];
	ck_assert_uint_eq(bitmap_count(map, from, end - from), sum);
	ck_assert_uint_eq(bitmap_next_set(map, from, end), plain_next(bits, from, end, 1));
	ck_assert_uint_eq(bitmap_next_clear(map, from, end), plain_next(bits, from, end, 0));
}

START_TEST(bitmap_ranges_agree_with_a_byte_per_bit)
{
	unsigned int seed = (unsigned int)time(NULL), n, i;
	unsigned char bits[BITS] = { 0 };
	uint64_t *map = new_map();

	printf("bitmap seed %u\n", seed);
	srandom(seed);
	for (i = 0; i < 20000; i++) {
		uint64_t first = (uint64_t)random() % BITS, count = (uint64_t)random() % (BITS - first + 1);
		unsigned char value = random() & 1;

		if (random() % 4)
			count %= 70;
		memset(bits + first, value, count);
		if (value)
			bitmap_set_range(map, first, count);
		else
			bitmap_clear_range(map, first, count);
		first = (uint64_t)random() % BITS;
		compare_maps(map, bits, first, first + (uint64_t)random() % (BITS - first + 1));
	}
	for (n = 0; n < BITS; n++)
		ck_assert_uint_eq(bitmap_test(map, n), bits[n]);
	free(map);
}
END_TEST

START_TEST(bitmap_alloc_can_be_made_to_fail)
{
	fault_arm(FAULT_ALLOC, 1);
	ck_assert_ptr_null(bitmap_alloc(BITS));
}
END_TEST

/* ---- CRC ----------------------------------------------------------------------------------------------- */

START_TEST(crc32c_has_the_published_values)
{
	unsigned char buf[32];

	ck_assert_uint_eq(crc32c(0, "", 0), 0);
	ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
	memset(buf, 0, sizeof(buf));
	ck_assert_uint_eq(crc32c(0, buf, sizeof(buf)), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	ck_assert_uint_eq(crc32c(0, buf, sizeof(buf)), 0x62a8ab43);
}
END_TEST

START_TEST(crc32c_of_parts_chains_to_that_of_the_whole)
{
	const char text[] = "one record, then another, and the last one";
	uint32_t whole = crc32c(7, text, sizeof(text));
	size_t cut;

	for (cut = 0; cut <= sizeof(text); cut++)
		ck_assert_uint_eq(crc32c(crc32c(7, text, cut), text + cut, sizeof(text) - cut), whole);
}
END_TEST

START_TEST(crc32c_object_ignores_its_own_field_only)
{
	unsigned char object[64];
	uint32_t crc;
	size_t i;

	for (i = 0; i < sizeof(object); i++)
		object[i] = (unsigned char)(i * 7);
	memset(object + 4, 0, 4);
	crc = crc32c(99, object, sizeof(object));
	memcpy(object + 4, &crc, 4);
	ck_assert_uint_eq(crc32c_object(99, object, sizeof(object), 4), crc);
	for (i = 0; i < sizeof(object); i++) {
		object[i] ^= 0x10;
		ck_assert_int_eq(crc32c_object(99, object, sizeof(object), 4) == crc, i >= 4 && i < 8);
		object[i] ^= 0x10;
	}
}
END_TEST

/* ---- Errors, faults, lists, integers ------------------------------------------------------------------- */

START_TEST(err_keeps_text_and_code)
{
	struct err err;

	ck_assert_int_eq(err_set(&err, -EINVAL, "%s: size is %d, %d is needed", "pool", 3, 4), -EINVAL);
	ck_assert_str_eq(err.text, "pool: size is 3, 4 is needed");
	ck_assert_int_eq(err_set_errno(&err, -ENOENT, "%s", "pool"), -ENOENT);
	ck_assert_str_eq(err.text, "pool: No such file or directory");
	ck_assert_int_eq(err_set(NULL, -EIO, "nobody listens"), -EIO);
	ck_assert_int_eq(err_set_errno(NULL, -EIO, "nobody listens"), -EIO);
}
END_TEST

START_TEST(err_cuts_what_does_not_fit)
{
	char longer[1000];
	struct err err;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set_errno(&err, -EIO, "%s", longer);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

START_TEST(fault_hits_the_nth_asking_once)
{
	ck_assert(!fault(FAULT_BALLOC));
	fault_arm(FAULT_BALLOC, 3);
	ck_assert(!fault(FAULT_BALLOC));
	ck_assert(!fault(FAULT_ALLOC));
	ck_assert(!fault(FAULT_BALLOC));
	ck_assert(fault(FAULT_BALLOC));
	ck_assert(!fault(FAULT_BALLOC));
}
END_TEST

START_TEST(fault_always_lasts_until_disarmed)
{
	int i;

	fault_arm_always(FAULT_TORN_RECORD);
	for (i = 0; i < 5; i++)
		ck_assert(fault(FAULT_TORN_RECORD));
	fault_disarm(FAULT_TORN_RECORD);
	ck_assert(!fault(FAULT_TORN_RECORD));
}
END_TEST

static void *ask_often(void *arg)
{
	intptr_t hits = 0;
	int i;

	(void)arg;
	for (i = 0; i < 1000; i++)
		hits += fault(FAULT_BALLOC);
	return (void *)hits;
}

START_TEST(fault_hits_one_of_many_threads)
{
	pthread_t thread[4];
	intptr_t hits = 0;
	void *result;
	int i;

	fault_arm(FAULT_BALLOC, 2500);
	for (i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, ask_often, NULL), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(thread[i], &result);
		hits += (intptr_t)result;
	}
	ck_assert_int_eq(hits, 1);
}
END_TEST

START_TEST(list_keeps_order_and_survives_deletion)
{
	struct item { int n; struct list node; } item[4];
	struct list head, *pos, *next;
	int i, seen = 0;

	list_init(&head);
	ck_assert(list_empty(&head));
	for (i = 0; i < 4; i++) {
		item[i].n = i;
		list_add_tail(&item[i].node, &head);
	}
	list_for_each_safe(pos, next, &head)
		if (list_entry(pos, struct item, node)->n % 2)
			list_del(pos);
	list_del(&item[1].node);
	list_for_each(pos, &head) {
		ck_assert_int_eq(list_entry(pos, struct item, node)->n, seen);
		seen += 2;
	}
	ck_assert_int_eq(seen, 4);
}
END_TEST

START_TEST(le_integers_have_their_low_byte_first)
{
	le64 v8 = cpu_to_le64(0x0102030405060708ULL);
	le32 v4 = cpu_to_le32(0x01020304);
	le16 v2 = cpu_to_le16(0x0102);

	ck_assert_mem_eq(&v8, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
	ck_assert_mem_eq(&v4, "\x04\x03\x02\x01", 4);
	ck_assert_mem_eq(&v2, "\x02\x01", 2);
	ck_assert_uint_eq(le64_to_cpu(v8), 0x0102030405060708ULL);
	ck_assert_uint_eq(le32_to_cpu(v4), 0x01020304);
	ck_assert_uint_eq(le16_to_cpu(v2), 0x0102);
}
END_TEST

/* ---- Messages ------------------------------------------------------------------------------------------ */

START_TEST(log_prints_a_line_with_program_and_level)
{
	char text[256];
	ssize_t len;
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_ge(dup2(fd[1], STDERR_FILENO), 0);
	log_set_name("prog");
	log_error("bad %d", 1);
	log_warn("odd %d", 2);
	log_info("fine %d", 3);
	len = read(fd[0], text, sizeof(text) - 1);
	ck_assert_int_gt(len, 0);
	text[len] = '\0';
	ck_assert_str_eq(text, "prog: error: bad 1\nprog: warning: odd 2\nprog: fine 3\n");
}
END_TEST

START_TEST(log_leaves_stderr_alone_once_it_has_syslog)
{
	char c;
	int fd[2];

	ck_assert_int_eq(pipe2(fd, O_NONBLOCK), 0);
	ck_assert_int_ge(dup2(fd[1], STDERR_FILENO), 0);
	log_to_syslog();
	log_info("not for the terminal");
	ck_assert_int_eq(read(fd[0], &c, 1), -1);
	ck_assert_int_eq(errno, EAGAIN);
}
END_TEST

static Suite *util_suite(void)
{
	Suite *s = suite_create("util");
	TCase *bitmap = tcase_create("bitmap"), *crc = tcase_create("crc32c"), *rest = tcase_create("rest");

	tcase_add_test(bitmap, bitmap_starts_clear);
	tcase_add_test(bitmap, bitmap_of_no_bits_can_be_had);
	tcase_add_test(bitmap, bitmap_range_ends_at_word_bounds);
	tcase_add_test(bitmap, bitmap_search_stays_before_its_end);
	tcase_add_test(bitmap, bitmap_ranges_agree_with_a_byte_per_bit);
	tcase_add_test(bitmap, bitmap_alloc_can_be_made_to_fail);
	suite_add_tcase(s, bitmap);
	tcase_add_test(crc, crc32c_has_the_published_values);
	tcase_add_test(crc, crc32c_of_parts_chains_to_that_of_the_whole);
	tcase_add_test(crc, crc32c_object_ignores_its_own_field_only);
	suite_add_tcase(s, crc);
	tcase_add_test(rest, err_keeps_text_and_code);
	tcase_add_test(rest, err_cuts_what_does_not_fit);
	tcase_add_test(rest, fault_hits_the_nth_asking_once);
	tcase_add_test(rest, fault_always_lasts_until_disarmed);
	tcase_add_test(rest, fault_hits_one_of_many_threads);
	tcase_add_test(rest, list_keeps_order_and_survives_deletion);
	tcase_add_test(rest, le_integers_have_their_low_byte_first);
	tcase_add_test(rest, log_prints_a_line_with_program_and_level);
	tcase_add_test(rest, log_leaves_stderr_alone_once_it_has_syslog);
	suite_add_tcase(s, rest);
	return s;
}

int main(void)
{
	return unit_run(util_suite());
}
