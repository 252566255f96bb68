/* SPDX-License-Identifier: MIT */
/*
 * scenario_bulk.c - as much as goes: payloads from 64 bytes to the most that a lane takes.
 *
 * Two and two, one way; the sender never waits for an answer, but for room. A guest has a stream to
 * an emulated VM, and one from it: their clocks are not comparable, so those have rates and no
 * times.
 */
#include <errno.h>
#include <stdio.h>

#include "drive.h"
#include "scenario.h"
#include "worker.h"

/* Messages of one sender in a row, before somebody else has a turn. */
#define VOLLEY 32u

struct stream {
	struct worker *w;
	uint64_t clock_ns, end_ns;
};

static struct board_series *series_of(const struct worker *w, unsigned a, unsigned b)
{
	return board_is_guest(w->board, a) || board_is_guest(w->board, b) ? w->with_guests
									  : w->series;
}

static int on_letter(
	void *context, const struct letter *l, unsigned vm, uint16_t peer, size_t bytes)
{
	struct stream *s = context;
	struct board_series *series = series_of(s->w, vm, l->from);
	bool apart = series != s->w->series;
	uint64_t now_ns = progress_now_ns();

	(void)peer;
	series->heard++;
	series->bytes += bytes;
	if ((apart ? now_ns : l->t_ns) >= s->clock_ns) {
		series->counted += now_ns <= s->end_ns;
		if (!apart)
			histogram_record(&series->latency, now_ns - l->t_ns);
	}
	worker_heard(s->w, 1);
	return 0;
}

/* Returns how many found room, or -1. */
static int send_volley(struct worker *w, unsigned from, unsigned to)
{
	int err = 0, n = 0;

	while (n < (int)VOLLEY && !err) {
		err = letters_send(&w->letters, from, to, (uint16_t)board_id(w->board, to), 0,
			progress_now_ns());
		n += !err;
	}
	worker_sent(w, (uint64_t)n);
	series_of(w, from, to)->sent += (uint64_t)n;
	return err && err != -EAGAIN ? -1 : n;
}

/* Returns whether all lanes of ours are full, or -1. */
static int send_volleys(struct worker *w)
{
	int sent = 0, n = 0;

	for (unsigned k = 0; k < w->fleet.mine && n >= 0; k++) {
		unsigned vm = fleet_number(&w->fleet, k);

		if (PATTERN_PAIRS.speaks(w, vm))
			n = send_volley(w, vm, PATTERN_PAIRS.target(w, vm));
		sent += n;
		/* Guests have one of us each. */
		for (unsigned g = w->board->peers + vm; n >= 0 && board_is_guest(w->board, g);
			g += w->board->peers) {
			n = send_volley(w, vm, g);
			sent += n;
		}
		n = n < 0 ? n : 0;
	}
	return n < 0 ? -1 : sent == 0;
}

static int one_size(struct worker *w, size_t bytes, double seconds)
{
	struct stream s = {.w = w};
	char name[32];

	(void)snprintf(name, sizeof(name), "bulk, %zu B", bytes);
	if (worker_series(w, name, "messages", "one way, waiting included"))
		return -1;
	w->letters.bytes = bytes;
	w->letters.on_letter = on_letter;
	w->letters.context = &s;
	if (worker_meet(w))
		return -1;
	s.clock_ns = progress_now_ns() + (uint64_t)(w->options->warm_up_s * 1e9);
	s.end_ns = s.clock_ns + (uint64_t)(seconds * 1e9);
	while (progress_now_ns() < s.end_ns) {
		int full = send_volleys(w);

		if (full < 0 || worker_look(w) || worker_hear(w, full ? 100000 : 0))
			return -1;
	}
	w->series->ns += s.end_ns - s.clock_ns;
	if (w->with_guests)
		w->with_guests->ns += s.end_ns - s.clock_ns;
	return worker_settle(w);
}

static int letters(struct worker *w)
{
	size_t most = letters_bytes_max(&w->letters), before = w->letters.bytes;
	unsigned sizes = 1;
	int err = 0;

	for (size_t bytes = LETTERS_BYTES_MIN; bytes < most; bytes *= 4)
		sizes++;
	if (w->options->size)
		err = one_size(w, w->options->size, w->options->time_s);
	for (size_t bytes = LETTERS_BYTES_MIN; !w->options->size && !err; bytes *= 4) {
		err = one_size(w, bytes < most ? bytes : most, w->options->time_s / sizes);
		if (bytes >= most)
			break;
	}
	w->letters.on_letter = NULL;
	w->letters.bytes = before;
	return err;
}

const struct scenario SCENARIO_BULK = {
	.name = "bulk",
	.summary = "two and two, 64 B to the most that a lane takes",
	.letters = letters,
	.guests = true,
};
