/* SPDX-License-Identifier: MIT */
/*
 * spin.c - see spin.h.
 */
#include "spin.h"

/* Polls between two looks at the clock. */
#define POLLS 16u

#define SPIN_US 20
/* Less is not worth it. */
#define SPIN_NS_MIN 1000
/* A sleep shorter than so many times what we poll at most was short; after such a one we try to
 * poll for so many times; and if that is in vain, wait twice as often until the next, but so
 * often at most. */
#define BRIEF_TIMES 6
#define TRIAL_TIMES 4
#define TRIALS_MAX  1024u

/* So many messages since the last wait are a batch; so many are a flood. */
#define BATCH 8u
#define FLOOD 64u
/* How long we let them come, to see which it is, and in a flood that we can't sleep in; and every
 * how many batches we want to see. */
#define PROBE_NS  16000
#define LINGER_NS 8000
#define PROBE_MIN 8u
#define PROBE_MAX 8192u

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Let them come, and don't look: that would take from the sender what it writes. */
static void linger(int64_t ns)
{
	int64_t until = now_ns(CLOCK_MONOTONIC) + ns;

	do {
		for (unsigned i = 0; i < POLLS; i++)
			relax();
	} while (now_ns(CLOCK_MONOTONIC) < until);
}

/*
 * Should we poll, who have met so many messages since we waited last? Who polls while messages
 * stream is always right behind the other side, and takes from it, again and again, the very line
 * of memory that it writes next: both are slower for it. So in a flood we sleep at once, and find a
 * great many more. But who asks by the batch and waits for the answers wants us to poll. Only time
 * tells which it is: now and then we let messages come for a while, and see whether more than a
 * batch does.
 */
static bool is_flood(struct spin *s, uint64_t met)
{
	if (!met && s->flood)
		return true; /* what woke us was something else */
	if (met >= FLOOD) {
		s->probe_in = s->probe_every = PROBE_MIN;
		s->flood = true;
		return true;
	}
	s->flood = false;
	if (met < BATCH || (s->probe_in && --s->probe_in))
		return false;
	/* What has come by then is counted at the next wait. */
	s->probe_every = s->probe_every < PROBE_MAX ? 2 * s->probe_every + PROBE_MIN : PROBE_MAX;
	s->probe_in = s->probe_every;
	linger(PROBE_NS);
	return false;
}

/*
 * Who polled in vain again and again has given up, and sleeps at once. But where both sides have
 * done so, each waits only for the other one to wake, a little longer than it would have polled; so
 * after a short sleep we try again, for longer.
 */
static int64_t spin_ns(struct spin *s)
{
	if (s->now_ns)
		return s->now_ns;
	if (!s->brief || (s->trial_in && --s->trial_in))
		return 0;
	s->trial_every = s->trial_every < TRIALS_MAX ? 2 * s->trial_every + 1 : TRIALS_MAX;
	s->trial_in = s->trial_every;
	return s->max_ns * TRIAL_TIMES;
}

void spin_init(struct spin *s, int us)
{
	*s = (struct spin){0};
	if (us >= 0)
		s->max_ns = (us ? us : SPIN_US) * INT64_C(1000);
	s->now_ns = s->max_ns;
}

bool spin_until(struct spin *s, bool (*has_come)(const void *what), const void *what, uint64_t met)
{
	int64_t until, ns;

	if (!s->max_ns || is_flood(s, met))
		return false;
	ns = spin_ns(s);
	if (!ns)
		return false;
	until = now_ns(CLOCK_MONOTONIC) + ns;
	do {
		for (unsigned poll = 0; poll < POLLS; poll++) {
			if (has_come(what)) {
				s->now_ns = 2 * ns < s->max_ns ? 2 * ns : s->max_ns;
				s->trial_in = s->trial_every = 0;
				return true;
			}
			relax();
		}
	} while (now_ns(CLOCK_MONOTONIC) < until);
	s->now_ns /= 2;
	if (s->now_ns < SPIN_NS_MIN)
		s->now_ns = 0;
	return false;
}

void spin_slept(struct spin *s, int64_t ns)
{
	s->brief = ns < s->max_ns * BRIEF_TIMES;
}

void spin_linger(const struct spin *s)
{
	if (s->flood)
		linger(LINGER_NS);
}
