/* SPDX-License-Identifier: MIT */
/*
 * zones.h - which peers are neighbours: told of each other. famez-server(8), "Zones".
 *
 * A peer is in zones, each a bit of 64; two peers are neighbours if they share one. What zones a
 * newcomer is in is a matter of its process's user, its QEMU's name and the ID that it gets.
 * A zone keeps its bit for as long as an ID carries it, whatever is read meanwhile.
 *
 * The struct is plain bytes without pointers, for the state memory. Pure.
 */
#ifndef ZONES_H
#define ZONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lines.h"
#include "why.h"

#define ZONES_MAX        64u
#define ZONES_RULES_MAX  256u
#define ZONES_RANGES_MAX 1024u
#define ZONE_NAME_BYTES  32u

/* Without zones, and the server: a neighbour of whoever is in any zone. */
#define ZONES_ALL UINT64_MAX

/* One line: all of it must hold. */
struct zone_rule {
	uint64_t zone;
	uint32_t uid;
	uint16_t ranges_from, ranges; /* of IDs; none: any ID */
	bool by_uid;
	char name[LINE_PATTERN_BYTES]; /* fnmatch(3) pattern; empty: any */
};

struct zones {
	uint32_t rules_count, ranges_count;
	uint64_t otherwise;                     /* the zone of those whom no rule takes; 0: none */
	char names[ZONES_MAX][ZONE_NAME_BYTES]; /* by bit; empty: not in use */
	struct zone_rule rules[ZONES_RULES_MAX];
	struct lines_range ranges[ZONES_RANGES_MAX];
};

/* Who wants an ID, judged once, whatever the ID will be. */
struct zones_who {
	const struct zones *zones;
	uint64_t anyway; /* zones that do not depend on the ID */
	uint16_t count;
	uint16_t rules[ZONES_RULES_MAX]; /* that do */
};

/**
 * zones_parse() - read a file's @text. @before: the zones so far; NULL: none. @carried: bits of
 * theirs that some ID has. @z is not @before, and rubbish on failure. Returns 0, or -EINVAL with
 * one line in @why.
 */
int zones_parse(struct zones *z, const struct zones *before, uint64_t carried, const char *file,
	const char *text, size_t bytes, struct why *why);

/** zones_want_name() - does any rule ask for a QEMU's name? */
bool zones_want_name(const struct zones *z);

/** zones_judge() - @name: of its QEMU, empty where it has none. */
void zones_judge(struct zones_who *who, const struct zones *z, uint32_t uid, const char *name);

/** zones_of() - the zones it is in if it gets @id. */
uint64_t zones_of(const struct zones_who *who, uint32_t id);

/** zones_print() - names of @zones with commas between them, cut short where they don't fit. */
void zones_print(const struct zones *z, uint64_t zones, char *text, size_t bytes);

#endif
