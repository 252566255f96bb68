/* SPDX-License-Identifier: MIT */
/*
 * test_inbox.c - one receiver and the lanes of many senders, stepped by hand: who comes into hand
 * and goes out of it, whose turn it is, when it may sleep and who is rung.
 */
#include "unit.h"

#include "../lanes/box.h"

enum { IDS = 70, ME = 69, LANE = 256 }; /* more than one word of bits */

static struct box box;
static struct famez_tx tx[IDS];
static struct famez_rx rx[IDS];
static struct famez_inbox_reader inbox;
static unsigned opened[IDS], rung[IDS];
static bool cannot_open[IDS];

static struct famez_rx *open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	assert_ptr_equal(r, &inbox);
	assert_true(sender < IDS);
	opened[sender]++;
	return cannot_open[sender] ? NULL : &rx[sender];
}

static void ring(struct famez_inbox_reader *r, uint32_t sender)
{
	assert_ptr_equal(r, &inbox);
	rung[sender]++;
}

static int set_up(void **state)
{
	(void)state;
	box_fabric(&box, IDS, LANE);
	for (uint32_t s = 0; s < IDS; s++) {
		famez_tx_open(&tx[s], box.base, &box.g, ME, s, 1, 1);
		famez_rx_open(&rx[s], box.base, &box.g, ME, s, 1);
	}
	inbox = (struct famez_inbox_reader){.base = box.base,
		.g = &box.g,
		.id = ME,
		.shards = 1,
		.open = open_lane,
		.ring = ring};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	box_close(&box);
	return 0;
}

static bool marked(uint32_t sender)
{
	return *famez_bitmap_at(box.base, &box.g, ME, sender) >> (sender % 64) & 1;
}

static uint32_t *asleep(void)
{
	return famez_asleep_at(box.base, &box.g, ME, 0);
}

static void put(uint32_t sender, uint64_t word)
{
	void *payload = NULL;

	assert_int_equal(famez_tx_claim(&tx[sender], sizeof(word), &payload), 0);
	if (!payload)
		abort();
	memcpy(payload, &word, sizeof(word));
	famez_tx_commit(&tx[sender], sizeof(word), 0, (uint16_t)sender);
	assert_true(famez_tx_flush(&tx[sender]));
}

static bool nudge(uint32_t sender)
{
	return famez_nudge(box.base, &box.g, ME, sender, &tx[sender].rung);
}

/* True: the receiver is to be rung. */
static bool send(uint32_t sender, uint64_t word)
{
	put(sender, word);
	return nudge(sender);
}

/* The sender of the next message; -1: there is none. */
static int next(uint64_t *word)
{
	struct famez_seen m = {0};
	struct famez_rx *lane = NULL;
	int got = famez_inbox_next(&inbox, &m, &lane);

	assert_true(got >= 0);
	if (!got || !lane || !m.payload)
		return -1;
	assert_int_equal(m.bytes, sizeof(*word));
	assert_int_equal(m.origin, lane->sender);
	memcpy(word, m.payload, sizeof(*word));
	famez_inbox_release(&inbox, lane);
	return (int)lane->sender;
}

static void expect(uint32_t sender, uint64_t word)
{
	uint64_t got = 0;

	assert_int_equal(next(&got), sender);
	assert_int_equal(got, word);
}

static void expect_nothing(void)
{
	uint64_t got;

	assert_int_equal(next(&got), -1);
}

/* ---- into hand, and out of it ------------------------------------------------------------------
 */

static void a_lane_comes_into_hand_by_its_bit(void **state)
{
	(void)state;
	send(3, 33);
	send(68, 6868);
	expect_nothing();
	assert_int_equal(famez_inbox_collect(&inbox), 2);
	assert_int_equal(famez_inbox_collect(&inbox), 0);
	expect(3, 33);
	expect(68, 6868);
	expect_nothing();
}

static void a_lane_in_hand_keeps_its_bit_and_is_looked_at_without_it(void **state)
{
	(void)state;
	send(3, 1);
	assert_int_equal(famez_inbox_collect(&inbox), 1);
	expect(3, 1);
	assert_true(marked(3));
	put(3, 2); /* nobody is told */
	expect(3, 2);
}

