/* SPDX-License-Identifier: MIT */
/*
 * payload.h - what a message of a soak run says, and whether it still says so.
 *
 * Messages that are long enough begin with a head: who, to whom, which one, how long, and a
 * checksum over all of it. Shorter ones are bytes that follow from the same facts; a receiver
 * that knows what is to come can tell.
 */
#ifndef SOAK_PAYLOAD_H
#define SOAK_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_MEET  1u /* said in PHASE_MEET */
#define PAYLOAD_FRESH 2u /* published within the call, without waiting */

struct payload_head {
	uint64_t sum;
	uint64_t number;
	uint64_t sent_ns;
	uint32_t from, generation; /* the sender's life, and what the directory says of it */
	uint32_t to;               /* the life that was meant; 0: a group */
	uint32_t bytes;
	uint16_t to_id, origin;
	uint8_t type, flags;
	uint16_t group;
};

#define PAYLOAD_HEAD_BYTES ((uint32_t)sizeof(struct payload_head))

/** payload_write() - head and filling; head->bytes >= PAYLOAD_HEAD_BYTES, sum is made here. */
void payload_write(void *into, const struct payload_head *head);

/** payload_read() - false: it was altered. Any bytes may stand there. */
bool payload_read(const void *bytes, size_t count, struct payload_head *head);

/** payload_small() - fewer bytes than a head. */
void payload_small(void *into, size_t bytes, uint32_t from, uint32_t to_id, uint64_t number);
bool payload_is_small(
	const void *bytes, size_t count, uint32_t from, uint32_t to_id, uint64_t number);

#endif
