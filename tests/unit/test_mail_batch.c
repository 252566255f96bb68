/* SPDX-License-Identifier: MIT */
/*
 * test_mail_batch.c - messages of libfamez read many at a time, in place: what a batch is, and how
 * it is held and released.
 */
#include "mail_batch.h"

#include <limits.h>

/* ---- what a batch is ----------------------------------------------------------------------- */

static void a_batch_is_what_one_sender_said_in_its_order(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[8];

	assert_int_equal(send_text(a, 2, "one"), 0);
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 2, .type = FAMEZ_MESSAGE_LINK},
				 "two", 3, 0, 0),
		0);
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 2, .spoof = 1, .origin = 4},
				 "three", 5, 0, 0),
		0);
	assert_int_equal(send_text(a, 2, ""), 0);
	assert_int_equal(send_text(a, 2, "five"), 0);
	assert_int_equal(take(fab, b, m, 3), 3);
	expect_is_text(&m[0], "one");
	expect_is_text(&m[1], "two");
	expect_is_text(&m[2], "three");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(m[i].from, 1);
		assert_int_equal(m[i].origin, i == 2 ? 4 : 1);
		assert_int_equal(m[i].type, i == 1 ? FAMEZ_MESSAGE_LINK : FAMEZ_MESSAGE_DATA);
		assert_int_equal(m[i].group, 0);
		assert_int_equal(m[i].slot, 0);
	}
	famez_release(b);
	assert_int_equal(take(fab, b, m, 8), 2);
	expect_is_text(&m[0], "");
	expect_is_text(&m[1], "five");
	famez_release(b);
	assert_int_equal(take(fab, b, m, 8), 0);
}

static void what_is_not_published_is_in_no_batch(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[8];
	struct famez_to to = {.peer = 2};

	assert_int_equal(send_text(a, 2, "one"), 0);
	assert_int_equal(famez_send(a, &to, "two", 3, FAMEZ_MORE, 0), 0);
	assert_int_equal(famez_send(a, &to, "three", 5, FAMEZ_MORE, 0), 0);
	assert_int_equal(take(fab, b, m, 8), 1);
	famez_release(b);
	assert_int_equal(take(fab, b, m, 8), 0);
	assert_int_equal(famez_flush(a, 2), 0);
	assert_int_equal(take(fab, b, m, 8), 2);
	expect_is_text(&m[0], "two");
	expect_is_text(&m[1], "three");
}

static void a_batch_of_at_most_one_is_one(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[2];

	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(send_made(a, 2, i, i % 50), 0);
	for (unsigned i = 0; i < 200; i++) {
		memset(m, 0xa5, sizeof(m));
		assert_int_equal(take(fab, b, m, 1), 1);
		assert_true(is_made(&m[0], i, i % 50));
		assert_int_equal(m[1].bytes, SIZE_MAX / 0xff * 0xa5); /* not written to */
		famez_release(b);
	}
	assert_int_equal(take(fab, b, m, 1), 0);
}

static void a_batch_without_a_limit_is_an_eighth_of_the_lane_at_most(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	/* Records are RECORD_BYTES at least, and one may lie across the end of the eighth. */
	const unsigned room = fab->g.lane_bytes / 8 / RECORD_BYTES + 1;
	struct famez_message *m = calloc(room, sizeof(*m)); /* no more: the sanitizer watches */
	unsigned sent = 0, got = 0, now;

	assert_non_null(m);
	for (unsigned round = 0; round < 20; round++) {
		while (!send_made(a, 2, sent, round % 2 ? 0 : sent % 9))
			sent++;
		while ((now = (unsigned)famez_peek_batch(b, m, UINT_MAX)) != 0) {
			uint64_t bytes = 0;

			assert_true(now <= room);
			for (unsigned i = 0; i < now; i++) {
				assert_true(is_made(&m[i], got, round % 2 ? 0 : got % 9));
				got++;
				bytes += record_bytes(&m[i]);
			}
			assert_true(bytes < fab->g.lane_bytes / 8 + record_bytes(&m[now - 1]));
			famez_release(b);
		}
		expect_nothing(b);
		assert_int_equal(got, sent);
	}
	assert_true(sent > 20 * 64);
	free(m);
}

