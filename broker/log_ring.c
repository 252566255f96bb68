/* SPDX-License-Identifier: MIT */
/*
 * log_ring.c - lines on their way from one thread to the logger, in a memory that outlives both.
 *
 * Makes no system call. Knows nothing of what a line says.
 */
#include "log_ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "state.h"

/* Before each line, which begins and ends at a multiple of its size. */
struct head {
	uint32_t bytes;
	uint32_t check; /* of the line, and of where it stands */
};

static_assert(LOG_RING_BYTES % sizeof(struct head) == 0, "a head is never in two parts");

static uint64_t room_of(uint32_t bytes)
{
	return sizeof(struct head) +
	       (bytes + sizeof(struct head) - 1) / sizeof(struct head) * sizeof(struct head);
}

/* How many bytes from there on are in one part, of @bytes. */
static uint64_t part(uint64_t at, uint64_t bytes)
{
	uint64_t left = LOG_RING_BYTES - at % LOG_RING_BYTES;

	return left < bytes ? left : bytes;
}

static void copy_in(struct log_ring *ring, uint64_t at, const void *from, uint64_t bytes)
{
	uint64_t first = part(at, bytes);

	memcpy(ring->bytes + at % LOG_RING_BYTES, from, first);
	memcpy(ring->bytes, (const char *)from + first, bytes - first);
}

static void copy_out(const struct log_ring *ring, uint64_t at, void *to, uint64_t bytes)
{
	uint64_t first = part(at, bytes);

	memcpy(to, ring->bytes + at % LOG_RING_BYTES, first);
	memcpy((char *)to + first, ring->bytes, bytes - first);
}

static uint32_t sum_of(uint64_t at, const char *line, uint32_t bytes)
{
	return state_sum((uint32_t)at, line, bytes);
}

bool log_ring_resume(struct log_ring *ring)
{
	uint64_t put = atomic_load_explicit(&ring->put, memory_order_relaxed);
	uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
	bool good = put - taken <= LOG_RING_BYTES && put % sizeof(struct head) == 0 &&
		    taken % sizeof(struct head) == 0;

	atomic_store_explicit(&ring->put, good ? put : 0, memory_order_relaxed);
	state_point();
	atomic_store_explicit(&ring->taken, good ? taken : 0, memory_order_relaxed);
	state_point();
	return good;
}

bool log_ring_put(struct log_ring *ring, const char *line, uint32_t bytes)
{
	uint64_t put = atomic_load_explicit(&ring->put, memory_order_relaxed);
	/* L1: the logger is done with what we write over. Pairs with L4. */
	uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
	struct head head = {.bytes = bytes, .check = sum_of(put, line, bytes)};

	assert(bytes && bytes <= LOG_LINE_BYTES);
	if (room_of(bytes) > LOG_RING_BYTES - (put - taken))
		return false;
	copy_in(ring, put, &head, sizeof(head));
	copy_in(ring, put + sizeof(head), line, bytes);
	state_point();
	/* L2: from here on the line is there, whole, whoever dies. Pairs with L3. */
	atomic_store_explicit(&ring->put, put + room_of(bytes), memory_order_release);
	state_point();
	return true;
}

int log_ring_next(const struct log_ring *ring, char *line, uint64_t *end)
{
	/* L3: all of the line is there. Pairs with L2. */
	uint64_t put = atomic_load_explicit(&ring->put, memory_order_acquire);
	uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
	struct head head;

	*end = put;
	if (put == taken)
		return 0;
	copy_out(ring, taken, &head, sizeof(head));
	if (!head.bytes || head.bytes > LOG_LINE_BYTES || room_of(head.bytes) > put - taken)
		return -EBADMSG;
	copy_out(ring, taken + sizeof(head), line, head.bytes);
	if (head.check != sum_of(taken, line, head.bytes))
		return -EBADMSG;
	*end = taken + room_of(head.bytes);
	return (int)head.bytes;
}

void log_ring_taken(struct log_ring *ring, uint64_t end)
{
	/* L4: we have copied it, so it may be written over. Pairs with L1. */
	atomic_store_explicit(&ring->taken, end, memory_order_release);
	state_point();
}
