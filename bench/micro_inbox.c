/* SPDX-License-Identifier: MIT */
/*
 * micro_inbox.c - one receiver's inbox: the bitmap of senders, and lanes in turn.
 *
 * Of the mailbox only that receiver's part is there: its inbox, and the lanes to it. So there can
 * be as many senders as IDs.
 */
#include "micro.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "famez/inbox.h"

#define RECEIVER   0u
#define GENERATION 1u
#define BYTES      100u
#define LANE_BYTES 16384u
/* Messages that each lane is given at once: a quarter of it at most, so nobody is told. */
#define EACH 24u

struct inbox {
	struct famez_inbox_reader reader; /* first: open and ring find us by it */
	struct famez_geometry g;
	void *base;
	uint64_t bytes;
	uint32_t active; /* senders that say something: evenly among the IDs */
	struct famez_tx *tx;
	struct famez_rx *rx; /* by ID */
	unsigned char payload[BYTES];
};

static uint32_t sender_of(const struct inbox *w, uint32_t nth)
{
	return 1 + (uint32_t)((uint64_t)nth * (w->g.ids - 1) / w->active);
}

static struct famez_rx *on_open(struct famez_inbox_reader *r, uint32_t sender)
{
	return &((struct inbox *)(void *)r)->rx[sender];
}

static void on_ring(struct famez_inbox_reader *r, uint32_t sender)
{
	(void)r;
	(void)sender;
	micro_must(!"a sender waits");
}

static struct inbox *make(uint32_t ids, uint32_t active)
{
	struct inbox *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->active = active;
	(void)famez_geometry_front(&w->g, ids);
	w->g.lane_bytes = LANE_BYTES;
	w->g.server_id = FAMEZ_NOBODY;
	w->g.server_shards = w->g.vectors = 1;
	/* The first receiver's lanes, and behind them their data. */
	w->g.data_offset =
		famez_round_up(w->g.lane_offset + (uint64_t)ids * sizeof(struct famez_lane), 4096);
	w->bytes = w->g.bytes = w->g.data_offset + (uint64_t)ids * LANE_BYTES;
	w->base = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	w->rx = calloc(ids, sizeof(*w->rx));
	w->tx = calloc(active, sizeof(*w->tx));
	micro_must(w->base != MAP_FAILED && w->rx && w->tx);
	w->reader = (struct famez_inbox_reader){.base = w->base,
		.g = &w->g,
		.id = RECEIVER,
		.shards = 1,
		.open = on_open,
		.ring = on_ring};
	for (uint32_t id = 0; id < ids; id++)
		famez_rx_open(&w->rx[id], w->base, &w->g, RECEIVER, id, GENERATION);
	for (uint32_t n = 0; n < active; n++)
		famez_tx_open(&w->tx[n], w->base, &w->g, RECEIVER, sender_of(w, n), GENERATION,
			GENERATION);
	return w;
}

static void close_inbox(void *world)
{
	struct inbox *w = world;

	micro_must(munmap(w->base, w->bytes) == 0);
	free(w->rx);
	free(w->tx);
	free(w);
}

static void say(struct inbox *w, uint32_t nth)
{
	uint32_t rung = 0;
	void *room;

	micro_must(famez_tx_claim(&w->tx[nth], BYTES, &room) == 0);
	memcpy(room, w->payload, BYTES);
	famez_tx_commit(
		&w->tx[nth], BYTES, FAMEZ_KIND(FAMEZ_TYPE_DATA, 0), (uint16_t)w->tx[nth].sender);
	micro_must(famez_tx_flush(&w->tx[nth]));
	(void)famez_nudge(w->base, &w->g, RECEIVER, w->tx[nth].sender, &rung);
}

static void *open_by_peers(const struct micro_value *value, uint32_t *batch)
{
	*batch = 256;
	return make((uint32_t)value->first, 1);
}

