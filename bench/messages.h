/* SPDX-License-Identifier: MIT */
/*
 * messages.h - what one measurement of messages is, and the loops that all systems share.
 *
 * A system gives four functions (struct ends); SYSTEM() makes its loops of them. The loops
 * are always inlined, and what they are handed is constant, so no system pays for calls
 * that another one does not make. They run in processes of their own, one a peer: 0 receives
 * or answers, 1 and up send or ask.
 *
 * The payload is a pattern; its first word has a running number, who sent it, and whether it
 * is the last one. The receiver adds up all bytes and checks sum, length and order.
 */
#ifndef BENCH_MESSAGES_H
#define BENCH_MESSAGES_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define PAYLOAD_BYTES_MIN 16u
#define PAYLOAD_BYTES_MAX (128u << 10)
#define SENDERS_MAX       16u
#define PEERS_MAX         (SENDERS_MAX + 1u)
#define LAST_MESSAGE      (UINT64_C(1) << 63)
#define SENDER_SHIFT      48

/* Messages that are put before all of them are taken, where one thread does both. */
#define ALONE_MESSAGES  1024u
#define ALONE_BYTES_MAX 512u

/* Latencies: so many steps an octave, so the median is good to 0.3 %. */
#define STEPS   256u
#define OCTAVES 36u

/* What the processes of a run share, beside the system itself. */
struct stage {
	_Alignas(64) uint32_t ready;
	_Alignas(64) uint32_t go;
	uint64_t put_ns, take_ns; /* alone: the best ALONE_MESSAGES */
	_Alignas(64)
		uint32_t stop; /* senders read it for each message, nobody writes it until then */
	struct result {
		_Alignas(64) uint64_t messages;
		uint64_t begun_ns, ended_ns;
		uint64_t cpu_ns;
	} results[PEERS_MAX];
	uint32_t latencies[OCTAVES * STEPS];
};

struct run {
	uint32_t bytes;   /* of a payload */
	uint32_t senders; /* or those who ask: 1 */
	uint32_t batch;   /* messages, at most, until they are flushed; 64 KiB at most */
	uint32_t milliseconds;
	bool trips;                     /* round trips, not a stream */
	bool split;                     /* pin the receiver and the senders to different CPUs */
	const char *socket;             /* of the server, or a folder for sockets, or NATS's URL */
	const char *sockets[PEERS_MAX]; /* libfamez: the peers take them in turn; [0] is `socket` */
	uint32_t socket_count;
	pid_t server; /* whose CPU time counts as well; 0: nobody's */
	struct stage *stage;
	void *area; /* the system's own, made by its prepare() and inherited */
};

/* One message as a receiver sees it, until done(). */
struct got {
	const void *payload;
	size_t bytes;
};

/* One peer's way to send and receive. */
struct ends {
	void (*put)(void *end, const void *payload, size_t bytes, bool more); /* waits for room */
	struct got (*take)(void *end);                                        /* waits */
	void (*done)(void *end);
};

struct system {
	const char *name;
	int (*prepare)(struct run *r); /* in the parent; NULL: nothing to do. 0 or -errno */
	void *(*open)(struct run *r, uint32_t who); /* in the peer's own process */
	uint64_t (*send)(struct run *r, void *end, uint32_t who);
	uint64_t (*receive)(struct run *r, void *end);
	uint64_t (*ask)(struct run *r, void *end);
	uint64_t (*answer)(struct run *r, void *end);
	uint64_t (*alone)(struct run *r, void *from, void *to);
	void (*close)(void *end); /* what was sent last may not get lost */
};

extern const struct system *const messages_raw[];
extern const struct system *const messages_lane[];
extern const struct system *const messages_peer[];
extern const struct system *const messages_limits[];
extern const struct system *const messages_others[];
extern const struct system *const messages_nats[];

/** messages_fan() - one message to a group of @members, and the same by hand; prints a line. */
int messages_fan(const char *socket, pid_t server, uint32_t members, uint32_t milliseconds);

