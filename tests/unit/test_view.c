/* SPDX-License-Identifier: MIT */
/*
 * test_view.c - what one client is told, and when: one test a rule. What views do
 * when everything happens at once is test_oracle.c's.
 *
 * What is due is written as a line of words: `version id memory`, `3.0` for vector 0
 * of peer 3, `-3` for a leave, `room` where the client must be given room.
 */
#include "unit.h"

#include "view.h"

enum { IDS = 12, VECTORS = 2, SELF = 9 };

struct fixture {
	struct roster r;
	struct view v;
	struct view_client c;
	unsigned long held[VIEW_HELD_WORDS(IDS)];
};

static int set_up(void **state)
{
	static struct fixture x;

	x = (struct fixture){.c = {.id = SELF, .vectors = VECTORS, .leaves = true, .held = x.held}};
	*state = &x;
	return roster_init(&x.r, IDS);
}

static void in_zones(struct fixture *x, uint32_t id, uint64_t zones)
{
	x->r.zones[id] = zones;
}

static int tear_down(void **state)
{
	roster_destroy(&((struct fixture *)*state)->r);
	return 0;
}

static void word(char *line, size_t bytes, enum view_says says, const struct notice *n)
{
	static const char *const names[] = {"version ", "id ", "memory "};
	size_t used = strlen(line);

	assert_true(used + 16 < bytes);
	if (says == VIEW_WANTS_ROOM)
		(void)snprintf(line + used, bytes - used, "room ");
	else if (n->kind == NOTICE_LEAVE)
		(void)snprintf(line + used, bytes - used, "-%u ", n->id);
	else if (n->kind == NOTICE_VECTOR)
		(void)snprintf(line + used, bytes - used, "%u.%u ", n->id, n->vector);
	else
		(void)snprintf(line + used, bytes - used, "%s", names[n->kind]);
}

/* Exactly @want is due now; of it, @commit notices are sent. */
static void expect(struct fixture *x, const char *want, unsigned commit)
{
	char got[1024] = "";
	struct view copy = x->v;
	struct notice n;
	enum view_says says;

	do {
		says = view_next(&copy, &x->c, &x->r, &n);
		if (says != VIEW_NOTHING)
			word(got, sizeof(got), says, &n);
	} while (says == VIEW_NOTICE);
	assert_string_equal(got, want);
	view_commit(&x->v, &x->c, &x->r, commit);
}

static void expect_all(struct fixture *x, const char *want)
{
	unsigned words = 0;

	for (const char *p = want; *p; p++)
		words += *p == ' ';
	if (strstr(want, "room"))
		words--;
	expect(x, want, words);
}

static void up(struct fixture *x, uint32_t id)
{
	roster_append(&x->r, id, true);
}

static void down(struct fixture *x, uint32_t id)
{
	roster_append(&x->r, id, false);
}

/* Opened, live, and told of everybody in the roster. */
static void open_view(struct fixture *x)
{
	struct notice n;
	struct view copy;
	unsigned count = 0;

	view_open(&x->v, &x->c, &x->r);
	copy = x->v;
	while (view_next(&copy, &x->c, &x->r, &n) == VIEW_NOTICE)
		count++;
	view_commit(&x->v, &x->c, &x->r, count);
	assert_true(view_opened(&x->v));
}

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

/* A guarded device, let in with room for its own vectors, and told its opening. */
static void open_guarded(struct fixture *x)
{
	x->c.leaves = false;
	x->c.guarded = true;
	view_open(&x->v, &x->c, &x->r);
	view_grant(&x->v, VECTORS);
	expect_all(x, "version id memory 9.0 9.1 ");
	assert_true(view_opened(&x->v));
}

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

/* ---- zones: bits; 0 is a peer that has no neighbours ---------------------------------------- */

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

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
		T(changes_of_no_interest_may_be_passed_over_for_good),
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
