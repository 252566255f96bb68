/* SPDX-License-Identifier: MIT */
/*
 * pair.c - famez-bench-pair: one of two peers that measure doorbells and messages between them,
 * in guests or on the host, through libfamez or raw. bench/guests runs it.
 *
 *     famez-bench-pair [--raw] PATH ask|answer ROUND bells SECONDS
 *     famez-bench-pair [--raw] PATH ask|answer ROUND stream BYTES SECONDS
 *
 * PATH is what famez_join() takes. Both sides are given the same ROUND, by which they find each
 * other. `bells`: the asker rings, the answerer rings back, both sleep until they are
 * rung. `stream`: the asker sends, the answerer takes and checks number and sum of all bytes; each
 * message is published by itself. The result is a line of JSON from who can tell: the asker of
 * bells, the answerer of a stream.
 *
 * Raw is the least that works between these two: a ring of bytes in the same shared memory, a flag
 * for who sleeps, the device's doorbell register and an eventfd, or on the host the eventfds
 * alone. No IDs, no generations, nothing checked. Its ring, and what both sides need to find each
 * other, lie in the lanes to ID 0, who is nobody.
 */
#include "clock.h"

#include "famez/driver.h"
#include "famez/mailbox.h"
#include "famez/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The other side may boot still. */
#define MEET_SECONDS 300
/* Nobody waits longer for one answer. */
#define HANG_MS 30000

#define PAYLOAD_MAX 8192u
#define LAST        (UINT64_C(1) << 63)

/* As libfamez: polls so long before it sleeps. */
#define POLL_NS 20000u

#define TRIPS_MAX 1000000u

/* The vector that is rung. Mail rings that of its sender's ID, and 0 is nobody's: here no ring can
 * be taken for mail. */
#define BELL 0u

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): a line each */
struct ring {
	uint64_t there[2]; /* asker, answerer: see meet() */
	_Alignas(64) uint64_t tail;
	_Alignas(64) uint64_t head;
	_Alignas(64) uint32_t reader_sleeps;
	_Alignas(64) uint32_t writer_sleeps;
	_Alignas(64) unsigned char data[]; /* as many as a lane has */
};

struct pair {
	const char *path;
	bool raw, asks, streams;
	uint16_t id, peer;
	uint64_t round;
	size_t bytes;
	double seconds;
	struct famez *f; /* NULL: raw, in a guest */
	void *memory;
	struct ring *ring;
	uint64_t ring_bytes;
	int bell;   /* raw: ours */
	int device; /* raw, in a guest, these two */
	volatile uint32_t *registers;
};

