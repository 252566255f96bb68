/* SPDX-License-Identifier: MIT */
/*
 * fuzz_client_text.c - whatever peers say, famez-client shows it harmlessly, and a
 * file's line that it accepts names nothing but a file in the folder.
 */
#include "fuzz.h"

#include "escape.h"
#include "transfer.h"

static void check_json(const uint8_t *data, size_t size)
{
	char *made = escape_json(data, size);

	if (!made)
		return;
	for (const char *at = made; *at; at++)
		assert(*at >= ' ' && *at <= '~');
	assert(made[0] == '"' && made[strlen(made) - 1] == '"');
	free(made);
}

static void check_name(const char *name)
{
	size_t length = strlen(name);

	assert(length >= 1 && length <= TRANSFER_NAME_MAX);
	assert(name[0] != '.' && name[0] != '-' && !strchr(name, '/'));
	assert(escape_is_text(name, length));
	for (const char *at = name; *at; at++)
		assert((unsigned char)*at >= ' ' && *at != 0x7f);
}

static void check_line(const uint8_t *data, size_t size)
{
	char line[TRANSFER_LINE_MAX];
	struct transfer back;
	struct transfer t;

	if (!transfer_read(&t, data, size))
		return;
	assert(t.line_bytes <= size);
	if (t.kind == TRANSFER_BEGIN)
		check_name(t.name);
	for (const char *at = t.reason; *at; at++)
		assert(*at >= ' ' && *at <= '~');
	assert(transfer_write(line, &t) == strlen(line));
	assert(transfer_read(&back, (const unsigned char *)line, strlen(line)));
	assert(back.kind == t.kind && back.number == t.number && back.bytes == t.bytes &&
		back.offset == t.offset && back.crc == t.crc && !strcmp(back.name, t.name) &&
		!strcmp(back.reason, t.reason));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char shown[64];
	char name[64];
	size_t length = size < sizeof(name) ? size : sizeof(name) - 1;

	check_json(data, size);
	check_line(data, size);
	if (length)
		memcpy(name, data, length);
	name[length] = '\0';
	escape_name(shown, sizeof(shown), name);
	for (const char *at = shown; *at; at++)
		assert(*at >= ' ' && *at <= '~'); /* the locale is C */
	return 0;
}
