/* SPDX-License-Identifier: MIT */
/*
 * watch.h - looks on while a soak run goes, and says what stands still. See watch.c.
 */
#ifndef SOAK_WATCH_H
#define SOAK_WATCH_H

#include "famez/mailbox.h"
#include "famez/peer.h"
#include "ledger.h"

struct watch {
	struct ledger *ledger;
	struct famez *f;
	struct famez_geometry g;
	void *memory;
	uint64_t beats[SEATS_MAX], moved_ns[SEATS_MAX];
	uint64_t progress, progress_ns; /* of the whole */
};

/** watch_open() - join as one who looks on. Returns 0 or -errno, and has said why. */
int watch_open(struct watch *w, struct ledger *ledger);
void watch_close(struct watch *w);

/** watch_turn() - some milliseconds pass. False: the run is to end, something is wrong.
 * @progress: any number; it stands for a hang if it stays the same for too long. */
bool watch_turn(struct watch *w, uint64_t progress);

/** watch_lane() - print how a lane stands. */
void watch_lane(struct watch *w, uint32_t from, uint32_t to);

/** watch_wake() - ring everybody. */
void watch_wake(struct watch *w);

#endif
