/* SPDX-License-Identifier: MIT */
/*
 * test_mail_groups.c - what peers say to groups is passed on by the workers, each to its members.
 */
#include "mail_rig.h"

static void a_record_stays_until_every_worker_has_passed_it_on(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker sender, here, there;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	joins(r, 7);
	start(&sender, r, 4, 1);
	start(&here, r, 6, 1);
	start(&there, r, 7, 1);
	enter(&sender, 9);
	enter(&here, 9);
	enter(&there, 9);
	(void)turn(r, 0);
	(void)turn(r, 1);
	say_group(&sender, 9, "one");
	say_group(&sender, 9, "two");
	while (turn(r, 0))
		;
	assert_true(hears(&here, "one"));
	assert_true(hears_nothing(&here));
	assert_true(mail_sleep(&r->workers[0]));
	assert_true(unread(&sender));
	mail_awake(&r->workers[0]);
	assert_false(mail_sleep(&r->workers[1]));
	mail_awake(&r->workers[1]);
	(void)turn(r, 1);
	assert_true(hears(&there, "one"));
	assert_false(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	for (unsigned n = 0; n < 3; n++) {
		while (turn(r, 0))
			;
		while (turn(r, 1))
			;
	}
	assert_true(hears(&here, "two"));
	assert_true(hears(&there, "two"));
	assert_true(hears_nothing(&sender));
	assert_true(mail_sleep(&r->workers[0]));
	assert_false(unread(&sender));
	rig_free(r);
}

static void no_more_is_under_way_than_there_is_room_for(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker senders[LINKS_RELAYS_MAX + 10], member;
	unsigned heard = 0;

	(void)state;
	joins(r, 1);
	start(&member, r, 1, 1);
	enter(&member, 4095);
	(void)turn(r, 1);
	for (uint32_t n = 0; n < UNIT_COUNT(senders); n++) {
		joins(r, 2 * n + 2);
		start(&senders[n], r, 2 * n + 2, 1);
		say_group(&senders[n], 4095, "hello");
	}
	while (turn(r, 0))
		;
	assert_int_equal(r->workers[0].mail.groups.relays, LINKS_RELAYS_MAX);
	assert_true(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	for (unsigned n = 0; n < 6; n++) {
		while (turn(r, 1))
			;
		while (turn(r, 0))
			;
	}
	while (hears(&member, "hello"))
		heard++;
	assert_int_equal(heard, UNIT_COUNT(senders));
	assert_int_equal(r->workers[0].mail.groups.relays, 0);
	assert_int_equal(r->workers[0].mail.counts.received, UNIT_COUNT(senders));
	rig_free(r);
}

static void members_who_leave_while_it_is_passed_on_are_left_out(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker sender, leaver, stayer;

	(void)state;
	joins(r, 4);
	joins(r, 5);
	joins(r, 7);
	start(&sender, r, 4, 1);
	start(&leaver, r, 5, 1);
	start(&stayer, r, 7, 1);
	enter(&leaver, 3);
	enter(&stayer, 3);
	(void)turn(r, 1);
	say_group(&sender, 3, "hello");
	(void)turn(r, 0);
	leaves(r, 5);
	leaves(r, 4);
	(void)turn(r, 1);
	assert_true(hears_nothing(&leaver));
	assert_true(hears(&stayer, "hello"));
	while (turn(r, 0))
		;
	assert_int_equal(r->workers[0].mail.groups.relays, 0);
	rig_free(r);
}

static void who_leaves_is_in_no_group_any_more_whichever_these_were(void **state)
{
	static const unsigned groups[] = {1, 2, 63, 64, 65, 2048, FAMEZ_GROUPS_MAX - 1};
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a, b;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&a, r, 4, 1);
	start(&b, r, 6, 1);
	for (size_t i = 0; i < UNIT_COUNT(groups); i++) {
		enter(&a, groups[i]);
		enter(&b, groups[i]);
	}
	(void)turn(r, 0);
	assert_int_equal(groups_count(&r->workers[0].mail), UNIT_COUNT(groups));
	leaves(r, 4);
	assert_int_equal(r->workers[0].mail.counts.memberships, UNIT_COUNT(groups));
	leaves(r, 6);
	assert_int_equal(r->workers[0].mail.counts.memberships, 0);
	assert_int_equal(groups_count(&r->workers[0].mail), 0);
	rig_free(r);
}

static void how_long_it_took_to_forget_who_left_is_said(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct worker *w = &r->workers[0];
	struct speaker many, few, none;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	joins(r, 8);
	start(&many, r, 4, 1);
	start(&few, r, 6, 1);
	start(&none, r, 8, 1);
	for (unsigned group = 63; group < FAMEZ_GROUPS_MAX; group += 64)
		enter(&many, group);
	enter(&few, 1);
	enter(&few, 63);
	enter(&few, 64);
	enter(&none, 5);
	say(&none, FAMEZ_KIND(FAMEZ_TYPE_GROUP_EXIT, 5), "", 0);
	(void)turn(r, 0);
	/* Of those of whom it is long, few are taken in a turn. */
	assert_int_equal(mail_left(w, 4, 2000, 0), FAMEZ_GROUPS_MAX / 64);
	assert_int_equal(mail_left(w, 6, 2002, 0), 2);
	assert_int_equal(mail_left(w, 8, 2004, 0), 0);
	assert_int_equal(mail_left(w, 5, 2006, 0), 0); /* another worker's */
	rig_free(r);
}

static void large_messages_to_many_are_spread_over_turns_and_others_answered_in_each(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker sender, members[70], stranger;
	uint32_t bytes = famez_payload_max(&r->mailbox.g);
	char *payload = calloc(1, bytes);
	unsigned turns = 0, answered = 0;

	(void)state;
	assert_non_null(payload);
	joins(r, 4);
	start(&sender, r, 4, 1);
	for (uint32_t n = 0; n < UNIT_COUNT(members); n++) {
		joins(r, 2 * n + 6);
		start(&members[n], r, 2 * n + 6, 1);
		enter(&members[n], 3);
	}
	joins(r, 150);
	start(&stranger, r, 150, 1);
	while (turn(r, 0))
		;
	/* A worker that copied everything in one turn would keep others waiting. */
	assert_true(UNIT_COUNT(members) * bytes > UINT64_C(2) * MAIL_TURN_BYTES);
	say(&sender, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 3), payload, bytes);
	while (unread(&sender)) {
		uint64_t copies = r->workers[0].mail.counts.group_copies;

		say_link(&stranger, "ping");
		say_link(&members[69], "ping"); /* it is the last to hear it */
		if (!turn(r, 0))
			assert_true(mail_sleep(&r->workers[0]));
		copies = r->workers[0].mail.counts.group_copies - copies;
		assert_true(copies * bytes < MAIL_TURN_BYTES + 2 * bytes);
		answered += hears(&stranger, "pong");
		answered += unread(&sender) && hears(&members[69], "pong");
		turns++;
	}
	assert_int_equal(r->workers[0].mail.counts.group_copies, UNIT_COUNT(members));
	assert_true(turns >= 2);
	assert_int_equal(answered, 2 * turns - 1);
	free(payload);
	rig_free(r);
}

