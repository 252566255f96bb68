/* SPDX-License-Identifier: MIT */
/*
 * sweep.h - what a dead broker left open, beside what its state names.
 *
 * Its descriptors are in the table that we share with the keeper (keeper.h). Those that the state
 * names stay. Of the others a client's socket is one that was just accepted or refused, and goes
 * on from there; the rest, such as rings and doorbells of threads, is closed. And the other way
 * round: a socket that the state names and that is no more, or is another one, counts as closed.
 *
 * By the new broker, before it opens anything.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

struct sweep_found {
	int sock; /* whoever gets this owns it */
	bool refused;
	uint32_t own; /* the ID whose socket it came by, GATES_NOBODY or GATES_GONE */
};

/**
 * sweep() - go through all descriptors below @end, beyond which none should be open. @found is
 * filled with at most @max clients, in no order (none of them has been told anything); more are
 * refused. Returns their number; or -errno where it can't be found out what is open: then it is
 * as it was, and another broker may try.
 */
int sweep(struct state *state, unsigned end, struct sweep_found *found, unsigned max);

/** sweep_end() - above all numbers that @descriptors at once, and what a dead broker left, can
 * have had. */
unsigned sweep_end(uint64_t descriptors);

/** sweep_inherited() - before anything is opened: note in @live what whoever started us left open
 * for reasons of its own; STATE_INHERITED_MAX at most. */
void sweep_inherited(int32_t *numbers, unsigned end);

/** sweep_socket_cookie() - of @sock: the kernel's number for it, never given twice. 0: no socket.
 */
uint64_t sweep_socket_cookie(int sock);

#endif
