/* SPDX-License-Identifier: MIT */
/*
 * deaths.h - a death at any store into the state, by a jump out of state_point().
 *
 * For programs that compile the broker's pure parts with FAMEZ_POINTS. What a broker had in its
 * own memory is forgotten by whoever is killed here; the state stays as the last store left it.
 */
#ifndef DEATHS_H
#define DEATHS_H

#include <setjmp.h>
#include <stdbool.h>

#include "state.h"

static struct {
	jmp_buf end;
	unsigned left; /* points until death; 0: none comes */
	unsigned passed;
} death;

void state_point_reached(void)
{
	death.passed++;
	if (death.left && --death.left == 0)
		longjmp(death.end, 1);
}

/* Do it, and die at the @nth point, counted from 1. Returns whether it came to that. */
static inline bool dies(unsigned nth, void (*act)(void *), void *argument)
{
	death.passed = 0;
	death.left = nth;
	if (setjmp(death.end))
		return true;
	act(argument);
	death.left = 0;
	return false;
}

#endif
