/* SPDX-License-Identifier: MIT */
/*
 * agent.c - a VM of a run, inside of it: what famez-stress does in a guest that the run's --vm
 * booted.
 *
 * First it only rings back what its companion rings (companions.h). When it is told to start it
 * becomes a worker like the processes on the host, with one VM and a board of its own, and runs the
 * same scenario; only that it meets the others by words (words.h), which come among its messages.
 * It believes nobody but the one who calls himself the host, and of him only what is within bounds.
 *
 * One thread. Owns its membership.
 */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "scenario.h"
#include "words.h"
#include "worker.h"

/* For the host to be there: it was before we were booted. */
#define FIND_NS UINT64_C(60000000000)

#define WAIT_NS INT64_C(10000000)

struct agent {
	struct famez *famez;
	int host; /* its ID; -1: not found yet */
	unsigned companion, vector;
	bool welcome;
	struct words start; /* kind 0: not told yet */
	uint16_t ids[BOARD_IDS];
	uint32_t roster; /* so many of them are there */
	struct words_state state;
	uint64_t answered; /* the last wave */
	bool done;         /* all is told: no more answers */
	struct verdict verdict;
	struct options options;
	struct worker w;
};

static int fails(struct agent *a, const char *what, int err)
{
	return verdict_give(&a->verdict, VERDICT_LOST, "%s: %s", what, strerror(-err));
}

static int tell(struct agent *a, const struct words *w)
{
	struct famez_to to = {.peer = (uint16_t)a->host};

	return famez_send(a->famez, &to, w, words_bytes(w), 0, 0);
}

static int counts(struct agent *a)
{
	struct words w;
	int err;

	if (a->done || a->answered == a->state.wave || a->w.mine == NULL)
		return 0;
	words_begin(&w, WORDS_COUNTS);
	w.counts = (struct words_counts){.wave = a->state.wave,
		.step = a->w.step,
		.heard = atomic_load(&a->w.mine->heard),
		.sent = atomic_load(&a->w.mine->sent)};
	err = tell(a, &w);
	if (err == 0)
		a->answered = a->state.wave;
	return err && err != -EAGAIN ? fails(a, "cannot tell the host", err) : 0;
}

/* ---- what the host tells ----------------------------------------------------------------- */

static int on_roster(struct agent *a, const struct words_roster *r)
{
	const struct words_start *s = &a->start.start;

	if (a->start.kind == 0 || r->first != a->roster ||
		r->count > s->peers + s->guests - a->roster)
		return fails(a, "the host's list of VMs", -EPROTO);
	memcpy(a->ids + a->roster, r->ids, r->count * sizeof(r->ids[0]));
	a->roster += r->count;
	return 0;
}

static int on_words(struct agent *a, const void *payload, size_t bytes)
{
	struct words w;

	if (!words_read(&w, payload, bytes))
		return fails(a, "the host's words", -EPROTO);
	switch (w.kind) {
	case WORDS_WELCOME:
		a->companion = w.welcome.companion;
		a->vector = w.welcome.vector;
		a->welcome = true;
		return 0;
	case WORDS_START:
		if (a->start.kind)
			return fails(a, "started twice", -EPROTO);
		a->start = w;
		return 0;
	case WORDS_ROSTER:
		return on_roster(a, &w.roster);
	case WORDS_STATE:
		a->state = w.state;
		if (w.state.stop && a->w.board)
			atomic_store(&a->w.board->stop, true);
		return counts(a);
	default:
		return 0; /* its own affair */
	}
}

/* ---- before the start, and after the end -------------------------------------------------- */

/* The companion rings; or mail does, which is no matter. */
static int ring_back(struct agent *a, unsigned vector, uint64_t count)
{
	int err = 0;

	/* One at a time is under way; the first may have come more than once. */
	if (a->welcome && vector == a->vector && count > 0)
		err = famez_ring(a->famez, (uint16_t)a->companion, (uint16_t)vector);
	/* It is there, or it would not have rung; but we may not have looked yet. It rings again.
	 */
	return err && err != -ENOTCONN && err != -EINVAL ? fails(a, "cannot ring back", err) : 0;
}

static int on_message(struct agent *a)
{
	struct famez_message m;
	int err = 0;

	if (famez_peek(a->famez, &m) != 1)
		return 0;
	/* Words of others, before we know that they are of the run: too early, or not for us. */
	if (m.from == a->host)
		err = on_words(a, m.payload, m.bytes);
	famez_release(a->famez);
	return err;
}

