/* SPDX-License-Identifier: MIT */
/*
 * fuzz_zones.c - any text at all is either a file of zones, and then nobody is in a zone that has
 * no name, or is refused with one line that names a line of it. A second text, behind a NUL,
 * is read over the first as at SIGHUP: what an ID carries keeps its bit.
 */
#include "fuzz.h"

#include <errno.h>

#include "zones.h"

static uint64_t named(const struct zones *z)
{
	uint64_t bits = 0;

	for (unsigned bit = 0; bit < ZONES_MAX; bit++) {
		assert(memchr(z->names[bit], '\0', ZONE_NAME_BYTES));
		if (z->names[bit][0])
			bits |= UINT64_C(1) << bit;
	}
	return bits;
}

static void check(const struct zones *z)
{
	static struct zones_who who;
	char text[64];

	assert(z->rules_count <= ZONES_RULES_MAX && z->ranges_count <= ZONES_RANGES_MAX);
	assert((z->otherwise & ~named(z)) == 0);
	for (uint32_t n = 0; n < z->rules_count; n++) {
		const struct zone_rule *rule = &z->rules[n];

		assert(rule->zone && (rule->zone & (rule->zone - 1)) == 0);
		assert(rule->ranges_from + rule->ranges <= z->ranges_count);
		/* fnmatch(3) takes exponential time for many stars, which operators don't write. */
		if (strlen(rule->name) > 16)
			return;
	}
	for (uint32_t id = 0; id < 4; id++) {
		zones_judge(&who, z, id, id ? "web-1" : "");
		assert((zones_of(&who, id) & ~named(z)) == 0);
		zones_print(z, zones_of(&who, id), text, sizeof(text));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct zones first, second;
	const uint8_t *cut = size ? memchr(data, '\0', size) : NULL;
	size_t bytes = cut ? (size_t)(cut - data) : size;
	uint64_t carried;
	struct why why;
	int err;

	err = zones_parse(&first, NULL, 0, "f", (const char *)data, bytes, &why);
	assert(err == 0 || err == -EINVAL);
	if (err) {
		assert(strncmp(why.text, "f, line ", 8) == 0 && !strchr(why.text, '\n'));
		return 0;
	}
	check(&first);
	if (!cut)
		return 0;
	carried = named(&first) & UINT64_C(0x5555555555555555);
	if (zones_parse(
		    &second, &first, carried, "f", (const char *)cut + 1, size - bytes - 1, &why))
		return 0;
	check(&second);
	for (unsigned bit = 0; bit < ZONES_MAX; bit++)
		assert(!(carried >> bit & 1) || strcmp(first.names[bit], second.names[bit]) == 0);
	return 0;
}
