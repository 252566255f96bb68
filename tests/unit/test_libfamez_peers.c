/* SPDX-License-Identifier: MIT */
/*
 * test_libfamez_peers.c - members of libfamez: what the server tells them, and doorbells.
 */
#include "scripted.h"
#include "unit.h"

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

static void own_vectors_that_are_not_listened_to_wake_nobody(void **state)
{
	struct server *s = *state;
	struct famez *f;
	int end = join(s, &f, 1);
	int fd = tell_vector(end, f, 1, 0);

	assert_int_equal(famez_listen(f, 0), 0);
	assert_int_equal(famez_listen(f, 0), 0);
	assert_int_equal(famez_ring(f, 1, 0), 0);
	expect_nothing(f);
	assert_int_equal(rings(fd), 1);
	assert_int_equal(famez_ring(f, 1, 0), 0);
	assert_int_equal(famez_listen(f, 1), 0);
	assert_int_equal(famez_listen(f, 1), 0);
	assert_int_equal(expect(f, FAMEZ_EVENT_DOORBELL).count, 1);
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
		T(peers_come_and_go_in_order),
		T(we_are_a_peer_before_our_first_vector),
		T(the_largest_id_is_an_id),
		T(a_message_may_come_in_pieces_and_its_descriptor_with_any),
		T(messages_run_together_are_kept_apart),
		T(surplus_descriptors_are_not_kept),
		T(received_descriptors_do_not_outlive_exec),
		T(nonsense_to_a_member_ends_the_connection_but_not_the_doorbells),
		T(what_is_no_eventfd_is_nonsense),
		T(more_vectors_than_a_device_can_have_is_nonsense),
		T(a_leave_of_someone_unknown_is_ignored),
		T(a_lost_descriptor_is_no_leave_and_keeps_its_number),
		T(a_server_that_dies_is_lost_and_peers_go_on),
		T(rings_coalesce_and_say_how_many),
		T(ringing_never_blocks_even_where_a_peer_made_it_blocking),
		T(own_vectors_that_are_not_listened_to_wake_nobody),
		T(an_own_eventfd_made_blocking_and_emptied_does_not_block_us),
		T(neither_server_nor_doorbells_starve_the_other),
		T(endless_chatter_does_not_keep_the_caller),
		T(a_server_out_of_its_mind_harms_nobody),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