/* Everything that is there; then waits a little. */
static int turn(struct agent *a, int timeout_ms)
{
	struct pollfd fd = {.fd = famez_fd(a->famez), .events = POLLIN};
	struct famez_event event;
	int got, err = 0;

	while (!err && (got = famez_next(a->famez, &event)) != 0) {
		if (got < 0)
			return fails(a, "the device", got);
		if (event.kind == FAMEZ_EVENT_DOORBELL)
			err = ring_back(a, event.vector, event.count);
		else if (event.kind == FAMEZ_EVENT_MESSAGE)
			err = on_message(a);
		else if (event.kind == FAMEZ_EVENT_LOST)
			return fails(a, "the device was unplugged", -ENODEV);
		else if (event.kind == FAMEZ_EVENT_LEFT && event.peer == a->host)
			a->state.stop = 1;
	}
	if (err || counts(a))
		return -1;
	(void)poll(&fd, 1, timeout_ms);
	return 0;
}

static int join(struct agent *a, const char *device)
{
	struct famez_join how = {.socket = device, .timeout_ms = 10000};
	struct famez_mailbox mailbox = {.name = "stress-vm", .cclass = "Stress", .spin_us = -1};
	uint64_t until_ns = progress_now_ns() + FIND_NS;
	struct words hello;
	int err = famez_join(&a->famez, &how);

	if (!err)
		err = famez_mailbox_open(a->famez, &mailbox);
	if (err)
		return fails(a, device, err);
	words_begin(&hello, WORDS_HELLO);
	while (a->host < 0) {
		if (turn(a, 50))
			return -1;
		a->host = famez_who_named(a->famez, WORDS_HOST);
		if (a->host < 0 && progress_now_ns() > until_ns)
			return verdict_give(&a->verdict, VERDICT_NOT_JOINED,
				"nobody named " WORDS_HOST
				" is here: --agent is for guests of --vm");
	}
	/* It may have shown itself before it took messages. */
	while ((err = tell(a, &hello)) && progress_now_ns() < until_ns)
		if (turn(a, 50))
			return -1;
	return err ? fails(a, "cannot tell the host that we are here", err) : 0;
}

/* ---- as a worker ------------------------------------------------------------------------- */

static int until(struct agent *a, const uint64_t *step, uint64_t least)
{
	struct worker *w = &a->w;

	while (*step < least) {
		if (counts(a) || worker_look(w))
			return -1;
		if (w->idle ? w->idle(w->idle_context) : worker_hear(w, WAIT_NS))
			return -1;
	}
	return 0;
}

static struct agent *agent_of(struct worker *w)
{
	return (struct agent *)(void *)((char *)w - offsetof(struct agent, w));
}

static int meet(struct worker *w)
{
	struct agent *a = agent_of(w);

	w->step++;
	return until(a, &a->state.all, w->step);
}

/* The processes leave their settling for the next meeting once nothing is under way. */
static int settle(struct worker *w)
{
	struct agent *a = agent_of(w);

	return meet(w) ? -1 : until(a, &a->state.hosts, w->step + 1);
}

static const struct worker_remote REMOTE = {meet, settle};

/* For letters.on_words. */
static int on_letters_words(void *context, const struct famez_message *m)
{
	return on_words(context, m->payload, m->bytes);
}

/* For fleet.on_doorbell. */
static uint64_t on_doorbell(void *context, unsigned vm, unsigned vector, uint64_t count)
{
	struct letters *l = context;
	struct agent *a = l->words_context;

	(void)vm;
	(void)ring_back(a, vector, count); /* its verdict is seen at the end */
	return count;
}

/* A board, and a fleet of the one VM that we are. */
static int set_up(struct agent *a)
{
	const struct words_start *s = &a->start.start;
	struct worker *w = &a->w;
	struct fleet_config config = {.devices = true,
		.first = s->number,
		.patience_ns = (uint64_t)(s->patience_s * 1e9)};

	a->options = (struct options){.scenario = scenario_named(s->scenario),
		.peers = s->peers,
		.guests = s->guests,
		.size = s->size,
		.rate = s->rate,
		.time_s = s->time_s,
		.warm_up_s = s->warm_up_s,
		.patience_s = s->patience_s,
		.seed = s->seed};
	if (a->options.scenario == NULL || !a->options.scenario->guests ||
		a->options.scenario->letters == NULL)
		return fails(a, "the host's scenario", -EPROTO);
	w->board = board_open(s->peers, 1, 1, s->guests);
	if (w->board == NULL)
		return fails(a, "a board", -ENOMEM);
	for (uint32_t k = 0; k < a->roster; k++)
		atomic_store(&w->board->ids[k], a->ids[k]);
	w->options = &a->options;
	w->remote = &REMOTE;
	w->bells.epoll = -1;
	w->dice = (struct dice){s->seed * UINT64_C(0x9e3779b97f4a7c15) + s->number};
	if (fleet_init(&w->fleet, w->board, &config, &w->verdict))
		return -1;
	w->fleet.mine = w->fleet.started = w->fleet.joined = 1;
	w->fleet.vms[0].famez = a->famez;
	w->fleet.vms[0].id = famez_id(a->famez);
	w->mine = &w->board->process[0]; /* from here on we answer */
	return fleet_watch(&w->fleet, s->number);
}

