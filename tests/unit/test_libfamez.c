/* SPDX-License-Identifier: MIT */
/*
 * test_libfamez.c - libfamez, against a server that says whatever a test wants.
 *
 * The test is the server itself: it listens on a socket of its own, lets a
 * handle connect, and sends it bytes and descriptors. All in one thread, since
 * nothing of the library but famez_join() waits. After each test no descriptor
 * may be open that was not open before.
 */
#include "scripted.h"
#include "unit.h"

#include "bells.h"
#include "famez/peer.h"
#include "famez/wire.h"
#include "stream.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

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

static void peers_come_and_go_in_order(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 4);
	int fds[4];

	fds[0] = tell_vector(end, f, 9, 0);
	fds[1] = tell_vector(end, f, 9, 1);
	fds[2] = tell_vector(end, f, 0, 0);
	fds[3] = tell_vector(end, f, 4, 0);
	assert_int_equal(famez_vectors(f, 9), 2);
	assert_int_equal(famez_vectors(f, 5), 0);
	assert_int_equal(famez_peer_after(f, -1), 0);
	assert_int_equal(famez_peer_after(f, 0), 4);
	assert_int_equal(famez_peer_after(f, 4), 9);
	assert_int_equal(famez_peer_after(f, 9), -1);
	say(end, 9, -1);
	assert_int_equal(expect(f, FAMEZ_EVENT_LEFT).peer, 9);
	assert_int_equal(famez_vectors(f, 9), 0);
	assert_int_equal(famez_ring(f, 9, 0), -ENOTCONN);
	say(end, 9, fds[1]);
	expect_vector(f, 9, 0);
	assert_int_equal(famez_ring(f, 9, 0), 0);
	assert_int_equal(rings(fds[1]), 1);
	famez_leave(f);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	close(end);
}

static void we_are_a_peer_before_our_first_vector(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 200);

	assert_int_equal(famez_peer_after(f, -1), 200);
	assert_int_equal(famez_peer_after(f, 200), -1);
	assert_int_equal(famez_ring(f, 200, 0), -ENOTCONN);
	famez_leave(f);
	close(end);
}

static void the_largest_id_is_an_id(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, FAMEZ_WIRE_ID_MAX);
	int fd = tell_vector(end, f, FAMEZ_WIRE_ID_MAX, 0);

	assert_int_equal(famez_peer_after(f, -1), FAMEZ_WIRE_ID_MAX);
	assert_int_equal(famez_peer_after(f, FAMEZ_WIRE_ID_MAX), -1);
	assert_int_equal(famez_ring(f, FAMEZ_WIRE_ID_MAX, 0), 0);
	assert_int_equal(expect(f, FAMEZ_EVENT_DOORBELL).count, 1);
	famez_leave(f);
	close(fd);
	close(end);
}

