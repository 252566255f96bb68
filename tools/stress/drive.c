/* SPDX-License-Identifier: MIT */
/*
 * drive.c - traffic between VMs: who speaks to whom, how often, and what it took.
 *
 * What is meant to be sent counts as sent at once, and waits in a queue where there is no room
 * for it: so nothing is forgotten, and nothing else of the fabric waits for it.
 */
#include "drive.h"

#include <errno.h>
#include <stdlib.h>

#include "pace.h"
#include "worker.h"

/* Between two attempts at what found no room. */
#define RETRY_NS INT64_C(100000)

/* Longest wait: to see that somebody wants us to stop. */
#define WAIT_NS INT64_C(10000000)

/* Sends in a row at most, before somebody is heard. */
#define SENDS_A_TURN 64u

/* What drive_say() lets wait for room. */
#define SAY_MAX 256u

struct intent {
	unsigned from, to;
	uint16_t id;
	uint8_t kind;
	bool paced; /* its sender is out of the pace until it is sent */
	uint64_t t_ns;
};

struct drive {
	struct worker *w;
	const struct pattern *pattern;
	enum drive_what what;
	uint64_t clock_ns, end_ns; /* from the one to the other it is measured */
	struct pace pace;
	struct intent *queue; /* what found no room: from `first` on, `count` of them */
	unsigned first, count, size;
	bool over;       /* nothing new is sent, but answers */
	uint64_t now_ns; /* of this turn */
};

static int out_of_memory(struct drive *d)
{
	return verdict_give(&d->w->verdict, VERDICT_LOST, "out of memory");
}

static int enqueue(struct drive *d, const struct intent *i)
{
	if (d->count == d->size) {
		unsigned size = d->size ? d->size * 2 : 256;
		struct intent *queue = malloc(size * sizeof(*queue));

		if (queue == NULL)
			return out_of_memory(d);
		for (unsigned n = 0; n < d->count; n++)
			queue[n] = d->queue[(d->first + n) % d->size];
		free(d->queue);
		d->queue = queue;
		d->first = 0;
		d->size = size;
	}
	d->queue[(d->first + d->count++) % d->size] = *i;
	return 0;
}

/* 0, -EAGAIN or -1. */
static int try_to_send(struct drive *d, const struct intent *i)
{
	struct worker *w = d->w;
	int err;

	if (d->what == DRIVE_BELLS)
		err = bells_ring(&w->bells, i->from, i->to, dice_below(&w->dice, w->fleet.vectors),
			i->kind, i->t_ns);
	else
		err = letters_send(&w->letters, i->from, i->to, i->id, i->kind, i->t_ns);
	if (!err && i->paced)
		pace_done(&d->pace, (struct pace_turn){i->t_ns, i->from});
	return err;
}

/* Where it is accounted for: what has a guest at one end is apart. */
static struct board_series *series_of(const struct drive *d, unsigned a, unsigned b)
{
	const struct board *board = d->w->board;

	return board_is_guest(board, a) || board_is_guest(board, b) ? d->w->with_guests
								    : d->w->series;
}

/* Sends, now or when there is room. */
static int intend(struct drive *d, const struct intent *i)
{
	int err;

	worker_sent(d->w, 1);
	series_of(d, i->from, i->to)->sent++;
	err = try_to_send(d, i);
	return err == -EAGAIN ? enqueue(d, i) : err;
}

static int to_vm(struct drive *d, unsigned from, unsigned to, enum drive_kind kind, uint64_t t_ns)
{
	struct intent i = {.from = from,
		.to = to,
		.id = (uint16_t)board_id(d->w->board, to),
		.kind = (uint8_t)kind,
		.t_ns = t_ns};

	return intend(d, &i);
}

/* The queue once through: what finds no room again stays, in its order. */
static int send_again(struct drive *d)
{
	for (unsigned n = d->count; n > 0; n--) {
		struct intent i = d->queue[d->first];
		int err;

		d->first = (d->first + 1) % d->size;
		d->count--;
		err = try_to_send(d, &i);
		if (err == -EAGAIN)
			err = enqueue(d, &i);
		if (err)
			return err;
	}
	return 0;
}

/* Whatever has come, questions too. */
static void count(struct drive *d, struct board_series *s, uint64_t from_ns, size_t bytes)
{
	s->bytes += bytes;
	s->counted += from_ns >= d->clock_ns && d->now_ns <= d->end_ns;
}

static void record(
	struct drive *d, struct board_series *s, uint64_t from_ns, uint64_t t_ns, size_t bytes)
{
	count(d, s, from_ns, bytes);
	if (from_ns >= d->clock_ns)
		histogram_record(&s->latency, d->now_ns - t_ns);
}

