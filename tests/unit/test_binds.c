/* SPDX-License-Identifier: MIT */
/*
 * test_binds.c - the file of bound IDs, and the command lines that it is compared with.
 */
#include "unit.h"

#include <errno.h>

#include "binds.h"

#define WEB1 "8a3c1e2f-52b0-4a51-9d5d-0e6f3f6a7b11"

static struct binds b;
static struct why why;
static struct qemu_args args;

static int parse_text(const char *text)
{
	why.text[0] = '\0';
	return binds_parse(&b, 1, 20, "ids", text, strlen(text), &why);
}

static void parse(const char *text)
{
	if (parse_text(text) != 0)
		fail_msg("\"%s\": %s", text, why.text);
}

static void refused(const char *text, const char *words)
{
	char copy[256], *rest = copy;

	if (parse_text(text) != -EINVAL)
		fail_msg("\"%s\" was taken", text);
	assert_null(strchr(why.text, '\n'));
	(void)snprintf(copy, sizeof(copy), "%s", words);
	for (char *w; (w = strsep(&rest, "|"));)
		if (!strstr(why.text, w))
			fail_msg("\"%s\": \"%s\" says nothing of \"%s\"", text, why.text, w);
}

/* Parses words separated by '|' as a process's command line. */
static void command(const char *words)
{
	char line[1024];
	size_t bytes = strlen(words) + 1;

	assert_true(bytes <= sizeof(line));
	memcpy(line, words, bytes);
	for (size_t n = 0; n < bytes; n++)
		if (line[n] == '|')
			line[n] = '\0';
	qemu_args_parse(&args, line, bytes);
}

/* IDs of the lines that hold for whom command() has described, in their order. */
static const char *found(uint32_t uid)
{
	static char text[256];
	size_t used = 0;

	text[0] = '\0';
	for (uint32_t n = 0; (n = binds_find(&b, n, uid, &args)) < b.count; n++)
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "%s%u", used ? " " : "", b.lines[n].id);
	return text;
}

/* ---- command lines ---------------------------------------------------------------------- */

static void the_name_is_what_name_says(void **state)
{
	(void)state;
	command("qemu|-name|web1");
	assert_string_equal(args.name, "web1");
	command("qemu|-m|1G|-name|guest=web2,debug-threads=on|-S");
	assert_string_equal(args.name, "web2");
	command("qemu|--name|web3,process=x");
	assert_string_equal(args.name, "web3");
	command("qemu|-name|debug-threads=on,guest=web4");
	assert_string_equal(args.name, "web4");
	command("qemu|-name|one|-name|two");
	assert_string_equal(args.name, "two");
	command("qemu|-name|one|-name|debug-threads=on");
	assert_string_equal(args.name, "one");
	command("qemu|-name|a,,b=c,process=x");
	assert_string_equal(args.name, "a,b=c");
	command("qemu|-name|guest=a,,,guest=b");
	assert_string_equal(args.name, "b");
	command("qemu|-name|with blanks");
	assert_string_equal(args.name, "with blanks");
}

static void there_may_be_no_name(void **state)
{
	(void)state;
	command("qemu");
	assert_string_equal(args.name, "");
	command("qemu|-name");
	assert_string_equal(args.name, "");
	command("-name|web1");
	assert_string_equal(args.name, "");
	command("qemu|-name|");
	assert_string_equal(args.name, "");
	command("qemu|-name|process=x");
	assert_string_equal(args.name, "");
	command("qemu|-names|x|---name|y|name|z");
	assert_string_equal(args.name, "");
	qemu_args_parse(&args, "", 0);
	assert_string_equal(args.name, "");
	assert_false(args.has_uuid);
}

static void a_name_that_is_too_long_is_none(void **state)
{
	char line[128] = "qemu|-name|";

	(void)state;
	memset(line + strlen(line), 'x', QEMU_NAME_BYTES - 1);
	command(line);
	assert_int_equal(strlen(args.name), QEMU_NAME_BYTES - 1);
	line[strlen(line)] = 'x';
	command(line);
	assert_string_equal(args.name, "");
}

static void a_word_that_was_cut_off_does_not_count(void **state)
{
	(void)state;
	qemu_args_parse(&args, "qemu\0-name\0web1", 15);
	assert_string_equal(args.name, "");
	qemu_args_parse(&args, "qemu\0-name\0web1", 16);
	assert_string_equal(args.name, "web1");
}

static void the_uuid_is_what_uuid_says(void **state)
{
	uint8_t want[QEMU_UUID_BYTES];

	(void)state;
	assert_true(qemu_args_uuid(WEB1, want));
	assert_int_equal(want[0], 0x8a);
	assert_int_equal(want[15], 0x11);
	command("qemu|-uuid|8A3C1E2F-52B0-4A51-9D5D-0E6F3F6A7B11|-name|x");
	assert_true(args.has_uuid);
	assert_memory_equal(args.uuid, want, sizeof(want));
	command("qemu|--uuid|" WEB1 "|-uuid|nonsense");
	assert_false(args.has_uuid);
}

static void what_is_no_uuid_is_not_taken_for_one(void **state)
{
	static const char *const wrong[] = {"", "8", "8a3c1e2f52b04a519d5d0e6f3f6a7b11",
		"8a3c1e2f-52b0-4a51-9d5d-0e6f3f6a7b111", "8a3c1e2f-52b0-4a51-9d5d-0e6f3f6a7b1",
		"8a3c1e2g-52b0-4a51-9d5d-0e6f3f6a7b11", "8a3c1e2f-52b0-4a51-9d5d0e6f3f6a7b11-"};
	uint8_t uuid[QEMU_UUID_BYTES];

	(void)state;
	for (unsigned n = 0; n < UNIT_COUNT(wrong); n++)
		assert_false(qemu_args_uuid(wrong[n], uuid));
}

