/* SPDX-License-Identifier: MIT */
/*
 * mail_hear.c - what peers say to the server: records are taken from their lanes and texts from
 * their slots, and handed to whoever makes something of them.
 *
 * Runs in the worker's thread. Copies a text before it is looked at. Writes to a lane by
 * mail_put() only, waits for nothing, touches no socket. What is done with a message before it
 * is settled can be done again: a successor takes it once more.
 *
 * A message in a lane can overtake the log on its way to us: an ID's next owner may speak
 * before we have heard that the last one left. He speaks with another generation. So a
 * generation that is new waits until our queue from the registrar is empty: what led to the
 * message was put there before it was written.
 *
 *   the record is from      we know       then
 *   who left                              passed on to a group, if it is for one; else nothing
 *   the same generation     present       taken
 *   another                 present       queue empty first; he started anew, and is in no group
 *   another                 left, never   the lane waits for JOINED
 *
 * From who left is what stood in the lane when he did. The registrar looks how far that is
 * before it gives the ID to anybody else, and says so with JOINED and LEFT.
 */
#include "mail.h"

#include <errno.h>
#include <string.h>

#include "log.h"
#include "worker.h"

/* Peers of one worker that are logged when somebody asks to show them, and how often: any peer may
 * ask, so each line has to be earned, as many a second as of a flood (log.c). */
#define SHOW_PEERS_MAX 100u
#define SHOW_PAUSE_NS  1000000000u
#define SHOW_LINE_NS   100000000u

/* A turn's lanes may use up half of its bytes: what groups want then has the other half. */
#define LANES_BYTES (MAIL_TURN_BYTES / 2)

/* Looks at the bitmap in a turn: whoever sets and clears bits without end has no more. */
#define COLLECTS_MAX 4u

/* ---- texts ------------------------------------------------------------------------------ */

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
	if (now < m->show_next_ns)
		return;
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
	m->show_next_ns = now + (shown_count < SHOW_PAUSE_NS / SHOW_LINE_NS
						? SHOW_PAUSE_NS
						: (uint64_t)(shown_count + 1) * SHOW_LINE_NS);
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
	struct personality_scene scene = {.server_id = m->g->server_id, .peer_id = p->id};

	*answer = (struct personality_answer){.text = ""};
	p->touched = true;
	who->said(p->memory, &scene, text, answer);
	m->counts.ignored += answer->ignored;
	if (answer->named)
		name_peer(m, p, answer);
	if (answer->show && who->show)
		show_all(m);
}

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

/* ---- records ---------------------------------------------------------------------------- */

enum taken {
	TAKEN,  /* done with it */
	PARKED, /* its lane waits */
	LATER,  /* once more, when the registrar's messages are taken */
};

static enum taken obey(struct mail *m, struct mail_peer *p, const struct famez_seen *seen)
{
	unsigned group = FAMEZ_KIND_GROUP(seen->kind);

	switch ((enum famez_type)FAMEZ_KIND_TYPE(seen->kind)) {
	case FAMEZ_TYPE_GROUP:
		/* Where it stands is written down, so what stands before it is, too. */
		mail_settle_taken(m);
		return groups_relay(m, p, seen) ? PARKED : TAKEN;
	case FAMEZ_TYPE_GROUP_ENTER:
		groups_enter(m, p, group);
		return TAKEN;
	case FAMEZ_TYPE_GROUP_EXIT:
		groups_exit(m, p, group);
		return TAKEN;
	case FAMEZ_TYPE_LINK:
		if (groups_write_to(m, p)) {
			mail_park(m, p, PARKED_HALF);
			return PARKED;
		}
		hear(m, p, seen);
		return TAKEN;
	case FAMEZ_TYPE_DATA:
		m->counts.data++;
		return TAKEN;
	}
	m->counts.ignored++;
	return TAKEN;
}

/* Was it said by an owner of the ID who has left? As far as the lane was written when he did;
 * if that makes no sense, as far as we know him. */
static bool by_who_left(const struct mail_peer *p, const struct famez_seen *seen)
{
	return p->said - p->rx.at - 1 < p->rx.bytes || (p->gone && seen->from == p->gone);
}

static enum taken take(struct mail *m, struct mail_peer *p, const struct famez_seen *seen)
{
	enum taken taken;

	if (by_who_left(p, seen)) {
		if (FAMEZ_KIND_TYPE(seen->kind) != FAMEZ_TYPE_GROUP) {
			m->counts.stale++;
			return TAKEN;
		}
	} else if (!p->present) {
		mail_park(m, p, PARKED_ABSENT);
		return PARKED;
	} else if (seen->from != p->generation) {
		if (!message_queue_empty(&m->worker->inbox))
			return LATER;
		/* Not if this is the first that we hear: it may have spoken by its slot. */
		if (p->generation)
			mail_meet(m, p);
		p->generation = seen->from;
		p->greeting = 0;
		p->touched = true;
		m->unsettled = p;
	}
	taken = obey(m, p, seen);
	if (p->parked == PARKED_FULL || p->parked == PARKED_HALF)
		return taken; /* it comes again */
	m->counts.received++;
	m->counts.received_bytes += seen->bytes;
	return taken;
}

/* Done with what was taken last. Settled it is once its sender has no more, or somebody else's is
 * next, or much: before anything is given back. */
static void release(struct mail *m, struct mail_peer *p)
{
	m->unsettled = p;
	if (!famez_rx_release_quick(&p->rx)) {
		m->unsettled = NULL;
		mail_settle(m, p, p->rx.at + p->rx.size);
		famez_inbox_release(&m->reader, &p->rx);
		return;
	}
	/* So that its reader can begin before we are at the turn's end. */
	if (!famez_rx_ready(&p->rx) || famez_tx_unpublished(&p->tx) >= m->g->lane_bytes / 4)
		mail_settle_taken(m);
}

static bool take_some(struct mail *m)
{
	unsigned taken = 0, collects = 0;

	/* Who has us read on and on does not keep others from coming into hand. */
	(void)famez_inbox_collect(&m->reader);
	while (taken < MAIL_TURN_MESSAGES && m->spent < LANES_BYTES) {
		struct famez_seen seen;
		struct famez_rx *rx = NULL;
		struct mail_peer *p;
		int got = famez_inbox_next(&m->reader, &seen, &rx);

		if (m->unsettled && (!got || rx != &m->unsettled->rx))
			mail_settle_taken(m);
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
			m->unsettled = p;
			continue;
		}
		m->spent += MAIL_COPY_COST;
		switch (take(m, p, &seen)) {
		case TAKEN:
			release(m, p);
			break;
		case PARKED:
			break;
		case LATER:
			return true;
		}
	}
	return true;
}

/* True: there is more than a turn takes. */
bool mail_take_lanes(struct mail *m)
{
	bool more = take_some(m);

	mail_settle_taken(m);
	return more;
}

void mail_ringing(struct worker *w, uint16_t vector)
{
	struct mail *m = &w->mail;

	if (!m->slots || !mail_peer_of(m, vector))
		return;
	m->shared->state->mail[vector].rung = 1;
	state_point();
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

void mail_take_slots(struct mail *m)
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
