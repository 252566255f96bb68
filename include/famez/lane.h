/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/**
 * lane.h - one lane of the mailbox: its sender's end and its receiver's end.
 *
 * A lane is a byte ring of one sender and one receiver. Both ends live in private memory
 * (struct famez_tx, struct famez_rx); of what stands in the file a word is read once, checked
 * and used. Positions only grow; a position's place in the ring is its low bits.
 *
 *      consumed               at (receiver)            begun          at (sender)     limit
 *   ------+----------------------+-----------------------+---------------+--------------+---
 *         |  read, not yet       |  published, unread    |  written, not |  free        |
 *         |  given back          |                       |  published    |              |
 *
 * The head word of a record is the signal. The sender writes the records of a batch with a
 * zero word behind the last one, and the batch's first head word last: S1. Until then the
 * receiver finds the zero that the batch before left there. So a sender that dies between
 * any two instructions leaves whole records and then a zero.
 *
 * No record is larger than half a lane, and the receiver gives back at the latest every
 * quarter: so a sender that finds no room will find some once the receiver has read all,
 * even if that one never says so again.
 *
 * The steps of the wake-up, as in tests/model/:
 *   S1 publish the batch          R1 asleep = number of this sleep
 *   S2 (order)                    R2 (order)
 *   S3 set the bit, unless set    R3 look at every lane in hand, and at the bitmap
 *   S4 look at `asleep`           R4 sleep until the doorbell rings
 *   S5 ring                       R5 asleep = 0, empty the doorbell before R3
 *
 *   C1 clear the bit              C2 look at the lane once more, then let go of it
 *
 *   W1 waiting = 1                V1 give back: store `consumed`
 *   W2 look at `consumed`         V2 (order)
 *   W3 sleep                      V3 waiting? store 0, ring
 *
 * Each end belongs to one thread at a time. Nothing here blocks, allocates or calls out.
 */
#ifndef FAMEZ_LANE_H
#define FAMEZ_LANE_H

#include "famez/mailbox.h"

#ifndef __KERNEL__
#include <stdbool.h>
#endif

/* What a step would be if it were wrong; tests/mutations builds each. */
#ifdef FAMEZ_WEAKEN_S1
#define FAMEZ_S1_STORE famez_store_release
#else
#define FAMEZ_S1_STORE famez_store_ordered
#endif

/* What happens so seldom that it should not stand in the way of what is done for each message. */
#define FAMEZ_COLD static inline __attribute__((cold))

/* For a function that looks at what the other side may be writing again by now, a round further,
 * and whose result is checked after that: a thread sanitizer can't know. */
#if defined(__SANITIZE_THREAD__)
#define FAMEZ_LATE_LOOK __attribute__((no_sanitize("thread")))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FAMEZ_LATE_LOOK __attribute__((no_sanitize("thread")))
#endif
#endif
#ifndef FAMEZ_LATE_LOOK
#define FAMEZ_LATE_LOOK
#endif

/** Most records skipped, pads and strangers' ones, in one look. */
#define FAMEZ_SKIPS_MAX 256u

/** Most records between what the sender says and where its receiver is that one look follows. */
#define FAMEZ_WALK_MAX 1024u

/** Most records of a batch: so many are looked for where a sender did not live to speak of them. */
#define FAMEZ_OPEN_MAX 8192u

/** famez_payload_max() - bytes of the largest message: a record's half lane, less the zero. */
static inline uint32_t famez_payload_max(const struct famez_geometry *g)
{
	return g->lane_bytes / 2 - FAMEZ_RECORD_ALIGN - (uint32_t)sizeof(struct famez_record);
}

/* ---- the sender's end -------------------------------------------------------------------- */

struct famez_tx {
	unsigned char *data;
	struct famez_lane *lane;
	uint64_t bytes;    /* of the lane */
	uint64_t at;       /* where the next record goes */
	uint64_t begun;    /* the first record not yet published; == at: none */
	uint64_t limit;    /* where room ends, as far as we know */
	uint64_t clear;    /* a record that ends by here fits in every respect */
	uint64_t first;    /* head word of the record at `begun` */
	uint32_t batch;    /* messages committed, not yet published */
	uint32_t claimed;  /* bytes of payload */
	uint32_t to, from; /* generations */
	uint32_t rung;     /* the sleep that we have rung for; 0 again when `to` changes */
	uint32_t sender;
	uint64_t messages; /* published */
	uint64_t payload_bytes, rings, full, garbled;
};

