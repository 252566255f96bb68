/* SPDX-License-Identifier: MIT */
/*
 * state_mail.c - messages to the server, as they are written down in the state memory.
 *
 * Makes no system call, sees no lane. Who publishes, and what a successor makes of it, is in
 * mail_peers.c and mail_resume.c.
 */
#include "state_mail.h"

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* ---- sums --------------------------------------------------------------------------------- */

/* Of words that are multiplied by a number each: so what a word adds to it can be exchanged
 * without a look at the others. The numbers are odd and as good as any (the golden ratio's bits,
 * counted on); only that they differ matters. */
#define FACTOR_STEP UINT64_C(0x9e3779b97f4a7c15)

enum word {
	WORD_RX_AT = 1,
	WORD_TX_AT,
	WORD_REST,
};

static uint64_t factor(unsigned nth)
{
	return (nth * FACTOR_STEP) | 1;
}

uint64_t state_mail_check(const struct state_heard *heard)
{
	const size_t from = offsetof(struct state_heard, change);
	uint64_t sum = heard->rx_at * factor(WORD_RX_AT) + heard->tx_at * factor(WORD_TX_AT);
	uint64_t rest[(sizeof(*heard) - offsetof(struct state_heard, change)) / sizeof(uint64_t)];

	memcpy(rest, (const char *)heard + from, sizeof(rest));
	for (unsigned i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		sum += rest[i] * factor(WORD_REST + i);
	return sum;
}

bool state_mail_sound(const struct state *s, uint32_t id)
{
	const struct state_heard *heard = &s->mail[id].heard;

	return heard->check == state_mail_check(heard);
}

/* ---- the slot ----------------------------------------------------------------------------- */

static void begin(
	struct state_worker *w, uint32_t id, uint64_t tx_from, bool whole, uint32_t relay_at)
{
	w->said.whole = whole;
	w->said.tx_from = tx_from;
	w->said.relay_at = relay_at;
	state_point();
	/* Release: whoever finds it filled finds all of it. */
	atomic_store_explicit(&w->said.id, id, memory_order_release);
	state_point();
}

void state_mail_begin(struct state *s, uint16_t worker, uint32_t id, uint64_t tx_from,
	const struct state_heard *after)
{
	struct state_worker *w = &s->workers[worker];

	assert(atomic_load_explicit(&w->said.id, memory_order_relaxed) == STATE_NOBODY);
	w->said.after = *after;
	w->said.after.check = state_mail_check(after);
	begin(w, id, tx_from, true, w->relay.at);
}

void state_mail_begin_at(struct state *s, uint16_t worker, uint32_t id, uint64_t tx_from,
	uint64_t rx_at, uint64_t tx_at, uint32_t relay_at)
{
	struct state_worker *w = &s->workers[worker];
	const struct state_heard *now = &s->mail[id].heard;
	struct state_heard *after = &w->said.after;

	assert(atomic_load_explicit(&w->said.id, memory_order_relaxed) == STATE_NOBODY);
	after->rx_at = rx_at;
	after->tx_at = tx_at;
	after->check = now->check + (rx_at - now->rx_at) * factor(WORD_RX_AT) +
		       (tx_at - now->tx_at) * factor(WORD_TX_AT);
	begin(w, id, tx_from, false, relay_at);
}

void state_mail_apply(struct state *s, uint16_t worker)
{
	struct state_worker *w = &s->workers[worker];
	uint32_t id = atomic_load_explicit(&w->said.id, memory_order_relaxed);
	const struct state_heard *after = &w->said.after;
	struct state_heard *now;

	assert(id != STATE_NOBODY);
	now = &s->mail[id].heard;
	if (w->said.whole) {
		*now = *after;
	} else {
		now->rx_at = after->rx_at;
		state_point();
		now->tx_at = after->tx_at;
		state_point();
		now->check = after->check;
	}
	state_point();
	w->relay.at = w->said.relay_at;
	state_point();
	state_mail_forget(s, worker);
}

void state_mail_forget(struct state *s, uint16_t worker)
{
	atomic_store_explicit(&s->workers[worker].said.id, STATE_NOBODY, memory_order_release);
	state_point();
}

uint32_t state_mail_begun(const struct state *s, uint16_t worker, uint64_t *tx_from)
{
	const struct state_worker *w = &s->workers[worker];
	uint32_t id = atomic_load_explicit(&w->said.id, memory_order_acquire);

	if (id == STATE_NOBODY)
		return id;
	*tx_from = w->said.tx_from == w->said.after.tx_at ? UINT64_MAX : w->said.tx_from;
	return id;
}

/* ---- what is passed on -------------------------------------------------------------------- */

void state_relay_begin(struct state *s, uint32_t sender, uint64_t pos)
{
	struct state_mail *m = &s->mail[sender];

	/* In this order: who was done with the last one is not done with this one. */
	m->relay_pos = 0;
	state_point();
	atomic_store_explicit(&m->relay_done, 0, memory_order_relaxed);
	state_point();
	m->relay_pos = pos | 1;
	state_point();
}

bool state_relay_begun(const struct state *s, uint32_t sender, uint64_t pos, uint32_t *done)
{
	const struct state_mail *m = &s->mail[sender];

	if (m->relay_pos != (pos | 1))
		return false;
	*done = atomic_load_explicit(&m->relay_done, memory_order_relaxed);
	return true;
}

void state_relay_done(struct state *s, uint16_t worker, uint32_t sender)
{
	(void)atomic_fetch_or_explicit(
		&s->mail[sender].relay_done, UINT32_C(1) << worker, memory_order_release);
	state_point();
}

void state_relay_end(struct state *s, uint32_t sender)
{
	s->mail[sender].relay_pos = 0;
	state_point();
}

uint32_t state_relay_take(struct state *s, uint16_t worker, uint32_t sender, uint64_t pos)
{
	struct state_worker *w = &s->workers[worker];

	if (w->relay.sender == sender && w->relay.pos == pos)
		return w->relay.at;
	w->relay.sender = STATE_NOBODY;
	state_point();
	w->relay.pos = pos;
	state_point();
	w->relay.at = 0;
	state_point();
	w->relay.sender = sender;
	state_point();
	return 0;
}
