/* SPDX-License-Identifier: MIT */
/*
 * groups.h - what one peer says to many: passed on by the workers, each to its own members.
 *
 * The worker that reads the sender's lane tells every worker that has members of the group
 * where the record lies, itself included; each copies it into its members' lanes and says so;
 * then the record is released. Until then the sender's lane stands still, so there is no copy
 * in between, order is kept, and what may be under way is bounded. A member whose lane is
 * full misses the message, which is counted; nobody waits for him.
 *
 * Who is a member, and how far a record has been passed on, stands in the state memory: a
 * successor finds the record where it was, and passes it on to those who have not got it.
 *
 * A record may be larger than what a turn may copy. So it goes into a member's lane piece by
 * piece, over as many turns as that takes, and is committed with the last one. Meanwhile
 * nothing else may be put into that lane: what the member asks us waits.
 */
#ifndef GROUPS_H
#define GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "links.h"

struct mail;
struct mail_peer;
struct mail_shared;
struct famez_seen;

/* One worker's part. */
struct groups {
	uint64_t *bits;         /* [group * words + index / 64]: who of our peers is a member; in
				 * the state memory */
	uint32_t words;         /* of a group */
	uint32_t relays;        /* of our senders, under way */
	bool starved;           /* a lane is PARKED_FULL */
	uint16_t from;          /* the worker that we listened to last */
	struct mail_link link;  /* what it said */
	bool active;            /* we are passing that on */
	bool unasked;           /* ... since our predecessor was; nobody waits for us yet */
	uint32_t at;            /* ... and go on with the peer of this index */
	struct mail_peer *into; /* half of it is in this one's lane; NULL: in nobody's */
	char *room;             /* where there */
	uint32_t copied;        /* bytes that are there */
};

/** groups_recount() - before any worker starts: how many members each has, from the state. */
void groups_recount(const struct mail_shared *shared);

/** groups_open() - of a worker's peers. */
void groups_open(struct mail *m);

/**
 * groups_take_up() - what a predecessor of this worker was passing on is passed on first, before
 * its sender's worker asks again: how far it had come is written down of one message only.
 */
void groups_take_up(struct mail *m);

/** groups_resume() - @p is in the groups that it was in. */
void groups_resume(struct mail *m, struct mail_peer *p);

/** groups_enter(), groups_exit() - @p is a member of @group (below FAMEZ_GROUPS_MAX), or not. */
void groups_enter(struct mail *m, struct mail_peer *p, unsigned group);
void groups_exit(struct mail *m, struct mail_peer *p, unsigned group);
/** groups_leave() - @p is in no group any more. */
void groups_leave(struct mail *m, struct mail_peer *p);

/** groups_count() - how many have members, whosever these are. */
unsigned groups_count(const struct mail *m);

/** groups_write_to() - half of a message is in our lane to @p: nothing else can be put there. */
bool groups_write_to(const struct mail *m, const struct mail_peer *p);

/** groups_relay() - pass on what @p said. True: its lane is parked until that is done. */
bool groups_relay(struct mail *m, struct mail_peer *p, const struct famez_seen *seen);

/** groups_turn() - what workers ask of us. True: something was done. */
bool groups_turn(struct mail *m);
/** groups_idle() - nothing is asked of us. */
bool groups_idle(const struct mail *m);

#endif
