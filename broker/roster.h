/* SPDX-License-Identifier: MIT */
/*
 * roster.h - one thread's replica of the membership log.
 *
 * The registrar orders joins and leaves; every worker is handed them in that
 * order and keeps them here. Of each ID only its last change is kept: what an
 * ID was before matters to nobody, as a peer that came and went meanwhile is
 * skipped. So the log is as long as there are IDs, however long we run.
 *
 *   changes:   3 up   -   7 up   3 down   5 up        '-': superseded
 *   seq:         4    5     6       9      10
 *
 * A sequence number is a place in the log for ever: a peer's cursor is one, and
 * survives every compaction.
 *
 * Single-threaded, no system calls; memory is taken in roster_init() only.
 */
#ifndef ROSTER_H
#define ROSTER_H

#include <stdbool.h>
#include <stdint.h>

#define ROSTER_NOBODY UINT32_MAX

struct roster_change {
	uint64_t seq; /* ascending, from 1 */
	uint32_t id;  /* ROSTER_NOBODY: superseded by a later change */
	bool present; /* joined, or left */
};

struct roster {
	uint32_t ids_max; /* IDs are 0..ids_max-1 */
	uint32_t count;   /* of changes[], the superseded included */
	uint32_t cap;
	uint64_t end; /* seq of the last change, 0: nothing has happened yet */
	struct roster_change *changes;
	uint32_t *at;    /* by ID: index of its change, ROSTER_NOBODY: none */
	uint64_t *zones; /* by ID: a bit for each zone that it is in */
};

/* In no zone of its own: a neighbour of whoever is in any. */
#define ROSTER_ZONES_ALL UINT64_MAX

/** roster_init() - an empty log for IDs 0..ids_max-1, all in all zones. Returns 0 or -ENOMEM. */
int roster_init(struct roster *r, uint32_t ids_max);
void roster_destroy(struct roster *r);

/** roster_bytes() - what one takes, for the budget. */
uint64_t roster_bytes(uint32_t ids_max);

/** roster_append() - ID @id (< ids_max) has joined or left. Never fails. */
void roster_append(struct roster *r, uint32_t id, bool present);

/** roster_restore() - the same, of a log that was kept elsewhere: ascending, seq after seq. */
void roster_restore(struct roster *r, uint32_t id, uint64_t seq, bool present);

/**
 * roster_neighbours() - is who has ID @a told of who has ID @b, and the other way round? The
 * zones of both are those of their last owners that this thread has heard of.
 */
static inline bool roster_neighbours(const struct roster *r, uint32_t a, uint32_t b)
{
	return r->zones[a] & r->zones[b];
}

/**
 * roster_after() - the first change after sequence number @seq that was not
 * superseded, or NULL. Valid until the next roster_append(). O(log n).
 */
const struct roster_change *roster_after(const struct roster *r, uint64_t seq);

#endif
