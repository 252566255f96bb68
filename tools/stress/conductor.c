/* SPDX-License-Identifier: MIT */
/*
 * conductor.c - one process more, where a run has guests: it boots them, tells them what to do, and
 * puts on the board what they tell.
 *
 * It has a mailbox of its own, by which all is told (words.h), and a companion for each guest
 * (companions.c). On the board it has a process's place, with no VMs. In the scenario's messages
 * the guests take part in the processes' meetings: this place arrives at a step once all of them
 * have. A guest is not believed: what makes no sense, goes backwards or does not add up ends the
 * run.
 */
#include "conductor.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "boot.h"
#include "companions.h"
#include "famez/mailbox.h"
#include "limits.h"
#include "progress.h"
#include "words.h"

/* From famez-vm's start to the last guest's first word; it gives up itself before. */
#define BOOT_NS UINT64_C(180000000000)

/* Between two looks at the board and at what famez-vm says, and between two questions to guests. */
#define TURN_MS 2
#define WAVE_NS UINT64_C(10000000)

enum guest_state { EXPECTED, GREETED, PLAYING, DONE };

struct guest {
	int id;
	enum guest_state state;
	uint32_t roster;            /* so many IDs it has been told */
	bool started;               /* and all else */
	uint64_t asked;             /* the last wave that it was asked for */
	uint64_t wave, step;        /* as it told last */
	uint64_t sent, heard;       /* the same */
	uint64_t told_ns;           /* when it told anything, last */
	struct words_series series; /* the last one that came whole or in part */
	uint64_t times;             /* of that one, that came */
	uint64_t series_sent, series_heard;
	unsigned series_seen; /* a bit each */
};

struct conductor {
	const struct options *o;
	struct board *board;
	struct board_process *mine;
	struct verdict verdict;
	struct boot boot;
	struct companions companions;
	struct famez *famez;
	struct guest *guests;
	unsigned count, come; /* guests, and those that have said anything */
	int epoll;
	uint64_t begun_ns;
	uint64_t wave, waved_ns; /* the one that is under way, and when it began */
	struct words state;      /* what is told by it */
};

static uint64_t patience_ns(const struct conductor *c)
{
	return (uint64_t)(c->o->patience_s * 1e9);
}

/* For people: guests are counted from 1, in the order in which they came. */
static unsigned number(const struct conductor *c, const struct guest *g)
{
	return (unsigned)(g - c->guests) + 1;
}

static int nonsense(struct conductor *c, const struct guest *g, const char *what)
{
	return verdict_give(&c->verdict, VERDICT_LOST, "real VM %u (ID %d) tells nonsense: %s",
		number(c, g), g->id, what);
}

static int gone(struct conductor *c, const struct guest *g)
{
	boot_look(&c->boot);
	return verdict_give(&c->verdict, VERDICT_LOST, "real VM %u (ID %d) has gone%s%s",
		number(c, g), g->id, c->boot.fault ? ": " : "", c->boot.fault ? c->boot.last : "");
}

/* 0, -EAGAIN (no room now), or -1. */
static int tell(struct conductor *c, const struct guest *g, const struct words *w)
{
	struct famez_to to = {.peer = (uint16_t)g->id};
	int err = famez_send(c->famez, &to, w, words_bytes(w), 0, 0);

	if (err == 0 || err == -EAGAIN)
		return err;
	return err == -ENOTCONN ? gone(c, g)
				: verdict_give(&c->verdict, VERDICT_LOST,
					  "real VM %u (ID %d) cannot be told anything: %s",
					  number(c, g), g->id, strerror(-err));
}

/* ---- what guests tell -------------------------------------------------------------------- */

static int on_hello(struct conductor *c, uint16_t id)
{
	struct guest *g = &c->guests[c->come];

	if (c->come == c->count) /* nobody of ours: who has a mailbox may write to us */
		return 0;
	c->come++;
	g->id = id;
	g->told_ns = progress_now_ns();
	return 0;
}

