/* SPDX-License-Identifier: MIT */
/*
 * latency.c - doorbell round trips, beside those of bare eventfds.
 *
 * The calling thread asks, a second one, started for each slice, answers. Both
 * wait as any careful peer does: poll first (whoever holds an eventfd may have
 * switched it to blocking), then read. A wait wakes up once a second to see
 * whether the other side gave up; nothing here can hang.
 */
#include "latency.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOK_UP_MS 1000

struct table {      /* the two threads play across it; it outlives both */
	int ask;    /* eventfd that wakes the answering thread */
	int answer; /* eventfd that wakes the asking thread */
	int cpus[2];
	uint64_t patience_ns;
	_Atomic bool stop; /* either thread: no more. A flag alone, nothing is published by it */
	uint64_t merged;   /* answering thread: rings that came as one; read after the join */
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* If it fails (a CPU just went away) both ways run unpinned alike. */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static int ring(int bell)
{
	uint64_t one = 1;

	return write(bell, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

/* Returns how many rings had come, or -ECANCELED (told to stop), -ETIMEDOUT, -errno. */
static int64_t await(struct table *table, int bell)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};
	uint64_t count, since_ns = 0;

	for (;;) {
		int n = poll(&fd, 1, LOOK_UP_MS);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			if (read(bell, &count, sizeof(count)) == sizeof(count))
				return (int64_t)count;
			if (errno != EAGAIN)
				return -errno;
		}
		if (atomic_load(&table->stop)) /* S1 in measure(), S2 in answer() */
			return -ECANCELED;
		if (since_ns == 0)
			since_ns = progress_now_ns();
		else if (progress_now_ns() - since_ns > table->patience_ns)
			return -ETIMEDOUT;
	}
}

static void *answer(void *context)
{
	struct table *table = context;

	pin(table->cpus[1]);
	for (;;) {
		int64_t count = await(table, table->ask);

		if (count < 0 || atomic_load(&table->stop))
			break;
		table->merged += (uint64_t)count - 1;
		if (ring(table->answer))
			break;
	}
	/* S2: the asking thread must not wait for an answer that won't come. */
	atomic_store(&table->stop, true);
	return NULL;
}

/* One slice. Returns 0 or -errno; -ETIMEDOUT: a ring was lost. */
static int measure(struct table *table, struct histogram *into)
{
	uint64_t begun_ns = progress_now_ns(), asked_ns, answered_ns, merged = 0;
	unsigned warm_up = LATENCY_WARM_UP;
	int64_t count;
	pthread_t thread;
	int err;

	table->merged = 0;
	atomic_store(&table->stop, false);
	err = -pthread_create(&thread, NULL, answer, table);
	if (err)
		return err;
	do {
		asked_ns = progress_now_ns();
		err = ring(table->ask);
		if (err)
			break;
		count = await(table, table->answer);
		answered_ns = progress_now_ns();
		if (count < 0) {
			err = (int)count;
			break;
		}
		merged += (uint64_t)count - 1;
		if (warm_up > 0)
			warm_up--;
		else
			histogram_record(into, answered_ns - asked_ns);
	} while (answered_ns - begun_ns < LATENCY_SLICE_NS || into->count == 0);

	/* S1: then a ring, so that a sleeping thread sees it at once. */
	atomic_store(&table->stop, true);
	(void)ring(table->ask);           /* if it fails, the thread looks up within a second */
	(void)pthread_join(thread, NULL); /* cannot fail: joined once, by its creator */
	if (err == -ECANCELED)
		err = -ETIMEDOUT; /* the other side gave up first */
	if (!err && merged + table->merged > 0)
		err = -EBADMSG;
	return err;
}

/* Empties an eventfd: the last ring that ended a slice, if nobody read it. */
static void drain(int bell)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};
	uint64_t count;

	if (poll(&fd, 1, 0) > 0)
		(void)!read(bell, &count, sizeof(count)); /* empty after all: fine */
}

static int measure_raw(struct table *table, struct histogram *into)
{
	int err = 0;

	table->ask = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	table->answer = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (table->ask < 0 || table->answer < 0)
		err = -errno;
	else
		err = measure(table, into);
	if (table->ask >= 0)
		(void)close(table->ask); /* an eventfd's close has nothing to report */
	if (table->answer >= 0)
		(void)close(table->answer);
	return err;
}

