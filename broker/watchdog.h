/* SPDX-License-Identifier: MIT */
/*
 * watchdog.h - the keeper's look at a broker that may hang.
 *
 * A broker that is dead has a successor at once; one that lives and does nothing any more would
 * stand still for everybody. So the keeper asks: it counts `asked` up in the state memory and
 * sends a signal. The registrar hears of it where it hears of everything, wakes every worker,
 * and each thread writes down in its next turn up to where it was asked. A thread that never
 * comes to its next turn is missing there.
 *
 * Who is merely slow must live: killing him makes nothing faster. So a broker is ended only
 * after WATCHDOG_LOOKS looks in a row at which one and the same question was unanswered, each
 * of them made on time. It does not count while
 *
 *   the broker is stopped (SIGSTOP) or a debugger has it;
 *   the keeper itself came late: the machine was suspended, the VM that we run in paused, the
 *   container frozen, or there are no processors to be had, for it as little as for the broker.
 *
 * And each end doubles the time until the next one, lest a machine that is too slow be kept from
 * ever getting through.
 *
 * The keeper's thread. The rules are pure: watchdog_judge().
 */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "state.h"

/* Looks at one that does not answer. */
#define WATCHDOG_LOOKS 8u

/* Seconds without an answer, by default: a thousand times what a turn takes under any load that
 * we have made. */
#define WATCHDOG_DEFAULT_S 60u

struct watchdog {
	uint64_t interval_ns; /* between two looks; 0: there is none */
	uint64_t next_ns;     /* of the next one; 0: nobody serves */
	unsigned missed;      /* looks in a row */
	unsigned ended;       /* brokers of this keeper that it ended */
};

enum watchdog_says { WATCHDOG_WAIT, WATCHDOG_ASK, WATCHDOG_ABORT, WATCHDOG_KILL };

/** watchdog_begin() - a broker serves since @now; look at it. @seconds: until it counts as
 * hanging. 0: never look. */
void watchdog_begin(struct watchdog *w, unsigned seconds, uint64_t now);

/** watchdog_end() - it is gone, or was told to go. */
void watchdog_end(struct watchdog *w);

/**
 * watchdog_judge() - at @now, at or after next_ns. @answered: what was asked last. @excused: it
 * is stopped, or a debugger has it.
 */
enum watchdog_says watchdog_judge(struct watchdog *w, uint64_t now, bool answered, bool excused);

/** watchdog_look() - if it is time: judge @broker and do what that says. */
void watchdog_look(struct watchdog *w, struct state *state, pid_t broker, uint64_t now);

#endif
