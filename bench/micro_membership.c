/* SPDX-License-Identifier: MIT */
/*
 * micro_membership.c - who is here: the registrar's book, its log to the workers, their replicas,
 * and the cursors of those who are told.
 *
 * All of it without sockets: what is sent is in micro_server.c. A leave and a join of one ID after
 * the other, so that the fabric is in the end as it was.
 */
#include "micro.h"

#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "membership.h"
#include "message.h"
#include "roster.h"
#include "state.h"
#include "view.h"

/* Whoever comes and goes. */
#define RESTLESS 1u

struct replica {
	struct message_queue inbox;
	struct wakeup wakeup;
	struct roster roster;
};

struct watcher {
	struct view view;
	struct view_client client;
};

struct fabric {
	struct state state;
	struct membership membership;
	uint32_t ids, peers, workers, watchers_count;
	struct replica *replicas;
	struct watcher *watchers;
	unsigned long *held; /* by watcher */
};

static void append_all(struct fabric *w, uint32_t id, bool present)
{
	for (uint32_t n = 0; n < w->workers; n++)
		roster_append(&w->replicas[n].roster, id, present);
}

static struct roster *roster_of(struct fabric *w, uint32_t nth_watcher)
{
	return &w->replicas[nth_watcher % w->workers].roster;
}

/* Everything that is due is told, as peer_tell() does it: in pieces, each of which counts once it
 * has been sent. Returns how many notices that was. */
static unsigned catch_up(struct fabric *w, uint32_t nth)
{
	struct watcher *who = &w->watchers[nth];
	const struct roster *r = roster_of(w, nth);
	unsigned told = 0, count;

	do {
		struct view ahead = who->view;
		struct notice sent[STATE_TELL_MAX];

		for (count = 0; count < STATE_TELL_MAX; count++)
			if (view_next(&ahead, &who->client, r, &sent[count]) != VIEW_NOTICE)
				break;
		for (unsigned i = 0; i < count; i++) {
			uint32_t id;
			int effect = view_effect(&sent[i], &id);
			unsigned long bit = 1ul << (id % VIEW_WORD_BITS);

			if (effect > 0)
				who->client.held[id / VIEW_WORD_BITS] |= bit;
			else if (effect < 0)
				who->client.held[id / VIEW_WORD_BITS] &= ~bit;
		}
		who->view = ahead;
		told += count;
	} while (count == STATE_TELL_MAX);
	return told;
}

static struct fabric *make(uint32_t peers, uint32_t workers, uint32_t watchers)
{
	struct fabric *w = calloc(1, sizeof(*w));
	struct state_wish wish = {.ids_max = peers + 1,
		.first_id = 1,
		.peers = peers,
		.server_id = ROSTER_NOBODY,
		.vectors = 1,
		.workers = (uint16_t)workers};
	const struct client client = {.pid = 1, .uid = 1000, .exe = "/usr/bin/qemu-system-x86_64"};
	size_t words = VIEW_HELD_WORDS(peers + 1);
	void *memory;

	micro_must(w && peers);
	*w = (struct fabric){.ids = peers + 1,
		.peers = peers,
		.workers = workers,
		.watchers_count = watchers,
		.replicas = calloc(workers, sizeof(struct replica)),
		.watchers = calloc(watchers, sizeof(struct watcher)),
		.held = calloc(watchers * words, sizeof(unsigned long))};
	memory = aligned_alloc(4096, state_bytes(&wish));
	micro_must(w->replicas && w->watchers && w->held && memory);
	memset(memory, 0, state_bytes(&wish));
	state_memory_init(&w->state, memory, &wish);
	micro_must(membership_init(&w->membership, 1, peers, (uint16_t)workers) == 0);
	for (uint32_t n = 0; n < workers; n++) {
		micro_must(message_queue_init(&w->replicas[n].inbox, MESSAGE_TO_WORKER) == 0);
		micro_must(wakeup_init(&w->replicas[n].wakeup) == 0);
		micro_must(roster_init(&w->replicas[n].roster, w->ids) == 0);
	}
	for (uint32_t i = 0; i < peers; i++) {
		struct intent in = membership_connected(&w->membership, MEMBERSHIP_ANYWHERE);
		struct ledger_newcomer newcomer = {
			.client = &client, .sock = 100, .cookie = i, .zones = ROSTER_ZONES_ALL};

		micro_must(in.kind == INTENT_ADOPT);
		ledger_take(&w->state, in.id, &newcomer);
		(void)membership_opened(&w->membership, in.id);
		ledger_join(&w->state, in.id);
		append_all(w, in.id, true);
	}
	for (uint32_t i = 0; i < watchers; i++) {
		struct watcher *who = &w->watchers[i];

		who->client = (struct view_client){.id = peers - i % peers,
			.vectors = 1,
			.leaves = true,
			.held = w->held + i * words};
		view_open(&who->view, &who->client, roster_of(w, i));
		(void)catch_up(w, i);
	}
	return w;
}

