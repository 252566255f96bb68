/* SPDX-License-Identifier: MIT */
/*
 * mail_peers.c - one worker's peers as the server's inbox sees them: who is there, their lanes
 * and doorbells, and what we write to them.
 *
 * Runs in the worker's thread. Who is there is known from the log (JOINED, LEFT), never from
 * the memory. Touches the shared memory through famez/lane.h and inbox.h only. Reads no
 * message and decides nothing about one; touches no socket.
 *
 * A peer's rx is opened once and goes on over all owners of the ID: positions never go back,
 * and what we know of them ourselves is better than what stands in the file.
 *
 * A full lane to a peer loses our answer, which is counted and logged. To leave the question
 * in its lane until there is room would be kinder to a peer that is slow, but the questions
 * are in the same lane as what it says to groups: who does not read would hold up what it
 * has to say to others, and a client that sends in one thread and waits for room to do so
 * would wait for ever. Nobody else waits either way.
 */
#include "mail.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bells.h"
#include "log.h"
#include "state_mail.h"
#include "sys.h"
#include "worker.h"

/* What it costs, in bytes copied, to look through all groups for those that somebody is in. */
#define FORGET_COST (UINT64_C(16) * FAMEZ_GROUPS_MAX)

/* ---- the table -------------------------------------------------------------------------- */

struct mail_peer *mail_peer_of(struct mail *m, uint32_t id)
{
	if (!m->peers || id >= m->g->ids || id % m->shared->shards != m->worker->nth)
		return NULL;
	return &m->peers[id / m->shared->shards];
}

void mail_park(struct mail *m, struct mail_peer *p, enum mail_parked why)
{
	famez_inbox_drop(&m->reader, &p->rx);
	p->parked = (uint8_t)why;
}

void mail_unpark(struct mail *m, struct mail_peer *p)
{
	p->parked = PARKED_NOT;
	famez_inbox_take(&m->reader, &p->rx);
}

/* ---- their doorbells -------------------------------------------------------------------- */

/* Set before we clear what says that it waits for room, famez_rx_publish(). What it is rung for
 * from then on it is rung for with the next write to its doorbell, or with the one after. */
static uint32_t *owed_to(const struct mail_peer *p)
{
	return &p->mail->shared->state->mail[p->id].owed;
}

static void on_ring(struct op *op, int res, uint32_t flags)
{
	struct mail_peer *p = container_of(op, struct mail_peer, ring);

	(void)res; /* its counter is full, or it is gone: nothing that we could do */
	(void)flags;
	if (p->ring_again) {
		p->ring_again = false;
		mail_ring(p->mail, p);
		return;
	}
	if (famez_load_relaxed(owed_to(p))) {
		famez_store_relaxed(owed_to(p), 0u);
		state_point();
	}
}

void mail_ring(struct mail *m, struct mail_peer *p)
{
	static const uint64_t one = 1;
	const struct worker_shared *shared = m->worker->shared;
	uint16_t vector = (uint16_t)famez_vector_of(m->g, m->g->server_id);
	struct io_uring_sqe *sqe;

	if (!p->present)
		return;
	/* One write at a time: a peer that has filled its own counter, and made it block,
	 * holds one operation of ours, no more. */
	if (p->ring.in_kernel) {
		p->ring_again = true;
		return;
	}
	sqe = ring_sqe(&m->worker->ring);
	io_uring_prep_write(sqe, bells_fd(shared->bells, p->id, vector), &one, sizeof(one), 0);
	op_arm(&p->ring, sqe, on_ring);
	m->busy = true;
}

/* ---- their lanes to us ------------------------------------------------------------------ */

struct famez_rx *mail_open_lane(struct mail *m, struct mail_peer *p)
{
	if (p->parked)
		return NULL;
	if (!p->rx_open) {
		if (!p->joins)
			return NULL; /* the bit stays, and JOINED comes */
		famez_rx_resume(
			&p->rx, m->base, m->g, m->g->server_id, p->id, m->generation, p->rx.at);
		p->rx.stale = 0; /* whatever somebody wrote there */
		p->rx.owed = &m->shared->state->mail[p->id].owed;
		p->rx_open = true;
	}
	return &p->rx;
}

