/* SPDX-License-Identifier: MIT */
/*
 * micro_lanes.c - lanes bare: include/famez/lane.h, both ends in one thread, or one in each.
 *
 * A lane of 1 MiB, of which a batch fills a half at most.
 */
#include "micro.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "famez/inbox.h"

#define IDS        3u
#define LANE_BYTES (1u << 20)
#define RECEIVER   0u
#define SENDER     1u
#define GENERATION 1u

struct lanes {
	struct famez_geometry g;
	void *base;
	struct famez_tx tx;
	struct famez_rx rx;
	uint32_t rung, bytes, flush_every, since_flush;
	unsigned char payload[LANE_BYTES / 2];
};

static void *open_lanes(const struct micro_value *value, uint32_t *batch)
{
	struct lanes *w = calloc(1, sizeof(*w));
	uint64_t bytes = 4096;
	uint32_t fit;

	if (!w)
		return NULL;
	while (bytes < famez_geometry_needs(IDS, LANE_BYTES))
		bytes *= 2;
	micro_must(famez_geometry_of(&w->g, bytes, IDS) == 0 && w->g.lane_bytes == LANE_BYTES);
	w->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->base == MAP_FAILED) {
		free(w);
		return NULL;
	}
	famez_tx_open(&w->tx, w->base, &w->g, RECEIVER, SENDER, GENERATION, GENERATION);
	famez_rx_open(&w->rx, w->base, &w->g, RECEIVER, SENDER, GENERATION);
	w->bytes = (uint32_t)value->first;
	w->flush_every = value->second ? (uint32_t)value->second : 1;
	for (size_t i = 0; i < w->bytes; i++)
		w->payload[i] = (unsigned char)(i * 7 + 1);
	/* What fits a half, in whole batches of the lane's own. */
	fit = LANE_BYTES / 2 / (w->bytes + (uint32_t)sizeof(struct famez_record) + 8);
	*batch = fit < 1024 ? fit - fit % w->flush_every : 1024;
	micro_must(*batch);
	return w;
}

static void close_lanes(void *world)
{
	struct lanes *w = world;

	micro_must(!w->tx.garbled && !w->rx.garbled && !w->rx.stale);
	micro_must(munmap(w->base, w->g.bytes) == 0);
	free(w);
}

static inline void publish(struct lanes *w)
{
	if (famez_tx_flush(&w->tx))
		(void)famez_nudge(w->base, &w->g, RECEIVER, SENDER, &w->rung);
}

static void put(void *world, uint32_t times)
{
	struct lanes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		void *room;

		micro_must(famez_tx_claim(&w->tx, w->bytes, &room) == 0);
		memcpy(room, w->payload, w->bytes);
		famez_tx_commit(&w->tx, w->bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), SENDER);
		if (++w->since_flush < w->flush_every)
			continue;
		w->since_flush = 0;
		publish(w);
	}
}

/* A message that is written where it lies: one word of it. */
static void claim(void *world, uint32_t times)
{
	struct lanes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		void *room;

		micro_must(famez_tx_claim(&w->tx, w->bytes, &room) == 0);
		*(uint64_t *)room = i;
		famez_tx_commit(&w->tx, w->bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), SENDER);
		if (++w->since_flush < w->flush_every)
			continue;
		w->since_flush = 0;
		publish(w);
	}
}

/* Read where it lies: one word of it. */
static void take(void *world, uint32_t times)
{
	struct lanes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		struct famez_seen seen;

		micro_must(famez_rx_peek(&w->rx, &seen) == 1);
		micro_uses(*(const uint64_t *)seen.payload + seen.bytes);
		micro_must(!famez_rx_release(&w->rx));
	}
}

static void drain(void *world)
{
	struct lanes *w = world;
	struct famez_seen seen;

	publish(w);
	while (famez_rx_peek(&w->rx, &seen) == 1)
		(void)famez_rx_release(&w->rx);
	(void)famez_rx_idle(&w->rx);
}