/* Lanes for messages of 2 MiB, which takes more than one turn to copy once; and a group of
 * @members, of worker 0, that somebody has said one to. */
struct crowd {
	struct rig *r;
	struct speaker sender, members[3];
	char *payload;
	uint32_t bytes;
};

static void crowd_new(struct crowd *c, unsigned members)
{
	c->r = rig_of(&genz_fee, LAYOUT_LANES, UINT64_C(1) << 37);
	c->bytes = famez_payload_max(&c->r->mailbox.g);
	assert_true(c->bytes > UINT64_C(3) * MAIL_TURN_BYTES);
	c->payload = malloc(c->bytes);
	assert_non_null(c->payload);
	for (uint32_t i = 0; i < c->bytes; i++)
		c->payload[i] = (char)(i * 31 + i / 4096);
	joins(c->r, 4);
	start(&c->sender, c->r, 4, 1);
	for (uint32_t n = 0; n < members; n++) {
		joins(c->r, 2 * n + 6);
		start(&c->members[n], c->r, 2 * n + 6, 1);
		enter(&c->members[n], 3);
	}
	while (turn(c->r, 0))
		;
	say(&c->sender, FAMEZ_KIND(FAMEZ_TYPE_GROUP, 3), c->payload, c->bytes);
}

static void crowd_free(struct crowd *c)
{
	free(c->payload);
	rig_free(c->r);
}

static bool hears_it(struct crowd *c, struct speaker *member)
{
	struct famez_seen seen;

	if (famez_rx_peek(&member->rx, &seen) != 1)
		return false;
	assert_int_equal(seen.bytes, c->bytes);
	assert_memory_equal(seen.payload, c->payload, c->bytes);
	assert_int_equal(seen.origin, 4);
	(void)famez_rx_release(&member->rx);
	return true;
}

