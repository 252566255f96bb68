/* SPDX-License-Identifier: MIT */
/*
 * stream.h - what the bytes of a server mean. See stream.c.
 */
#ifndef FAMEZ_STREAM_H
#define FAMEZ_STREAM_H

#include "famez/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What the bytes handed in last have completed. */
enum stream_kind {
	STREAM_PART,     /* nothing yet: the message is not whole */
	STREAM_VERSION,  /* the server speaks our version */
	STREAM_REFUSED,  /* it speaks another, or doesn't want us */
	STREAM_ID,       /* our ID is `id` */
	STREAM_MEMORY,   /* the descriptor held is the shared memory */
	STREAM_VECTOR,   /* the descriptor held is the next vector of `id` */
	STREAM_LEFT,     /* `id` has left */
	STREAM_LOST,     /* a memory's or a vector's descriptor was lost on the way; see `id` */
	STREAM_NONSENSE, /* no ivshmem server says this: hang up */
};

/** What may come next. Only ever goes down this list. */
enum stream_stage {
	STREAM_WANTS_VERSION,
	STREAM_WANTS_ID,
	STREAM_WANTS_MEMORY,
	STREAM_MEMBER,
	STREAM_DEAD, /* after a refusal or nonsense; nothing more may be handed in */
};

struct stream {
	enum stream_stage stage;
	uint8_t part[FAMEZ_WIRE_BYTES];
	uint8_t have;    /* bytes of `part`, 0..7 between calls */
	bool descriptor; /* one came with these bytes */
	bool lost;       /* one came, and the kernel could not give it to us */
	uint16_t own;    /* our ID, from STREAM_WANTS_MEMORY on */
};

void stream_init(struct stream *s);

/** stream_wants() - bytes up to the end of this message, 1..8. Never read more at once. */
size_t stream_wants(const struct stream *s);

/**
 * stream_put() - take in 1..stream_wants() bytes as one read gave them.
 * @descriptor: a descriptor came with them, and the caller holds it.
 * @lost:       the kernel said that it dropped all descriptors of this read.
 * @id:         written for ID, VECTOR, LEFT and LOST (our own ID where the memory was lost).
 *
 * The descriptor held belongs to the message that is being assembled: with MEMORY and VECTOR
 * it is to be used, after any other kind but PART the caller is not to hold one any more.
 */
enum stream_kind stream_put(struct stream *s, const void *bytes, size_t count, bool descriptor,
	bool lost, uint16_t *id);

#endif
