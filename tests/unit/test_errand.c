/* SPDX-License-Identifier: MIT */
/*
 * test_errand.c - what was asked of the broker by a signal is done once at least, whenever it dies.
 */
#include "unit.h"

#include "errand.h"

/* A broker that comes to the end of it. Returns whether it had anything to do. */
static bool does_it(struct errand *e)
{
	bool given_up, again = errand_again(e, &given_up);

	assert_false(given_up);
	if (again) {
		errand_begin(e);
		errand_done(e);
	}
	return again;
}

static void what_is_asked_for_is_due_until_it_is_done(void **state)
{
	struct errand e = {0};

	(void)state;
	assert_false(errand_due(&e));
	errand_ask(&e);
	assert_true(errand_due(&e));
	errand_begin(&e);
	assert_true(errand_due(&e));
	errand_done(&e);
	assert_false(errand_due(&e));
	assert_false(does_it(&e));
}

static void a_successor_does_what_was_asked_for_and_not_done(void **state)
{
	struct errand e = {0};

	(void)state;
	errand_ask(&e);
	assert_true(does_it(&e));
	errand_ask(&e);
	errand_begin(&e); /* and dies */
	assert_true(does_it(&e));
	assert_false(does_it(&e));
}

static void asked_often_it_is_done_once(void **state)
{
	struct errand e = {0};

	(void)state;
	errand_ask(&e);
	errand_ask(&e);
	assert_true(does_it(&e));
	assert_false(does_it(&e));
}

static void what_is_asked_for_while_it_is_being_done_is_done_after_that(void **state)
{
	struct errand e = {0};

	(void)state;
	errand_ask(&e);
	errand_begin(&e);
	errand_ask(&e);
	errand_done(&e);
	assert_true(errand_due(&e));
	assert_true(does_it(&e));
}

static void what_many_brokers_die_over_is_given_up_once(void **state)
{
	struct errand e = {0};
	bool given_up;

	(void)state;
	errand_ask(&e);
	for (unsigned n = 0; n < ERRAND_TRIES_MAX; n++) {
		assert_true(errand_again(&e, &given_up));
		assert_false(given_up);
		errand_begin(&e); /* and dies */
	}
	assert_false(errand_again(&e, &given_up));
	assert_true(given_up);
	assert_false(errand_again(&e, &given_up));
	assert_false(given_up);
	/* The next one has all of them again. */
	errand_ask(&e);
	assert_true(does_it(&e));
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(what_is_asked_for_is_due_until_it_is_done),
		T(a_successor_does_what_was_asked_for_and_not_done),
		T(asked_often_it_is_done_once),
		T(what_is_asked_for_while_it_is_being_done_is_done_after_that),
		T(what_many_brokers_die_over_is_given_up_once),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
