/* SPDX-License-Identifier: MIT */
/*
 * test_seating.c - which ID a newcomer gets: the one that is kept for it, and none that a
 * stranger could ring.
 */
#include "unit.h"

#include "ledger.h"
#include "seating.h"

enum { FIRST = 1, PEERS = 6, IDS = FIRST + PEERS + 1 };

/* Users, each in a zone of its name. */
enum { A = 1, B = 2, BOTH = 3, NEITHER = 4, REST = 5 };

struct fixture {
	struct state state;
	void *memory;
	struct membership membership;
	struct seating s;
	unsigned long barred[VIEW_HELD_WORDS(IDS)];
	struct zones zones;
	struct binds binds;
	bool zoned, bound, noisy;
	uint32_t own; /* the ID whose socket they come by; 0: none's */
};

static const char zone_text[] = "zone a uid=1\nzone b uid=2\nzone a uid=3\nzone b uid=3\n";

static int set_up(void **state)
{
	static struct fixture x;
	const struct state_wish wish = {.ids_max = IDS,
		.first_id = FIRST,
		.peers = PEERS,
		.server_id = IDS - 1,
		.vectors = 1,
		.workers = 1};
	struct why why;

	x = (struct fixture){.zoned = true};
	x.memory = aligned_alloc(4096, state_bytes(&wish));
	assert_non_null(x.memory);
	memset(x.memory, 0, state_bytes(&wish));
	state_memory_init(&x.state, x.memory, &wish);
	x.s = (struct seating){.membership = &x.membership, .state = &x.state, .barred = x.barred};
	assert_int_equal(
		zones_parse(&x.zones, NULL, 0, "zones", zone_text, strlen(zone_text), &why), 0);
	*state = &x;
	return membership_init(&x.membership, FIRST, PEERS, 1);
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	membership_destroy(&x->membership);
	free(x->memory);
	return 0;
}

static void keep(struct fixture *x, const char *text)
{
	struct why why;

	if (binds_parse(&x->binds, FIRST, PEERS, "ids", text, strlen(text), &why))
		fail_msg("%s", why.text);
	x->bound = true;
	seating_keep(&x->s, &x->binds);
}

static enum seating_says find(struct fixture *x, uint32_t uid, struct seating_found *found)
{
	static const struct qemu_args args = {.name = "vm"};
	const struct seating_wish wish = {
		.zones = x->zoned ? &x->zones : NULL,
		.binds = x->bound ? &x->binds : NULL,
		.uid = uid,
		.args = &args,
		.own = x->own ? x->own : GATES_NOBODY,
		.together = MEMBERSHIP_ANYWHERE,
		.quiet = !x->noisy,
	};

	return seating_find(&x->s, &wish, found);
}

/* Somebody comes, as the registrar does it. Returns its ID. */
static uint32_t come(struct fixture *x, uint32_t uid)
{
	struct client client = {.uid = uid};
	struct ledger_newcomer newcomer = {.client = &client, .sock = 9};
	struct seating_found found;

	assert_int_equal(find(x, uid, &found), SEATING_FOUND);
	newcomer.zones = found.zones;
	x->state.bells[found.intent.id] = 9;
	ledger_take(&x->state, found.intent.id, &newcomer);
	return found.intent.id;
}

static void go(struct fixture *x, uint32_t id)
{
	ledger_closing(&x->state, id);
	ledger_leave(&x->state, id, 0);
	ledger_free(&x->state, id);
	(void)membership_gone(&x->membership, id);
}

/* @who has been told of @id. */
static void told(struct fixture *x, uint32_t who, uint32_t id)
{
	state_held(&x->state, who)[id / VIEW_WORD_BITS] |= 1UL << (id % VIEW_WORD_BITS);
}

static enum seating_says refused(struct fixture *x, uint32_t uid)
{
	struct seating_found found;

	return find(x, uid, &found);
}

/* All IDs are taken by B but the one that A had, which comes free. Returns it. */
static uint32_t one_that_a_had(struct fixture *x)
{
	uint32_t id = come(x, A);

	for (unsigned n = 1; n < PEERS; n++)
		(void)come(x, B);
	assert_int_equal(refused(x, B), SEATING_FULL);
	go(x, id);
	return id;
}

static void without_rules_ids_are_given_in_order_and_everybody_is_a_neighbour(void **state)
{
	struct fixture *x = *state;
	struct seating_found found;

	x->zoned = false;
	x->noisy = true;
	for (uint32_t id = FIRST; id < FIRST + PEERS; id++) {
		assert_int_equal(find(x, id, &found), SEATING_FOUND);
		assert_int_equal(found.intent.id, id);
		assert_true(found.zones == ZONES_ALL);
	}
	assert_int_equal(find(x, A, &found), SEATING_FULL);
}

