/* SPDX-License-Identifier: MIT */
/*
 * view.h - what one client has been told so far, and what it is told next.
 *
 * A view is a cursor into the roster and nothing more: a slow client costs no
 * queue. It yields notices one at a time:
 *
 *   opening   version, ID, memory                       (3 notices)
 *   backlog   who was present when it came, vector by vector
 *   own       its own vectors
 *   live      what has changed since, for ever
 *
 * Two kinds of client differ. One that is told leaves (`leaves`) gets what the
 * specification says. One that is not (a QEMU device: a leave frees memory that
 * it goes on using) is told each ID once and never that it left; the ID's next
 * owner inherits the eventfds, so nothing has to be told again. `held` has a bit
 * for each ID that the client holds now.
 *
 * Only neighbours are told of: peers that share a zone with the client (roster.h). Who turns into
 * one later is told of when the roster is walked again, view_again(); nobody ever stops being one
 * while it is here.
 *
 * Once a peer's first vector has been told, all the others follow, even if the
 * peer left meanwhile: its eventfds belong to the ID and stay valid. The leave is
 * a later change and is told later. So nobody ever holds half a peer for good.
 *
 * A `guarded` client's process may hold few descriptors, and dies if there are
 * too many: for it a peer is begun only where `room` has been granted.
 *
 * Pure: no system calls, no memory of its own, no clock.
 */
#ifndef VIEW_H
#define VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "roster.h"

enum view_step {
	VIEW_VERSION,
	VIEW_ID,
	VIEW_MEMORY,
	VIEW_BACKLOG,
	VIEW_OWN,
	VIEW_LIVE,
};

/* A cursor: copy it to look ahead. */
struct view {
	uint64_t told;       /* changes up to this seq have been dealt with */
	uint64_t walked_end; /* changes up to this seq are no news where the client holds the ID:
			      * its backlog, or what is walked again */
	uint32_t telling;    /* ID whose vectors are being told, or ROSTER_NOBODY */
	uint32_t room;       /* guarded: descriptors that the client may still be sent */
	uint32_t taken_back; /* ID whose leave was told before its new join, or ROSTER_NOBODY */
	uint32_t held_back;  /* peers that were not announced for want of room */
	uint16_t vector;     /* of `telling`: the next to be told */
	uint8_t step;        /* enum view_step */
};

/* Whose view it is; does not change while the client is with us. */
struct view_client {
	uint32_t id;
	uint16_t vectors;    /* of every peer of this fabric, >= 1 */
	bool leaves;         /* is told leaves */
	bool guarded;        /* needs room for what it is told */
	unsigned long *held; /* bit per ID, VIEW_HELD_WORDS() words */
};

#define VIEW_WORD_BITS           (8 * sizeof(unsigned long))
#define VIEW_HELD_WORDS(ids_max) (((ids_max) + VIEW_WORD_BITS - 1) / VIEW_WORD_BITS)

enum notice_kind {
	NOTICE_VERSION, /* protocol version, no descriptor */
	NOTICE_ID,      /* the client's own ID, no descriptor */
	NOTICE_MEMORY,  /* -1 and the shared memory */
	NOTICE_VECTOR,  /* `id` and its eventfd for `vector`, perhaps the client's own */
	NOTICE_LEAVE,   /* `id`, no descriptor */
};

struct notice {
	enum notice_kind kind;
	uint32_t id;
	uint16_t vector;
};

enum view_says {
	VIEW_NOTICE,     /* a notice is due */
	VIEW_NOTHING,    /* the client knows everything */
	VIEW_WANTS_ROOM, /* view_grant() or view_hold_back() first */
};

/**
 * view_open() - the view of a client that has just come. Clears its held bits.
 * What @r holds now will be its backlog.
 */
void view_open(struct view *v, const struct view_client *c, const struct roster *r);

/**
 * view_next() - look ahead: advance @v, a copy of a client's view, past the next
 * notice and fill in @n. Held bits are read, never written; so copies can be
 * walked and thrown away, as long as @r does not change meanwhile.
 * Changes that need no notice are passed over in @v also where nothing is due.
 */
enum view_says view_next(
	struct view *v, const struct view_client *c, const struct roster *r, struct notice *n);

/**
 * view_commit() - the first @count notices that view_next() yielded from here
 * have been sent: advance the view itself, and the held bits. @r must be as it
 * was for view_next().
 */
void view_commit(
	struct view *v, const struct view_client *c, const struct roster *r, unsigned count);

/** view_effect() - what a notice that was sent changes: the bit of @id is set (1), cleared (-1)
 * or stays as it was (0). */
int view_effect(const struct notice *n, uint32_t *id);

/**
 * view_grant() - @descriptors more may be sent to a guarded client. Its own vectors must
 * be granted before the first view_next(): they come last, and without being asked for.
 */
void view_grant(struct view *v, uint32_t descriptors);

/**
 * view_room_wanted() - how much room the view must have before it goes on to the
 * next peer: that peer's vectors, and before the opening is over its own besides.
 */
uint32_t view_room_wanted(const struct view *v, const struct view_client *c);

/**
 * view_hold_back() - after VIEW_WANTS_ROOM: leave that peer out for now, and count
 * it. Only view_rewind() brings it back, or its own next join.
 */
void view_hold_back(struct view *v, const struct view_client *c, const struct roster *r);

/**
 * view_rewind() - try again whom we held back: a client that is told no leaves
 * walks the whole roster once more. What it holds is not told again.
 * Returns false where there is nothing to try, or the opening still runs.
 */
bool view_rewind(struct view *v, const struct view_client *c);

/**
 * view_again() - walk the whole roster once more, at whatever step: somebody may have become a
 * neighbour since. What the client holds is neither told again nor taken back.
 */
void view_again(struct view *v);

/** view_opened() - has the whole opening, own vectors included, been committed? */
static inline bool view_opened(const struct view *v)
{
	return v->step == VIEW_LIVE;
}

/** view_holds() - has the client been told ID @id, and not that it left? */
static inline bool view_holds(const struct view_client *c, uint32_t id)
{
	return c->held[id / VIEW_WORD_BITS] >> (id % VIEW_WORD_BITS) & 1;
}

#endif
