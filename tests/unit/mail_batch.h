/* SPDX-License-Identifier: MIT */
/*
 * mail_batch.h - what tests of famez_peek_batch() share.
 *
 * A message here is its number: size and bytes follow from it, so that who reads it knows every
 * byte that must be there. And what holds for every batch is looked at wherever one is taken.
 */
#ifndef MAIL_BATCH_H
#define MAIL_BATCH_H

#include "mail_fixture.h"

#define SMALL_LANES  (1u << 18) /* of a file: 4 KiB each, with six IDs */
#define BATCH_MAX    80u
#define PAYLOAD_MAX  2024u /* of such a lane */
#define PRIME        7919u
#define RECORD_BYTES 16u

/* ---- messages that are their number -------------------------------------------------------- */

static inline void make(unsigned char *into, unsigned number, size_t bytes)
{
	uint64_t word = (number + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);

	for (size_t at = 0; at < bytes; at += sizeof(word)) {
		size_t left = bytes - at;

		word ^= word >> 29;
		word *= UINT64_C(0xbf58476d1ce4e5b9);
		memcpy(into + at, &word, left < sizeof(word) ? left : sizeof(word));
	}
}

static inline bool is_made(const struct famez_message *m, unsigned number, size_t bytes)
{
	unsigned char want[PAYLOAD_MAX + 8];

	make(want, number, bytes);
	return m->bytes == bytes && (!bytes || memcmp(m->payload, want, bytes) == 0);
}

static inline int send_made(struct famez *f, uint16_t to, unsigned number, size_t bytes)
{
	unsigned char payload[PAYLOAD_MAX + 8];

	make(payload, number, bytes);
	return famez_send(f, &(struct famez_to){.peer = to}, payload, bytes, 0, 0);
}

/* ---- what holds for every batch ------------------------------------------------------------ */

static inline const unsigned char *lane_bytes(const struct fabric *fab, uint16_t from, uint16_t to)
{
	return famez_lane_data_at(fab->base, &fab->g, to, from);
}

/* Where in its lane the record of this message begins. We and the handle have the file mapped at
 * different places. */
static inline uint64_t in_lane(
	const struct fabric *fab, struct famez *f, const struct famez_message *m)
{
	size_t size;
	const unsigned char *base = famez_memory(f, &size), *payload = m->payload;
	ptrdiff_t lane =
		lane_bytes(fab, m->from, (uint16_t)famez_id(f)) - (const unsigned char *)fab->base;
	ptrdiff_t at = payload - base - lane;

	assert_true(at >= (ptrdiff_t)RECORD_BYTES);
	assert_true((uint64_t)at + m->bytes <= fab->g.lane_bytes);
	assert_int_equal((uintptr_t)payload % 8, 0);
	return (uint64_t)at - RECORD_BYTES;
}

/* A batch, all by one sender and all within its lane. Returns how many. */
static inline unsigned take(
	const struct fabric *fab, struct famez *f, struct famez_message *m, unsigned most)
{
	int got = famez_peek_batch(f, m, most);

	assert_true(got >= 0 && (unsigned)got <= most);
	for (int i = 0; i < got; i++) {
		assert_int_equal(m[i].from, m[0].from);
		if (!m[i].slot)
			(void)in_lane(fab, f, &m[i]);
	}
	return (unsigned)got;
}

static inline void expect_same(const struct famez_message *m, const struct famez_message *as)
{
	assert_int_equal(m->from, as->from);
	assert_int_equal(m->origin, as->origin);
	assert_int_equal(m->group, as->group);
	assert_int_equal(m->type, as->type);
	assert_int_equal(m->slot, as->slot);
	assert_int_equal(m->bytes, as->bytes);
	assert_ptr_equal(m->payload, as->payload);
}

static inline void expect_is_text(const struct famez_message *m, const char *text)
{
	assert_int_equal(m->bytes, strlen(text));
	assert_memory_equal(m->payload, text, m->bytes);
}

static inline uint64_t record_bytes(const struct famez_message *m)
{
	return famez_round_up(m->bytes + RECORD_BYTES, 8);
}

static inline uint64_t consumed(const struct fabric *fab, uint16_t from, uint16_t to)
{
	return famez_load_acquire(&famez_lane_at(fab->base, &fab->g, to, from)->consumed);
}

#endif
