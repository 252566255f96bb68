/* SPDX-License-Identifier: MIT */
/*
 * registrar.h - the thread that listens, gives out IDs and orders joins and leaves.
 *
 * What to do is decided by the state machine in membership.h; here its intents are
 * carried out: newcomers are accepted, looked at and handed to a worker, and every
 * join and leave is told to all workers in one order. Runs in the main thread.
 *
 * It takes up an event only where every worker's queue has room for what may follow,
 * so it never has to wait in the middle of one.
 */
#ifndef REGISTRAR_H
#define REGISTRAR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bells.h"
#include "client.h"
#include "door.h"
#include "listener.h"
#include "mailbox.h"
#include "membership.h"
#include "op.h"
#include "refusal.h"
#include "report.h"
#include "state.h"
#include "store.h"
#include "sweep.h"
#include "watchers.h"
#include "worker.h"

/* A socket that newcomers come to. */
struct port {
	struct op connecting; /* armed while nobody waits there */
	struct registrar *registrar;
	int fd;
	uint32_t own;      /* the ID that they get; GATES_NOBODY: any */
	struct port *next; /* of those where somebody may be waiting */
};

struct registrar {
	struct io_uring ring;
	struct state *state;
	struct membership membership;
	struct bells *bells;
	struct mailbox *mailbox;
	struct report *report;
	struct store *store; /* NULL: systemd keeps nothing for us */
	struct worker *workers;
	uint16_t workers_count;
	struct door door;
	struct watchers watchers;
	struct port *ports; /* the fabric's first, then those of bound IDs */
	unsigned ports_count;
	struct port *ready, *ready_last; /* somebody may be waiting to be accepted; in turn */
	int signal_fd;
	pid_t keeper; /* 0: none */
	struct wakeup wakeup;
	_Atomic int worker_error; /* a worker could not go on: errno */
	_Atomic bool starves;     /* a worker's queue was full: it rings when it has taken some */
	struct refusals refusals;
	struct op signalled, woken, pause, settle, mend, wait;
	struct __kernel_timespec pause_time, settle_time, mend_time, wait_time;
	uint64_t wake_count;
	unsigned reports_missing;
	uint64_t reports_begun, reports_noted; /* noted: written down as done */
	bool lost_told;                        /* that the mailbox is lost */
	bool mend_due; /* what we wrote in the mailbox is to be looked after */
	bool report_wanted, rewind_wanted;
	bool reloading;                  /* the log is being opened anew, the rest is done */
	bool widen_wanted;               /* zones are to be looked at of who is here */
	bool paused;                     /* nobody is accepted for a moment */
	const struct sweep_found *found; /* accepted by a broker before us, and not yet let in */
	unsigned found_count;
	bool stop;
	bool again; /* stop, and have a successor make sockets for bound IDs */
};

/**
 * registrar_init() - before the workers: they need its wakeup. Takes up what stands in @state:
 * whatever a broker before us had begun is carried out, but for what registrar_find() is told of.
 * Returns 0 or -errno.
 */
int registrar_init(struct registrar *r, struct state *state, struct bells *bells,
	struct mailbox *mailbox, struct report *report, const struct door_wish *door);
void registrar_destroy(struct registrar *r);

/**
 * registrar_find() - before registrar_run(): take on those whom a broker before us had accepted.
 * Who was being refused is refused; the others are let in before who waits. @found stays the
 * caller's memory until registrar_run() has returned.
 */
void registrar_find(struct registrar *r, const struct sweep_found *found, unsigned count);

/**
 * registrar_resume() - before registrar_run(): brokers before us died over a reload, of which all
 * but the log has been done, or over a report.
 */
void registrar_resume(struct registrar *r, bool reload, bool report);

/** registrar_tell() - all workers, each of which has room. From its thread. */
void registrar_tell(struct registrar *r, const struct message *m);

/**
 * registrar_run() - serve until SIGTERM or SIGINT, from @keeper if there is one; or until rules
 * were read that want other sockets for bound IDs: then r->again is set. Returns 0, or -errno of
 * what ended it. The workers go on until worker_stop().
 */
int registrar_run(struct registrar *r, struct worker *workers, const struct listener *listener,
	int signal_fd, pid_t keeper);

#endif