static inline uint64_t *famez_head_at(unsigned char *data, uint64_t bytes, uint64_t at)
{
	return (uint64_t *)(void *)(data + (at & (bytes - 1)));
}

/* Bytes that the record or pad with this head word takes at @at; 0 if it can't be one. */
static inline uint64_t famez_head_size(uint64_t word, uint64_t bytes, uint64_t at)
{
	uint32_t length = (uint32_t)word;
	uint64_t left = bytes - (at & (bytes - 1)), size;

	if (length & FAMEZ_RECORD_PAD)
		return (length & ~FAMEZ_RECORD_PAD) == left && left < bytes / 2 ? left : 0;
	size = famez_round_up(length, FAMEZ_RECORD_ALIGN);
	if (length < sizeof(struct famez_record) || size > bytes / 2 - FAMEZ_RECORD_ALIGN ||
		size > left)
		return 0;
	return size;
}

/* Take over what the receiver has given back. False where it makes no sense: then it is as
 * full as it was, until the receiver has set it right. For that it needs our `produced`, and a
 * zero there: if somebody changed them, they are said again, since a full lane's sender has no
 * other occasion. */
FAMEZ_COLD bool famez_tx_look(struct famez_tx *tx, uint64_t consumed)
{
	if (famez_load_relaxed(&tx->lane->produced) != tx->begun)
		famez_store_release(&tx->lane->produced, tx->begun);
	if (tx->at - consumed > tx->bytes || (consumed & (FAMEZ_RECORD_ALIGN - 1))) {
		famez_store_relaxed(famez_head_at(tx->data, tx->bytes, tx->begun), UINT64_C(0));
		tx->garbled++;
		return false;
	}
	tx->limit = consumed + tx->bytes;
	return true;
}

/**
 * famez_tx_open() - go on where the last owner of this ID stopped, or died.
 * @from, @to: generations of sender and receiver, from the directory.
 * IDs must be below g->ids.
 */
static inline void famez_tx_open(struct famez_tx *tx, void *base, const struct famez_geometry *g,
	uint32_t receiver, uint32_t sender, uint32_t from, uint32_t to)
{
	struct famez_lane *lane = famez_lane_at(base, g, receiver, sender);
	struct famez_tx made = FAMEZ_ZEROED;
	uint64_t consumed, start, at, size;

	made.data = famez_lane_data_at(base, g, receiver, sender);
	made.lane = lane;
	made.bytes = g->lane_bytes;
	made.from = from;
	made.to = to;
	made.sender = sender;
	made.messages = famez_load_relaxed(&lane->messages);
	made.payload_bytes = famez_load_relaxed(&lane->payload_bytes);
	made.rings = famez_load_relaxed(&lane->rings);
	made.full = famez_load_relaxed(&lane->full);
	consumed = famez_load_acquire(&lane->consumed) & ~(uint64_t)(FAMEZ_RECORD_ALIGN - 1);
	at = start = famez_load_acquire(&lane->produced);
	/* It may have died after S1 and before it said so, and the receiver may have read that
	 * all the same: walk to the zero. */
	for (unsigned steps = 0; at - start < made.bytes && !(at & (FAMEZ_RECORD_ALIGN - 1));
		steps++) {
		uint64_t word = famez_load_acquire(famez_head_at(made.data, made.bytes, at));

		if (!word)
			break;
		size = famez_head_size(word, made.bytes, at);
		if (!size)
			break;
		if (steps == FAMEZ_OPEN_MAX) { /* nobody left that many */
			at = consumed + made.bytes;
			break;
		}
		at += size;
	}
	if (at - consumed > made.bytes - FAMEZ_RECORD_ALIGN || (at & (FAMEZ_RECORD_ALIGN - 1))) {
		made.garbled = 1;
		at = consumed; /* what is unread there is lost */
	}
	made.at = made.begun = made.clear = at;
	made.limit = consumed + made.bytes;
	famez_store_relaxed(famez_head_at(made.data, made.bytes, at), UINT64_C(0));
	/* Ordered: before what we write into the room, as in famez_tx_room(). */
	famez_store_ordered(&lane->produced, at);
	*tx = made;
}