static void scan(void *world, uint32_t times)
{
	struct inbox *w = world;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_inbox_collect(&w->reader) == 0);
}

/* Eight senders have marked themselves; then they are let go of again. */
static void let_go(void *world)
{
	struct inbox *w = world;

	for (uint32_t n = 0; n < w->active; n++) {
		uint32_t id = w->tx[n].sender;

		famez_inbox_drop(&w->reader, &w->rx[id]);
		*famez_bitmap_at(w->base, &w->g, RECEIVER, id) |= UINT64_C(1) << (id % 64);
	}
}

static void *open_marked(const struct micro_value *value, uint32_t *batch)
{
	struct inbox *w = make((uint32_t)value->first, 8);

	*batch = 1;
	if (w)
		let_go(w);
	return w;
}

static void collect(void *world, uint32_t times)
{
	struct inbox *w = world;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_inbox_collect(&w->reader) == w->active);
}

static void all_say(void *world)
{
	struct inbox *w = world;

	for (uint32_t n = 0; n < w->active; n++)
		for (uint32_t i = 0; i < EACH; i++)
			say(w, n);
	(void)famez_inbox_collect(&w->reader);
}

static void *open_senders(const struct micro_value *value, uint32_t *batch)
{
	struct inbox *w = make(256, (uint32_t)value->first);

	if (!w)
		return NULL;
	*batch = EACH * w->active;
	all_say(w);
	return w;
}

static void take_turns(void *world, uint32_t times)
{
	struct inbox *w = world;

	for (uint32_t i = 0; i < times; i++) {
		struct famez_seen seen;
		struct famez_rx *rx;

		micro_must(famez_inbox_next(&w->reader, &seen, &rx) == 1);
		micro_uses(*(const uint64_t *)seen.payload);
		famez_inbox_release(&w->reader, rx);
	}
}

/* All of them were heard, and may say more at any moment. */
static void *open_in_hand(const struct micro_value *value, uint32_t *batch)
{
	struct inbox *w = open_senders(value, batch);

	if (w)
		take_turns(w, *batch);
	*batch = 16; /* not so often that a lane is let go of */
	return w;
}

static void sleep_and_wake(void *world, uint32_t times)
{
	struct inbox *w = world;

	for (uint32_t i = 0; i < times; i++) {
		micro_must(!famez_inbox_sleep(&w->reader));
		famez_inbox_awake(&w->reader);
	}
}

static void keep_in_hand(void *world)
{
	struct inbox *w = world;

	for (uint32_t n = 0; n < w->active; n++)
		w->rx[w->tx[n].sender].empty = 0;
}

const struct micro micro_inbox[] = {
	{.name = "inbox/scan",
		.first_name = "peers",
		.values = {{64, 0}, {512, 0}, {4096, 0}, {16384, 0}},
		.claim = MICRO_LINEAR,
		.open = open_by_peers,
		.run = scan,
		.close = close_inbox,
		.guard = 256},
	{.name = "inbox/collect_8_marked",
		.first_name = "peers",
		.values = {{64, 0}, {512, 0}, {4096, 0}},
		.open = open_marked,
		.run = collect,
		.reset = let_go,
		.close = close_inbox,
		.guard = 64},
	{.name = "inbox/next_in_turn",
		.first_name = "senders",
		.values = {{1, 0}, {8, 0}, {64, 0}},
		.claim = MICRO_CONSTANT,
		.open = open_senders,
		.run = take_turns,
		.reset = all_say,
		.close = close_inbox,
		.guard = 1536},
	{.name = "inbox/sleep_and_wake",
		.first_name = "in_hand",
		.values = {{1, 0}, {8, 0}, {64, 0}},
		.claim = MICRO_LINEAR,
		.open = open_in_hand,
		.run = sleep_and_wake,
		.reset = keep_in_hand,
		.close = close_inbox,
		.guard = 256},
	{.name = NULL},
};
