/* SPDX-License-Identifier: MIT */
/*
 * raw_ring.h - the yardstick: the least that carries messages from one process to another.
 *
 * A byte ring of 1 MiB for each direction, records with a head of 8 bytes, aligned to 8,
 * contiguous. Nothing is checked, nobody dies, nobody lies, IDs and generations do not
 * exist. What struct raw_mode turns on and off is constant wherever it is used, so each
 * variant compiles to a ring of its own.
 *
 * Own positions are private; the other side's is read only when the copy of it is used up;
 * the reader gives back whenever it ran dry, and at the latest every quarter. A writer
 * that sleeps is woken when half is free.
 */
#ifndef BENCH_RAW_RING_H
#define BENCH_RAW_RING_H

#include <errno.h>
#include <unistd.h>

#include "messages.h"

#define RAW_BYTES (UINT64_C(1) << 20)
#define RAW_PAD   UINT64_C(0x80000000)

struct raw_mode {
	bool inband;      /* a record's length word says that it is there: no tail */
	bool batches;     /* publish, and look for a sleeper, once a batch */
	bool sleeps;      /* on an eventfd, and who sleeps has said so */
	bool rings;       /* an eventfd write a message, and no flag at all */
	bool yields;      /* poll a while, then sched_yield() */
	bool naive;       /* both positions read and written for every record */
	uint64_t poll_ns; /* before it sleeps */
};

struct raw_ring {
	_Alignas(64) uint64_t tail; /* the writer's */
	_Alignas(64) uint64_t head; /* the reader's */
	_Alignas(64) uint32_t writer_sleeps;
	_Alignas(4096) unsigned char data[RAW_BYTES];
};

struct raw_reader {
	struct raw_ring *ring;
	uint64_t at, seen, given; /* seen: the tail as we know it */
	uint64_t looked;          /* where we last looked for a sleeping writer */
	uint64_t size;            /* of the record that is being read */
	int writer_bell;
};

struct raw_writer {
	struct raw_ring *ring;
	uint64_t at, told, limit;
	uint32_t *reader_sleeps;
	int bell, reader_bell; /* ours, on which we sleep; the reader's */
};

static inline void raw_ring_bell(int bell)
{
	uint64_t one = 1;

	if (write(bell, &one, sizeof(one)) != sizeof(one))
		die("an eventfd", errno);
}

static inline void raw_sleep(int bell)
{
	uint64_t count;

	if (read(bell, &count, sizeof(count)) != sizeof(count))
		die("an eventfd", errno);
}

ALWAYS_INLINE void raw_publish(struct raw_writer *w, const struct raw_mode *mode)
{
	if (!mode->inband)
		__atomic_store_n(&w->ring->tail, w->at, __ATOMIC_RELEASE);
	w->told = w->at;
	if (mode->rings)
		raw_ring_bell(w->reader_bell);
	if (!mode->sleeps)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(w->reader_sleeps, __ATOMIC_RELAXED), 0) &&
		__atomic_exchange_n(w->reader_sleeps, 0u, __ATOMIC_RELAXED))
		raw_ring_bell(w->reader_bell);
}

/* How somebody waits who found nothing @*looks times in a row. True: sleep now. */
ALWAYS_INLINE bool raw_wait(const struct raw_mode *mode, uint32_t *looks, uint64_t *since_ns)
{
	(*looks)++;
	if (mode->yields && *looks % 64 == 0) {
		(void)sched_yield();
	} else if (mode->poll_ns) {
		relax();
		if (*looks == 1)
			*since_ns = clock_wall_ns();
		return *looks % 16 == 0 && clock_wall_ns() - *since_ns >= mode->poll_ns;
	} else if (mode->sleeps || mode->rings) {
		return true;
	} else {
		relax();
	}
	return false;
}

