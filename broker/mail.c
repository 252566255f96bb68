/* SPDX-License-Identifier: MIT */
/*
 * mail.c - one worker's share of the server's inbox: who speaks to us, and what we answer.
 *
 * Runs in the worker's thread. Touches the shared memory through famez/lane.h and inbox.h
 * only, and no socket.
 *
 * Who is there is known from the log (JOINED, LEFT), never from the memory. But a message in
 * a lane can overtake the log on its way to us: an ID's next owner may speak before we have
 * heard that the last one left. He speaks with another generation. So a generation that is
 * new waits until our queue from the registrar is empty: what led to the message was put
 * there before it was written.
 *
 *   we know        the record is from       then
 *   present        the same generation      taken
 *   present        another                  queue empty first; he started anew, and is in no group
 *   left           who left                 passed on to a group, if it is for one; else nothing
 *   left, never    somebody else            the lane waits for JOINED
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
#include <string.h>

#include "bells.h"
#include "log.h"
#include "sys.h"
#include "worker.h"

/* Peers of one worker that are logged when somebody asks to show them, and how often. */
#define SHOW_PEERS_MAX 100u
#define SHOW_PAUSE_NS  1000000000u

/* Ticks for which somebody new may be without a name until he is not greeted any more. */
#define GREETING_TICKS 60u

/* How long a worker polls at most before it sleeps, and at least or not at all. A wake-up takes
 * some 25 us where the other sleeps on another CPU. */
#define SPIN_MAX_NS 20000u
#define SPIN_MIN_NS 1000u
/* When it does not pay, one sleep in so many is tried with polling again. */
#define SPINS_SKIPPED 64u
/* Looks between two looks at the clock; and lanes that may be in hand. */
#define SPIN_LOOKS 32u
#define SPIN_LANES 16u

/* Threads of the kernel's, per worker, for doorbells that block. */
#define DOORBELL_THREADS 8u

/* A turn's lanes may use up half of its bytes: what groups want then has the other half. */
#define LANES_BYTES (MAIL_TURN_BYTES / 2)
/* What it costs, in bytes copied, to look through all groups for those that somebody is in. */
#define FORGET_COST (UINT64_C(16) * FAMEZ_GROUPS_MAX)

/* Looks at the bitmap in a turn: whoever sets and clears bits without end has no more. */
#define COLLECTS_MAX 4u

/* ---- what all workers share ------------------------------------------------------------- */

static void destroy_queues(struct mail_shared *s, unsigned links, unsigned texts)
{
	while (links)
		mail_link_queue_destroy(&s->links[--links]);
	while (texts)
		slot_text_queue_destroy(&s->texts[--texts]);
	free(s->members);
	free(s->texts);
	free(s->links);
	*s = (struct mail_shared){0};
}

int mail_shared_init(struct mail_shared *shared, const struct mailbox *mailbox,
	const struct personality *personality, struct worker *workers)
{
	uint16_t shards = mailbox->layout == LAYOUT_PLAIN || mailbox->g.server_id == FAMEZ_NOBODY
				  ? 0
				  : (uint16_t)mailbox->g.server_shards;
	unsigned links = 0, texts = 0;

	*shared = (struct mail_shared){
		.mailbox = mailbox,
		.personality = personality,
		.workers = workers,
		.shards = shards,
	};
	if (!shards)
		return 0;
	shared->links = sys_calloc((size_t)shards * shards, sizeof(*shared->links));
	shared->texts = sys_calloc(shards, sizeof(*shared->texts));
	shared->members = sys_calloc((size_t)shards * FAMEZ_GROUPS_MAX, sizeof(*shared->members));
	if (!shared->links || !shared->texts || !shared->members)
		goto undo;
	for (; links < (unsigned)shards * shards; links++)
		if (mail_link_queue_init(&shared->links[links], LINKS_ROOM))
			goto undo;
	for (; texts < shards; texts++)
		if (slot_text_queue_init(&shared->texts[texts], SLOTS_PASSED))
			goto undo;
	return 0;

undo:
	destroy_queues(shared, links, texts);
	return -ENOMEM;
}

