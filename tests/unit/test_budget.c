/* SPDX-License-Identifier: MIT */
/*
 * test_budget.c - what a fabric needs, summed up by hand beside the broker's sums; and
 * that limits are raised, or the number to set is said.
 */
#include "unit.h"

#include <errno.h>

#include "budget.h"
#include "roster.h"
#include "worker.h"

static struct options options_of(const char *a, const char *b, const char *c, const char *d)
{
	char *argv[] = {(char *)"famez-server", (char *)a, (char *)b, (char *)c, (char *)d};
	struct options o;
	struct why why;
	int argc = 1;

	while (argc < 5 && argv[argc])
		argc++;
	assert_int_equal(options_parse(&o, argc, argv, &why), 0);
	return o;
}

static void descriptors_are_sockets_and_eventfds_and_our_own(void **state)
{
	static const uint32_t peers[] = {1, 2, 14, 1000, 65534};
	static const char *const vectors[] = {"1", "4", "16", "2048"};

	(void)state;
	for (unsigned p = 0; p < UNIT_COUNT(peers); p++)
		for (unsigned v = 0; v < UNIT_COUNT(vectors); v++) {
			struct options o = options_of("-n", vectors[v], NULL, NULL);
			struct budget b;

			budget_of(&b, &o, peers[p], 2);
			assert_int_equal(b.peers, peers[p]);
			assert_int_equal(b.sockets, peers[p]);
			assert_int_equal(b.eventfds, ((uint64_t)peers[p] + 1) * o.vectors);
			assert_int_equal(b.descriptors, b.sockets + b.eventfds + b.own);
			assert_in_range(b.own, 8, 128);
		}
}

static void ids_start_at_1_and_the_servers_is_the_last(void **state)
{
	struct options o = options_of(NULL, NULL, NULL, NULL);
	struct budget b;

	(void)state;
	budget_of(&b, &o, 14, 1);
	assert_int_equal(b.first_id, 1);
	assert_int_equal(b.server_id, 15);
	assert_int_equal(b.ids_max, 16);
}

static void a_silent_server_has_neither_id_nor_eventfds(void **state)
{
	struct options o = options_of("--silent", NULL, NULL, NULL);
	struct budget b;

	(void)state;
	budget_of(&b, &o, 14, 1);
	assert_int_equal(b.first_id, 0);
	assert_int_equal(b.server_id, ROSTER_NOBODY);
	assert_int_equal(b.ids_max, 14);
	assert_int_equal(b.eventfds, 14 * 4);
}

/* Of so many more peers, beyond what a broker for the fewer takes. It may take more itself:
 * with as many vectors as IDs it serves v1 slots, too. */
static int64_t growth(const struct options *o, uint16_t workers, uint32_t from, uint32_t to)
{
	struct budget less, more;

	budget_of(&less, o, from, workers);
	budget_of(&more, o, to, workers);
	assert_int_equal(more.memory, more.tables_bytes + more.vector_bytes + more.held_bytes +
					      more.mail_bytes + more.base_bytes);
	assert_int_equal(more.base_bytes, less.base_bytes);
	return (int64_t)(more.memory - less.memory);
}

static int64_t allowed(int64_t peers, int64_t vectors)
{
	return 2048 * peers + 64 * peers * vectors + peers * peers / 8;
}

static void a_peer_more_costs_2_kib_a_vector_64_bytes_a_pair_one_bit(void **state)
{
	static const uint32_t peers[] = {10, 100, 1000, 10000};
	static const char *const vectors[] = {"1", "4", "16"};
	static const uint16_t workers[] = {1, 2, 4};

	(void)state;
	for (unsigned n = 0; n < UNIT_COUNT(vectors) * UNIT_COUNT(workers) * 2; n++) {
		const char *how = n % 2 ? "--silent" : "--leaves=auto";
		struct options o = options_of("-n", vectors[n / 2 % 3], how, NULL);

		for (unsigned p = 0; p + 1 < UNIT_COUNT(peers); p++)
			assert_true(
				growth(&o, workers[n / 6], peers[p], peers[p + 1]) <
				allowed(peers[p + 1], o.vectors) - allowed(peers[p], o.vectors));
	}
}

