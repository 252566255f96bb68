/* SPDX-License-Identifier: MIT */
/*
 * test_client_text.c - what famez-client makes of strangers' bytes: fit to be
 * shown, and the lines that pieces of a file begin with.
 */
#include "unit.h"

#include "escape.h"
#include "transfer.h"

#include <locale.h>

static void expect_json(const char *bytes, size_t count, const char *wanted)
{
	char *made = escape_json(bytes, count);

	assert_string_equal(made, wanted);
	free(made);
}

static void expect_shown(const char *locale, const char *name, const char *wanted)
{
	char made[64];

	assert_non_null(setlocale(LC_CTYPE, locale));
	assert_string_equal(escape_name(made, sizeof(made), name), wanted);
}

static void json_is_ascii_and_keeps_every_character(void **state)
{
	(void)state;
	expect_json("", 0, "\"\"");
	expect_json("a b~", 4, "\"a b~\"");
	expect_json("\"\\\n\x7f", 4, "\"\\u0022\\u005c\\u000a\\u007f\"");
	expect_json("\0x", 2, "\"\\u0000x\"");
	expect_json("\xe2\x82\xac", 3, "\"\\u20ac\"");
	expect_json("\xf0\x9f\x98\x80", 4, "\"\\ud83d\\ude00\"");
}

static void json_replaces_what_is_no_utf8(void **state)
{
	(void)state;
	expect_json("\xff", 1, "\"\\ufffd\"");
	expect_json("\xc0\x80", 2, "\"\\ufffd\\ufffd\"");
	expect_json("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");
	expect_json("\xe2\x82", 2, "\"\\ufffd\\ufffd\"");
}

static void text_is_utf8_without_a_nul(void **state)
{
	(void)state;
	assert_true(escape_is_text("", 0));
	assert_true(escape_is_text("\x1b\xc3\xa4", 3));
	assert_false(escape_is_text("a\0", 2));
	assert_false(escape_is_text("\xc3", 1));
	assert_false(escape_is_text("\xf4\x90\x80\x80", 4));
	assert_false(escape_is_text("\xe0\x80\x80", 3));
}

static void a_terminal_gets_nothing_that_it_obeys(void **state)
{
	(void)state;
	expect_shown("C.UTF-8", "\x1b[2J\x7f", "\\x1b[2J\\x7f");
	expect_shown("C.UTF-8", "a\\\n\r\t", "a\\\\\\n\\r\\t");
	expect_shown("C.UTF-8", "\xc2\x9b", "\\u{9b}");
	expect_shown("C.UTF-8", "\xe2\x80\x8b", "\\u{200b}");
	expect_shown("C.UTF-8", "\x9b", "\\x9b");
	expect_shown("C.UTF-8", "\xc3\xa4", "\xc3\xa4");
	expect_shown("C", "\xc3\xa4", "\\u{e4}");
}

static void a_name_that_does_not_fit_is_cut_between_characters(void **state)
{
	char made[8];

	(void)state;
	assert_non_null(setlocale(LC_CTYPE, "C"));
	assert_string_equal(escape_name(made, sizeof(made), "abcdefghij"), "abcdefg");
	assert_string_equal(escape_name(made, sizeof(made), "abcd\x1bx"), "abcd");
}

static void expect_line(const struct transfer *t, const char *wanted)
{
	char line[TRANSFER_LINE_MAX];
	struct transfer back;

	assert_int_equal(transfer_write(line, t), strlen(wanted));
	assert_string_equal(line, wanted);
	assert_true(transfer_read(&back, (const unsigned char *)line, strlen(line)));
	assert_int_equal(back.kind, t->kind);
	assert_int_equal(back.number, t->number);
	assert_int_equal(back.bytes, t->bytes);
	assert_int_equal(back.offset, t->offset);
	assert_int_equal(back.crc, t->crc);
	assert_string_equal(back.name, t->name);
	assert_string_equal(back.reason, t->reason);
	assert_int_equal(back.line_bytes, strlen(line));
}

