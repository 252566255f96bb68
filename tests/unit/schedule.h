/* SPDX-License-Identifier: MIT */
/*
 * schedule.h - plays one random schedule of a whole fabric, and judges it.
 *
 * The broker's three state machines (membership, roster, view) are driven here as
 * its threads would drive them: a registrar, workers whose replicas lag behind it
 * by different amounts, and queues in between; but stepped by hand, in an order
 * that is drawn from a seed or from a fuzzer's bytes. What they say is handed, as
 * messages of the wire, to clients modelled from what QEMU's device and the ivshmem
 * specification do with such messages; and is compared with an account of the
 * membership that is kept here and nowhere else.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bugs that the driver can be given, to see that the judge would notice. */
#define SCHEDULE_BUGS(X)                                                                           \
	X(NONE)                                                                                    \
	X(COMMITS_TOO_LITTLE)  /* a notice that was sent is sent again */                          \
	X(COMMITS_TOO_MUCH)    /* a notice that was not sent is never sent */                      \
	X(LEAVES_TO_DEVICES)   /* a device is told leaves */                                       \
	X(NO_LEAVES_TO_PLAIN)  /* a plain client is told none */                                   \
	X(IDS_REUSED_NAIVELY)  /* a device is told an ID's next owner like a new peer */           \
	X(LOG_ENTRY_LOST)      /* a worker misses a change */                                      \
	X(LOG_ENTRIES_SWAPPED) /* a worker gets two changes the wrong way round */                 \
	X(LOG_MOVES_IN_SEND)   /* the replica changes between look-ahead and commit */             \
	X(WRONG_EVENTFD)       /* a vector comes with its neighbour's eventfd */                   \
	X(VECTORS_REVERSED)    /* the last vector comes first */                                   \
	X(MEMORY_LATE)         /* memory comes after the next notice */                            \
	X(ANNOUNCED_EARLY)     /* others are told before the opening is over */                    \
	X(GUARD_OFF)           /* a guarded client is sent what it has no room for */              \
	X(LEAVE_UNHEARD)       /* the registrar never learns that somebody left */

enum schedule_bug {
#define SCHEDULE_ENUM(name) SCHEDULE_##name,
	SCHEDULE_BUGS(SCHEDULE_ENUM)
#undef SCHEDULE_ENUM
		SCHEDULE_BUGS_COUNT
};

/* Where decisions come from: a seed, or (bytes not NULL) bytes until they are used up. */
struct schedule_dice {
	uint64_t seed;
	const uint8_t *bytes;
	size_t left;
};

/* What a schedule was made of; added up over many, it shows that all of it happens. */
struct schedule_sums {
	uint64_t schedules, steps, notices, joins, leaves, refused;
	uint64_t crashes_opening, held_back, rewinds, reuses_under_opening, looked_ahead_again;
};

#define SCHEDULE_WHY_BYTES 256

/**
 * schedule_play() - play one schedule to its end and through a quiet time.
 * Returns true if every client was told what it must be told; else @why says,
 * in one sentence, what went wrong. @sums is added to.
 */
bool schedule_play(struct schedule_dice dice, enum schedule_bug bug, struct schedule_sums *sums,
	char why[SCHEDULE_WHY_BYTES]);

#endif
