/* SPDX-License-Identifier: MIT */
/**
 * peer.h - libfamez: be a peer of an ivshmem fabric.
 *
 * A handle (struct famez) is one membership: one socket to one server, one ID,
 * a set of own vectors on which others ring us, and the eventfds of the others
 * on which we ring them. It speaks the plain ivshmem protocol and so works
 * with famez-server and with QEMU's ivshmem-server alike.
 *
 * Threads: a handle belongs to one thread at a time; two handles may be used
 * by two threads, unless they share a struct famez_bells, which belongs to one
 * thread together with all its handles. Nothing here starts a thread or
 * touches signal dispositions.
 *
 * Errors: functions return 0 (or a count) or -errno. Out-parameters are
 * written on success only.
 */
#ifndef FAMEZ_PEER_H
#define FAMEZ_PEER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct famez;
struct famez_bells;

/**
 * A store of other peers' eventfds that several handles of one process share.
 * A thousand handles in a fabric of a thousand peers are sent a million
 * descriptors; with a common store one copy of each eventfd is kept, and the
 * others are closed on arrival.
 */

/** famez_bells_open() - an empty store. Returns 0 or -ENOMEM. */
int famez_bells_open(struct famez_bells **out);

/** famez_bells_close() - after the last handle using it has left. NULL is fine. */
void famez_bells_close(struct famez_bells *bells);

/** How to join. Zero every field you don't set. */
struct famez_join {
	const char *socket;        /* path of the server's UNIX socket; read before return */
	int timeout_ms;            /* famez_join() only: 0 waits for ever */
	struct famez_bells *bells; /* borrowed until famez_leave(); NULL: a store of our own */
};

/**
 * famez_join() - join a fabric, and wait until the server has given us an ID
 * and the shared memory. Peers and vectors arrive afterwards, as events.
 *
 * Returns 0, or -errno of socket(2)/connect(2) (-ENOENT: no such path,
 * -ECONNREFUSED: nobody listens), -EACCES where the server refused us (it sent
 * a version other than 0), -ECONNRESET where it closed the socket half-way,
 * -ETIMEDOUT, -EPROTO (not an ivshmem server), -ENAMETOOLONG, -EMFILE, -ENOMEM.
 */
int famez_join(struct famez **out, const struct famez_join *how);

/**
 * famez_join_start() - the same without waiting: FAMEZ_EVENT_JOINED comes from
 * famez_next() once we are in, or famez_next() returns the error.
 * Additional error: -EAGAIN, the server's queue of connections is full.
 */
int famez_join_start(struct famez **out, const struct famez_join *how);

/** famez_leave() - leave, and free the handle. NULL is fine. */
void famez_leave(struct famez *f);

enum famez_event_kind {
	FAMEZ_EVENT_JOINED,   /* we have an ID and the memory is mapped */
	FAMEZ_EVENT_VECTOR,   /* peer's (or our own) vector can be used now */
	FAMEZ_EVENT_LEFT,     /* peer has left: its vectors are gone */
	FAMEZ_EVENT_DOORBELL, /* somebody rang our own vector */
	FAMEZ_EVENT_LOST,     /* the server is gone; rings between peers go on */
};

struct famez_event {
	enum famez_event_kind kind;
	uint16_t peer;   /* VECTOR, LEFT, JOINED (our ID): 0..65535 */
	uint16_t vector; /* VECTOR, DOORBELL: 0..2047 */
	uint64_t count;  /* DOORBELL: rings since the last look; they coalesce, >= 1 */
};

/**
 * famez_next() - the next event, without blocking.
 *
 * Returns 1 with *event filled in, 0 when there is none, or -errno: before
 * JOINED the errors of famez_join(); after it -EPROTO (the server sent
 * nonsense; the connection is closed, no more events but doorbells come),
 * -EMFILE (a descriptor was lost because this process may open no more; the
 * vector counts, but can't be rung, and the connection goes on). Any other
 * error closes the connection as -EPROTO does.
 */
int famez_next(struct famez *f, struct famez_event *event);

/**
 * famez_fd() - a descriptor that is readable while famez_next() may have
 * something to return. For poll, epoll, io_uring. Ours: don't read or close it.
 */
int famez_fd(const struct famez *f);

/** famez_id() - our ID, 0..65535, or -ENOTCONN before JOINED. */
int famez_id(const struct famez *f);

/**
 * famez_memory() - the shared memory, mapped read-write; *bytes its size.
 * Valid until famez_leave(). NULL before JOINED. Everything in it may change
 * at any time, written by anyone.
 */
void *famez_memory(const struct famez *f, size_t *bytes);

/** famez_vectors() - number of vectors that a peer (or we) was announced with, 0 if none. */
unsigned famez_vectors(const struct famez *f, uint16_t peer);

/**
 * famez_peer_after() - walk the peers known, ourselves included, in ascending
 * order: pass -1 first, then what was returned, until it is -1.
 */
int famez_peer_after(const struct famez *f, int id);

/**
 * famez_ring() - ring a peer's doorbell. Never blocks: a poll precedes the
 * write, since any peer may have switched the eventfd to blocking. (To make us
 * wait, a peer would have to do that and fill the counter between the two.)
 *
 * Returns 0, -ENOTCONN (no such peer), -EINVAL (it has no such vector,
 * or its descriptor was lost) or
 * -EAGAIN (its eventfd's counter is full: it has been rung 2^64-2 times unread).
 */
int famez_ring(struct famez *f, uint16_t peer, uint16_t vector);

/**
 * famez_bell_fd() - the eventfd behind a peer's (or our own) vector, for those
 * who ring or wait in a loop of their own. Borrowed: never close it, and poll
 * before you read or write. Returns a descriptor, -ENOTCONN or -EINVAL.
 */
int famez_bell_fd(const struct famez *f, uint16_t peer, uint16_t vector);

#ifdef __cplusplus
}
#endif

#endif
