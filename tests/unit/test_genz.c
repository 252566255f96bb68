/* SPDX-License-Identifier: MIT */
/*
 * test_genz.c - the personalities: what is answered to which text, in either dialect.
 *
 * Pure functions, so a conversation is a list of what is said and what is answered.
 */
#include "unit.h"

#include "genz.h"

/* docs/echo.c */
extern const struct personality personality_echo;

static const struct personality_scene scene = {.server_id = 15, .peer_id = 9};

struct conversation {
	const struct personality *who;
	struct genz_peer peer;
	struct personality_answer answer;
};

static void begin(struct conversation *c, const struct personality *who)
{
	memset(c, 0, sizeof(*c));
	c->who = who;
	if (who->joined)
		who->joined(&c->peer, &scene);
}

/* A text of exactly its own bytes, so that a sanitizer sees what is read beyond. */
static const char *hear(struct conversation *c, const char *text)
{
	char *copy = strdup(text);

	assert_non_null(copy);
	memset(&c->answer, 0, sizeof(c->answer));
	c->who->said(&c->peer, &scene, copy, &c->answer);
	free(copy);
	assert_non_null(memchr(c->answer.text, '\0', sizeof(c->answer.text)));
	return c->answer.text;
}

static void answers(struct conversation *c, const char *said, const char *answer)
{
	assert_string_equal(hear(c, said), answer);
	assert_false(c->answer.ignored);
}

static void ignores(struct conversation *c, const char *said)
{
	assert_string_equal(hear(c, said), "");
	assert_true(c->answer.ignored);
	assert_false(c->answer.named);
	assert_false(c->answer.show);
}

static void the_rfc_exchange_of_five_messages_as_fee_has_it(void **state)
{
	struct conversation c;
	struct personality_shown shown;

	(void)state;
	begin(&c, &genz_fee);
	answers(&c, "Link RFC TTC=27us!EZT=1",
		"CTL-Write Space=0,PFMCID=1500,PFMSID=27,CID=900,SID=27,Tag=1!EZT=2");
	assert_false(c.answer.named);
	answers(&c, "Standalone Acknowledgment Tag=1,Reason=OK!EZT=3",
		"Link CTL Peer-Attribute!EZT=4");
	assert_true(c.answer.named);
	assert_int_equal(c.answer.cid, 900);
	assert_int_equal(c.answer.sid, 27);
	answers(&c, "Link CTL ACK cclass=Driverless,CID0=900,SID0=27!EZT=5", "");
	c.who->show(&c.peer, &shown);
	assert_string_equal(shown.cclass, "Driverless");
	assert_int_equal(shown.cid, 900);
	assert_int_equal(shown.sid, 27);
	assert_string_equal(shown.state, "configured");
}

static void the_same_as_famez_has_it(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_famez);
	answers(&c, "Link RFC TTC=27us!FZT=1",
		"CTL-Write Space=0,PFMSID=27,PFMCID=1500,SID=27,CID=900,Tag=1!FZT=2");
	answers(&c, "Standalone Acknowledgment Tag=1,Reason=OK!FZT=3",
		"Link CTL Peer-Attribute!FZT=4");
	assert_true(c.answer.named);
	answers(&c, "Link CTL ACK C-Class=Adapter,SID0=27,CID0=900!FZT=5", "");
}

static void asked_who_it_is_the_server_says_so(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_fee);
	answers(&c, "Link CTL Peer-Attribute!EZT=1",
		"Link CTL ACK cclass=FabricSwitch,CID0=1500,SID0=27!EZT=2");
	begin(&c, &genz_famez);
	answers(&c, "Link CTL Peer-Attribute!FZT=1",
		"Link CTL ACK C-Class=Switch,SID0=27,CID0=1500!FZT=2");
}

static void famez_asks_who_comes_and_fee_does_not(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_famez);
	c.who->greet(&c.peer, &scene, &c.answer);
	assert_string_equal(c.answer.text, "Link CTL Peer-Attribute!FZT=1");
	assert_null(genz_fee.greet);
	assert_null(personality_none.greet);
}

static void trackers_are_adopted_and_counted_on(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_fee);
	answers(&c, "ping!EZT=41", "pong!EZT=42");
	answers(&c, "ping !EZT=7", "pong!EZT=8");
	answers(&c, "ping!EZT=4294967294", "pong!EZT=4294967295");
	answers(&c, "ping", "pong");
	/* What is no number above 0 that can be counted on is none. */
	answers(&c, "ping!EZT=0", "pong");
	answers(&c, "ping!EZT=4294967295", "pong");
	answers(&c, "ping!EZT=99999999999999999999", "pong");
	answers(&c, "ping!EZT=-1", "pong");
	answers(&c, "ping!EZT=1x", "pong");
	answers(&c, "ping!EZT=", "pong");
	answers(&c, "ping!EZT=3 4", "pong!EZT=4");
	/* The other dialect's is a word too many. */
	ignores(&c, "ping!FZT=1");
}

