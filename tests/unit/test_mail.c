/* SPDX-License-Identifier: MIT */
/*
 * test_mail.c - messages of libfamez: lanes, sleeping and waking, generations, slots.
 *
 * Handles in a fabric without a broker (fabric.h), mostly in one thread.
 */
#include "fabric.h"
#include "unit.h"

#include "famez/lane.h"

static int send_text(struct famez *f, uint16_t to, const char *text)
{
	return famez_send(f, &(struct famez_to){.peer = to}, text, strlen(text), 0, 0);
}

/* The next message is this text. */
static struct famez_message expect_text(struct famez *f, uint16_t from, const char *text)
{
	struct famez_message m;
	char got[512];

	assert_int_equal(famez_recv(f, &m, got, sizeof(got), 0), 1);
	assert_int_equal(m.from, from);
	assert_int_equal(m.bytes, strlen(text));
	assert_memory_equal(got, text, m.bytes);
	return m;
}

static void expect_no_message(struct famez *f)
{
	struct famez_message m;

	assert_int_equal(famez_peek(f, &m), 0);
}

static void what_is_sent_is_received_once(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_message m;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(send_text(a, 2, "first"), 0);
	assert_int_equal(send_text(a, 2, "second"), 0);
	m = expect_text(b, 1, "first");
	assert_int_equal(m.origin, 1);
	assert_int_equal(m.type, FAMEZ_MESSAGE_DATA);
	assert_int_equal(m.slot, 0);
	expect_text(b, 1, "second");
	expect_no_message(b);
	fabric_end(&fab);
}

static void a_sleeper_is_woken_and_hears_of_a_message_until_it_is_taken(void **state)
{
	struct fabric fab;
	struct famez *a, *b;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	fabric_settle(b);
	assert_false(readable(famez_fd(b)));
	assert_int_equal(send_text(a, 2, "hear"), 0);
	assert_true(readable(famez_fd(b)));
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect_text(b, 1, "hear");
	expect_nothing(b);
	assert_false(readable(famez_fd(b)));
	fabric_end(&fab);
}

static void a_message_is_read_in_place_until_it_is_released(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_message m, again;
	size_t bytes;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
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
	fabric_end(&fab);
}

static void what_is_claimed_is_written_in_place_and_may_become_less(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	void *room;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(famez_claim(a, 2, 100, &room), 0);
	memcpy(room, "forgotten", 9);
	assert_int_equal(famez_claim(a, 2, 100, &room), 0);
	memcpy(room, "taken", 5);
	expect_no_message(b);
	assert_int_equal(famez_commit(a, &(struct famez_to){.peer = 2}, 5, 0), 0);
	expect_text(b, 1, "taken");
	expect_no_message(b);
	fabric_end(&fab);
}

static void a_commit_of_what_was_not_claimed_is_invalid(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct famez_to to = {.peer = 2};
	void *room;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	fabric_member(&fab, 2);
	fabric_member(&fab, 3);
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
	fabric_end(&fab);
}

static void what_has_more_behind_it_is_not_seen_before_the_flush(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_to to = {.peer = 2};

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
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
	fabric_end(&fab);
}

static void who_goes_to_sleep_leaves_nothing_unpublished(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_to to = {.peer = 2};
	struct famez_message m;
	char into[8];

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(famez_send(a, &to, "one", 3, FAMEZ_MORE, 0), 0);
	expect_nothing(a);
	expect_text(b, 1, "one");
	assert_int_equal(famez_send(a, &to, "two", 3, FAMEZ_MORE, 0), 0);
	assert_int_equal(famez_recv(a, &m, into, sizeof(into), 1), 0);
	expect_text(b, 1, "two");
	assert_int_equal(famez_send(a, &to, "three", 5, FAMEZ_MORE, 0), 0);
	fabric_leave(&fab, 1);
	expect_text(b, 1, "three");
	fabric_end(&fab);
}

static void a_quarter_of_a_lane_is_published_unasked(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_to to = {.peer = 2};
	char bytes[512] = {0};
	unsigned sent = 0;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	while (!readable(famez_fd(b))) {
		assert_int_equal(famez_send(a, &to, bytes, sizeof(bytes), FAMEZ_MORE, 0), 0);
		sent++;
	}
	assert_in_range(sent * sizeof(bytes), fab.g.lane_bytes / 8, fab.g.lane_bytes / 4);
	fabric_end(&fab);
}

static char payload[1 << 16];

/* Sends until the lane is full. Returns how many it took. */
static unsigned fill(struct famez *f, uint16_t to, size_t bytes)
{
	unsigned count = 0;
	int err;

	while (!(err = famez_send(f, &(struct famez_to){.peer = to}, payload, bytes, 0, 0)))
		count++;
	assert_int_equal(err, -EAGAIN);
	return count;
}

static unsigned drain(struct famez *f)
{
	struct famez_message m;
	unsigned count = 0;

	while (famez_peek(f, &m)) {
		famez_release(f);
		count++;
	}
	return count;
}

static void a_full_lane_refuses_and_tells_when_it_has_room(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	unsigned count;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	count = fill(a, 2, 100);
	assert_true(count >= fab.g.lane_bytes / 2 / 120);
	expect_nothing(a);
	assert_false(readable(famez_fd(a)));
	assert_int_equal(
		famez_send(a, &(struct famez_to){.peer = 2}, payload, 100, 0, 1), -ETIMEDOUT);
	assert_int_equal(drain(b), count);
	assert_true(readable(famez_fd(a)));
	assert_int_equal(expect(a, FAMEZ_EVENT_ROOM).peer, 2);
	expect_nothing(a);
	assert_int_equal(send_text(a, 2, "again"), 0);
	expect_text(b, 1, "again");
	fabric_end(&fab);
}

static void a_lane_to_ourselves_is_never_waited_for(void **state)
{
	struct fabric fab;
	struct famez *a;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	assert_int_equal(send_text(a, 1, "me"), 0);
	expect_text(a, 1, "me");
	(void)fill(a, 1, 100);
	assert_int_equal(
		famez_send(a, &(struct famez_to){.peer = 1}, payload, 100, 0, -1), -EAGAIN);
	fabric_end(&fab);
}

