/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - the process that was started: it holds everything, and keeps a broker alive.
 *
 * The broker proper is its child, made by clone(2) with CLONE_FILES and never exec'ed: both have
 * one table of descriptors. Whatever the broker opens or accepts is held by the keeper from the
 * same instant, under the same number, and is there for the next broker when this one dies. What
 * these descriptors are stands in the state memory (state.h), which both have mapped.
 *
 * A broker that dies by itself has a successor at once, and a little later each time if it keeps
 * dying. One that was asked to stop, or can't even begin, ends the keeper with its exit code.
 *
 *   SIGTERM, SIGINT   the broker ends well, and so does the keeper. Where systemd has all that
 *                     is open (store.h), the broker is killed, so that nobody notices
 *   SIGHUP, SIGUSR1   are written down in the state (errand.h), then passed on: if the broker dies
 *                     over them, its successor does what they ask for. Where a SIGHUP brings other
 *                     sockets of IDs, the broker ends, and its successor makes them
 *   SIGUSR2           upgrade: the program file as it is now is asked whether it can read the
 *                     state; then the broker is killed, and the keeper becomes that program by
 *                     execve(2), same process, same descriptors. One whose broker does not come
 *                     to serve is rolled back to the program that ran before.
 *   SIGRTMIN          from the broker: it serves
 *
 * The keeper parses nothing that others wrote, and has one thread. A broker that somebody has
 * taken over could close or exchange its descriptors: so while a broker lives, the keeper uses
 * none to keep it alive, nor to see whether it hangs (watchdog.h).
 */
#ifndef KEEPER_H
#define KEEPER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "handover.h"
#include "state.h"

/* What the broker gets in place of SIGTERM and SIGINT. Those it does not take: what is sent to a
 * whole group of processes (^C) reaches the keeper, too, and what was meant for the broker alone
 * would strand everybody. */
#define KEEPER_STOP      (SIGRTMIN + 1)
#define KEEPER_INTERRUPT (SIGRTMIN + 2)

/* To the broker: say that you turn (watchdog.h). */
#define KEEPER_ASK (SIGRTMIN + 3)

/* A broker's exit code: its successor is to read the files of rules, and to make sockets for bound
 * IDs (gates.h) before it gives up the right to. */
#define KEEPER_AGAIN 75

struct keeper {
	struct state *state;
	int (*child)(void *argument);  /* the broker: returns its exit code */
	void (*ready)(void *argument); /* it serves, for the first time in this process */
	void *argument;
	unsigned watchdog_s; /* until a broker that does not answer is ended; 0: never */
	bool stored;         /* systemd has all that is open, and may start us again with it */
	const char *path;    /* of the program on disk; NULL: can't be upgraded */
	char **argv;
	unsigned descriptors_end; /* no descriptor has this number or a higher one */
	struct handover handed;   /* from the program before */
};

/**
 * keeper_run() - have somebody serve, until the end. Returns the exit code.
 * The signals below must be blocked.
 */
int keeper_run(struct keeper *k);

/** keeper_signals() - those that keeper_run() waits for. */
void keeper_signals(sigset_t *set);

#endif