static void who_holds_whom_takes_a_bit_a_pair_and_the_allocators_rounding(void **state)
{
	static const uint32_t peers[] = {10, 100, 1000, 10000};
	struct options o = options_of("-n", "16", NULL, NULL);
	struct budget b;

	(void)state;
	for (unsigned p = 0; p < UNIT_COUNT(peers); p++) {
		uint64_t bits;

		budget_of(&b, &o, peers[p], 2);
		bits = (b.ids_max + UINT64_C(63)) / 64 * 64 * b.ids_max;
		assert_in_range(b.held_bytes, bits / 8, bits / 8 * 5 / 4);
	}
}

static void where_nothing_is_laid_out_no_memory_is_set_by_for_it(void **state)
{
	struct options all = options_of("-n", "16", NULL, NULL);
	struct options slots = options_of("-n", "16", "--layout=slots", NULL);
	struct options plain = options_of("-n", "16", "--layout=plain", NULL);
	struct budget with, without;
	struct why why;

	(void)state;
	budget_of(&with, &all, 10, 2);
	budget_of(&without, &plain, 10, 2);
	assert_true(with.mail_bytes > 0);
	assert_int_equal(without.mail_bytes, 0);
	assert_true(without.memory < with.memory);
	/* The memory that there is has no room for lanes: what is left out is not counted. */
	budget_of(&without, &all, 1000, 2);
	assert_true(without.mail_bytes > 0);
	all.memory_bytes = 1 << 20;
	assert_int_equal(budget_mailbox(&without, &all, 1 << 20, &why), 0);
	assert_int_equal(without.layout, LAYOUT_PLAIN);
	assert_int_equal(without.mail_bytes, 0);
	budget_of(&without, &slots, 10, 2);
	assert_true(without.mail_bytes > 0);
}

static void what_grows_with_the_workers_is_counted(void **state)
{
	struct options o = options_of(NULL, NULL, NULL, NULL);
	struct budget one, eight;

	(void)state;
	budget_of(&one, &o, 1000, 1);
	budget_of(&eight, &o, 1000, 8);
	assert_int_equal(eight.workers, 8);
	assert_true(eight.own > one.own);
	assert_true(eight.memory > one.memory);
	assert_true(eight.base_bytes > one.base_bytes);
	assert_true(eight.tables_bytes > one.tables_bytes);
}

static void a_worker_that_has_the_inbox_alone_has_room_for_everybody_s_doorbell(void **state)
{
	/* With one vector one worker only can be reached, however many there are. */
	struct options o = options_of("-n", "1", NULL, NULL);
	struct budget b;

	(void)state;
	budget_of(&b, &o, 1000, 8);
	assert_int_equal(b.shards, 1);
	assert_true(b.ring_bytes / 8 >= (1000 + 2 * WORKER_SENDS) * sizeof(struct io_uring_sqe) +
						UINT64_C(4000) * sizeof(struct io_uring_cqe));
}

static void set_limit(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = {soft, hard};

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static rlim_t soft_limit(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	return limit.rlim_cur;
}

static void the_soft_limit_is_raised_to_what_is_needed(void **state)
{
	struct options o = options_of("--peers", "100", NULL, NULL);
	struct budget b;
	struct why why = {""};

	(void)state;
	set_limit(64, 4096);
	assert_int_equal(budget_fit(&b, &o, 1, &why), 0);
	assert_int_equal(b.peers, 100);
	assert_true(soft_limit() >= b.descriptors);
}

static void the_soft_limit_is_raised_to_the_hard_one_for_what_is_in_flight(void **state)
{
	struct options o = options_of("--peers", "10", NULL, NULL);
	struct budget b;
	struct why why = {""};

	(void)state;
	set_limit(1000, 2000);
	assert_int_equal(budget_fit(&b, &o, 1, &why), 0);
	assert_true(soft_limit() >= 2000);
}

static void peers_asked_for_that_do_not_fit_are_refused_with_the_number(void **state)
{
	struct options o = options_of("--peers", "1000", NULL, NULL);
	struct budget b, wanted;
	struct why why = {""};
	char number[32];
	uint64_t least;

	(void)state;
	if (geteuid() == 0) {
		/* With the privilege to raise hard limits nothing is refused for them. */
		assert_int_equal(setgid(65534), 0);
		assert_int_equal(setuid(65534), 0);
	}
	set_limit(1000, 1000);
	assert_int_equal(budget_fit(&b, &o, 1, &why), -EMFILE);
	assert_null(strchr(why.text, '\n'));
	budget_of(&wanted, &o, 1000, 1);
	for (least = wanted.descriptors; least < wanted.descriptors + 4096; least++) {
		(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)least);
		if (strstr(why.text, number))
			return;
	}
	fail_msg("\"%s\" does not say that %llu are needed", why.text,
		(unsigned long long)wanted.descriptors);
}