static void messages_of_any_size_up_to_the_limit_arrive(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_message m;
	size_t most;
	char *sent, *got;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	most = famez_payload_bytes_max(a);
	assert_int_equal(most, fab.g.lane_bytes / 2 - 24);
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
	fabric_end(&fab);
}

static void a_buffer_too_small_says_how_large_it_must_be_and_keeps_the_message(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_message m;
	char into[3];

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(send_text(a, 2, "four"), 0);
	assert_int_equal(famez_recv(b, &m, into, sizeof(into), -1), -EMSGSIZE);
	assert_int_equal(m.bytes, 4);
	expect_text(b, 1, "four");
	fabric_end(&fab);
}

static void senders_take_turns(void **state)
{
	struct fabric fab;
	struct famez *a, *b, *c;
	struct famez_message m;
	unsigned before = 0;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	c = fabric_member(&fab, 3);
	(void)fill(a, 3, 8);
	assert_int_equal(famez_peek(c, &m), 1);
	famez_release(c);
	assert_int_equal(send_text(b, 3, "patient"), 0);
	while (famez_peek(c, &m) && m.from == 1) {
		famez_release(c);
		before++;
	}
	assert_int_equal(m.from, 2);
	assert_true(before <= 128);
	fabric_end(&fab);
}

static void a_spoofed_sender_stands_beside_the_true_one(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_to to = {.peer = 2, .type = FAMEZ_MESSAGE_LINK, .spoof = 1, .origin = 4};
	struct famez_message m;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(famez_send(a, &to, "lie", 3, 0, 0), 0);
	m = expect_text(b, 1, "lie");
	assert_int_equal(m.origin, 4);
	assert_int_equal(m.type, FAMEZ_MESSAGE_LINK);
	fabric_end(&fab);
}

static void doorbells_that_meant_mail_are_not_told_and_all_others_are(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_event event;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
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
	fabric_end(&fab);
}

static void one_vector_serves_all_senders_where_there_are_few(void **state)
{
	struct fabric fab;
	struct famez *a, *b, *c;
	struct famez_event event;
	unsigned messages = 0;

	fabric_make(&fab, state, &(struct fabric_kind){.vectors = 2});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	c = fabric_member(&fab, 3);
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
	fabric_end(&fab);
}

static void a_receiver_whose_bell_was_not_told_yet_is_rung_once_it_is(void **state)
{
	struct fabric fab;
	struct famez *a, *b;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	/* The directory knows of 2 before 1 is told. */
	mailbox_file_join(fab.base, &fab.g, 2);
	fab.end[2] = join(fab.s, &fab.member[2], 2);
	b = fab.member[2];
	fabric_bells(&fab, 2);
	fabric_tell(&fab, 2, 1);
	fabric_tell(&fab, 2, 2);
	fabric_settle(b);
	fabric_open(b, "late");
	assert_int_equal(send_text(a, 2, "early"), 0);
	assert_false(readable(famez_fd(b)));
	fabric_tell(&fab, 1, 2);
	fabric_settle(a);
	assert_true(readable(famez_fd(b)));
	expect(b, FAMEZ_EVENT_MESSAGE);
	expect_text(b, 1, "early");
	fabric_end(&fab);
}

static void a_bell_that_lies_unread_in_the_socket_is_rung_at_once(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_event event;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	mailbox_file_join(fab.base, &fab.g, 2);
	fab.end[2] = join(fab.s, &fab.member[2], 2);
	b = fab.member[2];
	fabric_bells(&fab, 2);
	fabric_tell(&fab, 2, 1);
	fabric_tell(&fab, 2, 2);
	fabric_settle(b);
	fabric_open(b, "late");
	fabric_tell(&fab, 1, 2);
	assert_int_equal(send_text(a, 2, "at once"), 0);
	assert_true(readable(famez_fd(b)));
	/* What the server said is told all the same, and wakes who waits for it. */
	assert_true(readable(famez_fd(a)));
	for (unsigned v = 0; v < fab.vectors; v++)
		expect_vector(a, 2, (uint16_t)v);
	assert_int_equal(famez_next(a, &event), 0);
	fabric_end(&fab);
}

/* ---- who is there -------------------------------------------------------------------------- */

static void an_ids_next_owner_reads_nothing_of_the_last_ones(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_traffic traffic;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	fabric_member(&fab, 2);
	assert_int_equal(send_text(a, 2, "for the first"), 0);
	fabric_leave(&fab, 2);
	assert_int_equal(send_text(a, 2, "for nobody"), -ENOTCONN);
	b = fabric_member(&fab, 2);
	expect_no_message(b);
	assert_int_equal(send_text(a, 2, "for the second"), 0);
	expect_text(b, 1, "for the second");
	assert_int_equal(famez_traffic(b, 1, 2, &traffic), 0);
	assert_int_equal(traffic.stale, 1);
	fabric_end(&fab);
}

static void an_ids_next_owner_is_not_taken_for_the_last_one(void **state)
{
	struct fabric fab;
	struct famez *a, *b;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(send_text(a, 2, "of the first"), 0);
	fabric_leave(&fab, 1);
	a = fabric_member(&fab, 1);
	assert_int_equal(send_text(a, 2, "of the second"), 0);
	expect_text(b, 1, "of the second");
	expect_no_message(b);
	fabric_end(&fab);
}

static void last_words_are_heard(void **state)
{
	struct fabric fab;
	struct famez *a, *b;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(send_text(a, 2, "farewell"), 0);
	fabric_leave(&fab, 1);
	expect_text(b, 1, "farewell");
	fabric_end(&fab);
}

static void who_waits_for_room_is_told_when_the_receiver_goes(void **state)
{
	struct fabric fab;
	struct famez *a;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	fabric_member(&fab, 2);
	(void)fill(a, 2, 100);
	expect_nothing(a);
	fabric_leave(&fab, 2);
	assert_true(readable(famez_fd(a)));
	expect(a, FAMEZ_EVENT_ROOM);
	assert_int_equal(send_text(a, 2, "x"), -ENOTCONN);
	assert_int_equal(expect(a, FAMEZ_EVENT_LEFT).peer, 2);
	fabric_end(&fab);
}

/* A member whose process died: nothing of its own is set right. */
static void fabric_killed(struct fabric *fab, uint16_t id)
{
	struct famez *dead = fab->member[id];

	fabric_gone(fab, id);
	/* Only the handle's memory is freed: the ID is no longer its own. */
	mailbox_file_join(fab->base, &fab->g, id);
	famez_leave(dead);
	mailbox_file_leave(fab->base, &fab->g, id);
}

