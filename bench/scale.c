/* SPDX-License-Identifier: MIT */
/*
 * scale.c - the cost of one more peer while more and more are present.
 *
 * The crowd grows from stop to stop within one fabric, so that the most expensive part, all
 * meeting all, is paid once. At each stop one more joins and leaves, again and again, and two
 * members ring each other; then a line is printed. With `hold` a line of standard input lets it
 * go on, and others may join and leave meanwhile: what is measured from outside has its turn.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "crowd.h"
#include "doorbell.h"
#include "run.h"

/* IDs that others take meanwhile. */
#define STRANGERS 8u

#define QUIET_MS 50

struct costs {
	uint64_t *ready_ns, *told_ns, *left_ns; /* of each join */
	uint64_t join_cpu_ns, leave_cpu_ns;     /* of all */
};

/* From @present to @stop, all at once. */
static int grow(struct crowd *c, const struct run *r, uint32_t present, uint32_t stop)
{
	int err = 0;

	for (uint32_t i = 0; i < present; i++)
		crowd_expect(c, i, (uint64_t)(stop - present) * r->vectors);
	for (uint32_t i = present; i < stop && !err; i++)
		err = crowd_join(c, i, (uint64_t)(stop + r->also) * r->vectors);
	return err ? err : crowd_wait(c, 0);
}

static int one_more(
	struct crowd *c, const struct run *r, uint32_t stop, struct costs *costs, uint32_t nth)
{
	uint64_t cpu_ns = clock_settled_ns(r->server), begun_ns, last_ns = 0, leaves;
	struct crowd_account a;
	int err;

	for (uint32_t i = 0; i < stop; i++)
		crowd_expect(c, i, r->vectors);
	begun_ns = clock_wall_ns();
	err = crowd_join(c, stop, (uint64_t)(stop + 1 + r->also) * r->vectors);
	if (!err)
		err = crowd_wait(c, 0);
	if (err)
		return err;
	costs->join_cpu_ns += clock_settled_ns(r->server) - cpu_ns;
	for (uint32_t i = 0; i < stop; i++)
		if (c->clients[i].goal_ns > last_ns)
			last_ns = c->clients[i].goal_ns;
	costs->ready_ns[nth] = c->clients[stop].goal_ns - begun_ns;
	costs->told_ns[nth] = last_ns - begun_ns;
	a = crowd_check(c, stop, stop + 1);
	if (a.missing || a.surplus != (uint64_t)r->also * r->vectors)
		return -EBADMSG;

	leaves = c->leaves + stop;
	cpu_ns = clock_settled_ns(r->server);
	begun_ns = clock_wall_ns();
	crowd_leave(c, stop);
	err = crowd_wait(c, leaves);
	costs->left_ns[nth] = clock_wall_ns() - begun_ns;
	costs->leave_cpu_ns += clock_settled_ns(r->server) - cpu_ns;
	return err;
}

static void print_times(const char *name, uint64_t *ns, uint32_t count)
{
	run_sort(ns, count);
	(void)printf(", \"%s_p50_ns\": %" PRIu64 ", \"%s_most_ns\": %" PRIu64, name,
		run_percentile(ns, count, 0.5), name, ns[count - 1]);
}

static int stop_at(
	struct crowd *c, const struct run *r, uint32_t stop, const int bare[2], struct costs *costs)
{
	int err = 0;

	costs->join_cpu_ns = 0;
	costs->leave_cpu_ns = 0;
	assert(r->repeat);
	for (uint32_t i = 0; i < r->repeat && !err; i++)
		err = one_more(c, r, stop, costs, i);
	if (err)
		return err;
	(void)printf(", \"joins\": %u", r->repeat);
	print_times("ready", costs->ready_ns, r->repeat);
	print_times("told", costs->told_ns, r->repeat);
	print_times("left", costs->left_ns, r->repeat);
	(void)printf(", \"join_cpu_ns\": %" PRIu64 ", \"leave_cpu_ns\": %" PRIu64,
		costs->join_cpu_ns / r->repeat, costs->leave_cpu_ns / r->repeat);
	err = doorbell_measure(c, bare, r->slices);
	(void)printf("}\n");
	(void)fflush(stdout);
	return err;
}

static int climb(struct crowd *c, const struct run *r, const int bare[2], struct costs *costs)
{
	uint32_t present = 0;
	int err = crowd_keep(c, 0);

	if (!err)
		err = crowd_keep(c, 1);
	for (uint32_t i = 0; i < r->stop_count && !err; i++) {
		uint64_t cpu_ns = clock_settled_ns(r->server), notices = c->notices;
		uint64_t begun_ns = clock_wall_ns();

		err = grow(c, r, present, r->stops[i]);
		if (err)
			break;
		present = r->stops[i];
		(void)printf("{\"scenario\": \"scale\", \"clients\": %u, \"vectors\": %u, "
			     "\"grow_notices\": %" PRIu64 ", \"grow_ns\": %" PRIu64
			     ", \"grow_cpu_ns\": %" PRIu64,
			present, r->vectors, c->notices - notices, clock_wall_ns() - begun_ns,
			clock_settled_ns(r->server) - cpu_ns);
		err = stop_at(c, r, present, bare, costs);
		if (!err && r->hold) {
			int byte;

			while ((byte = getchar()) != '\n')
				if (byte == EOF)
					return 0;
			err = crowd_drain(c, QUIET_MS);
		}
	}
	return err;
}

int scale_run(const struct run *r)
{
	uint64_t *times = calloc(3 * (size_t)r->repeat, sizeof(*times));
	struct costs costs = {times, times + r->repeat, times + 2 * (size_t)r->repeat, 0, 0};
	int bare[2], err = times ? doorbell_open(bare) : -ENOMEM;
	struct crowd c;

	if (!err)
		err = crowd_init(&c, r->socket, r->clients + 1, r->vectors,
			r->clients + 1 + STRANGERS, r->patience_ns);
	if (!err) {
		err = climb(&c, r, bare, &costs);
		crowd_destroy(&c);
	}
	free(times);
	return err;
}
