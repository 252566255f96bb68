/* SPDX-License-Identifier: MIT */
/*
 * talk.c - commands that ask and wait for answers: who is there and lives, the
 * ping, the conversation by which the fabric's manager gives out IDs.
 */
#include "talk.h"

#include "histogram.h"
#include "link.h"
#include "say.h"
#include "saymail.h"
#include "targets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PINGS_MAX      1000000
#define ANSWER_SECONDS 5.0
/* A peer shows every second that it lives (FAMEZ_TICK_NS); two must do for a slow one. */
#define BEAT_SECONDS 2.2
#define LOOK_SECONDS 0.05

static unsigned long long ns_since(const struct timespec *begun)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)(now.tv_sec - begun->tv_sec) * 1000000000u +
	       (unsigned long long)(now.tv_nsec - begun->tv_nsec);
}

/* Everyone in the directory; free() it. NULL: no memory. */
static struct saymail_row *rows_of(struct session *s, unsigned *count)
{
	struct saymail_row *rows;
	unsigned room = 0;

	*count = 0;
	for (int id = famez_who_after(s->f, -1); id >= 0; id = famez_who_after(s->f, id))
		room++;
	rows = calloc(room + 1, sizeof(*rows));
	if (!rows)
		return NULL;
	for (int id = famez_who_after(s->f, -1); id >= 0 && *count < room;
		id = famez_who_after(s->f, id)) {
		struct saymail_row *row = &rows[*count];

		if (famez_who(s->f, (uint16_t)id, &row->who))
			continue; /* left just now */
		row->alive = SAYMAIL_UNKNOWN;
		if (id == famez_id(s->f))
			row->alive = SAYMAIL_ALIVE;
		else if (row->who.server)
			row->alive = s->gone ? SAYMAIL_SILENT : SAYMAIL_ALIVE;
		++*count;
	}
	return rows;
}

/* Looks once more whether those show a heartbeat who haven't yet. Returns how many didn't. */
static unsigned listen_once(struct session *s, struct saymail_row *rows, unsigned count)
{
	unsigned silent = 0;

	for (unsigned i = 0; i < count; i++) {
		struct famez_who now;

		if (!rows[i].who.lanes || rows[i].alive == SAYMAIL_ALIVE || rows[i].who.server)
			continue;
		rows[i].alive = SAYMAIL_SILENT;
		if (!famez_who(s->f, rows[i].who.id, &now) &&
			(now.heartbeat != rows[i].who.heartbeat ||
				now.generation != rows[i].who.generation))
			rows[i].alive = SAYMAIL_ALIVE;
		else
			silent++;
	}
	return silent;
}

static int listen_to_hearts(struct session *s, struct saymail_row *rows, unsigned count)
{
	struct timespec end = session_deadline(BEAT_SECONDS);

	while (listen_once(s, rows, count) && !session_past(&end)) {
		struct timespec look = session_deadline(LOOK_SECONDS);
		struct famez_event event;
		int got = session_next(s, &event, &look);

		if (got < 0)
			return got;
		if (got > 0 && s->loud)
			session_show(s, &event);
	}
	return 0;
}

static enum outcome show_directory(struct session *s, bool listen)
{
	unsigned count;
	struct saymail_row *rows = rows_of(s, &count);

	if (!rows) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	if (listen && listen_to_hearts(s, rows, count) == -EINTR) {
		say_interrupted();
		free(rows);
		return OUTCOME_FAILED;
	}
	saymail_who(s->f, rows, count);
	free(rows);
	return OUTCOME_OK;
}

enum outcome talk_who(struct session *s, const struct command *c, const struct words *w)
{
	bool now = w->count == 2 && !strcmp(w->word[1], "--now");
	enum outcome outcome;

	if (w->count != 1 && !now)
		return command_usage(c);
	outcome = letters_need(s);
	return outcome == OUTCOME_OK ? show_directory(s, !now) : outcome;
}

enum outcome talk_dump(struct session *s, const struct command *c, const struct words *w)
{
	struct famez_to to = {.type = FAMEZ_MESSAGE_LINK};
	int server;
	int err;

	if (w->count != 1)
		return command_usage(c);
	letters_want(s);
	if (!s->mail.open) {
		say_peers(s->f); /* all that is known without a directory; ivshmem-client's dump */
		return OUTCOME_OK;
	}
	server = famez_server_id(s->f);
	if (server >= 0) {
		to.peer = (uint16_t)server;
		err = letters_send(s, &to, "dump", 4, LETTERS_PATIENCE_SECONDS);
		if (err)
			return letters_failed(s, to.peer, err, LETTERS_PATIENCE_SECONDS);
	}
	return show_directory(s, false);
}

struct ping {
	uint16_t peer;
	bool answered;
};

static bool hear_pong(struct session *s, void *who, const struct letter *l)
{
	struct ping *p = who;

	(void)s;
	if (l->from != p->peer || p->answered || !link_is(l, "pong"))
		return false;
	p->answered = true;
	return true;
}

/* One ping and its pong. Without a tracker, which drivers of guests do not expect. */
static enum outcome ping_once(
	struct session *s, struct ping *p, struct histogram *h, double patience)
{
	struct famez_to to = {.peer = p->peer, .type = FAMEZ_MESSAGE_LINK};
	struct timespec end = session_deadline(patience);
	struct famez_event event;
	struct timespec begun;
	unsigned long long ns;
	int err;