static void a_lane_that_stays_empty_goes_out_of_hand_and_comes_again(void **state)
{
	(void)state;
	send(3, 1);
	send(4, 1);
	assert_int_equal(famez_inbox_collect(&inbox), 2);
	for (unsigned looks = 0; looks < 3 * FAMEZ_EMPTY_MAX; looks++) {
		uint64_t word;

		put(4, looks);
		while (next(&word) >= 0)
			;
	}
	assert_int_equal(inbox.in_hand, 1);
	assert_false(marked(3));
	assert_true(marked(4));
	put(3, 2);
	expect_nothing(); /* its sender has yet to say so */
	assert_false(nudge(3));
	assert_int_equal(famez_inbox_collect(&inbox), 1);
	expect(3, 2);
}

static void a_lane_with_something_in_it_is_not_let_go_of(void **state)
{
	(void)state;
	send(3, 1);
	assert_int_equal(famez_inbox_collect(&inbox), 1);
	rx[3].empty = FAMEZ_EMPTY_MAX - 1;
	assert_true(famez_inbox_let_go(&inbox)); /* as if it had come between C1 and C2 */
	assert_int_equal(inbox.in_hand, 1);
	expect(3, 1);
}

static void all_lanes_go_out_of_hand_one_after_the_other(void **state)
{
	uint64_t word;

	(void)state;
	for (uint32_t s = 0; s < IDS; s++)
		send(s, s);
	assert_int_equal(famez_inbox_collect(&inbox), IDS);
	for (unsigned looks = 0; looks < 200 * FAMEZ_EMPTY_MAX && inbox.in_hand; looks++)
		(void)next(&word);
	assert_int_equal(inbox.in_hand, 0);
	assert_null(inbox.last);
	for (uint32_t s = 0; s < IDS; s++) {
		assert_false(marked(s));
		assert_false(rx[s].in_hand);
	}
	expect_nothing();
	assert_false(famez_inbox_sleep(&inbox));
}

static void a_lane_can_be_dropped_wherever_it_stands(void **state)
{
	(void)state;
	for (uint32_t drop = 0; drop < 5; drop++)
		for (uint32_t turn = 0; turn < 5; turn++) {
			uint64_t word;

			for (uint32_t s = 0; s < 5; s++)
				famez_inbox_take(&inbox, &rx[s]);
			for (uint32_t n = 0; n < turn; n++)
				inbox.last = inbox.last->next;
			famez_inbox_drop(&inbox, &rx[drop]);
			famez_inbox_drop(&inbox, &rx[drop]);
			assert_int_equal(inbox.in_hand, 4);
			for (uint32_t s = 0; s < 5; s++)
				put(s, s);
			for (uint32_t n = 0; n < 4; n++)
				assert_int_not_equal(next(&word), drop);
			expect_nothing();
			for (uint32_t s = 0; s < 5; s++)
				famez_inbox_drop(&inbox, &rx[s]);
			assert_null(inbox.last);
			famez_inbox_take(&inbox, &rx[drop]);
			expect(drop, drop);
			famez_inbox_drop(&inbox, &rx[drop]);
		}
}

/* ---- turns ------------------------------------------------------------------------------------
 */

static void who_has_much_to_say_does_not_keep_others_waiting(void **state)
{
	unsigned in_a_row = 0;
	uint64_t word;

	(void)state;
	send(1, 0);
	send(2, 0);
	assert_int_equal(famez_inbox_collect(&inbox), 2);
	for (unsigned n = 0; n < 10000; n++) {
		int from;

		put(1, n);
		from = next(&word);
		if (from == 2)
			break;
		assert_int_equal(from, 1);
		in_a_row++;
	}
	assert_true(in_a_row <= FAMEZ_TURN_BYTES / sizeof(struct famez_record));
}

static void a_single_lane_is_read_on_when_its_turn_is_over(void **state)
{
	(void)state;
	send(1, 0);
	assert_int_equal(famez_inbox_collect(&inbox), 1);
	expect(1, 0);
	for (unsigned n = 1; n < (size_t)5 * FAMEZ_TURN_BYTES / sizeof(struct famez_record); n++) {
		put(1, n);
		expect(1, n);
	}
}

/* ---- sleep ------------------------------------------------------------------------------------
 */

