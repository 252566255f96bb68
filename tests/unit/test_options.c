/* SPDX-License-Identifier: MIT */
/*
 * test_options.c - the command line of famez-server: every option, every wrong
 * value, the line that the user reads about it, and the three dialects.
 */
#include "unit.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

#include "options.h"

enum { ARGUMENTS_MAX = 24 };

/* Splits @line at spaces, `''` being an empty argument; parses it as @name's. */
static int parse_as(const char *name, const char *line, struct options *o, struct why *why)
{
	static char words[2048]; /* options point into it */
	char *argv[ARGUMENTS_MAX + 1] = {(char *)name};
	char *rest = words;
	int argc = 1;

	assert_true(strlen(line) < sizeof(words));
	memcpy(words, line, strlen(line) + 1);
	for (char *w; (w = strsep(&rest, " "));) {
		if (!*w)
			continue;
		assert_true(argc < ARGUMENTS_MAX);
		argv[argc++] = strcmp(w, "''") == 0 ? w + 2 : w;
	}
	why->text[0] = '\0';
	return options_parse(o, argc, argv, why);
}

static struct options parse(const char *line)
{
	struct options o;
	struct why why;

	if (parse_as("famez-server", line, &o, &why) != 0)
		fail_msg("\"%s\": %s", line, why.text);
	return o;
}

static struct options parse_ivshmem(const char *line)
{
	struct options o;
	struct why why;

	if (parse_as("/usr/sbin/ivshmem-server", line, &o, &why) != 0)
		fail_msg("\"%s\": %s", line, why.text);
	return o;
}

/* Refused, in one line that has all of @words (separated by '|') in it. */
static void refused(const char *line, const char *words)
{
	struct options o;
	struct why why;
	char copy[256], *rest = copy;

	if (parse_as("famez-server", line, &o, &why) != -EINVAL)
		fail_msg("\"%s\" was taken", line);
	assert_true(strlen(why.text) > 0);
	assert_null(strchr(why.text, '\n'));
	(void)snprintf(copy, sizeof(copy), "%s", words);
	for (char *w; (w = strsep(&rest, "|"));)
		if (!strstr(why.text, w))
			fail_msg("\"%s\": \"%s\" says nothing of \"%s\"", line, why.text, w);
}

static void only_a_memory_that_grows_with_the_peers_has_room_for_fewer_of_them(void **state)
{
	static const char *const grows[] = {
		"", "--layout lanes", "-M name", "--silent --layout lanes"};
	static const char *const does_not[] = {
		"-l 4M", "--silent", "--layout slots", "--layout plain", "-l 8G --layout lanes"};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(grows); i++)
		assert_int_equal(parse(grows[i]).peers_default, 64);
	for (size_t i = 0; i < UNIT_COUNT(does_not); i++)
		assert_int_equal(parse(does_not[i]).peers_default, 1000);
}

static void without_options_the_defaults_are_famezs(void **state)
{
	struct options o = parse("");

	(void)state;
	assert_int_equal(o.peers, 0);
	assert_int_equal(o.peers_default, 64);
	assert_int_equal(o.vectors, 4);
	assert_false(o.silent);
	assert_int_equal(o.leaves, LEAVES_AUTO);
	assert_string_equal(o.device_names, "*qemu*,kvm");
	assert_int_equal(o.stall_timeout_s, 0);
	assert_int_equal(o.memory, MEMORY_SEALED);
	assert_int_equal(o.memory_asked, 0); /* what the peers need */
	assert_int_equal(o.memory_bytes, 0);
	assert_int_equal(o.layout, WANT_AUTO);
	assert_int_equal(o.dialect, DIALECT_FEE);
	assert_int_equal(o.personality, PERSONALITY_GENZ);
	assert_null(o.socket_path);
	assert_int_equal(o.socket_mode, -1);
	assert_null(o.socket_owner);
	assert_int_equal(o.workers, 0);
	assert_false(o.pin);
	assert_false(o.daemon);
	assert_null(o.pidfile);
	assert_null(o.logfile);
	assert_false(o.log_json || o.check || o.help || o.version);
	assert_int_equal(o.verbose, 0);
}