static int measure_fabric(
	struct fleet *fleet, struct table *table, struct dice *dice, struct histogram *into)
{
	unsigned n = fleet->config.peers, vector = dice_below(dice, fleet->vectors);
	unsigned a = dice_below(dice, n), b = (a + 1 + dice_below(dice, n - 1)) % n;
	int err;

	table->answer = fleet_bell(fleet, a, vector);
	table->ask = fleet_bell(fleet, b, vector);
	if (table->answer < 0 || table->ask < 0)
		return table->answer < 0 ? table->answer : table->ask;
	drain(table->answer);
	drain(table->ask);
	err = measure(table, into);
	drain(table->answer);
	drain(table->ask);
	if (err)
		(void)verdict_give(fleet->verdict, VERDICT_LOST,
			err == -ETIMEDOUT
				? "a doorbell between peers %d and %d, vector %u, was lost "
				  "during the round trips"
			: err == -EBADMSG ? "strangers rang peers %d and %d, vector %u, during the "
					    "round trips"
					  : "peers %d and %d cannot ring each other, vector %u",
			fleet->vms[a].id, fleet->vms[b].id, vector);
	return err;
}

/* The first two CPUs that we may use. */
static void choose_cpus(const cpu_set_t *allowed, int cpus[2])
{
	int found = 0;

	cpus[0] = cpus[1] = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
		if (!CPU_ISSET(cpu, allowed))
			continue;
		if (found == 0)
			cpus[0] = cpu;
		cpus[1] = cpu;
		found++;
	}
}

int latency_run(struct fleet *fleet, double seconds, struct dice *dice, struct progress *progress,
	struct latency_result *result)
{
	unsigned rounds = (unsigned)(seconds * 1e9 / (double)(LATENCY_WAYS * LATENCY_SLICE_NS));
	struct table table = {.patience_ns = fleet->config.patience_ns};
	struct histogram *slice = malloc(sizeof(*slice));
	cpu_set_t allowed;
	int err = 0;

	rounds = rounds ? rounds : 1;
	for (int way = 0; way < LATENCY_WAYS; way++)
		histogram_init(&result->ways[way]);
	result->rounds_done = 0;
	result->rounds = calloc(rounds, sizeof(*result->rounds));
	if (!slice || !result->rounds) {
		free(slice);
		return verdict_give(fleet->verdict, VERDICT_LOST, "out of memory");
	}
	CPU_ZERO(&allowed);
	(void)pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed); /* else CPU 0 */
	choose_cpus(&allowed, result->cpus);
	memcpy(table.cpus, result->cpus, sizeof(table.cpus));
	pin(table.cpus[0]);
	progress_begin(progress);
	while (result->rounds_done < rounds && !err) {
		struct latency_round *round = &result->rounds[result->rounds_done];

		for (int turn = 0; turn < LATENCY_WAYS && !err; turn++) {
			int way = (turn + (int)result->rounds_done) % LATENCY_WAYS;

			histogram_init(slice);
			err = way == LATENCY_RAW ? measure_raw(&table, slice)
						 : measure_fabric(fleet, &table, dice, slice);
			round->p50_ns[way] = histogram_quantile(slice, 0.5);
			histogram_merge(&result->ways[way], slice);
		}
		if (!err)
			result->rounds_done++;
		/* Peers ring on without a server: that it is gone must be looked for. */
		if (!err && fleet_turn(fleet, 0))
			err = -ECANCELED;
		if (progress_due(progress))
			progress_show(progress,
				"round trips: round %u of %u, p50 %.1f us, raw eventfd %.1f us",
				result->rounds_done, rounds,
				(double)histogram_quantile(&result->ways[LATENCY_FABRIC], 0.5) /
					1e3,
				(double)histogram_quantile(&result->ways[LATENCY_RAW], 0.5) / 1e3);
	}
	progress_end(progress);
	if (CPU_COUNT(&allowed) > 0)
		(void)pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	free(slice);
	if (err)
		return verdict_give(fleet->verdict, VERDICT_LOST, "the round trips broke off: %s",
			strerror(-err));
	return 0;
}
