/* SPDX-License-Identifier: MIT */
/*
 * session.h - the client's membership, and what it knows of the fabric. See session.c.
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "famez/peer.h"
#include "famez/wire.h"
#include "letters.h"
#include "outcome.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct session {
	const char *socket; /* the options: fixed once main() has read them */
	int join_timeout_ms;
	bool retry;
	const char *name;     /* that others see; NULL: one is made up */
	const char *cclass;   /* component class */
	const char *receive;  /* folder for files; NULL: none are taken */
	uint64_t receive_max; /* bytes of all of them together */
	bool loud;            /* show events that no command asked for */
	bool at_prompt;       /* a person watches: what was shown has been seen */

	struct famez *f;
	bool gone;      /* the server is, and the membership with it */
	bool told_gone; /* and that was shown */
	bool told_lost_descriptor;
	sigset_t waiting_mask;                    /* while we wait for something */
	uint64_t pending[FAMEZ_WIRE_VECTORS_MAX]; /* rings that nobody was shown yet */
	bool mail_wanted; /* by a command of this or of an earlier membership */
	struct letters mail;
	uint32_t up[UINT16_MAX + 1]; /* generation of who takes messages, as far as was told; 0 */
	bool more;                   /* session_pump() has stopped early: there may be something */
	unsigned overtime;           /* events returned after a deadline */
};

/** session_join() - become a member, and learn who is there. Says why not. */
enum outcome session_join(struct session *s);

void session_leave(struct session *s);

/**
 * session_next() - the next event, waiting for it up to the deadline; NULL waits for ever.
 *
 * Counts rings in `pending`, and keeps messages in `mail`. Errors of the connection are said
 * here, and are LOST to the caller. Returns 1, 0 at the deadline, or -EINTR. However much comes,
 * deadline and Ctrl-C are heeded.
 */
int session_next(struct session *s, struct famez_event *event, const struct timespec *deadline);

/** session_meet() - the mailbox is open: learn who takes messages. */
void session_meet(struct session *s);

/** session_pump() - take in what has come, without waiting; show it if we are loud. */
void session_pump(struct session *s);

/** session_show() - say an event, unless it is of no interest to people. */
void session_show(struct session *s, const struct famez_event *event);

/** session_interrupted() - was Ctrl-C pressed since we last waited? */
bool session_interrupted(struct session *s);

/** session_poll() - wait until the descriptor or the fabric has something. Returns 0 or -EINTR. */
int session_poll(struct session *s, int fd, bool *fd_ready);

/** session_deadline() - the point in time that is so many seconds away. */
struct timespec session_deadline(double seconds);

/** session_past() - is it that late? */
bool session_past(const struct timespec *deadline);

#endif
