/* SPDX-License-Identifier: MIT */
/*
 * test_client.c - who is behind a socket, what is a device, and how many descriptors
 * its process may still be sent.
 */
#include "unit.h"

#include <jemalloc/jemalloc.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "client.h"

/* Not there in a build with sanitizers, which bring their own allocator. */
#pragma weak mallctl

static void a_device_is_known_by_its_executables_name(void **state)
{
	static const char names[] = "qemu-*,kvm";

	(void)state;
	assert_true(client_is_device("qemu-system-x86_64", names));
	assert_true(client_is_device("qemu-kvm", names));
	assert_true(client_is_device("kvm", names));
	assert_false(client_is_device("kvmtool", names));
	assert_false(client_is_device("ivshmem-client", names));
	assert_false(client_is_device("my-qemu-x", names));
	assert_false(client_is_device("qemu", names));
	assert_false(client_is_device("", names));
}

static void patterns_are_fnmatchs_and_each_stands_alone(void **state)
{
	(void)state;
	assert_true(client_is_device("a", "a"));
	assert_true(client_is_device("b", "a,b,c"));
	assert_true(client_is_device("c", "a,b,c"));
	assert_false(client_is_device("a,b", "a,b"));
	assert_true(client_is_device("python3.11", "python3*"));
	assert_true(client_is_device("vm7", "vm[0-9]"));
	assert_false(client_is_device("vmx", "vm[0-9]"));
	assert_true(client_is_device("b", ",,b,"));
	assert_false(client_is_device("x", ",,"));
	assert_true(client_is_device("anything", "*"));
}

static void long_pattern_lists_are_read_to_the_end(void **state)
{
	static char list[20000];

	(void)state;
	for (size_t n = 0; n + 16 < sizeof(list); n += 4)
		(void)snprintf(list + n, sizeof(list) - n, "xyz,last*");
	assert_true(client_is_device("last-one", list));
	assert_false(client_is_device("first-one", list));
}

static const char limits_text[] =
	"Limit                     Soft Limit           Hard Limit           Units     \n"
	"Max cpu time              unlimited            unlimited            seconds   \n"
	"Max processes             63000                63001                processes \n"
	"Max open files            1024                 524288               files     \n"
	"Max locked memory         8388608              8388608              bytes     \n";

static void the_soft_limit_of_open_files_is_found(void **state)
{
	uint32_t soft = 0;

	(void)state;
	assert_true(client_parse_limits(limits_text, &soft));
	assert_int_equal(soft, 1024);
}

static void unlimited_is_the_largest_number(void **state)
{
	uint32_t soft = 0;

	(void)state;
	assert_true(client_parse_limits("Max open files   unlimited  unlimited  files\n", &soft));
	assert_int_equal(soft, UINT32_MAX);
	assert_true(client_parse_limits("Max open files   99999999999  unlimited  files\n", &soft));
	assert_int_equal(soft, UINT32_MAX);
}

static void what_cannot_be_understood_leaves_the_limit_alone(void **state)
{
	static const char *const texts[] = {"", "\n", "Max open files", "Max open files\n",
		"Max open files            \n", "Max open files            x\n",
		"Max processes 5 5 processes\n", "open files 3 3 files\n",
		"Max open files            -1\n"};

	(void)state;
	for (unsigned n = 0; n < UNIT_COUNT(texts); n++) {
		uint32_t soft = 4711;

		if (client_parse_limits(texts[n], &soft))
			fail_msg("\"%s\" was understood as %u", texts[n], soft);
		assert_int_equal(soft, 4711);
	}
}

static void our_own_limits_are_read_as_the_kernel_writes_them(void **state)
{
	char text[8192];
	struct rlimit limit;
	uint32_t soft = 0;
	FILE *f = fopen("/proc/self/limits", "re");

	(void)state;
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	(void)fclose(f);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(client_parse_limits(text, &soft));
	assert_int_equal(soft, limit.rlim_cur < UINT32_MAX ? limit.rlim_cur : UINT32_MAX);
}

static void we_are_recognised_through_a_socket(void **state)
{
	struct client c;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	client_identify(ends[0], "qemu-*", &c);
	assert_int_equal(c.pid, getpid());
	assert_int_equal(c.uid, getuid());
	assert_string_equal(c.exe, "test_client");
	assert_false(c.device);
	client_identify(ends[0], "test_cl*", &c);
	assert_true(c.device);
	close(ends[0]);
	close(ends[1]);
}

static void what_is_no_socket_counts_as_the_worst(void **state)
{
	struct client c;

	(void)state;
	client_identify(-1, "nothing", &c);
	assert_int_equal(c.pid, 0);
	assert_true(c.device);
	assert_string_equal(c.exe, "?");
}

/* ---- how much a process may be sent -------------------------------------------- */

static unsigned asked;
static uint32_t unread;

/* Our process reads nothing: what it was told is all still in flight. */
static uint32_t in_flight(void *argument)
{
	const struct process *p = argument;

	asked++;
	return unread + p->told;
}

static const uint64_t second_ns = 1000000000;

static unsigned own_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 4096; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void limit_to(rlim_t soft)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = soft;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* How many, 1 at a time, before it says no. */
static uint32_t take_all(struct process *p, uint64_t now_ns)
{
	uint32_t taken = 0;

	while (taken < 100000 && process_take(p, 1, now_ns, in_flight, p))
		taken++;
	return taken;
}