static void tags_count_from_1_and_are_acknowledged_once(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_fee);
	for (unsigned tag = 1; tag <= 3; tag++) {
		char write[96];

		(void)snprintf(write, sizeof(write),
			"CTL-Write Space=0,PFMCID=1500,PFMSID=27,CID=900,SID=27,Tag=%u", tag);
		answers(&c, "Link RFC TTC=1us", write);
	}
	ignores(&c, "Standalone Acknowledgment Tag=4,Reason=OK");
	ignores(&c, "Standalone Acknowledgment Tag=0,Reason=OK");
	answers(&c, "Standalone Acknowledgment Tag=2,Reason=OK", "Link CTL Peer-Attribute");
	ignores(&c, "Standalone Acknowledgment Tag=2,Reason=OK");
	answers(&c, "Standalone Acknowledgment Reason=OK,Tag=3", "Link CTL Peer-Attribute");
	ignores(&c, "Standalone Acknowledgment Tag=1,Reason=UR");
	ignores(&c, "Standalone Acknowledgment Tag=1,Reason=OK");
}

static void of_too_many_tags_the_oldest_give_way(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_fee);
	for (unsigned i = 0; i < GENZ_TAGS_MAX + 1; i++)
		(void)hear(&c, "Link RFC TTC=1us");
	ignores(&c, "Standalone Acknowledgment Tag=1,Reason=OK");
	answers(&c, "Standalone Acknowledgment Tag=2,Reason=OK", "Link CTL Peer-Attribute");
	answers(&c, "Standalone Acknowledgment Tag=5,Reason=OK", "Link CTL Peer-Attribute");
}

static void a_time_that_is_not_in_microseconds_is_too_long(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_fee);
	ignores(&c, "Link RFC TTC=27ms");
	ignores(&c, "Link RFC TTC=");
	ignores(&c, "Link RFC TTC=u");
	ignores(&c, "Link RFC");
	ignores(&c, "Link RFC ttc=27us");
	ignores(&c, "Link RFC TTC=27 us");
	(void)hear(&c, "Link RFC TTC=27US");
	assert_false(c.answer.ignored);
	(void)hear(&c, "Link RFC Other=1,TTC=27us");
	assert_false(c.answer.ignored);
}

static void either_key_of_the_class_is_understood(void **state)
{
	static const char *const good[] = {
		"Link CTL ACK cclass=A,CID0=1,SID0=2",
		"Link CTL ACK C-Class=A,CID0=1,SID0=2",
		"Link CTL ACK SID0=2,CID0=1,C-Class=A",
		"Link  CTL\tACK cclass=A,CID0=1,SID0=2 ",
	};
	const struct personality *const both[] = {&genz_fee, &genz_famez};

	(void)state;
	for (size_t w = 0; w < UNIT_COUNT(both); w++) {
		for (size_t i = 0; i < UNIT_COUNT(good); i++) {
			struct conversation c;
			struct personality_shown shown;

			begin(&c, both[w]);
			answers(&c, good[i], "");
			c.who->show(&c.peer, &shown);
			assert_string_equal(shown.cclass, "A");
			assert_int_equal(shown.cid, 1);
			assert_int_equal(shown.sid, 2);
			assert_string_equal(shown.state, "up");
		}
	}
}

static void an_ack_that_is_not_whole_changes_nothing(void **state)
{
	static const char *const bad[] = {
		"Link CTL ACK",
		"Link CTL ACK cclass=FAME-Z Adapter,CID0=1,SID0=2",
		"Link CTL ACK cclass=,CID0=1,SID0=2",
		"Link CTL ACK cclass=A,CID0=1",
		"Link CTL ACK cclass=A,SID0=1",
		"Link CTL ACK CID0=1,SID0=2",
		"Link CTL ACK cclass=A,CID0=x,SID0=2",
		"Link CTL ACK cclass=A,CID0=,SID0=2",
		"Link CTL ACK cclass=A,CID0=4294967295,SID0=2",
		"Link CTL ACK cclass=\x1b[2J,CID0=1,SID0=2",
		"Link CTL ACK cclass=12345678901234567890123456789012,CID0=1,SID0=2",
		"Link CTL NAK cclass=A,CID0=1,SID0=2",
	};
	struct conversation c;
	struct personality_shown shown;

	(void)state;
	begin(&c, &genz_fee);
	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		ignores(&c, bad[i]);
	c.who->show(&c.peer, &shown);
	assert_string_equal(shown.cclass, "Driverless-QEMU");
	assert_int_equal(shown.cid, 0);
	assert_string_equal(shown.state, "silent");
}

