/* SPDX-License-Identifier: MIT */
/*
 * genz.c - the personality `genz`: Gen-Z link messages as F.E.E. and FAME-Z speak them.
 *
 * Pure: text in, text out. Texts are anybody's; nothing in them is believed but what the
 * peer says of itself, and that is kept for show only.
 *
 * A message is words, then perhaps a tracker, "!EZT=n". Who answers counts one further;
 * what comes without a tracker is answered without.
 */
#include "genz.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* No message has more. */
#define WORDS_MAX 4u

struct dialect {
	const char *tracker;
	const char *class_key; /* in our ACK; either is understood */
	bool subnet_first;     /* SID stands before CID */
	const char *server_class;
};

static const struct dialect fee = {"!EZT=", "cclass", false, "FabricSwitch"};
static const struct dialect famez = {"!FZT=", "C-Class", true, "Switch"};

/* A part of a text. */
struct span {
	const char *at;
	size_t bytes;
};

struct words {
	struct span word[WORDS_MAX];
	unsigned count; /* WORDS_MAX + 1: there are more */
};

/* How a conversation stands while one message is answered. */
struct talk {
	const struct dialect *dialect;
	const struct personality_scene *scene;
	struct genz_peer *peer;
	struct personality_answer *answer;
	bool tracked;
};

static bool is(struct span s, const char *text)
{
	return s.bytes == strlen(text) && memcmp(s.at, text, s.bytes) == 0;
}

static bool blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void split(struct words *words, struct span text)
{
	const char *end = text.at + text.bytes;

	words->count = 0;
	for (const char *at = text.at;;) {
		const char *start;

		while (at < end && blank(*at))
			at++;
		if (at == end)
			return;
		start = at;
		while (at < end && !blank(*at))
			at++;
		if (words->count == WORDS_MAX) {
			words->count++;
			return;
		}
		words->word[words->count++] = (struct span){start, (size_t)(at - start)};
	}
}

/* "a=1,b=2": the value of @key. False: there is none. */
static bool value_of(struct span list, const char *key, struct span *value)
{
	size_t key_bytes = strlen(key), at = 0;

	while (at < list.bytes) {
		const char *item = list.at + at;
		const char *comma = memchr(item, ',', list.bytes - at);
		size_t bytes = comma ? (size_t)(comma - item) : list.bytes - at;

		if (bytes > key_bytes && item[key_bytes] == '=' &&
			memcmp(item, key, key_bytes) == 0) {
			*value = (struct span){item + key_bytes + 1, bytes - key_bytes - 1};
			return true;
		}
		at += bytes + 1;
	}
	return false;
}

