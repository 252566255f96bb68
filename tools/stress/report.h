/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a run found: for people (stdout), for programs (JSON, CSV), as a plot (SVG).
 */
#ifndef STRESS_REPORT_H
#define STRESS_REPORT_H

#include <stdio.h>

#include "board.h"
#include "host.h"
#include "options.h"
#include "server.h"
#include "verdict.h"

struct crew_watch;

/* All that there is to tell. What has not been reached is empty. */
struct report {
	const struct options *options;
	const struct board *board;
	const struct server *server;
	const struct crew_watch *watch;
	const struct host *host;
	const struct verdict *verdict;
	const char *server_version; /* its own line; empty: not known */
};

/* Before the run: what it is, where, and how. */
void report_head(const struct report *r);

/* As soon as they are there: the joins; the full round of doorbells. */
void report_mesh(const struct report *r);
void report_round(const struct report *r);

/* At the end: the rest, as far as it came, and whether all was accounted for. */
void report_end(const struct report *r);

/* Each writes everything to `file`. Returns 0 or -errno. */
int report_json(const struct report *r, FILE *file);
int report_csv(const struct report *r, FILE *file);
int report_svg(const struct report *r, FILE *file);

/*
 * For these: the k-th series, added up over all processes, into *sum. False: there is none.
 * One at a time, since it is large: *sum is the caller's.
 */
bool report_series(const struct report *r, unsigned k, struct board_series *sum);

/* The same of what had a guest at one end; false where there is nothing of that. */
bool report_guests(const struct report *r, unsigned k, struct board_series *sum);

/* Medians of the rounds' ratios, ours to the bare one's: 0 if there are none. */
double report_trips_ratio(const struct report *r);
double report_share(const struct report *r, double ns[BOARD_WAYS]);

/* What a figure of this run means, in one line each, for people who were not there. NULL ends
 * them. */
#define REPORT_METHOD_MAX 8
unsigned report_method(const struct report *r, char lines[REPORT_METHOD_MAX][96]);

#endif
