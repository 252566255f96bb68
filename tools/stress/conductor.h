/* SPDX-License-Identifier: MIT */
/*
 * conductor.h - one process more, where a run has guests: it boots them, tells them what to do, and
 * puts on the board what they tell.
 */
#ifndef STRESS_CONDUCTOR_H
#define STRESS_CONDUCTOR_H

#include "board.h"
#include "options.h"

/* Forked by crew.c, before the others: everything this process does, until the board says that the
 * run is over. Its verdict is on the board. Returns its exit code. */
int conductor_run(const struct options *options, struct board *board, const char *socket);

#endif
