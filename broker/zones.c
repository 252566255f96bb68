/* SPDX-License-Identifier: MIT */
/*
 * zones.c - which peers are neighbours.
 *
 * What a peer holds when zones change is in view.h and seating.h. Never touches a file.
 */
#include "zones.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static bool good_name(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._-";

	return *name && strlen(name) < ZONE_NAME_BYTES && name[strspn(name, good)] == '\0';
}

static int find_zone(const struct zones *z, const char *name)
{
	for (unsigned bit = 0; bit < ZONES_MAX; bit++)
		if (strcmp(z->names[bit], name) == 0)
			return (int)bit;
	return -1;
}

/* The zone of that name. A new one takes a bit that nobody uses. */
static int take_zone(
	struct zones *z, uint64_t carried, const char *name, struct lines *l, uint64_t *zone)
{
	int bit;

	if (!good_name(name))
		return lines_fail(l,
			"\"%.40s\" is no name of a zone; want at most %u letters, digits, dots, "
			"dashes and underscores",
			name, ZONE_NAME_BYTES - 1);
	bit = find_zone(z, name);
	for (unsigned at = 0; bit < 0 && at < ZONES_MAX; at++)
		if (!z->names[at][0] && !(carried >> at & 1))
			bit = (int)at;
	if (bit < 0)
		return lines_fail(l,
			"there are %u zones already, with those of peers that are or were here; "
			"want at most so many",
			ZONES_MAX);
	(void)snprintf(z->names[bit], ZONE_NAME_BYTES, "%s", name);
	*zone = UINT64_C(1) << bit;
	return 0;
}

static int take_ids(struct zones *z, struct zone_rule *rule, const char *text, struct lines *l)
{
	unsigned room = ZONES_RANGES_MAX - z->ranges_count;
	int count = lines_ranges(text, UINT16_MAX, &z->ranges[z->ranges_count], room);

	if (count < 0)
		return lines_fail(l,
			"\"ids=%.40s\" won't do; want IDs up to 65535 and ranges, such as 1-20,40; "
			"at most %u of them in all lines",
			text, ZONES_RANGES_MAX);
	rule->ranges_from = (uint16_t)z->ranges_count;
	rule->ranges = (uint16_t)count;
	z->ranges_count += (uint32_t)count;
	return 0;
}

static int take_word(struct zones *z, struct zone_rule *rule, const char *word, struct lines *l)
{
	const char *ids = lines_value(word, "ids"), *uid = lines_value(word, "uid"),
		   *name = lines_value(word, "name");

	if ((ids && rule->ranges) || (uid && rule->by_uid) || (name && rule->name[0]))
		return lines_fail(l, "\"%.40s\" is the second of its kind; want one a line", word);
	if (ids)
		return take_ids(z, rule, ids, l);
	if (uid) {
		rule->by_uid = true;
		if (lines_number(uid, UINT32_MAX - 1, &rule->uid))
			return lines_fail(l,
				"\"uid=%.40s\" won't do; want the number of a user, such as 1000",
				uid);
		return 0;
	}
	if (name) {
		if (!*name || strlen(name) >= sizeof(rule->name))
			return lines_fail(l,
				"\"name=%.70s\" won't do; want a pattern of 1 to %zu bytes, such "
				"as web-*",
				name, sizeof(rule->name) - 1);
		(void)snprintf(rule->name, sizeof(rule->name), "%s", name);
		return 0;
	}
	return lines_fail(l, "\"%.40s\" means nothing here; want ids=, uid= or name=", word);
}

static int take_rule(struct zones *z, uint64_t carried, struct lines *l)
{
	struct zone_rule *rule;
	int err;

	if (l->count < 3)
		return lines_fail(
			l, "says nothing of who is in the zone; want ids=, uid= or name=");
	if (z->rules_count == ZONES_RULES_MAX)
		return lines_fail(l, "one line too many; want at most %u", ZONES_RULES_MAX);
	rule = &z->rules[z->rules_count];
	*rule = (struct zone_rule){0};
	err = take_zone(z, carried, l->words[1], l, &rule->zone);
	for (unsigned n = 2; !err && n < l->count; n++)
		err = take_word(z, rule, l->words[n], l);
	z->rules_count += !err;
	return err;
}

int zones_parse(struct zones *z, const struct zones *before, uint64_t carried, const char *file,
	const char *text, size_t bytes, struct why *why)
{
	struct lines l;
	int more;

	z->rules_count = z->ranges_count = 0;
	z->otherwise = 0;
	memset(z->names, 0, sizeof(z->names));
	for (unsigned bit = 0; before && bit < ZONES_MAX; bit++)
		if (carried >> bit & 1)
			memcpy(z->names[bit], before->names[bit], ZONE_NAME_BYTES);
	lines_open(&l, file, text, bytes, why);
	while ((more = lines_next(&l)) > 0) {
		int err;

		if (strcmp(l.words[0], "zone") == 0)
			err = take_rule(z, carried, &l);
		else if (strcmp(l.words[0], "default-zone") != 0)
			err = lines_fail(&l,
				"\"%.40s\" begins no line; want zone NAME ids=... uid=... "
				"name=..., or default-zone NAME",
				l.words[0]);
		else if (l.count != 2)
			err = lines_fail(&l, "want default-zone and one name");
		else if (z->otherwise)
			err = lines_fail(&l, "the second default-zone; want one");
		else
			err = take_zone(z, carried, l.words[1], &l, &z->otherwise);
		if (err)
			return err;
	}
	return more;
}

bool zones_want_name(const struct zones *z)
{
	for (uint32_t n = 0; n < z->rules_count; n++)
		if (z->rules[n].name[0])
			return true;
	return false;
}

void zones_judge(struct zones_who *who, const struct zones *z, uint32_t uid, const char *name)
{
	who->zones = z;
	who->anyway = 0;
	who->count = 0;
	for (uint32_t n = 0; n < z->rules_count; n++) {
		const struct zone_rule *rule = &z->rules[n];

		if (rule->by_uid && rule->uid != uid)
			continue;
		if (rule->name[0] && (!*name || fnmatch(rule->name, name, 0) != 0))
			continue;
		if (rule->ranges)
			who->rules[who->count++] = (uint16_t)n;
		else
			who->anyway |= rule->zone;
	}
}

uint64_t zones_of(const struct zones_who *who, uint32_t id)
{
	uint64_t zones = who->anyway;

	for (unsigned n = 0; n < who->count; n++) {
		const struct zone_rule *rule = &who->zones->rules[who->rules[n]];

		for (unsigned r = 0; r < rule->ranges; r++) {
			const struct lines_range *range =
				&who->zones->ranges[rule->ranges_from + r];

			if (id >= range->first && id <= range->last)
				zones |= rule->zone;
		}
	}
	return zones ? zones : who->zones->otherwise;
}

void zones_print(const struct zones *z, uint64_t zones, char *text, size_t bytes)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned bit = 0; bit < ZONES_MAX; bit++) {
		int n;

		if (!(zones >> bit & 1) || !z->names[bit][0])
			continue;
		n = snprintf(text + used, bytes - used, "%s%s", used ? "," : "", z->names[bit]);
		if ((size_t)n >= bytes - used)
			return;
		used += (size_t)n;
	}
}
