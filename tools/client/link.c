/* SPDX-License-Identifier: MIT */
/*
 * link.c - what is said on the fabric's link level: short lines of text.
 *
 * A line may end in a tracker, "!EZT=n" (F.E.E.) or "!FZT=n" (FAME-Z), which
 * grows by one with every answer. Who asks for a component's attributes is
 * told ours; the server may give us our IDs. Nothing is answered that came
 * under another's name: else a stranger could have us write to third parties.
 */
#include "link.h"

#include "famez/mailbox.h"
#include "session.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line, taken apart. */
struct line {
	char body[LINK_TEXT_MAX];
	char key[4]; /* of the tracker; empty: it has none */
	unsigned long long number;
};

static bool take_apart(const struct letter *l, struct line *line)
{
	size_t bytes = l->bytes;
	char *mark;
	char *end;

	if (l->type != FAMEZ_MESSAGE_LINK && !l->slot)
		return false;
	while (bytes && !l->text[bytes - 1])
		bytes--; /* v1 clients send their NUL along */
	if (bytes >= sizeof(line->body) || l->held < l->bytes || memchr(l->text, '\0', bytes))
		return false;
	memcpy(line->body, l->text, bytes);
	line->body[bytes] = '\0';
	line->key[0] = '\0';
	line->number = 0;
	mark = strrchr(line->body, '!');
	if (!mark || (strncmp(mark, "!EZT=", 5) != 0 && strncmp(mark, "!FZT=", 5) != 0) ||
		mark[5] < '0' || mark[5] > '9')
		return true;
	line->number = strtoull(mark + 5, &end, 10);
	if (*end)
		return true;
	memcpy(line->key, mark + 1, 3);
	line->key[3] = '\0';
	while (mark > line->body && mark[-1] == ' ')
		mark--;
	*mark = '\0';
	return true;
}

bool link_is(const struct letter *l, const char *text)
{
	struct line line;

	return take_apart(l, &line) && !strcmp(line.body, text);
}

bool link_begins(const struct letter *l, const char *text)
{
	size_t length = strlen(text);

	return (l->type == FAMEZ_MESSAGE_LINK || l->slot) && l->held >= length &&
	       !memcmp(l->text, text, length);
}

bool link_asks(const void *text, size_t bytes)
{
	static const char *const questions[] = {"ping", "Link CTL Peer-Attribute", "CTL-Write "};

	for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++)
		if (bytes >= strlen(questions[i]) &&
			!memcmp(text, questions[i], strlen(questions[i])))
			return true;
	return false;
}

/* Does the fabric speak FAME-Z's dialect? Its slots are laid out so, then. */
static bool old_dialect(struct session *s)
{
	struct famez_geometry g;
	size_t bytes = 0;
	void *memory = famez_memory(s->f, &bytes);

	return memory && !famez_geometry_read(&g, memory, bytes) &&
	       (g.features & FAMEZ_FEATURE_OLD_SLOTS);
}

bool link_text_waits(struct session *s)
{
	size_t bytes = 0;
	void *memory = famez_memory(s->f, &bytes);
	struct famez_slot *slot;
	struct famez_slot_old *old;

	if (!memory || (uint64_t)(famez_id(s->f) + 1) * FAMEZ_SLOT_BYTES > bytes)
		return false;
	slot = famez_slot_at(memory, (uint32_t)famez_id(s->f));
	old = (struct famez_slot_old *)(void *)slot;
	return famez_load_acquire(old_dialect(s) ? &old->text_bytes : &slot->text_bytes) != 0;
}

/* The value of "KEY=..." among values parted by commas; NULL if it is not there. */
static const char *value_of(const char *values, const char *key)
{
	size_t length = strlen(key);

	for (;;) {
		values += strspn(values, " ,");
		if (!*values)
			return NULL;
		if (!strncmp(values, key, length) && values[length] == '=')
			return values + length + 1;
		values += strcspn(values, ",");
	}
}

static uint16_t id_of(const char *values, const char *key)
{
	const char *value = value_of(values, key);
	unsigned long number = value ? strtoul(value, NULL, 10) : 0;

	return number <= UINT16_MAX ? (uint16_t)number : 0;
}

/* What we are: as we were told, else as the directory says. */
static void attributes(struct session *s, char into[LINK_TEXT_MAX])
{
	unsigned cid = s->mail.cid, sid = s->mail.sid;
	struct famez_who own;

	if (!cid && !famez_who(s->f, (uint16_t)famez_id(s->f), &own)) {
		cid = own.cid;
		sid = own.sid;
	}
	if (old_dialect(s))
		(void)snprintf(into, LINK_TEXT_MAX, "Link CTL ACK C-Class=%s,SID0=%u,CID0=%u",
			s->cclass, sid, cid);
	else
		(void)snprintf(into, LINK_TEXT_MAX, "Link CTL ACK cclass=%s,CID0=%u,SID0=%u",
			s->cclass, cid, sid);
}

/* The server writes our IDs. */
static bool control_write(struct session *s, const char *values, char into[LINK_TEXT_MAX])
{
	const char *tag = value_of(values, "Tag");
	size_t length = tag ? strcspn(tag, " ,") : 0;

	if (!length || length > 32)
		return false;
	s->mail.cid = id_of(values, "CID");
	s->mail.sid = id_of(values, "SID");
	(void)snprintf(into, LINK_TEXT_MAX, "Standalone Acknowledgment Tag=%.*s,Reason=OK",
		(int)length, tag);
	return true;
}

bool link_answer(struct session *s, const struct letter *l, char answer[LINK_TEXT_MAX])
{
	struct line line;
	size_t used;

	if (l->from != l->origin || !take_apart(l, &line))
		return false;
	if (!strcmp(line.body, "ping"))
		(void)snprintf(answer, LINK_TEXT_MAX, "pong");
	else if (!strcmp(line.body, "Link CTL Peer-Attribute"))
		attributes(s, answer);
	else if (strncmp(line.body, "CTL-Write ", 10) != 0 || l->from != famez_server_id(s->f) ||
		 !control_write(s, line.body + 10, answer))
		return false;
	used = strlen(answer);
	if (line.key[0] && line.number < ULLONG_MAX)
		(void)snprintf(
			answer + used, LINK_TEXT_MAX - used, "!%s=%llu", line.key, line.number + 1);
	return true;
}

void link_begin(struct session *s, char into[LINK_TEXT_MAX], const char *text)
{
	(void)snprintf(into, LINK_TEXT_MAX, "%s!%s=1", text, old_dialect(s) ? "FZT" : "EZT");
}
