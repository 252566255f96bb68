/* SPDX-License-Identifier: MIT */
/*
 * test_mail_batch.c - messages of libfamez read many at a time, in place: famez_peek_batch().
 *
 * A message here is its number: size and bytes follow from it, so that who reads it knows every
 * byte that must be there.
 */
#include "mail_fixture.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>

#define SMALL_LANES  (1u << 18) /* of a file: 4 KiB each, with six IDs */
#define BATCH_MAX    80u
#define PAYLOAD_MAX  2024u /* of such a lane */
#define PRIME        7919u
#define RECORD_BYTES 16u

/* ---- messages that are their number -------------------------------------------------------- */

static void make(unsigned char *into, unsigned number, size_t bytes)
{
	uint64_t word = (number + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);

	for (size_t at = 0; at < bytes; at += sizeof(word)) {
		size_t left = bytes - at;

		word ^= word >> 29;
		word *= UINT64_C(0xbf58476d1ce4e5b9);
		memcpy(into + at, &word, left < sizeof(word) ? left : sizeof(word));
	}
}

static bool is_made(const struct famez_message *m, unsigned number, size_t bytes)
{
	unsigned char want[PAYLOAD_MAX + 8];

	make(want, number, bytes);
	return m->bytes == bytes && (!bytes || memcmp(m->payload, want, bytes) == 0);
}

static int send_made(struct famez *f, uint16_t to, unsigned number, size_t bytes)
{
	unsigned char payload[PAYLOAD_MAX + 8];

	make(payload, number, bytes);
	return famez_send(f, &(struct famez_to){.peer = to}, payload, bytes, 0, 0);
}

/* ---- what holds for every batch ------------------------------------------------------------ */

static const unsigned char *lane_bytes(const struct fabric *fab, uint16_t from, uint16_t to)
{
	return famez_lane_data_at(fab->base, &fab->g, to, from);
}

/* Where in its lane the record of this message begins. We and the handle have the file mapped at
 * different places. */
static uint64_t in_lane(const struct fabric *fab, struct famez *f, const struct famez_message *m)
{
	size_t size;
	const unsigned char *base = famez_memory(f, &size), *payload = m->payload;
	ptrdiff_t lane =
		lane_bytes(fab, m->from, (uint16_t)famez_id(f)) - (const unsigned char *)fab->base;
	ptrdiff_t at = payload - base - lane;

	assert_true(at >= (ptrdiff_t)RECORD_BYTES);
	assert_true((uint64_t)at + m->bytes <= fab->g.lane_bytes);
	assert_int_equal((uintptr_t)payload % 8, 0);
	return (uint64_t)at - RECORD_BYTES;
}

/* A batch, all by one sender and all within its lane. Returns how many. */
static unsigned take(
	const struct fabric *fab, struct famez *f, struct famez_message *m, unsigned most)
{
	int got = famez_peek_batch(f, m, most);

	assert_true(got >= 0 && (unsigned)got <= most);
	for (int i = 0; i < got; i++) {
		assert_int_equal(m[i].from, m[0].from);
		if (!m[i].slot)
			(void)in_lane(fab, f, &m[i]);
	}
	return (unsigned)got;
}

static void expect_same(const struct famez_message *m, const struct famez_message *as)
{
	assert_int_equal(m->from, as->from);
	assert_int_equal(m->origin, as->origin);
	assert_int_equal(m->group, as->group);
	assert_int_equal(m->type, as->type);
	assert_int_equal(m->slot, as->slot);
	assert_int_equal(m->bytes, as->bytes);
	assert_ptr_equal(m->payload, as->payload);
}

static void expect_is_text(const struct famez_message *m, const char *text)
{
	assert_int_equal(m->bytes, strlen(text));
	assert_memory_equal(m->payload, text, m->bytes);
}

static uint64_t record_bytes(const struct famez_message *m)
{
	return famez_round_up(m->bytes + RECORD_BYTES, 8);
}

static uint64_t consumed(const struct fabric *fab, uint16_t from, uint16_t to)
{
	return famez_load_acquire(&famez_lane_at(fab->base, &fab->g, to, from)->consumed);
}

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

/* ---- scribblers ---------------------------------------------------------------------------- */

/* Six messages, the head of the fourth scribbled upon. What comes of those behind it? */
enum fate {
	SKIPPED, /* that one is dropped, the two behind it are good */
	GARBLED, /* the lane is told of, and they are lost */
};

struct scribble {
	uint64_t head, head_mask; /* these bits of the head word become those */
	uint64_t more, more_mask; /* and of the word behind it */
	enum fate fate;
	bool is_stale; /* counted as such */
};