static void called_ivshmem_server_the_defaults_are_that_programs(void **state)
{
	struct options o = parse_ivshmem("");

	(void)state;
	assert_int_equal(o.vectors, 1);
	assert_true(o.silent);
	assert_true(o.daemon);
	assert_int_equal(o.memory, MEMORY_SHM);
	assert_string_equal(o.memory_name, "ivshmem");
	assert_int_equal(o.memory_bytes, 4u << 20);
	assert_int_equal(o.layout, WANT_PLAIN);
	assert_string_equal(o.socket_path, "/tmp/ivshmem_socket");
	assert_string_equal(o.pidfile, "/var/run/ivshmem-server.pid");
}

static void only_the_base_name_decides_the_dialect(void **state)
{
	struct options o;
	struct why why;

	(void)state;
	assert_int_equal(parse_as("ivshmem-server", "", &o, &why), 0);
	assert_int_equal(o.vectors, 1);
	assert_int_equal(parse_as("/ivshmem-server/famez-server", "", &o, &why), 0);
	assert_int_equal(o.vectors, 4);
	assert_int_equal(parse_as("my-ivshmem-server-2", "", &o, &why), 0);
	assert_int_equal(o.vectors, 4);
}

static void ivshmem_servers_options_keep_their_meaning(void **state)
{
	struct options o = parse_ivshmem("-v -F -p /p -S /s -M name -l 1M -n 8");

	(void)state;
	assert_int_equal(o.verbose, 1);
	assert_false(o.daemon);
	assert_string_equal(o.pidfile, "/p");
	assert_string_equal(o.socket_path, "/s");
	assert_int_equal(o.memory, MEMORY_SHM);
	assert_string_equal(o.memory_name, "name");
	assert_int_equal(o.memory_bytes, 1u << 20);
	assert_int_equal(o.vectors, 8);
	o = parse_ivshmem("-m /dev/shm");
	assert_int_equal(o.memory, MEMORY_PATH);
	assert_string_equal(o.memory_name, "/dev/shm");
	assert_true(parse_ivshmem("-h").help);
}

static void short_options_have_long_names(void **state)
{
	struct options o = parse("--foreground --pidfile /p --socketpath /s --shm-name x "
				 "--size 8M --vectors 3 --verbose");

	(void)state;
	assert_false(o.daemon);
	assert_string_equal(o.pidfile, "/p");
	assert_string_equal(o.socket_path, "/s");
	assert_int_equal(o.memory, MEMORY_SHM);
	assert_string_equal(o.memory_name, "x");
	assert_int_equal(o.memory_bytes, 8u << 20);
	assert_int_equal(o.vectors, 3);
	assert_int_equal(o.verbose, 1);
	o = parse("--shm-path /x");
	assert_int_equal(o.memory, MEMORY_PATH);
	assert_true(parse("--help").help);
	assert_true(parse("--version").version);
}

static void values_can_be_glued_to_their_options(void **state)
{
	(void)state;
	assert_int_equal(parse("-n7").vectors, 7);
	assert_int_equal(parse("--vectors=7").vectors, 7);
	assert_int_equal(parse("-Fn7").vectors, 7);
	assert_int_equal(parse("-l4K").memory_bytes, 4096);
}

static void the_last_of_two_wins(void **state)
{
	(void)state;
	assert_int_equal(parse("-n 1 -n 2").vectors, 2);
	assert_false(parse("--daemon -F").daemon);
	assert_true(parse("-F --daemon").daemon);
	assert_int_equal(parse("-m /x -M y").memory, MEMORY_SHM);
	assert_int_equal(parse("-M y -m /x").memory, MEMORY_PATH);
}

static void famezs_own_long_names_are_taken(void **state)
{
	struct options o = parse("--daemon --logfile /l --mailbox box --nClients 14 --silent "
				 "--socketpath /s --verbose");

	(void)state;
	assert_true(o.daemon && o.silent);
	assert_string_equal(o.logfile, "/l");
	assert_int_equal(o.memory, MEMORY_SHM);
	assert_string_equal(o.memory_name, "box");
	assert_int_equal(o.peers, 14);
	assert_int_equal(o.vectors, 16);
}