static void close_fabric(void *world)
{
	struct fabric *w = world;

	for (uint32_t n = 0; n < w->workers; n++) {
		roster_destroy(&w->replicas[n].roster);
		wakeup_destroy(&w->replicas[n].wakeup);
		message_queue_destroy(&w->replicas[n].inbox);
	}
	membership_destroy(&w->membership);
	free(w->state.head);
	free(w->replicas);
	free(w->watchers);
	free(w->held);
	free(w);
}

/* ---- the registrar ------------------------------------------------------------------------ */

static void *open_registrar(const struct micro_value *value, uint32_t *batch)
{
	(void)batch;
	return make((uint32_t)value->first, (uint32_t)value->second, 1);
}

/* One leaves and one joins, as far as the registrar's own book goes. */
static void keep_book(void *world, uint32_t times)
{
	const struct client client = {.pid = 1, .uid = 1000, .exe = "/usr/bin/qemu-system-x86_64"};
	struct fabric *w = world;
	struct ledger_newcomer newcomer = {
		.client = &client, .sock = 100, .cookie = 1, .zones = ROSTER_ZONES_ALL};
	uint32_t id = RESTLESS;

	for (uint32_t i = 0; i < times; i++) {
		struct intent in;

		ledger_closing(&w->state, id);
		ledger_leave(&w->state, id, 0);
		ledger_free(&w->state, id);
		micro_must(membership_gone(&w->membership, id).kind == INTENT_LEAVE);
		in = membership_connected(&w->membership, MEMBERSHIP_ANYWHERE);
		micro_must(in.kind == INTENT_ADOPT);
		id = in.id;
		ledger_take(&w->state, id, &newcomer);
		micro_must(membership_opened(&w->membership, id).kind == INTENT_JOIN);
		ledger_join(&w->state, id);
	}
}

/* ---- the log ------------------------------------------------------------------------------ */

static void *open_by_workers(const struct micro_value *value, uint32_t *batch)
{
	(void)batch;
	return make(64, (uint32_t)value->first, 1);
}

static void put_in_log(struct fabric *w, bool present)
{
	const struct message m = {.kind = present ? MESSAGE_JOINED : MESSAGE_LEFT, .id = RESTLESS};

	for (uint32_t n = 0; n < w->workers; n++) {
		micro_must(message_queue_put(&w->replicas[n].inbox, &m));
		wakeup_ring(&w->replicas[n].wakeup);
	}
}

static void take_from_log(struct fabric *w)
{
	for (uint32_t n = 0; n < w->workers; n++) {
		struct message m;

		micro_must(message_queue_take(&w->replicas[n].inbox, &m));
		roster_append(&w->replicas[n].roster, m.id, m.kind == MESSAGE_JOINED);
	}
}

/* A leave and a join come to every worker's replica. */
static void log_change(void *world, uint32_t times)
{
	struct fabric *w = world;

	for (uint32_t i = 0; i < times; i++) {
		put_in_log(w, false);
		take_from_log(w);
		put_in_log(w, true);
		take_from_log(w);
	}
}

/* The same, and everybody who is here is told of both. */
static void *open_all_told(const struct micro_value *value, uint32_t *batch)
{
	uint32_t peers = (uint32_t)value->first;

	*batch = 16;
	return make(peers, (uint32_t)value->second, peers - 1);
}

