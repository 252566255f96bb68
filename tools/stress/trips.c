/* SPDX-License-Identifier: MIT */
/*
 * trips.c - doorbell round trips, beside those of bare eventfds.
 *
 * The calling thread asks, a second one, started for each slice, answers. Both
 * wait as any careful peer does: poll first (whoever holds an eventfd may have
 * switched it to blocking), then read. A wait wakes up once a second to see
 * whether the other side gave up; nothing here can hang.
 */
#include "trips.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker.h"

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
	unsigned warm_up = TRIPS_WARM_UP;
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
	} while (answered_ns - begun_ns < TRIPS_SLICE_NS || into->count == 0);

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

/* The two VMs' bells, out of everybody else's sight meanwhile. */
static int measure_fabric(struct worker *w, struct table *table, struct histogram *into)
{
	unsigned n = w->fleet.mine, vector = dice_below(&w->dice, w->fleet.vectors);
	unsigned x = dice_below(&w->dice, n), y = (x + 1 + dice_below(&w->dice, n - 1)) % n;
	unsigned a = fleet_number(&w->fleet, x), b = fleet_number(&w->fleet, y);
	int err;

	if (bells_deafen(&w->bells, a, true) || bells_deafen(&w->bells, b, true))
		return -ECANCELED;
	table->answer = fleet_bell(&w->fleet, a, vector);
	table->ask = fleet_bell(&w->fleet, b, vector);
	drain(table->answer);
	drain(table->ask);
	err = measure(table, into);
	drain(table->answer);
	drain(table->ask);
	if (bells_deafen(&w->bells, a, false) || bells_deafen(&w->bells, b, false))
		return -ECANCELED;
	if (err)
		(void)verdict_give(&w->verdict, VERDICT_LOST,
			err == -ETIMEDOUT
				? "a doorbell between peers %d and %d, vector %u, was lost "
				  "during the round trips"
			: err == -EBADMSG ? "strangers rang peers %d and %d, vector %u, during the "
					    "round trips"
					  : "peers %d and %d cannot ring each other, vector %u",
			board_id(w->board, a), board_id(w->board, b), vector);
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

/* One round: fabric, raw, raw, fabric, or the other way round, so that no way is always first. */
static int one_round(struct worker *w, struct table *table, struct histogram slices[BOARD_WAYS])
{
	struct board_trips *t = &w->board->trips;
	unsigned first = t->rounds % 2;

	for (int way = 0; way < BOARD_WAYS; way++)
		histogram_init(&slices[way]);
	for (unsigned turn = 0; turn < 2 * BOARD_WAYS; turn++) {
		unsigned way = (turn == 0 || turn == 3) ? first : 1 - first;
		int err = way == BOARD_RAW ? measure_raw(table, &slices[way])
					   : measure_fabric(w, table, &slices[way]);

		if (err)
			return err;
	}
	for (int way = 0; way < BOARD_WAYS; way++) {
		if (t->rounds < BOARD_ROUNDS_MAX)
			t->p50_ns[t->rounds][way] = histogram_quantile(&slices[way], 0.5);
		histogram_merge(&t->ways[way], &slices[way]);
	}
	t->rounds++;
	return 0;
}

static int trips(struct worker *w)
{
	static struct histogram slices[BOARD_WAYS];
	struct board_trips *t = &w->board->trips;
	struct table table = {.patience_ns = worker_patience_ns(w)};
	uint64_t end_ns = progress_now_ns() + (uint64_t)(w->options->time_s * 1e9);
	cpu_set_t allowed;
	int err = 0;

	for (int way = 0; way < BOARD_WAYS; way++)
		histogram_init(&t->ways[way]);
	t->rounds = 0;
	CPU_ZERO(&allowed);
	(void)pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed); /* else CPU 0 */
	choose_cpus(&allowed, t->cpus);
	memcpy(table.cpus, t->cpus, sizeof(table.cpus));
	pin(table.cpus[0]);
	do {
		err = one_round(w, &table, slices);
		/* Peers ring on without a server: that it is gone must be looked for. */
		if (!err && (worker_look(w) || fleet_glance(&w->fleet, w->fleet.mine)))
			err = -ECANCELED;
		board_snapshot(w->board, w->process, &t->ways[BOARD_FABRIC]);
	} while (!err && progress_now_ns() < end_ns);
	if (CPU_COUNT(&allowed) > 0)
		(void)pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	if (err && err != -ECANCELED)
		return verdict_give(
			&w->verdict, VERDICT_LOST, "the round trips broke off: %s", strerror(-err));
	return err ? -1 : 0;
}

/* The conductor's companions ring guests meanwhile, and nobody else does anything. */
static int guests_trips(struct worker *w)
{
	struct board_guests *g = &w->board->guests;
	uint64_t end_ns = progress_now_ns() + (uint64_t)(w->options->time_s * 1e9);
	int err = 0;

	atomic_store(&w->board->doing, "round trips to real VMs");
	atomic_store(&g->bells, BOARD_TRIPS);
	while (!err && (progress_now_ns() < end_ns || atomic_load(&g->bells_seen))) {
		if (progress_now_ns() >= end_ns)
			atomic_store(&g->bells, 0);
		(void)poll(NULL, 0, 1);
		err = worker_look(w);
	}
	return err;
}

int trips_run(struct worker *w)
{
	int err = 0;

	if (w->process == 0 && w->fleet.mine > 1 && !w->fleet.config.devices) {
		atomic_store(&w->board->doing, "round trips beside bare eventfds");
		err = trips(w);
		if (!err)
			err = share_run(w);
		if (!err && w->board->guests.count)
			err = guests_trips(w);
	}
	/* The others only wait. */
	return err ? -1 : worker_meet(w);
}