void mail_shared_destroy(struct mail_shared *shared)
{
	destroy_queues(shared, (unsigned)shared->shards * shared->shards, shared->shards);
}

uint64_t mail_bytes(uint32_t ids, uint16_t workers)
{
	uint64_t shards = workers < FAMEZ_SHARDS_MAX ? workers : FAMEZ_SHARDS_MAX;
	uint32_t peers = mail_rings(ids, workers);

	return shards * (peers * sizeof(struct mail_peer) + groups_bytes(peers) +
				FAMEZ_GROUPS_MAX * sizeof(uint32_t) +
				SLOTS_PASSED * sizeof(struct slot_text) +
				shards * LINKS_ROOM * sizeof(struct mail_link)) +
	       slots_bytes(ids);
}

uint32_t mail_rings(uint32_t ids, uint16_t workers)
{
	uint32_t shards = workers < FAMEZ_SHARDS_MAX ? workers : FAMEZ_SHARDS_MAX;

	return ids / shards + 1;
}

uint32_t mail_operations(uint32_t ids, uint16_t workers)
{
	/* Rings of its peers, and at the slot's owner those of all; two timeouts. */
	return mail_rings(ids, workers) + ids + 2;
}

void mail_link(struct mail *m, uint16_t to, const struct mail_link *link)
{
	struct mail_shared *s = m->shared;
	uint16_t from = m->worker->nth;
	bool done = mail_link_queue_put(&s->links[from * s->shards + to], link);

	assert(done);
	if (to != from)
		wakeup_ring(&s->workers[to].wakeup);
}

/* ---- peers ------------------------------------------------------------------------------ */

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

