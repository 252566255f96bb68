/* SPDX-License-Identifier: MIT */
/*
 * test_lane.c - one lane, both ends stepped by hand: sizes, offsets, full lanes, batches, senders
 * and receivers that die and come anew, and scribblers.
 *
 * The lane is mapped exactly: a read or write outside of it kills the test.
 */
#include "unit.h"

#include "../lanes/box.h"

enum { LANE = 4096, OLD = 7, NEW = 8 }; /* generations */

#define PAYLOAD_MAX (LANE / 2 - 8 - 16)

static struct box box;
static struct famez_tx tx;
static struct famez_rx rx;

static struct famez_lane *lane(void)
{
	return famez_lane_at(box.base, &box.g, 0, 0);
}

static unsigned char *data(void)
{
	return famez_lane_data_at(box.base, &box.g, 0, 0);
}

static void open_sender(uint32_t from, uint32_t to)
{
	famez_tx_open(&tx, box.base, &box.g, 0, 0, from, to);
}

static void open_receiver(uint32_t to)
{
	famez_rx_open(&rx, box.base, &box.g, 0, 0, to);
}

static int set_up(void **state)
{
	(void)state;
	box_lane(&box, LANE);
	open_sender(OLD, OLD);
	open_receiver(OLD);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	box_close(&box);
	return 0;
}

/* ---- messages that say what they are ------------------------------------------------------ */

static unsigned char byte_of(uint32_t number, uint64_t i)
{
	return (unsigned char)((uint64_t)number * 31 + i * 7 + 1);
}

/* There is room for this. */
static unsigned char *claim(uint64_t bytes)
{
	void *payload = NULL;

	assert_int_equal(famez_tx_claim(&tx, bytes, &payload), 0);
	if (!payload)
		abort();
	return payload;
}

static int put(uint32_t number, uint64_t bytes)
{
	void *payload;
	int err = famez_tx_claim(&tx, bytes, &payload);

	if (err)
		return err;
	assert_int_equal((uintptr_t)payload % 8, 0);
	for (uint64_t i = 0; i < bytes; i++)
		((unsigned char *)payload)[i] = byte_of(number, i);
	famez_tx_commit(&tx, bytes, FAMEZ_KIND(FAMEZ_TYPE_GROUP, number & 0xfff), (uint16_t)number);
	return 0;
}

static void send(uint32_t number, uint64_t bytes)
{
	assert_int_equal(put(number, bytes), 0);
	assert_true(famez_tx_flush(&tx));
}

static bool is(const struct famez_seen *m, uint32_t number, uint64_t bytes)
{
	if (m->bytes != bytes || m->kind != FAMEZ_KIND(FAMEZ_TYPE_GROUP, number & 0xfff) ||
		m->origin != (uint16_t)number)
		return false;
	for (uint64_t i = 0; i < bytes; i++)
		if (((const unsigned char *)m->payload)[i] != byte_of(number, i))
			return false;
	return true;
}

static void expect(uint32_t number, uint64_t bytes)
{
	struct famez_seen m = {0};

	assert_int_equal(famez_rx_peek(&rx, &m), 1);
	assert_true(is(&m, number, bytes));
	(void)famez_rx_release(&rx);
}

static void expect_nothing(void)
{
	struct famez_seen m = {0};

	assert_int_equal(famez_rx_peek(&rx, &m), 0);
}

/* The lane, empty and sound, with its next record at this place. */
static void go_to(uint64_t place)
{
	lane()->produced = lane()->consumed = 5 * (uint64_t)LANE + place;
	memset(data(), 0xff, LANE);
	memset(data() + place, 0, 8);
	open_sender(OLD, OLD);
	open_receiver(OLD);
	assert_int_equal(tx.garbled, 0);
}

/* ---- what works ------------------------------------------------------------------------------ */

static void a_message_comes_out_as_it_went_in(void **state)
{
	struct famez_seen m = {0};

	(void)state;
	send(3, 100);
	assert_int_equal(famez_rx_peek(&rx, &m), 1);
	assert_true(is(&m, 3, 100));
	assert_int_equal(m.from, OLD);
	assert_int_equal(FAMEZ_KIND_TYPE(m.kind), FAMEZ_TYPE_GROUP);
	assert_int_equal(FAMEZ_KIND_GROUP(m.kind), 3);
	assert_int_equal(famez_rx_peek(&rx, &m), 1); /* a peek takes nothing */
	assert_true(is(&m, 3, 100));
	(void)famez_rx_release(&rx);
	expect_nothing();
}

