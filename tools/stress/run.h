/* SPDX-License-Identifier: MIT */
/*
 * run.h - a run, from its first join to its last leave, as one process sees it.
 */
#ifndef STRESS_RUN_H
#define STRESS_RUN_H

struct worker;

/* All VMs join, and learn of each other. Returns 0 or -1 as all of a worker's steps. */
int run_join(struct worker *w);

/* All VMs of this process leave. */
void run_leave(struct worker *w);

/* The parts of one scenario: see scenario.h. Both leave bells and mailboxes as they found them. */
int run_bells(struct worker *w, int (*part)(struct worker *w));
int run_letters(struct worker *w, int (*part)(struct worker *w));

#endif
