/* SPDX-License-Identifier: MIT */
/*
 * dice.h - random numbers that a printed seed brings back.
 *
 * SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
 * generators", 2014). Not for secrets.
 */
#ifndef STRESS_DICE_H
#define STRESS_DICE_H

#include <stdint.h>

struct dice {
	uint64_t state; /* the seed, at first */
};

static inline uint64_t dice_next(struct dice *d)
{
	uint64_t z = (d->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0..n-1, n > 0. The upper 32 bits scaled: the bias is below n / 2^32. */
static inline uint32_t dice_below(struct dice *d, uint32_t n)
{
	return (uint32_t)(((dice_next(d) >> 32) * n) >> 32);
}

#endif
