/* SPDX-License-Identifier: MIT */
/*
 * schedule_world.h - what schedule.c, schedule_worker.c and schedule_judge.c know of one schedule.
 *
 *   picture   what one client has made of the messages that it received. It sees
 *             values and descriptors, never the broker's structs.
 *   account   the membership as it was announced: by the registrar (truth), and as
 *             far as each worker has heard (replica). Plain arrays.
 *   fabric    the broker's threads as a pile of queues, their clients, and the judge's
 *             own idea of them.
 *
 * Positions in `struct account` are the judge's own count of changes. A notice has
 * the position of its ID's last change; a client hears of positions in ascending
 * order, whatever it is not told.
 */
#ifndef SCHEDULE_WORLD_H
#define SCHEDULE_WORLD_H

#include "schedule.h"

#include <assert.h>

#include "membership.h"
#include "roster.h"
#include "view.h"

enum {
	PEERS_MAX = 64,
	IDS_MAX = PEERS_MAX + 4, /* above a first ID of up to 2, and the server's own */
	WORKERS_MAX = 4,
	VECTORS_MAX = 6,
	TOGETHER_MAX = 6,
	LOOK_AHEAD_MAX = 24,
	QUEUE_MAX = 1024,     /* power of two; the driver lets nobody come while one is half full */
	VISITS_MAX = 1000000, /* in a quiet time that ends */
};

/* ---- account ------------------------------------------------------------------------- */

struct account {
	bool present[IDS_MAX];
	uint32_t owner[IDS_MAX];    /* how many have owned this ID */
	uint32_t position[IDS_MAX]; /* of its last change, 0: none */
	uint32_t end;
};

static inline void account_change(struct account *a, uint32_t id, bool present)
{
	a->present[id] = present;
	a->owner[id] += present;
	a->position[id] = ++a->end;
}

/* ---- picture ------------------------------------------------------------------------- */

/* A descriptor as a client would recognise it. */
struct descriptor {
	enum { NO_DESCRIPTOR, MEMORY, EVENTFD } kind;
	uint32_t id;
	uint16_t vector;
};

struct message {
	int64_t value;
	struct descriptor descriptor;
};

enum phase { AWAITS_VERSION, AWAITS_ID, AWAITS_MEMORY, IN_BACKLOG, IN_OWN, LIVE };

struct picture {
	uint32_t id;
	uint16_t vectors;
	bool device, guarded;
	enum phase phase;
	uint32_t unfinished;         /* ID whose vectors are coming, or IDS_MAX */
	uint32_t room;               /* guarded: descriptors granted and not yet used */
	uint32_t heard;              /* position of the last notice */
	uint32_t opened_at;          /* position up to which changes belong to the backlog */
	uint16_t known[IDS_MAX];     /* vectors that it holds of each ID */
	uint32_t owner[IDS_MAX];     /* whose they were when the first came */
	uint32_t held_back[IDS_MAX]; /* position at which it was held back, 0: was not */
};

/* ---- fabric -------------------------------------------------------------------------- */

enum entry_kind { ENTRY_CHANGE, ENTRY_ADOPT, ENTRY_OPENED, ENTRY_GONE };

struct entry {
	enum entry_kind kind;
	uint32_t id;
	bool present;
};

struct queue {
	unsigned head, tail;
	struct entry entries[QUEUE_MAX];
};

struct client {
	bool used;    /* from ADOPT on, until its worker has closed it */
	bool dead;    /* its socket is closed; the worker hasn't noticed */
	bool stalled; /* reads nothing */
	bool opening_told;
	bool announced;
	struct view view;
	struct view_client who;
	unsigned long held[VIEW_HELD_WORDS(IDS_MAX)];
	struct picture picture;
};

struct worker {
	struct roster roster;
	struct account replica;
	struct queue in, out; /* from and to the registrar */
};

struct fabric {
	struct schedule_dice dice;
	enum schedule_bug bug;
	struct schedule_sums *sums;
	char *why;
	bool failed, bug_done;
	bool settling; /* whatever is due is sent */

	uint32_t first_id, peers_max, ids_max;
	uint16_t workers, vectors;
	struct membership membership;
	struct worker worker[WORKERS_MAX];
	struct client client[IDS_MAX];

	/* The judge's own idea of the registrar. */
	struct account truth;
	uint32_t free_ids[PEERS_MAX]; /* in the order in which they must be given */
	unsigned free_count;
	enum { GONE, OPENING, PRESENT } state[IDS_MAX];
	uint16_t worker_of[IDS_MAX];
	uint32_t openings[IDS_MAX]; /* owners of an ID that have received their whole opening */
	unsigned load[WORKERS_MAX];
	int worker_of_group[TOGETHER_MAX];
	uint64_t joins, leaves, refused;
};

/* A number below @n. */
static inline uint32_t draw(struct fabric *f, uint32_t n)
{
	struct schedule_dice *d = &f->dice;
	uint64_t z;

	if (d->bytes) {
		if (d->left == 0)
			return 0;
		d->left--;
		return *d->bytes++ % n;
	}
	/* SplitMix64 (Steele, Lea, Flood 2014): any seed is a good one. */
	z = d->seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % n);
}

static inline bool has_bug(struct fabric *f, enum schedule_bug bug)
{
	return f->bug == bug;
}

/* A bug that strikes once, at a moment drawn. */
static inline bool bug_strikes(struct fabric *f, enum schedule_bug bug)
{
	if (f->bug != bug || f->bug_done || draw(f, 4))
		return false;
	f->bug_done = true;
	return true;
}

static inline unsigned queue_count(const struct queue *q)
{
	return q->tail - q->head;
}

static inline void queue_put(struct queue *q, struct entry e)
{
	assert(queue_count(q) < QUEUE_MAX);
	q->entries[q->tail++ % QUEUE_MAX] = e;
}

static inline struct entry queue_take(struct queue *q)
{
	assert(queue_count(q));
	return q->entries[q->head++ % QUEUE_MAX];
}

static inline struct worker *worker_of(struct fabric *f, uint32_t id)
{
	return &f->worker[f->worker_of[id]];
}

/* ---- schedule_judge.c ---------------------------------------------------------------- */

/** wrong() - this is what the schedule fails with, unless something went wrong before. */
void wrong(struct fabric *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** judge_replica() - the membership as far as this client's worker has heard. */
const struct account *judge_replica(struct fabric *f, const struct picture *p);

/** judge_receive() - the client is sent this message: is it right that it is? */
void judge_receive(struct fabric *f, struct picture *p, const struct message *m);

/** judge_next() - whom the client would be told of next, or IDS_MAX. */
uint32_t judge_next(struct fabric *f, const struct picture *p);

/** judge_all() - nothing moves any more: has everybody been told everything? */
void judge_all(struct fabric *f);

/* ---- schedule_worker.c --------------------------------------------------------------- */

/** worker_hears() - take in what the registrar said first. */
void worker_hears(struct fabric *f, struct worker *w);

/** worker_visits() - look up to @most notices ahead, send some. Returns: was anything due? */
bool worker_visits(
	struct fabric *f, struct worker *w, struct client *c, unsigned most, bool generous);

/** worker_closes() - the client's socket is closed; the registrar is told. */
void worker_closes(struct fabric *f, struct worker *w, uint32_t id);

/** worker_rewinds() - the client is to be told again of whom it was held back. */
void worker_rewinds(struct fabric *f, struct client *c);

#endif