static void a_peer_is_in_the_zones_that_the_file_says(void **state)
{
	struct fixture *x = *state;
	struct seating_found a, b, both, neither;

	x->noisy = true; /* IDs that nobody had can be given at once */
	assert_int_equal(find(x, A, &a), SEATING_FOUND);
	assert_int_equal(find(x, B, &b), SEATING_FOUND);
	assert_int_equal(find(x, BOTH, &both), SEATING_FOUND);
	assert_int_equal(find(x, NEITHER, &neither), SEATING_FOUND);
	assert_true(a.zones && b.zones && !(a.zones & b.zones));
	assert_true(both.zones == (a.zones | b.zones));
	assert_true(neither.zones == 0);
}

static void an_id_goes_first_to_those_of_the_same_zones(void **state)
{
	struct fixture *x = *state;

	for (unsigned n = 0; n < PEERS; n++)
		(void)come(x, n % 2 ? B : A);
	go(x, 4);
	go(x, 3);
	x->noisy = true;
	assert_int_equal(come(x, A), 3);
	assert_int_equal(come(x, B), 4);
}

static void whoever_holds_an_id_keeps_strangers_from_it_for_as_long_as_it_lives(void **state)
{
	struct fixture *x = *state;
	uint32_t watcher = come(x, A), id = come(x, A);

	for (unsigned n = 2; n < PEERS; n++)
		(void)come(x, B);
	told(x, watcher, id);
	told(x, 5, id - 1); /* of others it may know what it likes */
	go(x, id);
	assert_int_equal(refused(x, B), SEATING_ZONES);
	assert_int_equal(refused(x, NEITHER), SEATING_ZONES);
	/* Its own zone comes back at once. */
	assert_int_equal(come(x, A), id);
	go(x, id);
	/* The watcher is a neighbour of this one, too. */
	assert_int_equal(come(x, BOTH), id);
	go(x, id);
	assert_int_equal(refused(x, B), SEATING_ZONES);
	go(x, watcher);
	assert_int_not_equal(come(x, B), 0);
}

static void what_the_dead_held_keeps_nobody(void **state)
{
	struct fixture *x = *state;
	uint32_t id = one_that_a_had(x);

	told(x, id, id);
	assert_int_equal(come(x, B), id);
}

static void until_all_workers_have_heard_of_a_leave_strangers_wait(void **state)
{
	struct fixture *x = *state;
	uint32_t id = one_that_a_had(x);

	x->noisy = true;
	assert_int_equal(refused(x, B), SEATING_WAIT);
	assert_int_equal(refused(x, NEITHER), SEATING_WAIT);
	assert_int_equal(come(x, A), id);
	go(x, id);
	x->noisy = false;
	assert_int_equal(come(x, B), id);
}

static void zones_may_depend_on_the_id(void **state)
{
	static const char text[] = "zone low ids=1-3\nzone high ids=4-6 uid=2\ndefault-zone rest\n";
	struct fixture *x = *state;
	struct seating_found found;
	struct why why;
	uint64_t seen[IDS] = {0};

	assert_int_equal(zones_parse(&x->zones, NULL, 0, "zones", text, strlen(text), &why), 0);
	for (uint32_t id = FIRST; id < FIRST + PEERS; id++) {
		assert_int_equal(find(x, id == 5 ? A : B, &found), SEATING_FOUND);
		assert_int_equal(found.intent.id, id);
		seen[id] = found.zones;
	}
	assert_true(seen[1] == seen[2] && seen[2] == seen[3] && seen[1]);
	assert_true(seen[4] == seen[6] && seen[4] != seen[1] && seen[4]);
	assert_true(seen[5] == x->zones.otherwise && seen[5]);
}

static void a_bound_id_is_given_to_its_vm_only(void **state)
{
	struct fixture *x = *state;

	x->zoned = false;
	keep(x, "id=1 uid=7\nid=4 name=vm uid=8\n");
	assert_int_equal(come(x, 6), 2);
	assert_int_equal(come(x, 8), 4);
	assert_int_equal(come(x, 6), 3);
	assert_int_equal(come(x, 6), 5);
	assert_int_equal(come(x, 6), 6);
	assert_int_equal(refused(x, 6), SEATING_FULL);
	assert_int_equal(come(x, 7), 1);
	go(x, 1);
	assert_int_equal(refused(x, 6), SEATING_FULL);
	assert_int_equal(come(x, 7), 1);
}

static void a_vm_whose_id_is_taken_waits_for_it(void **state)
{
	struct fixture *x = *state;

	x->zoned = false;
	keep(x, "id=1 uid=7\nid=3 uid=7\n");
	assert_int_equal(come(x, 7), 1);
	assert_int_equal(come(x, 7), 3);
	assert_int_equal(refused(x, 7), SEATING_WAIT);
	go(x, 3);
	assert_int_equal(come(x, 7), 3);
	go(x, 1);
	assert_int_equal(come(x, 7), 1);
}

static void an_id_that_comes_to_be_bound_while_somebody_has_it_is_kept_from_then_on(void **state)
{
	struct fixture *x = *state;

	x->zoned = false;
	assert_int_equal(come(x, 6), 1);
	keep(x, "id=1 uid=7\n");
	assert_int_equal(refused(x, 7), SEATING_WAIT);
	go(x, 1);
	assert_int_equal(come(x, 6), 2);
	assert_int_equal(come(x, 7), 1);
	/* And when the file names it no longer, it queues up. */
	keep(x, "");
	go(x, 1);
	for (uint32_t id = 3; id <= PEERS; id++)
		assert_int_equal(come(x, 6), id);
	assert_int_equal(come(x, 6), 1);
}

