/* SPDX-License-Identifier: MIT */
/*
 * limits.h - how many descriptors a run needs, and getting leave to open them.
 */
#ifndef STRESS_LIMITS_H
#define STRESS_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "verdict.h"

struct limits_need {
	uint64_t peers;         /* emulated VMs */
	uint64_t processes;     /* that they are shared out among */
	bool mail;              /* they have mailboxes, too */
	uint64_t vectors;       /* of each */
	uint64_t other_vectors; /* of all peers that are there besides, added up */
	uint64_t copies;        /* how often each eventfd is kept: 1, and 1 more a witness */
};

/* Descriptors that each process of such a run has open at once. */
uint64_t limits_descriptors(const struct limits_need *need);

/*
 * The least number of processes that such a run takes, each within `may` descriptors and, each
 * VM mapping memory_bytes of shared memory, within half of what a process can address. 0: no
 * number will do.
 */
unsigned limits_processes(const struct limits_need *need, uint64_t may, uint64_t memory_bytes);

/*
 * Raises RLIMIT_NOFILE: the soft limit to the hard one, and the hard one too
 * if we may and need to. Touches nothing but this process's limit. Returns how
 * many descriptors we may open now, which may be fewer than `wanted`.
 */
uint64_t limits_raise(uint64_t wanted);

/* Says which number to set where. `may` is what limits_raise() returned. */
int limits_explain(const struct limits_need *need, uint64_t may, struct verdict *verdict);

#endif
