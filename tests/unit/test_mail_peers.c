/* SPDX-License-Identifier: MIT */
/*
 * test_mail_peers.c - messages of libfamez: who is there, who was, and the server as a peer.
 */
#include "mail_fixture.h"

static void an_ids_next_owner_reads_nothing_of_the_last_ones(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b;
	struct famez_traffic traffic;

	fabric_member(fab, 2);
	assert_int_equal(send_text(a, 2, "for the first"), 0);
	fabric_leave(fab, 2);
	assert_int_equal(send_text(a, 2, "for nobody"), -ENOTCONN);
	b = fabric_member(fab, 2);
	expect_no_message(b);
	assert_int_equal(send_text(a, 2, "for the second"), 0);
	expect_text(b, 1, "for the second");
	assert_int_equal(famez_traffic(b, 1, 2, &traffic), 0);
	assert_int_equal(traffic.stale, 1);
}

static void an_ids_next_owner_is_not_taken_for_the_last_one(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);

	assert_int_equal(send_text(a, 2, "of the first"), 0);
	fabric_leave(fab, 1);
	a = fabric_member(fab, 1);
	assert_int_equal(send_text(a, 2, "of the second"), 0);
	expect_text(b, 1, "of the second");
	expect_no_message(b);
}

static void last_words_are_heard(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);

	assert_int_equal(send_text(a, 2, "farewell"), 0);
	fabric_leave(fab, 1);
	expect_text(b, 1, "farewell");
}

static void who_waits_for_room_is_told_when_the_receiver_goes(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);

	fabric_member(fab, 2);
	(void)fill(a, 2, 100);
	expect_nothing(a);
	fabric_leave(fab, 2);
	assert_true(readable(famez_fd(a)));
	expect(a, FAMEZ_EVENT_ROOM);
	assert_int_equal(send_text(a, 2, "x"), -ENOTCONN);
	assert_int_equal(expect(a, FAMEZ_EVENT_LEFT).peer, 2);
}

static void a_batch_is_for_whom_it_was_begun_for_and_lost_with_him(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	const struct famez_to to = {.peer = 2};
	struct famez_traffic traffic;
	void *room;

	assert_int_equal(famez_send(a, &to, "heard", 5, FAMEZ_MORE, 0), 0);
	assert_int_equal(famez_flush(a, 2), 0);
	expect_text(b, 1, "heard");
	assert_int_equal(famez_send(a, &to, "begun", 5, FAMEZ_MORE, 0), 0);
	fabric_leave(fab, 2);
	b = fabric_member(fab, 2);
	assert_int_equal(famez_send(a, &to, "more", 4, FAMEZ_MORE, 0), 0);
	assert_int_equal(send_text(a, 2, "end"), 0);
	expect_no_message(b);
	assert_int_equal(famez_traffic(b, 1, 2, &traffic), 0);
	assert_int_equal(traffic.stale, 3);
	assert_int_equal(send_text(a, 2, "for the next"), 0);
	expect_text(b, 1, "for the next");
	/* A claim is for one owner, too. */
	assert_int_equal(famez_claim(a, 2, 5, &room), 0);
	memcpy(room, "claim", 5);
	fabric_leave(fab, 2);
	b = fabric_member(fab, 2);
	assert_int_equal(famez_commit(a, &to, 5, 0), 0);
	expect_no_message(b);
}

static void a_batch_for_who_has_gone_is_taken_and_a_flush_says_that_nobody_is_there(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	const struct famez_to to = {.peer = 2};

	fabric_member(fab, 2);
	assert_int_equal(famez_send(a, &to, "begun", 5, FAMEZ_MORE, 0), 0);
	fabric_leave(fab, 2);
	assert_int_equal(famez_send(a, &to, "more", 4, FAMEZ_MORE, 0), 0);
	assert_int_equal(famez_flush(a, 2), -ENOTCONN);
	assert_int_equal(famez_send(a, &to, "new", 3, FAMEZ_MORE, 0), -ENOTCONN);
	expect_no_message(fabric_member(fab, 2));
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
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_lane *lane;
	uint64_t produced, *head;

	assert_int_equal(send_text(a, 2, "whole"), 0);
	lane = famez_lane_at(fab->base, &fab->g, 2, 1);
	produced = lane->produced;
	assert_int_equal(famez_send(a, &(struct famez_to){.peer = 2}, "part", 4, FAMEZ_MORE, 0), 0);
	/* As if it had died here: what leaving publishes is taken back. */
	fabric_killed(fab, 1);
	lane->produced = produced;
	head = (uint64_t *)(void *)(famez_lane_data_at(fab->base, &fab->g, 2, 1) + produced);
	*head = 0;
	expect_text(b, 1, "whole");
	expect_no_message(b);
	a = fabric_member(fab, 1);
	assert_int_equal(send_text(a, 2, "next"), 0);
	expect_text(b, 1, "next");
}

