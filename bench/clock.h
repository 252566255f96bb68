/* SPDX-License-Identifier: MIT */
/*
 * clock.h - wall time, and the CPU time of a thread or of another process.
 *
 * All in nanoseconds. A process's CPU clock counts user and system time of all its
 * threads, those that ended included, and is exact once they sleep.
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

static inline uint64_t clock_read(clockid_t clock)
{
	struct timespec t = {0};

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_wall_ns(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

static inline uint64_t clock_thread_ns(void)
{
	return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

/** clock_process_ns() - CPU time of process @pid so far; 0 if there is no such process. */
static inline uint64_t clock_process_ns(pid_t pid)
{
	clockid_t clock;

	return clock_getcpuclockid(pid, &clock) ? 0 : clock_read(clock);
}

/** clock_settled_ns() - the same, once it has stood still for some milliseconds. */
static inline uint64_t clock_settled_ns(pid_t pid)
{
	const struct timespec pause = {.tv_nsec = 3000000};
	uint64_t before, now = clock_process_ns(pid);

	for (int looks = 0; looks < 300; looks++) {
		before = now;
		(void)nanosleep(&pause, NULL);
		now = clock_process_ns(pid);
		if (now == before)
			break;
	}
	return now;
}

#endif
