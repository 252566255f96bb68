/* SPDX-License-Identifier: MIT */
/*
 * test_view_held.c - what a client holds of others: devices, which are told no leave, clients that
 * stall, and notices of which only some were sent.
 */
#include "view_fixture.h"

static void a_device_is_never_told_a_leave(void **state)
{
	struct fixture *x = *state;

	x->c.leaves = false;
	up(x, 3);
	open_view(x);
	down(x, 3);
	expect(x, "", 0);
	up(x, 4);
	down(x, 4);
	expect(x, "", 0);
}

static void a_device_is_told_each_id_once(void **state)
{
	struct fixture *x = *state;

	x->c.leaves = false;
	up(x, 3);
	open_view(x);
	for (unsigned n = 0; n < 100; n++) {
		down(x, 3);
		up(x, 3);
		expect(x, "", 0);
	}
	up(x, 5);
	expect_all(x, "5.0 5.1 ");
}

static void a_device_that_never_heard_of_an_id_is_told_its_present_owner(void **state)
{
	struct fixture *x = *state;

	x->c.leaves = false;
	open_view(x);
	up(x, 3);
	down(x, 3);
	expect(x, "", 0);
	up(x, 3);
	expect_all(x, "3.0 3.1 ");
}

static void a_device_gets_all_vectors_even_of_who_left_amid_them(void **state)
{
	struct fixture *x = *state;

	x->c.leaves = false;
	open_view(x);
	up(x, 3);
	expect(x, "3.0 3.1 ", 1);
	down(x, 3);
	expect_all(x, "3.1 ");
	up(x, 3);
	expect(x, "", 0);
}

static void a_stalled_client_catches_up_with_what_is_true_now(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	up(x, 2);
	open_view(x);
	for (unsigned n = 0; n < 10000; n++) {
		up(x, 3 + n % 4);
		down(x, 3 + n % 4);
	}
	down(x, 1);
	up(x, 6);
	expect_all(x, "-1 6.0 6.1 ");
}

static void looking_ahead_changes_nothing(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	up(x, 2);
	view_open(&x->v, &x->c, &x->r);
	for (unsigned n = 0; n < 10; n++)
		expect(x, "version id memory 1.0 1.1 2.0 2.1 9.0 9.1 ", 0);
	assert_false(view_holds(&x->c, 1));
}

static void any_part_of_what_was_looked_at_can_be_committed(void **state)
{
	static const char whole[] = "version id memory 1.0 1.1 2.0 2.1 9.0 9.1 ";
	struct fixture *x = *state;
	const char *rest = whole;

	up(x, 1);
	up(x, 2);
	for (unsigned part = 0; *rest; part++) {
		view_open(&x->v, &x->c, &x->r); /* as if it were the ID's next owner */
		expect(x, whole, part);
		expect_all(x, rest);
		expect(x, "", 0);
		rest = strchr(rest, ' ') + 1;
	}
}

static void an_ids_next_owner_starts_with_nothing_held(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	open_view(x);
	assert_true(view_holds(&x->c, 1));
	view_open(&x->v, &x->c, &x->r);
	for (uint32_t id = 0; id < IDS; id++)
		assert_false(view_holds(&x->c, id));
	expect_all(x, "version id memory 1.0 1.1 9.0 9.1 ");
}

static void held_is_what_was_told_and_not_taken_back(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	open_view(x);
	assert_true(view_holds(&x->c, 1));
	assert_false(view_holds(&x->c, 2));
	up(x, 2);
	down(x, 1);
	expect_all(x, "2.0 2.1 -1 ");
	assert_false(view_holds(&x->c, 1));
	assert_true(view_holds(&x->c, 2));
}

static void a_device_holds_who_has_left(void **state)
{
	struct fixture *x = *state;

	x->c.leaves = false;
	up(x, 1);
	open_view(x);
	down(x, 1);
	expect(x, "", 0);
	assert_true(view_holds(&x->c, 1));
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_device_is_never_told_a_leave),
		T(a_device_is_told_each_id_once),
		T(a_device_that_never_heard_of_an_id_is_told_its_present_owner),
		T(a_device_gets_all_vectors_even_of_who_left_amid_them),
		T(a_stalled_client_catches_up_with_what_is_true_now),
		T(looking_ahead_changes_nothing),
		T(any_part_of_what_was_looked_at_can_be_committed),
		T(an_ids_next_owner_starts_with_nothing_held),
		T(held_is_what_was_told_and_not_taken_back),
		T(a_device_holds_who_has_left),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