static void a_mailbox_with_a_slash_is_a_path(void **state)
{
	(void)state;
	assert_int_equal(parse("--mailbox box").memory, MEMORY_SHM);
	assert_int_equal(parse("--mailbox /dev/shm/box").memory, MEMORY_PATH);
	assert_int_equal(parse("--mailbox ./box").memory, MEMORY_PATH);
	assert_string_equal(parse("--mailbox ./box").memory_name, "./box");
	refused("--mailbox ''", "mailbox");
}

static void n_clients_leave_the_vectors_alone_where_they_are_given(void **state)
{
	(void)state;
	assert_int_equal(parse("-n 4 --nClients 14").vectors, 4);
	assert_int_equal(parse("--nClients 14 -n 4").vectors, 4);
	assert_int_equal(parse("--nClients 2046").vectors, 2048);
	refused("--nClients 2047", "--nClients|2046");
	refused("--nClients 0", "--nClients");
}

static void verbose_counts_and_takes_a_number(void **state)
{
	(void)state;
	assert_int_equal(parse("-v").verbose, 1);
	assert_int_equal(parse("-vv").verbose, 2);
	assert_int_equal(parse("-v --verbose").verbose, 2);
	assert_int_equal(parse("--verbose=2").verbose, 2);
	assert_int_equal(parse("--verbose=0").verbose, 0);
	refused("--verbose=x", "--verbose|x");
	refused("--verbose=-1", "--verbose");
}

static void vectors_are_1_to_2048(void **state)
{
	(void)state;
	assert_int_equal(parse("-n 1").vectors, 1);
	assert_int_equal(parse("-n 2048").vectors, 2048);
	refused("-n 0", "\"0\"|1 to 2048");
	refused("-n 2049", "\"2049\"|1 to 2048");
	refused("-n x", "\"x\"|1 to 2048");
	refused("-n 4x", "\"4x\"");
	refused("-n -1", "\"-1\"");
	refused("-n ''", "1 to 2048");
	refused("-n 99999999999999999999", "1 to 2048");
}

static void peers_and_the_server_fit_16_bits(void **state)
{
	(void)state;
	assert_int_equal(parse("--peers 1").peers, 1);
	assert_int_equal(parse("--peers 65534").peers, 65534);
	assert_int_equal(parse("--silent --peers 65536").peers, 65536);
	assert_int_equal(parse("--peers 65536 --silent").peers, 65536);
	refused("--peers 65535", "65535|65534|--silent");
	refused("--silent --peers 65537", "65537|65536");
	/* Slot 0 is the header: with slots there is no ID 0. */
	refused("--silent --layout slots --peers 65535", "65535|65534");
	refused("--peers 0", "--peers|\"0\"");
	refused("--peers many", "--peers|\"many\"");
}

static void what_is_laid_out_is_lanes_slots_or_nothing(void **state)
{
	(void)state;
	assert_int_equal(parse("--layout auto").layout, WANT_AUTO);
	assert_int_equal(parse("--layout lanes").layout, WANT_LANES);
	assert_int_equal(parse("--layout slots").layout, WANT_SLOTS);
	assert_int_equal(parse("--layout plain").layout, WANT_PLAIN);
	refused("--layout rings", "rings|auto|lanes|slots|plain");
	refused("--layout ''", "auto");
}

static void who_is_silent_leaves_the_memory_alone_unless_told_otherwise(void **state)
{
	(void)state;
	assert_int_equal(parse("--silent").layout, WANT_PLAIN);
	assert_int_equal(parse("--silent --layout auto").layout, WANT_PLAIN);
	assert_int_equal(parse("--layout lanes --silent").layout, WANT_LANES);
	assert_int_equal(parse_ivshmem("--layout slots").layout, WANT_SLOTS);
}

static void ids_start_at_0_only_where_no_slot_0_is_in_the_way(void **state)
{
	struct options o = parse("--silent");

	(void)state;
	assert_int_equal(options_first_id(&o), 0);
	o = parse("--silent --layout lanes");
	assert_int_equal(options_first_id(&o), 1);
	o = parse("--layout plain");
	assert_int_equal(options_first_id(&o), 1);
}

