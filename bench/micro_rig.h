/* SPDX-License-Identifier: MIT */
/*
 * micro_rig.h - one worker of the broker in memory, stepped by hand, and peers that speak to it.
 *
 * The shared memory is an anonymous mapping, peers are their ends of lanes, and all of it runs in
 * one thread. The worker's ring, eventfds and sockets are real.
 */
#ifndef BENCH_MICRO_RIG_H
#define BENCH_MICRO_RIG_H

#include "micro.h"
#include "worker.h"

#define RIG_GENERATION 77u

struct rig {
	struct mailbox mailbox;
	struct bells bells;
	struct state state;
	struct mail_shared mail;
	struct worker_shared shared;
	struct worker worker;
	struct wakeup registrar;
	_Atomic bool starves;
	uint32_t ids, server;
	int bell; /* everybody's: who rings does not care whose it is */
	uint64_t seq;
};

/** A peer's ends of its lanes to and from the server. */
struct speaker {
	struct rig *rig;
	uint32_t id, rung;
	struct famez_tx tx;
	struct famez_rx rx;
};

/** rig_new() - for so many peers, of which nobody is here. NULL with errno. */
struct rig *rig_new(uint32_t peers);
void rig_free(struct rig *r);

/** rig_join() - @id is here, as the server's mail sees it; and speaks, as @s. */
void rig_join(struct rig *r, struct speaker *s, uint32_t id);

/** rig_say() - one record to the server. */
void rig_say(struct speaker *s, uint16_t kind, const void *payload, uint32_t bytes);

/** rig_hear() - reads all that the server said to it. Returns how many messages that was. */
unsigned rig_hear(struct speaker *s);

/** rig_turns() - the worker has its turns, until it has nothing more to do. */
void rig_turns(struct rig *r);

#endif