static void a_batch_is_seen_as_a_whole_once_it_is_flushed(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < 20; n++) {
		assert_int_equal(put(n, n), 0);
		expect_nothing();
		assert_int_equal(famez_rx_idle(&rx), 0);
		assert_int_equal(lane()->produced, 0);
	}
	assert_true(famez_tx_unpublished(&tx) > 0);
	assert_true(famez_tx_flush(&tx));
	assert_int_equal(famez_tx_unpublished(&tx), 0);
	for (uint32_t n = 0; n < 20; n++)
		expect(n, n);
	expect_nothing();
	assert_false(famez_tx_flush(&tx));
}

static void every_size_fits_at_every_place(void **state)
{
	static const uint32_t sizes[] = {0, 1, 7, 8, 9, 100, 1000, PAYLOAD_MAX - 8, PAYLOAD_MAX - 7,
		PAYLOAD_MAX - 1, PAYLOAD_MAX};

	(void)state;
	assert_int_equal(famez_payload_max(&box.g), PAYLOAD_MAX);
	for (uint64_t place = 0; place < LANE; place += 8)
		for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
			go_to(place);
			send((uint32_t)i, sizes[i]);
			expect((uint32_t)i, sizes[i]);
			send(99, 5);
			expect(99, 5);
			expect_nothing();
			assert_int_equal(famez_rx_idle(&rx), 0);
			assert_int_equal(rx.garbled, 0);
		}
}

static void a_stream_of_all_sizes_goes_round_and_round(void **state)
{
	uint32_t sent = 0, heard = 0;

	(void)state;
	while (heard < 3 * PAYLOAD_MAX) {
		while (sent < 3 * PAYLOAD_MAX && put(sent, sent % (PAYLOAD_MAX + 1)) == 0)
			sent++;
		(void)famez_tx_flush(&tx);
		while (heard < sent) {
			expect(heard, heard % (PAYLOAD_MAX + 1));
			heard++;
		}
		expect_nothing();
	}
	assert_int_equal(rx.garbled + tx.garbled, 0);
	assert_int_equal(rx.messages, heard);
}

static void what_is_larger_than_half_a_lane_is_refused(void **state)
{
	void *payload = &payload;

	(void)state;
	assert_int_equal(famez_tx_claim(&tx, PAYLOAD_MAX + 1, &payload), -EMSGSIZE);
	assert_int_equal(famez_tx_claim(&tx, LANE, &payload), -EMSGSIZE);
	assert_int_equal(famez_tx_claim(&tx, UINT64_C(1) << 32, &payload), -EMSGSIZE);
	assert_int_equal(famez_tx_claim(&tx, UINT64_MAX, &payload), -EMSGSIZE);
	assert_int_equal(famez_tx_claim(&tx, UINT64_MAX - 15, &payload), -EMSGSIZE);
	assert_ptr_equal(payload, &payload);
	assert_false(famez_tx_flush(&tx));
	send(1, PAYLOAD_MAX);
	expect(1, PAYLOAD_MAX);
}

static void less_may_be_committed_than_was_claimed(void **state)
{
	unsigned char *payload = claim(PAYLOAD_MAX);

	(void)state;
	memset(payload, 0xee, PAYLOAD_MAX);
	for (uint64_t i = 0; i < 10; i++)
		payload[i] = byte_of(4, i);
	famez_tx_commit(&tx, 10, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 4), 4);
	send(5, 20);
	expect(4, 10);
	expect(5, 20);
	expect_nothing();
}

static void a_claim_that_is_not_committed_is_forgotten(void **state)
{
	(void)state;
	go_to(LANE - 64); /* with a pad before it */
	memset(claim(500), 0xee, 500);
	(void)famez_tx_flush(&tx);
	expect_nothing();
	send(1, 30);
	expect(1, 30);
	expect_nothing();
}

static void anyone_can_read_the_counters(void **state)
{
	(void)state;
	send(1, 10);
	send(2, 20);
	assert_int_equal(lane()->messages, 2);
	assert_int_equal(lane()->payload_bytes, 30);
	assert_int_equal(lane()->produced, 32 + 40);
	open_sender(NEW, OLD);
	send(3, 5);
	assert_int_equal(lane()->messages, 3);
	assert_int_equal(lane()->payload_bytes, 35);
	expect(1, 10);
	expect(2, 20);
	(void)famez_rx_idle(&rx);
	assert_int_equal(lane()->consumed, 32 + 40);
	assert_true(famez_tx_unread(&tx));
	expect(3, 5);
	(void)famez_rx_idle(&rx);
	assert_false(famez_tx_unread(&tx));
}

