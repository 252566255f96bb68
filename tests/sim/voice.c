/* SPDX-License-Identifier: MIT */
/*
 * voice.c - what peers do with the shared memory: a library that asks the server, speaks to
 * others and to groups, reads, sleeps, and begins anew now and then.
 *
 * Written against include/famez as anybody's would be, and set aside at each word that it
 * touches. It has no tick: nothing but doorbells ever wakes one that sleeps.
 */
#include "voice.h"

#include <stdio.h>
#include <string.h>

struct voice voices[SIM_CLIENTS_MAX];

/* ---- doorbells ----------------------------------------------------------------------------- */

bool voice_reaches(const struct voice *v, uint32_t id)
{
	return v->actor->known[id] == world.vectors;
}

static void ring(struct voice *v, uint32_t id)
{
	uint32_t vector = id == v->g.server_id ? famez_server_vector_of(&v->g, v->id)
					       : famez_vector_of(&v->g, v->id);

	sim_touch();
	if (!voice_reaches(v, id)) {
		v->owed |= 1u << id;
		return;
	}
	v->owed &= ~(1u << id);
	sim_trace("rings %u", id);
	v->actor->bells[id][vector]->count++;
}

static void ring_owed(struct voice *v)
{
	for (uint32_t id = 0; id < v->g.ids; id++)
		if (v->owed >> id & 1 && voice_reaches(v, id))
			ring(v, id);
}

static bool is_rung(const struct voice *v)
{
	for (unsigned n = 0; n < world.vectors; n++)
		if (v->actor->bells[v->id][n]->count)
			return true;
	for (uint32_t id = 0; id < v->g.ids; id++)
		if (v->owed >> id & 1 && voice_reaches(v, id))
			return true;
	return false;
}

static bool wakes(void *argument)
{
	const struct voice *v = argument;

	return v->poked || v->asked_to || is_rung(v);
}

/* ---- lanes --------------------------------------------------------------------------------- */

static struct famez_rx *open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	struct voice *v = (struct voice *)(void *)((char *)r - offsetof(struct voice, reader));

	if (!(v->rx_open >> sender & 1))
		famez_rx_open(&v->rx[sender], voice_base(), &v->g, v->id, sender, v->generation);
	v->rx_open |= 1u << sender;
	return &v->rx[sender];
}

static void ring_sender(struct famez_inbox_reader *r, uint32_t sender)
{
	ring((struct voice *)(void *)((char *)r - offsetof(struct voice, reader)), sender);
}

static void move_in(struct voice *v)
{
	struct famez_entry *e;
	struct famez_inbox *inbox;

	if (famez_geometry_read(&v->g, voice_base(), memory_size()))
		sim_wrong("peer %u can't read the mailbox's header", v->id);
	e = famez_entry_at(voice_base(), &v->g, v->id);
	famez_store_release(&e->speaks, 0u);
	v->join = famez_load_relaxed(&e->joins);
	v->generation = famez_load_relaxed(&e->generation) + 1;
	if (!v->generation)
		v->generation = 1;
	inbox = famez_inbox_at(voice_base(), &v->g, v->id);
	v->reader = (struct famez_inbox_reader){
		.base = voice_base(),
		.g = &v->g,
		.id = v->id,
		.shards = 1,
		.sleep = famez_load_relaxed(&inbox->asleep[0]),
		.open = open_lane,
		.ring = ring_sender,
	};
	v->rx_open = v->tx_open = v->owed = v->wants = 0;
	v->asked = v->answered = 0;
	v->missed = false;
	hear_nothing(v);
	hear_no_more_of(v->actor->serial);
	famez_store_relaxed(&inbox->asleep[0], 0u);
	famez_store_relaxed(&e->generation, v->generation);
	famez_store_relaxed(&e->join, v->join);
	famez_store_release(&e->speaks, FAMEZ_SPEAKS_LANES);
	sim_trace("peer %u speaks, generation %u", v->id, v->generation);
}

/* Its generation, if there is anybody who reads lanes. */
static bool is_there(const struct voice *v, uint32_t id, uint32_t *generation)
{
	struct famez_entry *e = famez_entry_at(voice_base(), &v->g, id);
	uint32_t joins = famez_load_relaxed(&e->joins);

	if (famez_load_acquire(&e->presence) != FAMEZ_PRESENT ||
		!(famez_load_acquire(&e->speaks) & FAMEZ_SPEAKS_LANES) ||
		famez_load_relaxed(&e->join) != joins)
		return false;
	*generation = famez_load_relaxed(&e->generation);
	return true;
}

static void publish(struct voice *v, uint32_t id)
{
	struct famez_tx *tx = &v->tx[id];

	if (famez_tx_flush(tx) && famez_nudge(voice_base(), &v->g, id, v->id, &tx->rung))
		ring(v, id);
}