static void where_not_one_fits_fewer_are_not_recommended(void **state)
{
	struct options o = options_of("--peers", "1000", NULL, NULL);
	struct budget b;
	struct why why = {""};

	(void)state;
	if (geteuid() == 0) {
		assert_int_equal(setgid(65534), 0);
		assert_int_equal(setuid(65534), 0);
	}
	set_limit(20, 20);
	assert_int_equal(budget_fit(&b, &o, 1, &why), -EMFILE);
	assert_non_null(strstr(why.text, "too few for one peer"));
	assert_null(strstr(why.text, "--peers"));
}

static void as_many_as_fit_are_taken_where_none_were_asked_for(void **state)
{
	struct options o = options_of("--layout", "plain", NULL, NULL);
	struct budget b, more;
	struct why why = {""};

	(void)state;
	if (geteuid() == 0) {
		assert_int_equal(setgid(65534), 0);
		assert_int_equal(setuid(65534), 0);
	}
	set_limit(500, 1000);
	assert_int_equal(budget_fit(&b, &o, 1, &why), 0);
	assert_true(b.peers > 100 && b.peers < 200);
	assert_true(b.descriptors <= 1000);
	budget_of(&more, &o, b.peers + 1, 1);
	assert_true(more.descriptors > 1000);
	assert_true(soft_limit() >= b.descriptors);
}

static void the_default_is_met_where_it_fits(void **state)
{
	struct options plain = options_of("--layout", "plain", NULL, NULL);
	struct options lanes = options_of(NULL, NULL, NULL, NULL);
	struct budget b;
	struct why why = {""};

	(void)state;
	budget_of(&b, &plain, 1000, 1);
	if (soft_limit() < b.descriptors)
		set_limit(b.descriptors, b.descriptors);
	assert_int_equal(budget_fit(&b, &plain, 1, &why), 0);
	assert_int_equal(b.peers, 1000);
	/* Not so many as would have lanes that a guest has no room for. */
	assert_int_equal(budget_fit(&b, &lanes, 1, &why), 0);
	assert_int_equal(b.peers, 64);
}

/* ---- the shared memory ------------------------------------------------------------------ */

/* The mailbox of these options with so many peers, in a memory of @bytes. */
static struct budget mailbox_of(const struct options *o, uint32_t peers, uint64_t bytes)
{
	struct budget b;
	struct why why = {""};

	budget_of(&b, o, peers, 1);
	if (budget_mailbox(&b, o, bytes, &why) != 0)
		fail_msg("%s", why.text);
	assert_int_equal(b.shared_bytes, bytes);
	return b;
}

static struct budget fits(const char *a, const char *b, const char *c, const char *d)
{
	struct options o = options_of(a, b, c, d);
	struct budget budget;
	struct why why = {""};

	if (budget_fit(&budget, &o, 1, &why) != 0)
		fail_msg("%s", why.text);
	return budget;
}

static void refuses(const struct options *o, uint32_t peers, uint64_t bytes, const char *word)
{
	struct budget b;
	struct why why = {""};

	budget_of(&b, o, peers, 1);
	assert_int_equal(budget_mailbox(&b, o, bytes, &why), -EFBIG);
	if (!strstr(why.text, word))
		fail_msg("\"%s\" says nothing of %s", why.text, word);
	assert_null(strchr(why.text, '\n'));
}

