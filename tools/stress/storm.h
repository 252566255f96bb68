/* SPDX-License-Identifier: MIT */
/*
 * storm.h - all leave, and all join again.
 */
#ifndef STRESS_STORM_H
#define STRESS_STORM_H

struct worker;
struct storm;

/* One who stays meanwhile, to see who has left; of the first process. Returns NULL with the verdict
 * filled in. All processes call it, between two meetings. */
struct storm *storm_open(struct worker *w);

/* All leave; once the one who stayed was told so of each, all join at once. What is measured is
 * the way from a VM's connection to its last own vector. Returns 0 or -1. */
int storm_again(struct storm *s);

void storm_close(struct storm *s);

#endif
