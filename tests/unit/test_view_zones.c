/* SPDX-License-Identifier: MIT */
/*
 * test_view_zones.c - who is told of whom, and what changes when zones do. 0 is a peer that has no
 * neighbours; else a bit a zone.
 */
#include "view_fixture.h"

static void only_neighbours_are_told_of(void **state)
{
	struct fixture *x = *state;

	in_zones(x, SELF, 1);
	in_zones(x, 2, 2);
	in_zones(x, 3, 3);
	in_zones(x, 5, 0);
	up(x, 1); /* the server, say: in all zones */
	up(x, 2);
	up(x, 3);
	view_open(&x->v, &x->c, &x->r);
	expect_all(x, "version id memory 1.0 1.1 3.0 3.1 9.0 9.1 ");
	up(x, 5);
	in_zones(x, 6, 1);
	up(x, 6);
	down(x, 2);
	down(x, 3);
	expect_all(x, "6.0 6.1 -3 ");
	expect(x, "", 0);
}

static void who_is_in_no_zone_is_told_of_the_server_alone(void **state)
{
	struct fixture *x = *state;

	in_zones(x, SELF, 0);
	in_zones(x, 2, 1);
	up(x, 2);
	view_open(&x->v, &x->c, &x->r);
	expect_all(x, "version id memory 9.0 9.1 ");
}

static void strangers_cost_a_guarded_client_no_room(void **state)
{
	struct fixture *x = *state;

	in_zones(x, SELF, 1);
	for (uint32_t id = 0; id < 8; id++) {
		in_zones(x, id, 2);
		up(x, id);
	}
	open_guarded(x);
	in_zones(x, 10, 1);
	up(x, 10);
	expect(x, "room ", 0);
	assert_int_equal(x->v.held_back, 0);
	assert_int_equal(x->v.room, 0);
}

static void an_id_whose_next_owner_is_a_stranger_is_taken_back(void **state)
{
	struct fixture *x = *state;

	in_zones(x, SELF, 1);
	in_zones(x, 2, 1);
	up(x, 2);
	open_view(x);
	down(x, 2);
	in_zones(x, 2, 2);
	up(x, 2);
	expect_all(x, "-2 ");
	down(x, 2);
	in_zones(x, 2, 1);
	up(x, 2);
	expect_all(x, "2.0 2.1 ");
}

static void who_became_a_neighbour_is_told_of_when_all_is_walked_again(void **state)
{
	struct fixture *x = *state;

	in_zones(x, SELF, 1);
	in_zones(x, 2, 2);
	up(x, 1);
	up(x, 2);
	up(x, 3);
	open_view(x);
	in_zones(x, 2, 3);
	expect(x, "", 0);
	view_again(&x->v);
	expect_all(x, "2.0 2.1 ");
	view_again(&x->v);
	expect(x, "", 0);
}

static void walking_again_tells_nobody_twice_and_takes_nobody_back(void **state)
{
	struct fixture *x = *state;

	for (int leaves = 0; leaves < 2; leaves++) {
		x->c.leaves = leaves;
		roster_destroy(&x->r);
		assert_int_equal(roster_init(&x->r, IDS), 0);
		up(x, 1);
		up(x, 2);
		open_view(x);
		up(x, 3);
		expect(x, "3.0 3.1 ", 1);
		view_again(&x->v);
		expect_all(x, "3.1 ");
		expect(x, "", 0);
	}
}

static void what_happens_while_all_is_walked_again_is_told(void **state)
{
	struct fixture *x = *state;

	in_zones(x, SELF, 1);
	in_zones(x, 4, 2);
	for (uint32_t id = 1; id < 5; id++)
		up(x, id);
	open_view(x);
	down(x, 1);
	up(x, 1); /* not told yet when the walk begins anew */
	in_zones(x, 4, 1);
	view_again(&x->v);
	down(x, 2);
	expect_all(x, "4.0 4.1 -1 1.0 1.1 -2 ");
	view_again(&x->v);
	view_again(&x->v);
	expect(x, "", 0);
}

static void a_backlog_can_be_walked_again(void **state)
{
	struct fixture *x = *state;

	in_zones(x, SELF, 1);
	in_zones(x, 1, 2);
	up(x, 1);
	up(x, 2);
	up(x, 3);
	view_open(&x->v, &x->c, &x->r);
	expect(x, "version id memory 2.0 2.1 3.0 3.1 9.0 9.1 ", 6);
	in_zones(x, 1, 3);
	view_again(&x->v);
	up(x, 4);
	expect_all(x, "3.1 1.0 1.1 9.0 9.1 4.0 4.1 ");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(only_neighbours_are_told_of),
		T(who_is_in_no_zone_is_told_of_the_server_alone),
		T(strangers_cost_a_guarded_client_no_room),
		T(an_id_whose_next_owner_is_a_stranger_is_taken_back),
		T(who_became_a_neighbour_is_told_of_when_all_is_walked_again),
		T(walking_again_tells_nobody_twice_and_takes_nobody_back),
		T(what_happens_while_all_is_walked_again_is_told),
		T(a_backlog_can_be_walked_again),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
