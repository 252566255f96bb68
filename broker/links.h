/* SPDX-License-Identifier: MIT */
/*
 * links.h - what workers say to each other about mail, by one queue for each two of them.
 */
#ifndef LINKS_H
#define LINKS_H

#include <stdint.h>

#include "queue.h"

enum mail_link_kind {
	LINK_RELAY, /* pass this on to your members of the group, then say LINK_DONE */
	LINK_DONE,  /* the record in `sender`'s lane to you may go, as far as I am concerned */
	LINK_SHOW,  /* log what you know of your peers */
};

struct mail_link {
	const void *payload; /* RELAY: in a lane, and may change under our eyes */
	uint32_t bytes;      /* RELAY */
	uint32_t sender;     /* RELAY, DONE: whose lane it is in */
	uint64_t pos;        /* RELAY: where there */
	uint16_t kind;       /* RELAY: as in the record */
	uint16_t origin;     /* RELAY */
	uint8_t what;        /* enum mail_link_kind */
};

QUEUE_PROTOTYPE(mail_link)

/* Records of one worker's senders that are being passed on at once. */
#define LINKS_RELAYS_MAX 64u

/* Room for what may be under way from one worker to one other: its relays, what it has done
 * of the other's, and as many requests to show as fit besides. A power of two. */
#define LINKS_ROOM 256u

#endif
