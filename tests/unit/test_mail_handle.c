/* SPDX-License-Identifier: MIT */
/*
 * test_mail_handle.c - messages of libfamez: errors, figures, and the rest of the handle while it
 * receives.
 */
#include "mail_fixture.h"

static void without_a_mailbox_there_are_no_messages(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_join(fab, 1);
	struct famez_mailbox how = {.name = "a"};
	struct famez_to to = {.peer = 2};
	struct famez_message m;
	struct famez_who who;
	struct famez_traffic traffic;
	struct famez *half;
	void *room;
	int end;

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
	end = connect_with(fab->s, &half, NULL);
	assert_int_equal(famez_mailbox_open(half, &how), -ENOTCONN);
	famez_leave(half);
	close(end);
}

static void what_cannot_be_sent_says_why(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	void *room;

	(void)fabric_join(fab, 2);
	(void)fabric_member(fab, 3);
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
}

static void a_file_without_a_message_layer_is_not_supported(void **state)
{
	struct fabric *fab = *state;
	struct famez_mailbox how = {.name = "a"};
	struct famez *f;
	int end = join(fab->s, &f, 1);

	assert_int_equal(famez_mailbox_open(f, &how), -EOPNOTSUPP);
	famez_leave(f);
	close(end);
}

static void a_header_that_makes_no_sense_is_a_protocol_error(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez_mailbox how = {.name = "a"};
	struct famez_header *h, good;
	struct famez *f;
	int end;

	h = famez_header_at(fab->base);
	good = *h;
	end = join(fab->s, &f, 1);
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
		end = join(fab->s, &f, (const uint16_t[]){0, 5, 6}[i]);
		assert_int_equal(famez_mailbox_open(f, &how), -EPROTO);
		famez_leave(f);
		close(end);
	}
}

static void without_descriptors_there_is_no_mailbox_and_no_harm(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_join(fab, 1);
	struct rlimit limit, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(famez_mailbox_open(a, &(struct famez_mailbox){.name = "a"}), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	fabric_open(a, "a");
}

static void figures_of_a_lane_are_there_for_anyone(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez *c = fabric_member(fab, 3);
	struct famez_traffic traffic;

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
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	int end, fd = eventfd_new();

	end = fab->end[1];
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
	close(fab->end[1]);
	receive_nothing(a);
	expect(a, FAMEZ_EVENT_LOST);
	expect_nothing(a);
	fab->end[1] = open("/dev/null", O_RDONLY | O_CLOEXEC); /* to be closed in the end */
	close(fd);
}

static void who_only_receives_hears_its_bells_however_many_there_are(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	int end, fd = eventfd_new(), own = eventfd_new();
	uint64_t one = 1;

	end = fab->end[1];
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
}

static void doorbells_met_while_receiving_add_up(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_message m;
	struct famez_event event;
	char into[8];

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
}

static void neither_messages_nor_doorbells_starve_the_other(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);
	struct famez_event event;
	unsigned seen[FAMEZ_EVENT_GARBLED + 1] = {0};

	assert_int_equal(send_text(b, 1, "never taken"), 0);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(famez_ring(b, 1, 0), 0);
		assert_int_equal(famez_next(a, &event), 1);
		seen[event.kind]++;
	}
	assert_true(seen[FAMEZ_EVENT_MESSAGE] > 10);
	assert_true(seen[FAMEZ_EVENT_DOORBELL] > 10);
}

static void a_mailbox_takes_two_descriptors(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_join(fab, 1);
	unsigned before;

	before = open_descriptors();
	fabric_open(a, "a");
	assert_int_equal(open_descriptors(), before + 2);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
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
		T(a_mailbox_takes_two_descriptors),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
