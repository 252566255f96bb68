/* SPDX-License-Identifier: MIT */
/*
 * doorbell.c - two of those present ring each other: round trips, beside the same
 * over two bare eventfds, slice by slice in turn.
 *
 * Two threads on two CPUs, asleep in poll(2) between rings, as any careful peer waits
 * (whoever holds an eventfd may have switched it to blocking). Each rings through
 * the descriptor that the server sent to it, and listens to its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "crowd.h"
#include "run.h"

#define TRIPS   2000 /* round trips of a slice */
#define WARM_UP 200  /* before them, not counted */

/* Nobody waits longer for an answer. */
#define PATIENCE_MS 10000

struct table {
	int ask, heard_ask;       /* A rings, B hears */
	int answer, heard_answer; /* B rings, A hears */
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* Where it fails, both ways run unpinned alike. */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static int ring(int bell)
{
	uint64_t one = 1;

	return write(bell, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

static int await(int bell)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};
	uint64_t count;

	for (;;) {
		int n = poll(&fd, 1, PATIENCE_MS);

		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (read(bell, &count, sizeof(count)) == sizeof(count))
			return 0;
		if (errno != EAGAIN)
			return -errno;
	}
}

static void *answer_all(void *argument)
{
	const struct table *t = argument;

	pin(1);
	for (unsigned i = 0; i < WARM_UP + TRIPS; i++)
		if (await(t->heard_ask) || ring(t->answer))
			break; /* the other side sees it by its own patience */
	return NULL;
}

/* One slice; its times go to @trips_ns, sorted. */
static int play(struct table *t, uint64_t *trips_ns)
{
	pthread_t thread;
	int err = -pthread_create(&thread, NULL, answer_all, t);

	if (err)
		return err;
	for (unsigned i = 0; i < WARM_UP + TRIPS && !err; i++) {
		uint64_t begun_ns = clock_wall_ns();

		err = ring(t->ask);
		if (!err)
			err = await(t->heard_answer);
		if (i >= WARM_UP)
			trips_ns[i - WARM_UP] = clock_wall_ns() - begun_ns;
	}
	(void)pthread_join(thread, NULL);
	if (!err)
		run_sort(trips_ns, TRIPS);
	return err;
}

/* Vector 0 of peer @of, as client @holder got it. */
static int bell(const struct crowd *c, uint32_t holder, uint32_t of)
{
	return c->clients[holder].kept[(size_t)c->clients[of].id * c->vectors];
}

static int join_all(struct crowd *c, const struct run *r)
{
	int err = crowd_keep(c, 0);

	if (!err)
		err = crowd_keep(c, 1);
	for (uint32_t i = 0; i < r->clients && !err; i++)
		err = crowd_join(c, i, (uint64_t)r->clients * r->vectors);
	return err ? err : crowd_wait(c, 0);
}

static void print(const struct run *r, uint64_t *raw_ns, uint64_t *fabric_ns)
{
	uint32_t count = r->repeat * TRIPS;

	run_sort(raw_ns, count);
	run_sort(fabric_ns, count);
	(void)printf("{\"scenario\": \"doorbell\", \"clients\": %u, \"vectors\": %u, \"trips\": %u",
		r->clients, r->vectors, count);
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t *ns = i ? fabric_ns : raw_ns;
		const char *name = i ? "fabric" : "raw";

		(void)printf(", \"%s_p50_ns\": %" PRIu64 ", \"%s_p99_ns\": %" PRIu64
			     ", \"%s_p999_ns\": %" PRIu64,
			name, run_percentile(ns, count, 0.5), name, run_percentile(ns, count, 0.99),
			name, run_percentile(ns, count, 0.999));
	}
}

static int play_slices(const struct run *r, struct table *raw, struct table *fabric)
{
	size_t trips = (size_t)r->repeat * TRIPS;
	uint64_t *raw_ns = calloc(trips, sizeof(*raw_ns));
	uint64_t *fabric_ns = calloc(trips, sizeof(*fabric_ns));
	uint64_t *ratios = calloc(r->repeat, sizeof(*ratios)); /* parts in a million */
	int err = raw_ns && fabric_ns && ratios ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < r->repeat && !err; i++) {
		uint64_t *a = &raw_ns[(size_t)i * TRIPS], *b = &fabric_ns[(size_t)i * TRIPS];

		/* Who goes first changes, so that neither has the better place. */
		err = i % 2 ? play(fabric, b) : play(raw, a);
		if (!err)
			err = i % 2 ? play(raw, a) : play(fabric, b);
		if (!err)
			ratios[i] = run_percentile(b, TRIPS, 0.5) * 1000000 /
				    run_percentile(a, TRIPS, 0.5);
	}
	if (!err) {
		print(r, raw_ns, fabric_ns);
		run_sort(ratios, r->repeat);
		(void)printf(", \"ratio\": %.4f, \"ratio_low\": %.4f, \"ratio_high\": %.4f}\n",
			(double)run_percentile(ratios, r->repeat, 0.5) / 1e6,
			(double)ratios[0] / 1e6, (double)ratios[r->repeat - 1] / 1e6);
	}
	free(ratios);
	free(fabric_ns);
	free(raw_ns);
	return err;
}

int doorbell_run(const struct run *r)
{
	struct table raw, fabric;
	struct crowd c;
	int bells[2] = {
		eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	int err;

	if (r->clients < 2 || bells[0] < 0 || bells[1] < 0)
		return -EINVAL;
	err = crowd_init(&c, r->socket, r->clients, r->vectors, r->clients + 2, r->patience_ns);
	if (err)
		goto out;
	err = join_all(&c, r);
	if (err)
		goto undo_crowd;
	raw = (struct table){bells[0], bells[0], bells[1], bells[1]};
	fabric = (struct table){bell(&c, 0, 1), bell(&c, 1, 1), bell(&c, 1, 0), bell(&c, 0, 0)};
	pin(0);
	err = play_slices(r, &raw, &fabric);
undo_crowd:
	crowd_destroy(&c);
out:
	(void)close(bells[0]);
	(void)close(bells[1]);
	return err;
}
