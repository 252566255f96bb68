/* SPDX-License-Identifier: MIT */
/*
 * test_lane_hostile.c - one lane, both ends stepped by hand, and somebody who scribbles on it.
 */
#include "lane_fixture.h"

/* Sender and receiver go on as peers do, a message a round. Returns the rounds until three in a
 * row came through. Both are asked to do what they do when nothing comes. */
static unsigned rounds_to_heal(void)
{
	static uint32_t number = 1000;
	unsigned rounds = 0, in_a_row = 0;

	for (; in_a_row < 3; rounds++) {
		bool heard = false;
		struct famez_seen m = {0};
		uint64_t bytes = ++number % 300;

		assert_true(rounds < 100);
		if (put(number, bytes) == -EAGAIN) {
			(void)famez_tx_flush(&tx);
			(void)famez_tx_wait(&tx, bytes);
		}
		(void)famez_tx_flush(&tx);
		for (unsigned looks = 0; looks < 1000; looks++) {
			int got = famez_rx_peek(&rx, &m);

			assert_true(got == 0 || got == 1 || got == -EBADMSG);
			if (got == 1) {
				heard = is(&m, number, bytes);
				(void)famez_rx_release(&rx);
			}
			if (got == 0 && !(famez_rx_idle(&rx) & FAMEZ_IDLE_MORE))
				break;
		}
		in_a_row = heard ? in_a_row + 1 : 0;
	}
	return rounds;
}

/* A scribble costs at most so many messages: the ones that lie in the lane, and these. */
enum { HEALED = 3 + 2 };

static void a_head_that_makes_no_sense_is_noticed_counted_and_set_right(void **state)
{
	static const uint32_t lengths[] = {1, 8, 15, PAYLOAD_MAX + 17, LANE / 2, LANE, LANE + 8,
		0x7fffffff, 0x7ffffff8, 0x80000000, 0x80000001, 0x80000008, 0xffffffff, 0x80001000};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(lengths); i++)
		for (uint64_t place = 0; place < LANE; place += 64) {
			struct famez_seen m = {0};
			uint32_t garbled;

			go_to(place);
			send(1, 40);
			send(2, 40);
			*famez_head_at(data(), LANE, place) = lengths[i] | (uint64_t)OLD << 32;
			if (lengths[i] == (FAMEZ_RECORD_PAD | 8) && place == LANE - 8)
				continue;
			garbled = (uint32_t)lane()->garbled;
			assert_int_equal(famez_rx_peek(&rx, &m), -EBADMSG);
			assert_int_equal(lane()->garbled, garbled + 1);
			assert_int_equal(rx.at, lane()->produced);
			send(3, 40);
			expect(3, 40);
			assert_true(rounds_to_heal() <= HEALED);
		}
}

static void a_head_that_was_zeroed_is_noticed_by_the_careful_look(void **state)
{
	(void)state;
	send(1, 40);
	send(2, 40);
	*famez_head_at(data(), LANE, 0) = 0;
	expect_nothing();
	assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_MORE);
	assert_int_equal(lane()->garbled, 1);
	send(3, 40);
	expect(3, 40);
	assert_int_equal(famez_rx_idle(&rx), 0);
}

static void a_length_that_changes_between_two_looks_stays_within_the_lane(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE; place += 64)
		for (uint32_t length = 16; length < LANE; length += 61) {
			struct famez_seen m = {0};

			go_to(place);
			send(1, 40);
			assert_int_equal(famez_rx_peek(&rx, &m), 1);
			*famez_head_at(data(), LANE, rx.at) = length | (uint64_t)OLD << 32;
			if (length & 1) /* it looks again, or goes on with what it saw */
				(void)famez_rx_peek(&rx, &m);
			assert_true((const unsigned char *)m.payload >= data());
			assert_true((const unsigned char *)m.payload + m.bytes <= data() + LANE);
			if (rx.size)
				(void)famez_rx_release(&rx);
			assert_true(rounds_to_heal() <= HEALED);
		}
}