static int on_counts(struct conductor *c, struct guest *g, const struct words_counts *told)
{
	if (told->wave != g->asked || told->wave == g->wave)
		return nonsense(c, g, "an answer to what was not asked");
	if (told->step < g->step || told->sent < g->sent || told->heard < g->heard)
		return nonsense(c, g, "counts that go backwards");
	if (told->step > c->state.state.all + 1)
		return nonsense(c, g, "it is further than it can be");
	if (told->sent - g->sent > UINT32_MAX || told->heard - g->heard > UINT32_MAX)
		return nonsense(c, g, "more messages than can be");
	g->wave = told->wave;
	g->step = told->step;
	g->sent = told->sent;
	g->heard = told->heard;
	return 0;
}

static struct board_series *place_of(struct conductor *c, uint32_t series)
{
	uint32_t place = c->board->guests.series_first + series;
	struct board_series *s = &c->mine->with_guests[place];

	if (s->name[0] == '\0') {
		memcpy(s->name, c->board->process[0].series[place].name, sizeof(s->name));
		histogram_init(&s->latency);
	}
	return s;
}

/* A guest counts its series from the first one that it takes part in. Is that one being measured?
 */
static bool is_measured(const struct conductor *c, uint32_t series)
{
	uint32_t place = c->board->guests.series_first + series;

	return place < BOARD_SERIES_MAX && c->board->process[0].series[place].name[0];
}

static int on_series(struct conductor *c, struct guest *g, const struct words_series *told)
{
	struct board_series *s;

	if (g->series_seen & 1u << told->series || !is_measured(c, told->series))
		return nonsense(c, g, "figures of something that nobody measures");
	s = place_of(c, told->series);
	g->series_seen |= 1u << told->series;
	g->series = *told;
	g->times = 0;
	g->series_sent += told->sent;
	g->series_heard += told->heard;
	s->sent += told->sent;
	s->heard += told->heard;
	s->bytes += told->bytes;
	s->counted += told->counted;
	s->ns = told->ns > s->ns ? told->ns : s->ns;
	return 0;
}

static int on_buckets(struct conductor *c, struct guest *g, const struct words_buckets *told)
{
	struct histogram *h;

	if (!(g->series_seen & 1u << told->series) || told->series != g->series.series)
		return nonsense(c, g, "times of something else");
	h = &place_of(c, told->series)->latency;
	for (uint32_t k = 0; k < told->count; k++) {
		const struct words_bucket *b = &told->all[k];

		if (b->count > g->series.heard - g->times)
			return nonsense(c, g, "more times than messages");
		if (histogram_bucket_high(b->bucket) < g->series.min ||
			histogram_bucket_low(b->bucket) > g->series.max)
			return nonsense(c, g, "times beyond its least and largest");
		g->times += b->count;
		h->buckets[b->bucket] += b->count;
		h->count += b->count;
	}
	if (told->count && g->series.min < h->min)
		h->min = g->series.min;
	if (told->count && g->series.max > h->max)
		h->max = g->series.max;
	return 0;
}

static int on_done(struct conductor *c, struct guest *g)
{
	if (g->series_sent != g->sent || g->series_heard != g->heard)
		return nonsense(c, g, "its figures are not what it has counted");
	g->state = DONE;
	return 0;
}

static int on_words(struct conductor *c, struct guest *g, struct words *w)
{
	g->told_ns = progress_now_ns();
	if (w->kind == WORDS_VERDICT) {
		words_clean(w->verdict.why);
		return verdict_give(&c->verdict, VERDICT_LOST, "real VM %u (ID %d) says: %s",
			number(c, g), g->id, w->verdict.why);
	}
	if (g->state != PLAYING)
		return w->kind == WORDS_HELLO ? 0 : nonsense(c, g, "what was not asked for");
	switch (w->kind) {
	case WORDS_COUNTS:
		return on_counts(c, g, &w->counts);
	case WORDS_SERIES:
		return on_series(c, g, &w->series);
	case WORDS_BUCKETS:
		return on_buckets(c, g, &w->buckets);
	case WORDS_DONE:
		return on_done(c, g);
	default:
		return nonsense(c, g, "what only we would tell");
	}
}

static struct guest *guest_of(struct conductor *c, uint16_t id)
{
	for (unsigned k = 0; k < c->come; k++)
		if (c->guests[k].id == id)
			return &c->guests[k];
	return NULL;
}

