/* SPDX-License-Identifier: MIT */
/*
 * test_view.c - what one client is told, and when: its opening, joins and leaves. What views do
 * when everything happens at once is test_oracle.c's.
 */
#include "view_fixture.h"

static void the_opening_is_version_id_memory_and_own_vectors(void **state)
{
	struct fixture *x = *state;

	view_open(&x->v, &x->c, &x->r);
	expect_all(x, "version id memory 9.0 9.1 ");
	expect(x, "", 0);
}

static void those_present_come_before_own_vectors_in_order_of_their_joins(void **state)
{
	struct fixture *x = *state;

	up(x, 7);
	up(x, 2);
	up(x, 5);
	down(x, 2);
	up(x, 0);
	view_open(&x->v, &x->c, &x->r);
	expect_all(x, "version id memory 7.0 7.1 5.0 5.1 0.0 0.1 9.0 9.1 ");
}

static void the_notice_of_the_id_names_the_client_itself(void **state)
{
	struct fixture *x = *state;
	struct notice n;

	view_open(&x->v, &x->c, &x->r);
	assert_int_equal(view_next(&x->v, &x->c, &x->r, &n), VIEW_NOTICE);
	assert_int_equal(view_next(&x->v, &x->c, &x->r, &n), VIEW_NOTICE);
	assert_int_equal(n.kind, NOTICE_ID);
	assert_int_equal(n.id, SELF);
}

static void who_joins_during_the_opening_comes_after_it(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	view_open(&x->v, &x->c, &x->r);
	up(x, 2);
	expect(x, "version id memory 1.0 1.1 9.0 9.1 2.0 2.1 ", 4);
	up(x, 3);
	expect_all(x, "1.1 9.0 9.1 2.0 2.1 3.0 3.1 ");
}

static void who_leaves_before_its_turn_in_the_backlog_is_skipped(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	up(x, 2);
	view_open(&x->v, &x->c, &x->r);
	expect(x, "version id memory 1.0 1.1 2.0 2.1 9.0 9.1 ", 4);
	down(x, 2);
	expect_all(x, "1.1 9.0 9.1 ");
}

static void leaves_are_told_after_the_opening(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	view_open(&x->v, &x->c, &x->r);
	expect(x, "version id memory 1.0 1.1 9.0 9.1 ", 5);
	down(x, 1);
	expect_all(x, "9.0 9.1 -1 ");
}

static void who_leaves_and_comes_back_during_the_opening_is_told_once(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	view_open(&x->v, &x->c, &x->r);
	down(x, 1);
	up(x, 1);
	expect_all(x, "version id memory 9.0 9.1 1.0 1.1 ");
	expect(x, "", 0);
}

static void the_opening_is_over_with_the_last_own_vector_committed(void **state)
{
	struct fixture *x = *state;

	up(x, 1);
	view_open(&x->v, &x->c, &x->r);
	expect(x, "version id memory 1.0 1.1 9.0 9.1 ", 6);
	assert_false(view_opened(&x->v));
	expect(x, "9.1 ", 1);
	assert_true(view_opened(&x->v));
}

static void a_client_is_never_told_its_own_join_from_the_log(void **state)
{
	struct fixture *x = *state;

	open_view(x);
	up(x, SELF);
	up(x, 1);
	expect_all(x, "1.0 1.1 ");
}

static void a_join_is_told_vector_by_vector(void **state)
{
	struct fixture *x = *state;

	x->c.vectors = 5;
	open_view(x);
	up(x, 3);
	expect_all(x, "3.0 3.1 3.2 3.3 3.4 ");
}

static void one_vector_is_enough(void **state)
{
	struct fixture *x = *state;

	x->c.vectors = 1;
	up(x, 1);
	view_open(&x->v, &x->c, &x->r);
	expect_all(x, "version id memory 1.0 9.0 ");
	up(x, 2);
	down(x, 1);
	expect_all(x, "2.0 -1 ");
}

static void all_2048_vectors_are_told(void **state)
{
	struct fixture *x = *state;
	struct notice n;

	x->c.vectors = 2048;
	open_view(x);
	up(x, 3);
	for (unsigned vector = 0; vector < 2048; vector++) {
		assert_int_equal(view_next(&x->v, &x->c, &x->r, &n), VIEW_NOTICE);
		assert_int_equal(n.kind, NOTICE_VECTOR);
		assert_int_equal(n.id, 3);
		assert_int_equal(n.vector, vector);
	}
	assert_int_equal(view_next(&x->v, &x->c, &x->r, &n), VIEW_NOTHING);
}

