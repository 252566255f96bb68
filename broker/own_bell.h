/* SPDX-License-Identifier: MIT */
/*
 * own_bell.h - the server's own doorbells: it is a peer too, and is rung.
 *
 * Its vectors are shared out among the workers. A ring is counted, and says "look":
 * which lanes, and which v1 slot, mail.h knows. Peers hold the same eventfds and may empty them,
 * fill them or switch them to blocking at any moment: we wait in io_uring and read with RWF_NOWAIT.
 */
#ifndef OWN_BELL_H
#define OWN_BELL_H

#include "worker.h"

/** own_bells_arm() - listen to this worker's share. Nothing to do where silent. */
void own_bells_arm(struct worker *w);

/** own_bells_report() - fill in how often this worker's share was rung. */
void own_bells_report(const struct worker *w);

#endif
