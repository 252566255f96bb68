/* SPDX-License-Identifier: MIT */
/*
 * fuzz_machine.c - the broker's state machines under a schedule that the fuzzer
 * draws, and the judge of tests/unit/schedule_judge.c, which must never be displeased.
 */
#include "fuzz.h"

#include <stdio.h>

#include "schedule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct schedule_sums sums = {0};
	char why[SCHEDULE_WHY_BYTES];

	if (size == 0)
		return 0;
	if (!schedule_play((struct schedule_dice){.bytes = data, .left = size}, SCHEDULE_NONE,
		    &sums, why)) {
		fprintf(stderr, "%s\n", why);
		abort();
	}
	return 0;
}
