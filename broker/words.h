/* SPDX-License-Identifier: MIT */
/*
 * words.h - the last words of a broker that ends itself because an assertion does not hold.
 *
 * They stand in the state memory, where the keeper finds them (keeper.h), and on standard error.
 */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

/** words_open() - from now on they are put into @place, of @bytes bytes. At start. */
void words_open(char *place, size_t bytes);

#endif
