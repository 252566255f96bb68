/* SPDX-License-Identifier: MIT */
/*
 * stress.c - two who send to each other through lanes of 4 KiB, and wait for each other all the
 * time: by two threads, then by two processes.
 *
 *     lane_stress [--messages N] [--seed N] [--hang-ms N] [threads|processes]
 *
 * Both directions, with pauses drawn at random before one sleeps: in a one-way stream the next
 * message hides a lost wake-up. Nobody ticks here: a wake-up that is lost is a sleep that never
 * ends, and after 60 s of it the test fails. Every message is checked, byte for byte.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "box.h"

enum {
	SIDES = 2,
	LANE = 4096,
	PAYLOAD_MAX = LANE / 2 - 8 - 16,
	AHEAD = 12,  /* nobody says more than this many beyond what he heard: so both must wait */
	LOOKS = 200, /* so many that find nothing before one sleeps, at most: some ends of it fall
		      * just where the other speaks */
};

struct side {
	uint32_t id;
	uint64_t dice;
	int bells[SIDES];
	struct famez_tx tx;
	struct famez_rx rx;
	struct famez_inbox_reader inbox;
	uint32_t sent, heard, patience, ahead;
	uint64_t sleeps, full;
	const char *failure;
};

static struct box box;
static uint32_t messages = 100000;
static uint64_t first_seed = 1;
static int hang_ms = 60000;

static uint32_t dice(struct side *s, uint32_t sides)
{
	s->dice ^= s->dice << 13;
	s->dice ^= s->dice >> 7;
	s->dice ^= s->dice << 17;
	return (uint32_t)(s->dice >> 32) % sides;
}

static void pause_at_random(struct side *s)
{
	uint32_t length = 1u << dice(s, 9);

	if (dice(s, 3))
		return;
	for (uint32_t n = 0; n < length; n++)
		atomic_signal_fence(memory_order_seq_cst); /* a loop that stays */
	if (dice(s, 64) == 0)
		(void)sched_yield();
}

static uint32_t size_of(uint32_t from, uint32_t number)
{
	uint32_t mixed = (number + from * 77) * 2654435761u;

	return 8 + (mixed >> 8) % (mixed & 1 ? 64 : PAYLOAD_MAX - 7);
}

