/* SPDX-License-Identifier: MIT */
/*
 * histogram.h - counts of values, three significant digits each, mergeable.
 *
 * Values below 2,048 have a bucket each. Above, every power of two is cut into
 * 1,024 equal buckets, so that a bucket is never wider than 1/1,024 of the
 * values in it. Storage is the caller's; nothing allocates, nothing can fail.
 * One histogram belongs to one thread; give each thread its own and merge.
 */
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

#include <stdint.h>

/* Values from here on are counted in the last bucket; as nanoseconds 18 minutes. */
#define HISTOGRAM_VALUE_BITS 40
#define HISTOGRAM_VALUE_MAX  ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)

#define HISTOGRAM_HALF_BITS 10
#define HISTOGRAM_HALF      (1u << HISTOGRAM_HALF_BITS)

/* 2 halves for the values that have a bucket each; a half for each power of two above. */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_HALF_BITS + 1) * HISTOGRAM_HALF)

struct histogram {
	uint64_t count;
	uint64_t min; /* exact; UINT64_MAX while count is 0 */
	uint64_t max; /* exact, even beyond HISTOGRAM_VALUE_MAX; 0 while count is 0 */
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *h);

void histogram_record(struct histogram *h, uint64_t value);

/* Adds all that `from` holds to `into`. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/*
 * The value that at least the share q (0..1) of all values does not exceed:
 * the upper end of its bucket, but never below the least or above the largest
 * value seen. 0 if there are none.
 */
uint64_t histogram_quantile(const struct histogram *h, double q);

/* Least and largest value that are counted in a bucket (0..HISTOGRAM_BUCKETS-1). */
uint64_t histogram_bucket_low(unsigned bucket);
uint64_t histogram_bucket_high(unsigned bucket);

#endif
