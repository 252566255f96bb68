/* SPDX-License-Identifier: MIT */
/*
 * serve.c - the other side of a benchmark.
 *
 * On the link level a peer asks for what is to be done with its data messages:
 *
 *   famez-bench echo N     send each back as it is
 *   famez-bench sink N     count them
 *   famez-bench stop N     neither any more
 *
 * and is answered, N being what it said:
 *
 *   famez-bench ready N
 *   famez-bench refused N                      we don't serve
 *   famez-bench done N MESSAGES BYTES SUM      to stop; SUM as serve_sum() makes it
 *
 * A lane keeps its order, so all data sent before `stop` are in its answer.
 */
#include "serve.h"

#include "link.h"
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long famez_recv() may sleep: Ctrl-C is looked for so often. */
#define SLICE_MS 100
/* Messages in a row until we look at everything else. */
#define TURN 256u

enum what { NOTHING = 0, ECHO, SINK };

struct sink {
	enum what what;
	uint32_t generation; /* of the peer */
	uint64_t messages, bytes, sum;
};

struct sinks {
	struct sink of[UINT16_MAX + 1];
};

uint64_t serve_sum(const void *bytes, size_t count)
{
	const unsigned char *at = bytes;
	uint64_t sum = 0;
	uint64_t word;

	for (; count >= sizeof(word); count -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, at, count);
	return sum + word;
}

unsigned serve_read(const struct letter *l, char word[SERVE_WORD_MAX], uint64_t numbers[4])
{
	char text[LINK_TEXT_MAX];
	unsigned count = 0;
	size_t length;
	char *at = text + strlen(SERVE_MARK);

	if (!link_begins(l, SERVE_MARK) || l->bytes >= sizeof(text))
		return 0;
	memcpy(text, l->text, l->bytes);
	text[l->bytes] = '\0';
	length = strcspn(at, " ");
	if (length >= SERVE_WORD_MAX)
		return 0;
	memcpy(word, at, length);
	word[length] = '\0';
	for (at += length; *at == ' ' && count < 4; count++) {
		char *end;

		if (at[1] < '0' || at[1] > '9')
			return 0;
		numbers[count] = strtoull(at + 1, &end, 10);
		at = end;
	}
	return *at ? 0 : count;
}

int serve_open(struct session *s)
{
	s->mail.sinks = calloc(1, sizeof(*s->mail.sinks));
	return s->mail.sinks ? 0 : -ENOMEM;
}

void serve_close(struct session *s)
{
	free(s->mail.sinks);
	s->mail.sinks = NULL;
}

void serve_gone(struct session *s, uint16_t peer, uint32_t generation)
{
	if (s->mail.sinks && (!generation || s->mail.sinks->of[peer].generation != generation))
		s->mail.sinks->of[peer] = (struct sink){0};
}

/* What is asked for on the link level. */
static bool asked(struct session *s, const struct letter *l)
{
	struct sinks *sinks = s->mail.sinks;
	struct sink *sink = sinks ? &sinks->of[l->from] : NULL;
	char answer[LINK_TEXT_MAX];
	char word[SERVE_WORD_MAX];
	uint64_t number[4];

	if (serve_read(l, word, number) < 1)
		return false;
	if (!strcmp(word, "ready") || !strcmp(word, "refused") || !strcmp(word, "done"))
		return true; /* an answer for which nobody waits any more */
	if (strcmp(word, "echo") != 0 && strcmp(word, "sink") != 0 && strcmp(word, "stop") != 0)
		return false;
	if (!sinks) {
		(void)snprintf(answer, sizeof(answer), SERVE_MARK "refused %" PRIu64, number[0]);
	} else if (word[1] == 't') {
		(void)snprintf(answer, sizeof(answer),
			SERVE_MARK "done %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, number[0],
			sink->messages, sink->bytes, sink->sum);
		*sink = (struct sink){0};
	} else {
		(void)snprintf(answer, sizeof(answer), SERVE_MARK "ready %" PRIu64, number[0]);
		*sink = (struct sink){.what = word[0] == 'e' ? ECHO : SINK,
			.generation = letters_generation(s, l->from)};
	}
	letters_answer(s, l->from, answer);
	return true;
}

bool serve_handle(struct session *s, const struct letter *l)
{
	struct sinks *sinks = s->mail.sinks;

	if (l->origin != l->from || l->slot)
		return false;
	if (link_begins(l, SERVE_MARK))
		return asked(s, l);
	if (!sinks || l->type != FAMEZ_MESSAGE_DATA)
		return false;
	switch (sinks->of[l->from].what) {
	case ECHO: {
		struct famez_to to = {.peer = l->from, .type = FAMEZ_MESSAGE_DATA};

		/* Who does not read its echo, misses it. */
		(void)famez_send(s->f, &to, l->text, l->bytes, 0, 0);
		return true;
	}
	case SINK:
		sinks->of[l->from].messages++;
		sinks->of[l->from].bytes += l->bytes;
		sinks->of[l->from].sum += serve_sum(l->text, l->bytes);
		return true;
	case NOTHING:
		break;
	}
	return false;
}

/* One message, if one comes soon: famez_recv() polls a moment before it sleeps. */
static bool one(struct session *s)
{
	struct letter *l = letters_copy(s, famez_payload_bytes_max(s->f));
	struct famez_message m;
	int got;

	if (!l)
		return false;
	got = famez_recv(s->f, &m, l->text, l->bytes, SLICE_MS);
	if (got <= 0)
		return false;
	l->from = m.from;
	l->origin = m.origin;
	l->group = m.group;
	l->type = m.type;
	l->slot = m.slot;
	l->bytes = l->held = m.bytes;
	letters_name(s, l);
	if (letters_handle(s, l))
		(void)letters_show(s, ULLONG_MAX);
	return true;
}

void serve_run(struct session *s, const struct timespec *deadline)
{
	for (;;) {
		for (unsigned n = 0; n < TURN && one(s); n++)
			continue;
		session_pump(s);
		if (!s->f || !s->mail.sinks || session_interrupted(s) ||
			(deadline && session_past(deadline)))
			return;
	}
}
