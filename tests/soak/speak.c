// SPDX-License-Identifier: MIT
/*
 * speak.c - what a soak peer says, and what it notes in the ledger before and after.
 *
 * Whom a message goes to is read from the directory before and after it is sent. Where that
 * differs, or where a batch was begun for somebody else, nobody can say: such a message is
 * possible for both, and sure for none.
 */
#include "actor.h"

#include <string.h>

#define GIVE_UP_MS 300

/* Weighted to small ones; now and then the largest there is. */
static size_t some_size(struct actor *a)
{
	uint32_t roll = chance(a, 100);
	size_t most;

	if (roll < 3)
		return a->most;
	if (roll < 60)
		most = 64;
	else if (roll < 85)
		most = 512;
	else
		most = roll < 95 ? a->most / 4 : a->most;
	if (most > a->most)
		most = a->most;
	return 1 + chance(a, (uint32_t)most);
}

static uint32_t generation_at(struct actor *a, uint32_t id)
{
	struct famez_who who;

	return famez_who(a->f, (uint16_t)id, &who) == 0 && who.lanes ? who.generation : 0;
}

static void surely(struct actor *a, uint32_t life, uint64_t first, uint64_t last)
{
	struct cell *c = &a->ledger->cells[a->life][life];

	if (!look(&c->sure_first))
		note(&c->sure_first, first);
	note(&c->sure_last, last);
}

static void possibly(struct actor *a, uint32_t life, uint64_t number)
{
	struct cell *c = &a->ledger->cells[a->life][life];

	if (!look(&c->possible_first))
		note(&c->possible_first, number);
	note(&c->possible_last, number);
}

/* Errors that the state of the other end explains. */
static bool is_common(struct actor *a, int err, uint32_t id)
{
	switch (err) {
	case -EAGAIN:
		count(&a->self->count.full);
		return true;
	case -ETIMEDOUT:
		count(&a->self->count.timeouts);
		return true;
	case -ENOTCONN:   /* it has gone, or our socket has not yet told of it */
	case -EOPNOTSUPP: /* it has not yet opened its mailbox */
		count(&a->self->count.unreached);
		return true;
	default:
		ledger_fail(a->ledger, "seat %u (ID %u): sending to ID %u gives error %d",
			a->number, a->id, id, -err);
		return false;
	}
}

static void flush(struct actor *a, uint32_t id)
{
	struct out *o = &a->outs[id];
	uint32_t generation;
	int err;

	doing(a, DOING_SEND, id);
	err = famez_flush(a->f, (uint16_t)id);
	generation = generation_at(a, id);
	if (err && err != -ENOTCONN)
		ledger_fail(a->ledger, "seat %u: famez_flush() gives error %d", a->number, -err);
	if (!o->batch)
		return;
	if (!err && !o->torn && ledger_owner(a->ledger, id, generation) == o->batch_life) {
		surely(a, o->batch_life, o->batch, o->number);
	} else {
		count(&a->self->count.ambiguous);
		o->life = 0;
	}
	o->batch = 0;
	o->torn = false;
}

/* The head of what we say; to whom, how much and what it is are for the caller to add. */
static struct payload_head head_of(const struct actor *a, uint64_t number)
{
	return (struct payload_head){
		.number = number,
		.sent_ns = now_ns(),
		.from = a->life,
		.generation = a->generation,
		.origin = (uint16_t)a->id,
	};
}

/* One of the ways to send. @head.bytes says how much; less than a head: small. */
static int hand_over(struct actor *a, const struct payload_head *head, bool small,
	const struct famez_to *to, unsigned flags, int timeout_ms)
{
	void *place;
	int err;

	if (chance(a, 3) == 0 && timeout_ms == 0) {
		size_t room = head->bytes + chance(a, 40);

		if (room > a->most)
			room = a->most;
		err = famez_claim(a->f, to->peer, room, &place);
		if (err)
			return err;
		if (small)
			payload_small(place, head->bytes, a->life, head->to_id, head->number);
		else
			payload_write(place, head);
		if (chance(a, 50) == 0) /* forgotten: as if it never was */
			return -EAGAIN;
		return famez_commit(a->f, to, head->bytes, flags);
	}
	if (small)
		payload_small(a->buffer, head->bytes, a->life, head->to_id, head->number);
	else
		payload_write(a->buffer, head);
	return famez_send(a->f, to, a->buffer, head->bytes, flags, timeout_ms);
}

