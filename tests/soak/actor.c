// SPDX-License-Identifier: MIT
/*
 * actor.c - one peer of a soak run: joins, talks and listens in turns, sleeps, leaves.
 *
 * A process of its own, so that it can be killed at any instruction. It has nothing that others
 * need but its notes in the ledger. One thread.
 */
#include "actor.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Join; others may still have to be found dead before there is an ID for us. */
static int come_in(struct actor *a)
{
	struct famez_join how = {.socket = a->plan->socket};
	struct famez_mailbox mailbox = {.watch = (int)chance(a, 2)};
	struct timespec nap = {.tv_nsec = 1000000};
	struct famez_who who;
	char name[24];
	int err;

	for (;;) {
		doing(a, DOING_JOIN, 0);
		err = famez_join(&a->f, &how);
		if (err != -EACCES || ledger_phase(a->ledger) >= PHASE_LEAVE)
			break;
		(void)nanosleep(&nap, NULL);
	}
	if (err)
		return err;
	(void)snprintf(name, sizeof(name), "seat%u.life%u", a->number, a->life);
	mailbox.name = name;
	mailbox.spin_us = chance(a, 3) == 0 ? -1 : chance(a, 2) ? 0 : (int)chance(a, 100);
	err = famez_mailbox_open(a->f, &mailbox);
	if (err)
		return err;
	a->id = (uint32_t)famez_id(a->f);
	a->memory = famez_memory(a->f, &a->memory_bytes);
	err = famez_geometry_read(&a->g, a->memory, a->memory_bytes);
	if (err)
		return err;
	a->server = famez_server_id(a->f);
	a->most = famez_payload_bytes_max(a->f);
	a->buffer = malloc(a->most);
	if (!a->buffer)
		return -ENOMEM;
	/* The directory shows us once the server has announced us. */
	while (famez_who(a->f, (uint16_t)a->id, &who) != 0 || !who.lanes) {
		struct famez_event event;

		if (ledger_phase(a->ledger) >= PHASE_LEAVE)
			return -ECANCELED;
		if (famez_next(a->f, &event) < 0)
			return -EPROTO;
		(void)nanosleep(&nap, NULL);
	}
	a->generation = who.generation;
	ledger_enter(a->ledger, a->life, a->id, a->generation);
	return 0;
}

static void on_event(struct actor *a, const struct famez_event *event)
{
	switch (event->kind) {
	case FAMEZ_EVENT_ROOM:
		count(&a->self->count.rooms);
		break;
	case FAMEZ_EVENT_GARBLED:
		count(&a->self->count.garbled);
		if (a->plan->scribble == SCRIBBLE_NOTHING || a->plan->scribble == SCRIBBLE_HEADER ||
			(a->plan->scribble == SCRIBBLE_PAIR && a->number > 1))
			ledger_fail(a->ledger, "seat %u: the lane from ID %u is said to be garbled",
				a->number, event->peer);
		break;
	case FAMEZ_EVENT_DOORBELL:
		if (event->vector == bell_vector(a))
			atomic_store(&a->seat->belled, true);
		break;
	case FAMEZ_EVENT_LOST:
		ledger_fail(a->ledger, "seat %u: the server is gone", a->number);
		break;
	default:
		break;
	}
}

/* True: there is a message to take. */
static bool hear_events(struct actor *a)
{
	struct famez_event event;
	int got;

	doing(a, DOING_EVENTS, 0);
	while ((got = famez_next(a->f, &event)) == 1) {
		if (event.kind == FAMEZ_EVENT_MESSAGE)
			return true;
		on_event(a, &event);
		count(&a->seat->beats);
	}
	if (got < 0)
		ledger_fail(a->ledger, "seat %u: famez_next() gives error %d", a->number, -got);
	return false;
}

/* A pause between the last look and the sleep is where a wake-up could be lost. */
static void dither(struct actor *a)
{
	uint64_t until;

	if (chance(a, 3))
		return;
	until = now_ns() + chance(a, 200000);
	while (now_ns() < until)
		;
}

