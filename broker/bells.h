/* SPDX-License-Identifier: MIT */
/*
 * bells.h - the eventfds: one for each ID and vector.
 *
 * An ID owns its eventfds for the life of the fabric, which may see several brokers. At a leave
 * they are parked; the ID's next owner gets the same ones, drained. So whoever was told an ID once
 * can ring whoever owns it, which is what lets us spare devices a second notice.
 *
 * The registrar makes and prepares them, before it tells a worker of the ID; from
 * then on workers read the numbers. We never wait on them here.
 */
#ifndef BELLS_H
#define BELLS_H

#include <stdint.h>

struct bells {
	uint32_t ids_max;
	uint16_t vectors;
	int *fds; /* [id * vectors + vector], -1: not made yet; the state's */
};

/**
 * bells_init() - those whose numbers stand in @fds, as an earlier broker left them, or -1 where
 * there is none. @fds stays the caller's.
 */
void bells_init(struct bells *b, int *fds, uint32_t ids_max, uint16_t vectors);

/** bells_destroy() - close them all, at the end of the fabric. */
void bells_destroy(struct bells *b);

/**
 * bells_prepare() - the eventfds of @id are about to get a new owner: make those
 * that are missing, empty the others, and set all to O_NONBLOCK again (any peer
 * may have changed that for everybody).
 * Returns 0, or -errno of eventfd(2) or fcntl(2); what was made stays.
 */
int bells_prepare(struct bells *b, uint32_t id);

/** bells_fd() - borrowed: never closed but by bells_destroy(). */
static inline int bells_fd(const struct bells *b, uint32_t id, uint16_t vector)
{
	return b->fds[(uint64_t)id * b->vectors + vector];
}

/**
 * bells_take() - how often an eventfd was rung since the last time, 0 if not at
 * all. Never blocks, whatever flags peers have set on it.
 */
uint64_t bells_take(int fd);

#endif
