/* SPDX-License-Identifier: MIT */
/*
 * drive.h - traffic between VMs: who speaks to whom, how often, and what it took.
 *
 * A pattern says who speaks and to whom. Driven in a closed loop, each speaker has so many
 * questions under way, and asks the next one when the last was answered: what is measured is
 * the way there and back. In an open loop (--rate) it speaks at times drawn beforehand, and what
 * is measured is the way there, from the time that was meant (pace.h). Doorbells and
 * messages are driven alike.
 */
#ifndef STRESS_DRIVE_H
#define STRESS_DRIVE_H

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct drive;

struct pattern {
	const char *name;
	/* Does this VM speak at all? */
	bool (*speaks)(const struct worker *w, unsigned vm);
	/* To whom it speaks next. */
	unsigned (*target)(struct worker *w, unsigned vm);
	/* Who was spoken to passes it on to its own target, instead of answering. */
	bool passes_on;
	/* Questions that a speaker has under way; 0: as many as there are others. */
	unsigned window;
};

/* What a doorbell's post or a letter is. Clocks of host and guests have nothing to do with each
 * other: so what goes one way between them is answered with thanks, and timed there and back. */
enum drive_kind { DRIVE_ASK, DRIVE_ANSWER, DRIVE_PASS, DRIVE_ONE_WAY, DRIVE_UNTIMED, DRIVE_THANKS };

/* What carries it. */
enum drive_what { DRIVE_BELLS, DRIVE_LETTERS };

/*
 * Drives the pattern for the time that the options say, warm-up first, and waits until all was
 * heard. Measures into a series of this name. Returns 0 or -1 as all of a worker's steps.
 */
int drive_run(
	struct worker *w, const struct pattern *pattern, enum drive_what what, const char *name);

/*
 * The same in pieces, for scenarios that do something else besides: drive_turn() does what is due,
 * waits at most so long, and returns 0 or -1.
 */
struct drive *drive_begin(struct worker *w, const struct pattern *pattern, enum drive_what what,
	const char *name, uint64_t ns);
int drive_turn(struct drive *d, uint64_t now_ns, int64_t timeout_ns);
int drive_end(struct drive *d);

/* One more, from our VM to any, that nobody answers, accounted for but not timed. Unless so
 * much waits for room that it would only wait, too. Returns 0 or -1. */
int drive_say(struct drive *d, unsigned from, unsigned to);

/* Everybody to somebody else, as the dice have it; neighbours; to the next one; all to the first;
 * the first to all. */
extern const struct pattern PATTERN_MESH, PATTERN_PAIRS, PATTERN_RING, PATTERN_INCAST,
	PATTERN_FANOUT;

#endif
