/* SPDX-License-Identifier: MIT */
/*
 * mail_resume.c - what is made of the state that a predecessor left: of each peer of a worker's
 * all is as it was, and nothing is forgotten that he owed anybody.
 *
 * Runs once in the worker's thread, before its first turn. Where nobody was here yet it comes to
 * nothing. May itself be cut short by death, and begun again.
 *
 * What he may have owed, and what is done about it:
 *
 *   an answer that was begun        it was published and counts, or was not, and its question is
 *                                   taken again (state_mail.h)
 *   a look into a lane              its bit in the file may have been cleared while it was in hand
 *                                   (C1 in lane.h): every lane that was ever used comes into hand
 *   room in a lane, V1 to V3        the careful look that each lane in hand has says it again
 *   a ring for room, after V3       `owed` in the state: rung
 *   a ring for a message, S3 to S5  whoever sleeps, and has not read all, is rung
 *   a look into a slot              `rung` in the state, set before a bell is emptied: taken up
 *   a join or leave                 the log is further than what is written of the peer
 */
#include "mail.h"

#include <stdatomic.h>
#include <string.h>

#include "log.h"
#include "state_mail.h"
#include "worker.h"

/* Did it happen, what this worker was about to do? */
static void redo(struct mail *m)
{
	struct state *state = m->shared->state;
	uint16_t nth = m->worker->nth;
	uint64_t tx_from = 0;
	uint32_t id = state_mail_begun(state, nth, &tx_from);

	if (id == STATE_NOBODY)
		return;
	if (mail_peer_of(m, id) &&
		(tx_from == UINT64_MAX || !m->lanes ||
			famez_tx_published(m->base, m->g, id, m->g->server_id, tx_from)))
		state_mail_apply(state, nth);
	else
		state_mail_forget(state, nth);
}

/* Nothing can be relied on: he is met anew, and both lanes go on where the other end is. */
static void begin_anew(struct mail *m, struct mail_peer *p)
{
	const uint64_t straight = ~(uint64_t)(FAMEZ_RECORD_ALIGN - 1);
	struct state_heard heard = {0};
	uint32_t server = m->g->server_id;

	log_event(mail_damaged, LOG_NUMBER("id", p->id));
	if (m->lanes) {
		const struct famez_lane *ours = famez_lane_at(m->base, m->g, p->id, server);
		const struct famez_lane *its = famez_lane_at(m->base, m->g, server, p->id);

		p->rx.at = famez_load_relaxed(&its->consumed) & straight;
		p->tx.at = p->tx.begun = famez_load_relaxed(&ours->produced) & straight;
	}
	heard.rx_at = p->rx.at;
	heard.tx_at = p->tx.at;
	state_mail_begin(m->shared->state, m->worker->nth, p->id, p->tx.at, &heard);
	state_mail_apply(m->shared->state, m->worker->nth);
}

static void take_over(struct mail_peer *p, const struct state_heard *heard)
{
	p->rx.at = heard->rx_at;
	p->tx.at = p->tx.begun = heard->tx_at;
	p->change = heard->change;
	p->present = heard->change & 1;
	p->generation = heard->generation;
	p->gone = heard->gone;
	p->greeting = heard->greeting ? MAIL_GREETING_TICKS : 0;
	memcpy(p->memory, heard->memory, sizeof(p->memory));
}

/* Was its lane to us, or ours to it, ever used? */
static bool was_used(const struct mail *m, const struct mail_peer *p)
{
	return p->rx.at ||
	       famez_load_acquire(&famez_lane_at(m->base, m->g, m->g->server_id, p->id)->produced);
}

static void look_at_lanes(struct mail *m, struct mail_peer *p)
{
	struct famez_rx *rx = was_used(m, p) ? mail_open_lane(m, p) : NULL;

	if (rx)
		famez_inbox_take(&m->reader, rx);
	if (p->tx.at) {
		mail_open_way(m, p);
		mail_wake(m, p);
	}
	if (m->shared->state->mail[p->id].owed)
		mail_ring(m, p);
}

static void resume_peer(struct mail *m, struct mail_peer *p)
{
	const struct state *state = m->shared->state;
	const struct state_member *member = &state->members[p->id];
	uint64_t change = atomic_load_explicit(&member->change, memory_order_acquire);

	p->said = member->said;
	p->joins = change > 0;
	if (state_mail_sound(state, p->id))
		take_over(p, &state->mail[p->id].heard);
	else
		begin_anew(m, p);
	groups_resume(m, p);
	/* In this order, and each written down: he may have gone, and another come. */
	if (p->change != change && (p->present || !(change & 1)))
		(void)mail_went(m, p, change & 1 ? p->change - 1 : change, member->said);
	if (p->change != change)
		mail_came(m, p, change, member->said);
	p->joins = change > 0;
	/* Only if it rang: who did not may be speaking to somebody else. */
	if (state->mail[p->id].rung)
		mail_rung(m->worker, (uint16_t)p->id);
	if (m->lanes)
		look_at_lanes(m, p);
}

void mail_resume(struct mail *m)
{
	redo(m);
	for (uint32_t i = 0; i < m->count; i++)
		if (m->peers[i].id < m->g->ids && m->peers[i].id != m->g->server_id)
			resume_peer(m, &m->peers[i]);
	if (m->lanes)
		groups_take_up(m);
	slots_resume(m);
}
