/* SPDX-License-Identifier: MIT */
/*
 * rules.h - the operator's two files, zones and bound IDs, as they are in force.
 *
 * What was read last without a mistake lies in the state memory, so a successor goes on with
 * it, whatever has become of the files since. Both are read together, into the side that does
 * not count; then that one counts. Sockets of bound IDs take a process that may make names: main(),
 * or a broker at its start (keeper.h, KEEPER_AGAIN).
 *
 * Belongs to the registrar; before there is one, to main().
 */
#ifndef RULES_H
#define RULES_H

#include <stdatomic.h>
#include <stdint.h>

#include "admit.h"
#include "binds.h"
#include "gates.h"
#include "look.h"
#include "zones.h"

/* A file may be so long. */
#define RULES_BYTES_MAX (512u << 10)

/* In the state memory. */
struct rules_memory {
	_Atomic uint32_t sel; /* the side that counts */
	struct gates gates;   /* as that side has them */
	struct {
		struct zones zones;
		struct binds binds;
	} side[2];
	struct admit_user users[ADMIT_USERS_MAX]; /* how often each has joined lately (admit.h) */
};

struct rules {
	const char *zone_file, *bind_file; /* NULL: there is none; borrowed */
	uint32_t first_id, peers;          /* IDs that can be bound */
	struct rules_memory *memory;
};

/** rules_file() - how such a file is opened, for the looker that opens it anew. */
struct look_file rules_file(const char *path);

/**
 * rules_read() - read the files; rules_count() puts them in force. @carried: zones that some ID
 * has. Returns 0, or -errno with one line in @why. Nothing has changed yet in any case.
 */
int rules_read(struct rules *r, uint64_t carried, struct why *why);

/** rules_same_sockets() - do bound IDs have the same sockets by what was read and by what counts?
 */
bool rules_same_sockets(const struct rules *r);

/**
 * rules_gates() - make and take away sockets as what was read has it; @wish: mode and owner.
 * @patient: as in listener_bind(). Returns 0, or -errno with one line in @why; then those that
 * were there are there.
 */
int rules_gates(struct rules *r, const struct listener_wish *wish, bool patient, struct why *why);

/** rules_count() - what was read counts from now on. */
void rules_count(struct rules *r);

/** rules_zones(), rules_binds() - in force until the next rules_read(); NULL: no such file. */
const struct zones *rules_zones(const struct rules *r);
const struct binds *rules_binds(const struct rules *r);

/** rules_log(), rules_log_wrong() - one line on what was read. */
void rules_log(const struct rules *r);
void rules_log_wrong(const struct why *why);

/** rules_want_args() - does either ask for what a QEMU's command line says? */
bool rules_want_args(const struct rules *r);

#endif
