/* SPDX-License-Identifier: MIT */
/*
 * doorbell.c - two of those present ring each other: round trips, beside the same over bare
 * eventfds, slice by slice in turn.
 *
 * Two threads on two CPUs, asleep in poll(2) between rings, as any careful peer waits
 * (whoever holds an eventfd may have switched it to blocking). Each rings through
 * the descriptor that the server sent to it, and listens to its own.
 *
 * Bare are two eventfds of this process, the first descriptors that it ever had. But a member
 * holds thousands, each in a place of its own in its table, and after a sleep of 25 us every
 * page of the kernel's that is touched costs a walk of page tables. So there is a third way:
 * bare eventfds under numbers as far apart as the members' (`placed`).
 */
#include "doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "run.h"

/* Short slices: the host's moods last longer, so that neighbours share them. */
#define TRIPS   100u /* round trips of a slice */
#define WARM_UP 10u  /* before them, not counted */

/* Nobody waits longer for an answer. */
#define PATIENCE_MS 10000

struct table {
	int ask, heard_ask;       /* A rings, B hears */
	int answer, heard_answer; /* B rings, A hears */
};

static const char *const ways[] = {"raw", "placed", "fabric"};
#define WAYS   (sizeof(ways) / sizeof(*ways))
#define FABRIC (WAYS - 1)

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* Where it fails, all ways run unpinned alike. */
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

struct game {
	struct table tables[WAYS];
	uint32_t slices;
};

/* Whose turn is it? Who goes first changes, so that none has the better place. */
static size_t way_at(uint32_t slice, size_t turn)
{
	return (slice + (slice / WAYS % 2 ? WAYS - turn : turn)) % WAYS;
}

static void *answer_all(void *argument)
{
	const struct game *g = argument;

	pin(1);
	for (size_t n = 0; n < g->slices * WAYS; n++) {
		const struct table *t = &g->tables[way_at((uint32_t)(n / WAYS), n % WAYS)];

		for (unsigned i = 0; i < WARM_UP + TRIPS; i++)
			if (await(t->heard_ask) || ring(t->answer))
				return NULL; /* the other side sees it by its own patience */
	}
	return NULL;
}

/* One slice; its times go to @trips_ns, sorted. */
static int ask_slice(const struct table *t, uint64_t *trips_ns)
{
	int err = 0;

	for (unsigned i = 0; i < WARM_UP + TRIPS && !err; i++) {
		uint64_t begun_ns = clock_wall_ns();

		err = ring(t->ask);
		if (!err)
			err = await(t->heard_answer);
		if (i >= WARM_UP)
			trips_ns[i - WARM_UP] = clock_wall_ns() - begun_ns;
	}
	if (!err)
		run_sort(trips_ns, TRIPS);
	return err;
}

/* The fabric's slice against another's, in parts of a million, by p50: the median, and
 * between what half of them lie. */
static void print_ratios(const char *name, uint64_t *ratios, uint32_t slices)
{
	run_sort(ratios, slices);
	(void)printf(", \"%s\": %.4f, \"%s_low\": %.4f, \"%s_high\": %.4f", name,
		(double)run_percentile(ratios, slices, 0.5) / 1e6, name,
		(double)run_percentile(ratios, slices, 0.25) / 1e6, name,
		(double)run_percentile(ratios, slices, 0.75) / 1e6);
}

static void print(uint64_t *trips_ns[WAYS], uint64_t *ratios[FABRIC], uint32_t slices)
{
	uint32_t count = slices * TRIPS;

	(void)printf(", \"trips\": %u", count);
	for (size_t way = 0; way < WAYS; way++) {
		const uint64_t *ns = trips_ns[way];

		run_sort(trips_ns[way], count);
		(void)printf(", \"%s_p50_ns\": %" PRIu64 ", \"%s_p99_ns\": %" PRIu64
			     ", \"%s_p999_ns\": %" PRIu64,
			ways[way], run_percentile(ns, count, 0.5), ways[way],
			run_percentile(ns, count, 0.99), ways[way],
			run_percentile(ns, count, 0.999));
	}
	print_ratios("ratio", ratios[0], slices);
	print_ratios("placed_ratio", ratios[1], slices);
}