static void every_line_reads_as_it_was_written(void **state)
{
	(void)state;
	expect_line(
		&(struct transfer){
			.kind = TRANSFER_BEGIN, .number = 10, .bytes = 7, .name = "a b%\xc3\xa4"},
		"famez-file begin 000000000000000a 7 a%20b%25%c3%a4\n");
	expect_line(&(struct transfer){.kind = TRANSFER_PART, .number = 10, .offset = 5},
		"famez-file part 000000000000000a 5\n");
	expect_line(&(struct transfer){.kind = TRANSFER_END, .number = 10, .crc = 0xab},
		"famez-file end 000000000000000a 000000ab\n");
	expect_line(&(struct transfer){.kind = TRANSFER_STORED, .number = 10},
		"famez-file stored 000000000000000a");
	expect_line(&(struct transfer){.kind = TRANSFER_REFUSED, .number = 10, .reason = "why not"},
		"famez-file refused 000000000000000a why not");
}

static void the_longest_name_fits_a_line(void **state)
{
	struct transfer t = {
		.kind = TRANSFER_BEGIN, .number = UINT64_MAX, .bytes = 999999999999999999};
	char line[TRANSFER_LINE_MAX];
	struct transfer back;

	(void)state;
	memset(t.name, ' ', TRANSFER_NAME_MAX);
	assert_true(transfer_write(line, &t) < sizeof(line));
	assert_true(transfer_read(&back, (const unsigned char *)line, strlen(line)));
	assert_string_equal(back.name, t.name);
}

static void what_is_no_line_is_not_read_as_one(void **state)
{
	static const char *const lines[] = {"", "famez-file", "famez-file ", "famez-file begin",
		"famez-file begin 1", "famez-file begin 1 1", "famez-file begin 1 1 ",
		"famez-file begin  1 1 n", "famez-file begin 1 -1 n", "famez-file begin 1 +1 n",
		"famez-file begin 1 1x n", "famez-file begin 1 9999999999999999999 n",
		"famez-file begin 11112222333344445 1 n", "famez-file begin 1 1 %",
		"famez-file part 1 1", "famez-file part 1 1 1\n", "famez-file end 1 123456789",
		"famez-file end 1 xyz", "famez-file stored 1 2", "famez-file other 1",
		"Famez-file stored 1"};
	struct transfer t;

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(lines); i++)
		if (transfer_read(&t, (const unsigned char *)lines[i], strlen(lines[i])))
			fail_msg("read: %s", lines[i]);
}

static void a_name_does_no_harm_in_a_folder(void **state)
{
	static const struct {
		const char *path, *name;
	} cases[] = {{"a", "a"}, {"/etc/passwd", "passwd"}, {"../x", "x"}, {"..", "_."},
		{"a/", "_"}, {"", "_"}, {".profile", "_profile"}, {"-rf", "_rf"},
		{"a\nb\x7f", "a_b_"}, {"\xff\xc3\xa4", "___"}, {"\xc3\xa4 b", "\xc3\xa4 b"}};
	char name[TRANSFER_NAME_MAX + 1];

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		transfer_name(name, cases[i].path);
		assert_string_equal(name, cases[i].name);
	}
}

static void a_reason_can_be_shown_as_it_is(void **state)
{
	static const char line[] = "famez-file refused 1 no \x1b[2J\xc2\x9b";
	struct transfer t;

	(void)state;
	assert_true(transfer_read(&t, (const unsigned char *)line, sizeof(line) - 1));
	assert_string_equal(t.reason, "no _[2J__");
}

static void the_checksum_is_the_usual_one(void **state)
{
	(void)state;
	assert_int_equal(transfer_crc(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(transfer_crc(transfer_crc(0, "1234", 4), "56789", 5), 0xcbf43926);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_is_ascii_and_keeps_every_character),
		cmocka_unit_test(json_replaces_what_is_no_utf8),
		cmocka_unit_test(text_is_utf8_without_a_nul),
		cmocka_unit_test(a_terminal_gets_nothing_that_it_obeys),
		cmocka_unit_test(a_name_that_does_not_fit_is_cut_between_characters),
		cmocka_unit_test(every_line_reads_as_it_was_written),
		cmocka_unit_test(the_longest_name_fits_a_line),
		cmocka_unit_test(what_is_no_line_is_not_read_as_one),
		cmocka_unit_test(a_name_does_no_harm_in_a_folder),
		cmocka_unit_test(a_reason_can_be_shown_as_it_is),
		cmocka_unit_test(the_checksum_is_the_usual_one),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
