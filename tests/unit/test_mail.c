/* SPDX-License-Identifier: MIT */
/*
 * test_mail.c - messages of libfamez: sending, receiving, batches, sleeping and waking.
 */
#include "mail_fixture.h"

static void what_is_sent_is_received_once(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m;

	assert_int_equal(send_text(a, 2, "first"), 0);
	assert_int_equal(send_text(a, 2, "second"), 0);
	m = expect_text(b, 1, "first");
	assert_int_equal(m.origin, 1);
	assert_int_equal(m.type, FAMEZ_MESSAGE_DATA);
	assert_int_equal(m.slot, 0);
	expect_text(b, 1, "second");
	expect_no_message(b);
}

static void a_sleeper_is_woken_and_hears_of_a_message_until_it_is_taken(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);

	fabric_settle(b);
	assert_false(readable(famez_fd(b)));
	assert_int_equal(send_text(a, 2, "hear"), 0);
	assert_true(readable(famez_fd(b)));
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect_text(b, 1, "hear");
	expect_nothing(b);
	assert_false(readable(famez_fd(b)));
}

static void a_message_is_read_in_place_until_it_is_released(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m, again;
	size_t bytes;

	assert_int_equal(send_text(a, 2, "here"), 0);
	assert_int_equal(send_text(a, 2, "there"), 0);
	assert_int_equal(famez_peek(b, &m), 1);
	assert_int_equal(famez_peek(b, &again), 1);
	assert_ptr_equal(m.payload, again.payload);
	assert_memory_equal(m.payload, "here", 4);
	assert_int_equal((uintptr_t)m.payload % 8, 0);
	assert_true((char *)m.payload > (char *)famez_memory(b, &bytes));
	assert_true((char *)m.payload < (char *)famez_memory(b, &bytes) + bytes);
	famez_release(b);
	famez_release(b); /* nothing is peeked: nothing happens */
	expect_text(b, 1, "there");
	expect_no_message(b);
}

static void what_is_claimed_is_written_in_place_and_may_become_less(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	void *room;

	assert_int_equal(famez_claim(a, 2, 100, &room), 0);
	memcpy(room, "forgotten", 9);
	assert_int_equal(famez_claim(a, 2, 100, &room), 0);
	memcpy(room, "taken", 5);
	expect_no_message(b);
	assert_int_equal(famez_commit(a, &(struct famez_to){.peer = 2}, 5, 0), 0);
	expect_text(b, 1, "taken");
	expect_no_message(b);
}

static void a_commit_of_what_was_not_claimed_is_invalid(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez_to to = {.peer = 2};
	void *room;

	fabric_member(fab, 2);
	fabric_member(fab, 3);
	assert_int_equal(famez_commit(a, &to, 1, 0), -EINVAL);
	assert_int_equal(famez_claim(a, 2, 10, &room), 0);
	assert_int_equal(famez_commit(a, &to, 11, 0), -EINVAL);
	assert_int_equal(famez_commit(a, &(struct famez_to){.peer = 3}, 1, 0), -EINVAL);
	assert_int_equal(famez_commit(a, &(struct famez_to){.peer = 2, .type = 2}, 1, 0), -EINVAL);
	assert_int_equal(famez_commit(a, &to, 1, 2), -EINVAL);
	assert_int_equal(famez_commit(a, &to, 10, 0), 0);
	assert_int_equal(famez_commit(a, &to, 1, 0), -EINVAL);
	assert_int_equal(famez_claim(a, 2, 10, &room), 0);
	assert_int_equal(send_text(a, 2, "between"), 0); /* forgets the claim */
	assert_int_equal(famez_commit(a, &to, 1, 0), -EINVAL);
}

static void what_has_more_behind_it_is_not_seen_before_the_flush(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_to to = {.peer = 2};

	assert_int_equal(famez_send(a, &to, "one", 3, FAMEZ_MORE, 0), 0);
	assert_int_equal(famez_send(a, &to, "two", 3, FAMEZ_MORE, 0), 0);
	expect_no_message(b);
	assert_false(readable(famez_fd(b)));
	assert_int_equal(famez_flush(a, 2), 0);
	assert_true(readable(famez_fd(b)));
	expect_text(b, 1, "one");
	expect_text(b, 1, "two");
	assert_int_equal(famez_send(a, &to, "three", 5, FAMEZ_MORE, 0), 0);
	assert_int_equal(send_text(a, 2, "four"), 0);
	expect_text(b, 1, "three");
	expect_text(b, 1, "four");
}

