/* SPDX-License-Identifier: MIT */
/*
 * test_mail_worker.c - what workers make of what peers say to the server by lanes.
 */
#include "mail_rig.h"

static void a_sleeper_is_rung_once_for_the_answers_of_a_turn(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	sleeps(&a, 9);
	for (unsigned n = 0; n < 3; n++)
		say_link(&a, "ping");
	assert_true(turn(r, 0));
	assert_int_equal(rung(r, 4), 1);
	for (unsigned n = 0; n < 3; n++)
		assert_true(hears(&a, "pong"));
	assert_true(hears_nothing(&a));
	assert_false(turn(r, 0));
	rig_free(r);
}

static void a_worker_leaves_others_shares_alone(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	joins(r, 5);
	start(&a, r, 5, 1);
	say_link(&a, "ping");
	assert_false(turn(r, 0));
	assert_true(hears_nothing(&a));
	(void)turn(r, 1);
	assert_true(hears(&a, "pong"));
	rig_free(r);
}

static void who_speaks_before_he_joined_is_heard_when_he_has(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	start(&a, r, 4, 1);
	say_link(&a, "ping");
	assert_false(turn(r, 0));
	assert_true(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	assert_true(hears_nothing(&a));
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(hears(&a, "pong"));
	/* The next owner of the ID, whose lane is known. */
	leaves(r, 4);
	start(&a, r, 4, 2);
	say_link(&a, "ping");
	assert_false(turn(r, 0));
	assert_true(mail_sleep(&r->workers[0]));
	mail_awake(&r->workers[0]);
	assert_true(hears_nothing(&a));
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(hears(&a, "pong"));
	rig_free(r);
}

static void a_new_owner_who_overtakes_the_log_keeps_what_he_did(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct worker *w = &r->workers[0];
	const struct message left = {.kind = MESSAGE_LEFT, .id = 4};
	struct speaker old, new, other;
	struct message m;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&old, r, 4, 1);
	start(&other, r, 6, 1);
	say_link(&old, "ping");
	(void)turn(r, 0);
	/* The registrar said that he left, and gave the ID to another, who enters a group. */
	goes(r, 4);
	assert_true(message_queue_put(&w->inbox, &left));
	start(&new, r, 4, 2);
	enter(&new, 7);
	assert_true(turn(r, 0));
	assert_true(unread(&new));
	assert_int_equal(w->mail.counts.memberships, 0);
	assert_true(message_queue_take(&w->inbox, &m));
	is_known_to_have_gone(r, 4);
	joins(r, 4);
	(void)turn(r, 0);
	assert_int_equal(w->mail.counts.memberships, 1);
	say_group(&other, 7, "hello");
	(void)turn(r, 0);
	/* The answer to the old one is not for him. */
	assert_true(hears(&new, "hello"));
	rig_free(r);
}

static void of_who_left_only_what_he_said_to_groups_counts(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a, b;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&a, r, 4, 1);
	start(&b, r, 6, 1);
	enter(&b, 7);
	say_link(&a, "ping");
	(void)turn(r, 0);
	assert_true(hears(&a, "pong"));
	say_link(&a, "ping");
	say_group(&a, 7, "farewell");
	enter(&a, 7);
	leaves(r, 4);
	(void)turn(r, 0);
	(void)turn(r, 0);
	assert_true(hears(&b, "farewell"));
	assert_true(hears_nothing(&a));
	assert_int_equal(r->workers[0].mail.counts.memberships, 1);
	rig_free(r);
}

static void report_of(struct rig *r, unsigned worker, struct report_mail *line)
{
	struct report_mail lines[WORKERS] = {0};
	struct report report = {.mail = lines};

	r->shared.report = &report;
	mail_report(&r->workers[worker]);
	r->shared.report = NULL;
	*line = lines[worker];
}

