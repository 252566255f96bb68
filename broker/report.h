/* SPDX-License-Identifier: MIT */
/*
 * report.h - what SIGUSR1 prints: peers, cursors, counters.
 *
 * The registrar asks; each worker fills in the lines of the peers that it serves;
 * then the logger prints them, and may take its time. Between asking and printed
 * nobody else writes here.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "door.h"
#include "queue.h"

/* One peer. */
struct report_peer {
	bool filled : 1;
	bool device : 1;
	uint8_t state; /* enum report_state */
	uint16_t worker;
	uint32_t held_back; /* peers that it was not told of for want of descriptors */
	int32_t pid;
	uint32_t behind; /* changes of the membership log, up to the end that its worker knows */
	uint64_t cursor; /* its place in that log */
	uint64_t sent;   /* notices */
};

/* What went through one worker's share of the server's inbox since start. */
struct report_mail {
	uint64_t received, received_bytes; /* messages in lanes */
	uint64_t sent;                     /* ... to peers, passed on to groups included */
	uint64_t slots_received, slots_sent;
	uint64_t dropped; /* of what we had to say: no room */
	uint64_t stuck;   /* how often our slot was left unread for too long */
	uint64_t garbled; /* how often a lane made no sense */
	uint64_t ignored; /* nothing was made of them */
	uint64_t stale;   /* were meant for a server before us, or from who had left meanwhile */
	uint64_t data;    /* that nobody asked for */
	uint64_t group_messages, group_copies;
	uint64_t memberships; /* now */
	uint64_t groups;      /* that have members now; worker 0 counts those of all */
};

enum report_state {
	REPORT_OPENING, /* its opening is being sent */
	REPORT_CURRENT, /* knows everything */
	REPORT_BEHIND,  /* is being told */
	REPORT_BLOCKED, /* its socket is full: it does not read */
	REPORT_RETRY,   /* the kernel is short of something: again soon */
};

struct report {
	uint32_t ids_max;
	uint16_t vectors;
	_Atomic bool busy;      /* from the asking until the peers are printed */
	struct wakeup *printed; /* rung when it is not busy any more */
	_Atomic uint64_t over;  /* reports whose last line is written */
	/* by the registrar */
	uint32_t present, opening;
	uint64_t joins, leaves, refused;
	uint64_t refused_for[DOOR_REASONS]; /* by this broker; for other reasons than these, too */
	uint64_t state_bytes;               /* of the state memory */
	/* by the workers, each its own */
	uint16_t workers;
	uint64_t *notices;         /* by worker: sent since start */
	struct report_peer *peers; /* by ID */
	struct report_mail *mail;  /* by worker; NULL if silent */
	uint64_t *rung;            /* by vector: of the server's own doorbells; NULL if silent */
};

/** report_init() - returns 0 or -ENOMEM. */
int report_init(
	struct report *r, uint32_t ids_max, uint16_t vectors, uint16_t workers, bool silent);
void report_destroy(struct report *r);

/** report_print() - logger only: write it all, then it is no longer busy. */
void report_print(void *report);

#endif
