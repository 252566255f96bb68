/* SPDX-License-Identifier: MIT */
/*
 * test_mail_quick.c - messages of libfamez where many of one sender's are taken in a row: whatever
 * stands in the lane amid its turn, and who else waits. And famez_await(), famez_peek_batch().
 */
#include "mail_fixture.h"

#include <pthread.h>
#include <sched.h>

static const unsigned char *data_of(const struct fabric *fab, uint32_t to, uint32_t from)
{
	return famez_lane_data_at(fab->base, &fab->g, to, from);
}

/* Does all of it lie in its lane, as its receiver has it mapped? */
static bool is_within(const struct fabric *fab, uint32_t to, const struct famez_message *m)
{
	size_t bytes;
	unsigned char *data =
		famez_lane_data_at(famez_memory(fab->member[to], &bytes), &fab->g, to, m->from);
	const unsigned char *at = m->payload;

	return at >= data && m->bytes <= fab->g.lane_bytes &&
	       at + m->bytes <= data + fab->g.lane_bytes;
}

static void expect_same(const struct famez_message *m, const struct famez_message *again)
{
	assert_int_equal(again->from, m->from);
	assert_int_equal(again->origin, m->origin);
	assert_int_equal(again->type, m->type);
	assert_int_equal(again->group, m->group);
	assert_int_equal(again->slot, m->slot);
	assert_int_equal(again->bytes, m->bytes);
	assert_ptr_equal(again->payload, m->payload);
}

/* ---- one after the other -------------------------------------------------------------------- */

static void a_message_peeked_at_again_is_the_same_at_every_place_of_a_turn(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	unsigned char payload[300] = {0};

	for (unsigned round = 0; round < 40; round++) { /* the ring's end is met at many places */
		for (unsigned i = 0; i < 30; i++) {
			struct famez_to to = {
				.peer = 2, .type = i % 2, .spoof = 1, .origin = i % 5};

			payload[0] = (unsigned char)i;
			assert_int_equal(famez_send(a, &to, payload, 1 + i * 7, 0, 0), 0);
		}
		for (unsigned i = 0; i < 30; i++) {
			struct famez_message m, again;
			char small[1];

			assert_int_equal(famez_peek(b, &m), 1);
			assert_int_equal(m.bytes, 1 + i * 7);
			assert_int_equal(m.type, i % 2);
			assert_int_equal(m.origin, i % 5);
			assert_int_equal(*(const unsigned char *)m.payload, i);
			assert_true(is_within(fab, 2, &m));
			assert_int_equal(famez_peek(b, &again), 1);
			expect_same(&m, &again);
			if (i % 4 == 1)
				expect(b, FAMEZ_EVENT_MESSAGE);
			if (i)
				assert_int_equal(
					famez_recv(b, &again, small, 1, 0), i ? -EMSGSIZE : 1);
			assert_int_equal(famez_await(b, &again, 0), 1);
			expect_same(&m, &again);
			famez_release(b);
			if (i % 5 == 2)
				famez_release(b); /* nothing is peeked at: nothing happens */
		}
		expect_no_message(b);
	}
}

/* What somebody may do to the record in the midst of a turn, and what becomes of it. */
struct garbling {
	uint64_t head, more; /* bits that are turned over */
	bool garbled;        /* the rest is lost, and told of; else only this one */
	unsigned stale;
};