static void one_with_messages_does_not_fall_asleep(void **state)
{
	(void)state;
	send(3, 1);
	assert_true(famez_inbox_sleep(&inbox)); /* by its bit */
	assert_int_equal(*asleep(), 0);
	expect(3, 1);
	put(3, 2);
	assert_true(famez_inbox_sleep(&inbox)); /* in hand */
	assert_int_equal(*asleep(), 0);
	expect(3, 2);
	assert_false(famez_inbox_sleep(&inbox));
	assert_int_not_equal(*asleep(), 0);
	famez_inbox_awake(&inbox);
	assert_int_equal(*asleep(), 0);
}

static void who_is_awake_is_not_rung_and_a_sleeper_once_by_each(void **state)
{
	(void)state;
	assert_false(send(1, 0));
	assert_true(famez_inbox_sleep(&inbox));
	expect(1, 0);
	for (unsigned sleeps = 0; sleeps < 3 * FAMEZ_EMPTY_MAX; sleeps++) {
		assert_false(famez_inbox_sleep(&inbox));
		assert_true(send(1, 1));
		assert_false(send(1, 2));
		assert_true(send(2, 3));
		assert_false(send(2, 4));
		famez_inbox_awake(&inbox);
		(void)famez_inbox_collect(&inbox);
		for (unsigned n = 0; n < 4; n++) {
			uint64_t word;

			assert_true(next(&word) >= 0);
		}
	}
}

static void a_reader_who_comes_anew_is_rung_though_the_last_one_slept(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		assert_false(famez_inbox_sleep(&inbox));
		if (n < 2)
			famez_inbox_awake(&inbox);
	}
	/* It died asleep; a sender rings for that sleep. The next one counts on from there. */
	assert_true(send(1, 0));
	inbox.last = NULL;
	inbox.in_hand = 0;
	inbox.asleep = false;
	inbox.sleep = *asleep();
	assert_true(famez_inbox_sleep(&inbox));
	expect(1, 0);
	assert_false(famez_inbox_sleep(&inbox));
	assert_true(send(1, 1));
}

static void sleeps_are_never_numbered_zero(void **state)
{
	(void)state;
	inbox.sleep = UINT32_MAX - 1;
	for (unsigned n = 0; n < 3; n++) {
		assert_false(famez_inbox_sleep(&inbox));
		assert_int_not_equal(*asleep(), 0);
		famez_inbox_awake(&inbox);
	}
}

static void lanes_go_out_of_hand_in_sleep_too(void **state)
{
	(void)state;
	send(3, 1);
	assert_true(famez_inbox_sleep(&inbox));
	expect(3, 1);
	for (unsigned n = 0; n < FAMEZ_EMPTY_MAX; n++) {
		assert_false(famez_inbox_sleep(&inbox));
		famez_inbox_awake(&inbox);
	}
	assert_int_equal(inbox.in_hand, 0);
	assert_false(marked(3));
	assert_false(famez_inbox_sleep(&inbox));
	assert_true(send(3, 2));
	famez_inbox_awake(&inbox);
	assert_int_equal(famez_inbox_collect(&inbox), 1);
	expect(3, 2);
}

static void a_sender_who_waits_for_room_is_rung(void **state)
{
	void *payload;
	uint64_t word;

	(void)state;
	send(3, 0);
	while (famez_tx_claim(&tx[3], 100, &payload) == 0) {
		memset(payload, 0, 100);
		famez_tx_commit(&tx[3], 8, 0, 3);
	}
	(void)famez_tx_flush(&tx[3]);
	assert_false(famez_tx_wait(&tx[3], 100));
	(void)famez_inbox_collect(&inbox);
	while (next(&word) >= 0)
		;
	while (famez_inbox_sleep(&inbox))
		;
	assert_int_equal(rung[3], 1);
	assert_true(famez_tx_wait(&tx[3], 100));
}

/* ---- shards ------------------------------------------------------------------------------------
 */

static void a_shard_has_its_own_senders_and_its_own_sleep(void **state)
{
	(void)state;
	box.g.server_id = ME;
	box.g.server_shards = 3;
	inbox.shards = 3;
	inbox.shard = 1;
	for (uint32_t s = 0; s < 9; s++)
		assert_false(send(s, s));
	assert_int_equal(famez_inbox_collect(&inbox), 3);
	expect(1, 1);
	expect(4, 4);
	expect(7, 7);
	assert_false(famez_inbox_sleep(&inbox));
	for (uint32_t s = 0; s < 9; s++)
		assert_int_equal(send(s, s), s % 3 == 1);
	famez_inbox_awake(&inbox);
	for (uint32_t s = 0; s < 9; s++)
		assert_int_equal(marked(s), 1);
}

