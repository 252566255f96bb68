/* SPDX-License-Identifier: MIT */
/*
 * saymail.c - what the client prints of messages: for people, or as JSON.
 *
 * The same rules as in say.c. What others wrote, texts and names, goes through
 * escape.c on its way.
 */
#include "saymail.h"

#include "escape.h"
#include "figures.h"
#include "say.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SHOWN 64 /* 31 bytes, some of them spelled out */
#define HEX_SHOWN  32 /* of bytes that are no text, for people */

static const char *peer_called(uint16_t peer, const char *name)
{
	static char texts[8][NAME_SHOWN + 16];
	static unsigned turn;
	char *text = texts[turn++ % 8];
	char shown[NAME_SHOWN];

	if (!name[0])
		(void)snprintf(text, sizeof(texts[0]), "%u", peer);
	else
		(void)snprintf(text, sizeof(texts[0]), "%u (%s)", peer,
			escape_name(shown, sizeof(shown), name));
	return text;
}

const char *saymail_peer(struct famez *f, uint16_t peer)
{
	struct famez_who who;

	return peer_called(peer, famez_who(f, peer, &who) ? "" : who.name);
}

static void add_text(cJSON *o, const char *key, const void *bytes, size_t count)
{
	char *text = escape_json(bytes, count);

	if (text)
		cJSON_AddRawToObject(o, key, text);
	free(text);
}

static void add_name(cJSON *o, struct famez *f, uint16_t peer)
{
	struct famez_who who;

	if (!famez_who(f, peer, &who) && who.name[0])
		add_text(o, "name", who.name, strlen(who.name));
}

static void letter_json(const struct letter *l)
{
	static const char *const types[] = {
		[FAMEZ_MESSAGE_DATA] = "data",
		[FAMEZ_MESSAGE_LINK] = "link",
		[FAMEZ_MESSAGE_GROUP] = "group",
	};
	cJSON *o = say_object("event", "message");
	const char *name = l->type == FAMEZ_MESSAGE_GROUP ? l->origin_name : l->name;
	char *hex;

	cJSON_AddNumberToObject(o, "from", l->from);
	if (name[0])
		add_text(o, "name", name, strlen(name));
	if (l->origin != l->from)
		cJSON_AddNumberToObject(o, "origin", l->origin);
	cJSON_AddStringToObject(
		o, "type", l->type <= FAMEZ_MESSAGE_GROUP ? types[l->type] : "unknown");
	if (l->type == FAMEZ_MESSAGE_GROUP)
		cJSON_AddNumberToObject(o, "group", l->group);
	if (l->slot)
		cJSON_AddTrueToObject(o, "slot");
	cJSON_AddNumberToObject(o, "bytes", (double)l->bytes);
	if (escape_is_text(l->text, l->held)) {
		add_text(o, "text", l->text, l->held);
	} else if ((hex = malloc(2 * l->held + 1))) {
		escape_hex(hex, l->text, l->held);
		cJSON_AddStringToObject(o, "hex", hex);
		free(hex);
	}
	if (l->held < l->bytes)
		cJSON_AddTrueToObject(o, "truncated");
	say_print(o);
}

void saymail_letter(const struct letter *l)
{
	if (say_json()) {
		letter_json(l);
		return;
	}
	say_time();
	if (l->type == FAMEZ_MESSAGE_GROUP) {
		printf("peer %s to group %u: ", peer_called(l->origin, l->origin_name), l->group);
	} else {
		printf("peer %s", peer_called(l->from, l->name));
		if (l->origin != l->from)
			printf(" as %s", peer_called(l->origin, l->origin_name));
		printf("%s%s: ", l->type == FAMEZ_MESSAGE_LINK ? ", link" : "",
			l->slot ? ", slot" : "");
	}
	if (escape_is_text(l->text, l->held)) {
		escape_print(stdout, l->text, l->held);
		if (l->held < l->bytes)
			printf("... (%zu bytes)", l->bytes);
	} else {
		size_t shown = l->held < HEX_SHOWN ? l->held : HEX_SHOWN;
		char hex[2 * HEX_SHOWN + 1];

		escape_hex(hex, l->text, shown);
		printf("%zu byte%s: %s%s", l->bytes, l->bytes == 1 ? "" : "s", hex,
			shown < l->bytes ? "..." : "");
	}
	putchar('\n');
}

