/* SPDX-License-Identifier: MIT */
/*
 * doorbells.c - commands that work against any ivshmem server: who is a member,
 * ringing and being rung. `watch` shows messages as well, where there are any.
 */
#include "doorbells.h"

#include "say.h"
#include "targets.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* After a peer's first vector the others follow; this is for those that have fewer than us. */
#define QUIET_SECONDS 0.1

enum outcome doorbells_id(struct session *s, const struct command *c, const struct words *w)
{
	if (w->count != 1)
		return command_usage(c);
	say_id(famez_id(s->f));
	return OUTCOME_OK;
}

enum outcome doorbells_peers(struct session *s, const struct command *c, const struct words *w)
{
	if (w->count != 1)
		return command_usage(c);
	say_peers(s->f);
	return OUTCOME_OK;
}

/* Rings the vectors from first up to end; a full one is said, and the others rung. */
static enum outcome ring_some(
	struct session *s, uint16_t peer, unsigned first, unsigned end, unsigned *rung)
{
	enum outcome outcome = OUTCOME_OK;

	for (unsigned vector = first; vector < end; vector++) {
		int err = famez_ring(s->f, peer, (uint16_t)vector);

		if (!err) {
			++*rung;
			continue;
		}
		outcome = OUTCOME_FAILED;
		if (err == -EAGAIN)
			say_error("peer %u, vector %u: rung too often without an answer", peer,
				vector);
		else if (err == -EINVAL)
			say_error("peer %u, vector %u: its descriptor was lost", peer, vector);
		else
			say_error("peer %u, vector %u: %s", peer, vector, strerror(-err));
	}
	return outcome;
}

/* Rings all others: this vector, or all of them if it is negative. */
static enum outcome ring_others(struct session *s, int vector)
{
	enum outcome outcome = OUTCOME_OK;
	unsigned rung = 0;

	for (int id = famez_peer_after(s->f, -1); id >= 0; id = famez_peer_after(s->f, id)) {
		unsigned vectors = famez_vectors(s->f, (uint16_t)id);
		unsigned first = vector < 0 ? 0 : (unsigned)vector;
		unsigned end = vector < 0 || first >= vectors ? vectors : first + 1;

		if (id == famez_id(s->f))
			continue;
		if (ring_some(s, (uint16_t)id, first, end, &rung) != OUTCOME_OK)
			outcome = OUTCOME_FAILED;
	}
	say_rang(-1, vector, rung);
	return outcome;
}

/* Rings one peer: this vector, or all of them if it is negative. */
static enum outcome ring_peer(struct session *s, uint16_t peer, int vector)
{
	unsigned vectors = famez_vectors(s->f, peer);
	enum outcome outcome;
	unsigned rung = 0;

	if (!vectors) {
		say_error("there is no peer %u (`peers` lists them)", peer);
		return OUTCOME_FAILED;
	}
	if (vector >= (int)vectors) {
		say_error("peer %u has no vector %d, only 0 to %u", peer, vector, vectors - 1);
		return OUTCOME_FAILED;
	}
	if (vector < 0)
		outcome = ring_some(s, peer, 0, vectors, &rung);
	else
		outcome = ring_some(s, peer, (unsigned)vector, (unsigned)vector + 1, &rung);
	if (rung)
		say_rang(peer, vector, rung);
	return outcome;
}

enum outcome doorbells_ring(struct session *s, const struct command *c, const struct words *w)
{
	bool others = w->count >= 2 && !strcmp(w->word[1], "all");
	uint16_t vector = 0;
	uint16_t peer = 0;
	bool all;

	if (w->count != 3 && !(w->count == 2 && others))
		return command_usage(c);
	if (!others) {
		enum outcome outcome = targets_id(w->word[1], &peer);

		if (outcome != OUTCOME_OK)
			return outcome;
	}
	all = w->count == 2 || !strcmp(w->word[2], "all");
	if (!all && !words_vector(w->word[2], &vector))
		return OUTCOME_USAGE;
	return others ? ring_others(s, all ? -1 : vector) : ring_peer(s, peer, all ? -1 : vector);
}

/* Rings that came before anybody asked. */
static unsigned long long show_pending(struct session *s)
{
	unsigned long long shown = 0;

	for (unsigned vector = 0; vector < FAMEZ_WIRE_VECTORS_MAX; vector++) {
		if (!s->pending[vector])
			continue;
		say_event_doorbell(vector, s->pending[vector]);
		s->pending[vector] = 0;
		shown++;
	}
	return shown;
}

/* Is this event one that session_show() shows? */
static bool is_shown(const struct session *s, const struct famez_event *event)
{
	switch (event->kind) {
	case FAMEZ_EVENT_VECTOR:
		return event->vector == 0 && event->peer != famez_id(s->f);
	case FAMEZ_EVENT_UP:
		return event->peer != famez_id(s->f);
	case FAMEZ_EVENT_DOORBELL:
	case FAMEZ_EVENT_LEFT:
	case FAMEZ_EVENT_LOST:
	case FAMEZ_EVENT_MESSAGE:
	case FAMEZ_EVENT_DOWN:
	case FAMEZ_EVENT_GARBLED:
		return true;
	case FAMEZ_EVENT_JOINED:
	case FAMEZ_EVENT_ROOM:
		break;
	}
	return false;
}

