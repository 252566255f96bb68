/* SPDX-License-Identifier: MIT */
/*
 * test_stress.c - famez-stress's arithmetic: the pace of an open loop, numbers of messages,
 * posts of doorbells, descriptors, the command line.
 */
#include "unit.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "board.h"
#include "letters.h"
#include "limits.h"
#include "options.h"
#include "pace.h"
#include "words.h"

#define SECOND UINT64_C(1000000000)

static void a_pace_keeps_its_rate(void **state)
{
	struct pace p;
	unsigned count = 0;

	(void)state;
	assert_int_equal(pace_init(&p, 50, 50e6, 7), 0); /* 50 senders, 20 a second each */
	for (uint32_t s = 0; s < 50; s++)
		pace_add(&p, s, SECOND);
	for (; pace_due_ns(&p) < 11 * SECOND; count++)
		pace_done(&p, pace_take(&p));
	/* 10,000 of a Poisson process: within five standard deviations. */
	assert_true(count > 9500 && count < 10500);
	pace_destroy(&p);
}

static void turns_come_in_order_and_to_everybody(void **state)
{
	struct pace p;
	unsigned seen[20] = {0};
	uint64_t last = 0;

	(void)state;
	assert_int_equal(pace_init(&p, 20, 1e6, 3), 0);
	for (uint32_t s = 0; s < 20; s++)
		pace_add(&p, s, 5);
	for (unsigned n = 0; n < 2000; n++) {
		struct pace_turn turn = pace_take(&p);

		assert_true(turn.due_ns >= last && turn.due_ns >= 5);
		last = turn.due_ns;
		seen[turn.sender]++;
		pace_done(&p, turn);
	}
	for (unsigned s = 0; s < 20; s++)
		assert_true(seen[s] > 50);
	pace_destroy(&p);
}

/* Coordinated omission would be to let a late sender begin anew from now. */
static void who_is_late_is_measured_from_what_was_meant(void **state)
{
	struct pace p;
	struct pace_turn first, next;

	(void)state;
	assert_int_equal(pace_init(&p, 1, 1e3, 1), 0);
	pace_add(&p, 0, 0);
	first = pace_take(&p);
	assert_int_equal(pace_due_ns(&p), UINT64_MAX); /* it is out */
	pace_done(&p, first);                          /* a second later, say */
	next = pace_take(&p);
	assert_true(next.due_ns < first.due_ns + 100000);
	pace_destroy(&p);
}

static void the_same_seed_makes_the_same_pace(void **state)
{
	struct pace a, b;

	(void)state;
	assert_int_equal(pace_init(&a, 3, 1e6, 99), 0);
	assert_int_equal(pace_init(&b, 3, 1e6, 99), 0);
	for (uint32_t s = 0; s < 3; s++) {
		pace_add(&a, s, 1);
		pace_add(&b, s, 1);
	}
	for (unsigned n = 0; n < 100; n++) {
		struct pace_turn x = pace_take(&a), y = pace_take(&b);

		assert_int_equal(x.due_ns, y.due_ns);
		assert_int_equal(x.sender, y.sender);
		pace_done(&a, x);
		pace_done(&b, y);
	}
	pace_destroy(&a);
	pace_destroy(&b);
}

static void messages_in_order_are_fine(void **state)
{
	struct account a;
	uint32_t due;

	(void)state;
	assert_int_equal(account_init(&a, 2, 5), 0);
	for (uint32_t n = 1; n < 10; n++) {
		assert_int_equal(account_next(&a, 1, 4), n);
		account_sent(&a, 1, 4);
		assert_int_equal(account_heard(&a, 0, 3, n, &due), ACCOUNT_FINE);
	}
	assert_int_equal(account_next(&a, 0, 4), 1); /* each pair counts for itself */
	account_destroy(&a);
}

