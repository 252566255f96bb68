/* SPDX-License-Identifier: MIT */
/*
 * lines.h - files that an operator writes, line by line: words with blanks between them, and
 * comments from a '#' to the end of the line.
 *
 * Says where something is wrong: "FILE, line 7: ...". Pure; takes no memory.
 */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "why.h"

#define LINE_BYTES_MAX 1024u
#define LINE_WORDS_MAX 16u

/* Words that are compared with patterns and names fit in this, the NUL included. */
#define LINE_PATTERN_BYTES 64u

struct lines {
	const char *file; /* for what is said */
	const char *at, *end;
	unsigned number; /* of the line that was read last, from 1 */
	struct why *why;
	/* the line's words */
	unsigned count;
	char *words[LINE_WORDS_MAX];
	char text[LINE_BYTES_MAX];
};

/* A range of numbers, both ends included. */
struct lines_range {
	uint32_t first, last;
};

/** lines_open() - begin to read @text. @file, @text and @why stay the caller's, and there. */
void lines_open(struct lines *l, const char *file, const char *text, size_t bytes, struct why *why);

/**
 * lines_next() - the next line that has a word in it. Returns 1, 0 at the end, or -EINVAL with
 * the reason told.
 */
int lines_next(struct lines *l);

/** lines_fail() - tell that the line which was read last is wrong. Returns -EINVAL. */
__attribute__((format(printf, 2, 3))) int lines_fail(struct lines *l, const char *format, ...);

/** lines_value() - V, where @word is "KEY=V"; else NULL. */
const char *lines_value(const char *word, const char *key);

/** lines_number() - a decimal number of at most @max. Returns 0, or -EINVAL, untold. */
int lines_number(const char *text, uint32_t max, uint32_t *number);

/**
 * lines_ranges() - "1-20,40" into @ranges. Returns their count, 1..@most, or -EINVAL, untold.
 */
int lines_ranges(const char *text, uint32_t max, struct lines_range *ranges, unsigned most);

#endif
