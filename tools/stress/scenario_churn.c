/* SPDX-License-Identifier: MIT */
/*
 * scenario_churn.c - a tenth of the VMs join and leave while the rest is busy.
 *
 * Who stays speaks as in the mesh. Who comes asks one of them something and leaves with the answer.
 */
#include "drive.h"
#include "scenario.h"
#include "visitors.h"
#include "worker.h"

#define WAIT_NS INT64_C(500000)

static unsigned a_tenth(unsigned peers)
{
	return peers < 10 ? 1 : peers / 10;
}

static int letters(struct worker *w)
{
	uint64_t ns = (uint64_t)(w->options->time_s * 1e9);
	struct visitors visitors;
	struct drive *d = NULL;
	int err = visitors_open(&visitors, w, a_tenth(w->options->peers), true, "churn, joins");
	uint64_t end_ns, now_ns;

	if (!err)
		d = drive_begin(w, &PATTERN_MESH, DRIVE_LETTERS, "churn, messages", ns);
	err = d ? 0 : -1;
	now_ns = progress_now_ns();
	end_ns = now_ns + ns + (uint64_t)(w->options->warm_up_s * 1e9);
	/* To the end, and until the last visitor has left. */
	while (!err && (now_ns < end_ns || visitors.in > 0)) {
		visitors.over = now_ns >= end_ns;
		err = visitors_step(&visitors, now_ns);
		if (!err)
			err = drive_turn(d, now_ns, WAIT_NS);
		now_ns = progress_now_ns();
	}
	if (d && drive_end(d))
		err = -1;
	visitors_close(&visitors);
	return err;
}

const struct scenario SCENARIO_CHURN = {
	.name = "churn",
	.summary = "a tenth joins and leaves while the rest is busy",
	.letters = letters,
	.aside = a_tenth,
};