/* These and no others, in one batch, or in more where a sender's turn ends. */
static void take_run(const struct fabric *fab, unsigned number, unsigned end)
{
	struct famez_message m[BATCH_MAX];

	while (number < end) {
		unsigned now = take(fab, fab->member[2], m, BATCH_MAX);

		assert_true(now > 0 && now <= end - number);
		for (unsigned i = 0; i < now; i++)
			assert_true(is_made(&m[i], number++, 24));
		famez_release(fab->member[2]);
	}
}

static void scribble_once(struct fabric *fab, const struct scribble *how)
{
	struct famez *a = fab->member[1], *b = fab->member[2];
	struct famez_traffic before, after;
	struct famez_message m[BATCH_MAX];
	uint64_t *head;

	expect_nothing(b);
	assert_int_equal(famez_traffic(b, 1, 2, &before), 0);
	/* All six lie in one piece. */
	while ((consumed(fab, 1, 2) & (fab->g.lane_bytes - 1)) + 400 > fab->g.lane_bytes) {
		assert_int_equal(send_zeros(a, 2, 8, 0), 0);
		assert_int_equal(take(fab, b, m, 1), 1);
		famez_release(b);
		expect_nothing(b);
	}
	head = (uint64_t *)(void *)(famez_lane_data_at(fab->base, &fab->g, 2, 1) +
				    (consumed(fab, 1, 2) & (fab->g.lane_bytes - 1)) +
				    (uint64_t)3 * (24 + RECORD_BYTES));
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(send_made(a, 2, i, 24), 0);
	head[0] = (head[0] & ~how->head_mask) | how->head;
	head[1] = (head[1] & ~how->more_mask) | how->more;
	take_run(fab, 0, 3);
	if (how->fate == SKIPPED) {
		take_run(fab, 4, 6);
	} else {
		assert_int_equal(take(fab, b, m, BATCH_MAX), 0);
		assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
	}
	expect_nothing(b);
	assert_int_equal(famez_traffic(b, 1, 2, &after), 0);
	assert_int_equal(after.stale - before.stale, how->is_stale);
	assert_int_equal(after.garbled - before.garbled, how->fate == GARBLED);
	assert_int_equal(send_text(a, 2, "and on it goes"), 0);
	assert_int_equal(take(fab, b, m, BATCH_MAX), 1);
	expect_is_text(&m[0], "and on it goes");
	famez_release(b);
}

#define LOW_HALF  UINT64_C(0xffffffff)
#define HIGH_HALF (LOW_HALF << 32)
#define TYPE_MASK (UINT64_C(15) << 32)

static void a_batch_ends_before_what_is_not_for_us(void **state)
{
	static const struct scribble all[] = {
		/* For, and by, another generation. */
		{.head = UINT64_C(77) << 32, .head_mask = HIGH_HALF, .is_stale = true},
		{.head = 0, .head_mask = HIGH_HALF, .is_stale = true},
		{.more = 77, .more_mask = LOW_HALF, .is_stale = true},
		{.more = 0, .more_mask = LOW_HALF, .is_stale = true},
		/* Of a type that is not for users; a group's, by who is not the server. */
		{.more = UINT64_C(2) << 32, .more_mask = TYPE_MASK},
		{.more = UINT64_C(3) << 32, .more_mask = TYPE_MASK},
		{.more = UINT64_C(5) << 32, .more_mask = TYPE_MASK},
		{.more = UINT64_C(15) << 32, .more_mask = TYPE_MASK},
	};
	struct fabric *fab = plain_fabric(state);

	(void)fabric_member(fab, 1);
	(void)fabric_member(fab, 2);
	for (unsigned round = 0; round < 3; round++)
		for (size_t i = 0; i < UNIT_COUNT(all); i++)
			scribble_once(fab, &all[i]);
}

