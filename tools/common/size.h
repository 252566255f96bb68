/* SPDX-License-Identifier: MIT */
/*
 * size.h - numbers of bytes as people write them: 64M, 4T. Pure.
 */
#ifndef TOOLS_SIZE_H
#define TOOLS_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/** Bytes of a size's text with its NUL. */
#define SIZE_TEXT_BYTES 24

/**
 * size_parse() - digits, perhaps with K, M, G, T or P behind them: powers of 1024, in small letters
 * too, and with B or iB behind, as famez-server takes them. False, and @out as it was: it is no
 * size, or one beyond 64 bits.
 */
bool size_parse(const char *text, uint64_t *out);

/** size_text() - the same back, in the largest unit that is exact. Returns @to. */
const char *size_text(char to[SIZE_TEXT_BYTES], uint64_t bytes);

/** size_power() - the next power of two, itself if it is one; 0: there is none. */
uint64_t size_power(uint64_t bytes);

#endif