static void ring(int bell)
{
	uint64_t one = 1;

	if (write(bell, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		abort(); /* EAGAIN: it is full, so it rings already */
}

static struct famez_rx *open_lane(struct famez_inbox_reader *r, uint32_t sender)
{
	struct side *s = (struct side *)((char *)r - offsetof(struct side, inbox));

	return sender == s->id ? NULL : &s->rx;
}

static void ring_sender(struct famez_inbox_reader *r, uint32_t sender)
{
	struct side *s = (struct side *)((char *)r - offsetof(struct side, inbox));

	ring(s->bells[sender]);
}

static void nudge(struct side *s)
{
	if (famez_nudge(box.base, &box.g, 1 - s->id, s->id, &s->tx.rung)) {
		s->tx.rings++;
		pause_at_random(s);
		ring(s->bells[1 - s->id]);
	}
}

static void flush(struct side *s)
{
	if (famez_tx_flush(&s->tx))
		nudge(s);
}

static bool put(struct side *s)
{
	uint32_t bytes = size_of(s->id, s->sent);
	void *payload;

	if (famez_tx_claim(&s->tx, bytes, &payload) != 0)
		return false;
	memset(payload, (int)(s->sent & 0xff), bytes);
	memcpy(payload, &s->sent, sizeof(s->sent));
	famez_tx_commit(&s->tx, bytes, FAMEZ_TYPE_DATA, (uint16_t)s->id);
	s->sent++;
	return true;
}

static bool sound(const struct side *s, const struct famez_seen *m)
{
	const unsigned char *payload = m->payload;
	uint32_t number;

	if (m->bytes != size_of(1 - s->id, s->heard) || m->from != 1 || m->origin != 1 - s->id)
		return false;
	memcpy(&number, payload, sizeof(number));
	for (uint32_t i = sizeof(number); i < m->bytes; i++)
		if (payload[i] != (s->heard & 0xff))
			return false;
	return number == s->heard;
}

static void hear_all(struct side *s)
{
	struct famez_seen m;
	struct famez_rx *rx;
	int got;

	while ((got = famez_inbox_next(&s->inbox, &m, &rx)) != 0) {
		if (got < 0 || !sound(s, &m)) {
			s->failure = got < 0 ? "a lane was garbled" : "a message was garbled";
			return;
		}
		s->heard++;
		famez_inbox_release(&s->inbox, rx);
		if (dice(s, 16) == 0)
			return;
	}
}

/* Until somebody rings. */
static void rest(struct side *s)
{
	struct pollfd bell = {.fd = s->bells[s->id], .events = POLLIN};
	uint64_t count;

	pause_at_random(s);
	s->sleeps++;
	if (poll(&bell, 1, hang_ms) != 1) {
		s->failure = "a wake-up was lost";
		return;
	}
	famez_inbox_awake(&s->inbox);
	pause_at_random(s);
	if (read(s->bells[s->id], &count, sizeof(count)) != sizeof(count))
		s->failure = "the doorbell rang and was not rung";
}

static void run(struct side *s)
{
	uint32_t other = 1 - s->id;

	famez_tx_open(&s->tx, box.base, &box.g, other, s->id, 1, 1);
	famez_rx_open(&s->rx, box.base, &box.g, s->id, other, 1);
	s->inbox = (struct famez_inbox_reader){.base = box.base,
		.g = &box.g,
		.id = s->id,
		.shards = 1,
		.open = open_lane,
		.ring = ring_sender};
	s->ahead = 1;
	while (!s->failure && (s->sent < messages || s->heard < messages)) {
		bool full = false, may;

		hear_all(s);
		while (s->sent < messages && s->sent < s->heard + s->ahead) {
			full = !put(s);
			if (full || dice(s, 8) == 0)
				break;
			if (dice(s, 3) == 0)
				flush(s);
		}
		flush(s);
		may = s->sent < messages && s->sent < s->heard + s->ahead && !full;
		if (may || (s->sent == messages && s->heard == messages) || s->patience-- > 0)
			continue;
		s->patience = dice(s, LOOKS);
		if (dice(s, 256) == 0)
			s->ahead = 1 + (dice(s, 2) ? dice(s, AHEAD) : 0);
		if (dice(s, 4) == 0)
			s->rx.empty = FAMEZ_EMPTY_MAX - 1; /* so that lanes go out of hand */
		pause_at_random(s);
		s->full += full;
		if (full && famez_tx_wait(&s->tx, size_of(s->id, s->sent)))
			continue;
		if (full)
			nudge(s);
		pause_at_random(s);
		if (!famez_inbox_sleep(&s->inbox))
			rest(s);
	}
	/* The other may still wait for room. */
	if (!s->failure && (famez_rx_idle(&s->rx) & FAMEZ_IDLE_RING))
		ring(s->bells[other]);
	if (!s->failure && s->rx.garbled + s->tx.garbled)
		s->failure = "a lane was taken for garbled";
}

static void *run_thread(void *side)
{
	run(side);
	return NULL;
}

static bool told(const struct side *s)
{
	if (s->failure)
		fprintf(stderr, "side %u: %s; sent %u, heard %u of %u\n", s->id, s->failure,
			s->sent, s->heard, messages);
	else
		fprintf(stderr, "side %u: %llu sleeps, %llu times full, %llu rings\n", s->id,
			(unsigned long long)s->sleeps, (unsigned long long)s->full,
			(unsigned long long)s->tx.rings);
	return !s->failure;
}

static void begin(struct side *sides)
{
	box_wipe(&box);
	for (uint32_t i = 0; i < SIDES; i++) {
		sides[i] = (struct side){.id = i, .dice = first_seed * 2 + i + 1};
		sides[i].bells[0] = i ? sides[0].bells[0] : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		sides[i].bells[1] = i ? sides[0].bells[1] : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (sides[i].bells[0] < 0 || sides[i].bells[1] < 0)
			abort();
	}
}

static void end(struct side *sides)
{
	(void)close(sides[0].bells[0]);
	(void)close(sides[0].bells[1]);
}

static bool by_threads(void)
{
	struct side sides[SIDES];
	pthread_t threads[SIDES];
	bool ok;

	begin(sides);
	for (uint32_t i = 0; i < SIDES; i++)
		if (pthread_create(&threads[i], NULL, run_thread, &sides[i]))
			abort();
	for (uint32_t i = 0; i < SIDES; i++)
		(void)pthread_join(threads[i], NULL);
	ok = told(&sides[0]);
	ok = told(&sides[1]) && ok;
	end(sides);
	return ok;
}

static bool by_processes(void)
{
	struct side sides[SIDES];
	int status = 1;
	pid_t child;
	bool ok;

	begin(sides);
	child = fork();
	if (child < 0)
		abort();
	if (child == 0) {
		run(&sides[1]);
		_exit(told(&sides[1]) ? 0 : 1);
	}
	run(&sides[0]);
	ok = told(&sides[0]);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			abort();
	end(sides);
	return ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *arg, *name;
		bool (*run)(void);
	} tests[] = {
		{"threads", "two_threads_who_wait_for_each_other_miss_nothing", by_threads},
		{"processes", "two_processes_who_wait_for_each_other_miss_nothing", by_processes},
	};
	const char *only = NULL;
	unsigned passed = 0, failed = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--messages") == 0 && i + 1 < argc)
			messages = (uint32_t)strtoul(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			first_seed = strtoull(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--hang-ms") == 0 && i + 1 < argc)
			hang_ms = (int)strtol(argv[++i], NULL, 0);
		else
			only = argv[i];
	}
	box_fabric(&box, SIDES, LANE);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		bool ok;

		if (only && strcmp(only, tests[i].arg) != 0)
			continue;
		ok = tests[i].run();
		printf("%s %s\n", ok ? "ok" : "FAIL", tests[i].name);
		fflush(stdout);
		passed += ok;
		failed += !ok;
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