static void a_message_that_could_not_be_sent_has_no_number(void **state)
{
	struct account a;

	(void)state;
	assert_int_equal(account_init(&a, 1, 2), 0);
	assert_int_equal(account_next(&a, 0, 1), 1);
	assert_int_equal(account_next(&a, 0, 1), 1);
	account_destroy(&a);
}

static void lost_doubled_and_late_messages_are_found(void **state)
{
	struct account a;
	uint32_t due;

	(void)state;
	assert_int_equal(account_init(&a, 1, 2), 0);
	assert_int_equal(account_heard(&a, 0, 1, 1, &due), ACCOUNT_FINE);
	assert_int_equal(account_heard(&a, 0, 1, 1, &due), ACCOUNT_DOUBLE);
	assert_int_equal(due, 2);
	assert_int_equal(account_heard(&a, 0, 1, 4, &due), ACCOUNT_LOST);
	assert_int_equal(account_heard(&a, 0, 1, 2, &due), ACCOUNT_FINE);
	assert_int_equal(account_heard(&a, 0, 1, 1, &due), ACCOUNT_DOUBLE);
	account_forget(&a, 0, 1);
	assert_int_equal(account_heard(&a, 0, 1, 1, &due), ACCOUNT_FINE);
	account_destroy(&a);
}

static void posts_of_a_bell_come_in_the_order_they_were_put(void **state)
{
	struct board *b = board_open(4, 2, 2, 0);
	uint64_t hint = 0;
	uint32_t numbers[3], at;

	(void)state;
	assert_non_null(b);
	assert_int_equal(board_collect(b, 3, 1), 0);
	for (unsigned i = 0; i < 3; i++) {
		numbers[i] = board_take(b, 1, &hint);
		*board_post(b, numbers[i]) =
			(struct board_post){.from = i, .to = 3, .vector = 1, .taken = true};
		board_put(b, numbers[i]);
	}
	at = board_collect(b, 3, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(at, numbers[i]);
		at = board_post(b, at)->next;
	}
	assert_int_equal(at, 0);
	assert_int_equal(board_collect(b, 3, 1), 0);
	assert_int_equal(board_unheard(b, 0), 0);
	assert_int_equal(board_unheard(b, 1), numbers[0]);
	for (unsigned i = 0; i < 3; i++)
		board_give_back(b, numbers[i]);
	assert_int_equal(board_unheard(b, 1), 0);
	board_close(b);
}

static void posts_run_out_and_come_back(void **state)
{
	struct board *b = board_open(2, 2, 1, 0);
	uint64_t hint = 0, count = 0;
	uint32_t last = 0;

	(void)state;
	assert_non_null(b);
	for (uint32_t n; (n = board_take(b, 0, &hint)); count++)
		last = n;
	assert_int_equal(count, b->posts_each);
	board_give_back(b, last);
	assert_int_equal(board_take(b, 0, &hint), last);
	assert_int_not_equal(board_take(b, 1, &hint), 0); /* the other process has its own */
	board_close(b);
}

static void vms_go_round_the_processes(void **state)
{
	struct board *b = board_open(10, 3, 1, 0);
	unsigned of[3] = {0};

	(void)state;
	for (unsigned vm = 0; vm < 10; vm++)
		of[board_process_of(b, vm)]++;
	for (unsigned p = 0; p < 3; p++)
		assert_int_equal(of[p], board_share_of(b, p));
	board_close(b);
}

static void only_the_first_verdict_counts(void **state)
{
	struct board *b = board_open(2, 1, 1, 0);
	struct verdict one = {VERDICT_LOST, "one"}, two = {VERDICT_DESCRIPTORS, "two"};

	(void)state;
	assert_false(board_stopped(b));
	board_judge(b, &one);
	board_judge(b, &two);
	assert_true(board_stopped(b));
	assert_string_equal(b->verdict.why, "one");
	board_close(b);
}