static void a_message_may_come_in_pieces_and_its_descriptor_with_any(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	uint64_t wire = htole64(2);
	const char *bytes = (const char *)&wire;
	uint16_t vector = 0;

	for (size_t cut = 1; cut < sizeof(wire); cut++) {
		for (unsigned with = 0; with < 2; with++, vector++) {
			int fd = eventfd_new();

			send_bytes(end, bytes, cut, &fd, with == 0);
			if (cut % 2)
				expect_nothing(f);
			send_bytes(end, bytes + cut, sizeof(wire) - cut, &fd, with == 1);
			expect_vector(f, 2, vector);
			assert_int_equal(famez_ring(f, 2, vector), 0);
			assert_int_equal(rings(fd), 1);
			close(fd);
		}
	}
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

static void messages_run_together_are_kept_apart(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	int fds[2] = {tell_vector(end, f, 2, 0), tell_vector(end, f, 3, 0)};
	uint64_t wire[2] = {htole64(2), htole64(3)};

	send_bytes(end, wire, sizeof(wire), NULL, 0);
	assert_int_equal(expect(f, FAMEZ_EVENT_LEFT).peer, 2);
	assert_int_equal(expect(f, FAMEZ_EVENT_LEFT).peer, 3);
	/* A leave and, sent by itself, the descriptor of the next message. */
	say(end, 2, -1);
	say(end, 3, fds[1]);
	expect_vector(f, 3, 0);
	famez_leave(f);
	close(fds[0]);
	close(fds[1]);
	close(end);
}

static void surplus_descriptors_are_not_kept(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	uint64_t wire = htole64(2);
	unsigned before;
	int fds[DESCRIPTORS_MAX];

	for (unsigned i = 0; i < DESCRIPTORS_MAX; i++)
		fds[i] = eventfd_new();
	before = open_descriptors();
	send_bytes(end, &wire, sizeof(wire), fds, DESCRIPTORS_MAX);
	expect_vector(f, 2, 0);
	assert_int_equal(open_descriptors(), before + 1);
	assert_int_equal(famez_ring(f, 2, 0), 0);
	assert_int_equal(rings(fds[0]), 1);
	/* One with each part: the first one counts. */
	send_bytes(end, &wire, 3, &fds[1], 1);
	send_bytes(end, (char *)&wire + 3, 5, &fds[2], 1);
	expect_vector(f, 2, 1);
	assert_int_equal(open_descriptors(), before + 2);
	assert_int_equal(famez_ring(f, 2, 1), 0);
	assert_int_equal(rings(fds[1]), 1);
	famez_leave(f);
	for (unsigned i = 0; i < DESCRIPTORS_MAX; i++)
		close(fds[i]);
	close(end);
}

static void received_descriptors_do_not_outlive_exec(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	int fd = tell_vector(end, f, 2, 0);

	assert_true(fcntl(famez_bell_fd(f, 2, 0), F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(famez_fd(f), F_GETFD) & FD_CLOEXEC);
	famez_leave(f);
	close(fd);
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

static void nonsense_to_a_member_ends_the_connection_but_not_the_doorbells(void **state)
{
	struct server *s = *state;
	static const struct {
		int64_t value;
		bool with;
	} nonsense[] = {
		{-1, true}, {-1, false}, {65536, true}, {65536, false}, {INT64_MIN, true},
		{INT64_MAX, false}, {1, false}, /* our own leave */
	};

	for (unsigned i = 0; i < UNIT_COUNT(nonsense); i++) {
		struct famez *f;
		int end = join(s, &f, 1);
		int own = tell_vector(end, f, 1, 0);
		int other = tell_vector(end, f, 2, 0);

		say(end, nonsense[i].value, nonsense[i].with ? s->memory : -1);
		expect_error(f, -EPROTO);
		assert_true(hung_up(end));
		expect_nothing(f);
		assert_false(readable(famez_fd(f)));
		assert_int_equal(famez_ring(f, 2, 0), 0);
		assert_int_equal(rings(other), 1);
		assert_int_equal(famez_ring(f, 1, 0), 0);
		expect(f, FAMEZ_EVENT_DOORBELL);
		expect_nothing(f);
		famez_leave(f);
		close(own);
		close(other);
		close(end);
	}
}

static void what_is_no_eventfd_is_nonsense(void **state)
{
	struct server *s = *state;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct famez *f;
		int end = join(s, &f, 1);

		say(end, i == 2 ? 1 : 2, i == 0 ? ends[1] : i == 1 ? s->memory : ends[0]);
		expect_error(f, -EPROTO);
		assert_int_equal(famez_vectors(f, 2), 0);
		famez_leave(f);
		close(end);
	}
	close(ends[0]);
	close(ends[1]);
}

static void more_vectors_than_a_device_can_have_is_nonsense(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int fd = eventfd_new();
	int end = join(s, &f, 1);

	for (unsigned vector = 0; vector < FAMEZ_WIRE_VECTORS_MAX; vector++) {
		say(end, 2, fd);
		expect_vector(f, 2, (uint16_t)vector);
	}
	assert_int_equal(famez_vectors(f, 2), FAMEZ_WIRE_VECTORS_MAX);
	assert_int_equal(famez_ring(f, 2, FAMEZ_WIRE_VECTORS_MAX - 1), 0);
	assert_int_equal(famez_ring(f, 2, FAMEZ_WIRE_VECTORS_MAX), -EINVAL);
	say(end, 2, fd);
	expect_error(f, -EPROTO);
	famez_leave(f);
	close(fd);
	close(end);
}

static void a_leave_of_someone_unknown_is_ignored(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);

	say(end, 2, -1);
	say(end, 65535, -1);
	expect_nothing(f);
	famez_leave(f);
	close(end);
}

/* Lets this process open no more descriptors; returns the limit to put back. */
static struct rlimit open_no_more(void)
{
	struct rlimit limit, none;
	int next = dup(0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)next;
	close(next);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	return limit;
}

static void a_lost_descriptor_is_no_leave_and_keeps_its_number(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int fds[3] = {eventfd_new(), eventfd_new(), eventfd_new()};
	int end = join(s, &f, 1);
	struct rlimit limit;

	say(end, 2, fds[0]);
	say(end, 3, fds[0]);
	limit = open_no_more();
	expect_error(f, -EMFILE);
	expect_error(f, -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	expect_nothing(f);
	say(end, 2, fds[1]);
	expect_vector(f, 2, 1);
	assert_int_equal(famez_vectors(f, 2), 2);
	assert_int_equal(famez_ring(f, 2, 0), -EINVAL);
	assert_int_equal(famez_ring(f, 2, 1), 0);
	assert_int_equal(rings(fds[1]), 1);
	/* A peer of whom nothing but lost vectors is known can leave, too. */
	assert_int_equal(famez_ring(f, 3, 0), -EINVAL);
	say(end, 3, -1);
	assert_int_equal(expect(f, FAMEZ_EVENT_LEFT).peer, 3);
	/* Our own count, too, and the next one is the one that rings. */
	say(end, 1, fds[0]);
	limit = open_no_more();
	expect_error(f, -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	say(end, 1, fds[2]);
	expect_vector(f, 1, 1);
	assert_int_equal(famez_ring(f, 1, 1), 0);
	assert_int_equal(expect(f, FAMEZ_EVENT_DOORBELL).vector, 1);
	famez_leave(f);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
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

static void a_server_that_dies_is_lost_and_peers_go_on(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	int own = tell_vector(end, f, 1, 0);
	int other = tell_vector(end, f, 2, 0);

	say(end, 3, other);
	send_bytes(end, "half", 4, &other, 1);
	close(end);
	expect_vector(f, 3, 0);
	expect(f, FAMEZ_EVENT_LOST);
	expect_nothing(f);
	assert_false(readable(famez_fd(f)));
	assert_int_equal(famez_id(f), 1);
	assert_int_equal(famez_ring(f, 2, 0), 0);
	assert_int_equal(rings(other), 1);
	assert_int_equal(eventfd_write(own, 3), 0);
	assert_true(readable(famez_fd(f)));
	assert_int_equal(expect(f, FAMEZ_EVENT_DOORBELL).count, 3);
	famez_leave(f);
	close(own);
	close(other);
}

static void rings_coalesce_and_say_how_many(void **state)
{
	struct server *s = *state;
	struct famez *f;
	struct famez_event event;
	int end = join(s, &f, 1);
	int fds[2] = {tell_vector(end, f, 1, 0), tell_vector(end, f, 1, 1)};

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(famez_ring(f, 1, 1), 0);
	assert_true(readable(famez_fd(f)));
	event = expect(f, FAMEZ_EVENT_DOORBELL);
	assert_int_equal(event.vector, 1);
	assert_int_equal(event.count, 5);
	expect_nothing(f);
	assert_false(readable(famez_fd(f)));
	famez_leave(f);
	close(fds[0]);
	close(fds[1]);
	close(end);
}

static void ringing_never_blocks_even_where_a_peer_made_it_blocking(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	int fd = tell_vector(end, f, 2, 0);

	assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
	make_blocking(fd);
	assert_int_equal(famez_ring(f, 2, 0), -EAGAIN);
	assert_int_equal(rings(fd), UINT64_MAX - 1);
	assert_int_equal(famez_ring(f, 2, 0), 0);
	assert_int_equal(famez_ring(f, 2, 1), -EINVAL);
	assert_int_equal(famez_ring(f, 3, 0), -ENOTCONN);
	assert_int_equal(famez_bell_fd(f, 3, 0), -ENOTCONN);
	famez_leave(f);
	close(fd);
	close(end);
}

static void an_own_eventfd_made_blocking_and_emptied_does_not_block_us(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	int fd = tell_vector(end, f, 1, 0);

	make_blocking(fd);
	expect_nothing(f);
	assert_int_equal(eventfd_write(fd, 1), 0);
	assert_int_equal(rings(fd), 1); /* someone else was faster */
	expect_nothing(f);
	assert_int_equal(eventfd_write(fd, 1), 0);
	expect(f, FAMEZ_EVENT_DOORBELL);
	famez_leave(f);
	close(fd);
	close(end);
}

static void neither_server_nor_doorbells_starve_the_other(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	int own = tell_vector(end, f, 1, 0);
	unsigned doorbells = 0, vectors = 0;

	for (unsigned i = 0; i < 100; i++)
		say(end, 2, own);
	for (unsigned i = 0; i < 150; i++) {
		struct famez_event event;

		assert_int_equal(eventfd_write(own, 1), 0);
		assert_int_equal(famez_next(f, &event), 1);
		doorbells += event.kind == FAMEZ_EVENT_DOORBELL;
		vectors += event.kind == FAMEZ_EVENT_VECTOR;
	}
	assert_true(doorbells >= 5);
	assert_int_equal(vectors, 100);
	famez_leave(f);
	close(own);
	close(end);
}

static void endless_chatter_does_not_keep_the_caller(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	uint64_t leaves[512];
	unsigned calls = 0;

	for (unsigned i = 0; i < UNIT_COUNT(leaves); i++)
		leaves[i] = htole64(9);
	send_bytes(end, leaves, sizeof(leaves), NULL, 0);
	for (; readable(famez_fd(f)); calls++)
		expect_nothing(f);
	assert_true(calls >= 2);
	famez_leave(f);
	close(end);
}

static void a_shared_store_keeps_one_copy(void **state)
{
	enum { HANDLES = 20, PEERS = 30, VECTORS = 2 };
	struct server *s = *state;
	struct famez_bells *bells;
	struct famez *f[HANDLES];
	int ends[HANDLES];
	int fds[PEERS][VECTORS];
	unsigned before;

	assert_int_equal(famez_bells_open(&bells), 0);
	for (unsigned h = 0; h < HANDLES; h++)
		ends[h] = join_with(s, &f[h], (uint16_t)(100 + h), bells);
	for (unsigned p = 0; p < PEERS; p++)
		for (unsigned v = 0; v < VECTORS; v++)
			fds[p][v] = eventfd_new();
	before = open_descriptors();
	for (unsigned h = 0; h < HANDLES; h++)
		for (unsigned p = 0; p < PEERS; p++)
			for (unsigned v = 0; v < VECTORS; v++) {
				say(ends[h], p, fds[p][v]);
				expect_vector(f[h], (uint16_t)p, (uint16_t)v);
			}
	assert_int_equal(open_descriptors(), before + PEERS * VECTORS);
	for (unsigned h = 0; h < HANDLES; h++)
		for (unsigned p = 0; p < PEERS; p++)
			assert_int_equal(famez_ring(f[h], (uint16_t)p, p % VECTORS), 0);
	for (unsigned p = 0; p < PEERS; p++) {
		assert_int_equal(rings(fds[p][p % VECTORS]), HANDLES);
		assert_int_equal(rings(fds[p][1 - p % VECTORS]), 0);
	}
	for (unsigned h = 0; h < HANDLES; h++)
		famez_leave(f[h]);
	famez_bells_close(bells);
	for (unsigned p = 0; p < PEERS; p++)
		for (unsigned v = 0; v < VECTORS; v++)
			close(fds[p][v]);
	for (unsigned h = 0; h < HANDLES; h++)
		close(ends[h]);
}

static void a_shared_store_tells_no_handle_more_than_its_server_did(void **state)
{
	struct server *s = *state;
	struct famez_bells *bells;
	struct famez *a, *b;
	int ends[2];
	int fds[2];

	assert_int_equal(famez_bells_open(&bells), 0);
	ends[0] = join_with(s, &a, 1, bells);
	ends[1] = join_with(s, &b, 2, bells);
	fds[0] = tell_vector(ends[0], a, 3, 0);
	fds[1] = tell_vector(ends[0], a, 3, 1);
	assert_int_equal(famez_ring(b, 3, 0), -ENOTCONN);
	say(ends[1], 3, fds[0]);
	expect_vector(b, 3, 0);
	assert_int_equal(famez_ring(b, 3, 1), -EINVAL);
	famez_leave(a);
	famez_leave(b);
	famez_bells_close(bells);
	for (unsigned i = 0; i < 2; i++) {
		close(fds[i]);
		close(ends[i]);
	}
}

static void who_returns_with_other_eventfds_is_rung_on_those(void **state)
{
	struct server *s = *state;
	struct famez_bells *bells;
	struct famez *early, *late, *own;
	int ends[3];
	int old, new;
	unsigned before;

	assert_int_equal(famez_bells_open(&bells), 0);
	ends[0] = join_with(s, &early, 1, bells);
	ends[1] = join_with(s, &late, 2, bells);
	ends[2] = join_with(s, &own, 3, bells);
	old = tell_vector(ends[0], early, 5, 0);
	say(ends[0], 5, -1);
	before = open_descriptors();
	assert_int_equal(expect(early, FAMEZ_EVENT_LEFT).peer, 5);
	assert_int_equal(open_descriptors(), before - 1);
	new = tell_vector(ends[0], early, 5, 0);
	/* The late one hears of the first life only now: it must not undo the second. */
	say(ends[1], 5, old);
	expect_vector(late, 5, 0);
	assert_int_equal(famez_ring(early, 5, 0), 0);
	assert_int_equal(rings(new), 1);
	assert_int_equal(rings(old), 0);
	assert_int_equal(famez_ring(late, 5, 0), 0);
	assert_int_equal(rings(old), 1);
	say(ends[1], 5, -1);
	expect(late, FAMEZ_EVENT_LEFT);
	before = open_descriptors();
	say(ends[1], 5, new);
	expect_vector(late, 5, 0);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(famez_ring(late, 5, 0), 0);
	assert_int_equal(rings(new), 1);
	famez_leave(early);
	assert_int_equal(famez_ring(late, 5, 0), 0);
	assert_int_equal(rings(new), 1);
	famez_leave(late);
	famez_leave(own);
	famez_bells_close(bells);
	close(old);
	close(new);
	for (unsigned i = 0; i < 3; i++)
		close(ends[i]);
}

static void another_eventfd_for_any_vector_parts_a_handle_from_the_others(void **state)
{
	enum { VECTORS = 3, HANDLES = 4 };
	struct server *s = *state;
	struct famez_bells *bells;
	struct famez *f[HANDLES];
	int ends[HANDLES];
	int fds[VECTORS];
	int wrong;
	unsigned before;

	for (unsigned odd = 1; odd < VECTORS; odd++) {
		assert_int_equal(famez_bells_open(&bells), 0);
		wrong = eventfd_new();
		for (unsigned v = 0; v < VECTORS; v++)
			fds[v] = eventfd_new();
		for (unsigned h = 0; h < HANDLES; h++)
			ends[h] = join_with(s, &f[h], (uint16_t)(10 + h), bells);
		before = open_descriptors();
		/* The second and the third are told another one; the fourth comes after that. */
		for (unsigned h = 0; h < HANDLES; h++)
			for (unsigned v = 0; v < VECTORS; v++) {
				say(ends[h], 5, v == odd && (h == 1 || h == 2) ? wrong : fds[v]);
				expect_vector(f[h], 5, (uint16_t)v);
			}
		/* Two sets, each kept once. */
		assert_int_equal(open_descriptors(), before + 2 * VECTORS);
		for (unsigned v = 0; v < VECTORS; v++) {
			int common = famez_bell_fd(f[0], 5, (uint16_t)v);
			int parted = famez_bell_fd(f[1], 5, (uint16_t)v);

			assert_true(common >= 0 && parted >= 0 && common != parted);
			assert_int_equal(famez_bell_fd(f[2], 5, (uint16_t)v), parted);
			assert_int_equal(famez_bell_fd(f[3], 5, (uint16_t)v), common);
			for (unsigned h = 0; h < HANDLES; h++)
				assert_int_equal(famez_ring(f[h], 5, (uint16_t)v), 0);
			assert_int_equal(rings(fds[v]), v == odd ? 2 : 4);
			assert_int_equal(rings(wrong), v == odd ? 2 : 0);
		}
		/* Each set goes with the last that holds it. */
		famez_leave(f[1]);
		assert_int_equal(famez_ring(f[2], 5, (uint16_t)odd), 0);
		assert_int_equal(rings(wrong), 1);
		before = open_descriptors();
		say(ends[2], 5, -1);
		expect(f[2], FAMEZ_EVENT_LEFT);
		assert_int_equal(open_descriptors(), before - VECTORS);
		famez_leave(f[0]);
		famez_leave(f[2]);
		assert_int_equal(famez_ring(f[3], 5, (uint16_t)odd), 0);
		assert_int_equal(rings(fds[odd]), 1);
		famez_leave(f[3]);
		famez_bells_close(bells);
		for (unsigned v = 0; v < VECTORS; v++)
			close(fds[v]);
		close(wrong);
		for (unsigned h = 0; h < HANDLES; h++)
			close(ends[h]);
	}
}

static void an_own_vector_told_otherwise_to_others_still_hears_its_rings(void **state)
{
	struct server *s = *state;
	struct famez_bells *bells;
	struct famez *a, *b;
	int ends[2];
	int fds[2];
	int wrong = eventfd_new();

	assert_int_equal(famez_bells_open(&bells), 0);
	ends[0] = join_with(s, &a, 1, bells);
	ends[1] = join_with(s, &b, 2, bells);
	fds[0] = tell_vector(ends[0], a, 2, 0);
	say(ends[0], 2, wrong);
	expect_vector(a, 2, 1);
	fds[1] = eventfd_new();
	for (unsigned v = 0; v < 2; v++) {
		say(ends[1], 2, fds[v]);
		expect_vector(b, 2, (uint16_t)v);
	}
	famez_leave(a);
	for (unsigned v = 0; v < 2; v++) {
		assert_int_equal(eventfd_write(fds[v], 1), 0);
		assert_int_equal(expect(b, FAMEZ_EVENT_DOORBELL).vector, v);
	}
	expect_nothing(b);
	famez_leave(b);
	famez_bells_close(bells);
	for (unsigned i = 0; i < 2; i++) {
		close(fds[i]);
		close(ends[i]);
	}
	close(wrong);
}

static void parting_without_descriptors_for_it_ends_the_connection(void **state)
{
	struct server *s = *state;
	struct rlimit limit, tight;
	struct famez_bells *bells;
	struct famez *a, *b;
	int ends[2];
	int fds[3];
	int wrong = eventfd_new();
	int next;

	assert_int_equal(famez_bells_open(&bells), 0);
	ends[0] = join_with(s, &a, 1, bells);
	ends[1] = join_with(s, &b, 2, bells);
	for (unsigned v = 0; v < 3; v++)
		fds[v] = tell_vector(ends[0], a, 5, (uint16_t)v);
	for (unsigned v = 0; v < 2; v++) {
		say(ends[1], 5, fds[v]);
		expect_vector(b, 5, (uint16_t)v);
	}
	say(ends[1], 5, wrong);
	/* Room for the descriptor that comes and for one copy; two are needed. */
	next = dup(wrong);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = (rlim_t)next + 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	expect_error(b, -ENOSPC);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(hung_up(ends[1]));
	expect_nothing(b);
	for (unsigned v = 0; v < 3; v++) {
		assert_int_equal(famez_ring(a, 5, (uint16_t)v), 0);
		assert_int_equal(rings(fds[v]), 1);
	}
	famez_leave(a);
	famez_leave(b);
	famez_bells_close(bells);
	for (unsigned v = 0; v < 3; v++)
		close(fds[v]);
	close(wrong);
	close(ends[0]);
	close(ends[1]);
}

static void close_too_early(void *bells)
{
	famez_bells_close(bells);
}

static void closing_a_store_in_use_aborts(void **state)
{
	struct server *s = *state;
	struct famez_bells *bells;
	struct famez *f;
	int end, fd;

	assert_int_equal(famez_bells_open(&bells), 0);
	end = join_with(s, &f, 1, bells);
	fd = tell_vector(end, f, 2, 0);
	assert_true(unit_dies(close_too_early, bells));
	famez_leave(f);
	famez_bells_close(bells);
	famez_bells_close(NULL);
	famez_leave(NULL);
	close(fd);
	close(end);
}

static void eventfds_are_told_apart_in_every_way_there_is(void **state)
{
	int a = eventfd_new();
	int b = eventfd_new();
	int copy = dup(a);

	(void)state;
	for (int first = BELLS_BY_FCNTL; first <= BELLS_BY_FDINFO; first++) {
		enum bells_compare how = (enum bells_compare)first;

		assert_true(bells_same(&how, a, copy));
		assert_false(bells_same(&how, a, b));
	}
	close(a);
	close(b);
	close(copy);
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

/* A server out of its mind: parts of messages, some of them likely, with or
 * without descriptors of any kind. Nothing to check but that we live, stay in
 * bounds (sanitizers), and hold no descriptor afterwards. */
static void say_anything(unsigned *seed, int end, const int *fds)
{
	static const int64_t likely[] = {0, 1, 2, 3, -1, 65535, 65536, INT64_MIN};
	uint64_t wire = htole64((uint64_t)likely[(unsigned)rand_r(seed) % UNIT_COUNT(likely)]);
	size_t count = rand_r(seed) % 8 ? 8 : (size_t)rand_r(seed) % 8 + 1;
	unsigned n = (unsigned)rand_r(seed) % 4;

	if (rand_r(seed) % 50 == 0)
		wire ^= (uint64_t)rand_r(seed) << (rand_r(seed) % 33);
	if (rand_r(seed) % 3 == 0)
		wire = htole64((uint64_t)rand_r(seed) % 5);
	if (n == 3)
		send_bytes(end, &wire, count, fds + rand_r(seed) % 4, 3);
	else
		send_bytes(end, &wire, count, fds + rand_r(seed) % 6, n > 0);
}

static void a_server_out_of_its_mind_harms_nobody(void **state)
{
	struct server *s = *state;
	const char *given = getenv("FAMEZ_SEED");
	unsigned first = given ? (unsigned)strtoul(given, NULL, 10) : 1;
	unsigned rounds = given ? 1 : 2000;
	struct famez_bells *bells;
	int fds[6];

	assert_int_equal(famez_bells_open(&bells), 0);
	for (unsigned i = 0; i < 5; i++)
		fds[i] = eventfd_new();
	fds[5] = s->memory;
	for (unsigned round = first; round < first + rounds; round++) {
		unsigned seed = round;
		unsigned before = open_descriptors();
		struct famez *f;
		int end = rand_r(&seed) % 4 ? join_with(s, &f, 1, round % 2 ? bells : NULL)
					    : connect_with(s, &f, bells);
		struct famez_event event;
		unsigned steps = (unsigned)rand_r(&seed) % 60;

		fprintf(stderr, "FAMEZ_SEED=%u\n", round);
		for (unsigned i = 0; i < steps && !hung_up(end); i++) {
			say_anything(&seed, end, fds);
			(void)famez_next(f, &event);
			(void)famez_ring(f, (uint16_t)(rand_r(&seed) % 4), rand_r(&seed) % 3);
		}
		famez_leave(f);
		close(end);
		assert_int_equal(open_descriptors(), before);
	}
	famez_bells_close(bells);
	for (unsigned i = 0; i < 5; i++)
		close(fds[i]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(joining_gives_an_id_and_the_memory),
		T(nothing_is_told_before_it_is_whole),
		T(peers_come_and_go_in_order),
		T(we_are_a_peer_before_our_first_vector),
		T(the_largest_id_is_an_id),
		T(a_message_may_come_in_pieces_and_its_descriptor_with_any),
		T(the_opening_may_come_byte_by_byte),
		T(messages_run_together_are_kept_apart),
		T(surplus_descriptors_are_not_kept),
		T(received_descriptors_do_not_outlive_exec),
		T(a_refusal_is_permission_denied),
		T(a_close_in_the_opening_is_a_reset_at_any_byte),
		T(nonsense_in_the_opening_is_no_ivshmem_server),
		T(memory_that_cannot_be_mapped_is_refused),
		T(memory_too_large_to_map_is_no_memory),
		T(nonsense_to_a_member_ends_the_connection_but_not_the_doorbells),
		T(what_is_no_eventfd_is_nonsense),
		T(more_vectors_than_a_device_can_have_is_nonsense),
		T(a_leave_of_someone_unknown_is_ignored),
		T(a_lost_descriptor_is_no_leave_and_keeps_its_number),
		T(joining_fails_if_the_memory_is_lost),
		T(a_server_that_dies_is_lost_and_peers_go_on),
		T(rings_coalesce_and_say_how_many),
		T(ringing_never_blocks_even_where_a_peer_made_it_blocking),
		T(an_own_eventfd_made_blocking_and_emptied_does_not_block_us),
		T(neither_server_nor_doorbells_starve_the_other),
		T(endless_chatter_does_not_keep_the_caller),
		T(a_shared_store_keeps_one_copy),
		T(a_shared_store_tells_no_handle_more_than_its_server_did),
		T(who_returns_with_other_eventfds_is_rung_on_those),
		T(another_eventfd_for_any_vector_parts_a_handle_from_the_others),
		T(an_own_vector_told_otherwise_to_others_still_hears_its_rings),
		T(parting_without_descriptors_for_it_ends_the_connection),
		T(closing_a_store_in_use_aborts),
		T(eventfds_are_told_apart_in_every_way_there_is),
		T(a_path_where_nobody_is_says_so),
		T(without_descriptors_joining_says_so),
		T(a_silent_server_is_not_waited_for_longer_than_asked),
		T(a_full_queue_of_connections_is_waited_for_only_by_join),
		T(joining_waits_for_a_slow_server),
		T(a_server_out_of_its_mind_harms_nobody),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
