/* SPDX-License-Identifier: MIT */
/*
 * ledger.h - membership as it is written down in the state memory.
 *
 * An ID's owner goes through these in the order that follows; whatever the last store was,
 * recover.h knows what is left to do:
 *
 *   ledger_take    here, its worker is about to answer it          -> answer it afresh
 *   ledger_join    its opening is queued: it is in the log         -> present
 *   ledger_closing its worker is about to close the socket         -> what follows is done
 *   ledger_leave   it is gone, and in the log so if it was present -> it is freed
 *   ledger_free    the ID may be given again
 *
 * The registrar's, but for ledger_closing(). Pure, as state.h.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "state.h"

struct ledger_newcomer {
	const struct client *client;
	int sock;
	uint64_t cookie; /* SO_COOKIE */
	uint64_t zones;
	uint64_t said; /* mailbox_said() */
	uint16_t worker;
	bool leaves; /* is told of leaves */
};

/** ledger_take() - @id, which is free, has an owner. Counts `joins` of the ID. */
void ledger_take(struct state *state, uint32_t id, const struct ledger_newcomer *newcomer);

/** ledger_join() - @id is present: the next entry of the log. */
void ledger_join(struct state *state, uint32_t id);

/** ledger_leave() - @id's owner is gone; the next entry of the log, if it was present. */
void ledger_leave(struct state *state, uint32_t id, uint64_t said);

/** ledger_free() - nothing of its owner is left: last in the queue of free IDs. */
void ledger_free(struct state *state, uint32_t id);

/** ledger_refused() - count one who was not let in. */
void ledger_refused(struct state *state);

/** ledger_closing() - the worker that serves @id is about to close its socket, or to hand it
 * back. */
void ledger_closing(struct state *state, uint32_t id);

/** ledger_taken(), ledger_present(), ledger_sock() - what stands there of @id. */
bool ledger_taken(const struct state *state, uint32_t id);
bool ledger_present(const struct state *state, uint32_t id);
int ledger_sock(const struct state *state, uint32_t id);

/** ledger_sound() - what stands there of its owner is what ledger_take() wrote. */
bool ledger_sound(const struct state *state, uint32_t id);

/** ledger_client() - its owner, as it was identified. */
void ledger_client(const struct state *state, uint32_t id, struct client *client);

#endif
