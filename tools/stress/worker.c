/* SPDX-License-Identifier: MIT */
/*
 * worker.c - one process of a run: the steps that it takes beside the others.
 *
 * Knows how processes keep in step and wait for what is under way; what they do in between is
 * the scenario's (run.c).
 */
#include "worker.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

/* Handles that are glanced at, and how often: the server's end is seen within a few of these. */
#define GLANCE_HANDLES 4u
#define GLANCE_NS      UINT64_C(5000000)

/* Shortest and longest wait for others: they may need us to hear them at once. */
#define MEET_NS_MIN INT64_C(20000)
#define MEET_NS_MAX INT64_C(2000000)

int worker_hear(struct worker *w, int64_t timeout_ns)
{
	uint64_t now_ns;

	if (w->fleet.epoll < 0) { /* all have left */
		(void)poll(NULL, 0, 1);
		return 0;
	}
	if (w->bells.fleet == NULL)
		return fleet_turn(&w->fleet, timeout_ns);
	if (bells_turn(&w->bells, timeout_ns) < 0)
		return -1;
	now_ns = progress_now_ns();
	if (now_ns - w->glanced_ns < GLANCE_NS)
		return 0;
	w->glanced_ns = now_ns;
	return fleet_glance(&w->fleet, GLANCE_HANDLES) || w->bells.failed ? -1 : 0;
}

int worker_look(struct worker *w)
{
	board_snapshot(w->board, w->process, w->series ? &w->series->latency : NULL);
	if (board_stopped(w->board))
		return -1;
	atomic_store_explicit(&w->mine->alive_ns, progress_now_ns(), memory_order_relaxed);
	return 0;
}

static int wait_a_bit(struct worker *w, int64_t *timeout_ns)
{
	int err = worker_look(w);

	if (!err)
		err = w->idle ? w->idle(w->idle_context) : worker_hear(w, *timeout_ns);
	*timeout_ns = *timeout_ns * 2 < MEET_NS_MAX ? *timeout_ns * 2 : MEET_NS_MAX;
	return err;
}

int worker_meet(struct worker *w)
{
	int64_t timeout_ns = MEET_NS_MIN;

	if (w->remote)
		return w->remote->meet(w);

	board_arrive(w->board, w->process, ++w->step);
	while (!board_all_arrived(w->board, w->step))
		if (wait_a_bit(w, &timeout_ns))
			return -1;
	return 0;
}

static int lost(struct worker *w, const struct board_sums *s)
{
	uint64_t missing = s->sent - s->heard;
	uint32_t post = w->bells.fleet ? board_unheard(w->board, w->process) : 0;

	if (post)
		return bells_lost(&w->bells, post, missing, w->options->patience_s);
	return verdict_give(&w->verdict, VERDICT_LOST,
		"%" PRIu64 " of %" PRIu64 " doorbells and messages did not arrive within %g s",
		missing, s->sent, w->options->patience_s);
}

/*
 * All that was sent is heard; but guests' counts come later than those of the processes, so equal
 * sums may be chance. What was heard by one look is compared with what was sent by a later one, all
 * of whose counts were taken after the first look: equal then, nothing was under way (F. Mattern,
 * "Algorithms for distributed termination detection", 1987, four counters).
 */
struct quiet {
	uint64_t heard, wave;
};

static bool is_quiet(const struct worker *w, struct quiet *q, const struct board_sums *s)
{
	uint64_t wave = atomic_load_explicit(&w->board->guests.wave, memory_order_acquire);

	if (s->heard != s->sent)
		return false;
	if (w->board->guests.count == 0 || !atomic_load(&w->board->guests.letters))
		return true;
	if (q->wave && s->sent == q->heard)
		return wave > q->wave;
	*q = (struct quiet){s->heard, wave + 1};
	return false;
}

int worker_settle(struct worker *w)
{
	uint64_t since_ns = progress_now_ns(), heard = 0;
	int64_t timeout_ns = MEET_NS_MIN;
	struct quiet quiet = {0};

	if (w->remote)
		return w->remote->settle(w);
	if (worker_meet(w))
		return -1;
	for (;;) {
		struct board_sums s = board_sum(w->board);
		uint64_t now_ns = progress_now_ns(), patience_ns = worker_patience_ns(w);

		if (is_quiet(w, &quiet, &s))
			return 0;
		if (s.heard != heard) {
			heard = s.heard;
			since_ns = now_ns;
		}
		/* Whoever's it is that is missing can say more: he comes first. */
		if (w->bells.fleet && !board_unheard(w->board, w->process))
			patience_ns += UINT64_C(500000000);
		if (now_ns - since_ns > patience_ns)
			return lost(w, &s);
		if (wait_a_bit(w, &timeout_ns))
			return -1;
	}
}

int worker_series(struct worker *w, const char *name, const char *unit, const char *what)
{
	w->series = board_series(w->board, w->process, name, unit, what);
	if (w->series == NULL)
		return verdict_give(&w->verdict, VERDICT_LOST, "too many series");
	w->with_guests = board_with_guests(w->board, w->process, w->series);
	if (w->process == 0)
		atomic_store(&w->board->doing, w->series->name);
	return 0;
}
