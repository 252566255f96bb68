/* SPDX-License-Identifier: MIT */
/*
 * scenario_mesh.c - everybody speaks to somebody else each time.
 */
#include "drive.h"
#include "scenario.h"

static int bells(struct worker *w)
{
	return drive_run(w, &PATTERN_MESH, DRIVE_BELLS, "mesh, doorbells");
}

static int letters(struct worker *w)
{
	return drive_run(w, &PATTERN_MESH, DRIVE_LETTERS, "mesh, messages");
}

const struct scenario SCENARIO_MESH = {
	.name = "mesh",
	.summary = "everybody to somebody else each time",
	.bells = bells,
	.letters = letters,
	.guests = true,
	.trips = true,
};