static void on_ring(struct op *op, int res, uint32_t flags)
{
	struct mail_peer *p = container_of(op, struct mail_peer, ring);

	(void)res; /* its counter is full, or it is gone: nothing that we could do */
	(void)flags;
	if (p->ring_again) {
		p->ring_again = false;
		mail_ring(p->mail, p);
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

static struct famez_rx *open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	struct mail *m = container_of(r, struct mail, reader);
	struct mail_peer *p = mail_peer_of(m, sender);

	if (!p || p->parked)
		return NULL;
	if (!p->rx_open) {
		if (!p->present)
			return NULL; /* the bit stays, and JOINED comes */
		famez_rx_open(&p->rx, m->base, m->g, m->g->server_id, sender, m->generation);
		p->rx_open = true;
	}
	return &p->rx;
}

static void ring_sender(struct famez_inbox_reader *r, uint32_t sender)
{
	struct mail *m = container_of(r, struct mail, reader);

	mail_ring(m, mail_peer_of(m, sender));
}

static void forget(struct mail *m, struct mail_peer *p)
{
	/* Who starts anew with every message has fewer of them taken in a turn. */
	if (p->groups)
		m->spent += FORGET_COST;
	groups_leave(m, p);
	memset(p->memory, 0, sizeof(p->memory));
}

static struct personality_scene scene_of(const struct mail *m, const struct mail_peer *p)
{
	return (struct personality_scene){.server_id = m->g->server_id, .peer_id = p->id};
}

static void meet(struct mail *m, struct mail_peer *p)
{
	const struct personality *who = m->shared->personality;
	struct personality_scene scene = scene_of(m, p);

	forget(m, p);
	if (who->joined)
		who->joined(p->memory, &scene);
}

void mail_joined(struct worker *w, uint32_t id)
{
	struct mail *m = &w->mail;
	struct mail_peer *p = mail_peer_of(m, id);

	if (m->slots)
		slots_joined(m, id);
	if (!p)
		return;
	p->present = true;
	p->gone = 0;
	p->generation = 0;
	p->joins++;
	p->greeting = m->slots && m->shared->personality->greet ? GREETING_TICKS : 0;
	meet(m, p);
	if (p->parked == PARKED_ABSENT)
		mail_unpark(m, p);
	if (p->early)
		mail_rung(w, (uint16_t)id);
	p->early = false;
}

void mail_left(struct worker *w, uint32_t id)
{
	struct mail *m = &w->mail;
	struct mail_peer *p = mail_peer_of(m, id);

	if (m->slots)
		slots_left(m, id);
	if (!p)
		return;
	p->present = false;
	p->gone = p->generation;
	p->greeting = 0;
	forget(m, p);
}

/* ---- what we say ------------------------------------------------------------------------ */

static void publish(struct mail *m, struct mail_peer *p)
{
	if (!famez_tx_flush(&p->tx))
		return;
	if (famez_nudge(m->base, m->g, p->id, m->g->server_id, &p->tx.rung)) {
		p->tx.rings++;
		mail_ring(m, p);
	}
}

static void publish_all(struct mail *m)
{
	struct mail_peer *p;

	while ((p = STAILQ_FIRST(&m->dirty))) {
		STAILQ_REMOVE_HEAD(&m->dirty, dirty);
		p->is_dirty = false;
		publish(m, p);
	}
}

static void open_way(struct mail *m, struct mail_peer *p)
{
	if (!p->tx_open) {
		/* Nobody wrote here since we laid it out. What stands there all the same was put
		 * there to have us walk over it. */
		famez_store_relaxed(&famez_lane_at(m->base, m->g, p->id, m->g->server_id)->produced,
			UINT64_C(0));
		famez_store_relaxed((uint64_t *)(void *)famez_lane_data_at(
					    m->base, m->g, p->id, m->g->server_id),
			UINT64_C(0));
		famez_tx_open(&p->tx, m->base, m->g, p->id, m->g->server_id, m->generation,
			p->generation);
		p->tx_open = true;
	}
	if (p->tx.to != p->generation) {
		p->tx.to = p->generation;
		p->tx.rung = 0;
	}
}

int mail_put(struct mail *m, struct mail_peer *p, const void *payload, uint32_t bytes,
	uint16_t kind, uint16_t origin)
{
	void *room;
	int err;

	open_way(m, p);
	err = famez_tx_claim(&p->tx, bytes, &room);
	if (err) {
		m->counts.dropped++;
		m->spent += MAIL_COPY_COST;
		log_event(unread, LOG_NUMBER("id", p->id));
		return err;
	}
	memcpy(room, payload, bytes);
	famez_tx_commit(&p->tx, bytes, kind, origin);
	m->counts.sent++;
	m->spent += bytes + MAIL_COPY_COST;
	if (!p->is_dirty) {
		p->is_dirty = true;
		STAILQ_INSERT_TAIL(&m->dirty, p, dirty);
	}
	/* So that its reader can begin before we are at the turn's end. */
	if (famez_tx_unpublished(&p->tx) >= p->tx.bytes / 4)
		publish(m, p);
	return 0;
}

static void peer_name(const struct mail *m, const struct mail_peer *p, char name[FAMEZ_NAME_BYTES])
{
	name[0] = '\0';
	if (m->lanes)
		memcpy(name, famez_entry_at(m->base, m->g, p->id)->name, FAMEZ_NAME_BYTES);
	if (!name[0])
		memcpy(name, famez_slot_at(m->base, p->id)->name, FAMEZ_NAME_BYTES);
	name[FAMEZ_NAME_BYTES - 1] = '\0';
}

void mail_show(struct mail *m)
{
	const struct personality *who = m->shared->personality;
	uint32_t shown_count = 0, left_out = 0;
	uint64_t now = worker_now_ns();

	/* Whichever workers' peers asked for it. */
	if (m->showed_ns && now - m->showed_ns < SHOW_PAUSE_NS)
		return;
	m->showed_ns = now;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct mail_peer *p = &m->peers[i];
		struct personality_shown shown = {.state = ""};
		char name[FAMEZ_NAME_BYTES];

		if (!p->present)
			continue;
		if (shown_count == SHOW_PEERS_MAX) {
			left_out++;
			continue;
		}
		shown_count++;
		peer_name(m, p, name);
		who->show(p->memory, &shown);
		log_event(port, LOG_NUMBER("id", p->id), LOG_TEXT("name", name),
			LOG_TEXT("class", shown.cclass), LOG_NUMBER("cid", shown.cid),
			LOG_NUMBER("sid", shown.sid), LOG_TEXT("state", shown.state));
	}
	log_event(ports, LOG_NUMBER("worker", m->worker->nth), LOG_NUMBER("shown", shown_count),
		LOG_NUMBER("left_out", left_out));
}