static void a_series_is_found_by_its_name(void **state)
{
	struct board *b = board_open(2, 1, 1, 0);
	struct board_series *one = board_series(b, 0, "one", "messages", "");

	(void)state;
	assert_ptr_not_equal(board_series(b, 0, "two", "messages", ""), one);
	assert_ptr_equal(board_series(b, 0, "one", "messages", ""), one);
	for (unsigned n = 2; n < BOARD_SERIES_MAX; n++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "series %u", n);
		assert_non_null(board_series(b, 0, name, "messages", ""));
	}
	assert_null(board_series(b, 0, "one too many", "messages", ""));
	board_close(b);
}

static void descriptors_are_shared_out_among_processes(void **state)
{
	struct limits_need need = {
		.peers = 1000, .processes = 1, .vectors = 4, .other_vectors = 4, .copies = 1};
	uint64_t alone = limits_descriptors(&need), mail;

	(void)state;
	assert_int_equal(alone, 1000 * 2 + 1000 * 4 + 4 + 64);
	need.mail = true;
	mail = limits_descriptors(&need);
	assert_int_equal(mail, alone + 2000);
	need.processes = 4;
	assert_int_equal(limits_descriptors(&need), 250 * 4 + 4000 + 4 + 64);
	assert_int_equal(limits_processes(&need, mail, 0), 1);
	assert_int_equal(limits_processes(&need, mail - 1, 0), 2);
	assert_int_equal(limits_processes(&need, 4000, 0), 0); /* the eventfds alone are too many */
	/* 1,000 times 1 TiB can be addressed by no process. */
	assert_true(limits_processes(&need, mail, UINT64_C(1) << 40) >= 16);
}

static void a_letter_is_known_by_every_byte(void **state)
{
	struct letter head = {77, 1, 2, 3, 0, 4}, seen;
	unsigned char payload[201];

	(void)state;
	for (size_t bytes = LETTERS_BYTES_MIN; bytes <= sizeof(payload); bytes += 13) {
		letters_fill(payload, bytes, &head);
		assert_true(letters_fits(payload, bytes, 77, &seen));
		assert_memory_equal(&seen, &head, sizeof(head));
		assert_false(letters_fits(payload, bytes, 78, &seen));
		for (size_t at = sizeof(head); at < bytes; at++) {
			payload[at] ^= 1;
			assert_false(letters_fits(payload, bytes, 77, &seen));
			payload[at] ^= 1;
		}
	}
	assert_false(letters_fits(payload, LETTERS_BYTES_MIN - 1, 77, &seen));
}