/* ---- full lanes ------------------------------------------------------------------------------ */

static uint32_t fill(uint64_t bytes)
{
	uint32_t n = 0;
	int err;

	while ((err = put(n, bytes)) == 0)
		n++;
	assert_int_equal(err, -EAGAIN);
	(void)famez_tx_flush(&tx);
	return n;
}

static void a_full_lane_refuses_and_keeps_what_it_holds(void **state)
{
	(void)state;
	for (uint64_t bytes = 0; bytes <= PAYLOAD_MAX; bytes += 13) {
		uint32_t count;

		go_to(bytes * 8 % LANE);
		count = fill(bytes);
		assert_int_equal(put(99, bytes), -EAGAIN);
		assert_int_equal(put(99, bytes), -EAGAIN);
		assert_true(count >= 1);
		assert_false(famez_tx_wait(&tx, bytes));
		assert_true(lane()->full >= 3);
		for (uint32_t n = 0; n < count; n++)
			expect(n, bytes);
		expect_nothing();
	}
}

static void a_waiting_sender_is_rung_when_half_was_read_or_all(void **state)
{
	uint32_t count = fill(100), rings = 0, half = 0;
	struct famez_seen m = {0};

	(void)state;
	assert_false(famez_tx_wait(&tx, 100));
	for (uint32_t n = 0; n < count; n++) {
		assert_int_equal(famez_rx_peek(&rx, &m), 1);
		if (famez_rx_release(&rx)) {
			rings++;
			half = n;
		}
	}
	assert_int_equal(rings, 1);
	assert_true(half >= count / 2 - 1 && half <= count / 2 + 1);
	assert_int_equal(lane()->waiting, 0);
	assert_int_equal(put(50, 100), 0);
	/* And again, this time by the look that finds no more. */
	(void)fill(100);
	assert_false(famez_tx_wait(&tx, 100));
	expect(50, 100);
	assert_int_equal(lane()->waiting, 1);
	assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_MORE | FAMEZ_IDLE_RING);
	assert_int_equal(lane()->waiting, 0);
}

static void one_who_asks_to_wait_while_there_is_room_need_not(void **state)
{
	(void)state;
	assert_true(famez_tx_wait(&tx, PAYLOAD_MAX));
	fill(100);
	while (famez_rx_peek(&rx, &(struct famez_seen){0}) == 1)
		(void)famez_rx_release(&rx);
	assert_true(famez_tx_wait(&tx, PAYLOAD_MAX));
}

/* The rule of the quarter: it holds over pads and over records for somebody else, too. Nobody
 * takes a careful look here. */
static void a_sender_finds_room_once_all_was_read_though_nobody_says_so(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE; place += 8)
		for (uint64_t bytes = 0; bytes <= PAYLOAD_MAX; bytes += 253) {
			go_to(place);
			for (uint32_t n = 0; n < 12; n++) {
				tx.to = n % 3 ? NEW : OLD; /* most are a stranger's */
				if (put(n, bytes) == -EAGAIN) {
					/* A pad was what there was room for; then once more. */
					assert_true(famez_tx_flush(&tx));
					expect_nothing();
					assert_int_equal(put(n, bytes), 0);
				}
				assert_true(famez_tx_flush(&tx));
				if (n % 3 == 0)
					expect(n, bytes);
				expect_nothing();
				assert_true(rx.at - lane()->consumed < LANE / 4);
			}
		}
}

/* ---- death and the next owner ------------------------------------------------------------------
 */

/* What lies in the file when the sender dies before, within or after a flush. */
enum death {
	BODY_WITHOUT_HEAD,
	BATCH_WITHOUT_ITS_FIRST_HEAD,
	PUBLISHED_AND_NOT_SAID,
	SAID_AND_NOT_COUNTED,
	DEATHS,
};

static void die(enum death death, uint32_t batch, uint64_t bytes)
{
	struct famez_lane before = *lane();

	if (death == BODY_WITHOUT_HEAD) {
		memset(claim(bytes), 0xab, bytes);
		return;
	}
	for (uint32_t n = 0; n < batch; n++)
		assert_int_equal(put(100 + n, bytes), 0);
	if (death == BATCH_WITHOUT_ITS_FIRST_HEAD)
		return;
	assert_true(famez_tx_flush(&tx));
	if (death == SAID_AND_NOT_COUNTED)
		before.produced = lane()->produced;
	*lane() = before;
}

