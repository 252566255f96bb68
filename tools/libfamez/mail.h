/* SPDX-License-Identifier: MIT */
/*
 * mail.h - the message layer of one membership, as far as it is memory. See mail.c.
 */
#ifndef FAMEZ_MAIL_H
#define FAMEZ_MAIL_H

#include "directory.h"
#include "famez/inbox.h"
#include "famez/peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Out of the way of what runs for each message. */
#define SELDOM __attribute__((noinline, cold))

/** A lane to us. Kept once opened, whoever has the sender's ID. */
struct mail_in {
	struct famez_rx rx; /* first: the inbox reader knows nothing else of us */
	struct mail_in *next;
	uint64_t garbled; /* as often as was told */
	uint32_t from;    /* the sender's generation that was last found in order; 0: look */
	bool fresh;       /* messages came since it rang us last */
};

/** A lane from us. Kept once opened, whoever has the receiver's ID. */
struct mail_out {
	struct famez_tx tx;
	struct mail_out *next;
	struct mail_out *next_unflushed; /* in m->unflushed, while `unflushed` */
	struct mail_out *next_waiting;   /* in m->waiting, while `waits` */
	uint64_t wants;                  /* bytes that there was no room for */
	struct famez_entry *entry;       /* the receiver's */
	uint64_t broker_word;            /* of it, when it last took messages: presence, joins */
	uint64_t peer_word;              /* the same: join, generation */
	uint64_t limit;                  /* so much is published unasked */
	uint16_t peer;
	bool unflushed;
	bool waits;     /* FAMEZ_EVENT_ROOM is wanted */
	uint32_t asked; /* how often the receiver was asked to ring, and that has not come yet */
};

struct mail {
	void *base; /* borrowed */
	struct famez_geometry g;
	struct famez_entry *entry; /* ours */
	uint16_t id;
	uint32_t join, generation; /* ours, as they stand in our entry */
	uint64_t heartbeat;
	struct directory directory;
	struct famez_inbox_reader reader;
	struct mail_in **in;   /* by ID */
	struct mail_out **out; /* by ID */
	struct mail_in *in_all;
	struct mail_out *out_all, *unflushed, *waiting;
	struct mail_out *claim;       /* claimed and not yet committed */
	bool holds;                   /* a message was peeked at, and not yet released */
	struct famez_rx *held;        /* where it is; NULL: in `text` */
	struct famez_message message; /* the same */
	char text[FAMEZ_SLOT_TEXT_BYTES];
	uint64_t *texts;       /* bitmap: this ID's slot may hold text for us */
	uint32_t texts_count;  /* bits set */
	uint32_t texts_at;     /* where to look next */
	uint32_t text_garbled; /* whose slot made no sense; 0: nobody's */
	uint16_t text_to;      /* whom our slot's text is for, and which owner of that ID */
	uint32_t text_joins;
	uint16_t text_wants; /* FAMEZ_EVENT_ROOM is wanted for a text to this one; 0: no */
	uint64_t *owed;      /* bitmap: this ID is to be rung once its bell is known */
	bool unheard;        /* a bell was not known: see whether the server has told it */
	bool watch;          /* as asked for */
	bool blocked;        /* somebody waits for a receiver's life or death */
	bool garbled;        /* some lane may have been garbled without being told of */
	bool fresh;          /* as mail_in.fresh, where all senders ring one vector */
	unsigned since_collected;
	uint64_t changes; /* the header's, when we last looked */
	/** Ring a peer. Returns 0, or -ENOTCONN or -EINVAL where its bell is not known. */
	int (*ring)(void *owner, uint16_t peer, uint16_t vector);
	void *owner;
};

/** Where the message layer finds itself. */
struct mail_place {
	void *base;
	uint64_t bytes;
	uint16_t id;
	int (*ring)(void *owner, uint16_t peer, uint16_t vector);
	void *owner;
};

/** mail_open() - as famez_mailbox_open(); the base stays the caller's and outlives it. */
int mail_open(struct mail **out, const struct mail_place *place, const struct famez_mailbox *how);

/** mail_close() - publish, give back, release who waits for us, take our name away. */
void mail_close(struct mail *m);

/*
 * Sending. Errors as famez_send().
 */

/** mail_claim() - as famez_claim(); what is claimed stays in m->claim. */
int mail_claim(struct mail *m, uint32_t peer, size_t bytes, void **payload);

/* The two words of an entry that change when its owner does. */
static inline uint64_t mail_broker_word(struct famez_entry *e)
{
	return famez_load_acquire((uint64_t *)(void *)&e->presence);
}

