/* SPDX-License-Identifier: MIT */
/*
 * exchange.c - one of two peers who send each other messages of all sizes, both at once.
 *
 *     famez-vm-exchange PATH NAME PEER COUNT IDLE_MS
 *
 * PATH is what famez_join() takes: a device in a guest, a socket on the host. NAME is ours in the
 * directory, PEER the other one's; who comes first waits. Each side knows from the names what the
 * other one sends: sizes from 1 byte to the largest that a lane takes, and every byte. So a message
 * that is lost, doubled, reordered or altered ends it. Then it sits there for IDLE_MS and says what
 * that took of it. Prints one line of JSON. One thread, as a program of events would be written:
 * nothing here waits but poll(2).
 */
#include "famez/peer.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* The other side may boot still, or be emulated. */
#define HANG_MS 120000
/* Messages taken until we send again, and the other way round. */
#define TURN 64u

struct way {
	uint64_t seed;
	uint32_t messages;
	uint64_t bytes, sum;
	uint32_t smallest, largest;
};

struct exchange {
	struct famez *f;
	struct famez_to to;
	uint32_t count;
	size_t most;
	unsigned char *payload; /* as many bytes as the largest message */
	struct way sent, received;
};

static __attribute__((noreturn)) void die(const char *what, int err)
{
	(void)fprintf(stderr, "famez-vm-exchange: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static int64_t now_ms(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t); /* these clocks are there */
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- what is sent ------------------------------------------------------------------------ */

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

static uint64_t seed_of(const char *name)
{
	uint64_t seed = 0;

	for (; *name; name++)
		seed = mix(seed + (unsigned char)*name);
	return seed;
}

/* Bytes of message @n of one way: both ends of the range first, then mostly short ones. */
static uint32_t size_of(const struct exchange *e, uint64_t seed, uint32_t n)
{
	uint64_t random = mix(seed ^ n);

	if (n < 2)
		return n ? (uint32_t)e->most : 1;
	return 1 + (uint32_t)(random >> 8) % (random % 64 ? 300 : (uint32_t)e->most);
}

static void fill(unsigned char *to, uint64_t seed, uint32_t n, uint32_t bytes)
{
	uint64_t word = mix(seed + n), step = mix(word) | 1;

	for (uint32_t at = 0; at < bytes; at += sizeof(word), word += step)
		memcpy(to + at, &word, bytes - at < sizeof(word) ? bytes - at : sizeof(word));
}

static void count(struct way *w, const unsigned char *payload, uint32_t bytes)
{
	for (uint32_t at = 0; at < bytes; at++)
		w->sum = (w->sum ^ payload[at]) * UINT64_C(0x100000001b3);
	if (!w->messages || bytes < w->smallest)
		w->smallest = bytes;
	if (bytes > w->largest)
		w->largest = bytes;
	w->messages++;
	w->bytes += bytes;
}

/* True: some went. */
static bool send_some(struct exchange *e)
{
	struct way *w = &e->sent;
	uint32_t before = w->messages;

	while (w->messages < e->count && w->messages - before < TURN) {
		uint32_t bytes = size_of(e, w->seed, w->messages);
		int err;

		fill(e->payload, w->seed, w->messages, bytes);
		err = famez_send(e->f, &e->to, e->payload, bytes, 0, 0);
		if (err == -EAGAIN)
			break;
		if (err)
			die("sending", err);
		count(w, e->payload, bytes);
	}
	return w->messages != before;
}

/* True: some came. */
static bool take_some(struct exchange *e)
{
	struct way *w = &e->received;
	uint32_t before = w->messages;
	struct famez_message m;

	while (w->messages - before < TURN && famez_peek(e->f, &m) == 1) {
		uint32_t bytes = size_of(e, w->seed, w->messages);

		/* The server's word to who has just come is no part of it. */
		if (m.from == e->to.peer) {
			fill(e->payload, w->seed, w->messages, bytes);
			if (w->messages == e->count || m.bytes != bytes ||
				memcmp(m.payload, e->payload, bytes) != 0)
				die("a message is not the one that was due", EBADMSG);
			count(w, m.payload, bytes);
		}
		famez_release(e->f);
	}
	return w->messages != before;
}

/* ---- who, and when ----------------------------------------------------------------------- */

/* Until something may have changed, or for @ms; -1: as long as it takes, within reason. */
static void wait(struct exchange *e, int ms)
{
	struct pollfd more = {.fd = famez_fd(e->f), .events = POLLIN};
	struct famez_event event;
	int got;

	while ((got = famez_next(e->f, &event)) > 0) {
		if (event.kind == FAMEZ_EVENT_LOST || event.kind == FAMEZ_EVENT_GARBLED)
			die("the fabric", EPIPE);
		if (event.kind == FAMEZ_EVENT_MESSAGE)
			return;
	}
	if (got < 0)
		die("famez_next", got);
	if (poll(&more, 1, ms < 0 ? HANG_MS : ms) == 0 && ms < 0)
		die("nothing comes any more", ETIMEDOUT);
}

static void meet(struct exchange *e, const char *name)
{
	int64_t until = now_ms(CLOCK_MONOTONIC) + HANG_MS;
	struct famez_who who;
	int id;

	while ((id = famez_who_named(e->f, name)) < 0 || famez_who(e->f, (uint16_t)id, &who) ||
		!who.lanes || !famez_vectors(e->f, (uint16_t)id)) {
		if (now_ms(CLOCK_MONOTONIC) > until)
			die(name, ETIMEDOUT);
		wait(e, 100);
	}
	e->to.peer = (uint16_t)id;
}

/* Nothing comes: what does it take to wait for it? */
static void idle(struct exchange *e, int ms)
{
	int64_t begun = now_ms(CLOCK_MONOTONIC), cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID), left;
	struct rusage before, after;

	(void)getrusage(RUSAGE_SELF, &before);
	while ((left = begun + ms - now_ms(CLOCK_MONOTONIC)) > 0) {
		if (take_some(e))
			die("a message more than was due", EBADMSG);
		wait(e, (int)left);
	}
	(void)getrusage(RUSAGE_SELF, &after);
	(void)printf("\"idle_ms\":%" PRId64 ",\"idle_cpu_ms\":%" PRId64 ",\"idle_sleeps\":%ld}\n",
		now_ms(CLOCK_MONOTONIC) - begun, now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu,
		after.ru_nvcsw - before.ru_nvcsw);
}

static void print_way(const char *name, const struct way *w)
{
	(void)printf("\"%s\":{\"messages\":%u,\"bytes\":%" PRIu64
		     ",\"smallest\":%u,\"largest\":%u,\"sum\":\"%016" PRIx64 "\"},",
		name, w->messages, w->bytes, w->smallest, w->largest, w->sum);
}

int main(int argc, char **argv)
{
	struct famez_join how = {.timeout_ms = HANG_MS};
	struct famez_mailbox mailbox = {.watch = 1};
	static struct exchange e; /* with a payload that ends with us */
	int err;

	if (argc != 6) {
		(void)fputs("usage: famez-vm-exchange PATH NAME PEER COUNT IDLE_MS\n", stderr);
		return 2;
	}
	how.socket = argv[1];
	mailbox.name = argv[2];
	e.sent.seed = seed_of(argv[2]);
	e.received.seed = seed_of(argv[3]);
	e.count = (uint32_t)strtoul(argv[4], NULL, 10);
	err = famez_join(&e.f, &how);
	if (!err)
		err = famez_mailbox_open(e.f, &mailbox);
	if (err)
		die(argv[1], err);
	e.most = famez_payload_bytes_max(e.f);
	e.payload = malloc(e.most);
	if (!e.payload)
		die("memory", ENOMEM);
	meet(&e, argv[3]);
	while (e.sent.messages < e.count || e.received.messages < e.count) {
		bool went = send_some(&e), came = take_some(&e);

		if (!went && !came)
			wait(&e, -1);
	}
	(void)printf("{\"name\":\"%s\",", argv[2]);
	print_way("sent", &e.sent);
	print_way("received", &e.received);
	idle(&e, (int)strtol(argv[5], NULL, 10));
	famez_leave(e.f);
	return 0;
}
