/* SPDX-License-Identifier: MIT */
/*
 * fuzz_stream.c - whatever a server says, libfamez's parser follows the conversation
 * or hangs up. Each byte pair of the input's head steers one read: how many bytes,
 * with a descriptor, with one lost; the rest are the server's bytes.
 */
#include "fuzz.h"

#include "stream.h"

/* What a client holds meanwhile: at most one descriptor for the message in pieces. */
static void check(const struct stream *s, enum stream_kind kind, enum stream_stage before)
{
	assert(s->stage >= before); /* only ever goes down the list */
	assert(stream_wants(s) >= 1 && stream_wants(s) <= FAMEZ_WIRE_BYTES);
	assert(kind == STREAM_PART || stream_wants(s) == FAMEZ_WIRE_BYTES);
	switch (kind) {
	case STREAM_PART:
		assert(s->stage == before && stream_wants(s) < FAMEZ_WIRE_BYTES);
		break;
	case STREAM_VERSION:
		assert(before == STREAM_WANTS_VERSION && s->stage == STREAM_WANTS_ID);
		break;
	case STREAM_ID:
		assert(before == STREAM_WANTS_ID && s->stage == STREAM_WANTS_MEMORY);
		break;
	case STREAM_MEMORY:
		assert(before == STREAM_WANTS_MEMORY && s->stage == STREAM_MEMBER);
		break;
	case STREAM_VECTOR:
	case STREAM_LEFT:
		assert(before == STREAM_MEMBER && s->stage == STREAM_MEMBER);
		break;
	case STREAM_LOST:
		assert(before == STREAM_WANTS_MEMORY || before == STREAM_MEMBER);
		break;
	case STREAM_REFUSED:
		assert(before == STREAM_WANTS_VERSION && s->stage == STREAM_DEAD);
		break;
	case STREAM_NONSENSE:
		assert(s->stage == STREAM_DEAD);
		break;
	default:
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream s;

	stream_init(&s);
	while (size >= 2 && s.stage != STREAM_DEAD) {
		enum stream_stage before = s.stage;
		uint8_t how = *data;
		size_t count = 1 + (how & 7);
		uint16_t id = 0;

		data++;
		size--;
		if (count > stream_wants(&s))
			count = stream_wants(&s);
		if (count > size)
			count = size;
		check(&s, stream_put(&s, data, count, how & 8, how & 16, &id), before);
		data += count;
		size -= count;
	}
	return 0;
}
