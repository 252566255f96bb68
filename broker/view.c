/* SPDX-License-Identifier: MIT */
/*
 * view.c - what one client has been told so far, and what it is told next.
 *
 * The plot is in view.h. One function, view_next(), decides; looking ahead and
 * committing are the same walk, without and with the held bits written. That is
 * sound because every ID stands in the roster once: no walk meets an ID again
 * whose bit it should have changed.
 *
 * Never touches sockets, eventfds or other clients.
 */
#include "view.h"

#include <assert.h>
#include <stddef.h>

static void set_held(const struct view_client *c, uint32_t id, bool held)
{
	unsigned long bit = 1UL << (id % VIEW_WORD_BITS);

	if (held)
		c->held[id / VIEW_WORD_BITS] |= bit;
	else
		c->held[id / VIEW_WORD_BITS] &= ~bit;
}

void view_open(struct view *v, const struct view_client *c, const struct roster *r)
{
	assert(c->id < r->ids_max);
	assert(c->vectors >= 1);
	/* The registrar may be looking at them (seating.c). */
	for (uint32_t n = 0; n < VIEW_HELD_WORDS(r->ids_max); n++)
		__atomic_store_n(&c->held[n], 0, __ATOMIC_RELAXED);
	*v = (struct view){
		.walked_end = r->end,
		.telling = ROSTER_NOBODY,
		.taken_back = ROSTER_NOBODY,
		.step = VIEW_VERSION,
	};
}

uint32_t view_room_wanted(const struct view *v, const struct view_client *c)
{
	/* Own vectors are told last and must still fit. */
	return v->step < VIEW_OWN ? 2u * c->vectors : c->vectors;
}

static enum view_says tell_vector(struct view *v, const struct view_client *c, struct notice *n)
{
	*n = (struct notice){.kind = NOTICE_VECTOR, .id = v->telling, .vector = v->vector};
	if (++v->vector == c->vectors) {
		if (v->step == VIEW_OWN)
			v->step = VIEW_LIVE;
		v->telling = ROSTER_NOBODY;
		v->vector = 0;
	}
	return VIEW_NOTICE;
}

static void begin(struct view *v, const struct view_client *c, uint32_t id)
{
	v->telling = id;
	v->vector = 0;
	if (v->taken_back == id)
		v->taken_back = ROSTER_NOBODY;
	if (c->guarded)
		v->room -= c->vectors;
}

/* Does the client hold this ID, as far as this walk has come? */
static bool holds(const struct view *v, const struct view_client *c, uint32_t id)
{
	return id != v->taken_back && view_holds(c, id);
}

static bool concerns(const struct view *v, const struct view_client *c, const struct roster *r,
	const struct roster_change *change, bool held)
{
	if (!held)
		return change->present && roster_neighbours(r, c->id, change->id);
	/* A present ID that the client holds has left and come back, unless its change is met
	 * for the second time: only those who are told leaves care. */
	return c->leaves && (!change->present || change->seq > v->walked_end);
}

/* The next change that concerns this client, which may mean that the backlog is
 * over; NULL if there is none. Passes over all others. */
static const struct roster_change *next_change(
	struct view *v, const struct view_client *c, const struct roster *r)
{
	const struct roster_change *change;

	while ((change = roster_after(r, v->told))) {
		bool held = holds(v, c, change->id);

		if (v->step == VIEW_BACKLOG && change->seq > v->walked_end)
			return NULL;
		if (change->id != c->id && concerns(v, c, r, change, held))
			return change;
		v->told = change->seq;
	}
	return NULL;
}

enum view_says view_next(
	struct view *v, const struct view_client *c, const struct roster *r, struct notice *n)
{
	const struct roster_change *change;

	switch ((enum view_step)v->step) {
	case VIEW_VERSION:
		*n = (struct notice){.kind = NOTICE_VERSION};
		v->step = VIEW_ID;
		return VIEW_NOTICE;
	case VIEW_ID:
		*n = (struct notice){.kind = NOTICE_ID, .id = c->id};
		v->step = VIEW_MEMORY;
		return VIEW_NOTICE;
	case VIEW_MEMORY:
		*n = (struct notice){.kind = NOTICE_MEMORY};
		v->step = VIEW_BACKLOG;
		return VIEW_NOTICE;
	case VIEW_BACKLOG:
	case VIEW_OWN:
	case VIEW_LIVE:
		break;
	}

	if (v->telling != ROSTER_NOBODY)
		return tell_vector(v, c, n);

	change = next_change(v, c, r);
	if (!change && v->step == VIEW_BACKLOG) {
		/* Room for these was granted with the opening. */
		assert(!c->guarded || v->room >= c->vectors);
		v->step = VIEW_OWN;
		begin(v, c, c->id);
		return tell_vector(v, c, n);
	}
	if (!change)
		return VIEW_NOTHING;
	if (holds(v, c, change->id)) {
		/* It left. If it came back, too, the same change is met again,
		 * and its vectors follow; if it leaves before, they don't. */
		if (change->present)
			v->taken_back = change->id;
		else
			v->told = change->seq;
		*n = (struct notice){.kind = NOTICE_LEAVE, .id = change->id};
		return VIEW_NOTICE;
	}
	if (c->guarded && v->room < view_room_wanted(v, c))
		return VIEW_WANTS_ROOM;
	v->told = change->seq;
	begin(v, c, change->id);
	return tell_vector(v, c, n);
}

void view_commit(
	struct view *v, const struct view_client *c, const struct roster *r, unsigned count)
{
	struct notice n = {0};

	while (count--) {
		enum view_says says = view_next(v, c, r, &n);
		uint32_t id;
		int effect = view_effect(&n, &id);

		assert(says == VIEW_NOTICE);
		if (effect)
			set_held(c, id, effect > 0);
	}
}

int view_effect(const struct notice *n, uint32_t *id)
{
	*id = n->id;
	if (n->kind == NOTICE_VECTOR && n->vector == 0)
		return 1;
	return n->kind == NOTICE_LEAVE ? -1 : 0;
}

void view_grant(struct view *v, uint32_t descriptors)
{
	v->room += descriptors;
}

void view_hold_back(struct view *v, const struct view_client *c, const struct roster *r)
{
	const struct roster_change *change = next_change(v, c, r);

	assert(v->telling == ROSTER_NOBODY && change && change->present);
	v->told = change->seq;
	v->held_back++;
}

bool view_rewind(struct view *v, const struct view_client *c)
{
	if (c->leaves || !view_opened(v) || v->held_back == 0)
		return false;
	v->held_back = 0;
	view_again(v);
	return true;
}

void view_again(struct view *v)
{
	if (v->told > v->walked_end)
		v->walked_end = v->told;
	v->told = 0;
}
