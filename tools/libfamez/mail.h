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
#include <string.h>

/* Out of the way of what runs for each message. */
#define SELDOM __attribute__((noinline, cold))

/* Messages ahead of the one that is looked at, in a batch, that are fetched from memory: more than
 * most batches have, so that the next one's heads are here when it is asked for. */
#define FORESEEN 20

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
	uint64_t sent;                   /* messages, when mail_sent() was asked last */
	uint16_t peer;
	bool unflushed;
	bool waits;     /* FAMEZ_EVENT_ROOM is wanted */
	uint32_t asked; /* how often the receiver was asked to ring, and that has not come yet */
};

/* The batch that the last message went to, while nothing but its next message can happen to it:
 * what famez_send() asks for, and what it then need not ask. See mail_append(). */
struct mail_open {
	uint64_t to; /* as mail_address() makes it; MAIL_CLOSED: there is none */
	struct mail_out *out;
	uint64_t end;  /* a record that ends by here fits, and is not yet to be published */
	uint64_t more; /* second word of its head */
};
#define MAIL_CLOSED UINT64_MAX

struct mail {
	struct mail_open open;
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
	struct mail_out *claim; /* claimed and not yet committed */
	/* What was peeked at, and not yet released: a lane's message, or a slot's text. */
	struct famez_rx *held; /* NULL: no lane's */
	uint32_t held_bytes;
	uint64_t held_more; /* the second word of its head */
	bool holds_text;
	bool told_text;               /* it was given by famez_peek_batch() */
	struct famez_message message; /* the text */
	/* Where the last batch began. Compared, lest every release have to forget it. */
	const struct famez_rx *batch;
	uint64_t batch_at;
	/* See mail_quick(). */
	struct mail_in *quick; /* the lane whose turn it is */
	uint64_t quick_from;   /* what comes before is counted in its turn already */
	uint64_t quick_at;     /* where its next record is: rx.at, once what is held was released */
	uint64_t quick_end; /* no record from here on; not after quick_at where `quick` is NULL */
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
	bool watch;          /* be rung when somebody joins or leaves */
	bool blocked;        /* somebody waits for a receiver's life or death */
	bool garbled;        /* some lane may have been garbled without being told of */
	bool fresh;          /* as mail_in.fresh, where all senders ring one vector */
	unsigned since_collected;
	uint64_t taken;   /* messages, until mail_taken() is asked again */
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
	bool watches; /* be rung when somebody joins or leaves, whoever asks for it */
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
 * by a claim that came to nothing, is none. */
static inline bool mail_has_batch(const struct mail_out *out)
{
	return out->tx.batch != 0;
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

/* True: the receiver slept, and was rung. */
static inline bool mail_publish(struct mail *m, struct mail_out *out)
{
	m->open.to = MAIL_CLOSED;
	if (!famez_tx_flush(&out->tx) ||
		!famez_nudge(m->base, &m->g, out->peer, m->id, &out->tx.rung))
		return false;
	mail_wake(m, out);
	return true;
}

/* A message's address in one word, since that is compared for each. */
static inline uint64_t mail_address(const struct famez_to *to)
{
	uint32_t word; /* its peer, type and spoof: asserted in mail.c */

	memcpy(&word, to, sizeof(word));
	return word;
}

/**
 * mail_append() - room for one more message of the batch that the last one went to, written from
 * now on. NULL: nothing was done, it takes mail_ready() or mail_claim() to know why. For short
 * ones: their number is bounded by the batch's bytes.
 */
static inline void *mail_append(struct mail *m, const struct famez_to *to, size_t bytes)
{
	const uint64_t size =
		famez_round_up(bytes + sizeof(struct famez_record), FAMEZ_RECORD_ALIGN);
	struct famez_tx *tx;

	if (__builtin_expect(mail_address(to) != m->open.to, 0))
		return NULL;
	tx = &m->open.out->tx;
	/* The second, lest the sum has wrapped. */
	if (__builtin_expect(size > m->open.end - tx->at || bytes > size, 0))
		return NULL;
	return famez_tx_append(tx, bytes, m->open.more);
}

/** mail_keep_open() - what mail_append() goes by, after a message of @to that was not published. */
static inline void mail_keep_open(struct mail *m, struct mail_out *out, const struct famez_to *to)
{
	const struct famez_tx *tx = &out->tx;
	const uint64_t end = tx->begun + out->limit - FAMEZ_RECORD_ALIGN;

	if (to->spoof) {
		m->open.to = MAIL_CLOSED;
		return;
	}
	m->open.to = mail_address(to);
	m->open.out = out;
	m->open.end = (int64_t)(end - tx->clear) < 0 ? end : tx->clear;
	m->open.more = tx->from | (uint64_t)FAMEZ_KIND(to->type, 0) << 32 | (uint64_t)m->id << 48;
}

/** mail_commit() - what was claimed, at most as many bytes. True: a bell was rung. */
static inline bool mail_commit(struct mail *m, struct mail_out *out, size_t bytes, uint16_t kind,
	uint16_t origin, bool more)
{
	m->claim = NULL;
	famez_tx_commit(&out->tx, bytes, kind, origin);
	if (!more || famez_tx_unpublished(&out->tx) >= out->limit)
		return mail_publish(m, out);
	if (out->tx.batch == 1 && !out->unflushed) {
		out->unflushed = true;
		out->next_unflushed = m->unflushed;
		m->unflushed = out;
	}
	return false;
}

/** mail_flush() - as famez_flush(). */
int mail_flush(struct mail *m, uint32_t peer);
void mail_flush_all(struct mail *m);
/** mail_has_room() - a quick look; the lane must have been claimed from before. */
bool mail_has_room(struct mail *m, uint16_t peer, size_t bytes);
/** mail_ask() - have the receiver ring us when there is room. True: there is some. */
bool mail_ask(struct mail *m, uint16_t peer, size_t bytes);
/** mail_sent() - messages by this lane since that was asked last; it must have been claimed from.
 */
uint64_t mail_sent(struct mail *m, uint16_t peer);
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

/* A message of a lane. Field by field: to copy them right behind the writes costs more than all the
 * rest. @more: the second word of its head. */
static inline void mail_tell(struct famez_message *into, const struct famez_rx *rx, uint32_t bytes,
	uint64_t more, const void *payload)
{
	into->from = (uint16_t)rx->sender;
	into->origin = (uint16_t)(more >> 48);
	into->group = (uint16_t)FAMEZ_KIND_GROUP((uint16_t)(more >> 32));
	into->type = (uint8_t)FAMEZ_KIND_TYPE(more >> 32);
	into->slot = 0;
	into->bytes = bytes;
	into->payload = payload;
}

/**
 * mail_quick() - mail_peek() in its usual case: one more of the lane whose turn it is, and from
 * whom the last one was. False: nothing was done, mail_peek() knows why. What depends on the
 * number of messages is made up for there. Where the next record is follows from this one's
 * length, and there is nothing faster than that; so it is kept at hand.
 */
static inline bool mail_quick(struct mail *m, struct famez_message *into)
{
	struct mail_in *in = m->quick;
	struct famez_rx *rx;
	uint64_t word, more, at, in_ring, left, size;
	const uint64_t *head;
	uint32_t most, to, from;

	at = m->quick_at;
	if (m->held || (int64_t)(m->quick_end - at) <= 0)
		return false;
	rx = &in->rx;
	in_ring = at & (rx->bytes - 1);
	left = rx->bytes - in_ring;
	head = (const uint64_t *)(const void *)(rx->data + in_ring);
	most = rx->most;
	to = rx->to;
	from = in->from;
	word = famez_load_acquire(head); /* pairs with S1, as in famez_rx_peek() */
	if (!famez_rx_is_ours(word, left, most, to))
		return false;
	more = famez_load_relaxed(head + 1);
	if ((uint32_t)more != from || FAMEZ_KIND_TYPE(more >> 32) > FAMEZ_TYPE_LINK)
		return false;
	size = famez_round_up((uint32_t)word, FAMEZ_RECORD_ALIGN);
	m->quick_at = at + size;
	rx->size = size;
	m->taken++;
	m->held = rx;
	m->held_bytes = (uint32_t)word - (uint32_t)sizeof(struct famez_record);
	m->held_more = more;
	mail_tell(into, rx, (uint32_t)word - (uint32_t)sizeof(struct famez_record), more, head + 2);
	return true;
}

/** mail_holds_batch() - was what is held given by famez_peek_batch()? */
static inline bool mail_holds_batch(const struct mail *m)
{
	return m->held ? m->batch == m->held && m->batch_at == m->held->at : m->told_text;
}

/** mail_extend() - a lane's message is held, and told in into[-1]; the next ones of that lane's
 * turn,
 * @most of them, with it. Not more than an eighth of the lane, since all are given back at once.
 * Returns how many. */
static inline unsigned mail_extend(struct mail *m, struct famez_message *into, unsigned most)
{
	struct famez_rx *rx = m->held;
	const uint64_t bytes = rx->bytes;
	const uint32_t largest = rx->most, to = rx->to, from = m->quick->from;
	unsigned char *data = rx->data;
	uint64_t at = m->quick_at, known = m->held_more, end = rx->at + bytes / 8, what;
	unsigned count = 0;

	/* All but length and payload is as in the message before, as long as its second word is. */
	memcpy(&what, into - 1, sizeof(what));
	if ((int64_t)(m->quick_end - end) < 0)
		end = m->quick_end;
	while (count < most && (int64_t)(end - at) > 0) {
		const uint64_t in_ring = at & (bytes - 1);
		const uint64_t *head = (const uint64_t *)(const void *)(data + in_ring);
		const uint64_t word = famez_load_acquire(head);
		const uint64_t size = famez_round_up((uint32_t)word, FAMEZ_RECORD_ALIGN);
		uint64_t more;

		if (!famez_rx_is_ours(word, bytes - in_ring, largest, to))
			break;
		more = famez_load_relaxed(head + 1);
		if (__builtin_expect(more != known, 0)) {
			if ((uint32_t)more != from || FAMEZ_KIND_TYPE(more >> 32) > FAMEZ_TYPE_LINK)
				break;
			known = more;
			mail_tell(into + count, rx, 0, more, NULL);
			memcpy(&what, into + count, sizeof(what));
		}
		memcpy(into + count, &what, sizeof(what));
		into[count].bytes = (uint32_t)word - (uint32_t)sizeof(struct famez_record);
		into[count].payload = head + 2;
		/* Where the next ones are is only known one after the other, and each may be in
		 * another CPU's cache. Most are as long as this one. */
		__builtin_prefetch(data + ((at + FORESEEN * size) & (bytes - 1)));
		__builtin_prefetch(data + ((at + FORESEEN * size + 64) & (bytes - 1)));
		at += size;
		count++;
	}
	m->batch = rx;
	m->batch_at = rx->at;
	rx->size = at - rx->at;
	m->quick_at = at;
	m->taken += count;
	return count;
}

/** mail_taken() - messages since that was asked last. */
uint64_t mail_taken(struct mail *m);

/** mail_release_quick() - done with it, where nobody is to be told; as after most messages of
 * mail_quick(). False: nothing was done. */
static inline bool mail_release_quick(struct mail *m)
{
	struct famez_rx *rx = m->held;

	if (!rx || !famez_rx_release_quick(rx))
		return false;
	m->held = NULL;
	return true;
}

/** mail_slow() - no more of mail_quick(), until mail_peek() has found the lane whose turn it is. */
void mail_slow(struct mail *m);

/** mail_release() - done with it. True: a bell was rung. */
static inline bool mail_release(struct mail *m)
{
	struct famez_rx *rx = m->held;
	bool ring = rx && famez_rx_release(rx);

	m->held = NULL;
	m->holds_text = m->told_text = false;
	/* It was garbled, and is set right: it goes on elsewhere. */
	if (rx && __builtin_expect(rx->at != m->quick_at, 0)) {
		mail_slow(m);
		m->garbled = true;
	}
	if (__builtin_expect(ring, 0))
		m->reader.ring(&m->reader, rx->sender);
	return ring;
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

/** mail_may_tell() - has mail_event() something, perhaps, that mail_sleep() does not see? */
bool mail_may_tell(const struct mail *m);
/** mail_event() - the next event: 1 with *event, or 0. */
int mail_event(struct mail *m, struct famez_event *event);
/** mail_rung() - our own vector was rung so often. True: it meant mail. */
bool mail_rung(struct mail *m, uint16_t vector, uint64_t rings);
/** mail_known() - a bell of this peer has become known. */
void mail_known(struct mail *m, uint16_t peer);
/** mail_tick() - every FAMEZ_TICK_NS. */
void mail_tick(struct mail *m);

#endif