/* What is timed one way, if one clock can. */
static int record_one_way(struct drive *d, unsigned to, unsigned from, uint16_t id,
	uint64_t from_ns, uint64_t t_ns, size_t bytes)
{
	struct board_series *s = series_of(d, to, from);
	struct intent thanks = {to, from, id, DRIVE_THANKS, false, t_ns};

	if (s == d->w->series) {
		record(d, s, from_ns, t_ns, bytes);
		return 0;
	}
	count(d, s, d->now_ns, bytes);
	return intend(d, &thanks);
}

/* VM `to` has heard something. `id`: where to answer. */
static int heard(struct drive *d, unsigned to, unsigned from, uint16_t id, unsigned kind,
	uint64_t t_ns, size_t bytes)
{
	struct worker *w = d->w;
	struct board_series *s = series_of(d, to, from);
	int err = 0;

	d->now_ns = progress_now_ns();
	s->heard++;
	/* Our own time, which the other side gives back. */
	if (t_ns > d->now_ns && (kind == DRIVE_ANSWER || kind == DRIVE_THANKS))
		return verdict_give(&w->verdict, VERDICT_LOST,
			"peer %d answered peer %d with a time that has not come yet",
			board_id(w->board, from), board_id(w->board, to));
	switch (kind) {
	case DRIVE_ASK: {
		struct intent i = {to, from, id, DRIVE_ANSWER, false, t_ns};

		count(d, s, d->now_ns, bytes);
		err = intend(d, &i);
		break;
	}
	case DRIVE_ANSWER:
		record(d, s, d->now_ns, t_ns, bytes);
		if (!d->over)
			err = to_vm(d, to, d->pattern->target(w, to), DRIVE_ASK, d->now_ns);
		break;
	case DRIVE_PASS:
		err = record_one_way(d, to, from, id, d->now_ns, t_ns, bytes);
		if (!err && !d->over)
			err = to_vm(d, to, d->pattern->target(w, to), DRIVE_PASS, d->now_ns);
		break;
	case DRIVE_ONE_WAY:
		err = record_one_way(d, to, from, id, t_ns, t_ns, bytes);
		break;
	case DRIVE_THANKS:
		record(d, s, t_ns, t_ns, bytes);
		break;
	default:
		break;
	}
	worker_heard(w, 1); /* last: what follows from it is counted as sent by now */
	return err;
}

static int on_ring(void *context, const struct board_post *post)
{
	return heard(context, post->to, post->from, 0, post->kind, post->t_ns, 0);
}

static int on_letter(
	void *context, const struct letter *l, unsigned vm, uint16_t peer, size_t bytes)
{
	return heard(context, vm, l->from, peer, l->kind, l->t_ns, bytes);
}

static int first_questions(struct drive *d)
{
	struct worker *w = d->w;
	unsigned window = d->pattern->window ? d->pattern->window : board_everybody(w->board) - 1;
	int err = 0;

	for (unsigned k = 0; k < w->fleet.mine && !err; k++) {
		unsigned vm = fleet_number(&w->fleet, k);

		for (unsigned n = 0; d->pattern->speaks(w, vm) && n < window && !err; n++) {
			err = to_vm(d, vm, d->pattern->target(w, vm),
				d->pattern->passes_on ? DRIVE_PASS : DRIVE_ASK, progress_now_ns());
			/* A long volley must not keep us from hearing. */
			if (!err && n % SENDS_A_TURN == SENDS_A_TURN - 1)
				err = drive_turn(d, progress_now_ns(), 0);
		}
	}
	return err;
}

/* All VMs' rate together is the option's. */
static int set_the_pace(struct drive *d)
{
	struct worker *w = d->w;
	unsigned speakers = 0;
	uint64_t now_ns = progress_now_ns();

	for (unsigned vm = 0;
		vm < (d->what == DRIVE_LETTERS ? board_everybody(w->board) : w->board->peers); vm++)
		speakers += d->pattern->speaks(w, vm);
	if (pace_init(&d->pace, w->fleet.mine, 1e9 * speakers / w->options->rate,
		    dice_next(&w->dice)))
		return out_of_memory(d);
	for (unsigned k = 0; k < w->fleet.mine; k++)
		if (d->pattern->speaks(w, fleet_number(&w->fleet, k)))
			pace_add(&d->pace, fleet_number(&w->fleet, k), now_ns);
	return 0;
}