static void watchers_hear_of_joins_mailboxes_and_leaves(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez_mailbox how = {.name = "watcher", .watch = 1};
	struct famez *a;
	struct famez_who who;

	fabric_member(fab, 1);
	a = fabric_join(fab, 2);
	assert_int_equal(famez_mailbox_open(a, &how), 0);
	assert_int_equal(expect(a, FAMEZ_EVENT_UP).peer, 1); /* who is there already */
	expect_nothing(a);
	(void)fabric_join(fab, 3);
	fabric_open(fab->member[3], "new");
	/* Its opening the mailbox rang us. The server's VECTORs were told while it joined. */
	assert_true(readable(famez_fd(a)));
	assert_int_equal(expect(a, FAMEZ_EVENT_UP).peer, 3);
	assert_int_equal(famez_who(a, 3, &who), 0);
	assert_string_equal(who.name, "new");
	assert_int_equal(who.lanes, 1);
	expect_nothing(a);
	fabric_leave(fab, 3);
	assert_int_equal(expect(a, FAMEZ_EVENT_LEFT).peer, 3);
	/* The broker rings who watches; here it is the test. */
	famez_entry_at(fab->base, &fab->g, 3)->joins++;
	assert_int_equal(write(fab->bell[2][5], &(uint64_t){1}, 8), 8);
	assert_int_equal(expect(a, FAMEZ_EVENT_DOWN).peer, 3);
	expect_nothing(a);
}

static void a_peer_that_starts_anew_goes_down_and_comes_up(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez_mailbox how = {.name = "watcher", .watch = 1};
	struct famez *a;
	struct famez_entry *e;

	fabric_member(fab, 1);
	a = fabric_join(fab, 2);
	assert_int_equal(famez_mailbox_open(a, &how), 0);
	fabric_settle(a);
	/* As a guest's driver does after a reset. */
	e = famez_entry_at(fab->base, &fab->g, 1);
	e->generation++;
	famez_header_at(fab->base)->changes++;
	assert_int_equal(write(fab->bell[2][1], &(uint64_t){1}, 8), 8);
	assert_int_equal(expect(a, FAMEZ_EVENT_DOWN).peer, 1);
	assert_int_equal(expect(a, FAMEZ_EVENT_UP).peer, 1);
	expect_nothing(a);
}

static void the_directory_says_who_is_there(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.server = true});
	struct famez *a = fabric_member(fab, 1);
	struct famez_mailbox how = {.name = "gamma", .cclass = "Memory"};
	struct famez_who who;

	assert_int_equal(famez_mailbox_open(fabric_join(fab, 3), &how), 0);
	famez_entry_at(fab->base, &fab->g, 3)->cid = 300;
	famez_entry_at(fab->base, &fab->g, 3)->sid = 27;
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
	fabric_leave(fab, 3);
	assert_int_equal(famez_who_named(a, "gamma"), -ENOENT);
}

static void names_from_the_file_are_shown_harmless(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez_who who;
	struct famez_entry *e;

	fabric_member(fab, 2);
	e = famez_entry_at(fab->base, &fab->g, 2);
	memset(e->name, 'n', sizeof(e->name)); /* no end */
	memcpy(e->cclass, "a\033[2J \xff", 8);
	assert_int_equal(famez_who(a, 2, &who), 0);
	assert_int_equal(strlen(who.name), 31);
	assert_string_equal(who.cclass, "a?[2J??");
}

