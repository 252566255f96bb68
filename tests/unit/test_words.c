/* SPDX-License-Identifier: MIT */
/*
 * test_words.c - who ends by an assertion leaves a line where another process finds it.
 */
#include "unit.h"

#include <assert.h>

#include "words.h"

#define BYTES 64u

static void die_of_an_assertion(void *place)
{
	words_open(place, BYTES);
	__assert_fail("two == 3 /* so long that it does not fit */", "/a/b/c.c", 12, "count");
}

static void last_words_stand_in_the_place_given_and_fit_it(void **state)
{
	char *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(place != MAP_FAILED);
	memset(place, 'x', 4096);
	assert_true(unit_dies(die_of_an_assertion, place));
	assert_memory_equal(place, "c.c:12: count: Assertion `two == 3", 34);
	assert_int_equal(strnlen(place, BYTES), BYTES - 1);
	assert_int_equal(place[BYTES], 'x');
	(void)munmap(place, 4096);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(last_words_stand_in_the_place_given_and_fit_it),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
