/* SPDX-License-Identifier: MIT */
/*
 * state_map.h - the state memory as a memfd that the keeper holds and all its brokers map.
 *
 * Sealed at its size; kept out of core dumps, which would otherwise delay a successor.
 */
#ifndef STATE_MAP_H
#define STATE_MAP_H

#include "state.h"
#include "why.h"

/**
 * state_create() - a new one: made, sealed, mapped and laid out. Before the first broker.
 * Returns 0, or -errno with one line in @why.
 */
int state_create(struct state *state, const struct state_wish *wish, struct why *why);

/**
 * state_attach() - map the one behind @fd, which another program made. @fd stays the caller's
 * on failure. Returns 0, -EPROTO if this program can't read it, or -errno; with one line in @why.
 */
int state_attach(struct state *state, int fd, struct why *why);

/** state_check_fd() - could state_attach() do it? Changes nothing. Returns as that. */
int state_check_fd(int fd, struct why *why);

/** state_unmap() - and close the descriptor: what is in it is gone with its last holder. */
void state_unmap(struct state *state);

/** state_pin_bytes() - that state_pin() locks. */
uint64_t state_pin_bytes(const struct state *state);

/**
 * state_pin() - by each broker, before it serves: the slots' pages are there and stay there, so
 * that sendmmsg(2) writes into them what it has sent. Returns 0, or -errno of mlock(2): the pages
 * are there now, and might be swapped out.
 */
int state_pin(struct state *state);

#endif