void saymail_dropped(unsigned long long count)
{
	if (!say_json()) {
		say_time();
		printf("%llu message%s dropped: nobody looked in time\n", count,
			count == 1 ? " was" : "s were");
		return;
	}
	cJSON *o = say_object("event", "dropped");

	cJSON_AddNumberToObject(o, "messages", (double)count);
	say_print(o);
}

void saymail_up(struct famez *f, uint16_t peer)
{
	struct famez_who who = {0};
	char cclass[NAME_SHOWN];

	(void)famez_who(f, peer, &who); /* gone again: nothing is known */
	if (!say_json()) {
		say_time();
		printf("peer %s is up", saymail_peer(f, peer));
		if (who.cclass[0])
			printf(", class %s", escape_name(cclass, sizeof(cclass), who.cclass));
		putchar('\n');
		return;
	}
	cJSON *o = say_object("event", "up");

	cJSON_AddNumberToObject(o, "peer", peer);
	if (who.name[0])
		add_text(o, "name", who.name, strlen(who.name));
	if (who.cclass[0])
		add_text(o, "class", who.cclass, strlen(who.cclass));
	cJSON_AddNumberToObject(o, "generation", who.generation);
	say_print(o);
}

/* An event that is about a peer, and no more. */
static void of_peer(const char *event, const char *text, uint16_t peer)
{
	if (!say_json()) {
		say_time();
		printf("peer %u%s\n", peer, text);
		return;
	}
	cJSON *o = say_object("event", event);

	cJSON_AddNumberToObject(o, "peer", peer);
	say_print(o);
}

void saymail_down(uint16_t peer)
{
	of_peer("down", " is down", peer);
}

void saymail_garbled(uint16_t peer)
{
	of_peer("garbled", ": its lane to us made no sense, what was in it is lost", peer);
}

void saymail_said(struct famez *f, uint16_t to, const char *text)
{
	if (!say_json()) {
		say_time();
		printf("to peer %s, link: ", saymail_peer(f, to));
		escape_print(stdout, text, strlen(text));
		putchar('\n');
		return;
	}
	cJSON *o = say_object("event", "said");

	cJSON_AddNumberToObject(o, "to", to);
	add_name(o, f, to);
	add_text(o, "text", text, strlen(text));
	say_print(o);
}

void saymail_sent(const char *what, unsigned peers, size_t bytes)
{
	if (!say_json()) {
		printf("sent %zu byte%s to %u peer%s\n", bytes, bytes == 1 ? "" : "s", peers,
			peers == 1 ? "" : "s");
		return;
	}
	cJSON *o = say_object("result", what);

	cJSON_AddNumberToObject(o, "peers", peers);
	cJSON_AddNumberToObject(o, "bytes", (double)bytes);
	say_print(o);
}

void saymail_group(const char *what, unsigned group)
{
	if (!say_json()) {
		printf("%s group %u\n", what, group);
		return;
	}
	cJSON *o = say_object("result", "group");

	cJSON_AddStringToObject(o, "action", what);
	cJSON_AddNumberToObject(o, "group", group);
	say_print(o);
}

void saymail_pong(struct famez *f, uint16_t peer, uint64_t ns)
{
	if (!say_json()) {
		say_time();
		printf("pong from peer %s after %s\n", saymail_peer(f, peer),
			figures_duration(ns).s);
		return;
	}
	cJSON *o = say_object("event", "pong");

	cJSON_AddNumberToObject(o, "from", peer);
	cJSON_AddNumberToObject(o, "ns", (double)ns);
	say_print(o);
}

static void add_quantiles(cJSON *o, const struct histogram *h)
{
	cJSON_AddNumberToObject(o, "min_ns", (double)h->min);
	cJSON_AddNumberToObject(o, "p50_ns", (double)histogram_quantile(h, 0.5));
	cJSON_AddNumberToObject(o, "p99_ns", (double)histogram_quantile(h, 0.99));
	cJSON_AddNumberToObject(o, "p99.9_ns", (double)histogram_quantile(h, 0.999));
	cJSON_AddNumberToObject(o, "max_ns", (double)h->max);
}

