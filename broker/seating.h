/* SPDX-License-Identifier: MIT */
/*
 * seating.h - which ID a newcomer gets, and so which zones it is in.
 *
 * An ID owns its doorbells, and whoever was told of it can ring them, whoever has it by then: a
 * device for as long as it lives, since it can't be told a leave. So an ID goes to a peer of
 * other zones than its last owner's only when everybody who holds it is a neighbour of the new
 * one's. For that
 *
 *   - every worker must have heard that the last owner left, or one might be telling of it
 *     just now: until then the newcomer waits;
 *   - and then the held bits say who holds it.
 *
 * Besides, an ID may be kept for a VM (binds.h). While its last owner is still there, the VM
 * waits. Who comes by the socket of an ID gets that one or none.
 *
 * Runs in the registrar; reads held bits while workers write others. Pure.
 */
#ifndef SEATING_H
#define SEATING_H

#include "binds.h"
#include "membership.h"
#include "state.h"
#include "zones.h"

enum seating_says {
	SEATING_FOUND,
	SEATING_WAIT,  /* for the ID that is kept for it, or for workers to hear of a leave */
	SEATING_FULL,  /* no ID is free */
	SEATING_ZONES, /* those that are free were told to strangers, who are still here */
	SEATING_OTHER, /* the socket that it came by is somebody else's */
};

struct seating {
	struct membership *membership;
	const struct state *state;
	unsigned long *barred; /* VIEW_HELD_WORDS(ids_max), for our use */
};

/* Who wants an ID. */
struct seating_wish {
	const struct zones *zones; /* NULL: everybody is a neighbour */
	const struct binds *binds; /* NULL: no ID is kept for anybody */
	uint32_t uid;
	const struct qemu_args *args;
	uint32_t own;      /* the ID whose socket it came by; GATES_NOBODY: the fabric's */
	uint32_t together; /* as in membership_connected() */
	bool quiet;        /* all workers have heard all that we said */
};

/* What it gets, where SEATING_FOUND. */
struct seating_found {
	struct intent intent; /* ADOPT */
	uint64_t zones;
};

/** seating_find() - gives out an ID, or says why it does not. */
enum seating_says seating_find(
	struct seating *s, const struct seating_wish *wish, struct seating_found *found);

/** seating_keep() - keep those IDs from now on that @binds names, NULL: none. */
void seating_keep(struct seating *s, const struct binds *binds);

/** seating_carried() - zones that some peer's ID has, or had. */
uint64_t seating_carried(const struct state *state);

#endif