static void names_that_would_not_do_are_refused(void **state)
{
	static const char *const names[] = {NULL, "", "two words", "tab\t", "\x80",
		"a name of 32 bytes that is ....", "x23456789x123456789x123456789x12"};
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_join(fab, 1);
	unsigned before;

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
}

static void opening_twice_in_a_life_gives_another_generation(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez_who before, after;

	fabric_member(fab, 2);
	assert_int_equal(famez_who(a, 2, &before), 0);
	fabric_leave(fab, 2);
	fabric_member(fab, 2);
	assert_int_equal(famez_who(a, 2, &after), 0);
	assert_int_not_equal(after.generation, before.generation);
	assert_int_equal(after.joins, before.joins + 1);
	fabric_leave(fab, 2);
	famez_entry_at(fab->base, &fab->g, 2)->generation = UINT32_MAX;
	fabric_member(fab, 2);
	assert_int_equal(famez_who(a, 2, &after), 0);
	assert_int_not_equal(after.generation, 0);
}

static void what_an_earlier_owner_left_in_its_entry_does_not_count(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez_who who;

	fabric_member(fab, 2);
	fabric_killed(fab, 2);
	fabric_join(fab, 2);
	assert_int_equal(famez_who(a, 2, &who), 0);
	assert_int_equal(who.lanes, 0);
	assert_int_equal(who.generation, 0);
}

/* ---- the server as a peer ------------------------------------------------------------------ */

static void messages_to_the_server_ring_its_vector_and_name_their_group(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.server = true});
	struct famez *a = fabric_member(fab, 2);
	struct famez_rx rx;
	struct famez_seen seen = {.payload = ""};

	famez_rx_open(&rx, fab->base, &fab->g, 5, 2, 1);
	famez_inbox_at(fab->base, &fab->g, 5)->asleep[0] = 77;
	assert_int_equal(famez_group_enter(a, 9), 0);
	assert_int_equal(rings(fab->bell[5][2]), 1);
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
}

static void group_messages_come_from_the_server_only(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.server = true});
	struct famez *a = fabric_member(fab, 2);
	struct famez_tx tx;
	struct famez_message m;
	uint32_t generation;
	char nowhere[8];
	void *room = nowhere;

	(void)fabric_member(fab, 3);
	generation = famez_entry_at(fab->base, &fab->g, 2)->generation;
	for (uint32_t sender = 3; sender <= 5; sender += 2) {
		uint32_t rung = 0;

		famez_tx_open(&tx, fab->base, &fab->g, 2, sender,
			famez_entry_at(fab->base, &fab->g, sender)->generation, generation);
		assert_int_equal(famez_tx_claim(&tx, 3, &room), 0);
		memcpy(room, "all", 3);
		famez_tx_commit(&tx, 3, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 9), 3);
		assert_true(famez_tx_flush(&tx));
		(void)famez_nudge(fab->base, &fab->g, 2, sender, &rung);
	}
	m = expect_text(a, 5, "all");
	assert_int_equal(m.type, FAMEZ_MESSAGE_GROUP);
	assert_int_equal(m.group, 9);
	assert_int_equal(m.origin, 3);
	expect_no_message(a);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(an_ids_next_owner_reads_nothing_of_the_last_ones),
		T(an_ids_next_owner_is_not_taken_for_the_last_one),
		T(last_words_are_heard),
		T(who_waits_for_room_is_told_when_the_receiver_goes),
		T(a_batch_is_for_whom_it_was_begun_for_and_lost_with_him),
		T(a_batch_for_who_has_gone_is_taken_and_a_flush_says_that_nobody_is_there),
		T(who_died_amid_a_batch_leaves_no_part_of_it),
		T(watchers_hear_of_joins_mailboxes_and_leaves),
		T(a_peer_that_starts_anew_goes_down_and_comes_up),
		T(the_directory_says_who_is_there),
		T(names_from_the_file_are_shown_harmless),
		T(names_that_would_not_do_are_refused),
		T(opening_twice_in_a_life_gives_another_generation),
		T(what_an_earlier_owner_left_in_its_entry_does_not_count),
		T(messages_to_the_server_ring_its_vector_and_name_their_group),
		T(group_messages_come_from_the_server_only),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