static void without_a_size_there_are_lanes_of_64_kib(void **state)
{
	struct budget b = fits("--peers", "8", NULL, NULL);

	(void)state;
	assert_int_equal(b.layout, LAYOUT_LANES);
	assert_int_equal(b.lane_bytes, 65536);
	assert_int_equal(b.shared_bytes, 8u << 20); /* 10 x 10 x 64 KiB is 6.25 MiB */
}

static void many_peers_have_the_smallest_file_that_has_lanes(void **state)
{
	struct options o = options_of(NULL, NULL, NULL, NULL);
	struct budget b = fits("--peers", "300", "-n", "1");

	(void)state;
	/* 302 x 302 x 64 KiB is 5.6 GiB, and at 4 KiB it is 373 MiB with all else. */
	assert_int_equal(b.shared_bytes, 512u << 20);
	assert_int_equal(b.lane_bytes, 4096);
	/* What is left over in a power of two makes larger lanes. */
	assert_int_equal(mailbox_of(&o, 1000, UINT64_C(8) << 30).lane_bytes, 8192);
}

static void the_size_follows_the_peers_that_the_limits_leave(void **state)
{
	struct options o = options_of(NULL, NULL, NULL, NULL);
	struct budget b, whole;
	struct why why = {""};

	(void)state;
	if (geteuid() == 0) {
		assert_int_equal(setgid(65534), 0);
		assert_int_equal(setuid(65534), 0);
	}
	set_limit(300, 300);
	assert_int_equal(budget_fit(&b, &o, 1, &why), 0);
	assert_true(b.peers < 100);
	whole = mailbox_of(&o, b.peers, b.shared_bytes);
	assert_int_equal(whole.layout, LAYOUT_LANES);
	assert_int_equal(whole.lane_bytes, 65536);
	assert_true(famez_geometry_needs(b.peers + 2, 65536) > b.shared_bytes / 2);
}

static void a_silent_server_lays_nothing_out_in_64_mib(void **state)
{
	struct budget b = fits("--silent", NULL, NULL, NULL);

	(void)state;
	assert_int_equal(b.layout, LAYOUT_PLAIN);
	assert_int_equal(b.lane_bytes, 0);
	assert_int_equal(b.shared_bytes, 64u << 20);
}

static void a_silent_server_that_is_told_to_lays_out_lanes_and_no_id_0(void **state)
{
	struct budget b = fits("--silent", "--layout", "lanes", "--peers=4");

	(void)state;
	assert_int_equal(b.layout, LAYOUT_LANES);
	assert_int_equal(b.first_id, 1);
	assert_int_equal(b.ids_max, 6);
	assert_int_equal(b.server_id, ROSTER_NOBODY);
}

static void size_and_peers_that_do_not_go_together_are_refused_with_what_would_do(void **state)
{
	struct options o = options_of("--peers", "100", "-l", "1M");

	(void)state;
	refuses(&o, 100, 1u << 20, "-l 64M");
	refuses(&o, 100, 1u << 20, "--peers 13");
	/* And both are true. */
	assert_int_equal(mailbox_of(&o, 100, 64u << 20).layout, LAYOUT_LANES);
	refuses(&o, 100, 32u << 20, "lanes");
	assert_int_equal(mailbox_of(&o, 13, 1u << 20).layout, LAYOUT_LANES);
	refuses(&o, 14, 1u << 20, "lanes");
}

static void a_size_alone_that_is_too_small_leaves_nothing_and_advice(void **state)
{
	struct options o = options_of("-l", "1M", NULL, NULL);
	struct budget b = mailbox_of(&o, 1000, 1u << 20);
	char advice[64];

	(void)state;
	assert_int_equal(b.layout, LAYOUT_PLAIN);
	assert_int_equal(b.lane_bytes, 0);
	budget_advice(&b, advice, sizeof(advice));
	assert_string_equal(advice, "-l 8G, or --peers 13");
	/* Nobody can give another size to what exists. */
	b.existing = true;
	budget_advice(&b, advice, sizeof(advice));
	assert_string_equal(advice, "a memory of 8G, or --peers 13");
}

