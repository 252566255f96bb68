/* SPDX-License-Identifier: MIT */
/*
 * test_lane.c - one lane, both ends stepped by hand: sizes, offsets, full lanes, batches, senders
 * and receivers that die and come anew. Scribblers are test_lane_hostile.c's.
 */
#include "lane_fixture.h"

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
}

/* What becomes of a claim, counted out: 0 with *at, where it lies. @left, @room: bytes to the
 * ring's end, and to what is unread. */
static int reckon(uint64_t bytes, uint64_t left, uint64_t room, uint64_t *at)
{
	uint64_t size = (bytes + 16 + 7) / 8 * 8, pad = 0;

	if (bytes > PAYLOAD_MAX)
		return -EMSGSIZE;
	if (size > left)
		pad = left;
	if (room < pad + size + 8)
		return -EAGAIN;
	*at = pad;
	return 0;
}

/* The sender's end at this place, with so much unread before it. What it knows of the room is true,
 * or an older truth. */
static void stand_at(uint64_t place, uint64_t unread, bool knows)
{
	uint64_t at = 5 * (uint64_t)LANE + place;

	lane()->produced = at;
	lane()->consumed = at - unread;
	tx.at = tx.begun = tx.clear = at;
	tx.limit = knows ? at - unread + LANE : at;
}

/* Claims that are found good without a look come between the others: after each small message
 * there is a claim of every size near which something ends. */
static void a_claim_gets_room_exactly_where_there_is_some(void **state)
{
	(void)state;
	for (uint64_t place = 0; place < LANE; place += 8)
		for (uint64_t unread = 0; unread <= LANE - 8; unread += 8) {
			const uint64_t ends[] = {LANE - place, LANE - unread, LANE / 2,
				LANE - place + LANE - unread, 0};
			uint64_t at = 0;
			void *payload;

			for (unsigned i = 0; i < UNIT_COUNT(ends) * 7; i++) {
				/* Its record ends there, or up to three words before or behind. */
				uint64_t bytes = ends[i / 7] - 16 + (uint64_t)i % 7 * 8 - 24, left,
					 room;
				int err, want;

				stand_at(place, unread, i % 2);
				err = famez_tx_claim(&tx, 0, &payload);
				assert_int_equal(err, reckon(0, LANE - place, LANE - unread, &at));
				if (err)
					continue;
				assert_ptr_equal(payload, data() + (place + at) % LANE + 16);
				famez_tx_commit(&tx, 0, 0, 0);
				at += 16;
				left = LANE - (place + at) % LANE;
				room = LANE - unread - at;
				want = reckon(bytes - i % 3, left, room, &at);
				err = famez_tx_claim(&tx, bytes - i % 3, &payload);
				assert_int_equal(err, want);
				if (!err)
					assert_ptr_equal(
						payload, data() + (LANE - left + at) % LANE + 16);
			}
		}
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

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_message_comes_out_as_it_went_in),
		T(a_batch_is_seen_as_a_whole_once_it_is_flushed),
		T(every_size_fits_at_every_place),
		T(a_stream_of_all_sizes_goes_round_and_round),
		T(a_claim_gets_room_exactly_where_there_is_some),
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
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