static void what_the_last_owner_left_unread_counts_for_nobody(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker old, new, member;
	struct report_mail line;

	(void)state;
	joins(r, 6);
	start(&member, r, 6, 1);
	enter(&member, 9);
	(void)turn(r, 0);
	/* Nobody has heard of him yet when he is gone. */
	start(&old, r, 4, 1);
	enter(&old, 7);
	say_group(&old, 9, "farewell");
	say_link(&old, "ping");
	joins(r, 4);
	leaves(r, 4);
	/* The next owner is quick. */
	start(&new, r, 4, 2);
	enter(&new, 8);
	joins(r, 4);
	while (turn(r, 0))
		;
	/* It said nothing to group 7, and asked nothing. */
	assert_int_equal(r->workers[0].mail.counts.memberships, 2);
	assert_int_equal(atomic_load(&r->mail.members[7]), 0);
	assert_true(hears_nothing(&new));
	assert_true(hears(&member, "farewell"));
	assert_int_equal(r->workers[0].mail.counts.sent, 1);
	report_of(r, 0, &line);
	assert_int_equal(line.received, 3); /* two are members, and a farewell */
	assert_int_equal(line.stale, 2);
	rig_free(r);
}

static void what_one_says_who_was_never_told_of_is_not_the_next_one_s(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker old, new;

	(void)state;
	/* It had its ID, spoke at once, and was gone before it was announced. */
	start(&old, r, 4, 1);
	enter(&old, 7);
	say_link(&old, "ping");
	goes(r, 4);
	start(&new, r, 4, 2);
	say_link(&new, "ping");
	assert_false(turn(r, 0));
	joins(r, 4);
	(void)turn(r, 0);
	assert_true(hears(&new, "pong"));
	assert_int_equal(r->workers[0].mail.counts.sent, 1);
	assert_int_equal(r->workers[0].mail.counts.received, 1);
	assert_int_equal(r->workers[0].mail.counts.stale, 2);
	rig_free(r);
}

static void one_who_only_said_something_to_a_group_is_heard_though_gone(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker one, member;

	(void)state;
	joins(r, 6);
	start(&member, r, 6, 1);
	enter(&member, 9);
	(void)turn(r, 0);
	start(&one, r, 4, 1);
	say_group(&one, 9, "hello");
	joins(r, 4);
	leaves(r, 4);
	while (turn(r, 0))
		;
	assert_true(hears(&member, "hello"));
	rig_free(r);
}

static void a_position_that_makes_no_sense_silences_nobody(void **state)
{
	static const uint64_t said[] = {UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 40, 12345};
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	for (uint32_t n = 0; n < UNIT_COUNT(said); n++) {
		uint64_t *produced =
			&famez_lane_at(r->mailbox.base, &r->mailbox.g, SERVER, 4)->produced;
		uint64_t was = *produced;

		*produced = said[n];
		goes(r, 4);
		*produced = was;
		joins(r, 4);
		start(&a, r, 4, n + 1);
		/* Of a lane's worth it may be thought that others said it. */
		for (uint64_t asked = 0; asked < a.tx.bytes && !hears(&a, "pong"); asked += 24) {
			say_link(&a, "ping");
			(void)turn(r, 0);
		}
		say_link(&a, "ping!EZT=1");
		(void)turn(r, 0);
		assert_true(hears(&a, "pong!EZT=2"));
		leaves(r, 4);
	}
	rig_free(r);
}

static void what_was_meant_for_a_server_before_is_counted_however_much_it_is(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	const unsigned count = 3 * FAMEZ_SKIPS_MAX;
	struct report_mail line;
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	a.tx.to = SERVER_GEN - 1;
	for (unsigned n = 0; n < count; n++)
		say_link(&a, "ping");
	a.tx.to = SERVER_GEN;
	say_link(&a, "ping!EZT=1");
	while (turn(r, 0) || !mail_sleep(&r->workers[0]))
		;
	assert_true(hears(&a, "pong!EZT=2"));
	report_of(r, 0, &line);
	assert_int_equal(line.stale, count);
	assert_int_equal(line.received, 1);
	rig_free(r);
}

static void a_message_that_comes_while_it_falls_asleep_keeps_it_awake(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct worker *w = &r->workers[0];
	uint32_t *asleep;
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	asleep = famez_asleep_at(r->mailbox.base, &r->mailbox.g, SERVER, 4);
	assert_false(turn(r, 0));
	say_link(&a, "ping");
	assert_false(mail_sleep(w));
	mail_awake(w);
	assert_int_equal(*asleep, 0);
	(void)turn(r, 0);
	(void)turn(r, 0);
	assert_true(mail_sleep(w));
	assert_int_not_equal(*asleep, 0);
	assert_true(hears(&a, "pong"));
	rig_free(r);
}