static __attribute__((noreturn)) void die(const char *what, int err)
{
	(void)fprintf(stderr, "famez-bench-pair: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

/* ---- joining ----------------------------------------------------------------------------- */

static void find_ring(struct pair *p, uint64_t bytes)
{
	struct famez_geometry g;

	if (famez_geometry_read(&g, p->memory, bytes))
		die("the shared memory has no lanes", EOPNOTSUPP);
	if ((uint64_t)(g.ids - 1) * g.lane_bytes < sizeof(struct ring) ||
		!(g.features & FAMEZ_FEATURE_VECTOR_IS_SENDER))
		die("the lanes are too small, or the vectors too few", ENOSPC);
	p->ring = (struct ring *)(void *)famez_lane_data_at(p->memory, &g, 0, 0);
	p->ring_bytes = g.lane_bytes;
}

/* Past the library, as anybody could speak to the driver. */
static void join_raw(struct pair *p)
{
	struct famez_info info;
	void *at;

	p->device = open(p->path, O_RDWR | O_CLOEXEC);
	if (p->device < 0 || ioctl(p->device, FAMEZ_IOC_INFO, &info) < 0 ||
		ioctl(p->device, FAMEZ_IOC_CLAIM) < 0)
		die(p->path, errno);
	p->memory = mmap(
		NULL, info.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->device, FAMEZ_MAP_MEMORY);
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, p->device,
		(off_t)FAMEZ_MAP_REGISTERS);
	if (p->memory == MAP_FAILED || at == MAP_FAILED)
		die(p->path, errno);
	p->registers = at;
	p->id = (uint16_t)info.id;
	find_ring(p, info.bytes);
}

static void join(struct pair *p)
{
	struct famez_join how = {.socket = p->path, .timeout_ms = 10000};
	struct famez_mailbox mailbox = {.name = p->asks ? "asker" : "answerer"};
	struct stat st;
	size_t bytes;
	int err;

	if (p->raw && stat(p->path, &st) == 0 && S_ISCHR(st.st_mode)) {
		join_raw(p);
		return;
	}
	err = famez_join(&p->f, &how);
	if (err)
		die(p->path, err);
	p->id = (uint16_t)famez_id(p->f);
	p->memory = famez_memory(p->f, &bytes);
	find_ring(p, bytes);
	err = p->raw ? 0 : famez_mailbox_open(p->f, &mailbox);
	if (err)
		die("famez_mailbox_open", err);
}

/* All bells that we need. */
static void know_bells(struct pair *p)
{
	struct famez_wake wake = {.vector = BELL};
	struct pollfd more = {.events = POLLIN};
	struct famez_event event;

	if (p->registers) {
		p->bell = wake.fd = eventfd(0, EFD_CLOEXEC);
		if (ioctl(p->device, FAMEZ_IOC_WAKE, &wake) < 0)
			die(p->path, errno);
		return;
	}
	more.fd = famez_fd(p->f);
	while (famez_vectors(p->f, p->id) <= BELL || famez_vectors(p->f, p->peer) <= BELL) {
		int got = famez_next(p->f, &event);

		if (got < 0)
			die("famez_next", got);
		if (!got && poll(&more, 1, HANG_MS) <= 0)
			die("the other side can't be rung", ETIMEDOUT);
	}
	if (p->raw)
		p->bell = famez_bell_fd(p->f, p->id, BELL);
}

/* Both are so far: phase 1, who the other one is; phase 2, it can be rung. One word each says ID,
 * round and phase. */
static void meet(struct pair *p, uint64_t phase)
{
	uint64_t *ours = &p->ring->there[!p->asks], *theirs = &p->ring->there[p->asks];
	uint64_t until = clock_wall_ns() + MEET_SECONDS * UINT64_C(1000000000), word;

	__atomic_store_n(ours, (uint64_t)p->id << 48 | p->round << 8 | phase, __ATOMIC_SEQ_CST);
	for (;;) {
		word = __atomic_load_n(theirs, __ATOMIC_SEQ_CST);
		if ((word << 16 >> 24) == p->round && (word & 0xff) >= phase)
			break;
		if (clock_wall_ns() > until)
			die("the other side does not come", ETIMEDOUT);
		(void)usleep(1000);
	}
	p->peer = (uint16_t)(word >> 48);
}

/* The ring is the answerer's to empty, before the asker begins. */
static void begin(struct pair *p)
{
	if (!p->asks) {
		p->ring->tail = p->ring->head = 0;
		p->ring->reader_sleeps = p->ring->writer_sleeps = 0;
	}
	meet(p, 1);
	know_bells(p);
	meet(p, 2);
}

/* ---- bells ------------------------------------------------------------------------------- */

static void ring(struct pair *p)
{
	int err;

	if (p->registers) {
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		p->registers[FAMEZ_REGISTER_DOORBELL / 4] = (uint32_t)p->peer << 16 | BELL;
		return;
	}
	err = famez_ring(p->f, p->peer, BELL);
	if (err)
		die("famez_ring", err);
}

static void sleep_raw(const struct pair *p)
{
	struct pollfd bell = {.fd = p->bell, .events = POLLIN};
	uint64_t count;

	/* Of a peer on the host it may be a blocking one. */
	if (poll(&bell, 1, HANG_MS) <= 0)
		die("nobody rings", ETIMEDOUT);
	if (read(p->bell, &count, sizeof(count)) != (ssize_t)sizeof(count) && errno != EAGAIN)
		die("read", errno);
}

static void sleep_until_rung(struct pair *p)
{
	struct pollfd ready = {.events = POLLIN};
	struct famez_event event = {0};

	if (p->raw) {
		sleep_raw(p);
		return;
	}
	ready.fd = famez_fd(p->f);
	for (;;) {
		int got = famez_next(p->f, &event);

		if (got < 0)
			die("famez_next", got);
		if (got && event.kind == FAMEZ_EVENT_DOORBELL && event.vector == BELL)
			return;
		if (!got && poll(&ready, 1, HANG_MS) <= 0)
			die("nobody rings", ETIMEDOUT);
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile_us(const uint32_t *sorted, size_t count, double part)
{
	return (double)sorted[(size_t)((double)(count - 1) * part)] / 1000;
}

static void ask_bells(struct pair *p)
{
	uint32_t *trips = malloc(TRIPS_MAX * sizeof(*trips));
	uint64_t begun = clock_wall_ns(), now = begun, before;
	size_t count = 0;

	if (!trips)
		die("memory", ENOMEM);
	while (count < TRIPS_MAX && (double)(now - begun) < p->seconds * 1e9) {
		before = clock_wall_ns();
		ring(p);
		sleep_until_rung(p);
		now = clock_wall_ns();
		trips[count++] = now - before < UINT32_MAX ? (uint32_t)(now - before) : UINT32_MAX;
	}
	__atomic_store_n(
		&p->ring->there[0], 0u, __ATOMIC_SEQ_CST); /* the last one is no question */
	ring(p);
	qsort(trips, count, sizeof(*trips), compare);
	(void)printf("{\"what\":\"bells\",\"system\":\"%s\",\"trips\":%zu,\"p50_us\":%.1f,"
		     "\"p99_us\":%.1f,\"min_us\":%.1f}\n",
		p->raw ? "raw" : "famez", count, percentile_us(trips, count, 0.5),
		percentile_us(trips, count, 0.99), percentile_us(trips, count, 0));
	free(trips);
}

static void answer_bells(struct pair *p)
{
	for (;;) {
		sleep_until_rung(p);
		if (!__atomic_load_n(&p->ring->there[0], __ATOMIC_SEQ_CST))
			return;
		ring(p);
	}
}

/* ---- a stream, raw ----------------------------------------------------------------------- */

/* Waits until the other side's position is not this one. */
static uint64_t wait_moved(struct pair *p, const uint64_t *word, uint64_t is, uint32_t *sleeps)
{
	uint64_t until = clock_wall_ns() + POLL_NS, at;

	do {
		at = __atomic_load_n(word, __ATOMIC_ACQUIRE);
		if (at != is)
			return at;
	} while (clock_wall_ns() < until);
	for (;;) {
		__atomic_store_n(sleeps, 1u, __ATOMIC_SEQ_CST);
		at = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		if (at != is)
			return at;
		sleep_raw(p);
	}
}

static void wake(struct pair *p, uint32_t *sleeps)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(sleeps, __ATOMIC_RELAXED) &&
		__atomic_exchange_n(sleeps, 0u, __ATOMIC_SEQ_CST))
		ring(p);
}

static size_t stride(const struct pair *p)
{
	return (p->bytes + 7) & ~(size_t)7;
}

/* Records are all as long, and a piece of the ring's end is left where one would not fit. */
static uint64_t place(const struct pair *p, uint64_t number)
{
	return number % (p->ring_bytes / stride(p)) * stride(p);
}

static void put_raw(struct pair *p, uint64_t number, const void *payload)
{
	static uint64_t taken;
	struct ring *r = p->ring;

	while (number - taken >= p->ring_bytes / stride(p))
		taken = wait_moved(p, &r->head, taken, &r->writer_sleeps);
	memcpy(r->data + place(p, number), payload, p->bytes);
	__atomic_store_n(&r->tail, number + 1, __ATOMIC_RELEASE);
	wake(p, &r->reader_sleeps);
}

static const void *take_raw(struct pair *p, uint64_t number)
{
	static uint64_t put;
	struct ring *r = p->ring;

	if (number == put) {
		/* All that was taken goes back before we wait. */
		__atomic_store_n(&r->head, number, __ATOMIC_RELEASE);
		wake(p, &r->writer_sleeps);
		put = wait_moved(p, &r->tail, put, &r->reader_sleeps);
	} else if (number % (p->ring_bytes / stride(p) / 4) == 0) {
		__atomic_store_n(&r->head, number, __ATOMIC_RELEASE);
		wake(p, &r->writer_sleeps);
	}
	return r->data + place(p, number);
}

/* ---- a stream ---------------------------------------------------------------------------- */

static void put(struct pair *p, uint64_t number, const void *payload)
{
	const struct famez_to to = {.peer = p->peer};
	int err;

	if (p->raw) {
		put_raw(p, number, payload);
		return;
	}
	err = famez_send(p->f, &to, payload, p->bytes, 0, HANG_MS);
	if (err)
		die("famez_send", err);
}

static const void *take(struct pair *p, uint64_t number)
{
	struct famez_message m;
	int got;

	if (p->raw)
		return take_raw(p, number);
	do {
		if (number)
			famez_release(p->f); /* the last one, until now */
		got = famez_await(p->f, &m, HANG_MS);
	} while (got == 1 && m.from != p->peer);
	if (got != 1 || m.bytes != p->bytes)
		die("famez_await", got < 0 ? got : EBADMSG);
	return m.payload;
}

static uint64_t sum(const void *payload, size_t bytes)
{
	uint64_t total = 0, word;

	for (size_t at = 0; at + sizeof(word) <= bytes; at += sizeof(word)) {
		memcpy(&word, (const char *)payload + at, sizeof(word));
		total += word;
	}
	return total;
}

static void ask_stream(struct pair *p)
{
	unsigned char payload[PAYLOAD_MAX];
	uint64_t begun = clock_wall_ns(), number = 0, word;
	bool last;

	memset(payload, 0x5a, sizeof(payload));
	do {
		/* The clock is looked at now and then: it costs as much as a message. */
		last = number % 64 == 63 && (double)(clock_wall_ns() - begun) > p->seconds * 1e9;
		word = number | (last ? LAST : 0);
		memcpy(payload, &word, sizeof(word));
		put(p, number++, payload);
	} while (!last);
}

static void answer_stream(struct pair *p)
{
	unsigned char pattern[PAYLOAD_MAX];
	uint64_t number = 0, begun = 0, ended, word, right;

	memset(pattern, 0x5a, sizeof(pattern));
	right = sum(pattern, p->bytes) - sum(pattern, sizeof(word));
	do {
		const void *payload = take(p, number);

		memcpy(&word, payload, sizeof(word));
		if ((word & ~LAST) != number || sum(payload, p->bytes) - word != right)
			die("a message is not what was sent", EBADMSG);
		if (!number++)
			begun = clock_wall_ns();
	} while (!(word & LAST));
	ended = clock_wall_ns();
	(void)printf("{\"what\":\"stream\",\"system\":\"%s\",\"bytes\":%zu,\"messages\":%" PRIu64
		     ",\"seconds\":%.3f,\"per_second\":%.0f,\"mib_per_second\":%.1f}\n",
		p->raw ? "raw" : "famez", p->bytes, number, (double)(ended - begun) / 1e9,
		(double)number * 1e9 / (double)(ended - begun),
		(double)(number * p->bytes) * 1e9 / (double)(ended - begun) / (1 << 20));
}

/* ---- words ------------------------------------------------------------------------------- */

static unsigned long number(const char *word, unsigned long least, unsigned long most)
{
	char *end;
	unsigned long value = strtoul(word, &end, 10);

	if (*end || end == word || value < least || value > most) {
		(void)fprintf(stderr, "famez-bench-pair: '%s' would not do: %lu to %lu\n", word,
			least, most);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	struct pair p = {.bytes = 8};
	bool asks, answers, bells;

	if (argc > 1 && strcmp(argv[1], "--raw") == 0) {
		p.raw = true;
		argc--;
		argv++;
	}
	asks = argc > 2 && strcmp(argv[2], "ask") == 0;
	answers = argc > 2 && strcmp(argv[2], "answer") == 0;
	bells = argc == 6 && strcmp(argv[4], "bells") == 0;
	p.streams = argc == 7 && strcmp(argv[4], "stream") == 0;
	if (!(asks || answers) || !(bells || p.streams)) {
		(void)fprintf(stderr, "usage: famez-bench-pair [--raw] PATH ask|answer ROUND "
				      "bells SECONDS | stream BYTES SECONDS\n");
		return 2;
	}
	p.path = argv[1];
	p.asks = asks;
	p.round = number(argv[3], 1, 1000000);
	if (p.streams)
		p.bytes = number(argv[5], 16, PAYLOAD_MAX);
	p.seconds = (double)number(argv[argc - 1], 1, 60);
	join(&p);
	begin(&p);
	if (p.streams)
		(p.asks ? ask_stream : answer_stream)(&p);
	else
		(p.asks ? ask_bells : answer_bells)(&p);
	famez_leave(p.f);
	return 0;
}