static void a_process_is_never_promised_more_than_its_limit_less_the_reserve(void **state)
{
	struct process p;
	uint32_t taken;

	(void)state;
	limit_to(512);
	process_open(&p, getpid());
	taken = take_all(&p, second_ns);
	assert_true(taken <= 512 - PROCESS_RESERVE - own_descriptors() + 3);
	assert_true(taken > 0);
	assert_true(asked > 0);
	assert_int_equal(p.told, taken);
}

/* Before Linux 6.2 the size of /proc/PID/fd says nothing. */
static bool old_kernel;

int __real_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);

int __wrap_stat(const char *path, struct stat *st)
{
	int res = __real_stat(path, st);

	if (old_kernel && strncmp(path, "/proc/", 6) == 0)
		st->st_size = 0;
	return res;
}

/* By this thread, since it began; 0 with a sanitizer's allocator. */
static uint64_t taken_memory(void)
{
	void *volatile some = malloc(1); /* or nothing here would want the broker's allocator */
	size_t bytes = sizeof(uint64_t);
	uint64_t taken = 0;

	free(some);
	if (mallctl)
		assert_int_equal(mallctl("thread.allocated", &taken, &bytes, NULL, 0), 0);
	return taken;
}

static void where_the_kernel_counts_no_descriptors_we_do_and_take_no_memory(void **state)
{
	enum { MORE = 300 };
	struct process p;
	uint64_t before;
	uint32_t few, many;

	(void)state;
	limit_to(1024);
	old_kernel = true;
	process_open(&p, getpid());
	before = taken_memory();
	few = take_all(&p, second_ns);
	assert_in_range(taken_memory() - before, 0, 16); /* what it takes itself */
	assert_true(few > MORE);
	assert_true(few <= 1024 - PROCESS_RESERVE - own_descriptors() + 3);
	for (unsigned n = 0; n < MORE; n++)
		assert_true(dup(STDIN_FILENO) >= 0);
	process_open(&p, getpid());
	many = take_all(&p, second_ns);
	assert_int_equal(few - many, MORE);
}

static void descriptors_in_flight_count_as_used(void **state)
{
	struct process p;

	(void)state;
	limit_to(512);
	unread = 400;
	process_open(&p, getpid());
	assert_true(take_all(&p, second_ns) <= 512 - 400 - PROCESS_RESERVE);
	unread = 512;
	process_open(&p, getpid());
	assert_int_equal(take_all(&p, second_ns), 0);
}

static void a_full_process_is_looked_at_once_a_second_at_most(void **state)
{
	struct process p;
	unsigned before;

	(void)state;
	limit_to(512);
	unread = 512;
	process_open(&p, getpid());
	assert_false(process_take(&p, 1, second_ns, in_flight, &p));
	before = asked;
	for (unsigned n = 0; n < 1000; n++)
		assert_false(process_take(&p, 1, second_ns + n, in_flight, &p));
	assert_int_equal(asked, before);
	unread = 0;
	assert_true(process_take(&p, 1, 3 * second_ns, in_flight, &p));
	assert_true(asked > before);
}

static void all_or_nothing_is_taken(void **state)
{
	struct process p;

	(void)state;
	limit_to(512);
	unread = 0;
	process_open(&p, getpid());
	assert_false(process_take(&p, 100000, second_ns, in_flight, &p));
	assert_int_equal(p.told, 0);
	assert_true(process_take(&p, 16, 3 * second_ns, in_flight, &p));
	assert_int_equal(p.told, 16);
}

static void a_process_that_cannot_be_read_has_the_usual_limit(void **state)
{
	struct process p;
	uint32_t taken;

	(void)state;
	unread = 0;
	process_open(&p, 0);
	taken = take_all(&p, second_ns);
	assert_true(taken <= PROCESS_LIMIT_ASSUMED - PROCESS_USE_ASSUMED - PROCESS_RESERVE);
	assert_true(taken > 0);
	/* What it was told counts, though nobody can look. */
	for (unsigned n = 2; n < 20; n++)
		taken += take_all(&p, second_ns * 2 * n);
	assert_true(taken <= PROCESS_LIMIT_ASSUMED - PROCESS_USE_ASSUMED - PROCESS_RESERVE);
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_device_is_known_by_its_executables_name),
		T(patterns_are_fnmatchs_and_each_stands_alone),
		T(long_pattern_lists_are_read_to_the_end),
		T(the_soft_limit_of_open_files_is_found),
		T(unlimited_is_the_largest_number),
		T(what_cannot_be_understood_leaves_the_limit_alone),
		T(our_own_limits_are_read_as_the_kernel_writes_them),
		T(we_are_recognised_through_a_socket),
		T(what_is_no_socket_counts_as_the_worst),
		T(a_process_is_never_promised_more_than_its_limit_less_the_reserve),
		T(where_the_kernel_counts_no_descriptors_we_do_and_take_no_memory),
		T(descriptors_in_flight_count_as_used),
		T(a_full_process_is_looked_at_once_a_second_at_most),
		T(all_or_nothing_is_taken),
		T(a_process_that_cannot_be_read_has_the_usual_limit),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
