/* SPDX-License-Identifier: MIT */
/*
 * messages_raw.c - variants of the raw ring as systems, and the bare eventfd.
 *
 * Every pair of peer 0 and another has a ring for each direction. Who has several rings to
 * read goes round them, and stays with one while it has something, for 64 messages at most.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "raw_ring.h"

#define TURN 64u

struct raw_area {
	struct {
		_Alignas(64) uint32_t sleeps;
	} peers[PEERS_MAX];
	int bells[PEERS_MAX];
	struct raw_ring up[SENDERS_MAX];   /* from peer i+1 to peer 0 */
	struct raw_ring down[SENDERS_MAX]; /* from peer 0 to peer i+1 */
};

struct raw_end {
	struct raw_writer writer;
	struct raw_reader readers[SENDERS_MAX];
	struct raw_reader *reading;
	uint32_t count, turn;
	uint32_t *sleeps; /* ours */
	int bell;
};

static int raw_prepare(struct run *r)
{
	int fd = memfd_create("raw", MFD_CLOEXEC);
	struct raw_area *area;

	if (fd < 0 || ftruncate(fd, sizeof(*area)))
		return -errno;
	area = mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		return -errno;
	(void)close(fd);
	for (uint32_t i = 0; i <= r->senders; i++) {
		area->bells[i] = eventfd(0, EFD_CLOEXEC);
		if (area->bells[i] < 0)
			return -errno;
	}
	r->area = area;
	return 0;
}

static void *raw_open(struct run *r, uint32_t who)
{
	struct raw_area *area = r->area;
	struct raw_end *end = aligned_alloc(64, (sizeof(*end) + 63) & ~(size_t)63);
	uint32_t other = who ? 0 : 1;

	if (!end)
		die("memory", ENOMEM);
	*end = (struct raw_end){.count = who ? 1 : r->senders, .sleeps = &area->peers[who].sleeps};
	end->bell = area->bells[who];
	end->writer = (struct raw_writer){
		.ring = who ? &area->up[who - 1] : &area->down[0],
		.limit = RAW_BYTES,
		.reader_sleeps = &area->peers[other].sleeps,
		.bell = area->bells[who],
		.reader_bell = area->bells[other],
	};
	for (uint32_t i = 0; i < end->count; i++) {
		end->readers[i].ring = who ? &area->down[who - 1] : &area->up[i];
		end->readers[i].writer_bell = area->bells[who ? 0 : i + 1];
	}
	end->reading = end->readers;
	return end;
}

static void raw_close(void *end)
{
	free(end);
}

/* One look at the rings, from the one whose turn it is. */
ALWAYS_INLINE bool raw_look(struct raw_end *e, const struct raw_mode *mode, struct got *g)
{
	for (uint32_t looks = 0; looks < e->count; looks++) {
		const uint64_t *head;

		if (e->count == 1 || e->turn < TURN) {
			head = raw_peek(e->reading, mode);
			if (head) {
				g->payload = head + 1;
				g->bytes = *head;
				e->turn++;
				return true;
			}
			raw_give(e->reading, mode, false);
		}
		if (e->count > 1) {
			e->turn = 0;
			e->reading++;
			if (e->reading == e->readers + e->count)
				e->reading = e->readers;
		}
	}
	return false;
}

ALWAYS_INLINE struct got raw_take(struct raw_end *e, const struct raw_mode *mode)
{
	struct got g;
	uint64_t since_ns = 0;
	uint32_t looks = 0;

	while (!__builtin_expect(raw_look(e, mode, &g), 1)) {
		if (!raw_wait(mode, &looks, &since_ns))
			continue;
		looks = 0;
		if (mode->sleeps) {
			__atomic_store_n(e->sleeps, 1u, __ATOMIC_SEQ_CST);
			for (uint32_t i = 0; i < e->count; i++)
				raw_give(&e->readers[i], mode, true);
			if (raw_look(e, mode, &g)) {
				__atomic_store_n(e->sleeps, 0u, __ATOMIC_RELAXED);
				return g;
			}
		}
		raw_sleep(e->bell);
		if (mode->sleeps)
			__atomic_store_n(e->sleeps, 0u, __ATOMIC_RELAXED);
	}
	return g;
}

/* RAW(id, text, what is on...): one variant. */
#define RAW(id, text, ...)                                                                         \
	static const struct raw_mode id##_mode = {__VA_ARGS__};                                    \
	ALWAYS_INLINE void id##_put(void *end, const void *payload, size_t bytes, bool more)       \
	{                                                                                          \
		raw_put(&((struct raw_end *)end)->writer, &id##_mode, payload, bytes, more);       \
	}                                                                                          \
	ALWAYS_INLINE struct got id##_take(void *end)                                              \
	{                                                                                          \
		return raw_take(end, &id##_mode);                                                  \
	}                                                                                          \
	ALWAYS_INLINE void id##_done(void *end)                                                    \
	{                                                                                          \
		raw_done(((struct raw_end *)end)->reading, &id##_mode);                            \
	}                                                                                          \
	SYSTEM(id, text, raw_prepare, raw_open, raw_close)

RAW(raw_spin, "raw:spin", 0);
RAW(raw_yield, "raw:yield", .yields = true);
RAW(raw_event, "raw:event", .sleeps = true);
RAW(raw_batch, "raw:batch", .sleeps = true, .batches = true);
RAW(raw_inband, "raw:inband", .inband = true);
RAW(raw_hybrid, "raw:hybrid", .sleeps = true, .poll_ns = 20000);
RAW(raw_bell, "raw:bell", .rings = true);
RAW(raw_naive, "raw:naive", .naive = true);

/* The bare eventfd: a round trip without any message. */
static uint64_t bare_ask(struct run *r, void *opaque)
{
	struct raw_end *end = opaque;
	uint64_t number = 0, before = clock_wall_ns(), now;

	for (; !__atomic_load_n(&r->stage->stop, __ATOMIC_RELAXED); number++) {
		raw_ring_bell(end->writer.reader_bell);
		raw_sleep(end->bell);
		now = clock_wall_ns();
		latency_note(r->stage, now - before);
		before = now;
	}
	*end->writer.reader_sleeps = 1; /* here: that was the last one */
	raw_ring_bell(end->writer.reader_bell);
	return number;
}

static uint64_t bare_answer(struct run *r, void *opaque)
{
	struct raw_end *end = opaque;
	uint64_t number = 0;

	(void)r;
	for (;; number++) {
		raw_sleep(end->bell);
		if (__atomic_load_n(end->sleeps, __ATOMIC_RELAXED))
			return number;
		raw_ring_bell(end->writer.reader_bell);
	}
}

static const struct system bare = {
	.name = "eventfd",
	.prepare = raw_prepare,
	.open = raw_open,
	.ask = bare_ask,
	.answer = bare_answer,
	.close = raw_close,
};

const struct system *const messages_raw[] = {&raw_spin, &raw_yield, &raw_event, &raw_batch,
	&raw_inband, &raw_hybrid, &raw_bell, &raw_naive, &bare, NULL};
