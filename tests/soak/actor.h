/* SPDX-License-Identifier: MIT */
/*
 * actor.h - one peer of a soak run: a process with one membership. See actor.c.
 */
#ifndef SOAK_ACTOR_H
#define SOAK_ACTOR_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "dice.h"
#include "famez/mailbox.h"
#include "famez/peer.h"
#include "ledger.h"
#include "payload.h"

/* What we say to the owner of an ID. */
struct out {
	uint64_t number;       /* of the last thing said */
	uint32_t life;         /* it knows who we are; 0: begin with a head */
	uint64_t batch;        /* the first number not yet published; 0: none */
	uint32_t batch_life;   /* whom the batch was begun for */
	bool torn;             /* by a change of the owner: the batch may go nowhere */
	uint64_t group_number; /* of what we say to group number `index` */
};

/* What we hear from the owner of an ID. */
struct in {
	uint32_t life, generation; /* whose stream it is; 0: none yet */
	uint64_t number;           /* the last */
	struct {
		uint32_t generation;
		uint64_t number;
	} groups[MEET_GROUP + 1];
};

struct actor {
	struct ledger *ledger;
	const struct plan *plan;
	struct seat *seat;
	struct life *self;
	uint32_t number, life, id, generation;
	enum role role;
	struct famez *f;
	struct famez_geometry g; /* ours: taken once */
	unsigned char *memory;
	size_t memory_bytes;
	int server; /* its ID, or negative */
	struct dice dice;
	struct out outs[IDS_MAX];
	struct in ins[IDS_MAX];
	bool in_group[GROUPS + 1];
	uint64_t slept_ns, woke_ns; /* the last wait */
	size_t most;                /* of a payload */
	unsigned char *buffer;      /* `most` bytes */
};

static inline uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint32_t chance(struct actor *a, uint32_t below)
{
	return dice_below(&a->dice, below);
}

/* For the guard: a process that stays with one thing for too long hangs. */
static inline void doing(struct actor *a, enum doing what, uint32_t whom)
{
	atomic_store_explicit(&a->seat->whom, whom, memory_order_relaxed);
	atomic_store_explicit(&a->seat->doing, what, memory_order_relaxed);
	count(&a->seat->beats);
}

/* The vector that only rings and never means mail; negative: there is none. */
static inline int bell_vector(const struct actor *a)
{
	if (a->g.features & FAMEZ_FEATURE_VECTOR_IS_SENDER)
		return a->g.vectors > a->g.ids ? (int)a->g.ids : -1;
	return a->g.vectors > 1 ? (int)a->g.vectors - 1 : -1;
}

/** actor_run() - be this seat's peer, for one life. Returns the process's exit status. */
int actor_run(struct ledger *ledger, uint32_t seat, uint32_t life);

/* ---- speak.c */

/** actor_talk() - say something to somebody, in some way. */
void actor_talk(struct actor *a);
/** actor_answer() - say something to this ID. */
void actor_answer(struct actor *a, uint32_t id);
/** actor_meet() - one thing to everybody who has not heard us in PHASE_MEET. */
void actor_meet(struct actor *a);
/** actor_was_read() - have all who are there read what we said? */
bool actor_was_read(struct actor *a);

/* ---- listen.c */

/** actor_hear() - take at most so many messages. Returns how many there were. */
unsigned actor_hear(struct actor *a, unsigned most);
/** actor_judge() - a message that was taken, in our private memory. */
void actor_judge(struct actor *a, const struct famez_message *m, const unsigned char *payload);

#endif
