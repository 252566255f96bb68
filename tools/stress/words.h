/* SPDX-License-Identifier: MIT */
/*
 * words.h - what the host's side of a run (conductor.c) and a guest that takes part (agent.c) tell
 * each other, by messages of the fabric.
 *
 *   guest HELLO          it is there, and so is its mailbox
 *   host  WELCOME        whom to answer by doorbells
 *   host  START, ROSTER  the scenario and its settings; everybody's IDs, in pieces
 *   host  STATE          how far all are; asks for counts. Again and again
 *   guest COUNTS         how far it is, what it has sent and heard; the answer to each STATE
 *   guest SERIES, BUCKETS, DONE   at the end: what it has measured
 *   guest VERDICT        it has found something wrong
 *
 * Neither side believes the other: words_read() copies, and passes nothing on that is not of its
 * kind's very size and within its bounds. Both are of one build, of one byte order. No state, no
 * descriptor.
 */
#ifndef STRESS_WORDS_H
#define STRESS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board.h"

/* The host's name in the directory. */
#define WORDS_HOST "stress-host"

/* A lane takes 2,024 bytes at least. */
#define WORDS_IDS_MAX     960u
#define WORDS_BUCKETS_MAX 120u

enum words_kind {
	WORDS_HELLO = 1,
	WORDS_WELCOME,
	WORDS_START,
	WORDS_ROSTER,
	WORDS_STATE,
	WORDS_COUNTS,
	WORDS_SERIES,
	WORDS_BUCKETS,
	WORDS_DONE,
	WORDS_VERDICT,
	WORDS_KINDS,
};

struct words_welcome {
	uint32_t companion,
		vector; /* who rings that vector of the guest's is answered by the same */
};

struct words_start {
	char scenario[16];
	uint32_t number, peers, guests,
		size; /* as struct options', and the guest's own VM number */
	double rate, time_s, warm_up_s, patience_s;
	uint64_t seed, run;
};

struct words_roster {
	uint32_t first, count; /* of all VMs in their order */
	uint16_t ids[WORDS_IDS_MAX];
};

/* Steps are counted from the first meeting that guests take part in. */
struct words_state {
	uint64_t wave; /* to be given back with the counts */
	uint64_t hosts,
		all;   /* the step that all processes, and that all guests too, have come to */
	uint64_t stop; /* not 0: the run is over */
};

struct words_counts {
	uint64_t wave, step, sent, heard; /* since the start */
};

struct words_series {
	uint32_t series, nothing;
	uint64_t sent, heard, bytes, counted, ns, min, max;
};

struct words_bucket {
	uint32_t bucket, nothing;
	uint64_t count;
};

struct words_buckets {
	uint32_t series, count;
	struct words_bucket all[WORDS_BUCKETS_MAX];
};

struct words_verdict {
	char why[304]; /* ends with 0 */
};

struct words {
	uint64_t magic;
	uint32_t version, kind; /* enum words_kind */
	union {
		struct words_welcome welcome;
		struct words_start start;
		struct words_roster roster;
		struct words_state state;
		struct words_counts counts;
		struct words_series series;
		struct words_buckets buckets;
		struct words_verdict verdict;
	};
};

/* Begins words of that kind: everything else is 0. */
void words_begin(struct words *w, enum words_kind kind);

/* How many bytes of it are sent; lists only as far as they are filled. */
size_t words_bytes(const struct words *w);

/* Copies and checks what came. False: it is nothing that could be believed. */
bool words_read(struct words *w, const void *payload, size_t bytes);

/* What may be printed of somebody else's text, in place. */
void words_clean(char *text);

#endif
