/* SPDX-License-Identifier: MIT */
/*
 * qemu_args.c - the name and the UUID that a QEMU's command line gives its VM.
 *
 * Every byte may be anybody's. Never touches /proc.
 */
#include "qemu_args.h"

#include <string.h>

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool qemu_args_uuid(const char *text, uint8_t uuid[QEMU_UUID_BYTES])
{
	uint8_t bytes[QEMU_UUID_BYTES];

	for (unsigned n = 0; n < QEMU_UUID_BYTES; n++) {
		int high, low;

		if ((n == 4 || n == 6 || n == 8 || n == 10) && *text++ != '-')
			return false;
		high = digit(text[0]);
		low = high < 0 ? -1 : digit(text[1]);
		if (low < 0)
			return false;
		bytes[n] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text)
		return false;
	memcpy(uuid, bytes, sizeof(bytes));
	return true;
}

/* One `key=value` of @at up to a lone comma, its value with double commas made single. Returns
 * where the next begins, or NULL. @name is filled in where it is the guest's name. */
static const char *take_key(const char *at, bool first, char *name)
{
	size_t key = strcspn(at, "=,"), used = 0;
	bool is_name = strncmp(at, "guest=", 6) == 0 || (first && at[key] != '=');
	bool fits = true;

	if (at[key] == '=')
		at += key + 1;
	for (;; at++) {
		if (*at == ',' && at[1] == ',')
			at++;
		else if (!*at || *at == ',')
			break;
		if (is_name && used < QEMU_NAME_BYTES - 1)
			name[used++] = *at;
		else
			fits = false;
	}
	if (is_name) {
		/* A name cut short could be anybody's. */
		memset(name + (fits ? used : 0), 0, QEMU_NAME_BYTES - (fits ? used : 0));
	}
	return *at ? at + 1 : NULL;
}

static void take_name(struct qemu_args *args, const char *value)
{
	bool first = true;

	for (; value; first = false)
		value = take_key(value, first, args->name);
}

void qemu_args_parse(struct qemu_args *args, const char *line, size_t bytes)
{
	const char *end = line + bytes, *word = line, *option = "";

	*args = (struct qemu_args){0};
	while (word < end) {
		const char *nul = memchr(word, '\0', (size_t)(end - word));

		if (!nul)
			return;
		if (strcmp(option, "-name") == 0) {
			take_name(args, word);
			option = "";
		} else if (strcmp(option, "-uuid") == 0) {
			args->has_uuid = qemu_args_uuid(word, args->uuid);
			option = "";
		} else {
			/* The first word is the program's. */
			option = word == line ? "" : word + (word[0] == '-' && word[1] == '-');
		}
		word = nul + 1;
	}
}