/**
 * famez_tx_published() - was what was begun at @at of this lane published before its sender died?
 * For a sender that writes down, before it publishes, from where to where it does, and goes on with
 * famez_tx_resume() at one or the other.
 */
static inline bool famez_tx_published(
	void *base, const struct famez_geometry *g, uint32_t receiver, uint32_t sender, uint64_t at)
{
	/* Until S1 the zero stands there that the batch before left; and nobody but us overwrites
	 * it, except who garbles the lane. */
	return famez_load_acquire(famez_head_at(
		       famez_lane_data_at(base, g, receiver, sender), g->lane_bytes, at)) != 0;
}

/**
 * famez_tx_resume() - go on at @at, up to where we published, as we know ourselves. 0 in a lane
 * where nobody wrote yet. What is not ours in the file is not believed.
 */
static inline void famez_tx_resume(struct famez_tx *tx, void *base, const struct famez_geometry *g,
	uint32_t receiver, uint32_t sender, uint32_t from, uint32_t to, uint64_t at)
{
	struct famez_lane *lane = famez_lane_at(base, g, receiver, sender);
	struct famez_tx made = FAMEZ_ZEROED;

	made.data = famez_lane_data_at(base, g, receiver, sender);
	made.lane = lane;
	made.bytes = g->lane_bytes;
	made.from = from;
	made.to = to;
	made.sender = sender;
	made.messages = famez_load_relaxed(&lane->messages);
	made.payload_bytes = famez_load_relaxed(&lane->payload_bytes);
	made.rings = famez_load_relaxed(&lane->rings);
	made.full = famez_load_relaxed(&lane->full);
	made.at = made.begun = made.clear = at;
	/* Full, until famez_tx_look() has seen how far the receiver is. */
	made.limit = at;
	famez_store_relaxed(famez_head_at(made.data, made.bytes, at), UINT64_C(0));
	/* Ordered: before what we write into the room, as in famez_tx_room(). */
	famez_store_ordered(&lane->produced, at);
	*tx = made;
}

/* Is there room for @size bytes and the zero behind them? */
static inline bool famez_tx_room(struct famez_tx *tx, uint64_t size)
{
	uint64_t end = tx->at + size + FAMEZ_RECORD_ALIGN;

	if ((int64_t)(tx->limit - end) >= 0)
		return true;
	/* Ordered, which costs no more: what we write into the room comes after our last store of
	 * `produced`; famez_rx_idle() relies on that. */
	return famez_tx_look(tx, famez_load_ordered(&tx->lane->consumed)) &&
	       (int64_t)(tx->limit - end) >= 0;
}

/* A head word; the batch's first one is kept back. What is ours is read once: after each store into
 * the file a compiler would have to read it again. */
static inline void famez_tx_head(struct famez_tx *tx, uint64_t word, uint64_t size)
{
	const uint64_t at = tx->at, bytes = tx->bytes;
	unsigned char *data = tx->data;
	const bool first = tx->begun == at;

	tx->at = at + size;
	if (first)
		tx->first = word;
	famez_store_relaxed(famez_head_at(data, bytes, at + size), UINT64_C(0));
	if (!first)
		famez_store_relaxed(famez_head_at(data, bytes, at), word);
}

/* famez_tx_claim(), step by step; and how far it then goes without: to the end of the room, of the
 * ring, or of half a lane, which is what the largest record takes. */
