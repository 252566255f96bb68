/* SPDX-License-Identifier: MIT */
/*
 * visitors.h - VMs that come and go while the others are busy.
 *
 * A visitor joins, waits until its opening is complete, and leaves; with mail it also asks one of
 * the run's VMs something, and leaves with the answer. Then it comes again. Visitors are no VMs
 * of the fleet: nobody waits for their bells.
 */
#ifndef STRESS_VISITORS_H
#define STRESS_VISITORS_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"

struct worker;
struct visitor;

struct visitors {
	struct worker *w;
	struct visitor *all;
	unsigned count;
	bool mail;
	bool over;                   /* nobody comes again */
	unsigned in;                 /* so many are on their way, or there */
	struct board_series *series; /* joins: connect to the opening's end */
	int epoll;
	uint64_t begun_ns, looked_ns;
};

/*
 * This process's part of `count` visitors. All processes call it, between two meetings. Returns 0
 * or -1 with the verdict filled in; visitors_close() in both cases.
 */
int visitors_open(
	struct visitors *v, struct worker *w, unsigned count, bool mail, const char *name);

/* A step for each that something has come for. Never waits. Returns 0 or -1. */
int visitors_step(struct visitors *v, uint64_t now_ns);

void visitors_close(struct visitors *v);

#endif
