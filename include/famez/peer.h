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
 * Processes: a child of fork(2) has the same descriptors and the same memory, and no membership of
 * its own. It must not call anything here with a handle that its parent made, famez_leave() least
 * of all: that would end the parent's part in messages. exec(3) and _exit(2) are fine; all
 * descriptors are closed at exec.
 *
 * Signals: what is sent to sockets and eventfds raises no SIGPIPE. A shared memory with a name
 * (famez-server's -M and -m, QEMU's server) can lose its pages: its file is cut by somebody, or has
 * holes, and the file system is full when one is touched. Whoever touches such a page then gets
 * SIGBUS, and the library may in any call. The memory that famez-server makes of itself is sealed.
 *
 * Errors: functions return 0 (or a count) or -errno. Out-parameters are
 * written on success only.
 */
#ifndef FAMEZ_PEER_H
#define FAMEZ_PEER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
/* A struct and a function may have one name, as with stat(2). g++ takes that for shadowing. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
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
	const char *socket;        /* path of the server's UNIX socket, or, in a guest, of the
				    * driver's device (/dev/famez0); read before return */
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
 *
 * Through a guest's device all is the same but this. Nobody waits. One handle at a time has the
 * device (-EBUSY), and -EOPNOTSUPP says that it has memory only. Who comes and goes is read from
 * the mailbox's directory; without one nobody is known, and anybody can be rung. Without a mailbox
 * opened, the driver's own doorbells are told as well. FAMEZ_EVENT_LOST: the device was unplugged,
 * and to touch the memory then is SIGBUS.
 */
int famez_join(struct famez **out, const struct famez_join *how);

/**
 * famez_join_start() - the same without waiting: FAMEZ_EVENT_JOINED comes from
 * famez_next() once we are in, or famez_next() returns the error.
 * Additional error: -EAGAIN, the server's queue of connections is full.
 */
int famez_join_start(struct famez **out, const struct famez_join *how);

/** famez_leave() - leave, and free the handle. What we have sent stays for its receivers. NULL is
 * fine. */
void famez_leave(struct famez *f);

enum famez_event_kind {
	FAMEZ_EVENT_JOINED,   /* we have an ID and the memory is mapped */
	FAMEZ_EVENT_VECTOR,   /* peer's (or our own) vector can be used now */
	FAMEZ_EVENT_LEFT,     /* peer has left: its vectors are gone */
	FAMEZ_EVENT_DOORBELL, /* somebody rang our own vector */
	FAMEZ_EVENT_LOST,     /* the server is gone; rings between peers go on */
	/* with a mailbox only: */
	FAMEZ_EVENT_MESSAGE, /* famez_peek() or famez_recv() has something; comes until it is taken,
			      * so a loop that ignores it does not end */
	FAMEZ_EVENT_ROOM,    /* the lane or slot to `peer` was full: try again. It has room, or the
			      * peer is gone */
	FAMEZ_EVENT_UP,      /* the directory: `peer` is there, or has started anew; or it has a
			      * mailbox now, and had none */
	FAMEZ_EVENT_DOWN,    /* the directory: `peer` is gone */
	FAMEZ_EVENT_GARBLED, /* the lane from `peer` made no sense; what was in it is lost */
};

