/* SPDX-License-Identifier: MIT */
/*
 * memory.h - commands that look at the shared memory. See memory.c.
 */
#ifndef CLIENT_MEMORY_H
#define CLIENT_MEMORY_H

#include "command.h"

enum outcome memory_size(struct session *s, const struct command *c, const struct words *w);
enum outcome memory_peek(struct session *s, const struct command *c, const struct words *w);
enum outcome memory_poke(struct session *s, const struct command *c, const struct words *w);

#endif
