/* SPDX-License-Identifier: MIT */
/*
 * micro_fabric.h - a few handles of libfamez in a fabric without a broker.
 *
 * It is the server itself: each handle connects to a socket of its own making, and is told what a
 * broker would tell it. Everybody has one vector.
 */
#ifndef BENCH_MICRO_FABRIC_H
#define BENCH_MICRO_FABRIC_H

#include "micro.h"

#include "famez/mailbox.h"
#include "famez/peer.h"

#define FABRIC_MEMBERS_MAX 9u

struct fabric {
	struct famez_geometry g;
	void *base;
	int memory, listener;
	char folder[32], path[48];
	uint32_t count;
	struct famez *member[FABRIC_MEMBERS_MAX + 1]; /* by ID, from 1 */
	int end[FABRIC_MEMBERS_MAX + 1];              /* the server's end of its socket */
	int bell[FABRIC_MEMBERS_MAX + 1];
};

/** fabric_new() - @members of them with IDs from 1, among @ids in all. NULL with errno. */
struct fabric *fabric_new(uint32_t members, uint32_t ids);
void fabric_free(struct fabric *f);

/** fabric_tell() - what a broker would: to @to the word @value, with @fd unless -1. */
void fabric_tell(struct fabric *f, uint32_t to, int64_t value, int fd);

/** fabric_settle() - it has taken in all that there is, and would sleep now. */
void fabric_settle(struct famez *member);

#endif
