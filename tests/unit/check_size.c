/*
 * Sizes as people write them, and as they are written for people.
 */
#include <errno.h>
#include <string.h>

#include "unit.h"
#include "util/size.h"

static struct err err;
static uint64_t bytes;

static void expect(const char *text, uint64_t wanted)
{
	ck_assert_msg(size_parse(text, "--size", &bytes, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(bytes, wanted);
}

static void expect_error(const char *text, int code, const char *says)
{
	ck_assert_int_eq(size_parse(text, "--size", &bytes, &err), code);
	ck_assert_msg(strstr(err.text, says) != NULL, "'%s' says '%s'", text, err.text);
	ck_assert_int_eq(size_parse(text, "--size", &bytes, NULL), code);
}

START_TEST(a_number_alone_is_bytes)
{
	expect("0", 0);
	expect("4194304", 4194304);
	expect("17b", 17);
	expect("18446744073709551615", UINT64_MAX);
}
END_TEST

START_TEST(units_are_powers_of_1024_however_they_are_written)
{
	static const char letters[] = "kmgtp";

	for (unsigned int i = 0; letters[i]; i++) {
		const char c = letters[i], upper = (char)(c - 'a' + 'A');

		expect((char[]){ '3', c, 0 }, 3ULL << (10 * (i + 1)));
		expect((char[]){ '3', upper, 0 }, 3ULL << (10 * (i + 1)));
		expect((char[]){ '3', c, 'b', 0 }, 3ULL << (10 * (i + 1)));
		expect((char[]){ '3', upper, 'i', 'B', 0 }, 3ULL << (10 * (i + 1)));
	}
}
END_TEST

START_TEST(what_is_no_size_is_refused)
{
	expect_error("", -EINVAL, "--size : a size is needed");
	expect_error("m", -EINVAL, "a size is needed");
	expect_error("-4m", -EINVAL, "--size -4m: a size is needed");
	expect_error("+4m", -EINVAL, "a size is needed");
	expect_error(" 4m", -EINVAL, "a size is needed");
	expect_error("12q", -EINVAL, "unknown unit \"q\"");
	expect_error("4mx", -EINVAL, "unknown unit \"mx\"");
	expect_error("4bb", -EINVAL, "unknown unit \"bb\"");
	expect_error("4.5m", -EINVAL, "unknown unit \".5m\"");
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
	expect("16383p", 16383ULL << 50);
	expect_error("16384p", -ERANGE, "does not fit in 64 bits");
	expect("18014398509481983k", 18014398509481983ULL << 10);
	expect_error("18014398509481984k", -ERANGE, "does not fit in 64 bits");
	expect_error("18446744073709551616", -ERANGE, "does not fit in 64 bits");
}
END_TEST

static void expect_text(uint64_t n, const char *wanted)
{
	char text[SIZE_TEXT];

	ck_assert_str_eq(size_format(n, text), wanted);
}

START_TEST(sizes_are_written_exactly_or_to_one_decimal)
{
	expect_text(0, "0 bytes");
	expect_text(1023, "1023 bytes");
	expect_text(1024, "1 KiB");
	expect_text(4097, "4.0 KiB");
	expect_text(1536, "1.5 KiB");
	expect_text(4 << 20, "4 MiB");
	expect_text(3ULL << 29, "1.5 GiB");
	expect_text(1ULL << 40, "1 TiB");
	expect_text(1ULL << 60, "1024 PiB");
	expect_text(UINT64_MAX, "16384.0 PiB");
}
END_TEST

static Suite *size_suite(void)
{
	Suite *s = suite_create("size");
	TCase *tc = tcase_create("size");

	tcase_add_test(tc, a_number_alone_is_bytes);
	tcase_add_test(tc, units_are_powers_of_1024_however_they_are_written);
	tcase_add_test(tc, what_is_no_size_is_refused);
	tcase_add_test(tc, what_does_not_fit_is_refused);
	tcase_add_test(tc, sizes_are_written_exactly_or_to_one_decimal);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return unit_run(size_suite());
}
