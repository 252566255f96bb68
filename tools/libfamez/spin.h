/* SPDX-License-Identifier: MIT */
/*
 * spin.h - how long to poll before sleeping, learned from how it went before.
 *
 * Knows clocks and figures; never touches the mailbox, a descriptor or a handle. Not for two
 * threads at once. docs/messages.md, "How libfamez waits", says what each rule is worth.
 */
#ifndef SPIN_H
#define SPIN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct spin {
	int64_t max_ns;       /* 0: never poll */
	int64_t now_ns;       /* from 0 to max_ns: halved when it was in vain */
	bool brief;           /* the last sleep was */
	unsigned trial_in;    /* waits without, while now_ns is 0 */
	unsigned trial_every; /* what that begins with */
	unsigned probe_in;    /* waits until we see whether more would come */
	unsigned probe_every; /* what that begins with */
	bool flood;           /* a great many came, the last time that we let them */
};

/** spin_init() - @us: the most, in us; 0 for what suits most, below 0 never. */
void spin_init(struct spin *s, int us);

/**
 * spin_until() - poll until @has_come(@what) returns true, for as long as is worth it.
 * Returns whether it did. @met: messages since we waited last.
 */
bool spin_until(struct spin *s, bool (*has_come)(const void *what), const void *what, uint64_t met);

/** spin_slept() - the sleep after that took so long. */
void spin_slept(struct spin *s, int64_t ns);

/** spin_linger() - a sleep was called off: in a flood, let messages come for a while. */
void spin_linger(const struct spin *s);

/** now_ns() - @clock: as clock_gettime(2). */
static inline int64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

#endif
