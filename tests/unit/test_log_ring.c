/* SPDX-License-Identifier: MIT */
/*
 * test_log_ring.c - lines on their way to the logger: whole or not there, whoever dies, and
 * whatever stands in the memory.
 */
#include "unit.h"

#include <errno.h>

#include "deaths.h"
#include "log_ring.h"

static struct log_ring ring;

static uint32_t make_line(char *line, unsigned n)
{
	uint32_t bytes = 1 + n * 37 % LOG_LINE_BYTES;

	for (uint32_t at = 0; at < bytes; at++)
		line[at] = (char)('a' + (n + at) % 26);
	return bytes;
}

static void expect_next(unsigned n)
{
	char want[LOG_LINE_BYTES], line[LOG_LINE_BYTES];
	uint32_t bytes = make_line(want, n);
	uint64_t end;

	assert_int_equal(log_ring_next(&ring, line, &end), bytes);
	assert_memory_equal(line, want, bytes);
}

static bool put(unsigned n)
{
	char line[LOG_LINE_BYTES];
	uint32_t bytes = make_line(line, n);

	return log_ring_put(&ring, line, bytes);
}

static void take(void)
{
	char line[LOG_LINE_BYTES];
	uint64_t end;

	assert_true(log_ring_next(&ring, line, &end) > 0);
	log_ring_taken(&ring, end);
}

static bool is_empty(void)
{
	char line[LOG_LINE_BYTES];
	uint64_t end;

	return log_ring_next(&ring, line, &end) == 0;
}

static void lines_come_out_whole_and_in_order_round_and_round(void **state)
{
	unsigned in = 0, out = 0;

	(void)state;
	assert_true(is_empty());
	while (out < 5000) {
		while (put(in))
			in++;
		assert_true(in > out);
		for (unsigned n = 1 + in % 7; n && out < in; n--) {
			expect_next(out);
			take();
			out++;
		}
	}
	while (out < in) {
		expect_next(out);
		take();
		out++;
	}
	assert_true(is_empty());
}

static void put_it(void *n)
{
	(void)put(*(unsigned *)n);
}

static void take_it(void *unused)
{
	(void)unused;
	take();
}

static void whoever_dies_over_a_line_it_is_there_whole_or_not_at_all(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 500; n++) {
		for (unsigned nth = 1; dies(nth, put_it, &n); nth++) {
			assert_true(log_ring_resume(&ring));
			if (is_empty())
				continue;
			expect_next(n);
			take();
		}
		expect_next(n);
		/* Taken, and perhaps a second time; never skipped. */
		for (unsigned nth = 1; dies(nth, take_it, NULL); nth++) {
			assert_true(log_ring_resume(&ring));
			if (is_empty())
				break;
			expect_next(n);
		}
		assert_true(is_empty());
	}
}

static void whatever_stands_there_no_line_is_too_long_and_all_ends(void **state)
{
	uint64_t dice = 4711;

	(void)state;
	for (unsigned n = 0; n < 20000; n++) {
		unsigned char *bytes = (unsigned char *)&ring;
		struct {
			char line[LOG_LINE_BYTES];
			char behind[64];
		} out;
		unsigned lines = 0;
		uint64_t end;
		int got;

		if (n % 100 == 0)
			memset(&ring, 0, sizeof(ring));
		for (unsigned put_n = 0; put_n < 20; put_n++)
			(void)put(put_n);
		for (unsigned hits = 0; hits < 3; hits++) {
			dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407;
			bytes[dice >> 33 & (n % 2 ? 0x7f : 0x7fff)] = (unsigned char)(dice >> 17);
		}
		(void)log_ring_resume(&ring);
		memset(&out, 0x55, sizeof(out));
		while ((got = log_ring_next(&ring, out.line, &end)) > 0) {
			assert_true(got <= LOG_LINE_BYTES);
			log_ring_taken(&ring, end);
			assert_true(++lines <= LOG_RING_BYTES / 16);
		}
		assert_true(got == 0 || got == -EBADMSG);
		assert_int_equal(out.behind[0], 0x55);
		/* And whoever goes on has a ring that works. */
		log_ring_taken(&ring, end);
		assert_true(is_empty() && put(n));
		expect_next(n);
		take();
	}
}

#define T(name) cmocka_unit_test(name)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(lines_come_out_whole_and_in_order_round_and_round),
		T(whoever_dies_over_a_line_it_is_there_whole_or_not_at_all),
		T(whatever_stands_there_no_line_is_too_long_and_all_ends),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