static void who_died_amid_a_batch_leaves_no_part_of_it(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_lane *lane;
	uint64_t produced, *head;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(send_text(a, 2, "whole"), 0);
	lane = famez_lane_at(fab.base, &fab.g, 2, 1);
	produced = lane->produced;
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 2}, "part", 4, FAMEZ_MORE, 0), 0);
	/* As if it had died here: what leaving publishes is taken back. */
	fabric_killed(&fab, 1);
	lane->produced = produced;
	head = (uint64_t *)(void *)(famez_lane_data_at(fab.base, &fab.g, 2, 1) + produced);
	*head = 0;
	expect_text(b, 1, "whole");
	expect_no_message(b);
	a = fabric_member(&fab, 1);
	assert_int_equal(send_text(a, 2, "next"), 0);
	expect_text(b, 1, "next");
	fabric_end(&fab);
}

static void watchers_hear_of_joins_mailboxes_and_leaves(void **state)
{
	struct fabric fab;
	struct famez_mailbox how = {.name = "watcher", .watch = 1};
	struct famez *a;
	struct famez_who who;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	fabric_member(&fab, 1);
	a = fabric_join(&fab, 2);
	assert_int_equal(famez_mailbox_open(a, &how), 0);
	assert_int_equal(expect(a, FAMEZ_EVENT_UP).peer, 1); /* who is there already */
	expect_nothing(a);
	(void)fabric_join(&fab, 3);
	fabric_open(fab.member[3], "new");
	/* Its opening the mailbox rang us. The server's VECTORs were told while it joined. */
	assert_true(readable(famez_fd(a)));
	assert_int_equal(expect(a, FAMEZ_EVENT_UP).peer, 3);
	assert_int_equal(famez_who(a, 3, &who), 0);
	assert_string_equal(who.name, "new");
	assert_int_equal(who.lanes, 1);
	expect_nothing(a);
	fabric_leave(&fab, 3);
	assert_int_equal(expect(a, FAMEZ_EVENT_LEFT).peer, 3);
	/* The broker rings who watches; here it is the test. */
	famez_entry_at(fab.base, &fab.g, 3)->joins++;
	assert_int_equal(write(fab.bell[2][5], &(uint64_t){1}, 8), 8);
	assert_int_equal(expect(a, FAMEZ_EVENT_DOWN).peer, 3);
	expect_nothing(a);
	fabric_end(&fab);
}

static void a_peer_that_starts_anew_goes_down_and_comes_up(void **state)
{
	struct fabric fab;
	struct famez_mailbox how = {.name = "watcher", .watch = 1};
	struct famez *a;
	struct famez_entry *e;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	fabric_member(&fab, 1);
	a = fabric_join(&fab, 2);
	assert_int_equal(famez_mailbox_open(a, &how), 0);
	fabric_settle(a);
	/* As a guest's driver does after a reset. */
	e = famez_entry_at(fab.base, &fab.g, 1);
	e->generation++;
	famez_header_at(fab.base)->changes++;
	assert_int_equal(write(fab.bell[2][1], &(uint64_t){1}, 8), 8);
	assert_int_equal(expect(a, FAMEZ_EVENT_DOWN).peer, 1);
	assert_int_equal(expect(a, FAMEZ_EVENT_UP).peer, 1);
	expect_nothing(a);
	fabric_end(&fab);
}

static void the_directory_says_who_is_there(void **state)
{
	struct fabric fab;
	struct famez_mailbox how = {.name = "gamma", .cclass = "Memory"};
	struct famez *a;
	struct famez_who who;

	fabric_make(&fab, state, &(struct fabric_kind){.server = true});
	a = fabric_member(&fab, 1);
	assert_int_equal(famez_mailbox_open(fabric_join(&fab, 3), &how), 0);
	famez_entry_at(fab.base, &fab.g, 3)->cid = 300;
	famez_entry_at(fab.base, &fab.g, 3)->sid = 27;
	assert_int_equal(famez_who(a, 3, &who), 0);
	assert_int_equal(who.id, 3);
	assert_string_equal(who.name, "gamma");
	assert_string_equal(who.cclass, "Memory");
	assert_int_equal(who.cid, 300);
	assert_int_equal(who.sid, 27);
	assert_int_equal(who.joins, 1);
	assert_int_not_equal(who.generation, 0);
	assert_int_equal(who.device | who.server, 0);
	assert_int_equal(famez_who(a, 1, &who), 0);
	assert_string_equal(who.cclass, "Client");
	assert_int_equal(famez_who(a, 2, &who), -ENOTCONN);
	assert_int_equal(famez_who(a, 600, &who), -ENOTCONN);
	assert_int_equal(famez_who_after(a, -1), 1);
	assert_int_equal(famez_who_after(a, 1), 3);
	assert_int_equal(famez_who_after(a, 3), 5);
	assert_int_equal(famez_who_after(a, 5), -1);
	assert_int_equal(famez_who_named(a, "gamma"), 3);
	assert_int_equal(famez_who_named(a, "server"), 5);
	assert_int_equal(famez_who_named(a, "nobody"), -ENOENT);
	assert_int_equal(famez_who_named(a, ""), -EINVAL);
	assert_int_equal(famez_server_id(a), 5);
	fabric_leave(&fab, 3);
	assert_int_equal(famez_who_named(a, "gamma"), -ENOENT);
	fabric_end(&fab);
}

static void names_from_the_file_are_shown_harmless(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct famez_who who;
	struct famez_entry *e;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	fabric_member(&fab, 2);
	e = famez_entry_at(fab.base, &fab.g, 2);
	memset(e->name, 'n', sizeof(e->name)); /* no end */
	memcpy(e->cclass, "a\033[2J \xff", 8);
	assert_int_equal(famez_who(a, 2, &who), 0);
	assert_int_equal(strlen(who.name), 31);
	assert_string_equal(who.cclass, "a?[2J??");
	fabric_end(&fab);
}

