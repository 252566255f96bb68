/* SPDX-License-Identifier: MIT */
/*
 * targets.h - whom a word means. See targets.c.
 */
#ifndef CLIENT_TARGETS_H
#define CLIENT_TARGETS_H

#include "session.h"

struct targets {
	unsigned count;
	bool many; /* `all` or `others`: they are who happens to be there */
	uint16_t id[UINT16_MAX + 1];
};

/** targets_id() - a peer by its ID. Says what is wrong with it. */
enum outcome targets_id(const char *word, uint16_t *id);

/** targets_one() - a peer by ID or name, or `server`. Opens the mailbox for a name; says why
 * there is none. */
enum outcome targets_one(struct session *s, const char *word, uint16_t *id);

/** targets_find() - the same, or `all` or `others`. The mailbox must be open. */
enum outcome targets_find(struct session *s, const char *word, struct targets *t);

/** targets_is_server() - is it `server` or `switch`? */
bool targets_is_server(const char *word);

/** targets_is_id() - does this word look like an ID rather than a name? */
bool targets_is_id(const char *word);

#endif
