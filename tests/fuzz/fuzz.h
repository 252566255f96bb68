/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the libFuzzer targets share. A target hands the input to one parser,
 * and asserts what must hold of the answer, whatever the input.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as a string of its own, so that a read beyond its end is noticed. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	assert(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* What of the input is not yet used up. */
struct fuzz_input {
	const uint8_t *data;
	size_t left;
};

/* The next number of it, of @bytes at most 8, as far as there are any. */
static inline uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->left--)
		value |= (uint64_t)*in->data++ << 8 * i;
	return value;
}

#endif