static void a_batch_ends_before_what_makes_no_sense(void **state)
{
	static const struct scribble all[] = {
		{.head = 0, .head_mask = UINT64_MAX, .fate = GARBLED},
		{.head = 1, .head_mask = LOW_HALF, .fate = GARBLED},
		{.head = 15, .head_mask = LOW_HALF, .fate = GARBLED},
		{.head = 8192 - 8 + 1, .head_mask = LOW_HALF, .fate = GARBLED},
		{.head = 16384, .head_mask = LOW_HALF, .fate = GARBLED},
		{.head = 0x7fffffff, .head_mask = LOW_HALF, .fate = GARBLED},
		{.head = 0xfffffff8, .head_mask = LOW_HALF, .fate = GARBLED},
		{.head = LOW_HALF, .head_mask = LOW_HALF, .fate = GARBLED},
		{.head = 0x80000000, .head_mask = UINT64_MAX, .fate = GARBLED},
		{.head = 0x80000028, .head_mask = UINT64_MAX, .fate = GARBLED},
		{.head = UINT64_MAX, .head_mask = UINT64_MAX, .fate = GARBLED},
	};
	struct fabric *fab = plain_fabric(state);

	assert_int_equal(fab->g.lane_bytes, 16384);
	(void)fabric_member(fab, 1);
	(void)fabric_member(fab, 2);
	for (unsigned round = 0; round < 3; round++)
		for (size_t i = 0; i < UNIT_COUNT(all); i++)
			scribble_once(fab, &all[i]);
}

static void what_is_scribbled_on_while_it_is_held_is_released_all_the_same(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4], first;

	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(send_made(a, 2, i, 24), 0);
	assert_int_equal(take(fab, b, m, 4), 4);
	first = m[0];
	for (unsigned i = 0; i < 4; i++) {
		uint64_t place = in_lane(fab, b, &m[i]);

		memset(famez_lane_data_at(fab->base, &fab->g, 2, 1) + place, 0xff,
			RECORD_BYTES + 24);
	}
	/* Lengths were taken once. */
	assert_int_equal(famez_peek(b, &m[0]), 1);
	expect_same(&m[0], &first);
	famez_release(b);
	assert_int_equal(take(fab, b, m, 4), 2);
	assert_true(is_made(&m[0], 4, 24));
	assert_true(is_made(&m[1], 5, 24));
	famez_release(b);
	expect_nothing(b);
}

/* What a receiver makes of a round: all that it was shown, in one number, and what it was told. */
struct account {
	uint64_t seen;
	unsigned messages, garbled;
};

static void account_for(struct account *a, const struct famez_message *m)
{
	const unsigned char *payload = m->payload;

	a->messages++;
	a->seen = (a->seen ^ m->bytes ^ (uint64_t)m->origin << 32 ^ (uint64_t)m->type << 48) *
		  UINT64_C(0x9e3779b97f4a7c15);
	for (size_t i = 0; i < m->bytes; i++)
		a->seen = (a->seen ^ payload[i]) * UINT64_C(0x100000001b3);
}

static void account_events(struct account *a, struct famez *f)
{
	struct famez_event event;

	while (famez_next(f, &event) == 1) {
		assert_int_not_equal(event.kind, FAMEZ_EVENT_MESSAGE);
		a->garbled += event.kind == FAMEZ_EVENT_GARBLED;
	}
}

/* Reads all there is, by batches or one by one. */
static void read_all(struct fabric *fab, struct famez *f, unsigned most, struct account *a)
{
	struct famez_message m[BATCH_MAX];
	unsigned now, before;

	do {
		before = a->messages + a->garbled;
		while ((now = most ? take(fab, f, m, most) : (unsigned)famez_peek(f, m)) != 0) {
			for (unsigned i = 0; i < now; i++)
				account_for(a, &m[i]);
			famez_release(f);
		}
		if (a->messages + a->garbled == before)
			account_events(a, f);
	} while (a->messages + a->garbled != before);
}

/* Where something stands, mostly: heads, and what lies behind them. */
static void scribble_alike(struct fabric *fab, unsigned *seed)
{
	uint64_t bytes = fab->g.lane_bytes;
	uint64_t behind = (uint64_t)rand_r(seed) % 64 * 8;
	uint64_t at = (consumed(fab, 1, 2) + behind) & (bytes - 1);
	uint64_t *one = (uint64_t *)(void *)(famez_lane_data_at(fab->base, &fab->g, 2, 1) + at);
	uint64_t *other = (uint64_t *)(void *)(famez_lane_data_at(fab->base, &fab->g, 3, 1) + at);
	uint64_t bit = UINT64_C(1) << (rand_r(seed) % 64);

	switch (rand_r(seed) % 4) {
	case 0:
		*one ^= bit;
		*other ^= bit;
		break;
	case 1:
		*one = *other = bit - 1;
		break;
	case 2:
		*one = (*one & HIGH_HALF) | (uint64_t)(rand_r(seed) % 64);
		*other = (*other & HIGH_HALF) | (*one & LOW_HALF);
		break;
	default:
		*one = (*one & LOW_HALF) | (uint64_t)(rand_r(seed) % 3) << 32;
		*other = (*other & LOW_HALF) | (*one & HIGH_HALF);
		break;
	}
}

