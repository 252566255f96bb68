/* SPDX-License-Identifier: MIT */
/*
 * say.c - everything that the client prints: for people, or with --json one
 * object a line.
 *
 * Results and events go to standard output, errors to standard error. Nothing
 * is decided here. An event's object begins with "event", a result's with
 * "result".
 */
#include "say.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool json;
static bool timed;
static const char *place = "";

void say_init(bool as_json, bool with_time)
{
	json = as_json;
	timed = with_time;
	/* Whoever reads us through a pipe wants each line when it happens. */
	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* else only later */
}

static void (*above)(void);

bool say_above(void (*wipe)(void))
{
	bool waiting = above != NULL;

	above = wipe;
	return waiting;
}

/* Before every line. */
static void begin(void)
{
	void (*wipe)(void) = above;

	above = NULL;
	if (wipe)
		wipe();
}

void say_where(const char *where)
{
	place = where;
}

void say_error(const char *format, ...)
{
	va_list args;

	begin();
	va_start(args, format);
	fprintf(stderr, "famez-client: %s", place);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

void say_note(const char *format, ...)
{
	va_list args;

	if (json)
		return;
	begin();
	va_start(args, format);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

void say_interrupted(void)
{
	if (!json)
		putchar('\n');
}

bool say_json(void)
{
	return json;
}

/* Of day for people, with the date for programs. */
static void now(char *into, size_t size, const char *format, const char *end)
{
	struct timespec at;
	struct tm parts;
	char whole[40] = "";

	clock_gettime(CLOCK_REALTIME, &at);
	if (*end ? gmtime_r(&at.tv_sec, &parts) : localtime_r(&at.tv_sec, &parts))
		(void)strftime(whole, sizeof(whole), format, &parts);
	(void)snprintf(into, size, "%s.%06ld%s", whole, at.tv_nsec / 1000, end);
}

void say_time(void)
{
	char text[64];

	begin();
	if (!timed)
		return;
	now(text, sizeof(text), "%H:%M:%S", "");
	printf("%s ", text);
}

cJSON *say_object(const char *key, const char *value)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, key, value);
	if (timed && !strcmp(key, "event")) {
		char text[64];

		now(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", "Z");
		cJSON_AddStringToObject(o, "time", text);
	}
	return o;
}

/* cJSON hands NULL through, so memory is asked about here only. */
void say_print(cJSON *o)
{
	char *line = cJSON_PrintUnformatted(o);

	begin();
	if (line)
		puts(line);
	else
		say_error("out of memory");
	cJSON_free(line);
	cJSON_Delete(o);
}

void say_event_join(unsigned peer)
{
	if (!json) {
		say_time();
		printf("peer %u joined\n", peer);
		return;
	}
	cJSON *o = say_object("event", "join");

	cJSON_AddNumberToObject(o, "peer", peer);
	say_print(o);
}

void say_event_leave(unsigned peer)
{
	if (!json) {
		say_time();
		printf("peer %u left\n", peer);
		return;
	}
	cJSON *o = say_object("event", "leave");

	cJSON_AddNumberToObject(o, "peer", peer);
	say_print(o);
}

void say_event_doorbell(unsigned vector, uint64_t count)
{
	if (!json) {
		say_time();
		if (count == 1)
			printf("vector %u rang\n", vector);
		else
			printf("vector %u rang %" PRIu64 " times\n", vector, count);
		return;
	}
	cJSON *o = say_object("event", "doorbell");

	cJSON_AddNumberToObject(o, "vector", vector);
	cJSON_AddNumberToObject(o, "count", (double)count);
	say_print(o);
}

void say_event_lost(void)
{
	if (!json) {
		say_time();
		printf("the server is gone; doorbells between peers go on\n");
		return;
	}
	say_print(say_object("event", "lost"));
}

void say_id(int id)
{
	if (!json) {
		printf("%d\n", id);
		return;
	}
	cJSON *o = say_object("result", "id");

	cJSON_AddNumberToObject(o, "id", id);
	say_print(o);
}

void say_peers(const struct famez *f)
{
	cJSON *o = json ? say_object("result", "peers") : NULL;
	cJSON *list = json ? cJSON_AddArrayToObject(o, "peers") : NULL;
	unsigned peers = 0;
	int own = famez_id(f);

	if (!json)
		printf(" peer vectors\n");
	for (int id = famez_peer_after(f, -1); id >= 0; id = famez_peer_after(f, id)) {
		unsigned vectors = famez_vectors(f, (uint16_t)id);

		peers++;
		if (!json) {
			printf("%5d %7u%s\n", id, vectors, id == own ? "  (this client)" : "");
			continue;
		}
		cJSON *one = cJSON_CreateObject();

		cJSON_AddNumberToObject(one, "id", id);
		cJSON_AddNumberToObject(one, "vectors", vectors);
		cJSON_AddBoolToObject(one, "self", id == own);
		cJSON_AddItemToArray(list, one);
	}
	if (json)
		say_print(o);
	else
		printf("%u peer%s\n", peers, peers == 1 ? "" : "s");
}

void say_rang(int peer, int vector, unsigned rung)
{
	if (!json) {
		if (peer >= 0 && vector >= 0)
			printf("rang peer %d, vector %d\n", peer, vector);
		else
			printf("rang %u doorbell%s\n", rung, rung == 1 ? "" : "s");
		return;
	}
	cJSON *o = say_object("result", "ring");

	if (peer >= 0)
		cJSON_AddNumberToObject(o, "peer", peer);
	else
		cJSON_AddStringToObject(o, "peer", "all");
	if (vector >= 0)
		cJSON_AddNumberToObject(o, "vector", vector);
	else
		cJSON_AddStringToObject(o, "vector", "all");
	cJSON_AddNumberToObject(o, "rung", rung);
	say_print(o);
}

void say_memory(size_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;
	size_t size = bytes;

	if (json) {
		cJSON *o = say_object("result", "memory");

		cJSON_AddNumberToObject(o, "bytes", (double)bytes);
		say_print(o);
		return;
	}
	for (; unit < 4 && size >= 1024 && size % 1024 == 0; unit++)
		size /= 1024;
	if (unit)
		printf("%zu bytes (%zu %s)\n", bytes, size, units[unit]);
	else
		printf("%zu bytes\n", bytes);
}

static void say_row(size_t offset, const unsigned char *bytes, size_t count)
{
	printf("%08zx ", offset);
	for (size_t i = 0; i < 16; i++) {
		if (i % 8 == 0)
			putchar(' ');
		if (i < count)
			printf("%02x ", bytes[i]);
		else
			printf("   ");
	}
	printf(" |");
	for (size_t i = 0; i < count; i++)
		putchar(isascii(bytes[i]) && isprint(bytes[i]) ? bytes[i] : '.');
	printf("|\n");
}

void say_peek(size_t offset, const unsigned char *bytes, size_t count)
{
	static const char digits[] = "0123456789abcdef";
	char *hex;

	if (!json) {
		for (size_t row = 0; row < count; row += 16)
			say_row(offset + row, bytes + row, count - row < 16 ? count - row : 16);
		return;
	}
	hex = malloc(2 * count + 1);
	if (!hex) {
		say_error("out of memory");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[2 * count] = '\0';
	cJSON *o = say_object("result", "peek");

	cJSON_AddNumberToObject(o, "offset", (double)offset);
	cJSON_AddStringToObject(o, "hex", hex);
	say_print(o);
	free(hex);
}

void say_poke(size_t offset, size_t count)
{
	if (!json) {
		printf("wrote %zu byte%s at %zu\n", count, count == 1 ? "" : "s", offset);
		return;
	}
	cJSON *o = say_object("result", "poke");

	cJSON_AddNumberToObject(o, "offset", (double)offset);
	cJSON_AddNumberToObject(o, "bytes", (double)count);
	say_print(o);
}

void say_present(unsigned peer, unsigned vectors)
{
	if (!json) {
		printf("peer %u is here, %u vector%s\n", peer, vectors, vectors == 1 ? "" : "s");
		return;
	}
	cJSON *o = say_object("result", "await");

	cJSON_AddNumberToObject(o, "peer", peer);
	cJSON_AddNumberToObject(o, "vectors", vectors);
	say_print(o);
}
