/* SPDX-License-Identifier: MIT */
/*
 * point.h - the instants at which a test lets the broker die.
 *
 * Only in a build with FAMEZ_FAULTS (the target famez-server-faults; never shipped). There every
 * store into the state, every message sent and every other system call of sys.h is followed by a
 * point, and FAMEZ_CRASH says at which of them the process kills itself:
 *
 *     FAMEZ_CRASH=list             print all places, and exit
 *     FAMEZ_CRASH=trace            say on stderr which are passed
 *     FAMEZ_CRASH=40               the keeper's child dies at the 40th point that it passes
 *     FAMEZ_CRASH=40,7             ... and its successor at its own 7th
 *     FAMEZ_CRASH=state.c:120:3    at the third time at this place
 *
 * A place is FILE:LINE, or for a call of sys.h that FILE makes, FILE/CALL: peer.c/sys_sendmmsg.
 *
 * The process that was started, the keeper, never dies of it. Otherwise there is nothing here.
 * Any thread.
 */
#ifndef POINT_H
#define POINT_H

#ifdef FAMEZ_FAULTS
#include <stdatomic.h>

struct point {
	const char *unit; /* the source file that was compiled */
	const char *file; /* where the point stands: there, or in a header */
	const char *function;
	int line;
	atomic_uint passed; /* in this process */
};

/** point_passed() - returns, unless the plan says otherwise. */
void point_passed(struct point *point);

/* All of them are found by their section. */
#define POINT()                                                                                    \
	do {                                                                                       \
		static struct point point_here_ = {                                                \
			__BASE_FILE__, __FILE__, __func__, __LINE__, 0};                           \
		static struct point *const point_listed_                                           \
			__attribute__((section("famez_points"), used)) = &point_here_;             \
		point_passed(&point_here_);                                                        \
	} while (0)

/** point_never() - this process is no broker: none of the plan's deaths is for it. */
void point_never(void);
#define POINT_NEVER() point_never()
#else
#define POINT()       ((void)0)
#define POINT_NEVER() ((void)0)
#endif

#endif