/* Every worker logs its own; at most once a second, however often we are asked. */
static void show_all(struct mail *m)
{
	const struct mail_link link = {.what = LINK_SHOW};
	struct mail_shared *s = m->shared;
	uint64_t now = worker_now_ns();

	if (m->asked_ns && now - m->asked_ns < SHOW_PAUSE_NS)
		return;
	m->asked_ns = now;
	for (uint16_t to = 0; to < s->shards; to++) {
		struct mail_link_queue *queue = &s->links[m->worker->nth * s->shards + to];

		/* It did not come to look for a second: what is queued there will do. */
		if (mail_link_queue_room(queue) > 2 * LINKS_RELAYS_MAX)
			mail_link(m, to, &link);
	}
}

static void name_peer(struct mail *m, struct mail_peer *p, const struct personality_answer *answer)
{
	if (m->lanes) {
		struct famez_entry *e = famez_entry_at(m->base, m->g, p->id);

		famez_store_relaxed(&e->cid, answer->cid);
		famez_store_relaxed(&e->sid, answer->sid);
	}
	log_event(named, LOG_NUMBER("id", p->id), LOG_NUMBER("cid", answer->cid),
		LOG_NUMBER("sid", answer->sid));
}

void mail_hear(
	struct mail *m, struct mail_peer *p, const char *text, struct personality_answer *answer)
{
	const struct personality *who = m->shared->personality;
	struct personality_scene scene = scene_of(m, p);

	*answer = (struct personality_answer){.text = ""};
	who->said(p->memory, &scene, text, answer);
	m->counts.ignored += answer->ignored;
	if (answer->named)
		name_peer(m, p, answer);
	if (answer->show && who->show)
		show_all(m);
}

/* ---- what we hear ----------------------------------------------------------------------- */

enum taken {
	TAKEN,  /* done with it */
	PARKED, /* its lane waits */
	LATER,  /* once more, when the registrar's messages are taken */
};

static void hear(struct mail *m, struct mail_peer *p, const struct famez_seen *seen)
{
	struct personality_answer answer;
	char text[PERSONALITY_TEXT_BYTES];

	if (seen->bytes >= sizeof(text)) {
		m->counts.ignored++;
		return;
	}
	memcpy(text, seen->payload, seen->bytes);
	text[seen->bytes] = '\0';
	mail_hear(m, p, text, &answer);
	if (answer.text[0])
		(void)mail_put(m, p, answer.text, (uint32_t)strlen(answer.text),
			FAMEZ_KIND(FAMEZ_TYPE_LINK, 0), (uint16_t)m->g->server_id);
}

static enum taken obey(struct mail *m, struct mail_peer *p, const struct famez_seen *seen)
{
	unsigned group = FAMEZ_KIND_GROUP(seen->kind);
	bool gone = !p->present;

	switch ((enum famez_type)FAMEZ_KIND_TYPE(seen->kind)) {
	case FAMEZ_TYPE_GROUP:
		return groups_relay(m, p, seen) ? PARKED : TAKEN;
	case FAMEZ_TYPE_GROUP_ENTER:
		if (!gone)
			groups_enter(m, p, group);
		return TAKEN;
	case FAMEZ_TYPE_GROUP_EXIT:
		if (!gone)
			groups_exit(m, p, group);
		return TAKEN;
	case FAMEZ_TYPE_LINK:
		if (!gone)
			hear(m, p, seen);
		return TAKEN;
	case FAMEZ_TYPE_DATA:
		m->counts.data++;
		return TAKEN;
	}
	m->counts.ignored++;
	return TAKEN;
}

