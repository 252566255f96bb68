/* SPDX-License-Identifier: MIT */
/*
 * progress.h - says on stderr how far a phase has come.
 *
 * On a terminal one line is drawn over and over, and is gone when the phase
 * ends. Elsewhere a plain line comes every two seconds, so that a phase shorter
 * than that leaves no trace.
 */
#ifndef STRESS_PROGRESS_H
#define STRESS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool terminal;
	bool drawn;       /* a line stands on the terminal now */
	uint64_t next_ns; /* not before then again */
};

/* CLOCK_MONOTONIC; the clock of all of famez-stress. */
uint64_t progress_now_ns(void);

/* A phase begins. */
void progress_begin(struct progress *p);

/* Is it time for a line? Cheap; asked before a line is composed. */
bool progress_due(struct progress *p);

void progress_show(struct progress *p, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The phase is over: wipes the line off a terminal. */
void progress_end(struct progress *p);

#endif
