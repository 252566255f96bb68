/* SPDX-License-Identifier: MIT */
/*
 * trespass.h - a broker that does what its sandbox forbids, so that tests see what becomes of it.
 *
 * Only in a build with FAMEZ_FAULTS (the target famez-server-faults; never shipped). There
 * FAMEZ_TRESPASS names what the first broker tries as soon as it serves; trespass.c has the list.
 * One that outlives it says on standard error what came of it, "# trespass: done" or an error's
 * name; its successors behave.
 */
#ifndef TRESPASS_H
#define TRESPASS_H

#include <liburing.h>
#include <stdint.h>

#ifdef FAMEZ_FAULTS
/** trespass() - @births: of brokers, us included. @ring: one of the broker's. */
void trespass(uint64_t births, struct io_uring *ring);

/** trespass_in_turn() - of worker @nth, in each of its turns: one of them may be told to hang. */
void trespass_in_turn(unsigned nth);
#else
static inline void trespass(uint64_t births, struct io_uring *ring)
{
	(void)births;
	(void)ring;
}

static inline void trespass_in_turn(unsigned nth)
{
	(void)nth;
}
#endif

#endif