static int play_all(struct game *g, uint64_t *trips_ns[WAYS], uint64_t *ratios[FABRIC])
{
	pthread_t thread;
	int err = -pthread_create(&thread, NULL, answer_all, g);

	if (err)
		return err;
	for (uint32_t i = 0; i < g->slices && !err; i++) {
		for (size_t turn = 0; turn < WAYS && !err; turn++) {
			size_t way = way_at(i, turn);

			err = ask_slice(&g->tables[way], trips_ns[way] + (size_t)i * TRIPS);
		}
		for (size_t way = 0; way < FABRIC && !err; way++)
			ratios[way][i] =
				run_percentile(trips_ns[FABRIC] + (size_t)i * TRIPS, TRIPS, 0.5) *
				1000000 /
				run_percentile(trips_ns[way] + (size_t)i * TRIPS, TRIPS, 0.5);
	}
	(void)pthread_join(thread, NULL);
	return err;
}

static int play(struct game *g)
{
	uint64_t *trips_ns[WAYS] = {0}, *ratios[FABRIC] = {0};
	uint64_t *memory = calloc((size_t)g->slices * (WAYS * TRIPS + FABRIC), sizeof(*memory));
	int err;

	if (!memory)
		return -ENOMEM;
	for (size_t way = 0; way < WAYS; way++)
		trips_ns[way] = memory + way * g->slices * TRIPS;
	for (size_t way = 0; way < FABRIC; way++)
		ratios[way] = memory + WAYS * g->slices * TRIPS + way * g->slices;
	err = play_all(g, trips_ns, ratios);
	if (!err)
		print(trips_ns, ratios, g->slices);
	free(memory);
	return err;
}

/* Vector 0 of peer @of, as client @holder got it. */
static int bell(const struct crowd *c, uint32_t holder, uint32_t of)
{
	return c->clients[holder].kept[(size_t)c->clients[of].id * c->vectors];
}

/* A second number for @fd: that of a bell which @holder was told of and nobody uses here, so
 * that it lies where a member's descriptors do; any number where so few are present. */
static int place(const struct crowd *c, int fd, uint32_t holder, uint32_t of)
{
	if (of >= c->clients_max || c->clients[of].sock < 0)
		return fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return dup3(fd, bell(c, holder, of), O_CLOEXEC);
}

int doorbell_open(int bare[2])
{
	bare[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bare[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return bare[0] < 0 || bare[1] < 0 ? -errno : 0;
}

int doorbell_measure(const struct crowd *c, const int bare[2], uint32_t slices)
{
	struct game g = {
		.tables =
			{
				{bare[1], bare[1], bare[0], bare[0]},
				{place(c, bare[1], 0, 2), place(c, bare[1], 1, 2),
					place(c, bare[0], 1, 3), place(c, bare[0], 0, 3)},
				{bell(c, 0, 1), bell(c, 1, 1), bell(c, 1, 0), bell(c, 0, 0)},
			},
		.slices = slices,
	};
	const struct table *placed = &g.tables[1];
	cpu_set_t before;
	int err;

	if (placed->ask < 0 || placed->heard_ask < 0 || placed->answer < 0 ||
		placed->heard_answer < 0)
		return -EMFILE;
	(void)pthread_getaffinity_np(pthread_self(), sizeof(before), &before);
	pin(0);
	err = play(&g);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
	return err;
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

int doorbell_run(const struct run *r)
{
	int bare[2];
	struct crowd c;
	int err = doorbell_open(bare);

	if (r->clients < 2)
		err = -EINVAL;
	if (err)
		return err;
	err = crowd_init(&c, r->socket, r->clients, r->vectors, r->clients + 2, r->patience_ns);
	if (err)
		return err;
	err = join_all(&c, r);
	if (!err) {
		(void)printf("{\"scenario\": \"doorbell\", \"clients\": %u, \"vectors\": %u",
			r->clients, r->vectors);
		err = doorbell_measure(&c, bare, r->slices);
		(void)printf("}\n");
	}
	crowd_destroy(&c);
	return err;
}
