/* SPDX-License-Identifier: MIT */
/*
 * test_view_guard.c - a client that is guarded is told only what it has room for.
 */
#include "view_fixture.h"

static void a_guarded_client_wants_room_for_each_peer(void **state)
{
	struct fixture *x = *state;

	open_guarded(x);
	up(x, 1);
	up(x, 2);
	expect(x, "room ", 0);
	assert_int_equal(view_room_wanted(&x->v, &x->c), VECTORS);
	view_grant(&x->v, VECTORS);
	expect_all(x, "1.0 1.1 room ");
	view_grant(&x->v, VECTORS - 1);
	expect(x, "room ", 0);
	view_grant(&x->v, 1);
	expect_all(x, "2.0 2.1 ");
	expect(x, "", 0);
}

static void in_the_opening_room_for_own_vectors_is_wanted_besides(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	x->c.leaves = false;
	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, 2 * VECTORS - 1);
	expect(x, "version id memory room ", 3);
	assert_int_equal(view_room_wanted(&x->v, &x->c), 2 * VECTORS);
	view_grant(&x->v, 1);
	expect_all(x, "1.0 1.1 9.0 9.1 ");
}

static void a_peer_once_begun_needs_no_more_room(void **state)
{
	struct fixture *x = *state;

	open_guarded(x);
	up(x, 1);
	view_grant(&x->v, VECTORS);
	expect(x, "1.0 1.1 ", 1);
	up(x, 2);
	expect(x, "1.1 room ", 1);
}

static void leaves_and_what_is_held_already_need_no_room(void **state)
{
	struct fixture *x = *state;

	open_guarded(x);
	up(x, 1);
	view_grant(&x->v, VECTORS);
	expect_all(x, "1.0 1.1 ");
	down(x, 1);
	up(x, 1);
	up(x, 2);
	down(x, 2);
	expect(x, "", 0);
}

static void who_is_held_back_is_left_out_and_counted(void **state)
{
	struct fixture *x = *state;

	open_guarded(x);
	up(x, 1);
	up(x, 2);
	expect(x, "room ", 0);
	view_hold_back(&x->v, &x->c, &x->r);
	assert_int_equal(x->v.held_back, 1);
	expect(x, "room ", 0);
	view_grant(&x->v, VECTORS);
	expect_all(x, "2.0 2.1 ");
	expect(x, "", 0);
	assert_false(view_holds(&x->c, 1));
}

static void a_backlog_held_back_lets_the_opening_end(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	up(x, 2);
	x->c.leaves = false;
	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, VECTORS);
	expect(x, "version id memory room ", 3);
	view_hold_back(&x->v, &x->c, &x->r);
	view_hold_back(&x->v, &x->c, &x->r);
	expect_all(x, "9.0 9.1 ");
	assert_true(view_opened(&x->v));
	assert_int_equal(x->v.held_back, 2);
}

static void the_next_join_of_who_was_held_back_is_tried_again(void **state)
{
	struct fixture *x = *state;

	open_guarded(x);
	up(x, 1);
	expect(x, "room ", 0);
	view_hold_back(&x->v, &x->c, &x->r);
	down(x, 1);
	expect(x, "", 0);
	up(x, 1);
	view_grant(&x->v, VECTORS);
	expect_all(x, "1.0 1.1 ");
}

static void a_rewind_brings_back_who_was_held_back_and_nobody_else(void **state)
{
	struct fixture *x = *state;

	open_guarded(x);
	up(x, 1);
	up(x, 2);
	up(x, 3);
	view_hold_back(&x->v, &x->c, &x->r);
	view_grant(&x->v, VECTORS);
	expect_all(x, "2.0 2.1 room ");
	view_hold_back(&x->v, &x->c, &x->r);
	down(x, 3);
	expect(x, "", 0);
	assert_true(view_rewind(&x->v, &x->c));
	view_grant(&x->v, 2 * VECTORS);
	expect_all(x, "1.0 1.1 ");
	expect(x, "", 0);
}

static void there_is_nothing_to_rewind_where_nobody_was_held_back(void **state)
{
	struct fixture *x = *state;

	open_guarded(x);
	up(x, 1);
	view_grant(&x->v, VECTORS);
	expect_all(x, "1.0 1.1 ");
	assert_false(view_rewind(&x->v, &x->c));
	expect(x, "", 0);
}

static void the_opening_is_not_rewound(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	x->c.leaves = false;
	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, VECTORS);
	expect(x, "version id memory room ", 3);
	view_hold_back(&x->v, &x->c, &x->r);
	assert_false(view_rewind(&x->v, &x->c));
	expect_all(x, "9.0 9.1 ");
	assert_true(view_rewind(&x->v, &x->c));
}

static void a_client_that_is_told_leaves_is_not_rewound(void **state)
{
	struct fixture *x = *state;

	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, VECTORS);
	expect_all(x, "version id memory 9.0 9.1 ");
	up(x, 1);
	view_hold_back(&x->v, &x->c, &x->r);
	assert_false(view_rewind(&x->v, &x->c));
	expect(x, "", 0);
}

static void the_leave_of_who_was_held_back_is_not_told(void **state)
{
	struct fixture *x = *state;

	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, VECTORS);
	expect_all(x, "version id memory 9.0 9.1 ");
	up(x, 1);
	view_hold_back(&x->v, &x->c, &x->r);
	down(x, 1);
	expect(x, "", 0);
}

static void holding_back_a_rejoin_does_not_swallow_the_leave(void **state)
{
	struct fixture *x = *state;
	struct view copy;
	struct notice n;

	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, 2 * VECTORS);
	up(x, 1);
	expect_all(x, "version id memory 9.0 9.1 1.0 1.1 ");
	down(x, 1);
	up(x, 1);
	copy = x->v;
	if (view_next(&copy, &x->c, &x->r, &n) == VIEW_NOTICE) {
		assert_int_equal(n.kind, NOTICE_LEAVE);
		view_commit(&x->v, &x->c, &x->r, 1);
		copy = x->v;
		if (view_next(&copy, &x->c, &x->r, &n) == VIEW_WANTS_ROOM)
			view_hold_back(&x->v, &x->c, &x->r);
	} else {
		view_hold_back(&x->v, &x->c, &x->r);
		expect(x, "-1 ", 1);
	}
}

static void a_client_that_is_not_guarded_never_wants_room(void **state)
{
	struct fixture *x = *state;

	for (uint32_t id = 0; id < SELF; id++)
		up(x, id);
	x->c.leaves = false;
	open_view(x);
	up(x, 10);
	expect_all(x, "10.0 10.1 ");
	assert_int_equal(x->v.held_back, 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_guarded_client_wants_room_for_each_peer),
		T(in_the_opening_room_for_own_vectors_is_wanted_besides),
		T(a_peer_once_begun_needs_no_more_room),
		T(leaves_and_what_is_held_already_need_no_room),
		T(who_is_held_back_is_left_out_and_counted),
		T(a_backlog_held_back_lets_the_opening_end),
		T(the_next_join_of_who_was_held_back_is_tried_again),
		T(a_rewind_brings_back_who_was_held_back_and_nobody_else),
		T(there_is_nothing_to_rewind_where_nobody_was_held_back),
		T(the_opening_is_not_rewound),
		T(a_client_that_is_told_leaves_is_not_rewound),
		T(the_leave_of_who_was_held_back_is_not_told),
		T(holding_back_a_rejoin_does_not_swallow_the_leave),
		T(a_client_that_is_not_guarded_never_wants_room),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