static void hostile_lanes_are_read_by_batches_as_one_by_one(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = SMALL_LANES});
	struct famez *a = fabric_member(fab, 1);
	struct famez *by_batches = fabric_member(fab, 2);
	struct famez *singly = fabric_member(fab, 3);
	unsigned seed = 20261125, number = 0, lost = 0, found = 0, astray = 0;

	fprintf(stderr, "seed %u\n", seed);
	for (unsigned round = 0; round < 5000; round++) {
		struct account one = {0}, other = {0};
		struct famez_traffic was[2], is[2];
		unsigned sent = 0;

		assert_int_equal(famez_traffic(a, 1, 2, &was[0]), 0);
		assert_int_equal(famez_traffic(a, 1, 3, &was[1]), 0);

		for (unsigned i = 1 + (unsigned)rand_r(&seed) % 12; i; i--, number++) {
			size_t bytes = (size_t)rand_r(&seed) % 60;
			int err = send_made(a, 2, number, bytes);

			assert_int_equal(send_made(a, 3, number, bytes), err);
			sent += !err;
		}
		for (unsigned i = (unsigned)rand_r(&seed) % 3; i; i--)
			scribble_alike(fab, &seed);
		read_all(fab, by_batches, 1 + (unsigned)rand_r(&seed) % BATCH_MAX, &one);
		read_all(fab, singly, 0, &other);
		assert_int_equal(famez_traffic(a, 1, 2, &is[0]), 0);
		assert_int_equal(famez_traffic(a, 1, 3, &is[1]), 0);
		assert_int_equal(consumed(fab, 1, 2), consumed(fab, 1, 3));
		fabric_settle(a);
		/* Led on into what was there a round ago: how far it goes before it is found out
		 * depends on when it gives room back. */
		if (one.messages + is[0].stale - was[0].stale > sent ||
			other.messages + is[1].stale - was[1].stale > sent) {
			astray++;
			continue;
		}
		assert_int_equal(one.messages, other.messages);
		assert_int_equal(one.seen, other.seen);
		assert_int_equal(one.garbled, other.garbled);
		assert_int_equal(is[0].stale - was[0].stale, is[1].stale - was[1].stale);
		assert_int_equal(is[0].garbled - was[0].garbled, is[1].garbled - was[1].garbled);
		found += one.messages;
		lost += sent > one.messages;
	}
	/* It was no walk in the park, and no graveyard. */
	assert_true(lost > 500);
	assert_true(found > 5000);
	assert_true(astray < 500);
}

static void any_word_in_the_file_may_be_anything_between_batches(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = SMALL_LANES});
	struct famez_message m[BATCH_MAX];
	struct famez *f[3];
	unsigned seed = 20261126, messages = 0;

	fprintf(stderr, "seed %u\n", seed);
	for (uint16_t id = 1; id <= 3; id++)
		f[id - 1] = fabric_member(fab, id);
	for (unsigned round = 0; round < 30000; round++) {
		uint64_t *words = fab->base;
		struct famez *one = f[rand_r(&seed) % 3];
		struct famez_event event;
		char into[64] = {0};
		int got;

		for (unsigned i = rand_r(&seed) % 3; i; i--) {
			/* Mostly where something stands. */
			uint64_t at = rand_r(&seed) % 2 ? rand_r(&seed) % (fab->g.bytes / 8)
							: rand_r(&seed) % (fab->g.data_offset / 8);
			uint64_t bit = UINT64_C(1) << (rand_r(&seed) % 64);

			words[at] = rand_r(&seed) % 2 ? words[at] ^ bit : bit - 1;
		}
		for (unsigned i = rand_r(&seed) % 4; i; i--)
			(void)famez_send(one,
				&(struct famez_to){.peer = (uint16_t)(1 + rand_r(&seed) % 3)}, into,
				(size_t)rand_r(&seed) % sizeof(into), rand_r(&seed) % 2, 0);
		got = famez_peek_batch(one, m, 1 + (unsigned)rand_r(&seed) % BATCH_MAX);
		assert_true(got >= 0 || got == -EBUSY);
		for (int i = 0; i < got; i++)
			if (!m[i].slot)
				(void)in_lane(fab, one, &m[i]);
		messages += got > 0 ? (unsigned)got : 0;
		if (rand_r(&seed) % 4)
			famez_release(one);
		for (unsigned i = 0; i < 3 && famez_next(one, &event) == 1; i++)
			;
	}
	assert_true(messages > 0);
}