static void dialects_and_personalities_are_of_those_that_exist(void **state)
{
	(void)state;
	assert_int_equal(parse("--dialect fee").dialect, DIALECT_FEE);
	assert_int_equal(parse("--dialect famez").dialect, DIALECT_FAMEZ);
	assert_int_equal(parse("--personality genz").personality, PERSONALITY_GENZ);
	assert_int_equal(parse("--personality none").personality, PERSONALITY_NONE);
	refused("--dialect swiss", "swiss|fee|famez");
	assert_int_equal(parse("").sandbox, SANDBOX_AUTO);
	assert_int_equal(parse("--sandbox off").sandbox, SANDBOX_OFF);
	assert_int_equal(parse("--sandbox required").sandbox, SANDBOX_REQUIRED);
	refused("--sandbox on", "on|auto|required");
	refused("--personality split", "split|genz|none");
}

static void leaves_are_auto_always_or_never(void **state)
{
	(void)state;
	assert_int_equal(parse("--leaves auto").leaves, LEAVES_AUTO);
	assert_int_equal(parse("--leaves always").leaves, LEAVES_ALWAYS);
	assert_int_equal(parse("--leaves never").leaves, LEAVES_NEVER);
	refused("--leaves maybe", "maybe|auto|always|never");
	refused("--leaves ''", "auto|always|never");
}

static void device_names_are_taken_as_they_are(void **state)
{
	(void)state;
	assert_string_equal(parse("--device-names a*,b").device_names, "a*,b");
	refused("--device-names ''", "--device-names");
}

static void a_stall_timeout_is_whole_seconds(void **state)
{
	(void)state;
	assert_int_equal(parse("--stall-timeout 0").stall_timeout_s, 0);
	assert_int_equal(parse("--stall-timeout 30").stall_timeout_s, 30);
	refused("--stall-timeout 1.5", "--stall-timeout|1.5");
	refused("--stall-timeout -1", "--stall-timeout");
	refused("--stall-timeout soon", "soon");
}

static void workers_and_cpus_are_taken(void **state)
{
	struct options o = parse("--workers 3 --cpus 0,2-4");

	(void)state;
	assert_int_equal(o.workers, 3);
	assert_true(o.pin);
	assert_int_equal(CPU_COUNT(&o.cpus), 4);
	assert_true(CPU_ISSET(0, &o.cpus) && CPU_ISSET(2, &o.cpus) && CPU_ISSET(3, &o.cpus) &&
		    CPU_ISSET(4, &o.cpus));
	refused("--workers 0", "--workers|\"0\"");
	refused("--workers 100000", "--workers");
	refused("--workers x", "--workers|\"x\"");
	refused("--cpus 3-1", "--cpus|3-1");
	refused("--cpus ''", "--cpus");
	refused("--cpus x", "--cpus|\"x\"");
	refused("--cpus 999999", "--cpus|999999");
}

static void a_socket_mode_is_octal(void **state)
{
	(void)state;
	assert_int_equal(parse("--socket-mode 660").socket_mode, 0660);
	assert_int_equal(parse("--socket-mode 0660").socket_mode, 0660);
	assert_int_equal(parse("--socket-mode 0").socket_mode, 0);
	assert_int_equal(parse("--socket-mode 0777").socket_mode, 0777);
	refused("--socket-mode 999", "999|octal");
	refused("--socket-mode 1777", "1777|0777");
	refused("--socket-mode u+w", "octal");
	refused("--socket-mode ''", "octal");
}

static void a_socket_owner_must_exist(void **state)
{
	(void)state;
	assert_string_equal(parse("--socket-owner root").socket_owner, "root");
	assert_string_equal(parse("--socket-owner root:root").socket_owner, "root:root");
	refused("--socket-owner no-such-user-here", "no-such-user-here|USER");
	refused("--socket-owner root:no-such-group-here", "no-such-group-here");
	refused("--socket-owner ''", "USER");
}