static void one_large_message_is_copied_piece_by_piece_and_others_are_served_between(void **state)
{
	struct crowd c;
	const uint64_t *spent;
	unsigned turns = 0, served = 0;

	(void)state;
	crowd_new(&c, 3);
	spent = &c.r->workers[0].mail.spent;
	while (unread(&c.sender)) {
		joins(c.r, 20 + 2 * turns);
		start(&c.members[0], c.r, 20 + 2 * turns, 1);
		say_link(&c.members[0], "ping");
		if (!turn(c.r, 0))
			assert_true(mail_sleep(&c.r->workers[0]));
		/* What the registrar and others want is looked at after every turn. */
		assert_true(*spent <= MAIL_TURN_BYTES + MAIL_COPY_COST);
		served += hears(&c.members[0], "pong");
		turns++;
		assert_true(turns < 40);
	}
	assert_true(turns >= UINT64_C(3) * c.bytes / MAIL_TURN_BYTES);
	assert_int_equal(served, turns);
	assert_int_equal(c.r->workers[0].mail.counts.group_copies, 3);
	for (uint32_t n = 0; n < 3; n++) {
		famez_rx_open(
			&c.members[n].rx, c.r->mailbox.base, &c.r->mailbox.g, 2 * n + 6, SERVER, 1);
		assert_true(hears_it(&c, &c.members[n]));
		assert_true(hears_nothing(&c.members[n]));
	}
	crowd_free(&c);
}

static void what_a_member_asks_in_the_middle_of_a_message_is_answered_behind_it(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 1);
	assert_true(turn(c.r, 0));
	say_link(&c.members[0], "ping!EZT=1");
	say_link(&c.members[0], "ping!EZT=3");
	assert_true(turn(c.r, 0));
	assert_true(hears_nothing(&c.members[0]));
	while (turn(c.r, 0))
		;
	assert_true(hears_it(&c, &c.members[0]));
	assert_true(hears(&c.members[0], "pong!EZT=2"));
	assert_true(hears(&c.members[0], "pong!EZT=4"));
	assert_true(hears_nothing(&c.members[0]));
	/* Entering, the message, two questions: none of them twice. */
	assert_int_equal(c.r->workers[0].mail.counts.received, 4);
	crowd_free(&c);
}

static void who_starts_anew_in_the_middle_of_a_message_gets_none_of_it(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 1);
	assert_true(turn(c.r, 0));
	start(&c.members[0], c.r, 6, 2);
	say_link(&c.members[0], "ping");
	while (turn(c.r, 0))
		;
	assert_true(hears(&c.members[0], "pong"));
	assert_true(hears_nothing(&c.members[0]));
	assert_false(unread(&c.sender));
	assert_int_equal(c.r->workers[0].mail.counts.group_copies, 0);
	crowd_free(&c);
}

static void an_id_s_next_owner_gets_nothing_of_a_message_that_the_last_one_got_half_of(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 2);
	assert_true(turn(c.r, 0));
	/* He asked, which waits; and then he is gone. */
	say_link(&c.members[0], "ping");
	assert_true(turn(c.r, 0));
	leaves(c.r, 6);
	joins(c.r, 6);
	start(&c.members[0], c.r, 6, 2);
	say_link(&c.members[0], "ping!EZT=1");
	assert_true(turn(c.r, 0));
	assert_true(hears(&c.members[0], "pong!EZT=2"));
	while (turn(c.r, 0))
		;
	assert_true(hears_nothing(&c.members[0]));
	assert_true(hears_it(&c, &c.members[1]));
	assert_int_equal(c.r->workers[0].mail.counts.group_copies, 1);
	assert_false(unread(&c.sender));
	crowd_free(&c);
}

static void a_sender_that_leaves_in_the_middle_of_its_message_is_still_heard(void **state)
{
	struct crowd c;

	(void)state;
	crowd_new(&c, 2);
	assert_true(turn(c.r, 0));
	leaves(c.r, 4);
	joins(c.r, 4);
	start(&c.sender, c.r, 4, 2);
	say_link(&c.sender, "ping");
	while (turn(c.r, 0))
		;
	assert_true(hears_it(&c, &c.members[0]));
	assert_true(hears_it(&c, &c.members[1]));
	assert_true(hears(&c.sender, "pong"));
	crowd_free(&c);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_stays_until_every_worker_has_passed_it_on),
		cmocka_unit_test(no_more_is_under_way_than_there_is_room_for),
		cmocka_unit_test(members_who_leave_while_it_is_passed_on_are_left_out),
		cmocka_unit_test(who_leaves_is_in_no_group_any_more_whichever_these_were),
		cmocka_unit_test(how_long_it_took_to_forget_who_left_is_said),
		cmocka_unit_test(
			large_messages_to_many_are_spread_over_turns_and_others_answered_in_each),
		cmocka_unit_test(
			one_large_message_is_copied_piece_by_piece_and_others_are_served_between),
		cmocka_unit_test(
			what_a_member_asks_in_the_middle_of_a_message_is_answered_behind_it),
		cmocka_unit_test(who_starts_anew_in_the_middle_of_a_message_gets_none_of_it),
		cmocka_unit_test(
			an_id_s_next_owner_gets_nothing_of_a_message_that_the_last_one_got_half_of),
		cmocka_unit_test(a_sender_that_leaves_in_the_middle_of_its_message_is_still_heard),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
