/* SPDX-License-Identifier: MIT */
/*
 * scenario_incast.c - all speak to one.
 */
#include "drive.h"
#include "scenario.h"

static int bells(struct worker *w)
{
	return drive_run(w, &PATTERN_INCAST, DRIVE_BELLS, "incast, doorbells");
}

static int letters(struct worker *w)
{
	return drive_run(w, &PATTERN_INCAST, DRIVE_LETTERS, "incast, messages");
}

const struct scenario SCENARIO_INCAST = {
	.name = "incast",
	.summary = "all to one",
	.bells = bells,
	.letters = letters,
	.guests = true,
	.trips = false,
};
