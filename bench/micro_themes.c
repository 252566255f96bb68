/* SPDX-License-Identifier: MIT */
/*
 * micro_themes.c - what both programs share: the list of themes, and how a broken world ends.
 */
#include "micro.h"

#include <stdio.h>
#include <stdlib.h>

const struct micro *const micro_themes[] = {micro_lanes, micro_inbox, micro_library, micro_wakes,
	micro_membership, micro_server, micro_tools, NULL};

void micro_broken(const char *what, const char *file, int line)
{
	(void)fprintf(stderr, "%s:%d: a benchmark does not do what it is to measure: %s\n", file,
		line, what);
	exit(1);
}
