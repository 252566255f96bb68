/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/**
 * inbox.h - a receiver's lanes together: who has something for me, and may I sleep.
 *
 * An inbox reader keeps the lanes in hand that lately had messages, and looks at those
 * directly; while a lane is in hand its bit in the file stays set, so that its sender need
 * not touch it. A lane that was found empty FAMEZ_EMPTY_MAX times is let go of: its bit is
 * cleared, then it is looked at once more (C1, C2 in lane.h).
 *
 *      reader                      what happens
 *      famez_inbox_collect()       lanes whose bits are set come into hand
 *      famez_inbox_next()          the next message of some lane in hand, in turn
 *      famez_inbox_release()       done with it
 *      famez_inbox_sleep()         asleep; true: stay awake, there is something
 *      famez_inbox_awake()         up again
 *
 * The owner opens lanes and rings senders; both go through functions of its own, which this
 * header is given. One thread at a time; nothing here blocks or allocates.
 */
#ifndef FAMEZ_INBOX_H
#define FAMEZ_INBOX_H

#include "famez/lane.h"

/** Looks that find nothing until a lane is let go of. */
#define FAMEZ_EMPTY_MAX 64u
/** Bytes of records of one lane in a row, while others wait; and the message that goes beyond. */
#define FAMEZ_TURN_BYTES 32768u

struct famez_inbox_reader {
	void *base;
	const struct famez_geometry *g;
	uint32_t id;    /* whose inbox */
	uint32_t shard; /* we serve senders whose ID modulo `shards` is this; 0 of 1: all */
	uint32_t shards;
	uint32_t sleep; /* number of the last sleep. Begins with what stands in the file, lest a
			 * sender think that it has rung for this one already; who goes on for one
			 * who died begins with that one's last, written down before each sleep,
			 * since awake the file has 0 */
	bool asleep;
	struct famez_rx *last; /* in hand, a ring; last->next is whose turn it is. NULL: none */
	uint32_t in_hand;
	uint64_t turn; /* bytes read of this lane in its turn */
	/** The lane from @sender, opened if need be; NULL: not now. */
	struct famez_rx *(*open)(struct famez_inbox_reader *r, uint32_t sender);
	/** Ring @sender: there is room in its lane to us. */
	void (*ring)(struct famez_inbox_reader *r, uint32_t sender);
};

static inline uint64_t *famez_inbox_words(const struct famez_inbox_reader *r)
{
	return famez_bitmap_at(r->base, r->g, r->id, 0);
}

/** famez_inbox_take() - have this lane in hand. */
static inline void famez_inbox_take(struct famez_inbox_reader *r, struct famez_rx *rx)
{
	rx->empty = 0;
	if (rx->in_hand)
		return;
	rx->in_hand = true;
	if (r->last) {
		rx->next = r->last->next;
		r->last->next = rx;
	} else {
		rx->next = rx;
	}
	r->last = rx;
	r->in_hand++;
}

/* The lane after r->last goes out of hand. */
static inline void famez_inbox_unlink_next(struct famez_inbox_reader *r)
{
	struct famez_rx *rx = r->last->next;

	r->last->next = rx->next;
	if (r->last == rx)
		r->last = NULL;
	rx->next = NULL;
	rx->in_hand = false;
	r->in_hand--;
	r->turn = 0;
}

/** famez_inbox_drop() - a lane is not to be read any more (its memory goes). Rare. */
static inline void famez_inbox_drop(struct famez_inbox_reader *r, struct famez_rx *rx)
{
	if (!rx->in_hand)
		return;
	while (r->last->next != rx)
		r->last = r->last->next;
	famez_inbox_unlink_next(r);
}

/** famez_inbox_collect() - lanes whose bits are set come into hand. Returns how many came. */
FAMEZ_COLD unsigned famez_inbox_collect(struct famez_inbox_reader *r)
{
	uint64_t *words = famez_inbox_words(r);
	unsigned came = 0;

	for (uint32_t first = 0; first < r->g->ids; first += 64) {
		uint64_t bits = famez_load_ordered(&words[first / 64]);

		while (bits) {
			uint32_t sender = first + (uint32_t)__builtin_ctzll(bits);
			struct famez_rx *rx;

			bits &= bits - 1;
			if (sender >= r->g->ids || sender % r->shards != r->shard)
				continue;
			rx = r->open(r, sender);
			if (!rx || rx->in_hand)
				continue;
			famez_inbox_take(r, rx);
			came++;
		}
	}
	return came;
}