enum outcome doorbells_watch(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long most = ULLONG_MAX;
	unsigned long long shown;
	struct timespec deadline;
	struct famez_event event;
	bool counted = false;
	bool timed = false;
	double span;

	for (unsigned i = 1; i < w->count; i += 2) {
		bool last = i + 1 == w->count;

		if (!last && !strcmp(w->word[i], "--count") &&
			words_number(w->word[i + 1], ULLONG_MAX - 1, &most)) {
			counted = true;
		} else if (!last && !strcmp(w->word[i], "--for") &&
			   words_seconds(w->word[i + 1], &span)) {
			deadline = session_deadline(span);
			timed = true;
		} else {
			return command_usage(c);
		}
	}
	if (s->at_prompt)
		say_note(timed ? "watching; Ctrl-C ends it early" : "watching; Ctrl-C ends it");
	letters_want(s);
	shown = show_pending(s);
	shown += letters_show(s, most > shown ? most - shown : 0);
	if (s->gone && !s->told_gone) {
		session_show(s, &(struct famez_event){.kind = FAMEZ_EVENT_LOST});
		shown++;
	}
	while (shown < most) {
		int got = session_next(s, &event, timed ? &deadline : NULL);

		if (got == 0)
			return counted ? command_cut_short(0, "timed out before so many events")
				       : OUTCOME_OK;
		if (got < 0) {
			say_interrupted(); /* which is how a person ends it */
			return OUTCOME_OK;
		}
		if (!is_shown(s, &event))
			continue;
		session_show(s, &event);
		if (event.kind == FAMEZ_EVENT_DOORBELL)
			s->pending[event.vector] = 0;
		shown++;
	}
	return OUTCOME_OK;
}

/* The vector that has rung and that is asked for, -1 if none has. */
static int rung_vector(const struct session *s, int asked)
{
	if (asked >= 0)
		return s->pending[asked] ? asked : -1;
	for (int vector = 0; vector < FAMEZ_WIRE_VECTORS_MAX; vector++)
		if (s->pending[vector])
			return vector;
	return -1;
}

/* Takes "--timeout S" at the word i. */
static bool timeout(const struct words *w, unsigned i, struct timespec *deadline)
{
	double span;

	if (i + 2 != w->count || strcmp(w->word[i], "--timeout") != 0 ||
		!words_seconds(w->word[i + 1], &span))
		return false;
	*deadline = session_deadline(span);
	return true;
}

enum outcome doorbells_wait(struct session *s, const struct command *c, const struct words *w)
{
	struct timespec deadline;
	struct famez_event event;
	uint16_t vector = 0;
	int asked = -1;
	bool timed;
	unsigned i = 1;

	if (i < w->count && w->word[i][0] != '-') {
		if (!words_vector(w->word[i++], &vector))
			return OUTCOME_USAGE;
		asked = vector;
	}
	timed = i < w->count;
	if (timed && !timeout(w, i, &deadline))
		return command_usage(c);
	if (asked >= (int)famez_vectors(s->f, (uint16_t)famez_id(s->f))) {
		say_error("this client has no vector %d", asked);
		return OUTCOME_FAILED;
	}
	for (;;) {
		int rung = rung_vector(s, asked);
		int got;

		if (rung >= 0) {
			say_event_doorbell((unsigned)rung, s->pending[rung]);
			s->pending[rung] = 0;
			return OUTCOME_OK;
		}
		got = session_next(s, &event, timed ? &deadline : NULL);
		if (got <= 0)
			return command_cut_short(got, "timed out: nobody rang");
		if (s->loud && (event.kind != FAMEZ_EVENT_DOORBELL ||
				       (asked >= 0 && event.vector != asked)))
			session_show(s, &event);
	}
}

/* Waits until somebody of that name takes part in messages. */
static enum outcome await_name(
	struct session *s, const char *name, const struct timespec *deadline, uint16_t *peer)
{
	enum outcome outcome = letters_need(s);
	struct famez_event event;
	int found;

	if (outcome != OUTCOME_OK)
		return outcome;
	while ((found = famez_who_named(s->f, name)) < 0) {
		int got = session_next(s, &event, deadline);

		if (got <= 0)
			return command_cut_short(got, "timed out: nobody of that name has come");
		if (s->loud)
			session_show(s, &event);
	}
	*peer = (uint16_t)found;
	return OUTCOME_OK;
}

enum outcome doorbells_await(struct session *s, const struct command *c, const struct words *w)
{
	struct timespec deadline;
	struct timespec quiet;
	struct famez_event event;
	bool timed = w->count > 2;
	enum outcome outcome;
	uint16_t peer = 0;

	if (w->count < 2 || (timed && !timeout(w, 2, &deadline)))
		return command_usage(c);
	if (targets_is_id(w->word[1]) || targets_is_server(w->word[1]))
		outcome = targets_one(s, w->word[1], &peer);
	else
		outcome = await_name(s, w->word[1], timed ? &deadline : NULL, &peer);
	if (outcome != OUTCOME_OK)
		return outcome;
	for (;;) {
		unsigned vectors = famez_vectors(s->f, peer);
		int got;

		if (vectors &&
			(s->gone || vectors >= famez_vectors(s->f, (uint16_t)famez_id(s->f))))
			break;
		if (s->gone) {
			say_error("the server is gone, so peer %u can't come", peer);
			return OUTCOME_FAILED;
		}
		quiet = session_deadline(QUIET_SECONDS);
		got = session_next(s, &event, vectors ? &quiet : (timed ? &deadline : NULL));
		if (got == 0 && vectors)
			break;
		if (got <= 0)
			return command_cut_short(got, "timed out: that peer has not come");
		if (s->loud)
			session_show(s, &event);
	}
	say_present(peer, famez_vectors(s->f, peer));
	return OUTCOME_OK;
}