FAMEZ_COLD int famez_tx_claim_afresh(struct famez_tx *tx, uint64_t bytes)
{
	uint64_t size = famez_round_up(bytes + sizeof(struct famez_record), FAMEZ_RECORD_ALIGN);
	uint64_t left = tx->bytes - (tx->at & (tx->bytes - 1)), most;

	tx->clear = tx->at;
	if (bytes > tx->bytes / 2 || size > tx->bytes / 2 - FAMEZ_RECORD_ALIGN)
		return -EMSGSIZE;
	if (size > left) {
		if (!famez_tx_room(tx, left))
			goto full;
		famez_tx_head(tx, FAMEZ_RECORD_PAD | left, left);
		left = tx->bytes;
	}
	tx->clear = tx->at;
	if (!famez_tx_room(tx, size))
		goto full;
	most = tx->limit - FAMEZ_RECORD_ALIGN - tx->at;
	if (most > left)
		most = left;
	if (most > tx->bytes / 2 - FAMEZ_RECORD_ALIGN)
		most = tx->bytes / 2 - FAMEZ_RECORD_ALIGN;
	tx->clear = tx->at + most;
	return 0;

full:
	tx->full++;
	return -EAGAIN;
}

/**
 * famez_tx_claim() - room for a message of up to @bytes, to be written in place, then
 * famez_tx_commit(). A claim that is not committed is forgotten by the next one.
 * Returns 0 with *payload, aligned to 8; -EMSGSIZE; or -EAGAIN: the lane is full. What is not
 * yet published must be (famez_tx_flush()) before one waits.
 */
static inline int famez_tx_claim(struct famez_tx *tx, uint64_t bytes, void **payload)
{
	uint64_t size = famez_round_up(bytes + sizeof(struct famez_record), FAMEZ_RECORD_ALIGN);

	/* The second, lest the sum has wrapped. */
	if (__builtin_expect(size > tx->clear - tx->at || bytes > size, 0)) {
		int err = famez_tx_claim_afresh(tx, bytes);

		if (err)
			return err;
	}
	tx->claimed = (uint32_t)bytes;
	*payload = tx->data + (tx->at & (tx->bytes - 1)) + sizeof(struct famez_record);
	return 0;
}

/** famez_tx_commit() - what was claimed is a message of @bytes, at most as many as claimed. */
static inline void famez_tx_commit(
	struct famez_tx *tx, uint64_t bytes, uint16_t kind, uint16_t origin)
{
	const uint64_t length = bytes + sizeof(struct famez_record);
	uint64_t *head = famez_head_at(tx->data, tx->bytes, tx->at);
	const uint64_t word = length | (uint64_t)tx->to << 32;
	const uint64_t more = tx->from | (uint64_t)kind << 32 | (uint64_t)origin << 48;

	tx->batch++;
	tx->payload_bytes += bytes;
	famez_tx_head(tx, word, famez_round_up(length, FAMEZ_RECORD_ALIGN));
	famez_store_relaxed(head + 1, more);
}

/**
 * famez_tx_append() - claim and commit at once: one more message for a batch that was begun. The
 * caller knows that there is room (tx->clear), and writes the payload, where this says, before it
 * flushes. @more: the second word of the head, as famez_tx_commit() makes it.
 */
static inline void *famez_tx_append(struct famez_tx *tx, uint64_t bytes, uint64_t more)
{
	const uint64_t length = bytes + sizeof(struct famez_record), at = tx->at;
	const uint64_t next = at + famez_round_up(length, FAMEZ_RECORD_ALIGN);
	const uint64_t word = length | (uint64_t)tx->to << 32, lane_bytes = tx->bytes;
	unsigned char *data = tx->data;
	uint64_t *head = famez_head_at(data, lane_bytes, at);

	tx->at = next;
	tx->batch++;
	tx->payload_bytes += bytes;
	famez_store_relaxed(famez_head_at(data, lane_bytes, next), UINT64_C(0));
	famez_store_relaxed(head, word);
	famez_store_relaxed(head + 1, more);
	return head + 2;
}

/** famez_tx_unpublished() - bytes committed and not yet flushed. */
static inline uint64_t famez_tx_unpublished(const struct famez_tx *tx)
{
	return tx->at - tx->begun;
}

