/* SPDX-License-Identifier: MIT */
/*
 * mail.h - one worker's share of the server's inbox: who speaks to us, and what we answer.
 *
 * The server is a peer. Its inbox is shared out by sender: worker k reads the lanes, and
 * hears the v1 slots, of the senders whose ID modulo `shards` is k. It is also the only one
 * that writes into those peers' lanes from the server, so every lane keeps one writer. That
 * worker need not be the one that serves the peer's socket.
 *
 * A worker's turn takes a bounded number of messages and bytes; all doorbells of a turn leave
 * with one io_uring_enter(2). What a peer said in a row is settled together: its answers are
 * published, and how things stand with it is written into the state memory (state_mail.h), so
 * that a successor goes on there. Only then is given back what it said. So at most one peer's
 * messages are taken and not settled, `unsettled`.
 *
 * Four files: mail.c has the turn, the polling and the sleep; mail_peers.c the peers, their
 * doorbells and what is written to them; mail_hear.c what they say; mail_resume.c what is made
 * of a predecessor's state. Here and in slots.c and groups.c, `mail` stands for one worker's
 * share. Workers pass each other small values by queues (links.h); nothing else is shared.
 */
#ifndef MAIL_H
#define MAIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "famez/inbox.h"
#include "groups.h"
#include "links.h"
#include "mailbox.h"
#include "op.h"
#include "personality.h"
#include "queue.h"
#include "report.h"
#include "slots.h"
#include "state.h"

/* A worker's turn ends after so many messages, or so many bytes copied: some 200 us. A copy
 * counts for MAIL_COPY_COST besides its bytes. */
#define MAIL_TURN_MESSAGES 256u
#define MAIL_TURN_BYTES    (512u << 10)
#define MAIL_COPY_COST     128u

/* Ticks for which somebody new may be without a name until he is not greeted any more. */
#define MAIL_GREETING_TICKS 60u

struct worker;

/* What all shares have in common. Made before the workers start, never changed after. */
struct mail_shared {
	const struct mailbox *mailbox;
	const struct personality *personality;
	struct state *state; /* of each peer its worker's part, and of each worker its own */
	struct worker *workers;
	uint16_t shards; /* how many workers serve the inbox: 0: nobody, there is none */
	struct mail_link_queue *links; /* [from * shards + to] */
	/* [from]: to worker 0, who has the server's slot; NULL where slots aren't served */
	struct slot_text_queue *texts;
	/* [worker * FAMEZ_GROUPS_MAX + group]: how many members that worker has. Written by
	 * that worker; others look whether it need be asked. */
	_Atomic uint32_t *members;
};

/**
 * mail_shared_init() - @workers are about to be started. Returns 0 or -ENOMEM.
 * @mailbox may be plain: then nothing is made, and all shares are idle. @state stays the
 * caller's; who is in which group is known from it.
 */
int mail_shared_init(struct mail_shared *shared, const struct mailbox *mailbox,
	const struct personality *personality, struct state *state, struct worker *workers);
void mail_shared_destroy(struct mail_shared *shared);

/**
 * mail_bytes() - what all of it takes, for the budget: shared out among @shards workers, and
 * where @slots are served.
 */
uint64_t mail_bytes(uint32_t ids, uint16_t shards, bool slots);

/* Why a lane is not read for now. */
enum mail_parked {
	PARKED_NOT,
	PARKED_ABSENT, /* somebody new speaks: we have not been told yet that he joined */
	PARKED_RELAY,  /* the record at its head is being passed on */
	PARKED_FULL,   /* too much is being passed on already */
	PARKED_HALF,   /* it asked something, and half of a message is in our lane to it */
};

