/* SPDX-License-Identifier: MIT */
/*
 * messages.c - commands that say something: to peers, to groups, in another's
 * name, a file, or as fast as can be.
 */
#include "messages.h"

#include "bench.h"
#include "say.h"
#include "saymail.h"
#include "serve.h"
#include "targets.h"
#include "upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_BYTES   100
#define BENCH_SECONDS 2.0
#define GROUP_MAX     4095

/* The same to all of them. Of many, one that fails does not keep the others from it. */
static enum outcome send_all(struct session *s, const struct targets *t, struct famez_to to,
	double patience, const void *payload, size_t bytes, const char *what)
{
	enum outcome outcome = OUTCOME_OK;
	unsigned sent = 0;

	for (unsigned i = 0; i < t->count; i++) {
		int err;

		to.peer = t->id[i];
		err = letters_send(s, &to, payload, bytes, patience);
		if (!err) {
			sent++;
			continue;
		}
		if (t->many && err == -ENOTCONN)
			continue; /* left since we looked */
		outcome = letters_failed(s, to.peer, err, patience);
		if (err == -EINTR || !s->f)
			return outcome;
	}
	if (sent || t->many)
		saymail_sent(what, sent, bytes);
	return outcome;
}

/* How something is said. */
struct manner {
	struct famez_to to;
	bool hex;        /* the words spell bytes */
	double patience; /* seconds, for who does not read */
};

/* The words from @at on: whom to, and what. */
static enum outcome say_words(struct session *s, const struct command *c, const struct words *w,
	unsigned at, const struct manner *how)
{
	static struct targets targets;
	enum outcome outcome;
	size_t bytes = 0;
	void *payload;

	if (at + 2 > w->count)
		return command_usage(c);
	outcome = letters_need(s);
	if (outcome == OUTCOME_OK)
		outcome = targets_find(s, w->word[at], &targets);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (how->hex) {
		payload = words_bytes(w, at + 1, &bytes);
		if (!payload)
			return OUTCOME_USAGE;
	} else {
		payload = words_text(w, at + 1);
		if (!payload) {
			say_error("out of memory");
			return OUTCOME_FAILED;
		}
		bytes = strlen(payload);
	}
	outcome = send_all(s, &targets, how->to, how->patience, payload, bytes, c->name);
	free(payload);
	return outcome;
}

static enum outcome send_file(
	struct session *s, const char *path, const char *whom, double patience)
{
	static struct targets targets;
	enum outcome outcome = letters_need(s);
	enum outcome worst = OUTCOME_OK;

	if (outcome == OUTCOME_OK)
		outcome = targets_find(s, whom, &targets);
	if (outcome != OUTCOME_OK)
		return outcome;
	for (unsigned i = 0; i < targets.count && s->f; i++) {
		struct famez_who who;

		/* Whoever is meant by "all", it is not those who can't. */
		if (targets.many &&
			(famez_who(s->f, targets.id[i], &who) || !who.lanes || who.server))
			continue;
		outcome = upload_send(s, targets.id[i], path, patience);
		if (outcome != OUTCOME_OK)
			worst = outcome;
	}
	return worst;
}

enum outcome messages_send(struct session *s, const struct command *c, const struct words *w)
{
	struct manner how = {
		.to = {.type = FAMEZ_MESSAGE_DATA}, .patience = LETTERS_PATIENCE_SECONDS};
	const char *path = NULL;
	unsigned at = 1;

	for (; at < w->count && w->word[at][0] == '-'; at++) {
		if (!strcmp(w->word[at], "--link"))
			how.to.type = FAMEZ_MESSAGE_LINK;
		else if (!strcmp(w->word[at], "--hex"))
			how.hex = true;
		else if (!strcmp(w->word[at], "--file") && at + 1 < w->count)
			path = w->word[++at];
		else if (!strcmp(w->word[at], "--timeout") && at + 1 < w->count &&
			 words_seconds(w->word[at + 1], &how.patience))
			at++;
		else
			return command_usage(c);
	}
	if (!path)
		return say_words(s, c, w, at, &how);
	if (how.hex || how.to.type != FAMEZ_MESSAGE_DATA || at + 1 != w->count)
		return command_usage(c);
	return send_file(s, path, w->word[at], how.patience);
}

enum outcome messages_link(struct session *s, const struct command *c, const struct words *w)
{
	const struct manner how = {
		.to = {.type = FAMEZ_MESSAGE_LINK}, .patience = LETTERS_PATIENCE_SECONDS};

	return say_words(s, c, w, 1, &how);
}

enum outcome messages_spoof(struct session *s, const struct command *c, const struct words *w)
{
	struct manner how = {.to = {.type = FAMEZ_MESSAGE_DATA, .spoof = 1},
		.patience = LETTERS_PATIENCE_SECONDS};
	enum outcome outcome;

