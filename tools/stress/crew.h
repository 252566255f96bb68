/* SPDX-License-Identifier: MIT */
/*
 * crew.h - the parent: starts the processes of a run, watches over them, shows how far they are.
 */
#ifndef STRESS_CREW_H
#define STRESS_CREW_H

#include "board.h"
#include "options.h"
#include "report.h"
#include "server.h"
#include "verdict.h"

/* What the parent saw of the server. */
struct crew_watch {
	struct server_use before, after; /* the traffic: once all are in, and at the end */
	uint64_t memory_max_bytes;
	uint64_t seen_ns; /* between the two */
};

/*
 * Forks the board's processes, waits for their end, and reaps them all. A signal (SIGINT, SIGTERM)
 * ends the run. Returns 0, or -1 with the verdict filled in; in both cases the board holds what
 * was measured, and no process is left.
 */
int crew_run(const struct options *o, struct board *board, struct server *server,
	struct crew_watch *watch, const struct report *report, struct verdict *verdict);

#endif
