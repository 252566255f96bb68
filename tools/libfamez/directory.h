/* SPDX-License-Identifier: MIT */
/*
 * directory.h - who is there, as the mailbox file's directory has it. See directory.c.
 */
#ifndef FAMEZ_DIRECTORY_H
#define FAMEZ_DIRECTORY_H

#include "famez/mailbox.h"
#include "famez/peer.h"

#include <stdbool.h>
#include <stdint.h>

/** What the directory says of one ID, read once. */
struct presence {
	bool present;
	uint32_t presence;   /* as it stands there */
	bool lanes;          /* it takes messages by lanes */
	uint32_t joins;      /* of this ID so far */
	uint32_t generation; /* of its mailbox; 0 where it has none */
};

struct told {
	uint32_t joins; /* 0: it was told as absent, or not at all */
	uint32_t generation;
};

struct directory {
	void *base;
	const struct famez_geometry *g; /* borrowed */
	uint32_t id;                    /* our own: never told of */
	/* The rest only where changes are to be told. */
	struct told *told; /* by ID; NULL: nothing is to be told */
	uint64_t changes;  /* the header's, when the look began */
	uint32_t at;       /* where the look has come to; g->ids: it is over */
};

/** directory_init() - @watch: changes are to be told. Returns 0 or -ENOMEM. */
int directory_init(
	struct directory *d, void *base, const struct famez_geometry *g, uint32_t id, bool watch);
void directory_destroy(struct directory *d);

/** directory_look() - what it says of an ID, which must be below g->ids. */
static inline struct presence directory_look(const struct directory *d, uint32_t id)
{
	struct famez_entry *e = famez_entry_at(d->base, d->g, id);
	uint32_t presence = famez_load_acquire(&e->presence), speaks;
	struct presence is = {.presence = presence,
		.present = presence == FAMEZ_JOINING || presence == FAMEZ_PRESENT};

	is.joins = famez_load_relaxed(&e->joins);
	speaks = famez_load_acquire(&e->speaks);
	is.lanes = is.present && (speaks & FAMEZ_SPEAKS_LANES) &&
		   famez_load_relaxed(&e->join) == is.joins;
	is.generation = is.lanes ? famez_load_relaxed(&e->generation) : 0;
	return is;
}

/** directory_who() - as famez_who(). */
int directory_who(const struct directory *d, uint32_t id, struct famez_who *who);

/** directory_after() - as famez_who_after(). */
int directory_after(const struct directory *d, int id);

/** directory_named() - as famez_who_named(). */
int directory_named(const struct directory *d, const char *name);

/** directory_again() - look through all of it, if it may have changed or @anyway. */
void directory_again(struct directory *d, bool anyway);

/** directory_is_due() - is there a look that has not ended? */
static inline bool directory_is_due(const struct directory *d)
{
	return d->told && d->at < d->g->ids;
}

/** directory_next() - the next difference to what was told: 1 with *event (UP or DOWN), or 0. */
int directory_next(struct directory *d, struct famez_event *event);

#endif
