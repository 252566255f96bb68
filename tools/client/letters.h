/* SPDX-License-Identifier: MIT */
/*
 * letters.h - messages: what came, what was kept for whoever looks, and sending. See letters.c.
 */
#ifndef CLIENT_LETTERS_H
#define CLIENT_LETTERS_H

#include "famez/peer.h"
#include "outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/** A message, copied. */
struct letter {
	struct letter *next; /* of those kept */
	uint16_t from, origin, group;
	uint8_t type; /* enum famez_message_type */
	uint8_t slot;
	char name[32];        /* of `from` when it came, empty: none known */
	char origin_name[32]; /* of `origin` */
	size_t bytes;         /* of the message */
	size_t held;          /* of these, in `text` */
	unsigned char text[];
};

struct letters {
	bool open;
	uint16_t cid, sid;    /* as the fabric's manager told us; 0: not */
	struct letter *first; /* kept until somebody looks */
	struct letter **last;
	unsigned kept;
	size_t kept_bytes;
	unsigned long long dropped;   /* for which there was no place */
	uint8_t owed[UINT16_MAX + 1]; /* by peer: what letters_linger() waits for */

	/* What a command waits for: true, it was that. The letter is gone afterwards. */
	bool (*hear)(struct session *s, void *who, const struct letter *l);
	void *who;

	unsigned char *copy; /* of the message in hand: struct letter and payload */
	size_t copy_bytes;

	struct downloads *downloads; /* NULL: files are not wanted */
	struct sinks *sinks;         /* NULL: we do not serve */
};

/** letters_need() - take part in messages, if we don't yet. Says why not. */
enum outcome letters_need(struct session *s);

/** letters_want() - the same where it can be had; else go on without. */
void letters_want(struct session *s);

/** letters_name() - who they are that have said this; they may have left when it is shown. */
void letters_name(struct session *s, struct letter *l);

/** letters_linger() - give those whom we have sent something a moment to read it, before we
 * leave; and v1 clients, to answer: what nobody takes from their slot is in their way. */
void letters_linger(struct session *s);

/** letters_close() - the membership ends. */
void letters_close(struct session *s);

/**
 * letters_take() - one message that has come: answer it, or keep it for letters_show().
 * Returns 1: there is something to show, or a command has heard what it waits for; 0: neither.
 */
int letters_take(struct session *s);

/** letters_handle() - the same with one that was taken already. @l->text has @l->bytes. */
int letters_handle(struct session *s, const struct letter *l);

/** letters_keep() - a copy for letters_show(). Returns 1, or 0 where there is no place. */
int letters_keep(struct session *s, const struct letter *l);

/** letters_show() - what was kept. Returns how many, at most @most. */
unsigned long long letters_show(struct session *s, unsigned long long most);

/** letters_generation() - which start of this peer is it that takes messages now? 0: none. */
uint32_t letters_generation(struct session *s, uint16_t peer);

/** letters_gone() - this peer may have left, or started anew: notices of that come later than
 * messages of the ID's next owner, so what counts is its generation. */
void letters_gone(struct session *s, uint16_t peer);

/** letters_copy() - a letter with room for @bytes, ours until the next call. NULL: no memory. */
struct letter *letters_copy(struct session *s, size_t bytes);

/** How long somebody who reads nothing is waited for, unless a command says otherwise. */
#define LETTERS_PATIENCE_SECONDS 10.0

/**
 * letters_send() - send, waiting for room; meanwhile messages are taken in.
 * Returns 0, -ETIMEDOUT (full all the time), -EINTR (Ctrl-C), or an error of famez_send().
 */
int letters_send(struct session *s, const struct famez_to *to, const void *payload, size_t bytes,
	double patience);

/** letters_answer() - send a short text, now or never: what answers strangers may not wait. */
void letters_answer(struct session *s, uint16_t to, const char *text);

/** letters_failed() - says why letters_send() failed, and returns the outcome. */
enum outcome letters_failed(struct session *s, uint16_t peer, int err, double patience);

#endif
