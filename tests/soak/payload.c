// SPDX-License-Identifier: MIT
/*
 * payload.c - see payload.h. Pure.
 */
#include "payload.h"

#include <assert.h>
#include <string.h>

static uint64_t mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return sum ^ (sum >> 29);
}

/* Over everything behind the sum. */
static uint64_t sum_of(const unsigned char *bytes, size_t count)
{
	uint64_t sum = count, word;
	size_t at = sizeof(sum);

	for (; at + sizeof(word) <= count; at += sizeof(word)) {
		memcpy(&word, bytes + at, sizeof(word));
		sum = mix(sum, word);
	}
	word = 0;
	memcpy(&word, bytes + at, count - at);
	return mix(sum, word);
}

void payload_write(void *into, const struct payload_head *head)
{
	unsigned char *bytes = into;
	uint64_t word = head->number * UINT64_C(0xbf58476d1ce4e5b9) + head->from, sum;
	size_t at = sizeof(*head);

	assert(head->bytes >= sizeof(*head));
	memcpy(bytes, head, sizeof(*head));
	for (; at + sizeof(word) <= head->bytes; at += sizeof(word)) {
		word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		memcpy(bytes + at, &word, sizeof(word));
	}
	memset(bytes + at, (int)(head->number & 255), head->bytes - at);
	sum = sum_of(bytes, head->bytes);
	memcpy(bytes, &sum, sizeof(sum));
}

bool payload_read(const void *bytes, size_t count, struct payload_head *head)
{
	if (count < sizeof(*head))
		return false;
	memcpy(head, bytes, sizeof(*head));
	return head->bytes == count && head->sum == sum_of(bytes, count);
}

static unsigned char small_byte(
	size_t at, size_t bytes, uint32_t from, uint32_t to_id, uint64_t number)
{
	return (unsigned char)(mix(mix(mix(number, from), to_id), at << 32 | bytes) >> 40);
}

void payload_small(void *into, size_t bytes, uint32_t from, uint32_t to_id, uint64_t number)
{
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)into)[i] = small_byte(i, bytes, from, to_id, number);
}

bool payload_is_small(
	const void *bytes, size_t count, uint32_t from, uint32_t to_id, uint64_t number)
{
	for (size_t i = 0; i < count; i++)
		if (((const unsigned char *)bytes)[i] != small_byte(i, count, from, to_id, number))
			return false;
	return true;
}
