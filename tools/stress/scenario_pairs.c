/* SPDX-License-Identifier: MIT */
/*
 * scenario_pairs.c - two and two speak to each other.
 */
#include "drive.h"
#include "scenario.h"

static int bells(struct worker *w)
{
	return drive_run(w, &PATTERN_PAIRS, DRIVE_BELLS, "pairs, doorbells");
}

static int letters(struct worker *w)
{
	return drive_run(w, &PATTERN_PAIRS, DRIVE_LETTERS, "pairs, messages");
}

const struct scenario SCENARIO_PAIRS = {
	.name = "pairs",
	.summary = "two and two to each other",
	.bells = bells,
	.letters = letters,
	.guests = true,
	.trips = true,
};
