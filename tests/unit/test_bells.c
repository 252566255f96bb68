/* SPDX-License-Identifier: MIT */
/*
 * test_bells.c - an ID owns its eventfds: its next owner gets the same ones, empty
 * and non-blocking, whatever peers did to them.
 */
#include "unit.h"

#include <errno.h>

#include "bells.h"

#define IDS     4u
#define VECTORS 3u

static int set_up(void **state)
{
	static struct bells b;
	static int fds[IDS * VECTORS];

	*state = &b;
	memset(fds, -1, sizeof(fds));
	bells_init(&b, fds, IDS, VECTORS);
	return 0;
}

static int tear_down(void **state)
{
	bells_destroy(*state);
	return 0;
}

/* Of ID @id, its eventfd for @vector. */
static int bell(const void *b, uint32_t id, unsigned vector)
{
	return bells_fd(b, id, (uint16_t)vector);
}

static void ring(int fd, uint64_t count)
{
	assert_int_equal(write(fd, &count, sizeof(count)), sizeof(count));
}

static void nothing_is_made_before_it_is_needed(void **state)
{
	for (uint32_t id = 0; id < IDS; id++)
		for (unsigned vector = 0; vector < VECTORS; vector++)
			assert_int_equal(bell(*state, id, vector), -1);
}

static void an_id_gets_an_eventfd_for_each_vector_and_others_none(void **state)
{
	assert_int_equal(bells_prepare(*state, 2), 0);
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		int fd = bell(*state, 2, vector);

		assert_true(fd >= 0);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		for (unsigned other = 0; other < vector; other++)
			assert_int_not_equal(fd, bell(*state, 2, other));
		assert_int_equal(bell(*state, 1, vector), -1);
	}
}

static void the_next_owner_gets_the_same_ones_drained(void **state)
{
	int fds[VECTORS];

	assert_int_equal(bells_prepare(*state, 0), 0);
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		fds[vector] = bell(*state, 0, vector);
		ring(fds[vector], 1000u + vector);
	}
	assert_int_equal(bells_prepare(*state, 0), 0);
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		assert_int_equal(bell(*state, 0, vector), fds[vector]);
		assert_int_equal(bells_take(fds[vector]), 0);
	}
}

static void a_bell_left_blocking_is_set_right(void **state)
{
	int fd;

	assert_int_equal(bells_prepare(*state, 1), 0);
	fd = bell(*state, 1, 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(bells_prepare(*state, 1), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static void taking_from_a_bell_left_blocking_never_blocks(void **state)
{
	int fd;

	assert_int_equal(bells_prepare(*state, 1), 0);
	fd = bell(*state, 1, 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(bells_take(fd), 0);
	ring(fd, 5);
	assert_int_equal(bells_take(fd), 5);
	assert_int_equal(bells_take(fd), 0);
}

static void rings_coalesce_into_a_count(void **state)
{
	int fd;

	assert_int_equal(bells_prepare(*state, 3), 0);
	fd = bell(*state, 3, VECTORS - 1);
	for (unsigned n = 0; n < 7; n++)
		ring(fd, 1);
	assert_int_equal(bells_take(fd), 7);
	ring(fd, UINT64_MAX - 1);
	assert_int_equal(bells_take(fd), UINT64_MAX - 1);
}

static void want_of_descriptors_is_said_and_can_be_mended(void **state)
{
	struct rlimit limit, none;
	int spare = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);

	assert_true(spare >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)spare + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	close(spare); /* room for one */
	assert_int_equal(bells_prepare(*state, 0), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(bells_prepare(*state, 0), 0);
	for (unsigned vector = 0; vector < VECTORS; vector++)
		assert_true(bell(*state, 0, vector) >= 0);
}

static void at_the_end_every_descriptor_is_closed(void **state)
{
	int fds[4] = {-1, -1, -1, -1};
	struct bells b;
	int fd;

	(void)state;
	bells_init(&b, fds, 2, 2);
	assert_int_equal(bells_prepare(&b, 1), 0);
	fd = bell(&b, 1, 1);
	bells_destroy(&b);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void a_later_broker_has_the_ones_that_were_made(void **state)
{
	struct bells *b = *state, later;
	int fd;

	assert_int_equal(bells_prepare(b, 1), 0);
	fd = bell(b, 1, 2);
	bells_init(&later, b->fds, IDS, VECTORS);
	assert_int_equal(bell(&later, 1, 2), fd);
	assert_int_equal(bells_prepare(&later, 1), 0);
	assert_int_equal(bell(&later, 1, 2), fd);
	assert_int_equal(bell(&later, 0, 0), -1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(nothing_is_made_before_it_is_needed),
		T(an_id_gets_an_eventfd_for_each_vector_and_others_none),
		T(the_next_owner_gets_the_same_ones_drained),
		T(a_bell_left_blocking_is_set_right),
		T(taking_from_a_bell_left_blocking_never_blocks),
		T(rings_coalesce_into_a_count),
		T(want_of_descriptors_is_said_and_can_be_mended),
		T(a_later_broker_has_the_ones_that_were_made),
		cmocka_unit_test(at_the_end_every_descriptor_is_closed),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
