/* SPDX-License-Identifier: MIT */
/*
 * bench.c - how fast are messages to a peer?
 *
 * First round trips, one message at a time, then a stream one way, each flushed
 * as the library does by itself. The other side is serve.c's, which tells the
 * protocol. Between the two ends of a measurement nothing but the library runs;
 * what others send us meanwhile is handled as ever.
 */
#include "bench.h"

#include "histogram.h"
#include "link.h"
#include "say.h"
#include "saymail.h"
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_SECONDS 5.0
#define SLICE_MS       100
#define GIVE_UP_MS     5000
/* Not counted: caches and both sides' polling settle. */
#define WARM_UP 200u
/* Messages until we look at clock and Ctrl-C. */
#define TURN 64u

struct bench {
	struct session *s;
	uint16_t peer;
	size_t bytes;
	unsigned char *payload; /* its first word is a number that grows */
	uint64_t number;        /* of what we have asked */
	bool answered;
	bool refused;
	uint64_t messages, got_bytes, sum; /* as the other side counted */
};

static uint64_t now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static bool hear(struct session *s, void *who, const struct letter *l)
{
	struct bench *b = who;
	char word[SERVE_WORD_MAX];
	uint64_t numbers[4];
	unsigned got;

	(void)s;
	if (l->from != b->peer)
		return false;
	got = serve_read(l, word, numbers);
	if (!got || numbers[0] != b->number ||
		(strcmp(word, "ready") != 0 && strcmp(word, "refused") != 0 &&
			(strcmp(word, "done") != 0 || got < 4)))
		return false;
	b->answered = true;
	b->refused = word[2] == 'f';
	if (got == 4) {
		b->messages = numbers[1];
		b->got_bytes = numbers[2];
		b->sum = numbers[3];
	}
	return true;
}

/* Asks the other side for something, and waits until it is ready. */
static enum outcome ask(struct bench *b, const char *what)
{
	struct famez_to to = {.peer = b->peer, .type = FAMEZ_MESSAGE_LINK};
	struct timespec end = session_deadline(ANSWER_SECONDS);
	struct famez_event event;
	char text[64];
	int err;

	b->answered = false;
	(void)snprintf(text, sizeof(text), SERVE_MARK "%s %" PRIu64, what, ++b->number);
	err = letters_send(b->s, &to, text, strlen(text), LETTERS_PATIENCE_SECONDS);
	if (err)
		return letters_failed(b->s, b->peer, err, LETTERS_PATIENCE_SECONDS);
	while (!b->answered) {
		int got = session_next(b->s, &event, &end);

		if (got < 0) {
			say_interrupted();
			return OUTCOME_FAILED;
		}
		if (got == 0 && !b->answered) {
			say_error("timed out: peer %s does not answer",
				saymail_peer(b->s->f, b->peer));
			return OUTCOME_TIMED_OUT;
		}
		if (got > 0 && b->s->loud)
			session_show(b->s, &event);
	}
	if (!b->refused)
		return OUTCOME_OK;
	say_error("peer %s does not serve: run `famez-client serve` there",
		saymail_peer(b->s->f, b->peer));
	return OUTCOME_FAILED;
}

/* Waits for the echo. Returns 0, or -errno. */
static int await_echo(struct bench *b, unsigned char *into)
{
	uint64_t end = now_ns() + (uint64_t)GIVE_UP_MS * 1000000u;
	struct famez_message m;

	for (;;) {
		int got = famez_recv(b->s->f, &m, into, b->bytes, SLICE_MS);

		if (got > 0 && m.from == b->peer && m.type == FAMEZ_MESSAGE_DATA)
			return m.bytes == b->bytes && !memcmp(into, b->payload, b->bytes)
				       ? 0
				       : -EBADMSG;
		if (got > 0) {
			struct letter *l = letters_copy(b->s, m.bytes);

			if (!l)
				return -ENOMEM;
			l->from = m.from;
			l->origin = m.origin;
			l->group = m.group;
			l->type = m.type;
			l->slot = m.slot;
			memcpy(l->text, into, m.bytes);
			letters_name(b->s, l);
			(void)letters_handle(b->s, l);
		} else if (got == -EMSGSIZE) {
			(void)letters_take(b->s);
		} else if (got < 0) {
			return got;
		}
		if (got != 0)
			continue;
		if (session_interrupted(b->s))
			return -EINTR;
		session_pump(b->s);
		if (!b->s->f || b->s->mail.hear != hear || now_ns() > end)
			return -ETIME;
	}
}

