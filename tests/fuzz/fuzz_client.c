/* SPDX-License-Identifier: MIT */
/*
 * fuzz_client.c - the text of /proc/PID/limits, and names against patterns: a client
 * chooses its executable's name, and a line of the file may be anything to us.
 */
#include "fuzz.h"

#include "client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	char *patterns = memchr(text, '\n', size);
	uint32_t soft = 4711;

	if (client_parse_limits(text, &soft))
		assert(strstr(text, "Max open files"));
	else
		assert(soft == 4711);
	if (patterns)
		*patterns++ = '\0';
	/* fnmatch(3) takes exponential time for many stars; users write patterns, clients
	 * don't, so only short ones are tried. */
	if (patterns && strlen(patterns) < 24 && strlen(text) < 64)
		(void)client_is_device(text, patterns);
	(void)client_is_device(text, "qemu-*,kvm");
	assert(client_is_device(text, "*") || *text == '\0' || strchr(text, '\n'));
	free(text);
	return 0;
}