static void slots_are_left_where_v1_clients_have_the_vectors_for_them(void **state)
{
	struct options enough = options_of("-n", "102", NULL, NULL);
	struct options one_less = options_of("-n", "101", NULL, NULL);

	(void)state;
	assert_int_equal(mailbox_of(&enough, 100, 1u << 20).layout, LAYOUT_SLOTS);
	assert_int_equal(mailbox_of(&one_less, 100, 1u << 20).layout, LAYOUT_PLAIN);
	assert_int_equal(mailbox_of(&enough, 100, 32u << 10).layout, LAYOUT_PLAIN);
}

static void peers_alone_that_are_too_many_for_any_lanes_have_none(void **state)
{
	struct options o = options_of("--peers", "30000", "-n", "1");
	struct budget b = mailbox_of(&o, 30000, 64u << 20);
	char advice[64];

	(void)state;
	assert_int_equal(b.layout, LAYOUT_PLAIN);
	budget_advice(&b, advice, sizeof(advice));
	assert_non_null(strstr(advice, "at most --peers 160"));
}

static void lanes_that_were_asked_for_are_not_given_up(void **state)
{
	struct options lanes = options_of("--layout", "lanes", NULL, NULL);
	struct options slots = options_of("--layout", "slots", NULL, NULL);

	(void)state;
	refuses(&lanes, 1000, 1u << 20, "-l 8G");
	refuses(&lanes, 30000, 64u << 20, "--peers 160");
	refuses(&slots, 1000, 256u << 10, "-l 512K");
	refuses(&slots, 1000, 256u << 10, "--peers 510");
	assert_int_equal(mailbox_of(&slots, 510, 256u << 10).layout, LAYOUT_SLOTS);
	refuses(&slots, 511, 256u << 10, "slots");
	assert_int_equal(mailbox_of(&slots, 8, 64u << 20).layout, LAYOUT_SLOTS);
}

static void not_even_one_peer_is_a_refusal(void **state)
{
	struct options o = options_of("-n", "2048", NULL, NULL);
	struct budget b;
	struct why why = {""};

	(void)state;
	if (geteuid() == 0) {
		assert_int_equal(setgid(65534), 0);
		assert_int_equal(setuid(65534), 0);
	}
	set_limit(256, 256);
	assert_int_equal(budget_fit(&b, &o, 1, &why), -EMFILE);
	assert_true(strlen(why.text) > 0);
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(descriptors_are_sockets_and_eventfds_and_our_own),
		T(ids_start_at_1_and_the_servers_is_the_last),
		T(a_silent_server_has_neither_id_nor_eventfds),
		T(a_peer_more_costs_2_kib_a_vector_64_bytes_a_pair_one_bit),
		T(who_holds_whom_takes_a_bit_a_pair_and_the_allocators_rounding),
		T(where_nothing_is_laid_out_no_memory_is_set_by_for_it),
		T(what_grows_with_the_workers_is_counted),
		T(a_worker_that_has_the_inbox_alone_has_room_for_everybody_s_doorbell),
		T(the_soft_limit_is_raised_to_what_is_needed),
		T(the_soft_limit_is_raised_to_the_hard_one_for_what_is_in_flight),
		T(peers_asked_for_that_do_not_fit_are_refused_with_the_number),
		T(where_not_one_fits_fewer_are_not_recommended),
		T(as_many_as_fit_are_taken_where_none_were_asked_for),
		T(the_default_is_met_where_it_fits),
		T(not_even_one_peer_is_a_refusal),
		T(without_a_size_there_are_lanes_of_64_kib),
		T(many_peers_have_the_smallest_file_that_has_lanes),
		T(the_size_follows_the_peers_that_the_limits_leave),
		T(a_silent_server_lays_nothing_out_in_64_mib),
		T(a_silent_server_that_is_told_to_lays_out_lanes_and_no_id_0),
		T(size_and_peers_that_do_not_go_together_are_refused_with_what_would_do),
		T(a_size_alone_that_is_too_small_leaves_nothing_and_advice),
		T(slots_are_left_where_v1_clients_have_the_vectors_for_them),
		T(peers_alone_that_are_too_many_for_any_lanes_have_none),
		T(lanes_that_were_asked_for_are_not_given_up),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
