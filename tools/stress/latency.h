/* SPDX-License-Identifier: MIT */
/*
 * latency.h - doorbell round trips, beside those of bare eventfds.
 *
 * Two threads pass a ring to and fro; each sleeps until it is rung. Once
 * through the eventfds that the server gave to two VMs, once through two that
 * never saw a server; the same loop, the same two threads' placement, by turns
 * and in changing order, so that whatever else the machine does hits both
 * alike. What is measured is the way there and back.
 */
#ifndef STRESS_LATENCY_H
#define STRESS_LATENCY_H

#include <stdint.h>

#include "dice.h"
#include "fleet.h"
#include "histogram.h"
#include "progress.h"

enum latency_way {
	LATENCY_FABRIC, /* eventfds that the server handed out */
	LATENCY_RAW,    /* eventfds of our own */
	LATENCY_WAYS,
};

/* A round is one slice of each way. */
#define LATENCY_SLICE_NS UINT64_C(50000000)

/* Round trips at the start of a slice that aren't counted: threads settle, caches fill. */
#define LATENCY_WARM_UP 32u

struct latency_round {
	uint64_t p50_ns[LATENCY_WAYS];
};

struct latency_result {
	struct histogram ways[LATENCY_WAYS]; /* ns */
	struct latency_round *rounds;        /* rounds_done of them; from latency_run(), free() */
	unsigned rounds_done;
	int cpus[2]; /* of the two threads; the same one twice if we may use no more */
};

/*
 * Measures for so many seconds, a fresh random pair of VMs and vector each
 * round. While it runs nobody may pump the fleet. Returns 0 or -1 with the
 * verdict filled in; rounds may then be NULL or short, and are to be freed.
 */
int latency_run(struct fleet *fleet, double seconds, struct dice *dice, struct progress *progress,
	struct latency_result *result);

#endif