static void whatever_a_head_becomes_amid_a_turn_only_that_lane_loses(void **state)
{
	static const struct garbling cases[] = {
		{.head = UINT64_C(0x00ffff00), .garbled = true}, /* longer than half a lane */
		{.head = UINT64_C(0x80000000), .garbled = true}, /* a pad of a wrong length */
		{.head = UINT64_C(0x7fffffff), .garbled = true},
		{.head = 40, .garbled = true},           /* 40 ^ 40: shorter than a head */
		{.head = UINT64_C(1) << 32, .stale = 1}, /* for another generation of ours */
		{.head = UINT64_C(1) << 63, .stale = 1},
		{.more = 1, .stale = 1}, /* from another of its sender's */
		{.more = UINT64_C(1) << 31, .stale = 1},
		{.more = UINT64_C(2) << 32, .stale = 0},  /* the server's to use */
		{.more = UINT64_C(15) << 32, .stale = 0}, /* a type that there is not */
	};

	for (size_t c = 0; c < UNIT_COUNT(cases); c++) {
		struct fabric *fab = plain_fabric(state);
		struct famez *a = fabric_member(fab, 1);
		struct famez *b = fabric_member(fab, 2);
		struct famez_lane *lane = famez_lane_at(fab->base, &fab->g, 2, 1);
		struct famez_traffic traffic;
		struct famez_event event;
		uint64_t *head;

		for (char text[] = "text 0 of twenty-four b"; text[5] <= '9'; text[5]++)
			assert_int_equal(
				famez_send(a, &(struct famez_to){.peer = 2}, text, 24, 0, 0), 0);
		head = (uint64_t *)(void *)(data_of(fab, 2, 1) + 4 * (size_t)40);
		assert_int_equal((uint32_t)*head, 40);
		head[0] ^= cases[c].head;
		head[1] ^= cases[c].more;
		for (int i = '0'; i <= '9'; i++) {
			struct famez_message m;

			if (i == '4' && cases[c].garbled)
				break;
			if (i == '4')
				continue;
			assert_int_equal(famez_peek(b, &m), 1);
			assert_int_equal(m.bytes, 24);
			assert_int_equal(((const char *)m.payload)[5], i);
			famez_release(b);
		}
		expect_no_message(b);
		if (cases[c].garbled)
			assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
		assert_int_equal(famez_next(b, &event), 0);
		assert_int_equal(famez_traffic(b, 1, 2, &traffic), 0);
		assert_int_equal(traffic.stale, cases[c].stale);
		assert_int_equal(traffic.garbled, cases[c].garbled);
		assert_int_equal(lane->consumed, lane->produced);
		assert_int_equal(send_text(a, 2, "goes on"), 0);
		expect_text(b, 1, "goes on");
		fabric_end(fab);
		fab->base = NULL;
		assert_int_equal(fabric_tear_down(state), 0);
		assert_int_equal(fabric_set_up(state), 0);
	}
}

static void a_message_that_would_end_beyond_the_ring_is_not_read(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_lane *lane = famez_lane_at(fab->base, &fab->g, 2, 1);
	struct famez_message m;
	uint64_t *head;

	/* So that the second of two lies at the ring's end. */
	while (lane->produced % fab->g.lane_bytes != fab->g.lane_bytes - 64) {
		assert_int_equal(send_zeros(a, 2, 0, 0), 0);
		assert_int_equal(drain(b), 1);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send_zeros(a, 2, 16, 0), 0);
	head = (uint64_t *)(void *)(data_of(fab, 2, 1) + fab->g.lane_bytes - 32);
	assert_int_equal((uint32_t)*head, 32);
	*head += 8;
	assert_int_equal(famez_peek(b, &m), 1);
	assert_true(is_within(fab, 2, &m));
	famez_release(b);
	expect_no_message(b);
	assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
}

static void a_lane_that_is_set_right_amid_a_turn_goes_on_where_its_sender_is(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_lane *lane = famez_lane_at(fab->base, &fab->g, 2, 1);
	struct famez_message m, again;
	unsigned got = 0, count = fill(a, 2, fab->g.lane_bytes / 32);

	/* Now it is far from where its sender says that it is, and finds that out when it gives
	 * room back: in the midst of a turn, with sound records before it. It is where a record of
	 * the same size would reach beyond the lane. */
	lane->produced += 3 * (uint64_t)fab->g.lane_bytes + fab->g.lane_bytes;
	lane->produced |= fab->g.lane_bytes - 8;
	while (famez_peek(b, &m) == 1) {
		assert_true(is_within(fab, 2, &m));
		assert_int_equal(famez_peek(b, &again), 1);
		expect_same(&m, &again);
		famez_release(b);
		got++;
	}
	assert_true(got > 1 && got < count);
	assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
	/* What its sender says next is true again, if it still says so where it was full. */
	while (send_text(a, 2, "goes on") == -EAGAIN) {
		struct famez_event event;

		while (famez_next(b, &event) == 1)
			(void)drain(b);
	}
	while (famez_peek(b, &m) != 1) {
		struct famez_event event;

		assert_int_equal(send_text(a, 2, "goes on"), 0);
		while (famez_next(b, &event) == 1 && event.kind != FAMEZ_EVENT_MESSAGE)
			;
	}
	assert_memory_equal(m.payload, "goes on", 7);
}

/* ---- who else waits ---------------------------------------------------------------------------
 */

static unsigned take_some(struct famez *f, struct famez_message *m, bool batch)
{
	struct famez_message many[16];
	int got = batch ? famez_peek_batch(f, many, UNIT_COUNT(many)) : famez_peek(f, many);

	assert_true(got > 0);
	for (int i = 1; i < got; i++)
		assert_int_equal(many[i].from, many[0].from);
	*m = many[0];
	famez_release(f);
	return (unsigned)got;
}

