/* SPDX-License-Identifier: MIT */
/*
 * histogram.c - counts of values, three significant digits each, mergeable.
 *
 * Pure arithmetic on storage that the caller lends: no clock, no memory, no
 * output. How a bucket's number comes about: shift the value right until it is
 * below 2,048; of the values so shifted only the upper half (1,024..2,047) can
 * occur, hence 1,024 more buckets a shift, and the numbers follow on without a
 * gap: shift * 1,024 + shifted value.
 */
#include "histogram.h"

#include <assert.h>
#include <string.h>

static unsigned shift_of(uint64_t value)
{
	unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1);

	return bits <= HISTOGRAM_HALF_BITS + 1 ? 0 : bits - HISTOGRAM_HALF_BITS - 1;
}

static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value > HISTOGRAM_VALUE_MAX)
		value = HISTOGRAM_VALUE_MAX;
	shift = shift_of(value);
	return shift * HISTOGRAM_HALF + (unsigned)(value >> shift);
}

void histogram_init(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void histogram_record(struct histogram *h, uint64_t value)
{
	h->buckets[bucket_of(value)]++;
	h->count++;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
}

uint64_t histogram_bucket_low(unsigned bucket)
{
	unsigned shift;

	assert(bucket < HISTOGRAM_BUCKETS);
	if (bucket < 2 * HISTOGRAM_HALF)
		return bucket;
	shift = bucket / HISTOGRAM_HALF - 1;
	return (uint64_t)(bucket % HISTOGRAM_HALF + HISTOGRAM_HALF) << shift;
}

uint64_t histogram_bucket_high(unsigned bucket)
{
	assert(bucket < HISTOGRAM_BUCKETS);
	if (bucket + 1 == HISTOGRAM_BUCKETS)
		return HISTOGRAM_VALUE_MAX;
	return histogram_bucket_low(bucket + 1) - 1;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t rank, seen = 0;

	assert(q >= 0 && q <= 1);
	if (h->count == 0)
		return 0;
	rank = (uint64_t)(q * (double)h->count);
	if ((double)rank < q * (double)h->count || rank == 0)
		rank++; /* rounded up: the share must be reached, not approached */
	if (rank >= h->count)
		return h->max;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t high = histogram_bucket_high(i);

		seen += h->buckets[i];
		if (seen < rank)
			continue;
		if (high < h->min)
			return h->min;
		return high > h->max || i + 1 == HISTOGRAM_BUCKETS ? h->max : high;
	}
	assert(!"a histogram's buckets add up to its count");
	return h->max;
}