/* One peer, as the worker that owns its lanes sees it. */
struct mail_peer {
	struct mail *mail;
	struct famez_rx rx;
	struct famez_tx tx;
	struct op ring;                /* a doorbell of its on its way */
	STAILQ_ENTRY(mail_peer) rungs; /* its slot is to be looked at */
	uint64_t said;   /* what stands before this in its lane was said by who left */
	uint64_t change; /* its entry in the log: seq << 1 | present */
	uint32_t id;
	uint32_t generation; /* that we hear; 0: none yet */
	uint32_t gone;       /* generation of who left the ID; 0: nobody, or another came */
	uint32_t groups;     /* how many it is in */
	uint64_t blocks;     /* of 64 groups each: it was in one of these since it is here */
	uint32_t joins;      /* of this ID so far */
	uint8_t parked;      /* enum mail_parked */
	uint8_t relayed;     /* workers that still pass its record on */
	bool present;
	bool rx_open, tx_open, rung;
	bool touched;     /* unsettled, and more than its positions */
	bool ring_again;  /* rung while `ring` was on its way */
	bool early;       /* it rang before we heard that it joined */
	uint8_t greeting; /* ticks for which a v1 client that has no name yet may be greeted */
	_Alignas(8) unsigned char memory[PERSONALITY_PEER_BYTES];
};

struct mail {
	struct worker *worker;
	struct mail_shared *shared;
	void *base;
	const struct famez_geometry *g;
	bool lanes, slots;       /* are served here */
	uint32_t generation;     /* of the server */
	uint32_t count;          /* of peers[] */
	struct mail_peer *peers; /* [id / shards] */
	STAILQ_HEAD(, mail_peer) rung;
	struct mail_peer *unsettled; /* what it said has been taken; NULL: all is settled */
	struct famez_inbox_reader reader;
	struct groups groups;
	struct slots own_slot;
	struct op tick;
	struct __kernel_timespec tick_time;
	bool ticked;
	bool busy;        /* in this turn something was submitted, or left for the next */
	uint64_t spent;   /* of this turn's bytes */
	bool took;        /* this turn took something: its sender may be back at once */
	bool spins;       /* there is more than one CPU: it may be polled for */
	uint64_t spin_ns; /* how long, before sleeping; 0: it does not pay */
	unsigned spins_skipped;
	uint64_t asked_ns;     /* when we last asked all to log their peers */
	uint64_t show_next_ns; /* when we log ours again, at the earliest */
	struct report_mail counts;
};

/**
 * mail_open() - worker @w's share, as its predecessor left it. Its ring is there. Returns 0 or
 * -ENOMEM.
 */
int mail_open(struct worker *w);
/** mail_close() - once the kernel holds nothing of it. */
void mail_close(struct worker *w);

/**
 * mail_joined(), mail_left() - in the log's order; whoever serves the ID. @change: the entry, as
 * in state_member. What stands before @said in its lane to us is not from its next owner,
 * mailbox_said(). mail_left() returns how many blocks of 64 groups it had to look through, 0 to
 * 64: all of them take 10 us and more.
 */
void mail_joined(struct worker *w, uint32_t id, uint64_t change, uint64_t said);
unsigned mail_left(struct worker *w, uint32_t id, uint64_t change, uint64_t said);

/**
 * mail_ringing(), mail_rung() - peer @vector's doorbell at the server rings, and will be emptied;
 * and was. Between the two only the state memory knows of it.
 */
void mail_ringing(struct worker *w, uint16_t vector);
void mail_rung(struct worker *w, uint16_t vector);

/** mail_turn() - take what there is. True: don't sleep. */
bool mail_turn(struct worker *w);

/**
 * mail_poll() - after a turn that took something, and has nothing else to do: look for more for
 * a moment, until @until_ns at most. True: something came, have another turn. Polling is given
 * up while it is in vain, as where both ends share a CPU.
 */
bool mail_poll(struct worker *w, uint64_t until_ns);

/** mail_sleep() - after wakeup_sleep(). True: nothing is left to do, sleep. */
bool mail_sleep(struct worker *w);
/** mail_awake() - up again; bells that rang were emptied before. */
void mail_awake(struct worker *w);

/** mail_report() - fill in this worker's counters. */
void mail_report(const struct worker *w);

/** mail_rings() - of one of @shards workers, that may be due at once: one a peer. */
uint32_t mail_rings(uint32_t ids, uint16_t shards);

/** mail_operations() - of one of @shards workers, that may complete before it looks, each once. */
uint32_t mail_operations(uint32_t ids, uint16_t shards);

/* The four files among themselves, slots.c and groups.c. In mail.c: */

