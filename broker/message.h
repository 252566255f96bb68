/* SPDX-License-Identifier: MIT */
/*
 * message.h - what registrar and workers say to each other.
 *
 * Registrar to worker, one queue each: who to serve, and the membership log in its
 * order. Worker to registrar, one queue each: what became of those it serves.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <assert.h>
#include <stdint.h>

#include "queue.h"

enum message_kind {
	/* registrar to worker */
	MESSAGE_ADOPT,  /* serve `sock`, now yours, as `id` */
	MESSAGE_JOINED, /* log: `id` joined */
	MESSAGE_LEFT,   /* log: `id` left */
	MESSAGE_REWIND, /* try again whom you held back */
	MESSAGE_REPORT, /* fill in your peers' lines of the report */
	/* worker to registrar */
	MESSAGE_OPENED,  /* `id`'s opening is queued in its socket */
	MESSAGE_REFUSED, /* its process has no room for `id`'s own vectors; `sock` is yours again */
	MESSAGE_GONE,    /* `id`'s socket is closed, for `reason` */
	MESSAGE_REPORTED, /* my lines are filled in */
};

/* Why a worker let go of a peer. */
enum gone_reason {
	GONE_CLOSED,  /* it closed its socket */
	GONE_SPOKE,   /* it sent something; ivshmem clients never do */
	GONE_STALLED, /* it read nothing for --stall-timeout */
	GONE_ERROR,   /* a system call on its socket failed: `error` */
};

struct message {
	uint8_t kind;
	uint8_t reason; /* GONE */
	bool device;    /* ADOPT */
	uint32_t id;
	union {
		int32_t sock;  /* ADOPT, REFUSED */
		int32_t error; /* GONE: errno */
		/* JOINED, LEFT: so far is its lane to the server written by those who had the
		 * ID before, or who leaves it. */
		uint64_t said;
	};
};

static_assert(sizeof(struct message) == 16, "two for each ID lie in the queue of every worker");

QUEUE_PROTOTYPE(message)

/* A newcomer costs a worker one message, a join or leave one; the registrar takes up
 * no event unless MESSAGE_ROOM_MIN fit into every worker's queue. */
#define MESSAGE_TO_WORKER 1024u
#define MESSAGE_ROOM_MIN  4u

#endif