static void users_and_groups_are_names_or_numbers_with_commas(void **state)
{
	struct options o = parse("--allow-uid root,1000,65534 --allow-gid root,7");
	char many[64 * 3 + 32] = "--allow-uid 1";

	(void)state;
	assert_int_equal(o.admit.uids_count, 3);
	assert_int_equal(o.admit.uids[0], 0);
	assert_int_equal(o.admit.uids[1], 1000);
	assert_int_equal(o.admit.uids[2], 65534);
	assert_int_equal(o.admit.gids_count, 2);
	assert_int_equal(o.admit.gids[1], 7);
	assert_int_equal(parse("").admit.uids_count, 0);
	assert_int_equal(parse("").admit.gids_count, 0);
	refused("--allow-uid no-such-user-here", "no-such-user-here|64 users");
	refused("--allow-gid no-such-group-here", "no-such-group-here|64 groups");
	refused("--allow-uid ''", "--allow-uid");
	refused("--allow-uid 1,,2", "1,,2");
	refused("--allow-uid 1,", "commas");
	refused("--allow-uid 4294967295", "4294967295");
	for (unsigned n = 1; n < 64; n++)
		memcpy(many + strlen(many), ",1", sizeof(",1"));
	assert_int_equal(parse(many).admit.uids_count, 64);
	memcpy(many + strlen(many), ",1", sizeof(",1"));
	refused(many, "at most 64");
}

static void quotas_of_a_user_are_numbers_from_1(void **state)
{
	(void)state;
	assert_int_equal(parse("--max-per-uid 7").admit.peers_per_uid, 7);
	assert_int_equal(parse("--joins-per-second 30").admit.joins_per_second, 30);
	assert_int_equal(parse("").admit.peers_per_uid, 0);
	assert_int_equal(parse("").admit.joins_per_second, 0);
	refused("--max-per-uid 0", "--max-per-uid|from 1 to 65536");
	refused("--max-per-uid many", "many");
	refused("--joins-per-second 0", "from 1 to 1000000");
	refused("--joins-per-second 0.5", "0.5");
}

static void zones_and_ids_come_from_files_and_the_socket_may_have_a_group(void **state)
{
	(void)state;
	assert_string_equal(parse("--zone /etc/famez/zones").zone_file, "/etc/famez/zones");
	assert_string_equal(parse("--bind ids").bind_file, "ids");
	assert_null(parse("").zone_file);
	assert_null(parse("").bind_file);
	refused("--zone ''", "--zone|file");
	refused("--bind ''", "--bind|file");
	assert_string_equal(parse("--socket-group root").socket_group, "root");
	assert_null(parse("").socket_group);
	refused("--socket-group no-such-group-here", "no-such-group-here|group");
	refused("--socket-group root,root", "root,root");
}

static void names_of_memory_have_no_slashes(void **state)
{
	(void)state;
	assert_string_equal(parse("-M box").memory_name, "box");
	refused("-M a/b", "a/b|slash");
	refused("-M ''", "--shm-name");
	refused("-m ''", "--shm-path");
}

static void a_leading_slash_of_a_name_is_shm_opens(void **state)
{
	struct options o;
	struct why why;

	/* ivshmem-server hands -M to shm_open(3), for which "/box" is the proper form. */
	(void)state;
	assert_int_equal(parse_as("ivshmem-server", "-M /box", &o, &why), 0);
	assert_int_equal(o.memory, MEMORY_SHM);
}

static void empty_paths_are_refused(void **state)
{
	(void)state;
	refused("-S ''", "--socketpath");
	refused("-p ''", "--pidfile");
	refused("--logfile ''", "--logfile");
}

static void a_log_is_text_or_json(void **state)
{
	(void)state;
	assert_true(parse("--log-format json").log_json);
	assert_false(parse("--log-format text").log_json);
	refused("--log-format xml", "xml|text|json");
}

static void unknown_options_and_left_over_words_are_refused(void **state)
{
	(void)state;
	refused("--bogus", "--bogus|--help");
	refused("-Z", "-Z|--help");
	refused("extra", "extra");
	refused("-- extra", "extra");
	refused("-n", "-n|value");
	refused("--vectors", "--vectors|value");
	refused("--silent=1", "--silent");
	refused("-FZ", "-Z");
}

