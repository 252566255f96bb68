/* SPDX-License-Identifier: MIT */
/*
 * main.c - plays worlds until enough steps are made; one that fails is replayed by its seed.
 *
 *     sim [--steps N] [--seed FIRST]     worlds from this seed on
 *     sim --replay SEED                  this one, with everything that happens in it
 *
 * Prints a line a test and the sum, as all tests do.
 */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void usage(void)
{
	(void)fprintf(stderr, "usage: sim [--steps N] [--seed FIRST] | sim --replay SEED\n");
	exit(2);
}

/* NOLINTBEGIN(bugprone-signal-handler,cert-sig30-c): abort() was called, it did not come in between
 */
static void say_failed(void)
{
	(void)printf("FAIL seed %llu: %s; replay: sim --replay %llu\n",
		(unsigned long long)world.seed, world.why, (unsigned long long)world.seed);
}

/* An assertion of the broker's has failed, which it has printed: abort() is called, not a signal
 * sent. */
static void on_abort(int number)
{
	(void)number;
	if (!world.failed)
		(void)snprintf(world.why, sizeof(world.why), "the broker aborts");
	say_failed();
	(void)printf("0 passed, 1 failed\n");
	(void)fflush(stdout);
	_Exit(1); /* _exit() is the broker's */
}
/* NOLINTEND(bugprone-signal-handler,cert-sig30-c) */

static void print_sums(void)
{
	(void)printf("# %llu worlds, %llu steps, %llu clients, %llu openings, %llu announcements, "
		     "%llu leaves, %llu refusals, %llu answers, %llu messages and %llu of "
		     "groups, %llu stores; %llu deaths, of which %llu in the midst of sending and "
		     "%llu before it served; %llu ends by itself\n",
		(unsigned long long)sums.worlds, (unsigned long long)sums.steps,
		(unsigned long long)sums.clients, (unsigned long long)sums.joins,
		(unsigned long long)sums.announced, (unsigned long long)sums.leaves_told,
		(unsigned long long)sums.refused, (unsigned long long)sums.answers,
		(unsigned long long)sums.messages, (unsigned long long)sums.group_messages,
		(unsigned long long)sums.points, (unsigned long long)sums.deaths,
		(unsigned long long)sums.deaths_in_sends, (unsigned long long)sums.deaths_starting,
		(unsigned long long)sums.exits);
}

int main(int argc, char **argv)
{
	uint64_t steps = 1000000, seed = 1, replay = 0;

	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			usage();
		if (strcmp(argv[i], "--steps") == 0)
			steps = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--replay") == 0)
			replay = strtoull(argv[i + 1], NULL, 0);
		else
			usage();
	}
	(void)signal(SIGABRT, on_abort);
	if (replay) {
		sim_tracing = true;
		steps = 1;
		seed = replay;
	}
	while (sums.steps < steps) {
		if (!world_play(seed++)) {
			say_failed();
			(void)printf("0 passed, 1 failed\n");
			return 1;
		}
	}
	print_sums();
	(void)printf("ok %llu steps from seed %llu on\n1 passed, 0 failed\n",
		(unsigned long long)sums.steps,
		(unsigned long long)(seed - (replay ? 1 : sums.worlds)));
	return 0;
}
