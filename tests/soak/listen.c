// SPDX-License-Identifier: MIT
/*
 * listen.c - what a soak peer hears, and whether it is what was said.
 *
 * Every message is judged as it comes: it is from whom it seems to be, for us, unaltered, the
 * one that follows the one before. What only both ends together can tell is in ledger.c.
 */
#include "actor.h"

#include <inttypes.h>
#include <string.h>

#define LATE_NS UINT64_C(900000000)

static void complain(struct actor *a, const struct famez_message *m, const char *what)
{
	const struct in *in = &a->ins[m->from];

	ledger_fail(a->ledger,
		"seat %u (life %u, ID %u, generation %u): a message of %zu bytes, type %u, origin "
		"%u"
		", from ID %u %s; the last of that ID was %" PRIu64 " of life %u, generation %u",
		a->number, a->life, a->id, a->generation, m->bytes, m->type, m->origin, m->from,
		what, in->number, in->life, in->generation);
}

/* Nothing but a whole message inside of its lane may ever be shown to us, whoever scribbles. */
static bool is_inside(struct actor *a, const struct famez_message *m)
{
	const unsigned char *at = m->payload, *lane;

	if (m->bytes > a->most || m->from >= a->g.ids || m->type > FAMEZ_MESSAGE_GROUP)
		return false;
	if (m->slot)
		return m->bytes < FAMEZ_SLOT_TEXT_BYTES;
	lane = famez_lane_data_at(a->memory, &a->g, a->id, m->from);
	return at >= lane && at + m->bytes <= lane + a->g.lane_bytes && (uintptr_t)at % 8 == 0;
}

static void meet(struct actor *a, uint32_t life)
{
	atomic_store(&a->seat->met[a->ledger->lives[life].seat], true);
}

/* Passed on by the server, which may leave some out and must not swap any. */
static void judge_group(
	struct actor *a, const struct famez_message *m, const struct payload_head *head)
{
	struct in *in = &a->ins[m->origin % IDS_MAX];

	if (m->from != a->server || head->type != m->type || head->group != m->group ||
		head->group > MEET_GROUP || head->origin != m->origin ||
		atomic_load(&a->ledger->lives[head->from].id) != m->origin) {
		complain(a, m, "is not what was said to a group");
		return;
	}
	if (m->origin == a->id && head->from == a->life) {
		complain(a, m, "came back to who said it to a group");
		return;
	}
	if (head->generation < in->groups[head->group].generation ||
		(head->generation == in->groups[head->group].generation &&
			head->number <= in->groups[head->group].number)) {
		complain(a, m, "to a group came again, or too late");
		return;
	}
	in->groups[head->group].generation = head->generation;
	in->groups[head->group].number = head->number;
	count(&a->self->count.groups_received);
	if (head->flags & PAYLOAD_MEET)
		atomic_store(&a->seat->group_met, true);
}

/* Was it long underway, though we slept and it was rung for? Who dies may die before it rings. */
static void judge_lateness(struct actor *a, const struct payload_head *head)
{
	if ((head->flags & PAYLOAD_FRESH) && head->sent_ns > a->slept_ns &&
		!atomic_load(&a->ledger->lives[head->from].killed) && a->woke_ns > head->sent_ns &&
		a->woke_ns - head->sent_ns > LATE_NS)
		count(&a->self->count.late);
}

static void judge_whole(
	struct actor *a, const struct famez_message *m, const struct payload_head *head)
{
	struct in *in = &a->ins[m->from];
	struct cell *c = &a->ledger->cells[head->from][a->life];
	struct life *said = &a->ledger->lives[head->from];

	if (atomic_load(&said->id) != m->from ||
		atomic_load(&said->generation) != head->generation || head->to_id != a->id ||
		head->type != m->type || head->origin != m->origin) {
		complain(a, m, "is not what its head says");
		return;
	}
	if (head->to != a->life) /* what for its sender was the owner before us */
		count(&a->self->count.strays);
	if (in->life != head->from) {
		if (in->life && head->generation <= in->generation) {
			complain(a, m, "is of an owner before the last");
			return;
		}
		in->life = head->from;
		in->generation = head->generation;
		note(&c->got_first, head->number);
	} else if (head->number != in->number + 1) {
		complain(a, m,
			head->number <= in->number ? "came again"
						   : "has others left out before it");
		return;
	}
	in->number = head->number;
	note(&c->got_last, head->number);
	judge_lateness(a, head);
	if (head->flags & PAYLOAD_MEET)
		meet(a, head->from);
}

static void judge_small(
	struct actor *a, const struct famez_message *m, const unsigned char *payload)
{
	struct in *in = &a->ins[m->from];

	if (in->life && payload_is_small(payload, m->bytes, in->life, a->id, in->number + 1) &&
		m->type == FAMEZ_MESSAGE_DATA && m->origin == m->from) {
		in->number++;
		note(&a->ledger->cells[in->life][a->life].got_last, in->number);
		return;
	}
	/* Its sender meant the owner of our ID before us. That is rare: see main.c. */
	count(&a->self->count.orphans);
	if (in->life && ledger_owner(a->ledger, m->from, in->generation) == in->life &&
		atomic_load(&a->ledger->lives[in->life].state) == LIFE_IN)
		complain(a, m, "is short, and not the one that follows");
}