/* ---- scribblers --------------------------------------------------------------------------------
 */

static void bits_of_nobody_and_of_who_cannot_be_heard_are_passed_over(void **state)
{
	uint64_t *words = famez_bitmap_at(box.base, &box.g, ME, 0);

	(void)state;
	words[0] = words[1] = UINT64_MAX;
	memset(cannot_open, true, sizeof(cannot_open));
	cannot_open[5] = false;
	for (unsigned n = 0; n < 3; n++)
		(void)famez_inbox_collect(&inbox);
	assert_int_equal(inbox.in_hand, 1);
	assert_false(famez_inbox_sleep(&inbox));
	memset(cannot_open, false, sizeof(cannot_open));
}

static void a_scribbled_inbox_delays_a_message_until_the_next_tick_at_most(void **state)
{
	(void)state;
	/* The sleep, the bit, both; or the number of the sleep to come. */
	for (unsigned what = 0; what < 4; what++) {
		if (what == 3) {
			*asleep() = inbox.sleep + 1;
			(void)nudge(3);
		}
		assert_false(famez_inbox_sleep(&inbox));
		if (what == 0 || what == 2)
			*asleep() = 0;
		put(3, what);
		if (what != 1)
			assert_false(nudge(3));
		if (what == 1)
			assert_true(nudge(3)); /* but that ring is not heard */
		if (what == 1 || what == 2)
			memset(famez_inbox_at(box.base, &box.g, ME), 0, box.g.inbox_bytes);
		/* The tick of the sender, who has something unread: it forgets for which sleep it
		 * has rung; and the receiver's: it is up again. */
		assert_true(famez_tx_unread(&tx[3]));
		tx[3].rung = 0;
		(void)nudge(3);
		famez_inbox_awake(&inbox);
		assert_true(famez_inbox_sleep(&inbox));
		expect(3, what);
	}
}

static void a_garbled_lane_is_told_of_and_the_others_flow_on(void **state)
{
	struct famez_seen m = {0};
	struct famez_rx *lane = NULL;

	(void)state;
	for (uint32_t s = 1; s <= 3; s++)
		send(s, s);
	*famez_head_at(rx[2].data, LANE, 0) = 3;
	assert_int_equal(famez_inbox_collect(&inbox), 3);
	expect(1, 1);
	assert_int_equal(famez_inbox_next(&inbox, &m, &lane), -EBADMSG);
	assert_ptr_equal(lane, &rx[2]);
	expect(3, 3);
	expect_nothing();
	for (uint32_t s = 1; s <= 3; s++)
		put(s, s + 10);
	for (uint32_t n = 1; n <= 3; n++) {
		uint64_t word;
		int from = next(&word);

		assert_true(from >= 1 && word == (uint64_t)from + 10);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_lane_comes_into_hand_by_its_bit),
		T(a_lane_in_hand_keeps_its_bit_and_is_looked_at_without_it),
		T(a_lane_that_stays_empty_goes_out_of_hand_and_comes_again),
		T(a_lane_with_something_in_it_is_not_let_go_of),
		T(all_lanes_go_out_of_hand_one_after_the_other),
		T(a_lane_can_be_dropped_wherever_it_stands),
		T(who_has_much_to_say_does_not_keep_others_waiting),
		T(a_single_lane_is_read_on_when_its_turn_is_over),
		T(one_with_messages_does_not_fall_asleep),
		T(who_is_awake_is_not_rung_and_a_sleeper_once_by_each),
		T(a_reader_who_comes_anew_is_rung_though_the_last_one_slept),
		T(sleeps_are_never_numbered_zero),
		T(lanes_go_out_of_hand_in_sleep_too),
		T(a_sender_who_waits_for_room_is_rung),
		T(a_shard_has_its_own_senders_and_its_own_sleep),
		T(bits_of_nobody_and_of_who_cannot_be_heard_are_passed_over),
		T(a_scribbled_inbox_delays_a_message_until_the_next_tick_at_most),
		T(a_garbled_lane_is_told_of_and_the_others_flow_on),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
