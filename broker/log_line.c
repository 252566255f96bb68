/* SPDX-License-Identifier: MIT */
/*
 * log_line.c - how a line of the log looks: key=value or JSON, always one line, always printable.
 *
 * Pure. Knows what events there are, and not what they mean.
 */
#include "log_line.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const struct log_kind log_kinds[LOG_EVENTS_COUNT] = {
#define LOG_EVENT(name, text, level, flood) {text, LOG_LEVEL_##level, flood},
	LOG_EVENTS(LOG_EVENT)
#undef LOG_EVENT
};

/* Append, and note where it did not fit: a line cut short stays a line. */
__attribute__((format(printf, 4, 5))) static size_t put(
	char *line, size_t at, size_t bytes, const char *format, ...)
{
	va_list arguments;
	int n;

	if (at >= bytes)
		return at;
	va_start(arguments, format);
	n = vsnprintf(line + at, bytes - at, format, arguments);
	va_end(arguments);
	assert(n >= 0);
	return at + (size_t)n < bytes ? at + (size_t)n : bytes;
}

/* The same without a format, which takes many times as long: most of a line. No NUL: the line's
 * last part brings one. */
static size_t put_bytes(char *line, size_t at, size_t bytes, const char *text, size_t count)
{
	if (at >= bytes || count >= bytes - at)
		return bytes;
	memcpy(line + at, text, count);
	return at + count;
}

static size_t put_text(char *line, size_t at, size_t bytes, const char *text)
{
	return put_bytes(line, at, bytes, text, strlen(text));
}

static size_t put_number(char *line, size_t at, size_t bytes, uint64_t number)
{
	char digits[20];
	size_t first = sizeof(digits);

	do {
		digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	return put_bytes(line, at, bytes, digits + first, sizeof(digits) - first);
}

/* Between quotes; and no end. */
static bool is_shown_as_it_is(char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

static bool plain_text(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!is_shown_as_it_is(*text) || *text == ' ' || *text == '=')
			return false;
	return true;
}

static size_t put_quoted(char *line, size_t at, size_t bytes, const char *text)
{
	at = put_text(line, at, bytes, "\"");
	while (*text) {
		unsigned char c = (unsigned char)*text;
		size_t plain = 0;

		while (is_shown_as_it_is(text[plain]))
			plain++;
		if (plain)
			at = put_bytes(line, at, bytes, text, plain);
		else if (c == '"' || c == '\\')
			at = put(line, at, bytes, "\\%c", c);
		else
			at = put(line, at, bytes, "\\u%04x", c);
		text += plain ? plain : 1;
	}
	return put_text(line, at, bytes, "\"");
}

static size_t put_field(
	char *line, size_t at, size_t bytes, bool json, const struct log_field *field)
{
	at = put_text(line, at, bytes, json ? ",\"" : " ");
	at = put_text(line, at, bytes, field->key);
	at = put_text(line, at, bytes, json ? "\":" : "=");
	if (!field->text)
		return put_number(line, at, bytes, field->number);
	if (!json && plain_text(field->text))
		return put_text(line, at, bytes, field->text);
	return put_quoted(line, at, bytes, field->text);
}

size_t log_format(char *line, size_t bytes, bool json, uint64_t time_ns, enum log_event event,
	const struct log_field *fields)
{
	static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
	/* Room that every line needs at its end, however long its fields are. */
	const size_t room = bytes - 3;
	const char *level = levels[log_kinds[event].level];
	time_t seconds = (time_t)(time_ns / 1000000000u);
	unsigned micros = (unsigned)(time_ns / 1000u % 1000000u);
	char day[32];
	struct tm tm;
	size_t at;

	(void)gmtime_r(&seconds, &tm);
	(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	at = put(line, 0, room,
		json ? "{\"time\":\"%s.%06uZ\",\"level\":\"%s\",\"event\":\"%s\""
		     : "%s.%06uZ %s event=%s",
		day, micros, level, log_kinds[event].name);
	for (; fields->key; fields++) {
		size_t end = put_field(line, at, room, json, fields);

		/* A field that does not fit whole is left out: the line stays
		 * valid. One byte less than full is the last that surely fits. */
		if (end >= room)
			break;
		at = end;
	}
	return put(line, at, bytes, json ? "}\n" : "\n");
}
