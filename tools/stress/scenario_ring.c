/* SPDX-License-Identifier: MIT */
/*
 * scenario_ring.c - everybody speaks to the next one, which passes it on.
 */
#include "drive.h"
#include "scenario.h"

static int bells(struct worker *w)
{
	return drive_run(w, &PATTERN_RING, DRIVE_BELLS, "ring, doorbells");
}

static int letters(struct worker *w)
{
	return drive_run(w, &PATTERN_RING, DRIVE_LETTERS, "ring, messages");
}

const struct scenario SCENARIO_RING = {
	.name = "ring",
	.summary = "everybody to the next, which passes it on",
	.bells = bells,
	.letters = letters,
	.guests = true,
	.trips = false,
};
