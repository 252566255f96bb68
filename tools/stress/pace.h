/* SPDX-License-Identifier: MIT */
/*
 * pace.h - when each of many senders is meant to send next: an open loop.
 *
 * Times are drawn beforehand, with exponential gaps, whatever becomes of what is sent. A
 * sender that could not keep up finds its next times in the past and is measured from them:
 * so a server that stands still for a second costs all that was meant for that second
 * (no coordinated omission). No clock, no descriptor: the caller says what time it is.
 */
#ifndef STRESS_PACE_H
#define STRESS_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "dice.h"

struct pace_turn {
	uint64_t due_ns;
	uint32_t sender;
};

struct pace {
	struct pace_turn *heap; /* the earliest first; those that are not out */
	uint32_t count, size;
	double gap_ns; /* of one sender, on average */
	struct dice dice;
};

/* Room for so many senders, each with a gap of gap_ns > 0 on average. 0 or -ENOMEM. */
int pace_init(struct pace *p, uint32_t senders, double gap_ns, uint64_t seed);
void pace_destroy(struct pace *p);

/* A sender joins in, its first time a random part of a gap after now_ns. */
void pace_add(struct pace *p, uint32_t sender, uint64_t now_ns);

/* When the next one is due; UINT64_MAX: nobody is in. */
uint64_t pace_due_ns(const struct pace *p);

/* Takes out the one that is due first, which must exist. It stays out until pace_done(). */
struct pace_turn pace_take(struct pace *p);

/* What it was meant to send is sent. Its next time follows from the intended one, not from now. */
void pace_done(struct pace *p, struct pace_turn turn);

#endif