static void judge_blindly(
	struct actor *a, const struct famez_message *m, const unsigned char *payload)
{
	struct payload_head head;

	if (payload_read(payload, m->bytes, &head) && (head.flags & PAYLOAD_MEET) &&
		head.to == a->life && head.from < LIVES_MAX &&
		atomic_load(&a->ledger->lives[head.from].id) == m->from)
		meet(a, head.from);
	else if (!payload_read(payload, m->bytes, &head))
		count(&a->self->count.garbage);
}

static bool is_pong(const struct famez_message *m, const unsigned char *payload)
{
	return m->type == FAMEZ_MESSAGE_LINK && m->bytes >= 4 && memcmp(payload, "pong", 4) == 0;
}

/* Does anybody scribble on what comes from this ID? */
static bool is_garbled(struct actor *a, uint32_t from)
{
	if (a->plan->scribble == SCRIBBLE_ALL || a->plan->scribble == SCRIBBLE_LANES)
		return true;
	for (uint32_t seat = 0; seat < a->plan->seats; seat++) {
		uint32_t life = atomic_load(&a->ledger->seats[seat].life);

		if (ledger_garbled(a->ledger, a->number, seat) &&
			atomic_load(&a->ledger->lives[life].id) == from)
			return true;
	}
	return false;
}

void actor_judge(struct actor *a, const struct famez_message *m, const unsigned char *payload)
{
	struct payload_head head;

	if (m->from == a->server && m->type != FAMEZ_MESSAGE_GROUP) {
		/* What else the server says on the link level is for others to judge. */
		if (is_pong(m, payload)) {
			count(&a->self->count.pongs);
			atomic_store(&a->seat->ponged, true);
		}
		return;
	}
	count(&a->self->count.received);
	if (is_garbled(a, m->from)) {
		if (m->from == a->server && payload_read(payload, m->bytes, &head) &&
			(head.flags & PAYLOAD_MEET))
			atomic_store(&a->seat->group_met, true);
		judge_blindly(a, m, payload);
	} else if (m->slot || m->from == a->id) {
		complain(a, m, "came by a way that nobody took");
	} else if (m->bytes < PAYLOAD_HEAD_BYTES) {
		judge_small(a, m, payload);
	} else if (!payload_read(payload, m->bytes, &head) || head.from >= LIVES_MAX) {
		complain(a, m, "was altered");
	} else if (m->type == FAMEZ_MESSAGE_GROUP) {
		judge_group(a, m, &head);
	} else {
		judge_whole(a, m, &head);
	}
}

/* By looking at it in place. Returns 1 or 0. */
static int hear_in_place(struct actor *a)
{
	struct famez_message m;
	int got = famez_peek(a->f, &m);

	if (got < 0) {
		ledger_fail(a->ledger, "seat %u: famez_peek() gives error %d", a->number, -got);
		return 0;
	}
	if (!got)
		return 0;
	if (!is_inside(a, &m)) {
		complain(a, &m, "lies outside of its lane");
	} else {
		memcpy(a->buffer, m.payload, m.bytes); /* what is judged must not change */
		actor_judge(a, &m, a->buffer);
	}
	famez_release(a->f);
	return 1;
}

/* By having it copied; now and then into too little room. */
static int hear_copied(struct actor *a)
{
	struct famez_message m;
	size_t room = chance(a, 8) ? a->most : chance(a, 64);
	int got = famez_recv(a->f, &m, a->buffer, room, 0);

	if (got == -EMSGSIZE) {
		if (m.bytes <= room || m.bytes > a->most)
			ledger_fail(a->ledger, "seat %u: %zu bytes don't fit %zu", a->number,
				m.bytes, room);
		got = famez_recv(a->f, &m, a->buffer, a->most, 0);
		if (got == 0) /* it stays until it is taken */
			ledger_fail(a->ledger, "seat %u: a message went away", a->number);
	}
	if (got < 0)
		ledger_fail(a->ledger, "seat %u: famez_recv() gives error %d", a->number, -got);
	if (got <= 0)
		return 0;
	actor_judge(a, &m, a->buffer);
	return 1;
}

unsigned actor_hear(struct actor *a, unsigned most)
{
	bool copied = chance(a, 2);
	unsigned heard = 0;

	doing(a, DOING_HEAR, 0);
	while (heard < most && (copied ? hear_copied(a) : hear_in_place(a))) {
		heard++;
		if (a->role == ROLE_SLOW || a->role == ROLE_SINK) {
			struct timespec nap = {.tv_nsec = (long)chance(a, 300000)};

			if (chance(a, 4) == 0)
				(void)nanosleep(&nap, NULL);
		}
	}
	return heard;
}