/* ---- between threads ----------------------------------------------------------------------- */

#define STRESS_MESSAGES 200000u
#define STRESS_SEED     20261127u

struct party {
	struct famez *f;
	unsigned seed; /* of its pauses */
	unsigned done;
	unsigned larger; /* batches of more than one */
	int result;      /* of what ended it */
};

/* Mostly small, all sizes at times; known to both from its number. */
static size_t stress_bytes(unsigned number)
{
	unsigned seed = STRESS_SEED + number * PRIME;
	unsigned one = (unsigned)rand_r(&seed), other = (unsigned)rand_r(&seed);

	return one % 16 ? other % 100 : other % (PAYLOAD_MAX + 1);
}

static void pause_at_random(unsigned *seed)
{
	unsigned pause = (unsigned)rand_r(seed) % 128;

	if (pause < 2)
		sched_yield();
	else if (pause < 8)
		for (volatile unsigned i = 0; i < pause * 50; i++)
			;
}

static void *send_all(void *argument)
{
	struct party *p = argument;
	struct famez_to to = {.peer = 2};
	unsigned char payload[PAYLOAD_MAX + 8];

	for (; p->done < STRESS_MESSAGES && !p->result; p->done++) {
		size_t bytes = stress_bytes(p->done);
		unsigned flags = (unsigned)rand_r(&p->seed) % 4 ? FAMEZ_MORE : 0;

		make(payload, p->done, bytes);
		p->result = famez_send(p->f, &to, payload, bytes, flags, -1);
		pause_at_random(&p->seed);
	}
	if (!p->result)
		p->result = famez_flush(p->f, 2);
	return NULL;
}

/* What waits is famez_await(), and the batch begins with what that found. */
static void *receive_all(void *argument)
{
	struct party *p = argument;
	struct famez_message m[BATCH_MAX];

	while (p->done < STRESS_MESSAGES && !p->result) {
		unsigned most = 1 + (unsigned)rand_r(&p->seed) % BATCH_MAX;
		int got = famez_peek_batch(p->f, m, most);

		if (!got) {
			got = famez_await(p->f, m, -1);
			if (got == 1)
				got = famez_peek_batch(p->f, m, most);
		}
		if (got <= 0)
			p->result = got ? got : -EIO;
		for (int i = 0; i < got && !p->result; i++, p->done++)
			if (!is_made(&m[i], p->done, stress_bytes(p->done)))
				p->result = -EBADMSG;
		p->larger += got > 1;
		famez_release(p->f);
		pause_at_random(&p->seed);
	}
	return NULL;
}

static void a_thread_that_sends_and_one_that_reads_by_batches_lose_nothing(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.bytes = SMALL_LANES});
	struct party a = {.seed = STRESS_SEED + 1}, b = {.seed = STRESS_SEED + 2};
	struct famez_message m[2];
	pthread_t one, other;

	fprintf(stderr, "seed %u\n", STRESS_SEED);
	a.f = fabric_member(fab, 1);
	b.f = fabric_member(fab, 2);
	assert_int_equal(pthread_create(&one, NULL, send_all, &a), 0);
	assert_int_equal(pthread_create(&other, NULL, receive_all, &b), 0);
	pthread_join(one, NULL);
	pthread_join(other, NULL);
	assert_int_equal(a.result, 0);
	assert_int_equal(b.result, 0);
	assert_int_equal(a.done, STRESS_MESSAGES);
	assert_int_equal(b.done, STRESS_MESSAGES);
	assert_true(b.larger > 0);
	assert_int_equal(take(fab, b.f, m, 2), 0);
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
		T(the_sender_of_a_full_lane_has_room_once_a_quarter_is_released),
		T(one_release_gives_back_all_of_a_batch_however_large),
		T(who_waits_for_room_is_told_when_batches_have_made_it),
		T(a_lane_is_read_by_batches_round_after_round_without_loss),
		T(a_batch_is_of_one_sender_and_each_senders_order_holds),
		T(a_sender_that_always_has_more_does_not_starve_others),
		T(texts_of_v1_slots_come_singly),
		T(a_batch_ends_before_what_is_not_for_us),
		T(a_batch_ends_before_what_makes_no_sense),
		T(what_is_scribbled_on_while_it_is_held_is_released_all_the_same),
		T(hostile_lanes_are_read_by_batches_as_one_by_one),
		T(any_word_in_the_file_may_be_anything_between_batches),
		T(a_thread_that_sends_and_one_that_reads_by_batches_lose_nothing),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
