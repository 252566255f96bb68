/* SPDX-License-Identifier: MIT */
/*
 * test_admit.c - who is let in: the lists, the two quotas of a user, and how many users
 * there can be.
 */
#include "unit.h"

#include <string.h>

#include "admit.h"

#define SECOND UINT64_C(1000000000)

/* Long after boot, so that nothing depends on the clock being small. */
#define NOW (UINT64_C(1) << 50)

static struct admit a;

static struct admit_user known[ADMIT_USERS_MAX];

static void begin(const struct admit_rules *rules)
{
	memset(known, 0, sizeof(known));
	admit_init(&a, rules, known);
}

static enum admit_says ask(uint32_t uid, uint32_t gid, uint64_t now_ns)
{
	const struct admit_who who = {.uid = uid, .gid = gid};

	return admit_ask(&a, &who, now_ns);
}

static void without_rules_everybody_comes_in(void **state)
{
	(void)state;
	begin(&(struct admit_rules){0});
	for (uint32_t uid = 0; uid < 1000; uid++)
		assert_int_equal(ask(uid, uid, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(UINT32_MAX, UINT32_MAX, NOW), ADMIT_WELCOME);
}

static void a_list_of_users_lets_in_only_them(void **state)
{
	(void)state;
	begin(&(struct admit_rules){.uids_count = 2, .uids = {1000, 1001}});
	assert_int_equal(ask(1000, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1001, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1002, 1000, NOW), ADMIT_NOT_ALLOWED);
	/* Root is a user like any, and who can't be told is nobody. */
	assert_int_equal(ask(0, 0, NOW), ADMIT_NOT_ALLOWED);
	assert_int_equal(ask(UINT32_MAX, 0, NOW), ADMIT_NOT_ALLOWED);
}

static void a_group_may_be_the_first_or_one_of_the_rest(void **state)
{
	static const uint32_t groups[] = {5, 7, 64};
	struct admit_who who = {.uid = 1, .gid = 9, .groups = groups, .groups_count = 3};

	(void)state;
	begin(&(struct admit_rules){.gids_count = 1, .gids = {64}});
	assert_int_equal(ask(1, 64, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1, 9, NOW), ADMIT_NOT_ALLOWED);
	assert_int_equal(admit_ask(&a, &who, NOW), ADMIT_WELCOME);
	who.groups_count = 2;
	assert_int_equal(admit_ask(&a, &who, NOW), ADMIT_NOT_ALLOWED);
}

static void either_list_will_do(void **state)
{
	(void)state;
	begin(&(struct admit_rules){
		.uids_count = 1, .uids = {1000}, .gids_count = 1, .gids = {64}});
	assert_int_equal(ask(1000, 9, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(9, 64, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(9, 9, NOW), ADMIT_NOT_ALLOWED);
}

static void groups_are_asked_for_only_where_they_can_help(void **state)
{
	(void)state;
	begin(&(struct admit_rules){.uids_count = 1, .uids = {1000}});
	assert_false(admit_needs_groups(&a, &(struct admit_who){.uid = 9, .gid = 64}));
	begin(&(struct admit_rules){
		.uids_count = 1, .uids = {1000}, .gids_count = 1, .gids = {64}});
	assert_false(admit_needs_groups(&a, &(struct admit_who){.uid = 1000, .gid = 9}));
	assert_false(admit_needs_groups(&a, &(struct admit_who){.uid = 9, .gid = 64}));
	assert_true(admit_needs_groups(&a, &(struct admit_who){.uid = 9, .gid = 9}));
}

static void a_user_has_so_many_peers_at_once(void **state)
{
	(void)state;
	begin(&(struct admit_rules){.peers_per_uid = 2});
	assert_int_equal(ask(1, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1, 1, NOW), ADMIT_QUOTA);
	assert_int_equal(ask(2, 1, NOW), ADMIT_WELCOME);
	admit_left(&a, 1);
	assert_int_equal(ask(1, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1, 1, NOW), ADMIT_QUOTA);
}

static void who_was_here_before_counts(void **state)
{
	(void)state;
	begin(&(struct admit_rules){.peers_per_uid = 2});
	admit_known(&a, 1);
	admit_known(&a, 1);
	assert_int_equal(ask(1, 1, NOW), ADMIT_QUOTA);
	admit_left(&a, 1);
	assert_int_equal(ask(1, 1, NOW), ADMIT_WELCOME);
}

static void a_user_joins_so_often_in_a_second(void **state)
{
	(void)state;
	begin(&(struct admit_rules){.joins_per_second = 10});
	for (unsigned n = 0; n < 10; n++)
		assert_int_equal(ask(1, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1, 1, NOW), ADMIT_RATE);
	assert_int_equal(ask(2, 1, NOW), ADMIT_WELCOME);
	/* Leaving gives nothing back. */
	admit_left(&a, 1);
	assert_int_equal(ask(1, 1, NOW + SECOND / 10 - 1), ADMIT_RATE);
	assert_int_equal(ask(1, 1, NOW + SECOND / 10), ADMIT_WELCOME);
	assert_int_equal(ask(1, 1, NOW + SECOND / 10), ADMIT_RATE);
	/* The bucket does not grow beyond a second's worth. */
	for (unsigned n = 0; n < 10; n++)
		assert_int_equal(ask(1, 1, NOW + 60 * SECOND), ADMIT_WELCOME);
	assert_int_equal(ask(1, 1, NOW + 60 * SECOND), ADMIT_RATE);
}

static void who_is_refused_uses_nothing_up(void **state)
{
	(void)state;
	begin(&(struct admit_rules){.peers_per_uid = 1, .joins_per_second = 2});
	assert_int_equal(ask(1, 1, NOW), ADMIT_WELCOME);
	for (unsigned n = 0; n < 100; n++)
		assert_int_equal(ask(1, 1, NOW), ADMIT_QUOTA);
	admit_left(&a, 1);
	assert_int_equal(ask(1, 1, NOW), ADMIT_WELCOME);
	admit_left(&a, 1);
	for (unsigned n = 0; n < 100; n++)
		assert_int_equal(ask(1, 1, NOW), ADMIT_RATE);
	assert_int_equal(ask(1, 1, NOW + SECOND / 2), ADMIT_WELCOME);
}

static void more_users_than_can_be_counted_are_refused_until_some_have_left(void **state)
{
	(void)state;
	begin(&(struct admit_rules){.peers_per_uid = 3, .joins_per_second = 100});
	for (uint32_t n = 0; n < ADMIT_USERS_MAX; n++)
		assert_int_equal(ask(n * 4096 + 7, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(3, 1, NOW), ADMIT_STRANGER);
	/* Those who are known still come. */
	assert_int_equal(ask(7, 1, NOW), ADMIT_WELCOME);
	admit_left(&a, 7);
	admit_left(&a, 7);
	assert_int_equal(ask(3, 1, NOW), ADMIT_STRANGER); /* its joins are not paid for yet */
	assert_int_equal(ask(3, 1, NOW + SECOND), ADMIT_WELCOME);
	assert_int_equal(ask(7, 1, NOW + SECOND), ADMIT_STRANGER);
	for (uint32_t n = 1; n < ADMIT_USERS_MAX; n++)
		admit_left(&a, n * 4096 + 7);
	for (uint32_t n = 0; n < 50; n++)
		assert_int_equal(ask(n, 1, NOW + 2 * SECOND), ADMIT_WELCOME);
}

static void counts_are_right_however_users_come_and_go(void **state)
{
	uint32_t here[600] = {0}, seed = 1, users = 0;

	(void)state;
	begin(&(struct admit_rules){.peers_per_uid = 2});
	for (unsigned step = 0; step < 200000; step++) {
		uint32_t uid;

		seed = seed * 1103515245u + 12345u;
		uid = (seed >> 16) % 600;
		if (seed & 0x8000 && here[uid]) {
			admit_left(&a, uid);
			users -= --here[uid] == 0;
			continue;
		}
		switch (ask(uid, 0, NOW)) {
		case ADMIT_WELCOME:
			assert_true(here[uid] < 2);
			users += here[uid]++ == 0;
			break;
		case ADMIT_QUOTA:
			assert_int_equal(here[uid], 2);
			break;
		case ADMIT_STRANGER:
			assert_int_equal(users, ADMIT_USERS_MAX);
			assert_int_equal(here[uid], 0);
			break;
		default:
			fail();
		}
	}
}

static void every_refusal_has_a_reason(void **state)
{
	(void)state;
	assert_string_equal(admit_reason(ADMIT_NOT_ALLOWED), "not-allowed");
	assert_string_equal(admit_reason(ADMIT_QUOTA), "max-per-uid");
	assert_string_equal(admit_reason(ADMIT_RATE), "joins-per-second");
	assert_string_equal(admit_reason(ADMIT_STRANGER), "too-many-users");
}

static void a_successor_knows_how_often_somebody_has_joined(void **state)
{
	const struct admit_rules rules = {.joins_per_second = 2};

	(void)state;
	begin(&rules);
	assert_int_equal(ask(1000, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1000, 1, NOW), ADMIT_WELCOME);
	admit_init(&a, &rules, known);
	assert_int_equal(ask(1000, 1, NOW), ADMIT_RATE);
	assert_int_equal(ask(1001, 1, NOW), ADMIT_WELCOME);
	assert_int_equal(ask(1000, 1, NOW + SECOND / 2), ADMIT_WELCOME);
	/* A time that we never wrote keeps nobody out. */
	known[1000 * 2654435761u >> 24].due_ns = NOW + 100 * SECOND;
	admit_init(&a, &rules, known);
	assert_int_equal(ask(1000, 1, NOW + SECOND), ADMIT_WELCOME);
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(without_rules_everybody_comes_in),
		T(a_list_of_users_lets_in_only_them),
		T(a_group_may_be_the_first_or_one_of_the_rest),
		T(either_list_will_do),
		T(groups_are_asked_for_only_where_they_can_help),
		T(a_user_has_so_many_peers_at_once),
		T(who_was_here_before_counts),
		T(a_user_joins_so_often_in_a_second),
		T(a_successor_knows_how_often_somebody_has_joined),
		T(who_is_refused_uses_nothing_up),
		T(more_users_than_can_be_counted_are_refused_until_some_have_left),
		T(counts_are_right_however_users_come_and_go),
		T(every_refusal_has_a_reason),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