/** famez_tx_flush() - publish. False: there was nothing. Then famez_nudge(). */
static inline bool famez_tx_flush(struct famez_tx *tx)
{
	struct famez_lane *lane = tx->lane;

	if (tx->begun == tx->at)
		return false;
	/* S1 pairs with the acquire in famez_rx_peek(). It is ordered, with S3 and S4 in
	 * famez_nudge(): either we see that the receiver sleeps, or its last look, R3, sees
	 * this word. Any weaker, and a message can wait for a doorbell that never rings. */
	FAMEZ_S1_STORE(famez_head_at(tx->data, tx->bytes, tx->begun), tx->first);
	tx->begun = tx->at;
	tx->messages += tx->batch;
	tx->batch = 0;
	/* Release: who sees this position sees S1 too; famez_rx_idle() relies on that. */
	famez_store_release(&lane->produced, tx->at);
	famez_store_relaxed(&lane->messages, tx->messages);
	famez_store_relaxed(&lane->payload_bytes, tx->payload_bytes);
	famez_store_relaxed(&lane->rings, tx->rings);
	famez_store_relaxed(&lane->full, tx->full);
	return true;
}

/**
 * famez_tx_wait() - ask to be rung once there is room. True: there is some already, try again.
 * @size: as was claimed. The receiver should be nudged too, in case somebody undid what it
 * knew.
 */
static inline bool famez_tx_wait(struct famez_tx *tx, uint64_t bytes)
{
	uint64_t size = famez_round_up(bytes + sizeof(struct famez_record), FAMEZ_RECORD_ALIGN);
	uint64_t left = tx->bytes - (tx->at & (tx->bytes - 1));

	if (size > left)
		size = left;
		/* W1 and W2 are ordered, with V1 and V3 in famez_rx_publish(): either we see what
		 * was given back, or the receiver sees that we wait. */
#ifdef FAMEZ_WEAKEN_W1
	famez_store_relaxed(&tx->lane->waiting, 1u);
#else
	famez_store_ordered(&tx->lane->waiting, 1u);
#endif
	famez_store_relaxed(&tx->lane->full, tx->full);
	return famez_tx_look(tx, famez_load_ordered(&tx->lane->consumed)) &&
	       (int64_t)(tx->limit - (tx->at + size + FAMEZ_RECORD_ALIGN)) >= 0;
}

/** famez_tx_unread() - is something published that the receiver has not given back? */
static inline bool famez_tx_unread(const struct famez_tx *tx)
{
	return famez_load_relaxed(&tx->lane->consumed) != tx->begun;
}

/**
 * famez_nudge() - after a flush. True: the receiver sleeps and is to be rung, vector
 * famez_vector_of(). Once for each of its sleeps; *rung is ours to remember that.
 */
static inline bool famez_nudge(void *base, const struct famez_geometry *g, uint32_t receiver,
	uint32_t sender, uint32_t *rung)
{
	uint64_t *word = famez_bitmap_at(base, g, receiver, sender);
	uint64_t bit = UINT64_C(1) << (sender % 64);
	uint32_t asleep;

	/* S3. A bit that is still set is as good: if the receiver clears it after this load,
	 * C1, its look after that, C2, sees S1. */
#ifdef FAMEZ_WEAKEN_S3
	if (!(famez_load_relaxed(word) & bit))
		(void)__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
#else
	if (!(famez_load_ordered(word) & bit))
		(void)__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
#endif
		/* S4. We never clear it: if we died before S5, nobody would ring. */
#ifdef FAMEZ_WEAKEN_S4
	asleep = famez_load_relaxed(famez_asleep_at(base, g, receiver, sender));
#else
	asleep = famez_load_ordered(famez_asleep_at(base, g, receiver, sender));
#endif
	if (!asleep || asleep == *rung)
		return false;
	*rung = asleep;
	return true;
}

/* ---- the receiver's end ------------------------------------------------------------------ */