static int on_message(struct conductor *c)
{
	unsigned char payload[sizeof(struct words)];
	struct famez_message m;
	struct words w;
	struct guest *g;
	int got = famez_recv(c->famez, &m, payload, sizeof(payload), 0);

	if (got == -EMSGSIZE) { /* not of ours, whoever's it is */
		if (famez_peek(c->famez, &m) == 1)
			famez_release(c->famez);
		return 0;
	}
	if (got != 1)
		return 0;
	g = guest_of(c, m.from);
	if (m.type != FAMEZ_MESSAGE_DATA || !words_read(&w, payload, m.bytes))
		return g ? nonsense(c, g, "no words of ours") : 0;
	if (g)
		return on_words(c, g, &w);
	return w.kind == WORDS_HELLO && !atomic_load(&c->board->guests.up) ? on_hello(c, m.from)
									   : 0;
}

static int listen(struct conductor *c)
{
	struct famez_event event;
	int got;

	while ((got = famez_next(c->famez, &event)) > 0) {
		struct guest *g = event.kind == FAMEZ_EVENT_LEFT ? guest_of(c, event.peer) : NULL;

		if (g)
			return gone(c, g);
		if (event.kind == FAMEZ_EVENT_LOST)
			return verdict_give(&c->verdict, VERDICT_LOST,
				"the server is gone: it closed the conductor's connection");
		if (event.kind == FAMEZ_EVENT_MESSAGE && on_message(c))
			return -1;
	}
	return got ? verdict_give(&c->verdict, VERDICT_LOST, "the conductor was told nonsense: %s",
			     strerror(-got))
		   : 0;
}

/* ---- what guests are told ---------------------------------------------------------------- */

static int welcome(struct conductor *c, struct guest *g)
{
	unsigned k = (unsigned)(g - c->guests);
	struct words w;
	int err;

	words_begin(&w, WORDS_WELCOME);
	w.welcome.companion = (uint32_t)famez_id(c->companions.all[k].famez);
	w.welcome.vector = c->companions.vector;
	err = tell(c, g, &w);
	if (err)
		return err;
	g->state = GREETED;
	companions_meet(&c->companions, k, g->id);
	atomic_store(&c->board->ids[c->board->peers + k], g->id);
	return 0;
}

static int start(struct conductor *c, struct guest *g)
{
	struct words w;
	struct words_start *s = &w.start;
	int err;

	words_begin(&w, WORDS_START);
	(void)snprintf(s->scenario, sizeof(s->scenario), "%s", c->o->scenario->name);
	s->number = c->board->peers + (uint32_t)(g - c->guests);
	s->peers = c->board->peers;
	s->guests = c->count;
	s->size = c->o->size;
	s->rate = c->o->rate;
	s->time_s = c->o->time_s;
	s->warm_up_s = c->o->warm_up_s;
	s->patience_s = c->o->patience_s;
	s->seed = c->o->seed;
	s->run = c->board->guests.run;
	err = tell(c, g, &w);
	g->started = !err;
	return err;
}

/* As much of it as has room. */
static int tell_roster(struct conductor *c, struct guest *g)
{
	uint32_t all = board_everybody(c->board);

	while (g->roster < all) {
		struct words w;
		int err;

		words_begin(&w, WORDS_ROSTER);
		w.roster.first = g->roster;
		for (; w.roster.count < WORDS_IDS_MAX && g->roster + w.roster.count < all;
			w.roster.count++)
			w.roster.ids[w.roster.count] =
				(uint16_t)board_id(c->board, g->roster + w.roster.count);
		err = tell(c, g, &w);
		if (err)
			return err;
		g->roster += w.roster.count;
	}
	return 0;
}

/* How far the processes are, counted from the guests' first meeting. */
static uint64_t hosts_step(const struct conductor *c)
{
	uint64_t least = UINT64_MAX;

	for (unsigned p = 0; p < c->board->processes; p++) {
		uint64_t at =
			atomic_load_explicit(&c->board->process[p].arrived, memory_order_acquire);

		least = at < least ? at : least;
	}
	return least > c->board->guests.begun ? least - c->board->guests.begun : 0;
}

static uint64_t guests_step(const struct conductor *c)
{
	uint64_t least = UINT64_MAX;

	for (unsigned k = 0; k < c->count; k++)
		if (c->guests[k].state != DONE && c->guests[k].step < least)
			least = c->guests[k].step;
	return least;
}

