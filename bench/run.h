/* SPDX-License-Identifier: MIT */
/*
 * run.h - what one measurement is asked for, and the measurements there are.
 *
 * Each runs once, prints one line of JSON on standard output and returns 0; or it
 * returns -errno and prints nothing (an incomplete mesh is a result, not a failure).
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define STOPS_MAX 16u

struct run {
	const char *socket; /* the server's */
	pid_t server;
	uint32_t clients, vectors;
	uint32_t extras;           /* mesh: present before the storm */
	uint32_t also;             /* scale: peers besides the clients, such as the server itself */
	uint32_t stops[STOPS_MAX]; /* scale: so many present, ascending */
	uint32_t stop_count;
	uint32_t repeat;  /* join, scale: joins */
	uint32_t slices;  /* doorbell, scale: in which two members ring each other */
	uint32_t threads; /* floor: that send */
	bool deaf;        /* mesh: the extras don't read */
	bool hold;        /* mesh: stay until standard input ends; scale: a line of it a stop */
	bool unread;      /* floor: nobody reads, so only few messages fit */
	uint64_t patience_ns;
};

/** floor_run() - the bare loop: one message, one descriptor, one sendmsg(2). */
int floor_run(const struct run *r);

/** mesh_run() - all join at once, until everyone knows everyone. */
int mesh_run(const struct run *r);

/** join_run() - one more joins those who are present, and leaves, again and again. */
int join_run(const struct run *r);

/** scale_run() - more and more are present; at each stop joins, leaves and doorbells. */
int scale_run(const struct run *r);

/** doorbell_run() - two of those present ring each other, beside bare eventfds. */
int doorbell_run(const struct run *r);

/* For all of them. */

/** run_percentile() - of @count > 0 sorted @values, @p in 0..1. */
uint64_t run_percentile(const uint64_t *values, uint32_t count, double p);
void run_sort(uint64_t *values, uint32_t count);

#endif
