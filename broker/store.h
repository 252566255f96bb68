/* SPDX-License-Identifier: MIT */
/*
 * store.h - systemd's descriptor store as the keeper's keeper.
 *
 * The keeper outlives its brokers; systemd outlives the keeper. With --fdstore each descriptor
 * that a state memory names is also given to systemd (sd_notify(3), FDSTORE=1), under a name that
 * is its number. When systemd starts us anew, after a crash of everything or at a restart, it
 * passes them all: each is put back at its number, and the state is true again as it stands.
 * What is stored and not named any more is swept as after any death (sweep.h).
 *
 * systemd compares each descriptor with all that it has, and may be busy: so a thread of its own
 * stores them, and no client waits for that. Who joined so late that both died first is lost.
 */
#ifndef STORE_H
#define STORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "state.h"

struct store {
	struct state *state;
	pthread_t thread;
	int notify;        /* the socket to systemd */
	int orders, taker; /* a pipe of IDs: the registrar's end, the thread's */
	bool running;
};

/* What systemd passed at the start. */
struct store_passed {
	int state_fd;  /* -1: nothing was stored */
	int activated; /* a listening socket of its own; -1: none */
};

/** store_offered() - is there a systemd that we could store with? */
bool store_offered(void);

/** store_take() - put back what was stored. At the start, before anything is opened. */
void store_take(struct store_passed *passed);

/** store_start() - store all that the state names, then more as it comes. Before the workers.
 * Returns 0 or -errno. */
int store_start(struct store *store, struct state *state);

/** store_add() - @id has an owner, or is about to have. The registrar's. */
void store_add(struct store *store, uint32_t id);

/** store_stop() - what is stored stays so. */
void store_stop(struct store *store);

#endif
