/* SPDX-License-Identifier: MIT */
/*
 * schedule_judge.c - what a client makes of the messages it is sent, and the judgement.
 *
 * It knows how a QEMU device dies and what a specification's client expects; and the
 * membership, from the account that is kept in schedule_world.h. It never asks the broker's
 * state machines what they think, but to compare.
 */
#include "schedule_world.h"

#include <stdarg.h>
#include <stdio.h>

void wrong(struct fabric *f, const char *format, ...)
{
	va_list arguments;

	if (f->failed)
		return;
	f->failed = true;
	va_start(arguments, format);
	(void)vsnprintf(f->why, SCHEDULE_WHY_BYTES, format, arguments);
	va_end(arguments);
}

/* ---- what a client makes of a message ------------------------------------------------- */

const struct account *judge_replica(struct fabric *f, const struct picture *p)
{
	return &f->worker[f->worker_of[p->id]].replica;
}

/* Descriptors are used up one by one; whatever exceeds the grant finds none left. */
static void picture_pays(struct picture *p)
{
	if (p->room)
		p->room--;
}

static void check_position(struct fabric *f, struct picture *p, uint32_t id)
{
	const struct account *a = judge_replica(f, p);

	if (a->position[id] < p->heard)
		wrong(f, "peer %u was told of %u after a later change", p->id, id);
	p->heard = a->position[id];
	if (p->phase == IN_BACKLOG && a->position[id] > p->opened_at)
		wrong(f, "peer %u was told in its backlog of %u, which came later", p->id, id);
}

static void check_room_for(struct fabric *f, const struct picture *p, uint32_t id)
{
	uint32_t wanted = p->phase == IN_BACKLOG ? 2u * p->vectors : p->vectors;

	if (p->guarded && p->room < wanted)
		wrong(f, "peer %u has room for %u and was sent %u's %u vectors", p->id, p->room, id,
			p->vectors);
}

static void first_vector(struct fabric *f, struct picture *p, uint32_t id)
{
	const struct account *a = judge_replica(f, p);

	if (!a->present[id])
		wrong(f, "peer %u was told of %u, which is not there", p->id, id);
	if (f->openings[id] < a->owner[id])
		wrong(f, "peer %u was told of %u, whose opening is not over", p->id, id);
	check_position(f, p, id);
	check_room_for(f, p, id);
	p->owner[id] = a->owner[id];
	p->held_back[id] = 0;
}

/* At its first own vector: has everybody been announced who was there and still is? */
static void check_backlog(struct fabric *f, const struct picture *p)
{
	const struct account *a = judge_replica(f, p);

	for (uint32_t id = 0; id < f->ids_max; id++)
		if (id != p->id && a->present[id] && a->position[id] <= p->opened_at &&
			!p->held_back[id] && p->known[id] != p->vectors)
			wrong(f, "peer %u got its own vectors before those of %u", p->id, id);
}

static void receive_vector(struct fabric *f, struct picture *p, const struct message *m)
{
	uint32_t id = (uint32_t)m->value;

	if (p->unfinished != IDS_MAX && p->unfinished != id) {
		wrong(f, "peer %u was told of %u amid the vectors of %u", p->id, id, p->unfinished);
		return;
	}
	if (p->known[id] == p->vectors) {
		wrong(f, "peer %u was told twice of %u", p->id, id);
		return;
	}
	if (m->descriptor.kind != EVENTFD || m->descriptor.id != id ||
		m->descriptor.vector != p->known[id]) {
		wrong(f, "peer %u expected vector %u of %u, got %u of %u", p->id, p->known[id], id,
			m->descriptor.vector, m->descriptor.id);
		return;
	}
	if (id == p->id && p->known[id] == 0) {
		if (p->phase != IN_BACKLOG)
			wrong(f, "peer %u was told its own vectors out of turn", id);
		check_backlog(f, p);
		p->phase = IN_OWN;
	} else if (id != p->id && p->known[id] == 0) {
		if (p->phase == IN_OWN)
			wrong(f, "peer %u was told of %u amid its own vectors", p->id, id);
		first_vector(f, p, id);
	}
	picture_pays(p);
	p->unfinished = ++p->known[id] < p->vectors ? id : IDS_MAX;
	if (id == p->id && p->known[id] == p->vectors)
		p->phase = LIVE;
}

