/* SPDX-License-Identifier: MIT */
/*
 * lines.c - files that an operator writes, line by line.
 *
 * Knows nothing of what the words mean. Never touches a file.
 */
#include "lines.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lines_open(struct lines *l, const char *file, const char *text, size_t bytes, struct why *why)
{
	l->file = file;
	l->at = text;
	l->end = text + bytes;
	l->number = 0;
	l->why = why;
	l->count = 0;
}

int lines_fail(struct lines *l, const char *format, ...)
{
	char what[sizeof(l->why->text)];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	return why_fail(l->why, -EINVAL, "%.200s, line %u: %.250s", l->file, l->number, what);
}

/* Cuts the line in l->text into its words. */
static int split(struct lines *l)
{
	static const char blanks[] = " \t\r";
	char *at = l->text;

	l->count = 0;
	at[strcspn(at, "#")] = '\0';
	for (;;) {
		at += strspn(at, blanks);
		if (!*at)
			return 0;
		if (l->count == LINE_WORDS_MAX)
			return lines_fail(l, "too many words; want at most %u", LINE_WORDS_MAX);
		l->words[l->count++] = at;
		at += strcspn(at, blanks);
		if (*at)
			*at++ = '\0';
	}
}

int lines_next(struct lines *l)
{
	while (l->at < l->end) {
		const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at));
		size_t bytes = (size_t)((newline ? newline : l->end) - l->at);
		int err;

		l->number++;
		if (bytes >= sizeof(l->text))
			return lines_fail(l, "too long; want at most %u bytes", LINE_BYTES_MAX - 1);
		if (memchr(l->at, '\0', bytes))
			return lines_fail(l, "has a NUL byte; want text");
		memcpy(l->text, l->at, bytes);
		l->text[bytes] = '\0';
		l->at = newline ? newline + 1 : l->end;
		err = split(l);
		if (err)
			return err;
		if (l->count)
			return 1;
	}
	return 0;
}

const char *lines_value(const char *word, const char *key)
{
	size_t bytes = strlen(key);

	return strncmp(word, key, bytes) == 0 && word[bytes] == '=' ? word + bytes + 1 : NULL;
}

/* A number that ends where @end then points to. */
static int take_number(const char *text, uint32_t max, uint32_t *number, const char **end)
{
	uint64_t value = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++) {
		value = value * 10 + (uint64_t)(*text - '0');
		if (value > max)
			return -EINVAL;
	}
	*number = (uint32_t)value;
	*end = text;
	return 0;
}

int lines_number(const char *text, uint32_t max, uint32_t *number)
{
	const char *end;
	uint32_t value;

	if (take_number(text, max, &value, &end) || *end)
		return -EINVAL;
	*number = value;
	return 0;
}

int lines_ranges(const char *text, uint32_t max, struct lines_range *ranges, unsigned most)
{
	unsigned count = 0;

	for (;; text++) {
		struct lines_range range;

		if (count == most || take_number(text, max, &range.first, &text))
			return -EINVAL;
		range.last = range.first;
		if (*text == '-' && take_number(text + 1, max, &range.last, &text))
			return -EINVAL;
		if (range.last < range.first)
			return -EINVAL;
		ranges[count++] = range;
		if (!*text)
			return (int)count;
		if (*text != ',')
			return -EINVAL;
	}
}
