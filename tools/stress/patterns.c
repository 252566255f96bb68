/* SPDX-License-Identifier: MIT */
/*
 * patterns.c - who speaks to whom.
 */
#include "drive.h"
#include "worker.h"

static bool everybody(const struct worker *w, unsigned vm)
{
	(void)w;
	(void)vm;
	return true;
}

static bool the_first(const struct worker *w, unsigned vm)
{
	(void)w;
	return vm == 0;
}

static bool all_but_the_first(const struct worker *w, unsigned vm)
{
	(void)w;
	return vm != 0;
}

/* Real VMs are behind the emulated ones. They take part in messages; in doorbells they have
 * partners of their own (companions.c). */
static unsigned everybodys_count(const struct worker *w)
{
	return w->letters.fleet ? board_everybody(w->board) : w->board->peers;
}

/* The even ones speak first; an odd number of VMs leaves one alone. Each guest speaks to an
 * emulated one, which has its neighbour besides. */
static bool the_even(const struct worker *w, unsigned vm)
{
	return board_is_guest(w->board, vm) || (vm % 2 == 0 && vm + 1 < w->board->peers);
}

/* Everybody writes to so many others. Each two have a lane of their own, and its first message
 * takes pages from the kernel: with all pairs of 1,000 VMs one would measure that, for minutes. */
#define PARTNERS 16u

static unsigned anybody(struct worker *w, unsigned vm)
{
	unsigned n = everybodys_count(w), away = dice_below(&w->dice, n - 1);

	/* The same distances for all, so that as many write to each. */
	if (w->letters.fleet && n - 1 > PARTNERS)
		away = (unsigned)((away % PARTNERS) * UINT64_C(2654435761) % (n - 1));
	return (vm + 1 + away) % n;
}

static unsigned neighbour(struct worker *w, unsigned vm)
{
	return board_is_guest(w->board, vm) ? vm % w->board->peers : vm ^ 1;
}

static unsigned next(struct worker *w, unsigned vm)
{
	return vm + 1 < everybodys_count(w) ? vm + 1 : 0;
}

static unsigned first(struct worker *w, unsigned vm)
{
	(void)w;
	(void)vm;
	return 0;
}

/* One after the other, and from the beginning. */
static unsigned each(struct worker *w, unsigned vm)
{
	(void)vm;
	w->turn_of = w->turn_of + 1 < w->board->peers ? w->turn_of + 1 : 1;
	return w->turn_of;
}

const struct pattern PATTERN_MESH = {"mesh", everybody, anybody, false, 1};
const struct pattern PATTERN_PAIRS = {"pairs", the_even, neighbour, false, 1};
const struct pattern PATTERN_RING = {"ring", everybody, next, true, 1};
const struct pattern PATTERN_INCAST = {"incast", all_but_the_first, first, false, 1};
const struct pattern PATTERN_FANOUT = {"fanout", the_first, each, false, 0};
