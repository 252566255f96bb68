/* SPDX-License-Identifier: MIT */
/*
 * errand.c - what was asked of the broker by a signal, and is to be done though it dies over it.
 *
 * Makes no system call. Knows nothing of what is asked for.
 */
#include "errand.h"

#include "state.h"

static uint64_t asked(const struct errand *r)
{
	return atomic_load_explicit(&r->asked, memory_order_relaxed);
}

bool errand_due(const struct errand *r)
{
	return asked(r) != r->done;
}

bool errand_again(struct errand *r, bool *given_up)
{
	*given_up = false;
	if (!errand_due(r))
		return false;
	if (r->tries < ERRAND_TRIES_MAX) {
		r->tries++;
		state_point();
		return true;
	}
	*given_up = true;
	errand_begin(r);
	errand_done(r);
	return false;
}

void errand_begin(struct errand *r)
{
	r->begun = asked(r);
	state_point();
}

void errand_done(struct errand *r)
{
	/* In this order: who dies in between is one try the poorer, and nothing is lost. */
	r->tries = 0;
	state_point();
	r->done = r->begun;
	state_point();
}