	if (w->count < 4)
		return command_usage(c);
	outcome = letters_need(s);
	if (outcome == OUTCOME_OK)
		outcome = targets_one(s, w->word[1], &how.to.origin);
	return outcome == OUTCOME_OK ? say_words(s, c, w, 2, &how) : outcome;
}

/* Says why a group can't be used. */
static enum outcome group_failed(struct session *s, int err)
{
	int server = famez_server_id(s->f);

	if (server < 0) {
		say_error("no groups here: the server is no peer (--silent)");
		return OUTCOME_FAILED;
	}
	return letters_failed(
		s, (uint16_t)server, err == -EAGAIN ? -ETIMEDOUT : err, LETTERS_PATIENCE_SECONDS);
}

/* Entering and leaving have no time-out of their own: waits as letters_send() does. */
static int change_group(struct session *s, int (*change)(struct famez *, uint16_t), uint16_t group)
{
	struct timespec end = session_deadline(LETTERS_PATIENCE_SECONDS);
	int err;

	while ((err = change(s->f, group)) == -EAGAIN && !session_past(&end)) {
		struct timespec retry = session_deadline(0.05);
		struct famez_event event;
		int got = session_next(s, &event, &retry);

		if (got < 0)
			return got;
		if (got > 0 && s->loud)
			session_show(s, &event);
	}
	return err;
}

enum outcome messages_group(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long number;
	enum outcome outcome;
	uint16_t group;
	char *text;
	int err;

	if (w->count < 3)
		return command_usage(c);
	if (!words_number(w->word[2], GROUP_MAX, &number) || !number) {
		say_error("`%s` is no group (1 to %d)", w->word[2], GROUP_MAX);
		return OUTCOME_USAGE;
	}
	group = (uint16_t)number;
	if (!strcmp(w->word[1], "send") && w->count > 3) {
		outcome = letters_need(s);
		if (outcome != OUTCOME_OK)
			return outcome;
		text = words_text(w, 3);
		if (!text) {
			say_error("out of memory");
			return OUTCOME_FAILED;
		}
		err = famez_group_send(
			s->f, group, text, strlen(text), 0, (int)(LETTERS_PATIENCE_SECONDS * 1000));
		if (!err)
			saymail_group("sent to", group);
		free(text);
		return err ? group_failed(s, err) : OUTCOME_OK;
	}
	if (w->count != 3 || (strcmp(w->word[1], "enter") != 0 && strcmp(w->word[1], "exit") != 0))
		return command_usage(c);
	outcome = letters_need(s);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (w->word[1][1] == 'n') {
		err = change_group(s, famez_group_enter, group);
		if (!err)
			saymail_group("entered", group);
	} else {
		err = change_group(s, famez_group_exit, group);
		if (!err)
			saymail_group("left", group);
	}
	return err ? group_failed(s, err) : OUTCOME_OK;
}

enum outcome messages_serve(struct session *s, const struct command *c, const struct words *w)
{
	struct timespec deadline;
	bool timed = w->count > 1;
	enum outcome outcome;
	double span;

	if (timed && (w->count != 3 || strcmp(w->word[1], "--for") != 0 ||
			     !words_seconds(w->word[2], &span)))
		return command_usage(c);
	outcome = letters_need(s);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (timed)
		deadline = session_deadline(span);
	if (serve_open(s)) {
		say_error("out of memory");
		return OUTCOME_FAILED;
	}
	if (s->at_prompt)
		say_note(timed ? "serving; Ctrl-C ends it early" : "serving; Ctrl-C ends it");
	serve_run(s, timed ? &deadline : NULL);
	serve_close(s);
	return s->f ? OUTCOME_OK : OUTCOME_NOT_JOINED;
}

enum outcome messages_bench(struct session *s, const struct command *c, const struct words *w)
{
	unsigned long long bytes = BENCH_BYTES;
	double span = BENCH_SECONDS;
	enum outcome outcome;
	const char *value;
	unsigned at = 2;
	uint16_t peer;

	if (w->count < 2)
		return command_usage(c);
	while (at < w->count) {
		if (words_option(w, &at, "--bytes", &value)) {
			if (!value || !words_number(value, SIZE_MAX / 2, &bytes))
				return command_usage(c);
		} else if (words_option(w, &at, "--seconds", &value)) {
			if (!value || !words_seconds(value, &span))
				return command_usage(c);
		} else {
			return command_usage(c);
		}
	}
	outcome = letters_need(s);
	if (outcome == OUTCOME_OK)
		outcome = targets_one(s, w->word[1], &peer);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (peer == famez_server_id(s->f)) {
		say_error("the server serves no benchmarks; `ping server` measures it");
		return OUTCOME_FAILED;
	}
	if (bytes > famez_payload_bytes_max(s->f)) {
		say_error("--bytes %llu: a message has %zu at most here", bytes,
			famez_payload_bytes_max(s->f));
		return OUTCOME_USAGE;
	}
	return bench_run(s, peer, bytes, span);
}
