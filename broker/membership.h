/* SPDX-License-Identifier: MIT */
/*
 * membership.h - who is here: gives out IDs and orders joins and leaves.
 *
 * The registrar's whole logic as a state machine: it is handed events and
 * answers with intents, which the registrar carries out. An ID goes round
 *
 *      FREE ──connected──▶ OPENING ──opened──▶ PRESENT
 *        ▲                    │ gone               │ gone
 *        └────────────────────┴────────────────────┘
 *
 * OPENING: its worker answers the newcomer; nobody else knows of it yet.
 * PRESENT: its join is in the log. A freed ID goes to the end of the queue, so
 * the one that was free longest is given next. An ID that is kept for somebody is
 * in no queue: it is given to whom it is asked for by name.
 *
 * Pure: no system calls, no clock; memory is taken in membership_init() only.
 */
#ifndef MEMBERSHIP_H
#define MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

/* No ID: the end of a queue. */
#define MEMBERSHIP_NOBODY UINT32_MAX

struct state;

enum member_state { MEMBER_FREE, MEMBER_OPENING, MEMBER_PRESENT };

struct member {
	uint8_t state; /* enum member_state */
	bool kept;     /* for somebody: not in the queue while FREE */
	uint16_t worker;
	uint32_t next_free; /* while FREE: the ID behind it in the queue */
};

struct membership {
	uint32_t first_id, peers_max; /* peers have IDs first_id..first_id+peers_max-1 */
	uint16_t workers;
	uint32_t present, opening;
	uint32_t free_first, free_last;
	uint64_t joins, leaves, refused; /* since start */
	uint32_t *load;                  /* by worker: IDs that it serves */
	struct member *members;          /* by ID - first_id */
};

enum intent_kind {
	INTENT_ADOPT,  /* give the newcomer to `worker` as `id` */
	INTENT_REFUSE, /* no ID is free: version -1, and close */
	INTENT_JOIN,   /* append to the log of every worker: `id` joined */
	INTENT_LEAVE,  /* ... `id` left */
	INTENT_NONE,
};

struct intent {
	enum intent_kind kind;
	uint32_t id;
	uint16_t worker;
};

/** membership_init() - all IDs free. @workers >= 1, @peers_max >= 1. Returns 0 or -ENOMEM. */
int membership_init(struct membership *m, uint32_t first_id, uint32_t peers_max, uint16_t workers);
void membership_destroy(struct membership *m);

/**
 * membership_restore() - what stands in @state, of a broker before us: right after
 * membership_init(). Returns 0 or -ENOMEM.
 */
int membership_restore(struct membership *m, const struct state *state);

/**
 * membership_connected() - somebody has come. @together: MEMBERSHIP_ANYWHERE lets
 * the least loaded worker take it; any other number takes it to the same worker as
 * everybody with that number (clients of one process, whose descriptors are
 * counted together). Intents: ADOPT or REFUSE.
 */
#define MEMBERSHIP_ANYWHERE UINT32_MAX
struct intent membership_connected(struct membership *m, uint32_t together);

/**
 * membership_connected_where() - as that, but the ID is the one that is free longest of those for
 * which @may says so. REFUSE does not count as one: it may be tried otherwise.
 */
struct intent membership_connected_where(struct membership *m, uint32_t together,
	bool (*may)(void *argument, uint32_t id), void *argument);

/** membership_connected_as() - as that, for @id, which is free. Intent: ADOPT. */
struct intent membership_connected_as(struct membership *m, uint32_t together, uint32_t id);

/** membership_keep() - from now on @id is kept for somebody, or not any more. */
void membership_keep(struct membership *m, uint32_t id, bool kept);

/** membership_is_free() - has @id no owner? */
bool membership_is_free(const struct membership *m, uint32_t id);

/** membership_refused() - count one that was refused for another reason than a full house. */
void membership_refused(struct membership *m);

/** membership_opened() - @id's opening is queued in its socket. Intent: JOIN. */
struct intent membership_opened(struct membership *m, uint32_t id);

/**
 * membership_gone() - @id's worker has closed its socket and forgotten it; the ID
 * is free. Intent: LEAVE if its join was in the log, else NONE.
 */
struct intent membership_gone(struct membership *m, uint32_t id);

#endif
