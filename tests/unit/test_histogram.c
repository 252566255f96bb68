/* SPDX-License-Identifier: MIT */
/*
 * test_histogram.c - the tools' histogram: three significant digits at any
 * size, quantiles against a sorted list, and merging as if it had been one.
 */
#include "unit.h"

#include <math.h>

#include "dice.h"
#include "histogram.h"

#define SEED UINT64_C(20261122)

static struct histogram one, two, both;

static int set_up(void **state)
{
	(void)state;
	histogram_init(&one);
	histogram_init(&two);
	histogram_init(&both);
	return 0;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* As likely 3 as 3,000,000: latencies spread over sizes, not evenly. */
static uint64_t any_size(struct dice *dice)
{
	return dice_next(dice) >> (64 - 1 - dice_below(dice, HISTOGRAM_VALUE_BITS));
}

static void buckets_follow_each_other_without_gap_or_overlap(void **state)
{
	(void)state;
	assert_int_equal(histogram_bucket_low(0), 0);
	for (unsigned b = 0; b + 1 < HISTOGRAM_BUCKETS; b++) {
		assert_true(histogram_bucket_low(b) <= histogram_bucket_high(b));
		assert_int_equal(histogram_bucket_high(b) + 1, histogram_bucket_low(b + 1));
	}
	assert_int_equal(histogram_bucket_high(HISTOGRAM_BUCKETS - 1), HISTOGRAM_VALUE_MAX);
}

static void every_value_is_counted_in_the_bucket_around_it(void **state)
{
	struct dice dice = {SEED};

	(void)state;
	for (int n = 0; n < 2000; n++) {
		uint64_t value = any_size(&dice);
		unsigned found = HISTOGRAM_BUCKETS;

		histogram_init(&one);
		histogram_record(&one, value);
		for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
			if (one.buckets[b])
				found = b;
		assert_true(found < HISTOGRAM_BUCKETS);
		assert_true(histogram_bucket_low(found) <= value);
		assert_true(histogram_bucket_high(found) >= value);
	}
}

static void a_bucket_is_narrower_than_the_third_digit(void **state)
{
	(void)state;
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		uint64_t low = histogram_bucket_low(b);
		uint64_t wide = histogram_bucket_high(b) - low;

		assert_true(wide == 0 || (double)wide / (double)low < 0.001);
	}
}

static void both_edges_of_a_bucket_land_in_it(void **state)
{
	(void)state;
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		histogram_record(&one, histogram_bucket_low(b));
		histogram_record(&one, histogram_bucket_high(b));
		assert_int_equal(one.buckets[b], 2);
	}
}

static void an_empty_histogram_has_no_quantile(void **state)
{
	(void)state;
	assert_int_equal(histogram_quantile(&one, 0), 0);
	assert_int_equal(histogram_quantile(&one, 0.5), 0);
	assert_int_equal(histogram_quantile(&one, 1), 0);
}

static void a_single_value_is_every_quantile(void **state)
{
	static const uint64_t VALUES[] = {0, 1, 2047, 2048, 2049, 123456789, HISTOGRAM_VALUE_MAX};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(VALUES); i++) {
		histogram_init(&one);
		histogram_record(&one, VALUES[i]);
		assert_int_equal(histogram_quantile(&one, 0), VALUES[i]);
		assert_int_equal(histogram_quantile(&one, 0.5), VALUES[i]);
		assert_int_equal(histogram_quantile(&one, 0.999), VALUES[i]);
		assert_int_equal(histogram_quantile(&one, 1), VALUES[i]);
	}
}

static void small_quantiles_are_exact(void **state)
{
	(void)state;
	for (uint64_t value = 1; value <= 1000; value++)
		histogram_record(&one, value);
	assert_int_equal(histogram_quantile(&one, 0), 1);
	assert_int_equal(histogram_quantile(&one, 0.001), 1);
	assert_int_equal(histogram_quantile(&one, 0.5), 500);
	assert_int_equal(histogram_quantile(&one, 0.99), 990);
	assert_int_equal(histogram_quantile(&one, 0.999), 999);
	assert_int_equal(histogram_quantile(&one, 0.9991), 1000);
	assert_int_equal(histogram_quantile(&one, 1), 1000);
}

static void quantiles_agree_with_a_sorted_list(void **state)
{
	static const double QS[] = {0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
	static uint64_t values[20000];
	const size_t count = UNIT_COUNT(values);
	struct dice dice = {SEED};

	(void)state;
	for (size_t i = 0; i < count; i++) {
		values[i] = any_size(&dice);
		histogram_record(&one, values[i]);
	}
	qsort(values, count, sizeof(values[0]), by_size);
	for (size_t i = 0; i < UNIT_COUNT(QS); i++) {
		double rank = ceil(QS[i] * (double)count);
		uint64_t want = values[rank < 1 ? 0 : (size_t)rank - 1];
		uint64_t got = histogram_quantile(&one, QS[i]);

		assert_true(got >= want);
		assert_true((double)(got - want) <= 0.001 * (double)want);
	}
}

static void a_value_too_large_is_counted_and_remembered_as_the_maximum(void **state)
{
	(void)state;
	histogram_record(&one, 5);
	histogram_record(&one, UINT64_MAX);
	histogram_record(&one, UINT64_MAX - 1);
	assert_int_equal(one.count, 3);
	assert_int_equal(one.buckets[HISTOGRAM_BUCKETS - 1], 2);
	assert_true(histogram_quantile(&one, 0.9) == UINT64_MAX);
	assert_true(one.max == UINT64_MAX);
	assert_int_equal(histogram_quantile(&one, 0.1), 5);
}

static void merged_is_as_if_recorded_in_one(void **state)
{
	struct dice dice = {SEED};

	(void)state;
	for (int n = 0; n < 20000; n++) {
		uint64_t value = any_size(&dice);

		histogram_record(dice_below(&dice, 3) ? &one : &two, value);
		histogram_record(&both, value);
	}
	histogram_merge(&one, &two);
	assert_memory_equal(&one, &both, sizeof(one));
}

static void merging_an_empty_one_changes_nothing(void **state)
{
	(void)state;
	histogram_record(&one, 42);
	histogram_record(&both, 42);
	histogram_merge(&one, &two);
	assert_memory_equal(&one, &both, sizeof(one));
	histogram_merge(&two, &both);
	assert_memory_equal(&two, &both, sizeof(two));
}

static void quantile_beyond_one(void *argument)
{
	(void)histogram_quantile(argument, 1.01);
}

static void a_quantile_beyond_one_aborts(void **state)
{
	(void)state;
	assert_true(unit_dies(quantile_beyond_one, &one));
}

#define T(name) cmocka_unit_test_setup(name, set_up)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(buckets_follow_each_other_without_gap_or_overlap),
		T(every_value_is_counted_in_the_bucket_around_it),
		T(a_bucket_is_narrower_than_the_third_digit),
		T(both_edges_of_a_bucket_land_in_it),
		T(an_empty_histogram_has_no_quantile),
		T(a_single_value_is_every_quantile),
		T(small_quantiles_are_exact),
		T(quantiles_agree_with_a_sorted_list),
		T(a_value_too_large_is_counted_and_remembered_as_the_maximum),
		T(merged_is_as_if_recorded_in_one),
		T(merging_an_empty_one_changes_nothing),
		T(a_quantile_beyond_one_aborts),
	};

	return unit_run(argc, argv, tests, UNIT_COUNT(tests));
}
