/* SPDX-License-Identifier: MIT */
/*
 * escape.c - bytes of strangers, made fit to be shown.
 *
 * What others say reaches a terminal or a JSON parser through here only. Pure:
 * it looks at nothing but its arguments and the locale's character set. Where
 * that is not UTF-8, a byte such as 0x9b may be a control character for the
 * terminal; so everything beyond ASCII is spelled out there.
 */
#include "escape.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What may grow out of one character: a surrogate pair, \ud83d\ude00, or four \xff. */
#define ESCAPED_MAX 16

/* The character at the beginning, and how many bytes it takes; 0 where it is no UTF-8. */
static size_t decode(const unsigned char *at, size_t left, uint32_t *out)
{
	size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = length == 1 ? at[0] : at[0] & (0xffu >> (length + 1));

	if ((at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4 || length > left)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (at[i] & 0x3f);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*out = c;
	return length;
}

/* Can it be shown as it is? Not what a terminal obeys, and not what shows text in another order
 * than it has, or invisibly. */
static bool is_plain(uint32_t c)
{
	static const struct {
		uint32_t from, to;
	} never[] = {{0, 0x1f}, {0x7f, 0x9f}, {0xad, 0xad}, {0x61c, 0x61c}, {0x180e, 0x180e},
		{0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfe00, 0xfe0f},
		{0xfeff, 0xfeff}, {0xfff0, 0xffff}, {0xe0000, 0x10ffff}};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (c >= never[i].from && c <= never[i].to)
			return false;
	return true;
}

bool escape_is_text(const void *bytes, size_t count)
{
	const unsigned char *at = bytes;

	while (count) {
		uint32_t c;
		size_t length = decode(at, count, &c);

		if (!length || !c)
			return false;
		at += length;
		count -= length;
	}
	return true;
}

static bool terminal_knows_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

/* The next character as it is to be shown, NUL-terminated; returns the bytes it took. */
static size_t spell(char into[ESCAPED_MAX], const unsigned char *at, size_t left, bool utf8)
{
	uint32_t c = 0;
	size_t length = decode(at, left, &c);

	if (!length) {
		(void)snprintf(into, ESCAPED_MAX, "\\x%02x", at[0]);
		return 1;
	}
	if (c == '\n' || c == '\t' || c == '\r')
		(void)snprintf(into, ESCAPED_MAX, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
	else if (c == '\\')
		(void)snprintf(into, ESCAPED_MAX, "\\\\");
	else if (is_plain(c) && (c < 0x80 || utf8))
		(void)snprintf(into, ESCAPED_MAX, "%.*s", (int)length, (const char *)at);
	else if (c < 0x80)
		(void)snprintf(into, ESCAPED_MAX, "\\x%02" PRIx32, c);
	else
		(void)snprintf(into, ESCAPED_MAX, "\\u{%" PRIx32 "}", c);
	return length;
}

void escape_print(FILE *out, const void *bytes, size_t count)
{
	const unsigned char *at = bytes;
	bool utf8 = terminal_knows_utf8();

	while (count) {
		char spelled[ESCAPED_MAX];
		size_t took = spell(spelled, at, count, utf8);

		fputs(spelled, out);
		at += took;
		count -= took;
	}
}

char *escape_name(char *into, size_t size, const char *name)
{
	const unsigned char *at = (const unsigned char *)name;
	size_t left = strlen(name), used = 0;
	bool utf8 = terminal_knows_utf8();

	into[0] = '\0';
	while (left) {
		char spelled[ESCAPED_MAX];
		size_t took = spell(spelled, at, left, utf8);
		size_t length = strlen(spelled);

		if (used + length >= size)
			break;
		memcpy(into + used, spelled, length + 1);
		used += length;
		at += took;
		left -= took;
	}
	return into;
}

void escape_hex(char *into, const void *bytes, size_t count)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *at = bytes;

	for (size_t i = 0; i < count; i++) {
		*into++ = digits[at[i] >> 4];
		*into++ = digits[at[i] & 15];
	}
	*into = '\0';
}

char *escape_json(const void *bytes, size_t count)
{
	const unsigned char *at = bytes;
	/* At worst every byte becomes \u0000. */
	char *made = count < SIZE_MAX / 8 ? malloc(6 * count + 3) : NULL;
	char *to = made;

	if (!made)
		return NULL;
	*to++ = '"';
	while (count) {
		uint32_t c = 0xfffd;
		size_t length = decode(at, count, &c);

		if (c >= 0x10000)
			to += sprintf(to, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
				0xdc00 + ((c - 0x10000) & 0x3ff));
		else if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			to += sprintf(to, "\\u%04x", c);
		else
			*to++ = (char)c;
		at += length ? length : 1;
		count -= length ? length : 1;
	}
	*to++ = '"';
	*to = '\0';
	return made;
}
