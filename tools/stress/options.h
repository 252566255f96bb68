/* SPDX-License-Identifier: MIT */
/*
 * options.h - famez-stress's command line.
 */
#ifndef STRESS_OPTIONS_H
#define STRESS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "verdict.h"

struct options {
	char socket[128]; /* sun_path holds 107 */
	unsigned peers;
	unsigned vectors; /* 0: learn them from the server */
	unsigned rounds;  /* 0: all pairs, or ROUNDS_DEFAULT matchings if those are too many */
	double seconds;   /* of round trips; 0: none */
	double patience_s;
	uint64_t seed;
	const char *json; /* from argv, or NULL */
	bool hold, join_only;
	bool help, version;
};

/* Returns 0 or -1 with the verdict filled in. */
int options_parse(struct options *o, int argc, char **argv, struct verdict *verdict);

void options_help(void);

#endif
