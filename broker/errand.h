/* SPDX-License-Identifier: MIT */
/*
 * errand.h - what was asked of the broker by a signal, and is to be done though it dies over it.
 *
 * A signal that a dying process has taken, or was about to, is gone with it. So the keeper writes
 * each one down in the state memory before it passes it on, and the broker that it is done when it
 * is. A successor does what was asked and is not done: at least once, since a death just before
 * that note has it done again. Neither a report nor a reload minds.
 *
 * What many brokers in a row died over is given up: else a file that no reader survives, say, would
 * be the end of them all.
 *
 * An errand is of one kind of signal; asked often before it is begun, it is done once for all.
 */
#ifndef ERRAND_H
#define ERRAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Brokers that may die over one. */
#define ERRAND_TRIES_MAX 8u

/* Part of the state. The registrar writes, else as noted. */
struct errand {
	_Atomic uint64_t asked; /* the keeper: how often, so far */
	uint64_t begun;         /* of these, when it was last begun with */
	uint64_t done;          /* of these */
	uint64_t tries;         /* brokers that found it not done, since it last was */
};

/** errand_ask() - the keeper's, before the signal is passed on. */
static inline void errand_ask(struct errand *r)
{
	/* Relaxed: a broker that misses it gets the signal afterwards, or reads it at its start. */
	(void)atomic_fetch_add_explicit(&r->asked, 1, memory_order_relaxed);
}

/** errand_due() - it was asked for, and is not done. */
bool errand_due(const struct errand *r);

/**
 * errand_again() - by a broker at its start: is it to be done, because no broker before us has?
 * @given_up is set where it was due for the last time.
 */
bool errand_again(struct errand *r, bool *given_up);

/** errand_begin() - what was asked for up to now is being done. Before anything of it is. */
void errand_begin(struct errand *r);

/** errand_done() - all that was begun with is. */
void errand_done(struct errand *r);

#endif
