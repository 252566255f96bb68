/* SPDX-License-Identifier: MIT */
/*
 * session.h - the client's membership, and what it knows of the fabric. See session.c.
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "famez/peer.h"
#include "famez/wire.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/** How the program ends, and how every command does. */
enum outcome {
	OUTCOME_OK = 0,
	OUTCOME_FAILED = 1,
	OUTCOME_USAGE = 2,
	OUTCOME_NOT_JOINED = 3,
	OUTCOME_TIMED_OUT = 4,
	OUTCOME_QUIT, /* a command's only: no more commands */
};

struct session {
	const char *socket; /* the options: fixed once main() has read them */
	int join_timeout_ms;
	bool retry;
	bool loud;      /* show events that no command asked for */
	bool at_prompt; /* a person watches: what was shown has been seen */

	struct famez *f;
	bool gone;      /* the server is, and the membership with it */
	bool told_gone; /* and that was shown */
	bool told_lost_descriptor;
	sigset_t waiting_mask;                    /* while we wait for something */
	uint64_t pending[FAMEZ_WIRE_VECTORS_MAX]; /* rings that nobody was shown yet */
};

/** session_join() - become a member, and learn who is there. Says why not. */
enum outcome session_join(struct session *s);

void session_leave(struct session *s);

/**
 * session_next() - the next event, waiting for it up to the deadline; NULL waits for ever.
 *
 * Counts rings in `pending`. Errors of the connection are said here, and are LOST to the
 * caller. Returns 1, 0 at the deadline, or -EINTR.
 */
int session_next(struct session *s, struct famez_event *event, const struct timespec *deadline);

/** session_pump() - take in what has come, without waiting; show it if we are loud. */
void session_pump(struct session *s);

/** session_show() - say an event, unless it is of no interest to people. */
void session_show(struct session *s, const struct famez_event *event);

/** session_poll() - wait until the descriptor or the fabric has something. Returns 0 or -EINTR. */
int session_poll(struct session *s, int fd, bool *fd_ready);

/** session_deadline() - the point in time that is so many seconds away. */
struct timespec session_deadline(double seconds);

#endif