static void false_positions_are_noticed_and_set_right_full_lane_or_not(void **state)
{
	static const int64_t steps[] = {1, 4, 8, 16, 64, 2048, LANE - 8, LANE, LANE + 8,
		INT64_C(2) * LANE, INT64_C(3) * LANE + 16, INT64_C(1) << 31, INT64_C(1) << 32,
		INT64_MAX & ~INT64_C(7), INT64_MAX};

	(void)state;
	for (size_t i = 0; i < 2 * UNIT_COUNT(steps); i++)
		for (unsigned full = 0; full < 2; full++)
			for (unsigned which = 0; which < 3; which++) {
				uint64_t step = (uint64_t)steps[i / 2] * (i % 2 ? -1 : 1);

				go_to(512);
				if (full)
					fill(300);
				if (which != 1)
					lane()->produced += step;
				if (which != 0)
					lane()->consumed += step;
				if (full) /* and there is something to notice it by */
					*famez_head_at(data(), LANE, rx.at) = 3;
				assert_true(rounds_to_heal() <= HEALED);
			}
}

static void a_long_way_from_what_the_sender_says_is_not_followed_to_its_end(void **state)
{
	const uint64_t lane_bytes = UINT64_C(1) << 20;
	struct box large;
	uint64_t *words, at;

	(void)state;
	box_lane(&large, lane_bytes);
	famez_rx_open(&rx, large.base, &large.g, 0, 0, OLD);
	words = (uint64_t *)(void *)famez_lane_data_at(large.base, &large.g, 0, 0);
	at = lane_bytes - 64;
	for (uint64_t place = 0; place < at; place += 16)
		words[place / 8] = 16;
	words[(at - 16) / 8] = 3; /* no record: whoever comes here finds it out */
	rx.at = rx.published = rx.looked = at;
	famez_lane_at(large.base, &large.g, 0, 0)->produced = 0;
	assert_int_equal(famez_rx_idle(&rx), 0);
	assert_int_equal(rx.garbled, 0);
	/* The sender says where it is with its next flush. */
	famez_lane_at(large.base, &large.g, 0, 0)->produced = at + 16;
	assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_MORE);
	assert_int_equal(rx.at, at + 16);
	/* What is near is looked at. */
	famez_lane_at(large.base, &large.g, 0, 0)->produced = at - 64;
	rx.at = at;
	assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_MORE);
	assert_int_equal(rx.at, at - 64);
	box_close(&large);
}

static void a_sender_who_opens_a_garbled_lane_goes_on(void **state)
{
	static const uint64_t words[] = {0, 1, 7, 8, 4096, UINT64_MAX, UINT64_MAX - 7,
		UINT64_C(1) << 63, 0x80000000, 0x8000000080000010, 24, 32, 512};

	(void)state;
	for (size_t p = 0; p < UNIT_COUNT(words); p++)
		for (size_t c = 0; c < UNIT_COUNT(words); c++)
			for (size_t h = 0; h < UNIT_COUNT(words); h++) {
				go_to(0);
				for (uint64_t at = 0; at < LANE; at += 8)
					*famez_head_at(data(), LANE, at) = words[h];
				lane()->produced = words[p];
				lane()->consumed = words[c];
				open_sender(NEW, OLD);
				assert_int_equal(tx.at % 8, 0);
				open_receiver(OLD);
				/* All heads are nonsense, or make a lane full of records. */
				assert_true(rounds_to_heal() <= HEALED + 1);
			}
}

static void scribbled_flags_and_counters_harm_nobody(void **state)
{
	(void)state;
	memset(lane(), 0xff, sizeof(*lane()));
	lane()->produced = lane()->consumed = 0;
	send(1, 40);
	expect(1, 40);
	assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_RING); /* once */
	assert_int_equal(famez_rx_idle(&rx), 0);
	expect_nothing();
}

/* ---- going to where the sender is ---------------------------------------------------------- */

/* Both ends agree on where they are, and go on from there. */
static void expect_in_step(void)
{
	assert_int_equal(rx.at, tx.at);
	assert_int_equal(lane()->consumed, tx.at);
	expect_nothing();
	assert_int_equal(famez_rx_idle(&rx), 0);
	send(9, 40);
	expect(9, 40);
}

