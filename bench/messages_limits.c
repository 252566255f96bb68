/* SPDX-License-Identifier: MIT */
/*
 * messages_limits.c - what no protocol can be faster than: one cache line that goes from CPU to
 * CPU and back (`line`), and payloads copied into shared memory and read there (`memcpy`).
 *
 * No waiting but polling, one sender. The bare eventfd is in messages_raw.c.
 */
#include <sys/mman.h>

#include "messages.h"

/* ---- a cache line --------------------------------------------------------------------------- */

/* Odd: asked; even: answered; LINE_OVER: that was the last one. */
#define LINE_OVER UINT64_MAX

static int line_prepare(struct run *r)
{
	void *area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return -errno;
	r->area = area;
	return 0;
}

static void *line_open(struct run *r, uint32_t who)
{
	(void)who;
	return r->area;
}

static uint64_t line_ask(struct run *r, void *area)
{
	uint64_t *word = area, number = 0, before = clock_wall_ns(), now;

	for (; !__atomic_load_n(&r->stage->stop, __ATOMIC_RELAXED); number++) {
		__atomic_store_n(word, 2 * number + 1, __ATOMIC_RELEASE);
		while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != 2 * number + 2)
			relax();
		now = clock_wall_ns();
		latency_note(r->stage, now - before);
		before = now;
	}
	__atomic_store_n(word, LINE_OVER, __ATOMIC_RELEASE);
	return number;
}

static uint64_t line_answer(struct run *r, void *area)
{
	uint64_t *word = area, number = 0;

	(void)r;
	for (;; number++) {
		uint64_t asked;

		while ((asked = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != 2 * number + 1) {
			if (asked == LINE_OVER)
				return number;
			relax();
		}
		__atomic_store_n(word, asked + 1, __ATOMIC_RELEASE);
	}
}

static const struct system line = {
	.name = "line",
	.prepare = line_prepare,
	.open = line_open,
	.ask = line_ask,
	.answer = line_answer,
};

/* ---- memcpy ---------------------------------------------------------------------------------- */

/* As much memory as a raw ring has: it stays in a CPU's cache. */
#define COPY_BYTES (1u << 20)

struct copy_slot {
	_Alignas(64) uint64_t bytes; /* 0: empty */
	unsigned char payload[];
};

struct copy_end {
	unsigned char *area;
	size_t slot_bytes, slots, at;
	struct copy_slot *taken;
};

static int copy_prepare(struct run *r)
{
	void *area;

	if (r->senders != 1)
		return -ENOTSUP;
	area = mmap(NULL, COPY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	r->area = area;
	return 0;
}

static void *copy_open(struct run *r, uint32_t who)
{
	struct copy_end *e = calloc(1, sizeof(*e));

	(void)who;
	if (!e)
		die("memory", ENOMEM);
	e->area = r->area;
	e->slot_bytes = (sizeof(uint64_t) + r->bytes + 63) & ~(size_t)63;
	e->slots = COPY_BYTES / e->slot_bytes;
	return e;
}

static void copy_close(void *end)
{
	free(end);
}

static struct copy_slot *copy_next(struct copy_end *e)
{
	unsigned char *slot = e->area + e->at * e->slot_bytes;

	e->at = e->at + 1 < e->slots ? e->at + 1 : 0;
	return (void *)slot;
}

ALWAYS_INLINE void copy_put(void *end, const void *payload, size_t bytes, bool more)
{
	struct copy_slot *slot = copy_next(end);

	(void)more;
	while (__atomic_load_n(&slot->bytes, __ATOMIC_ACQUIRE))
		relax();
	memcpy(slot->payload, payload, bytes);
	__atomic_store_n(&slot->bytes, bytes, __ATOMIC_RELEASE);
}

ALWAYS_INLINE struct got copy_take(void *end)
{
	struct copy_end *e = end;
	uint64_t bytes;

	e->taken = copy_next(e);
	while (!(bytes = __atomic_load_n(&e->taken->bytes, __ATOMIC_ACQUIRE)))
		relax();
	return (struct got){e->taken->payload, bytes};
}

ALWAYS_INLINE void copy_done(void *end)
{
	__atomic_store_n(&((struct copy_end *)end)->taken->bytes, 0u, __ATOMIC_RELEASE);
}

SYSTEM(copy, "memcpy", copy_prepare, copy_open, copy_close);

const struct system *const messages_limits[] = {&line, &copy, NULL};