static enum taken take(struct mail *m, struct mail_peer *p, const struct famez_seen *seen)
{
	enum taken taken;

	if (!p->present && (!p->gone || seen->from != p->gone)) {
		mail_park(m, p, PARKED_ABSENT);
		return PARKED;
	}
	if (p->present && seen->from != p->generation) {
		if (!message_queue_empty(&m->worker->inbox))
			return LATER;
		/* Not if this is the first that we hear: it may have spoken by its slot. */
		if (p->generation)
			meet(m, p);
		p->generation = seen->from;
		p->greeting = 0;
	}
	taken = obey(m, p, seen);
	if (p->parked == PARKED_FULL)
		return taken; /* it comes again */
	m->counts.received++;
	m->counts.received_bytes += seen->bytes;
	return taken;
}

/* True: there is more than a turn takes. */
static bool take_lanes(struct mail *m)
{
	unsigned taken = 0, collects = 0;

	/* Who has us read on and on does not keep others from coming into hand. */
	(void)famez_inbox_collect(&m->reader);
	while (taken < MAIL_TURN_MESSAGES && m->spent < LANES_BYTES) {
		struct famez_seen seen;
		struct famez_rx *rx;
		struct mail_peer *p;
		int got = famez_inbox_next(&m->reader, &seen, &rx);

		if (!got) {
			if (collects++ == COLLECTS_MAX || !famez_inbox_collect(&m->reader))
				return false;
			continue;
		}
		taken++;
		m->took = true;
		p = container_of(rx, struct mail_peer, rx);
		if (got < 0) {
			m->counts.garbled++;
			log_event(garbled, LOG_NUMBER("id", p->id));
			continue;
		}
		m->spent += MAIL_COPY_COST;
		switch (take(m, p, &seen)) {
		case TAKEN:
			famez_inbox_release(&m->reader, rx);
			break;
		case PARKED:
			break;
		case LATER:
			return true;
		}
	}
	return true;
}

void mail_rung(struct worker *w, uint16_t vector)
{
	struct mail *m = &w->mail;
	struct mail_peer *p;

	/* Lanes are looked at anyway. */
	if (!m->slots)
		return;
	p = mail_peer_of(m, vector);
	if (p && !p->rung) {
		p->rung = true;
		STAILQ_INSERT_TAIL(&m->rung, p, rungs);
	}
}

static void take_slots(struct mail *m)
{
	struct mail_peer *p;

	/* Of an ID's next owner we hear only when we know that the last one left. */
	if (!message_queue_empty(&m->worker->inbox)) {
		m->busy = m->busy || !STAILQ_EMPTY(&m->rung);
		return;
	}
	for (unsigned taken = 0; (p = STAILQ_FIRST(&m->rung)); taken++) {
		if (taken == MAIL_TURN_MESSAGES) {
			m->busy = true;
			return;
		}
		STAILQ_REMOVE_HEAD(&m->rung, rungs);
		p->rung = false;
		if (p->present)
			slots_hear(m, p);
		else
			p->early = true; /* it joins, and then we look */
	}
}

/* ---- the turn --------------------------------------------------------------------------- */

static void on_tick(struct op *op, int res, uint32_t flags)
{
	(void)res;
	(void)flags;
	container_of(op, struct mail, tick)->ticked = true;
}

static void arm_tick(struct mail *m)
{
	struct io_uring_sqe *sqe;

	if (m->tick.in_kernel)
		return;
	m->tick_time = (struct __kernel_timespec){
		.tv_sec = (long long)(FAMEZ_TICK_NS / 1000000000u),
		.tv_nsec = (long long)(FAMEZ_TICK_NS % 1000000000u),
	};
	sqe = ring_sqe(&m->worker->ring);
	io_uring_prep_timeout(sqe, &m->tick_time, 0, 0);
	op_arm(&m->tick, sqe, on_tick);
}

