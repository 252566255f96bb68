/* SPDX-License-Identifier: MIT */
/*
 * scenario.h - what a run does once all VMs are there: one table of functions.
 *
 * Every process runs the same functions, each for its own VMs (worker.h).
 */
#ifndef STRESS_SCENARIO_H
#define STRESS_SCENARIO_H

#include <stdbool.h>

struct worker;

struct scenario {
	const char *name;
	const char *summary;
	/* With bells open, and no mailbox. NULL: it has no such part. */
	int (*bells)(struct worker *w);
	/* With a mailbox each. NULL: it has no such part. */
	int (*letters)(struct worker *w);
	/* Instead of these two, and of all that precedes them: with the VMs joined, and neither
	 * bells nor mailboxes open, which is how it has to end. */
	int (*all)(struct worker *w);
	/* So many of the VMs stay outside, for the scenario to join and leave with; 0 or NULL:
	 * none. */
	unsigned (*aside)(unsigned peers);
	bool guests; /* QEMUs may take part: only what doorbells and messages are, and no group */
	bool trips;  /* round trips beside a bare eventfd's are measured, too */
};

/* The one of this name, or NULL. */
const struct scenario *scenario_named(const char *name);

/* All of them, the last one followed by NULL. */
extern const struct scenario *const SCENARIOS[];

extern const struct scenario SCENARIO_MESH, SCENARIO_PAIRS, SCENARIO_RING, SCENARIO_INCAST,
	SCENARIO_FANOUT, SCENARIO_STORM, SCENARIO_CHURN, SCENARIO_STALL, SCENARIO_BULK,
	SCENARIO_SOAK;

#endif