/* On the board as far as all have told the same wave. */
static void publish(struct conductor *c)
{
	uint64_t sent = c->companions.rung, heard = c->companions.rung, step = guests_step(c);

	for (unsigned k = 0; k < c->count; k++) {
		sent += c->guests[k].sent;
		heard += c->guests[k].heard;
	}
	atomic_store_explicit(&c->mine->heard, heard, memory_order_relaxed);
	atomic_store_explicit(&c->mine->sent, sent, memory_order_release);
	if (!atomic_load(&c->board->guests.letters))
		return;
	atomic_store_explicit(&c->board->guests.wave, c->wave, memory_order_release);
	board_arrive(c->board, c->board->processes,
		step == UINT64_MAX ? UINT64_MAX : c->board->guests.begun + step);
}

/* Asks those who have not been asked yet. 0, -EAGAIN or -1. */
static int ask(struct conductor *c)
{
	for (unsigned k = 0; k < c->count; k++) {
		struct guest *g = &c->guests[k];
		int err = 0;

		if (g->state == PLAYING && g->asked < c->wave)
			err = tell(c, g, &c->state);
		if (err)
			return err;
		g->asked = c->wave;
	}
	return 0;
}

/* Asks all for their counts, and tells how far everybody is. */
static int make_wave(struct conductor *c, uint64_t now_ns)
{
	uint64_t hosts = hosts_step(c), guests = guests_step(c);

	if (ask(c) == -1)
		return -1;
	for (unsigned k = 0; k < c->count; k++) {
		const struct guest *g = &c->guests[k];

		if (g->state != PLAYING || g->wave == c->wave)
			continue;
		return now_ns - g->told_ns < patience_ns(c)
			       ? 0
			       : verdict_give(&c->verdict, VERDICT_LOST,
					 "real VM %u (ID %d) has not answered for %g s",
					 number(c, g), g->id, c->o->patience_s);
	}
	publish(c);
	if (now_ns - c->waved_ns < WAVE_NS || guests == UINT64_MAX)
		return 0;
	c->wave++;
	c->waved_ns = now_ns;
	words_begin(&c->state, WORDS_STATE);
	c->state.state = (struct words_state){
		.wave = c->wave, .hosts = hosts, .all = hosts < guests ? hosts : guests};
	return ask(c) == -1 ? -1 : 0;
}

/* What each has to be told now. */
static int attend(struct conductor *c, uint64_t now_ns)
{
	bool letters = atomic_load(&c->board->guests.letters);

	for (unsigned k = 0; k < c->come; k++) {
		struct guest *g = &c->guests[k];
		int err = g->state == EXPECTED ? welcome(c, g) : 0;

		if (!err && letters && !g->started)
			err = start(c, g);
		if (!err && g->started && g->roster < board_everybody(c->board)) {
			err = tell_roster(c, g);
			if (!err) {
				g->state = PLAYING;
				g->told_ns = now_ns;
			}
		}
		if (err == -1)
			return -1;
		if (letters && g->state == GREETED)
			return 0; /* room is to come; nobody is asked before all are told */
	}
	if (letters)
		return make_wave(c, now_ns);
	publish(c);
	return 0;
}

/* ---- the run ----------------------------------------------------------------------------- */

static int turn(struct conductor *c)
{
	struct epoll_event ready;
	uint64_t now_ns;

	(void)epoll_wait(c->epoll, &ready, 1, TURN_MS); /* an error is no event */
	boot_look(&c->boot);
	if (listen(c) || companions_turn(&c->companions, (uint64_t)(c->o->warm_up_s * 1e9)))
		return -1;
	now_ns = progress_now_ns();
	atomic_store_explicit(&c->mine->alive_ns, now_ns, memory_order_relaxed);
	return attend(c, now_ns);
}

static int boot(struct conductor *c)
{
	unsigned met = 0;

	atomic_store(&c->board->doing, "booting");
	while (met < c->count && !board_stopped(c->board)) {
		if (turn(c))
			return -1;
		met = 0;
		for (unsigned k = 0; k < c->count; k++)
			met += companions_met(&c->companions, k);
		atomic_store(&c->mine->joined, met);
		if (c->boot.pid == 0)
			return verdict_give(&c->verdict, VERDICT_NOT_JOINED,
				"the real VMs did not come up: %s",
				c->boot.last[0] ? c->boot.last : "famez-vm has ended");
		if (progress_now_ns() - c->begun_ns > BOOT_NS)
			return verdict_give(&c->verdict, VERDICT_NOT_JOINED,
				"%u of %u real VMs did not come up within %g s%s%s", c->count - met,
				c->count, (double)BOOT_NS / 1e9, c->boot.last[0] ? ": " : "",
				c->boot.last);
	}
	c->board->guests.boot_ns = progress_now_ns() - c->begun_ns;
	(void)snprintf(c->board->guests.what, sizeof(c->board->guests.what), "%s", c->boot.what);
	atomic_store(&c->mine->joined, 0); /* VMs up are the emulated ones, from here on */
	atomic_store(&c->board->guests.up, true);
	return 0;
}

