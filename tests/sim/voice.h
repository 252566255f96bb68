/* SPDX-License-Identifier: MIT */
/*
 * voice.h - peers that speak through the shared memory, with the real headers of include/famez.
 *
 * A voice is a thread of the client's: voice.c is what it does, hearsay.c what it may hear, and
 * what must have come to it once all is quiet. It ends with its client, at any instruction.
 */
#ifndef SIM_VOICE_H
#define SIM_VOICE_H

#include "famez/inbox.h"
#include "sim.h"

enum {
	VOICE_GROUPS = 2,    /* their numbers are from 1 on */
	VOICE_EXPECTED = 96, /* group messages that are on their way to one */
	VOICE_ASKED_MAX = 8, /* questions without an answer so far */
	VOICE_BYTES_MAX = 2000,
};

/* What a voice says to others, and how it goes on: bytes that follow from `nth`. */
struct said {
	uint64_t from; /* serial of the client */
	uint32_t generation, to_generation;
	uint32_t nth; /* to this one; to groups: of all that it says to any */
	uint32_t group;
};

/* How many messages came from one generation to another, or went. */
struct heard {
	uint64_t from;
	uint32_t generation, to_generation, nth;
};

struct expected {
	uint64_t from;
	uint32_t nth, group;
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): by what belongs together */
struct voice {
	struct fiber fiber;
	struct actor *actor;
	char name[16];
	bool used, poked, stalled;
	bool asked_to; /* say one thing */
	uint32_t id, join, generation;
	struct famez_geometry g;
	struct famez_inbox_reader reader;
	struct famez_rx rx[SIM_IDS_MAX];
	struct famez_tx tx[SIM_IDS_MAX];
	uint32_t rx_open, tx_open; /* a bit an ID */
	uint32_t owed;             /* to be rung once their doorbells are known */
	uint32_t wants;            /* has no room for what it wants to say to them */
	uint32_t wanted[SIM_IDS_MAX];
	/* what it remembers, to compare */
	uint32_t asked, answered;
	bool missed; /* there was no room for something that the server had for it */
	uint32_t group_nth;
	uint32_t confirm_at[VOICE_GROUPS + 1]; /* a member once this question is answered */
	bool member[VOICE_GROUPS + 1];
	struct heard to[SIM_IDS_MAX], from[SIM_IDS_MAX], group_from[SIM_IDS_MAX];
	struct expected expected[VOICE_EXPECTED];
	unsigned expected_count;
};

extern struct voice voices[SIM_CLIENTS_MAX];

/* ---- voice.c --------------------------------------------------------------------------- */

/** voice_base() - the shared memory. */
static inline void *voice_base(void)
{
	return memory_map();
}
/** voice_reaches() - does it know the doorbell of this ID? */
bool voice_reaches(const struct voice *v, uint32_t id);

/* ---- hearsay.c ------------------------------------------------------------------------- */

/** hear() - a message came by the lane from @sender. */
void hear(struct voice *v, uint32_t sender, const struct famez_seen *seen);
/** hear_group_said() - @v is about to say its group_nth'th to @group. */
void hear_group_said(const struct voice *v, uint32_t group);
/** hear_nothing() - @v has begun anew: what was for the one before is not for it. */
void hear_nothing(struct voice *v);
/** hear_exit() - it is about to leave @group. */
void hear_exit(struct voice *v, uint32_t group);
/** hear_no_more_of() - a client is gone, or began anew: what it said last may be lost. */
void hear_no_more_of(uint64_t from);

#endif