ALWAYS_INLINE void raw_room(struct raw_writer *w, const struct raw_mode *mode, uint64_t size)
{
	struct raw_ring *ring = w->ring;
	uint64_t since_ns = 0;
	uint32_t looks = 0;

	if (!mode->naive && __builtin_expect(w->limit - w->at >= size, 1))
		return;
	for (;;) {
		w->limit = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) + RAW_BYTES;
		if (w->limit - w->at >= size)
			return;
		if (w->told != w->at)
			raw_publish(w, mode);
		if (!raw_wait(mode, &looks, &since_ns))
			continue;
		if (mode->rings) { /* it has no flag for writers */
			(void)sched_yield();
			continue;
		}
		__atomic_store_n(&ring->writer_sleeps, 1u, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&ring->head, __ATOMIC_SEQ_CST) + RAW_BYTES - w->at < size)
			raw_sleep(w->bell);
		looks = 0;
	}
}

ALWAYS_INLINE void raw_put(struct raw_writer *w, const struct raw_mode *mode, const void *payload,
	size_t bytes, bool more)
{
	unsigned char *data = w->ring->data;
	uint64_t size = (sizeof(uint64_t) + bytes + 7) & ~UINT64_C(7);
	uint64_t left = RAW_BYTES - (w->at & (RAW_BYTES - 1)), *head;

	if (__builtin_expect(size > left, 0)) {
		raw_room(w, mode, left + sizeof(uint64_t));
		head = (uint64_t *)(void *)(data + (w->at & (RAW_BYTES - 1)));
		w->at += left;
		if (mode->inband)
			__atomic_store_n((uint64_t *)(void *)data, UINT64_C(0), __ATOMIC_RELAXED);
		__atomic_store_n(head, RAW_PAD | left, __ATOMIC_RELEASE);
	}
	raw_room(w, mode, size + sizeof(uint64_t));
	head = (uint64_t *)(void *)(data + (w->at & (RAW_BYTES - 1)));
	w->at += size;
	if (mode->inband)
		__atomic_store_n((uint64_t *)(void *)(data + (w->at & (RAW_BYTES - 1))),
			UINT64_C(0), __ATOMIC_RELAXED);
	memcpy(head + 1, payload, bytes);
	__atomic_store_n(head, bytes, __ATOMIC_RELEASE);
	if (!mode->batches || !more)
		raw_publish(w, mode);
}

/* Give back what was read, and wake the writer if half of the ring is free. */
ALWAYS_INLINE void raw_give(struct raw_reader *r, const struct raw_mode *mode, bool dry)
{
	if (r->given != r->at)
		__atomic_store_n(&r->ring->head, r->at, __ATOMIC_RELEASE);
	r->given = r->at;
	if (!mode->sleeps || (!dry && r->at - r->looked < RAW_BYTES / 2))
		return;
	r->looked = r->at;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&r->ring->writer_sleeps, __ATOMIC_RELAXED) &&
		__atomic_exchange_n(&r->ring->writer_sleeps, 0u, __ATOMIC_RELAXED))
		raw_ring_bell(r->writer_bell);
}

/* The next record, or NULL. */
ALWAYS_INLINE const uint64_t *raw_peek(struct raw_reader *r, const struct raw_mode *mode)
{
	for (;;) {
		const uint64_t *head =
			(const uint64_t *)(const void *)(r->ring->data + (r->at & (RAW_BYTES - 1)));
		uint64_t word;

		if (mode->inband) {
			word = __atomic_load_n(head, __ATOMIC_ACQUIRE);
			if (!word)
				return NULL;
		} else {
			if (r->at == r->seen || mode->naive)
				r->seen = __atomic_load_n(&r->ring->tail, __ATOMIC_ACQUIRE);
			if (r->at == r->seen)
				return NULL;
			word = *head;
		}
		if (__builtin_expect(!(word & RAW_PAD), 1)) {
			r->size = (sizeof(uint64_t) + word + 7) & ~UINT64_C(7);
			return head;
		}
		r->at += word & ~RAW_PAD;
	}
}

ALWAYS_INLINE void raw_done(struct raw_reader *r, const struct raw_mode *mode)
{
	r->at += r->size;
	if (mode->naive || r->at - r->given >= RAW_BYTES / 4)
		raw_give(r, mode, mode->naive);
}

#endif