/* ---- the file --------------------------------------------------------------------------- */

static void an_id_is_kept_for_a_name_a_uuid_or_a_user(void **state)
{
	(void)state;
	parse("id=7 name=web1\nid=8 uuid=" WEB1 "\nid=9 uid=1000\n");
	command("qemu|-name|web1");
	assert_string_equal(found(5), "7");
	assert_string_equal(found(1000), "7 9");
	command("qemu|-name|web2|-uuid|" WEB1);
	assert_string_equal(found(5), "8");
	command("qemu");
	assert_string_equal(found(5), "");
	assert_string_equal(found(1000), "9");
}

static void all_of_a_line_must_hold(void **state)
{
	(void)state;
	parse("id=7 name=web1 uid=1000\n");
	command("qemu|-name|web1");
	assert_string_equal(found(1001), "");
	assert_string_equal(found(1000), "7");
}

static void several_ids_may_be_kept_for_the_same_vms_and_one_for_several(void **state)
{
	(void)state;
	parse("id=3 name=web?\nid=2 name=web?\nid=3 name=db\n");
	command("qemu|-name|web9");
	assert_string_equal(found(0), "3 2");
	command("qemu|-name|db");
	assert_string_equal(found(0), "3");
}

static void command_lines_are_read_only_where_a_line_asks_for_them(void **state)
{
	(void)state;
	parse("id=9 uid=1000\n");
	assert_false(binds_want_args(&b));
	parse("id=9 uid=1000 name=x\n");
	assert_true(binds_want_args(&b));
	parse("id=9 uuid=" WEB1);
	assert_true(binds_want_args(&b));
	parse("# nothing\n");
	assert_int_equal(b.count, 0);
}

static void a_wrong_line_is_named_with_what_would_be_right(void **state)
{
	(void)state;
	refused("id=1 uid=1\nname=web1 id=2\n", "ids, line 2|name=web1|id=N");
	refused("id=1\n", "line 1|nothing of whom");
	refused("id=0 uid=1\n", "id=0|1 to 20");
	refused("id=21 uid=1\n", "id=21|1 to 20");
	refused("id=x uid=1\n", "id=x");
	refused("id=1 id=2\n", "id=2");
	refused("id=1 uid=alice\n", "alice|number");
	refused("id=1 uuid=" WEB1 "0\n", "uuid=");
	refused("id=1 name=\n", "pattern");
	refused("id=1 uid=1 uid=2\n", "second");
	refused("id=1 name=a name=b\n", "second");
	refused("id=1 size=4\n", "size=4|socket=, name=, uuid= or uid=");
	refused("id=1 socket=a\n", "socket=a|whole path");
	refused("id=1 socket=/a socket=/b\n", "second");
	refused("id=1 socket=/a\nid=1 socket=/b\n", "line 2|ID 1|/a");
	refused("id=1 socket=/a\nid=2 socket=/a\n", "line 2|ID 1|/a");
}

static void there_are_4096_lines_at_most(void **state)
{
	static char text[(BINDS_MAX + 1) * 16];
	size_t used = 0;

	(void)state;
	for (unsigned n = 0; n < BINDS_MAX; n++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "id=1 uid=%u\n", n);
	parse(text);
	assert_int_equal(b.count, BINDS_MAX);
	(void)snprintf(text + used, sizeof(text) - used, "id=1 uid=9\n");
	refused(text, "line 4097|at most 4096");
}

static void a_socket_of_its_own_is_another_way_to_an_id(void **state)
{
	static struct binds other;

	(void)state;
	parse("id=3 socket=/run/a uid=1\nid=3 uid=2\nid=4 uid=1\n");
	command("qemu");
	assert_string_equal(found(1), "4");
	assert_string_equal(found(2), "3");
	assert_string_equal(binds_own(&b, 3)->socket, "/run/a");
	assert_null(binds_own(&b, 4));
	assert_true(binds_fits(binds_own(&b, 3), 1, &args));
	assert_false(binds_fits(binds_own(&b, 3), 2, &args));
	other = b;
	assert_true(binds_same_sockets(&b, &other));
	parse("id=9 uid=7\nid=3 socket=/run/a\n");
	assert_true(binds_same_sockets(&b, &other));
	parse("id=4 socket=/run/a\n");
	assert_false(binds_same_sockets(&b, &other));
	parse("id=3 socket=/run/a\nid=4 socket=/run/b\n");
	assert_false(binds_same_sockets(&b, &other));
	assert_false(binds_same_sockets(&other, &b));
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(the_name_is_what_name_says),
		T(there_may_be_no_name),
		T(a_name_that_is_too_long_is_none),
		T(a_word_that_was_cut_off_does_not_count),
		T(the_uuid_is_what_uuid_says),
		T(what_is_no_uuid_is_not_taken_for_one),
		T(an_id_is_kept_for_a_name_a_uuid_or_a_user),
		T(all_of_a_line_must_hold),
		T(several_ids_may_be_kept_for_the_same_vms_and_one_for_several),
		T(command_lines_are_read_only_where_a_line_asks_for_them),
		T(a_wrong_line_is_named_with_what_would_be_right),
		T(there_are_4096_lines_at_most),
		T(a_socket_of_its_own_is_another_way_to_an_id),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
