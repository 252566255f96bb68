/* SPDX-License-Identifier: MIT */
/*
 * fuzz_log.c - whatever a client calls itself, the log has one line of it, which no
 * byte of the name breaks. The first byte is the room for the line.
 */
#include "fuzz.h"

#include "log_line.h"

static void check_line(const char *text, size_t room, bool json)
{
	const struct log_field fields[] = {LOG_NUMBER("id", 3), LOG_TEXT("exe", text),
		LOG_TEXT("again", text), LOG_NUMBER("last", 7), {NULL, NULL, 0}};
	char *line = malloc(room);
	size_t length;

	assert(line);
	length = log_format(line, room, json, UINT64_C(1795348800000000000), LOG_refuse, fields);
	assert(length > 0 && length <= room);
	assert(memchr(line, '\n', length) == line + length - 1);
	for (size_t n = 0; n + 1 < length; n++)
		assert((unsigned char)line[n] >= 0x20 && line[n] != 0x7f);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = fuzz_text(data + 1, size - 1);
	check_line(text, 128u + *data * 4u, false);
	check_line(text, 128u + *data * 4u, true);
	free(text);
	return 0;
}