	p->answered = false;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	err = letters_send(s, &to, "ping", 4, patience);
	if (err)
		return letters_failed(s, p->peer, err, patience);
	while (!p->answered) {
		int got = session_next(s, &event, &end);

		if (got > 0 && s->loud)
			session_show(s, &event);
		if (p->answered)
			break;
		if (got > 0 && (event.kind == FAMEZ_EVENT_LEFT || event.kind == FAMEZ_EVENT_DOWN) &&
			event.peer == p->peer && !letters_generation(s, p->peer)) {
			say_error("peer %u has left", p->peer);
			return OUTCOME_FAILED;
		}
		if (got == -EINTR)
			return command_cut_short(got, NULL);
		if (got == 0) {
			say_error(
				"timed out: peer %s does not answer", saymail_peer(s->f, p->peer));
			return OUTCOME_TIMED_OUT;
		}
	}
	ns = ns_since(&begun);
	histogram_record(h, ns);
	saymail_pong(s->f, p->peer, ns);
	return OUTCOME_OK;
}

static enum outcome ping_peer(
	struct session *s, uint16_t peer, unsigned long long count, double patience)
{
	struct histogram *h = malloc(sizeof(*h));
	struct ping p = {.peer = peer};
	enum outcome outcome = OUTCOME_OK;

	if (!h) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	histogram_init(h);
	s->mail.hear = hear_pong;
	s->mail.who = &p;
	while (count-- && outcome == OUTCOME_OK)
		outcome = ping_once(s, &p, h, patience);
	s->mail.hear = NULL;
	if (h->count)
		saymail_pings(s->f, peer, h);
	free(h);
	return outcome;
}

enum outcome talk_ping(struct session *s, const struct command *c, const struct words *w)
{
	static struct targets targets;
	unsigned long long count = 1;
	double patience = ANSWER_SECONDS;
	const char *value;
	unsigned at = 2;
	enum outcome worst = OUTCOME_OK;
	enum outcome outcome;

	if (at < w->count && w->word[at][0] != '-' &&
		(!words_number(w->word[at++], PINGS_MAX, &count) || !count))
		return command_usage(c);
	if (words_option(w, &at, "--timeout", &value) &&
		(!value || !words_seconds(value, &patience)))
		return command_usage(c);
	if (w->count < 2 || at != w->count)
		return command_usage(c);
	outcome = letters_need(s);
	if (outcome == OUTCOME_OK)
		outcome = targets_find(s, w->word[1], &targets);
	if (outcome != OUTCOME_OK)
		return outcome;
	for (unsigned i = 0; i < targets.count && s->f; i++) {
		outcome = ping_peer(s, targets.id[i], count, patience);
		if (outcome == OUTCOME_FAILED)
			return outcome;
		if (outcome != OUTCOME_OK)
			worst = outcome;
	}
	return worst;
}

/* The five messages: we ask; the server writes our IDs; we acknowledge; it asks what we are; we
 * tell. link.c knows the answers. */
#define RFC_MESSAGES 5

struct rfc {
	uint16_t server;
	unsigned messages;
	bool written;
};

static bool hear_rfc(struct session *s, void *who, const struct letter *l)
{
	char answer[LINK_TEXT_MAX];
	struct rfc *r = who;

	if (l->from != r->server || link_is(l, "ping") || !link_begins(l, "") ||
		!link_answer(s, l, answer))
		return false;
	r->written |= link_begins(l, "CTL-Write ");
	letters_answer(s, r->server, answer);
	saymail_letter(l);
	saymail_said(s->f, r->server, answer);
	/* Before it has written our IDs, that it asks what we are is not of this conversation. */
	if (r->written)
		r->messages += 2;
	return true;
}

static enum outcome converse(struct session *s, struct rfc *r)
{
	struct famez_to to = {.peer = r->server, .type = FAMEZ_MESSAGE_LINK};
	struct timespec end = session_deadline(ANSWER_SECONDS);
	struct famez_event event;
	char text[LINK_TEXT_MAX];
	int err;

	link_begin(s, text, "Link RFC TTC=27us");
	err = letters_send(s, &to, text, strlen(text), LETTERS_PATIENCE_SECONDS);
	if (err)
		return letters_failed(s, r->server, err, LETTERS_PATIENCE_SECONDS);
	saymail_said(s->f, r->server, text);
	r->messages = 1;
	while (r->messages < RFC_MESSAGES) {
		int got = session_next(s, &event, &end);

		if (got == 0 && r->messages < RFC_MESSAGES) {
			say_error("timed out: the server did not go on after message %u of %d",
				r->messages, RFC_MESSAGES);
			return OUTCOME_TIMED_OUT;
		}
		if (got < 0)
			return command_cut_short(got, NULL);
		if (got > 0 && s->loud)
			session_show(s, &event);
	}
	saymail_rfc(r->messages, s->mail.cid, s->mail.sid);
	return OUTCOME_OK;
}

enum outcome talk_rfc(struct session *s, const struct command *c, const struct words *w)
{
	struct rfc r = {0};
	enum outcome outcome;

	if (w->count != 1)
		return command_usage(c);
	outcome = letters_need(s);
	if (outcome == OUTCOME_OK)
		outcome = targets_one(s, "server", &r.server);
	if (outcome != OUTCOME_OK)
		return outcome;
	s->mail.hear = hear_rfc;
	s->mail.who = &r;
	outcome = converse(s, &r);
	s->mail.hear = NULL;
	return outcome;
}
