/* SPDX-License-Identifier: MIT */
/*
 * test_oracle.c - membership, roster and views under 100,000 random schedules of
 * joins, leaves, stalls, crashes, partial sends and want of room; schedule.h tells
 * how they are played and judged. And the judge itself is tried: a driver with a
 * known bug must be noticed, whichever of its bugs it is.
 *
 *     test_oracle [--schedules N] [--seed N]    --seed replays that one schedule
 */
#include "unit.h"

#include <inttypes.h>

#include "schedule.h"

/* Schedule number n of a run is played with seed base + n. */
static uint64_t base_seed = 20260722;
static uint64_t schedules = 100000;

static bool play(uint64_t seed, enum schedule_bug bug, struct schedule_sums *sums,
	char why[SCHEDULE_WHY_BYTES])
{
	return schedule_play((struct schedule_dice){.seed = seed}, bug, sums, why);
}

static void every_client_is_told_what_it_must_be_told(void **state)
{
	struct schedule_sums sums = {0};
	char why[SCHEDULE_WHY_BYTES];

	(void)state;
	for (uint64_t n = 0; n < schedules; n++)
		if (!play(base_seed + n, SCHEDULE_NONE, &sums, why))
			fail_msg("%s; replay with --seed %" PRIu64, why, base_seed + n);
	print_error("%" PRIu64 " schedules\n", sums.schedules);
}

static void schedules_contain_all_that_can_happen(void **state)
{
	struct schedule_sums s = {0};
	char why[SCHEDULE_WHY_BYTES];

	(void)state;
	for (uint64_t seed = 1; seed <= 2000; seed++)
		assert_true(play(seed, SCHEDULE_NONE, &s, why));
	print_error("%" PRIu64 " steps, %" PRIu64 " notices, %" PRIu64 " joins, %" PRIu64
		    " leaves, %" PRIu64 " refused, %" PRIu64 " crashes while opening, %" PRIu64
		    " reuses under an opening, %" PRIu64 " held back, %" PRIu64 " rewinds, %" PRIu64
		    " looked ahead again\n",
		s.steps, s.notices, s.joins, s.leaves, s.refused, s.crashes_opening,
		s.reuses_under_opening, s.held_back, s.rewinds, s.looked_ahead_again);
	assert_true(s.steps > 100000 && s.notices > 1000000);
	assert_true(s.joins > 10000 && s.leaves > 5000 && s.refused > 1000);
	assert_true(s.crashes_opening > 1000 && s.reuses_under_opening > 100);
	assert_true(s.held_back > 1000 && s.rewinds > 1000 && s.looked_ahead_again > 1000);
}

static void a_seed_replays_its_schedule_exactly(void **state)
{
	char why[SCHEDULE_WHY_BYTES];

	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct schedule_sums first = {0}, again = {0};

		assert_true(play(seed, SCHEDULE_NONE, &first, why));
		assert_true(play(seed, SCHEDULE_NONE, &again, why));
		assert_memory_equal(&first, &again, sizeof(first));
	}
}

/* An assertion in the broker's modules notices a driver's bug as well as the judge does;
 * hence a process of its own. */
static bool is_noticed(uint64_t seed, enum schedule_bug bug)
{
	struct schedule_sums sums = {0};
	char why[SCHEDULE_WHY_BYTES];
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		unit_no_core();
		unit_drop_output(STDERR_FILENO);
		alarm(UNIT_HANG_SECONDS);
		_exit(play(seed, bug, &sums, why) ? 0 : 1);
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	assert_false(WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT);
	return status != 0;
}

static void the_judge_notices(enum schedule_bug bug)
{
	unsigned noticed = 0;

	for (uint64_t seed = 1; seed <= 100; seed++)
		noticed += is_noticed(seed, bug);
	/* Not every schedule gives every bug an occasion; a few of a hundred must. */
	if (noticed < 5)
		fail_msg("noticed in %u schedules of 100 only", noticed);
	print_error("noticed in %u schedules of 100\n", noticed);
}

/* One test a bug, named after it. */
#define NOTICES(name)                                                                              \
	static void the_judge_notices_##name(void **state)                                         \
	{                                                                                          \
		(void)state;                                                                       \
		the_judge_notices(SCHEDULE_##name);                                                \
	}
#define NOTICES_ALL(X)                                                                             \
	X(COMMITS_TOO_LITTLE)                                                                      \
	X(COMMITS_TOO_MUCH)                                                                        \
	X(LEAVES_TO_DEVICES)                                                                       \
	X(NO_LEAVES_TO_PLAIN)                                                                      \
	X(IDS_REUSED_NAIVELY)                                                                      \
	X(LOG_ENTRY_LOST)                                                                          \
	X(LOG_ENTRIES_SWAPPED)                                                                     \
	X(LOG_MOVES_IN_SEND)                                                                       \
	X(WRONG_EVENTFD)                                                                           \
	X(VECTORS_REVERSED)                                                                        \
	X(MEMORY_LATE)                                                                             \
	X(ANNOUNCED_EARLY)                                                                         \
	X(GUARD_OFF)                                                                               \
	X(LEAVE_UNHEARD)
NOTICES_ALL(NOTICES)

static void usage(const char *name)
{
	fprintf(stderr, "usage: %s [--schedules N] [--seed N] [TEST...]\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
#define NOTICES_TEST(name) cmocka_unit_test(the_judge_notices_##name),
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_client_is_told_what_it_must_be_told),
		cmocka_unit_test(schedules_contain_all_that_can_happen),
		cmocka_unit_test(a_seed_replays_its_schedule_exactly), NOTICES_ALL(NOTICES_TEST)};
	bool replay = false;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-')
			continue;
		if (i + 1 == argc)
			usage(argv[0]);
		if (strcmp(argv[i], "--schedules") == 0) {
			schedules = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--seed") == 0) {
			base_seed = strtoull(argv[++i], NULL, 0);
			replay = true;
		} else {
			usage(argv[0]);
		}
	}
	if (replay)
		schedules = 1;
	return unit_run(argc, argv, tests, replay ? 1 : UNIT_COUNT(tests));
}