/* The careful look at the lane after r->last. True: it has something. */
static inline bool famez_inbox_look(struct famez_inbox_reader *r)
{
	struct famez_rx *rx = r->last->next;
	unsigned found = famez_rx_idle(rx);

	if (found & FAMEZ_IDLE_RING)
		r->ring(r, rx->sender);
	if (found & FAMEZ_IDLE_MORE)
		rx->empty = 0;
	return found & FAMEZ_IDLE_MORE;
}

/* The lane after r->last was empty long enough. True: it is not, after all. */
FAMEZ_COLD bool famez_inbox_let_go(struct famez_inbox_reader *r)
{
	struct famez_rx *rx = r->last->next;
	uint64_t bit = UINT64_C(1) << (rx->sender % 64);

	/* C1. Ordered before C2, the look, which famez_rx_idle() takes. */
#ifdef FAMEZ_WEAKEN_C1
	/* The look first, the bit after it. */
	if (famez_inbox_look(r))
		return true;
	(void)__atomic_fetch_and(&famez_inbox_words(r)[rx->sender / 64], ~bit, __ATOMIC_SEQ_CST);
#else
	(void)__atomic_fetch_and(&famez_inbox_words(r)[rx->sender / 64], ~bit, __ATOMIC_SEQ_CST);
	if (famez_inbox_look(r))
		return true;
#endif
	famez_inbox_unlink_next(r);
	return false;
}

/**
 * famez_inbox_next() - the next message of some lane in hand, taking turns. Finds it if there is
 * one in hand. Call famez_inbox_collect() when it finds nothing, and now and then otherwise.
 * Returns 1 with *m and *lane, until famez_inbox_release(); 0: nothing; -EBADMSG: *lane was
 * garbled and has been set right.
 */
static inline int famez_inbox_next(
	struct famez_inbox_reader *r, struct famez_seen *m, struct famez_rx **lane)
{
	/* One look more than lanes: the first may only find that a lane's turn is over. */
	for (uint32_t looks = r->in_hand + 1; looks && r->last; looks--) {
		struct famez_rx *rx = r->last->next;
		int got;

		if (r->turn < FAMEZ_TURN_BYTES) {
			got = famez_rx_peek(rx, m);
			if (__builtin_expect(got, 1)) {
				rx->empty = 0;
				/* One that was garbled has had its turn. */
				r->turn += got > 0 ? rx->size : FAMEZ_TURN_BYTES;
				*lane = rx;
				return got;
			}
			if (++rx->empty >= FAMEZ_EMPTY_MAX && !famez_inbox_let_go(r))
				continue;
		}
		r->turn = 0;
		r->last = r->last->next;
	}
	return 0;
}

/** famez_inbox_release() - done with what famez_inbox_next() gave. */
static inline void famez_inbox_release(struct famez_inbox_reader *r, struct famez_rx *rx)
{
	if (famez_rx_release(rx))
		r->ring(r, rx->sender);
}

/**
 * famez_inbox_awake() - up again: senders need not ring. Then empty the doorbell, then look.
 */
static inline void famez_inbox_awake(struct famez_inbox_reader *r)
{
	if (!r->asleep)
		return;
	r->asleep = false;
	/* R5 */
	famez_store_relaxed(&famez_inbox_at(r->base, r->g, r->id)->asleep[r->shard], 0u);
}

/** famez_inbox_next_sleep() - the number of the next sleep. Never 0. */
static inline uint32_t famez_inbox_next_sleep(const struct famez_inbox_reader *r)
{
	return r->sleep + 1 ? r->sleep + 1 : 1;
}

/**
 * famez_inbox_sleep() - say that we sleep, then look everywhere once more.
 * True: there is something, and we are awake. False: wait for the doorbell, FAMEZ_TICK_NS at
 * most, since somebody may scribble on what says that we sleep.
 */
static inline bool famez_inbox_sleep(struct famez_inbox_reader *r)
{
	bool more = false;

	r->sleep = famez_inbox_next_sleep(r);
	r->asleep = true;
	/* R1. Ordered before R3, the looks. Pairs with S4. */
#ifdef FAMEZ_WEAKEN_R1
	famez_store_relaxed(&famez_inbox_at(r->base, r->g, r->id)->asleep[r->shard], r->sleep);
#else
	famez_store_ordered(&famez_inbox_at(r->base, r->g, r->id)->asleep[r->shard], r->sleep);
#endif
	for (uint32_t looks = r->in_hand; looks && r->last; looks--) {
		struct famez_rx *rx = r->last->next;

		if (famez_inbox_look(r)) {
			more = true;
		} else if (++rx->empty >= FAMEZ_EMPTY_MAX) {
			if (!famez_inbox_let_go(r))
				continue;
			more = true;
		}
		r->last = r->last->next;
	}
	if (famez_inbox_collect(r))
		more = true;
	if (more)
		famez_inbox_awake(r);
	return more;
}

#endif