static void fill(void *world)
{
	struct lanes *w = world;
	uint32_t room = LANE_BYTES / 2 / (w->bytes + (uint32_t)sizeof(struct famez_record) + 8);

	(void)famez_rx_idle(&w->rx);
	put(w, room < 1024 ? room - room % w->flush_every : 1024);
}

static void *open_filled(const struct micro_value *value, uint32_t *batch)
{
	struct lanes *w = open_lanes(value, batch);

	if (w)
		fill(w);
	return w;
}

static void look_in_vain(void *world, uint32_t times)
{
	struct lanes *w = world;
	struct famez_seen seen;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_rx_peek(&w->rx, &seen) == 0);
}

/* The careful look of who is about to sleep. */
static void idle(void *world, uint32_t times)
{
	struct lanes *w = world;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_rx_idle(&w->rx) == 0);
}

static void *open_full(const struct micro_value *value, uint32_t *batch)
{
	struct lanes *w = open_lanes(value, batch);
	void *room;

	*batch = 1024;
	while (w && famez_tx_claim(&w->tx, w->bytes, &room) == 0) {
		famez_tx_commit(&w->tx, w->bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), SENDER);
		publish(w);
	}
	return w;
}

static void claim_in_vain(void *world, uint32_t times)
{
	struct lanes *w = world;
	void *room;

	for (uint32_t i = 0; i < times; i++) {
		micro_must(famez_tx_claim(&w->tx, w->bytes, &room) == -EAGAIN);
		micro_must(!famez_tx_wait(&w->tx, w->bytes));
	}
}

/* Two threads. Who waits lets the other one run: they may share a CPU. */
static void send_across(void *world, uint32_t times)
{
	struct lanes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		void *room;

		while (famez_tx_claim(&w->tx, w->bytes, &room) != 0) {
			publish(w);
			(void)sched_yield();
		}
		memcpy(room, w->payload, w->bytes);
		famez_tx_commit(&w->tx, w->bytes, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), SENDER);
		if (++w->since_flush < w->flush_every && i + 1 < times)
			continue;
		w->since_flush = 0;
		publish(w);
	}
}

static void take_across(void *world, uint32_t times)
{
	struct lanes *w = world;

	for (uint32_t i = 0; i < times; i++) {
		struct famez_seen seen;

		while (famez_rx_peek(&w->rx, &seen) != 1)
			(void)sched_yield();
		micro_uses(*(const uint64_t *)seen.payload + seen.bytes);
		(void)famez_rx_release(&w->rx);
	}
}

#define LANE(how) .first_name = "bytes", .first_is_bytes = true, .open = (how), .close = close_lanes
#define BATCHED   .second_name = "batch"
#define SHORT     .values = {{100, 0}}

const struct micro micro_lanes[] = {
	{.name = "lane/put",
		LANE(open_lanes),
		BATCHED,
		.values = {{16, 16}, {100, 1}, {100, 16}, {100, 64}, {1024, 1}, {1024, 16},
			{16384, 1}, {65536, 1}},
		.run = put,
		.reset = drain,
		.guard = 2048},
	{.name = "lane/claim_commit",
		LANE(open_lanes),
		BATCHED,
		.values = {{100, 1}, {100, 16}, {16384, 1}},
		.run = claim,
		.reset = drain,
		.guard = 2048},
	{.name = "lane/peek_release",
		LANE(open_filled),
		BATCHED,
		.values = {{16, 16}, {100, 1}, {100, 16}, {1024, 16}, {65536, 1}},
		.run = take,
		.reset = fill,
		.guard = 2048},
	{.name = "lane/peek_empty", LANE(open_lanes), SHORT, .run = look_in_vain, .guard = 2048},
	{.name = "lane/look_before_sleep", LANE(open_lanes), SHORT, .run = idle, .guard = 2048},
	{.name = "lane/full", LANE(open_full), SHORT, .run = claim_in_vain, .guard = 2048},
	{.name = "lane/across_threads",
		LANE(open_lanes),
		BATCHED,
		.values = {{100, 1}, {100, 16}, {1024, 16}, {16384, 1}},
		.run = send_across,
		.beside = take_across},
	{.name = NULL},
};
