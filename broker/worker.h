/* SPDX-License-Identifier: MIT */
/*
 * worker.h - one thread that serves its share of the peers.
 *
 * A worker owns its io_uring, its replica of the membership log, and the sockets of
 * the peers that the registrar gave it. It shares nothing: the tables below that are
 * indexed by ID belong, entry by entry, to the worker that serves the ID now, and are
 * handed over by message.
 *
 * One turn:   take messages ──▶ send what is due ──▶ enter the kernel once ──▶ hand every
 *             completion to its op.
 *
 * Messages to the server itself are taken in the same turn (mail.h), so many at most that
 * they hold up nobody's notices. What is due to a peer goes by one sendmmsg(2) out of the
 * worker's slot in the state memory (state.h), not through the ring: only so does a broker that
 * takes our place know what was sent. It never waits (MSG_DONTWAIT). A peer has at most two
 * operations in the kernel (`receive`, and `writable` while its socket is full).
 */
#ifndef WORKER_H
#define WORKER_H

#include <liburing.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "bells.h"
#include "client.h"
#include "mail.h"
#include "mailbox.h"
#include "message.h"
#include "op.h"
#include "recover.h"
#include "report.h"
#include "roster.h"
#include "state.h"
#include "view.h"

/* Notices of one turn, of all peers together: some 150 us of work, the longest that a
 * newcomer waits behind others. */
#define WORKER_SENDS 256u
/* ... of which newcomers' openings take at most so many while others wait. */
#define WORKER_OPENING_SENDS 192u
/* Notices to one peer that leave together. */
#define WORKER_CHAIN STATE_TELL_MAX

struct worker;

enum peer_state {
	PEER_FREE,
	PEER_SERVED,  /* the socket is ours, notices flow */
	PEER_CLOSING, /* waits until the kernel holds no operation of it */
};

enum peer_place {
	PLACE_NOWHERE, /* it is free or closing, or its record is damaged */
	PLACE_OPENING, /* ready, its opening not yet sent */
	PLACE_READY,   /* ready: something may be due */
	PLACE_IDLE,    /* knows everything */
	PLACE_BLOCKED, /* waits for the client to read */
	PLACE_RETRY,   /* waits a moment: the kernel was short of something */
	PLACES,
};

enum peer_wait {
	WAIT_NOT,
	WAIT_ROOM,  /* until the socket takes more */
	WAIT_EMPTY, /* until the client has read everything, a leave last */
};

struct peer {
	uint8_t state;  /* enum peer_state */
	uint8_t place;  /* enum peer_place */
	uint8_t wait;   /* enum peer_wait, while PLACE_BLOCKED */
	uint8_t reason; /* enum gone_reason, while closing */
	bool device;
	bool announced;    /* the registrar knows that its opening is queued */
	bool leave_unread; /* the last notice was a leave; the next waits until it is read */
	bool told_held_back;
	int sock; /* ours while served */
	int error;
	pid_t pid;
	struct worker *worker;
	struct account *account;    /* NULL: a plain client minds its own descriptors */
	TAILQ_ENTRY(peer) link;     /* in its place */
	TAILQ_ENTRY(peer) siblings; /* in its account */
	struct view view;
	struct view_client client;
	uint64_t sent;       /* notices */
	uint64_t leave_ns;   /* when the read of a leave last woke us */
	uint64_t stalled_ns; /* since when it has read nothing */
	int unread_bytes;    /* in its socket when last looked at */
	char received[4];    /* it never speaks: a byte is as bad as many */
	struct op receive, writable;
};

TAILQ_HEAD(peer_list, peer);

/* A process of devices: what it can hold, and which of our peers are in it. */
struct account {
	struct process process;
	struct peer_list peers;
	LIST_ENTRY(account) link; /* in its worker's */
};

/* One of the server's own doorbells. */
struct own_bell {
	struct op op;
	struct worker *worker;
	uint16_t vector;
	uint64_t rung; /* since start */
};