struct famez_rx {
	unsigned char *data;
	struct famez_lane *lane;
	uint64_t bytes;     /* of the lane */
	uint64_t at;        /* where the next record is */
	uint64_t published; /* what we have given back */
	uint64_t looked;    /* where we last looked whether the sender waits */
	uint64_t size;      /* of the record that was peeked at; 0: none */
	uint32_t most;      /* bytes of the largest payload */
	uint32_t to;        /* our generation */
	uint32_t sender;
	uint64_t stale, garbled;
	/* NULL, or where 1 is stored before `waiting` is cleared: whoever goes on for us after our
	 * death owes the sender a ring. Ours to clear, once it has been rung. */
	uint32_t *owed;
	/* for inbox.h */
	uint32_t empty; /* looks in a row that found nothing */
	bool in_hand;
	struct famez_rx *next;
};

/** What a message is, beside its payload. */
struct famez_seen {
	const void *payload; /* in the lane: may change under our eyes */
	uint32_t bytes;
	uint32_t from; /* the sender's generation */
	uint16_t kind;
	uint16_t origin;
};

/** famez_rx_open() - @to: our own generation. IDs must be below g->ids. */
static inline void famez_rx_open(struct famez_rx *rx, void *base, const struct famez_geometry *g,
	uint32_t receiver, uint32_t sender, uint32_t to)
{
	struct famez_rx made = FAMEZ_ZEROED;

	made.data = famez_lane_data_at(base, g, receiver, sender);
	made.lane = famez_lane_at(base, g, receiver, sender);
	made.bytes = g->lane_bytes;
	made.most = famez_payload_max(g);
	made.to = to;
	made.sender = sender;
	made.at = famez_load_acquire(&made.lane->consumed) & ~(uint64_t)(FAMEZ_RECORD_ALIGN - 1);
	made.published = made.looked = made.at;
	made.stale = famez_load_relaxed(&made.lane->stale);
	made.garbled = famez_load_relaxed(&made.lane->garbled);
	*rx = made;
}

/**
 * famez_rx_resume() - go on at @at, up to where we have read messages, as we know ourselves; 0 in a
 * lane that nobody read yet. Else as famez_rx_open(). If more was given back, no message was in
 * what lay between, and the sender may have written there again: so it goes on there. What was
 * given back is said again with the next careful look, famez_rx_idle(), which the sender may be
 * waiting for: have the lane in hand.
 */
static inline void famez_rx_resume(struct famez_rx *rx, void *base, const struct famez_geometry *g,
	uint32_t receiver, uint32_t sender, uint32_t to, uint64_t at)
{
	famez_rx_open(rx, base, g, receiver, sender, to);
	if (rx->at - at > rx->bytes)
		rx->at = rx->published = rx->looked = at;
}

/**
 * famez_rx_publish() - give back all that was released. True: the sender waits and is to be
 * rung. Once it has been looked at, `waiting` is 0.
 */
static inline bool famez_rx_publish(struct famez_rx *rx)
{
	struct famez_lane *lane = rx->lane;

	/* V1 and V3 pair with W1 and W2 in famez_tx_wait(). */
#ifdef FAMEZ_WEAKEN_V1
	famez_store_release(&lane->consumed, rx->at);
#else
	famez_store_ordered(&lane->consumed, rx->at);
#endif
	rx->published = rx->looked = rx->at;
#ifdef FAMEZ_WEAKEN_V3
	if (!famez_load_relaxed(&lane->waiting))
#else
	if (!famez_load_ordered(&lane->waiting))
#endif
		return false;
	/* In this order: the exchange is ordered, and comes after it. */
	if (rx->owed)
		famez_store_relaxed(rx->owed, 1u);
	return __atomic_exchange_n(&lane->waiting, 0u, __ATOMIC_SEQ_CST) != 0;
}

/* Go to where the sender says that it is: what lies between is lost. Where it will write next
 * must be a zero: or we would read what somebody left there, and come back here, for ever. The
 * price is a batch that it publishes there at this very moment; we shall see that it is missing,
 * and come again. */
