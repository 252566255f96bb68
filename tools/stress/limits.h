/* SPDX-License-Identifier: MIT */
/*
 * limits.h - how many descriptors a run needs, and getting leave to open them.
 */
#ifndef STRESS_LIMITS_H
#define STRESS_LIMITS_H

#include <stdint.h>

#include "verdict.h"

struct limits_need {
	uint64_t peers;         /* emulated VMs */
	uint64_t vectors;       /* of each */
	uint64_t other_vectors; /* of all peers that are there besides, added up */
	uint64_t copies;        /* how often each eventfd is kept: 1, and 1 more a witness */
};

/* Descriptors that such a run has open at once. */
uint64_t limits_descriptors(const struct limits_need *need);

/*
 * Raises RLIMIT_NOFILE: the soft limit to the hard one, and the hard one too
 * if we may and need to. Touches nothing but this process's limit. Returns how
 * many descriptors we may open now, which may be fewer than `wanted`.
 */
uint64_t limits_raise(uint64_t wanted);

/* Says which number to set where. `may` is what limits_raise() returned. */
int limits_explain(const struct limits_need *need, uint64_t may, struct verdict *verdict);

#endif
