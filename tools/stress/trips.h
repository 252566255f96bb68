/* SPDX-License-Identifier: MIT */
/*
 * trips.h - doorbell round trips beside those of bare eventfds, and our own share of the CPU.
 *
 * Two threads pass a ring to and fro; each sleeps until it is rung. Once
 * through the eventfds that the server gave to two VMs, once through two that
 * never saw a server; the same loop, the same two threads' placement, by turns
 * and in changing order, so that whatever else the machine does hits both
 * alike. What is measured is the way there and back.
 */
#ifndef STRESS_TRIPS_H
#define STRESS_TRIPS_H

#include <stdint.h>

struct worker;

/* A round is two slices of each way. */
#define TRIPS_SLICE_NS UINT64_C(10000000)

/* Round trips at the start of a slice that aren't counted: threads settle, caches fill. */
#define TRIPS_WARM_UP 32u

/*
 * Measures for the options' time, a fresh random pair of VMs and vector each round, into
 * the board; the VMs are the first process's, the others wait. Needs the bells open.
 */
int trips_run(struct worker *w);

/*
 * The same doorbells once by our loop (bells.h: posts, histogram, clock) and once by a bare one
 * (epoll, write and read of as many bare eventfds), by turns; CPU time of this thread. Of
 * the first process, into the board.
 */
int share_run(struct worker *w);

#endif
