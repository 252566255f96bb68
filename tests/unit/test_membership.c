/* SPDX-License-Identifier: MIT */
/*
 * test_membership.c - who is given which ID, and in what order comings and
 * goings are ordered. One thread, no system calls: events in, intents out.
 */
#include "unit.h"

#include <errno.h>

#include "membership.h"

enum { FIRST = 1, PEERS = 5, WORKERS = 3 };

static int set_up(void **state)
{
	static struct membership m;

	*state = &m;
	return membership_init(&m, FIRST, PEERS, WORKERS);
}

static int tear_down(void **state)
{
	membership_destroy(*state);
	return 0;
}

static uint32_t come(struct membership *m)
{
	struct intent i = membership_connected(m, MEMBERSHIP_ANYWHERE);

	assert_int_equal(i.kind, INTENT_ADOPT);
	return i.id;
}

static uint32_t join(struct membership *m)
{
	uint32_t id = come(m);
	struct intent i = membership_opened(m, id);

	assert_int_equal(i.kind, INTENT_JOIN);
	assert_int_equal(i.id, id);
	return id;
}

static void leave(struct membership *m, uint32_t id)
{
	struct intent i = membership_gone(m, id);

	assert_int_equal(i.kind, INTENT_LEAVE);
	assert_int_equal(i.id, id);
}

static void ids_are_first_given_in_ascending_order_from_the_first(void **state)
{
	for (uint32_t n = 0; n < PEERS; n++)
		assert_int_equal(come(*state), FIRST + n);
}

