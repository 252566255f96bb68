/* SPDX-License-Identifier: MIT */
/*
 * groups.c - what one peer says to many: passed on by the workers, each to its own members.
 *
 * Who is a member stands in one bit for each group and peer, at the worker that owns the
 * peer's lanes. The others only see how many members that worker has of a group.
 *
 * Why that look may be a relaxed one: a peer that was told by a member of its being one got
 * to know it through words that were released after the count was stored, and what it then
 * sends to the group we acquire from its lane. Who was not told by anybody can't know.
 */
#include "groups.h"

#include <assert.h>
#include <string.h>

#include "mail.h"
#include "state_mail.h"
#include "sys.h"
#include "worker.h"

static_assert(FAMEZ_GROUPS_MAX == 64 * 64, "a bit for each 64 of them fits a word");

void groups_open(struct mail *m)
{
	const struct state *state = m->shared->state;

	m->groups = (struct groups){
		.bits = state_groups(state, m->worker->nth),
		.words = state->head->group_words,
	};
	assert(m->groups.words * 64 >= m->count);
}

/* ---- half of a message in a lane -------------------------------------------------------- */

bool groups_write_to(const struct mail *m, const struct mail_peer *p)
{
	return m->groups.into == p;
}

/* It has all of it, or won't get it. */
static void stop_writing(struct mail *m)
{
	struct mail_peer *p = m->groups.into;

	m->groups.into = NULL;
	if (p->parked == PARKED_HALF)
		mail_unpark(m, p);
}

/* ---- who is a member -------------------------------------------------------------------- */

static uint32_t index_of(const struct mail *m, const struct mail_peer *p)
{
	return (uint32_t)(p - m->peers);
}

static _Atomic uint32_t *members_of(const struct mail *m, uint16_t worker, unsigned group)
{
	return &m->shared->members[(size_t)worker * FAMEZ_GROUPS_MAX + group];
}

/* Before its bit is set: who goes on for us looks for bits in these blocks only. */
static void enter_block(struct mail *m, struct mail_peer *p, unsigned group)
{
	uint64_t block = UINT64_C(1) << group / 64;

	if (p->blocks & block)
		return;
	p->blocks |= block;
	m->shared->state->mail[p->id].blocks = p->blocks;
	state_point();
}

static void change(struct mail *m, struct mail_peer *p, unsigned group, bool in)
{
	uint32_t index = index_of(m, p);
	uint64_t *word = &m->groups.bits[(size_t)group * m->groups.words + index / 64];
	uint64_t bit = UINT64_C(1) << (index % 64);
	_Atomic uint32_t *members = members_of(m, m->worker->nth, group);
	uint32_t count = atomic_load_explicit(members, memory_order_relaxed);

	if (!(*word & bit) == !in)
		return;
	if (in) {
		enter_block(m, p, group);
		count++;
		p->groups++;
		m->counts.memberships++;
	} else {
		count--;
		p->groups--;
		m->counts.memberships--;
	}
	*word ^= bit;
	state_point();
	atomic_store_explicit(members, count, memory_order_relaxed);
}

void groups_enter(struct mail *m, struct mail_peer *p, unsigned group)
{
	if (group)
		change(m, p, group, true);
	else
		m->counts.ignored++;
}

void groups_exit(struct mail *m, struct mail_peer *p, unsigned group)
{
	if (group)
		change(m, p, group, false);
	else
		m->counts.ignored++;
}

void groups_leave(struct mail *m, struct mail_peer *p)
{
	/* Whoever has the lane from now on is not to be told what was meant for him. */
	if (groups_write_to(m, p))
		stop_writing(m);
	if (!p->blocks)
		return;
	/* Many may leave at once, and most are in few groups. */
	for (; p->blocks; p->blocks &= p->blocks - 1) {
		unsigned first = (unsigned)__builtin_ctzll(p->blocks) * 64;

		for (unsigned group = first; p->groups && group < first + 64; group++)
			change(m, p, group, false);
	}
	assert(!p->groups);
	m->shared->state->mail[p->id].blocks = 0;
	state_point();
}

/* ---- what a predecessor left ------------------------------------------------------------ */

/* Of @blocks, the first group from @group on that the bit is set of; FAMEZ_GROUPS_MAX: none. */
static unsigned next_group(
	const uint64_t *bits, uint32_t words, uint32_t index, uint64_t blocks, unsigned group)
{
	for (; group < FAMEZ_GROUPS_MAX; group++) {
		if (!(blocks >> group / 64 & 1))
			group |= 63;
		else if (bits[(size_t)group * words + index / 64] >> index % 64 & 1)
			break;
	}
	return group;
}

