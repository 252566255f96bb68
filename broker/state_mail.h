/* SPDX-License-Identifier: MIT */
/*
 * state_mail.h - messages to the server, as they are written down in the state memory.
 *
 * What a peer said, what it was answered and what the personality makes of it go together: a
 * message must not be taken again whose answer can be read already, nor be lost with an answer
 * that can't. The instant that counts is the one at which the answer is published, the lane's S1
 * (famez/lane.h). So the worker
 *
 *   state_mail_begin()   writes into its slot how things stand once that has happened,
 *   publishes,
 *   state_mail_apply()   writes it down where it belongs, and empties the slot.
 *
 * A successor that finds the slot filled looks into the lane: where the answer can be read, it
 * applies the slot, else it forgets it, and the messages are taken again. Where nothing is
 * published the slot is applied in any case, so it also makes one change of several stores.
 *
 * A message to a group stays in its sender's lane until it was passed on to all. Of each copy
 * the slot says, besides, whose turn it is then; of each worker the sender's record, whether it
 * is done. So a successor passes it on from there.
 *
 * One writer a record: the worker of the peer's share. Pure, as state.h.
 */
#ifndef STATE_MAIL_H
#define STATE_MAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

/** state_mail_check() - what `check` must be, with the other fields as they are. */
uint64_t state_mail_check(const struct state_heard *heard);

/** state_mail_sound() - what stands there of @id is what was written. */
bool state_mail_sound(const struct state *state, uint32_t id);

/**
 * state_mail_begin() - @worker is about to publish in its lane to @id what lies between @tx_from
 * and @after->tx_at, or nothing; @after is how things stand then. Its `check` is filled in here.
 */
void state_mail_begin(struct state *state, uint16_t worker, uint32_t id, uint64_t tx_from,
	const struct state_heard *after);

/**
 * state_mail_begin_at() - the same where only positions change; @relay_at: and with them, whose
 * turn it is. Others pass state_relay_at().
 */
void state_mail_begin_at(struct state *state, uint16_t worker, uint32_t id, uint64_t tx_from,
	uint64_t rx_at, uint64_t tx_at, uint32_t relay_at);

/** state_mail_apply() - it has happened. Doing it again, in part or whole, changes nothing. */
void state_mail_apply(struct state *state, uint16_t worker);

/** state_mail_forget() - it has not. */
void state_mail_forget(struct state *state, uint16_t worker);

/**
 * state_mail_begun() - for a successor: to whom @worker was about to say something, or
 * STATE_NOBODY. *tx_from: where to look whether it was published; UINT64_MAX: nothing was to be.
 */
uint32_t state_mail_begun(const struct state *state, uint16_t worker, uint64_t *tx_from);

/** state_relay_begin() - what stands at @pos of @sender's lane is to be passed on. */
void state_relay_begin(struct state *state, uint32_t sender, uint64_t pos);

/** state_relay_begun() - is it already? *done: the workers that have passed it on, a bit each. */
bool state_relay_begun(const struct state *state, uint32_t sender, uint64_t pos, uint32_t *done);

/** state_relay_done() - by any worker: it has passed on what @sender said. */
void state_relay_done(struct state *state, uint16_t worker, uint32_t sender);

/** state_relay_end() - all have. */
void state_relay_end(struct state *state, uint32_t sender);

/** state_relay_take() - @worker passes it on now. Returns with which peer it begins. */
uint32_t state_relay_take(struct state *state, uint16_t worker, uint32_t sender, uint64_t pos);

/** state_relay_at() - with which it would go on. */
static inline uint32_t state_relay_at(const struct state *state, uint16_t worker)
{
	return state->workers[worker].relay.at;
}

#endif
