/* SPDX-License-Identifier: MIT */
/*
 * rounds.h - rings doorbells and accounts for every one.
 *
 * Doorbells coalesce, so a count of rings alone would not tell which one is
 * missing. Therefore waves: in a wave each VM is rung at most once, on one
 * vector, by one VM that we know, and the next wave waits until all have
 * arrived. What arrives otherwise is a stray.
 */
#ifndef STRESS_ROUNDS_H
#define STRESS_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "dice.h"
#include "fleet.h"
#include "progress.h"

/* Up to here every ordered pair and vector is rung; above, random matchings. 128 x 4 fit. */
#define ROUNDS_ALL_PAIRS_MAX UINT64_C(65536)

/* Random matchings unless told otherwise, each on every vector. */
#define ROUNDS_DEFAULT 16u

struct rounds_result {
	bool all_pairs;
	unsigned rounds;         /* random matchings, if not all pairs */
	uint64_t copies_checked; /* eventfds of witnesses, each rung through the witness's copy */
	uint64_t rung, arrived;  /* the witnesses' not included */
	uint64_t ns;
};

/*
 * First the witnesses' copies, then all pairs (rounds 0 and few enough of
 * them) or so many random matchings. Returns 0 with nothing lost, or -1 with
 * the verdict filled in; *result tells in both cases how far it came.
 */
int rounds_run(struct fleet *fleet, unsigned rounds, struct dice *dice, struct progress *progress,
	struct rounds_result *result);

#endif