void groups_recount(const struct mail_shared *shared)
{
	const struct state *state = shared->state;
	const uint32_t words = state->head->group_words;

	for (uint32_t id = 0; id < shared->mailbox->g.ids; id++) {
		uint16_t worker = (uint16_t)(id % shared->shards);
		const uint64_t *bits = state_groups(state, worker);
		uint64_t blocks = state->mail[id].blocks;
		uint32_t index = id / shared->shards;

		for (unsigned group = 0; blocks; group++) {
			group = next_group(bits, words, index, blocks, group);
			if (group >= FAMEZ_GROUPS_MAX)
				break;
			shared->members[(size_t)worker * FAMEZ_GROUPS_MAX + group]++;
		}
	}
}

void groups_resume(struct mail *m, struct mail_peer *p)
{
	const struct groups *g = &m->groups;

	p->blocks = m->shared->state->mail[p->id].blocks;
	for (unsigned group = 0; p->blocks; group++) {
		group = next_group(g->bits, g->words, index_of(m, p), p->blocks, group);
		if (group >= FAMEZ_GROUPS_MAX)
			return;
		p->groups++;
		m->counts.memberships++;
	}
}

/* ---- how many --------------------------------------------------------------------------- */

unsigned groups_count(const struct mail *m)
{
	unsigned count = 0;

	for (unsigned group = 1; group < FAMEZ_GROUPS_MAX; group++) {
		uint32_t members = 0;

		for (uint16_t w = 0; w < m->shared->shards; w++)
			members +=
				atomic_load_explicit(members_of(m, w, group), memory_order_relaxed);
		count += members > 0;
	}
	return count;
}

/* ---- passing on ------------------------------------------------------------------------- */

static struct mail_link link_of(uint32_t sender, uint64_t pos, const struct famez_seen *seen)
{
	return (struct mail_link){
		.what = LINK_RELAY,
		.payload = seen->payload,
		.bytes = seen->bytes,
		.sender = sender,
		.pos = pos,
		.kind = FAMEZ_KIND(FAMEZ_TYPE_GROUP, FAMEZ_KIND_GROUP(seen->kind)),
		/* Whose lane it is in, whatever the record says. */
		.origin = (uint16_t)sender,
	};
}

/* Has that worker members of it? */
static bool wanted_of(const struct mail *m, uint16_t worker, unsigned group)
{
	return atomic_load_explicit(members_of(m, worker, group), memory_order_relaxed) > 0;
}

bool groups_relay(struct mail *m, struct mail_peer *p, const struct famez_seen *seen)
{
	unsigned group = FAMEZ_KIND_GROUP(seen->kind);
	const struct mail_link link = link_of(p->id, p->rx.at, seen);
	struct state *state = m->shared->state;
	bool again;
	uint32_t done = 0;
	uint8_t asked = 0;

	if (!group) {
		m->counts.ignored++;
		return false;
	}
	if (m->groups.relays == LINKS_RELAYS_MAX) {
		m->groups.starved = true;
		mail_park(m, p, PARKED_FULL);
		return true;
	}
	m->counts.group_messages++;
	/* Did a predecessor begin? Then somebody may be at it, whose members have gone. */
	again = state_relay_begun(state, p->id, link.pos, &done);
	for (uint16_t to = 0; to < m->shared->shards; to++) {
		if (done >> to & 1 || !(again || wanted_of(m, to, group)))
			continue;
		if (!asked++ && !again)
			state_relay_begin(state, p->id, link.pos);
		mail_link(m, to, &link);
	}
	if (!asked)
		return false;
	m->groups.relays++;
	p->relayed = asked;
	mail_park(m, p, PARKED_RELAY);
	return true;
}

/* One worker less that @p's record waits for. */
static void done(struct mail *m, struct mail_peer *p)
{
	assert(p->parked == PARKED_RELAY && p->relayed);
	if (--p->relayed)
		return;
	m->groups.relays--;
	mail_settle(m, p, p->rx.at + p->rx.size);
	state_relay_end(m->shared->state, p->id);
	famez_inbox_release(&m->reader, &p->rx);
	mail_unpark(m, p);
	if (!m->groups.starved)
		return;
	m->groups.starved = false;
	for (uint32_t i = 0; i < m->count; i++)
		if (m->peers[i].parked == PARKED_FULL)
			mail_unpark(m, &m->peers[i]);
}

/* The next member that it is for, from `at` on; NULL: there is none. */
static struct mail_peer *next_member(struct mail *m)
{
	struct groups *g = &m->groups;
	const uint64_t *row = &g->bits[(size_t)FAMEZ_KIND_GROUP(g->link.kind) * g->words];

	while (g->at / 64 < g->words) {
		uint64_t bits = row[g->at / 64] & UINT64_MAX << g->at % 64;
		struct mail_peer *p;

		if (!bits) {
			g->at = (g->at / 64 + 1) * 64;
			continue;
		}
		g->at = g->at / 64 * 64 + (uint32_t)__builtin_ctzll(bits);
		p = &m->peers[g->at++];
		if (p->id != g->link.sender)
			return p;
	}
	return NULL;
}

