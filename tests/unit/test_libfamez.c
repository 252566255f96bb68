/* SPDX-License-Identifier: MIT */
/*
 * test_libfamez.c - joining by libfamez, with a server that says whatever a test wants.
 *
 * All in one thread, as in the other test_libfamez_*.c: nothing of the library but famez_join()
 * waits. After each test no descriptor may be open that was not open before (scripted.h).
 */
#include "scripted.h"
#include "unit.h"

static void joining_gives_an_id_and_the_memory(void **state)
{
	struct server *s = *state;
	char stored[4] = {0};
	struct famez *f;
	size_t bytes = 1;
	int end = connect_with(s, &f, NULL);

	assert_int_equal(famez_id(f), -ENOTCONN);
	assert_null(famez_memory(f, &bytes));
	assert_int_equal(bytes, 1);
	expect_nothing(f);
	assert_false(readable(famez_fd(f)));
	say_opening(s, end, 7);
	assert_true(readable(famez_fd(f)));
	assert_int_equal(expect(f, FAMEZ_EVENT_JOINED).peer, 7);
	expect_nothing(f);
	assert_false(readable(famez_fd(f)));
	assert_int_equal(famez_id(f), 7);
	memcpy(famez_memory(f, &bytes), "here", 4);
	assert_int_equal(bytes, MEMORY_BYTES);
	assert_int_equal(pread(s->memory, stored, 4, 0), 4);
	assert_memory_equal(stored, "here", 4);
	famez_leave(f);
	assert_true(hung_up(end));
	close(end);
}

static void nothing_is_told_before_it_is_whole(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = connect_with(s, &f, NULL);

	say(end, FAMEZ_WIRE_VERSION, -1);
	expect_nothing(f);
	say(end, 3, -1);
	expect_nothing(f);
	assert_int_equal(famez_id(f), -ENOTCONN);
	famez_leave(f);
	close(end);
}

static void the_opening_may_come_byte_by_byte(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = connect_with(s, &f, NULL);
	uint64_t wire[3] = {0, htole64(5), htole64((uint64_t)-1)};
	const char *bytes = (const char *)wire;

	for (size_t i = 0; i < sizeof(wire); i++) {
		expect_nothing(f);
		send_bytes(end, bytes + i, 1, &s->memory, i == 20);
	}
	assert_int_equal(expect(f, FAMEZ_EVENT_JOINED).peer, 5);
	famez_leave(f);
	close(end);
}

static void a_refusal_is_permission_denied(void **state)
{
	struct server *s = *state;
	int64_t versions[] = {FAMEZ_WIRE_REFUSED, 1, INT64_MIN, INT64_MAX};

	for (unsigned i = 0; i < UNIT_COUNT(versions); i++) {
		struct famez *f;
		int end = connect_with(s, &f, NULL);

		say(end, versions[i], -1);
		close(end);
		expect_error(f, -EACCES);
		expect_error(f, -EACCES); /* and stays so */
		famez_leave(f);
	}
}

static void a_close_in_the_opening_is_a_reset_at_any_byte(void **state)
{
	struct server *s = *state;
	uint64_t wire[3] = {0, htole64(5), htole64((uint64_t)-1)};

	for (size_t count = 0; count < sizeof(wire); count++) {
		struct famez *f;
		int end = connect_with(s, &f, NULL);

		for (size_t i = 0; i < count; i += 8)
			send_bytes(end, (char *)wire + i, count - i < 8 ? count - i : 8, &s->memory,
				i == 16);
		close(end);
		expect_error(f, -ECONNRESET);
		famez_leave(f);
	}
}

static void nonsense_in_the_opening_is_no_ivshmem_server(void **state)
{
	struct server *s = *state;
	static const struct {
		int64_t value[3];
		unsigned count;
		int with; /* this one has a descriptor */
	} openings[] = {
		{{0}, 1, 0},
		{{0, -1}, 2, -1},
		{{0, 65536}, 2, -1},
		{{0, INT64_MAX}, 2, -1},
		{{0, INT64_MIN}, 2, -1},
		{{0, 1}, 2, 1},
		{{0, 1, -1}, 3, -1},
		{{0, 1, 1}, 3, 2},
		{{0, 1, 2}, 3, -1},
		{{0, 1, -2}, 3, 2},
	};

	for (unsigned i = 0; i < UNIT_COUNT(openings); i++) {
		struct famez *f;
		int end = connect_with(s, &f, NULL);

		for (unsigned k = 0; k < openings[i].count; k++)
			say(end, openings[i].value[k], openings[i].with == (int)k ? s->memory : -1);
		expect_error(f, -EPROTO);
		assert_true(hung_up(end));
		famez_leave(f);
		close(end);
	}
}

