/* SPDX-License-Identifier: MIT */
/*
 * handle.h - what is behind a struct famez: one membership, and its mailbox if it has one.
 *
 * peer.c owns the handle; a transport (transport.h) its link, and what comes from there;
 * messages.c the post, which is there from famez_mailbox_open() on. All may read all of it.
 */
#ifndef FAMEZ_HANDLE_H
#define FAMEZ_HANDLE_H

#include "famez/peer.h"
#include "famez/wire.h"
#include "spin.h"
#include "stream.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum state { JOINING, MEMBER, FAILED };

/* What we know of one peer. A fabric of N peers in one process has N of these
 * per handle: 4,000 by 4,000 take 64 MB. */
struct seat {
	uint32_t told : 12; /* vectors announced, 0..2048; 0: no such peer */
	uint32_t set : 20;  /* its eventfds in the store; 0: all announced were lost */
};

/* What epoll returns for the link and the mailbox's descriptors; a vector is returned for what it
 * is. */
#define READY_LINK      FAMEZ_WIRE_VECTORS_MAX
#define READY_TIMER     (FAMEZ_WIRE_VECTORS_MAX + 1)
#define READY_CALL_BACK (FAMEZ_WIRE_VECTORS_MAX + 2)

/* Steps of one famez_next(): a server that sends nothing of interest for ever
 * can't keep our caller from its other work. */
#define HANDLE_STEPS_MAX 256

/*
 * What was met while famez_send() or famez_recv() waited, and famez_next() has still to tell. Not
 * event by event, which has no bound, but what was told of each ID: the rest follows from
 * what is known of it now. Who came and went meanwhile is passed over.
 */
#define KEPT_LEFT 0x8000u /* it is to be told as gone, before anything else of it */

struct kept {
	uint32_t ids;
	unsigned behind; /* IDs of which there is something to tell */
	uint64_t *is_behind;
	uint16_t *told; /* of those: vectors told, or KEPT_LEFT */
	int error;      /* to be returned once; 0: none */
	bool lost;      /* the server is gone */
};

struct post {
	struct mail *mail;
	int timer;      /* in the handle's epoll descriptor */
	int call_back;  /* the same; readable while `back` */
	bool back;      /* famez_next() is to be called */
	bool hasty;     /* the timer fires more often, for want of a doorbell */
	bool mail_turn; /* whose turn it was: the mail's, or the rest of the world's */
	bool heard;     /* something was taken from behind famez_fd() */
	bool waited;    /* for famez_fd(), perhaps: famez_next() said that there is nothing */
	int64_t ticked_ns;
	unsigned busy;         /* calls since we looked at the clock */
	struct spin spin;      /* for messages */
	struct spin room_spin; /* for room */
	struct kept kept;
	uint64_t rings[FAMEZ_WIRE_VECTORS_MAX]; /* by vector: rung, and not yet told */
	unsigned rung;                          /* how many of them are not 0 */
};

struct famez {
	enum state state;
	int error; /* FAILED: why */
	const struct transport *transport;
	int link; /* what the transport hears from; -1: nothing any more */
	int epoll;
	unsigned streak;       /* things received until the epoll descriptor is asked again */
	int held;              /* socket.c: descriptor of the message that is being assembled */
	struct stream stream;  /* socket.c */
	struct device *device; /* device.c */
	uint16_t id;           /* MEMBER */
	void *memory;
	size_t bytes;
	struct famez_bells *bells;
	bool bells_ours;
	struct seat *seats; /* by ID */
	uint32_t seats_size;
	struct post *post; /* NULL: no mailbox */
};

/** handle_remaining_ms() - until the deadline: -1 for ever (NULL), 0 when it is past. */
int handle_remaining_ms(const struct timespec *deadline);

/**
 * handle_step() - look at one thing outside our memory: the socket, a doorbell, the timer.
 * @timeout_ms: how long to wait for it, as epoll_wait(2).
 * @idle: set where there was nothing.
 * Returns as famez_next(); 0 also where it was nothing to tell.
 */
int handle_step(struct famez *f, struct famez_event *event, int timeout_ms, bool *idle);

/** handle_watch() - have a descriptor in the epoll descriptor. Returns 0 or -errno. */
int handle_watch(struct famez *f, int fd, uint32_t what);

/** handle_reach() - make room for what we know of this peer. Returns 0 or -ENOMEM. */
int handle_reach(struct famez *f, uint16_t id);

/** handle_fails() - the other side is not to be had any more, for this reason. Returns it. */
int handle_fails(struct famez *f, int err);

/** handle_close_link() - f->link is watched no more, and closed. More than once is fine. */
void handle_close_link(struct famez *f);

/** messages_next() - famez_next() where there is a mailbox. */
int messages_next(struct famez *f, struct famez_event *event);

/** messages_tick() - the timer is readable. */
void messages_tick(struct famez *f);

/** messages_close() - the mailbox's end, while the bells are still there. */
void messages_close(struct famez *f);

#endif
