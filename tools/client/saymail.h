/* SPDX-License-Identifier: MIT */
/*
 * saymail.h - what the client prints of messages. See saymail.c.
 */
#ifndef CLIENT_SAYMAIL_H
#define CLIENT_SAYMAIL_H

#include "famez/peer.h"
#include "histogram.h"
#include "letters.h"

#include <stdbool.h>
#include <stdint.h>

/** A peer in words, `3 (bob)`: good until the eighth call after this. */
const char *saymail_peer(struct famez *f, uint16_t peer);

void saymail_letter(const struct letter *l);
void saymail_dropped(unsigned long long count);
void saymail_up(struct famez *f, uint16_t peer);
void saymail_down(uint16_t peer);
void saymail_garbled(uint16_t peer);

/** What we have said in a conversation that is shown. */
void saymail_said(struct famez *f, uint16_t to, const char *text);

void saymail_sent(const char *what, unsigned peers, size_t bytes);
void saymail_group(const char *what, unsigned group);
void saymail_pong(struct famez *f, uint16_t peer, uint64_t ns);
void saymail_pings(struct famez *f, uint16_t peer, const struct histogram *h);
void saymail_rfc(unsigned messages, unsigned cid, unsigned sid);

enum saymail_alive { SAYMAIL_ALIVE, SAYMAIL_SILENT, SAYMAIL_UNKNOWN };

struct saymail_row {
	struct famez_who who;
	enum saymail_alive alive;
};

void saymail_who(struct famez *f, const struct saymail_row *rows, unsigned count);

/** Files that come: what became of one. @why is NULL where it was stored, as @name. */
void saymail_file(
	struct famez *f, uint16_t from, const char *name, uint64_t bytes, const char *why);
void saymail_file_sent(
	struct famez *f, uint16_t to, const char *name, uint64_t bytes, double seconds);

struct saymail_bench {
	uint16_t peer;
	size_t bytes; /* of a message */
	const struct histogram *round_trips;
	uint64_t messages; /* one way */
	uint64_t ns;
};

void saymail_bench(struct famez *f, const struct saymail_bench *b);

#endif
