/* SPDX-License-Identifier: MIT */
/*
 * scenario.c - the table of what a run can do.
 */
#include "scenario.h"

#include <stddef.h>
#include <string.h>

const struct scenario *const SCENARIOS[] = {&SCENARIO_MESH, &SCENARIO_PAIRS, &SCENARIO_RING,
	&SCENARIO_INCAST, &SCENARIO_FANOUT, &SCENARIO_STORM, &SCENARIO_CHURN, &SCENARIO_STALL,
	&SCENARIO_BULK, &SCENARIO_SOAK, NULL};

const struct scenario *scenario_named(const char *name)
{
	for (const struct scenario *const *s = SCENARIOS; *s; s++)
		if (strcmp((*s)->name, name) == 0)
			return *s;
	return NULL;
}