static int join(struct conductor *c, const char *socket)
{
	struct famez_join how = {.socket = socket, .timeout_ms = (int)(c->o->patience_s * 1e3)};
	struct famez_mailbox mailbox = {.name = WORDS_HOST, .cclass = "Stress", .spin_us = -1};
	struct epoll_event event = {.events = EPOLLIN};
	int err = famez_join(&c->famez, &how);

	if (!err)
		err = famez_mailbox_open(c->famez, &mailbox);
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!err &&
		(c->epoll < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, famez_fd(c->famez), &event)))
		err = -errno;
	if (err == -EOPNOTSUPP)
		return verdict_give(&c->verdict, VERDICT_NOT_JOINED,
			"--vm needs a server whose memory has lanes: what is measured is told by "
			"messages");
	if (err)
		return verdict_give(&c->verdict, VERDICT_NOT_JOINED,
			"cannot join at %s to speak to real VMs: %s", socket, strerror(-err));
	if (companions_open(&c->companions, c->board, socket, patience_ns(c), &c->verdict))
		return -1;
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->companions.epoll, &event))
		return verdict_give(&c->verdict, VERDICT_LOST, "epoll_ctl: %s", strerror(errno));
	return 0;
}

/* They power off; whoever does not hear it is ended with famez-vm. */
static void dismiss(struct conductor *c)
{
	struct words w;

	words_begin(&w, WORDS_STATE);
	w.state.stop = 1;
	for (unsigned k = 0; k < c->come; k++) {
		struct famez_to to = {.peer = (uint16_t)c->guests[k].id};

		if (c->famez)
			(void)famez_send(c->famez, &to, &w, words_bytes(&w), 0, 0);
	}
}

static int everything(struct conductor *c, const char *socket)
{
	c->guests = calloc(c->count, sizeof(*c->guests));
	if (c->guests == NULL)
		return verdict_give(&c->verdict, VERDICT_LOST, "out of memory");
	/* QEMUs hold everybody's eventfds, and inherit the limit. */
	(void)limits_raise(limits_descriptors(
		&(struct limits_need){.peers = c->o->peers + 2 * (uint64_t)c->count + 1,
			.processes = 1,
			.vectors = c->o->vectors ? c->o->vectors : 1,
			.copies = 1}));
	if (join(c, socket) || boot_start(&c->boot, socket, c->count, &c->verdict) || boot(c))
		return -1;
	while (!board_stopped(c->board) && !atomic_load(&c->board->guests.end))
		if (turn(c))
			return -1;
	for (unsigned k = 0; k < c->count && !board_stopped(c->board); k++)
		if (c->guests[k].started && c->guests[k].state != DONE)
			return verdict_give(&c->verdict, VERDICT_LOST,
				"real VM %u (ID %d) has told no figures", k + 1, c->guests[k].id);
	return 0;
}

int conductor_run(const struct options *options, struct board *board, const char *socket)
{
	struct conductor c = {.o = options,
		.board = board,
		.mine = &board->process[board->processes],
		.boot = {.said = -1},
		.companions = {.epoll = -1},
		.count = board->guests.count,
		.epoll = -1,
		.begun_ns = progress_now_ns()};
	int err;

	(void)signal(SIGINT, SIG_IGN); /* ^C is for the parent, which tells us by the board */
	(void)signal(SIGTERM, SIG_IGN);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = everything(&c, socket);
	if (c.verdict.code)
		board_judge(board, &c.verdict);
	dismiss(&c);
	boot_end(&c.boot);
	companions_close(&c.companions);
	famez_leave(c.famez);
	if (c.epoll >= 0)
		(void)close(c.epoll); /* nothing was written through it */
	free(c.guests);
	return err ? 1 : 0;
}
