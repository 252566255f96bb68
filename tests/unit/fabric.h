/* SPDX-License-Identifier: MIT */
/*
 * fabric.h - a few handles of libfamez in a fabric with a mailbox file, without a broker.
 *
 * The scripted server tells each of them what a broker would: its ID, the file, and everybody's
 * eventfds. The test plays the broker: it joins members, has them leave or die, and looks into
 * the file behind their backs.
 */
#ifndef FABRIC_H
#define FABRIC_H

#include "scripted.h"

#include "famez/mailbox.h"
#include "mailbox_file.h"

#define FABRIC_IDS_MAX     8
#define FABRIC_VECTORS_MAX 8

struct fabric {
	struct server *s;
	struct famez_geometry g;
	void *base; /* our own mapping of the file */
	unsigned vectors;
	struct famez *member[FABRIC_IDS_MAX]; /* by ID; NULL: nobody */
	int end[FABRIC_IDS_MAX];              /* the server's end of its socket */
	int bell[FABRIC_IDS_MAX][FABRIC_VECTORS_MAX];
};

/* How a fabric is made. Zero every field you don't set. */
struct fabric_kind {
	uint32_t ids;     /* 0: 6 */
	unsigned vectors; /* 0: as many as IDs, so that each sender has its own */
	uint64_t bytes;   /* 0: 1 MiB */
	bool server;      /* the server is a peer, with doorbells */
	bool old_slots;
};

static inline void fabric_bells(struct fabric *fab, uint32_t id)
{
	for (unsigned v = 0; v < fab->vectors; v++)
		fab->bell[id][v] = eventfd_new();
}

/* Takes the scripted server's place for its memory. */
static inline void fabric_make(struct fabric *fab, void **state, const struct fabric_kind *kind)
{
	uint32_t ids = kind->ids ? kind->ids : 6;
	unsigned vectors = kind->vectors ? kind->vectors : ids;

	assert_true(ids <= FABRIC_IDS_MAX && vectors <= FABRIC_VECTORS_MAX);
	*fab = (struct fabric){.s = *state, .vectors = vectors};
	close(fab->s->memory);
	fab->s->memory = mailbox_file_make(ids, kind->bytes ? kind->bytes : 1 << 20, vectors,
		kind->server, &fab->g, &fab->base);
	assert_true(fab->s->memory >= 0);
	if (kind->old_slots) {
		fab->g.features |= FAMEZ_FEATURE_OLD_SLOTS;
		mailbox_file_lay_out(fab->base, &fab->g);
	}
	if (kind->server) {
		struct famez_entry *e = famez_entry_at(fab->base, &fab->g, fab->g.server_id);

		mailbox_file_join(fab->base, &fab->g, fab->g.server_id);
		fabric_bells(fab, fab->g.server_id);
		snprintf(e->name, sizeof(e->name), "server");
		e->join = e->generation = e->speaks = 1;
	}
}

/* Tells @to the vectors of @id. */
static inline void fabric_tell(struct fabric *fab, uint32_t to, uint32_t id)
{
	for (unsigned v = 0; v < fab->vectors; v++)
		say(fab->end[to], id, fab->bell[id][v]);
}

static inline bool fabric_rings(const struct fabric *fab, uint32_t id)
{
	return fab->member[id] || (id == fab->g.server_id && fab->bell[id][0]);
}

/* Drops what it has to tell, until it knows all vectors of another. */
static inline void fabric_hears(struct fabric *fab, uint32_t id, uint16_t of)
{
	struct famez_event event;

	while (famez_vectors(fab->member[id], of) < fab->vectors)
		assert_int_equal(famez_next(fab->member[id], &event), 1);
}

/* Drops what it has to tell, until it sleeps. */
static inline void fabric_settle(struct famez *f)
{
	struct famez_event event;

	while (famez_next(f, &event) == 1)
		assert_int_not_equal(event.kind, FAMEZ_EVENT_MESSAGE);
}

/* A new member, without a mailbox; it and all others know of each other. */
static inline struct famez *fabric_join(struct fabric *fab, uint16_t id)
{
	mailbox_file_join(fab->base, &fab->g, id);
	fab->end[id] = join(fab->s, &fab->member[id], id);
	fabric_bells(fab, id);
	for (uint32_t other = 0; other < fab->g.ids; other++)
		if (other != id && fabric_rings(fab, other))
			fabric_tell(fab, id, other);
	fabric_tell(fab, id, id);
	fabric_settle(fab->member[id]);
	for (uint32_t other = 0; other < fab->g.ids; other++) {
		if (other == id || !fab->member[other])
			continue;
		fabric_tell(fab, other, id);
		fabric_hears(fab, other, id);
	}
	return fab->member[id];
}

static inline void fabric_open(struct famez *f, const char *name)
{
	struct famez_mailbox how = {.name = name, .spin_us = -1};

	assert_int_equal(famez_mailbox_open(f, &how), 0);
	fabric_settle(f);
}

/* A new member with a mailbox. */
static inline struct famez *fabric_member(struct fabric *fab, uint16_t id)
{
	char name[8];

	snprintf(name, sizeof(name), "n%u", id);
	fabric_open(fabric_join(fab, id), name);
	return fab->member[id];
}

/* What the broker does once a member's socket is closed, however that came. */
static inline void fabric_gone(struct fabric *fab, uint16_t id)
{
	fab->member[id] = NULL;
	close(fab->end[id]);
	mailbox_file_leave(fab->base, &fab->g, id);
	for (unsigned v = 0; v < fab->vectors; v++)
		close(fab->bell[id][v]);
	for (uint32_t other = 0; other < fab->g.ids; other++)
		if (fab->member[other])
			say(fab->end[other], id, -1);
}

static inline void fabric_leave(struct fabric *fab, uint16_t id)
{
	famez_leave(fab->member[id]);
	fabric_gone(fab, id);
}

static inline void fabric_end(struct fabric *fab)
{
	for (uint32_t id = 0; id < fab->g.ids; id++)
		if (fab->member[id])
			fabric_leave(fab, (uint16_t)id);
	for (unsigned v = 0; v < fab->vectors && fab->g.server_id != FAMEZ_NOBODY; v++)
		close(fab->bell[fab->g.server_id][v]);
	munmap(fab->base, fab->g.bytes);
}

#endif