static struct famez_rx *open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	struct mail *m = container_of(r, struct mail, reader);
	struct mail_peer *p = mail_peer_of(m, sender);

	return p ? mail_open_lane(m, p) : NULL;
}

static void ring_sender(struct famez_inbox_reader *r, uint32_t sender)
{
	struct mail *m = container_of(r, struct mail, reader);

	mail_ring(m, mail_peer_of(m, sender));
}

static void open_inbox(struct mail *m)
{
	uint32_t server_id = m->g->server_id;
	uint16_t nth = m->worker->nth;

	m->generation = m->shared->mailbox->generation;
	m->reader = (struct famez_inbox_reader){
		.base = m->base,
		.g = m->g,
		.id = server_id,
		.sleep = m->shared->state->workers[nth].sleep,
		.shard = nth,
		.shards = m->shared->shards,
		.open = open_lane,
		.ring = ring_sender,
	};
	/* We are awake, whatever a predecessor was. */
	famez_store_relaxed(famez_asleep_at(m->base, m->g, server_id, nth), 0u);
}

int mail_peers_open(struct mail *m)
{
	uint32_t shards = m->shared->shards;

	STAILQ_INIT(&m->rung);
	m->count = mail_rings(m->g->ids, m->shared->shards);
	m->peers = sys_calloc(m->count, sizeof(*m->peers));
	if (!m->peers)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->count; i++) {
		m->peers[i].mail = m;
		m->peers[i].id = i * shards + m->worker->nth;
	}
	if (m->lanes)
		open_inbox(m);
	return 0;
}

void mail_peers_close(struct mail *m)
{
	free(m->peers);
	m->peers = NULL;
}

/* ---- who comes and goes ----------------------------------------------------------------- */

static void forget(struct mail *m, struct mail_peer *p)
{
	/* Who starts anew with every message has fewer of them taken in a turn. */
	if (p->groups)
		m->spent += FORGET_COST;
	groups_leave(m, p);
	memset(p->memory, 0, sizeof(p->memory));
}

void mail_meet(struct mail *m, struct mail_peer *p)
{
	const struct personality *who = m->shared->personality;
	struct personality_scene scene = {.server_id = m->g->server_id, .peer_id = p->id};

	forget(m, p);
	if (who->joined)
		who->joined(p->memory, &scene);
}

void mail_came(struct mail *m, struct mail_peer *p, uint64_t change, uint64_t said)
{
	p->present = true;
	p->gone = 0;
	p->said = said;
	p->generation = 0;
	p->joins++;
	p->greeting = m->slots && m->shared->personality->greet ? MAIL_GREETING_TICKS : 0;
	mail_meet(m, p);
	p->change = change;
	p->touched = true;
	mail_settle(m, p, p->rx.at);
	if (p->parked == PARKED_ABSENT)
		mail_unpark(m, p);
	if (p->early)
		mail_rung(m->worker, (uint16_t)p->id);
	p->early = false;
}

unsigned mail_went(struct mail *m, struct mail_peer *p, uint64_t change, uint64_t said)
{
	unsigned blocks = p->groups ? (unsigned)__builtin_popcountll(p->blocks) : 0;

	p->present = false;
	p->gone = p->generation;
	p->said = said;
	p->greeting = 0;
	forget(m, p);
	p->change = change;
	p->touched = true;
	mail_settle(m, p, p->rx.at);
	return blocks;
}

void mail_joined(struct worker *w, uint32_t id, uint64_t change, uint64_t said)
{
	struct mail *m = &w->mail;
	struct mail_peer *p = mail_peer_of(m, id);

	if (m->slots)
		slots_joined(m, id);
	if (p)
		mail_came(m, p, change, said);
}

unsigned mail_left(struct worker *w, uint32_t id, uint64_t change, uint64_t said)
{
	struct mail *m = &w->mail;
	struct mail_peer *p = mail_peer_of(m, id);

	if (m->slots)
		slots_left(m, id);
	return p ? mail_went(m, p, change, said) : 0;
}

/* ---- what we say ------------------------------------------------------------------------ */