static void after_a_death_anywhere_whole_messages_are_seen_and_the_next_owner_goes_on(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE; place += 8)
		for (unsigned death = 0; death < DEATHS; death++)
			for (unsigned read_first = 0; read_first < 2; read_first++) {
				uint64_t bytes = 200 + place % 99;

				go_to(place);
				send(1, 60);
				die(death, 5, bytes);
				if (read_first) {
					/* The receiver reads before the next owner comes. */
					expect(1, 60);
					for (uint32_t n = 0;
						death >= PUBLISHED_AND_NOT_SAID && n < 5; n++)
						expect(100 + n, bytes);
					expect_nothing();
					assert_int_equal(famez_rx_idle(&rx), 0);
				}
				open_sender(NEW, OLD);
				assert_int_equal(tx.garbled, 0);
				send(2, 70);
				if (!read_first) {
					expect(1, 60);
					for (uint32_t n = 0;
						death >= PUBLISHED_AND_NOT_SAID && n < 5; n++)
						expect(100 + n, bytes);
				}
				expect(2, 70);
				expect_nothing();
				assert_int_equal(famez_rx_idle(&rx), 0);
				assert_int_equal(rx.garbled, 0);
			}
}

static void the_next_owner_is_told_apart_by_its_generation(void **state)
{
	struct famez_seen m = {0};

	(void)state;
	send(1, 10);
	open_sender(NEW, OLD);
	send(1, 10);
	assert_int_equal(famez_rx_peek(&rx, &m), 1);
	assert_int_equal(m.from, OLD);
	(void)famez_rx_release(&rx);
	assert_int_equal(famez_rx_peek(&rx, &m), 1);
	assert_int_equal(m.from, NEW);
}

static void a_receiver_who_comes_anew_sees_nothing_meant_for_the_one_before(void **state)
{
	uint32_t count;

	(void)state;
	count = fill(0);
	for (uint32_t n = 0; n < 3; n++)
		expect(n, 0);
	open_receiver(NEW);
	for (unsigned looks = 0; looks < 2; looks++)
		expect_nothing();
	/* All are skipped, in looks of bounded length, and counted. */
	assert_int_equal(rx.stale, count);
	assert_int_equal(lane()->stale, count);
	tx.to = NEW;
	send(9, 50);
	expect(9, 50);
	expect_nothing();
	assert_int_equal(rx.garbled, 0);
}

static void a_message_may_lie_there_while_its_receiver_is_gone_and_the_sender_waits(void **state)
{
	(void)state;
	fill(300);
	assert_false(famez_tx_wait(&tx, 300));
	open_receiver(NEW);
	expect_nothing();
	assert_int_equal(famez_rx_idle(&rx), FAMEZ_IDLE_RING);
	assert_true(famez_tx_wait(&tx, 300));
}

/* ---- scribblers --------------------------------------------------------------------------------
 */

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

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_message_comes_out_as_it_went_in),
		T(a_batch_is_seen_as_a_whole_once_it_is_flushed),
		T(every_size_fits_at_every_place),
		T(a_stream_of_all_sizes_goes_round_and_round),
		T(what_is_larger_than_half_a_lane_is_refused),
		T(less_may_be_committed_than_was_claimed),
		T(a_claim_that_is_not_committed_is_forgotten),
		T(anyone_can_read_the_counters),
		T(a_full_lane_refuses_and_keeps_what_it_holds),
		T(a_waiting_sender_is_rung_when_half_was_read_or_all),
		T(one_who_asks_to_wait_while_there_is_room_need_not),
		T(a_sender_finds_room_once_all_was_read_though_nobody_says_so),
		T(after_a_death_anywhere_whole_messages_are_seen_and_the_next_owner_goes_on),
		T(the_next_owner_is_told_apart_by_its_generation),
		T(a_receiver_who_comes_anew_sees_nothing_meant_for_the_one_before),
		T(a_message_may_lie_there_while_its_receiver_is_gone_and_the_sender_waits),
		T(a_head_that_makes_no_sense_is_noticed_counted_and_set_right),
		T(a_head_that_was_zeroed_is_noticed_by_the_careful_look),
		T(a_length_that_changes_between_two_looks_stays_within_the_lane),
		T(false_positions_are_noticed_and_set_right_full_lane_or_not),
		T(a_long_way_from_what_the_sender_says_is_not_followed_to_its_end),
		T(a_sender_who_opens_a_garbled_lane_goes_on),
		T(scribbled_flags_and_counters_harm_nobody),
		T(whatever_was_scribbled_it_heals),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