void saymail_pings(struct famez *f, uint16_t peer, const struct histogram *h)
{
	if (!say_json()) {
		printf("%" PRIu64 " round trip%s to peer %s: min %s, p50 %s, p99 %s, max %s\n",
			h->count, h->count == 1 ? "" : "s", saymail_peer(f, peer),
			figures_duration(h->min).s, figures_duration(histogram_quantile(h, 0.5)).s,
			figures_duration(histogram_quantile(h, 0.99)).s,
			figures_duration(h->max).s);
		return;
	}
	cJSON *o = say_object("result", "ping");

	cJSON_AddNumberToObject(o, "peer", peer);
	cJSON_AddNumberToObject(o, "round_trips", (double)h->count);
	add_quantiles(o, h);
	say_print(o);
}

void saymail_rfc(unsigned messages, unsigned cid, unsigned sid)
{
	if (!say_json()) {
		printf("%u messages; we are component %u of subnet %u\n", messages, cid, sid);
		return;
	}
	cJSON *o = say_object("result", "rfc");

	cJSON_AddNumberToObject(o, "messages", messages);
	cJSON_AddNumberToObject(o, "cid", cid);
	cJSON_AddNumberToObject(o, "sid", sid);
	say_print(o);
}

static const char *kind_of(const struct famez_who *w)
{
	return w->server ? "server" : w->device ? "VM" : "client";
}

static const char *speaks(const struct famez_who *w)
{
	return w->lanes ? "lanes" : w->slot ? "slot" : "-";
}

static void who_json(struct famez *f, const struct saymail_row *rows, unsigned count)
{
	cJSON *o = say_object("result", "who");
	cJSON *list = cJSON_AddArrayToObject(o, "peers");

	for (unsigned i = 0; i < count; i++) {
		const struct famez_who *w = &rows[i].who;
		cJSON *one = cJSON_CreateObject();

		cJSON_AddNumberToObject(one, "id", w->id);
		add_text(one, "name", w->name, strlen(w->name));
		add_text(one, "class", w->cclass, strlen(w->cclass));
		cJSON_AddNumberToObject(one, "cid", w->cid);
		cJSON_AddNumberToObject(one, "sid", w->sid);
		cJSON_AddStringToObject(one, "kind", kind_of(w));
		cJSON_AddStringToObject(one, "speaks", speaks(w));
		cJSON_AddNumberToObject(one, "generation", w->generation);
		if (rows[i].alive == SAYMAIL_UNKNOWN)
			cJSON_AddNullToObject(one, "alive");
		else
			cJSON_AddBoolToObject(one, "alive", rows[i].alive == SAYMAIL_ALIVE);
		cJSON_AddBoolToObject(one, "self", w->id == famez_id(f));
		cJSON_AddItemToArray(list, one);
	}
	say_print(o);
}

static int shown_width(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80; /* characters, not bytes */
	return width;
}

static void padded(const char *text, int width)
{
	printf("%s%*s  ", text, width - shown_width(text), "");
}

void saymail_who(struct famez *f, const struct saymail_row *rows, unsigned count)
{
	static const char *const alive[] = {
		[SAYMAIL_ALIVE] = "yes", [SAYMAIL_SILENT] = "no", [SAYMAIL_UNKNOWN] = "-"};
	int name_width = 4, class_width = 5;
	char name[NAME_SHOWN];

	if (say_json()) {
		who_json(f, rows, count);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		int width = shown_width(escape_name(name, sizeof(name), rows[i].who.name));

		name_width = width > name_width ? width : name_width;
		width = shown_width(escape_name(name, sizeof(name), rows[i].who.cclass));
		class_width = width > class_width ? width : class_width;
	}
	printf("   id  ");
	padded("name", name_width);
	padded("class", class_width);
	printf("%-11s  kind    speaks  generation  alive\n", "CID,SID");
	for (unsigned i = 0; i < count; i++) {
		const struct famez_who *w = &rows[i].who;
		char ids[32] = "-";

		printf("%5u  ", w->id);
		padded(w->name[0] ? escape_name(name, sizeof(name), w->name) : "-", name_width);
		padded(w->cclass[0] ? escape_name(name, sizeof(name), w->cclass) : "-",
			class_width);
		if (w->cid || w->sid)
			(void)snprintf(ids, sizeof(ids), "%" PRIu32 ",%" PRIu32, w->cid, w->sid);
		printf("%-11s  %-6s  %-6s  %10" PRIu32 "  %-5s%s\n", ids, kind_of(w), speaks(w),
			w->generation, alive[rows[i].alive],
			w->id == famez_id(f) ? "  (this client)" : "");
	}
	printf("%u peer%s\n", count, count == 1 ? "" : "s");
}

