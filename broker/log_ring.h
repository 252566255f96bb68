/* SPDX-License-Identifier: MIT */
/*
 * log_ring.h - lines on their way from one thread to the logger, in a memory that outlives both.
 *
 * What a broker said last is what its operator wants to read, so the lines that wait for the logger
 * lie in the state memory: the logger of the successor writes first what this one had not written.
 *
 * A line is put with its checksum, and counts from the one store of `put` on: whoever dies before
 * has said nothing. The logger stores `taken` when the line is written: who dies after write(2) and
 * before that store leaves a line that is written a second time. The other order would lose one.
 *
 * One thread puts and one takes; a successor's go on where those before stopped. What stands there
 * was written by a broker: it is trusted no further than that it is looked at before it is used.
 */
#ifndef LOG_RING_H
#define LOG_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What a line may take. */
#define LOG_LINE_BYTES 480
/* Of lines that wait, per thread that logs: some 200 as they usually are. A burst beyond is told by
 * log_dropped(). */
#define LOG_RING_BYTES 32768u

struct log_ring {
	_Alignas(64) _Atomic uint64_t put;   /* bytes so far. The thread that logs */
	_Alignas(64) _Atomic uint64_t taken; /* bytes so far. The logger */
	_Alignas(64) unsigned char bytes[LOG_RING_BYTES];
};

/* Of all threads; part of the state. */
struct log_memory {
	/* 1: the file may end with half of a line, since the disk was full, or the writer died over
	 * it. Whoever writes */
	_Alignas(64) _Atomic uint32_t unfinished;
	struct log_ring ring[]; /* by thread */
};

/** log_memory_bytes() - of so many threads. All zero, it is empty. */
static inline uint64_t log_memory_bytes(unsigned threads)
{
	return sizeof(struct log_memory) + (uint64_t)threads * sizeof(struct log_ring);
}

/** log_ring_resume() - before anybody uses it: false, what a broker before us left makes no sense,
 * and it is empty now. */
bool log_ring_resume(struct log_ring *ring);

/** log_ring_put() - the line of @bytes, 1..LOG_LINE_BYTES, whole; false: there is no room. */
bool log_ring_put(struct log_ring *ring, const char *line, uint32_t bytes);

/**
 * log_ring_next() - copy the oldest line, of LOG_LINE_BYTES at most, to @line. Returns its bytes;
 * 0: there is none; or -EBADMSG: what is there is damaged, all of it. @end is for log_ring_taken().
 */
int log_ring_next(const struct log_ring *ring, char *line, uint64_t *end);

/** log_ring_taken() - that line is written, or what was damaged is dropped. */
void log_ring_taken(struct log_ring *ring, uint64_t end);

#endif
