/* SPDX-License-Identifier: MIT */
/*
 * size.c - see size.h.
 */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char units[] = "KMGTP";

bool size_parse(const char *text, uint64_t *out)
{
	unsigned long long value;
	unsigned shift = 0;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end += strncmp(end + 1, "iB", 2) == 0 ? 2 : 1;
	}
	end += *end == 'B';
	if (errno || *end || value > UINT64_MAX >> shift)
		return false;
	*out = value << shift;
	return true;
}

const char *size_text(char to[SIZE_TEXT_BYTES], uint64_t bytes)
{
	unsigned unit = 0;

	while (bytes && bytes % 1024 == 0 && unit < sizeof(units) - 1) {
		bytes /= 1024;
		unit++;
	}
	(void)snprintf(to, SIZE_TEXT_BYTES, "%" PRIu64 "%.1s", bytes, unit ? &units[unit - 1] : "");
	return to;
}

uint64_t size_power(uint64_t bytes)
{
	uint64_t power = 1;

	while (power && power < bytes)
		power *= 2;
	return power;
}