static void whoever_asks_for_help_gets_a_screenful(void **state)
{
	const char *help = options_help();
	unsigned lines = 0;

	(void)state;
	assert_true(parse("--help").help);
	for (const char *p = help; *p; p++)
		lines += *p == '\n';
	assert_in_range(lines, 10, 60);
	for (unsigned n = 0; n < 37; n++) {
		static const char *const names[] = {"--socket-group", "--allow-uid", "--allow-gid",
			"--max-per-uid", "--joins-per-second", "--zone", "--bind", "--sandbox",
			"--help", "--version", "--verbose", "--foreground", "--daemon", "--pidfile",
			"--socketpath", "--shm-name", "--shm-path", "--mailbox", "--size",
			"--vectors", "--peers", "--nClients", "--silent", "--leaves",
			"--device-names", "--stall-timeout", "--workers", "--cpus", "--socket-mode",
			"--socket-owner", "--logfile", "--log-format", "--layout", "--dialect",
			"--personality", "--check", "ivshmem-server"};

		if (!strstr(help, names[n]))
			fail_msg("the help says nothing of %s", names[n]);
	}
}

static void check_asks_for_the_budget_only(void **state)
{
	(void)state;
	assert_true(parse("--check").check);
}

static void parsing_twice_gives_the_same(void **state)
{
	(void)state;
	refused("-n 0", "2048");
	assert_int_equal(parse("-n 5 --peers 3").vectors, 5);
	assert_int_equal(parse("-n 5 --peers 3").peers, 3);
	refused("extra", "extra");
	assert_int_equal(parse("").vectors, 4);
}

static void expect_size(const char *text, int result, uint64_t want)
{
	uint64_t bytes = 4711;

	if (options_parse_size(text, &bytes) != result)
		fail_msg("\"%s\": not %d", text, result);
	assert_int_equal(bytes, result ? 4711 : want);
}

static void sizes_take_powers_of_1024(void **state)
{
	(void)state;
	expect_size("1", 0, 1);
	expect_size("4096", 0, 4096);
	expect_size("64K", 0, 64u << 10);
	expect_size("64k", 0, 64u << 10);
	expect_size("4M", 0, 4u << 20);
	expect_size("4MB", 0, 4u << 20);
	expect_size("4MiB", 0, 4u << 20);
	expect_size("1G", 0, 1u << 30);
	expect_size("8589934591G", 0, UINT64_C(8589934591) << 30);
}

static void what_is_no_size_is_told_from_what_is_too_large(void **state)
{
	static const char *const nonsense[] = {"", "K", "x", "4X", "-1", "+1", " 1", "1 ", "1 M",
		"0x10", "1e3", "4MM", "4Mi", "1.5M"};

	(void)state;
	for (unsigned n = 0; n < UNIT_COUNT(nonsense); n++)
		expect_size(nonsense[n], -EINVAL, 0);
	expect_size("99999999999999999999", -ERANGE, 0);
	expect_size("18446744073709551615", -ERANGE, 0);
	expect_size("8589934592G", 0, UINT64_C(1) << 63);
	expect_size("8589934593G", -ERANGE, 0);
	expect_size("18446744073709551615G", -ERANGE, 0);
	expect_size("17179869184G", -ERANGE, 0);
}

static void odd_sizes_are_rounded_up_to_a_power_of_two(void **state)
{
	struct options o = parse("-l 5M");

	(void)state;
	assert_int_equal(o.memory_asked, 5u << 20);
	assert_int_equal(o.memory_bytes, 8u << 20);
	o = parse("-l 1");
	assert_int_equal(o.memory_bytes, 4096);
	assert_int_equal(parse("-l 1024G").memory_bytes, UINT64_C(1) << 40);
	refused("-l 1025G", "--size|1024G");
	refused("-l 0", "--size|\"0\"");
	refused("-l 64X", "64X");
	refused("-l ''", "--size");
}

static void expect_cpus(const char *text, int result, int count)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	if (options_parse_cpus(text, &cpus) != result)
		fail_msg("\"%s\": not %d", text, result);
	if (!result)
		assert_int_equal(CPU_COUNT(&cpus), count);
}

static void cpu_lists_are_numbers_and_ranges(void **state)
{
	static const char *const nonsense[] = {
		"", ",", "0,", ",0", "a", "0-", "-3", "3-1", "0--2", "0;1", "0 1", "1-2-3", "0x1"};

	(void)state;
	expect_cpus("0", 0, 1);
	expect_cpus("0,0,0", 0, 1);
	expect_cpus("0-3", 0, 4);
	expect_cpus("2-2", 0, 1);
	expect_cpus("0,2-3,7", 0, 4);
	expect_cpus("1023", 0, 1);
	expect_cpus("1024", -ERANGE, 0);
	expect_cpus("0-1024", -ERANGE, 0);
	expect_cpus("99999999999999999999", -ERANGE, 0);
	for (unsigned n = 0; n < UNIT_COUNT(nonsense); n++)
		expect_cpus(nonsense[n], -EINVAL, 0);
}