static inline uint64_t mail_peer_word(struct famez_entry *e)
{
	return famez_load_relaxed((uint64_t *)(void *)&e->join);
}

/** mail_is_ours() - the ID. A server that began anew may have given it to somebody else. */
static inline bool mail_is_ours(const struct mail *m)
{
	return famez_load_relaxed(&m->entry->joins) == m->join;
}

/** mail_has_batch() - is there a message that is not yet published? A skipped end of the ring, left
 * by a claim that came to nothing, is meant for nobody. */
static inline bool mail_has_batch(const struct mail_out *out)
{
	const struct famez_tx *tx = &out->tx;
	uint64_t pad = tx->first & FAMEZ_RECORD_PAD ? (uint32_t)tx->first & ~FAMEZ_RECORD_PAD : 0;

	return tx->at - tx->begun > pad;
}

/** mail_ready() - the lane to a peer, if it is open and nobody has come or gone since it was last
 * written. NULL: mail_claim() says why. */
static inline struct mail_out *mail_ready(struct mail *m, uint32_t peer)
{
	struct mail_out *out = peer < m->g.ids ? m->out[peer] : NULL;

	/* A batch goes to whom it was begun for. */
	if (!out || mail_has_batch(out))
		return out;
	if (mail_broker_word(out->entry) != out->broker_word ||
		mail_peer_word(out->entry) != out->peer_word ||
		!(famez_load_relaxed(&out->entry->speaks) & FAMEZ_SPEAKS_LANES) || !mail_is_ours(m))
		return NULL;
	return out;
}

/** mail_wake() - ring the receiver, which sleeps. */
void mail_wake(struct mail *m, struct mail_out *out);

static inline void mail_publish(struct mail *m, struct mail_out *out)
{
	if (famez_tx_flush(&out->tx) &&
		famez_nudge(m->base, &m->g, out->peer, m->id, &out->tx.rung))
		mail_wake(m, out);
}

/** mail_commit() - what was claimed, at most as many bytes. */
static inline void mail_commit(struct mail *m, struct mail_out *out, size_t bytes, uint16_t kind,
	uint16_t origin, bool more)
{
	m->claim = NULL;
	famez_tx_commit(&out->tx, bytes, kind, origin);
	if (!more || famez_tx_unpublished(&out->tx) >= out->limit) {
		mail_publish(m, out);
	} else if (!out->unflushed) {
		out->unflushed = true;
		out->next_unflushed = m->unflushed;
		m->unflushed = out;
	}
}

/** mail_flush() - as famez_flush(). */
int mail_flush(struct mail *m, uint32_t peer);
void mail_flush_all(struct mail *m);
/** mail_has_room() - a quick look; the lane must have been claimed from before. */
bool mail_has_room(struct mail *m, uint16_t peer, size_t bytes);
/** mail_ask() - have the receiver ring us when there is room. True: there is some. */
bool mail_ask(struct mail *m, uint16_t peer, size_t bytes);
/** mail_want_room() - FAMEZ_EVENT_ROOM is to come. */
void mail_want_room(struct mail *m, uint16_t peer, size_t bytes);
/** mail_blocked() - be rung when somebody joins or leaves, or no longer. */
void mail_blocked(struct mail *m, bool blocked);
/** mail_text() - a text by v1 slot, as if @speaker said it. -EOPNOTSUPP: not to this peer. */
int mail_text(struct mail *m, uint16_t peer, uint16_t speaker, const void *text, size_t bytes);

/*
 * Receiving.
 */

/** mail_peek() - 1 with *into, or 0. */
int mail_peek(struct mail *m, struct famez_message *into);

static inline void mail_release(struct mail *m)
{
	if (m->held)
		famez_inbox_release(&m->reader, m->held);
	m->holds = false;
	m->held = NULL;
}

/*
 * Sleeping and waking.
 */

/**
 * mail_sleep() - true: don't, there is something. Publishes all there is to publish.
 * @events: not only messages count, but also what mail_event() would tell.
 */
bool mail_sleep(struct mail *m, bool events);
static inline void mail_awake(struct mail *m)
{
	famez_inbox_awake(&m->reader);
}

/** mail_event() - the next event: 1 with *event, or 0. */
int mail_event(struct mail *m, struct famez_event *event);
/** mail_rung() - our own vector was rung so often. True: it meant mail. */
bool mail_rung(struct mail *m, uint16_t vector, uint64_t rings);
/** mail_known() - a bell of this peer has become known. */
void mail_known(struct mail *m, uint16_t peer);
/** mail_tick() - every FAMEZ_TICK_NS. */
void mail_tick(struct mail *m);

#endif
