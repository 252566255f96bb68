/* SPDX-License-Identifier: MIT */
/*
 * scenario_fanout.c - one speaks to all: one by one, and by a group that the server passes on.
 *
 * Nobody is told when he has become a group's member. So the speaker first sends letters that
 * do not count, until every member has had one; from then on each has to get each. A member
 * whose lane is full misses one: so no more are under way than a quarter of a lane holds.
 */
#include <errno.h>

#include "drive.h"
#include "scenario.h"
#include "worker.h"

#define WINDOW_MAX 8u

/* Between two letters that only ask who is there. */
#define PROBE_NS UINT64_C(20000000)

static int bells(struct worker *w)
{
	return drive_run(w, &PATTERN_FANOUT, DRIVE_BELLS, "fanout, doorbells");
}

struct group {
	struct worker *w;
	uint64_t clock_ns, end_ns;
	unsigned members, reached; /* of ours, while it is not complete */
	bool counts;
};

static int on_letter(
	void *context, const struct letter *l, unsigned vm, uint16_t peer, size_t bytes)
{
	struct group *g = context;
	uint64_t now_ns = progress_now_ns();

	(void)vm;
	(void)peer;
	if (!g->counts)
		return 0;
	g->w->series->heard++;
	g->w->series->bytes += bytes;
	if (l->t_ns >= g->clock_ns) {
		g->w->series->counted += now_ns <= g->end_ns;
		histogram_record(&g->w->series->latency, now_ns - l->t_ns);
	}
	worker_heard(g->w, 1);
	return 0;
}

static unsigned reached(const struct worker *w)
{
	unsigned n = 0;

	for (unsigned k = 0; k < w->fleet.mine; k++)
		n += w->letters.group_from[k] > 0 && fleet_number(&w->fleet, k) != 0;
	return n;
}

/* Until each of our members has had one: the speaker's process sends, all say who is reached. */
static int gather(struct group *g)
{
	struct worker *w = g->w;
	uint64_t next_ns = 0, since_ns = progress_now_ns();

	for (;;) {
		unsigned all = 0;
		uint64_t now_ns = progress_now_ns();
		int err;

		atomic_store(&w->mine->members, reached(w));
		for (unsigned p = 0; p < w->board->processes; p++)
			all += atomic_load(&w->board->process[p].members);
		if (all == w->board->peers - 1)
			break;
		if (now_ns - since_ns > worker_patience_ns(w))
			return verdict_give(&w->verdict, VERDICT_LOST,
				"the group has reached %u of %u members within %g s", all,
				w->board->peers - 1, w->options->patience_s);
		if (w->process == 0 && now_ns >= next_ns) {
			next_ns = now_ns + PROBE_NS;
			err = letters_send_group(&w->letters, 0, 0, now_ns);
			if (err && err != -EAGAIN)
				return -1;
		}
		if (worker_look(w) || worker_hear(w, 1000000))
			return -1;
	}
	return worker_meet(w);
}

/* What is still under way of those: the last one has to be everybody's. */
static int catch_up(struct worker *w)
{
	uint64_t since_ns = progress_now_ns();

	if (w->process == 0)
		atomic_store(&w->board->goal, w->letters.group_sent);
	if (worker_meet(w))
		return -1;
	for (unsigned k = 0; k < w->fleet.mine;) {
		if (fleet_number(&w->fleet, k) == 0 ||
			w->letters.group_from[k] == atomic_load(&w->board->goal)) {
			k++;
			continue;
		}
		if (progress_now_ns() - since_ns > worker_patience_ns(w))
			return verdict_give(&w->verdict, VERDICT_LOST,
				"group message %u did not reach peer %d",
				(unsigned)atomic_load(&w->board->goal), w->fleet.vms[k].id);
		if (worker_look(w) || worker_hear(w, 1000000))
			return -1;
	}
	if (worker_meet(w))
		return -1;
	if (w->process == 0)
		atomic_store(&w->board->goal, 0);
	return 0;
}

static unsigned window_of(const struct worker *w)
{
	uint64_t fit = w->board->lane_bytes / 4 / (w->letters.bytes + 64);

	return fit < 1 ? 1 : fit < WINDOW_MAX ? (unsigned)fit : WINDOW_MAX;
}

/* Sends to all, as fast as they take it or as was asked for. */
static int speak(struct group *g)
{
	struct worker *w = g->w;
	uint64_t members = w->board->peers - 1, begun = board_sum(w->board).heard, sent = 0;
	/* The rate counts what arrives, as everywhere. */
	uint64_t gap_ns =
		w->options->rate > 0 ? (uint64_t)(1e9 * (double)members / w->options->rate) : 0;
	uint64_t due_ns = progress_now_ns(), now_ns;

	while ((now_ns = progress_now_ns()) < g->end_ns) {
		uint64_t under_way = sent * members - (board_sum(w->board).heard - begun);
		int err = -EAGAIN;

		if (under_way <= (window_of(w) - 1) * members && now_ns >= due_ns)
			err = letters_send_group(&w->letters, 0, 0, gap_ns ? due_ns : now_ns);
		if (err == 0) {
			worker_sent(w, members);
			w->series->sent += members;
			sent++;
			due_ns += gap_ns;
		} else if (err != -EAGAIN) {
			return -1;
		}
		if (worker_look(w) || worker_hear(w, err ? 50000 : 0))
			return -1;
	}
	return 0;
}

static int by_group(struct worker *w)
{
	struct group g = {.w = w};
	int err = 0;

	if (famez_server_id(w->fleet.vms[0].famez) < 0)
		return 0; /* a silent server passes nothing on */
	if (worker_series(w, "fanout, by group", "messages", "one way"))
		return -1;
	w->letters.on_letter = on_letter;
	w->letters.context = &g;
	w->letters.group_counts = false;
	for (unsigned k = 0; k < w->fleet.mine && !err; k++) {
		unsigned vm = fleet_number(&w->fleet, k);

		w->letters.group_from[k] = 0;
		if (vm != 0)
			err = famez_group_enter(w->fleet.vms[k].famez, LETTERS_GROUP);
		if (err)
			return fleet_failed(&w->fleet, vm, err);
	}
	if (worker_meet(w) || gather(&g) || catch_up(w))
		return -1;
	w->letters.group_counts = g.counts = true;
	g.clock_ns = progress_now_ns() + (uint64_t)(w->options->warm_up_s * 1e9);
	g.end_ns = g.clock_ns + (uint64_t)(w->options->time_s * 1e9);
	if (worker_meet(w))
		return -1;
	if (w->process == 0 && speak(&g))
		return -1;
	w->series->ns += (uint64_t)(w->options->time_s * 1e9);
	err = worker_settle(w);
	for (unsigned k = 0; k < w->fleet.mine && !err; k++)
		if (fleet_number(&w->fleet, k) != 0)
			(void)famez_group_exit(
				w->fleet.vms[k].famez, LETTERS_GROUP); /* or its leave does it */
	w->letters.on_letter = NULL;
	return err;
}

static int letters(struct worker *w)
{
	int err = drive_run(w, &PATTERN_FANOUT, DRIVE_LETTERS, "fanout, messages");

	return err ? err : by_group(w);
}

const struct scenario SCENARIO_FANOUT = {
	.name = "fanout",
	.summary = "one to all, one by one and by group",
	.bells = bells,
	.letters = letters,
};