void mail_open_way(struct mail *m, struct mail_peer *p)
{
	if (!p->tx_open) {
		famez_tx_resume(&p->tx, m->base, m->g, p->id, m->g->server_id, m->generation,
			p->generation, p->tx.at);
		p->tx_open = true;
	}
	if (p->tx.to != p->generation) {
		p->tx.to = p->generation;
		p->tx.rung = 0;
	}
}

/* The slot is filled: from S1 on it counts. */
static void publish(struct mail *m, struct mail_peer *p)
{
	bool said = famez_tx_flush(&p->tx);

	state_point();
	state_mail_apply(m->shared->state, m->worker->nth);
	if (said && famez_nudge(m->base, m->g, p->id, m->g->server_id, &p->tx.rung)) {
		p->tx.rings++;
		mail_ring(m, p);
	}
}

/* True: all but the positions is as it was written down last. */
static bool as_written(const struct mail_peer *p, const struct state_heard *heard)
{
	return p->change == heard->change && p->generation == heard->generation &&
	       p->gone == heard->gone && (p->greeting > 0) == (heard->greeting > 0) &&
	       memcmp(p->memory, heard->memory, sizeof(p->memory)) == 0;
}

void mail_settle(struct mail *m, struct mail_peer *p, uint64_t rx_at)
{
	struct state *state = m->shared->state;
	uint16_t nth = m->worker->nth;

	if (p->touched && !as_written(p, &state->mail[p->id].heard)) {
		struct state_heard heard = {
			.rx_at = rx_at,
			.tx_at = p->tx.at,
			.change = p->change,
			.generation = p->generation,
			.gone = p->gone,
			.greeting = p->greeting > 0,
		};

		memcpy(heard.memory, p->memory, sizeof(heard.memory));
		state_mail_begin(state, nth, p->id, p->tx.begun, &heard);
	} else {
		state_mail_begin_at(state, nth, p->id, p->tx.begun, rx_at, p->tx.at,
			state_relay_at(state, nth));
	}
	p->touched = false;
	publish(m, p);
}

void mail_settle_taken(struct mail *m)
{
	struct mail_peer *p = m->unsettled;

	if (!p)
		return;
	m->unsettled = NULL;
	mail_settle(m, p, p->rx.at);
}

void mail_settle_copy(struct mail *m, struct mail_peer *p, uint32_t relay_at)
{
	assert(!p->touched);
	state_mail_begin_at(
		m->shared->state, m->worker->nth, p->id, p->tx.begun, p->rx.at, p->tx.at, relay_at);
	publish(m, p);
}

int mail_claim(struct mail *m, struct mail_peer *p, uint32_t bytes, void **room)
{
	int err;

	m->spent += MAIL_COPY_COST;
	mail_open_way(m, p);
	err = famez_tx_claim(&p->tx, bytes, room);
	if (!err)
		return 0;
	m->counts.dropped++;
	log_event(unread, LOG_NUMBER("id", p->id));
	return err;
}

void mail_commit(
	struct mail *m, struct mail_peer *p, uint32_t bytes, uint16_t kind, uint16_t origin)
{
	famez_tx_commit(&p->tx, bytes, kind, origin);
	m->counts.sent++;
}

int mail_put(struct mail *m, struct mail_peer *p, const void *payload, uint32_t bytes,
	uint16_t kind, uint16_t origin)
{
	void *room;
	int err;

	assert(!groups_write_to(m, p));
	err = mail_claim(m, p, bytes, &room);
	if (err)
		return err;
	memcpy(room, payload, bytes);
	m->spent += bytes;
	mail_commit(m, p, bytes, kind, origin);
	return 0;
}

void mail_wake(struct mail *m, struct mail_peer *p)
{
	if (!p->tx_open || !famez_tx_unread(&p->tx))
		return;
	p->tx.rung = 0;
	if (famez_nudge(m->base, m->g, p->id, m->g->server_id, &p->tx.rung))
		mail_ring(m, p);
}

/* Somebody may have undone what kept others from sleeping on: their doorbells, their bits.
 * Our own lanes are looked at by the turn that follows. */
void mail_look_after(struct mail *m, struct mail_peer *p)
{
	mail_wake(m, p);
	if (!p->greeting || slots_greet(m, p) || --p->greeting)
		return;
	p->touched = true;
	mail_settle(m, p, p->rx.at);
}
