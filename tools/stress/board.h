/* SPDX-License-Identifier: MIT */
/*
 * board.h - what the processes of a run share: one mapping, made before they fork.
 *
 * The board holds who has which ID, every doorbell that is under way (a post, see
 * board_post()), how far each process has come, and what each has measured. A field is
 * written by one process only, unless it is atomic. The processes that emulate VMs run the
 * same steps side by side; board_arrive() and board_all_arrived() keep them in step.
 *
 * It knows nothing of sockets, descriptors or the fabric's memory.
 */
#ifndef STRESS_BOARD_H
#define STRESS_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "famez/wire.h"
#include "histogram.h"
#include "verdict.h"

#define BOARD_IDS           (FAMEZ_WIRE_ID_MAX + 1u)
#define BOARD_PROCESSES_MAX 64u
#define BOARD_SERIES_MAX    32u
#define BOARD_NOBODY        (-1)

/* Rounds of the comparison with bare eventfds that are kept one by one. */
#define BOARD_ROUNDS_MAX 4096u

/* A doorbell that was rung and not yet heard; and its number: its place in `posts`, plus 1. */
struct board_post {
	uint32_t next;     /* in the list of what its bell has under way; 0 ends it */
	uint32_t from, to; /* VMs, counted over all processes */
	uint16_t vector;
	uint8_t kind;       /* whatever the ringer makes of it */
	_Atomic bool taken; /* from board_take() to board_give_back() */
	uint64_t t_ns;      /* when it was meant to be rung, or what it answers was */
};

/* One measured part of a run, as one process saw it. */
struct board_series {
	char name[32];    /* empty: not used */
	char unit[16];    /* what is counted: doorbells, messages, joins */
	char what[48];    /* what a time in `latency` is */
	uint64_t sent;    /* all, the warm-up's too */
	uint64_t heard;   /* the same */
	uint64_t bytes;   /* of payload, heard */
	uint64_t counted; /* heard while the clock ran */
	uint64_t ns;      /* so long the clock ran */
	struct histogram latency;
};

/* The comparison with bare eventfds: two ways, by turns. */
enum board_way { BOARD_FABRIC, BOARD_RAW, BOARD_WAYS };

struct board_trips {
	struct histogram ways[BOARD_WAYS];             /* ns there and back */
	uint64_t p50_ns[BOARD_ROUNDS_MAX][BOARD_WAYS]; /* of the first rounds */
	unsigned rounds;
	int cpus[2]; /* of the two threads; the same one twice if we may use no more */
};

/* CPU time of a doorbell, by our loop and by a bare one. */
struct board_share {
	uint64_t ns[BOARD_ROUNDS_MAX][BOARD_WAYS]; /* thread's CPU time a round */
	unsigned rounds, doorbells;                /* of a round */
};

/*
 * VMs that are real: QEMU guests, behind the emulated ones in number. What they do is told by one
 * process more, the conductor (conductor.c), whose place is behind the others'.
 */
#define BOARD_TRIPS (BOARD_SERIES_MAX + 1u)

struct board_guests {
	unsigned count; /* 0: none, and no conductor */
	char what[64];  /* what they are, for the report */
	uint64_t boot_ns;
	_Atomic bool up, end;
	/* Doorbells: the series that is measured now, and 1 more; 0: none. And how far the
	 * conductor is: the same number while it measures. */
	_Atomic unsigned bells, bells_seen;
	/* Messages: from the step on that is `begun`, the guests take part in the meetings. */
	_Atomic bool letters;
	uint64_t begun, run;   /* before `letters`: that step, and the letters' mark (letters.h) */
	unsigned series_first; /* before `letters`: how many series there were */
	_Atomic uint64_t wave; /* counts of all guests were taken so often, each time anew */
	struct histogram
		trips; /* BOARD_TRIPS: doorbells there and back while nobody else does anything */
};

/* What is complete, for the parent to report. */
enum board_stage { BOARD_NOTHING, BOARD_MESH, BOARD_ROUND };

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): by who looks at it when */
struct board_process {
	_Alignas(64) _Atomic uint64_t sent, heard,
		strays; /* doorbells, messages: since the start */
	_Atomic unsigned joined;
	_Atomic unsigned members; /* of the group, that it has reached */
	_Atomic uint64_t notices;
	_Atomic uint64_t arrived;      /* how many steps it has ended */
	_Atomic uint64_t alive_ns;     /* when it was last seen to get on */
	_Atomic unsigned wanted, made; /* snapshots: asked for by the parent, made by us */
	struct histogram snapshot;     /* the current series'; ours until made == wanted */
	/* Everything below is looked at by others once the process has ended, or at a step. */
	struct histogram joined_ns,
		opened_ns; /* connect to ID and memory, to the last own vector */
	uint64_t mesh_notices, begun_ns, last_notice_ns;
	uint64_t copies_checked, rung, round_ns;
	unsigned copies; /* sets of eventfds that were checked */
	struct board_series series[BOARD_SERIES_MAX];
	struct board_series with_guests[BOARD_SERIES_MAX]; /* the same, a guest at one end */
};

