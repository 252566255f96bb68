/* SPDX-License-Identifier: MIT */
/*
 * haste.c - the scheduler's policy of the keeper, and of its broker's threads while they begin.
 *
 * Never gives anybody else's thread a policy, nor has one wait.
 */
#include "haste.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include "sandbox_calls.h"

/* Back to what everybody has, and only ourselves. */
SANDBOX_BROKER(CALL(clock_gettime), CALL(sched_setscheduler, {0, SANDBOX_ALL, 0},
					    {1, SANDBOX_ALL, SCHED_OTHER | SCHED_RESET_ON_FORK}));
SANDBOX_LOOKER(CALL(clock_gettime), CALL(sched_setscheduler, {0, SANDBOX_ALL, 0},
					    {1, SANDBOX_ALL, SCHED_OTHER | SCHED_RESET_ON_FORK}));

static bool kept;               /* the keeper's, and inherited */
static bool on;                 /* this broker was born with it */
static uint64_t until_ns;       /* ... and gives it up then */
static _Thread_local bool here; /* this thread has not yet */

static bool set(int policy, int urgency)
{
	return sched_setscheduler(0, policy, &(struct sched_param){.sched_priority = urgency}) == 0;
}

void haste_keep(void)
{
	kept = sched_getscheduler(0) == SCHED_OTHER && set(SCHED_RR, HASTE_FIRST);
}

void haste_as_before(void)
{
	if (kept)
		(void)set(SCHED_OTHER, 0);
	kept = false;
}

static rlim_t lesser(rlim_t a, rlim_t b)
{
	return a < b ? a : b;
}

/* Of this process only: the keeper does nothing for long. */
static void limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_RTTIME, &l) != 0)
		return;
	l.rlim_cur = lesser(l.rlim_cur, HASTE_LIMIT_US);
	l.rlim_max = lesser(l.rlim_max, 2 * HASTE_LIMIT_US);
	(void)setrlimit(RLIMIT_RTTIME, &l);
}

bool haste_begin(bool first, uint64_t born_ns)
{
	here = on = kept;
	until_ns = born_ns + HASTE_NS;
	if (first)
		haste_end();
	on = on && !first;
	if (on)
		limit();
	return on;
}

/* What the kernel makes of itself for our ring has no haste: SCHED_RESET_ON_FORK, which who has no
 * rights can't take back. */
void haste_worker(void)
{
	here = on && set(SCHED_RR | SCHED_RESET_ON_FORK, HASTE_REST);
}

void haste_end(void)
{
	if (on)
		(void)set(SCHED_OTHER | SCHED_RESET_ON_FORK, 0);
	here = false;
}

void haste_look(void)
{
	struct timespec t;

	if (!here)
		return;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	if ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec >= until_ns)
		haste_end();
}