static void tell_everybody(void *world, uint32_t times)
{
	struct fabric *w = world;

	for (uint32_t i = 0; i < 2 * times; i++) {
		put_in_log(w, i & 1);
		take_from_log(w);
		for (uint32_t n = 0; n < w->watchers_count; n++)
			micro_must(catch_up(w, n) == 1);
	}
}

/* ---- one client --------------------------------------------------------------------------- */

static void *open_one_told(const struct micro_value *value, uint32_t *batch)
{
	(void)batch;
	return make((uint32_t)value->first, 1, 1);
}

static void tell_one(void *world, uint32_t times)
{
	struct fabric *w = world;

	for (uint32_t i = 0; i < 2 * times; i++) {
		append_all(w, RESTLESS, i & 1);
		micro_must(catch_up(w, 0) == 1);
	}
}

static void *open_newcomer(const struct micro_value *value, uint32_t *batch)
{
	*batch = 4;
	return make((uint32_t)value->first, 1, 1);
}

/* The whole opening of somebody new: everybody's vectors, and its own. */
static void tell_newcomer(void *world, uint32_t times)
{
	struct fabric *w = world;
	struct watcher *who = &w->watchers[0];

	for (uint32_t i = 0; i < times; i++) {
		view_open(&who->view, &who->client, roster_of(w, 0));
		micro_must(catch_up(w, 0) == w->peers + 3);
		micro_must(view_opened(&who->view));
	}
}

/* It read nothing while every other peer left and came back. */
static void fall_behind(void *world)
{
	struct fabric *w = world;

	for (uint32_t id = 1; id < w->peers; id++) {
		append_all(w, id, false);
		append_all(w, id, true);
	}
}

static void *open_behind(const struct micro_value *value, uint32_t *batch)
{
	struct fabric *w = open_newcomer(value, batch);

	*batch = 1;
	fall_behind(w);
	return w;
}

static void tell_late(void *world, uint32_t times)
{
	struct fabric *w = world;

	for (uint32_t i = 0; i < times; i++)
		micro_must(catch_up(w, 0) == 2 * (w->peers - 1));
}

#define BY_PEERS_AND_WORKERS .first_name = "peers", .second_name = "workers"
#define BY_PEERS             .first_name = "peers", .values = {{64, 0}, {512, 0}, {4096, 0}}

const struct micro micro_membership[] = {
	{.name = "membership/book",
		BY_PEERS_AND_WORKERS,
		.values = {{64, 1}, {4096, 1}, {16384, 1}, {4096, 8}},
		.claim = MICRO_LINEAR, /* a bit for each */
		.open = open_registrar,
		.run = keep_book,
		.close = close_fabric,
		.guard = 512},
	{.name = "membership/log",
		.first_name = "workers",
		.values = {{1, 0}, {2, 0}, {4, 0}, {8, 0}},
		.claim = MICRO_LINEAR,
		.open = open_by_workers,
		.run = log_change,
		.close = close_fabric,
		.guard = 512},
	{.name = "membership/tell_all",
		BY_PEERS_AND_WORKERS,
		.values = {{16, 1}, {64, 1}, {512, 1}, {64, 8}, {512, 8}},
		.claim = MICRO_LINEAR,
		.open = open_all_told,
		.run = tell_everybody,
		.close = close_fabric,
		.guard = 16},
	{.name = "membership/tell_one",
		BY_PEERS,
		.claim = MICRO_LOG,
		.open = open_one_told,
		.run = tell_one,
		.close = close_fabric,
		.guard = 512},
	{.name = "membership/newcomer",
		BY_PEERS,
		.claim = MICRO_LINEAR,
		.open = open_newcomer,
		.run = tell_newcomer,
		.close = close_fabric,
		.guard = 4},
	{.name = "membership/catch_up",
		BY_PEERS,
		.open = open_behind,
		.run = tell_late,
		.reset = fall_behind,
		.close = close_fabric,
		.guard = 4},
	{.name = NULL},
};
