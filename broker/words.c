/* SPDX-License-Identifier: MIT */
/*
 * words.c - the last words of a broker that ends itself because an assertion does not hold.
 *
 * Part of the program only, not of what tests link.
 */
#include "words.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *words;
static size_t words_bytes;

void words_open(char *place, size_t bytes)
{
	words = place;
	words_bytes = bytes;
}

/* In the place of the C library's, assert(3)'s: that one allocates, and tells standard error
 * only. */
void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function)
{
	char text[384];
	const char *slash = strrchr(file, '/');
	int n = snprintf(text, sizeof(text), "%s:%u: %s: Assertion `%s' failed.",
		slash ? slash + 1 : file, line, function, assertion);

	if (words)
		(void)snprintf(words, words_bytes, "%s", text);
	if (n > 0) {
		size_t bytes = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;

		text[bytes < sizeof(text) - 1 ? bytes++ : bytes - 1] = '\n';
		(void)!write(STDERR_FILENO, text, bytes);
	}
	abort();
}
