/* SPDX-License-Identifier: MIT */
/*
 * budget.h - what a fabric of a given size needs, and whether it may be had.
 *
 * Sums that a reader can check, made from the options before the socket opens: a
 * limit is met at start, with the number to set and where, not at the 700th VM.
 * Main thread, at start only.
 */
#ifndef BUDGET_H
#define BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "mailbox.h"
#include "options.h"
#include "state.h"
#include "why.h"

/* What systemd stores beside sockets and eventfds: listening socket, lock, memory and state. */
#define STORED_BESIDES 4u

struct budget {
	uint32_t peers;
	uint16_t workers;
	uint16_t shards; /* workers that share the server's inbox */
	uint32_t first_id, ids_max;
	uint32_t server_id; /* ROSTER_NOBODY: silent */
	/* descriptors */
	uint64_t sockets;  /* one a peer */
	uint64_t gates;    /* sockets of bound IDs, at most */
	uint64_t eventfds; /* vectors of every peer and of the server */
	uint64_t own;      /* ours, however many peers there are */
	uint64_t descriptors;
	/* bytes that we take at start, as the allocator rounds them: at least what its own
	 * figure says then (allocated_bytes in the report). The kernel's objects come on top. */
	uint64_t tables_bytes; /* by ID, all workers' replicas included */
	uint64_t vector_bytes; /* of all vectors */
	uint64_t held_bytes;   /* one bit for each pair of IDs */
	uint64_t mail_bytes;   /* serving the server's inbox, all workers together */
	uint64_t base_bytes;   /* queues and logs, however many peers there are */
	uint64_t memory;
	uint64_t ring_bytes; /* the kernel's submission and completion queues */
	uint64_t in_flight;  /* descriptors that clients may leave unread; UINT64_MAX: any */
	/* the shared memory, sparse */
	uint64_t shared_bytes;
	enum mailbox_layout layout;
	uint32_t lane_bytes; /* 0: no lanes */
	bool existing;       /* the memory was there before us, and keeps its size */
};

/** budget_of() - the sums for @peers peers, @o's other sizes and @workers workers. */
void budget_of(struct budget *b, const struct options *o, uint32_t peers, uint16_t workers);

/**
 * budget_fit() - settle on the number of peers and raise the limit of open files to what
 * they need; then on the size of the shared memory and what is laid out in it. Where @o
 * leaves the number of peers open, as many as the hard limit allows.
 * Returns 0, or -EMFILE, -ENOMEM or -EFBIG with the number to set in @why.
 */
int budget_fit(struct budget *b, const struct options *o, uint16_t workers, struct why *why);

/**
 * budget_mailbox() - what is laid out in @bytes of shared memory for b->peers. Where @o left
 * it open, less than lanes if they don't fit.
 * Returns 0, or -EFBIG with the size that would do, and how many peers would fit, in @why.
 */
int budget_mailbox(struct budget *b, const struct options *o, uint64_t bytes, struct why *why);

/** budget_state_wish() - the state memory of this fabric, but for its `fabric`, which is 0. */
void budget_state_wish(const struct budget *b, const struct options *o, struct state_wish *wish);

/** budget_advice() - what would give lanes, such as "-l 8G, or --peers 120"; where the memory
 * is an existing one, "a memory of 8G, or --peers 120". */
void budget_advice(const struct budget *b, char *text, size_t bytes);

/** budget_print() - the table that --check shows, on standard output. */
void budget_print(const struct budget *b, const struct options *o);

#endif