static void names_that_would_not_do_are_refused(void **state)
{
	static const char *const names[] = {NULL, "", "two words", "tab\t", "\x80",
		"a name of 32 bytes that is ....", "x23456789x123456789x123456789x12"};
	struct fabric fab;
	struct famez *a;
	unsigned before;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_join(&fab, 1);
	before = open_descriptors();
	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		struct famez_mailbox how = {.name = names[i]};

		assert_int_equal(famez_mailbox_open(a, &how), -EINVAL);
		how = (struct famez_mailbox){.name = "good", .cclass = names[i] ? names[i] : ""};
		assert_int_equal(famez_mailbox_open(a, &how), -EINVAL);
	}
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(
		famez_mailbox_open(
			a, &(struct famez_mailbox){.name = "x23456789x123456789x123456789x1"}),
		0);
	assert_int_equal(famez_mailbox_open(a, &(struct famez_mailbox){.name = "b"}), -EALREADY);
	fabric_end(&fab);
}

static void opening_twice_in_a_life_gives_another_generation(void **state)
{
	struct fabric fab;
	struct famez_who before, after;
	struct famez *a;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	fabric_member(&fab, 2);
	assert_int_equal(famez_who(a, 2, &before), 0);
	fabric_leave(&fab, 2);
	fabric_member(&fab, 2);
	assert_int_equal(famez_who(a, 2, &after), 0);
	assert_int_not_equal(after.generation, before.generation);
	assert_int_equal(after.joins, before.joins + 1);
	fabric_leave(&fab, 2);
	famez_entry_at(fab.base, &fab.g, 2)->generation = UINT32_MAX;
	fabric_member(&fab, 2);
	assert_int_equal(famez_who(a, 2, &after), 0);
	assert_int_not_equal(after.generation, 0);
	fabric_end(&fab);
}

static void what_an_earlier_owner_left_in_its_entry_does_not_count(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct famez_who who;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	fabric_member(&fab, 2);
	fabric_killed(&fab, 2);
	fabric_join(&fab, 2);
	assert_int_equal(famez_who(a, 2, &who), 0);
	assert_int_equal(who.lanes, 0);
	assert_int_equal(who.generation, 0);
	fabric_end(&fab);
}

/* ---- errors ------------------------------------------------------------------------------ */

static void without_a_mailbox_there_are_no_messages(void **state)
{
	struct fabric fab;
	struct famez_mailbox how = {.name = "a"};
	struct famez_to to = {.peer = 2};
	struct famez_message m;
	struct famez_who who;
	struct famez_traffic traffic;
	struct famez *a, *half;
	void *room;
	int end;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_join(&fab, 1);
	assert_int_equal(famez_payload_bytes_max(a), 0);
	assert_int_equal(famez_server_id(a), -ENOTCONN);
	assert_int_equal(famez_send(a, &to, "x", 1, 0, 0), -EINVAL);
	assert_int_equal(famez_claim(a, 2, 1, &room), -EINVAL);
	assert_int_equal(famez_commit(a, &to, 1, 0), -EINVAL);
	assert_int_equal(famez_flush(a, 2), -EINVAL);
	assert_int_equal(famez_peek(a, &m), -EINVAL);
	famez_release(a);
	assert_int_equal(famez_recv(a, &m, NULL, 0, 0), -EINVAL);
	assert_int_equal(famez_group_enter(a, 1), -EINVAL);
	assert_int_equal(famez_group_exit(a, 1), -EINVAL);
	assert_int_equal(famez_group_send(a, 1, "x", 1, 0, 0), -EINVAL);
	assert_int_equal(famez_who(a, 1, &who), -EINVAL);
	assert_int_equal(famez_who_after(a, -1), -1);
	assert_int_equal(famez_who_named(a, "a"), -EINVAL);
	assert_int_equal(famez_traffic(a, 1, 1, &traffic), -EINVAL);
	end = connect_with(fab.s, &half, NULL);
	assert_int_equal(famez_mailbox_open(half, &how), -ENOTCONN);
	famez_leave(half);
	close(end);
	fabric_end(&fab);
}

static void what_cannot_be_sent_says_why(void **state)
{
	struct fabric fab;
	struct famez *a;
	void *room;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	(void)fabric_join(&fab, 2);
	(void)fabric_member(&fab, 3);
	assert_int_equal(send_text(a, 0, "x"), -EINVAL);
	assert_int_equal(send_text(a, 6, "x"), -EINVAL);
	assert_int_equal(send_text(a, 4, "x"), -ENOTCONN);
	assert_int_equal(send_text(a, 5, "x"), -ENOTCONN); /* the server, which is no peer */
	assert_int_equal(send_text(a, 2, "x"), -EOPNOTSUPP);
	assert_int_equal(famez_claim(a, 2, 1, &room), -EOPNOTSUPP);
	assert_int_equal(famez_claim(a, 4, 1, &room), -ENOTCONN);
	assert_int_equal(famez_claim(a, 0, 1, &room), -EINVAL);
	assert_int_equal(famez_claim(a, 3, SIZE_MAX, &room), -EMSGSIZE);
	assert_int_equal(
		famez_send(a, &(struct famez_to){.peer = 3}, "x", SIZE_MAX - 8, 0, 0), -EMSGSIZE);
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 3}, "x", 1, 2, 0), -EINVAL);
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 3, .type = FAMEZ_MESSAGE_GROUP},
				 "x", 1, 0, 0),
		-EINVAL);
	assert_int_equal(famez_flush(a, 4), -ENOTCONN);
	assert_int_equal(famez_flush(a, 0), -ENOTCONN);
	assert_int_equal(famez_flush(a, 999), -ENOTCONN);
	(void)fill(a, 3, 100);
	assert_int_equal(famez_claim(a, 3, 100, &room), -EAGAIN);
	assert_int_equal(famez_group_enter(a, 1), -ENOTCONN);
	assert_int_equal(famez_group_exit(a, 1), -ENOTCONN);
	assert_int_equal(famez_group_send(a, 1, "x", 1, 0, 0), -ENOTCONN);
	assert_int_equal(famez_group_enter(a, 0), -EINVAL);
	assert_int_equal(famez_group_enter(a, 4096), -EINVAL);
	fabric_end(&fab);
}

static void a_file_without_a_message_layer_is_not_supported(void **state)
{
	struct server *s = *state;
	struct famez_mailbox how = {.name = "a"};
	struct famez *f;
	int end = join(s, &f, 1);

	assert_int_equal(famez_mailbox_open(f, &how), -EOPNOTSUPP);
	famez_leave(f);
	close(end);
}

