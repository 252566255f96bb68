/* SPDX-License-Identifier: MIT */
/*
 * micro_library.c - libfamez as a program calls it: messages by size, batch and number of senders,
 * and what the server tells a handle.
 *
 * All handles belong to one thread, and none of them sleeps: what a wake-up costs is in
 * micro_wakes.c.
 */
#include "micro.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "micro_fabric.h"

#define RECEIVER 1u
#define PEEKED   16

struct library {
	struct fabric *fabric;
	uint32_t bytes, flush_every, senders, messages, since_flush;
	unsigned char payload[128 << 10], into[128 << 10];
};

static struct library *make(uint32_t senders, uint32_t ids, uint32_t bytes, uint32_t flush_every)
{
	struct library *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fabric = fabric_new(senders + 1, ids);
	if (!w->fabric) {
		free(w);
		return NULL;
	}
	w->senders = senders;
	w->bytes = bytes;
	w->flush_every = flush_every ? flush_every : 1;
	memset(w->payload, 7, sizeof(w->payload));
	/* Half of a lane at most, and so much of each sender. */
	w->messages = 256u << 10;
	w->messages /= bytes + 24;
	if (w->messages > 1024)
		w->messages = 1024;
	w->messages -= w->messages % w->flush_every;
	micro_must(w->messages);
	return w;
}

static void close_library(void *world)
{
	struct library *w = world;

	fabric_free(w->fabric);
	free(w);
}

static void *open_pair(const struct micro_value *value, uint32_t *batch)
{
	struct library *w =
		make(1, 4, (uint32_t)value->first, value->second ? (uint32_t)value->second : 16);

	if (w)
		*batch = w->messages;
	return w;
}

static void send_from(struct library *w, uint32_t id, uint32_t times)
{
	const struct famez_to to = {.peer = RECEIVER};
	struct famez *f = w->fabric->member[id];

	for (uint32_t i = 0; i < times; i++) {
		unsigned more = ++w->since_flush < w->flush_every ? FAMEZ_MORE : 0;

		if (!more)
			w->since_flush = 0;
		micro_must(famez_send(f, &to, w->payload, w->bytes, more, 0) == 0);
	}
}

static void send_all(void *world, uint32_t times)
{
	send_from(world, RECEIVER + 1, times);
}

static void claim_all(void *world, uint32_t times)
{
	const struct famez_to to = {.peer = RECEIVER};
	struct library *w = world;
	struct famez *f = w->fabric->member[RECEIVER + 1];

	for (uint32_t i = 0; i < times; i++) {
		unsigned more = ++w->since_flush < w->flush_every ? FAMEZ_MORE : 0;
		void *room;

		if (!more)
			w->since_flush = 0;
		micro_must(famez_claim(f, RECEIVER, w->bytes, &room) == 0);
		*(uint64_t *)room = i;
		micro_must(famez_commit(f, &to, w->bytes, more) == 0);
	}
}

static void peek_all(void *world, uint32_t times)
{
	struct library *w = world;
	struct famez *f = w->fabric->member[RECEIVER];

	for (uint32_t i = 0; i < times; i++) {
		struct famez_message m;

		micro_must(famez_peek(f, &m) == 1);
		micro_uses(*(const uint64_t *)m.payload + m.bytes);
		famez_release(f);
	}
}

static void peek_batches(void *world, uint32_t times)
{
	struct library *w = world;
	struct famez *f = w->fabric->member[RECEIVER];
	struct famez_message m[PEEKED];

	for (uint32_t got = 0; got < times;) {
		int count = famez_peek_batch(
			f, m, times - got < PEEKED ? times - got : (unsigned)PEEKED);

		micro_must(count > 0);
		for (int i = 0; i < count; i++)
			micro_uses(*(const uint64_t *)m[i].payload + m[i].bytes);
		famez_release(f);
		got += (uint32_t)count;
	}
}

static void receive_all(void *world, uint32_t times)
{
	struct library *w = world;
	struct famez *f = w->fabric->member[RECEIVER];

	for (uint32_t i = 0; i < times; i++) {
		struct famez_message m;

		micro_must(famez_recv(f, &m, w->into, sizeof(w->into), 0) == 1);
		micro_uses(*(const uint64_t *)m.payload);
	}
}

static void drain(void *world)
{
	struct library *w = world;
	struct famez *f = w->fabric->member[RECEIVER];
	struct famez_message m;

	for (uint32_t id = RECEIVER + 1; id <= w->senders + 1; id++)
		(void)famez_flush(w->fabric->member[id], RECEIVER);
	while (famez_peek(f, &m) == 1)
		famez_release(f);
}

static void fill(void *world)
{
	struct library *w = world;

	for (uint32_t id = RECEIVER + 1; id <= w->senders + 1; id++)
		send_from(w, id, w->messages);
}

static void *open_filled(const struct micro_value *value, uint32_t *batch)
{
	struct library *w = open_pair(value, batch);

	if (w)
		fill(w);
	return w;
}