/* Somebody may have undone what kept others from sleeping on: their doorbells, their bits.
 * Our own lanes are looked at by the turn that follows. */
static void look_after(struct mail *m, struct mail_peer *p)
{
	if (p->tx_open && famez_tx_unread(&p->tx)) {
		p->tx.rung = 0;
		if (famez_nudge(m->base, m->g, p->id, m->g->server_id, &p->tx.rung))
			mail_ring(m, p);
	}
	if (p->greeting)
		p->greeting = slots_greet(m, p) ? 0 : (uint8_t)(p->greeting - 1);
}

/* What stands in directory and slot of the server. */
static void introduce(struct mail *m)
{
	const struct personality *who = m->shared->personality;
	struct famez_slot *slot = famez_slot_at(m->base, m->g->server_id);

	(void)strncpy(slot->name, who->server_name, FAMEZ_NAME_BYTES - 1);
	if (!m->shared->mailbox->old_slots)
		(void)strncpy(slot->cclass, who->server_class, FAMEZ_NAME_BYTES - 1);
	if (m->lanes) {
		struct famez_entry *e = famez_entry_at(m->base, m->g, m->g->server_id);

		(void)strncpy(e->name, who->server_name, FAMEZ_NAME_BYTES - 1);
		(void)strncpy(e->cclass, who->server_class, FAMEZ_NAME_BYTES - 1);
	}
}

static void tick(struct mail *m)
{
	m->ticked = false;
	if (m->lanes && m->worker->nth == 0) {
		struct famez_entry *e = famez_entry_at(m->base, m->g, m->g->server_id);

		famez_store_relaxed(&e->heartbeat, ++m->heartbeat);
	}
	if (m->worker->nth == 0)
		introduce(m); /* in case somebody scribbled there */
	for (uint32_t i = 0; i < m->count; i++)
		if (m->peers[i].present)
			look_after(m, &m->peers[i]);
}