static void who_goes_to_sleep_leaves_nothing_unpublished(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_to to = {.peer = 2};
	struct famez_message m;
	char into[8];

	assert_int_equal(famez_send(a, &to, "one", 3, FAMEZ_MORE, 0), 0);
	expect_nothing(a);
	expect_text(b, 1, "one");
	assert_int_equal(famez_send(a, &to, "two", 3, FAMEZ_MORE, 0), 0);
	assert_int_equal(famez_recv(a, &m, into, sizeof(into), 1), 0);
	expect_text(b, 1, "two");
	assert_int_equal(famez_send(a, &to, "three", 5, FAMEZ_MORE, 0), 0);
	fabric_leave(fab, 1);
	expect_text(b, 1, "three");
}

static void a_quarter_of_a_lane_is_published_unasked(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_to to = {.peer = 2};
	char bytes[512] = {0};
	unsigned sent = 0;

	while (!readable(famez_fd(b))) {
		assert_int_equal(famez_send(a, &to, bytes, sizeof(bytes), FAMEZ_MORE, 0), 0);
		sent++;
	}
	assert_in_range(sent * sizeof(bytes), fab->g.lane_bytes / 8, fab->g.lane_bytes / 4);
}

static void a_full_lane_refuses_and_tells_when_it_has_room(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_traffic traffic;
	unsigned count;

	count = fill(a, 2, 100);
	assert_true(count >= fab->g.lane_bytes / 2 / 120);
	assert_int_equal(famez_traffic(a, 1, 2, &traffic), 0);
	assert_int_equal(traffic.full, 1); /* refused once, counted once */
	expect_nothing(a);
	assert_false(readable(famez_fd(a)));
	assert_int_equal(send_zeros(a, 2, 100, 1), -ETIMEDOUT);
	assert_int_equal(drain(b), count);
	assert_true(readable(famez_fd(a)));
	assert_int_equal(expect(a, FAMEZ_EVENT_ROOM).peer, 2);
	expect_nothing(a);
	assert_int_equal(send_text(a, 2, "again"), 0);
	expect_text(b, 1, "again");
}

static void a_lane_to_ourselves_is_never_waited_for(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);

	assert_int_equal(send_text(a, 1, "me"), 0);
	expect_text(a, 1, "me");
	(void)fill(a, 1, 100);
	assert_int_equal(send_zeros(a, 1, 100, -1), -EAGAIN);
}

static void messages_of_any_size_up_to_the_limit_arrive(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m;
	size_t most;
	char *sent, *got;

	most = famez_payload_bytes_max(a);
	assert_int_equal(most, fab->g.lane_bytes / 2 - 24);
	sent = malloc(most + 1);
	got = malloc(most + 1);
	assert_true(sent && got);
	for (size_t i = 0; i <= most; i++)
		sent[i] = (char)(i * 31);
	for (size_t bytes = 0; bytes <= most; bytes = bytes == most ? most + 1 : bytes + 97) {
		if (bytes + 97 > most)
			bytes = most;
		assert_int_equal(
			famez_send(a, &(struct famez_to){.peer = 2}, sent, bytes, 0, 0), 0);
		assert_int_equal(famez_recv(b, &m, got, most, 0), 1);
		assert_int_equal(m.bytes, bytes);
		assert_memory_equal(got, sent, bytes);
	}
	assert_int_equal(
		famez_send(a, &(struct famez_to){.peer = 2}, sent, most + 1, 0, 0), -EMSGSIZE);
	free(sent);
	free(got);
}

static void a_buffer_too_small_says_how_large_it_must_be_and_keeps_the_message(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m;
	char into[3];

	assert_int_equal(send_text(a, 2, "four"), 0);
	assert_int_equal(famez_recv(b, &m, into, sizeof(into), -1), -EMSGSIZE);
	assert_int_equal(m.bytes, 4);
	expect_text(b, 1, "four");
}

static void senders_take_turns(void **state)
{
	struct fabric *fab = roomy_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez *c = fabric_member(fab, 3);
	struct famez_message m;
	unsigned before = 0;

	(void)fill(a, 3, TURN_PAYLOAD);
	assert_int_equal(famez_peek(c, &m), 1);
	famez_release(c);
	assert_int_equal(send_text(b, 3, "patient"), 0);
	while (famez_peek(c, &m) && m.from == 1) {
		famez_release(c);
		before++;
	}
	assert_int_equal(m.from, 2);
	assert_true(before <= 2 * TURN_MESSAGES);
}

static void a_spoofed_sender_stands_beside_the_true_one(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_to to = {.peer = 2, .type = FAMEZ_MESSAGE_LINK, .spoof = 1, .origin = 4};
	struct famez_message m;

	assert_int_equal(famez_send(a, &to, "lie", 3, 0, 0), 0);
	m = expect_text(b, 1, "lie");
	assert_int_equal(m.origin, 4);
	assert_int_equal(m.type, FAMEZ_MESSAGE_LINK);
}

