/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a run found, for people (stdout) and for programs (JSON).
 */
#ifndef STRESS_REPORT_H
#define STRESS_REPORT_H

#include <stdio.h>

#include "fleet.h"
#include "latency.h"
#include "rounds.h"
#include "verdict.h"

/* All figures of a run. What has not been reached stays NULL. */
struct report {
	const char *socket;
	uint64_t seed;
	const struct fleet *fleet;
	uint64_t mesh_ns;               /* 0: not reached */
	const struct histogram *joined; /* ns; connect to ID and memory */
	const struct histogram *opened; /* ns; connect to the last own vector */
	const struct rounds_result *rounds;
	const struct latency_result *latency;
	const struct verdict *verdict;
};

/* Each prints one part, as soon as it is there. */
void report_mesh(const struct report *r);
void report_rounds(const struct report *r);
void report_latency(const struct report *r);

/* Writes everything to `file`. Returns 0 or -errno. */
int report_json(const struct report *r, FILE *file);

#endif