/* Say one thing to the owner of an ID. */
static int say(
	struct actor *a, uint32_t id, size_t bytes, uint8_t marks, unsigned flags, int timeout_ms)
{
	struct out *o = &a->outs[id];
	uint32_t before = generation_at(a, id), after;
	uint32_t life = ledger_owner(a->ledger, id, before), other;
	uint64_t number = o->number + 1;
	struct famez_to to = {.peer = (uint16_t)id};
	struct payload_head head = head_of(a, number);
	bool small;
	int err;

	doing(a, DOING_SEND, id);
	if (!life) { /* nobody, or nobody of ours yet */
		count(&a->self->count.unreached);
		return -ENOTCONN;
	}
	if (o->batch && o->batch_life != life)
		o->torn = true;
	head.to = life;
	head.to_id = (uint16_t)id;
	if (chance(a, 20) == 0)
		to.type = FAMEZ_MESSAGE_LINK;
	if (chance(a, 20) == 0) {
		to.spoof = 1;
		to.origin = (uint16_t)(1 + chance(a, a->g.ids - 2));
		head.origin = to.origin;
	}
	small = bytes < PAYLOAD_HEAD_BYTES && !marks && !to.type && !to.spoof && o->life == life;
	if (!small && bytes < PAYLOAD_HEAD_BYTES)
		bytes = PAYLOAD_HEAD_BYTES;
	head.bytes = (uint32_t)bytes;
	head.type = to.type;
	head.flags = (uint8_t)(marks | (timeout_ms == 0 && !flags ? PAYLOAD_FRESH : 0));

	note(&a->ledger->tried[a->life][id], number);
	possibly(a, life, number);
	err = hand_over(a, &head, small, &to, flags, timeout_ms);
	after = generation_at(a, id);
	if (err) {
		(void)is_common(a, err, id);
		return err;
	}
	o->number = number;
	count(&a->self->count.sent);
	atomic_fetch_add_explicit(&a->self->count.bytes, bytes, memory_order_relaxed);
	other = ledger_owner(a->ledger, id, after);
	if (other != life || o->torn) {
		note(&a->ledger->stray[a->life][id], number);
		if (other)
			possibly(a, other, number);
		count(&a->self->count.ambiguous);
		o->life = 0;
	} else {
		o->life = life;
	}
	if (flags & FAMEZ_MORE) {
		if (!o->batch) {
			o->batch = number;
			o->batch_life = life;
		}
		return 0;
	}
	if (o->life)
		surely(a, life, o->batch ? o->batch : number, number);
	o->batch = 0;
	o->torn = false;
	return 0;
}

static uint32_t id_of_seat(struct actor *a, uint32_t seat)
{
	uint32_t life = atomic_load(&a->ledger->seats[seat].life);

	return life && atomic_load(&a->ledger->lives[life].state) == LIFE_IN
		       ? atomic_load(&a->ledger->lives[life].id)
		       : 0;
}

/* Where somebody scribbles, nothing is promised but that it returns. */
static void say_blindly(struct actor *a, uint32_t seat, size_t bytes, uint8_t marks)
{
	uint32_t id = id_of_seat(a, seat), life = atomic_load(&a->ledger->seats[seat].life);
	struct famez_to to = {.peer = (uint16_t)id};
	struct payload_head head = head_of(a, ++a->outs[id].number);
	unsigned flags = chance(a, 4) == 0 && !marks ? FAMEZ_MORE : 0;
	int err;

	if (!id)
		return;
	head.to = life;
	head.to_id = (uint16_t)id;
	head.flags = marks;
	head.bytes = (uint32_t)(bytes < PAYLOAD_HEAD_BYTES ? PAYLOAD_HEAD_BYTES : bytes);
	doing(a, DOING_SEND, id);
	err = hand_over(a, &head, false, &to, flags, chance(a, 4) ? 0 : (int)chance(a, 100));
	if (err)
		(void)is_common(a, err, id);
	else
		count(&a->self->count.sent);
}

static void say_batch(struct actor *a, uint32_t id)
{
	unsigned many = 1 + chance(a, 40);
	int err = 0;

	for (unsigned i = 0; i < many && !err; i++)
		err = say(a, id, some_size(a), 0, FAMEZ_MORE, 0);
	if (chance(a, 2))
		flush(a, id);
	else if (say(a, id, some_size(a), 0, 0, 0))
		flush(a, id);
	count(&a->self->count.batches);
}

