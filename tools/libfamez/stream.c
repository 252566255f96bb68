/* SPDX-License-Identifier: MIT */
/*
 * stream.c - what the bytes of a server mean.
 *
 * A pure state machine: it is handed bytes and whether a descriptor came with
 * them, and says what that was. It owns a partial message and the stage of the
 * conversation; it makes no system call, allocates nothing, and never sees the
 * descriptors themselves. Whatever the bytes, it neither fails nor loops: what
 * no server may say is STREAM_NONSENSE, once, and then it is dead.
 *
 * The conversation (QEMU docs/specs/ivshmem-spec.rst, "Interrupts:
 * client-server protocol"): version, our ID, the shared memory; then one ID
 * with a descriptor for each vector of each peer, ourselves last, and one ID
 * without a descriptor for a peer that left. The kernel may hand a message over
 * in pieces, its descriptor with any of them.
 */
#include "stream.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

void stream_init(struct stream *s)
{
	*s = (struct stream){.stage = STREAM_WANTS_VERSION};
}

size_t stream_wants(const struct stream *s)
{
	return sizeof(s->part) - s->have;
}

static enum stream_kind dies(struct stream *s, enum stream_kind kind)
{
	s->stage = STREAM_DEAD;
	return kind;
}

static enum stream_kind judge(
	struct stream *s, int64_t value, bool descriptor, bool lost, uint16_t *id)
{
	bool is_id = value >= 0 && value <= FAMEZ_WIRE_ID_MAX;

	switch (s->stage) {
	case STREAM_WANTS_VERSION:
		if (value != FAMEZ_WIRE_VERSION)
			return dies(s, STREAM_REFUSED);
		if (descriptor || lost)
			break;
		s->stage = STREAM_WANTS_ID;
		return STREAM_VERSION;
	case STREAM_WANTS_ID:
		if (!is_id || descriptor || lost)
			break;
		s->stage = STREAM_WANTS_MEMORY;
		s->own = (uint16_t)value;
		*id = s->own;
		return STREAM_ID;
	case STREAM_WANTS_MEMORY:
		if (value != FAMEZ_WIRE_MEMORY || !(descriptor || lost))
			break;
		s->stage = STREAM_MEMBER;
		*id = s->own;
		return descriptor ? STREAM_MEMORY : STREAM_LOST;
	case STREAM_MEMBER:
		if (!is_id)
			break;
		/* Our own leave is not the server's to announce. */
		if (value == s->own && !descriptor && !lost)
			break;
		*id = (uint16_t)value;
		if (descriptor)
			return STREAM_VECTOR;
		/* A lost descriptor must not read as a leave. */
		return lost ? STREAM_LOST : STREAM_LEFT;
	case STREAM_DEAD:
		break;
	}
	return dies(s, STREAM_NONSENSE);
}

enum stream_kind stream_put(
	struct stream *s, const void *bytes, size_t count, bool descriptor, bool lost, uint16_t *id)
{
	int64_t value;

	assert(s->stage != STREAM_DEAD);
	assert(count >= 1 && count <= stream_wants(s));
	memcpy(s->part + s->have, bytes, count);
	s->have += (uint8_t)count;
	s->descriptor |= descriptor;
	s->lost |= lost;
	if (s->have < sizeof(s->part))
		return STREAM_PART;

	memcpy(&value, s->part, sizeof(value));
	value = (int64_t)le64toh((uint64_t)value);
	descriptor = s->descriptor;
	lost = s->lost;
	s->have = 0;
	s->descriptor = false;
	s->lost = false;
	return judge(s, value, descriptor, lost, id);
}