void saymail_file(struct famez *f, uint16_t from, const char *name, uint64_t bytes, const char *why)
{
	if (!say_json()) {
		say_time();
		printf("peer %s: file ", saymail_peer(f, from));
		escape_print(stdout, name, strlen(name));
		if (why)
			printf(" not taken: %s\n", why);
		else
			printf(" stored, %" PRIu64 " bytes\n", bytes);
		return;
	}
	cJSON *o = say_object("event", "file");

	cJSON_AddNumberToObject(o, "from", from);
	add_text(o, "file", name, strlen(name));
	cJSON_AddNumberToObject(o, "bytes", (double)bytes);
	cJSON_AddBoolToObject(o, "stored", !why);
	if (why)
		cJSON_AddStringToObject(o, "reason", why);
	say_print(o);
}

void saymail_file_sent(
	struct famez *f, uint16_t to, const char *name, uint64_t bytes, double seconds)
{
	if (!say_json()) {
		printf("peer %s has stored ", saymail_peer(f, to));
		escape_print(stdout, name, strlen(name));
		printf(", %" PRIu64 " bytes in %.1f s\n", bytes, seconds);
		return;
	}
	cJSON *o = say_object("result", "file");

	cJSON_AddNumberToObject(o, "peer", to);
	add_text(o, "file", name, strlen(name));
	cJSON_AddNumberToObject(o, "bytes", (double)bytes);
	cJSON_AddNumberToObject(o, "seconds", seconds);
	say_print(o);
}

void saymail_bench(struct famez *f, const struct saymail_bench *b)
{
	static const char *const names[] = {"round trips"};
	const struct histogram *h = b->round_trips;
	double seconds = (double)b->ns / 1e9;
	double rate = (double)b->messages / seconds;

	if (say_json()) {
		cJSON *o = say_object("result", "bench");
		cJSON *part = cJSON_AddObjectToObject(o, "round_trip");

		cJSON_AddNumberToObject(o, "peer", b->peer);
		cJSON_AddNumberToObject(o, "bytes", (double)b->bytes);
		cJSON_AddNumberToObject(part, "count", (double)h->count);
		add_quantiles(part, h);
		part = cJSON_AddObjectToObject(o, "one_way");
		cJSON_AddNumberToObject(part, "messages", (double)b->messages);
		cJSON_AddNumberToObject(part, "seconds", seconds);
		cJSON_AddNumberToObject(part, "messages_a_second", rate);
		cJSON_AddNumberToObject(part, "bytes_a_second", rate * (double)b->bytes);
		say_print(o);
		return;
	}
	printf("  %zu bytes to peer %s\n\n", b->bytes, saymail_peer(f, b->peer));
	printf("  %-16s%10s%10s%10s%10s%15s\n", "in us", "p50", "p99", "p99.9", "max",
		"round trips");
	printf("  %-16s%10s%10s%10s%10s%15s\n", "",
		figures_three((double)histogram_quantile(h, 0.5) / 1e3).s,
		figures_three((double)histogram_quantile(h, 0.99) / 1e3).s,
		figures_three((double)histogram_quantile(h, 0.999) / 1e3).s,
		figures_three((double)h->max / 1e3).s, figures_grouped(h->count).s);
	figures_rows(&h, names, 1);
	printf("\n  one way   %s messages in %.2f s, %s a second, %s MB/s\n",
		figures_grouped(b->messages).s, seconds, figures_grouped((uint64_t)rate).s,
		figures_three(rate * (double)b->bytes / 1e6).s);
}