static void a_header_that_makes_no_sense_is_a_protocol_error(void **state)
{
	struct fabric fab;
	struct famez_mailbox how = {.name = "a"};
	struct famez_header *h, good;
	struct famez *f;
	int end;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	h = famez_header_at(fab.base);
	good = *h;
	end = join(fab.s, &f, 1);
	for (unsigned which = 0; which < 9; which++) {
		*h = good;
		*(which == 0         ? &h->version
			: which == 1 ? &h->ids
			: which == 2 ? &h->server_id
			: which == 3 ? &h->vectors
			: which == 4 ? &h->lane_bytes
			: which == 5 ? &h->server_shards
			: which == 6 ? (uint32_t *)&h->bytes
			: which == 7 ? (uint32_t *)&h->bytes + 1
				     : &h->features) = 7 + (which == 8 ? 0 : UINT32_C(1) << 20);
		if (which == 8)
			h->vectors = 1;
		assert_int_equal(famez_mailbox_open(f, &how), -EPROTO);
	}
	*h = good;
	famez_leave(f);
	close(end);
	/* IDs that the file does not have, or has for others. */
	for (unsigned i = 0; i < 3; i++) {
		end = join(fab.s, &f, (const uint16_t[]){0, 5, 6}[i]);
		assert_int_equal(famez_mailbox_open(f, &how), -EPROTO);
		famez_leave(f);
		close(end);
	}
	fabric_end(&fab);
}

static void without_descriptors_there_is_no_mailbox_and_no_harm(void **state)
{
	struct fabric fab;
	struct rlimit limit, none;
	struct famez *a;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_join(&fab, 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(famez_mailbox_open(a, &(struct famez_mailbox){.name = "a"}), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	fabric_open(a, "a");
	fabric_end(&fab);
}

static void figures_of_a_lane_are_there_for_anyone(void **state)
{
	struct fabric fab;
	struct famez *a, *b, *c;
	struct famez_traffic traffic;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	c = fabric_member(&fab, 3);
	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "12345"), 0);
	assert_int_equal(send_text(a, 2, "123"), 0);
	assert_int_equal(famez_traffic(c, 1, 2, &traffic), 0);
	assert_int_equal(traffic.messages, 2);
	assert_int_equal(traffic.payload_bytes, 8);
	assert_int_equal(traffic.rings, 1);
	assert_int_equal(traffic.full, 0);
	assert_int_equal(traffic.unread_bytes, 24 + 24);
	(void)drain(b);
	expect_nothing(b);
	assert_int_equal(famez_traffic(c, 1, 2, &traffic), 0);
	assert_int_equal(traffic.unread_bytes, 0);
	assert_int_equal(famez_traffic(c, 1, 6, &traffic), -EINVAL);
	assert_int_equal(famez_traffic(c, 6, 1, &traffic), -EINVAL);
	fabric_end(&fab);
}

/* ---- the rest of the handle while we receive ----------------------------------------------- */

static void receive_nothing(struct famez *f)
{
	struct famez_message m;
	char into[8];

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(famez_recv(f, &m, into, sizeof(into), i < 9 ? 0 : 1), 0);
}

static void what_is_met_while_receiving_is_told_afterwards(void **state)
{
	struct fabric fab;
	struct famez *a;
	int end, fd = eventfd_new();

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	end = fab.end[1];
	for (unsigned v = 0; v < 100; v++)
		say(end, 4, fd);
	receive_nothing(a);
	for (uint16_t v = 0; v < 60; v++)
		expect_vector(a, 4, v);
	say(end, 4, fd);
	receive_nothing(a);
	for (uint16_t v = 60; v < 101; v++)
		expect_vector(a, 4, v);
	/* It leaves, and comes again. */
	say(end, 4, -1);
	say(end, 4, fd);
	say(end, 4, fd);
	receive_nothing(a);
	assert_int_equal(expect(a, FAMEZ_EVENT_LEFT).peer, 4);
	expect_vector(a, 4, 0);
	expect_vector(a, 4, 1);
	/* Others come and go, unseen. */
	for (unsigned i = 0; i < 10; i++) {
		say(end, 3, fd);
		say(end, 3, -1);
	}
	say(end, 4, -1);
	receive_nothing(a);
	assert_int_equal(expect(a, FAMEZ_EVENT_LEFT).peer, 4);
	expect_nothing(a);
	close(fab.end[1]);
	receive_nothing(a);
	expect(a, FAMEZ_EVENT_LOST);
	expect_nothing(a);
	fab.end[1] = open("/dev/null", O_RDONLY | O_CLOEXEC); /* to be closed in the end */
	close(fd);
	fabric_end(&fab);
}

static void who_only_receives_hears_its_bells_however_many_there_are(void **state)
{
	struct fabric fab;
	struct famez *a;
	int end, fd = eventfd_new(), own = eventfd_new();
	uint64_t one = 1;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	end = fab.end[1];
	for (unsigned v = 0; v < 150; v++)
		say(end, 4, fd);
	say(end, 1, own);
	assert_int_equal(write(own, &one, sizeof(one)), sizeof(one));
	/* Until the bell was learnt, and was found rung. */
	for (unsigned i = 0; i < 1000 && readable(own); i++)
		receive_nothing(a);
	assert_int_equal(read(own, &one, sizeof(one)), -1);
	assert_int_equal(errno, EAGAIN);
	close(own);
	close(fd);
	fabric_end(&fab);
}

static void doorbells_met_while_receiving_add_up(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_message m;
	struct famez_event event;
	char into[8];

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(famez_ring(b, 1, 0), 0);
		assert_int_equal(famez_ring(b, 1, 4), 0);
		assert_int_equal(famez_recv(a, &m, into, sizeof(into), 1), 0);
		assert_int_equal(famez_recv(a, &m, into, sizeof(into), 1), 0);
	}
	event = expect(a, FAMEZ_EVENT_DOORBELL);
	assert_int_equal(event.vector, 0);
	assert_int_equal(event.count, 3);
	event = expect(a, FAMEZ_EVENT_DOORBELL);
	assert_int_equal(event.vector, 4);
	assert_int_equal(event.count, 3);
	expect_nothing(a);
	fabric_end(&fab);
}