static void a_bound_id_is_not_given_where_strangers_hold_it(void **state)
{
	struct fixture *x = *state;
	uint32_t watcher = come(x, A);

	keep(x, "id=2 uid=1\nid=2 uid=2\n");
	assert_int_equal(come(x, A), 2);
	told(x, watcher, 2);
	go(x, 2);
	assert_int_equal(refused(x, B), SEATING_ZONES);
	x->noisy = true;
	assert_int_equal(refused(x, B), SEATING_WAIT);
	assert_int_equal(come(x, A), 2);
	go(x, 2);
	x->noisy = false;
	go(x, watcher);
	assert_int_equal(come(x, B), 2);
}

static void who_comes_by_the_socket_of_an_id_gets_that_one_or_none(void **state)
{
	struct fixture *x = *state;
	struct seating_found found;

	x->zoned = false;
	keep(x, "id=3 socket=/a uid=1\nid=3 name=nobody\nid=4 uid=1\n");
	x->own = 3;
	assert_int_equal(find(x, 2, &found), SEATING_OTHER);
	assert_int_equal(come(x, 1), 3);
	/* Not the other that is kept for it, either. */
	assert_int_equal(find(x, 1, &found), SEATING_WAIT);
	go(x, 3);
	assert_int_equal(come(x, 1), 3);
	x->own = 4;
	assert_int_equal(find(x, 1, &found), SEATING_OTHER);
	/* By the fabric's socket the line means nothing. */
	x->own = 0;
	assert_int_equal(come(x, 1), 4);
	assert_int_equal(find(x, 1, &found), SEATING_WAIT);
}

static void carried_are_the_zones_of_all_ids_that_were_given(void **state)
{
	struct fixture *x = *state;
	uint64_t a, b;

	assert_true(seating_carried(&x->state) == 0);
	(void)come(x, A);
	a = seating_carried(&x->state);
	assert_true(a && !(a & (a - 1)));
	go(x, come(x, B));
	b = seating_carried(&x->state) & ~a;
	assert_true(b && !(b & (b - 1)));
}

/* Whatever happens, nobody who is here holds an ID whose owner is a stranger. */
static void no_order_of_comings_and_goings_gives_an_id_to_a_strangers_holder(void **state)
{
	struct fixture *x = *state;
	unsigned given = 0, waited = 0, strangers = 0;
	uint32_t seed = 7;

	for (unsigned step = 0; step < 100000; step++) {
		uint32_t id = FIRST + (seed >> 8) % PEERS, uid = A + (seed >> 20) % 4;
		struct seating_found found;

		seed = seed * 1103515245u + 12345u;
		x->noisy = seed >> 28 < 3;
		if (ledger_taken(&x->state, id)) {
			go(x, id);
			continue;
		}
		switch (find(x, uid, &found)) {
		case SEATING_FOUND: {
			struct client client = {.uid = uid};
			struct ledger_newcomer n = {
				.client = &client, .sock = 9, .zones = found.zones};

			id = found.intent.id;
			x->state.bells[id] = 9;
			ledger_take(&x->state, id, &n);
			given++;
			break;
		}
		case SEATING_WAIT:
			waited++;
			continue;
		case SEATING_ZONES:
			strangers++;
			continue;
		case SEATING_OTHER:
		case SEATING_FULL:
			continue;
		}
		for (uint32_t p = FIRST; p < FIRST + PEERS; p++) {
			uint64_t zones = atomic_load(&x->state.members[p].zones);

			if (p == id || !ledger_taken(&x->state, p))
				continue;
			if (zones & found.zones) {
				told(x, p, id); /* devices: for good */
				told(x, id, p);
			} else {
				assert_false(state_held(&x->state, p)[0] >> id & 1);
			}
		}
	}
	assert_true(given > 10000 && waited > 100 && strangers > 100);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(without_rules_ids_are_given_in_order_and_everybody_is_a_neighbour),
		T(a_peer_is_in_the_zones_that_the_file_says),
		T(an_id_goes_first_to_those_of_the_same_zones),
		T(whoever_holds_an_id_keeps_strangers_from_it_for_as_long_as_it_lives),
		T(what_the_dead_held_keeps_nobody),
		T(until_all_workers_have_heard_of_a_leave_strangers_wait),
		T(zones_may_depend_on_the_id),
		T(a_bound_id_is_given_to_its_vm_only),
		T(a_vm_whose_id_is_taken_waits_for_it),
		T(an_id_that_comes_to_be_bound_while_somebody_has_it_is_kept_from_then_on),
		T(a_bound_id_is_not_given_where_strangers_hold_it),
		T(who_comes_by_the_socket_of_an_id_gets_that_one_or_none),
		T(carried_are_the_zones_of_all_ids_that_were_given),
		T(no_order_of_comings_and_goings_gives_an_id_to_a_strangers_holder),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
