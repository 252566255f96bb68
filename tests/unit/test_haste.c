/* SPDX-License-Identifier: MIT */
/*
 * test_haste.c - a broker that goes before others gives it up, or is ended. What becomes of a real
 * one is in tests/keeper/life.py.
 */
#include "unit.h"

#include <sched.h>
#include <time.h>

#include "haste.h"

/* What a process of its own comes to. */
enum end { GAVE_IT_UP, DID_NOT, MAY_NOT };

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool goes_before_others(void)
{
	return (sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_RR;
}

/* As a broker's first thread that was born @ago_ns, and turns, or only @runs on. Its status. */
static int broker(bool first, uint64_t ago_ns, bool runs)
{
	static volatile bool running = true;
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		unit_no_core();
		haste_keep();
		if (!goes_before_others())
			_exit(MAY_NOT);
		(void)haste_begin(first, now_ns() - ago_ns);
		while (runs && running)
			;
		haste_look();
		_exit(goes_before_others() ? DID_NOT : GAVE_IT_UP);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == MAY_NOT)
		skip();
	return status;
}

static void the_first_broker_has_none(void **state)
{
	(void)state;
	assert_int_equal(broker(true, 0, false), W_EXITCODE(GAVE_IT_UP, 0));
}

static void it_is_over_in_the_first_turn_after_some_moments(void **state)
{
	(void)state;
	assert_int_equal(broker(false, 0, false), W_EXITCODE(DID_NOT, 0));
	assert_int_equal(broker(false, HASTE_NS, false), W_EXITCODE(GAVE_IT_UP, 0));
}

static void who_does_not_give_it_up_is_ended(void **state)
{
	int status = broker(false, 0, true);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGXCPU);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_broker_has_none),
		cmocka_unit_test(it_is_over_in_the_first_turn_after_some_moments),
		cmocka_unit_test(who_does_not_give_it_up_is_ended),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