/* The careful look finds that something is lost. */
static void expect_set_right(void)
{
	uint64_t garbled = lane()->garbled;

	assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_MORE);
	assert_int_equal(lane()->garbled, garbled + 1);
	expect_in_step();
}

static void what_stands_before_a_zero_is_read_and_what_stands_behind_it_is_lost(void **state)
{
	(void)state;
	send(1, 40);
	assert_int_equal(put(2, 40), 0);
	assert_int_equal(put(3, 40), 0);
	send(4, 40);
	*famez_head_at(data(), LANE, 2 * UINT64_C(56)) = 0; /* amid a batch */
	expect(1, 40);
	expect(2, 40);
	expect_nothing();
	expect_set_right();
}

static void a_full_lane_whose_head_was_zeroed_is_given_back_and_its_sender_rung(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE; place += 8) {
		go_to(place);
		(void)fill(300);
		assert_false(famez_tx_wait(&tx, 300));
		*famez_head_at(data(), LANE, place) = 0;
		assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_MORE | FAMEZ_IDLE_RING);
		expect_in_step();
	}
}

static void what_was_left_where_the_sender_goes_on_is_wiped_and_not_read(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE - 128; place += 8) {
		go_to(place);
		send(1, 40);
		*famez_head_at(data(), LANE, place) = 0;
		*famez_head_at(data(), LANE, tx.at) = 56 | (uint64_t)OLD << 32;
		expect_set_right();
	}
}

static void a_crooked_word_of_the_sender_is_taken_straight(void **state)
{
	(void)state;
	for (uint64_t crooked = 1; crooked < FAMEZ_RECORD_ALIGN; crooked++) {
		go_to(64);
		send(1, 40);
		*famez_head_at(data(), LANE, 64) = 0;
		lane()->produced |= crooked;
		expect_set_right();
	}
}

/* Records all over the lane, as if none had ever been read. */
static void cover(uint32_t to)
{
	for (uint64_t at = 0; at < LANE; at += 16) {
		*famez_head_at(data(), LANE, at) = 16 | (uint64_t)to << 32;
		*famez_head_at(data(), LANE, at + 8) = OLD;
	}
}

static void a_round_of_records_without_an_end_is_read_less_than_twice(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE; place += 16) {
		struct famez_seen m = {0};
		unsigned read = 0;

		go_to(place);
		lane()->garbled = rx.garbled = 0;
		cover(OLD);
		while (famez_rx_peek(&rx, &m) == 1) {
			(void)famez_rx_release(&rx);
			assert_true(++read < 2 * LANE / 16);
		}
		assert_true(read >= LANE / 16); /* they might all have been there */
		assert_int_equal(lane()->garbled, 1);
		expect_in_step();
	}
}

static void a_round_of_strangers_records_is_skipped_less_than_twice(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE; place += 16) {
		unsigned looks = 0;

		go_to(place);
		lane()->garbled = rx.garbled = 0;
		lane()->stale = rx.stale = 0;
		cover(NEW);
		for (; !rx.garbled; looks++) {
			assert_true(looks < 2 * LANE / 16 / FAMEZ_SKIPS_MAX);
			expect_nothing();
		}
		assert_true(lane()->stale >= LANE / 16 && lane()->stale < 2 * LANE / 16);
		assert_int_equal(lane()->garbled, 1);
		expect_in_step();
	}
}

static void a_receiver_that_begins_further_away_than_the_lane_is_long_comes_back(void **state)
{
	static const int64_t away[] = {LANE + 8, INT64_C(2) * LANE, INT64_C(3) * LANE + 512,
		INT64_C(1) << 31, INT64_C(1) << 62};

	(void)state;
	for (size_t i = 0; i < 2 * UNIT_COUNT(away); i++)
		for (unsigned head = 0; head < 2; head++) {
			go_to(512);
			lane()->consumed += (uint64_t)away[i / 2] * (i % 2 ? -1 : 1);
			open_receiver(OLD);
			*famez_head_at(data(), LANE, rx.at) = head ? 56 | (uint64_t)OLD << 32 : 0;
			expect_set_right();
		}
}

