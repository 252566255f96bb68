/* SPDX-License-Identifier: MIT */
/*
 * words.c - the words of a command, and what they mean.
 *
 * Blanks part words, ";" parts commands, and "#" at a word's beginning makes the
 * rest a comment. A word in quotes, "..." or '...', has any of these in it; a
 * quote inside a word is a quote, so that one can write "it's".
 */
#include "words.h"

#include "famez/wire.h"
#include "say.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Steps over a word, and ends it with a NUL. *more: what stood there, 0 at the line's end. */
static char *word_end(char *at, char *more)
{
	char quote = *at == '"' || *at == '\'' ? *at : '\0';
	char *end = quote ? strchr(at + 1, quote) : at + strcspn(at, " \t\r\n;");

	if (!end)
		return NULL;
	if (quote) {
		*end = '\0';
		*more = end[1] && strchr(" \t\r\n;", end[1]) ? ' ' : end[1] ? '"' : '\0';
		return end + 1;
	}
	*more = *end;
	*end = '\0';
	return *more ? end + 1 : end;
}

int words_cut(struct words *w, char **line)
{
	char *at = *line;

	w->count = 0;
	for (;;) {
		bool quoted;
		char more;
		char *end;

		at += strspn(at, " \t\r\n");
		if (!*at || *at == '#') {
			*line = NULL;
			return 0;
		}
		if (*at == ';') {
			*line = at + 1;
			return 0;
		}
		quoted = *at == '"' || *at == '\'';
		if (w->count == WORDS_MAX)
			return -E2BIG;
		end = word_end(at, &more);
		if (!end || more == '"')
			return -EINVAL;
		w->word[w->count++] = at + quoted;
		if (more == ';') {
			*line = end;
			return 0;
		}
		at = end;
	}
}

bool words_number(const char *word, unsigned long long max, unsigned long long *out)
{
	unsigned long long value;
	char *end;

	if (*word < '0' || *word > '9')
		return false;
	errno = 0;
	value = strtoull(word, &end, word[1] == 'x' || word[1] == 'X' ? 16 : 10);
	if (errno || *end || value > max)
		return false;
	*out = value;
	return true;
}

bool words_seconds(const char *word, double *out)
{
	double value;
	char *end;

	errno = 0;
	value = strtod(word, &end);
	if (errno || end == word || *end || !isfinite(value) || value < 0 || value > 1e9)
		return false;
	*out = value;
	return true;
}

bool words_vector(const char *word, uint16_t *out)
{
	unsigned long long value;

	if (!words_number(word, FAMEZ_WIRE_VECTORS_MAX - 1, &value)) {
		say_error("`%s` is no vector (0 to %d)", word, FAMEZ_WIRE_VECTORS_MAX - 1);
		return false;
	}
	*out = (uint16_t)value;
	return true;
}

bool words_option(const struct words *w, unsigned *i, const char *name, const char **value)
{
	if (*i >= w->count || strcmp(w->word[*i], name) != 0)
		return false;
	*value = *i + 1 < w->count ? w->word[*i + 1] : NULL;
	*i += 2;
	return true;
}

static int hex_digit(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *at =
		digit ? strchr(digits, digit | ('A' <= digit && digit <= 'F' ? 32 : 0)) : NULL;

	return at ? (int)(at - digits) : -1;
}

unsigned char *words_bytes(const struct words *w, unsigned first, size_t *count)
{
	unsigned char *bytes;
	size_t room = 1;
	size_t n = 0;

	for (unsigned i = first; i < w->count; i++)
		room += strlen(w->word[i]) / 2 + 1;
	bytes = malloc(room);
	if (!bytes) {
		say_error("out of memory");
		return NULL;
	}
	for (unsigned i = first; i < w->count; i++) {
		for (const char *at = w->word[i]; *at; at += 2) {
			int high = hex_digit(at[0]);
			int low = high < 0 ? -1 : hex_digit(at[1]);

			if (low < 0) {
				say_error("`%s` is not bytes, two hexadecimal digits each",
					w->word[i]);
				free(bytes);
				return NULL;
			}
			bytes[n++] = (unsigned char)(high << 4 | low);
		}
	}
	*count = n;
	return bytes;
}

char *words_text(const struct words *w, unsigned first)
{
	size_t bytes = 1;
	char *text;
	char *at;

	for (unsigned i = first; i < w->count; i++)
		bytes += strlen(w->word[i]) + 1;
	text = malloc(bytes);
	if (!text)
		return NULL;
	at = text;
	for (unsigned i = first; i < w->count; i++) {
		if (i > first)
			*at++ = ' ';
		at = stpcpy(at, w->word[i]);
	}
	*at = '\0';
	return text;
}