struct famez_event {
	enum famez_event_kind kind;
	uint16_t peer;   /* all but DOORBELL, LOST, MESSAGE; JOINED: our ID. 0..65535 */
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
 * before you read or write. Returns a descriptor, -ENOTCONN or -EINVAL; in a guest -EINVAL for
 * all vectors but our own.
 */
int famez_bell_fd(const struct famez *f, uint16_t peer, uint16_t vector);

/**
 * famez_listen() - whether our own vectors are listened to, as they are from the beginning.
 * @listen: 0: no more of FAMEZ_EVENT_DOORBELL for the vectors that we know by now, and famez_fd()
 * is not readable for them. For those who wait for famez_bell_fd() in a loop of their own: a ring
 * then wakes that loop alone, and costs what an eventfd costs.
 * Returns 0, -ENOTCONN (not joined), -EBUSY (mail is waited for by them), -errno of
 * epoll_ctl(2).
 */
int famez_listen(struct famez *f, int listen);

/*
 * Messages. The shared memory of a famez-server has a message layer (docs/mailbox.md): a lane
 * of bytes from every peer to every other and to the server, and a directory. It works
 * between all who have opened it, whether or not the server still lives.
 *
 * Nothing in that memory is trusted: whoever has it mapped can garble what we read, and
 * nothing else. A lane that was garbled is set right and told of (FAMEZ_EVENT_GARBLED).
 *
 * To wait, call famez_next() until it returns 0 (again after each famez_recv() or famez_await());
 * then, and not before, famez_fd() becomes readable when there is something. Somebody who scribbles
 * on our part of the memory can delay that by at most two seconds.
 *
 * Mail rings the vector that is the sender's ID where everybody has that many, else vector 0.
 * A ring of such a vector is no FAMEZ_EVENT_DOORBELL if by the time that it is taken something
 * has come of its sender's (any sender's, where all ring vector 0): a message, room in a lane
 * that was full, a change in the directory. So a ring of one's own that meets with mail is
 * lost on such a vector, and one for mail that was read before it arrived is told. Rings of all
 * other vectors are told as without a mailbox.
 */

/** What we show in the directory, and want to know of it. Zero every field you don't set. */
struct famez_mailbox {
	const char *name;   /* 1 to 31 bytes without blanks or control characters */
	const char *cclass; /* component class, the same; NULL: "Client" */
	int watch;          /* nonzero: FAMEZ_EVENT_UP and _DOWN are wanted */
	int spin_us;        /* how long famez_recv() and famez_send() poll before they sleep: 0 is
			     * 20 us where there is more than one CPU, negative never. Given up
			     * by itself while it does not pay. */
};

/**
 * famez_mailbox_open() - take part in messages, after JOINED. Once for a handle.
 * Returns 0, -ENOTCONN (not joined), -EALREADY, -EINVAL (a name that would not do),
 * -EOPNOTSUPP (no message layer here: QEMU's server, FAME-Z's, or ours with --layout plain),
 * -EPROTO (its header makes no sense), -ENOMEM, -errno of timerfd_create(2) or eventfd(2).
 */
int famez_mailbox_open(struct famez *f, const struct famez_mailbox *how);

/** famez_payload_bytes_max() - of one message: half a lane less 24; 0 without a mailbox. */
size_t famez_payload_bytes_max(const struct famez *f);

/** famez_server_id() - the server's ID, or -ENOTCONN where it is no peer, or no mailbox. */
int famez_server_id(const struct famez *f);

/** A message's kind. Types above FAMEZ_MESSAGE_GROUP are for the library. */
enum famez_message_type {
	FAMEZ_MESSAGE_DATA = 0,  /* whatever peers make of it */
	FAMEZ_MESSAGE_LINK = 1,  /* text of the fabric's link level; docs/personality.md */
	FAMEZ_MESSAGE_GROUP = 2, /* received: to a group that we are in */
};

struct famez_message {
	uint16_t from;   /* the peer whose lane, or v1 slot, it came by; the server for groups */
	uint16_t origin; /* who says it: as `from`, or whom the server relays for. Not proven. */
	uint16_t group;  /* GROUP */
	uint8_t type;    /* enum famez_message_type */
	uint8_t slot;    /* 1: it came by a v1 slot; its type is LINK */
	size_t bytes;
	const void *payload; /* peeked: in the shared memory, and may change under your eyes.
			      * Copy what matters before you judge it. 8-byte aligned. */
};

/** Where a message goes. Zero every field you don't set. */
struct famez_to {
	uint16_t peer;
	uint8_t type;  /* DATA or LINK */
	uint8_t spoof; /* nonzero: `origin` is to stand in it, for debugging */
	uint16_t origin;
};

/**
 * famez_send() flags: more will follow, don't publish yet; famez_flush() must, or the next message
 * without it.
 *
 * A batch is for whoever has the peer's ID when the first of it is claimed or sent. If that one
 * leaves or starts anew before all is published, what was not is lost with it, the message that
 * ends the batch too, though famez_send() returned 0 for each: it is published all the same, and
 * the ID's next owner passes over it (famez_traffic.stale). The first message after that is for
 * the next owner, or finds none.
 */
#define FAMEZ_MORE 1u

/**
 * famez_send() - copy one message into the lane to a peer, publish it, and wake the peer if it
 * sleeps. To a peer that has no mailbox but a v1 slot the text goes by our slot (or, spoofed, by
 * origin's): 1 to 383 bytes, no FAMEZ_MORE.
 * @timeout_ms: how long to wait for room: 0 not at all, negative for ever. Nothing is received
 * meanwhile: two who only send to each other wait for each other. Once the server is gone
 * nobody tells of a peer's death either.
 *
 * Returns 0, -EAGAIN (full, and not to be waited for; FAMEZ_EVENT_ROOM will come), -ETIMEDOUT,
 * -EMSGSIZE, -ENOTCONN (no such peer, or it left while we waited), -EOPNOTSUPP (the peer takes
 * no messages), -EINVAL (no mailbox; or an ID, type or flag that does not exist), -ENOMEM (the
 * first message to a peer only).
 */
int famez_send(struct famez *f, const struct famez_to *to, const void *payload, size_t bytes,
	unsigned flags, int timeout_ms);

/**
 * famez_claim() - room in the lane to a peer, to write up to @bytes in place; then
 * famez_commit() with as many as it became. One claim at a time; the next forgets it.
 * Errors as famez_send() with no time; never to a v1 slot (-EOPNOTSUPP).
 */
int famez_claim(struct famez *f, uint16_t peer, size_t bytes, void **payload);

/** famez_commit() - errors: -EINVAL (nothing claimed, or more than was). Flags as above. */
int famez_commit(struct famez *f, const struct famez_to *to, size_t bytes, unsigned flags);

/**
 * famez_flush() - publish what was sent with FAMEZ_MORE to this peer, and wake it if it sleeps.
 * Happens by itself once a quarter of a lane, or 64 KiB, is waiting, and before
 * famez_next() returns 0, or famez_send(), famez_recv() or famez_await() waits. Returns 0,
 * -ENOTCONN (nobody has that ID now; whether it is still the same one is not looked at), or -EINVAL
 * (no mailbox).
 */
int famez_flush(struct famez *f, uint16_t peer);

/**
 * famez_peek() - the next message, read in place. Never blocks, never sleeps.
 * Returns 1 with *m, which holds until famez_release() and is returned again till then; 0;
 * -EINVAL (no mailbox). A sender's first message for which there is no memory stays, for later
 * calls; who waits is woken for it within a second.
 */
int famez_peek(struct famez *f, struct famez_message *m);

/**
 * famez_await() - famez_peek(), but waits: as famez_recv(), without the copy.
 * @timeout_ms: for how long; 0 not at all, below 0 for ever.
 * Returns as famez_peek(); 0: none came in time.
 */
int famez_await(struct famez *f, struct famez_message *m, int timeout_ms);

/**
 * famez_peek_batch() - famez_peek() of up to @most messages at once, all from one sender and in
 * their order, into @m, beginning with what was peeked at and not yet released. It may be fewer
 * though there are more: an eighth of the lane at most, and others have their turn. One
 * famez_release() is for all of them.
 * Returns how many; 0; -EINVAL (no mailbox, or @most is 0); -EBUSY: the last batch was not
 * released yet.
 */
int famez_peek_batch(struct famez *f, struct famez_message *m, unsigned most);

/** famez_release() - done with what was peeked; its room goes back to its sender. */
void famez_release(struct famez *f);

/**
 * famez_recv() - the next message, copied.
 * @timeout_ms: 0 not at all, negative for ever. Membership goes on meanwhile; what it has to
 * tell, the server's end too, is kept for famez_next(), and does not end the wait.
 * Returns 1 with *m and m->payload = @into; 0 (nothing in time); -EMSGSIZE: m->bytes says how
 * many it would take, the message stays; -EINVAL (no mailbox); -EBUSY: a batch is held.
 */
int famez_recv(struct famez *f, struct famez_message *m, void *into, size_t size, int timeout_ms);

/**
 * Groups, 1..4095: what one sends to a group the server passes on to all members but the
 * sender, who need not be one. A member whose lane from the server is full misses it, and
 * nobody is told. Entering and leaving take effect in the order of what we send to the server.
 * Returns as famez_send() to the server (entering and leaving don't wait); -ENOTCONN where the
 * server is no peer, -EINVAL (no such group).
 */
int famez_group_enter(struct famez *f, uint16_t group);
int famez_group_exit(struct famez *f, uint16_t group);
int famez_group_send(struct famez *f, uint16_t group, const void *payload, size_t bytes,
	unsigned flags, int timeout_ms);

/** What the directory says of a peer; a copy. */
struct famez_who {
	uint16_t id;
	uint8_t lanes;       /* 1: takes messages by lanes */
	uint8_t slot;        /* 1: has a name in a v1 slot */
	uint8_t device;      /* 1: a QEMU */
	uint8_t server;      /* 1: it is the server */
	uint32_t generation; /* another after each start of it; 0 without a mailbox */
	uint32_t joins;      /* of this ID so far */
	uint32_t cid, sid;   /* Gen-Z component and subnet ID; 0: not assigned */
	uint64_t heartbeat;  /* grows every second while it lives */
	char name[32];       /* printable; empty: none */
	char cclass[32];
};

/** famez_who() - Returns 0, -ENOTCONN (not present), -EINVAL (no mailbox). */
int famez_who(struct famez *f, uint16_t id, struct famez_who *who);

/** famez_who_after() - walk those present in ascending order, as famez_peer_after(). -1 also
 * without a mailbox. */
int famez_who_after(struct famez *f, int id);

/** famez_who_named() - the ID of the first of that name, or of "server"; -ENOENT, -EINVAL. */
int famez_who_named(struct famez *f, const char *name);

/** What went through a lane since the file was made, whoever had the IDs. Not proven. */
struct famez_traffic {
	uint64_t messages, payload_bytes, rings, full; /* the sender says */
	uint64_t unread_bytes, stale, garbled;         /* the receiver says */
};

/** famez_traffic() - of any lane. Returns 0, -EINVAL (no mailbox, no such ID). */
int famez_traffic(struct famez *f, uint16_t from, uint16_t to, struct famez_traffic *traffic);

#ifdef __cplusplus
}
#pragma GCC diagnostic pop
#endif

#endif