static void a_second_sender_waits_for_two_turns_at_most_whenever_it_comes(void **state)
{
	struct fabric *fab = roomy_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez *c = fabric_member(fab, 3);

	for (unsigned first = 0; first < 140; first++) {
		struct famez_message m;
		unsigned before = 0;

		(void)fill(a, 3, TURN_PAYLOAD);
		while (before < first)
			before += take_some(c, &m, first % 2);
		assert_int_equal(send_text(b, 3, "patient"), 0);
		before = 0;
		for (;;) {
			unsigned got = take_some(c, &m, first % 2);

			if (m.from == 2)
				break;
			before += got;
		}
		assert_true(before <= 2 * TURN_MESSAGES);
		(void)drain(c);
		fabric_settle(c);
		/* So often that it lets go of both: then only their bits tell of them. */
		for (unsigned i = 0; first % 3 && i < 256; i++)
			expect_no_message(c);
	}
}

/* ---- famez_peek_batch() ------------------------------------------------------------------------
 */

static void a_batch_is_what_would_have_come_one_by_one(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[16];
	unsigned next = 0, sent = 0;

	assert_int_equal(famez_peek_batch(b, m, 0), -EINVAL);
	assert_int_equal(famez_peek_batch(b, m, 16), 0);
	while (next < 5000) {
		int got;

		while (famez_send(a, &(struct famez_to){.peer = 2}, &sent, sizeof(sent), 0, 0) == 0)
			sent++;
		got = famez_peek_batch(b, m, 1 + next % 16);
		assert_in_range(got, 1, 1 + next % 16);
		for (int i = 0; i < got; i++, next++) {
			assert_int_equal(m[i].from, 1);
			assert_int_equal(m[i].bytes, sizeof(next));
			assert_true(is_within(fab, 2, &m[i]));
			assert_memory_equal(m[i].payload, &next, sizeof(next));
		}
		if (got > 1) {
			struct famez_message again;

			assert_int_equal(famez_peek_batch(b, m, 16), -EBUSY);
			assert_int_equal(famez_peek(b, &again), 1);
			expect_same(&m[0], &again);
		}
		famez_release(b);
	}
}

static void a_batch_begins_with_what_was_peeked_at_or_told_of(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m[4], one;

	for (unsigned i = 0; i < 2; i++) {
		fabric_settle(b);
		assert_int_equal(send_text(a, 2, "one"), 0);
		assert_int_equal(send_text(a, 2, "two"), 0);
		assert_int_equal(send_text(a, 2, "three"), 0);
		expect(b, FAMEZ_EVENT_MESSAGE);
		if (i)
			assert_int_equal(famez_peek(b, &one), 1);
		assert_int_equal(famez_peek_batch(b, m, 4), 3);
		assert_memory_equal(m[0].payload, "one", 3);
		assert_memory_equal(m[2].payload, "three", 5);
		if (i)
			expect_same(&one, &m[0]);
		famez_release(b);
		expect_no_message(b);
	}
}

/* ---- famez_await() -----------------------------------------------------------------------------
 */

static void what_is_awaited_is_read_in_place_or_does_not_come_in_time(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez *none = fabric_join(fab, 3);
	struct famez_message m, again;

	assert_int_equal(famez_await(none, &m, 0), -EINVAL);
	assert_int_equal(famez_await(none, &m, -1), -EINVAL);
	assert_int_equal(famez_await(b, &m, 0), 0);
	assert_int_equal(famez_await(b, &m, 1), 0);
	assert_int_equal(send_text(a, 2, "here"), 0);
	assert_int_equal(send_text(a, 2, "there"), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(famez_await(b, &m, -1), 1);
		assert_memory_equal(m.payload, i ? "there" : "here", 4);
		assert_true(is_within(fab, 2, &m));
		assert_int_equal(famez_await(b, &again, i ? 1 : 0), 1);
		expect_same(&m, &again);
		famez_release(b);
	}
	assert_int_equal(famez_await(b, &m, 0), 0);
}

struct late {
	struct fabric *fab;
	unsigned sent;
};

/* Sends to 2 each time that it is seen to sleep. */
static void *send_to_the_sleeper(void *argument)
{
	struct late *late = argument;
	uint32_t *asleep = famez_asleep_at(late->fab->base, &late->fab->g, 2, 1);

	for (; late->sent < 20; late->sent++) {
		while (!famez_load_ordered(asleep))
			sched_yield();
		if (send_text(late->fab->member[1], 2, "wake") != 0)
			break;
		/* And is awake again: it has seen this one. */
		while (famez_load_ordered(asleep))
			sched_yield();
	}
	return NULL;
}

