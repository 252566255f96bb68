/* SPDX-License-Identifier: MIT */
/*
 * recover.h - what a broker makes of the state that it finds.
 *
 * In this order, before anybody is served: recover_redo(), so that every view stands where its
 * client does; the sweep, which finds sockets that are gone (ledger_closing()); recover_finish(),
 * which carries out what was begun; recover_plan(), from which workers build their rosters. All
 * of it changes the state by the same primitives as those who serve, and may be cut short and
 * begun again as often as need be.
 *
 * Where nobody was here yet, all of it comes to nothing. Pure, as state.h; recover_plan() alone
 * takes memory.
 */
#ifndef RECOVER_H
#define RECOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"
#include "roster.h"
#include "state.h"

/** recover_redo() - what was sent is written down as sent. */
void recover_redo(struct state *state);

/** What recover_finish() found to do, and how things stand after it. */
struct recover_found {
	uint32_t joined; /* had been told all of the opening: now in the log */
	uint32_t left;   /* had no socket any more: out of it, and freed */
	uint32_t present, opening;
	uint32_t damaged; /* of those: not to be told anything */
};

/* The mailbox, as recover_finish() sees it; `argument` is handed to each. */
struct recover_mailbox {
	uint64_t (*said)(void *argument, uint32_t id); /* mailbox_said() */
	void (*present)(void *argument, uint32_t id);  /* it is in the log now */
	void (*absent)(void *argument, uint32_t id);   /* its owner is gone */
	void *argument;
};

/** recover_finish() - carry out what was begun. */
void recover_finish(
	struct state *state, const struct recover_mailbox *mailbox, struct recover_found *found);

/* The log: the last change of each ID that had one. */
struct recover_plan {
	struct roster_change *order; /* ascending */
	uint32_t changes;
};

/** recover_plan() - read the log out of the state: 16 bytes an ID, while workers start. Returns
 * 0 or -ENOMEM. */
int recover_plan(struct recover_plan *plan, const struct state *state);
void recover_plan_free(struct recover_plan *plan);

/** What a worker does with an ID of its own that is taken. */
enum recover_how {
	RECOVER_ADOPT,  /* it has been told nothing: afresh */
	RECOVER_RESUME, /* at its cursor */
	RECOVER_KEEP,   /* the record is damaged: keep its socket open, tell it nothing */
};

/** recover_how() - @view and @leave_unread are filled in to resume. */
enum recover_how recover_how(
	const struct state *state, uint32_t id, struct view *view, bool *leave_unread);

#endif