/** die() - the process of a run gives up, and with it the run. */
__attribute__((noreturn)) static inline void die(const char *what, int err)
{
	(void)fprintf(
		stderr, "famez-bench-messages: %s: %s\n", what, strerror(err < 0 ? -err : err));
	_Exit(1);
}

ALWAYS_INLINE void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/** payload_sum() - of all bytes; one function for all systems, so that none has a faster one. */
uint64_t payload_sum(const void *payload, size_t bytes);

/* A page-aligned payload, its first word 0. */
static inline unsigned char *payload_make(size_t bytes)
{
	unsigned char *payload = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
	uint32_t x = 2463534242u;

	if (!payload)
		die("a payload", ENOMEM);
	memset(payload, 0, bytes);
	for (size_t i = sizeof(uint64_t); i < bytes; i++) {
		x = x * 1664525u + 1013904223u;
		payload[i] = (unsigned char)(x >> 24);
	}
	return payload;
}

ALWAYS_INLINE uint64_t payload_word(const struct got *g)
{
	uint64_t word;

	memcpy(&word, g->payload, sizeof(word));
	return word;
}

/* Its first word, without LAST_MESSAGE, must be @expected. */
ALWAYS_INLINE void payload_check(
	const struct run *r, const struct got *g, uint64_t base, uint64_t word, uint64_t expected)
{
	if (__builtin_expect(g->bytes != r->bytes || (word & ~LAST_MESSAGE) != expected ||
				     payload_sum(g->payload, g->bytes) != base + word,
		    0))
		die("a message came late, twice or altered", EBADMSG);
}

ALWAYS_INLINE uint64_t loop_send(const struct ends *s, struct run *r, void *end, uint32_t who)
{
	unsigned char *payload = payload_make(r->bytes);
	uint32_t batch = (64u << 10) / r->bytes, in_batch = 0;
	uint64_t number = (uint64_t)who << SENDER_SHIFT;
	bool last = false;

	if (batch > r->batch)
		batch = r->batch;
	while (!last) {
		uint64_t word;

		last = __atomic_load_n(&r->stage->stop, __ATOMIC_RELAXED);
		word = number | (last ? LAST_MESSAGE : 0);
		memcpy(payload, &word, sizeof(word));
		in_batch = in_batch + 1 < batch ? in_batch + 1 : 0;
		s->put(end, payload, r->bytes, in_batch && !last);
		number++;
	}
	free(payload);
	return number - ((uint64_t)who << SENDER_SHIFT);
}

ALWAYS_INLINE uint64_t loop_receive(const struct ends *s, struct run *r, void *end)
{
	unsigned char *payload = payload_make(r->bytes);
	uint64_t base = payload_sum(payload, r->bytes);
	uint64_t expected[PEERS_MAX], count = 0;
	uint32_t left = r->senders;

	for (uint64_t who = 0; who < PEERS_MAX; who++)
		expected[who] = who << SENDER_SHIFT;
	while (left) {
		struct got g = s->take(end);
		uint64_t word = payload_word(&g), who = (word & ~LAST_MESSAGE) >> SENDER_SHIFT;

		payload_check(r, &g, base, word, who < PEERS_MAX ? expected[who]++ : 0);
		if (word & LAST_MESSAGE)
			left--;
		s->done(end);
		count++;
	}
	free(payload);
	return count;
}

ALWAYS_INLINE void latency_note(struct stage *stage, uint64_t ns)
{
	uint64_t scaled = ns | 1;
	unsigned octave = 63u - (unsigned)__builtin_clzll(scaled);
	uint64_t step =
		octave >= 8 ? (scaled >> (octave - 8)) & 255 : (scaled << (8 - octave)) & 255;

	if (octave < OCTAVES)
		stage->latencies[(uint64_t)octave * STEPS + step]++;
}

