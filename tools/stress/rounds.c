/* SPDX-License-Identifier: MIT */
/*
 * rounds.c - rings doorbells and accounts for every one.
 *
 * Rings through the handles of a fleet and hears through its events; owns
 * nothing but the list of what is awaited. Same thread as the fleet.
 */
#include "rounds.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

struct wave {
	struct fleet *fleet;
	struct progress *progress;
	struct rounds_result *result;
	const char *doing;
	uint64_t goal;       /* rings of this phase in all, for the progress line */
	uint64_t *done;      /* rings of this phase that arrived */
	unsigned vector;     /* on which this wave rings */
	uint32_t *ringer_of; /* by VM: who has rung it and was not heard yet, or NOBODY */
	unsigned awaited;    /* entries of ringer_of that aren't NOBODY */
};

static uint64_t on_doorbell(void *context, unsigned vm, unsigned vector, uint64_t count)
{
	struct wave *wave = context;

	(void)count; /* whatever is above the one awaited ring, the fleet counts as strays */
	if (vector != wave->vector || wave->ringer_of[vm] == NOBODY)
		return 0;
	wave->ringer_of[vm] = NOBODY;
	wave->awaited--;
	(*wave->done)++;
	return 1;
}

static int ring(struct wave *wave, unsigned from, unsigned to)
{
	struct fleet *fleet = wave->fleet;
	int err = famez_ring(
		fleet->vms[from].famez, (uint16_t)fleet->vms[to].id, (uint16_t)wave->vector);

	if (err)
		return verdict_give(fleet->verdict, VERDICT_LOST,
			"peer %d cannot ring peer %d, vector %u: %s", fleet->vms[from].id,
			fleet->vms[to].id, wave->vector, strerror(-err));
	wave->ringer_of[to] = from;
	wave->awaited++;
	return 0;
}

static int lost(struct wave *wave)
{
	struct fleet *fleet = wave->fleet;
	unsigned to = 0;

	while (wave->ringer_of[to] == NOBODY)
		to++;
	return verdict_give(fleet->verdict, VERDICT_LOST,
		"%u doorbells of a wave of %u did not arrive within %g s (first: peer %d rang peer "
		"%d, "
		"vector %u%s)",
		wave->awaited, fleet->config.peers, (double)fleet->config.patience_ns / 1e9,
		fleet->vms[wave->ringer_of[to]].id, fleet->vms[to].id, wave->vector,
		fleet->vms[wave->ringer_of[to]].witness ? ", through its own copy" : "");
}

static int hear_all(struct wave *wave)
{
	struct fleet *fleet = wave->fleet;

	fleet->last_event_ns = progress_now_ns();
	while (wave->awaited > 0) {
		if (fleet_turn(fleet, 100))
			return -1;
		if (wave->awaited > 0 && fleet_stalled(fleet))
			return lost(wave);
		if (progress_due(wave->progress))
			progress_show(wave->progress, "%s: %" PRIu64 " of %" PRIu64 " arrived",
				wave->doing, *wave->done, wave->goal);
	}
	return 0;
}

/* Each witness rings every vector of everyone else, through its own copies. */
static int check_copies(struct wave *wave)
{
	struct fleet *fleet = wave->fleet;
	unsigned n = fleet->config.peers;

	wave->doing = "checking the witnesses' eventfds";
	wave->goal = (uint64_t)fleet->witnesses * (n - 1) * fleet->vectors;
	wave->done = &wave->result->copies_checked;
	for (unsigned w = 0; w < n; w++) {
		if (!fleet->vms[w].witness)
			continue;
		for (wave->vector = 0; wave->vector < fleet->vectors; wave->vector++) {
			for (unsigned to = 0; to < n; to++)
				if (to != w && ring(wave, w, to))
					return -1;
			if (hear_all(wave))
				return -1;
		}
	}
	return 0;
}

/* VM order[k] rings VM order[k + offset], all around, on every vector. */
static int matching(struct wave *wave, const uint32_t *order, unsigned offset)
{
	unsigned n = wave->fleet->config.peers;

	for (wave->vector = 0; wave->vector < wave->fleet->vectors; wave->vector++) {
		for (unsigned k = 0; k < n; k++) {
			if (ring(wave, order[k], order[(k + offset) % n]))
				return -1;
			wave->result->rung++;
		}
		if (hear_all(wave))
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

static int ring_around(struct wave *wave, uint32_t *order, struct dice *dice)
{
	unsigned n = wave->fleet->config.peers, vectors = wave->fleet->vectors;
	struct rounds_result *result = wave->result;
	int err = 0;

	wave->doing = "ringing doorbells";
	wave->done = &result->arrived;
	wave->goal = (uint64_t)n * vectors * (result->all_pairs ? n - 1 : result->rounds);
	if (result->all_pairs) {
		for (unsigned offset = 1; offset < n && !err; offset++)
			err = matching(wave, order, offset);
		return err;
	}
	for (unsigned round = 0; round < result->rounds && !err; round++) {
		shuffle(order, n, dice);
		err = matching(wave, order, 1);
	}
	return err;
}

int rounds_run(struct fleet *fleet, unsigned rounds, struct dice *dice, struct progress *progress,
	struct rounds_result *result)
{
	unsigned n = fleet->config.peers;
	uint64_t begun_ns = progress_now_ns();
	struct wave wave = {.fleet = fleet, .progress = progress, .result = result};
	uint32_t *order = calloc(n, sizeof(*order));
	int err;

	assert(n >= 2);
	*result = (struct rounds_result){
		.all_pairs = rounds == 0 &&
			     (uint64_t)n * (n - 1) * fleet->vectors <= ROUNDS_ALL_PAIRS_MAX,
		.rounds = rounds ? rounds : ROUNDS_DEFAULT,
	};
	wave.ringer_of = malloc(n * sizeof(*wave.ringer_of));
	if (!order || !wave.ringer_of) {
		err = verdict_give(fleet->verdict, VERDICT_LOST, "out of memory");
		goto out;
	}
	for (unsigned i = 0; i < n; i++) {
		order[i] = i;
		wave.ringer_of[i] = NOBODY;
	}
	fleet->on_doorbell = on_doorbell;
	fleet->on_doorbell_context = &wave;
	progress_begin(progress);
	err = check_copies(&wave);
	if (!err)
		err = ring_around(&wave, order, dice);
	progress_end(progress);
	fleet->on_doorbell = NULL;
	result->ns = progress_now_ns() - begun_ns;
out:
	free(wave.ringer_of);
	free(order);
	return err;
}
