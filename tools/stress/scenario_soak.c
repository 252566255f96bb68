/* SPDX-License-Identifier: MIT */
/*
 * scenario_soak.c - all of it, over and over, for as long as was asked for.
 *
 * A cycle is every scenario's doorbells, every scenario's messages, and a storm, which makes
 * new VMs of all. After each cycle the server must be as it was: neither its memory nor its
 * descriptors may have grown since the second one, by when everything has been used once.
 */
#include "drive.h"
#include "run.h"
#include "scenario.h"
#include "server.h"
#include "storm.h"
#include "worker.h"

/* Least and most time of a part: long enough to measure, short enough to meet all within minutes.
 */
#define SLICE_MIN_S 0.2
#define SLICE_MAX_S 10.0
#define SLICES      24.0

/* What may come and go: pages of the allocator, of logs, of lanes first used. */
#define MEMORY_SLACK(bytes) ((bytes) / 2 + (UINT64_C(16) << 20))

static const struct scenario *const PARTS[] = {&SCENARIO_MESH, &SCENARIO_PAIRS, &SCENARIO_RING,
	&SCENARIO_INCAST, &SCENARIO_FANOUT, &SCENARIO_STALL, &SCENARIO_CHURN, &SCENARIO_BULK};
#define PART_COUNT (sizeof(PARTS) / sizeof(PARTS[0]))

static unsigned aside(unsigned peers)
{
	return SCENARIO_CHURN.aside(peers) + SCENARIO_STORM.aside(peers);
}

static int bells(struct worker *w)
{
	for (unsigned k = 0; k < PART_COUNT; k++)
		if (PARTS[k]->bells && PARTS[k]->bells(w))
			return -1;
	return 0;
}

static int letters(struct worker *w)
{
	for (unsigned k = 0; k < PART_COUNT; k++)
		if (PARTS[k]->letters && PARTS[k]->letters(w))
			return -1;
	return 0;
}

/* Has the server grown since the second cycle? Of the first process. */
static int look_at_server(struct worker *w, unsigned cycle, struct server_use *first)
{
	struct server s = {.watched = atomic_load(&w->board->server_pid), .log = -1};
	struct server_use use = server_look(&s);

	if (cycle < 2 || use.processes == 0)
		return 0;
	if (cycle == 2) {
		*first = use;
		return 0;
	}
	if (use.memory_bytes > first->memory_bytes + MEMORY_SLACK(first->memory_bytes))
		return verdict_give(&w->verdict, VERDICT_LOST,
			"the server's memory has grown from %.1f to %.1f MiB in %u cycles",
			(double)first->memory_bytes / 1048576, (double)use.memory_bytes / 1048576,
			cycle);
	if (first->descriptors && use.descriptors > first->descriptors + 16)
		return verdict_give(&w->verdict, VERDICT_LOST,
			"the server's descriptors have grown from %llu to %llu in %u cycles",
			(unsigned long long)first->descriptors, (unsigned long long)use.descriptors,
			cycle);
	return 0;
}

static int all(struct worker *w)
{
	const struct options *given = w->options;
	struct options slice = *given;
	uint64_t end_ns = progress_now_ns() + (uint64_t)(given->time_s * 1e9);
	struct server_use first = {0};
	struct storm *s = storm_open(w);
	int err = s ? 0 : -1;

	slice.time_s = given->time_s / SLICES;
	slice.time_s = slice.time_s < SLICE_MIN_S ? SLICE_MIN_S : slice.time_s;
	slice.time_s = slice.time_s > SLICE_MAX_S ? SLICE_MAX_S : slice.time_s;
	slice.warm_up_s = slice.time_s / 10;
	w->options = &slice;
	for (unsigned cycle = 1; !err; cycle++) {
		if (given->with != WITH_MESSAGES)
			err = run_bells(w, bells);
		if (!err && given->with != WITH_BELLS && w->board->has_mail)
			err = run_letters(w, letters);
		if (!err)
			err = storm_again(s);
		if (!err && w->process == 0)
			err = look_at_server(w, cycle, &first);
		if (w->process == 0)
			atomic_store(&w->board->go_on, progress_now_ns() < end_ns);
		if (!err)
			err = worker_meet(w);
		if (err || !atomic_load(&w->board->go_on))
			break;
		err = worker_meet(w);
	}
	storm_close(s);
	w->options = given;
	return err;
}

const struct scenario SCENARIO_SOAK = {
	.name = "soak",
	.summary = "all of it, over and over",
	.all = all,
	.aside = aside,
};