static void publish_all(struct voice *v)
{
	for (uint32_t id = 0; id < v->g.ids; id++)
		if (v->tx_open >> id & 1)
			publish(v, id);
}

/* Room for so many bytes to @id. NULL: there is none, or nobody. */
static void *claim(struct voice *v, uint32_t id, uint32_t bytes)
{
	struct famez_tx *tx = &v->tx[id];
	uint32_t generation;
	void *room;

	if (!(v->tx_open >> id & 1) || !tx->batch) {
		if (!is_there(v, id, &generation))
			return NULL;
		if (!(v->tx_open >> id & 1))
			famez_tx_open(
				tx, voice_base(), &v->g, id, v->id, v->generation, generation);
		v->tx_open |= 1u << id;
		if (tx->to != generation) {
			tx->to = generation;
			tx->rung = 0;
		}
	}
	if (!famez_tx_claim(tx, bytes, &room))
		return room;
	publish(v, id);
	if (draw(2)) {
		v->wants |= 1u << id;
		v->wanted[id] = bytes;
	}
	return NULL;
}

static void commit(struct voice *v, uint32_t id, uint32_t bytes, uint16_t kind)
{
	famez_tx_commit(&v->tx[id], bytes, kind, (uint16_t)v->id);
	if (draw(3))
		publish(v, id);
}

static uint32_t some_bytes(void)
{
	return (uint32_t)sizeof(struct said) +
	       draw(world.fat ? VOICE_BYTES_MAX - sizeof(struct said) : 60);
}

static void fill(void *room, const struct said *said, uint32_t bytes)
{
	memcpy(room, said, sizeof(*said));
	for (uint32_t i = sizeof(*said); i < bytes; i++)
		((unsigned char *)room)[i] = (unsigned char)(said->nth + i);
}

static void ask(struct voice *v)
{
	char text[16];
	int bytes = snprintf(text, sizeof(text), "q%u", v->asked + 1);
	void *room;

	if (v->asked - v->answered >= VOICE_ASKED_MAX)
		return;
	room = claim(v, v->g.server_id, (uint32_t)bytes);
	if (!room)
		return;
	memcpy(room, text, (size_t)bytes);
	v->asked++;
	sim_trace("peer %u asks %s", v->id, text);
	commit(v, v->g.server_id, (uint32_t)bytes, FAMEZ_KIND(FAMEZ_TYPE_LINK, 0));
}

static void join_group(struct voice *v, uint32_t group, bool in)
{
	void *room = claim(v, v->g.server_id, 0);

	if (!room)
		return;
	hear_exit(v, group);
	v->confirm_at[group] = in ? v->asked + 1 : 0;
	sim_trace("peer %u %s group %u", v->id, in ? "enters" : "leaves", group);
	commit(v, v->g.server_id, 0,
		FAMEZ_KIND(in ? FAMEZ_TYPE_GROUP_ENTER : FAMEZ_TYPE_GROUP_EXIT, group));
}

static void tell_group(struct voice *v, uint32_t group)
{
	uint32_t bytes = some_bytes();
	void *room = claim(v, v->g.server_id, bytes);
	struct said said = {
		.from = v->actor->serial,
		.generation = v->generation,
		.nth = v->group_nth + 1,
		.group = group,
	};

	if (!room)
		return;
	v->group_nth++;
	fill(room, &said, bytes);
	hear_group_said(v, group);
	sim_trace("peer %u tells group %u its message %u", v->id, group, v->group_nth);
	commit(v, v->g.server_id, bytes, FAMEZ_KIND(FAMEZ_TYPE_GROUP, group));
}

static void tell(struct voice *v, uint32_t id)
{
	uint32_t bytes = some_bytes();
	struct heard *to = &v->to[id];
	struct said said;
	void *room;

	if (id == v->id || id == v->g.server_id || !voice_reaches(v, id))
		return;
	room = claim(v, id, bytes);
	if (!room)
		return;
	if (to->generation != v->generation || to->to_generation != v->tx[id].to)
		*to = (struct heard){.generation = v->generation, .to_generation = v->tx[id].to};
	said = (struct said){
		.from = v->actor->serial,
		.generation = v->generation,
		.to_generation = v->tx[id].to,
		.nth = ++to->nth,
	};
	fill(room, &said, bytes);
	sim_trace("peer %u tells %u message %u", v->id, id, to->nth);
	commit(v, id, bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0));
}

