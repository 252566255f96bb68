/* SPDX-License-Identifier: MIT */
/*
 * mail_rig.h - workers' shares of the server's inbox, stepped by hand on one thread.
 *
 * The memory is an anonymous mapping, peers are the two ends of their lanes, and the order in
 * which workers have their turns is the test's. One thread.
 */
#ifndef MAIL_RIG_H
#define MAIL_RIG_H

#include "unit.h"

#include "genz.h"
#include "worker.h"

#define WORKERS    2u
#define IDS        160u
#define SERVER     (IDS - 1u)
#define SERVER_GEN 77u

struct rig {
	struct mailbox mailbox;
	struct bells bells;
	struct state state;
	struct mail_shared mail;
	struct worker_shared shared;
	struct worker workers[WORKERS];
	uint64_t said[IDS]; /* what the registrar has seen of their lanes when they went */
	uint64_t seq;       /* of the last entry in the log */
};

/* A peer's ends of its lanes to and from the server. */
struct speaker {
	struct rig *rig;
	uint32_t id, generation;
	struct famez_tx tx;
	struct famez_rx rx;
};

/** rig_of() - the memory is reserved, not taken. */
struct rig *rig_of(
	const struct personality *who, enum mailbox_layout layout, uint64_t memory_bytes);
/** rig_new() - ... of 2 GiB. */
struct rig *rig_new(const struct personality *who, enum mailbox_layout layout);
void rig_free(struct rig *r);
/** joins() - it is in the log, and workers are told. */
void joins(struct rig *r, uint32_t id);
/** goes() - the registrar sees that he is gone, and may give the ID to another. */
void goes(struct rig *r, uint32_t id);
/** is_known_to_have_gone() - workers are told of it. */
void is_known_to_have_gone(struct rig *r, uint32_t id);
/** leaves() - both. */
void leaves(struct rig *r, uint32_t id);
/** start() - @id takes part, under this generation. */
void start(struct speaker *c, struct rig *r, uint32_t id, uint32_t generation);
/** say() - a record into its lane to the server, which is rung if it sleeps. */
void say(struct speaker *c, uint16_t kind, const void *payload, uint32_t bytes);
void say_link(struct speaker *c, const char *text);
void enter(struct speaker *c, unsigned group);
void say_group(struct speaker *c, unsigned group, const char *text);
/** hears() - the next record from the server is this text. */
bool hears(struct speaker *c, const char *text);
bool hears_nothing(struct speaker *c);
/** turn() - one turn of a worker, with what it has for the kernel. True: it has more. */
bool turn(struct rig *r, unsigned worker);
/** rung() - how often the server rang it since. */
uint64_t rung(struct rig *r, uint32_t id);
/** sleeps() - under that number. */
void sleeps(struct speaker *c, uint32_t number);
/** unread() - has the server read all that it said?. */
bool unread(const struct speaker *c);

#endif
