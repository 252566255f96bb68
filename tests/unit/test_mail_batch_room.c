/* SPDX-License-Identifier: MIT */
/*
 * test_mail_batch_room.c - batches give room back to senders, and serve several senders in turn.
 */
#include "mail_batch.h"

/* ---- room ---------------------------------------------------------------------------------- */

static void the_sender_of_a_full_lane_has_room_once_a_quarter_is_released(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[BATCH_MAX];
	uint64_t released = 0, given = consumed(fab, 1, 2);

	(void)fill(a, 2, 100);
	(void)fill(a, 2, 0); /* not even that */
	while (released < fab->g.lane_bytes / 4) {
		unsigned now;

		assert_int_equal(consumed(fab, 1, 2), given);
		assert_int_equal(send_text(a, 2, "x"), -EAGAIN);
		now = take(fab, b, m, 7);
		assert_true(now > 0);
		assert_int_equal(consumed(fab, 1, 2), given); /* it is held */
		for (unsigned i = 0; i < now; i++)
			released += record_bytes(&m[i]);
		famez_release(b);
	}
	assert_int_equal(consumed(fab, 1, 2), given + released);
	assert_int_equal(send_text(a, 2, "x"), 0);
}

static void one_release_gives_back_all_of_a_batch_however_large(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4];
	const size_t most = famez_payload_bytes_max(a);
	unsigned char *payload = calloc(1, most);
	uint64_t given = consumed(fab, 1, 2);

	assert_non_null(payload);
	assert_int_equal(send_text(a, 2, "small"), 0);
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 2}, payload, most, 0, 0), 0);
	assert_int_equal(send_text(a, 2, "after"), 0);
	assert_int_equal(take(fab, b, m, 2), 2);
	assert_int_equal(m[1].bytes, most);
	assert_int_equal(consumed(fab, 1, 2), given);
	famez_release(b);
	assert_int_equal(consumed(fab, 1, 2), given + record_bytes(&m[0]) + record_bytes(&m[1]));
	assert_int_equal(take(fab, b, m, 4), 1);
	expect_is_text(&m[0], "after");
	free(payload);
}

static void who_waits_for_room_is_told_when_batches_have_made_it(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[BATCH_MAX];
	uint64_t released = 0;

	for (unsigned round = 0; round < 10; round++) {
		(void)fill(a, 2, 100);
		expect_nothing(a); /* waits for room from here on */
		released = 0;
		while (!readable(famez_fd(a))) {
			unsigned now = take(fab, b, m, BATCH_MAX);

			assert_true(now > 0); /* who has read half of it has told */
			for (unsigned i = 0; i < now; i++)
				released += record_bytes(&m[i]);
			famez_release(b);
		}
		assert_true(released < fab->g.lane_bytes);
		assert_int_equal(expect(a, FAMEZ_EVENT_ROOM).peer, 2);
		assert_int_equal(send_text(a, 2, "x"), 0);
	}
}

/* The receiver's end of a lane as docs/mailbox.md has it, from the places that messages had. */
struct lane_model {
	uint64_t at, published, bytes;
};

static void model_moves(struct lane_model *l, uint64_t bytes)
{
	l->at += bytes;
	if (l->at - l->published >= l->bytes / 4)
		l->published = l->at;
}

/* The record of a message that is peeked at now. Before it a pad may have been skipped. */
static void model_meets(struct lane_model *l, uint64_t place)
{
	if ((l->at & (l->bytes - 1)) == place)
		return;
	assert_int_equal(place, 0);
	model_moves(l, l->bytes - (l->at & (l->bytes - 1)));
}

static void a_lane_is_read_by_batches_round_after_round_without_loss(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = SMALL_LANES});
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct lane_model lane = {.bytes = fab->g.lane_bytes};
	struct famez_message m[BATCH_MAX];
	const unsigned sizes = (unsigned)famez_payload_bytes_max(a) + 1, messages = 4 * sizes;
	unsigned sent = 0, got = 0, seed = 20261123, larger = 0;

	fprintf(stderr, "seed %u\n", seed);
	assert_int_equal(sizes, PAYLOAD_MAX + 1);
	lane.at = lane.published = consumed(fab, 1, 2);
	while (got < messages) {
		bool all = rand_r(&seed) % 4 == 0;
		unsigned stop = all ? messages : sent + (unsigned)rand_r(&seed) % 6;

		/* Every size, four times each; half of the time small ones between, for batches. */
		while (sent < messages && sent < stop &&
			!send_made(a, 2, sent,
				sent / sizes % 2 ? sent * PRIME % 32 : sent * PRIME % sizes))
			sent++;
		if (got == sent) {
			/* A pad may be all there is; who looks in vain gives all back. */
			assert_int_equal(take(fab, b, m, BATCH_MAX), 0);
			fabric_settle(a); /* there is room, perhaps */
			expect_nothing(b);
			if (consumed(fab, 1, 2) != lane.at)
				model_meets(&lane, 0);
			lane.published = lane.at;
			assert_int_equal(consumed(fab, 1, 2), lane.at);
		}
		while (got < sent) {
			unsigned now = take(fab, b, m, 1 + (unsigned)rand_r(&seed) % BATCH_MAX);
			uint64_t bytes = 0;

			assert_true(now > 0);
			larger += now > 1;
			model_meets(&lane, in_lane(fab, b, &m[0]));
			assert_int_equal(consumed(fab, 1, 2), lane.published);
			for (unsigned i = 0; i < now; i++, got++) {
				assert_int_equal(in_lane(fab, b, &m[i]),
					(lane.at + bytes) & (lane.bytes - 1));
				assert_true(is_made(&m[i], got,
					got / sizes % 2 ? got * PRIME % 32 : got * PRIME % sizes));
				bytes += record_bytes(&m[i]);
			}
			famez_release(b);
			model_moves(&lane, bytes);
			assert_int_equal(consumed(fab, 1, 2), lane.published);
			if (rand_r(&seed) % 3 == 0)
				break;
		}
	}
	assert_true(lane.at > 100 * lane.bytes);
	assert_true(larger > 500);
	assert_int_equal(take(fab, b, m, BATCH_MAX), 0);
	expect_nothing(b);
	assert_int_equal(consumed(fab, 1, 2), lane.at);
}

