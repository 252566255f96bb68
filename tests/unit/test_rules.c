/* SPDX-License-Identifier: MIT */
/*
 * test_rules.c - the two files of the operator: read together, in force together, and what is in
 * force stays so while a file is wrong.
 */
#include "unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "rules.h"

static char folder[] = "/tmp/famez-rules-XXXXXX", zone_path[64], bind_path[64];
static struct rules_memory memory;
static struct rules r;
static struct why why;

static void write_file(const char *path, const char *content)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(content, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(zone_path, sizeof(zone_path), "%s/zones", folder);
	(void)snprintf(bind_path, sizeof(bind_path), "%s/ids", folder);
	r = (struct rules){.zone_file = zone_path,
		.bind_file = bind_path,
		.first_id = 1,
		.peers = 9,
		.memory = &memory};
	write_file(zone_path, "zone a uid=1\n");
	write_file(bind_path, "id=1 uid=1\n");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(zone_path);
	(void)unlink(bind_path);
	return rmdir(folder);
}

/* And put in force, as the registrar does it. */
static int read_them(uint64_t carried)
{
	int err = rules_read(&r, carried, &why);

	if (!err)
		rules_count(&r);
	return err;
}

static void what_the_files_say_is_in_force(void **state)
{
	(void)state;
	assert_int_equal(read_them(0), 0);
	assert_int_equal(rules_zones(&r)->rules_count, 1);
	assert_int_equal(rules_binds(&r)->lines[0].id, 1);
	assert_false(rules_want_args(&r));
	write_file(zone_path, "zone a uid=1\nzone b name=x\n");
	assert_int_equal(read_them(0), 0);
	assert_int_equal(rules_zones(&r)->rules_count, 2);
	assert_int_equal(rules_binds(&r)->count, 1);
	assert_true(rules_want_args(&r));
}

static void a_mistake_in_either_file_changes_nothing(void **state)
{
	(void)state;
	assert_int_equal(read_them(0), 0);
	write_file(zone_path, "zone b uid=2\n");
	write_file(bind_path, "id=2 uid=1\nid=10 uid=1\n");
	assert_int_equal(read_them(0), -EINVAL);
	assert_non_null(strstr(why.text, "ids, line 2"));
	assert_string_equal(rules_zones(&r)->names[0], "a");
	assert_int_equal(rules_binds(&r)->lines[0].id, 1);
	write_file(bind_path, "id=2 uid=1\n");
	write_file(zone_path, "zone\n");
	assert_int_equal(read_them(0), -EINVAL);
	assert_non_null(strstr(why.text, "zones, line 1"));
	assert_int_equal(rules_binds(&r)->lines[0].id, 1);
}

static void a_file_that_is_gone_or_too_long_changes_nothing(void **state)
{
	FILE *f;

	(void)state;
	assert_int_equal(read_them(0), 0);
	assert_int_equal(unlink(zone_path), 0);
	assert_int_equal(read_them(0), -ENOENT);
	assert_non_null(strstr(why.text, zone_path));
	assert_int_equal(rules_zones(&r)->rules_count, 1);
	f = fopen(zone_path, "w");
	assert_non_null(f);
	for (unsigned n = 0; n < RULES_BYTES_MAX / 8 + 1; n++)
		assert_true(fputs("#3456 8\n", f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(read_them(0), -EFBIG);
	assert_non_null(strstr(why.text, "too long"));
	r.zone_file = folder;
	assert_int_equal(read_them(0), -EISDIR);
}

static void a_file_that_was_not_named_is_not_there(void **state)
{
	(void)state;
	r.zone_file = NULL;
	assert_int_equal(read_them(0), 0);
	assert_null(rules_zones(&r));
	assert_int_equal(rules_binds(&r)->count, 1);
	r.bind_file = NULL;
	assert_int_equal(read_them(0), 0);
	assert_null(rules_binds(&r));
	assert_false(rules_want_args(&r));
}

static void other_sockets_of_ids_are_noticed_and_made_and_taken_away(void **state)
{
	const struct listener_wish wish = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	char text[256], first[80], second[80];
	struct stat st;

	(void)state;
	(void)snprintf(first, sizeof(first), "%s/one", folder);
	(void)snprintf(second, sizeof(second), "%s/two", folder);
	assert_int_equal(read_them(0), 0);
	(void)snprintf(text, sizeof(text), "id=3 socket=%s\nid=4 socket=%s\n", first, second);
	write_file(bind_path, text);
	assert_int_equal(rules_read(&r, 0, &why), 0);
	assert_false(rules_same_sockets(&r));
	assert_int_equal(rules_gates(&r, &wish, false, &why), 0);
	rules_count(&r);
	assert_int_equal(gates_count(&memory.gates), 2);
	assert_int_equal(stat(second, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* Once more, as after a death in the middle: nothing is made twice. */
	assert_int_equal(rules_read(&r, 0, &why), 0);
	assert_true(rules_same_sockets(&r));
	assert_int_equal(rules_gates(&r, &wish, false, &why), 0);
	assert_int_equal(gates_count(&memory.gates), 2);
	/* What somebody else put there since is not ours to remove. */
	assert_int_equal(unlink(second), 0);
	write_file(second, "x");
	write_file(bind_path, "id=1 uid=1\n");
	assert_int_equal(rules_read(&r, 0, &why), 0);
	assert_false(rules_same_sockets(&r));
	assert_int_equal(rules_gates(&r, &wish, false, &why), 0);
	assert_int_equal(gates_count(&memory.gates), 0);
	assert_int_not_equal(stat(first, &st), 0);
	assert_int_equal(unlink(second), 0);
}

static void zones_that_are_carried_keep_their_bits_from_file_to_file(void **state)
{
	(void)state;
	write_file(zone_path, "zone a uid=1\nzone b uid=2\n");
	assert_int_equal(read_them(0), 0);
	assert_string_equal(rules_zones(&r)->names[1], "b");
	write_file(zone_path, "zone c uid=1\nzone b uid=2\n");
	assert_int_equal(read_them(2), 0);
	assert_string_equal(rules_zones(&r)->names[0], "c");
	assert_string_equal(rules_zones(&r)->names[1], "b");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(what_the_files_say_is_in_force),
		T(a_mistake_in_either_file_changes_nothing),
		T(a_file_that_is_gone_or_too_long_changes_nothing),
		T(a_file_that_was_not_named_is_not_there),
		T(other_sockets_of_ids_are_noticed_and_made_and_taken_away),
		T(zones_that_are_carried_keep_their_bits_from_file_to_file),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