static void polling_is_given_up_while_it_is_in_vain(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	const struct message joined = {.kind = MESSAGE_JOINED, .id = 8};
	struct worker *w = &r->workers[0];
	struct speaker a;
	struct message m;
	unsigned vain = 0;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	w->mail.spins = true;
	assert_false(mail_poll(w, UINT64_MAX)); /* nobody has said anything */
	say_link(&a, "ping");
	(void)turn(r, 0);
	say_link(&a, "ping");
	assert_true(mail_poll(w, UINT64_MAX));
	(void)turn(r, 0);
	while (w->mail.spin_ns) {
		assert_false(mail_poll(w, UINT64_MAX));
		vain++;
	}
	assert_true(vain > 1 && vain < 20);
	/* One in many is tried again, and pays. */
	say_link(&a, "ping");
	while (!mail_poll(w, UINT64_MAX))
		;
	assert_int_not_equal(w->mail.spin_ns, 0);
	(void)turn(r, 0);
	/* The registrar, and the time that others have waited, end it. */
	assert_true(message_queue_put(&w->inbox, &joined));
	assert_true(mail_poll(w, UINT64_MAX));
	assert_true(message_queue_take(&w->inbox, &m));
	say_link(&a, "ping");
	assert_false(mail_poll(w, worker_now_ns()));
	rig_free(r);
}

static void a_doorbell_that_blocks_holds_up_nobody_and_rings_in_the_end(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	const uint64_t most = UINT64_MAX - 1;
	struct speaker a, b;
	int bell;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&a, r, 4, 1);
	start(&b, r, 6, 1);
	bell = bells_fd(&r->bells, 4, SERVER);
	assert_int_equal(write(bell, &most, sizeof(most)), sizeof(most));
	assert_int_equal(fcntl(bell, F_SETFL, O_RDWR), 0);
	for (uint32_t n = 1; n <= 20; n++) {
		sleeps(&a, n);
		sleeps(&b, n);
		say_link(&a, "ping");
		say_link(&b, "ping");
		(void)turn(r, 0);
		(void)turn(r, 0);
		assert_true(hears(&a, "pong"));
		assert_true(hears(&b, "pong"));
	}
	while (rung(r, 6))
		;
	assert_int_equal(rung(r, 4), most);
	/* The write that waited, then the one that it kept waiting. */
	for (uint64_t rings = 0; rings < 2;) {
		assert_int_equal(ring_turn(&r->workers[0].ring, 0), 0);
		rings += rung(r, 4);
	}
	rig_free(r);
}

static void a_tick_rings_again_whoever_left_his_answer_unread(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct mail *m = &r->workers[0].mail;
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	sleeps(&a, 1);
	say_link(&a, "ping");
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 1);
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 0);
	m->ticked = true;
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 1);
	assert_true(hears(&a, "pong"));
	(void)famez_rx_publish(&a.rx);
	m->ticked = true;
	(void)turn(r, 0);
	assert_int_equal(rung(r, 4), 0);
	assert_int_equal(famez_entry_at(r->mailbox.base, &r->mailbox.g, SERVER)->heartbeat, 2);
	rig_free(r);
}

static void a_lane_that_makes_no_sense_keeps_nobody_else_waiting(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker bad, good;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&bad, r, 4, 1);
	start(&good, r, 6, 1);
	say_link(&bad, "ping");
	(void)turn(r, 0);
	for (unsigned n = 0; n < 100; n++) {
		famez_store_relaxed(famez_head_at(bad.tx.data, bad.tx.bytes, bad.tx.at),
			UINT64_C(0x77777777) + n);
		say_link(&good, "ping");
		(void)turn(r, 0);
		assert_true(hears(&good, "pong"));
	}
	assert_true(r->workers[0].mail.counts.garbled >= 100);
	while (turn(r, 0))
		;
	say_link(&bad, "ping");
	(void)turn(r, 0);
	assert_true(hears(&bad, "pong"));
	assert_true(hears(&bad, "pong"));
	rig_free(r);
}

