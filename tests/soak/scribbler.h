/* SPDX-License-Identifier: MIT */
/*
 * scribbler.h - writes nonsense into the live mailbox. See scribbler.c.
 */
#ifndef SOAK_SCRIBBLER_H
#define SOAK_SCRIBBLER_H

#include "ledger.h"

/** scribbler_run() - until PHASE_TALK is over. Returns the process's exit status. */
int scribbler_run(struct ledger *ledger);

#endif