struct board {
	unsigned peers, processes;
	uint64_t posts_each; /* posts that each process may have under way */
	_Atomic bool stop;   /* a signal, or somebody's verdict: everybody ends */
	_Atomic bool judged; /* whoever sets it fills in the verdict */
	_Atomic bool told;   /* the verdict is complete */
	struct verdict verdict;
	_Atomic int stage;           /* enum board_stage */
	_Atomic(const char *) doing; /* a literal, for the progress line */
	_Atomic uint64_t goal;       /* for the same: so many in this step; 0: not known */
	_Atomic bool go_on;          /* whether there is another round: the first process says */
	_Atomic bool holds;          /* --hold: all are in */
	_Atomic int server_pid;      /* of a server that we did not start; 0: not known */
	/* Written by the process of the first VM, before its first step ends. */
	unsigned vectors, others;
	uint64_t other_vectors, descriptors_needed, lane_bytes;
	bool has_mail;
	int server_id; /* of a server that is a peer itself; BOARD_NOBODY: it is none, or not known
			*/
	unsigned rounds; /* random matchings; 0: every pair */
	struct board_trips trips;
	struct board_share share;
	struct board_guests guests;
	uint64_t mapped_bytes;       /* of the board itself */
	_Atomic int32_t *ids;        /* by VM, the guests behind: its ID, or BOARD_NOBODY */
	_Atomic int32_t *vm_of_id;   /* by ID */
	_Atomic uint32_t *under_way; /* by VM and vector: the last post, or 0 */
	unsigned vectors_max;
	struct board_post *posts;
	struct board_process *process; /* `processes` of them, and the conductor's */
};

/* Nothing in it yet. Returns NULL if there is no memory. */
struct board *board_open(unsigned peers, unsigned processes, unsigned vectors_max, unsigned guests);
void board_close(struct board *b);

/* Whose VM it is: they go round, so that neighbours are in different processes. */
static inline unsigned board_process_of(const struct board *b, unsigned vm)
{
	return vm % b->processes;
}

/* How many of the VMs are this process's. */
static inline unsigned board_share_of(const struct board *b, unsigned process)
{
	return (b->peers - process + b->processes - 1) / b->processes;
}

/* How many have a place on the board. */
static inline unsigned board_places(const struct board *b)
{
	return b->processes + (b->guests.count > 0);
}

/* How many VMs there are, real ones too; and whether this is one. */
static inline unsigned board_everybody(const struct board *b)
{
	return b->peers + b->guests.count;
}

static inline bool board_is_guest(const struct board *b, unsigned vm)
{
	return b->guests.count > 0 && vm >= b->peers && vm < board_everybody(b);
}

static inline int board_id(const struct board *b, unsigned vm)
{
	return atomic_load_explicit(&b->ids[vm], memory_order_relaxed);
}

/* The same, with the server, if it is a peer, behind the last one. */
static inline unsigned board_known(const struct board *b)
{
	return b->peers + (b->server_id != BOARD_NOBODY);
}

static inline int board_known_id(const struct board *b, unsigned nth)
{
	return nth < b->peers ? board_id(b, nth) : b->server_id;
}

static inline bool board_stopped(const struct board *b)
{
	return atomic_load_explicit(&b->stop, memory_order_relaxed);
}

/* The first verdict of all processes' is the run's. Everybody stops. */
void board_judge(struct board *b, const struct verdict *v);

/*
 * Posts. `*hint` is where to look for a free one, the caller's to keep. Returns 0 if
 * this process has none left, else the post's number; the caller fills it in.
 */
uint32_t board_take(struct board *b, unsigned process, uint64_t *hint);
void board_give_back(struct board *b, uint32_t number);

/* The next one to take is best this one, which was just given back, if it is this process's. */
static inline void board_hint(
	const struct board *b, unsigned process, uint32_t number, uint64_t *hint)
{
	uint64_t at = number - 1 - b->posts_each * process;

	if (at < b->posts_each) /* else it wrapped, or is beyond: another one's */
		*hint = at;
}

/* Lays a post down for its receiver, before the doorbell is rung. */
void board_put(struct board *b, uint32_t number);

/* All that lie there for this bell, oldest first: the number of the first, or 0. */
uint32_t board_collect(struct board *b, unsigned vm, unsigned vector);

static inline struct board_post *board_post(const struct board *b, uint32_t number)
{
	return &b->posts[number - 1];
}

/* A post of this process that nobody has heard yet: its number, or 0. */
uint32_t board_unheard(const struct board *b, unsigned process);

/* Steps. A process arrives at step n (1, 2, ...) and goes on when all have. */
void board_arrive(struct board *b, unsigned process, uint64_t step);
bool board_all_arrived(const struct board *b, uint64_t step);

/* Sums over all processes. What is heard was counted as sent before, never after. */
struct board_sums {
	uint64_t sent, heard, strays, notices;
	unsigned joined;
};
struct board_sums board_sum(const struct board *b);

/* The process's place for a series of this name, the same in all; NULL: no more room. */
struct board_series *board_series(
	struct board *b, unsigned process, const char *name, const char *unit, const char *what);

/* The same for what has a guest at one end. NULL: there are no guests. */
struct board_series *board_with_guests(
	struct board *b, unsigned process, const struct board_series *series);

/* Snapshots of what a process is measuring, for the progress line. */
void board_want_snapshots(struct board *b);
bool board_have_snapshots(const struct board *b);
/* Called by the process, now and then: copies only if asked. */
void board_snapshot(struct board *b, unsigned process, const struct histogram *current);

#endif
