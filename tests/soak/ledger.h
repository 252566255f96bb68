/* SPDX-License-Identifier: MIT */
/*
 * ledger.h - what the processes of a soak run know of each other. See ledger.c.
 */
#ifndef SOAK_LEDGER_H
#define SOAK_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SEATS_MAX       128u
#define LIVES_MAX       2048u
#define IDS_MAX         256u
#define GENERATIONS_MAX 1024u
#define GROUPS          4u /* that are talked in: 1..GROUPS */
#define MEET_GROUP      9u /* that all meet in */

enum phase {
	PHASE_JOIN,   /* the first life of every seat comes in */
	PHASE_TALK,   /* anything goes */
	PHASE_SETTLE, /* no more deaths, nothing is scribbled; every seat is taken again */
	PHASE_MEET,   /* everybody reaches everybody, once more */
	PHASE_DRAIN,  /* nobody says anything new */
	PHASE_LEAVE,
	PHASE_ABORT, /* something was found wrong */
};

enum role {
	ROLE_PEER,
	ROLE_SLOW,  /* dawdles with what it has received */
	ROLE_SINK,  /* never waits for anybody else, so that others may wait for it for ever */
	ROLE_MUTE,  /* opens its mailbox, and never does anything again */
	ROLE_FLOOD, /* sends all it can to everybody, and never stops */
};

enum scribble {
	SCRIBBLE_NOTHING,
	SCRIBBLE_ALL,    /* the whole file, but not without a break: else nobody would talk */
	SCRIBBLE_LANES,  /* all inboxes and lanes */
	SCRIBBLE_PAIR,   /* those of seats 0 and 1 */
	SCRIBBLE_HEADER, /* slot 0 */
};

struct plan {
	const char *socket;
	unsigned seats;
	unsigned mutes, floods; /* the last seats */
	unsigned seconds;
	unsigned hang_seconds; /* the guard; nothing else is judged by the clock */
	uint64_t seed;
	enum scribble scribble;
	bool kills; /* and replacements, clean leaves, and peers that stand still */
};

enum life_state { LIFE_COMING, LIFE_IN, LIFE_GONE };

/** One incarnation: from the start of a process to its end. Number 0 is nobody. */
struct life {
	_Atomic uint32_t state; /* enum life_state */
	_Atomic uint32_t id, generation;
	uint32_t seat;
	uint32_t role;
	_Atomic bool killed; /* its messages may end anywhere */
	/* It counts, and nobody else. */
	struct {
		_Atomic uint64_t sent, received, bytes, batches, full, timeouts, unreached;
		_Atomic uint64_t groups_sent, groups_received, rooms, garbled, garbage;
		_Atomic uint64_t strays, orphans, ambiguous, late, pongs;
	} count;
};

/**
 * What one life said to another, by numbers that count what it said to that ID. 0: nothing.
 * The sender writes the first four, the receiver the others.
 */
struct cell {
	_Atomic uint64_t sure_first, sure_last;         /* famez_send() returned 0, published */
	_Atomic uint64_t possible_first, possible_last; /* tried, at least */
	_Atomic uint64_t got_first, got_last;           /* none left out in between */
	uint64_t unused[2];
};

/** What a process is about, for who must tell why it stands still. */
enum doing { DOING_START, DOING_JOIN, DOING_EVENTS, DOING_SEND, DOING_HEAR, DOING_WAIT };

enum leave { LEAVE_NOT, LEAVE_WHEN_READ, LEAVE_AT_ONCE };

struct seat {
	_Atomic uint32_t life;
	_Atomic int pid;
	_Atomic uint64_t beats;
	_Atomic uint32_t doing; /* enum doing */
	_Atomic uint32_t whom;  /* an ID */
	_Atomic bool stopped;   /* by us, with SIGSTOP */
	_Atomic uint32_t leave; /* enum leave */
	_Atomic bool group_met, ponged, belled;
	_Atomic bool met[SEATS_MAX]; /* it has met that seat: heard of it in PHASE_MEET */
};

struct ledger {
	struct plan plan;
	_Atomic uint32_t phase;
	_Atomic bool failed, settled;
	_Atomic uint32_t lives_used;
	_Atomic uint64_t kills, leaves, stops, scribbles;
	struct seat seats[SEATS_MAX];
	struct life lives[LIVES_MAX];
	_Atomic uint32_t owners[IDS_MAX][GENERATIONS_MAX]; /* which life */
	/* By life and ID: the number that was tried last, and the last one of which nobody can say
	 * which of the ID's owners it went to. */
	_Atomic uint64_t tried[LIVES_MAX][IDS_MAX], stray[LIVES_MAX][IDS_MAX];
	struct cell cells[LIVES_MAX][LIVES_MAX]; /* [sender][receiver] */
};

/** ledger_open() - memory that our children share. NULL: none left. */
struct ledger *ledger_open(const struct plan *plan);

/** ledger_life() - a new life for a seat; 0: there were too many. */
uint32_t ledger_life(struct ledger *l, uint32_t seat, enum role role);

/** ledger_enter() - it has an ID and a generation, and can be talked to. */
void ledger_enter(struct ledger *l, uint32_t life, uint32_t id, uint32_t generation);

/** ledger_owner() - the life that has this ID in this generation, 0 if not known. */
uint32_t ledger_owner(struct ledger *l, uint32_t id, uint32_t generation);

/** ledger_fail() - something is wrong: say so, and the run ends. */
__attribute__((format(printf, 2, 3))) void ledger_fail(struct ledger *l, const char *format, ...);

/** ledger_garbled() - somebody scribbles on what these two seats say to each other. */
bool ledger_garbled(const struct ledger *l, uint32_t seat, uint32_t other);

/**
 * ledger_missing() - has everything arrived that must, from @from to @to? Returns how many
 * are missing yet, and fails where something arrived that was never said.
 */
uint64_t ledger_missing(struct ledger *l, uint32_t from, uint32_t to);

/** ledger_tail() - how many that a killed sender was told were sent never arrived. */
uint64_t ledger_tail(struct ledger *l, uint32_t from, uint32_t to);

static inline enum phase ledger_phase(struct ledger *l)
{
	return atomic_load_explicit(&l->phase, memory_order_acquire);
}

/* Counters and cells have one writer each. */
static inline void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
		memory_order_release);
}

static inline uint64_t look(_Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static inline void note(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

#endif