static int parse(struct options *o, struct verdict *v, const char *words)
{
	static char text[256];
	char *argv[24] = {"famez-stress"}, *rest = NULL;
	int argc = 1;

	(void)snprintf(text, sizeof(text), "%s", words);
	for (char *w = strtok_r(text, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
		argv[argc++] = w;
	*v = (struct verdict){0};
	optind = 0; /* glibc: from the beginning */
	return options_parse(o, argc, argv, v);
}

static void a_scenario_is_a_word_or_an_option(void **state)
{
	struct options o;
	struct verdict v;

	(void)state;
	assert_int_equal(parse(&o, &v, ""), 0);
	assert_string_equal(o.scenario->name, "mesh");
	for (const struct scenario *const *s = SCENARIOS; *s; s++) {
		char words[64];

		(void)snprintf(words, sizeof(words), "--peers 100 %s", (*s)->name);
		assert_int_equal(parse(&o, &v, words), 0);
		assert_ptr_equal(o.scenario, *s);
		(void)snprintf(words, sizeof(words), "--scenario %s --peers 100", (*s)->name);
		assert_int_equal(parse(&o, &v, words), 0);
		assert_ptr_equal(o.scenario, *s);
	}
	assert_int_equal(parse(&o, &v, "mesh ring"), -1);
	assert_int_equal(v.code, VERDICT_USAGE);
	assert_int_equal(parse(&o, &v, "mash"), -1);
	assert_non_null(strstr(v.why, "'mash'"));
}

static void values_are_taken_and_bounds_kept(void **state)
{
	struct options o;
	struct verdict v;

	(void)state;
	assert_int_equal(parse(&o, &v,
				 "-S /s --peers 4000 --vectors 1 --processes 8 --rate 1e4 --time 0 "
				 "--size 64 --seed 18446744073709551615 --with bells"),
		0);
	assert_int_equal(o.sockets_count, 1);
	assert_string_equal(o.sockets[0], "/s");
	assert_int_equal(o.peers, 4000);
	assert_int_equal(o.processes, 8);
	assert_true(o.rate > 9999 && o.rate < 10001);
	assert_true(o.time_s == 0 && o.seed == UINT64_MAX && o.with == WITH_BELLS);
	assert_int_equal(parse(&o, &v, "--size 63"), -1);
	assert_int_equal(parse(&o, &v, "--processes 65"), -1);
	assert_int_equal(parse(&o, &v, "--peers 4 --processes 5"), -1);
	assert_int_equal(parse(&o, &v, "--rate 0"), -1);
	assert_int_equal(parse(&o, &v, "--with nothing"), -1);
	assert_int_equal(parse(&o, &v, "bulk --with bells"), -1);
	assert_int_equal(parse(&o, &v, "--hold"), -1);
	assert_int_equal(v.code, VERDICT_USAGE);
}

static void places_to_join_are_taken_in_turn_and_devices_take_one_each(void **state)
{
	struct options o;
	struct verdict v;

	(void)state;
	assert_int_equal(parse(&o, &v, "--connect /a --connect /b -S /c"), 0);
	assert_int_equal(o.sockets_count, 3);
	assert_string_equal(o.sockets[1], "/b");
	assert_false(o.devices);
	assert_int_equal(o.peers, 64);
	/* Any character device will do. */
	assert_int_equal(parse(&o, &v, "--connect /dev/null --connect /dev/zero"), 0);
	assert_true(o.devices);
	assert_int_equal(o.peers, 2);
	assert_int_equal(parse(&o, &v, "--connect /dev/null --connect /dev/zero --peers 3"), -1);
	assert_int_equal(parse(&o, &v, "--connect /dev/null -S /a"), -1);
	assert_int_equal(parse(&o, &v, "churn --connect /dev/null --connect /dev/zero"), -1);
}

static void real_vms_take_part_where_they_can(void **state)
{
	struct options o;
	struct verdict v;

	(void)state;
	assert_int_equal(parse(&o, &v, "bulk --vm 16"), 0);
	assert_int_equal(o.guests, 16);
	assert_int_equal(parse(&o, &v, "--vm 17"), -1);
	assert_int_equal(parse(&o, &v, "--vm 0"), -1);
	assert_int_equal(parse(&o, &v, "storm --vm 1"), -1);
	assert_int_equal(parse(&o, &v, "--vm 1 --time 0"), -1);
	assert_int_equal(parse(&o, &v, "--vm 1 --join-only"), -1);
	assert_int_equal(v.code, VERDICT_USAGE);
}

/* Of every kind one as it should be, and then as no guest should be believed. */
static void words_are_believed_only_as_they_must_be(void **state)
{
	struct words w, seen;

	(void)state;
	for (unsigned kind = 0; kind <= WORDS_KINDS; kind++) {
		bool there = kind >= WORDS_HELLO && kind < WORDS_KINDS;
		size_t bytes;

		words_begin(&w, (enum words_kind)kind);
		if (kind == WORDS_START)
			w.start = (struct words_start){.number = 4, .peers = 4, .guests = 1};
		if (kind == WORDS_ROSTER)
			w.roster.count = 7;
		if (kind == WORDS_BUCKETS)
			w.buckets.count = 7;
		bytes = there ? words_bytes(&w) : sizeof(w);
		assert_int_equal(words_read(&seen, &w, bytes), there);
		assert_false(words_read(&seen, &w, bytes - 1));
		assert_false(words_read(&seen, &w, bytes + 1));
		w.magic++;
		assert_false(words_read(&seen, &w, bytes));
	}
	assert_false(words_read(&seen, &w, 0));
}

static void words_beyond_their_bounds_are_not_believed(void **state)
{
	struct words w, seen;

	(void)state;
	words_begin(&w, WORDS_BUCKETS);
	w.buckets.count = 1;
	w.buckets.all[0].bucket = HISTOGRAM_BUCKETS;
	assert_false(words_read(&seen, &w, words_bytes(&w)));
	w.buckets.count = WORDS_BUCKETS_MAX + 1;
	assert_false(words_read(&seen, &w, sizeof(w)));
	words_begin(&w, WORDS_ROSTER);
	w.roster.count = UINT32_MAX;
	assert_false(words_read(&seen, &w, sizeof(w)));
	words_begin(&w, WORDS_SERIES);
	w.series.series = BOARD_SERIES_MAX;
	assert_false(words_read(&seen, &w, words_bytes(&w)));
	w.series = (struct words_series){.counted = 2, .heard = 1};
	assert_false(words_read(&seen, &w, words_bytes(&w)));
	words_begin(&w, WORDS_VERDICT);
	memset(w.verdict.why, 'x', sizeof(w.verdict.why));
	assert_false(words_read(&seen, &w, words_bytes(&w)));
	words_begin(&w, WORDS_START);
	w.start = (struct words_start){.number = 4, .peers = 4, .guests = 1, .time_s = (double)NAN};
	assert_false(words_read(&seen, &w, words_bytes(&w)));
	w.start.time_s = 1;
	w.start.number = 5;
	assert_false(words_read(&seen, &w, words_bytes(&w)));
}

/* The conductor's place keeps nobody waiting until guests take part, and counts like any. */
static void a_conductor_has_a_place_on_the_board(void **state)
{
	struct board *b = board_open(4, 2, 1, 3);

	(void)state;
	assert_non_null(b);
	assert_int_equal(board_places(b), 3);
	assert_int_equal(board_everybody(b), 7);
	assert_false(board_is_guest(b, 3));
	assert_true(board_is_guest(b, 4) && board_is_guest(b, 6));
	assert_false(board_is_guest(b, 7));
	board_arrive(b, 0, 5);
	board_arrive(b, 1, 5);
	assert_true(board_all_arrived(b, 5));
	board_arrive(b, 2, 4);
	assert_false(board_all_arrived(b, 5));
	atomic_store(&b->process[2].sent, 8);
	atomic_store(&b->process[2].heard, 6);
	assert_int_equal(board_sum(b).sent, 8);
	assert_int_equal(board_sum(b).heard, 6);
	board_close(b);
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(a_pace_keeps_its_rate),
		T(turns_come_in_order_and_to_everybody),
		T(who_is_late_is_measured_from_what_was_meant),
		T(the_same_seed_makes_the_same_pace),
		T(messages_in_order_are_fine),
		T(a_message_that_could_not_be_sent_has_no_number),
		T(lost_doubled_and_late_messages_are_found),
		T(posts_of_a_bell_come_in_the_order_they_were_put),
		T(posts_run_out_and_come_back),
		T(vms_go_round_the_processes),
		T(only_the_first_verdict_counts),
		T(a_series_is_found_by_its_name),
		T(descriptors_are_shared_out_among_processes),
		T(a_letter_is_known_by_every_byte),
		T(a_scenario_is_a_word_or_an_option),
		T(values_are_taken_and_bounds_kept),
		T(places_to_join_are_taken_in_turn_and_devices_take_one_each),
		T(real_vms_take_part_where_they_can),
		T(words_are_believed_only_as_they_must_be),
		T(words_beyond_their_bounds_are_not_believed),
		T(a_conductor_has_a_place_on_the_board),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
