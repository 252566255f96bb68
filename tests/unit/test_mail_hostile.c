/* SPDX-License-Identifier: MIT */
/*
 * test_mail_hostile.c - messages of libfamez where somebody scribbles on the file.
 */
#include "mail_fixture.h"

static void a_garbled_lane_is_told_of_and_heals(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_lane *lane;
	struct famez_traffic traffic;
	uint64_t *head;

	assert_int_equal(send_text(a, 2, "lost"), 0);
	assert_int_equal(send_text(a, 2, "lost too"), 0);
	lane = famez_lane_at(fab->base, &fab->g, 2, 1);
	head = (uint64_t *)(void *)famez_lane_data_at(fab->base, &fab->g, 2, 1);
	*head = UINT64_C(0x123456789abcdef);
	assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "found"), 0);
	expect_text(b, 1, "found");
	/* A head that vanished; nobody reads it, but `produced` tells. */
	assert_int_equal(send_text(a, 2, "lost again"), 0);
	head = (uint64_t *)(void *)(famez_lane_data_at(fab->base, &fab->g, 2, 1) +
				    (lane->produced - 32));
	*head = 0;
	assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "found again"), 0);
	expect_text(b, 1, "found again");
	assert_int_equal(famez_traffic(b, 1, 2, &traffic), 0);
	assert_int_equal(traffic.garbled, 2);
}

static void a_scribbled_position_of_the_receiver_does_not_hurt_the_sender(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_lane *lane;
	unsigned count;

	lane = famez_lane_at(fab->base, &fab->g, 2, 1);
	assert_int_equal(send_text(a, 2, "before"), 0);
	expect_text(b, 1, "before");
	count = fill(a, 2, 100);
	for (unsigned i = 0; i < 4; i++) {
		lane->consumed = (const uint64_t[]){UINT64_MAX, 3, 1 << 30, UINT64_C(1) << 63}[i];
		assert_int_equal(send_zeros(a, 2, 100, 0), -EAGAIN);
	}
	assert_int_equal(drain(b), count);
	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "y"), 0);
	expect_text(b, 1, "y");
}

static void a_scribbled_sleeper_wakes_all_the_same(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_event event;
	unsigned kinds = 0;

	/* It sleeps, and somebody says that it does not; the bit is wiped out too. */
	expect_nothing(b);
	famez_inbox_at(fab->base, &fab->g, 2)->asleep[0] = 0;
	assert_int_equal(send_text(a, 2, "late"), 0);
	*famez_bitmap_at(fab->base, &fab->g, 2, 1) = 0;
	assert_false(readable(famez_fd(b)));
	while (!kinds) {
		wait_readable(a);
		expect_nothing(a);
		wait_readable(b);
		while (famez_next(b, &event) == 1) {
			assert_int_equal(event.kind, FAMEZ_EVENT_MESSAGE);
			expect_text(b, 1, "late");
			kinds++;
		}
	}
	assert_int_equal(kinds, 1);
}

static void our_own_entry_is_set_right_when_somebody_scribbles_on_it(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_entry *e, good;
	uint64_t heartbeat;

	e = famez_entry_at(fab->base, &fab->g, 1);
	good = *e;
	assert_int_equal(send_text(b, 1, "x"), 0);
	expect_text(a, 2, "x");
	e->join = e->generation = e->speaks = 0;
	heartbeat = e->heartbeat;
	assert_int_equal(send_text(b, 1, "y"), -EOPNOTSUPP);
	do {
		wait_readable(a);
		expect_nothing(a);
	} while (e->heartbeat == heartbeat);
	assert_int_equal(e->join, good.join);
	assert_int_equal(e->generation, good.generation);
	assert_int_equal(e->speaks, good.speaks);
	assert_int_equal(send_text(b, 1, "x"), 0);
}

static void who_is_never_idle_still_shows_that_it_lives(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez_message m;
	struct famez_who who;
	uint64_t heartbeat;

	assert_int_equal(famez_who(a, 1, &who), 0);
	heartbeat = who.heartbeat;
	while (who.heartbeat == heartbeat) { /* ends, or the test's guard ends it */
		assert_int_equal(famez_peek(a, &m), 0);
		assert_int_equal(famez_who(a, 1, &who), 0);
	}
}

static void any_word_in_the_file_may_be_anything(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = 1 << 18});
	struct famez *f[3];
	unsigned seed = 20261122;

	fprintf(stderr, "seed %u\n", seed);
	for (uint16_t id = 1; id <= 3; id++)
		f[id - 1] = fabric_member(fab, id);
	for (unsigned round = 0; round < 30000; round++) {
		uint64_t *words = fab->base;
		struct famez *one = f[rand_r(&seed) % 3];
		struct famez_event event;
		struct famez_message m;
		struct famez_who who;
		char into[64] = {0};

		for (unsigned i = rand_r(&seed) % 4; i; i--) {
			/* Mostly where something stands. */
			uint64_t at = rand_r(&seed) % 2 ? rand_r(&seed) % (fab->g.bytes / 8)
							: rand_r(&seed) % (fab->g.data_offset / 8);
			uint64_t bit = UINT64_C(1) << (rand_r(&seed) % 64);

			words[at] = rand_r(&seed) % 2 ? words[at] ^ bit : bit - 1;
		}
		(void)famez_send(one, &(struct famez_to){.peer = (uint16_t)(rand_r(&seed) % 6)},
			into, (size_t)rand_r(&seed) % sizeof(into), rand_r(&seed) % 2, 0);
		(void)famez_recv(one, &m, into, sizeof(into), 0);
		(void)famez_who(one, (uint16_t)(rand_r(&seed) % 7), &who);
		for (unsigned i = 0; i < 8 && famez_next(one, &event) == 1; i++)
			;
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_garbled_lane_is_told_of_and_heals),
		T(a_scribbled_position_of_the_receiver_does_not_hurt_the_sender),
		T(a_scribbled_sleeper_wakes_all_the_same),
		T(our_own_entry_is_set_right_when_somebody_scribbles_on_it),
		T(who_is_never_idle_still_shows_that_it_lives),
		T(any_word_in_the_file_may_be_anything),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