static void without_a_mailbox_or_without_room_for_one_it_is_an_error(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_join(fab, 2);
	struct famez_message m[4], untouched[4];

	memset(m, 0xa5, sizeof(m));
	memset(untouched, 0xa5, sizeof(untouched));
	assert_int_equal(famez_peek_batch(b, m, 4), -EINVAL);
	fabric_open(b, "b");
	assert_int_equal(famez_peek_batch(b, m, 0), -EINVAL);
	assert_int_equal(send_text(a, 2, "x"), 0);
	assert_int_equal(famez_peek_batch(b, m, 0), -EINVAL);
	assert_memory_equal(m, untouched, sizeof(m));
	assert_int_equal(famez_peek_batch(b, m, 4), 1);
	expect_is_text(&m[0], "x");
}

/* ---- holding and releasing ----------------------------------------------------------------- */

static void until_it_is_released_there_is_no_second_batch(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4], again[4], untouched[4];

	memset(again, 0xa5, sizeof(again));
	memset(untouched, 0xa5, sizeof(untouched));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(send_made(a, 2, i, 40), 0);
	assert_int_equal(take(fab, b, m, 2), 2);
	assert_int_equal(famez_peek_batch(b, again, 4), -EBUSY);
	assert_int_equal(famez_peek_batch(b, again, 1), -EBUSY);
	assert_int_equal(famez_peek_batch(b, again, 0), -EINVAL);
	assert_memory_equal(again, untouched, sizeof(again));
	expect(b, FAMEZ_EVENT_MESSAGE);
	assert_int_equal(famez_peek_batch(b, again, 4), -EBUSY);
	assert_int_equal(famez_peek(b, again), 1);
	assert_int_equal(famez_peek_batch(b, again + 1, 3), -EBUSY);
	famez_release(b);
	assert_int_equal(take(fab, b, m, 4), 2);
	assert_true(is_made(&m[0], 2, 40));
	assert_true(is_made(&m[1], 3, 40));
}

static void a_batch_of_one_is_held_like_any_other(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4];

	for (unsigned most = 1; most <= 4; most += 3)
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(send_text(a, 2, "first"), 0);
			assert_int_equal(take(fab, b, m, most), 1);
			expect_is_text(m, "first");
			assert_int_equal(send_text(a, 2, "second"), 0);
			assert_int_equal(famez_peek_batch(b, m + 1, 3), -EBUSY);
			expect_is_text(m, "first");
			famez_release(b);
			assert_int_equal(famez_peek(b, m), 1); /* which is no batch */
			assert_int_equal(take(fab, b, m, 1), 1);
			expect_is_text(m, "second");
			famez_release(b);
		}
}

static void nothing_is_copied_out_of_a_batch_that_is_held(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[2], copied;
	char into[16];

	assert_int_equal(send_text(a, 2, "first"), 0);
	assert_int_equal(send_text(a, 2, "second"), 0);
	assert_int_equal(send_text(a, 2, "third"), 0);
	assert_int_equal(take(fab, b, m, 2), 2);
	assert_int_equal(famez_recv(b, &copied, into, sizeof(into), 0), -EBUSY);
	expect_is_text(m + 1, "second");
	famez_release(b);
	assert_int_equal(famez_recv(b, &copied, into, sizeof(into), 0), 1);
	expect_is_text(&copied, "third");
}

