/* SPDX-License-Identifier: MIT */
/*
 * genz.h - the personality `genz`: Gen-Z link messages as F.E.E. and FAME-Z speak them.
 *
 * The server is a switch and the fabric's manager: peers ask who it is, ask to be
 * configured, are given component and subnet ID, acknowledge that, and are asked who they
 * are. docs/personality.md has the messages.
 */
#ifndef GENZ_H
#define GENZ_H

#include "personality.h"

/** Two dialects of one language. */
extern const struct personality genz_fee, genz_famez;

/** Everybody is in one subnet; component IDs are the peer's ID times a hundred. */
#define GENZ_SID        27u
#define GENZ_CID_FACTOR 100u

/** Tags under way to one peer; the oldest gives way. */
#define GENZ_TAGS_MAX 4u

/** What the server remembers of a peer. */
struct genz_peer {
	uint32_t tracker; /* of the last message, either way */
	uint32_t next_tag;
	uint32_t tags[GENZ_TAGS_MAX]; /* given to it and not acknowledged; 0: free */
	uint32_t cid, sid;            /* as it says of itself */
	char cclass[FAMEZ_NAME_BYTES];
	bool configured; /* it acknowledged what we assigned */
	bool told;       /* it said who it is */
};

#endif