/** mail_link() - to worker @to; the queue has room for all that can be said. */
void mail_link(struct mail *m, uint16_t to, const struct mail_link *link);

/* In mail_peers.c: */

/** mail_peers_open() - the table, and the reader of their lanes. Returns 0 or -ENOMEM. */
int mail_peers_open(struct mail *m);
void mail_peers_close(struct mail *m);

/** mail_peer_of() - NULL unless @id is one of ours. */
struct mail_peer *mail_peer_of(struct mail *m, uint32_t id);

/** mail_came(), mail_went() - as mail_joined() and mail_left(), of a peer of ours. */
void mail_came(struct mail *m, struct mail_peer *p, uint64_t change, uint64_t said);
unsigned mail_went(struct mail *m, struct mail_peer *p, uint64_t change, uint64_t said);

/** mail_meet() - somebody is there, or has started anew: he is in no group, and unknown. */
void mail_meet(struct mail *m, struct mail_peer *p);

/** mail_park(), mail_unpark() - don't read its lane for now; go on reading it. */
void mail_park(struct mail *m, struct mail_peer *p, enum mail_parked why);
void mail_unpark(struct mail *m, struct mail_peer *p);

/** mail_ring() - ring a peer's doorbell. Never waits for it, whatever it did to it. */
void mail_ring(struct mail *m, struct mail_peer *p);

/**
 * mail_claim() - room in @p's lane for a message, to be written in this turn or in later ones,
 * then mail_commit(). Until then nothing else may be put there; a claim that is not committed
 * is forgotten by the next one. Who writes into it adds the bytes to `spent`.
 * Returns 0 or -EAGAIN: it is full, and the message is counted as dropped.
 */
int mail_claim(struct mail *m, struct mail_peer *p, uint32_t bytes, void **room);

/** mail_commit() - what was claimed is a message, to be published by who settles. */
void mail_commit(
	struct mail *m, struct mail_peer *p, uint32_t bytes, uint16_t kind, uint16_t origin);

/** mail_put() - both at once. Returns as mail_claim(). */
int mail_put(struct mail *m, struct mail_peer *p, const void *payload, uint32_t bytes,
	uint16_t kind, uint16_t origin);

/**
 * mail_settle() - of @p all is taken that stands before @rx_at in its lane: what we answered can
 * be read, it is rung if it sleeps, and both are written down. mail_settle_taken(): of the one
 * that is `unsettled`, if any.
 */
void mail_settle(struct mail *m, struct mail_peer *p, uint64_t rx_at);
void mail_settle_taken(struct mail *m);

/** mail_settle_copy() - what was committed to @p is a copy of what we pass on, and with it we have
 * come to the peer of index @relay_at. */
void mail_settle_copy(struct mail *m, struct mail_peer *p, uint32_t relay_at);

/** mail_open_lane() - its lane to us, if it can be read now, else NULL. */
struct famez_rx *mail_open_lane(struct mail *m, struct mail_peer *p);

/** mail_open_way() - our lane to it, and for whoever it is now. */
void mail_open_way(struct mail *m, struct mail_peer *p);

/** mail_wake() - once more, in case it has not been rung: it sleeps, and has not read all. */
void mail_wake(struct mail *m, struct mail_peer *p);

/** mail_look_after() - once a tick: undo what somebody did to keep @p asleep; greet it. */
void mail_look_after(struct mail *m, struct mail_peer *p);

/* In mail_hear.c: */

/** mail_take_lanes() - take what stands in lanes. True: there is more than a turn takes. */
bool mail_take_lanes(struct mail *m);

/** mail_take_slots() - take what stands in the slots of those who rang. */
void mail_take_slots(struct mail *m);

/** mail_hear() - @text was said by @p; what is answered stands in *answer. */
void mail_hear(
	struct mail *m, struct mail_peer *p, const char *text, struct personality_answer *answer);

/** mail_show() - log our peers as the personality sees them. */
void mail_show(struct mail *m);

/* In mail_resume.c: */

/** mail_resume() - of each peer all is as a predecessor wrote it down, and nothing that he
 * owed anybody is forgotten. */
void mail_resume(struct mail *m);

#endif