static void a_silent_servers_ids_start_at_zero(void **state)
{
	struct membership m;

	(void)state;
	assert_int_equal(membership_init(&m, 0, 2, 1), 0);
	assert_int_equal(come(&m), 0);
	assert_int_equal(come(&m), 1);
	assert_int_equal(membership_connected(&m, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
	membership_destroy(&m);
}

static void a_full_fabric_refuses_and_counts_it(void **state)
{
	struct membership *m = *state;

	for (uint32_t n = 0; n < PEERS; n++)
		(void)join(m);
	for (unsigned n = 1; n <= 3; n++) {
		assert_int_equal(membership_connected(m, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
		assert_int_equal(m->refused, n);
	}
	assert_int_equal(membership_connected(m, 7).kind, INTENT_REFUSE);
	assert_int_equal(m->present, PEERS);
	assert_int_equal(m->joins, PEERS);
}

static void those_who_are_still_opening_count_towards_full(void **state)
{
	for (uint32_t n = 0; n < PEERS; n++)
		(void)come(*state);
	assert_int_equal(membership_connected(*state, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
}

static void a_full_fabric_takes_the_next_as_soon_as_one_has_gone(void **state)
{
	for (uint32_t n = 0; n < PEERS; n++)
		(void)join(*state);
	assert_int_equal(membership_connected(*state, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
	leave(*state, 4);
	assert_int_equal(join(*state), 4);
	assert_int_equal(membership_connected(*state, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
}

static void an_id_just_freed_is_the_last_to_be_given_again(void **state)
{
	uint32_t first = join(*state);

	leave(*state, first);
	for (uint32_t n = 1; n < PEERS; n++)
		assert_int_equal(join(*state), FIRST + n);
	assert_int_equal(join(*state), first);
}

static void ids_come_back_in_the_order_in_which_they_were_freed(void **state)
{
	static const uint32_t order[] = {3, 1, 5, 2, 4};

	for (uint32_t n = 0; n < PEERS; n++)
		(void)join(*state);
	for (uint32_t n = 0; n < PEERS; n++)
		leave(*state, order[n]);
	for (uint32_t n = 0; n < PEERS; n++)
		assert_int_equal(join(*state), order[n]);
}

static void an_id_freed_while_opening_queues_up_like_any_other(void **state)
{
	uint32_t id = come(*state);

	assert_int_equal(membership_gone(*state, id).kind, INTENT_NONE);
	for (uint32_t n = 1; n < PEERS; n++)
		assert_int_equal(come(*state), FIRST + n);
	assert_int_equal(come(*state), id);
}

static void a_join_is_announced_only_when_its_opening_is_queued(void **state)
{
	struct membership *m = *state;
	uint32_t id = come(m);

	assert_int_equal(m->members[id - FIRST].state, MEMBER_OPENING);
	assert_int_equal(m->opening, 1);
	assert_int_equal(m->present, 0);
	assert_int_equal(m->joins, 0);
	assert_int_equal(membership_opened(m, id).kind, INTENT_JOIN);
	assert_int_equal(m->members[id - FIRST].state, MEMBER_PRESENT);
	assert_int_equal(m->opening, 0);
	assert_int_equal(m->present, 1);
	assert_int_equal(m->joins, 1);
}

static void whoever_goes_while_opening_never_was_there(void **state)
{
	struct membership *m = *state;
	uint32_t id = come(m);

	assert_int_equal(membership_gone(m, id).kind, INTENT_NONE);
	assert_int_equal(m->members[id - FIRST].state, MEMBER_FREE);
	assert_int_equal(m->opening, 0);
	assert_int_equal(m->present, 0);
	assert_int_equal(m->leaves, 0);
}

static void a_leave_frees_the_id_and_is_counted(void **state)
{
	struct membership *m = *state;
	uint32_t id = join(m);

	leave(m, id);
	assert_int_equal(m->members[id - FIRST].state, MEMBER_FREE);
	assert_int_equal(m->present, 0);
	assert_int_equal(m->joins, 1);
	assert_int_equal(m->leaves, 1);
}

static void the_least_loaded_worker_takes_the_newcomer(void **state)
{
	struct membership *m = *state;
	bool taken[WORKERS] = {false};

	for (unsigned n = 0; n < WORKERS; n++) {
		struct intent i = membership_connected(m, MEMBERSHIP_ANYWHERE);

		assert_int_equal(i.kind, INTENT_ADOPT);
		assert_true(i.worker < WORKERS);
		assert_false(taken[i.worker]);
		taken[i.worker] = true;
	}
}

static void a_worker_whose_peer_has_gone_is_the_least_loaded(void **state)
{
	struct membership *m = *state;
	uint32_t ids[WORKERS];
	uint16_t workers[WORKERS];

	for (unsigned n = 0; n < WORKERS; n++) {
		struct intent i = membership_connected(m, MEMBERSHIP_ANYWHERE);

		ids[n] = i.id;
		workers[n] = i.worker;
		(void)membership_opened(m, i.id);
	}
	leave(m, ids[1]);
	assert_int_equal(membership_connected(m, MEMBERSHIP_ANYWHERE).worker, workers[1]);
	assert_int_equal(membership_gone(m, ids[2]).kind, INTENT_LEAVE);
	assert_int_equal(membership_connected(m, MEMBERSHIP_ANYWHERE).worker, workers[2]);
}

static void those_who_belong_together_come_to_one_worker(void **state)
{
	struct membership *m = *state;

	for (uint32_t together = 0; together < 100; together++) {
		uint16_t worker = 0;

		for (unsigned n = 0; n < PEERS; n++) {
			struct intent i = membership_connected(m, together);

			assert_int_equal(i.kind, INTENT_ADOPT);
			assert_true(i.worker < WORKERS);
			if (n == 0)
				worker = i.worker;
			assert_int_equal(i.worker, worker);
		}
		for (uint32_t id = FIRST; id < FIRST + PEERS; id++)
			assert_int_equal(membership_gone(m, id).kind, INTENT_NONE);
	}
}

static void those_who_belong_together_still_meet_after_others_came_and_went(void **state)
{
	struct membership *m = *state;
	struct intent a = membership_connected(m, 4242), b, c;

	b = membership_connected(m, MEMBERSHIP_ANYWHERE);
	c = membership_connected(m, MEMBERSHIP_ANYWHERE);
	(void)membership_gone(m, b.id);
	(void)membership_gone(m, c.id);
	assert_int_equal(membership_connected(m, 4242).worker, a.worker);
	(void)membership_gone(m, a.id);
	assert_int_equal(membership_connected(m, 4242).worker, a.worker);
}

static void the_load_of_a_worker_is_the_ids_that_it_serves(void **state)
{
	struct membership *m = *state;
	uint32_t mine[WORKERS] = {0};
	uint32_t total = 0;
	struct intent last = {.kind = INTENT_NONE};

	for (unsigned n = 0; n < PEERS; n++) {
		last = membership_connected(m, MEMBERSHIP_ANYWHERE);
		mine[last.worker]++;
	}
	(void)membership_opened(m, last.id);
	for (unsigned w = 0; w < WORKERS; w++) {
		assert_int_equal(m->load[w], mine[w]);
		total += m->load[w];
	}
	assert_int_equal(total, PEERS);
	(void)membership_gone(m, last.id);
	assert_int_equal(m->load[last.worker], mine[last.worker] - 1);
}

static void the_largest_fabric_gives_every_id_once(void **state)
{
	enum { ALL = 65535 };
	struct membership m;

	(void)state;
	assert_int_equal(membership_init(&m, 1, ALL, 64), 0);
	for (uint32_t n = 0; n < ALL; n++)
		assert_int_equal(come(&m), n + 1);
	assert_int_equal(membership_connected(&m, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
	membership_destroy(&m);
}

static void one_peer_and_one_worker_are_enough(void **state)
{
	struct membership m;

	(void)state;
	assert_int_equal(membership_init(&m, 9, 1, 1), 0);
	for (unsigned n = 0; n < 1000; n++) {
		struct intent i = membership_connected(&m, n);

		assert_int_equal(i.kind, INTENT_ADOPT);
		assert_int_equal(i.id, 9);
		assert_int_equal(i.worker, 0);
		assert_int_equal(membership_connected(&m, n).kind, INTENT_REFUSE);
		if (n % 2)
			assert_int_equal(membership_opened(&m, 9).kind, INTENT_JOIN);
		assert_int_equal(membership_gone(&m, 9).kind, n % 2 ? INTENT_LEAVE : INTENT_NONE);
	}
	assert_int_equal(m.joins, 500);
	assert_int_equal(m.leaves, 500);
	assert_int_equal(m.refused, 1000);
	membership_destroy(&m);
}

static void open_twice(void *m)
{
	(void)membership_opened(m, FIRST);
	(void)membership_opened(m, FIRST);
}

static void go_twice(void *m)
{
	(void)membership_gone(m, FIRST);
	(void)membership_gone(m, FIRST);
}

static void an_id_that_is_kept_is_given_to_whom_it_is_asked_for_only(void **state)
{
	struct membership *m = *state;

	membership_keep(m, 1, true);
	membership_keep(m, 3, true);
	membership_keep(m, 3, true);
	assert_int_equal(come(m), 2);
	assert_int_equal(come(m), 4);
	assert_int_equal(come(m), 5);
	assert_int_equal(membership_connected(m, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
	assert_true(membership_is_free(m, 3));
	assert_int_equal(membership_connected_as(m, 7, 3).id, 3);
	assert_int_equal(m->members[3 - FIRST].worker, 7 % WORKERS);
	assert_false(membership_is_free(m, 3));
	(void)membership_gone(m, 3);
	(void)membership_gone(m, 4);
	assert_int_equal(come(m), 4);
	assert_true(membership_is_free(m, 3));
}

static void an_id_that_is_kept_no_longer_queues_up(void **state)
{
	struct membership *m = *state;

	membership_keep(m, 2, true);
	membership_keep(m, 2, false);
	membership_keep(m, 4, true);
	for (unsigned n = 0; n < 3; n++)
		(void)come(m);
	assert_int_equal(come(m), 2); /* at the end, like one that was freed */
	/* While somebody has it, it only matters who gets it next. */
	membership_keep(m, 1, true);
	(void)membership_gone(m, 1);
	(void)membership_connected_as(m, MEMBERSHIP_ANYWHERE, 4);
	membership_keep(m, 4, false);
	(void)membership_gone(m, 4);
	assert_int_equal(come(m), 4);
	assert_int_equal(membership_connected(m, MEMBERSHIP_ANYWHERE).kind, INTENT_REFUSE);
}

static bool is_even(void *argument, uint32_t id)
{
	++*(unsigned *)argument;
	return id % 2 == 0;
}

static void ids_can_be_chosen_among_those_that_are_free(void **state)
{
	struct membership *m = *state;
	unsigned asked = 0;

	assert_int_equal(membership_connected_where(m, MEMBERSHIP_ANYWHERE, is_even, &asked).id, 2);
	assert_int_equal(membership_connected_where(m, MEMBERSHIP_ANYWHERE, is_even, &asked).id, 4);
	assert_int_equal(membership_connected_where(m, MEMBERSHIP_ANYWHERE, is_even, &asked).kind,
		INTENT_REFUSE);
	assert_int_equal(asked, 2 + 3 + 3);
	assert_int_equal(m->refused, 0);
	assert_int_equal(membership_connected_as(m, MEMBERSHIP_ANYWHERE, 5).id, 5);
	(void)membership_gone(m, 4);
	(void)membership_gone(m, 2);
	assert_int_equal(come(m), 1);
	assert_int_equal(come(m), 3);
	assert_int_equal(come(m), 4);
	assert_int_equal(come(m), 2);
}

static void what_only_our_own_bugs_can_do_aborts(void **state)
{
	(void)come(*state);
	assert_true(unit_dies(open_twice, *state));
	assert_true(unit_dies(go_twice, *state));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(ids_are_first_given_in_ascending_order_from_the_first),
		T(a_silent_servers_ids_start_at_zero),
		T(a_full_fabric_refuses_and_counts_it),
		T(those_who_are_still_opening_count_towards_full),
		T(a_full_fabric_takes_the_next_as_soon_as_one_has_gone),
		T(an_id_just_freed_is_the_last_to_be_given_again),
		T(ids_come_back_in_the_order_in_which_they_were_freed),
		T(an_id_freed_while_opening_queues_up_like_any_other),
		T(a_join_is_announced_only_when_its_opening_is_queued),
		T(whoever_goes_while_opening_never_was_there),
		T(a_leave_frees_the_id_and_is_counted),
		T(the_least_loaded_worker_takes_the_newcomer),
		T(a_worker_whose_peer_has_gone_is_the_least_loaded),
		T(those_who_belong_together_come_to_one_worker),
		T(those_who_belong_together_still_meet_after_others_came_and_went),
		T(the_load_of_a_worker_is_the_ids_that_it_serves),
		T(the_largest_fabric_gives_every_id_once),
		T(one_peer_and_one_worker_are_enough),
		T(an_id_that_is_kept_is_given_to_whom_it_is_asked_for_only),
		T(an_id_that_is_kept_no_longer_queues_up),
		T(ids_can_be_chosen_among_those_that_are_free),
		T(what_only_our_own_bugs_can_do_aborts),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
