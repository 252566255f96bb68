/* SPDX-License-Identifier: MIT */
/*
 * test_size.c - numbers of bytes as people write them, for all tools.
 */
#include "unit.h"

#include "size.h"

#include <inttypes.h>

static void is_read_as(const char *text, uint64_t bytes)
{
	uint64_t found = 1;

	if (!size_parse(text, &found) || found != bytes)
		fail_msg("\"%s\" became %" PRIu64, text, found);
}

static void is_no_size(const char *text)
{
	uint64_t found = 12345;

	if (size_parse(text, &found))
		fail_msg("\"%s\" became %" PRIu64, text, found);
	assert_int_equal(found, 12345);
}

static void units_are_powers_of_1024(void **state)
{
	(void)state;
	is_read_as("0", 0);
	is_read_as("4096", 4096);
	is_read_as("1K", UINT64_C(1) << 10);
	is_read_as("64M", UINT64_C(64) << 20);
	is_read_as("3G", UINT64_C(3) << 30);
	is_read_as("160T", UINT64_C(160) << 40);
	is_read_as("1P", UINT64_C(1) << 50);
}

static void they_may_be_written_as_famez_server_takes_them(void **state)
{
	(void)state;
	is_read_as("64m", UINT64_C(64) << 20);
	is_read_as("64MB", UINT64_C(64) << 20);
	is_read_as("64MiB", UINT64_C(64) << 20);
	is_read_as("64B", 64);
}

static void what_is_no_number_of_bytes_is_refused(void **state)
{
	static const char *const all[] = {"", " 1", "-1", "+1", "lots", "K", "1X", "1KK", "1Ki",
		"1KiBB", "1.5G", "0x10", "1 K", "1iB", "1\n"};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(all); i++)
		is_no_size(all[i]);
}

static void what_does_not_fit_64_bits_is_refused(void **state)
{
	(void)state;
	is_read_as("18446744073709551615", UINT64_MAX);
	is_read_as("16383P", UINT64_C(16383) << 50);
	is_no_size("18446744073709551616");
	is_no_size("99999999999999999999K");
	is_no_size("18014398509481984K");
	is_no_size("16384P");
}

static void they_are_shown_in_the_largest_unit_that_is_exact(void **state)
{
	char text[SIZE_TEXT_BYTES];

	(void)state;
	assert_string_equal(size_text(text, 0), "0");
	assert_string_equal(size_text(text, 1000), "1000");
	assert_string_equal(size_text(text, 1536), "1536");
	assert_string_equal(size_text(text, UINT64_C(3) << 30), "3G");
	assert_string_equal(size_text(text, UINT64_C(1) << 60), "1024P");
	assert_string_equal(size_text(text, UINT64_MAX), "18446744073709551615");
}

static void the_next_power_of_two_is_itself_or_larger(void **state)
{
	(void)state;
	assert_int_equal(size_power(1), 1);
	assert_int_equal(size_power(5), 8);
	assert_int_equal(size_power(UINT64_C(1) << 63), UINT64_C(1) << 63);
	assert_int_equal(size_power((UINT64_C(1) << 63) + 1), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_are_powers_of_1024),
		cmocka_unit_test(they_may_be_written_as_famez_server_takes_them),
		cmocka_unit_test(what_is_no_number_of_bytes_is_refused),
		cmocka_unit_test(what_does_not_fit_64_bits_is_refused),
		cmocka_unit_test(they_are_shown_in_the_largest_unit_that_is_exact),
		cmocka_unit_test(the_next_power_of_two_is_itself_or_larger),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