static void neither_messages_nor_doorbells_starve_the_other(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_event event;
	unsigned seen[FAMEZ_EVENT_GARBLED + 1] = {0};

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(send_text(b, 1, "never taken"), 0);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(famez_ring(b, 1, 0), 0);
		assert_int_equal(famez_next(a, &event), 1);
		seen[event.kind]++;
	}
	assert_true(seen[FAMEZ_EVENT_MESSAGE] > 10);
	assert_true(seen[FAMEZ_EVENT_DOORBELL] > 10);
	fabric_end(&fab);
}

static void a_mailbox_takes_one_descriptor_and_leaving_gives_it_back(void **state)
{
	struct fabric fab;
	struct famez *a;
	unsigned before;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_join(&fab, 1);
	before = open_descriptors();
	fabric_open(a, "a");
	assert_int_equal(open_descriptors(), before + 1);
	fabric_end(&fab);
}

/* ---- hostile memory ------------------------------------------------------------------------ */

static void a_garbled_lane_is_told_of_and_heals(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_lane *lane;
	struct famez_traffic traffic;
	uint64_t *head;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	assert_int_equal(send_text(a, 2, "lost"), 0);
	assert_int_equal(send_text(a, 2, "lost too"), 0);
	lane = famez_lane_at(fab.base, &fab.g, 2, 1);
	head = (uint64_t *)(void *)famez_lane_data_at(fab.base, &fab.g, 2, 1);
	*head = UINT64_C(0x123456789abcdef);
	assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "found"), 0);
	expect_text(b, 1, "found");
	/* A head that vanished; nobody reads it, but `produced` tells. */
	assert_int_equal(send_text(a, 2, "lost again"), 0);
	head = (uint64_t *)(void *)(famez_lane_data_at(fab.base, &fab.g, 2, 1) +
				    (lane->produced - 32));
	*head = 0;
	assert_int_equal(expect(b, FAMEZ_EVENT_GARBLED).peer, 1);
	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "found again"), 0);
	expect_text(b, 1, "found again");
	assert_int_equal(famez_traffic(b, 1, 2, &traffic), 0);
	assert_int_equal(traffic.garbled, 2);
	fabric_end(&fab);
}

static void a_scribbled_position_of_the_receiver_does_not_hurt_the_sender(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_lane *lane;
	unsigned count;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	lane = famez_lane_at(fab.base, &fab.g, 2, 1);
	assert_int_equal(send_text(a, 2, "before"), 0);
	expect_text(b, 1, "before");
	count = fill(a, 2, 100);
	for (unsigned i = 0; i < 4; i++) {
		lane->consumed = (const uint64_t[]){UINT64_MAX, 3, 1 << 30, UINT64_C(1) << 63}[i];
		assert_int_equal(
			famez_send(a, &(struct famez_to){.peer = 2}, payload, 100, 0, 0), -EAGAIN);
	}
	assert_int_equal(drain(b), count);
	expect_nothing(b);
	assert_int_equal(send_text(a, 2, "y"), 0);
	expect_text(b, 1, "y");
	fabric_end(&fab);
}

static void wait_readable(struct famez *f)
{
	struct pollfd ready = {.fd = famez_fd(f), .events = POLLIN};

	assert_int_equal(poll(&ready, 1, 60000), 1); /* a guard against hanging */
}

static void a_scribbled_sleeper_wakes_all_the_same(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_event event;
	unsigned kinds = 0;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	/* It sleeps, and somebody says that it does not; the bit is wiped out too. */
	expect_nothing(b);
	famez_inbox_at(fab.base, &fab.g, 2)->asleep[0] = 0;
	assert_int_equal(send_text(a, 2, "late"), 0);
	*famez_bitmap_at(fab.base, &fab.g, 2, 1) = 0;
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
	fabric_end(&fab);
}

static void our_own_entry_is_set_right_when_somebody_scribbles_on_it(void **state)
{
	struct fabric fab;
	struct famez *a, *b;
	struct famez_entry *e, good;
	uint64_t heartbeat;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	e = famez_entry_at(fab.base, &fab.g, 1);
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
	fabric_end(&fab);
}

static void who_is_never_idle_still_shows_that_it_lives(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct famez_message m;
	struct famez_who who;
	uint64_t heartbeat;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	assert_int_equal(famez_who(a, 1, &who), 0);
	heartbeat = who.heartbeat;
	while (who.heartbeat == heartbeat) { /* ends, or the test's guard ends it */
		assert_int_equal(famez_peek(a, &m), 0);
		assert_int_equal(famez_who(a, 1, &who), 0);
	}
	fabric_end(&fab);
}