static void owners_are_names_or_numbers(void **state)
{
	uid_t uid;
	gid_t gid;

	(void)state;
	assert_int_equal(options_parse_owner("root:root", &uid, &gid), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(gid, 0);
	assert_int_equal(options_parse_owner("12345:54321", &uid, &gid), 0);
	assert_int_equal(uid, 12345);
	assert_int_equal(gid, 54321);
	assert_int_equal(options_parse_owner(":54321", &uid, &gid), 0);
	assert_int_equal(uid, (uid_t)-1);
	assert_int_equal(gid, 54321);
	assert_int_equal(options_parse_owner("12345", &uid, &gid), 0);
	assert_int_equal(uid, 12345);
	assert_int_equal(gid, (gid_t)-1);
	assert_int_equal(options_parse_owner("", &uid, &gid), -EINVAL);
	assert_int_equal(options_parse_owner(":", &uid, &gid), -EINVAL);
	assert_int_equal(options_parse_owner("12x", &uid, &gid), -EINVAL);
	assert_int_equal(options_parse_owner("-1", &uid, &gid), -EINVAL);
	assert_int_equal(options_parse_owner("99999999999", &uid, &gid), -EINVAL);
}

static void minus_one_is_nobodys_number(void **state)
{
	uid_t uid;
	gid_t gid;

	/* chown(2) takes (uid_t)-1 for "leave it": asked for, it would be ignored. */
	(void)state;
	assert_int_equal(options_parse_owner("4294967295", &uid, &gid), -EINVAL);
	assert_int_equal(options_parse_owner("0:4294967295", &uid, &gid), -EINVAL);
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(without_options_the_defaults_are_famezs),
		T(only_a_memory_that_grows_with_the_peers_has_room_for_fewer_of_them),
		T(called_ivshmem_server_the_defaults_are_that_programs),
		T(only_the_base_name_decides_the_dialect),
		T(ivshmem_servers_options_keep_their_meaning),
		T(short_options_have_long_names),
		T(values_can_be_glued_to_their_options),
		T(the_last_of_two_wins),
		T(famezs_own_long_names_are_taken),
		T(a_mailbox_with_a_slash_is_a_path),
		T(n_clients_leave_the_vectors_alone_where_they_are_given),
		T(verbose_counts_and_takes_a_number),
		T(vectors_are_1_to_2048),
		T(peers_and_the_server_fit_16_bits),
		T(what_is_laid_out_is_lanes_slots_or_nothing),
		T(who_is_silent_leaves_the_memory_alone_unless_told_otherwise),
		T(ids_start_at_0_only_where_no_slot_0_is_in_the_way),
		T(dialects_and_personalities_are_of_those_that_exist),
		T(leaves_are_auto_always_or_never),
		T(device_names_are_taken_as_they_are),
		T(a_stall_timeout_is_whole_seconds),
		T(workers_and_cpus_are_taken),
		T(a_socket_mode_is_octal),
		T(a_socket_owner_must_exist),
		T(users_and_groups_are_names_or_numbers_with_commas),
		T(quotas_of_a_user_are_numbers_from_1),
		T(zones_and_ids_come_from_files_and_the_socket_may_have_a_group),
		T(names_of_memory_have_no_slashes),
		T(a_leading_slash_of_a_name_is_shm_opens),
		T(empty_paths_are_refused),
		T(a_log_is_text_or_json),
		T(unknown_options_and_left_over_words_are_refused),
		T(whoever_asks_for_help_gets_a_screenful),
		T(check_asks_for_the_budget_only),
		T(parsing_twice_gives_the_same),
		T(sizes_take_powers_of_1024),
		T(what_is_no_size_is_told_from_what_is_too_large),
		T(odd_sizes_are_rounded_up_to_a_power_of_two),
		T(cpu_lists_are_numbers_and_ranges),
		T(owners_are_names_or_numbers),
		T(minus_one_is_nobodys_number),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