/* As much as this turn has room for into the lane that we are at. */
static void write_some(struct mail *m)
{
	struct groups *g = &m->groups;
	uint64_t most = MAIL_TURN_BYTES - m->spent;
	uint32_t left = g->link.bytes - g->copied;
	uint32_t bytes = left < most ? left : (uint32_t)most;

	memcpy(g->room + g->copied, (const char *)g->link.payload + g->copied, bytes);
	g->copied += bytes;
	m->spent += bytes;
	if (bytes < left)
		return;
	mail_commit(m, g->into, g->link.bytes, g->link.kind, g->link.origin);
	/* One by one: that it has it, and whose turn is next, is so at the same instant. */
	mail_settle_copy(m, g->into, g->at);
	m->counts.group_copies++;
	stop_writing(m);
}

/* Into some members' lanes. True: it was passed on to all of ours. */
static bool pass_on(struct mail *m)
{
	struct groups *g = &m->groups;

	while (m->spent < MAIL_TURN_BYTES) {
		struct mail_peer *p;
		void *room;

		if (g->into) {
			write_some(m);
			continue;
		}
		p = next_member(m);
		if (!p)
			return true;
		/* A plan of faults can have a member miss one: see sys.h. */
		if (sys_fault(SYS_relay) || mail_claim(m, p, g->link.bytes, &room))
			continue;
		g->into = p;
		g->room = room;
		g->copied = 0;
	}
	return false;
}

/* The next that is asked of us, of every worker in turn. False: nothing is. */
static bool take_link(struct mail *m)
{
	struct groups *g = &m->groups;
	uint16_t shards = m->shared->shards;

	for (uint16_t n = 1; n <= shards; n++) {
		uint16_t from = (uint16_t)((g->from + n) % shards);

		if (mail_link_queue_take(
			    &m->shared->links[from * shards + m->worker->nth], &g->link)) {
			g->from = from;
			return true;
		}
	}
	return false;
}

static void passed_on(struct mail *m)
{
	struct groups *g = &m->groups;
	const struct mail_link link = {.what = LINK_DONE, .sender = g->link.sender};
	bool asked = !g->unasked;

	g->active = g->unasked = false;
	state_relay_done(m->shared->state, m->worker->nth, link.sender);
	if (!asked)
		return;
	if (g->from == m->worker->nth)
		done(m, mail_peer_of(m, link.sender));
	else
		mail_link(m, g->from, &link);
}

/* With which of our peers: behind all of them, if we have passed it on before we were asked. */
static uint32_t begin_at(struct mail *m)
{
	const struct mail_link *link = &m->groups.link;
	struct state *state = m->shared->state;
	uint16_t nth = m->worker->nth;
	uint32_t done = 0;

	if (state_relay_begun(state, link->sender, link->pos, &done) && done >> nth & 1)
		return m->count;
	return state_relay_take(state, nth, link->sender, link->pos);
}

void groups_take_up(struct mail *m)
{
	struct state *state = m->shared->state;
	const struct state_worker *w = &state->workers[m->worker->nth];
	uint32_t sender = w->relay.sender, done = 0;
	struct famez_seen seen;
	struct famez_rx rx;

	if (sender >= m->g->ids || !state_relay_begun(state, sender, w->relay.pos, &done) ||
		done >> m->worker->nth & 1)
		return;
	/* Its sender's worker won't let it go before we have said that we are done. */
	famez_rx_resume(&rx, m->base, m->g, m->g->server_id, sender, m->generation, w->relay.pos);
	m->groups.active = m->groups.unasked = true;
	m->groups.link = (struct mail_link){.what = LINK_RELAY, .sender = sender};
	m->groups.at = m->count; /* nobody's, unless it is what it must have been */
	if (rx.at != w->relay.pos || !famez_rx_ready(&rx) || famez_rx_peek(&rx, &seen) != 1 ||
		FAMEZ_KIND_TYPE(seen.kind) != FAMEZ_TYPE_GROUP)
		return;
	m->groups.link = link_of(sender, w->relay.pos, &seen);
	m->groups.at = w->relay.at;
}

bool groups_turn(struct mail *m)
{
	struct groups *g = &m->groups;
	bool any = false;

	while (m->spent < MAIL_TURN_BYTES && (g->active || take_link(m))) {
		any = true;
		if (!g->active) {
			switch ((enum mail_link_kind)g->link.what) {
			case LINK_DONE:
				done(m, mail_peer_of(m, g->link.sender));
				continue;
			case LINK_SHOW:
				mail_show(m);
				continue;
			case LINK_RELAY:
				g->active = true;
				g->at = begin_at(m);
			}
		}
		if (pass_on(m))
			passed_on(m);
	}
	return any;
}

bool groups_idle(const struct mail *m)
{
	uint16_t shards = m->shared->shards;

	if (m->groups.active)
		return false;
	for (uint16_t from = 0; from < shards; from++)
		if (!mail_link_queue_empty(&m->shared->links[from * shards + m->worker->nth]))
			return false;
	return true;
}