static int send_what_is_due(struct drive *d)
{
	for (unsigned n = 0; n < SENDS_A_TURN && pace_due_ns(&d->pace) <= d->now_ns; n++) {
		struct pace_turn turn = pace_take(&d->pace);
		unsigned to = d->pattern->target(d->w, turn.sender);
		struct intent i = {turn.sender, to, (uint16_t)board_id(d->w->board, to),
			DRIVE_ONE_WAY, true, turn.due_ns};
		int err = intend(d, &i);

		if (err)
			return err;
	}
	return 0;
}

int drive_turn(struct drive *d, uint64_t now_ns, int64_t timeout_ns)
{
	struct worker *w = d->w;
	uint64_t due_ns;
	int err = 0;

	d->now_ns = now_ns;
	if (worker_look(w))
		return -1;
	if (!d->over && d->pace.heap)
		err = send_what_is_due(d);
	if (!err && d->count)
		err = send_again(d);
	if (err)
		return -1;
	if (d->count && timeout_ns > RETRY_NS)
		timeout_ns = RETRY_NS;
	due_ns = d->over ? UINT64_MAX : pace_due_ns(&d->pace);
	if (due_ns < now_ns + (uint64_t)timeout_ns)
		timeout_ns = due_ns > now_ns ? (int64_t)(due_ns - now_ns) : 0;
	return worker_hear(w, timeout_ns);
}

int drive_say(struct drive *d, unsigned from, unsigned to)
{
	return d->count < SAY_MAX ? to_vm(d, from, to, DRIVE_UNTIMED, progress_now_ns()) : 0;
}

static int idle(void *context)
{
	struct drive *d = context;

	return drive_turn(d, progress_now_ns(), 1000000);
}

struct drive *drive_begin(struct worker *w, const struct pattern *pattern, enum drive_what what,
	const char *name, uint64_t ns)
{
	struct drive *d = calloc(1, sizeof(*d));
	bool open = w->options->rate > 0;

	if (d == NULL) {
		(void)verdict_give(&w->verdict, VERDICT_LOST, "out of memory");
		return NULL;
	}
	d->w = w;
	d->pattern = pattern;
	d->what = what;
	if (worker_series(w, name, what == DRIVE_BELLS ? "doorbells" : "messages",
		    !pattern             ? "there and back"
		    : open               ? "one way, from the time meant"
		    : pattern->passes_on ? "one way"
					 : "there and back")) {
		free(d);
		return NULL;
	}
	w->bells.on_ring = on_ring;
	w->letters.on_letter = on_letter;
	w->bells.context = w->letters.context = d;
	w->idle = idle;
	w->idle_context = d;
	/* Nobody speaks before everybody hears. */
	if (worker_meet(w)) {
		(void)drive_end(d);
		return NULL;
	}
	d->now_ns = progress_now_ns();
	d->clock_ns = d->now_ns + (uint64_t)(w->options->warm_up_s * 1e9);
	d->end_ns = d->clock_ns + ns;
	if (w->process == 0 && what == DRIVE_BELLS)
		atomic_store(&w->board->guests.bells, 1 + (unsigned)(w->series - w->mine->series));
	if (pattern && (open ? set_the_pace(d) : first_questions(d))) {
		(void)drive_end(d);
		return NULL;
	}
	return d;
}

int drive_end(struct drive *d)
{
	struct worker *w = d->w;
	uint64_t now_ns = progress_now_ns(), ran_ns;
	int err;

	d->over = true;
	/* What waits for its turn in the pace is not meant yet. */
	ran_ns = (now_ns < d->end_ns ? now_ns : d->end_ns) -
		 (now_ns < d->clock_ns ? now_ns : d->clock_ns);
	w->series->ns += ran_ns;
	if (w->with_guests && d->what == DRIVE_LETTERS)
		w->with_guests->ns += ran_ns;
	if (w->process == 0)
		atomic_store(&w->board->guests.bells, 0);
	err = w->verdict.code || board_stopped(w->board) ? -1 : worker_settle(w);
	w->idle = NULL;
	w->bells.on_ring = NULL;
	w->letters.on_letter = NULL;
	pace_destroy(&d->pace);
	free(d->queue);
	free(d);
	return err;
}

int drive_run(
	struct worker *w, const struct pattern *pattern, enum drive_what what, const char *name)
{
	struct drive *d = drive_begin(w, pattern, what, name, (uint64_t)(w->options->time_s * 1e9));
	int err = 0;

	if (d == NULL)
		return -1;
	for (uint64_t now_ns = progress_now_ns(); now_ns < d->end_ns && !err;
		now_ns = progress_now_ns())
		err = drive_turn(d, now_ns, WAIT_NS);
	return drive_end(d) || err ? -1 : 0;
}
