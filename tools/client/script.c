/* SPDX-License-Identifier: MIT */
/*
 * script.c - commands from standard input, when that is no terminal.
 *
 * Reads lines by itself rather than through stdio, because while a line is
 * awaited the fabric is listened to as well.
 */
#include "command.h"
#include "input.h"
#include "say.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 16384

struct script {
	char text[LINE_BYTES_MAX];
	size_t have; /* bytes in text */
	size_t used; /* of these, in lines already handed out */
	unsigned number;
	bool ended;
};

/* Cuts the next whole line, or what stands at the end; NULL when more must be read. */
static char *cut(struct script *in)
{
	char *line = in->text + in->used;
	char *end = memchr(line, '\n', in->have - in->used);

	if (!end && !(in->ended && in->have > in->used))
		return NULL;
	if (!end)
		end = in->text + in->have;
	*end = '\0'; /* there is always room for one byte more */
	in->used = (size_t)(end - in->text) + 1;
	if (in->used > in->have)
		in->used = in->have;
	in->number++;
	return line;
}

static int fill(struct script *in)
{
	ssize_t got;

	memmove(in->text, in->text + in->used, in->have - in->used);
	in->have -= in->used;
	in->used = 0;
	if (in->have == sizeof(in->text) - 1)
		return -EMSGSIZE;
	got = read(STDIN_FILENO, in->text + in->have, sizeof(in->text) - 1 - in->have);
	if (got < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	in->have += (size_t)got;
	in->ended = got == 0;
	return 0;
}

/* The next line; NULL at the end, or with *err on failure. */
static char *next_line(struct session *s, struct script *in, int *err)
{
	char *line;

	while (!(line = cut(in)) && !in->ended) {
		bool readable = false;

		if (session_poll(s, STDIN_FILENO, &readable) == -EINTR)
			continue;
		session_pump(s);
		if (readable)
			*err = fill(in);
		if (*err || !s->f)
			return NULL;
	}
	return line;
}

enum outcome script_run(struct session *s, bool carry_on)
{
	static struct script in;
	char *line;
	int err = 0;

	while ((line = next_line(s, &in, &err))) {
		enum outcome outcome;
		char where[32];

		snprintf(where, sizeof(where), "line %u: ", in.number);
		say_where(where);
		outcome = command_run(s, line);
		say_where("");
		if (outcome == OUTCOME_QUIT)
			return OUTCOME_OK;
		if (outcome != OUTCOME_OK && (!carry_on || !s->f))
			return outcome;
	}
	if (err) {
		say_error("can't read commands: %s",
			err == -EMSGSIZE ? "line too long" : strerror(-err));
		return OUTCOME_FAILED;
	}
	return s->f ? OUTCOME_OK : OUTCOME_NOT_JOINED;
}