static void whatever_else_is_said_is_ignored(void **state)
{
	static const char *const other[] = {
		"",
		" ",
		"!EZT=1",
		"Ping",
		"ping ping",
		"pong",
		"dump now",
		"Link",
		"Link CTL",
		"link CTL Peer-Attribute",
		"Link CTL Peer-Attribute now",
		"Standalone Acknowledgment",
		"CTL-Write Space=0,PFMCID=1,PFMSID=2,CID=3,SID=4,Tag=1",
		"a b c d e f g h i j k l m n o p",
		"%s%n%s%n",
		"\xff\xfe\x01",
	};
	struct conversation c;
	char longest[PERSONALITY_TEXT_BYTES];

	(void)state;
	begin(&c, &genz_fee);
	for (size_t i = 0; i < UNIT_COUNT(other); i++)
		ignores(&c, other[i]);
	memset(longest, ',', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	ignores(&c, longest);
	memcpy(longest, "Link RFC ", 9);
	ignores(&c, longest);
	memset(longest, '=', sizeof(longest) - 1);
	memcpy(longest, "Link CTL ACK ", 13);
	ignores(&c, longest);
}

static void a_dump_is_wished_for_and_nothing_answered(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &genz_fee);
	answers(&c, "dump!EZT=3", "");
	assert_true(c.answer.show);
}

static void the_largest_ids_fit_what_is_said(void **state)
{
	const struct personality_scene large = {.server_id = 65535, .peer_id = 65534};
	struct personality_answer answer = {.text = ""};
	struct genz_peer peer = {.next_tag = UINT32_MAX - 1};

	(void)state;
	genz_fee.said(&peer, &large, "Link RFC TTC=27us!EZT=4294967294", &answer);
	assert_string_equal(answer.text, "CTL-Write Space=0,PFMCID=6553500,PFMSID=27,CID=6553400,"
					 "SID=27,Tag=4294967295!EZT=4294967295");
	/* Tags go round, and are never 0. */
	answer = (struct personality_answer){.text = ""};
	genz_fee.said(&peer, &large, "Link RFC TTC=27us", &answer);
	assert_string_equal(
		answer.text, "CTL-Write Space=0,PFMCID=6553500,PFMSID=27,CID=6553400,SID=27,Tag=1");
}

static void without_a_personality_only_ping_is_answered(void **state)
{
	struct conversation c;

	(void)state;
	begin(&c, &personality_none);
	answers(&c, "ping", "pong");
	ignores(&c, "ping!EZT=1");
	ignores(&c, "Link CTL Peer-Attribute");
	ignores(&c, "dump");
	ignores(&c, "");
}

static void the_example_of_the_page_does_what_it_says(void **state)
{
	struct conversation c;
	struct personality_shown shown;
	char longest[PERSONALITY_TEXT_BYTES];

	(void)state;
	begin(&c, &personality_echo);
	c.who->show(&c.peer, &shown);
	assert_string_equal(shown.state, "silent");
	answers(&c, "ping", "pong");
	answers(&c, "hello", "1: hello");
	answers(&c, "hello", "2: hello");
	ignores(&c, "");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(strlen(hear(&c, longest)), sizeof(longest) - 1);
	c.who->show(&c.peer, &shown);
	assert_string_equal(shown.state, "talking");
}

static void options_choose_the_personality(void **state)
{
	(void)state;
	assert_ptr_equal(personality_find(PERSONALITY_NONE, DIALECT_FEE), &personality_none);
	assert_ptr_equal(personality_find(PERSONALITY_NONE, DIALECT_FAMEZ), &personality_none);
	assert_ptr_equal(personality_find(PERSONALITY_GENZ, DIALECT_FEE), &genz_fee);
	assert_ptr_equal(personality_find(PERSONALITY_GENZ, DIALECT_FAMEZ), &genz_famez);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rfc_exchange_of_five_messages_as_fee_has_it),
		cmocka_unit_test(the_same_as_famez_has_it),
		cmocka_unit_test(asked_who_it_is_the_server_says_so),
		cmocka_unit_test(famez_asks_who_comes_and_fee_does_not),
		cmocka_unit_test(trackers_are_adopted_and_counted_on),
		cmocka_unit_test(tags_count_from_1_and_are_acknowledged_once),
		cmocka_unit_test(of_too_many_tags_the_oldest_give_way),
		cmocka_unit_test(a_time_that_is_not_in_microseconds_is_too_long),
		cmocka_unit_test(either_key_of_the_class_is_understood),
		cmocka_unit_test(an_ack_that_is_not_whole_changes_nothing),
		cmocka_unit_test(whatever_else_is_said_is_ignored),
		cmocka_unit_test(a_dump_is_wished_for_and_nothing_answered),
		cmocka_unit_test(the_largest_ids_fit_what_is_said),
		cmocka_unit_test(without_a_personality_only_ping_is_answered),
		cmocka_unit_test(the_example_of_the_page_does_what_it_says),
		cmocka_unit_test(options_choose_the_personality),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