static void a_leave_is_told_to_who_was_told_the_join(void **state)
{
	struct fixture *x = *state;

	open_view(x);
	up(x, 3);
	expect_all(x, "3.0 3.1 ");
	down(x, 3);
	expect_all(x, "-3 ");
	expect(x, "", 0);
}

static void who_came_and_went_meanwhile_is_skipped(void **state)
{
	struct fixture *x = *state;

	open_view(x);
	up(x, 3);
	down(x, 3);
	up(x, 4);
	expect_all(x, "4.0 4.1 ");
}

static void who_left_and_came_back_meanwhile_is_taken_back_and_announced_afresh(void **state)
{
	struct fixture *x = *state;

	up(x, 3);
	open_view(x);
	down(x, 3);
	up(x, 3);
	expect_all(x, "-3 3.0 3.1 ");
	expect(x, "", 0);
}

static void who_leaves_amid_its_vectors_is_told_to_the_end_and_then_the_leave(void **state)
{
	struct fixture *x = *state;

	open_view(x);
	up(x, 3);
	expect(x, "3.0 3.1 ", 1);
	down(x, 3);
	expect_all(x, "3.1 -3 ");
	expect(x, "", 0);
}

static void who_comes_back_amid_its_vectors_is_taken_back_after_them(void **state)
{
	struct fixture *x = *state;

	open_view(x);
	up(x, 3);
	expect(x, "3.0 3.1 ", 1);
	down(x, 3);
	up(x, 3);
	expect_all(x, "3.1 -3 3.0 3.1 ");
}

static void who_was_taken_back_and_left_again_is_not_announced(void **state)
{
	struct fixture *x = *state;

	x->c.vectors = 1;
	up(x, 3);
	open_view(x);
	down(x, 3);
	up(x, 3);
	expect(x, "-3 3.0 ", 1);
	down(x, 3);
	up(x, 6);
	expect_all(x, "6.0 ");
	expect(x, "", 0);
}

static void who_was_taken_back_and_came_anew_is_announced_in_its_new_place(void **state)
{
	struct fixture *x = *state;

	up(x, 3);
	open_view(x);
	down(x, 3);
	up(x, 3);
	expect(x, "-3 3.0 3.1 ", 1);
	up(x, 6);
	down(x, 3);
	up(x, 3);
	expect_all(x, "6.0 6.1 3.0 3.1 ");
	expect(x, "", 0);
}

static void changes_of_no_interest_may_be_passed_over_for_good(void **state)
{
	struct fixture *x = *state;
	struct notice n;

	x->c.leaves = false;
	open_view(x);
	up(x, 1);
	down(x, 1);
	assert_int_equal(view_next(&x->v, &x->c, &x->r, &n), VIEW_NOTHING);
	assert_int_equal(x->v.told, x->r.end);
	up(x, 1);
	expect_all(x, "1.0 1.1 ");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(the_opening_is_version_id_memory_and_own_vectors),
		T(those_present_come_before_own_vectors_in_order_of_their_joins),
		T(the_notice_of_the_id_names_the_client_itself),
		T(who_joins_during_the_opening_comes_after_it),
		T(who_leaves_before_its_turn_in_the_backlog_is_skipped),
		T(leaves_are_told_after_the_opening),
		T(who_leaves_and_comes_back_during_the_opening_is_told_once),
		T(the_opening_is_over_with_the_last_own_vector_committed),
		T(a_client_is_never_told_its_own_join_from_the_log),
		T(a_join_is_told_vector_by_vector),
		T(one_vector_is_enough),
		T(all_2048_vectors_are_told),
		T(a_leave_is_told_to_who_was_told_the_join),
		T(who_came_and_went_meanwhile_is_skipped),
		T(who_left_and_came_back_meanwhile_is_taken_back_and_announced_afresh),
		T(who_leaves_amid_its_vectors_is_told_to_the_end_and_then_the_leave),
		T(who_comes_back_amid_its_vectors_is_taken_back_after_them),
		T(who_was_taken_back_and_left_again_is_not_announced),
		T(who_was_taken_back_and_came_anew_is_announced_in_its_new_place),
		T(changes_of_no_interest_may_be_passed_over_for_good),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