static void *open_senders(const struct micro_value *value, uint32_t *batch)
{
	uint32_t senders = (uint32_t)value->first;
	struct library *w = make(senders, FABRIC_MEMBERS_MAX + 2, 100, 16);

	if (!w)
		return NULL;
	fill(w);
	*batch = senders * w->messages;
	return w;
}

static void send_in_vain(void *world, uint32_t times)
{
	const struct famez_to to = {.peer = RECEIVER};
	struct library *w = world;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_send(w->fabric->member[RECEIVER + 1], &to, w->payload, w->bytes, 0,
				   0) == -EAGAIN);
}

static void *open_full(const struct micro_value *value, uint32_t *batch)
{
	const struct famez_to to = {.peer = RECEIVER};
	struct library *w = open_pair(value, batch);

	while (w && !famez_send(w->fabric->member[RECEIVER + 1], &to, w->payload, w->bytes, 0, 0))
		;
	*batch = 256;
	return w;
}

static void peek_in_vain(void *world, uint32_t times)
{
	struct library *w = world;
	struct famez_message m;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_peek(w->fabric->member[RECEIVER], &m) == 0);
}

/* ---- what is not messages ------------------------------------------------------------------ */

static void *open_among(const struct micro_value *value, uint32_t *batch)
{
	*batch = 64;
	return make(1, (uint32_t)value->first, 100, 1);
}

/* A newcomer is announced, and leaves again: what the server tells of each. */
static void hear_of(void *world, uint32_t times)
{
	struct library *w = world;
	struct fabric *fab = w->fabric;
	struct famez_event event;

	for (uint32_t i = 0; i < times; i++) {
		fabric_tell(fab, RECEIVER, RECEIVER + 2, fab->bell[RECEIVER + 1]);
		micro_must(famez_next(fab->member[RECEIVER], &event) == 1 &&
			   event.kind == FAMEZ_EVENT_VECTOR);
		fabric_tell(fab, RECEIVER, RECEIVER + 2, -1);
		micro_must(famez_next(fab->member[RECEIVER], &event) == 1 &&
			   event.kind == FAMEZ_EVENT_LEFT);
	}
}

/* Nobody has it: all are looked at. */
static void look_up_name(void *world, uint32_t times)
{
	struct library *w = world;

	for (uint32_t i = 0; i < times; i++)
		micro_must(famez_who_named(w->fabric->member[RECEIVER], "nobody") < 0);
}

#define SIZES .first_name = "bytes", .second_name = "batch", .first_is_bytes = true
#define PAIR  .close = close_library

const struct micro micro_library[] = {
	{.name = "library/send",
		SIZES,
		PAIR,
		.values = {{16, 16}, {100, 1}, {100, 16}, {1024, 1}, {1024, 16}, {16384, 1},
			{65536, 1}},
		.open = open_pair,
		.run = send_all,
		.reset = drain,
		.guard = 2048},
	{.name = "library/claim_commit",
		SIZES,
		PAIR,
		.values = {{100, 1}, {100, 16}},
		.open = open_pair,
		.run = claim_all,
		.reset = drain,
		.guard = 2048},
	{.name = "library/peek_release",
		SIZES,
		PAIR,
		.values = {{100, 1}, {100, 16}, {1024, 16}, {65536, 1}},
		.open = open_filled,
		.run = peek_all,
		.reset = fill,
		.guard = 2048},
	{.name = "library/peek_batch",
		SIZES,
		PAIR,
		.values = {{100, 1}, {100, 16}, {1024, 16}},
		.open = open_filled,
		.run = peek_batches,
		.reset = fill,
		.guard = 2048},
	{.name = "library/recv",
		SIZES,
		PAIR,
		.values = {{100, 1}, {100, 16}, {1024, 16}, {65536, 1}},
		.open = open_filled,
		.run = receive_all,
		.reset = fill,
		.guard = 2048},
	{.name = "library/from_many",
		.first_name = "senders",
		.values = {{1, 0}, {2, 0}, {8, 0}},
		.claim = MICRO_CONSTANT,
		.open = open_senders,
		.run = peek_batches,
		.reset = fill,
		PAIR,
		.guard = 8192},
	{.name = "library/full",
		.first_name = "bytes",
		.values = {{1024, 0}},
		.open = open_full,
		.run = send_in_vain,
		PAIR,
		.guard = 1024},
	{.name = "library/peek_empty",
		.first_name = "bytes",
		.values = {{100, 0}},
		.open = open_pair,
		.run = peek_in_vain,
		PAIR,
		.guard = 1024},
	{.name = "library/hear_of_join_and_leave",
		.first_name = "ids",
		.values = {{8, 0}, {512, 0}},
		.open = open_among,
		.run = hear_of,
		PAIR,
		.guard = 64},
	{.name = "library/who_named",
		.first_name = "ids",
		.values = {{8, 0}, {64, 0}, {512, 0}},
		.claim = MICRO_LINEAR,
		.open = open_among,
		.run = look_up_name,
		PAIR,
		.guard = 64},
	{.name = NULL},
};