static void memory_that_is_lost_is_not_served(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct speaker a;

	(void)state;
	joins(r, 4);
	start(&a, r, 4, 1);
	say_link(&a, "ping");
	atomic_store(&r->mailbox.lost, true);
	assert_false(turn(r, 0));
	assert_true(mail_sleep(&r->workers[0]));
	assert_true(hears_nothing(&a));
	leaves(r, 4);
	rig_free(r);
}

static void one_who_starts_anew_with_each_message_takes_no_long_turn(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct mail *m = &r->workers[0].mail;
	struct speaker c, member;

	(void)state;
	joins(r, 4);
	joins(r, 6);
	start(&c, r, 4, 1);
	start(&member, r, 6, 1);
	enter(&member, 3);
	(void)turn(r, 0);
	for (unsigned n = 0; n < 64; n++) {
		c.tx.from = n + 1;
		enter(&c, FAMEZ_GROUPS_MAX - 1);
	}
	say_group(&c, 3, "hello");
	/* Each time all groups are looked through. */
	assert_true(turn(r, 0));
	assert_true(unread(&c));
	assert_in_range(m->counts.received, 2, 32);
	while (turn(r, 0))
		;
	assert_int_equal(m->counts.received, 66);
	assert_true(hears(&member, "hello"));
	rig_free(r);
}

static void what_was_put_into_the_server_s_lane_is_not_taken_for_its_own(void **state)
{
	struct rig *r = rig_new(&genz_fee, LAYOUT_LANES);
	struct famez_tx forged;
	struct speaker c;
	void *room;

	(void)state;
	joins(r, 4);
	start(&c, r, 4, 1);
	famez_tx_open(&forged, r->mailbox.base, &r->mailbox.g, 4, SERVER, SERVER_GEN, 1);
	while (!famez_tx_claim(&forged, 0, &room)) {
		famez_tx_commit(&forged, 0, FAMEZ_KIND(FAMEZ_TYPE_LINK, 0), SERVER);
		assert_true(famez_tx_flush(&forged));
	}
	/* Nor walked over, record by record, by whom others wait for. */
	forged.lane->produced = 0;
	say_link(&c, "ping");
	(void)turn(r, 0);
	assert_true(hears(&c, "pong"));
	rig_free(r);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sleeper_is_rung_once_for_the_answers_of_a_turn),
		cmocka_unit_test(a_worker_leaves_others_shares_alone),
		cmocka_unit_test(who_speaks_before_he_joined_is_heard_when_he_has),
		cmocka_unit_test(a_new_owner_who_overtakes_the_log_keeps_what_he_did),
		cmocka_unit_test(of_who_left_only_what_he_said_to_groups_counts),
		cmocka_unit_test(what_the_last_owner_left_unread_counts_for_nobody),
		cmocka_unit_test(what_one_says_who_was_never_told_of_is_not_the_next_one_s),
		cmocka_unit_test(one_who_only_said_something_to_a_group_is_heard_though_gone),
		cmocka_unit_test(a_position_that_makes_no_sense_silences_nobody),
		cmocka_unit_test(what_was_meant_for_a_server_before_is_counted_however_much_it_is),
		cmocka_unit_test(a_message_that_comes_while_it_falls_asleep_keeps_it_awake),
		cmocka_unit_test(polling_is_given_up_while_it_is_in_vain),
		cmocka_unit_test(a_doorbell_that_blocks_holds_up_nobody_and_rings_in_the_end),
		cmocka_unit_test(a_tick_rings_again_whoever_left_his_answer_unread),
		cmocka_unit_test(a_lane_that_makes_no_sense_keeps_nobody_else_waiting),
		cmocka_unit_test(memory_that_is_lost_is_not_served),
		cmocka_unit_test(one_who_starts_anew_with_each_message_takes_no_long_turn),
		cmocka_unit_test(what_was_put_into_the_server_s_lane_is_not_taken_for_its_own),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