/* ---- several senders ----------------------------------------------------------------------- */

static void a_batch_is_of_one_sender_and_each_senders_order_holds(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = SMALL_LANES});
	struct famez *b = fabric_member(fab, 4);
	struct famez *from[4] = {0};
	struct famez_message m[BATCH_MAX];
	unsigned sent[4] = {0}, got[4] = {0}, now, seed = 20261124;

	fprintf(stderr, "seed %u\n", seed);
	for (uint16_t id = 1; id <= 3; id++)
		from[id] = fabric_member(fab, id);
	for (unsigned round = 0; round < 3000; round++) {
		for (unsigned i = (unsigned)rand_r(&seed) % 20; i; i--) {
			unsigned id = 1 + (unsigned)rand_r(&seed) % 3;

			sent[id] += !send_made(from[id], 4, sent[id] + id * 1000000, sent[id] % 60);
		}
		now = take(fab, b, m, 1 + (unsigned)rand_r(&seed) % 20);
		for (unsigned i = 0; i < now; i++) {
			unsigned id = m[i].from;

			assert_true(id >= 1 && id <= 3);
			assert_true(is_made(&m[i], got[id] + id * 1000000, got[id] % 60));
			got[id]++;
		}
		famez_release(b);
	}
	while ((now = take(fab, b, m, BATCH_MAX)) != 0) {
		got[m[0].from] += now;
		famez_release(b);
	}
	for (unsigned id = 1; id <= 3; id++) {
		assert_true(sent[id] > 1000);
		assert_int_equal(got[id], sent[id]);
	}
}

static void a_sender_that_always_has_more_does_not_starve_others(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez *c = fabric_member(fab, 3);
	struct famez_message m[256];

	for (unsigned most = 1; most <= 256; most *= 4)
		for (unsigned round = 0; round < 5; round++) {
			unsigned others = 0;

			(void)fill(a, 2, 8);
			assert_int_equal(take(fab, b, m, most) > 0, 1);
			famez_release(b);
			assert_int_equal(send_text(c, 2, "me too"), 0);
			for (;;) {
				unsigned now;

				(void)fill(a, 2, 8);
				now = take(fab, b, m, most);
				assert_true(now > 0);
				if (m[0].from == 3)
					break;
				others += now;
				famez_release(b);
				assert_true(others < 100000); /* many a turn */
			}
			assert_int_equal(m[0].bytes, 6);
			famez_release(b);
		}
}

static void texts_of_v1_slots_come_singly(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[8], again[8];
	unsigned texts = 0, messages = 0;

	for (uint16_t id = 3; id <= 4; id++) {
		char *slot = (char *)famez_slot_at(fab->base, id);

		(void)fabric_join(fab, id);
		memcpy(slot, "old", 4);
		snprintf(slot + FAMEZ_SLOT_TEXT_OFFSET, 16, "text of %u", id);
		famez_store_release((uint64_t *)(void *)(slot + 64), UINT64_C(9));
		assert_int_equal(write(fab->bell[2][id], &(uint64_t){1}, 8), 8);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send_made(a, 2, i, 24), 0);
	while (texts < 2 || messages < 3) {
		unsigned now;

		expect(b, FAMEZ_EVENT_MESSAGE);
		now = take(fab, b, m, 8);
		if (!m[0].slot) {
			for (unsigned i = 0; i < now; i++) {
				assert_int_equal(m[i].slot, 0);
				assert_true(is_made(&m[i], messages++, 24));
			}
		} else {
			char text[16];

			assert_int_equal(now, 1);
			assert_int_equal(m[0].type, FAMEZ_MESSAGE_LINK);
			snprintf(text, sizeof(text), "text of %u", m[0].from);
			expect_is_text(&m[0], text);
			assert_int_equal(famez_peek_batch(b, again, 8), -EBUSY);
			assert_int_equal(famez_peek(b, again), 1);
			expect_same(again, m);
			texts++;
		}
		famez_release(b);
	}
	assert_int_equal(texts, 2);
	assert_int_equal(messages, 3);
	expect_nothing(b);
	/* One that was peeked at first. */
	famez_store_release(
		(uint64_t *)(void *)((char *)famez_slot_at(fab->base, 3) + 64), UINT64_C(9));
	assert_int_equal(write(fab->bell[2][3], &(uint64_t){1}, 8), 8);
	expect(b, FAMEZ_EVENT_MESSAGE);
	assert_int_equal(famez_peek(b, again), 1);
	assert_int_equal(take(fab, b, m, 8), 1);
	expect_same(again, m);
	assert_int_equal(famez_peek_batch(b, again, 8), -EBUSY);
	famez_release(b);
	assert_int_equal(take(fab, b, m, 8), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(the_sender_of_a_full_lane_has_room_once_a_quarter_is_released),
		T(one_release_gives_back_all_of_a_batch_however_large),
		T(who_waits_for_room_is_told_when_batches_have_made_it),
		T(a_lane_is_read_by_batches_round_after_round_without_loss),
		T(a_batch_is_of_one_sender_and_each_senders_order_holds),
		T(a_sender_that_always_has_more_does_not_starve_others),
		T(texts_of_v1_slots_come_singly),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
