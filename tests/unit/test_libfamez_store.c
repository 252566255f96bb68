/* SPDX-License-Identifier: MIT */
/*
 * test_libfamez_store.c - the store of eventfds that several handles of libfamez share.
 */
#include "scripted.h"
#include "unit.h"

#include "bells.h"

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

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_shared_store_keeps_one_copy),
		T(a_shared_store_tells_no_handle_more_than_its_server_did),
		T(who_returns_with_other_eventfds_is_rung_on_those),
		T(another_eventfd_for_any_vector_parts_a_handle_from_the_others),
		T(an_own_vector_told_otherwise_to_others_still_hears_its_rings),
		T(parting_without_descriptors_for_it_ends_the_connection),
		T(closing_a_store_in_use_aborts),
		T(eventfds_are_told_apart_in_every_way_there_is),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
