/* SPDX-License-Identifier: MIT */
/*
 * fuzz_lists.c - sizes and lists of CPUs: taken or refused, results untouched where
 * refused, and never a CPU or a byte that was not asked for.
 */
#include "fuzz.h"

#include <ctype.h>
#include <errno.h>

#include "options.h"

static void check_size(const char *text)
{
	uint64_t bytes = 4711;
	int result = options_parse_size(text, &bytes);

	assert(result == 0 || result == -EINVAL || result == -ERANGE);
	if (result) {
		assert(bytes == 4711);
		return;
	}
	assert(isdigit((unsigned char)text[0]));
	assert(bytes <= UINT64_C(1) << 63);
}

static void check_cpus(const char *text)
{
	cpu_set_t cpus;
	int result;

	CPU_ZERO(&cpus);
	result = options_parse_cpus(text, &cpus);
	assert(result == 0 || result == -EINVAL || result == -ERANGE);
	if (result)
		return;
	assert(CPU_COUNT(&cpus) >= 1);
	assert(strspn(text, "0123456789,-") == strlen(text));
	/* Every number in the text is one of the set. */
	for (const char *p = text; *p; p += *p && !isdigit((unsigned char)*p)) {
		unsigned long cpu;
		char *end;

		cpu = strtoul(p, &end, 10);
		assert(end != p && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &cpus));
		p = end;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);

	check_size(text);
	check_cpus(text);
	free(text);
	return 0;
}