static int round_trips(struct bench *b, struct histogram *h, double seconds)
{
	struct famez_to to = {.peer = b->peer, .type = FAMEZ_MESSAGE_DATA};
	struct timespec end = session_deadline(seconds);
	unsigned char *echo = malloc(b->bytes + 1);
	int err = echo ? 0 : -ENOMEM;

	histogram_init(h);
	for (uint64_t n = 0; !err; n++) {
		uint64_t begun = now_ns();

		memcpy(b->payload, &n, b->bytes < sizeof(n) ? b->bytes : sizeof(n));
		err = famez_send(b->s->f, &to, b->payload, b->bytes, 0, GIVE_UP_MS);
		if (!err)
			err = await_echo(b, echo);
		if (!err && n >= WARM_UP)
			histogram_record(h, now_ns() - begun);
		if (n % TURN == 0 && n > WARM_UP && session_past(&end))
			break;
		if (n % TURN == 0 && session_interrupted(b->s))
			err = -EINTR;
	}
	free(echo);
	return err;
}

static int one_way(struct bench *b, uint64_t *sum, uint64_t *messages, double seconds)
{
	struct famez_to to = {.peer = b->peer, .type = FAMEZ_MESSAGE_DATA};
	struct timespec end = session_deadline(seconds);
	int err = 0;

	*sum = 0;
	for (uint64_t n = 0; !err; n++) {
		memcpy(b->payload, &n, b->bytes < sizeof(n) ? b->bytes : sizeof(n));
		if (n % TURN == 0 && session_past(&end))
			break;
		if (n % TURN == 0 && session_interrupted(b->s))
			return -EINTR;
		err = famez_send(b->s->f, &to, b->payload, b->bytes, FAMEZ_MORE, GIVE_UP_MS);
		if (err)
			break;
		*sum += serve_sum(b->payload, b->bytes);
		*messages = n + 1;
	}
	return err ? err : famez_flush(b->s->f, b->peer);
}

static enum outcome failed(struct bench *b, int err)
{
	if (err == -EBADMSG) {
		say_error("peer %s: what came back is not what was sent",
			saymail_peer(b->s->f, b->peer));
		return OUTCOME_FAILED;
	}
	if (!b->s->f)
		return OUTCOME_NOT_JOINED;
	if (err == -ETIME) {
		say_error("timed out: peer %s sends nothing back", saymail_peer(b->s->f, b->peer));
		return OUTCOME_TIMED_OUT;
	}
	return letters_failed(b->s, b->peer, err, GIVE_UP_MS / 1000.0);
}

static enum outcome measure(struct bench *b, struct histogram *h, double seconds)
{
	struct saymail_bench said = {.peer = b->peer, .bytes = b->bytes, .round_trips = h};
	enum outcome outcome = ask(b, "echo");
	uint64_t begun;
	uint64_t sum;
	int err;

	if (outcome != OUTCOME_OK)
		return outcome;
	err = round_trips(b, h, seconds);
	if (err)
		return failed(b, err);
	outcome = ask(b, "sink");
	if (outcome != OUTCOME_OK)
		return outcome;
	begun = now_ns();
	err = one_way(b, &sum, &said.messages, seconds);
	if (err)
		return failed(b, err);
	outcome = ask(b, "stop"); /* answered once all has been read */
	if (outcome != OUTCOME_OK)
		return outcome;
	said.ns = now_ns() - begun;
	if (b->messages != said.messages || b->got_bytes != said.messages * b->bytes ||
		b->sum != sum) {
		say_error("peer %s has read %" PRIu64 " messages of %" PRIu64 ", or other ones",
			saymail_peer(b->s->f, b->peer), b->messages, said.messages);
		return OUTCOME_FAILED;
	}
	saymail_bench(b->s->f, &said);
	return OUTCOME_OK;
}

enum outcome bench_run(struct session *s, uint16_t peer, size_t bytes, double seconds)
{
	struct bench b = {.s = s, .peer = peer, .bytes = bytes, .number = now_ns()};
	struct histogram *h = malloc(sizeof(*h));
	enum outcome outcome = OUTCOME_FAILED;

	b.payload = malloc(bytes + 1);
	if (!h || !b.payload) {
		say_error("out of memory");
	} else {
		for (size_t i = 0; i < bytes; i++)
			b.payload[i] = (unsigned char)i;
		s->mail.hear = hear;
		s->mail.who = &b;
		outcome = measure(&b, h, seconds);
		s->mail.hear = NULL;
		if (outcome != OUTCOME_OK && s->f)
			letters_answer(s, peer, SERVE_MARK "stop 0");
	}
	free(b.payload);
	free(h);
	return outcome;
}
