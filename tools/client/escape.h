/* SPDX-License-Identifier: MIT */
/*
 * escape.h - bytes of strangers, made fit to be shown. See escape.c.
 */
#ifndef CLIENT_ESCAPE_H
#define CLIENT_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/** escape_is_text() - is it UTF-8 without a NUL? */
bool escape_is_text(const void *bytes, size_t count);

/** escape_print() - text for a terminal: what could move the cursor, or turn the letters round,
 * comes as \x1b or the like; so does all beyond ASCII where the terminal may not know UTF-8. */
void escape_print(FILE *out, const void *bytes, size_t count);

/** escape_name() - the same into a string, cut off where it is full. Returns @into. */
char *escape_name(char *into, size_t size, const char *name);

/** escape_hex() - two digits a byte, into 2 x @count + 1 bytes. */
void escape_hex(char *into, const void *bytes, size_t count);

/** escape_json() - text as a JSON string with its quotes, in ASCII. free() it; NULL: no memory. */
char *escape_json(const void *bytes, size_t count);

#endif