/* What all workers have in common; does not change while they run. */
struct worker_shared {
	struct state *state;
	const struct recover_plan *plan; /* while they start */
	const struct bells *bells;
	const struct mailbox *mailbox;
	struct mail_shared *mail;
	int memory_fd;
	uint32_t ids_max;
	uint32_t server_id; /* ROSTER_NOBODY: silent */
	uint16_t vectors;
	uint16_t workers;
	int message_bytes; /* peer_message_bytes() */
	bool leaves_always, leaves_never;
	uint64_t stall_ns;          /* 0: never */
	struct peer *peers;         /* by ID */
	struct account *accounts;   /* by the ID of one of their peers */
	struct own_bell *own_bells; /* by vector, NULL if silent */
	struct report *report;
	struct wakeup *registrar;
	_Atomic bool *registrar_starves; /* it waits for room in our queues */
	_Atomic int *error;              /* errno of a worker that can't go on */
};

struct worker {
	uint16_t nth;
	int cpu; /* to bind to, -1: any */
	const struct worker_shared *shared;
	pthread_t thread;
	struct io_uring ring; /* made, used and destroyed by this thread */
	struct roster roster;
	struct peer_list places[PLACES];
	unsigned sends_used;           /* this turn */
	LIST_HEAD(, account) accounts; /* of the processes of our devices */
	struct mail mail;
	struct op retry, stall, woken;
	struct __kernel_timespec retry_time, stall_time;
	uint64_t retry_ns; /* how long the next retry waits */
	uint64_t notices;
	uint64_t wake_count; /* where the kernel puts the wakeup's counter */
	/* either side's end of the queues */
	struct message_queue inbox;  /* from the registrar */
	struct message_queue outbox; /* to the registrar */
	struct wakeup wakeup;
	struct {
		sem_t prepared;    /* `error` is there: worker_await() goes on */
		int error;         /* 0 or -errno */
		sem_t go;          /* all are there, or it is to stop */
		_Atomic bool stop; /* worker_stop() wants its end */
	} any_thread;
};

/**
 * worker_completions() - operations of one worker that may complete before it looks: two a
 * peer, each once; the server's vectors; a turn's cancels; a
 * wake-up and two timeouts; and what its share of the mail has there, where @shards workers
 * have one (0: there is none). (A poll for every message read, peer.c, may go beyond: what does
 * not fit the kernel keeps; io_uring_setup(2), IORING_FEAT_NODROP.)
 */
uint64_t worker_completions(uint32_t ids_max, uint16_t vectors, uint16_t shards);

/** worker_submissions() - that enter the kernel at once. */
unsigned worker_submissions(uint32_t ids_max, uint16_t shards);

/**
 * worker_base_bytes(), worker_table_bytes() - what one takes at start, for the budget: however
 * many peers there are, and for so many IDs. Its struct and its share of the mail (mail_bytes())
 * come on top.
 */
uint64_t worker_base_bytes(void);
uint64_t worker_table_bytes(uint32_t ids_max);

/** worker_start() - make worker @nth, which gets ready by itself. Returns 0 or -errno. */
int worker_start(struct worker *w, uint16_t nth, int cpu, const struct worker_shared *shared);

/** worker_await() - until it is ready. Returns 0, or -errno: then it waits for worker_stop(). */
int worker_await(struct worker *w);

/** worker_go() - it may serve: all others are ready, too, whom it may speak to. */
void worker_go(struct worker *w);

/** worker_stop() - have it close its sockets and end, and wait for that. */
void worker_stop(struct worker *w);

/** worker_finish() - when all have stopped, since they wake each other: what is left of it. */
void worker_finish(struct worker *w);

/** worker_tells_leaves() - is a newcomer to be told of leaves? */
bool worker_tells_leaves(const struct worker_shared *shared, bool device);

/** worker_tell() - registrar only; the room must have been seen before. */
void worker_tell(struct worker *w, const struct message *m);

/* For peer.c, own_bell.c and mail.c: */

/** worker_move() - to another list; PLACE_NOWHERE takes it out of all. */
void worker_move(struct worker *w, struct peer *p, enum peer_place place);

/** worker_say() - never fails: the queue holds all that can be said. */
void worker_say(struct worker *w, const struct message *m);

/** worker_retry_soon() - see that those in PLACE_RETRY are taken up again. */
void worker_retry_soon(struct worker *w);

/** worker_watch_stalls() - see that those in PLACE_BLOCKED are looked at. */
void worker_watch_stalls(struct worker *w);

uint64_t worker_now_ns(void);

#endif