static void any_word_in_the_file_may_be_anything(void **state)
{
	struct fabric fab;
	struct famez *f[3];
	unsigned seed = 20261122;

	fprintf(stderr, "seed %u\n", seed);
	fabric_make(&fab, state, &(struct fabric_kind){.bytes = 1 << 18});
	for (uint16_t id = 1; id <= 3; id++)
		f[id - 1] = fabric_member(&fab, id);
	for (unsigned round = 0; round < 30000; round++) {
		uint64_t *words = fab.base;
		struct famez *one = f[rand_r(&seed) % 3];
		struct famez_event event;
		struct famez_message m;
		struct famez_who who;
		char into[64] = {0};

		for (unsigned i = rand_r(&seed) % 4; i; i--) {
			/* Mostly where something stands. */
			uint64_t at = rand_r(&seed) % 2 ? rand_r(&seed) % (fab.g.bytes / 8)
							: rand_r(&seed) % (fab.g.data_offset / 8);
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
	fabric_end(&fab);
}

/* ---- v1 slots ------------------------------------------------------------------------------ */

/* Where a v1 client has its words in its slot. */
struct v1 {
	uint64_t *length;
	char *text;
};

static struct v1 v1_slot(struct fabric *fab, uint16_t id)
{
	char *slot = (char *)famez_slot_at(fab->base, id);

	return (struct v1){
		(uint64_t *)(void *)(slot + (fab->g.features & FAMEZ_FEATURE_OLD_SLOTS ? 32 : 64)),
		slot + 128};
}

/* A v1 client: it has a name in its slot, and doorbells. */
static struct famez *v1_join(struct fabric *fab, uint16_t id, const char *name)
{
	struct famez *f = fabric_join(fab, id);

	memcpy(famez_slot_at(fab->base, id), name, strlen(name) + 1);
	return f;
}

static void v1_says(struct fabric *fab, uint16_t from, uint16_t to, const char *text)
{
	struct v1 slot = v1_slot(fab, from);

	assert_int_equal(*slot.length, 0);
	*slot.length = strlen(text);
	memcpy(slot.text, text, strlen(text) + 1);
	assert_int_equal(write(fab->bell[to][from], &(uint64_t){1}, 8), 8);
}

static void talk_with_a_v1_client(void **state, bool old_slots)
{
	struct fabric fab;
	struct famez *a, *old;
	struct famez_message m;
	struct famez_who who;
	struct v1 mine;

	fabric_make(&fab, state, &(struct fabric_kind){.old_slots = old_slots});
	old = v1_join(&fab, 2, "old");
	a = fabric_member(&fab, 1);
	mine = v1_slot(&fab, 1);
	assert_int_equal(famez_who(a, 2, &who), 0);
	assert_string_equal(who.name, "old");
	assert_int_equal(who.slot, 1);
	assert_int_equal(who.lanes, 0);
	assert_int_equal(famez_who_named(a, "old"), 2);
	/* What it sees of us. */
	assert_string_equal((char *)fab.base + 512, "n1");
	assert_int_equal(*(uint64_t *)(void *)((char *)fab.base + 512 + (old_slots ? 40 : 72)), 1);
	/* From it. */
	expect_nothing(a);
	v1_says(&fab, 2, 1, "ping");
	expect(a, FAMEZ_EVENT_MESSAGE);
	m = expect_text(a, 2, "ping");
	assert_int_equal(m.slot, 1);
	assert_int_equal(m.type, FAMEZ_MESSAGE_LINK);
	assert_int_equal(m.origin, 2);
	assert_int_equal(*v1_slot(&fab, 2).length, 0);
	expect_nothing(a);
	/* To it. */
	assert_int_equal(send_text(a, 2, "pong"), 0);
	assert_int_equal(*mine.length, 4);
	assert_string_equal(mine.text, "pong");
	assert_int_equal(expect(old, FAMEZ_EVENT_DOORBELL).vector, 1);
	assert_int_equal(send_text(a, 2, "not yet"), -EAGAIN);
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 2}, "x", 1, 0, 1), -ETIMEDOUT);
	assert_string_equal(mine.text, "pong");
	*mine.length = 0;
	wait_readable(a);
	assert_int_equal(expect(a, FAMEZ_EVENT_ROOM).peer, 2);
	assert_int_equal(send_text(a, 2, "now"), 0);
	assert_string_equal(mine.text, "now");
	fabric_end(&fab);
}

static void a_v1_client_and_we_talk_by_slots(void **state)
{
	talk_with_a_v1_client(state, false);
}

static void an_older_v1_client_and_we_talk_by_slots(void **state)
{
	talk_with_a_v1_client(state, true);
}

static void a_slot_takes_383_bytes_and_no_more(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct famez_to to = {.peer = 2};
	struct famez_message m;
	char text[384], got[384];

	memset(text, 'x', sizeof(text));
	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	v1_join(&fab, 2, "old");
	assert_int_equal(famez_send(a, &to, text, 384, 0, 0), -EMSGSIZE);
	assert_int_equal(famez_send(a, &to, text, 0, 0, 0), -EMSGSIZE);
	assert_int_equal(famez_send(a, &to, text, 383, FAMEZ_MORE, 0), -EOPNOTSUPP);
	assert_int_equal(famez_send(a, &to, text, 383, 0, 0), 0);
	assert_int_equal(*v1_slot(&fab, 1).length, 383);
	text[383] = 0;
	v1_says(&fab, 2, 1, text);
	assert_int_equal(famez_recv(a, &m, got, 382, 1), -EMSGSIZE);
	assert_int_equal(famez_recv(a, &m, got, 383, 1), 1);
	assert_int_equal(m.bytes, 383);
	assert_memory_equal(got, text, 383);
	fabric_end(&fab);
}

static void a_slot_with_a_senseless_length_is_told_of_and_emptied(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct v1 slot;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	v1_join(&fab, 2, "old");
	slot = v1_slot(&fab, 2);
	*slot.length = UINT64_MAX;
	assert_int_equal(write(fab.bell[1][2], &(uint64_t){1}, 8), 8);
	assert_int_equal(expect(a, FAMEZ_EVENT_GARBLED).peer, 2);
	expect_nothing(a);
	assert_int_equal(*slot.length, 0);
	v1_says(&fab, 2, 1, "well");
	expect(a, FAMEZ_EVENT_MESSAGE);
	expect_text(a, 2, "well");
	fabric_end(&fab);
}

static void a_text_that_nobody_will_take_gives_its_slot_back(void **state)
{
	struct fabric fab;
	struct famez *a;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	v1_join(&fab, 2, "dies");
	v1_join(&fab, 3, "lives");
	assert_int_equal(send_text(a, 2, "unread"), 0);
	assert_int_equal(send_text(a, 3, "read me"), -EAGAIN);
	fabric_leave(&fab, 2);
	assert_int_equal(send_text(a, 3, "read me"), 0);
	assert_string_equal(v1_slot(&fab, 1).text, "read me");
	fabric_end(&fab);
}

static void a_spoofed_text_goes_by_the_slot_of_who_is_to_have_said_it(void **state)
{
	struct fabric fab;
	struct famez *a, *old;
	struct famez_to to = {.peer = 2, .spoof = 1, .origin = 3};

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	old = v1_join(&fab, 2, "old");
	v1_join(&fab, 3, "other");
	assert_int_equal(famez_send(a, &to, "lie", 3, 0, 0), 0);
	assert_string_equal(v1_slot(&fab, 3).text, "lie");
	assert_int_equal(expect(old, FAMEZ_EVENT_DOORBELL).vector, 3);
	to.origin = 9;
	assert_int_equal(famez_send(a, &to, "lie", 3, 0, 0), -EINVAL);
	fabric_end(&fab);
}

static void without_vectors_for_all_there_is_no_talk_by_slots(void **state)
{
	struct fabric fab;
	struct famez *a;

	fabric_make(&fab, state, &(struct fabric_kind){.vectors = 1});
	a = fabric_member(&fab, 1);
	v1_join(&fab, 2, "old");
	assert_int_equal(send_text(a, 2, "x"), -EOPNOTSUPP);
	fabric_end(&fab);
}

