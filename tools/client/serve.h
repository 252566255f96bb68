/* SPDX-License-Identifier: MIT */
/*
 * serve.h - the other side of a benchmark. See serve.c.
 */
#ifndef CLIENT_SERVE_H
#define CLIENT_SERVE_H

#include "letters.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SERVE_MARK     "famez-bench "
#define SERVE_WORD_MAX 8

/** serve_read() - a line of the protocol, see serve.c: its word, and up to 4 numbers. Returns how
 * many, 0 where it is no such line. */
unsigned serve_read(const struct letter *l, char word[SERVE_WORD_MAX], uint64_t numbers[4]);

/** serve_open() - serve from now on. Returns 0 or -ENOMEM. */
int serve_open(struct session *s);

/** serve_close() - no more. */
void serve_close(struct session *s);

/** serve_run() - serve until the deadline (NULL: for ever) or Ctrl-C. */
void serve_run(struct session *s, const struct timespec *deadline);

/** serve_handle() - is this of a benchmark? Then it has been dealt with. */
bool serve_handle(struct session *s, const struct letter *l);

/** serve_gone() - only this generation of the peer measures still; 0: none. */
void serve_gone(struct session *s, uint16_t peer, uint32_t generation);

/** serve_sum() - of a message's content, as 64-bit words, the last one filled up with zeros. */
uint64_t serve_sum(const void *bytes, size_t count);

#endif