FAMEZ_COLD void famez_rx_resync(struct famez_rx *rx, uint64_t produced)
{
	uint64_t *head, word;

	rx->garbled++;
	rx->size = 0;
	rx->at = produced & ~(uint64_t)(FAMEZ_RECORD_ALIGN - 1);
	rx->published = rx->at;
	head = famez_head_at(rx->data, rx->bytes, rx->at);
	word = famez_load_acquire(head);
	if (word)
		(void)__atomic_compare_exchange_n(
			head, &word, UINT64_C(0), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	famez_store_relaxed(&rx->lane->garbled, rx->garbled);
	famez_store_ordered(&rx->lane->consumed, rx->at);
}

/* Are we further from the sender than the lane is long, before it or behind? Then somebody left
 * a round of records in the lane that has no end; we go to where the sender is. */
FAMEZ_COLD bool famez_rx_astray(struct famez_rx *rx)
{
	uint64_t produced = famez_load_acquire(&rx->lane->produced);

	if (rx->at - produced + rx->bytes <= 2 * rx->bytes)
		return false;
	famez_rx_resync(rx, produced);
	return true;
}

/* Past what is no message for us. Here too the rule of the quarter holds, or pads and strangers'
 * records could keep from a sender the room that it waits for. */
static inline void famez_rx_skip(struct famez_rx *rx, uint64_t size)
{
	rx->at += size;
	if (rx->at - rx->published < rx->bytes / 4 || famez_rx_astray(rx))
		return;
	famez_store_release(&rx->lane->consumed, rx->at);
	rx->published = rx->at;
}

/* Is this the head word of a message for us, that lies in the ring in one piece? @left: bytes to
 * the ring's end; a multiple of what records are aligned to, so their size need not be rounded up.
 */
static inline bool famez_rx_is_ours(
	uint64_t word, uint64_t left, uint32_t most, uint32_t generation)
{
	uint32_t length = (uint32_t)word; /* of a pad: too large */

	return length - (uint32_t)sizeof(struct famez_record) <= most && length <= left &&
	       (uint32_t)(word >> 32) == generation;
}

static inline void famez_rx_see(struct famez_seen *m, const uint64_t *head, uint64_t word)
{
	uint64_t more = famez_load_relaxed(head + 1);

	m->payload = head + 2;
	m->bytes = (uint32_t)word - (uint32_t)sizeof(struct famez_record);
	m->from = (uint32_t)more;
	m->kind = (uint16_t)(more >> 32);
	m->origin = (uint16_t)(more >> 48);
}

/* famez_rx_peek() where a record is there, and it may be no message for us. */
FAMEZ_COLD int famez_rx_peek_on(struct famez_rx *rx, struct famez_seen *m)
{
	for (unsigned skips = 0; skips < FAMEZ_SKIPS_MAX; skips++) {
		uint64_t *head = famez_head_at(rx->data, rx->bytes, rx->at);
		uint64_t word = famez_load_acquire(head), size;

		if (!word)
			return 0;
		size = famez_head_size(word, rx->bytes, rx->at);
		if (!size) {
			famez_rx_resync(rx, famez_load_acquire(&rx->lane->produced));
			return -EBADMSG;
		}
		if (!(word & FAMEZ_RECORD_PAD)) {
			if ((uint32_t)(word >> 32) == rx->to) {
				rx->size = size;
				famez_rx_see(m, head, word);
				return 1;
			}
			rx->stale++;
			famez_store_relaxed(&rx->lane->stale, rx->stale);
		}
		famez_rx_skip(rx, size);
	}
	return 0;
}

/**
 * famez_rx_peek() - the next message, without taking it.
 * Returns 1 with *m; 0: none now; -EBADMSG: the lane was garbled, was counted and set right.
 */
static inline int famez_rx_peek(struct famez_rx *rx, struct famez_seen *m)
{
	const uint64_t in_ring = rx->at & (rx->bytes - 1), left = rx->bytes - in_ring;
	const uint64_t *head = (const uint64_t *)(const void *)(rx->data + in_ring);
	const uint32_t most = rx->most, to = rx->to;
	/* Acquire: pairs with S1. */
	const uint64_t word = famez_load_acquire(head);

	if (__builtin_expect(!famez_rx_is_ours(word, left, most, to), 0))
		return word ? famez_rx_peek_on(rx, m) : 0;
	rx->size = famez_round_up((uint32_t)word, FAMEZ_RECORD_ALIGN);
	famez_rx_see(m, head, word);
	return 1;
}

/** famez_rx_ready() - would famez_rx_peek() find a message here, and pass over nothing before? */
static inline bool famez_rx_ready(const struct famez_rx *rx)
{
	const uint64_t in_ring = rx->at & (rx->bytes - 1);

	return famez_rx_is_ours(
		famez_load_acquire((const uint64_t *)(const void *)(rx->data + in_ring)),
		rx->bytes - in_ring, rx->most, rx->to);
}

/** famez_rx_release_quick() - famez_rx_release() where that tells the sender nothing. False:
 * nothing was done. */
static inline bool famez_rx_release_quick(struct famez_rx *rx)
{
	const uint64_t at = rx->at + rx->size;

	if (__builtin_expect(at - rx->published >= rx->bytes / 4, 0))
		return false;
	rx->at = at;
	rx->size = 0;
	return true;
}

/** famez_rx_release() - done with what was peeked at. True: ring the sender, it waits. */
static inline bool famez_rx_release(struct famez_rx *rx)
{
	if (famez_rx_release_quick(rx))
		return false;
	rx->at += rx->size;
	rx->size = 0;
	if (famez_rx_astray(rx))
		return false;
	/* A sender that waits is woken when half is free, not for every quarter. */
	if (rx->at - rx->looked >= rx->bytes / 2)
		return famez_rx_publish(rx);
	/* Release: our reads of the records come before their reuse. */
	famez_store_release(&rx->lane->consumed, rx->at);
	rx->published = rx->at;
	return false;
}

/* Do the records from @produced on lead to where we are? Then the sender has published more
 * than it has said yet; else one of us is wrong. */
FAMEZ_LATE_LOOK static inline bool famez_rx_leads_here(const struct famez_rx *rx, uint64_t produced)
{
	uint64_t at = produced;

	if ((at & (FAMEZ_RECORD_ALIGN - 1)) || rx->at - at > rx->bytes)
		return false;
	for (unsigned steps = 0; (int64_t)(rx->at - at) > 0; steps++) {
		uint64_t word = famez_load_acquire(famez_head_at(rx->data, rx->bytes, at));
		uint64_t size = famez_head_size(word, rx->bytes, at);

		if (!size)
			return false;
		/* So far they do. Who follows them to the end each time can be kept busy by it,
		 * with a large lane; and the sender's next flush says where it is. */
		if (steps == FAMEZ_WALK_MAX)
			return true;
		at += size;
	}
	return at == rx->at;
}

#define FAMEZ_IDLE_MORE 1u /* there is something to read */
#define FAMEZ_IDLE_RING 2u /* ring the sender: it waits, and there is room */

/**
 * famez_rx_idle() - the careful look, R3 and C2: before the receiver sleeps, and after it has
 * cleared the lane's bit. Gives everything back, and finds a lane that somebody garbled.
 * Returns FAMEZ_IDLE_x. Nothing may be peeked at.
 */
static inline unsigned famez_rx_idle(struct famez_rx *rx)
{
	unsigned found = famez_rx_publish(rx) ? FAMEZ_IDLE_RING : 0;
	/* As famez_rx_resync() would take it, or a crooked position would never be where we are. */
	const uint64_t straight = ~(uint64_t)(FAMEZ_RECORD_ALIGN - 1);
	uint64_t produced = famez_load_acquire(&rx->lane->produced) & straight;
	/* Ordered after R1 and C1; and `produced` was read before: if that is ahead of us, S1
	 * of what we have not read is visible. */
	uint64_t word = famez_load_ordered(famez_head_at(rx->data, rx->bytes, rx->at));

	if (word) {
		(void)famez_rx_astray(rx);
		return found | FAMEZ_IDLE_MORE;
	}
	if (produced == rx->at)
		return found;
	if ((int64_t)(produced - rx->at) > 0 || !famez_rx_leads_here(rx, produced)) {
		/* If the sender has said more since, all is well: it was between S1 and saying so,
		 * and the walk may have met what it wrote there later, a round further. */
		if ((famez_load_ordered(&rx->lane->produced) & straight) == produced)
			famez_rx_resync(rx, produced);
		found |= FAMEZ_IDLE_MORE;
	}
	return found;
}

#endif