static void memory_that_cannot_be_mapped_is_refused(void **state)
{
	struct server *s = *state;
	int ends[2];
	int files[5];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	files[0] = memfd_create("empty", MFD_CLOEXEC);
	files[1] = ends[0];
	files[2] = eventfd_new();
	files[3] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	files[4] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < UNIT_COUNT(files); i++) {
		struct famez *f;
		int end = connect_with(s, &f, NULL);

		say(end, FAMEZ_WIRE_VERSION, -1);
		say(end, 1, -1);
		say(end, FAMEZ_WIRE_MEMORY, files[i]);
		expect_error(f, -EPROTO);
		assert_int_equal(famez_id(f), -ENOTCONN);
		famez_leave(f);
		close(end);
		close(files[i]);
	}
	close(ends[1]);
}

static void memory_too_large_to_map_is_no_memory(void **state)
{
	struct server *s = *state;
	int huge = memfd_create("huge", MFD_CLOEXEC);
	struct famez *f;
	int end = connect_with(s, &f, NULL);

	assert_int_equal(ftruncate(huge, INT64_C(1) << 60), 0);
	say(end, FAMEZ_WIRE_VERSION, -1);
	say(end, 1, -1);
	say(end, FAMEZ_WIRE_MEMORY, huge);
	expect_error(f, -ENOMEM);
	famez_leave(f);
	close(huge);
	close(end);
}

static void joining_fails_if_the_memory_is_lost(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = connect_with(s, &f, NULL);
	struct rlimit limit;

	say_opening(s, end, 1);
	limit = open_no_more();
	expect_error(f, -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	famez_leave(f);
	close(end);
}

static void a_path_where_nobody_is_says_so(void **state)
{
	struct server *s = *state;
	char path[200];
	struct famez_join how = {.socket = path, .timeout_ms = 60000};
	struct famez *f = NULL;

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(famez_join(&f, &how), -ENAMETOOLONG);
	path[0] = '\0';
	assert_int_equal(famez_join(&f, &how), -ENOENT);
	snprintf(path, sizeof(path), "%s/nobody", s->folder);
	assert_int_equal(famez_join(&f, &how), -ENOENT);
	assert_int_equal(famez_join_start(&f, &how), -ENOENT);
	close(s->listener);
	s->listener = -1;
	how.socket = s->path;
	assert_int_equal(famez_join(&f, &how), -ECONNREFUSED);
	assert_null(f);
}

static void without_descriptors_joining_says_so(void **state)
{
	struct server *s = *state;
	struct famez_join how = {.socket = s->path};
	struct rlimit limit = open_no_more();
	struct famez *f = NULL;

	assert_int_equal(famez_join(&f, &how), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_null(f);
}

static void a_silent_server_is_not_waited_for_longer_than_asked(void **state)
{
	struct server *s = *state;
	struct famez_join how = {.socket = s->path, .timeout_ms = 10};
	struct famez *f = NULL;

	assert_int_equal(famez_join(&f, &how), -ETIMEDOUT);
	assert_null(f);
}

static void a_full_queue_of_connections_is_waited_for_only_by_join(void **state)
{
	struct server *s = *state;
	struct famez_join how = {.socket = s->path, .timeout_ms = 10};
	struct famez *f[10];
	struct famez *none;
	unsigned count = 0;
	int err;

	assert_int_equal(listen(s->listener, 1), 0);
	while (!(err = famez_join_start(&f[count], &how)))
		assert_true(++count < UNIT_COUNT(f));
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(famez_join(&none, &how), -ETIMEDOUT);
	while (count)
		famez_leave(f[--count]);
}

static void joining_waits_for_a_slow_server(void **state)
{
	struct server *s = *state;
	struct famez_join how = {.socket = s->path};
	struct famez *f;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct pollfd closed = {.events = POLLIN};

		closed.fd = accept(s->listener, NULL, NULL);
		for (unsigned i = 0; i < 3; i++) {
			usleep(2000);
			say(closed.fd, i == 2 ? -1 : i == 1 ? 6 : 0, i == 2 ? s->memory : -1);
		}
		poll(&closed, 1, 60000);
		_exit(0);
	}
	assert_int_equal(famez_join(&f, &how), 0);
	assert_int_equal(famez_id(f), 6);
	famez_leave(f);
	assert_int_equal(waitpid(child, &status, 0), child);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(joining_gives_an_id_and_the_memory),
		T(nothing_is_told_before_it_is_whole),
		T(the_opening_may_come_byte_by_byte),
		T(a_refusal_is_permission_denied),
		T(a_close_in_the_opening_is_a_reset_at_any_byte),
		T(nonsense_in_the_opening_is_no_ivshmem_server),
		T(memory_that_cannot_be_mapped_is_refused),
		T(memory_too_large_to_map_is_no_memory),
		T(joining_fails_if_the_memory_is_lost),
		T(a_path_where_nobody_is_says_so),
		T(without_descriptors_joining_says_so),
		T(a_silent_server_is_not_waited_for_longer_than_asked),
		T(a_full_queue_of_connections_is_waited_for_only_by_join),
		T(joining_waits_for_a_slow_server),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