bool mail_turn(struct worker *w)
{
	struct mail *m = &w->mail;
	bool more = false;

	if (!m->slots && !m->lanes)
		return false;
	if (mailbox_lost(m->shared->mailbox)) {
		m->slots = m->lanes = false;
		return false;
	}
	m->spent = 0;
	m->busy = false;
	m->took = false;
	if (m->ticked)
		tick(m);
	if (m->lanes)
		more = take_lanes(m);
	/* What is passed on frees lanes that may have more of the same. */
	if (groups_turn(m))
		more = true;
	if (m->slots) {
		take_slots(m);
		slots_turn(m);
	}
	publish_all(m);
	arm_tick(m);
	return more || m->busy;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Is there something in a lane that we have in hand, or from other threads of ours? */
static bool has_come(const struct worker *w)
{
	const struct mail *m = &w->mail;
	const struct famez_rx *rx = m->reader.last;

	for (uint32_t n = m->reader.in_hand; n; n--) {
		rx = rx->next;
		if (famez_load_relaxed(famez_head_at(rx->data, rx->bytes, rx->at)))
			return true;
	}
	return !message_queue_empty(&w->inbox) || !groups_idle(m) || !slots_idle(m) ||
	       atomic_load_explicit(&w->any_thread.stop, memory_order_relaxed);
}

bool mail_poll(struct worker *w, uint64_t until_ns)
{
	struct mail *m = &w->mail;
	uint64_t now = worker_now_ns(), until;

	if (!m->spins || !m->took || !m->reader.in_hand || m->reader.in_hand > SPIN_LANES)
		return false;
	if (!m->spin_ns && ++m->spins_skipped < SPINS_SKIPPED)
		return false;
	m->spins_skipped = 0;
	until = now + (m->spin_ns ? m->spin_ns : SPIN_MAX_NS);
	if (until > until_ns)
		return false; /* others have waited long enough */
	do {
		for (unsigned look = 0; look < SPIN_LOOKS; look++) {
			if (has_come(w)) {
				m->spin_ns = m->spin_ns && m->spin_ns * 2 < SPIN_MAX_NS
						     ? m->spin_ns * 2
						     : SPIN_MAX_NS;
				return true;
			}
			relax();
		}
	} while (worker_now_ns() < until);
	m->spin_ns /= 2;
	if (m->spin_ns < SPIN_MIN_NS)
		m->spin_ns = 0;
	return false;
}

bool mail_sleep(struct worker *w)
{
	struct mail *m = &w->mail;

	if ((m->slots && !slots_idle(m)) || ((m->slots || m->lanes) && !groups_idle(m)))
		return false;
	return !m->lanes || !famez_inbox_sleep(&m->reader);
}

void mail_awake(struct worker *w)
{
	if (w->mail.lanes)
		famez_inbox_awake(&w->mail.reader);
}

void mail_report(const struct worker *w)
{
	struct report_mail *line;

	if (w->nth >= w->mail.shared->shards)
		return;
	line = &w->shared->report->mail[w->nth];
	*line = w->mail.counts;
	if (w->nth == 0)
		line->groups = groups_count(&w->mail);
}

/* ---- the beginning and the end ---------------------------------------------------------- */

static void open_inbox(struct mail *m)
{
	uint32_t server_id = m->g->server_id;
	uint16_t nth = m->worker->nth;

	m->generation = famez_load_relaxed(&famez_entry_at(m->base, m->g, server_id)->generation);
	m->reader = (struct famez_inbox_reader){
		.base = m->base,
		.g = m->g,
		.id = server_id,
		.sleep = famez_load_relaxed(famez_asleep_at(m->base, m->g, server_id, nth)),
		.shard = nth,
		.shards = m->shared->shards,
		.open = open_lane,
		.ring = ring_sender,
	};
}

/* A doorbell that was made to block, and is full, holds a thread of the kernel's until it is
 * read; who needs no thread (nearly all) waits for none of these. */
static void bound_threads(struct worker *w)
{
	unsigned most[2] = {0, DOORBELL_THREADS}; /* of bounded work: as it is */

	(void)io_uring_register_iowq_max_workers(&w->ring, most);
}

int mail_open(struct worker *w)
{
	struct mail_shared *shared = w->shared->mail;
	const struct mailbox *mailbox = shared->mailbox;
	struct mail *m = &w->mail;
	int err;

	*m = (struct mail){.worker = w, .shared = shared};
	if (w->nth >= shared->shards)
		return 0;
	m->base = mailbox->base;
	m->g = &mailbox->g;
	m->lanes = mailbox->layout == LAYOUT_LANES;
	/* Who rings must be told by the vector, or v1 clients can't speak to us. */
	m->slots = m->g->features & FAMEZ_FEATURE_VECTOR_IS_SENDER;
	m->count = mail_rings(m->g->ids, shared->shards);
	STAILQ_INIT(&m->dirty);
	STAILQ_INIT(&m->rung);
	m->peers = sys_calloc(m->count, sizeof(*m->peers));
	if (!m->peers)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->count; i++) {
		m->peers[i].mail = m;
		m->peers[i].id = i * shared->shards + w->nth;
	}
	err = groups_open(&m->groups, m->count);
	if (err)
		goto undo_peers;
	err = slots_open(m);
	if (err)
		goto undo_groups;
	if (m->lanes)
		open_inbox(m);
	m->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	m->spin_ns = SPIN_MAX_NS;
	bound_threads(w);
	if (w->nth == 0)
		introduce(m);
	return 0;

undo_groups:
	groups_close(&m->groups);
undo_peers:
	free(m->peers);
	m->peers = NULL;
	return err;
}

void mail_close(struct worker *w)
{
	struct mail *m = &w->mail;

	slots_close(m);
	groups_close(&m->groups);
	free(m->peers);
}
