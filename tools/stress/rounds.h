/* SPDX-License-Identifier: MIT */
/*
 * rounds.h - a full round: rings everybody's doorbells, and accounts for every one.
 *
 * In waves: in a wave each VM is rung at most once, on one vector, by one VM that we
 * know, and the next wave waits until all have arrived. What arrives otherwise is a stray. So
 * when one is missing it is known which.
 */
#ifndef STRESS_ROUNDS_H
#define STRESS_ROUNDS_H

struct worker;

/* Up to here every ordered pair and vector is rung; above, random matchings. 128 x 4 fit. */
#define ROUNDS_ALL_PAIRS_MAX UINT64_C(65536)

/* Random matchings unless told otherwise, each on every vector. */
#define ROUNDS_DEFAULT 16u

/*
 * First each copy of the eventfds: a witness's own, and where there are several processes,
 * each one's. Then all pairs, where they are few enough, or random matchings. Returns 0
 * with nothing lost, or -1 as all of a worker's steps. Needs its bells open.
 */
int rounds_run(struct worker *w);

#endif