static void who_awaits_a_message_is_woken_by_it(void **state)
{
	struct late late = {.fab = plain_fabric(state)};
	struct famez_message m;
	struct famez *b;
	pthread_t thread;

	fabric_member(late.fab, 1);
	b = fabric_member(late.fab, 2);
	expect_no_message(b);
	assert_int_equal(famez_recv(b, &m, NULL, 0, 1), 0); /* it has slept, and is awake */
	assert_int_equal(pthread_create(&thread, NULL, send_to_the_sleeper, &late), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(famez_await(b, &m, -1), 1);
		assert_int_equal(m.from, 1);
		assert_memory_equal(m.payload, "wake", 4);
		famez_release(b);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(late.sent, 20);
}

/* ---- the descriptor, after a famez_send() that waited -------------------------------------------
 */

/* Sends until there was no room in time: doorbells of ours are heard meanwhile. */
static void send_in_vain(struct famez *f, uint16_t to)
{
	int err;

	do
		err = send_zeros(f, to, 100, 1);
	while (!err);
	assert_int_equal(err, -ETIMEDOUT);
}

static uint64_t heartbeat_of(const struct fabric *fab, uint32_t id)
{
	return famez_load_relaxed(&famez_entry_at(fab->base, &fab->g, id)->heartbeat);
}

/* Some things must not be left to the tick, which comes each second and looks after all. Tries
 * again if one came between: in vain if it was always the tick. */
#define TRIES 5u

static void who_sends_in_vain_is_told_of_mail_whose_doorbell_it_took(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	unsigned try = 0;
	uint64_t ticks;

	send_in_vain(a, 2);
	do {
		assert_true(try++ < TRIES);
		fabric_settle(a);
		ticks = heartbeat_of(fab, 1);
		assert_false(readable(fab->bell[1][2]));
		assert_int_equal(send_text(b, 1, "told"), 0);
		assert_true(readable(fab->bell[1][2]));
		send_in_vain(a, 2);
		assert_false(readable(fab->bell[1][2]));
		wait_readable(a);
		/* And again, though it has sent in vain once more meanwhile. */
		send_in_vain(a, 2);
		wait_readable(a);
		expect(a, FAMEZ_EVENT_MESSAGE);
		expect_text(a, 2, "told");
		expect_nothing(a);
	} while (heartbeat_of(fab, 1) != ticks);
}

static void who_sends_in_vain_is_told_of_changes_whose_doorbell_it_took(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_join(fab, 1);
	struct famez_event event;
	unsigned try = 0;
	uint64_t ticks;
	bool told;

	assert_int_equal(famez_mailbox_open(a,
				 &(struct famez_mailbox){.name = "a", .watch = 1, .spin_us = -1}),
		0);
	fabric_member(fab, 2);
	fabric_settle(a);
	send_in_vain(a, 2);
	do {
		assert_true(try++ < TRIES);
		fabric_settle(a);
		ticks = heartbeat_of(fab, 1);
		/* The broker rings who watches; here it is the test. */
		mailbox_file_join(fab->base, &fab->g, 4);
		assert_int_equal(write(fab->bell[1][5], &(uint64_t){1}, 8), 8);
		send_in_vain(a, 2);
		wait_readable(a);
		told = false;
		while (famez_next(a, &event) == 1)
			told |= event.kind == FAMEZ_EVENT_UP && event.peer == 4;
		assert_true(told);
		mailbox_file_leave(fab->base, &fab->g, 4);
	} while (heartbeat_of(fab, 1) != ticks);
}

static void who_has_sent_in_vain_and_has_nothing_to_hear_sleeps_on(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct pollfd ready = {.fd = famez_fd(a), .events = POLLIN};
	unsigned try = 0;

	do {
		assert_true(try++ < TRIES);
		send_in_vain(a, 2);
		fabric_settle(a);
		(void)drain(b);
		assert_true(readable(fab->bell[1][2])); /* there is room */
		send_in_vain(a, 2);
		assert_false(readable(fab->bell[1][2]));
	} while (poll(&ready, 1, 20) != 0); /* it was the tick, once */
	/* It does sleep: a message wakes it. */
	assert_int_equal(send_text(b, 1, "wake"), 0);
	assert_true(readable(famez_fd(a)));
	expect(a, FAMEZ_EVENT_MESSAGE);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_message_peeked_at_again_is_the_same_at_every_place_of_a_turn),
		T(whatever_a_head_becomes_amid_a_turn_only_that_lane_loses),
		T(a_message_that_would_end_beyond_the_ring_is_not_read),
		T(a_lane_that_is_set_right_amid_a_turn_goes_on_where_its_sender_is),
		T(a_second_sender_waits_for_two_turns_at_most_whenever_it_comes),
		T(a_batch_is_what_would_have_come_one_by_one),
		T(a_batch_begins_with_what_was_peeked_at_or_told_of),
		T(what_is_awaited_is_read_in_place_or_does_not_come_in_time),
		T(who_awaits_a_message_is_woken_by_it),
		T(who_sends_in_vain_is_told_of_mail_whose_doorbell_it_took),
		T(who_sends_in_vain_is_told_of_changes_whose_doorbell_it_took),
		T(who_has_sent_in_vain_and_has_nothing_to_hear_sleeps_on),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
