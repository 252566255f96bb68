/* SPDX-License-Identifier: MIT */
/*
 * slots.h - v1 clients: one text at a time, in a slot.
 *
 * A peer's slot holds what it says; it rings the server's vector of its own ID. We copy the
 * text and zero its length: the handshake. Our answer goes by the server's own slot, of
 * which there is one for all peers: whoever it was meant for zeroes its length, without
 * ringing. So worker 0 owns it, answers queue up, and the slot is looked at every so often
 * while any wait.
 *
 * A peer that leaves our text unread for SLOTS_PATIENCE_NS is logged and counted, and its
 * text gives way to the next one. From then on it does not keep others waiting so long,
 * until it has read one.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "famez/mailbox.h"
#include "op.h"
#include "queue.h"

/* FAME-Z's and F.E.E.'s clients give up after 1.05 s. */
#define SLOTS_PATIENCE_NS UINT64_C(1050000000)
/* ... what a peer has that used it up once. */
#define SLOTS_PATIENCE_SLOW_NS UINT64_C(50000000)

/* Answers that wait for the slot, and those on their way from one other worker; and how many
 * of them may wait for one reader, who can have but one at a time. */
#define SLOTS_WAITING 256u
#define SLOTS_PASSED  64u
#define SLOTS_EACH    4u

struct mail;
struct mail_peer;

/* A text from the server to a v1 client. */
struct slot_text {
	uint32_t to;
	uint32_t joins; /* of this ID when it was said: an ID's next owner is not meant */
	uint16_t bytes;
	char text[FAMEZ_SLOT_TEXT_BYTES];
};

QUEUE_PROTOTYPE(slot_text)

/* Of every ID, as the owner of the server's slot sees it. */
struct slot_target {
	struct mail *mail;
	struct op ring; /* a doorbell of its on its way */
	uint32_t joins; /* so far, as the log has it */
	bool present;
	bool ring_again;  /* rung while `ring` was on its way */
	bool slow;        /* it left a text unread */
	uint16_t waiting; /* texts for it, in line */
};

/* The server's slot. Worker 0 has it; the others' are empty. */
struct slots {
	struct slot_target *targets; /* by ID */
	struct slot_text *waiting;   /* SLOTS_WAITING, from `first` on */
	uint32_t first, count;
	uint32_t reader;   /* whose text is in the slot; 0: it is free */
	bool overdue;      /* ... and he had his time */
	uint64_t since_ns; /* when it was put there */
	struct op look;    /* until the next look at it */
	uint64_t look_ns;  /* how long that is */
	struct __kernel_timespec look_time;
};

/** slots_open() - by every worker that serves slots. Returns 0 or -ENOMEM. */
int slots_open(struct mail *m);
void slots_close(struct mail *m);

/** slots_bytes() - for the budget. */
uint64_t slots_bytes(uint32_t ids);

/** slots_resume() - who is there, and whose text stands in our slot. */
void slots_resume(struct mail *m);

/** slots_joined(), slots_left() - by every worker, of every ID. */
void slots_joined(struct mail *m, uint32_t id);
void slots_left(struct mail *m, uint32_t id);

/** slots_hear() - @p rang: take what its slot says, and answer. */
void slots_hear(struct mail *m, struct mail_peer *p);

/** slots_greet() - say what a personality says unasked to a v1 client that has a name. False: it
 * may be one, and has no name yet. */
bool slots_greet(struct mail *m, struct mail_peer *p);

/** slots_turn() - the owner of the server's slot: say what can be said. */
void slots_turn(struct mail *m);
/** slots_idle() - nothing was passed to us. */
bool slots_idle(const struct mail *m);

#endif
