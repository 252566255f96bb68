/* SPDX-License-Identifier: MIT */
/*
 * transfer.c - how a file goes as messages: the line that each begins with.
 *
 *   famez-file begin NUMBER BYTES NAME     data; NAME as in URLs, %20 and so on
 *   famez-file part NUMBER OFFSET          data; behind the line's end the bytes
 *   famez-file end NUMBER CRC              data; CRC-32 of all, 8 hex digits
 *   famez-file stored NUMBER               the receiver's answer, on the link level
 *   famez-file refused NUMBER REASON       its other answer
 *
 * NUMBER is 16 hex digits, of the sender's choice. A line ends with a newline,
 * or with the message. Pure: bytes in, bytes out; every line may be a
 * stranger's.
 */
#include "transfer.h"

#include "escape.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char mark[] = "famez-file ";

static const char *const kinds[] = {
	[TRANSFER_BEGIN] = "begin",
	[TRANSFER_PART] = "part",
	[TRANSFER_END] = "end",
	[TRANSFER_STORED] = "stored",
	[TRANSFER_REFUSED] = "refused",
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* Takes a number of so many digits at most, and the blank or the end behind it. */
static bool take_number(const char **at, int base, size_t digits, uint64_t *out)
{
	size_t length = strcspn(*at, " ");
	char *end;

	if (!length || length > digits || **at == '-' || **at == '+')
		return false;
	*out = strtoull(*at, &end, base);
	if (end != *at + length)
		return false;
	*at = *end ? end + 1 : end;
	return true;
}

static bool take_kind(const char **at, enum transfer_kind *out)
{
	for (size_t i = 0; i < KINDS; i++) {
		size_t length = strlen(kinds[i]);

		if (strncmp(*at, kinds[i], length) != 0 || (*at)[length] != ' ')
			continue;
		*out = (enum transfer_kind)i;
		*at += length + 1;
		return true;
	}
	return false;
}

static int hex(char digit)
{
	return digit >= '0' && digit <= '9'   ? digit - '0'
	       : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
	       : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
					      : -1;
}

/* Undoes %20 and the like, in place. False: not well-formed. */
static bool unspell(char *text)
{
	char *to = text;

	while (*text) {
		int high = *text == '%' ? hex(text[1]) : -1;
		int low = high >= 0 ? hex(text[2]) : -1;

		if (*text != '%') {
			*to++ = *text++;
			continue;
		}
		if (low < 0 || !(high | low))
			return false;
		*to++ = (char)(high << 4 | low);
		text += 3;
	}
	*to = '\0';
	return true;
}

bool transfer_read(struct transfer *t, const unsigned char *text, size_t bytes)
{
	char line[TRANSFER_LINE_MAX];
	size_t most = bytes < sizeof(line) ? bytes : sizeof(line) - 1;
	const unsigned char *end = memchr(text, '\n', most);
	size_t length = end ? (size_t)(end - text) : most;
	const char *at = line + sizeof(mark) - 1;
	uint64_t crc = 0;

	if (length < sizeof(mark) || memcmp(text, mark, sizeof(mark) - 1) != 0 ||
		(!end && length < bytes) || memchr(text, '\0', length))
		return false;
	memcpy(line, text, length);
	line[length] = '\0';
	*t = (struct transfer){.line_bytes = length + (end != NULL)};
	if (!take_kind(&at, &t->kind) || !take_number(&at, 16, 16, &t->number))
		return false;
	switch (t->kind) {
	case TRANSFER_BEGIN:
		if (!take_number(&at, 10, 18, &t->bytes) || !*at || !unspell(line + (at - line)))
			return false;
		transfer_name(t->name, at);
		return true;
	case TRANSFER_PART:
		return end && take_number(&at, 10, 18, &t->offset) && !*at;
	case TRANSFER_END:
		if (!take_number(&at, 16, 8, &crc) || *at)
			return false;
		t->crc = (uint32_t)crc;
		return true;
	case TRANSFER_STORED:
		return !*at;
	case TRANSFER_REFUSED:
		(void)snprintf(t->reason, sizeof(t->reason), "%s", at);
		for (char *c = t->reason; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '_';
		return true;
	}
	return false;
}

size_t transfer_write(char into[TRANSFER_LINE_MAX], const struct transfer *t)
{
	size_t used = (size_t)sprintf(into, "%s%s %016" PRIx64, mark, kinds[t->kind], t->number);

	switch (t->kind) {
	case TRANSFER_BEGIN:
		used += (size_t)sprintf(into + used, " %" PRIu64 " ", t->bytes);
		for (const char *at = t->name; *at; at++) {
			bool plain = (*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z') ||
				     (*at >= 'a' && *at <= 'z') || strchr("._-+@,", *at);

			used += (size_t)sprintf(
				into + used, plain ? "%c" : "%%%02x", (unsigned char)*at);
		}
		break;
	case TRANSFER_PART:
		used += (size_t)sprintf(into + used, " %" PRIu64, t->offset);
		break;
	case TRANSFER_END:
		used += (size_t)sprintf(into + used, " %08" PRIx32, t->crc);
		break;
	case TRANSFER_STORED:
		return used;
	case TRANSFER_REFUSED:
		return used + (size_t)sprintf(into + used, " %.*s", TRANSFER_REASON_MAX, t->reason);
	}
	into[used++] = '\n';
	into[used] = '\0';
	return used;
}

void transfer_name(char into[TRANSFER_NAME_MAX + 1], const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	size_t length = strlen(base);

	if (length > TRANSFER_NAME_MAX) {
		length = TRANSFER_NAME_MAX;
		while (length > TRANSFER_NAME_MAX - 4 && (base[length] & 0xc0) == 0x80)
			length--; /* not in the middle of a character */
	}
	memcpy(into, base, length);
	into[length] = '\0';
	if (!escape_is_text(into, length))
		for (char *at = into; *at; at++)
			if (*at & 0x80)
				*at = '_';
	for (char *at = into; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '_';
	if (into[0] == '.' || into[0] == '-')
		into[0] = '_';
	if (!into[0])
		memcpy(into, "_", 2);
}

uint32_t transfer_crc(uint32_t crc, const void *bytes, size_t count)
{
	static uint32_t table[256];
	const unsigned char *at = bytes;

	if (!table[1]) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t entry = i;

			for (int bit = 0; bit < 8; bit++)
				entry = entry >> 1 ^ (entry & 1 ? 0xedb88320u : 0);
			table[i] = entry;
		}
	}
	crc = ~crc;
	while (count--)
		crc = crc >> 8 ^ table[(crc ^ *at++) & 0xff];
	return ~crc;
}
