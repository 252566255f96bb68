/* SPDX-License-Identifier: MIT */
/*
 * test_zones.c - the file of zones: what it means, what is said of a wrong one, and which bit
 * a zone has.
 */
#include "unit.h"

#include <errno.h>

#include "zones.h"

static struct zones z, next;
static struct why why;

static int parse_into(
	struct zones *to, const struct zones *before, uint64_t carried, const char *text)
{
	why.text[0] = '\0';
	return zones_parse(to, before, carried, "zones", text, strlen(text), &why);
}

static void parse(const char *text)
{
	if (parse_into(&z, NULL, 0, text) != 0)
		fail_msg("\"%s\": %s", text, why.text);
}

/* Refused, with the line and all of @words, separated by '|', in what is said. */
static void refused(const char *text, const char *words)
{
	char copy[256], *rest = copy;

	if (parse_into(&z, NULL, 0, text) != -EINVAL)
		fail_msg("\"%s\" was taken", text);
	assert_null(strchr(why.text, '\n'));
	(void)snprintf(copy, sizeof(copy), "%s", words);
	for (char *w; (w = strsep(&rest, "|"));)
		if (!strstr(why.text, w))
			fail_msg("\"%s\": \"%s\" says nothing of \"%s\"", text, why.text, w);
}

/* Names of the zones that somebody is in. */
static const char *of(uint32_t id, uint32_t uid, const char *name)
{
	static char text[256];
	struct zones_who who;

	zones_judge(&who, &z, uid, name);
	zones_print(&z, zones_of(&who, id), text, sizeof(text));
	return text;
}

static uint64_t bit(const struct zones *of_these, const char *name)
{
	for (unsigned n = 0; n < ZONES_MAX; n++)
		if (strcmp(of_these->names[n], name) == 0)
			return UINT64_C(1) << n;
	return 0;
}

static void a_zone_takes_ids_users_or_names(void **state)
{
	(void)state;
	parse("zone a ids=1-20,40\nzone b uid=1000\nzone c name=web-*\n");
	assert_string_equal(of(1, 5, ""), "a");
	assert_string_equal(of(20, 5, "db"), "a");
	assert_string_equal(of(21, 5, ""), "");
	assert_string_equal(of(40, 5, ""), "a");
	assert_string_equal(of(41, 1000, ""), "b");
	assert_string_equal(of(41, 5, "web-1"), "c");
	assert_string_equal(of(7, 1000, "web-"), "a,b,c");
}

static void all_of_a_line_must_hold(void **state)
{
	(void)state;
	parse("zone a ids=1-3 uid=1000 name=web-?\n");
	assert_string_equal(of(3, 1000, "web-1"), "a");
	assert_string_equal(of(4, 1000, "web-1"), "");
	assert_string_equal(of(3, 1001, "web-1"), "");
	assert_string_equal(of(3, 1000, "web-11"), "");
	assert_string_equal(of(3, 1000, ""), "");
}

static void several_lines_may_fill_one_zone(void **state)
{
	(void)state;
	parse("zone a uid=1\nzone b uid=2\nzone a uid=3\nzone b uid=3\n");
	assert_string_equal(of(0, 1, ""), "a");
	assert_string_equal(of(0, 2, ""), "b");
	assert_string_equal(of(0, 3, ""), "a,b");
}

static void whoever_no_line_takes_is_in_the_default_zone_or_in_none(void **state)
{
	(void)state;
	parse("default-zone rest\nzone a uid=1\n");
	assert_string_equal(of(0, 1, ""), "a");
	assert_string_equal(of(0, 2, ""), "rest");
	parse("zone a uid=1\ndefault-zone a\n");
	assert_string_equal(of(0, 2, ""), "a");
	parse("");
	assert_string_equal(of(0, 2, ""), "");
}

static void a_pattern_wants_a_name_at_all(void **state)
{
	(void)state;
	parse("zone a name=*\n");
	assert_string_equal(of(0, 1, "x"), "a");
	assert_string_equal(of(0, 1, ""), "");
	assert_true(zones_want_name(&z));
	parse("zone a uid=1\n");
	assert_false(zones_want_name(&z));
}

static void comments_blanks_and_a_missing_newline_do_no_harm(void **state)
{
	(void)state;
	parse("# zones\n\n  \t\r\n\tzone  a\tuid=1   # one\r\nzone b uid=2");
	assert_string_equal(of(0, 1, ""), "a");
	assert_string_equal(of(0, 2, ""), "b");
}

static void a_wrong_line_is_named_with_what_would_be_right(void **state)
{
	(void)state;
	refused("zone a uid=1\nzon b uid=2\n", "zones, line 2|zon|zone NAME|default-zone");
	refused("zone\n", "line 1|ids=");
	refused("\n\nzone a\n", "line 3|ids=, uid= or name=");
	refused("zone a uid=root\n", "uid=root|number of a user");
	refused("zone a uid=\n", "number of a user");
	refused("zone a uid=4294967295\n", "4294967295");
	refused("zone a ids=5-3\n", "ids=5-3|1-20,40");
	refused("zone a ids=1,,2\n", "1,,2");
	refused("zone a ids=65536\n", "65536");
	refused("zone a ids=\n", "1-20,40");
	refused("zone a name=\n", "pattern");
	refused("zone a colour=red\n", "colour=red|ids=, uid= or name=");
	refused("zone a uid=1 uid=2\n", "second|one a line");
	refused("zone a/b uid=1\n", "a/b|letters");
	refused("default-zone\n", "one name");
	refused("default-zone a b\n", "one name");
	refused("default-zone a\ndefault-zone a\n", "line 2|second");
	refused("zone abcdefghijklmnopqrstuvwxyz0123456 uid=1\n", "at most 31");
	refused("zone a 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7\n", "too many words");
}