static void a_batch_begins_with_what_was_peeked_at(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[8], first;
	unsigned next = 0;

	for (unsigned how = 0; how < 4; how++) {
		unsigned got = 0;

		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(send_made(a, 2, next + i, 24), 0);
		if (how < 2)
			assert_int_equal(famez_peek(b, &first), 1);
		if (how == 1)
			assert_int_equal(famez_peek(b, &first), 1);
		if (how == 2)
			assert_int_equal(famez_await(b, &first, -1), 1);
		if (how == 3) /* it has looked, too */
			expect(b, FAMEZ_EVENT_MESSAGE);
		while (got < 5) {
			unsigned now = take(fab, b, m, 8);

			assert_true(now > 0);
			if (!got && how < 3)
				expect_same(&m[0], &first);
			for (unsigned i = 0; i < now; i++, got++)
				assert_true(is_made(&m[i], next + got, 24));
			famez_release(b);
		}
		assert_int_equal(got, 5);
		next += 5;
		/* What was released is not in it. */
		assert_int_equal(send_text(a, 2, "released"), 0);
		assert_int_equal(send_text(a, 2, "not released"), 0);
		assert_int_equal(famez_peek(b, &first), 1);
		famez_release(b);
		assert_int_equal(take(fab, b, m, 8), 1);
		expect_is_text(&m[0], "not released");
		famez_release(b);
		expect_nothing(b);
	}
}

static void the_first_of_a_batch_is_what_a_peek_shows(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4], again;

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(send_made(a, 2, i, (size_t)10 * i), 0);
	assert_int_equal(take(fab, b, m, 4), 4);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(famez_peek(b, &again), 1);
		expect_same(&again, &m[0]);
		assert_int_equal(famez_await(b, &again, 0), 1);
		expect_same(&again, &m[0]);
		expect(b, FAMEZ_EVENT_MESSAGE);
	}
	famez_release(b);
	assert_int_equal(famez_peek(b, &again), 1);
	assert_true(is_made(&again, 4, 40));
}

static void a_release_without_anything_held_is_harmless(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4];

	famez_release(b);
	assert_int_equal(take(fab, b, m, 4), 0);
	famez_release(b);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(send_made(a, 2, i, 24), 0);
	famez_release(b);
	assert_int_equal(take(fab, b, m, 4), 4);
	assert_true(is_made(&m[0], 0, 24));
	famez_release(b);
	famez_release(b);
	famez_release(b);
	assert_int_equal(take(fab, b, m, 4), 2);
	assert_true(is_made(&m[0], 4, 24));
	assert_true(is_made(&m[1], 5, 24));
	famez_release(b);
	famez_release(b);
	assert_int_equal(take(fab, b, m, 4), 0);
}

static void what_is_held_stays_however_much_is_sent(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = SMALL_LANES});
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4];
	unsigned sent = 0, got = 0;

	for (unsigned round = 0; round < 40; round++) {
		unsigned now;

		/* The lane is full before each batch, and again while it is held. */
		while (!send_made(a, 2, sent, sent % 300))
			sent++;
		now = take(fab, b, m, 4);
		assert_true(now > 0);
		assert_int_equal(send_made(a, 2, sent, sent % 300), -EAGAIN);
		expect(b, FAMEZ_EVENT_MESSAGE);
		expect_nothing(a);
		for (unsigned i = 0; i < now; i++, got++)
			assert_true(is_made(&m[i], got, got % 300));
		famez_release(b);
	}
	while (got < sent) {
		unsigned now = take(fab, b, m, 4);

		assert_true(now > 0);
		for (unsigned i = 0; i < now; i++, got++)
			assert_true(is_made(&m[i], got, got % 300));
		famez_release(b);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_batch_is_what_one_sender_said_in_its_order),
		T(what_is_not_published_is_in_no_batch),
		T(a_batch_of_at_most_one_is_one),
		T(a_batch_without_a_limit_is_an_eighth_of_the_lane_at_most),
		T(without_a_mailbox_or_without_room_for_one_it_is_an_error),
		T(until_it_is_released_there_is_no_second_batch),
		T(a_batch_of_one_is_held_like_any_other),
		T(nothing_is_copied_out_of_a_batch_that_is_held),
		T(a_batch_begins_with_what_was_peeked_at),
		T(the_first_of_a_batch_is_what_a_peek_shows),
		T(a_release_without_anything_held_is_harmless),
		T(what_is_held_stays_however_much_is_sent),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