ALWAYS_INLINE uint64_t loop_ask(const struct ends *s, struct run *r, void *end)
{
	unsigned char *payload = payload_make(r->bytes);
	uint64_t base = payload_sum(payload, r->bytes);
	uint64_t number = 0, before = clock_wall_ns(), now;
	bool last = false;

	while (!last) {
		struct got g;
		uint64_t word;

		last = __atomic_load_n(&r->stage->stop, __ATOMIC_RELAXED);
		word = number | (last ? LAST_MESSAGE : 0);
		memcpy(payload, &word, sizeof(word));
		s->put(end, payload, r->bytes, false);
		g = s->take(end);
		payload_check(r, &g, base, word, number);
		s->done(end);
		now = clock_wall_ns();
		latency_note(r->stage, now - before);
		before = now;
		number++;
	}
	free(payload);
	return number;
}

ALWAYS_INLINE uint64_t loop_answer(const struct ends *s, struct run *r, void *end)
{
	unsigned char *payload = payload_make(r->bytes);
	uint64_t base = payload_sum(payload, r->bytes);
	uint64_t number = 0, word;

	do {
		struct got g = s->take(end);

		word = payload_word(&g);
		payload_check(r, &g, base, word, number++);
		s->done(end);
		memcpy(payload, &word, sizeof(word));
		s->put(end, payload, r->bytes, false);
	} while (!(word & LAST_MESSAGE));
	free(payload);
	return number;
}

/* Both ends in one thread: what a message costs when no line of memory changes its CPU. */
ALWAYS_INLINE uint64_t loop_alone(const struct ends *s, struct run *r, void *from, void *to)
{
	unsigned char *payload = payload_make(r->bytes);
	uint64_t base = payload_sum(payload, r->bytes), number = 0;
	uint64_t put_ns = UINT64_MAX, take_ns = UINT64_MAX;

	while (!__atomic_load_n(&r->stage->stop, __ATOMIC_RELAXED)) {
		uint64_t begun_ns = clock_wall_ns(), between_ns, ended_ns;

		for (uint32_t i = 1; i <= ALONE_MESSAGES; i++) {
			uint64_t word = number + i;

			memcpy(payload, &word, sizeof(word));
			s->put(from, payload, r->bytes, (i & 15) && i < ALONE_MESSAGES);
		}
		between_ns = clock_wall_ns();
		for (uint32_t i = 1; i <= ALONE_MESSAGES; i++) {
			struct got g = s->take(to);

			payload_check(r, &g, base, payload_word(&g), number + i);
			s->done(to);
		}
		ended_ns = clock_wall_ns();
		if (between_ns - begun_ns < put_ns)
			put_ns = between_ns - begun_ns;
		if (ended_ns - between_ns < take_ns)
			take_ns = ended_ns - between_ns;
		number += ALONE_MESSAGES;
	}
	free(payload);
	r->stage->put_ns = put_ns;
	r->stage->take_ns = take_ns;
	return number;
}

/* SYSTEM(id, text, prepare, open, close): of the functions id_put, id_take and id_done. */
#define SYSTEM(id, text, prepare_it, open_it, close_it)                                            \
	static const struct ends id##_ends = {id##_put, id##_take, id##_done};                     \
	static uint64_t id##_send_all(struct run *r, void *end, uint32_t who)                      \
	{                                                                                          \
		return loop_send(&id##_ends, r, end, who);                                         \
	}                                                                                          \
	static uint64_t id##_receive_all(struct run *r, void *end)                                 \
	{                                                                                          \
		return loop_receive(&id##_ends, r, end);                                           \
	}                                                                                          \
	static uint64_t id##_ask_all(struct run *r, void *end)                                     \
	{                                                                                          \
		return loop_ask(&id##_ends, r, end);                                               \
	}                                                                                          \
	static uint64_t id##_answer_all(struct run *r, void *end)                                  \
	{                                                                                          \
		return loop_answer(&id##_ends, r, end);                                            \
	}                                                                                          \
	static uint64_t id##_alone_all(struct run *r, void *from, void *to)                        \
	{                                                                                          \
		return loop_alone(&id##_ends, r, from, to);                                        \
	}                                                                                          \
	static const struct system id = {text, prepare_it, open_it, id##_send_all,                 \
		id##_receive_all, id##_ask_all, id##_answer_all, id##_alone_all, close_it}

#endif
