/* SPDX-License-Identifier: MIT */
/*
 * scenario_stall.c - some read nothing while the others are busy, and then read it all.
 *
 * A tenth of the VMs, the last ones, read neither socket nor bells nor mail. The others speak
 * among themselves as in the mesh, and now and then to a sleeper; and one more joins and leaves all
 * the time, so that the server has notices for the sleepers that they don't take. At the end
 * they wake up: everything must be there.
 */
#include "drive.h"
#include "scenario.h"
#include "visitors.h"
#include "worker.h"

#define WAIT_NS INT64_C(500000)

/* Between two words of a process to the sleepers. */
#define SAY_NS UINT64_C(2000000)

static unsigned one(unsigned peers)
{
	(void)peers;
	return 1;
}

static unsigned sleepers(const struct worker *w)
{
	return w->board->peers < 20 ? 1 : w->board->peers / 10;
}

static unsigned awake(const struct worker *w)
{
	return w->board->peers - sleepers(w);
}

static bool speaks(const struct worker *w, unsigned vm)
{
	return vm < awake(w);
}

static unsigned target(struct worker *w, unsigned vm)
{
	unsigned n = awake(w);

	return n < 2 ? vm : (vm + 1 + dice_below(&w->dice, n - 1)) % n;
}

static const struct pattern PATTERN_AWAKE = {"stall", speaks, target, false, 1};

static int sleep_or_wake(struct worker *w, bool deaf)
{
	int err = 0;

	for (unsigned vm = awake(w); vm < w->board->peers && !err; vm++) {
		if (board_process_of(w->board, vm) != w->process)
			continue;
		err = w->bells.fleet ? bells_deafen(&w->bells, vm, deaf)
				     : fleet_deafen(&w->fleet, vm, deaf);
		if (!err && !deaf)
			err = fleet_pump(&w->fleet, vm);
	}
	return err;
}

static int stall(struct worker *w, enum drive_what what, const char *name)
{
	uint64_t ns = (uint64_t)(w->options->time_s * 1e9), said_ns = 0, now_ns, end_ns;
	struct visitors visitors;
	struct drive *d = NULL;
	int err = visitors_open(&visitors, w, 1, false, "stall, joins");

	if (!err)
		err = sleep_or_wake(w, true);
	if (!err)
		d = drive_begin(w, &PATTERN_AWAKE, what, name, ns);
	err = d ? 0 : -1;
	now_ns = progress_now_ns();
	end_ns = now_ns + ns + (uint64_t)(w->options->warm_up_s * 1e9);
	while (!err && (now_ns < end_ns || visitors.in > 0)) {
		visitors.over = now_ns >= end_ns;
		if (w->process < awake(w) && now_ns - said_ns > SAY_NS && now_ns < end_ns) {
			said_ns = now_ns;
			err = drive_say(
				d, w->process, awake(w) + dice_below(&w->dice, sleepers(w)));
		}
		if (!err)
			err = visitors_step(&visitors, now_ns);
		if (!err)
			err = drive_turn(d, now_ns, WAIT_NS);
		now_ns = progress_now_ns();
	}
	if (!err)
		err = sleep_or_wake(w, false);
	if (d && drive_end(d))
		err = -1;
	visitors_close(&visitors);
	return err;
}

static int bells(struct worker *w)
{
	return stall(w, DRIVE_BELLS, "stall, doorbells");
}

static int letters(struct worker *w)
{
	return stall(w, DRIVE_LETTERS, "stall, messages");
}

const struct scenario SCENARIO_STALL = {
	.name = "stall",
	.summary = "a tenth reads nothing for a while",
	.bells = bells,
	.letters = letters,
	.aside = one,
};
