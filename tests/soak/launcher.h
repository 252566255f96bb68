/* SPDX-License-Identifier: MIT */
/*
 * launcher.h - starts the peers of a soak run, and kills them. See launcher.c.
 */
#ifndef SOAK_LAUNCHER_H
#define SOAK_LAUNCHER_H

#include "ledger.h"

/** launcher_run() - until PHASE_LEAVE, and its children have ended. Returns the exit status. */
int launcher_run(struct ledger *ledger);

#endif
