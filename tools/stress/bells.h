/* SPDX-License-Identifier: MIT */
/*
 * bells.h - rings doorbells and hears them, each accounted for.
 *
 * Doorbells coalesce: a ring says "look", and an eventfd that was rung three times is read
 * once. So before a bell is rung a post is laid down for its owner (board.h). An eventfd's
 * count says how many rings it was, so as many posts are taken, oldest first: a ring without
 * a post was nobody's of ours, and a post that no ring ever comes for was lost.
 *
 * In a guest, with its device in place of a socket, a ring is a write to the device, and interrupts
 * coalesce on their way. There a ring takes all that lies for its bell, and one that finds nothing
 * is none too many: what is shown is that every note was followed by a look.
 *
 * This is a loop of its own beside the handles' (fleet_apart()): an epoll over the VMs' own
 * eventfds, as a VM's own loop would be. What it costs over the bare system calls is
 * measured (share.c).
 */
#ifndef STRESS_BELLS_H
#define STRESS_BELLS_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "fleet.h"

/* Posts that a bell's owner has taken off the board and not yet heard a ring for. */
struct bells_owed {
	uint32_t first, last;
};

struct bells {
	struct fleet *fleet;
	struct board *board;
	int epoll;
	struct bells_owed *owed; /* by our VM and vector */
	int *fds;                /* by any VM and vector: its eventfd, the store's; or -1 */
	uint64_t hint;
	/* A ring of ours was heard. Returns 0, or -1 with the verdict filled in. */
	int (*on_ring)(void *context, const struct board_post *post);
	void *context;
	int failed; /* on_ring() said so, below fleet_turn() */
};

/*
 * Takes the VMs' bells over from the handles. Looks at each eventfd once: one that somebody
 * has switched to blocking is refused, as it could make us wait for ever. Returns 0 or -1 with the
 * verdict filled in; bells_close() gives back what was taken in both cases.
 */
int bells_open(struct bells *b, struct fleet *fleet);
void bells_close(struct bells *b);

/*
 * Rings VM to's vector on behalf of our VM `from`; kind and t_ns are for who hears it. Returns 0,
 * -EAGAIN (as many as may be are under way), or -1 with the verdict filled in.
 */
int bells_ring(
	struct bells *b, unsigned from, unsigned to, unsigned vector, uint8_t kind, uint64_t t_ns);

/* Waits at most so long for rings (-1: for ever), and hears those that came. Returns how many, or
 * -1 with the verdict filled in. */
int bells_turn(struct bells *b, int64_t timeout_ns);

/* The same once more, as bells_turn() where the handles tell of rings. For fleet.on_doorbell. */
uint64_t bells_heard(void *context, unsigned vm, unsigned vector, uint64_t count);

/* Hears no more of this VM, or again. */
int bells_deafen(struct bells *b, unsigned vm, bool deaf);

/* The verdict on a post that nobody heard. Always -1. */
int bells_lost(const struct bells *b, uint32_t number, uint64_t of, double seconds);

#endif
