/* SPDX-License-Identifier: MIT */
/*
 * bells.h - the store of other peers' eventfds. See bells.c.
 */
#ifndef FAMEZ_BELLS_H
#define FAMEZ_BELLS_H

#include "famez/peer.h"

#include <stdbool.h>
#include <stdint.h>

/** A set's number fits the 20 bits that a handle keeps of it; 0 is no set. */
#define BELLS_SETS_MAX ((1u << 20) - 1)

/**
 * bells_give() - hand over the eventfd of one vector of a peer.
 * @set: in: the set we hold for this peer, 0 if none yet; out: the set we hold now.
 * @fd:  ours from here on, whether or not we succeed.
 *
 * Where other handles were sent another eventfd for this vector, we part from their set: ours
 * shares no descriptor with it then.
 *
 * Returns 0, -EPROTO (not an eventfd), -ENOMEM, -ENOSPC (too many sets, or no descriptors left
 * for one more).
 */
int bells_give(struct famez_bells *b, uint32_t *set, uint16_t id, unsigned vector, int fd);

/** bells_drop() - hold this set no longer. */
void bells_drop(struct famez_bells *b, uint32_t set);

/** bells_fd() - the eventfd of a vector of a set held, borrowed; -1 if it has none. */
int bells_fd(const struct famez_bells *b, uint32_t set, unsigned vector);

/** The three ways to tell whether two descriptors are one open file, best first. */
enum bells_compare {
	BELLS_BY_FCNTL,  /* F_DUPFD_QUERY, since Linux 6.10 */
	BELLS_BY_KCMP,   /* kcmp(2), unless a sandbox forbids it */
	BELLS_BY_FDINFO, /* the eventfd's number in /proc/self/fdinfo */
};

/** bells_same() - are both eventfds one? Moves *how on where a way is not to be had. */
bool bells_same(enum bells_compare *how, int a, int b);

#endif
