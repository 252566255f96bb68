/* SPDX-License-Identifier: MIT */
/*
 * fleet.h - the emulated VMs of one process, each a peer of the same fabric.
 *
 * One thread drives them all: the handles share a store of eventfds, which
 * belongs to one thread. Only descriptors got from fleet_bell() may be used by
 * others, to wait and to ring in loops of their own.
 *
 * VMs are counted over all processes of the run (board.h): a fleet has those of its
 * process, and knows the others' IDs from the board.
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

#include "board.h"
#include "famez/peer.h"
#include "famez/wire.h"
#include "histogram.h"
#include "progress.h"
#include "verdict.h"

#define FLEET_PEERS_MAX (FAMEZ_WIRE_ID_MAX + 1u)
#define FLEET_NOBODY    BOARD_NOBODY

struct fleet_vm {
	struct famez *famez; /* NULL until its join has been started */
	int id;              /* FLEET_NOBODY until the server gave one */
	bool witness;
	bool deaf;           /* not looked after: it reads neither its socket nor its bells */
	uint64_t started_ns; /* connect */
	uint64_t joined_ns;  /* ID and memory are there */
	uint64_t opened_ns;  /* the last of its own vectors is there: its opening is complete */
};

struct fleet_config {
	const char *const *sockets; /* borrowed for the fleet's life; VMs take them in turn */
	unsigned sockets_count;
	bool devices;           /* they are a guest's devices: see bells.h */
	unsigned process;       /* which of the board's */
	unsigned first;         /* the number of our first VM */
	unsigned vectors;       /* that each must get; 0: whatever the server gives */
	unsigned witnesses_max; /* 0..2, below our VMs; 1 if the descriptors don't suffice for 2 */
	bool mail;              /* the VMs will open mailboxes, which takes descriptors */
	uint64_t patience_ns;   /* so long without any event, and it's over */
};

struct fleet {
	struct fleet_config config;
	struct board *board;
	struct fleet_vm *vms; /* `mine` of them: VMs config.first + k * board->processes */
	unsigned mine, started, joined;
	unsigned witnesses; /* our first VM, and if 2 our last */
	unsigned vectors;   /* of each VM; provisional until the mesh is complete */
	unsigned others;    /* peers that are there besides, the server too if it is one */
	uint64_t descriptors_needed, descriptors_allowed;

	struct famez_bells *bells;
	int epoll;
	bool complete;      /* the mesh; whatever comes later about our VMs is a fault */
	bool moved;         /* since the last look at the clock */
	bool apart;         /* handles are out of the epoll: fleet_apart() */
	unsigned looked_at; /* by fleet_glance(): the next one */
	uint32_t *more; /* VMs that may have more to tell, which their descriptor does not say */
	unsigned unfinished;     /* how many */
	uint64_t notices;        /* vectors told, of anybody to anyone of us */
	uint64_t begun_ns;       /* the storm: all VMs but the first */
	uint64_t last_notice_ns; /* the last vector told of one of the run's VMs */
	uint64_t last_event_ns;  /* anything that counts as getting on */
	uint64_t *told;          /* by ID: vectors told, to all of us together */
	uint16_t *vectors_of;    /* by ID: highest vector told + 1 */

	/*
	 * A doorbell of our VM was rung. NULL: nobody should ring. Returns how many of these
	 * rings were waited for.
	 */
	uint64_t (*on_doorbell)(void *context, unsigned vm, unsigned vector, uint64_t count);
	/* A message has come (true), or a lane has room again. Returns 0, or -1 to end the run. */
	int (*on_mail)(void *context, unsigned vm, bool message);
	void *context;
	uint64_t strays; /* rings that nobody waited for */

	struct verdict *verdict;
};

/* Where a VM joins. */
static inline const char *fleet_socket(const struct fleet *fleet, unsigned vm)
{
	return fleet->config.sockets[vm % fleet->config.sockets_count];
}

/* Takes memory for this process's VMs; joins nobody. Returns 0 or -1 with the verdict filled in. */
int fleet_init(struct fleet *fleet, struct board *board, const struct fleet_config *config,
	struct verdict *verdict);

/* All leave. The board forgets them. */
void fleet_destroy(struct fleet *fleet);

/*
 * Joins the first VM of all, alone, so that vectors, and with them descriptors, can be counted
 * before the many. For the process that has it. The board is told.
 */
int fleet_join_first(struct fleet *fleet, struct progress *progress);

/*
 * Joins the rest of ours at once, and waits until every one of ours knows every vector of every
 * VM of the run. Returns 0 or -1 with the verdict filled in, or without where somebody else
 * ended the run.
 */
int fleet_join_all(struct fleet *fleet, struct progress *progress);

/*
 * Waits at most so long (0: not at all) for events, and handles what has come. Returns 0 or
 * -1 with the verdict filled in.
 */
int fleet_turn(struct fleet *fleet, int64_t timeout_ns);

/*
 * For those who wait for the VMs' bells in a loop of their own: the handles out of fleet_turn()'s
 * sight and the bells out of the handles', or back into it. Returns 0 or -1 as above.
 */
int fleet_apart(struct fleet *fleet, bool apart);

/* While they are apart: has the server to say anything to the next few of them? */
int fleet_glance(struct fleet *fleet, unsigned count);

/* Looks after a VM no longer, or again. */
int fleet_deafen(struct fleet *fleet, unsigned vm, bool deaf);

/* Looks after a VM that has been started. For fleet_join.c, as the next one. */
int fleet_watch(struct fleet *fleet, unsigned vm);

/* The error of a join or of a handle, as a verdict. */
int fleet_failed(struct fleet *fleet, unsigned vm, int err);

/* Everything that one VM's handle has to tell now. */
int fleet_pump(struct fleet *fleet, unsigned vm);

/* Rings that nobody waited for. */
void fleet_stray(struct fleet *fleet, uint64_t count);

/* No event for longer than our patience allows? */
bool fleet_stalled(const struct fleet *fleet);

/* Which of ours the VM of this number is. */
static inline unsigned fleet_index(const struct fleet *fleet, unsigned vm)
{
	return (vm - fleet->config.first) / fleet->board->processes;
}

/* The VM of this number, which must be ours. */
static inline struct fleet_vm *fleet_vm(const struct fleet *fleet, unsigned vm)
{
	return &fleet->vms[fleet_index(fleet, vm)];
}

/* The number of our k-th VM. */
static inline unsigned fleet_number(const struct fleet *fleet, unsigned k)
{
	return fleet->config.first + k * fleet->board->processes;
}

/* The eventfd behind any VM's vector, as kept in the common store. Borrowed; or -errno. */
int fleet_bell(const struct fleet *fleet, unsigned vm, unsigned vector);

/* Adds the times of all joins so far: connect to ID and memory, and connect to the last own
 * vector. */
void fleet_join_times(
	const struct fleet *fleet, struct histogram *joined, struct histogram *opened);

#endif
