/* SPDX-License-Identifier: MIT */
/*
 * companions.h - doorbells with guests: each guest has an emulated VM for a partner.
 *
 * A doorbell says neither who rang nor how often, and on the way into a guest rings become one. So
 * with guests there is one ring under way between two at a time: the companion rings, the guest
 * rings back, and the time there and back is one clock's. Each is accounted for by the next not
 * being rung before it was answered. What the companions ring beside is whatever the scenario does.
 */
#ifndef STRESS_COMPANIONS_H
#define STRESS_COMPANIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "famez/peer.h"
#include "verdict.h"

struct companion {
	struct famez *famez;
	int guest; /* the ID of the guest; BOARD_NOBODY: it has not come yet */
	bool met;  /* the guest has answered once: both know each other */
	bool asked;
	uint64_t asked_ns;
};

struct companions {
	struct board *board;
	struct verdict *verdict;
	struct companion *all; /* as many as there are guests */
	unsigned vector;       /* on which all of it goes; mail does not */
	int epoll; /* readable when a bell of theirs was rung, or a socket has something */
	uint64_t patience_ns;
	/* What is measured: the board's number for it (board_guests.bells), and since when. */
	unsigned measuring;
	uint64_t clock_ns;
	uint64_t rung; /* doorbells both ways that were accounted for */
};

/* Joins one VM for each guest. 0, or -1 with the verdict filled in; companions_close() in both
 * cases. */
int companions_open(struct companions *c, struct board *board, const char *socket,
	uint64_t patience_ns, struct verdict *verdict);
void companions_close(struct companions *c);

/* Guest `k` has this ID, and listens. */
void companions_meet(struct companions *c, unsigned k, int id);

/* Has it answered once? */
static inline bool companions_met(const struct companions *c, unsigned k)
{
	return c->all[k].met;
}

/* Rings and hears what is due, without waiting. `warm_up_ns`: of what begins to be measured. 0 or
 * -1. */
int companions_turn(struct companions *c, uint64_t warm_up_ns);

#endif
