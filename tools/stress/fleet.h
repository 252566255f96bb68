/* SPDX-License-Identifier: MIT */
/*
 * fleet.h - N emulated VMs in one process, each a peer of the same fabric.
 *
 * One thread drives them all: the handles share a store of eventfds, which
 * belongs to one thread. Only descriptors got from fleet_bell() may be used by
 * others, to wait and to ring in loops of their own.
 *
 * A witness is a VM with a store of its own. The rest share one copy of each
 * eventfd, so a VM that hears a ring could be hearing itself through the one
 * and only copy. A witness rings through what the server sent to it alone:
 * what then arrives proves that its copy and the common one are the same
 * eventfd, and that this is the one its owner listens to.
 */
#ifndef STRESS_FLEET_H
#define STRESS_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "famez/peer.h"
#include "famez/wire.h"
#include "histogram.h"
#include "progress.h"
#include "verdict.h"

#define FLEET_PEERS_MAX (FAMEZ_WIRE_ID_MAX + 1u)
#define FLEET_NOBODY    (-1)

struct fleet_vm {
	struct famez *famez; /* NULL until its join has been started */
	int id;              /* FLEET_NOBODY until the server gave one */
	bool witness;
	uint64_t started_ns; /* connect */
	uint64_t joined_ns;  /* ID and memory are there */
	uint64_t opened_ns;  /* the last of its own vectors is there: its opening is complete */
};

struct fleet_config {
	const char *socket; /* borrowed for the fleet's life */
	unsigned peers;
	unsigned vectors;       /* that each must get; 0: whatever the server gives */
	unsigned witnesses_max; /* 0..2, below peers; 1 if the descriptors don't suffice for 2 */
	uint64_t patience_ns;   /* so long without any event, and it's over */
};

struct fleet {
	struct fleet_config config;
	struct fleet_vm *vms; /* config.peers of them */
	unsigned started, joined;
	unsigned witnesses; /* the first VM, and if 2 the last */
	unsigned vectors;   /* of each VM; provisional until the mesh is complete */
	unsigned others;    /* peers that are there besides, the server too if it is one */
	uint64_t descriptors_needed, descriptors_allowed;

	struct famez_bells *bells;
	int epoll;
	bool complete;           /* the mesh; whatever comes later about our VMs is a fault */
	bool moved;              /* since the last look at the clock */
	uint64_t notices;        /* vectors told, of anybody to anyone of us */
	uint64_t begun_ns;       /* the storm: all VMs but the first */
	uint64_t last_notice_ns; /* the last vector told of one of us */
	uint64_t last_event_ns;  /* anything that counts as getting on */
	int32_t *vm_of_id;       /* by ID: our VM or FLEET_NOBODY */
	uint64_t *told;          /* by ID: vectors told, to all of us together */
	uint16_t *vectors_of;    /* by ID: highest vector told + 1 */

	/*
	 * A doorbell of our VM was rung. Set by whoever runs rounds; NULL: nobody
	 * should ring. Returns how many of these rings were waited for.
	 */
	uint64_t (*on_doorbell)(void *context, unsigned vm, unsigned vector, uint64_t count);
	void *on_doorbell_context;
	uint64_t strays; /* rings that nobody waited for */

	struct verdict *verdict;
};

/* Takes memory for the VMs; joins nobody. Returns 0 or -1 with the verdict filled in. */
int fleet_init(struct fleet *fleet, const struct fleet_config *config, struct verdict *verdict);

/* All leave. */
void fleet_destroy(struct fleet *fleet);

/*
 * Joins them all, the first alone (so that vectors, and with them descriptors,
 * can be counted before the many), the rest at once, and waits until everyone
 * knows every vector of everyone. Returns 0 or -1 with the verdict filled in.
 */
int fleet_join(struct fleet *fleet, struct progress *progress);

/*
 * Waits at most timeout_ms (0: not at all, -1: for ever) for events, and
 * handles what has come. Returns 0 or -1 with the verdict filled in.
 */
int fleet_turn(struct fleet *fleet, int timeout_ms);

/* No event for longer than our patience allows? */
bool fleet_stalled(const struct fleet *fleet);

/* The eventfd behind a VM's own vector, as kept in the common store. Borrowed; or -errno. */
int fleet_bell(const struct fleet *fleet, unsigned vm, unsigned vector);

/* Times of all joins so far: connect to ID and memory, and connect to the last own vector. */
void fleet_join_times(
	const struct fleet *fleet, struct histogram *joined, struct histogram *opened);

#endif