/* Decimal digits, all of them; 0 is a number, nothing is not. Room is left to count on. */
static bool number(struct span s, uint32_t *result)
{
	uint64_t n = 0;

	if (!s.bytes || s.bytes > 10)
		return false;
	for (size_t i = 0; i < s.bytes; i++) {
		if (s.at[i] < '0' || s.at[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(s.at[i] - '0');
	}
	if (n >= UINT32_MAX)
		return false;
	*result = (uint32_t)n;
	return true;
}

static bool number_of(struct span list, const char *key, uint32_t *result)
{
	struct span value;

	return value_of(list, key, &value) && number(value, result);
}

/* A class goes into logs and others' tables: printable, and short enough. */
static bool class_of(struct span list, char cclass[FAMEZ_NAME_BYTES])
{
	struct span value;

	if (!value_of(list, fee.class_key, &value) && !value_of(list, famez.class_key, &value))
		return false;
	if (!value.bytes || value.bytes >= FAMEZ_NAME_BYTES)
		return false;
	for (size_t i = 0; i < value.bytes; i++)
		if (value.at[i] <= ' ' || value.at[i] > '~')
			return false;
	memcpy(cclass, value.at, value.bytes);
	cclass[value.bytes] = '\0';
	return true;
}

__attribute__((format(printf, 2, 3))) static void say(struct talk *t, const char *format, ...)
{
	char *text = t->answer->text;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(text, PERSONALITY_TEXT_BYTES, format, arguments);
	va_end(arguments);
	/* All that is said consists of our own words and numbers. */
	assert(n > 0 && n + 32 < (int)PERSONALITY_TEXT_BYTES);
	if (!t->tracked)
		return;
	t->peer->tracker++;
	(void)snprintf(text + n, PERSONALITY_TEXT_BYTES - (size_t)n, "%s%" PRIu32,
		t->dialect->tracker, t->peer->tracker);
}

static uint32_t cid_of(uint32_t id)
{
	return id * GENZ_CID_FACTOR;
}

static void say_who_we_are(struct talk *t)
{
	uint32_t cid = cid_of(t->scene->server_id);

	if (t->dialect->subnet_first)
		say(t, "Link CTL ACK %s=%s,SID0=%u,CID0=%" PRIu32, t->dialect->class_key,
			t->dialect->server_class, GENZ_SID, cid);
	else
		say(t, "Link CTL ACK %s=%s,CID0=%" PRIu32 ",SID0=%u", t->dialect->class_key,
			t->dialect->server_class, cid, GENZ_SID);
}

static uint32_t give_tag(struct genz_peer *p)
{
	uint32_t tag = ++p->next_tag;

	if (!tag) /* 0 says that a place is free */
		tag = ++p->next_tag;
	p->tags[tag % GENZ_TAGS_MAX] = tag;
	return tag;
}

static bool take_tag(struct genz_peer *p, uint32_t tag)
{
	if (!tag || p->tags[tag % GENZ_TAGS_MAX] != tag)
		return false;
	p->tags[tag % GENZ_TAGS_MAX] = 0;
	return true;
}

/* "Link RFC TTC=27us": configure me, I am ready in so long. The fabric's manager does, where
 * the time is counted in microseconds. */
static bool on_ready(struct talk *t, struct span arguments)
{
	uint32_t ours = cid_of(t->scene->server_id), theirs = cid_of(t->scene->peer_id), tag;
	struct span time;
	bool soon = false;

	if (!value_of(arguments, "TTC", &time))
		return false;
	for (size_t i = 0; i + 1 < time.bytes; i++)
		soon = soon || ((time.at[i] | 0x20) == 'u' && (time.at[i + 1] | 0x20) == 's');
	if (!soon)
		return false;
	tag = give_tag(t->peer);
	if (t->dialect->subnet_first)
		say(t,
			"CTL-Write Space=0,PFMSID=%u,PFMCID=%" PRIu32 ",SID=%u,CID=%" PRIu32
			",Tag=%" PRIu32,
			GENZ_SID, ours, GENZ_SID, theirs, tag);
	else
		say(t,
			"CTL-Write Space=0,PFMCID=%" PRIu32 ",PFMSID=%u,CID=%" PRIu32
			",SID=%u,Tag=%" PRIu32,
			ours, GENZ_SID, theirs, GENZ_SID, tag);
	return true;
}

/* "Standalone Acknowledgment Tag=1,Reason=OK": it took what CTL-Write gave it. */
static bool on_acknowledged(struct talk *t, struct span arguments)
{
	struct span reason;
	uint32_t tag;

	if (!number_of(arguments, "Tag", &tag) || !take_tag(t->peer, tag))
		return false;
	if (!value_of(arguments, "Reason", &reason) || !is(reason, "OK"))
		return false;
	t->peer->configured = true;
	t->answer->named = true;
	t->answer->cid = cid_of(t->scene->peer_id);
	t->answer->sid = GENZ_SID;
	say(t, "Link CTL Peer-Attribute");
	return true;
}

/* "Link CTL ACK cclass=X,CID0=n,SID0=n": who it says that it is. */
static bool on_attributes(struct talk *t, struct span arguments)
{
	struct genz_peer *p = t->peer;
	uint32_t cid, sid;
	char cclass[FAMEZ_NAME_BYTES];

	if (!class_of(arguments, cclass) || !number_of(arguments, "CID0", &cid) ||
		!number_of(arguments, "SID0", &sid))
		return false;
	memcpy(p->cclass, cclass, sizeof(p->cclass));
	p->cid = cid;
	p->sid = sid;
	p->told = true;
	return true;
}

static bool on_words(struct talk *t, const struct words *words)
{
	const struct span *word = words->word;

	switch (words->count) {
	case 1:
		if (is(word[0], "ping"))
			say(t, "pong");
		else if (is(word[0], "dump"))
			t->answer->show = true;
		else
			return false;
		return true;
	case 3:
		if (is(word[0], "Standalone") && is(word[1], "Acknowledgment"))
			return on_acknowledged(t, word[2]);
		if (!is(word[0], "Link"))
			return false;
		if (is(word[1], "RFC"))
			return on_ready(t, word[2]);
		if (!is(word[1], "CTL") || !is(word[2], "Peer-Attribute"))
			return false;
		say_who_we_are(t);
		return true;
	case 4:
		return is(word[0], "Link") && is(word[1], "CTL") && is(word[2], "ACK") &&
		       on_attributes(t, word[3]);
	default:
		return false;
	}
}

static void said(struct talk *t, const char *text)
{
	const char *tracker = strstr(text, t->dialect->tracker);
	struct span payload = {text, tracker ? (size_t)(tracker - text) : strlen(text)};
	struct words words;

	if (tracker) {
		struct words after;
		uint32_t count;

		tracker += strlen(t->dialect->tracker);
		split(&after, (struct span){tracker, strlen(tracker)});
		if (after.count && number(after.word[0], &count) && count) {
			t->tracked = true;
			t->peer->tracker = count;
		}
	}
	split(&words, payload);
	t->answer->ignored = !on_words(t, &words);
}

static void fee_said(void *peer, const struct personality_scene *scene, const char *text,
	struct personality_answer *answer)
{
	struct talk t = {.dialect = &fee, .scene = scene, .peer = peer, .answer = answer};

	said(&t, text);
}

static void famez_said(void *peer, const struct personality_scene *scene, const char *text,
	struct personality_answer *answer)
{
	struct talk t = {.dialect = &famez, .scene = scene, .peer = peer, .answer = answer};

	said(&t, text);
}

static void joined(void *peer, const struct personality_scene *scene)
{
	static const char driverless[] = "Driverless-QEMU";
	struct genz_peer *p = peer;

	(void)scene;
	memcpy(p->cclass, driverless, sizeof(driverless));
}

/* FAME-Z's server asks who comes. */
static void famez_greet(
	void *peer, const struct personality_scene *scene, struct personality_answer *answer)
{
	struct talk t = {
		.dialect = &famez,
		.scene = scene,
		.peer = peer,
		.answer = answer,
		.tracked = true,
	};

	t.peer->tracker = 0;
	say(&t, "Link CTL Peer-Attribute");
}

static void show(const void *peer, struct personality_shown *shown)
{
	const struct genz_peer *p = peer;

	memcpy(shown->cclass, p->cclass, sizeof(shown->cclass));
	shown->cid = p->cid;
	shown->sid = p->sid;
	shown->state = p->configured ? "configured" : p->told ? "up" : "silent";
}

static_assert(sizeof(struct genz_peer) <= PERSONALITY_PEER_BYTES, "fits a peer's memory");

const struct personality genz_fee = {
	.name = "genz",
	.server_name = "Z-switch",
	.server_class = "FabricSwitch",
	.joined = joined,
	.said = fee_said,
	.show = show,
};

const struct personality genz_famez = {
	.name = "genz",
	.server_name = "Z-switch",
	.server_class = "Switch",
	.joined = joined,
	.greet = famez_greet,
	.said = famez_said,
	.show = show,
};