static void receive_leave(struct fabric *f, struct picture *p, uint32_t id)
{
	const struct account *a = judge_replica(f, p);

	if (p->device)
		wrong(f, "device %u was told that %u left", p->id, id);
	if (p->phase != LIVE)
		wrong(f, "peer %u was told in its opening that %u left", p->id, id);
	if (p->unfinished != IDS_MAX)
		wrong(f, "peer %u was told that %u left amid vectors", p->id, id);
	if (p->known[id] == 0)
		wrong(f, "peer %u was told that %u left, which it does not know", p->id, id);
	if (a->present[id] && a->owner[id] == p->owner[id])
		wrong(f, "peer %u was told that %u left, which is there", p->id, id);
	check_position(f, p, id);
	p->known[id] = 0;
}

void judge_receive(struct fabric *f, struct picture *p, const struct message *m)
{
	const struct descriptor *d = &m->descriptor;

	f->sums->notices++;
	switch (p->phase) {
	case AWAITS_VERSION:
		if (m->value != 0 || d->kind != NO_DESCRIPTOR)
			wrong(f, "peer %u's first message is no version", p->id);
		p->phase = AWAITS_ID;
		return;
	case AWAITS_ID:
		if (m->value != p->id || d->kind != NO_DESCRIPTOR)
			wrong(f, "peer %u's second message is not its ID", p->id);
		p->phase = AWAITS_MEMORY;
		return;
	case AWAITS_MEMORY:
		if (m->value != -1 || d->kind != MEMORY)
			wrong(f, "peer %u's third message is not the memory", p->id);
		p->phase = IN_BACKLOG;
		return;
	default:
		break;
	}
	if (m->value < 0 || m->value >= f->ids_max)
		wrong(f, "peer %u was told of the odd ID %lld", p->id, (long long)m->value);
	else if (d->kind == NO_DESCRIPTOR)
		receive_leave(f, p, (uint32_t)m->value);
	else
		receive_vector(f, p, m);
}

uint32_t judge_next(struct fabric *f, const struct picture *p)
{
	const struct account *a = judge_replica(f, p);
	uint32_t best = IDS_MAX;

	for (uint32_t id = 0; id < f->ids_max; id++) {
		bool knows = p->known[id] && (p->device || p->owner[id] == a->owner[id]);

		/* A leave and what follows it have one position; hence "not before". */
		if (id == p->id || !a->present[id] || knows || a->position[id] < p->heard ||
			p->held_back[id] == a->position[id])
			continue;
		if (best == IDS_MAX || a->position[id] < a->position[best])
			best = id;
	}
	return best;
}

/* ---- the judgement ------------------------------------------------------------------- */

static void judge_peer(struct fabric *f, const struct client *c, uint32_t id)
{
	const struct picture *p = &c->picture;
	const bool there = f->truth.present[id];
	const bool held_back = p->held_back[id] && p->held_back[id] == f->truth.position[id];

	if (p->known[id] != 0 && p->known[id] != p->vectors)
		wrong(f, "peer %u has half of %u", p->id, id);
	if (id == p->id)
		return;
	if (view_holds(&c->who, id) != (p->known[id] != 0))
		wrong(f, "peer %u's held bit of %u is wrong", p->id, id);
	if (there && !held_back && !p->known[id])
		wrong(f, "peer %u lacks %u", p->id, id);
	if (there && held_back && p->known[id])
		wrong(f, "peer %u still knows the last owner of %u, whom it has no room for", p->id,
			id);
	if (!p->device && !there && p->known[id])
		wrong(f, "peer %u still knows %u, which has left", p->id, id);
	if (!p->device && there && p->known[id] && p->owner[id] != f->truth.owner[id])
		wrong(f, "peer %u takes %u for the ID's last owner", p->id, id);
}

void judge_all(struct fabric *f)
{
	const struct membership *m = &f->membership;
	uint32_t present = 0;

	for (uint32_t id = f->first_id; id < f->first_id + f->peers_max; id++) {
		const struct client *c = &f->client[id];

		present += f->state[id] == PRESENT;
		if (c->used != (f->state[id] == PRESENT))
			wrong(f, "nothing moves, and peer %u is stuck", id);
		if (!c->used)
			continue;
		if (c->picture.phase != LIVE)
			wrong(f, "nothing moves, and peer %u's opening is not over", id);
		for (uint32_t other = 0; other < f->ids_max; other++)
			judge_peer(f, c, other);
	}
	if (m->present != present || m->opening != 0 || m->joins != f->joins ||
		m->leaves != f->leaves || m->refused != f->refused)
		wrong(f, "the counters are wrong");
}
