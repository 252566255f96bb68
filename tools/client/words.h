/* SPDX-License-Identifier: MIT */
/*
 * words.h - the words of a command, and what they mean. See words.c.
 */
#ifndef CLIENT_WORDS_H
#define CLIENT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define WORDS_MAX 1024

struct words {
	unsigned count;
	char *word[WORDS_MAX];
};

/**
 * words_cut() - the words of the next command in *line, which moves behind it; the text is
 * changed, and *line is NULL after the last command.
 * Returns 0, -E2BIG (more than WORDS_MAX), -EINVAL (a quote without its end).
 */
int words_cut(struct words *w, char **line);

/** words_number() - a whole number, decimal or 0x..., up to max. */
bool words_number(const char *word, unsigned long long max, unsigned long long *out);

/** words_seconds() - with a fraction if you like, up to 1e9. */
bool words_seconds(const char *word, double *out);

/** words_vector() - a vector's number; says what is wrong with it. */
bool words_vector(const char *word, uint16_t *out);

/** words_option() - takes "NAME VALUE" at the word *i, and steps over both. False: the word is
 * another one. *value is NULL where it is missing. */
bool words_option(const struct words *w, unsigned *i, const char *name, const char **value);

/** words_bytes() - the bytes that the words from @first on spell in hexadecimal; free() them.
 * NULL after saying why not. */
unsigned char *words_bytes(const struct words *w, unsigned first, size_t *count);

/** words_text() - the words from @first on with blanks between; free() it. NULL: no memory. */
char *words_text(const struct words *w, unsigned first);

#endif
