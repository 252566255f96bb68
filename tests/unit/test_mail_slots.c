/* SPDX-License-Identifier: MIT */
/*
 * test_mail_slots.c - messages of libfamez by v1 slots, to and from who knows nothing else.
 */
#include "mail_fixture.h"

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
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.old_slots = old_slots});
	struct famez *a, *old;
	struct famez_message m;
	struct famez_who who;
	struct v1 mine;

	old = v1_join(fab, 2, "old");
	a = fabric_member(fab, 1);
	mine = v1_slot(fab, 1);
	assert_int_equal(famez_who(a, 2, &who), 0);
	assert_string_equal(who.name, "old");
	assert_int_equal(who.slot, 1);
	assert_int_equal(who.lanes, 0);
	assert_int_equal(famez_who_named(a, "old"), 2);
	/* What it sees of us. */
	assert_string_equal((char *)fab->base + 512, "n1");
	assert_int_equal(*(uint64_t *)(void *)((char *)fab->base + 512 + (old_slots ? 40 : 72)), 1);
	/* From it. */
	expect_nothing(a);
	v1_says(fab, 2, 1, "ping");
	expect(a, FAMEZ_EVENT_MESSAGE);
	m = expect_text(a, 2, "ping");
	assert_int_equal(m.slot, 1);
	assert_int_equal(m.type, FAMEZ_MESSAGE_LINK);
	assert_int_equal(m.origin, 2);
	assert_int_equal(*v1_slot(fab, 2).length, 0);
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
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez_to to = {.peer = 2};
	struct famez_message m;
	char text[384], got[384];

	memset(text, 'x', sizeof(text));
	v1_join(fab, 2, "old");
	assert_int_equal(famez_send(a, &to, text, 384, 0, 0), -EMSGSIZE);
	assert_int_equal(famez_send(a, &to, text, 0, 0, 0), -EMSGSIZE);
	assert_int_equal(famez_send(a, &to, text, 383, FAMEZ_MORE, 0), -EOPNOTSUPP);
	assert_int_equal(famez_send(a, &to, text, 383, 0, 0), 0);
	assert_int_equal(*v1_slot(fab, 1).length, 383);
	text[383] = 0;
	v1_says(fab, 2, 1, text);
	assert_int_equal(famez_recv(a, &m, got, 382, 1), -EMSGSIZE);
	assert_int_equal(famez_recv(a, &m, got, 383, 1), 1);
	assert_int_equal(m.bytes, 383);
	assert_memory_equal(got, text, 383);
}

static void a_slot_with_a_senseless_length_is_told_of_and_emptied(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct v1 slot;

	v1_join(fab, 2, "old");
	slot = v1_slot(fab, 2);
	*slot.length = UINT64_MAX;
	assert_int_equal(write(fab->bell[1][2], &(uint64_t){1}, 8), 8);
	assert_int_equal(expect(a, FAMEZ_EVENT_GARBLED).peer, 2);
	expect_nothing(a);
	assert_int_equal(*slot.length, 0);
	v1_says(fab, 2, 1, "well");
	expect(a, FAMEZ_EVENT_MESSAGE);
	expect_text(a, 2, "well");
}

static void a_text_that_nobody_will_take_gives_its_slot_back(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);

	v1_join(fab, 2, "dies");
	v1_join(fab, 3, "lives");
	assert_int_equal(send_text(a, 2, "unread"), 0);
	assert_int_equal(send_text(a, 3, "read me"), -EAGAIN);
	fabric_leave(fab, 2);
	assert_int_equal(send_text(a, 3, "read me"), 0);
	assert_string_equal(v1_slot(fab, 1).text, "read me");
}

static void a_spoofed_text_goes_by_the_slot_of_who_is_to_have_said_it(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *old;
	struct famez_to to = {.peer = 2, .spoof = 1, .origin = 3};

	old = v1_join(fab, 2, "old");
	v1_join(fab, 3, "other");
	assert_int_equal(famez_send(a, &to, "lie", 3, 0, 0), 0);
	assert_string_equal(v1_slot(fab, 3).text, "lie");
	assert_int_equal(expect(old, FAMEZ_EVENT_DOORBELL).vector, 3);
	to.origin = 9;
	assert_int_equal(famez_send(a, &to, "lie", 3, 0, 0), -EINVAL);
}

static void without_vectors_for_all_there_is_no_talk_by_slots(void **state)
{
	struct fabric *fab = fabric_of(state, &(struct fabric_kind){.vectors = 1});
	struct famez *a = fabric_member(fab, 1);

	v1_join(fab, 2, "old");
	assert_int_equal(send_text(a, 2, "x"), -EOPNOTSUPP);
}

static void a_slot_of_who_has_lanes_is_not_ours_to_take(void **state)
{
	struct fabric *fab = plain_fabric(state);
	struct famez *a = fabric_member(fab, 1);
	struct famez *b = fabric_member(fab, 2);

	v1_join(fab, 3, "old");
	assert_int_equal(send_text(b, 3, "for old"), 0);
	assert_int_equal(send_text(b, 1, "for us"), 0);
	expect(a, FAMEZ_EVENT_MESSAGE);
	expect_text(a, 2, "for us");
	expect_nothing(a);
	assert_int_equal(*v1_slot(fab, 2).length, 7);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_v1_client_and_we_talk_by_slots),
		T(an_older_v1_client_and_we_talk_by_slots),
		T(a_slot_takes_383_bytes_and_no_more),
		T(a_slot_with_a_senseless_length_is_told_of_and_emptied),
		T(a_text_that_nobody_will_take_gives_its_slot_back),
		T(a_spoofed_text_goes_by_the_slot_of_who_is_to_have_said_it),
		T(without_vectors_for_all_there_is_no_talk_by_slots),
		T(a_slot_of_who_has_lanes_is_not_ours_to_take),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
