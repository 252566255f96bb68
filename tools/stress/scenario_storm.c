/* SPDX-License-Identifier: MIT */
/*
 * scenario_storm.c - all join at once, leave at once, and join again.
 *
 * Each time the mesh must be complete, and a round of doorbells complete.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rounds.h"
#include "run.h"
#include "scenario.h"
#include "storm.h"
#include "worker.h"

struct storm {
	struct worker *w;
	struct famez *witness; /* who stays; NULL in all but the first process */
	int *ids;              /* of all VMs, before they left */
	struct board_series *series;
};

struct storm *storm_open(struct worker *w)
{
	struct storm *s = calloc(1, sizeof(*s));
	struct famez_join how = {
		.socket = w->sockets[0], .timeout_ms = (int)(w->options->patience_s * 1e3)};
	int err = 0;

	if (s)
		s->ids = calloc(w->board->peers, sizeof(*s->ids));
	if (s == NULL || s->ids == NULL) {
		free(s);
		(void)verdict_give(&w->verdict, VERDICT_LOST, "out of memory");
		return NULL;
	}
	s->w = w;
	if (w->process == 0)
		err = famez_join(&s->witness, &how);
	if (err)
		(void)verdict_give(&w->verdict, VERDICT_NOT_JOINED,
			"the one who stays cannot join: %s", strerror(-err));
	s->series = board_series(
		w->board, w->process, "storm, joins", "joins", "connect to the last own vector");
	if (err || s->series == NULL) {
		storm_close(s);
		return NULL;
	}
	return s;
}

void storm_close(struct storm *s)
{
	if (s == NULL)
		return;
	famez_leave(s->witness);
	free(s->ids);
	free(s);
}

/* Everything that the one who stays has been told. */
static int listen_for_leaves(struct storm *s)
{
	struct famez_event event;
	int got;

	while ((got = famez_next(s->witness, &event)) == 1)
		if (event.kind == FAMEZ_EVENT_LOST)
			return verdict_give(&s->w->verdict, VERDICT_LOST,
				"the server is gone: it closed the connection of the one who "
				"stays");
	return got ? verdict_give(&s->w->verdict, VERDICT_LOST,
			     "the one who stays was told nonsense: %s", strerror(-got))
		   : 0;
}

static int until_all_have_left(struct storm *s)
{
	uint64_t since_ns = progress_now_ns();

	for (unsigned vm = 0; vm < s->w->board->peers;) {
		if (famez_vectors(s->witness, (uint16_t)s->ids[vm]) == 0) {
			vm++;
			continue;
		}
		if (listen_for_leaves(s) || worker_look(s->w))
			return -1;
		if (progress_now_ns() - since_ns > worker_patience_ns(s->w))
			return verdict_give(&s->w->verdict, VERDICT_LOST,
				"peer %d left, and others were not told so for %g s", s->ids[vm],
				s->w->options->patience_s);
		if (worker_hear(s->w, 1000000))
			return -1;
	}
	return 0;
}

/* It must know them all before it can be told that they leave. */
static int until_all_are_known(struct storm *s)
{
	uint64_t since_ns = progress_now_ns();

	for (unsigned vm = 0; vm < s->w->board->peers;) {
		if (famez_vectors(s->witness, (uint16_t)s->ids[vm]) == s->w->board->vectors) {
			vm++;
			continue;
		}
		if (listen_for_leaves(s) || worker_look(s->w) || worker_hear(s->w, 1000000))
			return -1;
		if (progress_now_ns() - since_ns > worker_patience_ns(s->w))
			return verdict_give(&s->w->verdict, VERDICT_LOST,
				"the one who stays was not told of peer %d for %g s", s->ids[vm],
				s->w->options->patience_s);
	}
	return 0;
}

int storm_again(struct storm *s)
{
	struct worker *w = s->w;
	struct histogram *before = &s->series->latency;

	for (unsigned vm = 0; vm < w->board->peers; vm++)
		s->ids[vm] = board_id(w->board, vm);
	if (w->process == 0 && until_all_are_known(s))
		return -1;
	if (worker_meet(w))
		return -1;
	run_leave(w);
	if (worker_meet(w) || (w->process == 0 && until_all_have_left(s)) || worker_meet(w))
		return -1;
	s->series->sent += board_share_of(w->board, w->process);
	if (run_join(w))
		return -1;
	for (unsigned k = 0; k < w->fleet.mine; k++)
		histogram_record(before, w->fleet.vms[k].opened_ns - w->fleet.vms[k].started_ns);
	s->series->heard += w->fleet.mine;
	s->series->counted += w->fleet.mine;
	s->series->ns += w->fleet.last_notice_ns - w->fleet.begun_ns;
	return run_bells(w, rounds_run);
}

static unsigned one(unsigned peers)
{
	(void)peers;
	return 1;
}

static int all(struct worker *w)
{
	uint64_t end_ns = progress_now_ns() + (uint64_t)(w->options->time_s * 1e9);
	struct storm *s = storm_open(w);
	int err = s ? 0 : -1;

	if (w->process == 0)
		atomic_store(&w->board->doing, "storms");
	for (unsigned n = 0; !err; n++) {
		bool more = w->options->rounds ? n < w->options->rounds
					       : n == 0 || progress_now_ns() < end_ns;

		/* All have to agree on it: the first one says. */
		if (w->process == 0)
			atomic_store(&w->board->go_on, more);
		err = worker_meet(w);
		if (err || !atomic_load(&w->board->go_on))
			break;
		err = worker_meet(w);
		if (!err)
			err = storm_again(s);
	}
	storm_close(s);
	return err;
}

const struct scenario SCENARIO_STORM = {
	.name = "storm",
	.summary = "all join at once, leave, and join again",
	.all = all,
	.aside = one,
};