static void say_something(struct actor *a, uint32_t seat)
{
	uint32_t id = id_of_seat(a, seat), roll = chance(a, 100);
	bool sink = a->ledger->lives[atomic_load(&a->ledger->seats[seat].life)].role == ROLE_SINK;

	if (!id || id == a->id)
		return;
	if (ledger_garbled(a->ledger, a->number, seat))
		say_blindly(a, seat, some_size(a), 0);
	else if (a->role == ROLE_SINK || a->role == ROLE_FLOOD || roll < 40)
		(void)say(a, id, some_size(a), 0, 0, 0);
	else if (roll < 65)
		say_batch(a, id);
	else if (sink) /* it is read for ever, or killed: both must end this */
		(void)say(a, id, some_size(a), 0, 0, -1);
	else
		(void)say(a, id, some_size(a), 0, 0, 1 + (int)chance(a, GIVE_UP_MS));
}

void actor_answer(struct actor *a, uint32_t id)
{
	uint32_t life = ledger_owner(a->ledger, id, generation_at(a, id));

	if (life)
		say_something(a, a->ledger->lives[life].seat);
}

static void say_to_group(struct actor *a, uint32_t group, size_t bytes, uint8_t marks)
{
	uint64_t *number = &a->outs[group].group_number;
	struct payload_head head = head_of(a, *number + 1);
	int err;

	head.bytes = (uint32_t)(bytes < PAYLOAD_HEAD_BYTES ? PAYLOAD_HEAD_BYTES : bytes);
	head.type = FAMEZ_MESSAGE_GROUP;
	head.flags = marks;
	head.group = (uint16_t)group;
	payload_write(a->buffer, &head);
	doing(a, DOING_SEND, (uint32_t)a->server);
	err = famez_group_send(a->f, (uint16_t)group, a->buffer, head.bytes, 0, 0);
	if (err) {
		(void)is_common(a, err, (uint32_t)a->server);
		return;
	}
	++*number;
	count(&a->self->count.groups_sent);
}

static void change_group(struct actor *a, uint32_t group)
{
	int err = a->in_group[group] ? famez_group_exit(a->f, (uint16_t)group)
				     : famez_group_enter(a->f, (uint16_t)group);

	if (err)
		(void)is_common(a, err, (uint32_t)a->server);
	else
		a->in_group[group] = !a->in_group[group];
}

void actor_talk(struct actor *a)
{
	uint32_t seats = a->plan->seats, whom = chance(a, seats);

	if (a->role == ROLE_FLOOD) {
		for (uint32_t seat = 0; seat < seats; seat++)
			say_something(a, seat);
		return;
	}
	if (a->server >= 0 && chance(a, 40) == 0) {
		uint32_t group = 1 + chance(a, GROUPS);

		if (chance(a, 3) == 0)
			change_group(a, group);
		else
			say_to_group(a, group, some_size(a), 0);
	}
	if (a->plan->scribble == SCRIBBLE_PAIR && a->number < 2 && chance(a, 2))
		whom = 1 - a->number;
	say_something(a, whom);
}

static bool is_met(struct actor *a, uint32_t seat)
{
	return atomic_load(&a->ledger->seats[seat].met[a->number]);
}

void actor_meet(struct actor *a)
{
	static const char ping[] = "ping";
	const struct famez_to server = {.peer = (uint16_t)a->server, .type = FAMEZ_MESSAGE_LINK};
	int err;

	for (uint32_t seat = 0; seat < a->plan->seats; seat++) {
		uint32_t id = id_of_seat(a, seat);

		if (!id || seat == a->number || is_met(a, seat))
			continue;
		if (ledger_garbled(a->ledger, a->number, seat))
			say_blindly(a, seat, some_size(a), PAYLOAD_MEET);
		else
			(void)say(a, id, some_size(a), PAYLOAD_MEET, 0, 0);
		if (bell_vector(a) >= 0)
			(void)famez_ring(a->f, (uint16_t)id, (uint16_t)bell_vector(a));
	}
	if (a->server < 0)
		return;
	if (!atomic_load(&a->seat->group_met)) {
		err = famez_group_enter(a->f, MEET_GROUP);
		if (err)
			(void)is_common(a, err, (uint32_t)a->server);
	}
	say_to_group(a, MEET_GROUP, some_size(a), PAYLOAD_MEET);
	if (atomic_load(&a->seat->ponged))
		return;
	err = famez_send(a->f, &server, ping, strlen(ping), 0, 0);
	if (err)
		(void)is_common(a, err, (uint32_t)a->server);
}

bool actor_was_read(struct actor *a)
{
	for (uint32_t id = 1; id < a->g.ids - 1; id++) {
		struct famez_traffic traffic;

		if (!a->outs[id].number || !generation_at(a, id))
			continue;
		if (a->outs[id].batch)
			flush(a, id);
		if (famez_traffic(a->f, (uint16_t)a->id, (uint16_t)id, &traffic) == 0 &&
			traffic.unread_bytes)
			return false;
	}
	return true;
}