static void say_something(struct voice *v)
{
	uint32_t what = draw(64), server = v->g.server_id;
	uint32_t group = 1 + draw(VOICE_GROUPS);

	if (what < 16)
		tell(v, draw(v->g.ids));
	else if (what == 16)
		move_in(v);
	/* A QEMU that may hold few descriptors was perhaps not told of the server. */
	else if (server == FAMEZ_NOBODY || !voice_reaches(v, server))
		return;
	else if (what < 34)
		ask(v);
	else if (what < 54)
		tell_group(v, group);
	else if (what < 61)
		join_group(v, group, true);
	else
		join_group(v, group, false);
}

/* Where it found no room: is there some by now, or nobody any more? Else be rung. */
static bool has_room(struct voice *v)
{
	uint32_t generation;

	for (uint32_t id = 0; id < v->g.ids; id++) {
		struct famez_tx *tx = &v->tx[id];

		if (!(v->wants >> id & 1))
			continue;
		if (is_there(v, id, &generation) && generation == tx->to) {
			publish(v, id);
			if (famez_nudge(voice_base(), &v->g, id, v->id, &tx->rung))
				ring(v, id);
			if (!famez_tx_wait(tx, v->wanted[id]))
				continue;
		}
		v->wants &= ~(1u << id);
		return true;
	}
	return false;
}

static bool read_one(struct voice *v)
{
	struct famez_seen seen;
	struct famez_rx *rx = NULL;
	int got = famez_inbox_next(&v->reader, &seen, &rx);

	if (!got && famez_inbox_collect(&v->reader))
		got = famez_inbox_next(&v->reader, &seen, &rx);
	if (got < 0)
		sim_wrong("peer %u finds the lane from %u garbled", v->id, rx->sender);
	if (got <= 0)
		return false;
	hear(v, rx->sender, &seen);
	famez_inbox_release(&v->reader, rx);
	return true;
}

static void *speak(void *argument)
{
	struct voice *v = argument;

	move_in(v);
	for (;;) {
		v->poked = false;
		ring_owed(v);
		for (unsigned n = draw(4); n && !world.calm; n--)
			say_something(v);
		if (v->asked_to)
			say_something(v);
		v->asked_to = false;
		for (unsigned n = 1 + draw(8); n && read_one(v); n--)
			;
		if (!world.calm && draw(3) == 0)
			continue;
		publish_all(v);
		if (has_room(v) || famez_inbox_sleep(&v->reader))
			continue;
		if (!wakes(v))
			fiber_wait(wakes, v);
		famez_inbox_awake(&v->reader);
		for (unsigned n = 0; n < world.vectors; n++)
			v->actor->bells[v->id][n]->count = 0;
	}
	return NULL;
}

/* ---- whose turn it is ----------------------------------------------------------------------- */

static bool may_speak(const struct actor *c)
{
	return c->used && c->phase == PHASE_LIVE && !c->hung_up && !c->spoke && c->id < SIM_IDS_MAX;
}

static void begin(struct voice *v, struct actor *c)
{
	void *stack = v->fiber.stack;

	*v = (struct voice){.used = true, .actor = c, .id = c->id};
	v->fiber.stack = stack;
	(void)snprintf(v->name, sizeof(v->name), "peer %u", c->id);
	fiber_begin(&v->fiber, v->name, speak, v);
}

static bool go_on(struct voice *v, struct actor *c)
{
	if (!may_speak(c)) {
		voice_end(c);
		return false;
	}
	if (!v->used) {
		if (world.calm || draw(3))
			return false;
		begin(v, c);
	}
	if (!world.calm && draw(100) == 0)
		v->stalled = !v->stalled;
	if (v->stalled && !world.calm)
		return false;
	v->poked = v->poked || (!world.calm && draw(8) == 0);
	if (v->fiber.waits && !wakes(v))
		return false;
	fiber_resume(&v->fiber);
	return true;
}

void voice_step(void)
{
	unsigned from = draw(SIM_CLIENTS_MAX);

	for (unsigned n = 0; n < SIM_CLIENTS_MAX; n++)
		if (go_on(&voices[(from + n) % SIM_CLIENTS_MAX],
			    &actors[(from + n) % SIM_CLIENTS_MAX]) &&
			draw(3) == 0)
			return;
}

bool voices_go_on(void)
{
	bool any = false;

	for (unsigned n = 0; world.mail && n < SIM_CLIENTS_MAX; n++)
		any = go_on(&voices[n], &actors[n]) || any;
	return any;
}

bool voices_speak(void)
{
	bool any = false;

	for (unsigned tries = 0; tries < 2 * SIM_CLIENTS_MAX && !any; tries++) {
		struct voice *v = &voices[draw(SIM_CLIENTS_MAX)];

		any = v->used && may_speak(v->actor);
		v->asked_to = v->asked_to || any;
	}
	return any;
}

void voice_end(const struct actor *c)
{
	struct voice *v = &voices[c - actors];

	if (!v->used)
		return;
	v->used = false;
	hear_no_more_of(c->serial);
}
