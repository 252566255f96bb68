/* SPDX-License-Identifier: MIT */
/*
 * watchers.h - who wants to be told of joins and leaves by a ring, and is rung.
 *
 * A peer says so in the directory (mailbox_watches()). Once for all changes of a turn, which are in
 * the memory by then; so many peers a turn, the rest in the next ones. The registrar's thread.
 */
#ifndef WATCHERS_H
#define WATCHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "bells.h"
#include "mailbox.h"
#include "op.h"

struct watchers;

/* What belongs to an ID. */
struct watcher {
	bool again;     /* something changed while `ring` was in the kernel */
	struct op ring; /* outlives the ID's owner */
	struct watchers *watchers;
};

struct watchers {
	struct io_uring *ring;
	const struct bells *bells;
	const struct mailbox *mailbox;
	struct watcher *all; /* by ID - first_id */
	uint32_t first_id, peers;
	uint32_t next, left; /* of them to be looked at, for who is to be rung */
	bool changed;        /* in the directory, this turn */
};

/** watchers_init() - of @peers IDs from @first_id on. All stays the caller's. Returns 0 or -ENOMEM.
 */
int watchers_init(struct watchers *w, struct io_uring *ring, const struct bells *bells,
	const struct mailbox *mailbox, uint32_t first_id, uint32_t peers);

/** watchers_limit() - when the ring is there: of the kernel's threads, that wait in doorbells. */
void watchers_limit(struct watchers *w);

/** watchers_destroy() - when the ring is no more. */
void watchers_destroy(struct watchers *w);

/** watchers_ring() - at the end of a turn. Those who are left (w->left) wait for the next one. */
void watchers_ring(struct watchers *w);

#endif