static void a_name_of_31_and_a_pattern_of_63_bytes_fit(void **state)
{
	char text[256];

	(void)state;
	(void)snprintf(text, sizeof(text), "zone %.31s name=%.63s\n",
		"abcdefghijklmnopqrstuvwxyz0123456789",
		"0123456789012345678901234567890123456789012345678901234567890123456789");
	parse(text);
	assert_string_equal(
		of(0, 0, "012345678901234567890123456789012345678901234567890123456789012"),
		"abcdefghijklmnopqrstuvwxyz01234");
	refused("zone a name="
		"0123456789012345678901234567890123456789012345678901234567890123",
		"1 to 63");
}

static void bytes_that_are_no_text_are_refused(void **state)
{
	static char text[3000];

	(void)state;
	assert_int_equal(zones_parse(&z, NULL, 0, "zones", "zone a\0b uid=1", 14, &why), -EINVAL);
	assert_non_null(strstr(why.text, "NUL"));
	memset(text, 'x', sizeof(text) - 1);
	refused(text, "line 1|too long");
	text[1023] = '\n'; /* the longest that fits */
	refused(text, "line 1|begins no line");
}

static void there_are_64_zones_and_256_lines_at_most(void **state)
{
	static char text[ZONES_RULES_MAX * 32];
	size_t used = 0;

	(void)state;
	for (unsigned n = 0; n < ZONES_MAX; n++)
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "zone z%u uid=%u\n", n, n);
	parse(text);
	assert_string_equal(of(0, 63, ""), "z63");
	(void)snprintf(text + used, sizeof(text) - used, "default-zone more\n");
	refused(text, "line 65|64 zones");
	used = 0;
	for (unsigned n = 0; n < ZONES_RULES_MAX; n++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "zone a uid=%u\n", n);
	parse(text);
	(void)snprintf(text + used, sizeof(text) - used, "zone a uid=999\n");
	refused(text, "line 257|at most 256");
}

static void there_are_1024_ranges_at_most(void **state)
{
	static char text[64 * 64 + 2048];
	size_t used = 0;

	(void)state;
	for (unsigned line = 0; line < 32; line++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "zone a ids=0");
		for (unsigned n = 1; n < 32; n++)
			used += (size_t)snprintf(text + used, sizeof(text) - used, ",%u", n);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "\n");
	}
	parse(text);
	assert_int_equal(z.ranges_count, ZONES_RANGES_MAX);
	(void)snprintf(text + used, sizeof(text) - used, "zone a ids=1\n");
	refused(text, "line 33|1024");
}

static void a_zone_that_an_id_carries_keeps_its_bit(void **state)
{
	uint64_t b;

	(void)state;
	parse("zone a uid=1\nzone b uid=2\nzone c uid=3\n");
	b = bit(&z, "b");
	assert_int_equal(parse_into(&next, &z, b, "zone d uid=1\nzone c uid=2\nzone b uid=3\n"), 0);
	assert_int_equal(bit(&next, "b"), b);
	assert_int_equal(bit(&next, "a"), 0);
	assert_true(bit(&next, "d") && bit(&next, "c"));
	assert_int_equal(bit(&next, "d") & b, 0);
	assert_int_equal(bit(&next, "c") & (b | bit(&next, "d")), 0);
	/* Even while no line names it. */
	assert_int_equal(parse_into(&z, &next, b, "zone e uid=1\n"), 0);
	assert_int_equal(bit(&z, "b"), b);
	assert_int_equal(parse_into(&next, &z, 0, "zone e uid=1\n"), 0);
	assert_int_equal(bit(&next, "b"), 0);
}

static void all_zones_can_be_replaced_once_nobody_is_in_them(void **state)
{
	static char text[ZONES_MAX * 32];
	size_t used = 0;

	(void)state;
	for (unsigned n = 0; n < ZONES_MAX; n++)
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "zone z%u uid=%u\n", n, n);
	parse(text);
	used = 0;
	for (unsigned n = 0; n < ZONES_MAX; n++)
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "zone y%u uid=%u\n", n, n);
	assert_int_equal(parse_into(&next, &z, 0, text), 0);
	assert_int_equal(parse_into(&next, &z, 1, text), -EINVAL);
	assert_non_null(strstr(why.text, "64 zones"));
}

static void names_are_printed_as_far_as_they_fit(void **state)
{
	char text[6];

	(void)state;
	parse("zone a uid=1\nzone bc uid=1\nzone de uid=1\n");
	zones_print(&z, ZONES_ALL, text, sizeof(text));
	assert_int_equal(strncmp(text, "a,bc", 4), 0);
	assert_true(strlen(text) < sizeof(text));
	zones_print(&z, 0, text, sizeof(text));
	assert_string_equal(text, "");
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(a_zone_takes_ids_users_or_names),
		T(all_of_a_line_must_hold),
		T(several_lines_may_fill_one_zone),
		T(whoever_no_line_takes_is_in_the_default_zone_or_in_none),
		T(a_pattern_wants_a_name_at_all),
		T(comments_blanks_and_a_missing_newline_do_no_harm),
		T(a_wrong_line_is_named_with_what_would_be_right),
		T(a_name_of_31_and_a_pattern_of_63_bytes_fit),
		T(bytes_that_are_no_text_are_refused),
		T(there_are_64_zones_and_256_lines_at_most),
		T(there_are_1024_ranges_at_most),
		T(a_zone_that_an_id_carries_keeps_its_bit),
		T(all_zones_can_be_replaced_once_nobody_is_in_them),
		T(names_are_printed_as_far_as_they_fit),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