static void a_slot_of_who_has_lanes_is_not_ours_to_take(void **state)
{
	struct fabric fab;
	struct famez *a, *b;

	fabric_make(&fab, state, &(struct fabric_kind){0});
	a = fabric_member(&fab, 1);
	b = fabric_member(&fab, 2);
	v1_join(&fab, 3, "old");
	assert_int_equal(send_text(b, 3, "for old"), 0);
	assert_int_equal(send_text(b, 1, "for us"), 0);
	expect(a, FAMEZ_EVENT_MESSAGE);
	expect_text(a, 2, "for us");
	expect_nothing(a);
	assert_int_equal(*v1_slot(&fab, 2).length, 7);
	fabric_end(&fab);
}

/* ---- the server as a peer ------------------------------------------------------------------ */

static void messages_to_the_server_ring_its_vector_and_name_their_group(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct famez_rx rx;
	struct famez_seen seen = {.payload = ""};

	fabric_make(&fab, state, &(struct fabric_kind){.server = true});
	a = fabric_member(&fab, 2);
	famez_rx_open(&rx, fab.base, &fab.g, 5, 2, 1);
	famez_inbox_at(fab.base, &fab.g, 5)->asleep[0] = 77;
	assert_int_equal(famez_group_enter(a, 9), 0);
	assert_int_equal(rings(fab.bell[5][2]), 1);
	assert_int_equal(famez_group_send(a, 9, "all", 3, 0, 0), 0);
	assert_int_equal(famez_group_exit(a, 4095), 0);
	assert_int_equal(famez_rx_peek(&rx, &seen), 1);
	assert_int_equal(seen.kind, FAMEZ_KIND(FAMEZ_TYPE_GROUP_ENTER, 9));
	(void)famez_rx_release(&rx);
	assert_int_equal(famez_rx_peek(&rx, &seen), 1);
	assert_int_equal(seen.kind, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 9));
	assert_memory_equal(seen.payload, "all", 3);
	(void)famez_rx_release(&rx);
	assert_int_equal(famez_rx_peek(&rx, &seen), 1);
	assert_int_equal(seen.kind, FAMEZ_KIND(FAMEZ_TYPE_GROUP_EXIT, 4095));
	fabric_end(&fab);
}

static void group_messages_come_from_the_server_only(void **state)
{
	struct fabric fab;
	struct famez *a;
	struct famez_tx tx;
	struct famez_message m;
	uint32_t generation;
	char nowhere[8];
	void *room = nowhere;

	fabric_make(&fab, state, &(struct fabric_kind){.server = true});
	a = fabric_member(&fab, 2);
	(void)fabric_member(&fab, 3);
	generation = famez_entry_at(fab.base, &fab.g, 2)->generation;
	for (uint32_t sender = 3; sender <= 5; sender += 2) {
		uint32_t rung = 0;

		famez_tx_open(&tx, fab.base, &fab.g, 2, sender,
			famez_entry_at(fab.base, &fab.g, sender)->generation, generation);
		assert_int_equal(famez_tx_claim(&tx, 3, &room), 0);
		memcpy(room, "all", 3);
		famez_tx_commit(&tx, 3, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 9), 3);
		assert_true(famez_tx_flush(&tx));
		(void)famez_nudge(fab.base, &fab.g, 2, sender, &rung);
	}
	m = expect_text(a, 5, "all");
	assert_int_equal(m.type, FAMEZ_MESSAGE_GROUP);
	assert_int_equal(m.group, 9);
	assert_int_equal(m.origin, 3);
	expect_no_message(a);
	fabric_end(&fab);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

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
		T(an_ids_next_owner_reads_nothing_of_the_last_ones),
		T(an_ids_next_owner_is_not_taken_for_the_last_one),
		T(last_words_are_heard),
		T(who_waits_for_room_is_told_when_the_receiver_goes),
		T(who_died_amid_a_batch_leaves_no_part_of_it),
		T(watchers_hear_of_joins_mailboxes_and_leaves),
		T(a_peer_that_starts_anew_goes_down_and_comes_up),
		T(the_directory_says_who_is_there),
		T(names_from_the_file_are_shown_harmless),
		T(names_that_would_not_do_are_refused),
		T(opening_twice_in_a_life_gives_another_generation),
		T(what_an_earlier_owner_left_in_its_entry_does_not_count),
		T(without_a_mailbox_there_are_no_messages),
		T(what_cannot_be_sent_says_why),
		T(a_file_without_a_message_layer_is_not_supported),
		T(a_header_that_makes_no_sense_is_a_protocol_error),
		T(without_descriptors_there_is_no_mailbox_and_no_harm),
		T(figures_of_a_lane_are_there_for_anyone),
		T(what_is_met_while_receiving_is_told_afterwards),
		T(who_only_receives_hears_its_bells_however_many_there_are),
		T(doorbells_met_while_receiving_add_up),
		T(neither_messages_nor_doorbells_starve_the_other),
		T(a_mailbox_takes_one_descriptor_and_leaving_gives_it_back),
		T(a_garbled_lane_is_told_of_and_heals),
		T(a_scribbled_position_of_the_receiver_does_not_hurt_the_sender),
		T(a_scribbled_sleeper_wakes_all_the_same),
		T(our_own_entry_is_set_right_when_somebody_scribbles_on_it),
		T(who_is_never_idle_still_shows_that_it_lives),
		T(any_word_in_the_file_may_be_anything),
		T(a_v1_client_and_we_talk_by_slots),
		T(an_older_v1_client_and_we_talk_by_slots),
		T(a_slot_takes_383_bytes_and_no_more),
		T(a_slot_with_a_senseless_length_is_told_of_and_emptied),
		T(a_text_that_nobody_will_take_gives_its_slot_back),
		T(a_spoofed_text_goes_by_the_slot_of_who_is_to_have_said_it),
		T(without_vectors_for_all_there_is_no_talk_by_slots),
		T(a_slot_of_who_has_lanes_is_not_ours_to_take),
		T(messages_to_the_server_ring_its_vector_and_name_their_group),
		T(group_messages_come_from_the_server_only),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
