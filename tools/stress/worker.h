/* SPDX-License-Identifier: MIT */
/*
 * worker.h - one process of a run: its VMs, and the steps that it takes beside the others.
 *
 * All processes run the same scenario, each for its own VMs. They share the board, and meet
 * at worker_meet(). A function that returns -1 ends this process's part: its verdict says
 * why, or nothing where somebody else's did.
 */
#ifndef STRESS_WORKER_H
#define STRESS_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "bells.h"
#include "board.h"
#include "dice.h"
#include "fleet.h"
#include "letters.h"
#include "options.h"
#include "progress.h"
#include "verdict.h"

struct worker;

/* How a worker that is no process of the run, but a guest of it, meets the others (agent.c). */
struct worker_remote {
	int (*meet)(struct worker *w);
	int (*settle)(struct worker *w);
};

struct worker {
	const struct options *options;
	struct board *board;
	struct board_process *mine;
	unsigned process;
	const char *const *sockets;
	unsigned sockets_count;
	struct verdict verdict;
	struct fleet fleet;
	struct bells bells;
	struct letters letters;
	struct progress progress;
	struct dice dice;                 /* this process's own choices */
	uint64_t step;                    /* meetings so far */
	struct board_series *series;      /* what is being measured, or NULL */
	struct board_series *with_guests; /* of it, what has a guest at one end; NULL: no guests */
	uint64_t glanced_ns;              /* when the handles were looked at, last */
	unsigned turn_of;                 /* of the fan-out: whom it was last */
	/* What to do while we wait for the others: NULL, hear what comes. Returns 0 or -1. */
	int (*idle)(void *context);
	void *idle_context;
	const struct worker_remote *remote; /* NULL: a process of the run */
};

/* Forked by crew.c: everything this process does. Returns its exit code. */
int worker_run(const struct options *options, struct board *board, unsigned process,
	const char *const *sockets, unsigned sockets_count);

/* Waits at most so long for something to come, and hears it. Returns 0 or -1. */
int worker_hear(struct worker *w, int64_t timeout_ns);

/* Now and then: shows that we live, serves a snapshot, asks whether to stop. 0 or -1. */
int worker_look(struct worker *w);

/*
 * Says that this step is done, and waits until all processes say so, hearing what comes
 * meanwhile. Returns 0 or -1.
 */
int worker_meet(struct worker *w);

/*
 * Meets, and then waits until everything that was sent so far has been heard. Returns 0, or -1
 * with a verdict that says what is missing once nothing has come for as long as our patience.
 */
int worker_settle(struct worker *w);

/* A time from now on measured under this name. Returns 0 or -1. */
int worker_series(struct worker *w, const char *name, const char *unit, const char *what);

static inline uint64_t worker_patience_ns(const struct worker *w)
{
	return (uint64_t)(w->options->patience_s * 1e9);
}

/* What was sent, and what was heard: one writer, this process. */
static inline void worker_sent(struct worker *w, uint64_t count)
{
	uint64_t sent = atomic_load_explicit(&w->mine->sent, memory_order_relaxed);

	atomic_store_explicit(&w->mine->sent, sent + count, memory_order_release);
}

static inline void worker_heard(struct worker *w, uint64_t count)
{
	uint64_t heard = atomic_load_explicit(&w->mine->heard, memory_order_relaxed);

	atomic_store_explicit(&w->mine->heard, heard + count, memory_order_release);
}

#endif
