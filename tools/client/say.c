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

static bool json;
static const char *place = "";

void say_init(bool as_json)
{
	json = as_json;
	/* Whoever reads us through a pipe wants each line when it happens. */
	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* else only later */
}

void say_where(const char *where)
{
	place = where;
}

void say_error(const char *format, ...)
{
	va_list args;

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

static cJSON *object(const char *key, const char *value)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, key, value);
	return o;
}

/* Prints and frees it. cJSON hands NULL through, so memory is asked about here only. */
static void print(cJSON *o)
{
	char *line = cJSON_PrintUnformatted(o);

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
		printf("peer %u joined\n", peer);
		return;
	}
	cJSON *o = object("event", "join");

	cJSON_AddNumberToObject(o, "peer", peer);
	print(o);
}

void say_event_leave(unsigned peer)
{
	if (!json) {
		printf("peer %u left\n", peer);
		return;
	}
	cJSON *o = object("event", "leave");

	cJSON_AddNumberToObject(o, "peer", peer);
	print(o);
}

void say_event_doorbell(unsigned vector, uint64_t count)
{
	if (!json) {
		if (count == 1)
			printf("vector %u rang\n", vector);
		else
			printf("vector %u rang %" PRIu64 " times\n", vector, count);
		return;
	}
	cJSON *o = object("event", "doorbell");

	cJSON_AddNumberToObject(o, "vector", vector);
	cJSON_AddNumberToObject(o, "count", (double)count);
	print(o);
}

void say_event_lost(void)
{
	if (!json)
		printf("the server is gone; doorbells between peers go on\n");
	else
		print(object("event", "lost"));
}

void say_id(int id)
{
	if (!json) {
		printf("%d\n", id);
		return;
	}
	cJSON *o = object("result", "id");

	cJSON_AddNumberToObject(o, "id", id);
	print(o);
}

void say_peers(const struct famez *f)
{
	cJSON *o = json ? object("result", "peers") : NULL;
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
		print(o);
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
	cJSON *o = object("result", "ring");

	if (peer >= 0)
		cJSON_AddNumberToObject(o, "peer", peer);
	else
		cJSON_AddStringToObject(o, "peer", "all");
	if (vector >= 0)
		cJSON_AddNumberToObject(o, "vector", vector);
	else
		cJSON_AddStringToObject(o, "vector", "all");
	cJSON_AddNumberToObject(o, "rung", rung);
	print(o);
}

void say_memory(size_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;
	size_t size = bytes;

	if (json) {
		cJSON *o = object("result", "memory");

		cJSON_AddNumberToObject(o, "bytes", (double)bytes);
		print(o);
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
	cJSON *o = object("result", "peek");

	cJSON_AddNumberToObject(o, "offset", (double)offset);
	cJSON_AddStringToObject(o, "hex", hex);
	print(o);
	free(hex);
}

void say_poke(size_t offset, size_t count)
{
	if (!json) {
		printf("wrote %zu byte%s at %zu\n", count, count == 1 ? "" : "s", offset);
		return;
	}
	cJSON *o = object("result", "poke");

	cJSON_AddNumberToObject(o, "offset", (double)offset);
	cJSON_AddNumberToObject(o, "bytes", (double)count);
	print(o);
}

void say_present(unsigned peer, unsigned vectors)
{
	if (!json) {
		printf("peer %u is here, %u vector%s\n", peer, vectors, vectors == 1 ? "" : "s");
		return;
	}
	cJSON *o = object("result", "await");

	cJSON_AddNumberToObject(o, "peer", peer);
	cJSON_AddNumberToObject(o, "vectors", vectors);
	print(o);
}