/* Nobody is written to before our device knows of him. */
static int know_all(struct agent *a)
{
	uint64_t until_ns = progress_now_ns() + worker_patience_ns(&a->w);

	for (uint32_t k = 0; k < a->roster;) {
		if (famez_vectors(a->famez, a->ids[k]) > 0) {
			k++;
			continue;
		}
		if (worker_look(&a->w) || worker_hear(&a->w, WAIT_NS))
			return -1;
		if (progress_now_ns() > until_ns)
			return verdict_give(&a->verdict, VERDICT_LOST,
				"peer %u is not in our directory", a->ids[k]);
	}
	return 0;
}

/* As run_letters() of the processes, meeting by meeting. */
static int play(struct agent *a)
{
	const struct words_start *s = &a->start.start;
	struct worker *w = &a->w;
	int err;

	w->letters = (struct letters){
		.words_from = (uint16_t)a->host, .on_words = on_letters_words, .words_context = a};
	err = letters_open(&w->letters, &w->fleet, s->run, s->peers + s->guests);
	w->fleet.on_doorbell = on_doorbell;
	if (s->size)
		w->letters.bytes = s->size;
	if (!err && s->size > letters_bytes_max(&w->letters))
		err = fails(a, "the host's size of messages", -EMSGSIZE);
	if (!err)
		err = know_all(a) || worker_meet(w);
	if (!err)
		err = a->options.scenario->letters(w);
	if (!err)
		err = worker_meet(w);
	return err ? -1 : 0;
}

static int tell_all(struct agent *a, const struct words *w)
{
	int err;

	while ((err = tell(a, w)) == -EAGAIN && !a->state.stop)
		if (turn(a, 10))
			return -1;
	return err ? fails(a, "cannot tell the host", err) : 0;
}

static int tell_series(struct agent *a, unsigned k)
{
	const struct board_series *s = &a->w.mine->with_guests[k];
	struct words w;

	words_begin(&w, WORDS_SERIES);
	w.series = (struct words_series){.series = k,
		.sent = s->sent,
		.heard = s->heard,
		.bytes = s->bytes,
		.counted = s->counted,
		.ns = s->ns,
		.min = s->latency.min,
		.max = s->latency.max};
	if (tell_all(a, &w))
		return -1;
	words_begin(&w, WORDS_BUCKETS);
	w.buckets.series = k;
	for (unsigned b = 0; b <= HISTOGRAM_BUCKETS; b++) {
		bool full = w.buckets.count == WORDS_BUCKETS_MAX;

		if ((full || b == HISTOGRAM_BUCKETS) && w.buckets.count > 0) {
			if (tell_all(a, &w))
				return -1;
			w.buckets.count = 0;
		}
		if (b < HISTOGRAM_BUCKETS && s->latency.buckets[b])
			w.buckets.all[w.buckets.count++] =
				(struct words_bucket){b, 0, s->latency.buckets[b]};
	}
	return 0;
}

static int tell_figures(struct agent *a)
{
	struct words w;

	for (unsigned k = 0; k < BOARD_SERIES_MAX; k++)
		if (a->w.mine->series[k].name[0] && tell_series(a, k))
			return -1;
	words_begin(&w, WORDS_DONE);
	a->done = true; /* what is asked from here on was asked before it knew */
	return tell_all(a, &w);
}

static int everything(struct agent *a, const char *device)
{
	int err;

	if (join(a, device))
		return -1;
	while (!a->state.stop &&
		(a->start.kind == 0 || a->roster < a->start.start.peers + a->start.start.guests))
		if (turn(a, 100))
			return -1;
	if (!a->state.stop) {
		if (set_up(a))
			return -1;
		err = play(a);
		if (err && !board_stopped(a->w.board))
			return -1;
		a->w.fleet.on_mail = NULL;
		if (!err && tell_figures(a))
			return -1;
	}
	while (!a->state.stop)
		if (turn(a, 100))
			return -1;
	return 0;
}

int agent_run(const char *device, struct verdict *verdict)
{
	static struct agent a = {.host = -1}; /* large, and once */
	struct words w;

	if (everything(&a, device) == 0)
		return 0;
	words_begin(&w, WORDS_VERDICT);
	if (a.verdict.code == 0)
		a.verdict = a.w.verdict;
	(void)snprintf(w.verdict.why, sizeof(w.verdict.why), "%.300s", a.verdict.why);
	if (a.famez)
		(void)tell(&a, &w); /* or it sees that we are gone */
	return verdict_give(verdict, a.verdict.code ? a.verdict.code : VERDICT_LOST, "%s",
		a.verdict.code ? a.verdict.why : "ended");
}
