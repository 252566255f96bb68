/* SPDX-License-Identifier: MIT */
/*
 * words.h - the last words of a broker: of one that ends itself because an assertion does not
 * hold, and of one whose own instruction ends it.
 *
 * They stand in the state memory, where the keeper finds them (keeper.h), and on standard error.
 */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

/** words_open() - from now on they are put into @place, of @bytes bytes. At start. */
void words_open(char *place, size_t bytes);

/**
 * words_of_faults() - SIGSEGV, SIGBUS, SIGILL and SIGFPE leave words, too: which address, and
 * which instruction, as an offset in the program for addr2line(1). Then the signal has its usual
 * end. Where a sanitizer has its own handlers these stay. A stack that is full has no words.
 */
void words_of_faults(void);

#endif
