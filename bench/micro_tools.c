/* SPDX-License-Identifier: MIT */
/*
 * micro_tools.c - what is done beside: counting latencies, writing a line for the log, a value
 * from one of the broker's threads to another.
 */
#include "micro.h"

#include <stdlib.h>

#include "histogram.h"
#include "log_line.h"
#include "log_ring.h"
#include "message.h"

#define VALUES 4096u

struct tools {
	struct histogram histogram, into;
	uint64_t values[VALUES];
	uint32_t next;
	bool json;
	struct message_queue queue;
	struct wakeup wakeup;
};

static void *open_tools(const struct micro_value *value, uint32_t *batch)
{
	struct tools *w = calloc(1, sizeof(*w));
	uint64_t x = 88172645463325252u;

	(void)batch;
	if (!w)
		return NULL;
	w->json = value->first == 2;
	histogram_init(&w->histogram);
	histogram_init(&w->into);
	/* As latencies are: most of some microseconds, few of many (xorshift64, by its author's
	 * numbers). */
	for (uint32_t i = 0; i < VALUES; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		w->values[i] = 1000 + (x & 4095) + (x >> 40 & 63 ? 0 : x >> 46 & 0xfffff);
	}
	if (message_queue_init(&w->queue, MESSAGE_TO_WORKER)) {
		free(w);
		return NULL;
	}
	if (wakeup_init(&w->wakeup) < 0) {
		message_queue_destroy(&w->queue);
		free(w);
		return NULL;
	}
	return w;
}

static void close_tools(void *world)
{
	struct tools *w = world;

	wakeup_destroy(&w->wakeup);
	message_queue_destroy(&w->queue);
	free(w);
}

static void record(void *world, uint32_t times)
{
	struct tools *w = world;

	for (uint32_t i = 0; i < times; i++)
		histogram_record(&w->histogram, w->values[w->next++ % VALUES]);
}

static void merge(void *world, uint32_t times)
{
	struct tools *w = world;

	for (uint32_t i = 0; i < times; i++)
		histogram_merge(&w->into, &w->histogram);
}

static void quantile(void *world, uint32_t times)
{
	struct tools *w = world;

	if (!w->histogram.count)
		record(w, VALUES);
	for (uint32_t i = 0; i < times; i++)
		micro_uses(histogram_quantile(&w->histogram, 0.999));
}

static void format_line(void *world, uint32_t times)
{
	struct tools *w = world;
	char line[LOG_LINE_BYTES];

	for (uint32_t i = 0; i < times; i++) {
		const struct log_field fields[] = {LOG_NUMBER("id", 17), LOG_NUMBER("worker", 1),
			LOG_NUMBER("pid", 4711), LOG_NUMBER("uid", 64055),
			LOG_TEXT("exe", "/usr/bin/qemu-system-x86_64"), LOG_TEXT("kind", "device"),
			{NULL, NULL, 0}};

		micro_uses(log_format(line, sizeof(line), w->json,
			UINT64_C(1700000000123456789) + i, LOG_join, fields));
	}
}

static void pass(void *world, uint32_t times)
{
	struct tools *w = world;

	for (uint32_t i = 0; i < times; i++) {
		struct message m = {.kind = MESSAGE_JOINED, .id = i};

		micro_must(message_queue_put(&w->queue, &m));
		wakeup_ring(&w->wakeup); /* it is awake */
		micro_must(message_queue_take(&w->queue, &m));
		micro_uses(m.id);
	}
}

const struct micro micro_tools[] = {
	{.name = "histogram/record",
		.open = open_tools,
		.run = record,
		.close = close_tools,
		.guard = VALUES},
	{.name = "histogram/merge",
		.open = open_tools,
		.run = merge,
		.close = close_tools,
		.guard = 4},
	{.name = "histogram/quantile",
		.open = open_tools,
		.run = quantile,
		.close = close_tools,
		.guard = 4},
	{.name = "log/line",
		.first_name = "json",
		.values = {{1, 0}, {2, 0}},
		.open = open_tools,
		.run = format_line,
		.close = close_tools,
		.guard = 256},
	{.name = "queue/pass",
		.open = open_tools,
		.run = pass,
		.close = close_tools,
		.guard = 2048},
	{.name = NULL},
};