static void a_sender_without_room_says_again_where_it_is(void **state)
{
	(void)state;
	(void)fill(300);
	lane()->produced = 7;
	assert_int_equal(put(1, 300), -EAGAIN);
	assert_int_equal(lane()->produced, tx.begun);
	assert_int_equal(tx.garbled, 0);
	/* Its receiver would need this zero to come where it is. */
	*famez_head_at(data(), LANE, tx.begun) = 3;
	lane()->consumed = tx.at + 8;
	assert_int_equal(put(1, 300), -EAGAIN);
	assert_true(tx.garbled > 0);
	assert_int_equal(*famez_head_at(data(), LANE, tx.begun), 0);
}

/* ---- anything ------------------------------------------------------------------------------- */

static uint64_t dice = 1;

static uint64_t roll(uint64_t sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (dice >> 20) % sides;
}

static uint64_t a_word(void)
{
	switch (roll(8)) {
	case 0:
		return 0;
	case 1: /* a head that might be one */
		return (roll(40) * 8 + 16) | (uint64_t)OLD << 32;
	case 2: /* a pad */
		return FAMEZ_RECORD_PAD | roll(LANE / 16) * 8;
	case 3: /* somebody else's */
		return (roll(40) * 8 + 16) | (uint64_t)NEW << 32;
	case 4: /* a position that might be one */
		return (tx.at & ~UINT64_C(7)) + roll(LANE) - LANE / 2;
	case 5:
		return (rx.at & ~UINT64_C(7)) + roll(2 * LANE / 8) * 8 - LANE;
	case 6:
		return roll(64);
	default:
		return dice;
	}
}

static void whatever_was_scribbled_it_heals(void **state)
{
	unsigned worst = 0;

	(void)state;
	for (unsigned round = 0; round < 100000; round++) {
		struct famez_seen m = {0};
		unsigned rounds;

		/* Some messages, some of them read; then the scribbler; then the two go on. */
		for (uint64_t n = roll(8); n > 0; n--)
			(void)put((uint32_t)n, roll(400));
		(void)famez_tx_flush(&tx);
		for (uint64_t n = roll(8); n > 0 && famez_rx_peek(&rx, &m) == 1; n--)
			(void)famez_rx_release(&rx);
		for (uint64_t n = roll(6); n > 0; n--) {
			if (roll(2))
				((uint64_t *)lane())[roll(sizeof(*lane()) / 8)] = a_word();
			else
				((uint64_t *)data())[roll(LANE / 8)] = a_word();
			if (roll(4) == 0)
				(void)famez_rx_idle(&rx);
			if (roll(4) == 0 && famez_rx_peek(&rx, &m) == 1)
				(void)famez_rx_release(&rx);
		}
		if (roll(16) == 0)
			open_sender(OLD, OLD);
		if (roll(16) == 0)
			open_receiver(OLD);
		rounds = rounds_to_heal();
		worst = rounds > worst ? rounds : worst;
	}
	assert_true(worst <= HEALED);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_head_that_makes_no_sense_is_noticed_counted_and_set_right),
		T(a_head_that_was_zeroed_is_noticed_by_the_careful_look),
		T(a_length_that_changes_between_two_looks_stays_within_the_lane),
		T(false_positions_are_noticed_and_set_right_full_lane_or_not),
		T(a_long_way_from_what_the_sender_says_is_not_followed_to_its_end),
		T(a_sender_who_opens_a_garbled_lane_goes_on),
		T(scribbled_flags_and_counters_harm_nobody),
		T(what_stands_before_a_zero_is_read_and_what_stands_behind_it_is_lost),
		T(a_full_lane_whose_head_was_zeroed_is_given_back_and_its_sender_rung),
		T(what_was_left_where_the_sender_goes_on_is_wiped_and_not_read),
		T(a_crooked_word_of_the_sender_is_taken_straight),
		T(a_round_of_records_without_an_end_is_read_less_than_twice),
		T(a_round_of_strangers_records_is_skipped_less_than_twice),
		T(a_receiver_that_begins_further_away_than_the_lane_is_long_comes_back),
		T(a_sender_without_room_says_again_where_it_is),
		T(whatever_was_scribbled_it_heals),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
