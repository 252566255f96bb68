/* SPDX-License-Identifier: MIT */
/*
 * rounds.c - a full round: rings everybody's doorbells, and accounts for every one.
 *
 * Every process draws the same matchings, from the run's seed, and rings for its own VMs.
 */
#include "rounds.h"

#include <errno.h>
#include <stdlib.h>

#include "worker.h"

static int on_ring(void *context, const struct board_post *post)
{
	(void)post;
	worker_heard(context, 1);
	return 0;
}

static int ring(struct worker *w, unsigned from, unsigned to, unsigned vector)
{
	int err;

	if (board_process_of(w->board, from) != w->process)
		return 0;
	worker_sent(w, 1);
	w->mine->rung++;
	/* There are posts for each VM to be rung by every process. */
	err = bells_ring(&w->bells, from, to, vector, 0, 0);
	return err == -EAGAIN ? verdict_give(&w->verdict, VERDICT_LOST, "no post is left") : err;
}

/* Rings through one copy of all eventfds: each must be heard by its owner. */
static int check_copy(struct worker *w, unsigned from)
{
	for (unsigned vector = 0; vector < w->fleet.vectors; vector++) {
		for (unsigned to = 0; to < w->board->peers; to++) {
			if (to != from && ring(w, from, to, vector))
				return -1;
			if (to % 256 == 255 && worker_hear(w, 0))
				return -1;
		}
		if (worker_settle(w))
			return -1;
	}
	return 0;
}

/* Process by process, so that it is known whose copy is wrong. All take part in each settling. */
static int check_copies(struct worker *w)
{
	unsigned n = w->board->processes;

	for (unsigned p = 0; p < n; p++) {
		unsigned copies = n > 1 ? 1 : w->fleet.witnesses;

		for (unsigned c = 0; c < copies; c++) {
			if (p != w->process) {
				for (unsigned v = 0; v < w->fleet.vectors; v++)
					if (worker_settle(w))
						return -1;
				continue;
			}
			if (check_copy(w, fleet_number(&w->fleet, c ? w->fleet.mine - 1 : 0)))
				return -1;
			w->mine->copies++;
		}
	}
	w->mine->copies_checked = w->mine->rung;
	w->mine->rung = 0;
	return 0;
}

/* VM order[k] rings VM order[k + offset], all around, on every vector. */
static int matching(struct worker *w, const uint32_t *order, unsigned offset)
{
	unsigned n = w->board->peers;

	for (unsigned vector = 0; vector < w->fleet.vectors; vector++) {
		for (unsigned k = 0; k < n; k++) {
			if (ring(w, order[k], order[(k + offset) % n], vector))
				return -1;
			if (k % 256 == 255 && worker_hear(w, 0))
				return -1;
		}
		if (worker_settle(w))
			return -1;
	}
	return 0;
}

static void shuffle(uint32_t *order, unsigned n, struct dice *dice)
{
	for (unsigned k = n; k > 1; k--) {
		unsigned other = dice_below(dice, k);
		uint32_t swap = order[k - 1];

		order[k - 1] = order[other];
		order[other] = swap;
	}
}

static int ring_around(struct worker *w, uint32_t *order)
{
	struct dice dice = {w->options->seed}; /* the same in all processes */
	unsigned n = w->board->peers;
	int err = 0;

	if (w->board->rounds == 0) {
		for (unsigned offset = 1; offset < n && !err; offset++)
			err = matching(w, order, offset);
		return err;
	}
	for (unsigned round = 0; round < w->board->rounds && !err; round++) {
		shuffle(order, n, &dice);
		err = matching(w, order, 1);
	}
	return err;
}

int rounds_run(struct worker *w)
{
	unsigned n = w->board->peers;
	uint64_t all = (uint64_t)n * (n - 1) * w->fleet.vectors;
	uint32_t *order = calloc(n, sizeof(*order));
	uint64_t begun_ns = progress_now_ns();
	int err;

	if (order == NULL)
		return verdict_give(&w->verdict, VERDICT_LOST, "out of memory");
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	w->bells.on_ring = on_ring;
	w->bells.context = w;
	if (w->process == 0) {
		unsigned rounds = w->options->rounds;

		w->board->rounds =
			rounds == 0 && all > ROUNDS_ALL_PAIRS_MAX ? ROUNDS_DEFAULT : rounds;
		atomic_store(&w->board->doing, "a full round of doorbells");
	}
	err = worker_settle(w);
	if (!err)
		err = check_copies(w);
	if (!err)
		err = ring_around(w, order);
	w->mine->round_ns += progress_now_ns() - begun_ns;
	w->bells.on_ring = NULL;
	free(order);
	return err;
}
