/* SPDX-License-Identifier: MIT */
/*
 * agent.h - a VM of a run, inside of it: what famez-stress does in a guest that the run's --vm
 * booted.
 */
#ifndef STRESS_AGENT_H
#define STRESS_AGENT_H

#include "verdict.h"

/* Takes part through this device, until it is told that the run is over. 0, or -1 with the verdict
 * filled in, which the host has been told as well. */
int agent_run(const char *device, struct verdict *verdict);

#endif
