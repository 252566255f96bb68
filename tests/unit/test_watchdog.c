/* SPDX-License-Identifier: MIT */
/*
 * test_watchdog.c - who is ended, and who must not be.
 */
#include "unit.h"

#include "watchdog.h"

#define S UINT64_C(1000000000)

static struct watchdog dog;
static uint64_t now;

static void begin(void)
{
	now = 100 * S;
	watchdog_begin(&dog, 80, now);
}

static enum watchdog_says look(uint64_t late_ns, bool answered, bool excused)
{
	now = dog.next_ns + late_ns;
	return watchdog_judge(&dog, now, answered, excused);
}

static void one_that_answers_is_asked_again(void **unused)
{
	(void)unused;
	dog = (struct watchdog){0};
	begin();
	for (int i = 0; i < 100; i++)
		assert_int_equal(look(0, true, false), WATCHDOG_ASK);
}

static void one_that_does_not_is_ended_after_the_whole_time(void **unused)
{
	(void)unused;
	dog = (struct watchdog){0};
	begin();
	assert_int_equal(look(0, true, false), WATCHDOG_ASK);
	for (unsigned i = 1; i < WATCHDOG_LOOKS; i++)
		assert_int_equal(look(0, false, false), WATCHDOG_WAIT);
	assert_int_equal(look(0, false, false), WATCHDOG_ABORT);
	assert_true(now == 100 * S + 10 * S + 80 * S);
	assert_int_equal(look(0, false, false), WATCHDOG_KILL);
}

static void an_answer_at_the_last_moment_counts(void **unused)
{
	(void)unused;
	dog = (struct watchdog){0};
	begin();
	for (int round = 0; round < 5; round++) {
		for (unsigned i = 1; i < WATCHDOG_LOOKS; i++)
			assert_int_equal(look(0, false, false), WATCHDOG_WAIT);
		assert_int_equal(look(0, true, false), WATCHDOG_ASK);
	}
}

static void one_that_is_stopped_has_all_the_time_afterwards(void **unused)
{
	(void)unused;
	dog = (struct watchdog){0};
	begin();
	for (unsigned i = 1; i < WATCHDOG_LOOKS; i++)
		assert_int_equal(look(0, false, false), WATCHDOG_WAIT);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(look(0, false, true), WATCHDOG_WAIT);
	for (unsigned i = 1; i < WATCHDOG_LOOKS; i++)
		assert_int_equal(look(0, false, false), WATCHDOG_WAIT);
	assert_int_equal(look(0, false, false), WATCHDOG_ABORT);
}

/* We slept for longer than we wanted: so did it, perhaps. */
static void a_machine_that_slept_is_no_reason(void **unused)
{
	(void)unused;
	dog = (struct watchdog){0};
	begin();
	for (unsigned i = 1; i < WATCHDOG_LOOKS; i++)
		assert_int_equal(look(0, false, false), WATCHDOG_WAIT);
	assert_int_equal(look(3600 * S, false, false), WATCHDOG_WAIT);
	for (unsigned i = 1; i < WATCHDOG_LOOKS; i++)
		assert_int_equal(look(0, false, false), WATCHDOG_WAIT);
	assert_int_equal(look(0, false, false), WATCHDOG_ABORT);
}

static void each_end_doubles_the_time(void **unused)
{
	uint64_t last = 0;

	(void)unused;
	dog = (struct watchdog){0};
	for (int round = 0; round < 8; round++) {
		begin();
		assert_true(dog.interval_ns == (round <= 4 ? 10 * S << round : last));
		last = dog.interval_ns;
		for (unsigned i = 1; i < WATCHDOG_LOOKS; i++)
			assert_int_equal(look(0, false, false), WATCHDOG_WAIT);
		assert_int_equal(look(0, false, false), WATCHDOG_ABORT);
	}
}

static void none_is_none(void **unused)
{
	(void)unused;
	dog = (struct watchdog){0};
	watchdog_begin(&dog, 0, 100 * S);
	assert_true(dog.next_ns == 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_answers_is_asked_again),
		cmocka_unit_test(one_that_does_not_is_ended_after_the_whole_time),
		cmocka_unit_test(an_answer_at_the_last_moment_counts),
		cmocka_unit_test(one_that_is_stopped_has_all_the_time_afterwards),
		cmocka_unit_test(a_machine_that_slept_is_no_reason),
		cmocka_unit_test(each_end_doubles_the_time),
		cmocka_unit_test(none_is_none),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