static void doorbells_that_meant_mail_are_not_told_and_all_others_are(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_event event;

	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "x"), 0);
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect_text(b, 1, "x");
	expect_nothing(b);
	assert_int_equal(famez_ring(a, 2, 1), 0);
	event = expect(b, FAMEZ_EVENT_DOORBELL);
	assert_int_equal(event.vector, 1);
	expect_nothing(b);
	/* Vector 0 is no sender's: told even where mail comes with it. */
	assert_int_equal(send_text(a, 2, "y"), 0);
	assert_int_equal(famez_ring(a, 2, 0), 0);
	while (famez_next(b, &event) == 1 && event.kind == FAMEZ_EVENT_MESSAGE)
		expect_text(b, 1, "y");
	assert_int_equal(event.kind, FAMEZ_EVENT_DOORBELL);
	assert_int_equal(event.vector, 0);
}

static void one_vector_serves_all_senders_where_there_are_few(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.vectors = 2});
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez *c = fabric_member(fab, 3);
	struct famez_event event;
	unsigned messages = 0;

	expect_nothing(c);
	assert_int_equal(send_text(a, 3, "x"), 0);
	assert_int_equal(send_text(b, 3, "x"), 0);
	while (famez_next(c, &event) == 1) {
		assert_int_equal(event.kind, FAMEZ_EVENT_MESSAGE);
		messages += drain(c);
	}
	assert_int_equal(messages, 2);
	(void)fill(a, 3, 100);
	expect_nothing(a);
	(void)drain(c);
	assert_true(readable(famez_fd(a)));
	expect(a, FAMEZ_EVENT_ROOM);
	expect_nothing(a);
	assert_int_equal(famez_ring(a, 3, 1), 0);
	assert_int_equal(expect(c, FAMEZ_EVENT_DOORBELL).vector, 1);
}

static void a_receiver_whose_bell_was_not_told_yet_is_rung_once_it_is(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b;

	/* The directory knows of 2 before 1 is told. */
	mailbox_file_join(fab->base, &fab->g, 2);
	fab->end[2] = join(fab->s, &fab->member[2], 2);
	b = fab->member[2];
	fabric_bells(fab, 2);
	fabric_tell(fab, 2, 1);
	fabric_tell(fab, 2, 2);
	fabric_settle(b);
	fabric_open(b, "late");
	assert_int_equal(send_text(a, 2, "early"), 0);
	assert_false(readable(famez_fd(b)));
	fabric_tell(fab, 1, 2);
	fabric_settle(a);
	assert_true(readable(famez_fd(b)));
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect_text(b, 1, "early");
}

static void a_bell_that_lies_unread_in_the_socket_is_rung_at_once(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b;
	struct famez_event event;

	mailbox_file_join(fab->base, &fab->g, 2);
	fab->end[2] = join(fab->s, &fab->member[2], 2);
	b = fab->member[2];
	fabric_bells(fab, 2);
	fabric_tell(fab, 2, 1);
	fabric_tell(fab, 2, 2);
	fabric_settle(b);
	fabric_open(b, "late");
	fabric_tell(fab, 1, 2);
	assert_int_equal(send_text(a, 2, "at once"), 0);
	assert_true(readable(famez_fd(b)));
	/* What the server said is told all the same, and wakes who waits for it. */
	assert_true(readable(famez_fd(a)));
	for (unsigned v = 0; v < fab->vectors; v++)
		expect_vector(a, 2, (uint16_t)v);
	assert_int_equal(famez_next(a, &event), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(what_is_sent_is_received_once),
		T(a_sleeper_is_woken_and_hears_of_a_message_until_it_is_taken),
		T(a_message_is_read_in_place_until_it_is_released),
		T(what_is_claimed_is_written_in_place_and_may_become_less),
		T(a_commit_of_what_was_not_claimed_is_invalid),
		T(what_has_more_behind_it_is_not_seen_before_the_flush),
		T(who_goes_to_sleep_leaves_nothing_unpublished),
		T(a_quarter_of_a_lane_is_published_unasked),
		T(a_full_lane_refuses_and_tells_when_it_has_room),
		T(a_lane_to_ourselves_is_never_waited_for),
		T(messages_of_any_size_up_to_the_limit_arrive),
		T(a_buffer_too_small_says_how_large_it_must_be_and_keeps_the_message),
		T(senders_take_turns),
		T(a_spoofed_sender_stands_beside_the_true_one),
		T(doorbells_that_meant_mail_are_not_told_and_all_others_are),
		T(one_vector_serves_all_senders_where_there_are_few),
		T(a_receiver_whose_bell_was_not_told_yet_is_rung_once_it_is),
		T(a_bell_that_lies_unread_in_the_socket_is_rung_at_once),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