static int some_wait_ms(struct actor *a)
{
	if (ledger_phase(a->ledger) != PHASE_TALK)
		return 200;
	return chance(a, 2) ? (int)chance(a, 30) : 2000;
}

static void wait_by_poll(struct actor *a)
{
	struct pollfd ready = {.fd = famez_fd(a->f), .events = POLLIN};

	if (hear_events(a))
		return;
	dither(a);
	doing(a, DOING_WAIT, 0);
	a->slept_ns = now_ns();
	(void)poll(&ready, 1, some_wait_ms(a));
	a->woke_ns = now_ns();
}

static void wait_by_recv(struct actor *a)
{
	struct famez_message m;
	int got;

	dither(a);
	doing(a, DOING_WAIT, 0);
	a->slept_ns = now_ns();
	got = famez_recv(a->f, &m, a->buffer, a->most, some_wait_ms(a));
	a->woke_ns = now_ns();
	if (got < 0)
		ledger_fail(a->ledger, "seat %u: famez_recv() gives error %d", a->number, -got);
	if (got <= 0)
		return;
	actor_judge(a, &m, a->buffer);
	if (m.from != a->server && ledger_phase(a->ledger) == PHASE_TALK && chance(a, 2))
		actor_answer(a, m.from);
}

static void stay(struct actor *a)
{
	uint64_t met_ns = 0;

	for (;;) {
		enum phase phase = ledger_phase(a->ledger);
		unsigned heard;

		if (phase >= PHASE_LEAVE)
			return;
		(void)hear_events(a);
		heard = actor_hear(a, 1 + chance(a, 60));
		if (atomic_load(&a->seat->leave)) {
			if (atomic_load(&a->seat->leave) == LEAVE_AT_ONCE || actor_was_read(a))
				return;
		} else if (a->role == ROLE_FLOOD) {
			if (phase >= PHASE_TALK)
				actor_talk(a);
			continue;
		} else if (phase == PHASE_TALK && (a->role != ROLE_SINK || chance(a, 8) == 0)) {
			actor_talk(a);
		} else if (phase == PHASE_MEET && now_ns() - met_ns > 100000000u) {
			met_ns = now_ns();
			actor_meet(a);
		}
		if (heard && chance(a, 3))
			continue;
		if (chance(a, 2))
			wait_by_poll(a);
		else
			wait_by_recv(a);
	}
}

int actor_run(struct ledger *ledger, uint32_t seat, uint32_t life)
{
	static struct actor actor; /* large */
	struct actor *a = &actor;
	int err;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	*a = (struct actor){
		.ledger = ledger,
		.plan = &ledger->plan,
		.seat = &ledger->seats[seat],
		.self = &ledger->lives[life],
		.number = seat,
		.life = life,
		.role = (enum role)ledger->lives[life].role,
		.dice = {ledger->plan.seed * 2654435761u + life},
	};
	err = come_in(a);
	if (err) {
		if (ledger_phase(ledger) < PHASE_LEAVE)
			ledger_fail(ledger, "seat %u: joining gives error %d", seat, -err);
	} else if (a->role == ROLE_MUTE) {
		for (uint16_t group = 1; a->server >= 0 && group <= MEET_GROUP; group++)
			(void)famez_group_enter(a->f, group);
		while (ledger_phase(ledger) < PHASE_LEAVE)
			(void)usleep(10000);
	} else {
		stay(a);
	}
	if (!atomic_load(&ledger->failed) && !atomic_load(&a->seat->leave) &&
		ledger_phase(ledger) < PHASE_LEAVE)
		ledger_fail(ledger, "seat %u: it is over too early", seat);
	atomic_store(&a->self->state, LIFE_GONE);
	famez_leave(a->f);
	free(a->buffer);
	return err && ledger_phase(ledger) < PHASE_LEAVE;
}
