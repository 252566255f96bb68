/* SPDX-License-Identifier: MIT */
/*
 * personality.h - what the server says when a peer speaks to it: a small table of functions.
 *
 * A personality is pure: it is handed a text and its own memory of the peer, and returns
 * what is to be answered. It makes no system call, sees no shared memory and waits for
 * nothing, so it can be tested and fuzzed alone. The worker that serves the peer's messages
 * calls it, one call at a time for each peer, and different peers from different threads:
 * a personality has no memory but its peers'. docs/personality.md shows how to write one.
 */
#ifndef PERSONALITY_H
#define PERSONALITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "famez/mailbox.h"
#include "options.h"

/** Memory that a personality has for each peer: zeroes before joined(). */
#define PERSONALITY_PEER_BYTES 72u

/** Bytes of a text with its NUL: what a v1 slot holds, and so what we take and say. */
#define PERSONALITY_TEXT_BYTES FAMEZ_SLOT_TEXT_BYTES

/** Who talks to whom. */
struct personality_scene {
	uint32_t server_id;
	uint32_t peer_id;
};

/** What said() and greet() bring about. */
struct personality_answer {
	char text[PERSONALITY_TEXT_BYTES]; /* to the peer; empty: nothing is answered */
	bool ignored;                      /* it made nothing of what was said */
	bool show;                         /* show() of every peer is to go to the log */
	bool named;                        /* the peer now has these: */
	uint32_t cid, sid;
};

/** A peer as show() sees it. */
struct personality_shown {
	char cclass[FAMEZ_NAME_BYTES];
	uint32_t cid, sid;
	const char *state;
};

struct personality {
	const char *name;         /* as in --personality */
	const char *server_name;  /* for slot and directory; no blanks */
	const char *server_class; /* the same */

	/** Somebody is there. May be NULL. */
	void (*joined)(void *peer, const struct personality_scene *scene);

	/** What the server says to a v1 client unasked, once that has a name. May be NULL. */
	void (*greet)(void *peer, const struct personality_scene *scene,
		struct personality_answer *answer);

	/**
	 * @text was said: NUL-terminated, less than PERSONALITY_TEXT_BYTES, any bytes at all.
	 * *answer is zeroes before.
	 */
	void (*said)(void *peer, const struct personality_scene *scene, const char *text,
		struct personality_answer *answer);

	/** For the log. May be NULL: then this personality shows nobody. */
	void (*show)(const void *peer, struct personality_shown *shown);
};

/** personality_find() - the one that the command line asks for. */
const struct personality *personality_find(
	enum options_personality which, enum options_dialect dialect);

/** `none`: answers "ping" with "pong", and nothing else. */
extern const struct personality personality_none;

#endif
